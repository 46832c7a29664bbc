//! The engine: datagrams and time in, aligned cycles and figures out.
//!
//! Pure: it has no clock, no socket, no thread and no unsafe. `serve` runs it on a ring, `analyze` on a recording, and the
//! tests in virtual time; all three get the same decisions from the same bytes and stamps.
//!
//! One packet's way: `intake` knows its sender and `packet` its samples; `align` decides which cycle it belongs to; its
//! samples are copied once, into `history`; the cycle leaves as an [`Output`] when it is complete and its position certain.
//!
//! In here a *mic* is a source of the array's [`Layout`]: what is decided is decided for all its channels alike. Channels come in where
//! samples are taken apart (`history`, `resample`) or listened to (`health`), and in what leaves.

mod calibrate;
mod calibrated;
pub mod clock;
mod credit;
mod ear;
pub mod figures;
mod formatted;
mod free;
pub mod health;
mod hearing;
pub mod history;
pub mod hostclock;
pub mod intake;
mod number;
mod shared;
mod told;
mod tuning;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::array::Layout;
use crate::cycle::{Clocks, Cycle};
use crate::time::{KernelTime, MonoTime, Span};
pub use calibrate::Calibrated;
use calibrate::Calibration;
pub use calibrated::{Calibrate, Kept};
use clock::{Again, ClockModel};
pub use credit::Credit;
pub use ear::Shifts;
use figures::Counters;
use figures::skew::SkewMeter;
use free::boards::Boards;
use free::resample::Resampling;
use free::sinc::Kernel;
use health::Health;
use history::History;
use hostclock::HostClock;
use intake::Follow;
use intake::chunks::{Chunks, Cut, Heard, Lacking, Learnt, Taken};
use intake::formats::Wire;
use intake::packet::{BadPayload, Packet};
use intake::undecided::Undecided;
pub use number::borders::Borders;
use shared::align::{Arrival, Placed, SharedAligner};
use shared::tail::Sink;

/// What a user may choose about alignment. See `cli.rs` for the options.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its sources, and the channels of each.
    pub layout: Layout,
    /// Frames a second, nominal, of every microphone.
    pub sample_rate: u32,
    pub clock: ClockChoice,
    pub hold: Hold,
    /// Independent boards are resampled continuously, instead of letting whole samples slip.
    pub resample: bool,
    /// How much audio the history keeps.
    pub history: Span,
    /// Longest datagram payload taken, in bytes; longer ones are counted `truncated`.
    pub max_datagram: usize,
}

/// Whether the microphones share one sample clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockChoice {
    /// Shared when the senders have one IP address, independent otherwise.
    Auto,
    Shared,
    Independent,
}

/// How long an incomplete cycle waits for what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Until it is known to be closed, at most 40 ms.
    Auto,
    Fixed(Span),
}

/// One datagram as the kernel handed it over.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Which source of the array.
    pub mic: usize,
    /// SO_TIMESTAMPNS.
    pub stamp: KernelTime,
    pub sender: SocketAddr,
    /// The payload, cut at the buffer's end when the datagram was longer.
    pub bytes: &'a [u8],
    /// The true length of the payload (MSG_TRUNC); larger than `bytes.len()` when it was cut.
    pub len: usize,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    Accepted(Accepted),
    Rejected(Reason),
}

/// A packet that was taken in; its samples are the datagram's bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Accepted {
    /// The source.
    pub mic: usize,
    /// Of each of its channels.
    pub samples: u32,
    /// Kernel receive time, on the clock that does not step.
    pub arrival: MonoTime,
    /// Its cycle had left; it fills the history all the same.
    pub late: bool,
}

/// Why a datagram was not taken in. Each has its counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Malformed,
    Truncated,
    Foreign,
    Duplicate,
    /// Its number is far from all that was expected, or its place is taken.
    Number,
    /// No audio, but in its place: RTCP, VBAN's text.
    Control,
    /// It waits: the next ones tell what its source sends.
    Undecided,
}

