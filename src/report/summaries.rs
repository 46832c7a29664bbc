//! The JSON bodies of `/api/diagnostics` and `/api/latest`: the summaries of the server that micring replaces.

use serde::Serialize;

use super::channels::OfMics;
use super::diagnostics::{json, packet_errors};
use super::{LatestPacket, Totals};
use crate::array::Layout;

/// The body of `/api/diagnostics`; `timestamp` is the server's local time, `latest` and `buffer_packets` are by source. Totals count
/// what a source of several channels sends once.
pub fn diagnostics(
    timestamp: &str,
    layout: &Layout,
    totals: &Totals,
    latest: &[Option<LatestPacket>],
    buffer_packets: &[u64],
) -> String {
    let mics = &totals.engine.mics;
    json(&Summary {
        timestamp,
        packet_counters: WithTotal::new(layout, |source| mics[source].received),
        packet_errors: WithTotal::new(layout, |source| packet_errors(&mics[source])),
        latest_packets: OfMics::of_sources(layout, |source| {
            let packet = latest[source].as_ref();
            LatestSize { last_update: packet.map(|p| p.timestamp.as_str()), size: packet.map_or(0, |p| p.bytes) }
        }),
        buffer_size: buffer_packets.iter().sum(),
        subscribers: totals.stream.subscribers,
    })
}

/// The body of `/api/latest`, of the newest packet of each source; before its first, nulls and 0.
pub fn latest(layout: &Layout, latest: &[Option<LatestPacket>], sample_rate: u32) -> String {
    json(&OfMics::of_channels(layout, |channel| {
        let source = layout.source_of(channel);
        let packet = latest[source].as_ref();
        Latest {
            device_id: packet.map(|_| format!("udp-mic{channel}")),
            sample_rate: packet.map(|_| sample_rate),
            channels: packet.map(|_| layout.channels_of(source).len()),
            bits: packet.map(|_| 32),
            timestamp: packet.map(|p| p.timestamp.as_str()),
            byte_count: packet.map_or(0, |p| p.bytes),
            rms: packet.map_or(0.0, |p| p.rms),
        }
    }))
}

#[derive(Serialize)]
struct Summary<'a> {
    timestamp: &'a str,
    packet_counters: WithTotal,
    packet_errors: WithTotal,
    latest_packets: OfMics<LatestSize<'a>>,
    buffer_size: u64,
    subscribers: u64,
}

#[derive(Serialize)]
struct WithTotal {
    #[serde(flatten)]
    mics: OfMics<u64>,
    total: u64,
}

#[derive(Serialize)]
struct LatestSize<'a> {
    last_update: Option<&'a str>,
    size: usize,
}

#[derive(Serialize)]
struct Latest<'a> {
    device_id: Option<String>,
    sample_rate: Option<u32>,
    channels: Option<usize>,
    bits: Option<u32>,
    timestamp: Option<&'a str>,
    byte_count: usize,
    rms: f64,
}

impl WithTotal {
    fn new(layout: &Layout, of: impl Fn(usize) -> u64) -> WithTotal {
        WithTotal { total: (0..layout.sources()).map(&of).sum(), mics: OfMics::of_sources(layout, &of) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::full;
    use super::*;

    fn parse(body: &str) -> Value {
        serde_json::from_str(body).expect("a body is JSON")
    }

    #[test]
    fn the_old_summaries() {
        let snapshot = full();
        let packet = LatestPacket { timestamp: "2026-11-22 11:05:00".to_owned(), bytes: 2048, rms: 123.5 };
        let packets = [Some(packet), None, None];
        let body = parse(&diagnostics("2026-11-22 11:05:01", &snapshot.layout, &snapshot.totals, &packets, &[3, 2, 1]));
        assert_eq!(body["timestamp"], json!("2026-11-22 11:05:01"));
        assert_eq!(body["packet_counters"], json!({"mic0": 100, "mic1": 100, "mic2": 100, "total": 300}));
        assert_eq!(body["packet_errors"]["total"], json!(21));
        assert_eq!(body["latest_packets"]["mic0"], json!({"last_update": "2026-11-22 11:05:00", "size": 2048}));
        assert_eq!(body["latest_packets"]["mic1"], json!({"last_update": null, "size": 0}));
        assert_eq!(body["buffer_size"], json!(6));
        assert_eq!(body["subscribers"], json!(2));

        let body = parse(&latest(&snapshot.layout, &packets, 48_000));
        assert_eq!(
            body["mic0"],
            json!({"device_id": "udp-mic0", "sample_rate": 48000, "channels": 1, "bits": 32,
                   "timestamp": "2026-11-22 11:05:00", "byte_count": 2048, "rms": 123.5})
        );
        assert_eq!(
            body["mic2"],
            json!({"device_id": null, "sample_rate": null, "channels": null, "bits": null,
                   "timestamp": null, "byte_count": 0, "rms": 0.0})
        );
    }

    #[test]
    fn a_source_of_two_channels_is_counted_once() {
        let layout = Layout::new(&[2, 1]).expect("an array");
        let mut totals = full().totals;
        totals.engine.mics.truncate(2);
        let packet = LatestPacket { timestamp: "2026-11-22 11:05:00".to_owned(), bytes: 4096, rms: 1.5 };
        let packets = [Some(packet), None];
        let body = parse(&diagnostics("2026-11-22 11:05:01", &layout, &totals, &packets, &[3, 2]));
        assert_eq!(body["packet_counters"], json!({"mic0": 100, "mic1": 100, "mic2": 100, "total": 200}));
        assert_eq!((&body["packet_errors"]["total"], &body["buffer_size"]), (&json!(14), &json!(5)));
        let body = parse(&latest(&layout, &packets, 48_000));
        assert_eq!((&body["mic1"]["device_id"], &body["mic1"]["channels"]), (&json!("udp-mic1"), &json!(2)));
        assert_eq!((&body["mic1"]["byte_count"], &body["mic2"]["byte_count"]), (&json!(4096), &json!(0)));
    }
}
