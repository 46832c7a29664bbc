//! Kernel stamps on the steady clock.
//!
//! SO_TIMESTAMPNS stamps packets with CLOCK_REALTIME. NTP slews that clock (by up to 500 ppm: `MAXFREQ`,
//! include/linux/timex.h) and may step it by any amount. A model fed with such stamps takes the host's own corrections for
//! drift of the microphones, and a step for a gap of as many frames.
//!
//! The idea: each turn of the loop reads both clocks, and D = CLOCK_REALTIME - CLOCK_MONOTONIC_RAW carries each stamp over.
//! Around a step the two meanings of a stamp differ by more than any packet waits to be read: a packet may be stamped
//! before a step and read after it, so that the one read sooner after its stamp, and never before it, is the true one.

use crate::cycle::Clocks;
use crate::engine::tuning::hostclock::{AHEAD, BRACKET, MEMORY, SLEW_PPM, STALE_PPM, STEP};
use crate::time::{KernelTime, MonoTime, Span};

/// CLOCK_REALTIME against CLOCK_MONOTONIC_RAW, and how to take a stamp from one to the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock {
    now: Option<Reading>,
    last_step: Option<Step>,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The clocks of this turn.
    clocks: Clocks,
    newest: Offset,
    /// The one read before it, on this side of any step: between the two, D is taken to have changed evenly.
    older: Offset,
}

/// D = REALTIME - MONOTONIC_RAW, in nanoseconds (of two clocks, so not a [`Span`]), and when it was read.
#[derive(Clone, Copy, Debug)]
struct Offset {
    d: i64,
    read: MonoTime,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    seen: MonoTime,
    /// New D minus old D.
    by: Span,
}

impl HostClock {
    pub fn new() -> HostClock {
        HostClock::default()
    }

    /// The clocks of a turn. `bracket`: how far apart the reads of MONOTONIC_RAW before and after that of REALTIME were
    /// (`clocks.mono` is their mean); zero in virtual time. A wide one keeps the older offset.
    pub fn turn(&mut self, clocks: Clocks, bracket: Span) {
        let read = Offset { d: clocks.wall.as_nanos() - clocks.mono.as_nanos(), read: clocks.mono };
        let Some(last) = self.now else {
            self.now = Some(Reading { clocks, newest: read, older: read });
            return;
        };
        let age = read.read - last.newest.read;
        let by = Span::from_nanos(read.d - last.newest.d);
        let mut older = last.newest;
        if by.abs() > STEP + bracket + age.mul_ratio(SLEW_PPM, 1_000_000) {
            self.steps += 1;
            self.last_step = Some(Step { seen: clocks.mono, by });
            older.d = read.d;
        } else if bracket > BRACKET + age.mul_ratio(STALE_PPM, 1_000_000) || age <= Span::ZERO {
            self.now = Some(Reading { clocks, ..last });
            return;
        }
        self.now = Some(Reading { clocks, newest: read, older });
    }

    /// When a packet stamped `stamp` arrived, on the steady clock. Read it in the turn that read the packet.
    ///
    /// # Panics
    /// Before a first [`turn`](HostClock::turn).
    pub fn to_mono(&self, stamp: KernelTime) -> MonoTime {
        let now = self.now.expect("the clocks are read before packets are");
        let at = now.to_mono(stamp);
        let Some(step) = self.last_step.filter(|step| now.clocks.mono - step.seen < MEMORY) else { return at };
        // The same stamp, if it was taken before the step.
        let before = at + step.by;
        let (age, age_before) = (now.clocks.mono - at, now.clocks.mono - before);
        let was_before = before <= step.seen && age_before > AHEAD && (age < AHEAD || age_before < age);
        if was_before { before } else { at }
    }

    /// The clocks of this turn; `None` before a first one.
    pub fn clocks(&self) -> Option<Clocks> {
        self.now.map(|now| now.clocks)
    }

    /// The newest step: new offset minus old.
    pub fn last_step(&self) -> Option<Span> {
        self.last_step.map(|step| step.by)
    }

    /// D, in nanoseconds, as it is believed now; `None` before a first turn.
    pub fn offset(&self) -> Option<i64> {
        self.now.map(|now| now.newest.d)
    }

