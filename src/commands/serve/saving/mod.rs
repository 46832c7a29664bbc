//! `--save`: a saver for each array, their operations on the ring, their lines in the log, and the folder that they share.

mod saver;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::array::Arrays;
use super::log::Log;
use super::recording;
use super::recording::shelf::Shelf;
use super::{plain, words};
use crate::array::ArrayId;
use crate::cli::SaveArgs;
use crate::commands::Failure;
use crate::engine::Engine;
use crate::sys::file::{FileOp, SharedFolder, may_write};
use crate::sys::host;
use crate::sys::ring::{FileId, Ring};
use crate::time::{MonoTime, Span};
use saver::{AUDIO, SIDECAR, Saver, Which};

/// The folder's bound is looked at this often.
const ROOM: Span = Span::from_secs(1);
/// Old files that are removed at a time: what is saved waits behind them.
const REMOVALS: usize = 16;
/// Where it is tried whether files can be made.
const PROBE: &str = ".micring-save";

/// A saver, and whose.
struct One {
    /// `None` once the array is gone: what is left is written.
    array: Option<ArrayId>,
    saver: Saver,
    wakes: Option<MonoTime>,
}

/// Whether files can be made in the folder: one is, and removed again.
enum Probe {
    Next(FileOp),
    Busy,
    Failed(i32),
    Passed,
}

/// All that is saved.
pub(super) struct Saves {
    args: SaveArgs,
    folder: PathBuf,
    /// Each at its place, with two files of the ring's.
    all: Vec<Option<One>>,
    /// Places where something came, or was done, in this turn.
    touched: Vec<usize>,
    wakes: BTreeSet<(MonoTime, usize)>,
    shelf: Shelf,
    room_at: Option<MonoTime>,
    probe: Probe,
    finishing: bool,
    /// Nobody else wrote into the folder when this began, so that all files there are ours to keep within the bound.
    pub alone: bool,
    _lock: SharedFolder,
}

impl Saves {
    /// `None` where nothing is to be saved. Makes the folder if need be, and looks at what is in it.
    ///
    /// # Errors
    /// A folder that cannot be made, read or written.
    pub fn begin(args: &SaveArgs) -> Result<Option<Saves>, Failure> {
        let Some(folder) = &args.save else { return Ok(None) };
        let failure = |error| Failure::new(format_args!("cannot save into {}: {}", folder.display(), plain(&error)));
        fs::create_dir_all(folder).map_err(failure)?;
        may_write(folder).map_err(failure)?;
        let (lock, stored) = SharedFolder::enter(folder, || stored(folder)).map_err(failure)?;
        let alone = stored.is_some();
        host::survive_file_size_limit();
        let probe = saver::c_path(&folder.join(format!("{PROBE}-{}", std::process::id())));
        Ok(Some(Saves {
            args: args.clone(),
            folder: folder.clone(),
            all: Vec::new(),
            touched: Vec::new(),
            wakes: BTreeSet::new(),
            shelf: Shelf::new(folder.clone(), args.save_max_bytes, stored.unwrap_or_default()),
            room_at: None,
            probe: Probe::Next(FileOp::Create(probe)),
            finishing: false,
            alone,
            _lock: lock,
        }))
    }

    /// A saver for an array whose engine has emitted nothing yet; its place.
    pub fn add(&mut self, id: ArrayId, name: &str, engine: &Engine) -> usize {
        let rate = engine.config().sample_rate;
        let frame = 4 * engine.layout().channels() as u64;
        let by_age = (self.args.save_rotate_age.as_secs_f64() * f64::from(rate)) as i64;
        let by_size = (self.args.save_rotate_bytes.min(self.shelf.largest_file()) / frame) as i64;
        let saver = Saver::new(self.folder.clone(), name, engine, by_age.min(by_size).max(1));
        let place = self.all.iter().position(Option::is_none).unwrap_or(self.all.len());
        if place == self.all.len() {
            self.all.push(None);
        }
        self.all[place] = Some(One { array: Some(id), saver, wakes: None });
        place
    }

