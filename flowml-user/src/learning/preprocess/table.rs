//! Preprocessing of any table: encodes its columns as features of comparable size, fitted once.
//!
//! `scaler` does this for the live learner, whose columns are known and whose constants are tuned for host windows. Here
//! the type of a column is derived from its values, and every constant is a parameter in [`Parameters`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ndarray::{Array2, ArrayViewMut1};
use serde::{Deserialize, Serialize};

use super::scaler::{self, log1p, quantile, spread};
use crate::features::Learn;
use crate::learning::checked::{
    Checked, Outcome, SMALLEST, WEIGHTS, all_within, amount, any, as_many, checked, divisor, holds, within,
};
use crate::learning::preprocess::few::Few;
use crate::learning::preprocess::frame::{Frame, FrameColumn, Values};

/// Number of categories with an encoded feature of their own, the most frequent first. All others share the encoded
/// feature of unseen values.
const CATEGORIES: usize = 96;

/// A text column with more different values than this fraction of its rows contains names of rows, which are not
/// learnt.
const NAMING: f64 = 0.5;

/// The number of rows from which [`NAMING`] is applied.
const NAMING_ROWS: usize = 100;

/// The largest number of values that are sorted to scale a number. A sample of this size is enough.
const RANKED: usize = 1 << 15;

/// The years 2000 to 2100 as Unix time, s. A column whose values are all in this range, in s, ms, µs or ns, is a clock.
const CLOCK_S: std::ops::Range<f64> = 946_684_800.0..4_102_444_800.0;

/// The largest magnitude of an encoded feature. Squares and sums of such values are finite.
const LARGEST_SLOT: f64 = 1e20;

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Mean 0, standard deviation 1.
    Standard,
    /// From 0 to 1.
    MinMax,
    /// Median 0; the spread is the larger of the estimates from the middle half and from the middle 90 % of the values.
    #[default]
    Robust,
}

/// The value of the encoded feature of a category.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Height {
    /// 1 for every category.
    Unit,
    /// `1/√p` for a category with the fraction `p` of the rows, and at most this value. The distance of two rows is
    /// then their χ² distance, as in correspondence analysis (Greenacre 1984), and rare categories are far away.
    Rarity(f64),
}

/// The parameters with which preprocessing is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Parameters {
    /// How numbers are scaled.
    pub scaling: Scaling,
    /// The value of the encoded feature of a category.
    pub height: Height,
    /// The smallest scale of a log-scaled number, in units of `log1p`. Not used by min-max scaling.
    pub amount_floor: f64,
    /// The smallest scale of any other number. Not used by min-max scaling.
    pub share_floor: f64,
    /// The largest distance of a number from the middle, in scales. It is never more than 10²⁰.
    pub clip: f64,
    /// The weight in a squared distance of a log-scaled number below its centroid, where a number above has weight 1.
    pub amount_below: f64,
    /// The same weight for any other number.
    pub share_below: f64,
    /// Whether a constant number is an encoded feature. A later change of it can then be a sign of an anomaly.
    pub keep_constants: bool,
}

checked!(Parameters);

impl Checked for Parameters {
    const NAME: &str = "parameters";

    fn check(&self) -> Outcome {
        if let Height::Rarity(most) = self.height {
            within("rarity", most, SMALLEST..=LARGEST_SLOT)?;
        }
        within("amount_floor", self.amount_floor, amount())?;
        within("share_floor", self.share_floor, amount())?;
        within("clip", self.clip, SMALLEST..=f64::MAX)?;
        within("amount_below", self.amount_below, WEIGHTS)?;
        within("share_below", self.share_below, WEIGHTS)
    }
}

impl Parameters {
    /// For detectors of any columns. Nothing is known about these columns, so values below and above the typical ones
    /// have equal weight.
    #[must_use]
    pub const fn for_detectors(scaling: Scaling) -> Self {
        Self {
            scaling,
            height: Height::Rarity(20.0),
            amount_floor: 0.1,
            share_floor: 0.05,
            clip: 10.0,
            amount_below: 1.0,
            share_below: 1.0,
            keep_constants: true,
        }
    }

    /// For detectors if all columns are features of flowml, with the constants of the live learner.
    #[must_use]
    pub const fn for_detectors_of_features(scaling: Scaling) -> Self {
        Self {
            height: Height::Rarity(scaler::HOT),
            amount_floor: scaler::LOG_SCALED_FLOOR,
            share_floor: scaler::RATIO_FLOOR,
            clip: scaler::CLIP,
            ..Self::for_detectors(scaling)
        }
    }

