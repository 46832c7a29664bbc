//! A rate, how sure it is, and over which time; or the reason why it is not known.
//!
//! A line under arrivals gives the mean rate over the stretch that it touches, to within what the touching packets leave
//! open. That is all that arrivals can prove. What the rate is *now* is a further step: it has wandered since the middle of
//! that stretch, and the interval must hold that as well.

use crate::engine::clock::tuning::rate::{BENT, DEVIATIONS_95, LEVELS_95, MIN_COMMON_SHARE, NORMAL_95, STRETCH_95};
use std::fmt;

use super::fit::{Fit, SPANS};
use super::hull::Line;
use crate::time::{MonoTime, Ppm, Span};

/// A mean rate over a stretch of time: of a microphone against the host's clock, or against another microphone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateEstimate {
    /// Positive: the clock (of a pair, the first one) is fast.
    pub ppm: Ppm,
    /// Half the width of the 95 % interval.
    pub uncertainty_95: Ppm,
    /// The length of the stretch that the rate is the mean of.
    pub span: Span,
    /// When that stretch ended: now, or where the delay's floor was last seen.
    pub until: MonoTime,
    /// The variance that the rate gains a second, in ppm^2.
    pub wander: f64,
}

impl RateEstimate {
    /// How long ago its stretch ended.
    pub fn age(&self, now: MonoTime) -> Span {
        (now - self.until).max(Span::ZERO)
    }

    /// What is still known of it `now`: a rate wanders on where nothing is seen of it.
    pub fn at(self, now: MonoTime) -> RateEstimate {
        let wandered = NORMAL_95 * self.wander * self.age(now).as_secs_f64();
        RateEstimate { uncertainty_95: Ppm((self.uncertainty_95.0.powi(2) + wandered).sqrt()), ..self }
    }
}

/// Why a rate is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// Not enough has been heard since the start, or since the offset was lost.
    TooShort,
    /// The floor of the delay moves: its movement and the clock's rate look alike.
    FloorMoves,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unknown::TooShort => "not heard for long enough yet",
            Unknown::FloorMoves => "the least delay is changing, which cannot be told from drift",
        })
    }
}

impl std::error::Error for Unknown {}

/// The lines of a second in which there were some, and what one needs to read them.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Shortest span first; not empty.
    pub fits: Vec<Fit>,
    /// When the newest point (x = 0) arrived.
    pub newest: MonoTime,
    /// The variance that the rate gains a second, in ppm^2.
    pub wander: f64,
}

impl Lines {
    /// The mean rate over the widest span.
    pub fn mean(&self) -> RateEstimate {
        self.mean_of(self.fits.last().expect("there are lines"))
    }

    /// The rate at the newest point, from the span that tells it best; `None` where no line is touched any more.
    pub fn now(&self) -> Option<(RateEstimate, Fit)> {
        self.best_now(self.fits.iter())
    }

