//! Preprocessing of any table: encodes its columns as features of comparable size, fitted once.
//!
//! `scaler` does this for the live learner, whose columns are known and whose constants are tuned for host windows. Here
//! the type of a column is derived from its values, and every constant is a parameter in [`Parameters`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::categories::most_frequent;
use super::context::Context;
use super::defined::defined;
use super::frame::{Frame, FrameColumn, Values};
use super::number::Number;
use super::parameters::{Height, LARGEST_SLOT, Parameters};
use crate::features::Learn;
use crate::learning::checked::{Checked, Outcome, all_within, as_many, checked, holds};

/// A text column with more different values than this fraction of its rows contains names of rows, which are not
/// learnt.
const NAMING: f64 = 0.5;

/// The number of rows from which [`NAMING`] is applied.
const NAMING_ROWS: usize = 100;

/// The years 2000 to 2100 as Unix time, s. A column whose values are all in this range, in s, ms, µs or ns, is a clock.
const CLOCK_S: std::ops::Range<f64> = 946_684_800.0..4_102_444_800.0;

/// The reason why a column is not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// flowml's feature table excludes the column from learning, or does not contain it.
    Never,
    /// The column has one value in all rows.
    Constant,
    /// No row has a value.
    Empty,
    /// The column contains IP addresses.
    Address,
    /// The column contains Unix times.
    Clock,
    /// Most texts of the column occur only once.
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

/// The encoding of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "snake_case")]
enum Slots {
    /// Not encoded.
    Out { because: LeftOut },
    /// One encoded feature. A column on which its meaning depends has its name here.
    Number(Number<String>),
    /// One encoded feature with its height for each of `values` (sorted), and a last one for all other values.
    OneHot { values: Vec<String>, heights: Vec<f64>, unseen: f64 },
}

impl Slots {
    fn check(&self) -> Outcome {
        match self {
            Self::Out { .. } => Ok(()),
            Self::Number(number) => number.check(),
            Self::OneHot { values, heights, unseen } => {
                holds(values.is_sorted_by(|a, b| a < b), "expected distinct 'values' in ascending order")?;
                as_many("heights", heights.len(), values.len())?;
                all_within("heights or unseen", heights.iter().chain([unseen]), &(0.0..=LARGEST_SLOT))
            }
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Out { .. } => 0,
            Self::Number(_) => 1,
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

    /// The number of encoded features of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(|column| column.slots.count()).sum()
    }

    /// For each encoded feature its origin: a column, or a column and its category.
    #[must_use]
    pub fn encoded_names(&self) -> Vec<String> {
        let names = |column: &Preprocessed| match &column.slots {
            Slots::Out { .. } => Vec::new(),
            Slots::Number(_) => vec![column.name.clone()],
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
            let weight = match &column.slots {
                Slots::Number(number) => self.parameters.below.of(number.log),
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
            let learnt = match &column.slots {
                Slots::Out { .. } => None,
                Slots::Number(Number { log: false, .. }) => Some("number"),
                Slots::Number(Number { log: true, .. }) => Some("log number"),
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
                Slots::Number(number) => {
                    let slot = rows.column_mut(at).into_iter();
                    (write_number(number, column, frame, self.parameters.clip, slot)?, &mut cleaning.undefined)
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

/// Writes the encoded feature of a number to each of `slots`, and returns in how many rows the value is invalid. Such a
/// value is the middle of its column.
fn write_number<'a>(
    number: &Number<String>,
    column: &FrameColumn,
    frame: &Frame,
    clip: f64,
    slots: impl Iterator<Item = &'a mut f64>,
) -> Result<usize, Unfit> {
    let other = number.context.as_ref().map(Context::column);
    let others = other.map(|name| frame.column(name).ok_or_else(|| Unfit::Missing(name.clone()))).transpose()?;
    let Some(values) = numbers_of(column)? else { return Ok(column.values.len()) };
    let others = others.map(numbers_of).transpose()?.flatten();
    let mut invalid = 0;
    for (row, (slot, value)) in slots.zip(values).enumerate() {
        match number.encode(*value, |_| others.map_or(f64::NAN, |others| others[row]), clip) {
            Some(encoded) => *slot = encoded,
            None => invalid += 1,
        }
    }
    Ok(invalid)
}

/// The numbers of a column; `None` if it has no value, because a column without any value has no type.
fn numbers_of(column: &FrameColumn) -> Result<Option<&[f64]>, Unfit> {
    match &column.values {
        Values::Numbers(numbers) => Ok(Some(numbers)),
        Values::Texts(texts) if texts.iter().all(Option::is_none) => Ok(None),
        Values::Texts(_) => Err(Unfit::Text(column.name.clone())),
    }
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

fn fit_column(column: &FrameColumn, frame: &Frame, parameters: &Parameters) -> Slots {
    if let Some((numbers, context)) = dependent(column, frame, parameters) {
        return fit_number(&numbers, column.learn, Some(context), parameters);
    }
    match (column.learn, &column.values) {
        // Without its groups such a number repeats others.
        (Some(Learn::Never | Learn::WithinGroup(_)), _) => Slots::Out { because: LeftOut::Never },
        (Some(Learn::Category), values) => fit_one_hot(values, parameters),
        (learn, Values::Numbers(numbers)) => fit_number(numbers, learn, None, parameters),
        (_, values @ Values::Texts(texts)) => match text_left_out(texts) {
            Some(because) => Slots::Out { because },
            None => fit_one_hot(values, parameters),
        },
    }
}

/// The numbers of a column whose meaning depends on another column of the table, and this dependence.
fn dependent(column: &FrameColumn, frame: &Frame, parameters: &Parameters) -> Option<(Vec<f64>, Context<String>)> {
    let learn = column.learn?;
    let other = frame.column(learn.context()?)?;
    let (Values::Numbers(values), Values::Numbers(others)) = (&column.values, &other.values) else { return None };
    let pairs = || values.iter().copied().zip(others.iter().copied());
    let context = Context::fit(learn, other.name.clone(), pairs(), parameters.floors.of(true))?;
    Some((pairs().map(|(value, other)| context.number(value, other)).collect(), context))
}

/// The reason why a text column is left out; `None` if it is used.
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

fn fit_number(
    numbers: &[f64],
    learn: Option<Learn>,
    context: Option<Context<String>>,
    parameters: &Parameters,
) -> Slots {
    let values: Vec<f64> = numbers.iter().copied().filter_map(defined).collect();
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
    Slots::Number(Number::fit(values.into_iter(), log, context, parameters.scaling, parameters.floors.of(log)))
}

fn fit_one_hot(values: &Values, parameters: &Parameters) -> Slots {
    let all = categories(values);
    let rows = all.len().max(1) as f64;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|category| *counts.entry(category.as_ref()).or_default() += 1);
    if counts.len() <= 1 && !parameters.keep_constants {
        return Slots::Out { because: LeftOut::Constant };
    }
    let frequent = most_frequent(counts.into_iter().collect(), Ord::cmp);
    let height = |share: f64| match parameters.height {
        Height::Unit => 1.0,
        Height::Rarity(most) => share.powf(-0.5).min(most),
    };
    let (values, heights) =
        frequent.into_iter().map(|(value, count)| (value.to_owned(), height(count as f64 / rows))).unzip();
    // The next row could be the first of its category.
    Slots::OneHot { values, heights, unseen: height(1.0 / (rows + 1.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::preprocess::Scaling;
    use crate::learning::preprocess::statistics::IQR_TO_SIGMA;

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
        assert_eq!(preprocessing.encoded_names()[3..], ["kind=", "kind=a", "kind=b", "kind=(unseen)"]);
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
