//! `flowml eval`: measures detectors and classifiers on labelled tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flowml_user::dataset::RowType;
use flowml_user::dataset::columns::numbers_of;
use flowml_user::dataset::truth::BENIGN;
use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
use flowml_user::learning::evaluation::{Fold, folds};
use flowml_user::learning::metrics::Confusion;
use flowml_user::learning::{LearnError, MOST_CLASSES, ModelKind};
use flowml_user::process::{plain, private};
use ndarray::Array2;

use super::traffic;
use super::train::learn;
use crate::args::Eval;
use crate::evaluation::figures::{ClassifierFigures, Report};
use crate::evaluation::judged::{Judged, Scored, cluster_figures};
use crate::inputs::{Inputs, check_captures, check_output};
use crate::report::{charts, page};
use crate::ui::progress::Step;

/// The default number of folds.
const FOLDS: u8 = 5;

/// Evaluates, and writes the figures.
///
/// # Errors
/// If tables or the model cannot be read, or there are no rows to evaluate.
pub(crate) fn run(arguments: &Eval) -> Result<()> {
    let outputs = [&arguments.report, &arguments.output];
    outputs.into_iter().flatten().try_for_each(|output| check_output(output, &arguments.inputs))?;
    let step = Step::begin(!arguments.quiet);
    let mut inputs = Inputs::new(arguments.table.input, arguments.table.labels.as_deref(), &step)?;
    let report = match &arguments.model {
        Some(path) if traffic::kind(path)? == ModelKind::Traffic => by_traffic(path, arguments, inputs)?,
        Some(path) => by_model(&TableModel::load(path)?, arguments, &mut inputs)?,
        None => by_learning(arguments, &mut inputs, &step)?,
    };
    drop(step);
    if !arguments.quiet {
        plain::print_lines(&report.text());
    }
    if let Some(path) = &arguments.report {
        let page = charts::page(&report, &arguments.inputs);
        page::write(&page, path).with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    arguments.output.as_deref().map_or(Ok(()), |path| write(&report, path))
}

fn write(report: &Report, path: &Path) -> Result<()> {
    let json = serde_json::to_string(report)? + "\n";
    let written = match path.to_str() {
        Some("-") => io::stdout().write_all(json.as_bytes()),
        _ => private::write(path, json),
    };
    written.with_context(|| format!("cannot write the figures to {}", path.display()))
}

/// All rows of the inputs.
fn read(arguments: &Eval, inputs: &mut Inputs<'_>) -> Result<Judged> {
    let table = inputs.read(&arguments.inputs, &arguments.table.roles())?;
    ensure!(table.frame.rows() > 0, "the inputs have no rows");
    Ok(Judged::new(table))
}

/// Evaluates a model of traffic. It scores captures while they are metered, as in a run, but is not trained on them.
fn by_traffic(model: &Path, arguments: &Eval, inputs: Inputs<'_>) -> Result<Report> {
    check_captures(&arguments.inputs)?;
    let unit = arguments.table.input.unit.unwrap_or_default();
    let learners = traffic::judges(model, arguments.learning.alpha, unit)?;
    let alpha = learners.flows.acting().settings().alpha;
    let mut inputs = inputs.judged_by(learners);
    let places = inputs.places(&arguments.inputs)?;
    let table = arguments.table.roles().read(inputs.tables(&places, unit.row_type())?, |_| {})?;
    let benign = arguments.learning.benign.as_deref().unwrap_or(BENIGN);
    let judged = Judged::new(table).labelled_or(benign);
    let (judged, scores, probabilities) = judged.by_verdicts()?;
    let scored = Scored { name: unit.name(), alpha, scores, probabilities, clusters: None };
    let mut row = scored.row(&judged, benign, judged.has_attacks(benign))?;
    let mut incidents = 0;
    for place in &places {
        let tables = inputs.tables(std::slice::from_ref(place), RowType::Incident)?;
        // An ongoing incident has several rows.
        let mut numbers = BTreeSet::new();
        for batch in tables.into_iter().flatten() {
            numbers.extend(numbers_of(&batch?, "incident")?.into_iter().map(|number| number as u64));
        }
        incidents += numbers.len();
    }
    row.0.incidents = Some(incidents);
    let mut report = Report::default();
    report.add_detector(&[row]);
    Ok(report)
}

fn by_model(model: &TableModel, arguments: &Eval, inputs: &mut Inputs<'_>) -> Result<Report> {
    // The label of benign rows may differ from that in the training data.
    let benign = arguments.learning.benign.as_ref().or(model.plan().benign.as_ref());
    let plan = Plan { benign: benign.cloned(), ..model.plan().clone() };
    let judged = read(arguments, inputs)?;
    let mut report = Report::default();
    match plan.task {
        Task::Detect(_) => {
            let benign = plan.benign.as_deref().unwrap_or(BENIGN);
            let judged = judged.labelled_or(benign);
            let scored = scored(model, &judged, &plan)?;
            report.add_detector(&[scored.row(&judged, benign, judged.has_attacks(benign))?]);
        }
        Task::Classify(_) => {
            let confusion = confusion(model, &judged.table, &plan)?;
            report.classifiers.push(ClassifierFigures::of(plan.task.name(), confusion, Vec::new()));
        }
    }
    Ok(report)
}

/// A training set, and the rows to evaluate.
struct Round {
    train: Labelled,
    test: Vec<usize>,
}

fn by_learning(arguments: &Eval, inputs: &mut Inputs<'_>, step: &Step) -> Result<Report> {
    let paths = [arguments.inputs.as_slice(), &arguments.train].concat();
    let table = inputs.read(&paths, &arguments.table.roles())?;
    let judged_inputs = arguments.inputs.len() as u32;
    // The rows of the inputs come first.
    let judged_rows = table.inputs.partition_point(|input| *input < judged_inputs);
    ensure!(judged_rows > 0, "the inputs have no rows");
    let table = Judged::new(table);
    let mut report = Report::default();
    for task in arguments.tasks() {
        let plan = arguments.learning.plan(task);
        let rounds = rounds(&table.table, judged_rows, &plan, arguments)?;
        judge(&rounds, &table, &plan, step, &mut report)?;
    }
    Ok(report)
}

/// The rounds of a task. There is one round if there is separate training data, or if all rows are used for training
/// and evaluation. Otherwise there is one round per fold, trained on the other folds and on the separate training data.
fn rounds(table: &Labelled, judged_rows: usize, plan: &Plan, arguments: &Eval) -> Result<Vec<Round>> {
    let (own, given): (Vec<usize>, Vec<usize>) = (0..table.frame.rows()).partition(|row| *row < judged_rows);
    if !arguments.is_divided() {
        return Ok(vec![Round { train: table.select(&given), test: own }]);
    }
    if plan.all_rows && matches!(plan.task, Task::Detect(_)) {
        return Ok(vec![Round { train: table.clone(), test: own }]);
    }
    let labels = &table.labels.as_deref().context("expected labels")?[..judged_rows];
    let count = arguments.folds.unwrap_or(FOLDS).into();
    let division = arguments.division.unwrap_or_default().into();
    let divided = folds(labels, &table.inputs[..judged_rows], count, division, plan.seed);
    ensure!(divided.iter().all(|fold| !fold.test.is_empty()), "{judged_rows} rows are too few to divide into folds");
    let round = |fold: Fold| Round { train: table.select(&[fold.train, given.clone()].concat()), test: fold.test };
    Ok(divided.into_iter().map(round).collect())
}

fn judge(rounds: &[Round], inputs: &Judged, plan: &Plan, step: &Step, report: &mut Report) -> Result<()> {
    match plan.task {
        Task::Detect(_) => {
            let benign = plan.benign.as_deref().context("expected '--benign' with the label of benign rows")?;
            let labels = inputs.table.labels.as_deref().context("expected labels")?;
            let has_attacks = rounds.iter().flat_map(|round| &round.test).any(|&row| *labels[row] != *benign);
            let row = |round: &Round| {
                let (model, _) = learn(&round.train, plan.clone(), step)?;
                step.show(format!("judging: {}", plan.task.name()));
                let judged = inputs.select(&round.test);
                scored(&model, &judged, plan)?.row(&judged, benign, has_attacks)
            };
            report.add_detector(&rounds.iter().map(row).collect::<Result<Vec<_>>>()?);
        }
        Task::Classify(_) => {
            let mut whole = Confusion::new(known_classes(rounds, &inputs.table, plan)?);
            let mut accuracies = Vec::new();
            for round in rounds {
                let (model, _) = learn(&round.train, plan.clone(), step)?;
                step.show(format!("judging: {}", plan.task.name()));
                let own = confusion(&model, &inputs.select(&round.test).table, plan)?;
                accuracies.push(own.accuracy());
                merge(&mut whole, &own);
            }
            let folds = if rounds.len() > 1 { accuracies } else { Vec::new() };
            report.classifiers.push(ClassifierFigures::of(plan.task.name(), whole, folds));
        }
    }
    Ok(())
}

/// The classes of all labels in training and evaluation data.
fn known_classes(rounds: &[Round], table: &Labelled, plan: &Plan) -> Result<Vec<String>, LearnError> {
    let tables = rounds.iter().map(|round| &round.train).chain([table]);
    classes(tables.flat_map(|table| table.labels.iter().flatten()).map(|label| plan.class(label)))
}

fn classes<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<String>, LearnError> {
    let names: BTreeSet<&str> = names.collect();
    if names.len() > MOST_CLASSES {
        return Err(LearnError::Classes(names.len()));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Adds counts by class name. `whole` has all classes.
fn merge(whole: &mut Confusion, part: &Confusion) {
    let place =
        |name: &String| whole.classes.iter().position(|class| class == name).expect("the whole has all classes");
    let places: Vec<usize> = part.classes.iter().map(place).collect();
    for (truth, counts) in places.iter().zip(&part.rows) {
        for (predicted, count) in places.iter().zip(counts) {
            whole.rows[*truth][*predicted] += count;
        }
    }
}

fn preprocess(model: &TableModel, table: &Labelled) -> Result<Array2<f64>> {
    Ok(model.preprocess(&table.frame).context("the table does not fit the model")?.0)
}

/// The confusion matrix of a classifier on the rows of a table.
fn confusion(model: &TableModel, table: &Labelled, plan: &Plan) -> Result<Confusion> {
    let labels = table.labels.as_deref().context("expected labels")?;
    let Judgement::Classes(predicted) = model.judge(preprocess(model, table)?.view()) else {
        bail!("expected a classifier");
    };
    let known = model.classes().iter().map(String::as_str);
    let mut confusion = Confusion::new(classes(labels.iter().map(|label| plan.class(label)).chain(known))?);
    let number: BTreeMap<String, usize> = confusion.classes.iter().cloned().zip(0..).collect();
    for (label, class) in labels.iter().zip(predicted) {
        confusion.count(number[plan.class(label)], number[&model.classes()[class]]);
    }
    Ok(confusion)
}

/// The scores of a detector on rows.
fn scored(model: &TableModel, judged: &Judged, plan: &Plan) -> Result<Scored> {
    let rows = preprocess(model, &judged.table)?;
    let Judgement::Scores { scores, probabilities, clusters } = model.judge(rows.view()) else {
        bail!("expected a detector");
    };
    let clusters = clusters.map(|members| cluster_figures(&rows, &members));
    Ok(Scored { name: plan.task.name(), alpha: plan.alpha, scores, probabilities, clusters })
}