    fn best_now<'a>(&self, fits: impl Iterator<Item = &'a Fit>) -> Option<(RateEstimate, Fit)> {
        let of = |fit: &Fit| {
            let mut rate = self.mean_of(fit);
            // The end of a random walk against its mean over T: q^2 T / 3; then q^2 a second. A minimum is that of the second
            // before.
            let since = fit.seconds() / 3.0 - fit.last + 1.0;
            let arrivals = DEVIATIONS_95 * fit.deviation;
            rate.uncertainty_95 = Ppm((arrivals.powi(2) + NORMAL_95 * self.wander * since).sqrt());
            (rate, *fit)
        };
        let touched = fits.filter(|fit| fit.touches_now);
        touched.map(of).min_by(|(a, _), (b, _)| a.uncertainty_95.0.total_cmp(&b.uncertainty_95.0))
    }

    /// The line that tells best where the floor is now, of spans up to `widest` seconds (or of the narrowest there is).
    pub fn floor_line(&self, widest: f64) -> Line {
        self.floor_fit(widest).line
    }

    /// How far the height of that line can be off `now`, in microseconds, at 95 %: by what its lowest points leave open where it
    /// was last seen, and from there on by its slope and what that wanders.
    pub fn floor_95(&self, widest: f64, now: MonoTime) -> f64 {
        let fit = self.floor_fit(widest);
        let since = ((now - self.newest).as_secs_f64() - fit.last).max(0.0);
        let slope = DEVIATIONS_95 * fit.deviation * since;
        // A random walk, integrated: over the time since, and what bends the line within its own stretch.
        let wandered = NORMAL_95 * self.wander * (since.powi(3) / 3.0 + BENT * fit.seconds().powi(3));
        ((LEVELS_95 * fit.level).powi(2) + slope.powi(2) + wandered).sqrt()
    }

    fn floor_fit(&self, widest: f64) -> Fit {
        let mut narrow = self.fits.iter().filter(|fit| SPANS.get(fit.span).is_none_or(|&span| span <= widest));
        let fit = self.best_now(narrow.clone()).map(|(_, fit)| fit).or(narrow.next_back().copied());
        fit.unwrap_or(self.fits[0])
    }

    /// Whether these older ones are still surer than a new one, which may be of the same clock.
    pub fn says_more(&self, new: &Fit, newest: MonoTime) -> bool {
        let Some(widest) = self.fits.last() else { return false };
        let (old, new) = (self.mean_of(widest).at(newest), self.mean_of(new));
        let (a, b) = (old.uncertainty_95.0, new.uncertainty_95.0);
        a < b && (old.ppm.0 - new.ppm.0).abs() <= a + b
    }

    /// The mean rate of this one's clock minus that of the other's, over the stretch of time that both know best.
    pub fn against(&self, other: &Lines) -> RateEstimate {
        let pairs = || self.fits.iter().flat_map(|fit| other.fits.iter().map(move |theirs| (fit, theirs)));
        let least = |a: &RateEstimate, b: &RateEstimate| a.uncertainty_95.0.total_cmp(&b.uncertainty_95.0);
        let best = pairs().filter_map(|(fit, theirs)| self.compare(fit, other, theirs)).min_by(least);
        let apart = || pairs().map(|(fit, theirs)| self.compare_apart(fit, other, theirs)).min_by(least);
        best.or_else(apart).expect("there are lines")
    }

    /// Over stretches that have little in common: where they differ, both clocks have wandered.
    fn compare_apart(&self, fit: &Fit, other: &Lines, theirs: &Fit) -> RateEstimate {
        let (a, b) = (self.mean_of(fit), other.mean_of(theirs));
        let (until, from) = (a.until.max(b.until), (a.until - a.span).min(b.until - b.span));
        let wander = a.wander + b.wander;
        let wandered = NORMAL_95 * wander * (until - from).as_secs_f64();
        let uncertainty = (a.uncertainty_95.0.powi(2) + b.uncertainty_95.0.powi(2) + wandered).sqrt();
        let ppm = Ppm(a.ppm.0 - b.ppm.0);
        RateEstimate { ppm, uncertainty_95: Ppm(uncertainty), span: until - from, until, wander }
    }

    fn compare(&self, fit: &Fit, other: &Lines, theirs: &Fit) -> Option<RateEstimate> {
        let (a, b) = (self.mean_of(fit), other.mean_of(theirs));
        let (until, from) = (a.until.min(b.until), (a.until - a.span).max(b.until - b.span));
        let span = until - from;
        if span.as_secs_f64() < MIN_COMMON_SHARE * a.span.max(b.span).as_secs_f64() {
            return None;
        }
        // The mean of a random walk over T against that over a part of it that is d shorter: q^2 d^2 / T at the most.
        let moved = |rate: &RateEstimate, wander: f64| {
            let longer = rate.span.as_secs_f64();
            NORMAL_95 * wander * (rate.span - span).as_secs_f64().powi(2) / longer
        };
        let moved = moved(&a, self.wander) + moved(&b, other.wander);
        let uncertainty = (a.uncertainty_95.0.powi(2) + b.uncertainty_95.0.powi(2) + moved).sqrt();
        let (ppm, wander) = (Ppm(a.ppm.0 - b.ppm.0), a.wander + b.wander);
        Some(RateEstimate { ppm, uncertainty_95: Ppm(uncertainty), span, until, wander })
    }

    fn mean_of(&self, fit: &Fit) -> RateEstimate {
        let arrivals = DEVIATIONS_95 * fit.deviation;
        // Points lie on the microphone's time; on the host's, it takes this much longer.
        let on_host = |seconds: f64| Span::from_secs_f64(seconds * (1.0 + fit.line.slope * 1e-6));
        RateEstimate {
            ppm: Ppm(rate_of_slope(fit.line.slope)),
            uncertainty_95: Ppm((arrivals.powi(2) + STRETCH_95 * self.wander * fit.seconds()).sqrt()),
            span: on_host(fit.seconds()),
            until: self.newest + on_host(fit.last),
            wander: self.wander,
        }
    }
}

