//! Another sample rate for the same audio, as a function of positions.
//!
//! Problem: a speech server wants 16 kHz. A resampler that carries its state from call to call must be kept for each subscriber, and
//! two of them that began at different moments give different samples.
//!
//! Idea: the rates are whole numbers, so output sample `m` stands at input position `m * from / to`, exactly, counted from position 0
//! of the run. Its value is a weighted sum of the input around it ([`crate::dsp`]); the weights repeat after `to / gcd` samples and
//! are tabled. Nothing is carried over: whoever asks for the same samples gets the same, and a gap stays where it was.

use crate::dsp::{kaiser_beta, windowed_sinc};

/// Half the filter's length in samples of the lower rate. With an error of -100 dB half the transition is 0.05 of the lower rate:
/// of 16 kHz, 7.2 kHz pass whole and what folds back stands above 7.2 kHz.
const HALF: usize = 32;
/// Beyond the filter's error nothing of full scale folds back: below the 16 bits that such receivers take.
const ERROR_DB: f64 = 100.0;
/// The rates that can be asked for beside an array's own, in Hz: those of telephones, speech, discs and studios. A list, so that
/// clients who ask for many rates cost as many tables as it is long, and no more.
pub const RATES: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];
/// Most weights of a table. Each takes 0.2 us to make, once for each rate that is ever asked for: 44.1 kHz to 16 kHz has 28,480 of them,
/// 48 kHz to 16 kHz 192.
const MOST_WEIGHTS: usize = 1 << 15;

/// From one rate to another; or to the same, and then what comes out is what goes in.
#[derive(Clone, PartialEq, Debug)]
pub struct Resampler {
    /// Output sample `m` stands at input position `m * down / up`.
    up: i64,
    down: i64,
    /// Input samples that an output sample needs beside the one at its place or before it.
    before: i64,
    behind: i64,
    /// Weights of these, for each fraction `k / up`. None where both rates are the same.
    rows: Vec<Vec<f32>>,
}

impl Resampler {
    /// # Errors
    /// Says which rates there are.
    pub fn new(from: u32, to: u32) -> Result<Resampler, String> {
        if from == to {
            return Ok(Resampler { up: 1, down: 1, before: 0, behind: 0, rows: Vec::new() });
        }
        let shared = gcd(from, to);
        let (up, down) = (to / shared, from / shared);
        let cutoff = (f64::from(to) / f64::from(from)).min(1.0);
        let half = (HALF as f64 / cutoff).ceil() as usize;
        if !RATES.contains(&to) || up as usize * 2 * half > MOST_WEIGHTS {
            return Err(format!("rate: {from} is not made into {to}; give one of {RATES:?}, as 16000"));
        }
        let row = |k: u32| row(f64::from(k) / f64::from(up), half, cutoff);
        let rows = (0..up).map(row).collect();
        Ok(Resampler { up: up.into(), down: down.into(), before: half as i64 - 1, behind: half as i64, rows })
    }

    /// What comes out is what goes in.
    pub fn is_identity(&self) -> bool {
        self.rows.is_empty()
    }

    /// Multiplications that an output sample takes.
    pub fn taps(&self) -> usize {
        (self.before + 1 + self.behind) as usize
    }

    /// The first output sample at or behind an input position.
    pub fn first_at(&self, position: i64) -> i64 {
        (position * self.up + self.down - 1).div_euclid(self.down)
    }

    /// The first output sample that needs input from `end` on: so far the output can be made.
    pub fn ready_at(&self, end: i64) -> i64 {
        self.first_at(end - self.behind)
    }

    /// The input that the output samples from `first` on need: its first position, and how many.
    pub fn input(&self, first: i64, count: usize) -> (i64, usize) {
        let last = first + count as i64 - 1;
        let from = self.base(first) - self.before;
        (from, (self.base(last) + self.behind + 1 - from) as usize)
    }

    /// The output samples from `first` on, of one channel. `input`: from the position that [`Resampler::input`] told for them.
    /// Rounded, and saturated.
    ///
    /// # Panics
    /// Where both rates are the same: there is nothing to be made.
    pub fn make<'a>(&'a self, first: i64, count: usize, input: &'a [f32]) -> impl Iterator<Item = i32> + 'a {
        assert!(!self.is_identity(), "the same rate takes no filter");
        (first..first + count as i64).map(move |m| {
            let at = (self.base(m) - self.base(first)) as usize;
            let row = &self.rows[(m * self.down).rem_euclid(self.up) as usize];
            // A cast from a float saturates.
            dot(row, &input[at..at + row.len()]).round() as i32
        })
    }

    /// The input position at or before an output sample.
    pub fn base(&self, m: i64) -> i64 {
        (m * self.down).div_euclid(self.up)
    }
}

