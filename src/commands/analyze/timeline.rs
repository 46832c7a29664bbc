//! Timeline: what happened when, for the plots, in memory that does not grow.
//!
//! A fixed number of cells covers the recording; when it grows longer than they reach, neighbours are merged and each covers
//! twice the time. Delays are kept with the drift taken out, so that a cell of a minute shows the jitter in it and not what
//! the clock drifted meanwhile.

use crate::array::pairs;
use crate::time::{MonoTime, Span};

/// As many as a plot has pixels, more or less.
const CELLS: usize = 1024;

/// Smallest, largest and mean of some values, in microseconds or samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    pub min: f64,
    pub max: f64,
    sum: f64,
    pub count: u64,
}

impl Default for Range {
    fn default() -> Range {
        Range { min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, count: 0 }
    }
}

impl Range {
    fn add(&mut self, us: f64) {
        self.absorb(&Range { min: us, max: us, sum: us, count: 1 });
    }

    fn absorb(&mut self, other: &Range) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    fn shift(&mut self, us: f64) {
        self.min += us;
        self.max += us;
        self.sum += us * self.count as f64;
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// One stretch of time.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Arrival minus sample time, with the drift taken out; against an arbitrary zero.
    pub delay: Vec<Range>,
    /// Arrival skew of the pairs inside a cycle.
    pub skew: Vec<Range>,
    /// Where the first channel of a pair stands behind the second: the ends of what is known of it, in samples.
    pub aligned: Vec<Range>,
    /// Channels of emitted cycles that were filled, and that were not.
    pub filled: Vec<u64>,
    pub missing: Vec<u64>,
}

impl Cell {
    fn new(sources: usize) -> Cell {
        Cell {
            delay: vec![Range::default(); sources],
            skew: vec![Range::default(); pairs(sources).len()],
            aligned: vec![Range::default(); pairs(sources).len()],
            filled: vec![0; sources],
            missing: vec![0; sources],
        }
    }
}

/// See the top of the file.
#[derive(Debug)]
pub struct Timeline {
    start: MonoTime,
    width: Span,
    cells: Vec<Cell>,
    /// The drift taken out so far, ppm.
    tilt: Vec<f64>,
}

impl Timeline {
    /// `width`: of a cell, to begin with.
    pub fn new(sources: usize, start: MonoTime, width: Span) -> Timeline {
        Timeline { start, width, cells: Vec::with_capacity(CELLS), tilt: vec![0.0; sources] }
    }

    pub fn width(&self) -> Span {
        self.width
    }

    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// An arrival of `mic`, `us` after its sample time.
    pub fn delay(&mut self, mic: usize, at: MonoTime, us: f64) {
        let drift = self.tilt[mic] * (at - self.start).as_secs_f64();
        self.cell(at).delay[mic].add(us + drift);
    }

    pub fn skew(&mut self, pair: usize, at: MonoTime, us: f64) {
        self.cell(at).skew[pair].add(us);
    }

    /// An offset between channels, with half of its interval.
    pub fn aligned(&mut self, pair: usize, at: MonoTime, offset: f64, uncertainty: f64) {
        let range = &mut self.cell(at).aligned[pair];
        range.add(offset - uncertainty);
        range.add(offset + uncertainty);
    }

    pub fn channel(&mut self, mic: usize, at: MonoTime, filled: bool) {
        let cell = self.cell(at);
        if filled { cell.filled[mic] += 1 } else { cell.missing[mic] += 1 }
    }

    /// The clock of `mic` is now thought to be `ppm` fast: what was kept is tilted accordingly.
    pub fn set_drift(&mut self, mic: usize, ppm: f64) {
        let change = ppm - std::mem::replace(&mut self.tilt[mic], ppm);
        for (i, cell) in self.cells.iter_mut().enumerate() {
            cell.delay[mic].shift(change * (i as f64 + 0.5) * self.width.as_secs_f64());
        }
    }

    fn cell(&mut self, at: MonoTime) -> &mut Cell {
        let since = (at - self.start).as_nanos().max(0);
        while since / self.width.as_nanos() >= CELLS as i64 {
            self.merge_neighbours();
        }
        let index = (since / self.width.as_nanos()) as usize;
        if index >= self.cells.len() {
            self.cells.resize(index + 1, Cell::new(self.tilt.len()));
        }
        &mut self.cells[index]
    }

    fn merge_neighbours(&mut self) {
        let half = self.cells.len().div_ceil(2);
        for i in 0..half {
            let mut merged = self.cells[2 * i].clone();
            if let Some(second) = self.cells.get(2 * i + 1) {
                for mic in 0..self.tilt.len() {
                    merged.delay[mic].absorb(&second.delay[mic]);
                    merged.filled[mic] += second.filled[mic];
                    merged.missing[mic] += second.missing[mic];
                }
                for pair in 0..merged.skew.len() {
                    merged.skew[pair].absorb(&second.skew[pair]);
                    merged.aligned[pair].absorb(&second.aligned[pair]);
                }
            }
            self.cells[i] = merged;
        }
        self.cells.truncate(half);
        self.width = self.width + self.width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: MonoTime = MonoTime::from_nanos(7_000_000_000);

    #[test]
    fn a_day_fits_and_nothing_is_lost() {
        let mut timeline = Timeline::new(3, START, Span::from_millis(100));
        let seconds = 86_400;
        for s in 0..seconds {
            timeline.channel(1, START + Span::from_secs(s), s % 10 != 0);
            timeline.skew(0, START + Span::from_secs(s), s as f64);
        }
        let cells = timeline.cells();
        assert!(cells.len() <= CELLS && cells.len() > CELLS / 2, "{}", cells.len());
        assert_eq!(cells.iter().map(|c| c.missing[1]).sum::<u64>(), 8_640);
        assert_eq!(cells.iter().map(|c| c.filled[1]).sum::<u64>(), 77_760);
        let last = cells.last().unwrap().skew[0];
        assert_eq!(last.max, 86_399.0);
        // A cell of 102.4 s at the end of which is the last second.
        let width = timeline.width().as_secs_f64();
        let first = (86_399.0 / width).floor() * width;
        assert_eq!(last.min, first.ceil());
    }

    #[test]
    fn the_interval_of_an_alignment_is_as_wide_as_the_widest_of_its_cell() {
        let mut timeline = Timeline::new(3, START, Span::from_secs(1));
        timeline.aligned(2, START, 0.2, 0.5);
        timeline.aligned(2, START, 0.4, 0.1);
        let range = timeline.cells()[0].aligned[2];
        assert_eq!((range.min, range.max), (-0.3, 0.7));
        assert!((range.mean().unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(timeline.cells()[0].aligned[0].mean(), None);
    }

    /// A clock 20 ppm fast arrives 20 us earlier each second than its samples say: with that taken out nothing is left, whether it
    /// was known from the start or learnt later.
    #[test]
    fn drift_is_taken_out_of_delays() {
        for learnt_after in [0, 300] {
            let mut timeline = Timeline::new(3, START, Span::from_millis(1));
            for s in 0..600i64 {
                if s == learnt_after {
                    timeline.set_drift(2, 20.0);
                }
                timeline.delay(2, START + Span::from_secs(s), -20.0 * s as f64);
            }
            // Cells are less than a second wide here.
            for cell in timeline.cells().iter().filter(|cell| cell.delay[2].count > 0) {
                assert!(cell.delay[2].min.abs() < 20.0 && cell.delay[2].max.abs() < 20.0, "{:?}", cell.delay[2]);
            }
        }
    }
}
