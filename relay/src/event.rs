//! A cycle on its way between machines: the binary stream's frame, passed on byte for byte.
//!
//! A frame is a little-endian u32, the length of a JSON header; the header; a little-endian u32, the length of the samples;
//! the samples, interleaved signed 32-bit little-endian. A message on a `pcm` subject is one frame, one on an `audio`
//! subject several, one behind the other. docs/streams.md has the format; a record without an id is no cycle.

use bytes::Bytes;
use micring::array::MOST_CHANNELS;
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
    /// The samples, within the frame.
    pub samples: Bytes,
}

/// What stands in a stream.
#[derive(Clone, Debug)]
pub enum Record {
    Cycle(Event),
    /// No cycle: what the stream begins with names the run, a sign of life nothing.
    Other {
        run: Option<u64>,
    },
}

/// Longest header and longest samples that are believed: 64 channels of 8192 bytes are half of the second.
const MAX_HEADER: usize = 1 << 16;
const MAX_SAMPLES: usize = 1 << 20;
/// Ids and positions beyond are nobody's, and what is reckoned from them stays far from the ends of 64 bits: ids begin with
/// milliseconds since the epoch (2^41), positions reach 2^62 after three million years.
pub const MAX_NUMBER: u64 = 1 << 62;

impl Header {
    /// Whether its numbers fit each other and the samples: whoever may publish may publish anything.
    fn is_sound(&self, samples: usize) -> bool {
        let channels = self.channels as usize;
        (1..=MOST_CHANNELS).contains(&channels)
            && (1..=self.id).contains(&self.run)
            && self.id < MAX_NUMBER
            && self.first_frame.unsigned_abs() < MAX_NUMBER
            && (self.frames as usize).checked_mul(4 * channels) == Some(samples)
            && self.mic_samples.len() == channels
            && self.mic_samples.iter().all(|samples| *samples <= self.frames)
            && self.arrival_us.len() == channels
    }
}

impl Event {
    /// From a header and its samples, as a test has them.
    #[cfg(test)]
    pub fn new(header: Header, samples: &[u8]) -> Event {
        use bytes::{BufMut, BytesMut};
        let json = serde_json::to_vec(&header).expect("numbers are JSON");
        let mut frame = BytesMut::with_capacity(8 + json.len() + samples.len());
        frame.put_u32_le(json.len() as u32);
        frame.put_slice(&json);
        frame.put_u32_le(samples.len() as u32);
        frame.put_slice(samples);
        let frame = frame.freeze();
        Event { header, samples: frame.slice(8 + json.len()..), frame }
    }

    /// The header as it came.
    pub fn header_text(&self) -> &[u8] {
        let length = u32::from_le_bytes(self.frame[..4].try_into().expect("four bytes")) as usize;
        &self.frame[4..4 + length]
    }

    /// The cycles of a message, which is whole records and nothing else.
    pub fn all(mut bytes: Bytes) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let record = Record::split(&mut bytes)?.ok_or("the last record is cut off")?;
            if let Record::Cycle(event) = record {
                events.push(event);
            }
        }
        Ok(events)
    }
}

/// Keys of a record that is no cycle.
#[derive(Deserialize)]
struct Other {
    run: Option<u64>,
    id: Option<u64>,
}

impl Record {
    /// The first record of `bytes`, taken off them; `None` while it is not all there.
    pub fn split(bytes: &mut Bytes) -> Result<Option<Record>, String> {
        let Some((header, at)) = length(bytes, 0, MAX_HEADER)? else { return Ok(None) };
        let Some((samples, end)) = length(bytes, at + header, MAX_SAMPLES)? else { return Ok(None) };
        if bytes.len() < end + samples {
            return Ok(None);
        }
        let frame = bytes.split_to(end + samples);
        let text = &frame[at..at + header];
        let wrong = |error| format!("a record's header: {error}");
        if text.first() != Some(&b'{') {
            return Err("a record's header is no JSON object".into());
        }
        match serde_json::from_slice::<Header>(text) {
            Ok(header) if !header.is_sound(samples) => {
                Err("a record's header contradicts itself or its samples".into())
            }
            Ok(header) => Ok(Some(Record::Cycle(Event { header, samples: frame.slice(end..), frame }))),
            Err(error) => match serde_json::from_slice(text).map_err(wrong)? {
                Other { run, id: None } => Ok(Some(Record::Other { run })),
                Other { .. } => Err(wrong(error)),
            },
        }
    }
}

