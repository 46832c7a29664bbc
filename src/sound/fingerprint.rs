//! By how many whole packets are two microphones apart from where they were?
//!
//! Problem: after a queue, an outage or a reboot, arrival times say where a microphone's packets belong only up to whole packets.
//!
//! Idea: between two microphones of one room, the same sound takes certain ways. A [`Correlogram`] of the whitened sounds, collected
//! over seconds while the placement is trusted, is a fingerprint of them: sources, microphones, walls and all. Collected anew
//! later, it is the same one, moved by as much as the placement is wrong; whole packets are then the only question, and the
//! fingerprint with all its reflections answers it even where the direct sound alone does not stand out. Where the source has
//! moved, or another one is heard, nothing fits, and nothing is decided.
//!
//! One [`Correlogram::add`] is one slice of work: a block of a pair, some ten microseconds.

use super::whiten::{BLOCK, DECIMATION, dot};

pub use super::whiten::{FULL_BLOCK, Whitener};

/// Lags of a fingerprint on either side, in samples of the low rate: 40 ms.
const REACH: usize = 240;
/// Whole lags that are collected beyond, on either side: to compare at any shift of so much, 64 ms.
const SHIFTS: usize = 384;
const LAGS: usize = 2 * (REACH + SHIFTS) + 1;
/// Blocks whose partners reach to all lags on both sides.
const ACROSS: usize = (REACH + SHIFTS).div_ceil(BLOCK);
/// Around a whole packet, the best of so many samples of the low rate on either side counts: a third of a millisecond.
const NEAR: i64 = 2;
/// A shift is decided when it is so much better than the second, in deviations of what all shifts give.
pub const DECIDED: f64 = 3.5;
/// Blocks of 10.7 ms that a decision needs at least: a third of a second.
pub const FEWEST_BLOCKS: u32 = 32;
/// And a fingerprint to compare with: two seconds.
pub const TRUSTED_BLOCKS: u32 = 188;
/// A median of absolute values, as a part of the standard deviation.
const MEDIAN_OF_NORMAL: f32 = 0.6745;

/// The last whitened blocks of one microphone, whole.
#[derive(Debug)]
pub struct Track {
    samples: [f32; (2 * ACROSS + 1) * BLOCK],
}

impl Default for Track {
    fn default() -> Track {
        Track { samples: [0.0; (2 * ACROSS + 1) * BLOCK] }
    }
}

impl Track {
    pub fn push(&mut self, block: &[f32; BLOCK]) {
        self.samples.copy_within(BLOCK.., 0);
        let newest = self.samples.len() - BLOCK;
        self.samples[newest..].copy_from_slice(block);
    }

    /// The block in the middle, to which the newest is as far ahead as the oldest is behind.
    fn middle(&self) -> &[f32] {
        &self.samples[ACROSS * BLOCK..(ACROSS + 1) * BLOCK]
    }
}

/// How alike two microphones sound at each lag.
#[derive(Clone, Debug)]
pub struct Correlogram {
    sums: Box<[f32; LAGS]>,
    blocks: u32,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The second microphone is so many packets later than it was, against the first.
    pub packets: i64,
    /// By how many deviations it is better than the second-best.
    pub margin: f64,
}

impl Default for Correlogram {
    fn default() -> Correlogram {
        Correlogram { sums: Box::new([0.0; LAGS]), blocks: 0 }
    }
}

impl Correlogram {
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
        self.blocks = 0;
    }

    /// How many blocks it was collected over.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// One more block of both; as many as are asked for are kept, the older ones fade. Silence of one adds nothing.
    pub fn add(&mut self, first: &Track, second: &Track, kept: u32) {
        let block = first.middle();
        if block.iter().all(|&x| x == 0.0) {
            return;
        }
        if self.blocks < kept {
            self.blocks += 1;
        } else {
            let fade = 1.0 - 1.0 / kept as f32;
            self.sums.iter_mut().for_each(|sum| *sum *= fade);
        }
        let from = ACROSS * BLOCK - (REACH + SHIFTS);
        for (lag, sum) in self.sums.iter_mut().enumerate() {
            *sum += dot(block, &second.samples[from + lag..from + lag + BLOCK]);
        }
    }

    /// Where the newer one stands against this one, in packets of so many samples. `None` where nothing stands out, or too
    /// little was collected.
    pub fn shift_of(&self, newer: &Correlogram, packet: u32) -> Option<Shift> {
        let shift = self.best_shift(newer, packet)?;
        let enough = newer.blocks >= FEWEST_BLOCKS && self.blocks >= TRUSTED_BLOCKS;
        (enough && shift.margin >= DECIDED).then_some(shift)
    }

    /// The best shift, however little it stands out.
    pub fn best_shift(&self, newer: &Correlogram, packet: u32) -> Option<Shift> {
        let likeness = self.likeness(newer);
        let mut all: Vec<f32> = likeness.iter().map(|x| x.abs()).collect();
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable_by(middle, f32::total_cmp);
        let deviation = *median / MEDIAN_OF_NORMAL;
        let step = f64::from(packet) / DECIMATION as f64;
        let most = ((SHIFTS as f64 - NEAR as f64) / step) as i64;
        let near = |packets: i64| {
            let at = SHIFTS as i64 + (packets as f64 * step).round() as i64;
            let around = &likeness[(at - NEAR) as usize..=(at + NEAR) as usize];
            around.iter().copied().fold(f32::MIN, f32::max)
        };
        let (mut best, mut second) = ((0, f32::MIN), f32::MIN);
        for packets in -most..=most {
            let found = near(packets);
            if found > best.1 {
                second = best.1;
                best = (packets, found);
            } else {
                second = second.max(found);
            }
        }
        let margin = f64::from((best.1 - second) / deviation);
        (most > 0 && margin.is_finite()).then_some(Shift { packets: best.0, margin })
    }

    /// The correlation of this one's middle with the newer one, at each shift.
    fn likeness(&self, newer: &Correlogram) -> Vec<f32> {
        let mut own = [0.0; 2 * REACH + 1];
        own.copy_from_slice(&self.sums[SHIFTS..SHIFTS + 2 * REACH + 1]);
        let mean = own.iter().sum::<f32>() / own.len() as f32;
        own.iter_mut().for_each(|x| *x -= mean);
        let norm = dot(&own, &own).sqrt();
        let at = |shift: usize| {
            let other = &newer.sums[shift..shift + own.len()];
            let mean = other.iter().sum::<f32>() / other.len() as f32;
            let spread = (dot(other, other) - other.len() as f32 * mean * mean).max(0.0).sqrt();
            dot(&own, other) / (norm * spread)
        };
        (0..=2 * SHIFTS).map(at).collect()
    }
}
