//! The feature tables: for every feature its name, unit, meaning, how it is learnt, and how it is computed.

mod aggregate;
mod content;
mod distinct;
mod flow;
mod generations;
mod host;
mod nfstream;
mod slow;
mod splt;
#[cfg(test)]
mod tests;
mod window;
#[cfg(test)]
mod window_tests;

pub use aggregate::{AGGREGATE_FEATURES, AGGREGATE_IDENTIFIERS, Aggregate, Aggregates};
pub use content::{CONTENT_FEATURES, FlowColumns};
pub(crate) use distinct::Distinct;
pub use flow::{FLOW_FEATURES, FlowRow};
pub(crate) use generations::{GENERATION_NS, Generations};
pub use host::{HOST_FEATURES, HOST_IDENTIFIERS};
pub use nfstream::{DIFFERENCES, Difference};
pub use splt::{FLOW_SEQUENCES, Sequence};
pub(crate) use window::hash_address;
pub use window::{HostWindow, HostWindows, Hosts, Role, SLICES};

use crate::record::Kind;

/// How a feature enters the learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// Reported, never learnt: it would leak a label (addresses, ports, TTL, clocks) or repeats another feature.
    Never,
    /// A count, a size or a duration: `log1p`, then robust scaling.
    Amount,
    /// A share or an entropy, already of bounded range: robust scaling.
    Share,
    /// A share, or an entropy, of as many things as the column of this name counts: where they are few it is drawn towards
    /// what is typical, then robust scaling.
    ShareOf(&'static str),
    /// A small category (protocol, port class): one-hot.
    Category,
}

impl Learn {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Amount => "amount",
            Self::Share => "share",
            Self::ShareOf(_) => "share of few",
            Self::Category => "category",
        }
    }

    /// Whether it is learnt as its `log1p`.
    #[must_use]
    pub const fn is_amount(self) -> bool {
        matches!(self, Self::Amount)
    }
}

/// One column of the table over units of type `T` (a flow record or a host window).
pub struct Feature<T: 'static> {
    /// The column's name; NFStream's where it has the same quantity.
    pub name: &'static str,
    /// The unit of the value.
    pub unit: &'static str,
    /// What the value says, in one line.
    pub meaning: &'static str,
    /// How the learner takes it.
    pub learn: Learn,
    /// Whether NFStream has the same quantity under the same name.
    pub nfstream: bool,
    /// The value.
    pub of: Of<T>,
}

/// How a feature is computed, and so of which type it is.
pub enum Of<T: 'static> {
    /// A whole number, always defined.
    Count(fn(&T) -> u64),
    /// A number that need not be whole; NaN where it is not defined for this unit.
    Real(fn(&T) -> f64),
    /// A bit of a number: 0 or 1.
    Bit(fn(&T) -> u64, u32),
}

// By hand: derived, they would ask for a `T` that can be copied.
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
    pub const fn kind(&self) -> Kind {
        match self.of {
            Of::Count(_) | Of::Bit(..) => Kind::Integer,
            Of::Real(_) => Kind::Real,
        }
    }
}

/// A feature without its function: what the learner and the documents need to know of a column.
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

/// `part` of `whole`, 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
