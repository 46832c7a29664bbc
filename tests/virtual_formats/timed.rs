//! Packets that carry the sender's time: what its tasks added and what the network added are told apart, against known truth.

use std::net::SocketAddr;

use micring::array::Layout;
use micring::cycle::Clocks;
use micring::engine::figures::Distribution;
use micring::engine::{ClockChoice, Datagram, Engine};
use micring::sim::Scenario;
use micring::sim::encode::{Head, encode};
use micring::time::{KernelTime, MonoTime, Span};

use super::rig::{config, numbered};

const FRAMES: u64 = 240;
const RATE: f64 = 48_000.0;
const IN_US: &str = "raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us";

/// Times in microseconds.
#[derive(Clone, Copy)]
struct Sent {
    /// By the sender's own clock, when it was sent.
    stamp: f64,
    /// What the sender's tasks and the network added.
    kept: f64,
    path: f64,
    arrival: f64,
}

/// Numbers that look like chance, from a seed (Knuth's multiplier).
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exp(&mut self, mean: f64) -> f64 {
        -mean * self.even().ln()
    }
}

/// How late the sender's tasks are, of the packet of this number.
type Kept = fn(&mut Chance, u64) -> f64;

/// Eight packets leave together, when the last of them was captured.
fn bursts(chance: &mut Chance, number: u64) -> f64 {
    (7 - number % 8) as f64 * FRAMES as f64 / RATE * 1e6 + chance.exp(200.0)
}

/// Some milliseconds, and on time now and then.
fn busy(chance: &mut Chance, _: u64) -> f64 {
    chance.exp(3_000.0)
}

/// A minute of packets. The clock of the samples and that of the time run fast by so many ppm.
fn minute(seed: u64, kept: Kept, samples_ppm: f64, time_ppm: f64) -> Vec<Sent> {
    let (mut chance, mut newest) = (Chance(seed), 0.0_f64);
    (0..12_000)
        .map(|number| {
            let captured = (number + 1) as f64 * FRAMES as f64 / RATE * 1e6 / (1.0 + samples_ppm * 1e-6);
            let kept = kept(&mut chance, number);
            let left = captured + kept;
            let arrival = (left + 1_000.0 + chance.exp(400.0)).max(newest + 20.0);
            newest = arrival;
            Sent { stamp: left * (1.0 + time_ppm * 1e-6), kept, path: arrival - left, arrival }
        })
        .collect()
}

fn play(format: &str, sent: &[Sent]) -> Engine {
    let scenario = Scenario::one_board(Span::from_secs(1));
    let format = numbered(format);
    let mut engine = Engine::new(config(&scenario, ClockChoice::Independent, Layout::mono(1)))
        .declared(std::slice::from_ref(&format));
    let (mono, wall) = (MonoTime::from_nanos(0), KernelTime::from_nanos(1_795_345_500_000_000_000));
    let mut bytes = Vec::new();
    for (number, packet) in (0_u64..).zip(sent) {
        let now = Span::from_nanos((packet.arrival * 1e3) as i64);
        let clocks = Clocks { mono: mono + now, wall: wall + now };
        // Its clock wraps within the run: 2^32 us are 4295 s.
        let micros = packet.stamp as u64 + 4_280_000_000;
        let head = Head { number, position: number * FRAMES, micros, rate: 48_000, channels: 1, stream: 1 };
        encode(&format, &head, &[7; FRAMES as usize], &mut bytes).expect("it fits");
        engine.begin_turn(clocks);
        let sender = SocketAddr::from(([192, 0, 2, 1], 4_000));
        engine.handle_datagram(&Datagram { mic: 0, stamp: clocks.wall, sender, bytes: &bytes, len: bytes.len() });
        engine.handle_timeout();
        while engine.poll_output().is_some() {}
    }
    engine
}

/// What was told of the last ten seconds: of the sender, of the network.
fn told(engine: &mut Engine, sent: &[Sent]) -> [Result<Distribution, &'static str>; 2] {
    let end = Span::from_nanos((sent.last().expect("some").arrival * 1e3) as i64);
    let window = engine.meter().window(MonoTime::from_nanos(0) + end);
    [window.sender_delay[0], window.network_delay[0]]
}

