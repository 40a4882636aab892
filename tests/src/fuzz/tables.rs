//! Reads any bytes as a table of flows: rows or an error.
//!
//! A written table is read again without a change, and scores of models that are trained on its rows are finite.
//!
//! Parquet has its own target.

use std::fs;

use arrow_array::RecordBatch;
use flowml_user::dataset::clean::{Account, Cleaner};
use flowml_user::dataset::keys::keys;
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::{DatasetError, Shape, TableFormat, TableReader, TableWriter};
use flowml_user::learning::batch::{Plan, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use serde_json::Value;

use super::learning;
use super::memory_file::MemoryFile;
use super::parquet::MARK as PARQUET;

pub(super) fn run(bytes: &[u8]) {
    if bytes.starts_with(PARQUET) {
        return;
    }
    let Some(batches) = read(bytes) else { return };
    clean(&batches);
    learn(bytes);
    // The second reading of a written table equals the first.
    let Some(second) = write(&batches) else { return };
    let again = read(&second).expect("what was written is a table");
    let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(rows(&again), rows(&batches), "rows that were written and read");
    let Some(third) = write(&again) else { return };
    assert_eq!(read(&third), Some(again), "a table that was written and read twice");
}

/// The batches of the table, or `None` if the bytes are no table.
fn read(bytes: &[u8]) -> Option<Vec<RecordBatch>> {
    let file = MemoryFile::new(bytes);
    let table = value(TableReader::open(&file.path()))?;
    let shape = Shape::of(std::slice::from_ref(&table)).expect("a table fits itself");
    let fields = table.schema().fields().len();
    let batches = value(table.collect::<Result<Vec<_>, _>>())?;
    for batch in &batches {
        assert_eq!((batch.num_columns(), &shape.take(batch).expect("its own shape")), (fields, batch));
    }
    Some(batches)
}

/// The value. The text of an error must not be empty.
fn value<T>(result: Result<T, DatasetError>) -> Option<T> {
    result.inspect_err(|error| assert!(error.to_string().len() > 5)).ok()
}

/// Checks that each row is kept, or left out for one reason.
fn clean(batches: &[RecordBatch]) {
    let (mut cleaner, mut account) = (Cleaner::default(), Account::default());
    for batch in batches {
        let Ok(keys) = keys(batch) else { return };
        assert_eq!(keys.len(), batch.num_rows());
        let reasons = cleaner.look_at(batch, &keys, &mut account).expect("columns of CSV and JSON can be compared");
        assert_eq!(reasons.len(), batch.num_rows());
        assert!(reasons.iter().zip(&keys).all(|(reason, key)| reason.is_some() || key.is_some()));
        let again = cleaner.look_at(batch, &keys, &mut account).expect("as before");
        assert!(again.iter().all(Option::is_some), "a row that came before is a duplicate");
    }
}

/// Trains on the table by an algorithm that the input chooses, and checks that scores are finite.
fn learn(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    let Some(table) = value(TableReader::open(&file.path())) else { return };
    let label = table.schema().fields().last().map(|field| field.name().clone());
    let chosen = bytes.len() % (DetectorKind::ALL.len() + ClassifierKind::ALL.len());
    let (task, label) = match DetectorKind::ALL.get(chosen) {
        Some(kind) => (Task::Detect(*kind), None),
        None => (Task::Classify(ClassifierKind::ALL[chosen - DetectorKind::ALL.len()]), label),
    };
    let roles = Roles { label, ignored: Vec::new() };
    let Some(table) = value(roles.read(vec![table], |_| ())) else { return };
    let plan =
        Plan { task, scaling: None, selection: None, k: None, seed: 0, alpha: 0.01, benign: None, all_rows: false };
    learning::check(&table, plan);
}

/// The table as CSV. `None` if there are no rows, since there are no columns then, or if the column names look like the
/// start of another format.
fn write(batches: &[RecordBatch]) -> Option<Vec<u8>> {
    let file = MemoryFile::new(&[]);
    let schema = batches.first()?.schema();
    let mut writer = TableWriter::open(&file.path(), TableFormat::Csv, &schema).expect("CSV has all that CSV gives");
    batches.iter().for_each(|batch| writer.write(batch).expect("memory takes what is written"));
    writer.finish().expect("memory takes what is written");
    let text = fs::read(file.path()).expect("the file is there");
    Some(text).filter(|text| !text.starts_with(PARQUET) && !is_json(text))
}

/// Whether the header is a row of JSON, as `{}` is.
fn is_json(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| serde_json::from_slice::<Value>(line).is_ok_and(|row| row.is_object()))
}
