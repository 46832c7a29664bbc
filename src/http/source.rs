//! What HTTP asks of the rest of the program. `commands` implements it on engine, history and report; the tests on a few
//! vectors.

use std::ops::Range;

use bytes::Bytes;

use super::StreamFigures;
use crate::array::ArrayId;
use crate::cycle::Cycle;
use crate::report::Metrics;
use crate::time::{FramePos, KernelTime};

/// The server's local time to the second, `2026-11-22 11:05:00`. Time zones are the system's business: `sys` makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalTime(pub [u8; 19]);

/// All arrays, and what is told of them together.
pub trait House {
    /// The array of that name.
    fn find(&self, name: &str) -> Option<ArrayId>;
    /// The array that the old routes are those of; `None` while there is none.
    fn first(&self) -> Option<ArrayId>;
    /// An array that there is: one that was [found](House::find), until it is [forgotten](super::Server::forget).
    fn array(&mut self, id: ArrayId) -> &mut dyn Source;
    /// Body of `/api/arrays`, JSON.
    fn arrays(&mut self) -> Bytes;
    /// Body of `/metrics`, Prometheus text 0.0.4. `stream`: what HTTP counts, for an array.
    fn metrics(&mut self, stream: &dyn Fn(ArrayId) -> StreamFigures) -> Bytes;
    /// All arrays, as they are listed.
    fn ids(&self) -> Vec<ArrayId>;
    /// An array's entry in the body of `/api/arrays`, JSON; `None` where it is gone.
    fn entry(&mut self, id: ArrayId) -> Option<String>;
    /// Adds an array to the body of `/metrics`, `first`: as the first of all; whether it is there.
    fn measure(&mut self, id: ArrayId, first: bool, stream: &StreamFigures, metrics: &mut Metrics) -> bool;
    /// The families of that body, in order, with what is of the whole program.
    fn families(&mut self, metrics: Metrics) -> Vec<String>;
    /// Of the worst array; `Err` says in one sentence what is wrong.
    fn health(&mut self) -> Result<(), String>;
}

/// One array, as seen by HTTP: whole bodies, and the history by position.
pub trait Source {
    fn name(&self) -> &str;
    /// Body of `/api/diagnostics_sync`, JSON. `stream`: what HTTP counts.
    fn diagnostics_sync(&mut self, stream: &StreamFigures) -> Bytes;
    /// Body of `/api/diagnostics`, JSON.
    fn diagnostics(&mut self, stream: &StreamFigures) -> Bytes;
    /// Body of `/api/latest`, JSON.
    fn latest(&mut self) -> Bytes;
    /// Body of `/metrics` with this array alone.
    fn metrics(&mut self, stream: &StreamFigures) -> Bytes;
    /// `Err` says in one sentence what is wrong.
    fn health(&mut self) -> Result<(), String>;
    /// Samples of a frame.
    fn channels(&self) -> usize;
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
    /// The description of the RTP stream that is sent (RFC 8866); `None` where none is.
    fn sdp(&self) -> Option<String> {
        None
    }
    /// Begins to listen for claps, which are so many metres from each microphone, or equally far from all.
    ///
    /// # Errors
    /// Why there is nothing to calibrate.
    fn calibrate(&mut self, _distances: Option<Vec<f64>>) -> Result<(), String> {
        Err("nothing to calibrate".to_owned())
    }
    /// What calibrations have told, JSON; it can be kept as a file.
    fn calibration(&mut self) -> Bytes {
        Bytes::from_static(b"{}")
    }
    fn local_time(&self, wall: KernelTime) -> LocalTime;
}

impl dyn Source + '_ {
    /// Bytes of one frame in the history.
    pub fn frame_bytes(&self) -> usize {
        4 * self.channels()
    }
}
