//! Samples a second of one microphone, counted apart from any clock model.
//!
//! Problem: what came in a second is the rate less the losses. A clock model cannot be asked which of the two a shortfall is: it may have
//! locked on a wrong rate, and then takes the difference for losses.
//!
//! Idea: packets of one size leave at one spacing, so arrivals folded by that spacing pile up, whatever was lost between them; folded by
//! another they spread. The count of the last ten seconds says where to look: the rate is at least that, and so much more as was
//! lost. The slowest rate at which the arrivals pile up is the answer. Its phase, second by second, says how well it is known; and since a
//! path may grow longer all the while (that cannot be seen from one side), an allowance for that comes on top.
//!
//! Where packets carry numbers all this is not needed: what passed, lost or not, is known, and its count is the rate.
//!
//! The work is cut in slices of some ten microseconds, one a packet. See [`Fold`] for the folding itself.

use crate::engine::health::tuning::rates::{
    COUNT_AHEAD, EVERY, FEWEST, MOST_LOST, OF_ONE_SIZE, PATH_MOST_S, PATH_SLOPE, SHORTEST, TOGETHER,
};
use crate::engine::tuning::SILENCE;
use std::collections::VecDeque;

use super::fold::{Fit, Fold, fit};
use crate::engine::figures::Known;
use crate::engine::figures::window::WINDOW;
use crate::time::{MonoTime, Span};

const MOST_KEPT: usize = (WINDOW.as_nanos() / TOGETHER.as_nanos()) as usize + 1;
/// Room for the usual rate, so that the steady state does not allocate: 93.75 packets a second for the window, and until the next look.
const USUAL: usize = 1280;

/// How fast a microphone samples, as its packets' arrivals tell.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    pub hz: f64,
    /// Half-width of the 95 % interval.
    pub uncertainty_hz: f64,
    /// Samples that came, by the time that they came in: less than `hz` by what was lost.
    pub received_hz: f64,
    pub span: Span,
}

/// Some datagrams that came together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub at: MonoTime,
    pub samples: u32,
    /// Samples that the sender's positions went on by: those that were lost are among them. The same as `samples` where nothing says so.
    pub passed: u32,
}

/// What the count alone says.
#[derive(Clone, Copy, Debug)]
struct Count {
    rate: Fit,
    received_hz: f64,
    span_s: f64,
}

/// What is being looked at; arrivals are not dropped meanwhile.
#[derive(Clone, Copy, Debug)]
struct Look {
    arrivals: usize,
    count: Count,
    /// Samples of the packets that are folded.
    size: u32,
}

/// The mean of looks that do not overlap.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    hz_s: f64,
    spread_hz_s_squared: f64,
    span_s: f64,
    taken: Option<MonoTime>,
}

/// See the top of the file.
#[derive(Debug)]
pub struct RateMeter {
    arrivals: VecDeque<Came>,
    /// Nothing is kept of what comes before.
    settled: MonoTime,
    /// When to look; of a look that is under way, always.
    due: Option<MonoTime>,
    /// Of all that came: the first, the last, and the samples after the first.
    first: Option<MonoTime>,
    last: MonoTime,
    samples: u64,
    /// Packets carry numbers.
    known: bool,
    /// Apart: most packets touch nothing of it.
    looks: Box<Looks>,
}

/// What was found, and is being looked at.
#[derive(Debug)]
struct Looks {
    nominal_hz: f64,
    present: Option<Look>,
    fold: Fold,
    window: Known<Rate>,
    mean: Mean,
    count: u64,
}

const TOO_EARLY: &str = "not heard for long enough yet";

impl RateMeter {
    pub fn new(nominal_hz: u32) -> RateMeter {
        let looks = Looks {
            nominal_hz: f64::from(nominal_hz),
            present: None,
            fold: Fold::default(),
            window: Err(TOO_EARLY),
            mean: Mean::default(),
            count: 0,
        };
        RateMeter {
            arrivals: VecDeque::with_capacity(USUAL),
            settled: MonoTime::from_nanos(i64::MIN),
            due: None,
            first: None,
            last: MonoTime::from_nanos(0),
            samples: 0,
            known: false,
            looks: Box::new(looks),
        }
    }

