//! One line under the arrivals of several spans, each believed only where the floor of the delay is seen to be straight.
//!
//! A load ramp or a standing queue lifts the floor for seconds or minutes, and a line over such a stretch takes the path for
//! the clock: 88 ppm off, seen in a 60 s hull. A wide span averages that away, but notices a rate step late. So: lines over
//! spans from 30 s to 480 s, each rejected unless enough of its seconds lie in contact with it, all along it; the widest
//! accepted is used, and only while it agrees with the shorter ones.
//!
//! Contact is wide enough for ordinary scatter, and so too wide to say where a line ends being true: a clock that turns by
//! 5 ppm needs a minute to leave it. Hence a second, narrow measure, *touch*: among the lowest eighth of all residuals. What
//! a line says, it says of the stretch from its first touch to its last.

use super::hull::{Line, LowerHull, Point};
use super::minima::{KEPT, Minima};
use crate::engine::clock::tuning::fit::{
    AND_BEFORE_S, BEGINNING_S, BEGINNING_SHARE, CONTACT_SCATTERS, CONTACT_US, DEVIATION, DEVIATION_PER_SHAPE,
    LONGER_THAN_RAMPS_S, MAX_CHANGE_PPM, MAX_PPM, MIN_CONTACT_SHARE, MIN_EARLY_EXTENT_S, MIN_EXTENT_S,
    MIN_EXTENT_SHARE, NOW_S, PROVISIONAL_POINTS, RECENT_S, SCATTER_S, SHARP_PPM, STAMPS_US, TOUCH_RANK, TOUCH_US, WIDE,
};

/// In seconds. The last is all that [`Minima`] keeps.
pub const SPANS: [f64; 5] = [30.0, 60.0, 120.0, 240.0, 480.0];
/// In place of an index into those: all of the first minute.
const EARLY: usize = SPANS.len();

/// A line under the arrivals of one span, in microseconds and parts per million, x = 0 at the newest minimum.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fit {
    /// Which of [`SPANS`].
    pub span: usize,
    pub line: Line,
    /// Half the width of an interval that the slope cannot leave for stationary jitter.
    pub half_width: f64,
    /// The standard deviation of the slope.
    pub deviation: f64,
    /// How high the lowest points of its last third lie above it, in the mean of four: so well is its height known there.
    pub level: f64,
    /// Where the line is first and last touched, in seconds.
    pub first: f64,
    pub last: f64,
    /// Whether it is touched still.
    pub touches_now: bool,
}

impl Fit {
    /// Beyond what a crystal in order does.
    pub fn is_steep(&self) -> bool {
        self.line.slope.abs() > MAX_PPM
    }
    /// Known well enough to be followed.
    pub fn is_sharp(&self) -> bool {
        self.half_width <= SHARP_PPM
    }

    /// The length of the stretch that it touches.
    pub fn seconds(&self) -> f64 {
        self.last - self.first
    }
}

/// Why there is no line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    TooShort,
    /// The points lie on no line: the floor moves.
    Bent,
    /// A line, but one that says too little.
    Wide,
}

/// What is known before.
#[derive(Clone, Copy, Debug)]
pub struct Prior {
    /// The slope.
    pub slope: f64,
    /// Where the floor stands at x = 0, in microseconds.
    pub floor: f64,
    /// How far above that a new line may start.
    pub rise: f64,
}

/// Fits the spans. Keeps its scratch memory from second to second.
#[derive(Clone, Debug)]
pub struct Fitter {
    points: Vec<Point>,
    scratch: Vec<f64>,
    hull: LowerHull,
    /// Where the present offset began, in seconds.
    beginning: f64,
    /// Accepted lines, shortest span first; all agree, all are sharp.
    pub fits: Vec<Fit>,
    /// Of those that are not, the one that tells most.
    pub wide: Option<Fit>,
    /// The line under the shortest span, good for an offset when there is nothing better: believed by nothing but its
    /// possible slope.
    pub provisional: Option<Line>,
}

impl Fitter {
    pub fn new() -> Fitter {
        Fitter {
            points: Vec::with_capacity(KEPT),
            scratch: Vec::with_capacity(KEPT),
            hull: LowerHull::default(),
            beginning: 0.0,
            fits: Vec::with_capacity(SPANS.len()),
            wide: None,
            provisional: None,
        }
    }

