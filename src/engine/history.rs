//! The last seconds of audio, by position.
//!
//! Problem: an event, a WAV body and a late packet all want the same samples, at positions that were decided once; and a
//! packet after a doubtful pause has a place only provisionally.
//!
//! Idea: a ring for each channel, addressed by position. A packet's samples are copied here once, in one run, and channels are
//! interleaved when they are read (of three, a third of the cache lines that interleaving on arrival touches, for every packet;
//! and nobody may ever ask). What a source sends interleaved is taken apart here. What is not written is zero, so gaps and skipped positions need no care when they are read.
//! Positions behind the last emitted frame can be read; those after it belong to cycles still open, and may move.

use crate::engine::tuning::history::{NEAR, SHORTEST_RECORDED};
use std::collections::VecDeque;
use std::ops::Range;

use super::intake::packet::SAMPLE_BYTES;
use crate::array::{Layout, PerMic};
use crate::cycle::Cycle;
use crate::time::{FramePos, KernelTime};

/// One channel: sample `p` at `p mod capacity`.
type Ring = Vec<[u8; SAMPLE_BYTES]>;

/// What a cycle that leaves is, beside its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub first_frame: FramePos,
    pub frames: u32,
    pub complete: bool,
    pub emitted: KernelTime,
}

/// What a source has in a cycle: frames, and when the newest packet came that filled it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    samples: u32,
    arrival: Option<KernelTime>,
}

impl Part {
    pub fn new(samples: u32, arrival: KernelTime) -> Part {
        Part { samples, arrival: Some(arrival) }
    }
}

/// Rings of samples and of the cycles that were emitted from them.
#[derive(Debug)]
pub struct History {
    layout: Layout,
    channels: Vec<Ring>,
    /// Of each source: what is there ends here, zeros included; from here on all is zero, whatever stands in the rings.
    ends: Vec<FramePos>,
    capacity: i64,
    /// Emitted frames kept readable.
    keep: i64,
    /// The newest position that was written or emitted, of any channel: none before `head - capacity` is there.
    head: FramePos,
    start: FramePos,
    end: FramePos,
    cycles: VecDeque<Head>,
    /// Of each cycle, a part a source.
    parts: VecDeque<Part>,
    max_cycles: usize,
    /// Cycles before this one were told of; the others are kept, whatever they weigh.
    told: u64,
    /// Of the first cycle of all.
    first_id: u64,
    next_id: u64,
    /// Of each source.
    packets: Vec<u64>,
}

/// Silence whose pages are there: else the first seconds of audio would fault in each of them, in the loop.
fn touched(samples: usize) -> Vec<[u8; SAMPLE_BYTES]> {
    let mut ring = Vec::with_capacity(samples);
    ring.resize(samples, [0; SAMPLE_BYTES]);
    ring
}

impl History {
    /// Keeps `keep` emitted frames, with room for `ahead` frames of cycles that have not left.
    pub fn new(layout: Layout, keep: usize, ahead: usize) -> History {
        let capacity = keep + ahead;
        assert!(keep > 0 && ahead > 0, "a history without room holds nothing");
        History {
            layout,
            channels: (0..layout.channels()).map(|_| touched(capacity)).collect(),
            ends: vec![FramePos(0); layout.sources()],
            capacity: capacity as i64,
            keep: keep as i64,
            head: FramePos(0),
            start: FramePos(0),
            end: FramePos(0),
            cycles: VecDeque::with_capacity(keep / 256 + 16),
            parts: VecDeque::with_capacity((keep / 256 + 16) * layout.sources()),
            max_cycles: keep / SHORTEST_RECORDED + 16,
            told: 0,
            first_id: 0,
            next_id: 0,
            packets: vec![0; layout.sources()],
        }
    }

    /// The first cycle of all gets this id, in place of 0.
    pub(super) fn number_from(&mut self, id: u64) {
        assert_eq!(self.next_id, self.first_id, "ids of emitted cycles stand");
        (self.first_id, self.next_id, self.told) = (id, id, id);
    }

