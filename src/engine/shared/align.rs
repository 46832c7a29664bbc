//! Which packets are one cycle, when one board sends all microphones.
//!
//! Problem: packets have no number, any of them may be missing, and one wrong pairing shifts a channel for good.
//!
//! Idea: the board sends mic 0, 1, 2 and so on, a cycle every period, so the order of the kernel's stamps across the sockets says
//! which packets belong together: an index that does not rise begins a new cycle. The clock model says when a cycle can
//! be here at the earliest. A packet that is a period or more above that floor, after a pause, is delayed or has lost
//! something before it: `late` decides, from what follows, and until then the cycle is withheld, at most for the hold. A
//! packet that is too early for its cycle belongs to one before.

mod place;
mod sounds;

use super::tail::{Sink, Slot, Tail};
use crate::array::MicSet;
use crate::engine::clock::{Again, ClockModel};
use crate::engine::intake::chunks::Chunk;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::number::borders::Listener;
use crate::engine::number::lag::Lag;
use crate::engine::number::late::{Judgement, LateOrLost, Unnumbered};
use crate::engine::number::skips::Skips;
use crate::engine::shared::tuning::align::{BEFORE_FLOOR, OPEN_CYCLES, SETTLED, START_WITHIN};
use crate::engine::tuning::SILENCE;
use crate::time::{FramePos, KernelTime, MonoTime, Span};
use place::Place;

/// A part of a chunk on its way to its place.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Arrival<'a> {
    pub mic: usize,
    /// When the first of its chunk's datagrams came: what the pieces behind it wait for says nothing about the chunk.
    pub at: MonoTime,
    pub stamp: KernelTime,
    /// From the stamp until the loop read it.
    pub delay: Span,
    /// When this datagram came.
    pub newest_at: MonoTime,
    pub newest_stamp: KernelTime,
    pub chunk: Chunk,
    /// Where `samples` begin in the chunk, in frames.
    pub offset: u32,
    /// Whole frames: a sample of each channel of the source, s32le, interleaved.
    pub samples: &'a [u8],
    /// Bytes of each.
    pub frame_bytes: usize,
    /// Who sends it, beside the sender that was followed before.
    pub again: Again,
    /// Its source cuts its chunks in another way than before.
    pub recut: bool,
    /// It was taken for a chunk's of its own, and may have been the last chunk's, long delayed.
    pub split: bool,
}