/// A length at `at`, and where what it counts begins.
fn length(bytes: &Bytes, at: usize, most: usize) -> Result<Option<(usize, usize)>, String> {
    let Some(field) = bytes.get(at..at + 4) else { return Ok(None) };
    let length = u32::from_le_bytes(field.try_into().expect("four bytes")) as usize;
    if length > most {
        return Err(format!("a frame's part of {length} bytes; {most} is the most"));
    }
    Ok(Some((length, at + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"run":7,"id":9,"first_frame":-512,"frames":1,"channels":2,"sample_rate":48000,
        "mic_samples":[1,0],"arrival_us":[5,null],"emitted_us":6,"later":"key"}"#;

    /// A frame as the format's description has it, by hand.
    fn by_hand(samples: &[u8]) -> Vec<u8> {
        [&(JSON.len() as u32).to_le_bytes(), JSON.as_bytes(), &(samples.len() as u32).to_le_bytes(), samples].concat()
    }

    #[test]
    fn a_frame_comes_apart_wherever_it_is_cut() {
        let frame = by_hand(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for cut in 0..frame.len() {
            let mut part = Bytes::copy_from_slice(&frame[..cut]);
            assert!(Record::split(&mut part).unwrap().is_none(), "{cut} bytes");
            assert_eq!(part.len(), cut, "nothing is taken");
        }
        let mut two = Bytes::from([frame.clone(), frame.clone()].concat());
        let Some(Record::Cycle(event)) = Record::split(&mut two).unwrap() else { panic!("a cycle") };
        assert_eq!(two, frame);
        assert_eq!((event.header.id, event.header.first_frame, event.header.run), (9, -512, 7));
        assert_eq!(event.header.arrival_us, [Some(5), None]);
        assert_eq!(event.samples, [1, 2, 3, 4, 5, 6, 7, 8].as_slice());
        assert_eq!(event.frame, frame, "keys that are not known go on");
        assert!(Event::all(two.slice(..two.len() - 1)).is_err());
    }

    #[test]
    fn a_made_frame_reads_as_its_header_and_samples() {
        let header: Header = serde_json::from_str(JSON).unwrap();
        let event = Event::new(header.clone(), &[9; 8]);
        let text = String::from_utf8_lossy(&event.frame[4..]).into_owned();
        assert!(text.starts_with(r#"{"run":7,"id":9,"first_frame":-512,"#), "{text}");
        assert_eq!(event.frame[event.frame.len() - 12..][..4], [8, 0, 0, 0]);
        assert_eq!(event.frame[event.frame.len() - 8..], [9; 8]);
    }

    #[test]
    fn a_header_that_contradicts_itself_or_its_samples_is_refused() {
        let read = |from: &str, to: &str, samples: &[u8]| {
            let json = JSON.replace(from, to);
            let lengths = [json.len() as u32, samples.len() as u32].map(u32::to_le_bytes);
            Event::all([&lengths[0], json.as_bytes(), &lengths[1], samples].concat().into())
        };
        assert_eq!(read("", "", &[0; 8]).unwrap().len(), 1);
        for (from, to) in [
            ("\"run\":7", "\"run\":0"),
            ("\"run\":7", "\"run\":10"),
            ("\"id\":9", "\"id\":18446744073709551615"),
            ("-512", "9223372036854775807"),
            ("-512", "-9223372036854775808"),
            ("\"frames\":1", "\"frames\":4294967295"),
            ("\"channels\":2", "\"channels\":4294967295"),
            ("[1,0]", "[1]"),
            ("[1,0]", "[2,0]"),
            ("[5,null]", "[]"),
        ] {
            assert!(read(from, to, &[0; 8]).is_err(), "{to}");
        }
        assert!(read("", "", &[0; 7]).is_err(), "half a sample");
        // A list may stand for an object where only the order of fields is known.
        let list = "[7,9,-512,1,2,48000,[1,0],[5,null],6]";
        assert!(read(JSON, list, &[0; 8]).is_err());
        assert!(read("{\"run", " {\"run", &[0; 8]).is_err(), "out.rs writes what stands behind the brace");
    }

    #[test]
    fn what_is_no_cycle_is_told_from_one_that_is_broken() {
        let record = |json: &str| Bytes::from([&(json.len() as u32).to_le_bytes(), json.as_bytes(), &[0; 4]].concat());
        let run = Record::split(&mut record(r#"{"run": 5, "array": "default"}"#)).unwrap();
        assert!(matches!(run, Some(Record::Other { run: Some(5) })));
        assert!(matches!(Record::split(&mut record("{}")).unwrap(), Some(Record::Other { run: None })));
        assert!(Event::all(record("{}")).unwrap().is_empty());
        for broken in [r#"{"id": 5}"#, "[]", "{", ""] {
            assert!(Record::split(&mut record(broken)).is_err(), "{broken}");
        }
    }

    #[test]
    fn lengths_that_nobody_sends_are_refused() {
        let mut bytes = Bytes::from_static(&[0xff; 8]);
        assert!(Record::split(&mut bytes).is_err());
    }
}
