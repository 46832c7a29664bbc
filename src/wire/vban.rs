//! VBAN, VB-Audio's network protocol (specification revision 10): a header of 28 bytes and interleaved little-endian samples, at
//! most 256 frames and 1436 bytes of them.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | `VBAN` |
//! | 4 | bits 0 to 4: index of the rate; bits 5 to 7: sub-protocol, 0 is audio |
//! | 5 | frames less 1 |
//! | 6 | channels less 1 |
//! | 7 | bits 0 to 2: data type; bit 3: 0; bits 4 to 7: codec, 0 is PCM |
//! | 8..24 | stream name, filled up with zeros |
//! | 24..28 | number of the packet, u32 little-endian |

use super::format::Vban;
use super::{Bad, Coding, Number, Parsed, Samples, Stream, Unit};

pub const HEADER_BYTES: usize = 28;
pub const NAME_BYTES: usize = 16;
/// An array has no more channels.
const MOST_CHANNELS: u16 = 64;
/// Serial, text and service packets: bits 5 to 7 of byte 4.
const OTHER_PROTOCOLS: std::ops::RangeInclusive<u8> = 1..=3;

/// Frames a second, by index: the specification's table "Sample Rate".
const RATES: [u32; 21] = [
    6_000, 12_000, 24_000, 48_000, 96_000, 192_000, 384_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000,
    11_025, 22_050, 44_100, 88_200, 176_400, 352_800, 705_600,
];

pub(super) fn parse<'a>(declared: &Vban, datagram: &'a [u8]) -> Result<Parsed<'a>, Bad> {
    if datagram.is_empty() {
        return Err(Bad::Empty);
    }
    let Some((header, bytes)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Bad::Short { need: HEADER_BYTES, got: datagram.len() });
    };
    let [magic @ .., rate, frames, channels, kind] = *header.first_chunk::<8>().expect("a header has 28 bytes");
    if magic != *b"VBAN" {
        return Err(Bad::NotVban(magic));
    }
    match rate >> 5 {
        0 => {}
        other if OTHER_PROTOCOLS.contains(&other) => return Ok(Parsed::Control),
        other => return Err(Bad::VbanField { field: "sub-protocol", got: other }),
    }
    let index = rate & 0x1f;
    let rate = *RATES.get(usize::from(index)).ok_or(Bad::VbanField { field: "rate index", got: index })?;
    let coding = coding(kind)?;
    let channels = u16::from(channels) + 1;
    if let Some(need) = declared.channels.filter(|&need| u16::from(need) != channels) {
        return Err(Bad::Channels { need, got: channels });
    }
    if channels > MOST_CHANNELS {
        return Err(Bad::TooManyChannels { got: channels });
    }
    if let Some(need) = declared.rate.filter(|&need| need != rate) {
        return Err(Bad::Rate { need, got: rate });
    }
    let need = (usize::from(frames) + 1) * usize::from(channels) * coding.bytes();
    if bytes.len() != need {
        return Err(Bad::Announced { need, got: bytes.len() });
    }
    let number = u32::from_le_bytes(*header.last_chunk().expect("a header has 28 bytes"));
    let name = *header[8..].first_chunk().expect("a header has 28 bytes");
    Ok(Parsed::Unit(Unit {
        samples: Samples { bytes, coding },
        channels: channels as u8,
        rate: Some(rate),
        number: Some(Number::of_bits(number.into(), 32)),
        sampled_at: None,
        stream: Stream::Name(name),
    }))
}

