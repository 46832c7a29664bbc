//! Cycles into stored messages: how many belong together, and what was missing in them.
//!
//! A segment ends at a fixed count of ids from the run's first, so that whoever cuts a run cuts it at the same places,
//! whenever it began: what is sent twice has the same name twice.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::event::{Event, Header};

/// Consecutive cycles of one run, as one message.
#[derive(Debug)]
pub struct Segment {
    pub run: u64,
    pub first_id: u64,
    pub first_frame: i64,
    pub sample_rate: u32,
    pub end: Position,
    /// Their frames, one behind the other.
    pub frames: Bytes,
    pub gaps: Vec<Gap>,
}

/// A stretch that lacks something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Gap {
    pub kind: GapKind,
    /// The channel; `None`: all of them.
    pub mic: Option<usize>,
    /// The position that it begins at, and how many positions it has; of a cycle with pieces missing, the whole cycle.
    pub first_frame: i64,
    pub frames: i64,
    /// Samples that are there all the same.
    pub samples: i64,
}

/// Why it lacks something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// Samples of a microphone did not come before their cycle left.
    Missing,
    /// Whole cycles were lost between microphones and server: positions that no cycle has.
    Skipped,
    /// The server's history no longer had these cycles when the relay could fetch them.
    NotRelayed,
}

/// Behind a cycle: how far somebody has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub run: u64,
    /// The cycle's.
    pub id: u64,
    /// The position behind its last frame.
    pub next_frame: i64,
}

impl Position {
    pub fn behind(event: &Event) -> Position {
        let Header { run, id, first_frame, frames, .. } = event.header;
        Position { run, id, next_frame: first_frame + i64::from(frames) }
    }

    /// Whether `event` is the next cycle.
    pub fn precedes(&self, event: &Event) -> bool {
        (self.run, self.id + 1) == (event.header.run, event.header.id)
    }
}

/// Takes cycles in order, gives segments.
#[derive(Debug)]
pub struct Segmenter {
    /// Cycles of a whole segment.
    cycles: u64,
    /// No message is longer, in bytes.
    most: usize,
    events: Vec<Event>,
    bytes: usize,
    gaps: Vec<Gap>,
    end: Option<Position>,
}

impl Segmenter {
    /// `after`: what came before, so that a hole behind it is told.
    pub fn new(cycles: u64, most: usize, after: Option<Position>) -> Segmenter {
        Segmenter { cycles: cycles.max(1), most, events: Vec::new(), bytes: 0, gaps: Vec::new(), end: after }
    }

    /// Takes the next cycle, and gives the segments that are complete: the one before it where it does not fit any more,
    /// the one that it ends.
    pub fn push(&mut self, event: Event) -> impl Iterator<Item = Segment> {
        let follows = self.end.is_some_and(|end| end.precedes(&event));
        let fits = self.bytes + event.frame.len() <= self.most;
        let before = if follows && fits { None } else { self.flush() };
        self.find_gaps(&event);
        self.end = Some(Position::behind(&event));
        let whole = (event.header.id - event.header.run + 1).is_multiple_of(self.cycles);
        self.bytes += event.frame.len();
        self.events.push(event);
        let ended = if whole { self.flush() } else { None };
        before.into_iter().chain(ended)
    }

    /// What has gathered, however little.
    pub fn flush(&mut self) -> Option<Segment> {
        let first = self.events.first()?.header.clone();
        let end = Position::behind(self.events.last()?);
        let mut frames = BytesMut::with_capacity(self.bytes);
        self.events.drain(..).for_each(|event| frames.extend_from_slice(&event.frame));
        self.bytes = 0;
        Some(Segment {
            run: first.run,
            first_id: first.id,
            first_frame: first.first_frame,
            sample_rate: first.sample_rate,
            end,
            frames: frames.freeze(),
            gaps: std::mem::take(&mut self.gaps),
        })
    }

    fn find_gaps(&mut self, event: &Event) {
        let header = &event.header;
        if let Some(end) = self.end.filter(|end| end.run == header.run && end.next_frame < header.first_frame) {
            let kind = if end.precedes(event) { GapKind::Skipped } else { GapKind::NotRelayed };
            let frames = header.first_frame - end.next_frame;
            self.note(Gap { kind, mic: None, first_frame: end.next_frame, frames, samples: 0 });
        }
        let frames = i64::from(header.frames);
        for (mic, &samples) in header.mic_samples.iter().enumerate() {
            if samples < header.frames {
                let samples = i64::from(samples);
                let mic = Some(mic);
                self.note(Gap { kind: GapKind::Missing, mic, first_frame: header.first_frame, frames, samples });
            }
        }
    }

