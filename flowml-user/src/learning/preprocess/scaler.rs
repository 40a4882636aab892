//! Preprocessing of the live learner: encodes raw feature values at comparable size, fitted on a warm-up set.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use ndarray::{Array2, ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::categories::most_frequent;
use super::context::Context;
use super::defined::defined;
use super::encoder::Encoder;
use super::number::Number;
use super::parameters::{Below, Floors, Scaling};
use crate::features::{Column, Learn};
use crate::learning::checked::{Checked, Outcome, all_within, any, checked, holds};

/// The scaling of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", remote = "Self")]
enum Scale {
    /// Not encoded.
    Out,
    /// One encoded feature. A column on which its meaning depends is an index.
    Number(Number<usize>),
    /// One encoded feature for each of `values` (sorted), and a last one for all other values.
    OneHot { values: Vec<f64> },
}

checked!(Scale);

impl Checked for Scale {
    const NAME: &str = "the scale of a column";

    fn check(&self) -> Outcome {
        match self {
            Self::Out => Ok(()),
            Self::Number(number) => number.check(),
            Self::OneHot { values } => {
                all_within("values", values, &any())?;
                holds(
                    values.is_sorted_by(|a, b| a.total_cmp(b).is_lt()),
                    "expected distinct 'values' in ascending order",
                )
            }
        }
    }
}

/// The fitted scales of all columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Scaler {
    below: Below,
    columns: Vec<Scale>,
    /// Derived from the scales.
    encoder: Encoder,
}

/// The saved part of a scaler.
#[derive(Serialize, Deserialize)]
struct Saved {
    below: Below,
    columns: Vec<Scale>,
}

impl From<Saved> for Scaler {
    fn from(Saved { below, columns }: Saved) -> Self {
        let mut encoder = Encoder::default();
        for (column, scale) in columns.iter().enumerate() {
            match scale {
                Scale::Out => {}
                Scale::Number(number) => encoder.add_number(column, number),
                Scale::OneHot { values } => encoder.add_category(column, values),
            }
        }
        Self { below, columns, encoder }
    }
}

impl From<Scaler> for Saved {
    fn from(Scaler { below, columns, .. }: Scaler) -> Self {
        Self { below, columns }
    }
}

impl Scaler {
    /// Fits the scales on `rows`, which have these columns.
    ///
    /// A value that is not [`defined`] is treated as the middle of its column. It adds nothing to a distance and is not
    /// used in the fit.
    #[must_use]
    pub(crate) fn fit(rows: ArrayView2<'_, f64>, columns: &[Column], below: Below) -> Self {
        let fit = |(place, column): (usize, &Column)| match column.learn {
            Learn::Never => Scale::Out,
            Learn::Category => fit_one_hot(rows.column(place)),
            learn @ (Learn::LogScaled | Learn::Ratio | Learn::RatioOf(_) | Learn::WithinGroup(_)) => {
                let other = learn.context().and_then(|name| place_of(columns, name));
                let floor = Floors::OF_FEATURES.of(true);
                let context = other.and_then(|other| Context::fit(learn, other, pairs(rows, place, other), floor));
                fit_number(rows, place, learn, context)
            }
        };
        let columns = columns.iter().enumerate().map(fit).collect();
        Saved { below, columns }.into()
    }

    /// Whether the scaling of every column agrees with its [`Learn`].
    #[must_use]
    pub(crate) fn fits(&self, columns: &[Column]) -> bool {
        let fits = |(scale, column): (&Scale, &Column)| match (scale, column.learn) {
            (Scale::Out, learn) => learn == Learn::Never,
            (Scale::OneHot { .. }, learn) => learn == Learn::Category,
            (Scale::Number(Number { log, context, .. }), learn) => {
                let other = learn.context().and_then(|name| place_of(columns, name));
                !matches!(learn, Learn::Never | Learn::Category)
                    && *log == learn.is_log_scaled()
                    && context.as_ref().is_none_or(|context| context.is_of(learn))
                    && context.as_ref().map(|context| *context.column()) == other
            }
        };
        self.columns.len() == columns.len() && self.columns.iter().zip(columns).all(fits)
    }

