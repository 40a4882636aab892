//! Model files with one changed value: each is refused with a reason, or its scores are finite.
//!
//! Every value of every kind of model is changed. Each value of a long array is changed in one way, the ways
//! alternating. With `FLOWML_ALL_MUTATIONS` set, each is changed in all ways.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use serde::Deserialize;
use serde_json::{Value, json};

use super::traffic::SavedLearner;
use crate::features::{Column, FlowColumns, HOST_FEATURES, columns};
use crate::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
use crate::learning::classify::ClassifierKind;
use crate::learning::detect::DetectorKind;
use crate::learning::preprocess::{Frame, FrameColumn, Values};
use crate::learning::select::Selection;
use crate::learning::{FeedbackClass, FeedbackLabel, Learner};

/// All values of an array with more elements than this are treated in the same way.
const ALIKE: usize = 24;

/// For one of this many changed values of long arrays, the model is also trained and not only used for scores.
const LEARNS: usize = 32;

/// A change at one place in a file.
#[derive(Clone, Debug)]
enum Change {
    /// Replaces the value.
    Set(Value),
    /// Removes the key or the element.
    Remove,
    /// Removes the last element of an array.
    Shorter,
    /// Repeats the last element of an array.
    Longer,
}

/// All changes that are tried on a value.
fn changes(value: &Value) -> Vec<Change> {
    let mut changes = vec![Change::Remove];
    let numbers = [0.0, -0.5, 0.5, 2.5, -10.0, 1e5, 1e59, 1e153, -1e153, 1e308, -1e308, f64::MAX, 1e-61, 5e-324];
    let others = [json!(null), json!("x"), json!(true), json!([]), json!({}), json!([0.5])];
    let whole = [json!(0), json!(-1), json!(1), json!(4096), json!(u32::MAX), json!(i64::MIN), json!(u64::MAX)];
    match value {
        Value::Number(_) => changes.extend(numbers.map(|n| Change::Set(json!(n)))),
        Value::Array(own) if !own.is_empty() => changes.extend([Change::Shorter, Change::Longer]),
        Value::Bool(own) => changes.push(Change::Set(json!(!own))),
        Value::String(_) => changes.extend([json!(""), json!("kmeans"), json!("never")].map(Change::Set)),
        _ => {}
    }
    changes.extend(whole.into_iter().chain(others).filter(|other| other != value).map(Change::Set));
    changes
}

/// A place in a file as a JSON pointer, and whether it is in a long array.
struct Place {
    pointer: String,
    is_one_of_many: bool,
}

/// Finds all places below the root, including arrays and objects.
fn places(value: &Value, pointer: &str, is_one_of_many: bool, found: &mut Vec<Place>) {
    if !pointer.is_empty() {
        found.push(Place { pointer: pointer.to_owned(), is_one_of_many });
    }
    match value {
        Value::Array(own) => {
            let many = is_one_of_many || own.len() > ALIKE;
            own.iter().enumerate().for_each(|(at, own)| places(own, &format!("{pointer}/{at}"), many, found));
        }
        Value::Object(own) => own.iter().for_each(|(key, own)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(own, &format!("{pointer}/{key}"), is_one_of_many, found);
        }),
        _ => {}
    }
}

