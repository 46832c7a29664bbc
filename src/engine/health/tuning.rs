//! Constants of judgement of this room (what makes a fault): each with its unit, and where it comes from.

/// `fold.rs`.
pub mod fold {
    /// Stretches of a band's first sums, and the frequencies of a band: half a turn over the whole time from one to the next.
    pub const STRETCHES: usize = 100;
    pub const STEPS: usize = 100;
    /// Stretches in one slice of work.
    pub const TURNED_AT_ONCE: usize = 25;
    /// Bands tried at most.
    pub const MOST_BANDS: u32 = 48;
    /// A sum this long comes by chance once in a million trials (the power of a random walk is exponential), and of hundreds of frequencies
    /// seldom.
    pub const LEAST_POWER: f64 = 16.0;
    /// And this share of all arrows points one way.
    pub const LEAST_SHARE: f64 = 0.1;
    /// Parts of the whole time that the fit is made of.
    pub const PARTS: usize = 10;
    /// Correlation of neighbouring parts that is believed, at most.
    pub const MOST_ALIKE: f64 = 0.8;
    /// Student's t for 95 % and `PARTS` - 2 degrees of freedom.
    pub const STUDENT: f64 = 2.306;
}

/// `header.rs`.
pub mod header {
    use crate::time::Span;

    /// Packets in a row, and from one such batch to the next.
    pub const BATCH: usize = 16;
    pub const EVERY: Span = Span::from_secs(1);
    /// The longest datagrams are looked at, for a chunk may come in pieces of which the first has the header; the longest of so long a time.
    pub const LONGEST_OF: Span = Span::from_secs(2);
    /// Batches that must agree.
    pub const AGREE: u32 = 2;
    /// Words at the front that may be a header, and words further in that are none: where, in words.
    pub const FRONT: usize = 3;
    pub const INSIDE: [usize; 4] = [5, 11, 18, 27];
    /// A step is so long at most: microseconds of a long packet.
    pub const LONGEST_STEP: u32 = 1 << 20;
    /// Lost packets in between: steps of so many times the usual one.
    pub const MOST_MISSING: u32 = 64;
}

/// `levels.rs`.
pub mod levels {
    use crate::time::Span;

    /// From one packet that is looked at to the next.
    pub const EVERY: Span = Span::from_millis(30);
    /// A window, and the packets of it at least.
    pub const WINDOW: Span = Span::from_secs(1);
    pub const FEWEST_PACKETS: u32 = 10;
    /// A microphone's own noise moves more than this (an INMP441 at rest some 30 000): below, nothing is connected.
    pub const DEAD_RANGE: i64 = 512;
    /// Flat tops count from a quarter of full scale (-12 dBFS) on.
    pub const LEAST_TOP: i64 = 1 << 29;
    /// So many equal samples in a row are a flat top.
    pub const FLAT: u32 = 3;
    /// So many samples of a window in flat tops, in so many packets, are clipping.
    pub const CLIPPED_SAMPLES: u64 = 8;
    pub const CLIPPED_PACKETS: u32 = 2;
    /// A mean beyond this share of full scale is an offset: -40 dBFS.
    pub const OFFSET: f64 = 0.01;
    /// And beyond this share of the sound's own level: a loud sound's mean is not 0 in each second either (speech: a ninth).
    pub const OFFSET_OF_SOUND: f64 = 0.25;
    /// But what moves less than a microphone's own noise is no sound with an offset: -90 dBFS.
    pub const MOVES: i64 = 1 << 16;
    /// A header may stand in front, which is a fault of its own: the first words say nothing of the others. The longest that is known,
    /// VBAN's, has seven.
    pub const NOT_LOOKED_AT: usize = 8;
    pub const EQUAL_LOOKS: u32 = 3;
}

/// `mod.rs`.
pub mod health {
    use crate::time::Span;

    /// A rate that differs by more from the nominal one is wrong, whatever the crystal.
    pub const WRONG_RATE: f64 = 1_000e-6;
    /// Beyond this, one look is enough; below, two in a row.
    pub const PLAINLY_WRONG: f64 = 0.01;
    /// Rates that microphones are set to; a wrong one is mostly one of these, within what is not a crystal's error.
    pub const USUAL_HZ: [f64; 14] = [
        8_000.0, 11_025.0, 12_000.0, 16_000.0, 22_050.0, 24_000.0, 32_000.0, 44_100.0, 48_000.0, 64_000.0, 88_200.0,
        96_000.0, 176_400.0, 192_000.0,
    ];
    pub const NEARLY: f64 = 1_000e-6;
    /// Clipping is told for so long after it was last seen.
    pub const CLIPPING_LASTS: Span = Span::from_secs(10);
}

/// `rates.rs`.
pub mod rates {
    use crate::time::Span;

    /// Datagrams closer together count as one: pieces of a chunk, a backlog. It bounds what is kept of ten seconds, too.
    pub const TOGETHER: Span = Span::from_micros(2_500);
    /// Less than this tells no rate.
    pub const SHORTEST: Span = Span::from_millis(2_500);
    pub const FEWEST: usize = 24;
    /// From one look to the next.
    pub const EVERY: Span = Span::from_secs(3);
    /// How fast a path may grow longer or shorter, in seconds a second, and by how much at most: the `ramp` of the delay study climbs by 15 ms
    /// in 30 s.
    pub const PATH_SLOPE: f64 = 500e-6;
    pub const PATH_MOST_S: f64 = 20e-3;
    /// More cannot be lost: half of it would look like half the rate.
    pub const MOST_LOST: f64 = 0.26;
    /// The count may be ahead of the rate by so much: a backlog at the end of the window.
    pub const COUNT_AHEAD: f64 = 0.015;
    /// The share of packets that are of one size, at least, where there is a spacing to fold by.
    pub const OF_ONE_SIZE: f64 = 0.6;
}

/// `refused.rs`.
pub mod refused {
    use crate::time::Span;

    /// Slices of a second; the look-back is ten of them.
    pub const SLICE: Span = Span::from_secs(1);
    pub const SLICES: usize = 10;
    /// So many refused are worth a word: about two seconds of a microphone.
    pub const FEWEST: u64 = 200;
}
