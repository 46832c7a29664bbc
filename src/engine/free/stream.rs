//! One microphone on a board of its own: which position its packets have on the board's own axis.
//!
//! Problem: there is no second stream whose order would help; a packet after a pause may be late or follow a loss, and it
//! takes some packets to tell. What is undecided must not be heard at a wrong place.
//!
//! Idea: `late` judges each packet against the stream's own clock. Packets in doubt wait in buffers of this stream (few,
//! bounded), and are handed on, in order, once their positions are known.

mod known;
mod sounds;

use crate::engine::free::tuning::stream::{ANCHOR_AGE, ANCHOR_PPM, CRYSTAL_PPM, MAX_PENDING};
use std::collections::VecDeque;
use std::ops::Range;

pub(in crate::engine) use known::Numbered;

use super::grid::Heard;
use crate::engine::clock::{Again, ClockModel, Frozen, Rise};
use crate::engine::ear::Bounds;
use crate::engine::figures::MicCounters;
use crate::engine::number::borders::Listener;
use crate::engine::number::holes::Hole;
use crate::engine::number::late::{Judgement, LateOrLost, Unnumbered};
use crate::engine::number::nominal::Nominal;
use crate::engine::number::review::{Finding, Review};
use crate::engine::number::silence::{Answer, Silence};
use crate::engine::number::skips::{Lost, Skips};
use crate::engine::shared::align::Arrival;
use crate::time::{FramePos, MonoTime, Span};
use sounds::Last;

/// Samples whose place on the stream's own axis is known.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Decided<'a> {
    pub first: FramePos,
    pub heard: Heard,
    pub samples: &'a [u8],
    /// Of their whole chunk.
    pub frames: i64,
    /// They are the first that is placed of a chunk that begins here; else of one that began before.
    pub opens: Option<FramePos>,
    /// When its end should have arrived, on the line for alignment; `None` before there is one.
    pub phase: Option<MonoTime>,
}

/// What has happened to the numbers of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Moved {
    /// A loss that hardly can be anything else.
    Lost,
    /// A loss where floors move.
    Doubtful,
    /// A level came or went, and hides what was lost with it.
    Level,
    /// Numbers since then were wrong.
    Renumbered(MonoTime),
}

/// A chunk that waits.
#[derive(Debug, Default)]
struct Pending {
    heard: Option<Heard>,
    serial: u64,
    /// All of it; what is missing is zeros.
    samples: Vec<u8>,
    frame_bytes: usize,
    /// What is there of it, in samples.
    parts: Vec<Range<usize>>,
}

impl Pending {
    fn heard(&self) -> Heard {
        self.heard.expect("a chunk that waits was heard")
    }
    fn frames(&self) -> i64 {
        (self.samples.len() / self.frame_bytes) as i64
    }
    fn add(&mut self, offset: u32, samples: &[u8]) {
        let from = offset as usize;
        let part = from..from + samples.len() / self.frame_bytes;
        self.samples[part.start * self.frame_bytes..part.end * self.frame_bytes].copy_from_slice(samples);
        self.parts.push(part);
    }
}

/// One free-running microphone.
#[derive(Debug)]
pub(in crate::engine) struct Stream {
    sample_rate: u32,
    pub clock: ClockModel,
    late: LateOrLost,
    /// Where the next packet stands if nothing is lost.
    next: FramePos,
    /// Of a numbered microphone: where the count of its sender began.
    origin: FramePos,
    nominal: Nominal,
    last_heard: Option<MonoTime>,
    /// The newest chunk's samples, zeros where they are missing, and where it stands once that is decided.
    newest: Vec<u8>,
    newest_first: Option<(u64, FramePos)>,
    /// Bytes of it that came.
    newest_came: usize,
    /// The chunk before the oldest that waits.
    last: Last,
    /// Since when the present offset is being learnt.
    offset_since: Option<MonoTime>,
    pending: VecDeque<Pending>,
    free: Vec<Pending>,
    skips: Skips,
    /// It was silent, and may have restarted; all waits until it is known whether it did.
    silence: Option<Silence>,
    /// Of the newest loss.
    review: Option<Review>,
    /// The floor at two earlier skips, older first. A floor that comes down slowly after a false skip takes the clock's
    /// along, and no packet is early any more, but against this one.
    anchors: [Option<(MonoTime, Frozen)>; 2],
    /// Not yet asked for.
    moved: Option<Moved>,
    /// `None`: the sound is not listened to.
    listener: Option<Box<Listener>>,
}