    /// For classifiers, which find the weights of encoded features themselves.
    #[must_use]
    pub const fn for_classifiers(scaling: Scaling) -> Self {
        Self {
            scaling,
            height: Height::Unit,
            amount_floor: 1e-9,
            share_floor: 1e-9,
            clip: LARGEST_SLOT,
            amount_below: 1.0,
            share_below: 1.0,
            keep_constants: false,
        }
    }
}

/// Why a column is not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// flowml's feature table excludes it from learning or does not contain it.
    Never,
    /// It has one value in all rows.
    Constant,
    /// No row has a value.
    Empty,
    /// It holds IP addresses.
    Address,
    /// It holds Unix times.
    Clock,
    /// Most of its texts occur only once.
    Names,
}

impl LeftOut {
    /// The reason as text for users.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Never => "is never used",
            Self::Constant => "is constant",
            Self::Empty => "has no value",
            Self::Address => "contains addresses",
            Self::Clock => "contains Unix times",
            Self::Names => "identifies rows",
        }
    }
}

/// How one column is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "snake_case")]
enum Slots {
    /// Not encoded.
    Out { because: LeftOut },
    /// One encoded feature: `(f(value) - middle) / scale`, where `f` is `log1p` or the identity.
    Number {
        log: bool,
        middle: f64,
        scale: f64,
        /// For a ratio over few things: `count` is the column that counts them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        few: Option<Few<String>>,
    },
    /// One encoded feature with its height for each of `values` (sorted), and a last one for all other values.
    OneHot { values: Vec<String>, heights: Vec<f64>, unseen: f64 },
}

impl Slots {
    fn check(&self) -> Outcome {
        match self {
            Self::Out { .. } => Ok(()),
            Self::Number { middle, scale, few, .. } => {
                few.as_ref().map_or(Ok(()), |few| within("typical", few.typical, any()))?;
                within("middle", *middle, any())?;
                within("scale", *scale, divisor())
            }
            Self::OneHot { values, heights, unseen } => {
                holds(values.is_sorted_by(|a, b| a < b), "expected different 'values' in their order")?;
                as_many("heights", heights.len(), values.len())?;
                all_within("heights or unseen", heights.iter().chain([unseen]), &(0.0..=LARGEST_SLOT))
            }
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Out { .. } => 0,
            Self::Number { .. } => 1,
            Self::OneHot { values, .. } => values.len() + 1,
        }
    }
}

/// A column and its encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Preprocessed {
    name: String,
    #[serde(flatten)]
    slots: Slots,
}

checked!(Preprocessed);

impl Checked for Preprocessed {
    const NAME: &str = "preprocessing of a column";

    fn check(&self) -> Outcome {
        self.slots.check().map_err(|reason| format!("column '{}': {reason}", self.name))
    }
}

/// The problems that were found in the values of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleaning {
    /// For each column, the number of rows whose value is NaN. Such a value is treated as the middle of its column.
    pub undefined: BTreeMap<String, usize>,
    /// For each column, the number of rows whose category was not in the training set.
    pub unseen: BTreeMap<String, usize>,
}

impl Cleaning {
    /// Adds the problems of other rows.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.undefined, &other.undefined), (&mut self.unseen, &other.unseen)] {
            theirs.iter().for_each(|(column, rows)| *mine.entry(column.clone()).or_default() += rows);
        }
    }
}

/// The first column of a table that does not match the table on which preprocessing was fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The column is missing.
    #[error("the column '{0}' is missing, and the model was trained on it")]
    Missing(String),
    /// The column contains text instead of numbers.
    #[error("column '{0}' contains text, and the model was trained on numbers in it")]
    Text(String),
}

/// The fitted preprocessing of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    parameters: Parameters,
    columns: Vec<Preprocessed>,
}

impl Preprocessing {
    /// Fits the encoding on all rows of a table.
    #[must_use]
    pub fn fit(frame: &Frame, parameters: Parameters) -> Self {
        let preprocessed = |column: &FrameColumn| Preprocessed {
            name: column.name.clone(),
            slots: fit_column(column, frame, &parameters),
        };
        Self { parameters, columns: frame.columns().iter().map(preprocessed).collect() }
    }

