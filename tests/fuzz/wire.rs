//! Bytes of a datagram, read as each format; text of a format; a description; numbers in any order.

use micring::sim::encode::{Head, encode};
use micring::wire::detect::{Detector, Seen};
use micring::wire::known::{Known, Numbered, Place};
use micring::wire::{Coding, Counts, Format, Parsed, Unit, parse, sdp};
use proptest::prelude::*;

use crate::mutate::mutated;

pub const FORMATS: &[&str] = &[
    "auto",
    "raw:s24be*2,skip=12,seq=u16be@2,time=u32be@4:samples",
    "raw:u8*64,skip=9,time=u64le@1:us",
    "audiovision",
    "vban",
    "vban:*2@44100",
    "rtp",
    "rtp:L16/44100/2",
    "rtp:L24/48000/3,pt=96",
];

/// Kept files, and what the simulator sends.
pub fn datagrams() -> Vec<Vec<u8>> {
    let kept: [&[u8]; 5] = [
        include_bytes!("corpus/extension_and_padding.rtp"),
        include_bytes!("corpus/sender_report.rtp"),
        include_bytes!("corpus/stereo.vban"),
        include_bytes!("corpus/text.vban"),
        include_bytes!("corpus/piece.audiovision"),
    ];
    let sound: Vec<i32> = (0..192).map(|n: i32| n.wrapping_mul(0x0123_4567)).collect();
    let sent = FORMATS.iter().flat_map(|format| {
        let format: Format = format.parse().expect(format);
        let channels = format.channels().unwrap_or(1);
        [0, 65_535, u64::MAX].map(|number| {
            let rate = format.rate().unwrap_or(48_000);
            let head = Head { number, position: number.wrapping_mul(192), micros: number, rate, channels, stream: 3 };
            let mut datagram = Vec::new();
            encode(&format, &head, &sound, &mut datagram).expect("it fits");
            datagram
        })
    });
    kept.into_iter().map(Vec::from).chain(sent).collect()
}

