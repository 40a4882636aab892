//! Trains models of tables: preprocessing, selection, fitting, and calibration on rows that were held out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array2, Axis};

use super::labelled::Labelled;
use super::model::{Header, Learnt, Summary, TableModel, columns_hash, take};
use super::plan::{Plan, Task};
use crate::learning::calibration::held_out::{CalibrationSet, Rounds, Split};
use crate::learning::classify::{ClassifierKind, TrainingSet};
use crate::learning::detect::{DetectorKind, Training};
use crate::learning::error::{LearnError, MOST_CLASSES, MOST_SLOTS, sound};
use crate::learning::preprocess::{Cleaning, Frame, Preprocessing};

impl TableModel {
    /// Trains a model on a table.
    ///
    /// # Errors
    /// If there are not enough rows, columns or classes, or too many, or labels are needed and missing.
    pub fn train(table: &Labelled, plan: Plan) -> Result<(Self, Cleaning), LearnError> {
        match plan.task {
            Task::Detect(kind) => detector(table, plan, kind),
            Task::Classify(kind) => classifier(table, plan, kind),
        }
    }
}

/// The class of each row, and the classes sorted by name.
fn classes_of(labels: &[Arc<str>], plan: &Plan) -> (Vec<usize>, Vec<String>) {
    let mut names: Vec<&str> = labels.iter().map(|label| plan.class(label)).collect();
    names.sort_unstable();
    names.dedup();
    let number = |label: &Arc<str>| names.partition_point(|name| *name < plan.class(label));
    (labels.iter().map(number).collect(), names.into_iter().map(str::to_owned).collect())
}

/// The encoded features chosen by the selection. It uses all rows, or the labelled ones if it needs labels.
fn choose(table: &Labelled, plan: &Plan, rows: &Array2<f64>) -> Result<Option<Vec<usize>>, LearnError> {
    let Some(selection) = plan.selection else { return Ok(None) };
    let (classes, names) = match &table.labels {
        Some(labels) => classes_of(labels, plan),
        None => (vec![0; rows.nrows()], vec![String::new()]),
    };
    if selection.is_supervised() && names.len() < 2 {
        return Err(LearnError::OneClass(names.into_iter().next().unwrap_or_default()));
    }
    let training = TrainingSet { rows: rows.view(), classes: &classes, count: names.len(), seed: plan.seed };
    selection.choose(&training).map(Some)
}

/// The preprocessing of a table, if its rows do not become too long.
fn preprocess(frame: &Frame, plan: &Plan) -> Result<Preprocessing, LearnError> {
    let preprocessing = Preprocessing::fit(frame, plan.parameters(frame));
    let width = preprocessing.width();
    if width > MOST_SLOTS { Err(LearnError::Slots(width)) } else { Ok(preprocessing) }
}

fn apply(preprocessing: &Preprocessing, frame: &Frame) -> (Array2<f64>, Cleaning) {
    preprocessing.apply(frame).expect("the preprocessing was fitted on rows of this table")
}

fn header(
    table: &Labelled,
    plan: Plan,
    preprocessing: Preprocessing,
    slots: Option<Vec<usize>>,
    learnt: [usize; 2],
) -> Header {
    let mut labels = BTreeMap::new();
    table.labels.iter().flatten().for_each(|label| *labels.entry(label.to_string()).or_default() += 1);
    let [learnt_rows, held_out_rows] = learnt;
    Header {
        columns_hash: columns_hash(&preprocessing),
        plan,
        summary: Summary { rows: table.frame.rows(), learnt_rows, held_out_rows, labels },
        preprocessing,
        slots,
    }
}

fn detector(table: &Labelled, plan: Plan, kind: DetectorKind) -> Result<(TableModel, Cleaning), LearnError> {
    let benign = plan.benign.as_deref().filter(|_| !plan.all_rows).and_then(|benign| table.rows_labelled(benign));
    let learnt = benign.unwrap_or_else(|| (0..table.frame.rows()).collect());
    let inputs: Vec<u32> = learnt.iter().map(|&row| table.inputs[row]).collect();
    let rounds = Rounds::of(&inputs, plan.seed);
    // Only the rows that are used are encoded, because a table may be large.
    let seen = rounds.rows();
    let frame = table.frame.select(&seen.iter().map(|&place| learnt[place]).collect::<Vec<_>>());
    let preprocessing = preprocess(&frame, &plan)?;
    let (rows, cleaning) = apply(&preprocessing, &frame);
    let slots = match plan.selection {
        Some(_) => choose(table, &plan, &apply(&preprocessing, &table.frame).0)?,
        None => None,
    };
    let below = preprocessing.below();
    let below = match &slots {
        Some(slots) => slots.iter().map(|&slot| below[slot]).collect(),
        None => below,
    };
    let rows = take(rows, slots.as_deref());
    let rows_of = |places: &[usize]| {
        let rows_of: Vec<usize> = places.iter().map(|place| seen.partition_point(|own| own < place)).collect();
        rows.select(Axis(0), &rows_of)
    };
    let fit = |places: &[usize]| {
        let rows = rows_of(places);
        kind.fit(&Training { rows: rows.view(), below: &below, k: plan.k, seed: plan.seed })
    };
    let fitted = fit(&rounds.fit_on)?;
    let mut scores = Vec::new();
    for Split { fit_on, held_out } in &rounds.calibrate_on {
        let others = (*fit_on != rounds.fit_on).then(|| fit(fit_on)).transpose()?;
        let judge = others.as_ref().unwrap_or(&fitted);
        scores.extend(judge.as_detector().score(rows_of(held_out).view()));
    }
    let held_out_rows = scores.len();
    let calibration_set = Box::new(sound(CalibrationSet::of(scores))?);
    let header = header(table, plan, preprocessing, slots, [rounds.fit_on.len(), held_out_rows]);
    Ok((TableModel { header, learnt: Learnt::Detector { fitted, calibration_set } }, cleaning))
}

fn classifier(table: &Labelled, plan: Plan, kind: ClassifierKind) -> Result<(TableModel, Cleaning), LearnError> {
    let labels = table.labels.as_deref().unwrap_or_default();
    let (classes, names) = classes_of(labels, &plan);
    if names.len() < 2 {
        return Err(LearnError::OneClass(names.into_iter().next().unwrap_or_default()));
    }
    if names.len() > MOST_CLASSES {
        return Err(LearnError::Classes(names.len()));
    }
    let preprocessing = preprocess(&table.frame, &plan)?;
    let (rows, cleaning) = apply(&preprocessing, &table.frame);
    let slots = choose(table, &plan, &rows)?;
    let rows = take(rows, slots.as_deref());
    let training = TrainingSet { rows: rows.view(), classes: &classes, count: names.len(), seed: plan.seed };
    let fitted = kind.fit(&training)?;
    let header = header(table, plan, preprocessing, slots, [rows.nrows(), 0]);
    Ok((TableModel { header, learnt: Learnt::Classifier { classes: names, fitted } }, cleaning))
}
