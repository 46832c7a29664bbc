//! `micring simulate`: the simulator's packets on real sockets.
//!
//! The simulator decides in virtual time what arrives and when; here each packet is sent at the moment it is to arrive. So
//! the network's delays, losses and bursts are the same packets that a test in virtual time sees, and a lost packet is one
//! that is not sent. Deadlines are absolute on CLOCK_MONOTONIC_RAW, the clock that rates are measured against: sending late
//! once does not shift what follows. How late each was is part of the result.

mod encoder;
mod record;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Failure;
use crate::cli::{Core, SimulateArgs};
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::sim::{Boards, Length, Packet, START, Scenario, Sim, Why, Withheld};
use crate::sys::host::{self, Signals};
use crate::time::{MonoTime, Span};
use encoder::Encoder;
use record::Recording;

/// Time to set everything up before the first deadline.
pub(super) const LEAD: Span = Span::from_millis(20);
/// The last part of a wait is spun: an idle core takes 100 to 150 us to wake, longer than the spacing within a cycle.
const SPIN: Span = Span::from_micros(250);
/// No sleep is longer, so that a signal ends the run soon.
const NAP: Span = Span::from_millis(50);
/// Of --each-host.
const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// Withheld packets of a microphone that the result lists unless asked for all.
const LISTED: usize = 100;

/// Sends until the scenario ends, or SIGINT or SIGTERM does, then prints the result. With `--record` it writes instead, without waiting.
///
/// # Errors
/// A host without an address, a core or source address that cannot be had, a first packet that cannot be sent.
pub fn run(args: &SimulateArgs, scenario: &Scenario) -> Result<(), Failure> {
    match &args.record {
        Some(path) => write(args, scenario, path),
        None => send(args, scenario),
    }
}

fn write(args: &SimulateArgs, scenario: &Scenario, path: &Path) -> Result<(), Failure> {
    let begin = host::mono();
    let mut recording = Recording::create(path, &args.mic_ports.0, scenario, args.record_snap, args.format.as_ref())?;
    let mut sim = Sim::new(scenario);
    let mut tally = Tally::new(scenario.sources, if args.list_withheld { usize::MAX } else { LISTED });
    let mut encoder = Encoder::new(args.format.clone(), scenario.sample_rate);
    while let Some(packet) = sim.next() {
        for datagram in encoder.datagrams(&sim, &packet)? {
            recording.packet(&sim, &packet, datagram)?;
            tally.note(&packet, datagram.len(), Span::ZERO, Ok(()))?;
        }
        tally.pending.extend(sim.drain_withheld());
    }
    recording.flush()?;
    tally.pending.extend(sim.drain_withheld());
    tally.finish(false);
    let result = tally.result(args, scenario, &sim, host::mono() - begin, false, None);
    // Standard output may be the recording itself.
    if path == Path::new("-") {
        eprintln!("{result}");
        return Ok(());
    }
    print(&result)
}

fn send(args: &SimulateArgs, scenario: &Scenario) -> Result<(), Failure> {
    let core = pin(args.core)?;
    let signals = Signals::block().map_err(|error| Failure::new(format_args!("cannot watch signals: {error}")))?;
    let to = resolve(&args.to)?;
    let scenarios: Vec<Scenario> = (0..u64::from(args.arrays))
        .map(|nth| Scenario { seed: scenario.seed.wrapping_add(nth), ..scenario.clone() })
        .collect();
    let voices = scenarios.iter().enumerate().map(|(nth, scenario)| Voice::new(args, scenario, to, nth));
    let mut voices = voices.collect::<Result<Vec<Voice>, Failure>>()?;
    // What arrives next of all arrays.
    let mut next: BinaryHeap<Reverse<(MonoTime, usize)>> = BinaryHeap::with_capacity(voices.len());
    for (nth, voice) in voices.iter_mut().enumerate() {
        next.extend(voice.advance().map(|arrival| Reverse((arrival, nth))));
    }
    let begin = host::mono() + LEAD;
    let mut interrupted = false;
    while let Some(Reverse((arrival, nth))) = next.pop() {
        let deadline = begin + Span::from_secs_f64((arrival - START).as_secs_f64() / args.speed);
        if !wait_until(deadline, &signals) {
            interrupted = true;
            break;
        }
        voices[nth].send(deadline)?;
        next.extend(voices[nth].advance().map(|arrival| Reverse((arrival, nth))));
    }
    let took = host::mono() - begin;
    let ended = voices.into_iter().zip(&scenarios);
    let mut results: Vec<Value> =
        ended.map(|(voice, scenario)| voice.result(args, scenario, took, interrupted, core)).collect();
    match results.len() {
        1 => print(&results.remove(0)),
        _ => print(&json!({ "arrays": results })),
    }
}

