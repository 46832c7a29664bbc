//! Numbered sources on the common axis: as free boards are, but nothing waits and nothing is in doubt. Where one clock drives them
//! all nothing slips either, and where their chunks are captured at one time they stand side by side to the sample.

use super::Boards;
use crate::engine::free::stream::Numbered;
use crate::engine::free::tuning::numbered::TOGETHER;
use crate::engine::shared::align::{Arrival, Placed};
use crate::engine::shared::tail::Sink;
use crate::time::Span;

impl Boards {
    /// Whether one clock drives all.
    pub fn is_one_clock(&self) -> bool {
        self.one_clock
    }

    pub fn set_one_clock(&mut self, one_clock: bool) {
        self.one_clock = one_clock;
    }

    /// Takes a numbered packet in, and emits what it completes.
    pub fn offer_numbered(&mut self, a: &Arrival<'_>, numbered: &Numbered, sink: &mut Sink<'_>) -> Placed {
        let heard_before = self.streams[a.mic].last_heard().is_some();
        if heard_before && (a.is_of_new_sender() || numbered.begins) {
            self.untie(a.mic, a.again, a.at, sink);
            // Its count began anew: nothing says what was lost.
            self.silent[a.mic] = None;
        }
        self.first_heard.get_or_insert(a.at);
        let newest = self.streams[a.mic].end();
        let d = self.streams[a.mic].offer_numbered(a, numbered);
        let late = match (self.ties[a.mic].as_mut(), self.grid.as_mut()) {
            (Some(tie), Some(grid)) if d.first >= newest => {
                sink.meter.on_placed(a.mic, d.first, d.first + i64::from(a.chunk.samples), d.heard.at);
                tie.place(a.mic, &d, a.at, grid, self.resampling.as_mut(), sink)
            }
            // What is resampled goes on from where it is; the gap stays.
            (Some(_), Some(_)) if self.resampling.is_some() => true,
            (Some(tie), Some(grid)) => {
                grid.fill_from(i64::MIN, a.mic, d.first.0 + tie.offset, d.samples, d.heard, a.at, sink)
            }
            _ => false,
        };
        sink.counters.mics[a.mic].late += u64::from(late);
        self.follow(a.at, sink);
        let longest = self.streams.iter().map(super::Stream::nominal).max().expect("there are streams");
        if let Some(grid) = &mut self.grid {
            grid.pace(Span::of_frames(longest, self.sample_rate));
        }
        self.emit_ready(a.at, sink);
        if late { Placed::Late } else { Placed::OnTime }
    }

    /// The offset of a source from one of the same clock that is tied: whole chunks where they come together.
    pub(super) fn offset_on_one_clock(&self, mic: usize, offset: f64) -> i64 {
        let nominal = self.streams[mic].nominal().max(1);
        let tied = self.ties.iter().enumerate().find(|(other, tie)| *other != mic && tie.is_some());
        let exact = offset.round() as i64;
        let Some((other, Some(tie))) = tied else { return exact };
        if self.streams[other].nominal() != nominal {
            return exact;
        }
        // Ends of chunks of both, on the common axis: those that are captured together differ by whole chunks.
        let apart = self.streams[mic].end().0 as f64 + offset - (self.streams[other].end().0 + tie.offset) as f64;
        let whole = (apart / nominal as f64).round() * nominal as f64;
        let together = (apart - whole).abs() * TOGETHER as f64 <= nominal as f64;
        if together { (offset - (apart - whole)).round() as i64 } else { exact }
    }
}
