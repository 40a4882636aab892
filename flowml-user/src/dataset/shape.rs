//! The common shape of several tables: the same columns, with types that fit all of them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::columns::numbers;
use super::{DatasetError, TableReader};

/// The columns of all tables.
pub struct Shape {
    schema: SchemaRef,
}

impl Shape {
    /// The common shape of one or more tables. Their columns must have the same names in the same order. Numbers of
    /// different types become reals, as a column with integers in one CSV file may have reals in another.
    ///
    /// # Errors
    /// If their columns differ otherwise.
    pub fn of(tables: &[TableReader]) -> Result<Self, DatasetError> {
        let mut fields: Vec<Arc<Field>> =
            tables.first().map(|table| table.schema().fields().to_vec()).unwrap_or_default();
        for table in tables {
            let differs = |difference: String| DatasetError::Columns { path: table.path().to_owned(), difference };
            let theirs = table.schema().fields();
            if theirs.len() != fields.len() {
                return Err(differs(format!("{} columns, not {}", theirs.len(), fields.len())));
            }
            for (mine, theirs) in fields.iter_mut().zip(theirs) {
                if mine.name() != theirs.name() {
                    return Err(differs(format!("'{}' instead of '{}'", theirs.name(), mine.name())));
                }
                if mine.data_type() == theirs.data_type() {
                    continue;
                }
                if !is_number(mine.data_type()) || !is_number(theirs.data_type()) {
                    let (one, other) = (mine.data_type(), theirs.data_type());
                    return Err(differs(format!("'{}' is {other}, not {one}", mine.name())));
                }
                *mine = Arc::new(mine.as_ref().clone().with_data_type(DataType::Float64));
            }
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)) })
    }

    /// The columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Converts a batch of one of the tables to this shape.
    ///
    /// # Errors
    /// If the batch does not fit the shape.
    pub fn take(&self, batch: &RecordBatch) -> Result<RecordBatch, DatasetError> {
        let fit = |(field, array): (&Arc<Field>, &ArrayRef)| -> ArrayRef {
            if field.data_type() == array.data_type() {
                return Arc::clone(array);
            }
            let numbers = numbers(array.as_ref()).unwrap_or_default();
            let valid = |(row, number)| array.is_valid(row).then_some(number);
            Arc::new(numbers.into_iter().enumerate().map(valid).collect::<Float64Array>())
        };
        let arrays = self.schema.fields().iter().zip(batch.columns()).map(fit).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

fn is_number(of: &DataType) -> bool {
    of.is_integer() || matches!(of, DataType::Float32 | DataType::Float64)
}
