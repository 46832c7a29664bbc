//! Copies of free boards' packets: each is dropped wherever it can be told, and none shifts its channel.

use micring::MICS;
use micring::engine::{Datagram, Reason, Verdict};
use micring::sim::{HoldBack, Network, Scenario, Sim, index_sample};
use micring::time::Span;

use super::boards::free;
use super::models::delay;
use super::rig::{Rig, config};

/// Cycles until the offsets are learnt.
const BEGUN: usize = 200;

/// How often each channel moved by more than half a packet.
fn moves(rig: &Rig) -> [usize; MICS] {
    std::array::from_fn(|mic| {
        let seen = rig.seen.iter().skip(BEGUN);
        let offsets: Vec<i64> = seen.filter_map(|s| Some(s.first.0 - s.truth[mic]?)).collect();
        offsets.windows(2).filter(|w| (w[1] - w[0]).abs() > 256).count()
    })
}

#[test]
fn a_copy_behind_a_packet_that_slipped_is_dropped() {
    for seed in [121, 122] {
        let scenario = free(seed, 60, Network::default());
        let (mut rig, mut sim, mut payload) = (Rig::new(config()), Sim::new(&scenario), Vec::new());
        let (mut counted, mut slips, mut copies) = ([0; MICS], [false; MICS], [0; MICS]);
        while let Some(packet) = sim.next() {
            let mic = packet.mic;
            rig.wait_until(packet.arrival, &sim);
            sim.payload(&packet, &mut payload);
            let (sender, len) = (sim.sender(&packet), payload.len());
            let d = Datagram { mic, stamp: packet.stamp, sender, bytes: &payload, len };
            rig.feed(&d, packet.arrival, &sim);
            // A slip is counted when it is decided, and the microphone's next packet carries it.
            if std::mem::take(&mut slips[mic]) {
                let again = packet.arrival + Span::from_micros(100);
                let verdict = rig.feed(&Datagram { stamp: sim.clocks(again).wall, ..d }, again, &sim);
                assert_eq!(verdict, Verdict::Rejected(Reason::Duplicate), "mic {mic}");
                copies[mic] += 1;
            }
            for (mic, m) in rig.engine.counters().mics.iter().enumerate() {
                slips[mic] |= m.slips > counted[mic];
                counted[mic] = m.slips;
            }
        }
        let m = &rig.engine.counters().mics;
        println!("slips {:?}, copies {copies:?}, moves {:?}", m.map(|m| m.slips), moves(&rig));
        // 35 ppm between the fastest and the slowest are 1.7 samples a second.
        assert!(copies.iter().sum::<u64>() > 50);
        assert_eq!((m.map(|m| m.duplicate), rig.lost(), moves(&rig)), (copies.to_vec(), [0; MICS], [0; MICS]));
    }
}

#[test]
fn every_twentieth_packet_twice_moves_no_channel() {
    for seed in [131, 132, 133] {
        let network = Network { duplicate: 0.05, ..Network::default() };
        let scenario = Scenario { clean_cycles: BEGUN as u32, ..free(seed, 120, network) };
        let (rig, sim) = Rig::run(&scenario, config());
        let m = &rig.engine.counters().mics;
        let truly = sim.truth().mics.map(|m| m.duplicated);
        println!("duplicates {:?} of {truly:?}, moves {:?}", m.map(|m| m.duplicate), moves(&rig));
        assert_eq!((m.map(|m| m.duplicate), rig.lost(), moves(&rig)), (truly.to_vec(), [0; MICS], [0; MICS]));
    }
}

/// A tone whose period divides a packet: every packet has the bytes of the one before.
#[test]
fn equal_packets_at_their_spacing_or_in_a_backlog_are_no_copies() {
    let held = |ms| Some(HoldBack { hold: Span::from_millis(ms), every: Span::from_millis(3_930) });
    // After the longest the offsets start anew, with a backlog.
    for (seed, hold_back) in [(141, None), (142, held(300)), (143, held(700))] {
        let network = Network { hold_back, delay: delay("exp1"), ..Network::default() };
        let scenario = free(seed, 60, network);
        let (mut rig, mut sim) = (Rig::new(config()), Sim::new(&scenario));
        let mut fed = [0; MICS];
        while let Some(packet) = sim.next() {
            rig.wait_until(packet.arrival, &sim);
            let bytes: Vec<u8> = (0..512).flat_map(|i| index_sample(packet.mic, i % 64).to_le_bytes()).collect();
            let (mic, stamp, sender) = (packet.mic, packet.stamp, sim.sender(&packet));
            rig.feed(&Datagram { mic, stamp, sender, bytes: &bytes, len: bytes.len() }, packet.arrival, &sim);
            fed[mic] += 1;
        }
        let m = &rig.engine.counters().mics;
        assert_eq!(
            (m.map(|m| m.duplicate), m.map(|m| m.received), rig.lost()),
            (vec![0; MICS], fed.to_vec(), [0; MICS])
        );
    }
}

/// A board's copy in a backlog is told by nothing (contract, section 2): it opens a cycle. The channels part for a few cycles, and then go on
/// together, a cycle later than before.
#[test]
fn a_copy_in_a_backlog_parts_the_channels_of_a_board_for_a_moment_only() {
    for seed in [151, 152, 153, 154, 155, 156] {
        let hold_back = Some(HoldBack { hold: Span::from_millis(60), every: Span::from_millis(1_500) });
        let network = Network { hold_back, duplicate: 0.02, ..Network::default() };
        let scenario = Scenario { seed, network, clean_cycles: 200, ..Scenario::one_board(Span::from_secs(60)) };
        let (rig, sim) = Rig::run(&scenario, config());
        let truly: u64 = sim.truth().mics.iter().map(|mic| mic.duplicated).sum();
        let told: u64 = rig.engine.counters().mics.iter().map(|mic| mic.duplicate).sum();
        let (untold, frames) = (truly - told, rig.misaligned);
        println!("{untold} of {truly} copies in backlogs, channels apart in {frames} frames, lost {:?}", rig.lost());
        assert!(untold > 3 && frames <= untold * 2 * 512);
        let last = rig.seen.last().expect("cycles");
        let offsets = last.truth.map(|truth| truth.map(|truth| last.first.0 - truth));
        assert!(offsets[0].is_some() && offsets == [offsets[0]; MICS], "together in the end: {offsets:?}");
        assert!(offsets[0].is_some_and(|offset| offset <= 512 * untold as i64), "{offsets:?}");
    }
}
