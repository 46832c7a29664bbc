//! The engine: datagrams and time in, aligned cycles and figures out.
//!
//! Pure: it has no clock, no socket, no thread and no unsafe. `serve` runs it on a ring, `analyze` on a recording, and the
//! tests in virtual time; all three get the same decisions from the same bytes and stamps.

pub mod clock;
pub mod figures;
pub mod hostclock;

use std::net::SocketAddr;

use crate::time::{KernelTime, Span};

/// What a user may choose about alignment. See `cli.rs` for the options.
#[derive(Clone, Debug)]
pub struct Config {
    /// Frames a second, nominal, of every microphone.
    pub sample_rate: u32,
    pub clock: ClockChoice,
    pub hold: Hold,
    /// How much audio the history keeps.
    pub history: Span,
    /// Longest datagram payload taken, in bytes; longer ones are counted `truncated`.
    pub max_datagram: usize,
}

/// Whether the microphones share one sample clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockChoice {
    /// Shared when the senders have one IP address, independent otherwise.
    Auto,
    Shared,
    Independent,
}

/// How long an incomplete cycle waits for what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Until it is known to be closed, at most 40 ms.
    Auto,
    Fixed(Span),
}

/// One datagram as the kernel handed it over.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Which socket: 0, 1, 2.
    pub mic: usize,
    /// SO_TIMESTAMPNS.
    pub stamp: KernelTime,
    pub sender: SocketAddr,
    /// The payload, cut at the buffer's end when the datagram was longer.
    pub bytes: &'a [u8],
    /// The true length of the payload (MSG_TRUNC); larger than `bytes.len()` when it was cut.
    pub len: usize,
}