/// A clock that is fast by f takes its samples sooner: arrival minus sample time falls by f / (1 + f) a second.
fn rate_of_slope(slope_ppm: f64) -> f64 {
    -slope_ppm / (1.0 + slope_ppm * 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(newest_s: i64, wander: f64, fits: &[(usize, f64, f64, f64)]) -> Lines {
        let fit = |&(span, slope, first, last): &(usize, f64, f64, f64)| Fit {
            span,
            line: Line { at_zero: 0.0, slope },
            half_width: 6.0 / (last - first),
            deviation: 1.0 / (last - first),
            level: 2.0,
            first,
            last,
            touches_now: last > -5.0,
        };
        let newest = MonoTime::from_nanos(newest_s * 1_000_000_000);
        Lines { fits: fits.iter().map(fit).collect(), newest, wander }
    }

    #[test]
    fn a_clock_that_is_fast_makes_arrivals_fall() {
        // 48 000 x (1 + 100e-6) frames a second: frame n is taken at n / 48 004.8 s, 99.990001 us a second sooner.
        assert!((rate_of_slope(-99.990_001) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_pair_is_compared_over_the_stretch_that_both_know_best() {
        let first = lines(1_000, 0.0, &[(0, -20.0, -30.0, 0.0), (1, -21.0, -60.0, 0.0)]);
        let mut second = lines(1_000, 0.0, &[(0, 5.0, -30.0, 0.0), (1, 6.0, -60.0, -2.0), (2, 7.0, -120.0, 0.0)]);
        let rate = first.against(&second);
        assert!((rate.ppm.0 - 28.0).abs() < 0.001);
        // By the first one's clock, which is 21 ppm fast, 60 s; by the host's, 1.26 ms less.
        assert_eq!(rate.span, Span::from_nanos(59_998_740_000));
        assert_eq!(rate.until, MonoTime::from_nanos(1_000_000_000_000));
        // Two independent intervals: deviations of 1/60 and 1/120.
        assert!(
            (rate.uncertainty_95.0 - DEVIATIONS_95 * ((1.0f64 / 60.0).powi(2) + (1.0f64 / 120.0).powi(2)).sqrt()).abs()
                < 1e-9
        );
        assert!((second.against(&first).ppm.0 + 28.0).abs() < 0.001);
        // If the second one wanders, its last two minutes say little about the last one.
        second.wander = 0.01;
        let rate = first.against(&second);
        assert!((rate.ppm.0 - 27.0).abs() < 0.001);
        assert_eq!(rate.until, MonoTime::from_nanos(997_999_988_000));
    }

    #[test]
    fn stretches_with_little_in_common_are_compared_by_what_they_may_have_wandered() {
        let first = lines(1_000, 0.01, &[(1, -20.0, -60.0, 0.0)]);
        let second = lines(945, 0.0, &[(1, 5.0, -60.0, 0.0)]);
        let rate = first.against(&second);
        assert!((rate.ppm.0 - 25.0).abs() < 0.001);
        // 115 s at (0.1 ppm)^2 a second are (1.07 ppm)^2.
        assert!((1.96 * 1.07..1.96 * 1.08).contains(&rate.uncertainty_95.0), "{rate:?}");
    }

    #[test]
    fn a_rate_that_is_not_seen_any_more_is_less_and_less_sure() {
        let rate = lines(1_000, 0.01, &[(1, -20.0, -60.0, 0.0)]).mean();
        let now = rate.until + Span::from_secs(100);
        assert_eq!(rate.age(now), Span::from_secs(100));
        // (0.1 ppm)^2 a second for 100 s: 1 ppm.
        assert!((1.95..2.0).contains(&rate.at(now).uncertainty_95.0), "{rate:?}");
        assert_eq!(rate.at(rate.until), rate);
    }

    #[test]
    fn a_wandering_clock_is_asked_over_a_shorter_span() {
        let fits = [(0, -20.0, -30.0, 0.0), (4, -21.0, -480.0, 0.0)];
        let span_of = |wander| lines(1_000, wander, &fits).now().unwrap().1.span;
        assert_eq!((span_of(0.0), span_of(0.0025)), (4, 0));
        let lost = lines(1_000, 0.0, &[(1, -20.0, -60.0, -20.0)]);
        assert!(lost.now().is_none());
    }
}
