//! The host's own clock: stamps are taken by CLOCK_REALTIME, which steps and slews; the models must not see it.

use micring::MICS;
use micring::engine::clock::ClockModel;
use micring::engine::hostclock::HostClock;
use micring::sim::{self, Delay, HostEvent, Network, Rate, START, Scenario, Sim};
use micring::time::Span;

/// As long as a loop takes from a stamp to the turn that reads it, in turn.
const READ_AFTER_US: [i64; 4] = [15, 120, 700, 2_500];

#[test]
fn steps_and_slews_of_the_host_move_no_packet_and_change_no_rate() {
    let at = Span::from_secs;
    let scenario = Scenario {
        seed: 5,
        rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
        network: Network { delay: Delay::Wifi, ..Network::default() },
        host: sim::HostClock {
            ppm: 12.0,
            events: vec![
                HostEvent::Step { at: at(50), by: at(1) },
                HostEvent::Step { at: at(100), by: at(-1) },
                HostEvent::Slew { at: at(150), lasting: at(100), ppm: 500.0 },
                HostEvent::Step { at: at(260), by: Span::from_millis(-30) },
                HostEvent::Slew { at: at(262), lasting: at(30), ppm: -500.0 },
            ],
        },
        ..Scenario::three_boards(at(300))
    };
    println!("seed {}", scenario.seed);
    let mut sim = Sim::new(&scenario);
    let mut host = HostClock::new();
    let mut by_stamp: [ClockModel; MICS] = std::array::from_fn(|_| ClockModel::new(scenario.sample_rate));
    let mut by_truth = by_stamp.clone();
    let mut furthest = Span::ZERO;
    let mut read = START;
    for (turn, packet) in (0..).zip(std::iter::from_fn(|| sim.next())) {
        read = read.max(packet.arrival + Span::from_micros(READ_AFTER_US[turn % READ_AFTER_US.len()]));
        host.turn(scenario_clocks(&scenario, read), Span::from_nanos(60));
        let arrival = host.to_mono(packet.stamp);
        furthest = furthest.max((arrival - packet.arrival).abs());
        let end = packet.position + i64::from(scenario.samples);
        by_stamp[packet.mic].observe(end, arrival);
        by_truth[packet.mic].observe(end, packet.arrival);
    }
    assert_eq!(host.steps(), 3);
    let sample = Span::of_frames(1, scenario.sample_rate);
    println!("furthest: {furthest:?}; a sample is {sample:?}");
    assert!(furthest.as_nanos() * 5 <= sample.as_nanos(), "a packet moved by {furthest:?}, more than 0.2 sample");

    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let seen = by_stamp[first].rate_against(&by_stamp[second]).expect("five minutes of wifi").ppm.0;
        let true_arrivals = by_truth[first].rate_against(&by_truth[second]).expect("five minutes of wifi").ppm.0;
        println!("mic {first} against {second}: {seen} ppm, by true arrivals {true_arrivals}");
        assert!((seen - true_arrivals).abs() < 0.005);
    }
}

fn scenario_clocks(scenario: &Scenario, at: micring::time::MonoTime) -> micring::cycle::Clocks {
    micring::cycle::Clocks { mono: at, wall: scenario.host.wall(at) }
}
