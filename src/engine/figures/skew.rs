//! SkewMeter: how far apart the microphones arrive, and how much of that the loop itself adds.
//!
//! The old server mixed three things into one number: what the network does (packets of one capture cycle arrive apart),
//! what the receiver does (it looks at them late, and at each with another delay), and what the clocks do (they drift). Here
//! each has its own figure, from the kernel's receive timestamps:
//!
//! - arrival skew: difference of two kernel arrivals inside a cycle. The network and the board, nothing of ours.
//! - loop delay, loop skew, emit delay: what the loop adds, from the stamp until the read and until the event leaves.
//! - jitter and packet delay variation: of each microphone alone, against its own sample positions.
//!
//! Every figure exists since start ([`Tally`]) and for the last ten seconds ([`Recent`]). Nothing is allocated a packet. What comes is
//! [noted](super::notes) first, and measured later: some cycles at a time, or when somebody asks.

use crate::engine::figures::tuning::skew::{SKIPS, TRACED};
use std::collections::VecDeque;

use super::notes::{Note, Notes};
use super::tally::Tally;
use super::trend::TrendMeter;
use super::window::Recent;
use crate::array::{Each, pairs};
use crate::cycle::Clocks;
use crate::engine::clock::sent::{Delays, YOUNG};
use crate::engine::figures::{Distribution, Known, SkewFigures, SkewHistograms};
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Delays on a host: from a read on a spinning core (microseconds) to a stopped process (a second).
const DELAY_BOUNDS: &[Span] = &[
    Span::from_micros(1),
    Span::from_micros(2),
    Span::from_micros(5),
    Span::from_micros(10),
    Span::from_micros(20),
    Span::from_micros(50),
    Span::from_micros(100),
    Span::from_micros(200),
    Span::from_micros(500),
    Span::from_millis(1),
    Span::from_millis(2),
    Span::from_millis(5),
    Span::from_millis(10),
    Span::from_millis(20),
    Span::from_millis(50),
    Span::from_millis(100),
    Span::from_secs(1),
];

/// Skews: fine where one board sends (100 us apart), coarse up to the longest hold (40 ms).
const SKEW_BOUNDS: &[Span] = &[
    Span::from_millis(-40),
    Span::from_millis(-20),
    Span::from_millis(-10),
    Span::from_millis(-5),
    Span::from_millis(-2),
    Span::from_millis(-1),
    Span::from_micros(-500),
    Span::from_micros(-200),
    Span::from_micros(-100),
    Span::from_micros(-50),
    Span::ZERO,
    Span::from_micros(50),
    Span::from_micros(100),
    Span::from_micros(200),
    Span::from_micros(500),
    Span::from_millis(1),
    Span::from_millis(2),
    Span::from_millis(5),
    Span::from_millis(10),
    Span::from_millis(20),
    Span::from_millis(40),
];

const NO_PACKET: &str = "no packet yet";
const NO_CYCLE: &str = "no complete cycle yet";
const NO_PACKET_LATELY: &str = "no packet in the last 10 s";
const NO_CYCLE_LATELY: &str = "no complete cycle in the last 10 s";
const NOT_SENT: &str = "no complete cycle was sent to a subscriber yet";
const NOT_SENT_LATELY: &str = "no complete cycle was sent to a subscriber in the last 10 s";
const NO_PAIR: &str = "no cycle with both microphones yet";
const NO_PAIR_LATELY: &str = "no cycle with both microphones in the last 10 s";

/// One quantity, since start and in the window.
struct Meter {
    since_start: Tally,
    recent: Recent,
}

impl Meter {
    fn of(since_start: Tally) -> Meter {
        Meter { since_start, recent: Recent::new() }
    }

    fn record(&mut self, value: Span, now: MonoTime) {
        self.since_start.record(value);
        self.recent.record(value, now);
    }
}

/// Positions between two packets that the second was numbered behind: what was between them is taken for lost.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    frames: i64,
    /// Packets measured before it.
    before: u64,
}

/// Where a packet ended on its microphone's own axis, and when it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub mic: usize,
    /// How often the channel had locked anew: positions before and after that have nothing in common.
    pub restarts: u64,
    pub end: FramePos,
    pub arrival: MonoTime,
    /// Its cycle had left without it: packets behind it may have been placed before.
    pub late: bool,
}

