//! The other side of `micring::http::Server`: a loop that keeps its rules, peers that read or do not, a history of
//! samples that say where they belong.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use bytes::Bytes;
use micring::array::ArrayId;
use micring::conn::ConnId;
use micring::cycle::{Clocks, Cycle};
use micring::http::{Action, House, HttpConfig, LocalTime, Server, Source, StreamFigures};
use micring::report::Metrics;
use micring::time::{FramePos, KernelTime, MonoTime, Span};

/// 2026-11-22 10:05:00.123456 UTC, in microseconds.
pub const EPOCH_US: i64 = 1_795_341_900_123_456;
pub const RATE: u32 = 48_000;

/// The sample that belongs to a microphone at a position; shows any shift by itself.
pub fn sample(mic: usize, pos: i64) -> i32 {
    ((mic as i32 + 1) << 28) | (pos & 0x0fff_ffff) as i32
}

/// Interleaved frames of [`sample`].
pub fn frames(positions: Range<i64>) -> Vec<u8> {
    positions.flat_map(|pos| (0..3).flat_map(move |mic| sample(mic, pos).to_le_bytes())).collect()
}

/// Holds the last `keep` frames of a stream of [`sample`]s.
pub struct Recorded {
    pub start: i64,
    pub end: i64,
    pub keep: i64,
    pub cycles: BTreeMap<u64, Cycle>,
    pub next_id: u64,
    pub healthy: bool,
    pub renderings: usize,
    buffer: Vec<u8>,
    buffer_at: i64,
    pub reads: Cell<usize>,
}

impl Recorded {
    pub fn new(keep: i64) -> Recorded {
        Recorded {
            start: 0,
            end: 0,
            keep,
            cycles: BTreeMap::new(),
            next_id: 0,
            healthy: true,
            renderings: 0,
            buffer: Vec::new(),
            buffer_at: 0,
            reads: Cell::new(0),
        }
    }

    /// Emits a cycle of `count` frames after `skipped` positions that nothing fills (they read as zeros).
    pub fn emit(&mut self, count: u32, skipped: i64) -> Cycle {
        let first = self.end + skipped;
        self.buffer.resize(self.buffer.len() + skipped as usize * FRAME_BYTES, 0);
        self.buffer.extend(frames(first..first + i64::from(count)));
        self.end = first + i64::from(count);
        self.start = self.start.max(self.end - self.keep);
        let stale = (self.start - self.buffer_at) as usize * FRAME_BYTES;
        self.buffer.drain(..stale);
        self.buffer_at = self.start;
        let arrived = KernelTime::from_nanos(EPOCH_US * 1000 + first * 20_833);
        let cycle = Cycle {
            id: self.next_id,
            first_frame: FramePos(first),
            frames: count,
            mic_samples: [count, count, 0].into(),
            complete: false,
            arrival: [Some(arrived), Some(arrived + Span::from_micros(104)), None].into(),
            emitted: arrived + Span::from_micros(150),
        };
        self.cycles.insert(cycle.id, cycle);
        self.next_id += 1;
        self.cycles.retain(|_, cycle| cycle.first_frame.0 >= self.start);
        cycle
    }
}

/// The one array that there is, at a place and with a name of its own.
pub const ARRAY: ArrayId = ArrayId(3);
pub const NAME: &str = "roof";

/// Bytes of a frame of three channels.
pub const FRAME_BYTES: usize = 12;

impl House for Recorded {
    fn find(&self, name: &str) -> Option<ArrayId> {
        (name == NAME).then_some(ARRAY)
    }
    fn first(&self) -> Option<ArrayId> {
        Some(ARRAY)
    }
    fn array(&mut self, id: ArrayId) -> &mut dyn Source {
        assert_eq!(id, ARRAY, "there is one");
        self
    }
    fn arrays(&mut self) -> Bytes {
        Bytes::from_static(b"{\"arrays\": []}")
    }
    fn ids(&self) -> Vec<ArrayId> {
        vec![ARRAY]
    }
    fn entry(&mut self, _: ArrayId) -> Option<String> {
        None
    }
    fn measure(&mut self, _: ArrayId, _: bool, _: &StreamFigures, _: &mut Metrics) -> bool {
        false
    }
    fn families(&mut self, _: Metrics) -> Vec<String> {
        Vec::new()
    }
    fn metrics(&mut self, _: &dyn Fn(ArrayId) -> StreamFigures) -> Bytes {
        Bytes::from_static(b"micring_up 1\n")
    }
    fn health(&mut self) -> Result<(), String> {
        Source::health(self)
    }
}

