//! Late or lost.
//!
//! Problem: packets carry no number. After a pause, were the missing ones delayed (and all that follows is numbered
//! rightly), or lost (and all that follows stands whole periods later)?
//!
//! Idea: number as if nothing was lost, and look at the residuals r = arrival - floor of the clock. Delay is only ever
//! added and is first in, first out: a backlog arrives in a burst, and its last packet is back near the floor. After a
//! loss, every packet stays a whole number of periods above it. So as soon as one r falls below a period, nothing was
//! lost; and when the lowest of several packets at their normal spacing lies on a whole period, so many were lost.
//! Where a queue stands, its level is the floor. What was lost just as it came or went shows once that is understood: what waited
//! is judged anew, and a path that comes down from a queue is looked at until it is known whether it came down all the way.

use crate::engine::number::tuning::JITTER;
use crate::engine::number::tuning::late::{
    BLOCK, INCREDIBLE, KNOWN_TO, LONGEST, RECENT, RISEN, SEVERAL, SHORT, SPACED, STANDS, STEPS, STEPS_WITHIN,
    TOLERANCE, UNLIKELY, UNNUMBERED,
};
use crate::time::{MonoTime, Span};

/// Decides for one stream of packets (of one board).
#[derive(Debug)]
pub struct LateOrLost {
    /// Mean residual of a cycle's first packet above the level of the last packets, slowly forgotten: the jitter.
    mean: Span,
    last_spaced: MonoTime,
    recent: [Span; RECENT],
    next: usize,
    /// The least of `recent`: where the floor is now, above the clock's.
    level: Span,
    doubt: Option<Doubt>,
    /// Since when the level has stood still, a period or more above the floor, and where.
    standing: Option<(MonoTime, Span)>,
    /// A level that the sound has shown to be a delay, however whole its periods.
    excused: Option<Span>,
    /// The newest lasting steps of the floor, and whether they were whole periods. Losses are; queues are not.
    steps: [Option<(MonoTime, bool)>; STEPS],
    next_step: usize,
    /// Of the newest packet.
    period: Span,
    /// How late all packets come in the mean, however short their period.
    lateness: Lateness,
    unnumbered: Option<Unnumbered>,
}

/// Why arrivals cannot number packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unnumbered {
    pub period: Span,
    /// The mean delay above the floor.
    pub jitter: Span,
}

/// How late packets come in the mean.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    mean: Span,
    /// The lowest of the last block, and of the present one, and when that began.
    before: Span,
    present: Span,
    began: MonoTime,
    newest: MonoTime,
    /// Since when the mean is too great for the period.
    excess: Option<MonoTime>,
}

impl Lateness {
    fn new() -> Lateness {
        let never = MonoTime::from_nanos(i64::MIN / 2);
        Lateness { mean: Span::ZERO, before: Span::MAX, present: Span::MAX, began: never, newest: never, excess: None }
    }

    /// A packet `r` above the clock's floor. The mean where it has been too great for too long.
    fn note(&mut self, r: Span, at: MonoTime, period: Span) -> Option<Span> {
        if at - self.began > BLOCK {
            (self.before, self.present, self.began) = (self.present, Span::MAX, at);
        }
        self.present = self.present.min(r);
        // In a burst each says what the first said; of a stall no packet says more than of a delay of two periods.
        if at - std::mem::replace(&mut self.newest, at) >= period.mul_ratio(1, 8) {
            let late = (r - self.present.min(self.before)).min(period.mul_ratio(2, 1));
            self.mean += (late - self.mean).mul_ratio(1, 128);
        }
        let (most, lasting) = UNNUMBERED;
        if self.mean <= period.mul_ratio(most, 8) {
            self.excess = None;
            return None;
        }
        (at - *self.excess.get_or_insert(at) > lasting).then_some(self.mean)
    }
}

/// A constant that holds for long periods, and of short ones this share.
pub(in crate::engine) fn at_most(constant: Span, period: Span, share: i64) -> Span {
    constant.min(period.mul_ratio(1, share))
}

