//! What the engine counts: plain numbers since start, one place for all of them.

use crate::MICS;

/// Counters of one microphone, since start. "Packets" unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MicCounters {
    /// Accepted packets.
    pub received: u64,
    /// Samples in the accepted packets.
    pub samples: u64,
    /// Empty, or not a whole number of samples; from the sender that is followed.
    pub malformed: u64,
    /// Longer than the limit; from the sender that is followed.
    pub truncated: u64,
    /// From another sender while the followed one is live.
    pub foreign: u64,
    pub duplicate: u64,
    /// Arrived after their cycle had left; they still fill the history.
    pub late: u64,
    /// Inferred lost, those of whole lost cycles included, once settled; one that still arrives moves to `late`.
    pub lost: u64,
    /// Dropped at the socket's full receive buffer: SO_RXQ_OVFL, SO_MEMINFO.
    pub kernel_dropped: u64,
    pub sender_changes: u64,
    /// Whole samples inserted or left out to follow a free-running board.
    pub slips: u64,
    /// Skips that proved false and were taken back.
    pub corrected: u64,
    /// Delivered without a kernel timestamp: an error of ours; not placed.
    pub unstamped: u64,
}

/// Counters of cycles, since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CycleCounters {
    pub emitted: u64,
    pub complete: u64,
    pub incomplete: u64,
    /// Whole cycles lost: positions that no event carries.
    pub skipped: u64,
}

/// Everything the engine counts, since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub mics: [MicCounters; MICS],
    pub cycles: CycleCounters,
    /// Steps of CLOCK_REALTIME that were noticed.
    pub clock_steps: u64,
}