impl Source for Recorded {
    fn name(&self) -> &str {
        NAME
    }
    fn channels(&self) -> usize {
        3
    }
    fn diagnostics_sync(&mut self, _: &StreamFigures) -> Bytes {
        self.renderings += 1;
        Bytes::from_static(b"{\"sync\": 1}")
    }
    fn diagnostics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::from_static(b"{\"diagnostics\": 1}")
    }
    fn latest(&mut self) -> Bytes {
        Bytes::from_static(b"{\"latest\": 1}")
    }
    fn metrics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::from_static(b"micring_uptime_seconds 1\n")
    }
    fn health(&mut self) -> Result<(), String> {
        if self.healthy { Ok(()) } else { Err("mic 1 has been silent for 3 s".into()) }
    }
    fn sample_rate(&self) -> u32 {
        RATE
    }
    fn span(&self) -> Range<FramePos> {
        FramePos(self.start)..FramePos(self.end)
    }
    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()> {
        self.reads.set(self.reads.get() + 1);
        let at = usize::try_from(from.0 - self.buffer_at).ok()? * FRAME_BYTES;
        out.extend(self.buffer.get(at..at + frames * FRAME_BYTES)?.as_chunks().0);
        Some(())
    }
    fn cycle(&self, id: u64) -> Option<Cycle> {
        self.cycles.get(&id).copied()
    }
    fn cycle_ids(&self) -> Range<u64> {
        self.next_id - self.cycles.len() as u64..self.next_id
    }
    fn local_time(&self, _wall: KernelTime) -> LocalTime {
        LocalTime(*b"2026-11-22 11:05:00")
    }
}

/// One client.
#[derive(Default)]
pub struct Peer {
    /// Sent and not yet received by the server.
    outgoing: Vec<u8>,
    /// The client has finished sending.
    finished: bool,
    /// What came.
    pub got: Vec<u8>,
    /// Whether the client reads. What is in flight while it does not stays in flight.
    pub reads: bool,
    recv: bool,
    send: Option<Bytes>,
    pub fin: bool,
    pub closed: bool,
    /// By a reset: what came is not all.
    pub reset: bool,
}

impl Peer {
    /// Bytes that the server has not asked for.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }
}

/// Server, history, clients and a clock.
pub struct World {
    pub server: Server,
    pub source: Recorded,
    pub now: Clocks,
    /// Most bytes a send takes.
    pub send_limit: usize,
    /// Most bytes a receive gives.
    pub recv_limit: usize,
    peers: HashMap<ConnId, Peer>,
    pub actions: usize,
}

impl World {
    pub fn new(config: HttpConfig) -> World {
        let now = Clocks { mono: MonoTime::from_nanos(7_000_000_000), wall: KernelTime::from_nanos(EPOCH_US * 1000) };
        let mut server = Server::new(config);
        server.add(ARRAY, 0);
        World {
            server,
            source: Recorded::new(i64::from(RATE) * 5),
            now,
            send_limit: usize::MAX,
            recv_limit: 4096,
            peers: HashMap::new(),
            actions: 0,
        }
    }

    pub fn plain() -> World {
        World::new(config())
    }

    pub fn connect(&mut self) -> ConnId {
        self.connect_from(Ipv4Addr::LOCALHOST.into()).expect("below the limits")
    }

    pub fn connect_from(&mut self, ip: IpAddr) -> Option<ConnId> {
        let id = self.next_id();
        if !self.server.accept(id, (ip, 40_000).into(), self.now) {
            return None;
        }
        let old = self.peers.insert(id, Peer { reads: true, ..Peer::default() });
        assert!(old.is_none(), "an id is used once");
        self.run();
        Some(id)
    }

    /// As the ring does: the lowest slot that is free, with a generation that it has not had.
    pub fn next_id(&self) -> ConnId {
        let taken = |slot| self.peers.iter().any(|(id, peer)| id.slot == slot && !peer.closed);
        let slot = (0..).find(|slot| !taken(*slot)).expect("one is free");
        ConnId { slot, generation: self.peers.keys().filter(|id| id.slot == slot).count() as u32 }
    }

