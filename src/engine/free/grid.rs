//! Output cycles of free boards.
//!
//! Problem: free boards have no common packet boundary. Each has its own phase, and which of its packets is missing is known
//! at its own time.
//!
//! Idea: cycles are a fixed grid of the nominal packet size on the common axis. A packet fills the one or two cycles that
//! it lies in. A microphone has passed a cycle when a decided packet of it ends beyond; the cycle leaves when all live
//! microphones have passed, or when the hold after the first of them has run out. What comes later fills the history.

use crate::engine::free::tuning::grid::SPARE;
use std::collections::VecDeque;

use super::spread::Spread;
use crate::array::MicSet;
use crate::engine::figures::desync::DesyncLog;
use crate::engine::history::{Head, History, Part};
use crate::engine::shared::align::Arrival;
use crate::engine::shared::tail::Sink;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// One cycle of the grid.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// When it was first filled.
    opened: Option<MonoTime>,
    left: bool,
    /// Its arrivals count in the spread.
    noted: bool,
    id: Option<u64>,
}

/// What a cycle has of one microphone.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    samples: u32,
    newest: Option<Heard>,
    passed: Option<MonoTime>,
}

/// When a chunk came.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Heard {
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
pub(in crate::engine) struct Grid {
    /// Where the grid's position 0 stands: free boards may follow a shared one.
    base: FramePos,
    frames: i64,
    /// The longest time between two chunks of a board.
    period: Span,
    /// Open cycles at most; a jump further ahead skips.
    max_open: i64,
    /// Cycles that left and can still be filled: as far back as the history reaches.
    left_kept: i64,
    /// The cycle that `records` begins with.
    first: i64,
    records: VecDeque<Record>,
    /// Of each of them, a cell a microphone.
    cells: VecDeque<Cell>,
    /// The oldest cycle that has not left.
    next: i64,
    /// Up to where each microphone has filled or passed.
    ends: Vec<i64>,
    spread: Spread,
    desync: DesyncLog,
}

