//! `doctor --listen` beside senders of other formats than plain samples.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use micring::sim::encode::{Head, encode};
use micring::wire::Format;
use serde_json::Value;

/// A sender: what it sends, its channels, frames a packet and a second.
const SENDERS: [(&str, u8, u64, u32); 3] =
    [("vban", 2, 128, 48_000), ("rtp:L16/44100/2,pt=10", 2, 441, 44_100), ("audiovision", 3, 512, 48_000)];
/// Arduino's buffer.
const PIECE: usize = 1_460;

fn send(port: u16, (format, channels, frames, rate): (&str, u8, u64, u32), until: Instant) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    let (format, begin): (Format, _) = (format.parse().expect("a format"), Instant::now());
    let mut bytes = Vec::new();
    for number in 0.. {
        let position = number * frames;
        let due = begin + Duration::from_secs_f64((position + frames) as f64 / f64::from(rate));
        if due > until {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let word = |n: u64| ((position * u64::from(channels) + n) as u32).wrapping_mul(0x9e37_79b9) as i32 >> 6 & !0xff;
        let samples: Vec<i32> = (0..frames * u64::from(channels)).map(word).collect();
        let head = Head { number, position, micros: 0, rate, channels, stream: 1 };
        encode(&format, &head, &samples, &mut bytes).expect("it fits");
        for piece in bytes.chunks(PIECE.max(if format == Format::Audiovision { 0 } else { bytes.len() })) {
            socket.send_to(piece, ("127.0.0.1", port)).expect("sent");
        }
    }
}

#[test]
fn the_doctor_tells_vban_rtp_and_audiovision_and_the_options_for_them() {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_micring"))
        .args(["doctor", "--listen", "6", "--mic-ports", "0,0,0", "--udp-bind", "127.0.0.1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(doctor.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
    let list = line.strip_prefix("listening on ").and_then(|rest| rest.split(" for ").next()).expect("it says where");
    let port = |address: &str| address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let ports: Vec<u16> = list.split(", ").map(port).collect();
    let until = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        for (port, sender) in ports.iter().zip(SENDERS) {
            scope.spawn(move || send(*port, sender, until));
        }
    });
    let output = doctor.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = |mic: usize, key: &str| report["ports"][mic][key].clone();
    for (mic, (format, channels)) in
        [("vban:*2@48000", 2), ("rtp:L16/44100/2,pt=10", 2), ("audiovision", 3)].into_iter().enumerate()
    {
        assert_eq!((told(mic, "format"), told(mic, "channels")), (format.into(), channels.into()), "{report}");
        assert!(report["ports"][mic]["senders"][0]["datagrams"].as_u64().is_some_and(|n| n > 100), "{report}");
    }
    let serve = report["serve"].as_str().expect("a command");
    for (mic, format) in [(0, "vban"), (1, "rtp:L16/44100/2"), (2, "audiovision")] {
        assert!(serve.contains(&format!(" --format {mic}={format}")), "{serve}");
    }
}
