//! Reads any bytes as a model of a table: it is refused with a reason, or its scores are finite.

use std::path::Path;
use std::sync::Arc;

use flowml_user::learning::TrafficModel;
use flowml_user::learning::batch::TableModel;
use flowml_user::learning::preprocess::{Frame, FrameColumn, Values};

use super::learning;
use super::memory_file::MemoryFile;

/// Input values, some of which no measurement has.
const NUMBERS: [f64; 8] = [0.0, 1.0, -1.0, 1500.0, f64::NAN, f64::INFINITY, 1e308, -1e153];

pub(super) fn run(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    match TableModel::load(&file.path()) {
        Ok(model) => judge(&model),
        Err(error) => assert!(error.to_string().len() > 20, "{error}"),
    }
    if let Ok(file) = TrafficModel::parse(Path::new("input"), bytes) {
        assert!(file.check(&["flows"]).is_err() || file.check(&["hosts"]).is_err(), "it has a learner, or none");
    }
}

fn judge(model: &TableModel) {
    let column = |(name, learnt): (&str, Option<&str>)| {
        let texts = || ["a", "tcp", ""].into_iter().cycle().map(|text| Some(Arc::from(text)));
        let values = match learnt {
            Some("category") => Values::Texts(texts().take(NUMBERS.len()).collect()),
            _ => Values::Numbers(NUMBERS.to_vec()),
        };
        FrameColumn { name: name.to_owned(), learn: None, values }
    };
    let frame = Frame::new(NUMBERS.len(), model.preprocessing().columns().map(column).collect());
    assert!(!model.describe().is_empty());
    let Ok((rows, _)) = model.preprocess(&frame) else { return };
    assert!(rows.iter().all(|value| value.is_finite()), "what is judged is finite");
    learning::check_judgement(&model.judge(rows.view()));
}
