//! The bare loop: micring's ring, no engine, no HTTP but a fixed head. What the rest of micring costs is the difference.

use std::collections::VecDeque;

use anyhow::Result;
use bytes::Bytes;
use micring::conn::ConnId;
use micring::sys::ring::{Completion, Ring, RingOptions};
use micring::sys::tcp;

use super::{Assembler, HEAD};
use crate::receivers::{announce, bind};

struct Client {
    id: ConnId,
    queue: VecDeque<Bytes>,
    sending: Option<Bytes>,
    asked: bool,
}

/// Sends handed over between two looks at the microphones (bench/README.md: chunks of sends).
const CHUNK: usize = 48;

pub fn run() -> Result<()> {
    let sockets = bind()?;
    let listener = tcp::listen("127.0.0.1:0".parse()?)?;
    announce(&sockets, Some(listener.local_addr()?))?;
    let mut ring = Ring::new(RingOptions::default(), sockets)?;
    ring.listen(listener);
    let mut assembler = Assembler::default();
    let mut clients: Vec<Client> = Vec::new();
    let mut ready: VecDeque<usize> = VecDeque::new();
    let mut completions = Vec::with_capacity(8192);
    while assembler.stopped.contains(&false) {
        ring.arm_sockets();
        ring.arm_accept();
        if ready.is_empty() {
            ring.wait(None)?
        } else {
            ring.poll()?
        }
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Datagram(datagram) => {
                    let stamp = datagram.stamp.map_or(0, |stamp| stamp.as_nanos());
                    let wanted = clients.iter().any(|client| client.asked);
                    let event = assembler.packet(datagram.socket, ring.payload(&datagram), stamp, wanted);
                    ring.recycle(datagram);
                    let Some(event) = event else { continue };
                    for (index, client) in clients.iter_mut().enumerate().filter(|(_, client)| client.asked) {
                        if client.queue.len() < 64 {
                            client.queue.push_back(event.clone());
                            ready.push_back(index);
                        }
                    }
                }
                Completion::Accepted { id, .. } => {
                    clients.push(Client { id, queue: VecDeque::new(), sending: None, asked: false });
                    ring.receive(id);
                }
                Completion::Received { id, lease } => {
                    ring.recycle_received(lease);
                    if let Some(index) = clients.iter().position(|client| client.id == id) {
                        clients[index].asked = true;
                        clients[index].queue.push_back(Bytes::from_static(HEAD.as_bytes()));
                        ready.push_back(index);
                        ring.receive(id);
                    }
                }
                Completion::Sent { id, count } => {
                    if let Some(index) = clients.iter().position(|client| client.id == id) {
                        let rest = clients[index].sending.take().map(|bytes| bytes.slice(count..));
                        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                            clients[index].queue.push_front(rest);
                        }
                        if !clients[index].queue.is_empty() {
                            ready.push_back(index);
                        }
                    }
                }
                Completion::Finished(id) | Completion::Failed { id, .. } => {
                    if let Some(client) = clients.iter_mut().find(|client| client.id == id) {
                        client.asked = false;
                        client.queue.clear();
                    }
                    ring.close(id);
                }
                _ => {}
            }
        }
        for _ in 0..CHUNK {
            let Some(index) = ready.pop_front() else { break };
            let client = &mut clients[index];
            if client.sending.is_none()
                && let Some(bytes) = client.queue.pop_front()
            {
                client.sending = Some(bytes.clone());
                ring.send(client.id, bytes);
            }
        }
    }
    Ok(())
}
