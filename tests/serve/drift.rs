//! Clock rates on real sockets: what `serve` says of three free boards, against what the simulator gave them.

use std::process::Stdio;

use crate::rig::Serve;

#[test]
fn the_drift_of_three_boards_is_found_within_its_own_uncertainty() {
    let serve = Serve::start(&[]);
    let rates = [20.0, -15.0, 3.0];
    let mut child = serve
        .simulator(&["--duration", "125s", "--ppm", "20,-15,3", "--jitter", "200us"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(120));
    let diagnostics = serve.diagnostics();
    child.wait().unwrap();
    assert_eq!(diagnostics["server"]["clock"], "independent", "three addresses, three clocks");
    let drift = &diagnostics["clock_drift_ppm"];
    for (name, truth) in [
        ("mic0_vs_mic1", rates[0] - rates[1]),
        ("mic0_vs_mic2", rates[0] - rates[2]),
        ("mic1_vs_mic2", rates[1] - rates[2]),
    ] {
        let pair = &drift[name];
        // How wide the interval is, and whether there is one at all, is the machine's.
        let (Some(ppm), Some(uncertainty)) = (pair["ppm"].as_f64(), pair["uncertainty_ppm"].as_f64()) else {
            assert!(pair["reason"].is_string(), "{name}: {pair}");
            continue;
        };
        println!("{name}: {ppm:.3} +- {uncertainty:.3} ppm, true {truth}");
        assert!((ppm - truth).abs() <= uncertainty, "{name}: {ppm} +- {uncertainty} ppm is not {truth}");
    }
}