/// One array while it sends.
struct Voice {
    ports: Vec<u16>,
    sim: Sim,
    senders: Senders,
    tally: Tally,
    encoder: Encoder,
    packet: Option<Packet>,
}

impl Voice {
    fn new(args: &SimulateArgs, scenario: &Scenario, to: IpAddr, nth: usize) -> Result<Voice, Failure> {
        let step = if args.each_host { 0 } else { nth * scenario.sources } as u16;
        let ports: Vec<u16> = args.mic_ports.0.iter().map(|port| port + step).collect();
        let from = match args.each_host {
            true => vec![Ipv4Addr::from_bits(FIRST_HOST.to_bits() + nth as u32).into(); scenario.board_count()],
            false => source_addresses(args, scenario, to),
        };
        Ok(Voice {
            senders: Senders::open(to, &ports, from)?,
            ports,
            sim: Sim::new(scenario),
            tally: Tally::new(scenario.sources, if args.list_withheld { usize::MAX } else { LISTED }),
            encoder: Encoder::new(args.format.clone(), scenario.sample_rate),
            packet: None,
        })
    }

    /// When its next packet arrives.
    fn advance(&mut self) -> Option<MonoTime> {
        self.packet = self.sim.next();
        self.packet.map(|packet| packet.arrival)
    }

    fn send(&mut self, deadline: MonoTime) -> Result<(), Failure> {
        let packet = self.packet.take().expect("one that is due is there");
        for datagram in self.encoder.datagrams(&self.sim, &packet)? {
            let late = host::mono() - deadline;
            let result = self.senders.send(&packet, datagram)?;
            self.tally.note(&packet, datagram.len(), late, result)?;
        }
        self.tally.pending.extend(self.sim.drain_withheld());
        Ok(())
    }

    fn result(
        mut self,
        args: &SimulateArgs,
        scenario: &Scenario,
        took: Span,
        interrupted: bool,
        core: Option<usize>,
    ) -> Value {
        self.tally.pending.extend(self.sim.drain_withheld());
        self.tally.finish(interrupted);
        let mut result = self.tally.result(args, scenario, &self.sim, took, interrupted, core);
        result["mic_ports"] = json!(self.ports);
        result
    }
}

fn print(result: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{result}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format_args!("cannot print the result: {error}")))
}

/// Waits for the deadline; false when a signal came first.
pub(super) fn wait_until(deadline: MonoTime, signals: &Signals) -> bool {
    loop {
        if signals.read().is_some() {
            return false;
        }
        let left = deadline - host::mono();
        if left <= SPIN {
            break;
        }
        let nap = (left - SPIN).min(NAP);
        std::thread::sleep(Duration::from_nanos(nap.as_nanos() as u64));
    }
    while host::mono() < deadline {
        std::hint::spin_loop();
    }
    true
}

pub(super) fn pin(core: Core) -> Result<Option<usize>, Failure> {
    let core = match core {
        Core::None => return Ok(None),
        Core::Number(core) => core,
        Core::Auto => match host::allowed_cpus() {
            Ok(allowed) if !allowed.is_empty() => allowed[0],
            Ok(_) => return Ok(None),
            Err(error) => return Err(Failure::new(format_args!("cannot read the CPU affinity: {error}"))),
        },
    };
    host::pin_to(core).map_err(|error| Failure::new(format_args!("cannot pin to core {core}: {error}")))?;
    Ok(Some(core))
}

pub(super) fn resolve(host: &str) -> Result<IpAddr, Failure> {
    let addresses: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| Failure::new(format_args!("cannot find an address for --to {host}: {error}")))?
        .collect();
    // `localhost` is ::1 first on many machines, but `serve` binds 0.0.0.0 unless asked otherwise.
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.map(SocketAddr::ip).ok_or_else(|| Failure::new(format_args!("--to {host} has no address")))
}

/// The source address of each board.
fn source_addresses(args: &SimulateArgs, scenario: &Scenario, to: IpAddr) -> Vec<IpAddr> {
    let any = match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    (0..scenario.board_count())
        .map(|board| match (args.from.as_slice(), scenario.boards, to) {
            ([one], _, _) => *one,
            ([_, ..], _, _) => args.from[board],
            // All of 127.0.0.0/8 is this host: so many boards are seen as so many.
            ([], Boards::Three, IpAddr::V4(to)) if to.is_loopback() => Ipv4Addr::new(127, 0, 0, 1 + board as u8).into(),
            _ => any,
        })
        .collect()
}