impl Grid {
    /// Cycles of `frames`, after what `history` holds.
    pub fn new(frames: i64, sample_rate: u32, max_open_frames: i64, history: &History) -> Grid {
        let mics = history.layout().sources();
        let left_kept = history.keeps() / frames + 1;
        Grid {
            base: history.span().end,
            frames,
            period: Span::of_frames(frames, sample_rate),
            max_open: max_open_frames / frames + 1,
            left_kept,
            first: 0,
            records: VecDeque::with_capacity((left_kept + max_open_frames / frames) as usize + SPARE),
            cells: VecDeque::with_capacity(((left_kept + max_open_frames / frames) as usize + SPARE) * mics),
            next: 0,
            ends: vec![0; mics],
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
        self.ends.iter().max().expect("there are microphones") - self.next * self.frames
    }

    /// The same among all positions: where the history has it.
    pub fn end_in_history(&self, mic: usize) -> FramePos {
        self.base + self.ends[mic]
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
        let frame_bytes = sink.history.frame_bytes(mic);
        let end = pos + (samples.len() / frame_bytes) as i64;
        self.make_room((end - 1).div_euclid(self.frames), now, sink);
        let mut at = pos.max(self.first * self.frames).max(free);
        // What was captured before the axis begins has no cycle that it could be late for.
        let before = (-pos).clamp(0, end - pos);
        let mut late = (at - pos).min(end - pos) - before;
        while at < end {
            let cycle = at / self.frames;
            let until = end.min((cycle + 1) * self.frames);
            let part = &samples[(at - pos) as usize * frame_bytes..(until - pos) as usize * frame_bytes];
            let frames = self.frames as u32;
            let i = self.reach(cycle);
            self.records[i].opened.get_or_insert(now);
            let cell = self.cell(i, mic);
            cell.samples = (cell.samples + (until - at) as u32).min(frames);
            cell.newest = cell.newest.filter(|before| before.newest_at > newest.newest_at).or(Some(newest));
            let cell = *cell;
            // How far apart the packets came, not when they were understood; what follows a loss comes a period later and
            // says nothing about the path.
            if !self.records[i].noted
                && let Some(spread) = self.arrivals(i)
            {
                self.records[i].noted = true;
                self.spread.note(spread);
            }
            let record = self.records[i];
            // A cycle that was lost for everybody has no event, and its place in the history all the same.
            sink.history.write(mic, self.base + at, part);
            if record.left {
                late += until - at;
                if let Some(id) = record.id {
                    sink.history.amend(id, mic, cell.samples, cell.newest.map(|n| n.newest_stamp));
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
            self.cells.clear();
        }
    }

    /// A microphone's samples up to `end` are known: there, or lost.
    fn pass(&mut self, mic: usize, end: i64, now: MonoTime) {
        let from = (self.ends[mic] / self.frames).max(self.first);
        for cycle in from..end / self.frames {
            let i = self.reach(cycle);
            self.cell(i, mic).passed.get_or_insert(now);
        }
        self.ends[mic] = self.ends[mic].max(end);
    }

    /// When the oldest open cycle has waited for `hold`.
    pub fn next_timeout(&self, hold: Span) -> Option<MonoTime> {
        self.waits_since(self.next).map(|at| at + hold)
    }

    /// Whether the oldest open cycle lacks a microphone.
    pub fn lacks(&self, mic: usize) -> bool {
        let i = usize::try_from(self.next - self.first).ok().filter(|&i| i < self.records.len());
        i.is_some_and(|i| self.cells[i * self.ends.len() + mic].passed.is_none())
    }

    fn lacks_any(&self, mics: MicSet) -> bool {
        mics.iter().any(|mic| self.lacks(mic))
    }

    /// Cycles that all of `live` have passed, or that have waited long enough, leave. What those `in_doubt` have sent is there, and
    /// its place is known as soon as what follows decides: that is waited for.
    pub fn emit_ready(
        &mut self,
        live: MicSet,
        in_doubt: MicSet,
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
        let i = usize::try_from(cycle - self.first).ok()?;
        let opened = self.records.get(i)?.opened;
        self.cells_of(i).filter_map(|cell| cell.passed).min().or(opened.map(|at| at + self.period))
    }

    fn leave(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        let i = (self.next - self.first) as usize;
        self.records[i].left = true;
        let mics = self.ends.len();
        let cells = self.cells.range(i * mics..(i + 1) * mics);
        let cycles = &mut sink.counters.cycles;
        if cells.clone().all(|cell| cell.samples == 0) {
            // All of it is lost, for everybody: no event carries it.
            cycles.skipped += 1;
        } else {
            // One that is full in part has yet to hear the packet that would have filled it.
            let full = |cell: &Cell| cell.newest.filter(|_| i64::from(cell.samples) == self.frames);
            cycles.emitted += 1;
            sink.meter.on_cycle(cells.clone().map(|cell| full(cell).map(|h| h.at)), now);
            let complete = cells.clone().all(|cell| full(cell).is_some());
            if complete {
                cycles.complete += 1;
                sink.meter.on_complete(cells.clone().filter_map(full).map(|h| (h.stamp, h.delay)), now);
            } else {
                cycles.incomplete += 1;
            }
            let first_frame = self.base + self.next * self.frames;
            let head = Head { first_frame, frames: self.frames as u32, complete, emitted: sink.wall };
            let part = |cell: &Cell| cell.newest.map_or(Part::default(), |n| Part::new(cell.samples, n.newest_stamp));
            let id = sink.history.emit(head, cells.map(part));
            self.records[i].id = Some(id);
            sink.emitted(id, &mut self.desync, now);
        }
        self.next += 1;
        while self.next - self.first > self.left_kept {
            self.records.pop_front();
            self.cells.drain(..self.ends.len());
            self.first += 1;
        }
    }

    /// From the first board's filling the cycle to the last's, by arrival, once it is full.
    fn arrivals(&self, i: usize) -> Option<Span> {
        let mut ends: Option<(MonoTime, MonoTime)> = None;
        for cell in self.cells_of(i) {
            let at = cell.newest.filter(|_| i64::from(cell.samples) == self.frames)?.newest_at;
            ends = Some(ends.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
        ends.map(|(first, last)| last - first)
    }

    fn cells_of(&self, i: usize) -> impl Iterator<Item = &Cell> + Clone {
        self.cells.range(i * self.ends.len()..(i + 1) * self.ends.len())
    }

    fn cell(&mut self, i: usize, mic: usize) -> &mut Cell {
        &mut self.cells[i * self.ends.len() + mic]
    }

    /// Where a cycle that is kept stands; it may be a new one.
    fn reach(&mut self, cycle: i64) -> usize {
        let i = usize::try_from(cycle - self.first).expect("only cycles that are kept are touched");
        while self.records.len() <= i {
            self.records.push_back(Record::default());
            self.cells.extend(std::iter::repeat_n(Cell::default(), self.ends.len()));
        }
        i
    }
}
