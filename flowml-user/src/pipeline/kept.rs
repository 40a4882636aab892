//! The model of a live run and its file: saved to now and then, read again with the configuration at SIGHUP.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Pipeline;
use super::learners::{Begin, Learners, is_file};
use super::stop::received;
use crate::capture::kernel::monotonic_ns;
use crate::cli::{AlarmLevel, Arguments, Configuration, Run};
use crate::features::FlowColumns;
use crate::model::{ModelError, Settings};
use crate::process::sandbox::Reach;
use crate::process::service::Service;

/// How often the model is saved to its file.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// The keys of a configuration that take effect while the run lasts.
const KEYS: [&str; 3] = ["alpha", "false-alarms", "model"];

/// The file of the model: saved to now and then. At SIGHUP it is read again, and so is the configuration, which may name
/// another; a run with a screen ends then.
pub(super) struct KeptModel {
    file: Option<PathBuf>,
    columns: FlowColumns,
    /// What the run can reach, where that is not all.
    reach: Option<Reach>,
    /// As the run began.
    settings: Settings,
    alarms: Option<AlarmLevel>,
    /// As it was when the run began.
    configuration: Option<Configuration>,
    /// A snapshot that is being written: the disk may be slow, and rows are processed meanwhile.
    writing: Option<JoinHandle<Result<(), ModelError>>>,
}

/// When something is due with the file of the model.
pub(super) struct Dues {
    saves: Interval,
    /// None where it says that a terminal has gone.
    hangup: Option<Signal>,
}

impl Dues {
    pub(super) async fn next(&mut self) -> Due {
        tokio::select! {
            _ = self.saves.tick() => Due::Save,
            () = received(self.hangup.as_mut()) => Due::Load,
        }
    }
}

/// What is due with the file of the model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Save,
    Load,
}

impl KeptModel {
    pub(super) fn new(run: &Run, columns: FlowColumns, reach: Option<Reach>) -> Result<(Self, Dues)> {
        let mut saves = interval_at(Instant::now() + SAVE_EVERY, SAVE_EVERY);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hangup = (!run.tui).then(|| signal(SignalKind::hangup())).transpose();
        let hangup = hangup.context("cannot listen for signals")?;
        let (configuration, settings) = (run.configuration.clone(), settings(run));
        let (file, alarms, writing) = (file(run), run.alarms.level(), None);
        let kept = Self { file, columns, reach, settings, alarms, configuration, writing };
        Ok((kept, Dues { saves, hangup }))
    }

    /// Where the model is saved, if anywhere.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reports what became of the snapshot that was being written, once it is in its file or could not be put there.
    pub(super) fn look(&mut self, pipeline: &mut Pipeline) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(pipeline);
        }
    }

    /// The same, but waits for it, so that a later one can take its place.
    pub(super) fn finish(&mut self, pipeline: &mut Pipeline) {
        let Some(thread) = self.writing.take() else { return };
        if let Err(error) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            pipeline.warn(&format!("{:#}; the model in use stays", Error::new(error)));
        }
    }

    /// Whatever goes wrong with a file is told, and metering goes on with the model in use.
    pub(super) fn meet(&mut self, due: Due, pipeline: &mut Pipeline, service: &Service) {
        let done = match due {
            Due::Save => self.save(pipeline),
            Due::Load => {
                service.reloading(monotonic_ns());
                let loaded = self.configure(pipeline).and_then(|()| self.load(pipeline));
                service.ready(&pipeline.status());
                loaded
            }
        };
        if let Err(error) = done {
            pipeline.warn(&format!("{error:#}; the model in use stays"));
        }
    }

    /// Begins to write what was learnt so far, on a thread of its own, unless that is still done with what was learnt before.
    fn save(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        self.look(pipeline);
        if self.writing.is_some() {
            return Ok(());
        }
        let Some((path, learners)) = self.file().zip(pipeline.learners()) else { return Ok(()) };
        let snapshot = learners.snapshot(path)?;
        let Some(snapshot) = snapshot else { return Ok(()) };
        let thread = thread::Builder::new().name("model".to_owned()).spawn(|| snapshot.write());
        self.writing = Some(thread.context("cannot start the thread that writes the model")?);
        Ok(())
    }

    /// Reads the configuration again, where there is one, and tells what of it has to wait.
    fn configure(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        let Some(begun) = &self.configuration else { return Ok(()) };
        let run = Arguments::of_this_run().map_err(Error::msg)?;
        let now = run.configuration.as_ref().context("the configuration has gone from the command line")?;
        let changed = begun.changed(now);
        let waiting: Vec<&str> = changed.into_iter().filter(|key| !KEYS.contains(key)).collect();
        if !waiting.is_empty() {
            let (path, keys) = (now.path().display(), waiting.join(", "));
            pipeline.warn(&format!("{path}: what has changed of {keys} takes effect at the next start"));
        }
        self.alarms = run.alarms.level();
        match file(&run) {
            Some(file) if self.reach.as_ref().is_some_and(|reach| !reach.includes(&file)) => pipeline.warn(&format!(
                "{}: it lies in no folder that this run has written to from its start, and takes effect at the next start",
                file.display()
            )),
            file => self.file = file,
        }
        Ok(())
    }

    /// The learners of a file, with the settings of the run where the file has none.
    fn read(&self, path: &Path) -> Result<Learners, ModelError> {
        Learners::begin(Begin::File(path), self.columns, &self.settings, self.alarms)
    }

    fn load(&self, pipeline: &mut Pipeline) -> Result<()> {
        let Some(own) = pipeline.learners() else { return Ok(()) };
        let Some(path) = self.file().filter(|path| path.exists()) else {
            if let Some(level) = self.alarms {
                own.set_alarms(level);
            }
            match self.file() {
                // As in the first minutes of a service.
                Some(path) => pipeline.notice(&format!("{} is not there yet: the model in use stays", path.display())),
                None if self.configuration.is_none() => {
                    pipeline.warn("SIGHUP reads the files of '--config' and '--model' again, and none was named");
                }
                None => {}
            }
            return Ok(());
        };
        *own = self.read(path)?.beside();
        pipeline.notice(&format!("from now on the model in {} judges", path.display()));
        Ok(())
    }
}

/// The settings with which a run's learners begin.
pub(super) fn settings(run: &Run) -> Settings {
    Settings { seed: run.seed, ..Settings::default() }
}

fn file(run: &Run) -> Option<PathBuf> {
    run.model.clone().filter(|path| is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::learners::Builtin;

    #[tokio::test]
    async fn a_model_that_is_read_again_has_the_seed_of_the_run() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("model.json");
        let begin = |from, settings: &Settings| Learners::begin(from, FlowColumns::Headers, settings, None);
        let builtin = begin(Begin::Builtin(Builtin::Both), &Settings::default()).expect("it ships with flowml");
        builtin.save(&path).expect("there is room");
        // A file with one learner: the other begins with the settings of the run.
        let text = std::fs::read(&path).expect("it was just written");
        let mut file: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        file["learners"].as_object_mut().expect("there are learners").remove("hosts");
        std::fs::write(&path, file.to_string()).expect("there is room");
        let run = Run { seed: 7, model: Some(path.clone()), ..Run::until(Vec::new(), None, 0) };
        let (kept, _dues) = KeptModel::new(&run, FlowColumns::Headers, None).expect("signals can be heard");
        let learners = kept.read(&path).expect("it is a model");
        assert_eq!(learners.hosts.acting().settings().seed, 7);
    }
}
