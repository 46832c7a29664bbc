//! One microphone's clock, from nothing but when its packets arrived.
//!
//! A packet carries no timestamp. Its position on the microphone's own axis says when its samples were taken by that
//! microphone's clock; the kernel says when it arrived. Between the two lie the difference of the clocks' rates, which is
//! wanted, and a delay, which changes from packet to packet, is never negative, and has a floor that usually stands still
//! and sometimes does not (load ramps, standing queues, another path).
//!
//! The idea: the least delayed packets touch a line, the lower envelope of arrivals, whose slope is the rate. The lowest
//! arrival of each second ([`minima`]) goes into a lower hull ([`hull`]); its middle edge over several spans is believed
//! where the arrivals stay in contact with it all along ([`fit`]). Where they do not, rate and path cannot be told apart,
//! and the rate is [`Unknown`]; where they do, [`rate`] says how sure it is, also for a crystal that wanders ([`wander`]).
//! Lines that are not sharp are told and not followed; those of the first minute come from shorter stretches than seconds.
//! A constant path delay cannot be seen at all: rates are absolute, offsets are not.

mod fit;
mod hull;
mod minima;
mod rate;
pub(super) mod sent;
mod tuning;
mod wander;

pub use rate::{RateEstimate, Unknown};

use crate::engine::clock::tuning::clock::{
    FIRST_RISE_PPM, FIRST_SLEW_PPM, GIVE_UP, LONG_ENOUGH_S, LOWERED, MAX_RISE_US, MAX_SLEW_PPM, PHASE_SPAN_S,
    RISE_BLUR_US, RISE_PPM, SLEW_OVER_S,
};
use crate::time::{FramePos, MonoTime, Span};
use fit::{Fitter, Prior, Rejected};
use hull::Line;
use minima::{Minima, Residual};
use rate::Lines;
use wander::Wander;

/// A line on the axis of sample time (nanoseconds) and arrival minus sample time (nanoseconds).
#[derive(Clone, Copy, Debug)]
struct Envelope {
    x: i64,
    y: i64,
    slope: f64,
}

impl Envelope {
    fn at(self, x: i64) -> i64 {
        // Half away from zero, as `round` has it, which is a call on x86-64 without SSE4.1: 3 % of a flood.
        let dy = self.slope * (x - self.x) as f64;
        self.y + (dy + 0.5_f64.copysign(dy)) as i64
    }
    fn moved_to(self, x: i64) -> Envelope {
        Envelope { x, y: self.at(x), slope: self.slope }
    }
}

/// The floor as it was believed at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Frozen(Envelope);

/// Who sends after an offset was lost; the later, the less of what was known holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Again {
    /// The same board: a crystal keeps its rate.
    #[default]
    TheSame,
    /// The same address from another port: a board that restarted, or another one behind one address. The rate is told until what
    /// comes says another.
    AnotherPort,
    /// Another address is another board: nothing that was known holds for it.
    AnotherBoard,
}

/// The floor that was believed anew stands above earlier arrivals.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    pub by: Span,
    /// How far that may be off.
    pub blur: Span,
}

/// Arrivals of one microphone -> the floor of its arrival times, and its rate.
///
/// Memory is fixed (about 40 KB). A packet costs a comparison; once a second, a packet costs the fits.
#[derive(Clone, Debug)]
pub struct ClockModel {
    sample_rate_hz: u32,
    /// The lower envelope as it is believed now: raised only by a fit, lowered by any packet below it.
    floor: Option<Envelope>,
    minima: Minima,
    /// Where the present offset began.
    beginning: Option<i64>,
    /// Apart: most packets touch next to nothing of it.
    rest: Box<Rest>,
}

