//! Raw PCM through the whole program, over HTTP and over WebSockets, as curl, ffmpeg and Python hear it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::rig::{PATIENCE, Serve, index, python};

/// A listener behind its head.
pub fn listen(serve: &Serve, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serve.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", serve.http).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Connection: close"), "{head}");
    stream
}

fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    stream.read_exact(&mut all).unwrap();
    all
}

/// Each sample is that of its place, or zero; how many are zero. `frames`: of three channels, s32le.
fn zeros(frames: &[u8]) -> u64 {
    let samples: Vec<i32> = frames.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four)).collect();
    let first = samples.iter().position(|&sample| sample != 0).expect("something was heard");
    let offset = i64::from(samples[first] & 0x0fff_ffff) - (first / 3) as i64;
    let mut zeros = 0;
    for (n, frame) in samples.chunks_exact(3).enumerate() {
        for (mic, &sample) in frame.iter().enumerate() {
            if sample == 0 {
                zeros += 1;
            } else {
                assert_eq!(sample, index(mic, n as i64 + offset), "frame {n}, mic {mic}");
            }
        }
    }
    zeros
}

#[test]
fn every_sample_is_at_its_place_and_what_was_lost_is_silence() {
    let serve = Serve::start(&[]);
    let mut stream = listen(&serve, "/api/stream.pcm");
    // Beside the senders: who does not read is overtaken.
    let reader = std::thread::spawn(move || read(&mut stream, 900 * 512 * 12));
    let sent = serve.simulate(&["--cycles", "900", "--loss", "0.03", "--seed", "7"]);
    let withheld: u64 = (0..3).map(|mic| sent["mics"][mic]["withheld"].as_u64().unwrap()).sum();
    assert!(withheld > 20, "the simulator withheld some: {sent}");
    assert_eq!(zeros(&reader.join().unwrap()), withheld * 512);
}

#[test]
fn a_speech_server_hears_sixteen_thousand_hertz() {
    let serve = Serve::start(&[]);
    let mut child = serve.simulator(&["--signal", "tone", "--duration", "6s"]).stdout(Stdio::null()).spawn().unwrap();
    let url = format!("http://{}/api/stream.pcm?format=s16le&rate=16000&channels=1", serve.http);
    // Three seconds, as a program has them that knows only its own input.
    let shell = format!(
        "curl -sN '{url}' | ffmpeg -v error -f s16le -ar 16000 -ac 1 -i - -t 3 -f s16le -c:a pcm_s16le - 2>/dev/null"
    );
    let output = Command::new("sh").args(["-c", &shell]).output().expect("curl and ffmpeg run");
    child.kill().unwrap();
    child.wait().unwrap();
    let heard: Vec<f64> = output.stdout.as_chunks().0.iter().map(|two| f64::from(i16::from_le_bytes(*two))).collect();
    assert_eq!(heard.len(), 48_000);
    // The tone is 440 Hz at a quarter of full scale; the rest is what 16 bits round off, and the filter's edge at the start.
    let heard = &heard[1600..];
    let turn = |n: usize| std::f64::consts::TAU * 440.0 * n as f64 / 16_000.0;
    let part = |wave: fn(f64) -> f64| {
        2.0 / heard.len() as f64 * heard.iter().enumerate().map(|(n, y)| y * wave(turn(n))).sum::<f64>()
    };
    let (a, b) = (part(f64::sin), part(f64::cos));
    assert!((a.hypot(b) - 8192.0).abs() < 1.0, "{}", a.hypot(b));
    let rest = |(n, y): (usize, &f64)| (y - a * turn(n).sin() - b * turn(n).cos()).abs();
    let worst = heard.iter().enumerate().map(rest).fold(0.0, f64::max);
    assert!(worst < 2.0, "of 16 bits: {worst}");
}

#[test]
fn a_websocket_of_somebody_elses_hears_the_same() {
    let serve = Serve::start(&[]);
    let script = "
import asyncio, sys, websockets
async def main(url, wanted):
    got = 0
    async with websockets.connect(url, close_timeout=None, ping_interval=None) as socket:
        print('open', file=sys.stderr, flush=True)
        pong = await socket.ping()
        await pong
        while got < wanted:
            message = await socket.recv()
            sys.stdout.buffer.write(message[:wanted - got])
            got += len(message)
    assert socket.close_code == 1000, socket.close_code
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
";
    let url = format!("ws://{}/api/arrays/default/stream.pcm", serve.http);
    let bytes = 300 * 512 * 12;
    let mut child = Command::new(python())
        .args(["-c", script, &url, &bytes.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut said = [0; 5];
    let mut stderr = child.stderr.take().unwrap();
    let opened = stderr.read_exact(&mut said).is_ok() && &said == b"open\n";
    let mut rest = String::from_utf8_lossy(&said).into_owned();
    if !opened {
        stderr.read_to_string(&mut rest).unwrap();
        panic!("Python's websockets (scripts/test installs it): {rest}");
    }
    let mut sender = serve.simulator(&["--cycles", "400"]).stdout(Stdio::null()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(output.status.success(), "{rest}");
    assert_eq!((output.stdout.len(), zeros(&output.stdout)), (bytes, 0));
    sender.wait().unwrap();
}
