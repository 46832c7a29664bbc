//! Prometheus text, version 0.0.4.

use super::{ProcessFigures, Snapshot};
use crate::engine::figures::SkewHistograms;

/// The body of `/metrics`.
pub fn metrics(snapshot: &Snapshot, histograms: &SkewHistograms, process: &ProcessFigures) -> String {
    let _ = (snapshot, histograms, process);
    unimplemented!()
}
