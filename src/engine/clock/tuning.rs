//! Constants of judgement of this room (what the clock of a microphone is judged by): each with its unit, and where it comes from.

/// `fit.rs`.
pub mod fit {
    /// No crystal in order is further off. Some are, and an odd divider of a bus clock is by a thousand; but so is a load ramp,
    /// for half a minute. Hence a steeper line must lie under all that was heard since a beginning, and is believed only once it is
    /// longer than any ramp.
    pub const MAX_PPM: f64 = 150.0;
    /// It touches the first seconds since the beginning: so many, and a share of all.
    pub const BEGINNING_S: f64 = 1.0;
    pub const BEGINNING_SHARE: f64 = 0.02;
    /// Or it is touched for so long.
    pub const LONGER_THAN_RAMPS_S: f64 = 50.0;
    /// How far from what is known a rate may lie without a new start.
    pub const MAX_CHANGE_PPM: f64 = 10.0;
    /// Wider ones are worse than 1.5 ppm at 95 %: told, but not followed.
    pub const SHARP_PPM: f64 = 3.3;
    /// Shortest stretch between first and last contact, and its share of spans over 30 s.
    pub const MIN_EXTENT_S: f64 = 8.0;
    pub const MIN_EXTENT_SHARE: f64 = 0.6;
    /// A line under the first seconds.
    pub const MIN_EARLY_EXTENT_S: f64 = 3.0;
    /// Of the seconds of a span, and of its last [`RECENT_S`].
    pub const MIN_CONTACT_SHARE: f64 = 0.25;
    pub const RECENT_S: f64 = 20.0;
    /// Contact is within so many times the scatter, and so many microseconds, of the line.
    pub const CONTACT_SCATTERS: f64 = 4.0;
    pub const CONTACT_US: f64 = 5.0;
    /// The stretch over which scatter is judged.
    pub const SCATTER_S: f64 = 120.0;
    /// Touch is within the lowest one of so many residuals, and a microsecond.
    pub const TOUCH_RANK: usize = 8;
    pub const TOUCH_US: f64 = 1.0;
    /// A slope's standard deviation as a share of its half-width, and what is added for each unit of shape above that of an
    /// exponential: calibrated on simulated exponential, gamma, normal and log-normal delays.
    pub const DEVIATION: f64 = 1.0 / 5.6;
    pub const DEVIATION_PER_SHAPE: f64 = 0.5;
    /// Of lines that few points carry: a factor, and the same for shape.
    pub const WIDE: (f64, f64) = (1.7, 4.5);
    /// What stamps and their conversion resolve at best, in microseconds.
    pub const STAMPS_US: f64 = 0.3;
    /// A line holds now if it was touched within the first time, and once more between the other two before that: the chord of
    /// a bent floor is touched at its very end alone.
    pub const NOW_S: f64 = 14.0;
    pub const AND_BEFORE_S: (f64, f64) = (6.0, 20.0);
    /// So many seconds before the slope of a first line is better than none.
    pub const PROVISIONAL_POINTS: usize = 4;
}

/// `minima.rs`.
pub mod minima {
    /// The shortest stretch of `Minima::early`, and how many are kept: 15 s at first.
    pub const SHORTEST: i64 = 1_000_000_000 / 8;
    pub const EARLY_KEPT: usize = 120;
    /// Stretches grow no longer than this: from then on whole seconds say as much.
    pub const LONGEST: i64 = 1_000_000_000 / 2;
}

/// `mod.rs`.
pub mod clock {
    use crate::time::Span;

    /// The floor follows no wider span than this: what a rate turns by within a span bends the phase by its square.
    pub const PHASE_SPAN_S: f64 = 120.0;
    /// How fast the phase of the alignment line may be mended; and before anything is known.
    pub const MAX_SLEW_PPM: f64 = 50.0;
    pub const FIRST_SLEW_PPM: f64 = 500.0;
    /// The time in which a phase error would be mended, if the slew allows.
    pub const SLEW_OVER_S: f64 = 10.0;
    /// A new line may stand this much above the old one at once, in microseconds, and by so much more a second on hold.
    pub const MAX_RISE_US: f64 = 400.0;
    pub const RISE_PPM: f64 = 20.0;
    /// Before a rate is known: that of any crystal.
    pub const FIRST_RISE_PPM: f64 = 200.0;
    /// How well the lowest of some arrivals tells their floor.
    pub const RISE_BLUR_US: f64 = 200.0;
    /// What lowered the floor on hold counts for so long: packets may have been numbered wrongly for a while.
    pub const LOWERED: Span = Span::from_secs(20);
    /// Within the first seconds no line says that the floor moves.
    pub const LONG_ENOUGH_S: usize = 20;
    /// Without a believable line for this long, what was known is given up.
    pub const GIVE_UP: Span = Span::from_secs(300);
}

/// `rate.rs`.
pub mod rate {
    /// Standard deviations of a slope to a 95 % half-width: more than the 2 of a normal one, since they are themselves
    /// estimated, from a handful of points.
    pub const DEVIATIONS_95: f64 = 2.5;
    /// The touched stretch is itself not known exactly. Of a random walk by q ppm a root second that leaves
    /// `STRETCH_95 * q^2 * seconds` open (calibrated in simulation, `tests/clock_truth.rs`).
    pub const STRETCH_95: f64 = 0.005;
    /// The height of a line's lowest points to a 95 % half-width of its own: the lowest of some exponential delays lies above their
    /// floor by more than three times its mean in 5 % of cases, and the mean of the four lowest above it by 1.5 times that; the
    /// rest is calibrated on simulated delays.
    pub const LEVELS_95: f64 = 3.0;
    /// A random walk of the rate bends a line's end away from it by this share of the cube of its length.
    pub const BENT: f64 = 0.002;
    /// (1.96)^2: from a variance to the square of a 95 % half-width.
    pub const NORMAL_95: f64 = 3.84;
    /// Two stretches have this share of the longer one in common, or are compared only if no others have: a step may hide in the
    /// rest.
    pub const MIN_COMMON_SHARE: f64 = 0.45;
}

/// `sent.rs`.
pub mod sent {
    use crate::time::Span;

    /// Time and position go on together but for what a sender is late: more than this apart, from one packet to the next, and the sender
    /// set its clock, or the field is no time. The longest silence of a sender that lives is half a second (contract section 2).
    pub const APART: Span = Span::from_secs(1);
    /// A clock that is beyond this against the samples is none of theirs: crystals are within 100 ppm, and a rate that is 1000 ppm off is
    /// told as wrong everywhere (contract section 10).
    pub const NOMINAL_PPM: f64 = 1_000.0;
}

/// `wander.rs`.
pub mod wander {
    /// Spans whose changes are followed; the widest would tell too little too late.
    pub const SCALES: usize = 4;
    /// Of a span, at least so much must be touched.
    pub const MIN_TOUCHED: f64 = 0.6;
    /// Changes older than this count little.
    pub const MEMORY_S: f64 = 1_800.0;
    /// One change counts for no more than this times what is expected: a step of the rate is no wander.
    pub const MOST: f64 = 5.0;
    /// Before anything is known: (0.05 ppm)^2 a second, a crystal in a harsh place; worth one measurement.
    pub const PRIOR: f64 = 0.0025;
    pub const PRIOR_WEIGHT: f64 = 1.0;
}