    /// The number of encoded features of a row.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        self.encoder.width()
    }

    /// For each encoded feature, its column.
    #[must_use]
    pub(crate) fn origins(&self) -> Vec<usize> {
        let origins = |(column, scale): (usize, &Scale)| std::iter::repeat_n(column, scale.width());
        self.columns.iter().enumerate().flat_map(origins).collect()
    }

    /// For each encoded feature, the weight in a squared distance of a value below the centroid.
    #[must_use]
    pub(crate) fn below(&self) -> Vec<f64> {
        let weight = |scale: &Scale| match scale {
            Scale::Number(number) => self.below.of(number.log),
            Scale::Out | Scale::OneHot { .. } => 1.0,
        };
        let weights = |scale: &Scale| std::iter::repeat_n(weight(scale), scale.width());
        self.columns.iter().flat_map(weights).collect()
    }

    /// The encoded features of one column; empty if it is left out.
    #[must_use]
    pub(crate) fn encoded_of(&self, column: usize) -> std::ops::Range<usize> {
        let start = self.columns[..column].iter().map(Scale::width).sum();
        start..start + self.columns[column].width()
    }

    /// Writes the encoded features of one raw row to `encoded`, whose length is [`Self::width`].
    pub(crate) fn scale(&self, row: ArrayView1<'_, f64>, encoded: &mut [f64]) {
        // Iterating over slices is several times as fast as over views of arrays.
        let row = row.to_slice().map_or_else(|| row.to_vec().into(), Cow::Borrowed);
        self.encoder.encode(&row, encoded);
    }

    /// Sets the scale of each number to that of its `residuals` (scaled rows minus their centroids). Floors are kept.
    ///
    /// Differences between clusters (a server sends a thousand times as much as a terminal) then do not hide a row that
    /// is unlike its cluster. Standard deviations are used, because the scale of a column that is often zero and
    /// sometimes large must cover the large values.
    #[must_use]
    pub(crate) fn sharpened(&self, residuals: ArrayView2<'_, f64>, columns: &[Column]) -> Self {
        let mut sharper = self.columns.clone();
        for (column, scale) in sharper.iter_mut().enumerate() {
            let encoded = self.encoded_of(column);
            if let Scale::Number(number) = scale {
                let own = residuals.column(encoded.start);
                let spread = (own.iter().map(|r| r * r).sum::<f64>() / own.len().max(1) as f64).sqrt();
                number.sharpen(spread, floor(columns[column].learn));
            }
        }
        Saved { below: self.below, columns: sharper }.into()
    }

    /// Multiplies the scale of each number whose `spreads` are not in `kept`, as [`Self::sharpened`]. `spreads` has a
    /// standard deviation for each encoded feature. Also returns for each encoded feature the factor of scaled values.
    #[must_use]
    pub(crate) fn rescaled(&self, spreads: &[f64], kept: RangeInclusive<f64>) -> (Self, Vec<f64>) {
        let mut columns = self.columns.clone();
        let mut factors = vec![1.0; spreads.len()];
        for (column, scale) in columns.iter_mut().enumerate() {
            let feature = self.encoded_of(column).start;
            if let Scale::Number(number) = scale
                && !kept.contains(&spreads[feature])
            {
                let before = number.scale;
                number.sharpen(spreads[feature], Floors::OF_FEATURES.of(number.log));
                factors[feature] = before / number.scale;
            }
        }
        (Saved { below: self.below, columns }.into(), factors)
    }

    /// Scales many rows.
    #[must_use]
    pub(crate) fn scale_all(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut scaled = Array2::zeros((rows.nrows(), self.width()));
        for (row, mut encoded) in rows.rows().into_iter().zip(scaled.rows_mut()) {
            // A new array is row-major, so each of its rows is a slice.
            self.scale(row, encoded.as_slice_mut().unwrap_or(&mut []));
        }
        scaled
    }

    /// The raw value for the encoded features of `column`. It is the inverse of scaling for a number, the category with
    /// the largest feature for a one-hot column (NaN if that is the feature of unseen values), and `None` for a column
    /// that is left out, or whose values depend on a column of a row that is not given.
    #[must_use]
    pub(crate) fn raw(&self, column: usize, encoded: &[f64], row: Option<ArrayView1<'_, f64>>) -> Option<f64> {
        match &self.columns[column] {
            Scale::Out => None,
            Scale::Number(number) => number.decode(encoded[0], |&other| row.map(|row| row[other])),
            Scale::OneHot { values } => {
                let hottest = (0..encoded.len()).max_by(|&a, &b| encoded[a].total_cmp(&encoded[b]))?;
                Some(values.get(hottest).copied().unwrap_or(f64::NAN))
            }
        }
    }
}

