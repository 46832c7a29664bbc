//! What a source sends that declared nothing.
//!
//! Idea: three datagrams in a row that agree in everything a format has (magic, sizes that the header announces, numbers that
//! count, times that fit the frames, tags of each sample) are no accident of sound. What fits two formats, or has a part of one
//! only, stays `raw`. The choice is made once a sender.

use super::format::{Rtp, Vban};
use super::{Bad, Format, Number, Parsed, Raw, Stream, Unit, audiovision, rtp, vban};

/// Datagrams in a row that prove a format.
const PROOF: u32 = 3;
/// Datagrams of a sender that are looked at: 32 of three microphones pass within half a second; a header shows in the first.
const LOOKED_AT: u32 = 64;
/// Samples that a datagram must have for its tags to prove anything: twice the turn of channel and counter.
const TAGGED: u32 = 2 * audiovision::TURN as u32;

/// What is known of a source after one more datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// No format's.
    Raw,
    /// It may be another format's: the next ones tell.
    Perhaps,
    /// This datagram was the third that proves it.
    Is(Format),
}

/// One source that declared nothing.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    looked_at: u32,
    run: Option<Run>,
}

/// Datagrams in a row that fit one format.
#[derive(Clone, Copy, Debug)]
struct Run {
    last: Like,
    length: u32,
}

/// What a datagram says when it is taken for a format's.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Like {
    kind: Kind,
    channels: u8,
    rate: Option<u32>,
    stream: Stream,
    number: Number,
    /// Samples in it, and its time.
    samples: u32,
    ticks: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Audiovision,
    Vban,
    Rtp(Rtp),
}

impl Detector {
    /// Looks at a datagram. Once nothing was proven in so many, it says `Raw` without a look.
    pub fn look(&mut self, datagram: &[u8]) -> Seen {
        if self.looked_at >= LOOKED_AT {
            return Seen::Raw;
        }
        self.looked_at += 1;
        let Some(like) = like(datagram) else {
            self.run = None;
            return Seen::Raw;
        };
        let length = self.run.filter(|run| follows(&run.last, &like)).map_or(0, |run| run.length) + 1;
        self.run = Some(Run { last: like, length });
        if length < PROOF {
            // What is still open at the end stays raw.
            return if self.looked_at >= LOOKED_AT { Seen::Raw } else { Seen::Perhaps };
        }
        self.end();
        Seen::Is(like.format())
    }

    /// Nothing is looked at any more.
    pub fn end(&mut self) {
        self.looked_at = LOOKED_AT;
    }

    /// From now on [`look`](Detector::look) says `Raw`.
    pub fn has_ended(&self) -> bool {
        self.looked_at >= LOOKED_AT
    }
}

impl Like {
    fn of(kind: Kind, unit: &Unit<'_>) -> Option<Like> {
        Some(Like {
            kind,
            channels: unit.channels,
            rate: unit.rate,
            stream: unit.stream,
            number: unit.number?,
            samples: unit.samples.count(),
            ticks: unit.sampled_at.map(|stamp| stamp.ticks),
        })
    }

    fn format(&self) -> Format {
        match self.kind {
            Kind::Audiovision => Format::Audiovision,
            Kind::Vban => Format::Vban(Vban { channels: Some(self.channels), rate: self.rate }),
            Kind::Rtp(rtp) => Format::Rtp(Some(rtp)),
        }
    }
}

/// The one format that a datagram fits.
fn like(datagram: &[u8]) -> Option<Like> {
    let unit = |parsed: Result<Parsed<'_>, Bad>, kind: Kind| match parsed {
        Ok(Parsed::Unit(unit)) => Like::of(kind, &unit),
        _ => None,
    };
    let rtp = datagram.get(1).and_then(|second| rtp::known_type(second & 0x7f));
    let all = [
        unit(vban::parse(&Vban::default(), datagram), Kind::Vban),
        rtp.and_then(|rtp| unit(rtp::parse(Some(&rtp), datagram), Kind::Rtp(rtp))),
        tagged(datagram),
    ];
    let mut fitting = all.into_iter().flatten();
    fitting.next().filter(|_| fitting.next().is_none())
}

fn tagged(datagram: &[u8]) -> Option<Like> {
    let unit = audiovision::parse(datagram).ok()?;
    let proves = unit.samples.count() >= TAGGED && audiovision::first_wrong(datagram).is_none();
    proves.then(|| Like::of(Kind::Audiovision, &unit)).flatten()
}

/// Whether a datagram goes on where the one before it ended.
fn follows(before: &Like, this: &Like) -> bool {
    let same = before.kind == this.kind && before.channels == this.channels && before.rate == this.rate;
    if !same || before.stream != this.stream {
        return false;
    }
    let counted = match this.kind {
        Kind::Audiovision => u64::from(before.samples),
        Kind::Vban | Kind::Rtp(_) => 1,
    };
    let frames = before.samples / u32::from(before.channels);
    let in_time =
        before.ticks.zip(this.ticks).is_none_or(|(then, now)| now as u32 == (then as u32).wrapping_add(frames));
    in_time && (before.number.value + counted) % this.number.modulus == this.number.value
}

