//! Where a packet of the board belongs, by the order of stamps and the clock: into the newest cycle, the next, or a hole that an
//! older one has; and what becomes of those that may belong to two.

use super::{Arrival, SharedAligner};
use crate::engine::number::late::at_most;
use crate::engine::shared::tail::{Entry, Sink};
use crate::engine::shared::tuning::place::{BACKLOG, BEFORE_BOARD, JITTER};
use crate::time::{FramePos, MonoTime, Span};

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Join(usize),
    /// Too soon for the newest and too late for the one before it, which it fills if that lacks it.
    Overdue(Option<usize>),
    /// By index order alone into the newest cycle, or the next.
    Rising(usize),
    Next,
    /// Into the next, for want of a better place: it is too early for it.
    Tentative,
    /// Into the newest, where another packet stands: one of the two is late.
    Contested,
    /// Into the newest, where another packet stands: its microphone was held up, and what came of it so far, from this cycle on, belongs
    /// one cycle further down.
    Backlog(usize),
    Nowhere,
}

impl SharedAligner {
    /// Where a packet belongs. The first after a silence of the whole board opens a cycle, unless it may be the rest of the newest.
    pub(super) fn choose(&self, a: &Arrival<'_>, silence: bool, sink: &Sink<'_>) -> Place {
        let may_be_rest = |back: &Entry| back.last_mic().is_some_and(|last| last < a.mic) && !a.is_of_new_sender();
        if silence && self.tail.back().is_some_and(|back| !may_be_rest(back)) {
            return Place::Next;
        }
        self.by_order_and_clock(a, sink)
    }

    fn by_order_and_clock(&self, a: &Arrival<'_>, sink: &Sink<'_>) -> Place {
        let Some(back) = self.tail.back() else { return Place::Next };
        let (mic, samples) = (a.mic, a.chunk.samples);
        let newest = self.tail.len() - 1;
        let quarter = self.period().mul_ratio(1, 4);
        let r_in = |i: usize| self.residual(self.tail.get(i).own_end(samples), a.at);
        let near = |r: Option<Span>| r.is_some_and(|r| r.abs() < quarter);
        // A whole period behind the others it is of the next cycle, wherever the floor is thought to be.
        let whole = self.period().mul_ratio(7, 8);
        let beside = |e: &Entry| e.first_arrival().is_none_or(|first| a.at - first < whole);
        if self.is_duplicate(a, sink) {
            return Place::Nowhere;
        }
        let lag = self.mics[mic].lag.standing();
        if lag >= quarter
            && let Some(place) = self.lagging(a, lag)
        {
            return place;
        }
        let empty = back.slots[mic].is_none();
        let rising = empty && back.last_mic().is_none_or(|last| last < mic);
        let own = r_in(newest);
        if rising {
            let close = back.newest().is_some_and(|at| (a.at - at).abs() < quarter);
            if close || own.is_none_or(|r| r > -quarter) {
                return Place::Rising(newest);
            }
        }
        if self.late.doubt_since().is_some() || self.late.base() > quarter {
            // In a backlog everything comes at once: only the order counts.
            return if rising { Place::Rising(newest) } else { Place::Next };
        }
        if let Some(first) = self.backlog(a) {
            return Place::Backlog(first);
        }
        if empty && near(own) && beside(back) {
            return Place::Join(newest);
        }
        let next_end = back.own_end(0) + i64::from(samples);
        let too_early = match self.residual(next_end, a.at) {
            Some(r) if self.is_settled(a.at) => r < self.before(),
            _ => self.is_beyond_backlog(next_end, a.at),
        };
        if !too_early {
            return Place::Next;
        }
        if empty && own.is_some_and(|r| r > -quarter) && beside(back) {
            return Place::Join(newest);
        }
        let holes = self.tail.lacking(mic).map(|(i, e)| (i, e, r_in(i)));
        // Older cycles are further below the packet.
        let hole = holes.take_while(|(.., r)| r.is_some_and(|r| r < quarter)).find(|(_, e, r)| near(*r) && beside(e));
        match hole {
            Some((i, ..)) => Place::Join(i),
            None if !empty && near(own) && (!self.skips.stands(a.at) || self.has_stray(newest, mic)) => {
                Place::Contested
            }
            None => Place::Tentative,
        }
    }

