//! Constants of judgement of this room (how boards with clocks of their own are brought to one axis): each with its unit, and where it comes from.

/// `boards.rs`.
pub mod boards {
    use crate::time::Span;

    /// So long a new offset is learnt before it is used.
    pub const LEARN: Span = Span::from_secs(1);
    /// A cycle ends before a packet does by this share of a period: slips of as many samples do not change which packet completes it.
    pub const EDGE_SHARE: i64 = 16;
    /// What a slip must gain, in samples: less would slip back and forth with the noise of the floor (clock notes, section 4).
    pub const HYSTERESIS: f64 = 0.25;
    /// A backlog whose board drifted in the silence is brought back when it stands so far from the axis, in samples: the half that a
    /// whole number of them leaves, and as much again as for any slip.
    pub const ASTRAY: f64 = 0.5 + HYSTERESIS;
}

/// `boards/numbered.rs`.
pub mod numbered {
    /// Chunks of one clock that come within this share of a period of each other were captured together.
    pub const TOGETHER: i64 = 4;
}

/// `spread.rs`.
pub mod spread {
    use crate::time::Span;

    /// Contract section 3: at least 1 ms, at most 40 ms.
    pub const LIMITS: (Span, Span) = (Span::from_millis(1), Span::from_millis(40));
    /// Spans kept: 11 s of cycles. Of so many, the second largest is the 99.9th percentile.
    pub const KEPT: usize = 1024;
    /// Longer ones are stalls, which no wait covers (clock notes, section 3) ...
    pub const STALL: Span = Span::from_millis(60);
    /// ... unless one in so many cycles has one: then the path itself works in bursts (a modem that sleeps wakes every 102 ms).
    pub const REGULAR: usize = 10;
    /// And then so long at most: two and a half such bursts.
    pub const LONGEST_BURST: Span = Span::from_millis(250);
    /// Spans before the observation is trusted, and between two looks at it: a third of a second.
    pub const EVERY: usize = 32;
}

/// `stream.rs`.
pub mod stream {
    use crate::time::Span;

    /// Packets in doubt at once; the oldest doubt is settled by the best guess when there are more. A backlog of 1.3 s.
    pub const MAX_PENDING: usize = 128;
    /// Any crystal's rate is known this well, before a figure can be told.
    pub const CRYSTAL_PPM: f64 = 200.0;
    /// How well the rate must be known for a floor of minutes ago to judge by: 5 ppm are 0.9 ms in three minutes.
    pub const ANCHOR_PPM: f64 = 5.0;
    /// The older of two anchors is so old at least, once there are two.
    pub const ANCHOR_AGE: Span = Span::from_secs(90);
}

/// `resample.rs`.
pub mod resample {
    /// A channel's offset moves by no more than this, in samples a sample: a clock's rate error and the clock model's own slew
    /// are far below, and pitch changes by under two cents.
    pub const MAX_BEND: f64 = 1e-3;
}

/// `grid.rs`.
pub mod grid {
    /// Room for cycles beyond those that are open at most: a packet may lie in so many.
    pub const SPARE: usize = 16;
}
