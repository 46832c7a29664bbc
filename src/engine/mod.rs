//! The engine: datagrams and time in, aligned cycles and figures out.
//!
//! Pure: it has no clock, no socket, no thread and no unsafe. `serve` runs it on a ring, `analyze` on a recording, and the
//! tests in virtual time; all three get the same decisions from the same bytes and stamps.
//!
//! One packet's way: `intake` knows its sender and `packet` its samples; `align` decides which cycle it belongs to; its
//! samples are copied once, into `history`; the cycle leaves as an [`Output`] when it is complete and its position certain.

mod align;
mod boards;
pub mod clock;
mod desync;
pub mod figures;
mod grid;
pub mod history;
pub mod hostclock;
pub mod intake;
mod lag;
mod late;
pub mod packet;
mod resample;
mod review;
mod sinc;
pub mod skew;
mod skips;
mod spread;
mod stream;
mod tail;
mod tally;
mod trend;
pub mod window;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::MICS;
use crate::cycle::{Clocks, Cycle};
use crate::time::{KernelTime, MonoTime, Span};
use align::{Arrival, Placed, SharedAligner};
use boards::Boards;
use clock::{Again, ClockModel};
use figures::{Alignment, Counters, Known, PAIRS};
use history::History;
use hostclock::HostClock;
use intake::Follow;
use packet::Packet;
use resample::Resampling;
use sinc::Kernel;
use skew::SkewMeter;
use tail::Sink;

/// What a user may choose about alignment. See `cli.rs` for the options.
#[derive(Clone, Debug)]
pub struct Config {
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
    /// Which socket: 0, 1, 2.
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
    pub mic: usize,
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
}

/// What the engine hands out, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A cycle left: its samples are in the history.
    Cycle(Cycle),
    /// A line for people, without a line end.
    Log(String),
}

/// The newest accepted packet of a microphone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Latest {
    pub stamp: KernelTime,
    pub arrival: MonoTime,
    pub byte_count: usize,
    pub sender: SocketAddr,
}

/// Longest wait for what is missing or undecided: contract section 3.
pub const LONGEST_HOLD: Span = Span::from_millis(40);

/// How packets become cycles.
#[derive(Debug)]
enum Aligner {
    Shared(Box<SharedAligner>),
    Independent(Box<Boards>),
}

/// Three microphones' datagrams in, aligned cycles out.
pub struct Engine {
    config: Config,
    clocks: Option<Clocks>,
    host: HostClock,
    counters: Counters,
    follow: [Follow; MICS],
    latest: [Option<Latest>; MICS],
    aligner: Aligner,
    fixed_hold: Option<Span>,
    /// Made at the start: it takes milliseconds.
    kernel: Option<Arc<Kernel>>,
    max_open: i64,
    history: History,
    outputs: VecDeque<Output>,
    meter: SkewMeter,
    /// When the meter is next told the clocks' rates: delays are looked at with the drift taken out.
    rates_due: MonoTime,
}

impl Engine {
    pub fn new(config: Config) -> Engine {
        let keep = (config.history.as_secs_f64() * f64::from(config.sample_rate)).ceil() as usize;
        // Cycles not yet emitted: a backlog of a second, and what its last packets may add.
        let open = config.sample_rate as usize;
        let ahead = open + MICS * config.max_datagram.div_ceil(packet::SAMPLE_BYTES);
        let fixed = match config.hold {
            Hold::Auto => None,
            Hold::Fixed(hold) => Some(hold),
        };
        let kernel = config.resample.then(|| Arc::new(Kernel::new()));
        let aligner = match config.clock {
            ClockChoice::Independent => {
                let resampling = kernel.clone().map(|kernel| Resampling::new(kernel, config.sample_rate));
                Aligner::Independent(Box::new(Boards::new(config.sample_rate, fixed, open as i64, resampling)))
            }
            ClockChoice::Auto | ClockChoice::Shared => {
                let hold = fixed.unwrap_or(LONGEST_HOLD);
                Aligner::Shared(Box::new(SharedAligner::new(config.sample_rate, hold, open as i64)))
            }
        };
        Engine {
            meter: SkewMeter::new(config.sample_rate),
            rates_due: MonoTime::from_nanos(i64::MIN),
            aligner,
            fixed_hold: fixed,
            kernel,
            max_open: open as i64,
            history: History::new(keep.max(1), ahead),
            config,
            clocks: None,
            host: HostClock::new(),
            counters: Counters::default(),
            follow: Default::default(),
            latest: [None; MICS],
            outputs: VecDeque::with_capacity(64),
        }
    }

    /// Start of a turn: the clocks, read once.
    pub fn begin_turn(&mut self, clocks: Clocks) {
        self.begin_turn_read_within(clocks, Span::ZERO);
    }

    /// The same, where the two clocks were read so far apart; a wide bracket says little about their offset.
    pub fn begin_turn_read_within(&mut self, clocks: Clocks, bracket: Span) {
        self.clocks = Some(clocks);
        self.host.turn(clocks, bracket);
        if self.host.steps() > self.counters.clock_steps {
            self.counters.clock_steps = self.host.steps();
            self.outputs.push_back(Output::Log("the host's realtime clock stepped; audio is not affected".to_owned()));
        }
    }

