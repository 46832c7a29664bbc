//! Datagrams become chunks.
//!
//! Problem: what a board captures in one go may leave as several datagrams, back to back (Arduino's `write` sends one whenever
//! its 1460 bytes are full), and nothing in them says so.
//!
//! Idea: how a source cuts its chunks is learnt, within a second of its first datagram ([`learn`]). Until then its datagrams
//! wait; where one board sends all, those of the others wait as well, since only their common order tells which belong together.
//! From then on each datagram is handed on at once as a part of its chunk ([`source`]): nothing is put off, and nothing copied
//! where a piece stands for itself.

mod learn;
mod pattern;
mod source;
mod tags;

use crate::engine::intake::tuning::chunks::{CUT_WITHIN, ROOM, ROOM_EACH};
use crate::engine::tuning::SILENCE;
pub use learn::Cut;
use learn::Pace;
pub use pattern::Pattern;
pub use source::{Chunk, Heard, Lacking, Part, Taken};

use std::collections::VecDeque;

use super::packet::SAMPLE_BYTES;
use crate::array::Layout;
use crate::engine::clock::Again;
use crate::time::MonoTime;
use source::{Around, News, Source};

/// A datagram that waits.
#[derive(Debug)]
pub struct Waiting {
    pub mic: usize,
    pub heard: Heard,
    pub again: Again,
    pub bytes: Vec<u8>,
}

/// How a source cuts its chunks has become known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learnt {
    pub mic: usize,
    pub cut: Cut,
    /// It is another way than before.
    pub changed: bool,
}

/// One source, and what the others need to know of it.
#[derive(Debug)]
struct Mic {
    source: Source,
    pace: Pace,
    newest_at: Option<MonoTime>,
    /// The newest datagram that was no whole number of samples.
    odd: Option<(usize, MonoTime)>,
    /// Datagrams taken so far.
    taken: u64,
}

/// The sources of an array.
#[derive(Debug)]
pub struct Chunks {
    /// One board sends all.
    in_order: bool,
    mics: Vec<Mic>,
    /// Datagrams taken so far, of all.
    taken: u64,
    /// The microphone of the array's newest datagram.
    newest: Option<usize>,
    /// It came behind one of another, on one board.
    in_turn: bool,
    room: VecDeque<Waiting>,
    spare: Vec<Vec<u8>>,
    learnt: VecDeque<Learnt>,
}

impl Chunks {
    pub fn new(layout: &Layout, sample_rate: u32) -> Chunks {
        let mic = |source: usize| {
            let pace = Pace { sample_rate, frame_bytes: layout.channels_of(source).len() * SAMPLE_BYTES };
            Mic { source: Source::new(pace), pace, newest_at: None, odd: None, taken: 0 }
        };
        Chunks {
            in_order: true,
            mics: (0..layout.sources()).map(mic).collect(),
            taken: 0,
            newest: None,
            in_turn: false,
            room: VecDeque::new(),
            spare: Vec::new(),
            learnt: VecDeque::new(),
        }
    }

    /// How a source cuts its chunks; `None` while that is being learnt.
    pub fn cut(&self, mic: usize) -> Option<Cut> {
        self.mics[mic].source.cut()
    }

    /// Bytes of a source's newest datagram, where each is a chunk.
    pub fn usual_bytes(&self, mic: usize) -> usize {
        self.mics[mic].source.usual_bytes()
    }

    /// Whether a datagram that is no whole number of frames may be a piece all the same: one of whole samples, one of a known pattern,
    /// or one that makes whole samples with the one just before it.
    pub fn may_be_cut(&mut self, mic: usize, len: usize, at: MonoTime) -> bool {
        let own = &mut self.mics[mic];
        if len == 0 || len.is_multiple_of(own.pace.frame_bytes) {
            return false;
        }
        if len.is_multiple_of(SAMPLE_BYTES) {
            return true;
        }
        let before = own.odd.replace((len, at));
        let whole = |other: usize| (other + len).is_multiple_of(SAMPLE_BYTES);
        own.source.has_piece(len) || before.is_some_and(|(other, then)| whole(other) && at - then < CUT_WITHIN)
    }

    /// What the next ways are that sources were found to cut their chunks.
    pub fn take_learnt(&mut self) -> Option<Learnt> {
        self.learnt.pop_front()
    }

    /// Whether this datagram has to wait. `in_order`: one board sends all, in one order. Adds what a chunk lacks that ends
    /// here to `lacking`.
    pub fn must_wait(&mut self, mic: usize, len: usize, heard: Heard, in_order: bool, lacking: &mut Lacking) -> bool {
        let at = heard.at;
        self.in_order = in_order;
        let silent = self.mics[mic].newest_at.replace(at).is_some_and(|before| at - before > SILENCE);
        if silent {
            *lacking += self.mics[mic].source.close();
        }
        let in_turn = in_order && self.newest.replace(mic).is_some_and(|newest| newest != mic);
        match self.mics[mic].source.news(len, at, in_turn) {
            News::Nothing => {}
            News::Anew => *lacking += self.mics[mic].source.close(),
            // One board cuts the chunks of all its microphones alike: from now on all are placed as pieces.
            News::Found(_) if in_order => self.mics.iter_mut().for_each(|mic| mic.source.forget()),
            News::Found(cut) => self.settle(mic, cut),
        }
        self.in_turn = in_turn;
        let learning = |mic: usize| self.mics[mic].source.cut().is_none() && self.mics[mic].newest_at.is_some();
        learning(mic) || !self.room.is_empty() && in_order && (0..self.mics.len()).any(learning)
    }

    /// A sender came in place of another: what it sends is another's.
    pub fn on_new_sender(&mut self, mic: usize) -> Lacking {
        self.mics[mic].source.set_tagged(false);
        self.mics[mic].source.close()
    }

