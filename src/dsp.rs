//! The one filter of the house: a windowed sinc, for values between samples and for other rates.
//!
//! Kaiser's window (Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5): its `beta` trades the error in the
//! stop band for the width of the transition.

/// What a sample `t` samples away from the wanted place contributes: a low pass at `cutoff` (1: half the sample rate), under a
/// Kaiser window that ends `half` samples away. Not yet normalised.
pub fn windowed_sinc(t: f64, half: f64, cutoff: f64, beta: f64) -> f64 {
    let x = t / half;
    let window = bessel_i0(beta * (1.0 - x * x).max(0.0).sqrt()) / bessel_i0(beta);
    window * sinc(t * cutoff)
}

/// Kaiser's beta for an error of so many decibels; for 50 dB and more.
pub fn kaiser_beta(db: f64) -> f64 {
    0.1102 * (db - 8.7)
}

fn sinc(t: f64) -> f64 {
    // Exactly, so that a whole number of samples changes nothing.
    if t.fract() == 0.0 {
        return if t == 0.0 { 1.0 } else { 0.0 };
    }
    let x = std::f64::consts::PI * t;
    libm::sin(x) / x
}

/// The modified Bessel function of order 0: the sum of ((x / 2)^k / k!)^2 (Abramowitz and Stegun, 9.6.12).
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        let before = sum;
        sum += term;
        // Terms first rise, then fall: one too small for a double is followed by smaller ones.
        if sum == before {
            break;
        }
    }
    sum
}