    /// One datagram, in the order of the kernel's stamps within a turn.
    pub fn handle_datagram(&mut self, d: &Datagram<'_>) -> Verdict {
        let at = self.host.to_mono(d.stamp);
        let parsed = Packet::parse(d.bytes, d.len, self.config.max_datagram);
        let counters = &mut self.counters.mics[d.mic];
        let admitted = match self.follow[d.mic].admit(d.sender, parsed, at, counters) {
            Ok(admitted) => admitted,
            Err(reason) => return Verdict::Rejected(reason),
        };
        if let Some(old) = admitted.replaced {
            let line = format!("mic {}: now follows {} (was {old}, silent for 500 ms)", d.mic, d.sender);
            self.outputs.push_back(Output::Log(line));
            self.meter.on_restart(d.mic);
        }
        let (packet, new_sender) = (admitted.packet, admitted.replaced.is_some());
        self.choose_clock(d, at);
        self.follow_rates(at);
        let again = match admitted.replaced {
            None => Again::TheSame,
            Some(old) if old.ip() == d.sender.ip() => Again::AnotherPort,
            Some(_) => Again::AnotherBoard,
        };
        let arrival = Arrival { mic: d.mic, at, stamp: d.stamp, packet, new_sender, again };
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: self.clocks.map_or(d.stamp, |c| c.wall),
        };
        let placed = match &mut self.aligner {
            Aligner::Shared(shared) => shared.offer(&arrival, &mut sink),
            Aligner::Independent(boards) => boards.offer(&arrival, &mut sink),
        };
        let counters = &mut self.counters.mics[d.mic];
        if placed == Placed::Duplicate {
            counters.duplicate += 1;
            return Verdict::Rejected(Reason::Duplicate);
        }
        if let Some(clocks) = self.clocks {
            self.meter.on_read(d.mic, d.stamp, clocks);
        }
        let samples = packet.samples();
        counters.received += 1;
        counters.samples += u64::from(samples);
        self.latest[d.mic] = Some(Latest { stamp: d.stamp, arrival: at, byte_count: d.len, sender: d.sender });
        Verdict::Accepted(Accepted { mic: d.mic, samples, arrival: at, late: placed == Placed::Late })
    }

    /// After a turn's datagrams, or when [`Engine::next_timeout`] has passed: holds that ran out.
    pub fn handle_timeout(&mut self) {
        let Some(clocks) = self.clocks else { return };
        let mut sink = Sink {
            history: &mut self.history,
            counters: &mut self.counters,
            outputs: &mut self.outputs,
            meter: &mut self.meter,
            wall: clocks.wall,
        };
        match &mut self.aligner {
            Aligner::Shared(shared) => shared.handle_timeout(clocks.mono, &mut sink),
            Aligner::Independent(boards) => boards.handle_timeout(clocks.mono, &mut sink),
        }
    }

    /// When [`Engine::handle_timeout`] has work to do, if nothing arrives before.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        match &self.aligner {
            Aligner::Shared(shared) => shared.next_timeout(),
            Aligner::Independent(boards) => boards.next_timeout(),
        }
    }

    /// What is ready to leave, in order. Drained after every call above.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the microphones are taken for at present: `shared` or `independent`. With `auto` it is `shared` until two senders have
    /// different addresses.
    pub fn clock_name(&self) -> &'static str {
        if self.is_shared() { "shared" } else { "independent" }
    }

    pub fn meter(&self) -> &SkewMeter {
        &self.meter
    }

    pub fn meter_mut(&mut self) -> &mut SkewMeter {
        &mut self.meter
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The newest accepted packet of a microphone.
    pub fn latest(&self, mic: usize) -> Option<&Latest> {
        self.latest[mic].as_ref()
    }

    /// The clock of a microphone's samples.
    pub fn clock(&self, mic: usize) -> &ClockModel {
        match &self.aligner {
            Aligner::Shared(shared) => shared.clock(mic),
            Aligner::Independent(boards) => boards.clock(mic),
        }
    }

    /// The host's clocks, and their steps.
    pub fn host_clock(&self) -> &HostClock {
        &self.host
    }

    /// Whether the microphones are taken to share one sample clock.
    pub fn is_shared(&self) -> bool {
        matches!(self.aligner, Aligner::Shared(_))
    }

    /// How far the channels of each pair are apart as they are placed.
    pub fn alignment(&self, now: MonoTime) -> [Known<Alignment>; PAIRS.len()] {
        PAIRS.map(|(first, second)| match &self.aligner {
            Aligner::Independent(boards) => boards.alignment(first, second, now),
            Aligner::Shared(_) if self.latest[first].is_none() || self.latest[second].is_none() => {
                Err("a microphone was never heard")
            }
            Aligner::Shared(_) => Ok(Alignment {
                offset: Span::ZERO,
                uncertainty: Span::ZERO,
                leaves_out: None,
                reason: Some("one board sends in order: the order places the samples"),
            }),
        })
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
        for mic in 0..MICS {
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
        if self.latest[d.mic].as_ref().is_some_and(|own| live(own) && own.sender == d.sender) {
            return;
        }
        let others = self.latest.iter().enumerate().filter(|&(mic, _)| mic != d.mic);
        let differs = |latest: &Latest| live(latest) && latest.sender.ip() != d.sender.ip();
        if !others.filter_map(|(_, latest)| latest.as_ref()).any(differs) {
            return;
        }
        self.outputs.push_back(Output::Log("the microphones have several senders: independent clocks".to_owned()));
        if let Aligner::Shared(shared) = &mut self.aligner {
            let mut sink = Sink {
                history: &mut self.history,
                counters: &mut self.counters,
                outputs: &mut self.outputs,
                meter: &mut self.meter,
                wall: self.clocks.map_or(d.stamp, |c| c.wall),
            };
            shared.finish(at, &mut sink);
        }
        let rate = self.config.sample_rate;
        let resampling = self.kernel.clone().map(|kernel| Resampling::new(kernel, rate));
        let boards = Boards::new(rate, self.fixed_hold, self.max_open, resampling);
        self.aligner = Aligner::Independent(Box::new(boards));
        // Each counts its positions from 0 again.
        (0..MICS).for_each(|mic| self.meter.on_restart(mic));
    }
}
