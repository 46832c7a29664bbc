//! Three boards, resampled: how far the channels lie apart, by the phase of a tone that all of them heard at once.

use std::f64::consts::TAU;

use micring::MICS;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Output};
use micring::sim::{HostClock, HostEvent, Loss, Network, Reboot, Scenario, Signal, Sim};
use micring::time::{FramePos, Span};

use super::boards::{free, silent_before_the_positions_start};
use super::models::delay;
use super::rig::{Rig, config};

pub const TONE_HZ: f64 = 440.0;
/// Frames beside a gap that lie within the filter's reach: half its length.
const REACH: usize = 32;

pub fn resampled() -> Config {
    Config { resample: true, ..config() }
}

/// Where in the tone the middle of `samples` stands, in samples: a least-squares fit of sine and cosine.
pub fn phase(samples: &[i32]) -> f64 {
    let (mut ss, mut sc, mut cc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let turn = TAU * TONE_HZ / 48_000.0;
    let half = samples.len() as f64 / 2.0;
    for (i, &y) in samples.iter().enumerate() {
        let ((s, c), y) = (((i as f64 - half) * turn).sin_cos(), f64::from(y));
        ss += s * s;
        sc += s * c;
        cc += c * c;
        sy += s * y;
        cy += c * y;
    }
    let (a, b) = (sy * cc - cy * sc, cy * ss - sy * sc);
    b.atan2(a) / turn
}

/// Distance between the earliest and the latest of complete cycles' channels in samples, sorted.
struct Run {
    spreads: Vec<f64>,
    engine: Engine,
    sim: Sim,
    /// Cycles in which the zeros are not those that are flagged.
    dishonest: usize,
}

fn run(scenario: &Scenario, from: u64) -> Run {
    run_with(scenario, resampled(), from)
}

fn run_with(scenario: &Scenario, config: Config, from: u64) -> Run {
    let mut rig = Rig::new(config);
    let mut sim = Sim::new(scenario);
    let mut payload = Vec::new();
    let (mut spreads, mut dishonest) = (Vec::new(), 0);
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let len = payload.len();
        let sender = sim.sender(&packet);
        let d = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len };
        rig.engine.begin_turn(sim.clocks(packet.arrival));
        rig.engine.handle_datagram(&d);
        rig.engine.handle_timeout();
        while let Some(output) = rig.engine.poll_output() {
            let Output::Cycle(cycle) = output else { continue };
            let channels: [Vec<i32>; MICS] =
                std::array::from_fn(|mic| rig.channel(mic, cycle.first_frame, cycle.frames as usize));
            for (channel, &n) in channels.iter().zip(&cycle.mic_samples) {
                // A sine is zero now and then by itself.
                let zeros = channel.iter().filter(|&&s| s == 0).count() as i64;
                dishonest += usize::from((zeros - i64::from(cycle.frames - n)).abs() > 2);
            }
            // Every eighth says as much as all of them: what moves takes seconds.
            if cycle.id < from || cycle.id % 8 != 0 || cycle.mic_samples.iter().any(|&n| n < cycle.frames) {
                continue;
            }
            let middle = REACH..cycle.frames as usize - REACH;
            let phases = channels.each_ref().map(|channel| phase(&channel[middle.clone()]));
            let turn = 48_000.0 / TONE_HZ;
            let against_first = phases.map(|p| (p - phases[0] + 1.5 * turn).rem_euclid(turn) - turn / 2.0);
            let (low, high) = against_first.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));
            spreads.push(high - low);
        }
    }
    spreads.sort_by(f64::total_cmp);
    Run { spreads, engine: rig.engine, sim, dishonest }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}

#[test]
fn resampled_boards_stay_within_half_a_sample_and_never_slip() {
    let seconds = if cfg!(debug_assertions) { 240 } else { 3_600 };
    for (model, most) in [("exp1", 0.5), ("exp2", 0.5), ("wifi", 0.5), ("queue", 0.5), ("ramp", 3.0)] {
        let network = Network { delay: delay(model), ..Network::default() };
        let scenario = Scenario { signal: Signal::Tone, ..free(5, seconds, network) };
        let r = run(&scenario, 94 * 60);
        let c = r.engine.counters();
        println!(
            "{model:>6}: spread in samples p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3}, slips {:?}, incomplete {} of {}",
            quantile(&r.spreads, 0.5),
            quantile(&r.spreads, 0.99),
            quantile(&r.spreads, 0.999),
            quantile(&r.spreads, 1.0),
            c.mics.map(|m| m.slips),
            c.cycles.incomplete,
            c.cycles.emitted,
        );
        assert!(!r.engine.is_shared());
        assert_eq!((c.mics.map(|m| m.slips), c.mics.map(|m| m.lost)), (vec![0; MICS], vec![0; MICS]), "{model}");
        assert!(r.spreads.len() as i64 > (seconds - 61) * 90 / 8 / 2, "{model}: {} whole cycles", r.spreads.len());
        assert!(quantile(&r.spreads, 0.999) <= most, "{model}");
        assert_eq!(r.dishonest, 0, "{model}: zeros are flagged");
    }
}

