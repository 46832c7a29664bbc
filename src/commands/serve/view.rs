//! What HTTP sees of the program: the engine's history by position, and the figures as whole bodies.
//!
//! Rendering is shared between requests for up to 50 ms, so that a hundred clients polling cost what one does.

use std::ops::Range;

use bytes::Bytes;

use crate::MICS;
use crate::cycle::{Clocks, Cycle};
use crate::engine::Engine;
use crate::engine::window::Past;
use crate::http::{LocalTime, Server, Source};
use crate::report::{
    self, DriftFigures, Exporter, HealthFigures, LatestPacket, ProcessFigures, RecordingFigures, RingFigures,
    ServerInfo, Snapshot, StreamFigures, Totals, Vitals,
};
use crate::sys::host::{self, ProcessFiles};
use crate::sys::ring::Ring;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Bodies younger than this are served again (contract section 5).
const SHARED_FOR: Span = Span::from_millis(50);

/// A socket's 32-bit drop counter, carried on to 64 bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Drops {
    last: u32,
    total: u64,
}

impl Drops {
    /// A reading, in the order of the readings; an older one (a message that waited) changes nothing.
    pub fn observe(&mut self, reading: u32) {
        let step = reading.wrapping_sub(self.last);
        if step < 1 << 31 {
            self.last = reading;
            self.total += u64::from(step);
        }
    }

    pub fn total(self) -> u64 {
        self.total
    }
}

/// What the loop knows beside engine, server and ring.
pub(super) struct Shared {
    pub turns: u64,
    pub drops: [Drops; MICS],
    pub control_cut: u64,
    pub unstamped: Option<usize>,
    /// Of each microphone's newest accepted packet, in sample units.
    pub rms: [f64; MICS],
    pub recording: Option<RecordingFigures>,
    stream: (MonoTime, StreamFigures),
    log_dropped: u64,
    core: Option<usize>,
    kernel: String,
    started: MonoTime,
    started_wall: KernelTime,
    /// Completing stamps of the cycles whose event the kernel has yet to be handed.
    handing: Vec<KernelTime>,
    local: (i64, LocalTime),
    exporter: Exporter,
    process: ProcessFiles,
    bodies: [Option<(MonoTime, Bytes)>; 4],
}

/// Index into `Shared::bodies`.
#[derive(Clone, Copy)]
enum Body {
    DiagnosticsSync,
    Diagnostics,
    Latest,
    Metrics,
}

impl Shared {
    pub fn new(core: Option<usize>, started: Clocks) -> Shared {
        Shared {
            turns: 0,
            drops: [Drops::default(); MICS],
            control_cut: 0,
            unstamped: None,
            rms: [0.0; MICS],
            recording: None,
            stream: (started.mono, StreamFigures::default()),
            log_dropped: 0,
            core,
            kernel: host::kernel_release(),
            started: started.mono,
            started_wall: started.wall,
            handing: Vec::with_capacity(64),
            local: (i64::MIN, LocalTime(*b"0000-00-00 00:00:00")),
            exporter: Exporter::default(),
            process: ProcessFiles::open(),
            bodies: [const { None }; 4],
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

    /// HTTP's own figures, as old as a rendered body may be: they cost a look at every subscriber.
    pub fn refresh(&mut self, server: &Server, now: MonoTime) {
        if now - self.stream.0 >= SHARED_FOR {
            self.stream = (now, server.figures());
        }
    }

    /// A cycle's event was encoded, and queued for somebody. One that is not complete waited for what did not come: what that took is
    /// none of the loop's.
    pub fn emitted(&mut self, cycle: &Cycle) {
        // Where nobody takes any, no more are remembered than there is room for.
        if cycle.complete
            && self.handing.len() < self.handing.capacity()
            && let Some(completed) = cycle.arrival.into_iter().flatten().max()
        {
            self.handing.push(completed);
        }
    }

    /// What was queued for somebody goes to nobody any more.
    pub fn nobody_listens(&mut self) {
        self.handing.clear();
    }

    /// The kernel has the sends: `clocks` were read after the enter that submitted them.
    pub fn handed(&mut self, engine: &mut Engine, clocks: Clocks) {
        for completed in self.handing.drain(..) {
            engine.meter_mut().on_handed(clocks.wall - completed, clocks.mono);
        }
    }

    pub fn totals(&self, engine: &Engine, ring: &Ring) -> Totals {
        let counters = ring.counters();
        let mut engine = *engine.counters();
        for (mic, drops) in engine.mics.iter_mut().zip(&self.drops) {
            mic.kernel_dropped = drops.total;
        }
        Totals {
            engine,
            stream: self.stream.1,
            ring: RingFigures {
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
            },
            recording: self.recording,
        }
    }
}

/// The program as HTTP sees it, for the length of one call.
pub(super) struct View<'a> {
    pub engine: &'a mut Engine,
    pub shared: &'a mut Shared,
    pub ring: &'a Ring,
    pub past: &'a Past<Totals>,
    pub clocks: Clocks,
}

impl View<'_> {
    fn body(&mut self, which: Body, render: impl FnOnce(&mut Self) -> String) -> Bytes {
        if let Some((made, body)) = &self.shared.bodies[which as usize]
            && self.clocks.mono - *made < SHARED_FOR
        {
            return body.clone();
        }
        let body = Bytes::from(render(self));
        self.shared.bodies[which as usize] = Some((self.clocks.mono, body.clone()));
        body
    }

