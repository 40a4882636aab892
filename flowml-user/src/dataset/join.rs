//! Labels from another table, joined by 5-tuple and start time.

use std::collections::HashMap;

use super::columns::{numbers, texts};
use super::keys::{End, Key, keys};
use super::names::column_named;
use super::{DatasetError, TableReader};

/// A flow regardless of its direction.
type Pair = (End, End, u8);

fn pair(key: &Key) -> Pair {
    (key.source.min(key.destination), key.source.max(key.destination), key.protocol)
}

/// The labelled flows of a table.
#[derive(Debug)]
pub struct Labels {
    /// For each flow the start times in ms with their labels, in order of time.
    flows: HashMap<Pair, Vec<(i64, String)>>,
    tolerance_ms: i64,
}

impl Labels {
    /// Reads the labels in `column`. Start times may differ by `tolerance_ms`, as meters timestamp the first packet
    /// differently.
    ///
    /// # Errors
    /// If the table cannot be read, or the columns of a flow and its label are missing.
    pub fn read(table: TableReader, column: &str, tolerance_ms: i64) -> Result<Self, DatasetError> {
        column_named(table.schema(), column).ok_or_else(|| DatasetError::no_column(&table, column))?;
        let mut flows: HashMap<Pair, Vec<(i64, String)>> = HashMap::new();
        for batch in table {
            let batch = batch?;
            let labels = label_texts(&batch, column)?;
            for (key, label) in keys(&batch)?.into_iter().zip(labels) {
                if let (Some(key), Some(label)) = (key, label) {
                    flows.entry(pair(&key)).or_default().push((key.start_ms, label));
                }
            }
        }
        flows.values_mut().for_each(|starts| starts.sort());
        Ok(Self { flows, tolerance_ms })
    }

    /// The label of the flow whose start is nearest to this one's, within the tolerance. Of two equally near flows it
    /// is the earlier one.
    #[must_use]
    pub fn label(&self, key: &Key) -> Option<&str> {
        let starts = self.flows.get(&pair(key))?;
        let next = starts.partition_point(|(start_ms, _)| *start_ms < key.start_ms);
        let around = &starts[next.saturating_sub(1)..(next + 1).min(starts.len())];
        let nearest = around.iter().min_by_key(|(start_ms, _)| start_ms.abs_diff(key.start_ms))?;
        (nearest.0.abs_diff(key.start_ms) <= self.tolerance_ms.unsigned_abs()).then_some(nearest.1.as_str())
    }
}

/// The labels of a column of text or numbers.
pub(super) fn label_texts(batch: &arrow_array::RecordBatch, column: &str) -> Result<Vec<Option<String>>, DatasetError> {
    let wrong = |found: String| DatasetError::Type { column: column.to_owned(), found, expected: "text or numbers" };
    let place = column_named(&batch.schema(), column).ok_or_else(|| wrong("no such column".to_owned()))?;
    let array = batch.column(place);
    if let Some(texts) = texts(array.as_ref()) {
        return Ok(texts.into_iter().map(|text| text.map(str::to_owned)).collect());
    }
    let numbers = numbers(array.as_ref()).ok_or_else(|| wrong(array.data_type().to_string()))?;
    Ok(numbers
        .into_iter()
        .map(|number| Some(number).filter(|number| !number.is_nan()).map(|n| n.to_string()))
        .collect())
}
