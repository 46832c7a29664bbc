//! How much a rate wanders, seen from how it has changed so far.
//!
//! The interval of a rate must hold for a crystal that follows the temperature of its room, not only for an ideal one. Take
//! the rate as a random walk by q ppm a root second: its means over two stretches of L seconds, T seconds apart, then differ
//! by a variance of q^2 (T - L/3) (integrate the walk twice), on top of what arrivals leave uncertain. Each span gives such
//! an estimate of q^2, short ones many and noisy, long ones few and clean; they are weighed by their own variance.

use super::fit::{Fit, SPANS};
use crate::engine::clock::tuning::wander::{MEMORY_S, MIN_TOUCHED, MOST, PRIOR, PRIOR_WEIGHT, SCALES};

/// What a span said in one second.
#[derive(Clone, Copy, Debug)]
struct Mean {
    slope: f64,
    /// Of the slope, from arrivals alone.
    variance: f64,
    seconds: f64,
}

/// Changes of the slope between stretches of one length that follow on each other.
#[derive(Clone, Debug)]
struct Scale {
    /// The means of the last T seconds, in a ring of T.
    past: Vec<Option<Mean>>,
    weight: f64,
    /// Weighted sums: of the squared change, of what arrivals alone would make of it, and of T - L/3.
    squared: f64,
    noise: f64,
    per_q2: f64,
}

/// Estimates q^2.
#[derive(Clone, Debug)]
pub struct Wander {
    scales: [Scale; SCALES],
    second: usize,
    /// With one standard deviation on top: an interval must not hope for the best.
    cautious: f64,
    likely: f64,
}

impl Wander {
    pub fn new() -> Wander {
        let scale = |i: usize| {
            let past = vec![None; SPANS[i] as usize];
            Scale { past, weight: 0.0, squared: 0.0, noise: 0.0, per_q2: 0.0 }
        };
        Wander { scales: std::array::from_fn(scale), second: 0, cautious: PRIOR, likely: PRIOR }
    }

    /// The fits of a second: call it once a second.
    pub fn record(&mut self, fits: &[Fit]) {
        self.second += 1;
        for (i, scale) in self.scales.iter_mut().enumerate() {
            let fit = fits.iter().find(|fit| fit.span == i && fit.seconds() >= MIN_TOUCHED * SPANS[i]);
            let mean =
                |fit: &Fit| Mean { slope: fit.line.slope, variance: fit.deviation.powi(2), seconds: fit.seconds() };
            scale.record(self.second, fit.map(mean), self.likely);
        }
        // What a weight takes for the truth: few changes can all be small by chance, so not the likely value alone.
        let expected = self.likely.max(self.cautious.min(PRIOR));
        let prior = PRIOR_WEIGHT / (PRIOR + expected).powi(2);
        let (mut sum, mut weights) = (prior * PRIOR, prior);
        for scale in self.scales.iter().filter(|scale| scale.weight > 0.0) {
            let independent = scale.weight / scale.past.len() as f64;
            let noise = scale.noise / scale.per_q2;
            let weight = independent / (noise + expected).powi(2);
            sum += weight * (scale.squared / scale.per_q2 - noise);
            weights += weight;
        }
        // Never quite zero: a weight is finite. The variance of a squared normal is twice its mean's square.
        self.likely = (sum / weights).max(1e-9);
        self.cautious = self.likely + (2.0 / weights).sqrt();
    }

    /// The variance that the rate gains a second, in ppm^2.
    pub fn per_second(&self) -> f64 {
        self.cautious
    }
}

impl Scale {
    fn record(&mut self, second: usize, now: Option<Mean>, q2: f64) {
        let lag = self.past.len();
        let then = std::mem::replace(&mut self.past[second % lag], now);
        for sum in [&mut self.weight, &mut self.squared, &mut self.noise, &mut self.per_q2] {
            *sum *= 1.0 - 1.0 / MEMORY_S;
        }
        if let (Some(now), Some(then)) = (now, then) {
            let noise = now.variance + then.variance;
            let per_q2 = lag as f64 - (now.seconds + then.seconds) / 6.0;
            self.weight += 1.0;
            self.squared += (now.slope - then.slope).powi(2).min(MOST * (noise + q2 * per_q2));
            self.noise += noise;
            self.per_q2 += per_q2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hull::Line;
    use super::*;

    /// Sums of uniform numbers (Irwin and Hall): normal enough. The generator is Marsaglia's xorshift64.
    fn normal(seed: &mut u64) -> f64 {
        let mut uniform = || {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            (*seed >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    /// The estimate after an hour of a rate that walks by `q` a second, seen with noise of `noise` ppm.
    fn after_an_hour(q: f64, noise: f64, step: f64, mut seed: u64) -> f64 {
        println!("seed {seed}");
        let mut wander = Wander::new();
        let (mut rate, mut phase) = (0.0, vec![0.0]);
        for second in 0..3_600usize {
            rate += q * normal(&mut seed) + if second == 1_800 { step } else { 0.0 };
            phase.push(phase[second] + rate);
            let fit = |span: usize| {
                let length = SPANS[span] as usize;
                let from = (second + 1).checked_sub(length)?;
                let slope = (phase[second + 1] - phase[from]) / length as f64 + noise * normal(&mut seed);
                let line = Line { at_zero: 0.0, slope };
                let first = -(length as f64);
                Some(Fit {
                    span,
                    line,
                    half_width: 5.6 * noise,
                    deviation: noise,
                    level: 0.0,
                    first,
                    last: 0.0,
                    touches_now: true,
                })
            };
            let fits: Vec<Fit> = (0..SPANS.len()).map_while(fit).collect();
            wander.record(&fits);
        }
        wander.per_second().sqrt()
    }

    #[test]
    fn a_random_walk_is_found_and_its_absence_too() {
        for seed in 1..6 {
            let q = after_an_hour(0.05, 0.02, 0.0, seed);
            assert!((0.035..0.08).contains(&q), "{q} for 0.05");
            let q = after_an_hour(0.0, 0.02, 0.0, seed);
            assert!(q < 0.005, "{q} for none");
        }
    }

    #[test]
    fn one_step_of_the_rate_is_no_wander() {
        let q = after_an_hour(0.0, 0.02, 5.0, 7);
        assert!(q < 0.02, "{q}; unbounded, the 60 s of the shortest scale alone would make it 0.1");
    }

    #[test]
    fn before_anything_is_known_a_harsh_place_is_assumed() {
        let mut wander = Wander::new();
        assert!(wander.per_second().sqrt() > 0.0499);
        wander.record(&[]);
        assert!(wander.per_second().sqrt() > 0.0499);
    }
}
