//! Recorder: datagrams and what the loop knows about them -> pcapng files, as file operations to carry out one by one.
//!
//! A disk may be slow, full or gone, for seconds or for good, and none of that may touch audio. So what is to be written waits in
//! buffers whose sum is bounded; a datagram that finds no room is counted, said once, and told in the file as soon as
//! that goes on. A write that fails is tried again from the very byte at which it stopped, so that a file never has a hole:
//! whatever happens, it is readable up to its last whole block. Pure: time comes in, [`FileOp`]s go out.

use std::collections::VecDeque;
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::shelf::Shelf;
use crate::capture::{Interface, Writer, clock_offset_comment, clock_step_comment};
use crate::commands::serve::words;
use crate::cycle::Clocks;
use crate::report::RecordingFigures;
use crate::sys::file::FileOp;
use crate::time::{KernelTime, MonoTime, Span};

/// A buffer goes to the disk when it holds this much: a tenth of a second of three microphones.
const CHUNK: usize = 64 << 10;
/// Or when its oldest block has waited for this long: what a killed process loses.
const FLUSH: Span = Span::from_millis(200);
/// What may wait for the disk: some 13 s of three microphones.
const QUEUE: usize = 8 << 20;
/// Interface statistics are repeated this often, so that a file that ends early has them.
const STATISTICS: Span = Span::from_secs(10);
/// The offset of the host's two clocks is told this often: NTP changes its steering slowly.
const OFFSETS: Span = Span::from_secs(1);
/// An operation that failed is tried again after this.
const RETRY: Span = Span::from_secs(1);
/// Old recordings that may be queued for removal at a time: in front of a chunk, so many file operations.
const REMOVALS: usize = 16;
/// Block heads, rebuilt headers and padding around a payload, at most.
const BLOCK: usize = 32 + 48 + 4;

/// What the user chose.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub folder: PathBuf,
    /// Of each packet, headers included.
    pub snap: Option<u32>,
    pub rotate_bytes: u64,
    pub rotate_age: Span,
    /// Of all recordings that are this one's to keep; the oldest are removed to stay within.
    pub max_bytes: u64,
}

/// Blocks that go to the disk together.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// By source.
    datagrams: Vec<u64>,
    since: Option<MonoTime>,
}

enum Op {
    Create(PathBuf),
    Write(Chunk),
    Close,
    Unlink(PathBuf),
}

/// The file that datagrams are added to; the disk may be behind it.
struct Current {
    path: PathBuf,
    bytes: u64,
    begun: MonoTime,
    received: Vec<u64>,
    drops_before: Vec<u64>,
    statistics_at: MonoTime,
    /// When the host's clocks were told last.
    offset_at: Option<MonoTime>,
}

/// See the top of the file.
pub(super) struct Recorder {
    settings: Settings,
    writer: Writer,
    /// What is recorded, by source: where it listens, and what it is called.
    sources: Vec<Interface>,
    kernel: String,
    ops: VecDeque<Op>,
    filling: Chunk,
    spare: Vec<Vec<u8>>,
    /// Removals in `ops`.
    removals: usize,
    /// Bytes in `filling`, in `ops` and in flight.
    queued: usize,
    busy: bool,
    /// Datagrams of the write that is in flight or to be tried again.
    in_flight: Option<Vec<u64>>,
    /// To be tried again.
    again: Option<FileOp>,
    retry_at: Option<MonoTime>,
    /// The file that the disk is at, for messages, and the bytes that it has.
    at_disk: PathBuf,
    written: u64,
    current: Option<Current>,
    shelf: Shelf,
    drops: Vec<u64>,
    steps: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC_RAW, in nanoseconds.
    offset: Option<i64>,
    /// Datagrams are being dropped: until half of the room is free.
    full: bool,
    /// What the file does not know yet.
    untold: Vec<u64>,
    /// The disk's newest error, until an operation succeeds.
    trouble: Option<i32>,
    lines: VecDeque<String>,
    figures: RecordingFigures,
}

