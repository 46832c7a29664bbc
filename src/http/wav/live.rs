//! The endless stream: a clock for its listener.
//!
//! What is missing becomes silence of the same length. But whoever listens live takes that silence after the pause, and lags
//! by it from then on; so it is never longer than the history, and beyond that the position jumps.
//!
//! Listeners that keep up want the same frames at the same time: they are interleaved and converted once, for all of them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{PIECE_BYTES, WavFormat};
use crate::cycle::Cycle;
use crate::http::Source;
use crate::time::FramePos;

/// Pieces that are kept for the next listener: those of a few formats, and of who is a cycle or two behind.
const KEPT: usize = 8;

static SILENCE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// Where a piece begins, how many frames it has, and what they look like.
type Place = (FramePos, usize, WavFormat);

/// The pieces that were made last.
#[derive(Debug, Default)]
pub struct Pieces(VecDeque<(Place, Bytes)>);

impl Pieces {
    /// Nobody listens any more.
    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    fn get(&mut self, place: Place, source: &dyn Source) -> Option<Bytes> {
        if let Some((_, piece)) = self.0.iter().rev().find(|(made, _)| *made == place) {
            return Some(piece.clone());
        }
        let (from, frames, format) = place;
        let mut samples = Vec::with_capacity(frames * source.channels());
        source.read(from, frames, &mut samples)?;
        let piece = format.convert(samples, source.channels());
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((place, piece.clone()));
        Some(piece)
    }
}

/// Everything from the next cycle on, as it is emitted.
#[derive(Debug)]
pub struct LiveWav {
    /// `None` before the first cycle: nothing says yet where it begins.
    next: Option<FramePos>,
    /// The first cycle that was not sent whole.
    cycle: u64,
    /// Frames of silence in place of what was overwritten, since the client last had everything.
    silence: i64,
    format: WavFormat,
    /// Bytes that the client still asks for, where it said how many.
    left: Option<u64>,
}

impl LiveWav {
    /// From the next emitted cycle on, for so many bytes where that was said.
    pub fn new(format: WavFormat, bytes: Option<u64>, source: &dyn Source) -> LiveWav {
        LiveWav { next: None, cycle: source.cycle_ids().end, silence: 0, format, left: bytes }
    }

    /// The client has all that it asked for.
    pub fn is_over(&self) -> bool {
        self.left == Some(0)
    }

    /// The next piece, and how many cycles the client lost before it by being slow; `None` until more is emitted.
    pub fn next(&mut self, pieces: &mut Pieces, source: &dyn Source) -> Option<(Bytes, u64)> {
        let (mut piece, lost) = self.piece(pieces, source)?;
        if let Some(left) = &mut self.left {
            piece.truncate((*left).min(piece.len() as u64) as usize);
            *left -= piece.len() as u64;
        }
        Some((piece, lost))
    }

    /// Positions that were skipped are in the history, as zeros. After a skip that is longer than the history the stream
    /// goes on with the first cycle that came. What was overwritten before a slow client took it is silence too, of the
    /// history's length at most before the client has caught up. One that does not (a player that was halted, and goes on
    /// at its own pace) would get little but silence from the history's edge: it goes on with the newest cycle.
    fn piece(&mut self, pieces: &mut Pieces, source: &dyn Source) -> Option<(Bytes, u64)> {
        let span = source.span();
        let held = source.cycle_ids();
        let frame_bytes = self.format.frame_bytes();
        let max = PIECE_BYTES / frame_bytes;
        let mut lost = 0;
        let next = match self.next {
            Some(next) if next >= span.start => next,
            behind => {
                let mut cycle = source.cycle(self.cycle.max(held.start))?;
                let missing = behind.map(|next| cycle.first_frame - next);
                let missing = missing.filter(|n| self.silence + n <= span.end - span.start);
                if missing.is_none() && cycle.id > self.cycle {
                    cycle = source.cycle(held.end - 1)?;
                }
                lost = cycle.id - self.cycle;
                self.cycle = cycle.id;
                if let (Some(next), Some(missing)) = (behind, missing) {
                    let frames = (missing as usize).min(max);
                    self.next = Some(next + frames as i64);
                    self.silence += frames as i64;
                    return Some((Bytes::from_static(&SILENCE[..frames * frame_bytes]), lost));
                }
                cycle.first_frame
            }
        };
        let frames = ((span.end - next) as usize).min(max);
        if frames == 0 {
            self.silence = 0;
            return None;
        }
        let piece = pieces.get((next, frames, self.format), source)?;
        let next = next + frames as i64;
        self.next = Some(next);
        // The records of cycles may be gone before their audio is.
        self.cycle = self.cycle.max(held.start);
        let sent = |cycle: Cycle| cycle.first_frame + i64::from(cycle.frames) <= next;
        while source.cycle(self.cycle).is_some_and(sent) {
            self.cycle += 1;
        }
        Some((piece, lost))
    }
}
