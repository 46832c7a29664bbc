//! The history as text: `frame,mic0,mic1,mic2` (and so on), a line a frame, written as the socket drains.

use bytes::Bytes;

use super::Source;
use super::wav::{FIRST_PIECE_BYTES, Overrun};
use crate::time::FramePos;

/// Samples a piece: some 20 KB of text, 20 us to write, which is what one turn of the loop gives one client.
const PIECE_SAMPLES: usize = 1536;
/// The first one is as long as that of a WAV: it begins where the history is overwritten next.
const FIRST_PIECE_SAMPLES: usize = FIRST_PIECE_BYTES / 4;
/// A chunk's length in RFC 9112 section 7.1, with leading zeros so that it can be filled in afterwards.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// Frames `next..end` of the history as lines, after a line of names.
#[derive(Debug)]
pub struct CsvDownload {
    next: FramePos,
    end: FramePos,
    /// HTTP/1.1: in chunks, the last one empty. HTTP/1.0: until the connection closes.
    chunked: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Names,
    Frames,
    Done,
}

impl CsvDownload {
    pub fn new(next: FramePos, end: FramePos, chunked: bool) -> CsvDownload {
        CsvDownload { next, end, chunked, stage: Stage::Names }
    }

    /// The next piece, framed; `None` after the end.
    pub fn next(&mut self, source: &dyn Source) -> Result<Option<Bytes>, Overrun> {
        if self.stage == Stage::Done {
            return Ok(None);
        }
        let channels = source.channels();
        let most = if self.stage == Stage::Names { FIRST_PIECE_SAMPLES } else { PIECE_SAMPLES };
        let frames = ((self.end - self.next) as usize).min(most / channels);
        let mut out = Vec::with_capacity(frames * (14 + 12 * channels));
        if self.chunked {
            out.extend_from_slice(CHUNK_HEAD);
        }
        if self.stage == Stage::Names {
            out.extend_from_slice(b"frame");
            (0..channels).for_each(|mic| out.extend_from_slice(format!(",mic{mic}").as_bytes()));
            out.push(b'\n');
            self.stage = Stage::Frames;
        }
        let mut samples = Vec::with_capacity(frames * channels);
        source.read(self.next, frames, &mut samples).ok_or(Overrun)?;
        let mut digits = itoa::Buffer::new();
        for frame in samples.chunks_exact(channels) {
            out.extend_from_slice(digits.format(self.next.0).as_bytes());
            for sample in frame {
                out.push(b',');
                out.extend_from_slice(digits.format(i32::from_le_bytes(*sample)).as_bytes());
            }
            out.push(b'\n');
            self.next = self.next + 1;
        }
        if self.next == self.end {
            self.stage = Stage::Done;
        }
        if self.chunked {
            let text = out.len() - CHUNK_HEAD.len();
            out[..8].copy_from_slice(format!("{text:08x}").as_bytes());
            out.extend_from_slice(b"\r\n");
            if self.stage == Stage::Done {
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        Ok(Some(out.into()))
    }
}
