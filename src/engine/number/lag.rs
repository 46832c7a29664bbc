//! How far a microphone's packets come behind the first of their cycle.
//!
//! Problem: a path may begin to hold one microphone of a board back for good, by some milliseconds. After a stall the
//! others' backlog is then there before this one's, and the order across the sockets says nothing about it.
//!
//! Idea: delay is only ever added, so the least distance to the first packet of its cycle, over the last cycles, is the lag
//! that stands. It is adopted once it has stood for a block of cycles, and given up at once.

use crate::engine::number::tuning::lag::BLOCK;
use crate::time::Span;

/// The lag of one microphone.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Lag {
    /// Least of the last whole block, and of the present one.
    before: Span,
    present: Span,
    seen: u32,
    overtaken: bool,
}

impl Default for Lag {
    fn default() -> Lag {
        Lag { before: Span::ZERO, present: Span::MAX, seen: 0, overtaken: false }
    }
}

impl Lag {
    /// A packet that came `behind` the first one of its cycle.
    pub fn note(&mut self, behind: Span) {
        self.present = self.present.min(behind);
        self.seen += 1;
        self.overtaken = false;
        if self.seen == BLOCK {
            *self = Lag { before: self.present, present: Span::MAX, seen: 0, overtaken: false };
        }
    }

    /// A packet came too soon for its cycle by the lag that stands. The second in a row ends it.
    pub fn overtaken(&mut self) {
        if std::mem::replace(&mut self.overtaken, true) {
            *self = Lag::default();
        }
    }

    /// The lag that stands.
    pub fn standing(&self) -> Span {
        self.before.min(self.present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_adopted_when_it_has_stood_for_a_block_and_given_up_at_once() {
        let (none, some) = (Span::from_micros(200), Span::from_millis(8));
        let mut lag = Lag::default();
        (0..30).for_each(|_| lag.note(none));
        assert_eq!(lag.standing(), none);
        // The block in which it began, and one more.
        let adopted = (1..100).find(|_| {
            lag.note(some);
            lag.standing() == some
        });
        assert_eq!(adopted, Some(18 + 24));
        lag.note(none);
        assert_eq!(lag.standing(), none);
    }

    #[test]
    fn one_packet_that_came_too_soon_is_a_stray_and_two_end_the_lag() {
        let some = Span::from_millis(8);
        let mut lag = Lag::default();
        (0..48).for_each(|_| lag.note(some));
        lag.overtaken();
        lag.note(some);
        lag.overtaken();
        assert_eq!(lag.standing(), some);
        lag.overtaken();
        assert_eq!(lag.standing(), Span::ZERO);
    }
}
