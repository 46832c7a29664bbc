//! Outlets: UDP sockets that send to one address each, a few packets of each on their way at a time.
//!
//! A packet whose socket has no room is not waited for (MSG_DONTWAIT): late audio is of no use, and packets stay in order.

use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::types::Fd;

use super::super::token::Token;
use super::super::udp::OutSocket;
use super::{Completion, Ring};

/// Packets of an outlet that one enter carries out, some 5 us each.
const AT_ONCE: usize = 8;

/// The place of an outlet in the ring, counted from 0.
pub type OutletId = usize;

pub(super) struct Outlet {
    socket: OutSocket,
    /// What the kernel may read until the completion of its send.
    pub(super) sending: [Option<Vec<u8>>; AT_ONCE],
}

impl Ring {
    pub fn add_outlet(&mut self, socket: OutSocket) -> OutletId {
        self.outlets.push(Outlet { socket, sending: Default::default() });
        self.outlets.len() - 1
    }

    /// Sends one packet. It comes back with [`Completion::PacketSent`]; or at once, where as many are on their way as may be.
    ///
    /// # Errors
    /// The packet: there is no room.
    pub fn send_packet(&mut self, outlet: OutletId, packet: Vec<u8>) -> Result<(), Vec<u8>> {
        let Outlet { socket, sending } = &mut self.outlets[outlet];
        let Some(place) = sending.iter().position(Option::is_none) else { return Err(packet) };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry =
            opcode::Send::new(Fd(socket.as_raw_fd()), packet.as_ptr(), packet.len() as u32).flags(flags).build();
        sending[place] = Some(packet);
        let token = Token::Outlet(outlet as u32, place as u32);
        // SAFETY: the packet's memory stays in `sending` until the send's completion is reaped; where the ring is dropped before, it is
        // never freed (`drop`).
        unsafe { self.push(entry, token) };
        Ok(())
    }

    /// Before the first packet behind a rest: a refusal of what was sent before it is none of that packet.
    pub fn forget_refusal(&self, outlet: OutletId) {
        self.outlets[outlet].socket.forget_error();
    }

    pub(super) fn reap_outlet(&mut self, outlet: u32, place: u32, result: i32, out: &mut Vec<Completion>) {
        let outlet = outlet as OutletId;
        let place = &mut self.outlets[outlet].sending[place as usize];
        let packet = place.take().expect("a completion follows its send");
        let result = usize::try_from(result).map_err(|_| -result);
        out.push(Completion::PacketSent { outlet, packet, result });
    }
}
