//! Free-running boards without slips: each one's samples are interpolated at the common positions.
//!
//! Problem: boards' rates differ by tens of ppm. Slips of whole samples keep channels within a sample of each other, but each
//! is a click, and between them the channels' distance drifts across that sample.
//!
//! Idea: the common axis is the host's time (CLOCK_MONOTONIC_RAW) at the nominal rate. Where a packet's end lies on it says
//! the line for alignment of its board's clock model; the offset goes there along a ramp through the packet, and the samples
//! are interpolated at the whole positions.
//!
//! Beside a gap the filter takes what is missing for silence, and a position counts as there when the sample nearest to it
//! is: a gap keeps its place and length to a sample, and up to `HALF` samples on either side of it are within the filter's
//! reach. Those before it come with the packet behind it.

use crate::engine::free::tuning::resample::MAX_BEND;
use std::sync::Arc;

use super::grid::{Grid, Heard};
use super::sinc::{HALF, Kernel, TAPS};
use super::stream::Decided;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::shared::tail::Sink;
use crate::time::{MonoTime, Span};

/// Microphones that are resampled.
#[derive(Debug)]
pub(in crate::engine) struct Resampling {
    kernel: Arc<Kernel>,
    sample_rate: u32,
    tracks: Vec<Track>,
    /// The common position at a moment, and from then on at the nominal rate of the host's clock.
    axis: Option<(MonoTime, f64)>,
}

impl Resampling {
    /// `channels`: of each microphone.
    pub fn new(kernel: Arc<Kernel>, channels: impl Iterator<Item = usize>, sample_rate: u32) -> Resampling {
        Resampling { kernel, sample_rate, tracks: channels.map(Track::new).collect(), axis: None }
    }

    pub fn start(&mut self, axis: Option<(MonoTime, f64)>) {
        self.axis = axis;
    }

    /// By how many samples a board's own axis is further on than its arrivals say.
    pub fn set_bias(&mut self, mic: usize, samples: f64) {
        self.tracks[mic].bias = samples;
    }

    /// Common position minus own position of a channel.
    pub fn offset(&self, mic: usize) -> Option<f64> {
        self.tracks[mic].cursor.map(Cursor::offset)
    }

    /// Puts a decided packet on the common axis; what the filter still waits for comes with the next. True when it came too
    /// late for its cycle; and the channel's offset in whole samples. `free`: up to where the microphone had passed before the chunk.
    pub fn place(
        &mut self,
        mic: usize,
        d: &Decided<'_>,
        free: i64,
        now: MonoTime,
        grid: &mut Grid,
        sink: &mut Sink<'_>,
    ) -> (bool, i64) {
        if self.tracks[mic].breaks_at(d.first.0) {
            self.flush(mic, now, grid, sink);
        }
        let (at, position) = self.axis.expect("positions have started");
        let phase = d.phase.expect("a channel that is tied has a line for alignment");
        let end = d.first.0 + (d.samples.len() / sink.history.frame_bytes(mic)) as i64;
        let since = Span::as_secs_f64(phase - at) * f64::from(self.sample_rate);
        let track = &mut self.tracks[mic];
        let wanted = position + since - end as f64 - track.bias;
        let (pos, samples) = track.push(&self.kernel, d.first.0, d.samples, wanted);
        let late = !samples.is_empty() && grid.fill_from(free, mic, pos, samples, d.heard, now, sink);
        let track = &mut self.tracks[mic];
        track.newest = Some(d.heard);
        (late, track.offset())
    }

    /// Nothing joins a channel's newest packet: the rest of it is placed.
    fn flush(&mut self, mic: usize, now: MonoTime, grid: &mut Grid, sink: &mut Sink<'_>) {
        let newest = self.tracks[mic].newest;
        let (pos, samples) = self.tracks[mic].flush(&self.kernel);
        if let Some(newest) = newest.filter(|_| !samples.is_empty()) {
            grid.fill(mic, pos, samples, newest, now, sink);
        }
    }

    /// The channel's offset is lost.
    pub fn untie(&mut self, mic: usize, now: MonoTime, grid: &mut Grid, sink: &mut Sink<'_>) {
        self.flush(mic, now, grid, sink);
        self.tracks[mic].cursor = None;
    }
}

/// Where the next output lies.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Common position.
    out: i64,
    /// The same place on the board's own axis: the sample before it, and the fraction behind that.
    own: i64,
    fraction: f64,
}

