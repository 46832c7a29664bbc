//! Output cycles of free boards.
//!
//! Problem: free boards have no common packet boundary. Each has its own phase, and which of its packets is missing is known
//! at its own time.
//!
//! Idea: cycles are a fixed grid of the nominal packet size on the common axis. A packet fills the one or two cycles that
//! it lies in. A microphone has passed a cycle when a decided packet of it ends beyond; the cycle leaves when all live
//! microphones have passed, or when the hold after the first of them has run out. What comes later fills the history.

use std::collections::VecDeque;

use super::Output;
use super::align::Arrival;
use super::desync::DesyncLog;
use super::history::History;
use super::packet::SAMPLE_BYTES;
use super::spread::Spread;
use super::tail::Sink;
use crate::MICS;
use crate::cycle::Cycle;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Cycles that left and can still be filled: 5 s of them.
const LEFT_KEPT: usize = 512;

/// One cycle of the grid.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    samples: [u32; MICS],
    newest: [Option<Heard>; MICS],
    /// When it was first filled.
    opened: Option<MonoTime>,
    passed: [Option<MonoTime>; MICS],
    left: bool,
    /// Its arrivals count in the spread.
    noted: bool,
    id: Option<u64>,
}

impl Record {
    /// From the first board's filling the cycle to the last's, by arrival, once it is full.
    fn arrivals(&self, frames: u32) -> Option<Span> {
        let full = self.samples.iter().all(|&n| n == frames);
        let [Some(a), Some(b), Some(c)] = self.newest.map(|n| n.map(|n| n.newest_at)) else { return None };
        full.then(|| a.max(b).max(c) - a.min(b).min(c))
    }
}

/// When a chunk came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// Its first datagram.
    pub at: MonoTime,
    pub stamp: KernelTime,
    /// From the stamp until the loop read it; that its place was in doubt for a while is none of the loop's.
    pub delay: Span,
    /// The newest of its datagrams.
    pub newest_at: MonoTime,
    pub newest_stamp: KernelTime,
}

impl Heard {
    pub fn of(a: &Arrival<'_>) -> Heard {
        Heard { at: a.at, stamp: a.stamp, delay: a.delay, newest_at: a.newest_at, newest_stamp: a.newest_stamp }
    }
}

/// The cycles, by their place on the common axis.
#[derive(Debug)]
pub(super) struct Grid {
    /// Where the grid's position 0 stands: free boards may follow a shared one.
    base: FramePos,
    frames: i64,
    /// The longest time between two chunks of a board.
    period: Span,
    /// Open cycles at most; a jump further ahead skips.
    max_open: i64,
    /// The cycle that `records` begins with.
    first: i64,
    records: VecDeque<Record>,
    /// The oldest cycle that has not left.
    next: i64,
    next_id: u64,
    /// Up to where each microphone has filled or passed.
    ends: [i64; MICS],
    spread: Spread,
    desync: DesyncLog,
}

impl Grid {
    /// Cycles of `frames`, after what `history` holds.
    pub fn new(frames: i64, sample_rate: u32, max_open_frames: i64, history: &History) -> Grid {
        Grid {
            base: history.span().end,
            frames,
            period: Span::of_frames(frames, sample_rate),
            max_open: max_open_frames / frames + 1,
            first: 0,
            records: VecDeque::with_capacity(2 * LEFT_KEPT),
            next: 0,
            next_id: history.ids().end,
            ends: [0; MICS],
            spread: Spread::new(),
            desync: DesyncLog::default(),
        }
    }

    /// The longest time between two chunks of a board has changed.
    pub fn pace(&mut self, period: Span) {
        self.period = period;
    }

    /// The wait that the boards' spread asks for.
    pub fn hold(&self) -> Span {
        self.spread.hold()
    }

    /// Frames from the oldest open cycle to the newest sample.
    pub fn open_frames(&self) -> i64 {
        self.ends.iter().max().expect("three microphones") - self.next * self.frames
    }

    /// Up to where a microphone has filled or passed.
    pub fn end(&self, mic: usize) -> i64 {
        self.ends[mic]
    }

    /// Puts decided samples at `pos`. True when most of them came after their cycle had left, or after the microphone had
    /// passed: where a skip was taken back, its positions have been used.
    pub fn fill(
        &mut self,
        mic: usize,
        pos: i64,
        samples: &[u8],
        newest: Heard,
        now: MonoTime,
        sink: &mut Sink<'_>,
    ) -> bool {
        self.fill_from(self.ends[mic], mic, pos, samples, newest, now, sink)
    }

    /// The same of samples of a chunk before which the microphone had passed `free`: what is missing behind that may still come.
    #[expect(clippy::too_many_arguments, reason = "where, what, when, and where to: none belongs to another")]
    pub fn fill_from(
        &mut self,
        free: i64,
        mic: usize,
        pos: i64,
        samples: &[u8],
        newest: Heard,
        now: MonoTime,
        sink: &mut Sink<'_>,
    ) -> bool {
        let end = pos + (samples.len() / SAMPLE_BYTES) as i64;
        self.make_room((end - 1).div_euclid(self.frames), now, sink);
        let mut at = pos.max(self.first * self.frames).max(free);
        let mut late = (at - pos).min(end - pos);
        while at < end {
            let cycle = at / self.frames;
            let until = end.min((cycle + 1) * self.frames);
            let part = &samples[(at - pos) as usize * SAMPLE_BYTES..(until - pos) as usize * SAMPLE_BYTES];
            let frames = self.frames as u32;
            let record = self.record(cycle);
            record.opened.get_or_insert(now);
            record.samples[mic] = (record.samples[mic] + (until - at) as u32).min(frames);
            record.newest[mic] =
                record.newest[mic].filter(|before| before.newest_at > newest.newest_at).or(Some(newest));
            // How far apart the packets came, not when they were understood; what follows a loss comes a period later and
            // says nothing about the path.
            let spread = record.arrivals(frames).filter(|_| !std::mem::replace(&mut record.noted, true));
            let record = *record;
            if let Some(spread) = spread {
                self.spread.note(spread);
            }
            if !record.left || record.id.is_some() {
                sink.history.write(mic, self.base + at, part);
            }
            if record.left {
                late += until - at;
                if let Some(id) = record.id {
                    sink.history.amend(id, mic, record.samples[mic], record.newest[mic].map(|n| n.newest_stamp));
                }
            }
            at = until;
        }
        self.pass(mic, end, now);
        2 * late > end - pos
    }

