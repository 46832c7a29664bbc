//! One cycle of the newest, and the chunks that stand in it.

use crate::array::MicSet;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::shared::align::Arrival;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// A chunk in its place.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Slot {
    /// Its number among those of its source.
    pub(super) serial: u64,
    /// Its length.
    pub samples: u32,
    /// What is there of it, in samples.
    pub present: u32,
    /// When its first datagram came, and its newest.
    pub stamp: KernelTime,
    pub at: MonoTime,
    pub(super) newest_stamp: KernelTime,
    pub newest_at: MonoTime,
    /// From the stamp until the loop read it.
    pub loop_delay: Span,
    /// Placed as if nothing was lost, until what follows decides.
    pub doubtful: bool,
    /// It was here before its microphone's floor, as that was known until then.
    pub early: bool,
    /// It fills a cycle that had left, and is counted late.
    pub(super) late: bool,
    /// The first sample of the part that came first, and where that stands: what is no copy of it mostly differs there already.
    pub first: [u8; SAMPLE_BYTES],
    pub first_offset: u32,
}

impl Slot {
    pub fn of(a: &Arrival<'_>, doubtful: bool, early: bool) -> Slot {
        Slot {
            serial: a.chunk.serial,
            samples: a.chunk.samples,
            present: a.len(),
            stamp: a.stamp,
            at: a.at,
            newest_stamp: a.newest_stamp,
            newest_at: a.newest_at,
            loop_delay: a.delay,
            doubtful,
            early,
            late: false,
            first: a.first(),
            first_offset: a.offset,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.present == self.samples
    }
}

/// One cycle.
#[derive(Debug)]
pub(in crate::engine) struct Entry {
    /// Number on the board's own axis, lost cycles included.
    pub ordinal: i64,
    pub first: FramePos,
    /// The same place on the board's own axis.
    pub own_first: FramePos,
    pub frames: u32,
    /// By microphone.
    pub slots: Vec<Option<Slot>>,
    pub opened: MonoTime,
    /// Its only packet came too early for it, and may belong elsewhere.
    pub tentative: bool,
    pub(super) left: Option<Left>,
}

/// How a cycle left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    /// `None`: before the start, unheard.
    pub(super) id: Option<u64>,
    pub(super) lost: MicSet,
}

impl Entry {
    pub fn own_end(&self, samples: u32) -> FramePos {
        self.own_first + i64::from(self.frames.max(samples))
    }
    pub fn is_complete(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_some_and(|s| s.is_whole())) && !self.tentative
    }
    pub fn has_left(&self) -> bool {
        self.left.is_some()
    }
    /// A doubt began inside it: some of its packets are certain, some are not.
    pub(super) fn is_mixed(&self) -> bool {
        let slots = || self.slots.iter().flatten();
        slots().any(|s| s.doubtful) && slots().any(|s| !s.doubtful)
    }
    /// The highest index that is there.
    pub fn last_mic(&self) -> Option<usize> {
        self.slots.iter().rposition(Option::is_some)
    }
    pub fn is_doubtful(&self) -> bool {
        self.slots.iter().flatten().any(|s| s.doubtful)
    }
    pub fn first_arrival(&self) -> Option<MonoTime> {
        self.slots.iter().flatten().map(|s| s.at).min()
    }
    pub fn newest(&self) -> Option<MonoTime> {
        self.slots.iter().flatten().map(|s| s.newest_at).max()
    }
}
