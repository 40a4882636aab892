//! The two learners of the agent: one of flows, one of host windows, and their model files.

use std::path::{Path, PathBuf};

use crate::features::{Column, FlowColumns, HOST_FEATURES, columns};
use crate::model::{Learner, ModelError, Settings, Status};
use crate::sink::LearnerReport;

/// The learners.
pub struct Learners {
    /// Of the flows, as they end.
    pub flows: Learner,
    /// Of the host windows.
    pub hosts: Learner,
}

impl Learners {
    /// Learners that know nothing yet, for flows that have these columns.
    #[must_use]
    pub fn new(flows: FlowColumns, settings: &Settings) -> Self {
        Self {
            flows: Learner::new(flow_columns(flows), of_flows(settings)),
            hosts: Learner::new(columns(HOST_FEATURES), of_host_windows(settings)),
        }
    }

    /// The learners that were saved under `path`, or new ones where there is nothing.
    ///
    /// # Errors
    /// If a file that is there is no model of these features.
    pub fn begin(path: Option<&Path>, flows: FlowColumns, settings: &Settings) -> Result<Self, ModelError> {
        let Some(path) = path else { return Ok(Self::new(flows, settings)) };
        Ok(Self {
            flows: load(path, flow_columns(flows), &of_flows(settings))?,
            hosts: load(&of_hosts(path), columns(HOST_FEATURES), &of_host_windows(settings))?,
        })
    }

    /// How they stand.
    #[must_use]
    pub fn reports(&self) -> Vec<LearnerReport> {
        let all = [("flows", &self.flows), ("hosts", &self.hosts)];
        let report =
            |(of, learner): (_, &Learner)| LearnerReport { of, status: learner.status(), clusters: learner.clusters() };
        all.map(report).into()
    }

    /// Saves what was learnt under `path`; a learner that is still warming up has nothing to save.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn end(&self, path: Option<&Path>) -> Result<(), ModelError> {
        let Some(path) = path else { return Ok(()) };
        save(&self.flows, path)?;
        save(&self.hosts, &of_hosts(path))
    }
}

/// What the learner of flows needs to know of their columns.
fn flow_columns(flows: FlowColumns) -> Vec<Column> {
    columns(&flows.features().collect::<Vec<_>>())
}

/// The host windows of one drain from which the learner of hosts learns, at random; all are scored.
///
/// A flood invents thousands of sources a second, each of which looks like a quiet host by itself: learnt without
/// measure they would become what is ordinary within seconds.
const HOSTS_LEARNT: usize = 64;

/// Drains of the first two seconds show flows that were there before the meter, cut in the middle, and host windows that
/// are not yet full: nothing to learn from.
const SETTLING_BATCHES: u32 = 2;

fn of_flows(settings: &Settings) -> Settings {
    Settings { settling_batches: SETTLING_BATCHES, ..settings.clone() }
}

fn of_host_windows(settings: &Settings) -> Settings {
    Settings { learnt_rows_per_batch: HOSTS_LEARNT.min(settings.learnt_rows_per_batch), ..of_flows(settings) }
}

/// The model of hosts lies beside that of flows.
fn of_hosts(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".hosts");
    PathBuf::from(name)
}

fn load(path: &Path, columns: Vec<Column>, settings: &Settings) -> Result<Learner, ModelError> {
    if path.exists() { Learner::load(path, columns) } else { Ok(Learner::new(columns, settings.clone())) }
}

fn save(learner: &Learner, path: &Path) -> Result<(), ModelError> {
    if matches!(learner.status(), Status::WarmingUp { .. }) { Ok(()) } else { learner.save(path) }
}
