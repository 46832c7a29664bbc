//! What HTTP sees of the program: each array's history by position, and the figures as whole bodies.
//!
//! Rendering is shared between requests for up to 50 ms, so that a hundred clients polling cost what one does.

use std::ops::Range;

use bytes::Bytes;

use super::array::{Array, Arrays};
use super::inlet::{Inlet, InletId};
use super::rtp::RtpOut;
use crate::array::{ArrayId, DEFAULT_NAME};
use crate::cycle::{Clocks, Cycle};
use crate::engine::figures::MicCounters;
use crate::engine::{Calibrate, Engine};
use crate::http::{House, LocalTime, Source};
use crate::report::{
    self, DriftFigures, HealthFigures, LatestPacket, Metrics, ProcessFigures, RecordingFigures, RingFigures,
    ServerInfo, Snapshot, SoundFigures, StreamFigures, Totals, Vitals,
};
use crate::sys::host::{self, ProcessFiles};
use crate::sys::ring::{Ring, RingCounters};
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Bodies younger than this are served again (contract section 5).
const SHARED_FOR: Span = Span::from_millis(50);
/// The largest sample.
const FULL_SCALE: f64 = 2_147_483_648.0;

/// Arrays, the sockets that feed them, and what they share: all that HTTP may see of the program.
pub(super) struct Plant {
    pub arrays: Arrays,
    pub inlets: Vec<Option<Inlet>>,
    /// Where arrays are sent to: none is ever added or removed once the server is confined.
    pub rtp: Vec<RtpOut>,
    pub shared: Shared,
}

impl Plant {
    pub fn new(core: Option<usize>, started: Clocks) -> Plant {
        Plant { arrays: Arrays::default(), inlets: Vec::new(), rtp: Vec::new(), shared: Shared::new(core, started) }
    }

    /// # Panics
    /// If it was removed.
    pub fn inlet(&self, id: InletId) -> &Inlet {
        self.inlets[id].as_ref().expect("an inlet that there is")
    }

    /// # Panics
    /// If it was removed.
    pub fn inlet_mut(&mut self, id: InletId) -> &mut Inlet {
        self.inlets[id].as_mut().expect("an inlet that there is")
    }

    /// The program as HTTP sees it, for the length of one call.
    pub fn view<'a>(&'a mut self, ring: &'a Ring, clocks: Clocks) -> View<'a> {
        View { plant: self, ring, clocks, at: ArrayId(0) }
    }
}

/// What the loop knows that is no array's.
pub(super) struct Shared {
    pub turns: u64,
    pub control_cut: u64,
    /// Datagrams of addresses that no array is made for, since there are as many as may be.
    pub strangers: u64,
    pub recording: Option<RecordingFigures>,
    log_dropped: u64,
    core: Option<usize>,
    kernel: String,
    started: MonoTime,
    started_wall: KernelTime,
    local: (i64, LocalTime),
    process: ProcessFiles,
    /// Bodies about all arrays, and when they were rendered: by kind.
    bodies: [Option<(MonoTime, Bytes)>; 2],
}

/// Index into [`Array::bodies`].
#[derive(Clone, Copy)]
enum Cached {
    DiagnosticsSync,
    Diagnostics,
    Latest,
}

/// Index into `Shared::bodies`.
#[derive(Clone, Copy)]
enum CachedOfAll {
    Metrics,
    Arrays,
}

impl Shared {
    fn new(core: Option<usize>, started: Clocks) -> Shared {
        Shared {
            turns: 0,
            control_cut: 0,
            strangers: 0,
            recording: None,
            log_dropped: 0,
            core,
            kernel: host::kernel_release(),
            started: started.mono,
            started_wall: started.wall,
            local: (i64::MIN, LocalTime(*b"0000-00-00 00:00:00")),
            process: ProcessFiles::open(),
            bodies: [const { None }; 2],
        }
    }

    /// Once a turn.
    pub fn observe(&mut self, clocks: Clocks, log_dropped: u64) {
        self.log_dropped = log_dropped;
        let second = clocks.wall.as_nanos().div_euclid(1_000_000_000);
        if self.local.0 != second {
            self.local = (second, LocalTime(host::local_time(clocks.wall)));
        }
    }

    /// Everything that counts up of an array, its sockets and what it shares with the others.
    pub fn totals(&self, array: &Array, inlet: &Inlet, counters: RingCounters, stream: &StreamFigures) -> Totals {
        let mut totals = Totals::default();
        self.copy_totals(&mut totals, &array.engine, inlet, counters, stream, array.sound());
        totals
    }

