//! Captures: pcapng and pcap bytes -> the datagrams that the kernel would have delivered, and back.
//!
//! file bytes -> [`Reader`] (frames with their timestamps) -> [`decode`] (link and IP headers) -> [`Reassembler`]
//! (fragments, stamped like the kernel does) -> [`Datagram`]. The [`Writer`] goes the other way.

mod datagrams;
mod fields;
mod fragments;
mod frames;
mod reader;
mod writer;

use std::fmt;
use std::net::SocketAddr;

pub use datagrams::{Datagrams, PassedOver, Seen};
pub use fragments::{Payload, Reassembler};
pub use frames::{IpPacket, NotUdp, Place, decode};
pub use reader::{Frame, Reader, Record, Statistics};
pub use writer::Writer;

use crate::time::KernelTime;

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

/// What is wrong with a capture, and at which byte of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureError {
    pub offset: u64,
    pub fault: Fault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Neither pcapng nor pcap.
    NotACapture,
    /// The file ends inside a record: all before it was read. A recording that was killed ends like this.
    Truncated,
    Corrupt(&'static str),
    /// The operating system's words.
    Unreadable(String),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.fault {
            Fault::NotACapture => write!(f, "neither a pcapng nor a pcap file"),
            Fault::Truncated => write!(f, "the file ends inside the record that begins at byte {offset}"),
            Fault::Corrupt(what) => write!(f, "corrupt at byte {offset}: {what}"),
            Fault::Unreadable(error) => write!(f, "cannot be read at byte {offset}: {error}"),
        }
    }
}

impl std::error::Error for CaptureError {}
