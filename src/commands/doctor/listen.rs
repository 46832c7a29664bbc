//! `micring doctor --listen SECONDS`: what comes on the microphones' ports, from whom, and the options that `serve` needs for it.
//!
//! Each port has an engine of its own, fed by a ring like the server's: it finds format, rate and faults as `serve` does. Where a
//! format has several channels, or another rate, the engine is made anew for that.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use serde::Serialize;

use super::super::Failure;
use super::super::serve::{RECEIVE_BUFFER, plain, ring_advice};
use crate::array::Layout;
use crate::cli::DoctorArgs;
use crate::cycle::Clocks;
use crate::engine::{ClockChoice, Config, Datagram, Engine, Hold};
use crate::sys::host;
use crate::sys::ring::{Completion, Ring, RingOptions, UdpDatagram};
use crate::sys::udp::StampedSocket;
use crate::time::{MonoTime, Span};
use crate::wire::Format;

/// Senders of one port that are told apart.
const MOST_SENDERS: usize = 16;
/// The longest sleep between two looks at the time.
const LOOK: Span = Span::from_millis(100);

/// Listens, and prints what came on standard output. `false`: nothing did, or a fault was found.
///
/// # Errors
/// A port cannot be bound, or the ring cannot be set up.
pub(super) fn run(args: &DoctorArgs, seconds: u32) -> Result<bool, Failure> {
    let (mut ring, mut ears) = bind(args)?;
    let ports: Vec<String> = ears.iter().map(|ear| ear.address.to_string()).collect();
    eprintln!("listening on {} for {seconds} s", ports.join(", "));
    ring.arm_sockets();
    let failed = |error: &io::Error| Failure::new(format_args!("the ring failed: {}", plain(error)));
    let end = host::mono() + Span::from_secs(i64::from(seconds));
    let mut completions = Vec::new();
    loop {
        let clocks = host::clocks();
        if clocks.mono >= end {
            break;
        }
        ring.wait(Some(LOOK.min(end - clocks.mono))).map_err(|error| failed(&error))?;
        let clocks = host::clocks();
        ring.reap(&mut completions);
        let mut datagrams: Vec<UdpDatagram> = Vec::new();
        for completion in completions.drain(..) {
            match completion {
                Completion::Datagram(datagram) => datagrams.push(datagram),
                // No buffer was free for a moment.
                Completion::SocketEnded { socket, .. } => ring.arm_socket(socket),
                _ => {}
            }
        }
        datagrams.sort_by_key(|datagram| datagram.stamp);
        for datagram in datagrams {
            if let (Some(stamp), Some(sender)) = (datagram.stamp, datagram.sender) {
                let bytes = ring.payload(&datagram);
                let heard = Datagram { mic: 0, stamp, sender, bytes, len: datagram.len };
                ears[datagram.socket].hear(clocks, &heard);
            }
            ring.recycle(datagram);
        }
    }
    let report = Report::of(&ears, seconds, host::mono());
    let text = if args.json {
        format!("{:#}\n", serde_json::to_value(&report).expect("plain values"))
    } else {
        report.lines()
    };
    // A reader that has gone needs no answer.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(report.is_well())
}

fn bind(args: &DoctorArgs) -> Result<(Ring, Vec<Ear>), Failure> {
    let (mut sockets, mut ears) = (Vec::new(), Vec::new());
    for (mic, &port) in args.mic_ports.0.iter().enumerate() {
        let address = SocketAddr::new(args.udp_bind, port);
        let socket = StampedSocket::bind(address, RECEIVE_BUFFER).map_err(|error| {
            let next = match error.kind() {
                io::ErrorKind::AddrInUse => ": while `micring serve` runs, it tells the same in /api/diagnostics_sync",
                _ => "",
            };
            Failure::new(format_args!("cannot bind UDP {address} (mic {mic}): {}{next}", plain(&error)))
        })?;
        ears.push(Ear::new(socket.address(), args.sample_rate));
        sockets.push(socket);
    }
    let ring = Ring::new(RingOptions::default(), sockets).map_err(|error| {
        Failure::new(format_args!("cannot set up io_uring: {}: {}", plain(&error), ring_advice(&error)))
    })?;
    Ok((ring, ears))
}

