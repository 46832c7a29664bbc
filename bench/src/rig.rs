//! The machine and the plan: which core is whose, how many rounds, how long; and running a load on its core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use micring::sys::host;

use crate::load::Mics;
use crate::load::cycles::{self, Board};
use crate::load::flood::{self, Flood, Sent};
use crate::python::Python;

/// What every comparison needs.
pub struct Rig {
    /// Receivers and servers run here.
    pub under_test: usize,
    /// Senders and clients run here.
    pub load: usize,
    pub rounds: usize,
    /// Stretches every measurement; 1 is the plan's own length.
    pub stretch: f64,
    /// Small, and with answers checked: a test that it runs.
    pub quick: bool,
    pub python: Option<Python>,
    /// Where plots and the JSON go.
    pub out: std::path::PathBuf,
}

impl Rig {
    /// The last two cores of those allowed: the first ones serve interrupts on most machines.
    pub fn cores() -> Result<(usize, usize)> {
        let allowed = host::allowed_cpus()?;
        let under_test = *allowed.last().context("a core")?;
        let load = allowed.iter().rev().nth(1).copied().unwrap_or(under_test);
        Ok((under_test, load))
    }

    /// Seconds of a measurement that is meant to take so many.
    pub fn seconds(&self, usual: f64) -> f64 {
        if self.quick { (usual * 0.1).clamp(0.1, 0.4) } else { usual * self.stretch }
    }

    /// The order of `count` peers in a round: each begins once in so many rounds.
    pub fn order(&self, round: usize, count: usize) -> Vec<usize> {
        (0..count).map(|n| (n + round) % count).collect()
    }

    /// A thread on the load's core.
    pub fn on_load<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let core = self.load;
        thread::spawn(move || {
            host::pin_to(core).expect("the load's core is allowed");
            work()
        })
    }

    /// Floods from the load's core, to the end.
    pub fn flood(&self, flood: Flood, mics: Mics) -> Result<Sent> {
        self.on_load(move || flood::run(flood, mics, &AtomicBool::new(false))).join().expect("the sender")
    }

    /// A board on the load's core, to the end; the cycles sent.
    pub fn board(&self, board: Board, mics: Mics) -> Result<u64> {
        self.on_load(move || cycles::run(board, mics, &AtomicBool::new(false))).join().expect("the sender")
    }

    /// A board that runs until it is dropped.
    pub fn start_board(&self, board: Board, mics: Mics) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        Running { stop, thread: Some(self.on_load(move || cycles::run(board, mics, &flag))) }
    }

    pub fn progress(&self, text: std::fmt::Arguments<'_>) {
        eprintln!("  {text}");
    }
}

/// A load in the background.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Running {
    /// Waits for its own end.
    pub fn join(mut self) -> Result<u64> {
        self.thread.take().expect("joined once").join().expect("the sender")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is on its way arrives.
pub fn settle() {
    thread::sleep(Duration::from_millis(60));
}