    /// Takes a datagram in that has to wait, and learns from it.
    pub fn wait(&mut self, mic: usize, heard: Heard, again: Again, bytes: &[u8]) {
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(bytes);
        self.room.push_back(Waiting { mic, heard, again, bytes: kept });
        if self.mics[mic].source.cut().is_none()
            && let Some(cut) = self.mics[mic].source.learn(bytes.len(), heard.at, self.in_turn)
        {
            self.settle(mic, cut);
        }
        if self.is_round_of_wholes(heard.at) {
            (0..self.mics.len()).for_each(|mic| self.settle(mic, Cut::Whole));
        }
        if self.room.len() >= self.most_waiting() {
            self.end_learning();
        }
    }

    /// When learning ends, whatever is known then.
    pub fn deadline(&self) -> Option<MonoTime> {
        if self.room.is_empty() {
            return None;
        }
        let round = self.round_ends().filter(|_| self.room.len() == self.mics.len());
        self.mics.iter().filter_map(|mic| mic.source.deadline()).chain(round).min()
    }

    /// The time for learning is over, for those that began first.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        if self.room.len() == self.mics.len() && self.is_round_of_wholes(now) {
            (0..self.mics.len()).for_each(|mic| self.settle(mic, Cut::Whole));
        }
        for mic in 0..self.mics.len() {
            if self.mics[mic].source.deadline().is_some_and(|end| now >= end) {
                let cut = self.mics[mic].source.learnt();
                self.settle(mic, cut);
            }
        }
    }

    /// The next datagram that need not wait any longer.
    pub fn next_waiting(&mut self, in_order: bool) -> Option<Waiting> {
        let learning = |mic: usize| self.mics[mic].source.cut().is_none();
        if in_order {
            let heard = self.room.iter().any(|waiting| learning(waiting.mic));
            return if heard { None } else { self.room.pop_front() };
        }
        let i = self.room.iter().position(|waiting| !learning(waiting.mic))?;
        self.room.remove(i)
    }

    /// What was taken out has been placed.
    pub fn recycle(&mut self, waiting: Waiting) {
        if self.spare.len() < self.most_waiting() {
            self.spare.push(waiting.bytes);
        }
    }

    /// Whether a source's samples carry tags of their place: [`audiovision`](crate::wire::audiovision).
    pub fn set_tagged(&mut self, mic: usize, tagged: bool) {
        self.mics[mic].source.set_tagged(tagged);
    }

    /// A datagram's part in its chunk.
    pub fn take(&mut self, mic: usize, bytes: &[u8], heard: Heard, in_order: bool, lacking: &mut Lacking) -> Taken {
        let live = |other: &Mic| other.newest_at.is_some_and(|at| heard.at - at < SILENCE);
        let others = self.mics.iter().enumerate().filter(|(other, own)| *other != mic && live(own));
        let others = if in_order { others.count() } else { 0 };
        let elsewhere = self.taken - self.mics[mic].taken;
        self.mics[mic].taken += 1;
        self.taken += 1;
        self.mics[mic].source.take(bytes, heard, Around { elsewhere, others: others as u64 }, lacking)
    }

    /// The samples of a part, s32le.
    pub fn samples<'a>(&'a self, mic: usize, part: &Part, datagram: &'a [u8]) -> &'a [u8] {
        self.mics[mic].source.samples(part, datagram)
    }

    /// The datagram that opened a chunk was a copy.
    pub fn take_back_opening(&mut self, mic: usize) {
        self.mics[mic].source.take_back_opening();
    }

    fn settle(&mut self, mic: usize, cut: Cut) {
        if self.mics[mic].source.cut() != Some(cut) {
            let changed = self.mics[mic].source.settle(cut);
            self.learnt.push_back(Learnt { mic, cut, changed });
        }
    }

    fn end_learning(&mut self) {
        for mic in 0..self.mics.len() {
            if self.mics[mic].source.cut().is_none() {
                let cut = self.mics[mic].source.learnt();
                self.settle(mic, cut);
            }
        }
    }

    /// At the start of an array: one datagram of each microphone in the order in which a board sends, and then a rest, or another
    /// of the first one's size. Whatever that is, equal positions meet.
    fn is_round_of_wholes(&self, now: MonoTime) -> bool {
        let Some(ends) = self.round_ends() else { return false };
        let rested = self.room.get(self.mics.len()).map_or(now, |next| next.heard.at) >= ends;
        rested
            || self
                .room
                .get(self.mics.len())
                .is_some_and(|next| next.mic == 0 && next.bytes.len() == self.room[0].bytes.len())
    }

    /// When no piece of the first round can still come: half of what its first datagram holds, in time, after its last. A single
    /// source has no round: what is heard first may be the rest of a chunk.
    fn round_ends(&self) -> Option<MonoTime> {
        let mics = self.mics.len();
        let first = self.room.iter().take(mics);
        let in_order = first.clone().enumerate().all(|(mic, waiting)| waiting.mic == mic);
        let whole =
            first.clone().all(|waiting| waiting.bytes.len().is_multiple_of(self.mics[waiting.mic].pace.frame_bytes));
        let new = self.mics.iter().all(|mic| mic.source.cut().is_none() && !mic.source.was_known());
        let last = self.room.get(mics - 1).filter(|_| mics > 1 && in_order && whole && new && self.in_order)?;
        Some(last.heard.at + self.mics[0].pace.time_of(self.room[0].bytes.len()).mul_ratio(1, 2))
    }

    fn most_waiting(&self) -> usize {
        ROOM.max(ROOM_EACH * self.mics.len())
    }
}
