//! What does not fit, jumps, or is none of the stream: counted, named, and nothing is shifted by it.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Datagram, Engine, Output, Reason, Verdict};
use micring::sim::Scenario;
use micring::sim::encode::{Head, encode};
use micring::time::{KernelTime, MonoTime, Span};
use micring::wire::Format;

use super::rig::{config, numbered, sample};

/// One source, fed by hand.
struct One {
    engine: Engine,
    format: Format,
    /// Of a packet.
    frames: i64,
    now: Span,
    logs: Vec<String>,
    next: u64,
}

impl One {
    fn new(format: &str) -> One {
        let scenario = Scenario::one_board(Span::from_secs(1));
        let engine = Engine::new(config(&scenario, ClockChoice::Auto, Layout::mono(1)));
        let format = numbered(format);
        One {
            engine: engine.declared(std::slice::from_ref(&format)),
            // VBAN has no room for 480 of them.
            frames: if matches!(format, Format::Vban(_)) { 240 } else { 480 },
            format,
            now: Span::ZERO,
            logs: Vec::new(),
            next: 0,
        }
    }

    fn packet(&self, number: u64, stream: u32) -> Vec<u8> {
        let position = number * self.frames as u64;
        let samples: Vec<i32> = (0..self.frames).map(|i| sample(0, position as i64 + i)).collect();
        let head = Head { number, position, micros: position * 125 / 6, rate: 48_000, channels: 1, stream };
        let mut bytes = Vec::new();
        encode(&self.format, &head, &samples, &mut bytes).expect("it fits");
        bytes
    }

    fn feed(&mut self, bytes: &[u8], from: u8) -> Verdict {
        let wall = KernelTime::from_nanos(1_795_345_500_000_000_000);
        let clocks = Clocks { mono: MonoTime::from_nanos(0) + self.now, wall: wall + self.now };
        self.engine.begin_turn(clocks);
        let sender = SocketAddr::from(([192, 0, 2, from], 4_000));
        let verdict =
            self.engine.handle_datagram(&Datagram { mic: 0, stamp: clocks.wall, sender, bytes, len: bytes.len() });
        self.engine.handle_timeout();
        while let Some(output) = self.engine.poll_output() {
            if let Output::Log(line) = output {
                self.logs.push(line);
            }
        }
        verdict
    }

    /// Good packets, of 10 ms each, or of half of that.
    fn good(&mut self, packets: u64) {
        for _ in 0..packets * 480 / self.frames as u64 {
            let bytes = self.packet(self.next, 1);
            let verdict = self.feed(&bytes, 1);
            assert!(matches!(verdict, Verdict::Accepted(_)), "{}: {verdict:?}", self.next);
            self.now += Span::of_frames(self.frames, 48_000);
            self.next += 1;
        }
    }

    /// Every sample in the history stands at one offset, and none is missing.
    fn assert_whole(&self) {
        let history = self.engine.history();
        let span = history.span();
        let mut frames = Vec::new();
        history.append_to(&mut frames, span.start, (span.end - span.start) as usize).expect("within");
        assert!(frames.len() > 48_000);
        let first = i32::from_le_bytes(frames[0]);
        let begins = (0..1 << 20).find(|position| sample(0, *position) == first).expect("it is a sample of the source");
        for (at, word) in frames.iter().enumerate() {
            assert_eq!(i32::from_le_bytes(*word), sample(0, begins + at as i64), "frame {at}");
        }
    }

    fn said(&self, what: &str) -> usize {
        self.logs.iter().filter(|line| line.contains(what)).count()
    }
}

const FORMATS: [&str; 3] = ["raw:s32le,skip=4,seq=u16le@0", "rtp:L24/48000/1,pt=96", "vban:*1@48000"];

#[test]
fn every_malformed_header_and_truncation_is_malformed_and_said_once_a_second() {
    for format in FORMATS {
        let mut one = One::new(format);
        one.good(200);
        let good = one.packet(one.next, 1);
        let mut refused = 0;
        // Cut at every byte that leaves no whole sample: malformed, all of it within one second.
        // VBAN says how many there are: none may be missing.
        let (header, frame) = match &format[..3] {
            "raw" => (4, 4),
            "rtp" => (12, 3),
            _ => (28, 0),
        };
        for len in 0..good.len() {
            if len > header && (len - header).is_multiple_of(frame) {
                continue;
            }
            assert_eq!(one.feed(&good[..len], 1), Verdict::Rejected(Reason::Malformed), "{format}: {len} bytes");
            refused += 1;
        }
        assert_eq!(one.engine.counters().mics[0].malformed, refused);
        assert_eq!(one.said("expected"), 1, "{:?}", one.logs);
        one.good(200);
        one.assert_whole();
        assert_eq!(one.engine.counters().mics[0].lost, 0);
    }
}

