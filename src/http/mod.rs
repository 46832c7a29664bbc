//! HTTP as a pure machine: request bytes in, response bytes out, time as an argument; the loop owns the sockets.
//!
//! Problem: one thread serves audio and the web, so no client, however slow, hostile or numerous, may cost the audio
//! more than a bounded share of a turn, nor any memory beyond its limits.
//!
//! Idea: what arrives is only taken in ([`Server::receive`], [`Server::sent`]). All work, from parsing to encoding a
//! resumed event, is done in [`Server::poll_action`], one step of one connection a call, connections in turn: the loop
//! bounds HTTP by counting calls. Bodies are pulled as sockets drain; live events are encoded once and shared ([`stream`]).

mod access;
mod assets;
mod body;
mod config;
mod conn;
mod csv;
mod event;
mod listing;
mod pcm;
mod range;
mod request;
mod respond;
mod route;
mod source;
mod stream;
mod wav;
mod websocket;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

pub use crate::report::StreamFigures;
pub use config::{Cors, HttpConfig};
pub use event::PacketEvent;
pub use source::{House, LocalTime, Source};

use self::assets::Asset;
use self::conn::{Conn, Step};
use self::route::Context;
use self::stream::{Hub, Hubs, Topic};
use crate::array::ArrayId;
use crate::conn::ConnId;
use crate::cycle::{Clocks, Cycle};
use crate::time::{KernelTime, MonoTime};

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
    /// The same with a reset (RST): the client must not take what it has for the whole.
    Reset(ConnId),
}

/// Connections beyond a limit that are told so with a 503; more than these at a time are closed unheard.
const REFUSALS: usize = 64;

#[derive(Debug, Default)]
struct ConnSlot {
    generation: u32,
    conn: Option<Conn>,
    refused: bool,
    /// In `ready`.
    queued: bool,
    /// In `timers`, at or before the connection's deadline.
    timer: Option<MonoTime>,
}

/// All connections.
#[derive(Debug)]
pub struct Server {
    config: HttpConfig,
    assets: Vec<Asset>,
    hubs: Hubs,
    slots: Vec<ConnSlot>,
    /// Slots that may have a step to take, in turn; each at most once.
    ready: VecDeque<u32>,
    /// Deadlines that move later are left in place and looked up when they fire, so that traffic costs nothing here.
    timers: BTreeSet<(MonoTime, u32)>,
    per_address: HashMap<IpAddr, usize>,
    open: usize,
    refusals: usize,
    clocks: Clocks,
    stopping: bool,
}

impl Server {
    pub fn new(config: HttpConfig) -> Server {
        Server {
            assets: assets::load(&config),
            hubs: Hubs::default(),
            config,
            slots: Vec::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            per_address: HashMap::new(),
            open: 0,
            refusals: 0,
            clocks: Clocks { mono: MonoTime::from_nanos(0), wall: KernelTime::from_nanos(0) },
            stopping: false,
        }
    }

    /// An array that can be asked for from now on, in a place that no other has; its first cycle will have the id `first`.
    pub fn add(&mut self, array: ArrayId, first: u64) {
        let mut hub = Hub::new(self.config.queue);
        hub.number_from(first);
        self.hubs.add(array, hub);
    }

    /// The array goes: its streams end after the event in flight, downloads of it are cut off. Its place is free.
    pub fn forget(&mut self, array: ArrayId) {
        for slot in 0..self.slots.len() as u32 {
            if let Some(conn) = &mut self.slots[slot as usize].conn {
                conn.forget(array, &mut self.hubs);
                self.touched(slot);
            }
        }
        self.hubs.remove(array);
    }