    /// What the array is made of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of a frame of one source, as it arrives.
    pub(super) fn frame_bytes(&self, source: usize) -> usize {
        self.layout.channels_of(source).len() * SAMPLE_BYTES
    }

    /// The id of the first cycle of all.
    pub fn first_id(&self) -> u64 {
        self.first_id
    }

    /// Emitted frames that are kept.
    pub fn keeps(&self) -> i64 {
        self.keep
    }

    /// Emitted cycles whose records are kept, at most.
    pub fn keeps_cycles(&self) -> usize {
        self.max_cycles
    }

    /// Positions that can be read: up to the last emitted frame.
    pub fn span(&self) -> Range<FramePos> {
        self.start..self.end
    }

    /// Appends the samples of `frames` frames from `from` on to `out`, interleaved, each s32le. `None`, and nothing, unless all
    /// of them are emitted and not yet overwritten.
    pub fn append_to(&self, out: &mut Vec<[u8; SAMPLE_BYTES]>, from: FramePos, frames: usize) -> Option<()> {
        if from < self.start || from + frames as i64 > self.end {
            return None;
        }
        for run in self.runs(from, frames) {
            interleave(&self.channels, run, out);
        }
        Some(())
    }

    /// Samples of one channel, from `from` on, under the same condition.
    pub(super) fn listen(&self, channel: usize, from: FramePos, out: &mut [i32]) -> Option<()> {
        if from < self.start || from + out.len() as i64 > self.end {
            return None;
        }
        let [first, second] = self.runs(from, out.len()).map(|run| &self.channels[channel][run]);
        out.iter_mut().zip(first.iter().chain(second)).for_each(|(out, word)| *out = i32::from_le_bytes(*word));
        Some(())
    }

    /// Samples of one channel that were written, also of what has not left.
    pub(super) fn samples(&self, channel: usize, from: FramePos, count: usize) -> impl Iterator<Item = i32> {
        let [first, second] = self.runs(from, count).map(|run| &self.channels[channel][run]);
        first.iter().chain(second).map(|word| i32::from_le_bytes(*word))
    }

    /// Of all channels into `out`, interleaved, four bytes a channel and frame.
    pub fn read(&self, from: FramePos, out: &mut [u8]) -> Option<()> {
        let mut samples = Vec::with_capacity(out.len() / SAMPLE_BYTES);
        self.append_to(&mut samples, from, out.len() / (SAMPLE_BYTES * self.channels.len()))?;
        out.copy_from_slice(samples.as_flattened());
        Some(())
    }

    /// The emitted cycle `id`, while its frames are held.
    pub fn cycle(&self, id: u64) -> Option<Cycle> {
        let i = self.index(id)?;
        let (head, of) = (self.cycles[i], |channel: usize| self.part(i, self.layout.source_of(channel)));
        let channels = self.channels.len();
        Some(Cycle {
            id,
            first_frame: head.first_frame,
            frames: head.frames,
            mic_samples: PerMic::from_fn(channels, |channel| of(channel).samples),
            complete: head.complete,
            arrival: PerMic::from_fn(channels, |channel| of(channel).arrival),
            emitted: head.emitted,
        })
    }

    /// Samples that each channel has in the newest cycle.
    pub(super) fn newest_samples(&self) -> impl ExactSizeIterator<Item = u32> + Clone {
        let newest = self.cycles.len() - 1;
        (0..self.channels.len()).map(move |channel| self.part(newest, self.layout.source_of(channel)).samples)
    }

    /// The emitted cycle `id` has been told of.
    pub(super) fn note_told(&mut self, id: u64) {
        self.told = id + 1;
        self.drop_old_cycles();
    }

    /// Where a cycle that is held stands.
    fn index(&self, id: u64) -> Option<usize> {
        let i = usize::try_from(id.checked_sub(self.ids().start)?).ok()?;
        (i < self.cycles.len()).then_some(i)
    }

