//! The clients, on the load's core: one that reads every event, and one that holds hundreds of subscriptions.

pub mod many;
pub mod one;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Asks for the stream of cycles and reads the answer's head and the first line of the stream (`retry: 1000`): nothing
/// but events comes after.
pub fn subscribe(address: SocketAddr) -> Result<TcpStream> {
    subscribe_to(address, "/api/stream_3ch")
}

/// The same of another stream of cycles.
pub fn subscribe_to(address: SocketAddr, target: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("a subscriber's connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // In one piece: the simplest servers answer whatever comes first.
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    // A comment may stand behind it.
    let started = |seen: &[u8]| {
        let retry = seen.windows(12).position(|window| window == b"retry: 1000\n");
        retry.is_some_and(|at| seen[at + 11..].windows(2).any(|window| window == b"\n\n"))
    };
    while !started(&seen) {
        let count = stream.read(&mut piece).context("the head of a stream")?;
        anyhow::ensure!(count > 0, "the stream ends at once: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..count]);
        anyhow::ensure!(seen.len() < 4096, "no stream: {}", String::from_utf8_lossy(&seen));
    }
    Ok(stream)
}

/// The newest `arrival_us` in an event: when the packet that completed the cycle arrived, in microseconds.
pub fn completed_us(event: &[u8]) -> Option<i64> {
    const KEY: &[u8] = b"\"arrival_us\": [";
    let tail = &event[event.len().saturating_sub(200)..];
    let at = tail.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let end = tail[at..].iter().position(|&byte| byte == b']')?;
    let list = std::str::from_utf8(&tail[at..at + end]).ok()?;
    list.split(',').filter_map(|number| number.trim().parse().ok()).max()
}
