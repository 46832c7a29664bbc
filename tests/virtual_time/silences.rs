//! Free boards whose path stalls for longer than half a second: what arrives then is placed, and what the stall hid is not made
//! up. And boards that did restart meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use micring::MICS;
use micring::engine::{Config, Datagram};
use micring::sim::{HoldBack, Loss, Mute, Network, Packet, Reboot, START, Scenario, Sim};
use micring::time::{MonoTime, Span};

use super::boards::{Captures, free, spreads};
use super::judge::{Judged, judge_altered};
use super::models::delay;
use super::rig::{Rig, config};

/// The clock of a path like this is known to some hundredths of a ppm after a minute.
fn quiet(loss: Loss) -> Network {
    Network { delay: delay("exp0.3"), loss, ..Network::default() }
}

/// A history that holds what is looked at for the second time, and the longest backlog of these tests before it.
fn long() -> Config {
    Config { history: Span::from_secs(13), ..config() }
}
const SETTLED: i64 = 7 * 48_000;

/// What `mics` send within `hold` from each of `at` on waits for its end, and then comes in a burst.
fn stall<'a>(mics: &'a [usize], at: &'a [i64], hold: Span) -> impl FnOnce(&mut [Packet]) + 'a {
    move |packets| {
        for (&mic, &at) in mics.iter().flat_map(|mic| at.iter().map(move |at| (mic, at))) {
            let from = START + Span::from_secs(at);
            let mut next = from + hold;
            let mut held: Vec<&mut Packet> = packets.iter_mut().filter(|p| p.mic == mic && p.arrival >= from).collect();
            held.sort_by_key(|packet| packet.arrival);
            for packet in held {
                if packet.arrival >= next {
                    break;
                }
                packet.arrival = next;
                next = next + Span::from_micros(200);
            }
        }
    }
}

/// All that arrived is in its place, but for the samples that slips repeat and leave out; and `lost` is what was.
fn assert_nothing_is_thrown_away(judged: &Judged) {
    let mics = &judged.rig.engine.counters().mics;
    let slips: u64 = mics.iter().map(|m| m.slips).sum();
    let Judged { misaligned, wrong, moves, strange, nowhere, .. } = judged;
    assert_eq!((*misaligned, *wrong, *moves, *strange), (0, 0, 0, 0));
    assert!(nowhere.unsigned_abs() <= slips, "{nowhere} samples, {slips} slips");
    assert_eq!(mics.map(|m| m.lost), judged.sim.truth().mics.map(|m| m.lost_chunks));
}

/// The greatest distance between two channels in what the history holds at the end, in samples.
fn apart_in_the_history(judged: &Judged, scenario: &Scenario) -> f64 {
    let mut captures = Captures::default();
    Sim::new(scenario).for_each(|packet| captures.note(&packet));
    let span = judged.rig.engine.history().span();
    let channels = [0, 1, 2].map(|mic| judged.rig.channel(mic, span.start, (span.end - span.start) as usize));
    let mut worst = 0.0_f64;
    for at in (0..channels[0].len()).step_by(16) {
        let there = (0..MICS).filter(|&mic| channels[mic][at] != 0);
        let when = there.filter_map(|mic| captures.when(mic, i64::from(channels[mic][at] & 0x0fff_ffff)));
        let (low, high) = when.fold((f64::MAX, f64::MIN), |(low, high), t| (low.min(t), high.max(t)));
        worst = worst.max(high - low);
    }
    worst
}

#[test]
fn a_backlog_of_any_length_is_placed_by_its_clock() {
    println!("{}", Judged::head(&["stall, s", "loss"], &["late", "slips", "apart in the end"]));
    for tenths in [6, 10, 20, 40] {
        let hold = Span::from_millis(tenths * 100);
        for loss in [Loss::None, Loss::Independent(0.01)] {
            // Stalls end at 80 s and a little, and at 90 s.
            let hold_back = Some(HoldBack { hold, every: Span::from_secs(10) });
            let then = vec![(Span::from_secs(65), Network { hold_back, ..quiet(Loss::None) })];
            let scenario = Scenario { clean_cycles: 200, then, ..free(tenths as u64, 91, quiet(loss)) };
            let judged = judge_altered(&scenario, long(), SETTLED, |_| {});
            let mics = &judged.rig.engine.counters().mics;
            let apart = apart_in_the_history(&judged, &scenario);
            let (late, slips) = (mics.map(|m| m.late), mics.map(|m| m.slips));
            println!("| {hold:?} | {loss:?} | {judged} | {late:?} | {slips:?} | {apart:.2} |");
            assert_nothing_is_thrown_away(&judged);
            assert!(apart < 2.5, "{hold:?}");
        }
    }
}