/// What a source is read as until another format is proven.
pub fn until_proven() -> Format {
    Format::Raw(Raw::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: u32) -> u32 {
        let mut x = u64::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ (x >> 27)) as u32
    }

    fn vban(number: u32) -> Vec<u8> {
        let mut packet = b"VBAN\x03\x7f\x00\x01".to_vec();
        packet.extend(*b"Mic\0\0\0\0\0\0\0\0\0\0\0\0\0");
        packet.extend(number.to_le_bytes());
        packet.extend((0..128).flat_map(|i| (noise(number * 128 + i) as u16).to_le_bytes()));
        packet
    }

    fn rtp(payload_type: u8, number: u32) -> Vec<u8> {
        let number = number.wrapping_add(0xffff_fffe);
        let mut packet = vec![0x80, payload_type];
        packet.extend((number as u16).to_be_bytes());
        packet.extend(number.wrapping_mul(100).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend((0..200).flat_map(|i| (noise(number.wrapping_mul(200).wrapping_add(i)) as u16).to_be_bytes()));
        packet
    }

    /// Pieces of a chunk, cut as Arduino cuts them.
    fn tagged(number: u32) -> Vec<u8> {
        let begins = [0, 365, 730, 1_095, 1_460, 1_536];
        let piece = number as usize % 5;
        (begins[piece]..begins[piece + 1])
            .map(|n: u32| noise(n) & !0x3f | (n / 3 % 8) << 3 | (n % 3) << 1)
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    fn seen(datagrams: impl IntoIterator<Item = Vec<u8>>) -> Vec<Seen> {
        let mut detector = Detector::default();
        datagrams.into_iter().map(|datagram| detector.look(&datagram)).collect()
    }

    fn is(format: &str) -> Vec<Seen> {
        vec![Seen::Perhaps, Seen::Perhaps, Seen::Is(format.parse().expect(format)), Seen::Raw]
    }

    #[test]
    fn three_in_a_row_prove_a_format_and_it_is_told_once() {
        assert_eq!(seen((0..4).map(vban)), is("vban:*1@48000"));
        // Its number and its time wrap behind the second.
        assert_eq!(seen((0..4).map(|n| rtp(10, n))), is("rtp:L16/44100/2,pt=10"));
        assert_eq!(seen((0..4).map(|n| rtp(11, 2 * n))), vec![Seen::Perhaps; 4], "its time does not fit");
        for first in 0..5 {
            assert_eq!(seen((first..first + 4).map(tagged)), is("audiovision"));
        }
    }

    #[test]
    fn a_gap_begins_the_count_anew() {
        let numbers = [0, 1, 3, 4, 6, 7, 8];
        let seen = seen(numbers.map(vban));
        assert_eq!(seen[..6], vec![Seen::Perhaps; 6]);
        assert!(matches!(seen[6], Seen::Is(Format::Vban(_))));
    }

    #[test]
    fn what_is_not_proven_beyond_doubt_stays_raw() {
        let raw = |of: &dyn Fn(u32) -> Vec<u8>| {
            let seen = seen((0..80).map(of));
            assert!(seen.iter().all(|seen| !matches!(seen, Seen::Is(_))), "{seen:?}");
            assert_eq!(seen[63..], vec![Seen::Raw; 17]);
        };
        let samples = |of: &dyn Fn(u32) -> u32| (0..512).flat_map(|i| of(i).to_le_bytes()).collect::<Vec<u8>>();
        raw(&|n| samples(&|i| noise(n * 512 + i)));
        raw(&|n| samples(&|i| 0x1000_0000 | (n * 512 + i)));
        raw(&|_| samples(&|_| 0));
        raw(&|_| Vec::new());
        // A payload type that means nothing by itself.
        raw(&|n| rtp(96, n));
        // Two streams by turns, one that stands still, and one that counts down.
        raw(&|n| if n % 2 == 0 { vban(n) } else { rtp(10, n) });
        raw(&|_| vban(7));
        raw(&|n| vban(1_000 - n));
        // Tags that restart with each datagram, where the sizes say that they should not.
        raw(&|_| tagged(0));
        // Tags in the first half of each datagram.
        raw(&|n| {
            let mut torn = tagged(n);
            let half = torn.len() / 2;
            torn[half..].fill(0);
            torn
        });
    }

    #[test]
    fn a_header_that_lies_about_its_size_proves_nothing() {
        let short = |n| vban(n)[..200].to_vec();
        assert_eq!(seen((0..3).map(short)), vec![Seen::Raw; 3]);
    }
}
