//! What is told of the microphones themselves: rate, level, faults; in the diagnostics, in `/metrics` and in `/healthz`.

use std::borrow::Cow;

use serde::Serialize;

use super::channels::OfMics;
use super::diagnostics::{millionths, thousandths};
use super::metrics::Exposition;
use crate::array::Layout;
use crate::engine::figures::{Known, MicCounters};
use crate::engine::health::levels::Level;
use crate::engine::health::rates::Rate;
use crate::engine::health::{Fault, Health};
use crate::time::MonoTime;

const NO_LEVEL: &str = "not heard for a second yet";
const SILENT: &str = "all samples are 0: silence has no decibels";

/// A copy of what the engine's [`Health`] knows.
#[derive(Clone, Debug)]
pub struct HealthFigures {
    pub layout: Layout,
    /// This, and what follows, of each channel.
    pub rates: Vec<Known<Rate>>,
    /// Of the last ten seconds.
    pub window_rates: Vec<Known<Rate>>,
    pub levels: Vec<Known<Level>>,
    pub twins: Vec<Option<usize>>,
    pub faults: Vec<Vec<Fault>>,
    /// Why no loss and no drift can be told.
    pub disagreements: Vec<Option<String>>,
    /// Why no loss of a source can be told although the rate is right:
    /// [`Engine::unnumbered`](crate::engine::Engine::unnumbered).
    pub unnumbered: Vec<Option<String>>,
}

impl HealthFigures {
    pub fn of(health: &Health, now: MonoTime) -> HealthFigures {
        let layout = *health.layout();
        let channels = || 0..layout.channels();
        HealthFigures {
            rates: channels().map(|channel| health.rate_since_start(channel)).collect(),
            window_rates: channels().map(|channel| health.rate(channel)).collect(),
            levels: channels().map(|channel| health.level(channel).ok_or(NO_LEVEL)).collect(),
            twins: channels().map(|channel| health.twin(channel)).collect(),
            faults: channels().map(|channel| health.faults(channel, now)).collect(),
            disagreements: channels().map(|channel| health.disagreement(channel)).collect(),
            unnumbered: vec![None; layout.sources()],
            layout,
        }
    }

    /// The same, with why the packets of each source cannot be numbered where they cannot.
    pub fn with_unnumbered(self, unnumbered: Vec<Option<String>>) -> HealthFigures {
        HealthFigures { unnumbered, ..self }
    }

    /// Why it cannot be told what a source lost; what numbers say is known whatever its rate.
    pub fn loss_unknown(&self, source: usize, counters: &MicCounters) -> Option<&str> {
        let inferred =
            self.disagreements[self.layout.first_of(source)].as_deref().or(self.unnumbered[source].as_deref());
        inferred.filter(|_| !counters.known)
    }

    /// Without what the samples told: they are not all there.
    pub fn without_sound(mut self, reason: &'static str) -> HealthFigures {
        self.levels.fill(Err(reason));
        self.twins.fill(None);
        self.faults.iter_mut().for_each(|faults| faults.retain(|fault| !fault.kind.is_heard()));
        self
    }
}

/// For `/healthz`: what was found before, and the faults that make audio unusable, at most one a source.
pub fn usable(found: Result<(), String>, health: &Health, now: MonoTime) -> Result<(), String> {
    let layout = health.layout();
    let faults = (0..layout.sources()).filter_map(|source| {
        let faults = health.faults(layout.first_of(source), now);
        let fault = faults.into_iter().find(|fault| fault.kind.is_unusable())?;
        Some(format!("{}: {}: {}", layout.name_of(source), fault.evidence, fault.next_step))
    });
    let reasons: Vec<String> = found.err().into_iter().chain(faults).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}

#[derive(Serialize)]
pub(super) struct RateHz {
    hz: Option<f64>,
    uncertainty_hz: Option<f64>,
    received_hz: Option<f64>,
    span_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) fn rates(rates: &[Known<Rate>]) -> OfMics<RateHz> {
    let of = |rate: &Known<Rate>| {
        let known = |of: fn(&Rate) -> f64| rate.as_ref().ok().map(|rate| thousandths(of(rate)));
        RateHz {
            hz: known(|rate| rate.hz),
            uncertainty_hz: known(|rate| rate.uncertainty_hz),
            received_hz: known(|rate| rate.received_hz),
            span_s: known(|rate| rate.span.as_secs_f64()),
            reason: rate.err(),
        }
    };
    OfMics(rates.iter().map(of).collect())
}

