//! Continuity: borders between packets that follow each other, and between packets with some missing in between.

use std::time::Instant;

use micring::sim::room::{Scene, Sound};
use micring::sound::continuity::{Edges, evidence, ratio};

use crate::rooms::{PACKET, PACKETS_A_SECOND, array, packets, seconds, signals};

/// What the borders of a signal gave.
struct Borders {
    /// Of one microphone.
    whole: Vec<f64>,
    broken: Vec<f64>,
    /// Of three together, as evidence.
    whole_of_three: Vec<f64>,
    broken_of_three: Vec<f64>,
}

fn listen(scene: &Scene, seconds: usize) -> Borders {
    let heard = packets(scene, seconds * PACKETS_A_SECOND);
    let edges: Vec<Vec<Option<Edges>>> =
        heard.iter().map(|packets| packets.iter().map(|packet| Edges::of(packet)).collect()).collect();
    let mut all =
        Borders { whole: Vec::new(), broken: Vec::new(), whole_of_three: Vec::new(), broken_of_three: Vec::new() };
    for at in 0..edges[0].len() - 4 {
        let of = |ahead: usize| -> Vec<f64> {
            edges.iter().filter_map(|mic| ratio(mic[at].as_ref()?, mic[at + ahead].as_ref()?)).collect()
        };
        // One to three packets are missing.
        let (whole, broken) = (of(1), of(2 + at % 3));
        all.whole_of_three.extend(evidence(whole.iter().copied()));
        all.broken_of_three.extend(evidence(broken.iter().copied()));
        all.whole.extend(whole);
        all.broken.extend(broken);
    }
    all
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn share(values: &[f64], of: impl Fn(f64) -> bool) -> f64 {
    values.iter().filter(|&&value| of(value)).count() as f64 / values.len() as f64
}

/// By chance alone, so many of `count` may be there where a share of `p` is expected: the mean and four deviations, and one.
fn at_most(p: f64, count: usize) -> f64 {
    let mean = p * count as f64;
    (mean + 4.0 * mean.sqrt() + 1.0) / count as f64
}

#[test]
fn borders_of_every_signal_table() {
    let seconds = seconds(4);
    println!(
        "signal              | median whole / broken | L < -4.6, whole | L > 2, broken | of three: broken and below -4.6"
    );
    for (name, sound, level, ambient) in signals() {
        let all = listen(&array(1, sound, level, ambient), seconds);
        let false_breaks = share(&all.whole, |l| l < -4.6);
        let false_joins = share(&all.broken, |l| l > 2.0);
        println!(
            "{name:19} | {:5.1} / {:6.1}        | {:6.3} %        | {:5.1} %       | {:4.0} %",
            median(&all.whole),
            median(&all.broken),
            100.0 * false_breaks,
            100.0 * false_joins,
            100.0 * share(&all.broken_of_three, |l| l < -4.6),
        );
        // The study's worst: .083 % of one channel; three together are no worse.
        assert!(false_breaks <= at_most(0.000_83, all.whole.len()), "{name}: {false_breaks} false breaks");
        let of_three = share(&all.whole_of_three, |l| l < -4.6);
        assert!(of_three <= at_most(0.000_83, all.whole_of_three.len()), "{name}: {of_three} false breaks of three");
        assert!(share(&all.whole, |l| l < -7.0) <= at_most(0.000_12, all.whole.len()), "{name}: beyond -7");
        // What is smooth by chance: up to 3.6 %; a steady tone, and rings, which are tones, more.
        if !name.contains("tone") && !name.contains("rings") {
            assert!(false_joins <= 0.06, "{name}: {false_joins} false joins");
        }
        assert!(median(&all.whole) > median(&all.broken), "{name}");
    }
}

#[test]
fn noise_of_the_microphones_alone_tells_nothing() {
    let scene = Scene { ambient_dba: None, ..array(2, None, 0.0, 0.0) };
    let all = listen(&scene, seconds(10));
    assert!(all.whole.iter().chain(&all.broken).all(|l| l.abs() < 4.6));
}

#[test]
fn an_offset_makes_no_breaks() {
    let heard = packets(&array(3, None, 0.0, 40.0), 400);
    let edges: Vec<Edges> =
        heard[0].iter().map(|packet| Edges::of(&packet.map(|sample| sample + (1 << 26))).expect("it moves")).collect();
    let all: Vec<f64> = edges.windows(2).filter_map(|two| ratio(&two[0], &two[1])).collect();
    assert!(all.iter().all(|&l| l > -4.6), "{:?}", all.iter().copied().fold(0.0, f64::min));
}

#[test]
fn silence_and_flat_tops_say_nothing_and_a_tone_of_whole_periods_does_not_look_broken() {
    assert_eq!(Edges::of(&[0; 512]), None);
    assert_eq!(Edges::of(&[-77; 512]), None);
    assert_eq!(Edges::of(&[1, 2, 3]), None);
    let sine = |i: usize, hz: f64| (1e9 * (std::f64::consts::TAU * hz * i as f64 / 48_000.0).sin()) as i32 & !0xff;
    let clipped: Vec<i32> = (0..512).map(|i| sine(i, 1_000.0).clamp(-800_000_000, 800_000_000)).collect();
    assert_eq!(Edges::of(&clipped), None);
    // 1000 Hz are 32 periods in three packets of 512.
    let packet = |from: usize| Edges::of(&std::array::from_fn::<i32, 512, _>(|i| sine(from + i, 1_000.0))).unwrap();
    let three_missing = ratio(&packet(0), &packet(4 * 512)).expect("a tone");
    assert!(three_missing > 0.0, "{three_missing}: it cannot be seen");
    let one_missing = ratio(&packet(0), &packet(2 * 512)).expect("a tone");
    assert!(one_missing < -12.0, "{one_missing}: it can");
    // And what is cut off at -12 and 2 stays evidence, never certainty.
    assert_eq!(evidence([one_missing]), Some(-12.0));
    assert_eq!(evidence([50.0]), Some(2.0));
    assert_eq!(evidence([50.0; 3]), Some(3.0));
    assert_eq!(evidence([]), None);
}

/// What a border costs on this machine: nothing is asserted, a busy machine must not fail it.
#[test]
fn what_a_border_costs_table() {
    let heard = packets(&array(4, Some(Sound::Speech), 60.0, 30.0), 200);
    let begun = Instant::now();
    let rounds = 20;
    let edges: Vec<Edges> =
        (0..rounds).flat_map(|_| heard.iter().flatten()).filter_map(|packet| Edges::of(packet)).collect();
    let a_packet = begun.elapsed() / (rounds * 600);
    let begun = Instant::now();
    let ratios = edges.windows(2).filter_map(|two| ratio(&two[0], &two[1])).filter(|l| l.is_finite()).count();
    let a_border = begun.elapsed() / ratios as u32;
    assert!(ratios * 10 > 9 * edges.len(), "{ratios} borders of {} packets: speech can be judged", edges.len());
    println!("{a_packet:?} a packet of {PACKET} samples, {a_border:?} a border");
    // What each decision may take at most.
    println!("five borders of three channels: {:?}", a_packet * 3 * 6 + a_border * 3 * 5);
}
