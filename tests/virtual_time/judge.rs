//! Runs a scenario of any chunks and pieces, and holds what the engine made of it against the truth, sample by sample: the index
//! signal says of each sample which one it is, and the simulator which ones it withheld.
//!
//! Two looks at every cycle: as it left (what a listener of the stream got), and two seconds later in the history (what late
//! packets filled).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use micring::MICS;
use micring::engine::{Config, Datagram};
use micring::sim::{Packet, START, Scenario, Sim};
use micring::time::{FramePos, MonoTime};

use super::rig::{Rig, config};

/// What arrives late has come by then: two seconds.
const SETTLED: i64 = 96_000;
/// Free boards are looked at every so many frames, and stand apart by what the path's offset leaves, not by this many samples.
const EVERY: usize = 16;
const APART: f64 = 32.0;
/// Free boards slip by whole samples, while a gap lasts too; the smallest piece of a test is more than twice as long.
const SLIPS: i64 = 64;

/// Samples that follow one another, of one microphone: true position of the first, position where it was placed, how many.
#[derive(Clone, Copy, Debug)]
struct Run {
    truth: i64,
    placed: i64,
    len: i64,
}

/// What a run showed.
pub struct Judged {
    pub rig: Rig,
    pub sim: Sim,
    /// Frames that left, and those in which two channels did not show the same moment.
    pub frames: u64,
    pub misaligned: u64,
    /// Samples missing in what left, and those withheld within it.
    pub missing: u64,
    pub withheld: u64,
    /// Gaps that were withheld (neighbours joined), by whether the history has them at their place and of their size.
    pub right: u64,
    pub wrong: u64,
    /// Those that are wrong even where the whole read is taken for the gap (which of two equal pieces is missing arrivals cannot
    /// tell), and the samples that this spares.
    pub wrong_reads: u64,
    pub spared: i64,
    /// Where a channel moved although nothing was withheld there.
    pub moves: u64,
    /// Samples that arrived and are not in the history, with those that are there twice subtracted.
    pub nowhere: i64,
    /// Samples that are none that the microphone sent.
    pub strange: u64,
    /// Distances between the channels of free boards in samples, sorted.
    pub spreads: Vec<f64>,
    runs: [Vec<Run>; MICS],
}

/// Runs `scenario` (without reboots, the index signal) through an engine with the default options.
pub fn judge(scenario: &Scenario) -> Judged {
    judge_with(scenario, config())
}

/// The same, with other options.
pub fn judge_with(scenario: &Scenario, config: Config) -> Judged {
    assert!(scenario.reboots.is_empty(), "positions of one run of a board are what is judged");
    let mut looks = Looks::default();
    let (rig, sim) = Rig::run_with(scenario, config, |rig, _, packet| {
        looks.note(packet);
        looks.at_what_left(rig);
    });
    looks.at_what_left(&rig);
    while let Some((first, frames)) = looks.leaving.pop_front() {
        looks.at_the_history(&rig, first, frames);
    }
    looks.verdict(rig, sim, scenario.sending.chunks_per_read)
}

/// The same of a run whose packets `alter` may delay on their way. The second look at a cycle comes `settled` frames later.
pub fn judge_altered(scenario: &Scenario, config: Config, settled: i64, alter: impl FnOnce(&mut [Packet])) -> Judged {
    let mut looks = Looks { settled, ..Looks::default() };
    let mut sim = Sim::new(scenario);
    let mut packets: Vec<Packet> = sim.by_ref().collect();
    packets.iter().for_each(|packet| looks.note(packet));
    let sent: Vec<MonoTime> = packets.iter().map(|packet| packet.arrival).collect();
    alter(&mut packets);
    for (packet, before) in packets.iter_mut().zip(sent) {
        packet.stamp = packet.stamp + (packet.arrival - before);
    }
    packets.sort_by_key(|packet| packet.arrival);
    let mut rig = Rig::new(config);
    let mut payload = Vec::new();
    for packet in &packets {
        rig.wait_until(packet.arrival, &sim);
        looks.at_what_left(&rig);
        sim.payload(packet, &mut payload);
        let (sender, len) = (sim.sender(packet), payload.len());
        let datagram = Datagram { mic: packet.mic, stamp: packet.stamp, sender, bytes: &payload, len };
        rig.feed(&datagram, packet.arrival, &sim);
    }
    looks.at_what_left(&rig);
    while let Some((first, frames)) = looks.leaving.pop_front() {
        looks.at_the_history(&rig, first, frames);
    }
    looks.verdict(rig, sim, scenario.sending.chunks_per_read)
}

