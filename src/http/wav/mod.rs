//! WAV: headers, and [`download`], a body of a known length; the endless one is [`super::pcm`]'s behind a header.
//!
//! Both bodies are cursors into the history, read as the socket drains: nothing is copied ahead, so a slow client costs
//! no memory.

mod download;

use bytes::BufMut;

use super::pcm::PcmFormat;

pub use download::{Overrun, WavDownload, WavFile};

/// Most bytes handed to a socket at once, some two events of a stream: no client gets more of a turn than another.
pub const PIECE_BYTES: usize = 16 * 1024;
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

/// What precedes an endless WAV: of 16 or 32 bits.
pub fn live_header(form: Form, format: &PcmFormat) -> Vec<u8> {
    header(form, format.mics.len() as u16, 8 * format.sample.bytes() as u16, format.rate, None)
}

#[cfg(test)]
mod tests {
    use super::*;

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
