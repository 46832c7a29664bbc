//! The seed's later firmware: three channels on one port, 512 frames a chunk, cut by Arduino into 4 x 1460 + 304 bytes, tags in the
//! samples. Which pieces are lost is told exactly, and nothing but their own frames is missing.

use std::collections::BTreeSet;

use micring::array::Layout;
use micring::engine::{ClockChoice, Datagram, Engine};
use micring::sim::encode::{Head, encode};
use micring::sim::{Delay, Loss, Network, Packet, Reorder, Scenario, Sending, Sim};
use micring::time::Span;
use micring::wire::Format;

use super::rig::{LOOP_DELAY, config, serve_timeouts};

const CHANNELS: usize = 3;
/// Positions a sample tells, above the six bits that tags need.
const POSITIONS: i64 = 1 << 22;

fn sample(channel: usize, position: i64) -> i32 {
    (channel as i32 + 1) << 28 | ((position % POSITIONS) as i32) << 6
}

/// What the firmware sends of a chunk as this piece.
fn datagram(packet: &Packet, out: &mut Vec<u8>) {
    let chunk = packet.piece.chunk.0;
    let samples: Vec<i32> = (chunk..chunk + i64::from(packet.piece.chunk_samples))
        .flat_map(|position| (0..CHANNELS).map(move |channel| sample(channel, position)))
        .collect();
    let head = Head { number: 0, position: chunk as u64, micros: 0, rate: 48_000, channels: 3, stream: 0 };
    encode(&Format::Audiovision, &head, &samples, out).expect("it has room");
    let (from, to) = (packet.piece.offset as usize, (packet.piece.offset + packet.piece.bytes) as usize);
    out.copy_within(from..to, 0);
    out.truncate(to - from);
}

fn play(scenario: &Scenario, declared: Format) -> (Engine, Sim) {
    play_beside(scenario, declared, |_, _| Vec::new())
}

/// `more`: what else comes right behind a datagram, by its number.
fn play_beside(scenario: &Scenario, declared: Format, more: fn(u64, &[u8]) -> Vec<Vec<u8>>) -> (Engine, Sim) {
    let config = config(scenario, ClockChoice::Auto, Layout::new(&[CHANNELS]).expect("one source"));
    let mut engine = Engine::new(config).declared(&[declared]);
    let mut sim = Sim::new(scenario);
    let (mut bytes, mut number) = (Vec::new(), 0);
    let mut drain = |engine: &mut Engine| while engine.poll_output().is_some() {};
    while let Some(packet) = sim.next() {
        let now = packet.arrival + LOOP_DELAY;
        serve_timeouts(&mut engine, &sim, now, &mut drain);
        datagram(&packet, &mut bytes);
        engine.begin_turn(sim.clocks(now));
        let sender = sim.sender(&packet);
        engine.handle_datagram(&Datagram { mic: 0, stamp: packet.stamp, sender, bytes: &bytes, len: bytes.len() });
        for bytes in more(number, &bytes) {
            engine.handle_datagram(&Datagram { mic: 0, stamp: packet.stamp, sender, bytes: &bytes, len: bytes.len() });
        }
        number += 1;
        engine.handle_timeout();
        drain(&mut engine);
    }
    (engine, sim)
}

fn scenario(seed: u64, network: Network) -> Scenario {
    let sending = Sending { pieces: Some(Sending::ARDUINO), channels: 3, ..Sending::default() };
    Scenario { seed, sources: 1, sending, network, ..Scenario::one_board(Span::from_secs(25)) }
}

/// Positions of the frames that a withheld piece has a part of.
fn withheld(sim: &Sim) -> BTreeSet<i64> {
    let frames = |piece: &micring::sim::Piece| piece.position().0..piece.position().0 + i64::from(piece.samples());
    sim.truth().withheld.iter().flat_map(|lost| frames(&lost.piece)).collect()
}

