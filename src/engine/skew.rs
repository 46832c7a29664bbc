//! SkewMeter: how far apart the microphones arrive, and how much of that the loop itself adds.

use super::figures::SkewFigures;
use crate::MICS;
use crate::cycle::Clocks;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Measures arrival skew, loop delay, loop skew, emit delay, jitter and packet delay variation.
pub struct SkewMeter {
    sample_rate: u32,
}

impl SkewMeter {
    pub fn new(sample_rate_hz: u32) -> SkewMeter {
        SkewMeter { sample_rate: sample_rate_hz }
    }

    /// An accepted packet of `mic` was read by the loop: its loop delay.
    pub fn on_read(&mut self, mic: usize, stamp: KernelTime, clocks: Clocks) {
        let _ = (mic, stamp, clocks, self.sample_rate);
    }

    /// The rate error of `mic` as the clock model knows it: delay variation is measured with the drift taken out.
    pub fn follow_rate(&mut self, mic: usize, ppm: f64) {
        let _ = (mic, ppm);
    }

    /// The position of a packet is known: it ends before `end`, and arrived at `arrival`. Jitter and delay variation.
    pub fn on_placed(&mut self, mic: usize, end: FramePos, arrival: MonoTime) {
        let _ = (mic, end, arrival);
    }

    /// A cycle is complete.
    pub fn on_complete(
        &mut self,
        arrivals: [MonoTime; MICS],
        stamps: [KernelTime; MICS],
        loop_delays: [Span; MICS],
        now: MonoTime,
    ) {
        let _ = (arrivals, stamps, loop_delays, now);
    }

    /// The event of a complete cycle was handed to the ring, `delay` after the kernel's timestamp of the packet that completed it.
    pub fn on_handed(&mut self, delay: Span, now: MonoTime) {
        let _ = (delay, now);
    }

    /// Kernel timestamp of mic 1 and of mic 2 minus that of mic 0, in the newest complete cycle.
    pub fn latest_offsets(&self) -> Option<[Span; 2]> {
        None
    }

    pub fn since_start(&self) -> SkewFigures {
        unimplemented!()
    }

    /// The last ten seconds before `now`.
    pub fn window(&mut self, now: MonoTime) -> SkewFigures {
        let _ = now;
        unimplemented!()
    }
}
