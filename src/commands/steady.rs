//! Stamps of a recording on a steady clock.
//!
//! Stamps are CLOCK_REALTIME's, which NTP steers by some parts per million and may step. `serve` takes the steering out before it
//! measures (`engine::hostclock`); for its recordings to say the same, they tell once a second by how much CLOCK_REALTIME is ahead
//! of CLOCK_MONOTONIC_RAW, and in between the change of the second before goes on. A capture by anyone else tells nothing: its
//! stamps are taken for steady.

use crate::time::{KernelTime, MonoTime, Span};

/// Offsets further apart than a slew can take them are of another boot, another host, or after a step: as `engine::hostclock` has it.
const STEP: Span = Span::from_millis(1);
const SLEW_PPM: i64 = 1_000;

/// Virtual time against CLOCK_REALTIME.
#[derive(Debug)]
pub(super) struct Steady {
    /// CLOCK_REALTIME minus virtual time at `anchor`.
    ahead: Span,
    anchor: KernelTime,
    /// By so much it grows in so long.
    gained: Span,
    during: Span,
    /// The newest offset that was told (ns, of two clocks, so not a [`Span`]), and when.
    told: Option<(KernelTime, i64)>,
    /// The newest step, and the clock when it was seen, behind it.
    stepped: Option<(KernelTime, Span)>,
}

impl Steady {
    pub fn new() -> Steady {
        Steady {
            ahead: Span::ZERO,
            anchor: KernelTime::from_nanos(0),
            gained: Span::ZERO,
            during: Span::ZERO,
            told: None,
            stepped: None,
        }
    }

    pub fn to_mono(&self, stamp: KernelTime) -> MonoTime {
        MonoTime::from_nanos((stamp - self.ahead - self.slewed(stamp)).as_nanos())
    }

    pub fn to_wall(&self, now: MonoTime) -> KernelTime {
        let near = KernelTime::from_nanos(now.as_nanos()) + self.ahead;
        near + self.slewed(near)
    }

    /// CLOCK_REALTIME was stepped by so much, as was seen at `seen`.
    pub fn step(&mut self, by: Span, seen: KernelTime) {
        self.stepped = Some((seen, by));
        self.ahead += by;
        self.anchor = self.anchor + by;
        self.told = None;
    }

    /// A packet may be stamped before a step and read, and so written, after it: its stamp as the clock would have told it then.
    /// Of the two meanings that one is true which is closer to `newest`, the newest stamp since the step, as `engine::hostclock`
    /// has it; and before the step was seen.
    pub fn behind_step(&self, stamp: KernelTime, newest: Option<KernelTime>) -> KernelTime {
        let Some((seen, by)) = self.stepped else { return stamp };
        let newest = newest.unwrap_or(seen);
        let moved = stamp + by;
        if moved <= seen && (moved - newest).abs() < (stamp - newest).abs() { moved } else { stamp }
    }

    /// Nobody says by how much it was stepped: `stamp` is now.
    pub fn go_on(&mut self, stamp: KernelTime, now: MonoTime) {
        *self = Steady { ahead: stamp - KernelTime::from_nanos(now.as_nanos()), anchor: stamp, ..Steady::new() };
    }

    /// At `stamp` CLOCK_REALTIME was so many nanoseconds ahead of CLOCK_MONOTONIC_RAW.
    pub fn offset(&mut self, stamp: KernelTime, ns: i64) {
        let slew = self.told.map(|(before, was)| (stamp - before, Span::from_nanos(ns - was)));
        match slew {
            Some((during, gained))
                if during > Span::ZERO && gained.abs() <= STEP + during.mul_ratio(SLEW_PPM, 1_000_000) =>
            {
                // The anchor is where the offset before was told.
                (self.ahead, self.gained, self.during) = (self.ahead + gained, gained, during);
            }
            _ => (self.ahead, self.gained, self.during) = (self.ahead + self.slewed(stamp), Span::ZERO, Span::ZERO),
        }
        self.anchor = stamp;
        self.told = Some((stamp, ns));
    }

    fn slewed(&self, stamp: KernelTime) -> Span {
        if self.during <= Span::ZERO {
            return Span::ZERO;
        }
        self.gained.mul_ratio((stamp - self.anchor).as_nanos(), self.during.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: i64 = 1_795_345_500_000_000_000;
    const SECOND: i64 = 1_000_000_000;

    /// CLOCK_REALTIME at a moment of a clock that NTP makes 40 ppm faster.
    fn wall(mono: i64) -> KernelTime {
        KernelTime::from_nanos(EPOCH + mono + mono / 25_000)
    }

    #[test]
    fn steering_is_taken_out_once_two_offsets_are_known_and_a_step_moves_nothing() {
        let mut steady = Steady::new();
        let mut stepped = Span::ZERO;
        let mut base = None;
        for second in 0..20 {
            let at = second * SECOND;
            let offset = wall(at) + stepped;
            steady.offset(offset, offset.as_nanos() - at);
            if second == 10 {
                stepped = Span::from_secs(-3);
                steady.step(stepped, wall(at) + stepped);
                let offset = wall(at) + stepped;
                steady.offset(offset, offset.as_nanos() - at);
            }
            for part in [0, SECOND / 3, SECOND - 1] {
                let stamp = wall(at + part) + stepped;
                let ahead = steady.to_mono(stamp).as_nanos() - (at + part);
                // A second at 40 ppm passes before it is known, and again after the step.
                let base = *base.get_or_insert(ahead);
                assert!((ahead - base).abs() <= 80_010, "{ahead} at {second}");
                if second > 10 || (1..10).contains(&second) {
                    let back = steady.to_wall(steady.to_mono(stamp)) - stamp;
                    assert!(back.abs() <= Span::from_nanos(10), "{back:?}");
                }
            }
        }
    }

    #[test]
    fn a_stamp_from_before_a_step_is_moved_and_none_from_after_it() {
        let at = |ms: i64| KernelTime::from_nanos(EPOCH) + Span::from_millis(ms);
        for step in [-3_000, -300, 300, 3_000] {
            let mut steady = Steady::new();
            let by = Span::from_millis(step);
            steady.step(by, at(0));
            for ms in -100..0 {
                assert_eq!(steady.behind_step(at(ms) - by, None), at(ms), "{ms} ms before a step of {step} ms");
            }
            let mut newest = None;
            for ms in (-5..10_000).step_by(3) {
                assert_eq!(steady.behind_step(at(ms), newest), at(ms), "{ms} ms after a step of {step} ms");
                newest = Some(at(ms));
            }
        }
    }

    #[test]
    fn an_offset_of_another_boot_leaves_virtual_time_where_it_was() {
        let mut steady = Steady::new();
        steady.offset(KernelTime::from_nanos(EPOCH), EPOCH - 7);
        let stamp = KernelTime::from_nanos(EPOCH + SECOND);
        let before = steady.to_mono(stamp);
        steady.offset(stamp, EPOCH - 9_000 * SECOND);
        assert_eq!(steady.to_mono(stamp), before);
    }
}
