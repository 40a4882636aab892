//! A batch of rows, filled row by row from what is read.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{BATCH, DatasetError};
use crate::record::Kind;
use crate::sink::cells::Builder;

/// The batches of a table.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, DatasetError>>>;

/// The next batch of a table with columns of these kinds; `None` without rows. `append` adds a value of each column, and
/// returns false where there is no further row.
pub(super) fn fill(
    schema: &SchemaRef,
    kinds: impl Iterator<Item = Kind>,
    mut append: impl FnMut(&mut [Builder]) -> Result<bool, DatasetError>,
) -> Result<Option<RecordBatch>, DatasetError> {
    let mut builders: Vec<Builder> = kinds.map(Builder::of).collect();
    let mut rows = 0;
    while rows < BATCH && append(&mut builders)? {
        rows += 1;
    }
    if rows == 0 {
        return Ok(None);
    }
    let arrays = builders.iter_mut().map(Builder::finish).collect();
    Ok(Some(RecordBatch::try_new(Arc::clone(schema), arrays)?))
}