impl Recorder {
    /// `stored`: recordings that are in the folder already, oldest first, with their sizes.
    pub fn new(
        settings: Settings,
        sources: Vec<Interface>,
        kernel: String,
        stored: Vec<(PathBuf, u64)>,
        clocks: Clocks,
    ) -> Recorder {
        let none = vec![0; sources.len()];
        let mut recorder = Recorder {
            writer: Writer::new(settings.snap),
            figures: RecordingFigures::new(sources.len()),
            drops: none.clone(),
            untold: none,
            sources,
            kernel,
            ops: VecDeque::with_capacity(2 * QUEUE / CHUNK),
            filling: Chunk::default(),
            spare: Vec::new(),
            removals: 0,
            queued: 0,
            busy: false,
            in_flight: None,
            again: None,
            retry_at: None,
            at_disk: settings.folder.clone(),
            written: 0,
            current: None,
            shelf: Shelf::new(settings.folder.clone(), settings.max_bytes, stored),
            steps: 0,
            offset: None,
            full: false,
            trouble: None,
            lines: VecDeque::new(),
            settings,
        };
        recorder.begin_file(clocks);
        recorder
    }

    /// A datagram, in the order of the stamps. `len` is its true length.
    pub fn datagram(
        &mut self,
        mic: usize,
        stamp: KernelTime,
        from: SocketAddr,
        bytes: &[u8],
        len: usize,
        clocks: Clocks,
    ) {
        let kept = self.settings.snap.map_or(bytes.len(), |snap| bytes.len().min(snap as usize));
        let limit = if self.full { QUEUE / 2 } else { QUEUE };
        if self.queued + BLOCK + kept > limit {
            self.drop_datagram(mic);
            return;
        }
        if self.full {
            self.go_on();
        }
        self.rotate(clocks);
        let told = self.untold.iter().any(|&count| count > 0);
        if told || self.current.as_ref().is_some_and(|file| clocks.mono >= file.statistics_at + STATISTICS) {
            self.statistics(clocks, None);
        }
        self.tell_offset(clocks);
        self.note_time(clocks.mono);
        let before = self.filling.bytes.len();
        let to = self.sources[mic].address;
        self.writer.datagram(&mut self.filling.bytes, mic, stamp, from, to, bytes, len);
        let count = self.sources.len();
        self.filling.datagrams.resize(count, 0);
        self.filling.datagrams[mic] += 1;
        if let Some(file) = &mut self.current {
            file.received[mic] += 1;
        }
        self.added(before);
    }

    /// Other sources from now on, in a file of their own; what is counted of one that is another than before begins anew.
    pub fn change(&mut self, sources: Vec<Interface>, clocks: Clocks) {
        if self.sources == sources {
            return;
        }
        self.end_file(clocks);
        let count = sources.len().max(self.sources.len());
        let of_sources =
            [&mut self.figures.recorded, &mut self.figures.not_recorded, &mut self.drops, &mut self.untold];
        for counts in of_sources {
            counts.resize(count, 0);
            for (source, count) in counts.iter_mut().enumerate() {
                if self.sources.get(source) != sources.get(source) {
                    *count = 0;
                }
            }
        }
        self.sources = sources;
        // Places are never taken away: what still waits for the disk is counted by them.
        self.sources.resize(count, Interface::unused());
        self.begin_file(clocks);
    }

    /// A datagram that cannot be recorded, for want of a stamp.
    pub fn unstamped(&mut self, mic: usize) {
        self.figures.not_recorded[mic] += 1;
    }

    /// Once a turn: the sockets' drop counters, and steps of CLOCK_REALTIME since start with the newest one's size.
    pub fn observe(
        &mut self,
        drops: impl IntoIterator<Item = (usize, u64)>,
        steps: u64,
        last_step: Option<Span>,
        clocks: Clocks,
    ) {
        drops.into_iter().for_each(|(source, total)| self.drops[source] = total);
        if let Some(step) = last_step.filter(|_| steps > self.steps) {
            self.steps = steps;
            self.statistics(clocks, Some(&clock_step_comment(step)));
        }
    }

    /// Once a turn: CLOCK_REALTIME minus CLOCK_MONOTONIC_RAW, in nanoseconds, as far as it is known.
    pub fn note_offset(&mut self, ns: Option<i64>) {
        self.offset = ns;
    }

