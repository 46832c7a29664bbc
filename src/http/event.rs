//! Events as bytes, through templates: an event is encoded once, for all its subscribers.
//!
//! Server-Sent Events carry JSON with base64 samples (`contract`, section 4). Programs that do not want base64 ask for `stream.bin`
//! (docs/streams.md): each event's JSON without `data`, then its samples, both behind their lengths. The older way is
//! `/api/stream_3ch?format=binary`: the same events, each behind its length. All numbers little-endian, here for three channels
//! (of others, as many words where it says 3):
//!
//! | offset | type | what |
//! |---|---|---|
//! | 0 | u32 | bytes that follow this field |
//! | 4 | u8 | kind: 1 an event, 0 a sign of life (nothing but these 8 bytes; ignore it), 2 the run (see below) |
//! | 5 | u8, u8, u8 | channels (3), bits a sample (32), 0 |
//! | 8 | u64 | id |
//! | 16 | i64 | first_frame |
//! | 24 | i64 | when the cycle was emitted, microseconds since the Unix epoch |
//! | 32 | 3 x i64 | arrival_us; the smallest i64 where nothing arrived |
//! | 56 | 3 x u32 | mic_samples |
//! | 68 | u32 | frames |
//! | 72 | u32 | sample_rate |
//! | 76 | u32 | 0 |
//! | 80 | frames x 3 x i32 | samples, interleaved mic0, mic1, mic2 |
//!
//! Skip kinds that you do not know, and bytes between those you know and the length.
//!
//! A stream begins with the name of the run, the id of its first event: positions and ids of another run have nothing to do
//! with these. Server-Sent Events say it in a comment and in each event's `run`; binary, kind 2 has it as a u64 at offset 8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::Source;
use crate::cycle::Cycle;
use crate::time::KernelTime;

/// A received packet, for `/api/stream`.
#[derive(Clone, Copy, Debug)]
pub struct PacketEvent<'a> {
    /// The first channel of its source.
    pub mic: usize,
    pub channels: usize,
    /// Signed 32-bit little-endian, the channels interleaved; whole samples.
    pub samples: &'a [u8],
    /// Root mean square, in sample units: 0 to 2147483648.
    pub rms: f64,
    pub arrival: KernelTime,
}

/// Reconnect after a second, said to `EventSource` before anything else; and the run.
pub fn sse_preamble(run: u64) -> Vec<u8> {
    format!("retry: 1000\n: run {run}\n\n").into_bytes()
}

/// The run in the binary framing.
pub fn binary_preamble(run: u64) -> Vec<u8> {
    [&[12, 0, 0, 0, 2, 0, 0, 0], &run.to_le_bytes()[..]].concat()
}

/// What `stream.bin` begins with.
pub fn record_preamble(run: u64, source: &dyn Source) -> Vec<u8> {
    let mut out = Text(vec![0; 4]);
    // A name has no character that JSON would escape.
    out.text("{\"run\": ").integer(run).text(", \"array\": \"").text(source.name()).text("\", \"channels\": ");
    out.integer(source.channels()).text(", \"sample_rate\": ").integer(source.sample_rate()).text("}");
    out.end_record_header(0);
    out.0
}

/// Keeps an idle event stream open: a comment, which EventSource ignores.
pub const SSE_HEARTBEAT: &[u8] = b": still here\n\n";
/// The same for the binary framing.
pub const BINARY_HEARTBEAT: &[u8] = &[4, 0, 0, 0, 0, 0, 0, 0];
/// The same for `stream.bin`: a header of no keys, and no samples.
pub const RECORD_HEARTBEAT: &[u8] = b"\x02\0\0\0{}\0\0\0\0";

/// More than the JSON of an event takes beside its base64.
fn json_room(source: &dyn Source) -> usize {
    440 + 32 * source.channels()
}

/// A cycle of a run as one Server-Sent Event. `None` where the history no longer holds its frames. `samples` is room that is
/// used again.
pub fn cycle_json(cycle: &Cycle, run: u64, source: &dyn Source, samples: &mut Vec<[u8; 4]>) -> Option<Bytes> {
    samples.clear();
    source.read(cycle.first_frame, cycle.frames as usize, samples)?;
    let mut out = Text(Vec::with_capacity(json_room(source) + samples.len() / 3 * 16));
    out.text("id: ").integer(cycle.id).text("\ndata: {");
    out.what_a_cycle_is(cycle, source).text(", \"data\": \"");
    out.base64(samples.as_flattened());
    out.text("\", ").where_a_cycle_is(cycle).text(", \"run\": ").integer(run).text("}\n\n");
    Some(out.0.into())
}

/// A cycle as a record of `stream.bin`. `None` where the history no longer holds its frames.
pub fn cycle_record(cycle: &Cycle, run: u64, source: &dyn Source) -> Option<Bytes> {
    let frames = cycle.frames as usize;
    let mut out = Text(Vec::with_capacity(json_room(source)));
    out.bytes(&[0; 4]).text("{\"id\": ").integer(cycle.id).text(", \"run\": ").integer(run).text(", ");
    out.what_a_cycle_is(cycle, source).text(", ").where_a_cycle_is(cycle);
    out.text(", \"emitted_us\": ").integer(cycle.emitted.as_micros()).text("}");
    // So that the samples stand in whole words, which is how they are read: blanks are nothing to JSON.
    while !out.0.len().is_multiple_of(4) {
        out.text(" ");
    }
    out.end_record_header((frames * source.frame_bytes()) as u32);
    let mut words = Vec::with_capacity(out.0.len() / 4 + frames * source.channels());
    words.extend_from_slice(out.0.as_chunks().0);
    source.read(cycle.first_frame, frames, &mut words)?;
    Some(words.into_flattened().into())
}

