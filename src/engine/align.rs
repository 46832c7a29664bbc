//! Which packets are one cycle, when one board sends all three.
//!
//! Problem: packets have no number, any of them may be missing, and one wrong pairing shifts a channel for good.
//!
//! Idea: the board sends mic 0, 1, 2, a cycle every period, so the order of the kernel's stamps across the sockets says
//! which packets belong together: an index that does not rise begins a new cycle. The clock model says when a cycle can
//! be here at the earliest. A packet that is a period or more above that floor, after a pause, is delayed or has lost
//! something before it: `late` decides, from what follows, and until then the cycle is withheld, at most for the hold. A
//! packet that is too early for its cycle belongs to one before.

use super::clock::ClockModel;
use super::lag::Lag;
use super::late::{Judgement, LateOrLost};
use super::packet::Packet;
use super::skips::Skips;
use super::tail::{Entry, Sink, Slot, Tail};
use crate::MICS;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// After so long a silence of the whole board it may have rebooted: its offset starts anew (clock notes, section 5).
const SILENCE: Span = Span::from_millis(500);
/// Without a complete cycle the stream starts with an incomplete one after this long: contract section 3.
const START_WITHIN: Span = Span::from_secs(1);
/// Earlier than a microphone's own floor by more than stamps jitter.
const BEFORE_FLOOR: Span = Span::from_micros(-20);
/// Earlier than the board's floor by more than the floor's error, beside the jitter.
const BEFORE_BOARD: Span = Span::from_micros(-500);
/// Periods until a new floor is low enough to call a packet early: of 16 delays of 5 ms in the mean, the lowest is above a
/// quarter of a period in 2 of 10 000 cases.
const SETTLED: i64 = 16;
/// Until then only what is this far ahead of real time is too early: neither a board nor an access point holds more back.
const BACKLOG: Span = Span::from_secs(5);
/// Cycles withheld at once; more are let go with the best guess.
const OPEN_CYCLES: usize = 1024;

