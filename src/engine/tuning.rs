//! Constants of judgement that stand for the whole engine, and those of the files beside this one: each with its unit, and where it
//! comes from. Each room has its own.

use crate::time::Span;

/// A source that sent nothing for so long was interrupted (contract section 2): what comes next joins nothing of what came before, a board
/// may have restarted with another offset, and counts begin anew.
pub const SILENCE: Span = Span::from_millis(500);

/// `calibrate.rs`.
pub mod calibrate {
    /// Metres a second, at 20 degrees.
    pub const SOUND: f64 = 343.0;
    /// Samples that are looked through at a time.
    pub const BLOCK: usize = 512;
    /// A clap's peak is so much above the mean peak of blocks, and above this, in counts of 2^31: -66 dBFS.
    pub const STANDS_OUT: f64 = 6.0;
    pub const LEAST_PEAK: f64 = 1_000_000.0;
    /// Blocks over which that mean is taken.
    pub const MEAN: f64 = 32.0;
    /// Around the first loud sample: 42 ms on either side, of which the first half has to be quiet.
    pub const AROUND: i64 = 2_000;
    /// From one clap to the next: 0.3 s at 48 kHz. A room has fallen silent by then.
    pub const APART: i64 = 14_400;
    /// So many claps are enough.
    pub const ENOUGH: usize = 12;
    /// Samples behind the newest emitted one that are left alone for now, as late packets still fill them.
    pub const LAG: i64 = 7_200;
}

/// `calibrated.rs`.
pub mod calibrated {
    use crate::time::Span;

    /// How long claps are waited for.
    pub const LASTING: Span = Span::from_secs(20);
}

/// `history.rs`.
pub mod history {
    /// Cycle records kept are bounded by the history's length in packets of this many frames. Shorter packets keep their
    /// audio, and lose their records sooner.
    pub const SHORTEST_RECORDED: usize = 64;
    /// Frames that are interleaved at a time: 16 KB of 64 channels, which a core's first cache holds.
    pub const NEAR: usize = 64;
}

/// `hostclock.rs`.
pub mod hostclock {
    use crate::time::Span;

    /// Two reads of MONOTONIC_RAW further apart than this around the read of REALTIME say little about D. The narrowest of
    /// three is 60 ns in the median, even on a virtual machine.
    pub const BRACKET: Span = Span::from_micros(1);
    /// An old D loses this share of its age in worth: ordinary NTP slews by less. So a host whose brackets are always wide
    /// still follows its clock.
    pub const STALE_PPM: i64 = 100;
    /// A change of D above this, and above what a slew can do in the time, is a step.
    pub const STEP: Span = Span::from_millis(1);
    /// The kernel's own limits: 500 ppm of frequency, and 500 ppm of `adjtime` on top.
    pub const SLEW_PPM: i64 = 1_000;
    /// A full receive buffer holds about this much: no older stamp can still be read.
    pub const MEMORY: Span = Span::from_secs(5);
    /// The clocks are read at the start of a turn, and packets of the same turn may be stamped a little later.
    pub const AHEAD: Span = Span::from_micros(-900);
}
