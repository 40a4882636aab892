//! The two models of the agent, one of flows and one of host windows: their origin and their file.
//!
//! ```
//! use flowml_user::engine::learners::{Begin, Builtin, Learners};
//! use flowml_user::features::FlowColumns;
//! use flowml_user::learning::{Settings, Status};
//!
//! let from = Begin::Builtin(Builtin::Both);
//! let learners = Learners::begin(from, FlowColumns::Headers, &Settings::default(), None)?;
//! assert!(learners.reports().iter().all(|report| matches!(report.status, Status::Ready { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alarms::AlarmLevel;
use super::budget::Budgets;
use crate::dataset::RowType;
use crate::export::LearnerReport;
use crate::features::{Column, FlowColumns, HOST_FEATURES, columns};
#[cfg(feature = "live")]
use crate::learning::fingerprint;
use crate::learning::statistics::Gathered;
use crate::learning::{
    Below, ClusterStatistics, Learner, ModelError, ModelEvent, ModelIdentity, Promotion, Settings, Snapshot, Status,
    TrafficModel,
};

/// The name of the model of flows in reports and files.
const FLOWS: &str = "flows";

/// The name of the model of host windows.
pub const HOSTS: &str = "hosts";

/// A shipped model: trained on normal traffic of the laboratory, made by `cargo xtask corpus --models`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Builtin {
    /// The model of incoming and outgoing traffic.
    Both,
    /// The model of incoming traffic only, as XDP receives it.
    Ingress,
}

impl Builtin {
    const ALL: [Self; 2] = [Self::Both, Self::Ingress];

    /// The name that can be given instead of a file.
    const fn name(self) -> &'static str {
        match self {
            Self::Both => "builtin",
            Self::Ingress => "builtin-ingress",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Both => include_str!("../../models/both.json"),
            Self::Ingress => include_str!("../../models/ingress.json"),
        }
    }

    /// The shipped model.
    ///
    /// # Errors
    /// If it is not a model of this version.
    pub fn model(self) -> Result<TrafficModel, ModelError> {
        TrafficModel::parse(Path::new(self.name()), self.text().as_bytes())
    }

    /// The shipped model of this name, if it is one.
    #[must_use]
    pub fn named(model: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|own| model.as_os_str() == own.name())
    }
}

/// The models of flows and of host windows.
pub struct Learners {
    /// The model of flows, which are scored when they end.
    pub flows: Promotion,
    /// The model of host windows.
    pub hosts: Promotion,
    budgets: Budgets,
    /// The file that the models are of.
    identity: Option<ModelIdentity>,
    /// Whether statistics of rows are gathered.
    gathers: bool,
    /// Statistics of models that these have replaced, by learner.
    gathered: Vec<(&'static str, Gathered)>,
}

/// Models as one run leaves them to the next: fingerprints of their columns, the models of flows and of host windows,
/// and the budgets.
#[cfg(feature = "live")]
pub(super) type KeptLearners = ([String; 2], [Promotion; 2], Budgets);

/// The origin of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin<'a> {
    /// No model: a warm-up comes first.
    Untrained,
    /// A shipped model, until a candidate is trained on local traffic.
    Builtin(Builtin),
    /// A model file.
    File(&'a Path),
}

impl<'a> Begin<'a> {
    /// The origin for a path that may be the name of a shipped model.
    #[must_use]
    pub fn named(model: &'a Path) -> Self {
        Builtin::named(model).map_or(Self::File(model), Self::Builtin)
    }
}

impl Learners {
    /// Untrained models, for flows with these columns.
    #[must_use]
    pub fn new(flows: FlowColumns, settings: &Settings) -> Self {
        Self::with(flows, of_flows(settings), of_host_windows(settings))
    }

    /// Untrained models with their settings.
    fn with(columns_of_flows: FlowColumns, flows: Settings, hosts: Settings) -> Self {
        Self {
            flows: Promotion::of(Learner::new(flow_columns(columns_of_flows), flows)),
            hosts: Promotion::of(Learner::new(columns(HOST_FEATURES), hosts)),
            budgets: Budgets::default(),
            identity: None,
            gathers: false,
            gathered: Vec::new(),
        }
    }

    /// Untrained models that are trained on complete captures before they score any row.
    #[must_use]
    pub(crate) fn of_whole(flows: FlowColumns, settings: &Settings) -> Self {
        let whole = |settings: Settings| Settings { warm_up_batches: u32::MAX, settling_batches: 0, ..settings };
        Self::with(flows, whole(of_flows(settings)), whole(of_host_windows(settings)))
    }

