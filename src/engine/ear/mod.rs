//! By the sound: do free boards stand where they belong?
//!
//! Problem: after a queue, an outage, a reboot or a stand of whole periods arrival times number a board's packets as well as they
//! can, and may be wrong by whole packets, or by some samples after a reboot.
//!
//! Idea: while nothing is in doubt, the sound of each pair of boards is collected into a fingerprint of the room
//! ([`fingerprint`](crate::sound::fingerprint)), anew each minute. After something that may have moved a board it is collected again,
//! from the emitted history, and compared. What several boards say about one is added up. A shift that stands out is put right from
//! the next packet on; where nothing stands out, nothing changes.
//!
//! All of it is made of slices of some ten microseconds: one [`Ear::step`] is one of them. Which boards are compared with which:
//! all with all while there are four, else each with the next two.

mod job;
mod tuning;

use super::history::History;
use crate::engine::ear::tuning::ear::{
    AGAIN, ALL_PAIRS, BEFORE_NOTED, EARLY_LEAST_S, EXACT, EXACT_REACH_S, FLOORS_SETTLE, KEEPS, LEAST_RATE, SETTLES,
    STALE,
};
use crate::sound::fingerprint::{Correlogram, DECIDED, FEWEST_BLOCKS, Likeness, TRUSTED_BLOCKS, Track, Whitener};
use crate::time::{FramePos, MonoTime};
use job::{Job, KEPT, Stage};

/// What is known of one board.
#[derive(Debug, Default)]
struct Mic {
    whitener: Whitener,
    track: Track,
    doubt: Option<Doubt>,
    /// In the present job it was shown to stand where it belongs.
    proved: bool,
}

/// Something may have moved a board.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// Where its packets go since the newest of it.
    from: FramePos,
    /// The oldest of it, and the newest.
    since: MonoTime,
    newest: MonoTime,
    /// It is not put off.
    urgent: bool,
    /// It began anew, and may be off by any number of samples.
    anew: bool,
}

/// Two boards.
#[derive(Debug)]
struct Pair {
    first: usize,
    second: usize,
    trusted: Option<Trusted>,
    fresh: Correlogram,
    /// What was collected since the fingerprint, and shown to be of the same placement: the next one.
    growing: Correlogram,
    likeness: Likeness,
}

impl Pair {
    fn is_of(&self, mic: usize) -> bool {
        self.first == mic || self.second == mic
    }
}

/// A fingerprint of a time in which placement was not in doubt.
#[derive(Debug)]
struct Trusted {
    of: Correlogram,
    until: MonoTime,
    /// Minutes in which nothing fitted it.
    stale: u32,
}

/// What happened to a board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Happened {
    /// A loss that hardly can be anything else: it is looked at when it is time to.
    Lost,
    /// A loss that may be none.
    Doubtful,
    /// It may have moved in any way.
    Much,
    /// Since then it stood elsewhere than it does now.
    MovedSince(MonoTime),
    /// It has a new offset.
    Anew,
}

/// Where arrivals have put a board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// Samples.
    pub packet: u32,
    /// By so many packets it may be too early at most: more were not lost, or the rest would have come before it was sent.
    pub early: i64,
    /// By so many too late: more were not taken for lost.
    pub late: i64,
}

/// A board that may be off.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    mic: usize,
    packets: i64,
    margin: f64,
    /// By how many deviations it explains more than that nobody is off, and by how many the next-best explanation by another board does.
    gain: f64,
    second: f64,
    /// Among all shifts of this board.
    stands_out: bool,
}

/// What the sound shows of a board.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Finding {
    /// It stands where it belongs.
    Proved { mic: usize },
    /// It stands so many packets too late (below 0: too early).
    Off { mic: usize, packets: i64, margin: f64, after: MonoTime, newest: MonoTime },
    /// It stands so many samples too late since it began anew.
    OffBy { mic: usize, samples: f64, margin: f64 },
}

/// What a step was.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Step {
    /// There is nothing to do now.
    Idle,
    Worked,
    Found(Finding),
}

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shifts {
    /// Placements that were shown to be right, or wrong.
    pub checked: u64,
    /// Of those, the wrong ones.
    pub corrected: u64,
    /// Doubts for which nothing stood out for eight seconds.
    pub unknown: u64,
    /// Audio that was overwritten before its turn came.
    pub skipped: u64,
}

