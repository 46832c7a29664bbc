//! How long free boards are waited for.
//!
//! Nothing proves that a free board's packet is not still to come. Idea: wait a little longer than nearly all had to be
//! waited for lately. A path that became longer for good shows within seconds; a single stall does not count.

use crate::engine::free::tuning::spread::{EVERY, KEPT, LIMITS, LONGEST_BURST, REGULAR, STALL};
use crate::time::Span;

/// Spread of the arrivals that fill a cycle.
#[derive(Debug)]
pub(in crate::engine) struct Spread {
    spans: Vec<Span>,
    next: usize,
    since: usize,
    hold: Span,
}

impl Spread {
    pub fn new() -> Spread {
        Spread { spans: Vec::with_capacity(KEPT), next: 0, since: 0, hold: LIMITS.1 }
    }

    /// From the arrival that filled the first board's channel to the last's.
    pub fn note(&mut self, span: Span) {
        if span > LONGEST_BURST {
            return;
        }
        if self.spans.len() < KEPT {
            self.spans.push(span);
        } else {
            self.spans[self.next] = span;
            self.next = (self.next + 1) % KEPT;
        }
        self.since += 1;
        if self.since == EVERY {
            self.since = 0;
            // 1.5 times the percentile, and half a millisecond: clock notes, section 3.
            let bursts = self.spans.iter().filter(|&&span| span > STALL).count() * REGULAR > self.spans.len();
            let (counted, longest) = if bursts { (LONGEST_BURST, LONGEST_BURST) } else { (STALL, LIMITS.1) };
            let hold = self.second_largest(counted).mul_ratio(3, 2) + Span::from_micros(500);
            self.hold = hold.clamp(LIMITS.0, longest);
        }
    }

    pub fn hold(&self) -> Span {
        self.hold
    }

    /// Of those that are no longer than `counted`.
    fn second_largest(&self, counted: Span) -> Span {
        let (mut first, mut second) = (Span::ZERO, Span::ZERO);
        for &span in self.spans.iter().filter(|&&span| span <= counted) {
            if span > first {
                (first, second) = (span, first);
            } else if span > second {
                second = span;
            }
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hold_follows_a_lasting_lag_within_three_seconds_and_ignores_a_single_one() {
        let mut spread = Spread::new();
        assert_eq!(spread.hold(), Span::from_millis(40), "nothing is known yet");
        (0..94 * 12).for_each(|_| spread.note(Span::from_micros(100)));
        assert_eq!(spread.hold(), Span::from_millis(1));
        spread.note(Span::from_millis(30));
        (0..94).for_each(|_| spread.note(Span::from_micros(100)));
        assert_eq!(spread.hold(), Span::from_millis(1));
        (0..94 * 3).for_each(|_| spread.note(Span::from_millis(16)));
        assert!(spread.hold() >= Span::from_millis(16), "{:?}", spread.hold());
        (0..94 * 12).for_each(|_| spread.note(Span::from_millis(39)));
        assert_eq!(spread.hold(), Span::from_millis(40));
    }

    #[test]
    fn bursts_that_come_every_tenth_of_a_second_are_learnt_and_stalls_are_not() {
        let mut spread = Spread::new();
        // Three boards that wake every 102 ms, each at its own time: half of all cycles wait for longer than 50 ms.
        (0..512).for_each(|k| spread.note(Span::from_millis(k * 37 % 102)));
        assert!(spread.hold() > Span::from_millis(102), "{:?}", spread.hold());
        let mut spread = Spread::new();
        // Four stalls a minute, five cycles each: 20 of 5625.
        (0..1_024).for_each(|k| spread.note(Span::from_millis(if k % 281 == 0 { 100 } else { 2 })));
        assert!(spread.hold() < Span::from_millis(5), "{:?}", spread.hold());
    }
}
