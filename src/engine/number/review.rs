//! A loss that was just believed is looked at again.
//!
//! Problem: a lag of two periods and a third, with a stall or some jitter at its beginning, looks like two lost packets for as
//! long as only a handful of packets have been heard; and the decision may not wait for more.
//!
//! Idea: after a loss, the very next packets come down to where they were before it, and no lower than the floor. After a
//! delay that was taken for one they never do: the rest that is no whole period stays. So the lowest of the next packets,
//! compared with the level before, proves the loss false within half a second, whatever the lag.

use super::late::at_most;
use crate::engine::number::tuning::EARLY;
use crate::engine::number::tuning::review::{BACK, BLUR, CLIMB, JITTER, LOOKS, RUN};
use crate::time::{MonoTime, Span};

/// What was heard since.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Review {
    /// Arrival of the first packet behind the loss.
    pub since: MonoTime,
    /// Where packets came before it, above the clock's floor. One that came below was the floor from then on.
    level: Span,
    /// The mean delay above that.
    jitter: Span,
    lowest: Span,
    spaced: u32,
    early: u32,
    last: MonoTime,
}

/// What a packet says about the loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Finding {
    Open,
    /// It was one, as far as arrivals can tell.
    Stands,
    /// It was a delay; the lowest of the packets behind it, numbered as they are.
    False(Span),
}

impl Review {
    pub fn new(since: MonoTime, level: Span, jitter: Span) -> Review {
        Review { since, level, jitter, lowest: Span::MAX, spaced: 0, early: 0, last: since }
    }

    /// Where packets came before the loss, above the clock's floor.
    pub fn level(&self) -> Span {
        self.level
    }

    /// A packet behind the loss, `r` above the clock's floor.
    pub fn hear(&mut self, r: Span, at: MonoTime, period: Span) -> Finding {
        self.lowest = self.lowest.min(r);
        self.early +=
            u32::from(r < self.level.min(Span::ZERO) - at_most(EARLY, period, 4) - self.jitter.mul_ratio(1, 2));
        if self.early >= RUN {
            return Finding::False(self.lowest);
        }
        if at - self.last < period.mul_ratio(1, 2) {
            return Finding::Open;
        }
        self.last = at;
        self.spaced += 1;
        if !LOOKS.contains(&self.spaced) {
            return Finding::Open;
        }
        let tolerance = self.jitter.mul_ratio(JITTER, i64::from(self.spaced))
            + at_most(BLUR, period, 16)
            + (at - self.since).mul_ratio(1, CLIMB);
        if self.lowest > self.level.max(Span::ZERO) + tolerance {
            Finding::False(self.lowest)
        } else if self.spaced == LOOKS[LOOKS.len() - 1] {
            Finding::Stands
        } else {
            Finding::Open
        }
    }

    /// The packets heard so far have come down to where they were before the loss: 19 of 20 do after a true one. A single one is
    /// enough only where packets `are_lost` anyway.
    pub fn is_back(&self, are_lost: bool) -> bool {
        (are_lost || self.spaced > 0)
            && self.lowest <= self.level.max(Span::ZERO) + self.jitter.mul_ratio(BACK, i64::from(self.spaced + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Span = Span::from_nanos(10_666_667);

    /// Packets a period apart at these residuals, over and over, after a level of 0 with 0.3 ms of jitter.
    fn heard(residuals_us: &[i64]) -> (Finding, usize) {
        let start = MonoTime::from_nanos(1_000_000_000);
        let mut review = Review::new(start, Span::ZERO, Span::from_micros(300));
        for (k, &r) in residuals_us.iter().cycle().enumerate() {
            let at = start + P.mul_ratio(k as i64 + 1, 1);
            match review.hear(Span::from_micros(r), at, P) {
                Finding::Open => {}
                found => return (found, k + 1),
            }
        }
        unreachable!("a review ends")
    }

    #[test]
    fn a_loss_whose_packets_come_down_to_the_level_stands() {
        assert_eq!(heard(&[900, 300, 40, 500]), (Finding::Stands, 48));
    }

    #[test]
    fn a_loss_soon_after_a_packet_that_lowered_the_floor_stands() {
        let start = MonoTime::from_nanos(1_000_000_000);
        let mut review = Review::new(start, Span::from_micros(-627), Span::from_micros(200));
        let mut hear = |k: i64| review.hear(Span::from_micros(40 + k * 37 % 300), start + P.mul_ratio(k + 1, 1), P);
        assert!((0..48).map(&mut hear).all(|found| !matches!(found, Finding::False(_))));
    }

    #[test]
    fn a_rest_that_stays_was_a_delay() {
        // 25 ms are two periods and 3.67 ms.
        assert_eq!(heard(&[3_700, 4_200]), (Finding::False(Span::from_micros(3_700)), 8));
        // A rest of 0.5 ms shows when the lowest of 16 lies within 12/16 x 0.3 ms, a blur of 0.1 ms and a climb of 0.17 ms.
        assert_eq!(heard(&[510, 700, 1_500]), (Finding::False(Span::from_micros(510)), 16));
    }

    #[test]
    fn packets_below_the_floor_were_never_behind_a_loss() {
        // 8 ms are a period less 2.67 ms.
        assert_eq!(heard(&[-2_600]), (Finding::False(Span::from_micros(-2_600)), 3));
        assert_eq!(heard(&[-300]), (Finding::Stands, 48), "that much a floor may be wrong by");
    }

    #[test]
    fn a_load_ramp_is_no_reason() {
        let start = MonoTime::from_nanos(1_000_000_000);
        let mut review = Review::new(start, Span::ZERO, Span::from_micros(300));
        let ramp = |k: i64| review.hear(Span::from_micros(20 + k * 16 / 3), start + P.mul_ratio(k + 1, 1), P);
        assert!((0..48).map(ramp).all(|found| !matches!(found, Finding::False(_))));
    }
}