/// Byte 7. Of the PCM types, 64-bit floats and packed 12 and 10 bits are not read.
fn coding(kind: u8) -> Result<Coding, Bad> {
    if kind >> 4 != 0 {
        return Err(Bad::VbanField { field: "codec", got: kind >> 4 });
    }
    match kind {
        0 => Ok(Coding::U8),
        1 => Ok(Coding::S16le),
        2 => Ok(Coding::S24le),
        3 => Ok(Coding::S32le),
        4 => Ok(Coding::F32le),
        other => Err(Bad::VbanField { field: "data type", got: other }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 48 kHz, 4 frames of 2 channels, s16: from the specification's table, byte by byte.
    fn packet() -> Vec<u8> {
        let mut packet = b"VBAN\x03\x03\x01\x01Stream1\0\0\0\0\0\0\0\0\0\x05\x01\0\0".to_vec();
        packet.extend((1..=16).collect::<Vec<u8>>());
        packet
    }

    fn unit(datagram: &[u8]) -> Result<Unit<'_>, Bad> {
        match parse(&Vban::default(), datagram)? {
            Parsed::Unit(unit) => Ok(unit),
            Parsed::Control => panic!("it is audio"),
        }
    }

    #[test]
    fn a_packet_says_all_about_itself() {
        let packet = packet();
        let unit = unit(&packet).expect("a good packet");
        assert_eq!((unit.rate, unit.channels, unit.frames()), (Some(48_000), 2, 4));
        assert_eq!(unit.number, Some(Number::of_bits(261, 32)));
        assert_eq!(unit.stream, Stream::Name(*b"Stream1\0\0\0\0\0\0\0\0\0"));
        assert_eq!(unit.samples.s32le(&mut Vec::new())[..8], [0, 0, 1, 2, 0, 0, 3, 4]);
        assert_eq!(unit.sampled_at, None);
    }

    #[test]
    fn rates_and_data_types_are_the_specification_s() {
        for (index, hz) in [(0, 6_000), (1, 12_000), (3, 48_000), (4, 96_000), (8, 16_000), (16, 44_100), (20, 705_600)]
        {
            let mut packet = packet();
            packet[4] = index;
            assert_eq!(unit(&packet).unwrap().rate, Some(hz));
        }
        for (kind, bytes) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4)] {
            let mut packet = packet();
            packet[7] = kind;
            packet.resize(HEADER_BYTES + 8 * bytes, 0);
            assert_eq!(unit(&packet).unwrap().frames(), 4);
        }
    }

    #[test]
    fn every_malformed_header_and_every_truncation_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut packet = packet();
            packet[at] = byte;
            parse(&Vban::default(), &packet).map(|_| ()).unwrap_err()
        };
        assert!(matches!(with(0, b'v'), Bad::NotVban([b'v', b'B', b'A', b'N'])));
        assert_eq!(with(4, 21), Bad::VbanField { field: "rate index", got: 21 });
        assert_eq!(with(4, 0x83), Bad::VbanField { field: "sub-protocol", got: 4 });
        assert_eq!(with(5, 4), Bad::Announced { need: 20, got: 16 });
        assert_eq!(with(6, 64), Bad::TooManyChannels { got: 65 });
        assert_eq!(with(7, 0x10), Bad::VbanField { field: "codec", got: 1 });
        for kind in [5, 6, 7, 8, 9] {
            assert_eq!(with(7, kind), Bad::VbanField { field: "data type", got: kind });
        }
        assert_eq!(unit(&[]).err(), Some(Bad::Empty));
        let packet = packet();
        for len in 1..packet.len() {
            assert!(unit(&packet[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_declaration_is_held_against_the_packets() {
        let declared = Vban { channels: Some(1), rate: None };
        assert_eq!(parse(&declared, &packet()).err(), Some(Bad::Channels { need: 1, got: 2 }));
        let declared = Vban { channels: Some(2), rate: Some(44_100) };
        assert_eq!(parse(&declared, &packet()).err(), Some(Bad::Rate { need: 44_100, got: 48_000 }));
        assert!(parse(&Vban { channels: Some(2), rate: Some(48_000) }, &packet()).is_ok());
    }

    #[test]
    fn text_and_service_packets_are_no_audio_and_no_fault() {
        for protocol in [0x20, 0x40, 0x60] {
            let mut packet = packet();
            packet[4] = protocol;
            assert_eq!(parse(&Vban::default(), &packet), Ok(Parsed::Control));
        }
    }
}
