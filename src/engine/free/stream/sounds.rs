//! What a stream's sound says of the packets that wait.

use super::{Pending, Stream};
use crate::engine::credit::Credit;
use crate::engine::intake::packet::SAMPLE_BYTES;
use crate::engine::number::borders::{Borders, Listener, channel, channels};
use crate::engine::number::holes::{Hole, Path, ROWS, Row, find};
use crate::time::{FramePos, Span};

/// A chunk that was placed last.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub samples: Vec<u8>,
    /// Where it ended; `None` where it lacks a part.
    pub end: Option<FramePos>,
}

impl Stream {
    /// From now on the sound is asked where a loss is in doubt.
    pub fn hear_sound(&mut self, credit: Credit) {
        self.listener = Some(Box::new(Listener::new(credit)));
    }

    pub fn borders(&self) -> Borders {
        self.listener.as_ref().map(|listener| listener.counts).unwrap_or_default()
    }

    /// Another chunk comes: the newest so far is the last, if it was placed.
    pub(super) fn note_last(&mut self, frame_bytes: usize) {
        if !self.pending.is_empty() {
            return;
        }
        let (len, whole) = (self.newest.len(), self.newest_came == self.newest.len());
        let placed = self.newest_first.filter(|_| whole);
        self.last.end = placed.map(|(_, first)| first + (len / frame_bytes) as i64);
        std::mem::swap(&mut self.newest, &mut self.last.samples);
    }

    /// Where the sound shows the first loss to be, of the `lost` before the oldest chunk that waits, as arrivals have it.
    pub(super) fn find_hole(&mut self, lost: i64) -> Option<Hole> {
        let mut listener = self.listener.take()?;
        let hole = listener.listen(|listener| self.listen(lost, listener));
        listener.counts.decided += u64::from(hole.is_some_and(|hole| hole.before > 0 || hole.periods != lost));
        self.listener = Some(listener);
        hole
    }

    fn listen(&self, lost: i64, listener: &mut Listener) -> Option<Hole> {
        let (period, tolerance) = (self.period(), self.late.tolerance());
        let mut rows = [Row { above: Span::ZERO, in_burst: false, follows: None }; ROWS];
        let count = self.pending.len().min(ROWS);
        let mut end = self.next;
        for (i, (row, chunk)) in rows.iter_mut().zip(&self.pending).enumerate() {
            end = end + chunk.frames();
            let at = chunk.heard().at;
            row.above = self.clock.residual(end, at)?;
            row.in_burst = i > 0 && at - self.pending[i - 1].heard().at < period.mul_ratio(1, 8);
        }
        // What is behind those speaks for the least that is missing all the same.
        let lowest = rows[..count].iter().map(|row| row.above).min()?;
        let periods = |above: Span| (above + tolerance).as_nanos().div_euclid(period.as_nanos());
        let base = [self.late.base(), Span::ZERO].into_iter().find(|&base| periods(lowest - base) == lost)?;
        rows.iter_mut().for_each(|row| row.above -= base);
        self.hear_borders(listener);
        for (i, row) in rows[..count].iter_mut().enumerate() {
            row.follows = listener.follows(i);
        }
        let path = Path { period, jitter: self.late.jitter(), tolerance };
        find(&rows[..count], &path, &listener.losses, lost, true)
    }

    fn hear_borders(&self, listener: &mut Listener) {
        listener.begin();
        let Some(frame_bytes) = self.pending.front().map(|chunk| chunk.frame_bytes) else { return };
        let rows = self.pending.len().min(ROWS);
        for nth in 0..(frame_bytes / SAMPLE_BYTES).min(channels(rows)) {
            if self.last.end == Some(self.next) {
                listener.hear(nth, None, channel(&self.last.samples, frame_bytes, nth));
            }
            for (row, chunk) in self.pending.iter().take(rows).enumerate() {
                match chunk.is_whole() {
                    true => listener.hear(nth, Some(row), channel(&chunk.samples, frame_bytes, nth)),
                    false => listener.miss(nth),
                }
            }
        }
    }
}

impl Pending {
    /// All of it came.
    pub(super) fn is_whole(&self) -> bool {
        self.parts.iter().map(ExactSizeIterator::len).sum::<usize>() * self.frame_bytes == self.samples.len()
    }
}
