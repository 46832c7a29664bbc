//! The loop, turn by turn, on real sockets: what a turn may do, and what it must not leave undone.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::MICS;
use crate::cli::{Cli, Command};
use crate::conn::ConnId;
use crate::http::HttpConfig;
use crate::sys::ring::RingOptions;
use crate::sys::tcp;
use crate::sys::udp::StampedSocket;

#[path = "../../../../tests/support/skipped.rs"]
mod skipped;
use skipped::skipped;

const RECEIVE_BUFFER: usize = 2 << 20;
/// No test waits longer than this for one thing.
const PATIENCE: Span = Span::from_secs(60);

/// A loop that never sleeps, and what speaks to it.
struct Rig {
    run: Loop,
    mics: [SocketAddr; MICS],
    http: SocketAddr,
    board: UdpSocket,
}

impl Rig {
    fn new() -> Rig {
        let sockets = [0; MICS].map(|_| StampedSocket::bind("127.0.0.1:0".parse().unwrap(), RECEIVE_BUFFER).unwrap());
        let mics = sockets.each_ref().map(StampedSocket::address);
        let mut ring = Ring::new(RingOptions::default(), sockets).expect("io_uring is allowed here");
        let listener = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let http = listener.local_addr().unwrap();
        ring.listen(listener);
        let notify = Notify::from_environment(host::mono());
        let mut run = Loop::new(ring, Server::new(HttpConfig::new(http)), None, notify, true);
        run.configured.buffers = usize::from(RingOptions::default().socket_buffers);
        let args = Cli::parse_from(["micring", "serve", "--clock", "shared", "--history", "1s"]);
        let Command::Serve(args) = args.command else { unreachable!("it says serve") };
        run.add(args.array().unwrap(), vec![0, 1, 2]);
        Rig { run, mics, http, board: UdpSocket::bind("127.0.0.1:0").unwrap() }
    }

    fn turn(&mut self) {
        assert!(self.run.turn().expect("the ring works"), "the loop goes on");
    }

    /// HTTP's part of a turn.
    fn feed_http(&mut self) {
        let run = &mut self.run;
        run.web.feed(&mut run.server, &mut run.ring, &mut run.plant, &mut run.log, host::clocks());
    }

    /// A cycle of these microphones: no two alike, so that none is taken for a repetition.
    fn cycle(&self, n: u32, mics: &[usize]) {
        let samples: Vec<u8> = (0..512).flat_map(|i| (n * 512 + i).to_le_bytes()).collect();
        for &mic in mics {
            self.board.send_to(&samples, self.mics[mic]).unwrap();
        }
    }

    /// Cycles of all three, each a period after the one before, until all have left.
    fn cycles(&mut self, numbers: std::ops::Range<u32>) {
        for n in numbers {
            self.cycle(n, &[0, 1, 2]);
            self.until(|rig| rig.emitted() > u64::from(n));
            sleep(Duration::from_micros(10_667));
        }
    }

    /// Turns until a wish is fulfilled.
    fn until(&mut self, wish: impl Fn(&Rig) -> bool) {
        let give_up = host::mono() + PATIENCE;
        while !wish(self) {
            self.turn();
            assert!(host::mono() < give_up, "it comes");
        }
    }

    fn emitted(&self) -> u64 {
        self.run.plant.arrays.of(ArrayId(0)).engine.counters().cycles.emitted
    }

    /// A connection that the loop has accepted and not yet told HTTP about.
    fn connections(&mut self, count: usize) -> Vec<TcpStream> {
        let clients: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(self.http).unwrap()).collect();
        for _ in 0..10_000 {
            self.run.ring.poll().unwrap();
            self.run.ring.reap(&mut self.run.completions);
            self.run.completions.drain(..).for_each(|completion| self.run.web.push(completion));
            if self.run.web.waiting.len() >= count {
                return clients;
            }
        }
        panic!("{} of {count} connections came", self.run.web.waiting.len());
    }
}

/// A buffer that stays out is one fewer for good: after 31 a socket took in one packet a round, at five times the cost.
#[test]
fn packets_that_come_at_once_give_their_buffers_back() {
    let mut rig = Rig::new();
    rig.cycles(0..4);
    for first in (4..100).step_by(8) {
        (first..first + 8).for_each(|n| rig.cycle(n, &[0, 1, 2]));
        let received = |rig: &Rig| {
            let counters = rig.run.plant.arrays.of(ArrayId(0)).engine.counters();
            counters.mics.iter().map(|mic| mic.received).sum::<u64>()
        };
        rig.until(|rig| received(rig) == u64::from(first + 8) * 3 && !rig.run.is_behind());
        assert!((0..MICS).all(|socket| rig.run.ring.all_free(socket)), "after {first} cycles");
    }
}

