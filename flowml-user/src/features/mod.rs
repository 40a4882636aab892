//! The feature tables: name, unit, meaning, scaling for the learner, and computation of every feature.
//!
//! ```
//! use flowml_user::features::{HOST_FEATURES, Side, names, side_of};
//!
//! assert!(names(HOST_FEATURES).any(|name| name == "source_peers"));
//! assert_eq!(side_of("source_peers"), Some(Side::Source));
//! ```

mod aggregate;
mod content;
mod distinct;
mod flow;
mod generations;
mod host;
mod learner_rows;
mod nfstream;
mod slow;
mod splt;
#[cfg(test)]
mod tests;
mod window;
#[cfg(test)]
mod window_tests;

pub use aggregate::{AGGREGATE_FEATURES, AGGREGATE_IDENTIFIERS, Aggregate, Aggregates};
pub use content::{CONTENT_FEATURES, FlowColumns, RowColumns};
pub(crate) use distinct::Distinct;
pub use flow::{FLOW_FEATURES, FlowRow};
pub(crate) use generations::Generations;
#[cfg(test)]
pub(crate) use generations::comparisons;
pub use host::{HOST_FEATURES, HOST_IDENTIFIERS, side_of};
pub use learner_rows::LearnerRows;
pub use nfstream::{DIFFERENCES, Difference};
pub use splt::{FLOW_SEQUENCES, Sequence};
pub(crate) use window::hash_address;
pub use window::{HostWindow, HostWindows, Hosts, Role, SLICES};

use crate::record::ValueType;

/// The encoding of a feature for the learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// Reported, never learnt: it would leak a label (addresses, ports, TTL, clocks) or repeats another feature.
    Never,
    /// A count, a size or a duration: `log1p`, then robust scaling.
    LogScaled,
    /// A ratio or an entropy: robust scaling, without `log1p`, because the range is bounded.
    Ratio,
    /// A ratio or an entropy over the number of flows that the named column counts. If there are few flows, it is
    /// shrunk towards the typical value. Then robust scaling follows.
    RatioOf(&'static str),
    /// A count, a size or a duration in comparison with rows that have the same value in the named column.
    WithinGroup(&'static str),
    /// A small category (protocol, port class): one-hot.
    Category,
}

impl Learn {
    /// The name of the scaling, in one or two words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::LogScaled => "log-scaled",
            Self::Ratio => "ratio",
            Self::RatioOf(_) => "ratio of few",
            Self::WithinGroup(_) => "within group",
            Self::Category => "category",
        }
    }

    /// Whether the learner uses `log1p` of the value.
    #[must_use]
    pub(crate) const fn is_log_scaled(self) -> bool {
        matches!(self, Self::LogScaled)
    }

    /// The name of the column on which the meaning of a value depends.
    pub(crate) const fn context(self) -> Option<&'static str> {
        match self {
            Self::RatioOf(column) | Self::WithinGroup(column) => Some(column),
            Self::Never | Self::LogScaled | Self::Ratio | Self::Category => None,
        }
    }
}

/// One column of the table over units of type `T` (a flow record or a host window).
pub struct Feature<T: 'static> {
    /// The column's name; NFStream's name where NFStream has the same quantity.
    pub name: &'static str,
    /// The unit of the value.
    pub unit: &'static str,
    /// The meaning of the value, in one line.
    pub meaning: &'static str,
    /// The encoding of the feature for the learner.
    pub learn: Learn,
    /// In a host window, the flows to which the value belongs.
    pub side: Option<Side>,
    /// Whether NFStream has the same quantity under the same name.
    pub nfstream: bool,
    /// The value.
    pub of: Of<T>,
}

/// The flows to which a feature of a host window belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The flows that the host opened.
    Source,
    /// The flows that others opened to it.
    Destination,
}

/// The function that computes a feature. It also determines the type.
pub enum Of<T: 'static> {
    /// A whole number, always defined.
    Count(fn(&T) -> u64),
    /// A real number; NaN where it is not defined for this unit.
    Real(fn(&T) -> f64),
    /// A bit of a number: 0 or 1.
    Bit(fn(&T) -> u64, u32),
}

// Derived implementations would require `T: Copy`.
impl<T> Clone for Of<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Of<T> {}

impl<T> Clone for Feature<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Feature<T> {}

impl<T> Feature<T> {
    /// The value for the learner.
    #[must_use]
    pub fn value(&self, unit: &T) -> f64 {
        match self.of {
            Of::Count(of) => of(unit) as f64,
            Of::Real(of) => of(unit),
            Of::Bit(of, bit) => (of(unit) >> bit & 1) as f64,
        }
    }

    /// The type of its values.
    #[must_use]
    pub const fn kind(&self) -> ValueType {
        match self.of {
            Of::Count(_) | Of::Bit(..) => ValueType::Integer,
            Of::Real(_) => ValueType::Real,
        }
    }
}

/// A feature of flowml's own that is a whole number.
const fn count<T>(
    name: &'static str,
    unit: &'static str,
    learn: Learn,
    value: fn(&T) -> u64,
    meaning: &'static str,
) -> Feature<T> {
    Feature { name, unit, meaning, learn, side: None, nfstream: false, of: Of::Count(value) }
}

/// A feature of flowml's own that is a real number.
const fn real<T>(
    name: &'static str,
    unit: &'static str,
    learn: Learn,
    value: fn(&T) -> f64,
    meaning: &'static str,
) -> Feature<T> {
    Feature { name, unit, meaning, learn, side: None, nfstream: false, of: Of::Real(value) }
}

/// A feature without its function: what the learner and the documents use of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// As in [`Feature`].
    pub name: &'static str,
    /// As in [`Feature`].
    pub unit: &'static str,
    /// As in [`Feature`].
    pub meaning: &'static str,
    /// As in [`Feature`].
    pub learn: Learn,
}

/// The columns of a table.
#[must_use]
pub fn columns<T>(table: &[Feature<T>]) -> Vec<Column> {
    table.iter().map(|&Feature { name, unit, meaning, learn, .. }| Column { name, unit, meaning, learn }).collect()
}

/// The names of a table's columns: the header of its rows.
pub fn names<T>(table: &[Feature<T>]) -> impl Iterator<Item = &'static str> {
    table.iter().map(|feature| feature.name)
}

/// The values of a unit, column by column.
#[must_use]
pub fn row<T>(table: &[Feature<T>], unit: &T) -> Vec<f64> {
    table.iter().map(|feature| feature.value(unit)).collect()
}

/// `part / whole`, or 0 if `whole` is 0.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
