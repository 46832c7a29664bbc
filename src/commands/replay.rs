//! `micring replay`: a recording's datagrams on real sockets again, at their recorded spacing.
//!
//! What arrived once arrives again: same payloads, same order, same spacing by the recorded kernel timestamps, against absolute deadlines. A
//! sender of the recording is a socket here, so that a receiver sees the same changes of sender; on loopback, boards keep
//! addresses of their own. A recording that kept only heads is filled up with zeros: the timing is true, the sound is gone, and the result says so.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::json;

use super::Failure;
use super::recording::{self, Recording};
use super::simulate::{LEAD, pin, resolve, wait_until};
use crate::capture::{Datagram, Seen, Wanted, clock_step};
use crate::cli::ReplayArgs;
use crate::sys::host::{self, Signals};
use crate::time::{KernelTime, MonoTime, Span};

/// A stamp so much older than the newest is a step of the recorder's clock, not disorder.
const STEP_BACK: Span = Span::from_millis(100);
/// Between two rounds of `--loop`: long enough that a receiver takes it for a pause, not for lost packets.
const BETWEEN_ROUNDS: Span = Span::from_secs(1);
/// Senders that are told apart; the one longest unheard gives way.
const MOST_SENDERS: usize = 64;

/// Sends the recording (several files are one), then prints what was sent as one JSON object.
///
/// # Errors
/// A file that cannot be read, is no capture or corrupt, or holds nothing for a microphone; a core, address or socket that cannot be had.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    if args.repeat && args.files.iter().any(|file| file == Path::new("-")) {
        return Err(Failure::new("standard input cannot be read twice: --loop needs a file"));
    }
    let core = pin(args.core)?;
    let signals = Signals::block().map_err(|error| Failure::new(format_args!("cannot watch signals: {error}")))?;
    let to = resolve(&args.to)?;
    let mut replay = Replay {
        wanted: recording::wanted(&args.one, args.ports.as_ref()),
        targets: args.mic_ports.0.iter().map(|port| SocketAddr::new(to, *port)).collect(),
        speed: args.speed,
        senders: VecDeque::new(),
        boards: Vec::new(),
        anchor: None,
        newest: None,
        sent: vec![0; args.mic_ports.0.len()],
        bytes: vec![0; args.mic_ports.0.len()],
        filled_up: 0,
        elsewhere: 0,
        send_errors: 0,
        late: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("an hour with three significant digits"),
        payload: Vec::new(),
    };
    let begin = host::mono();
    let mut wait = LEAD;
    let mut rounds = 0u64;
    let interrupted = loop {
        replay.anchor = None;
        replay.newest = None;
        // A set of many files takes a while to be put in order.
        let recording = Recording::open(&args.files, &replay.wanted)?;
        let interrupted = replay.play(recording, host::mono() + wait, &signals, rounds == 0)?;
        rounds += 1;
        if interrupted || !args.repeat {
            break interrupted;
        }
        wait = BETWEEN_ROUNDS;
    };
    let late = &replay.late;
    let us = |quantile| (!late.is_empty()).then(|| late.value_at_quantile(quantile));
    let result = json!({
        "to": args.to,
        "mic_ports": args.mic_ports.0,
        "core": core,
        "speed": args.speed,
        "rounds": rounds,
        "interrupted": interrupted,
        "took_s": (host::mono() - begin).as_secs_f64(),
        "sent": replay.sent,
        "bytes": replay.bytes,
        "filled_up": replay.filled_up,
        "to_other_ports": replay.elsewhere,
        "send_errors": replay.send_errors,
        "late_us": {"p50": us(0.5), "p99": us(0.99), "max": us(1.0)},
    });
    writeln!(io::stdout(), "{result}").map_err(|error| Failure::new(format_args!("cannot print the result: {error}")))
}

struct Replay {
    wanted: Wanted,
    targets: Vec<SocketAddr>,
    speed: f64,
    /// The one last heard at the back.
    senders: VecDeque<(SocketAddr, UdpSocket)>,
    /// Addresses of senders, in the order of their appearance.
    boards: Vec<IpAddr>,
    /// A stamp, and when what was stamped then is sent.
    anchor: Option<(KernelTime, MonoTime)>,
    newest: Option<KernelTime>,
    sent: Vec<u64>,
    bytes: Vec<u64>,
    /// Datagrams of which the recording kept only the head.
    filled_up: u64,
    elsewhere: u64,
    send_errors: u64,
    /// Microseconds.
    late: Histogram<u64>,
    payload: Vec<u8>,
}

