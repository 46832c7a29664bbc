//! Follower: the cycles of an engine, some time after they left -> a track of aligned audio, with what the engine knows beside it.
//!
//! Why later: a packet that comes late still fills the history, and what was held for lost or shifted is put right there. So audio is taken from
//! the history two fifths of its length behind the newest frame, and by then holds what a listener could not have. The other three fifths are
//! for pauses: positions may jump by as much as the pause lasted before the rest is taken.

use super::serve::recording::shelf::utc;
use crate::cycle::Cycle;
use crate::engine::Engine;
use crate::engine::history::History;
use crate::out::sidecar::Line;
use crate::out::track::{Piece, Spec, Stretch, Track, Why};
use crate::report::DriftFigures;
use crate::time::{FramePos, KernelTime, MonoTime, Span};

/// Times, rates and offsets are told so often.
const FIGURES: Span = Span::from_secs(10);

/// What a sidecar calls the microphone of a source, and a pair of them.
struct Names {
    mics: Vec<String>,
    pairs: Vec<String>,
}

/// See the top of the file.
pub(super) struct Follower {
    track: Track,
    names: Names,
    /// Frames behind the newest one.
    delay: i64,
    /// The first cycle that was not taken.
    next: Option<u64>,
    /// Cycles before it were left out.
    left_out: bool,
    samples: Vec<[u8; 4]>,
    /// Behind the frames of which figures were told last.
    told: Option<FramePos>,
}

impl Follower {
    /// Of an engine that has emitted nothing yet.
    pub fn new(array: &str, engine: &Engine, frames_a_file: i64) -> Follower {
        let (history, layout) = (engine.history(), engine.layout());
        let (rate, channels) = (engine.config().sample_rate, layout.channels());
        let spec = Spec { array: array.to_owned(), run: history.first_id(), rate, channels, frames_a_file };
        let name = |source: usize| format!("mic{}", layout.first_of(source));
        let pairs = crate::array::pairs(layout.sources());
        let names = Names {
            mics: (0..layout.sources()).map(name).collect(),
            pairs: pairs.map(|(first, second)| format!("{}_vs_{}", name(first), name(second))).collect(),
        };
        Follower {
            track: Track::new(spec),
            names,
            delay: history.keeps() * 2 / 5,
            next: None,
            left_out: false,
            samples: Vec::new(),
            told: None,
        }
    }

    pub fn spec(&self) -> &Spec {
        self.track.spec()
    }

    /// How far behind the newest frame it follows.
    pub fn delay(&self) -> Span {
        Span::of_frames(self.delay, self.spec().rate)
    }

    /// The next cycle, if it is time for it; `all`: whatever the time.
    pub fn due(&self, history: &History, all: bool) -> Option<Cycle> {
        let ids = history.ids();
        let id = self.next.map_or(ids.start, |next| next.max(ids.start));
        let cycle = history.cycle(id)?;
        let end = cycle.first_frame + i64::from(cycle.frames);
        // Of short packets the records go before the audio does.
        let is_full = ids.end - id > history.keeps_cycles() as u64 / 2;
        (all || is_full || end + self.delay <= history.span().end).then_some(cycle)
    }

    /// Takes it, into `out`. False where the history has overwritten its frames: they are left out.
    pub fn take(&mut self, cycle: &Cycle, engine: &Engine, now: MonoTime, out: &mut impl FnMut(Piece<'_>)) -> bool {
        self.samples.clear();
        let (first, frames) = (cycle.first_frame, i64::from(cycle.frames));
        self.left_out |= self.next.is_some_and(|next| next < cycle.id);
        if engine.history().append_to(&mut self.samples, first, cycle.frames as usize).is_none() {
            self.leave_out(cycle);
            return false;
        }
        self.next = Some(cycle.id + 1);
        let at = self.captured(cycle);
        if std::mem::take(&mut self.left_out) {
            self.track.pass(first, at, Why::NotSaved, out);
        }
        self.track.cycle(&Stretch { first, frames, samples: &self.samples, came: &cycle.mic_samples, at }, out);
        let rate = self.spec().rate;
        if self.told.is_none_or(|told| Span::of_frames(first - told, rate) >= FIGURES) {
            self.told = Some(first + frames);
            self.tell(engine, at + Span::of_frames(frames, rate), now, out);
        }
        true
    }

    /// Its frames are not saved.
    pub fn leave_out(&mut self, cycle: &Cycle) {
        self.next = Some(cycle.id + 1);
        self.left_out = true;
    }

    /// The file ends here.
    pub fn end(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        self.track.end(out);
    }

    /// Of the stamps in the cycle the oldest: others may be of packets that came late.
    fn captured(&self, cycle: &Cycle) -> KernelTime {
        let stamp = cycle.arrival.iter().flatten().min().copied().unwrap_or(cycle.emitted);
        stamp - Span::of_frames(i64::from(cycle.frames), self.spec().rate)
    }

    fn tell(&self, engine: &Engine, at: KernelTime, now: MonoTime, out: &mut impl FnMut(Piece<'_>)) {
        let (at_us, clock) = (at.as_micros(), engine.clock_name());
        self.track.line(|frame, position| Line::Clock { frame, position, at_us, clock }, out);
        let clocks = (0..engine.layout().sources()).map(|source| engine.clock(source));
        let drift = DriftFigures::of(clocks, engine.is_shared(), now);
        let Names { mics, pairs } = &self.names;
        for (of, rate) in mics.iter().zip(&drift.mics).chain(pairs.iter().zip(&drift.pairs)) {
            if let Ok(rate) = rate {
                let (ppm, uncertainty_ppm) = (rate.ppm, rate.uncertainty_ppm);
                self.track.line(|frame, position| Line::Drift { frame, position, of, ppm, uncertainty_ppm }, out);
            }
        }
        for (mic, kept) in mics.iter().zip(engine.kept()) {
            if let Some(kept) = kept {
                let (samples, uncertainty_samples) = (kept.samples, kept.uncertainty);
                let line = |frame, position| Line::Calibration { frame, position, mic, samples, uncertainty_samples };
                self.track.line(line, out);
            }
        }
        for (pair, alignment) in pairs.iter().zip(engine.alignment(now)) {
            if let Ok(known) = alignment {
                let (offset_us, uncertainty_us) = (known.offset.as_micros_f64(), known.uncertainty.as_micros_f64());
                self.track
                    .line(|frame, position| Line::Alignment { frame, position, pair, offset_us, uncertainty_us }, out);
            }
        }
    }
}

/// What the files of an array are called, without the ending: after the array, the second of their first frame and its position.
pub(super) fn name(array: &str, at: KernelTime, first: FramePos) -> String {
    format!("{array}-{}-{:012}", utc(at), first.0)
}
