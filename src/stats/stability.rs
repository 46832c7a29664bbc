//! Stability: how steady a stream of arrivals is, at each averaging time.
//!
//! One figure for jitter hides what matters: network jitter averages away, a drifting crystal gets worse the longer one looks. So
//! clocks are described against averaging time: Allan deviation (overlapping), modified Allan and time deviation
//! (NIST SP 1065, 5.2.4 to 5.2.6), and the maximum time interval error (ITU-T G.810, II.5; SP 1065, 5.2.16).
//!
//! The textbook formulas run over all data once for each averaging time. A day has eight million packets a microphone, so this
//! computes them as the samples come: averaging times double; a time of m samples is looked at in steps of m / 8 (in single
//! samples up to m = 8, where the figures are exactly the fully overlapping ones). For that, each level keeps 24 blocks with the sum, the
//! extremes and the first sample of m / 8 samples each, and two blocks of one level make one of the next. Twenty levels
//! are a day, and fit a few kilobytes.
//!
//! A lost packet is a missing sample: it counts nowhere, and nothing is interpolated. But an average over what is left of a
//! stretch stands where those samples stand, not in the stretch's middle, and samples may come a little before or after their turn (packets of
//! unequal sizes): second differences are divided differences, over the true times, scaled to the averaging time. For samples at equal
//! distances that is the textbook's figure; a constant rate has none at all, whatever is missing of it.

/// Steps in the longest averaging time of a level.
const STEPS: usize = 8;
/// Blocks that the modified Allan variance needs: three neighbouring averages.
const RING: usize = 3 * STEPS;
/// More than 2^36 samples: twenty years of microphones.
const MOST_LEVELS: usize = 34;
/// An average over less than this share of its samples (one in so many) says nothing.
const FEWEST_OF_AVERAGE: u64 = 2;
/// Below this many terms a deviation says nothing.
const FEWEST_TERMS: u64 = 4;

/// The figures at one averaging time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Deviations {
    /// Averaging time, in samples.
    pub samples: u64,
    /// Overlapping Allan deviation, a ratio.
    pub adev: f64,
    /// Modified Allan deviation, a ratio.
    pub mdev: f64,
    /// Time deviation, in seconds.
    pub tdev: f64,
    /// Maximum time interval error, in seconds.
    pub mtie: f64,
    /// Terms in the Allan deviation; overlapping ones, so not independent.
    pub terms: u64,
}

/// A sample and when it was taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// Arrival minus what a perfect clock would have it at, in seconds.
    pub error_s: f64,
    /// So much later than its turn, in distances of samples; 0 where they come at equal distances.
    pub off: f64,
}

/// The samples of one step, together.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Samples that it has room for.
    len: u64,
    /// The first of them and how far off it is, NaN if it is missing.
    first: f64,
    first_off: f64,
    sum: f64,
    /// The sum of the times, from the block's start.
    times: f64,
    count: u64,
    min: f64,
    max: f64,
}

impl Block {
    fn of(sample: Option<Sample>) -> Block {
        let (x, off) = sample.map_or((f64::NAN, f64::NAN), |sample| (sample.error_s, sample.off));
        let block = Block {
            len: 1,
            first: x,
            first_off: off,
            sum: 0.0,
            times: 0.0,
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        };
        if sample.is_some() { Block { sum: x, times: off, count: 1, min: x, max: x, ..block } } else { block }
    }

    fn then(self, next: Block) -> Block {
        Block {
            len: self.len + next.len,
            first: self.first,
            first_off: self.first_off,
            sum: self.sum + next.sum,
            times: self.times + next.times + self.len as f64 * next.count as f64,
            count: self.count + next.count,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
        }
    }
}

/// The second difference that three points (time, value) would have at equal distances `apart`.
fn second_difference(apart: f64, [(t0, x0), (t1, x1), (t2, x2)]: [(f64, f64); 3]) -> f64 {
    2.0 * apart * apart * ((x2 - x1) / (t2 - t1) - (x1 - x0) / (t1 - t0)) / (t2 - t0)
}

/// Sums of one averaging time of `steps` blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    allan: f64,
    allan_terms: u64,
    modified: f64,
    modified_terms: u64,
    mtie: f64,
}

