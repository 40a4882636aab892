//! `flowml read`: reads captures through the offline run, and scores rows if a model was requested.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flowml_user::capture::file::{self, CaptureFile, FileError, Signals};
use flowml_user::engine::epochs::Epochs;
use flowml_user::engine::learners::{Begin, Builtin, Learners, is_file};
use flowml_user::engine::offline::{FileTable, Offline, count_some, later, table};
use flowml_user::engine::{Finished, Pipeline, whole};
use flowml_user::export::{InterfaceReport, Pace, Sinks};
use flowml_user::features::RowColumns;
use flowml_user::learning::Settings;
use flowml_user::record::Inspector;

use super::confinement::filter_calls;
use crate::args::{Read, Verbosity};
use crate::console::Console;
use crate::ui::progress::Progress;

/// The value of the summary's XDP mode for files.
const FILE: &str = "file";

/// The parts of a run that are the same when captures are read twice.
struct Reading<'a> {
    arguments: &'a Read,
    /// In the order of their first packets.
    files: Vec<PathBuf>,
    signals: Signals,
    columns: RowColumns,
}

/// Reads captures, one after the other.
///
/// # Errors
/// If the run cannot start, if an output failed, or if a file could not be read to its end. In the last case everything
/// before the fault is in the records.
pub(crate) fn run(arguments: &Read) -> Result<()> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let inspector = arguments.rows.content.inspector()?;
    let columns = arguments.rows.columns(inspector.as_ref());
    let reading = Reading { arguments, files: file::in_order_of_time(&arguments.files), signals, columns };
    let console = Console::on_standard_error(arguments.verbosity());
    let mut sinks =
        arguments.output.open(columns, Pace::Offline)?.observed_by(console).with_signals(reading.signals.clone());
    // `flowml doctor` reports what is missing for this.
    let _ = filter_calls(arguments.sandbox);
    if reading.files != arguments.files {
        sinks.notice("the files are read in the order of the times of their first packets");
    }
    let (learners, notices) = reading.learners()?;
    notices.iter().for_each(|notice| sinks.notice(notice));
    let (finished, errors) = reading.pass(learners, sinks, inspector)?;
    if let (Some(learners), Some(path)) = (finished.learners, arguments.model.as_deref().filter(|path| is_file(path))) {
        learners.save(path)?;
    }
    finished.outputs?;
    if !finished.conserved {
        bail!("the conservation check failed: packets received are not packets in flows plus packets skipped");
    }
    match errors.as_slice() {
        [] => Ok(()),
        errors => bail!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nflowml: ")),
    }
}