/// Sums side by side: one alone waits for each addition before the next.
fn dot(row: &[f32], samples: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (rows, rest) = row.as_chunks::<8>();
    let (parts, last) = samples.as_chunks::<8>();
    for (weights, samples) in rows.iter().zip(parts) {
        for i in 0..8 {
            sums[i] += weights[i] * samples[i];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().zip(last).map(|(w, s)| w * s).sum::<f32>()
}

/// Weights for a place `fraction` behind the input sample `half - 1`; their sum is 1.
fn row(fraction: f64, half: usize, cutoff: f64) -> Vec<f32> {
    let beta = kaiser_beta(ERROR_DB);
    let weight = |tap: usize| windowed_sinc(tap as f64 - (half - 1) as f64 - fraction, half as f64, cutoff, beta);
    let row: Vec<f64> = (0..2 * half).map(weight).collect();
    let sum: f64 = row.iter().sum();
    row.iter().map(|w| (w / sum) as f32).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of `hz` at half scale, exact in every position.
    fn tone(hz: f64, rate: u32, at: i64) -> f64 {
        f64::from(1 << 30) * (std::f64::consts::TAU * (hz * at as f64 / f64::from(rate)).fract()).sin()
    }

    /// The output from `first` on for a tone.
    fn resampled(resampler: &Resampler, from: u32, hz: f64, first: i64, count: usize) -> Vec<i32> {
        let (start, frames) = resampler.input(first, count);
        let input: Vec<f32> = (start..start + frames as i64).map(|at| tone(hz, from, at) as f32).collect();
        resampler.make(first, count, &input).collect()
    }

    #[test]
    fn tones_that_fit_pass_and_others_do_not_fold_back() {
        for (from, to) in [(48_000, 16_000), (48_000, 44_100), (44_100, 48_000), (48_000, 8_000), (16_000, 48_000)] {
            let resampler = Resampler::new(from, to).expect("common rates");
            let lower = f64::from(from.min(to));
            for share in [0.01, 0.1, 0.3, 0.44] {
                let hz = share * lower;
                let worst = resampled(&resampler, from, hz, 1000, 2000)
                    .iter()
                    .zip(1000..)
                    .map(|(y, m)| (f64::from(*y) - tone(hz, to, m)).abs())
                    .fold(0.0, f64::max);
                let db = 20.0 * (worst / f64::from(1 << 30)).log10();
                assert!(db < -90.0, "{from} to {to}, {hz} Hz: {db:.1} dB");
            }
            // Only what the input can hold can fold back.
            if 0.56 * lower < 0.49 * f64::from(from) {
                let hz = 0.56 * lower;
                let most = resampled(&resampler, from, hz, 1000, 2000).into_iter().map(i32::unsigned_abs).max();
                let db = 20.0 * (f64::from(most.expect("samples")) / f64::from(1 << 30)).log10();
                assert!(db < -90.0, "{from} to {to}, {hz} Hz folds back: {db:.1} dB");
            }
        }
    }

    #[test]
    fn any_division_of_the_work_gives_the_same_samples() {
        let resampler = Resampler::new(48_000, 44_100).expect("common rates");
        let whole = resampled(&resampler, 48_000, 997.0, -50, 700);
        let mut parts = Vec::new();
        for (first, count) in [(-50, 1), (-49, 120), (71, 579)] {
            parts.extend(resampled(&resampler, 48_000, 997.0, first, count));
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn what_is_ready_needs_no_input_that_has_not_come() {
        for (from, to) in [(48_000, 16_000), (48_000, 44_100), (16_000, 48_000)] {
            let resampler = Resampler::new(from, to).expect("common rates");
            for end in 1000..1100 {
                let ready = resampler.ready_at(end);
                let needs = |m| resampler.input(m, 1).0 + resampler.input(m, 1).1 as i64;
                assert!(needs(ready - 1) <= end && needs(ready) > end, "{from} to {to}, {end}");
            }
        }
    }

    #[test]
    fn the_same_rate_changes_nothing_and_needs_nothing_around() {
        let same = Resampler::new(44_123, 44_123).expect("the same");
        assert!(same.is_identity());
        assert_eq!((same.first_at(7), same.ready_at(7), same.base(7), same.input(7, 3)), (7, 7, 7, (7, 3)));
    }

    #[test]
    fn a_rate_that_nobody_uses_is_refused() {
        assert!(Resampler::new(48_000, 44_101).expect_err("primes").contains("44101"));
        assert!(Resampler::new(48_000, 100).expect_err("too low").contains("8000"));
        assert!(Resampler::new(47_999, 44_100).expect_err("44,100 filters").contains("47999"));
    }
}
