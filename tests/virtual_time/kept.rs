//! A calibration that was kept: used at the start, of the board as it ran then only, with whole samples and with `--resample`.

use std::net::SocketAddr;

use micring::MICS;
use micring::engine::{Config, Datagram, Engine, Kept, Output};
use micring::sim::{Lag, Network, Reboot, START, Scenario, Signal, Sim};
use micring::time::{MonoTime, Span};

use super::boards::free;
use super::models::delay;
use super::resampled::{TONE_HZ, phase, resampled};
use super::rig::config;

/// By how much longer the paths take, which arrivals cannot tell: 24 and 12 samples.
const LONGER_US: [i64; MICS] = [0, 500, 250];
const SAMPLES: [f64; MICS] = [0.0, 24.0, 12.0];
/// When board 1 restarts, in the tests in which it does.
const REBOOT_S: i64 = 40;

fn scenario(reboots: Vec<Reboot>) -> Scenario {
    let lag =
        |mic: usize| Lag { mic, from: Span::ZERO, to: Span::from_secs(1_000), by: Span::from_micros(LONGER_US[mic]) };
    let network = Network { delay: delay("wifi"), ..Network::default() };
    Scenario { signal: Signal::Tone, lags: vec![lag(1), lag(2)], reboots, ..free(11, 70, network) }
}

/// What was kept of boards that send from these ports.
fn kept(ports: [u16; MICS]) -> Vec<Option<Kept>> {
    let of = |mic: usize| {
        let sender: SocketAddr = format!("192.168.4.{}:{}", 10 + mic, ports[mic]).parse().expect("an address");
        Some(Kept { sender, samples: SAMPLES[mic], uncertainty: 0.4 })
    };
    (0..MICS).map(of).collect()
}

struct Played {
    engine: Engine,
    end: MonoTime,
    logs: Vec<String>,
    /// Of each complete cycle: when it left, in seconds, and how far its channels are behind the first, in samples.
    behind: Vec<(f64, [f64; MICS])>,
    /// What an offset of the first two leaves out, just before the restart.
    left_out: Option<&'static str>,
}

fn play(scenario: &Scenario, config: Config, kept: Vec<Option<Kept>>) -> Played {
    let mut engine = Engine::new(config).calibrated(kept);
    let mut sim = Sim::new(scenario);
    let (mut payload, mut logs, mut behind, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut end = START;
    while let Some(packet) = sim.next() {
        end = packet.arrival;
        let seconds = (end - START).as_secs_f64();
        sim.payload(&packet, &mut payload);
        let (sender, len) = (sim.sender(&packet), payload.len());
        engine.begin_turn(sim.clocks(end));
        engine.handle_datagram(&Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len });
        engine.handle_timeout();
        while let Some(output) = engine.poll_output() {
            let cycle = match output {
                Output::Cycle(cycle) if cycle.mic_samples.iter().all(|&samples| samples == cycle.frames) => cycle,
                Output::Cycle(_) => continue,
                Output::Log(line) => {
                    logs.push(line);
                    continue;
                }
            };
            let mut words = Vec::new();
            engine.history().append_to(&mut words, cycle.first_frame, cycle.frames as usize).expect("it has left");
            let channel = |mic: usize| -> Vec<i32> {
                words.iter().skip(mic).step_by(MICS).map(|word| i32::from_le_bytes(*word)).collect()
            };
            let phases: [f64; MICS] = std::array::from_fn(|mic| phase(&channel(mic)));
            let turn = 48_000.0 / TONE_HZ;
            let against_first = phases.map(|p| (p - phases[0] + 1.5 * turn).rem_euclid(turn) - turn / 2.0);
            behind.push((seconds, against_first));
        }
        if seconds < REBOOT_S as f64 {
            left_out = engine.alignment(end)[0].as_ref().ok().and_then(|alignment| alignment.leaves_out);
        }
    }
    Played { engine, end, logs, behind, left_out }
}

impl Played {
    /// The mean of the last five seconds before `until`, and how far a cycle is from that at most.
    fn behind(&self, mic: usize, until: f64) -> f64 {
        let those = self.behind.iter().filter(|(at, _)| (until - 5.0..until).contains(at)).map(|(_, b)| b[mic]);
        let (sum, count) = those.fold((0.0, 0), |(sum, count), behind| (sum + behind, count + 1));
        assert!(count > 100, "{count} whole cycles");
        sum / f64::from(count)
    }
}

#[test]
fn a_kept_calibration_is_used_at_the_start_with_and_without_resampling() {
    for (name, config) in [("slips", config()), ("resampled", resampled())] {
        let scenario = scenario(Vec::new());
        let without = play(&scenario, config.clone(), Vec::new());
        let with = play(&scenario, config, kept([50_000; MICS]));
        for (mic, samples) in SAMPLES.into_iter().enumerate().skip(1) {
            let (before, now) = (without.behind(mic, 70.0), with.behind(mic, 70.0));
            println!("{name}, mic {mic}: {before:.2} samples off the first without, {now:.2} with");
            assert!((before.abs() - samples).abs() < 1.5, "{name}: arrivals cannot tell: {before}");
            assert!(now.abs() < 1.5, "{name}: {now}");
        }
        assert!(with.engine.kept().iter().all(Option::is_some), "{name}: {:?}", with.engine.kept());
        let told = with.engine.alignment(with.end)[0].as_ref().expect("it is known").leaves_out;
        assert!(told.is_some_and(|told| told.contains("calibration")), "{name}: {told:?}");
        assert_eq!(with.logs.iter().filter(|line| line.contains("calibrated, as it was kept")).count(), 3, "{name}");
    }
}

#[test]
fn a_board_that_restarts_loses_its_calibration_and_this_is_told() {
    let reboot = Reboot { board: 1, at: Span::from_secs(REBOOT_S), down: Span::from_secs(2) };
    for (name, config) in [("slips", config()), ("resampled", resampled())] {
        let run = play(&scenario(vec![reboot]), config, kept([50_000; MICS]));
        let (before, after) = (run.behind(1, REBOOT_S as f64 - 1.0), run.behind(1, 70.0));
        println!("{name}: {before:.2} samples off before the restart, {after:.2} behind it");
        assert!(before.abs() < 1.5 && (after.abs() - SAMPLES[1]).abs() < 1.5, "{name}: {before}, {after}");
        assert!(run.behind(2, 70.0).abs() < 1.5, "{name}: the others keep theirs");
        let stands: Vec<bool> = run.engine.kept().iter().map(Option::is_some).collect();
        assert_eq!(stands, [true, false, true], "{name}: /api/calibrate tells it");
        let told = run.engine.alignment(run.end)[0].as_ref().expect("it is known").leaves_out.expect("it tells");
        assert!(run.left_out.is_some_and(|told| told.contains("calibration")), "{name}: {:?}", run.left_out);
        assert!(told.contains("differs by a constant"), "{name}: {told}");
    }
}

#[test]
fn what_was_kept_of_a_board_that_ran_before_is_dropped_at_the_start_and_this_is_told() {
    let run = play(&scenario(Vec::new()), config(), kept([50_000, 49_999, 50_000]));
    let dropped: Vec<&String> = run.logs.iter().filter(|line| line.contains("is dropped")).collect();
    assert!(dropped.len() == 1 && dropped[0].starts_with("mic 1: "), "{:?}", run.logs);
    assert!((run.behind(1, 70.0).abs() - SAMPLES[1]).abs() < 1.5, "it is not applied");
    assert!(run.behind(2, 70.0).abs() < 1.5, "the others are");
}