    /// Ends the warm-ups with the rows so far. Returns the names of models without any row to train on.
    pub fn fit(&mut self) -> Vec<&'static str> {
        let learners = [("flows", &mut self.flows), ("host windows", &mut self.hosts)];
        let without = |(name, learner): (_, &mut Promotion)| (!learner.acting_mut().fit()).then_some(name);
        learners.into_iter().filter_map(without).collect()
    }

    /// Models of this origin. `alarms` sets which rows are anomalies; without it the model does.
    ///
    /// # Errors
    /// If a file is not a model of these features.
    pub fn begin(
        from: Begin<'_>,
        flows: FlowColumns,
        settings: &Settings,
        alarms: Option<AlarmLevel>,
    ) -> Result<Self, ModelError> {
        let mut learners = match from {
            Begin::Untrained => Self::new(flows, settings),
            Begin::Builtin(which) => Self::builtin(which, flows, settings)?,
            Begin::File(path) => Self::of_file(&TrafficModel::read(path)?, flows, settings)?,
        };
        if let Some(level) = alarms {
            learners.set_alarms(level);
        }
        Ok(learners)
    }

    /// The same with this alarm level, or with the default of models.
    #[must_use]
    pub(crate) fn with_alarms(mut self, level: Option<AlarmLevel>) -> Self {
        self.set_alarms(level.unwrap_or(AlarmLevel::Probability(Settings::default().alpha)));
        self
    }

    /// From now on models are trained on a separate thread, as packets arrive meanwhile.
    #[must_use]
    pub fn beside(mut self) -> Self {
        self.flows.learn_beside();
        self.hosts.learn_beside();
        self
    }

    /// From now on statistics of rows are gathered, for models of a file and shipped models. Their clusters stay as they
    /// are then.
    #[must_use]
    pub fn with_statistics(mut self, gathers: bool) -> Self {
        if gathers {
            self.gathers = true;
            self.flows.gather(self.identity);
            self.hosts.gather(self.identity);
        }
        self
    }

    /// Tries the models of a file of the fleet beside the models in use. Those that were tried before are tried once more
    /// if `again` is set.
    ///
    /// # Errors
    /// If the file has no model, or models of other features.
    pub(super) fn offer(&mut self, file: &TrafficModel, flows: FlowColumns, again: bool) -> Result<(), ModelError> {
        let offered = Self::of_file(file, flows, &Settings::default())?;
        let pairs = [(&mut self.flows, offered.flows), (&mut self.hosts, offered.hosts)];
        for (own, mut offered) in pairs {
            // Without a merge it is the first model of the fleet.
            offered.acting_mut().fix(file.identity());
            own.offer(offered.into_acting(), again);
        }
        Ok(())
    }

    /// Notes that a model of the fleet cannot be tried.
    pub(super) fn refuse(&mut self, model: ModelIdentity) {
        self.flows.refuse(model);
        self.hosts.refuse(model);
    }

    /// A message for users if statistics are to be gathered, and a model is not that of a file.
    #[must_use]
    pub fn without_statistics(&self) -> Option<String> {
        let is_moving = |(_, promotion): &&(_, &Promotion)| promotion.acting().fixed().is_none();
        let names: Vec<&str> = self.named().iter().filter(is_moving).map(|(name, _)| *name).collect();
        (self.gathers && !names.is_empty()).then(|| {
            format!("no statistics of {} are sent, because the model in use is not that of a file", names.join(" and "))
        })
    }

    /// The statistics of the rows since the last call, from `start_ms` to `end_ms`.
    pub(super) fn take_statistics(&mut self, start_ms: u64, end_ms: u64) -> Vec<ClusterStatistics> {
        let row =
            |(learner, (model, cluster, sums))| ClusterStatistics { model, learner, start_ms, end_ms, cluster, sums };
        self.take_gathered().into_iter().map(row).collect()
    }

    /// The statistics since the last call, by learner.
    fn take_gathered(&mut self) -> Vec<(&'static str, Gathered)> {
        let mut gathered = std::mem::take(&mut self.gathered);
        for (learner, promotion) in [(FLOWS, &mut self.flows), (HOSTS, &mut self.hosts)] {
            gathered.extend(promotion.take_statistics().into_iter().map(|of_cluster| (learner, of_cluster)));
        }
        gathered
    }

    /// Replaces other models, with their statistics that were not sent.
    #[must_use]
    #[cfg(feature = "live")]
    pub(super) fn instead_of(self, other: &mut Self) -> Self {
        Self { gathered: other.take_gathered(), ..self.with_statistics(other.gathers) }
    }