/// Jitter and delay variation of one microphone.
struct Variation {
    newest: Option<Ended>,
    /// Where the newest one that was not late ended.
    edge: Option<FramePos>,
    restarts: u64,
    /// RFC 3550 6.4.1, in nanoseconds; `None` until two packets were placed.
    jitter_ns: Option<f64>,
    /// Relative rate error of the microphone's clock against the host's.
    rate: f64,
    /// Delay of the newest packet above that of the first, in nanoseconds, with the drift taken out.
    delay_ns: f64,
    /// Those delays in the last ten seconds.
    delays: Recent,
    /// Packets measured.
    measured: u64,
    /// The newest skips that were not taken back.
    skips: VecDeque<Skipped>,
    above_minimum: Tally,
}

impl Variation {
    fn new() -> Variation {
        Variation {
            newest: None,
            edge: None,
            restarts: 0,
            jitter_ns: None,
            rate: 0.0,
            delay_ns: 0.0,
            delays: Recent::new(),
            measured: 0,
            skips: VecDeque::with_capacity(SKIPS),
            above_minimum: Tally::unsigned(DELAY_BOUNDS),
        }
    }

    fn restart(&mut self) {
        self.newest = None;
        self.edge = None;
        self.restarts += 1;
        self.delay_ns = 0.0;
        self.delays.clear();
        self.skips.clear();
    }

    /// `first`: where it begins, if that says what is between it and the packet before it.
    fn on_placed(&mut self, placed: Ended, first: Option<FramePos>, sample_rate: u32) {
        if let Some(first) = first {
            if let Some(edge) = self.edge {
                self.note_skip(first - edge, placed.end - first, sample_rate);
            }
            self.edge = Some(placed.end);
        }
        if let Some(before) = self.newest {
            let arrivals_ns = (placed.arrival - before.arrival).as_nanos() as f64;
            let frames_ns = (placed.end - before.end) as f64 * 1e9 / f64::from(sample_rate);
            // D(i-1, i) = (R_i - R_(i-1)) - (S_i - S_(i-1)); J = J + (|D| - J) / 16.
            let difference = arrivals_ns - frames_ns;
            let jitter = self.jitter_ns.unwrap_or(0.0);
            self.jitter_ns = Some(jitter + (difference.abs() - jitter) / 16.0);
            self.delay_ns += arrivals_ns - frames_ns / (1.0 + self.rate);
        }
        self.newest = Some(placed);
        self.measured += 1;
        let delay = Span::from_nanos(self.delay_ns.round() as i64);
        self.delays.record(delay, placed.arrival);
        let minimum = self.delays.min().unwrap_or(delay).min(delay);
        self.above_minimum.record(delay - minimum);
    }

    /// A packet of `frames` was numbered `gap` behind the one before it. Behind its end: a skip. So far before it that a skip must have been taken
    /// back: what was measured since stood too high by as much, and so came that much later than it seemed.
    fn note_skip(&mut self, gap: i64, frames: i64, sample_rate: u32) {
        if gap > 0 {
            if self.skips.len() == SKIPS {
                self.skips.pop_front();
            }
            self.skips.push_back(Skipped { frames: gap, before: self.measured });
        } else if gap <= -frames.max(1) {
            let frames = -gap;
            // The engine takes back the newest of as many, or the newest.
            let alike = self.skips.iter().rposition(|skip| skip.frames == frames);
            let skip = alike.or(self.skips.len().checked_sub(1)).and_then(|i| self.skips.remove(i));
            let late_ns = frames as f64 * 1e9 / f64::from(sample_rate) / (1.0 + self.rate);
            let since = skip.map_or(0, |skip| skip.before);
            self.delays.shift_newest(self.measured - since, Span::from_nanos(late_ns.round() as i64));
        }
    }

    /// Delays of the window above the smallest of them, RFC 5481 4.2.
    fn window(&mut self, now: MonoTime) -> Option<Distribution> {
        let delays = self.delays.distribution(now)?;
        Some(Distribution {
            count: delays.count,
            last: delays.last - delays.min,
            min: Span::ZERO,
            p50: delays.p50 - delays.min,
            p90: delays.p90 - delays.min,
            p99: delays.p99 - delays.min,
            p999: delays.p999 - delays.min,
            max: delays.max - delays.min,
            mean: delays.mean - delays.min,
        })
    }
}

