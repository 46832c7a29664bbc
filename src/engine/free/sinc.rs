//! Values between samples.
//!
//! Problem: a board's sample clock stands at any fraction between two positions of the common axis, and the fraction moves all
//! the time. A resampler that keeps its phase to itself (rubato's can neither be read nor set, and its own interpolators are
//! private) cannot say which sample it gives, nor begin again behind a gap at a given fraction.
//!
//! Idea: a windowed sinc ([`crate::dsp`]), tabled for
//! many fractions of a sample. The value depends on the fraction and the samples around it, and on nothing before them.

use crate::dsp::windowed_sinc;

/// Half the filter's length in samples: so long a sample waits for those after it.
pub(in crate::engine) const HALF: i64 = 32;
pub(in crate::engine) const TAPS: usize = 2 * HALF as usize;
/// Rows of the filter a sample. Between two rows coefficients are joined by a line, off by at most w^2 / 8 ROWS^2 of a tone
/// of w radians a sample: -118 dB at the Nyquist frequency, less below.
const ROWS: usize = 1024;
/// Kaiser's beta for an error of -110 dB. With 64 taps half the transition is 0.056 of the sample rate:
/// 21.3 kHz of 48 kHz pass.
const BETA: f64 = 11.16;

/// The filter, for each fraction of a sample.
#[derive(Debug)]
pub(in crate::engine) struct Kernel {
    /// Single precision: the error stays that of the filter (-106 dB at 21 kHz, less below, as measured in double
    /// precision too), 24-bit samples are exact in it, and it costs two fifths.
    rows: Vec<[f32; TAPS]>,
}

impl Kernel {
    pub fn new() -> Kernel {
        Kernel { rows: (0..=ROWS).map(|row| coefficients(row as f64 / ROWS as f64)).collect() }
    }

    /// The value `fraction` (0 to 1) behind the sample `samples[HALF - 1]`.
    pub fn at(&self, samples: &[f32], fraction: f64) -> f32 {
        let place = fraction * ROWS as f64;
        let row = (place as usize).min(ROWS - 1);
        let along = (place - row as f64) as f32;
        let samples: &[f32; TAPS] = samples.try_into().expect("as many samples as taps");
        // Sums side by side: one alone waits for each addition before the next.
        let (mut here, mut next) = ([0.0_f32; 8], [0.0_f32; 8]);
        let rows = self.rows[row].chunks_exact(8).zip(self.rows[row + 1].chunks_exact(8));
        for (s, (a, b)) in samples.chunks_exact(8).zip(rows) {
            for i in 0..8 {
                here[i] += s[i] * a[i];
                next[i] += s[i] * b[i];
            }
        }
        let (here, next) = (here.iter().sum::<f32>(), next.iter().sum::<f32>());
        here + (next - here) * along
    }
}

/// One row: what each sample contributes to the value `fraction` behind the middle. Their sum is 1.
fn coefficients(fraction: f64) -> [f32; TAPS] {
    let row: [f64; TAPS] =
        std::array::from_fn(|tap| windowed_sinc(tap as f64 - (HALF - 1) as f64 - fraction, HALF as f64, 1.0, BETA));
    let sum = row.iter().sum::<f64>();
    row.map(|c| (c / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL_SCALE: f64 = i32::MAX as f64;

    /// The largest error for full-scale tones of `hz` at 48 kHz, at many fractions and phases, in dB of full scale.
    fn error_db(kernel: &Kernel, hz: f64) -> f64 {
        let turns = hz / 48_000.0;
        let tone = |at: f64| FULL_SCALE * (std::f64::consts::TAU * (turns * at).fract()).sin();
        let samples: Vec<f32> = (0..4096).map(|at| tone(f64::from(at)) as i32 as f32).collect();
        let mut worst = 0.0_f64;
        for k in 0..4000 {
            let fraction = (f64::from(k) * 0.618_034).fract();
            let value = kernel.at(&samples[k as usize..k as usize + TAPS], fraction);
            worst = worst.max((f64::from(value) - tone(f64::from(k) + (HALF - 1) as f64 + fraction)).abs());
        }
        20.0 * (worst / FULL_SCALE).log10()
    }

    #[test]
    fn tones_up_to_21_khz_are_interpolated_to_100_db() {
        let kernel = Kernel::new();
        for hz in [20.0, 440.0, 1_000.0, 6_000.0, 12_000.0, 18_000.0, 20_000.0, 21_000.0] {
            let db = error_db(&kernel, hz);
            println!("{hz:>7} Hz: error {db:.1} dBFS");
            assert!(db < -100.0, "{hz} Hz: {db}");
        }
        println!("  22500 Hz: error {:.1} dBFS", error_db(&kernel, 22_500.0));
    }

    #[test]
    fn at_the_samples_themselves_nothing_changes() {
        let kernel = Kernel::new();
        // 24 bits, left-justified.
        let samples: Vec<f32> = (0..TAPS as i32).map(|at| (at.wrapping_mul(0x6789_abcd) & !0xff) as f32).collect();
        assert_eq!(kernel.at(&samples, 0.0), samples[HALF as usize - 1]);
        assert_eq!(kernel.at(&samples, 1.0), samples[HALF as usize]);
    }
}
