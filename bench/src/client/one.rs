//! One subscriber that reads: when it held each whole event, and whether the samples are right.

use std::io::Read;
use std::net::TcpStream;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micring::MICS;

use super::completed_us;
use crate::load::index_sample;
use crate::os;

/// What the subscriber saw.
#[derive(Default, Debug)]
pub struct Seen {
    /// Kernel stamp of the packet that completed the cycle until the event was here, in microseconds.
    pub delays_us: Vec<f64>,
    pub events: u64,
    /// Frames checked, and those in which a channel stood at another position than the first.
    pub frames: u64,
    pub misaligned: u64,
}

/// Reads until the stream ends, or nothing comes for the socket's read timeout. `check`: decodes every event.
pub fn read(stream: &mut TcpStream, check: bool) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    let mut scanned: usize = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return Ok(seen),
            Ok(count) => filled += count,
        }
        let now = os::wall_ns();
        let mut start = 0;
        while let Some(end) = find_end(&buffer[scanned.max(start)..filled]).map(|at| at + scanned.max(start)) {
            let event = &buffer[start..end];
            if let Some(completed) = completed_us(event) {
                seen.events += 1;
                seen.delays_us.push((now / 1000 - completed) as f64);
                if check {
                    verify(event, &mut seen);
                }
            }
            start = end;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        scanned = filled.saturating_sub(1);
        anyhow::ensure!(filled < buffer.len(), "an event without an end");
    }
}

/// The end of the first event: after an empty line.
fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|two| two == b"\n\n").map(|at| at + 2)
}

fn verify(event: &[u8], seen: &mut Seen) {
    const KEY: &[u8] = b"\"data\": \"";
    let data = event.windows(KEY.len()).position(|window| window == KEY).and_then(|at| {
        let rest = &event[at + KEY.len()..];
        STANDARD.decode(&rest[..rest.iter().position(|&byte| byte == b'"')?]).ok()
    });
    let Some(data) = data else {
        seen.misaligned += 1;
        return;
    };
    for frame in data.chunks_exact(4 * MICS) {
        let sample = |mic: usize| i32::from_le_bytes(frame[mic * 4..mic * 4 + 4].try_into().expect("4 bytes"));
        let position = i64::from(sample(0) & 0x0fff_ffff);
        seen.frames += 1;
        seen.misaligned += u64::from((0..MICS).any(|mic| sample(mic) != index_sample(mic, position)));
    }
}
