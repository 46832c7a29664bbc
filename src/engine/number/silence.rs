//! After a silence: did the board go on counting?
//!
//! Problem: a free board that was silent for half a second may have restarted, and then has another phase. Or its path was
//! stalled, and the backlog, all of it or its newest part, comes now; or what it sent is lost.
//!
//! Idea: the clock known from before goes on. Numbered as if nothing was lost, a backlog comes down to the floor; after a loss
//! the packets stay a whole number of periods above it, once they come at their normal spacing; after a restart they stay
//! anywhere. The lowest of so many packets is heard that what is no whole number shows.

use crate::engine::number::tuning::JITTER;
use crate::engine::number::tuning::silence::{LONGEST, NEAR, SPACED};
use crate::time::{MonoTime, Span};

/// What is heard of a board that was silent.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Silence {
    /// How far the floor of before may be off by now.
    blur: Span,
    /// The mean delay above the floor.
    jitter: Span,
    since: MonoTime,
    /// Where the present level was first heard; it is left when packets come down further.
    from: Span,
    lowest: Span,
    spaced: u32,
    newest: MonoTime,
    last: MonoTime,
}

/// What the packets say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Answer {
    Open,
    /// The board went on, and so many chunks of the silence are lost.
    WentOn(i64),
    /// Its phase is another, or cannot be told from one.
    Anew,
}

impl Silence {
    /// The first packet came at `since`. `None`: the floor says nothing about it.
    pub fn new(since: MonoTime, blur: Span, jitter: Span, period: Span) -> Option<Silence> {
        let level = Span::MAX;
        let silence =
            Silence { blur, jitter, since, from: level, lowest: level, spaced: 0, newest: since, last: since };
        (blur < period.mul_ratio(1, 2 * NEAR)).then_some(silence)
    }

    /// A packet, numbered as if nothing was lost, `r` above the floor.
    pub fn hear(&mut self, r: Span, at: MonoTime, period: Span) -> Answer {
        if r < period - self.below(period) {
            return Answer::WentOn(0);
        }
        let in_burst = at - std::mem::replace(&mut self.newest, at) < period.mul_ratio(1, 8);
        if r < self.from - period.mul_ratio(1, 4) {
            // The backlog is not through.
            (self.from, self.lowest, self.spaced) = (r, r, 0);
        }
        self.lowest = self.lowest.min(r);
        if !in_burst && at - self.last > period.mul_ratio(1, 2) {
            self.spaced += 1;
            self.last = at;
        }
        let enough = self.spaced >= SPACED && self.band() <= period.mul_ratio(1, NEAR);
        if !enough && at - self.since < LONGEST {
            return Answer::Open;
        }
        let period_ns = period.as_nanos().max(1);
        let lost = (self.lowest + self.below(period)).as_nanos().div_euclid(period_ns);
        if enough && self.lowest - period.mul_ratio(lost, 1) <= self.band() {
            Answer::WentOn(lost)
        } else {
            Answer::Anew
        }
    }

    /// How far above a whole number the lowest may lie.
    fn band(&self) -> Span {
        self.blur + self.jitter.mul_ratio(JITTER, i64::from(self.spaced.max(1)))
    }

    /// How far below one: stamps jitter at their floor, by a 64th of a period at most.
    fn below(&self, period: Span) -> Span {
        self.blur + period.mul_ratio(1, 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Span = Span::from_nanos(10_666_667);

    /// The answer to packets at (residual, time) in microseconds, and how many it took.
    fn answer(packets: impl IntoIterator<Item = (i64, i64)>) -> (Answer, usize) {
        let at = |us: i64| MonoTime::from_nanos(us * 1_000);
        let mut silence = Silence::new(at(0), Span::from_micros(50), Span::from_micros(300), P).expect("a sharp floor");
        for (k, (r, t)) in packets.into_iter().enumerate() {
            match silence.hear(Span::from_micros(r), at(t), P) {
                Answer::Open => {}
                said => return (said, k + 1),
            }
        }
        (Answer::Open, 0)
    }

    #[test]
    fn a_backlog_that_comes_down_to_the_floor_went_on_without_a_loss() {
        let burst = (0..200).map(|k| (600_000 - k * 10_667 + k * 200, k * 200));
        assert_eq!(answer(burst), (Answer::WentOn(0), 58), "600 - 57 x 10.467 is 3.4 ms");
    }

    #[test]
    fn a_level_of_whole_periods_is_a_loss_and_any_other_a_restart() {
        let level = |r: i64| (0..100).map(move |k| (r + k * 37 % 300, k * 10_667));
        assert_eq!(answer(level(60 * 10_667)), (Answer::WentOn(60), 9));
        assert_eq!(answer(level(60 * 10_667 + 4_000)), (Answer::Anew, 9));
        assert_eq!(answer(level(60 * 10_667 - 2_000)), (Answer::Anew, 9));
    }

    #[test]
    fn a_backlog_of_which_the_oldest_part_was_lost_is_waited_for() {
        let burst = (0..50).map(|k| ((30 + 50) * 10_667 - k * 10_667 + k * 200, k * 200));
        let then = (0..20).map(|k| (30 * 10_667 + 100, 10_000 + k * 10_667));
        assert_eq!(answer(burst.chain(then)).0, Answer::WentOn(30));
    }

    #[test]
    fn a_floor_that_may_be_off_by_much_says_nothing() {
        assert!(Silence::new(MonoTime::from_nanos(0), Span::from_millis(1), Span::ZERO, P).is_none());
    }
}
