//! Skips that may still prove false.
//!
//! Delay is only ever added, so packets that arrive whole periods earlier than the floor allows, soon after a skip, say that
//! nothing was lost there: the packets before it were late, and the ones after it are numbered too high. Packets that are
//! early by anything else show a path that became shorter. It may be on its way to whole periods, so that the clock learns
//! it only after a while.

use crate::engine::number::tuning::EARLY;
use crate::engine::number::tuning::skips::{DISPUTE, KEPT, NEAR, RECENT, RUN, TOGETHER, WITHIN};
use std::collections::VecDeque;

use super::late::at_most;
use crate::array::MicSet;
use crate::time::{MonoTime, Span};

/// What was counted lost for a skip: of some streams, of each as much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::engine) struct Lost {
    pub each: u64,
    pub of: MicSet,
}

impl Lost {
    /// Of the one stream that there is.
    pub fn of_one(each: u64) -> Lost {
        Lost { each, of: MicSet::from_fn(1, |_| true) }
    }

    pub fn by(self, stream: usize) -> u64 {
        if self.of.contains(stream) { self.each } else { 0 }
    }
}

/// Positions that were skipped.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Skip {
    /// Arrival of the first packet behind it.
    pub since: MonoTime,
    pub frames: i64,
    pub lost: Lost,
}

/// The newest skips.
#[derive(Debug)]
pub(in crate::engine) struct Skips {
    skips: VecDeque<Skip>,
    dispute: Option<Dispute>,
    disputed: bool,
}

/// Early packets.
#[derive(Clone, Copy, Debug)]
struct Dispute {
    since: MonoTime,
    last: MonoTime,
    heard: usize,
    recent: [Span; RECENT],
}

impl Default for Skips {
    fn default() -> Skips {
        Skips { skips: VecDeque::with_capacity(KEPT), dispute: None, disputed: false }
    }
}

impl Skips {
    pub fn push(&mut self, since: MonoTime, frames: i64, lost: Lost) {
        if self.skips.len() == KEPT {
            self.skips.pop_front();
        }
        self.skips.push_back(Skip { since, frames, lost });
    }

    /// The skip before the packet that arrived at `since` proved false; or an older one, where packets come as many frames `early` as that
    /// one skipped, and this one did not.
    pub fn take_back(&mut self, since: MonoTime, early: i64, at: MonoTime) -> Option<Skip> {
        let i = self.skips.iter().rposition(|skip| skip.since == since)?;
        let fits = |skip: &Skip| skip.frames == early && at - skip.since < WITHIN;
        let older = (early > self.skips[i].frames).then(|| self.skips.iter().take(i).rposition(fits)).flatten();
        self.dispute = None;
        self.skips.remove(older.unwrap_or(i))
    }

    /// Skipped in all since then.
    pub fn frames_since(&self, after: MonoTime) -> i64 {
        self.skips.iter().rev().take_while(|skip| skip.since >= after).map(|skip| skip.frames).sum()
    }

    /// Of the skips since `after`, so many frames proved false, the newest first. Since when, where there are some.
    pub fn take_frames(&mut self, frames: i64, after: MonoTime) -> Option<MonoTime> {
        let (mut left, mut since) = (frames, None);
        while left > 0
            && let Some(skip) = self.skips.back_mut().filter(|skip| skip.since >= after)
        {
            since = Some(skip.since);
            if skip.frames > left {
                // What was counted lost for it shrinks in proportion: it is of one stream, so many frames a chunk.
                let each = skip.lost.each as i64 * left / skip.frames;
                skip.frames -= left;
                skip.lost.each -= each as u64;
                break;
            }
            left -= skip.frames;
            self.skips.pop_back();
        }
        self.dispute = None;
        since
    }

    pub fn clear(&mut self) {
        self.skips.clear();
        self.dispute = None;
    }

    /// A skip so recent that packets may speak against it.
    pub fn stands(&self, at: MonoTime) -> bool {
        self.skips.back().is_some_and(|s| at - s.since < WITHIN)
    }