/// Two microphones.
struct Pair {
    arrival_skew: Meter,
    trend: TrendMeter,
}

/// One microphone: a source, of one or more channels.
struct Mic {
    loop_delay: Meter,
    variation: Variation,
    /// Where the sender's clock is known; made with the first.
    sent: Option<Box<SentMeter>>,
}

/// What the sender added, and what the network did.
struct SentMeter {
    sender: Meter,
    network: Meter,
}

/// All that is measured, once noted.
struct Meters {
    sample_rate: u32,
    pairs: Vec<Pair>,
    mics: Vec<Mic>,
    loop_skew: Meter,
    emit_delay: Meter,
    /// Of the newest complete cycle; empty before the first.
    latest_stamps: Vec<KernelTime>,
    /// The cycle whose notes are being read: arrivals, stamps, and the shortest and the longest loop delay.
    arrivals: Vec<Option<MonoTime>>,
    stamps: Vec<KernelTime>,
    delays: (Span, Span),
    trace: Option<VecDeque<Ended>>,
}

/// See the top of the file.
pub struct SkewMeter {
    notes: Notes,
    meters: Box<Meters>,
}

impl SkewMeter {
    pub fn new(mics: usize, sample_rate_hz: u32) -> SkewMeter {
        SkewMeter { notes: Notes::default(), meters: Box::new(Meters::new(mics, sample_rate_hz)) }
    }

    /// An accepted packet of `mic` was read by the loop: its loop delay.
    ///
    /// A stamp later than the clock of the turn says nothing about the delay (the packet came after the clock was read, or the
    /// clock was stepped back) and is left out.
    pub fn on_read(&mut self, mic: usize, stamp: KernelTime, clocks: Clocks) {
        let delay = clocks.wall - stamp;
        if delay >= Span::ZERO {
            self.note(Note::Read { mic: mic as u16, delay, now: clocks.mono });
        }
    }

    /// How late a packet of `mic` was by the sender's own clock, and by the path's.
    pub fn on_sent(&mut self, mic: usize, delays: Delays, now: MonoTime) {
        let mic = mic as u16;
        delays.sender.into_iter().for_each(|delay| self.note(Note::Kept { mic, delay, now }));
        delays.network.into_iter().for_each(|delay| self.note(Note::UnderWay { mic, delay, now }));
    }

    /// The rate error of `mic` against the host, as its clock model knows it: delay variation is measured with the drift
    /// taken out. Until told, a clock of c ppm adds up to 10 c microseconds.
    pub fn follow_rate(&mut self, mic: usize, ppm: f64) {
        self.note(Note::Rate { mic: mic as u16, ppm });
    }

    /// The channel locks anew (another sender, a reboot): what comes next has no delay in common with what came before.
    pub fn on_restart(&mut self, mic: usize) {
        self.note(Note::Restart { mic: mic as u16 });
    }

    /// The position of a packet is known: it begins at `first`, ends before `end`, and arrived at `arrival`. Jitter and delay variation.
    pub fn on_placed(&mut self, mic: usize, first: FramePos, end: FramePos, arrival: MonoTime) {
        self.note(Note::Placed { mic: mic as u16, first, end, arrival });
    }

    /// The same of one that came after its cycle had left. RFC 3550 takes packets in the order of their arrival, "not
    /// necessarily in sequence": this is just the order in which a late one is told of.
    pub fn on_late(&mut self, mic: usize, end: FramePos, arrival: MonoTime) {
        self.note(Note::Late { mic: mic as u16, end, arrival });
    }

    /// From now on, keeps each packet that is placed for [`take_placed`](SkewMeter::take_placed): an analysis looks at them all.
    pub fn trace(&mut self) {
        self.measured().trace = Some(VecDeque::new());
    }

    /// The next packet that was placed, in their order. The oldest of more than 8192 that nobody took are dropped.
    pub fn take_placed(&mut self) -> Option<Ended> {
        self.measured().trace.as_mut()?.pop_front()
    }

    /// A cycle leaves with these microphones in it: skew of each pair that is there. It is taken from `arrivals`, which no
    /// step of the wall clock moves.
    pub fn on_cycle(&mut self, arrivals: impl Iterator<Item = Option<MonoTime>>, now: MonoTime) {
        for (mic, arrival) in arrivals.enumerate() {
            arrival.into_iter().for_each(|arrival| self.note(Note::Here { mic: mic as u16, arrival }));
        }
        self.note(Note::Cycle { now });
    }