    /// The same, over an old copy and in its room.
    pub fn copy_totals(
        &self,
        copy: &mut Totals,
        engine: &Engine,
        inlet: &Inlet,
        counters: RingCounters,
        stream: &StreamFigures,
        sound: Option<SoundFigures>,
    ) {
        copy.engine.copy(engine.counters());
        for (mic, port) in copy.engine.mics.iter_mut().zip(&inlet.ports) {
            mic.kernel_dropped = port.drops.total();
        }
        copy.stream = *stream;
        copy.sound = sound;
        copy.ring = RingFigures {
            turns: self.turns,
            enters: counters.enters,
            completions: counters.completions,
            rearms_enobufs: counters.ended_no_buffers,
            rearms_cq_overflow: counters.ended_completions_full,
            rearms_empty_datagram: counters.ended_empty_datagram,
            rearms_emfile: counters.ended_no_descriptors,
            rearms_error: counters.ended_error,
            cq_overflows: counters.cq_overflows,
            stale: counters.stale,
            sq_full: counters.sq_full,
            control_truncated: self.control_cut,
            log_lines_dropped: self.log_dropped,
        };
        match &self.recording {
            None => copy.recording = None,
            Some(all) => {
                let sockets = inlet.ports.iter().map(|port| port.socket);
                copy.recording.get_or_insert_default().copy_of(all, sockets);
            }
        }
    }
}

/// The program as HTTP sees it, for the length of one call; as a [`Source`], the array that was asked for last.
pub(super) struct View<'a> {
    plant: &'a mut Plant,
    ring: &'a Ring,
    clocks: Clocks,
    at: ArrayId,
}

