//! The figures of one array, collected from where they stand: what bodies are made of.

use super::view::View;
use crate::engine::figures::MicCounters;
use crate::report::{Around, LatestPacket, ProcessFigures, Snapshot, StreamFigures, Totals};
use crate::sys::host;

impl View<'_> {
    /// Reads the sockets' drop counters: a socket that takes nothing in tells no drops in any message.
    fn read_drops(&mut self) {
        let inlet = self.own().inlet;
        for port in &mut self.plant.inlet_mut(inlet).ports {
            if let Ok(reading) = self.ring.socket(port.socket).drops() {
                port.drops.observe(reading);
            }
        }
    }

    pub fn process(&mut self) -> ProcessFigures {
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
    pub fn loss(&self) -> serde_json::Value {
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
    pub fn totals(&self, stream: &StreamFigures) -> (Totals, Totals) {
        let array = self.own();
        let inlet = self.plant.inlet(array.inlet);
        let mut totals = self.plant.shared.totals(array, inlet, self.ring.counters(), stream);
        totals.saving = array.saving;
        let window = array.past.then(self.clocks.mono).map_or_else(|| totals.clone(), |then| totals.since(then));
        (totals, window)
    }

    pub fn snapshot(&mut self, stream: &StreamFigures) -> Snapshot {
        self.read_drops();
        let now = self.clocks.mono;
        let (totals, window_totals) = self.totals(stream);
        let shared = &self.plant.shared;
        let engine = &mut self.plant.arrays.of_mut(self.at).engine;
        let around = Around {
            uptime: now - shared.started,
            run: Some(engine.history().first_id()),
            core: shared.core,
            kernel: shared.kernel.clone(),
        };
        Snapshot::of(engine, now, around, totals, window_totals)
    }

    pub fn latest_packets(&self) -> Vec<Option<LatestPacket>> {
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
