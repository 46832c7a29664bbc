//! Saver: the aligned audio of one array -> WAV files and their sidecars, as file operations to carry out one by one.
//!
//! A disk may be slow, full or gone, and none of that may touch audio. So what is to be written waits in buffers whose sum is bounded; cycles that
//! find no room are counted, said once, and flagged in the sidecar: in the file they are silence at their place, since every write says where in the
//! file it goes. What fails is tried again each second. The header is written again as the file grows, behind the samples: what a killed process
//! leaves can be read up to a second before its end. Pure: time comes in, [`FileOp`]s go out.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::commands::saved::{Follower, name};
use crate::commands::serve::words;
use crate::engine::Engine;
use crate::out::Sample;
use crate::out::track::Piece;
use crate::out::wave::{HEADER_BYTES, Wave};
use crate::report::SavingFigures;
use crate::sys::file::FileOp;
use crate::time::{MonoTime, Span};

/// A buffer goes to the disk when it holds this much: a tenth of a second of three channels.
const CHUNK: usize = 64 << 10;
/// Or when its oldest samples have waited for this long.
const FLUSH: Span = Span::from_millis(200);
/// Lines of the sidecar go there this often.
const LINES: Span = Span::from_secs(1);
/// The header is written again this often.
const HEADER: Span = Span::from_secs(1);
/// What may wait for the disk.
const QUEUE: Span = Span::from_secs(8);
/// An operation that failed is tried again after this.
const RETRY: Span = Span::from_secs(1);

/// Which of an array's two files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Audio,
    Sidecar,
}

/// Samples that go to the disk together.
#[derive(Default, Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// Frames of the file before these, and with them.
    from: i64,
    until: i64,
    since: Option<MonoTime>,
}

#[derive(Debug)]
enum Op {
    /// Both files, under this name with their own endings.
    Create(Which, PathBuf),
    Audio(Chunk),
    Lines(Vec<u8>),
    /// The header with all frames that are on the disk.
    Header,
    Close(Which),
    Unlink(PathBuf),
}

/// What the operation in flight carries.
#[derive(Debug)]
enum Flight {
    Nothing,
    Audio { from: i64, until: i64 },
    Lines,
    Header,
}

/// The files that the disk is at.
#[derive(Default, Debug)]
struct AtDisk {
    /// Without its ending.
    stem: PathBuf,
    /// Frames of the file that are there.
    frames: i64,
    lines: u64,
    header_due: bool,
    header_at: Option<MonoTime>,
}

/// A saved file that has ended: its audio's name, and the bytes of both files.
pub(super) type Finished = (PathBuf, u64);

/// See the top of the file.
pub(super) struct Saver {
    follower: Follower,
    queue: Queue,
    /// Cycles are left out until half of the room is free.
    full: bool,
    unsaid: u64,
    /// When a cycle left last: after a while all that there is is taken.
    newest: Option<MonoTime>,
}

impl Saver {
    /// Of an engine that has emitted nothing yet, into a folder; a new file after each so many frames.
    pub fn new(folder: PathBuf, array: &str, engine: &Engine, frames_a_file: i64) -> Saver {
        let follower = Follower::new(array, engine, frames_a_file);
        let spec = follower.spec();
        let wave = Wave { channels: spec.channels as u16, rate: spec.rate, sample: Sample::S32le };
        let room = (QUEUE.as_secs_f64() * f64::from(spec.rate)) as usize * wave.frame_bytes();
        let queue = Queue::new(folder, spec.array.clone(), wave, room);
        Saver { follower, queue, full: false, unsaid: 0, newest: None }
    }

    /// A cycle has left the engine.
    pub fn cycle(&mut self, engine: &Engine, now: MonoTime) {
        self.newest = Some(now);
        self.follow(engine, now, false);
    }

    /// Time has passed.
    pub fn tick(&mut self, engine: &Engine, now: MonoTime) {
        if self.rest_due().is_some_and(|due| due <= now) {
            self.newest = None;
            self.follow(engine, now, true);
        }
    }

    /// Nothing more comes: all that there is is taken, and the files are closed.
    pub fn finish(&mut self, engine: &Engine, now: MonoTime) {
        self.newest = None;
        self.follow(engine, now, true);
        let queue = &mut self.queue;
        self.follower.end(&mut |piece| queue.take(piece, now));
    }

