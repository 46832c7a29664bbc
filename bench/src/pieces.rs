//! The program's pieces on the bench, without sockets: an engine that is fed cycles in virtual time, and the HTTP machine
//! with subscribers, for `micro` and for counting allocations.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use micring::MICS;
use micring::array::ArrayId;
use micring::conn::ConnId;
use micring::cycle::{Clocks, Cycle};
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold, Output};
use micring::http::{Action, House, HttpConfig, LocalTime, Server, Source, StreamFigures};
use micring::report::Metrics;
use micring::time::{FramePos, KernelTime, MonoTime, Span};

use crate::load::{fill, index_sample};

const PERIOD: Span = Span::from_nanos(10_666_667);
const START_NS: i64 = 1_795_345_500_000_000_000;

/// An engine that gets three packets a cycle, on time.
pub struct Fed {
    pub engine: Engine,
    packets: [Vec<u8>; MICS],
    cycle: i64,
    flooded: i64,
    /// Cycles that left and were not told yet.
    left: VecDeque<Cycle>,
}

impl Default for Fed {
    fn default() -> Fed {
        Fed::new()
    }
}

impl Fed {
    pub fn new() -> Fed {
        let config = Config {
            layout: micring::array::Layout::mono(3),
            sample_rate: 48_000,
            clock: ClockChoice::Auto,
            hold: Hold::Auto,
            resample: false,
            history: Span::from_secs(5),
            max_datagram: 8192,
        };
        Fed {
            engine: Engine::new(config),
            packets: [const { Vec::new() }; MICS],
            cycle: 0,
            flooded: 0,
            left: VecDeque::with_capacity(4),
        }
    }

    pub fn clocks(&self) -> Clocks {
        let passed = PERIOD.mul_ratio(self.cycle, 1) + Span::from_micros(300);
        Clocks { mono: MonoTime::from_nanos(0) + passed, wall: KernelTime::from_nanos(START_NS) + passed }
    }

    /// One cycle; the oldest one that left and was not told yet. The first leaves with the second: until then it may be in pieces.
    pub fn cycle(&mut self) -> Option<Cycle> {
        self.cycle_in(2048)
    }

    /// The same of a board that cuts each chunk into datagrams of so many bytes and a rest: 1460, as Arduino's library does.
    pub fn cycle_in(&mut self, piece_bytes: usize) -> Option<Cycle> {
        for (mic, packet) in self.packets.iter_mut().enumerate() {
            packet.resize(2048, 0);
            fill(packet, mic, self.cycle * 512);
        }
        let clocks = self.clocks();
        self.engine.begin_turn(clocks);
        for mic in 0..MICS {
            for (k, bytes) in self.packets[mic].chunks(piece_bytes).enumerate() {
                let stamp = clocks.wall - Span::from_micros(300 - 100 * mic as i64 - 30 * k as i64);
                let sender = SocketAddr::from(([127, 0, 0, 1], 4000));
                self.engine.handle_datagram(&Datagram { mic, stamp, sender, bytes, len: bytes.len() });
                while let Some(output) = self.engine.poll_output() {
                    if let Output::Cycle(cycle) = output {
                        self.left.push_back(cycle);
                    }
                }
            }
        }
        self.engine.handle_timeout();
        self.cycle += 1;
        self.left.pop_front()
    }

    /// What a flood with segmentation offload brings at once: 31 packets of one microphone with one stamp, 20 us after those of
    /// the one before.
    pub fn burst(&mut self) {
        self.flooded += 1;
        let mic = self.flooded as usize % MICS;
        let mut clocks = self.clocks();
        let passed = Span::from_micros(20 * self.flooded);
        (clocks.mono, clocks.wall) = (clocks.mono + passed, clocks.wall + passed);
        self.engine.begin_turn(clocks);
        for n in 0..31 {
            self.packets[mic].resize(2048, 0);
            // Packets differ in their first sample, or they would be duplicates.
            self.packets[mic][..4].copy_from_slice(&index_sample(mic, self.flooded * 31 + n).to_le_bytes());
            let (stamp, sender) = (clocks.wall - Span::from_micros(5), SocketAddr::from(([127, 0, 0, 1], 4000)));
            let bytes = &self.packets[mic];
            self.engine.handle_datagram(&Datagram { mic, stamp, sender, bytes, len: bytes.len() });
            while self.engine.poll_output().is_some() {}
        }
        self.engine.handle_timeout();
    }
}

