//! The encoding of a number: `(f(value) - middle) / scale`, where `f` is `log1p` or the identity.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::defined::{LARGEST, transformed};
use super::parameters::Scaling;
use super::statistics::{quantile, spread};
use crate::learning::checked::{Outcome, SMALLEST, any, divisor, within};

/// The largest number of values that are sorted to scale a number. A sample of this size is enough.
const RANKED: usize = 1 << 15;

/// A column of numbers with one encoded feature. `C` identifies a column on which their meaning depends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Number<C> {
    pub(super) log: bool,
    pub(super) middle: f64,
    pub(super) scale: f64,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Context<C>>,
}

impl<C> Number<C> {
    /// Fits on the valid ones of these values, to which the context is already applied. Without a valid value, the middle is 0.
    pub(super) fn fit(
        values: impl Iterator<Item = f64>,
        log: bool,
        context: Option<Context<C>>,
        scaling: Scaling,
        floor: f64,
    ) -> Self {
        let values: Vec<f64> = values.filter_map(|value| transformed(value, log)).collect();
        let (middle, scale) = middle_and_scale(&values, scaling, floor);
        Self { log, middle, scale, context }
    }

    pub(super) fn check(&self) -> Outcome {
        self.context.as_ref().map_or(Ok(()), Context::check)?;
        within("middle", self.middle, any())?;
        within("scale", self.scale, divisor())
    }

    /// The encoded feature, at most `clip` away from the middle; `None` if the value is invalid. `other` returns the
    /// row's value in the other column of the context.
    #[inline]
    pub(super) fn encode(&self, value: f64, other: impl FnOnce(&C) -> f64, clip: f64) -> Option<f64> {
        let value = self.context.as_ref().map_or(value, |context| context.number(value, other(context.column())));
        transformed(value, self.log).map(|value| ((value - self.middle) / self.scale).clamp(-clip, clip))
    }

    /// The value of an encoded feature, within the range of valid values. `other` returns the value in the other column of
    /// the context, if it is known. `None` if the value depends on it and it is not.
    pub(super) fn decode(&self, encoded: f64, other: impl FnOnce(&C) -> Option<f64>) -> Option<f64> {
        let value = encoded * self.scale + self.middle;
        let value = if self.log { value.exp_m1().max(0.0) } else { value }.clamp(-LARGEST, LARGEST);
        match &self.context {
            Some(context) => context.value(value, other(context.column())),
            None => Some(value),
        }
    }

    /// Multiplies the scale by `spread`. The result is at least `floor`.
    pub(super) fn sharpen(&mut self, spread: f64, floor: f64) {
        self.scale = (self.scale * spread).max(floor);
    }
}

/// The middle and the scale of values.
fn middle_and_scale(values: &[f64], scaling: Scaling, floor: f64) -> (f64, f64) {
    let rows = values.len().max(1) as f64;
    match scaling {
        Scaling::Standard => {
            let mean = values.iter().sum::<f64>() / rows;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / rows;
            (mean, variance.sqrt().max(floor))
        }
        Scaling::MinMax => {
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            if most > least {
                (least, (most - least).max(SMALLEST))
            } else {
                (values.first().copied().unwrap_or(0.0), 1.0)
            }
        }
        Scaling::Robust => {
            let mut ranked: Vec<f64> = values.iter().copied().step_by(values.len().div_ceil(RANKED).max(1)).collect();
            ranked.sort_unstable_by(f64::total_cmp);
            (quantile(&ranked, 0.5), spread(&ranked).max(floor))
        }
    }
}
