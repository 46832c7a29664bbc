//! Numbers become positions: what is lost, late or a copy is known, not inferred.
//!
//! Problem: a number wraps (after 11 minutes, of 16 bits), may be overtaken, may come twice, may begin anew with the sender; and it
//! counts datagrams, while positions count frames.
//!
//! Idea: the number is unwrapped as RFC 3550 A.1 does it: a step forward within MAX_DROPOUT is loss, one backward within
//! MAX_MISORDER is order, anything else is a jump, and only MIN_SEQUENTIAL in a row make a new beginning of it. The sender's time
//! says how many frames a gap has, where it counts samples; else the sizes do, which repeat. A gap in time without one in the
//! numbers is silence, not loss.

use super::{Counts, Number, Stamp, Stream, Unit};

/// RFC 3550 A.1: "The typical values ... are based on a maximum misordering time of 2 seconds at 50 packets/second and a maximum
/// dropout of 1 minute": both in seconds, so that they hold at any packet rate.
const MAX_DROPOUT_S: u64 = 60;
const MAX_MISORDER_S: u64 = 2;
/// RFC 3550 A.1: so many in a row make a sender valid again after a jump.
const MIN_SEQUENTIAL: u32 = 2;
/// Datagrams that are remembered: two seconds of the smallest packets that are usual (64 frames at 96 kHz are 1500 a second).
const REMEMBERED: usize = 4096;
/// Sizes that are looked at for a pattern, and the longest: Arduino cuts in at most six, VBAN's 256 frames a packet in fewer.
const SEEN: usize = 32;
const LONGEST_PATTERN: usize = 8;

/// A numbered unit, without its samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered {
    pub number: Number,
    pub frames: u32,
    pub sampled_at: Option<Stamp>,
    pub stream: Stream,
}

impl Numbered {
    /// `None` where it has no number of its own, or no whole frame.
    pub fn of(unit: &Unit<'_>) -> Option<Numbered> {
        let number = unit.number.filter(|number| number.counts == Counts::Datagrams)?;
        let frames = unit.frames();
        (frames > 0).then_some(Numbered { number, frames, sampled_at: unit.sampled_at, stream: unit.stream })
    }
}

/// Where a unit belongs. Positions count the frames of its source, from the first unit since it began (anew).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is the newest.
    Next(Next),
    /// One that was missing when a newer one came.
    Filled { position: i64 },
    /// Its number was there before.
    Copy,
    /// It is older than what is remembered, or does not fit between its neighbours.
    TooOld,
    /// Its number is far from all that was expected: the next one tells whether the sender began anew.
    Jump,
    /// The sender began anew: position 0 of a new count.
    Anew,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    pub position: i64,
    /// Datagrams before it that did not come, or not yet.
    pub missing: u32,
    /// The frames that they had.
    pub missing_frames: i64,
    /// Frames before it in which the sender sent nothing, by its own time.
    pub silence: i64,
}

/// A datagram that came, or whose place is known.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Which one: several share a slot, by turns.
    index: i64,
    position: i64,
    frames: u32,
    came: bool,
}

/// One source's numbers.
#[derive(Debug)]
pub struct Known {
    sample_rate: u32,
    slots: Box<[Seen]>,
    /// Where the newest datagram ended that came and is not remembered any more.
    forgotten: i64,
    now: Option<Now>,
    jump: Option<Jump>,
}

/// The newest datagram of a source.
#[derive(Clone, Copy, Debug)]
struct Now {
    stream: Stream,
    /// Datagrams since the first.
    index: i64,
    number: Number,
    position: i64,
    frames: u32,
    stamp: Option<Stamp>,
    /// Steps of the stamp were those of the frames, to the sample, so far.
    exact: bool,
    /// In datagrams.
    dropout: u64,
    misorder: u64,
}

/// What sizes datagrams should have.
struct Sizes {
    newest: i64,
    pattern: i64,
    /// Of the newest, of the one before it, and so on: a pattern, in frames.
    turn: [i64; LONGEST_PATTERN],
}

impl Sizes {
    fn of(&self, index: i64) -> i64 {
        self.turn[(self.newest - index).rem_euclid(self.pattern) as usize]
    }

    /// Frames of `count` datagrams from `first` on.
    fn sum(&self, first: i64, count: i64) -> i64 {
        let some = |count: i64| (0..count).map(|nth| self.of(first + nth)).sum::<i64>();
        count / self.pattern * some(self.pattern) + some(count % self.pattern)
    }
}

/// What a new beginning would go on with.
#[derive(Clone, Copy, Debug)]
struct Jump {
    stream: Stream,
    next: u64,
    in_a_row: u32,
}

/// How far a number is from the newest.
enum Step {
    Same,
    Ahead(u64),
    Behind(u64),
    Far,
}

