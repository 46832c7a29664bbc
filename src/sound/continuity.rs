//! Does packet B follow packet A of the same microphone?
//!
//! Idea: sound is predictable from its last samples, as far as it is not white (Makhoul 1975). A linear prediction of order
//! [`ORDER`] is learnt from both packets. If B follows A, its first samples are as predictable with A's last ones as any others.
//! If something is missing between them, A's last samples help nothing, and B's first samples can only be predicted from those
//! of B itself: the first from nothing, the second from the first, and so on, with the best prediction of each length. The
//! logarithm of the ratio of the two likelihoods (Gaussian) is what [`ratio`] gives.
//!
//! It proves breaks and hardly ever contiguity: a border that looks smooth is smooth by chance often enough. White noise gives 0 by
//! construction. Steady tones of which a whole number of periods is missing are smooth too, and look contiguous: how many packets are
//! missing it never tells.

use super::predict::longer;

/// Samples that a prediction looks back on. Longer ones find more, and are overconfident.
pub const ORDER: usize = 8;
/// Samples of a packet's ends that are faded in and out before its correlation is taken, at most and of the packet.
const FADE: usize = 64;
const FADE_SHARE: usize = 4;
/// Shorter packets tell too little of their own correlation.
const SHORTEST: usize = 64;
/// Added to a packet's energy: without it, a pure tone is predicted without an error at all, and rounding decides.
const FLOOR: f64 = 1e-9;
/// A fault of one sample's size is none of the sound: errors are not believed to be smaller than that of rounding to 24 bits, in
/// units of the 32-bit sample.
const ROUNDING: f64 = 256.0 * 256.0 / 12.0;
/// The mean square of what is as good as nothing: a step of 20 bits. The noise of a microphone is 20 times as loud; what is below may be
/// dither, or marks.
const SILENT: f64 = 4096.0 * 4096.0;

/// Natural logarithms of odds that one border may add, for a break and for contiguity; those of all microphones together.
const MOST_BROKEN: f64 = -12.0;
const MOST_WHOLE: f64 = 2.0;
const MOST_WHOLE_OF_ALL: f64 = 3.0;
/// What several microphones say of one border is no independent evidence: they hear the same sound.
const SHARED: f64 = 0.5;

/// What has to be known of a packet to judge the borders at both its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    /// Sums of the products of the faded samples, this many samples apart.
    correlation: [f64; ORDER + 1],
    /// The sum of the squared fade.
    weight: f64,
    first: [f64; ORDER],
    last: [f64; ORDER],
}

impl Edges {
    /// Of a packet's samples (s32). `None` where they tell nothing: too few, all equal, as good as silent, or cut off at their extremes.
    /// Some 5000 multiplications and additions for 512 samples, most of them two at a time.
    pub fn of(samples: &[i32]) -> Option<Edges> {
        if samples.len() < SHORTEST || clips(samples) {
            return None;
        }
        let fade = FADE.min(samples.len() / FADE_SHARE);
        let mut gains = [1.0; FADE];
        rise(&mut gains[..fade]);
        let mut faded = [0.0; ORDER + BLOCK];
        let mut correlation = [0.0; ORDER + 1];
        // Block by block, each with the last samples of the one before in front: no buffer as long as the packet.
        for (block, part) in samples.chunks(BLOCK).enumerate() {
            let newer = &mut faded[ORDER..ORDER + part.len()];
            newer.iter_mut().zip(part).for_each(|(newer, sample)| *newer = f64::from(*sample));
            let at = block * BLOCK;
            if at < fade {
                newer.iter_mut().zip(&gains[at..fade]).for_each(|(x, gain)| *x *= gain);
            }
            // Of the last samples, the first that is faded, as seen from this block.
            let falls = (samples.len() - fade).saturating_sub(at);
            let done = (at + falls) - (samples.len() - fade);
            if falls < newer.len() {
                newer[falls..].iter_mut().zip(gains[..fade - done].iter().rev()).for_each(|(x, gain)| *x *= gain);
            }
            add_products(&faded[..ORDER + part.len()], &mut correlation);
            faded.copy_within(part.len()..part.len() + ORDER, 0);
        }
        // The sum of the squares of a raised cosine is three eighths of its length.
        let weight = (samples.len() - 2 * fade) as f64 + 0.75 * fade as f64;
        if correlation[0] < SILENT * weight {
            return None;
        }
        let first = std::array::from_fn(|i| f64::from(samples[i]));
        let last = std::array::from_fn(|i| f64::from(samples[samples.len() - ORDER + i]));
        Some(Edges { correlation, weight, first, last })
    }
}

/// Samples that are correlated at a time.
const BLOCK: usize = 256;

/// The raised cosine at a packet's end: `cos((k + 1/2) pi / n)` by its recurrence, which keeps 13 digits over 64 steps.
fn rise(gains: &mut [f64]) {
    let half = 0.5 * std::f64::consts::PI / gains.len() as f64;
    let twice = 2.0 * (2.0 * half).cos();
    // cos(-half) and cos(half) are one.
    let (mut before, mut now) = (half.cos(), half.cos());
    for gain in gains {
        *gain = 0.5 - 0.5 * now;
        (before, now) = (now, twice * now - before);
    }
}

