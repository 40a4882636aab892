//! Where the labels of rows come from: rules, a table of labelled flows, or a list of labelled files.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
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

/// The column with the number of the rule that gave the label, from 1; empty where no rule did.
pub const RULE: &str = "label_rule";

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

    /// The label of what a row of `file` is about, and the number of the rule that gives it; none where nothing is known
    /// of it.
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

    /// The label of what a row of `file` is about; none where nothing is known of it.
    #[must_use]
    pub fn label(&self, file: &Path, subject: &Subject) -> Option<&str> {
        self.ruling(file, subject).map(|(label, _)| label)
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

    /// The rows of `file` with their labels, and the rules that gave them, in two columns behind the others.
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

/// The columns with those of the labels behind them.
#[must_use]
pub fn labelled(schema: &Schema) -> SchemaRef {
    let own = [Field::new(LABEL, DataType::Utf8, false), Field::new(RULE, DataType::UInt32, true)].map(Arc::new);
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}
