//! Which numbers are defined: the one gate between values and all that learns from them or scores them.

/// The largest magnitude of a value that is learnt or scored: what fits into 32-bit floating point, which is also where
/// scikit-learn refuses a value. The squares, products and sums that preparation and models compute of such values are finite.
pub(super) const LARGEST: f64 = f32::MAX as f64;

/// The value where it is defined. Infinities, NaN and what is beyond [`LARGEST`] are not: no measurement is that large, and
/// they count as a missing value does.
#[inline]
pub(super) fn defined(value: f64) -> Option<f64> {
    // False for NaN.
    (value.abs() <= LARGEST).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_or_too_large_is_not_defined() {
        for value in [0.0, -0.0, 1e-308, -1.5e9, 3.4e38, LARGEST, -LARGEST] {
            assert_eq!(defined(value), Some(value));
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.5e38, -1e153, 1e308] {
            assert_eq!(defined(value), None, "{value}");
        }
    }
}
