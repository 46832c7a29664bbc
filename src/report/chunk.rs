//! How a source cuts its chunks, as the diagnostics tell it.

use serde::Serialize;

/// A chunk, and what it leaves as.
#[derive(Serialize)]
pub(super) struct ChunkOf {
    samples: Option<u32>,
    pieces: Option<Vec<serde_json::Number>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl ChunkOf {
    pub fn new(chunk: &Option<(u32, Vec<f64>)>) -> ChunkOf {
        // Whole numbers, but for a boundary inside a sample.
        let number = |&samples: &f64| match samples.fract() {
            0.0 => Some((samples as u64).into()),
            _ => serde_json::Number::from_f64(samples),
        };
        match chunk {
            Some((samples, pieces)) => ChunkOf {
                samples: Some(*samples),
                pieces: Some(pieces.iter().filter_map(number).collect()),
                reason: None,
            },
            None => ChunkOf { samples: None, pieces: None, reason: Some("too few packets heard") },
        }
    }
}
