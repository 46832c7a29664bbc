//! A microphone's samples at an eighth of their rate, with what is predictable taken out.
//!
//! What is left of a sound when it is whitened is sharp in time: two microphones' whitened sounds correlate at the paths between
//! them and hardly anywhere else. A voice repeats itself a pitch period later, longer than the prediction looks back: that is taken out
//! too. Without that, in a dry room, the pitch shows beside the peak nearly as high as it. Each block counts about the same, however loud, but what is not above the quietest blocks
//! counts little.

use super::predict::longer;

/// Samples become one.
pub const DECIMATION: usize = 8;
/// Samples of a block at the low rate.
pub const BLOCK: usize = 64;
/// Samples of a block as they come.
pub const FULL_BLOCK: usize = BLOCK * DECIMATION;
/// The low-pass filter before it: a sinc under a Hann window, its middle of this length on each side, -6 dB at 2.7 kHz.
const TAPS: usize = 96;
const PASS: f64 = 0.9;
/// A prediction looks back on so many of the low rate's samples, and is learnt from three blocks.
const ORDER: usize = 10;
/// Before them stands one that a voice's pitch may repeat.
const WINDOW: usize = LEARNT + BLOCK;
const LEARNT: usize = 3 * BLOCK;
/// Pitches of voices and strings, as periods of the low rate: 300 to 60 Hz.
const PERIODS: std::ops::RangeInclusive<usize> = 20..=100;
/// The share of a block's energy that a repeat must explain to be one.
const REPEATS: f32 = 0.25;
/// Blocks that say how loud the quietest are: one in [`EVERY`] of the last ones, and which part of them.
const REMEMBERED: usize = 64;
const EVERY: u32 = 12;
const QUIETEST: usize = 10;
/// So many times the quietest block's energy a block has to have to count as half.
const ABOVE_QUIET: f64 = 10.0;

/// One microphone.
#[derive(Debug)]
pub struct Whitener {
    taps: [f32; TAPS],
    hann: [f32; LEARNT],
    /// The last samples as they came, as far as the filter looks back.
    before: [f32; TAPS],
    /// The last blocks at the low rate.
    window: [f32; WINDOW],
    /// Energies of remembered blocks.
    energies: [f32; REMEMBERED],
    heard: u32,
}

impl Default for Whitener {
    fn default() -> Whitener {
        Whitener::new()
    }
}

impl Whitener {
    pub fn new() -> Whitener {
        let tap = |k: usize| {
            let x = (k as f64 - (TAPS as f64 - 1.0) / 2.0) / DECIMATION as f64 * PASS;
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * (k as f64 + 0.5) / TAPS as f64).cos();
            let turn = std::f64::consts::PI * x;
            (window * if x.abs() < 1e-9 { 1.0 } else { turn.sin() / turn }) as f32
        };
        let hann = |k: usize| (0.5 - 0.5 * (std::f64::consts::TAU * (k as f64 + 0.5) / LEARNT as f64).cos()) as f32;
        Whitener {
            taps: std::array::from_fn(tap),
            hann: std::array::from_fn(hann),
            before: [0.0; TAPS],
            window: [0.0; WINDOW],
            energies: [0.0; REMEMBERED],
            heard: 0,
        }
    }

    /// The next samples of the microphone; gives the whitened block before the newest. Zeros stand for what is missing.
    pub fn push(&mut self, samples: &[i32; FULL_BLOCK]) -> [f32; BLOCK] {
        self.window.copy_within(BLOCK.., 0);
        let mut line = [0.0; TAPS + FULL_BLOCK];
        line[..TAPS].copy_from_slice(&self.before);
        line[TAPS..].iter_mut().zip(samples).for_each(|(x, &sample)| *x = sample as f32);
        for (i, low) in self.window[3 * BLOCK..].iter_mut().enumerate() {
            let from = (i + 1) * DECIMATION;
            *low = dot(&self.taps, &line[from..from + TAPS]);
        }
        self.before.copy_from_slice(&line[FULL_BLOCK..]);
        self.whiten()
    }

    /// The block before the newest.
    fn whiten(&mut self) -> [f32; BLOCK] {
        let mut faded = [0.0; LEARNT];
        faded.iter_mut().zip(self.window[BLOCK..].iter().zip(&self.hann)).for_each(|(out, (x, w))| *out = x * w);
        let mut correlation = [0.0; ORDER + 1];
        for (lag, sum) in correlation.iter_mut().enumerate() {
            *sum = f64::from(dot(&faded[lag..], &faded[..LEARNT - lag]));
        }
        // As if there was white noise 50 dB below: no filter is sharper than that.
        correlation[0] *= 1.0 + 1e-5;
        if correlation[0] <= 0.0 {
            return [0.0; BLOCK];
        }
        let (mut filter, mut error) = ([0.0; ORDER + 1], correlation[0]);
        filter[0] = 1.0;
        for order in 1..=ORDER {
            let mut now = [0.0; ORDER + 1];
            match longer(&correlation, &filter, error, order, &mut now) {
                Some(left) => (filter, error) = (now, left),
                None => break,
            }
        }
        let filter = filter.map(|x| x as f32);
        let mut flat = [0.0; 3 * BLOCK];
        for (at, out) in flat.iter_mut().enumerate().skip(ORDER) {
            *out = filter.iter().enumerate().map(|(k, c)| c * self.window[at - k]).sum();
        }
        let mut residual = without_pitch(&flat);
        let energy = dot(&residual, &residual);
        let scale = 1.0 / (energy + self.quiet(energy)).sqrt();
        if !scale.is_finite() {
            return [0.0; BLOCK];
        }
        residual.iter_mut().for_each(|x| *x *= scale);
        residual
    }

    /// What is added to a block's energy before it is divided by it.
    fn quiet(&mut self, energy: f32) -> f32 {
        if self.heard.is_multiple_of(EVERY) {
            self.energies[(self.heard / EVERY) as usize % REMEMBERED] = energy;
        }
        self.heard = self.heard.wrapping_add(1);
        let known = (self.heard.div_ceil(EVERY) as usize).min(REMEMBERED);
        let mut energies = self.energies;
        let (_, quietest, _) = energies[..known].select_nth_unstable_by(known / QUIETEST, f32::total_cmp);
        ABOVE_QUIET as f32 * *quietest
    }
}

