//! One source's datagrams become chunks.
//!
//! Problem: a datagram may be a whole chunk or a piece of one; any of them may be lost, come twice, or be overtaken; and only its
//! size and the time tell which piece it is.
//!
//! Idea: the pattern of sizes is learnt ([`Learner`]). From then on a piece opens a chunk or joins the open one, by its size, by
//! the order of the array's datagrams and by the pauses between them. What comes of a chunk is handed on at once, as a part
//! with its place in the chunk. Pieces of one size that follow each other are one part and are handed on together: where one of
//! them is missing, nothing tells which, and what came of them is no use. Unless their samples tell it ([`Tags`]).

use crate::engine::intake::tuning::source::{
    BROKEN, BUNCH, BUNCHED, LEAST_DELAY, LOSS, OVERTAKES, PAUSES, SOON, SPLIT_COST, STALL, STALL_TIME, TRUSTED, TURNS,
    USUAL,
};
use std::ops::Range;

use super::learn::{Cut, Learner, Pace};
use super::pattern::Pattern;
use super::tags::Tags;
use crate::time::{KernelTime, MonoTime, Span};

/// A chunk: its number among those of its source, and its length in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub serial: u64,
    pub samples: u32,
}

/// The chunk that is being put together.
#[derive(Clone, Copy, Debug)]
struct Open {
    serial: u64,
    /// Bits of the pieces that came.
    came: u64,
    last: usize,
    first: Heard,
    newest_at: MonoTime,
    /// Something of it was handed on.
    told: bool,
    /// It began after a rest: no backlog.
    rested: bool,
    /// The first since nothing was known: its board may have begun inside of it.
    fresh: bool,
    /// Its first piece may have been the last chunk's, long delayed.
    split: bool,
    /// Datagrams of other sources until its newest piece came.
    elsewhere: u64,
}

/// When a datagram came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    pub at: MonoTime,
    pub stamp: KernelTime,
    /// From the stamp until the loop read it.
    pub delay: Span,
}

/// What the rest of the array did, as far as it matters to one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Datagrams of other sources so far.
    pub elsewhere: u64,
    /// Other live sources of the same board: none, where boards are free.
    pub others: u64,
}

/// Whether a datagram fits what is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    Nothing,
    /// It does not: from it on, the source is learnt anew.
    Anew,
    /// The single datagrams of the last second were pieces.
    Found(Cut),
}

/// What is handed on of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Part(Part),
    /// It waits for the others of its size.
    Waits,
    /// The bytes of the piece before it.
    Copy,
    /// No piece of the pattern.
    Stranger,
}

/// A part of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub chunk: Chunk,
    /// The first of its chunk that is handed on.
    pub opens: bool,
    /// It was taken for a chunk's of its own, and may have been the last chunk's.
    pub split: bool,
    /// The first of the chunk's datagrams.
    pub first: Heard,
    /// Where it begins in its chunk, in frames.
    pub offset: u32,
    samples: u32,
    /// It stands in the source's buffer, not in the datagram.
    kept: bool,
}

/// What chunks lack that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lacking {
    /// Pieces that did not come.
    pub pieces: u64,
    /// Chunks of which something came that nothing can be made of.
    pub unplaced: u64,
}

impl std::ops::AddAssign for Lacking {
    fn add_assign(&mut self, more: Lacking) {
        self.pieces += more.pieces;
        self.unplaced += more.unplaced;
    }
}

/// One microphone's sender.
#[derive(Debug)]
pub struct Source {
    pace: Pace,
    cut: Option<Cut>,
    /// As it was before it is learnt anew.
    before: Option<Cut>,
    learner: Learner,
    serial: u64,
    open: Option<Open>,
    /// The open chunk before the newest was opened.
    previous: Option<Open>,
    /// The open chunk's bytes, where a part has to wait or a boundary cuts a frame.
    bytes: Vec<u8>,
    /// A size, and how often in a row.
    usual: (usize, u32),
    newest_at: Option<MonoTime>,
    /// Single datagrams, and those of them that came close behind another.
    bunch: (u32, u32),
    /// They are learnt beside.
    doubted: bool,
    /// So many more are taken as they come, since the last ones were found to be no pieces.
    trusted: u32,
    /// Chunks in a row that did not come whole.
    broken: u32,
    /// Mean pause between two pieces of a chunk, and its mean deviation.
    pause: Option<(Span, Span)>,
    /// The share of pieces that is lost.
    loss: f64,
    /// [`TURNS`] or more: the microphones' pieces come in turn; the negative or less: one microphone's after the other's.
    turns: i32,
    /// Pieces of one size were equal, byte for byte: the sound repeats.
    repeats: bool,
    /// What its samples say of their place.
    tags: Tags,
}