    /// The parameters with which it was fitted.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The number of encoded features of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(|column| column.slots.count()).sum()
    }

    /// For each encoded feature its origin: a column, or a column and its category.
    #[must_use]
    pub fn slot_names(&self) -> Vec<String> {
        let names = |column: &Preprocessed| match &column.slots {
            Slots::Out { .. } => Vec::new(),
            Slots::Number { .. } => vec![column.name.clone()],
            Slots::OneHot { values, .. } => {
                let categories = values.iter().map(String::as_str).chain(["(unseen)"]);
                categories.map(|value| format!("{}={value}", column.name)).collect()
            }
        };
        self.columns.iter().flat_map(names).collect()
    }

    /// For each encoded feature, the weight in a squared distance of a value below the centroid.
    #[must_use]
    pub fn below(&self) -> Vec<f64> {
        let weights = |column: &Preprocessed| {
            let weight = match column.slots {
                Slots::Number { log: true, .. } => self.parameters.amount_below,
                Slots::Number { log: false, .. } => self.parameters.share_below,
                Slots::Out { .. } | Slots::OneHot { .. } => 1.0,
            };
            std::iter::repeat_n(weight, column.slots.count())
        };
        self.columns.iter().flat_map(weights).collect()
    }

    /// The columns that are not encoded, and why.
    pub fn left_out(&self) -> impl Iterator<Item = (&str, LeftOut)> {
        self.columns.iter().filter_map(|column| match column.slots {
            Slots::Out { because } => Some((column.name.as_str(), because)),
            _ => None,
        })
    }

    /// For every column its name and its kind: `number`, `log number`, `category`, or none.
    pub fn columns(&self) -> impl Iterator<Item = (&str, Option<&'static str>)> {
        self.columns.iter().map(|column| {
            let learnt = match column.slots {
                Slots::Out { .. } => None,
                Slots::Number { log: false, .. } => Some("number"),
                Slots::Number { log: true, .. } => Some("log number"),
                Slots::OneHot { .. } => Some("category"),
            };
            (column.name.as_str(), learnt)
        })
    }

    /// The encoded features of all rows, and the problems of their values.
    ///
    /// # Errors
    /// If the table lacks a column that was learnt. Other columns are ignored.
    pub fn apply(&self, frame: &Frame) -> Result<(Array2<f64>, Cleaning), Unfit> {
        let mut rows = Array2::zeros((frame.rows(), self.width()));
        let mut cleaning = Cleaning::default();
        let mut at = 0;
        for Preprocessed { name, slots } in &self.columns {
            if slots.count() == 0 {
                continue;
            }
            let column = frame.column(name).ok_or_else(|| Unfit::Missing(name.clone()))?;
            let (missed, of) = match slots {
                Slots::Out { .. } => (0, &mut cleaning.undefined),
                Slots::Number { log, middle, scale, few } => {
                    let number = Number { log: *log, middle: *middle, scale: *scale, clip: self.parameters.clip };
                    let drawn = few.as_ref().map(|few| drawn(&column.values, few, frame)).transpose()?;
                    let missed = number.write(drawn.as_ref().unwrap_or(&column.values), rows.column_mut(at));
                    (missed.ok_or_else(|| Unfit::Text(name.clone()))?, &mut cleaning.undefined)
                }
                Slots::OneHot { values, heights, unseen } => {
                    (write_one_hot(values, heights, *unseen, column, &mut rows, at), &mut cleaning.unseen)
                }
            };
            if missed > 0 {
                of.insert(name.clone(), missed);
            }
            at += slots.count();
        }
        Ok((rows, cleaning))
    }
}

/// How a numeric column is encoded.
struct Number {
    log: bool,
    middle: f64,
    scale: f64,
    clip: f64,
}

impl Number {
    /// Writes the encoded feature and returns in how many rows the value is NaN, which is written as 0. Returns `None`
    /// for texts.
    fn write(&self, values: &Values, mut slot: ArrayViewMut1<'_, f64>) -> Option<usize> {
        let numbers = match values {
            Values::Numbers(numbers) => numbers,
            // A column without any value has no type.
            Values::Texts(texts) if texts.iter().all(Option::is_none) => return Some(texts.len()),
            Values::Texts(_) => return None,
        };
        let (mut undefined, clip) = (0, self.clip.min(LARGEST_SLOT));
        for (slot, &value) in slot.iter_mut().zip(numbers) {
            if value.is_finite() {
                *slot = ((transformed(value, self.log) - self.middle) / self.scale).clamp(-clip, clip);
            } else {
                undefined += 1;
            }
        }
        Some(undefined)
    }
}