    /// A cycle has left the engine of the array at a place.
    pub fn cycle(&mut self, place: usize, engine: &Engine, now: MonoTime) {
        if !self.finishing
            && let Some(one) = &mut self.all[place]
        {
            one.saver.cycle(engine, now);
            self.touched.push(place);
        }
    }

    /// An array goes: all of it is written, and nothing more comes.
    pub fn end(&mut self, place: usize, engine: &Engine, now: MonoTime) {
        if let Some(one) = &mut self.all[place] {
            one.array = None;
            if !self.finishing {
                one.saver.finish(engine, now);
            }
            self.touched.push(place);
        }
    }

    /// Nothing more is saved of any.
    pub fn finish(&mut self, arrays: &Arrays, now: MonoTime) {
        self.finishing = true;
        for (place, one) in self.all.iter_mut().enumerate() {
            if let Some(One { array: Some(id), saver, .. }) = one {
                saver.finish(&arrays.of(*id).engine, now);
                self.touched.push(place);
            }
        }
    }

    /// At the end of a turn: the next operations go to the ring, lines to the log.
    pub fn submit(&mut self, arrays: &mut Arrays, ring: &mut Ring, log: &mut Log, now: MonoTime) {
        if let Probe::Next(_) = self.probe
            && let Probe::Next(op) = std::mem::replace(&mut self.probe, Probe::Busy)
        {
            ring.file(file(0, Which::Audio), op);
        }
        if !matches!(self.probe, Probe::Passed) {
            // Each is touched again with its next cycle.
            return self.touched.clear();
        }
        while let Some(&(due, place)) = self.wakes.first().filter(|(due, _)| *due <= now) {
            self.wakes.remove(&(due, place));
            if let Some(one) = &mut self.all[place] {
                one.wakes = None;
                if let Some(id) = one.array.filter(|_| !self.finishing) {
                    one.saver.tick(&arrays.of(id).engine, now);
                }
                self.touched.push(place);
            }
        }
        self.look_after_touched(arrays, ring, log, now);
        self.make_room(now);
        self.look_after_touched(arrays, ring, log, now);
    }

