//! The load: what is sent to a receiver, from a thread that is pinned to the other core. Bounded in count and time.

pub mod arrays;
pub mod cycles;
pub mod flood;
pub mod hogs;

use std::net::SocketAddr;

/// Sockets of mic 0, 1, 2.
pub type Mics = [SocketAddr; micring::MICS];

/// Ends a receiver: a datagram that is no packet, since three bytes are no whole sample.
pub const STOP: &[u8] = b"end";

/// The sample of a microphone at a position: shows any misalignment by itself (`micring simulate --signal index`).
pub fn index_sample(mic: usize, position: i64) -> i32 {
    ((mic as i32 + 1) << 28) | (position & 0x0fff_ffff) as i32
}

/// A packet of `samples` index samples from `position` on.
pub fn fill(packet: &mut [u8], mic: usize, position: i64) {
    for (n, sample) in packet.chunks_exact_mut(4).enumerate() {
        sample.copy_from_slice(&index_sample(mic, position + n as i64).to_le_bytes());
    }
}

/// Whether a packet's first sample belongs to `mic`, and its position.
pub fn read_index(packet: &[u8], mic: usize) -> Option<i64> {
    let first = i32::from_le_bytes(packet.get(..4)?.try_into().ok()?);
    (first >> 28 == mic as i32 + 1).then_some(i64::from(first & 0x0fff_ffff))
}