    /// The next operation for the disk; [`done`](Recorder::done) must follow before another is asked for.
    pub fn next_op(&mut self, now: MonoTime) -> Option<FileOp> {
        if self.busy || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        let op = match self.again.take() {
            Some(op) => op,
            None => self.fresh_op(now)?,
        };
        self.busy = true;
        Some(op)
    }

    fn fresh_op(&mut self, now: MonoTime) -> Option<FileOp> {
        let due = self.filling.since.is_some_and(|since| now >= since + FLUSH);
        if self.ops.is_empty() && due {
            self.push_filling();
        }
        Some(match self.ops.pop_front()? {
            Op::Create(path) => {
                self.at_disk.clone_from(&path);
                FileOp::Create(c_path(&path))
            }
            Op::Write(chunk) => {
                self.in_flight = Some(chunk.datagrams);
                FileOp::Write { bytes: chunk.bytes, from: 0, at: self.written }
            }
            Op::Close => FileOp::Close,
            Op::Unlink(path) => {
                self.removals -= 1;
                FileOp::Unlink(c_path(&path))
            }
        })
    }

    /// What became of the operation; one that failed is given out again later.
    pub fn done(&mut self, op: FileOp, result: Result<usize, i32>, now: MonoTime) {
        self.busy = false;
        match (op, result) {
            (FileOp::Create(_), Ok(_)) => {
                self.figures.files += 1;
                self.written = 0;
                self.trouble = None;
            }
            // Another recording of the same second.
            (FileOp::Create(_), Err(libc::EEXIST)) => self.again = Some(FileOp::Create(c_path(&self.next_name()))),
            (FileOp::Write { bytes, from, at }, Ok(count)) if count > 0 => {
                self.figures.bytes += count as u64;
                self.trouble = None;
                if from + count < bytes.len() {
                    self.again = Some(FileOp::Write { bytes, from: from + count, at });
                    return;
                }
                self.written += bytes.len() as u64;
                let datagrams = self.in_flight.take().expect("a write has its datagrams");
                add(&mut self.figures.recorded, &datagrams);
                self.recycle(bytes);
            }
            (FileOp::Write { bytes, .. }, Err(libc::EFBIG)) => {
                self.failed(libc::EFBIG, "write", "beginning another");
                self.give_up_file(bytes);
            }
            // A close is never tried again: the descriptor is gone (close(2)).
            (op @ (FileOp::Write { .. } | FileOp::Create(_) | FileOp::Unlink(_)), Err(libc::EINTR)) => {
                self.again = Some(op)
            }
            (op @ (FileOp::Write { .. } | FileOp::Create(_)), result) => {
                let what = if matches!(op, FileOp::Create(_)) { "create" } else { "write" };
                self.failed(result.err().unwrap_or(libc::EIO), what, "trying again every second");
                self.retry_at = Some(now + RETRY);
                self.again = Some(op);
            }
            (FileOp::Close, Err(errno)) => self.failed(errno, "close", "it may lack its end"),
            (FileOp::Unlink(_), Ok(_)) => self.figures.files_removed += 1,
            // Someone was faster.
            (FileOp::Unlink(_), Err(libc::ENOENT)) | (FileOp::Close, Ok(_)) => {}
            (FileOp::Unlink(path), Err(errno)) => {
                self.figures.errors += 1;
                self.lines.push_back(format!("cannot remove the old recording {path:?}: {}", words(errno)));
            }
        }
    }

    /// Nothing will be recorded any more: the file gets its last statistics and is closed.
    pub fn finish(&mut self, clocks: Clocks) {
        self.end_file(clocks);
    }

    /// Whether the disk has everything.
    pub fn is_drained(&self) -> bool {
        !self.busy && self.again.is_none() && self.ops.is_empty() && self.filling.bytes.is_empty()
    }

    /// Why the disk takes nothing at present, if so: an errno.
    pub fn trouble(&self) -> Option<i32> {
        self.trouble
    }

    /// What the disk does not have, in a line for people; `None` where it has everything.
    pub fn unwritten(&self) -> Option<String> {
        let waiting =
            self.ops.iter().filter_map(|op| if let Op::Write(chunk) = op { Some(&chunk.datagrams) } else { None });
        let mut lost = vec![0; self.sources.len()];
        waiting.chain(&self.in_flight).chain([&self.filling.datagrams]).for_each(|one| add(&mut lost, one));
        (!self.is_drained()).then(|| {
            let why = self.trouble.map_or("it took too long".to_owned(), words);
            let (total, path) = (lost.iter().sum::<u64>(), self.at_disk.display());
            format!("{path} ends early: {total} datagrams ({lost:?} a microphone) did not reach the disk: {why}")
        })
    }