    /// It is complete as well: the stamp and the loop delay of each microphone. Stamps are kept for
    /// [`latest_offsets`](SkewMeter::latest_offsets), so that anyone can check it against the event.
    pub fn on_complete(&mut self, heard: impl Iterator<Item = (KernelTime, Span)>, now: MonoTime) {
        heard.for_each(|(stamp, delay)| self.note(Note::Heard { stamp, delay }));
        self.note(Note::Complete { now });
    }

    /// The kernel has the event of a complete cycle, to be sent, `delay` after the kernel's timestamp of the packet that completed it.
    /// A negative delay (the clock was stepped back) is left out.
    pub fn on_handed(&mut self, delay: Span, now: MonoTime) {
        if delay >= Span::ZERO {
            self.note(Note::Handed { delay, now });
        }
    }

    fn note(&mut self, note: Note) {
        if self.notes.is_full() {
            self.measure();
        }
        self.notes.push(note);
    }

    /// Whether so much is noted that it should be measured soon: [`measure`](SkewMeter::measure). Else it is when there is no more room for
    /// notes, in the midst of a packet.
    pub fn should_measure(&self) -> bool {
        self.notes.are_many()
    }

    /// Measures what was noted. Some ten microseconds.
    pub fn measure(&mut self) {
        self.notes.drain().for_each(|note| self.meters.take(note));
    }

    /// With all that came in it.
    fn measured(&mut self) -> &mut Meters {
        self.measure();
        &mut self.meters
    }

    /// Kernel timestamp of each source minus that of the first, in the newest complete cycle; `None` before one.
    pub fn latest_offsets(&mut self) -> Option<Vec<Span>> {
        let stamps = &self.measured().latest_stamps;
        let first = *stamps.first()?;
        Some(stamps.iter().map(|stamp| *stamp - first).collect())
    }

    pub fn since_start(&mut self) -> SkewFigures {
        self.measured().since_start()
    }

    /// The last ten seconds before `now`. Jitter has a memory of 16 packets by definition: it is the same as since start,
    /// or unknown when no packet came in the window.
    pub fn window(&mut self, now: MonoTime) -> SkewFigures {
        self.measured().window(now)
    }

    /// The buckets since start, as Prometheus wants them.
    pub fn histograms(&mut self) -> SkewHistograms {
        self.measured().histograms()
    }
}

impl Meters {
    fn new(mics: usize, sample_rate_hz: u32) -> Meters {
        let delay = || Meter::of(Tally::unsigned(DELAY_BOUNDS));
        let skew = || Meter::of(Tally::signed(SKEW_BOUNDS));
        Meters {
            sample_rate: sample_rate_hz,
            pairs: pairs(mics).map(|_| Pair { arrival_skew: skew(), trend: TrendMeter::default() }).collect(),
            mics: (0..mics).map(|_| Mic { loop_delay: delay(), variation: Variation::new(), sent: None }).collect(),
            loop_skew: delay(),
            emit_delay: delay(),
            latest_stamps: Vec::with_capacity(mics),
            arrivals: vec![None; mics],
            stamps: Vec::with_capacity(mics),
            delays: (Span::MAX, Span::ZERO),
            trace: None,
        }
    }

    /// In the order in which it was noted.
    fn take(&mut self, note: Note) {
        match note {
            Note::Read { mic, delay, now } => self.mics[usize::from(mic)].loop_delay.record(delay, now),
            Note::Kept { mic, delay, now } => self.sent(mic).sender.record(delay, now),
            Note::UnderWay { mic, delay, now } => self.sent(mic).network.record(delay, now),
            Note::Rate { mic, ppm } => self.mics[usize::from(mic)].variation.rate = ppm / 1e6,
            Note::Restart { mic } => self.mics[usize::from(mic)].variation.restart(),
            Note::Placed { mic, first, end, arrival } => self.place(mic, Some(first), end, arrival),
            Note::Late { mic, end, arrival } => self.place(mic, None, end, arrival),
            Note::Here { mic, arrival } => self.arrivals[usize::from(mic)] = Some(arrival),
            Note::Cycle { now } => self.end_cycle(now),
            Note::Heard { stamp, delay } => {
                self.stamps.push(stamp);
                self.delays = (self.delays.0.min(delay), self.delays.1.max(delay));
            }
            Note::Complete { now } => {
                std::mem::swap(&mut self.latest_stamps, &mut self.stamps);
                self.stamps.clear();
                let (shortest, longest) = std::mem::replace(&mut self.delays, (Span::MAX, Span::ZERO));
                self.loop_skew.record(longest - shortest, now);
            }
            Note::Handed { delay, now } => self.emit_delay.record(delay, now),
        }
    }

