//! Captures: pcapng and pcap bytes -> the datagrams that the kernel would have delivered, and back.
//!
//! file bytes -> [`Unpacked`] (gzip) -> [`Reader`] (frames with their timestamps) -> [`decode`] (link and IP headers) -> [`Reassembler`]
//! (fragments, stamped like the kernel does) -> [`Datagram`]; of several files at once with [`Merge`]. The [`Writer`] goes the other way.

mod census;
mod datagrams;
mod fields;
mod fragments;
mod frames;
mod gzip;
mod look;
mod merge;
mod named;
mod reader;
mod statistics;
mod tunnel;
mod writer;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use census::{Census, Kinds};
pub use datagrams::{Datagrams, PassedOver, Seen};
pub use fragments::{Payload, Reassembler};
pub use frames::{IpPacket, NotUdp, Place, decode};
pub use gzip::Unpacked;
pub use merge::{Merge, Next, Source};
pub use reader::{Frame, Reader, Record};
pub use statistics::Statistics;
pub use writer::{Interface, Writer};

use crate::time::{KernelTime, Span};

/// A UDP datagram out of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// Of its last fragment, as the kernel stamps it.
    pub stamp: KernelTime,
    /// The microphone whose socket it came from, where the recording is ours.
    pub mic: Option<usize>,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The captured part of the payload, from its start.
    pub bytes: &'a [u8],
    /// The length of the whole payload.
    pub len: usize,
}

/// What of a capture is of use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Ports of the microphones; without them what the recording itself says, or else [`USUAL_PORTS`].
    pub ports: Option<Vec<u16>>,
    /// Of a recording of several arrays the one of this name; without it the first.
    pub array: Option<String>,
    /// What this address sent, and nothing else.
    pub from: Option<IpAddr>,
}

/// Where the contract has microphones listen, unless told otherwise.
pub const USUAL_PORTS: &[u16] = &[30_001, 30_002, 30_003];

impl Datagram<'_> {
    /// The microphone that it is for: by `ports`, or as the recording itself says, or else by the usual ports.
    pub fn microphone(&self, ports: Option<&[u16]>) -> Option<usize> {
        let by_port = |ports: &[u16]| ports.iter().position(|port| *port == self.to.port());
        match ports {
            Some(ports) => by_port(ports),
            None => self.mic.or_else(|| by_port(USUAL_PORTS)),
        }
    }
}

/// What a recording says of a step of CLOCK_REALTIME, in a comment of interface statistics: what is stamped after it is so much later.
pub fn clock_step_comment(step: Span) -> String {
    format!("clock step {:+} ns", step.as_nanos())
}

/// The step of which such a comment tells.
pub fn clock_step(comment: &str) -> Option<Span> {
    let ns = comment.strip_prefix("clock step ")?.strip_suffix(" ns")?;
    ns.parse().ok().map(Span::from_nanos)
}

/// What a recording says of the host's clocks, in such a comment: so many nanoseconds was CLOCK_REALTIME ahead of CLOCK_MONOTONIC_RAW.
pub fn clock_offset_comment(ns: i64) -> String {
    format!("CLOCK_REALTIME - CLOCK_MONOTONIC_RAW = {ns} ns")
}

/// The offset of which such a comment tells, in nanoseconds.
pub fn clock_offset(comment: &str) -> Option<i64> {
    comment.strip_prefix("CLOCK_REALTIME - CLOCK_MONOTONIC_RAW = ")?.strip_suffix(" ns")?.parse().ok()
}

/// What is wrong with a capture, and at which byte of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureError {
    pub offset: u64,
    pub fault: Fault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Neither pcapng nor pcap; what it looks like, and the next step.
    NotACapture(&'static str),
    /// The file ends inside a record: all before it was read. A recording that was killed ends like this.
    Truncated,
    /// The same of a gzipped one, at the end of what was unpacked.
    GzipCut,
    Corrupt(&'static str),
    /// The operating system's words.
    Unreadable(String),
}

impl CaptureError {
    /// What was there was read; the rest is missing.
    pub fn is_cut(&self) -> bool {
        matches!(self.fault, Fault::Truncated | Fault::GzipCut)
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.fault {
            Fault::NotACapture(look) => write!(f, "neither a pcapng nor a pcap file: {look}"),
            Fault::Truncated => write!(f, "the file ends inside the record that begins at byte {offset}"),
            Fault::GzipCut => write!(f, "the gzip file is cut off: {offset} bytes could be unpacked and were read"),
            Fault::Corrupt(what) => write!(f, "corrupt at byte {offset}: {what}"),
            Fault::Unreadable(error) => write!(f, "cannot be read at byte {offset}: {error}"),
        }
    }
}

impl std::error::Error for CaptureError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_step_is_told_and_understood() {
        for step in [Span::from_secs(1), Span::from_nanos(-1), Span::ZERO] {
            assert_eq!(clock_step(&clock_step_comment(step)), Some(step));
        }
        assert_eq!(clock_step_comment(Span::from_millis(-2)), "clock step -2000000 ns");
        assert_eq!(clock_step("the clock stepped"), None);
    }
}
