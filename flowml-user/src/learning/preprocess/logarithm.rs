//! The natural logarithm of numbers from 1 on, several at a time: `f64::ln` is a call for each number.
//!
//! A number is 2ᵉ·m with m between √½ and √2. ln m is 2·artanh((m − 1)/(m + 1)), whose series converges fast there. No
//! step depends on a branch or on how many numbers are computed together, so the result is the same on every processor.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

use multiversion::multiversion;

/// The bits of a mantissa.
const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;

/// The upper half of the bits of ln 2, whose product with an exponent is exact, and the rest.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & (u64::MAX << 32));
const LN_2_LOW: f64 = LN_2 - LN_2_HIGH;

/// Adding this to a small integer in the bits of a number gives 2⁵² and the integer, as a floating-point number.
const TWO_52: f64 = (1_u64 << MANTISSA) as f64;

/// 1/3, 1/5, … of the series of artanh. The next term is less than 3·10⁻¹⁷ of the sum.
const SERIES: [f64; 9] =
    [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0, 1.0 / 19.0];

/// ln `x`, to 10⁻¹⁵ of its value. `x` must be finite and at least 1.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    let exponent = (x.to_bits() - FRAC_1_SQRT_2.to_bits()) >> MANTISSA;
    let m = f64::from_bits(x.to_bits() - (exponent << MANTISSA));
    let exponent = f64::from_bits(TWO_52.to_bits() | exponent) - TWO_52;
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = SERIES.iter().rev().fold(0.0, |sum, term| (sum + term) * square);
    exponent * LN_2_HIGH + (2.0 * s + (2.0 * s * series + exponent * LN_2_LOW))
}

/// Replaces each number by its logarithm, see [`ln`].
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn ln_all(numbers: &mut [f64]) {
    for number in numbers {
        *number = ln(*number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_logarithm_of_one_is_zero_and_those_of_powers_of_two_are_precise() {
        assert_eq!(ln(1.0), 0.0);
        for exponent in 1..128 {
            let number = f64::from(exponent).exp2();
            assert!((ln(number) - number.ln()).abs() <= 2.0 * f64::EPSILON * number.ln(), "2^{exponent}");
        }
    }

    proptest! {
        #[test]
        fn it_is_that_of_the_standard_library_one_by_one_and_all_at_once(
            beyond in prop::collection::vec(-40.0..88.0_f64, 1..40),
        ) {
            let numbers: Vec<f64> = beyond.iter().map(|power| 1.0 + power.exp()).collect();
            let mut all = numbers.clone();
            ln_all(&mut all);
            for (number, own) in numbers.iter().zip(all) {
                prop_assert_eq!(own, ln(*number));
                prop_assert!((own - number.ln()).abs() <= 1e-15 * number.ln(), "{} is not {}", own, number.ln());
            }
        }
    }
}
