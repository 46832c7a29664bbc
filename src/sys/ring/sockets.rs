//! UDP sockets: each has a place that is used again, a multishot receive, and a pool of buffers that stays with the place.
//!
//! And the mark, which tells how far an enter got. What is ready waits in the kernel in the order in which it was noted
//! (io_uring/io_uring.c, `__io_run_local_work`), and an enter carries out as much of it as it likes: some 20 since 6.13. A poll that
//! is cancelled takes the same way (io_uring/poll.c, `io_poll_cancel_req`): it queues behind all that is noted by then. So its
//! completion says that all of that has been carried out, whatever the kernel's share is, and however much of it left no completion.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::Fd;

use super::super::pool::BufferPool;
use super::super::token::Token;
use super::super::udp::StampedSocket;
use super::{CONTROL_AREA, DATAGRAM_HEAD, NAME_AREA, Ring, UdpDatagram};

/// The place of a socket in the ring: counted from 0, and used again once its socket is gone.
pub type SocketId = usize;

pub(super) struct UdpSlot {
    socket: Option<StampedSocket>,
    pub(super) header: Box<libc::msghdr>,
    pub(super) armed: bool,
    /// Removed; the place is free with the last completion.
    pub(super) closing: bool,
}

/// See the top of the file: a descriptor that is never ready.
pub(super) struct Mark(OwnedFd);

impl Mark {
    pub(super) fn new() -> io::Result<Mark> {
        // SAFETY: eventfd takes numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
        Ok(Mark(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl Ring {
    /// Takes a socket in; [`arm_socket`](Ring::arm_socket) begins to receive. Once the ring is enabled, only with
    /// [`RingOptions::grows`](super::RingOptions::grows) or into a place that is free again.
    ///
    /// # Errors
    /// ENOMEM where memory may not be locked, EACCES where the ring does not grow.
    pub fn add_socket(&mut self, socket: StampedSocket) -> io::Result<SocketId> {
        if let Some(id) = self.sockets.iter().position(|slot| slot.socket.is_none()) {
            self.sockets[id].socket = Some(socket);
            return Ok(id);
        }
        let id = self.sockets.len();
        let group = u16::try_from(id + 1).map_err(|_| io::Error::from_raw_os_error(libc::EMFILE))?;
        let size = DATAGRAM_HEAD + self.options.max_datagram;
        let pool = BufferPool::register(&self.ring.submitter(), group, self.options.socket_buffers, size)?;
        self.pools.push(pool);
        // SAFETY: an all-zero msghdr is a valid, empty one.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME_AREA as _;
        header.msg_controllen = CONTROL_AREA as _;
        self.sockets.push(UdpSlot { socket: Some(socket), header, armed: false, closing: false });
        Ok(id)
    }

    /// Ends a socket's receive and closes it. What of it is still reaped is given back unseen; its place is used again later.
    pub fn remove_socket(&mut self, id: SocketId) {
        let slot = &mut self.sockets[id];
        if slot.socket.is_none() || slot.closing {
            return;
        }
        slot.closing = true;
        if slot.armed {
            self.cancel(Token::Socket(id));
        } else {
            self.release_socket(id);
        }
    }

    /// The receive of a socket that was removed has ended.
    pub(super) fn release_socket(&mut self, id: SocketId) {
        let slot = &mut self.sockets[id];
        if slot.closing {
            slot.socket = None;
            slot.closing = false;
        }
    }

    /// # Panics
    /// If it was removed.
    pub fn socket(&self, id: SocketId) -> &StampedSocket {
        self.sockets[id].socket.as_ref().expect("a socket in use")
    }

    /// Arms a socket's multishot receive, unless it is running.
    pub fn arm_socket(&mut self, id: SocketId) {
        let slot = &mut self.sockets[id];
        let Some(socket) = slot.socket.as_ref().filter(|_| !slot.armed && !slot.closing) else { return };
        slot.armed = true;
        let fd = Fd(socket.as_raw_fd());
        let entry = opcode::RecvMsgMulti::new(fd, &*slot.header, id as u16 + 1).flags(libc::MSG_TRUNC as u32).build();
        // SAFETY: the header is boxed, stays as it is, and lives as long as `self`; the kernel reads it inside an enter, and
        // writes, inside an enter too, into buffers of the pool that this group names. After the ring has closed it does
        // neither (see `Ring`).
        unsafe { self.push(entry, Token::Socket(id)) };
    }

    /// Arms every socket whose multishot is not running.
    pub fn arm_sockets(&mut self) {
        (0..self.sockets.len()).for_each(|id| self.arm_socket(id));
    }

    /// Sets a mark behind all that is noted as ready: [`Completion::Marked`](super::Completion::Marked) follows, in a later enter. One at
    /// a time.
    pub fn mark(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.mark.0.as_raw_fd()), libc::POLLIN as u32).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(poll, Token::Mark) };
        self.cancel(Token::Mark);
    }

    /// The payload of a datagram, as much of it as fitted.
    pub fn payload(&self, datagram: &UdpDatagram) -> &[u8] {
        let (start, len) = datagram.payload;
        &self.pools[datagram.socket + 1].bytes(&datagram.lease)[start..start + len]
    }

    /// Whether no datagram of a socket is in anybody's hands.
    pub fn all_free(&self, id: SocketId) -> bool {
        self.pools[id + 1].all_free()
    }

    pub fn recycle(&mut self, datagram: UdpDatagram) {
        self.pools[datagram.socket + 1].recycle(datagram.lease);
    }
}
