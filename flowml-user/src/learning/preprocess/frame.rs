//! A table in memory, by columns, for models of tables without a feature table.

use std::sync::Arc;

use super::defined::defined;
use crate::features::Learn;

/// A table, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    rows: usize,
    columns: Vec<FrameColumn>,
}

/// One column of a [`Frame`].
#[derive(Clone, Debug, PartialEq)]
pub struct FrameColumn {
    /// The name.
    pub name: String,
    /// The encoding of the column, if it is known. Otherwise it is derived from the values.
    pub learn: Option<Learn>,
    /// One value for each row.
    pub values: Values,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers; in a [`Frame`] invalid ones are NaN.
    Numbers(Vec<f64>),
    /// Texts; `None` if missing. Equal texts share memory.
    Texts(Vec<Option<Arc<str>>>),
}

impl Values {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of these rows.
    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|&row| numbers[row]).collect()),
            Self::Texts(texts) => Self::Texts(rows.iter().map(|&row| texts[row].clone()).collect()),
        }
    }
}

impl Frame {
    /// A table of these columns. Invalid numbers (`learning::preprocess::defined`) become NaN here, before anything is trained on them
    /// or scores them.
    ///
    /// # Panics
    /// If a column does not have one value for each row.
    #[must_use]
    pub fn new(rows: usize, mut columns: Vec<FrameColumn>) -> Self {
        assert!(columns.iter().all(|column| column.values.len() == rows), "a column has one value for each row");
        for column in &mut columns {
            if let Values::Numbers(numbers) = &mut column.values {
                numbers.iter_mut().for_each(|number| *number = defined(*number).unwrap_or(f64::NAN));
            }
        }
        Self { rows, columns }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[FrameColumn] {
        &self.columns
    }

    /// Whether flowml has a feature definition for every column.
    #[must_use]
    pub(crate) fn is_of_features(&self) -> bool {
        self.columns.iter().all(|column| column.learn.is_some())
    }

    /// The column with this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&FrameColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The table of these rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let select = |column: &FrameColumn| FrameColumn {
            name: column.name.clone(),
            learn: column.learn,
            values: column.values.select(rows),
        };
        Self { rows: rows.len(), columns: self.columns.iter().map(select).collect() }
    }
}
