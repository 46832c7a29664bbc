//! What the engine counts and measures: plain numbers, one place for all of them.
//!
//! Counters are since start; a counter of the last seconds is the difference of two copies. Distributions, jitter and trends
//! come from the [`SkewMeter`](self::skew::SkewMeter), once since start and once for the last ten seconds.

pub(super) mod desync;
mod notes;
pub mod skew;
pub(super) mod tally;
pub(super) mod trend;
mod tuning;
pub mod window;

use crate::array::Each;
use crate::time::Span;

/// Counters of one source, since start. "Packets" unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MicCounters {
    /// Accepted packets.
    pub received: u64,
    /// Samples of each channel in the accepted packets.
    pub samples: u64,
    /// Empty, or not a whole number of samples; from the sender that is followed.
    pub malformed: u64,
    /// Longer than the limit; from the sender that is followed.
    pub truncated: u64,
    /// From another sender while the followed one is live.
    pub foreign: u64,
    pub duplicate: u64,
    /// Arrived after their cycle had left; they still fill the history.
    pub late: u64,
    /// Inferred lost, those of whole lost cycles included, once settled; one that still arrives moves to `late`.
    pub lost: u64,
    /// Pieces inferred lost of chunks of which something came.
    pub lost_pieces: u64,
    /// Dropped at the socket's full receive buffer: SO_RXQ_OVFL, SO_MEMINFO.
    pub kernel_dropped: u64,
    pub sender_changes: u64,
    /// Whole samples inserted or left out to follow a free-running board.
    pub slips: u64,
    /// Skips that proved false and were taken back.
    pub corrected: u64,
    /// Delivered without a kernel timestamp: an error of ours; not placed.
    pub unstamped: u64,
    /// Packets of the followed sender whose number is far from all that was expected: one that stands alone is not placed.
    pub jumps: u64,
    /// No audio, but in its place on this port: RTCP, VBAN's text.
    pub control: u64,
    /// Its packets carry numbers: what is lost, late or a copy is known.
    pub known: bool,
    /// Of a numbered source: what arrival times alone would have said.
    pub inference: Inference,
}

/// The inference from arrival times, held against the numbers of a source. Packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inference {
    /// Lost, and inferred lost.
    pub agree: u64,
    /// Lost, and not inferred lost.
    pub missed: u64,
    /// Inferred lost, and not lost.
    pub invented: u64,
    /// Placed elsewhere than their numbers say.
    pub shifted: u64,
}

impl Inference {
    fn since(&self, earlier: &Inference) -> Inference {
        Inference {
            agree: self.agree.saturating_sub(earlier.agree),
            missed: self.missed.saturating_sub(earlier.missed),
            invented: self.invented.saturating_sub(earlier.invented),
            shifted: self.shifted.saturating_sub(earlier.shifted),
        }
    }
}

impl Counters {
    /// Becomes these, in the room that it has.
    pub fn copy(&mut self, newest: &Counters) {
        let Counters { mics, cycles, clock_steps } = newest;
        Vec::clone_from(&mut self.mics, mics);
        (self.cycles, self.clock_steps) = (*cycles, *clock_steps);
    }
}

impl MicCounters {
    /// So many packets were not lost after all. Never below none: fuzzing found cycles, split in two by a loss that was believed, of
    /// which less had been counted than was taken back.
    pub(super) fn found(&mut self, packets: u64) {
        self.lost = self.lost.saturating_sub(packets);
    }
}

/// Counters of cycles, since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CycleCounters {
    pub emitted: u64,
    pub complete: u64,
    pub incomplete: u64,
    /// Whole cycles lost: positions that no event carries.
    pub skipped: u64,
}

/// Everything the engine counts, since start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// By source.
    pub mics: Each<MicCounters>,
    pub cycles: CycleCounters,
    /// Steps of CLOCK_REALTIME that were noticed.
    pub clock_steps: u64,
}

impl MicCounters {
    /// What happened after `earlier`. A count that has fallen since is 0 here: of `lost` a packet moved to `late`, and a recording may tell of
    /// drops what it likes.
    pub fn since(&self, earlier: &MicCounters) -> MicCounters {
        MicCounters {
            received: self.received.saturating_sub(earlier.received),
            samples: self.samples.saturating_sub(earlier.samples),
            malformed: self.malformed.saturating_sub(earlier.malformed),
            truncated: self.truncated.saturating_sub(earlier.truncated),
            foreign: self.foreign.saturating_sub(earlier.foreign),
            duplicate: self.duplicate.saturating_sub(earlier.duplicate),
            late: self.late.saturating_sub(earlier.late),
            lost: self.lost.saturating_sub(earlier.lost),
            lost_pieces: self.lost_pieces.saturating_sub(earlier.lost_pieces),
            kernel_dropped: self.kernel_dropped.saturating_sub(earlier.kernel_dropped),
            sender_changes: self.sender_changes.saturating_sub(earlier.sender_changes),
            slips: self.slips.saturating_sub(earlier.slips),
            corrected: self.corrected.saturating_sub(earlier.corrected),
            unstamped: self.unstamped.saturating_sub(earlier.unstamped),
            jumps: self.jumps.saturating_sub(earlier.jumps),
            control: self.control.saturating_sub(earlier.control),
            known: self.known,
            inference: self.inference.since(&earlier.inference),
        }
    }
}

impl Counters {
    /// Of so many sources.
    pub fn new(sources: usize) -> Counters {
        Counters { mics: vec![MicCounters::default(); sources].into(), ..Counters::default() }
    }