/// The value on its learnt scale: `log1p` of it, or itself.
fn transformed(value: f64, log: bool) -> f64 {
    if log { log1p(value) } else { value }
}

/// Writes the encoded features of a category from column `at` on, and returns in how many rows the category is unseen.
fn write_one_hot(
    values: &[String],
    heights: &[f64],
    unseen: f64,
    column: &FrameColumn,
    rows: &mut Array2<f64>,
    at: usize,
) -> usize {
    let mut missed = 0;
    for (row, category) in categories(&column.values).into_iter().enumerate() {
        match values.binary_search_by(|value| value.as_str().cmp(&category)) {
            Ok(place) => rows[[row, at + place]] = heights[place],
            Err(_) => {
                rows[[row, at + values.len()]] = unseen;
                missed += 1;
            }
        }
    }
    missed
}

/// The category of each value. A missing value is the category of the empty text.
fn categories(values: &Values) -> Vec<Arc<str>> {
    match values {
        Values::Texts(texts) => {
            let none: Arc<str> = Arc::from("");
            texts.iter().map(|text| text.clone().unwrap_or_else(|| none.clone())).collect()
        }
        Values::Numbers(numbers) => {
            let mut names: HashMap<u64, Arc<str>> = HashMap::new();
            let name = |number: f64| if number.is_finite() { number.to_string() } else { String::new() };
            let named = |&number: &f64| names.entry(number.to_bits()).or_insert_with(|| name(number).into()).clone();
            numbers.iter().map(named).collect()
        }
    }
}

/// The values of a column of ratios over few things, pulled towards the typical ratio.
fn drawn(shares: &Values, few: &Few<String>, frame: &Frame) -> Result<Values, Unfit> {
    let counts = frame.column(&few.count).ok_or_else(|| Unfit::Missing(few.count.clone()))?;
    match (shares, &counts.values) {
        (Values::Numbers(shares), Values::Numbers(counts)) => {
            Ok(Values::Numbers(shares.iter().zip(counts).map(|(share, count)| few.drawn(*share, *count)).collect()))
        }
        // The caller that expects numbers reports this error.
        (Values::Texts(_), _) => Ok(shares.clone()),
        (_, Values::Texts(texts)) if texts.iter().all(Option::is_none) => Ok(shares.clone()),
        (_, Values::Texts(_)) => Err(Unfit::Text(few.count.clone())),
    }
}

fn fit_column(column: &FrameColumn, frame: &Frame, parameters: &Parameters) -> Slots {
    let count = match column.learn {
        Some(Learn::RatioOf(count)) => frame.column(count),
        _ => None,
    };
    match (column.learn, &column.values) {
        (learn, Values::Numbers(shares))
            if let Some(FrameColumn { name, values: Values::Numbers(counts), .. }) = count =>
        {
            let few = Few::fit(name.clone(), shares.iter().copied().zip(counts.iter().copied()));
            let shares: Vec<f64> = shares.iter().zip(counts).map(|(share, count)| few.drawn(*share, *count)).collect();
            fit_number(&shares, learn, Some(few), parameters)
        }
        (Some(Learn::Never), _) => Slots::Out { because: LeftOut::Never },
        (Some(Learn::Category), values) => fit_one_hot(values, parameters),
        (learn, Values::Numbers(numbers)) => fit_number(numbers, learn, None, parameters),
        (_, values @ Values::Texts(texts)) => match text_left_out(texts) {
            Some(because) => Slots::Out { because },
            None => fit_one_hot(values, parameters),
        },
    }
}

/// Why a text column is left out, if it is.
fn text_left_out(texts: &[Option<Arc<str>>]) -> Option<LeftOut> {
    let mut present = texts.iter().flatten().peekable();
    present.peek()?;
    if present.clone().all(|text| text.parse::<IpAddr>().is_ok()) {
        return Some(LeftOut::Address);
    }
    let rows = present.clone().count();
    let mut different: Vec<&Arc<str>> = present.collect();
    different.sort_unstable();
    different.dedup();
    (rows >= NAMING_ROWS && different.len() as f64 > NAMING * rows as f64).then_some(LeftOut::Names)
}

