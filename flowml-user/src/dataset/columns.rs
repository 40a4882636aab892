//! Converts the columns of a batch to numbers or text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use super::DatasetError;

/// The numbers of a column; missing values are NaN, flags are 0 and 1. None if the column's type is not numeric.
#[must_use]
pub fn numbers(array: &dyn Array) -> Option<Vec<f64>> {
    Some(match array.data_type() {
        DataType::Float64 => primitive::<Float64Type>(array, |value| value),
        DataType::Float32 => primitive::<Float32Type>(array, f64::from),
        DataType::Int8 => primitive::<Int8Type>(array, f64::from),
        DataType::Int16 => primitive::<Int16Type>(array, f64::from),
        DataType::Int32 => primitive::<Int32Type>(array, f64::from),
        DataType::Int64 => primitive::<Int64Type>(array, |value| value as f64),
        DataType::UInt8 => primitive::<UInt8Type>(array, f64::from),
        DataType::UInt16 => primitive::<UInt16Type>(array, f64::from),
        DataType::UInt32 => primitive::<UInt32Type>(array, f64::from),
        DataType::UInt64 => primitive::<UInt64Type>(array, |value| value as f64),
        DataType::Boolean => {
            array.as_boolean().iter().map(|value| value.map_or(f64::NAN, |flag| f64::from(u8::from(flag)))).collect()
        }
        _ => return None,
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, number: fn(T::Native) -> f64) -> Vec<f64> {
    array.as_primitive::<T>().iter().map(|value| value.map_or(f64::NAN, number)).collect()
}

/// The texts of a column. None if the column's type is not text.
#[must_use]
pub fn texts(array: &dyn Array) -> Option<Vec<Option<&str>>> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        // The type of a column without any value.
        DataType::Null => vec![None; array.len()],
        _ => return None,
    })
}

/// The numbers of the column `name`.
///
/// # Errors
/// If there is no such column, or it is not numeric.
pub fn numbers_of(batch: &RecordBatch, name: &str) -> Result<Vec<f64>, DatasetError> {
    of(batch, name, "numbers", numbers)
}

/// The texts of the column `name`.
///
/// # Errors
/// If there is no such column, or it is not text.
pub fn texts_of<'a>(batch: &'a RecordBatch, name: &str) -> Result<Vec<Option<&'a str>>, DatasetError> {
    of(batch, name, "text", texts)
}

fn of<'a, T>(
    batch: &'a RecordBatch,
    name: &str,
    expected: &'static str,
    read: impl Fn(&'a dyn Array) -> Option<T>,
) -> Result<T, DatasetError> {
    let none = |found: &str| DatasetError::Type { column: name.to_owned(), found: found.to_owned(), expected };
    let array = batch.column_by_name(name).ok_or_else(|| none("no such column"))?;
    read(array.as_ref()).ok_or_else(|| none(&array.data_type().to_string()))
}
