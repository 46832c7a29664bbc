//! Trend: does a skew grow, and how sure is that?
//!
//! A microphone that falls behind by 10 us a minute is invisible in a percentile and audible after an hour. Single values
//! jitter by more than that, and bursts reach a hundred milliseconds: a least-squares line follows the bursts. So take the median of each
//! second, and the median of the slopes between all pairs of those: the Theil-Sen estimator, which withstands 29 % of wild points.
//! Its interval is Sen's: the slopes whose ranks lie as far from the middle as Kendall's tau allows at 95 %
//! (P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968). It takes the
//! medians for independent of each other; where queues make neighbours alike it is too narrow.
//!
//! Memory stays bounded over any run: when 48 points are full, neighbours are averaged and each point covers twice the time.

use crate::engine::figures::tuning::trend::{ENOUGH, POINTS, VALUES};
use std::collections::VecDeque;

use super::window::WINDOW;
use crate::engine::figures::{Known, Trend};
use crate::time::{MonoTime, Span};

/// One median each.
const SECOND: i64 = 1_000_000_000;
const TOO_FEW: &str = "needs cycles with both microphones in at least 8 different seconds";

#[derive(Clone, Copy, Debug)]
struct Point {
    minutes: f64,
    us: f64,
}

/// Follows one quantity.
#[derive(Debug)]
pub struct TrendMeter {
    /// Seconds are counted from the first value, so that a recording gives the same medians as the live run, by whatever clock.
    origin: Option<MonoTime>,
    /// The second being filled, and its values.
    second: i64,
    values: Vec<i64>,
    /// Medians of the seconds in the window, with their second.
    recent: VecDeque<(i64, Point)>,
    /// Since start, `seconds_a_point` medians each.
    points: Vec<Point>,
    seconds_a_point: u32,
    /// Sum of the medians that the next point is made of.
    partial: Point,
    partial_count: u32,
    since_start: Known<Trend>,
    slopes: Vec<f64>,
}

impl Default for TrendMeter {
    fn default() -> TrendMeter {
        TrendMeter {
            origin: None,
            second: 0,
            values: Vec::with_capacity(VALUES),
            recent: VecDeque::with_capacity((WINDOW.as_nanos() / SECOND) as usize + 1),
            points: Vec::with_capacity(POINTS),
            seconds_a_point: 1,
            partial: Point { minutes: 0.0, us: 0.0 },
            partial_count: 0,
            since_start: Err(TOO_FEW),
            slopes: Vec::with_capacity(POINTS * (POINTS - 1) / 2),
        }
    }
}

impl TrendMeter {
    pub fn record(&mut self, value: Span, now: MonoTime) {
        let origin = *self.origin.get_or_insert(now);
        let second = (now - origin).as_nanos().div_euclid(SECOND);
        if second > self.second {
            self.close_second();
            self.second = second;
        }
        if self.values.len() < VALUES {
            self.values.push(value.as_nanos());
        }
    }

    pub fn since_start(&self) -> Known<Trend> {
        self.since_start
    }

    /// Of the medians of whole seconds in the last ten before `now`.
    pub fn window(&mut self, now: MonoTime) -> Known<Trend> {
        let Some(origin) = self.origin else { return Err(TOO_FEW) };
        let oldest = (now - WINDOW - origin).as_nanos().div_euclid(SECOND);
        while self.recent.front().is_some_and(|(second, _)| *second < oldest) {
            self.recent.pop_front();
        }
        theil_sen(self.recent.iter().map(|(_, point)| *point), &mut self.slopes)
    }

    fn close_second(&mut self) {
        if self.values.is_empty() {
            return;
        }
        let middle = self.values.len() / 2;
        let (_, median, _) = self.values.select_nth_unstable(middle);
        let point = Point { minutes: (self.second as f64 + 0.5) / 60.0, us: *median as f64 / 1e3 };
        self.values.clear();
        if self.recent.len() == self.recent.capacity() {
            self.recent.pop_front();
        }
        self.recent.push_back((self.second, point));

        self.partial = Point { minutes: self.partial.minutes + point.minutes, us: self.partial.us + point.us };
        self.partial_count += 1;
        if self.partial_count < self.seconds_a_point {
            return;
        }
        let n = f64::from(self.partial_count);
        self.points.push(Point { minutes: self.partial.minutes / n, us: self.partial.us / n });
        self.partial = Point { minutes: 0.0, us: 0.0 };
        self.partial_count = 0;
        if self.points.len() == POINTS {
            for i in 0..POINTS / 2 {
                let (a, b) = (self.points[2 * i], self.points[2 * i + 1]);
                self.points[i] = Point { minutes: (a.minutes + b.minutes) / 2.0, us: (a.us + b.us) / 2.0 };
            }
            self.points.truncate(POINTS / 2);
            self.seconds_a_point = self.seconds_a_point.saturating_mul(2);
        }
        self.since_start = theil_sen(self.points.iter().copied(), &mut self.slopes);
    }
}