impl Known {
    /// `sample_rate`: of the array, in frames a second.
    pub fn new(sample_rate: u32) -> Known {
        Known {
            sample_rate,
            slots: vec![Seen::default(); REMEMBERED].into(),
            forgotten: i64::MIN,
            now: None,
            jump: None,
        }
    }

    /// The next unit begins anew: another sender, or a silence longer than the numbers can tell.
    pub fn forget(&mut self) {
        (self.now, self.jump) = (None, None);
    }

    /// Frames of silence after which the numbers may have wrapped unseen.
    pub fn reach(&self) -> i64 {
        self.now.map_or(i64::MAX, |now| now.dropout as i64 * i64::from(now.frames))
    }

    /// Places one unit.
    pub fn place(&mut self, unit: &Numbered) -> Place {
        let Some(now) = self.now else {
            self.begin(unit);
            return Place::Anew;
        };
        let step = if now.stream == unit.stream { step(&now, unit.number) } else { Step::Far };
        let place = match step {
            Step::Same => self.behind(&now, 0, unit),
            Step::Behind(by) => self.behind(&now, by, unit),
            Step::Ahead(by) => match self.ahead(&now, by, unit) {
                Some(next) => Place::Next(next),
                None => return self.jumped(unit),
            },
            Step::Far => return self.jumped(unit),
        };
        self.jump = None;
        place
    }

    /// RFC 3550 A.1: "Two sequential packets -- assume that the other side restarted without telling us".
    fn jumped(&mut self, unit: &Numbered) -> Place {
        let in_a_row = match self.jump {
            Some(jump) if jump.stream == unit.stream && jump.next == unit.number.value => jump.in_a_row + 1,
            _ => 1,
        };
        if in_a_row >= MIN_SEQUENTIAL {
            self.begin(unit);
            return Place::Anew;
        }
        self.jump = Some(Jump { stream: unit.stream, next: after(unit.number, 1), in_a_row });
        Place::Jump
    }

    fn begin(&mut self, unit: &Numbered) {
        let a_second = u64::from((self.sample_rate / unit.frames).max(1));
        let range = range(unit.number);
        // A number of few bits: three quarters of its range ahead, a quarter behind.
        let dropout = (MAX_DROPOUT_S * a_second).min(range / 4 * 3);
        let misorder = (MAX_MISORDER_S * a_second).min(range / 4).min(REMEMBERED as u64 - 1);
        self.slots.fill(Seen { index: i64::MIN, ..Seen::default() });
        self.forgotten = i64::MIN;
        self.jump = None;
        let now = Now {
            stream: unit.stream,
            index: 0,
            number: unit.number,
            position: 0,
            frames: unit.frames,
            stamp: usable(unit.sampled_at, self.sample_rate),
            exact: true,
            dropout,
            misorder,
        };
        self.now = Some(now);
        self.keep(Seen { index: 0, position: 0, frames: unit.frames, came: true });
    }

    /// A number that was passed: missing, or a copy.
    fn behind(&mut self, now: &Now, by: u64, unit: &Numbered) -> Place {
        let index = now.index - by as i64;
        let slot = *self.slot(index);
        if slot.index != index {
            return Place::TooOld;
        }
        if slot.came {
            return Place::Copy;
        }
        let told = now.stamp.zip(usable(unit.sampled_at, self.sample_rate)).filter(|_| now.exact);
        let position = told.map_or(slot.position, |(from, to)| now.position + stamp_step(from, to));
        // The newest came, so that there is one behind it.
        let next = (index + 1..=now.index)
            .find(|&later| self.came(later).is_some())
            .map_or(now.position, |i| self.slot(i).position);
        let before =
            (1..REMEMBERED as i64).map(|by| *self.slot(index - by)).find(|slot| slot.came || slot.index > index);
        let free = before.is_none_or(|before| before.index > index || before.end() <= position);
        if !free || position < self.forgotten || position + i64::from(unit.frames) > next {
            return Place::TooOld;
        }
        self.keep(Seen { index, position, frames: unit.frames, came: true });
        Place::Filled { position }
    }

