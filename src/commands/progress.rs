//! Progress: how far the reading of files is, for who looks on.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Records between two looks at the wall clock.
pub(super) const RECORDS_A_LOOK: u64 = 4_096;
/// How often the progress line changes.
const PROGRESS: Duration = Duration::from_millis(200);

/// A line on standard error, where that is a terminal.
pub(super) struct Progress {
    shown: bool,
    started: Instant,
    last: Instant,
    total: Option<u64>,
}

impl Progress {
    #[expect(clippy::disallowed_methods, reason = "a progress bar is for people, who live in real time")]
    pub fn new(files: &[PathBuf]) -> Progress {
        let sizes = files.iter().map(|path| path.metadata().ok().filter(|file| file.is_file()).map(|file| file.len()));
        let started = Instant::now();
        Progress { shown: io::stderr().is_terminal(), started, last: started, total: sizes.sum() }
    }

    #[expect(clippy::disallowed_methods, reason = "see above")]
    pub fn look(&mut self, position: u64) {
        let now = Instant::now();
        if !self.shown || now - self.last < PROGRESS {
            return;
        }
        self.last = now;
        let done = position;
        let rate = done as f64 / (now - self.started).as_secs_f64();
        let megabytes = |bytes: f64| bytes / 1e6;
        let (done_mb, rate_mb) = (megabytes(done as f64), megabytes(rate));
        let line = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let share = (done as f64 / total as f64).min(1.0);
                let filled = (share * 30.0) as usize;
                let bar: String = (0..30).map(|i| if i < filled { '#' } else { '.' }).collect();
                let left = (total.saturating_sub(done)) as f64 / rate;
                let total_mb = megabytes(total as f64);
                format!(
                    "[{bar}] {:3.0} %  {done_mb:.0} of {total_mb:.0} MB, {rate_mb:.0} MB/s, {left:.0} s left",
                    share * 100.0
                )
            }
            None => format!("{done_mb:.0} MB, {rate_mb:.0} MB/s"),
        };
        // A terminal that has gone takes nothing from the analysis.
        let _ = write!(io::stderr(), "\r{line:<78}");
    }

    pub fn end(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r{:<78}\r", "");
        }
    }
}
