//! Three threads, each blocked in recvmsg: the old server's design, in Rust.

use std::os::fd::AsRawFd;
use std::thread;

use anyhow::Result;
use micring::MICS;
use micring::sys::udp::StampedSocket;

use super::{Meter, PeerArgs};
use crate::os;

pub fn run(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    let threads: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(mic, socket)| {
            let delays = args.delays;
            thread::spawn(move || -> Result<Meter> {
                let mut meter = Meter::new(delays);
                let mut buffer = vec![0; 8192];
                loop {
                    let read = os::recvmsg(socket.as_raw_fd(), &mut buffer, 0)?;
                    let now = meter.now();
                    if !meter.packet(mic, &buffer[..read.len], read.stamp_ns, now) {
                        return Ok(meter);
                    }
                }
            })
        })
        .collect();
    let meters = threads.into_iter().map(|thread| thread.join().expect("a receiver thread"));
    Ok(Meter::merge(meters.collect::<Result<Vec<_>>>()?))
}
