//! A recording through the engine that `serve` runs, in virtual time.
//!
//! The stamps of the recording are the time: before each datagram the holds that ran out by then are served, as a
//! loop would have been woken for them. What leaves the engine is what left the server, so its counters and figures are those of
//! the live run; and every cycle is looked at once more, for stability, gaps and plots. Memory does not depend on the length.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;

use super::series::Series;
use super::steady::Steady;
use super::timeline::Timeline;
use crate::array::pairs;
use crate::capture::{Datagram, Statistics, clock_offset, clock_step};
use crate::cycle::{Clocks, Cycle};
use crate::engine::skew::Placed;
use crate::engine::{self, Config, Engine, Output, Verdict};
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Files are in order but for this much: a capture on several cores, sockets read one after the other.
const DISORDER: Span = Span::from_millis(5);
/// Datagrams held back to put them in order.
const MOST_HELD: usize = 256;
/// A stamp so much older than the newest is a step of the clock, not disorder.
const STEP_BACK: Span = Span::from_millis(100);
/// Gaps listed one by one; more are counted.
const MOST_GAPS: usize = 1_000;
/// Ports that are told apart where none of the microphones' is in the file.
const MOST_PORTS: usize = 64;
/// A cell of the timeline, to begin with: about a cycle.
const FIRST_CELL: Span = Span::from_millis(12);
/// So many of a microphone's newest arrivals are kept, on the clock that does not step: a cycle leaves within them.
const MOST_ARRIVALS: usize = 1_024;

/// Positions without samples when their cycle left; of neighbouring cycles, together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// `None`: of all microphones, whole cycles were lost.
    pub mic: Option<usize>,
    pub first_frame: FramePos,
    pub frames: i64,
    /// When the first of the cycles left.
    pub at: KernelTime,
    /// The same, from the recording's first datagram on.
    pub after: Span,
}

/// Where a microphone's samples stand in time.
#[derive(Clone, Copy, Debug)]
struct Phase {
    placed: Placed,
    /// Sample time and arrivals are counted from here.
    origin: Placed,
    /// Arrival minus sample time, from the origin.
    error_ns: f64,
    /// Where it ends, on an axis that goes on across restarts and never goes back.
    position: i64,
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
pub struct Run {
    pub engine: Engine,
    /// By source.
    pub stability: Vec<Series>,
    /// Of the second source's arrival against the first's; in the order of [`pairs`].
    pub pair_stability: Vec<Series>,
    pub timeline: Option<Timeline>,
    pub gaps: Vec<Gap>,
    pub gaps_not_listed: u64,
    /// Frames of a cycle, from the first one that left.
    pub cycle_frames: Option<u32>,
    /// Stamps of the first and the newest datagram of a microphone.
    pub stamps: Option<(KernelTime, KernelTime)>,
    /// Their virtual times, which no step of the clock moves.
    times: Option<(MonoTime, MonoTime)>,
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
    next_frame: Option<FramePos>,
    /// Up to where nothing has come from a microphone since its newest gap began.
    gap_ends: Vec<Option<FramePos>>,
    /// Frames in each microphone's newest packet.
    packet_frames: Vec<i64>,
    /// What each microphone's newest placed packet was, and its time error.
    phase: Vec<Option<Phase>>,
    /// Stamps of each microphone's newest packets, and what they were on the clock that does not step: once it has stepped, a stamp alone
    /// no longer says.
    arrivals: Vec<VecDeque<(KernelTime, MonoTime)>>,
    drift_known: Vec<bool>,
    drift_checked: MonoTime,
    alignment_noted: MonoTime,
    /// Told by the file whose statistics came last, and by those before it.
    drops_file: Option<usize>,
    drops_before: Vec<u64>,
    drops: Vec<u64>,
}

impl Run {
    /// `ports`: those of the microphones; `None` where the recording itself says which is which, else the contract's.
    /// `options`: what else the engine is told.
    pub fn new(config: Config, ports: Option<&[u16]>, options: impl FnOnce(Engine) -> Engine) -> Run {
        let sources = config.layout.sources();
        let mut engine = options(Engine::new(config));
        engine.meter_mut().trace();
        Run {
            engine,
            stability: (0..sources).map(|_| Series::default()).collect(),
            pair_stability: pairs(sources).map(|_| Series::default()).collect(),
            timeline: None,
            gaps: Vec::new(),
            gaps_not_listed: 0,
            cycle_frames: None,
            stamps: None,
            times: None,
            cut: false,
            elsewhere: BTreeMap::new(),
            ports: ports.map(<[u16]>::to_vec),
            held: BinaryHeap::with_capacity(MOST_HELD + 1),
            spare: Vec::new(),
            newest: None,
            order: 0,
            steady: Steady::new(),
            now: MonoTime::from_nanos(0),
            next_frame: None,
            gap_ends: vec![None; sources],
            packet_frames: vec![0; sources],
            phase: vec![None; sources],
            arrivals: (0..sources).map(|_| VecDeque::with_capacity(MOST_ARRIVALS)).collect(),
            drift_known: vec![false; sources],
            drift_checked: MonoTime::from_nanos(0),
            alignment_noted: MonoTime::from_nanos(0),
            drops_file: None,
            drops_before: vec![0; sources],
            drops: vec![0; sources],
        }
    }

