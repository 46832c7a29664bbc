//! `micring analyze` names what is wrong with the microphones, and makes no figure from it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use micring::capture::Writer;
use micring::sim::{Delay, Loss, Network, Scenario, Sim};
use micring::time::Span;
use serde_json::Value;

/// What it says of a recording on its standard input.
fn analyze(recording: &[u8], args: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["analyze", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("micring starts");
    child.stdin.take().expect("a pipe").write_all(recording).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

fn recording(scenario: &Scenario, snap: Option<u32>) -> Vec<u8> {
    let sockets = [30_001, 30_002, 30_003].map(|port| SocketAddr::new(IpAddr::from([192, 168, 4, 1]), port));
    let writer = Writer::new(snap);
    let (mut file, mut sim, mut payload) = (Vec::new(), Sim::new(scenario), Vec::new());
    writer.begin(&mut file, sockets, "micring", "a test");
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let (mic, from) = (packet.mic, sim.sender(&packet));
        writer.datagram(&mut file, mic, packet.stamp, from, sockets[mic], &payload, payload.len());
    }
    file
}

fn scenario(sample_rate: u32) -> Scenario {
    let network =
        Network { delay: Delay::Exp(Span::from_millis(1)), loss: Loss::Independent(0.02), ..Network::default() };
    Scenario { seed: 7, sample_rate, network, ..Scenario::one_board(Span::from_secs(15)) }
}

#[test]
fn a_recording_at_another_rate_is_named_with_the_option_that_mends_it() {
    let file = recording(&scenario(44_100), None);
    let table = analyze(&file, &[]);
    assert!(table.contains("44 100 samples a second, not 48 000: --sample-rate 44100"), "{table}");
    let json: Value = serde_json::from_str(&analyze(&file, &["--json"])).expect("JSON");
    for mic in ["mic0", "mic1", "mic2"] {
        let rate = &json["rate_hz"][mic];
        let (hz, spread) = (rate["hz"].as_f64().unwrap(), rate["uncertainty_hz"].as_f64().unwrap());
        assert!((hz - 44_100.0).abs() <= spread, "{rate}");
        assert!(json["loss"][mic]["lost"].is_null() && json["loss"][mic]["reason"].is_string());
        assert!(json["clock_drift_ppm"][mic]["ppm"].is_null());
    }
    // And told the right one, all is well.
    let json: Value = serde_json::from_str(&analyze(&file, &["--json", "--sample-rate", "44100"])).expect("JSON");
    assert_eq!(json["health"]["mic1"], "ok");
    assert!(json["loss"]["mic1"]["lost"].as_u64().is_some_and(|lost| lost > 0));
}

#[test]
fn where_samples_were_cut_off_no_level_is_told() {
    let json: Value =
        serde_json::from_str(&analyze(&recording(&scenario(48_000), Some(64)), &["--json"])).expect("JSON");
    assert!(json["level"]["mic0"]["rms_dbfs"].is_null());
    assert!(json["level"]["mic0"]["reason"].as_str().unwrap().contains("whole"));
    assert_eq!(json["health"]["mic0"], "ok");
}