    /// A packet `r` above the floor; returns the skip that it disproves: the newest of as many frames as it is early, or
    /// the newest, or as much of that as it is early. `period` is that of `nominal` frames, `jitter` the mean residual.
    pub fn hear(&mut self, r: Option<Span>, at: MonoTime, period: Span, nominal: i64, jitter: Span) -> Option<Skip> {
        self.disputed = false;
        let r = r.filter(|&r| r < -at_most(EARLY, period, 4) && self.stands(at))?;
        let together = self.dispute.filter(|d| at - d.last < TOGETHER);
        let mut dispute = together.unwrap_or(Dispute { since: at, last: at, heard: 0, recent: [Span::ZERO; RECENT] });
        dispute.last = at;
        dispute.recent[dispute.heard % RECENT] = r;
        dispute.heard += 1;
        self.disputed = at - dispute.since < DISPUTE;
        self.dispute = Some(dispute);
        if dispute.heard < RUN {
            return None;
        }
        let lowest = *dispute.recent.iter().min().expect("early packets were heard");
        let periods = (period.mul_ratio(1, 2) - lowest).as_nanos() / period.as_nanos().max(1);
        if periods < 1
            || (lowest + period.mul_ratio(periods, 1)).abs() > at_most(NEAR, period, 8) + jitter.mul_ratio(1, 2)
        {
            return None;
        }
        self.dispute = None;
        let early = periods * nominal;
        let fits = |s: &Skip| s.frames == early && at - s.since < WITHIN;
        let i = self.skips.iter().rposition(fits).unwrap_or(self.skips.len() - 1);
        let skip = &mut self.skips[i];
        if skip.frames <= early {
            return self.skips.remove(i);
        }
        // So many were lost there, but not all of them.
        let lost = Lost { each: skip.lost.each.min(periods as u64), ..skip.lost };
        skip.frames -= early;
        skip.lost.each -= lost.each;
        Some(Skip { frames: early, lost, ..*skip })
    }

    /// The packet just heard was early, and until it is known why, it teaches nothing.
    pub fn is_disputed(&self) -> bool {
        self.disputed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Span = Span::from_nanos(10_666_667);
    const JITTER: Span = Span::from_micros(100);

    fn at(ms: i64) -> MonoTime {
        MonoTime::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn early_packets_disprove_a_recent_skip_of_as_many_periods() {
        let early = Some(Span::from_micros(-10_600));
        let mut skips = Skips::default();
        skips.push(at(0), 512, Lost::of_one(1));
        skips.push(at(1), 1024, Lost::of_one(2));
        assert!(skips.hear(early, at(30), P, 512, JITTER).is_none() && skips.is_disputed());
        assert!(skips.hear(early, at(40), P, 512, JITTER).is_none());
        let skip = skips.hear(early, at(50), P, 512, JITTER).expect("disproved");
        assert_eq!((skip.frames, skip.lost), (512, Lost::of_one(1)), "early by a period: not the newest, of two");
        assert!((0..9).all(|k| skips.hear(early, at(180_100 + k), P, 512, JITTER).is_none()), "too long ago");
    }

    #[test]
    fn of_a_skip_of_three_the_one_that_was_false_is_taken_back() {
        let early = Some(Span::from_micros(-10_600));
        let mut skips = Skips::default();
        skips.push(at(0), 3 * 512, Lost::of_one(3));
        let said: Vec<_> = (0..6).map(|k| skips.hear(early, at(30 + 10 * k), P, 512, JITTER)).collect();
        let took = |s: &Option<Skip>| s.map(|s| (s.frames, s.lost));
        assert_eq!(said.iter().filter_map(took).collect::<Vec<_>>(), [(512, Lost::of_one(1)), (512, Lost::of_one(1))]);
        assert_eq!(skips.skips[0].frames, 512);
    }

    #[test]
    fn of_two_skips_the_one_that_is_as_long_as_packets_are_early_is_taken_back() {
        let taken = |early| {
            let mut skips = Skips::default();
            skips.push(at(0), 1024, Lost::of_one(2));
            skips.push(at(5_000), 512, Lost::of_one(1));
            skips.take_back(at(5_000), early, at(5_500)).map(|skip| (skip.since, skip.frames))
        };
        assert_eq!(taken(1024), Some((at(0), 1024)));
        assert_eq!([512, 0, -300, 1536].map(taken), [Some((at(5_000), 512)); 4], "no other fits better");
    }

    #[test]
    fn a_path_that_became_shorter_disproves_nothing_and_is_learnt_later() {
        let early = Some(Span::from_millis(-5));
        let mut skips = Skips::default();
        skips.push(at(0), 512, Lost::of_one(1));
        for k in 0..2_000 {
            assert!(skips.hear(early, at(20 * k), P, 512, JITTER).is_none());
            assert_eq!(skips.is_disputed(), k < 1_500, "for 30 s");
        }
    }
}
