//! `flowml train` on captures or interfaces: a model of ordinary traffic, by which `run` and `read` judge.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::inputs::meter;
use super::learners::{Begin, Learners};
use super::live;
use super::progress::Step;
use crate::capture::file;
use crate::cli::{Run, Train};
use crate::features::FlowColumns;
use crate::model::{ClusterSummary, ModelFile, Settings};
use crate::sink::LearnerReport;

/// Whether a model of traffic is asked for, and not one of a table.
pub(super) fn is_meant(arguments: &Train) -> bool {
    let plain = arguments.table.input.unit.is_none() && arguments.detector.is_none() && arguments.classifier.is_none();
    let captures = || arguments.inputs.iter().all(|path| file::is_capture(path));
    !arguments.interfaces.is_empty() || plain && !arguments.is_labelled() && captures()
}

/// Learns, and saves the model.
///
/// # Errors
/// If the inputs cannot be metered, show too little, or the model cannot be written.
pub(super) async fn run(arguments: &Train) -> Result<()> {
    let defaults = Settings::default();
    let settings = Settings {
        seed: arguments.learning.seed,
        alpha: arguments.learning.alpha.unwrap_or(defaults.alpha),
        clusters: arguments.learning.k.map(usize::from),
        // Until the inputs end.
        warm_up_batches: u32::MAX,
        trusted: true,
        ..defaults
    };
    let mut learners = match arguments.interfaces.as_slice() {
        [] => of_captures(&arguments.inputs, &settings, !arguments.quiet)?,
        interfaces => {
            let run = Run::until(interfaces.to_vec(), arguments.duration, u8::from(arguments.quiet));
            let learners = Learners::begin(Begin::Anew, FlowColumns::Headers, &settings, None)?;
            live::learn(&run, None, learners).await?
        }
    };
    for (unit, learner) in [("flows", &mut learners.flows), ("host windows", &mut learners.hosts)] {
        let learner = learner.acting_mut();
        ensure!(learner.fit(), "the inputs show no {unit} to learn from beyond their first two seconds");
    }
    learners.save(&arguments.model)?;
    if !arguments.quiet {
        eprint!("{}", describe(&ModelFile::read(&arguments.model)?)?);
        eprintln!("flowml: the model is in {}", arguments.model.display());
    }
    Ok(())
}

/// Learns from captures, each metered by itself.
fn of_captures(paths: &[PathBuf], settings: &Settings, shown: bool) -> Result<Learners> {
    let step = Step::begin(shown);
    let mut learners = Learners::new(FlowColumns::Headers, settings);
    for path in paths {
        learners.flows.acting_mut().settle();
        learners.hosts.acting_mut().settle();
        learners = meter(path, &[], Some(learners), &step)?.context("the pipeline was given learners")?;
    }
    step.show("learning");
    Ok(learners)
}

/// What a file of learners says, for people.
pub(super) fn describe(file: &ModelFile) -> Result<String> {
    let learners = Learners::of_file(file, FlowColumns::Headers, &Settings::default())?;
    let cluster = |cluster: ClusterSummary| {
        let typical: Vec<String> = cluster.typical.iter().map(ToString::to_string).collect();
        format!("  {:.1} %: {}\n", cluster.share * 100.0, typical.join(", "))
    };
    let marks = learners.hosts.acting().marks().iter().map(|mark| format!("{}: {}\n", mark.opinion.name(), mark.note));
    let marks: String = marks.collect();
    let describe = |report: LearnerReport| {
        let clusters: String = report.clusters.into_iter().map(cluster).collect();
        format!("the learner of {}, {}\n{clusters}", report.of, report.status)
    };
    Ok(learners.reports().into_iter().map(describe).collect::<String>() + &marks)
}
