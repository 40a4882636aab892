//! Errors of saving and loading models.

use std::path::PathBuf;

use super::kind::{FLEET_VERSION, ModelKind, VERSION};
use crate::learning::statistics::ModelHash;

/// Errors of saving and loading models.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is nothing to save yet.
    #[error("the model is still {0}: it can be saved after the warm-up")]
    NotReady(String),
    /// The file could not be read or written.
    #[error("cannot read or write the model file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not JSON of a model of this version.
    #[error("model file {} is not a flowml model of version {VERSION} or {FLEET_VERSION}: {reason}", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// The fault in the file.
        reason: String,
    },
    /// The model is of another kind.
    #[error("model file {} is a model of {found}; expected a model of {expected}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// The kind of the file.
        found: ModelKind,
        /// The kind that was expected.
        expected: ModelKind,
    },
    /// The file is not the one that was named.
    #[error("model file {} has the SHA-256 hash {found}; expected {expected}", path.display())]
    OtherHash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: ModelHash,
        /// The hash that was expected.
        expected: ModelHash,
    },
    /// The model was trained on other features.
    #[error("model file {} was trained on other features: {difference}", path.display())]
    OtherFeatures {
        /// The file.
        path: PathBuf,
        /// The first feature that differs.
        difference: String,
    },
}
