//! What each source sends, and what the engine remembers of it.
//!
//! A source is read as declared; one that declared nothing is `raw` until its datagrams prove another format, and the choice stands
//! for that sender. The first datagrams that may be another format's wait until the next ones tell ([`undecided`](super::undecided)).

use crate::engine::intake::tuning::formats::SAY_EVERY;
use std::net::SocketAddr;

use crate::engine::clock::sent::{Delays, Sent};
use crate::engine::number::inference::Beside;
use crate::time::{FramePos, MonoTime};
use crate::wire::detect::{Detector, Seen, until_proven};
use crate::wire::known::{Known, Numbered};
use crate::wire::{Bad, Coding, Format, Parsed, Unit};

/// What one source sends.
#[derive(Debug)]
pub(in crate::engine) struct Wire {
    /// Whose datagrams tell the format.
    of: Option<SocketAddr>,
    /// Its datagrams may prove another format.
    looks: bool,
    /// Its newest datagram may be another format's: the next ones tell.
    is_open: bool,
    /// Of its format: see [`Wire::is_plain`].
    is_plain: bool,
    /// Apart: plain samples touch nothing of it.
    rest: Box<Rest>,
}

#[derive(Debug)]
struct Rest {
    declared: Format,
    format: Format,
    detector: Detector,
    /// Its numbers, where it has any.
    numbers: Option<Box<Numbers>>,
    said: Option<MonoTime>,
}

/// Of a numbered source.
#[derive(Debug)]
pub(in crate::engine) struct Numbers {
    pub known: Known,
    pub beside: Beside,
    /// Its sender's clock, where packets carry its time.
    pub sent: Option<Box<Sent>>,
}

impl Numbers {
    /// The sender began anew.
    pub fn begin(&mut self) {
        self.beside.begin();
        self.sent.iter_mut().for_each(|sent| sent.begin());
    }

    /// What the sender's time tells of a packet that ends at `end` of its frames, where it has one.
    pub fn sent(&mut self, packet: &Numbered, end: FramePos, at: MonoTime, sample_rate: u32) -> Delays {
        let Some(stamp) = packet.sampled_at else { return Delays::default() };
        if self.sent.is_none() {
            self.sent = Sent::new(stamp, sample_rate).map(Box::new);
        }
        self.sent.as_mut().map_or_else(Delays::default, |sent| sent.hear(packet, end, at))
    }
}

impl Default for Wire {
    fn default() -> Wire {
        Wire::new(Format::Auto)
    }
}

impl Wire {
    pub fn new(declared: Format) -> Wire {
        let format = if declared == Format::Auto { until_proven() } else { declared.clone() };
        let (looks, is_plain) = (declared == Format::Auto, is_plain(&format));
        let rest = Rest { declared, format, detector: Detector::default(), numbers: None, said: None };
        Wire { of: None, looks, is_open: false, is_plain, rest: Box::new(rest) }
    }

    pub fn format(&self) -> &Format {
        &self.rest.format
    }

    /// Samples and nothing else, as they leave: there is nothing to decode.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Another sender takes the place of the one before.
    pub fn on_new_sender(&mut self) {
        *self = Wire::new(std::mem::take(&mut self.rest.declared));
    }

    /// Whether what was seen so far is of another sender than this one, that may take its place after a silence.
    pub fn looks_elsewhere(&self, sender: SocketAddr, replaces: bool) -> bool {
        self.of.is_some_and(|of| if replaces { of != sender } else { of.ip() != sender.ip() })
    }

    pub fn look_at(&mut self, sender: SocketAddr) {
        self.of = Some(sender);
    }

    /// Looks at a datagram of a source that declared nothing.
    pub fn look(&mut self, datagram: &[u8]) -> Seen {
        if !self.looks {
            return Seen::Raw;
        }
        let seen = self.rest.detector.look(datagram);
        self.looks = !self.rest.detector.has_ended();
        self.is_open = seen == Seen::Perhaps;
        if let Seen::Is(format) = &seen {
            self.rest.format = format.clone();
            self.is_plain = is_plain(format);
        }
        seen
    }

    /// Whether its newest datagram may be another format's: the next ones tell.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Nothing can wait any longer: what is still open is raw.
    pub fn end_looking(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.rest.detector.end();
            self.looks = false;
        }
    }

    /// Reads a datagram; `channels` and `rate` are those of the array.
    pub fn parse<'a>(&self, datagram: &'a [u8], channels: usize, rate: u32) -> Result<Parsed<'a>, Bad> {
        let parsed = crate::wire::parse(&self.rest.format, datagram)?;
        if let Parsed::Unit(unit) = &parsed {
            fits(unit, channels, rate)?;
        }
        Ok(parsed)
    }

    /// Whether it is time to say again that something does not fit.
    pub fn may_say(&mut self, at: MonoTime) -> bool {
        let due = self.rest.said.is_none_or(|said| at - said >= SAY_EVERY);
        if due {
            self.rest.said = Some(at);
        }
        due
    }

    /// Made when the first number comes.
    pub fn numbers_mut(&mut self, sample_rate: u32) -> &mut Numbers {
        let new = || Box::new(Numbers { known: Known::new(sample_rate), beside: Beside::new(sample_rate), sent: None });
        self.rest.numbers.get_or_insert_with(new)
    }
}

fn is_plain(format: &Format) -> bool {
    matches!(format, Format::Raw(raw) if raw.coding == Coding::S32le && raw.skip == 0)
}

fn fits(unit: &Unit<'_>, channels: usize, rate: u32) -> Result<(), Bad> {
    if usize::from(unit.channels) != channels {
        return Err(Bad::Channels { need: channels as u8, got: unit.channels.into() });
    }
    match unit.rate.filter(|&got| got != rate) {
        Some(got) => Err(Bad::Rate { need: rate, got }),
        None => Ok(()),
    }
}
