//! How long free boards are waited for.
//!
//! Nothing proves that a free board's packet is not still to come. Idea: wait a little longer than nearly all had to be
//! waited for lately. A path that became longer for good shows within seconds; a single stall does not count.

use crate::time::Span;

/// Contract section 3: at least 1 ms, at most 40 ms.
const LIMITS: (Span, Span) = (Span::from_millis(1), Span::from_millis(40));
/// Spans kept: 11 s of cycles. Of so many, the second largest is the 99.9th percentile.
const KEPT: usize = 1024;
/// Longer ones are stalls, which no wait covers (clock notes, section 3).
const STALL: Span = Span::from_millis(60);
/// Spans before the observation is trusted, and between two looks at it: a third of a second.
const EVERY: usize = 32;

/// Spread of the arrivals that fill a cycle.
#[derive(Debug)]
pub(super) struct Spread {
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
        if span > STALL {
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
            let hold = self.second_largest().mul_ratio(3, 2) + Span::from_micros(500);
            self.hold = hold.clamp(LIMITS.0, LIMITS.1);
        }
    }

    pub fn hold(&self) -> Span {
        self.hold
    }

    fn second_largest(&self) -> Span {
        let (mut first, mut second) = (Span::ZERO, Span::ZERO);
        for &span in &self.spans {
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
}
