//! What really happened, to hold findings against: rates, positions, and what the network withheld.

use super::{Piece, START};
use crate::array::Each;
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

/// A packet (a datagram) that never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub mic: usize,
    /// Which start of its board.
    pub boot: u32,
    /// Chunks of its microphone since that start.
    pub cycle: u64,
    /// Where it lies in its chunk, and which positions it takes with it.
    pub piece: Piece,
    /// Nothing of its chunk was sent.
    pub whole: bool,
    /// When it would have been sent.
    pub sent: MonoTime,
    pub why: Why,
}

/// Packets (datagrams) and chunks of one microphone.
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
    /// Chunks captured, and those of which nothing was sent.
    pub chunks: u64,
    pub lost_chunks: u64,
    /// Withheld packets of chunks of which something was sent.
    pub lost_pieces: u64,
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
    pub mics: Each<MicTruth>,
    /// In the order of capture; a caller with a long run drains it.
    pub withheld: Vec<Withheld>,
    rate_hz: f64,
    /// For each board.
    pub(super) timelines: Vec<Timeline>,
}

impl Truth {
    pub(super) fn new(mics: usize, boards: usize, rate_hz: u32) -> Truth {
        Truth {
            mics: vec![MicTruth::default(); mics].into(),
            withheld: Vec::new(),
            rate_hz: f64::from(rate_hz),
            timelines: vec![Timeline::default(); boards],
        }
    }

    pub(super) fn withhold(&mut self, withheld: Withheld) {
        let mic = &mut self.mics[withheld.mic];
        if !withheld.whole {
            mic.lost_pieces += 1;
        } else if withheld.piece.number == 0 {
            mic.lost_chunks += 1;
        }
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

/// Where a board's sample clock was, about once a second; in runs longer than 36 hours less often, so that it stays bounded.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    anchors: Vec<Anchor>,
    every: Span,
}

const ANCHORS: usize = 1 << 17;

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { anchors: Vec::new(), every: Span::from_secs(1) }
    }
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
        let due = self.anchors.last().is_none_or(|last| last.boot != boot || at - last.at >= self.every);
        if due {
            if self.anchors.len() == ANCHORS {
                let mut keep = false;
                self.anchors.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every = self.every + self.every;
            }
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
            _ if since <= 1.1 * self.every.as_secs_f64() => {
                Some((last.frames as f64 + since * rate_hz * (1.0 + last.ppm * 1e-6), last.boot))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Rate, Reboot, Scenario, Sim};

    fn run(scenario: &Scenario) -> (Sim, Vec<crate::sim::Packet>) {
        let mut sim = Sim::new(scenario);
        let packets = sim.by_ref().collect();
        (sim, packets)
    }

    #[test]
    fn rates_and_positions_are_those_of_the_packets() {
        let seed = 4;
        let rates = vec![Rate::Constant(20.0), Rate::wander(-15.0), Rate::Constant(0.0)];
        let (sim, packets) = run(&Scenario { seed, rates, ..Scenario::three_boards(Span::from_secs(600)) });
        let truth = sim.truth();
        for packet in &packets {
            let frames = truth.frames_at(packet.mic, packet.captured).expect("within the run");
            // Instants are whole nanoseconds, and a wandering rate changes by 0.05 ppm within a second.
            assert!((frames - (packet.position.0 + 512) as f64).abs() < 0.01, "seed {seed}: {packet:?}, {frames}");
        }
        let (from, to) = (START + Span::from_secs(1), START + Span::from_secs(599));
        let mean = |mic| truth.mean_ppm(mic, from, to).expect("within the run").0;
        assert!((mean(0) - 20.0).abs() < 1e-4 && mean(2).abs() < 1e-4, "{} {}", mean(0), mean(2));
        let of_mic_1 = packets.iter().filter(|packet| packet.mic == 1);
        let walked = of_mic_1.clone().map(|packet| packet.ppm).sum::<f64>() / of_mic_1.count() as f64;
        assert!((mean(1) - walked).abs() < 0.02, "seed {seed}: {} for {walked}", mean(1));
    }

    #[test]
    fn a_timeline_of_a_week_is_bounded_and_still_true() {
        let mut timeline = Timeline::default();
        let week = 7 * 86_400;
        for second in 0..week {
            timeline.note(0, second * 1_000_000_000, second * 48_000, 0.0);
        }
        assert!(timeline.anchors.len() <= ANCHORS);
        for second in [0, 1, 100_001, 400_007, week - 1] {
            let at = START + Span::from_secs(second);
            let (frames, _) = timeline.frames_at(at, 48_000.0).expect("within the week");
            assert!((frames - second as f64 * 48_000.0).abs() < 1e-3, "{second} s: {frames}");
        }
    }

    #[test]
    fn a_reboot_starts_positions_and_the_port_anew() {
        let reboots = vec![Reboot { board: 1, at: Span::from_secs(5), down: Span::from_secs(2) }];
        let scenario = Scenario { reboots, ..Scenario::three_boards(Span::from_secs(10)) };
        let (sim, packets) = run(&scenario);
        let of_mic = |mic| packets.iter().filter(move |packet| packet.mic == mic);
        let before = of_mic(1).rfind(|packet| packet.boot == 0).expect("a first run");
        let after = of_mic(1).find(|packet| packet.boot == 1).expect("a second run");
        assert!(before.captured < START + Span::from_secs(5));
        assert_eq!(after.position.0, 0);
        let start = (after.captured - START) - scenario.period();
        assert!((Span::from_secs(7)..Span::from_secs(7) + scenario.period()).contains(&start), "{start:?}");
        assert_ne!(sim.sender(before), sim.sender(after));
        assert_eq!(sim.sender(before).ip(), sim.sender(after).ip());
        assert!(of_mic(0).all(|packet| packet.boot == 0));

        let truth = sim.truth();
        let at = |seconds| START + Span::from_secs(seconds);
        assert_eq!(truth.mean_ppm(1, at(2), at(9)), None, "no rate across a reboot");
        assert!(truth.mean_ppm(1, at(8), at(9)).is_some());
        assert_eq!(truth.frames_at(1, START), None, "nothing had been captured");
    }
}