/// What is known, and found once a second.
#[derive(Clone, Debug)]
struct Rest {
    /// The newest accepted lines, and when they were; kept on hold.
    known: Option<(Lines, MonoTime)>,
    /// The minima of the first minute of the present offset.
    early: Minima,
    fitter: Fitter,
    wander: Wander,
    /// The floor as the newest accepted lines had it.
    accepted: Option<Envelope>,
    /// The floor, slewed: never steps.
    phase: Option<Envelope>,
    /// What is told while nothing is known: lines that are not sharp, or that were known before.
    told: Option<Lines>,
    /// Found with the newest lines, if nothing was known before them.
    risen: Option<Rise>,
    /// Where the last second ended, on the axis of sample time.
    refitted: i64,
    /// Why there are no lines now; what is known, if anything is, is on hold.
    rejected: Option<Rejected>,
}

impl ClockModel {
    pub fn new(sample_rate_hz: u32) -> ClockModel {
        let rest = Rest {
            known: None,
            early: Minima::early(),
            fitter: Fitter::new(),
            wander: Wander::new(),
            accepted: None,
            phase: None,
            told: None,
            risen: None,
            refitted: 0,
            rejected: Some(Rejected::TooShort),
        };
        ClockModel { sample_rate_hz, floor: None, minima: Minima::new(), beginning: None, rest: Box::new(rest) }
    }

    /// A committed packet: `pos` is the end of its last sample on the stream's own axis, `at` its arrival. Amortised O(1).
    pub fn observe(&mut self, pos: FramePos, at: MonoTime) {
        let x = self.sample_time(pos);
        let arrival = Residual { x, y: at.as_nanos() - x, at };
        self.lower_to(arrival);
        self.beginning.get_or_insert(x);
        if self.rest.known.is_none() {
            self.rest.early.push_early(arrival, self.slope());
        }
        if self.minima.push(arrival, self.slope()) {
            self.refit(x, at);
        }
    }

    /// The lower envelope's arrival time for `pos`; `None` before a first observation.
    pub fn floor_at(&self, pos: FramePos) -> Option<MonoTime> {
        self.floor.map(|floor| self.arrival_on(floor, pos))
    }

    /// The same on the line for alignment: it follows the floor by at most 50 ppm and never steps. `None` within the first
    /// second of a new offset.
    pub fn phase_at(&self, pos: FramePos) -> Option<MonoTime> {
        self.rest.phase.map(|phase| self.arrival_on(phase, pos))
    }

    /// How far the floor can be off at `now`, at 95 %, but for what the path always takes. `None` until it is known.
    pub fn floor_95(&self, now: MonoTime) -> Option<Span> {
        let (lines, _) = self.rest.known.as_ref().filter(|_| self.rest.accepted.is_some())?;
        Some(Span::from_secs_f64(lines.floor_95(PHASE_SPAN_S, now) * 1e-6))
    }

    /// How much later than the floor a packet arrived; negative: earlier than was thought possible.
    pub fn residual(&self, pos: FramePos, at: MonoTime) -> Option<Span> {
        self.floor_at(pos).map(|floor| at - floor)
    }

    /// The floor as it is believed now, where the rate is known to `ppm` at least: only then does it hold for minutes.
    pub fn freeze(&self, ppm: f64) -> Option<Frozen> {
        self.sharp_rate().filter(|rate| rate.uncertainty_95.0 < ppm)?;
        self.floor.map(Frozen)
    }

    /// The residual against a floor of earlier.
    pub fn residual_on(&self, frozen: Frozen, pos: FramePos, at: MonoTime) -> Span {
        at - self.arrival_on(frozen.0, pos)
    }

    /// What was observed since `frozen` was numbered wrongly: floor and alignment go on from there.
    pub fn restore(&mut self, frozen: Frozen) {
        self.minima.clear();
        self.floor = Some(frozen.0);
        self.rest.accepted = Some(frozen.0);
        self.rest.phase = Some(frozen.0);
    }

    /// Everything observed at or after `since` really stood `frames` later: a late insertion. Negative: a false one is
    /// taken back.
    pub fn renumber(&mut self, since: MonoTime, frames: i64) {
        let by = Span::from_nanos(self.sample_time(FramePos(frames)));
        self.minima.renumber(since, by);
        self.rest.early.renumber(since, by);
        if frames < 0
            && let Some(floor) = self.floor
        {
            // Packets that were numbered too high seemed early and have pulled the floor down, by no more than this.
            let lift = |arrival: &Residual| arrival.y - floor.at(arrival.x);
            let lowest = self.minima.all().map(lift).min().unwrap_or(0);
            self.floor = Some(Envelope { y: floor.y + lowest.clamp(0, -by.as_nanos()), ..floor });
        }
    }

