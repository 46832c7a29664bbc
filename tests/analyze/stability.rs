//! Stability against truth by arithmetic: clocks that step, holes, packets of unequal sizes.

use micring::capture::{Writer, clock_step_comment};
use micring::sim::{Network, Packet, Rate, Scenario, Sim};
use micring::time::{KernelTime, Span};
use serde_json::Value;

use crate::support::{Scratch, altered, analyze, json, scenario, sockets};

const START: i64 = 1_795_345_500_000_000_000;
const RATE: f64 = 48_000.0;

/// No network, and boards of this rate.
fn steady(seconds: i64, ppm: f64) -> Scenario {
    Scenario { network: Network::default(), rates: [ppm; 3].map(Rate::Constant).to_vec(), ..scenario(seconds) }
}

fn points<'a>(seen: &'a Value, of: &str) -> impl Iterator<Item = (f64, &'a Value)> {
    let points = seen["stability"][of].as_array().unwrap_or_else(|| panic!("{of}: {}", seen["stability"]));
    assert!(points.len() >= 6, "{of}: {points:?}");
    points.iter().map(|point| (point["tau_s"].as_f64().unwrap(), point))
}

/// One board whose packets are 100 us apart, on a host whose clock steps inside a cycle: between mic 0 and mic 1. The skew does not change, so
/// the pairs have no time interval error; told by the recorder or not.
#[test]
fn a_cycle_across_a_step_of_the_clock_stands_on_one_axis() {
    let scratch = Scratch::new("across-a-step");
    for (told, step) in
        [(true, Span::from_secs(3_600)), (true, Span::from_millis(-300)), (false, Span::from_secs(-3_600))]
    {
        let writer = Writer::new(Some(64));
        let mut file = Vec::new();
        writer.begin(&mut file, sockets(), "micring", "a test");
        let (mut sim, mut payload) = (Sim::new(&steady(20, 0.0)), Vec::new());
        let mut stepped = false;
        while let Some(packet) = sim.next() {
            if packet.cycle == 900 && packet.mic == 1 && !stepped {
                stepped = true;
                if told {
                    let seen = packet.stamp - Span::from_micros(50) + step;
                    writer.statistics(&mut file, 0, seen, 900, 0, Some(&clock_step_comment(step)));
                }
            }
            sim.payload(&packet, &mut payload);
            let stamp = packet.stamp + if stepped { step } else { Span::ZERO };
            let from = sim.sender(&packet);
            writer.datagram(&mut file, packet.mic, stamp, from, sockets()[packet.mic], &payload, payload.len());
        }
        let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
        assert_eq!(seen["clock_steps"], 1, "{step:?}");
        for pair in ["mic0_vs_mic1", "mic0_vs_mic2", "mic1_vs_mic2"] {
            for (tau_s, point) in points(&seen, pair) {
                // Nobody tells how far an untold step went: time goes on where the newest packet stood, 100 us earlier.
                let most = if told { 1.0 } else { 201.0 };
                let mtie = point["mtie_us"].as_f64().unwrap();
                assert!(mtie <= most, "{step:?}, told {told}: {pair} at {tau_s} s: {mtie} us");
            }
        }
    }
}

/// A clock at a constant 50 ppm has no time deviation, whatever is missing of it; and its interval error grows with its rate.
#[test]
fn a_constant_rate_has_no_deviation_over_holes() {
    let scratch = Scratch::new("holes");
    // Five seconds of one microphone, and now and then a packet of another.
    let missing = |packet: &Packet| match packet.mic {
        1 => (2_000..2_469).contains(&packet.cycle),
        2 => packet.cycle % 7 == 3 || packet.cycle % 31 == 5,
        _ => false,
    };
    let file = altered(&steady(180, 50.0), |packet| (!missing(packet)).then_some(Span::ZERO));
    let seen = json(&analyze(&["--json", &scratch.file("a.pcapng", &file)]));
    for mic in ["mic0", "mic1", "mic2"] {
        let mut longest = 0.0;
        for (tau_s, point) in points(&seen, mic) {
            let of = |key: &str| point[key].as_f64().unwrap_or_else(|| panic!("{key} of {point}"));
            // Stamps are whole nanoseconds.
            assert!(of("tdev_us") < 2e-3, "{mic} at {tau_s} s: {point}");
            assert!((of("mtie_us") / (50.0 * tau_s) - 1.0).abs() < 0.02, "{mic} at {tau_s} s: {point}");
            longest = tau_s;
        }
        assert!(longest > 40.0, "{mic}: as far as the data carry");
    }
}

/// A microphone's packet sizes, from the start of a run.
type Sizes = fn(usize) -> i64;

/// Three free boards 50 ppm fast; the packets of mic 1 have these sizes, those of the others 512 samples.
fn sized(seconds: i64, sizes: Sizes) -> Vec<u8> {
    let mut packets = Vec::new();
    for mic in 0..3usize {
        let (mut end, mut number) = (0i64, 0usize);
        while end < seconds * 48_000 {
            let frames = if mic == 1 { sizes(number) } else { 512 };
            (end, number) = (end + frames, number + 1);
            let ns = (end as f64 / RATE / (1.0 + 50e-6) * 1e9).round() as i64;
            packets.push((START + ns + mic as i64 * 100_000, mic, end - frames, frames));
        }
    }
    packets.sort_unstable();
    let writer = Writer::new(Some(96));
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    for (ns, mic, first, frames) in packets {
        let payload: Vec<u8> =
            (first..first + frames).flat_map(|i| ((mic as i32 + 1) << 28 | i as i32).to_le_bytes()).collect();
        let from = ([192, 168, 4, 10 + mic as u8], 40_000 + mic as u16).into();
        writer.datagram(&mut file, mic, KernelTime::from_nanos(ns), from, sockets()[mic], &payload, payload.len());
    }
    file
}

/// ITU-T G.810 II.5: the interval error of a clock 50 ppm off is 50 us in a second, 100 us in two; whatever its packets are cut into.
#[test]
fn averaging_times_are_true_for_packets_of_any_size() {
    let scratch = Scratch::new("sizes");
    let cases: [(&str, Sizes); 5] = [
        ("256 among 512", |_| 256),
        ("1024 among 512", |_| 1_024),
        ("512, then 256", |i| if i < 2_800 { 512 } else { 256 }),
        ("256, then 512", |i| if i < 5_600 { 256 } else { 512 }),
        ("365 and 147", |i| if i % 2 == 0 { 365 } else { 147 }),
    ];
    for (name, sizes) in cases {
        let file = scratch.file("a.pcapng", &sized(60, sizes));
        let seen = json(&analyze(&["--json", "--clock", "independent", &file]));
        for mic in ["mic0", "mic1", "mic2"] {
            for (tau_s, point) in points(&seen, mic).filter(|(tau_s, _)| *tau_s > 0.3) {
                let of = |key: &str| point[key].as_f64().unwrap_or_else(|| panic!("{key} of {point}"));
                assert!((of("mtie_us") / (50.0 * tau_s) - 1.0).abs() < 0.03, "{name}, {mic} at {tau_s} s: {point}");
                assert!(of("tdev_us") < 5e-3 && of("adev") < 1e-8, "{name}, {mic} at {tau_s} s: {point}");
            }
        }
    }
}
