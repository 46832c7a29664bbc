//! What is counted from the start on, as JSON: cycles, the stream, HTTP, the ring.

use serde::Serialize;

use super::{RingFigures, StreamFigures};
use crate::engine::figures::CycleCounters;

#[derive(Serialize)]
pub(super) struct Cycles {
    emitted: u64,
    complete: u64,
    incomplete: u64,
    skipped: u64,
}

#[derive(Serialize)]
pub(super) struct Stream {
    subscribers: u64,
    events_sent: u64,
    events_dropped: u64,
    bytes_sent: u64,
    resumed: u64,
}

#[derive(Serialize)]
pub(super) struct Http {
    connections_open: u64,
    connections: u64,
    requests: u64,
    rejected: u64,
    downloads_aborted: u64,
}

#[derive(Serialize)]
pub(super) struct Ring {
    turns: u64,
    enters: u64,
    completions: u64,
    rearms: Rearms,
    cq_overflows: u64,
    stale: u64,
    sq_full: u64,
    control_truncated: u64,
    log_lines_dropped: u64,
}

#[derive(Serialize)]
struct Rearms {
    enobufs: u64,
    cq_overflow: u64,
    empty_datagram: u64,
    emfile: u64,
    error: u64,
}

impl Cycles {
    pub fn of(cycles: &CycleCounters) -> Cycles {
        Cycles {
            emitted: cycles.emitted,
            complete: cycles.complete,
            incomplete: cycles.incomplete,
            skipped: cycles.skipped,
        }
    }
}

impl Stream {
    pub fn of(stream: &StreamFigures) -> Stream {
        Stream {
            subscribers: stream.subscribers,
            events_sent: stream.events_sent,
            events_dropped: stream.events_dropped,
            bytes_sent: stream.bytes_sent,
            resumed: stream.resumed,
        }
    }
}

impl Http {
    pub fn of(stream: &StreamFigures) -> Http {
        Http {
            connections_open: stream.connections_open,
            connections: stream.connections,
            requests: stream.requests,
            rejected: stream.rejected,
            downloads_aborted: stream.downloads_aborted,
        }
    }
}

impl Ring {
    pub fn of(ring: &RingFigures) -> Ring {
        Ring {
            turns: ring.turns,
            enters: ring.enters,
            completions: ring.completions,
            rearms: Rearms {
                enobufs: ring.rearms_enobufs,
                cq_overflow: ring.rearms_cq_overflow,
                empty_datagram: ring.rearms_empty_datagram,
                emfile: ring.rearms_emfile,
                error: ring.rearms_error,
            },
            cq_overflows: ring.cq_overflows,
            stale: ring.stale,
            sq_full: ring.sq_full,
            control_truncated: ring.control_truncated,
            log_lines_dropped: ring.log_lines_dropped,
        }
    }
}