impl Arrival<'_> {
    /// All frames equal (silence, a stuck line): two such packets say nothing about duplication.
    pub fn is_constant(&self) -> bool {
        let first = &self.samples[..self.frame_bytes];
        self.samples.chunks_exact(self.frame_bytes).all(|frame| frame == first)
    }

    /// In frames.
    pub fn len(&self) -> u32 {
        self.samples.len() as u32 / self.frame_bytes as u32
    }

    /// The first of a sender that was not followed before.
    pub fn is_of_new_sender(&self) -> bool {
        self.again != Again::TheSame
    }

    /// Its first sample.
    pub fn first(&self) -> [u8; SAMPLE_BYTES] {
        *self.samples.first_chunk().expect("a part has a sample")
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Placed {
    OnTime,
    Late,
    Duplicate,
}

/// What is known of one microphone of the board.
#[derive(Debug)]
struct Mic {
    /// For the figures; the board's decides.
    clock: ClockModel,
    lag: Lag,
}

/// What the arrival of a packet says of the cycle that it goes to.
#[derive(Debug)]
struct Verdict {
    /// Where the packet ends in that cycle.
    own_end: FramePos,
    /// Above the board's floor; `None` while there is none.
    residual: Option<Span>,
    /// Behind the cycle's other microphones.
    behind: Option<Span>,
    judgement: Judgement,
    /// The doubt that stood before it.
    doubt_since: MonoTime,
    doubt_is_long: bool,
    /// It moves with those that are in doubt.
    doubtful: bool,
    /// Before its own floor.
    early: bool,
}

/// Aligns the packets of one board.
#[derive(Debug)]
pub(in crate::engine) struct SharedAligner {
    sample_rate: u32,
    /// Longest wait of a withheld or incomplete cycle.
    hold: Span,
    /// The board's one clock, of all its packets: what decides. The microphones' places inside a cycle, some 0.1 ms
    /// apart, are small against a period.
    clock: ClockModel,
    mics: Vec<Mic>,
    late: LateOrLost,
    /// The doubt has been withheld long enough; what follows may still decide it.
    released: bool,
    /// The last silence ended with another sender: the board was off, and sent nothing that could be lost.
    restarted: bool,
    /// Who sent then.
    again: Again,
    tail: Tail,
    first_heard: Option<MonoTime>,
    /// Since when the board's floor is being learnt, and from which position on.
    floor_since: Option<(MonoTime, FramePos)>,
    last_heard: Option<MonoTime>,
    skips: Skips,
    /// When the newest packets came that were too early for the next cycle, newest first.
    early: [Option<MonoTime>; 2],
    /// Packets that the cycles which left in this turn left without: cycle, microphone, packet. Only behind a microphone's backlog.
    aside: Vec<(i64, usize, Slot, Vec<u8>)>,
    /// Frames reserved ahead of the last emitted one, at most.
    max_open: i64,
    /// `None`: the sound is not listened to.
    listener: Option<Box<Listener>>,
}

impl SharedAligner {
    pub fn new(mics: usize, sample_rate: u32, hold: Span, max_open: i64) -> SharedAligner {
        let mic = |_| Mic { clock: ClockModel::new(sample_rate), lag: Lag::default() };
        SharedAligner {
            sample_rate,
            hold,
            clock: ClockModel::new(sample_rate),
            mics: (0..mics).map(mic).collect(),
            late: LateOrLost::default(),
            released: false,
            restarted: false,
            again: Again::TheSame,
            tail: Tail::new(mics, sample_rate),
            first_heard: None,
            floor_since: None,
            last_heard: None,
            skips: Skips::default(),
            early: [None; 2],
            aside: Vec::new(),
            max_open,
            listener: None,
        }
    }

    pub fn clock(&self, mic: usize) -> &ClockModel {
        &self.mics[mic].clock
    }

    /// Why what is lost cannot be told.
    pub fn unnumbered(&self) -> Option<Unnumbered> {
        self.late.unnumbered()
    }

    /// Another part of a chunk that was placed.
    pub fn join(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Placed {
        self.put_back(sink);
        self.last_heard = Some(self.last_heard.map_or(a.newest_at, |last| last.max(a.newest_at)));
        let late = self.tail.add(a, sink);
        self.emit_ready(a.newest_at, sink);
        if late { Placed::Late } else { Placed::OnTime }
    }

    /// Places a chunk by its first part, and emits what it completes.
    pub fn offer(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Placed {
        self.put_back(sink);
        let silence = self.hear(a, sink);
        let place = self.choose(a, silence, sink);
        if matches!(place, Place::Nowhere) {
            return Placed::Duplicate;
        }
        let Some(i) = self.seat(place, a, sink) else {
            sink.counters.mics[a.mic].late += 1;
            return Placed::Late;
        };
        let verdict = self.judge(place, i, a, silence);
        let slot = Slot::of(a, verdict.doubtful, verdict.early);
        let late = self.tail.fill(i, a.mic, slot, a.offset, a.samples, sink);
        self.settle(place, i, a, &verdict, sink);
        let is_certain = !self.may_be_stray(i, a.mic) && !self.may_move(i, a.mic, a.at);
        if !verdict.doubtful && !matches!(place, Place::Tentative) && is_certain {
            self.learn(a.mic, verdict.own_end, a.at, verdict.residual, sink);
            if let Some(behind) = verdict.behind.filter(|_| !matches!(place, Place::Overdue(_))) {
                self.mics[a.mic].lag.note(behind);
            }
        }
        self.emit_ready(a.at, sink);
        if late { Placed::Late } else { Placed::OnTime }
    }

    /// Somebody is there: what a silence before it ends, and what another sender or another cut begins. Returns whether the whole board
    /// was silent.
    fn hear(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> bool {
        let pause = self.last_heard.map_or(Span::ZERO, |last| a.at - last);
        let silence = pause > SILENCE;
        self.first_heard.get_or_insert(a.at);
        self.last_heard = Some(self.last_heard.map_or(a.at, |last| last.max(a.at)));
        if silence {
            // Whatever is open has waited long enough.
            self.give_up_doubt(sink);
            self.emit_all(a.at, sink);
            (self.restarted, self.again) = (a.is_of_new_sender(), a.again);
            if self.restarted {
                self.late.number_anew();
            }
        } else if a.is_of_new_sender() && !self.late.doubt_is_long() {
            // This microphone alone comes over another path.
            self.mics[a.mic].clock.restart(a.again);
        }
        if a.recut {
            self.tail.renew_nominal();
            self.late.number_anew();
        }
        self.resolve_tentative(a, sink);
        silence
    }

    /// The cycle that it goes to; `None` where the cycle it was meant for is no longer known.
    fn seat(&mut self, place: Place, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Option<usize> {
        if matches!(place, Place::Tentative | Place::Contested) {
            self.early = [Some(a.at), self.early[0]];
        }
        match place {
            Place::Join(i) | Place::Rising(i) => Some(i),
            Place::Overdue(hole) => {
                self.mics[a.mic].lag.overtaken();
                hole
            }
            Place::Contested => self.settle_contest(a, sink),
            Place::Backlog(first) => {
                self.tail.move_down(a.mic, first, sink);
                Some(self.tail.len() - 1)
            }
            Place::Next => {
                self.skip_standing(a.at, sink);
                if let Some(listener) = &mut self.listener {
                    listener.losses.note_row();
                }
                Some(self.tail.open(a.at, false))
            }
            Place::Tentative => Some(self.tail.open(a.at, true)),
            Place::Nowhere => None,
        }
    }

    /// What stood raised by whole periods for long was lost after all.
    fn skip_standing(&mut self, at: MonoTime, sink: &mut Sink<'_>) {
        let Some((cycles, since)) = self.late.take_standing(at, self.period()) else { return };
        let frames = cycles * i64::from(self.tail.nominal());
        let lost = self.tail.insert_lost(cycles, true, sink);
        self.skips.push(since, frames, lost);
        self.clock.renumber(since, frames);
        self.mics.iter_mut().for_each(|mic| mic.clock.renumber(since, frames));
    }

    /// What its arrival says of cycle `i`: as early as it can be, delayed, or behind a loss.
    fn judge(&mut self, place: Place, i: usize, a: &Arrival<'_>, silence: bool) -> Verdict {
        let entry = self.tail.get(i);
        let own_end = entry.own_end(a.chunk.samples);
        let behind = self.behind(a.mic, a.at, entry);
        let joins_doubtful = entry.is_doubtful() && !matches!(place, Place::Rising(_) | Place::Next | Place::Tentative);
        let residual = self.residual(own_end, a.at);
        let doubt_since = self.late.doubt_since().unwrap_or(a.at);
        let doubt_is_long = self.late.doubt_is_long();
        let judgement = match (place, residual) {
            (Place::Rising(_) | Place::Next, Some(r)) => self.late.judge(r, a.at, self.period(), silence),
            _ => Judgement::Certain,
        };
        let doubtful = match judgement {
            Judgement::Certain => joins_doubtful,
            Judgement::Delayed | Judgement::Risen => false,
            Judgement::Doubtful | Judgement::DelayedBefore | Judgement::Lost(_) => true,
        };
        let early = self.mics[a.mic].clock.residual(own_end, a.at).is_some_and(|r| r < BEFORE_FLOOR);
        Verdict { own_end, residual, behind, judgement, doubt_since, doubt_is_long, doubtful, early }
    }

    /// What the judgement means for those that were in doubt.
    fn settle(&mut self, place: Place, i: usize, a: &Arrival<'_>, verdict: &Verdict, sink: &mut Sink<'_>) {
        match verdict.judgement {
            Judgement::Certain => {}
            Judgement::Doubtful => {
                if self.late.doubt_since() == Some(a.at) {
                    self.released = false;
                    if matches!(place, Place::Rising(_)) {
                        self.late.began_inside();
                    }
                }
            }
            // What was lost while a queue came shows by the order of the microphones.
            Judgement::Delayed | Judgement::Risen => {
                if verdict.doubt_is_long {
                    self.restart_clocks(sink);
                }
                self.settle_delayed(sink);
            }
            Judgement::DelayedBefore => {
                self.settle_delayed(sink);
                self.tail.doubt_one(i, a.mic);
            }
            Judgement::Lost(cycles) => self.settle_lost(cycles, verdict.doubt_since, verdict.doubt_is_long, sink),
        }
    }

    /// No more packets come here: what has begun to go out goes out.
    pub fn finish(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        self.put_back(sink);
        if self.tail.started() {
            self.give_up_doubt(sink);
            self.emit_all(now, sink);
            self.put_back(sink);
        } else {
            sink.history.rewind();
        }
    }

    /// Holds that have run out.
    pub fn handle_timeout(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        self.put_back(sink);
        // What stood behind a loss may be in doubt again, for as long.
        while self.withholds() && self.late.doubt_since().is_some_and(|since| now - since >= self.hold) {
            self.release(sink);
        }
        self.emit_ready(now, sink);
    }

    /// When a hold runs out.
    pub fn next_timeout(&self) -> Option<MonoTime> {
        if self.withholds() {
            return self.late.doubt_since().map(|since| since + self.hold);
        }
        let open = self.tail.first_open();
        (open < self.tail.len()).then(|| self.tail.get(open).opened + self.hold)
    }

    /// A packet whose place is certain teaches its clock; early ones speak against the last skip.
    fn learn(&mut self, mic: usize, own_end: FramePos, at: MonoTime, r: Option<Span>, sink: &mut Sink<'_>) {
        // The first packets after a restart may all be late: earlier than those is not earlier than possible.
        let settled = self.is_settled(at);
        let disproved = settled
            .then(|| self.skips.hear(r, at, self.period(), i64::from(self.tail.nominal()), self.late.jitter()))
            .flatten();
        if let Some(skip) = &disproved {
            let cycles = skip.frames / i64::from(self.tail.nominal().max(1));
            self.tail.renumber(skip.since, cycles, skip.frames);
            self.clock.renumber(skip.since, -skip.frames);
            for (mic, (own, counters)) in self.mics.iter_mut().zip(&mut sink.counters.mics).enumerate() {
                let lost = skip.lost.by(mic);
                own.clock.renumber(skip.since, -skip.frames);
                counters.found(lost);
                counters.corrected += lost;
            }
        }
        if disproved.is_none() && !(settled && self.skips.is_disputed()) {
            self.floor_since.get_or_insert((at, own_end));
            self.clock.observe(own_end, at);
            self.mics[mic].clock.observe(own_end, at);
        }
    }

    /// A floor of a few packets may be far too high.
    fn is_settled(&self, at: MonoTime) -> bool {
        self.floor_since.is_some_and(|(since, _)| at - since >= self.period().mul_ratio(SETTLED, 1))
    }

    fn settle_delayed(&mut self, sink: &mut Sink<'_>) {
        self.tail.settle(sink);
        self.released = false;
    }

    /// So many cycles were lost before the doubt, or, where the sound says so, inside it.
    fn settle_lost(&mut self, cycles: i64, since: MonoTime, long: bool, sink: &mut Sink<'_>) {
        let may_move = !long && !self.released;
        match may_move.then(|| self.find_hole(cycles, true, sink.history)).flatten() {
            Some(hole) => self.lose_at(hole, sink),
            None => self.lose(cycles, since, long, sink),
        }
    }

    /// So many cycles were lost before what is in doubt, which began to come then.
    fn lose(&mut self, cycles: i64, since: MonoTime, long: bool, sink: &mut Sink<'_>) {
        if let Some(listener) = self.listener.as_mut().filter(|_| !long) {
            listener.losses.note_gap(cycles);
        }
        let frames = cycles * i64::from(self.tail.nominal());
        if long {
            self.restart_clocks(sink);
        }
        let mut lost = self.tail.insert_lost(cycles, self.released, sink);
        self.released = false;
        if long && self.restarted {
            let lost = std::mem::take(&mut lost);
            for (mic, counters) in sink.counters.mics.iter_mut().enumerate() {
                counters.found(lost.by(mic));
            }
        }
        self.skips.push(since, frames, lost);
        self.judge_again(sink);
    }

    /// What stood behind a loss stands anew: a second loss may hide among it.
    fn judge_again(&mut self, sink: &mut Sink<'_>) {
        let mut pending = self.tail.doubtful();
        let (mut next, mut settled) = (0, 0);
        while let Some(&(at, mic, i)) = pending.get(next) {
            next += 1;
            let own_end = self.tail.get(i).own_end(0);
            let r = self.residual(own_end, at);
            let since = self.late.doubt_since().unwrap_or(at);
            match r.map_or(Judgement::Certain, |r| self.late.judge(r, at, self.period(), false)) {
                Judgement::Doubtful => {}
                Judgement::Certain | Judgement::Delayed | Judgement::Risen => {
                    pending[settled..next].iter().for_each(|&(_, mic, i)| self.tail.settle_one(i, mic));
                    settled = next;
                    self.learn(mic, own_end, at, r, sink);
                }
                Judgement::DelayedBefore => {
                    pending[settled..next - 1].iter().for_each(|&(_, mic, i)| self.tail.settle_one(i, mic));
                    settled = next - 1;
                }
                Judgement::Lost(cycles) => {
                    // Rare, and ends: each turn leaves fewer packets in doubt.
                    self.settle_lost(cycles, since, false, sink);
                    pending.clear();
                }
            }
        }
    }

    /// The hold of a doubt is over: the best guess, or on as if delayed while what follows may still decide.
    fn release(&mut self, sink: &mut Sink<'_>) {
        let Some(since) = self.late.doubt_since() else { return };
        let long = self.late.doubt_is_long();
        match self.late.best_guess(self.period()) {
            Some(cycles) if cycles > 0 && self.late.is_likely(self.period()) => {
                self.late.settle_lost();
                self.settle_lost(cycles, since, long, sink);
            }
            Some(cycles) if cycles > 0 && !long && self.hears_loss(cycles, sink) => {}
            _ => self.released = true,
        }
    }

    /// Another silence: the doubt ends with what is known.
    fn give_up_doubt(&mut self, sink: &mut Sink<'_>) {
        self.release(sink);
        self.late.settle_delayed();
        self.settle_delayed(sink);
    }

    fn restart_clocks(&mut self, sink: &mut Sink<'_>) {
        (0..self.mics.len()).for_each(|mic| sink.meter.on_restart(mic));
        self.late.forget_level();
        self.clock.restart(self.again);
        self.floor_since = None;
        let again = self.again;
        self.mics.iter_mut().for_each(|mic| mic.clock.restart(again));
    }

    fn withholds(&self) -> bool {
        self.late.doubt_since().is_some() && !self.released
    }

    fn emit_ready(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        if self.withholds()
            && (self.tail.open_frames() > self.max_open || self.tail.len() - self.tail.first_open() > OPEN_CYCLES)
        {
            self.release(sink);
        }
        while self.tail.first_open() < self.tail.len() {
            let i = self.tail.first_open();
            let entry = self.tail.get(i);
            if self.withholds() && entry.is_doubtful() {
                return;
            }
            let closed = i + 1 < self.tail.len() && !self.tail.get(i + 1).tentative;
            let ran_out = now - entry.opened >= self.hold;
            let may_move = || (0..self.mics.len()).any(|mic| self.may_move(i, mic, now));
            let is_certain = || (0..self.mics.len()).all(|mic| !self.may_be_stray(i, mic));
            if !(ran_out || (closed || entry.is_complete() && is_certain()) && !may_move()) {
                return;
            }
            self.let_go(now, sink);
            if !self.aside.is_empty() {
                // What stands behind it is looked at when it is back.
                return;
            }
        }
    }

    fn emit_all(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        while self.tail.first_open() < self.tail.len() {
            self.let_go(now, sink);
        }
    }

    fn let_go(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        if !self.tail.started() {
            let waited = self.first_heard.is_some_and(|first| now - first >= START_WITHIN);
            if waited || self.tail.get(self.tail.first_open()).is_complete() {
                self.tail.start(sink);
            }
        }
        // What may be of an older cycle is not heard at the wrong place; something has to be.
        let i = self.tail.first_open();
        let others = self.tail.get(i).slots.iter().flatten().count().saturating_sub(1);
        for mic in MicSet::from_fn(self.mics.len(), |mic| self.may_move(i, mic, now)).iter().take(others) {
            let ordinal = self.tail.get(i).ordinal;
            let (slot, samples) = self.tail.lift(i, mic, sink);
            self.aside.push((ordinal, mic, slot, samples));
        }
        self.tail.leave(now, sink);
    }

    /// What a cycle left without stands in it again, for the history.
    fn put_back(&mut self, sink: &mut Sink<'_>) {
        for (ordinal, mic, slot, samples) in self.aside.drain(..) {
            let cycle = self.tail.iter().rev().find(|(_, e)| e.ordinal == ordinal).map(|(i, _)| i);
            let i = cycle.expect("it left in this turn");
            self.tail.fill(i, mic, slot, 0, &samples, sink);
        }
    }

    /// How far above the board's floor a packet that ends at `own_end` arrived; `None` while there is none.
    fn residual(&self, own_end: FramePos, at: MonoTime) -> Option<Span> {
        self.clock.residual(own_end, at)
    }

    fn period(&self) -> Span {
        self.tail.period()
    }
}
