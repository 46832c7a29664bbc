//! Calibration: the constant offset between boards that arrival times leave out, from claps.
//!
//! Problem: the least time that a path takes differs from board to board by a constant that no arrival shows.
//!
//! Idea: somebody claps, several times, equally far from all microphones (or at distances that are told). Sound comes first by the
//! direct way ([`onset`](crate::sound::onset)): by how much later it stands in one channel than in the first is what the channel is off
//! by. Claps that agree say how well that is known; where they do not, nothing is changed.
//!
//! Like all listening, it is done in slices: a block is looked through, or one microphone's clap is compared.

use super::history::History;
use crate::engine::tuning::calibrate::{APART, AROUND, BLOCK, ENOUGH, LAG, LEAST_PEAK, MEAN, SOUND, STANDS_OUT};
use crate::sound::onset::{Agreement, agree, difference};
use crate::time::{FramePos, MonoTime, Span};

/// What became of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Calibrated {
    /// It listens until then.
    Listening { until: MonoTime },
    /// Of each microphone: by how many samples it was too late, against the first; or why that is not known.
    Done(Vec<Result<Agreement, &'static str>>),
}

/// One calibration.
#[derive(Debug)]
pub(super) struct Calibration {
    /// Metres from each microphone; equal ones where nobody said.
    distances: Vec<f64>,
    until: MonoTime,
    next: FramePos,
    /// Mean peaks of blocks.
    peaks: Vec<f64>,
    /// A clap that is being compared: its first loud sample, and the microphone that is next.
    clap: Option<(FramePos, usize)>,
    /// Of each microphone, by how many samples each clap came later than to the first.
    later: Vec<Vec<f64>>,
    heard: usize,
    result: Option<Vec<Result<Agreement, &'static str>>>,
    /// Room for a clap in two microphones.
    room: [Vec<i32>; 2],
}

impl Calibration {
    /// Listens to what leaves from now on. `distances`: of the claps from each microphone, in metres.
    pub fn new(distances: Vec<f64>, history: &History, now: MonoTime, lasting: Span) -> Calibration {
        let mics = distances.len();
        Calibration {
            distances,
            until: now + lasting,
            next: history.span().end,
            peaks: vec![0.0; mics],
            clap: None,
            later: vec![Vec::with_capacity(ENOUGH); mics],
            heard: 0,
            result: None,
            room: [const { Vec::new() }; 2],
        }
    }

    pub fn state(&self) -> Calibrated {
        match &self.result {
            Some(result) => Calibrated::Done(result.clone()),
            None => Calibrated::Listening { until: self.until },
        }
    }

    /// Claps that were heard.
    pub fn claps(&self) -> usize {
        self.heard
    }

    /// A slice of work. `None`: there was none; true: with it the calibration ends.
    pub fn step(&mut self, history: &History, sample_rate: u32, now: MonoTime) -> Option<bool> {
        if self.result.is_some() {
            return None;
        }
        if let Some((at, mic)) = self.clap {
            self.compare(at, mic, history);
            return Some(false);
        }
        if now >= self.until || self.heard >= ENOUGH {
            self.finish(sample_rate);
            return Some(true);
        }
        self.look(history)
    }

    /// Whether a clap begins in the next block.
    fn look(&mut self, history: &History) -> Option<bool> {
        let span = history.span();
        self.next = self.next.max(span.start);
        // What is around a clap in it has to be there too.
        if self.next + (BLOCK as i64 + AROUND + LAG) > span.end {
            return None;
        }
        let mut block = [0; BLOCK];
        let mut first: Option<usize> = None;
        for (mic, mean) in self.peaks.iter_mut().enumerate() {
            history.listen(history.layout().first_of(mic), self.next, &mut block).expect("it is inside the span");
            let peak = block.iter().fold(0, |peak, x| x.unsigned_abs().max(peak));
            let stands_out = (STANDS_OUT * *mean).max(LEAST_PEAK);
            if f64::from(peak) > stands_out && *mean > 0.0 {
                let at = block.iter().position(|x| f64::from(x.unsigned_abs()) > stands_out);
                first = first.into_iter().chain(at).min();
            }
            let weight = if *mean == 0.0 { 1.0 } else { 1.0 / MEAN };
            *mean += (f64::from(peak) - *mean).clamp(-*mean, stands_out) * weight;
        }
        match first {
            Some(first) if self.next - span.start >= AROUND => {
                self.clap = Some((self.next + first as i64, 1));
                self.heard += 1;
            }
            _ => self.next = self.next + BLOCK as i64,
        }
        Some(false)
    }

    fn compare(&mut self, at: FramePos, mic: usize, history: &History) {
        for (room, mic) in self.room.iter_mut().zip([0, mic]) {
            room.resize(2 * AROUND as usize, 0);
            if history.listen(history.layout().first_of(mic), at + -AROUND, room).is_none() {
                room.fill(0);
            }
        }
        self.later[mic].extend(difference(&self.room[0], &self.room[1]));
        self.clap = (mic + 1 < self.later.len()).then_some((at, mic + 1));
        if self.clap.is_none() {
            self.next = at + APART;
        }
    }

    fn finish(&mut self, sample_rate: u32) {
        let way = |mic: usize| (self.distances[mic] - self.distances[0]) / SOUND * f64::from(sample_rate);
        let of = |(mic, later): (usize, &Vec<f64>)| match agree(later) {
            _ if mic == 0 => Ok(Agreement { median: 0.0, uncertainty: 0.0, agreeing: self.heard, heard: self.heard }),
            Some(agreement) => Ok(Agreement { median: agreement.median - way(mic), ..agreement }),
            None if later.len() < 3 => Err("fewer than three claps were heard by it and by the first"),
            None => Err("the claps disagree"),
        };
        self.result = Some(self.later.iter().enumerate().map(of).collect());
    }
}