/// What the engine hands out, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack: a box would be an allocation a cycle")]
pub enum Output {
    /// A cycle left: its samples are in the history.
    Cycle(Cycle),
    /// A line for people, without a line end.
    Log(String),
}

/// The newest accepted packet of a source.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Latest {
    pub stamp: KernelTime,
    pub arrival: MonoTime,
    pub byte_count: usize,
    pub sender: SocketAddr,
}

/// Longest wait for what is missing or undecided: contract section 3.
pub const LONGEST_HOLD: Span = Span::from_millis(40);

/// What is ready to leave.
#[derive(Debug)]
enum Queued {
    /// A cycle by its id: what it is stands in the history.
    Cycle(u64),
    Log(String),
}

/// What stays with one source.
#[derive(Debug, Default)]
struct Mic {
    follow: Follow,
    /// What it sends.
    wire: Wire,
    /// Room for a datagram's samples, where they have to be decoded.
    decoded: Vec<u8>,
    /// Its next chunk is the first that is cut in another way.
    recut: bool,
    /// Who sends its next chunk, beside the sender of its newest one.
    again: Again,
    /// Chunks that will be counted lost though something of them came.
    unplaced: u64,
    /// Bytes of a frame that were counted as none yet: a boundary cut it.
    carry: usize,
    /// It was said that what the microphone loses cannot be told.
    told_unnumbered: bool,
    latest: Option<Latest>,
}

impl Mic {
    /// Whose its newest datagram is, or what it holds: the next ones tell.
    fn is_open(&self) -> bool {
        self.wire.is_open() || self.follow.doubts()
    }
}

/// How packets become cycles.
#[derive(Debug)]
enum Aligner {
    Shared(Box<SharedAligner>),
    Independent(Box<Boards>),
}

/// An array's datagrams in, aligned cycles out.
pub struct Engine {
    config: Config,
    clocks: Option<Clocks>,
    /// As it was at the start of the turn; where several engines share one, a copy.
    host: HostClock,
    counters: Counters,
    mics: Vec<Mic>,
    chunks: Chunks,
    undecided: Undecided,
    aligner: Aligner,
    fixed_hold: Option<Span>,
    /// Made at the start: it takes milliseconds.
    kernel: Option<Arc<Kernel>>,
    max_open: i64,
    history: History,
    outputs: VecDeque<Queued>,
    meter: SkewMeter,
    health: Health,
    /// When the meter is next told the clocks' rates: delays are looked at with the drift taken out.
    rates_due: MonoTime,
    forgets_numbers: bool,
    /// Free boards are listened to.
    hears_sound: Option<Credit>,
    calibration: Option<Box<Calibration>>,
    kept: Vec<Option<Kept>>,
}

impl Engine {
    pub fn new(config: Config) -> Engine {
        let (layout, rate) = (config.layout, config.sample_rate);
        let sources = layout.sources();
        let keep = (config.history.as_secs_f64() * f64::from(config.sample_rate)).ceil() as usize;
        // Cycles not yet emitted: a backlog of a second, and what its last packets may add.
        let open = config.sample_rate as usize;
        let ahead = open + sources * config.max_datagram.div_ceil(intake::packet::SAMPLE_BYTES);
        let fixed = match config.hold {
            Hold::Auto => None,
            Hold::Fixed(hold) => Some(hold),
        };
        let kernel = config.resample.then(|| Arc::new(Kernel::new()));
        let aligner = match config.clock {
            ClockChoice::Independent => {
                let resampling = resampling(kernel.as_ref(), &layout, rate);
                Aligner::Independent(Box::new(Boards::new(sources, rate, fixed, open as i64, resampling)))
            }
            ClockChoice::Auto | ClockChoice::Shared => {
                let hold = fixed.unwrap_or(LONGEST_HOLD);
                Aligner::Shared(Box::new(SharedAligner::new(sources, rate, hold, open as i64)))
            }
        };
        Engine {
            meter: SkewMeter::new(sources, rate),
            health: Health::new(layout, rate),
            rates_due: MonoTime::from_nanos(i64::MIN),
            forgets_numbers: false,
            hears_sound: None,
            calibration: None,
            kept: Vec::new(),
            aligner,
            fixed_hold: fixed,
            kernel,
            max_open: open as i64,
            history: History::new(layout, keep.max(1), ahead),
            config,
            clocks: None,
            host: HostClock::new(),
            counters: Counters::new(sources),
            mics: (0..sources).map(|_| Mic::default()).collect(),
            chunks: Chunks::new(&layout, rate),
            undecided: Undecided::new(layout.sources()),
            outputs: VecDeque::with_capacity(64),
        }
    }

