//! Linear prediction from sums of products: Levinson's recursion (1947).

/// From the prediction of `order - 1` to that of `order`: `x[n] + sum of coefficients[k] x[n - k]`, k from 1 on, is the residual.
/// `before` and `now` begin with 1; `correlation[lag]` are sums of products of samples so far apart; `error` is the variance that the
/// shorter prediction leaves. Returns what the longer one leaves, or `None` where rounding has eaten it all.
pub(super) fn longer(correlation: &[f64], before: &[f64], error: f64, order: usize, now: &mut [f64]) -> Option<f64> {
    let missed: f64 = (0..order).map(|k| before[k] * correlation[order - k]).sum();
    let reflection = -missed / error;
    if reflection.is_nan() || reflection.abs() >= 1.0 {
        return None;
    }
    now[0] = 1.0;
    for k in 1..order {
        now[k] = before[k] + reflection * before[order - k];
    }
    now[order] = reflection;
    Some(error * (1.0 - reflection * reflection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_second_order_is_found_and_nothing_beyond_it() {
        // x[n] = 1.2 x[n - 1] - 0.5 x[n - 2] + e: by the Yule and Walker equations r1 = 1.2 / 1.5 r0, and so on.
        let mut r = [1.0, 0.8, 0.0, 0.0];
        for lag in 2..4 {
            r[lag] = 1.2 * r[lag - 1] - 0.5 * r[lag - 2];
        }
        let (mut before, mut error) = ([1.0, 0.0, 0.0, 0.0], r[0]);
        for order in 1..4 {
            let mut now = [0.0; 4];
            error = longer(&r, &before, error, order, &mut now).expect("it can be predicted");
            before = now;
        }
        let want = [1.0, -1.2, 0.5, 0.0];
        assert!(before.iter().zip(want).all(|(found, want)| (found - want).abs() < 1e-12), "{before:?}");
        // Its noise: r0 (1 - 1.2 x 0.8 + 0.5 r2), r2 = 0.46.
        assert!((error - (1.0 - 1.2 * 0.8 + 0.5 * 0.46)).abs() < 1e-12, "{error}");
    }
}
