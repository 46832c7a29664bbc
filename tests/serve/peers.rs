//! Other people's programs read what the server says: ffmpeg, sox, promtool.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::rig::{Serve, index};

/// Runs a program on bytes.
fn feed(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"));
    child.stdin.take().unwrap().write_all(input).expect("it reads");
    child.wait_with_output().unwrap()
}

/// Every sample of interleaved frames against the index signal, from the position of the first one on.
fn assert_index(samples: &[i32], want_frames: usize) {
    assert!(samples.len() >= 3 * want_frames, "{} samples of {} frames", samples.len(), want_frames);
    let first = i64::from(samples[0] & 0x0fff_ffff);
    for (n, frame) in samples.chunks_exact(3).enumerate() {
        assert_eq!(frame, [0, 1, 2].map(|mic| index(mic, first + n as i64)), "frame {n}");
    }
}

fn samples(bytes: &[u8]) -> Vec<i32> {
    bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn ffmpeg_and_sox_read_ten_seconds_of_the_endless_wav() {
    let serve = Serve::start(&[]);
    let url = format!("http://{}/api/stream_3ch.wav", serve.http);
    let mut child = serve.simulator(&["--duration", "16s"]).stdout(Stdio::null()).spawn().unwrap();
    let raw = ["-f", "s32le", "-c:a", "pcm_s32le", "-"];
    let ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i", &url, "-t", "10"])
        .args(raw)
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed: scripts/test installs it");
    let sox = Command::new("sh")
        .args(["-c", &format!("curl -sN '{url}' | sox --ignore-length -t wav - -t raw -e signed -b 32 - trim 0 10")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs");
    // Both are read at once: one whose own output nobody takes falls behind, and rightly gets silence.
    let peers = [("ffmpeg", ffmpeg), ("sox", sox)]
        .map(|(name, peer)| (name, std::thread::spawn(move || peer.wait_with_output().unwrap())));
    for (name, peer) in peers {
        let output = peer.join().unwrap();
        println!("{name}: {} bytes", output.stdout.len());
        assert_index(&samples(&output.stdout), 10 * 48_000);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let serve = Serve::start(&[]);
    serve.simulate(&["--cycles", "300", "--loss", "0.02"]);
    let metrics = serve.get("/metrics");
    assert!(metrics.head.contains("text/plain; version=0.0.4"), "{}", metrics.head);
    let output = feed("promtool", &["check", "metrics"], &metrics.body);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    let text = String::from_utf8(metrics.body).unwrap();
    let total = |mic: usize| {
        let name = format!("micring_packets_received_total{{mic=\"{mic}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).expect("it is exported")
    };
    let received = &serve.diagnostics()["packet_stats"]["packets_received"];
    (0..3).for_each(|mic| assert_eq!(received[mic], total(mic)));
    assert!(text.contains("micring_loop_delay_seconds_bucket"));
}
