//! Constants of judgement of this room (late or lost): each with its unit, and where it comes from.

use crate::time::Span;

/// Of `late.rs` and `silence.rs`: the lowest of n packets lies above the floor by more than this, in nth parts of the mean, in e^-6 of cases.
pub const JITTER: i64 = 6;
/// Of `review.rs` and `skips.rs`: packets this much below the floor speak against what moved them up (clock notes, section 2).
pub const EARLY: Span = Span::from_micros(400);

/// `borders.rs`.
pub mod borders {
    /// Packets that are listened to at a time: five rows of three channels and what is before them, or seventeen of one.
    pub const PACKETS: usize = 18;
    /// Below this the sound shows that a border is broken: of whole ones 1 in 1000 is.
    pub const BROKEN: f64 = -4.6;
}

/// `holes.rs`.
pub mod holes {
    /// Periods that may be missing: beyond, it was an outage, and arrivals tell.
    pub const MOST: usize = 12;
    /// What the sound decides is right in 99 of 100 cases (sound notes, section 1: of those that it decided, .09 to .39 % were wrong).
    pub const SURE: f64 = 0.99;
    /// The sound has to make its odds so many times as high. What arrivals alone make likely, they decide.
    pub const SPEAKS: f64 = 2.0;
    /// No delay is less likely than e^-8: every few thousand packets there is a stall, whatever the jitter.
    pub const STALL: f64 = 8.0;
    /// A path's level rises by whole periods, with nothing lost, before one packet in e^9: some times a day to an hour.
    pub const RISES: f64 = 9.0;
    /// What is forgotten after so many rows: some minutes.
    pub const KEPT: f64 = 20_000.0;
}

/// `inference.rs`.
pub mod inference {
    /// Packets that wait for the inference at most; a stream has fewer in doubt.
    pub const MOST_WAITING: usize = 256;
}

/// `lag.rs`.
pub mod lag {
    /// Cycles before a greater lag is adopted, at least: a quarter of a second, longer than a stall.
    pub const BLOCK: u32 = 24;
}

/// `late.rs`.
pub mod late {
    use crate::time::Span;

    /// Residuals this little below a period still count as one: stamps of one path jitter this much at their floor.
    pub const TOLERANCE: Span = Span::from_micros(150);
    /// How far above the floor the last packets must all lie before the floor itself counts as risen.
    pub const RISEN: Span = Span::from_micros(500);
    /// Packets that say where the floor is now.
    pub const RECENT: usize = 24;
    /// Spaced cycles before a loss is believed: at least, at most. A pause of noise alone needs this many delays beyond a
    /// period in a row; how many that takes to be incredible depends on the jitter.
    pub const SPACED: (u32, u32) = (3, 8);
    /// Of shorter periods as many as come in the time of eight periods of 512 samples.
    pub const LONGEST: Span = Span::from_micros(85_333);
    /// How well a floor is known at best.
    pub const KNOWN_TO: Span = Span::from_micros(100);
    /// e^-30: a delay that improbable is not believed.
    pub const INCREDIBLE: i64 = 30;
    /// e^-13, two in a million: less likely than that some cycle was lost.
    pub const UNLIKELY: i64 = 13;
    /// A level that stood on whole periods for so long was a loss after all; the second where floors are seen to move.
    pub const STANDS: (Span, Span) = (Span::from_secs(6), Span::from_secs(25));
    /// Where packets come later than this in the mean, in 8ths of a period, for so long, arrivals cannot number them: of exponential
    /// delays a fifth are longer than a period, and losses are made up (`short::` in the tests in virtual time: at three quarters one
    /// of 8000 packets, at one and a half one of 1000).
    pub const UNNUMBERED: (i64, Span) = (5, Span::from_secs(3));
    /// Only of periods below this: what delays packets by more is a stall or a modem's sleep as a rule, whose bursts show it.
    pub const SHORT: Span = Span::from_millis(2);
    /// The floor that they come late after is the lowest of one to two blocks of this length: 24 packets of 512 samples.
    pub const BLOCK: Span = Span::from_millis(256);
    /// Steps of the floor remembered, and for how long.
    pub const STEPS: usize = 64;
    pub const STEPS_WITHIN: Span = Span::from_secs(600);
    /// So many are no accident.
    pub const SEVERAL: usize = 4;
}

/// `nominal.rs`.
pub mod nominal {
    /// So many of one length in a row are normal, whatever came before.
    pub const ALIKE: u32 = 8;
    /// Chunks that the mean is taken over.
    pub const OVER: f64 = 64.0;
}

/// `review.rs`.
pub mod review {
    use crate::time::Span;

    /// Packets, each at least half a period after the one before, at which the lowest is looked at.
    pub const LOOKS: [u32; 4] = [8, 16, 32, 48];
    /// The lowest of n delays lies above the floor by more than this, in nth parts of the mean, in e^-12 of cases.
    pub const JITTER: i64 = 12;
    /// The same in e^-3 of cases.
    pub const BACK: i64 = 3;
    /// How well a level is known at best.
    pub const BLUR: Span = Span::from_micros(100);
    /// Twice as fast as the floor of a load ramp climbs (15 ms in 30 s: clock notes).
    pub const CLIMB: i64 = 1_000;
    /// So many that are earlier than [`EARLY`](super::EARLY) were numbered too high.
    pub const RUN: u32 = 3;
}

/// `silence.rs`.
pub mod silence {
    use crate::time::Span;

    /// Packets at their spacing, at least: more than a path hands over between two parts of a backlog.
    pub const SPACED: u32 = 8;
    /// Nearer than this share of a period to a whole number of them is one: a restarted board is taken for one that went on in one of
    /// six cases, and then stands where its own floor is, to this share.
    pub const NEAR: i64 = 8;
    /// It is heard for so long at most.
    pub const LONGEST: Span = Span::from_secs(1);
}

/// `skips.rs`.
pub mod skips {
    use crate::time::Span;

    /// How long after a skip they do.
    pub const WITHIN: Span = Span::from_secs(180);
    /// So many early packets take a skip back; a single one may be a stray.
    pub const RUN: usize = 3;
    /// The newest early packets, of which the lowest says how early.
    pub const RECENT: usize = 8;
    /// Near whole periods: the error of a floor, beside the jitter.
    pub const NEAR: Span = Span::from_micros(300);
    /// Early packets further apart than this have nothing to do with each other.
    pub const TOGETHER: Span = Span::from_secs(2);
    /// So long the clock does not learn from early packets.
    pub const DISPUTE: Span = Span::from_secs(30);
    /// Every single loss of three minutes at 3 %.
    pub const KEPT: usize = 512;
}
