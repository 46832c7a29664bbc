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
    let scenario = Scenario {
        rates: [20.0, -15.0, 3.0].map(Rate::Constant).to_vec(),
        ..Scenario::three_boards(Span::from_secs(1))
    };
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

/// A capture a port, as three tcpdumps leave them: one recording, in the order of its stamps.
#[test]
fn a_file_a_port_is_replayed_as_one_recording() {
    let scenario = Scenario::one_board(Span::from_secs(1));
    let mut files = [const { Vec::new() }; 3].map(|mut file: Vec<u8>| {
        file.extend([0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, 101].map(u32::to_le_bytes).concat());
        file
    });
    let (mut sim, mut payload, mut sent) = (Sim::new(&scenario), Vec::new(), [const { Vec::new() }; 3]);
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let mut frame = vec![0x45, 0];
        frame.extend([payload.len() as u16 + 28, 1, 0].map(u16::to_be_bytes).concat());
        frame.extend([64, 17, 0, 0, 192, 168, 4, 10, 192, 168, 4, 1]);
        frame.extend([50_000, 30_001 + packet.mic as u16, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat());
        frame.extend(&payload);
        let (ns, length) = (packet.stamp.as_nanos(), frame.len() as u32);
        let header = [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, length, length];
        files[packet.mic].extend(header.map(u32::to_le_bytes).concat());
        files[packet.mic].extend(frame);
        sent[packet.mic].push(payload.clone());
    }
    let folder = std::env::temp_dir().join(format!("micring-replay-{}-set", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let paths = [2, 0, 1].map(|mic: usize| folder.join(format!("{mic}.pcap")));
    paths.iter().zip([2, 0, 1]).for_each(|(path, mic): (_, usize)| std::fs::write(path, &files[mic]).unwrap());
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let ports: Vec<String> = sockets.iter().map(|s| s.local_addr().unwrap().port().to_string()).collect();
    let child = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["replay", "--speed", "2", "--mic-ports", &ports.join(",")])
        .args(&paths)
        .stdout(Stdio::piped())
        .spawn()
        .expect("micring starts");
    let total: usize = sent.iter().map(Vec::len).sum();
    let (mut buffer, mut arrived, mut order) = ([0; 4096], [const { Vec::new() }; 3], Vec::new());
    let mut silent = 0;
    while order.len() < total {
        let before = order.len();
        // One of each in turn: had they been sent one file after the other, there would be none of the others.
        for (mic, socket) in sockets.iter().enumerate() {
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                arrived[mic].push(buffer[..length].to_vec());
                order.push(mic);
            }
        }
        silent = if order.len() == before { silent + 1 } else { 0 };
        assert!(silent < 100, "{} of {total} came", order.len());
    }
    assert!(child.wait_with_output().unwrap().status.success());
    std::fs::remove_dir_all(folder).unwrap();
    assert!(arrived == sent, "every payload, in order");
    let place = |mic: usize| (order.iter().position(|m| *m == mic), order.iter().rposition(|m| *m == mic));
    for (first, last) in [(0, 1), (1, 2), (2, 0)].map(|(a, b)| (place(a).0, place(b).1)) {
        assert!(first < last, "side by side: {order:?}");
    }
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