/// A pause that is not yet understood.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: MonoTime,
    lowest: Span,
    /// The lowest of each of the last spaced cycles, newest first.
    cycles: [Span; SPACED.0 as usize],
    /// The newest packet, and the newest that was spaced.
    newest: MonoTime,
    last: MonoTime,
    spaced: u32,
    /// The silence was so long that phase says nothing: nearest whole number of periods.
    long: bool,
    /// It began inside a cycle, where a queue hardly ever does.
    inside: bool,
    fall: Fall,
}

impl Doubt {
    fn opened_by(r: Span, at: MonoTime) -> Doubt {
        Doubt {
            since: at,
            lowest: r,
            cycles: [r; SPACED.0 as usize],
            newest: at,
            last: at,
            spaced: 0,
            long: false,
            inside: false,
            fall: Fall::No,
        }
    }
}

/// Whether a path that takes longer comes back to its floor while it is in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fall {
    No,
    /// A burst brought packets back to where they were before: it may go on.
    Perhaps,
    /// With so many cycles behind the burst.
    Yes(u32),
}

impl Fall {
    /// After another packet: `falls` below the level that it had, or is `back` there. `None`: what brought packets back was a backlog, and
    /// is over.
    fn after(self, falls: bool, back: bool, in_burst: bool) -> Option<Fall> {
        match self {
            Fall::Yes(cycles) => Some(Fall::Yes(cycles + u32::from(!in_burst))),
            _ if falls => Some(Fall::Yes(0)),
            Fall::Perhaps if !back => None,
            _ if back && in_burst => Some(Fall::Perhaps),
            _ => Some(Fall::No),
        }
    }
}

/// What the packet just judged says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// No doubt: commit.
    Certain,
    /// In doubt; so is this packet.
    Doubtful,
    /// What was in doubt, and this packet, was delayed: nothing is inserted.
    Delayed,
    /// What was in doubt was delayed; this packet opens another doubt.
    DelayedBefore,
    /// The path takes longer from the packet on that opened the doubt: what waits is judged anew from there, for some of it may have
    /// been lost since.
    Risen,
    /// So many whole periods were lost before the packet that opened the doubt.
    Lost(i64),
}

impl Default for LateOrLost {
    fn default() -> LateOrLost {
        let never = MonoTime::from_nanos(i64::MIN / 2);
        LateOrLost {
            mean: Span::from_micros(100),
            last_spaced: never,
            recent: [Span::ZERO; RECENT],
            next: 0,
            level: Span::ZERO,
            doubt: None,
            standing: None,
            excused: None,
            steps: [None; STEPS],
            next_step: 0,
            period: Span::MAX,
            lateness: Lateness::new(),
            unnumbered: None,
        }
    }
}

impl LateOrLost {
    /// When the present doubt began.
    pub fn doubt_since(&self) -> Option<MonoTime> {
        self.doubt.map(|d| d.since)
    }