impl Cursor {
    /// Common position minus own position.
    fn offset(self) -> f64 {
        (self.out - self.own) as f64 - self.fraction
    }
    fn step(&mut self, bend: f64) {
        self.out += 1;
        self.fraction += 1.0 - bend;
        let whole = self.fraction.floor();
        self.own += whole as i64;
        self.fraction -= whole;
    }
}

/// One microphone, all its channels alike, on its way to the common positions.
#[derive(Debug)]
struct Track {
    cursor: Option<Cursor>,
    newest: Option<Heard>,
    /// Of each channel, own samples from position `base` to `end`, with silence before the first after a gap.
    channels: Vec<Vec<f32>>,
    base: i64,
    end: i64,
    out: Vec<u8>,
    bias: f64,
}

impl Track {
    fn new(channels: usize) -> Track {
        let channels = vec![Vec::new(); channels];
        Track { cursor: None, newest: None, channels, base: 0, end: 0, out: Vec::new(), bias: 0.0 }
    }

    /// Whether a packet at `first` does not join what came before.
    fn breaks_at(&self, first: i64) -> bool {
        self.cursor.is_some() && first != self.end
    }

    /// Common position minus own position of the next output, in whole samples.
    fn offset(&self) -> i64 {
        self.cursor.map_or(0, |cursor| cursor.offset().round() as i64)
    }

    /// A packet whose first sample stands at `first` on the own axis. `wanted` is what the offset is to be at its end.
    /// Returns the common position of the frames that are known now, and these.
    fn push(&mut self, kernel: &Kernel, first: i64, samples: &[u8], wanted: f64) -> (i64, &[u8]) {
        let wide = self.channels.len();
        let frames = (samples.len() / (SAMPLE_BYTES * wide)) as i64;
        let mut cursor = match self.cursor {
            Some(cursor) if first == self.end => cursor,
            before => {
                for channel in &mut self.channels {
                    channel.clear();
                    channel.resize(HALF as usize, 0.0);
                }
                self.base = first - HALF;
                match before {
                    // After the flush it stands half a sample around the end.
                    Some(Cursor { out, own, fraction }) => {
                        let gap = first - self.end;
                        Cursor { out: out + gap, own: own + gap, fraction }
                    }
                    None => {
                        let out = (first as f64 - 0.5 + wanted).ceil();
                        let own = out - wanted;
                        Cursor { out: out as i64, own: own.floor() as i64, fraction: own - own.floor() }
                    }
                }
            }
        };
        self.end = first + frames;
        let (words, _) = samples.as_chunks();
        for (nth, channel) in self.channels.iter_mut().enumerate() {
            channel.extend(words.iter().skip(nth).step_by(wide).map(|word| i32::from_le_bytes(*word) as f32));
        }
        let bend = ((wanted - cursor.offset()) / frames as f64).clamp(-MAX_BEND, MAX_BEND);
        let from = cursor.out;
        self.out.clear();
        while cursor.own + HALF < self.end {
            self.interpolate(kernel, cursor);
            cursor.step(bend);
        }
        self.cursor = Some(cursor);
        let used = (cursor.own + 1 - HALF - self.base).clamp(0, self.channels[0].len() as i64);
        self.channels.iter_mut().for_each(|channel| _ = channel.drain(..used as usize));
        self.base += used;
        (from, &self.out)
    }

    /// Nothing joins what has come: the rest of it, up to the gap.
    fn flush(&mut self, kernel: &Kernel) -> (i64, &[u8]) {
        self.out.clear();
        let Some(mut cursor) = self.cursor else { return (0, &self.out) };
        let from = cursor.out;
        let len = (self.end + HALF - self.base) as usize;
        self.channels.iter_mut().for_each(|channel| channel.resize(len, 0.0));
        while (cursor.own - self.end) as f64 + cursor.fraction < -0.5 {
            self.interpolate(kernel, cursor);
            cursor.step(0.0);
        }
        self.cursor = Some(cursor);
        (from, &self.out)
    }

