//! The findings as one object: the keys of `/api/diagnostics_sync`, and the analysis beside them.

use serde_json::{Map, Value, json};

use super::Findings;
use crate::array::pairs;
use crate::capture::{Census, Kinds};
use crate::engine::figures::Known;
use crate::report;
use crate::stats::stability::Deviations;

/// The object, on one line, and a line end.
pub(super) fn text(findings: &Findings) -> String {
    let body = report::diagnostics_sync(&findings.snapshot);
    let Ok(Value::Object(mut keys)) = serde_json::from_str(&body) else {
        unreachable!("the body of diagnostics_sync is an object")
    };
    keys.insert("recording".to_owned(), recording(findings));
    keys.insert("stability".to_owned(), stability(findings));
    keys.insert("gaps".to_owned(), gaps(findings));
    let mut text = Value::Object(keys).to_string();
    text.push('\n');
    text
}

fn recording(findings: &Findings) -> Value {
    let run = &findings.run;
    let files: Vec<Value> = findings
        .files
        .iter()
        .map(|file| {
            let passed = &file.passed_over;
            json!({
                "file": file.name,
                "bytes": file.bytes,
                "warning": file.warning,
                "datagrams": file.taken,
                "frames": frames(&file.census),
                "passed_over": {
                    "unknown_link": passed.unknown_link,
                    "not_ip": passed.not_ip,
                    "other_protocol": passed.other_protocol,
                    "malformed": passed.malformed,
                    "unstamped": passed.unstamped,
                    "fragments_missing": passed.incomplete,
                },
            })
        })
        .collect();
    let first = run.watch.stamps.map(|(first, _)| first.as_nanos());
    let last = run.watch.stamps.map(|(_, last)| last.as_nanos());
    let other_ports: Map<String, Value> =
        run.feed.elsewhere.iter().map(|(port, count)| (port.to_string(), json!(count))).collect();
    json!({
        "files": files,
        "first_ns": first,
        "last_ns": last,
        "duration_s": run.watch.stamps.map(|_| run.watch.duration().as_secs_f64()),
        "cycle_frames": run.watch.cycle_frames,
        "notes": findings.notes,
        "other_ports": other_ports,
    })
}

/// What the frames of a file were.
fn frames(census: &Census) -> Value {
    let kinds = |kinds: &Kinds, name: fn(u16) -> String| -> Map<String, Value> {
        let counts = kinds.iter().map(|(kind, count)| (name(kind), json!(count)));
        counts.chain((kinds.others > 0).then(|| ("others".to_owned(), json!(kinds.others)))).collect()
    };
    json!({
        "count": census.frames,
        "link_types": kinds(&census.links, |link| link.to_string()),
        "ether_types": kinds(&census.ether_types, |kind| format!("{kind:#06x}")),
        "ip_protocols": kinds(&census.protocols, |protocol| protocol.to_string()),
        "udp_ports": kinds(&census.udp_ports, |port| port.to_string()),
        "cut_off": census.cut_off,
    })
}

fn stability(findings: &Findings) -> Value {
    let (run, rate) = (&findings.run, findings.snapshot.server.sample_rate);
    let mut object = Map::new();
    for mic in 0..run.watch.stability.len() {
        object.insert(format!("mic{mic}"), points(&run.watch.stability[mic].deviations(rate)));
    }
    for (pair, (first, second)) in pairs(run.watch.stability.len()).enumerate() {
        let figures = points(&run.watch.pair_stability[pair].deviations(rate));
        object.insert(format!("mic{first}_vs_mic{second}"), figures);
    }
    Value::Object(object)
}

fn points(deviations: &[(f64, Deviations)]) -> Value {
    deviations
        .iter()
        .map(|(tau_s, at)| {
            json!({
                "tau_s": tau_s,
                "adev": at.adev,
                "mdev": at.mdev,
                "tdev_us": at.tdev * 1e6,
                "mtie_us": at.mtie * 1e6,
                "terms": at.terms,
            })
        })
        .collect()
}

fn gaps(findings: &Findings) -> Value {
    let run = &findings.run;
    let list: Vec<Value> = run
        .watch
        .gaps
        .iter()
        .map(|gap| {
            json!({
                "mic": gap.mic,
                "first_frame": gap.first_frame.0,
                "frames": gap.frames,
                "emitted_ns": gap.at.as_nanos(),
            })
        })
        .collect();
    json!({ "list": list, "not_listed": run.watch.gaps_not_listed })
}

/// A figure, or a dash.
pub(super) fn or_dash<T>(known: Known<T>, show: impl FnOnce(T) -> String) -> String {
    known.map_or_else(|_| "-".to_owned(), show)
}
