//! What a user declares: `raw:s16le*2@16000,skip=12,seq=u16be@2`, `audiovision`, `vban`, `rtp:L24/48000/2`.
//!
//! The text is read here and written here, and a format that was read, written and read again is the same: recordings keep it.

use std::fmt;
use std::str::FromStr;

use super::Coding;

/// The most channels a source has: an array has no more.
const MOST_CHANNELS: u8 = 64;
/// A header is so long at most: more is no header.
const LONGEST_HEADER: usize = 1024;
/// Rates that can be meant: as `--sample-rate` has them.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// What a source sends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// `raw`, unless the datagrams prove another.
    #[default]
    Auto,
    Raw(Raw),
    Audiovision,
    Vban(Vban),
    /// Without a declaration only payload types 10 and 11 have a meaning.
    Rtp(Option<Rtp>),
}

/// Samples behind a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw {
    pub coding: Coding,
    pub channels: u8,
    pub rate: Option<u32>,
    /// Bytes in front of the samples.
    pub skip: usize,
    /// The datagram's number: of what kind, and at which byte.
    pub seq: Option<(Integer, usize)>,
    pub time: Option<SentTime>,
}

impl Default for Raw {
    fn default() -> Raw {
        Raw { coding: Coding::S32le, channels: 1, rate: None, skip: 0, seq: None, time: None }
    }
}

impl Raw {
    /// Bytes of a frame on the wire.
    pub fn frame_bytes(&self) -> usize {
        self.coding.bytes() * usize::from(self.channels)
    }
}

/// Where a datagram has its sender's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentTime {
    pub kind: Integer,
    pub at: usize,
    pub unit: TimeUnit,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    Micros,
    Millis,
    /// The count of frames that were captured before this datagram's first.
    Samples,
}

/// An unsigned integer in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Integer {
    U8,
    U16le,
    U16be,
    U32le,
    U32be,
    U64le,
    U64be,
}

/// All of them, with their names.
const INTEGERS: [(Integer, &str); 7] = [
    (Integer::U8, "u8"),
    (Integer::U16le, "u16le"),
    (Integer::U16be, "u16be"),
    (Integer::U32le, "u32le"),
    (Integer::U32be, "u32be"),
    (Integer::U64le, "u64le"),
    (Integer::U64be, "u64be"),
];

impl Integer {
    pub fn bytes(self) -> usize {
        match self {
            Integer::U8 => 1,
            Integer::U16le | Integer::U16be => 2,
            Integer::U32le | Integer::U32be => 4,
            Integer::U64le | Integer::U64be => 8,
        }
    }

    pub fn bits(self) -> u32 {
        8 * self.bytes() as u32
    }

    pub fn is_big_endian(self) -> bool {
        matches!(self, Integer::U16be | Integer::U32be | Integer::U64be)
    }
}

/// VBAN says in each packet what it is; a declaration says what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vban {
    pub channels: Option<u8>,
    pub rate: Option<u32>,
}

/// What an RTP payload type means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtp {
    /// `S16be` (L16) or `S24be` (L24): RFC 3551 4.5.11, RFC 3190 4.
    pub coding: Coding,
    pub rate: u32,
    pub channels: u8,
    /// Any, where the declaration names none.
    pub payload_type: Option<u8>,
}

impl Format {
    /// The channels that the declaration says; `None` where only the packets will.
    pub fn channels(&self) -> Option<u8> {
        match self {
            Format::Auto | Format::Rtp(None) => None,
            Format::Raw(raw) => Some(raw.channels),
            Format::Audiovision => Some(super::audiovision::CHANNELS),
            Format::Vban(vban) => vban.channels,
            Format::Rtp(Some(rtp)) => Some(rtp.channels),
        }
    }

    /// The same, of so many channels where a raw format names none.
    #[must_use]
    pub fn or_channels(self, channels: u8) -> Format {
        match self {
            Format::Raw(raw) if raw.channels == 1 => Format::Raw(Raw { channels, ..raw }),
            other => other,
        }
    }

