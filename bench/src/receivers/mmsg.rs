//! epoll and recvmmsg: the usual fast receiver.

use std::os::fd::AsRawFd;

use anyhow::Result;
use micring::MICS;
use micring::sys::udp::StampedSocket;

use super::{Meter, PeerArgs};
use crate::os::{Batch, Epoll};

/// Datagrams a call.
pub const BATCH: usize = 64;

pub fn run(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    let epoll = Epoll::new()?;
    for (mic, socket) in sockets.iter().enumerate() {
        epoll.add(socket.as_raw_fd(), mic as u64, libc::EPOLLIN)?;
    }
    let mut batch = Batch::new(BATCH, 8192);
    let mut meter = Meter::new(args.delays);
    let mut ready = Vec::with_capacity(256);
    let mut stopped = [false; MICS];
    while stopped.contains(&false) {
        epoll.wait(&mut ready, if args.spin { 0 } else { -1 });
        for &(token, _) in &ready {
            let mic = token as usize;
            let count = batch.recv(sockets[mic].as_raw_fd());
            let now = meter.now();
            for index in 0..count {
                let (stamp, packet) = batch.get(index);
                stopped[mic] |= !meter.packet(mic, packet, stamp, now);
            }
        }
    }
    Ok(meter)
}