struct Looks {
    next: u64,
    settled: i64,
    leaving: VecDeque<(FramePos, u32)>,
    runs: [Vec<Run>; MICS],
    frames: u64,
    misaligned: u64,
    missing: u64,
    strange: u64,
    spreads: Vec<f64>,
    /// By the true position of a chunk's first sample: when its last one was captured, in samples since the start of the run,
    /// how many it has, and the rate then.
    captured: [BTreeMap<i64, (f64, i64, f64)>; MICS],
}

impl Default for Looks {
    fn default() -> Looks {
        Looks {
            next: 0,
            settled: SETTLED,
            leaving: VecDeque::new(),
            runs: Default::default(),
            frames: 0,
            misaligned: 0,
            missing: 0,
            strange: 0,
            spreads: Vec::new(),
            captured: Default::default(),
        }
    }
}

impl Looks {
    fn note(&mut self, packet: &Packet) {
        let piece = packet.piece;
        let end = (packet.captured - START).as_nanos() as f64 * 48e-6;
        let samples = i64::from(piece.chunk_samples);
        self.captured[packet.mic].insert(piece.chunk.0, (end, samples, 1.0 + packet.ppm * 1e-6));
    }

    /// When a microphone captured its sample `truth`, in samples of 1/48000 s.
    fn when(&self, mic: usize, truth: i64) -> Option<f64> {
        let (&chunk, &(end, samples, rate)) = self.captured[mic].range(..=truth).next_back()?;
        (truth < chunk + samples).then(|| end - (chunk + samples - truth) as f64 / rate)
    }

    fn at_what_left(&mut self, rig: &Rig) {
        let history = rig.engine.history();
        while let Some(cycle) = history.cycle(self.next.max(history.ids().start)) {
            self.next = cycle.id + 1;
            let channels = [0, 1, 2].map(|mic| rig.channel(mic, cycle.first_frame, cycle.frames as usize));
            self.frames += u64::from(cycle.frames);
            self.missing += channels.iter().flatten().filter(|&&sample| sample == 0).count() as u64;
            if rig.engine.is_shared() {
                let frames = (0..cycle.frames as usize).map(|at| channels.each_ref().map(|channel| channel[at]));
                self.misaligned += frames.filter(apart).count() as u64;
            } else {
                self.compare_free(&channels);
            }
            self.leaving.push_back((cycle.first_frame, cycle.frames));
            while let Some(&(first, frames)) = self.leaving.front()
                && first + self.settled < cycle.first_frame
            {
                self.leaving.pop_front();
                self.at_the_history(rig, first, frames);
            }
        }
    }

    fn compare_free(&mut self, channels: &[Vec<i32>; MICS]) {
        for at in (0..channels[0].len()).step_by(EVERY) {
            let times = (0..MICS).filter_map(|mic| match channels[mic][at] {
                0 => None,
                sample => self.when(mic, position(sample)),
            });
            let (low, high) = times.fold((f64::MAX, f64::MIN), |(low, high), t| (low.min(t), high.max(t)));
            if high > low {
                self.misaligned += if high - low > APART { EVERY as u64 } else { 0 };
                self.spreads.push(high - low);
            }
        }
    }

    fn at_the_history(&mut self, rig: &Rig, first: FramePos, frames: u32) {
        for mic in 0..MICS {
            let runs = &mut self.runs[mic];
            for (sample, placed) in rig.channel(mic, first, frames as usize).into_iter().zip(first.0..) {
                if sample == 0 {
                    continue;
                }
                if sample >> 28 != mic as i32 + 1 {
                    self.strange += 1;
                    continue;
                }
                let truth = position(sample);
                match runs.last_mut() {
                    Some(run) if (truth - run.truth, placed - run.placed) == (run.len, run.len) => run.len += 1,
                    _ => runs.push(Run { truth, placed, len: 1 }),
                }
            }
        }
    }