#[test]
fn one_board_of_three_or_of_two_may_stall_alone() {
    for (tenths, mics) in [(6, &[1][..]), (10, &[0]), (20, &[2]), (40, &[1]), (20, &[0, 2])] {
        let hold = Span::from_millis(tenths * 100);
        for two in [false, true] {
            let always = Mute { mic: 2, from: Span::ZERO, to: Span::from_secs(1_000) };
            let mutes = if two { vec![always] } else { vec![] };
            let scenario = Scenario { mutes, ..free(tenths as u64, 86, quiet(Loss::None)) };
            let judged = judge_altered(&scenario, long(), SETTLED, stall(mics, &[61, 80], hold));
            let m = &judged.rig.engine.counters().mics;
            let apart = apart_in_the_history(&judged, &scenario);
            println!("| {hold:?} of {mics:?} | {judged} | {:?} | {apart:.2} |", m.map(|m| m.late));
            let (lost, slips) = (judged.rig.lost(), m.iter().map(|m| m.slips).sum());
            assert_eq!((judged.misaligned, judged.moves, judged.strange, lost), (0, 0, 0, [0; MICS]), "{hold:?}");
            assert!(judged.nowhere.unsigned_abs() <= slips && apart < 2.5, "{hold:?} of {mics:?}: {apart}");
            // While others go on, nearly all of a backlog comes too late for its cycles.
            let alone = mics.len() == 1 && !(two && mics == [2]);
            let held = 2 * tenths as u64 * 9_375 / 1_000;
            assert!(!alone || m[mics[0]].late > held * 9 / 10, "{:?} of {held}", m.map(|m| m.late));
        }
    }
}

#[test]
fn a_backlog_whose_oldest_part_was_lost_leaves_a_gap_of_its_size() {
    let hold = Span::from_secs(2);
    let scenario = free(3, 100, quiet(Loss::None));
    let lost: BTreeSet<i64> = (0..60).collect();
    let at = START + Span::from_secs(70);
    let judged = judge_altered(&scenario, long(), SETTLED, |packets| {
        stall(&[1], &[70], hold)(packets);
        // The path's queue holds two thirds of it: the oldest packets never come.
        let mut held: Vec<&mut Packet> = packets.iter_mut().filter(|p| p.mic == 1 && p.captured >= at).collect();
        held.sort_by_key(|packet| packet.captured);
        for (i, packet) in held.into_iter().enumerate() {
            if lost.contains(&(i as i64)) {
                packet.arrival = START + Span::from_secs(100_000);
            }
        }
    });
    println!("| {judged} |");
    assert_eq!(judged.rig.lost(), [0, 60, 0]);
    assert_eq!((judged.misaligned, judged.strange), (0, 0));
}

#[test]
fn resampled_boards_lose_no_backlog_either() {
    for tenths in [6, 20, 40] {
        let hold = Span::from_millis(tenths * 100);
        let (mut sim, mut rig) =
            (Sim::new(&free(tenths as u64, 90, quiet(Loss::None))), Rig::new(Config { resample: true, ..long() }));
        let mut packets: Vec<Packet> = sim.by_ref().collect();
        let before: Vec<MonoTime> = packets.iter().map(|packet| packet.arrival).collect();
        stall(&[0, 1, 2], &[70], hold)(&mut packets);
        packets.iter_mut().zip(before).for_each(|(p, before)| p.stamp = p.stamp + (p.arrival - before));
        packets.sort_by_key(|packet| packet.arrival);
        let mut payload = Vec::new();
        // Interpolated, an index is no sample that was sent: only what the records say can be looked at.
        for packet in &packets {
            sim.payload(packet, &mut payload);
            let (sender, len) = (sim.sender(packet), payload.len());
            rig.engine.begin_turn(sim.clocks(packet.arrival));
            rig.engine.handle_datagram(&Datagram {
                mic: packet.mic,
                stamp: packet.stamp,
                sender,
                bytes: &payload,
                len,
            });
            rig.engine.handle_timeout();
            while rig.engine.poll_output().is_some() {}
            if packet.arrival - START > Span::from_secs(70) + hold + Span::from_secs(3) {
                break;
            }
        }
        let history = rig.engine.history();
        let held: Vec<_> = history.ids().filter_map(|id| history.cycle(id)).collect();
        // The last one or two are short of what the filter waits for.
        let short = held.iter().rev().skip(4).filter(|cycle| cycle.mic_samples != [cycle.frames; MICS]).count();
        println!("{hold:?}: {short} of {} cycles lack samples, lost {:?}", held.len(), rig.lost());
        assert_eq!((short, rig.lost()), (0, [0; MICS]));
    }
}

