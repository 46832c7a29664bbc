//! The last ten seconds: what was measured, and what was counted.
//!
//! A figure since start hides what happens now; so every figure comes a second time, for the window. Time is cut into slices
//! of 100 ms, and a slice leaves as a whole: the window covers 9.9 to 10 s. Counters are easy: keep old copies, subtract
//! ([`Past`]). Distributions ([`Recent`]) keep their values in order of arrival (to know which leave), a few kilobytes at 94
//! values a second; percentiles are selected when they are asked for, 5 us a quantity. (Kept sorted, they cost more in all:
//! eleven inserts a cycle were 2 % of a loop with 100 subscribers, in front of their event.)
//!
//! The bound: count, mean, minimum and maximum are exact at any rate. Percentiles are exact up to 409 values a second
//! and bursts of 1024; above that they come from a sample that the rate limiter below lets through.

use crate::engine::figures::tuning::window::{EMISSION, SLICE, SLICES, TOLERANCE, USUAL};
use std::collections::VecDeque;

use crate::engine::figures::Distribution;
use crate::time::{MonoTime, Span};

/// How far back the figures of the window look.
pub const WINDOW: Span = Span::from_secs(10);

fn slice_of(now: MonoTime) -> i64 {
    now.as_nanos().div_euclid(SLICE.as_nanos())
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    index: i64,
    count: u64,
    kept: usize,
    sum: i64,
    min: i64,
    max: i64,
}

/// The values of one quantity in the last ten seconds.
#[derive(Debug)]
pub struct Recent {
    /// Those with values in them, oldest first; at most `SLICES`.
    slices: VecDeque<Slice>,
    /// The kept values in order of arrival; those of a slice are neighbours.
    values: VecDeque<i64>,
    /// Where percentiles are selected.
    scratch: Vec<i64>,
    /// The least of all slices.
    lowest: i64,
    last: i64,
    /// When the next value would be due at the rate that passes for ever.
    due: MonoTime,
    /// Where the newest slice ends.
    until: MonoTime,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent::new()
    }
}

impl Recent {
    pub fn new() -> Recent {
        Recent {
            slices: VecDeque::with_capacity(SLICES as usize + 1),
            values: VecDeque::with_capacity(USUAL),
            scratch: Vec::with_capacity(USUAL),
            lowest: i64::MAX,
            last: 0,
            due: MonoTime::from_nanos(i64::MIN),
            until: MonoTime::from_nanos(i64::MIN),
        }
    }

    pub fn record(&mut self, value: Span, now: MonoTime) {
        let value = value.as_nanos();
        self.last = value;
        if now >= self.until || self.slices.is_empty() {
            self.expire(now);
            let index = slice_of(now);
            self.slices.push_back(Slice { index, count: 0, kept: 0, sum: 0, min: value, max: value });
            self.until = MonoTime::from_nanos((index + 1) * SLICE.as_nanos());
        }
        let slice = self.slices.back_mut().expect("a slice was pushed if there was none");
        slice.count += 1;
        slice.sum = slice.sum.saturating_add(value);
        slice.min = slice.min.min(value);
        slice.max = slice.max.max(value);
        self.lowest = self.lowest.min(value);
        if self.due > now + TOLERANCE {
            return;
        }
        self.due = self.due.max(now) + EMISSION;
        slice.kept += 1;
        self.values.push_back(value);
    }

    /// The smallest value.
    pub fn min(&self) -> Option<Span> {
        (!self.slices.is_empty()).then(|| Span::from_nanos(self.lowest))
    }

    /// `None` when nothing was recorded in the window before `now`.
    pub fn distribution(&mut self, now: MonoTime) -> Option<Distribution> {
        self.expire(now);
        let count: u64 = self.slices.iter().map(|slice| slice.count).sum();
        let sum: i128 = self.slices.iter().map(|slice| i128::from(slice.sum)).sum();
        let min = self.min()?.as_nanos();
        let max = self.slices.iter().map(|slice| slice.max).max()?;
        // The limiter may have let nothing of these slices through: then the extremes are all that is known.
        let [p50, p90, p99, p999] = if self.values.is_empty() { [min, max, max, max] } else { self.percentiles() };
        Some(Distribution {
            count,
            last: Span::from_nanos(self.last),
            min: Span::from_nanos(min),
            p50: Span::from_nanos(p50),
            p90: Span::from_nanos(p90),
            p99: Span::from_nanos(p99),
            p999: Span::from_nanos(p999),
            max: Span::from_nanos(max),
            mean: Span::from_nanos((sum / i128::from(count)) as i64),
        })
    }

