//! Rates of clocks, and how far channels are apart, as the diagnostics tell them.

use serde::Serialize;

use super::Drift;
use super::channels::ONE_SOURCE;
use super::diagnostics::{millionths, seconds};
use crate::engine::figures::{Alignment, Known};
use crate::time::Span;

#[derive(Serialize)]
pub(super) struct DriftOf<'a> {
    ppm: Option<f64>,
    uncertainty_ppm: Option<f64>,
    span_s: Option<f64>,
    age_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl DriftOf<'_> {
    /// Of two channels with one clock.
    pub const NONE: DriftOf<'static> =
        DriftOf { ppm: Some(0.0), uncertainty_ppm: Some(0.0), span_s: None, age_s: None, reason: Some(ONE_SOURCE) };

    pub fn new(drift: &Drift) -> DriftOf<'_> {
        let known = drift.as_ref().ok();
        DriftOf {
            ppm: known.map(|d| millionths(d.ppm)),
            uncertainty_ppm: known.map(|d| millionths(d.uncertainty_ppm)),
            span_s: known.and_then(|d| d.span).map(seconds),
            age_s: known.and_then(|d| d.age).map(seconds),
            reason: drift.as_ref().map_or_else(|why| Some(why.as_str()), |d| d.reason),
        }
    }
}

#[derive(Serialize)]
pub(super) struct AlignmentOf {
    offset_us: Option<f64>,
    uncertainty_us: Option<f64>,
    offset_samples: Option<f64>,
    uncertainty_samples: Option<f64>,
    leaves_out: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl AlignmentOf {
    /// Of two channels in one packet.
    pub const NONE: AlignmentOf = AlignmentOf {
        offset_us: Some(0.0),
        uncertainty_us: Some(0.0),
        offset_samples: Some(0.0),
        uncertainty_samples: Some(0.0),
        leaves_out: None,
        reason: Some(ONE_SOURCE),
    };

    pub fn new(alignment: Known<Alignment>, sample_rate: u32) -> AlignmentOf {
        let known = alignment.ok();
        let samples = |span: Span| millionths(span.as_secs_f64() * f64::from(sample_rate));
        AlignmentOf {
            offset_us: known.map(|a| a.offset.as_micros_f64()),
            uncertainty_us: known.map(|a| a.uncertainty.as_micros_f64()),
            offset_samples: known.map(|a| samples(a.offset)),
            uncertainty_samples: known.map(|a| samples(a.uncertainty)),
            leaves_out: known.and_then(|a| a.leaves_out),
            reason: alignment.map_or_else(Some, |a| a.reason),
        }
    }
}