    pub fn peer(&mut self, id: ConnId) -> &mut Peer {
        self.peers.get_mut(&id).expect("a client of this world")
    }

    pub fn say(&mut self, id: ConnId, bytes: impl AsRef<[u8]>) {
        self.peer(id).outgoing.extend_from_slice(bytes.as_ref());
        self.run();
    }

    /// The client has nothing more to say.
    pub fn finish(&mut self, id: ConnId) {
        self.peer(id).finished = true;
        self.run();
    }

    /// A fresh connection says this; what comes back, and whether the connection was closed.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> (Vec<u8>, bool) {
        let id = self.connect();
        self.say(id, bytes);
        let peer = self.peer(id);
        (std::mem::take(&mut peer.got), peer.closed || peer.fin)
    }

    pub fn get(&mut self, path: &str) -> Response {
        let (bytes, _) = self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        Response::one(&bytes)
    }

    /// A stream: the connection, its head taken off.
    pub fn subscribe(&mut self, path: &str, fields: &str) -> ConnId {
        let id = self.connect();
        self.say(id, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        let got = self.take(id);
        let head = Response::head(&got).expect("a head").0;
        assert_eq!(head.status, 200);
        self.peer(id).got = got[head_len(&got)..].to_vec();
        id
    }

    pub fn take(&mut self, id: ConnId) -> Vec<u8> {
        std::mem::take(&mut self.peer(id).got)
    }

    pub fn emit(&mut self, frames: u32) -> Cycle {
        self.emit_after(frames, 0)
    }

    pub fn emit_after(&mut self, frames: u32, skipped: i64) -> Cycle {
        let cycle = self.source.emit(frames, skipped);
        self.server.publish_cycle(ARRAY, &cycle, self.now, &self.source);
        self.run();
        cycle
    }

    /// Time passes, with the timeouts that fall into it.
    pub fn pass(&mut self, span: Span) {
        let end = self.now.mono + span;
        loop {
            let due = self.server.next_timeout().filter(|&due| due <= end).map(|due| due.max(self.now.mono));
            let step = due.unwrap_or(end) - self.now.mono;
            self.now = Clocks { mono: self.now.mono + step, wall: self.now.wall + step };
            if due.is_none() {
                return;
            }
            self.server.handle_timeout(self.now);
            self.run();
        }
    }

    /// Carries out actions until none is left, and completes what the peers let complete.
    pub fn run(&mut self) {
        loop {
            while let Some(action) = self.server.poll_action(&mut self.source) {
                self.actions += 1;
                match action {
                    Action::Recv(id) => {
                        let peer = self.open(id);
                        assert!(!std::mem::replace(&mut peer.recv, true), "one receive in flight");
                    }
                    Action::Send(id, bytes) => {
                        let peer = self.open(id);
                        assert!(!bytes.is_empty() && !peer.fin, "a send has bytes, and comes before FIN");
                        assert!(peer.send.replace(bytes).is_none(), "one send in flight");
                    }
                    Action::Shutdown(id) => {
                        let peer = self.open(id);
                        assert!(peer.send.is_none() && !std::mem::replace(&mut peer.fin, true), "one FIN, at the end");
                    }
                    Action::Close(id) => self.open(id).closed = true,
                    Action::Reset(id) => {
                        let peer = self.open(id);
                        (peer.closed, peer.reset) = (true, true);
                    }
                }
            }
            assert!(!self.server.has_work());
            if !self.complete() {
                return;
            }
        }
    }

    /// A client that reads but once: what is in flight completes, as far as it goes.
    pub fn complete_one(&mut self, id: ConnId) {
        self.complete_unpolled(id);
        self.run();
    }

    /// The same, and the loop has not asked for actions since.
    pub fn complete_unpolled(&mut self, id: ConnId) {
        let limit = self.send_limit;
        let peer = self.open(id);
        let bytes = peer.send.take().expect("a send in flight");
        let n = bytes.len().min(limit);
        peer.got.extend_from_slice(&bytes[..n]);
        self.server.sent(id, n, self.now);
    }

    fn open(&mut self, id: ConnId) -> &mut Peer {
        let peer = self.peer(id);
        assert!(!peer.closed, "nothing is asked of a closed connection");
        peer
    }

    fn complete(&mut self) -> bool {
        let mut any = false;
        let mut ids: Vec<ConnId> = self.peers.keys().copied().collect();
        ids.sort_by_key(|id| (id.slot, id.generation));
        for id in ids {
            let peer = self.peers.get_mut(&id).expect("listed");
            if peer.closed {
                continue;
            }
            if peer.reads
                && let Some(bytes) = peer.send.take()
            {
                let n = bytes.len().min(self.send_limit);
                peer.got.extend_from_slice(&bytes[..n]);
                self.server.sent(id, n, self.now);
                any = true;
            }
            let peer = self.peers.get_mut(&id).expect("listed");
            if peer.recv && (!peer.outgoing.is_empty() || peer.finished) {
                peer.recv = false;
                let n = peer.outgoing.len().min(self.recv_limit);
                let bytes: Vec<u8> = peer.outgoing.drain(..n).collect();
                self.server.receive(id, &bytes, self.now);
                any = true;
            }
        }
        any
    }
}

