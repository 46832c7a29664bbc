//! Between which of the packets that wait is something missing? Arrival times and sound together.
//!
//! Problem: where delays come near a period, a loss looks like one before a packet that was late by itself, a burst behind such a
//! packet looks like two losses, and of a backlog nothing says which of its packets is lacking. The sound over each border often
//! does, but never how many are missing.
//!
//! Idea: what waits are rows, each so far above the level as if nothing was lost. How many were lost before a row only grows from one
//! row to the next, and is never more than the whole periods that the row is above the level. Each such way has a probability: of
//! its losses, of the delays that are left, and of what each border sounds like. Summed up over all ways (forward, and backward),
//! that gives the probability of each place for the first loss. Below [`SURE`] nothing is said, and arrivals alone decide.

use crate::engine::number::tuning::holes::{KEPT, MOST, RISES, SPEAKS, STALL, SURE};
use crate::time::Span;

/// Rows that are looked at: a backlog of 170 ms, longer than most stalls (20 to 150 ms: clock notes, section 2).
pub(in crate::engine) const ROWS: usize = 16;

/// What waits: a packet of a free board, or one of each microphone of a board.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Row {
    /// Above the level, as if nothing was lost.
    pub above: Span,
    /// It came right behind the one before, which held it up.
    pub in_burst: bool,
    /// The natural logarithm of how much likelier it sounds if it follows the one before; `None` where that says nothing.
    pub follows: Option<f64>,
}

/// What a path is like.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Path {
    pub period: Span,
    /// The mean delay above the level.
    pub jitter: Span,
    /// A residual that much below a period still counts as one.
    pub tolerance: Span,
}

/// A loss: before which row, and of how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) struct Hole {
    pub before: usize,
    pub periods: i64,
}

/// How a path loses rows, as far as that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Losses {
    rows: f64,
    gaps: f64,
    lost: f64,
}

impl Losses {
    /// Another row came.
    pub fn note_row(&mut self) {
        self.rows += 1.0;
        if self.rows > KEPT {
            *self = Losses { rows: self.rows / 2.0, gaps: self.gaps / 2.0, lost: self.lost / 2.0 };
        }
    }

    /// So many are missing before one.
    pub fn note_gap(&mut self, periods: i64) {
        self.gaps += 1.0;
        self.lost += periods as f64;
    }

    /// That something is missing before a row. While nothing is known: 1 in 100 000.
    fn first(&self) -> f64 {
        ((self.gaps + 0.01) / (self.rows + 1_000.0)).clamp(1e-6, 0.5)
    }

    /// That behind one that is missing the next is, too.
    fn further(&self) -> f64 {
        let seen = (self.lost - self.gaps + 0.1) / (self.lost + 1.0);
        seen.clamp(self.first(), 0.95)
    }

    /// That just so many are missing before a row.
    fn of(&self, periods: usize) -> f64 {
        match periods {
            0 => 1.0 - self.first(),
            more => self.first() * self.further().powi(more as i32 - 1) * (1.0 - self.further()),
        }
    }
}

/// Where the first loss is, if the sound makes it known. `lost`: what arrivals say is missing before the first row, at least.
/// `known`: that something is missing is beyond doubt, only where is not.
pub(in crate::engine) fn find(rows: &[Row], path: &Path, losses: &Losses, lost: i64, known: bool) -> Option<Hole> {
    let rows = &rows[..rows.len().min(ROWS)];
    let period = path.period.as_nanos().max(1);
    // At most so many are missing before each row.
    let mut most = [0; ROWS];
    let mut least = i64::MAX;
    for (row, most) in rows.iter().zip(&mut most).rev() {
        least = least.min((row.above + path.tolerance).as_nanos().div_euclid(period));
        *most = usize::try_from(least).ok()?;
    }
    if rows.is_empty() || most[rows.len() - 1] > MOST || i64::try_from(most[0]) != Ok(lost) || lost < 1 {
        return None;
    }
    let all = Ways { rows, path, losses, most, known };
    let (hole, odds) = all.likeliest(true)?;
    (odds > SURE / (1.0 - SURE) && odds > SPEAKS * all.odds_of(hole, false)).then_some(hole)
}

/// All ways in which rows may have been lost.
struct Ways<'a> {
    rows: &'a [Row],
    path: &'a Path,
    losses: &'a Losses,
    /// At most so many are missing before each row.
    most: [usize; ROWS],
    known: bool,
}