impl View<'_> {
    /// One array.
    pub fn at(&mut self, id: ArrayId) -> &mut dyn Source {
        self.at = id;
        self
    }

    fn own(&self) -> &Array {
        self.plant.arrays.of(self.at)
    }

    fn engine(&self) -> &Engine {
        &self.own().engine
    }

    fn body(&mut self, which: Cached, render: impl FnOnce(&mut Self) -> String) -> Bytes {
        if let Some((made, body)) = &self.own().bodies[which as usize]
            && self.clocks.mono - *made < SHARED_FOR
        {
            return body.clone();
        }
        let body = Bytes::from(render(self));
        self.plant.arrays.of_mut(self.at).bodies[which as usize] = Some((self.clocks.mono, body.clone()));
        body
    }

    fn body_of_all(&mut self, which: CachedOfAll, render: impl FnOnce(&mut Self) -> String) -> Bytes {
        if let Some((made, body)) = &self.plant.shared.bodies[which as usize]
            && self.clocks.mono - *made < SHARED_FOR
        {
            return body.clone();
        }
        let body = Bytes::from(render(self));
        self.plant.shared.bodies[which as usize] = Some((self.clocks.mono, body.clone()));
        body
    }

    /// Reads the sockets' drop counters: a socket that takes nothing in tells no drops in any message.
    fn read_drops(&mut self) {
        let inlet = self.own().inlet;
        for port in &mut self.plant.inlet_mut(inlet).ports {
            if let Ok(reading) = self.ring.socket(port.socket).drops() {
                port.drops.observe(reading);
            }
        }
    }

    fn process(&mut self) -> ProcessFigures {
        let shared = &mut self.plant.shared;
        let used = shared.process.read();
        ProcessFigures {
            cpu_seconds: used.cpu_seconds,
            resident_bytes: used.resident_bytes,
            open_fds: used.open_fds,
            max_fds: used.max_fds,
            strange_datagrams: shared.strangers,
            start_time_seconds: Some(shared.started_wall.as_nanos() as f64 / 1e9),
        }
    }

    /// What was lost in the window, for the overview.
    fn loss(&self) -> serde_json::Value {
        let array = self.own();
        let then = array.past.then(self.clocks.mono);
        let reason = (0..array.sources()).find_map(|source| array.engine.unnumbered(source));
        let sum = |of: fn(&MicCounters) -> u64| {
            let now = array.engine.counters().mics.iter().map(of).sum::<u64>();
            now.saturating_sub(then.map_or(0, |then| then.engine.mics.iter().map(of).sum()))
        };
        let (lost, received) = (sum(|mic| mic.lost), sum(|mic| mic.received));
        let known = reason.is_none();
        serde_json::json!({ "lost": known.then_some(lost), "of": known.then_some(lost + received), "reason": reason })
    }

    /// What counts up, and how much of it in the window.
    fn totals(&self, stream: &StreamFigures) -> (Totals, Totals) {
        let array = self.own();
        let inlet = self.plant.inlet(array.inlet);
        let mut totals = self.plant.shared.totals(array, inlet, self.ring.counters(), stream);
        totals.saving = array.saving;
        let window = array.past.then(self.clocks.mono).map_or_else(|| totals.clone(), |then| totals.since(then));
        (totals, window)
    }

    fn snapshot(&mut self, stream: &StreamFigures) -> Snapshot {
        self.read_drops();
        let now = self.clocks.mono;
        let (totals, window_totals) = self.totals(stream);
        let shared = &self.plant.shared;
        let engine = &mut self.plant.arrays.of_mut(self.at).engine;
        let layout = *engine.layout();
        let sources = || 0..layout.sources();
        let unnumbered = sources().map(|source| engine.unnumbered(source)).collect();
        let health = HealthFigures::of(engine.health(), now).with_unnumbered(unnumbered);
        let window_skew = engine.meter().window(now);
        Snapshot {
            layout,
            server: ServerInfo {
                version: env!("CARGO_PKG_VERSION"),
                uptime: now - shared.started,
                run: Some(engine.history().first_id()),
                core: shared.core,
                clock: engine.clock_name(),
                hold: engine.hold(),
                sample_rate: engine.config().sample_rate,
                chunks: sources().map(|source| engine.chunk(source)).collect(),
                formats: sources().map(|source| engine.format(source).to_string()).collect(),
                untimed: sources().map(|source| engine.untimed(source)).collect(),
                kernel: shared.kernel.clone(),
            },
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

    fn latest_packets(&self) -> Vec<Option<LatestPacket>> {
        let array = self.own();
        let of = |source: usize| {
            array.engine.latest(source).map(|latest| LatestPacket {
                timestamp: String::from_utf8_lossy(&host::local_time(latest.stamp)).into_owned(),
                bytes: latest.byte_count,
                rms: array.rms[source],
            })
        };
        (0..array.sources()).map(of).collect()
    }
}

impl House for View<'_> {
    fn find(&self, name: &str) -> Option<ArrayId> {
        self.plant.arrays.find(name)
    }

    fn first(&self) -> Option<ArrayId> {
        self.plant.arrays.first()
    }

    fn array(&mut self, id: ArrayId) -> &mut dyn Source {
        self.at(id)
    }

    fn arrays(&mut self) -> Bytes {
        self.body_of_all(CachedOfAll::Arrays, |view| {
            let ids: Vec<ArrayId> = view.plant.arrays.ids().collect();
            let entries: Vec<String> = ids.into_iter().filter_map(|id| view.entry(id)).collect();
            format!("{{\"arrays\":[{}]}}\n", entries.join(","))
        })
    }

    fn ids(&self) -> Vec<ArrayId> {
        self.plant.arrays.ids().collect()
    }

    fn entry(&mut self, id: ArrayId) -> Option<String> {
        self.plant.arrays.get(id)?;
        let health = self.at(id).health();
        let loss = self.loss();
        let array = self.own();
        let level = array.rms.iter().copied().fold(0.0, f64::max);
        let now = self.clocks.mono;
        let heard = (0..array.sources()).filter_map(|mic| array.engine.latest(mic));
        let silent = heard.map(|latest| now - latest.arrival).max();
        let senders = (0..array.sources()).map(|mic| array.engine.latest(mic).map(|latest| latest.sender.to_string()));
        let entry = serde_json::json!({
            "name": array.name.as_str(),
            "channels": Source::channels(self),
            "sample_rate": array.engine.config().sample_rate,
            "health": { "ok": health.is_ok(), "reason": health.err() },
            "senders": senders.collect::<Vec<_>>(),
            "level_dbfs": (level > 0.0).then(|| 20.0 * (level / FULL_SCALE).log10()),
            "silent_s": silent.map(Span::as_secs_f64),
            "loss": loss,
            "rtp": array.rtp.map(|place| self.plant.rtp[place].figures_as_json()),
        });
        Some(entry.to_string())
    }

    fn measure(&mut self, id: ArrayId, first: bool, stream: &StreamFigures, metrics: &mut Metrics) -> bool {
        if self.plant.arrays.get(id).is_none() {
            return false;
        }
        self.at = id;
        let histograms = self.plant.arrays.of_mut(id).engine.meter().histograms();
        let snapshot = self.snapshot(stream);
        let Array { name, exporter, .. } = self.plant.arrays.of_mut(id);
        if first {
            metrics.add(None, exporter, &snapshot, &histograms);
        }
        // Where arrays have names, each under its own too.
        if name.as_str() != DEFAULT_NAME {
            metrics.add(Some(name.as_str()), exporter, &snapshot, &histograms);
        }
        true
    }

    fn families(&mut self, metrics: Metrics) -> Vec<String> {
        metrics.families(&self.process())
    }

    fn metrics(&mut self, stream: &dyn Fn(ArrayId) -> StreamFigures) -> Bytes {
        self.body_of_all(CachedOfAll::Metrics, |view| {
            let ids: Vec<ArrayId> = view.plant.arrays.ids().collect();
            let mut metrics = Metrics::default();
            for (place, &id) in ids.iter().enumerate() {
                view.measure(id, place == 0, &stream(id), &mut metrics);
            }
            metrics.finish(&view.process())
        })
    }

    /// Of the worst array: the one that has the most to say.
    fn health(&mut self) -> Result<(), String> {
        let ids: Vec<ArrayId> = self.plant.arrays.ids().collect();
        let mut worst: Option<String> = None;
        let mut ill = 0;
        for &id in &ids {
            if let Err(reason) = self.at(id).health() {
                ill += 1;
                let reason = format!("{}{reason}", self.plant.arrays.prefix(id));
                if worst.as_ref().is_none_or(|worst| reason.len() > worst.len()) {
                    worst = Some(reason);
                }
            }
        }
        match worst {
            None if ids.is_empty() => Err("no array was heard yet".to_owned()),
            None => Ok(()),
            Some(reason) if ill == 1 => Err(reason),
            Some(reason) => Err(format!("{ill} of {} arrays are not usable; {reason}", ids.len())),
        }
    }
}

