//! Quantiles of sorted values, and their spread.

/// Divides an interquartile range to give a standard deviation, for a normal distribution.
pub(crate) const IQR_TO_SIGMA: f64 = 1.349;

/// Divides the range between the 5 % and 95 % quantiles to give a standard deviation, for a normal distribution.
const Q90_TO_SIGMA: f64 = 3.290;

/// The `q` quantile of sorted values, interpolated between neighbours; 0 if there are none.
#[must_use]
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// The spread of sorted values: the larger of two estimates. Counts are often constant in their middle half and vary
/// outside it. With the interquartile range only, a 2 among ones would be a far outlier.
pub(crate) fn spread(sorted: &[f64]) -> f64 {
    let between = |low, high| quantile(sorted, high) - quantile(sorted, low);
    (between(0.25, 0.75) / IQR_TO_SIGMA).max(between(0.05, 0.95) / Q90_TO_SIGMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
    }
}
