//! The vocabulary of the data path: what leaves the engine and what HTTP, recordings and reports take in.

use crate::array::PerMic;
use crate::time::{FramePos, KernelTime, MonoTime};

/// The clocks, read once at the start of a turn of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// CLOCK_MONOTONIC_RAW.
    pub mono: MonoTime,
    /// CLOCK_REALTIME at the same moment.
    pub wall: KernelTime,
}

/// An emitted cycle; its samples are in the history at `first_frame`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cycle {
    /// Rises by one an emitted cycle. The first one's names the run: milliseconds since the Unix epoch where it is served, else 0.
    pub id: u64,
    pub first_frame: FramePos,
    /// Frames in this cycle: those of its longest packet.
    pub frames: u32,
    /// Real samples a channel; fewer than `frames` means the rest are zeros.
    pub mic_samples: PerMic<u32>,
    /// Each source's packet was there when it left; else it had waited for what was missing, or knew that it would not come.
    pub complete: bool,
    /// Kernel receive time of the newest packet that filled the channel, `None` where nothing did.
    pub arrival: PerMic<Option<KernelTime>>,
    /// CLOCK_REALTIME of the turn in which the cycle was emitted.
    pub emitted: KernelTime,
}
