//! The member of a model of a fleet that other models lack: its number, its parent, and on how many rows it is based.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::statistics::ModelHash;

/// The origin of a model that was made of statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FleetOrigin {
    /// Its number among the models of the fleet, from 1.
    pub number: u64,
    /// The hash of the model under which the statistics were gathered.
    pub parent: ModelHash,
    /// The number of rows in the statistics of each learner.
    pub rows: BTreeMap<String, u64>,
}

checked!(FleetOrigin);

impl Checked for FleetOrigin {
    const NAME: &str = "fleet";

    fn check(&self) -> Outcome {
        holds(self.number > 0, "expected a 'number' from 1")
    }
}

/// The member under its name.
#[derive(Serialize)]
pub(super) struct FleetMember<'a> {
    pub(super) fleet: &'a FleetOrigin,
}
