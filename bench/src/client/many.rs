//! Hundreds of subscribers in one thread: epoll, and recv with MSG_TRUNC, which counts bytes and copies none, so that the
//! reader is never what limits.
//!
//! All subscribers get the same bytes from the same event on, since they subscribed before the first packet. One more, the
//! probe, reads what it gets: it tells at how many bytes each event ends and when its cycle was complete. So a count of
//! bytes at a time says which events a subscriber holds by then.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{completed_us, subscribe};
use crate::os::{self, Epoll};
use crate::stats::percentile;

/// Connections that have asked and been answered.
pub struct Many {
    probe: TcpStream,
    streams: Vec<TcpStream>,
}

/// How `subscribers` fared.
#[derive(Clone, Debug)]
pub struct Fared {
    /// Events that the probe saw.
    pub events: usize,
    /// Subscribers that have every event.
    pub whole: usize,
    pub subscribers: usize,
    pub bytes: u64,
    /// Completing stamp until a subscriber held the event, over all of both, in microseconds.
    pub p50_us: f64,
    pub p99_us: f64,
    /// The same for the last subscriber of each event.
    pub last_p50_us: f64,
    pub last_p99_us: f64,
    /// Share of its core that the client used.
    pub client_load: f64,
}

impl Many {
    /// Before the first packet.
    pub fn connect(address: SocketAddr, subscribers: usize) -> Result<Many> {
        let streams = (0..subscribers).map(|_| subscribe(address)).collect::<Result<Vec<_>>>()?;
        let probe = subscribe(address)?;
        for stream in streams.iter().chain([&probe]) {
            stream.set_nonblocking(true)?;
        }
        Ok(Many { probe, streams })
    }

    /// Reads until `done` and nothing more comes, or `seconds` have passed.
    pub fn read(mut self, seconds: f64, done: &AtomicBool) -> Result<Fared> {
        let epoll = Epoll::new()?;
        for (index, stream) in self.streams.iter().chain([&self.probe]).enumerate() {
            epoll.add(stream.as_raw_fd(), index as u64, libc::EPOLLIN)?;
        }
        let count = self.streams.len();
        let mut totals = vec![0_u64; count];
        let mut closed = vec![false; count];
        // Subscriber, bytes so far, when.
        let mut reads: Vec<(u32, u64, i64)> = Vec::with_capacity(((seconds * 110.0) as usize + 50) * count.max(1));
        // Bytes after which an event is whole, and when its cycle was complete.
        let mut ends: Vec<(u64, i64)> = Vec::new();
        let mut probe = Probe::default();
        let mut ready = Vec::with_capacity(256);
        let start = os::mono_ns();
        let cpu = os::thread_cpu_s();
        let mut quiet = 0;
        while ((os::mono_ns() - start) as f64) < seconds * 1e9 && quiet < 3 {
            epoll.wait(&mut ready, 100);
            quiet = if ready.is_empty() && done.load(Ordering::Relaxed) { quiet + 1 } else { 0 };
            for &(token, _) in &ready {
                let index = token as usize;
                if index == count {
                    probe.read(&mut self.probe, &mut ends);
                    continue;
                }
                match os::discard(self.streams[index].as_raw_fd()) {
                    Ok(0) => {
                        closed[index] = true;
                        epoll.change(self.streams[index].as_raw_fd(), token, 0)?;
                    }
                    Ok(more) => {
                        totals[index] += more as u64;
                        reads.push((index as u32, totals[index], os::wall_ns()));
                    }
                    Err(_) => {}
                }
            }
        }
        let wall = (os::mono_ns() - start) as f64 / 1e9;
        let client_load = (os::thread_cpu_s() - cpu) / wall;
        Ok(judge(&totals, &reads, &ends, client_load))
    }
}

/// Which subscriber held which event when.
fn judge(totals: &[u64], reads: &[(u32, u64, i64)], ends: &[(u64, i64)], client_load: f64) -> Fared {
    let mut next = vec![0; totals.len()];
    let mut delays = Vec::with_capacity(totals.len() * ends.len());
    let mut last = vec![0.0_f64; ends.len()];
    for &(index, total, at_ns) in reads {
        let next = &mut next[index as usize];
        while let Some(&(end, completed_us)) = ends.get(*next)
            && total >= end
        {
            let delay = at_ns as f64 / 1e3 - completed_us as f64;
            delays.push(delay);
            last[*next] = last[*next].max(delay);
            *next += 1;
        }
    }
    delays.sort_by(f64::total_cmp);
    last.sort_by(f64::total_cmp);
    Fared {
        events: ends.len(),
        whole: next.iter().filter(|&&events| events == ends.len()).count(),
        subscribers: totals.len(),
        bytes: totals.iter().sum(),
        p50_us: percentile(&delays, 50.0),
        p99_us: percentile(&delays, 99.0),
        last_p50_us: percentile(&last, 50.0),
        last_p99_us: percentile(&last, 99.0),
        client_load,
    }
}

#[derive(Default)]
struct Probe {
    event: Vec<u8>,
    total: u64,
}

impl Probe {
    fn read(&mut self, stream: &mut TcpStream, ends: &mut Vec<(u64, i64)>) {
        let mut piece = [0; 1 << 16];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            for &byte in &piece[..count] {
                self.total += 1;
                self.event.push(byte);
                if byte == b'\n' && self.event.ends_with(b"\n\n") {
                    if let Some(completed) = completed_us(&self.event) {
                        ends.push((self.total, completed));
                    }
                    self.event.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_holds_an_event_once_its_bytes_are_in() {
        let ends = [(100, 1_000), (200, 2_000)];
        let reads = [(0, 100, 1_500_000), (1, 50, 1_600_000), (1, 200, 2_700_000), (0, 199, 2_100_000)];
        let fared = judge(&[199, 200], &reads, &ends, 0.0);
        assert_eq!((fared.events, fared.whole, fared.bytes), (2, 1, 399));
        // Event 0: 500 and 1700 us; event 1: 700 us at the second subscriber only.
        assert_eq!((fared.p50_us, fared.p99_us), (700.0, 1_700.0));
        assert_eq!((fared.last_p50_us, fared.last_p99_us), (700.0, 1_700.0));
    }
}
