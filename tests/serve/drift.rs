//! Clock rates on real sockets: what `serve` says of three free boards, against what the simulator gave them.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::Serve;

/// By then a quiet machine has told long ago. One that is busy sends its packets late, and may honestly not know: that is no failure.
const LONGEST: Duration = Duration::from_secs(120);
/// In ppm: an uncertainty that says something.
const SHARP: f64 = 2.0;
/// Of an interval of 95 % (1.96 sigma) the truth lies outside this multiple once in 10 000 times.
const SURE: f64 = 2.0;

#[test]
fn the_drift_of_three_boards_is_found_within_its_own_uncertainty() {
    let serve = Serve::start(&[]);
    let rates = [20.0, -15.0, 3.0];
    let mut child = serve
        .simulator(&["--duration", "600s", "--ppm", "20,-15,3", "--jitter", "200us"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let sharp = |pair: &Value| pair["uncertainty_ppm"].as_f64().is_some_and(|uncertainty| uncertainty < SHARP);
    let pairs = [
        ("mic0_vs_mic1", rates[0] - rates[1]),
        ("mic0_vs_mic2", rates[0] - rates[2]),
        ("mic1_vs_mic2", rates[1] - rates[2]),
    ];
    // Whatever is told on the way is true as well.
    let drift = loop {
        thread::sleep(Duration::from_secs(1));
        let diagnostics = serve.diagnostics();
        let drift = &diagnostics["clock_drift_ppm"];
        for (name, truth) in pairs {
            let pair = &drift[name];
            let Some(ppm) = pair["ppm"].as_f64() else {
                assert!(pair["reason"].is_string(), "unknown for a reason: {pair}");
                continue;
            };
            let uncertainty = pair["uncertainty_ppm"].as_f64().expect("a figure has its uncertainty");
            assert!((ppm - truth).abs() <= SURE * uncertainty, "{name}: {ppm} +- {uncertainty} ppm is not {truth}");
        }
        if pairs.iter().all(|(name, _)| sharp(&drift[name])) || begun.elapsed() > LONGEST {
            assert_eq!(diagnostics["server"]["clock"], "independent", "three addresses, three clocks");
            break drift.clone();
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    println!("after {:?}: {drift}", begun.elapsed());
}
