//! A cycle on its way between machines: the binary stream's frame, passed on byte for byte.
//!
//! A frame is a little-endian u32, the length of a JSON header; the header; a little-endian u32, the length of the samples;
//! the samples, interleaved signed 32-bit little-endian. A message on a `pcm` subject is one frame, one on an `audio`
//! subject several, one behind the other.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// What a frame says about its cycle. Keys as in `/api/stream_3ch`; keys that are not known here are passed on too, since
/// the frame itself is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Names the run of the server: ids and positions of two runs have nothing to do with each other.
    pub run: u64,
    /// Rises by one a cycle.
    pub id: u64,
    /// The position of its first frame.
    pub first_frame: i64,
    pub frames: u32,
    pub channels: u32,
    pub sample_rate: u32,
    /// Samples that arrived, by channel.
    pub mic_samples: Vec<u32>,
    /// Kernel receive time of what filled each channel, us since the Unix epoch.
    pub arrival_us: Vec<Option<i64>>,
    /// When the server let the cycle go, us since the Unix epoch.
    pub emitted_us: i64,
}

/// A cycle, and its bytes.
#[derive(Clone, Debug)]
pub struct Event {
    pub header: Header,
    /// The whole frame.
    pub frame: Bytes,
}

impl Event {
    /// From a header and its samples.
    pub fn new(header: Header, samples: &[u8]) -> Event {
        let json = serde_json::to_vec(&header).expect("numbers are JSON");
        let mut frame = BytesMut::with_capacity(8 + json.len() + samples.len());
        frame.put_u32_le(json.len() as u32);
        frame.put_slice(&json);
        frame.put_u32_le(samples.len() as u32);
        frame.put_slice(samples);
        let frame = frame.freeze();
        Event { header, frame }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"run":7,"id":9,"first_frame":-512,"frames":1,"channels":2,"sample_rate":48000,
        "mic_samples":[1,0],"arrival_us":[5,null],"emitted_us":6,"later":"key"}"#;

    #[test]
    fn a_made_frame_reads_as_its_header_and_samples() {
        let header: Header = serde_json::from_str(JSON).unwrap();
        let event = Event::new(header.clone(), &[9; 8]);
        let text = String::from_utf8_lossy(&event.frame[4..]).into_owned();
        assert!(text.starts_with(r#"{"run":7,"id":9,"first_frame":-512,"#), "{text}");
        assert_eq!(event.frame[event.frame.len() - 12..][..4], [8, 0, 0, 0]);
        assert_eq!(event.frame[event.frame.len() - 8..], [9; 8]);
    }
}