    fn part(&self, cycle: usize, source: usize) -> Part {
        self.parts[cycle * self.ends.len() + source]
    }

    /// Ids of the cycles held.
    pub fn ids(&self) -> Range<u64> {
        self.next_id - self.cycles.len() as u64..self.next_id
    }

    /// Packets held, by source.
    pub fn buffer_packets(&self) -> &[u64] {
        &self.packets
    }

    /// Nothing has left yet, and positions start over.
    pub(super) fn rewind(&mut self) {
        assert_eq!(self.next_id, self.first_id, "emitted positions stand");
        self.ends.fill(FramePos(0));
        self.head = FramePos(0);
    }

    /// Positions before `to` will never be read: nothing of them needs to be silent.
    pub(super) fn forget(&mut self, to: FramePos) {
        self.ends.iter_mut().for_each(|end| *end = (*end).max(to));
    }

    /// Copies whole frames of one source into its channels. What lies outside the rings is left out.
    pub(super) fn write(&mut self, source: usize, pos: FramePos, frames: &[u8]) {
        let channels = self.layout.channels_of(source);
        let wide = channels.len();
        let (words, _) = frames.as_chunks::<SAMPLE_BYTES>();
        let count = words.len() / wide;
        let end = pos + count as i64;
        self.reach(end);
        let skip = (((self.head + -self.capacity) - pos).max(0) as usize).min(count);
        self.silence(source, pos);
        let words = &words[skip * wide..count * wide];
        let [ahead, wrapped] = self.runs(pos + skip as i64, count - skip);
        let (first, second) = words.split_at(ahead.len() * wide);
        for (nth, ring) in self.channels[channels].iter_mut().enumerate() {
            take_apart(first, wide, nth, &mut ring[ahead.clone()]);
            take_apart(second, wide, nth, &mut ring[wrapped.clone()]);
        }
        self.ends[source] = self.ends[source].max(end);
    }

    /// Lifts one source's frames out, to be written elsewhere, and leaves silence. Rare, and allocates.
    pub(super) fn take(&mut self, source: usize, pos: FramePos, frames: u32) -> Vec<u8> {
        self.silence(source, pos + i64::from(frames));
        let mut lifted = Vec::with_capacity(frames as usize * self.layout.channels_of(source).len());
        for run in self.runs(pos, frames as usize) {
            let channels = &mut self.channels[self.layout.channels_of(source)];
            interleave(channels, run.clone(), &mut lifted);
            channels.iter_mut().for_each(|ring| ring[run.clone()].fill([0; SAMPLE_BYTES]));
        }
        lifted.into_flattened()
    }

    /// Whether one source has just these frames at `pos`.
    pub(super) fn holds(&self, source: usize, pos: FramePos, frames: &[u8]) -> bool {
        let channels = self.layout.channels_of(source);
        let wide = channels.len();
        let (words, _) = frames.as_chunks::<SAMPLE_BYTES>();
        let written = ((self.ends[source] - pos).max(0) as usize).min(words.len() / wide);
        let (written, beyond) = words.split_at(written * wide);
        let [ahead, wrapped] = self.runs(pos, written.len() / wide);
        let (first, second) = written.split_at(ahead.len() * wide);
        let there = |(nth, ring): (usize, &Ring)| {
            equal(first, wide, nth, &ring[ahead.clone()]) && equal(second, wide, nth, &ring[wrapped.clone()])
        };
        self.channels[channels].iter().enumerate().all(there) && beyond.iter().all(|word| *word == [0; SAMPLE_BYTES])
    }