    /// Whether the lines that the last packet brought, the first ones or the first after 300 s, stand above earlier arrivals.
    pub fn take_rise(&mut self) -> Option<Rise> {
        self.rest.risen.take()
    }

    /// After a rise: it was no path that became longer. All that lies on the new lines really stood `frames` later.
    pub fn renumber_risen(&mut self, frames: i64) {
        let by = Span::from_nanos(self.sample_time(FramePos(frames)));
        let (lines, _) = self.rest.known.as_ref().expect("a rise is found with lines");
        let widest = lines.fits.last().expect("there are lines");
        self.minima.forget_before(lines.newest + Span::from_secs_f64(widest.first));
        self.minima.renumber(MonoTime::from_nanos(i64::MIN), by);
        for line in [&mut self.floor, &mut self.rest.accepted].into_iter().flatten() {
            line.y -= by.as_nanos();
        }
    }

    /// The offset is lost (reboot, long silence); what becomes of the rate depends on who sends.
    pub fn restart(&mut self, again: Again) {
        match again {
            Again::TheSame => {}
            Again::AnotherPort => {
                self.rest.told = self.rest.known.take().map(|(lines, _)| lines).or(self.rest.told.take())
            }
            Again::AnotherBoard => {
                (self.rest.known, self.rest.told) = (None, None);
                self.rest.wander = Wander::new();
                self.rest.rejected = Some(Rejected::TooShort);
            }
        }
        self.minima.clear();
        self.rest.early.begin_early();
        self.beginning = None;
        self.floor = None;
        self.rest.accepted = None;
        self.rest.phase = None;
    }

    /// Whether anything was heard of it.
    pub fn is_heard(&self) -> bool {
        self.floor.is_some() || self.lines().is_ok()
    }

    /// The mean rate over the widest span that is believed, however wide its interval. While the delay's floor moves, that of
    /// the last such span: `RateEstimate::until` says when it ended, `RateEstimate::at` what is left of it.
    pub fn rate(&self) -> Result<RateEstimate, Unknown> {
        self.lines().map(Lines::mean)
    }

    /// The same where it is known well enough to be followed.
    pub fn sharp_rate(&self) -> Option<RateEstimate> {
        self.rest.known.as_ref().map(|(lines, _)| lines.mean())
    }

    /// The rate at this moment. Unknown while the delay's floor moves.
    pub fn rate_now(&self) -> Result<RateEstimate, Unknown> {
        let (lines, _) =
            self.rest.known.as_ref().filter(|_| self.rest.rejected.is_none()).ok_or_else(|| self.reason())?;
        lines.now().map(|(rate, _)| rate).ok_or(Unknown::FloorMoves)
    }

    /// The mean rate of this clock minus that of `other`, over a stretch of time over which both are known. What the host's
    /// clock did in that time cancels.
    pub fn rate_against(&self, other: &ClockModel) -> Result<RateEstimate, Unknown> {
        Ok(self.lines()?.against(other.lines()?))
    }

    fn lines(&self) -> Result<&Lines, Unknown> {
        self.rest.known.as_ref().map(|(lines, _)| lines).or(self.rest.told.as_ref()).ok_or_else(|| self.reason())
    }

    /// Bent is what the first seconds often are by chance.
    fn reason(&self) -> Unknown {
        let heard = self.rest.early.is_full() || self.minima.newest_first().count() > LONG_ENOUGH_S;
        if self.rest.rejected == Some(Rejected::Bent) && heard { Unknown::FloorMoves } else { Unknown::TooShort }
    }