    /// Another board: nothing of the old one counts.
    pub fn restart(&mut self) {
        self.arrivals.clear();
        self.settled = MonoTime::from_nanos(i64::MIN);
        (self.due, self.first, self.samples) = (None, None, 0);
        self.known = false;
        let looks = &mut *self.looks;
        (looks.present, looks.window, looks.mean) = (None, Err(TOO_EARLY), Mean::default());
    }

    /// An accepted datagram; `passed`: the samples that the sender's positions went on by, where its number says so. True when a look
    /// was finished with it.
    pub fn on_packet(&mut self, at: MonoTime, samples: u32, passed: Option<u32>) -> bool {
        self.known = passed.is_some();
        let passed = passed.unwrap_or(samples);
        if self.first.is_none() {
            (self.first, self.last) = (Some(at), at);
            self.due = Some(at + SHORTEST);
        } else {
            self.samples += u64::from(samples);
        }
        if at - self.last > SILENCE {
            self.arrivals.clear();
            self.looks.present = None;
            self.settled = at + SILENCE;
        }
        self.last = self.last.max(at);
        if at >= self.settled {
            match self.arrivals.back_mut() {
                Some(newest) if at - newest.at < TOGETHER => {
                    newest.samples += samples;
                    newest.passed = newest.passed.saturating_add(passed);
                }
                _ => self.keep(Came { at, samples, passed }),
            }
        }
        self.step(at)
    }

    /// Of the last ten seconds.
    pub fn window(&self) -> Known<Rate> {
        self.looks.window
    }

    /// Since the first packet of this sender.
    pub fn since_start(&self) -> Known<Rate> {
        let Mean { hz_s, spread_hz_s_squared, span_s, taken } = self.looks.mean;
        if taken.is_none() {
            return self.window();
        }
        let hz = hz_s / span_s;
        let passed_s = (self.last - self.first.unwrap_or(self.last)).as_secs_f64();
        Ok(Rate {
            hz,
            uncertainty_hz: spread_hz_s_squared.sqrt() / span_s + hz * path_allowance(span_s),
            received_hz: self.samples as f64 / passed_s,
            span: Span::from_secs_f64(passed_s),
        })
    }

    /// How often it was looked.
    pub fn looks(&self) -> u64 {
        self.looks.count
    }

    fn keep(&mut self, arrival: Came) {
        if self.arrivals.len() == MOST_KEPT && self.looks.present.is_none() {
            self.drop_old(arrival.at);
        }
        if self.arrivals.len() < MOST_KEPT {
            self.arrivals.push_back(arrival);
        }
    }

    fn drop_old(&mut self, newest: MonoTime) {
        while self.arrivals.front().is_some_and(|oldest| newest - oldest.at > WINDOW) {
            self.arrivals.pop_front();
        }
    }

    /// One slice of work, where there is any.
    fn step(&mut self, now: MonoTime) -> bool {
        // A look begins when it is due, and is the next only once it has ended.
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let found = match self.looks.present {
            Some(look) => {
                let arrivals = self.arrivals.range(..look.arrivals);
                match self.looks.fold.step(arrivals, look.size) {
                    None => return false,
                    Some(folded) => self.judge(&look, folded),
                }
            }
            None => match self.begin() {
                Some(early) => early,
                None => return false,
            },
        };
        self.looks.present = None;
        self.due = Some(now + EVERY);
        self.looks.count += 1;
        self.looks.window = found;
        self.remember(now);
        true
    }

    /// Counts, and where to look; the answer, where that is all.
    fn begin(&mut self) -> Option<Known<Rate>> {
        self.drop_old(self.arrivals.back()?.at);
        let (first, last) = (self.arrivals.front()?, self.arrivals.back()?);
        // The newest may still grow.
        let arrivals = self.arrivals.len() - 1;
        let span = last.at - first.at;
        if span < SHORTEST || arrivals < FEWEST {
            return Some(Err(TOO_EARLY));
        }
        let count = self.count(arrivals, first.at, span);
        let (size, share) = usual_size(self.arrivals.range(..arrivals));
        let look = Look { arrivals, count, size };
        if self.known || share < OF_ONE_SIZE {
            return Some(self.judge(&look, None));
        }
        let lowest = count.received_hz.min(count.rate.slope) * (1.0 - COUNT_AHEAD) / f64::from(size);
        let highest = count.received_hz.max(count.rate.slope) / (1.0 - MOST_LOST) / f64::from(size);
        self.looks.fold.begin(first.at, span, lowest..highest);
        self.looks.present = Some(look);
        None
    }

