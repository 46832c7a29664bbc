//! The limit: one thread, epoll, recvmmsg, and a write to every socket in turn that never blocks.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use anyhow::Result;
use bytes::Bytes;
use micring::MICS;
use micring::sys::tcp;

use super::{Assembler, HEAD};
use crate::os::{Batch, Epoll};
use crate::receivers::{announce, bind};

struct Client {
    stream: TcpStream,
    /// What the socket did not take; empty in steady running.
    queue: VecDeque<Bytes>,
    asked: bool,
    open: bool,
}

impl Client {
    /// Writes until all is out or the socket is full.
    fn write(&mut self) {
        while let Some(bytes) = self.queue.front_mut() {
            match self.stream.write(bytes) {
                Ok(count) if count == bytes.len() => drop(self.queue.pop_front()),
                Ok(count) => *bytes = bytes.slice(count..),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.queue.clear();
                    self.open = false;
                }
            }
        }
    }
}

pub fn run() -> Result<()> {
    let sockets = bind()?;
    let listener = tcp::listen("127.0.0.1:0".parse()?)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    for (mic, socket) in sockets.iter().enumerate() {
        epoll.add(socket.as_raw_fd(), mic as u64, libc::EPOLLIN)?;
    }
    let accept = MICS as u64;
    epoll.add(listener.as_raw_fd(), accept, libc::EPOLLIN)?;
    announce(&sockets, Some(listener.local_addr()?))?;
    let mut assembler = Assembler::default();
    let mut batch = Batch::new(64, 8192);
    let mut clients: Vec<Client> = Vec::new();
    let mut ready = Vec::with_capacity(256);
    while assembler.stopped.contains(&false) {
        epoll.wait(&mut ready, -1);
        for &(token, events) in &ready {
            if token < accept {
                let mic = token as usize;
                for index in 0..batch.recv(sockets[mic].as_raw_fd()) {
                    let (stamp, packet) = batch.get(index);
                    let Some(event) = assembler.packet(mic, packet, stamp, !clients.is_empty()) else { continue };
                    for (index, client) in clients.iter_mut().enumerate().filter(|(_, c)| c.asked && c.open) {
                        let was_behind = !client.queue.is_empty();
                        if client.queue.len() < 64 {
                            client.queue.push_back(event.clone());
                        }
                        if !was_behind {
                            client.write();
                            if !client.queue.is_empty() {
                                let token = accept + 1 + index as u64;
                                epoll.change(client.stream.as_raw_fd(), token, libc::EPOLLIN | libc::EPOLLOUT)?;
                            }
                        }
                    }
                }
            } else if token == accept {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    epoll.add(stream.as_raw_fd(), accept + 1 + clients.len() as u64, libc::EPOLLIN)?;
                    clients.push(Client { stream, queue: VecDeque::new(), asked: false, open: true });
                }
            } else {
                let client = &mut clients[(token - accept - 1) as usize];
                if events & libc::EPOLLIN as u32 != 0 {
                    let mut request = [0; 4096];
                    if client.stream.read(&mut request).unwrap_or(0) == 0 {
                        client.open = false;
                        // Closed for both sides: the descriptor stays until the end, silent.
                        epoll.change(client.stream.as_raw_fd(), token, 0)?;
                        let _ = client.stream.shutdown(std::net::Shutdown::Both);
                        continue;
                    }
                    client.asked = true;
                    client.queue.push_back(Bytes::from_static(HEAD.as_bytes()));
                }
                client.write();
                let more = if client.queue.is_empty() { 0 } else { libc::EPOLLOUT };
                epoll.change(client.stream.as_raw_fd(), token, libc::EPOLLIN | more)?;
            }
        }
    }
    Ok(())
}