    /// The first cycle gets this id, in place of 0; before anything is fed.
    #[must_use]
    pub fn numbered_from(mut self, id: u64) -> Engine {
        self.history.number_from(id);
        self
    }

    /// Start of a turn of an engine that is alone: the clocks, read once.
    pub fn begin_turn(&mut self, clocks: Clocks) {
        self.host.turn(clocks, Span::ZERO);
        self.clocks = Some(clocks);
        self.counters.clock_steps = self.host.steps();
    }

    /// The same where several engines share one host, whose clocks were read for all of them.
    pub fn begin_turn_on(&mut self, host: &HostClock) {
        self.host = *host;
        self.clocks = host.clocks();
        self.counters.clock_steps = host.steps();
    }

    /// One datagram, in the order of the kernel's stamps within a turn.
    pub fn handle_datagram(&mut self, d: &Datagram<'_>) -> Verdict {
        let whole = d.len == d.bytes.len() && d.len <= self.config.max_datagram;
        if whole && !self.decide_or_hold(d, self.host.to_mono(d.stamp)) {
            return Verdict::Rejected(Reason::Undecided);
        }
        self.handle_known_format(d)
    }

    fn handle_known_format(&mut self, d: &Datagram<'_>) -> Verdict {
        let (at, max) = (self.host.to_mono(d.stamp), self.config.max_datagram);
        let whole = d.len == d.bytes.len() && d.len <= max;
        if whole && !self.mics[d.mic].wire.is_plain() {
            return self.handle_formatted(d);
        }
        let channels = self.config.layout.channels_of(d.mic).len();
        let parsed = match self.chunks.may_be_cut(d.mic, d.len, at) {
            true => Packet::parse_piece(d.bytes, d.len, max, channels),
            false => Packet::parse(d.bytes, d.len, max, channels),
        };
        self.handle_packet(d, parsed)
    }

    /// The same of a datagram whose samples were decoded already: `parsed` is what it holds, in as many channels as its source has.
    pub fn handle_packet(&mut self, d: &Datagram<'_>, parsed: Result<Packet<'_>, BadPayload>) -> Verdict {
        let at = self.host.to_mono(d.stamp);
        let admitted = match self.admit(d, parsed, at) {
            Ok(admitted) => admitted,
            Err(reason) => return Verdict::Rejected(reason),
        };
        let packet = admitted.packet;
        let len = packet.bytes().len();
        let again = admitted.again(d.sender);
        self.choose_clock(d, at);
        self.follow_rates(at);
        let heard = Heard { at, stamp: d.stamp, delay: self.clocks.map_or(Span::ZERO, |c| c.wall - d.stamp) };
        let in_order = self.is_ordered();
        let mut lacking = Lacking::default();
        let waits = self.chunks.must_wait(d.mic, len, heard, in_order, &mut lacking);
        self.note_lacking(d.mic, lacking);
        let mut frames = 0;
        let placed = if waits {
            frames = self.count_accepted(d.mic, len);
            self.chunks.wait(d.mic, heard, again, packet.bytes());
            self.place_waiting();
            Ok(Placed::OnTime)
        } else {
            self.note_learnt();
            self.place(d.mic, heard, again, packet.bytes())
        };
        let late = match placed {
            Ok(placed) => placed == Placed::Late,
            Err(reason) => return Verdict::Rejected(reason),
        };
        if !waits {
            frames = self.count_accepted(d.mic, len);
        }
        let heard = health::Heard { source: d.mic, at, stamp: d.stamp, payload: packet.bytes() };
        self.health.accepted(&heard, frames, None, d.sender, &mut self.outputs);
        if let Some(clocks) = self.clocks {
            self.meter.on_read(d.mic, d.stamp, clocks);
        }
        self.mics[d.mic].latest = Some(Latest { stamp: d.stamp, arrival: at, byte_count: d.len, sender: d.sender });
        Verdict::Accepted(Accepted { mic: d.mic, samples: packet.samples(), arrival: at, late })
    }