    fn sent(&mut self, mic: u16) -> &mut SentMeter {
        let meter = || Meter::of(Tally::unsigned(DELAY_BOUNDS));
        let new = || Box::new(SentMeter { sender: meter(), network: meter() });
        self.mics[usize::from(mic)].sent.get_or_insert_with(new)
    }

    fn place(&mut self, mic: u16, first: Option<FramePos>, end: FramePos, arrival: MonoTime) {
        let variation = &mut self.mics[usize::from(mic)].variation;
        let placed = Ended { mic: mic.into(), restarts: variation.restarts, end, arrival, late: first.is_none() };
        variation.on_placed(placed, first, self.sample_rate);
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACED {
                trace.pop_front();
            }
            trace.push_back(placed);
        }
    }

    fn end_cycle(&mut self, now: MonoTime) {
        for (pair, (first, second)) in self.pairs.iter_mut().zip(pairs(self.mics.len())) {
            if let (Some(first), Some(second)) = (self.arrivals[first], self.arrivals[second]) {
                pair.arrival_skew.record(second - first, now);
                pair.trend.record(second - first, now);
            }
        }
        self.arrivals.fill(None);
    }

    fn since_start(&self) -> SkewFigures {
        let of = |meter: &Meter, reason| meter.since_start.distribution().ok_or(reason);
        let sent = |half: fn(&SentMeter) -> &Meter| {
            let of = |mic: &Mic| mic.sent.as_ref().ok_or(YOUNG).and_then(|sent| of(half(sent), YOUNG));
            self.mics.iter().map(of).collect()
        };
        SkewFigures {
            sender_delay: sent(|sent| &sent.sender),
            network_delay: sent(|sent| &sent.network),
            arrival_skew: self.pairs.iter().map(|pair| of(&pair.arrival_skew, NO_PAIR)).collect(),
            arrival_trend: self.pairs.iter().map(|pair| pair.trend.since_start()).collect(),
            loop_delay: self.mics.iter().map(|mic| of(&mic.loop_delay, NO_PACKET)).collect(),
            loop_skew: of(&self.loop_skew, NO_CYCLE),
            emit_delay: of(&self.emit_delay, NOT_SENT),
            jitter: self.mics.iter().map(Mic::jitter).collect(),
            delay_variation: self
                .mics
                .iter()
                .map(|mic| mic.variation.above_minimum.distribution().ok_or(NO_PACKET))
                .collect(),
        }
    }

    fn window(&mut self, now: MonoTime) -> SkewFigures {
        let of = |meter: &mut Meter, reason| meter.recent.distribution(now).ok_or(reason);
        let delay_variation: Each<Known<Distribution>> =
            self.mics.iter_mut().map(|mic| mic.variation.window(now).ok_or(NO_PACKET_LATELY)).collect();
        let mut sent = |half: fn(&mut SentMeter) -> &mut Meter| {
            let of = |mic: &mut Mic| {
                let meter = half(mic.sent.as_mut().ok_or(YOUNG)?);
                let ever = meter.since_start.distribution().is_some();
                of(meter, if ever { NO_PACKET_LATELY } else { YOUNG })
            };
            self.mics.iter_mut().map(of).collect()
        };
        let (sender_delay, network_delay) = (sent(|sent| &mut sent.sender), sent(|sent| &mut sent.network));
        let lately = self.mics.iter().zip(&delay_variation);
        SkewFigures {
            sender_delay,
            network_delay,
            jitter: lately.map(|(mic, heard)| heard.and_then(|_| mic.jitter())).collect(),
            arrival_skew: self.pairs.iter_mut().map(|pair| of(&mut pair.arrival_skew, NO_PAIR_LATELY)).collect(),
            arrival_trend: self.pairs.iter_mut().map(|pair| pair.trend.window(now)).collect(),
            loop_delay: self.mics.iter_mut().map(|mic| of(&mut mic.loop_delay, NO_PACKET_LATELY)).collect(),
            loop_skew: of(&mut self.loop_skew, NO_CYCLE_LATELY),
            emit_delay: of(&mut self.emit_delay, NOT_SENT_LATELY),
            delay_variation,
        }
    }

    fn histograms(&self) -> SkewHistograms {
        SkewHistograms {
            arrival_skew: self.pairs.iter().map(|pair| pair.arrival_skew.since_start.buckets()).collect(),
            loop_delay: self.mics.iter().map(|mic| mic.loop_delay.since_start.buckets()).collect(),
            loop_skew: self.loop_skew.since_start.buckets(),
            emit_delay: self.emit_delay.since_start.buckets(),
            delay_variation: self.mics.iter().map(|mic| mic.variation.above_minimum.buckets()).collect(),
        }
    }
}