impl Sums {
    /// `ring` yields the newest block at 0, the one before at 1, and so on; there are `held` of them.
    fn add(&mut self, steps: usize, held: usize, ring: impl Fn(usize) -> Block) {
        let len = ring(0).len;
        let apart = (steps as u64 * len) as f64;
        if held > 2 * steps {
            // x(i + 2n) - 2 x(i + n) + x(i)
            let points = [2, 1, 0].map(|third| {
                let block = ring(third * steps);
                ((2 - third) as f64 * apart + block.first_off, block.first)
            });
            let second = second_difference(apart, points);
            if second.is_finite() {
                self.allan += second * second;
                self.allan_terms += 1;
            }
        }
        if held > steps {
            // n + 1 samples: n steps, and the first sample after them.
            let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
            for back in 1..=steps {
                min = min.min(ring(back).min);
                max = max.max(ring(back).max);
            }
            let end = ring(0).first;
            if end.is_finite() {
                min = min.min(end);
                max = max.max(end);
            }
            self.mtie = self.mtie.max(max - min);
        }
        if held >= 3 * steps {
            let averages = [2, 1, 0].map(|third| {
                let blocks = (third * steps..(third + 1) * steps).map(&ring);
                // The newest block comes first.
                blocks.fold(Block { len: 0, ..Block::of(None) }, |newer, older| older.then(newer))
            });
            let enough = averages.iter().all(|average| average.count * FEWEST_OF_AVERAGE >= average.len);
            let points = [0, 1, 2].map(|third| {
                let Block { sum, times, count, .. } = averages[third];
                (third as f64 * apart + times / count as f64, sum / count as f64)
            });
            let second = if enough { second_difference(apart, points) } else { f64::NAN };
            if second.is_finite() {
                self.modified += second * second;
                self.modified_terms += 1;
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Level {
    ring: [Block; RING],
    /// Blocks taken so far.
    taken: u64,
    sums: Sums,
    /// The first of two blocks for the next level.
    half: Option<Block>,
}

impl Level {
    fn new() -> Level {
        Level { ring: [Block::of(None); RING], taken: 0, sums: Sums::default(), half: None }
    }

    fn add_to(&self, steps: usize, sums: &mut Sums) {
        let newest = self.taken as usize - 1;
        let held = newest.saturating_add(1).min(RING);
        sums.add(steps, held, |back| self.ring[(newest - back) % RING]);
    }

    /// Takes a block; returns the one for the next level when there are two.
    fn push(&mut self, block: Block) -> Option<Block> {
        self.ring[self.taken as usize % RING] = block;
        self.taken += 1;
        let mut sums = self.sums;
        self.add_to(STEPS, &mut sums);
        self.sums = sums;
        match self.half.take() {
            Some(first) => Some(first.then(block)),
            None => {
                self.half = Some(block);
                None
            }
        }
    }
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Stability {
    levels: Vec<Level>,
    /// Averaging times of 1, 2 and 4 samples.
    short: [Sums; 3],
}

impl Default for Stability {
    fn default() -> Stability {
        Stability { levels: vec![Level::new()], short: [Sums::default(); 3] }
    }
}

impl Stability {
    /// The next sample, `None` where a packet is missing.
    pub fn push(&mut self, sample: Option<Sample>) {
        let mut carried = self.levels[0].push(Block::of(sample));
        for (sums, steps) in self.short.iter_mut().zip([1, 2, 4]) {
            self.levels[0].add_to(steps, sums);
        }
        let mut level = 1;
        while let Some(block) = carried {
            if level == self.levels.len() {
                if level == MOST_LEVELS {
                    return;
                }
                self.levels.push(Level::new());
            }
            carried = self.levels[level].push(block);
            level += 1;
        }
    }

    /// The figures for samples `interval_s` seconds apart, at averaging times that double, as far as the data carry.
    pub fn deviations(&self, interval_s: f64) -> Vec<Deviations> {
        let short = self.short.iter().zip([1, 2, 4]).map(|(sums, m)| (*sums, m));
        let long = self.levels.iter().zip(0..).map(|(level, doubled)| (level.sums, (STEPS as u64) << doubled));
        short
            .chain(long)
            .filter(|(sums, _)| sums.allan_terms.min(sums.modified_terms) >= FEWEST_TERMS)
            .map(|(sums, samples)| {
                let tau = samples as f64 * interval_s;
                let adev = (sums.allan / (2.0 * sums.allan_terms as f64)).sqrt() / tau;
                let mdev = (sums.modified / (2.0 * sums.modified_terms as f64)).sqrt() / tau;
                let tdev = tau / 3f64.sqrt() * mdev;
                Deviations { samples, adev, mdev, tdev, mtie: sums.mtie, terms: sums.allan_terms }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phase from fractional frequency, one sample apart: x(i + 1) = x(i) + y(i).
    fn phase(frequency: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut x = vec![0.0];
        x.extend(frequency.into_iter().scan(0.0, |sum, y| {
            *sum += y;
            Some(*sum)
        }));
        x
    }

    fn fed(samples: impl IntoIterator<Item = Option<f64>>) -> Stability {
        let mut stability = Stability::default();
        for sample in samples {
            stability.push(sample.map(|error_s| Sample { error_s, off: 0.0 }));
        }
        stability
    }

    fn close(seen: f64, truth: f64, relative: f64) -> bool {
        (seen / truth - 1.0).abs() <= relative
    }

    /// NIST SP 1065, table 31: the 1000-point test suite (Lewis, Goodman and Miller's generator), at one sample.
    #[test]
    fn the_thousand_points_of_nist_sp_1065() {
        let mut n: u64 = 1_234_567_890;
        let frequency: Vec<f64> = (0..1_000)
            .map(|_| {
                let y = n as f64 / 2_147_483_647.0;
                n = 16_807 * n % 2_147_483_647;
                y
            })
            .collect();
        let x = phase(frequency);
        let one = fed(x.iter().copied().map(Some)).deviations(1.0)[0];
        assert_eq!((one.samples, one.terms), (1, 999));
        assert!(close(one.adev, 2.922319e-1, 1e-6), "{one:?}");
        assert!(close(one.mdev, 2.922319e-1, 1e-6), "{one:?}");
        assert!(close(one.tdev, 1.687202e-1, 1e-6), "{one:?}");
        // The same table at ten samples.
        let mut ten = Sums::default();
        for end in 0..x.len() {
            ten.add(10, end + 1, |back| Block::of(Some(Sample { error_s: x[end - back], off: 0.0 })));
        }
        assert!(close((ten.allan / (2.0 * ten.allan_terms as f64)).sqrt() / 10.0, 9.159953e-2, 1e-6));
        assert!(close((ten.modified / (2.0 * ten.modified_terms as f64)).sqrt() / 10.0, 6.172376e-2, 1e-6));
    }

    /// The definitions, over all data at once, in the steps that the file's top describes.
    fn by_definition(x: &[f64], m: usize) -> (f64, f64, f64) {
        let step = (m / STEPS).max(1);
        let rms =
            |terms: Vec<f64>| (terms.iter().map(|t| t * t).sum::<f64>() / (2.0 * terms.len() as f64)).sqrt() / m as f64;
        let starts = |length: usize| (0..=x.len() - length).step_by(step);
        let adev = rms(starts(2 * m + step).map(|i| x[i + 2 * m] - 2.0 * x[i + m] + x[i]).collect());
        let mean = |i: usize| x[i..i + m].iter().sum::<f64>() / m as f64;
        let mdev = rms(starts(3 * m).map(|i| mean(i + 2 * m) - 2.0 * mean(i + m) + mean(i)).collect());
        let mtie = starts(m + step)
            .map(|i| {
                let window = &x[i..=i + m];
                window.iter().copied().fold(f64::MIN, f64::max) - window.iter().copied().fold(f64::MAX, f64::min)
            })
            .fold(0.0, f64::max);
        (adev, mdev, mtie)
    }

    /// Uniform noise of mean 0 and variance 1.
    fn noise(mut state: u64) -> impl Iterator<Item = f64> {
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 12f64.sqrt()
        })
    }

    #[test]
    fn the_stream_gives_what_the_definitions_give() {
        let x = phase(noise(7).take(5_000));
        let seen = fed(x.iter().copied().map(Some)).deviations(1.0);
        assert_eq!(seen.last().unwrap().samples, 1024, "three averages and more must fit");
        for at in seen {
            let (adev, mdev, mtie) = by_definition(&x, at.samples as usize);
            assert!(close(at.adev, adev, 1e-9), "{at:?}: {adev}");
            assert!(close(at.mdev, mdev, 1e-9), "{at:?}: {mdev}");
            assert!(close(at.mtie, mtie, 1e-9), "{at:?}: {mtie}");
        }
    }

    /// SP 1065, table 3 and 5.2.6: ADEV falls as 1/tau for white phase noise, as 1/sqrt(tau) for white frequency noise, and rises as
    /// sqrt(tau) for random-walk frequency; TDEV as -1/2, +1/2, +3/2.
    #[test]
    fn noise_types_have_their_slopes() {
        let samples = 200_000;
        let white_phase: Vec<f64> = noise(1).take(samples).collect();
        let white_frequency = phase(noise(2).take(samples));
        let walk_frequency = phase(phase(noise(3).take(samples)));
        for (name, x, adev, tdev) in [
            ("white phase", white_phase, -1.0, -0.5),
            ("white frequency", white_frequency, -0.5, 0.5),
            ("random-walk frequency", walk_frequency, 0.5, 1.5),
        ] {
            let seen = fed(x.into_iter().map(Some)).deviations(1.0);
            let at = |samples| seen.iter().find(|at| at.samples == samples).unwrap();
            let (low, high) = (at(8), at(2048));
            let slope = |low: f64, high: f64| (high / low).log2() / 8.0;
            assert!((slope(low.adev, high.adev) - adev).abs() < 0.08, "{name}: {low:?} {high:?}");
            assert!((slope(low.tdev, high.tdev) - tdev).abs() < 0.08, "{name}: {low:?} {high:?}");
        }
    }

    /// A constant rate error of 20 ppm: no Allan deviation, and MTIE grows with it (ITU-T G.810 II.5).
    #[test]
    fn a_constant_rate_is_stable_and_shows_in_mtie() {
        for at in fed((0..10_000).map(|i| Some(20e-6 * f64::from(i)))).deviations(1.0) {
            assert!(at.adev < 1e-12, "{at:?}");
            assert!(close(at.mtie, 20e-6 * at.samples as f64, 1e-9), "{at:?}");
        }
    }

    /// The same with a hole, with one sample in five missing, and each of them taken up to a quarter before or after its turn: a line through points
    /// is a line, whichever points are there.
    #[test]
    fn a_constant_rate_is_stable_whatever_is_missing_of_it() {
        let mut stability = Stability::default();
        for (i, off) in (0..20_000).zip(noise(9)) {
            let off = off / 8.0;
            let there = !(7_000..7_469).contains(&i) && i * 7 % 5 != 0;
            stability.push(there.then(|| Sample { error_s: 50e-6 * (f64::from(i) + off), off }));
        }
        let seen = stability.deviations(1.0);
        assert_eq!(seen.last().unwrap().samples, 4_096);
        for at in seen {
            assert!(at.adev < 1e-12 && at.mdev < 1e-12, "{at:?}");
        }
    }

    /// White noise whose samples are half missing has the noise of half as many: MDEV grows by the root of two, as for each average of n of
    /// them (SP 1065, 5.2.5), and no more.
    #[test]
    fn what_is_missing_of_an_average_makes_it_noisier_and_no_more() {
        let whole = fed(noise(5).take(100_000).map(Some)).deviations(1.0);
        let thinned = fed(noise(5).take(100_000).zip(noise(6)).map(|(x, n)| (n < 0.4).then_some(x))).deviations(1.0);
        // Uniform on +-sqrt(3): so much of it is below 0.4.
        let share = 0.5 + 0.4 / 12f64.sqrt();
        let pairs: Vec<_> = whole.iter().zip(&thinned).filter(|(at, _)| (64..1_024).contains(&at.samples)).collect();
        assert_eq!(pairs.len(), 4);
        for (whole, thinned) in pairs {
            assert!(close(thinned.mdev / whole.mdev, share.powf(-0.5), 0.1), "{whole:?} {thinned:?}");
        }
    }

    #[test]
    fn missing_samples_count_nowhere() {
        let whole: Vec<Option<f64>> = noise(5).take(100_000).map(Some).collect();
        let holed = whole.iter().zip(noise(6)).map(|(x, n)| if n > 1.4 { None } else { *x });
        let (whole, holed) = (fed(whole.iter().copied()).deviations(1.0), fed(holed).deviations(1.0));
        assert_eq!(whole.len(), holed.len());
        for (whole, holed) in whole.iter().zip(&holed) {
            // About a tenth is missing, and about a quarter of all triples.
            assert!(holed.terms < whole.terms * 8 / 10 || whole.terms < 100, "{holed:?}");
            let few = 3.0 / (whole.terms as f64 / STEPS as f64).sqrt();
            assert!(close(holed.adev, whole.adev, 0.02 + few), "{whole:?} {holed:?}");
        }
        assert!(fed(std::iter::repeat_n(None, 1_000)).deviations(1.0).is_empty());
    }
}