    /// The next datagram.
    pub fn datagram(&mut self, datagram: &Datagram<'_>) {
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
            self.flush();
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
            self.feed_oldest();
        }
    }

    /// Interface statistics of a file: what the kernel dropped, and steps of the clock.
    pub fn statistics(&mut self, file: usize, statistics: &Statistics<'_>) {
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
            self.flush();
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
    pub fn finish(&mut self) {
        self.flush();
        self.serve_timeouts(self.now + Span::from_secs(1));
        self.stability.iter_mut().chain(&mut self.pair_stability).for_each(Series::finish);
        self.follow_drift();
    }

    fn flush(&mut self) {
        while !self.held.is_empty() {
            self.feed_oldest();
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

    fn feed_oldest(&mut self) {
        let Some(Reverse(held)) = self.held.pop() else { return };
        let first = self.stamps.map_or(held.stamp, |(first, _)| first);
        self.stamps = Some((first, held.stamp));
        let arrival = self.steady.to_mono(held.stamp);
        let arrivals = &mut self.arrivals[held.mic];
        if arrivals.len() == MOST_ARRIVALS {
            arrivals.pop_front();
        }
        arrivals.push_back((held.stamp, arrival));
        let at = arrival.max(self.now);
        self.times = Some((self.times.map_or(at, |(first, _)| first), at));
        self.serve_timeouts(at);
        self.turn(at);
        let datagram =
            engine::Datagram { mic: held.mic, stamp: held.stamp, sender: held.from, bytes: &held.bytes, len: held.len };
        if let Verdict::Accepted(accepted) = self.engine.handle_datagram(&datagram) {
            self.packet_frames[held.mic] = i64::from(accepted.samples);
        }
        self.engine.handle_timeout();
        self.drain();
        while self.engine.listen() {}
        self.drain();
        self.spare.push(held.bytes);
        if at - self.drift_checked >= Span::from_secs(1) {
            self.drift_checked = at;
            self.follow_drift();
        }
        if at - self.alignment_noted >= self.timeline(at).width() {
            self.alignment_noted = at;
            self.note_alignment(at);
        }
    }

    /// Wakes the engine whenever it asked for it, until `until`.
    fn serve_timeouts(&mut self, until: MonoTime) {
        let mut served = None;
        while let Some(due) = self.engine.next_timeout() {
            // One that is asked for again at once waits for data.
            if due > until || served == Some(due) {
                break;
            }
            served = Some(due);
            self.turn(due.max(self.now));
            self.engine.handle_timeout();
            self.drain();
        }
    }

    fn turn(&mut self, now: MonoTime) {
        self.now = now;
        self.engine.begin_turn(Clocks { mono: now, wall: self.steady.to_wall(now) });
    }

    fn drain(&mut self) {
        self.note_phases();
        while let Some(output) = self.engine.poll_output() {
            if let Output::Cycle(cycle) = output {
                self.cycle(&cycle);
            }
        }
    }

    fn cycle(&mut self, cycle: &Cycle) {
        self.cycle_frames.get_or_insert(cycle.frames);
        let expected = *self.next_frame.get_or_insert(cycle.first_frame);
        let skipped = cycle.first_frame - expected;
        if skipped > 0 {
            self.gap(None, expected, skipped, cycle.emitted);
            self.gap_ends.fill(Some(cycle.first_frame));
        }
        self.next_frame = Some(cycle.first_frame + i64::from(cycle.frames));

        // Of a source what its first channel has.
        let layout = *self.engine.layout();
        let of = |mic: usize| cycle.arrival[layout.first_of(mic)].map(|stamp| self.arrival(mic, stamp));
        let arrivals: Vec<Option<MonoTime>> = (0..layout.sources()).map(of).collect();
        let at = arrivals.iter().flatten().copied().max().unwrap_or(self.now);
        let shared = self.engine.is_shared();
        let errors: Vec<Option<f64>> = self.phase.iter().map(|phase| Some((*phase)?.error_ns)).collect();
        let timeline = self.timeline(at);
        for (mic, arrival) in arrivals.iter().enumerate() {
            timeline.channel(mic, at, arrival.is_some());
        }
        let skew = |(first, second): (usize, usize)| Some(arrivals[second]? - arrivals[first]?);
        let skews: Vec<Option<Span>> = pairs(layout.sources()).map(skew).collect();
        for (pair, skew) in skews.iter().enumerate() {
            if let Some(skew) = skew {
                timeline.skew(pair, at, skew.as_micros_f64());
            }
        }
        for (pair, (first, second)) in pairs(layout.sources()).enumerate() {
            // Packets of free boards end anywhere in a cycle, and at another place the next time: there the difference of
            // the boards' own time errors is what is steady.
            let difference_s = skews[pair].and_then(|skew| {
                if shared { Some(skew.as_secs_f64()) } else { Some((errors[second]? - errors[first]?) / 1e9) }
            });
            let frames = i64::from(cycle.frames);
            if let Some(difference_s) = difference_s {
                self.pair_stability[pair].push(cycle.first_frame.0 + frames, frames, difference_s);
            }
        }
        for mic in 0..self.drops.len() {
            let samples = cycle.mic_samples[layout.first_of(mic)];
            let missing = i64::from(cycle.frames - samples.min(cycle.frames));
            if missing > 0 {
                // A packet of a free board lies across the edge of two cycles: of one that is lost, the second lacks its start.
                let goes_on = !shared && self.gap_ends[mic] == Some(cycle.first_frame);
                let behind = if goes_on { 0 } else { i64::from(samples) };
                self.gap(Some(mic), cycle.first_frame + behind, missing, cycle.emitted);
                self.gap_ends[mic] = Some(cycle.first_frame + behind + missing);
            }
        }
    }

    /// Packets that were placed since it was last asked, each on its microphone's own axis.
    fn note_phases(&mut self) {
        while let Some(placed) = self.engine.meter_mut().take_placed() {
            self.note_phase(placed);
        }
    }

    fn note_phase(&mut self, placed: Placed) {
        let mic = placed.mic;
        let before = self.phase[mic];
        let same_axis = before.filter(|before| before.placed.restarts == placed.restarts);
        let (origin, error_ns) = match (same_axis, before) {
            (Some(before), _) => (before.origin, self.error_ns(before.origin, placed)),
            // What the offset was before is unknown now: it goes on as it stood.
            (None, before) => {
                let error_ns = before.map_or(0.0, |before| before.error_ns);
                (Placed { arrival: placed.arrival - Span::from_nanos(error_ns as i64), ..placed }, error_ns)
            }
        };
        self.timeline(placed.arrival).delay(mic, placed.arrival, error_ns / 1e3);
        let frames = self.packet_frames[mic].max(1);
        let step = same_axis.map_or(frames, |before| placed.end - before.placed.end);
        let position = before.map_or(0, |before| before.position);
        if placed.late && step <= 0 {
            // Packets behind it were placed before: it is missing among them.
            self.stability[mic].push(position + step, frames, error_ns / 1e9);
            return;
        }
        // Positions go back when an insertion is taken back; time does not.
        let position = position + if step > 0 { step } else { frames };
        self.phase[mic] = Some(Phase { placed, origin, error_ns, position });
        self.stability[mic].push(position, frames, error_ns / 1e9);
    }

    /// When a packet of `mic` with this stamp arrived.
    fn arrival(&self, mic: usize, stamp: KernelTime) -> MonoTime {
        let known = self.arrivals[mic].iter().rev().find(|(other, _)| *other == stamp);
        known.map_or_else(|| self.steady.to_mono(stamp), |(_, arrival)| *arrival)
    }

    fn error_ns(&self, origin: Placed, placed: Placed) -> f64 {
        let rate = i128::from(self.engine.config().sample_rate);
        let arrival = i128::from((placed.arrival - origin.arrival).as_nanos());
        (arrival - i128::from(placed.end - origin.end) * 1_000_000_000 / rate) as f64
    }

    fn timeline(&mut self, start: MonoTime) -> &mut Timeline {
        let sources = self.drops.len();
        self.timeline.get_or_insert_with(|| Timeline::new(sources, start, FIRST_CELL))
    }

    fn gap(&mut self, mic: Option<usize>, first_frame: FramePos, frames: i64, at: KernelTime) {
        // The other microphones' gaps may stand between this one and its continuation.
        let before = self.gaps.iter_mut().rev().take(self.drops.len() + 1).find(|gap| gap.mic == mic);
        if let Some(gap) = before.filter(|gap| gap.first_frame + gap.frames == first_frame) {
            gap.frames += frames;
        } else if self.gaps.len() < MOST_GAPS {
            let after = self.times.map_or(Span::ZERO, |(first, _)| self.now - first);
            self.gaps.push(Gap { mic, first_frame, frames, at, after });
        } else {
            self.gaps_not_listed += 1;
        }
    }

    /// Of one board it is 0 by construction.
    fn note_alignment(&mut self, at: MonoTime) {
        if self.engine.is_shared() {
            return;
        }
        let rate = f64::from(self.engine.config().sample_rate);
        for (pair, alignment) in self.engine.alignment(at).into_iter().enumerate() {
            if let Ok(alignment) = alignment {
                let samples = |span: Span| span.as_secs_f64() * rate;
                let (offset, uncertainty) = (samples(alignment.offset), samples(alignment.uncertainty));
                self.timeline(at).aligned(pair, at, offset, uncertainty);
            }
        }
    }

    /// The timeline is drawn with the drift taken out, once that is known.
    fn follow_drift(&mut self) {
        for mic in 0..self.drops.len() {
            let Some(rate) = self.engine.clock(mic).sharp_rate() else { continue };
            // The timeline is tilted when the rate is first known, and at the end: tilting what is merged costs a little.
            if let Some(timeline) = &mut self.timeline
                && (!self.drift_known[mic] || self.held.is_empty())
            {
                timeline.set_drift(mic, rate.ppm.0);
                self.drift_known[mic] = true;
            }
        }
    }

    /// From the first datagram to the newest, whatever the clock did meanwhile.
    pub fn duration(&self) -> Span {
        self.times.map_or(Span::ZERO, |(first, newest)| newest - first)
    }

    /// Virtual time.
    pub fn now(&self) -> MonoTime {
        self.now
    }

    /// Whether delays are shown with the drift taken out.
    pub fn drift_is_known(&self, mic: usize) -> bool {
        self.drift_known[mic]
    }
}