/// What must hold of whatever was taken for audio.
fn check(format: &Format, datagram: &[u8], unit: &Unit<'_>) -> Result<(), TestCaseError> {
    prop_assert!((1..=64).contains(&unit.channels));
    prop_assert!(unit.samples.bytes.len() <= datagram.len() && !unit.samples.bytes.is_empty());
    prop_assert!(format.channels().is_none_or(|channels| channels == unit.channels));
    prop_assert!(format.rate().is_none_or(|rate| unit.rate == Some(rate)));
    let mut buffer = vec![7; 3];
    let samples = unit.samples.s32le(&mut buffer);
    prop_assert_eq!(samples.len() / 4, unit.samples.count() as usize);
    if unit.samples.coding != Coding::S32le {
        prop_assert_eq!(samples.len() % 4, 0);
    }
    if let Some(number) = unit.number {
        prop_assert!(number.modulus == 0 || number.value < number.modulus);
        let frame = unit.samples.coding.bytes() * usize::from(unit.channels);
        prop_assert!(number.counts == Counts::Samples || unit.samples.bytes.len().is_multiple_of(frame));
    }
    if let Some(stamp) = unit.sampled_at {
        prop_assert!(stamp.bits == 64 || stamp.ticks >> stamp.bits == 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::mutate::config())]

    /// Any bytes as any format: audio whose samples are its own, or a refusal that says what was expected.
    #[test]
    fn datagram(bytes in mutated(datagrams(), WORDS), format in prop::sample::select(FORMATS)) {
        let format: Format = format.parse().expect("a format of the list");
        match parse(&format, &bytes) {
            Ok(Parsed::Unit(unit)) => check(&format, &bytes, &unit)?,
            Ok(Parsed::Control) => prop_assert!(!matches!(format, Format::Auto | Format::Raw(_) | Format::Audiovision)),
            Err(bad) => {
                let said = bad.to_string();
                prop_assert!(said.starts_with("expected ") && said.contains(", got "), "{}", said);
            }
        }
        // A source that declared nothing: what is proven reads the datagram that proved it.
        let mut detector = Detector::default();
        for _ in 0..3 {
            if let Seen::Is(proven) = detector.look(&bytes) {
                prop_assert!(matches!(parse(&proven, &bytes), Ok(Parsed::Unit(_))), "{}", proven);
            }
        }
    }

    /// Any text as a format: a reason, or a format that is written and read as the same.
    #[test]
    fn format(text in mutated(FORMATS.iter().map(|format| format.as_bytes().to_vec()).collect(), TOKENS)) {
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        match text.parse::<Format>() {
            Ok(format) => prop_assert_eq!(format.to_string().parse::<Format>(), Ok(format)),
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }

    /// Any description: a reason, or a format that can be declared.
    #[test]
    fn description(text in mutated(vec![SDP.to_vec()], TOKENS)) {
        match sdp::read(&text) {
            Ok((_, rtp)) => {
                let format = Format::Rtp(Some(rtp));
                prop_assert_eq!(format.to_string().parse::<Format>(), Ok(format));
            }
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }

    /// The datagrams of a numbered source, changed and in any order: no place is used twice.
    #[test]
    fn numbers(all in prop::collection::vec(mutated(datagrams(), WORDS), 1..40), format in prop::sample::select(FORMATS)) {
        let format: Format = format.parse().expect("a format of the list");
        let mut known = Known::new(48_000);
        let mut used: Vec<(i64, i64)> = Vec::new();
        for bytes in &all {
            let Ok(Parsed::Unit(unit)) = parse(&format, bytes) else { continue };
            let Some(numbered) = Numbered::of(&unit) else { continue };
            let position = match known.place(&numbered) {
                Place::Anew => {
                    used.clear();
                    0
                }
                Place::Next(next) => next.position,
                Place::Filled { position } => position,
                Place::Copy | Place::TooOld | Place::Jump => continue,
            };
            let end = position + i64::from(numbered.frames);
            prop_assert!(used.iter().all(|(from, to)| end <= *from || *to <= position), "{}..{}: {:?}", position, end, used);
            used.push((position, end));
        }
    }
}

#[test]
fn the_corpus_is_read() {
    let [rtp, report, vban, text, piece] = [0, 1, 2, 3, 4].map(|n| datagrams()[n].clone());
    let read = |format: &str, bytes: &[u8]| match parse(&format.parse().expect(format), bytes) {
        Ok(Parsed::Unit(unit)) => Some((unit.channels, unit.frames())),
        Ok(Parsed::Control) => None,
        Err(bad) => panic!("{format}: {bad}"),
    };
    assert_eq!(read("rtp:L24/48000/2,pt=96", &rtp), Some((2, 2)));
    assert_eq!(read("rtp", &report), None);
    assert_eq!(read("vban", &vban), Some((2, 4)));
    assert_eq!(read("vban", &text), None);
    assert_eq!(read("audiovision", &piece), Some((3, 121)));
}

pub const WORDS: &[&[u8]] =
    &[b"VBAN", b"\x80\x0a", b"\x80\x60", b"\x80\xc8", b"\xb2\xe0", b"\xbe\xde\x00\x01", b"\x03\xff\x01\x03"];
const TOKENS: &[&[u8]] = &[
    b"raw:",
    b"s16le",
    b"*2",
    b"@48000",
    b",skip=12",
    b",seq=u32le@0",
    b",time=u64be@4:us",
    b"rtp:L24/",
    b",pt=96",
    b"vban:",
    b"a=rtpmap:96 L16/8000/2\n",
    b"m=audio 5004 RTP/AVP 96\n",
    b"m=audio 1/2 RTP/AVP 10 11\n",
    b"c=IN IP4 239.0.0.1/32\n",
];
const SDP: &[u8] = include_bytes!("corpus/aes67.sdp");
