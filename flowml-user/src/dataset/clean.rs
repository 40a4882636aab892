//! Cleaning: finds rows that are not suitable for training, and counts them.

use std::collections::{BTreeMap, HashSet};

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use serde::Serialize;
use sha1::{Digest, Sha1};

use super::DatasetError;
use super::columns::{numbers, texts};
use super::keys::Key;

/// The reason why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// A repetition of the table's header.
    RepeatedHeader,
    /// The addresses, ports or times that identify the row are missing.
    Incomplete,
    /// A column is infinite or NaN.
    NonFinite,
    /// All columns are equal to those of an earlier row.
    Duplicate,
}

/// Counts of the rows.
#[derive(Debug, Default, Serialize)]
pub struct Account {
    /// Rows read.
    pub rows: u64,
    /// Rows written.
    pub written: u64,
    /// Rows written, by label.
    pub labels: BTreeMap<String, u64>,
    /// Rows left out, by the first reason of [`Dropped`] that applies.
    pub dropped: BTreeMap<Dropped, u64>,
    /// Columns with infinite or NaN values, and the number of such rows.
    pub non_finite_columns: BTreeMap<String, u64>,
}

/// Finds the rows to leave out. It keeps 16 bytes per row.
#[derive(Default)]
pub struct Cleaner {
    seen: HashSet<[u8; 16]>,
}

impl Cleaner {
    /// For each row of the batch the reason why it is left out; `None` for rows that are kept.
    ///
    /// # Errors
    /// If a column has a type that cannot be compared.
    pub fn look_at(
        &mut self,
        batch: &RecordBatch,
        keys: &[Option<Key>],
        account: &mut Account,
    ) -> Result<Vec<Option<Dropped>>, DatasetError> {
        let mut reasons: Vec<Option<Dropped>> =
            keys.iter().map(|key| key.is_none().then_some(Dropped::Incomplete)).collect();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if !matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
                continue;
            }
            let numbers = numbers(array.as_ref()).unwrap_or_default();
            for (row, number) in numbers.into_iter().enumerate() {
                if array.is_valid(row) && !number.is_finite() {
                    *account.non_finite_columns.entry(field.name().clone()).or_default() += 1;
                    reasons[row].get_or_insert(Dropped::NonFinite);
                }
            }
        }
        for (reason, digest) in reasons.iter_mut().zip(digests(batch)?) {
            if reason.is_none() && !self.seen.insert(digest) {
                *reason = Some(Dropped::Duplicate);
            }
        }
        Ok(reasons)
    }
}

/// A SHA-1 digest of each row, cut to 16 bytes.
fn digests(batch: &RecordBatch) -> Result<Vec<[u8; 16]>, DatasetError> {
    let mut rows = vec![Sha1::new(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        digest_column(&mut rows, field.name(), array.as_ref())?;
    }
    let first = |digest: Sha1| {
        let whole = digest.finalize();
        std::array::from_fn(|at| whole[at])
    };
    Ok(rows.into_iter().map(first).collect())
}

fn digest_column(rows: &mut [Sha1], name: &str, array: &dyn Array) -> Result<(), DatasetError> {
    if let Some(texts) = texts(array) {
        for (row, text) in rows.iter_mut().zip(texts) {
            let text = text.unwrap_or_default();
            row.update((text.len() as u64).to_le_bytes());
            row.update(text);
        }
    } else if let Some(numbers) = numbers(array) {
        rows.iter_mut().zip(numbers).for_each(|(row, number)| row.update(number.to_bits().to_le_bytes()));
    } else if let DataType::List(_) = array.data_type() {
        let lists = arrow_array::cast::AsArray::as_list::<i32>(array);
        for (at, row) in rows.iter_mut().enumerate() {
            let list = if lists.is_valid(at) { numbers(lists.value(at).as_ref()) } else { None };
            row.update((list.as_ref().map_or(0, Vec::len) as u64).to_le_bytes());
            list.into_iter().flatten().for_each(|number| row.update(number.to_bits().to_le_bytes()));
        }
    } else {
        return Err(DatasetError::Type {
            column: name.to_owned(),
            found: array.data_type().to_string(),
            expected: "text, numbers, flags or lists of numbers, to find duplicates",
        });
    }
    Ok(())
}