    /// Reads the sockets' drop counters: a socket that takes nothing in tells no drops in any message.
    fn read_drops(&mut self) {
        for mic in 0..MICS {
            if let Ok(reading) = self.ring.mic_socket(mic).drops() {
                self.shared.drops[mic].observe(reading);
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        self.read_drops();
        let now = self.clocks.mono;
        let totals = self.shared.totals(self.engine, self.ring);
        let window_totals = self.past.then(now).map_or(totals, |then| totals.since(then));
        let health = HealthFigures::of(self.engine.health(), now);
        let silent_for = std::array::from_fn(|mic| self.engine.latest(mic).map(|latest| now - latest.arrival));
        Snapshot {
            server: ServerInfo {
                version: env!("CARGO_PKG_VERSION"),
                uptime: now - self.shared.started,
                run: Some(self.engine.history().first_id()),
                core: self.shared.core,
                clock: self.engine.clock_name(),
                hold: self.engine.hold(),
                sample_rate: self.engine.config().sample_rate,
                chunks: std::array::from_fn(|mic| self.engine.chunk(mic)),
                kernel: self.shared.kernel.clone(),
            },
            buffer_packets: self.engine.history().buffer_packets().map(|count| count as u32),
            latest_offsets: self.engine.meter().latest_offsets(),
            totals,
            skew: self.engine.meter().since_start(),
            drift: DriftFigures::of([0, 1, 2].map(|mic| self.engine.clock(mic)), self.engine.is_shared(), now)
                .unless_wrong(&health),
            alignment: self.engine.alignment(now),
            health,
            silent_for,
            window_totals,
            window_skew: self.engine.meter_mut().window(now),
        }
    }

    fn latest_packets(&self) -> [Option<LatestPacket>; MICS] {
        std::array::from_fn(|mic| {
            self.engine.latest(mic).map(|latest| LatestPacket {
                timestamp: String::from_utf8_lossy(&host::local_time(latest.stamp)).into_owned(),
                bytes: latest.byte_count,
                rms: self.shared.rms[mic],
            })
        })
    }
}

impl Source for View<'_> {
    fn diagnostics_sync(&mut self) -> Bytes {
        self.body(Body::DiagnosticsSync, |view| report::diagnostics_sync(&view.snapshot()))
    }

    fn diagnostics(&mut self) -> Bytes {
        self.body(Body::Diagnostics, |view| {
            let totals = view.shared.totals(view.engine, view.ring);
            let now = host::local_time(view.clocks.wall);
            let buffered = view.engine.history().buffer_packets().map(|count| count as u32);
            report::diagnostics(&String::from_utf8_lossy(&now), &totals, &view.latest_packets(), &buffered)
        })
    }

    fn latest(&mut self) -> Bytes {
        self.body(Body::Latest, |view| report::latest(&view.latest_packets(), view.engine.config().sample_rate))
    }

    fn metrics(&mut self) -> Bytes {
        self.body(Body::Metrics, |view| {
            let histograms = view.engine.meter().histograms();
            let used = view.shared.process.read();
            let process = ProcessFigures {
                cpu_seconds: used.cpu_seconds,
                resident_bytes: used.resident_bytes,
                open_fds: used.open_fds,
                max_fds: used.max_fds,
                start_time_seconds: Some(view.shared.started_wall.as_nanos() as f64 / 1e9),
            };
            let snapshot = view.snapshot();
            view.shared.exporter.render(&snapshot, &histograms, &process)
        })
    }

    fn health(&mut self) -> Result<(), String> {
        let now = self.clocks.mono;
        let last_heard = std::array::from_fn(|mic| self.engine.latest(mic).map(|latest| latest.arrival));
        let totals = self.shared.totals(self.engine, self.ring);
        let window = self.past.then(now).map_or(totals, |then| totals.since(then));
        let found = report::health(&Vitals { last_heard, cycles: window.engine.cycles, now });
        report::usable(found, self.engine.health(), now)
    }

    fn sample_rate(&self) -> u32 {
        self.engine.config().sample_rate
    }

    fn span(&self) -> Range<FramePos> {
        self.engine.history().span()
    }

    fn read(&self, from: FramePos, frames: usize, out: &mut Vec<[u8; 4]>) -> Option<()> {
        self.engine.history().append_to(out, from, frames)
    }

    fn cycle(&self, id: u64) -> Option<Cycle> {
        self.engine.history().cycle(id).copied()
    }

    fn cycle_ids(&self) -> Range<u64> {
        self.engine.history().ids()
    }

    fn local_time(&self, wall: KernelTime) -> LocalTime {
        if wall.as_nanos().div_euclid(1_000_000_000) == self.shared.local.0 {
            return self.shared.local.1;
        }
        LocalTime(host::local_time(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_cycles_have_an_emit_delay() {
        let wall = KernelTime::from_nanos(1_795_345_500_000_000_000);
        let mut shared = Shared::new(None, Clocks { mono: MonoTime::from_nanos(0), wall });
        let arrival = [30, 10, 20].map(|us| Some(wall + Span::from_micros(us)));
        let cycle = Cycle {
            id: 0,
            first_frame: FramePos(0),
            frames: 512,
            mic_samples: [512; MICS],
            complete: true,
            arrival,
            emitted: wall,
        };
        shared.emitted(&cycle);
        // Of free boards one that is full in part has an arrival for each microphone too.
        shared.emitted(&Cycle { mic_samples: [512, 31, 512], complete: false, ..cycle });
        shared.emitted(&Cycle {
            mic_samples: [512, 0, 512],
            complete: false,
            arrival: [arrival[0], None, arrival[2]],
            ..cycle
        });
        assert_eq!(shared.handing, [wall + Span::from_micros(30)]);
    }
}
