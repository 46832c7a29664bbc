//! What drives a board's sample clock: a rate error that may be constant, ramp, step, or wander with temperature.

use super::rng::{Purpose, Rng};
use crate::time::Span;

/// A sample clock's rate error over time, in ppm against true time; positive is faster than nominal. Times count from the
/// start of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    Constant(f64),
    /// `from` until `start`, then linearly to `to` within `over`, and `to` from then on.
    Ramp {
        from: f64,
        to: f64,
        start: Span,
        over: Span,
    },
    /// The first value until the first time, then the value of the latest time passed. Times rise.
    Steps {
        first: f64,
        then: Vec<(Span, f64)>,
    },
    /// A random walk, as of a crystal whose temperature drifts: normal steps of `per_root_second` once a second, reflected
    /// at `limit` ppm around `around`.
    Wander {
        around: f64,
        per_root_second: f64,
        limit: f64,
    },
}

impl Rate {
    /// The harsh wander of the clock study: 0.05 ppm a root second within ±5 ppm.
    pub fn wander(around: f64) -> Rate {
        Rate::Wander { around, per_root_second: 0.05, limit: 5.0 }
    }
}

/// A running [`Rate`]: asked at times that rise.
#[derive(Clone, Debug)]
pub(super) struct Oscillator {
    rate: Rate,
    /// Of the random walk: where it is, and until when it stays there.
    walk: f64,
    walk_until: i64,
    rng: Rng,
}

impl Oscillator {
    pub(super) fn new(rate: Rate, seed: u64, board: usize) -> Oscillator {
        Oscillator { rate, walk: 0.0, walk_until: WALK_STEP, rng: Rng::stream(seed, Purpose::Wander, board) }
    }

    /// The rate error in ppm at `at`, in nanoseconds since the start of the run.
    pub(super) fn ppm(&mut self, at: i64) -> f64 {
        match &self.rate {
            Rate::Constant(ppm) => *ppm,
            Rate::Ramp { from, to, start, over } => {
                let done = (at - start.as_nanos()) as f64 / over.as_nanos().max(1) as f64;
                from + (to - from) * done.clamp(0.0, 1.0)
            }
            Rate::Steps { first, then } => {
                then.iter().take_while(|(from, _)| from.as_nanos() <= at).last().map_or(*first, |(_, ppm)| *ppm)
            }
            Rate::Wander { around, per_root_second, limit } => {
                while at >= self.walk_until {
                    self.walk_until += WALK_STEP;
                    self.walk += per_root_second * self.rng.normal();
                    if self.walk.abs() > *limit {
                        self.walk = self.walk.signum() * (2.0 * limit - self.walk.abs());
                    }
                }
                around + self.walk
            }
        }
    }
}

/// One second, in nanoseconds: the step of the random walk.
const WALK_STEP: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn ramps_and_steps_follow_their_times() {
        let ramp = Rate::Ramp { from: -2.0, to: 6.0, start: Span::from_secs(10), over: Span::from_secs(4) };
        let mut ramp = Oscillator::new(ramp, 1, 0);
        assert_eq!([0, 10, 11, 12, 14, 100].map(|s| ramp.ppm(s * S)), [-2.0, -2.0, 0.0, 2.0, 6.0, 6.0]);

        let steps = Rate::Steps { first: 1.0, then: vec![(Span::from_secs(5), 7.0), (Span::from_secs(9), -3.0)] };
        let mut steps = Oscillator::new(steps, 1, 0);
        assert_eq!([0, 4, 5, 8, 9, 50].map(|s| steps.ppm(s * S)), [1.0, 1.0, 7.0, 7.0, -3.0, -3.0]);
    }

    #[test]
    fn wander_is_a_random_walk_that_stays_within_its_limit() {
        let seed = 3;
        // 400 walks of 100 s: their spread is 0.05 * sqrt(100) = 0.5 ppm, too little to touch the limit.
        let ends: Vec<f64> = (0..400).map(|i| Oscillator::new(Rate::wander(0.0), seed, i).ppm(100 * S)).collect();
        let spread = (ends.iter().map(|x| x * x).sum::<f64>() / ends.len() as f64).sqrt();
        println!("seed {seed}: spread {spread} ppm after 100 s");
        assert!((spread - 0.5).abs() < 0.1);

        let mut long = Oscillator::new(Rate::wander(20.0), seed, 0);
        let walk: Vec<f64> = (0..86_400).map(|s| long.ppm(s * S)).collect();
        assert!(walk.iter().all(|ppm| (15.0..=25.0).contains(ppm)));
        let widest = walk.iter().fold(0.0f64, |far, ppm| far.max((ppm - 20.0).abs()));
        assert!(widest > 4.0, "in a day it comes near its limit, but reached only {widest} ppm");
    }
}
