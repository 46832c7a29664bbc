//! WAV: headers and formats; [`download`] is a body of a known length, [`live`] the endless one.
//!
//! Both bodies are cursors into the history, read as the socket drains: nothing is copied ahead, so a slow client costs
//! no memory.

mod download;
mod live;

use bytes::{BufMut, Bytes, BytesMut};

use crate::array::PerMic;

pub use download::{Overrun, WavDownload, WavFile};
pub use live::{LiveWav, Pieces};

/// Most bytes handed to a socket at once, some two events of a stream: no client gets more of a turn than another.
const PIECE_BYTES: usize = 16 * 1024;
/// The first piece of a download: it begins where the history is overwritten next, and has to get away from there.
pub const FIRST_PIECE_BYTES: usize = 64 * 1024;
/// Bytes of the longest header.
const MOST_HEADER_BYTES: i64 = 68;
/// Frames that fit a file: RIFF lengths are 32 bits.
pub fn max_frames(channels: usize) -> i64 {
    (i64::from(u32::MAX) - MOST_HEADER_BYTES) / (4 * channels as i64)
}

/// What a header says of the channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Plain PCM, format 1, which every reader knows. It has no word for where a channel belongs, and of three channels players
    /// take the third for a bass: mixed to two or to one, ffmpeg leaves it out.
    Plain,
    /// WAVE_FORMAT_EXTENSIBLE: the channels are front left, front right, front centre, and each is in every mix. More than three belong
    /// nowhere.
    Extensible,
}

impl Form {
    /// From `?wav=`; the error says what is allowed.
    pub fn parse(text: Option<&str>, usual: Form) -> Result<Form, String> {
        match text {
            None => Ok(usual),
            Some("plain") => Ok(Form::Plain),
            Some("extensible") => Ok(Form::Extensible),
            Some(_) => Err("wav: give plain or extensible".into()),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Extensible => "extensible",
        }
    }
}

/// "RIFF WAVE" with PCM. `data_bytes`: `None` for a stream whose end nobody knows, written as 0xffffffff, which ffmpeg
/// (libavformat/wavdec.c) and browsers read as "until the end of the stream". sox takes it for a length, and ends after 2 h
/// 4 min of three channels, unless it is told `--ignore-length`.
pub fn header(form: Form, channels: u16, bits: u16, rate: u32, data_bytes: Option<u32>) -> Vec<u8> {
    /// KSDATAFORMAT_SUBTYPE_PCM, as it stands in a file: its first two bytes are the old format.
    const PCM: [u8; 16] = *b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
    // SPEAKER_FRONT_LEFT, _RIGHT and _CENTER.
    const LEFT: u32 = 1;
    const RIGHT: u32 = 2;
    const CENTER: u32 = 4;
    let frame = channels * bits / 8;
    let (tag, format_bytes) = match form {
        Form::Plain => (1, 16),
        Form::Extensible => (0xfffe, 40),
    };
    let mut out = Vec::with_capacity(MOST_HEADER_BYTES as usize);
    out.put_slice(b"RIFF");
    out.put_u32_le(data_bytes.map_or(u32::MAX, |n| n + 20 + format_bytes));
    out.put_slice(b"WAVEfmt ");
    out.put_u32_le(format_bytes);
    out.put_u16_le(tag);
    out.put_u16_le(channels);
    out.put_u32_le(rate);
    out.put_u32_le(rate * u32::from(frame));
    out.put_u16_le(frame);
    out.put_u16_le(bits);
    if form == Form::Extensible {
        out.put_u16_le(22);
        out.put_u16_le(bits);
        out.put_u32_le(match channels {
            1 => CENTER,
            2 => LEFT | RIGHT,
            3 => LEFT | RIGHT | CENTER,
            _ => 0,
        });
        out.put_slice(&PCM);
    }
    out.put_slice(b"data");
    out.put_u32_le(data_bytes.unwrap_or(u32::MAX));
    out
}

/// What the endless stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WavFormat {
    /// Microphones in the order of the channels.
    mics: PerMic<u8>,
    /// 16 or 32.
    bits: u16,
}

