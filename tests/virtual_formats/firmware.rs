//! The seed's first firmware on a path without delays that loses the very datagrams that tests/senders has it lose.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::{ClockChoice, Datagram, Engine};
use micring::sim::Scenario;
use micring::time::{KernelTime, MonoTime, Span};

use super::rig::{config, sample};

#[test]
fn pieces_and_chunks_that_the_first_firmware_loses_are_told_exactly() {
    let scenario = Scenario::one_board(Span::from_secs(1));
    let mut engine = Engine::new(config(&scenario, ClockChoice::Auto, Layout::mono(3)));
    let (mono, wall) = (MonoTime::from_nanos(0), KernelTime::from_nanos(1_795_345_500_000_000_000));
    let (mut dice, mut number) = (1_u32, 0);
    // Pieces lost, by microphone and chunk.
    let mut lost: [Vec<i64>; 3] = Default::default();
    for turn in 0..1_875_i64 {
        for (mic, lost) in lost.iter_mut().enumerate() {
            let chunk: Vec<u8> = (0..512).flat_map(|i| sample(mic, turn * 512 + i).to_le_bytes()).collect();
            for (piece, bytes) in [&chunk[..1_460], &chunk[1_460..]].into_iter().enumerate() {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let is_lost = (1_200..10_800).contains(&number) && dice >> 16 < 655;
                number += 1;
                if is_lost {
                    lost.push(turn);
                    continue;
                }
                let after = Span::from_micros(mic as i64 * 12 + piece as i64 * 4);
                let now = Span::of_frames((turn + 1) * 512, 48_000) + after;
                engine.begin_turn(Clocks { mono: mono + now, wall: wall + now });
                let sender = SocketAddr::from(([192, 0, 2, 1], 4_000));
                engine.handle_datagram(&Datagram { mic, stamp: wall + now, sender, bytes, len: bytes.len() });
                engine.handle_timeout();
                while engine.poll_output().is_some() {}
            }
        }
    }
    for (mic, lost) in lost.iter().enumerate() {
        let chunks = lost.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        let told = &engine.counters().mics[mic];
        println!("mic {mic}: {} lost, {chunks} chunks of them: {told:?}", lost.len());
        assert_eq!((told.lost_pieces, told.lost), (lost.len() as u64 - 2 * chunks, chunks), "mic {mic}: {told:?}");
        assert_eq!((told.late, told.duplicate, told.malformed), (0, 0, 0), "mic {mic}: {told:?}");
    }
}