    /// A newer one; `None` where its time says that it is none.
    fn ahead(&mut self, now: &Now, by: u64, unit: &Numbered) -> Option<Next> {
        let missing = by as i64 - 1;
        let stamp = usable(unit.sampled_at, self.sample_rate);
        let held = i64::from(now.frames);
        // In steady running nothing is missing, and nothing looked up.
        let sizes = (missing > 0).then(|| self.sizes());
        let guessed = sizes.as_ref().map_or(0, |sizes| sizes.sum(now.index + 1, missing));
        let told = now.stamp.zip(stamp).map(|(from, to)| stamp_step(from, to) - held);
        if told.is_some_and(|told| (told - guessed).unsigned_abs() > MAX_DROPOUT_S * u64::from(self.sample_rate)) {
            return None;
        }
        // Less than half a datagram off is how a sender rounds its time.
        let rounded = |told: i64| 2 * (told - guessed).abs() < held.max(unit.frames.into());
        let (gap, exact) = match told {
            None => (guessed, now.exact),
            Some(told) if told < 0 => (guessed, false),
            Some(told) if missing == 0 && told == 0 => (0, now.exact),
            Some(told) if !rounded(told) || now.exact && missing > 0 => (told, now.exact),
            Some(_) => (guessed, false),
        };
        let index = now.index + by as i64;
        let position = now.position + held + gap;
        if let Some(sizes) = sizes {
            self.remember_missing(now, missing, gap, Some(sizes).filter(|_| gap == guessed));
        }
        self.keep(Seen { index, position, frames: unit.frames, came: true });
        self.now = Some(Now { index, number: unit.number, position, frames: unit.frames, stamp, exact, ..*now });
        let silence = if missing == 0 { gap } else { 0 };
        Some(Next { position, missing: missing as u32, missing_frames: gap - silence, silence })
    }

    /// Keeps places for what did not come; those before the newest `REMEMBERED` would be forgotten at once. Where the sizes
    /// do not make up the gap, each has an equal share.
    fn remember_missing(&mut self, now: &Now, missing: i64, gap: i64, sizes: Option<Sizes>) {
        let first = (missing - REMEMBERED as i64 + 2).max(0);
        let mut end = now.position + i64::from(now.frames) + gap;
        for nth in (first..missing).rev() {
            let index = now.index + 1 + nth;
            let frames = sizes.as_ref().map_or(gap / missing, |sizes| sizes.of(index));
            end -= frames;
            self.keep(Seen { index, position: end, frames: frames as u32, came: false });
        }
    }

    /// How the newest sizes repeat: the shortest pattern that they have, else their mean.
    fn sizes(&mut self) -> Sizes {
        let newest = self.now.map_or(0, |now| now.index);
        let came: [Option<i64>; SEEN] = std::array::from_fn(|back| self.came(newest - back as i64));
        let pattern = (1..=LONGEST_PATTERN).find(|&pattern| {
            let like = |place: usize| came.iter().skip(place).step_by(pattern).flatten();
            (0..pattern).all(|place| {
                let mut sizes = like(place);
                sizes.next().is_some_and(|first| sizes.all(|other| other == first))
            })
        });
        let (sum, count) = came.iter().flatten().fold((0, 0), |(sum, count), frames| (sum + frames, count + 1));
        let mean = (sum + count / 2) / count.max(1);
        let turn = std::array::from_fn(|place| {
            pattern
                .and_then(|pattern| came.iter().skip(place % pattern).step_by(pattern).flatten().next().copied())
                .unwrap_or(mean)
        });
        Sizes { newest, pattern: pattern.unwrap_or(1) as i64, turn }
    }

    /// Frames of a datagram that came and is remembered.
    fn came(&mut self, index: i64) -> Option<i64> {
        let slot = *self.slot(index);
        (slot.index == index && slot.came).then_some(slot.frames.into())
    }

    /// Remembers one in the place of an older one.
    fn keep(&mut self, new: Seen) {
        let old = std::mem::replace(self.slot(new.index), new);
        if old.came && old.index != new.index {
            self.forgotten = self.forgotten.max(old.end());
        }
    }

    fn slot(&mut self, index: i64) -> &mut Seen {
        &mut self.slots[index.rem_euclid(REMEMBERED as i64) as usize]
    }
}

impl Seen {
    fn end(&self) -> i64 {
        self.position + i64::from(self.frames)
    }
}

/// A 64-bit number is followed by its lower half: it wraps after a year of the smallest packets.
fn range(number: Number) -> u64 {
    if number.modulus == 0 { 1 << 32 } else { number.modulus }
}

fn after(number: Number, by: u64) -> u64 {
    let range = range(number);
    if number.modulus == 0 { number.value.wrapping_add(by) } else { (number.value + by) % range }
}

fn step(now: &Now, number: Number) -> Step {
    let range = range(now.number);
    let ahead = (number.value % range + range - now.number.value % range) % range;
    match ahead {
        0 => Step::Same,
        by if by <= now.dropout => Step::Ahead(by),
        by if range - by <= now.misorder => Step::Behind(range - by),
        _ => Step::Far,
    }
}

/// A time that counts this array's samples.
fn usable(stamp: Option<Stamp>, sample_rate: u32) -> Option<Stamp> {
    stamp.filter(|stamp| stamp.in_samples && (stamp.hz == sample_rate || stamp.hz == 0))
}

/// From one stamp to another, in ticks: the shorter way round.
pub fn stamp_step(from: Stamp, to: Stamp) -> i64 {
    let free = 64 - to.bits;
    (to.ticks.wrapping_sub(from.ticks) << free) as i64 >> free
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
