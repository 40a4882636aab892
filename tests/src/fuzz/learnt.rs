//! Makes seeds with flowml itself: a small model of every kind, and small Parquet tables.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, types::Int64Type,
};
use flowml_user::dataset::{TableFormat, TableWriter};
use flowml_user::learning::batch::{Labelled, Plan, TableModel, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::preprocess::{Frame, FrameColumn, Values};
use flowml_user::learning::select::Selection;

/// Rows of the training set. They are few, so that models are short.
const ROWS: usize = 24;

fn table() -> Labelled {
    let numbers = (0..ROWS).map(|row| (row * row % 17) as f64).collect();
    let texts = (0..ROWS).map(|row| Some(Arc::from(["tcp", "udp"][row % 2]))).collect();
    let column = |name: &str, values| FrameColumn { name: name.to_owned(), learn: None, values };
    let columns = vec![column("bytes", Values::Numbers(numbers)), column("protocol", Values::Texts(texts))];
    let labels = (0..ROWS).map(|row| Arc::from(["benign", "scan"][row / 4 % 2])).collect();
    Labelled { frame: Frame::new(ROWS, columns), labels: Some(labels), inputs: vec![0; ROWS] }
}

/// A model of every kind.
pub(super) fn models() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("model.json");
    let tasks = DetectorKind::ALL.iter().map(|kind| Task::Detect(*kind));
    let tasks = tasks.chain(ClassifierKind::ALL.iter().map(|kind| Task::Classify(*kind)));
    let models = tasks.filter_map(|task| {
        let selection = Some(Selection::Variance(0.0));
        let plan =
            Plan { task, scaling: None, selection, k: Some(2), seed: 0, alpha: 0.01, benign: None, all_rows: true };
        let (model, _) = TableModel::train(&table(), plan).ok()?;
        model.save(&path).expect("there is room");
        Some((task.name().to_owned(), read(&path)))
    });
    models.collect()
}

/// Tables with columns of every type, with one row and with many.
pub(super) fn tables() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("table.parquet");
    let of = |rows: usize| {
        let numbers = 0..rows as i64;
        let lists = numbers.clone().map(|n| (n % 3 > 0).then(|| vec![Some(n); n as usize % 5]));
        let columns: [(&str, ArrayRef); 5] = [
            ("src_ip", Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("10.0.0.{}", n % 9))))),
            ("src_port", Arc::new(Int64Array::from_iter(numbers.clone().map(|n| (n % 4 > 0).then_some(n))))),
            ("bytes", Arc::new(Float64Array::from_iter_values(numbers.clone().map(|n| n as f64 * 0.3)))),
            ("anomaly", Arc::new(BooleanArray::from_iter(numbers.map(|n| Some(n % 5 == 0))))),
            ("splt_ps", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let mut writer = TableWriter::open(&path, TableFormat::Parquet, &batch.schema()).expect("there is room");
        writer.write(&batch).expect("there is room");
        writer.finish().expect("there is room");
        (format!("rows_{rows}"), read(&path))
    };
    [0, 1, 20, 300].map(of).into()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("it was just written")
}
