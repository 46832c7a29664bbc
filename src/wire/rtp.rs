//! RTP with uncompressed audio: L16 (RFC 3551 4.5.11) and L24 (RFC 3190 4), interleaved, big-endian.
//!
//! RFC 3550 5.1: CSRC list, header extension and padding stand around the samples and are skipped. RFC 3551 6 gives payload types
//! 10 and 11 a meaning; any other has the meaning that the declaration gives it.

use rtp_types::{RtpPacket, RtpParseError};

use super::format::Rtp;
use super::{Bad, Coding, Number, Parsed, Samples, Stamp, Stream, Unit};

/// The second byte of RTCP. RTP's would be the same with the marker and types 64 to 95. RFC 5761 4: "payload type values in the
/// range 64-95 MUST NOT be used".
const RTCP: std::ops::RangeInclusive<u8> = 192..=223;
const VERSION: u8 = 2;

/// RFC 3551 table 4: "10 L16 A 44,100 2", "11 L16 A 44,100 1".
pub(super) fn known_type(payload_type: u8) -> Option<Rtp> {
    let channels = match payload_type {
        10 => 2,
        11 => 1,
        _ => return None,
    };
    Some(Rtp { coding: Coding::S16be, rate: 44_100, channels, payload_type: Some(payload_type) })
}

pub(super) fn parse<'a>(declared: Option<&Rtp>, datagram: &'a [u8]) -> Result<Parsed<'a>, Bad> {
    if datagram.is_empty() {
        return Err(Bad::Empty);
    }
    if let [first, second, ..] = *datagram
        && first >> 6 == VERSION
        && RTCP.contains(&second)
    {
        return Ok(Parsed::Control);
    }
    let packet = RtpPacket::parse(datagram).map_err(bad)?;
    let got = packet.payload_type();
    let media = match declared {
        Some(declared) => *declared,
        None => known_type(got).ok_or(Bad::PayloadType { need: None, got })?,
    };
    if let Some(need) = media.payload_type.filter(|&need| need != got) {
        return Err(Bad::PayloadType { need: Some(need), got });
    }
    // The padding's last byte says its length, and nothing stands behind it.
    let end = datagram.len() - usize::from(packet.padding().unwrap_or(0));
    let samples = Samples { bytes: &datagram[end - packet.payload().len()..end], coding: media.coding };
    let frame = media.coding.bytes() * usize::from(media.channels);
    if samples.bytes.is_empty() {
        return Err(Bad::Short { need: datagram.len() + frame, got: datagram.len() });
    }
    if !samples.bytes.len().is_multiple_of(frame) {
        return Err(Bad::NotWhole { bytes: samples.bytes.len(), frame });
    }
    Ok(Parsed::Unit(Unit {
        samples,
        channels: media.channels,
        rate: Some(media.rate),
        number: Some(Number::of_bits(packet.sequence_number().into(), 16)),
        // RFC 3550 5.1: "The timestamp reflects the sampling instant of the first octet in the RTP data packet."
        sampled_at: Some(Stamp { ticks: packet.timestamp().into(), bits: 32, hz: media.rate, in_samples: true }),
        stream: Stream::Ssrc(packet.ssrc()),
    }))
}

