//! When did a clap arrive first?
//!
//! Problem: of a sharp sound in a room, a correlation between two microphones finds the strongest way, which in a reverberant room
//! is often a reflection. The first way is the direct one, always.
//!
//! Idea: [`first_arrival`] looks for the first sample that stands out of the noise before it and is no pre-echo of what follows. The
//! sounds of two microphones are then compared over the first moment alone ([`difference`]), before any wall has answered.
//! Several claps say how well it is known ([`agree`]).

/// What comes first has at least this share of the peak of the moment that follows it, and stands this high above the noise's rms.
const SHARE: f64 = 0.2;
const ABOVE_NOISE: f64 = 6.0;
/// A clap's peak stands this high above the noise's rms, or it is none.
const LEAST_PEAK: f64 = 20.0;
/// The moment in which the direct sound peaks, in samples: 1.3 ms at 48 kHz. A wall answers later, unless it is nearer than 20 cm.
const MOMENT: usize = 64;
/// Samples before the arrival that are compared too, and how far it is searched on either side.
const BEFORE: usize = 16;
const SEARCH: i64 = 12;
/// The direct sounds of two microphones are this much alike at least.
const ALIKE: f64 = 0.6;
/// Claps that must be heard, and the share of them that have to agree, within so many samples of their median.
const FEWEST: usize = 3;
const MOST_OF_THEM: f64 = 0.6;
const TOGETHER: f64 = 3.0;
/// A median absolute deviation as a part of the standard deviation, and Student's t for 95 % of few repeats, roughly.
const MEDIAN_OF_NORMAL: f64 = 0.6745;
const STUDENT: f64 = 2.8;

/// The sample at which a clap is heard first, in a microphone's sound around it (s32). The first quarter of it has to be quiet: it
/// says what the noise is. `None` where nothing stands out enough.
pub fn first_arrival(samples: &[i32]) -> Option<usize> {
    let sharp: Vec<f64> = samples.windows(2).map(|two| f64::from(two[1]) - f64::from(two[0])).collect();
    let quiet = &sharp[..sharp.len() / 4];
    if quiet.len() < MOMENT {
        return None;
    }
    let noise = (quiet.iter().map(|x| x * x).sum::<f64>() / quiet.len() as f64).sqrt().max(1.0);
    let peak = sharp.iter().fold(0.0_f64, |peak, x| peak.max(x.abs()));
    if peak < LEAST_PEAK * noise {
        return None;
    }
    let stands = |at: usize| {
        if sharp[at].abs() < ABOVE_NOISE * noise {
            return false;
        }
        let moment = &sharp[at..(at + MOMENT).min(sharp.len())];
        let peak = moment.iter().fold(0.0_f64, |peak, x| peak.max(x.abs()));
        peak >= LEAST_PEAK * noise && sharp[at].abs() >= (SHARE * peak).max(ABOVE_NOISE * noise)
    };
    (0..sharp.len()).find(|&at| stands(at)).map(|at| at + 1)
}

/// By how many samples a clap came later to the second microphone than to the first, in sounds of both that begin at one time.
/// `None` where one does not hear it, or they hear it too differently.
pub fn difference(first: &[i32], second: &[i32]) -> Option<f64> {
    let (a, b) = (first_arrival(first)?, first_arrival(second)?);
    let from = a.checked_sub(BEFORE)?;
    let direct = first.get(from..a + MOMENT)?;
    let likeness = |lag: i64| -> Option<f64> {
        let from = usize::try_from(b as i64 - BEFORE as i64 + lag).ok()?;
        Some(alike(direct, second.get(from..from + direct.len())?))
    };
    let around: Vec<f64> = (-SEARCH..=SEARCH).map(likeness).collect::<Option<_>>()?;
    let best = (1..around.len() - 1).max_by(|&i, &j| around[i].total_cmp(&around[j]))?;
    let (before, peak, after) = (around[best - 1], around[best], around[best + 1]);
    if peak < ALIKE || peak < before || peak < after {
        return None;
    }
    // A parabola through the three highest.
    let bend = before - 2.0 * peak + after;
    let rest = if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    Some((b as f64 - a as f64) + (best as i64 - SEARCH) as f64 + rest)
}

/// The cosine between two stretches of sound.
fn alike(a: &[i32], b: &[i32]) -> f64 {
    let (mut product, mut squares) = (0.0, (0.0, 0.0));
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        product += a * b;
        squares = (squares.0 + a * a, squares.1 + b * b);
    }
    if squares.0 * squares.1 > 0.0 { product / (squares.0 * squares.1).sqrt() } else { 0.0 }
}

/// What several claps say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Samples.
    pub median: f64,
    /// Half-width of the 95 % interval of the median, from the spread of the claps.
    pub uncertainty: f64,
    /// How many agree, of how many.
    pub agreeing: usize,
    pub heard: usize,
}

/// `None` where they are too few, or disagree.
pub fn agree(differences: &[f64]) -> Option<Agreement> {
    let mut sorted = differences.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle_of = |sorted: &[f64]| match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    };
    let median = middle_of(&sorted);
    let near: Vec<f64> = sorted.iter().copied().filter(|x| (x - median).abs() <= TOGETHER).collect();
    if near.len() < FEWEST || (near.len() as f64) < MOST_OF_THEM * sorted.len() as f64 {
        return None;
    }
    let median = middle_of(&near);
    let mut off: Vec<f64> = near.iter().map(|x| (x - median).abs()).collect();
    off.sort_by(f64::total_cmp);
    // Nothing is known to less than a tenth of a sample by this.
    let deviation = (middle_of(&off) / MEDIAN_OF_NORMAL).max(0.1);
    let uncertainty = STUDENT * deviation / (near.len() as f64).sqrt();
    Some(Agreement { median, uncertainty, agreeing: near.len(), heard: sorted.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claps_agree_by_most_of_them_and_say_how_well() {
        let agreement = agree(&[10.0, 10.4, 9.8, 31.0]).expect("three of four");
        assert_eq!((agreement.agreeing, agreement.heard), (3, 4));
        assert!((agreement.median - 10.0).abs() < 0.01 && agreement.uncertainty > 0.3, "{agreement:?}");
        assert_eq!(agree(&[10.0, 10.1]), None, "too few");
        assert_eq!(agree(&[1.0, 20.0, 40.0, 60.0]), None, "they disagree");
    }

    #[test]
    fn silence_steady_noise_and_one_deaf_microphone_give_nothing() {
        let noise: Vec<i32> = (0..4_000_i64).map(|i| ((i * i * 7_919) % 20_011) as i32 - 10_000).collect();
        assert_eq!(first_arrival(&[0; 4_000]), None);
        assert_eq!(first_arrival(&noise), None);
        let mut clap = noise.clone();
        clap[2_000..2_020].iter_mut().for_each(|x| *x = 50_000_000);
        assert_eq!(first_arrival(&clap), Some(2_000));
        assert_eq!(difference(&clap, &noise), None);
    }
}
