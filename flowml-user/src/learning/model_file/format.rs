//! The start of a model file, which is the same for both learners: format, version and kind.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ModelError;
use super::file;
use super::kind::{FLEET_VERSION, ModelKind, VERSION};

/// The format's name in the file.
const FORMAT: &str = "flowml-model";

impl ModelKind {
    /// The kind of a model file.
    ///
    /// # Errors
    /// If the file cannot be read or is no model of this version.
    pub fn of_file(path: &Path) -> Result<Self, ModelError> {
        let text = file::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        Self::of_text(path, &text)
    }

    /// The kind of a model file with this content. `path` is for error messages.
    fn of_text(path: &Path, text: &[u8]) -> Result<Self, ModelError> {
        let not_a_model = |reason: String| ModelError::NotAModel { path: path.to_owned(), reason };
        let not_json = |error: serde_json::Error| not_a_model(error.to_string());
        let Signature { format, version } = serde_json::from_slice(text).map_err(not_json)?;
        if format != FORMAT || ![VERSION, FLEET_VERSION].contains(&version) {
            return Err(not_a_model(format!("its format is {format:?}, version {version}; train the model again")));
        }
        let Tag { kind } = serde_json::from_slice(text).map_err(not_json)?;
        if version == FLEET_VERSION && kind != Self::Traffic {
            return Err(not_a_model(format!("only models of traffic have version {FLEET_VERSION}")));
        }
        Ok(kind)
    }

    /// Checks that a file with this content is a model of this kind. `path` is for error messages.
    ///
    /// # Errors
    /// If the file is no model of this version, or a model of another kind.
    pub(super) fn expect(self, path: &Path, text: &[u8]) -> Result<(), ModelError> {
        match Self::of_text(path, text)? {
            found if found == self => Ok(()),
            found => Err(ModelError::OtherKind { path: path.to_owned(), found, expected: self }),
        }
    }
}

/// The start of the file in every version.
#[derive(Deserialize)]
struct Signature {
    format: String,
    version: u32,
}

/// The kind, which follows in this version.
#[derive(Deserialize)]
struct Tag {
    kind: ModelKind,
}

/// The start of a written file, and the human-readable part.
#[derive(Serialize)]
pub(super) struct Signed<T> {
    format: &'static str,
    version: u32,
    kind: ModelKind,
    #[serde(flatten)]
    header: T,
}

impl<T> Signed<T> {
    pub(super) const fn new(kind: ModelKind, header: T) -> Self {
        Self { format: FORMAT, version: VERSION, kind, header }
    }

    /// The start of a model of a fleet.
    pub(super) fn of_fleet(kind: ModelKind, header: T) -> Self {
        Self { version: FLEET_VERSION, ..Self::new(kind, header) }
    }
}