/// Runs `what` on the changed file, then undoes the change.
fn while_changed(file: &mut Value, pointer: &str, change: &Change, what: impl FnOnce(&Value)) {
    fn place<'a>(file: &'a mut Value, pointer: &str) -> &'a mut Value {
        file.pointer_mut(pointer).expect("the place was found in this file")
    }
    match change {
        Change::Set(value) => {
            let own = std::mem::replace(place(file, pointer), value.clone());
            what(file);
            *place(file, pointer) = own;
        }
        Change::Remove => {
            let (parent, key) = pointer.rsplit_once('/').expect("it is below the root");
            match place(file, parent) {
                Value::Array(parent_values) => {
                    let at = key.parse().expect("an array has numbers");
                    let own = parent_values.remove(at);
                    what(file);
                    place(file, parent).as_array_mut().expect("as before").insert(at, own);
                }
                Value::Object(members) => {
                    let key = key.replace("~1", "/").replace("~0", "~");
                    let own = members.remove(&key).expect("the key was found");
                    what(file);
                    place(file, parent).as_object_mut().expect("as before").insert(key, own);
                }
                other => panic!("{other} has no members"),
            }
        }
        Change::Shorter => {
            let own = place(file, pointer).as_array_mut().and_then(Vec::pop).expect("it is not empty");
            what(file);
            place(file, pointer).as_array_mut().expect("as before").push(own);
        }
        Change::Longer => {
            let values = place(file, pointer).as_array_mut().expect("only arrays become longer");
            values.push(values.last().cloned().expect("it is not empty"));
            what(file);
            place(file, pointer).as_array_mut().expect("as before").pop();
        }
    }
}

/// The test of a model that was not refused.
#[derive(Clone, Copy, PartialEq)]
enum Trial {
    Judges,
    Learns,
}

/// Changes every value and calls `read` with the result. `read` returns the reason why a file is refused.
fn change_all(name: &str, mut file: Value, read: impl Fn(&Value, Trial) -> Result<(), String>) {
    read(&file, Trial::Learns).unwrap_or_else(|reason| panic!("{name} as it is: {reason}"));
    let all = std::env::var_os("FLOWML_ALL_MUTATIONS").is_some();
    let mut found = Vec::new();
    places(&file, "", false, &mut found);
    let (mut tried, mut refused) = (0, 0);
    for (number, Place { pointer, is_one_of_many }) in found.iter().enumerate() {
        let changes = changes(file.pointer(pointer).expect("it was found"));
        let chosen = match *is_one_of_many && !all {
            // Adjacent values are changed in different ways.
            true => &changes[(number.wrapping_mul(2_654_435_761) >> 8) % changes.len()..][..1],
            false => &changes[..],
        };
        let trial = if *is_one_of_many && number % LEARNS != 0 { Trial::Judges } else { Trial::Learns };
        for change in chosen {
            while_changed(&mut file, pointer, change, |file| {
                let outcome = catch_unwind(AssertUnwindSafe(|| read(file, trial)));
                let outcome = outcome.unwrap_or_else(|_| panic!("{name}: {pointer}: {change:?}"));
                if let Err(reason) = outcome {
                    assert!(reason.len() > 10, "{name}: {pointer}: {change:?}: {reason}");
                    refused += 1;
                }
                tried += 1;
            });
        }
    }
    eprintln!(
        "{name}: {} values of the file were changed in {tried} ways; {refused} changed files were refused",
        found.len()
    );
    // Most changes of a calibration's many scores give valid scores.
    let least = if all { tried / 3 } else { tried / 2 };
    assert!(refused > least, "{name}: {refused} of {tried} changes were refused");
}

/// Rows of which some have values that no measurement has.
fn implausible_rows(width: usize) -> Array2<f64> {
    let values = [0.0, 1.0, 1500.0, 6.0, -1.0, f64::NAN, f64::INFINITY, 1e308, -1e308, 1e153, 3e38, 0.25];
    Array2::from_shape_fn((values.len(), width), |(row, column)| match row {
        0..3 => values[(row * 5 + column) % values.len()],
        _ => values[row],
    })
}

fn try_learner(mut learner: Learner, rows: &Array2<f64>, trial: Trial) {
    let rounds = if trial == Trial::Learns { 3 } else { 0 };
    let verdicts = learner.judge(rows.view()).into_iter();
    let verdicts: Vec<_> = verdicts.chain((0..rounds).flat_map(|_| learner.observe(rows.view()))).flatten().collect();
    for verdict in verdicts {
        assert!(verdict.score.is_finite() && (0.0..=1.0).contains(&verdict.probability), "{verdict:?}");
        let shares = verdict.reasons.iter().map(|reason| reason.share);
        assert!(shares.into_iter().all(|share| (0.0..=1.0).contains(&share)), "{:?}", verdict.reasons);
    }
    if trial == Trial::Learns {
        let _ = (learner.explain(rows.row(1)), learner.status());
        assert!(learner.clusters().iter().all(|cluster| cluster.share.is_finite() && cluster.size.is_finite()));
        let mut candidate = learner.candidate(learner.settings().clone());
        candidate.observe(rows.view());
    }
}