impl WavFormat {
    fn all(channels: usize) -> PerMic<u8> {
        PerMic::from_fn(channels, |mic| mic as u8)
    }

    /// From `channels=0,2` and `bits=16`, of an array of `of` channels; the error says what is allowed.
    pub fn parse(channels: Option<&str>, bits: Option<&str>, of: usize) -> Result<WavFormat, String> {
        let mut mics = WavFormat::all(of);
        if let Some(list) = channels {
            let mut named: Vec<u8> = Vec::new();
            for name in list.split(',') {
                let mic = name.parse().ok().filter(|mic| usize::from(*mic) < of && !named.contains(mic));
                named.push(mic.ok_or_else(|| format!("channels: give some of {}", WavFormat::choice(of)))?);
            }
            mics = named[..].into();
        }
        let bits = match bits {
            None | Some("32") => 32,
            Some("16") => 16,
            Some(_) => return Err("bits: give 16 or 32".into()),
        };
        Ok(WavFormat { mics, bits })
    }

    fn choice(of: usize) -> String {
        match of {
            1 => "0".into(),
            3 => "0, 1 and 2, as in channels=0,2".into(),
            _ => format!("0 to {}, as in channels=0,{}", of - 1, of - 1),
        }
    }

    pub fn header(&self, form: Form, rate: u32) -> Vec<u8> {
        header(form, self.mics.len() as u16, self.bits, rate, None)
    }

    fn frame_bytes(&self) -> usize {
        self.mics.len() * usize::from(self.bits / 8)
    }

    /// Samples of all `channels`, as this format has them; 16 bits are rounded, and saturate.
    fn convert(&self, samples: Vec<[u8; 4]>, channels: usize) -> Bytes {
        if self.bits == 32 && self.mics == WavFormat::all(channels) {
            return samples.into_flattened().into();
        }
        let mut out = BytesMut::with_capacity(samples.len() / channels * self.frame_bytes());
        for frame in samples.chunks_exact(channels) {
            for &mic in &self.mics {
                let sample = frame[usize::from(mic)];
                match self.bits {
                    16 => out.put_i16_le((i32::from_le_bytes(sample).saturating_add(0x8000) >> 16) as i16),
                    _ => out.put_slice(&sample),
                }
            }
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_rounded_and_saturate() {
        let format = WavFormat::parse(Some("1"), Some("16"), 3).expect("a format");
        for (sample, expected) in [
            (0x0000_7fff, 0),
            (0x0000_8000, 1),
            (-0x8000, 0),
            (-0x8001, -1),
            (0x7fff_7fff, 32_767),
            (i32::MAX, 32_767),
            (i32::MIN, -32_768i16),
        ] {
            let frame = [5_i32, sample, 7].map(i32::to_le_bytes).to_vec();
            let out = format.convert(frame, 3);
            assert_eq!(out[..], expected.to_le_bytes(), "{sample:#x}");
        }
    }

    #[test]
    fn an_extensible_header_is_as_microsoft_has_it() {
        // "Multiple channel audio data and WAVE files", 2007: WAVEFORMATEXTENSIBLE; the speakers of its table 3.
        for (channels, mask) in [(1, 4), (2, 3), (3, 7), (4, 0), (64, 0)] {
            let header = header(Form::Extensible, channels, 32, 48_000, Some(1200));
            let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
            let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
            assert_eq!((header.len(), u32_at(4), u32_at(16)), (68, 1200 + 60, 40));
            assert_eq!([20, 22, 32, 34, 36, 38].map(u16_at), [0xfffe, channels, 4 * channels, 32, 22, 32]);
            assert_eq!([24, 28, 40].map(u32_at), [48_000, 192_000 * u32::from(channels), mask]);
            // 00000001-0000-0010-8000-00aa00389b71
            let pcm = [1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
            assert_eq!((&header[44..60], &header[60..64], u32_at(64)), (&pcm[..], &b"data"[..], 1200));
        }
    }
}