    /// What waited until it was known how its source cuts its chunks, and need not any longer.
    fn place_waiting(&mut self) {
        self.note_learnt();
        while let Some(waiting) = self.chunks.next_waiting(self.is_ordered()) {
            let placed = self.place(waiting.mic, waiting.heard, waiting.again, &waiting.bytes);
            if placed.is_err() {
                // It was counted as accepted when it came.
                let counters = &mut self.counters.mics[waiting.mic];
                counters.received -= 1;
                let frames = waiting.bytes.len() / self.history.frame_bytes(waiting.mic);
                counters.samples = counters.samples.saturating_sub(frames as u64);
            }
            self.chunks.recycle(waiting);
        }
    }

    fn note_learnt(&mut self) {
        while let Some(Learnt { mic, cut, changed }) = self.chunks.take_learnt() {
            self.mics[mic].recut |= changed;
            let mic = self.config.layout.name_of(mic);
            let line = match cut {
                Cut::Whole if changed => format!("{mic}: one datagram a chunk from now on"),
                Cut::Whole => continue,
                Cut::Pieces(pattern) => {
                    let pieces: Vec<String> = pattern.piece_samples().map(told_samples).collect();
                    format!("{mic}: chunks of {} samples, sent as {}", pattern.samples(), pieces.join(" + "))
                }
            };
            self.say(line);
        }
    }

