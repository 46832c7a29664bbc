//! Folding: at which frequency do points in time pile up?
//!
//! Each point is an arrow on the unit circle that turns at the frequency in question; where the sum of the arrows is long, the points
//! stand at one phase. (In astronomy: a periodogram.) Losses leave points out and turn nothing.
//!
//! Trying all frequencies on all points costs milliseconds, so it goes by bands: the arrows of a tenth of a second are summed at a band's
//! middle, and those hundred sums are turned for each frequency of the band. Bands follow from the lowest up; the first that has a
//! long sum ends the search. Making the sums, turning a quarter of them, and the final fit are each one slice of work.

use crate::engine::health::tuning::fold::{
    LEAST_POWER, LEAST_SHARE, MOST_ALIKE, MOST_BANDS, PARTS, STEPS, STRETCHES, STUDENT, TURNED_AT_ONCE,
};
use std::f64::consts::TAU;
use std::ops::Range;

use super::rates::Came;
use crate::time::{MonoTime, Span};

/// A slope and the half-width of its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Fit {
    pub slope: f64,
    pub uncertainty: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Arrow {
    x: f64,
    y: f64,
}

impl Arrow {
    fn at(turns: f64) -> Arrow {
        let (y, x) = (TAU * (turns - turns.round())).sin_cos();
        Arrow { x, y }
    }

    fn times(self, other: Arrow) -> Arrow {
        Arrow { x: self.x * other.x - self.y * other.y, y: self.x * other.y + self.y * other.x }
    }

    fn add(&mut self, other: Arrow) {
        self.x += other.x;
        self.y += other.y;
    }

    fn power(self) -> f64 {
        self.x * self.x + self.y * self.y
    }

    fn turns(self) -> f64 {
        self.y.atan2(self.x) / TAU
    }
}

#[derive(Clone, Copy, Debug)]
struct Peak {
    hz: f64,
    share: f64,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Fold {
    from: MonoTime,
    span_s: f64,
    wanted: Range<f64>,
    band: u32,
    best: Option<Peak>,
    /// The search is over; what is left is the fit.
    found: bool,
    sums: [Arrow; STRETCHES],
    turned: [Arrow; STEPS],
    points: f64,
    /// How far the band's sums are turned; `None` before they are made.
    turned_to: Option<usize>,
}

impl Default for Fold {
    fn default() -> Fold {
        Fold {
            from: MonoTime::from_nanos(0),
            span_s: 1.0,
            wanted: 0.0..0.0,
            band: 0,
            best: None,
            found: false,
            sums: [Arrow::default(); STRETCHES],
            turned: [Arrow::default(); STEPS],
            points: 0.0,
            turned_to: None,
        }
    }
}

impl Fold {
    /// Frequencies to look at, for points that span this time.
    pub fn begin(&mut self, from: MonoTime, span: Span, wanted: Range<f64>) {
        (self.from, self.span_s, self.wanted) = (from, span.as_secs_f64(), wanted);
        (self.band, self.best, self.found, self.turned_to) = (0, None, false, None);
    }

    /// One slice, on the points of one size. `Some` when it is over: the frequency, where there is one.
    pub fn step<'a>(&mut self, points: impl Iterator<Item = &'a Came>, size: u32) -> Option<Option<Fit>> {
        let from = self.from;
        let times = points.filter(|point| point.samples == size).map(|point| (point.at - from).as_secs_f64());
        if let (true, Some(peak)) = (self.found, self.best) {
            let fit = self.refine(times, peak);
            if fit.is_some() {
                return Some(fit);
            }
            // A ghost: go on behind it.
            (self.found, self.best) = (false, None);
            return None;
        }
        let width = STEPS as f64 / (2.0 * self.span_s);
        let low = self.wanted.start + width * f64::from(self.band);
        if low > self.wanted.end || self.band >= MOST_BANDS {
            self.found = true;
            return if self.best.is_some() { None } else { Some(None) };
        }
        let middle = low + width / 2.0;
        match self.turned_to {
            None => {
                self.sum(times, middle);
                self.turned_to = Some(0);
                return None;
            }
            Some(from) if from < STRETCHES => {
                self.turn(from..from + TURNED_AT_ONCE);
                self.turned_to = Some(from + TURNED_AT_ONCE);
                return None;
            }
            Some(_) => self.turned_to = None,
        }
        if let Some(peak) = self.highest(middle)
            && self.best.is_none_or(|best| best.share < peak.share)
        {
            self.best = Some(peak);
        }
        // Near the upper edge it may be the foot of a peak in the next band.
        self.found = self.best.is_some_and(|best| best.hz < low + width - 10.0 / self.span_s);
        self.band += 1;
        None
    }

    /// From one frequency of a band to the next, and the lowest against the middle.
    fn steps(&self) -> (f64, f64) {
        let step = 0.5 / self.span_s;
        (step, -step * (STEPS as f64 - 1.0) / 2.0)
    }

