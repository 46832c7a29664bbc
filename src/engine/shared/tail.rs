//! The newest cycles: those still open, and the last that left.
//!
//! Problem: a packet may fill a cycle that has left, a doubt may move cycles that have not, and every packet that was
//! inferred lost, came late or was never there must be counted exactly once.
//!
//! Idea: the cycles stand in order, each with its place on two axes: the positions that go out (never used twice, never
//! moved once emitted) and the board's own axis, on which its clock is modelled (a skip that proves false is taken back
//! there). Samples lie in the history from the moment of arrival; a cycle that moves takes them along. This file carries
//! out and counts; `align` decides.

mod entry;

use crate::engine::shared::tuning::tail::{FIRST_CYCLES, LEFT_KEPT};
use std::collections::VecDeque;

use super::align::Arrival;
use crate::array::MicSet;
use crate::engine::Queued;
use crate::engine::figures::Counters;
use crate::engine::figures::desync::DesyncLog;
use crate::engine::figures::skew::SkewMeter;
use crate::engine::history::{Head, History, Part};
use crate::engine::number::nominal::Nominal;
use crate::engine::number::skips::Lost;
use crate::time::{FramePos, KernelTime, MonoTime, Span};
use entry::Left;
pub(in crate::engine) use entry::{Entry, Slot};

/// Where the engine keeps what a placement changes.
pub(in crate::engine) struct Sink<'a> {
    pub history: &'a mut History,
    pub counters: &'a mut Counters,
    pub outputs: &'a mut VecDeque<Queued>,
    pub meter: &'a mut SkewMeter,
    /// CLOCK_REALTIME of this turn.
    pub wall: KernelTime,
}

impl Sink<'_> {
    /// A cycle has left: it is told of, and so is what it lacks.
    pub fn emitted(&mut self, id: u64, desync: &mut DesyncLog, at: MonoTime) {
        self.outputs.push_back(Queued::Cycle(id));
        if let Some(line) = desync.line(self.history.newest_samples(), at) {
            self.outputs.push_back(Queued::Log(line));
        }
    }
}

/// A packet in doubt that could not wait: its cycle has left without it.
#[derive(Debug)]
struct Aside {
    /// Its cycle if it was delayed; it has its slot there.
    ordinal: i64,
    mic: usize,
    samples: Vec<u8>,
}

/// A packet on its way to a later cycle.
struct Moving {
    /// The cycle that it leaves.
    ordinal: i64,
    mic: usize,
    slot: Slot,
    samples: Vec<u8>,
}

/// What is known of one microphone.
#[derive(Clone, Copy, Debug, Default)]
struct Mic {
    /// From this cycle on, an absent packet counts as lost.
    heard_from: Option<i64>,
    /// Cycles that lack it.
    lacking: usize,
}

/// The newest cycles, in order.
#[derive(Debug)]
pub(in crate::engine) struct Tail {
    mics: Vec<Mic>,
    entries: VecDeque<Entry>,
    /// How many of them, in front, have left.
    left: usize,
    started: bool,
    sample_rate: u32,
    /// Frames of a complete cycle.
    nominal: Nominal,
    /// And their time.
    period: Span,
    /// Cycles to skip before the next one opens.
    gap: i64,
    /// Of the cycle in which a doubt began, what leaves it only when that is decided: all packets but one at most.
    aside: Vec<Aside>,
    /// Room for the slots of cycles to come, and for those of the one that leaves.
    spare: Vec<Vec<Option<Slot>>>,
    leaving: Vec<Option<Slot>>,
    desync: DesyncLog,
}