/// What listens.
#[derive(Debug)]
pub(super) struct Ear {
    mics: Vec<Mic>,
    pairs: Vec<Pair>,
    job: Option<Job>,
    /// When the next job begins; `None` until positions have started.
    due: Option<MonoTime>,
    /// When the next fingerprint is.
    fingerprint_due: Option<MonoTime>,
    /// In samples.
    exact_reach: f64,
    early_least: f64,
    /// When positions started.
    started: Option<MonoTime>,
    shifts: Shifts,
    /// Room for a block.
    block: Box<[i32; crate::sound::fingerprint::FULL_BLOCK]>,
    /// Of the present look.
    candidate: Option<Candidate>,
    /// Room for what several pairs say of one board.
    joint: Likeness,
}

impl Ear {
    /// `None` where there is nobody to compare with, or the rate is too low.
    pub fn new(mics: usize, sample_rate: u32) -> Option<Ear> {
        if mics < 2 || sample_rate < LEAST_RATE {
            return None;
        }
        let pair = |(first, second)| Pair {
            first,
            second,
            trusted: None,
            fresh: Correlogram::default(),
            growing: Correlogram::default(),
            likeness: Likeness::default(),
        };
        Some(Ear {
            mics: (0..mics).map(|_| Mic::default()).collect(),
            pairs: pairs_of(mics).map(pair).collect(),
            job: None,
            due: None,
            fingerprint_due: None,
            exact_reach: EXACT_REACH_S * f64::from(sample_rate),
            early_least: EARLY_LEAST_S * f64::from(sample_rate),
            started: None,
            shifts: Shifts::default(),
            block: Box::new([0; crate::sound::fingerprint::FULL_BLOCK]),
            candidate: None,
            joint: Likeness::default(),
        })
    }

    pub fn shifts(&self) -> Shifts {
        self.shifts
    }

    /// Something happened to a board whose packets go to `from` on.
    pub fn note(&mut self, mic: usize, happened: Happened, from: FramePos, now: MonoTime) {
        if let Happened::MovedSince(since) = happened {
            for pair in self.pairs.iter_mut().filter(|pair| pair.is_of(mic)) {
                pair.trusted = pair.trusted.take().filter(|trusted| trusted.until < since);
                pair.growing.clear();
            }
        }
        let since = if let Happened::MovedSince(since) = happened { since } else { now };
        let before = self.mics[mic].doubt;
        let urgent = happened != Happened::Lost;
        self.mics[mic].doubt = Some(Doubt {
            from,
            since: before.map_or(now + -BEFORE_NOTED, |doubt| doubt.since).min(since),
            newest: now,
            urgent: urgent || before.is_some_and(|doubt| doubt.urgent),
            anew: happened == Happened::Anew || before.is_some_and(|doubt| doubt.anew),
        });
        let Some(due) = &mut self.due else { return };
        match happened {
            Happened::Lost => {}
            Happened::Doubtful => *due = (*due).min(now),
            // What was collected of the time before says nothing of now.
            Happened::Much | Happened::MovedSince(_) | Happened::Anew => {
                self.keep_first(now);
                self.begin(from);
            }
        }
    }

    /// One slice of work. `placed`: what is known of a board, and happened since; `None` where its place is not inferred.
    pub fn step(
        &mut self,
        history: &History,
        placed: impl Fn(usize, MonoTime) -> Option<Bounds>,
        now: MonoTime,
    ) -> Step {
        self.started.get_or_insert(now);
        let due = *self.due.get_or_insert(now + SETTLES);
        self.fingerprint_due.get_or_insert(due);
        if self.job.is_none() {
            if now < due {
                return Step::Idle;
            }
            let urgent = self.mics.iter().filter_map(|mic| mic.doubt).filter(|doubt| doubt.urgent);
            let from = urgent.map(|doubt| doubt.from).max();
            self.begin(from.unwrap_or(history.span().end));
        }
        let job = self.job.as_ref().expect("it has begun");
        match job.stage {
            Stage::Read(mic) => self.read(mic, history),
            Stage::Add(pair) => self.add(pair),
            Stage::Compare(pair) => self.compare(pair),
            Stage::Decide(mic) if mic < self.mics.len() => {
                let placed = self.mics[mic].doubt.and_then(|doubt| placed(mic, doubt.since));
                self.decide(mic, placed)
            }
            Stage::Decide(_) => self.have_looked(now),
        }
    }

