//! Calibration by claps: boards whose paths differ by a constant that no arrival shows.

use micring::engine::{Calibrate, Calibrated};
use micring::sim::room::{Scene, Sound, Source};
use micring::sim::{Lag, Network, Rate, START, Scenario};
use micring::time::Span;

use crate::rooms::seconds;
use crate::stage::{Stage, boards_apart, play_with};

/// A clapper in the middle of three boards.
fn scene(seed: u64) -> Scene {
    let mut scene = boards_apart(seed, None, 0.0);
    let [x, y, z] = [0.2 * (seed % 3) as f64, 0.15 * (seed % 4) as f64, 1.2];
    let corner = |turn: f64| {
        let (sin, cos) = (std::f64::consts::TAU * turn).sin_cos();
        [2.4 + x + 1.1 * cos, 2.3 + y + 1.1 * sin, z]
    };
    scene.mics = vec![corner(0.0), corner(1.0 / 3.0), corner(2.0 / 3.0)];
    scene.sources = vec![Source { at: [2.4 + x, 2.3 + y, z + 0.3], sound: Sound::Claps, level_db: 66.0 }];
    scene
}

#[test]
fn claps_place_boards_within_two_samples_table() {
    let runs = if seconds(0) > 0 { 40 } else { 1 };
    let (mut good, mut covered) = (0, 0);
    for seed in 0..runs {
        let stage = Stage::new(&scene(seed), 25);
        let lag = |mic, us| Lag { mic, from: Span::ZERO, to: Span::from_secs(1_000), by: Span::from_micros(us) };
        let scenario = Scenario {
            seed,
            network: Network { delay: "exp1".parse().expect("a delay model"), ..Network::default() },
            rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
            // 3 and 1.2 ms: 144 and 58 samples.
            lags: vec![lag(1, 3_000), lag(2, 1_200)],
            ..Scenario::three_boards(Span::from_secs(85))
        };
        let mut begun = false;
        let run = play_with(&scenario, &stage, seed % 2 == 0, |engine, packet| {
            if !begun && packet.arrival - START > Span::from_secs(60) {
                begun = true;
                engine.calibrate(Calibrate { distances: None }).expect("three boards are placed");
            }
        });
        let (Calibrated::Done(results), claps) = run.engine.calibration().expect("it was begun") else {
            panic!("it ended")
        };
        let before = run.apart.iter().find(|(at, _)| at.0 > 57 * 48_000).expect("cycles").1;
        let after = run.apart.iter().rev().take(100).map(|(_, apart)| *apart).fold(0.0, f64::max);
        let kept = run.engine.kept();
        let uncertainty = kept.iter().flatten().map(|kept| kept.uncertainty).fold(0.0, f64::max);
        println!(
            "seed {seed}: {claps} claps; {before:.1} samples apart, then {after:.2}; told to {uncertainty:.2}: {results:?}"
        );
        assert!(before > 100.0, "the paths differ by 144 samples");
        good += usize::from(after <= 2.0);
        // Three channels that slip stand within a sample and a quarter beside it.
        covered += usize::from(after <= uncertainty + 1.25);
        assert!(kept.iter().all(Option::is_some), "all are calibrated: {kept:?}");
    }
    println!("{good} of {runs} within 2 samples, {covered} within what was told");
    assert!(good as f64 >= 0.95 * runs as f64 && covered as f64 >= 0.95 * runs as f64, "{good}, {covered} of {runs}");
}
