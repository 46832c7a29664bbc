//! Feed: the datagrams of a recording, through the engine that `serve` runs, in virtual time.
//!
//! The stamps of the recording are the time: before each datagram the holds that ran out by then are served, as a loop would have been woken for
//! them. Who wants to know what comes of it [`Listen`]s.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use super::Failure;
use super::recording::{self, Recording};
use super::steady::Steady;
use crate::capture::{Datagram, Statistics, clock_offset, clock_step};
use crate::cli::{FeedArgs, config};
use crate::cycle::Clocks;
use crate::engine::{self, Config, Engine, Verdict};
use crate::time::{KernelTime, MonoTime, Span};
use crate::wire::Format;

/// Files are in order but for this much: a capture on several cores, sockets read one after the other.
const DISORDER: Span = Span::from_millis(5);
/// Datagrams held back to put them in order.
const MOST_HELD: usize = 256;
/// A stamp so much older than the newest is a step of the clock, not disorder.
const STEP_BACK: Span = Span::from_millis(100);
/// Ports that are told apart where none of the microphones' is in the file.
const MOST_PORTS: usize = 64;

/// Files that are taken for one recording, and the engine that they are fed to.
pub(super) struct Opened {
    pub recording: Recording,
    pub config: Config,
    /// Of each source.
    pub formats: Vec<Format>,
}

/// Opens a recording; what the options do not say of the array, it may say itself.
///
/// # Errors
/// A file that cannot be opened or is no capture; options that do not fit it.
pub(super) fn open(args: &FeedArgs) -> Result<Opened, Failure> {
    let recording = Recording::open(&args.files, &recording::wanted(&args.one, args.mic_ports.as_ref()))?;
    let sources = recording.sources();
    let engine = args.engine.or_declared(sources, |mic| recording.declared(mic));
    let layout = match (args.channels, recording.layout()) {
        (Some(channels), _) => config::layout(sources, channels).map_err(Failure::new)?,
        (None, Some(layout)) => layout,
        (None, None) => engine.layout(sources).map_err(Failure::new)?,
    };
    let engine = engine.of_layout(&layout);
    if !engine.fits(&layout) {
        return Err(Failure::new("the channels are others than --format says"));
    }
    Ok(Opened { recording, config: engine.config(layout), formats: engine.formats(sources) })
}

/// A datagram that is about to be fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fed {
    pub mic: usize,
    pub stamp: KernelTime,
    /// Its stamp on the clock that does not step.
    pub arrival: MonoTime,
    /// Virtual time, which never goes back.
    pub at: MonoTime,
}

/// Virtual time, and how stamps are taken to it.
#[derive(Clone, Copy)]
pub(super) struct Now<'a>(pub MonoTime, pub &'a Steady);

/// Who is told what comes of a recording.
pub(super) trait Listen {
    /// Before the holds that run out by then are served.
    fn arrives(&mut self, arrival: Fed, engine: &mut Engine);
    /// It was a packet of that source, of so many samples.
    fn accepted(&mut self, _mic: usize, _samples: u32) {}
    /// The engine may have outputs.
    fn drain(&mut self, engine: &mut Engine, now: Now<'_>);
    /// A datagram was fed.
    fn fed(&mut self, _engine: &Engine, _at: MonoTime) {}
}

/// Ordered by stamp, then as they stood in the file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    stamp: KernelTime,
    order: u64,
    mic: usize,
    from: SocketAddr,
    bytes: Vec<u8>,
    len: usize,
}

/// See the top of the file.
pub(super) struct Feed {
    pub engine: Engine,
    /// Of some datagram not all bytes are in the file.
    pub cut: bool,
    /// Datagrams to other ports.
    pub elsewhere: BTreeMap<u16, u64>,
    ports: Option<Vec<u16>>,
    held: BinaryHeap<Reverse<Held>>,
    spare: Vec<Vec<u8>>,
    newest: Option<KernelTime>,
    order: u64,
    steady: Steady,
    now: MonoTime,
    /// Told by the file whose statistics came last, and by those before it.
    drops_file: Option<usize>,
    drops_before: Vec<u64>,
    drops: Vec<u64>,
}

impl Feed {
    /// `ports`: those of the microphones; `None` where the recording itself says which is which, else the contract's.
    /// `options`: what else the engine is told.
    pub fn new(config: Config, ports: Option<&[u16]>, options: impl FnOnce(Engine) -> Engine) -> Feed {
        let sources = config.layout.sources();
        Feed {
            engine: options(Engine::new(config)),
            cut: false,
            elsewhere: BTreeMap::new(),
            ports: ports.map(<[u16]>::to_vec),
            held: BinaryHeap::with_capacity(MOST_HELD + 1),
            spare: Vec::new(),
            newest: None,
            order: 0,
            steady: Steady::new(),
            now: MonoTime::from_nanos(0),
            drops_file: None,
            drops_before: vec![0; sources],
            drops: vec![0; sources],
        }
    }

    /// Virtual time.
    pub fn now(&self) -> MonoTime {
        self.now
    }

