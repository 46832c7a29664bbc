//! Plain snapshots of the engine, the HTTP side and the ring, and what clients read of them.
//!
//! Whoever runs the loop fills these structs from what it owns; nothing here looks anything up. The bodies are rendered
//! from a finished [`Snapshot`], inside the audio loop: see `diagnostics` (JSON) and `metrics` (Prometheus).

mod channels;
mod chunk;
mod clocks;
mod diagnostics;
mod faults;
mod health;
mod metrics;
mod recording;
mod saving;
mod sender;
mod sound;
mod summaries;
mod sums;

pub use diagnostics::diagnostics_sync;
pub use faults::{HealthFigures, usable};
pub use health::{Vitals, health};
pub use metrics::{Exporter, Metrics};
pub use recording::RecordingFigures;
pub use saving::SavingFigures;
pub use sound::SoundFigures;
pub use summaries::{diagnostics, latest};

use crate::array::{Layout, pairs};
use crate::engine::Engine;
use crate::engine::clock::{ClockModel, RateEstimate, Unknown};
use crate::engine::figures::{Alignment, Counters, DriftFigure, Known, SkewFigures};
use crate::time::{MonoTime, Span};

/// What does not change, or changes seldom, about the running server.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    pub version: &'static str,
    pub uptime: Span,
    /// The id of the run's first cycle, which names the run; `None` where nothing is served.
    pub run: Option<u64>,
    /// The core that the loop is pinned to.
    pub core: Option<usize>,
    /// `shared`, `independent`, or `auto` while that is not known.
    pub clock: &'static str,
    /// How long an incomplete cycle waits at present.
    pub hold: Span,
    pub sample_rate: u32,
    /// Samples of a source's chunk, and of each of its pieces as they are sent; `None` while they are being learnt.
    pub chunks: Vec<Option<(u32, Vec<f64>)>>,
    /// What each source is read as, as it would be declared.
    pub formats: Vec<String>,
    /// Why a source's packets do not tell when they were sent; `None` where they do.
    pub untimed: Vec<Option<&'static str>>,
    /// The kernel's release, as uname gives it.
    pub kernel: String,
}

impl ServerInfo {
    fn of(engine: &Engine, around: Around) -> ServerInfo {
        let sources = || 0..engine.layout().sources();
        let Around { uptime, run, core, kernel } = around;
        ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            uptime,
            run,
            core,
            clock: engine.clock_name(),
            hold: engine.hold(),
            sample_rate: engine.config().sample_rate,
            chunks: sources().map(|source| engine.chunk(source)).collect(),
            formats: sources().map(|source| engine.format(source).to_string()).collect(),
            untimed: sources().map(|source| engine.untimed(source)).collect(),
            kernel,
        }
    }
}

/// What HTTP counts, since start; `subscribers` and `connections_open` are as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamFigures {
    /// Clients of the event and audio streams.
    pub subscribers: u64,
    pub connections_open: u64,
    pub events_sent: u64,
    /// Lost to subscribers that could not keep up, by each: events of their queues (cycles, or packets), and cycles that
    /// the history no longer had whole for a listener of the endless WAV. What never was there is not among them.
    pub events_dropped: u64,
    /// Bytes of all responses.
    pub bytes_sent: u64,
    /// Streams that went on after a `Last-Event-ID`.
    pub resumed: u64,
    pub connections: u64,
    pub requests: u64,
    /// Connections or requests turned away at a limit.
    pub rejected: u64,
    pub downloads_aborted: u64,
}

/// What the ring counts, since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingFigures {
    /// Turns of the loop.
    pub turns: u64,
    /// io_uring_enter calls.
    pub enters: u64,
    pub completions: u64,
    /// Multishot requests armed again, by what ended them.
    pub rearms_enobufs: u64,
    pub rearms_cq_overflow: u64,
    pub rearms_empty_datagram: u64,
    pub rearms_emfile: u64,
    pub rearms_error: u64,
    /// Completions that the kernel kept for us because the completion queue was full.
    /// Enters after which completions waited in the kernel for room in their queue.
    pub cq_overflows: u64,
    /// Completions that came after their connection had been given up.
    pub stale: u64,
    /// Submissions that did not fit the submission queue at once.
    pub sq_full: u64,
    /// Datagrams whose control area was too small for the timestamp (MSG_CTRUNC): an error of ours.
    pub control_truncated: u64,
    /// Log lines dropped from the bounded queue to standard error.
    pub log_lines_dropped: u64,
}

/// What the operating system knows about this process; `None` where it could not be read.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessFigures {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    /// Seconds since the Unix epoch.
    pub start_time_seconds: Option<f64>,
    /// Datagrams of addresses that no array is made for.
    pub strange_datagrams: u64,
}

