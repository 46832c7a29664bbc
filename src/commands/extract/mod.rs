//! `micring extract`: the aligned audio of a recording, as WAV or FLAC, with the sidecar that `serve --save` writes.
//!
//! The recording goes through the engine that `serve` runs ([`Feed`]), and the audio is taken from a history that is longer than a live one, far
//! behind its newest frame: a packet may come as late as that and still be in the file. [`files`] writes.

mod files;

use std::io::{self, Write};

use super::Failure;
use super::feed::{self, Fed, Feed, Listen, Now, Opened};
use super::progress::{Progress, RECORDS_A_LOOK};
use super::recording;
use super::saved::Follower;
use crate::array::DEFAULT_NAME;
use crate::capture::Seen;
use crate::cli::ExtractArgs;
use crate::engine::{Engine, Output};
use crate::time::{MonoTime, Span};
use files::Files;

/// The history, at least: two fifths of it are how late a packet may come. Of three channels it takes 17 MB.
const HISTORY: Span = Span::from_secs(30);
/// Frames of a file that does not end: more than there will ever be.
const NO_END: i64 = 1 << 60;
/// Channels of a FLAC file, at most (RFC 9639, 9.1.3).
const FLAC_CHANNELS: usize = 8;

/// Takes audio from the engine while it is fed.
struct Extractor {
    follower: Follower,
    files: Files,
    /// When a cycle left last.
    newest: MonoTime,
    /// The first thing that could not be written.
    failed: Option<Failure>,
}

impl Extractor {
    fn follow(&mut self, engine: &Engine, now: MonoTime, all: bool) {
        let (files, failed) = (&mut self.files, &mut self.failed);
        while let Some(cycle) = self.follower.due(engine.history(), all) {
            self.follower.take(&cycle, engine, now, &mut |piece| {
                if failed.is_none() {
                    *failed = files.take(piece).err();
                }
            });
        }
    }

    fn finish(&mut self, engine: &Engine, now: MonoTime) {
        self.follow(engine, now, true);
        let (files, failed) = (&mut self.files, &mut self.failed);
        self.follower.end(&mut |piece| {
            if failed.is_none() {
                *failed = files.take(piece).err();
            }
        });
    }
}

impl Listen for Extractor {
    /// Behind a pause positions may jump by its length: what was before it is taken first.
    fn arrives(&mut self, arrival: Fed, engine: &mut Engine) {
        if arrival.at - self.newest >= self.follower.delay() {
            self.newest = arrival.at;
            self.follow(engine, arrival.at, true);
        }
    }

    fn drain(&mut self, engine: &mut Engine, Now(now, _): Now<'_>) {
        let mut emitted = false;
        while let Some(output) = engine.poll_output() {
            emitted |= matches!(output, Output::Cycle(_));
        }
        if emitted {
            self.newest = now;
            self.follow(engine, now, false);
        }
    }
}

/// Writes the audio of the files, taken as one recording.
///
/// # Errors
/// A file that cannot be opened, is no capture or corrupt; no datagram of a microphone in any of them; audio that cannot be written.
pub fn run(args: &ExtractArgs) -> Result<(), Failure> {
    let mut progress = Progress::new(&args.feed.files);
    let Opened { mut recording, mut config, formats } = feed::open(&args.feed)?;
    config.history = config.history.max(HISTORY);
    let (rate, channels) = (config.sample_rate, config.layout.channels());
    if args.flac && !args.split && channels > FLAC_CHANNELS {
        let why = format_args!("a FLAC file has at most {FLAC_CHANNELS} channels, and there are {channels}: --split");
        return Err(Failure::new(why));
    }
    std::fs::create_dir_all(&args.to)
        .map_err(|error| Failure::new(format_args!("cannot write into {}: {error}", args.to.display())))?;
    let ports = args.feed.mic_ports.as_ref().map(|ports| &ports.0[..]);
    let options = |new: Engine| {
        let new = new.declared(&formats);
        if args.feed.engine.no_sound { new } else { new.hearing() }
    };
    let mut feed = Feed::new(config, ports, options);
    let frames_a_file = args.rotate_age.map_or(NO_END, |age| (age.as_secs_f64() * f64::from(rate)) as i64);
    let name = args.feed.one.array.as_deref().or_else(|| recording.array()).unwrap_or(DEFAULT_NAME).to_owned();
    let follower = Follower::new(&name, &feed.engine, frames_a_file);
    let files = Files::new(args.to.clone(), follower.spec(), args.flac, args.split);
    let mut extractor = Extractor { follower, files, newest: feed.now(), failed: None };
    for records in 1u64.. {
        match recording.next_seen()? {
            None => break,
            Some((_, Seen::Datagram(datagram))) => feed.datagram(&datagram, &mut extractor),
            Some((file, Seen::Statistics(statistics))) => feed.statistics(file, &statistics, &mut extractor),
            Some((_, Seen::Nothing)) => {}
        }
        if let Some(failed) = extractor.failed {
            progress.end();
            return Err(failed);
        }
        if records.is_multiple_of(RECORDS_A_LOOK) {
            progress.look(recording.position());
        }
    }
    feed.finish(&mut extractor);
    extractor.finish(&feed.engine, feed.now());
    progress.end();
    if let Some(failed) = extractor.failed {
        return Err(failed);
    }
    let note = recording.note();
    let read = recording.into_files();
    let received = feed.engine.counters().mics.map(|mic| mic.received);
    if received.iter().all(|count| *count == 0) {
        return Err(recording::nothing_found(&read, ports));
    }
    recording::notes(&read, &received, ports).iter().chain(&note).for_each(|note| eprintln!("micring: {note}"));
    if feed.cut {
        eprintln!("micring: the recording does not hold the samples whole: what it lacks is silence");
    }
    let told = extractor.files.told();
    let line = serde_json::json!({
        "files": told.files,
        "frames": told.frames,
        "seconds": told.frames as f64 / f64::from(rate),
        "gaps": told.gaps,
    });
    // A reader that has gone changes nothing of what was written.
    let _ = writeln!(io::stdout(), "{line}");
    Ok(())
}
