//! One microphone on a board of its own: which position its packets have on the board's own axis.
//!
//! Problem: there is no second stream whose order would help; a packet after a pause may be late or follow a loss, and it
//! takes some packets to tell. What is undecided must not be heard at a wrong place.
//!
//! Idea: `late` judges each packet against the stream's own clock. Packets in doubt wait in buffers of this stream (few,
//! bounded), and are handed on, in order, once their positions are known.

use std::collections::VecDeque;
use std::ops::Range;

use super::align::Arrival;
use super::clock::{ClockModel, Frozen, Rise};
use super::figures::MicCounters;
use super::grid::Heard;
use super::late::{Judgement, LateOrLost};
use super::nominal::Nominal;
use super::review::{Finding, Review};
use super::skips::{Lost, Skips};
use crate::time::{FramePos, MonoTime, Span};

/// Packets in doubt at once; the oldest doubt is settled by the best guess when there are more. A backlog of 1.3 s.
const MAX_PENDING: usize = 128;

/// How well the rate must be known for a floor of minutes ago to judge by: 5 ppm are 0.9 ms in three minutes.
const ANCHOR_PPM: f64 = 5.0;
/// The older of two anchors is so old at least, once there are two.
const ANCHOR_AGE: Span = Span::from_secs(90);

/// Samples whose place on the stream's own axis is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided<'a> {
    pub first: FramePos,
    pub heard: Heard,
    pub samples: &'a [u8],
    /// They are the first that is placed of a chunk that begins here; else of one that began before.
    pub opens: Option<FramePos>,
    /// When its end should have arrived, on the line for alignment; `None` before there is one.
    pub phase: Option<MonoTime>,
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
pub(super) struct Stream {
    sample_rate: u32,
    pub clock: ClockModel,
    late: LateOrLost,
    /// Where the next packet stands if nothing is lost.
    next: FramePos,
    nominal: Nominal,
    last_heard: Option<MonoTime>,
    /// The newest chunk's samples, zeros where they are missing, and where it stands once that is decided.
    newest: Vec<u8>,
    newest_first: Option<(u64, FramePos)>,
    /// Since when the present offset is being learnt.
    offset_since: Option<MonoTime>,
    pending: VecDeque<Pending>,
    free: Vec<Pending>,
    skips: Skips,
    /// Of the newest loss.
    review: Option<Review>,
    /// The floor at two earlier skips, older first. A floor that comes down slowly after a false skip takes the clock's
    /// along, and no packet is early any more, but against this one.
    anchors: [Option<(MonoTime, Frozen)>; 2],
}