    fn look_after_touched(&mut self, arrays: &mut Arrays, ring: &mut Ring, log: &mut Log, now: MonoTime) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|place| self.look_after(place, arrays, ring, log, now));
        self.touched = touched;
    }

    fn look_after(&mut self, place: usize, arrays: &mut Arrays, ring: &mut Ring, log: &mut Log, now: MonoTime) {
        let Some(one) = &mut self.all[place] else { return };
        if let Some((which, op)) = one.saver.next_op(now) {
            ring.file(file(place, which), op);
        }
        while let Some(line) = one.saver.next_line() {
            log.line(&line);
        }
        while let Some((path, bytes)) = one.saver.next_finished() {
            self.shelf.add(path, bytes);
            self.room_at = None;
        }
        match one.array {
            Some(id) => arrays.of_mut(id).saving = Some(one.saver.figures()),
            None if one.saver.is_drained() => {
                if let Some(due) = one.wakes {
                    self.wakes.remove(&(due, place));
                }
                self.all[place] = None;
                return;
            }
            None => {}
        }
        let due = one.saver.next_timeout();
        if one.wakes != due {
            if let Some(before) = std::mem::replace(&mut one.wakes, due) {
                self.wakes.remove(&(before, place));
            }
            self.wakes.extend(due.map(|due| (due, place)));
        }
    }

    /// Removes the oldest files beyond the bound of the folder.
    fn make_room(&mut self, now: MonoTime) {
        if self.room_at.is_some_and(|at| now < at + ROOM) {
            return;
        }
        self.room_at = Some(now);
        let current = self.all.iter().flatten().map(|one| one.saver.current_bytes()).sum();
        let Some(place) = self.all.iter().position(Option::is_some) else { return };
        for _ in 0..REMOVALS {
            let Some(path) = self.shelf.beyond_bound(current) else { return };
            if let Some(one) = &mut self.all[place] {
                one.saver.remove(path);
                self.touched.push(place);
            }
        }
    }

    /// Whether this file of the ring's is one of these.
    pub fn has(file: FileId) -> bool {
        file > recording::FILE
    }

    pub fn done(&mut self, file: FileId, op: FileOp, result: Result<usize, i32>, now: MonoTime) {
        let (place, which) = ((file - 1) / 2, if file % 2 == 1 { Which::Audio } else { Which::Sidecar });
        match self.probe {
            Probe::Passed => {}
            _ => return self.probed(op, result),
        }
        if let Some(one) = &mut self.all[place] {
            one.saver.done(which, op, result, now);
            self.touched.push(place);
        }
    }

    fn probed(&mut self, op: FileOp, result: Result<usize, i32>) {
        self.probe = match (op, result) {
            (FileOp::Create(path), Err(libc::EEXIST)) => Probe::Next(FileOp::Unlink(path)),
            (FileOp::Create(_), Err(errno)) => Probe::Failed(errno),
            (FileOp::Create(_), Ok(_)) => Probe::Next(FileOp::Close),
            (FileOp::Close, _) => {
                Probe::Next(FileOp::Unlink(saver::c_path(&self.folder.join(format!("{PROBE}-{}", std::process::id())))))
            }
            _ => Probe::Passed,
        };
    }

    /// Whether files can be made; `None` while that is tried.
    pub fn tried(&self) -> Option<Result<(), i32>> {
        match self.probe {
            Probe::Next(_) | Probe::Busy => None,
            Probe::Failed(errno) => Some(Err(errno)),
            Probe::Passed => Some(Ok(())),
        }
    }

    pub fn is_drained(&self) -> bool {
        self.all.iter().flatten().all(|one| one.saver.is_drained())
    }

    /// What the disk does not have, a line each.
    pub fn unwritten(&self) -> impl Iterator<Item = String> {
        self.all.iter().flatten().filter_map(|one| one.saver.unwritten())
    }

    pub fn next_timeout(&self) -> Option<MonoTime> {
        self.wakes.first().map(|&(due, _)| due)
    }

    /// A folder that cannot be written once confined.
    pub fn failure(&self, errno: i32) -> Failure {
        let next = match errno {
            libc::EACCES | libc::EPERM => {
                " once confined, where root may write no more than any other user: give the folder to this user, or --no-sandbox"
            }
            _ => "",
        };
        Failure::new(format_args!("cannot save into {}: {}{next}", self.folder.display(), words(errno)))
    }

    /// What is said at the start.
    pub fn describe(&self) -> String {
        let megabytes = self.args.save_max_bytes as f64 / 1e6;
        let whose = if self.alone { "" } else { " of its own (what else is there may be another server's)" };
        format!("saving audio into {}, {megabytes} MB{whose} at most, the oldest go first", self.folder.display())
    }
}

/// Which of the ring's files: the recording's comes first.
fn file(place: usize, which: Which) -> FileId {
    recording::FILE + 1 + 2 * place + usize::from(which == Which::Sidecar)
}

/// Audio that was saved into a folder before, oldest first, with its sidecars' sizes.
fn stored(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let sidecar = path.with_extension(SIDECAR);
        // A WAV file without a sidecar is nothing that we wrote.
        if path.extension().is_none_or(|ending| ending != AUDIO) || !sidecar.is_file() {
            continue;
        }
        let (audio, beside) = (path.symlink_metadata()?, sidecar.symlink_metadata()?);
        if audio.is_file() && beside.is_file() {
            let changed = audio.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((changed, path, audio.len() + beside.len()));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path, bytes)| (path, bytes)).collect())
}
