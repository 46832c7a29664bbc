//! What really happened, to hold findings against: rates, positions, and what the network withheld.

use super::START;
use crate::MICS;
use crate::time::{MonoTime, Ppm, Span};

/// Why a packet never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The network's loss model; of a fragmented packet, of one of its fragments.
    Lost,
    /// Its whole cycle was lost.
    CycleLost,
    /// The microphone was dead.
    Muted,
}

/// A packet that never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub mic: usize,
    /// Which start of its board.
    pub boot: u32,
    /// Cycles since that start.
    pub cycle: u64,
    /// When it would have been sent.
    pub sent: MonoTime,
    pub why: Why,
}

/// Packets of one microphone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MicTruth {
    /// Captured: what would arrive over a perfect network. `sent` less all that was withheld is what arrived.
    pub captured: u64,
    pub lost: u64,
    pub cycle_lost: u64,
    pub muted: u64,
    /// Sent once more.
    pub duplicated: u64,
    /// Held up out of order.
    pub reordered: u64,
}

impl MicTruth {
    /// Packets that never arrived.
    pub fn withheld(&self) -> u64 {
        self.lost + self.cycle_lost + self.muted
    }
    /// Packets that arrived (or will), their copies not counted.
    pub fn delivered(&self) -> u64 {
        self.captured - self.withheld()
    }
}

/// The truth about a run so far.
#[derive(Clone, Debug)]
pub struct Truth {
    pub mics: [MicTruth; MICS],
    /// In the order of capture; a caller with a long run drains it.
    pub withheld: Vec<Withheld>,
    rate_hz: f64,
    /// For each board.
    pub(super) timelines: Vec<Timeline>,
}

impl Truth {
    pub(super) fn new(boards: usize, rate_hz: u32) -> Truth {
        Truth {
            mics: [MicTruth::default(); MICS],
            withheld: Vec::new(),
            rate_hz: f64::from(rate_hz),
            timelines: vec![Timeline::default(); boards],
        }
    }

    pub(super) fn withhold(&mut self, withheld: Withheld) {
        let mic = &mut self.mics[withheld.mic];
        match withheld.why {
            Why::Lost => mic.lost += 1,
            Why::CycleLost => mic.cycle_lost += 1,
            Why::Muted => mic.muted += 1,
        }
        self.withheld.push(withheld);
    }

    /// How many frames microphone `mic` had captured since its board's start, at `at`; `None` where no cycle within a
    /// second before `at` says so.
    pub fn frames_at(&self, mic: usize, at: MonoTime) -> Option<f64> {
        self.timeline(mic).frames_at(at, self.rate_hz).map(|(frames, _)| frames)
    }

    /// The rate error of microphone `mic` at `at`.
    pub fn ppm_at(&self, mic: usize, at: MonoTime) -> Option<Ppm> {
        self.timeline(mic).before(at).map(|anchor| Ppm(anchor.ppm))
    }

    /// The mean rate error of microphone `mic` between two moments of one run of its board.
    pub fn mean_ppm(&self, mic: usize, from: MonoTime, to: MonoTime) -> Option<Ppm> {
        let (first, boot) = self.timeline(mic).frames_at(from, self.rate_hz)?;
        let (last, same_boot) = self.timeline(mic).frames_at(to, self.rate_hz)?;
        let nominal = (to - from).as_secs_f64() * self.rate_hz;
        (boot == same_boot && nominal > 0.0).then(|| Ppm(((last - first) / nominal - 1.0) * 1e6))
    }

    fn timeline(&self, mic: usize) -> &Timeline {
        &self.timelines[mic.min(self.timelines.len() - 1)]
    }
}

/// Where a board's sample clock was, about once a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    anchors: Vec<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    boot: u32,
    at: MonoTime,
    frames: i64,
    ppm: f64,
}

impl Timeline {
    /// Takes note of the end of a cycle, when the last note is old enough.
    pub(super) fn note(&mut self, boot: u32, at_nanos: i64, frames: i64, ppm: f64) {
        let at = START + Span::from_nanos(at_nanos);
        let due = self.anchors.last().is_none_or(|last| last.boot != boot || at - last.at >= EVERY);
        if due {
            self.anchors.push(Anchor { boot, at, frames, ppm });
        }
    }

    fn before(&self, at: MonoTime) -> Option<&Anchor> {
        let after = self.anchors.partition_point(|anchor| anchor.at <= at);
        self.anchors[..after].last()
    }

    fn frames_at(&self, at: MonoTime, rate_hz: f64) -> Option<(f64, u32)> {
        let after = self.anchors.partition_point(|anchor| anchor.at <= at);
        let last = self.anchors[..after].last()?;
        let since = (at - last.at).as_secs_f64();
        match self.anchors.get(after) {
            Some(next) if next.boot == last.boot => {
                let share = since / (next.at - last.at).as_secs_f64();
                Some((last.frames as f64 + share * (next.frames - last.frames) as f64, last.boot))
            }
            _ if since <= 1.1 => Some((last.frames as f64 + since * rate_hz * (1.0 + last.ppm * 1e-6), last.boot)),
            _ => None,
        }
    }
}

const EVERY: Span = Span::from_secs(1);
