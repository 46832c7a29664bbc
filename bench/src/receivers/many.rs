//! epoll and recvmmsg for any number of sockets: the packets are read, counted, and nothing else.

use std::io::Write;
use std::os::fd::AsRawFd;

use anyhow::Result;
use micring::sys::udp::StampedSocket;
use serde_json::{Value, json};

use super::RECEIVE_BUFFER;
use super::mmsg::BATCH;
use crate::load::STOP;
use crate::os::{self, Batch, Epoll};

pub fn run(count: usize) -> Result<Value> {
    os::raise_descriptor_limit();
    let bind = |_| StampedSocket::bind("127.0.0.1:0".parse()?, RECEIVE_BUFFER).map_err(anyhow::Error::from);
    let sockets = (0..count).map(bind).collect::<Result<Vec<StampedSocket>>>()?;
    let mics: Vec<String> = sockets.iter().map(|socket| socket.address().to_string()).collect();
    println!("{}", json!({ "ready": true, "mics": mics }));
    std::io::stdout().flush()?;
    let epoll = Epoll::new()?;
    for (token, socket) in sockets.iter().enumerate() {
        epoll.add(socket.as_raw_fd(), token as u64, libc::EPOLLIN)?;
    }
    let mut batch = Batch::new(BATCH, 8192);
    let mut ready = Vec::with_capacity(4096);
    let (mut packets, mut newest, mut stopped) = (0u64, 0i64, false);
    while !stopped {
        epoll.wait(&mut ready, -1);
        for &(token, _) in &ready {
            let count = batch.recv(sockets[token as usize].as_raw_fd());
            for index in 0..count {
                let (stamp, packet) = batch.get(index);
                newest = newest.max(stamp);
                if packet == STOP {
                    stopped = true;
                } else {
                    packets += 1;
                }
            }
        }
    }
    Ok(json!({ "packets": packets, "newest": newest }))
}