    fn follow(&mut self, engine: &Engine, now: MonoTime, all: bool) {
        while let Some(cycle) = self.follower.due(engine.history(), all) {
            let room = if self.full { self.queue.room / 2 } else { self.queue.room };
            let bytes = cycle.frames as usize * self.queue.wave.frame_bytes();
            if self.queue.queued + bytes > room {
                self.follower.leave_out(&cycle);
                self.left_out(cycle.frames);
                continue;
            }
            if self.queue.given_up {
                // The cycle begins another.
                let queue = &mut self.queue;
                self.follower.end(&mut |piece| queue.take(piece, now));
            }
            if std::mem::take(&mut self.full) {
                let count = std::mem::take(&mut self.unsaid);
                self.queue.lines.push_back(format!("saving goes on; {count} frames were not saved"));
            }
            let queue = &mut self.queue;
            if !self.follower.take(&cycle, engine, now, &mut |piece| queue.take(piece, now)) {
                self.queue.figures.not_saved_frames += u64::from(cycle.frames);
            }
        }
    }

    fn left_out(&mut self, frames: u32) {
        self.queue.figures.not_saved_frames += u64::from(frames);
        self.unsaid += u64::from(frames);
        if !std::mem::replace(&mut self.full, true) {
            let why = self.queue.trouble.map_or("the disk is too slow".to_owned(), words);
            let whose = &self.queue.array;
            let line = format!("saving {whose} pauses: {why}; what is not saved is counted and flagged, audio goes on");
            self.queue.lines.push_back(line);
        }
    }

    fn rest_due(&self) -> Option<MonoTime> {
        self.newest.map(|newest| newest + self.follower.delay())
    }

    /// The next operation for the disk; [`done`](Saver::done) must follow before another is asked for.
    pub fn next_op(&mut self, now: MonoTime) -> Option<(Which, FileOp)> {
        self.queue.next_op(now)
    }

    /// What became of the operation; one that failed is given out again later.
    pub fn done(&mut self, which: Which, op: FileOp, result: Result<usize, i32>, now: MonoTime) {
        self.queue.done(which, op, result, now);
    }

    /// A file goes, and its sidecar with it.
    pub fn remove(&mut self, audio: PathBuf) {
        self.queue.ops.push_back(Op::Unlink(audio.with_extension(SIDECAR)));
        self.queue.ops.push_back(Op::Unlink(audio));
    }

    /// Whether the disk has everything.
    pub fn is_drained(&self) -> bool {
        self.queue.is_drained()
    }

    /// What the disk does not have, in a line for people; `None` where it has everything.
    pub fn unwritten(&self) -> Option<String> {
        let Queue { at_disk, trouble, .. } = &self.queue;
        (!self.is_drained()).then(|| {
            let why = trouble.map_or("it took too long".to_owned(), words);
            let seconds = self.queue.queued as f64
                / (self.queue.wave.frame_bytes() as f64 * f64::from(self.follower.spec().rate));
            let path = at_disk.path(Which::Audio);
            format!("{} ends early: {seconds:.1} s did not reach the disk: {why}", path.display())
        })
    }

    /// When there is something to do, if nothing comes before.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        [self.rest_due(), self.queue.next_timeout()].into_iter().flatten().min()
    }

    /// Bytes of the files that are written at present.
    pub fn current_bytes(&self) -> u64 {
        self.queue.at_disk.bytes(&self.queue.wave) + self.queue.queued as u64
    }

    /// A line for people.
    pub fn next_line(&mut self) -> Option<String> {
        self.queue.lines.pop_front()
    }

    /// A file that has ended since it was last asked.
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.queue.finished.pop_front()
    }

    pub fn figures(&self) -> SavingFigures {
        SavingFigures { queued_bytes: self.queue.queued as u64, ..self.queue.figures }
    }
}

/// Endings of the two files.
pub(super) const AUDIO: &str = "wav";
pub(super) const SIDECAR: &str = "jsonl";

impl AtDisk {
    fn bytes(&self, wave: &Wave) -> u64 {
        HEADER_BYTES as u64 + self.frames.unsigned_abs() * wave.frame_bytes() as u64 + self.lines
    }
}

