//! `micring replay` onto loopback sockets: what arrives is what was recorded, at its spacing.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use micring::capture::Writer;
use micring::sim::{Rate, Scenario, Sim};
use micring::time::Span;
use serde_json::Value;

/// Three boards for a second, on a perfect network.
fn recording(snap: Option<u32>) -> (Vec<u8>, [Vec<Vec<u8>>; 3]) {
    let scenario =
        Scenario { rates: [20.0, -15.0, 3.0].map(Rate::Constant), ..Scenario::three_boards(Span::from_secs(1)) };
    let to = [30_001, 30_002, 30_003].map(|port| ([0, 0, 0, 0], port).into());
    let writer = Writer::new(snap);
    let (mut file, mut payload, mut sent) = (Vec::new(), Vec::new(), [const { Vec::new() }; 3]);
    writer.begin(&mut file, to, "micring", "a test");
    let mut sim = Sim::new(&scenario);
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let from = sim.sender(&packet);
        writer.datagram(&mut file, packet.mic, packet.stamp, from, to[packet.mic], &payload, payload.len());
        sent[packet.mic].push(payload.clone());
    }
    (file, sent)
}

/// Runs `micring replay` of `file` at `speed` and returns what arrived, with the senders, and the result.
#[expect(clippy::type_complexity, reason = "a helper of one test file")]
fn replayed(name: &str, file: &[u8], speed: &str) -> ([Vec<(Vec<u8>, String)>; 3], Value) {
    let path = std::env::temp_dir().join(format!("micring-replay-{}-{name}.pcapng", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let ports: Vec<String> = sockets.iter().map(|s| s.local_addr().unwrap().port().to_string()).collect();
    let child = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["replay", path.to_str().unwrap(), "--mic-ports", &ports.join(","), "--speed", speed])
        .stdout(Stdio::piped())
        .spawn()
        .expect("micring starts");
    let receivers = sockets.map(|socket| {
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        std::thread::spawn(move || {
            let mut packets = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                packets.push((buffer[..length].to_vec(), from.ip().to_string()));
                socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            }
            packets
        })
    });
    let output = child.wait_with_output().unwrap();
    let arrived = receivers.map(|receiver| receiver.join().unwrap());
    std::fs::remove_file(path).unwrap();
    assert!(output.status.success());
    (arrived, serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_payload_arrives_in_order_from_boards_of_their_own() {
    let (file, sent) = recording(None);
    let (arrived, result) = replayed("all", &file, "2");
    for mic in 0..3 {
        let payloads: Vec<&Vec<u8>> = arrived[mic].iter().map(|(payload, _)| payload).collect();
        assert_eq!(payloads, sent[mic].iter().collect::<Vec<_>>(), "mic {mic}");
        assert_eq!(result["sent"][mic], sent[mic].len());
        assert!(arrived[mic].iter().all(|(_, from)| *from == arrived[mic][0].1));
    }
    let [a, b, c] = [0, 1, 2].map(|mic: usize| arrived[mic][0].1.clone());
    assert!(a != b && b != c && a != c, "three boards are three addresses: {a} {b} {c}");
    // Half a second at twice the speed: never sooner.
    assert!(result["took_s"].as_f64().unwrap() > 0.45, "{result}");
    assert_eq!(result["filled_up"], 0);
}

#[test]
fn heads_are_filled_up_to_their_length_and_that_is_said() {
    let (file, sent) = recording(Some(64));
    let (arrived, result) = replayed("heads", &file, "4");
    // 64 bytes of which 28 are headers.
    for (mic, sent) in sent.iter().enumerate() {
        assert_eq!(arrived[mic].len(), sent.len());
        for ((payload, _), whole) in arrived[mic].iter().zip(sent) {
            assert_eq!(payload.len(), whole.len());
            assert_eq!(payload[..36], whole[..36]);
            assert!(payload[36..].iter().all(|byte| *byte == 0));
        }
    }
    assert_eq!(result["filled_up"], sent.iter().map(Vec::len).sum::<usize>());
}

#[test]
fn what_cannot_be_replayed_is_said_in_one_line() {
    for (args, says) in
        [(&["/dev/null"][..], "neither a pcapng nor a pcap file"), (&["-", "--loop"], "--loop needs a file")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_micring")).arg("replay").args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("micring: ") && errors.contains(says) && errors.lines().count() == 1, "{errors}");
    }
}
