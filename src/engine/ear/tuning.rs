//! Constants of judgement of this room (when the sound is asked, and what is believed): each with its unit, and where it comes from.

/// `job.rs`.
pub mod job {
    /// Blocks that are read before the first is correlated: those that a track holds, and the whitener's window.
    pub const LEAD: u32 = 24;
    /// So many blocks before the first that counts are read: the track's middle is that far behind, but for two that a shift reaches over.
    pub const BEFORE: i64 = 10;
    /// Samples behind the newest emitted one that are left alone for now: late packets still fill them. 150 ms at 48 kHz.
    pub const LAG: i64 = 7_200;
    /// Shifts that are compared at a time.
    pub const SHIFTS_AT_ONCE: usize = 160;
}

/// `mod.rs`.
pub mod ear {
    use crate::time::Span;

    /// Below this rate a packet of the low rate says too little of the way that a sound took.
    pub const LEAST_RATE: u32 = 32_000;
    /// From the start of positions until the first fingerprint is begun: offsets settle meanwhile.
    pub const SETTLES: Span = Span::from_secs(2);
    /// From one fingerprint to the next.
    pub const KEEPS: Span = Span::from_secs(60);
    /// Until it is tried again what nothing stood out for.
    pub const AGAIN: Span = Span::from_secs(10);
    /// A fingerprint that fits nothing any more: after so many minutes the present one takes its place. The source has moved.
    pub const STALE: u32 = 3;
    /// An offset by any number of samples is believed when it stands out by so many deviations: there are 60 times as many as of whole
    /// packets, and of 700 independent ones the best of noise is 3.2 deviations up.
    pub const EXACT: f64 = 6.0;
    /// And only this far from where arrivals put the board, in seconds: their floor is found to a millisecond in a second.
    pub const EXACT_REACH_S: f64 = 0.004;
    /// Arrivals find a floor in a minute. In a fingerprint of before, the boards stood where they were thought to be at first, which is off by
    /// some samples; it shows no offset smaller than this, in seconds.
    pub const FLOORS_SETTLE: Span = Span::from_secs(70);
    pub const EARLY_LEAST_S: f64 = 0.000_5;
    /// From what has happened until it is noted, at most: arrivals decide in a quarter of a second.
    pub const BEFORE_NOTED: Span = Span::from_secs(1);
    /// All pairs are compared of so many boards.
    pub const ALL_PAIRS: usize = 4;
}