    /// Computes [`fits`](Fitter::fits), [`wide`](Fitter::wide) and [`provisional`](Fitter::provisional) anew. `Err` when there
    /// are no fits. `beginning` is where on the axis the present offset began.
    pub fn fit(&mut self, minima: &Minima, beginning: i64, prior: Option<Prior>) -> Result<(), Rejected> {
        self.load(minima, beginning);
        self.fits.clear();
        self.wide = None;
        self.hull.clear();
        let contact = CONTACT_SCATTERS * self.scatter() + CONTACT_US;
        let mut reason = Rejected::TooShort;
        let mut taken = 0;
        for (span, &length) in SPANS.iter().enumerate() {
            let end = self.points.partition_point(|point| point.x >= -length);
            // A span that begins before the points do is worth its while if they cover well more than the one before.
            if span > 0 && (end - taken) * 4 < taken {
                break;
            }
            for &point in &self.points[taken..end] {
                self.hull.push_left(point);
            }
            taken = end;
            if span == 0 {
                let possible = |line: &Line| line.slope.abs() <= MAX_PPM && taken >= PROVISIONAL_POINTS;
                self.provisional = self.hull.middle_edge().filter(possible);
            }
            match self.judge(span, taken, contact, prior) {
                Ok(fit) if !self.fits.iter().chain(&self.wide).all(|shorter| agree(shorter, &fit)) => break,
                Ok(fit) if fit.is_sharp() => self.fits.push(fit),
                Ok(fit) => {
                    reason = Rejected::Wide;
                    if self.wide.is_none_or(|wide| fit.deviation < wide.deviation) {
                        self.wide = Some(fit);
                    }
                }
                Err(why) => reason = why,
            }
        }
        if self.fits.is_empty() { Err(reason) } else { Ok(()) }
    }

    /// The line under all of the first minute.
    pub fn fit_early(&mut self, minima: &Minima, beginning: i64) -> Result<Fit, Rejected> {
        self.load(minima, beginning);
        self.hull.clear();
        self.points.iter().for_each(|&point| self.hull.push_left(point));
        let contact = CONTACT_SCATTERS * self.scatter() + CONTACT_US;
        self.judge(EARLY, self.points.len(), contact, None)
    }

    fn load(&mut self, minima: &Minima, beginning: i64) {
        self.points.clear();
        let Some(newest) = minima.newest_first().next().copied() else { return };
        self.beginning = (beginning - newest.x) as f64 * 1e-9;
        for arrival in minima.newest_first() {
            let point = Point { x: (arrival.x - newest.x) as f64 * 1e-9, y: (arrival.y - newest.y) as f64 * 1e-3 };
            // Renumbering may have put two seconds at one place.
            if self.points.last().is_none_or(|last| point.x < last.x) {
                self.points.push(point);
            }
        }
    }

    /// How far minima scatter, free of any drift: the median second difference.
    fn scatter(&mut self) -> f64 {
        self.scratch.clear();
        let recent = self.points.partition_point(|point| point.x >= -SCATTER_S);
        self.scratch.extend(self.points[..recent].windows(3).map(|w| (w[0].y - 2.0 * w[1].y + w[2].y).abs()));
        if self.scratch.is_empty() {
            return 0.0;
        }
        let middle = self.scratch.len() / 2;
        *self.scratch.select_nth_unstable_by(middle, f64::total_cmp).1
    }

