//! What HTTP sees of the program: each array's history by position, and the figures as whole bodies.

use std::ops::Range;

use bytes::Bytes;

use super::array::Array;
use super::bodies::Kind;
use super::plant::Plant;
use crate::array::{ArrayId, DEFAULT_NAME};
use crate::cycle::{Clocks, Cycle};
use crate::engine::{Calibrate, Engine};
use crate::http::{House, LocalTime, Source};
use crate::report::{self, Metrics, StreamFigures, Vitals};
use crate::sys::host;
use crate::sys::ring::Ring;
use crate::time::{FramePos, KernelTime, Span};

/// The largest sample.
const FULL_SCALE: f64 = 2_147_483_648.0;

/// The program as HTTP sees it, for the length of one call; as a [`Source`], the array that was asked for last.
pub(super) struct View<'a> {
    pub plant: &'a mut Plant,
    pub ring: &'a Ring,
    pub clocks: Clocks,
    pub at: ArrayId,
}

impl<'a> View<'a> {
    pub fn new(plant: &'a mut Plant, ring: &'a Ring, clocks: Clocks) -> View<'a> {
        View { plant, ring, clocks, at: ArrayId(0) }
    }

    /// One array.
    pub fn at(&mut self, id: ArrayId) -> &mut dyn Source {
        self.at = id;
        self
    }

    pub fn own(&self) -> &Array {
        self.plant.arrays.of(self.at)
    }

    fn engine(&self) -> &Engine {
        &self.own().engine
    }

    fn body(&mut self, kind: Kind, render: impl FnOnce(&mut Self) -> String) -> Bytes {
        let now = self.clocks.mono;
        self.own().bodies.fresh(kind, now).unwrap_or_else(|| {
            let body = Bytes::from(render(self));
            self.plant.arrays.of_mut(self.at).bodies.keep(kind, now, body.clone());
            body
        })
    }

    fn body_of_all(&mut self, kind: Kind, render: impl FnOnce(&mut Self) -> String) -> Bytes {
        let now = self.clocks.mono;
        self.plant.shared.bodies.fresh(kind, now).unwrap_or_else(|| {
            let body = Bytes::from(render(self));
            self.plant.shared.bodies.keep(kind, now, body.clone());
            body
        })
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
        self.body_of_all(Kind::Arrays, |view| {
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
        self.body_of_all(Kind::Metrics, |view| {
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
        self.body(Kind::DiagnosticsSync, |view| report::diagnostics_sync(&view.snapshot(stream)))
    }

    fn diagnostics(&mut self, stream: &StreamFigures) -> Bytes {
        self.body(Kind::Diagnostics, |view| {
            let (totals, _) = view.totals(stream);
            let now = host::local_time(view.clocks.wall);
            let (engine, now) = (view.engine(), String::from_utf8_lossy(&now));
            let held = engine.history().buffer_packets();
            report::diagnostics(&now, engine.layout(), &totals, &view.latest_packets(), held)
        })
    }

    fn latest(&mut self) -> Bytes {
        self.body(Kind::Latest, |view| {
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
