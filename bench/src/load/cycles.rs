//! The board: a packet of each microphone, back to back, every period, paced by absolute deadlines.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::fill;
use crate::os;

/// What a board sends, and for how many cycles.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    pub cycles: u64,
    /// Samples a packet.
    pub samples: usize,
    pub period_ns: i64,
}

impl Board {
    /// The array's own rate: 512 samples at 48 kHz, 93.75 cycles a second.
    pub fn usual(seconds: f64) -> Board {
        Board { cycles: (seconds * 93.75).ceil() as u64, samples: 512, period_ns: 10_666_667 }
    }
}

/// Sends from the calling thread, which is pinned already; how many cycles.
pub fn run(board: Board, mics: &[SocketAddr], stop: &AtomicBool) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("a sender's socket")?;
    let mut packets = vec![vec![0; board.samples * 4]; mics.len()];
    let start = os::mono_ns() + board.period_ns;
    for cycle in 0..board.cycles {
        for (mic, packet) in packets.iter_mut().enumerate() {
            fill(packet, mic, cycle as i64 * board.samples as i64);
        }
        os::sleep_until(start + cycle as i64 * board.period_ns);
        if stop.load(Ordering::Relaxed) {
            return Ok(cycle);
        }
        for (packet, mic) in packets.iter().zip(mics) {
            socket.send_to(packet, mic).context("a packet")?;
        }
    }
    Ok(board.cycles)
}