    /// The line under the newest `count` points, if it can be believed.
    fn judge(&mut self, span: usize, count: usize, contact: f64, prior: Option<Prior>) -> Result<Fit, Rejected> {
        let points = &self.points[..count];
        let line = self.hull.middle_edge().ok_or(Rejected::TooShort)?;
        let seconds = -points[count - 1].x;
        let min_extent = if span == EARLY { MIN_EARLY_EXTENT_S } else { MIN_EXTENT_S };
        if seconds < min_extent {
            return Err(Rejected::TooShort);
        }
        let jumps =
            |prior: Prior| (line.slope - prior.slope).abs() > MAX_CHANGE_PPM || line.at_zero > prior.floor + prior.rise;
        if prior.is_some_and(jumps) {
            return Err(Rejected::Bent);
        }
        let above = |point: &Point| point.y - line.at(point.x);
        let recently = if span == EARLY { RECENT_S.min(seconds / 3.0) } else { RECENT_S };
        let recent = points.partition_point(|point| point.x >= -recently);
        let ends = ends(points, |point| above(point) <= contact).unwrap_or((0.0, 0.0));
        let extent = ends.1 - ends.0;
        let enough = |points: &[Point]| {
            let contacts = points.iter().filter(|point| above(point) <= contact).count();
            contacts as f64 >= MIN_CONTACT_SHARE * points.len() as f64
        };
        let reaches = extent >= min_extent && (span == 0 || extent >= MIN_EXTENT_SHARE * seconds);
        if !reaches || !enough(points) || !enough(&points[..recent]) {
            return Err(Rejected::Bent);
        }

        self.scratch.clear();
        self.scratch.extend(points.iter().map(above));
        let low = *self.scratch.select_nth_unstable_by(count / TOUCH_RANK, f64::total_cmp).1;
        let middle = *self.scratch.select_nth_unstable_by(count * 3 / TOUCH_RANK, f64::total_cmp).1;
        let touch = low + TOUCH_US;
        let mut touches = points.iter().filter(|point| above(point) <= touch).map(|point| point.x);
        let last = touches.next().expect("the hull's corners touch it");
        let (mut first, mut touched_before) = (last, false);
        for x in touches {
            first = x;
            touched_before |= (AND_BEFORE_S.0..=AND_BEFORE_S.1).contains(&(last - x));
        }
        if span != EARLY && last - first < min_extent {
            return Err(Rejected::Bent);
        }
        let is_steady = last - first >= LONGER_THAN_RAMPS_S || (span == EARLY && self.is_since_beginning(first));
        if prior.is_none() && line.slope.abs() > MAX_PPM && !is_steady {
            return Err(Rejected::Bent);
        }
        // Of few points few touch it; where the line is over all of them, those in contact tell how far it can be off.
        let (first, last) = if span == EARLY { ends } else { (first, last) };
        let (half_width, level) = half_width(points, line, first, last);
        if !half_width.is_finite() {
            return Err(Rejected::Bent);
        }
        let steepness = shape(low + STAMPS_US, middle + STAMPS_US) - 1.0;
        let (scale, per_shape) =
            if half_width <= SHARP_PPM && span != EARLY { (1.0, DEVIATION_PER_SHAPE) } else { WIDE };
        let deviation = half_width * DEVIATION * scale * (1.0 + per_shape * steepness);
        let touches_now = if span == EARLY { last >= first / 3.0 } else { last >= -NOW_S && touched_before };
        Ok(Fit { span, line, half_width, deviation, level, first, last, touches_now })
    }
}

impl Fitter {
    /// Whether a line that is touched from `first` on lies under all that was heard.
    fn is_since_beginning(&self, first: f64) -> bool {
        first - self.beginning <= BEGINNING_S + BEGINNING_SHARE * -self.beginning
    }
}

/// The first and the last of the points that pass, newest first.
fn ends(points: &[Point], pass: impl Fn(&Point) -> bool) -> Option<(f64, f64)> {
    let newest = points.iter().find(|point| pass(point))?;
    let oldest = points.iter().rfind(|point| pass(point))?;
    Some((oldest.x, newest.x))
}

/// How far the slope can be off: in each third of the stretch the floor lies somewhere within its lowest points. And how high
/// those of the last third lie.
fn half_width(points: &[Point], line: Line, first: f64, last: f64) -> (f64, f64) {
    let third = (last - first) / 3.0;
    let lowest_in = |from: f64, to: f64| {
        let mut lowest = [f64::INFINITY; 4];
        let (newest, oldest) = (points.partition_point(|p| p.x > to), points.partition_point(|p| p.x >= from));
        for point in &points[newest..oldest] {
            let height = point.y - line.at(point.x);
            if height < lowest[3] {
                lowest[3] = height;
                lowest.sort_unstable_by(f64::total_cmp);
            }
        }
        lowest.iter().sum::<f64>() / 4.0
    };
    let level = lowest_in(last - third, last);
    let slack = lowest_in(first, first + third) + lowest_in(first + third, last - third) + level;
    (2.0 * (slack + STAMPS_US) / (last - first), level + STAMPS_US)
}

/// How steeply delays thin out towards their floor, as the shape of a Weibull distribution, from the residuals' 1/8 and 3/8
/// quantiles: 1 for an exponential, more where the floor itself is seldom reached, so that the points which carry the line
/// scatter more than their closeness to it says.
fn shape(low: f64, middle: f64) -> f64 {
    let exponential = ((5.0f64 / 8.0).ln() / (7.0f64 / 8.0).ln()).ln();
    (exponential / (middle / low).ln()).clamp(1.0, 4.0)
}

fn agree(a: &Fit, b: &Fit) -> bool {
    (a.line.slope - b.line.slope).abs() <= a.half_width + b.half_width
}

#[cfg(test)]
mod tests {
    use super::super::minima::Arrival;
    use super::*;
    use crate::time::MonoTime;