impl Mic {
    fn jitter(&self) -> Known<Span> {
        let jitter = self.variation.jitter_ns.ok_or("needs two packets")?;
        Ok(Span::from_nanos(jitter.round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: i64 = 512;

    fn mono(us: i64) -> MonoTime {
        MonoTime::from_nanos(us * 1_000)
    }
    fn wall(us: i64) -> KernelTime {
        KernelTime::from_nanos(1_795_345_500_000_000_000 + us * 1_000)
    }

    #[test]
    fn nothing_measured_is_unknown_with_a_reason() {
        let mut meter = SkewMeter::new(3, 48_000);
        assert_eq!(meter.since_start().loop_delay[0], Err(NO_PACKET));
        assert_eq!(meter.since_start().arrival_skew[2], Err(NO_PAIR));
        assert_eq!(meter.since_start().loop_skew, Err(NO_CYCLE));
        assert_eq!(meter.window(mono(0)).emit_delay, Err(NOT_SENT_LATELY));
        assert!(meter.since_start().jitter[1].is_err());
        assert_eq!(meter.latest_offsets(), None);
    }

    #[test]
    fn skew_is_the_second_minus_the_first_and_survives_a_step_of_the_wall_clock() {
        let mut meter = SkewMeter::new(3, 48_000);
        let arrivals = [mono(1_000), mono(1_250), mono(900)];
        // The wall clock was stepped by a second between the packets.
        let stamps = [wall(1_000), wall(1_001_250), wall(1_000_900)];
        let delays = [Span::from_micros(40), Span::from_micros(37), Span::from_micros(46)];
        meter.on_cycle(arrivals.into_iter().map(Some), mono(1_300));
        meter.on_complete(stamps.into_iter().zip(delays), mono(1_300));
        let seen = meter.window(mono(1_300));
        let skews: Vec<i64> = seen.arrival_skew.iter().map(|d| d.unwrap().last.as_micros()).collect();
        assert_eq!(skews, [250, -100, -350]);
        assert_eq!(seen.loop_skew.unwrap().max, Span::from_micros(9));
        let offsets = [0, 1_000_250, 999_900].map(Span::from_micros);
        assert_eq!(meter.latest_offsets(), Some(offsets.to_vec()));
    }

    #[test]
    fn each_pair_needs_its_own_two_microphones_only() {
        let mut meter = SkewMeter::new(3, 48_000);
        meter.on_cycle([Some(mono(1_000)), None, Some(mono(1_070))].into_iter(), mono(1_100));
        let seen = meter.since_start().arrival_skew;
        let seen: Vec<_> = seen.iter().map(|skew| skew.map(|d| (d.count, d.last.as_micros()))).collect();
        assert_eq!(seen, [Err(NO_PAIR), Ok((1, 70)), Err(NO_PAIR)]);
        let later: Vec<_> = meter.window(mono(20_000_000)).arrival_skew.iter().map(|skew| skew.err()).collect();
        assert_eq!(later, [Some(NO_PAIR_LATELY); 3]);
        assert_eq!(meter.latest_offsets(), None, "no cycle was complete");
    }

    #[test]
    fn loop_delay_runs_from_the_stamp_to_the_read() {
        let mut meter = SkewMeter::new(3, 48_000);
        let clocks = Clocks { mono: mono(500), wall: wall(100) };
        meter.on_read(1, wall(60), clocks);
        meter.on_read(1, wall(101), clocks);
        let seen = meter.since_start().loop_delay[1].unwrap();
        assert_eq!((seen.count, seen.min, seen.max), (1, Span::from_micros(40), Span::from_micros(40)));
    }

    /// The formula of RFC 3550 6.4.1, by hand: transits relative to the first 0, 160, 0, 320 us give |D| 160, 160, 320 and
    /// J = 10, 19.375, 38.1640625.
    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut meter = SkewMeter::new(3, 48_000);
        // 480 frames are 10 ms, so that the arithmetic is exact.
        for (k, late) in [0, 160, 0, 320].into_iter().enumerate() {
            let k = k as i64;
            meter.on_placed(0, FramePos(480 * k), FramePos(480 * (k + 1)), mono(10_000 * k + late));
        }
        assert_eq!(meter.since_start().jitter[0], Ok(Span::from_nanos(38_164)));
        assert_eq!(meter.window(mono(20_000_000)).jitter[0], Err(NO_PACKET_LATELY));
    }

    /// RFC 5481 4.2: PDV(i) = D(i) - D(min). The unknown offset of the sender's clock cancels.
    #[test]
    fn delay_variation_is_against_the_minimum() {
        let mut meter = SkewMeter::new(3, 48_000);
        let delays = [700, 500, 900, 500, 640];
        for (k, delay) in delays.into_iter().enumerate() {
            let k = k as i64;
            meter.on_placed(2, FramePos(480 * k), FramePos(480 * (k + 1)), mono(123_456 + 10_000 * k + delay));
        }
        let seen = meter.window(mono(200_000)).delay_variation[2].unwrap();
        assert_eq!((seen.p50, seen.max), (Span::from_micros(140), Span::from_micros(400)));
        assert_eq!((seen.min, seen.mean), (Span::ZERO, Span::from_micros(148)));
        assert_eq!(seen.last, Span::from_micros(140));
        assert_eq!(meter.since_start().delay_variation[2].unwrap().max, Span::from_micros(400));
    }

    #[test]
    fn delay_variation_is_free_of_a_drift_that_is_known() {
        let mut meter = SkewMeter::new(3, 48_000);
        // A clock 100 ppm fast captures 512 frames in 1 / 1.0001 of the period; a constant delay.
        meter.follow_rate(0, 100.0);
        for k in 0..2_000i64 {
            let ns = (k * PERIOD) as f64 * 1e9 / 48_000.0 / 1.0001;
            meter.on_placed(
                0,
                FramePos((k - 1) * PERIOD),
                FramePos(k * PERIOD),
                MonoTime::from_nanos(ns.round() as i64),
            );
        }
        assert!(meter.since_start().delay_variation[0].unwrap().max < Span::from_nanos(10));
    }

    #[test]
    fn a_trace_keeps_what_is_placed_and_is_bounded() {
        let mut meter = SkewMeter::new(3, 48_000);
        meter.on_placed(0, FramePos(0), FramePos(512), mono(1));
        assert_eq!(meter.take_placed(), None, "nobody asked for it");
        meter.trace();
        meter.on_placed(1, FramePos(0), FramePos(512), mono(2));
        meter.on_restart(1);
        meter.on_placed(1, FramePos(8_488), FramePos(9_000), mono(3));
        let taken: Vec<_> = std::iter::from_fn(|| meter.take_placed()).collect();
        let expected = [(512, 0, 2), (9_000, 1, 3)].map(|(end, restarts, us)| Ended {
            mic: 1,
            restarts,
            end: FramePos(end),
            arrival: mono(us),
            late: false,
        });
        assert_eq!(taken, expected);
        for k in 0..10_000 {
            meter.on_placed(2, FramePos(512 * (k - 1)), FramePos(512 * k), mono(10_667 * k));
        }
        assert_eq!(std::iter::from_fn(|| meter.take_placed()).count(), 8_192);
    }

    #[test]
    fn a_restart_is_no_delay() {
        let mut meter = SkewMeter::new(3, 48_000);
        meter.on_placed(0, FramePos(0), FramePos(480), mono(0));
        meter.on_restart(0);
        meter.on_placed(0, FramePos(479_520), FramePos(480_000), mono(70_000));
        assert_eq!(meter.since_start().delay_variation[0].unwrap().max, Span::ZERO);
        assert!(meter.since_start().jitter[0].is_err(), "one packet of the new sender is no interarrival");
    }
}