impl Stream {
    pub fn new(sample_rate: u32) -> Stream {
        Stream {
            sample_rate,
            clock: ClockModel::new(sample_rate),
            late: LateOrLost::default(),
            next: FramePos(0),
            origin: FramePos(0),
            nominal: Nominal::default(),
            last_heard: None,
            newest: Vec::new(),
            newest_first: None,
            newest_came: 0,
            last: Last::default(),
            offset_since: None,
            pending: VecDeque::with_capacity(MAX_PENDING),
            free: Vec::new(),
            skips: Skips::default(),
            silence: None,
            review: None,
            anchors: [None; 2],
            moved: None,
            listener: None,
        }
    }

    pub fn last_heard(&self) -> Option<MonoTime> {
        self.last_heard
    }
    pub fn offset_since(&self) -> Option<MonoTime> {
        self.offset_since
    }
    /// End of the newest decided packet.
    pub fn end(&self) -> FramePos {
        self.next
    }
    /// Frames of a normal chunk.
    pub fn nominal(&self) -> i64 {
        self.nominal.frames().into()
    }
    /// Chunks wait until it is known where they stand.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }
    /// Its chunks are of another length from now on.
    pub fn renew_nominal(&mut self) {
        self.nominal = Nominal::default();
        self.number_anew();
    }
    /// Why what is lost cannot be told.
    pub fn unnumbered(&self) -> Option<Unnumbered> {
        self.late.unnumbered()
    }
    pub fn number_anew(&mut self) {
        self.late.number_anew();
    }
    pub fn is_in_doubt(&self) -> bool {
        self.late.doubt_since().is_some() || self.is_back()
    }
    /// It was silent, and it is not known yet whether it went on counting.
    pub fn is_back(&self) -> bool {
        self.silence.is_some()
    }

    /// The samples of the newest chunk at their place in it, so soon after it that no new one can be here yet: it would be before
    /// the floor. In a backlog it can, and may say the same.
    pub fn is_copy(&self, a: &Arrival<'_>) -> bool {
        let period = self.period();
        let there = self.newest.get(a.offset as usize * a.frame_bytes..).and_then(|rest| rest.get(..a.samples.len()));
        let long = a.chunk.samples as usize * a.frame_bytes;
        let soon = self.last_heard.is_some_and(|last| a.at - last < period.mul_ratio(1, 2));
        if there != Some(a.samples) || self.newest.len() != long || !soon {
            return false;
        }
        let end = self.next + self.waiting(self.pending.len()) + i64::from(a.chunk.samples);
        self.clock.residual(end, a.at).is_none_or(|r| r < period.mul_ratio(-1, 8))
    }

