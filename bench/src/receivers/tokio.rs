//! tokio, one thread: a task a microphone; recvmsg where the socket is ready, since tokio has no control messages.

use std::io;
use std::net::UdpSocket as StdSocket;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use ::tokio::io::Interest;
use ::tokio::net::UdpSocket;
use ::tokio::runtime::Builder;
use ::tokio::task::LocalSet;
use anyhow::Result;
use micring::MICS;
use micring::sys::udp::StampedSocket;

use super::{Meter, PeerArgs};
use crate::os::{self, Read};

/// A microphone's socket under tokio.
pub struct Udp {
    inner: UdpSocket,
}

impl Udp {
    pub fn new(socket: &StampedSocket) -> io::Result<Udp> {
        use std::os::fd::AsFd;
        let fd: OwnedFd = socket.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor was just duplicated, is a UDP socket, and nobody else has it.
        let socket = unsafe { StdSocket::from_raw_fd(fd.into_raw_fd()) };
        socket.set_nonblocking(true)?;
        Ok(Udp { inner: UdpSocket::from_std(socket)? })
    }

    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<Read> {
        self.inner
            .async_io(Interest::READABLE, || os::recvmsg(self.inner.as_raw_fd(), buffer, libc::MSG_DONTWAIT))
            .await
    }
}

async fn receive(mic: usize, socket: StampedSocket, delays: bool) -> Result<Meter> {
    let socket = Udp::new(&socket)?;
    let mut meter = Meter::new(delays);
    let mut buffer = vec![0; 8192];
    loop {
        let read = socket.recv(&mut buffer).await?;
        let now = meter.now();
        if !meter.packet(mic, &buffer[..read.len], read.stamp_ns, now) {
            return Ok(meter);
        }
    }
}

pub fn run(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut tasks = Vec::new();
        for (mic, socket) in sockets.into_iter().enumerate() {
            tasks.push(::tokio::task::spawn_local(receive(mic, socket, args.delays)));
        }
        let mut meters = Vec::new();
        for task in tasks {
            meters.push(task.await??);
        }
        Ok(Meter::merge(meters))
    })
}
