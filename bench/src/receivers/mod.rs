//! The receivers: each takes three microphones' packets in its own way, and says at the end what it saw.
//!
//! A receiver is a process of its own (`bench peer receive NAME`), pinned by itself to one core, so that its CPU time is its
//! own and nothing of it is shared with the load. All have the same sockets (`micring::sys::udp::StampedSocket`), the same
//! receive buffers and the same meter.

mod many;
mod mmsg;
mod ring;
mod threads;
mod tokio;
mod tokio_uring;

pub use self::tokio::Udp as TokioUdp;

use std::io::Write;

use anyhow::{Context, Result, bail};
use micring::MICS;
use micring::sys::host;
use micring::sys::udp::StampedSocket;
use serde_json::{Value, json};

use crate::load::{self, STOP};
use crate::os;
use crate::stats;

/// As `micring serve` asks for.
pub const RECEIVE_BUFFER: usize = 2 << 20;

/// How a peer is run.
#[derive(clap::Args, Clone, Debug)]
pub struct PeerArgs {
    pub name: String,
    /// The core that all of its threads run on.
    #[arg(long)]
    pub core: usize,
    /// Notes each packet's delay.
    #[arg(long)]
    pub delays: bool,
    /// Never sleeps.
    #[arg(long)]
    pub spin: bool,
    /// SCHED_FIFO.
    #[arg(long)]
    pub fifo: bool,
    /// Of `many`.
    #[arg(long, default_value_t = 3)]
    pub sockets: usize,
}

impl PeerArgs {
    /// Before any thread or ring is made, so that all inherit it.
    pub fn settle(&self) -> Result<()> {
        host::pin_to(self.core).context("pinning")?;
        if self.fifo {
            os::set_fifo(0, 50).context("SCHED_FIFO")?;
        }
        Ok(())
    }
}

/// What a receiver saw. Nothing is allocated while it runs.
pub struct Meter {
    delays: bool,
    received: u64,
    bytes: u64,
    /// Packets that are not what that microphone sent.
    wrong: u64,
    unstamped: u64,
    /// Position, microphone, nanoseconds from the kernel's stamp until read.
    reads: Vec<(i64, u8, i64)>,
}

/// Delays kept: 100 s of three microphones.
const KEPT: usize = 30_000;

impl Meter {
    pub fn new(delays: bool) -> Meter {
        let reads = Vec::with_capacity(if delays { KEPT } else { 0 });
        Meter { delays, received: 0, bytes: 0, wrong: 0, unstamped: 0, reads }
    }

    /// A packet; `false` when it was the sign to stop.
    pub fn packet(&mut self, mic: usize, packet: &[u8], stamp_ns: i64, read_ns: i64) -> bool {
        if packet == STOP {
            return false;
        }
        self.received += 1;
        self.bytes += packet.len() as u64;
        let Some(position) = load::read_index(packet, mic) else {
            self.wrong += 1;
            return true;
        };
        self.unstamped += u64::from(stamp_ns == 0);
        if self.delays && self.reads.len() < KEPT {
            self.reads.push((position, mic as u8, read_ns - stamp_ns));
        }
        true
    }

    /// The clock, where a delay is wanted: floods are not to pay for it.
    pub fn now(&self) -> i64 {
        if self.delays { os::wall_ns() } else { 0 }
    }

    pub fn merge(meters: impl IntoIterator<Item = Meter>) -> Meter {
        let mut all = Meter::new(false);
        for meter in meters {
            all.delays |= meter.delays;
            all.received += meter.received;
            all.bytes += meter.bytes;
            all.wrong += meter.wrong;
            all.unstamped += meter.unstamped;
            all.reads.extend(meter.reads);
        }
        all
    }

    /// Delay of every packet; skew that the receiver added to each cycle: the longest of its delays minus the shortest.
    fn figures(&self) -> Value {
        let mut reads = self.reads.clone();
        reads.sort_unstable();
        let skews = reads.chunk_by(|a, b| a.0 == b.0).filter(|cycle| cycle.len() == MICS).map(|cycle| {
            let delays = cycle.iter().map(|read| read.2);
            (delays.clone().max().unwrap_or(0) - delays.min().unwrap_or(0)) as f64 / 1e3
        });
        json!({
            "received": self.received, "bytes": self.bytes, "wrong": self.wrong, "unstamped": self.unstamped,
            "delay_us": stats::distribution(reads.iter().map(|read| read.2 as f64 / 1e3).collect()),
            "skew_us": stats::distribution(skews.collect()),
        })
    }
}

/// Three bound sockets.
pub fn bind() -> Result<[StampedSocket; MICS]> {
    let mut sockets = Vec::new();
    for _ in 0..MICS {
        let address = "127.0.0.1:0".parse().expect("an address");
        sockets.push(StampedSocket::bind(address, RECEIVE_BUFFER).context("a microphone's socket")?);
    }
    Ok(sockets.try_into().unwrap_or_else(|_| unreachable!("one a microphone")))
}

/// The line that says that a peer can be used.
pub fn announce(mics: &[StampedSocket; MICS], http: Option<std::net::SocketAddr>) -> Result<()> {
    say(&json!({"ready": true, "mics": mics.each_ref().map(|mic| mic.address().to_string()),
                "http": http.map(|http| http.to_string())}))
}

pub fn say(value: &Value) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{value}").and_then(|()| out.flush()).context("standard output")
}

/// Runs a receiver until it is told to stop.
pub fn run(args: &PeerArgs) -> Result<()> {
    args.settle()?;
    if args.name == "many" {
        return say(&many::run(args.sockets)?);
    }
    let sockets = bind()?;
    announce(&sockets, None)?;
    let meter = match args.name.as_str() {
        "ring" => ring::bare(args, sockets)?,
        "engine" => ring::with_engine(args, sockets)?,
        "recvmmsg" => mmsg::run(args, sockets)?,
        "threads" => threads::run(args, sockets)?,
        "tokio" => tokio::run(args, sockets)?,
        "tokio-uring" => tokio_uring::run(args, sockets)?,
        other => bail!("there is no receiver {other}"),
    };
    say(&meter.figures())
}
