//! RTP out: the cycles of an array as packets, in a bounded queue before the ring.
//!
//! Packets are of one length, made from the history by position; only before a gap there is a shorter one. Nobody waits for a receiver: what
//! finds no room is dropped and counted, and where ICMP says that nobody listens, sending rests for a second.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use super::words;
use crate::array::ArrayId;
use crate::cycle::Cycle;
use crate::engine::history::History;
use crate::out::rtp::{Packets, RtpSpec};
use crate::out::sdp::Session;
use crate::sys::ring::{OutletId, Ring};
use crate::time::{FramePos, MonoTime, Span};

/// Packets that may wait: three cycles of 64 channels, or two thirds of a second of three.
const QUEUE: usize = 256;
/// After a refusal.
const PAUSE: Span = Span::from_secs(1);

/// Since start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub(super) struct RtpFigures {
    /// Packets and bytes (RTP headers included) that the kernel took.
    pub packets: u64,
    pub bytes: u64,
    /// Sends that failed since nobody listens there (ICMP), and for other reasons.
    pub refused: u64,
    pub errors: u64,
    /// Packets that were made and not sent: no room, or a refusal before them.
    pub dropped: u64,
    /// Frames that came while sending rested.
    pub frames_at_rest: u64,
}

/// One destination, and what is sent there.
pub(super) struct RtpOut {
    pub spec: RtpSpec,
    /// Whose audio; `None` while there is no array with this destination.
    pub array: Option<ArrayId>,
    outlet: OutletId,
    stream: Option<Packets>,
    /// The first frame that is in no packet yet; `None` before the first, and behind a rest.
    next: Option<FramePos>,
    /// Behind the newest cycle.
    end: FramePos,
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    samples: Vec<[u8; 4]>,
    rests_until: Option<MonoTime>,
    /// No packet was sent since.
    rested: bool,
    /// It was said that sending fails.
    failing: bool,
    pub figures: RtpFigures,
    line: Option<String>,
}

impl RtpOut {
    pub fn new(spec: RtpSpec, outlet: OutletId) -> RtpOut {
        RtpOut {
            spec,
            array: None,
            outlet,
            stream: None,
            next: None,
            end: FramePos(0),
            queue: VecDeque::with_capacity(QUEUE),
            spare: Vec::with_capacity(QUEUE),
            samples: Vec::new(),
            rests_until: None,
            rested: false,
            failing: false,
            figures: RtpFigures::default(),
            line: None,
        }
    }

    /// An array of so many channels is sent from now on: a stream of its own.
    pub fn attach(&mut self, array: ArrayId, channels: usize) {
        let random = RandomState::new();
        let (ssrc, sequence) = (random.hash_one(0) as u32, random.hash_one(1) as u16);
        self.stream = Some(Packets::new(self.spec.encoding, channels, ssrc, sequence));
        (self.array, self.next) = (Some(array), None);
    }

    /// The array is gone.
    pub fn detach(&mut self) {
        (self.array, self.stream, self.next) = (None, None, None);
    }

    /// A cycle left; the history holds it.
    pub fn cycle(&mut self, cycle: &Cycle, history: &History, now: MonoTime) {
        if self.rests_until.is_some_and(|until| now < until) {
            self.figures.frames_at_rest += u64::from(cycle.frames);
            self.next = None;
            return;
        }
        if self.next.is_some() && self.end != cycle.first_frame {
            // Behind it frames are missing, and that is a jump of the timestamp.
            self.make(history, 1);
            self.next = None;
        }
        self.next.get_or_insert(cycle.first_frame);
        self.end = cycle.first_frame + i64::from(cycle.frames);
        let whole = self.stream.as_ref().map_or(1, Packets::frames_a_packet);
        self.make(history, whole);
    }

    /// Packets of what there is, while it is so many frames at least.
    fn make(&mut self, history: &History, least: usize) {
        let (Some(stream), Some(mut next)) = (&mut self.stream, self.next) else { return };
        while self.end - next >= least as i64 {
            let frames = ((self.end - next) as usize).min(stream.frames_a_packet());
            self.samples.clear();
            if history.append_to(&mut self.samples, next, frames).is_some() {
                if self.queue.len() == QUEUE
                    && let Some(oldest) = self.queue.pop_front()
                {
                    self.figures.dropped += 1;
                    self.spare.push(oldest);
                }
                let mut packet = self.spare.pop().unwrap_or_default();
                stream.packet(next, &self.samples, &mut packet);
                self.queue.push_back(packet);
            }
            next = next + frames as i64;
        }
        self.next = Some(next);
    }

    /// At the end of a turn: as many as the ring takes.
    pub fn submit(&mut self, ring: &mut Ring) {
        if !self.queue.is_empty() && std::mem::take(&mut self.rested) {
            ring.forget_refusal(self.outlet);
        }
        while let Some(packet) = self.queue.pop_front() {
            if let Err(packet) = ring.send_packet(self.outlet, packet) {
                self.queue.push_front(packet);
                return;
            }
        }
    }

    pub fn sent(&mut self, packet: Vec<u8>, result: Result<usize, i32>, now: MonoTime) {
        self.spare.push(packet);
        match result {
            Ok(bytes) => {
                self.figures.packets += 1;
                self.figures.bytes += bytes as u64;
                // The first packets behind a rest are taken, whoever listens.
                if self.failing && self.rests_until.is_none_or(|until| now >= until + PAUSE) {
                    self.failing = false;
                    self.line = Some(format!("RTP to {} goes on", self.spec.to));
                }
            }
            // The socket is full.
            Err(libc::EAGAIN | libc::ENOBUFS) => self.figures.dropped += 1,
            Err(errno) => {
                let refused = errno == libc::ECONNREFUSED;
                *(if refused { &mut self.figures.refused } else { &mut self.figures.errors }) += 1;
                (self.rests_until, self.rested) = (Some(now + PAUSE), true);
                self.figures.dropped += self.queue.len() as u64;
                self.spare.extend(self.queue.drain(..));
                if !std::mem::replace(&mut self.failing, true) {
                    let why = if refused { "nobody listens there".into() } else { words(errno) };
                    self.line = Some(format!("RTP to {}: {why}; trying again every second", self.spec.to));
                }
            }
        }
    }

    /// What `/api/arrays` says of it.
    pub fn figures_as_json(&self) -> serde_json::Value {
        serde_json::json!({ "to": self.spec.to.to_string(), "format": self.spec.encoding.name(), "sent": self.figures })
    }

    /// A line for people.
    pub fn take_line(&mut self) -> Option<String> {
        self.line.take()
    }

    /// What a receiver has to know.
    pub fn sdp(&self, name: &str, run: u64, rate: u32, channels: usize) -> Option<String> {
        let frames_a_packet = self.stream.as_ref()?.frames_a_packet();
        let RtpSpec { to, ttl, encoding } = self.spec;
        Some(Session { name, id: run, to, ttl, encoding, rate, channels, frames_a_packet }.text())
    }
}
