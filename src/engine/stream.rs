//! One microphone on a board of its own: which position its packets have on the board's own axis.
//!
//! Problem: there is no second stream whose order would help; a packet after a pause may be late or follow a loss, and it
//! takes some packets to tell. What is undecided must not be heard at a wrong place.
//!
//! Idea: `late` judges each packet against the stream's own clock. Packets in doubt wait in buffers of this stream (few,
//! bounded), and are handed on, in order, once their positions are known.

use std::collections::VecDeque;

use super::clock::{Again, ClockModel, Frozen, Rise};
use super::figures::MicCounters;
use super::grid::Heard;
use super::late::{Judgement, LateOrLost};
use super::packet::SAMPLE_BYTES;
use super::review::{Finding, Review};
use super::skips::Skips;
use crate::time::{FramePos, MonoTime, Span};

/// Packets in doubt at once; the oldest doubt is settled by the best guess when there are more. A backlog of 1.3 s.
const MAX_PENDING: usize = 128;

/// How well the rate must be known for a floor of minutes ago to judge by: 5 ppm are 0.9 ms in three minutes.
const ANCHOR_PPM: f64 = 5.0;
/// The older of two anchors is so old at least, once there are two.
const ANCHOR_AGE: Span = Span::from_secs(90);

/// A packet whose place on the stream's own axis is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided<'a> {
    pub first: FramePos,
    pub heard: Heard,
    pub samples: &'a [u8],
    /// When its end should have arrived, on the line for alignment; `None` before there is one.
    pub phase: Option<MonoTime>,
}

/// A packet that waits.
#[derive(Debug)]
struct Pending {
    heard: Heard,
    samples: Vec<u8>,
}

/// One free-running microphone.
#[derive(Debug)]
pub(super) struct Stream {
    sample_rate: u32,
    pub clock: ClockModel,
    late: LateOrLost,
    /// Where the next packet stands if nothing is lost.
    next: FramePos,
    nominal: i64,
    last_heard: Option<MonoTime>,
    /// The samples that came then.
    newest: Vec<u8>,
    /// Since when the present offset is being learnt.
    offset_since: Option<MonoTime>,
    pending: VecDeque<Pending>,
    free: Vec<Vec<u8>>,
    skips: Skips<1>,
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
            nominal: 0,
            last_heard: None,
            newest: Vec::new(),
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
    /// Frames of a normal packet.
    pub fn nominal(&self) -> i64 {
        self.nominal
    }
    pub fn is_in_doubt(&self) -> bool {
        self.late.doubt_since().is_some()
    }

    /// The samples of the newest packet, so soon after it that no new one can be here yet: it would be before the floor. In a
    /// backlog it can, and may say the same.
    pub fn is_copy(&self, at: MonoTime, samples: &[u8]) -> bool {
        let period = self.period();
        if self.newest != samples || self.last_heard.is_none_or(|last| at - last >= period.mul_ratio(1, 2)) {
            return false;
        }
        let end = self.next + self.waiting(self.pending.len()) + (samples.len() / SAMPLE_BYTES) as i64;
        self.clock.residual(end, at).is_none_or(|r| r < period.mul_ratio(-1, 8))
    }

