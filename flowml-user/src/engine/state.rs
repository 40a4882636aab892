//! The file of `--state`: open sessions that one run leaves for the next, and the models.
//!
//! Open sessions continue if no other run has drained the same flow table since: the file has the number of the drain
//! after which it was written. If the table no longer exists, open sessions end. Before either, the file is renamed;
//! under the new name it can be used only for the first case. So nothing in it is reported twice, even after a crash of
//! any run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use flowml_common::table::Count;
use serde::{Deserialize, Serialize};

use super::Pipeline;
use super::learners::{Begin, Builtin, KeptLearners, Learners};
use crate::features::{FlowColumns, HostWindows};
use crate::incident::Incidents;
use crate::process::kernel::boot;
use crate::process::replace::replace;
use crate::process::state::{Reader, StateError, Writer, open_file, write_file};
use crate::process::words::counted;
use crate::record::Clock;
use crate::sequential::SequentialTests;
use crate::session::{Left, Sessions};

#[cfg(test)]
mod tests;

/// The time at which sessions were left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    /// The boot ID. Times are those of a clock that starts with the host.
    boot: String,
    table: [u8; 20],
    drains: u64,
}

impl Moment {
    /// The moment after `drains` drains of a flow table.
    pub(super) fn new(table: [u8; 20], drains: u64) -> Self {
        Self { boot: boot(), table, drains }
    }

    /// Decides what happens to the sessions of a state file that was written at this moment.
    fn fate(&self, now: &Self) -> Fate {
        if self.boot != now.boot {
            Fate::Ends("the host was restarted since then")
        } else if self.table != now.table {
            Fate::Ends("the flow table is a different one")
        } else if self.drains != now.drains {
            Fate::IsPast
        } else {
            Fate::GoesOn
        }
    }
}

/// The treatment of sessions in a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    GoesOn,
    /// The sessions cannot continue, with the reason.
    Ends(&'static str),
    /// Another run has drained the flow table since.
    IsPast,
}

/// The origin of the models at the start of a run. Models of another origin are not continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// No model.
    Nothing,
    /// A shipped model.
    Builtin(Builtin),
}

impl Origin {
    /// None for a model file, which has the trained model itself.
    pub(super) const fn of(begin: Begin<'_>) -> Option<Self> {
        match begin {
            Begin::Untrained => Some(Self::Nothing),
            Begin::Builtin(which) => Some(Self::Builtin(which)),
            Begin::File(_) => None,
        }
    }
}

/// The open state at the end of an earlier run.
pub(super) struct Open {
    pub(super) sessions: Sessions,
    pub(super) windows: HostWindows,
    pub(super) tests: Box<SequentialTests>,
    pub(super) incidents: Box<Incidents>,
    pub(super) left: Left,
}

impl Open {
    /// The packets of `unreported` that remain without a record if this state is continued.
    pub(super) fn without(&self, unreported: Count) -> Count {
        let Count { packets, bytes } = self.left.counted;
        Count { packets: unreported.packets.saturating_sub(packets), bytes: unreported.bytes.saturating_sub(bytes) }
    }

    /// Reads the state into empty `sessions`.
    fn read<R: Read>(from: &mut Reader<R>, mut sessions: Sessions) -> Result<Self, StateError> {
        let (windows, tests, mut incidents): (_, _, Box<Incidents>) = from.take()?;
        incidents.hand_over();
        let left = sessions.restore(from)?;
        Ok(Self { sessions, windows, tests, incidents, left })
    }

    /// Writes the open state of a pipeline, as far as time allows.
    fn write<W: Write>(to: &mut Writer<W>, pipeline: &mut Pipeline) -> Result<Left, StateError> {
        to.put(&(&pipeline.windows, &pipeline.tests, &pipeline.incidents))?;
        let closing = pipeline.sinks.closing().clone();
        pipeline.sessions.save(to, |place, packets| closing.records(place, packets))
    }
}

/// Sessions that were open when an earlier run ended, and that cannot continue.
pub(super) struct Over {
    pub(super) sessions: Sessions,
    /// The clock of their times.
    pub(super) clock: Clock,
    pub(super) left: Left,
}