    /// Places a datagram, as the part of a chunk that it is, and counts it.
    fn place(&mut self, mic: usize, heard: Heard, again: Again, bytes: &[u8]) -> Result<Placed, Reason> {
        let in_order = self.is_ordered();
        let mut lacking = Lacking::default();
        // The first datagram of a sender may be no part yet (it waits for others of its size), or none at all.
        self.mics[mic].again = self.mics[mic].again.max(again);
        let taken = self.chunks.take(mic, bytes, heard, in_order, &mut lacking);
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: self.clocks.map_or(heard.stamp, |c| c.wall),
        };
        let placed = match taken {
            Taken::Stranger => {
                self.counters.mics[mic].malformed += 1;
                return Err(Reason::Malformed);
            }
            Taken::Copy => Placed::Duplicate,
            Taken::Waits => Placed::OnTime,
            Taken::Part(part) => {
                let arrival = Arrival {
                    mic,
                    at: part.first.at,
                    stamp: part.first.stamp,
                    delay: part.first.delay,
                    newest_at: heard.at,
                    newest_stamp: heard.stamp,
                    chunk: part.chunk,
                    offset: part.offset,
                    samples: self.chunks.samples(mic, &part, bytes),
                    frame_bytes: sink.history.frame_bytes(mic),
                    again: self.mics[mic].again,
                    recut: self.mics[mic].recut,
                    split: part.split,
                };
                match &mut self.aligner {
                    Aligner::Shared(shared) if part.opens => shared.offer(&arrival, &mut sink),
                    Aligner::Shared(shared) => shared.join(&arrival, &mut sink),
                    Aligner::Independent(boards) if part.opens => boards.offer(&arrival, &mut sink),
                    Aligner::Independent(boards) => boards.join(&arrival, &mut sink),
                }
            }
        };
        let counters = &mut self.counters.mics[mic];
        if placed == Placed::Duplicate {
            if matches!(taken, Taken::Part(_)) {
                self.chunks.take_back_opening(mic);
            }
            counters.duplicate += 1;
            return Err(Reason::Duplicate);
        }
        if let Taken::Part(part) = taken {
            let payload = self.chunks.samples(mic, &part, bytes);
            let heard = health::Heard { source: mic, at: heard.at, stamp: heard.stamp, payload };
            self.health.placed(&heard, &mut self.outputs);
            self.mics[mic].again = Again::TheSame;
        }
        self.mics[mic].recut = false;
        self.note_lacking(mic, lacking);
        Ok(placed)
    }

    /// How many frames end in it, of each channel.
    fn count_accepted(&mut self, mic: usize, len: usize) -> u32 {
        let (counters, frame_bytes) = (&mut self.counters.mics[mic], self.history.frame_bytes(mic) as u32);
        counters.received += 1;
        let carried = (self.mics[mic].carry + len) as u32;
        self.mics[mic].carry = (carried % frame_bytes) as usize;
        counters.samples += u64::from(carried / frame_bytes);
        carried / frame_bytes
    }

    /// A chunk has ended that lacks pieces. Where nothing can be made of those that came, the aligner counts it lost, sooner or
    /// later: it is not, something came.
    fn note_lacking(&mut self, mic: usize, lacking: Lacking) {
        let counters = &mut self.counters.mics[mic];
        counters.lost_pieces += lacking.pieces;
        let unplaced = &mut self.mics[mic].unplaced;
        *unplaced += lacking.unplaced;
        let known = (*unplaced).min(counters.lost);
        counters.lost -= known;
        *unplaced -= known;
    }

    /// After a turn's datagrams, or when [`Engine::next_timeout`] has passed: holds that ran out.
    pub fn handle_timeout(&mut self) {
        let Some(clocks) = self.clocks else { return };
        self.time_passed(clocks.mono, clocks);
    }

    /// The same where what arrived after `stamp` is not all in yet: time has passed up to there.
    pub fn handle_timeout_as_of(&mut self, stamp: KernelTime) {
        let Some(clocks) = self.clocks else { return };
        self.time_passed(self.host.to_mono(stamp).min(clocks.mono), clocks);
    }

    fn time_passed(&mut self, now: MonoTime, clocks: Clocks) {
        if self.undecided.deadline().is_some_and(|end| now >= end) {
            self.end_looking();
        }
        let now = self.undecided.oldest().map_or(now, |oldest| oldest.min(now));
        if self.chunks.deadline().is_some_and(|end| now >= end) {
            self.chunks.handle_timeout(now);
            self.place_waiting();
        }
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: clocks.wall,
        };
        match &mut self.aligner {
            Aligner::Shared(shared) => shared.handle_timeout(now, &mut sink),
            Aligner::Independent(boards) => boards.handle_timeout(now, &mut sink),
        }
    }

    /// When [`Engine::handle_timeout`] has work to do, if nothing arrives before.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        if let Some(deadline) = self.undecided.deadline() {
            return Some(deadline);
        }
        let aligner = match &self.aligner {
            Aligner::Shared(shared) => shared.next_timeout(),
            Aligner::Independent(boards) => boards.next_timeout(),
        };
        aligner.into_iter().chain(self.chunks.deadline()).min()
    }

    /// What is ready to leave, in order. Drained after every call above.
    pub fn poll_output(&mut self) -> Option<Output> {
        match self.outputs.pop_front()? {
            Queued::Cycle(id) => {
                let cycle = self.history.cycle(id).expect("a cycle is kept until it has been told of");
                self.history.note_told(id);
                Some(Output::Cycle(cycle))
            }
            Queued::Log(line) => Some(Output::Log(line)),
        }
    }

    fn say(&mut self, line: String) {
        self.outputs.push_back(Queued::Log(line));
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the microphones are taken for at present: `shared` or `independent`. With `auto` it is `shared` until two senders have
    /// different addresses.
    pub fn clock_name(&self) -> &'static str {
        if self.is_shared() { "shared" } else { "independent" }
    }

    /// To be asked too: what was only noted is measured then.
    pub fn meter(&mut self) -> &mut SkewMeter {
        &mut self.meter
    }

    /// What is wrong with the microphones themselves.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the array is made of.
    pub fn layout(&self) -> &Layout {
        &self.config.layout
    }

    /// The newest accepted packet of a source.
    pub fn latest(&self, mic: usize) -> Option<&Latest> {
        self.mics[mic].latest.as_ref()
    }

    /// The clock of a source's samples.
    pub fn clock(&self, mic: usize) -> &ClockModel {
        match &self.aligner {
            Aligner::Shared(shared) => shared.clock(mic),
            Aligner::Independent(boards) => boards.clock(mic),
        }
    }

    /// Whether the microphones are taken to share one sample clock.
    pub fn is_shared(&self) -> bool {
        match &self.aligner {
            Aligner::Shared(_) => true,
            Aligner::Independent(boards) => boards.is_one_clock(),
        }
    }

    /// Whether the order of arrival tells which packets belong together.
    fn is_ordered(&self) -> bool {
        matches!(self.aligner, Aligner::Shared(_))
    }

    /// The longest wait for a missing packet at present.
    pub fn hold(&self) -> Span {
        match &self.aligner {
            Aligner::Shared(_) => self.fixed_hold.unwrap_or(LONGEST_HOLD),
            Aligner::Independent(boards) => boards.hold(),
        }
    }

    /// The socket's own drop counter, since start.
    pub fn note_kernel_drops(&mut self, mic: usize, total_since_start: u64) {
        self.counters.mics[mic].kernel_dropped = total_since_start;
    }

    /// A datagram came without a kernel timestamp; it is not placed.
    pub fn note_unstamped(&mut self, mic: usize) {
        self.counters.mics[mic].unstamped += 1;
    }

    /// Once a second of arrivals: when the loop was awake must not show in the figures.
    fn follow_rates(&mut self, at: MonoTime) {
        if at < self.rates_due {
            return;
        }
        self.rates_due = at + Span::from_secs(1);
        self.apply_kept();
        for mic in 0..self.mics.len() {
            self.tell_unnumbered(mic);
            if let Some(rate) = self.clock(mic).sharp_rate() {
                self.meter.follow_rate(mic, rate.ppm.0);
            }
        }
    }

    /// `auto`: one board until two live senders have different addresses.
    fn choose_clock(&mut self, d: &Datagram<'_>, at: MonoTime) {
        if self.config.clock != ClockChoice::Auto || !self.is_shared() {
            return;
        }
        let live = |latest: &Latest| at - latest.arrival < intake::SENDER_TIMEOUT;
        // One that is heard on and has not moved was looked at when it came, or when another did.
        if self.mics[d.mic].latest.as_ref().is_some_and(|own| live(own) && own.sender == d.sender) {
            return;
        }
        let others = self.mics.iter().enumerate().filter(|&(mic, _)| mic != d.mic);
        let differs = |latest: &Latest| live(latest) && latest.sender.ip() != d.sender.ip();
        if !others.filter_map(|(_, mic)| mic.latest.as_ref()).any(differs) {
            return;
        }
        self.say("the microphones have several senders: independent clocks".to_owned());
        match &mut self.aligner {
            Aligner::Shared(_) => self.set_free(d, at, false),
            Aligner::Independent(boards) => boards.set_one_clock(false),
        }
    }
}

/// What resamples an array, where that is wanted.
fn resampling(kernel: Option<&Arc<Kernel>>, layout: &Layout, sample_rate: u32) -> Option<Resampling> {
    let channels = (0..layout.sources()).map(|source| layout.channels_of(source).len());
    kernel.map(|kernel| Resampling::new(kernel.clone(), channels, sample_rate))
}

/// A number of samples in words: whole, but for a boundary inside a frame.
fn told_samples(samples: f64) -> String {
    format!("{}", (samples * 100.0).round() / 100.0)
}
