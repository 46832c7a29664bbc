//! Three boards, each with its own clock.

use std::collections::BTreeMap;

use micring::MICS;
use micring::sim::{HostClock, HostEvent, Lag, Loss, Mute, Network, Packet, Rate, Reboot, Scenario, Sim};
use micring::time::{MonoTime, Span};

use super::models::delay;
use super::rig::{Rig, config};

/// When each microphone's samples were captured: true time by packet.
#[derive(Default)]
pub struct Captures {
    by_cycle: [BTreeMap<u64, (MonoTime, f64)>; MICS],
}

impl Captures {
    pub fn note(&mut self, packet: &Packet) {
        self.by_cycle[packet.mic].insert(packet.cycle, (packet.captured, packet.ppm));
    }

    /// True time at which a board captured its frame `position`, in samples of 1/48000 s.
    pub fn when(&self, mic: usize, position: i64) -> Option<f64> {
        let cycle = position.div_euclid(512);
        let &(end, ppm) = self.by_cycle[mic].get(&(cycle as u64))?;
        let to_end = ((cycle + 1) * 512 - position) as f64 / (1.0 + ppm * 1e-6);
        Some((end.as_nanos() - 1_000_000_000_000) as f64 * 48e-6 - to_end)
    }
}

pub const RATES: [f64; MICS] = [20.0, -15.0, 3.0];

pub fn free(seed: u64, seconds: i64, network: Network) -> Scenario {
    println!("seed {seed}");
    Scenario { seed, network, rates: RATES.map(Rate::Constant), ..Scenario::three_boards(Span::from_secs(seconds)) }
}

pub fn run(scenario: &Scenario) -> (Rig, Sim, Captures) {
    let mut captures = Captures::default();
    let (rig, sim) = Rig::run_with(scenario, config(), |_, _, packet| captures.note(packet));
    (rig, sim, captures)
}

/// Distance between the earliest and the latest channel of each cycle, in samples, from cycle `from` on.
pub fn spreads(rig: &Rig, captures: &Captures, from: usize) -> Vec<f64> {
    let mut spreads = Vec::new();
    for seen in rig.seen.iter().skip(from) {
        let times: Vec<f64> = (0..MICS).filter_map(|mic| captures.when(mic, seen.truth[mic]?)).collect();
        if times.len() > 1 {
            let (low, high) = times.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));
            spreads.push(high - low);
        }
    }
    spreads.sort_by(f64::total_cmp);
    spreads
}

/// Of the packets that never came: how many there were, and how many left their gap in the right place; and the moves of a
/// channel by a packet or more against its own board, right or wrong.
pub fn gaps(rig: &Rig, sim: &Sim) -> (usize, usize, usize) {
    let mut offsets: [Vec<(i64, i64)>; MICS] = Default::default();
    for seen in &rig.seen {
        for (mic, truth) in seen.truth.iter().enumerate() {
            if let Some(truth) = *truth {
                offsets[mic].push((truth, seen.first.0 - truth));
            }
        }
    }
    let moves = |o: &Vec<(i64, i64)>| o.windows(2).filter(|w| (w[1].1 - w[0].1).abs() > 256).count();
    let withheld = &sim.truth().withheld;
    let right = withheld.iter().filter(|w| {
        let (at, o) = (w.cycle as i64 * 512, &offsets[w.mic]);
        let before = o[..o.partition_point(|&(t, _)| t + 512 <= at)].last();
        let after = o.get(o.partition_point(|&(t, _)| t < at + 512));
        matches!((before, after), (Some(b), Some(a)) if (a.1 - b.1).abs() < 256)
    });
    (withheld.len(), right.count(), offsets.iter().map(moves).sum())
}

/// What one run over a delay model showed, as a line of the table.
struct Row {
    model: &'static str,
    withheld: usize,
    right: f64,
    moves: usize,
    spread_p999: f64,
    lost: [u64; MICS],
    truly_lost: [u64; MICS],
}

