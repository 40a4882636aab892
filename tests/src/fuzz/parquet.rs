//! Reads any bytes as a Parquet table: rows or an error.
//!
//! flowml checks the pages before the arrow project's reader gets them.

use flowml_user::dataset::columns::{numbers, texts};
use flowml_user::dataset::keys::keys;
use flowml_user::dataset::{Shape, TableReader};

use super::memory_file::MemoryFile;

/// The first bytes of a Parquet file.
pub(super) const MARK: &[u8] = b"PAR1";

/// Largest number of batches of one input. A small file can contain many rows that take no room in it.
const MOST: usize = 16;

pub(super) fn run(bytes: &[u8]) {
    if !bytes.starts_with(MARK) {
        return;
    }
    let file = MemoryFile::new(bytes);
    let table = match TableReader::open(&file.path()) {
        Ok(table) => table,
        Err(error) => return assert!(error.to_string().len() > 5),
    };
    let shape = Shape::of(std::slice::from_ref(&table)).expect("a table fits itself");
    for batch in table.take(MOST) {
        let Ok(batch) = batch else { return };
        assert_eq!(shape.take(&batch).expect("its own shape"), batch);
        for column in batch.columns() {
            let lengths =
                [texts(column.as_ref()).map(|texts| texts.len()), numbers(column.as_ref()).map(|all| all.len())];
            assert!(lengths.into_iter().flatten().all(|length| length == batch.num_rows()));
        }
        assert!(keys(&batch).is_ok_and(|keys| keys.len() == batch.num_rows()) || keys(&batch).is_err());
    }
}
