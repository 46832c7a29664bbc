//! What senders put on the wire: a datagram's bytes in, a [`Unit`] out.
//!
//! Problem: many senders write more than samples: a counter, a time, a header of a standard; and not every sample is a little-endian
//! signed 32-bit one. Taken as raw audio, headers click, and a loss that the sender's numbers would tell has to be guessed.
//!
//! Idea: one file a format ([`raw`], [`audiovision`], [`vban`], [`rtp`]) finds the samples, the number and the sender's time in a
//! datagram and judges nothing. [`known`] turns numbers into positions. [`detect`] finds out what a source sends. Whatever the
//! format, samples leave as left-justified s32le, so that nothing behind this room knows what was on the wire.
//!
//! Pure: no clock, no socket, no allocation a datagram (samples that need no change are borrowed, others are written into a buffer
//! that the caller keeps).

pub mod audiovision;
mod coding;
pub mod detect;
mod format;
pub mod known;
pub mod raw;
pub mod rtp;
pub mod sdp;
pub mod vban;

use std::fmt;

pub use coding::Coding;
pub use format::{Format, Integer, Raw, Rtp, SentTime, TimeUnit, Vban};
pub use raw::Samples;

/// What one datagram says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Unit<'a> {
    /// Interleaved, as they were on the wire; [`Samples::s32le`] makes them one kind.
    pub samples: Samples<'a>,
    /// Samples a frame.
    pub channels: u8,
    /// Frames a second, where the datagram or the declared format says it.
    pub rate: Option<u32>,
    /// Its place in the order of sending, where the format has one.
    pub number: Option<Number>,
    /// The sender's time of its first frame, where the format has one.
    pub sampled_at: Option<Stamp>,
    /// Which stream of the sender it belongs to: RTP's SSRC, VBAN's name. Numbers of two streams have nothing to do with each other.
    pub stream: Stream,
}

impl Unit<'_> {
    /// Whole frames in it.
    pub fn frames(&self) -> u32 {
        self.samples.count() / u32::from(self.channels)
    }
}

/// What a sender calls its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stream {
    /// The format has no name for it.
    #[default]
    Only,
    /// RTP's synchronization source.
    Ssrc(u32),
    /// VBAN's stream name.
    Name([u8; vban::NAME_BYTES]),
}

/// A number that a datagram carries; it starts again from 0 behind `modulus` - 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    pub value: u64,
    /// How many different ones there are: 65 536 of 16 bits. 0 stands for 2^64.
    pub modulus: u64,
    pub counts: Counts,
}

impl Number {
    /// A number of so many bits, counting datagrams.
    pub fn of_bits(value: u64, bits: u32) -> Number {
        Number { value, modulus: 1_u64.checked_shl(bits).unwrap_or(0), counts: Counts::Datagrams }
    }
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    Datagrams,
    /// Samples of all channels, in the order of the wire: the number is that of the first sample.
    Samples,
}

/// A sender's time, on its own clock, from wherever it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub ticks: u64,
    /// It wraps to 0 at 2^bits.
    pub bits: u32,
    /// Ticks a second.
    pub hz: u32,
    /// It counts samples: each datagram's is that of the one before plus its frames, to the sample.
    pub in_samples: bool,
}

/// What a datagram is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Parsed<'a> {
    Unit(Unit<'a>),
    /// No audio, but in its place on this port: RTCP, VBAN's text. Counted, and nothing else.
    Control,
}

/// What a declared format does not fit: what was expected, and what came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    Empty,
    /// Bytes of a header or of what it announces.
    Short {
        need: usize,
        got: usize,
    },
    /// Behind the header: bytes of samples, and of one frame.
    NotWhole {
        bytes: usize,
        frame: usize,
    },
    /// Samples that the header announces, and that are there; in bytes.
    Announced {
        need: usize,
        got: usize,
    },
    /// The first four bytes.
    NotVban([u8; 4]),
    /// VBAN's index of a rate, its codec or its data type has no meaning, or is no PCM that can be read.
    VbanField {
        field: &'static str,
        got: u8,
    },
    RtpVersion(u8),
    /// RTP's padding is longer than the packet, or none.
    RtpPadding(u8),
    PayloadType {
        need: Option<u8>,
        got: u8,
    },
    Channels {
        need: u8,
        got: u16,
    },
    /// An array has 64 at most.
    TooManyChannels {
        got: u16,
    },
    Rate {
        need: u32,
        got: u32,
    },
    /// A sample's tag of channel and frame does not follow the one before.
    Tag {
        at: usize,
    },
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Bad::Empty => write!(f, "expected samples, got an empty datagram"),
            Bad::Short { need, got } => write!(f, "expected {need} bytes at least, got {got}"),
            Bad::NotWhole { bytes, frame } => {
                write!(f, "expected a whole number of frames of {frame} bytes, got {bytes} bytes of samples")
            }
            Bad::Announced { need, got } => write!(f, "expected {need} bytes of samples as its header says, got {got}"),
            Bad::NotVban(got) => write!(f, "expected the letters VBAN in front, got bytes {got:02x?}"),
            Bad::VbanField { field, got } => write!(f, "expected PCM in VBAN, got {field} {got}"),
            Bad::RtpVersion(got) => write!(f, "expected RTP version 2, got {got}"),
            Bad::RtpPadding(got) => write!(f, "expected RTP padding within the packet, got {got} bytes of it"),
            Bad::PayloadType { need: Some(need), got } => write!(f, "expected RTP payload type {need}, got {got}"),
            Bad::PayloadType { need: None, got } => write!(
                f,
                "expected RTP payload type 10 or 11, got {got}: its meaning has to be declared (--format rtp:L16/RATE/CHANNELS or --sdp FILE)"
            ),
            Bad::Channels { need, got } => write!(f, "expected {need} channels, got {got}"),
            Bad::TooManyChannels { got } => write!(f, "expected 64 channels at most, got {got}"),
            Bad::Rate { need, got } => write!(f, "expected {need} frames a second, got {got}"),
            Bad::Tag { at } => {
                write!(f, "expected the channel and frame tags of audiovision, got others from sample {at} on")
            }
        }
    }
}

/// Reads one datagram as `format`; `auto` is `raw` here, until [`detect`] has told another.
///
/// A format with pieces (`raw` without a number, `audiovision`) may be cut anywhere: what is no whole number of samples is not
/// malformed by itself, and the caller, who knows the pieces, decides.
///
/// # Errors
/// What was expected and what came.
pub fn parse<'a>(format: &Format, datagram: &'a [u8]) -> Result<Parsed<'a>, Bad> {
    match format {
        Format::Auto => raw::parse(&Raw::default(), datagram).map(Parsed::Unit),
        Format::Raw(raw) => raw::parse(raw, datagram).map(Parsed::Unit),
        Format::Audiovision => audiovision::parse(datagram).map(Parsed::Unit),
        Format::Vban(vban) => vban::parse(vban, datagram),
        Format::Rtp(rtp) => rtp::parse(rtp.as_ref(), datagram),
    }
}
