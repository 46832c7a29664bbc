//! Series: the time errors of a microphone or a pair, by position -> samples at equal distances, for their stability.
//!
//! Stability is against averaging time, so samples must come at equal distances, and packets need not: some libraries cut a write
//! in two, boards change their packet size, and microphones differ. The distance is the shortest that keeps coming back from packet
//! to packet: a packet, or the two that a write was cut into. Each turn gets the packet that ends at it, or nearly so with the little
//! that it is off; packets that end between two turns are left out, turns without one are missing samples.

use std::collections::VecDeque;

use crate::stats::stability::{Deviations, Sample, Stability};

/// So many of the newest packets wait: those behind a late one may have been placed before it, and the engine keeps as many cycles. The first of
/// them tell the distance.
const MAY_COME: usize = 64;
/// Packets that a write is cut into, at most.
const MOST_PIECES: usize = 8;
/// A longer hole says nothing more about stability.
const LONGEST_HOLE: i64 = 10_000_000;
/// Further off a turn than this share of the distance, a packet is of none.
const OFF: f64 = 0.25;

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where its packet ends, in samples.
    end: i64,
    error_s: f64,
}

/// Turns are so many samples apart.
#[derive(Clone, Copy, Debug)]
struct Grid {
    distance: i64,
    origin: i64,
    /// The turn that comes next.
    next: i64,
}

/// See the top of the file.
#[derive(Default)]
pub struct Series {
    stability: Stability,
    /// By their ends.
    waiting: VecDeque<Place>,
    grid: Option<Grid>,
    /// Of the packets before there is a grid.
    longest: i64,
    /// Where the newest that no longer waits ended.
    taken: Option<i64>,
}

impl Series {
    /// A packet of `frames` samples. One whose place was passed long ago, or is taken, counts nowhere.
    pub fn push(&mut self, end: i64, frames: i64, error_s: f64) {
        let place = self.waiting.partition_point(|other| other.end < end);
        if self.taken.is_some_and(|taken| end <= taken) || self.waiting.get(place).is_some_and(|other| other.end == end)
        {
            return;
        }
        self.longest = self.longest.max(frames);
        self.waiting.insert(place, Place { end, error_s });
        if self.waiting.len() > MAY_COME {
            self.take_oldest();
        }
    }

    /// No more packets.
    pub fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.take_oldest();
        }
    }

    /// The figures, with their averaging times in seconds.
    pub fn deviations(&self, sample_rate: u32) -> Vec<(f64, Deviations)> {
        let Some(grid) = self.grid else { return Vec::new() };
        let interval_s = grid.distance as f64 / f64::from(sample_rate);
        self.stability.deviations(interval_s).into_iter().map(|at| (at.samples as f64 * interval_s, at)).collect()
    }

    fn take_oldest(&mut self) {
        let Some(&first) = self.waiting.front() else { return };
        let mut grid = self.grid.unwrap_or_else(|| Grid { distance: self.distance(), origin: first.end, next: 0 });
        self.waiting.pop_front();
        self.taken = Some(first.end);
        let ahead = first.end - grid.origin;
        let turn = (ahead + grid.distance / 2).div_euclid(grid.distance);
        let off = (ahead - turn * grid.distance) as f64 / grid.distance as f64;
        if turn >= grid.next && off.abs() <= OFF {
            for _ in grid.next..turn.min(grid.next + LONGEST_HOLE) {
                self.stability.push(None);
            }
            self.stability.push(Some(Sample { error_s: first.error_s, off }));
            grid.next = turn + 1;
        }
        self.grid = Some(grid);
    }

    /// The distance from packet to packet, or to the second next, and so on, that nearly all have; the longest packet where none keeps coming back.
    fn distance(&self) -> i64 {
        for pieces in 1..=MOST_PIECES {
            let mut distances: Vec<i64> =
                self.waiting.iter().zip(self.waiting.iter().skip(pieces)).map(|(a, b)| b.end - a.end).collect();
            distances.sort_unstable();
            let Some(&usual) = distances.get(distances.len() / 2) else { break };
            // A loss is longer, and a slip is off by a sample.
            let alike = distances.iter().filter(|distance| **distance == usual).count();
            if alike * 4 >= distances.len() * 3 {
                return usual.max(1);
            }
        }
        self.longest.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ends: impl IntoIterator<Item = i64>) -> Series {
        let (mut series, mut before) = (Series::default(), 0);
        for end in ends {
            series.push(end, end - before, 1e-6 * end as f64);
            before = end;
        }
        series.finish();
        series
    }

    fn cut(pieces: &'static [i64]) -> impl Iterator<Item = i64> {
        pieces.iter().cycle().take(4_000).scan(0, |end, piece| {
            *end += piece;
            Some(*end)
        })
    }

    #[test]
    fn the_distance_is_the_shortest_that_keeps_coming_back() {
        for (pieces, distance) in [(&[512][..], 512), (&[365, 147], 512), (&[256], 256), (&[365, 365, 294], 1_024)] {
            assert_eq!(of(cut(pieces)).grid.unwrap().distance, distance, "{pieces:?}");
        }
        let lossy = cut(&[512]).filter(|end| end / 512 % 11 != 3);
        assert_eq!(of(lossy).grid.unwrap().distance, 512, "one in eleven is lost");
    }

    #[test]
    fn a_late_packet_fills_its_place_and_one_that_is_there_already_nothing() {
        let terms = |series: &Series| series.deviations(48_000)[0].1.terms;
        let whole = terms(&of((1..500).map(|k| k * 512)));
        let late = (1..500).filter(|k| k % 10 != 5).flat_map(|k| [Some(k), (k % 10 == 8).then_some(k - 3)]).flatten();
        assert_eq!(terms(&of(late.map(|k| k * 512))), whole);
        assert_eq!(terms(&of((1..500).flat_map(|k| [k, k]).map(|k| k * 512))), whole);
    }

    /// Positions move by a sample where a board's drift is followed: after 256 of them the packets are half a turn off, and none is taken twice.
    #[test]
    fn slips_move_no_averaging_time() {
        let slipping = of((1..60_000i64).map(|k| k * 512 + k / 40));
        for (_, at) in slipping.deviations(48_000) {
            assert!(at.adev < 1e-12, "{at:?}");
        }
    }
}
