//! Constants of judgement of this room (what figures remember): each with its unit, and where it comes from.

/// `desync.rs`.
pub mod desync {
    use crate::time::Span;

    pub const EVERY: Span = Span::from_secs(1);
}

/// `notes.rs`.
pub mod notes {
    /// Notes of an array at most, and so many that they should be measured soon: those of 18 cycles of three, a fifth of a second. Twice as
    /// many find half as much that is cold, and would take twice as long in one go.
    pub const MOST: usize = 512;
    pub const MANY: usize = MOST / 2;
}

/// `skew.rs`.
pub mod skew {
    /// Packets kept by a trace.
    pub const TRACED: usize = 8192;
    /// Skips kept that may be taken back: as many as the engine keeps.
    pub const SKIPS: usize = 512;
}

/// `trend.rs`.
pub mod trend {
    /// Values of one second that go into its median; more than any usual packet rate.
    pub const VALUES: usize = 128;
    /// Points since start: 1128 slopes, a few microseconds of work when one is added.
    pub const POINTS: usize = 48;
    /// Below this many points Sen's interval is the range of all slopes, or none.
    pub const ENOUGH: usize = 8;
}

/// `window.rs`.
pub mod window {
    use crate::engine::figures::window::WINDOW;
    use crate::time::Span;

    pub const SLICE: Span = Span::from_millis(100);
    pub const SLICES: i64 = WINDOW.as_nanos() / SLICE.as_nanos();
    /// Values kept for percentiles: so many in ten seconds, and so many at once.
    pub const KEPT: i64 = 4096;
    pub const BURST: i64 = 1024;
    /// One value in so much time passes for ever; `BURST` may be ahead of that (the generic cell rate algorithm, ITU-T I.371).
    pub const EMISSION: Span = Span::from_nanos(WINDOW.as_nanos() / KEPT);
    pub const TOLERANCE: Span = EMISSION.mul_ratio(BURST, 1);
    /// Room for the usual rate, so that the steady state does not allocate: 93.75 values a second for ten seconds.
    pub const USUAL: usize = 1024;
}