    /// From now on the models only score, and are not trained further.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.flows.hold();
        self.hosts.hold();
        self
    }

    /// Whether there is a trained model for rows of this type.
    #[must_use]
    pub fn can_judge(&self, rows: RowType) -> bool {
        let learner = match rows {
            RowType::Flow => &self.flows,
            RowType::Host | RowType::Incident => &self.hosts,
        };
        matches!(learner.status(), Status::Ready { .. })
    }

    /// Sets the alarm level.
    pub(crate) fn set_alarms(&mut self, level: AlarmLevel) {
        match level {
            AlarmLevel::Probability(alpha) => {
                self.budgets.set(None);
                self.flows.set_alpha(alpha);
                self.hosts.set_alpha(alpha);
            }
            AlarmLevel::FalseAlarms(rate) => self.budgets.set(Some(rate.per_second)),
        }
    }

    /// Sets the alarm level for the flows of an interval, if it depends on their number.
    pub(crate) fn expect_flows(&mut self, rows: usize, elapsed: Duration) {
        if let Some(alpha) = self.budgets.flows(rows, elapsed) {
            self.flows.set_alpha(alpha);
        }
    }

    /// The same for host windows, and the level of incidents.
    pub(crate) fn expect_hosts(&mut self, rows: usize, elapsed: Duration) {
        if let Some(alpha) = self.budgets.hosts(rows, elapsed) {
            self.hosts.set_alpha(alpha);
        }
    }

    /// The probability that one of the windows of an incident must be below, if host windows alone show it.
    pub(super) const fn incident_level(&self) -> f64 {
        self.budgets.incident_level()
    }

    /// The models of a file. A model that the file lacks starts untrained.
    ///
    /// # Errors
    /// If the file has no model, a model with another name, or models of other features.
    pub fn of_file(file: &TrafficModel, flows: FlowColumns, settings: &Settings) -> Result<Self, ModelError> {
        file.check(&[FLOWS, HOSTS])?;
        let mut learners = Self { identity: Some(file.identity()), ..Self::new(flows, settings) };
        if let Some(learner) = file.learner(FLOWS, flow_columns(flows))? {
            learners.flows = Promotion::of(learner);
        }
        if let Some(learner) = file.learner(HOSTS, columns(HOST_FEATURES))? {
            learners.hosts = Promotion::of(learner);
        }
        Ok(learners)
    }

    fn builtin(which: Builtin, flows: FlowColumns, settings: &Settings) -> Result<Self, ModelError> {
        let file = which.model()?;
        let mut learners = Self { identity: Some(file.identity()), ..Self::new(flows, settings) };
        // The shipped model has no payload features, so a model of flows with payload starts untrained.
        if flows == FlowColumns::Headers
            && let Some(learner) = file.learner(FLOWS, flow_columns(flows))?
        {
            learners.flows = Promotion::of_other_traffic(learner, of_flows(settings).unhurried());
        }
        if let Some(learner) = file.learner(HOSTS, columns(HOST_FEATURES))? {
            learners.hosts = Promotion::of_other_traffic(learner, of_host_windows(settings).unhurried());
        }
        Ok(learners)
    }

    /// The states of the models.
    #[must_use]
    pub fn reports(&self) -> Vec<LearnerReport> {
        let report = |(of, learner): (_, &Promotion)| LearnerReport {
            of,
            status: learner.status(),
            beside: learner.candidate_status(),
            fleet: learner.offered(),
            clusters: learner.clusters(),
        };
        self.named().map(report).into()
    }

    /// Events of the models that were not reported yet.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = (&'static str, ModelEvent)> {
        let [flows, hosts] = [self.flows.events(), self.hosts.events()];
        let named = |name| move |event| (name, event);
        flows.into_iter().map(named(FLOWS)).chain(hosts.into_iter().map(named(HOSTS)))
    }

    /// Saves the models. Nothing is saved while all are warming up.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.snapshot(path)?.map_or(Ok(()), Snapshot::write)
    }

    /// A snapshot for [`save`](Self::save).
    ///
    /// # Errors
    /// If a model cannot be serialised.
    pub(crate) fn snapshot(&self, path: &Path) -> Result<Option<Snapshot>, ModelError> {
        if self.named().iter().all(|(_, learner)| matches!(learner.status(), Status::WarmingUp { .. })) {
            return Ok(None);
        }
        TrafficModel::snapshot(path, &self.named().map(|(name, learner)| (name, learner.acting()))).map(Some)
    }

    /// The data that the next run needs to continue with the models, if its columns are the same.
    #[cfg(feature = "live")]
    pub(super) fn kept(&self) -> KeptLearners {
        let fingerprints = [&self.flows, &self.hosts].map(|learner| fingerprint(learner.acting().columns()));
        (fingerprints, [self.flows.clone(), self.hosts.clone()], self.budgets)
    }

    /// The models that an earlier run left, for flows with these columns.
    ///
    /// # Errors
    /// If the models were trained on other columns.
    #[cfg(feature = "live")]
    pub(super) fn of_kept((known, learners, budgets): KeptLearners, flows: FlowColumns) -> Result<Self, String> {
        let [mut flows_learner, mut hosts_learner] = learners;
        let [of_flows, of_hosts] = [flow_columns(flows), columns(HOST_FEATURES)];
        if known != [&of_flows, &of_hosts].map(|columns| fingerprint(columns)) {
            return Err("they were trained on other columns".to_owned());
        }
        flows_learner.fit_to(&of_flows)?;
        hosts_learner.fit_to(&of_hosts)?;
        let fresh = Self::new(flows, &Settings::default());
        Ok(Self { flows: flows_learner, hosts: hosts_learner, budgets, ..fresh })
    }

    const fn named(&self) -> [(&'static str, &Promotion); 2] {
        [(FLOWS, &self.flows), (HOSTS, &self.hosts)]
    }
}

