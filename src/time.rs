//! Time, one type a clock.
//!
//! Two clocks meet in this program: the kernel stamps packets with CLOCK_REALTIME, which NTP slews and may step; rates
//! and deadlines need CLOCK_MONOTONIC_RAW, which does neither. A nanosecond count that has lost its clock is how skew is
//! computed wrongly, so each clock has a type, and only a [`Span`] (a difference on one clock) leaves it:
//!
//! ```compile_fail
//! use micring::time::{KernelTime, MonoTime};
//! let stamp = KernelTime::from_nanos(1_795_345_500_123_456_000);
//! let now = MonoTime::from_nanos(5_000_000_000);
//! let _ = now - stamp; // two clocks: does not compile
//! ```
//!
//! ```
//! use micring::time::{KernelTime, Span};
//! let first = KernelTime::from_nanos(1_000);
//! assert_eq!(KernelTime::from_nanos(3_500) - first, Span::from_nanos(2_500));
//! ```

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// A signed difference between two instants of one clock, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    pub const ZERO: Span = Span(0);
    pub const MAX: Span = Span(i64::MAX);

    pub const fn from_nanos(ns: i64) -> Span {
        Span(ns)
    }
    pub const fn from_micros(us: i64) -> Span {
        Span(us * 1_000)
    }
    pub const fn from_millis(ms: i64) -> Span {
        Span(ms * 1_000_000)
    }
    pub const fn from_secs(s: i64) -> Span {
        Span(s * 1_000_000_000)
    }
    /// Rounds to the nearest nanosecond.
    pub fn from_secs_f64(s: f64) -> Span {
        Span((s * 1e9).round() as i64)
    }
    /// The time that `frames` samples take at `rate_hz`, to the nearest nanosecond.
    pub fn of_frames(frames: i64, rate_hz: u32) -> Span {
        const SECOND: i64 = 1_000_000_000;
        let rate = i64::from(rate_hz);
        // Two days of 48 kHz fit 64 bits, whose division is several times faster.
        match frames.checked_mul(SECOND).and_then(|ns| ns.checked_add(rate / 2)) {
            Some(ns) => Span(ns.div_euclid(rate)),
            None => {
                let ns = i128::from(frames) * i128::from(SECOND) + i128::from(rate / 2);
                Span(ns.div_euclid(rate.into()) as i64)
            }
        }
    }
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// Microseconds, truncated toward zero.
    pub const fn as_micros(self) -> i64 {
        self.0 / 1_000
    }
    pub fn as_micros_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
    pub const fn abs(self) -> Span {
        Span(self.0.abs())
    }
    /// `self * num / den` without overflow inside.
    pub const fn mul_ratio(self, num: i64, den: i64) -> Span {
        match self.0.checked_mul(num) {
            Some(product) => Span(product / den),
            None => Span((self.0 as i128 * num as i128 / den as i128) as i64),
        }
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0 + other.0)
    }
}
impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0 - other.0)
    }
}
impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        self.0 += other.0;
    }
}
impl SubAssign for Span {
    fn sub_assign(&mut self, other: Span) {
        self.0 -= other.0;
    }
}
impl Neg for Span {
    type Output = Span;
    fn neg(self) -> Span {
        Span(-self.0)
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.as_micros_f64())
    }
}

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            pub const fn from_nanos(ns: i64) -> $name {
                $name(ns)
            }
            /// Nanoseconds since this clock's own zero.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }
            /// Microseconds since this clock's own zero, rounded down.
            pub const fn as_micros(self) -> i64 {
                self.0.div_euclid(1_000)
            }
        }
        impl Add<Span> for $name {
            type Output = $name;
            fn add(self, span: Span) -> $name {
                $name(self.0.saturating_add(span.0))
            }
        }
        impl Sub<Span> for $name {
            type Output = $name;
            fn sub(self, span: Span) -> $name {
                $name(self.0.saturating_sub(span.0))
            }
        }
        impl Sub for $name {
            type Output = Span;
            fn sub(self, earlier: $name) -> Span {
                Span(self.0 - earlier.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:.6}s)"), self.0 as f64 / 1e9)
            }
        }
    };
}

clock!(
    /// CLOCK_REALTIME, as SO_TIMESTAMPNS stamps packets: nanoseconds since the Unix epoch. NTP slews it and may step it.
    KernelTime
);
clock!(
    /// CLOCK_MONOTONIC_RAW: neither slewed nor stepped. Clock models, holds and deadlines live on it.
    MonoTime
);

/// A relative rate error in parts per million; positive is faster than nominal.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Ppm(pub f64);

/// A position on the frame axis: how many frames came before this one. Counts up across the whole run, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct FramePos(pub i64);

impl Add<i64> for FramePos {
    type Output = FramePos;
    fn add(self, frames: i64) -> FramePos {
        FramePos(self.0 + frames)
    }
}
impl Sub for FramePos {
    type Output = i64;
    fn sub(self, earlier: FramePos) -> i64 {
        self.0 - earlier.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_of_512_frames_is_ten_and_two_thirds_milliseconds() {
        assert_eq!(Span::of_frames(512, 48_000).as_nanos(), 10_666_667);
        assert_eq!(Span::of_frames(-512, 48_000).as_nanos(), -10_666_667);
        assert_eq!(Span::of_frames(48_000 * 86_400, 48_000), Span::from_secs(86_400));
    }

    #[test]
    fn micros_truncate_toward_zero_for_spans_and_down_for_instants() {
        assert_eq!(Span::from_nanos(-1_999).as_micros(), -1);
        assert_eq!(KernelTime::from_nanos(-1).as_micros(), -1);
    }
}
