//! Recording: the files of a command line, taken for one recording.
//!
//! Captures come as sets: a file a port, or the next file each hour, and a shell lists them in an order of its own. So the files are put in the
//! order of their first stamps, and those that overlap are read side by side ([`Merge`]). Only those are open: a set may have more files than
//! a process may. Recordings of `serve` follow each other and never overlap; they tell by how much their clock was ahead of the one that does
//! not step, and that orders them whatever their clock did.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::array::Layout;
use crate::capture::{
    CaptureError, Census, Datagrams, Merge, Next, PassedOver, Seen, Source, USUAL_PORTS, Wanted, clock_offset,
};
use crate::cli::{OneArgs, PortList};
use crate::time::KernelTime;
use crate::wire::Format;

type Input = Box<dyn Read>;

const SAY_WHICH: &str = "say which with --array NAME";

/// What there is to say of a file.
pub(super) struct FileRead {
    pub name: String,
    pub bytes: u64,
    pub passed_over: PassedOver,
    pub census: Census,
    /// What is wrong with its end.
    pub warning: Option<String>,
    /// Datagrams for microphones.
    pub taken: u64,
}

/// A file that is not read yet.
struct Pending {
    id: usize,
    path: PathBuf,
    first: Option<KernelTime>,
    /// A recording of `serve`.
    is_ours: bool,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC_RAW in nanoseconds, as it tells itself.
    offset: Option<i64>,
    /// What cannot be opened a second time: a pipe.
    kept: Option<Box<Source<Input>>>,
}

/// See the top of the file.
pub(super) struct Recording {
    wanted: Wanted,
    /// What each microphone was declared to send, by the first file that says so.
    declared: Vec<(usize, Format)>,
    pending: VecDeque<Pending>,
    merge: Merge<Input>,
    /// In the order that they are read in.
    files: Vec<(usize, FileRead)>,
    /// Channels of each source, where a recording of ours names them.
    named: Vec<usize>,
    /// The arrays that recordings of ours name.
    arrays: Vec<String>,
    /// Ids of those of `serve` that are open.
    ours: Vec<usize>,
    done: u64,
}

/// What the command line asks for, with the microphones at these ports.
pub(super) fn wanted(one: &OneArgs, ports: Option<&PortList>) -> Wanted {
    Wanted {
        ports: ports.map(|ports| ports.0.clone()),
        array: one.array.clone(),
        from: one.from.map(|from| from.to_canonical()),
    }
}

impl Recording {
    /// Looks at the beginning of each file, and puts them in order.
    ///
    /// # Errors
    /// A file that cannot be opened, or is no capture.
    pub fn open(paths: &[PathBuf], wanted: &Wanted) -> Result<Recording, Failure> {
        let mut recording = Recording {
            wanted: wanted.clone(),
            declared: Vec::new(),
            pending: VecDeque::with_capacity(paths.len()),
            merge: Merge::default(),
            files: Vec::with_capacity(paths.len()),
            named: Vec::new(),
            arrays: Vec::new(),
            ours: Vec::new(),
            done: 0,
        };
        for (id, path) in paths.iter().enumerate() {
            let pending = recording.look(id, path, paths.len() == 1)?;
            // Behind the last one that does not come after it: those of one stamp stay in their order.
            let place = recording.pending.iter().rposition(|other| !comes_before(&pending, other));
            recording.pending.insert(place.map_or(0, |place| place + 1), pending);
        }
        match &wanted.array {
            Some(array) if !recording.arrays.contains(array) => {
                let others = recording.arrays.iter().filter(|array| !array.is_empty());
                let others = others.map(String::as_str).collect::<Vec<_>>().join(", ");
                let there =
                    if others.is_empty() { "the files name no array".into() } else { format!("there are {others}") };
                Err(Failure::new(format_args!("no array is called {array}: {there}")))
            }
            _ => Ok(recording),
        }
    }

