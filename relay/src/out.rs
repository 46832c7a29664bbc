//! Cycles from afar as micring's clients know them: Server-Sent Events, records, packets, an endless WAV.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use micring::array::MOST_CHANNELS;
use serde_json::{Value, json};

use crate::event::Event;

/// How a stream of cycles is written.
#[derive(Clone, Debug)]
pub enum Form {
    /// Server-Sent Events, one a cycle.
    Events,
    /// One record a cycle, as it came.
    Records,
    /// Server-Sent Events, one a channel that has samples in a cycle.
    Packets,
    /// Signed PCM behind a header that names no length.
    Wav(Wav),
}

/// Which channels, how wide; and where the stream stands.
#[derive(Clone, Debug)]
pub struct Wav {
    /// `None`: all of them.
    pub channels: Option<Vec<usize>>,
    /// 16 or 32.
    pub bits: u16,
    /// WAVE_FORMAT_EXTENSIBLE, or plain PCM.
    pub extensible: bool,
    next_frame: Option<i64>,
    /// Frames of silence at most in place of a gap; beyond, the stream just goes on.
    most_silence: i64,
}

impl Wav {
    /// From the query's values; the error says what is allowed.
    pub fn parse(channels: Option<&str>, bits: Option<&str>, wav: Option<&str>) -> Result<Wav, String> {
        let channels = match channels {
            None => None,
            Some(list) => {
                let list: Option<Vec<usize>> =
                    list.split(',').map(|n| n.parse().ok().filter(|n| *n < MOST_CHANNELS)).collect();
                let list = list.filter(|list| list.len() <= MOST_CHANNELS);
                Some(list.ok_or("channels: give numbers from 0 on, as 0,2; 64 of them at most")?)
            }
        };
        let bits = match bits {
            None | Some("32") => 32,
            Some("16") => 16,
            Some(_) => return Err("bits: give 16 or 32".into()),
        };
        let extensible = match wav {
            None | Some("extensible") => true,
            Some("plain") => false,
            Some(_) => return Err("wav: give plain or extensible".into()),
        };
        Ok(Wav { channels, bits, extensible, next_frame: None, most_silence: 0 })
    }
}

impl Form {
    pub fn content_type(&self) -> &'static str {
        match self {
            Form::Events | Form::Packets => "text/event-stream",
            Form::Records => "application/octet-stream",
            Form::Wav(_) => "audio/wav",
        }
    }

    /// What the stream begins with; of a WAV, nothing before its first cycle says how many channels there are.
    pub fn preamble(&self, run: Option<u64>) -> Bytes {
        match (self, run) {
            (Form::Events, Some(run)) => format!("retry: 1000\n: run {run}\n\n").into(),
            (Form::Events | Form::Packets, _) => Bytes::from_static(b"retry: 1000\n\n"),
            (Form::Records, Some(run)) => record(&json!({"run": run})),
            (Form::Records | Form::Wav(_), _) => Bytes::new(),
        }
    }

    /// Keeps an idle stream open.
    pub fn heartbeat(&self) -> Bytes {
        match self {
            Form::Events | Form::Packets => Bytes::from_static(b": still here\n\n"),
            Form::Records => record(&json!({})),
            Form::Wav(_) => Bytes::new(),
        }
    }

    /// A cycle.
    pub fn write(&mut self, event: &Event) -> Bytes {
        match self {
            Form::Events => sse(event),
            Form::Records => event.frame.clone(),
            Form::Packets => packets(event),
            Form::Wav(wav) => wav.write(event),
        }
    }
}

/// A header without samples.
fn record(header: &Value) -> Bytes {
    let json = header.to_string();
    let mut out = BytesMut::with_capacity(8 + json.len());
    out.put_u32_le(json.len() as u32);
    out.put_slice(json.as_bytes());
    out.put_u32_le(0);
    out.freeze()
}

