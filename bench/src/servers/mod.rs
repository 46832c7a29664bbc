//! The servers: three microphones in, Server-Sent Events out, each in its own way; none has an engine.
//!
//! A server is a process of its own (`bench peer serve NAME`). All put a cycle together the simplest way there is (the
//! oldest packet of each microphone), make the very event that micring makes, encode it once and send the same bytes to
//! every subscriber.

mod axum;
mod epoll;
mod ring;

use std::collections::VecDeque;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use micring::MICS;

use crate::load::STOP;
use crate::receivers::PeerArgs;

/// What every subscriber is told first.
pub const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\nretry: 1000\n\n";

/// Packets of each microphone in the order of their arrival; a cycle is complete when every microphone has one.
#[derive(Default)]
pub struct Assembler {
    waiting: [VecDeque<(Vec<u8>, i64)>; MICS],
    frames: Vec<u8>,
    id: u64,
    pub stopped: [bool; MICS],
}

impl Assembler {
    /// The event, when this packet completed a cycle. `wanted`: somebody listens.
    pub fn packet(&mut self, mic: usize, packet: &[u8], stamp_ns: i64, wanted: bool) -> Option<Bytes> {
        if packet == STOP {
            self.stopped[mic] = true;
            return None;
        }
        self.waiting[mic].push_back((packet.to_vec(), stamp_ns / 1000));
        if self.waiting.iter().any(VecDeque::is_empty) {
            return None;
        }
        let event = wanted.then(|| self.event());
        self.waiting.iter_mut().for_each(|queue| drop(queue.pop_front()));
        self.id += 1;
        event
    }

    fn event(&mut self) -> Bytes {
        let cycle = self.waiting.each_ref().map(|queue| &queue[0]);
        let samples = cycle[0].0.len() / 4;
        self.frames.resize(samples * 4 * MICS, 0);
        for (mic, (packet, _)) in cycle.into_iter().enumerate() {
            for (frame, sample) in self.frames.chunks_exact_mut(4 * MICS).zip(packet.chunks_exact(4)) {
                frame[mic * 4..mic * 4 + 4].copy_from_slice(sample);
            }
        }
        let mut text = String::with_capacity(512 + self.frames.len() * 4 / 3 + 4);
        let id = self.id;
        let [a, b, c] = cycle.map(|(_, arrival_us)| *arrival_us);
        text += &format!(
            "id: {id}\ndata: {{\"device_id\": \"3ch-assembled\", \"sample_rate\": 48000, \"channels\": 3, \"bits\": 32, \
             \"format\": \"s32le\", \"timestamp\": \"2026-11-22 11:05:00\", \"data\": \""
        );
        STANDARD.encode_string(&self.frames, &mut text);
        text += &format!(
            "\", \"first_frame\": {}, \"frames\": {samples}, \"mic_samples\": [{samples}, {samples}, {samples}], \
             \"arrival_us\": [{a}, {b}, {c}]}}\n\n",
            id * samples as u64
        );
        text.into()
    }
}

/// Runs a server until it is told to stop.
pub fn run(args: &PeerArgs) -> Result<()> {
    crate::os::raise_descriptor_limit();
    args.settle()?;
    match args.name.as_str() {
        "ring" => ring::run(),
        "epoll" => epoll::run(),
        "axum" => axum::run(),
        other => bail!("there is no server {other}"),
    }
}
