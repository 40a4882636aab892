//! The ranges of axes, and round values for their labels.

use std::ops::Range;

/// The range of the values, with a small margin so that no point lies on the edge.
pub(super) fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.04).max(1e-6);
    low - margin..high + margin
}

/// Round values for labels: about `count`, more on logarithmic scales.
pub(super) fn ticks_of(low: f64, high: f64, logarithmic: bool, count: u8) -> Vec<f64> {
    if logarithmic && high > 10.0 {
        let within = |tick: &f64| (low..=high).contains(tick) || *tick == 0.0 && low <= 1.0;
        let of_decades = |digits: &[f64]| -> Vec<f64> {
            let all = (0..=18).flat_map(|n| digits.iter().map(move |digit| digit * 10_f64.powi(n)));
            std::iter::once(0.0).chain(all).filter(within).collect()
        };
        let mut ticks = of_decades(&[1.0]);
        if ticks.len() < 3 {
            ticks = of_decades(&[1.0, 2.0, 5.0]);
        }
        let step = ticks.len().div_ceil(8).max(1);
        return ticks.into_iter().step_by(step).collect();
    }
    let span = if high > low { high - low } else { 1.0 };
    let power = 10_f64.powf((span / 5.0).log10().floor());
    // The span is 5 to 50 times the power; 20 is for the longest spans, where few labels fit.
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|n| n * power);
    let step = steps.into_iter().find(|step| span / step <= f64::from(count)).unwrap_or(span);
    let first = (low / step).floor() as i64;
    (first..first + 9)
        .map(|n| n as f64 * step)
        .filter(|tick| *tick >= low - step / 2.0 && *tick <= high + step / 2.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks_of(0.0, 1500.0, true, 6), [0.0, 1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(ticks_of(4.0, 160.0, true, 6), [5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks_of(0.0, 1.0, false, 6), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks_of(0.0, 1.0, false, 4), [0.0, 0.5, 1.0]);
        assert_eq!(ticks_of(0.0, 41.0, false, 4), [0.0, 20.0, 40.0]);
        assert!((1..=9).contains(&ticks_of(0.0, 1e18, true, 6).len()));
        assert!((1..=9).contains(&ticks_of(5.0, 5.0, false, 6).len()));
    }
}
