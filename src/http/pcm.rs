//! Endless audio without a frame around it, for a WAV that does not end, for programs and speech servers: a clock for its listener.
//!
//! What is missing becomes silence of the same length. But whoever listens live takes that silence after the pause, and lags
//! by it from then on; so it is never longer than the history, and beyond that the position jumps.
//!
//! Every sample that goes out has a place: at the array's rate a position, at another a place on that rate's own axis, which begins
//! where positions do ([`Resampler`]). So listeners that keep up want the same samples at the same time: they are read, resampled and
//! converted once, for all who want them alike.

use std::collections::VecDeque;

use bytes::Bytes;

use super::wav::PIECE_BYTES;
use super::{Source, websocket};
use crate::array::PerMic;
use crate::cycle::Cycle;
use crate::out::Sample;
use crate::out::rates::Resampler;
use crate::time::FramePos;

/// Pieces that are kept for the next listener: those of some formats, and of who is a cycle or two behind. Half a megabyte.
const KEPT: usize = 32;
/// Multiplications that a piece may take: some 15 us of them, which is what converting [`PIECE_BYTES`] takes, so that no client gets more of a turn than
/// another.
const PIECE_WORK: usize = 1 << 16;

static SILENCE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// What the endless stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcmFormat {
    /// Microphones in the order of the channels.
    pub mics: PerMic<u8>,
    pub sample: Sample,
    /// Frames a second.
    pub rate: u32,
}

impl PcmFormat {
    fn all(channels: usize) -> PerMic<u8> {
        PerMic::from_fn(channels, |mic| mic as u8)
    }

    /// `channels`: as in `channels=0,2`, of an array of `of` channels; the error says what is allowed.
    pub fn of(channels: Option<&str>, of: usize, sample: Sample, rate: u32) -> Result<PcmFormat, String> {
        let mut mics = PcmFormat::all(of);
        if let Some(list) = channels {
            let mut named: Vec<u8> = Vec::new();
            for name in list.split(',') {
                let mic = name.parse().ok().filter(|mic| usize::from(*mic) < of && !named.contains(mic));
                named.push(mic.ok_or_else(|| format!("channels: give some of {}", PcmFormat::choice(of)))?);
            }
            mics = named[..].into();
        }
        Ok(PcmFormat { mics, sample, rate })
    }

    fn choice(of: usize) -> String {
        match of {
            1 => "0".into(),
            3 => "0, 1 and 2, as in channels=0,2".into(),
            _ => format!("0 to {}, as in channels=0,{}", of - 1, of - 1),
        }
    }

    fn frame_bytes(&self) -> usize {
        self.mics.len() * self.sample.bytes()
    }

    /// Most frames of a piece.
    fn most(&self, resampler: &Resampler) -> usize {
        let frames = PIECE_BYTES / self.frame_bytes();
        if resampler.is_identity() {
            return frames;
        }
        frames.min(PIECE_WORK / (self.mics.len() * resampler.taps())).max(1)
    }
}

/// Where a piece begins on its rate's axis, how many frames it has, what they look like, and whether it is a WebSocket's message.
type Place = (i64, usize, PcmFormat, bool);

/// The pieces that were made last, and what they are made with.
#[derive(Debug, Default)]
pub struct Pieces {
    made: VecDeque<(Place, Bytes)>,
    /// By the rate that they give: of the list that there is, those that were asked for.
    resamplers: Vec<(u32, Resampler)>,
    /// Room for what a piece is made of: samples of all channels, of one, and what became of it.
    samples: Vec<[u8; 4]>,
    channel: Vec<f32>,
    resampled: Vec<i32>,
}

impl Pieces {
    /// Nobody listens any more.
    pub fn clear(&mut self) {
        self.made = VecDeque::new();
    }

    /// Whether pieces of this rate can be made of an array with that one: from now on they can.
    ///
    /// # Errors
    /// Says which rates there are.
    pub fn prepare(&mut self, from: u32, to: u32) -> Result<(), String> {
        if !self.resamplers.iter().any(|(rate, _)| *rate == to) {
            self.resamplers.push((to, Resampler::new(from, to)?));
        }
        Ok(())
    }

    fn resampler(&self, rate: u32) -> &Resampler {
        let found = self.resamplers.iter().find(|(there, _)| *there == rate);
        &found.expect("a rate is prepared before it is listened to").1
    }

    fn get(&mut self, place: Place, source: &dyn Source) -> Option<Bytes> {
        if let Some((_, piece)) = self.made.iter().rev().find(|(made, _)| *made == place) {
            return Some(piece.clone());
        }
        let (from, frames, format, framed) = place;
        let head = if framed { websocket::message(frames * format.frame_bytes()) } else { Vec::new() };
        let piece = self.make(from, frames, &format, head, source)?;
        if self.made.len() == KEPT {
            self.made.pop_front();
        }
        self.made.push_back((place, piece.clone()));
        Some(piece)
    }

