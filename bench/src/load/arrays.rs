//! Many boards: each has its own socket, and sends its three packets once a period; the boards spread over the period.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

use super::{Mics, fill};
use crate::os;

/// Samples a packet, and the time of as many at 48 kHz.
const SAMPLES: usize = 512;
const PERIOD_NS: i64 = 10_666_667;

/// A board: the address that it sends from, and where to.
pub type Board = (Ipv4Addr, Mics);

/// Sends for so long; how many packets.
pub fn run(boards: &[Board], seconds: f64) -> Result<u64> {
    let bind = |&(from, mics): &Board| Ok((UdpSocket::bind((from, 0)).context("a board's socket")?, mics));
    let boards = boards.iter().map(bind).collect::<Result<Vec<(UdpSocket, Mics)>>>()?;
    let mut packets = [const { [0u8; SAMPLES * 4] }; 3];
    let start = os::mono_ns() + PERIOD_NS;
    let count = boards.len() as i64;
    let mut sent = 0;
    for cycle in 0..(seconds * 1e9) as i64 / PERIOD_NS {
        for (mic, packet) in packets.iter_mut().enumerate() {
            fill(packet, mic, cycle * SAMPLES as i64);
        }
        for (nth, (socket, mics)) in boards.iter().enumerate() {
            os::sleep_until(start + cycle * PERIOD_NS + nth as i64 * PERIOD_NS / count);
            let message = |mic: usize| -> (SocketAddr, &[u8]) { (mics[mic], &packets[mic][..]) };
            sent += os::send_many(socket.as_raw_fd(), &[0, 1, 2].map(message)).context("a board's packets")? as u64;
        }
    }
    Ok(sent)
}