    /// How much earlier than the floor a packet is too early.
    fn before(&self) -> Span {
        -at_most(BEFORE_BOARD, self.period(), 4) - self.late.jitter().mul_ratio(1, 2)
    }

    /// A microphone that was held up hands its packets over one behind the other, in their order. Each stands in the newest cycle that
    /// it can be of, and those before it must be of older ones. The first cycle of those that move, where the newest has its packet,
    /// the next is not due yet, and such packets follow on a hole.
    fn backlog(&self, a: &Arrival<'_>) -> Option<usize> {
        let newest = self.tail.len() - 1;
        let back = self.tail.get(newest);
        let previous = back.slots[a.mic].filter(|slot| a.at - slot.at < self.apart())?;
        let next_end = back.own_end(0) + i64::from(a.chunk.samples);
        let due = self.residual(next_end, a.at)? >= self.before();
        if due || previous.doubtful || !self.is_settled(a.at) { None } else { self.behind_holes(newest, a.mic) }
    }

    /// Packets of one microphone that come closer together than this are no cycles apart.
    fn apart(&self) -> Span {
        self.period().mul_ratio(7, 8)
    }

    /// The packets of `mic` up to cycle `i` came soon one after the other, and the cycle before lacks one: which is the first of them. One
    /// hole before one packet is a loss, or what was lost there comes late.
    fn behind_holes(&self, i: usize, mic: usize) -> Option<usize> {
        if !self.tail.lacks(mic) {
            return None;
        }
        let lacks = |i: usize| self.tail.get(i).slots[mic].is_none();
        let follows = |i: usize| self.tail.get(i).ordinal == self.tail.get(i - 1).ordinal + 1;
        let at = |i: usize| self.tail.get(i).slots[mic].map(|slot| slot.at);
        let mut first = i;
        while first > 0
            && follows(first)
            && at(first).zip(at(first - 1)).is_some_and(|(at, before)| (at - before).abs() < self.apart())
        {
            first -= 1;
        }
        let hole = first > 0 && follows(first) && lacks(first - 1);
        let several = first < i || hole && first > 1 && follows(first - 1) && lacks(first - 2);
        (hole && several).then_some(first)
    }

    /// The packet of `mic` in cycle `i` may be of an older one: the microphone was held up, and what comes next of it tells.
    pub(super) fn may_move(&self, i: usize, mic: usize, now: MonoTime) -> bool {
        let at = |i: usize| (i < self.tail.len()).then(|| self.tail.get(i).slots[mic]).flatten().map(|slot| slot.at);
        let Some(own) = at(i) else { return false };
        let (mut last, mut newest) = (i, own);
        while let Some(next) = at(last + 1).filter(|&next| (next - newest).abs() < self.apart()) {
            (last, newest) = (last + 1, newest.max(next));
        }
        let is_over = at(last + 1).is_some() || now - newest >= self.apart();
        let quarter = self.period().mul_ratio(1, 4);
        // Of one that comes behind the others for good, the lag tells.
        if is_over || self.mics[mic].lag.standing() >= quarter {
            return false;
        }
        // In a backlog of the whole board the others come along.
        let most = (-self.before() + self.late.jitter().mul_ratio(JITTER, 1)).min(quarter);
        let is_late =
            |i: usize, at: MonoTime| self.behind(mic, at, self.tail.get(i)).is_none_or(|behind| behind >= most);
        self.behind_holes(i, mic).is_some_and(|first| at(first).is_some_and(|at| is_late(first, at)))
    }