impl Source {
    pub fn new(pace: Pace) -> Source {
        Source {
            pace,
            cut: None,
            before: None,
            learner: Learner::new(pace),
            serial: 0,
            open: None,
            previous: None,
            bytes: Vec::new(),
            usual: (0, 0),
            newest_at: None,
            bunch: (0, 0),
            doubted: false,
            trusted: 0,
            broken: 0,
            pause: None,
            loss: LOSS.0,
            turns: 0,
            repeats: false,
            tags: Tags::default(),
        }
    }

    /// How it cuts its chunks; `None` while that is being learnt.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// It is learnt anew, and was known before.
    pub fn was_known(&self) -> bool {
        self.before.is_some()
    }

    /// Bytes of its last datagram, where each is a chunk.
    pub fn usual_bytes(&self) -> usize {
        self.usual.0
    }

    /// Whether a datagram of `len` bytes is known to be a piece.
    pub fn has_piece(&self, len: usize) -> bool {
        matches!(self.cut, Some(Cut::Pieces(pattern)) if pattern.sizes().iter().any(|&size| usize::from(size) == len))
    }

    /// Whether its samples carry tags.
    pub fn set_tagged(&mut self, tagged: bool) {
        self.tags.set(tagged);
    }

    /// When learning has to end, where datagrams wait for it.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.learner.deadline().filter(|_| self.cut.is_none())
    }

    /// How the source cuts its chunks is known. True when that is another way than before.
    pub fn settle(&mut self, cut: Cut) -> bool {
        let before = self.cut.or(self.before).replace(cut);
        let turns = if self.learner.is_in_turn() { 2 * TURNS } else { -2 * TURNS };
        *self = Source {
            cut: Some(cut),
            turns: if self.learner.deadline().is_some() { turns } else { 0 },
            serial: self.serial,
            bytes: std::mem::take(&mut self.bytes),
            tags: self.tags.anew(),
            ..Source::new(self.pace)
        };
        before.is_some_and(|before| before != cut)
    }

    /// After a silence, or with another sender, nothing joins what came before. Returns what the open chunk lacks.
    pub fn close(&mut self) -> Lacking {
        self.newest_at = None;
        let lacks = self.lacks();
        self.open = None;
        lacks
    }

    /// Hears a datagram that waits while the cut is being learnt.
    pub fn learn(&mut self, len: usize, at: MonoTime, in_turn: bool) -> Option<Cut> {
        self.learner.hear(len, at, in_turn)
    }

    /// What has been learnt by the end of the time.
    pub fn learnt(&self) -> Cut {
        self.learner.decide()
    }

    /// Looks at a datagram before it is placed.
    pub fn news(&mut self, len: usize, at: MonoTime, in_turn: bool) -> News {
        let pause = self.newest_at.replace(at).map(|before| at - before);
        let anew = match self.cut {
            None => return News::Nothing,
            Some(Cut::Pieces(_)) => !self.has_piece(len) || self.broken >= BROKEN,
            Some(Cut::Whole) => {
                let usual = self.usual;
                self.usual = if usual.0 == len { (len, usual.1.saturating_add(1)) } else { (len, 1) };
                let time = self.pace.time_of(usual.0.max(len));
                let soon = pause.is_some_and(|pause| pause < time.mul_ratio(1, SOON));
                if !(soon && usual.1 >= USUAL && usual.0 != len) {
                    return self.doubt(len, at, soon, in_turn);
                }
                true
            }
        };
        if !anew {
            return News::Nothing;
        }
        self.forget();
        News::Anew
    }

    /// From here on it is learnt anew.
    pub fn forget(&mut self) {
        self.before = self.cut.take().or(self.before);
        self.learner.start_over();
    }

    /// Single datagrams that come in bunches may be pieces of one size: they are learnt beside.
    fn doubt(&mut self, len: usize, at: MonoTime, soon: bool, in_turn: bool) -> News {
        if self.doubted {
            if !self.learner.note(len, at, in_turn) {
                return News::Nothing;
            }
            self.doubted = false;
            self.bunch = (0, 0);
            self.trusted = TRUSTED;
            return match self.learnt() {
                Cut::Whole => News::Nothing,
                cut => News::Found(cut),
            };
        }
        if self.trusted > 0 {
            self.trusted -= 1;
            return News::Nothing;
        }
        self.bunch = (self.bunch.0 + 1, self.bunch.1 + u32::from(soon));
        if self.bunch.0 == BUNCH {
            self.doubted = self.bunch.1 >= BUNCHED;
            self.bunch = (0, 0);
            self.learner.start_over();
        }
        News::Nothing
    }

    /// Takes a datagram that is not too long; what it adds to a chunk. `lacking` is told what the chunk before lacks.
    pub fn take(&mut self, bytes: &[u8], heard: Heard, around: Around, lacking: &mut Lacking) -> Taken {
        let pattern = match self.cut {
            Some(Cut::Pieces(pattern)) => pattern,
            _ if bytes.len().is_multiple_of(self.pace.frame_bytes) => {
                return Taken::Part(self.whole(bytes.len(), heard));
            }
            _ => return Taken::Stranger,
        };
        let told = self.tags.piece(&pattern, bytes);
        let fit = self.fit(&pattern, (bytes.len(), told), heard.at, around);
        let Some((index, opens)) = fit else { return Taken::Stranger };
        if opens {
            if self.is_copy_of_kept(&pattern, bytes, heard.at) {
                return Taken::Copy;
            }
            *lacking += self.lacks();
            let split = self.open.is_some_and(|open| index > open.last && open.came & 1 << index == 0);
            self.open_chunk(&pattern, heard, around, split);
        } else if told.is_none() && pattern.group(index).len() > 1 && self.is_copy(&pattern, index, bytes) {
            return Taken::Copy;
        }
        let open = self.open.as_mut().expect("a chunk is open");
        let interrupted = is_interrupted(open, around, 1);
        let pause = heard.at - open.newest_at;
        open.came |= 1 << index;
        open.last = open.last.max(index);
        open.newest_at = open.newest_at.max(heard.at);
        open.elsewhere = around.elsewhere;
        let came = open.came;
        if !opens {
            self.note_pause(&pattern, pause);
            if self.is_whole(&pattern) && around.others > 0 {
                self.turns = (self.turns + if interrupted { 1 } else { -1 }).clamp(-2 * TURNS, 2 * TURNS);
            }
        }
        let group = if told.is_some() { index..index + 1 } else { pattern.group(index) };
        self.hand_on(&pattern, index, group, came, bytes)
    }

    /// The samples of a part.
    pub fn samples<'a>(&'a self, part: &Part, datagram: &'a [u8]) -> &'a [u8] {
        let frame_bytes = self.pace.frame_bytes;
        let len = part.samples as usize * frame_bytes;
        if part.kept { &self.bytes[part.offset as usize * frame_bytes..][..len] } else { &datagram[..len] }
    }

    /// The datagram that opened the newest chunk was a copy: the chunk before goes on.
    pub fn take_back_opening(&mut self) {
        self.open = self.previous.take();
    }

    /// A datagram that is a chunk of its own.
    fn whole(&mut self, len: usize, heard: Heard) -> Part {
        self.serial += 1;
        let samples = len as u32 / self.pace.frame_bytes as u32;
        let chunk = Chunk { serial: self.serial, samples };
        Part { chunk, opens: true, split: false, first: heard, offset: 0, samples, kept: false }
    }

    /// Which piece it is, and whether it opens a chunk; `None` where no piece has its size. `like`: its length, and which one its
    /// samples say that it is.
    fn fit(
        &self,
        pattern: &Pattern,
        like: (usize, Option<usize>),
        at: MonoTime,
        around: Around,
    ) -> Option<(usize, bool)> {
        let (len, told) = like;
        let of_size =
            |&index: &usize| usize::from(pattern.sizes()[index]) == len && told.is_none_or(|told| told == index);
        let first = (0..pattern.sizes().len()).find(of_size)?;
        let Some(open) = &self.open else { return Some((first, true)) };
        let free = |&index: &usize| open.came & 1 << index == 0;
        let next = (open.last + 1..pattern.sizes().len()).find(|index| of_size(index) && free(index));
        if let Some(next) = next.filter(|&next| self.goes_on(pattern, open, next, at, around)) {
            return Some((next, false));
        }
        let overtaken = (0..open.last).find(|index| of_size(index) && free(index));
        let period = self.period(pattern);
        // Not so long behind the chunk's first that the next chunk's is due: that may come right behind an end that was delayed.
        let soon = at - open.newest_at < period.mul_ratio(1, OVERTAKES) && at - open.first.at < period.mul_ratio(3, 4);
        let sets = if self.turns >= TURNS { 1 } else { 2 };
        match overtaken.filter(|_| soon && open.rested && !is_interrupted(open, around, sets)) {
            Some(index) => Some((index, false)),
            None => Some((first, true)),
        }
    }

    /// Whether a piece that may be the open chunk's is.
    fn goes_on(&self, pattern: &Pattern, open: &Open, index: usize, at: MonoTime, around: Around) -> bool {
        let pause = at - open.newest_at;
        let soon = pause < self.period(pattern).mul_ratio(1, SOON);
        // In turn, a datagram of each of the others stands between two pieces. What is overtaken, outside a backlog, lets some more by.
        let sets = 1 + u64::from(self.turns >= TURNS) + 2 * u64::from(soon && open.rested);
        let known = self.turns.abs() >= TURNS || !(soon && open.rested);
        if is_interrupted(open, around, sets) && known {
            return false;
        }
        soon || !self.is_of_later_chunk(pattern, open, index, pause, around)
    }

    /// After a long pause inside a chunk: was what stood between lost, so that this piece is of a later chunk and on time, or was it
    /// delayed? The likelihoods of both, with delays that fall off exponentially, as the pauses inside chunks show them.
    fn is_of_later_chunk(&self, pattern: &Pattern, open: &Open, index: usize, pause: Span, around: Around) -> bool {
        let period = self.period(pattern);
        let (usual, spread) = self.pause.unwrap_or_default();
        let late = pause - usual;
        let periods = (late + period.mul_ratio(1, 2)).as_nanos().div_euclid(period.as_nanos().max(1));
        if periods < 1 {
            return false;
        }
        let mean = spread.mul_ratio(5, 3).max(LEAST_DELAY).as_nanos() as f64;
        let off = (late - period.mul_ratio(periods, 1)).abs().as_nanos() as f64;
        let pieces = pattern.sizes().len();
        // Of pieces of one size, it may be the first as well.
        let between = (pieces - 1 - open.last)
            + pattern.group(index).start
            + (periods as usize - 1 + around.others as usize) * pieces;
        let later = self.loss.powi(between as i32) * (-off / mean).exp();
        let stalled = STALL * 2.0 * mean / STALL_TIME.as_nanos() as f64;
        let delayed = (-late.as_nanos() as f64 / mean).exp() + stalled;
        // A piece that is taken for a later chunk's moves all that follows; one that joins the wrong chunk only itself. Of pieces of
        // one size, what is split is left out, and what joins wrongly is heard.
        let cost = if pattern.sizes()[open.last] == pattern.sizes()[index] { 0.1 } else { SPLIT_COST };
        later > cost * delayed
    }

    fn open_chunk(&mut self, pattern: &Pattern, heard: Heard, around: Around, split: bool) {
        let rested = self.open.is_none_or(|o| heard.at - o.newest_at >= self.period(pattern).mul_ratio(1, SOON));
        if let Some(open) = &self.open {
            self.broken = if self.is_whole(pattern) { 0 } else { self.broken + 1 };
            let pieces = pattern.sizes().len() as f64;
            let lost = 1.0 - f64::from(open.came.count_ones()) / pieces;
            self.loss = (self.loss + (lost - self.loss) * pieces / LOSS.1).max(LOSS.0);
            self.previous = Some(*open);
        }
        self.serial += 1;
        self.open = Some(Open {
            serial: self.serial,
            came: 0,
            last: 0,
            first: heard,
            newest_at: heard.at,
            told: false,
            rested,
            fresh: self.open.is_none(),
            split,
            elsewhere: around.elsewhere,
        });
    }

    /// What can be handed on now that piece `index` is there: its group, once that is whole, with the samples that its boundaries
    /// cut, where both halves are there.
    fn hand_on(&mut self, pattern: &Pattern, index: usize, group: Range<usize>, came: u64, bytes: &[u8]) -> Taken {
        let range = pattern.offset(group.start)..pattern.offset(group.end);
        let frame_bytes = pattern.frame_bytes();
        let kept = group.len() > 1 || pattern.cuts_frames();
        if kept {
            self.bytes.resize(pattern.bytes(), 0);
            self.bytes[pattern.offset(index)..][..bytes.len()].copy_from_slice(bytes);
        }
        if !group.clone().all(|piece| came & 1 << piece != 0) {
            return Taken::Waits;
        }
        let cut = |byte: usize| !byte.is_multiple_of(frame_bytes);
        let whole = |frame: usize| pattern.pieces_of(frame).all(|piece| came & 1 << piece != 0);
        let (mut from, mut to) = (range.start / frame_bytes, range.end / frame_bytes);
        from += usize::from(cut(range.start) && !whole(from));
        to += usize::from(cut(range.end) && whole(to));
        let samples = to.saturating_sub(from) as u32;
        if samples == 0 {
            // A piece of less than a frame, whose rest is not there.
            return Taken::Waits;
        }
        let open = self.open.as_mut().expect("a chunk is open");
        let chunk = Chunk { serial: open.serial, samples: pattern.samples() };
        let opens = !std::mem::replace(&mut open.told, true);
        Taken::Part(Part { chunk, opens, split: open.split, first: open.first, offset: from as u32, samples, kept })
    }

    /// Of pieces of one size, the bytes of the one before, where the sound is not known to repeat.
    fn is_copy(&mut self, pattern: &Pattern, index: usize, bytes: &[u8]) -> bool {
        let Some(before) = index.checked_sub(1).filter(|&i| pattern.sizes()[i] == pattern.sizes()[index]) else {
            return false;
        };
        let equal = self.keeps(pattern.offset(before), bytes);
        let known = std::mem::replace(&mut self.repeats, equal);
        equal && !self.is_constant(bytes) && !known
    }

    /// Right behind a chunk that has it: the bytes of one of its pieces of this size, where those are kept.
    fn is_copy_of_kept(&self, pattern: &Pattern, bytes: &[u8], at: MonoTime) -> bool {
        let soon = |open: &Open| open.rested && at - open.newest_at < self.period(pattern).mul_ratio(1, SOON);
        let Some(open) = self.open.as_ref().filter(|open| soon(open)) else { return false };
        let mut came = (0..pattern.sizes().len()).filter(|index| open.came & 1 << index != 0);
        let equal = came.any(|index| {
            let same = usize::from(pattern.sizes()[index]) == bytes.len();
            same && pattern.group(index).len() > 1 && self.keeps(pattern.offset(index), bytes)
        });
        equal && !self.is_constant(bytes)
    }

    /// Whether these bytes stand in the open chunk's buffer.
    fn keeps(&self, offset: usize, bytes: &[u8]) -> bool {
        self.bytes.get(offset..).and_then(|kept| kept.get(..bytes.len())) == Some(bytes)
    }

    fn note_pause(&mut self, pattern: &Pattern, pause: Span) {
        if pause >= Span::ZERO && pause < self.period(pattern).mul_ratio(1, 2) {
            let (usual, spread) = self.pause.unwrap_or((pause, Span::ZERO));
            let off = (pause - usual).abs();
            let usual = usual + (pause - usual).mul_ratio(1, PAUSES);
            self.pause = Some((usual, spread + (off - spread).mul_ratio(1, PAUSES)));
        }
    }

    /// What the open chunk lacks.
    fn lacks(&self) -> Lacking {
        match (self.cut, &self.open) {
            (Some(Cut::Pieces(pattern)), Some(open)) => {
                let before = if open.fresh { open.came.trailing_zeros() } else { 0 };
                let pieces = pattern.sizes().len() as u64 - u64::from(open.came.count_ones() + before);
                Lacking { pieces, unplaced: u64::from(!open.told) }
            }
            _ => Lacking::default(),
        }
    }

    fn is_whole(&self, pattern: &Pattern) -> bool {
        self.open.is_some_and(|open| open.came.count_ones() as usize == pattern.sizes().len())
    }

    fn period(&self, pattern: &Pattern) -> Span {
        self.pace.time_of(pattern.bytes())
    }

    /// Silence, or a stuck line: equal bytes say nothing.
    fn is_constant(&self, bytes: &[u8]) -> bool {
        let mut frames = bytes.chunks_exact(self.pace.frame_bytes);
        frames.next().is_none_or(|first| frames.all(|frame| frame == first))
    }
}

/// The rest of the board has sent so many datagrams each since the open chunk's newest piece.
fn is_interrupted(open: &Open, around: Around, sets: u64) -> bool {
    around.others > 0 && around.elsewhere - open.elsewhere >= sets * around.others
}
