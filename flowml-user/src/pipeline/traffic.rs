//! Models of traffic: trains them on captures or interfaces, and scores captures with them as in a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::alarms::AlarmLevel;
use super::inputs::{Inputs, meter};
use super::learners::{Begin, Builtin, Learners};
use super::progress::Step;
use super::{run, whole};
use crate::capture::file;
use crate::cli::{Run, Score, Train, Unit};
use crate::dataset::columns::numbers_of;
use crate::dataset::{Shape, TableFormat, TableWriter};
use crate::features::FlowColumns;
use crate::model::{ClusterSummary, ModelError, ModelFile, Settings};
use crate::process::plain::{self, tell, tell_lines};
use crate::sink::LearnerReport;

/// Whether the arguments request a model of traffic, and not one of a table.
pub(super) fn is_meant(arguments: &Train) -> bool {
    let plain = arguments.table.input.unit.is_none() && arguments.detector.is_none() && arguments.classifier.is_none();
    let captures = || arguments.inputs.iter().all(|path| file::is_capture(path));
    !arguments.interfaces.is_empty() || plain && !arguments.is_labelled() && captures()
}

/// Whether a model file is a model of traffic. If not, it may be one of a table.
///
/// # Errors
/// If there is no such file.
pub(super) fn is_model(path: &Path) -> Result<bool> {
    if Builtin::named(path).is_some() {
        return Ok(true);
    }
    match ModelFile::read(path) {
        Ok(_) => Ok(true),
        Err(ModelError::File { path, source }) => Err(ModelError::File { path, source }.into()),
        Err(_) => Ok(false),
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
/// If it is not a model of traffic, or has no model of this unit.
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
        tell(&format!("flowml: {rows} rows scored, {anomalies} are anomalies"));
    }
    Ok(())
}

/// Checks that all inputs can be scored with a model of traffic.
///
/// # Errors
/// If one is not a capture.
pub(super) fn check_captures(inputs: &[PathBuf]) -> Result<()> {
    let other = inputs.iter().find(|path| !file::is_capture(path));
    other
        .map_or(Ok(()), |path| bail!("{}: expected a capture, because the model is a model of traffic", path.display()))
}

/// Models that score captures after training on all of them.
pub(super) fn of_themselves(
    captures: &[PathBuf],
    settings: &Settings,
    alarms: Option<AlarmLevel>,
    step: &Step,
) -> Result<Learners> {
    let show = |learners| meter_each(captures, learners, step);
    let (learners, notices) = whole::learnt(FlowColumns::Headers, settings, alarms, show)?;
    notices.iter().for_each(|notice| step.notice(notice));
    Ok(learners)
}

/// Trains models on captures, each metered separately.
fn meter_each(captures: &[PathBuf], mut learners: Learners, step: &Step) -> Result<Learners> {
    for path in &file::in_order_of_time(captures) {
        learners.flows.acting_mut().settle();
        learners.hosts.acting_mut().settle();
        learners = meter(path, &[], Some(learners), step)?.context("the pipeline was given learners")?;
    }
    step.show("learning");
    Ok(learners)
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
            let learners = Learners::begin(Begin::Anew, FlowColumns::Headers, &settings, None)?;
            run::learn(&live, None, learners, Some(&arguments.model)).await?
        }
    };
    if let Some(unit) = learners.fit().first() {
        bail!("the inputs have no {unit} to train on after their first two seconds");
    }
    learners.save(&arguments.model)?;
    if !arguments.quiet {
        tell_lines(&describe(&learners));
        tell(&format!("flowml: wrote the model to {}", arguments.model.display()));
    }
    Ok(())
}

/// A description of models as text.
pub(super) fn describe(learners: &Learners) -> String {
    let cluster = |cluster: ClusterSummary| {
        let typical: Vec<String> = cluster.typical.iter().map(ToString::to_string).collect();
        format!("  {:.1} %: {}\n", cluster.share * 100.0, typical.join(", "))
    };
    let marks = learners
        .hosts
        .acting()
        .marks()
        .iter()
        .map(|mark| format!("{}: {}\n", mark.opinion.name(), plain::line(&mark.note)));
    let marks: String = marks.collect();
    let describe = |report: LearnerReport| {
        let clusters: String = report.clusters.into_iter().map(cluster).collect();
        format!("the learner of {}, {}\n{clusters}", report.of, report.status)
    };
    learners.reports().into_iter().map(describe).collect::<String>() + &marks
}
