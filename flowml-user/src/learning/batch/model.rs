//! A model of a table: preprocessing, feature selection, and a detector or classifier, in one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::learning::calibration::held_out::{CalibrationSet, Rounds, Split};
use crate::learning::checked::{Checked, Outcome, SHARES, checked, holds, within};
use crate::learning::classify::{ClassifierKind, FittedClassifier, TrainingSet};
use crate::learning::detect::{DetectorKind, FittedDetector, LearnError, MOST_CLASSES, MOST_SLOTS, Training, sound};
use crate::learning::model_file::file;
use crate::learning::preprocess::Frame;
use crate::learning::preprocess::{Cleaning, Parameters, Preprocessing, Scaling, Unfit};
use crate::learning::select::Selection;

/// The format's name in the file.
const FORMAT: &str = "flowml-table-model";

/// The version of the file's layout. Other versions are not read.
const VERSION: u32 = 4;

/// The class of all labels except the benign one, if there are two classes.
pub const ATTACK: &str = "attack";

/// A table with the label of each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// The columns.
    pub frame: Frame,
    /// The labels, if there are any.
    pub labels: Option<Vec<Arc<str>>>,
    /// For each row the number of its input.
    pub inputs: Vec<u32>,
}

impl Labelled {
    /// The table of these rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let labels = self.labels.as_ref().map(|labels| rows.iter().map(|&row| Arc::clone(&labels[row])).collect());
        Self { frame: self.frame.select(rows), labels, inputs: rows.iter().map(|&row| self.inputs[row]).collect() }
    }

    /// The rows with this label.
    fn rows_labelled(&self, label: &str) -> Option<Vec<usize>> {
        let labels = self.labels.as_ref()?;
        Some((0..labels.len()).filter(|&row| &*labels[row] == label).collect())
    }
}

/// The task of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Learn what normal rows look like.
    Detect(DetectorKind),
    /// Predict the class of a row.
    Classify(ClassifierKind),
}

impl Task {
    /// The name of the algorithm.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect(kind) => kind.name(),
            Self::Classify(kind) => kind.name(),
        }
    }
}

/// The parameters of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Plan {
    /// The task.
    pub task: Task,
    /// How numbers are scaled; by default robust for detectors and standard for classifiers.
    pub scaling: Option<Scaling>,
    /// How encoded features are selected; by default all are used.
    pub selection: Option<Selection>,
    /// The number of clusters, if it is given.
    pub k: Option<usize>,
    /// Seed of random choices. The same rows and seed give the same model.
    pub seed: u64,
    /// A row whose probability is below this is an anomaly.
    pub alpha: f64,
    /// The label of normal rows. With it, classifiers have two classes; without it, one for each label.
    pub benign: Option<String>,
    /// Whether detectors are trained on all rows instead of the benign ones only.
    pub all_rows: bool,
}

checked!(Plan);

impl Checked for Plan {
    const NAME: &str = "plan";

    fn check(&self) -> Outcome {
        holds(self.k != Some(0), "expected 'k' of at least 1")?;
        within("alpha", self.alpha, SHARES)
    }
}

impl Plan {
    fn parameters(&self, frame: &Frame) -> Parameters {
        match self.task {
            Task::Detect(_) => {
                let of = if frame.is_of_features() {
                    Parameters::for_detectors_of_features
                } else {
                    Parameters::for_detectors
                };
                of(self.scaling.unwrap_or(Scaling::Robust))
            }
            Task::Classify(_) => Parameters::for_classifiers(self.scaling.unwrap_or(Scaling::Standard)),
        }
    }

    /// The class of a label.
    #[must_use]
    pub fn class<'a>(&self, label: &'a str) -> &'a str {
        if self.benign.as_deref().is_none_or(|benign| benign == label) { label } else { ATTACK }
    }
}

/// The training set of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Summary {
    /// Rows of the table.
    pub rows: usize,
    /// Number of rows that the model was trained on.
    pub learnt_rows: usize,
    /// Number of rows in the calibration set. A detector is not calibrated on rows that it was trained on. With five
    /// inputs or more, the rows of an input are scored by a model of the other inputs.
    pub held_out_rows: usize,
    /// Number of rows with each label.
    pub labels: BTreeMap<String, usize>,
}

checked!(Summary);

impl Checked for Summary {
    const NAME: &str = "summary";

