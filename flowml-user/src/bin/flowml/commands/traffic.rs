//! Models of traffic: trains them on captures or interfaces, and scores captures with them as in a run.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flowml_user::capture::file;
use flowml_user::dataset::columns::numbers_of;
use flowml_user::dataset::{Shape, TableFormat, TableWriter};
use flowml_user::engine::AlarmLevel;
use flowml_user::engine::learners::{Begin, Builtin, Learners};
use flowml_user::export::LearnerReport;
use flowml_user::features::FlowColumns;
use flowml_user::learning::model_file::FleetOrigin;
use flowml_user::learning::{ClusterSummary, ModelKind, Settings, TrafficModel};
use flowml_user::process::plain::{self, print, print_lines};

use super::run;
use crate::args::{Run, Score, Train, Unit};
use crate::inputs::{Inputs, check_captures, meter_each, of_themselves};
use crate::ui::progress::Step;

/// Whether the arguments request a model of traffic, and not one of a table.
pub(super) fn is_meant(arguments: &Train) -> bool {
    let plain = arguments.table.input.unit.is_none() && arguments.detector.is_none() && arguments.classifier.is_none();
    let captures = || arguments.inputs.iter().all(|path| file::is_capture(path));
    !arguments.interfaces.is_empty() || plain && !arguments.is_labelled() && captures()
}

/// The kind of a model. A shipped model is one of traffic.
///
/// # Errors
/// If there is no such file, or it is no model.
pub(super) fn kind(path: &Path) -> Result<ModelKind> {
    match Builtin::named(path) {
        Some(_) => Ok(ModelKind::Traffic),
        None => Ok(ModelKind::of_file(path)?),
    }
}

/// Reads a model of traffic. Rows with a probability below `alpha` are anomalies; without `alpha` the model's level
/// applies.
pub(super) fn learners(model: &Path, alpha: Option<f64>) -> Result<Learners> {
    let level = alpha.map(AlarmLevel::Probability);
    Ok(Learners::begin(Begin::named(model), FlowColumns::Headers, &Settings::default(), level)?)
}

/// Reads a model of traffic that scores rows of a unit, and is not trained further.
///
/// # Errors
/// If the file is not a model of traffic, or has no model of this unit.
pub(super) fn judges(model: &Path, alpha: Option<f64>, unit: Unit) -> Result<Learners> {
    let learners = learners(model, alpha)?;
    let (path, name) = (model.display(), unit.name());
    ensure!(
        learners.can_judge(unit.row_type()),
        "{path}: it has no model of {name}; expected a learner '{name}' in the file"
    );
    Ok(learners.held())
}

/// Scores captures with a model of traffic: writes the rows of one unit that `flowml read` writes with it.
pub(super) fn score(arguments: &Score) -> Result<()> {
    check_captures(&arguments.inputs)?;
    let step = Step::begin(!arguments.quiet);
    let inputs = Inputs::new(arguments.input, None, &step)?;
    let learners = match &arguments.model {
        Some(model) => judges(model, None, arguments.input.unit.unwrap_or_default())?,
        None => of_themselves(&arguments.inputs, &Settings::default(), None, &step)?,
    };
    let tables = inputs.judged_by(learners).open(&arguments.inputs)?;
    let shape = Shape::of(&tables)?;
    let format = TableFormat::of(&arguments.output).context("expected a .csv or .parquet file as the output")?;
    let mut writer = TableWriter::open(&arguments.output, format, shape.schema())?;
    let (mut rows, mut anomalies) = (0, 0);
    for batch in tables.into_iter().flatten() {
        let batch = shape.take(&batch?)?;
        writer.write(&batch)?;
        rows += batch.num_rows();
        anomalies += numbers_of(&batch, "anomaly")?.into_iter().filter(|anomaly| *anomaly == 1.0).count();
    }
    writer.finish()?;
    drop(step);
    if !arguments.quiet {
        print(&format!("flowml: {rows} rows scored, {anomalies} are anomalies"));
    }
    Ok(())
}

/// Trains and saves the model.
///
/// # Errors
/// If the inputs cannot be metered or have too few rows, or the model cannot be written.
pub(super) async fn run(arguments: &Train) -> Result<()> {
    let defaults = Settings::default();
    let settings = Settings {
        seed: arguments.learning.seed,
        alpha: arguments.learning.alpha.unwrap_or(defaults.alpha),
        clusters: arguments.learning.k.map(usize::from),
        // The warm-up lasts until the inputs end.
        warm_up_batches: u32::MAX,
        trusted: true,
        ..defaults
    };
    let mut learners = match arguments.interfaces.as_slice() {
        [] => {
            let step = Step::begin(!arguments.quiet);
            meter_each(&arguments.inputs, Learners::new(FlowColumns::Headers, &settings), &step)?
        }
        interfaces => {
            let live = Run::until(interfaces.to_vec(), arguments.duration, u8::from(arguments.quiet));
            let live = Run { sandbox: arguments.sandbox, ..live };
            let learners = Learners::begin(Begin::Untrained, FlowColumns::Headers, &settings, None)?;
            run::learn(&live, None, learners, Some(&arguments.model)).await?
        }
    };
    if let Some(unit) = learners.fit().first() {
        bail!("the inputs have no {unit} to train on after their first two seconds");
    }
    learners.save(&arguments.model)?;
    if !arguments.quiet {
        print_lines(&describe(&learners));
        print(&format!("flowml: wrote the model to {}", arguments.model.display()));
    }
    Ok(())
}

/// The content of a file of a model of traffic, or of a shipped model.
///
/// # Errors
/// If the file cannot be read, or is not a model of traffic.
pub(super) fn content(model: &Path) -> Result<TrafficModel> {
    Ok(match Builtin::named(model) {
        Some(which) => which.model()?,
        None => TrafficModel::read(model)?,
    })
}

/// The identity of a model file, and its parent if it is a model of a fleet.
pub(super) fn describe_identity(file: &Path) -> Result<String> {
    let model = content(file)?;
    let fleet = model.fleet().map(|FleetOrigin { number, parent, rows }| {
        let rows: Vec<String> = rows.iter().map(|(name, rows)| format!("{rows} rows of {name}")).collect();
        format!("model {number} of a fleet, merged from the statistics of {} under {parent}\n", rows.join(" and "))
    });
    Ok(format!("sha256 {}\n{}", model.identity().hash, fleet.unwrap_or_default()))
}

/// A description of models as text.
pub(super) fn describe(learners: &Learners) -> String {
    let cluster = |cluster: ClusterSummary| {
        let typical: Vec<String> = cluster.typical.iter().map(ToString::to_string).collect();
        format!("  {:.1} %: {}\n", cluster.share * 100.0, typical.join(", "))
    };
    let feedback_labels = learners
        .hosts
        .acting()
        .feedback_labels()
        .iter()
        .map(|label| format!("{}: {}\n", label.class.name(), plain::line(&label.note)));
    let feedback_labels: String = feedback_labels.collect();
    let describe = |report: LearnerReport| {
        let clusters: String = report.clusters.into_iter().map(cluster).collect();
        format!("the learner of {}, {}\n{clusters}", report.of, report.status)
    };
    learners.reports().into_iter().map(describe).collect::<String>() + &feedback_labels
}