/// An event of `/api/stream_3ch`: the record's own header, and the samples in it.
fn sse(event: &Event) -> Bytes {
    let header = event.header_text();
    let encoded = event.samples.len().div_ceil(3) * 4;
    let mut out = Vec::with_capacity(header.len() + encoded + 64);
    out.extend_from_slice(format!("id: {}\ndata: {{\"data\": \"", event.header.id).as_bytes());
    let at = out.len();
    out.resize(at + encoded, 0);
    STANDARD.encode_slice(&event.samples, &mut out[at..]).expect("four characters for every three bytes begun");
    out.extend_from_slice(b"\", ");
    // A header is an object that is not empty: its brace was written above.
    out.extend(header[1..].iter().copied().filter(|byte| *byte != b'\n' && *byte != b'\r'));
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Events of `/api/stream`: a channel's part of a cycle stands for its packets.
fn packets(event: &Event) -> Bytes {
    let (header, mut out) = (&event.header, String::new());
    let timestamp =
        serde_json::from_slice::<Value>(event.header_text()).map_or(Value::Null, |h| h["timestamp"].clone());
    for (mic, &count) in header.mic_samples.iter().enumerate().filter(|(_, count)| **count > 0) {
        let samples: Vec<i32> = channel(event, mic).take(count as usize).collect();
        let squares: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let json = json!({
            "device_id": format!("udp-mic{mic}"), "sample_rate": header.sample_rate, "channels": 1, "bits": 32,
            "format": "s32le", "timestamp": timestamp, "data": STANDARD.encode(bytes),
            "rms": (squares / samples.len() as f64).sqrt(), "arrival_us": header.arrival_us.get(mic),
        });
        out.push_str(&format!("data: {json}\n\n"));
    }
    out.into()
}

fn channel(event: &Event, mic: usize) -> impl Iterator<Item = i32> {
    let channels = event.header.channels.max(1) as usize;
    let samples = event.samples.chunks_exact(4).skip(mic).step_by(channels);
    samples.map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

impl Wav {
    fn write(&mut self, event: &Event) -> Bytes {
        let header = &event.header;
        let all = header.channels as usize;
        let chosen: Vec<usize> = match &self.channels {
            Some(some) => some.iter().copied().filter(|mic| *mic < all).collect(),
            None => (0..all).collect(),
        };
        let mut out = BytesMut::with_capacity(event.samples.len() + 68);
        if self.next_frame.is_none() {
            // As long as micring's own history by default.
            self.most_silence = 5 * i64::from(header.sample_rate);
            self.header(&mut out, chosen.len() as u16, header.sample_rate);
        }
        let missing = self.next_frame.map_or(0, |next| header.first_frame - next);
        if (1..=self.most_silence).contains(&missing) {
            out.put_bytes(0, missing as usize * chosen.len() * usize::from(self.bits / 8));
        }
        self.next_frame = Some(header.first_frame + i64::from(header.frames));
        for frame in event.samples.chunks_exact(4 * all.max(1)) {
            for &mic in &chosen {
                // The high bytes of a little-endian sample are its last.
                out.put_slice(&frame[4 * mic + 4 - usize::from(self.bits / 8)..4 * mic + 4]);
            }
        }
        out.freeze()
    }

    /// "RIFF WAVE", PCM, of a length that nobody knows: 0xffffffff, which players read as "until the end".
    fn header(&self, out: &mut BytesMut, channels: u16, rate: u32) {
        let frame = channels * self.bits / 8;
        out.put_slice(b"RIFF\xff\xff\xff\xffWAVEfmt ");
        out.put_u32_le(if self.extensible { 40 } else { 16 });
        out.put_u16_le(if self.extensible { 0xfffe } else { 1 });
        out.put_u16_le(channels);
        out.put_u32_le(rate);
        out.put_u32_le(rate.saturating_mul(frame.into()));
        out.put_u16_le(frame);
        out.put_u16_le(self.bits);
        if self.extensible {
            out.put_u16_le(22);
            out.put_u16_le(self.bits);
            // Front left, right, centre, as micring names three; of more channels none is named.
            out.put_u32_le(if channels <= 3 { [0, 4, 3, 7][usize::from(channels)] } else { 0 });
            // KSDATAFORMAT_SUBTYPE_PCM.
            out.put_slice(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
        }
        out.put_slice(b"data\xff\xff\xff\xff");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Header;

    /// Two frames of two channels: 0x11110001 and 2, 3 and -1.
    fn event(first_frame: i64) -> Event {
        let header = Header {
            run: 10,
            id: 12,
            first_frame,
            frames: 2,
            channels: 2,
            sample_rate: 48_000,
            mic_samples: vec![2, 0],
            arrival_us: vec![Some(7), None],
            emitted_us: 8,
        };
        let samples: Vec<u8> = [0x1111_0001_i32, 2, 3, -1].iter().flat_map(|s| s.to_le_bytes()).collect();
        Event::new(header, &samples)
    }

    #[test]
    fn an_event_is_the_header_with_the_samples_in_it() {
        let text = String::from_utf8(sse(&event(100)).to_vec()).unwrap();
        let data = text.strip_prefix("id: 12\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("an event");
        let json: Value = serde_json::from_str(data).unwrap();
        // `printf '\x01\x00\x11\x11\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff\xff\xff' | base64`
        assert_eq!(json["data"], "AQAREQIAAAADAAAA/////w==");
        assert_eq!((&json["first_frame"], &json["id"], &json["run"]), (&100.into(), &12.into(), &10.into()));
        assert_eq!(json["arrival_us"], json!([7, null]));
    }

    #[test]
    fn a_channel_with_samples_is_a_packet() {
        let text = String::from_utf8(packets(&event(0)).to_vec()).unwrap();
        assert_eq!(text.matches("\n\n").count(), 1, "the second channel has none");
        let json: Value = serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&json["device_id"], &json["data"]), (&"udp-mic0".into(), &"AQAREQMAAAA=".into()));
        let rms = json["rms"].as_f64().unwrap();
        let mean = (f64::from(0x1111_0001).powi(2) + 9.0) / 2.0;
        assert!((rms - mean.sqrt()).abs() < 1e-6 * rms);
    }

    #[test]
    fn wav_keeps_time_over_a_gap_and_cuts_to_what_is_asked() {
        let mut wav = Wav::parse(Some("0"), Some("16"), Some("plain")).unwrap();
        let first = wav.write(&event(100));
        assert_eq!(first.len(), 44 + 4);
        assert_eq!(first[..4], *b"RIFF");
        // Channels, rate, bytes a second, frame, bits.
        assert_eq!(first[22..36], [1, 0, 0x80, 0xbb, 0, 0, 0, 0x77, 1, 0, 2, 0, 16, 0]);
        assert_eq!(first[44..], [0x11, 0x11, 0, 0], "the high half of 0x11110001 and of 3");
        assert_eq!(wav.write(&event(105)).len(), 2 * (3 + 2), "three frames of silence");
        assert_eq!(wav.write(&event(107 + 5 * 48_000 + 1)).len(), 4, "a gap that is too long is none");
        assert_eq!(Wav::parse(None, None, None).unwrap().write(&event(0)).len(), 68 + 16);
        let many = ["0"; 65].join(",");
        for (channels, bits, form) in
            [(Some("x"), None, None), (Some(&*many), None, None), (None, Some("24"), None), (None, None, Some("y"))]
        {
            assert!(Wav::parse(channels, bits, form).is_err());
        }
    }
}
