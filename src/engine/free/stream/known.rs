//! A numbered microphone: its packets stand where their numbers say, at once. The clock is taught by all of them.

use super::{Decided, Stream};
use crate::engine::free::grid::Heard;
use crate::engine::shared::align::Arrival;

/// What a packet's number says.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Numbered {
    /// In frames since its sender began.
    pub position: i64,
    /// The sender began (anew) with it.
    pub begins: bool,
}

impl Stream {
    /// Where the packet stands. It is the newest, or fills a place that was passed.
    pub fn offer_numbered<'a>(&mut self, a: &Arrival<'a>, numbered: &Numbered) -> Decided<'a> {
        self.last_heard = Some(a.newest_at);
        self.offset_since.get_or_insert(a.at);
        self.nominal.note(a.chunk.samples);
        if numbered.begins {
            self.origin = self.next;
        }
        let first = self.origin + numbered.position;
        let end = first + i64::from(a.chunk.samples);
        if end > self.next {
            self.clock.observe(end, a.at);
            // The floor may rise; no packet is lost by that.
            self.clock.take_rise();
            self.next = end;
        }
        let phase = self.clock.phase_at(end);
        let frames = i64::from(a.chunk.samples);
        Decided { first, heard: Heard::of(a), samples: a.samples, frames, opens: Some(first), phase }
    }
}
