//! What virtual microphones put around their samples: each format as its specification has it, written from there and not from the
//! decoder, which these bytes are the test of.

use crate::wire::{Coding, Format, Integer, Raw, Rtp, TimeUnit};

/// What a sender knows when it sends a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Datagrams of this source before this one. Headers have as many of its bits as they have room for.
    pub number: u64,
    /// Frames captured before its first one.
    pub position: u64,
    /// The sender's own clock at its first frame, in microseconds.
    pub micros: u64,
    /// Frames a second.
    pub rate: u32,
    pub channels: u8,
    /// Which source: RTP's SSRC, VBAN's name.
    pub stream: u32,
}

/// The most frames and bytes of samples in a VBAN packet: the specification's VBAN_SAMPLES_MAX_NB and VBAN_DATA_MAX_SIZE.
pub const VBAN_MOST: (usize, usize) = (256, 1436);

/// Writes a datagram into `out`, whose old content is replaced: interleaved left-justified s32 in, what `format` says out. VBAN
/// gets 32-bit integers; `auto` and an undeclared RTP are what they would be taken for: raw, and L16 of type 10 or 11.
///
/// # Errors
/// What the format has no room for: a rate that VBAN has no index of, more frames than a packet holds.
pub fn encode(format: &Format, head: &Head, samples: &[i32], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    match format {
        Format::Auto => raw(&Raw::default(), head, samples, out),
        Format::Raw(declared) => raw(declared, head, samples, out),
        Format::Audiovision => audiovision(head, samples, out),
        Format::Vban(_) => return vban(head, samples, out),
        Format::Rtp(Some(declared)) => rtp(declared, head, samples, out),
        Format::Rtp(None) => {
            let payload_type = if head.channels == 2 { 10 } else { 11 };
            let coding = Coding::S16be;
            rtp(
                &Rtp { coding, rate: head.rate, channels: head.channels, payload_type: Some(payload_type) },
                head,
                samples,
                out,
            );
        }
    }
    Ok(())
}

fn raw(declared: &Raw, head: &Head, samples: &[i32], out: &mut Vec<u8>) {
    // Bytes of a header that have no meaning are no zeros on every board.
    out.resize(declared.skip, 0xa5);
    let mut put = |kind: Integer, at: usize, value: u64| {
        let field = &mut out[at..at + kind.bytes()];
        for (nth, byte) in field.iter_mut().enumerate() {
            let place = if kind.is_big_endian() { kind.bytes() - 1 - nth } else { nth };
            *byte = (value >> (8 * place)) as u8;
        }
    };
    if let Some((kind, at)) = declared.seq {
        put(kind, at, head.number);
    }
    if let Some(time) = declared.time {
        let ticks = match time.unit {
            TimeUnit::Micros => head.micros,
            TimeUnit::Millis => head.micros / 1_000,
            TimeUnit::Samples => head.position,
        };
        put(time.kind, time.at, ticks);
    }
    pcm(declared.coding, samples, out);
}

/// Bits 1 and 2 of each sample: the channel; bits 3 to 5: the frame modulo 8; bit 0 and all above are the sound's.
fn audiovision(head: &Head, samples: &[i32], out: &mut Vec<u8>) {
    for (frame, channels) in (head.position..).zip(samples.chunks(3)) {
        for (channel, sample) in (0_i32..).zip(channels) {
            let tagged = sample & !0b11_1110 | channel << 1 | ((frame % 8) as i32) << 3;
            out.extend(tagged.to_le_bytes());
        }
    }
}

/// Byte 4 is an index into three families of rates, each twice the one before.
fn vban_rate(rate: u32) -> Option<u8> {
    let family = |from: u8, first: u32, count: u8| (0..count).find(|&n| first << n == rate).map(|n| from + n);
    family(0, 6_000, 7).or_else(|| family(7, 8_000, 7)).or_else(|| family(14, 11_025, 7))
}

