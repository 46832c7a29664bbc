//! What calibrations have told, as JSON: the answer of HTTP, and the file that keeps it.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::array::Array;
use super::plain;
use crate::array::ArrayName;
use crate::engine::{Calibrated, Kept};
use crate::time::MonoTime;

/// What a calibration leaves open.
const LEAVES_OPEN: &str = "the sound has to be equally far from all microphones, or at the distances that were told: 1 cm more is 29 us. A \
                           board that begins anew loses its calibration, unless the sound shows the same offset";

/// The body of `/api/calibrate`.
pub(super) fn body(array: &Array, now: MonoTime) -> String {
    let (engine, sample_rate) = (&array.engine, array.engine.config().sample_rate);
    let us = |samples: f64| round(samples / f64::from(sample_rate) * 1e6);
    let kept = engine.kept();
    let newest = engine.calibration();
    let (state, ends, claps, results) = match &newest {
        None => ("none", None, None, None),
        Some((Calibrated::Listening { until }, claps)) => {
            ("listening", Some(round((*until - now).as_secs_f64().max(0.0))), Some(*claps), None)
        }
        Some((Calibrated::Done(results), claps)) => ("done", None, Some(*claps), Some(results)),
    };
    let mic = |mic: usize| {
        let kept = kept[mic];
        let heard = results.and_then(|results| results[mic].as_ref().ok());
        let reason = match (results.map(|results| &results[mic]), kept) {
            (Some(Err(why)), _) => Some(*why),
            (_, None) => Some("not calibrated"),
            _ => None,
        };
        json!({
            "sender": kept.map(|kept| kept.sender.to_string()),
            "samples": kept.map(|kept| round(kept.samples)),
            "uncertainty_samples": kept.map(|kept| round(kept.uncertainty)),
            "us": kept.map(|kept| us(kept.samples)),
            "claps_agreeing": heard.map(|heard| heard.agreeing),
            "claps_heard": heard.map(|heard| heard.heard),
            "moved_samples": heard.map(|heard| round(heard.median)),
            "reason": reason,
        })
    };
    let mics: serde_json::Map<String, Value> =
        (0..kept.len()).map(|source| (format!("mic{source}"), mic(source))).collect();
    let body = json!({
        "array": array.name.as_str(),
        "state": state,
        "ends_in_s": ends,
        "claps": claps,
        "mics": mics,
        "leaves_open": LEAVES_OPEN,
    });
    format!("{body}\n")
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What was kept of calibrations, by array.
pub(super) type KeptOf = HashMap<ArrayName, Vec<Option<Kept>>>;

/// Reads a file that keeps such bodies, one a line.
///
/// # Errors
/// The file, and what is wrong with it.
pub(super) fn read(path: &Path) -> Result<KeptOf, String> {
    let failure = |what: &str| format!("cannot take calibrations from {}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failure(&plain(&error)))?;
    let mut all = KeptOf::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (name, kept) =
            parse(line).ok_or_else(|| failure(&format!("line {} is no answer of /api/calibrate", number + 1)))?;
        all.insert(name, kept);
    }
    Ok(all)
}

fn parse(line: &str) -> Option<(ArrayName, Vec<Option<Kept>>)> {
    let body: Value = serde_json::from_str(line).ok()?;
    let mics = body["mics"].as_object()?;
    let of = |mic: &Value| {
        let sender: SocketAddr = mic["sender"].as_str()?.parse().ok()?;
        Some(Kept { sender, samples: mic["samples"].as_f64()?, uncertainty: mic["uncertainty_samples"].as_f64()? })
    };
    let kept = (0..mics.len()).map(|source| of(mics.get(&format!("mic{source}"))?)).collect();
    Some((ArrayName::new(body["array"].as_str()?).ok()?, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_kept_is_read_and_another_is_none() {
        let line = r#"{"array":"roof","mics":{"mic0":{"sender":"10.0.0.7:4242","samples":0.0,"uncertainty_samples":0.1},"mic1":{"sender":null}}}"#;
        let (name, kept) = parse(line).expect("it is one");
        assert_eq!((name.as_str(), kept.len(), kept[1]), ("roof", 2, None));
        assert_eq!(kept[0].expect("calibrated").sender, "10.0.0.7:4242".parse().expect("an address"));
        assert!(parse("{}").is_none() && parse("mics").is_none());
    }
}
