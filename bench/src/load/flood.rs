//! As many packets as possible, or at a given rate: to find what a receiver can take.
//!
//! With segmentation offload one call sends 62 KiB to one microphone, and the kernel cuts it: only so does one sending core
//! outrun one receiving core. Plain senders pay the whole way down for each datagram, and are the usual load.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use micring::MICS;

use super::{Mics, fill};
use crate::os;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// UDP_SEGMENT: microphones in turn, a burst each.
    Segments,
    /// sendmmsg, microphones interleaved, as a board sends.
    Plain,
}

/// Packets and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub sender: Sender,
    /// Bytes a packet, a multiple of 4.
    pub size: usize,
    pub seconds: f64,
    /// Packets a second over all microphones; `None`: as fast as it goes.
    pub rate: Option<f64>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub packets: u64,
    pub seconds: f64,
}

/// Segments a call: at most 64 (UDP_MAX_SEGMENTS) and 65507 bytes.
fn segments(size: usize) -> usize {
    (65_507 / size).min(64)
}

/// Sends from the calling thread, which is pinned already.
pub fn run(flood: Flood, mics: Mics, stop: &AtomicBool) -> Result<Sent> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("a sender's socket")?;
    let samples = (flood.size / 4) as i64;
    let burst = match flood.sender {
        Sender::Segments => segments(flood.size),
        Sender::Plain => 30 / MICS * MICS,
    };
    // Packets differ from their predecessors, or they would be duplicates.
    let buffers: Vec<Vec<u8>> = (0..MICS)
        .map(|mic| {
            let mut buffer = vec![0; burst * flood.size];
            for (n, packet) in buffer.chunks_exact_mut(flood.size).enumerate() {
                fill(packet, mic, n as i64 * samples);
            }
            buffer
        })
        .collect();
    let interleaved: Vec<_> = (0..burst)
        .map(|n| (mics[n % MICS], &buffers[n % MICS][n / MICS * flood.size..(n / MICS + 1) * flood.size]))
        .collect();
    let start = os::mono_ns();
    let end = start + (flood.seconds * 1e9) as i64;
    let mut packets = 0_u64;
    let mut mic = 0;
    loop {
        let now = os::mono_ns();
        if now >= end || stop.load(Ordering::Relaxed) {
            return Ok(Sent { packets, seconds: (now - start) as f64 / 1e9 });
        }
        if let Some(rate) = flood.rate
            && packets as f64 > rate * (now - start) as f64 / 1e9
        {
            std::hint::spin_loop();
            continue;
        }
        packets += match flood.sender {
            Sender::Segments => {
                let sent = os::send_segments(socket.as_raw_fd(), mics[mic], &buffers[mic], flood.size as u16);
                mic = (mic + 1) % MICS;
                (sent.context("a burst of segments")? / flood.size) as u64
            }
            Sender::Plain => os::send_many(socket.as_raw_fd(), &interleaved).context("a burst of packets")? as u64,
        };
    }
}
