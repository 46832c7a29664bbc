//! Constants of judgement of this room (how the microphones of one sender are placed): each with its unit, and where it comes from.

/// `align.rs`.
pub mod align {
    use crate::time::Span;

    /// Without a complete cycle the stream starts with an incomplete one after this long: contract section 3.
    pub const START_WITHIN: Span = Span::from_secs(1);
    /// Earlier than a microphone's own floor by more than stamps jitter.
    pub const BEFORE_FLOOR: Span = Span::from_micros(-20);
    /// Periods until a new floor is low enough to call a packet early: of 16 delays of 5 ms in the mean, the lowest is above a
    /// quarter of a period in 2 of 10 000 cases.
    pub const SETTLED: i64 = 16;
    /// Cycles withheld at once; more are let go with the best guess.
    pub const OPEN_CYCLES: usize = 1024;
}

/// `align/place.rs`.
pub mod place {
    use crate::time::Span;

    /// Earlier than the board's floor by more than the floor's error, beside the jitter.
    pub const BEFORE_BOARD: Span = Span::from_micros(500);
    /// A delay is longer than so many times the mean in e^-6 of cases.
    pub const JITTER: i64 = 6;
    /// Until then only what is this far ahead of real time is too early: neither a board nor an access point holds more back.
    pub const BACKLOG: Span = Span::from_secs(5);
}

/// `tail.rs`.
pub mod tail {
    /// Cycles that left and can still be filled by place: 0.7 s of them.
    pub const LEFT_KEPT: usize = 64;
    /// A microphone heard within the first cycles was there from the first.
    pub const FIRST_CYCLES: i64 = 3;
}
