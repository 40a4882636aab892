//! The model of a fleet: the next one is made of the statistics that agents gathered under the present one.
//!
//! [`Merge`] reads rows of statistics, of agents or already added up by an engine, and adds them. Nothing in a row is
//! trusted beyond its schema. The sums are compensated for rounding, so the result is that of a central pass over all
//! rows, and does not depend on how rows were divided between agents and minutes.

mod error;
mod merge;
mod next;
mod row;
#[cfg(test)]
mod tests;
mod total;

pub use self::error::FleetError;
pub use self::merge::{Merge, Merged, MergedLearner};