    /// The next record that is of use, and the number of its file on the command line; `None` at the end.
    ///
    /// # Errors
    /// A file that is corrupt or cannot be read on.
    pub fn next_seen(&mut self) -> Result<Option<(usize, Seen<'_>)>, Failure> {
        let id = loop {
            if let Err((id, source, error)) = self.merge.read_on() {
                self.ended(id, &source, Some(error))?;
            }
            self.begin_those_that_are_due()?;
            match self.merge.next_record() {
                Next::Record(id) => break id,
                Next::Ended(id, source, error) => self.ended(id, &source, error)?,
                Next::Empty if self.pending.is_empty() => return Ok(None),
                Next::Empty => {}
            }
        };
        let seen = self.merge.seen().expect("a record was found");
        if let Seen::Datagram(datagram) = &seen
            && datagram.microphone(self.wanted.ports.as_deref()).is_some()
            && let Some((_, file)) = self.files.iter_mut().rev().find(|(other, _)| *other == id)
        {
            file.taken += 1;
        }
        Ok(Some((id, seen)))
    }

    /// Sources of the array: those of the ports that were given, or that the recording names, or the usual three.
    pub fn sources(&self) -> usize {
        match &self.wanted.ports {
            Some(ports) => ports.len(),
            None if !self.named.is_empty() => self.named.len(),
            None => USUAL_PORTS.len(),
        }
    }

    /// What the array is made of, where the recording itself says it.
    pub fn layout(&self) -> Option<Layout> {
        self.wanted.ports.is_none().then(|| Layout::new(&self.named).ok())?
    }

    /// What a microphone was declared to send when it was recorded.
    pub fn declared(&self, mic: usize) -> Option<&Format> {
        self.declared.iter().find(|(of, _)| *of == mic).map(|(_, format)| format)
    }

    /// The array that is read, where the files name it.
    pub fn array(&self) -> Option<&str> {
        self.arrays.first().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// That another array is in the files than the one that is read.
    pub fn note(&self) -> Option<String> {
        let (read, others) = self.arrays.split_first()?;
        let is_open = self.wanted.ports.is_none() && self.wanted.array.is_none() && !others.is_empty();
        is_open.then(|| format!("{read} is read; there are {} too: {SAY_WHICH}", others.join(", ")))
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.done + self.merge.sources().map(|(_, source)| source.datagrams().position()).sum::<u64>()
    }

    /// The files, in the order that they were read in.
    pub fn into_files(self) -> Vec<FileRead> {
        self.files.into_iter().map(|(_, file)| file).collect()
    }

    fn look(&mut self, id: usize, path: &Path, is_alone: bool) -> Result<Pending, Failure> {
        let source = self.source(path)?;
        let sources = source.datagrams().sources();
        if sources.len() > self.named.len() {
            self.named = sources;
        }
        let declared = source.datagrams().declared();
        self.declared.extend(declared.filter_map(|(mic, format)| Some((mic, format.parse().ok()?))));
        let arrays = source.datagrams().arrays();
        if let (Some(first), Some(before)) = (arrays.first(), self.arrays.first())
            && first != before
            && self.wanted.array.is_none()
        {
            return Err(Failure::new(format_args!(
                "the files begin with the arrays {before} and {first}: {SAY_WHICH}"
            )));
        }
        for array in arrays {
            if !self.arrays.contains(array) {
                self.arrays.push(array.clone());
            }
        }
        let is_ours = source.datagrams().is_ours();
        let mut pending = Pending { id, path: path.to_owned(), first: None, is_ours, offset: None, kept: None };
        pending.first = source.next_stamp();
        if let Some(Seen::Statistics(statistics)) = source.peek() {
            pending.offset = statistics.comment.and_then(clock_offset);
        }
        if is_alone || !path.is_file() {
            pending.kept = Some(source);
        }
        Ok(pending)
    }

    fn source(&self, path: &Path) -> Result<Box<Source<Input>>, Failure> {
        let broken = |error: &dyn std::fmt::Display| cannot_read(path, error);
        let input: Input = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path).map_err(|error| broken(&error))?)
        };
        let datagrams = Datagrams::new(input).map_err(|error| broken(&error))?.wanted(&self.wanted);
        // One that is broken before anything of use tells so when it is read on.
        Source::new(datagrams).or_else(|(source, error)| if error.is_cut() { Ok(source) } else { Err(broken(&error)) })
    }

    /// Opens the files that begin before the next record; those of `serve` one after the other.
    fn begin_those_that_are_due(&mut self) -> Result<(), Failure> {
        loop {
            let next = self.merge.next_stamp();
            let may_begin = |pending: &Pending| !pending.is_ours || self.ours.is_empty();
            let is_due = |pending: &Pending| pending.first.is_none_or(|first| next.is_none_or(|next| first <= next));
            let due = self.pending.iter().take_while(|pending| is_due(pending)).position(may_begin);
            let Some(pending) = due.and_then(|at| self.pending.remove(at)) else { return Ok(()) };
            let source = match pending.kept {
                Some(source) => source,
                None => self.source(&pending.path)?,
            };
            let file = FileRead {
                name: pending.path.display().to_string(),
                bytes: 0,
                passed_over: PassedOver::default(),
                census: Census::default(),
                warning: None,
                taken: 0,
            };
            self.files.push((pending.id, file));
            if pending.is_ours {
                self.ours.push(pending.id);
            }
            let is_empty = source.next_stamp().is_none();
            self.merge.add(pending.id, source);
            if is_empty {
                // Many of these are not open at once either.
                return Ok(());
            }
        }
    }

    fn ended(&mut self, id: usize, source: &Source<Input>, error: Option<CaptureError>) -> Result<(), Failure> {
        let (_, file) = self.files.iter_mut().find(|(other, _)| *other == id).expect("it was opened");
        let datagrams = source.datagrams();
        (file.bytes, file.passed_over, file.census) =
            (datagrams.position(), datagrams.passed_over(), datagrams.census());
        self.done += file.bytes;
        self.ours.retain(|other| *other != id);
        match error {
            Some(error) if error.is_cut() => file.warning = Some(error.to_string()),
            Some(error) => return Err(cannot_read(Path::new(&file.name), &error)),
            None => {}
        }
        Ok(())
    }
}

