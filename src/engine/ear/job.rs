//! Listening, once: blocks are read from the history, whitened, correlated, and looked at after a third of a second, half a second,
//! and so on.

use super::{Ear, Step};
use crate::engine::ear::tuning::job::{BEFORE, LAG, LEAD, SHIFTS_AT_ONCE};
use crate::engine::history::History;
use crate::sound::fingerprint::{FEWEST_BLOCKS, FULL_BLOCK};
use crate::time::FramePos;

/// Blocks of a fingerprint: eight seconds.
pub(super) const KEPT: u32 = 750;
/// After so many blocks it is looked at.
const LOOKS: [u32; 17] = [FEWEST_BLOCKS, 40, 48, 56, 64, 76, 88, 104, 120, 140, 160, 190, 225, 270, 350, 512, KEPT];

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// A block of a board.
    Read(usize),
    /// The newest block of a pair.
    Add(usize),
    Compare(usize),
    /// What is said of a board; behind the last of them, what comes of it.
    Decide(usize),
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Job {
    /// What is collected is of the time from there on.
    pub from: FramePos,
    next: FramePos,
    read: u32,
    added: u32,
    pub stage: Stage,
}

impl Job {
    /// All blocks of a fingerprint were collected.
    pub fn is_full(&self) -> bool {
        self.added >= KEPT
    }
}

impl Ear {
    /// Listens from there on.
    pub(super) fn begin(&mut self, from: FramePos) {
        let next = from + -BEFORE * FULL_BLOCK as i64;
        self.job = Some(Job { from, next, read: 0, added: 0, stage: Stage::Read(0) });
        self.pairs.iter_mut().for_each(|pair| pair.fresh.clear());
        self.mics.iter_mut().for_each(|mic| mic.proved = false);
    }

    pub(super) fn read(&mut self, mic: usize, history: &History) -> Step {
        let job = self.job.as_mut().expect("it reads");
        let (span, last) = (history.span(), mic + 1 == self.mics.len());
        if job.next + FULL_BLOCK as i64 > span.end + -LAG {
            return Step::Idle;
        }
        if job.next < span.start {
            if job.read > 0 {
                self.shifts.skipped += 1;
            }
            let from = job.from.max(span.start + (BEFORE + 1) * FULL_BLOCK as i64);
            self.begin(from);
            let job = self.job.as_mut().expect("it has begun");
            job.next = job.next.max(span.start);
            return Step::Worked;
        }
        let channel = history.layout().channels_of(mic).start;
        history.listen(channel, job.next, &mut self.block[..]).expect("it is inside the span");
        let Mic { whitener, track, .. } = &mut self.mics[mic];
        track.push(&whitener.push(&self.block));
        job.stage = match last {
            false => Stage::Read(mic + 1),
            true => {
                job.next = job.next + FULL_BLOCK as i64;
                job.read += 1;
                if job.read < LEAD { Stage::Read(0) } else { Stage::Add(0) }
            }
        };
        Step::Worked
    }

    pub(super) fn add(&mut self, pair: usize) -> Step {
        let job = self.job.as_mut().expect("it collects");
        let last = pair + 1 == self.pairs.len();
        let pair_of = &mut self.pairs[pair];
        pair_of.fresh.add(&self.mics[pair_of.first].track, &self.mics[pair_of.second].track, KEPT);
        job.stage = match last {
            false => Stage::Add(pair + 1),
            true => {
                job.added += 1;
                if LOOKS.contains(&job.added) { Stage::Compare(0) } else { Stage::Read(0) }
            }
        };
        if job.stage == Stage::Compare(0) {
            self.pairs.iter_mut().for_each(|pair| pair.likeness.clear());
            self.candidate = None;
        }
        Step::Worked
    }

    pub(super) fn compare(&mut self, pair: usize) -> Step {
        let job = self.job.as_mut().expect("it compares");
        let count = self.pairs.len();
        let Pair { trusted, fresh, likeness, .. } = &mut self.pairs[pair];
        let whole = match trusted {
            Some(trusted) if fresh.blocks() >= FEWEST_BLOCKS => trusted.of.compare(fresh, likeness, SHIFTS_AT_ONCE),
            _ => true,
        };
        if whole {
            job.stage = if pair + 1 < count { Stage::Compare(pair + 1) } else { Stage::Decide(0) };
        }
        Step::Worked
    }
}

use super::{Mic, Pair};