/// An accepted packet on its way to its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub mic: usize,
    pub at: MonoTime,
    pub stamp: KernelTime,
    pub packet: Packet<'a>,
    /// The first of a sender that was not followed before.
    pub new_sender: bool,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placed {
    OnTime,
    Late,
    Duplicate,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
enum Place {
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
    Nowhere,
}

/// Aligns the packets of one board.
#[derive(Debug)]
pub(super) struct SharedAligner {
    sample_rate: u32,
    /// Longest wait of a withheld or incomplete cycle.
    hold: Span,
    /// The board's one clock, of all its packets: what decides. The microphones' places inside a cycle, some 0.1 ms
    /// apart, are small against a period.
    clock: ClockModel,
    /// One for each microphone, for the figures.
    clocks: [ClockModel; MICS],
    lags: [Lag; MICS],
    late: LateOrLost,
    /// The doubt has been withheld long enough; what follows may still decide it.
    released: bool,
    /// The last silence ended with another sender: the board was off, and sent nothing that could be lost.
    restarted: bool,
    tail: Tail,
    first_heard: Option<MonoTime>,
    /// Since when the board's floor is being learnt, and from which position on.
    floor_since: Option<(MonoTime, FramePos)>,
    last_heard: Option<MonoTime>,
    skips: Skips<MICS>,
    /// Frames reserved ahead of the last emitted one, at most.
    max_open: i64,
}

impl SharedAligner {
    pub fn new(sample_rate: u32, hold: Span, max_open: i64) -> SharedAligner {
        SharedAligner {
            sample_rate,
            hold,
            clock: ClockModel::new(sample_rate),
            clocks: std::array::from_fn(|_| ClockModel::new(sample_rate)),
            lags: [Lag::default(); MICS],
            late: LateOrLost::default(),
            released: false,
            restarted: false,
            tail: Tail::new(sample_rate),
            first_heard: None,
            floor_since: None,
            last_heard: None,
            skips: Skips::default(),
            max_open,
        }
    }

    pub fn clock(&self, mic: usize) -> &ClockModel {
        &self.clocks[mic]
    }

    /// Places a packet, and emits what it completes.
    pub fn offer(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Placed {
        let pause = self.last_heard.map_or(Span::ZERO, |last| a.at - last);
        let silence = pause > SILENCE;
        self.first_heard.get_or_insert(a.at);
        self.last_heard = Some(self.last_heard.map_or(a.at, |last| last.max(a.at)));
        if silence {
            // Whatever is open has waited long enough. The next packet opens a cycle of its own, unless it may be the rest of the
            // newest.
            self.give_up_doubt(sink);
            self.emit_all(a.at, sink);
            self.restarted = a.new_sender;
        } else if a.new_sender && !self.late.doubt_is_long() {
            // This microphone alone comes over another path.
            self.clocks[a.mic].restart();
        }
        self.resolve_tentative(a, sink);
        let rest = self.tail.back().and_then(Entry::last_mic).is_some_and(|last| last < a.mic) && !a.new_sender;
        let place = if silence && self.tail.len() > 0 && !rest { Place::Next } else { self.choose(a, sink) };
        if matches!(place, Place::Nowhere) {
            return Placed::Duplicate;
        }
        if matches!(place, Place::Next)
            && let Some((cycles, since)) = self.late.take_standing(a.at, self.period())
        {
            let frames = cycles * i64::from(self.tail.nominal());
            let lost = self.tail.insert_lost(cycles, true, sink);
            self.skips.push(since, frames, lost);
            self.clock.renumber(since, frames);
            self.clocks.iter_mut().for_each(|c| c.renumber(since, frames));
        }
        let overdue = matches!(place, Place::Overdue(_));
        let filled = match place {
            Place::Contested => Some(self.settle_contest(a, sink)),
            Place::Overdue(hole) => {
                self.lags[a.mic].overtaken();
                Some(hole)
            }
            _ => None,
        };
        let place = match filled {
            Some(Some(i)) => Place::Join(i),
            Some(None) => {
                sink.counters.mics[a.mic].late += 1;
                return Placed::Late;
            }
            None => place,
        };
        let i = match place {
            Place::Join(i) | Place::Rising(i) => i,
            Place::Next | Place::Tentative | Place::Contested | Place::Overdue(_) | Place::Nowhere => {
                self.tail.open(a.at, matches!(place, Place::Tentative))
            }
        };
        let samples = a.packet.samples();
        let own_end = self.tail.get(i).own_end(samples);
        let r = self.residual(own_end, a.at);
        let doubt_since = self.late.doubt_since().unwrap_or(a.at);
        let doubt_is_long = self.late.doubt_is_long();
        let judgement = match (place, r) {
            (Place::Rising(_) | Place::Next, Some(r)) => self.late.judge(r, a.at, self.period(), silence),
            _ => Judgement::Certain,
        };
        let behind = self.behind(a.mic, a.at, self.tail.get(i));
        // What joins a doubtful cycle moves with it.
        let doubtful = match judgement {
            Judgement::Certain => matches!(place, Place::Join(_)) && self.tail.get(i).is_doubtful(),
            Judgement::Delayed => false,
            Judgement::Doubtful | Judgement::Lost(_) => true,
        };
        let early = self.clocks[a.mic].residual(own_end, a.at).is_some_and(|r| r < BEFORE_FLOOR);
        let first = a.packet.first();
        let slot = Slot { samples, stamp: a.stamp, at: a.at, loop_delay: sink.wall - a.stamp, doubtful, early, first };
        let late = self.tail.fill(i, a.mic, slot, a.packet.bytes(), sink);
        match judgement {
            Judgement::Certain => {}
            Judgement::Doubtful => {
                if self.late.doubt_since() == Some(a.at) {
                    self.released = false;
                    if matches!(place, Place::Rising(_)) {
                        self.late.began_inside();
                    }
                }
            }
            Judgement::Delayed => {
                self.settle_delayed(sink);
                if doubt_is_long {
                    self.restart_clocks(sink);
                }
            }
            Judgement::Lost(cycles) => self.settle_lost(cycles, doubt_since, doubt_is_long, sink),
        }
        if !doubtful && !matches!(place, Place::Tentative) {
            self.learn(a.mic, own_end, a.at, r, sink);
            if let Some(behind) = behind.filter(|_| !overdue) {
                self.lags[a.mic].note(behind);
            }
        }
        self.emit_ready(a.at, sink);
        if late { Placed::Late } else { Placed::OnTime }
    }

    /// No more packets come here: what has begun to go out goes out.
    pub fn finish(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        if self.tail.started() {
            self.give_up_doubt(sink);
            self.emit_all(now, sink);
        } else {
            sink.history.rewind();
        }
    }

    /// Holds that have run out.
    pub fn handle_timeout(&mut self, now: MonoTime, sink: &mut Sink<'_>) {
        if self.withholds() && self.late.doubt_since().is_some_and(|since| now - since >= self.hold) {
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

    /// Where a packet belongs, by the order of stamps and the clock.
    fn choose(&self, a: &Arrival<'_>, sink: &Sink<'_>) -> Place {
        let Some(back) = self.tail.back() else { return Place::Next };
        let (mic, samples) = (a.mic, a.packet.samples());
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
        let lag = self.lags[mic].standing();
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
        if empty && near(own) && beside(back) {
            return Place::Join(newest);
        }
        let next_end = back.own_end(0) + i64::from(samples);
        let before = BEFORE_BOARD - self.late.jitter().mul_ratio(1, 2);
        let too_early = match self.residual(next_end, a.at) {
            Some(r) if self.is_settled(a.at) => r < before,
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
            None if !empty && near(own) && !self.skips.stands(a.at) => Place::Contested,
            None => Place::Tentative,
        }
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
    fn behind(&self, mic: usize, at: MonoTime, entry: &Entry) -> Option<Span> {
        let others = entry.slots.iter().enumerate().filter(|&(other, _)| other != mic);
        let first = others.filter_map(|(other, slot)| Some((*slot)?.at + -self.lags[other].standing())).min();
        first.map(|first| at - first)
    }

    /// Two packets of one microphone at the phase of one cycle: one is late, and was meant for an older one. That is the
    /// second, unless the first was there before its microphone's own floor, or before those that the board sends before
    /// it. Returns where the second goes.
    fn settle_contest(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> Option<usize> {
        let newest = self.tail.len() - 1;
        let entry = self.tail.get(newest);
        let first = entry.slots[a.mic].expect("it is contested");
        let overtook = entry.slots[..a.mic].iter().flatten().any(|s| s.at > first.at);
        if !(first.early || overtook) || entry.has_left() {
            return self.hole(a.mic, a.packet.samples(), a.at);
        }
        let hole = self.hole(a.mic, first.samples, first.at);
        let (slot, samples) = self.tail.lift(newest, a.mic, sink);
        match hole {
            Some(i) => {
                self.tail.fill(i, a.mic, slot, &samples, sink);
            }
            None => sink.counters.mics[a.mic].late += 1,
        }
        Some(newest)
    }

    /// The newest cycle that lacks `mic` and whose time had come at `at`.
    fn hole(&self, mic: usize, samples: u32, at: MonoTime) -> Option<usize> {
        let passed = |end: FramePos| self.residual(end, at).is_some_and(|r| r > Span::ZERO);
        self.tail.lacking(mic).find(|(_, e)| passed(e.own_end(samples))).map(|(i, _)| i)
    }

    /// The bytes of this microphone's previous packet, so soon after it that no new one can be here yet.
    fn is_duplicate(&self, a: &Arrival<'_>, sink: &Sink<'_>) -> bool {
        let Some((i, previous)) = self.tail.iter().rev().find_map(|(i, e)| Some((i, e.slots[a.mic]?))) else {
            return false;
        };
        let samples = a.packet.samples();
        if previous.first != a.packet.first() || previous.samples != samples {
            return false;
        }
        let period = self.period();
        if (a.at - previous.at).abs() >= period.mul_ratio(1, 2) {
            return false;
        }
        let entry = self.tail.get(i);
        let following = entry.own_end(0) + i64::from(samples);
        let impossible = self.residual(following, a.at).is_none_or(|r| r < -period.mul_ratio(1, 8));
        impossible && !a.packet.is_constant() && sink.history.holds(a.mic, entry.first, a.packet.bytes())
    }

    /// A packet that came too early for the cycle it opened is confirmed by its companions, or goes to an older cycle.
    fn resolve_tentative(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) {
        let Some(back) = self.tail.back().filter(|b| b.tentative) else { return };
        let newest = self.tail.len() - 1;
        let mic = back.last_mic().expect("a tentative cycle holds its packet");
        let slot = back.slots[mic].expect("its packet is there");
        let quarter = self.period().mul_ratio(1, 4);
        let companion = a.mic > mic && a.at - slot.at < quarter;
        // The next packet is not early, delayed or not: the floor stands where it was thought to be.
        let fits_here = self.residual(back.own_end(a.packet.samples()), a.at).is_some_and(|r| r > -quarter);
        let skip_stands = self.skips.stands(a.at);
        if companion || back.has_left() || !fits_here || (a.mic == mic && skip_stands) {
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
                self.tail.fill(i, mic, slot, &samples, sink);
            }
            None => sink.counters.mics[mic].late += 1,
        }
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
            for (clock, (counters, lost)) in self.clocks.iter_mut().zip(sink.counters.mics.iter_mut().zip(skip.lost)) {
                clock.renumber(skip.since, -skip.frames);
                counters.found(lost);
                counters.corrected += lost;
            }
        }
        if disproved.is_none() && !(settled && self.skips.is_disputed()) {
            self.floor_since.get_or_insert((at, own_end));
            self.clock.observe(own_end, at);
            self.clocks[mic].observe(own_end, at);
        }
    }

    /// A floor of a few packets may be far too high.
    fn is_settled(&self, at: MonoTime) -> bool {
        self.floor_since.is_some_and(|(since, _)| at - since >= self.period().mul_ratio(SETTLED, 1))
    }

    /// So much audio cannot have been sent by now, whatever was waiting when the first packet came.
    fn is_beyond_backlog(&self, end: FramePos, at: MonoTime) -> bool {
        let ahead = |(since, first)| Span::of_frames(end - first, self.sample_rate) - (at - since);
        self.floor_since.is_some_and(|floor| ahead(floor) > BACKLOG)
    }

    fn settle_delayed(&mut self, sink: &mut Sink<'_>) {
        self.tail.settle(sink);
        self.released = false;
    }

    /// So many cycles were lost before the doubt.
    fn settle_lost(&mut self, cycles: i64, since: MonoTime, long: bool, sink: &mut Sink<'_>) {
        let frames = cycles * i64::from(self.tail.nominal());
        let mut lost = self.tail.insert_lost(cycles, self.released, sink);
        self.released = false;
        if long && self.restarted {
            for (counters, lost) in sink.counters.mics.iter_mut().zip(&mut lost) {
                counters.found(std::mem::take(lost));
            }
        }
        self.skips.push(since, frames, lost);
        if long {
            self.restart_clocks(sink);
        }
        self.judge_again(sink);
    }

    /// What stood behind a loss stands anew: a second loss may hide among it.
    fn judge_again(&mut self, sink: &mut Sink<'_>) {
        let mut pending = self.tail.doubtful();
        let mut next = 0;
        while let Some(&(at, mic)) = pending.get(next) {
            next += 1;
            let i = self.tail.find(at, mic);
            let own_end = self.tail.get(i).own_end(0);
            let r = self.residual(own_end, at);
            let since = self.late.doubt_since().unwrap_or(at);
            match r.map_or(Judgement::Certain, |r| self.late.judge(r, at, self.period(), false)) {
                Judgement::Doubtful => {}
                Judgement::Certain | Judgement::Delayed => {
                    self.tail.settle_until(at);
                    self.learn(mic, own_end, at, r, sink);
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
        (0..MICS).for_each(|mic| sink.meter.on_restart(mic));
        self.late.forget_level();
        self.clock.restart();
        self.floor_since = None;
        self.clocks.iter_mut().for_each(ClockModel::restart);
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
            if self.withholds() && entry.slots.iter().flatten().any(|s| s.doubtful) {
                return;
            }
            let closed = i + 1 < self.tail.len() && !self.tail.get(i + 1).tentative;
            let ran_out = now - entry.opened >= self.hold;
            if !(entry.is_complete() || closed || ran_out) {
                return;
            }
            self.let_go(now, sink);
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
        self.tail.leave(now, sink);
    }

    /// How far above the board's floor a packet that ends at `own_end` arrived; `None` while there is none.
    fn residual(&self, own_end: FramePos, at: MonoTime) -> Option<Span> {
        self.clock.residual(own_end, at)
    }

    fn period(&self) -> Span {
        self.tail.period()
    }
}