    /// Lets cycles go until `cycle` is not too far ahead: after a silence of everybody there is nothing between.
    fn make_room(&mut self, cycle: i64, now: MonoTime, sink: &mut Sink<'_>) {
        while cycle - self.next > self.max_open && self.next < self.first + self.records.len() as i64 {
            self.leave(now, sink);
        }
        let empty = cycle - self.next - self.max_open;
        if empty > 0 {
            sink.counters.cycles.skipped += empty as u64;
            self.next += empty;
            self.first = self.next;
            self.records.clear();
        }
    }

    /// A microphone's samples up to `end` are known: there, or lost.
    fn pass(&mut self, mic: usize, end: i64, now: MonoTime) {
        let from = (self.ends[mic] / self.frames).max(self.first);
        for cycle in from..end / self.frames {
            let record = self.record(cycle);
            record.passed[mic].get_or_insert(now);
        }
        self.ends[mic] = self.ends[mic].max(end);
    }

    /// When the oldest open cycle has waited for `hold`.
    pub fn next_timeout(&self, hold: Span) -> Option<MonoTime> {
        self.waits_since(self.next).map(|at| at + hold)
    }

    /// Whether the oldest open cycle lacks a microphone.
    pub fn lacks(&self, mic: usize) -> bool {
        let record = usize::try_from(self.next - self.first).ok().and_then(|i| self.records.get(i));
        record.is_some_and(|record| record.passed[mic].is_none())
    }

    fn lacks_any(&self, mics: [bool; MICS]) -> bool {
        (0..MICS).any(|mic| mics[mic] && self.lacks(mic))
    }

    /// Cycles that all of `live` have passed, or that have waited long enough, leave. What those `in_doubt` have sent is there, and
    /// its place is known as soon as what follows decides: that is waited for.
    pub fn emit_ready(
        &mut self,
        live: [bool; MICS],
        in_doubt: [bool; MICS],
        hold: Span,
        max_open: i64,
        now: MonoTime,
        sink: &mut Sink<'_>,
    ) {
        while let Some(since) = self.waits_since(self.next) {
            let waits = self.lacks_any(live) && (now - since < hold || self.lacks_any(in_doubt));
            if waits && self.open_frames() <= max_open {
                return;
            }
            self.leave(now, sink);
        }
    }

    /// Since the first microphone passed; where all fell silent inside the cycle, since one should have.
    fn waits_since(&self, cycle: i64) -> Option<MonoTime> {
        let record = self.records.get(usize::try_from(cycle - self.first).ok()?)?;
        record.passed.iter().flatten().min().copied().or(record.opened.map(|at| at + self.period))
    }

    fn leave(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        let i = (self.next - self.first) as usize;
        let record = &mut self.records[i];
        record.left = true;
        let cycles = &mut sink.counters.cycles;
        if record.samples == [0; MICS] {
            // All of it is lost, for everybody: no event carries it.
            cycles.skipped += 1;
        } else {
            let cycle = Cycle {
                id: self.next_id,
                first_frame: self.base + self.next * self.frames,
                frames: self.frames as u32,
                mic_samples: record.samples,
                complete: record.samples == [self.frames as u32; MICS],
                arrival: record.newest.map(|n| n.map(|n| n.newest_stamp)),
                emitted: sink.wall,
            };
            record.id = Some(self.next_id);
            self.next_id += 1;
            cycles.emitted += 1;
            // One that is full in part has yet to hear the packet that would have filled it.
            let full = |mic: usize| record.newest[mic].filter(|_| i64::from(record.samples[mic]) == self.frames);
            let full: [Option<Heard>; MICS] = std::array::from_fn(full);
            sink.meter.on_cycle(full.map(|h| h.map(|h| h.at)), now);
            if let [Some(a), Some(b), Some(c)] = full {
                cycles.complete += 1;
                let full = [a, b, c];
                sink.meter.on_complete(full.map(|h| h.stamp), full.map(|h| h.delay), now);
            } else {
                cycles.incomplete += 1;
            }
            sink.history.emit(cycle);
            sink.outputs.push_back(Output::Cycle(cycle));
            if let Some(line) = self.desync.line(&cycle, now) {
                sink.outputs.push_back(Output::Log(line));
            }
        }
        self.next += 1;
        while self.next - self.first > LEFT_KEPT as i64 {
            self.records.pop_front();
            self.first += 1;
        }
    }

    fn record(&mut self, cycle: i64) -> &mut Record {
        let i = usize::try_from(cycle - self.first).expect("only cycles that are kept are touched");
        while self.records.len() <= i {
            self.records.push_back(Record::default());
        }
        &mut self.records[i]
    }
}
