//! Track: the cycles of an array, one after the other -> files of exactly so many frames, and what is to be said of them.
//!
//! Every frame of the run has its place: frames that never came are silence of the same length, so that files put behind each other are
//! the run. Only a silence of all microphones that is longer than a minute is not written: the file ends there, and the next one begins behind it, as
//! its first line and its name say.

use std::ops::Range;

use super::sidecar::Line;
use crate::time::{FramePos, KernelTime, Span};

/// A longer silence of all microphones is not written. A minute of three channels is 35 MB.
const LONGEST_SILENCE: Span = Span::from_secs(60);
/// A gap that goes on is told so often: what a crash leaves untold.
const GAP_PIECE: Span = Span::from_secs(10);

/// What a track is of.
#[derive(Clone, Debug)]
pub struct Spec {
    pub array: String,
    /// Names the run, see [`Cycle::id`](crate::cycle::Cycle).
    pub run: u64,
    pub rate: u32,
    pub channels: usize,
    pub frames_a_file: i64,
}

/// What comes of a cycle, in this order.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A file begins: with this frame, captured then.
    Begin { first: FramePos, at: KernelTime },
    /// Whole frames, interleaved, each sample s32le.
    Samples(&'a [[u8; 4]]),
    /// So many frames of zeros.
    Silence(i64),
    /// A line about the file.
    Line(&'a Line<'a>),
    /// The file has all its frames: so many.
    End { frames: i64 },
}

/// A cycle and what it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    pub first: FramePos,
    pub frames: i64,
    /// Interleaved: `frames` times the channels.
    pub samples: &'a [[u8; 4]],
    /// Of each channel, how many of the frames came.
    pub came: &'a [u32],
    /// When its first frame was captured.
    pub at: KernelTime,
}

/// Why frames are silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    NothingCame,
    NotSaved,
}

/// Frames that are zeros: of a channel, or (`None`) of all.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hole {
    mic: Option<usize>,
    range: Range<FramePos>,
    missing: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    first: FramePos,
    until: FramePos,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Track {
    spec: Spec,
    file: Option<Open>,
    /// Behind the newest frame; `None` before the first.
    next: Option<FramePos>,
    /// Gaps that may go on, in this file.
    open: Vec<Hole>,
    /// Room for those of the cycle at hand.
    found: Vec<Hole>,
}

impl Track {
    pub fn new(spec: Spec) -> Track {
        Track { spec, file: None, next: None, open: Vec::new(), found: Vec::new() }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Behind the newest frame.
    pub fn next(&self) -> Option<FramePos> {
        self.next
    }

    /// Takes the next cycle; positions before it that none had are silence.
    pub fn cycle(&mut self, cycle: &Stretch<'_>, out: &mut impl FnMut(Piece<'_>)) {
        self.pass(cycle.first, cycle.at, Why::NothingCame, out);
        let mut found = std::mem::take(&mut self.found);
        find_holes(cycle, self.spec.channels, &mut found);
        let (mut from, end) = (cycle.first, cycle.first + cycle.frames);
        while from < end {
            let file = self.begin(from, cycle.at + self.span(from - cycle.first), out);
            let to = end.min(file.until);
            for hole in &found {
                let range = hole.range.start.max(from)..hole.range.end.min(to);
                if range.start < range.end {
                    let missing = hole.missing.map(|missing| missing.min(range.end - range.start));
                    self.hole(Hole { mic: hole.mic, range, missing }, out);
                }
            }
            let at = |position: FramePos| (position - cycle.first) as usize * self.spec.channels;
            out(Piece::Samples(&cycle.samples[at(from)..at(to)]));
            self.reached(to, out);
            from = to;
        }
        self.found = found;
        self.tell_holes(|hole| hole.range.end < end, out);
    }

