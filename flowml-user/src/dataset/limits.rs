//! Limits on tables, so that reading any file needs bounded memory.

use std::path::Path;

use super::DatasetError;

/// Maximum number of columns: that of an Excel sheet.
pub(super) const MOST_COLUMNS: usize = 16_384;

/// Maximum length of a row of a text file, bytes. A row of flowml has a few thousand.
pub(super) const LONGEST_ROW: u64 = 1 << 20;

/// Maximum number of rows in a batch.
const BATCH_ROWS: usize = 8192;

/// Maximum number of values in a batch. Tables with many columns have smaller batches.
const BATCH_VALUES: usize = 1 << 22;

/// Maximum amount of text in a batch, bytes. Tables with long rows have smaller batches.
pub(super) const BATCH_BYTES: usize = 64 << 20;

/// The maximum number of rows in a batch with this number of columns.
pub(super) fn batch_rows(columns: usize) -> usize {
    (BATCH_VALUES / columns.max(1)).clamp(1, BATCH_ROWS)
}

/// Checks the number of columns of a file.
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
    fn batches_have_as_many_rows_as_the_limits_allow() {
        assert_eq!([0, 1, 150, 512, 513].map(batch_rows), [8192, 8192, 8192, 8192, 8176]);
        assert_eq!((batch_rows(MOST_COLUMNS), batch_rows(usize::MAX)), (256, 1));
        assert!(check_columns(Path::new("a"), MOST_COLUMNS).is_ok());
        let error = check_columns(Path::new("a"), 100_000).expect_err("they are too many").to_string();
        assert_eq!(error, "a: 100000 columns: expected at most 16384");
    }
}
