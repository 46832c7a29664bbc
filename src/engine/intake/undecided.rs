//! Datagrams that wait, in the order in which they came, until it is known whose they are and what their sources send.
//!
//! The first datagrams of a source that declared nothing may look like another format's by chance; one from another port of the followed
//! address may be the same board's. While one waits, all that come
//! behind it wait too, whoever sends them: on one board their order tells which belong together.

use crate::engine::intake::tuning::undecided::{LONGEST, ROOM_EACH};
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::time::{KernelTime, MonoTime};

#[derive(Debug)]
pub(in crate::engine) struct Held {
    pub mic: usize,
    pub sender: SocketAddr,
    pub stamp: KernelTime,
    pub at: MonoTime,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(in crate::engine) struct Undecided {
    sources: usize,
    held: VecDeque<Held>,
}

impl Undecided {
    pub fn new(sources: usize) -> Undecided {
        Undecided { sources, held: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many datagrams of a source wait.
    pub fn of(&self, mic: usize) -> usize {
        self.held.iter().filter(|held| held.mic == mic).count()
    }

    pub fn hold(&mut self, held: Held) {
        self.held.push_back(held);
    }

    /// The oldest, unless it is still open what its source sends.
    pub fn next(&mut self, is_open: impl FnOnce(usize) -> bool) -> Option<Held> {
        if is_open(self.held.front()?.mic) { None } else { self.held.pop_front() }
    }

    /// Another sender took this source's place: what waits of the one before is not followed. Returns how many that were.
    pub fn drop_of(&mut self, mic: usize) -> usize {
        let before = self.held.len();
        self.held.retain(|held| held.mic != mic);
        before - self.held.len()
    }

    pub fn is_full(&self) -> bool {
        self.held.len() >= ROOM_EACH * self.sources
    }

    /// When the oldest came: for what is placed, no time has passed since.
    pub fn oldest(&self) -> Option<MonoTime> {
        self.held.front().map(|held| held.at)
    }

    /// When nothing may wait any longer.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.oldest().map(|oldest| oldest + LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_waits_any_more_no_time_runs() {
        let mut undecided = Undecided::new(3);
        let at = |ms: i64| MonoTime::from_nanos(ms * 1_000_000);
        let held = |mic: usize, ms: i64| Held {
            mic,
            sender: SocketAddr::from(([192, 0, 2, 1], 4_000)),
            stamp: KernelTime::from_nanos(0),
            at: at(ms),
            bytes: Vec::new(),
        };
        undecided.hold(held(1, 5));
        undecided.hold(held(0, 7));
        assert_eq!(undecided.deadline(), Some(at(1_005)));
        assert_eq!(undecided.drop_of(1), 1);
        assert_eq!(undecided.deadline(), Some(at(1_007)), "of what waits still");
        assert_eq!(undecided.drop_of(0), 1);
        assert_eq!(undecided.deadline(), None);
    }
}
