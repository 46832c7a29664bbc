//! Completions to plain values: what came back, of whom, and why a multishot ended.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use io_uring::cqueue;
use io_uring::types::RecvMsgOut;

use super::super::cmsg;
use super::super::tcp;
use super::super::token::Token;
use super::{Completion, End, HTTP_GROUP, Ring, SocketId, UdpDatagram};
use crate::conn::ConnId;

impl Ring {
    /// Moves all completions into `out`, as plain values.
    pub fn reap(&mut self, out: &mut Vec<Completion>) {
        while let Some(entry) = { self.ring.completion().next() } {
            self.counters.completions += 1;
            let (result, flags) = (entry.result(), entry.flags());
            match Token::unpack(entry.user_data()) {
                Some(Token::Socket(id)) => self.reap_socket(id, result, flags, out),
                Some(Token::Accept) => self.reap_accept(result, flags, out),
                Some(Token::Recv(id)) => self.reap_recv(id, result, flags, out),
                Some(Token::Send(id)) => self.reap_send(id, result, out),
                Some(Token::Signal) => {
                    out.push(Completion::Signal);
                    if !cqueue::more(flags)
                        && let Some(signals) = self.signals.take()
                    {
                        self.watch(signals);
                    }
                }
                Some(Token::Log) => {
                    self.log = None;
                    out.push(Completion::LogWritten(usize::try_from(result).map_err(|_| -result)));
                }
                Some(Token::File(file)) => {
                    let (op, result) = self.files[file].complete(result);
                    out.push(Completion::FileDone { file, op, result });
                }
                Some(Token::Outlet(outlet, place)) => self.reap_outlet(outlet, place, result, out),
                Some(Token::Mark) => out.push(Completion::Marked),
                Some(Token::Cancel) => {}
                None => panic!("every submission carries a token: {:#x}", entry.user_data()),
            }
        }
    }

    fn reap_socket(&mut self, id: SocketId, result: i32, flags: u32, out: &mut Vec<Completion>) {
        let more = cqueue::more(flags);
        let mut empty = false;
        if result >= 0
            && let Some(buffer) = cqueue::buffer_select(flags)
        {
            let (slot, pool) = (&self.sockets[id], &mut self.pools[id + 1]);
            let lease = pool.lease(buffer, result as u32);
            let bytes = pool.bytes(&lease);
            let out_header =
                RecvMsgOut::parse(bytes, &slot.header).expect("a buffer holds the header areas: result >= head");
            let control = cmsg::parse(out_header.control_data());
            let payload = out_header.payload_data();
            let datagram = UdpDatagram {
                socket: id,
                stamp: control.stamp,
                sender: cmsg::parse_address(out_header.name_data()),
                len: out_header.incoming_payload_len() as usize,
                dropped: control.dropped,
                control_cut: out_header.is_control_data_truncated()
                    || out_header.flags() & libc::MSG_CTRUNC as u32 != 0,
                payload: (bytes.len() - payload.len(), payload.len()),
                lease,
            };
            empty = datagram.len == 0;
            if slot.closing {
                self.recycle(datagram);
            } else {
                out.push(Completion::Datagram(datagram));
            }
        }
        if !more {
            let slot = &mut self.sockets[id];
            slot.armed = false;
            if slot.closing {
                return self.release_socket(id);
            }
            let end = if empty { End::EmptyDatagram } else { self.end_of(result) };
            self.count_end(end);
            out.push(Completion::SocketEnded { socket: id, end });
        }
    }

    fn reap_accept(&mut self, result: i32, flags: u32, out: &mut Vec<Completion>) {
        if result >= 0 {
            // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(result as RawFd) };
            // A peer that is already gone has no address; its descriptor closes here.
            if let Ok(peer) = tcp::peer(&fd) {
                let id = self.adopt(fd);
                out.push(Completion::Accepted { id, peer });
            }
        }
        if !cqueue::more(flags) {
            self.accept_armed = false;
            if self.listener.is_some() {
                let end = self.end_of(result);
                self.count_end(end);
                out.push(Completion::AcceptEnded(end));
            }
        }
    }

    fn reap_recv(&mut self, id: ConnId, result: i32, flags: u32, out: &mut Vec<Completion>) {
        let pool = &mut self.pools[usize::from(HTTP_GROUP)];
        let lease = cqueue::buffer_select(flags).map(|id| pool.lease(id, result.max(0) as u32));
        let (live, closing) = match self.conn(id) {
            Some(conn) => {
                conn.receiving = false;
                (!conn.closing, conn.closing)
            }
            None => (false, false),
        };
        match lease {
            Some(lease) if live && result > 0 => return out.push(Completion::Received { id, lease }),
            Some(lease) => self.recycle_received(lease),
            None => {}
        }
        self.counters.stale += u64::from(!live);
        match -result {
            _ if closing => self.release(id),
            _ if !live => {}
            0 => out.push(Completion::Finished(id)),
            libc::ENOBUFS => out.push(Completion::Starved(id)),
            errno => out.push(Completion::Failed { id, errno }),
        }
    }

    fn reap_send(&mut self, id: ConnId, result: i32, out: &mut Vec<Completion>) {
        let Some(conn) = self.conn(id) else {
            self.counters.stale += 1;
            return;
        };
        conn.sending = None;
        if conn.closing {
            self.counters.stale += 1;
            return self.release(id);
        }
        out.push(match usize::try_from(result) {
            Ok(count) => Completion::Sent { id, count },
            Err(_) => Completion::Failed { id, errno: -result },
        });
    }

    fn end_of(&self, result: i32) -> End {
        match -result {
            libc::ENOBUFS => End::NoBuffers,
            libc::EMFILE | libc::ENFILE => End::NoDescriptors,
            errno if errno > 0 => End::Error(errno),
            _ => End::CompletionsFull,
        }
    }

    fn count_end(&mut self, end: End) {
        let counters = &mut self.counters;
        *match end {
            End::NoBuffers => &mut counters.ended_no_buffers,
            End::CompletionsFull => &mut counters.ended_completions_full,
            End::EmptyDatagram => &mut counters.ended_empty_datagram,
            End::NoDescriptors => &mut counters.ended_no_descriptors,
            End::Error(_) => &mut counters.ended_error,
        } += 1;
    }
}