    /// The frames a second that the declaration says.
    pub fn rate(&self) -> Option<u32> {
        match self {
            Format::Raw(raw) => raw.rate,
            Format::Vban(vban) => vban.rate,
            Format::Rtp(Some(rtp)) => Some(rtp.rate),
            Format::Auto | Format::Audiovision | Format::Rtp(None) => None,
        }
    }

    /// Whether its datagrams carry a number of their own: loss is known then.
    pub fn is_numbered(&self) -> bool {
        match self {
            Format::Raw(raw) => raw.seq.is_some(),
            Format::Vban(_) | Format::Rtp(_) => true,
            Format::Auto | Format::Audiovision => false,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let (name, rest) = text.split_once([':', '*', '@']).map_or((text, None), |(name, _)| {
            let rest = &text[name.len()..];
            (name, Some(rest.strip_prefix(':').unwrap_or(rest)))
        });
        match (name, rest) {
            ("auto", None) => Ok(Format::Auto),
            ("raw", None) => Ok(Format::Raw(Raw::default())),
            ("raw", Some(rest)) => raw(rest).map(Format::Raw),
            ("audiovision", None) => Ok(Format::Audiovision),
            ("vban", None) => Ok(Format::Vban(Vban::default())),
            ("vban", Some(rest)) => vban(rest).map(Format::Vban),
            ("rtp", None) => Ok(Format::Rtp(None)),
            ("rtp", Some(rest)) => rtp(rest).map(|rtp| Format::Rtp(Some(rtp))),
            ("auto" | "audiovision", Some(_)) => Err(format!("'{name}' takes nothing behind it")),
            _ => Err(format!("'{name}' is not one of auto, raw, audiovision, vban, rtp")),
        }
    }
}

/// `s16le*2@16000,skip=12,seq=u16be@2`
fn raw(text: &str) -> Result<Raw, String> {
    let mut parts = text.split(',');
    let (coding, channels, rate) = kind(parts.next().unwrap_or_default())?;
    let coding = if coding.is_empty() { Coding::default() } else { coding.parse()? };
    let mut raw = Raw { coding, channels: channels.unwrap_or(1), rate, ..Raw::default() };
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not KEY=VALUE"))?;
        if seen.contains(&key) {
            return Err(format!("'{key}' is there twice"));
        }
        seen.push(key);
        match key {
            "skip" => raw.skip = number(value, 0, LONGEST_HEADER, "skip")?,
            "seq" => raw.seq = Some(field(value)?),
            "time" => raw.time = Some(time(value)?),
            _ => return Err(format!("'{key}' is not one of skip, seq, time")),
        }
    }
    let fields = raw.seq.into_iter().chain(raw.time.map(|time| (time.kind, time.at)));
    for (kind, at) in fields {
        if at + kind.bytes() > raw.skip {
            let end = at + kind.bytes();
            return Err(format!("a field ends at byte {end}, behind the header of skip={}", raw.skip));
        }
    }
    Ok(raw)
}

/// `KIND*CHANNELS@RATE`, of which the last two may be missing.
fn kind(text: &str) -> Result<(&str, Option<u8>, Option<u32>), String> {
    let (text, rate) = match text.split_once('@') {
        Some((text, rate)) => (text, Some(rate_of(rate)?)),
        None => (text, None),
    };
    let (text, channels) = match text.split_once('*') {
        Some((text, channels)) => (text, Some(number(channels, 1, MOST_CHANNELS, "channels")?)),
        None => (text, None),
    };
    Ok((text, channels, rate))
}

/// `*2@44100`
fn vban(text: &str) -> Result<Vban, String> {
    match kind(text)? {
        ("", channels, rate) => Ok(Vban { channels, rate }),
        (other, ..) => {
            Err(format!("'{other}' is not *CHANNELS@RATE: VBAN packets say themselves what samples they have"))
        }
    }
}

