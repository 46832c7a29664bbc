//! Raw samples that look like another format's by chance.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Datagram, Engine, Output};
use micring::sim::Scenario;
use micring::time::{KernelTime, MonoTime, Span};

use super::rig::{config, sample};

const SAMPLES: i64 = 480;
/// Of the one whose bytes begin as RTP of payload type 10 does.
const LIKE_RTP: i64 = 7;

/// Cycles of one board whose three microphones send in order, 100 us apart; `sends` says which packets there are. Returns of each cycle
/// that left when it did, and the cycle that each channel is of.
fn run(cycles: i64, sends: impl Fn(i64, usize) -> bool) -> Vec<(Span, [Option<i64>; 3])> {
    let scenario = Scenario::one_board(Span::from_secs(1));
    let mut engine = Engine::new(config(&scenario, ClockChoice::Auto, Layout::mono(3)));
    let (mono, wall) = (MonoTime::from_nanos(0), KernelTime::from_nanos(1_795_345_500_000_000_000));
    let sender = SocketAddr::from(([192, 0, 2, 1], 4_000));
    let mut left = Vec::new();
    for cycle in 0..cycles {
        for mic in 0..3 {
            let now = Span::from_micros(cycle * 10_000 + mic as i64 * 100);
            engine.begin_turn(Clocks { mono: mono + now, wall: wall + now });
            if sends(cycle, mic) {
                let mut bytes: Vec<u8> =
                    (0..SAMPLES).flat_map(|i| sample(mic, cycle * SAMPLES + i).to_le_bytes()).collect();
                if (cycle, mic) == (LIKE_RTP, 1) {
                    bytes[..2].copy_from_slice(&[0x80, 10]);
                }
                engine.handle_datagram(&Datagram { mic, stamp: wall + now, sender, bytes: &bytes, len: bytes.len() });
            }
            engine.handle_timeout();
            while let Some(output) = engine.poll_output() {
                let Output::Cycle(one) = output else { continue };
                let whole = |mic: usize| one.mic_samples[mic] == SAMPLES as u32;
                let mut frames = Vec::new();
                engine
                    .history()
                    .append_to(&mut frames, one.first_frame, one.frames as usize)
                    .expect("it has just left");
                // The last sample: the first two bytes of one packet were changed.
                let of = |mic: usize| {
                    let last = frames[(SAMPLES as usize - 1) * 3 + mic];
                    (0..cycles).find(|cycle| sample(mic, (cycle + 1) * SAMPLES - 1).to_le_bytes() == last)
                };
                left.push((now, std::array::from_fn(|mic| whole(mic).then(|| of(mic).expect("it was sent")))));
            }
        }
    }
    left
}

#[test]
fn the_packets_of_one_board_keep_their_order_while_one_is_looked_at() {
    let left = run(30, |_, _| true);
    let whole: Vec<_> = (0..left.len() as i64).map(|cycle| [Some(cycle); 3]).collect();
    assert_eq!(left.iter().map(|(_, of)| *of).collect::<Vec<_>>(), whole);
    assert_eq!(left.len(), 30);
}

#[test]
fn a_microphone_that_falls_silent_while_it_is_looked_at_holds_the_others_up_for_a_second_at_most() {
    let left = run(300, |cycle, mic| mic != 1 || cycle <= LIKE_RTP);
    for (id, (when, of)) in left.iter().enumerate() {
        let cycle = id as i64;
        assert_eq!(*of, [Some(cycle), Some(cycle).filter(|cycle| *cycle <= LIKE_RTP), Some(cycle)]);
        assert!(*when - Span::from_millis(10 * cycle) < Span::from_millis(1_100), "cycle {cycle} at {when:?}");
    }
    assert!(left.len() >= 298);
}