    fn make(
        &mut self,
        from: i64,
        frames: usize,
        format: &PcmFormat,
        head: Vec<u8>,
        source: &dyn Source,
    ) -> Option<Bytes> {
        let channels = source.channels();
        let resampler = &self.resamplers.iter().find(|(rate, _)| *rate == format.rate)?.1;
        let as_it_is =
            resampler.is_identity() && format.sample == Sample::S32le && format.mics == PcmFormat::all(channels);
        if as_it_is && head.is_empty() {
            let mut samples = Vec::with_capacity(frames * channels);
            source.read(FramePos(from), frames, &mut samples)?;
            return Some(samples.into_flattened().into());
        }
        let mut out = head;
        out.reserve(frames * format.frame_bytes());
        self.samples.clear();
        let (first, count) = resampler.input(from, frames);
        // What stood before the oldest frame that is held reads as silence: before the first frame of all, and where a listener was
        // overtaken and has silence before it too.
        let missing = ((source.span().start.0 - first).max(0) as usize).min(count);
        self.samples.resize(missing * channels, [0; 4]);
        source.read(FramePos(first + missing as i64), count - missing, &mut self.samples)?;
        if resampler.is_identity() {
            for frame in self.samples.chunks_exact(channels) {
                let chosen = format.mics.iter().map(|&mic| i32::from_le_bytes(frame[usize::from(mic)]));
                chosen.for_each(|sample| format.sample.put(sample, &mut out));
            }
            return Some(out.into());
        }
        let wide = format.mics.len();
        self.resampled.clear();
        self.resampled.resize(frames * wide, 0);
        for (nth, &mic) in format.mics.iter().enumerate() {
            let samples = self.samples.iter().skip(usize::from(mic)).step_by(channels);
            self.channel.clear();
            self.channel.extend(samples.map(|sample| i32::from_le_bytes(*sample) as f32));
            let places = self.resampled.iter_mut().skip(nth).step_by(wide);
            places.zip(resampler.make(from, frames, &self.channel)).for_each(|(place, sample)| *place = sample);
        }
        self.resampled.iter().for_each(|&sample| format.sample.put(sample, &mut out));
        Some(out.into())
    }
}

/// Everything from the next cycle on, as it is emitted.
#[derive(Debug)]
pub struct LivePcm {
    /// On the axis of the format's rate. `None` before the first cycle: nothing says yet where it begins.
    next: Option<i64>,
    /// The first cycle that was not sent whole.
    cycle: u64,
    /// Frames of silence in place of what was overwritten, since the client last had everything.
    silence: i64,
    format: PcmFormat,
    /// Each piece is a message of a WebSocket.
    pub framed: bool,
    /// Bytes that the client still asks for, where it said how many.
    left: Option<u64>,
}

impl LivePcm {
    /// From the next emitted cycle on, for so many bytes where that was said. Its rate is [prepared](Pieces::prepare).
    pub fn new(format: PcmFormat, bytes: Option<u64>, source: &dyn Source) -> LivePcm {
        LivePcm { next: None, cycle: source.cycle_ids().end, silence: 0, format, framed: false, left: bytes }
    }

    /// The client has all that it asked for.
    pub fn is_over(&self) -> bool {
        self.left == Some(0)
    }

    /// The next piece, and how many cycles the client lost before it by being slow; `None` until more is emitted.
    pub fn next(&mut self, pieces: &mut Pieces, source: &dyn Source) -> Option<(Bytes, u64)> {
        let (mut piece, lost) = self.piece(pieces, source)?;
        if let Some(left) = &mut self.left {
            piece.truncate((*left).min(piece.len() as u64) as usize);
            *left -= piece.len() as u64;
        }
        Some((piece, lost))
    }

    /// Positions that were skipped are in the history, as zeros. After a skip that is longer than the history the stream
    /// goes on with the first cycle that came. What was overwritten before a slow client took it is silence too, of the
    /// history's length at most before the client has caught up. One that does not (a player that was halted, and goes on
    /// at its own pace) would get little but silence from the history's edge: it goes on with the newest cycle.
    fn piece(&mut self, pieces: &mut Pieces, source: &dyn Source) -> Option<(Bytes, u64)> {
        let span = source.span();
        let held = source.cycle_ids();
        let resampler = pieces.resampler(self.format.rate);
        let max = self.format.most(resampler);
        let mut lost = 0;
        let next = match self.next {
            Some(next) if resampler.base(next) >= span.start.0 => next,
            behind => {
                let mut cycle = source.cycle(self.cycle.max(held.start))?;
                let missing = behind.map(|next| resampler.first_at(cycle.first_frame.0) - next);
                let most = resampler.first_at(span.end - span.start);
                let missing = missing.filter(|n| self.silence + n <= most);
                if missing.is_none() && cycle.id > self.cycle {
                    cycle = source.cycle(held.end - 1)?;
                }
                lost = cycle.id - self.cycle;
                self.cycle = cycle.id;
                if let (Some(next), Some(missing)) = (behind, missing) {
                    let frames = (missing as usize).min(PIECE_BYTES / self.format.frame_bytes());
                    self.next = Some(next + frames as i64);
                    self.silence += frames as i64;
                    return Some((self.silent(frames), lost));
                }
                resampler.first_at(cycle.first_frame.0)
            }
        };
        let frames = ((resampler.ready_at(span.end.0) - next).max(0) as usize).min(max);
        if frames == 0 {
            self.silence = 0;
            return None;
        }
        let sent_to = resampler.base(next + frames as i64);
        let lag = span.end.0 - resampler.base(resampler.ready_at(span.end.0));
        let piece = pieces.get((next, frames, self.format, self.framed), source)?;
        self.next = Some(next + frames as i64);
        // The records of cycles may be gone before their audio is.
        self.cycle = self.cycle.max(held.start);
        // But for what the filter waits for, where the rate is another.
        let sent = |cycle: Cycle| cycle.first_frame.0 + i64::from(cycle.frames) <= sent_to + lag;
        while source.cycle(self.cycle).is_some_and(sent) {
            self.cycle += 1;
        }
        Some((piece, lost))
    }

    fn silent(&self, frames: usize) -> Bytes {
        let bytes = &SILENCE[..frames * self.format.frame_bytes()];
        match self.framed {
            false => Bytes::from_static(bytes),
            true => [&websocket::message(bytes.len())[..], bytes].concat().into(),
        }
    }
}
