//! The last seconds of audio, by position.
//!
//! Problem: an event, a WAV body and a late packet all want the same samples, at positions that were decided once; and a
//! packet after a doubtful pause has a place only provisionally.
//!
//! Idea: a ring for each channel, addressed by position. A packet's samples are copied here once, in one run, and channels are
//! interleaved when they are read (a third of the cache lines that interleaving on arrival touches, for every packet; and
//! nobody may ever ask). What is not written is zero, so gaps and skipped positions need no care when they are read.
//! Positions behind the last emitted frame can be read; those after it belong to cycles still open, and may move.

use std::collections::VecDeque;
use std::ops::Range;

use super::packet::SAMPLE_BYTES;
use crate::MICS;
use crate::cycle::Cycle;
use crate::time::{FramePos, KernelTime};

/// Bytes of a frame: one s32le sample a microphone.
pub const FRAME_BYTES: usize = SAMPLE_BYTES * MICS;

/// Cycle records kept are bounded by the history's length in packets of this many frames. Shorter packets keep their
/// audio, and lose their records sooner.
const SHORTEST_RECORDED: usize = 64;

/// One channel.
#[derive(Debug)]
struct Channel {
    /// Sample `p` at `p mod capacity`.
    ring: Vec<[u8; SAMPLE_BYTES]>,
    /// What is there ends here, zeros included; from here on all is zero, whatever stands in the ring.
    end: FramePos,
}

/// Rings of samples and of the cycles that were emitted from them.
#[derive(Debug)]
pub struct History {
    channels: [Channel; MICS],
    capacity: i64,
    /// Emitted frames kept readable.
    keep: i64,
    /// The newest position that was written or emitted, of any channel: none before `head - capacity` is there.
    head: FramePos,
    start: FramePos,
    end: FramePos,
    cycles: VecDeque<Cycle>,
    max_cycles: usize,
    /// Of the first cycle of all.
    first_id: u64,
    next_id: u64,
    packets: [u64; MICS],
}

/// Silence whose pages are there: else the first seconds of audio would fault in each of them, in the loop.
fn touched(samples: usize) -> Vec<[u8; SAMPLE_BYTES]> {
    let mut ring = Vec::with_capacity(samples);
    ring.resize(samples, [0; SAMPLE_BYTES]);
    ring
}

impl History {
    /// Keeps `keep` emitted frames, with room for `ahead` frames of cycles that have not left.
    pub fn new(keep: usize, ahead: usize) -> History {
        let capacity = keep + ahead;
        assert!(keep > 0 && ahead > 0, "a history without room holds nothing");
        History {
            channels: std::array::from_fn(|_| Channel { ring: touched(capacity), end: FramePos(0) }),
            capacity: capacity as i64,
            keep: keep as i64,
            head: FramePos(0),
            start: FramePos(0),
            end: FramePos(0),
            cycles: VecDeque::with_capacity(keep / 256 + 16),
            max_cycles: keep / SHORTEST_RECORDED + 16,
            first_id: 0,
            next_id: 0,
            packets: [0; MICS],
        }
    }

    /// The first cycle of all gets this id, in place of 0.
    pub(super) fn number_from(&mut self, id: u64) {
        assert_eq!(self.next_id, self.first_id, "ids of emitted cycles stand");
        (self.first_id, self.next_id) = (id, id);
    }