fn vban(head: &Head, samples: &[i32], out: &mut Vec<u8>) -> Result<(), String> {
    let rate = vban_rate(head.rate).ok_or_else(|| format!("VBAN has no rate of {} Hz", head.rate))?;
    let frames = samples.len() / usize::from(head.channels);
    if frames == 0 || frames > VBAN_MOST.0 || samples.len() * 4 > VBAN_MOST.1 {
        return Err(format!("a VBAN packet holds 1 to {} frames and {} bytes", VBAN_MOST.0, VBAN_MOST.1));
    }
    out.extend(*b"VBAN");
    // 32-bit integers are data type 3, PCM is codec 0.
    out.extend([rate, (frames - 1) as u8, head.channels - 1, 3]);
    let mut name = [0; 16];
    let text = format!("micring {}", head.stream);
    let kept = text.len().min(name.len());
    name[..kept].copy_from_slice(&text.as_bytes()[..kept]);
    out.extend(name);
    out.extend((head.number as u32).to_le_bytes());
    pcm(Coding::S32le, samples, out);
    Ok(())
}

/// RFC 3550 5.1: version 2, no padding, extension or CSRC; the marker as RFC 3551 4.1 has it, on the first packet after silence.
fn rtp(declared: &Rtp, head: &Head, samples: &[i32], out: &mut Vec<u8>) {
    let marker = if head.number == 0 { 0x80 } else { 0 };
    out.extend([0x80, marker | declared.payload_type.unwrap_or(96)]);
    // "The initial value of the sequence number SHOULD be random": the source's, so that a run can be told again.
    let first = head.stream.wrapping_mul(0x9e37_79b9);
    out.extend(((first >> 16) as u16).wrapping_add(head.number as u16).to_be_bytes());
    out.extend(first.rotate_left(7).wrapping_add(head.position as u32).to_be_bytes());
    out.extend(first.wrapping_add(1).to_be_bytes());
    pcm(declared.coding, samples, out);
}