impl Scale {
    fn width(&self) -> usize {
        match self {
            Self::Out => 0,
            Self::Number(_) => 1,
            Self::OneHot { values } => values.len() + 1,
        }
    }
}

/// The smallest scale of a number.
const fn floor(learn: Learn) -> f64 {
    Floors::OF_FEATURES.of(learn.is_log_scaled())
}

/// For each row, its values in two columns.
fn pairs(rows: ArrayView2<'_, f64>, one: usize, other: usize) -> impl Iterator<Item = (f64, f64)> {
    rows.column(one).to_vec().into_iter().zip(rows.column(other).to_vec())
}

/// The place of the column with this name.
fn place_of(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}

fn fit_number(rows: ArrayView2<'_, f64>, place: usize, learn: Learn, context: Option<Context<usize>>) -> Scale {
    let number = |row: ArrayView1<'_, f64>| {
        context.as_ref().map_or(row[place], |context| context.number(row[place], row[*context.column()]))
    };
    let numbers: Vec<f64> = rows.outer_iter().map(number).collect();
    Scale::Number(Number::fit(numbers.into_iter(), learn.is_log_scaled(), context, Scaling::Robust, floor(learn)))
}

fn fit_one_hot(column: ArrayView1<'_, f64>) -> Scale {
    let mut all: Vec<f64> = column.iter().copied().filter_map(defined).collect();
    all.sort_unstable_by(f64::total_cmp);
    let same = all.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(|same| (same[0], same.len()));
    let frequent = most_frequent(same.collect(), f64::total_cmp);
    Scale::OneHot { values: frequent.into_iter().map(|(value, _)| value).collect() }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::learning::preprocess::categories::CATEGORIES;
    use crate::learning::preprocess::parameters::{CLIP, HOT};
    use crate::learning::preprocess::statistics::IQR_TO_SIGMA;

    const RATIO_FLOOR: f64 = Floors::OF_FEATURES.ratio;

    fn column(learn: Learn) -> Column {
        Column { name: "x", unit: "", meaning: "", learn }
    }

    fn fit_one(values: &[f64], learn: Learn) -> Scaler {
        Scaler::fit(
            Array2::from_shape_vec((values.len(), 1), values.to_vec()).expect("one column").view(),
            &[column(learn)],
            Below::EVEN,
        )
    }

    fn scaled(scaler: &Scaler, value: f64) -> Vec<f64> {
        scaler.scale_all(array![[value]].view()).row(0).to_vec()
    }

    #[test]
    fn log_scaling_is_monotonic_and_invertible_within_the_clip() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * i)).collect();
        let scaler = fit_one(&values, Learn::LogScaled);
        let all: Vec<f64> = values.iter().map(|&v| scaled(&scaler, v)[0]).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(scaled(&scaler, 1e38), [CLIP]);
        for (value, z) in values.iter().zip(all) {
            let back = scaler.raw(0, &[z], None).expect("a number");
            assert!((back - value).abs() <= 1e-9 * value.max(1.0), "{back} is not {value}");
        }
    }

    #[test]
    fn half_of_the_values_lie_within_the_interquartile_range_around_zero() {
        let values: Vec<f64> = (0..1001).map(|i| f64::from(i) / 1000.0 * 20.0).collect();
        let scaler = fit_one(&values, Learn::Ratio);
        assert_eq!(scaled(&scaler, 10.0), [0.0]);
        assert!((scaled(&scaler, 15.0)[0] - IQR_TO_SIGMA / 2.0).abs() < 1e-9);
        assert!((scaled(&scaler, 5.0)[0] + IQR_TO_SIGMA / 2.0).abs() < 1e-9);
    }

    #[test]
    fn negative_amounts_are_zero_and_undefined_values_are_the_middle() {
        let scaler = fit_one(&[1.0, 2.0, 3.0, f64::NAN, f64::INFINITY], Learn::LogScaled);
        assert_eq!(scaled(&scaler, -5.0), scaled(&scaler, 0.0));
        for undefined in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e153] {
            assert_eq!(scaled(&scaler, undefined), [0.0]);
        }
        assert_eq!(scaled(&scaler, 2.0), [0.0]);
    }

    #[test]
    fn a_constant_column_shows_large_changes_only() {
        let ports = fit_one(&[1.0; 50], Learn::LogScaled);
        assert!(scaled(&ports, 1000.0)[0] > 10.0);
        assert!(scaled(&ports, 2.0)[0] < 2.0);
        let share = fit_one(&[0.0; 50], Learn::Ratio);
        assert!((scaled(&share, 1.0)[0] - 1.0 / RATIO_FLOOR).abs() < 1e-12);
    }

    #[test]
    fn each_category_has_a_feature_and_unseen_ones_share_one() {
        let scaler = fit_one(&[6.0, 17.0, 6.0, f64::NAN], Learn::Category);
        assert_eq!(scaler.width(), 3);
        assert_eq!(scaled(&scaler, 6.0), [HOT, 0.0, 0.0]);
        assert_eq!(scaled(&scaler, 17.0), [0.0, HOT, 0.0]);
        assert_eq!(scaled(&scaler, 47.0), [0.0, 0.0, HOT]);
        assert_eq!(scaled(&scaler, f64::NAN), [0.0; 3]);
        assert_eq!(scaler.raw(0, &[0.2, 1.0, 0.0], None), Some(17.0));
    }

    #[test]
    fn a_ratio_over_few_is_near_the_typical_one() {
        let flows = Column { name: "flows", ..column(Learn::Never) };
        let columns = [column(Learn::RatioOf("flows")), flows];
        let rows = Array2::from_shape_fn((100, 2), |(_, column)| if column == 0 { 0.0 } else { 50.0 });
        let scaler = Scaler::fit(rows.view(), &columns, Below::EVEN);
        let unanswered = |flows: f64| scaler.scale_all(array![[1.0, flows]].view())[[0, 0]];
        assert!((unanswered(1.0) - 0.2 / RATIO_FLOOR).abs() < 1e-12);
        assert!((unanswered(96.0) - 0.96 / RATIO_FLOOR).abs() < 1e-12);
        assert_eq!(unanswered(0.0), 0.0);
        assert!(scaler.fits(&columns));
        assert!(!scaler.fits(&[column(Learn::RatioOf("packets")), flows]), "another column counts");
    }

    #[test]
    fn only_frequent_categories_get_features() {
        let frequent = CATEGORIES as i32;
        let values: Vec<f64> = (0..200).flat_map(|i| vec![f64::from(i); if i < frequent { 3 } else { 1 }]).collect();
        let scaler = fit_one(&values, Learn::Category);
        assert_eq!(scaler.width(), CATEGORIES + 1);
        assert_eq!(scaled(&scaler, f64::from(frequent - 1))[CATEGORIES - 1], HOT);
        assert_eq!(scaled(&scaler, f64::from(frequent))[CATEGORIES], HOT);
    }

    #[test]
    fn a_column_that_is_never_learnt_is_not_encoded() {
        let rows = array![[1.0, 80.0, 0.5], [2.0, 443.0, 0.25]];
        let scaler =
            Scaler::fit(rows.view(), &[Learn::LogScaled, Learn::Never, Learn::Ratio].map(column), Below::PAUSES);
        assert_eq!(scaler.below(), [0.1, 0.3]);
        assert_eq!(scaler.width(), 2);
        assert_eq!(scaler.origins(), [0, 2]);
        assert!(scaler.encoded_of(1).is_empty());
        let mut other_port = rows.clone();
        other_port.column_mut(1).fill(f64::NAN);
        assert_eq!(scaler.scale_all(rows.view()), scaler.scale_all(other_port.view()));
    }

    #[test]
    fn sharpening_keeps_the_middle_and_the_floor() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let scaler = fit_one(&values, Learn::Ratio);
        let half = scaler.sharpened(array![[0.5], [-0.5]].view(), &[column(Learn::Ratio)]);
        assert!((scaled(&half, 99.0)[0] - 2.0 * scaled(&scaler, 99.0)[0]).abs() < 1e-9);
        let none = scaler.sharpened(array![[0.0], [0.0]].view(), &[column(Learn::Ratio)]);
        assert!((scaled(&none, 49.5 + RATIO_FLOOR)[0] - 1.0).abs() < 1e-9);
    }
}
