//! What a recording shows, collected while it is fed to the engine that `serve` runs.
//!
//! What leaves the engine is what left the server, so its counters and figures are those of the live run; and every cycle is looked at once more,
//! for stability, gaps and plots. Memory does not depend on the length.

use std::collections::VecDeque;

use super::series::Series;
use super::timeline::Timeline;
use crate::array::pairs;
use crate::capture::{Datagram, Statistics};
use crate::commands::feed::{Fed, Feed, Listen, Now};
use crate::cycle::Cycle;
use crate::engine::figures::skew::Ended;
use crate::engine::{Config, Engine, Output};
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Gaps listed one by one; more are counted.
const MOST_GAPS: usize = 1_000;
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
    placed: Ended,
    /// Sample time and arrivals are counted from here.
    origin: Ended,
    /// Arrival minus sample time, from the origin.
    error_ns: f64,
    /// Where it ends, on an axis that goes on across restarts and never goes back.
    position: i64,
}

/// See the top of the file.
pub struct Run {
    pub feed: Feed,
    pub watch: Watch,
}

/// What is collected.
pub struct Watch {
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
}

impl Run {
    /// `ports`: those of the microphones; `None` where the recording itself says which is which, else the contract's.
    /// `options`: what else the engine is told.
    pub fn new(config: Config, ports: Option<&[u16]>, options: impl FnOnce(Engine) -> Engine) -> Run {
        let sources = config.layout.sources();
        let mut feed = Feed::new(config, ports, options);
        feed.engine.meter().trace();
        let watch = Watch {
            stability: (0..sources).map(|_| Series::default()).collect(),
            pair_stability: pairs(sources).map(|_| Series::default()).collect(),
            timeline: None,
            gaps: Vec::new(),
            gaps_not_listed: 0,
            cycle_frames: None,
            stamps: None,
            times: None,
            next_frame: None,
            gap_ends: vec![None; sources],
            packet_frames: vec![0; sources],
            phase: vec![None; sources],
            arrivals: (0..sources).map(|_| VecDeque::with_capacity(MOST_ARRIVALS)).collect(),
            drift_known: vec![false; sources],
            drift_checked: MonoTime::from_nanos(0),
            alignment_noted: MonoTime::from_nanos(0),
        };
        Run { feed, watch }
    }

    /// The next datagram.
    pub fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.feed.datagram(datagram, &mut self.watch);
    }

    /// Interface statistics of a file: what the kernel dropped, and steps of the clock.
    pub fn statistics(&mut self, file: usize, statistics: &Statistics<'_>) {
        self.feed.statistics(file, statistics, &mut self.watch);
    }

    /// The end of the recording: what is still open leaves, as it would have a little later.
    pub fn finish(&mut self) {
        self.feed.finish(&mut self.watch);
        let Watch { stability, pair_stability, .. } = &mut self.watch;
        stability.iter_mut().chain(pair_stability).for_each(Series::finish);
        self.watch.follow_drift(&self.feed.engine, true);
    }

    /// Virtual time.
    pub fn now(&self) -> MonoTime {
        self.feed.now()
    }
}

impl Listen for Watch {
    fn arrives(&mut self, arrival: Fed, _: &mut Engine) {
        let Fed { mic, stamp, arrival, at } = arrival;
        let first = self.stamps.map_or(stamp, |(first, _)| first);
        self.stamps = Some((first, stamp));
        let arrivals = &mut self.arrivals[mic];
        if arrivals.len() == MOST_ARRIVALS {
            arrivals.pop_front();
        }
        arrivals.push_back((stamp, arrival));
        self.times = Some((self.times.map_or(at, |(first, _)| first), at));
    }

    fn accepted(&mut self, mic: usize, samples: u32) {
        self.packet_frames[mic] = i64::from(samples);
    }

    fn drain(&mut self, engine: &mut Engine, now: Now<'_>) {
        self.note_phases(engine);
        while let Some(output) = engine.poll_output() {
            if let Output::Cycle(cycle) = output {
                self.cycle(&cycle, engine, now);
            }
        }
    }

    fn fed(&mut self, engine: &Engine, at: MonoTime) {
        if at - self.drift_checked >= Span::from_secs(1) {
            self.drift_checked = at;
            self.follow_drift(engine, false);
        }
        if at - self.alignment_noted >= self.timeline(at).width() {
            self.alignment_noted = at;
            self.note_alignment(engine, at);
        }
    }
}