/// `L24/48000/2` and perhaps `,pt=97`; one channel where none are named, as in SDP.
fn rtp(text: &str) -> Result<Rtp, String> {
    let (media, payload_type) = match text.split_once(",pt=") {
        Some((media, payload_type)) => (media, Some(number(payload_type, 0, 127, "payload type")?)),
        None => (text, None),
    };
    let mut parts = media.split('/');
    let (encoding, rate, channels) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (Some(rate), None) = (rate, parts.next()) else {
        return Err(format!("'{media}' is not L16/RATE/CHANNELS or L24/RATE/CHANNELS"));
    };
    let channels = channels.map_or(Ok(1), |channels| number(channels, 1, MOST_CHANNELS, "channels"))?;
    Ok(Rtp { coding: rtp_coding(encoding)?, rate: rate_of(rate)?, channels, payload_type })
}

/// In either case: RFC 4855 3.
pub(super) fn rtp_coding(encoding: &str) -> Result<Coding, String> {
    match encoding.to_ascii_uppercase().as_str() {
        "L16" => Ok(Coding::S16be),
        "L24" => Ok(Coding::S24be),
        _ => Err(format!("'{encoding}' is not L16 or L24")),
    }
}

/// `u16be@2`
fn field(text: &str) -> Result<(Integer, usize), String> {
    let (kind, at) = text.split_once('@').ok_or_else(|| format!("'{text}' is not TYPE@OFFSET"))?;
    let known = INTEGERS.iter().find(|(_, name)| *name == kind);
    let (kind, _) = known.ok_or_else(|| {
        let all: Vec<&str> = INTEGERS.iter().map(|(_, name)| *name).collect();
        format!("'{kind}' is not one of {}", all.join(", "))
    })?;
    Ok((*kind, number(at, 0, LONGEST_HEADER, "offset")?))
}

/// `u32le@4:us`
fn time(text: &str) -> Result<SentTime, String> {
    let (text, unit) = text.split_once(':').ok_or_else(|| format!("'{text}' is not TYPE@OFFSET:UNIT"))?;
    let unit = match unit {
        "us" => TimeUnit::Micros,
        "ms" => TimeUnit::Millis,
        "samples" => TimeUnit::Samples,
        _ => return Err(format!("'{unit}' is not one of us, ms, samples")),
    };
    let (kind, at) = field(text)?;
    Ok(SentTime { kind, at, unit })
}

fn rate_of(text: &str) -> Result<u32, String> {
    number(text, *RATES.start(), *RATES.end(), "rate")
}

fn number<T: FromStr + PartialOrd + fmt::Display>(text: &str, least: T, most: T, what: &str) -> Result<T, String> {
    let parsed = text.parse().ok().filter(|value| *value >= least && *value <= most);
    parsed.ok_or_else(|| format!("{what} '{text}' is not a number from {least} to {most}"))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Auto => f.write_str("auto"),
            Format::Raw(raw) => raw.fmt(f),
            Format::Audiovision => f.write_str("audiovision"),
            Format::Vban(Vban { channels: None, rate: None }) => f.write_str("vban"),
            Format::Vban(vban) => {
                f.write_str("vban:")?;
                write_kind(f, vban.channels, vban.rate)
            }
            Format::Rtp(None) => f.write_str("rtp"),
            Format::Rtp(Some(rtp)) => rtp.fmt(f),
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raw:{}", self.coding)?;
        write_kind(f, Some(self.channels).filter(|&channels| channels > 1), self.rate)?;
        if self.skip > 0 {
            write!(f, ",skip={}", self.skip)?;
        }
        if let Some((kind, at)) = self.seq {
            write!(f, ",seq={kind}@{at}")?;
        }
        if let Some(time) = self.time {
            let unit = match time.unit {
                TimeUnit::Micros => "us",
                TimeUnit::Millis => "ms",
                TimeUnit::Samples => "samples",
            };
            write!(f, ",time={}@{}:{unit}", time.kind, time.at)?;
        }
        Ok(())
    }
}

fn write_kind(f: &mut fmt::Formatter<'_>, channels: Option<u8>, rate: Option<u32>) -> fmt::Result {
    channels.map_or(Ok(()), |channels| write!(f, "*{channels}"))?;
    rate.map_or(Ok(()), |rate| write!(f, "@{rate}"))
}

