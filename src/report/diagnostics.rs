//! The JSON bodies.

use super::{BufferPackets, LatestPacket, Snapshot, Totals};
use crate::MICS;

/// The body of `/api/diagnostics_sync`.
pub fn diagnostics_sync(snapshot: &Snapshot) -> String {
    let _ = snapshot;
    unimplemented!()
}

/// The body of `/api/diagnostics`; `timestamp` is the server's local time.
pub fn diagnostics(
    timestamp: &str,
    totals: &Totals,
    latest: &[Option<LatestPacket>; MICS],
    buffer_packets: &BufferPackets,
) -> String {
    let _ = (timestamp, totals, latest, buffer_packets);
    unimplemented!()
}

/// The body of `/api/latest`.
pub fn latest(latest: &[Option<LatestPacket>; MICS], sample_rate: u32) -> String {
    let _ = (latest, sample_rate);
    unimplemented!()
}