    /// It was put right: from there on it is looked at again.
    pub fn put_right(&mut self, mic: usize, from: FramePos, now: MonoTime) {
        self.shifts.corrected += 1;
        self.mics[mic].doubt = None;
        self.note(mic, Happened::Much, from, now);
    }

    /// It began anew, and its offset was told; it is looked at again soon.
    pub fn look_again(&mut self, mic: usize, from: FramePos, now: MonoTime) {
        let doubt = Doubt { from, since: now, newest: now, urgent: false, anew: true };
        self.mics[mic].doubt = Some(doubt);
        self.due = self.due.map(|due| due.min(now + AGAIN));
    }

    /// What this board's pairs say of it together; `None` where there is no fingerprint to compare with.
    fn joint(&mut self, mic: usize) -> Option<&Likeness> {
        self.joint.clear();
        let mut heard = false;
        for pair in &self.pairs {
            let whole = pair.trusted.is_some() && pair.fresh.blocks() >= FEWEST_BLOCKS;
            if whole && pair.is_of(mic) {
                self.joint.add(&pair.likeness, pair.first == mic);
                heard = true;
            }
        }
        heard.then_some(&self.joint)
    }

    /// The smallest offset that the fingerprints of a board can show, in samples.
    fn least_offset(&self, mic: usize) -> f64 {
        let settled = self.started.map(|started| started + FLOORS_SETTLE);
        let mut trusted = self.pairs.iter().filter(|pair| pair.is_of(mic)).filter_map(|pair| pair.trusted.as_ref());
        let early = trusted.any(|trusted| settled.is_none_or(|settled| trusted.until < settled));
        if early { self.early_least } else { 0.0 }
    }

    fn decide(&mut self, mic: usize, placed: Option<Bounds>) -> Step {
        let job = self.job.as_mut().expect("it decides");
        job.stage = Stage::Decide(mic + 1);
        let from = job.from;
        let believed = self.least_offset(mic)..=self.exact_reach;
        let (Some(doubt), false) = (self.mics[mic].doubt, self.mics[mic].proved) else { return Step::Worked };
        let Some(placed) = placed.filter(|placed| placed.packet > 0) else { return Step::Worked };
        let Some(joint) = self.joint(mic) else { return Step::Worked };
        if doubt.anew {
            let exact = joint.exact().filter(|(samples, margin)| *margin >= EXACT && believed.contains(&samples.abs()));
            if let Some((samples, margin)) = exact {
                self.shifts.checked += 1;
                (self.mics[mic].proved, self.mics[mic].doubt) = (true, None);
                return Step::Found(Finding::OffBy { mic, samples, margin });
            }
        }
        let Some(shift) = joint.best(placed.packet) else { return Step::Worked };
        if shift.packets == 0 && doubt.anew {
            return Step::Worked;
        }
        if shift.packets == 0 && shift.margin >= DECIDED {
            return self.prove(mic, doubt, from);
        }
        // Which of all that may be would explain most?
        let may_be = (-placed.early..=placed.late).filter(|&packets| packets != 0);
        let gains = may_be.filter_map(|packets| Some((packets, joint.gain(packets, placed.packet)?)));
        let Some((packets, gain)) = gains.max_by(|a, b| a.1.total_cmp(&b.1)) else { return Step::Worked };
        let stands_out = packets == shift.packets && shift.margin >= DECIDED;
        let candidate = Candidate { mic, packets, margin: shift.margin, gain, second: 0.0, stands_out };
        self.candidate = Some(match self.candidate {
            Some(best) if best.gain >= gain => Candidate { second: best.second.max(gain), ..best },
            Some(best) => Candidate { second: best.gain, ..candidate },
            None => candidate,
        });
        Step::Worked
    }

    fn prove(&mut self, mic: usize, doubt: Doubt, from: FramePos) -> Step {
        self.shifts.checked += 1;
        self.mics[mic].proved = true;
        if doubt.from <= from {
            self.mics[mic].doubt = None;
            return Step::Found(Finding::Proved { mic });
        }
        // What happened since this began is the next one's.
        self.mics[mic].doubt = Some(Doubt { since: doubt.newest + -BEFORE_NOTED, ..doubt });
        Step::Worked
    }