impl Replay {
    /// True when a signal came before the end. `first`: a round that says what is missing.
    fn play(
        &mut self,
        mut recording: Recording,
        start: MonoTime,
        signals: &Signals,
        first: bool,
    ) -> Result<bool, Failure> {
        while let Some((_, seen)) = recording.next_seen()? {
            match seen {
                Seen::Nothing => {}
                Seen::Statistics(statistics) => {
                    if let Some(step) = statistics.comment.and_then(clock_step) {
                        self.anchor = self.anchor.map(|(stamp, at)| (stamp + step, at));
                        self.newest = None;
                    }
                }
                Seen::Datagram(datagram) => {
                    let mic = datagram.microphone(self.wanted.ports.as_deref()).filter(|mic| *mic < self.targets.len());
                    let Some(mic) = mic else {
                        self.elsewhere += 1;
                        continue;
                    };
                    let deadline = self.deadline(datagram.stamp, start);
                    if !wait_until(deadline, signals) {
                        return Ok(true);
                    }
                    self.late.saturating_record((host::mono() - deadline).as_micros().max(0) as u64);
                    self.send(mic, &datagram)?;
                }
            }
        }
        let note = recording.note();
        let files = recording.into_files();
        if files.iter().all(|file| file.taken == 0) {
            return Err(recording::nothing_found(&files, self.wanted.ports.as_deref()));
        }
        if first {
            let mut notes = recording::notes(&files, &self.sent, self.wanted.ports.as_deref());
            notes.extend(note);
            notes.iter().for_each(|note| eprintln!("micring: {note}"));
        }
        Ok(false)
    }

    /// When a datagram stamped `stamp` is due.
    fn deadline(&mut self, stamp: KernelTime, start: MonoTime) -> MonoTime {
        if self.newest.is_some_and(|newest| newest - stamp > STEP_BACK) {
            // The recorder's clock was set back: go on from here.
            self.anchor = Some((stamp, host::mono()));
            self.newest = None;
        }
        self.newest = Some(self.newest.map_or(stamp, |newest| newest.max(stamp)));
        let (first, at) = *self.anchor.get_or_insert((stamp, start));
        at + Span::from_secs_f64((stamp - first).as_secs_f64() / self.speed)
    }

    fn send(&mut self, mic: usize, datagram: &Datagram<'_>) -> Result<(), Failure> {
        self.payload.clear();
        self.payload.extend_from_slice(datagram.bytes);
        if datagram.len > datagram.bytes.len() {
            self.filled_up += 1;
            self.payload.resize(datagram.len, 0);
        }
        let target = self.targets[mic];
        let at = match self.senders.iter().position(|(from, _)| *from == datagram.from) {
            Some(at) => at,
            None => self.open(datagram.from, target.ip())?,
        };
        // Usually the last one.
        let sender = self.senders.remove(at).expect("it was just found");
        match sender.1.send_to(&self.payload, target) {
            Ok(_) => {
                self.sent[mic] += 1;
                self.bytes[mic] += self.payload.len() as u64;
            }
            Err(error) if self.sent.iter().all(|sent| *sent == 0) => {
                return Err(Failure::new(format_args!("cannot send to {target} (mic {mic}): {error}")));
            }
            Err(_) => self.send_errors += 1,
        }
        self.senders.push_back(sender);
        Ok(())
    }

    /// A socket for a sender of the recording; its index.
    fn open(&mut self, from: SocketAddr, to: IpAddr) -> Result<usize, Failure> {
        let board = self.boards.iter().position(|ip| *ip == from.ip()).unwrap_or_else(|| {
            if self.boards.len() < MOST_SENDERS {
                self.boards.push(from.ip());
            }
            self.boards.len() - 1
        });
        let address = match to {
            // All of 127.0.0.0/8 is this host: boards stay apart.
            IpAddr::V4(to) if to.is_loopback() => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + board as u8)),
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((address, 0))
            .map_err(|error| Failure::new(format_args!("cannot send from {address}: {error}")))?;
        if self.senders.len() == MOST_SENDERS {
            self.senders.pop_front();
        }
        self.senders.push_back((from, socket));
        Ok(self.senders.len() - 1)
    }
}