    /// Nothing more will be heard of what waits: it is placed as it stands.
    pub fn settle(&mut self, place: &mut impl FnMut(Decided<'_>)) {
        self.silence = None;
        self.late.settle_delayed();
        self.place_pending(place);
        self.late.forget_level();
        self.review = None;
    }

    /// A packet comes after a silence. True when the clock of before will say whether the board went on counting; until then all
    /// waits.
    pub fn come_back(&mut self, at: MonoTime) -> bool {
        let Some(last) = self.last_heard.filter(|_| self.clock.phase_at(self.next).is_some()) else { return false };
        let ppm = self.clock.rate().map_or(CRYSTAL_PPM, |rate| rate.uncertainty_95.0);
        let blur = Span::from_secs_f64((at - last).as_secs_f64() * ppm * 1e-6);
        self.silence = Silence::new(at, blur, self.late.jitter(), self.period());
        self.is_back()
    }

    /// The board may have restarted: its offset is learnt anew, from what waits on.
    pub fn restart(&mut self, again: Again) {
        self.silence = None;
        self.late.forget_level();
        self.clock.restart(again);
        self.skips.clear();
        self.review = None;
        self.anchors = [None; 2];
        self.offset_since = self.pending.front().map(|chunk| chunk.heard().at);
        for chunks in 1..=self.pending.len() {
            self.clock.observe(self.next + self.waiting(chunks), self.pending[chunks - 1].heard().at);
        }
    }

    /// Takes a chunk in whose place is not known before the board's offset is. Returns how many of the oldest that wait for that
    /// are given up, so that no more than `frames` wait.
    pub fn collect(&mut self, a: &Arrival<'_>, frames: i64) -> u64 {
        self.note(a);
        self.push(a);
        self.clock.observe(self.next + self.waiting(self.pending.len()), a.at);
        self.give_up_beyond(frames)
    }

    fn give_up_beyond(&mut self, frames: i64) -> u64 {
        let mut given_up = 0;
        while self.pending.len() > 1 && self.waiting(self.pending.len()) > frames {
            let oldest = self.pending.pop_front().expect("chunks wait");
            self.next = self.next + oldest.frames();
            self.free.push(oldest);
            given_up += 1;
        }
        given_up
    }

    /// Takes a chunk in after a silence, likewise. When it is told that the board went on, what waits is handed on; when it is told that
    /// it did not, `restart` is due.
    pub fn hear_back(
        &mut self,
        a: &Arrival<'_>,
        frames: i64,
        counters: &mut MicCounters,
        place: &mut impl FnMut(Decided<'_>),
    ) -> Answer {
        self.note(a);
        self.push(a);
        counters.late += self.give_up_beyond(frames);
        let end = self.next + self.waiting(self.pending.len());
        let (period, clock) = (self.period(), &self.clock);
        let silence = self.silence.as_mut().expect("it is back from a silence");
        let answer = clock.residual(end, a.at).map_or(Answer::Anew, |r| silence.hear(r, a.at, period));
        if let Answer::WentOn(lost) = answer {
            self.silence = None;
            if lost > 0 {
                let since = self.pending.front().expect("a chunk waits").heard().at;
                self.insert(lost, since, counters);
            }
            self.note_moved(Moved::Level);
            self.judge_waiting(counters, place);
        }
        answer
    }

    /// What has happened to its numbers since this was asked.
    pub fn take_moved(&mut self) -> Option<Moved> {
        self.moved.take()
    }

    /// The worst of what happened counts.
    fn note_moved(&mut self, moved: Moved) {
        self.moved = Some(match (self.moved, moved) {
            (Some(Moved::Renumbered(a)), Moved::Renumbered(b)) => Moved::Renumbered(a.min(b)),
            (Some(before @ Moved::Renumbered(_)), _) | (Some(before @ Moved::Level), Moved::Lost | Moved::Doubtful) => {
                before
            }
            (Some(before @ Moved::Doubtful), Moved::Lost) => before,
            _ => moved,
        });
    }

    /// How far its chunks may be from where they belong, where all was right at `since`.
    pub fn placed(&self, since: MonoTime) -> Bounds {
        let (packet, period) = (self.nominal(), self.period());
        let early = (self.late.level() + period.mul_ratio(1, 8)).as_nanos() / period.as_nanos();
        Bounds { packet: packet as u32, early: early.max(0), late: self.skips.frames_since(since) / packet.max(1) }
    }

    /// The sound shows that the microphone's chunks are placed so many too late (below 0: too early), which came about after `after`; the
    /// newest of what may have brought it about at `newest`.
    pub fn correct(
        &mut self,
        chunks: i64,
        after: MonoTime,
        newest: MonoTime,
        at: MonoTime,
        counters: &mut MicCounters,
    ) {
        let frames = chunks * self.nominal();
        (self.review, self.anchors) = (None, [None; 2]);
        let since = self.skips.take_frames(frames, after).unwrap_or(newest);
        self.next = self.next + -frames;
        self.clock.renumber(since, -frames);
        self.late.renumbered(Span::of_frames(frames, self.sample_rate), at);
        let packets = chunks.unsigned_abs();
        if frames > 0 {
            counters.found(packets);
            counters.corrected += packets;
        } else {
            counters.lost += packets;
            self.skips.push(since, -frames, Lost::of_one(packets));
        }
    }

    /// The sound shows that its chunks stand where they belong, whatever level they come at.
    pub fn excuse(&mut self) {
        self.late.excuse();
    }

    /// Takes a chunk in by its first part; hands on what is decided by it.
    pub fn offer(&mut self, a: &Arrival<'_>, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let raised = self.is_raised();
        self.take_in(a, counters, place);
        if raised != self.is_raised() {
            self.note_moved(Moved::Level);
        }
    }

    fn is_raised(&self) -> bool {
        self.late.base() > self.period().mul_ratio(1, 4)
    }

    fn take_in(&mut self, a: &Arrival<'_>, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let (at, frames) = (a.at, i64::from(a.chunk.samples));
        self.note(a);
        if let Some((lost, since)) = self.late.take_standing(at, self.period()) {
            self.insert(lost, since, counters);
            self.clock.renumber(since, lost * self.nominal());
            self.note_moved(Moved::Renumbered(since));
        }
        match self.judge(self.next + self.waiting(self.pending.len()) + frames, at) {
            Judgement::Certain => self.place(a, counters, place),
            Judgement::Delayed => {
                self.place_pending(place);
                self.place(a, counters, place);
            }
            Judgement::DelayedBefore => {
                self.place_pending(place);
                self.push(a);
            }
            Judgement::Doubtful => {
                self.push(a);
                if self.pending.len() >= MAX_PENDING {
                    self.late.settle_delayed();
                    self.place_pending(place);
                }
            }
            Judgement::Risen => {
                self.end_review(at);
                self.push(a);
                self.judge_waiting(counters, place);
            }
            Judgement::Lost(lost) => {
                self.push(a);
                self.lose(lost, counters, place);
                self.judge_waiting(counters, place);
            }
        }
    }

    /// What every chunk says.
    fn note(&mut self, a: &Arrival<'_>) {
        self.last_heard = Some(a.newest_at);
        if let Some(listener) = &mut self.listener {
            listener.losses.note_row();
            self.note_last(a.frame_bytes);
        }
        self.newest.clear();
        self.newest.resize(a.chunk.samples as usize * a.frame_bytes, 0);
        (self.newest_first, self.newest_came) = (None, 0);
        self.keep_newest(a);
        self.offset_since.get_or_insert(a.at);
        self.nominal.note(a.chunk.samples);
        if a.split {
            // If it was the last chunk's, all that follows is early by a chunk, and this is taken back as a skip is.
            self.skips.push(a.at, i64::from(a.chunk.samples), Lost::default());
        }
    }

    /// Another part of the newest chunk: it waits as well, or is handed on.
    pub fn join(&mut self, a: &Arrival<'_>, place: &mut impl FnMut(Decided<'_>)) {
        self.last_heard = Some(a.newest_at);
        self.keep_newest(a);
        if let Some(pending) = self.pending.back_mut().filter(|pending| pending.serial == a.chunk.serial) {
            pending.add(a.offset, a.samples);
            pending.heard = Some(Heard::of(a));
        } else if let Some((_, chunk)) = self.newest_first.filter(|&(serial, _)| serial == a.chunk.serial) {
            let frames = i64::from(a.chunk.samples);
            let first = chunk + i64::from(a.offset);
            let phase = self.clock.phase_at(first + i64::from(a.len()));
            place(Decided { first, heard: Heard::of(a), samples: a.samples, frames, opens: None, phase });
        }
    }

    fn keep_newest(&mut self, a: &Arrival<'_>) {
        let from = a.offset as usize * a.frame_bytes;
        // A part of a chunk that was not the last to be opened may be longer than that.
        if let Some(place) = self.newest.get_mut(from..from + a.samples.len()) {
            place.copy_from_slice(a.samples);
            self.newest_came += a.samples.len();
        }
    }

    /// So many were lost before the oldest that waits, or, where the sound says so, before another.
    fn lose(&mut self, lost: i64, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let hole = self.find_hole(lost).unwrap_or(Hole { before: 0, periods: lost });
        for _ in 0..hole.before {
            let late = self.pending.pop_front().expect("what waits was judged");
            self.hand_on(late, place);
        }
        if let Some(listener) = &mut self.listener {
            listener.losses.note_gap(hole.periods);
        }
        self.insert_before_waiting(hole.periods, counters);
    }

    fn insert_before_waiting(&mut self, lost: i64, counters: &mut MicCounters) {
        let since = self.pending.front().expect("the packet that opened the doubt waits").heard().at;
        self.insert(lost, since, counters);
        self.review = Some(Review::new(since, self.late.level(), self.late.jitter()));
    }

    /// What waits is judged where it stands now: behind a loss a second one may hide among it.
    pub fn judge_waiting(&mut self, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let mut judged = 0;
        while judged < self.pending.len() {
            judged += 1;
            let at = self.pending[judged - 1].heard().at;
            match self.judge(self.next + self.waiting(judged), at) {
                Judgement::Doubtful => {}
                Judgement::Certain | Judgement::Delayed => {
                    for _ in 0..std::mem::take(&mut judged) {
                        self.place_first(counters, place);
                    }
                }
                Judgement::DelayedBefore => {
                    for _ in 1..std::mem::replace(&mut judged, 1) {
                        self.place_first(counters, place);
                    }
                }
                // What opened the doubt stands on the new level, and is certain now.
                Judgement::Risen => {
                    self.end_review(at);
                    judged = 0;
                }
                Judgement::Lost(more) => {
                    self.lose(more, counters, place);
                    judged = 0;
                }
            }
        }
    }

    /// The path takes longer from now on: what comes says nothing of a loss behind which packets were back already.
    fn end_review(&mut self, at: MonoTime) {
        let are_lost = self.late.are_lost(at);
        self.review = self.review.filter(|review| !review.is_back(are_lost));
    }

    fn judge(&mut self, end: FramePos, at: MonoTime) -> Judgement {
        match self.clock.residual(end, at) {
            Some(r) => self.late.judge(r, at, self.period(), false),
            None => Judgement::Certain,
        }
    }

    fn insert(&mut self, lost: i64, since: MonoTime, counters: &mut MicCounters) {
        let frames = lost * self.nominal();
        if self.anchors[1].is_none_or(|(then, _)| since - then > ANCHOR_AGE)
            && let Some(floor) = self.clock.freeze(ANCHOR_PPM)
        {
            self.anchors = [self.anchors[1].or(Some((since, floor))), Some((since, floor))];
        }
        self.next = self.next + frames;
        counters.lost += lost as u64;
        self.skips.push(since, frames, Lost::of_one(lost as u64));
        self.note_moved(if self.late.is_unsure(since) { Moved::Doubtful } else { Moved::Lost });
    }

    fn place(&mut self, a: &Arrival<'_>, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let frames = i64::from(a.chunk.samples);
        self.learn(frames, a.at, false, counters);
        let first = self.next + i64::from(a.offset);
        let phase = self.clock.phase_at(first + i64::from(a.len()));
        self.newest_first = Some((a.chunk.serial, self.next));
        place(Decided { first, heard: Heard::of(a), samples: a.samples, frames, opens: Some(self.next), phase });
        self.next = self.next + frames;
    }

    /// The oldest waiting packet is certain.
    fn place_first(&mut self, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let pending = self.pending.pop_front().expect("a packet waits");
        self.learn(pending.frames(), pending.heard().at, true, counters);
        self.hand_on(pending, place);
    }

    /// All that waits was delayed: too high above the floor to teach the clock anything.
    fn place_pending(&mut self, place: &mut impl FnMut(Decided<'_>)) {
        while let Some(pending) = self.pending.pop_front() {
            self.hand_on(pending, place);
        }
    }

    /// The chunk stands next, with what is there of it.
    fn hand_on(&mut self, mut pending: Pending, place: &mut impl FnMut(Decided<'_>)) {
        let (heard, frames) = (pending.heard(), pending.frames());
        self.newest_first = Some((pending.serial, self.next));
        for (i, part) in pending.parts.iter().enumerate() {
            let first = self.next + part.start as i64;
            let phase = self.clock.phase_at(self.next + part.end as i64);
            let samples = &pending.samples[part.start * pending.frame_bytes..part.end * pending.frame_bytes];
            place(Decided { first, heard, samples, frames, opens: (i == 0).then_some(self.next), phase });
        }
        self.next = self.next + pending.frames();
        self.last.end = pending.is_whole().then_some(self.next);
        std::mem::swap(&mut self.last.samples, &mut pending.samples);
        self.free.push(pending);
    }

    fn push(&mut self, a: &Arrival<'_>) {
        let mut pending = self.free.pop().unwrap_or_default();
        pending.heard = Some(Heard::of(a));
        pending.serial = a.chunk.serial;
        pending.frame_bytes = a.frame_bytes;
        pending.samples.clear();
        pending.samples.resize(a.chunk.samples as usize * a.frame_bytes, 0);
        pending.parts.clear();
        pending.add(a.offset, a.samples);
        self.pending.push_back(pending);
    }

    /// A certain packet teaches the clock; early ones speak against the last skip. One that waited for a loss to be understood
    /// may have been delayed by nearly a period, before the loss: it would pull the floor down for minutes (by 91 us, seen at
    /// 1 % loss of exp2), and so it says nothing about anything below.
    fn learn(&mut self, frames: i64, at: MonoTime, waited: bool, counters: &mut MicCounters) {
        let end = self.next + frames;
        let anchor = self.anchors[0].map(|(_, floor)| floor);
        let pulled = anchor.filter(|&a| self.clock.residual_on(a, end, at) < self.period().mul_ratio(-1, 2));
        let r = pulled.map(|a| self.clock.residual_on(a, end, at)).or(self.clock.residual(end, at));
        if self.is_refuted(r, at, counters) {
            return;
        }
        match self.skips.hear(r, at, self.period(), self.nominal(), self.late.jitter()) {
            Some(skip) => {
                self.review = None;
                self.next = self.next + -skip.frames;
                self.note_moved(Moved::Renumbered(skip.since));
                match pulled {
                    Some(anchor) => {
                        self.clock.restore(anchor);
                        self.anchors = [None; 2];
                    }
                    None => self.clock.renumber(skip.since, -skip.frames),
                }
                let lost = skip.lost.by(0);
                counters.found(lost);
                counters.corrected += lost;
            }
            None if self.skips.is_disputed() => {}
            None if waited && r.is_some_and(|r| r < Span::ZERO) => {}
            None => {
                self.clock.observe(end, at);
                if let Some(rise) = self.clock.take_rise() {
                    self.make_up(rise, at, counters);
                }
            }
        }
    }

    /// A floor that has risen by whole periods while nothing was known: so many were lost.
    fn make_up(&mut self, rise: Rise, at: MonoTime, counters: &mut MicCounters) {
        let period = self.period();
        let lost = (rise.by + period.mul_ratio(1, 2)).as_nanos().div_euclid(period.as_nanos());
        let is_whole = (rise.by - period.mul_ratio(lost, 1)).abs() < rise.blur;
        if lost > 0 && self.unnumbered().is_none() && is_whole && rise.blur < period.mul_ratio(1, 8) {
            self.insert(lost, at, counters);
            self.clock.renumber_risen(lost * self.nominal());
            self.late.forget_level();
            // Since when, nobody knows.
            self.note_moved(Moved::Renumbered(MonoTime::from_nanos(i64::MIN)));
        }
    }

    /// Whether this packet, `r` above the floor, shows that the newest loss was a delay; then it is taken back.
    fn is_refuted(&mut self, r: Option<Span>, at: MonoTime, counters: &mut MicCounters) -> bool {
        let period = self.period();
        let nominal = self.nominal();
        let (Some(review), Some(r)) = (&mut self.review, r) else { return false };
        let (since, level) = (review.since, review.level());
        match review.hear(r, at, period) {
            Finding::Open => return false,
            Finding::Stands => self.review = None,
            Finding::False(lowest) => {
                self.review = None;
                let early = (level - lowest + period.mul_ratio(1, 2)).as_nanos() / period.as_nanos().max(1);
                if let Some(skip) = self.skips.take_back(since, early * nominal, at) {
                    let since = skip.since;
                    self.next = self.next + -skip.frames;
                    self.note_moved(Moved::Renumbered(since));
                    self.clock.renumber(since, -skip.frames);
                    self.late.rises(since, lowest + Span::of_frames(skip.frames, self.sample_rate), at);
                    let lost = skip.lost.by(0);
                    counters.found(lost);
                    counters.corrected += lost;
                    return true;
                }
            }
        }
        false
    }

    /// Frames of the oldest packets that wait.
    fn waiting(&self, packets: usize) -> i64 {
        self.pending.iter().take(packets).map(Pending::frames).sum()
    }

    fn period(&self) -> Span {
        Span::of_frames(self.nominal().max(1), self.sample_rate)
    }
}