    /// Once a second: new lines under what is kept.
    fn refit(&mut self, x: i64, at: MonoTime) {
        let floor = self.floor.expect("an arrival was observed before a second ended").moved_to(x);
        let newest = *self.minima.newest_first().next().expect("a second has just ended");
        if self.rest.known.as_ref().is_some_and(|(_, when)| at - *when > GIVE_UP) {
            self.rest.told = self.rest.known.take().map(|(lines, _)| lines);
        }
        let beginning = *self.beginning.get_or_insert(x);
        let prior = self.rest.known.as_ref().map(|(lines, when)| Prior {
            slope: lines.fits.last().expect("there are lines").line.slope,
            floor: (floor.at(newest.x) - newest.y) as f64 * 1e-3,
            rise: MAX_RISE_US + RISE_PPM * (at - *when).as_secs_f64(),
        });
        self.rest.rejected = self.rest.fitter.fit(&self.minima, beginning, prior).err();
        let early = if self.rest.known.is_none() && self.rest.rejected.is_some() {
            self.tell(newest.at, beginning)
        } else {
            None
        };
        self.rest.wander.record(&self.rest.fitter.fits);
        self.rest.risen =
            if self.rest.known.is_none() && self.rest.rejected.is_none() { self.rise(newest) } else { None };
        let best = match self.rest.rejected {
            None => {
                let mut fits = self.rest.known.take().map_or_else(Vec::new, |(lines, _)| lines.fits);
                fits.clone_from(&self.rest.fitter.fits);
                let lines = Lines { fits, newest: newest.at, wander: self.rest.wander.per_second() };
                let best = lines.floor_line(PHASE_SPAN_S);
                self.rest.known = Some((lines, at));
                self.rest.told = None;
                Some(best)
            }
            Some(_) if self.rest.accepted.is_some() => None,
            Some(_) => self.rest.fitter.provisional,
        };
        let envelope = |line: Line| {
            Envelope { x: newest.x, y: newest.y + (line.at_zero * 1e3).round() as i64, slope: line.slope * 1e-6 }
                .moved_to(x)
        };
        let best = best.map(envelope);
        self.floor = Some(match (self.rest.rejected, self.rest.accepted) {
            (None, _) => {
                self.rest.accepted = best;
                best.expect("there are lines")
            }
            (Some(_), Some(accepted)) => self.on_hold(accepted.moved_to(x), at),
            // Whatever crystal it is, the floor climbs by so much at most.
            (Some(_), None) if early.is_some() => early.map_or(floor, |early| early.moved_to(x)),
            (Some(_), None) => {
                let highest = floor.y + (FIRST_RISE_PPM * 1e-6 * (x - self.rest.refitted) as f64) as i64;
                best.map_or(floor, |best| Envelope { y: best.y.min(highest), ..best })
            }
        });
        self.rest.refitted = x;
        self.lower_to(*self.minima.open().expect("the arrival that ended a second is in the next one"));
        self.slew(x);
    }

    /// While nothing is known: the line that tells most, though it may not be sharp. Returns that of the first minute, where
    /// nothing else would follow so steep a one.
    fn tell(&mut self, newest: MonoTime, beginning: i64) -> Option<Envelope> {
        let wide = self.rest.fitter.wide.map(|fit| (fit, newest));
        let early = self.rest.early.newest_first().next().copied().filter(|_| !self.rest.early.is_full());
        let early = early.and_then(|from| Some((self.rest.fitter.fit_early(&self.rest.early, beginning).ok()?, from)));
        let candidates = early.map(|(fit, from)| (fit, from.at)).into_iter().chain(wide);
        let best = candidates.min_by(|(a, _), (b, _)| a.deviation.total_cmp(&b.deviation));
        // So steep a line was a load ramp, if it ends before it was long enough to be known.
        self.rest.told =
            self.rest.told.take().filter(|told| !told.fits.iter().all(|fit| fit.is_steep() && best.is_none()));
        if let Some((fit, newest)) = best {
            let wander = self.rest.wander.per_second();
            let told = self.rest.told.get_or_insert_with(|| Lines { fits: Vec::with_capacity(1), newest, wander });
            if !told.says_more(&fit, newest) {
                told.fits.clear();
                told.fits.push(fit);
                (told.newest, told.wander) = (newest, wander);
            }
        }
        let (fit, from) = early.filter(|(fit, _)| fit.is_steep() && self.rest.accepted.is_none())?;
        let y = from.y + (fit.line.at_zero * 1e3).round() as i64;
        Some(Envelope { x: from.x, y, slope: fit.line.slope * 1e-6 })
    }

