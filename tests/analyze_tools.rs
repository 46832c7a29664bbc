//! Recordings and captures beside the tools that everyone has: tshark reads what we write, and we read what tcpdump writes.
//!
//! Both tools are Debian packages that `scripts/test` installs. Where one is missing the test says so, and in CI fails.

#[path = "support/skipped.rs"]
mod skipped;

use std::process::Command;

use micring::capture::Writer;
use micring::sim::{Delay, Network, Scenario, Sim};
use micring::time::Span;
use serde_json::Value;
use skipped::skipped;

fn is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        skipped(tool, "it is not installed");
    }
    found
}

fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("micring-tools-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a scratch folder");
    path
}

#[test]
fn tshark_sees_every_packet_with_its_nanoseconds_ports_bytes_and_checksums() {
    if !is_there("tshark") {
        return;
    }
    let scenario = Scenario {
        network: Network { delay: Delay::Exp(Span::from_millis(1)), ..Network::default() },
        ..Scenario::one_board(Span::from_secs(3))
    };
    let to = [30_001, 30_002, 30_003].map(|port| ([192, 168, 4, 1], port).into());
    let writer = Writer::new(None);
    let (mut file, mut payload, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    writer.begin(&mut file, to, "micring", "a test");
    let mut sim = Sim::new(&scenario);
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let from = sim.sender(&packet);
        writer.datagram(&mut file, packet.mic, packet.stamp, from, to[packet.mic], &payload, payload.len());
        let ns = packet.stamp.as_nanos();
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        // 1 is "good" in tshark.
        expected.push(format!(
            "{}.{:09}\t{}\t{}\t1\t1\t{hex}",
            ns / 1_000_000_000,
            ns % 1_000_000_000,
            from.port(),
            30_001 + packet.mic
        ));
    }
    let folder = scratch("tshark");
    let path = folder.join("a.pcapng");
    std::fs::write(&path, file).unwrap();
    let fields =
        ["frame.time_epoch", "udp.srcport", "udp.dstport", "udp.checksum.status", "ip.checksum.status", "udp.payload"];
    let output = Command::new("tshark")
        .args(["-n", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields", "-r"])
        .arg(&path)
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark starts");
    std::fs::remove_dir_all(folder).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(seen.len(), expected.len());
    for (seen, expected) in seen.iter().zip(&expected) {
        assert_eq!(seen, expected);
    }
}

/// A network namespace with a loopback of MTU 1500, so that packets travel as fragments; three captures of the same run: whole frames and their
/// first 200 bytes on the interface, and cooked ones on `any`.
const IN_A_NAMESPACE: &str = r#"
set -e
cd "$1"
ip link set lo mtu 1500 up
tcpdump --nano -i lo -Z root -B 16384 -U -s 200 -w heads.pcap 2>heads.log & a=$!
tcpdump -i any -y LINUX_SLL2 -Z root -B 16384 -U -w cooked2.pcap 2>cooked2.log & b=$!
tcpdump -i any -y LINUX_SLL -Z root -B 16384 -U -w cooked.pcap 2>cooked.log & c=$!
for i in $(seq 100); do
    [ "$(grep -l 'listening on' ./*.log 2>/dev/null | wc -l)" = 3 ] && break
    sleep 0.05
done
"$2" simulate --duration 5s --loss 3% --seed 11 >truth.json
# A capture is complete when it has stopped growing; the kernel hands over what it has after a second.
before=
for i in $(seq 60); do
    now=$(cat ./*.pcap | wc -c)
    [ "$now" = "$before" ] && break
    before=$now
    sleep 1.5
done
kill -INT $a $b $c
wait
"#;

#[test]
fn captures_by_tcpdump_agree_with_what_was_sent_fragments_included() {
    if !is_there("tcpdump") || !is_there("unshare") || !is_there("ip") {
        return;
    }
    // tcpdump cannot become the user that it wants to be in a namespace of users, so only root can have the network's alone.
    if Command::new("id").arg("-u").output().expect("id starts").stdout != b"0\n" {
        return skipped("captures by tcpdump", "it needs root");
    }
    let folder = scratch("tcpdump");
    let output = Command::new("unshare")
        .args(["-n", "bash", "-c", IN_A_NAMESPACE, "bash"])
        .arg(&folder)
        .arg(env!("CARGO_BIN_EXE_micring"))
        .output()
        .expect("unshare starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let truth: Value = serde_json::from_slice(&std::fs::read(folder.join("truth.json")).unwrap()).unwrap();
    for name in ["heads.pcap", "cooked2.pcap", "cooked.pcap"] {
        let output = Command::new(env!("CARGO_BIN_EXE_micring"))
            .args(["analyze", "--json"])
            .arg(folder.join(name))
            .output()
            .expect("micring starts");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        for mic in 0..3 {
            assert_eq!(seen["packet_stats"]["packets_received"][mic], truth["mics"][mic]["sent"], "{name}, mic {mic}");
            assert_eq!(seen["loss"][format!("mic{mic}")]["lost"], truth["mics"][mic]["withheld"], "{name}, mic {mic}");
            assert_eq!(seen["loss"][format!("mic{mic}")]["truncated"], 0, "{name}, mic {mic}");
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