    /// The arrows of each stretch, at a band's middle.
    fn sum(&mut self, times: impl Iterator<Item = f64>, middle: f64) {
        self.sums = [Arrow::default(); STRETCHES];
        self.turned = [Arrow::default(); STEPS];
        self.points = 0.0;
        for time in times {
            let stretch = (time / self.span_s * STRETCHES as f64) as usize;
            self.sums[stretch.min(STRETCHES - 1)].add(Arrow::at(-middle * time));
            self.points += 1.0;
        }
    }

    /// Some of the sums, turned for each frequency of the band.
    fn turn(&mut self, stretches: Range<usize>) {
        let (step, lowest) = self.steps();
        for (stretch, sum) in stretches.clone().zip(&self.sums[stretches]) {
            let time = (stretch as f64 + 0.5) / STRETCHES as f64 * self.span_s;
            let (mut arrow, turn) = (sum.times(Arrow::at(-lowest * time)), Arrow::at(-step * time));
            for turned in &mut self.turned {
                turned.add(arrow);
                arrow = arrow.times(turn);
            }
        }
    }

    /// The best frequency of the band, if the arrows point one way there.
    fn highest(&self, middle: f64) -> Option<Peak> {
        let (step, lowest) = self.steps();
        let powers = self.turned.iter().map(|arrow| arrow.power());
        let (index, power) = powers.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let share = power.sqrt() / self.points;
        let clear = power > LEAST_POWER * self.points && share > LEAST_SHARE;
        clear.then_some(Peak { hz: middle + lowest + step * index as f64, share })
    }

    /// The frequency by the phases of the parts; `None` where the arrows do not point one way after all. A sum of stretches shows ghosts,
    /// a turn a stretch beside the truth.
    fn refine(&self, times: impl Iterator<Item = f64>, peak: Peak) -> Option<Fit> {
        let mut parts = [(Arrow::default(), 0.0, 0.0); PARTS];
        for time in times {
            let part = (time / self.span_s * PARTS as f64) as usize;
            let (sum, at, count) = &mut parts[part.min(PARTS - 1)];
            sum.add(Arrow::at(peak.hz * time));
            *at += time;
            *count += 1.0;
        }
        let (mut whole, mut points) = (Arrow::default(), 0.0);
        for (sum, _, count) in &parts {
            whole.add(*sum);
            points += count;
        }
        let least = (LEAST_POWER * points).sqrt().max(points * LEAST_SHARE.max(peak.share / 2.0));
        if whole.power().sqrt() < least {
            return None;
        }
        let mut phase = None;
        let points = parts.iter().filter(|(_, _, count)| *count > 0.0).map(|(sum, at, count)| {
            let turns = sum.turns();
            let unwrapped = phase.map_or(turns, |before: f64| turns + (before - turns).round());
            phase = Some(unwrapped);
            (at / count, unwrapped)
        });
        let fit = line(points)?;
        // The points' phase rises as they fall behind the frequency that was tried.
        Some(Fit { slope: peak.hz - fit.slope, uncertainty: fit.uncertainty })
    }
}

/// The slope of points over a time, by the means of its parts.
pub(super) fn fit(points: impl Iterator<Item = (f64, f64)>, span_s: f64) -> Fit {
    let mut parts = [(0.0, 0.0, 0.0); PARTS];
    for (time, value) in points {
        let part = (time / span_s * PARTS as f64) as usize;
        let (at, sum, count) = &mut parts[part.min(PARTS - 1)];
        *at += time;
        *sum += value;
        *count += 1.0;
    }
    let means =
        parts.into_iter().filter(|(_, _, count)| *count > 0.0).map(|(at, sum, count)| (at / count, sum / count));
    line(means).unwrap_or(Fit { slope: 0.0, uncertainty: f64::INFINITY })
}

/// Least squares through at most [`PARTS`] points; `None` for fewer than four.
fn line(points: impl Iterator<Item = (f64, f64)>) -> Option<Fit> {
    let mut kept = [(0.0, 0.0); PARTS];
    let mut n = 0;
    for (slot, point) in kept.iter_mut().zip(points) {
        *slot = point;
        n += 1;
    }
    let kept = &kept[..n];
    if n < 4 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| kept.iter().map(of).sum::<f64>() / n as f64;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let squares: f64 = kept.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = kept.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / squares;
    let left = |p: &(f64, f64)| p.1 - y - slope * (p.0 - x);
    let rest: f64 = kept.iter().map(|p| left(p).powi(2)).sum();
    // What is left is no noise where neighbours are alike (a floor that stepped): then there are fewer points than it seems.
    let neighbours: f64 = kept.windows(2).map(|two| left(&two[0]) * left(&two[1])).sum();
    let alike = if rest > 0.0 { (neighbours / rest).clamp(0.0, MOST_ALIKE) } else { 0.0 };
    // Fewer parts have a wider t; nearly twice as wide covers four.
    let student = STUDENT * if n < 8 { 1.9 } else { 1.0 };
    let widened = student * ((1.0 + alike) / (1.0 - alike)).sqrt();
    Some(Fit { slope, uncertainty: widened * (rest / (n - 2) as f64 / squares).sqrt() })
}
