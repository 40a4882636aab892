//! A table with the label of each row.

use std::sync::Arc;

use crate::learning::preprocess::Frame;

/// A table with the label of each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// The columns.
    pub frame: Frame,
    /// The labels, if there are any.
    pub labels: Option<Vec<Arc<str>>>,
    /// For each row the number of its input.
    pub inputs: Vec<u32>,
}

impl Labelled {
    /// The table of these rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let labels = self.labels.as_ref().map(|labels| rows.iter().map(|&row| Arc::clone(&labels[row])).collect());
        Self { frame: self.frame.select(rows), labels, inputs: rows.iter().map(|&row| self.inputs[row]).collect() }
    }

    /// The rows with this label.
    pub(super) fn rows_labelled(&self, label: &str) -> Option<Vec<usize>> {
        let labels = self.labels.as_ref()?;
        Some((0..labels.len()).filter(|&row| &*labels[row] == label).collect())
    }
}
