//! One line under the arrivals of several spans, each believed only where the floor of the delay is seen to be straight.
//!
//! A load ramp or a standing queue lifts the floor for seconds or minutes, and a line over such a stretch takes the path for
//! the clock: 88 ppm off, seen in a 60 s hull. A wide span averages that away, but notices a rate step late. So: lines over
//! spans from 30 s to 480 s, each rejected unless enough of its seconds lie in contact with it, all along it; the widest
//! accepted is used, and only while it agrees with the shorter ones.

use super::hull::{Line, LowerHull, Point};
use super::minima::Minima;

/// In seconds. The last is all that [`Minima`] keeps.
pub const SPANS: [f64; 5] = [30.0, 60.0, 120.0, 240.0, 480.0];
/// No crystal is further off.
const MAX_PPM: f64 = 150.0;
/// How far from what is known a rate may lie without a new start.
const MAX_CHANGE_PPM: f64 = 10.0;
const MAX_HALF_WIDTH_PPM: f64 = 1.0;
/// Shortest stretch between first and last contact, and its share of spans over 30 s.
const MIN_EXTENT_S: f64 = 8.0;
const MIN_EXTENT_SHARE: f64 = 0.6;
/// Of the seconds of a span, and of its last [`RECENT_S`].
const MIN_CONTACT_SHARE: f64 = 0.3;
const RECENT_S: f64 = 20.0;
/// Seconds before the slope of a first line is better than none.
const PROVISIONAL_POINTS: usize = 4;
/// The stretch over which scatter is judged.
const SCATTER_S: f64 = 120.0;

/// A line under the arrivals of one span, in microseconds and parts per million, x = 0 at the newest minimum.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fit {
    /// Which of [`SPANS`].
    pub span: usize,
    pub line: Line,
    /// Half the width of the 95 % interval of the slope.
    pub half_width: f64,
    /// The stretch that the points cover, in seconds.
    pub seconds: f64,
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
    /// The slope, once known.
    pub slope: Option<f64>,
    /// Where the floor stands at x = 0, and how far above that a new line may start.
    pub floor: Option<(f64, f64)>,
}

/// Fits the spans. Keeps its scratch memory from second to second.
#[derive(Clone, Debug)]
pub struct Fitter {
    points: Vec<Point>,
    scratch: Vec<f64>,
    hull: LowerHull,
    /// Accepted lines, shortest span first; all agree.
    pub fits: Vec<Fit>,
    /// The line under the shortest span, good for an offset when there is nothing better: believed by nothing but its
    /// possible slope.
    pub provisional: Option<Line>,
}

impl Fitter {
    pub fn new() -> Fitter {
        let kept = super::minima::KEPT;
        Fitter {
            points: Vec::with_capacity(kept),
            scratch: Vec::with_capacity(kept),
            hull: LowerHull::default(),
            fits: Vec::with_capacity(SPANS.len()),
            provisional: None,
        }
    }

    /// Computes [`fits`](Fitter::fits) anew. `Err` when there is none.
    pub fn fit(&mut self, minima: &Minima, prior: Prior) -> Result<(), Rejected> {
        self.load(minima);
        self.fits.clear();
        self.hull.clear();
        let tolerance = 4.0 * self.scatter() + 5.0;
        let mut reason = Rejected::TooShort;
        let mut taken = 0;
        for (span, &length) in SPANS.iter().enumerate() {
            let end = self.points.partition_point(|point| point.x >= -length);
            if span > 0 && (end - taken) * 4 < taken {
                break;
            }
            for &point in &self.points[taken..end] {
                self.hull.push_left(point);
            }
            taken = end;
            if span == 0 {
                let possible = |line: &Line| line.slope.abs() <= MAX_PPM;
                self.provisional = self.hull.middle_edge().filter(possible).filter(|_| taken >= PROVISIONAL_POINTS);
            }
            match self.judge(span, taken, tolerance, prior) {
                Ok(fit) if self.fits.iter().all(|shorter| agree(*shorter, fit)) => self.fits.push(fit),
                Ok(_) => break,
                Err(why) => reason = why,
            }
        }
        if self.fits.is_empty() { Err(reason) } else { Ok(()) }
    }

    fn load(&mut self, minima: &Minima) {
        self.points.clear();
        let Some(newest) = minima.newest_first().next().copied() else { return };
        for arrival in minima.newest_first() {
            let point = Point { x: (arrival.x - newest.x) as f64 * 1e-9, y: (arrival.y - newest.y) as f64 * 1e-3 };
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

    fn judge(&self, span: usize, count: usize, tolerance: f64, prior: Prior) -> Result<Fit, Rejected> {
        let points = &self.points[..count];
        let line = self.hull.middle_edge().ok_or(Rejected::TooShort)?;
        let seconds = -points[count - 1].x;
        if seconds < MIN_EXTENT_S {
            return Err(Rejected::TooShort);
        }
        let known = prior.slope.is_none_or(|slope| (line.slope - slope).abs() <= MAX_CHANGE_PPM);
        if line.slope.abs() > MAX_PPM || !known {
            return Err(Rejected::Bent);
        }
        if prior.floor.is_some_and(|(floor, rise)| line.at_zero > floor + rise) {
            return Err(Rejected::Bent);
        }
        let above = |point: &Point| point.y - line.at(point.x);
        let in_contact = |point: &&Point| above(point) <= tolerance;
        let contacts = points.iter().filter(in_contact).count();
        let recent = &points[..points.partition_point(|point| point.x >= -RECENT_S)];
        let recent_contacts = recent.iter().filter(in_contact).count();
        let share = |part: usize, whole: usize| part as f64 >= MIN_CONTACT_SHARE * whole as f64;
        if !share(contacts, count) || !share(recent_contacts, recent.len()) {
            return Err(Rejected::Bent);
        }
        let (Some(last), Some(first)) = (points.iter().find(in_contact), points.iter().rfind(in_contact)) else {
            return Err(Rejected::Bent);
        };
        let extent = last.x - first.x;
        if extent < MIN_EXTENT_S || (span > 0 && extent < MIN_EXTENT_SHARE * seconds) {
            return Err(Rejected::Bent);
        }
        // Each third of the contact ends somewhere within its lowest points above the line.
        let third = |from: f64, to: f64| {
            let mut lowest = [f64::INFINITY; 4];
            for point in points.iter().filter(|point| point.x <= from && point.x >= to) {
                let mut height = above(point);
                for low in &mut lowest {
                    if height < *low {
                        std::mem::swap(low, &mut height);
                    }
                }
            }
            lowest.iter().sum::<f64>() / 4.0
        };
        let (a, b) = (last.x - extent / 3.0, last.x - extent * 2.0 / 3.0);
        let slack = third(last.x, a) + third(a, b) + third(b, first.x);
        let half_width = 2.0 * (slack + 0.3) / extent;
        if half_width > MAX_HALF_WIDTH_PPM {
            return Err(Rejected::Wide);
        }
        Ok(Fit { span, line, half_width, seconds })
    }
}

fn agree(a: Fit, b: Fit) -> bool {
    (a.line.slope - b.line.slope).abs() <= a.half_width + b.half_width
}