    /// The board that is off, if one explains what is heard so much better than any other.
    fn choose(&mut self) -> Option<Finding> {
        let Candidate { mic, packets, margin, gain, second, stands_out } = self.candidate.take()?;
        let doubt = self.mics[mic].doubt?;
        let (after, newest) = (doubt.since, doubt.newest);
        (stands_out && gain - second >= DECIDED).then_some(Finding::Off { mic, packets, margin, after, newest })
    }

    /// Goes on listening, or ends: all doubts that it was for are over, or it has heard enough.
    fn have_looked(&mut self, now: MonoTime) -> Step {
        if let Some(finding) = self.choose() {
            return Step::Found(finding);
        }
        let job = self.job.as_mut().expect("it has looked");
        let open = |mic: &Mic| !mic.proved && mic.doubt.is_some_and(|doubt| doubt.from <= job.from);
        let open = self.mics.iter().filter(|mic| open(mic)).count() as u64;
        let wants_whole = self.fingerprint_due.is_none_or(|due| now >= due);
        if !job.is_full() && (open > 0 || wants_whole) {
            job.stage = Stage::Read(0);
            return Step::Worked;
        }
        let (full, from) = (job.is_full(), job.from);
        self.job = None;
        self.shifts.unknown += open;
        self.keep(full, from, now);
        let waits = |mic: &Mic| mic.doubt.is_some_and(|doubt| doubt.urgent && doubt.from > from);
        let fingerprint_due = self.fingerprint_due.expect("positions have started");
        self.due = Some(match self.mics.iter().any(waits) {
            true => now,
            false if open > 0 || self.mics.iter().any(|mic| mic.doubt.is_some_and(|doubt| doubt.anew)) => {
                fingerprint_due.min(now + AGAIN)
            }
            false => fingerprint_due,
        });
        Step::Worked
    }

    /// What was collected becomes part of the next fingerprint where it is of the same placement.
    fn keep(&mut self, full: bool, from: FramePos, now: MonoTime) {
        let stands =
            |mic: &Mic| mic.proved || mic.doubt.is_none_or(|doubt| !doubt.urgent && (full || doubt.from > from));
        for pair in &mut self.pairs {
            let placed = stands(&self.mics[pair.first]) && stands(&self.mics[pair.second]);
            match &mut pair.trusted {
                Some(trusted) if !placed => {
                    trusted.stale += u32::from(full);
                    if trusted.stale < STALE {
                        continue;
                    }
                    pair.growing.clear();
                }
                None if !full => continue,
                _ => {}
            }
            pair.growing.join(&pair.fresh);
            if pair.growing.blocks() >= KEPT || (full && pair.growing.blocks() >= TRUSTED_BLOCKS) {
                let of = std::mem::take(&mut pair.growing);
                pair.trusted = Some(Trusted { of, until: now, stale: 0 });
                self.fingerprint_due = Some(now + KEEPS);
            }
        }
        if full {
            self.fingerprint_due = Some(now + KEEPS);
        }
    }

    /// Before there is any fingerprint, what was collected until now has to do.
    fn keep_first(&mut self, now: MonoTime) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.trusted.is_none()) {
            if pair.fresh.blocks() >= TRUSTED_BLOCKS {
                pair.trusted = Some(Trusted { of: std::mem::take(&mut pair.fresh), until: now, stale: 0 });
            }
        }
    }
}

/// Which boards are compared.
fn pairs_of(mics: usize) -> impl Iterator<Item = (usize, usize)> {
    let all = mics <= ALL_PAIRS;
    (0..mics).flat_map(move |first| {
        let behind = if all { first + 1..mics } else { first + 1..first + 3 };
        behind.map(move |second| (first, second % mics))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_board_has_partners_and_their_number_is_in_proportion() {
        assert_eq!(pairs_of(3).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!((pairs_of(4).count(), pairs_of(64).count()), (6, 128));
        let partners = |mic| pairs_of(7).filter(|&(a, b)| a == mic || b == mic).count();
        assert!((0..7).all(|mic| partners(mic) == 4));
    }

    #[test]
    fn one_board_or_a_low_rate_hears_nothing() {
        assert!(Ear::new(1, 48_000).is_none() && Ear::new(3, 16_000).is_none() && Ear::new(2, 44_100).is_some());
    }
}
