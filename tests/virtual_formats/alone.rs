//! One numbered source alone: where a packet is lost its whole cycle is, and one that was overtaken beside it still fills its place.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Datagram, Engine};
use micring::sim::Scenario;
use micring::sim::encode::{Head, encode};
use micring::time::{KernelTime, MonoTime, Span};

use super::rig::{config, numbered, sample};

const FRAMES: i64 = 213;
const PACKETS: i64 = 2_500;

#[test]
fn a_packet_that_was_overtaken_beside_a_lost_one_is_in_the_history() {
    let scenario = Scenario::one_board(Span::from_secs(1));
    let format = numbered("rtp:L24/48000/1");
    let mut engine =
        Engine::new(config(&scenario, ClockChoice::Auto, Layout::mono(1))).declared(std::slice::from_ref(&format));
    let (mono, wall) = (MonoTime::from_nanos(0), KernelTime::from_nanos(1_795_345_500_000_000_000));
    // Of each forty one is lost, and the one before it, behind it, or two before it comes after the next that comes.
    let lost = |n: i64| n > 600 && n % 40 == 20;
    let held = |n: i64| n > 600 && (n % 120 == 19 || n % 120 == 61 || n % 120 == 98);
    let mut order: Vec<i64> = (0..PACKETS).filter(|n| !lost(*n)).collect();
    let overtaken: Vec<usize> = (0..order.len() - 1).filter(|at| held(order[*at])).collect();
    overtaken.into_iter().for_each(|at| order.swap(at, at + 1));
    let (mut bytes, mut newest) = (Vec::new(), 0);
    for n in order {
        let samples: Vec<i32> = (0..FRAMES).map(|i| sample(0, n * FRAMES + i)).collect();
        let head =
            Head { number: n as u64, position: (n * FRAMES) as u64, micros: 0, rate: 48_000, channels: 1, stream: 1 };
        encode(&format, &head, &samples, &mut bytes).expect("it fits");
        newest = newest.max(n);
        let behind = Span::from_micros(if n < newest { 100 } else { 0 });
        let now = Span::of_frames(newest * FRAMES, 48_000) + behind;
        engine.begin_turn(Clocks { mono: mono + now, wall: wall + now });
        let sender = SocketAddr::from(([192, 0, 2, 1], 4_000));
        engine.handle_datagram(&Datagram { mic: 0, stamp: wall + now, sender, bytes: &bytes, len: bytes.len() });
        engine.handle_timeout();
        while engine.poll_output().is_some() {}
    }
    let span = engine.history().span();
    let mut words = Vec::new();
    engine.history().append_to(&mut words, span.start, (span.end - span.start) as usize).expect("within");
    let first = i32::from_le_bytes(words[0]);
    let base = (0..1 << 20).find(|position| sample(0, *position) == first).expect("a sample of the source");
    assert!(words.len() > 300_000);
    for (position, word) in (base..).zip(words) {
        let truth = if lost(position / FRAMES) { 0 } else { sample(0, position) };
        assert_eq!(i32::from_le_bytes(word), truth, "frame {} of packet {}", position % FRAMES, position / FRAMES);
    }
    let told = &engine.counters().mics[0];
    assert_eq!(told.lost, (0..PACKETS).filter(|n| lost(*n)).count() as u64, "{told:?}");
}
