//! Arrays of other sizes than three, from the simulator into a recording, and what `analyze` says of it.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};

use micring::capture::{Interface, Writer};
use micring::time::KernelTime;
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
    assert_eq!(found["packet_stats"]["packets_received"], json!(vec![&sent["sent"]; 8]));
    assert_eq!(found["packet_stats"]["total_samples"], json!(vec![400 * 512; 8]));
    assert_eq!(sent["samples"], json!(400 * 512));
    let last = &found["server"]["chunk"]["mic7"];
    assert_eq!((&last["samples"], last["pieces"].as_array().map(Vec::len)), (&json!(512), Some(12)));
    let drift = &found["clock_drift_ppm"]["mic0_vs_mic7"];
    assert_eq!((&drift["ppm"], &drift["uncertainty_ppm"]), (&json!(0.0), &json!(0.0)));
    assert!(drift["reason"].as_str().expect("why").contains("one source"));
    assert_eq!(found["cycles"]["incomplete"], json!(0));
}

#[test]
fn sixteen_microphones_on_sixteen_ports_are_one_array() {
    let ports = (1..=16).map(|port: u32| port.to_string()).collect::<Vec<_>>().join(",");
    let (sent, file) = recorded("sixteen", &format!("--mic-ports {ports} --cycles 300 --loss 0.01"));
    let found = analyzed(&file, &[]);
    let of = |key: &str| sent["mics"].as_array().expect("a list").iter().map(|mic| mic[key].clone()).collect::<Value>();
    assert_eq!(found["packet_stats"]["packets_received"], of("sent"));
    assert_eq!(found["arrival_skew_us"]["mic0_vs_mic15"]["p50"], json!(1500.0));
}

#[test]
fn a_format_of_two_channels_is_a_source_with_two() {
    let (sent, file) = recorded("vban", "--mic-ports 1,2,3 --format vban*2 --samples 128 --cycles 300 --loss 0.05");
    let found = analyzed(&file, &[]);
    let sent = &sent["mics"][0]["sent"];
    assert_eq!(found["packet_stats"]["packets_received"], json!([sent, sent]));
    assert_eq!(found["server"]["format"]["mic1"], json!("vban:*2"));
    assert_eq!(found["loss"]["mic1"]["known"], json!(true));
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

const USUAL: [u16; 3] = [30_001, 30_002, 30_003];

/// A recording of two arrays, `cycles` of each: the `roof` has three microphones on the usual ports, the `door` two channels on one port, and
/// all that the door's two boards send.
fn two_arrays(name: &str, cycles: i64) -> File {
    let at = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
    let mut sources = vec![Interface::of(Some("door"), 0..2, at(USUAL[0])).with_format("raw:s16le*2".into())];
    // The sockets of one array need not stand in the order of its channels.
    for mic in [2, 0, 1] {
        sources.push(Interface::of(Some("roof"), mic..mic + 1, at(40_001 + mic as u16)));
    }
    let writer = Writer::new(None);
    let mut bytes = Vec::new();
    writer.begin_of(&mut bytes, &sources, "micring", "a test");
    for cycle in 0..cycles {
        let stamp = |us: i64| KernelTime::from_nanos(1_795_345_500_000_000_000 + cycle * 10_666_667 + us * 1_000);
        for (place, source) in sources.iter().enumerate() {
            let payload = if place == 0 { vec![1; 4 * 512] } else { vec![2; 2048] };
            let boards = if place == 0 { 2..4 } else { 4..5 };
            for board in boards {
                let from = SocketAddr::from(([10, 0, 0, board], 7));
                let us = 100 * place as i64 + i64::from(board);
                writer.datagram(&mut bytes, place, stamp(us), from, source.address, &payload, payload.len());
            }
        }
    }
    let file = File(std::env::temp_dir().join(format!("micring-arrays-{}-{name}.pcapng", std::process::id())));
    std::fs::write(&file.0, bytes).expect("the folder can be written");
    file
}

#[test]
fn of_a_recording_of_many_arrays_one_is_read() {
    let file = two_arrays("two", 300);
    let roof = analyzed(&file, &["--array", "roof"]);
    assert_eq!(roof["packet_stats"]["packets_received"], json!([300, 300, 300]), "the door's are not its own");
    // Sent 200 us later by the order of the interfaces, which is not that of the channels.
    assert_eq!(roof["arrival_skew_us"]["mic1_vs_mic2"]["p50"], json!(-200.0));
    let door = analyzed(&file, &["--array", "door", "--from", "10.0.0.3"]);
    assert_eq!(door["packet_stats"]["packets_received"], json!([300, 300]));
    assert_eq!(door["server"]["format"], json!({"mic0": "raw:s16le*2", "mic1": "raw:s16le*2"}));
    assert_eq!(door["cycles"]["complete"], json!(300));
}

#[test]
fn which_array_is_read_is_said_and_a_name_that_is_not_there_is_refused() {
    let file = two_arrays("which", 60);
    let path = file.0.to_str().expect("a path of ours");
    let output = micring(&["analyze", "--json", path, "--from", "10.0.0.2"]);
    assert_eq!(told(&output)["packet_stats"]["packets_received"], json!([60, 60]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("door is read; there are roof too: say which with --array NAME"), "{said}");
    for command in ["analyze", "replay"] {
        let output = micring(&[command, path, "--array", "cellar"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("no array is called cellar: there are door, roof"), "{said}");
    }
}

#[test]
fn an_array_of_a_recording_is_sent_again_to_its_own_ports() {
    let file = two_arrays("again", 20);
    let sockets: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port().to_string();
    let ports = sockets.iter().map(port).collect::<Vec<_>>().join(",");
    let path = file.0.to_str().expect("a path of ours");
    let output = micring(&["replay", path, "--array", "roof", "--mic-ports", &ports]);
    assert_eq!(told(&output)["sent"], json!([20, 20, 20]));
    for socket in &sockets {
        socket.set_nonblocking(true).expect("a socket");
        let mut bytes = [0; 4096];
        let all = std::iter::from_fn(|| socket.recv(&mut bytes).ok().map(|count| bytes[..count].to_vec()));
        assert_eq!(all.collect::<Vec<_>>(), vec![vec![2; 2048]; 20]);
    }
}
