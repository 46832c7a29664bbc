//! Listening to the borders between packets: [`continuity`](crate::sound::continuity), where a doubt stands, and only there.
//!
//! It cannot be done in slices beforehand: which packets have to be judged is known when arrivals decide, and what is decided leaves then.
//! So it is bounded by itself: at most [`PACKETS`] are looked at once a decision, a decision is of packets that waited, three or more, and it
//! is made while there is [`Credit`].

use super::holes::{Losses, ROWS};
use crate::engine::credit::Credit;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::number::tuning::borders::{BROKEN, PACKETS};
use crate::sound::continuity::{Edges, evidence, ratio};
use crate::time::Span;

/// Channels that are listened to, at most: more of one board hear the same.
pub(in crate::engine) const CHANNELS: usize = 3;

/// So many channels are listened to where so many rows wait.
pub(in crate::engine) fn channels(rows: usize) -> usize {
    (PACKETS / (rows + 1)).clamp(1, CHANNELS)
}

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Borders {
    /// Borders that the sound said something of, and of those the ones that it showed to be broken.
    pub judged: u64,
    pub broke: u64,
    /// Losses that it placed, where arrivals alone would have put them elsewhere, or seen none.
    pub decided: u64,
    /// Decisions for which there was no time to listen: arrivals made them alone.
    pub unheard: u64,
    /// Time that it took.
    pub busy: Span,
}

impl Borders {
    pub fn and(self, other: Borders) -> Borders {
        Borders {
            judged: self.judged + other.judged,
            broke: self.broke + other.broke,
            decided: self.decided + other.decided,
            unheard: self.unheard + other.unheard,
            busy: self.busy + other.busy,
        }
    }
}

/// What listens to one stream of packets, or to those of a board.
#[derive(Debug, Default)]
pub(in crate::engine) struct Listener {
    pub counts: Borders,
    credit: Credit,
    pub losses: Losses,
    /// By row, of each channel, how the border before the row sounds.
    ratios: [[Option<f64>; CHANNELS]; ROWS],
    /// The newest packet of each channel.
    before: [Option<Edges>; CHANNELS],
    /// Room for a packet.
    samples: Vec<i32>,
}

impl Listener {
    pub fn new(credit: Credit) -> Listener {
        Listener { credit, ..Listener::default() }
    }

    /// Listens, if there is time for it.
    pub fn listen<T>(&mut self, work: impl FnOnce(&mut Listener) -> Option<T>) -> Option<T> {
        let credit = self.credit.clone();
        match credit.take(|| work(self)) {
            Some((found, took)) => {
                self.counts.busy += took;
                found
            }
            None => {
                self.counts.unheard += 1;
                None
            }
        }
    }

    /// Nothing was heard yet.
    pub fn begin(&mut self) {
        self.ratios = Default::default();
        self.before = Default::default();
    }

    /// A packet of a channel: that of a row, or (`None`) the one before the first row. What says nothing is left out.
    pub fn hear(&mut self, channel: usize, row: Option<usize>, samples: impl Iterator<Item = i32>) {
        self.samples.clear();
        self.samples.extend(samples);
        let edges = Edges::of(&self.samples);
        let before = std::mem::replace(&mut self.before[channel], edges);
        if let (Some(row), Some(before), Some(edges)) = (row, before, edges) {
            self.ratios[row][channel] = ratio(&before, &edges);
        }
    }

    /// A channel lacks a packet, or a part of it: the border behind it is not judged.
    pub fn miss(&mut self, channel: usize) {
        self.before[channel] = None;
    }

    /// How likely the row follows the one before: natural logarithm.
    pub fn follows(&mut self, row: usize) -> Option<f64> {
        let follows = evidence(self.ratios[row].into_iter().flatten())?;
        self.counts.judged += 1;
        self.counts.broke += u64::from(follows < BROKEN);
        Some(follows)
    }
}

/// The samples of one channel of interleaved frames.
pub(in crate::engine) fn channel(frames: &[u8], frame_bytes: usize, nth: usize) -> impl Iterator<Item = i32> {
    let word = move |frame: &[u8]| frame[nth * SAMPLE_BYTES..].first_chunk().map(|word| i32::from_le_bytes(*word));
    frames.chunks_exact(frame_bytes).filter_map(word)
}