/// What HTTP sees: an engine's history, and bodies that do not matter here.
pub struct Stage<'a>(pub &'a Engine);

/// The one array on the stage.
const ARRAY: ArrayId = ArrayId(0);

impl House for Stage<'_> {
    fn find(&self, name: &str) -> Option<ArrayId> {
        (name == self.name()).then_some(ARRAY)
    }
    fn first(&self) -> Option<ArrayId> {
        Some(ARRAY)
    }
    fn array(&mut self, _: ArrayId) -> &mut dyn Source {
        self
    }
    fn arrays(&mut self) -> Bytes {
        Bytes::from_static(b"{}")
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
        Bytes::new()
    }
    fn health(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl Source for Stage<'_> {
    fn name(&self) -> &str {
        "default"
    }
    fn channels(&self) -> usize {
        MICS
    }
    fn diagnostics_sync(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::from_static(b"{}")
    }
    fn diagnostics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::from_static(b"{}")
    }
    fn latest(&mut self) -> Bytes {
        Bytes::from_static(b"{}")
    }
    fn metrics(&mut self, _: &StreamFigures) -> Bytes {
        Bytes::new()
    }
    fn health(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn sample_rate(&self) -> u32 {
        48_000
    }
    fn span(&self) -> Range<FramePos> {
        self.0.history().span()
    }
    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()> {
        self.0.history().append_to(out, from, frames)
    }
    fn cycle(&self, id: u64) -> Option<Cycle> {
        self.0.history().cycle(id)
    }
    fn cycle_ids(&self) -> Range<u64> {
        self.0.history().ids()
    }
    fn local_time(&self, _: KernelTime) -> LocalTime {
        LocalTime(*b"2026-11-22 11:05:00")
    }
}

/// The HTTP machine, with so many subscribers of the cycles whose sockets take everything at once.
pub struct Web {
    pub server: Server,
    /// So far.
    connections: u32,
}

impl Web {
    pub fn new(subscribers: usize, fed: &mut Fed) -> Web {
        let mut server = Server::new(HttpConfig::new(SocketAddr::from(([127, 0, 0, 1], 5000))));
        server.add(ARRAY, fed.engine.history().first_id());
        let mut web = Web { server, connections: 0 };
        for _ in 0..subscribers {
            let id = web.connect(fed);
            web.server.receive(id, b"GET /api/stream_3ch HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", fed.clocks());
            web.drain(fed);
        }
        web
    }

    /// A connection that has asked for nothing yet.
    pub fn connect(&mut self, fed: &mut Fed) -> ConnId {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4001));
        let id = ConnId { slot: self.connections, generation: 0 };
        self.connections += 1;
        assert!(self.server.accept(id, peer, fed.clocks()), "there is room");
        self.drain(fed);
        id
    }

    /// A cycle to all subscribers, and its sends; bytes sent.
    pub fn publish(&mut self, cycle: &Cycle, fed: &mut Fed) -> usize {
        self.server.publish_cycle(ARRAY, cycle, fed.clocks(), &Stage(&fed.engine));
        self.drain(fed)
    }

    /// Carries all actions out; bytes sent.
    pub fn drain(&mut self, fed: &mut Fed) -> usize {
        let clocks = fed.clocks();
        let mut sent = 0;
        while let Some(action) = self.server.poll_action(&mut Stage(&fed.engine)) {
            if let Action::Send(id, bytes) = action {
                sent += bytes.len();
                self.server.sent(id, bytes.len(), clocks);
            }
        }
        sent
    }

    /// One request of a connection that is kept alive.
    pub fn request(&mut self, id: ConnId, fed: &mut Fed) -> usize {
        const REQUEST: &[u8] =
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
        self.server.receive(id, REQUEST, fed.clocks());
        self.drain(fed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_reaches_every_subscriber_whole() {
        let mut fed = Fed::new();
        let mut web = Web::new(3, &mut fed);
        let cycle = (0..200).find_map(|_| fed.cycle()).expect("cycles leave");
        let sent = web.publish(&cycle, &mut fed);
        assert!(sent > 3 * 6144 * 4 / 3, "three events with 6144 bytes of samples in base64: {sent}");
    }
}