    /// Steps of CLOCK_REALTIME noticed since start.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

impl Reading {
    /// Stamped on this side of any step.
    fn to_mono(self, stamp: KernelTime) -> MonoTime {
        let at = MonoTime::from_nanos(stamp.as_nanos() - self.newest.d);
        let (gap, before) = (self.newest.read - self.older.read, self.newest.read - at);
        if gap <= Span::ZERO || before <= Span::ZERO {
            return at;
        }
        let slewed = Span::from_nanos(self.newest.d - self.older.d);
        at + slewed.mul_ratio(before.min(gap).as_nanos(), gap.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: i64 = 1_795_345_500_000_000_000;

    /// A host whose realtime clock the test bends as it likes; `now` is MONOTONIC_RAW.
    struct Host {
        now: i64,
        /// What steps and slews have added to the wall clock.
        bend: f64,
    }

    impl Host {
        fn new() -> Host {
            Host { now: 50_000_000_000, bend: 0.0 }
        }
        fn clocks(&self) -> Clocks {
            Clocks { mono: MonoTime::from_nanos(self.now), wall: self.stamp() }
        }
        fn stamp(&self) -> KernelTime {
            KernelTime::from_nanos(EPOCH + self.now + self.bend as i64)
        }
        fn pass(&mut self, ns: i64, slew_ppm: f64) {
            self.now += ns;
            self.bend += ns as f64 * slew_ppm * 1e-6;
        }
    }

    fn step_between_stamp_and_read(step_ns: f64) {
        let (mut host, mut clock) = (Host::new(), HostClock::new());
        for turn in 0..400 {
            // A packet is stamped, then read 120 us later; at turn 200 the clock steps in between.
            let (stamp, truth) = (host.stamp(), host.now);
            host.pass(60_000, 0.0);
            if turn == 200 {
                host.bend += step_ns;
            }
            host.pass(60_000, 0.0);
            clock.turn(host.clocks(), Span::from_nanos(60));
            let off = clock.to_mono(stamp) - MonoTime::from_nanos(truth);
            assert!(off == Span::ZERO, "turn {turn}: {off:?} after a step of {step_ns} ns");
            host.pass(10_546_667, 0.0);
        }
        assert_eq!(clock.steps(), 1);
    }

    #[test]
    fn a_step_of_a_second_either_way_moves_no_stamp() {
        step_between_stamp_and_read(1e9);
        step_between_stamp_and_read(-1e9);
    }

    #[test]
    fn steps_shorter_than_a_packet_period_and_longer_than_a_day_move_none_either() {
        for step in [1.5e6, -1.5e6, 20e6, -20e6, 400e6, -400e6, 1e14, -1e14] {
            step_between_stamp_and_read(step);
        }
    }

    #[test]
    fn a_packet_stamped_just_after_the_clocks_of_its_turn_were_read_keeps_the_new_offset() {
        let (mut host, mut clock) = (Host::new(), HostClock::new());
        clock.turn(host.clocks(), Span::ZERO);
        host.pass(10_000_000, 0.0);
        host.bend -= 3e6;
        clock.turn(host.clocks(), Span::ZERO);
        host.pass(30_000, 0.0);
        assert_eq!(clock.to_mono(host.stamp()).as_nanos(), host.now);
        assert_eq!(clock.steps(), 1);
    }

    #[test]
    fn a_slew_of_500_ppm_is_followed_to_the_nanosecond_and_is_no_step() {
        let (mut host, mut clock) = (Host::new(), HostClock::new());
        clock.turn(host.clocks(), Span::from_nanos(60));
        for _ in 0..3_000 {
            host.pass(7_666_667, 500.0);
            let (stamp, truth) = (host.stamp(), host.now);
            host.pass(3_000_000, 500.0);
            clock.turn(host.clocks(), Span::from_nanos(60));
            // In 3 ms it slews by 1500 ns.
            let off = clock.to_mono(stamp) - MonoTime::from_nanos(truth);
            assert!(off.abs() <= Span::from_nanos(2), "{off:?}");
        }
        // Nor is a slew that went on through a second without a turn.
        host.pass(2_500_000_000, 500.0);
        clock.turn(host.clocks(), Span::from_nanos(60));
        assert_eq!(clock.steps(), 0);
    }

    #[test]
    fn a_wide_bracket_keeps_the_old_offset_until_that_is_worth_no_more() {
        let (mut host, mut clock) = (Host::new(), HostClock::new());
        clock.turn(host.clocks(), Span::from_nanos(60));
        host.pass(10_000_000, 0.0);
        let mut misread = host.clocks();
        misread.wall = misread.wall + Span::from_micros(40);
        clock.turn(misread, Span::from_micros(90));
        assert_eq!(clock.to_mono(host.stamp()).as_nanos(), host.now);
        // After a second the old offset may itself be off by as much.
        host.pass(1_000_000_000, 40.0);
        let clocks = host.clocks();
        clock.turn(clocks, Span::from_micros(90));
        assert_eq!(clock.to_mono(clocks.wall), clocks.mono);
        assert_eq!(clock.steps(), 0);
    }
}
