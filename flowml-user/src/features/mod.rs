//! The feature tables: for every feature its name, unit, meaning, how it is learnt, and how it is computed.

mod distinct;
mod flow;
mod host;
#[cfg(test)]
mod tests;
mod window;
#[cfg(test)]
mod window_tests;

pub use flow::{FLOW_FEATURES, FlowRow};
pub use host::{HOST_FEATURES, HOST_IDENTIFIERS};
pub use window::{HostWindow, HostWindows, Hosts, Role};

/// How a feature enters the learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// Reported, never learnt: it would leak a label (addresses, ports, TTL, clocks) or repeats another feature.
    Never,
    /// A count, a size or a duration: `log1p`, then robust scaling.
    Amount,
    /// A share or an entropy, already of bounded range: robust scaling.
    Share,
    /// A small category (protocol, port class): one-hot.
    Category,
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
    /// The value; NaN where it is not defined for this unit.
    pub of: fn(&T) -> f64,
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
    table.iter().map(|feature| (feature.of)(unit)).collect()
}

/// `part` of `whole`, 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