impl Reading<'_> {
    /// The models if rows are to be scored, and messages about them.
    fn learners(&self) -> Result<(Option<Learners>, Vec<String>)> {
        let Self { arguments, columns, .. } = self;
        let settings = Settings { seed: arguments.rows.seed, ..Settings::default() };
        let level = arguments.rows.alarms.level();
        let begin = match &arguments.model {
            None if !arguments.learn => return Ok((None, without_scores(arguments))),
            None if self.files.iter().all(|path| can_be_read_twice(path)) => {
                let (learners, notices) =
                    whole::learnt(columns.flows, &settings, level, |learners| self.show(learners))?;
                return Ok((Some(learners), notices));
            }
            None => Begin::Untrained,
            Some(path) => match Builtin::named(path) {
                Some(which) => Begin::Builtin(which),
                None if path.exists() => Begin::File(path),
                None => Begin::Untrained,
            },
        };
        let mut learners = Learners::begin(begin, columns.flows, &settings, level)?;
        if let Some(model) = arguments.fleet.model() {
            model.offer(&mut learners, columns.flows, false)?;
        }
        let notice = arguments.learn.then(|| {
            "a pipe cannot be read twice: the model is trained while rows are scored, and there are no scores before a warm-up \
             of 30 s"
                .to_owned()
        });
        let learners = learners.with_statistics(arguments.fleet.fleet_statistics);
        let notices = notice.into_iter().chain(learners.without_statistics()).collect();
        Ok((Some(learners), notices))
    }

    /// Trains models on the captures. Faults of the files are reported later, when their rows are written.
    fn show(&self, learners: Learners) -> Result<Learners> {
        let console = Console::on_standard_error(Verbosity::Errors);
        let sinks = Sinks::open(&[], self.columns, Pace::Offline)?;
        let sinks = sinks.observed_by(console).with_signals(self.signals.clone());
        let (finished, _) = self.pass(Some(learners), sinks, self.arguments.rows.content.inspector()?)?;
        finished.learners.context("the pipeline was given learners")
    }

    /// Reads all files once.
    fn pass(
        &self,
        learners: Option<Learners>,
        sinks: Sinks,
        inspector: Option<Inspector>,
    ) -> Result<(Finished, Vec<FileError>)> {
        let arguments = self.arguments;
        let timeouts = arguments.timeouts();
        let interfaces = self.files.iter().map(|path| report(path)).collect();
        let pipeline =
            Pipeline::new(timeouts, interfaces, learners, sinks, 0, arguments.rows.seed).with_inspector(inspector);
        let tunnels = arguments.rows.tunnels.ports();
        let pipeline = pipeline.with_tunnels(tunnels.is_some());
        let table = table().with_boundaries(timeouts.boundaries()).with_payload(arguments.rows.content.limit());
        let filter = arguments.rows.filter.packets.as_ref().map(|filter| *filter.filter());
        let table = table.with_tunnels(tunnels).with_filter(filter);
        let mut offline = Offline::new(table, pipeline, Epochs::new(arguments.interval, timeouts.idle))?;
        let mut errors = Vec::new();
        for path in &self.files {
            let (read, problems) = read(path, arguments, &mut offline, &self.signals)?;
            errors.extend(problems);
            if read.is_break() {
                break;
            }
        }
        Ok((offline.finish()?, errors))
    }
}

/// What users must know about a run without a model.
fn without_scores(arguments: &Read) -> Vec<String> {
    let rows = "rows are not scored: use '--model FILE' or '--learn' to score them".to_owned();
    let alarms = arguments.output.has_receivers().then(|| {
        "only incidents of sequential tests are sent: unusual traffic without a known kind needs '--model FILE' or '--learn'"
            .to_owned()
    });
    [rows].into_iter().chain(alarms).collect()
}

/// Whether a file can be read twice. Pipes cannot.
fn can_be_read_twice(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn report(path: &Path) -> InterfaceReport {
    InterfaceReport { name: file::name(path), capture_mode: FILE }
}

/// Counts the frames of a file. Breaks if the run is to end. Faults of the file do not end the run.
fn read<T: FileTable>(
    path: &Path,
    arguments: &Read,
    offline: &mut Offline<T>,
    signals: &Signals,
) -> Result<(ControlFlow<()>, Vec<FileError>)> {
    let mut file = match CaptureFile::open_until(path, signals, arguments.interval) {
        Ok(file) => file,
        Err(error) if error.is_stopped() => return Ok((ControlFlow::Break(()), Vec::new())),
        Err(error) => return Ok((ControlFlow::Continue(()), vec![error])),
    };
    let progress = arguments.shows_progress().then(|| Progress::begin(path, file.bytes_read()));
    let end = loop {
        if signals.have_come()? {
            break Ok(ControlFlow::Break(()));
        }
        if let Some(progress) = &progress {
            progress.show();
        }
        match count_some(&mut file, offline)? {
            Ok(Some(ControlFlow::Continue(()))) => {}
            Ok(Some(ControlFlow::Break(()))) => break Ok(ControlFlow::Break(())),
            Ok(None) => break Ok(ControlFlow::Continue(())),
            Err(error) if error.is_stopped() => break Ok(ControlFlow::Break(())),
            Err(error) if error.is_silent() => {
                if offline.silent(arguments.interval, file.is_between_packets())?.is_break() {
                    break Ok(ControlFlow::Break(()));
                }
            }
            Err(error) => break Err(error),
        }
    };
    drop(progress);
    let (reader, irregular) = offline.end_file()?;
    for what in irregular {
        offline.notice(&format!("{}: {what}", file::name(path)));
    }
    let mut problems = file.left_out();
    let flow = end.unwrap_or_else(|error| {
        problems.push(error);
        ControlFlow::Continue(())
    });
    Ok((later(flow, reader), problems))
}