    /// The cycle's frames can be read from now on. Returns its id, which rises by one a cycle.
    pub(super) fn emit(&mut self, head: Head, parts: impl Iterator<Item = Part>) -> u64 {
        assert!(head.first_frame >= self.end, "positions are never used twice");
        let id = self.next_id;
        if id == self.first_id {
            self.start = head.first_frame;
        }
        self.end = head.first_frame + i64::from(head.frames);
        self.reach(self.end);
        (0..self.ends.len()).for_each(|source| self.silence(source, self.end));
        self.next_id += 1;
        for (held, part) in self.packets.iter_mut().zip(parts) {
            *held += u64::from(part.samples > 0);
            self.parts.push_back(part);
        }
        self.cycles.push_back(head);
        debug_assert_eq!(self.parts.len(), self.cycles.len() * self.ends.len(), "a part a source");
        self.start = self.start.max(self.end + -self.keep);
        self.drop_old_cycles();
        id
    }

    /// Corrects the record of an emitted cycle: a late packet came, or (0 samples, `None`) went elsewhere.
    pub(super) fn amend(&mut self, id: u64, source: usize, samples: u32, arrival: Option<KernelTime>) {
        let Some(i) = self.index(id) else { return };
        let part = &mut self.parts[i * self.ends.len() + source];
        self.packets[source] += u64::from(samples > 0);
        self.packets[source] -= u64::from(part.samples > 0);
        *part = Part { samples, arrival };
    }

    fn drop_old_cycles(&mut self) {
        while self.ids().start < self.told
            && (self.cycles.front().is_some_and(|c| c.first_frame < self.start) || self.cycles.len() > self.max_cycles)
        {
            self.cycles.pop_front();
            for (held, gone) in self.packets.iter_mut().zip(self.parts.drain(..self.ends.len())) {
                *held -= u64::from(gone.samples > 0);
            }
        }
    }

    /// Positions up to `to` are in use: what they overwrite can no longer be read.
    fn reach(&mut self, to: FramePos) {
        self.head = self.head.max(to);
        self.start = self.start.max(self.head + -self.capacity).min(self.end);
        self.drop_old_cycles();
    }

    /// One source is silent from its end to `to`.
    fn silence(&mut self, source: usize, to: FramePos) {
        let from = self.ends[source].max(to + -self.capacity);
        if to <= from {
            return;
        }
        for run in self.runs(from, (to - from) as usize) {
            for ring in &mut self.channels[self.layout.channels_of(source)] {
                ring[run.clone()].fill([0; SAMPLE_BYTES]);
            }
        }
        self.ends[source] = to;
    }

    /// Where `count` samples from `pos` on stand in a ring: up to its end, and from its start.
    fn runs(&self, pos: FramePos, count: usize) -> [Range<usize>; 2] {
        let slot = pos.0.rem_euclid(self.capacity) as usize;
        let ahead = count.min(self.capacity as usize - slot);
        [slot..slot + ahead, 0..count - ahead]
    }
}

/// The `nth` of every `wide` words.
fn take_apart(frames: &[[u8; SAMPLE_BYTES]], wide: usize, nth: usize, to: &mut [[u8; SAMPLE_BYTES]]) {
    if wide == 1 {
        to.copy_from_slice(frames);
    } else {
        to.iter_mut().zip(frames.chunks_exact(wide)).for_each(|(to, frame)| *to = frame[nth]);
    }
}

/// Whether it is these.
fn equal(frames: &[[u8; SAMPLE_BYTES]], wide: usize, nth: usize, there: &[[u8; SAMPLE_BYTES]]) -> bool {
    frames.chunks_exact(wide).zip(there).all(|(frame, there)| frame[nth] == *there)
}

