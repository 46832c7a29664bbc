//! Frames as a network card sees them, and captures of them: from the RFCs, by hand.

use std::io::Write;

/// Nanoseconds, and a frame.
pub type Stamped = (i64, Vec<u8>);

pub const START: i64 = 1_795_345_500_000_000_000;
const FRAMES: i64 = 360;

/// RFC 791 around RFC 768: a datagram of mic `mic` with `FRAMES` samples, in an IPv4 packet.
fn packet(mic: usize, cycle: i64) -> Vec<u8> {
    let samples = (0..FRAMES).flat_map(|i| ((mic as i32 + 1) << 28 | (cycle * FRAMES + i) as i32).to_le_bytes());
    let payload: Vec<u8> = samples.collect();
    let mut udp =
        [40_000 + mic as u16, 30_001 + mic as u16, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    ipv4(17, cycle as u16, 0, &udp)
}

/// `place`: flags and offset.
pub fn ipv4(protocol: u8, id: u16, place: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend([payload.len() as u16 + 20, id, place].map(u16::to_be_bytes).concat());
    packet.extend([64, protocol, 0, 0, 192, 168, 1, 50, 192, 168, 1, 10]);
    packet.extend(payload);
    packet
}

/// The packets of one board, in order.
pub fn session(cycles: i64) -> Vec<Stamped> {
    let at = |cycle: i64, mic: usize| START + cycle * FRAMES * 1_000_000_000 / 48_000 + mic as i64 * 100_000;
    (0..cycles).flat_map(|cycle| (0..3).map(move |mic| (at(cycle, mic), packet(mic, cycle)))).collect()
}

/// A classic pcap with nanoseconds.
pub fn pcap(link: u32, frames: &[Stamped]) -> Vec<u8> {
    let mut file = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, link].map(u32::to_le_bytes).concat();
    for (ns, frame) in frames {
        let length = frame.len() as u32;
        let header = [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, length, length];
        file.extend(header.map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    file
}

pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2u8; 6][..], &[4; 6], &ether_type.to_be_bytes(), payload].concat()
}

pub fn udp(to: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = [50_000, to, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    udp
}

/// As gzip(1) packs it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("gzip starts");
    let (mut input, bytes) = (child.stdin.take().expect("it is piped"), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes).expect("gzip reads all"));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("all was written");
    output.stdout
}