    /// The newest `count` values were taken wrong: each is larger by `by`.
    pub fn shift_newest(&mut self, count: u64, by: Span) {
        let by = by.as_nanos();
        let (mut left, mut end) = (count, self.values.len());
        for slice in self.slices.iter_mut().rev() {
            let kept = self.values.range_mut(end - slice.kept..end);
            end -= slice.kept;
            if left >= slice.count {
                kept.for_each(|value| *value += by);
                (slice.min, slice.max) = (slice.min + by, slice.max + by);
                slice.sum = slice.sum.saturating_add(by.saturating_mul(slice.count as i64));
                left -= slice.count;
                continue;
            }
            // Which of those that the limiter left out are among them nobody knows: the extremes are then those of what was kept.
            let skip = slice.kept.saturating_sub(left as usize);
            kept.skip(skip).for_each(|value| *value += by);
            let kept = self.values.range(end..end + slice.kept);
            slice.min = kept.clone().min().copied().unwrap_or(slice.min);
            slice.max = kept.max().copied().unwrap_or(slice.max);
            slice.sum = slice.sum.saturating_add(by.saturating_mul(left as i64));
            break;
        }
        self.last = self.last.saturating_add(if count > 0 { by } else { 0 });
        self.lowest = self.slices.iter().map(|slice| slice.min).min().unwrap_or(i64::MAX);
    }

    /// Forgets everything, as after a restart of what is measured.
    pub fn clear(&mut self) {
        self.slices.clear();
        self.values.clear();
        self.lowest = i64::MAX;
    }

    /// p50, p90, p99 and p999 of the kept values, of which there are some: the highest first, and each among what is below it.
    fn percentiles(&mut self) -> [i64; 4] {
        self.scratch.clear();
        self.scratch.extend(&self.values);
        let mut below = &mut self.scratch[..];
        let mut found = [0; 4];
        let mut above = 0;
        for (rank, found) in super::tally::ranks(self.values.len() as u64).into_iter().zip(&mut found).rev() {
            // The same rank again has the same value.
            let index = rank as usize - 1;
            if index < below.len() {
                let (less, &mut value, _) = below.select_nth_unstable(index);
                (below, above) = (less, value);
            }
            *found = above;
        }
        found
    }

    fn expire(&mut self, now: MonoTime) {
        let oldest = slice_of(now) - SLICES + 1;
        while let Some(slice) = self.slices.front().filter(|slice| slice.index < oldest).copied() {
            self.slices.pop_front();
            self.values.drain(..slice.kept);
            if slice.min == self.lowest {
                self.lowest = self.slices.iter().map(|slice| slice.min).min().unwrap_or(i64::MAX);
            }
        }
    }
}

/// Copies that are kept at most: those of a window, one that is older, and the newest.
const COPIES: usize = SLICES as usize + 2;

/// Old copies of counters, so that what happened in the window is now minus then.
#[derive(Debug)]
pub struct Past<T> {
    /// The slice of the newest copy, beside it: to look there each turn would cost memory that is cold.
    newest: i64,
    /// Slice in which the copy was taken; oldest first.
    copies: VecDeque<(i64, T)>,
    /// Copies that are out of use: their memory is used again, so that after the first copy none is asked for.
    spare: Vec<T>,
}

impl<T> Default for Past<T> {
    fn default() -> Past<T> {
        Past { newest: i64::MIN, copies: VecDeque::with_capacity(COPIES), spare: Vec::new() }
    }
}

impl<T: Clone + Default> Past<T> {
    pub fn new() -> Past<T> {
        Past::default()
    }

    /// Call once a turn, before anything is counted in it: keeps one copy a slice. `copy` writes the counters over an old copy.
    pub fn observe(&mut self, now: MonoTime, copy: impl FnOnce(&mut T)) {
        let slice = slice_of(now);
        if self.newest >= slice {
            return;
        }
        self.newest = slice;
        // The newest copy at least a window old stays: it is what `then` answers.
        while self.copies.get(1).is_some_and(|(second, _)| *second <= slice - SLICES) {
            self.spare.extend(self.copies.pop_front().map(|(_, old)| old));
        }
        let mut counters = self.spare.pop().unwrap_or_default();
        copy(&mut counters);
        if self.copies.is_empty() && self.spare.is_empty() {
            self.spare = vec![counters.clone(); COPIES - 1];
        }
        self.copies.push_back((slice, counters));
    }