/// Theil's slope with Sen's 95 % interval; `slopes` is scratch space.
fn theil_sen(points: impl Iterator<Item = Point> + Clone, slopes: &mut Vec<f64>) -> Known<Trend> {
    slopes.clear();
    let mut n = 0;
    for a in points.clone() {
        slopes.extend(points.clone().skip(n + 1).map(|b| (b.us - a.us) / (b.minutes - a.minutes)));
        n += 1;
    }
    if n < ENOUGH {
        return Err(TOO_FEW);
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let pairs = slopes.len();
    let us_per_min = (slopes[(pairs - 1) / 2] + slopes[pairs / 2]) / 2.0;
    // Variance of Kendall's S without ties: n (n - 1) (2 n + 5) / 18.
    let n = n as f64;
    let reach = 1.96 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let below = ((pairs as f64 - reach) / 2.0).floor().max(0.0) as usize;
    let (low, high) = (slopes[below], slopes[pairs - 1 - below]);
    Ok(Trend { us_per_min, uncertainty_us_per_min: (us_per_min - low).max(high - us_per_min) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE: i64 = 512 * SECOND / 48_000;

    /// Small noise from a linear congruential generator (Knuth, MMIX), so that runs repeat: -1 to 1, evenly.
    struct Noise(u64);
    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        }
    }

    fn run(seconds: i64, seed: u64, us_per_min: f64) -> (TrendMeter, MonoTime) {
        let mut meter = TrendMeter::default();
        let mut noise = Noise(seed);
        let mut now = 0;
        while now < seconds * SECOND {
            let drift = us_per_min * now as f64 / (60.0 * SECOND as f64);
            // One cycle in twenty is 30 ms late.
            let burst = if noise.next() > 0.9 { 30_000.0 } else { 0.0 };
            let us = 100.0 + drift + 50.0 * noise.next() + burst;
            meter.record(Span::from_nanos((us * 1e3) as i64), MonoTime::from_nanos(now));
            now += CYCLE;
        }
        (meter, MonoTime::from_nanos(now))
    }

    #[test]
    fn the_interval_covers_the_true_slope_in_most_runs_in_spite_of_bursts() {
        for seconds in [9, 30, 600, 20_000] {
            let runs = if seconds > 1_000 { 5 } else { 100 };
            let covered = (0..runs)
                .filter(|seed| {
                    let (meter, _) = run(seconds, 1 + *seed, -12.5);
                    let seen = meter.since_start().expect("long enough");
                    (seen.us_per_min + 12.5).abs() <= seen.uncertainty_us_per_min
                })
                .count();
            assert!(covered as f64 >= 0.9 * runs as f64 - 1.0, "{covered} of {runs} at {seconds} s");
        }
    }

    #[test]
    fn an_hour_pins_the_slope_down() {
        let (meter, _) = run(3_600, 7, 3.0);
        let seen = meter.since_start().unwrap();
        assert!((seen.us_per_min - 3.0).abs() < 0.2, "{seen:?}");
        assert!(seen.uncertainty_us_per_min < 0.3, "{seen:?}");
    }

    #[test]
    fn the_window_sees_only_the_last_ten_seconds() {
        let mut meter = TrendMeter::default();
        for cycle in 0..6_000i64 {
            let now = cycle * CYCLE;
            // Flat for 40 s, then 600 us a minute.
            let us = ((now - 40 * SECOND).max(0)) as f64 / (60.0 * SECOND as f64) * 600.0;
            meter.record(Span::from_nanos((us * 1e3) as i64), MonoTime::from_nanos(now));
        }
        let now = MonoTime::from_nanos(6_000 * CYCLE);
        assert!((meter.window(now).unwrap().us_per_min - 600.0).abs() < 10.0);
        assert!(meter.since_start().unwrap().us_per_min < 300.0);
        assert!(meter.window(now + Span::from_secs(20)).is_err(), "nothing in the window: unknown");
    }

    #[test]
    fn few_seconds_are_not_a_trend() {
        let (meter, _) = run(7, 1, 0.0);
        assert_eq!(meter.since_start(), Err(TOO_FEW));
    }
}