/// Changes the values of a learner of a shipped model, after a feedback label was added to it.
fn change_shipped(text: &str, name: &str, columns: &[Column]) {
    let file: Value = serde_json::from_str(text).expect("it ships with flowml");
    let mut value = file["learners"][name].clone();
    let label = FeedbackLabel::new("incident 1".to_owned(), FeedbackClass::Attack, &[vec![1.0; columns.len()]]);
    value["feedback_labels"] = json!([label]);
    let rows = implausible_rows(columns.len());
    change_all(name, value, |value, trial| {
        let learner = SavedLearner::parse(Path::new("m"), name, value, columns);
        try_learner(learner.map_err(|error| error.to_string())?.into_learner(columns.to_vec()), &rows, trial);
        Ok(())
    });
}

const BOTH: &str = include_str!("../../../models/both.json");
const INGRESS: &str = include_str!("../../../models/ingress.json");

fn flow_columns() -> Vec<Column> {
    columns(&FlowColumns::Headers.features().collect::<Vec<_>>())
}

#[test]
fn any_change_of_the_flows_of_the_shipped_model_of_both_directions_is_refused_or_harmless() {
    change_shipped(BOTH, "flows", &flow_columns());
}

#[test]
fn any_change_of_the_hosts_of_the_shipped_model_of_both_directions_is_refused_or_harmless() {
    change_shipped(BOTH, "hosts", &columns(HOST_FEATURES));
}

#[test]
fn any_change_of_the_flows_of_the_shipped_model_of_ingress_is_refused_or_harmless() {
    change_shipped(INGRESS, "flows", &flow_columns());
}

#[test]
fn any_change_of_the_hosts_of_the_shipped_model_of_ingress_is_refused_or_harmless() {
    change_shipped(INGRESS, "hosts", &columns(HOST_FEATURES));
}

/// A small table with a log-scaled column, a ratio and a category. Every third row is an attack.
fn table(rows: usize) -> Labelled {
    let numbers = |name: &str, of: &dyn Fn(usize) -> f64| FrameColumn {
        name: name.to_owned(),
        learn: None,
        values: Values::Numbers((0..rows).map(of).collect()),
    };
    let protocols = (0..rows).map(|row| Some(Arc::from(["tcp", "udp"][row / 2 % 2]))).collect();
    let columns = vec![
        numbers("bytes", &|row| (row * row % 17) as f64 * if row % 3 == 0 { 90.0 } else { 10.0 }),
        numbers("share", &|row| (row % 5) as f64 / 5.0 - 0.1),
        FrameColumn { name: "protocol".to_owned(), learn: None, values: Values::Texts(protocols) },
        numbers("same", &|_| 7.0),
    ];
    let label = |row: usize| ["attack", "scan", "normal", "normal"][row % 4].into();
    let labels = (0..rows).map(label).collect();
    Labelled { frame: Frame::new(rows, columns), labels: Some(labels), inputs: vec![0; rows] }
}

/// Rows of that table with values that no measurement has.
fn implausible_table() -> Frame {
    let values = implausible_rows(1).into_raw_vec_and_offset().0;
    let protocols = values.iter().enumerate().map(|(row, _)| (row % 2 == 0).then(|| Arc::from("tcp"))).collect();
    let column =
        |name: &str| FrameColumn { name: name.to_owned(), learn: None, values: Values::Numbers(values.clone()) };
    let protocol = FrameColumn { name: "protocol".to_owned(), learn: None, values: Values::Texts(protocols) };
    Frame::new(values.len(), vec![column("bytes"), column("share"), protocol, column("same")])
}