    fn verdict(mut self, rig: Rig, sim: Sim, a_read: u32) -> Judged {
        let (mut right, mut wrong, mut wrong_reads) = (0, 0, 0);
        let (mut moves, mut nowhere, mut withheld, mut spared) = (0, 0, 0, 0);
        let slips = if rig.engine.is_shared() { 0 } else { SLIPS };
        for mic in 0..MICS {
            let (gaps, reads) = (withheld_ranges(&sim, mic, None), withheld_ranges(&sim, mic, Some(a_read)));
            let runs = &mut self.runs[mic];
            for pair in runs.windows(2) {
                let moved = (pair[1].placed - pair[0].placed) - (pair[1].truth - pair[0].truth);
                let explained = gaps.iter().any(|gap| gap.0 >= pair[0].truth && gap.0 <= pair[1].truth);
                moves += u64::from(moved.abs() > slips && !explained);
            }
            runs.sort_by_key(|run| run.truth);
            let (Some(begin), Some(end)) = (runs.first(), runs.last()) else { continue };
            let (begin, end) = (begin.truth, end.truth + end.len);
            let inside = |gap: &&(i64, i64)| gap.0 > begin && gap.1 < end;
            let in_place = |&(from, to): &(i64, i64)| {
                // The first sample behind it may be one that a slip leaves out.
                let behind = placed_at(runs, to).or_else(|| placed_at(runs, to + 1).map(|placed| placed - 1));
                let (before, after) = (placed_at(runs, from - 1), behind);
                let off = before.zip(after).map(|(before, after)| after - before - (to - from + 1));
                off.is_some_and(|off| off.abs() <= slips)
            };
            let these = gaps.iter().filter(inside).filter(|gap| in_place(gap)).count();
            right += these as u64;
            wrong += (gaps.iter().filter(inside).count() - these) as u64;
            wrong_reads += reads.iter().filter(inside).filter(|gap| !in_place(gap)).count() as u64;
            let lacking: i64 = gaps.iter().filter(inside).map(|gap| gap.1 - gap.0).sum();
            spared += reads.iter().map(|gap| gap.1 - gap.0).sum::<i64>() - lacking;
            withheld += lacking as u64;
            nowhere += end - begin - lacking - runs.iter().map(|run| run.len).sum::<i64>();
        }
        let Looks { frames, misaligned, missing, strange, .. } = self;
        let mut spreads = self.spreads;
        spreads.sort_by(f64::total_cmp);
        Judged {
            rig,
            sim,
            frames,
            misaligned,
            missing,
            withheld,
            right,
            wrong,
            wrong_reads,
            spared,
            moves,
            nowhere,
            strange,
            spreads,
            runs: self.runs,
        }
    }
}

/// The `index` signal's position.
fn position(sample: i32) -> i64 {
    i64::from(sample & 0x0fff_ffff)
}

/// Whether two channels of a frame show different positions.
fn apart(frame: &[i32; MICS]) -> bool {
    let mut there = frame.iter().filter(|&&sample| sample != 0).map(|&sample| position(sample));
    there.next().is_some_and(|first| there.any(|other| other != first))
}

/// Where the sample is.
fn placed_at(runs: &[Run], truth: i64) -> Option<i64> {
    let run = runs[..runs.partition_point(|run| run.truth <= truth)].last()?;
    (truth < run.truth + run.len).then(|| run.placed + truth - run.truth)
}

/// What was withheld of a microphone, neighbours joined: from its first to behind its last sample. `reads`: all of the
/// read (of so many chunks) that it was of.
fn withheld_ranges(sim: &Sim, mic: usize, reads: Option<u32>) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for withheld in sim.truth().withheld.iter().filter(|withheld| withheld.mic == mic) {
        let piece = withheld.piece;
        let (from, samples) = match reads {
            None => (piece.position().0, piece.samples()),
            Some(chunks) => {
                let before = withheld.cycle as i64 % i64::from(chunks) * i64::from(piece.chunk_samples);
                (piece.chunk.0 - before, piece.chunk_samples * chunks)
            }
        };
        let to = from + i64::from(samples);
        match ranges.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => ranges.push((from, to)),
        }
    }
    ranges
}

impl Judged {
    /// Where the history has a sample that a microphone captured, less its true position.
    pub fn moved_by(&self, mic: usize, truth: i64) -> Option<i64> {
        placed_at(&self.runs[mic], truth).map(|placed| placed - truth)
    }