    /// A new connection, which is called `id` from now on, as no other that is open; its actions follow. False: not even to be told why
    /// not, close the socket.
    pub fn accept(&mut self, id: ConnId, peer: SocketAddr, clocks: Clocks) -> bool {
        self.clocks = clocks;
        let peer = peer.ip().to_canonical();
        let from_there = self.per_address.get(&peer).copied().unwrap_or(0);
        let refused = self.open >= self.config.connections || from_there >= self.config.connections_per_address;
        self.hubs.figures.rejected += u64::from(refused || self.stopping);
        if self.stopping || refused && self.refusals >= REFUSALS {
            return false;
        }
        let slot = id.slot;
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, ConnSlot::default);
        }
        let conn = if refused {
            self.refusals += 1;
            Conn::refused(peer, slot, clocks, &self.config)
        } else {
            self.open += 1;
            self.hubs.figures.connections += 1;
            *self.per_address.entry(peer).or_default() += 1;
            Conn::new(peer, slot, clocks.mono)
        };
        let entry = &mut self.slots[slot as usize];
        debug_assert!(entry.conn.is_none(), "a slot is used again once its connection is closed");
        entry.generation = id.generation;
        entry.conn = Some(conn);
        entry.refused = refused;
        self.hubs.figures.connections_open = (self.open + self.refusals) as u64;
        self.touched(slot);
        true
    }

    /// A `Recv` completed. Empty: the peer has finished sending.
    pub fn receive(&mut self, id: ConnId, bytes: &[u8], clocks: Clocks) {
        self.clocks = clocks;
        let Some(conn) = live(&mut self.slots, id) else { return };
        conn.received(bytes, clocks.mono, &mut self.hubs);
        self.touched(id.slot);
    }

    /// A `Send` completed with `n` bytes.
    pub fn sent(&mut self, id: ConnId, n: usize, clocks: Clocks) {
        self.clocks = clocks;
        let Some(conn) = live(&mut self.slots, id) else { return };
        self.hubs.figures.bytes_sent += n as u64;
        let (array, events) = (conn.array(), conn.sent(n));
        if events > 0
            && let Some(hub) = self.hubs.get_mut(array)
        {
            hub.figures.events_sent += events;
        }
        self.touched(id.slot);
    }

    /// The socket failed: it is forgotten, without a `Close`.
    pub fn failed(&mut self, id: ConnId) {
        if let Some(conn) = live(&mut self.slots, id) {
            conn.close(&mut self.hubs);
            self.remove(id.slot);
        }
    }

    /// Every emitted cycle of an array, in order of ids, once the history holds it.
    pub fn publish_cycle(&mut self, array: ArrayId, cycle: &Cycle, clocks: Clocks, source: &dyn Source) {
        self.clocks = clocks;
        let hub = self.hubs.of(array);
        hub.publish_cycle(cycle, source);
        if !hub.is_heard() {
            return;
        }
        for topic in Topic::OF_CYCLES {
            self.wake(array, topic);
        }
    }

    /// Every accepted packet of an array, at least while [`Server::wants_packets`].
    pub fn publish_packet(&mut self, array: ArrayId, packet: &PacketEvent<'_>, clocks: Clocks, source: &dyn Source) {
        self.clocks = clocks;
        self.hubs.of(array).publish_packet(packet, clocks.wall, source);
        self.wake(array, Topic::Packets);
    }

    pub fn wants_packets(&self, array: ArrayId) -> bool {
        self.hubs.get(array).is_some_and(|hub| hub.is_heard() && !hub.listeners(Topic::Packets).is_empty())
    }

    /// Whether anyone is to be sent an array's cycles as they come.
    pub fn wants_cycles(&self, array: ArrayId) -> bool {
        let hub = self.hubs.get(array).filter(|hub| hub.is_heard());
        hub.is_some_and(|hub| Topic::OF_CYCLES.iter().any(|&topic| !hub.listeners(topic).is_empty()))
    }

    /// Whose cycles this connection is sent, if any.
    pub fn streams_cycles(&self, id: ConnId) -> Option<ArrayId> {
        let entry = self.slots.get(id.slot as usize).filter(|entry| entry.generation == id.generation)?;
        entry.conn.as_ref().filter(|conn| conn.streams_cycles()).map(Conn::array)
    }

    /// Deadlines up to `clocks.mono` are dealt with.
    pub fn handle_timeout(&mut self, clocks: Clocks) {
        self.clocks = clocks;
        while let Some(&(due, slot)) = self.timers.first().filter(|(due, _)| *due <= clocks.mono) {
            self.timers.remove(&(due, slot));
            let entry = &mut self.slots[slot as usize];
            entry.timer = None;
            let conn = entry.conn.as_mut().expect("a timer belongs to an open connection");
            if conn.deadline(&self.config).is_some_and(|deadline| deadline <= clocks.mono) {
                conn.expire(clocks.mono, &self.config, &mut self.hubs);
                self.touched(slot);
            } else {
                self.set_timer(slot);
            }
        }
    }

    /// When [`Server::handle_timeout`] wants to be called, at the latest.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        self.timers.first().map(|&(due, _)| due)
    }

    /// The next thing to do, connections in turn. All work (parsing, rendering, encoding) happens here: the loop bounds
    /// HTTP's share of a turn by the number of calls.
    pub fn poll_action(&mut self, house: &mut dyn House) -> Option<Action> {
        while let Some(slot) = self.ready.pop_front() {
            let entry = &mut self.slots[slot as usize];
            entry.queued = false;
            let Some(conn) = &mut entry.conn else { continue };
            let mut context = Context {
                config: &self.config,
                assets: &self.assets,
                hubs: &mut self.hubs,
                house,
                array: conn.array(),
                clocks: self.clocks,
            };
            let step = conn.poll(&mut context);
            let id = ConnId { slot, generation: entry.generation };
            let action = match step {
                None => {
                    self.set_timer(slot);
                    continue;
                }
                Some(Step::Close) => {
                    self.remove(slot);
                    return Some(Action::Close(id));
                }
                Some(Step::Reset) => {
                    self.remove(slot);
                    return Some(Action::Reset(id));
                }
                Some(Step::Recv) => Action::Recv(id),
                Some(Step::Send(bytes)) => Action::Send(id, bytes),
                Some(Step::Shutdown) => Action::Shutdown(id),
            };
            self.touched(slot);
            return Some(action);
        }
        None
    }

    /// Whether [`Server::poll_action`] may have something to do.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// No new connections; streams end after the event in flight, finite answers go out, idle connections close.
    pub fn begin_shutdown(&mut self) {
        self.stopping = true;
        for slot in 0..self.slots.len() as u32 {
            if let Some(conn) = &mut self.slots[slot as usize].conn {
                conn.stop(&mut self.hubs);
                self.touched(slot);
            }
        }
    }

    /// Connections in the middle of an answer: when the loop ends without them, they are to be reset.
    pub fn unfinished(&self) -> impl Iterator<Item = ConnId> {
        let responding = |(slot, entry): (usize, &ConnSlot)| {
            let id = ConnId { slot: slot as u32, generation: entry.generation };
            entry.conn.as_ref().is_some_and(Conn::is_responding).then_some(id)
        };
        self.slots.iter().enumerate().filter_map(responding)
    }

    /// Whether every connection is gone.
    pub fn is_drained(&self) -> bool {
        self.open + self.refusals == 0
    }

    /// What an array's clients did, and all connections.
    pub fn figures(&self, array: ArrayId) -> StreamFigures {
        self.hubs.figures_of(array)
    }

    /// There is something new in a topic.
    fn wake(&mut self, array: ArrayId, topic: Topic) {
        for i in 0..self.hubs.of(array).listeners(topic).len() {
            let slot = self.hubs.of(array).listeners(topic)[i];
            let entry = &mut self.slots[slot as usize];
            let conn = entry.conn.as_mut().expect("a listener is an open connection");
            if conn.published(&mut self.hubs) {
                enqueue(entry, slot, &mut self.ready);
            }
        }
    }

    /// Something changed in a connection: it gets its turn, and its deadline is looked after.
    fn touched(&mut self, slot: u32) {
        enqueue(&mut self.slots[slot as usize], slot, &mut self.ready);
        self.set_timer(slot);
    }

    fn set_timer(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let Some(due) = entry.conn.as_ref().and_then(|conn| conn.deadline(&self.config)) else { return };
        if entry.timer.is_none_or(|timer| due < timer) {
            if let Some(timer) = entry.timer.replace(due) {
                self.timers.remove(&(timer, slot));
            }
            self.timers.insert((due, slot));
        }
    }

    fn remove(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let conn = entry.conn.take().expect("only an open connection is removed");
        if let Some(timer) = entry.timer.take() {
            self.timers.remove(&(timer, slot));
        }
        let refused = entry.refused;
        self.hubs.figures.connections_open -= 1;
        if refused {
            self.refusals -= 1;
            return;
        }
        self.open -= 1;
        let there = self.per_address.get_mut(&conn.peer).expect("an open connection is counted at its address");
        *there -= 1;
        if *there == 0 {
            self.per_address.remove(&conn.peer);
        }
    }
}

/// The connection that `id` names, unless it is closed.
fn live(slots: &mut [ConnSlot], id: ConnId) -> Option<&mut Conn> {
    slots.get_mut(id.slot as usize).filter(|entry| entry.generation == id.generation)?.conn.as_mut()
}

fn enqueue(entry: &mut ConnSlot, slot: u32, ready: &mut VecDeque<u32>) {
    if !entry.queued {
        entry.queued = true;
        ready.push_back(slot);
    }
}
