//! Constants of judgement of this room (how what comes in is told apart): each with its unit, and where it comes from.

/// `chunks/learn.rs`.
pub mod learn {
    use crate::time::Span;

    /// Datagrams kept: a second of a source that sends six pieces a chunk. Each new one is looked at beside all of them.
    pub const KEPT: usize = 640;
    /// Equal clusters in a row that decide at once.
    pub const ALIKE: usize = 3;
    /// The same where all pieces have one size: jitter makes pairs of single datagrams too.
    pub const ALIKE_EVEN: usize = 8;
    /// Datagrams whose sizes repeat, so often at least, decide whatever the pauses: of two sizes that come by chance, one run in a
    /// hundred thousand does.
    pub const REPEATS: (usize, usize) = (24, 6);
    /// Of a source of several channels a chunk has as many times more pieces, and each holds as much less time, so that any jitter tears its
    /// clusters apart: there a longer pattern decides that came so often, and as long.
    pub const REPEATS_LONG: usize = 3;
    /// Pieces stand behind each other by half of what they hold, in time, or by this.
    pub const CLOSE: Span = Span::from_micros(300);
    /// At the end of the time, of clusters (pieces of one size) or of neighbours (unequal sizes), in percent.
    pub const MOST: usize = 75;
}

/// `chunks/mod.rs`.
pub mod chunks {
    use crate::time::Span;

    /// Datagrams that wait at most: a second of three sources that send six pieces a chunk, and of each beyond as many again. More are
    /// a flood, and end the learning.
    pub const ROOM: usize = 2048;
    pub const ROOM_EACH: usize = ROOM / 3;
    /// Two datagrams that together are whole samples, so close to each other, may be pieces of one chunk.
    pub const CUT_WITHIN: Span = Span::from_millis(100);
}

/// `chunks/pattern.rs`.
pub mod pattern {
    /// Datagrams of a chunk at most, where a source has one channel: 8192 bytes are six of 1460, and no sender known to us makes more.
    pub const MOST_PIECES: usize = 16;
    /// And however many channels it has: as many bits count those that came.
    pub const MOST: usize = 64;
}

/// `chunks/source.rs`.
pub mod source {
    use crate::time::Span;

    /// Within this share of a chunk's time after a piece the next one is expected.
    pub const SOON: i64 = 4;
    /// A piece overtakes the one before it by no more than this share of a chunk's time.
    pub const OVERTAKES: i64 = 8;
    /// Delays of pieces are of this mean at least, whatever was seen.
    pub const LEAST_DELAY: Span = Span::from_micros(50);
    /// A stall begins between two pieces: four stalls a minute, three in ten of them inside a cycle (clock notes) ...
    pub const STALL: f64 = 1e-4;
    /// ... and ends somewhere within this.
    pub const STALL_TIME: Span = Span::from_millis(100);
    /// How much worse it is to split a chunk in two than to join a piece to the wrong one.
    pub const SPLIT_COST: f64 = 10.0;
    /// The loss that is expected of any path at least, and the pieces after which it is known.
    pub const LOSS: (f64, f64) = (5e-4, 1000.0);
    /// Chunks after which the pauses inside of them are known.
    pub const PAUSES: i64 = 32;
    /// So many chunks of which none came whole, and the pattern is looked at again.
    pub const BROKEN: u32 = 16;
    /// Datagrams of one size in a row: another size is news.
    pub const USUAL: u32 = 8;
    /// Of so many datagrams ...
    pub const BUNCH: u32 = 64;
    /// ... as many close behind another, and single datagrams may be pieces.
    pub const BUNCHED: u32 = 26;
    /// Found to be none, so many are not looked at again: a minute and a half of one microphone, and next to nothing of a flood.
    pub const TRUSTED: u32 = 8192;
    /// So many chunks tell whether the pieces of the microphones come in turn.
    pub const TURNS: i32 = 4;
}

/// `formats.rs`.
pub mod formats {
    use crate::time::Span;

    /// One line that a datagram does not fit in so long a time.
    pub const SAY_EVERY: Span = Span::from_secs(1);
}

/// `hopping.rs`.
pub mod hopping {
    /// Packets of one port in a row, at most: pieces of a chunk leave by one socket.
    pub const LONGEST_RUN: u32 = 8;
    /// The newest ports that are remembered, and how many that come back end it: one may, by chance.
    pub const RECENT: usize = 8;
    pub const MOST_BACK: u32 = 3;
}

/// `undecided.rs`.
pub mod undecided {
    use crate::time::Span;

    /// What waits is decided after so long, whatever is known then: a second, within which contract section 7 wants a source known.
    pub const LONGEST: Span = Span::from_secs(1);
    /// Datagrams that wait at most: two of each source that is looked at, beside others that send four times as fast.
    pub const ROOM_EACH: usize = 16;
}
