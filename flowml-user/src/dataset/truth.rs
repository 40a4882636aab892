//! Where the labels of rows come from: rules, a table of labelled flows, or a list of labelled files.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::files::FileLabels;
use super::join::Labels;
use super::keys::{Subject, subjects};
use super::rules::{Rules, RulesError};
use super::{DatasetError, TableReader};

/// What rows without a label are called unless somebody says otherwise.
pub const BENIGN: &str = "benign";

/// The column of the labels, unless somebody says otherwise.
pub const LABEL: &str = "label";

/// How far the starts of a flow may lie apart where labels come from a table, unless somebody says otherwise.
pub const TOLERANCE_MS: i64 = 1000;

/// Where labels come from.
#[derive(Debug)]
pub enum Truth {
    /// Who attacked whom and when.
    Rules(Rules),
    /// Another meter's flows.
    Flows(Labels),
    /// What each file is of.
    Files(FileLabels),
}

/// Why there are no labels.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The table cannot be used.
    #[error(transparent)]
    Table(#[from] DatasetError),
}

impl Truth {
    /// Reads a file of labels: rules where it is called `.toml`; a list of files where it is a table with the columns
    /// `file` and `label`; otherwise flows with their labels.
    ///
    /// # Errors
    /// If the file is none of them.
    pub fn open(path: &Path) -> Result<Self, TruthError> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            return Ok(Self::Rules(Rules::read(path)?));
        }
        let table = TableReader::open(path)?;
        Ok(match FileLabels::is_one(table.schema()) {
            true => Self::Files(FileLabels::read(table)?),
            false => Self::Flows(Labels::read(table, LABEL, TOLERANCE_MS)?),
        })
    }

    /// The label of what a row of `file` is about; none where nothing is known of it.
    #[must_use]
    pub fn label(&self, file: &Path, subject: &Subject) -> Option<&str> {
        match (self, subject) {
            (Self::Rules(rules), Subject::Flow(key)) => rules.label(key),
            (Self::Rules(rules), Subject::Host(host)) => rules.label_of_host(host),
            (Self::Flows(labels), Subject::Flow(key)) => labels.label(key),
            (Self::Flows(_), Subject::Host(_)) => None,
            (Self::Files(files), subject) => files.label(file, subject),
        }
    }

    /// The label of rows of which nothing is known.
    #[must_use]
    pub fn default_label(&self) -> &str {
        match self {
            Self::Rules(rules) => rules.default_label().unwrap_or(BENIGN),
            Self::Flows(_) | Self::Files(_) => BENIGN,
        }
    }

    /// Whether it can say anything of the rows of `file`.
    ///
    /// # Errors
    /// If the file is not in the list of labelled ones.
    pub fn check(&self, file: &Path) -> Result<(), DatasetError> {
        match self {
            Self::Files(files) => files.check(file),
            Self::Rules(_) | Self::Flows(_) => Ok(()),
        }
    }

    /// The rows of `file` with their labels in a column behind the others.
    ///
    /// # Errors
    /// If the rows are neither flows nor host windows.
    pub fn add(&self, file: &Path, batch: &RecordBatch) -> Result<RecordBatch, DatasetError> {
        let label = |subject: &Option<Subject>| match subject {
            Some(subject) => self.label(file, subject).unwrap_or(self.default_label()),
            None => self.default_label(),
        };
        let labels: StringArray = subjects(batch)?.iter().map(|subject| Some(label(subject))).collect();
        let columns = batch.columns().iter().cloned().chain([Arc::new(labels) as _]).collect();
        Ok(RecordBatch::try_new(labelled(&batch.schema()), columns)?)
    }
}

/// The columns with that of the labels behind them.
#[must_use]
pub fn labelled(schema: &Schema) -> SchemaRef {
    let own = Arc::new(Field::new(LABEL, DataType::Utf8, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([own]).collect::<Vec<_>>()))
}