fn fit_number(numbers: &[f64], learn: Option<Learn>, few: Option<Few<String>>, parameters: &Parameters) -> Slots {
    let values: Vec<f64> = numbers.iter().copied().filter(|value| value.is_finite()).collect();
    let (least, most) = (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max));
    let (Some(least), Some(most)) = (least, most) else { return Slots::Out { because: LeftOut::Empty } };
    let is_clock = |unit: f64| CLOCK_S.contains(&(least / unit)) && CLOCK_S.contains(&(most / unit));
    if learn.is_none() && [1.0, 1e3, 1e6, 1e9].into_iter().any(is_clock) {
        return Slots::Out { because: LeftOut::Clock };
    }
    if least == most && !parameters.keep_constants {
        return Slots::Out { because: LeftOut::Constant };
    }
    // A number that is never negative and exceeds 1 is log-scaled.
    let log = learn.map_or(least >= 0.0 && most > 1.0, Learn::is_log_scaled);
    let values: Vec<f64> = values.into_iter().map(|value| transformed(value, log)).collect();
    let floor = if log { parameters.amount_floor } else { parameters.share_floor };
    let (middle, scale) = middle_and_scale(&values, parameters.scaling, floor);
    Slots::Number { log, middle, scale, few }
}

/// The middle and the scale of at least one value.
fn middle_and_scale(values: &[f64], scaling: Scaling, floor: f64) -> (f64, f64) {
    match scaling {
        Scaling::Standard => {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
            (mean, variance.sqrt().max(floor))
        }
        Scaling::MinMax => {
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            (least, if most > least { (most - least).max(SMALLEST) } else { 1.0 })
        }
        Scaling::Robust => {
            let mut ranked: Vec<f64> = values.iter().copied().step_by(values.len().div_ceil(RANKED)).collect();
            ranked.sort_unstable_by(f64::total_cmp);
            (quantile(&ranked, 0.5), spread(&ranked).max(floor))
        }
    }
}