impl Tail {
    pub fn new(mics: usize, sample_rate: u32) -> Tail {
        Tail {
            mics: vec![Mic::default(); mics],
            entries: VecDeque::with_capacity(2 * LEFT_KEPT),
            left: 0,
            started: false,
            sample_rate,
            nominal: Nominal::default(),
            period: Span::ZERO,
            gap: 0,
            aside: Vec::with_capacity(mics),
            spare: (0..2 * LEFT_KEPT).map(|_| Vec::with_capacity(mics)).collect(),
            leaving: Vec::with_capacity(mics),
            desync: DesyncLog::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn get(&self, i: usize) -> &Entry {
        &self.entries[i]
    }
    pub fn back(&self) -> Option<&Entry> {
        self.entries.back()
    }
    pub fn confirm_back(&mut self) {
        if let Some(back) = self.entries.back_mut() {
            back.tentative = false;
        }
    }
    /// Index of the oldest cycle that has not left.
    pub fn first_open(&self) -> usize {
        self.left
    }
    pub fn started(&self) -> bool {
        self.started
    }
    /// Frames of a normal cycle: until one was complete, those of the newest that holds a packet.
    pub fn nominal(&self) -> u32 {
        match self.nominal.frames() {
            0 => self.entries.iter().rev().map(|e| e.frames).find(|&frames| frames > 0).unwrap_or(0),
            n => n,
        }
    }
    /// Cycles are of another length from now on.
    pub fn renew_nominal(&mut self) {
        self.nominal = Nominal::default();
    }
    /// The time of a normal cycle.
    pub fn period(&self) -> Span {
        if self.nominal.frames() > 0 {
            self.period
        } else {
            Span::of_frames(self.nominal().max(1).into(), self.sample_rate)
        }
    }
    /// Frames in cycles that have not left.
    pub fn open_frames(&self) -> i64 {
        match (self.entries.get(self.left), self.entries.back()) {
            (Some(first), Some(last)) => last.first + i64::from(last.frames) - first.first,
            _ => 0,
        }
    }
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate()
    }

    /// Whether any cycle here lacks a packet of `mic`.
    pub fn lacks(&self, mic: usize) -> bool {
        self.mics[mic].lacking > 0
    }

    /// The cycles that lack `mic`, newest first.
    pub fn lacking(&self, mic: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let lacks = move |e: &Entry| e.slots[mic].is_none();
        self.iter().rev().filter(move |(_, e)| lacks(e)).take(self.mics[mic].lacking)
    }

    /// The count of those is right. Checked once a cycle: each packet asks for them several times.
    fn knows_what_it_lacks(&self) -> bool {
        let lacking = |mic: usize| self.entries.iter().filter(|e| e.slots[mic].is_none()).count();
        (0..self.mics.len()).all(|mic| lacking(mic) == self.mics[mic].lacking)
    }

    /// Slots of a new cycle, which lacks all.
    fn new_slots(&mut self) -> Vec<Option<Slot>> {
        let mut slots = self.spare.pop().unwrap_or_default();
        slots.resize(self.mics.len(), None);
        self.mics.iter_mut().for_each(|mic| mic.lacking += 1);
        slots
    }

    /// A cycle has gone.
    fn recycle(&mut self, mut slots: Vec<Option<Slot>>) {
        for (mic, slot) in self.mics.iter_mut().zip(&slots) {
            mic.lacking -= usize::from(slot.is_none());
        }
        slots.clear();
        if self.spare.len() < 2 * LEFT_KEPT {
            self.spare.push(slots);
        }
    }

    /// A new cycle after the newest.
    pub fn open(&mut self, at: MonoTime, tentative: bool) -> usize {
        let gap = std::mem::take(&mut self.gap);
        let (ordinal, first, own_first) = match self.entries.back() {
            None => (0, FramePos(0), FramePos(0)),
            Some(b) => {
                let frames = i64::from(b.frames) + gap * i64::from(self.nominal());
                (b.ordinal + 1 + gap, b.first + frames, b.own_first + frames)
            }
        };
        let slots = self.new_slots();
        let entry = Entry { ordinal, first, own_first, frames: 0, slots, opened: at, tentative, left: None };
        self.entries.push_back(entry);
        self.entries.len() - 1
    }

    /// Puts samples of a chunk, from frame `offset` on, into a cycle that lacks its microphone. True when the cycle had left.
    pub fn fill(&mut self, i: usize, mic: usize, slot: Slot, offset: u32, samples: &[u8], sink: &mut Sink<'_>) -> bool {
        let newest = i + 1 == self.entries.len();
        let entry = &mut self.entries[i];
        assert!(entry.slots[mic].is_none(), "a slot is filled once");
        if newest && entry.left.is_none() {
            entry.frames = entry.frames.max(slot.samples);
        }
        // What follows has its place already: a longer packet that comes after it is cut.
        let fits = slot.samples.min(entry.frames);
        let frame_bytes = sink.history.frame_bytes(mic);
        let room = fits.saturating_sub(offset) as usize * frame_bytes;
        let samples = &samples[..samples.len().min(room)];
        let present = slot.present.min(samples.len() as u32 / frame_bytes as u32);
        entry.slots[mic] = Some(Slot { samples: fits, present, late: false, ..slot });
        self.mics[mic].lacking -= 1;
        if entry.has_left() && slot.doubtful && entry.is_mixed() {
            let mut chunk = vec![0; fits as usize * frame_bytes];
            chunk[offset.min(fits) as usize * frame_bytes..][..samples.len()].copy_from_slice(samples);
            self.aside.push(Aside { ordinal: entry.ordinal, mic, samples: chunk });
            return false;
        }
        sink.history.write(mic, entry.first + i64::from(offset.min(fits)), samples);
        let own_end = entry.own_end(fits);
        let late = match &mut entry.left {
            None => false,
            Some(left) => {
                // One that moves from one such cycle to another was told of.
                if !slot.late {
                    sink.meter.on_late(mic, own_end, slot.at);
                }
                entry.slots[mic].as_mut().expect("it was filled").late = true;
                let counters = &mut sink.counters.mics[mic];
                counters.late += 1;
                counters.found(left.lost.take(mic).into());
                if let Some(id) = left.id {
                    sink.history.amend(id, mic, present, Some(slot.newest_stamp));
                }
                true
            }
        };
        let ordinal = entry.ordinal;
        if self.mics[mic].heard_from.is_none() {
            self.hear(mic, ordinal, sink.counters);
        }
        late
    }

    /// Another part of a chunk that was placed before. True when it came too late for its cycle, or has no place any more.
    pub fn add(&mut self, a: &Arrival<'_>, sink: &mut Sink<'_>) -> bool {
        let mic = a.mic;
        let own = |e: &Entry| e.slots[mic].is_some_and(|slot| slot.serial == a.chunk.serial);
        let Some(i) = self.entries.iter().rposition(own) else {
            sink.counters.mics[mic].late += 1;
            return true;
        };
        let entry = &mut self.entries[i];
        let slot = entry.slots[mic].as_mut().expect("its cycle holds the chunk");
        let room = slot.samples.saturating_sub(a.offset) as usize * a.frame_bytes;
        let samples = &a.samples[..a.samples.len().min(room)];
        if samples.is_empty() {
            // Its cycle is shorter than its chunk: what follows has its place already.
            return false;
        }
        slot.present += samples.len() as u32 / a.frame_bytes as u32;
        (slot.newest_at, slot.newest_stamp) = (a.newest_at, a.newest_stamp);
        if let Some(aside) = self.aside.iter_mut().find(|x| (x.ordinal, x.mic) == (entry.ordinal, mic)) {
            aside.samples[a.offset as usize * a.frame_bytes..][..samples.len()].copy_from_slice(samples);
            return false;
        }
        sink.history.write(mic, entry.first + i64::from(a.offset), samples);
        let Some(left) = &entry.left else { return false };
        sink.counters.mics[mic].late += 1;
        if let Some(id) = left.id {
            sink.history.amend(id, mic, slot.present, Some(slot.newest_stamp));
        }
        true
    }

    /// Lifts a packet out of its cycle again.
    pub fn lift(&mut self, i: usize, mic: usize, sink: &mut Sink<'_>) -> (Slot, Vec<u8>) {
        let entry = &mut self.entries[i];
        let slot = entry.slots[mic].take().expect("a packet stands where it is lifted");
        self.mics[mic].lacking += 1;
        if let Some(k) = self.aside.iter().position(|a| (a.ordinal, a.mic) == (entry.ordinal, mic)) {
            return (slot, self.aside.swap_remove(k).samples);
        }
        let samples = sink.history.take(mic, entry.first, slot.samples);
        if let Some(left) = &mut entry.left {
            // What left with its cycle was in time.
            sink.counters.mics[mic].late -= u64::from(slot.late);
            sink.counters.mics[mic].lost += 1;
            left.lost.insert(mic);
            if let Some(id) = left.id {
                sink.history.amend(id, mic, 0, None);
            }
        }
        (slot, samples)
    }

    /// The packets of `mic` from cycle `first` on move one cycle down each, in the order of their arrival; `first - 1` lacks it.
    pub fn move_down(&mut self, mic: usize, first: usize, sink: &mut Sink<'_>) {
        let mut moving: Vec<_> = (first..self.entries.len()).map(|i| self.lift(i, mic, sink)).collect();
        moving.sort_by_key(|(slot, _)| slot.at);
        for (i, (slot, samples)) in (first - 1..).zip(moving) {
            self.fill(i, mic, slot, 0, &samples, sink);
        }
    }

    /// Forgets the newest cycle, which is empty.
    pub fn drop_empty_back(&mut self) {
        let back = self.entries.pop_back().expect("a cycle stands at the back");
        assert!(
            back.slots.iter().all(Option::is_none) && back.left.is_none(),
            "only an empty, open cycle is forgotten"
        );
        self.recycle(back.slots);
    }

    /// The doubtful packets were delayed: they stay where they are.
    pub fn settle(&mut self, sink: &mut Sink<'_>) {
        for slot in self.entries.iter_mut().flat_map(|e| e.slots.iter_mut().flatten()) {
            slot.doubtful = false;
        }
        for Aside { ordinal, mic, samples } in self.aside.drain(..) {
            sink.counters.mics[mic].late += 1;
            let Some(entry) = self.entries.iter_mut().find(|e| e.ordinal == ordinal) else { continue };
            let own_end = entry.own_end(0);
            let (Some(slot), Some(left)) = (&mut entry.slots[mic], &mut entry.left) else { continue };
            slot.late = true;
            sink.meter.on_late(mic, own_end, slot.at);
            sink.counters.mics[mic].found(left.lost.take(mic).into());
            sink.history.write(mic, entry.first, &samples);
            if let Some(id) = left.id {
                sink.history.amend(id, mic, slot.present, Some(slot.newest_stamp));
            }
        }
    }

    /// The packet of `mic` in the cycle `i` stays where it is.
    pub fn settle_one(&mut self, i: usize, mic: usize) {
        if let Some(slot) = &mut self.entries[i].slots[mic] {
            slot.doubtful = false;
        }
    }

    /// The packet of `mic` in the cycle `i` is in doubt.
    pub fn doubt_one(&mut self, i: usize, mic: usize) {
        if let Some(slot) = &mut self.entries[i].slots[mic] {
            slot.doubtful = true;
        }
    }

    /// The packets in doubt, in the order of their arrival: when, of which microphone, in which cycle.
    pub fn doubtful(&self) -> Vec<(MonoTime, usize, usize)> {
        let slots = self.iter().flat_map(|(i, e)| e.slots.iter().enumerate().map(move |(mic, slot)| (i, mic, slot)));
        let doubtful = slots.filter_map(|(i, mic, slot)| slot.filter(|s| s.doubtful).map(|s| (s.at, mic, i)));
        let mut doubtful: Vec<_> = doubtful.collect();
        doubtful.sort_unstable();
        doubtful
    }

    /// `cycles` whole periods were lost before the first doubtful packet: it and all after it that has not left for good
    /// move. Returns what is counted lost for it.
    pub fn insert_lost(&mut self, cycles: i64, keep_left: bool, sink: &mut Sink<'_>) -> Lost {
        if cycles < 1 {
            // Nothing was lost after all: what was in doubt stays where it is.
            self.settle(sink);
            return Lost::default();
        }
        let nominal = i64::from(self.nominal());
        let doubtful = |e: &Entry| e.slots.iter().flatten().any(|s| s.doubtful);
        let from = self.entries.iter().position(doubtful).unwrap_or(self.entries.len());
        let from = if keep_left { from.max(self.left) } else { from };
        let moving = self.lift_doubtful(from, sink);
        let longer = self.split(from, &moving);
        let (first_moved, skipped) = if longer.is_some() { (from + 1, cycles - 1) } else { (from, cycles) };
        if first_moved == self.entries.len() {
            self.gap += cycles;
        }
        let before = self.entries.get(first_moved).map_or(i64::MAX, |e| e.ordinal);
        for entry in self.entries.iter_mut().skip(first_moved) {
            entry.ordinal += cycles;
            entry.first = entry.first + cycles * nominal + longer.unwrap_or(0);
            entry.own_first = entry.own_first + cycles * nominal;
        }
        for Moving { ordinal, mic, slot, samples } in moving {
            let at = |e: &Entry| e.ordinal == ordinal + cycles && !e.has_left();
            let i = self.entries.iter().position(at).expect("a moved packet's cycle moved along");
            self.fill(i, mic, slot, 0, &samples, sink);
        }
        for slot in self.entries.iter_mut().filter(|e| e.has_left()).flat_map(|e| e.slots.iter_mut().flatten()) {
            slot.doubtful = false;
        }
        sink.counters.cycles.skipped += skipped as u64;
        let lost = self.count_lost(cycles, skipped, before, sink);
        self.place_aside(lost, cycles * nominal, sink);
        lost
    }

    /// Takes up every packet in doubt from the cycle `from` on, before anything is written: the places that they leave and those that
    /// they come to overlap.
    fn lift_doubtful(&mut self, from: usize, sink: &mut Sink<'_>) -> Vec<Moving> {
        let mut moving = Vec::new();
        for i in from..self.entries.len() {
            for mic in 0..self.mics.len() {
                if self.entries[i].slots[mic].is_some_and(|s| s.doubtful) {
                    let (slot, samples) = self.lift(i, mic, sink);
                    moving.push(Moving { ordinal: self.entries[i].ordinal, mic, slot, samples });
                }
            }
        }
        moving
    }

    /// A first cycle that keeps certain packets, or has left, stays, and its doubtful packets become a cycle behind it. Returns by how many
    /// frames the one that stays is longer than a normal cycle, which pushes the others on: its positions are used once. `None`: it moves
    /// like the others.
    fn split(&mut self, from: usize, moving: &[Moving]) -> Option<i64> {
        self.entries.get(from).filter(|e| e.has_left() || e.slots.iter().any(Option::is_some))?;
        let slots = self.new_slots();
        let head = &self.entries[from];
        // It is as old as the packets that make it: a skip that proves false takes those back that came since.
        let moved = moving.iter().filter(|moving| moving.ordinal == head.ordinal).map(|moving| moving.slot.at).min();
        let opened = moved.unwrap_or(head.opened);
        let longer = (i64::from(head.frames) - i64::from(self.nominal())).max(0);
        let behind = Entry { slots, opened, left: None, ..*head };
        self.entries.insert(from + 1, behind);
        Some(longer)
    }

    /// Counts `cycles` lost of each microphone that was heard before the cycle `before`. Of a cycle that was split (one more than were `skipped`)
    /// each half counts what it lacks when it leaves.
    fn count_lost(&mut self, cycles: i64, skipped: i64, before: i64, sink: &mut Sink<'_>) -> Lost {
        let mut lost = Lost { each: cycles as u64, of: MicSet::default() };
        for (mic, own) in self.mics.iter_mut().enumerate() {
            match &mut own.heard_from {
                Some(heard) if *heard < before || *heard == 0 => lost.of.insert(mic),
                Some(heard) => *heard += cycles,
                None => {}
            }
            sink.counters.mics[mic].lost += lost.by(mic).saturating_sub((cycles - skipped) as u64);
        }
        lost
    }

    /// Packets that were set aside are of the last of the cycles that were skipped; the cycles that they waited for moved by `frames`.
    fn place_aside(&mut self, lost: Lost, frames: i64, sink: &mut Sink<'_>) {
        for Aside { ordinal, mic, .. } in self.aside.drain(..) {
            if let Some(entry) = self.entries.iter_mut().find(|e| e.ordinal == ordinal)
                && let Some(slot) = entry.slots[mic].take()
            {
                self.mics[mic].lacking += 1;
                sink.meter.on_late(mic, entry.own_end(0) + frames, slot.at);
            }
            sink.counters.mics[mic].late += 1;
            sink.counters.mics[mic].found((lost.by(mic) > 0).into());
        }
    }

    /// Cycles that came in since `since` stand `cycles` sooner on the board's own axis: a skip was false.
    pub fn renumber(&mut self, since: MonoTime, cycles: i64, frames: i64) {
        for entry in self.entries.iter_mut().filter(|e| e.opened >= since) {
            entry.ordinal -= cycles;
            entry.own_first = entry.own_first + -frames;
        }
    }

    /// The oldest open cycle is the first to go out: positions start at it.
    pub fn start(&mut self, sink: &mut Sink<'_>) {
        self.started = true;
        let base = self.entries[self.left].first - FramePos(0);
        if base == 0 {
            return;
        }
        let mut moving = Vec::new();
        for entry in self.entries.iter_mut().skip(self.left) {
            for (mic, slot) in entry.slots.iter().enumerate() {
                if let Some(slot) = slot {
                    moving.push((entry.first + -base, mic, sink.history.take(mic, entry.first, slot.samples)));
                }
            }
            entry.first = entry.first + -base;
        }
        sink.history.rewind();
        for (pos, mic, samples) in moving {
            sink.history.write(mic, pos, &samples);
        }
    }

    /// The oldest open cycle leaves: emitted when the stream has started, dropped before. Where a doubt that began inside
    /// it is still open, what is certain leaves, and the rest fills its place once it is known to be of this cycle.
    pub fn leave(&mut self, at: MonoTime, sink: &mut Sink<'_>) {
        let entry = &mut self.entries[self.left];
        let mixed = entry.is_mixed();
        let slots = &mut self.leaving;
        slots.clear();
        slots.extend(entry.slots.iter().map(|slot| slot.filter(|s| !(mixed && s.doubtful))));
        let mut lost = MicSet::default();
        for (mic, own) in self.mics.iter().enumerate() {
            if let Some(slot) = entry.slots[mic].filter(|_| slots[mic].is_none()) {
                let samples = sink.history.take(mic, entry.first, slot.samples);
                self.aside.push(Aside { ordinal: entry.ordinal, mic, samples });
            }
            if slots[mic].is_none() && own.heard_from.is_some_and(|from| from <= entry.ordinal) {
                lost.insert(mic);
                sink.counters.mics[mic].lost += 1;
            }
        }
        let id = self.started.then(|| sink.history.ids().end);
        entry.left = Some(Left { id, lost });
        if slots.iter().all(Option::is_some) && !entry.tentative && self.nominal.note(entry.frames) {
            self.period = Span::of_frames(self.nominal.frames().into(), self.sample_rate);
        }
        // Where a packet stands is certain now, also one that was in doubt: delay variation has to see the long delays too.
        for (mic, slot) in slots.iter().enumerate() {
            if let Some(slot) = slot {
                let end = entry.own_end(slot.samples);
                sink.meter.on_placed(mic, end + -i64::from(slot.samples), end, slot.at);
            }
        }
        if self.started {
            let complete = slots.iter().all(|s| s.is_some_and(|s| s.is_whole()));
            let head = Head { first_frame: entry.first, frames: entry.frames, complete, emitted: sink.wall };
            let part = |slot: &Option<Slot>| slot.map_or(Part::default(), |s| Part::new(s.present, s.newest_stamp));
            let id = sink.history.emit(head, slots.iter().map(part));
            let cycles = &mut sink.counters.cycles;
            cycles.emitted += 1;
            sink.meter.on_cycle(slots.iter().map(|slot| slot.map(|s| s.at)), at);
            if complete {
                cycles.complete += 1;
                sink.meter.on_complete(slots.iter().flatten().map(|s| (s.stamp, s.loop_delay)), at);
            } else {
                cycles.incomplete += 1;
            }
            sink.emitted(id, &mut self.desync, at);
        }
        if !self.started {
            sink.history.forget(entry.first + i64::from(entry.frames));
        }
        debug_assert!(self.knows_what_it_lacks());
        self.left += 1;
        if self.left > LEFT_KEPT {
            let oldest = self.entries.pop_front().expect("cycles that left stand in front");
            self.recycle(oldest.slots);
            self.left -= 1;
        }
    }

    /// A microphone is heard for the first time, in the cycle `ordinal`.
    fn hear(&mut self, mic: usize, ordinal: i64, counters: &mut Counters) {
        if ordinal >= FIRST_CYCLES {
            self.mics[mic].heard_from = Some(ordinal);
            return;
        }
        self.mics[mic].heard_from = Some(0);
        for entry in self.entries.iter_mut().filter(|e| e.ordinal < ordinal) {
            if let Some(left) = &mut entry.left
                && entry.slots[mic].is_none()
                && !left.lost.contains(mic)
            {
                left.lost.insert(mic);
                counters.mics[mic].lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Layout;
    use crate::engine::clock::Again;
    use crate::engine::intake::chunks::Chunk;
    use crate::engine::intake::packet::SAMPLE_BYTES;

    const FRAMES: u32 = 4;

    fn ms(ms: i64) -> MonoTime {
        MonoTime::from_nanos(ms * 1_000_000)
    }

    fn arrival(mic: usize, at: MonoTime) -> Arrival<'static> {
        let stamp = KernelTime::from_nanos(at.as_nanos());
        Arrival {
            mic,
            at,
            stamp,
            delay: Span::ZERO,
            newest_at: at,
            newest_stamp: stamp,
            chunk: Chunk { serial: 0, samples: FRAMES },
            offset: 0,
            samples: &[7; FRAMES as usize * SAMPLE_BYTES],
            frame_bytes: SAMPLE_BYTES,
            again: Again::TheSame,
            recut: false,
            split: false,
        }
    }

    /// A doubt that began inside a cycle was taken for a loss, which splits that cycle, and the loss proves false.
    #[test]
    fn the_half_that_was_split_off_is_taken_back_with_what_came_behind_it() {
        let (mut history, mut meter) = (History::new(Layout::mono(3), 4_096, 4_096), SkewMeter::new(3, 48_000));
        let (mut counters, mut outputs) = (Counters::new(3), VecDeque::new());
        let wall = KernelTime::from_nanos(0);
        let sink = &mut Sink {
            history: &mut history,
            counters: &mut counters,
            outputs: &mut outputs,
            meter: &mut meter,
            wall,
        };
        let mut tail = Tail::new(3, 48_000);
        let fill = |tail: &mut Tail, i: usize, mic: usize, at: MonoTime, doubtful: bool, sink: &mut Sink<'_>| {
            let a = arrival(mic, at);
            tail.fill(i, mic, Slot::of(&a, doubtful, false), 0, a.samples, sink);
        };
        let first = tail.open(ms(0), false);
        fill(&mut tail, first, 0, ms(0), false, sink);
        fill(&mut tail, first, 1, ms(30), true, sink);
        let second = tail.open(ms(31), false);
        fill(&mut tail, second, 0, ms(31), true, sink);
        tail.insert_lost(1, false, sink);
        let own = |tail: &Tail| tail.iter().map(|(_, e)| (e.ordinal, e.own_first.0)).collect::<Vec<_>>();
        assert_eq!(own(&tail), [(0, 0), (1, 4), (2, 8)]);
        tail.renumber(ms(30), 1, FRAMES.into());
        assert_eq!(own(&tail), [(0, 0), (0, 0), (1, 4)], "both halves are of one cycle again");
    }
}
