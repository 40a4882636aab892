//! The columns of a table in memory: what is learnt from where there is no feature table.

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
    /// Its name.
    pub name: String,
    /// How it is learnt, where that is known; otherwise its values tell.
    pub learn: Option<Learn>,
    /// One value for each row.
    pub values: Values,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers; in a [`Frame`] NaN where one is not defined.
    Numbers(Vec<f64>),
    /// Texts, None where there is none. Equal ones share their memory.
    Texts(Vec<Option<Arc<str>>>),
}

impl Values {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Whether there is none.
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
    /// A table of these columns. A number that is not defined (`model::defined`) becomes NaN here, before anything is learnt
    /// from it or scored.
    ///
    /// # Panics
    /// If one has not a value for each of the rows.
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

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[FrameColumn] {
        &self.columns
    }

    /// Whether flowml knows of every column how it is learnt.
    #[must_use]
    pub fn is_of_features(&self) -> bool {
        self.columns.iter().all(|column| column.learn.is_some())
    }

    /// The column of this name.
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
