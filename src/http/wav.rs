//! WAV: headers, a download of a known length, and the endless stream.
//!
//! Both bodies are cursors into the history, read as the socket drains: nothing is copied ahead, so a slow client costs
//! no memory. A download that the history overtakes is cut off, never continued with other samples. The endless stream
//! is a clock for its listener: what is missing becomes silence of the same length. But whoever listens live takes that
//! silence after the pause, and lags by it from then on; so it is never longer than the history, and beyond that the
//! position jumps.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FRAME_BYTES, Source};
use crate::MICS;
use crate::cycle::Cycle;
use crate::time::FramePos;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 44;
/// Most bytes handed to a socket at once, some two events of a stream: no client gets more of a turn than another.
const PIECE_BYTES: usize = 16 * 1024;
/// The first piece of a download: it begins where the history is overwritten next, and has to get away from there.
pub const FIRST_PIECE_BYTES: usize = 64 * 1024;
/// Frames that fit a file: RIFF lengths are 32 bits.
pub const MAX_FRAMES: i64 = (u32::MAX as i64 - HEADER_BYTES as i64) / FRAME_BYTES as i64;

/// "RIFF WAVE" with plain PCM (format 1). `data_bytes`: `None` for a stream whose end nobody knows, written as
/// 0xffffffff, which ffmpeg (libavformat/wavdec.c) and browsers read as "until the end of the stream". sox takes it for
/// a length, and ends after 2 h 4 min of three channels, unless it is told `--ignore-length`.
pub fn header(channels: u16, bits: u16, rate: u32, data_bytes: Option<u32>) -> [u8; HEADER_BYTES] {
    let frame = channels * bits / 8;
    let mut out = [0; HEADER_BYTES];
    let mut at = &mut out[..];
    at.put_slice(b"RIFF");
    at.put_u32_le(data_bytes.map_or(u32::MAX, |n| n + HEADER_BYTES as u32 - 8));
    at.put_slice(b"WAVEfmt ");
    at.put_u32_le(16);
    at.put_u16_le(1);
    at.put_u16_le(channels);
    at.put_u32_le(rate);
    at.put_u32_le(rate * u32::from(frame));
    at.put_u16_le(frame);
    at.put_u16_le(bits);
    at.put_slice(b"data");
    at.put_u32_le(data_bytes.unwrap_or(u32::MAX));
    out
}

/// Frames `next..end` of the history, three channels of 32 bits, without header.
#[derive(Debug)]
pub struct WavDownload {
    next: FramePos,
    end: FramePos,
    /// Frames of the next piece.
    piece: usize,
}

/// The history overwrote what was still to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overrun;

impl WavDownload {
    pub fn new(next: FramePos, end: FramePos) -> WavDownload {
        WavDownload { next, end, piece: FIRST_PIECE_BYTES / FRAME_BYTES }
    }

    /// The next piece; `None` at the end.
    pub fn next(&mut self, source: &dyn Source) -> Result<Option<Bytes>, Overrun> {
        let left = (self.end - self.next) as usize;
        if left == 0 {
            return Ok(None);
        }
        let frames = left.min(self.piece);
        let mut out = vec![0; frames * FRAME_BYTES];
        source.read(self.next, &mut out).ok_or(Overrun)?;
        self.piece = PIECE_BYTES / FRAME_BYTES;
        self.next = self.next + frames as i64;
        Ok(Some(out.into()))
    }
}

/// What the endless stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WavFormat {
    /// Microphones in the order of the channels; the first `channels` count.
    mics: [usize; MICS],
    channels: usize,
    /// 16 or 32.
    bits: u16,
}

impl WavFormat {
    pub const ALL: WavFormat = WavFormat { mics: [0, 1, 2], channels: MICS, bits: 32 };

