//! The sources of labels: rules, a table of labelled flows, or a list of labelled files.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::files::FileLabels;
use super::join::Labels;
use super::keys::{Subject, subjects};
use super::rules::{Rules, RulesError};
use super::{DatasetError, TableReader};

pub use super::labels::{BENIGN, LABEL, RULE};

/// The default tolerance between the start times of a flow, when labels come from a table, ms.
pub(crate) const TOLERANCE_MS: i64 = 1000;

/// A source of labels.
#[derive(Debug)]
pub enum Truth {
    /// Rules: who attacked whom and when.
    Rules(Rules),
    /// Labelled flows of another meter.
    Flows(Labels),
    /// A label for each file.
    Files(FileLabels),
}

/// An error of reading labels.
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
    /// Reads a file of labels. A `.toml` file has rules. A table with the columns `file` and `label` is a list of
    /// files. Other tables are labelled flows.
    ///
    /// # Errors
    /// If the file cannot be read as such.
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

    /// The label of a row of `file`, and the number of the rule that gives it; None if the source has no label for the
    /// row.
    fn ruling(&self, file: &Path, subject: &Subject) -> Option<(&str, Option<u32>)> {
        let by_rule = |(number, label)| (label, u32::try_from(number).ok());
        let by_itself = |label| (label, None);
        match (self, subject) {
            (Self::Rules(rules), subject) => rules.find(subject).map(by_rule),
            (Self::Flows(labels), Subject::Flow(key)) => labels.label(key).map(by_itself),
            (Self::Flows(_), Subject::Host(_)) => None,
            (Self::Files(files), subject) => files.label(file, subject).map(by_itself),
        }
    }

    /// The label of a row of `file`; None if the source has no label for it.
    #[must_use]
    pub fn label(&self, file: &Path, subject: &Subject) -> Option<&str> {
        self.ruling(file, subject).map(|(label, _)| label)
    }

    /// The label of rows for which the source has no label.
    #[must_use]
    pub fn default_label(&self) -> &str {
        match self {
            Self::Rules(rules) => rules.default_label().unwrap_or(BENIGN),
            Self::Flows(_) | Self::Files(_) => BENIGN,
        }
    }

    /// Checks that the source covers the rows of `file`.
    ///
    /// # Errors
    /// If the file is missing in a list of files.
    pub fn check(&self, file: &Path) -> Result<(), DatasetError> {
        match self {
            Self::Files(files) => files.check(file),
            Self::Rules(_) | Self::Flows(_) => Ok(()),
        }
    }

    /// The rows of `file` with two columns appended: their labels, and the rules that gave them.
    ///
    /// # Errors
    /// If the rows are neither flows nor host windows.
    pub fn add(&self, file: &Path, batch: &RecordBatch) -> Result<RecordBatch, DatasetError> {
        let label = |subject: &Option<Subject>| {
            let found = subject.as_ref().and_then(|subject| self.ruling(file, subject));
            found.map_or((Some(self.default_label()), None), |(label, rule)| (Some(label), rule))
        };
        let (labels, rules): (Vec<Option<&str>>, Vec<Option<u32>>) = subjects(batch)?.iter().map(label).unzip();
        let own = [Arc::new(StringArray::from(labels)) as _, Arc::new(UInt32Array::from(rules)) as _];
        let columns = batch.columns().iter().cloned().chain(own).collect();
        Ok(RecordBatch::try_new(labelled(&batch.schema()), columns)?)
    }
}

/// The columns with the label columns appended.
#[must_use]
pub fn labelled(schema: &Schema) -> SchemaRef {
    let own = [Field::new(LABEL, DataType::Utf8, false), Field::new(RULE, DataType::UInt32, true)].map(Arc::new);
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}
