//! Calibration by claps, end to end: `simulate` claps in its room, `micring calibrate` asks, the server listens, the file keeps it.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Folder, PATIENCE, Serve, micring};

/// Of the clapper from the corners of the triangle on which `simulate` puts three boards (src/sim/room/array.rs), in metres.
fn distances() -> String {
    let (source, middle, radius) = ([4.3, 3.9, 1.5], [2.2, 2.1, 1.0], 2.0 / 3.0_f64.sqrt());
    let of = |mic: usize| {
        let angle = std::f64::consts::TAU * mic as f64 / 3.0;
        let at = [middle[0] + radius * angle.cos(), middle[1] + radius * angle.sin(), middle[2]];
        source.iter().zip(at).map(|(a, b): (&f64, f64)| (a - b).powi(2)).sum::<f64>().sqrt().to_string()
    };
    (0..3).map(of).collect::<Vec<_>>().join(",")
}

/// They end with the test.
struct Boards(Child);

impl Drop for Boards {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn claps_calibrate_free_boards_and_a_file_keeps_it() {
    let folder = Folder::new("calibration");
    let serve = Serve::start(&["--clock", "independent", "--save", folder.path()]);
    let file = folder.0.join("kept.json");
    let calibrate = || {
        let mut command = micring();
        command.args(["calibrate", "--http", &serve.http.to_string(), "--distances", &distances()]);
        command.args(["--keep".as_ref(), file.as_os_str()]);
        command.output().expect("calibrate runs")
    };
    let refused = calibrate();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("not all microphones are heard"), "{said}");
    let args = ["--boards", "each", "--signal", "claps", "--duration", "300s", "--ppm", "20,-15,3"];
    let _boards = Boards(serve.simulator(&args).stdout(Stdio::null()).spawn().expect("simulate starts"));
    // Clocks are learnt.
    let known = |told: &Value| {
        let of =
            |pair: &str| told["alignment"][pair]["uncertainty_samples"].as_f64().is_some_and(|samples| samples < 5.0);
        of("mic0_vs_mic1") && of("mic0_vs_mic2")
    };
    while !known(&serve.diagnostics()) {
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    // On a busy machine a try may fail, since boards slip meanwhile: that is said, and it is asked again.
    let is_whole = |text: &[u8]| String::from_utf8_lossy(text).matches("moved by").count() == 3;
    let mut done = calibrate();
    for _ in 0..3 {
        if is_whole(&done.stdout) {
            break;
        }
        let said = String::from_utf8_lossy(&[&done.stdout[..], &done.stderr].concat()).into_owned();
        assert!(said.contains("claps disagree") || said.contains("fewer than three claps"), "{said}");
        done = calibrate();
    }
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}{}", serve.stderr());
    for mic in ["mic1: moved by", "mic2: moved by", "left open:", "kept in"] {
        assert!(out.contains(mic), "{mic}: {out}");
    }
    let kept: Value =
        serde_json::from_str(fs::read_to_string(&file).expect("it is kept").trim()).expect("one line of JSON");
    for mic in ["mic1", "mic2"] {
        let of = &kept["mics"][mic];
        // On loopback the paths differ by microseconds, and the floors are learnt in seconds.
        assert!(of["samples"].as_f64().is_some_and(|samples| samples.abs() < 12.0), "{kept}");
        assert!(of["claps_agreeing"].as_u64().is_some_and(|claps| claps >= 3), "{kept}");
    }
    let told = serve.diagnostics();
    let left_out = told["alignment"]["mic0_vs_mic1"]["leaves_out"].as_str().unwrap_or_default().to_owned();
    assert!(left_out.contains("calibration"), "{left_out}");
    assert!(told["sound"]["busy_us_per_s"].as_f64().is_some_and(|busy| busy > 0.0), "{}", told["sound"]);
    // What is saved meanwhile says so too.
    let said = || {
        let paths = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
        let sidecar = paths.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
        let text = fs::read_to_string(sidecar.expect("a sidecar")).unwrap();
        // The last line may be half written.
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter().find(|line| line["kind"] == "calibration" && line["mic"] == "mic1")
    };
    let give_up = Instant::now() + PATIENCE;
    let line = loop {
        if let Some(line) = said() {
            break line;
        }
        assert!(Instant::now() < give_up, "the sidecar says nothing of the calibration");
        std::thread::sleep(Duration::from_millis(200));
    };
    let (samples, kept) = (line["samples"].as_f64().unwrap(), kept["mics"]["mic1"]["samples"].as_f64().unwrap());
    assert!((samples - kept).abs() < 0.01, "{samples}, {kept}");
}
