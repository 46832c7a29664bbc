//! The far side, by a plain client of NATS: what is on the subjects, and whether it is what the microphones sent.

use async_nats::Client;
use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::push::OrderedConfig};
use base64::Engine as _;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use serde_json::Value;

use crate::rig::PATIENCE;

pub const ARRAY: &str = "micring.attic.default";

/// A cycle as it arrived, read by the format's description.
#[derive(Debug)]
pub struct Cycle {
    pub run: u64,
    pub id: u64,
    pub first_frame: i64,
    pub frames: i64,
    pub mic_samples: Vec<i64>,
    pub samples: Vec<i32>,
}

/// The cycles in a message.
pub fn cycles(mut message: Bytes) -> Vec<Cycle> {
    let mut cycles = Vec::new();
    while message.has_remaining() {
        let length = message.get_u32_le() as usize;
        let header: Value = serde_json::from_slice(&message.split_to(length)).expect("a header is JSON");
        let length = message.get_u32_le() as usize;
        cycles.push(Cycle::of(&header, message.split_to(length)));
    }
    cycles
}

/// The cycle of an event of `/api/stream_3ch`.
pub fn cycle(event: &Value) -> Cycle {
    let samples = base64::engine::general_purpose::STANDARD.decode(event["data"].as_str().unwrap()).expect("base64");
    Cycle::of(event, samples.into())
}

impl Cycle {
    fn of(header: &Value, mut samples: Bytes) -> Cycle {
        let number = |key: &str| header[key].as_i64().unwrap_or_else(|| panic!("{key} in {header}"));
        Cycle {
            run: number("run") as u64,
            id: number("id") as u64,
            first_frame: number("first_frame"),
            frames: number("frames"),
            mic_samples: header["mic_samples"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect(),
            samples: std::iter::from_fn(|| samples.has_remaining().then(|| samples.get_i32_le())).collect(),
        }
    }
}

/// What the microphones sent: each sample is its microphone and its position. Checks every sample that is there against
/// that, and that no cycle is missing, twice or out of order; gives how many there are.
pub fn check(cycles: &[Cycle]) -> u64 {
    let first = cycles.first().expect("cycles arrived");
    let (mut id, mut frame) = (first.id, first.first_frame);
    let offset = i64::from(first.samples[0] & 0x0fff_ffff) - first.first_frame;
    for (n, cycle) in cycles.iter().enumerate() {
        assert_eq!(cycle.run, first.run, "one run");
        assert_eq!(cycle.id, id, "every cycle once and in order; this is the {n}th");
        assert_eq!(cycle.first_frame, frame, "no position is skipped: nothing was lost on loopback");
        let channels = cycle.mic_samples.len();
        assert_eq!(cycle.samples.len(), cycle.frames as usize * channels);
        for (n, frame_samples) in cycle.samples.chunks(channels).enumerate() {
            for (mic, &sample) in frame_samples.iter().enumerate() {
                let position = (cycle.first_frame + n as i64 + offset) as i32 & 0x0fff_ffff;
                let there = (n as i64) < cycle.mic_samples[mic];
                let sent = if there { (mic as i32 + 1) << 28 | position } else { 0 };
                assert_eq!(sample, sent, "mic {mic}, position {position}, cycle {}", cycle.id);
            }
        }
        (id, frame) = (id + 1, frame + cycle.frames);
    }
    cycles.len() as u64
}

pub async fn connect(url: &str) -> Client {
    async_nats::connect(url).await.expect("nats-server is there")
}

/// Everything that is stored under a subject, oldest first.
pub async fn stored(client: &Client, stream: &str, subject: &str) -> Vec<async_nats::jetstream::Message> {
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(stream).await.expect("the stream is there");
    let config = OrderedConfig {
        deliver_subject: client.new_inbox(),
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let count = consumer.cached_info().num_pending as usize;
    let messages = consumer.messages().await.expect("messages");
    let all = messages.take(count).map(|message| message.expect("a message")).collect();
    tokio::time::timeout(PATIENCE, all).await.expect("they all come")
}

/// The audio that is stored, once it ends with the last cycle of `emitted`.
pub async fn audio_until(client: &Client, emitted: impl Fn() -> u64) -> Vec<Cycle> {
    let mut cycles = audio(client).await;
    for _ in 0..100 {
        // The last cycle may be a broken one, which leaves when its hold ends.
        if cycles.last().is_some_and(|last| last.id - last.run + 1 == emitted()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        cycles = audio(client).await;
    }
    cycles
}

/// The audio that is stored.
pub async fn audio(client: &Client) -> Vec<Cycle> {
    let messages = stored(client, "micring_audio", &format!("{ARRAY}.audio")).await;
    messages.into_iter().flat_map(|message| cycles(message.payload.clone())).collect()
}