    /// The board may have restarted: what waits is placed as it stands, and the offset is learnt anew.
    pub fn restart(&mut self, again: Again, place: &mut impl FnMut(Decided<'_>)) {
        self.late.settle_delayed();
        self.place_pending(place);
        self.late.forget_level();
        self.clock.restart(again);
        self.skips.clear();
        self.review = None;
        self.anchors = [None; 2];
        self.offset_since = None;
    }

    /// Takes a packet in; hands on what is decided by it.
    pub fn offer(
        &mut self,
        heard: Heard,
        samples: &[u8],
        counters: &mut MicCounters,
        place: &mut impl FnMut(Decided<'_>),
    ) {
        let at = heard.at;
        self.last_heard = Some(at);
        self.newest.clear();
        self.newest.extend_from_slice(samples);
        self.offset_since.get_or_insert(at);
        let frames = (samples.len() / SAMPLE_BYTES) as i64;
        self.nominal = frames;
        if let Some((lost, since)) = self.late.take_standing(at, self.period()) {
            self.insert(lost, since, counters);
            self.clock.renumber(since, lost * self.nominal);
        }
        match self.judge(self.next + self.waiting(self.pending.len()) + frames, at) {
            Judgement::Certain => self.place(heard, samples, false, counters, place),
            Judgement::Delayed => {
                self.place_pending(place);
                self.place(heard, samples, false, counters, place);
            }
            Judgement::Doubtful => {
                self.push(heard, samples);
                if self.pending.len() >= MAX_PENDING {
                    self.late.settle_delayed();
                    self.place_pending(place);
                }
            }
            Judgement::Lost(lost) => {
                self.push(heard, samples);
                self.settle_lost(lost, counters, place);
            }
        }
    }

    /// What stood behind a loss is judged again: a second loss may hide among it.
    fn settle_lost(&mut self, lost: i64, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let mut found = Some(lost);
        while let Some(lost) = found.take() {
            let since = self.pending.front().expect("the packet that opened the doubt waits").heard.at;
            self.insert(lost, since, counters);
            self.review = Some(Review::new(since, self.late.level(), self.late.jitter()));
            let mut judged = 0;
            while judged < self.pending.len() && found.is_none() {
                judged += 1;
                match self.judge(self.next + self.waiting(judged), self.pending[judged - 1].heard.at) {
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
        let frames = lost * self.nominal;
        if self.anchors[1].is_none_or(|(then, _)| since - then > ANCHOR_AGE)
            && let Some(floor) = self.clock.freeze(ANCHOR_PPM)
        {
            self.anchors = [self.anchors[1].or(Some((since, floor))), Some((since, floor))];
        }
        self.next = self.next + frames;
        counters.lost += lost as u64;
        self.skips.push(since, frames, [lost as u64]);
    }

    fn place(
        &mut self,
        heard: Heard,
        samples: &[u8],
        waited: bool,
        counters: &mut MicCounters,
        place: &mut impl FnMut(Decided<'_>),
    ) {
        let frames = (samples.len() / SAMPLE_BYTES) as i64;
        self.learn(frames, heard.at, waited, counters);
        let phase = self.clock.phase_at(self.next + frames);
        place(Decided { first: self.next, heard, samples, phase });
        self.next = self.next + frames;
    }

    /// The oldest waiting packet is certain.
    fn place_first(&mut self, counters: &mut MicCounters, place: &mut impl FnMut(Decided<'_>)) {
        let pending = self.pending.pop_front().expect("a packet waits");
        self.place(pending.heard, &pending.samples, true, counters, place);
        self.free.push(pending.samples);
    }

    /// All that waits was delayed: too high above the floor to teach the clock anything.
    fn place_pending(&mut self, place: &mut impl FnMut(Decided<'_>)) {
        while let Some(pending) = self.pending.pop_front() {
            let samples = &pending.samples[..];
            let end = self.next + (samples.len() / SAMPLE_BYTES) as i64;
            let phase = self.clock.phase_at(end);
            place(Decided { first: self.next, heard: pending.heard, samples, phase });
            self.next = end;
            self.free.push(pending.samples);
        }
    }

    fn push(&mut self, heard: Heard, samples: &[u8]) {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(samples);
        self.pending.push_back(Pending { heard, samples: buffer });
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
        match self.skips.hear(r, at, self.period(), self.nominal, self.late.jitter()) {
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
                let [lost] = skip.lost;
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
            self.clock.renumber_risen(lost * self.nominal);
            self.late.forget_level();
        }
    }

    /// Whether this packet, `r` above the floor, shows that the newest loss was a delay; then it is taken back.
    fn is_refuted(&mut self, r: Option<Span>, at: MonoTime, counters: &mut MicCounters) -> bool {
        let (Some(review), Some(r)) = (&mut self.review, r) else { return false };
        let since = review.since;
        match review.hear(r, at, Span::of_frames(self.nominal.max(1), self.sample_rate)) {
            Finding::Open => return false,
            Finding::Stands => self.review = None,
            Finding::False(lowest) => {
                self.review = None;
                if let Some(skip) = self.skips.take_back(since) {
                    self.next = self.next + -skip.frames;
                    self.clock.renumber(since, -skip.frames);
                    self.late.rises(since, lowest + Span::of_frames(skip.frames, self.sample_rate), at);
                    let [lost] = skip.lost;
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
        self.pending.iter().take(packets).map(|p| (p.samples.len() / SAMPLE_BYTES) as i64).sum()
    }

    fn period(&self) -> Span {
        Span::of_frames(self.nominal.max(1), self.sample_rate)
    }
}