    /// Up to `to`, which was captured `at`, all is silence.
    pub fn pass(&mut self, to: FramePos, at: KernelTime, why: Why, out: &mut impl FnMut(Piece<'_>)) {
        let Some(next) = self.next.filter(|next| *next < to) else { return };
        if to - next > self.frames(LONGEST_SILENCE) {
            self.end(out);
            self.next = Some(to);
            return;
        }
        let mut from = next;
        while from < to {
            let file = self.begin(from, at - self.span(to - from), out);
            let until = to.min(file.until);
            match why {
                Why::NothingCame => self.hole(Hole { mic: None, range: from..until, missing: None }, out),
                Why::NotSaved => {
                    let (frame, frames) = (from - file.first, until - from);
                    out(Piece::Line(&Line::NotSaved { frame, position: from.0, frames }));
                }
            }
            out(Piece::Silence(until - from));
            self.reached(until, out);
            from = until;
        }
    }

    /// A line about the newest frame: `make` is given its frame in the file and its position. None while no file is open.
    pub fn line<'a>(&self, make: impl FnOnce(i64, i64) -> Line<'a>, out: &mut impl FnMut(Piece<'_>)) {
        if let (Some(file), Some(next)) = (self.file, self.next) {
            out(Piece::Line(&make(next - file.first, next.0)));
        }
    }

    /// The file ends here, and the next frame begins another.
    pub fn end(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        self.tell_holes(|_| true, out);
        if let (Some(file), Some(next)) = (self.file.take(), self.next) {
            let frames = next - file.first;
            out(Piece::Line(&Line::End { frames }));
            out(Piece::End { frames });
        }
    }

    fn frames(&self, span: Span) -> i64 {
        (span.as_secs_f64() * f64::from(self.spec.rate)) as i64
    }

    fn span(&self, frames: i64) -> Span {
        Span::of_frames(frames, self.spec.rate)
    }

    /// The file that holds this position, which is new if need be.
    fn begin(&mut self, first: FramePos, at: KernelTime, out: &mut impl FnMut(Piece<'_>)) -> Open {
        *self.file.get_or_insert_with(|| {
            out(Piece::Begin { first, at });
            let Spec { array, run, rate, channels, .. } = &self.spec;
            let (position, at_us) = (first.0, at.as_micros());
            out(Piece::Line(&Line::Begin { array, run: *run, position, rate: *rate, channels: *channels, at_us }));
            Open { first, until: first + self.spec.frames_a_file }
        })
    }

    fn reached(&mut self, position: FramePos, out: &mut impl FnMut(Piece<'_>)) {
        self.next = Some(position);
        if self.file.is_some_and(|file| file.until == position) {
            self.end(out);
        }
    }

    fn hole(&mut self, hole: Hole, out: &mut impl FnMut(Piece<'_>)) {
        let longest = self.frames(GAP_PIECE);
        let before = self.open.iter().position(|open| {
            open.mic == hole.mic
                && open.range.end == hole.range.start
                && open.missing.is_none()
                && hole.missing.is_none()
        });
        match before {
            Some(place) => {
                self.open[place].range.end = hole.range.end;
                self.tell_holes(|hole| hole.range.end - hole.range.start >= longest, out);
            }
            None => self.open.push(hole),
        }
    }

    fn tell_holes(&mut self, is_due: impl Fn(&Hole) -> bool, out: &mut impl FnMut(Piece<'_>)) {
        let Some(file) = self.file else { return };
        self.open.retain(|hole| {
            let due = is_due(hole);
            if due {
                let Range { start, end } = hole.range;
                let (frame, position, frames) = (start - file.first, start.0, end - start);
                out(Piece::Line(&Line::Gap { frame, position, frames, mic: hole.mic, missing: hole.missing }));
            }
            !due
        });
    }
}

/// What of each channel did not come.
///
/// A cycle says how many of a channel's frames came, and not which; those that did not are zeros. So the longest runs of zeros that make just so
/// many are they.
fn find_holes(cycle: &Stretch<'_>, channels: usize, found: &mut Vec<Hole>) {
    found.clear();
    for (mic, &came) in cycle.came.iter().enumerate() {
        let missing = cycle.frames - i64::from(came);
        if missing <= 0 {
            continue;
        }
        let whole = Hole { mic: Some(mic), range: cycle.first..cycle.first + cycle.frames, missing: None };
        if came == 0 {
            found.push(whole);
            continue;
        }
        let mut runs = runs_of_zeros(cycle.samples.iter().skip(mic).step_by(channels));
        runs.sort_by_key(|run| run.start - run.end);
        let mut left = missing;
        runs.retain(|run| {
            let is_one = left > 0;
            left -= if is_one { run.end - run.start } else { 0 };
            is_one
        });
        runs.sort_by_key(|run| run.start);
        match left == 0 {
            true => found.extend(
                runs.into_iter()
                    .map(|run| Hole { range: cycle.first + run.start..cycle.first + run.end, ..whole.clone() }),
            ),
            false => found.push(Hole { missing: Some(missing), ..whole }),
        }
    }
}

fn runs_of_zeros<'a>(samples: impl Iterator<Item = &'a [u8; 4]>) -> Vec<Range<i64>> {
    let mut runs: Vec<Range<i64>> = Vec::new();
    for (frame, _) in (0..).zip(samples).filter(|(_, sample)| **sample == [0; 4]) {
        match runs.last_mut().filter(|run| run.end == frame) {
            Some(run) => run.end += 1,
            None => runs.push(frame..frame + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 1_000;
    const START: KernelTime = KernelTime::from_nanos(1_795_345_500_000_000_000);

    /// What was written, file by file.
    #[derive(Default)]
    struct Desk {
        files: Vec<(i64, Vec<i32>)>,
        lines: Vec<serde_json::Value>,
        ended: usize,
    }

    impl Desk {
        fn take(&mut self, piece: Piece<'_>) {
            match piece {
                Piece::Begin { first, .. } => self.files.push((first.0, Vec::new())),
                Piece::Samples(samples) => {
                    self.last().extend(samples.iter().map(|four| i32::from_le_bytes(*four)));
                }
                Piece::Silence(frames) => self.last().extend(vec![0; 2 * frames as usize]),
                Piece::Line(line) => self.lines.push(serde_json::from_str(&line.text()).unwrap()),
                Piece::End { frames } => {
                    assert_eq!(self.last().len() as i64, 2 * frames);
                    self.ended += 1;
                }
            }
        }

        fn last(&mut self) -> &mut Vec<i32> {
            &mut self.files.last_mut().expect("a file was begun").1
        }

        /// Position, length, microphone.
        fn gaps(&self) -> Vec<(i64, i64, Option<u64>)> {
            let gaps = self.lines.iter().filter(|line| line["kind"] == "gap");
            let of = |line: &serde_json::Value| {
                (line["position"].as_i64().unwrap(), line["frames"].as_i64().unwrap(), line["mic"].as_u64())
            };
            gaps.map(of).collect()
        }
    }

    fn track(frames_a_file: i64) -> Track {
        Track::new(Spec { array: "hall".into(), run: 7, rate: RATE, channels: 2, frames_a_file })
    }

    fn value(position: i64, mic: i64) -> i32 {
        ((mic + 1) << 20 | position) as i32
    }

    /// A cycle of ten frames, where of the channels only what is in these ranges came.
    fn cycle(track: &mut Track, desk: &mut Desk, first: i64, came: [Range<i64>; 2]) {
        let samples: Vec<[u8; 4]> = (first..first + 10)
            .flat_map(|at| [0, 1].map(|mic| if came[mic].contains(&(at - first)) { value(at, mic as i64) } else { 0 }))
            .map(i32::to_le_bytes)
            .collect();
        let count = came.map(|range| (range.end - range.start) as u32);
        let at = START + Span::of_frames(first, RATE);
        let stretch = Stretch { first: FramePos(first), frames: 10, samples: &samples, came: &count, at };
        track.cycle(&stretch, &mut |piece| desk.take(piece));
    }

    #[test]
    fn files_put_behind_each_other_are_the_run_with_silence_where_nothing_came() {
        let (mut track, mut desk) = (track(17), Desk::default());
        cycle(&mut track, &mut desk, 5, [0..10, 0..10]);
        cycle(&mut track, &mut desk, 15, [0..10, 0..0]);
        cycle(&mut track, &mut desk, 25, [3..10, 0..10]);
        // One is lost, over the edge of a file.
        cycle(&mut track, &mut desk, 45, [0..10, 0..4]);
        track.end(&mut |piece| desk.take(piece));
        assert_eq!(desk.files.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [5, 22, 39]);
        assert_eq!(desk.ended, 3);
        let all: Vec<i32> = desk.files.iter().flat_map(|(_, samples)| samples.clone()).collect();
        let there = |at: i64, mic: i64| match (at, mic) {
            (35..45, _) | (25..28, 0) | (15..25, 1) | (49..55, 1) => 0,
            _ => value(at, mic),
        };
        assert_eq!(all, (5..55).flat_map(|at| [there(at, 0), there(at, 1)]).collect::<Vec<_>>());
        // A gap over the edge of two files is told in both.
        let mut gaps = desk.gaps();
        gaps.sort_by_key(|gap| (gap.0, gap.2));
        let told =
            [(15, 7, Some(1)), (22, 3, Some(1)), (25, 3, Some(0)), (35, 4, None), (39, 6, None), (49, 6, Some(1))];
        assert_eq!(gaps, told);
        let begins: Vec<i64> = desk
            .lines
            .iter()
            .filter(|line| line["kind"] == "begin")
            .map(|line| line["at_us"].as_i64().unwrap())
            .collect();
        assert_eq!(begins, [5, 22, 39].map(|ms| START.as_micros() + ms * 1_000));
    }

    #[test]
    fn of_a_microphone_that_is_silent_itself_only_the_number_is_known() {
        let (mut track, mut desk) = (track(1_000), Desk::default());
        let samples = vec![[0; 4]; 20];
        let stretch = Stretch { first: FramePos(0), frames: 10, samples: &samples, came: &[10, 4], at: START };
        track.cycle(&stretch, &mut |piece| desk.take(piece));
        track.end(&mut |piece| desk.take(piece));
        let gap = desk.lines.iter().find(|line| line["kind"] == "gap").unwrap();
        assert_eq!((&gap["frames"], &gap["missing"]), (&10.into(), &6.into()), "{gap}");
    }

    #[test]
    fn a_long_gap_is_told_while_it_lasts_and_a_very_long_silence_of_all_is_not_written() {
        let (mut track, mut desk) = (track(1 << 40), Desk::default());
        (0..1_500).for_each(|n| cycle(&mut track, &mut desk, n * 10, [0..10, 0..0]));
        assert_eq!(desk.gaps(), [(0, 10_000, Some(1))], "ten seconds, and not yet the rest");
        // 61 s.
        cycle(&mut track, &mut desk, 15_000 + 61_000, [0..10, 0..10]);
        track.end(&mut |piece| desk.take(piece));
        assert_eq!(desk.files.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [0, 76_000]);
        assert_eq!(desk.gaps(), [(0, 10_000, Some(1)), (10_000, 5_000, Some(1))]);
    }

    #[test]
    fn what_was_not_saved_is_told_apart_from_what_did_not_come() {
        let (mut track, mut desk) = (track(25), Desk::default());
        cycle(&mut track, &mut desk, 0, [0..10, 0..10]);
        track.pass(FramePos(30), START, Why::NotSaved, &mut |piece| desk.take(piece));
        cycle(&mut track, &mut desk, 30, [0..10, 0..10]);
        let lost: Vec<(i64, i64)> = desk
            .lines
            .iter()
            .filter(|line| line["kind"] == "not_saved")
            .map(|line| (line["position"].as_i64().unwrap(), line["frames"].as_i64().unwrap()))
            .collect();
        assert_eq!((lost, desk.gaps()), (vec![(10, 15), (25, 5)], vec![]));
    }
}
