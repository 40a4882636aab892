//! The model of the fleet that an agent tries: a file that is pinned by its hash.

use std::path::PathBuf;

use super::learners::Learners;
use crate::features::FlowColumns;
use crate::learning::{ModelError, ModelHash, ModelIdentity, TrafficModel};

/// The file of a model of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetModel {
    /// The file.
    pub path: PathBuf,
    /// Its hash.
    pub hash: ModelHash,
}

impl FleetModel {
    /// Tries the model beside the models in use. One that was tried before is tried once more if `again` is set.
    ///
    /// # Errors
    /// If the file cannot be read, has another hash, or is no model of these features.
    pub fn offer(&self, learners: &mut Learners, columns: FlowColumns, again: bool) -> Result<(), ModelError> {
        let read = TrafficModel::read_pinned(&self.path, self.hash);
        let offered = read.and_then(|file| learners.offer(&file, columns, again));
        offered.inspect_err(|_| learners.refuse(ModelIdentity { hash: self.hash, number: 0 }))
    }
}