/// The content of the file.
#[derive(Default)]
pub(super) struct Found {
    pub(super) learners: Option<Learners>,
    pub(super) open: Option<Open>,
    pub(super) over: Option<Over>,
    /// Notices about it.
    pub(super) notices: Vec<String>,
    /// Warnings about it.
    pub(super) warnings: Vec<String>,
}

/// The state file of a run.
pub(super) struct KeptState {
    path: PathBuf,
    origin: Option<Origin>,
    /// The last drain that was processed.
    moment: Moment,
    /// Whether the file has the sessions of an earlier run. They are out of date once this run has drained the table.
    is_past: bool,
    /// The thread that writes the models.
    writing: Option<JoinHandle<Result<(), StateError>>>,
}

impl KeptState {
    /// Opens the file, and reads the content that can continue at `moment`, into empty `sessions`. Faults of the file
    /// are reported, and the run starts without its content. A file that is not a state file is not changed.
    pub(super) fn read(
        path: &Path,
        moment: Moment,
        origin: Option<Origin>,
        columns: FlowColumns,
        sessions: Sessions,
    ) -> (Option<Self>, Found) {
        let mut found = Found::default();
        let taken = taken(path);
        let is_taken = !path.exists() && taken.exists();
        let is_ours = match open_file(if is_taken { &taken } else { path }) {
            Ok(reader) => {
                match read(reader, &moment, is_taken, origin, columns, sessions) {
                    Ok(what) => found = what,
                    Err(error) => found.warnings.push(format!("the run starts without it: {error}")),
                }
                found.take(|| if is_taken { Ok(()) } else { replace(path, &taken) });
                true
            }
            Err(StateError::Io(error)) if error.kind() == ErrorKind::NotFound => true,
            Err(error @ StateError::OtherLayout(_)) => {
                found.warnings.push(format!("the run starts without it: {error}"));
                true
            }
            Err(error) => {
                found.warnings.push(format!("{error}; the file is not changed, and this run saves no state"));
                false
            }
        };
        for text in found.notices.iter_mut().chain(&mut found.warnings) {
            *text = format!("{}: {text}", path.display());
        }
        let kept = Self { path: path.to_owned(), origin, moment, is_past: true, writing: None };
        (is_ours.then_some(kept), found)
    }

    /// Sets the number of the drain whose epoch is being processed.
    pub(super) const fn drained(&mut self, drains: u64) {
        self.moment.drains = drains;
    }

    /// At the end of an interval: replaces the sessions of an earlier run by the models, and reports a failure.
    pub(super) fn look(&mut self, pipeline: &mut Pipeline) {
        if self.is_past {
            self.is_past = false;
            self.save(pipeline);
        } else if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(pipeline);
        }
    }

    /// Waits for the thread that writes the models.
    fn finish(&mut self, pipeline: &mut Pipeline) {
        let Some(thread) = self.writing.take() else { return };
        let written = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Err(error) = written.map_err(|error| self.failed(error)) {
            pipeline.warn(&format!("{error:#}"));
        }
    }

    /// Starts a thread that saves the models, unless the previous save is still running.
    pub(super) fn save(&mut self, pipeline: &mut Pipeline) {
        if self.writing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.finish(pipeline);
        let learners = self.learners(pipeline);
        let path = self.path.clone();
        let write = move || write(&path, |to| write_learners(to, None, learners.as_ref()));
        match thread::Builder::new().name("state".to_owned()).spawn(write) {
            Ok(thread) => self.writing = Some(thread),
            Err(error) => {
                pipeline.warn(&format!("{}: cannot start the thread that writes it: {error}", self.path.display()));
            }
        }
    }

    /// Leaves open sessions and models to the next run.
    pub(super) fn leave(&mut self, pipeline: &mut Pipeline, clock: Clock) -> Result<Left> {
        // The thread would overwrite the new file.
        self.finish(pipeline);
        let learners = self.learners(pipeline);
        let written = write(&self.path, |to| {
            write_learners(to, Some((&self.moment, clock)), learners.as_ref())?;
            Open::write(to, pipeline)
        });
        written.map_err(|error| {
            // Sessions that end now must not continue: the new file may exist although the sync of its folder failed.
            let _ = fs::remove_file(&self.path);
            self.failed(error)
        })
    }

    fn learners(&self, pipeline: &mut Pipeline) -> Option<(Origin, KeptLearners)> {
        let learners = pipeline.learners()?;
        self.origin.map(|origin| (origin, learners.kept()))
    }

    fn failed(&self, error: StateError) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("cannot write {}", self.path.display()))
    }
}