    /// The id of the first cycle of all.
    pub fn first_id(&self) -> u64 {
        self.first_id
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
            let [a, b, c] = self.channels.each_ref().map(|channel| &channel.ring[run.clone()]);
            out.extend(a.iter().zip(b).zip(c).flat_map(|((a, b), c)| [*a, *b, *c]));
        }
        Some(())
    }

    /// The same into `out`, [`FRAME_BYTES`] a frame.
    pub fn read(&self, from: FramePos, out: &mut [u8]) -> Option<()> {
        let mut samples = Vec::with_capacity(out.len() / SAMPLE_BYTES);
        self.append_to(&mut samples, from, out.len() / FRAME_BYTES)?;
        out.copy_from_slice(samples.as_flattened());
        Some(())
    }

    /// The emitted cycle `id`, while its frames are held.
    pub fn cycle(&self, id: u64) -> Option<&Cycle> {
        let first = self.ids().start;
        id.checked_sub(first).and_then(|i| self.cycles.get(usize::try_from(i).ok()?))
    }

    /// Ids of the cycles held.
    pub fn ids(&self) -> Range<u64> {
        self.next_id - self.cycles.len() as u64..self.next_id
    }

    /// Packets held, by microphone.
    pub fn buffer_packets(&self) -> [u64; MICS] {
        self.packets
    }

    /// Nothing has left yet, and positions start over.
    pub(super) fn rewind(&mut self) {
        assert_eq!(self.next_id, self.first_id, "emitted positions stand");
        self.channels.iter_mut().for_each(|channel| channel.end = FramePos(0));
        self.head = FramePos(0);
    }

    /// Positions before `to` will never be read: nothing of them needs to be silent.
    pub(super) fn forget(&mut self, to: FramePos) {
        self.channels.iter_mut().for_each(|channel| channel.end = channel.end.max(to));
    }

    /// Copies s32le samples into one channel. What lies outside the ring is left out.
    pub(super) fn write(&mut self, mic: usize, pos: FramePos, samples: &[u8]) {
        let (samples, _) = samples.as_chunks::<SAMPLE_BYTES>();
        self.reach(pos + samples.len() as i64);
        let skip = ((self.head + -self.capacity) - pos).max(0) as usize;
        self.silence(mic, pos);
        let end = pos + samples.len() as i64;
        let samples = samples.get(skip..).unwrap_or_default();
        let [ahead, wrapped] = self.runs(pos + skip as i64, samples.len());
        let (first, second) = samples.split_at(ahead.len());
        let channel = &mut self.channels[mic];
        channel.ring[ahead].copy_from_slice(first);
        channel.ring[wrapped].copy_from_slice(second);
        channel.end = channel.end.max(end);
    }

    /// Lifts one channel's samples out, to be written elsewhere, and leaves silence. Rare, and allocates.
    pub(super) fn take(&mut self, mic: usize, pos: FramePos, frames: u32) -> Vec<u8> {
        self.silence(mic, pos + i64::from(frames));
        let mut samples = Vec::with_capacity(frames as usize * SAMPLE_BYTES);
        for run in self.runs(pos, frames as usize) {
            let run = &mut self.channels[mic].ring[run];
            samples.extend_from_slice(run.as_flattened());
            run.fill([0; SAMPLE_BYTES]);
        }
        samples
    }

    /// Whether one channel holds just these s32le samples at `pos`.
    pub(super) fn holds(&self, mic: usize, pos: FramePos, samples: &[u8]) -> bool {
        let channel = &self.channels[mic];
        let (samples, _) = samples.as_chunks::<SAMPLE_BYTES>();
        let written = ((channel.end - pos).max(0) as usize).min(samples.len());
        let (written, beyond) = samples.split_at(written);
        let [ahead, wrapped] = self.runs(pos, written.len()).map(|run| &channel.ring[run]);
        let (first, second) = written.split_at(ahead.len());
        first == ahead && second == wrapped && beyond.iter().all(|sample| *sample == [0; SAMPLE_BYTES])
    }

    /// The cycle's frames can be read from now on. Its id is the next one.
    pub(super) fn emit(&mut self, cycle: Cycle) {
        assert_eq!(cycle.id, self.next_id, "ids rise by one an emitted cycle");
        assert!(cycle.first_frame >= self.end, "positions are never used twice");
        if self.next_id == self.first_id {
            self.start = cycle.first_frame;
        }
        self.end = cycle.first_frame + i64::from(cycle.frames);
        self.reach(self.end);
        (0..MICS).for_each(|mic| self.silence(mic, self.end));
        self.next_id += 1;
        for (held, &samples) in self.packets.iter_mut().zip(&cycle.mic_samples) {
            *held += u64::from(samples > 0);
        }
        self.cycles.push_back(cycle);
        self.start = self.start.max(self.end + -self.keep);
        self.drop_old_cycles();
    }

    /// Corrects the record of an emitted cycle: a late packet came, or (0 samples, `None`) went elsewhere.
    pub(super) fn amend(&mut self, id: u64, mic: usize, samples: u32, arrival: Option<KernelTime>) {
        let first = self.ids().start;
        let Some(cycle) = id.checked_sub(first).and_then(|i| self.cycles.get_mut(i as usize)) else { return };
        self.packets[mic] += u64::from(samples > 0);
        self.packets[mic] -= u64::from(cycle.mic_samples[mic] > 0);
        cycle.mic_samples[mic] = samples;
        cycle.arrival[mic] = arrival;
    }

    fn drop_old_cycles(&mut self) {
        while self.cycles.front().is_some_and(|c| c.first_frame < self.start) || self.cycles.len() > self.max_cycles {
            let gone = self.cycles.pop_front().expect("a cycle stands in front");
            for (held, &samples) in self.packets.iter_mut().zip(&gone.mic_samples) {
                *held -= u64::from(samples > 0);
            }
        }
    }

    /// Positions up to `to` are in use: what they overwrite can no longer be read.
    fn reach(&mut self, to: FramePos) {
        self.head = self.head.max(to);
        self.start = self.start.max(self.head + -self.capacity).min(self.end);
        self.drop_old_cycles();
    }

    /// One channel is silent from its end to `to`.
    fn silence(&mut self, mic: usize, to: FramePos) {
        let from = self.channels[mic].end.max(to + -self.capacity);
        if to <= from {
            return;
        }
        for run in self.runs(from, (to - from) as usize) {
            self.channels[mic].ring[run].fill([0; SAMPLE_BYTES]);
        }
        self.channels[mic].end = to;
    }

    /// Where `count` samples from `pos` on stand in a ring: up to its end, and from its start.
    fn runs(&self, pos: FramePos, count: usize) -> [Range<usize>; 2] {
        let slot = pos.0.rem_euclid(self.capacity) as usize;
        let ahead = count.min(self.capacity as usize - slot);
        [slot..slot + ahead, 0..count - ahead]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(from: i32, n: i32) -> Vec<u8> {
        (from..from + n).flat_map(i32::to_le_bytes).collect()
    }

    fn cycle(id: u64, first: i64, frames: u32, mic_samples: [u32; MICS]) -> Cycle {
        let at = KernelTime::from_nanos(0);
        Cycle {
            id,
            first_frame: FramePos(first),
            frames,
            mic_samples,
            complete: true,
            arrival: [Some(at); MICS],
            emitted: at,
        }
    }

    fn channel(h: &History, mic: usize) -> Vec<i32> {
        let Range { start, end } = h.span();
        let mut frames = vec![0; (end - start) as usize * FRAME_BYTES];
        h.read(start, &mut frames).expect("inside the span");
        frames
            .chunks_exact(FRAME_BYTES)
            .map(|f| i32::from_le_bytes(*f[mic * 4..].first_chunk().expect("four bytes")))
            .collect()
    }

    #[test]
    fn channels_interleave_and_gaps_read_as_zeros() {
        let mut h = History::new(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        h.write(2, FramePos(0), &samples(11, 3));
        h.emit(cycle(0, 0, 4, [4, 0, 3]));
        assert_eq!(channel(&h, 0), [1, 2, 3, 4]);
        assert_eq!(channel(&h, 1), [0; 4]);
        assert_eq!(channel(&h, 2), [11, 12, 13, 0]);
        assert_eq!(h.buffer_packets(), [1, 0, 1]);
    }

    #[test]
    fn what_wraps_is_overwritten_and_no_longer_there() {
        let mut h = History::new(8, 8);
        for k in 0..5 {
            h.write(1, FramePos(k * 4), &samples(k as i32 * 4, 4));
            h.emit(cycle(k as u64, k * 4, 4, [0, 4, 0]));
        }
        assert_eq!(h.span(), FramePos(12)..FramePos(20));
        assert_eq!(channel(&h, 1), (12..20).collect::<Vec<_>>());
        assert_eq!(h.ids(), 3..5);
        assert!(h.cycle(2).is_none() && h.cycle(5).is_none());
        assert_eq!(h.cycle(4).expect("held").first_frame, FramePos(16));
        assert_eq!(h.buffer_packets(), [0, 2, 0]);
        let mut frame = [0; FRAME_BYTES];
        assert!(h.read(FramePos(11), &mut frame).is_none() && h.read(FramePos(20), &mut frame).is_none());
        assert!(h.read(FramePos(19), &mut frame).is_some());
    }

    #[test]
    fn skipped_positions_are_silence_even_over_old_audio() {
        let mut h = History::new(8, 8);
        for k in 0..4 {
            h.write(0, FramePos(k * 4), &samples(7, 4));
            h.emit(cycle(k as u64, k * 4, 4, [4, 0, 0]));
        }
        h.write(0, FramePos(20), &samples(1, 4));
        h.emit(cycle(4, 20, 4, [4, 0, 0]));
        assert_eq!(channel(&h, 0), [0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn lifted_samples_leave_silence() {
        let mut h = History::new(16, 16);
        h.write(1, FramePos(0), &samples(1, 4));
        let lifted = h.take(1, FramePos(0), 4);
        h.write(1, FramePos(2), &lifted);
        assert!(h.holds(1, FramePos(2), &samples(1, 4)) && !h.holds(1, FramePos(0), &samples(1, 4)));
        h.emit(cycle(0, 0, 6, [0, 6, 0]));
        assert_eq!(channel(&h, 1), [0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_was_forgotten_before_the_start_is_neither_silenced_nor_read() {
        let mut h = History::new(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        h.forget(FramePos(4));
        h.write(1, FramePos(8), &samples(5, 4));
        let lifted = h.take(1, FramePos(8), 4);
        h.rewind();
        h.write(1, FramePos(0), &lifted);
        h.emit(cycle(0, 0, 8, [0, 4, 0]));
        assert_eq!(channel(&h, 0), [0; 8]);
        assert_eq!(channel(&h, 1), [5, 6, 7, 8, 0, 0, 0, 0]);
    }

    #[test]
    fn samples_are_compared_across_the_wrap_and_silence_beyond_what_is_there() {
        let mut h = History::new(4, 4);
        h.write(2, FramePos(6), &samples(1, 4));
        let holds = |pos, held: &[i32]| {
            h.holds(2, FramePos(pos), &held.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>())
        };
        assert!(holds(6, &[1, 2, 3, 4]) && holds(7, &[2, 3, 4, 0, 0]) && holds(20, &[0; 4]));
        assert!(!holds(6, &[1, 2, 3, 5]) && !holds(6, &[1, 2, 4, 4]) && !holds(8, &[3, 4, 1]));
    }

    #[test]
    fn a_late_packet_fills_its_place() {
        let mut h = History::new(16, 16);
        h.write(0, FramePos(0), &samples(1, 4));
        h.emit(cycle(0, 0, 4, [4, 0, 0]));
        h.write(1, FramePos(0), &samples(5, 4));
        h.amend(0, 1, 4, Some(KernelTime::from_nanos(9)));
        assert_eq!(channel(&h, 1), [5, 6, 7, 8]);
        assert_eq!(h.cycle(0).expect("held").mic_samples, [4, 4, 0]);
        assert_eq!(h.buffer_packets(), [1, 1, 0]);
    }
}
