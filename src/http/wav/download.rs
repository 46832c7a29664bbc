//! A stretch of the history as a body of a known length. One that the history overtakes is cut off, never continued with
//! other samples.

use bytes::Bytes;

use super::{FIRST_PIECE_BYTES, Form, PIECE_BYTES, header};
use crate::http::Source;
use crate::time::FramePos;

/// A stretch of the history as a file: all channels, of 32 bits, behind a header.
#[derive(Debug)]
pub struct WavFile {
    header: Vec<u8>,
    first: FramePos,
    channels: usize,
    audio_bytes: u64,
}

impl WavFile {
    /// Of `first..end`, which are no more than [`super::max_frames`].
    pub fn new(form: Form, channels: usize, rate: u32, first: FramePos, end: FramePos) -> WavFile {
        let bytes = (end - first) as u32 * 4 * channels as u32;
        let header = header(form, channels as u16, 32, rate, Some(bytes));
        WavFile { header, first, channels, audio_bytes: bytes.into() }
    }

    fn frame_bytes(&self) -> u64 {
        4 * self.channels as u64
    }

    pub fn bytes(&self) -> u64 {
        self.header.len() as u64 + self.audio_bytes
    }

    /// The frame that a byte needs, the first one for the header's.
    pub fn position(&self, byte: u64) -> FramePos {
        self.first + (self.audio_byte(byte) / self.frame_bytes()) as i64
    }

    /// Bytes `from..to`: those of the header, and a body for the rest.
    pub fn part(&self, from: u64, to: u64) -> (Vec<u8>, WavDownload) {
        let in_header = |byte: u64| byte.min(self.header.len() as u64) as usize;
        let body = WavDownload {
            next: self.position(from),
            skip: (self.audio_byte(from) % self.frame_bytes()) as usize,
            left: self.audio_byte(to) - self.audio_byte(from),
            piece: FIRST_PIECE_BYTES,
        };
        (self.header[in_header(from)..in_header(to)].to_vec(), body)
    }

    fn audio_byte(&self, byte: u64) -> u64 {
        byte.saturating_sub(self.header.len() as u64)
    }
}

/// The audio of a [`WavFile`], or a part of it.
#[derive(Debug)]
pub struct WavDownload {
    next: FramePos,
    /// Bytes of the next frame that are not asked for.
    skip: usize,
    /// Bytes still to come.
    left: u64,
    /// Bytes of the next piece, at most.
    piece: usize,
}

/// The history overwrote what was still to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overrun;

impl WavDownload {
    /// The next piece; `None` at the end.
    pub fn next(&mut self, source: &dyn Source) -> Result<Option<Bytes>, Overrun> {
        if self.left == 0 {
            return Ok(None);
        }
        let frame_bytes = source.frame_bytes() as u64;
        let most = self.piece as u64 / frame_bytes;
        let frames = (self.skip as u64 + self.left).div_ceil(frame_bytes).min(most) as usize;
        let mut samples = Vec::with_capacity(frames * source.channels());
        source.read(self.next, frames, &mut samples).ok_or(Overrun)?;
        let mut piece = Bytes::from(samples.into_flattened()).slice(self.skip..);
        piece.truncate(self.left.min(piece.len() as u64) as usize);
        self.piece = PIECE_BYTES;
        self.next = self.next + frames as i64;
        self.skip = 0;
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }
}
