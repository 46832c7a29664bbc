//! The lowest arrival of each second: all that the clock model remembers of the packets.
//!
//! Delay is only ever added, so that the packets which say something about the clock are the least delayed ones. The
//! lowest point of each second keeps them: over a minute and more that costs a hull at most 5 % of what all packets would
//! give (15 % under Wi-Fi stalls), and bounds memory and work. Minima of five seconds would already cost up to five times.

use std::collections::VecDeque;

use crate::time::{MonoTime, Span};

/// How many seconds are kept: the widest span that a rate is taken over.
pub const KEPT: usize = 480;
const SECOND: i64 = 1_000_000_000;

/// A packet that arrived with little delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When its last sample was taken, by the microphone's own nominal clock: nanoseconds since frame 0 of its axis.
    pub x: i64,
    /// Arrival minus `x`, in nanoseconds: delay, plus what the two clocks have drifted apart.
    pub y: i64,
    /// When it arrived.
    pub at: MonoTime,
}

/// The lowest arrival of each of the last [`KEPT`] seconds that had any.
#[derive(Clone, Debug)]
pub struct Minima {
    closed: VecDeque<Arrival>,
    /// The lowest of the second that has not ended.
    open: Option<Arrival>,
    /// Which second of arrival time is open; counted from the first arrival, so that a recording gives the same lowest ones as
    /// the live run, by whatever clock.
    second: i64,
    origin: Option<MonoTime>,
}

impl Minima {
    pub fn new() -> Minima {
        Minima { closed: VecDeque::with_capacity(KEPT), open: None, second: 0, origin: None }
    }

    /// Takes an arrival in; true when it ended a second. "Lowest" is after the drift of `slope` (dy/dx) is taken off.
    pub fn push(&mut self, arrival: Arrival, slope: f64) -> bool {
        let origin = *self.origin.get_or_insert(arrival.at);
        let second = (arrival.at - origin).as_nanos().div_euclid(SECOND);
        let Some(lowest) = self.open else {
            (self.open, self.second) = (Some(arrival), second);
            return false;
        };
        if second <= self.second {
            let drifted = slope * (arrival.x - lowest.x) as f64;
            if ((arrival.y - lowest.y) as f64) < drifted {
                self.open = Some(arrival);
            }
            return false;
        }
        if self.closed.len() == KEPT {
            self.closed.pop_front();
        }
        self.closed.push_back(lowest);
        (self.open, self.second) = (Some(arrival), second);
        true
    }

    /// Newest first, ended seconds only.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arrival> {
        self.closed.iter().rev()
    }

    /// The lowest of the second that has not ended.
    pub fn open(&self) -> Option<&Arrival> {
        self.open.as_ref()
    }

    /// Those of the open second too.
    pub fn all(&self) -> impl Iterator<Item = &Arrival> {
        self.closed.iter().chain(self.open.iter())
    }

    /// What arrived at or after `since` stands `by` later on the axis: its delay is shorter by as much.
    pub fn renumber(&mut self, since: MonoTime, by: Span) {
        for arrival in self.closed.iter_mut().chain(self.open.iter_mut()).filter(|arrival| arrival.at >= since) {
            arrival.x += by.as_nanos();
            arrival.y -= by.as_nanos();
        }
    }

    pub fn forget_before(&mut self, since: MonoTime) {
        self.closed.retain(|arrival| arrival.at >= since);
    }

    pub fn clear(&mut self) {
        self.closed.clear();
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(at_ms: i64, y: i64) -> Arrival {
        let at = at_ms * 1_000_000;
        Arrival { x: at - y, y, at: MonoTime::from_nanos(at) }
    }

    #[test]
    fn each_second_keeps_its_lowest_and_memory_is_bounded() {
        let mut minima = Minima::new();
        let mut ended = 0;
        for ms in (0..1_000_000).step_by(100) {
            ended += u32::from(minima.push(arrival(ms, 1_000 + (ms % 1_000 - 700).abs()), 0.0));
        }
        assert_eq!(ended, 999);
        assert_eq!(minima.newest_first().count(), KEPT);
        assert!(minima.newest_first().all(|m| m.y == 1_000));
    }

    #[test]
    fn a_steady_drift_does_not_decide_which_packet_is_lowest() {
        // 100 ppm: 50 us in half a second. The first packet has 20 us of delay, the one half a second later none.
        let (first, second) = (arrival(0, 20_000), arrival(500, 50_000));
        for (slope, lowest) in [(100e-6, second), (0.0, first)] {
            let mut minima = Minima::new();
            minima.push(first, slope);
            minima.push(second, slope);
            assert!(minima.push(arrival(1_000, 100_000), slope));
            assert_eq!(minima.newest_first().next(), Some(&lowest));
        }
    }

    #[test]
    fn renumbering_moves_what_arrived_since_and_nothing_before() {
        let mut minima = Minima::new();
        for s in 0..5 {
            minima.push(arrival(s * 1_000, 7), 0.0);
        }
        minima.renumber(MonoTime::from_nanos(2_000_000_000), Span::from_nanos(3));
        assert_eq!(minima.all().map(|m| m.y).collect::<Vec<_>>(), [7, 7, 4, 4, 4]);
        assert!(minima.all().skip(2).all(|m| m.x + m.y == m.at.as_nanos()));
    }
}