/// Whether a model argument is a file, to which the model is saved.
#[must_use]
pub fn is_file(model: &Path) -> bool {
    Builtin::named(model).is_none()
}

/// The columns of the model of flows.
fn flow_columns(flows: FlowColumns) -> Vec<Column> {
    columns(&flows.features().collect::<Vec<_>>())
}

/// Maximum number of host windows of one drain used for training, chosen at random. All windows are scored.
///
/// A flood has thousands of spoofed sources per second, each of which looks like a quiet host. Without a limit they
/// would become normal within seconds.
const HOSTS_LEARNT: usize = 64;

/// Drains of the first two seconds are not used for training. Their flows began before the meter and are incomplete,
/// and their host windows are not full yet.
const SETTLING_BATCHES: u32 = 2;

fn of_flows(settings: &Settings) -> Settings {
    Settings { settling_batches: SETTLING_BATCHES, ..settings.clone() }
}

fn of_host_windows(settings: &Settings) -> Settings {
    let learnt_rows_per_batch = HOSTS_LEARNT.min(settings.learnt_rows_per_batch);
    Settings { learnt_rows_per_batch, below: Below::PAUSES, ..of_flows(settings) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_model_or_with_another_is_refused() {
        let begin = |learners: &str| {
            let text = format!(
                "{{\"format\": \"flowml-model\", \"version\": 7, \"kind\": \"traffic\", \"learners\": {learners}}}"
            );
            let file = TrafficModel::parse(Path::new("a.json"), text.as_bytes()).expect("JSON of this version");
            Learners::of_file(&file, FlowColumns::Headers, &Settings::default()).map(|_| ())
        };
        for (learners, found) in [("{}", "no learner"), ("{\"flow\": {}}", "a learner 'flow'")] {
            let error = begin(learners).expect_err("it is no model").to_string();
            assert!(error.ends_with(&format!("it has {found}; expected the learners 'flows' and 'hosts'")), "{error}");
        }
    }

    #[test]
    fn rows_are_scored_by_the_model_of_their_type() {
        let all: serde_json::Value = serde_json::from_str(Builtin::Both.text()).expect("a model");
        for (name, other, of) in [(FLOWS, HOSTS, RowType::Flow), (HOSTS, FLOWS, RowType::Host)] {
            let mut file = all.clone();
            file["learners"].as_object_mut().expect("learners").remove(other);
            let file = TrafficModel::parse(Path::new("a.json"), file.to_string().as_bytes()).expect("a model");
            let learners =
                Learners::of_file(&file, FlowColumns::Headers, &Settings::default()).expect("of its features");
            for rows in [RowType::Flow, RowType::Host] {
                assert_eq!(learners.can_judge(rows), rows == of, "{rows:?} by the learner of {name}");
            }
        }
    }

    #[test]
    fn the_shipped_models_have_the_features_of_flowml() {
        let begin = |which| Learners::begin(Begin::Builtin(which), FlowColumns::Headers, &Settings::default(), None);
        let learners = Builtin::ALL.map(|which| {
            begin(which).expect("after a change of the features, 'cargo xtask corpus --models' makes them again")
        });
        for report in learners.iter().flat_map(Learners::reports) {
            assert!(matches!(report.status, Status::Ready { .. }), "{}: {}", report.of, report.status);
            assert!(matches!(report.beside, Some(Status::WarmingUp { .. })), "{}", report.of);
        }
    }
}