    /// The next datagram.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, listener: &mut impl Listen) {
        let mic = datagram.microphone(self.ports.as_deref()).filter(|mic| *mic < self.drops.len());
        let Some(mic) = mic else {
            let port = datagram.to.port();
            if self.elsewhere.len() < MOST_PORTS || self.elsewhere.contains_key(&port) {
                *self.elsewhere.entry(port).or_default() += 1;
            }
            return;
        };
        let stamp = self.steady.behind_step(datagram.stamp, self.newest);
        if self.newest.is_some_and(|newest| newest - stamp > STEP_BACK) {
            // Nobody says by how much: go on where virtual time stands.
            self.flush(listener);
            self.steady.go_on(stamp, self.now);
            self.newest = None;
        }
        self.newest = Some(self.newest.map_or(stamp, |newest| newest.max(stamp)));
        self.cut |= datagram.bytes.len() < datagram.len;
        let bytes = self.payload(datagram);
        self.order += 1;
        let held = Held { stamp, order: self.order, mic, from: datagram.from, bytes, len: datagram.len };
        self.held.push(Reverse(held));
        while let Some(Reverse(oldest)) = self.held.peek() {
            let settled = self.newest.is_some_and(|newest| newest - oldest.stamp > DISORDER);
            if !settled && self.held.len() <= MOST_HELD {
                break;
            }
            self.feed_oldest(listener);
        }
    }

    /// Interface statistics of a file: what the kernel dropped, and steps of the clock.
    pub fn statistics(&mut self, file: usize, statistics: &Statistics<'_>, listener: &mut impl Listen) {
        if self.drops_file.replace(file) != Some(file) {
            self.begin_counts();
        }
        if let Some(mic) = statistics.mic.filter(|mic| *mic < self.drops.len()) {
            if statistics.dropped.is_some_and(|dropped| dropped < self.drops[mic]) {
                // Another recording joined to the first.
                self.begin_counts();
            }
            self.drops[mic] = statistics.dropped.unwrap_or(self.drops[mic]);
            self.engine.note_kernel_drops(mic, self.drops_before[mic] + self.drops[mic]);
        }
        if let Some(step) = statistics.comment.and_then(clock_step) {
            self.flush(listener);
            self.steady.step(step, statistics.stamp);
            self.newest = None;
        }
        if let Some(ns) = statistics.comment.and_then(clock_offset) {
            self.steady.offset(statistics.stamp, ns);
        }
    }

    /// Drop counts begin anew.
    fn begin_counts(&mut self) {
        for mic in 0..self.drops.len() {
            self.drops_before[mic] += std::mem::take(&mut self.drops[mic]);
        }
    }

    /// The end of the recording: what is still open leaves, as it would have a little later.
    pub fn finish(&mut self, listener: &mut impl Listen) {
        self.flush(listener);
        self.serve_timeouts(self.now + Span::from_secs(1), listener);
    }

    fn flush(&mut self, listener: &mut impl Listen) {
        while !self.held.is_empty() {
            self.feed_oldest(listener);
        }
    }

    /// The payload in a buffer of ours; what the capture cut off is zeros, but for what is too long to be taken anyway.
    fn payload(&mut self, datagram: &Datagram<'_>) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(datagram.bytes);
        if datagram.len <= self.engine.config().max_datagram {
            bytes.resize(datagram.len, 0);
        }
        bytes
    }

    fn feed_oldest(&mut self, listener: &mut impl Listen) {
        let Some(Reverse(held)) = self.held.pop() else { return };
        let (mic, stamp) = (held.mic, held.stamp);
        let arrival = self.steady.to_mono(stamp);
        let at = arrival.max(self.now);
        listener.arrives(Fed { mic, stamp, arrival, at }, &mut self.engine);
        self.serve_timeouts(at, listener);
        self.turn(at);
        let datagram = engine::Datagram { mic, stamp, sender: held.from, bytes: &held.bytes, len: held.len };
        if let Verdict::Accepted(accepted) = self.engine.handle_datagram(&datagram) {
            listener.accepted(mic, accepted.samples);
        }
        self.engine.handle_timeout();
        listener.drain(&mut self.engine, Now(self.now, &self.steady));
        // Nobody waits here: as much as there is to hear.
        while self.engine.listen() {}
        listener.drain(&mut self.engine, Now(self.now, &self.steady));
        self.spare.push(held.bytes);
        listener.fed(&self.engine, at);
    }

    /// Wakes the engine whenever it asked for it, until `until`.
    fn serve_timeouts(&mut self, until: MonoTime, listener: &mut impl Listen) {
        let mut served = None;
        while let Some(due) = self.engine.next_timeout() {
            // One that is asked for again at once waits for data.
            if due > until || served == Some(due) {
                break;
            }
            served = Some(due);
            self.turn(due.max(self.now));
            self.engine.handle_timeout();
            listener.drain(&mut self.engine, Now(self.now, &self.steady));
        }
    }

    fn turn(&mut self, now: MonoTime) {
        self.now = now;
        self.engine.begin_turn(Clocks { mono: now, wall: self.steady.to_wall(now) });
    }
}