    /// The present doubt began inside a cycle of three streams.
    pub fn began_inside(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.inside = true;
        }
    }

    /// The present doubt follows a silence after which the clock's offset starts anew.
    pub fn doubt_is_long(&self) -> bool {
        self.doubt.is_some_and(|d| d.long)
    }

    /// Mean residual of spaced packets above the level of the last ones.
    pub fn jitter(&self) -> Span {
        self.mean
    }

    /// How far the floor has risen for now: a queue that stands. A little below zero where it has sunk and the clock does not know yet
    /// (the end of a load ramp): what is a period above it is so then too.
    pub fn base(&self) -> Span {
        let least = self.level().clamp(-self.period.mul_ratio(1, 8), Span::ZERO);
        (self.level() - at_most(RISEN, self.period, 4) - self.mean).max(least)
    }

    /// Why what is lost cannot be told, since it could not be for a while; another sender may be heard better.
    pub fn unnumbered(&self) -> Option<Unnumbered> {
        self.unnumbered
    }

    /// Another sender, or packets of another length.
    pub fn number_anew(&mut self) {
        (self.lateness, self.unnumbered) = (Lateness::new(), None);
    }

    /// Where the floor is now, above the clock's.
    pub fn level(&self) -> Span {
        self.level
    }

    /// As if the last packets had all been at `level`.
    fn set_level(&mut self, level: Span) {
        self.recent = [level; RECENT];
        self.level = level;
    }

    /// A packet, numbered as if nothing was lost, `r` above the clock's floor. `long`: after a silence that may be a
    /// reboot.
    pub fn judge(&mut self, r: Span, at: MonoTime, period: Span, long: bool) -> Judgement {
        self.period = period;
        if let Some(jitter) = self.lateness.note(r, at, period).filter(|_| period < SHORT) {
            self.unnumbered.get_or_insert(Unnumbered { period, jitter });
        }
        if self.unnumbered.is_some() {
            self.commit(r, at, period);
            return if self.doubt.is_some() { self.settle_delayed() } else { Judgement::Certain };
        }
        let base = self.base();
        let whole = r >= base + period - self.tolerance();
        let raised = base > period.mul_ratio(1, 2);
        // A queue's end: a loss shows there as a rest of whole periods.
        let falls = raised && r < base && r >= period - self.tolerance();
        let Some(doubt) = &mut self.doubt else {
            if !whole && !long && !falls {
                self.commit(r, at, period);
                return Judgement::Certain;
            }
            let fall = if falls { Fall::Yes(0) } else { Fall::No };
            self.doubt = Some(Doubt { long, fall, ..Doubt::opened_by(r, at) });
            return Judgement::Doubtful;
        };
        doubt.lowest = doubt.lowest.min(r);
        // A backlog may take longer than a period to arrive; it is a burst all the same.
        let in_burst = at - std::mem::replace(&mut doubt.newest, at) < period.mul_ratio(1, 8);
        if !in_burst && at - doubt.last > period.mul_ratio(1, 2) {
            doubt.spaced += 1;
            doubt.last = at;
            doubt.cycles.rotate_right(1);
            doubt.cycles[0] = r;
        }
        doubt.cycles[0] = doubt.cycles[0].min(r);
        let Some(fall) = doubt.fall.after(falls, raised && !whole, in_burst) else {
            self.doubt = whole.then(|| Doubt::opened_by(r, at));
            return if whole { Judgement::DelayedBefore } else { Judgement::Delayed };
        };
        doubt.fall = fall;
        if !whole && !doubt.long {
            if let Some(judgement) = self.judge_fall(at, period) {
                return judgement;
            }
            self.doubt = None;
            self.commit(r, at, period);
            return Judgement::Delayed;
        }
        let doubt = *doubt;
        if doubt.spaced < self.wanted(period) {
            return Judgement::Doubtful;
        }
        match self.best_guess(period) {
            // Below the level before: a path that comes down was held up on its way.
            Some(..=0) => self.settle_risen(),
            Some(lost) if doubt.long => {
                self.doubt = None;
                Judgement::Lost(lost)
            }
            Some(lost) => {
                let believed = doubt.inside && lost == 1 || self.believes_steps(at);
                self.note_step(at, true);
                if !believed {
                    return self.settle_risen();
                }
                self.doubt = None;
                Judgement::Lost(lost)
            }
            None if doubt.spaced >= 2 * most(period) => {
                self.note_step(at, false);
                self.settle_risen()
            }
            None => Judgement::Doubtful,
        }
    }

    /// A queue came to its end, in a burst: what comes behind that says whether something was lost in it. After a loss packets stay
    /// whole periods above the floor. `None`: nothing was, or the path does not come down.
    fn judge_fall(&mut self, at: MonoTime, period: Span) -> Option<Judgement> {
        let doubt = self.doubt?;
        let cycles = match doubt.fall {
            Fall::No => return None,
            Fall::Perhaps => return Some(Judgement::Doubtful),
            Fall::Yes(cycles) => cycles,
        };
        let lost = (doubt.lowest + self.tolerance()).as_nanos().div_euclid(period.as_nanos().max(1));
        let rest = doubt.lowest - period.mul_ratio(lost, 1);
        let near = at_most(KNOWN_TO, period, 16) + self.mean.mul_ratio(JITTER, i64::from(cycles.max(1)));
        if lost < 1 || cycles > 0 && rest > near || !self.believes_steps(at) {
            return None;
        }
        if cycles < SPACED.0 {
            return Some(Judgement::Doubtful);
        }
        self.note_step(at, true);
        self.doubt = None;
        Some(Judgement::Lost(lost))
    }

    /// Whole periods lost, as far as the doubt's packets say: `None` where their level is no whole number of periods.
    pub fn best_guess(&self, period: Span) -> Option<i64> {
        let doubt = self.doubt?;
        let (base, tolerance) = (self.base(), self.tolerance());
        let known_to = at_most(KNOWN_TO, period, 16);
        let period = period.as_nanos().max(1);
        let level = (doubt.lowest - base).as_nanos();
        if doubt.long {
            return Some(((level + period / 2) / period).max(0));
        }
        let near = |lowest: Span, floor: Span, blur: Span, cycles: i64| {
            let below = tolerance + blur;
            let rest = (lowest - floor + below).as_nanos().rem_euclid(period) - below.as_nanos();
            rest <= (self.mean.mul_ratio(JITTER, cycles) + known_to + blur).as_nanos()
        };
        // Where more was lost behind the first loss, its few packets may all be delayed: what follows speaks for both.
        let newest = *doubt.cycles.iter().min().expect("it has entries");
        let fits = |floor: Span, blur: Span| {
            near(doubt.lowest, floor, blur, i64::from(doubt.spaced + 1))
                || near(newest, floor, blur, doubt.cycles.len() as i64)
        };
        // Counted from the clock's floor, or from the level of the last packets, which is known to the jitter.
        let from_level = fits(self.level(), self.mean.mul_ratio(1, 2));
        if !from_level && !fits(Span::ZERO, Span::ZERO) {
            return None;
        }
        // So many are lost that a queue came down to the floor meanwhile; of fewer, a queue may have risen.
        let from = if !from_level && doubt.lowest > LONGEST { doubt.lowest.as_nanos() } else { level };
        Some((from + tolerance.as_nanos()).div_euclid(period))
    }

    /// Whether a loss is already more likely than as many delays in a row. A single burst says nothing: a stall may have
    /// begun behind it.
    pub fn is_likely(&self, period: Span) -> bool {
        let likely = |d: Doubt| i64::from(d.spaced + 1) * period.as_nanos() >= UNLIKELY * self.mean.as_nanos();
        self.doubt.is_some_and(|d| d.spaced > 0 && likely(d))
    }

    /// Spaced cycles before a loss is believed.
    fn wanted(&self, period: Span) -> u32 {
        let wanted = self.mean.as_nanos() * INCREDIBLE / period.as_nanos().max(1);
        wanted.clamp(i64::from(SPACED.0), i64::from(most(period))) as u32
    }

    /// The clock's offset starts anew: the level of the last packets says nothing.
    pub fn forget_level(&mut self) {
        self.set_level(Span::ZERO);
    }

    /// The doubt ends with the guess that so many were lost.
    pub fn settle_lost(&mut self) {
        self.doubt = None;
    }

    /// The doubt ends as a delay: the floor itself has risen.
    pub fn settle_delayed(&mut self) -> Judgement {
        if let Some(doubt) = self.doubt.take() {
            self.set_level(doubt.lowest);
            self.standing.get_or_insert((doubt.since, doubt.lowest));
        }
        Judgement::Delayed
    }

    /// The same, told by packets at their normal spacing.
    fn settle_risen(&mut self) -> Judgement {
        self.settle_delayed();
        Judgement::Risen
    }

    /// A loss that was believed was a delay: the floor has risen to `level`, by no whole number of periods.
    pub fn rises(&mut self, since: MonoTime, level: Span, at: MonoTime) {
        self.note_step(at, false);
        self.set_level(level);
        self.standing.get_or_insert((since, level));
    }

    /// The sound shows that packets belong `by` earlier than they were numbered, and so come as much later above the floor.
    pub fn renumbered(&mut self, by: Span, at: MonoTime) {
        self.set_level((self.level + by).max(Span::ZERO));
        self.note_step(at, by < Span::ZERO);
        self.excuse();
    }

    /// The sound shows that nothing was lost where the level is now.
    pub fn excuse(&mut self) {
        self.standing = None;
        self.excused = Some(self.level);
    }

    /// Whether what looks like a loss may well be something else: the floor moves, or delays come near a period.
    pub fn is_unsure(&self, at: MonoTime) -> bool {
        self.recent_steps(at).1 > 0 || self.mean > self.period.mul_ratio(1, 8) || self.base() > Span::ZERO
    }

    /// A level on whole periods that has stood for long: they were lost, though it was not believed then. Returns how
    /// many, and since when.
    pub fn take_standing(&mut self, at: MonoTime, period: Span) -> Option<(i64, MonoTime)> {
        let (since, lowest) = self.standing?;
        let long = if self.believes_steps(at) { STANDS.0 } else { STANDS.1 };
        if self.doubt.is_some() || self.unnumbered.is_some() || at - since < long {
            return None;
        }
        self.standing = Some((at, self.level()));
        let lost = (lowest + self.tolerance()).as_nanos() / period.as_nanos().max(1);
        let whole = period.mul_ratio(lost, 1);
        if self.excused.is_some() || lost == 0 || lowest > whole + self.band() {
            return None;
        }
        self.standing = None;
        self.forget_level();
        Some((lost, since))
    }

    /// How far the lowest of the last packets strays while the floor stands still.
    fn band(&self) -> Span {
        self.tolerance() + self.mean.mul_ratio(1, 2)
    }

    pub fn tolerance(&self) -> Span {
        at_most(TOLERANCE, self.period, 8)
    }

    /// Where floors move by themselves, a step that happens to be whole periods proves nothing.
    fn believes_steps(&self, at: MonoTime) -> bool {
        let (whole, other) = self.recent_steps(at);
        other == 0 || whole > 2 * other
    }

    /// Packets are being lost, as several steps of whole periods show.
    pub fn are_lost(&self, at: MonoTime) -> bool {
        let (whole, other) = self.recent_steps(at);
        whole >= SEVERAL && whole > 2 * other
    }

    /// Lately, of whole periods and of others.
    fn recent_steps(&self, at: MonoTime) -> (usize, usize) {
        let recent = self.steps.iter().flatten().filter(|(then, _)| at - *then < STEPS_WITHIN);
        let (mut whole, mut other) = (0, 0);
        recent.for_each(|&(_, is_whole)| if is_whole { whole += 1 } else { other += 1 });
        (whole, other)
    }

    fn note_step(&mut self, at: MonoTime, whole: bool) {
        self.steps[self.next_step] = Some((at, whole));
        self.next_step = (self.next_step + 1) % STEPS;
    }

    fn commit(&mut self, r: Span, at: MonoTime, period: Span) {
        self.recent[self.next] = r;
        self.next = (self.next + 1) % RECENT;
        self.level = *self.recent.iter().min().expect("it has RECENT entries");
        self.excused = self.excused.filter(|excused| (self.level - *excused).abs() <= self.band());
        self.standing = match self.standing {
            _ if r < period - self.tolerance() => None,
            Some((since, lowest)) if self.level() <= lowest + self.band() && r >= lowest - self.band() => {
                Some((since, lowest))
            }
            _ => Some((at, self.level())),
        };
        if at - self.last_spaced > period.mul_ratio(1, 2) {
            let jitter = r - self.level();
            self.mean += (jitter - self.mean).mul_ratio(1, 128);
            self.last_spaced = at;
        }
    }
}

