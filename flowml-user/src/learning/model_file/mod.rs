//! Model files: JSON that starts with its format, version and kind.
//!
//! A model of traffic has the learners of flows and of host windows ([`TrafficModel`]). A model of a table has one
//! detector or classifier ([`TableModel`](super::batch::TableModel)). Each part checks its values when it is read.

mod error;
mod features;
mod file;
mod format;
#[cfg(test)]
mod mutations;
mod table;
mod traffic;

pub use self::error::ModelError;
pub use self::features::fingerprint;
pub use self::format::ModelKind;
pub use self::traffic::{Snapshot, TrafficModel};