    /// When [`next_op`](Recorder::next_op) has something, if nothing comes before.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        if self.busy {
            return None;
        }
        self.retry_at.or_else(|| self.filling.since.map(|since| since + FLUSH))
    }

    /// A line for people.
    pub fn next_line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }

    pub fn figures(&mut self) -> &RecordingFigures {
        self.figures.queued_bytes = self.queued as u64;
        &self.figures
    }

    // --- Files ------------------------------------------------------------------------------------------------------

    fn rotate(&mut self, clocks: Clocks) {
        let due = self.current.as_ref().is_none_or(|file| {
            file.bytes >= self.settings.rotate_bytes.min(self.shelf.largest_file())
                || clocks.mono >= file.begun + self.settings.rotate_age
        });
        if due {
            self.end_file(clocks);
            self.begin_file(clocks);
        }
    }

    fn begin_file(&mut self, clocks: Clocks) {
        let path = self.shelf.next(clocks.wall);
        self.ops.push_back(Op::Create(path.clone()));
        self.current = Some(Current {
            path,
            bytes: 0,
            begun: clocks.mono,
            received: vec![0; self.sources.len()],
            drops_before: self.drops.clone(),
            statistics_at: clocks.mono,
            offset_at: None,
        });
        self.note_time(clocks.mono);
        let before = self.filling.bytes.len();
        let program = concat!("micring ", env!("CARGO_PKG_VERSION"));
        self.writer.begin_of(&mut self.filling.bytes, &self.sources, program, &format!("Linux {}", self.kernel));
        self.added(before);
    }

    fn end_file(&mut self, clocks: Clocks) {
        if self.current.is_none() {
            return;
        }
        self.statistics(clocks, None);
        self.push_filling();
        self.ops.push_back(Op::Close);
        if let Some(file) = self.current.take() {
            self.shelf.add(file.path, file.bytes);
        }
    }

    /// The name was taken: the next one.
    fn next_name(&mut self) -> PathBuf {
        let path = self.shelf.instead_of(&self.at_disk);
        let old = std::mem::replace(&mut self.at_disk, path.clone());
        if let Some(file) = self.current.as_mut().filter(|file| file.path == old) {
            file.path.clone_from(&path);
        }
        path
    }

    /// The file takes no more (EFBIG), and a block may have been cut: what waits for it is given up, and another begun.
    fn give_up_file(&mut self, bytes: Vec<u8>) {
        let mut lost = vec![0; self.sources.len()];
        add(&mut lost, &self.in_flight.take().expect("a write has its datagrams"));
        self.recycle(bytes);
        let mut closes = false;
        for op in std::mem::take(&mut self.ops) {
            match op {
                Op::Write(chunk) if !closes => {
                    add(&mut lost, &chunk.datagrams);
                    self.recycle(chunk.bytes);
                }
                op => {
                    closes |= matches!(op, Op::Close);
                    self.ops.push_back(op);
                }
            }
        }
        if !closes {
            // It was the current file: the next datagram begins another.
            let filling = std::mem::take(&mut self.filling);
            add(&mut lost, &filling.datagrams);
            self.recycle(filling.bytes);
            self.ops.push_front(Op::Close);
            if let Some(file) = self.current.take() {
                self.shelf.add(file.path, file.bytes);
            }
        }
        for (mic, lost) in lost.into_iter().enumerate() {
            self.figures.not_recorded[mic] += lost;
            self.untold[mic] += lost;
        }
    }

    // --- Blocks -----------------------------------------------------------------------------------------------------

    /// Once a second, in statistics of mic 0: what takes the stamps to the steady clock.
    fn tell_offset(&mut self, clocks: Clocks) {
        let (Some(file), Some(ns)) = (&mut self.current, self.offset) else { return };
        if file.offset_at.is_some_and(|told| clocks.mono < told + OFFSETS) {
            return;
        }
        file.offset_at = Some(clocks.mono);
        let (received, dropped) = (file.received[0], self.drops[0] - file.drops_before[0]);
        let before = self.filling.bytes.len();
        let comment = clock_offset_comment(ns);
        self.writer.statistics(&mut self.filling.bytes, 0, clocks.wall, received, dropped, Some(&comment));
        self.added(before);
    }

    /// A statistics block for each microphone; `comment` goes with the first, and what was not recorded with its microphone.
    fn statistics(&mut self, clocks: Clocks, comment: Option<&str>) {
        let Some(file) = &mut self.current else { return };
        file.statistics_at = clocks.mono;
        let (received, drops_before) = (&file.received, &file.drops_before);
        let since = self.filling.since;
        let before = self.filling.bytes.len();
        let out = &mut self.filling.bytes;
        for mic in 0..self.sources.len() {
            let dropped = self.drops[mic] - drops_before[mic];
            let untold = std::mem::take(&mut self.untold[mic]);
            let lost = (untold > 0).then(|| not_recorded_comment(untold));
            self.writer.statistics(out, mic, clocks.wall, received[mic], dropped, lost.as_deref());
            if let Some(comment) = comment.filter(|_| mic == 0) {
                self.writer.statistics(out, mic, clocks.wall, received[mic], dropped, Some(comment));
            }
        }
        self.filling.since = since.or(Some(clocks.mono));
        self.added(before);
    }

    fn note_time(&mut self, now: MonoTime) {
        self.filling.since.get_or_insert(now);
    }

    /// Accounts for blocks that were appended, and hands the buffer on when it is full.
    fn added(&mut self, before: usize) {
        let count = self.filling.bytes.len() - before;
        self.queued += count;
        if let Some(file) = &mut self.current {
            file.bytes += count as u64;
        }
        self.make_room();
        if self.filling.bytes.len() >= CHUNK {
            self.push_filling();
        }
    }

    /// Removes the oldest recordings beyond the bound of the folder: a few at a time, since what is recorded waits behind them.
    fn make_room(&mut self) {
        let current = self.current.as_ref().map_or(0, |file| file.bytes);
        while self.removals < REMOVALS
            && let Some(path) = self.shelf.beyond_bound(current)
        {
            self.removals += 1;
            self.ops.push_back(Op::Unlink(path));
        }
    }

    fn push_filling(&mut self) {
        if self.filling.bytes.is_empty() {
            return;
        }
        let bytes = self.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.filling, Chunk { bytes, ..Chunk::default() });
        self.ops.push_back(Op::Write(full));
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        self.queued -= bytes.len();
        bytes.clear();
        // After a jam, memory goes back; in steady running two buffers take turns.
        if self.spare.len() < 4 {
            self.spare.push(bytes);
        }
    }

    // --- What people are told ---------------------------------------------------------------------------------------

    fn drop_datagram(&mut self, mic: usize) {
        self.figures.not_recorded[mic] += 1;
        self.untold[mic] += 1;
        if !self.full {
            self.full = true;
            let why = match self.trouble {
                Some(errno) => words(errno),
                None => "the disk is too slow".to_owned(),
            };
            self.lines.push_back(format!("recording pauses: {why}; what is not recorded is counted, audio goes on"));
        }
    }

    fn go_on(&mut self) {
        self.full = false;
        let count: u64 = self.untold.iter().sum();
        self.lines.push_back(format!("recording goes on; {count} datagrams were not recorded"));
    }

    fn failed(&mut self, errno: i32, what: &str, next: &str) {
        self.figures.errors += 1;
        if self.trouble != Some(errno) {
            self.trouble = Some(errno);
            self.lines.push_back(format!(
                "cannot {what} the recording {}: {}; {next}",
                self.at_disk.display(),
                words(errno)
            ));
        }
    }
}

/// What a statistics block says of datagrams that are missing before it.
fn not_recorded_comment(count: u64) -> String {
    format!("{count} datagrams before this were not recorded: the disk was full or too slow")
}

/// Adds counts by source; where there are fewer, they are of the first ones.
fn add(sum: &mut [u64], counts: &[u64]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a folder that was opened has no NUL in its name")
}

#[cfg(test)]
mod tests;