fn row(model: &'static str, loss: Loss) -> Row {
    // What is lost before the first position exists cannot be held against the positions.
    let network = Network { delay: delay(model), loss, ..Network::default() };
    let scenario = Scenario { clean_cycles: 200, ..free(5, if cfg!(debug_assertions) { 240 } else { 600 }, network) };
    let (rig, sim, captures) = run(&scenario);
    assert!(!rig.engine.is_shared(), "three addresses are three boards");
    let spreads = spreads(&rig, &captures, 94 * 60);
    let at = |q: f64| spreads[((spreads.len() - 1) as f64 * q) as usize];
    let (withheld, right, moves) = gaps(&rig, &sim);
    let right = if withheld == 0 { 1.0 } else { right as f64 / withheld as f64 };
    let c = rig.engine.counters();
    println!(
        "{model:>6} {loss:?}: right {:.3} % of {withheld}, moves {moves}, spread in samples p50 {:.2} p99.9 {:.2} max {:.2}, \
         slips {:?}, lost {:?}, corrected {:?}, late {:?}, incomplete {} of {}, hold {:?}",
        100.0 * right,
        at(0.5),
        at(0.999),
        at(1.0),
        c.mics.map(|m| m.slips),
        rig.lost(),
        c.mics.map(|m| m.corrected),
        c.mics.map(|m| m.late),
        c.cycles.incomplete,
        c.cycles.emitted,
        rig.engine.hold()
    );
    let truly_lost = sim.truth().mics.map(|m| m.withheld());
    Row { model, withheld, right, moves, spread_p999: at(0.999), lost: rig.lost(), truly_lost }
}

#[test]
fn free_boards_stay_within_a_sample_and_their_losses_leave_gaps_in_the_right_place() {
    for (model, spread, right) in
        [("exp1", 1.0, 0.9999), ("exp2", 1.0, 0.994), ("wifi", 1.0, 0.994), ("ramp", 3.0, 0.999)]
    {
        let r = row(model, Loss::Independent(0.01));
        assert!(r.withheld > 500 && r.right >= right, "{} {}", r.model, r.right);
        assert_eq!(r.lost, r.truly_lost, "{}", r.model);
        assert!(r.spread_p999 <= spread, "{} {}", r.model, r.spread_p999);
    }
    for model in ["wifi", "ramp", "queue"] {
        let r = row(model, Loss::None);
        assert_eq!((r.lost, r.moves), ([0; MICS], 0), "{}: no false gap", r.model);
        assert!(r.spread_p999 <= if model == "ramp" { 3.0 } else { 1.0 }, "{} {}", r.model, r.spread_p999);
    }
}

#[test]
fn a_rebooted_board_is_back_within_two_seconds() {
    for seed in [41, 42, 43] {
        let reboot = Reboot { board: 1, at: Span::from_secs(60), down: Span::from_secs(3) };
        let network = Network { delay: delay("wifi"), ..Network::default() };
        let scenario = Scenario { reboots: vec![reboot], ..free(seed, 90, network) };
        // Of the rebooted board only what it sent afterwards.
        let mut captures = Captures::default();
        let (rig, _) = Rig::run_with(&scenario, config(), |_, _, packet| {
            if packet.mic != 1 || packet.boot == 1 {
                captures.note(packet);
            }
        });
        let c = rig.engine.counters();
        assert_eq!((c.mics[1].sender_changes, c.mics[1].lost), (1, 0), "what was never sent is not lost");
        // 60 s until the reboot, 3 s down and less than a period, then 2 s; the stream itself starts in the second second.
        let back = rig.seen.iter().position(|s| s.first.0 > (65 + 1 - 1) * 48_000).expect("the stream goes on");
        assert!(rig.seen[back..].iter().filter(|s| s.truth[1].is_none()).count() < 60, "present, but for stalls");
        let spread = spreads(&rig, &captures, back);
        let worst = spread[spread.len() - 1];
        println!("after the reboot: spread p50 {:.2} max {worst:.2} samples", spread[spread.len() / 2]);
        // A new offset is known to 0.17 ms over such a path (clock notes, section 5): 8 samples.
        assert!(worst < 9.0, "{worst}");
    }
}