#[derive(Serialize)]
pub(super) struct LevelOf {
    rms_dbfs: Option<f64>,
    peak_dbfs: Option<f64>,
    peak: Option<f64>,
    offset: Option<f64>,
    clipped_share: Option<f64>,
    equal_to: Vec<usize>,
    span_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) fn levels(figures: &HealthFigures) -> OfMics<LevelOf> {
    OfMics::of_channels(&figures.layout, |mic| {
        let level = figures.levels[mic];
        let known = |of: fn(&Level) -> f64| level.ok().map(|level| millionths(of(&level)));
        let decibels = |of: fn(&Level) -> f64| level.ok().and_then(|level| dbfs(of(&level))).map(thousandths);
        LevelOf {
            rms_dbfs: decibels(|level| level.rms),
            peak_dbfs: decibels(|level| level.peak),
            peak: known(|level| level.peak),
            offset: known(|level| level.offset),
            clipped_share: known(|level| level.clipped),
            equal_to: figures.twins[mic].into_iter().collect(),
            span_s: known(|level| level.span.as_secs_f64()),
            reason: match level {
                Err(reason) => Some(reason),
                Ok(level) if level.peak == 0.0 => Some(SILENT),
                Ok(_) => None,
            },
        }
    })
}

/// Of a share of full scale; silence has none.
fn dbfs(share: f64) -> Option<f64> {
    (share > 0.0).then(|| 20.0 * share.log10())
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum HealthOf<'a> {
    Ok(&'static str),
    Faults(Vec<FaultOf<'a>>),
}

#[derive(Serialize)]
pub(super) struct FaultOf<'a> {
    fault: Cow<'static, str>,
    /// Microseconds since the Unix epoch.
    since: i64,
    evidence: &'a str,
    next_step: &'a str,
}

pub(super) fn faults(figures: &HealthFigures) -> OfMics<HealthOf<'_>> {
    OfMics::of_channels(&figures.layout, |channel| {
        let faults = &figures.faults[channel];
        if faults.is_empty() {
            return HealthOf::Ok("ok");
        }
        let told = faults.iter().map(|fault| FaultOf {
            fault: fault.kind.name(),
            since: fault.since.as_micros(),
            evidence: &fault.evidence,
            next_step: &fault.next_step,
        });
        HealthOf::Faults(told.collect())
    })
}

pub(super) fn metrics(text: &mut Exposition, figures: &HealthFigures) {
    let gauge = |text: &mut Exposition, name, help, values: Vec<Option<f64>>| text.per_mic(name, "gauge", help, values);
    gauge(
        text,
        "micring_mic_rate_hertz",
        "Samples a second that the microphone sends, from its arrivals of the last ten seconds.",
        figures.window_rates.iter().map(|rate| rate.ok().map(|rate| rate.hz)).collect(),
    );
    gauge(
        text,
        "micring_mic_rate_uncertainty_hertz",
        "Half-width of the 95 % interval of micring_mic_rate_hertz.",
        figures.window_rates.iter().map(|rate| rate.ok().map(|rate| rate.uncertainty_hz)).collect(),
    );
    let level = |of: fn(&Level) -> Option<f64>| {
        figures.levels.iter().map(|level| level.as_ref().ok().and_then(of)).collect::<Vec<Option<f64>>>()
    };
    gauge(
        text,
        "micring_level_rms_dbfs",
        "Root mean square of the last second, in decibels of full scale.",
        level(|level| dbfs(level.rms)),
    );
    gauge(
        text,
        "micring_level_peak_ratio",
        "Largest sample of the last second, of full scale.",
        level(|level| Some(level.peak)),
    );
    gauge(
        text,
        "micring_level_offset_ratio",
        "Mean of the last second's samples, of full scale.",
        level(|level| Some(level.offset)),
    );
    gauge(
        text,
        "micring_level_clipped_ratio",
        "Share of the last second's samples in flat tops.",
        level(|level| Some(level.clipped)),
    );
    text.family("micring_fault", "gauge", "1 for each fault that a microphone has.");
    for (mic, faults) in figures.faults.iter().enumerate() {
        for fault in faults {
            text.sample("micring_fault", format_args!("mic=\"{mic}\",fault=\"{}\"", fault.kind.name()), 1);
        }
    }
}