impl Source for View<'_> {
    fn name(&self) -> &str {
        self.own().name.as_str()
    }

    fn diagnostics_sync(&mut self, stream: &StreamFigures) -> Bytes {
        self.body(Cached::DiagnosticsSync, |view| report::diagnostics_sync(&view.snapshot(stream)))
    }

    fn diagnostics(&mut self, stream: &StreamFigures) -> Bytes {
        self.body(Cached::Diagnostics, |view| {
            let (totals, _) = view.totals(stream);
            let now = host::local_time(view.clocks.wall);
            let (engine, now) = (view.engine(), String::from_utf8_lossy(&now));
            let held = engine.history().buffer_packets();
            report::diagnostics(&now, engine.layout(), &totals, &view.latest_packets(), held)
        })
    }

    fn latest(&mut self) -> Bytes {
        self.body(Cached::Latest, |view| {
            let engine = view.engine();
            report::latest(engine.layout(), &view.latest_packets(), engine.config().sample_rate)
        })
    }

    fn metrics(&mut self, stream: &StreamFigures) -> Bytes {
        let histograms = self.plant.arrays.of_mut(self.at).engine.meter().histograms();
        let snapshot = self.snapshot(stream);
        let mut metrics = Metrics::default();
        metrics.add(None, &mut self.plant.arrays.of_mut(self.at).exporter, &snapshot, &histograms);
        metrics.finish(&self.process()).into()
    }

    fn health(&mut self) -> Result<(), String> {
        let now = self.clocks.mono;
        let engine = self.engine();
        let layout = engine.layout();
        let heard = |source| engine.latest(source).map(|latest| latest.arrival);
        let last_heard: Vec<_> = (0..layout.sources()).map(heard).collect();
        let counters = engine.counters();
        let then = self.own().past.then(now);
        let cycles = then.map_or(counters.cycles, |then| counters.since(&then.engine).cycles);
        let found = report::health(&Vitals { layout, last_heard: &last_heard, cycles, now });
        report::usable(found, engine.health(), now)
    }

    fn channels(&self) -> usize {
        self.engine().layout().channels()
    }

    fn sample_rate(&self) -> u32 {
        self.engine().config().sample_rate
    }

    fn span(&self) -> Range<FramePos> {
        self.engine().history().span()
    }

    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()> {
        self.engine().history().append_to(out, from, frames)
    }

    fn cycle(&self, id: u64) -> Option<Cycle> {
        self.engine().history().cycle(id)
    }

    fn cycle_ids(&self) -> Range<u64> {
        self.engine().history().ids()
    }

    fn sdp(&self) -> Option<String> {
        let array = self.own();
        let (run, rate) = (array.engine.history().first_id(), array.engine.config().sample_rate);
        self.plant.rtp[array.rtp?].sdp(array.name.as_str(), run, rate, self.channels())
    }
    fn calibrate(&mut self, distances: Option<Vec<f64>>) -> Result<(), String> {
        let array = self.plant.arrays.of_mut(self.at);
        array.engine.calibrate(Calibrate { distances }).map_err(str::to_owned)
    }

    fn calibration(&mut self) -> Bytes {
        super::calibration::body(self.own(), self.clocks.mono).into()
    }

    fn local_time(&self, wall: KernelTime) -> LocalTime {
        let local = self.plant.shared.local;
        if wall.as_nanos().div_euclid(1_000_000_000) == local.0 {
            return local.1;
        }
        LocalTime(host::local_time(wall))
    }
}