/// A cycle in the binary framing. `None` where the history no longer holds its frames.
pub fn cycle_binary(cycle: &Cycle, source: &dyn Source) -> Option<Bytes> {
    // For three channels 80: ten words, three for each channel, three at the end.
    let header = 4 * (8 + 3 * source.channels() + 3);
    let samples = cycle.frames as usize * source.frame_bytes();
    // Every field is one word of four bytes or two of them, low one first, and so is every sample.
    let mut out: Vec<[u8; 4]> = Vec::with_capacity((header + samples) / 4);
    let word = |n: u32| n.to_le_bytes();
    let long = |n: u64| [n as u32, (n >> 32) as u32].map(u32::to_le_bytes);
    out.extend([word((header - 4 + samples) as u32), [1, source.channels() as u8, 32, 0]]);
    out.extend(long(cycle.id));
    out.extend(long(cycle.first_frame.0 as u64));
    out.extend(long(cycle.emitted.as_micros() as u64));
    for arrival in &cycle.arrival {
        out.extend(long(arrival.map_or(i64::MIN, KernelTime::as_micros) as u64));
    }
    out.extend(cycle.mic_samples.iter().map(|&n| word(n)));
    out.extend([word(cycle.frames), word(source.sample_rate()), word(0)]);
    debug_assert_eq!(out.len() * 4, header);
    source.read(cycle.first_frame, cycle.frames as usize, &mut out)?;
    Some(out.into_flattened().into())
}

/// A packet as one Server-Sent Event.
pub fn packet_json(packet: &PacketEvent<'_>, now: KernelTime, source: &dyn Source) -> Bytes {
    let mut out = Text(Vec::with_capacity(json_room(source) + packet.samples.len().div_ceil(3) * 4));
    out.text("data: {\"device_id\": \"udp-mic").integer(packet.mic as u64);
    out.text("\", \"sample_rate\": ").integer(source.sample_rate());
    out.text(", \"channels\": ")
        .integer(packet.channels)
        .text(", \"bits\": 32, \"format\": \"s32le\", \"timestamp\": \"");
    out.bytes(&source.local_time(now).0).text("\", \"data\": \"");
    out.base64(packet.samples);
    out.text("\", \"rms\": ").float(packet.rms);
    out.text(", \"arrival_us\": ").integer(packet.arrival.as_micros()).text("}\n\n");
    out.0.into()
}

struct Text(Vec<u8>);

impl Text {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Text {
        self.0.extend_from_slice(bytes);
        self
    }
    fn text(&mut self, text: &str) -> &mut Text {
        self.bytes(text.as_bytes())
    }
    /// The keys of an event before its samples.
    fn what_a_cycle_is(&mut self, cycle: &Cycle, source: &dyn Source) -> &mut Text {
        let channels = source.channels();
        self.text("\"device_id\": \"").integer(channels).text("ch-assembled\", \"sample_rate\": ");
        self.integer(source.sample_rate()).text(", \"channels\": ").integer(channels);
        self.text(", \"bits\": 32, \"format\": \"s32le\", \"timestamp\": \"");
        self.bytes(&source.local_time(cycle.emitted).0).text("\"")
    }
    /// And those behind them.
    fn where_a_cycle_is(&mut self, cycle: &Cycle) -> &mut Text {
        self.text("\"first_frame\": ").integer(cycle.first_frame.0).text(", \"frames\": ").integer(cycle.frames);
        self.text(", \"mic_samples\": [");
        for (mic, n) in cycle.mic_samples.iter().enumerate() {
            self.text(if mic == 0 { "" } else { ", " }).integer(*n);
        }
        self.text("], \"arrival_us\": [");
        for (mic, arrival) in cycle.arrival.iter().enumerate() {
            self.text(if mic == 0 { "" } else { ", " });
            match arrival {
                Some(t) => self.integer(t.as_micros()),
                None => self.text("null"),
            };
        }
        self.text("]")
    }
    /// A header of `stream.bin` is complete: its length goes to its front, that of the samples behind it.
    fn end_record_header(&mut self, samples: u32) {
        let length = self.0.len() as u32 - 4;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes(&samples.to_le_bytes());
    }
    fn integer(&mut self, n: impl itoa::Integer) -> &mut Text {
        self.text(itoa::Buffer::new().format(n))
    }
    /// With a point or an exponent always, so that readers see a float.
    fn float(&mut self, x: f64) -> &mut Text {
        self.text(&format!("{x:?}"))
    }
    fn base64(&mut self, bytes: &[u8]) {
        let start = self.0.len();
        self.0.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.0[start..]);
        assert_eq!(written, Ok(self.0.len() - start), "four characters for every three bytes begun");
    }
}
