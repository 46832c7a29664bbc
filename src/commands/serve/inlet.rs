//! Inlet: sockets that are read as one, in the order of the kernel's stamps, and whose their datagrams are.
//!
//! An array has an inlet of its own, so that nothing that happens at another's sockets holds it up. Only where each sending address is
//! an array do they share one, with its order and its receive buffers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::array::ArrayId;
use crate::sys::ring::{SocketId, UdpDatagram};
use crate::time::{KernelTime, Span};

use super::merge::Merge;
use super::order::Order;

/// A place in the loop's table of inlets.
pub(super) type InletId = usize;

/// A socket's 32-bit drop counter, carried on to 64 bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Drops {
    last: u32,
    total: u64,
}

impl Drops {
    /// A reading, in the order of the readings; an older one (a message that waited) changes nothing.
    pub fn observe(&mut self, reading: u32) {
        let step = reading.wrapping_sub(self.last);
        if step < 1 << 31 {
            self.last = reading;
            self.total += u64::from(step);
        }
    }

    pub fn total(self) -> u64 {
        self.total
    }
}

/// A socket of an inlet.
pub(super) struct Port {
    pub socket: SocketId,
    pub drops: Drops,
    /// Its last receive ended with an error.
    pub failing: bool,
    /// The newest packet of this round that was taken in, whose level is not known yet: of a burst only the last one's is asked for.
    pub newest: Option<(ArrayId, UdpDatagram)>,
}

/// Whose the datagrams of an inlet are.
pub(super) enum Feeds {
    One(ArrayId),
    EachHost(Hosts),
}

/// Arrays by the address that sends.
pub(super) struct Hosts {
    pub arrays: HashMap<IpAddr, ArrayId>,
    /// How long one is kept that is heard no more.
    pub forget: Span,
    /// There are no more at a time.
    pub max: usize,
    /// That there are too many was said.
    pub warned: bool,
}

/// See the top of the file.
pub(super) struct Inlet {
    pub ports: Vec<Port>,
    pub feeds: Feeds,
    merge: Merge<UdpDatagram>,
    /// In the loop's list of those to be settled.
    pub listed: bool,
}

impl Inlet {
    /// `buffers`: how many datagrams of a socket there can be at a time.
    pub fn new(sockets: &[SocketId], feeds: Feeds, buffers: usize) -> Inlet {
        let port = |&socket| Port { socket, drops: Drops::default(), failing: false, newest: None };
        let merge = Merge::new(sockets.len(), buffers);
        Inlet { ports: sockets.iter().map(port).collect(), feeds, merge, listed: false }
    }

    /// Whose a datagram of this sender is, as far as there is such an array.
    pub fn array_of(&self, sender: SocketAddr) -> Option<ArrayId> {
        match &self.feeds {
            Feeds::One(array) => Some(*array),
            Feeds::EachHost(hosts) => hosts.arrays.get(&sender.ip().to_canonical()).copied(),
        }
    }

    /// All that waits: nobody will ask for it.
    pub fn drain(&mut self) -> impl Iterator<Item = UdpDatagram> {
        self.merge.drain()
    }

    /// A datagram of a port, in this round.
    pub fn push(&mut self, port: usize, round: u64, stamp: KernelTime, datagram: UdpDatagram) {
        self.ports[port].failing = false;
        self.merge.push(port, round, stamp, datagram);
    }

    /// A port's receive ended, and is armed again before the next enter.
    pub fn ended(&mut self, port: usize) {
        self.merge.ended(port);
    }

    /// Ends a round.
    pub fn settle(&mut self, order: &Order) {
        self.merge.settle(order);
    }

    /// The next datagram whose order is certain: its port, stamp, and itself.
    pub fn next(&mut self) -> Option<(usize, KernelTime, UdpDatagram)> {
        self.merge.next()
    }

    /// Who sent it.
    pub fn next_sender(&self) -> Option<Option<SocketAddr>> {
        self.merge.peek().map(|datagram| datagram.sender)
    }

    pub fn is_behind(&self) -> bool {
        self.merge.is_behind()
    }

    /// While it is behind: see [`Merge::complete_until`].
    pub fn complete_until(&self) -> Option<KernelTime> {
        self.merge.complete_until()
    }
}
