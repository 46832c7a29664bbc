//! tokio-uring 0.5: io_uring with one submission a datagram. It passes no control messages on, so the stamp is asked for
//! after the read (SIOCGSTAMPNS), one more system call, and only where delays are wanted.

use std::net::UdpSocket as StdSocket;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

use anyhow::{Context, Result};
use micring::MICS;
use micring::sys::udp::StampedSocket;
use tokio_uring::net::UdpSocket;

use super::{Meter, PeerArgs};
use crate::os;

async fn receive(mic: usize, socket: StampedSocket, delays: bool) -> Result<Meter> {
    use std::os::fd::AsFd;
    let fd = socket.as_fd().try_clone_to_owned()?;
    os::stamp_on_request(fd.as_raw_fd())?;
    if delays {
        os::last_stamp(fd.as_raw_fd());
    }
    let raw = fd.as_raw_fd();
    // SAFETY: the descriptor was just duplicated, is a UDP socket, and nobody else has it.
    let socket = UdpSocket::from_std(unsafe { StdSocket::from_raw_fd(fd.into_raw_fd()) });
    let mut meter = Meter::new(delays);
    let mut buffer = vec![0; 8192];
    loop {
        let (result, back) = socket.recv_from(buffer).await;
        buffer = back;
        let (len, _) = result.context("recvmsg through tokio-uring")?;
        let now = meter.now();
        let stamp = if delays { os::last_stamp(raw) } else { 1 };
        if !meter.packet(mic, &buffer[..len], stamp, now) {
            return Ok(meter);
        }
    }
}

pub fn run(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    tokio_uring::start(async {
        let mut tasks = Vec::new();
        for (mic, socket) in sockets.into_iter().enumerate() {
            tasks.push(tokio_uring::spawn(receive(mic, socket, args.delays)));
        }
        let mut meters = Vec::new();
        for task in tasks {
            meters.push(task.await??);
        }
        Ok(Meter::merge(meters))
    })
}