fn cannot_read(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format_args!("cannot read {}: {error}", path.display()))
}

/// Whether the one was recorded before the other.
fn comes_before(one: &Pending, other: &Pending) -> bool {
    let key = |pending: &Pending| Some((pending.first?.as_nanos(), pending.offset.filter(|_| pending.is_ours)?));
    match (key(one), key(other)) {
        // A host that booted after that was recorded; else both are of one boot, and its steady clock tells.
        (Some((first, _)), Some((_, booted))) if booted > first => true,
        (Some((_, booted)), Some((first, _))) if booted > first => false,
        (Some((one, ahead)), Some((other, other_ahead))) => one - ahead < other - other_ahead,
        _ => one.first < other.first,
    }
}

/// What to say where no file holds anything for a microphone.
pub(super) fn nothing_found(files: &[FileRead], ports: Option<&[u16]>) -> Failure {
    let mut all = Census::default();
    files.iter().for_each(|file| all.absorb(&file.census));
    let name = files.first().map_or("-", |file| &file.name);
    let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
    Failure::new(format_args!("{name}{more}: {}", no_datagram("a microphone", &all, ports)))
}

/// The same of a file, or of one microphone in all of them.
pub(super) fn no_datagram(whom: &str, census: &Census, ports: Option<&[u16]>) -> String {
    let ports = ports.unwrap_or(USUAL_PORTS);
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    format!("no datagram for {whom} (ports {list}); {}: {}", census.describe(), census.next_step(ports))
}

/// What to say of files that hold nothing beside some that do, and of microphones of which there is nothing.
pub(super) fn notes(files: &[FileRead], received: &[u64], ports: Option<&[u16]>) -> Vec<String> {
    let mut notes = Vec::new();
    for file in files {
        if let Some(warning) = &file.warning {
            notes.push(format!("{}: {warning}", file.name));
        }
        if file.taken == 0 {
            notes.push(format!("{}: {}", file.name, no_datagram("a microphone", &file.census, ports)));
        }
    }
    let mut all = Census::default();
    files.iter().for_each(|file| all.absorb(&file.census));
    for (mic, _) in received.iter().enumerate().filter(|(_, received)| **received == 0) {
        notes.push(no_datagram(&format!("mic {mic}"), &all, ports));
    }
    notes
}
