//! The JSON bodies of `/api/diagnostics` and `/api/latest`: the summaries of the server that micring replaces.

use serde::Serialize;

use super::diagnostics::{PerMic, json, packet_errors};
use super::{BufferPackets, LatestPacket, Totals};
use crate::MICS;

/// The body of `/api/diagnostics`; `timestamp` is the server's local time.
pub fn diagnostics(
    timestamp: &str,
    totals: &Totals,
    latest: &[Option<LatestPacket>; MICS],
    buffer_packets: &BufferPackets,
) -> String {
    let mics = &totals.engine.mics;
    json(&Summary {
        timestamp,
        packet_counters: with_total(std::array::from_fn(|mic| mics[mic].received)),
        packet_errors: with_total(packet_errors(&totals.engine)),
        latest_packets: PerMic::from(std::array::from_fn(|mic| {
            let packet = latest[mic].as_ref();
            LatestSize { last_update: packet.map(|p| p.timestamp.as_str()), size: packet.map_or(0, |p| p.bytes) }
        })),
        buffer_size: buffer_packets.iter().sum(),
        subscribers: totals.stream.subscribers,
    })
}

/// The body of `/api/latest`; before a microphone's first packet, nulls and 0.
pub fn latest(latest: &[Option<LatestPacket>; MICS], sample_rate: u32) -> String {
    const DEVICES: [&str; MICS] = ["udp-mic0", "udp-mic1", "udp-mic2"];
    json(&PerMic::from(std::array::from_fn(|mic| {
        let packet = latest[mic].as_ref();
        Latest {
            device_id: packet.map(|_| DEVICES[mic]),
            sample_rate: packet.map(|_| sample_rate),
            channels: packet.map(|_| 1),
            bits: packet.map(|_| 32),
            timestamp: packet.map(|p| p.timestamp.as_str()),
            byte_count: packet.map_or(0, |p| p.bytes),
            rms: packet.map_or(0.0, |p| p.rms),
        }
    })))
}

#[derive(Serialize)]
struct Summary<'a> {
    timestamp: &'a str,
    packet_counters: WithTotal,
    packet_errors: WithTotal,
    latest_packets: PerMic<LatestSize<'a>>,
    buffer_size: u32,
    subscribers: u64,
}

#[derive(Serialize)]
struct WithTotal {
    #[serde(flatten)]
    mics: PerMic<u64>,
    total: u64,
}

#[derive(Serialize)]
struct LatestSize<'a> {
    last_update: Option<&'a str>,
    size: usize,
}

#[derive(Serialize)]
struct Latest<'a> {
    device_id: Option<&'a str>,
    sample_rate: Option<u32>,
    channels: Option<u32>,
    bits: Option<u32>,
    timestamp: Option<&'a str>,
    byte_count: usize,
    rms: f64,
}

fn with_total(mics: [u64; MICS]) -> WithTotal {
    WithTotal { total: mics.iter().sum(), mics: PerMic::from(mics) }
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
        let body = parse(&diagnostics("2026-11-22 11:05:01", &snapshot.totals, &packets, &[3, 2, 1]));
        assert_eq!(body["timestamp"], json!("2026-11-22 11:05:01"));
        assert_eq!(body["packet_counters"], json!({"mic0": 100, "mic1": 100, "mic2": 100, "total": 300}));
        assert_eq!(body["packet_errors"]["total"], json!(21));
        assert_eq!(body["latest_packets"]["mic0"], json!({"last_update": "2026-11-22 11:05:00", "size": 2048}));
        assert_eq!(body["latest_packets"]["mic1"], json!({"last_update": null, "size": 0}));
        assert_eq!(body["buffer_size"], json!(6));
        assert_eq!(body["subscribers"], json!(2));

        let body = parse(&latest(&packets, 48_000));
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
}
