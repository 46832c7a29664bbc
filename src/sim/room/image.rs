//! How a room carries a sound from one place to another: the image-source method (Allen and Berkley 1979) in a box.
//!
//! Every reflection is heard as if it came from a mirror image of the source. A box mirrors them into a lattice; each wall that
//! a path meets takes the same share of the sound, such that it falls by 60 dB in the reverberation time (Eyring 1930). The
//! lattice of an ideal box is more regular than any room: images are moved by some centimetres, the direct path is not.

use super::{RATE_HZ, SOUND_METRES_PER_SECOND};
use crate::sim::rng::Rng;

/// A box with a reverberation time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// Metres.
    pub size: [f64; 3],
    /// Seconds in which sound falls by 60 dB.
    pub rt60: f64,
}

/// Each image is this much off its place in the lattice, at most, in metres.
const IRREGULAR: f64 = 0.08;
/// Paths along the longer walls of a box meet fewer of them than the mean: a box of images rings about so much longer than Eyring
/// says (Lehmann and Johansson 2008).
const RINGS_LONGER: f64 = 1.5;
/// The windowed sinc that stands for an arrival between samples: taps, and steps of a sample.
const TAPS: usize = 32;
const STEPS: usize = 64;
/// Only what is less than this below the direct sound is left out at the end: -60 dB.
const LONGEST_S: f64 = 2.0;

impl Room {
    /// What a wall leaves of the sound pressure: Eyring's formula, for a shorter time.
    fn reflection(&self) -> f64 {
        let [x, y, z] = self.size;
        let (volume, walls) = (x * y * z, 2.0 * (x * y + y * z + z * x));
        let exponent = 24.0 * libm::log(10.0) * volume / (SOUND_METRES_PER_SECOND * walls * self.rt60 / RINGS_LONGER);
        libm::exp(-exponent / 2.0)
    }

    /// Samples of the responses between `from` and each of `to`, at 48 kHz: pressure, 1 at a metre.
    ///
    /// # Panics
    /// Where a place is outside of the room.
    pub(super) fn responses(&self, from: [f64; 3], to: &[[f64; 3]], rng: &mut Rng) -> Vec<Vec<f64>> {
        let inside = |at: &[f64; 3]| at.iter().zip(self.size).all(|(&at, size)| at > 0.0 && at < size);
        assert!(inside(&from) && to.iter().all(inside), "places are in the room");
        let length = (self.rt60.min(LONGEST_S) * RATE_HZ) as usize + TAPS;
        let (reach, wall) = (self.rt60.min(LONGEST_S) * SOUND_METRES_PER_SECOND, self.reflection());
        let sinc = sinc_table();
        let mut responses = vec![vec![0.0; length]; to.len()];
        let rows = self.size.map(|size| (reach / (2.0 * size)).ceil() as i32);
        for nx in -rows[0]..=rows[0] {
            for ny in -rows[1]..=rows[1] {
                for nz in -rows[2]..=rows[2] {
                    for mirror in 0..8 {
                        let (mut image, mut met) = ([0.0; 3], 0);
                        for (axis, n) in [nx, ny, nz].into_iter().enumerate() {
                            let mirrored = mirror >> axis & 1;
                            let side = if mirrored == 1 { -from[axis] } else { from[axis] };
                            image[axis] = 2.0 * f64::from(n) * self.size[axis] + side;
                            met += (n - mirrored).abs() + n.abs();
                        }
                        if distance(image, to[0]) > reach {
                            continue;
                        }
                        if met > 0 {
                            image.iter_mut().for_each(|at| *at += rng.between(-IRREGULAR, IRREGULAR));
                        }
                        let gain = wall.powi(met);
                        for (response, &mic) in responses.iter_mut().zip(to) {
                            add_arrival(response, &sinc, distance(image, mic), gain);
                        }
                    }
                }
            }
        }
        responses
    }
}

pub(super) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    libm::sqrt(a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum())
}

fn add_arrival(response: &mut [f64], sinc: &[[f64; TAPS]], metres: f64, gain: f64) {
    let at = metres / SOUND_METRES_PER_SECOND * RATE_HZ;
    let step = ((at - at.floor()) * STEPS as f64).round() as usize;
    // The middle of the sinc stands `TAPS / 2` behind its first tap; what would begin before the response is cut.
    let first = at as i64 - (TAPS / 2) as i64;
    for (tap, weight) in sinc[step].iter().enumerate() {
        if let Some(sample) = usize::try_from(first + tap as i64).ok().and_then(|at| response.get_mut(at)) {
            *sample += gain / metres.max(0.1) * weight;
        }
    }
}

/// For each fraction of a sample, a sinc under a Hann window.
fn sinc_table() -> Vec<[f64; TAPS]> {
    let tap = |step: usize, tap: usize| {
        let x = tap as f64 - (TAPS / 2) as f64 - step as f64 / STEPS as f64;
        let window = 0.5 + 0.5 * libm::cos(std::f64::consts::TAU * x / (TAPS + 2) as f64);
        let turn = std::f64::consts::PI * x;
        window * if x.abs() < 1e-9 { 1.0 } else { libm::sin(turn) / turn }
    };
    (0..=STEPS).map(|step| std::array::from_fn(|k| tap(step, k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Purpose;

    fn response(rt60: f64, metres: f64) -> Vec<f64> {
        let room = Room { size: [6.0, 5.0, 2.8], rt60 };
        let mut rng = Rng::stream(1, Purpose::Room, 0);
        let from = [1.5, 2.0, 1.2];
        room.responses(from, &[[1.5 + metres, 2.0, 1.2]], &mut rng).remove(0)
    }

    #[test]
    fn the_direct_sound_comes_first_after_its_distance_at_its_strength() {
        for metres in [0.5, 1.0, 2.0] {
            let heard = response(0.2, metres);
            let at = metres / 343.0 * 48_000.0;
            let before = heard[..at as usize - 16].iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            let direct: f64 = heard[at as usize - 8..at as usize + 9].iter().sum();
            assert!(before < 1e-3, "{metres} m: {before} before");
            assert!((direct * metres - 1.0).abs() < 0.1, "{metres} m: {direct}");
        }
    }

    #[test]
    fn sound_falls_by_sixty_decibels_in_the_reverberation_time() {
        // The energy that is still to come (Schroeder 1965) falls from -5 to -25 dB in a third of that time.
        for rt60 in [0.2, 0.5] {
            let heard = response(rt60, 2.0);
            let mut left: Vec<f64> = heard
                .iter()
                .rev()
                .scan(0.0, |sum, x| {
                    *sum += x * x;
                    Some(*sum)
                })
                .collect();
            left.reverse();
            let falls_to = |db: f64| left.iter().position(|&x| x < left[0] * 10f64.powf(db / 10.0)).expect("it falls");
            let found = 3.0 * (falls_to(-25.0) - falls_to(-5.0)) as f64 / 48_000.0;
            assert!((0.8..1.2).contains(&(found / rt60)), "{found} s for {rt60} s");
        }
    }
}
