//! What HTTP asks of the rest of the program. `commands` implements it on engine, history and report; the tests on a few
//! vectors.

use std::ops::Range;

use bytes::Bytes;

use crate::cycle::Cycle;
use crate::time::{FramePos, KernelTime};

/// Bytes of one frame in the history: three channels of signed 32-bit little-endian.
pub const FRAME_BYTES: usize = 4 * crate::MICS;

/// The server's local time to the second, `2026-11-22 11:05:00`. Time zones are the system's business: `sys` makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalTime(pub [u8; 19]);

/// The rest of the program, as seen by HTTP: whole bodies, and the history by position.
pub trait Source {
    /// Body of `/api/diagnostics_sync`, JSON.
    fn diagnostics_sync(&mut self) -> Bytes;
    /// Body of `/api/diagnostics`, JSON.
    fn diagnostics(&mut self) -> Bytes;
    /// Body of `/api/latest`, JSON.
    fn latest(&mut self) -> Bytes;
    /// Body of `/metrics`, Prometheus text 0.0.4.
    fn metrics(&mut self) -> Bytes;
    /// `Err` says in one sentence what is wrong.
    fn health(&mut self) -> Result<(), String>;
    /// Frames a second.
    fn sample_rate(&self) -> u32;
    /// The positions that the history holds, up to the last emitted frame. Empty before the first cycle.
    fn span(&self) -> Range<FramePos>;
    /// Appends the samples of `frames` frames from `from` on to `out`, interleaved, each s32le. `None`, and nothing, unless the
    /// history holds them all. Positions that were skipped read as zeros.
    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()>;
    /// An emitted cycle that is still held.
    fn cycle(&self, id: u64) -> Option<Cycle>;
    /// Ids of the emitted cycles that are still held, without a hole.
    fn cycle_ids(&self) -> Range<u64>;
    fn local_time(&self, wall: KernelTime) -> LocalTime;
}
