//! Tally: how a quantity was distributed since start, in memory that does not grow.
//!
//! A run may last a year: values cannot be kept. Count, mean, minimum and maximum are exact; percentiles come from an HDR
//! histogram (Gil Tene's; constant relative precision), and the buckets that Prometheus reads are counted beside it, exactly.
//! Skew is signed and an HDR histogram is not, so negative values have a histogram of their own, of their magnitudes.

use hdrhistogram::Histogram;

use crate::engine::figures::{Buckets, Distribution};
use crate::time::Span;

/// Resolution 128 ns up to 32 us, then 0.8 %; up to 68 s, above which only the maximum is told apart. 24 KB.
const LOWEST_NS: u64 = 128;
const HIGHEST_NS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS).expect("the bounds are valid")
}

/// The nearest ranks, from 1, of p50, p90, p99 and p999 among `count` values: the share of `count`, rounded up.
pub(in crate::engine) fn ranks(count: u64) -> [u64; 4] {
    [500, 900, 990, 999].map(|permille: u64| (u128::from(count) * u128::from(permille)).div_ceil(1_000) as u64)
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of values from zero up.
    positive: Histogram<u64>,
    /// Of the magnitudes of those below zero; only a signed quantity has it.
    negative: Option<Histogram<u64>>,
    count: u64,
    sum_ns: i128,
    min: i64,
    max: i64,
    last: i64,
    bounds: &'static [Span],
    buckets: Vec<u64>,
}

impl Tally {
    /// Of a quantity that is never negative; a negative value is a broken invariant.
    pub fn unsigned(bounds: &'static [Span]) -> Tally {
        Tally {
            positive: empty_histogram(),
            negative: None,
            count: 0,
            sum_ns: 0,
            min: i64::MAX,
            max: i64::MIN,
            last: 0,
            bounds,
            buckets: vec![0; bounds.len() + 1],
        }
    }

    pub fn signed(bounds: &'static [Span]) -> Tally {
        Tally { negative: Some(empty_histogram()), ..Tally::unsigned(bounds) }
    }

    pub fn record(&mut self, value: Span) {
        let ns = value.as_nanos();
        if ns < 0 {
            let negative = self.negative.as_mut().expect("an unsigned quantity was never negative");
            negative.saturating_record(ns.unsigned_abs());
        } else {
            self.positive.saturating_record(ns as u64);
        }
        self.count += 1;
        self.sum_ns += i128::from(ns);
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.last = ns;
        self.buckets[self.bounds.partition_point(|bound| *bound < value)] += 1;
    }

    /// `None` before a first value.
    pub fn distribution(&self) -> Option<Distribution> {
        if self.count == 0 {
            return None;
        }
        let [p50, p90, p99, p999] = self.at_ranks(ranks(self.count));
        Some(Distribution {
            count: self.count,
            last: Span::from_nanos(self.last),
            min: Span::from_nanos(self.min),
            p50,
            p90,
            p99,
            p999,
            max: Span::from_nanos(self.max),
            mean: Span::from_nanos((self.sum_ns / i128::from(self.count)) as i64),
        })
    }

    pub fn buckets(&self) -> Buckets {
        Buckets { bounds: self.bounds, counts: self.buckets.clone(), sum_ns: self.sum_ns }
    }

    /// The values at ascending ranks from 1: first the negative ones, largest magnitude first, then the others.
    fn at_ranks(&self, ranks: [u64; 4]) -> [Span; 4] {
        let below_zero = self.negative.as_ref().map_or(0, |negative| negative.len());
        let mut mirrored = ranks.map(|rank| (below_zero + 1).saturating_sub(rank));
        mirrored.reverse();
        let negative = self.negative.as_ref().map_or([0; 4], |negative| at_ranks(negative, mirrored));
        let positive = at_ranks(&self.positive, ranks.map(|rank| rank.saturating_sub(below_zero)));
        std::array::from_fn(|i| {
            let ns = if ranks[i] <= below_zero { -(negative[3 - i] as i64) } else { positive[i] as i64 };
            Span::from_nanos(ns.clamp(self.min, self.max))
        })
    }
}

/// The middle of the bucket that holds each rank; ranks ascend, and one of 0 asks for nothing. One pass for all.
fn at_ranks(histogram: &Histogram<u64>, ranks: [u64; 4]) -> [u64; 4] {
    let mut values = [0; 4];
    let mut next = ranks.iter().filter(|rank| **rank == 0).count();
    let mut seen = 0;
    for bucket in histogram.iter_recorded() {
        if next == ranks.len() {
            break;
        }
        seen += bucket.count_at_value();
        while next < ranks.len() && ranks[next] <= seen {
            values[next] = histogram.median_equivalent(bucket.value_iterated_to());
            next += 1;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The promise of the histogram, for signed values over nine decades: within 0.4 % or 64 ns of the true value.
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            values in proptest::collection::vec(
                (0.0f64..10.0, any::<bool>()).prop_map(|(e, minus)| 10f64.powf(e) as i64 * if minus { -1 } else { 1 }),
                1..500,
            ),
        ) {
            let mut tally = Tally::signed(&[]);
            for value in &values {
                tally.record(Span::from_nanos(*value));
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let seen = tally.distribution().unwrap();
            for (share, seen) in [(0.5, seen.p50), (0.9, seen.p90), (0.99, seen.p99), (0.999, seen.p999)] {
                let rank = (share * sorted.len() as f64 - 1e-9).ceil() as usize;
                let truth = sorted[rank - 1];
                let error = (seen.as_nanos() - truth).abs() as f64;
                prop_assert!(error <= 65f64.max(0.004 * truth.abs() as f64), "{share}: {seen:?} for {truth} ns");
            }
            prop_assert_eq!(seen.min.as_nanos(), sorted[0]);
            prop_assert_eq!(seen.max.as_nanos(), sorted[sorted.len() - 1]);
            prop_assert_eq!(seen.last.as_nanos(), values[values.len() - 1]);
            prop_assert_eq!(seen.mean.as_nanos(), values.iter().sum::<i64>() / values.len() as i64);
        }
    }

    #[test]
    fn values_beyond_the_range_keep_the_maximum_exact() {
        let mut tally = Tally::unsigned(&[]);
        tally.record(Span::from_secs(100_000));
        let seen = tally.distribution().unwrap();
        assert_eq!(seen.max, Span::from_secs(100_000));
        assert_eq!(seen.count, 1);
    }

    #[test]
    fn a_bucket_includes_its_upper_bound() {
        const BOUNDS: &[Span] = &[Span::from_micros(-10), Span::ZERO, Span::from_micros(10)];
        let mut tally = Tally::signed(BOUNDS);
        for us in [-11, -10, -9, 0, 1, 10, 11] {
            tally.record(Span::from_micros(us));
        }
        let seen = tally.buckets();
        assert_eq!(seen.counts, [2, 2, 2, 1]);
        assert_eq!(seen.sum_ns, -8_000);
    }
}
