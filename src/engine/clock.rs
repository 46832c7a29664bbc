//! A first clock model: the lowest arrival of the last 10 to 20 s, at the nominal rate.

use crate::time::{FramePos, MonoTime, Span};

const BUCKET: Span = Span::from_secs(10);

/// Arrival times against positions.
#[derive(Clone, Debug)]
pub struct ClockModel {
    sample_rate: u32,
    /// Lowest (arrival - nominal time of the position) in this bucket and the one before.
    lowest: [Option<Span>; 2],
    bucket_start: Option<MonoTime>,
}

impl ClockModel {
    pub fn new(sample_rate_hz: u32) -> ClockModel {
        ClockModel { sample_rate: sample_rate_hz, lowest: [None; 2], bucket_start: None }
    }

    /// A committed packet: `pos` is the end of its last sample on the stream's own axis; `at` its arrival.
    pub fn observe(&mut self, pos: FramePos, at: MonoTime) {
        let start = *self.bucket_start.get_or_insert(at);
        if at - start >= BUCKET {
            self.lowest = [None, self.lowest[0]];
            self.bucket_start = Some(at);
        }
        let y = self.offset(pos, at);
        self.lowest[0] = Some(self.lowest[0].map_or(y, |low| low.min(y)));
    }

    /// The lower envelope's arrival time for `pos`; `None` before a first observation.
    pub fn floor_at(&self, pos: FramePos) -> Option<MonoTime> {
        let low = self.lowest.iter().flatten().min()?;
        Some(MonoTime::from_nanos(0) + *low + Span::of_frames(pos.0, self.sample_rate))
    }

    /// How much later than the envelope.
    pub fn residual(&self, pos: FramePos, at: MonoTime) -> Option<Span> {
        Some(at - self.floor_at(pos)?)
    }

    /// Everything observed at or after `since` really stood `frames` later.
    pub fn renumber(&mut self, _since: MonoTime, frames: i64) {
        let by = Span::of_frames(frames, self.sample_rate);
        for low in self.lowest.iter_mut().flatten() {
            *low -= by;
        }
    }

    /// Offset anew, rate kept.
    pub fn restart(&mut self) {
        self.lowest = [None; 2];
        self.bucket_start = None;
    }

    fn offset(&self, pos: FramePos, at: MonoTime) -> Span {
        at - MonoTime::from_nanos(0) - Span::of_frames(pos.0, self.sample_rate)
    }
}