/// What one port hears.
struct Ear {
    address: SocketAddr,
    engine: Engine,
    senders: Vec<Sender>,
    /// Datagrams of more senders than are told apart.
    others: u64,
}

/// Who sent to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Sender {
    address: SocketAddr,
    datagrams: u64,
    shortest_bytes: usize,
    longest_bytes: usize,
}

impl Ear {
    fn new(address: SocketAddr, sample_rate: u32) -> Ear {
        Ear { address, engine: engine(Layout::mono(1), sample_rate), senders: Vec::new(), others: 0 }
    }

    fn hear(&mut self, clocks: Clocks, datagram: &Datagram<'_>) {
        self.note(datagram.sender, datagram.len);
        self.engine.begin_turn(clocks);
        self.engine.handle_datagram(datagram);
        self.engine.handle_timeout();
        while self.engine.poll_output().is_some() {}
        self.fit();
    }

    fn note(&mut self, address: SocketAddr, bytes: usize) {
        let has_room = self.senders.len() < MOST_SENDERS;
        match self.senders.iter_mut().find(|sender| sender.address == address) {
            Some(sender) => {
                sender.datagrams += 1;
                sender.shortest_bytes = sender.shortest_bytes.min(bytes);
                sender.longest_bytes = sender.longest_bytes.max(bytes);
            }
            None if has_room => {
                self.senders.push(Sender { address, datagrams: 1, shortest_bytes: bytes, longest_bytes: bytes });
            }
            None => self.others += 1,
        }
    }

    /// An engine for what the format says of itself.
    fn fit(&mut self) {
        let (format, config) = (self.engine.format(0).clone(), self.engine.config());
        let channels = format.channels().map_or(config.layout.channels(), usize::from);
        let rate = format.rate().unwrap_or(config.sample_rate);
        if channels == config.layout.channels() && rate == config.sample_rate {
            return;
        }
        // More than an array has: what is heard stays `malformed`.
        if let Ok(layout) = Layout::new(&[channels]) {
            self.engine = engine(layout, rate).declared(&[format]);
        }
    }
}

fn engine(layout: Layout, sample_rate: u32) -> Engine {
    Engine::new(Config {
        layout,
        sample_rate,
        clock: ClockChoice::Auto,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(1),
        max_datagram: RingOptions::default().max_datagram,
    })
}

/// All that was heard.
#[derive(Debug, Serialize)]
struct Report {
    listened_s: u32,
    ports: Vec<Heard>,
    /// The options of `serve`; none where nothing was heard.
    serve: Option<String>,
}

#[derive(Debug, Serialize)]
struct Heard {
    mic: usize,
    address: SocketAddr,
    senders: Vec<Sender>,
    other_datagrams: u64,
    format: Option<String>,
    channels: Option<usize>,
    /// Samples a second of each channel.
    rate_hz: Option<f64>,
    malformed: u64,
    truncated: u64,
    faults: Vec<Told>,
    #[serde(skip)]
    options: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    fault: String,
    evidence: String,
    next_step: String,
}

impl Report {
    fn of(ears: &[Ear], listened_s: u32, now: MonoTime) -> Report {
        let ports: Vec<Heard> = ears.iter().enumerate().map(|(mic, ear)| Heard::of(mic, ear, now)).collect();
        let heard = ports.iter().any(|port| !port.senders.is_empty());
        let serve = heard.then(|| {
            let numbers: Vec<String> = ports.iter().map(|port| port.address.port().to_string()).collect();
            let mut command = format!("micring serve --mic-ports {}", numbers.join(","));
            for option in ports.iter().flat_map(|port| &port.options) {
                if !command.contains(option.as_str()) {
                    // Writing to a string does not fail.
                    let _ = write!(command, " {option}");
                }
            }
            command
        });
        Report { listened_s, ports, serve }
    }

