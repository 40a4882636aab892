//! Decides which numbers are valid, for everything that is trained on values or scores them.

use super::logarithm::ln;

/// The largest magnitude of a value that is learnt or scored: that of 32-bit floating point, where scikit-learn refuses
/// a value too. The squares, products and sums that preprocessing and models compute of such values are finite.
pub(crate) const LARGEST: f64 = f32::MAX as f64;

/// The value if it is valid. Infinities, NaN and values beyond [`LARGEST`] are not: no measurement is that large. They
/// are treated as missing values.
#[inline]
pub(crate) fn defined(value: f64) -> Option<f64> {
    // False for NaN.
    (value.abs() <= LARGEST).then_some(value)
}

/// The value on its learnt scale, if it is valid: `log1p` of it, or itself.
#[inline]
pub(crate) fn transformed(value: f64, log: bool) -> Option<f64> {
    defined(value).map(|value| if log { log1p(value) } else { value })
}

/// ln(1 + x) of a log-scaled number. `ln_1p` takes several times as long, for a precision near zero that no such number
/// needs.
fn log1p(amount: f64) -> f64 {
    ln(1.0 + amount.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinite_nan_and_too_large_values_are_invalid() {
        for value in [0.0, -0.0, 1e-308, -1.5e9, 3.4e38, LARGEST, -LARGEST] {
            assert_eq!(defined(value), Some(value));
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.5e38, -1e153, 1e308] {
            assert_eq!(defined(value), None, "{value}");
        }
    }
}
