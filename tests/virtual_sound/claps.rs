//! First arrivals of claps, as calibration uses them.

use micring::sim::room::{Scene, Sound};
use micring::sound::onset::{agree, difference};

use crate::rooms::{pair, seconds};

/// Differences of the claps of a scene, in samples: each is looked for around its loudest moment.
fn claps(scene: &Scene, seconds: usize) -> Vec<f64> {
    let heard = scene.hear(seconds * 48_000);
    let mut differences = Vec::new();
    let (mut at, loud) = (2_400, heard[0].iter().map(|x| x.unsigned_abs()).max().expect("samples") / 4);
    while let Some(next) = heard[0][at..].iter().position(|x| x.unsigned_abs() > loud) {
        let peak = at + next;
        let from = peak.saturating_sub(2_000);
        let to = (peak + 2_000).min(heard[0].len());
        differences.extend(difference(&heard[0][from..to], &heard[1][from..to]));
        at = (peak + 14_400).min(heard[0].len());
    }
    differences
}

#[test]
fn claps_in_a_reverberant_room_are_placed_within_two_samples_table() {
    let (mut all, mut within, mut covered, mut calibrations) = (0, 0, 0, 0);
    for seed in 0..seconds(6) as u64 {
        let metres = [0.5, 1.0, 2.0][seed as usize % 3];
        let scene = pair(seed, metres, 0.5, Some(Sound::Claps), 66.0);
        let truth = (scene.flight_s(0, 1) - scene.flight_s(0, 0)) * 48_000.0;
        let found = claps(&scene, 6);
        all += found.len();
        within += found.iter().filter(|&&found| (found - truth).abs() <= 2.0).count();
        if let Some(agreement) = agree(&found) {
            calibrations += 1;
            let off = (agreement.median - truth).abs();
            assert!(off <= 2.0, "seed {seed}: {agreement:?} for {truth}");
            covered += usize::from(off <= agreement.uncertainty + 0.5);
        }
    }
    println!("claps: {within} of {all} within 2 samples, {calibrations} calibrations, {covered} within their spread");
    assert!(all > 20 && within as f64 >= 0.95 * all as f64, "{within} of {all}");
    assert!(calibrations >= 5 && covered * 10 >= calibrations * 9);
}

#[test]
fn speech_and_quiet_rooms_calibrate_nothing_wrongly() {
    for (sound, level) in [(Some(Sound::Speech), 60.0), (None, 0.0)] {
        let scene = pair(3, 1.0, 0.5, sound, level);
        assert_eq!(agree(&claps(&scene, 6)), None);
    }
}
