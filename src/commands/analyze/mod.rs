//! `micring analyze`: what a recording says about the array, by the very engine that `serve` runs.
//!
//! [`run`] takes the datagrams through virtual time and collects; [`json`], [`table`] and [`html`] say what was found. This
//! file reads the files and decides what a broken file means: one that ends inside a record (the recorder was
//! killed) is read up to there, with a warning; one that is corrupt is an error with its offset. A file or a microphone of which there is
//! nothing is said, with what the frames were.

mod html;
mod json;
mod plot;
mod run;
mod series;
mod table;
mod timeline;

use std::io::{self, Write};

use super::Failure;
use super::feed::{self, Opened};
use super::progress::{Progress, RECORDS_A_LOOK};
use super::recording::{self, FileRead};
use crate::capture::Seen;
use crate::cli::AnalyzeArgs;
use crate::engine::Engine;
use crate::engine::figures::window::WINDOW;
use crate::report::{Around, Snapshot, SoundFigures, Totals};
use run::Run;

/// What was found, for all three ways to tell it.
pub(super) struct Findings {
    pub files: Vec<FileRead>,
    /// What is missing, in words.
    pub notes: Vec<String>,
    pub run: Run,
    pub snapshot: Snapshot,
}

impl Findings {
    /// Chunks of a microphone of which something came, by the way in which it cuts them at the end: packets are counted one by one.
    fn chunks_heard(&self, mic: usize) -> u64 {
        let counters = &self.snapshot.totals.engine.mics[mic];
        let pieces = self.snapshot.server.chunks[mic].as_ref().map_or(1, |(_, pieces)| pieces.len().max(1) as u64);
        (counters.received + counters.lost_pieces + pieces / 2) / pieces
    }
}

/// Analyses the files as one recording.
///
/// # Errors
/// A file that cannot be opened, is no capture or corrupt; no datagram of a microphone in any of them; a report that cannot be written.
pub fn run(args: &AnalyzeArgs) -> Result<(), Failure> {
    let mut progress = Progress::new(&args.feed.files);
    let mut past = Past::default();
    let ports = args.feed.mic_ports.as_ref().map(|ports| &ports.0[..]);
    let Opened { mut recording, config, formats } = feed::open(&args.feed)?;
    let options = |new: Engine| {
        let new = new.declared(&formats).forgetting_numbers(args.forget_numbers);
        if args.feed.engine.no_sound { new } else { new.hearing() }
    };
    let mut run = Run::new(config, ports, options);
    for records in 1u64.. {
        match recording.next_seen()? {
            None => break,
            Some((_, Seen::Datagram(datagram))) => run.datagram(&datagram),
            Some((file, Seen::Statistics(statistics))) => run.statistics(file, &statistics),
            Some((_, Seen::Nothing)) => {}
        }
        past.observe(run.now(), |copy| *copy = totals(&run));
        if records.is_multiple_of(RECORDS_A_LOOK) {
            progress.look(recording.position());
        }
    }
    run.finish();
    progress.end();
    let note = recording.note();
    let files = recording.into_files();
    if run.watch.stamps.is_none() {
        return Err(recording::nothing_found(&files, ports));
    }
    let mut notes = recording::notes(&files, &run.feed.engine.counters().mics.map(|mic| mic.received), ports);
    notes.extend(note);
    notes.iter().for_each(|note| eprintln!("micring: {note}"));
    let snapshot = snapshot(&mut run, &past);
    let mut findings = Findings { files, notes, run, snapshot };
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&mut findings))
            .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", path.display())))?;
    }
    let text = if args.json { json::text(&findings) } else { table::text(&findings) };
    match io::stdout().write_all(text.as_bytes()) {
        // `analyze | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

/// Copies of the totals for the window of the last ten seconds.
type Past = crate::engine::figures::window::Past<Totals>;

fn totals(run: &Run) -> Totals {
    let engine = &run.feed.engine;
    let heard = || SoundFigures { shifts: engine.shifts(), borders: engine.borders(), ..SoundFigures::default() };
    let sound = engine.hears().then(heard);
    Totals { engine: run.feed.engine.counters().clone(), sound, ..Totals::default() }
}

fn snapshot(run: &mut Run, past: &Past) -> Snapshot {
    const NOT_RECORDED: &str = "a recording does not tell when a loop read";
    let now = run.now();
    let totals = totals(run);
    let duration = run.watch.duration();
    let window_totals = match past.then(now) {
        Some(then) if duration >= WINDOW => totals.since(then),
        _ => totals.clone(),
    };
    let kernel = "not known: from a recording".to_owned();
    let around = Around { uptime: duration, run: None, core: None, kernel };
    let mut snapshot = Snapshot::of(&mut run.feed.engine, now, around, totals, window_totals);
    for figures in [&mut snapshot.skew, &mut snapshot.window_skew] {
        figures.loop_delay.fill(Err(NOT_RECORDED));
        figures.loop_skew = Err(NOT_RECORDED);
        figures.emit_delay = Err(NOT_RECORDED);
    }
    if run.feed.cut {
        snapshot.health = snapshot.health.without_sound("the recording does not hold the samples whole");
    }
    snapshot
}