    fn interpolate(&mut self, kernel: &Kernel, cursor: Cursor) {
        let from = (cursor.own + 1 - HALF - self.base) as usize;
        for channel in &self.channels {
            let value = kernel.at(&channel[from..from + TAPS], cursor.fraction);
            // Saturates: between samples of full scale a signal may lie above it.
            self.out.extend_from_slice(&(value.round_ties_even() as i32).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: i64 = 512;

    /// A slow ramp: sample `p` is 1000 p.
    fn packet(first: i64) -> Vec<u8> {
        (first..first + FRAMES).flat_map(|p| (1000 * p as i32).to_le_bytes()).collect()
    }

    fn values((first, bytes): (i64, &[u8])) -> Vec<(i64, f64)> {
        let (words, _) = bytes.as_chunks();
        (first..).zip(words.iter().map(|w| f64::from(i32::from_le_bytes(*w)) / 1000.0)).collect()
    }

    #[test]
    fn positions_have_the_samples_that_the_offset_gives_them() {
        let (kernel, mut track) = (Kernel::new(), Track::new(1));
        let mut seen = Vec::new();
        for k in 0..100 {
            // The offset grows by 50 ppm from 100.3.
            let wanted = 100.3 + ((k + 1) * FRAMES) as f64 * 50e-6;
            seen.extend(values(track.push(&kernel, k * FRAMES, &packet(k * FRAMES), wanted)));
        }
        assert!(seen.windows(2).all(|w| w[1].0 == w[0].0 + 1), "every position once");
        assert_eq!(seen[0].0, 100, "whose nearest sample is the first");
        // Known are the own positions below 51200 - 32, and those lie at p < 51168 (1 + 50e-6) + 100.3 = 51270.86.
        assert_eq!(seen[seen.len() - 1].0, 51_270);
        // The first packet starts where its end should be; from then on the ramp is followed, half a filter behind.
        for &(p, value) in &seen[600..] {
            let own = (p as f64 - 100.3) / (1.0 + 50e-6);
            // Single precision: 4e-7 of the value.
            assert!((value - own).abs() < 0.02, "{p}: {value} for {own}");
        }
    }

    #[test]
    fn a_gap_keeps_its_place_and_its_length() {
        let (kernel, mut track) = (Kernel::new(), Track::new(1));
        let mut seen = Vec::new();
        for k in [0, 1, 2, 4, 5] {
            if track.breaks_at(k * FRAMES) {
                seen.extend(values(track.flush(&kernel)));
            }
            seen.extend(values(track.push(&kernel, k * FRAMES, &packet(k * FRAMES), 0.4)));
        }
        let missing: Vec<i64> =
            seen.windows(2).filter(|w| w[1].0 != w[0].0 + 1).flat_map(|w| [w[0].0, w[1].0]).collect();
        assert_eq!(missing, [3 * FRAMES - 1, 4 * FRAMES], "position p is own position p - 0.4: nearest sample p");
        for &(p, value) in &seen {
            let from_gap = (p - 3 * FRAMES).abs().min((p - 4 * FRAMES).abs()).min(p);
            assert!(from_gap <= HALF || (value - (p as f64 - 0.4)).abs() < 0.01, "{p}: {value}");
        }
    }

    #[test]
    fn packets_of_any_size_with_any_gaps_give_each_position_once() {
        let kernel = Kernel::new();
        for seed in 1..=20_u64 {
            println!("seed {seed}");
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut below = |n: u64| {
                // Marsaglia, "Xorshift RNGs".
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                ((random >> 20) % n) as i64
            };
            let (mut track, mut at, mut seen, mut gaps, mut frames) = (Track::new(1), 0, Vec::new(), 0, 0);
            for _ in 0..500 {
                if below(10) == 0 {
                    at += 1 + below(5_000);
                }
                if track.breaks_at(at) {
                    gaps += 1;
                    seen.extend(values(track.flush(&kernel)));
                }
                let n = if below(4) == 0 { 1 + below(3) } else { 1 + below(2_000) };
                let samples = vec![1; n as usize * SAMPLE_BYTES];
                seen.extend(values(track.push(&kernel, at, &samples, below(1_000) as f64 * 0.01)));
                at += n;
                frames += n;
            }
            seen.extend(values(track.flush(&kernel)));
            assert!(seen.windows(2).all(|w| w[0].0 < w[1].0));
            // Offsets end within 10 of where they began, and each run is whole to a sample.
            assert!((seen.len() as i64 - frames).abs() <= gaps + 12, "{} of {frames}, {gaps} gaps", seen.len());
        }
    }

    #[test]
    fn an_offset_that_jumps_is_followed_within_a_thousandth() {
        let (kernel, mut track) = (Kernel::new(), Track::new(1));
        track.push(&kernel, 0, &packet(0), 0.0);
        let seen = values(track.push(&kernel, FRAMES, &packet(FRAMES), 40.0));
        assert!(seen.windows(2).all(|w| (w[1].1 - w[0].1 - (1.0 - MAX_BEND)).abs() < 0.01), "no click");
    }
}