/// Percentiles of the truth of as many packets, above the least of the run.
fn truth(sent: &[Sent], count: u64, of: fn(&Sent) -> f64) -> [f64; 3] {
    let least = sent.iter().map(of).fold(f64::MAX, f64::min);
    let mut all: Vec<f64> = sent[sent.len() - count as usize..].iter().map(|sent| of(sent) - least).collect();
    all.sort_by(f64::total_cmp);
    [0.5, 0.9, 0.99].map(|share| all[((all.len() as f64 * share).ceil() as usize).max(1) - 1])
}

#[test]
fn what_the_sender_kept_and_what_the_network_added_are_told_apart() {
    // One crystal for both of the board's clocks, and two.
    for (seed, kept, samples_ppm, time_ppm) in
        [(1, bursts as Kept, 30.0, 30.0), (2, bursts, -40.0, 25.0), (3, busy, 12.0, 12.0)]
    {
        let sent = minute(seed, kept, samples_ppm, time_ppm);
        let mut engine = play(IN_US, &sent);
        assert_eq!(engine.untimed(0), None);
        let halves: [fn(&Sent) -> f64; 2] = [|sent| sent.kept, |sent| sent.path];
        for (name, told, of) in
            ["sender", "network"].into_iter().zip(told(&mut engine, &sent)).zip(halves).map(|((n, t), o)| (n, t, o))
        {
            let told = told.expect("its clock is known after a minute");
            let truth = truth(&sent, told.count, of);
            let got = [told.p50, told.p90, told.p99].map(Span::as_micros_f64);
            println!("seed {seed}, {name}: told {got:.0?} us, truly {truth:.0?}, of {}", told.count);
            assert!((1_900..=2_010).contains(&told.count), "ten seconds of 200: {}", told.count);
            for (got, truth) in got.into_iter().zip(truth) {
                assert!((got - truth).abs() < 100.0, "seed {seed}, {name}: {got} us, truly {truth}");
            }
        }
    }
}

#[test]
fn where_packets_do_not_tell_when_they_were_sent_the_reason_is_told() {
    let sent = &minute(5, bursts, 0.0, 0.0)[..2_000];
    for (format, reason) in [
        ("rtp:L24/48000/1", "counts samples"),
        ("raw:s32le,skip=12,seq=u32le@0,time=u32le@4:samples", "counts samples"),
        ("vban", "carry no time"),
        ("raw:s32le,skip=4,seq=u32le@0", "carry no time"),
        ("raw:s32le,skip=4,time=u32le@0:us", "no number"),
    ] {
        let mut engine = play(format, sent);
        let why = engine.untimed(0).expect("a reason");
        assert!(why.contains(reason), "{format}: {why}");
        assert!(told(&mut engine, sent).iter().all(Result::is_err), "{format}");
    }
}

/// A field that is declared a time and is none, and a clock that is set: neither moves anything, nor is taken for a delay.
#[test]
fn a_time_that_does_not_go_with_the_samples_tells_nothing() {
    let mut chance = Chance(6);
    let sent = minute(6, bursts, 20.0, 20.0);
    let noise: Vec<Sent> = sent.iter().map(|packet| Sent { stamp: chance.even() * 4e9, ..*packet }).collect();
    let mut engine = play(IN_US, &noise);
    assert!(told(&mut engine, &noise).iter().all(Result::is_err));
    let (plain, odd) = (play("raw:s32le,skip=12,seq=u32le@0", &sent), engine);
    assert_eq!(plain.clock(0).rate().expect("known").ppm, odd.clock(0).rate().expect("known").ppm);

    // Set back by two minutes half way: what follows is measured from there.
    let set: Vec<Sent> = (0..)
        .zip(&sent)
        .map(|(number, packet)| Sent { stamp: packet.stamp + if number < 6_000 { 1.2e8 } else { 0.0 }, ..*packet })
        .collect();
    let mut engine = play(IN_US, &set);
    let [kept, _] = told(&mut engine, &set);
    let truth = truth(&sent, kept.expect("known again").count, |sent| sent.kept);
    assert!((kept.expect("known").p90.as_micros_f64() - truth[1]).abs() < 100.0, "{kept:?}, truly {truth:?}");
}