#[test]
fn rtcp_on_the_port_is_counted_and_no_fault() {
    let mut one = One::new(FORMATS[1]);
    one.good(150);
    assert_eq!(one.feed(&[0x80, 200, 0, 6, 0, 0, 0, 1], 1), Verdict::Rejected(Reason::Control));
    one.good(150);
    let counters = &one.engine.counters().mics[0];
    assert_eq!((counters.control, counters.malformed, counters.lost), (1, 0, 0));
    one.assert_whole();
}

#[test]
fn a_number_that_jumps_alone_is_named_and_shifts_nothing() {
    for format in FORMATS {
        let mut one = One::new(format);
        one.good(400);
        for back in [250, 399] {
            // Far back, and copies of what came.
            let bytes = one.packet(one.next - back, 1);
            assert!(matches!(one.feed(&bytes, 1), Verdict::Rejected(Reason::Number | Reason::Duplicate)));
        }
        let far = one.packet(one.next + 30_000, 1);
        assert_eq!(one.feed(&far, 1), Verdict::Rejected(Reason::Number), "{format}");
        one.good(200);
        let counters = &one.engine.counters().mics[0];
        assert_eq!((counters.lost, counters.malformed, counters.sender_changes), (0, 0, 0), "{counters:?}");
        assert!(counters.jumps >= 1 && one.said("was not placed") >= 1, "{counters:?} {:?}", one.logs);
        one.assert_whole();
    }
}

#[test]
fn of_two_senders_with_one_ssrc_one_is_followed() {
    let mut one = One::new(FORMATS[1]);
    for _ in 0..300 {
        one.good(1);
        let other = one.packet(one.next + 40, 1);
        assert_eq!(one.feed(&other, 2), Verdict::Rejected(Reason::Foreign));
    }
    let counters = &one.engine.counters().mics[0];
    assert_eq!((counters.foreign, counters.lost, counters.jumps), (300, 0, 0));
    one.assert_whole();
}

#[test]
fn another_stream_of_the_same_sender_is_none_of_it() {
    let mut one = One::new(FORMATS[1]);
    for _ in 0..300 {
        one.good(1);
        let other = one.packet(one.next, 2);
        assert_eq!(one.feed(&other, 1), Verdict::Rejected(Reason::Number));
    }
    let counters = &one.engine.counters().mics[0];
    assert_eq!((counters.jumps, counters.lost), (300, 0));
    one.assert_whole();
}

#[test]
fn what_a_stream_says_of_itself_must_be_the_array_s() {
    let mut one = One::new("vban:*1");
    let scenario_rate = 48_000;
    let head = Head { number: 0, position: 0, micros: 0, rate: 44_100, channels: 1, stream: 1 };
    let mut bytes = Vec::new();
    encode(&one.format, &head, &[1; 200], &mut bytes).expect("it fits");
    one.feed(&bytes, 1);
    let line = format!("expected {scenario_rate} frames a second, got 44100 (--sample-rate 44100)");
    // Nobody is followed yet: it is a stranger's, and no line says so.
    assert_eq!(one.engine.counters().mics[0].malformed, 1);
    assert_eq!(one.said(&line), 1, "{:?}", one.logs);
}

#[test]
fn a_format_with_more_channels_than_the_array_was_made_for_is_found_out_and_the_line_says_how_to_declare_it() {
    let mut one = One::new("auto");
    let stereo = numbered("vban");
    for number in 0..20 {
        let head = Head { number, position: number * 100, micros: 0, rate: 48_000, channels: 2, stream: 1 };
        let mut bytes = Vec::new();
        encode(&stereo, &head, &[1; 200], &mut bytes).expect("it fits");
        one.feed(&bytes, 1);
    }
    let counters = &one.engine.counters().mics[0];
    assert_eq!((counters.malformed, counters.received), (20, 0));
    let line = "not vban:*2@48000: expected 1 channels, got 2 (declare it: --format 0=vban:*2@48000)";
    assert_eq!(one.said(line), 1, "{:?}", one.logs);
}