impl fmt::Display for Rtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = if self.coding == Coding::S24be { "L24" } else { "L16" };
        write!(f, "rtp:{encoding}/{}/{}", self.rate, self.channels)?;
        self.payload_type.map_or(Ok(()), |payload_type| write!(f, ",pt={payload_type}"))
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = INTEGERS.iter().find(|(integer, _)| integer == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Format {
        text.parse().expect(text)
    }

    #[test]
    fn the_contract_s_examples_are_read() {
        let raw = Raw {
            coding: Coding::S16le,
            channels: 2,
            rate: Some(16_000),
            skip: 12,
            seq: Some((Integer::U16be, 2)),
            time: None,
        };
        assert_eq!(read("raw:s16le*2@16000,skip=12,seq=u16be@2"), Format::Raw(raw));
        let time = Some(SentTime { kind: Integer::U32le, at: 4, unit: TimeUnit::Micros });
        let board = Raw { skip: 12, seq: Some((Integer::U32le, 0)), time, ..Raw::default() };
        assert_eq!(read("raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us"), Format::Raw(board));
        let rtp = Rtp { coding: Coding::S24be, rate: 48_000, channels: 2, payload_type: None };
        assert_eq!(read("rtp:L24/48000/2"), Format::Rtp(Some(rtp)));
        assert_eq!(read("rtp:l16/44100,pt=97").channels(), Some(1));
        assert_eq!(read("vban"), Format::Vban(Vban::default()));
        assert_eq!(read("vban*2"), Format::Vban(Vban { channels: Some(2), rate: None }));
        assert_eq!(
            (read("auto"), read("raw"), read("rtp")),
            (Format::Auto, Format::Raw(Raw::default()), Format::Rtp(None))
        );
        assert_eq!(read("audiovision").channels(), Some(3));
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            "auto",
            "raw:s32le",
            "raw:f32le*64@96000,skip=1024,time=u64be@1016:samples",
            "raw:u8@8000,skip=3,seq=u8@2",
            "raw:s24be,skip=8,seq=u32be@0,time=u16le@4:ms",
            "audiovision",
            "vban",
            "vban:*2@44100",
            "vban:@16000",
            "rtp",
            "rtp:L16/44100/2",
            "rtp:L24/48000/3,pt=96",
        ] {
            assert_eq!(read(text).to_string(), text);
            assert_eq!(read(&read(text).to_string()), read(text));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (text, why) in [
            ("", "is not one of auto"),
            ("wav", "is not one of auto"),
            ("auto:s16le", "takes nothing"),
            ("raw:s20le", "is not one of u8"),
            ("raw:s16le*0", "channels '0'"),
            ("raw:s16le*65", "channels '65'"),
            ("raw:s16le@12", "rate '12'"),
            ("raw:s16le,skip=2,seq=u16be@1", "ends at byte 3"),
            ("raw:s16le,seq=u16be@0", "behind the header of skip=0"),
            ("raw:s16le,skip=4,time=u32le@0", "TYPE@OFFSET:UNIT"),
            ("raw:s16le,skip=4,time=u32le@0:s", "us, ms, samples"),
            ("raw:s16le,skip=4,seq=u24le@0", "is not one of u8"),
            ("raw:s16le,skip=4,skip=8", "twice"),
            ("raw:s16le,offset=4", "skip, seq, time"),
            ("raw:s16le,skip", "KEY=VALUE"),
            ("raw:s16le,skip=1025", "skip '1025'"),
            ("vban:s16le", "say themselves"),
            ("rtp:L20/48000/2", "L16 or L24"),
            ("rtp:L16", "L16/RATE/CHANNELS"),
            ("rtp:L16/48000/2/1", "L16/RATE/CHANNELS"),
            ("rtp:L16/48000/2,pt=128", "payload type '128'"),
        ] {
            let said = text.parse::<Format>().expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
