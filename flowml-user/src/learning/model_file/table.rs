//! Writes and reads the file of a model of a table.

use std::path::Path;

use super::error::ModelError;
use super::file;
use super::format::Signed;
use super::kind::ModelKind;
use crate::learning::batch::TableModel;

impl TableModel {
    /// Writes the model to a file, the readable part first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let failed = |source| ModelError::File { path: path.to_owned(), source };
        let (header, learnt) = self.parts();
        let header = Signed::new(ModelKind::Table, header);
        let text = file::lines_and(&header, "model", learnt).map_err(|error| failed(error.into()))?;
        file::check_length(&text).map_err(failed)?;
        file::write_whole(path, &(text + "\n")).map_err(failed)
    }

    /// Reads a model from a file. Nothing in the file is executed, and inconsistent parts are refused.
    ///
    /// # Errors
    /// If the file cannot be read or is no model of a table.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let json = file::read(path).map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        ModelKind::Table.expect(path, &json)?;
        let not_a_model =
            |error: serde_json::Error| ModelError::NotAModel { path: path.to_owned(), reason: error.to_string() };
        serde_json::from_slice(&json).map_err(not_a_model)
    }
}