    /// Where a packet belongs whose microphone comes `lag` behind the others: into the oldest cycle after its last one whose
    /// first packet came so long ago. One that is too soon for the newest is of an older one, unless the lag is over: the
    /// next packets tell.
    fn lagging(&self, a: &Arrival<'_>, lag: Span) -> Option<Place> {
        let quarter = self.period().mul_ratio(1, 4);
        let lacking = || self.tail.iter().rev().take_while(|(_, e)| e.slots[a.mic].is_none());
        let behind = |e: &Entry| self.behind(a.mic, a.at, e).unwrap_or(Span::MAX);
        // A whole period behind could be the next cycle's, no longer lagging.
        let fits = |b: Span| (b - lag).abs() < quarter && b < self.period().mul_ratio(15, 16);
        if let Some((i, _)) = lacking().filter(|(_, e)| fits(behind(e))).last() {
            return Some(Place::Join(i));
        }
        let too_soon = self.tail.back().is_some_and(|back| behind(back) < lag - quarter);
        let hole = lacking().nth(1).map(|(i, _)| i);
        let previous = self.tail.iter().rev().find_map(|(_, e)| e.slots[a.mic]);
        let in_burst = previous.is_some_and(|p| a.at - p.at < self.period().mul_ratio(1, 8));
        (too_soon && (hole.is_some() || in_burst)).then_some(Place::Overdue(hole))
    }

    /// How far a packet that arrived at `at` came behind the others of its cycle, their own lags taken off.
    pub(super) fn behind(&self, mic: usize, at: MonoTime, entry: &Entry) -> Option<Span> {
        let others = entry.slots.iter().enumerate().filter(|&(other, _)| other != mic);
        let first = others.filter_map(|(other, slot)| Some((*slot)?.at + -self.mics[other].lag.standing())).min();
        first.map(|first| at - first)
    }