#[test]
fn a_turn_takes_in_no_more_of_http_than_its_share() {
    let mut rig = Rig::new();
    let clients = rig.connections(500);
    rig.feed_http();
    assert!(!rig.run.web.waiting.is_empty(), "500 completions are more than a turn's share");
    // And each is taken in, in later turns.
    for _ in 0..500 {
        rig.turn();
    }
    assert!(rig.run.web.waiting.is_empty());
    assert_eq!(rig.run.server.figures(ArrayId(0)).connections_open, clients.len() as u64);
}

#[test]
fn a_turn_asks_again_for_no_more_starved_connections_than_its_share() {
    let mut rig = Rig::new();
    let _clients = rig.connections(500);
    let handles = rig.run.web.waiting.iter().filter_map(|completion| match completion {
        Completion::Accepted { id, .. } => Some(*id),
        _ => None,
    });
    let handles: Vec<ConnId> = handles.collect();
    rig.run.web.waiting.clear();
    rig.run.web.starved.extend(handles);
    rig.feed_http();
    assert!(!rig.run.web.starved.is_empty(), "there are not so many buffers");
    for _ in 0..500 {
        rig.feed_http();
    }
    assert!(rig.run.web.starved.is_empty());
}

#[test]
fn a_cycle_whose_hold_has_run_out_leaves_beside_a_socket_that_stays_behind() {
    let mut rig = Rig::new();
    rig.cycles(0..20);
    let left = rig.emitted();
    // Mic 1 fails, and the board stops: only the hold can end this cycle. A stranger floods mic 2 all the while, with what is no
    // packet, so that nobody follows it.
    rig.cycle(20, &[0, 2]);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut waiting = 0_u64;
    for _ in 0..200 {
        // A turn takes 32 rounds of 32 at most.
        while waiting < 2_500 {
            stranger.send_to(b"odd", rig.mics[2]).unwrap();
            waiting += 1;
        }
        let taken = |rig: &Rig| {
            rig.run.plant.arrays.of(ArrayId(0)).engine.counters().mics[2].foreign
                + rig.run.plant.arrays.of(ArrayId(0)).engine.counters().mics[2].malformed
        };
        let before = taken(&rig);
        rig.turn();
        waiting -= taken(&rig) - before;
        if rig.run.ring.socket(2).drops().unwrap() > 0 {
            return skipped("a flood", "it needs a receive buffer that holds 2500 small datagrams (net.core.rmem_max)");
        }
        assert!(rig.run.is_behind(), "the flood keeps it behind");
        if rig.emitted() > left {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("a second has passed, and the cycle has not left");
}

#[test]
fn the_emit_delay_ends_when_the_kernel_has_the_event() {
    let mut rig = Rig::new();
    let mut client = TcpStream::connect(rig.http).unwrap();
    write!(client, "GET /api/stream_3ch HTTP/1.1\r\nHost: {}\r\n\r\n", rig.http).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut got = Vec::new();
    // What has come so far; loopback delivers what was sent before the send returns.
    let mut read = |got: &mut Vec<u8>| match client.read_to_end(got) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("a stream that goes on: {other:?}"),
    };
    for _ in 0..10_000 {
        rig.turn();
        read(&mut got);
        if got.ends_with(b"\n\n\r\n") {
            break;
        }
    }
    let count = |rig: &mut Rig| {
        rig.run.plant.arrays.of_mut(ArrayId(0)).engine.meter().since_start().emit_delay.map_or(0, |delay| delay.count)
    };
    let events = |got: &[u8]| got.windows(6).filter(|six| six == b"data: ").count() as u64;
    // Where the machine stalls between two datagrams a cycle leaves in part, and that has no delay.
    let complete = |rig: &Rig| rig.run.plant.arrays.of(ArrayId(0)).engine.counters().cycles.complete;
    let give_up = host::mono() + PATIENCE;
    for n in 0.. {
        if complete(&rig) >= 20 {
            break;
        }
        rig.cycle(n, &[0, 1, 2]);
        let (before, next) = (rig.emitted(), host::mono() + Span::from_millis(100));
        while count(&mut rig) < complete(&rig) || (rig.emitted() == before && host::mono() < next) {
            rig.turn();
            read(&mut got);
            assert!(host::mono() < give_up, "a delay is told of every complete event: {}", count(&mut rig));
            assert!(count(&mut rig) <= events(&got), "{} delays told, {} events sent", count(&mut rig), events(&got));
        }
        assert!(host::mono() < give_up, "complete cycles leave: {}", complete(&rig));
        sleep(Duration::from_micros(10_667));
    }
    while events(&got) < rig.emitted() || count(&mut rig) < complete(&rig) {
        rig.turn();
        read(&mut got);
        assert!(host::mono() < give_up, "a delay is told of every complete event: {}", count(&mut rig));
    }
    assert_eq!((events(&got), count(&mut rig)), (rig.emitted(), complete(&rig)));
}

#[test]
fn without_a_listener_nothing_is_handed_over_and_no_delay_is_told() {
    let mut rig = Rig::new();
    rig.cycles(0..20);
    assert!(rig.run.plant.arrays.of_mut(ArrayId(0)).engine.meter().since_start().emit_delay.is_err());
}