    fn is_well(&self) -> bool {
        self.ports.iter().all(|port| !port.senders.is_empty() && port.faults.is_empty())
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for port in &self.ports {
            text.push_str(&port.lines(self.listened_s));
        }
        if let Some(serve) = &self.serve {
            // Writing to a string does not fail.
            let _ = writeln!(text, "use: {serve}");
        }
        text
    }
}

impl Heard {
    fn of(mic: usize, ear: &Ear, now: MonoTime) -> Heard {
        let (engine, health) = (&ear.engine, ear.engine.health());
        let known = !ear.senders.is_empty();
        let format = engine.format(0);
        let channels = engine.layout().channels();
        let rate_hz = health.rate(0).ok().map(|rate| (rate.hz * 10.0).round() / 10.0);
        let mut faults = Vec::new();
        for channel in 0..channels {
            for fault in health.faults(channel, now) {
                let told =
                    Told { fault: fault.kind.name().into(), evidence: fault.evidence, next_step: fault.next_step };
                // A source's fault is that of each of its channels.
                if !faults.iter().any(|known: &Told| known.fault == told.fault) {
                    faults.push(told);
                }
            }
        }
        let counters = &engine.counters().mics[0];
        Heard {
            mic,
            address: ear.address,
            senders: ear.senders.clone(),
            other_datagrams: ear.others,
            format: known.then(|| format.to_string()),
            channels: known.then_some(channels),
            rate_hz,
            malformed: counters.malformed,
            truncated: counters.truncated,
            faults,
            options: options(mic, format, engine),
        }
    }

    fn lines(&self, seconds: u32) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let (mic, port) = (self.mic, self.address.port());
        if self.senders.is_empty() {
            line(format!(
                "mic {mic}: nothing came to port {port}: does the board send there, to an address of this host, and does no \
                 firewall stand between? (tcpdump -ni any udp port {port})"
            ));
        }
        for sender in &self.senders {
            let Sender { address, datagrams, shortest_bytes, longest_bytes } = sender;
            let bytes = match shortest_bytes == longest_bytes {
                true => format!("{longest_bytes} bytes"),
                false => format!("{shortest_bytes} to {longest_bytes} bytes"),
            };
            let rate = *datagrams as f64 / f64::from(seconds);
            line(format!("mic {mic}: {address} sends to port {port}: {rate:.1} datagrams a second of {bytes}"));
        }
        if self.other_datagrams > 0 {
            line(format!("mic {mic}: {} more datagrams came from other senders", self.other_datagrams));
        }
        if let (Some(format), Some(channels)) = (&self.format, self.channels) {
            let rate =
                self.rate_hz.map_or("rate not known yet: listen longer".into(), |hz| format!("{hz} samples a second"));
            line(format!("mic {mic}: {format}, {channels} channel{}, {rate}", if channels == 1 { "" } else { "s" }));
        }
        for (count, what) in [(self.malformed, "do not fit that"), (self.truncated, "are too long (--max-datagram)")] {
            if count > 0 {
                line(format!("mic {mic}: {count} datagrams {what}"));
            }
        }
        for fault in &self.faults {
            line(format!("mic {mic}: {}: {}: {}", fault.fault, fault.evidence, fault.next_step));
        }
        text
    }
}

/// What `serve` has to be told of one source.
fn options(mic: usize, format: &Format, engine: &Engine) -> Vec<String> {
    let mut options = Vec::new();
    let (health, config) = (engine.health(), engine.config());
    let several = (config.layout.channels() > 1).then(|| format.to_string());
    options.extend(health.format_with_header(0).or(several).map(|format| format!("--format {mic}={format}")));
    let told = health.likely_rate(0).or(format.rate());
    options.extend(told.filter(|&hz| hz != 48_000).map(|hz| format!("--sample-rate {hz}")));
    options
}