impl Found {
    /// Keeps the open sessions only if `claim` ensures that no other run reports them.
    fn take(&mut self, claim: impl FnOnce() -> io::Result<()>) {
        if self.open.is_none() && self.over.is_none() {
            return;
        }
        if let Err(error) = claim() {
            self.notices.clear();
            self.warnings.push(format!("its open sessions are ignored, because it cannot be renamed: {error}"));
            (self.open, self.over) = (None, None);
        }
    }
}

/// The name of a file whose sessions were taken by a run.
fn taken(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".taken");
    name.into()
}

/// Writes the file, and then removes the taken one. Its sessions are reported, or in the new file.
fn write<T>(path: &Path, fill: impl FnOnce(&mut Writer<File>) -> Result<T, StateError>) -> Result<T, StateError> {
    let written = write_file(path, fill)?;
    // If it cannot be removed, its sessions are still not used again, because its name is that of a used file.
    let _ = fs::remove_file(taken(path));
    Ok(written)
}

/// Starts a file with the moment of the open sessions, if any follow, and with the models.
fn write_learners<W: Write>(
    to: &mut Writer<W>,
    moment: Option<(&Moment, Clock)>,
    learners: Option<&(Origin, KeptLearners)>,
) -> Result<(), StateError> {
    to.put(&(moment, learners.map(|(origin, _)| origin)))?;
    learners.map_or(Ok(()), |(_, learners)| to.put_named(learners))
}

/// Reads a file.
fn read<R: Read>(
    mut from: Reader<R>,
    now: &Moment,
    is_taken: bool,
    wanted: Option<Origin>,
    columns: FlowColumns,
    sessions: Sessions,
) -> Result<Found, StateError> {
    let mut found = Found::default();
    let (moment, origin): (Option<(Moment, Clock)>, Option<Origin>) = from.take()?;
    if let Some(origin) = origin {
        let learners: KeptLearners = from.take()?;
        match Learners::of_kept(learners, columns) {
            _ if wanted != Some(origin) => {
                found.notices.push("its learners are ignored, because this run starts with another model".to_owned());
            }
            Ok(learners) => found.learners = Some(learners),
            Err(reason) => found.warnings.push(format!("its learners are ignored: {reason}")),
        }
    }
    let Some((moment, clock)) = moment else { return from.end().map(|()| found) };
    let fate = moment.fate(now);
    let past = match fate {
        Fate::IsPast => Some("another run has drained the flow table since then"),
        Fate::Ends(_) if is_taken => Some("another run may have written them"),
        Fate::GoesOn | Fate::Ends(_) => None,
    };
    if let Some(reason) = past {
        found.warnings.push(format!("its open sessions are ignored: {reason}"));
        return from.skip().map(|()| found);
    }
    let open = match Open::read(&mut from, sessions) {
        Err(StateError::TooMuch(reason)) => {
            found.warnings.push(format!("its open sessions are ignored: {reason}"));
            return from.skip().map(|()| found);
        }
        read => read?,
    };
    from.end()?;
    let [sessions, packets] = [(open.left.sessions, "open session"), (open.left.counted.packets, "packet")]
        .map(|(number, of)| counted(number, of));
    if let Fate::Ends(reason) = fate {
        found.notices.push(format!("{sessions} with {packets} end: {reason}"));
        found.over = Some(Over { sessions: open.sessions, clock, left: open.left });
    } else {
        found.notices.push(format!("{sessions} with {packets} continue"));
        found.open = Some(open);
    }
    Ok(found)
}
