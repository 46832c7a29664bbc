//! A sender whose packets carry its time: how long it kept them is told beside what the network added.

use std::net::UdpSocket;
use std::time::Duration;

use super::serve::Serve;

const FRAMES: u32 = 240;
const PACKETS: u32 = 6_000;

/// Eight packets leave together, when the last of them was captured: the first is kept for 35 ms, the last not at all. What it tells
/// of itself is a minute's worth or two of stamps, so that nothing hangs on how fast this machine sends them.
fn bursts(port: u16) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    for number in 0..PACKETS {
        let last_of_burst = number | 7;
        let micros = (last_of_burst + 1) * FRAMES * 125 / 6;
        let mut bytes = Vec::new();
        [number, micros, 0].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        (0..FRAMES).for_each(|frame| bytes.extend(((1 << 28) | (number * FRAMES + frame)).to_le_bytes()));
        socket.send_to(&bytes, ("127.0.0.1", port)).expect("sent");
        if number % 8 == 7 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn how_long_the_sender_kept_its_packets_is_told_or_why_it_is_not() {
    let serve = Serve::start(&[
        "--format",
        "0=raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us",
        "--format",
        "1=rtp:L24/48000/1",
        "--format",
        "2=vban:*1",
    ]);
    bursts(serve.ports[0]);
    let figures = serve.json("/api/diagnostics_sync");
    let told = &figures["sender_time"]["mic0"]["sender_us"];
    println!("{}", figures["sender_time"]);
    // 0, 5, ... 35 ms, an eighth of the packets each; in buckets since start, so between neighbours.
    let p50 = told["p50"].as_f64().expect("known");
    assert!((10_000.0..=20_000.0).contains(&p50), "{told}");
    let most = told["max"].as_f64().expect("known");
    assert!((34_900.0..35_100.0).contains(&most), "{told}");
    for (mic, reason) in [("mic1", "counts samples"), ("mic2", "carry no time")] {
        for half in ["sender_us", "network_us"] {
            let told = &figures["sender_time"][mic][half];
            assert!(told["p50"].is_null() && told["reason"].as_str().is_some_and(|why| why.contains(reason)), "{told}");
        }
    }
}