/// A socket for each board, replaced when the board reboots.
struct Senders {
    targets: Vec<SocketAddr>,
    boards: Vec<Sender>,
}

struct Sender {
    address: IpAddr,
    boot: u32,
    socket: UdpSocket,
}

impl Senders {
    fn open(to: IpAddr, ports: &[u16], addresses: Vec<IpAddr>) -> Result<Senders, Failure> {
        let open = |address| Ok(Sender { address, boot: 0, socket: bind(address)? });
        let boards = addresses.into_iter().map(open).collect::<Result<_, Failure>>()?;
        Ok(Senders { targets: ports.iter().map(|port| SocketAddr::new(to, *port)).collect(), boards })
    }

    /// The outer error is that of a new port; the inner one of the packet.
    fn send(&mut self, packet: &Packet, payload: &[u8]) -> Result<io::Result<()>, Failure> {
        let sender = &mut self.boards[packet.board];
        if packet.boot > sender.boot {
            // The new socket is bound while the old one is open: it gets another port.
            sender.socket = bind(sender.address)?;
            sender.boot = packet.boot;
        }
        // Unconnected: a host that answers "port unreachable" does not make the next send fail.
        Ok(sender.socket.send_to(payload, self.targets[packet.mic]).map(drop))
    }
}

fn bind(address: IpAddr) -> Result<UdpSocket, Failure> {
    UdpSocket::bind((address, 0)).map_err(|error| Failure::new(format_args!("cannot send from {address}: {error}")))
}

/// What was sent and what was withheld, so far.
struct Tally {
    mics: Vec<MicTally>,
    /// Microseconds.
    late: Histogram<u64>,
    /// Withheld, but among packets that are not sent yet.
    pending: VecDeque<Withheld>,
    /// When the newest packet sent would have been sent by its board.
    newest: Option<MonoTime>,
    list: usize,
    send_error: Option<io::Error>,
}

#[derive(Default)]
struct MicTally {
    sent: u64,
    duplicated: u64,
    reordered: u64,
    bytes: u64,
    send_errors: u64,
    lost: u64,
    cycle_lost: u64,
    muted: u64,
    lost_chunks: u64,
    lost_pieces: u64,
    withheld: Vec<Withheld>,
    first: Option<Packet>,
    last: Option<Packet>,
}

impl Tally {
    fn new(sources: usize, list: usize) -> Tally {
        Tally {
            mics: (0..sources).map(|_| MicTally::default()).collect(),
            late: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("an hour with three significant digits"),
            pending: VecDeque::new(),
            newest: None,
            list,
            send_error: None,
        }
    }

    /// Takes note of a packet that was sent, or could not be.
    fn note(&mut self, packet: &Packet, bytes: usize, late: Span, result: io::Result<()>) -> Result<(), Failure> {
        let mic = &mut self.mics[packet.mic];
        if let Err(error) = result {
            if self.newest.is_none() {
                return Err(Failure::new(format_args!("cannot send (mic {}): {error}", packet.mic)));
            }
            mic.send_errors += 1;
            self.send_error = Some(error);
        } else if packet.copy {
            mic.duplicated += 1;
        } else {
            mic.sent += 1;
            mic.reordered += u64::from(packet.reordered);
            mic.bytes += bytes as u64;
            mic.first.get_or_insert(*packet);
            // A reordered packet is not the newest.
            if mic.last.is_none_or(|last| (last.boot, last.position) < (packet.boot, packet.position)) {
                mic.last = Some(*packet);
            }
        }
        self.late.saturating_record(late.as_micros().max(0) as u64);
        self.newest = self.newest.max(Some(packet.sent));
        self.settle(self.newest);
        Ok(())
    }

    /// Counts as withheld what was to be sent up to `until`.
    fn settle(&mut self, until: Option<MonoTime>) {
        while let Some(&withheld) = self.pending.front()
            && Some(withheld.sent) <= until
        {
            self.pending.pop_front();
            let mic = &mut self.mics[withheld.mic];
            mic.lost_chunks += u64::from(withheld.whole && withheld.piece.number == 0);
            mic.lost_pieces += u64::from(!withheld.whole);
            match withheld.why {
                Why::Lost => mic.lost += 1,
                Why::CycleLost => mic.cycle_lost += 1,
                Why::Muted => mic.muted += 1,
            }
            if mic.withheld.len() <= self.list {
                mic.withheld.push(withheld);
            }
        }
    }