    fn check(&self) -> Outcome {
        let most = self.learnt_rows.max(self.held_out_rows);
        holds(most <= self.rows, "the training and calibration sets have more rows than the table")
    }
}

/// The results of a model for rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Results of a detector: a score, larger for more anomalous rows, and the probability that a normal row has a
    /// score at least as high.
    Scores {
        /// The scores.
        scores: Vec<f64>,
        /// The probabilities.
        probabilities: Vec<f64>,
        /// The clusters, for a detector with clusters.
        clusters: Option<Vec<usize>>,
    },
    /// Results of a classifier: the indices of the classes.
    Classes(Vec<usize>),
}

/// A trained detector or classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Learnt {
    Detector { fitted: FittedDetector, calibration_set: Box<CalibrationSet> },
    Classifier { classes: Vec<String>, fitted: FittedClassifier },
}

impl Learnt {
    /// The task for which it was trained.
    fn task(&self) -> Task {
        match self {
            Self::Detector { fitted, .. } => Task::Detect(fitted.kind()),
            Self::Classifier { fitted, .. } => Task::Classify(fitted.kind()),
        }
    }
}

/// A model of a table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "TableModelFile")]
pub struct TableModel {
    header: Header,
    learnt: Learnt,
}

/// The part of the file that is readable for people: everything except the trained detector or classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    /// A hash of the columns and how they are encoded.
    columns_hash: String,
    plan: Plan,
    summary: Summary,
    preprocessing: Preprocessing,
    /// The encoded features that are used; `None` for all.
    slots: Option<Vec<usize>>,
}

/// The start of the file in every version.
#[derive(Deserialize)]
struct Signature {
    format: String,
    version: u32,
}

/// The file.
#[derive(Deserialize)]
struct TableModelFile {
    #[serde(flatten)]
    header: Header,
    model: Learnt,
}

/// Why a model was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum TableModelError {
    /// The file could not be read or written.
    #[error("cannot read or write the model file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not JSON of a model.
    #[error("model file {} is not a flowml table model of version {VERSION}: {reason}", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl TryFrom<TableModelFile> for TableModel {
    type Error = String;

    /// The model, if its parts are consistent.
    fn try_from(file: TableModelFile) -> Result<Self, String> {
        let model = Self { header: file.header, learnt: file.model };
        match model.inconsistency() {
            Some(reason) => Err(reason),
            None => Ok(model),
        }
    }
}

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

    /// The parameters of training.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.header.plan
    }

    /// The training set.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.header.summary
    }

    /// The preprocessing of columns.
    #[must_use]
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.header.preprocessing
    }

    /// The names of the encoded features that are used.
    #[must_use]
    pub fn slot_names(&self) -> Vec<String> {
        let all = self.header.preprocessing.slot_names();
        match &self.header.slots {
            Some(slots) => slots.iter().map(|&slot| all[slot].clone()).collect(),
            None => all,
        }
    }

    /// The classes of a classifier; empty for a detector.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.learnt {
            Learnt::Detector { .. } => &[],
            Learnt::Classifier { classes, .. } => classes,
        }
    }

    /// A description for users.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.learnt {
            Learnt::Detector { fitted, calibration_set } => {
                format!("{}; calibrated on {} scores", fitted.as_detector().describe(), calibration_set.len())
            }
            Learnt::Classifier { fitted, .. } => fitted.as_classifier().describe(),
        }
    }

    /// The encoded features of a table that the model uses, and the problems of the values.
    ///
    /// # Errors
    /// If the table lacks a column that was learnt.
    pub fn preprocess(&self, frame: &Frame) -> Result<(Array2<f64>, Cleaning), Unfit> {
        let (rows, cleaning) = self.header.preprocessing.apply(frame)?;
        Ok((take(rows, self.header.slots.as_deref()), cleaning))
    }

    /// Scores or classifies encoded rows.
    #[must_use]
    pub fn judge(&self, rows: ArrayView2<'_, f64>) -> Judgement {
        match &self.learnt {
            Learnt::Detector { fitted, calibration_set } => {
                let scores = fitted.as_detector().score(rows);
                let probabilities = scores.iter().map(|score| calibration_set.probability(*score)).collect();
                Judgement::Scores { scores, probabilities, clusters: fitted.as_detector().clusters(rows) }
            }
            Learnt::Classifier { fitted, .. } => Judgement::Classes(fitted.as_classifier().classify(rows)),
        }
    }

    /// Writes the model to a file, the readable part first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TableModelError> {
        let failed = |source| TableModelError::File { path: path.to_owned(), source };
        let text = file::lines_and(&self.header, "model", &self.learnt).map_err(|error| failed(error.into()))?;
        file::check_length(&text).map_err(failed)?;
        file::write_whole(path, &(text + "\n")).map_err(failed)
    }

    /// Reads a model from a file. Nothing in the file is executed, and inconsistent parts are refused.
    ///
    /// # Errors
    /// If the file cannot be read or is no model.
    pub fn load(path: &Path) -> Result<Self, TableModelError> {
        let not_a_model = |reason: String| TableModelError::NotAModel { path: path.to_owned(), reason };
        let json = file::read(path).map_err(|source| TableModelError::File { path: path.to_owned(), source })?;
        let signature: Signature = serde_json::from_slice(&json).map_err(|error| not_a_model(error.to_string()))?;
        if signature.format != FORMAT || signature.version != VERSION {
            return Err(not_a_model(format!("its format is {:?}, version {}", signature.format, signature.version)));
        }
        serde_json::from_slice(&json).map_err(|error| not_a_model(error.to_string()))
    }

    fn inconsistency(&self) -> Option<String> {
        let Header { columns_hash, plan, preprocessing, slots, .. } = &self.header;
        if *columns_hash != hash(preprocessing) {
            return Some("the hash of its columns is wrong".to_owned());
        }
        if self.learnt.task() != plan.task {
            return Some(format!("it is not a {}, as its plan states", plan.task.name()));
        }
        let all = preprocessing.width();
        if let Some(slots) = slots
            && (slots.is_empty() || !slots.is_sorted_by(|a, b| a < b) || slots.iter().any(|slot| *slot >= all))
        {
            return Some(format!("expected different 'slots' in their order, of the {all} of its columns"));
        }
        let width = slots.as_ref().map_or(all, Vec::len);
        match &self.learnt {
            Learnt::Detector { fitted, .. } => fitted.as_detector().inconsistency(width),
            Learnt::Classifier { classes, .. } if classes.len() < 2 || !classes.is_sorted_by(|a, b| a < b) => {
                Some("expected at least two different 'classes' in their order".to_owned())
            }
            Learnt::Classifier { classes, fitted } => fitted.as_classifier().inconsistency(width, classes.len()),
        }
    }
}