impl Watch {
    fn cycle(&mut self, cycle: &Cycle, engine: &Engine, now: Now<'_>) {
        self.cycle_frames.get_or_insert(cycle.frames);
        let expected = *self.next_frame.get_or_insert(cycle.first_frame);
        let skipped = cycle.first_frame - expected;
        if skipped > 0 {
            self.gap(None, expected, skipped, cycle.emitted, now.0);
            self.gap_ends.fill(Some(cycle.first_frame));
        }
        self.next_frame = Some(cycle.first_frame + i64::from(cycle.frames));

        // Of a source what its first channel has.
        let layout = *engine.layout();
        let of = |mic: usize| cycle.arrival[layout.first_of(mic)].map(|stamp| self.arrival(mic, stamp, now));
        let arrivals: Vec<Option<MonoTime>> = (0..layout.sources()).map(of).collect();
        let at = arrivals.iter().flatten().copied().max().unwrap_or(now.0);
        let shared = engine.is_shared();
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
        for mic in 0..layout.sources() {
            let samples = cycle.mic_samples[layout.first_of(mic)];
            let missing = i64::from(cycle.frames - samples.min(cycle.frames));
            if missing > 0 {
                // A packet of a free board lies across the edge of two cycles: of one that is lost, the second lacks its start.
                let goes_on = !shared && self.gap_ends[mic] == Some(cycle.first_frame);
                let behind = if goes_on { 0 } else { i64::from(samples) };
                self.gap(Some(mic), cycle.first_frame + behind, missing, cycle.emitted, now.0);
                self.gap_ends[mic] = Some(cycle.first_frame + behind + missing);
            }
        }
    }

    /// Packets that were placed since it was last asked, each on its microphone's own axis.
    fn note_phases(&mut self, engine: &mut Engine) {
        let rate = engine.config().sample_rate;
        while let Some(placed) = engine.meter().take_placed() {
            self.note_phase(placed, rate);
        }
    }

    fn note_phase(&mut self, placed: Ended, rate: u32) {
        let mic = placed.mic;
        let before = self.phase[mic];
        let same_axis = before.filter(|before| before.placed.restarts == placed.restarts);
        let (origin, error_ns) = match (same_axis, before) {
            (Some(before), _) => (before.origin, error_ns(before.origin, placed, rate)),
            // What the offset was before is unknown now: it goes on as it stood.
            (None, before) => {
                let error_ns = before.map_or(0.0, |before| before.error_ns);
                (Ended { arrival: placed.arrival - Span::from_nanos(error_ns as i64), ..placed }, error_ns)
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
    fn arrival(&self, mic: usize, stamp: KernelTime, now: Now<'_>) -> MonoTime {
        let known = self.arrivals[mic].iter().rev().find(|(other, _)| *other == stamp);
        known.map_or_else(|| now.1.to_mono(stamp), |(_, arrival)| *arrival)
    }

    fn timeline(&mut self, start: MonoTime) -> &mut Timeline {
        let sources = self.stability.len();
        self.timeline.get_or_insert_with(|| Timeline::new(sources, start, FIRST_CELL))
    }

    fn gap(&mut self, mic: Option<usize>, first_frame: FramePos, frames: i64, at: KernelTime, now: MonoTime) {
        // The other microphones' gaps may stand between this one and its continuation.
        let before = self.gaps.iter_mut().rev().take(self.stability.len() + 1).find(|gap| gap.mic == mic);
        if let Some(gap) = before.filter(|gap| gap.first_frame + gap.frames == first_frame) {
            gap.frames += frames;
        } else if self.gaps.len() < MOST_GAPS {
            let after = self.times.map_or(Span::ZERO, |(first, _)| now - first);
            self.gaps.push(Gap { mic, first_frame, frames, at, after });
        } else {
            self.gaps_not_listed += 1;
        }
    }

    /// Of one board it is 0 by construction.
    fn note_alignment(&mut self, engine: &Engine, at: MonoTime) {
        if engine.is_shared() {
            return;
        }
        let rate = f64::from(engine.config().sample_rate);
        for (pair, alignment) in engine.alignment(at).into_iter().enumerate() {
            if let Ok(alignment) = alignment {
                let samples = |span: Span| span.as_secs_f64() * rate;
                let (offset, uncertainty) = (samples(alignment.offset), samples(alignment.uncertainty));
                self.timeline(at).aligned(pair, at, offset, uncertainty);
            }
        }
    }

    /// The timeline is drawn with the drift taken out, once that is known.
    fn follow_drift(&mut self, engine: &Engine, at_end: bool) {
        for mic in 0..self.stability.len() {
            let Some(rate) = engine.clock(mic).sharp_rate() else { continue };
            // The timeline is tilted when the rate is first known, and at the end: tilting what is merged costs a little.
            if let Some(timeline) = &mut self.timeline
                && (!self.drift_known[mic] || at_end)
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

    /// Whether delays are shown with the drift taken out.
    pub fn drift_is_known(&self, mic: usize) -> bool {
        self.drift_known[mic]
    }
}

fn error_ns(origin: Ended, placed: Ended, rate: u32) -> f64 {
    let arrival = i128::from((placed.arrival - origin.arrival).as_nanos());
    (arrival - i128::from(placed.end - origin.end) * 1_000_000_000 / i128::from(rate)) as f64
}