/// Everything that counts up, in one copy: keep old copies in a [`Past`](crate::engine::figures::window::Past) for the window.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub engine: Counters,
    pub stream: StreamFigures,
    pub ring: RingFigures,
    /// `None` where nothing is recorded.
    pub recording: Option<RecordingFigures>,
    /// `None` where the array is not saved.
    pub saving: Option<SavingFigures>,
    /// `None` where the sound is not listened to.
    pub sound: Option<SoundFigures>,
}

impl Totals {
    /// What happened after `earlier`; what is a state and no count stays as it is now.
    pub fn since(&self, earlier: &Totals) -> Totals {
        let (s, e) = (&self.stream, &earlier.stream);
        let (r, o) = (&self.ring, &earlier.ring);
        Totals {
            engine: self.engine.since(&earlier.engine),
            stream: StreamFigures {
                subscribers: s.subscribers,
                connections_open: s.connections_open,
                events_sent: s.events_sent - e.events_sent,
                events_dropped: s.events_dropped - e.events_dropped,
                bytes_sent: s.bytes_sent - e.bytes_sent,
                resumed: s.resumed - e.resumed,
                connections: s.connections - e.connections,
                requests: s.requests - e.requests,
                rejected: s.rejected - e.rejected,
                downloads_aborted: s.downloads_aborted - e.downloads_aborted,
            },
            ring: RingFigures {
                turns: r.turns - o.turns,
                enters: r.enters - o.enters,
                completions: r.completions - o.completions,
                rearms_enobufs: r.rearms_enobufs - o.rearms_enobufs,
                rearms_cq_overflow: r.rearms_cq_overflow - o.rearms_cq_overflow,
                rearms_empty_datagram: r.rearms_empty_datagram - o.rearms_empty_datagram,
                rearms_emfile: r.rearms_emfile - o.rearms_emfile,
                rearms_error: r.rearms_error - o.rearms_error,
                cq_overflows: r.cq_overflows - o.cq_overflows,
                stale: r.stale - o.stale,
                sq_full: r.sq_full - o.sq_full,
                control_truncated: r.control_truncated - o.control_truncated,
                log_lines_dropped: r.log_lines_dropped - o.log_lines_dropped,
            },
            recording: self.recording.as_ref().map(|now| now.since(earlier.recording.as_ref())),
            saving: self.saving.as_ref().map(|now| now.since(earlier.saving.as_ref())),
            sound: self.sound.map(|now| now.since(earlier.sound)),
        }
    }
}

/// A rate, or why there is none yet. The reason may carry figures ("phase moved 3 ms in the last 60 s").
pub type Drift = Result<DriftFigure, String>;

/// Rates of the sources against the host, and of the pairs of them: the first minus the second, positive when its clock is faster.
#[derive(Clone, Debug)]
pub struct DriftFigures {
    pub mics: Vec<Drift>,
    /// In the order of [`pairs`].
    pub pairs: Vec<Drift>,
}

impl DriftFigures {
    /// What the clock models know `now`: mean rates over the widest span that each believes. The microphones of one board have
    /// one clock.
    pub fn of<'a>(clocks: impl Iterator<Item = &'a ClockModel>, one_board: bool, now: MonoTime) -> DriftFigures {
        let clocks: Vec<&ClockModel> = clocks.collect();
        let figure = |rate: Result<RateEstimate, Unknown>| {
            rate.map_err(|unknown| unknown.to_string()).map(|rate| DriftFigure {
                ppm: rate.ppm.0,
                uncertainty_ppm: rate.at(now).uncertainty_95.0,
                span: Some(rate.span),
                age: Some(rate.age(now)),
                reason: None,
            })
        };
        let pair = |(first, second): (usize, usize)| {
            if one_board && clocks[first].is_heard() && clocks[second].is_heard() {
                let reason = Some("one board has one clock");
                return Ok(DriftFigure { ppm: 0.0, uncertainty_ppm: 0.0, span: None, age: None, reason });
            }
            figure(clocks[first].rate_against(clocks[second]))
        };
        DriftFigures {
            mics: clocks.iter().map(|clock| figure(clock.rate())).collect(),
            pairs: pairs(clocks.len()).map(pair).collect(),
        }
    }

    /// Without those of sources whose rate is not the nominal one: the clock models took the difference for losses.
    pub fn unless_wrong(mut self, health: &HealthFigures) -> DriftFigures {
        let wrong = |source: usize| health.disagreements[health.layout.first_of(source)].as_ref();
        for (source, drift) in self.mics.iter_mut().enumerate() {
            if let Some(reason) = wrong(source) {
                *drift = Err(reason.clone());
            }
        }
        for (drift, (first, second)) in self.pairs.iter_mut().zip(pairs(self.mics.len())) {
            if let Some(reason) = wrong(first).or(wrong(second)) {
                *drift = Err(reason.clone());
            }
        }
        self
    }

    /// No rate is known, for one reason.
    pub fn unknown(sources: usize, reason: &str) -> DriftFigures {
        let unknown = || Err(reason.to_owned());
        DriftFigures {
            mics: (0..sources).map(|_| unknown()).collect(),
            pairs: pairs(sources).map(|_| unknown()).collect(),
        }
    }
}