/// Spaced cycles before a loss is believed, at most.
fn most(period: Span) -> u32 {
    SPACED.1.max((LONGEST.as_nanos() / period.as_nanos().max(1)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Span = Span::from_nanos(10_666_667);

    fn at(us: i64) -> MonoTime {
        MonoTime::from_nanos(us * 1_000)
    }

    #[test]
    fn a_backlog_that_ends_near_the_floor_was_a_delay() {
        let mut l = LateOrLost::default();
        let mut t = 0;
        for r in [80_000, 69_500, 58_900, 48_300, 37_700, 27_100, 16_500] {
            assert_eq!(l.judge(Span::from_micros(r), at(t), P, false), Judgement::Doubtful);
            t += 100;
        }
        assert_eq!(l.judge(Span::from_micros(5_900), at(t), P, false), Judgement::Delayed);
        assert_eq!(l.judge(Span::from_micros(50), at(t + 4_700), P, false), Judgement::Certain);
    }

    #[test]
    fn a_backlog_of_a_second_was_a_delay_however_long_it_takes_to_arrive() {
        for long in [false, true] {
            let mut l = LateOrLost::default();
            let said =
                (0..89).map(|k| l.judge(P.mul_ratio(88 - k, 1) + Span::from_micros(k * 400), at(k * 400), P, long));
            let said: Vec<Judgement> = said.collect();
            assert!(!said.iter().any(|j| matches!(j, Judgement::Lost(_))), "{long} {said:?}");
        }
    }

    #[test]
    fn packets_at_their_spacing_five_periods_up_say_five_were_lost() {
        let mut l = LateOrLost::default();
        let r = P.mul_ratio(5, 1) + Span::from_micros(30);
        let mut said = Vec::new();
        for k in 0..4 {
            said.push(l.judge(r, at(k * 10_667), P, false));
        }
        assert_eq!(said[..3], [Judgement::Doubtful; 3]);
        assert_eq!(said[3], Judgement::Lost(5));
    }

    #[test]
    fn a_standing_queue_of_a_period_and_a_half_is_a_delay_and_becomes_the_base() {
        let mut l = LateOrLost::default();
        let r = Span::from_millis(16);
        let said = (0..40).map(|k| l.judge(r, at(k * 10_667), P, false)).collect::<Vec<_>>();
        assert_eq!(said[39], Judgement::Certain);
        assert_eq!(said.iter().filter(|&&j| j == Judgement::Risen).count(), 1);
        assert!(!said.iter().any(|j| matches!(j, Judgement::Delayed | Judgement::Lost(_))));
    }

    /// What is said of packets at (residual in us, time since the one before in us), after three losses and when a queue of 30 ms has become
    /// the base.
    fn in_a_queue(packets: &[(i64, i64)]) -> Vec<Judgement> {
        let mut l = LateOrLost::default();
        let mut t = 0;
        let mut judge = |r: i64, after: i64| {
            t += after;
            l.judge(Span::from_micros(r), at(t), P, false)
        };
        for _ in 0..3 {
            (0..4).for_each(|k| assert_eq!(judge(10_700, 10_667) == Judgement::Lost(1), k == 3));
            (0..4).for_each(|_| assert_eq!(judge(50, 10_667), Judgement::Certain));
        }
        for k in 0..60 {
            judge(30_000 + k * 37 % 300, 10_667);
        }
        packets.iter().map(|&(r, after)| judge(r, after)).collect()
    }

    #[test]
    fn a_loss_in_the_pause_before_a_queue_ends_is_found_behind_the_burst() {
        // 30 ms, one lost, 30 ms again, which is a period more as it is numbered, and then the queue empties at 0.1 ms a packet.
        let lost =
            [(40_700, 21_333), (30_100, 100), (19_600, 100), (10_900, 2_000), (10_750, 10_667), (10_800, 10_667)];
        let said = in_a_queue(&lost);
        assert_eq!(said[..5], [Judgement::Doubtful; 5], "{said:?}");
        assert_eq!(said[5], Judgement::Lost(1));
        let all_there = [(40_700, 21_333), (30_100, 100), (19_600, 100), (9_100, 100), (200, 1_800)];
        let said = in_a_queue(&all_there);
        assert!(!said.iter().any(|said| matches!(said, Judgement::Lost(_))), "{said:?}");
        assert_eq!(said[3], Judgement::Delayed, "below a period nothing can be lost");
    }

    #[test]
    fn a_loss_right_behind_a_backlog_in_a_queue_is_found() {
        // Three that a stall held up, the last one back in the queue's 30 ms, and then one is lost.
        let packets =
            [(52_000, 33_000), (41_500, 200), (31_000, 200), (40_800, 20_500), (40_700, 10_667), (40_750, 10_667)];
        let said = in_a_queue(&[&packets[..], &[(40_720, 10_667)]].concat());
        assert_eq!(said[..4], [&[Judgement::Doubtful; 3][..], &[Judgement::DelayedBefore]].concat(), "{said:?}");
        assert_eq!(said[6], Judgement::Lost(1), "{said:?}");
        let all_there = in_a_queue(&[&packets[..3], &[(30_100, 9_800)]].concat());
        assert_eq!(all_there[3], Judgement::Delayed, "{all_there:?}");
    }

    #[test]
    fn a_loss_is_found_while_the_floor_lies_below_what_the_clock_knows() {
        let mut l = LateOrLost::default();
        let mut t = 0;
        let mut judge = |r: i64, after: i64| {
            t += after;
            l.judge(Span::from_micros(r), at(t), P, false)
        };
        (0..40).for_each(|k| assert_eq!(judge(-600 + k * 37 % 300, 10_667), Judgement::Certain));
        let said: Vec<_> = (0..4).map(|k| judge(10_667 - 550 + 20 * k, 10_667)).collect();
        assert_eq!(said[3], Judgement::Lost(1), "{said:?}");
    }

    #[test]
    fn a_queue_that_ends_while_packets_are_lost_is_not_taken_off_them() {
        // Nineteen are lost, and meanwhile the queue of 30 ms comes to its end.
        let behind = |k: i64| 19 * 10_667 + 40 + 30 * k;
        let said = in_a_queue(&[(behind(0), 183_000), (behind(1), 10_667), (behind(2), 10_667), (behind(1), 10_667)]);
        assert_eq!(said[3], Judgement::Lost(19), "{said:?}");
    }

    #[test]
    fn a_queue_that_becomes_shorter_by_no_whole_period_has_lost_nothing() {
        let said = in_a_queue(&[(14_000, 100), (14_300, 10_667), (14_100, 10_667), (14_000, 10_667), (14_200, 10_667)]);
        assert!(!said.iter().any(|said| matches!(said, Judgement::Lost(_))), "{said:?}");
        assert_eq!(said[4], Judgement::Certain);
    }

    #[test]
    fn a_queue_that_comes_down_and_is_held_up_has_lost_nothing() {
        let said = in_a_queue(&[(14_000, 100), (41_000, 27_000), (41_100, 10_667), (41_050, 10_667), (41_000, 10_667)]);
        assert!(!said.iter().any(|said| matches!(said, Judgement::Lost(_))), "{said:?}");
    }

    #[test]
    fn no_doubt_lasts_longer_than_a_quarter_of_a_second() {
        // Contract: an independent stream decides within 0.25 s. Whatever packets a period apart show, in 1.3 periods each
        // at most, 2 x 8 of them end it.
        for level_us in (10_700..60_000).step_by(37) {
            let mut l = LateOrLost::default();
            let last = (0..).find(|&k| {
                let r = Span::from_micros(level_us + k * 7_919 % 2_000);
                !matches!(l.judge(r, at(k * 10_667), P, false), Judgement::Doubtful)
            });
            assert!(last.expect("it ends") * 10_667 < 250_000, "{level_us} us");
        }
    }
}