impl Ways<'_> {
    /// How likely the delay is that a row has if so many are missing before it.
    fn delay(&self, row: &Row, missing: usize) -> f64 {
        let late = (row.above - self.path.period.mul_ratio(missing as i64, 1)).max(Span::ZERO);
        let mean = self.path.jitter.as_nanos().max(1) as f64;
        if row.in_burst { 1.0 } else { (-(late.as_nanos() as f64 / mean).min(STALL)).exp() }
    }

    /// How likely it is that so many are missing just before a row, by how it sounds if that is `heard`.
    fn step(&self, row: &Row, missing: usize, heard: bool) -> f64 {
        let broken = row.follows.filter(|_| heard && missing > 0).map_or(1.0, |follows| (-follows).exp());
        self.losses.of(missing) * broken
    }

    /// Calls `each` with every place and size of the first loss, and how likely it is; how likely it is that nothing was lost.
    fn weigh(&self, heard: bool, mut each: impl FnMut(Hole, f64)) -> f64 {
        let (rows, most) = (self.rows, &self.most);
        // What the rows behind each say, by how many are missing before it.
        let mut behind = [[1.0; MOST + 1]; ROWS + 1];
        for at in (1..rows.len()).rev() {
            for before in 0..=most[at - 1] {
                let ways = (before..=most[at]).map(|missing| {
                    let step = self.step(&rows[at], missing - before, heard);
                    step * self.delay(&rows[at], missing) * behind[at + 1][missing]
                });
                behind[at][before] = ways.sum();
            }
        }
        let mut nothing_before = 1.0;
        for (before, row) in rows.iter().enumerate() {
            for (missing, behind) in behind[before + 1].iter().enumerate().take(most[before] + 1).skip(1) {
                let here = self.step(row, missing, heard) * self.delay(row, missing);
                each(Hole { before, periods: missing as i64 }, nothing_before * here * behind);
            }
            nothing_before *= self.step(row, 0, heard) * self.delay(row, 0);
        }
        let risen: f64 = rows.iter().map(|row| self.delay(row, most[0])).product();
        if self.known { 0.0 } else { nothing_before.max((-RISES).exp() * risen) }
    }

    /// The likeliest first loss, and its odds.
    fn likeliest(&self, heard: bool) -> Option<(Hole, f64)> {
        let (mut all, mut best) = (0.0, None::<(Hole, f64)>);
        let nothing = self.weigh(heard, |hole, weight| {
            all += weight;
            if best.is_none_or(|(_, most)| weight > most) {
                best = Some((hole, weight));
            }
        });
        best.map(|(hole, weight)| (hole, weight / (all + nothing - weight)))
    }

    fn odds_of(&self, hole: Hole, heard: bool) -> f64 {
        let (mut others, mut own) = (0.0, 0.0);
        let nothing =
            self.weigh(heard, |other, weight| *(if other == hole { &mut own } else { &mut others }) += weight);
        own / (others + nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Span = Span::from_nanos(10_666_667);
    const EXP5: Path = Path { period: P, jitter: Span::from_millis(5), tolerance: Span::from_micros(150) };

    /// Rows at these parts of a period (in hundredths) above the level, spaced, and what the border before each sounds like.
    fn rows(of: &[(i64, Option<f64>)]) -> Vec<Row> {
        let row = |&(above, follows)| Row { above: P.mul_ratio(above, 100), in_burst: false, follows };
        of.iter().map(row).collect()
    }

    fn losses(rows: u32, gaps: u32, periods: i64) -> Losses {
        let mut losses = Losses::default();
        (0..rows).for_each(|_| losses.note_row());
        (0..gaps).for_each(|_| losses.note_gap(periods));
        losses
    }

    fn hole(before: usize, periods: i64) -> Option<Hole> {
        Some(Hole { before, periods })
    }

    #[test]
    fn a_loss_behind_a_packet_that_was_late_by_itself_is_put_behind_it_where_the_sound_says_so() {
        let losses = losses(10_000, 1_000, 1);
        let with = |first, second| {
            let waits = rows(&[(130, first), (110, second), (150, Some(1.0)), (105, Some(1.0)), (120, Some(1.0))]);
            find(&waits, &EXP5, &losses, 1, true)
        };
        assert_eq!(with(Some(1.5), Some(-9.0)), hole(1, 1));
        assert_eq!(with(Some(-9.0), Some(1.5)), hole(0, 1), "where arrivals put it");
        assert_eq!(with(Some(1.0), Some(-3.0)), None, "4 against 2.1 that one is late by a period: not 99 of 100");
        assert_eq!(with(None, None), None);
        assert_eq!(with(Some(-9.0), Some(-9.0)), None, "both sound broken, and one is missing");
    }

    #[test]
    fn a_burst_behind_a_late_packet_is_one_hole_where_losses_come_in_bursts_and_the_packet_sounds_joined() {
        // One late by 1.2 periods, then four missing.
        let with = |first, losses: &Losses| {
            let waits = rows(&[(120, first), (430, Some(-8.0)), (410, Some(1.0)), (450, Some(1.0))]);
            find(&waits, &EXP5, losses, 1, true)
        };
        let (bursts, singles) = (losses(10_000, 20, 5), losses(10_000, 1_000, 1));
        assert_eq!(with(Some(1.5), &bursts), hole(1, 4));
        assert_eq!(with(Some(-12.0), &bursts), hole(0, 1));
        assert_eq!(with(Some(1.5), &singles), None);
        assert_eq!(with(None, &bursts), None, "without evidence nothing changes");
    }

    #[test]
    fn of_a_backlog_the_sound_says_which_packet_is_lacking() {
        let losses = losses(10_000, 100, 1);
        let mut waits =
            rows(&[(800, Some(1.0)), (700, Some(1.0)), (600, Some(-7.0)), (500, Some(1.0)), (400, Some(0.5))]);
        waits.iter_mut().skip(1).for_each(|row| row.in_burst = true);
        waits.extend(rows(&[(101, Some(1.0)), (102, Some(1.0)), (101, None)]));
        let path = Path { jitter: Span::from_micros(300), ..EXP5 };
        assert_eq!(find(&waits, &path, &losses, 1, true), hole(2, 1));
        waits[1].follows = Some(-7.0);
        assert_eq!(find(&waits, &path, &losses, 1, true), None);
    }

    #[test]
    fn whether_anything_was_lost_takes_sound_and_a_path_that_loses() {
        let with = |follows, losses: &Losses| {
            let waits = rows(&[(130, follows), (110, Some(1.0)), (150, Some(1.0)), (105, Some(1.0))]);
            find(&waits, &EXP5, losses, 1, false)
        };
        let lossy = losses(10_000, 50, 2);
        assert_eq!(with(Some(-6.0), &lossy), hole(0, 1));
        assert_eq!(with(Some(1.0), &lossy), None);
        assert_eq!(with(None, &lossy), None);
        assert_eq!(with(Some(-6.0), &Losses::default()), None, "the first loss of all has to be proved");
        assert_eq!(with(Some(-12.0), &losses(10_000, 1, 1)), hole(0, 1));
    }
}