/// Everything that `/api/diagnostics_sync` and `/metrics` tell.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the array is made of: figures are those of its sources, but for `health`.
    pub layout: Layout,
    pub server: ServerInfo,
    /// What the history holds, counted in packets of each source.
    pub buffer_packets: Vec<u64>,
    /// See [`SkewMeter::latest_offsets`](crate::engine::figures::skew::SkewMeter::latest_offsets).
    pub latest_offsets: Option<Vec<Span>>,
    pub totals: Totals,
    pub skew: SkewFigures,
    pub drift: DriftFigures,
    /// How far the channels of each pair are apart as they are placed.
    /// In the order of [`pairs`].
    pub alignment: Vec<Known<Alignment>>,
    pub health: HealthFigures,
    /// Time since each source's last accepted packet; `None` before its first.
    pub silent_for: Vec<Option<Span>>,
    /// The last ten seconds: [`Totals::since`], [`SkewMeter::window`](crate::engine::figures::skew::SkewMeter::window).
    pub window_totals: Totals,
    pub window_skew: SkewFigures,
}

/// What a snapshot tells that its engine does not know: of whom the engine is part.
#[derive(Debug)]
pub struct Around {
    pub uptime: Span,
    /// These three as in [`ServerInfo`].
    pub run: Option<u64>,
    pub core: Option<usize>,
    pub kernel: String,
}

impl Snapshot {
    /// What an engine knows `now`. `window_totals`: what of `totals` came in the last ten seconds.
    pub fn of(engine: &mut Engine, now: MonoTime, around: Around, totals: Totals, window_totals: Totals) -> Snapshot {
        let layout = *engine.layout();
        let sources = || 0..layout.sources();
        let unnumbered = sources().map(|source| engine.unnumbered(source)).collect();
        let health = HealthFigures::of(engine.health(), now).with_unnumbered(unnumbered);
        let window_skew = engine.meter().window(now);
        Snapshot {
            layout,
            server: ServerInfo::of(engine, around),
            buffer_packets: engine.history().buffer_packets().to_vec(),
            latest_offsets: engine.meter().latest_offsets(),
            totals,
            skew: engine.meter().since_start(),
            drift: DriftFigures::of(sources().map(|source| engine.clock(source)), engine.is_shared(), now)
                .unless_wrong(&health),
            alignment: engine.alignment(now),
            health,
            silent_for: sources().map(|source| engine.latest(source).map(|latest| now - latest.arrival)).collect(),
            window_totals,
            window_skew,
        }
    }
}