/// Every frame of the history is right in all channels, or missing since a piece of it is.
fn check_frames(what: &str, engine: &Engine, sim: &Sim) {
    let span = engine.history().span();
    let mut words = Vec::new();
    engine.history().append_to(&mut words, span.start, (span.end - span.start) as usize).expect("within");
    let (mut base, mut missing, mut last) = (None, BTreeSet::new(), 0);
    for (at, frame) in (0_i64..).zip(words.chunks_exact(CHANNELS)) {
        let frame: Vec<i32> = frame.iter().map(|word| i32::from_le_bytes(*word)).collect();
        if frame.iter().all(|word| *word == 0) {
            missing.insert(at);
            continue;
        }
        let told = i64::from((frame[0] & 0x0fff_ffff) >> 6);
        let base = *base.get_or_insert(told - at);
        for (channel, word) in frame.iter().enumerate() {
            assert_eq!(word & !0x3f, sample(channel, at + base), "{what}: frame {at}, channel {channel}");
        }
        last = at;
    }
    let base = base.expect("some came");
    let missing: BTreeSet<i64> = missing.range(..last).map(|at| at + base).collect();
    let lost: BTreeSet<i64> = withheld(sim).range(base..last + base).copied().collect();
    assert_eq!(missing.len(), lost.len(), "{what}: frames missing, and those of lost pieces");
    assert_eq!(missing, lost, "{what}");
}

#[test]
fn lost_pieces_are_told_exactly_and_cost_their_own_frames_only() {
    for (seed, name, loss) in [
        (61, "no loss", Loss::Independent(0.0)),
        (62, "1 %", Loss::Independent(0.01)),
        (63, "3 %", Loss::Independent(0.03)),
        (64, "10 %", Loss::Independent(0.10)),
    ] {
        for declared in [Format::Audiovision, Format::Auto] {
            let network = Network { loss, ..Network::default() };
            let (engine, sim) = play(&scenario(seed, network), declared.clone());
            let (told, truth) = (&engine.counters().mics[0], &sim.truth().mics[0]);
            let context = format!("{name}, {declared}: {told:?}, truly {truth:?}");
            println!("{context}");
            assert_eq!(engine.format(0), &Format::Audiovision, "{context}");
            assert_eq!((told.lost_pieces, told.lost), (truth.lost_pieces, truth.lost_chunks), "{context}");
            assert_eq!((told.malformed, told.duplicate, told.corrected), (0, 0, 0), "{context}");
            check_frames(&context, &engine, &sim);
        }
    }
}

#[test]
fn pieces_that_change_places_or_come_twice_move_nothing() {
    let reorder = Some(Reorder { probability: 0.05, by: Span::from_micros(200) });
    for (seed, network) in [
        (71, Network { reorder, ..Network::default() }),
        (72, Network { reorder, loss: Loss::Independent(0.02), ..Network::default() }),
        (73, Network { duplicate: 0.02, loss: Loss::Independent(0.02), ..Network::default() }),
        (74, Network { delay: Delay::Wifi, loss: Loss::Independent(0.02), ..Network::default() }),
    ] {
        let (engine, sim) = play(&scenario(seed, network), Format::Audiovision);
        let (told, truth) = (&engine.counters().mics[0], &sim.truth().mics[0]);
        let context = format!("seed {seed}: {told:?}, truly {truth:?}");
        println!("{context}");
        assert_eq!((told.lost_pieces, told.lost), (truth.lost_pieces, truth.lost_chunks), "{context}");
        assert_eq!((told.malformed, told.duplicate), (0, truth.duplicated), "{context}");
        check_frames(&context, &engine, &sim);
    }
}

/// Cut inside a sample; with a channel that there is none of; with a piece torn out of its middle. Twenty of each.
fn junk(number: u64, good: &[u8]) -> Vec<Vec<u8>> {
    if !(500..1_500).contains(&number) || !number.is_multiple_of(50) {
        return Vec::new();
    }
    let mut stranger = good.to_vec();
    stranger[0] |= 0b110;
    vec![good[..good.len() - 2].to_vec(), stranger, [&good[..100], &good[120..]].concat()]
}

#[test]
fn what_does_not_fit_is_counted_and_moves_nothing() {
    let (engine, sim) = play_beside(&scenario(75, Network::default()), Format::Audiovision, junk);
    let told = &engine.counters().mics[0];
    assert_eq!((told.malformed, told.lost, told.lost_pieces, told.duplicate), (60, 0, 0, 0), "{told:?}");
    check_frames("with junk", &engine, &sim);
}
