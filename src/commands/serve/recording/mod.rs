//! `--record`: the recorder beside the loop, its operations on the ring and its lines in the log.

mod recorder;
pub mod shelf;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::inlet::Inlet;
use super::log::Log;
use super::plain;
use crate::capture::Interface;
use crate::cli::RecordArgs;
use crate::commands::Failure;
use crate::cycle::Clocks;
use crate::engine::hostclock::HostClock;
use crate::report::RecordingFigures;
use crate::sys::file::{FileOp, SharedFolder, may_write};
use crate::sys::host;
use crate::sys::ring::{FileId, Ring, UdpDatagram};
use crate::time::{KernelTime, MonoTime};
use recorder::{Recorder, Settings};

/// The recording's place among the ring's files.
pub(super) const FILE: FileId = 0;

/// A recording that is going on.
pub(super) struct Recording {
    recorder: Recorder,
    finishing: bool,
    /// Nobody else wrote into the folder when this began, so that all files there are ours to keep within the bound.
    pub alone: bool,
    _folder: SharedFolder,
}

impl Recording {
    /// `None` where nothing is to be recorded. Makes the folder if need be, and looks at what is in it.
    ///
    /// # Errors
    /// A folder that cannot be made, read or written.
    pub fn begin(args: &RecordArgs, sources: Vec<Interface>) -> Result<Option<Recording>, Failure> {
        let Some(folder) = &args.record else { return Ok(None) };
        let failure = |error| Failure::new(format_args!("cannot record into {}: {}", folder.display(), plain(&error)));
        fs::create_dir_all(folder).map_err(failure)?;
        // Rather now than in a log line that nobody reads.
        may_write(folder).map_err(failure)?;
        let (held, stored) = SharedFolder::enter(folder, || recordings(folder)).map_err(failure)?;
        let alone = stored.is_some();
        host::survive_file_size_limit();
        let settings = Settings {
            folder: folder.clone(),
            snap: args.record_snap,
            rotate_bytes: args.record_rotate_bytes,
            rotate_age: args.record_rotate_age,
            max_bytes: args.record_max_bytes,
        };
        let recorder =
            Recorder::new(settings, sources, host::kernel_release(), stored.unwrap_or_default(), host::clocks());
        Ok(Some(Recording { recorder, finishing: false, alone, _folder: held }))
    }

    pub fn datagram(
        &mut self,
        datagram: &UdpDatagram,
        stamp: KernelTime,
        from: SocketAddr,
        bytes: &[u8],
        clocks: Clocks,
    ) {
        if self.finishing {
            return;
        }
        self.recorder.datagram(datagram.socket, stamp, from, bytes, datagram.len, clocks);
    }

    pub fn unstamped(&mut self, mic: usize) {
        self.recorder.unstamped(mic);
    }

    /// At the start of a round, before its datagrams.
    pub fn observe(&mut self, host: &HostClock, inlets: &[Option<Inlet>], clocks: Clocks) {
        let ports = inlets.iter().flatten().flat_map(|inlet| &inlet.ports);
        let drops = ports.map(|port| (port.socket, port.drops.total()));
        self.recorder.observe(drops, host.steps(), host.last_step(), clocks);
        self.recorder.note_offset(host.offset());
    }

    /// Other sources from now on, each at its socket's place.
    pub fn change(&mut self, sources: Vec<Interface>, clocks: Clocks) {
        if !self.finishing {
            self.recorder.change(sources, clocks);
        }
    }

    /// At the end of a turn: the next operation goes to the ring, lines to the log.
    pub fn submit(&mut self, ring: &mut Ring, log: &mut Log, now: MonoTime) {
        if let Some(op) = self.recorder.next_op(now) {
            ring.file(FILE, op);
        }
        while let Some(line) = self.recorder.next_line() {
            log.line(&line);
        }
    }

    pub fn done(&mut self, op: FileOp, result: Result<usize, i32>, now: MonoTime) {
        self.recorder.done(op, result, now);
    }

    /// Ends the file with its last statistics; what comes after is not recorded.
    pub fn finish(&mut self, clocks: Clocks) {
        if !self.finishing {
            self.finishing = true;
            self.recorder.finish(clocks);
        }
    }

    pub fn is_drained(&self) -> bool {
        self.recorder.is_drained()
    }

    /// Why the disk takes nothing at present, if so.
    pub fn trouble(&self) -> Option<i32> {
        self.recorder.trouble()
    }

    /// What the disk does not have, in a line for people; `None` where it has everything.
    pub fn unwritten(&self) -> Option<String> {
        self.recorder.unwritten()
    }

    pub fn next_timeout(&self) -> Option<MonoTime> {
        self.recorder.next_timeout()
    }

    pub fn figures(&mut self) -> &RecordingFigures {
        self.recorder.figures()
    }
}

/// Our own recordings in a folder, oldest first, with their sizes.
fn recordings(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("micring-") && name.ends_with(".pcapng") {
            let metadata = entry.metadata()?;
            // A link or a folder of that name is nothing that we wrote.
            if metadata.is_file() {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    // The name begins with the time.
    found.sort_unstable();
    Ok(found)
}
