//! The machine and the plan: which core is whose, how many rounds, how long; and running a load on its core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use micring::sys::host;

use crate::load::Mics;
use crate::load::cycles::{self, Board};
use crate::load::flood::{self, Flood, Sent};
use crate::os;
use crate::process::Process;
use crate::python::Python;

/// SCHED_FIFO priorities on the load's core: a board's packets leave on time, whatever the client does.
const BOARD: i32 = 3;
pub const CLIENT: i32 = 2;

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
    /// Throughput is measured before whatever else runs on this machine: for one that is not quiet.
    pub isolate: bool,
    /// How many arrays, each a row.
    pub counts: Vec<usize>,
    pub python: Option<Python>,
    /// Peers that cannot be had here, and why.
    pub missing: RefCell<BTreeMap<String, String>>,
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

    /// A peer, or `None` where it cannot be had here: that is said once, and the others are worth having all the same.
    pub fn had<T>(&self, name: &str, started: Result<T>) -> Option<T> {
        match started {
            Ok(peer) => Some(peer),
            Err(error) => {
                self.lacks(name, &error);
                None
            }
        }
    }

    /// Notes a peer that cannot be had, loudly the first time.
    pub fn lacks(&self, name: &str, why: &anyhow::Error) {
        let mut missing = self.missing.borrow_mut();
        missing.entry(name.to_owned()).or_insert_with(|| {
            eprintln!("bench: WITHOUT {name}, in every comparison: {why:#}");
            format!("{why:#}")
        });
    }

    /// Seconds of a measurement that is meant to take so many.
    pub fn seconds(&self, usual: f64) -> f64 {
        if self.quick { (usual * 0.1).clamp(0.1, 0.4) } else { usual * self.stretch }
    }

    /// The order of `count` peers in a round: each begins once in so many rounds.
    pub fn order(&self, round: usize, count: usize) -> Vec<usize> {
        (0..count).map(|n| (n + round) % count).collect()
    }

    /// A thread on the load's core. Boards and clients are instruments: where that is allowed they go before whatever else
    /// runs there, so that what is measured is the other core's doing. Floods do not: they never sleep.
    pub fn on_load<T: Send + 'static>(
        &self,
        priority: Option<i32>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let core = self.load;
        thread::spawn(move || {
            host::pin_to(core).expect("the load's core is allowed");
            if let Some(priority) = priority {
                // Refused without CAP_SYS_NICE: then they take turns with the rest, for every peer alike.
                let _ = os::set_fifo(0, priority);
            }
            work()
        })
    }

    /// Where asked for, puts all threads of a process under test into SCHED_FIFO: other programs then take nothing from it.
    /// Beyond 95 % of a core the kernel throttles it, every peer alike.
    pub fn isolate(&self, process: &Process) -> Result<()> {
        if self.isolate {
            // Threads that are made right after the ready line.
            settle();
            for task in std::fs::read_dir(format!("/proc/{}/task", process.pid()))? {
                let task = task?.file_name().to_string_lossy().parse()?;
                os::set_fifo(task, 10).context("SCHED_FIFO for a process under test")?;
            }
        }
        Ok(())
    }

    /// Floods from the load's core, to the end.
    pub fn flood(&self, flood: Flood, mics: Mics) -> Result<Sent> {
        self.on_load(self.isolate.then_some(BOARD), move || flood::run(flood, mics, &AtomicBool::new(false)))
            .join()
            .expect("the sender")
    }

    /// A board on the load's core, to the end; the cycles sent.
    pub fn board(&self, board: Board, mics: impl Into<Vec<SocketAddr>>) -> Result<u64> {
        let mics = mics.into();
        self.on_load(Some(BOARD), move || cycles::run(board, &mics, &AtomicBool::new(false)))
            .join()
            .expect("the sender")
    }

    pub fn progress(&self, text: std::fmt::Arguments<'_>) {
        eprintln!("  {text}");
    }
}

/// What is on its way arrives.
pub fn settle() {
    thread::sleep(Duration::from_millis(60));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_cannot_be_had_is_noted_and_is_no_failure() {
        let rig = Rig {
            under_test: 0,
            load: 0,
            rounds: 1,
            stretch: 1.0,
            quick: true,
            isolate: false,
            counts: Vec::new(),
            python: None,
            missing: RefCell::default(),
            out: std::path::PathBuf::new(),
        };
        assert_eq!(rig.had("there", Ok(7)), Some(7));
        let nowhere = || Process::start(std::process::Command::new("/nonexistent/peer"));
        assert!(rig.had("not there", nowhere()).is_none() && rig.had("not there", nowhere()).is_none());
        let missing = rig.missing.borrow();
        assert_eq!(missing.keys().collect::<Vec<_>>(), ["not there"]);
        assert!(missing["not there"].contains("No such file"), "{missing:?}");
    }
}
