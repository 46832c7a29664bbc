//! `raw`: samples of any kind, behind a header of any length in which a number and a time may stand.

use super::{Bad, Coding, Raw, SentTime, Stamp, Stream, TimeUnit, Unit};
use super::{Integer, Number};

/// Bytes of an s32.
const S32_BYTES: usize = 4;

/// Samples as they were on the wire.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Samples<'a> {
    pub bytes: &'a [u8],
    pub coding: Coding,
}

impl<'a> Samples<'a> {
    /// Whole samples, of all channels together.
    pub fn count(&self) -> u32 {
        (self.bytes.len() / self.coding.bytes()) as u32
    }

    /// The same as left-justified s32le: borrowed where they are so already (a cut sample at the end with them), else written
    /// into `buffer`, whose old content is replaced.
    pub fn s32le<'b>(&self, buffer: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.coding == Coding::S32le {
            return self.bytes;
        }
        buffer.clear();
        buffer.reserve(self.count() as usize * S32_BYTES);
        self.coding.append_s32le(self.bytes, buffer);
        buffer
    }
}

pub(super) fn parse<'a>(raw: &Raw, datagram: &'a [u8]) -> Result<Unit<'a>, Bad> {
    if datagram.is_empty() {
        return Err(Bad::Empty);
    }
    if datagram.len() <= raw.skip {
        return Err(Bad::Short { need: raw.skip + raw.frame_bytes(), got: datagram.len() });
    }
    let (header, bytes) = datagram.split_at(raw.skip);
    let frame = raw.frame_bytes();
    // With a number in front, each datagram stands for itself.
    if raw.seq.is_some() && !bytes.len().is_multiple_of(frame) {
        return Err(Bad::NotWhole { bytes: bytes.len(), frame });
    }
    let number = raw.seq.map(|(kind, at)| Number::of_bits(kind.read(&header[at..]), kind.bits()));
    Ok(Unit {
        samples: Samples { bytes, coding: raw.coding },
        channels: raw.channels,
        rate: raw.rate,
        number,
        sampled_at: raw.time.map(|time| stamp(&time, header, raw.rate)),
        stream: Stream::Only,
    })
}

/// A time in samples without a rate beside it counts at the array's rate: 0 says so.
fn stamp(time: &SentTime, header: &[u8], rate: Option<u32>) -> Stamp {
    let hz = match time.unit {
        TimeUnit::Micros => 1_000_000,
        TimeUnit::Millis => 1_000,
        TimeUnit::Samples => rate.unwrap_or(0),
    };
    Stamp {
        ticks: time.kind.read(&header[time.at..]),
        bits: time.kind.bits(),
        hz,
        in_samples: time.unit == TimeUnit::Samples,
    }
}

impl Integer {
    /// The first bytes of `field`, of which the format made sure there are enough.
    fn read(self, field: &[u8]) -> u64 {
        let bytes = &field[..self.bytes()];
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.is_big_endian() { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Format, Parsed, parse};

    fn unit<'a>(format: &str, datagram: &'a [u8]) -> Result<Unit<'a>, Bad> {
        let format: Format = format.parse().expect(format);
        parse(&format, datagram).map(|parsed| match parsed {
            Parsed::Unit(unit) => unit,
            Parsed::Control => panic!("raw has no control packets"),
        })
    }

    #[test]
    fn the_header_is_skipped_and_its_number_and_time_are_read() {
        let datagram = [1, 0, 0, 0, 0x40, 0x42, 0x0f, 0, 9, 9, 9, 9, 7, 0, 0, 0x10, 8, 0, 0, 0x20];
        let unit = unit("raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us", &datagram).expect("two samples");
        assert_eq!(unit.number, Some(Number { value: 1, modulus: 1 << 32, counts: super::super::Counts::Datagrams }));
        assert_eq!(unit.sampled_at, Some(Stamp { ticks: 1_000_000, bits: 32, hz: 1_000_000, in_samples: false }));
        assert_eq!((unit.frames(), unit.channels, unit.rate), (2, 1, None));
        assert_eq!(unit.samples.s32le(&mut Vec::new()), &datagram[12..]);
    }

    #[test]
    fn numbers_of_every_kind_are_read() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0];
        let of = |kind: &str| unit(&format!("raw:s16le,skip=8,seq={kind}@0"), &bytes).unwrap().number.unwrap();
        assert_eq!((of("u8").value, of("u8").modulus), (1, 256));
        assert_eq!((of("u16le").value, of("u16be").value), (0x0201, 0x0102));
        assert_eq!((of("u32le").value, of("u32be").value), (0x0403_0201, 0x0102_0304));
        assert_eq!((of("u64le").value, of("u64be").value), (0x0807_0605_0403_0201, 0x0102_0304_0506_0708));
        assert_eq!(of("u64be").modulus, 0);
    }

    #[test]
    fn interleaved_channels_are_frames_and_only_whole_ones_stand_for_themselves() {
        let datagram = [0; 12];
        assert_eq!(unit("raw:s16le*3", &datagram).unwrap().frames(), 2);
        assert_eq!(
            unit("raw:s16le*3,skip=2,seq=u16le@0", &datagram).err(),
            Some(Bad::NotWhole { bytes: 10, frame: 6 })
        );
        // Without a number it may be a piece.
        assert_eq!(unit("raw:s16le*3", &datagram[..7]).unwrap().frames(), 1);
    }

    #[test]
    fn every_truncation_is_refused_with_what_was_expected() {
        assert_eq!(unit("raw", &[]).err(), Some(Bad::Empty));
        let datagram = [0; 16];
        for len in 1..=12 {
            let bad = unit("raw:s32le,skip=12,seq=u32le@0", &datagram[..len]).unwrap_err();
            assert_eq!(bad.to_string(), format!("expected 16 bytes at least, got {len}"));
        }
        for len in 13..16 {
            assert!(matches!(unit("raw:s32le,skip=12,seq=u32le@0", &datagram[..len]), Err(Bad::NotWhole { .. })));
        }
        assert!(unit("raw:s32le,skip=12,seq=u32le@0", &datagram).is_ok());
    }
}