/// What waits for the disk.
struct Queue {
    folder: PathBuf,
    array: String,
    wave: Wave,
    /// Bytes that may wait.
    room: usize,
    ops: VecDeque<Op>,
    filling: Chunk,
    /// Of the file that is filled.
    frames: i64,
    /// Its last frames are a hole.
    ends_in_hole: bool,
    sidecar: Vec<u8>,
    sidecar_since: Option<MonoTime>,
    spare: Vec<Vec<u8>>,
    /// Bytes in `filling`, `sidecar`, `ops` and in flight.
    queued: usize,
    busy: bool,
    flight: Flight,
    /// To be tried again.
    again: Option<(Which, FileOp)>,
    retry_at: Option<MonoTime>,
    at_disk: AtDisk,
    /// The file takes no more, and what is meant for it is thrown away.
    given_up: bool,
    trouble: Option<i32>,
    lines: VecDeque<String>,
    finished: VecDeque<Finished>,
    figures: SavingFigures,
}

impl Queue {
    fn new(folder: PathBuf, array: String, wave: Wave, room: usize) -> Queue {
        Queue {
            folder,
            array,
            wave,
            room,
            ops: VecDeque::new(),
            filling: Chunk::default(),
            frames: 0,
            ends_in_hole: false,
            sidecar: Vec::new(),
            sidecar_since: None,
            spare: Vec::new(),
            queued: 0,
            busy: false,
            flight: Flight::Nothing,
            again: None,
            retry_at: None,
            at_disk: AtDisk::default(),
            given_up: false,
            trouble: None,
            lines: VecDeque::new(),
            finished: VecDeque::new(),
            figures: SavingFigures::default(),
        }
    }

    fn take(&mut self, piece: Piece<'_>, now: MonoTime) {
        match piece {
            Piece::Begin { first, at } => {
                let stem = self.folder.join(name(&self.array, at, first));
                self.ops.push_back(Op::Create(Which::Audio, stem.clone()));
                self.ops.push_back(Op::Create(Which::Sidecar, stem));
                (self.frames, self.ends_in_hole, self.given_up) = (0, false, false);
            }
            Piece::Samples(samples) => {
                self.append(samples.as_flattened(), now);
                if self.filling.bytes.len() >= CHUNK {
                    self.push_filling();
                }
            }
            // A hole in the file, which reads as zeros.
            Piece::Silence(frames) => {
                self.push_filling();
                self.frames += frames;
                self.ends_in_hole = true;
            }
            Piece::Line(line) => {
                let text = line.text();
                self.queued += text.len();
                self.sidecar.extend_from_slice(text.as_bytes());
                self.sidecar_since.get_or_insert(now);
            }
            Piece::End { .. } => {
                if self.ends_in_hole && !self.given_up {
                    // A file ends with what was written last.
                    self.frames -= 1;
                    self.append(&vec![0; self.wave.frame_bytes()], now);
                }
                self.push_filling();
                self.push_lines();
                self.ops.extend([Op::Header, Op::Close(Which::Audio), Op::Close(Which::Sidecar)]);
            }
        }
    }

    fn append(&mut self, bytes: &[u8], now: MonoTime) {
        let chunk = &mut self.filling;
        if chunk.bytes.is_empty() {
            (chunk.from, chunk.since) = (self.frames, Some(now));
        }
        chunk.bytes.extend_from_slice(bytes);
        self.frames += (bytes.len() / self.wave.frame_bytes()) as i64;
        chunk.until = self.frames;
        self.ends_in_hole = false;
        self.queued += bytes.len();
    }

