//! Fills a batch of a table row by row.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::DatasetError;
use super::limits::{BATCH_BYTES, batch_rows};
use crate::export::cells::Builder;
use crate::record::ValueType;

/// The batches of a table.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, DatasetError>>>;

/// The batches that `next` returns, until it returns none.
pub(super) fn batches(mut next: impl FnMut() -> Result<Option<RecordBatch>, DatasetError> + 'static) -> Batches {
    Box::new(std::iter::from_fn(move || next().transpose()))
}

/// The next batch of a table with columns of these kinds; `None` if there are no more rows. `append` adds a value to
/// each column and returns the length of the row in its file, bytes; `None` if there are no more rows.
pub(super) fn fill(
    schema: &SchemaRef,
    kinds: impl Iterator<Item = ValueType>,
    mut append: impl FnMut(&mut [Builder]) -> Result<Option<usize>, DatasetError>,
) -> Result<Option<RecordBatch>, DatasetError> {
    let mut builders: Vec<Builder> = kinds.map(Builder::of).collect();
    let (mut rows, mut bytes) = (0, 0);
    while rows < batch_rows(builders.len())
        && bytes < BATCH_BYTES
        && let Some(more) = append(&mut builders)?
    {
        rows += 1;
        bytes += more;
    }
    if rows == 0 {
        return Ok(None);
    }
    let arrays = builders.iter_mut().map(Builder::finish).collect();
    Ok(Some(RecordBatch::try_new(Arc::clone(schema), arrays)?))
}
