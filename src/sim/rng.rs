//! Random numbers that are the same on every machine, for ever.
//!
//! A failed simulation is only worth its seed when the seed brings the same packets back. So the generator is
//! xoshiro256++ seeded through SplitMix64 (Blackman and Vigna; `rand_xoshiro` promises stable values), and logarithm,
//! sine and power come from the `libm` crate, which is the same Rust code everywhere, and not from the platform's C
//! library, whose last bit may differ.
//!
//! Each kind of decision of each board draws from a stream of its own: asking for duplicates does not change which
//! packets are lost.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};

/// What a stream of random numbers is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Phase = 1,
    Wander,
    Loss,
    CycleLoss,
    Jitter,
    Stalls,
    Ramps,
    Queues,
    Drain,
    Duplicates,
    Reordering,
    Sizes,
    Room,
}

#[derive(Clone, Debug)]
pub(super) struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream for one purpose of one board (or microphone) in a run with this seed.
    pub(super) fn stream(seed: u64, purpose: Purpose, index: usize) -> Rng {
        let own = split_mix(seed ^ split_mix(((purpose as u64) << 32) | index as u64));
        Rng(Xoshiro256PlusPlus::seed_from_u64(own))
    }

    /// Uniform in [0, 1), with 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.uniform() < p
    }

    /// Exponential with this mean, by inversion.
    pub(super) fn exp(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.uniform())
    }

    /// Lomax (Pareto type II, from 0) with this mean and this shape above 1, by inversion.
    pub(super) fn pareto(&mut self, mean: f64, shape: f64) -> f64 {
        mean * (shape - 1.0) * (libm::pow(1.0 - self.uniform(), -1.0 / shape) - 1.0)
    }

    /// Standard normal (Box and Muller's first half).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

/// SplitMix64's output function (Steele, Lea and Flood 2014): a hash of 64 bits into 64.
pub(super) fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_sequence() {
        // Vigna's splitmix64.c seeded with 1234567: the test vector that Rosetta Code and many ports use.
        let mut state = 1_234_567u64;
        let mut next = || {
            let out = split_mix(state);
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            out
        };
        assert_eq!(next(), 6_457_827_717_110_365_317);
        assert_eq!(next(), 3_203_168_211_198_807_973);
        assert_eq!(next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, index| {
            let mut rng = Rng::stream(seed, purpose, index);
            [rng.uniform(), rng.uniform()]
        };
        assert_eq!(draw(7, Purpose::Loss, 1), draw(7, Purpose::Loss, 1));
        assert_ne!(draw(7, Purpose::Loss, 1), draw(8, Purpose::Loss, 1));
        assert_ne!(draw(7, Purpose::Loss, 1), draw(7, Purpose::Jitter, 1));
        assert_ne!(draw(7, Purpose::Loss, 1), draw(7, Purpose::Loss, 2));
    }

    /// Mean and standard deviation of `n` draws against the distribution's own, within five standard errors.
    fn check_moments(name: &str, mean: f64, deviation: f64, mut draw: impl FnMut(&mut Rng) -> f64) {
        let seed = 2026;
        let n = 200_000;
        let mut rng = Rng::stream(seed, Purpose::Phase, 0);
        let draws: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
        let found_mean = draws.iter().sum::<f64>() / n as f64;
        let found_deviation = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        println!("{name}, seed {seed}: mean {found_mean} for {mean}, deviation {found_deviation} for {deviation}");
        assert!((found_mean - mean).abs() < 5.0 * deviation / (n as f64).sqrt(), "{name}");
        assert!((found_deviation / deviation - 1.0).abs() < 0.05, "{name}");
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        check_moments("uniform", 0.5, (1.0f64 / 12.0).sqrt(), Rng::uniform);
        check_moments("exponential", 3.0, 3.0, |rng| rng.exp(3.0));
        check_moments("normal", 0.0, 1.0, Rng::normal);
        // Lomax of shape a and scale s: mean s/(a-1), variance s^2 a / ((a-1)^2 (a-2)).
        let (mean, shape) = (2.0, 6.0);
        let scale: f64 = mean * (shape - 1.0);
        let deviation = (scale * scale * shape / ((shape - 1.0).powi(2) * (shape - 2.0))).sqrt();
        check_moments("pareto", mean, deviation, |rng| rng.pareto(mean, shape));
    }
}
