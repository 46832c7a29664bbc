//! Skips that may still prove false.
//!
//! Delay is only ever added, so packets that arrive earlier than the floor allows, soon after a skip, say that nothing was
//! lost there: the packets before it were late, and the ones after it are numbered too high.

use std::collections::VecDeque;

use crate::time::{MonoTime, Span};

/// Earlier than this below the floor, packets speak against a skip (clock notes, section 2).
const EARLY: Span = Span::from_micros(-400);
/// How long after a skip they do.
const WITHIN: Span = Span::from_secs(180);
/// So many early packets in a row take a skip back; a single one may be a stray.
const RUN: u32 = 3;
const KEPT: usize = 16;

/// Positions that were skipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skip<L> {
    /// Arrival of the first packet behind it.
    pub since: MonoTime,
    pub frames: i64,
    /// What was counted lost for it.
    pub lost: L,
}

/// The newest skips.
#[derive(Debug)]
pub(super) struct Skips<L = u64> {
    skips: VecDeque<Skip<L>>,
    early: u32,
}

impl<L> Default for Skips<L> {
    fn default() -> Skips<L> {
        Skips { skips: VecDeque::with_capacity(KEPT), early: 0 }
    }
}

impl<L> Skips<L> {
    pub fn push(&mut self, since: MonoTime, frames: i64, lost: L) {
        if self.skips.len() == KEPT {
            self.skips.pop_front();
        }
        self.skips.push_back(Skip { since, frames, lost });
    }

    pub fn clear(&mut self) {
        self.skips.clear();
        self.early = 0;
    }

    /// A skip so recent that packets may speak against it.
    pub fn stands(&self, at: MonoTime) -> bool {
        self.skips.back().is_some_and(|s| at - s.since < WITHIN)
    }

    /// A packet `r` above the floor; returns the skip that it disproves: the newest of as many frames as it is early, or
    /// the newest. `period` is that of `nominal` frames.
    pub fn hear(&mut self, r: Option<Span>, at: MonoTime, period: Span, nominal: i64) -> Option<Skip<L>> {
        let early = r.filter(|&r| r < EARLY && self.stands(at));
        self.early = if early.is_some() { self.early + 1 } else { 0 };
        if self.early < RUN {
            return None;
        }
        self.early = 0;
        let periods = (early? - period.mul_ratio(1, 2)).as_nanos() / period.as_nanos().max(1);
        let fits = |s: &Skip<L>| s.frames == -periods * nominal && at - s.since < WITHIN;
        let i = self.skips.iter().rposition(fits).unwrap_or(self.skips.len() - 1);
        self.skips.remove(i)
    }

    /// The packet just heard was early: until it is known why, it teaches nothing.
    pub fn is_disputed(&self) -> bool {
        self.early > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_early_packets_in_a_row_disprove_a_recent_skip() {
        let at = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        let (early, on_time) = (Some(Span::from_micros(-10_600)), Some(Span::from_micros(-100)));
        let p = Span::from_nanos(10_666_667);
        let mut skips = Skips::default();
        skips.push(at(0), 512, 1);
        skips.push(at(1), 1024, 2);
        assert!(skips.hear(early, at(10), p, 512).is_none() && skips.is_disputed());
        assert!(skips.hear(on_time, at(20), p, 512).is_none() && !skips.is_disputed());
        assert!(skips.hear(early, at(30), p, 512).is_none() && skips.hear(early, at(40), p, 512).is_none());
        let skip = skips.hear(early, at(50), p, 512).expect("disproved");
        assert_eq!((skip.frames, skip.lost), (512, 1), "early by a period: not the newest, of two");
        assert!((0..9).all(|k| skips.hear(early, at(180_100 + k), p, 512).is_none()), "too long ago");
    }
}