/// The newest packet of a source, for `/api/latest` and `/api/diagnostics`.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestPacket {
    /// The server's local time of its arrival, `2026-11-22 11:05:00`.
    pub timestamp: String,
    pub bytes: usize,
    /// Root mean square of its samples, 0 to 2147483648.
    pub rms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cycle::Clocks;
    use crate::engine::figures::SkewHistograms;
    use crate::engine::figures::skew::SkewMeter;
    use crate::engine::health::Health;
    use crate::time::{FramePos, KernelTime, MonoTime};

    /// One cycle: 100.5 us of skew from mic 0 to mic 1, -20 us to mic 2; 42 us of loop delay each; 60 us until handed on.
    fn one_cycle() -> SkewMeter {
        let mut meter = SkewMeter::new(3, 48_000);
        let now = MonoTime::from_nanos(61_500_000_000);
        let wall = KernelTime::from_nanos(1_795_345_500_000_000_000);
        let delay = Span::from_micros(42);
        let arrivals = [0, 100_500, -20_000].map(|ns| now - delay + Span::from_nanos(ns));
        let stamps = [0, 100_500, -20_000].map(|ns| wall - delay + Span::from_nanos(ns));
        for (mic, arrival) in arrivals.into_iter().enumerate() {
            meter.on_read(mic, wall - delay, Clocks { mono: now, wall });
            for packet in 0..2 {
                meter.on_placed(
                    mic,
                    FramePos(512 * (packet - 1)),
                    FramePos(512 * packet),
                    arrival + Span::of_frames(512 * packet, 48_000),
                );
            }
        }
        meter.on_cycle(arrivals.into_iter().map(Some), now);
        meter.on_complete(stamps.into_iter().map(|stamp| (stamp, delay)), now);
        meter.on_handed(Span::from_micros(60), now);
        meter
    }

    fn snapshot_of(mut meter: SkewMeter, totals: Totals, drift: DriftFigures) -> Snapshot {
        let now = MonoTime::from_nanos(61_500_000_000);
        Snapshot {
            layout: Layout::mono(3),
            server: ServerInfo {
                version: "0.1.0",
                uptime: Span::from_millis(61_500),
                run: Some(1_795_345_500_000),
                core: Some(1),
                clock: "shared",
                hold: Span::from_millis(40),
                sample_rate: 48_000,
                chunks: vec![Some((512, vec![365.0, 147.0])), Some((512, vec![512.0])), None],
                formats: vec!["raw:s32le".to_owned(); 3],
                untimed: vec![None, Some("no time"), None],
                kernel: "6.18 \"test\"".to_owned(),
            },
            buffer_packets: vec![3, 2, 1],
            latest_offsets: meter.latest_offsets(),
            window_totals: totals.since(&Totals::default()),
            totals,
            skew: meter.since_start(),
            drift,
            alignment: vec![Err("too early"); 3],
            health: HealthFigures::of(&Health::new(Layout::mono(3), 48_000), now),
            silent_for: vec![None; 3],
            window_skew: meter.window(now),
        }
    }

    fn nothing() -> Totals {
        Totals { engine: Counters::new(3), ..Totals::default() }
    }

    /// Nothing happened yet.
    pub(super) fn empty() -> Snapshot {
        snapshot_of(SkewMeter::new(3, 48_000), nothing(), DriftFigures::unknown(3, "too early"))
    }

    /// Something of everything.
    pub(super) fn full() -> Snapshot {
        let mut totals = nothing();
        for mic in &mut totals.engine.mics {
            mic.received = 100;
            mic.samples = 51_200;
            mic.malformed = 3;
            mic.truncated = 4;
        }
        totals.engine.cycles.emitted = 1;
        totals.engine.cycles.complete = 1;
        totals.stream.subscribers = 2;
        let (span, age) = (Some(Span::from_secs(60)), Some(Span::from_millis(1_500)));
        let figure = DriftFigure { ppm: 20.25, uncertainty_ppm: 0.5, span, age, reason: None };
        let drift = DriftFigures { mics: vec![Ok(figure); 3], pairs: vec![Ok(figure); 3] };
        let (offset, uncertainty) = (Span::from_nanos(-12_500), Span::from_micros(5));
        let alignment = vec![Ok(Alignment { offset, uncertainty, leaves_out: Some("paths"), reason: None }); 3];
        Snapshot { alignment, ..snapshot_of(one_cycle(), totals, drift) }
    }

    pub(super) fn full_histograms() -> SkewHistograms {
        one_cycle().histograms()
    }

    #[test]
    fn microphones_of_one_board_do_not_drift_apart_once_both_are_heard() {
        let mut clocks = [0, 1, 2].map(|_| ClockModel::new(48_000));
        let now = MonoTime::from_nanos(1_000_000_000);
        for clock in &mut clocks[..2] {
            clock.observe(FramePos(512), now);
        }
        let figures = DriftFigures::of(clocks.iter(), true, now);
        let pair = figures.pairs[0].as_ref().expect("by construction");
        assert_eq!((pair.ppm, pair.uncertainty_ppm, pair.reason.is_some()), (0.0, 0.0, true));
        assert!(figures.pairs[1].is_err() && figures.mics[0].is_err(), "not heard, and not for long enough");
        assert!(DriftFigures::of(clocks.iter(), false, now).pairs[0].is_err(), "two boards have two clocks");
    }

    #[test]
    fn what_happened_since_is_the_difference_and_states_stay() {
        let mut earlier = nothing();
        earlier.engine.mics[0].received = 10;
        earlier.engine.mics[0].lost = 3;
        earlier.stream.events_sent = 5;
        earlier.stream.subscribers = 9;
        earlier.ring.turns = 100;
        let mut now = earlier.clone();
        now.engine.mics[0].received = 14;
        now.engine.mics[0].lost = 2;
        now.stream.events_sent = 6;
        now.stream.subscribers = 4;
        now.ring.turns = 150;
        let since = now.since(&earlier);
        assert_eq!(since.engine.mics[0].received, 4);
        assert_eq!(since.engine.mics[0].lost, 0, "one was taken back");
        assert_eq!((since.stream.events_sent, since.stream.subscribers), (1, 4));
        assert_eq!(since.ring.turns, 50);
        assert_eq!(now.since(&Totals::default()), now);
    }
}
