//! Free boards of which one becomes late for good, on a machine that stalls now and then; and what is left of a bad time once it
//! is over.

use micring::MICS;
use micring::engine::Datagram;
use micring::sim::{Lag, Loss, Network, Packet, Rate, START, Scenario, Sim};
use micring::time::Span;

use super::boards::{Captures, free, spreads};
use super::models::delay;
use super::rig::{Rig, config};

/// Uniform in (0, 1]: Marsaglia, "Xorshift RNGs".
fn uniform(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    ((*state >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Stalls of 2 to 40 ms, at one packet in a hundred: three a second. Nobody's packets pass, then all of them do.
fn stall(packets: &mut [Packet], seed: u64) {
    let mut state = seed * 7_919 + 13;
    let (mut ends, mut last) = (START, [START; MICS]);
    for packet in packets.iter_mut() {
        if uniform(&mut state) < 0.01 {
            ends = ends.max(packet.arrival + Span::from_secs_f64(2e-3 + 38e-3 * uniform(&mut state)));
        }
        let arrival = packet.arrival.max(ends).max(last[packet.mic] + Span::from_micros(20));
        last[packet.mic] = arrival;
        packet.stamp = packet.stamp + (arrival - packet.arrival);
        packet.arrival = arrival;
    }
    packets.sort_by_key(|packet| packet.arrival);
}

/// No board loses anything. Says for how long a loss was believed all the same, and the hold 3 s after the lag began.
fn run(by: Span, from: Span, seed: u64) -> (Span, Span) {
    let lag = Lag { mic: 2, from, to: Span::from_secs(1_000), by };
    let network = Network { delay: delay("exp1"), ..Network::default() };
    let rates = [5.0, -5.0, 2.0].map(Rate::Constant).to_vec();
    let length = from + Span::from_secs(8);
    let mut sim = Sim::new(&Scenario { seed, network, rates, lags: vec![lag], ..Scenario::three_boards(length) });
    let mut packets: Vec<Packet> = sim.by_ref().collect();
    stall(&mut packets, seed);
    let mut rig = Rig::new(config());
    let (mut payload, mut believed, mut hold, mut before) = (Vec::new(), Span::ZERO, Span::ZERO, START);
    for packet in &packets {
        rig.wait_until(packet.arrival, &sim);
        if rig.lost() != [0; MICS] {
            believed += packet.arrival - before;
        }
        before = packet.arrival;
        sim.payload(packet, &mut payload);
        let (sender, len) = (sim.sender(packet), payload.len());
        let datagram = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len };
        rig.feed(&datagram, packet.arrival, &sim);
        if packet.arrival - START < from + Span::from_secs(3) {
            hold = rig.engine.hold();
        }
    }
    assert_eq!(rig.lost(), [0; MICS], "seed {seed}: {by:?} at {from:?} are a delay");
    (believed, hold)
}

#[test]
fn a_lasting_lag_on_a_stalling_machine_is_a_delay_and_the_hold_follows_it() {
    for by in [8, 14, 25].map(Span::from_millis) {
        for from in [5, 18].map(Span::from_secs) {
            let runs: Vec<_> = (1..=20).map(|seed| run(by, from, seed)).collect();
            let wrong = runs.iter().filter(|(believed, _)| *believed > Span::ZERO).count();
            let longest = runs.iter().map(|&(believed, _)| believed).max().expect("runs");
            println!("seeds 1 to 20, {by:?} later from {from:?}: {wrong} took it for a loss, for {longest:?} at most");
            assert!(longest <= Span::from_secs(1), "a wrong decision is taken back: {longest:?}");
            assert!(runs.iter().all(|&(_, hold)| hold >= by), "adopted within 3 s");
        }
    }
}

/// Seconds of `mix` at 1 % loss.
const BAD: i64 = 600;
/// Then of `exp1` without: so long a clock goes without a believable line before it starts anew.
const GOOD: i64 = 300;

#[test]
fn five_minutes_after_the_worst_of_networks_the_channels_stand_within_a_sample() {
    for seed in 5..=10 {
        let network = Network { delay: delay("mix"), loss: Loss::Independent(0.01), ..Network::default() };
        let then = vec![(Span::from_secs(BAD), Network { delay: delay("exp1"), ..Network::default() })];
        let scenario = Scenario { clean_cycles: 200, then, ..free(seed, BAD + GOOD + 20, network) };
        let mut captures = Captures::default();
        let (rig, _) = Rig::run_with(&scenario, config(), |_, _, packet| captures.note(packet));
        let last = spreads(&rig, &captures, rig.seen.len() - 94 * 20);
        let apart = last[(last.len() - 1) * 999 / 1_000];
        println!("the last 20 s: {apart:.2} samples apart");
        assert!(apart <= 1.0, "seed {seed}: {apart}");
    }
}

/// One board. Every two seconds one packet of one microphone comes a period late, by `by` before or behind the next of its microphone;
/// where `cut` is set, three cycles are lost each 10 s, so that a skip stands all the time.
fn strays(mic: usize, by: Span, cut: bool) -> Rig {
    let scenario = Scenario { seed: 3, ..Scenario::one_board(Span::from_secs(60)) };
    let mut sim = Sim::new(&scenario);
    let mut packets: Vec<Packet> = sim.by_ref().collect();
    packets.retain(|packet| !cut || !(500..503).contains(&(packet.cycle % 940)));
    for packet in packets.iter_mut().filter(|packet| packet.mic == mic && packet.cycle % 188 == 187) {
        let late = Span::from_nanos(10_666_667) + by;
        packet.arrival = packet.arrival + late;
        packet.stamp = packet.stamp + late;
    }
    packets.sort_by_key(|packet| packet.arrival);
    let (mut rig, mut payload) = (Rig::new(config()), Vec::new());
    for packet in &packets {
        rig.wait_until(packet.arrival, &sim);
        sim.payload(packet, &mut payload);
        let (sender, len) = (sim.sender(packet), payload.len());
        let datagram = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len };
        rig.feed(&datagram, packet.arrival, &sim);
    }
    rig
}

#[test]
fn a_packet_that_comes_a_period_late_shifts_nothing_behind_a_skip_either() {
    for cut in [false, true] {
        for mic in 0..MICS {
            for by in [-300, -150, -50, 50, 150, 300].map(Span::from_micros) {
                let rig = strays(mic, by, cut);
                let corrected: u64 = rig.engine.counters().mics.iter().map(|m| m.corrected).sum();
                println!("skips {cut}, mic {mic}, {by:?}: lost {:?}, offsets {:?}", rig.lost(), rig.offsets);
                assert_eq!((rig.misaligned, rig.offsets.len(), corrected), (0, 1, 0));
                assert_eq!(rig.lost(), [if cut { 18 } else { 0 }; MICS], "six times three cycles, and no stray");
            }
        }
    }
}