    /// Minima a second apart whose floor is `y(t)` in microseconds, scattered by a fixed pattern of 0 to 14 us.
    fn fitter_over(seconds: i64, prior: Option<Prior>, y: impl Fn(f64) -> f64) -> (Fitter, Result<(), Rejected>) {
        let mut minima = Minima::new();
        for t in 0..=seconds {
            let scatter = (t * 7 % 15) as f64;
            let y = ((y(t as f64) + scatter) * 1e3) as i64;
            let at = MonoTime::from_nanos(t * 1_000_000_000 + 500_000_000);
            minima.push(Arrival { x: at.as_nanos() - y, y, at }, 0.0);
        }
        let mut fitter = Fitter::new();
        let beginning = minima.all().next().expect("there are minima").x;
        let fitted = fitter.fit(&minima, beginning, prior);
        (fitter, fitted)
    }

    #[test]
    fn a_straight_floor_is_found_over_every_span() {
        let (fitter, fitted) = fitter_over(500, None, |t| 20.0 * t);
        assert_eq!(fitted, Ok(()));
        assert_eq!(fitter.fits.len(), SPANS.len());
        for fit in &fitter.fits {
            assert!((fit.line.slope - 20.0).abs() < 0.01 && fit.touches_now, "{fit:?}");
        }
    }

    #[test]
    fn a_floor_that_climbs_faster_than_crystals_do_is_a_rate_once_it_has_for_longer_than_a_load_ramp() {
        let (_, fitted) = fitter_over(45, None, |t| 500.0 * t);
        assert_eq!(fitted, Err(Rejected::Bent));
        let (fitter, fitted) = fitter_over(60, None, |t| 500.0 * t);
        assert_eq!(fitted, Ok(()));
        assert!((fitter.fits[0].line.slope - 500.0).abs() < 0.5, "{:?}", fitter.fits);
    }

    #[test]
    fn a_floor_that_begins_to_climb_leaves_the_wide_spans_until_where_it_did() {
        // 30 ppm from second 480 on: too little for the contact of most seconds to be lost.
        let (fitter, _) = fitter_over(490, None, |t| 30.0 * (t - 480.0).max(0.0));
        let widest = fitter.fits.last().expect("the floor was straight for 480 s");
        assert_eq!(widest.span, 4);
        assert!(widest.line.slope.abs() < 0.01);
        assert!((-12.0..=-8.0).contains(&widest.last), "{widest:?}");
    }

    #[test]
    fn a_chord_under_a_bent_floor_does_not_hold_now() {
        // The rate turned by -5 ppm 20 s ago: the points of the last seconds pull the whole line down.
        let (fitter, _) = fitter_over(200, None, |t| -5.0 * (t - 180.0).max(0.0));
        assert!(fitter.fits.iter().filter(|fit| fit.span > 0).all(|fit| !fit.touches_now), "{:?}", fitter.fits);
    }

    #[test]
    fn a_line_far_above_what_is_known_is_another_path_and_one_of_another_slope_another_floor() {
        let prior = Prior { slope: 0.0, floor: 0.0, rise: 400.0 };
        let (fitter, fitted) = fitter_over(100, Some(prior), |_| 0.0);
        // Zero is at the newest minimum, that of second 99, which has 99 * 7 mod 15 = 3 us of scatter.
        assert_eq!(fitted, Ok(()));
        assert!((fitter.fits[0].line.at_zero + 3.0).abs() < 1.0, "{:?}", fitter.fits[0]);
        let (_, fitted) = fitter_over(100, Some(Prior { floor: -500.0, ..prior }), |_| 0.0);
        assert_eq!(fitted, Err(Rejected::Bent));
        let (_, fitted) = fitter_over(100, Some(Prior { slope: 11.0, ..prior }), |_| 0.0);
        assert_eq!(fitted, Err(Rejected::Bent));
    }

    #[test]
    fn the_shape_of_a_weibull_distribution_is_found_from_two_quantiles() {
        // Its quantile function: (-ln(1 - p))^(1 / shape).
        for k in [1.0, 1.5, 2.0, 3.5] {
            let quantile = |p: f64| (-(1.0 - p).ln()).powf(1.0 / k);
            assert!((shape(quantile(0.125), quantile(0.375)) - k).abs() < 1e-9);
        }
        assert_eq!(shape(1.0, 1.0), 4.0);
        assert_eq!(shape(1.0, 100.0), 1.0);
    }

    #[test]
    fn too_few_seconds_are_said_to_be_too_few() {
        assert_eq!(fitter_over(5, None, |_| 0.0).1, Err(Rejected::TooShort));
    }
}