    /// The distance of free boards' channels that this share of the frames stays within, in samples.
    pub fn spread(&self, share: f64) -> f64 {
        self.spreads.get(((self.spreads.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0)
    }

    /// Whether `lost` and `lost_pieces` as told are what was withheld. `equal`: all pieces are of one size, so that each may as well
    /// be told as a chunk of its own.
    pub fn told_truly(&self, lost: [u64; MICS], lost_pieces: [u64; MICS], equal: bool) -> bool {
        self.sim.truth().mics.iter().zip(lost.into_iter().zip(lost_pieces)).all(|(mic, told)| {
            told == (mic.lost_chunks, mic.lost_pieces)
                || (equal && (1..=2).any(|pieces| pieces * told.0 + told.1 == mic.withheld()))
        })
    }

    /// Whether all that arrived is in its place, and nothing else.
    pub fn is_flawless(&self) -> bool {
        (self.misaligned, self.wrong, self.moves, self.nowhere, self.strange) == (0, 0, 0, 0, 0)
    }

    /// The head of a table whose lines have other columns before and behind these.
    pub fn head(before: &[&str], behind: &[&str]) -> String {
        let columns = [before, &COLUMNS, behind].concat();
        format!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))
    }
}

const COLUMNS: [&str; 13] = [
    "cycles",
    "incomplete",
    "frames",
    "frames misaligned",
    "gaps right",
    "wrong",
    "moves",
    "samples nowhere",
    "strange",
    "missing live",
    "withheld",
    "lost (true)",
    "apart p99.9",
];

/// A line of a table with those columns.
impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cycles = self.rig.engine.counters().cycles;
        let lost: u64 = self.rig.lost().iter().sum();
        let truly: u64 = self.sim.truth().mics.iter().map(|mic| mic.lost_chunks).sum();
        let Judged { frames, misaligned, right, wrong, moves, nowhere, strange, missing, withheld, .. } = self;
        write!(
            f,
            "{} | {} | {frames} | {misaligned} | {right} | {wrong} | {moves} | {nowhere} | {strange} | {missing} | {withheld} | {lost} ({truly}) | {:.2}",
            cycles.emitted,
            cycles.incomplete,
            self.spread(0.999),
        )
    }
}

#[cfg(test)]
mod tests {
    use micring::sim::{DropCycles, Loss, Network, index_sample};
    use micring::time::Span;

    use super::super::boards::free;
    use super::*;

    #[test]
    fn a_lossy_minute_of_one_board_is_judged_as_the_other_tests_judge_it() {
        let network = Network { loss: Loss::Independent(0.02), ..Network::default() };
        let drop_cycles = vec![DropCycles { at: Span::from_secs(30), cycles: 5 }];
        let judged = judge(&Scenario { seed: 3, network, drop_cycles, ..Scenario::one_board(Span::from_secs(60)) });
        println!("{}\n| {judged} |", Judged::head(&[], &[]));
        assert!(judged.is_flawless() && judged.right > 250);
        // Five whole cycles are skipped, not emitted as zeros.
        assert_eq!((judged.missing, judged.withheld), (judged.withheld - 5 * 3 * 512, judged.withheld));
        assert!(judged.told_truly(judged.rig.lost(), [0; MICS], false));
        assert!(!judged.told_truly([1; MICS], [0; MICS], false));
    }

    #[test]
    fn a_lossy_minute_of_free_boards_is_judged_as_the_other_tests_judge_it() {
        let network = Network { loss: Loss::Independent(0.01), ..Network::default() };
        let judged = judge(&Scenario { clean_cycles: 200, ..free(3, 60, network) });
        println!("{}\n| {judged} |", Judged::head(&[], &[]));
        assert!(judged.right > 100 && judged.misaligned == 0 && judged.wrong == 0 && judged.moves == 0);
        // At first an offset is known to 0.17 ms over such a path (clock notes, section 5): 8 samples.
        assert!(judged.spread(1.0) < 9.0, "{}", judged.spread(1.0));
        assert!(judged.told_truly(judged.rig.lost(), [0; MICS], false));
    }

    #[test]
    fn what_is_put_wrongly_is_seen() {
        let mut looks = Looks::default();
        let frame = [index_sample(0, 5), 0, index_sample(2, 6)];
        assert!(apart(&frame) && !apart(&[frame[0], 0, 0]));
        // A run that begins anew 365 samples later without a withheld piece is a move, and what is skipped is nowhere.
        looks.runs[1] = vec![Run { truth: 0, placed: 0, len: 512 }, Run { truth: 512, placed: 877, len: 512 }];
        looks.runs[2] = vec![Run { truth: 0, placed: 0, len: 365 }, Run { truth: 512, placed: 512, len: 512 }];
        let (rig, sim) = Rig::run(&Scenario::one_board(Span::from_secs(1)), config());
        let judged = looks.verdict(rig, sim, 1);
        assert_eq!((judged.moves, judged.nowhere), (1, 147));
    }
}
