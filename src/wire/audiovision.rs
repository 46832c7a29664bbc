//! `audiovision`: one port, three channels. Interleaved s32le (left, right, centre), 512 frames a chunk; Arduino's `write` cuts the
//! 6144 bytes into 4 x 1460 + 304, inside frames too. Each sample has a tag in the bits that a 24-bit microphone leaves free:
//! bits 1 and 2 hold the channel (0, 1, 2), bits 3 to 5 a counter of frames modulo 8.
//!
//! So a datagram alone says at which channel and frame it begins, and a lost piece leaves a jump in the tags. A chunk has 512
//! frames, a multiple of 8: a whole one that is lost leaves none.

use super::{Bad, Coding, Counts, Number, Samples, Stream, Unit};

pub const CHANNELS: u8 = 3;
const SAMPLE_BYTES: usize = 4;
/// Frames until the counter is 0 again.
const COUNTER: u64 = 8;
/// Samples until channel and counter are the same again.
pub const TURN: u64 = COUNTER * CHANNELS as u64;

/// The number of a sample modulo [`TURN`]; `None` where the tag names no channel.
pub fn tag(sample: [u8; SAMPLE_BYTES]) -> Option<u64> {
    let (channel, counter) = (u64::from(sample[0] >> 1 & 3), u64::from(sample[0] >> 3 & 7));
    (channel < CHANNELS.into()).then_some(counter * u64::from(CHANNELS) + channel)
}

/// The first sample whose tag does not follow the one before it.
pub fn first_wrong(samples: &[u8]) -> Option<usize> {
    let (samples, _) = samples.as_chunks::<SAMPLE_BYTES>();
    let begins = samples.first().map(|sample| tag(*sample))?;
    let follows = |at: usize| begins.map(|begins| (begins + at as u64) % TURN);
    samples.iter().enumerate().position(|(at, sample)| begins.is_none() || tag(*sample) != follows(at))
}

/// First and last sample are looked at: what lies between them was captured in one go.
pub(super) fn parse(datagram: &[u8]) -> Result<Unit<'_>, Bad> {
    if datagram.is_empty() {
        return Err(Bad::Empty);
    }
    let (samples, cut) = datagram.as_chunks::<SAMPLE_BYTES>();
    let (Some(first), Some(last), []) = (samples.first(), samples.last(), cut) else {
        return Err(Bad::NotWhole { bytes: datagram.len(), frame: SAMPLE_BYTES });
    };
    let begins = tag(*first).ok_or(Bad::Tag { at: 0 })?;
    let at = samples.len() - 1;
    if tag(*last) != Some((begins + at as u64) % TURN) {
        return Err(Bad::Tag { at });
    }
    Ok(Unit {
        samples: Samples { bytes: datagram, coding: Coding::S32le },
        channels: CHANNELS,
        rate: None,
        number: Some(Number { value: begins, modulus: TURN, counts: Counts::Samples }),
        sampled_at: None,
        stream: Stream::Only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the whole stream, samples `from` to `to`, with noise above the tags.
    fn samples(from: u32, to: u32) -> Vec<u8> {
        let sample = |n: u32| n.wrapping_mul(0x9e37_79b9) & !0x3f | (n / 3 % 8) << 3 | (n % 3) << 1 | n >> 4 & 1;
        (from..to).flat_map(|n| sample(n).to_le_bytes()).collect()
    }

    #[test]
    fn each_of_arduino_s_pieces_says_where_it_begins() {
        // 1460 bytes are 365 samples, 304 are 76: frames 0, 121 + 2/3, 243 + 1/3, 365, 486 + 2/3.
        let begins = [0, 365, 730, 1_095, 1_460, 1_536];
        for piece in begins.windows(2) {
            let unit_bytes = samples(piece[0], piece[1]);
            let unit = parse(&unit_bytes).expect("a piece");
            let number = unit.number.expect("a tag");
            assert_eq!((number.value, number.modulus), (u64::from(piece[0]) % 24, 24));
            assert_eq!(unit.samples.s32le(&mut Vec::new()), &unit_bytes[..]);
            assert_eq!(first_wrong(&unit_bytes), None);
        }
        // No two pieces of a chunk begin alike, and the next chunk begins as this one did.
        let mut tags: Vec<u32> = begins[..5].iter().map(|n| n % 24).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!((tags.len(), 1_536 % 24), (5, 0));
    }

    #[test]
    fn what_carries_no_such_tags_is_refused() {
        assert_eq!(parse(&[]).err(), Some(Bad::Empty));
        assert_eq!(parse(&[0; 6]).err(), Some(Bad::NotWhole { bytes: 6, frame: 4 }));
        assert_eq!(parse(&[6, 0, 0, 0]).err(), Some(Bad::Tag { at: 0 }));
        assert_eq!(parse(&[0; 2_048]).err(), Some(Bad::Tag { at: 511 }), "silence has no tags");
        let mut torn = samples(0, 100);
        torn.extend(samples(365, 400));
        assert_eq!((parse(&torn).err(), first_wrong(&torn)), (Some(Bad::Tag { at: 134 }), Some(100)));
    }
}
