//! What the sound of a board says of its cycles in doubt: between which of them something is missing, and whether.

use super::{SharedAligner, Sink};
use crate::engine::credit::Credit;
use crate::engine::history::History;
use crate::engine::number::borders::{Borders, Listener, channels};
use crate::engine::number::holes::{Hole, Path, ROWS, Row, find};
use crate::time::{MonoTime, Span};

/// Where a doubt began: from this packet on, rows of one packet of each microphone are counted.
#[derive(Clone, Copy)]
struct Begin {
    ordinal: i64,
    mic: usize,
}

impl Begin {
    fn row_of(self, ordinal: i64, mic: usize) -> i64 {
        ordinal - self.ordinal - i64::from(mic < self.mic)
    }
    /// The cycle in which the row's packet of a microphone stands.
    fn ordinal_of(self, row: i64, mic: usize) -> i64 {
        self.ordinal + row + i64::from(mic < self.mic)
    }
}

impl SharedAligner {
    /// From now on the sound is asked where a loss is in doubt.
    pub fn hear_sound(&mut self, credit: Credit) {
        self.listener = Some(Box::new(Listener::new(credit)));
    }

    pub fn borders(&self) -> Borders {
        self.listener.as_ref().map(|listener| listener.counts).unwrap_or_default()
    }

    /// Where the sound shows the first loss to be. Arrivals say that `lost` are missing before the first of what is in doubt, or (not
    /// `known`) that they may be.
    pub(super) fn find_hole(&mut self, lost: i64, known: bool, history: &History) -> Option<Hole> {
        let mut listener = self.listener.take()?;
        let hole = listener.listen(|listener| self.listen(lost, known, listener, history));
        listener.counts.decided +=
            u64::from(hole.is_some_and(|hole| !known || hole.before > 0 || hole.periods != lost));
        self.listener = Some(listener);
        hole
    }

    fn begin_of_doubt(&self) -> Option<Begin> {
        let &(_, mic, i) = self.tail.doubtful().first()?;
        Some(Begin { ordinal: self.tail.get(i).ordinal, mic })
    }

    fn listen(&self, lost: i64, known: bool, listener: &mut Listener, history: &History) -> Option<Hole> {
        let begin = self.begin_of_doubt()?;
        let (period, tolerance) = (self.period(), self.late.tolerance());
        let mut rows = [Row { above: Span::MAX, in_burst: false, follows: None }; ROWS];
        let mut came: [Option<(MonoTime, MonoTime)>; ROWS] = [None; ROWS];
        for (_, mic, i) in self.tail.doubtful() {
            let entry = self.tail.get(i);
            let slot = entry.slots[mic].expect("it is in doubt");
            let row = usize::try_from(begin.row_of(entry.ordinal, mic)).ok()?;
            if row >= ROWS {
                continue;
            }
            rows[row].above = rows[row].above.min(self.residual(entry.own_end(slot.samples), slot.at)?);
            let (first, newest) = came[row].unwrap_or((slot.at, slot.at));
            came[row] = Some((first.min(slot.at), newest.max(slot.at)));
        }
        // A cycle of which nothing came stands in no row: there is none behind it, as they are numbered.
        let count = came.iter().take_while(|came| came.is_some()).count();
        for at in 1..count {
            let (before, now) = came[at - 1].zip(came[at])?;
            rows[at].in_burst = now.0 - before.1 < period.mul_ratio(1, 8);
        }
        let lowest = rows[..count].iter().map(|row| row.above).min()?;
        let periods = |above: Span| (above + tolerance).as_nanos().div_euclid(period.as_nanos().max(1));
        let base = [self.late.base(), Span::ZERO].into_iter().find(|&base| periods(lowest - base) == lost)?;
        self.hear_borders(begin, count, listener, history);
        for (at, row) in rows[..count].iter_mut().enumerate() {
            row.above -= base;
            row.follows = listener.follows(at);
        }
        let path = Path { period, jitter: self.late.jitter(), tolerance };
        find(&rows[..count], &path, &listener.losses, lost, known)
    }

    fn hear_borders(&self, begin: Begin, rows: usize, listener: &mut Listener, history: &History) {
        listener.begin();
        let all = (0..self.mics.len()).flat_map(|mic| history.layout().channels_of(mic).map(move |c| (mic, c)));
        for (nth, (mic, channel)) in all.take(channels(rows)).enumerate() {
            for row in -1..rows as i64 {
                let ordinal = begin.ordinal_of(row, mic);
                let entry = self.tail.iter().rev().find(|(_, entry)| entry.ordinal == ordinal).map(|(_, entry)| entry);
                // What left without a packet in doubt has it set aside, and not in its place.
                let there = entry.filter(|entry| !(entry.has_left() && entry.is_doubtful()));
                let slot =
                    there.and_then(|entry| Some((entry.first, entry.slots[mic].filter(|slot| slot.is_whole())?)));
                match slot {
                    Some((first, slot)) => {
                        let samples = history.samples(channel, first, slot.samples as usize);
                        listener.hear(nth, usize::try_from(row).ok(), samples);
                    }
                    None => listener.miss(nth),
                }
            }
        }
    }

    /// The first rows of what is in doubt stay where they are. When the first of the others came.
    pub(super) fn leave_in_place(&mut self, rows: usize) -> Option<MonoTime> {
        let begin = self.begin_of_doubt()?;
        let mut since = None;
        for (at, mic, i) in self.tail.doubtful() {
            if begin.row_of(self.tail.get(i).ordinal, mic) < rows as i64 {
                self.tail.settle_one(i, mic);
            } else {
                since = since.or(Some(at));
            }
        }
        since
    }

    /// Arrivals alone would let what is in doubt go as if nothing was lost. True where the sound shows that something was.
    pub(super) fn hears_loss(&mut self, lost: i64, sink: &mut Sink<'_>) -> bool {
        let Some(hole) = self.find_hole(lost, false, sink.history) else { return false };
        self.late.settle_lost();
        self.lose_at(hole, sink);
        true
    }

    /// Something is missing there.
    pub(super) fn lose_at(&mut self, hole: Hole, sink: &mut Sink<'_>) {
        if let Some(since) = self.leave_in_place(hole.before) {
            self.lose(hole.periods, since, false, sink);
        }
    }
}
