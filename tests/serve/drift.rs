//! Clock rates on real sockets: what `serve` says of three free boards, against what the simulator gave them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::rig::Serve;

const RATES: [f64; 3] = [20.0, -15.0, 3.0];
const PAIRS: [(&str, usize, usize); 3] = [("mic0_vs_mic1", 0, 1), ("mic0_vs_mic2", 0, 2), ("mic1_vs_mic2", 1, 2)];

/// One interval in twenty does not hold the truth, and that is honest; one of twice its width that does not is one in ten thousand.
fn holds_the_truth(name: &str, pair: &Value, truth: f64) -> bool {
    let (Some(ppm), Some(uncertainty)) = (pair["ppm"].as_f64(), pair["uncertainty_ppm"].as_f64()) else {
        assert!(pair["reason"].is_string(), "{name}: {pair}");
        return false;
    };
    println!("{name}: {ppm:.3} +- {uncertainty:.3} ppm, true {truth}");
    assert!((ppm - truth).abs() <= 2.0 * uncertainty, "{name}: {ppm} +- {uncertainty} ppm is not {truth}");
    true
}

/// How wide an interval is depends on the machine. That there is one, and that it holds the truth, does not.
#[test]
fn the_drift_of_three_boards_is_told_after_15_s_and_its_interval_holds() {
    let serve = Serve::start(&[]);
    let mut child = serve
        .simulator(&["--duration", "65s", "--ppm", "20,-15,3", "--jitter", "200us"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = [false; 3];
    for wait in [15, 5, 10, 30] {
        std::thread::sleep(Duration::from_secs(wait));
        let diagnostics = serve.diagnostics();
        assert_eq!(diagnostics["server"]["clock"], "independent", "three addresses, three clocks");
        for ((name, first, second), told) in PAIRS.into_iter().zip(&mut told) {
            let pair = &diagnostics["clock_drift_ppm"][name];
            *told |= holds_the_truth(name, pair, RATES[first] - RATES[second]);
        }
    }
    child.wait().unwrap();
    assert_eq!(told, [true; 3], "each pair was told at least once within a minute");
}