impl Stream {
    pub fn new(sample_rate: u32) -> Stream {
        Stream {
            sample_rate,
            clock: ClockModel::new(sample_rate),
            late: LateOrLost::default(),
            next: FramePos(0),
            nominal: Nominal::default(),
            last_heard: None,
            newest: Vec::new(),
            newest_first: None,
            offset_since: None,
            pending: VecDeque::with_capacity(MAX_PENDING),
            free: Vec::new(),
            skips: Skips::default(),
            review: None,
            anchors: [None; 2],
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
    }
    pub fn is_in_doubt(&self) -> bool {
        self.late.doubt_since().is_some()
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

    /// The board may have restarted: what waits is placed as it stands, and the offset is learnt anew.
    pub fn restart(&mut self, place: &mut impl FnMut(Decided<'_>)) {
        self.late.settle_delayed();
        self.place_pending(place);
        self.late.forget_level();
        self.clock.restart();
        self.skips.clear();
        self.review = None;
        self.anchors = [None; 2];
        self.offset_since = None;
    }

    /// Takes a chunk in by its first part; hands on what is decided by it.
    pub fn offer(&mut self, a: &Arrival<'_>, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let at = a.at;
        self.last_heard = Some(a.newest_at);
        self.newest.clear();
        self.newest.resize(a.chunk.samples as usize * a.frame_bytes, 0);
        self.newest_first = None;
        self.keep_newest(a);
        self.offset_since.get_or_insert(at);
        let frames = i64::from(a.chunk.samples);
        self.nominal.note(a.chunk.samples);
        if a.split {
            // If it was the last chunk's, all that follows is early by a chunk, and this is taken back as a skip is.
            self.skips.push(at, frames, Lost::default());
        }
        if let Some((lost, since)) = self.late.take_standing(at, self.period()) {
            self.insert(lost, since, counters);
            self.clock.renumber(since, lost * self.nominal());
        }
        match self.judge(self.next + self.waiting(self.pending.len()) + frames, at) {
            Judgement::Certain => self.place(a, counters, place),
            Judgement::Delayed => {
                self.place_pending(place);
                self.place(a, counters, place);
            }
            Judgement::Doubtful => {
                self.push(a);
                if self.pending.len() >= MAX_PENDING {
                    self.late.settle_delayed();
                    self.place_pending(place);
                }
            }
            Judgement::Lost(lost) => {
                self.push(a);
                self.settle_lost(lost, counters, place);
            }
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
            let first = chunk + i64::from(a.offset);
            let phase = self.clock.phase_at(first + i64::from(a.len()));
            place(Decided { first, heard: Heard::of(a), samples: a.samples, opens: None, phase });
        }
    }

    fn keep_newest(&mut self, a: &Arrival<'_>) {
        let from = a.offset as usize * a.frame_bytes;
        // A part of a chunk that was not the last to be opened may be longer than that.
        if let Some(place) = self.newest.get_mut(from..from + a.samples.len()) {
            place.copy_from_slice(a.samples);
        }
    }

    /// What stood behind a loss is judged again: a second loss may hide among it.
    fn settle_lost(&mut self, lost: i64, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let mut found = Some(lost);
        while let Some(lost) = found.take() {
            let since = self.pending.front().expect("the packet that opened the doubt waits").heard().at;
            self.insert(lost, since, counters);
            self.review = Some(Review::new(since, self.late.level(), self.late.jitter()));
            let mut judged = 0;
            while judged < self.pending.len() && found.is_none() {
                judged += 1;
                match self.judge(self.next + self.waiting(judged), self.pending[judged - 1].heard().at) {
                    Judgement::Doubtful => {}
                    Judgement::Certain | Judgement::Delayed => {
                        for _ in 0..std::mem::take(&mut judged) {
                            self.place_first(counters, place);
                        }
                    }
                    Judgement::Lost(more) => found = Some(more),
                }
            }
        }
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
    }

    fn place(&mut self, a: &Arrival<'_>, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let frames = i64::from(a.chunk.samples);
        self.learn(frames, a.at, false, counters);
        let first = self.next + i64::from(a.offset);
        let phase = self.clock.phase_at(first + i64::from(a.len()));
        self.newest_first = Some((a.chunk.serial, self.next));
        place(Decided { first, heard: Heard::of(a), samples: a.samples, opens: Some(self.next), phase });
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
    fn hand_on(&mut self, pending: Pending, place: &mut impl FnMut(Decided<'_>)) {
        let heard = pending.heard();
        self.newest_first = Some((pending.serial, self.next));
        for (i, part) in pending.parts.iter().enumerate() {
            let first = self.next + part.start as i64;
            let phase = self.clock.phase_at(self.next + part.end as i64);
            let samples = &pending.samples[part.start * pending.frame_bytes..part.end * pending.frame_bytes];
            place(Decided { first, heard, samples, opens: (i == 0).then_some(self.next), phase });
        }
        self.next = self.next + pending.frames();
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
        if lost > 0 && is_whole && rise.blur < period.mul_ratio(1, 8) {
            self.insert(lost, at, counters);
            self.clock.renumber_risen(lost * self.nominal());
            self.late.forget_level();
        }
    }

    /// Whether this packet, `r` above the floor, shows that the newest loss was a delay; then it is taken back.
    fn is_refuted(&mut self, r: Option<Span>, at: MonoTime, counters: &mut MicCounters) -> bool {
        let period = self.period();
        let (Some(review), Some(r)) = (&mut self.review, r) else { return false };
        let since = review.since;
        match review.hear(r, at, period) {
            Finding::Open => return false,
            Finding::Stands => self.review = None,
            Finding::False(lowest) => {
                self.review = None;
                if let Some(skip) = self.skips.take_back(since) {
                    self.next = self.next + -skip.frames;
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