    /// What happened after `earlier`. `skipped` may have fallen since (a skip that proved false): then it is 0 here.
    pub fn since(&self, earlier: &Counters) -> Counters {
        Counters {
            mics: (0..self.mics.len())
                .map(|mic| self.mics[mic].since(&earlier.mics.get(mic).copied().unwrap_or_default()))
                .collect(),
            cycles: CycleCounters {
                emitted: self.cycles.emitted.saturating_sub(earlier.cycles.emitted),
                complete: self.cycles.complete.saturating_sub(earlier.cycles.complete),
                incomplete: self.cycles.incomplete.saturating_sub(earlier.cycles.incomplete),
                skipped: self.cycles.skipped.saturating_sub(earlier.cycles.skipped),
            },
            clock_steps: self.clock_steps.saturating_sub(earlier.clock_steps),
        }
    }
}

/// How a measured quantity was distributed. Percentiles are nearest-rank: the smallest value that at least that share of
/// all values does not exceed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Distribution {
    pub count: u64,
    pub last: Span,
    pub min: Span,
    pub p50: Span,
    pub p90: Span,
    pub p99: Span,
    pub p999: Span,
    pub max: Span,
    pub mean: Span,
}

/// A lasting change of a quantity, in microseconds a minute, with the half-width of its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Trend {
    pub us_per_min: f64,
    pub uncertainty_us_per_min: f64,
}

/// A rate error, with the half-width of its 95 % interval, the time that it was seen over, and how long ago that ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DriftFigure {
    pub ppm: f64,
    pub uncertainty_ppm: f64,
    /// `None` where it holds by construction.
    pub span: Option<Span>,
    pub age: Option<Span>,
    /// Why it holds without having been seen.
    pub reason: Option<&'static str>,
}

/// How far two channels are apart as they are placed: the first's samples stand so much later than those of the second that
/// were taken at the same moment. With the half-width of the 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Alignment {
    pub offset: Span,
    pub uncertainty: Span,
    /// What the interval says nothing about.
    pub leaves_out: Option<&'static str>,
    /// Why it holds without having been seen.
    pub reason: Option<&'static str>,
}

/// A figure, or why there is none.
pub type Known<T> = Result<T, &'static str>;

/// What the [`SkewMeter`](self::skew::SkewMeter) knows about one stretch of time.
#[derive(Clone, Debug)]
pub struct SkewFigures {
    /// Kernel arrival of the second source of a pair minus that of the first, in the cycles that both are in; in the order of
    /// [`pairs`](crate::array::pairs).
    pub arrival_skew: Each<Known<Distribution>>,
    /// The lasting change of the arrival skew, in the same order.
    pub arrival_trend: Each<Known<Trend>>,
    /// Kernel timestamp until the loop read the packet; this and what follows by source.
    pub loop_delay: Each<Known<Distribution>>,
    /// Largest minus smallest loop delay inside a complete cycle: what the loop itself adds.
    pub loop_skew: Known<Distribution>,
    /// Kernel timestamp of the packet that completed a cycle until the kernel had its event, to be sent to the first subscriber.
    pub emit_delay: Known<Distribution>,
    /// Interarrival jitter, RFC 3550 6.4.1.
    pub jitter: Each<Known<Span>>,
    /// Packet delay variation, RFC 5481 4.2: delay minus the smallest delay of the last ten seconds.
    pub delay_variation: Each<Known<Distribution>>,
    /// How much longer than the least the sender kept packets, by its own clock.
    pub sender_delay: Each<Known<Distribution>>,
    /// How much longer than the least they were under way, from the sender's time to the arrival.
    pub network_delay: Each<Known<Distribution>>,
}

/// Counts in fixed buckets since start, as Prometheus wants them.
#[derive(Clone, Debug)]
pub struct Buckets {
    /// Upper bounds, inclusive, ascending; one more bucket above the last.
    pub bounds: &'static [Span],
    /// Values in each bucket (not cumulative), `bounds.len() + 1` of them.
    pub counts: Vec<u64>,
    /// Sum of all values, in nanoseconds.
    pub sum_ns: i128,
}

/// The buckets of the [`SkewMeter`](self::skew::SkewMeter), since start.
#[derive(Clone, Debug)]
pub struct SkewHistograms {
    /// Signed; by pair of sources, in the order of [`pairs`](crate::array::pairs).
    pub arrival_skew: Each<Buckets>,
    /// By source.
    pub loop_delay: Each<Buckets>,
    pub loop_skew: Buckets,
    pub emit_delay: Buckets,
    /// By source.
    pub delay_variation: Each<Buckets>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some counts may fall: a packet thought lost that came, drops that a recording counts anew. None of them is a reason to fall over.
    #[test]
    fn a_count_that_has_fallen_is_none_of_the_window() {
        let mic = MicCounters {
            received: 1,
            samples: 1,
            malformed: 1,
            truncated: 1,
            foreign: 1,
            duplicate: 1,
            late: 1,
            lost: 1,
            lost_pieces: 1,
            kernel_dropped: 1,
            sender_changes: 1,
            slips: 1,
            corrected: 1,
            unstamped: 1,
            jumps: 1,
            control: 1,
            known: true,
            inference: Inference { agree: 1, missed: 1, invented: 1, shifted: 1 },
        };
        let cycles = CycleCounters { emitted: 1, complete: 1, incomplete: 1, skipped: 1 };
        let earlier = Counters { mics: vec![mic; 3].into(), cycles, clock_steps: 1 };
        assert_eq!(Counters::default().since(&earlier), Counters::default());
        assert_eq!(earlier.since(&Counters::default()), earlier);
    }
}