/// The last block, less what repeats from so many samples before: a voice's pitch would show in a correlation beside its peak.
fn without_pitch(residual: &[f32; 3 * BLOCK]) -> [f32; BLOCK] {
    let newest = &residual[2 * BLOCK..];
    let energy = dot(newest, newest);
    let mut best = (0.0, 0.0, 0);
    for period in PERIODS {
        let before = &residual[2 * BLOCK - period..3 * BLOCK - period];
        let (product, square) = (dot(newest, before), dot(before, before));
        if product > 0.0 && product * product > best.0 * square {
            best = (product * product / square, product / square, period);
        }
    }
    let (explained, gain, period) = best;
    let mut block: [f32; BLOCK] = std::array::from_fn(|i| newest[i]);
    if explained > REPEATS * energy {
        let before = &residual[2 * BLOCK - period..3 * BLOCK - period];
        block.iter_mut().zip(before).for_each(|(x, before)| *x -= gain.min(1.0) * before);
    }
    block
}

/// Eight sums side by side, so that the compiler may use the machine's wide registers.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (eights, rest) = a.as_chunks::<8>();
    let (others, other_rest) = b.as_chunks::<8>();
    for (a, b) in eights.iter().zip(others) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().zip(other_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a signal, whitened.
    fn whitened(of: impl Fn(usize) -> f64, blocks: usize) -> Vec<f32> {
        let mut whitener = Whitener::new();
        let block = |block: usize| std::array::from_fn(|i| of(block * FULL_BLOCK + i) as i32);
        (0..blocks).flat_map(|k| whitener.push(&block(k))).collect()
    }

    #[test]
    fn a_click_stays_sharp_and_comes_where_it_was() {
        let click = 40 * FULL_BLOCK + 200;
        let noise = |i: usize| ((i * 7_919 + i * i * 31) % 2_003) as f64 - 1_001.0;
        let heard = whitened(|i| noise(i) + if i == click { 1e7 } else { 0.0 }, 60);
        let loudest = (0..heard.len()).max_by(|&a, &b| heard[a].abs().total_cmp(&heard[b].abs())).unwrap();
        // The block given is the one before the newest; the filter's middle is 48 samples behind.
        let want = (click + TAPS / 2) / DECIMATION + BLOCK;
        assert!(loudest.abs_diff(want) <= 1, "{loudest} for {want}");
    }

    #[test]
    fn silence_and_missing_samples_count_nothing() {
        assert!(whitened(|_| 0.0, 10).iter().all(|&x| x == 0.0));
    }
}