fn try_table_model(value: &Value, rows: &Frame) -> Result<(), String> {
    let model = TableModel::deserialize(value).map_err(|error| error.to_string())?;
    let _ = (model.describe(), model.encoded_names(), model.summary());
    let (preprocessed, _) = model.preprocess(rows).map_err(|error| error.to_string())?;
    match model.judge(preprocessed.view()) {
        Judgement::Scores { scores, probabilities, .. } => {
            assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
            assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{probabilities:?}");
        }
        Judgement::Classes(classes) => assert!(classes.iter().all(|class| *class < model.classes().len())),
    }
    Ok(())
}

fn change_table_model(task: Task) {
    let is_tree = matches!(task, Task::Classify(ClassifierKind::DecisionTree));
    let plan = Plan {
        task,
        scaling: None,
        selection: is_tree.then_some(Selection::Tree(3)),
        k: Some(2),
        seed: 1,
        alpha: 0.01,
        benign: None,
        all_rows: false,
    };
    let (model, _) = TableModel::train(&table(20), plan).expect("there is enough to learn from");
    let path = std::env::temp_dir().join(format!("flowml-mutations-{}-{}.json", task.name(), std::process::id()));
    model.save(&path).expect("there is room");
    let text = std::fs::read(&path).expect("it was just saved");
    std::fs::remove_file(&path).expect("the file is ours");
    let (file, rows) = (serde_json::from_slice(&text).expect("a model is JSON"), implausible_table());
    change_all(task.name(), file, |value, _| try_table_model(value, &rows));
}

#[test]
fn any_change_of_a_detector_of_tables_is_refused_or_harmless() {
    let single = DetectorKind::ALL.iter().filter(|kind| **kind != DetectorKind::Ensemble);
    single.for_each(|kind| change_table_model(Task::Detect(*kind)));
}

#[test]
fn any_change_of_an_ensemble_of_detectors_is_refused_or_harmless() {
    change_table_model(Task::Detect(DetectorKind::Ensemble));
}

#[test]
fn any_change_of_a_classifier_of_tables_is_refused_or_harmless() {
    ClassifierKind::ALL.iter().for_each(|kind| change_table_model(Task::Classify(*kind)));
}

#[test]
fn every_algorithm_learns_from_and_scores_huge_numbers() {
    let mut train = table(60);
    let huge = [1e308, -1e308, 1e153, -1e153, 3e38, -3e38, f64::MAX, f64::INFINITY];
    let columns = train.frame.columns().iter().cloned().map(|mut column| {
        if let Values::Numbers(numbers) = &mut column.values {
            numbers.iter_mut().step_by(7).zip(huge.iter().cycle()).for_each(|(number, huge)| *number = *huge);
        }
        column
    });
    train.frame = Frame::new(60, columns.collect());
    let tasks = DetectorKind::ALL.iter().map(|kind| Task::Detect(*kind));
    let path = std::env::temp_dir().join(format!("flowml-huge-{}.json", std::process::id()));
    for task in tasks.chain(ClassifierKind::ALL.iter().map(|kind| Task::Classify(*kind))) {
        let plan =
            Plan { task, scaling: None, selection: None, k: None, seed: 1, alpha: 0.01, benign: None, all_rows: false };
        let (model, cleaning) = TableModel::train(&train, plan).expect("there is enough to learn from");
        assert!(cleaning.undefined.contains_key("bytes"), "{}: {cleaning:?}", task.name());
        model.save(&path).expect("there is room");
        let text = std::fs::read(&path).expect("it was just saved");
        let file = serde_json::from_slice(&text).expect("a model is JSON");
        try_table_model(&file, &implausible_table()).unwrap_or_else(|reason| panic!("{}: {reason}", task.name()));
    }
    std::fs::remove_file(path).expect("the file is ours");
}