    fn count(&self, arrivals: usize, from: MonoTime, span: Span) -> Count {
        let span_s = span.as_secs_f64();
        let total: u64 = self.arrivals.range(..arrivals).map(|arrival| u64::from(arrival.samples)).sum();
        let received_hz = total as f64 / span_s;
        let passed: u64 = self.arrivals.range(..arrivals).map(|arrival| u64::from(arrival.passed)).sum();
        let passed_hz = passed as f64 / span_s;
        let mut before = 0.0;
        // Around the mean rate, so that the numbers stay small.
        let points = self.arrivals.range(..arrivals).map(|arrival| {
            let at = (arrival.at - from).as_secs_f64();
            let point = (at, before - passed_hz * at);
            before += f64::from(arrival.passed);
            point
        });
        let around = fit(points, span_s);
        Count { rate: Fit { slope: passed_hz + around.slope, ..around }, received_hz, span_s }
    }

    /// The rate: of the folding where that found one, else of the count where nothing can be missing in it.
    fn judge(&self, look: &Look, folded: Option<Fit>) -> Known<Rate> {
        let Count { rate, received_hz, span_s } = look.count;
        let size = f64::from(look.size);
        let of_phase = folded.map(|fit| (fit.slope * size, fit.uncertainty * size));
        // A count below the nominal rate may be a slower clock or losses; one above is at least so much, and may have losses too.
        let expected = self.known || rate.slope + rate.uncertainty > self.looks.nominal_hz * (1.0 - PATH_SLOPE);
        let above = !self.known && rate.slope - rate.uncertainty > self.looks.nominal_hz * (1.0 + PATH_SLOPE);
        let hidden = if above { rate.slope * MOST_LOST / (1.0 - MOST_LOST) } else { 0.0 };
        let of_count = expected.then_some((rate.slope, rate.uncertainty + hidden));
        let (hz, spread) = of_phase.or(of_count).ok_or(
            "the arrivals do not tell a slower clock from losses: sizes vary, or the jitter is longer than a packet",
        )?;
        let uncertainty_hz = spread + hz * path_allowance(span_s);
        Ok(Rate { hz, uncertainty_hz, received_hz, span: Span::from_secs_f64(span_s) })
    }

    fn remember(&mut self, now: MonoTime) {
        let Ok(rate) = self.window() else { return };
        let mean = &mut self.looks.mean;
        if mean.taken.is_some_and(|taken| now - taken < WINDOW) || rate.span < WINDOW - SILENCE {
            return;
        }
        let span_s = rate.span.as_secs_f64();
        let spread = rate.uncertainty_hz - rate.hz * path_allowance(span_s);
        mean.taken = Some(now);
        mean.hz_s += rate.hz * span_s;
        mean.spread_hz_s_squared += (spread * span_s).powi(2);
        mean.span_s += span_s;
    }
}

/// What a path that grows longer may add to a rate over so long a time.
fn path_allowance(span_s: f64) -> f64 {
    (PATH_SLOPE * span_s).min(PATH_MOST_S) / span_s
}

/// The most common size, and its share. Of more than a few sizes, the later ones are not told apart.
fn usual_size<'a>(arrivals: impl Iterator<Item = &'a Came>) -> (u32, f64) {
    let mut seen = [(0_u32, 0_u32); 8];
    let mut all = 0;
    for arrival in arrivals {
        all += 1;
        if let Some((size, count)) = seen.iter_mut().find(|(size, count)| *size == arrival.samples || *count == 0) {
            (*size, *count) = (arrival.samples, *count + 1);
        }
    }
    let (size, count) = seen.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
    (size, f64::from(count) / f64::from(all.max(1)))
}