#[test]
fn gaps_of_resampled_boards_are_zeros_and_flagged() {
    let network = Network { delay: delay("exp1"), loss: Loss::Independent(0.01), ..Network::default() };
    let scenario = Scenario { signal: Signal::Tone, clean_cycles: 200, ..free(6, 240, network) };
    let r = run(&scenario, 94 * 60);
    let c = r.engine.counters();
    let truly = r.sim.truth().mics.map(|m| m.withheld());
    println!(
        "1 % loss: lost {:?}, truly {truly:?}, incomplete {} of {}, spread p99.9 {:.3}",
        c.mics.map(|m| m.lost),
        c.cycles.incomplete,
        c.cycles.emitted,
        quantile(&r.spreads, 0.999)
    );
    assert_eq!(c.mics.map(|m| m.lost), truly);
    assert_eq!(r.dishonest, 0);
    assert!(quantile(&r.spreads, 0.999) <= 0.5);
}

#[test]
fn whatever_happens_zeros_are_flagged_and_nothing_slips() {
    for model in ["wifi", "mix"] {
        let network =
            Network { delay: delay(model), loss: Loss::Independent(0.03), duplicate: 0.01, ..Network::default() };
        let events = vec![
            HostEvent::Step { at: Span::from_secs(60), by: Span::from_secs(-1) },
            HostEvent::Slew { at: Span::from_secs(70), lasting: Span::from_secs(60), ppm: 500.0 },
        ];
        let host = HostClock { ppm: 0.0, events };
        let reboots = vec![Reboot { board: 2, at: Span::from_secs(100), down: Span::from_millis(700) }];
        let r = run(&Scenario { signal: Signal::Tone, host, reboots, ..free(7, 180, network) }, 94 * 10);
        let c = r.engine.counters();
        let truly = r.sim.truth().mics.map(|m| m.withheld());
        println!(
            "{model}: lost {:?}, truly {truly:?}, corrected {:?}, duplicates {:?}, spread p50 {:.3} p99.9 {:.3}",
            c.mics.map(|m| m.lost),
            c.mics.map(|m| m.corrected),
            c.mics.map(|m| m.duplicate),
            quantile(&r.spreads, 0.5),
            quantile(&r.spreads, 0.999),
        );
        assert_eq!((r.dishonest, c.mics.map(|m| m.slips)), (0, vec![0; MICS]), "{model}");
        assert!(c.mics.iter().all(|m| m.duplicate > 0), "{model}");
        // A packet judged wrongly, as happens in mix, shows here as 512 samples modulo the tone's turn of 109.1: 33.5.
        assert!(model == "mix" || quantile(&r.spreads, 0.5) <= 0.5, "{model}");
    }
}

#[test]
fn a_rebooted_board_is_resampled_again_within_two_seconds() {
    let reboot = Reboot { board: 1, at: Span::from_secs(60), down: Span::from_secs(3) };
    let network = Network { delay: delay("wifi"), ..Network::default() };
    let scenario = Scenario { signal: Signal::Tone, reboots: vec![reboot], ..free(41, 90, network) };
    let r = run(&scenario, 94 * 65);
    let c = r.engine.counters();
    assert_eq!((c.mics[1].sender_changes, c.mics[1].lost), (1, 0), "what was never sent is not lost");
    println!("after the reboot: {} whole cycles, spread max {:.2}", r.spreads.len(), quantile(&r.spreads, 1.0));
    assert!(r.spreads.len() > 24 * 90 / 8);
    // A new offset is known to 0.17 ms over such a path (clock notes, section 5): 8 samples.
    assert!(quantile(&r.spreads, 1.0) < 9.0);
    assert!(r.engine.history().span().end > FramePos(89 * 48_000 - 2 * 48_000));
}

#[test]
fn a_board_that_falls_silent_before_the_positions_start_is_resampled_when_it_is_tied_anew() {
    for seed in [101, 102, 103] {
        let scenario = Scenario { signal: Signal::Tone, ..silent_before_the_positions_start(seed) };
        let independent = Config { clock: ClockChoice::Independent, ..resampled() };
        let r = run_with(&scenario, independent, 94 * 30);
        println!("{} whole cycles, spread max {:.2}", r.spreads.len(), quantile(&r.spreads, 1.0));
        assert!(r.spreads.len() > 25 * 90 / 8);
        assert!(quantile(&r.spreads, 1.0) <= 0.5, "half a minute after the offsets were learnt");
        assert_eq!((r.dishonest, r.engine.counters().mics.map(|m| m.lost)), (0, vec![0; MICS]));
    }
}
