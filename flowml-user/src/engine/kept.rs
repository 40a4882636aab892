//! The model file of a live run: saves it periodically, and reloads it with the options at SIGHUP.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Pipeline;
use super::alarms::AlarmLevel;
use super::fleet::FleetModel;
use super::learners::{Begin, Learners, is_file};
use super::options::{Hangup, Options, Reread, Rereads};
use super::stop::received;
use crate::capture::kernel::monotonic_ns;
use crate::features::FlowColumns;
use crate::learning::{ModelError, Settings};
use crate::process::sandbox::Reach;
use crate::process::service::Service;

/// Interval between saves.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// The model file. It is saved periodically. At SIGHUP it is read again with the options, which may name another file,
/// unless SIGHUP ends the run.
pub(super) struct KeptModel {
    file: Option<PathBuf>,
    columns: FlowColumns,
    /// The files that the sandbox allows; None without a sandbox.
    reach: Option<Reach>,
    /// The settings at the start of the run.
    settings: Settings,
    alarms: Option<AlarmLevel>,
    /// The model of the fleet. It is read again at SIGHUP too.
    fleet_model: Option<FleetModel>,
    /// Reads the options again, if they are in a file.
    rereads: Option<Rereads>,
    /// The thread that writes a snapshot. The disk may be slow, and rows are processed meanwhile.
    writing: Option<JoinHandle<Result<(), ModelError>>>,
}

/// The times of saves and reloads.
pub(super) struct Dues {
    saves: Interval,
    /// None if SIGHUP ends the run.
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

/// A task that is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Save,
    Load,
}

impl KeptModel {
    pub(super) fn new(
        options: &Options,
        columns: FlowColumns,
        reach: Option<Reach>,
        rereads: Option<Rereads>,
    ) -> Result<(Self, Dues)> {
        let mut saves = interval_at(Instant::now() + SAVE_EVERY, SAVE_EVERY);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hangup = (options.hangup == Hangup::Reloads).then(|| signal(SignalKind::hangup())).transpose();
        let hangup = hangup.context("cannot listen for signals")?;
        let (file, settings) = (options.model_file().map(Path::to_owned), options.settings());
        let (alarms, fleet_model) = (options.alarms, options.fleet_model.clone());
        let kept = Self { file, columns, reach, settings, alarms, fleet_model, rereads, writing: None };
        Ok((kept, Dues { saves, hangup }))
    }

    /// The path to which the model is saved, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reports the result of the last save once its thread has ended.
    pub(super) fn look(&mut self, pipeline: &mut Pipeline) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(pipeline);
        }
    }

    /// Waits for the last save and reports its result, so that a later save can replace the file.
    pub(super) fn finish(&mut self, pipeline: &mut Pipeline) {
        let Some(thread) = self.writing.take() else { return };
        if let Err(error) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            pipeline.warn(&format!("{:#}; the current model stays in use", Error::new(error)));
        }
    }

    /// Runs a task. Errors are reported, and metering continues with the current model.
    pub(super) fn meet(&mut self, due: Due, pipeline: &mut Pipeline, service: &Service) {
        let done = match due {
            Due::Save => self.save(pipeline),
            Due::Load => {
                service.reloading(monotonic_ns());
                let loaded = self.configure(pipeline).and_then(|()| self.load(pipeline));
                self.offer(pipeline, true);
                service.ready(&pipeline.status());
                loaded
            }
        };
        if let Err(error) = done {
            pipeline.warn(&format!("{error:#}; the current model stays in use"));
        }
    }

    /// Starts a thread that saves the model, unless the previous save is still running.
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

    /// Reads the options again if they are in a file.
    fn configure(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        let Some(rereads) = &mut self.rereads else { return Ok(()) };
        let Reread { alarms, fleet_model, model, warnings } = rereads()?;
        warnings.iter().for_each(|text| pipeline.warn(text));
        (self.alarms, self.fleet_model) = (alarms, fleet_model);
        match model.filter(|path| is_file(path)) {
            Some(file) if self.reach.as_ref().is_some_and(|reach| !reach.includes(&file)) => pipeline.warn(&format!(
                "{}: the sandbox of this run does not include its folder, so it takes effect at the next start",
                file.display()
            )),
            file => self.file = file,
        }
        Ok(())
    }

    /// Tries the model of the fleet beside the model in use. One that was tried before is tried once more if `again` is set.
    /// A file that cannot be used is reported, and metering continues.
    pub(super) fn offer(&self, pipeline: &mut Pipeline, again: bool) {
        let (Some(model), Some(learners)) = (&self.fleet_model, pipeline.learners()) else { return };
        if let Err(error) = model.offer(learners, self.columns, again) {
            pipeline.warn(&format!(
                "the model of the fleet is refused: {:#}; the current model stays in use",
                Error::new(error)
            ));
        }
    }

    /// Reads the model file. Settings that the file lacks are those of the run.
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
                // This is normal in the first minutes of a service.
                Some(path) => {
                    pipeline.notice(&format!("{} does not exist yet: the current model stays in use", path.display()));
                }
                None if self.rereads.is_none() && self.fleet_model.is_none() => {
                    pipeline.warn("SIGHUP had no effect: it reads the files of '--config' and '--model' again, and this run has neither");
                }
                None => {}
            }
            return Ok(());
        };
        *own = self.read(path)?.beside().instead_of(own);
        pipeline.notice(&format!("rows are scored with the model in {} from now on", path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::learners::Builtin;

    #[tokio::test]
    async fn a_reloaded_model_has_the_seed_of_the_run() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("model.json");
        let begin = |from, settings: &Settings| Learners::begin(from, FlowColumns::Headers, settings, None);
        let builtin = begin(Begin::Builtin(Builtin::Both), &Settings::default()).expect("it ships with flowml");
        builtin.save(&path).expect("there is room");
        // The file has only one model, so the other one starts with the settings of the run.
        let text = std::fs::read(&path).expect("it was just written");
        let mut file: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        file["learners"].as_object_mut().expect("there are learners").remove("hosts");
        std::fs::write(&path, file.to_string()).expect("there is room");
        let options = Options { seed: 7, model: Some(path.clone()), ..Options::default() };
        let kept = KeptModel::new(&options, FlowColumns::Headers, None, None);
        let (kept, _dues) = kept.expect("signals can be heard");
        let learners = kept.read(&path).expect("it is a model");
        assert_eq!(learners.hosts.acting().settings().seed, 7);
    }
}