    /// A gap that continues one of the segment makes that longer.
    fn note(&mut self, gap: Gap) {
        let before = self.gaps.iter_mut().rev().find(|before| (before.kind, before.mic) == (gap.kind, gap.mic));
        match before.filter(|before| before.first_frame + before.frames == gap.first_frame) {
            Some(before) => {
                before.frames += gap.frames;
                before.samples += gap.samples;
            }
            None => self.gaps.push(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 1_795_000_000_000;

    /// The cycle `n` of the run, at `first_frame`, of ten frames.
    fn cycle(n: u64, first_frame: i64, mic_samples: [u32; 2]) -> Event {
        let header = Header {
            run: RUN,
            id: RUN + n,
            first_frame,
            frames: 10,
            channels: 2,
            sample_rate: 48_000,
            mic_samples: mic_samples.to_vec(),
            arrival_us: vec![None; 2],
            emitted_us: 0,
        };
        Event::new(header, &[0; 80])
    }

    fn whole(n: u64) -> Event {
        cycle(n, n as i64 * 10, [10, 10])
    }

    /// First and last cycle of the segments that cycles `from..to` make.
    fn cuts(segmenter: &mut Segmenter, numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let mut cuts = Vec::new();
        for n in numbers {
            cuts.extend(segmenter.push(whole(n)).map(|s| (s.first_id - RUN, s.end.id - RUN)));
        }
        cuts
    }

    #[test]
    fn whoever_begins_later_cuts_at_the_same_places() {
        assert_eq!(cuts(&mut Segmenter::new(4, 1 << 20, None), 0..12), [(0, 3), (4, 7), (8, 11)]);
        assert_eq!(cuts(&mut Segmenter::new(4, 1 << 20, None), 6..12), [(6, 7), (8, 11)]);
    }

    #[test]
    fn a_segment_never_outgrows_a_message_and_never_spans_a_hole() {
        let room = whole(0).frame.len() * 5 / 2;
        assert_eq!(cuts(&mut Segmenter::new(4, room, None), 0..8), [(0, 1), (2, 3), (4, 5), (6, 7)]);
        let mut segmenter = Segmenter::new(4, 1 << 20, None);
        assert_eq!(cuts(&mut segmenter, [0, 1, 5, 6, 7]), [(0, 1), (5, 7)]);
        assert!(segmenter.flush().is_none());
    }

    #[test]
    fn what_is_missing_is_told_once_with_its_place() {
        let mut segmenter = Segmenter::new(8, 1 << 20, None);
        // Two cycles without the second channel, one with a piece of it; then three cycles' positions skipped.
        for (n, at, samples) in [(0, 0, 10), (1, 10, 0), (2, 20, 0), (3, 30, 4), (4, 70, 10)] {
            assert_eq!(segmenter.push(cycle(n, at, [10, samples])).count(), 0);
        }
        let gaps = segmenter.flush().unwrap().gaps;
        let missing = Gap { kind: GapKind::Missing, mic: Some(1), first_frame: 10, frames: 30, samples: 4 };
        let skipped = Gap { kind: GapKind::Skipped, mic: None, first_frame: 40, frames: 30, samples: 0 };
        assert_eq!(gaps, [missing, skipped]);
        // Cycles 5 and 6 never came to the relay.
        assert_eq!(segmenter.push(cycle(7, 100, [10, 10])).count(), 1);
    }

    #[test]
    fn cycles_that_the_history_lost_are_told_as_such() {
        let hole = Gap { kind: GapKind::NotRelayed, mic: None, first_frame: 10, frames: 40, samples: 0 };
        let mut segmenter = Segmenter::new(100, 1 << 20, None);
        assert_eq!(segmenter.push(whole(0)).count(), 0);
        assert_eq!(segmenter.push(whole(5)).count(), 1, "what was before the hole");
        assert_eq!(segmenter.flush().unwrap().gaps, std::slice::from_ref(&hole));
        let mut begun_anew = Segmenter::new(100, 1 << 20, Some(Position::behind(&whole(0))));
        assert_eq!(begun_anew.push(whole(5)).count(), 0);
        assert_eq!(begun_anew.flush().unwrap().gaps, [hole]);
    }
}
