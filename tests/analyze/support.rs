//! Recordings by the simulator, and `micring analyze` run on them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};

use micring::capture::Writer;
use micring::sim::{Delay, Loss, Network, Packet, Rate, Scenario, Sim, Truth};
use micring::time::{KernelTime, Span};
use serde_json::Value;

pub const SEED: u64 = 20_261_123;

pub fn sockets() -> [SocketAddr; 3] {
    [30_001, 30_002, 30_003].map(|port| SocketAddr::new(IpAddr::from([192, 168, 4, 1]), port))
}

pub fn scenario(seconds: i64) -> Scenario {
    println!("seed {SEED}");
    Scenario {
        seed: SEED,
        rates: vec![Rate::Constant(20.0)],
        network: Network {
            delay: Delay::Exp(Span::from_millis(1)),
            loss: Loss::Independent(0.02),
            ..Network::default()
        },
        ..Scenario::one_board(Span::from_secs(seconds))
    }
}

/// The recording that `serve --record` would have made, and what really happened.
pub fn recording(scenario: &Scenario, snap: Option<u32>) -> (Vec<u8>, Truth) {
    let writer = Writer::new(snap);
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    let mut sim = Sim::new(scenario);
    let mut payload = Vec::new();
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let to = sockets()[packet.mic];
        writer.datagram(&mut file, packet.mic, packet.stamp, sim.sender(&packet), to, &payload, payload.len());
    }
    (file, sim.truth().clone())
}

/// The same as tcpdump would have written it beside the server: classic pcap with nanoseconds, Ethernet, and 1500 bytes to a frame, so that each
/// datagram is two fragments, the first 130 us before the second.
pub fn tcpdump(scenario: &Scenario) -> Vec<u8> {
    let mut file = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
    let mut frames: Vec<(KernelTime, Vec<u8>)> = Vec::new();
    let mut sim = Sim::new(scenario);
    let mut payload = Vec::new();
    let mut id = 0u16;
    while let Some(packet) = sim.next() {
        sim.payload(&packet, &mut payload);
        let from = sim.sender(&packet);
        let IpAddr::V4(ip) = from.ip() else { panic!("the simulator has IPv4 senders") };
        let mut datagram =
            [from.port(), 30_001 + packet.mic as u16, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
        datagram.extend(&payload);
        id = id.wrapping_add(1);
        for (offset, part) in datagram.chunks(1480).enumerate().map(|(i, part)| (i * 1480, part)) {
            let last = offset + part.len() == datagram.len();
            let mut frame = vec![0u8; 12];
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((part.len() as u16 + 20).to_be_bytes());
            frame.extend(id.to_be_bytes());
            frame.extend(((offset / 8) as u16 | if last { 0 } else { 0x2000 }).to_be_bytes());
            frame.extend([64, 17, 0, 0]);
            frame.extend(ip.octets());
            frame.extend([192, 168, 4, 1]);
            frame.extend(part);
            let stamp = if last { packet.stamp } else { packet.stamp - Span::from_micros(130) };
            frames.push((stamp, frame));
        }
    }
    frames.sort_by_key(|(stamp, _)| *stamp);
    for (stamp, frame) in frames {
        let ns = stamp.as_nanos();
        let length = frame.len() as u32;
        let header = [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, length, length];
        file.extend(header.map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    file
}

pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("micring-analyze-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Scratch(path)
    }
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("a scratch file");
        path.to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn analyze(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_micring")).arg("analyze").args(args).output().expect("micring starts")
}

pub fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// The scenario's recording where packets are held up: by how long, or `None` of one that never comes.
pub fn altered(scenario: &Scenario, held_up: impl Fn(&Packet) -> Option<Span>) -> Vec<u8> {
    let writer = Writer::new(Some(64));
    let mut file = Vec::new();
    writer.begin(&mut file, sockets(), "micring", "a test");
    let (mut sim, mut payload, mut packets) = (Sim::new(scenario), Vec::new(), Vec::new());
    while let Some(packet) = sim.next() {
        let Some(held_up) = held_up(&packet) else { continue };
        sim.payload(&packet, &mut payload);
        packets.push((packet.stamp + held_up, packet.mic, sim.sender(&packet), payload.clone()));
    }
    packets.sort_by_key(|(stamp, mic, ..)| (*stamp, *mic));
    for (stamp, mic, from, payload) in packets {
        writer.datagram(&mut file, mic, stamp, from, sockets()[mic], &payload, payload.len());
    }
    file
}

pub fn assert_counts(seen: &Value, truth: &Truth) {
    for (mic, truth) in truth.mics.iter().enumerate() {
        assert_eq!(seen["packet_stats"]["packets_received"][mic], truth.delivered(), "mic {mic}");
        assert_eq!(seen["loss"][format!("mic{mic}")]["lost"], truth.withheld(), "mic {mic}");
    }
}
