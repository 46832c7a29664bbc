//! Arrays of other sizes than three, from the simulator into a recording, and what `analyze` says of it.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn micring(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_micring")).args(args).output().expect("micring starts")
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// What the simulator sent into a file, and the file.
fn recorded(name: &str, options: &str) -> (Value, File) {
    let file = File(std::env::temp_dir().join(format!("micring-arrays-{}-{name}.pcapng", std::process::id())));
    let path = file.0.to_str().expect("a path of ours").to_owned();
    let mut args = vec!["simulate", "--record", &path];
    args.extend(options.split(' '));
    (told(&micring(&args)), file)
}

fn analyzed(file: &File, options: &[&str]) -> Value {
    let mut args = vec!["analyze", "--json", file.0.to_str().expect("a path of ours")];
    args.extend(options);
    told(&micring(&args))
}

#[test]
fn five_microphones_on_one_board_are_told_by_the_recording_itself() {
    let (sent, file) = recorded("five", "--mic-ports 1,2,3,4,5 --cycles 400 --loss 0.02 --seed 5");
    let found = analyzed(&file, &[]);
    let of = |key: &str| sent["mics"].as_array().expect("a list").iter().map(|mic| mic[key].clone()).collect::<Value>();
    assert_eq!(found["packet_stats"]["packets_received"], of("sent"));
    for mic in 0..5 {
        assert_eq!(found["loss"][format!("mic{mic}")]["lost"], sent["mics"][mic]["lost_chunks"], "mic {mic}");
    }
    let pairs: Vec<&String> = found["arrival_skew_us"].as_object().expect("by pair").keys().collect();
    assert_eq!(pairs, ["mic0_vs_mic1", "mic0_vs_mic2", "mic0_vs_mic3", "mic0_vs_mic4"]);
    // Sent 100 us apart, over a path without jitter.
    assert_eq!(found["arrival_skew_us"]["mic0_vs_mic4"]["p50"], json!(400.0));
    let offset = &found["synchronization_status"]["thread_scheduling_offset"];
    assert_eq!((&offset["mic04_offset_us"], &offset["mic05_offset_us"]), (&json!(400), &Value::Null));
}

#[test]
fn one_port_with_eight_channels_in_pieces_is_eight_microphones_with_one_clock() {
    let (sent, file) = recorded("eight", "--mic-ports 7 --channels 8 --cycles 400 --pieces 1460");
    let found = analyzed(&file, &["--ports", "7", "--channels", "8"]);
    let sent = &sent["mics"][0];
    assert_eq!(found["packet_stats"]["packets_received"], json!([sent["sent"]; 8]));
    assert_eq!(found["packet_stats"]["total_samples"], json!([400 * 512; 8]));
    assert_eq!(sent["samples"], json!(400 * 512));
    let last = &found["server"]["chunk"]["mic7"];
    assert_eq!((&last["samples"], last["pieces"].as_array().map(Vec::len)), (&json!(512), Some(12)));
    let drift = &found["clock_drift_ppm"]["mic0_vs_mic7"];
    assert_eq!((&drift["ppm"], &drift["uncertainty_ppm"]), (&json!(0.0), &json!(0.0)));
    assert!(drift["reason"].as_str().expect("why").contains("one source"));
    assert_eq!(found["cycles"]["incomplete"], json!(0));
}

#[test]
fn boards_of_two_channels_and_a_single_microphone() {
    let (_, file) = recorded("stereo", "--mic-ports 1,2 --channels 4 --boards each --ppm 20,-20 --duration 60s");
    let found = analyzed(&file, &["--channels", "4"]);
    let ppm = |pair: &str| found["clock_drift_ppm"][pair]["ppm"].as_f64().expect("known after a minute");
    assert_eq!((ppm("mic0_vs_mic1"), ppm("mic2_vs_mic3")), (0.0, 0.0));
    assert!((ppm("mic0_vs_mic2") - 40.0).abs() < 1.0 && (ppm("mic1_vs_mic3") - 40.0).abs() < 1.0);
    assert_eq!(found["server"]["clock"], json!("independent"));
    let (sent, file) = recorded("one", "--mic-ports 1 --cycles 500");
    let found = analyzed(&file, &[]);
    assert_eq!(found["packet_stats"]["packets_received"], json!([sent["mics"][0]["sent"]]));
    assert_eq!(found["arrival_skew_us"], json!({}));
    assert_eq!(found["cycles"]["complete"], json!(500));
}

#[test]
fn channels_that_cannot_be_are_refused_with_the_reason() {
    for options in [&["--channels", "4"][..], &["--mic-ports", "1", "--channels", "65"]] {
        let mut args = vec!["simulate", "--cycles", "1"];
        args.extend(options);
        let output = micring(&args);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("channels cannot come from"), "{options:?}");
    }
}