fn bad(error: RtpParseError) -> Bad {
    match error {
        RtpParseError::UnsupportedVersion(got) => Bad::RtpVersion(got),
        RtpParseError::Truncated { expected, actual } => Bad::Short { need: expected, got: actual },
        RtpParseError::PaddingInvalid(got) => Bad::RtpPadding(got),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 2, two CSRCs, an extension of one word, two frames of L24 stereo, four bytes of padding: RFC 3550 5.1, 5.3.1.
    fn full() -> Vec<u8> {
        let mut packet = vec![0b1011_0010, 0x80 | 96, 0x12, 0x34, 0, 0, 0x03, 0xe8, 0xca, 0xfe, 0xba, 0xbe];
        packet.extend([1, 1, 1, 1, 2, 2, 2, 2]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        packet.extend([0x12, 0x34, 0x56, 0x80, 0, 0, 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x7a]);
        packet.extend([0, 0, 0, 4]);
        packet
    }

    fn declared() -> Rtp {
        Rtp { coding: Coding::S24be, rate: 48_000, channels: 2, payload_type: Some(96) }
    }

    fn plain(payload_type: u8, payload: &[u8]) -> Vec<u8> {
        [&[0x80, payload_type, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], payload].concat()
    }

    #[test]
    fn csrc_extension_and_padding_are_no_sound() {
        let packet = full();
        let Ok(Parsed::Unit(unit)) = parse(Some(&declared()), &packet) else { panic!("a good packet") };
        assert_eq!((unit.channels, unit.frames(), unit.rate), (2, 2, Some(48_000)));
        assert_eq!(unit.number, Some(Number::of_bits(0x1234, 16)));
        assert_eq!(unit.sampled_at, Some(Stamp { ticks: 1_000, bits: 32, hz: 48_000, in_samples: true }));
        assert_eq!(unit.stream, Stream::Ssrc(0xcafe_babe));
        let mut buffer = Vec::new();
        assert_eq!(unit.samples.s32le(&mut buffer)[..8], [0, 0x56, 0x34, 0x12, 0, 0, 0, 0x80]);
    }

    #[test]
    fn types_10_and_11_need_no_declaration_and_others_do() {
        for (payload_type, channels) in [(10, 2), (11, 1)] {
            let packet = plain(payload_type, &[0; 8]);
            let Ok(Parsed::Unit(unit)) = parse(None, &packet) else { panic!("a known type") };
            assert_eq!((unit.rate, unit.channels, unit.frames()), (Some(44_100), channels, 4 / u32::from(channels)));
        }
        assert_eq!(parse(None, &plain(96, &[0; 8])).err(), Some(Bad::PayloadType { need: None, got: 96 }));
        assert_eq!(
            parse(Some(&declared()), &plain(97, &[0; 12])).err(),
            Some(Bad::PayloadType { need: Some(96), got: 97 })
        );
        // A declaration without a type takes any.
        let any = Rtp { payload_type: None, ..declared() };
        assert!(parse(Some(&any), &plain(97, &[0; 12])).is_ok());
    }

    #[test]
    fn rtcp_is_told_apart() {
        // Sender report, receiver report, source description, bye, application, feedback: RFC 3550 6, RFC 4585.
        for kind in [200, 201, 202, 203, 204, 205, 206] {
            assert_eq!(parse(Some(&declared()), &[0x80, kind, 0, 1, 0, 0, 0, 7]), Ok(Parsed::Control));
        }
    }

    #[test]
    fn every_malformed_header_and_every_truncation_is_refused() {
        let packet = full();
        // Cut inside the header or inside the samples, and with the padding's length gone, at whatever byte.
        for len in 1..packet.len() {
            let cut = parse(Some(&declared()), &packet[..len]);
            assert!(cut.is_err(), "{len} bytes: {cut:?}");
        }
        let with = |at: usize, byte: u8| {
            let mut packet = full();
            packet[at] = byte;
            parse(Some(&declared()), &packet).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 0b0111_0010), Bad::RtpVersion(1));
        assert_eq!(with(full().len() - 1, 0), Bad::RtpPadding(0));
        assert!(matches!(with(full().len() - 1, 255), Bad::Short { .. }));
        // Three bytes of padding leave 13 bytes of samples.
        assert_eq!(with(full().len() - 1, 3), Bad::NotWhole { bytes: 13, frame: 6 });
        assert!(matches!(with(23, 200), Bad::Short { .. }), "an extension longer than the packet");
        assert!(matches!(parse(Some(&declared()), &plain(96, &[])), Err(Bad::Short { need: 18, got: 12 })));
        assert_eq!(parse(None, &[]), Err(Bad::Empty));
    }
}