    /// At the end all is settled; where a signal came first, what was to be sent after that was not withheld.
    fn finish(&mut self, interrupted: bool) {
        if !interrupted {
            self.settle(Some(MonoTime::from_nanos(i64::MAX)));
        }
    }

    fn result(
        &self,
        args: &SimulateArgs,
        scenario: &Scenario,
        sim: &Sim,
        took: Span,
        interrupted: bool,
        core: Option<usize>,
    ) -> Value {
        let listed = |withheld: &Withheld| {
            let Withheld { boot, cycle, piece, whole, .. } = *withheld;
            let (position, samples) = (piece.position().0, piece.samples());
            let why = match withheld.why {
                Why::Lost => "lost",
                Why::CycleLost => "cycle_lost",
                Why::Muted => "muted",
            };
            json!({
                "boot": boot, "cycle": cycle, "piece": piece.number, "pieces": piece.of,
                "position": position, "samples": samples, "whole_chunk": whole, "why": why,
            })
        };
        let mics: Vec<Value> = self
            .mics
            .iter()
            .enumerate()
            .map(|(index, mic)| {
                let few = mic.withheld.len() <= self.list;
                let mean_ppm = match (mic.first, mic.last) {
                    (Some(first), Some(last)) => sim.truth().mean_ppm(index, first.captured, last.captured),
                    _ => None,
                };
                json!({
                    "mic": index,
                    "sent": mic.sent,
                    "withheld": mic.lost + mic.cycle_lost + mic.muted,
                    "lost": mic.lost,
                    "cycle_lost": mic.cycle_lost,
                    "muted": mic.muted,
                    "lost_chunks": mic.lost_chunks,
                    "lost_pieces": mic.lost_pieces,
                    "duplicated": mic.duplicated,
                    "reordered": mic.reordered,
                    "send_errors": mic.send_errors,
                    "samples": mic.bytes / (SAMPLE_BYTES as u64 * u64::from(scenario.sending.channels)),
                    "bytes": mic.bytes,
                    "first_position": mic.first.map(|packet| packet.position.0),
                    "last_position": mic.last.map(|packet| packet.position.0),
                    "boots": mic.last.map_or(0, |packet| packet.boot + 1),
                    "mean_ppm": mean_ppm.map(|ppm| ppm.0),
                    "withheld_packets": few.then(|| mic.withheld.iter().map(listed).collect::<Vec<_>>()),
                })
            })
            .collect();
        let us = |quantile| (!self.late.is_empty()).then(|| self.late.value_at_quantile(quantile));
        json!({
            "seed": scenario.seed,
            "to": args.to,
            "mic_ports": args.mic_ports.0,
            "core": core,
            "boards": scenario.board_count(),
            "samples": scenario.samples,
            "pieces": scenario.sending.pieces,
            "sample_rate": scenario.sample_rate,
            "speed": args.speed,
            "parameters": parameters(scenario),
            "interrupted": interrupted,
            "took_s": took.as_secs_f64(),
            "mics": mics,
            "send_error": self.send_error.as_ref().map(ToString::to_string),
            "late_us": {"p50": us(0.5), "p99": us(0.99), "max": us(1.0)},
        })
    }
}

/// The scenario in words, for whoever reads the result later.
fn parameters(scenario: &Scenario) -> Value {
    let length = match scenario.length {
        Length::Time(Span::MAX) => json!({"until": "signal"}),
        Length::Time(span) => json!({"duration_s": span.as_secs_f64()}),
        Length::Cycles(cycles) => json!({"cycles": cycles}),
    };
    json!({
        "length": length,
        "rates": format!("{:?}", scenario.rates.iter().take(scenario.board_count()).collect::<Vec<_>>()),
        "sending": format!("{:?}", scenario.sending),
        "network": format!("{:?}", scenario.network),
        "then": format!("{:?}", scenario.then),
        "drop_cycles": format!("{:?}", scenario.drop_cycles),
        "mutes": format!("{:?}", scenario.mutes),
        "defects": format!("{:?}", scenario.defects),
        "lags": format!("{:?}", scenario.lags),
        "reboots": format!("{:?}", scenario.reboots),
        "changes": format!("{:?}", scenario.changes),
        "clean_cycles": scenario.clean_cycles,
        "signal": format!("{:?}", scenario.signal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_whole_however_late() {
        let packet = Sim::new(&Scenario::default()).next().expect("a scenario sends");
        let mut tally = Tally::new(3, 0);
        tally.note(&packet, 2048, Span::from_secs(5), Ok(())).expect("it was sent");
        // Three significant digits.
        assert!((4_995_000..=5_005_000).contains(&tally.late.value_at_quantile(1.0)));
    }
}
