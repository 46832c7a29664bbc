//! What the engine says of its sources when it is asked: how they cut their chunks, how far they stand apart, and why a loss cannot be told.

use super::clock::sent;
use super::figures::{Alignment, Known};
use super::intake::chunks::Cut;
use super::number::late::Unnumbered;
use super::{Aligner, Engine};
use crate::array::pairs;
use crate::time::{MonoTime, Span};

impl Engine {
    /// Why it cannot be told of a microphone what it lost; `None` where it can.
    pub fn unnumbered(&self, mic: usize) -> Option<String> {
        let unnumbered = match &self.aligner {
            Aligner::Shared(shared) => shared.unnumbered(),
            Aligner::Independent(boards) => boards.unnumbered(mic),
        };
        unnumbered.map(|Unnumbered { period, jitter }| {
            format!(
                "its packets follow one another by {:.2} ms, and come {:.2} ms late in the mean: arrivals cannot number them",
                period.as_secs_f64() * 1e3,
                jitter.as_secs_f64() * 1e3,
            )
        })
    }

    /// Why it is not told of a source how long its sender kept packets, and how long the path took; `None` where its format tells it.
    pub fn untimed(&self, mic: usize) -> Option<&'static str> {
        sent::reason(self.format(mic))
    }

    pub(super) fn tell_unnumbered(&mut self, mic: usize) {
        let unnumbered = self.unnumbered(mic);
        let told = std::mem::replace(&mut self.mics[mic].told_unnumbered, unnumbered.is_some());
        if let Some(reason) = unnumbered.filter(|_| !told) {
            let name = self.config.layout.name_of(mic);
            self.say(format!("{name}: what it loses is unknown: {reason}"));
        }
    }

    /// How a source cuts its chunks; `None` while that is being learnt.
    pub fn cut(&self, mic: usize) -> Option<Cut> {
        self.chunks.cut(mic)
    }

    /// Samples of a source's chunk (of each channel), and of each of its pieces; `None` while they are being learnt.
    pub fn chunk(&self, mic: usize) -> Option<(u32, Vec<f64>)> {
        match self.chunks.cut(mic)? {
            Cut::Whole => {
                let samples = (self.chunks.usual_bytes(mic) / self.history.frame_bytes(mic)) as u32;
                (samples > 0).then(|| (samples, vec![f64::from(samples)]))
            }
            Cut::Pieces(pattern) => Some((pattern.samples(), pattern.piece_samples().collect())),
        }
    }

    /// How far the channels of each pair are apart as they are placed.
    pub fn alignment(&self, now: MonoTime) -> Vec<Known<Alignment>> {
        let of = |(first, second): (usize, usize)| match &self.aligner {
            Aligner::Independent(boards) => boards.alignment(first, second, now),
            Aligner::Shared(_) if self.mics[first].latest.is_none() || self.mics[second].latest.is_none() => {
                Err("a microphone was never heard")
            }
            Aligner::Shared(_) => Ok(Alignment {
                offset: Span::ZERO,
                uncertainty: Span::ZERO,
                leaves_out: None,
                reason: Some("one board sends in order: the order places the samples"),
            }),
        };
        pairs(self.mics.len()).map(of).collect()
    }
}
