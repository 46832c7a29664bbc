//! Connections: accepted by a multishot, kept in slots that are used again, read and written one request at a time.
//!
//! A slot is free again when the last completion of its connection is in, and its generation says whose a completion is.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::Bytes;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::super::tcp;
use super::super::token::Token;
use super::{HTTP_BUFFER, HTTP_GROUP, Ring};
use crate::conn::ConnId;

pub(super) struct Link {
    fd: OwnedFd,
    /// Cancelled; the descriptor closes when the last completion is in.
    pub(super) closing: bool,
    pub(super) receiving: bool,
    /// The bytes that the kernel may read until the completion of their send.
    pub(super) sending: Option<Bytes>,
}

pub(super) struct LinkSlot {
    generation: u32,
    pub(super) conn: Option<Link>,
}

impl Ring {
    /// Takes the listener and arms its multishot accept.
    pub fn listen(&mut self, listener: TcpListener) {
        self.listener = Some(listener);
        self.arm_accept();
    }

    /// Arms the accept again after [`Completion::AcceptEnded`].
    pub fn arm_accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.accept_armed {
            return;
        }
        self.accept_armed = true;
        let fd = Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(entry, Token::Accept) };
    }

    /// Accepts no more; open connections live on.
    pub fn stop_accepting(&mut self) {
        if self.accept_armed {
            self.cancel(Token::Accept);
        }
        self.listener = None;
    }

    /// Asks for bytes of a connection; at most one such request at a time.
    pub fn receive(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.receiving {
            return;
        }
        conn.receiving = true;
        let fd = Fd(conn.fd.as_raw_fd());
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), HTTP_BUFFER as u32)
            .buf_group(HTTP_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel writes only into a buffer of the pool that this group names, which is a `Lease` of ours once the
        // completion says so. That pool outlives the receive: see `Ring`, and its `drop`.
        unsafe { self.push(entry, Token::Recv(id)) };
    }

    /// Sends bytes; at most one send of a connection is in flight. It may complete short.
    pub fn send(&mut self, id: ConnId, bytes: Bytes) {
        let Some(conn) = self.conn(id) else { return };
        assert!(conn.sending.is_none(), "one send in flight a connection");
        let fd = Fd(conn.fd.as_raw_fd());
        let entry = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL).build();
        conn.sending = Some(bytes);
        // SAFETY: the bytes stay in `conn.sending` until the send's completion is reaped, and `Bytes` does not move its content; where
        // the ring is dropped before, they are never freed (`drop`).
        unsafe { self.push(entry, Token::Send(id)) };
    }

    pub(super) fn conn(&mut self, id: ConnId) -> Option<&mut Link> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.conn.as_mut() } else { None }
    }

    pub(super) fn adopt(&mut self, fd: OwnedFd) -> ConnId {
        let conn = Link { fd, closing: false, receiving: false, sending: None };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(LinkSlot { generation: 0, conn: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.conn = Some(conn);
        ConnId { slot: index, generation: slot.generation }
    }

    /// Ends our side (FIN) once what was sent is out; receiving goes on, so that the peer gets the last response instead
    /// of a reset.
    pub fn shutdown(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            // Fails only where the peer has reset the connection: the next receive says so.
            let _ = tcp::shutdown_write(&conn.fd);
        }
    }

    /// Gives a connection up at once: cancels what is in flight; the descriptor closes with the last completion.
    pub fn close(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.closing {
            return;
        }
        conn.closing = true;
        let (receiving, sending) = (conn.receiving, conn.sending.is_some());
        if receiving {
            self.cancel(Token::Recv(id));
        }
        if sending {
            self.cancel(Token::Send(id));
        }
        self.release(id);
    }

    /// The same with a reset: the peer learns that what it has is not all.
    pub fn reset(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            // Fails only where the peer is gone already, and knows.
            let _ = tcp::reset_on_close(&conn.fd);
        }
        self.close(id);
    }

    /// Frees the slot of a closing connection that has nothing in flight.
    pub(super) fn release(&mut self, id: ConnId) {
        let slot = &mut self.slots[id.slot as usize];
        if let Some(conn) = &slot.conn
            && conn.closing
            && !conn.receiving
            && conn.sending.is_none()
        {
            slot.conn = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }

    /// Connections whose descriptor is open, those being closed included.
    pub fn open_connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