    /// From `channels=0,2` and `bits=16`; the error says what is allowed.
    pub fn parse(channels: Option<&str>, bits: Option<&str>) -> Result<WavFormat, String> {
        let mut format = WavFormat::ALL;
        if let Some(list) = channels {
            format.channels = 0;
            for name in list.split(',') {
                let mic = name.parse().ok().filter(|&mic| mic < MICS && !format.mics().contains(&mic));
                format.mics[format.channels] = mic.ok_or("channels: give some of 0, 1 and 2, as in channels=0,2")?;
                format.channels += 1;
            }
        }
        format.bits = match bits {
            None | Some("32") => 32,
            Some("16") => 16,
            Some(_) => return Err("bits: give 16 or 32".into()),
        };
        Ok(format)
    }

    fn mics(&self) -> &[usize] {
        &self.mics[..self.channels]
    }

    pub fn header(&self, rate: u32) -> [u8; HEADER_BYTES] {
        header(self.channels as u16, self.bits, rate, None)
    }

    fn frame_bytes(&self) -> usize {
        self.channels * usize::from(self.bits / 8)
    }

    /// s32le frames of three channels, as this format has them; 16 bits are rounded, and saturate.
    fn convert(&self, frames: Vec<u8>) -> Bytes {
        if *self == WavFormat::ALL {
            return frames.into();
        }
        let mut out = BytesMut::with_capacity(frames.len() / FRAME_BYTES * self.frame_bytes());
        let (frames, _) = frames.as_chunks::<FRAME_BYTES>();
        for frame in frames {
            let (samples, _) = frame.as_chunks::<4>();
            for &mic in self.mics() {
                match self.bits {
                    16 => out.put_i16_le((i32::from_le_bytes(samples[mic]).saturating_add(0x8000) >> 16) as i16),
                    _ => out.put_slice(&samples[mic]),
                }
            }
        }
        out.freeze()
    }
}

/// The endless stream: everything from the next cycle on, as it is emitted.
#[derive(Debug)]
pub struct LiveWav {
    /// `None` before the first cycle: nothing says yet where it begins.
    next: Option<FramePos>,
    /// The first cycle that was not sent whole.
    cycle: u64,
    /// Frames of silence in place of what was overwritten, since the client last had everything.
    silence: i64,
    format: WavFormat,
}

impl LiveWav {
    /// From the next emitted cycle on.
    pub fn new(format: WavFormat, source: &dyn Source) -> LiveWav {
        LiveWav { next: None, cycle: source.cycle_ids().end, silence: 0, format }
    }

    /// The next piece, and how many cycles the client lost before it by being slow; `None` until more is emitted.
    ///
    /// Positions that were skipped are in the history, as zeros. After a skip that is longer than the history the stream
    /// goes on with the first cycle that came. What was overwritten before a slow client took it is silence too, of the
    /// history's length at most before the client has caught up. One that does not (a player that was halted, and goes on
    /// at its own pace) would get little but silence from the history's edge: it goes on with the newest cycle.
    pub fn next(&mut self, source: &dyn Source) -> Option<(Bytes, u64)> {
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
                    return Some((Bytes::from(vec![0; frames * frame_bytes]), lost));
                }
                cycle.first_frame
            }
        };
        let frames = ((span.end - next) as usize).min(max);
        if frames == 0 {
            self.silence = 0;
            return None;
        }
        let mut out = vec![0; frames * FRAME_BYTES];
        source.read(next, &mut out)?;
        let next = next + frames as i64;
        self.next = Some(next);
        // The records of cycles may be gone before their audio is.
        self.cycle = self.cycle.max(held.start);
        let sent = |cycle: Cycle| cycle.first_frame + i64::from(cycle.frames) <= next;
        while source.cycle(self.cycle).is_some_and(sent) {
            self.cycle += 1;
        }
        Some((self.format.convert(out), lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_rounded_and_saturate() {
        let format = WavFormat::parse(Some("1"), Some("16")).expect("a format");
        for (sample, expected) in [
            (0x0000_7fff, 0),
            (0x0000_8000, 1),
            (-0x8000, 0),
            (-0x8001, -1),
            (0x7fff_7fff, 32_767),
            (i32::MAX, 32_767),
            (i32::MIN, -32_768i16),
        ] {
            let frame = [5_i32, sample, 7].map(i32::to_le_bytes).concat();
            let out = format.convert(frame);
            assert_eq!(out[..], expected.to_le_bytes(), "{sample:#x}");
        }
    }
}