    fn push_filling(&mut self) {
        if self.filling.bytes.is_empty() {
            return;
        }
        let bytes = self.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.filling, Chunk { bytes, ..Chunk::default() });
        match self.given_up {
            true => self.throw_away(full),
            false => self.ops.push_back(Op::Audio(full)),
        }
    }

    fn push_lines(&mut self) {
        self.sidecar_since = None;
        if !self.sidecar.is_empty() {
            self.ops.push_back(Op::Lines(std::mem::take(&mut self.sidecar)));
        }
    }

    fn next_op(&mut self, now: MonoTime) -> Option<(Which, FileOp)> {
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

    fn fresh_op(&mut self, now: MonoTime) -> Option<(Which, FileOp)> {
        let due = |since: Option<MonoTime>, after: Span| since.is_some_and(|since| now >= since + after);
        if self.ops.is_empty() {
            if due(self.filling.since, FLUSH) {
                self.push_filling();
            }
            if due(self.sidecar_since, LINES) {
                self.push_lines();
            }
        }
        if self.at_disk.header_due && self.at_disk.header_at.is_none_or(|at| now >= at + HEADER) {
            return Some(self.header(now));
        }
        let at_disk = &mut self.at_disk;
        Some(match self.ops.pop_front()? {
            Op::Create(which, stem) => {
                if which == Which::Audio {
                    *at_disk = AtDisk { stem, ..AtDisk::default() };
                }
                (which, FileOp::Create(c_path(&at_disk.path(which))))
            }
            Op::Audio(Chunk { bytes, from, until, .. }) => {
                self.flight = Flight::Audio { from, until };
                let at = HEADER_BYTES as u64 + from.unsigned_abs() * self.wave.frame_bytes() as u64;
                (Which::Audio, FileOp::Write { bytes, from: 0, at })
            }
            Op::Lines(bytes) => {
                self.flight = Flight::Lines;
                (Which::Sidecar, FileOp::Write { bytes, from: 0, at: at_disk.lines })
            }
            Op::Header => self.header(now),
            Op::Close(which) => (which, FileOp::Close),
            Op::Unlink(path) => (Which::Audio, FileOp::Unlink(c_path(&path))),
        })
    }

    fn header(&mut self, now: MonoTime) -> (Which, FileOp) {
        (self.at_disk.header_due, self.at_disk.header_at) = (false, Some(now));
        self.flight = Flight::Header;
        let bytes = self.wave.header(self.at_disk.frames.unsigned_abs()).to_vec();
        (Which::Audio, FileOp::Write { bytes, from: 0, at: 0 })
    }

    fn done(&mut self, which: Which, op: FileOp, result: Result<usize, i32>, now: MonoTime) {
        self.busy = false;
        match (op, result) {
            (FileOp::Create(_), Ok(_)) => {
                self.trouble = None;
                if which == Which::Audio {
                    self.figures.files += 1;
                    // So that even a file of nothing is a WAV file.
                    self.at_disk.header_due = true;
                }
            }
            (FileOp::Create(path), Err(libc::EEXIST)) => self.name_is_taken(which, path),
            (FileOp::Write { bytes, from, at }, Ok(count)) if count > 0 => {
                self.figures.bytes += count as u64;
                self.trouble = None;
                match from + count < bytes.len() {
                    true => self.again = Some((which, FileOp::Write { bytes, from: from + count, at })),
                    false => self.written(bytes),
                }
            }
            (FileOp::Write { bytes, .. }, Err(libc::EFBIG)) => {
                self.failed(libc::EFBIG, "write", "beginning another");
                self.give_up_file(bytes);
            }
            // A close is never tried again: the descriptor is gone (close(2)).
            (op @ (FileOp::Write { .. } | FileOp::Create(_) | FileOp::Unlink(_)), Err(libc::EINTR)) => {
                self.again = Some((which, op));
            }
            (op @ (FileOp::Write { .. } | FileOp::Create(_)), result) => {
                let what = if matches!(op, FileOp::Create(_)) { "create" } else { "write" };
                self.failed(result.err().unwrap_or(libc::EIO), what, "trying again every second");
                self.retry_at = Some(now + RETRY);
                self.again = Some((which, op));
            }
            (FileOp::Close, result) => {
                if let Err(errno) = result {
                    self.failed(errno, "close", "it may lack its end");
                }
                if which == Which::Sidecar {
                    self.finished.push_back((self.at_disk.path(Which::Audio), self.at_disk.bytes(&self.wave)));
                }
            }
            (FileOp::Unlink(path), result) => self.unlinked(&path, result),
        }
    }

    /// The disk has all of these bytes.
    fn written(&mut self, bytes: Vec<u8>) {
        match std::mem::replace(&mut self.flight, Flight::Nothing) {
            Flight::Audio { until, .. } => {
                // What was passed over before is silence that the file holds too.
                self.figures.frames += (until - self.at_disk.frames).unsigned_abs();
                self.at_disk.frames = until;
                self.at_disk.header_due = true;
                self.recycle(bytes);
            }
            Flight::Lines => {
                self.at_disk.lines += bytes.len() as u64;
                self.queued -= bytes.len();
            }
            Flight::Header => {}
            Flight::Nothing => unreachable!("a write has its flight"),
        }
    }

    /// Another server's, or of a run that began at the same time.
    fn name_is_taken(&mut self, which: Which, path: CString) {
        match which {
            Which::Audio => {
                let taken = self.at_disk.stem.clone();
                let text = taken.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (stem, number) = match text.rsplit_once('~') {
                    Some((stem, number)) => (stem.to_owned(), number.parse().unwrap_or(1) + 1),
                    None => (text, 2),
                };
                self.at_disk.stem = self.folder.join(format!("{stem}~{number}"));
                self.again = Some((which, FileOp::Create(c_path(&self.at_disk.path(which)))));
            }
            // Its audio is gone: that was just created.
            Which::Sidecar => {
                self.ops.push_front(Op::Create(Which::Sidecar, PathBuf::new()));
                self.again = Some((which, FileOp::Unlink(path)));
            }
        }
    }

    fn unlinked(&mut self, path: &CString, result: Result<usize, i32>) {
        match result {
            Ok(_) if path.as_bytes().ends_with(AUDIO.as_bytes()) => self.figures.files_removed += 1,
            // Someone was faster.
            Ok(_) | Err(libc::ENOENT) => {}
            Err(errno) => {
                self.figures.errors += 1;
                self.lines.push_back(format!("cannot remove the old file {path:?}: {}", words(errno)));
            }
        }
    }

    /// The file takes no more (EFBIG): what waits for it is given up.
    fn give_up_file(&mut self, bytes: Vec<u8>) {
        match std::mem::replace(&mut self.flight, Flight::Nothing) {
            Flight::Audio { from, until } => {
                self.throw_away(Chunk { bytes, from, until, since: None });
            }
            Flight::Lines => self.queued -= bytes.len(),
            Flight::Header | Flight::Nothing => {}
        }
        let mut closes = false;
        for op in std::mem::take(&mut self.ops) {
            match op {
                Op::Audio(chunk) if !closes => self.throw_away(chunk),
                op => {
                    closes |= matches!(op, Op::Close(Which::Audio));
                    self.ops.push_back(op);
                }
            }
        }
        self.given_up = !closes;
    }

    fn throw_away(&mut self, chunk: Chunk) {
        self.figures.not_saved_frames += (chunk.until - chunk.from).unsigned_abs();
        self.recycle(chunk.bytes);
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        self.queued -= bytes.len();
        bytes.clear();
        // After a jam, memory goes back; in steady running two buffers take turns.
        if self.spare.len() < 4 {
            self.spare.push(bytes);
        }
    }

    fn failed(&mut self, errno: i32, what: &str, next: &str) {
        self.figures.errors += 1;
        if self.trouble != Some(errno) {
            self.trouble = Some(errno);
            let path = self.at_disk.path(Which::Audio);
            self.lines.push_back(format!("cannot {what} {}: {}; {next}", path.display(), words(errno)));
        }
    }

    fn is_drained(&self) -> bool {
        !self.busy && self.again.is_none() && self.ops.is_empty() && self.queued == 0
    }

    fn next_timeout(&self) -> Option<MonoTime> {
        if self.busy {
            return None;
        }
        if let Some(at) = self.retry_at {
            return Some(at);
        }
        let header = self.at_disk.header_at.filter(|_| self.at_disk.header_due).map(|at| at + HEADER);
        let since = |since: Option<MonoTime>, after: Span| since.map(|since| since + after);
        [header, since(self.filling.since, FLUSH), since(self.sidecar_since, LINES)].into_iter().flatten().min()
    }
}

impl AtDisk {
    fn path(&self, which: Which) -> PathBuf {
        let ending = if which == Which::Audio { AUDIO } else { SIDECAR };
        // Not `with_extension`: an address has dots.
        PathBuf::from(format!("{}.{ending}", self.stem.display()))
    }
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a folder that was opened has no NUL in its name")
}

#[cfg(test)]
mod tests;