fn take(rows: Array2<f64>, slots: Option<&[usize]>) -> Array2<f64> {
    match slots {
        Some(slots) => rows.select(Axis(1), slots),
        None => rows,
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
        format: FORMAT.to_owned(),
        version: VERSION,
        columns_hash: hash(&preprocessing),
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

/// A hash of the columns and how they are encoded.
fn hash(preprocessing: &Preprocessing) -> String {
    file::hash(preprocessing.columns().flat_map(|(name, learnt)| [name, learnt.unwrap_or("nothing")]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::learning::preprocess::{FrameColumn, Values};

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
            assert_eq!(model.slot_names().len(), 2);
            model.save(&path).expect("there is room");
            assert_eq!(TableModel::load(&path).expect("it was just saved"), model, "{}", task.name());
            assert_eq!(judge(&TableModel::load(&path).expect("as before"), &table(60)), judge(&model, &table(60)));
        }
        let text = fs::read_to_string(&path).expect("it was just saved");
        assert!(text.starts_with("{\n  \"format\": \"flowml-table-model\",\n  \"version\": 4,\n"), "{text}");

        let wrong = [
            ("\"version\": 4", "\"version\": 5", "version 5"),
            ("\"bytes\"", "\"octets\"", "hash"),
            ("\"columns_hash\"", "\"columns_cash\"", "columns_hash"),
            ("\"slots\": [\n    ", "\"slots\": [\n    9", "slots"),
        ];
        for (from, to, expected) in wrong {
            assert!(text.contains(from), "{from}");
            fs::write(&path, text.replacen(from, to, 1)).expect("there is room");
            let message = TableModel::load(&path).expect_err(to).to_string();
            assert!(message.contains(expected) && message.contains("is not a flowml table model"), "{message}");
        }
        fs::remove_file(&path).expect("the file is ours");
        assert!(matches!(TableModel::load(&path), Err(TableModelError::File { .. })));
    }
}