    /// Two packets of one microphone at the phase of one cycle: one is late, and was meant for an older one. That is the
    /// second, unless the first was there before its microphone's own floor, or before those that the board sends before
    /// it. Returns where the second goes.
    pub(super) fn settle_contest(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Option<usize> {
        let newest = self.tail.len() - 1;
        let entry = self.tail.get(newest);
        let first = entry.slots[a.mic].expect("it is contested");
        if !came_too_soon(entry, a.mic) || entry.has_left() {
            return self.hole(a.mic, a.chunk.samples, a.at);
        }
        let hole = self.hole(a.mic, first.samples, first.at);
        let (slot, samples) = self.tail.lift(newest, a.mic, sink);
        match hole {
            Some(i) => {
                self.tail.fill(i, a.mic, slot, 0, &samples, sink);
            }
            None => sink.counters.mics[a.mic].late += 1,
        }
        Some(newest)
    }

    /// A second packet of `mic` at the phase of cycle `i` is a stray's doing, and not the next cycle's that comes a period early since
    /// the last skip was false: the cycle before lacks one, and either the first came too soon and what is beside it did not, or
    /// what the board sends last is still to come.
    fn has_stray(&self, i: usize, mic: usize) -> bool {
        let entry = self.tail.get(i);
        let others = || entry.slots.iter().enumerate().filter(|&(other, _)| other != mic).filter_map(|(_, slot)| *slot);
        let last = entry.slots.len() - 1;
        self.follows_hole(i, mic)
            && (came_too_soon(entry, mic) && others().all(|slot| !slot.early)
                || mic < last && entry.slots[last].is_none())
    }

    /// The packet of `mic` in cycle `i` came too soon for it, and may be the one that the cycle before lacks: the next of `mic` tells.
    pub(super) fn may_be_stray(&self, i: usize, mic: usize) -> bool {
        self.follows_hole(i, mic) && came_too_soon(self.tail.get(i), mic)
    }

    /// The cycle before cycle `i` lacks `mic`, which `i` has.
    fn follows_hole(&self, i: usize, mic: usize) -> bool {
        self.tail.lacking(mic).next().is_some_and(|(hole, _)| hole + 1 == i)
    }

    /// The newest cycle that lacks `mic` and whose time had come at `at`.
    fn hole(&self, mic: usize, samples: u32, at: MonoTime) -> Option<usize> {
        let passed = |end: FramePos| self.residual(end, at).is_some_and(|r| r > Span::ZERO);
        self.tail.lacking(mic).find(|(_, e)| passed(e.own_end(samples))).map(|(i, _)| i)
    }

    /// The bytes of this microphone's previous chunk, at their place in it, so soon after it that no new one can be here yet.
    fn is_duplicate(&self, a: &Arrival<'_>, sink: &Sink<'_>) -> bool {
        let Some((i, previous)) = self.tail.iter().rev().find_map(|(i, e)| Some((i, e.slots[a.mic]?))) else {
            return false;
        };
        let samples = a.chunk.samples;
        let differs = previous.first_offset == a.offset && previous.first != a.first();
        if differs || previous.samples != samples {
            return false;
        }
        let period = self.period();
        if (a.at - previous.newest_at).abs() >= period.mul_ratio(1, 2) {
            return false;
        }
        let entry = self.tail.get(i);
        let following = entry.own_end(0) + i64::from(samples);
        let impossible = self.residual(following, a.at).is_none_or(|r| r < -period.mul_ratio(1, 8));
        let place = entry.first + i64::from(a.offset);
        impossible && !a.is_constant() && sink.history.holds(a.mic, place, a.samples)
    }

    /// A packet that came too early for the cycle it opened is confirmed by its companions, or goes to an older cycle.
    pub(super) fn resolve_tentative(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) {
        let Some(back) = self.tail.back().filter(|b| b.tentative) else { return };
        let newest = self.tail.len() - 1;
        let mic = back.last_mic().expect("a tentative cycle holds its packet");
        let slot = back.slots[mic].expect("its packet is there");
        let quarter = self.period().mul_ratio(1, 4);
        let companion = a.mic > mic && a.at - slot.at < quarter;
        // The next packet is not early, delayed or not: the floor stands where it was thought to be.
        let fits_here = self.residual(back.own_end(a.chunk.samples), a.at).is_some_and(|r| r > -quarter);
        let are_early = self.are_early(self.early[1], slot.at);
        if companion || back.has_left() || !fits_here || (a.mic == mic && are_early) {
            let own_end = back.own_end(0);
            self.tail.confirm_back();
            let r = self.residual(own_end, slot.at);
            self.learn(mic, own_end, slot.at, r, sink);
            return;
        }
        let (slot, samples) = self.tail.lift(newest, mic, sink);
        self.tail.drop_empty_back();
        match self.hole(mic, slot.samples, slot.at) {
            Some(i) => {
                self.tail.fill(i, mic, slot, 0, &samples, sink);
            }
            None => sink.counters.mics[mic].late += 1,
        }
    }

    /// Whether a packet that came too early, at `at`, is one of several, the last at `before`, behind a skip that may be false: then it is
    /// the skip that shows, and no stale packet.
    fn are_early(&self, before: Option<MonoTime>, at: MonoTime) -> bool {
        self.skips.stands(at) && before.is_some_and(|before| at - before < self.period().mul_ratio(2, 1))
    }

    /// So much audio cannot have been sent by now, whatever was waiting when the first packet came.
    fn is_beyond_backlog(&self, end: FramePos, at: MonoTime) -> bool {
        let ahead = |(since, first)| Span::of_frames(end - first, self.sample_rate) - (at - since);
        self.floor_since.is_some_and(|floor| ahead(floor) > BACKLOG)
    }
}

/// The packet of `mic` came before its own floor, or before those that the board sends before it.
fn came_too_soon(entry: &Entry, mic: usize) -> bool {
    entry.slots[mic]
        .is_some_and(|slot| slot.early || entry.slots[..mic].iter().flatten().any(|other| other.at > slot.at))
}
