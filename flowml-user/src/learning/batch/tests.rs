//! Tests of models of tables: what they are trained on, their classes, and their files.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::learning::classify::ClassifierKind;
use crate::learning::detect::DetectorKind;
use crate::learning::preprocess::{Frame, FrameColumn, Values};
use crate::learning::select::Selection;
use crate::learning::{LearnError, ModelError};

/// Every tenth row is an attack, with many bytes and a protocol of its own.
fn table(rows: usize) -> Labelled {
    let is_attack = |row: &usize| row % 10 == 9;
    let numbers = |name: &str, of: &dyn Fn(usize) -> f64| FrameColumn {
        name: name.to_owned(),
        learn: None,
        values: Values::Numbers((0..rows).map(of).collect()),
    };
    let bytes = |row| if is_attack(&row) { 1e6 + row as f64 } else { 100.0 + (row % 7) as f64 };
    let protocols = (0..rows).map(|row| Some(Arc::from(if is_attack(&row) { "gre" } else { "tcp" }))).collect();
    let columns = vec![
        numbers("bytes", &bytes),
        numbers("share", &|row| (row % 5) as f64 / 5.0 - 0.1),
        FrameColumn { name: "protocol".to_owned(), learn: None, values: Values::Texts(protocols) },
    ];
    let names = ["scan", "flood"];
    let label = |row| if is_attack(&row) { names[row / 10 % 2] } else { "normal" };
    let labels = (0..rows).map(|row| label(row).into()).collect();
    Labelled { frame: Frame::new(rows, columns), labels: Some(labels), inputs: vec![0; rows] }
}

fn plan(task: Task) -> Plan {
    let benign = Some("normal".to_owned());
    Plan { task, scaling: None, selection: None, k: Some(3), seed: 1, alpha: 0.01, benign, all_rows: false }
}

fn train(plan: Plan) -> TableModel {
    TableModel::train(&table(400), plan).expect("there is enough to learn from").0
}

fn judge(model: &TableModel, table: &Labelled) -> Judgement {
    model.judge(model.preprocess(&table.frame).expect("it has the columns").0.view())
}

#[test]
fn detectors_are_trained_on_benign_rows_only_unless_all_rows_are_requested() {
    let detect = plan(Task::Detect(DetectorKind::Kmeans));
    let model = train(detect.clone());
    assert_eq!((model.summary().learnt_rows, model.summary().held_out_rows), (288, 72));
    assert_eq!(model.summary().labels["flood"], 20);
    assert_eq!(train(Plan { all_rows: true, ..detect }).summary().learnt_rows, 320);
    let Judgement::Scores { probabilities, .. } = judge(&model, &table(100)) else { panic!("it is a detector") };
    let attacks = probabilities.iter().enumerate().filter(|(_, p)| **p < 0.01).map(|(row, _)| row);
    assert!(attacks.eq((0..100).filter(|row| row % 10 == 9)), "{probabilities:?}");
}

#[test]
fn with_a_benign_label_there_are_two_classes_and_without_one_all() {
    let classify = plan(Task::Classify(ClassifierKind::DecisionTree));
    assert_eq!(train(classify.clone()).classes(), [ATTACK, "normal"]);
    let all = train(Plan { benign: None, ..classify.clone() });
    assert_eq!(all.classes(), ["flood", "normal", "scan"]);
    let Judgement::Classes(classes) = judge(&all, &table(400)) else { panic!("it is a classifier") };
    let right =
        classes.iter().zip(table(400).labels.expect("it has labels")).filter(|(a, b)| all.classes()[**a] == **b);
    assert_eq!(right.count(), 400);
    let unlabelled = Labelled { labels: None, ..table(50) };
    assert!(matches!(TableModel::train(&unlabelled, classify), Err(LearnError::OneClass(_))));
}

#[test]
fn a_loaded_model_equals_the_saved_one_and_its_head_is_readable() {
    let path = std::env::temp_dir().join(format!("flowml-table-model-{}.json", std::process::id()));
    let tasks = DetectorKind::ALL.iter().map(|kind| Task::Detect(*kind));
    for task in tasks.chain(ClassifierKind::ALL.iter().map(|kind| Task::Classify(*kind))) {
        let selection = Some(Selection::Chi2(2));
        let model = train(Plan { selection, ..plan(task) });
        assert_eq!(model.encoded_names().len(), 2);
        model.save(&path).expect("there is room");
        assert_eq!(TableModel::load(&path).expect("it was just saved"), model, "{}", task.name());
        assert_eq!(judge(&TableModel::load(&path).expect("as before"), &table(60)), judge(&model, &table(60)));
    }
    let text = fs::read_to_string(&path).expect("it was just saved");
    assert!(
        text.starts_with("{\n  \"format\": \"flowml-model\",\n  \"version\": 7,\n  \"kind\": \"table\",\n"),
        "{text}"
    );

    let wrong = [
        ("\"version\": 7", "\"version\": 6", "version 6"),
        ("\"bytes\"", "\"octets\"", "hash"),
        ("\"columns_hash\"", "\"columns_cash\"", "columns_hash"),
        ("\"slots\": [\n    ", "\"slots\": [\n    9", "slots"),
    ];
    for (from, to, expected) in wrong {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("there is room");
        let message = TableModel::load(&path).expect_err(to).to_string();
        assert!(message.contains(expected) && message.contains("is not a flowml model"), "{message}");
    }
    fs::remove_file(&path).expect("the file is ours");
    assert!(matches!(TableModel::load(&path), Err(ModelError::File { .. })));
}
