//! The kinds of models, and the version of their files.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of the file's layout.
pub(super) const VERSION: u32 = 7;

/// The version of a model of a fleet, which has its number and its parent besides. An agent that only reads the other
/// version would move its clusters.
pub(super) const FLEET_VERSION: u32 = 8;

/// The kind of data that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Flows and host windows of runs. The file has learners.
    Traffic,
    /// A table.
    Table,
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traffic => "traffic",
            Self::Table => "a table",
        })
    }
}