/// Feeds what a rebooting scenario sends, from senders and at times that `alter` says.
fn reboot(
    seed: u64,
    down: Span,
    alter: impl Fn(&Packet, SocketAddr) -> (MonoTime, SocketAddr),
    mut see: impl FnMut(&Rig, &Packet),
) -> Rig {
    let reboots = vec![Reboot { board: 1, at: Span::from_secs(70), down }];
    let mut sim = Sim::new(&Scenario { reboots, ..free(seed, 100, quiet(Loss::None)) });
    let mut packets: Vec<(MonoTime, SocketAddr, Packet)> = Vec::new();
    while let Some(packet) = sim.next() {
        let (arrival, sender) = alter(&packet, sim.sender(&packet));
        packets.push((arrival, sender, packet));
    }
    packets.sort_by_key(|(arrival, ..)| *arrival);
    let (mut rig, mut payload) = (Rig::new(long()), Vec::new());
    for (arrival, sender, packet) in packets {
        rig.wait_until(arrival, &sim);
        see(&rig, &packet);
        sim.payload(&packet, &mut payload);
        let stamp = packet.stamp + (arrival - packet.arrival);
        let d = Datagram { mic: packet.mic, stamp, sender, bytes: &payload, len: payload.len() };
        rig.feed(&d, arrival, &sim);
    }
    rig
}

#[test]
fn of_a_board_that_was_replaced_no_backlog_is_mixed_in() {
    // What the old board sent in its last 0.3 s waits until the new one is followed.
    let waits = START + Span::from_millis(69_700);
    let comes = START + Span::from_secs(75);
    let mut newest_old = 0;
    let rig = reboot(
        5,
        Span::from_secs(2),
        |packet, mut sender| {
            let old = packet.mic == 1 && packet.boot == 0;
            if packet.mic == 1 && packet.boot == 1 {
                sender.set_ip([192, 168, 4, 99].into());
            }
            (if old && packet.captured >= waits { comes } else { packet.arrival }, sender)
        },
        |_, packet| {
            if packet.mic == 1 && packet.boot == 0 && packet.captured < waits {
                newest_old = newest_old.max((packet.cycle as i64 + 1) * 512);
            }
        },
    );
    let m = rig.engine.counters().mics[1];
    println!("{m:?}");
    assert_eq!((m.sender_changes, m.lost), (1, 0));
    assert!((27..=29).contains(&m.foreign), "0.3 s of packets: {}", m.foreign);
    // The new board counts from 0: by the end it is at 28 s, the old one ended near 70 s.
    let span = rig.engine.history().span();
    let shown = rig.channel(1, span.start, (span.end - span.start) as usize);
    let newest = shown.iter().map(|&sample| i64::from(sample & 0x0fff_ffff)).max().expect("samples");
    assert!(newest < 30 * 48_000 && newest_old > 69 * 48_000, "{newest} {newest_old}");
}

#[test]
fn a_board_that_restarts_with_the_same_address_and_port_is_not_forced_onto_its_old_phase() {
    for seed in 1..=12 {
        let mut captures = Captures::default();
        let rig = reboot(
            seed,
            Span::from_millis(700 + 173 * seed as i64),
            |packet, mut sender| {
                sender.set_port(50_000);
                (packet.arrival, sender)
            },
            |_, packet| {
                if packet.mic != 1 || packet.boot == 1 {
                    captures.note(packet);
                }
            },
        );
        assert_eq!(rig.engine.counters().mics[1].sender_changes, 0);
        let from = rig.seen.iter().position(|s| s.first.0 > 76 * 48_000).expect("the stream goes on");
        let apart = spreads(&rig, &captures, from);
        let worst = apart[apart.len() - 1];
        let there = rig.seen[from..].iter().filter(|s| s.truth[1].is_some()).count();
        println!("restarted: {there} of {} cycles, at most {worst:.2} samples apart", rig.seen.len() - from);
        // Taken for its old self it would be off by up to an eighth of a period, 64 samples; on any other phase by up to 512.
        assert!(there + 4 > rig.seen.len() - from && worst < 64.0, "{worst}");
    }
}