pub fn config() -> HttpConfig {
    HttpConfig::new(([127, 0, 0, 1], 5000).into())
}

/// A response, read strictly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

fn head_len(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of a head") + 4
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} is there once");
        first
    }

    pub fn error(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("an error body is JSON");
        let object = json.as_object().expect("an object");
        assert_eq!(object.len(), 1);
        object["error"].as_str().expect("a text").to_owned()
    }

    /// The head of the first response, without its body, and what follows.
    pub fn head(bytes: &[u8]) -> Option<(Response, &[u8])> {
        if bytes.is_empty() {
            return None;
        }
        let (head, rest) = bytes.split_at(head_len(bytes));
        let head = std::str::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let mut status = lines.next().expect("a status line").splitn(3, ' ');
        assert_eq!(status.next(), Some("HTTP/1.1"));
        let code = status.next().and_then(|s| s.parse().ok()).expect("a status");
        assert!(!status.next().expect("a reason").is_empty());
        let fields = lines.map(|line| line.split_once(": ").expect("name: value")).map(|(n, v)| (n.into(), v.into()));
        Some((Response { status: code, fields: fields.collect(), body: Vec::new() }, rest))
    }

    /// All responses in `bytes`; the last may have no length and end with them.
    pub fn all(mut bytes: &[u8]) -> Vec<Response> {
        let mut out = Vec::new();
        while let Some((mut response, rest)) = Response::head(bytes) {
            let length = response.field("Content-Length").map(|n| n.parse::<usize>().expect("a length"));
            let chunked = response.field("Transfer-Encoding").is_some();
            assert!(length.is_none() || !chunked, "one framing");
            let (body, rest) = match length {
                Some(n) => rest.split_at(n),
                None if chunked => rest.split_at(unchunked(rest, &mut response.body)),
                None if [204, 304].contains(&response.status) => rest.split_at(0),
                None => (rest, &rest[rest.len()..]),
            };
            if !chunked {
                response.body = body.to_vec();
            }
            out.push(response);
            bytes = rest;
        }
        out
    }

    pub fn one(bytes: &[u8]) -> Response {
        let mut all = Response::all(bytes);
        assert_eq!(all.len(), 1, "one response in {}", bytes.escape_ascii());
        all.pop().expect("one")
    }
}

/// Takes chunks apart; how many bytes they took.
fn unchunked(bytes: &[u8], body: &mut Vec<u8>) -> usize {
    let mut at = 0;
    loop {
        let line = at + bytes[at..].windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let digits = std::str::from_utf8(&bytes[at..line]).expect("digits");
        let n = usize::from_str_radix(digits, 16).expect("a hexadecimal length");
        body.extend_from_slice(&bytes[line + 2..line + 2 + n]);
        at = line + 2 + n + 2;
        assert_eq!(&bytes[at - 2..at], b"\r\n");
        if n == 0 {
            return at;
        }
    }
}

/// Server-Sent Events, read as the HTML standard says: blocks of `id` and `data`.
pub fn sse_events(bytes: &[u8]) -> Vec<(Option<u64>, serde_json::Value)> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with("\n\n"), "whole events");
    let mut events = Vec::new();
    for block in text.split_terminator("\n\n") {
        let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        if let Some(data) = field("data:") {
            let id = field("id:").map(|id| id.parse().expect("a number"));
            events.push((id, serde_json::from_str(data).expect("JSON")));
        }
    }
    events
}