    /// The counters as they were ten seconds before `now`, or at the first call of `observe` when that was later.
    pub fn then(&self, now: MonoTime) -> Option<&T> {
        let start = slice_of(now) - SLICES;
        let later = self.copies.partition_point(|(slice, _)| *slice <= start);
        self.copies.get(later.saturating_sub(1)).map(|(_, counters)| counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::figures::tuning::window::{BURST, KEPT};
    use proptest::prelude::*;

    fn at_ms(ms: i64) -> MonoTime {
        MonoTime::from_nanos(ms * 1_000_000)
    }

    /// Nearest rank over all values, from the definition: the smallest that at least `share` of them do not exceed.
    fn by_definition(values: &[i64], share: f64) -> i64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        *sorted
            .iter()
            .find(|v| values.iter().filter(|w| w <= v).count() as f64 >= share * values.len() as f64 - 1e-9)
            .expect("the largest value exceeds none")
    }

    proptest! {
        #[test]
        fn the_window_equals_a_plain_recount(
            steps in proptest::collection::vec((0i64..400, -50_000i64..50_000), 1..300),
            after in 0i64..12_000,
        ) {
            let mut recent = Recent::new();
            let mut all = Vec::new();
            let mut ms = 0;
            for (step, value) in steps {
                ms += step;
                recent.record(Span::from_nanos(value), at_ms(ms));
                all.push((ms, value));
            }
            ms += after;
            let first_kept = ms / 100 * 100 - 9_900;
            let inside: Vec<i64> = all.iter().filter(|(t, _)| *t >= first_kept).map(|(_, v)| *v).collect();
            let seen = recent.distribution(at_ms(ms));
            prop_assert_eq!(seen.is_some(), !inside.is_empty());
            if let Some(seen) = seen {
                prop_assert_eq!(seen.count, inside.len() as u64);
                prop_assert_eq!(seen.p50.as_nanos(), by_definition(&inside, 0.5));
                prop_assert_eq!(seen.p90.as_nanos(), by_definition(&inside, 0.9));
                prop_assert_eq!(seen.p99.as_nanos(), by_definition(&inside, 0.99));
                prop_assert_eq!(seen.p999.as_nanos(), by_definition(&inside, 0.999));
                prop_assert_eq!(seen.min.as_nanos(), *inside.iter().min().unwrap());
                prop_assert_eq!(seen.max.as_nanos(), *inside.iter().max().unwrap());
                prop_assert_eq!(seen.mean.as_nanos(), inside.iter().sum::<i64>() / inside.len() as i64);
                prop_assert_eq!(seen.last.as_nanos(), all.last().unwrap().1);
            }
        }
    }

    proptest! {
        /// The newest values again, larger: as if they had been recorded so.
        #[test]
        fn shifted_values_are_as_if_they_had_been_recorded_so(
            steps in proptest::collection::vec((0i64..400, -50_000i64..50_000), 1..200),
            count in 0usize..250,
            by in -20_000i64..20_000,
        ) {
            let (mut shifted, mut plain) = (Recent::new(), Recent::new());
            let mut ms = 0;
            for (i, (step, value)) in steps.iter().enumerate() {
                ms += step;
                shifted.record(Span::from_nanos(*value), at_ms(ms));
                let right = value + if i + count >= steps.len() { by } else { 0 };
                plain.record(Span::from_nanos(right), at_ms(ms));
            }
            shifted.shift_newest(count as u64, Span::from_nanos(by));
            prop_assert_eq!(shifted.min(), plain.min());
            prop_assert_eq!(shifted.distribution(at_ms(ms)), plain.distribution(at_ms(ms)));
        }
    }

    #[test]
    fn a_flood_keeps_the_counts_exact_and_the_memory_bounded() {
        let mut recent = Recent::new();
        for us in 0..12_000_000i64 / 10 {
            recent.record(Span::from_nanos(us), MonoTime::from_nanos(us * 10_000));
        }
        assert!(recent.values.len() as i64 <= KEPT + BURST + 1, "{} kept", recent.values.len());
        let seen = recent.distribution(MonoTime::from_nanos(11_999_990_000)).unwrap();
        assert_eq!(seen.count, 1_000_000, "ten seconds at 100 kHz");
        assert_eq!(seen.min, Span::from_nanos(200_000));
        assert_eq!(seen.max, Span::from_nanos(1_199_999));
        // The values rise evenly, and so does the sample: the median is the middle, within 2 %.
        assert!((seen.p50.as_nanos() - 700_000).abs() < 20_000, "{:?}", seen.p50);
    }

    #[test]
    fn counters_of_the_window_are_now_minus_ten_seconds_ago() {
        let mut past = Past::new();
        assert_eq!(past.then(at_ms(0)), None);
        // One more every 10 ms; a turn every 10 ms.
        for turn in 0..6_000i64 {
            past.observe(at_ms(turn * 10), |copy| *copy = turn);
        }
        assert_eq!(past.then(at_ms(59_990)), Some(&4_990), "9.9 to 10.0 s are 990 to 1000 turns");
        assert!(past.copies.len() <= COPIES);
        let mut young = Past::new();
        young.observe(at_ms(5_000), |copy| *copy = 7);
        assert_eq!(young.then(at_ms(8_000)), Some(&7), "a run younger than the window counts from its start");
        young.observe(at_ms(100_000), |copy| *copy = 9);
        assert_eq!(young.then(at_ms(105_000)), Some(&7), "between two turns nothing was counted");
    }
}
