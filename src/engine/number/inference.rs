//! What arrival times alone would have said of a numbered source, held against its numbers: how good the inference is on this very
//! network.
//!
//! A stream as free boards have it hears the same packets without their numbers. Where it places one, and where its number does,
//! differ by what it missed or invented until then.

use crate::engine::number::tuning::inference::MOST_WAITING;
use std::collections::VecDeque;

use crate::engine::clock::Again;
use crate::engine::figures::{Inference, MicCounters};
use crate::engine::free::stream::Stream;
use crate::engine::shared::align::Arrival;

/// The inference beside the numbers of one source.
#[derive(Debug)]
pub(in crate::engine) struct Beside {
    stream: Stream,
    /// Its own counts, which nobody reads.
    counters: MicCounters,
    /// Of the packets that it has not decided yet, in the order of their arrival.
    truth: VecDeque<Truth>,
    /// Inferred position less the known one: at first, and by how much it differs since, in frames.
    first: Option<i64>,
    off: i64,
}

/// What a number said.
#[derive(Clone, Copy, Debug)]
struct Truth {
    position: i64,
    /// Packets lost before it.
    lost: u64,
    frames: i64,
}

impl Beside {
    pub fn new(sample_rate: u32) -> Beside {
        Beside {
            stream: Stream::new(sample_rate),
            counters: MicCounters::default(),
            truth: VecDeque::with_capacity(MOST_WAITING),
            first: None,
            off: 0,
        }
    }

    /// The sender began anew: nothing that waits can be compared.
    pub fn begin(&mut self) {
        self.stream.settle(&mut |_| {});
        self.stream.restart(Again::TheSame);
        self.truth.clear();
        (self.first, self.off) = (None, 0);
    }

    /// Another packet, with what its number says: its position and how many were lost before it. A packet that was overtaken is
    /// told as the one behind which it came, less what was counted lost before.
    pub fn hear(&mut self, a: &Arrival<'_>, position: i64, lost: u64, figures: &mut Inference) {
        if self.truth.len() >= MOST_WAITING {
            self.begin();
        }
        let frames = i64::from(a.chunk.samples);
        self.truth.push_back(Truth { position, lost, frames });
        let (truth, first, off) = (&mut self.truth, &mut self.first, &mut self.off);
        self.stream.offer(a, &mut self.counters, &mut |decided| {
            let Some(opens) = decided.opens else { return };
            let Some(known) = truth.pop_front() else { return };
            let apart = opens.0 - known.position;
            let now = apart - *first.get_or_insert(apart);
            figures.compare(std::mem::replace(off, now), now, known.frames, known.lost);
        });
    }
}

impl Inference {
    /// A packet that was `before` frames off its place is followed by one that is `now`; `lost` were lost between them.
    fn compare(&mut self, before: i64, now: i64, frames: i64, lost: u64) {
        let packets = |off: i64| (off.abs() + frames / 2) / frames.max(1) * off.signum();
        let (before, now) = (packets(before), packets(now));
        let step = now - before;
        // What is put right was counted when it went wrong.
        let repaired = if before.signum() * step.signum() < 0 { step.abs().min(before.abs()) } else { 0 };
        let new = (step.abs() - repaired) as u64;
        if step > 0 {
            self.invented += new;
            self.missed = self.missed.saturating_sub(repaired as u64);
            self.agree += lost + repaired as u64;
        } else {
            self.missed += new;
            self.invented = self.invented.saturating_sub(repaired as u64);
            self.agree += lost.saturating_sub(new);
        }
        self.shifted += u64::from(now != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of (frames off, packets lost before).
    fn of(steps: &[(i64, u64)]) -> (u64, u64, u64, u64) {
        let (mut figures, mut before) = (Inference::default(), 0);
        for &(now, lost) in steps {
            figures.compare(before, now, 480, lost);
            before = now;
        }
        (figures.agree, figures.missed, figures.invented, figures.shifted)
    }

    #[test]
    fn a_loss_that_both_tell_agrees_and_others_are_missed_or_invented() {
        assert_eq!(of(&[(0, 0), (0, 1), (0, 3)]), (4, 0, 0, 0));
        assert_eq!(of(&[(0, 0), (-960, 3), (-960, 0)]), (1, 2, 0, 2));
        assert_eq!(of(&[(0, 0), (480, 0), (480, 1)]), (1, 0, 1, 2));
    }

    #[test]
    fn what_is_put_right_later_is_not_counted_any_more() {
        assert_eq!(of(&[(480, 0), (0, 0)]), (0, 0, 0, 1));
        assert_eq!(of(&[(-960, 2), (0, 0)]), (2, 0, 0, 1));
        // A slip of a few frames is no packet.
        assert_eq!(of(&[(3, 0), (-2, 0)]), (0, 0, 0, 0));
    }
}
