//! `micring serve`, as a child, and what it tells over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

pub struct Serve {
    child: Child,
    http: String,
    /// UDP ports of its sources.
    pub ports: Vec<u16>,
}

impl Serve {
    /// Of three sources.
    pub fn start(options: &[&str]) -> Serve {
        Serve::start_on("0,0,0", options)
    }

    pub fn start_on(ports: &str, options: &[&str]) -> Serve {
        let mut child = Command::new(env!("CARGO_BIN_EXE_micring"))
            .args(["serve", "--mic-ports", ports, "--udp-bind", "127.0.0.1", "--http", "127.0.0.1:0", "--core", "none"])
            .args(["--history", "30s"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let port = |address: &Value| {
            let address = address.as_str().expect("text");
            address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
        };
        let ports = ready["mics"].as_array().expect("a list").iter().map(port).collect();
        Serve { child, http: ready["http"].as_str().expect("text").to_owned(), ports }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.http).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{path}: {}",
            String::from_utf8_lossy(&answer[..60.min(answer.len())])
        );
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a header") + 4;
        answer.split_off(body)
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path)).expect("JSON")
    }

    /// All frames of the history: a sample of each channel.
    pub fn history(&self) -> Vec<Vec<i32>> {
        let wav = self.get("/api/download_buffer?seconds=30");
        let channels = usize::from(u16::from_le_bytes([wav[22], wav[23]]));
        let data = wav.windows(4).position(|word| word == b"data").expect("samples") + 8;
        let samples: Vec<i32> = wav[data..].as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
        samples.chunks_exact(channels).map(<[i32]>::to_vec).collect()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
