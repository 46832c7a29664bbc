//! Notes: what is to be measured, written down until it is.
//!
//! Problem: measuring a cycle touches a hundred lines of a core's cache, in histograms, windows and trends all over an array's memory. One
//! of hundreds of arrays finds them cold each time, and then measuring costs more than placing.
//!
//! Idea: what comes is written down, one note behind the other, and measured many cycles at a time. The same is measured in the same
//! order; the meters' memory is cold once for all of them.

use crate::engine::figures::tuning::notes::{MANY, MOST};
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Something that happened; `mic` is a source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// A packet was read by the loop, so long after its stamp.
    Read {
        mic: u16,
        delay: Span,
        now: MonoTime,
    },
    /// Its sender kept a packet for so long.
    Kept {
        mic: u16,
        delay: Span,
        now: MonoTime,
    },
    /// A packet was under way for so long.
    UnderWay {
        mic: u16,
        delay: Span,
        now: MonoTime,
    },
    Rate {
        mic: u16,
        ppm: f64,
    },
    Restart {
        mic: u16,
    },
    Placed {
        mic: u16,
        first: FramePos,
        end: FramePos,
        arrival: MonoTime,
    },
    Late {
        mic: u16,
        end: FramePos,
        arrival: MonoTime,
    },
    /// It is in the cycle that leaves.
    Here {
        mic: u16,
        arrival: MonoTime,
    },
    /// That leaves.
    Cycle {
        now: MonoTime,
    },
    /// It is in the complete cycle that leaves.
    Heard {
        stamp: KernelTime,
        delay: Span,
    },
    /// That leaves.
    Complete {
        now: MonoTime,
    },
    Handed {
        delay: Span,
        now: MonoTime,
    },
}

const _: () = assert!(size_of::<Note>() == 32, "half a line of a core's cache");

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Notes(Vec<Note>);

impl Default for Notes {
    fn default() -> Notes {
        Notes(Vec::with_capacity(MOST))
    }
}

impl Notes {
    pub fn is_full(&self) -> bool {
        self.0.len() == MOST
    }

    pub fn are_many(&self) -> bool {
        self.0.len() >= MANY
    }

    pub fn push(&mut self, note: Note) {
        self.0.push(note);
    }

    /// All of them, in their order.
    pub fn drain(&mut self) -> impl Iterator<Item = Note> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use crate::cycle::Clocks;
    use crate::engine::clock::sent::Delays;
    use crate::engine::figures::skew::SkewMeter;
    use crate::time::{FramePos, KernelTime, MonoTime, Span};

    /// One cycle of three, of which one packet may be late or missing, and now and then a board that locks anew.
    fn cycle(meter: &mut SkewMeter, n: i64) {
        let at = |mic: i64| MonoTime::from_nanos(n * 10_666_667 + mic * 100_000 + n * (7_919 + mic) % 50_000);
        let now = at(3);
        let wall = |at: MonoTime| KernelTime::from_nanos(1_795_345_500_000_000_000 + at.as_nanos());
        let is_there = |mic: i64| mic != n % 3 || n % 11 > 0;
        for mic in 0..3 {
            meter.on_read(mic as usize, wall(at(mic)), Clocks { mono: now, wall: wall(now) });
            let (first, end) = (FramePos(n * 512), FramePos(n * 512 + 512));
            match is_there(mic) {
                true => meter.on_placed(mic as usize, first, end, at(mic)),
                false => meter.on_late(mic as usize, end, at(mic)),
            }
            if n % 100 == 99 {
                meter.follow_rate(mic as usize, 10.0 * mic as f64);
            }
            if n % 500 == 499 {
                meter.on_restart(mic as usize);
            }
            meter.on_sent(mic as usize, Delays { sender: Some(Span::from_nanos(n * 10)), network: None }, now);
        }
        meter.on_cycle((0..3).map(|mic| is_there(mic).then(|| at(mic))), now);
        if (0..3).all(is_there) {
            meter.on_complete((0..3).map(|mic| (wall(at(mic)), now - at(mic))), now);
            meter.on_handed(now - at(2), now);
        }
    }

    #[test]
    fn whoever_asks_and_whenever_is_told_the_same() {
        let (mut asked, mut left_alone) = (SkewMeter::new(3, 48_000), SkewMeter::new(3, 48_000));
        for n in 0..1_500 {
            cycle(&mut asked, n);
            cycle(&mut left_alone, n);
            asked.measure();
        }
        let now = MonoTime::from_nanos(1_500 * 10_666_667);
        let told = |meter: &mut SkewMeter| {
            let (ever, lately) = (meter.since_start(), meter.window(now));
            format!("{ever:?}\n{lately:?}\n{:?}\n{:?}", meter.histograms(), meter.latest_offsets())
        };
        assert_eq!(told(&mut asked), told(&mut left_alone));
        // Each packet that came was read, and is among them.
        assert!(left_alone.since_start().loop_delay.iter().all(|delay| delay.unwrap().count == 1_500));
    }
}