/// The upper bits of each sample, as many as the kind has.
fn pcm(coding: Coding, samples: &[i32], out: &mut Vec<u8>) {
    for &sample in samples {
        match coding {
            Coding::U8 => out.push(((sample >> 24) + 128) as u8),
            Coding::S16le => out.extend(((sample >> 16) as i16).to_le_bytes()),
            Coding::S16be => out.extend(((sample >> 16) as i16).to_be_bytes()),
            Coding::S24le => out.extend(&(sample >> 8).to_le_bytes()[..3]),
            Coding::S24be => out.extend(&(sample >> 8).to_be_bytes()[1..]),
            Coding::S32le => out.extend(sample.to_le_bytes()),
            Coding::S32be => out.extend(sample.to_be_bytes()),
            Coding::F32le => out.extend((sample as f32 / 2_147_483_648.0).to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Number, Parsed, Stream, parse};

    const HEAD: Head =
        Head { number: 0x1_0002, position: 961, micros: 5_000_000_000, rate: 48_000, channels: 1, stream: 1 };

    fn encoded(format: &str, head: &Head, samples: &[i32]) -> Vec<u8> {
        let mut out = vec![9; 3];
        encode(&format.parse().expect(format), head, samples, &mut out).expect(format);
        out
    }

    #[test]
    fn headers_are_those_of_the_specifications_byte_by_byte() {
        let board = encoded("raw:s16be,skip=8,seq=u16be@0,time=u32le@4:us", &HEAD, &[0x1234_5678]);
        // 5 000 000 000 us are 0x1_2a05_f200.
        assert_eq!(board, [0, 2, 0xa5, 0xa5, 0, 0xf2, 5, 0x2a, 0x12, 0x34]);
        let vban = encoded("vban", &HEAD, &[1, -1]);
        assert_eq!(vban[..8], *b"VBAN\x03\x01\x00\x03");
        assert_eq!(vban[8..28], *b"micring 1\0\0\0\0\0\0\0\x02\x00\x01\x00");
        assert_eq!(vban[28..], [1, 0, 0, 0, 255, 255, 255, 255]);
        let rtp = encoded("rtp:L24/48000/1,pt=97", &HEAD, &[0x1234_5678]);
        assert_eq!((rtp.len(), rtp[..2].to_vec(), rtp[12..].to_vec()), (15, vec![0x80, 97], vec![0x12, 0x34, 0x56]));
        // 0x9e37 + 2, and 961 after the first stamp.
        assert_eq!(rtp[2..4], [0x9e, 0x39]);
        // Frame 961 is 1 modulo 8: 0b001_cc_0.
        let tagged = encoded("audiovision", &Head { channels: 3, ..HEAD }, &[0x7fff_ffff, 0, -1, 0]);
        assert_eq!(tagged, [0xc9, 255, 255, 127, 0b0_1010, 0, 0, 0, 0xcd, 255, 255, 255, 0b01_0000, 0, 0, 0]);
    }

    #[test]
    fn what_a_packet_cannot_say_is_refused() {
        let refused = |head: &Head, frames: usize| {
            encode(&"vban".parse().unwrap(), head, &vec![0; frames * usize::from(head.channels)], &mut Vec::new())
                .unwrap_err()
        };
        assert!(refused(&HEAD, 257).contains("256 frames"));
        assert!(refused(&Head { channels: 2, ..HEAD }, 180).contains("1436 bytes"));
        assert!(refused(&Head { rate: 47_999, ..HEAD }, 1).contains("47999 Hz"));
    }

    /// Ends that were written apart must meet: whatever is sent is what arrives, to the bits that the kind has.
    #[test]
    fn the_decoders_read_it() {
        let sound: Vec<i32> = (0..96).map(|n: i32| n.wrapping_mul(0x1234_5679) ^ n << 20).collect();
        for (format, bits) in [
            ("auto", 32),
            ("raw:u8", 8),
            ("raw:s16le*2,skip=4,seq=u32be@0", 16),
            ("raw:s24le*3", 24),
            ("raw:s16be", 16),
            ("raw:s24be,skip=9,time=u64le@1:samples", 24),
            ("raw:s32be", 32),
            ("raw:f32le", 24),
            ("vban", 32),
            ("vban:*3@16000", 32),
            ("rtp", 16),
            ("rtp:L16/48000/2", 16),
            ("rtp:L24/48000/3,pt=100", 24),
        ] {
            let declared: Format = format.parse().expect(format);
            let channels = declared.channels().unwrap_or(1);
            let rate = if format.ends_with("16000") { 16_000 } else { 48_000 };
            let datagram = encoded(format, &Head { channels, rate, ..HEAD }, &sound);
            let Ok(Parsed::Unit(unit)) = parse(&declared, &datagram) else { panic!("{format}: it is audio") };
            assert_eq!((unit.channels, unit.frames()), (channels, 96 / u32::from(channels)), "{format}");
            let mut buffer = Vec::new();
            let came = unit.samples.s32le(&mut buffer).as_chunks().0;
            for (sent, came) in sound.iter().zip(came) {
                let off = i64::from(*sent) - i64::from(i32::from_le_bytes(*came));
                // A float has 24 bits, rounded: half of the last bit either way.
                let most = if format == "raw:f32le" { 128 } else { (1 << (32 - bits)) - 1 };
                assert!(
                    (if format == "raw:f32le" { -most..=most } else { 0..=most }).contains(&off),
                    "{format}: {off}"
                );
            }
            match &declared {
                Format::Vban(_) => assert_eq!(unit.number, Some(Number::of_bits(0x1_0002, 32))),
                Format::Rtp(_) => assert_eq!(unit.stream, Stream::Ssrc(0x9e37_79ba)),
                _ => {}
            }
            if declared.is_numbered() {
                let next = Head {
                    number: HEAD.number + 1,
                    position: HEAD.position + u64::from(unit.frames()),
                    channels,
                    rate,
                    ..HEAD
                };
                let after = encoded(format, &next, &sound);
                let Ok(Parsed::Unit(after)) = parse(&declared, &after) else { panic!("{format}: it is audio") };
                assert_eq!(after.number.unwrap().value, unit.number.unwrap().value + 1, "{format}");
                let time = |unit: crate::wire::Unit<'_>| unit.sampled_at.map(|stamp| stamp.ticks);
                assert_eq!(time(after), time(unit).map(|ticks| ticks + u64::from(unit.frames())), "{format}");
            }
        }
    }
}
