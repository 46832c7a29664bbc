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

    /// What another one of the same pair was collected over is added.
    pub fn join(&mut self, other: &Correlogram) {
        self.blocks += other.blocks;
        self.sums.iter_mut().zip(&other.sums[..]).for_each(|(sum, other)| *sum += other);
    }

    /// One more block of both; as many as are asked for are kept, the older ones fade. Silence of one adds nothing.
    pub fn add(&mut self, first: &Track, second: &Track, kept: u32) {
        let block = first.middle();
        if [block, second.middle()].iter().any(|block| block.iter().all(|&x| x == 0.0)) {
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
        let mut likeness = Likeness::default();
        self.compare(newer, &mut likeness, SHIFTS_IN_ALL);
        likeness.best(packet)
    }

    /// Works on at the correlation of this one's middle with the newer one, by so many shifts. True when it is whole.
    pub fn compare(&self, newer: &Correlogram, likeness: &mut Likeness, shifts: usize) -> bool {
        let mut own = [0.0; 2 * REACH + 1];
        own.copy_from_slice(&self.sums[SHIFTS..SHIFTS + 2 * REACH + 1]);
        let mean = own.iter().sum::<f32>() / own.len() as f32;
        own.iter_mut().for_each(|x| *x -= mean);
        let norm = dot(&own, &own).sqrt();
        let to = (likeness.done + shifts).min(SHIFTS_IN_ALL);
        let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
        for shift in likeness.done..to {
            let other = &newer.sums[shift..shift + own.len()];
            // The sums move on by one, and are made anew from time to time.
            if shift == likeness.done {
                sum = other.iter().map(|&x| f64::from(x)).sum();
                squares = other.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            }
            let spread = (squares - sum * sum / other.len() as f64).max(0.0).sqrt() as f32;
            let likely = dot(&own, other) / (norm * spread);
            likeness.at[shift] = if likely.is_finite() { likely } else { 0.0 };
            let (leaves, comes) =
                (f64::from(other[0]), newer.sums.get(shift + own.len()).map_or(0.0, |&x| f64::from(x)));
            sum += comes - leaves;
            squares += comes * comes - leaves * leaves;
        }
        likeness.done = to;
        to == SHIFTS_IN_ALL
    }
}

/// Shifts that are compared.
const SHIFTS_IN_ALL: usize = 2 * SHIFTS + 1;
/// An offset stands out where nothing further than this from it, in samples of the low rate, is nearly as good.
const APART: i64 = 8;
/// Samples of the low rate on either side from which what lies between them is made.
const AROUND: i64 = 8;
/// Steps of a sample of the low rate at which that is looked at.
const STEPS: i64 = 32;

/// How alike two correlograms are at each shift; or the sums of such.
#[derive(Clone, Debug)]
pub struct Likeness {
    at: Box<[f32; SHIFTS_IN_ALL]>,
    done: usize,
}

impl Default for Likeness {
    fn default() -> Likeness {
        Likeness { at: Box::new([0.0; SHIFTS_IN_ALL]), done: 0 }
    }
}

impl Likeness {
    /// It is made anew.
    pub fn clear(&mut self) {
        self.at.fill(0.0);
        self.done = 0;
    }

    /// Adds what another pair says of the same microphone; `turned` where that is the pair's first.
    pub fn add(&mut self, other: &Likeness, turned: bool) {
        let from = |i: usize| if turned { SHIFTS_IN_ALL - 1 - i } else { i };
        self.at.iter_mut().enumerate().for_each(|(i, sum)| *sum += other.at[from(i)]);
    }

    /// The best shift by whole packets of so many samples, however little it stands out.
    pub fn best(&self, packet: u32) -> Option<Shift> {
        let step = f64::from(packet) / DECIMATION as f64;
        let most = ((SHIFTS as f64 - NEAR as f64) / step) as i64;
        let (mut best, mut second) = ((0, f32::MIN), f32::MIN);
        for packets in -most..=most {
            let found = self.near(packets, step);
            if found > best.1 {
                second = best.1;
                best = (packets, found);
            } else {
                second = second.max(found);
            }
        }
        let margin = f64::from((best.1 - second) / self.deviation());
        (most > 0 && margin.is_finite()).then_some(Shift { packets: best.0, margin })
    }

    /// By how many deviations such a shift is better than none; `None` where it is too far.
    pub fn gain(&self, packets: i64, packet: u32) -> Option<f64> {
        let step = f64::from(packet) / DECIMATION as f64;
        let within = packets.abs() as f64 * step <= (SHIFTS as i64 - NEAR) as f64;
        within.then(|| f64::from((self.near(packets, step) - self.near(0, step)) / self.deviation()))
    }

    fn near(&self, packets: i64, step: f64) -> f32 {
        let at = SHIFTS as i64 + (packets as f64 * step).round() as i64;
        let around = &self.at[(at - NEAR) as usize..=(at + NEAR) as usize];
        around.iter().copied().fold(f32::MIN, f32::max)
    }

    /// The best shift of all, in samples as they came, and by how many deviations it is better than any that is not beside it.
    pub fn exact(&self) -> Option<(f64, f64)> {
        let best = (0..SHIFTS_IN_ALL).max_by(|&a, &b| self.at[a].total_cmp(&self.at[b]))? as i64;
        let inside = (APART.max(AROUND)..SHIFTS_IN_ALL as i64 - APART.max(AROUND)).contains(&best);
        let far = |i: &usize| (*i as i64 - best).abs() > APART;
        let second = (0..SHIFTS_IN_ALL).filter(far).map(|i| self.at[i]).fold(f32::MIN, f32::max);
        let margin = f64::from((self.at[best as usize] - second) / self.deviation());
        if !inside || !margin.is_finite() {
            return None;
        }
        // What lies between the samples: sinc under a Hann window.
        let between = |steps: i64| -> f64 {
            let weight = |k: i64| {
                let x = steps as f64 / STEPS as f64 - k as f64;
                let turn = std::f64::consts::PI * x;
                let window = 0.5 + 0.5 * (turn / (AROUND + 1) as f64).cos();
                window * if x.abs() < 1e-9 { 1.0 } else { turn.sin() / turn }
            };
            (-AROUND..=AROUND).map(|k| f64::from(self.at[(best + k) as usize]) * weight(k)).sum()
        };
        let top = (-STEPS..=STEPS).max_by(|&a, &b| between(a).total_cmp(&between(b)))?;
        let low = (best - SHIFTS as i64) as f64 + top as f64 / STEPS as f64;
        Some((low * DECIMATION as f64, margin))
    }

    /// The standard deviation of all shifts, as far as a median tells.
    fn deviation(&self) -> f32 {
        let mut all = self.at.map(f32::abs);
        let (_, median, _) = all.select_nth_unstable_by(SHIFTS_IN_ALL / 2, f32::total_cmp);
        *median / MEDIAN_OF_NORMAL
    }
}
