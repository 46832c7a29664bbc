//! Which packets the network loses.

use super::rng::{Purpose, Rng};

/// A loss model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    None,
    /// Each packet with this probability, by itself.
    Independent(f64),
    /// Gilbert and Elliott's two states, good (nothing is lost) and bad (everything is), over the packets of one path in
    /// the order they are sent: this share is lost overall, in bursts of this mean length (at least 1).
    GilbertElliott {
        overall: f64,
        mean_burst: f64,
    },
}

impl Loss {
    /// The burst loss of the clock study: 1 % overall, mean burst 5.
    pub const BURSTS: Loss = Loss::GilbertElliott { overall: 0.01, mean_burst: 5.0 };
}

/// A running [`Loss`] of one path.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    model: Loss,
    bad: bool,
    rng: Rng,
}

impl Losses {
    pub(super) fn new(model: Loss, purpose: Purpose, seed: u64, board: usize) -> Losses {
        Losses { model, bad: false, rng: Rng::stream(seed, purpose, board) }
    }

    /// Whether the next packet is lost.
    pub(super) fn next(&mut self) -> bool {
        match self.model {
            Loss::None => false,
            Loss::Independent(p) => self.rng.chance(p),
            Loss::GilbertElliott { overall, mean_burst } => {
                let leave = 1.0 / mean_burst;
                // The stationary share of the bad state is enter / (enter + leave).
                let enter = leave * overall / (1.0 - overall);
                self.bad = if self.bad { !self.rng.chance(leave) } else { self.rng.chance(enter) };
                self.bad
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost packets and bursts of them among `packets`.
    fn count(model: Loss, seed: u64, packets: u64) -> (u64, u64) {
        let mut losses = Losses::new(model, Purpose::Loss, seed, 0);
        let (mut lost, mut bursts, mut before) = (0, 0, false);
        for _ in 0..packets {
            let now = losses.next();
            lost += u64::from(now);
            bursts += u64::from(now && !before);
            before = now;
        }
        (lost, bursts)
    }

    #[test]
    fn independent_loss_has_its_rate() {
        let (seed, packets) = (5, 1_000_000);
        let (lost, bursts) = count(Loss::Independent(0.03), seed, packets);
        println!("seed {seed}: {lost} lost of {packets}, in {bursts} bursts");
        // Five standard deviations of a binomial: 5 sqrt(n p q) = 853.
        assert!(lost.abs_diff(30_000) < 853);
        // Independent bursts have mean length 1 / q.
        assert!((lost as f64 / bursts as f64 * 0.97 - 1.0).abs() < 0.01);
    }

    #[test]
    fn gilbert_elliott_has_its_rate_and_its_burst_length() {
        let (seed, packets) = (5, 5_000_000);
        let (lost, bursts) = count(Loss::BURSTS, seed, packets);
        let (share, mean_burst) = (lost as f64 / packets as f64, lost as f64 / bursts as f64);
        println!("seed {seed}: {share} lost, mean burst {mean_burst}");
        // About 10 000 bursts of geometric length (deviation sqrt(20)): 5 standard errors are 0.22 of the length, and
        // with the Poisson count of bursts about 7 % of the share.
        assert!((mean_burst - 5.0).abs() < 0.22);
        assert!((share - 0.01).abs() < 0.0007);
    }

    #[test]
    fn no_loss_loses_nothing() {
        assert_eq!(count(Loss::None, 1, 1000), (0, 0));
        assert_eq!(count(Loss::Independent(0.0), 1, 1000), (0, 0));
    }
}