#[test]
fn steps_and_slews_of_the_hosts_clock_shift_nothing() {
    let network = || Network { delay: delay("exp1"), ..Network::default() };
    let quiet = free(51, 300, network());
    let events = vec![
        HostEvent::Step { at: Span::from_secs(100), by: Span::from_secs(1) },
        HostEvent::Step { at: Span::from_secs(150), by: Span::from_secs(-1) },
        HostEvent::Slew { at: Span::from_secs(200), lasting: Span::from_secs(60), ppm: 500.0 },
    ];
    let bent = Scenario { host: HostClock { ppm: 0.0, events }, ..quiet.clone() };
    let (straight, _, captures) = run(&quiet);
    let (rig, _, same) = run(&bent);
    let c = rig.engine.counters();
    assert_eq!((c.clock_steps, rig.lost()), (2, [0; MICS]));
    assert_eq!(rig.cycles, straight.cycles);
    let (before, after) = (spreads(&straight, &captures, 0), spreads(&rig, &same, 0));
    let p999 = |s: &[f64]| s[s.len() * 999 / 1000];
    println!("spread p99.9 {:.3} straight, {:.3} bent", p999(&before), p999(&after));
    assert!((p999(&after) - p999(&before)).abs() < 0.2);
}

#[test]
fn a_path_that_becomes_16_ms_longer_for_good_is_waited_for_within_three_seconds() {
    let lag = Lag { mic: 2, from: Span::from_secs(60), to: Span::from_secs(1_000), by: Span::from_millis(16) };
    let scenario = Scenario { lags: vec![lag], ..free(61, 120, Network::default()) };
    let (rig, _, _) = run(&scenario);
    // The last one is cut short by the end of the run.
    let missing: Vec<usize> =
        (0..rig.seen.len() - 1).filter(|&k| rig.seen[k].truth[2].is_none() || rig.partial.contains(&k)).collect();
    println!("{} cycles left without all of it, hold now {:?}", missing.len(), rig.engine.hold());
    assert_eq!(rig.lost(), [0; MICS], "a delay, not a loss");
    assert!(missing.iter().all(|&k| (94 * 57..94 * 63).contains(&k)), "{missing:?}");
    assert!(rig.engine.hold() <= Span::from_millis(40));
}

#[test]
fn a_free_board_that_is_dead_holds_nobody_up() {
    let mutes = vec![Mute { mic: 1, from: Span::from_secs(20), to: Span::from_secs(40) }];
    let (rig, _, _) = run(&Scenario { mutes, ..free(71, 60, Network::default()) });
    assert!(rig.slowest <= Span::from_millis(60), "{:?}", rig.slowest);
    let alone = rig.seen.iter().filter(|s| s.truth[1].is_none()).count();
    assert!((94 * 19..94 * 22).contains(&alone), "{alone}");
    let m = rig.engine.counters().mics;
    assert!((1_875 - 3..=1_875 + 3).contains(&m[1].lost), "twenty seconds of it: {}", m[1].lost);
    assert_eq!((m[0].lost, m[2].lost), (0, 0));
}

#[test]
fn an_hour_of_silence_is_skipped_in_bounded_memory() {
    let silence = |mic| Mute { mic, from: Span::from_secs(10), to: Span::from_secs(3_610) };
    let mutes = (0..MICS).map(silence).collect();
    let (rig, _, _) = run(&Scenario { mutes, ..free(81, 3_620, Network::default()) });
    let c = rig.engine.counters().cycles;
    let hour = 3_600 * 48_000 / 512;
    // Within the second in which each offset is learnt anew.
    assert!((hour..hour + 200).contains(&c.skipped), "{} of {hour}", c.skipped);
    let last = rig.last.expect("the stream goes on");
    assert!((last.first_frame.0 - 3_619 * 48_000).abs() < 48_000, "time stays true: {:?}", last.first_frame);
}
