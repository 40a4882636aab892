//! What a table may be at most, so that the memory that its reading takes has a bound, whatever the file says.

use std::path::Path;

use super::DatasetError;

/// The most columns: those of a sheet of Excel.
pub(super) const MOST_COLUMNS: usize = 16_384;

/// The longest row of a text file, bytes. A row of ours has a few thousand.
pub(super) const LONGEST_ROW: u64 = 1 << 20;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Values of a batch: what has many columns has fewer rows.
const BATCH_VALUES: usize = 1 << 22;

/// Text of a batch, bytes: what has long rows has fewer.
pub(super) const BATCH_BYTES: usize = 64 << 20;

/// How many rows a batch of so many columns has at most.
pub(super) fn batch_rows(columns: usize) -> usize {
    (BATCH_VALUES / columns.max(1)).clamp(1, BATCH_ROWS)
}

/// Whether a file may have so many columns.
pub(super) fn check_columns(path: &Path, columns: usize) -> Result<(), DatasetError> {
    if columns <= MOST_COLUMNS {
        return Ok(());
    }
    let message = format!("{columns} columns: expected at most {MOST_COLUMNS}");
    Err(DatasetError::Malformed { path: path.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_as_many_rows_as_there_is_room_for() {
        assert_eq!([0, 1, 150, 512, 513].map(batch_rows), [8192, 8192, 8192, 8192, 8176]);
        assert_eq!((batch_rows(MOST_COLUMNS), batch_rows(usize::MAX)), (256, 1));
        assert!(check_columns(Path::new("a"), MOST_COLUMNS).is_ok());
        let error = check_columns(Path::new("a"), 100_000).expect_err("they are too many").to_string();
        assert_eq!(error, "a: 100000 columns: expected at most 16384");
    }
}
