//! The host's two clocks: true time is CLOCK_MONOTONIC_RAW's; CLOCK_REALTIME, which stamps the packets, is slewed and
//! stepped away from it as NTP would.

use super::{START, START_WALL};
use crate::time::{KernelTime, MonoTime, Span};

/// Something that happens to CLOCK_REALTIME. Times count from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostEvent {
    Step {
        at: Span,
        by: Span,
    },
    /// Runs `ppm` faster than otherwise for `lasting`; what was gained stays.
    Slew {
        at: Span,
        lasting: Span,
        ppm: f64,
    },
}

/// CLOCK_REALTIME as a function of CLOCK_MONOTONIC_RAW.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostClock {
    /// Its rate against CLOCK_MONOTONIC_RAW throughout: NTP's frequency correction.
    pub ppm: f64,
    pub events: Vec<HostEvent>,
}

impl HostClock {
    /// What CLOCK_REALTIME shows at `at`.
    pub fn wall(&self, at: MonoTime) -> KernelTime {
        let run = at - START;
        let mut wall = START_WALL + run;
        if self.ppm != 0.0 {
            wall = wall + gained(run, self.ppm);
        }
        for event in &self.events {
            match *event {
                HostEvent::Step { at, by } if run >= at => wall = wall + by,
                HostEvent::Slew { at, lasting, ppm } if run > at => wall = wall + gained((run - at).min(lasting), ppm),
                _ => {}
            }
        }
        wall
    }
}

fn gained(during: Span, ppm: f64) -> Span {
    Span::from_nanos((during.as_nanos() as f64 * ppm * 1e-6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_slews_stay_in_the_clock() {
        let host = HostClock {
            ppm: 10.0,
            events: vec![
                HostEvent::Step { at: Span::from_secs(100), by: Span::from_secs(-1) },
                HostEvent::Slew { at: Span::from_secs(200), lasting: Span::from_secs(50), ppm: 500.0 },
            ],
        };
        let ahead = |seconds| {
            let run = Span::from_secs(seconds);
            (host.wall(START + run) - START_WALL) - run
        };
        assert_eq!(ahead(0), Span::ZERO);
        assert_eq!(ahead(99), Span::from_micros(990));
        assert_eq!(ahead(100), Span::from_micros(1_000 - 1_000_000));
        // Half of the slew is through: 25 s x 500 ppm = 12.5 ms.
        assert_eq!(ahead(225), Span::from_micros(2_250 - 1_000_000 + 12_500));
        assert_eq!(ahead(1_000), Span::from_micros(10_000 - 1_000_000 + 25_000));
    }
}