fn fit_one_hot(values: &Values, parameters: &Parameters) -> Slots {
    let all = categories(values);
    let rows = all.len().max(1) as f64;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|category| *counts.entry(category.as_ref()).or_default() += 1);
    if counts.len() <= 1 && !parameters.keep_constants {
        return Slots::Out { because: LeftOut::Constant };
    }
    let mut counted: Vec<(&str, usize)> = counts.into_iter().collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counted.truncate(CATEGORIES);
    counted.sort_unstable();
    let height = |share: f64| match parameters.height {
        Height::Unit => 1.0,
        Height::Rarity(most) => share.powf(-0.5).min(most),
    };
    let (values, heights) =
        counted.into_iter().map(|(value, count)| (value.to_owned(), height(count as f64 / rows))).unzip();
    // The next row could be the first of its category.
    Slots::OneHot { values, heights, unseen: height(1.0 / (rows + 1.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::preprocess::scaler::IQR_TO_SIGMA;

    fn numbers(name: &str, values: &[f64]) -> FrameColumn {
        FrameColumn { name: name.to_owned(), learn: None, values: Values::Numbers(values.to_vec()) }
    }

    fn texts(name: &str, values: &[&str]) -> FrameColumn {
        let text = |text: &&str| (!text.is_empty()).then(|| Arc::from(*text));
        FrameColumn { name: name.to_owned(), learn: None, values: Values::Texts(values.iter().map(text).collect()) }
    }

    fn slots(columns: Vec<FrameColumn>, parameters: Parameters) -> (Preprocessing, Array2<f64>) {
        let frame = Frame::new(columns[0].values.len(), columns);
        let preprocessing = Preprocessing::fit(&frame, parameters);
        let (rows, _) = preprocessing.apply(&frame).expect("it was fitted on this");
        (preprocessing, rows)
    }

    #[test]
    fn column_types_are_derived_from_values() {
        let columns = vec![
            numbers("bytes", &[0.0, 10.0, 1000.0, 20.0]),
            numbers("rate", &[0.0, 0.5, 1.0, 0.25]),
            numbers("change", &[-5.0, 5.0, 1.0, 2.0]),
            numbers("same", &[7.0; 4]),
            numbers("none", &[f64::NAN; 4]),
            numbers("seconds", &[1.7e9, 1.7e9 + 5.0, 1.7e9 + 9.0, 1.8e9]),
            numbers("milliseconds", &[1.7e12; 4]),
            texts("kind", &["a", "b", "a", ""]),
            texts("host", &["10.0.0.1", "::1", "10.0.0.2", ""]),
        ];
        let (preprocessing, _) = slots(columns, Parameters::for_classifiers(Scaling::Standard));
        let learnt: Vec<_> = preprocessing.columns().filter_map(|(name, learnt)| Some((name, learnt?))).collect();
        assert_eq!(learnt, [("bytes", "log number"), ("rate", "number"), ("change", "number"), ("kind", "category")]);
        let left: Vec<_> = preprocessing.left_out().collect();
        let expected = [
            ("same", LeftOut::Constant),
            ("none", LeftOut::Empty),
            ("seconds", LeftOut::Clock),
            ("milliseconds", LeftOut::Clock),
            ("host", LeftOut::Address),
        ];
        assert_eq!(left, expected);
        assert_eq!(preprocessing.slot_names()[3..], ["kind=", "kind=a", "kind=b", "kind=(unseen)"]);
        let names: Vec<String> = (0..200).map(|row| format!("row{row}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (preprocessing, _) = slots(vec![texts("uid", &names)], Parameters::for_detectors(Scaling::Robust));
        assert_eq!(preprocessing.left_out().next(), Some(("uid", LeftOut::Names)));
    }

    #[test]
    fn each_scaling_computes_what_its_name_states() {
        let column = || vec![numbers("x", &[-2.0, -1.0, 0.0, 3.0])];
        let (_, rows) = slots(column(), Parameters::for_classifiers(Scaling::MinMax));
        assert_eq!(rows.column(0).to_vec(), [0.0, 0.2, 0.4, 1.0]);
        let (_, rows) = slots(column(), Parameters::for_classifiers(Scaling::Standard));
        // Mean 0, variance (4 + 1 + 0 + 9) / 4.
        assert!((rows[[3, 0]] - 3.0 / 3.5_f64.sqrt()).abs() < 1e-12);
        let (_, rows) = slots(column(), Parameters::for_classifiers(Scaling::Robust));
        // Median -0.5; quartiles -1.25 and 0.75; 5 % and 95 % quantiles -1.85 and 2.55.
        assert!((rows[[3, 0]] - 3.5 / (2.0 / IQR_TO_SIGMA)).abs() < 1e-12);
    }

    #[test]
    fn a_rare_category_is_high_and_an_unseen_one_highest() {
        let kinds: Vec<&str> = (0..100).map(|row| if row == 0 { "rare" } else { "usual" }).collect();
        let frame = Frame::new(100, vec![texts("kind", &kinds)]);
        let preprocessing = Preprocessing::fit(&frame, Parameters::for_detectors(Scaling::Robust));
        let other = Frame::new(3, vec![texts("kind", &["rare", "usual", "new"])]);
        let (rows, cleaning) = preprocessing.apply(&other).expect("it has the column");
        assert!((rows[[0, 0]] - 10.0).abs() < 1e-12 && (rows[[1, 1]] - 0.99_f64.powf(-0.5)).abs() < 1e-12);
        assert!((rows[[2, 2]] - 101_f64.sqrt()).abs() < 1e-12);
        assert_eq!(cleaning.unseen, BTreeMap::from([("kind".to_owned(), 1)]));
    }

    #[test]
    fn undefined_values_are_the_middle_and_counted() {
        let frame = Frame::new(4, vec![numbers("x", &[-1.0, f64::NAN, 3.0, f64::INFINITY])]);
        let preprocessing = Preprocessing::fit(&frame, Parameters::for_detectors(Scaling::Robust));
        let (rows, cleaning) = preprocessing.apply(&frame).expect("it was fitted on this");
        assert_eq!((rows[[1, 0]], rows[[3, 0]]), (0.0, 0.0));
        assert_eq!(cleaning.undefined, BTreeMap::from([("x".to_owned(), 2)]));
    }

    #[test]
    fn a_different_table_is_refused_naming_its_first_differing_column() {
        let frame = Frame::new(2, vec![numbers("x", &[1.0, -2.0]), texts("kind", &["a", "b"])]);
        let preprocessing = Preprocessing::fit(&frame, Parameters::for_detectors(Scaling::Robust));
        let apply = |columns| preprocessing.apply(&Frame::new(2, columns)).map(|(rows, _)| rows.ncols());
        assert_eq!(apply(vec![texts("kind", &["a", "b"])]), Err(Unfit::Missing("x".to_owned())));
        assert_eq!(apply(vec![texts("x", &["a", "b"])]), Err(Unfit::Text("x".to_owned())));
        // Numbers may be categories, columns may have another order, and there may be more of them.
        let more = vec![numbers("kind", &[1.0, 2.0]), numbers("y", &[0.0; 2]), numbers("x", &[0.0; 2])];
        assert_eq!(apply(more), Ok(4));
    }
}
