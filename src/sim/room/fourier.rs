//! What rooms need of Fourier's transform: convolution with long responses, and noise of a given spectrum.
//!
//! Sine and cosine come from the `libm` crate: the same samples on every machine. Speed matters little here.

use std::f64::consts::TAU;

use crate::sim::rng::Rng;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn times(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// The transform of one length, a power of two.
#[derive(Debug)]
struct Transform {
    /// Half a turn, in as many steps as half the length.
    turns: Vec<Complex>,
}

impl Transform {
    fn new(length: usize) -> Transform {
        assert!(length.is_power_of_two(), "radix 2");
        let angle = |k: usize| -TAU * k as f64 / length as f64;
        let turns = (0..length / 2).map(|k| Complex { re: libm::cos(angle(k)), im: libm::sin(angle(k)) }).collect();
        Transform { turns }
    }

    /// In place, forward (Cooley and Tukey 1965, radix 2).
    fn forward(&self, data: &mut [Complex]) {
        let length = data.len();
        assert_eq!(length, 2 * self.turns.len(), "made for one length");
        let bits = length.trailing_zeros();
        for i in 0..length {
            let j = i.reverse_bits() >> (usize::BITS - bits);
            if i < j {
                data.swap(i, j);
            }
        }
        let mut half = 1;
        while half < length {
            let stride = length / (2 * half);
            for block in data.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let turned = b.times(self.turns[k * stride]);
                    (*a, *b) = (
                        Complex { re: a.re + turned.re, im: a.im + turned.im },
                        Complex { re: a.re - turned.re, im: a.im - turned.im },
                    );
                }
            }
            half *= 2;
        }
    }

    /// In place, backward, divided by the length.
    fn backward(&self, data: &mut [Complex]) {
        let length = data.len() as f64;
        self.forward(data);
        data[1..].reverse();
        data.iter_mut().for_each(|x| (x.re, x.im) = (x.re / length, x.im / length));
    }
}

/// `signal` heard through `response`: as long as the signal, the tail cut off. Overlap and add.
pub(super) fn convolve(signal: &[f64], response: &[f64]) -> Vec<f64> {
    let length = (2 * response.len()).next_power_of_two().max(1024);
    let transform = Transform::new(length);
    let spectrum_of = |samples: &[f64]| {
        let mut data = vec![Complex::default(); length];
        data.iter_mut().zip(samples).for_each(|(x, &sample)| x.re = sample);
        transform.forward(&mut data);
        data
    };
    let of_response = spectrum_of(response);
    let mut heard = vec![0.0; signal.len()];
    let step = length - response.len() + 1;
    for (block, samples) in signal.chunks(step).enumerate() {
        let mut data = spectrum_of(samples);
        data.iter_mut().zip(&of_response).for_each(|(x, h)| *x = x.times(*h));
        transform.backward(&mut data);
        heard[block * step..].iter_mut().zip(&data).for_each(|(sum, x)| *sum += x.re);
    }
    heard
}

/// Gaussian noise whose power at a frequency is in proportion to `power`, and whose A-weighted mean square is 1.
pub(super) fn noise(rng: &mut Rng, samples: usize, rate_hz: f64, power: impl Fn(f64) -> f64) -> Vec<f64> {
    let length = samples.next_power_of_two().max(2);
    let transform = Transform::new(length);
    // The sum of four uniform values, of variance 1: as good as normal, and cheap.
    let mut white = || libm::sqrt(3.0) * ((0..4).map(|_| rng.uniform()).sum::<f64>() - 2.0);
    let mut data: Vec<Complex> = (0..length).map(|_| Complex { re: white(), im: 0.0 }).collect();
    transform.forward(&mut data);
    let (mut weighted, mut gains) = (0.0, Vec::with_capacity(length / 2 + 1));
    for bin in 0..=length / 2 {
        let hz = bin as f64 * rate_hz / length as f64;
        let power = if bin == 0 { 0.0 } else { power(hz) };
        weighted += power * a_weighting(hz);
        gains.push(libm::sqrt(power));
    }
    // White noise of unit variance has a mean power of 1 in each bin.
    let scale = libm::sqrt((length / 2) as f64 / weighted);
    for (bin, x) in data.iter_mut().enumerate() {
        let gain = scale * gains[bin.min(length - bin)];
        (x.re, x.im) = (x.re * gain, x.im * gain);
    }
    transform.backward(&mut data);
    data.truncate(samples);
    data.iter().map(|x| x.re).collect()
}

/// The A weighting of power at a frequency (IEC 61672-1, annex E), 1 at 1 kHz.
fn a_weighting(hz: f64) -> f64 {
    let f2 = hz * hz;
    let gain = 12_194.0_f64.powi(2) * f2 * f2
        / ((f2 + 20.6 * 20.6) * libm::sqrt((f2 + 107.7 * 107.7) * (f2 + 737.9 * 737.9)) * (f2 + 12_194.0 * 12_194.0));
    // +2.0 dB make it 1 at 1 kHz.
    (gain * 1.2589).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Purpose;

    #[test]
    fn a_convolution_is_the_sum_that_defines_it() {
        let mut rng = Rng::stream(1, Purpose::Room, 0);
        let signal: Vec<f64> = (0..3_000).map(|_| rng.normal()).collect();
        let response: Vec<f64> = (0..700).map(|_| rng.normal()).collect();
        let heard = convolve(&signal, &response);
        for at in [0, 1, 699, 700, 1_348, 1_349, 2_999] {
            let sum: f64 = (0..700.min(at + 1)).map(|k| response[k] * signal[at - k]).sum();
            assert!((heard[at] - sum).abs() < 1e-9, "{at}: {} for {sum}", heard[at]);
        }
    }

    #[test]
    fn a_weighting_is_that_of_the_standard() {
        // IEC 61672-1, table 3, in dB.
        for (hz, db) in
            [(100.0, -19.1), (500.0, -3.2), (1_000.0, 0.0), (2_500.0, 1.3), (8_000.0, -1.1), (16_000.0, -6.6)]
        {
            let found = 10.0 * a_weighting(hz).log10();
            assert!((found - db).abs() < 0.15, "{hz} Hz: {found} for {db}");
        }
    }

    #[test]
    fn noise_has_the_level_that_was_asked_for() {
        // Noise in one band around 1 kHz, where the weighting is 1: its mean square is as good as the weighted one.
        let mut rng = Rng::stream(2, Purpose::Room, 0);
        let heard = noise(&mut rng, 65_536, 48_000.0, |hz| if (950.0..1_050.0).contains(&hz) { 1.0 } else { 0.0 });
        let mean_square = heard.iter().map(|x| x * x).sum::<f64>() / heard.len() as f64;
        // About 270 independent values: 9 % of a deviation.
        assert!((mean_square - 1.0).abs() < 0.3, "{mean_square}");
    }
}
