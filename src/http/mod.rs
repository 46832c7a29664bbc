//! HTTP as a pure machine: request bytes in, response bytes out, time as an argument; the loop owns the sockets.

mod config;
mod figures;
mod source;

use std::net::SocketAddr;

use bytes::Bytes;

pub use config::{Cors, HttpConfig};
pub use figures::{HttpFigures, StreamFigures};
pub use source::{FRAME_BYTES, LocalTime, Source};

use crate::cycle::{Clocks, Cycle};
use crate::time::{KernelTime, MonoTime};

/// Names a connection. A slot is used again with another generation, so that a late completion of a closed connection
/// is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

/// What the loop is asked to do. At most one `Recv` and one `Send` of a connection are in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Receive once, any length; hand it to [`Server::receive`].
    Recv(ConnId),
    /// Send once; a short send is fine. Hand the count to [`Server::sent`].
    Send(ConnId, Bytes),
    /// Half-close: send FIN (`shutdown(SHUT_WR)`), go on receiving. No completion is expected.
    Shutdown(ConnId),
    /// Cancel what is in flight and close. The id is dead from now on.
    Close(ConnId),
}

/// A received packet, for `/api/stream`.
#[derive(Clone, Copy, Debug)]
pub struct PacketEvent<'a> {
    pub mic: usize,
    /// Signed 32-bit little-endian, mono; whole samples.
    pub samples: &'a [u8],
    pub arrival: KernelTime,
}

/// All connections.
pub struct Server {
    config: HttpConfig,
}

impl Server {
    pub fn new(config: HttpConfig) -> Server {
        Server { config }
    }
    /// A new connection; its actions follow. `None`: too many even to be told so, close the socket.
    pub fn accept(&mut self, _peer: SocketAddr, _now: MonoTime) -> Option<ConnId> {
        unimplemented!()
    }
    /// A `Recv` completed. Empty: the peer has finished sending.
    pub fn receive(&mut self, _id: ConnId, _bytes: &[u8], _clocks: Clocks) {}
    /// A `Send` completed with `n` bytes.
    pub fn sent(&mut self, _id: ConnId, _n: usize, _clocks: Clocks) {}
    /// The socket failed: it is forgotten, the loop closes it.
    pub fn failed(&mut self, _id: ConnId) {}
    /// Every emitted cycle, in order.
    pub fn publish_cycle(&mut self, _cycle: &Cycle, _clocks: Clocks, _source: &dyn Source) {}
    /// Every accepted packet, at least while [`Server::wants_packets`].
    pub fn publish_packet(&mut self, _packet: &PacketEvent<'_>, _clocks: Clocks, _source: &dyn Source) {}
    pub fn wants_packets(&self) -> bool {
        false
    }
    pub fn handle_timeout(&mut self, _now: MonoTime) {}
    pub fn next_timeout(&self) -> Option<MonoTime> {
        None
    }
    /// The next thing to do, connections in turn. All the work (parsing, rendering, encoding) happens here, so the loop
    /// bounds HTTP's share of a turn by the number of calls.
    pub fn poll_action(&mut self, _source: &mut dyn Source) -> Option<Action> {
        None
    }
    /// Whether [`Server::poll_action`] may have something to do.
    pub fn has_work(&self) -> bool {
        false
    }
    /// No new connections; streams end after the event in flight, then everything closes.
    pub fn begin_shutdown(&mut self, _now: MonoTime) {}
    /// Whether every connection is gone.
    pub fn is_drained(&self) -> bool {
        true
    }
    pub fn figures(&self) -> HttpFigures {
        let _ = &self.config;
        HttpFigures::default()
    }
}