/// Adds the products of samples that stand 0 to ORDER apart; the first ORDER of them are only looked back on.
fn add_products(faded: &[f64], correlation: &mut [f64; ORDER + 1]) {
    // Two sums for each distance, side by side: one alone waits for each addition before the next.
    let mut sums = [[0.0; 2]; ORDER + 1];
    let mut at = 0;
    while let Some(window) = faded.get(at..at + ORDER + 2).and_then(|window| window.first_chunk::<{ ORDER + 2 }>()) {
        for (lag, sum) in sums.iter_mut().enumerate() {
            sum[0] += window[ORDER] * window[ORDER - lag];
            sum[1] += window[ORDER + 1] * window[ORDER + 1 - lag];
        }
        at += 2;
    }
    for (lag, sum) in correlation.iter_mut().enumerate() {
        let odd = faded.get(at + ORDER).map_or(0.0, |last| last * faded[at + ORDER - lag]);
        *sum += sums[lag][0] + sums[lag][1] + odd;
    }
}

/// Three or more equal samples in a row at either extreme, or nothing but one value.
fn clips(samples: &[i32]) -> bool {
    let (min, max) = samples.iter().fold((i32::MAX, i32::MIN), |(min, max), &x| (min.min(x), max.max(x)));
    let loud = max.unsigned_abs().max(min.unsigned_abs()) >= 1 << 29;
    let flat = |top| samples.windows(3).any(|three| three == [top; 3]);
    min == max || (loud && (flat(min) || flat(max)))
}

/// The natural logarithm of how much likelier B's first samples are if B follows A than if it does not. Below 0: a break.
/// `None` where both packets are silent.
pub fn ratio(a: &Edges, b: &Edges) -> Option<f64> {
    let scale = 1.0 / (a.weight + b.weight);
    let mut r: [f64; ORDER + 1] = std::array::from_fn(|lag| (a.correlation[lag] + b.correlation[lag]) * scale);
    r[0] = r[0] * (1.0 + FLOOR) + ROUNDING;
    let predictions = Predictions::of(&r)?;
    let best = &predictions.coefficients[ORDER];
    let error = predictions.errors[ORDER];
    let mut sum = 0.0;
    for i in 0..ORDER {
        // With what came before: the last of A, then the first of B.
        let before = |k: usize| if k <= i { b.first[i - k] } else { a.last[ORDER + i - k] };
        let residual = |coefficients: &[f64; ORDER + 1], order: usize| -> f64 {
            b.first[i] + (1..=order).map(|k| coefficients[k] * before(k)).sum::<f64>()
        };
        let joined = residual(best, ORDER);
        let alone = residual(&predictions.coefficients[i], i);
        let error_alone = predictions.errors[i];
        sum += 0.5 * ((error_alone / error).ln() + alone * alone / error_alone - joined * joined / error);
    }
    sum.is_finite().then_some(sum)
}

/// The evidence of one border as it may be added to other natural logarithms of odds for "B follows A": of one microphone, or of
/// several over the same border. `None` where no microphone tells anything.
pub fn evidence(ratios: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = ratios.into_iter().fold((0.0, 0), |(sum, count), ratio| (sum + ratio, count + 1));
    match count {
        0 => None,
        1 => Some(sum.clamp(MOST_BROKEN, MOST_WHOLE)),
        _ => Some((SHARED * sum).clamp(MOST_BROKEN, MOST_WHOLE_OF_ALL)),
    }
}

/// Linear predictions of each order, and the variance that each leaves.
struct Predictions {
    /// `x[n] + sum of coefficients[order][k] x[n - k]` is the residual.
    coefficients: [[f64; ORDER + 1]; ORDER + 1],
    errors: [f64; ORDER + 1],
}

impl Predictions {
    /// Levinson's recursion, every order kept.
    fn of(r: &[f64; ORDER + 1]) -> Option<Predictions> {
        if r[0] <= 0.0 {
            return None;
        }
        let mut coefficients = [[0.0; ORDER + 1]; ORDER + 1];
        let mut errors = [0.0; ORDER + 1];
        coefficients[0][0] = 1.0;
        errors[0] = r[0];
        for order in 1..=ORDER {
            let before = coefficients[order - 1];
            errors[order] = longer(r, &before, errors[order - 1], order, &mut coefficients[order])?;
        }
        Some(Predictions { coefficients, errors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_faded_packet_whatever_its_length() {
        for len in [64_usize, 100, 255, 256, 257, 511, 512, 515, 700] {
            let samples: Vec<i32> = (0..len as i32).map(|i| (i * 7_919 % 1_013 - 500) << 16).collect();
            let fade = 64.min(len / 4);
            let gain = |i: usize| {
                let from_end = i.min(len - 1 - i);
                let along = std::f64::consts::PI * (from_end as f64 + 0.5) / fade as f64;
                if from_end < fade { 0.5 - 0.5 * along.cos() } else { 1.0 }
            };
            let faded: Vec<f64> = samples.iter().enumerate().map(|(i, x)| gain(i) * f64::from(*x)).collect();
            let edges = Edges::of(&samples).expect("it moves");
            for (lag, found) in edges.correlation.iter().enumerate() {
                let direct: f64 = (lag..len).map(|i| faded[i] * faded[i - lag]).sum();
                assert!((found - direct).abs() < 1e-9 * edges.correlation[0], "{len}, {lag}: {found} for {direct}");
            }
            let weight: f64 = (0..len).map(|i| gain(i).powi(2)).sum();
            assert!((edges.weight - weight).abs() < 1e-9, "{len}: {} for {weight}", edges.weight);
        }
    }

    #[test]
    fn what_is_as_good_as_silent_tells_nothing() {
        let dither: Vec<i32> = (0..512).map(|i| i * 7_919 % 1_013).collect();
        assert_eq!(Edges::of(&dither), None);
        let loud: Vec<i32> = dither.iter().map(|x| (x - 500) << 5).collect();
        assert!(Edges::of(&loud).is_some());
    }
}