    /// How far the widest line stands above the lowest of what arrived before it was first touched.
    fn rise(&self, newest: Residual) -> Option<Rise> {
        let fit = self.rest.fitter.fits.last()?;
        let seconds = |arrival: &Residual| (arrival.x - newest.x) as f64 * 1e-9;
        let above = |arrival: &Residual| (arrival.y - newest.y) as f64 * 1e-3 - fit.line.at(seconds(arrival));
        let before = self.minima.newest_first().skip_while(|arrival| seconds(arrival) >= fit.first);
        let lowest = before.min_by(|a, b| above(a).total_cmp(&above(b)))?;
        let blur = RISE_BLUR_US + fit.half_width * (fit.first - seconds(lowest));
        let micros = |us: f64| Span::from_nanos((us * 1e3) as i64);
        Some(Rise { by: micros(-above(lowest)), blur: micros(blur) })
    }

    /// The floor as it was accepted, or the lowest that arrived lately, if that is lower. Once it is given up, its slope of long ago is
    /// no more than a shape, and lies under the lowest of all that is kept.
    fn on_hold(&self, accepted: Envelope, at: MonoTime) -> Envelope {
        let above = |arrival: &Residual| arrival.y - accepted.at(arrival.x);
        let lately = || self.minima.newest_first().take_while(|arrival| at - arrival.at < LOWERED).map(above).min();
        let kept = || self.minima.newest_first().map(above).min();
        let by = if self.rest.known.is_some() { lately().map(|lowest| lowest.min(0)) } else { kept() };
        Envelope { y: accepted.y + by.unwrap_or(0), ..accepted }
    }

    /// Nothing can arrive before the floor.
    fn lower_to(&mut self, arrival: Residual) {
        let slope = self.slope();
        let floor = self.floor.get_or_insert(Envelope { x: arrival.x, y: arrival.y, slope });
        floor.y += (arrival.y - floor.at(arrival.x)).min(0);
    }

    /// Turns the alignment line towards the floor for the second to come. On hold it goes straight on: what lowers the floor
    /// then may be packets that are numbered wrongly.
    fn slew(&mut self, x: i64) {
        let floor = self.floor.expect("a floor stands once a second has ended");
        let phase = self.rest.phase.unwrap_or(floor).moved_to(x);
        let on_hold = self.rest.accepted.is_some() && self.rest.rejected.is_some() && self.rest.known.is_some();
        let error_us = if on_hold { 0.0 } else { (floor.at(x) - phase.y) as f64 * 1e-3 };
        let most =
            if self.rest.known.is_some() || self.rest.accepted.is_some() { MAX_SLEW_PPM } else { FIRST_SLEW_PPM };
        let mend = (error_us / SLEW_OVER_S).clamp(-most, most);
        self.rest.phase = Some(Envelope { slope: floor.slope + mend * 1e-6, ..phase });
    }

    /// dy/dx as known now.
    fn slope(&self) -> f64 {
        match (&self.floor, self.lines()) {
            (Some(floor), _) => floor.slope,
            (None, Ok(lines)) => lines.fits.last().expect("there are lines").line.slope * 1e-6,
            (None, Err(_)) => 0.0,
        }
    }

    /// Nanoseconds of the microphone's own nominal time from frame 0 to `pos`.
    fn sample_time(&self, pos: FramePos) -> i64 {
        Span::of_frames(pos.0, self.sample_rate_hz).as_nanos()
    }

    fn arrival_on(&self, line: Envelope, pos: FramePos) -> MonoTime {
        let x = self.sample_time(pos);
        MonoTime::from_nanos(x + line.at(x))
    }
}

#[cfg(test)]
mod tests;