/// Appends a stretch of the rings, a frame after the other.
fn interleave(rings: &[Ring], run: Range<usize>, out: &mut Ring) {
    match rings {
        [one] => out.extend_from_slice(&one[run]),
        // Of two and three the compiler makes what it cannot make of any number.
        [a, b] => out.extend(a[run.clone()].iter().zip(&b[run]).flat_map(|(a, b)| [*a, *b])),
        [a, b, c] => {
            let (a, b, c) = (&a[run.clone()], &b[run.clone()], &c[run]);
            out.extend(a.iter().zip(b).zip(c).flat_map(|((a, b), c)| [*a, *b, *c]));
        }
        _ => {
            let from = out.len();
            out.resize(from + run.len() * rings.len(), [0; SAMPLE_BYTES]);
            // A few frames of each ring at a time, so that what is written stays near.
            for (frames, out) in out[from..].chunks_mut(NEAR * rings.len()).enumerate() {
                let start = run.start + frames * NEAR;
                let count = out.len() / rings.len();
                for (nth, ring) in rings.iter().enumerate() {
                    for (sample, frame) in ring[start..start + count].iter().zip(out.chunks_exact_mut(rings.len())) {
                        frame[nth] = *sample;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(from: i32, n: i32) -> Vec<u8> {
        (from..from + n).flat_map(i32::to_le_bytes).collect()
    }

    fn three(keep: usize, ahead: usize) -> History {
        History::new(Layout::mono(3), keep, ahead)
    }

    /// A cycle leaves, and is told of.
    fn emit<const N: usize>(h: &mut History, first: i64, frames: u32, samples: [u32; N]) {
        let at = KernelTime::from_nanos(0);
        let head = Head { first_frame: FramePos(first), frames, complete: true, emitted: at };
        let id = h.emit(head, samples.into_iter().map(|n| Part::new(n, at)));
        h.note_told(id);
    }

    fn channel(h: &History, mic: usize) -> Vec<i32> {
        let Range { start, end } = h.span();
        let mut frames = Vec::new();
        h.append_to(&mut frames, start, (end - start) as usize).expect("inside the span");
        frames.iter().skip(mic).step_by(h.layout().channels()).map(|word| i32::from_le_bytes(*word)).collect()
    }

    #[test]
    fn channels_interleave_and_gaps_read_as_zeros() {
        let mut h = three(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        h.write(2, FramePos(0), &samples(11, 3));
        emit(&mut h, 0, 4, [4, 0, 3]);
        assert_eq!(channel(&h, 0), [1, 2, 3, 4]);
        assert_eq!(channel(&h, 1), [0; 4]);
        assert_eq!(channel(&h, 2), [11, 12, 13, 0]);
        assert_eq!(h.buffer_packets(), [1, 0, 1]);
    }

    #[test]
    fn what_wraps_is_overwritten_and_no_longer_there() {
        let mut h = three(8, 8);
        for k in 0..5 {
            h.write(1, FramePos(k * 4), &samples(k as i32 * 4, 4));
            emit(&mut h, k * 4, 4, [0, 4, 0]);
        }
        assert_eq!(h.span(), FramePos(12)..FramePos(20));
        assert_eq!(channel(&h, 1), (12..20).collect::<Vec<_>>());
        assert_eq!(h.ids(), 3..5);
        assert!(h.cycle(2).is_none() && h.cycle(5).is_none());
        assert_eq!(h.cycle(4).expect("held").first_frame, FramePos(16));
        assert_eq!(h.buffer_packets(), [0, 2, 0]);
        let mut frame = [0; 12];
        assert!(h.read(FramePos(11), &mut frame).is_none() && h.read(FramePos(20), &mut frame).is_none());
        assert!(h.read(FramePos(19), &mut frame).is_some());
    }

    #[test]
    fn skipped_positions_are_silence_even_over_old_audio() {
        let mut h = three(8, 8);
        for k in 0..4 {
            h.write(0, FramePos(k * 4), &samples(7, 4));
            emit(&mut h, k * 4, 4, [4, 0, 0]);
        }
        h.write(0, FramePos(20), &samples(1, 4));
        emit(&mut h, 20, 4, [4, 0, 0]);
        assert_eq!(channel(&h, 0), [0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn lifted_samples_leave_silence() {
        let mut h = three(16, 16);
        h.write(1, FramePos(0), &samples(1, 4));
        let lifted = h.take(1, FramePos(0), 4);
        h.write(1, FramePos(2), &lifted);
        assert!(h.holds(1, FramePos(2), &samples(1, 4)) && !h.holds(1, FramePos(0), &samples(1, 4)));
        emit(&mut h, 0, 6, [0, 6, 0]);
        assert_eq!(channel(&h, 1), [0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_was_forgotten_before_the_start_is_neither_silenced_nor_read() {
        let mut h = three(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        h.forget(FramePos(4));
        h.write(1, FramePos(8), &samples(5, 4));
        let lifted = h.take(1, FramePos(8), 4);
        h.rewind();
        h.write(1, FramePos(0), &lifted);
        emit(&mut h, 0, 8, [0, 4, 0]);
        assert_eq!(channel(&h, 0), [0; 8]);
        assert_eq!(channel(&h, 1), [5, 6, 7, 8, 0, 0, 0, 0]);
    }

    #[test]
    fn samples_are_compared_across_the_wrap_and_silence_beyond_what_is_there() {
        let mut h = three(4, 4);
        h.write(2, FramePos(6), &samples(1, 4));
        let holds = |pos, held: &[i32]| {
            h.holds(2, FramePos(pos), &held.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>())
        };
        assert!(holds(6, &[1, 2, 3, 4]) && holds(7, &[2, 3, 4, 0, 0]) && holds(20, &[0; 4]));
        assert!(!holds(6, &[1, 2, 3, 5]) && !holds(6, &[1, 2, 4, 4]) && !holds(8, &[3, 4, 1]));
    }

    #[test]
    fn what_comes_interleaved_is_taken_apart_and_put_together_again() {
        // Of 17 channels, one board sends two, one seven and one eight, over the end of a ring of 70 frames twice.
        let mut h = History::new(Layout::new(&[2, 7, 8]).expect("17 channels"), 40, 30);
        let value = |channel: usize, frame: i64| channel as i32 * 1_000_000 + frame as i32;
        for k in 0..30 {
            for source in 0..3 {
                let frames =
                    (k * 5..k * 5 + 5).flat_map(|frame| h.layout().channels_of(source).map(move |c| value(c, frame)));
                let bytes: Vec<u8> = frames.flat_map(i32::to_le_bytes).collect();
                h.write(source, FramePos(k * 5), &bytes);
                assert!(h.holds(source, FramePos(k * 5), &bytes));
            }
            emit(&mut h, k * 5, 5, [5, 5, 5]);
        }
        for c in 0..17 {
            assert_eq!(channel(&h, c), (110..150).map(|frame| value(c, frame)).collect::<Vec<_>>());
        }
        let lifted = h.take(1, FramePos(149), 1);
        assert_eq!(lifted, (2..9).flat_map(|c| value(c, 149).to_le_bytes()).collect::<Vec<_>>());
        assert_eq!((channel(&h, 2)[39], channel(&h, 9)[39]), (0, value(9, 149)));
        let cycle = h.cycle(29).expect("held");
        assert_eq!((cycle.mic_samples.len(), cycle.arrival.len()), (17, 17));
    }

    #[test]
    fn a_cycle_that_nobody_was_told_of_is_kept() {
        let mut h = three(1, 8);
        let at = KernelTime::from_nanos(0);
        for first in [0, 4] {
            let head = Head { first_frame: FramePos(first), frames: 4, complete: true, emitted: at };
            h.emit(head, [4; 3].into_iter().map(|n| Part::new(n, at)));
        }
        assert_eq!(h.cycle(0).expect("kept").mic_samples, [4; 3]);
        h.note_told(0);
        assert!(h.cycle(0).is_none() && h.cycle(1).is_some());
    }

    #[test]
    fn a_late_packet_fills_its_place() {
        let mut h = three(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        emit(&mut h, 0, 4, [4, 0, 0]);
        h.write(1, FramePos(0), &samples(5, 4));
        h.amend(0, 1, 4, Some(KernelTime::from_nanos(9)));
        assert_eq!(channel(&h, 1), [5, 6, 7, 8]);
        assert_eq!(h.cycle(0).expect("held").mic_samples, [4, 4, 0]);
        assert_eq!(h.buffer_packets(), [1, 1, 0]);
    }
}
