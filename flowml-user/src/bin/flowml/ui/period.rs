//! Collects the rows since the last view, and makes the next view of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use flowml_common::flow::{Address, FlowKey, PartialFlow, Sender};
use flowml_common::table::Count;
use flowml_user::export::{IntervalReport, OutputLine, RecordedFlow};
use flowml_user::features::HostWindow;
use flowml_user::incident::{Incident, State};
use flowml_user::learning::Verdict;
use flowml_user::session::Standing;

use super::activity::{Activity, FlowActivity};
use super::view::{AnomalousFlow, Anomaly, FlowLine, HostLine, View};

/// Maximum number of subjects of a kind until the next view. The summary counts all rows.
const MOST: usize = 1 << 14;

/// The rows since the last view. A subject with several anomalies counts once.
#[derive(Default)]
pub(crate) struct Period {
    /// The merged reports of all intervals that ended in the period.
    report: Option<IntervalReport>,
    activity: Activity,
    flows: HashMap<FlowKey, (Sender, Verdict)>,
    hosts: HashMap<Address, Verdict>,
    /// Incidents that ended in the period.
    over: Vec<Incident>,
    /// Flows that are anomalies outside incidents, by key and whether the lower endpoint is the initiator.
    anomalous_flows: HashMap<(FlowKey, bool), AnomalousFlow>,
}

impl Period {
    pub(crate) fn partial_flow(&mut self, partial: &PartialFlow, standing: Standing) {
        self.activity.add(&partial.key, &partial.stats, standing.initiator);
    }

    pub(crate) fn flow(&mut self, flow: RecordedFlow, verdict: &Verdict, in_incident: bool) {
        let RecordedFlow { key, initiator, .. } = flow;
        insert_bounded(&mut self.flows, key, (initiator, verdict.clone()));
        if verdict.anomaly && !in_incident {
            self.anomalous_flow(AnomalousFlow { key, initiator, verdict: verdict.clone() });
        }
    }

    fn anomalous_flow(&mut self, flow: AnomalousFlow) {
        let subject = (flow.key, flow.initiator == Sender::Lower);
        let known = self.anomalous_flows.get(&subject);
        if known.is_none_or(|known| flow.verdict.probability < known.verdict.probability) {
            insert_bounded(&mut self.anomalous_flows, subject, flow);
        }
    }

    pub(crate) fn host(&mut self, window: &HostWindow, verdict: &Verdict) {
        insert_bounded(&mut self.hosts, window.address, verdict.clone());
    }

    /// Adds an incident that has ended. Open incidents are in the interval's report.
    pub(crate) fn incident(&mut self, state: State, incident: &Incident) {
        if state == State::Closed && self.over.len() < MOST {
            self.over.push(incident.clone());
        }
    }

    pub(crate) fn interval(&mut self, report: IntervalReport) {
        self.report = Some(match self.report.take() {
            Some(earlier) => earlier.followed_by(report),
            None => report,
        });
    }

    /// Whether there is something to show. The flows that end with the run may be anomalies without a following
    /// interval.
    pub(crate) fn has_events(&self) -> bool {
        self.report.is_some() || !self.over.is_empty() || !self.anomalous_flows.is_empty()
    }

    /// The view of the period. If no interval has ended in it, the state is that of `last`.
    pub(crate) fn view(self, last: Option<&IntervalReport>, outputs: Vec<OutputLine>) -> Option<View> {
        let Self { report, activity, mut flows, hosts, over, anomalous_flows } = self;
        let report = report.or_else(|| last.map(IntervalReport::afterwards))?;
        let open = report.incidents.iter().map(|incident| Anomaly::Incident(State::Open, incident.clone()));
        let over = over.into_iter().map(|incident| Anomaly::Incident(State::Closed, incident));
        let anomalies = open.chain(over).chain(anomalous_flows.into_values().map(Anomaly::Flow)).collect();
        let mut lines: Vec<FlowLine> = Vec::with_capacity(activity.flows().len() + flows.len());
        for (&key, &activity) in activity.flows() {
            lines.push(FlowLine { key, activity, verdict: flows.remove(&key).map(|(_, verdict)| verdict) });
        }
        // Flows with a verdict but without a packet in this period: most ended by a timeout.
        lines.extend(flows.into_iter().map(|(key, (initiator, verdict))| {
            let activity = FlowActivity { initiator, sent: [Count::default(); 2] };
            FlowLine { key, activity, verdict: Some(verdict) }
        }));
        let host = |(&address, &activity)| HostLine { address, activity, verdict: hosts.get(&address).cloned() };
        let hosts = activity.hosts().iter().map(host).collect();
        Some(View { report, anomalies, flows: lines, hosts, outputs })
    }
}

fn insert_bounded<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    let room = map.len() < MOST;
    match map.entry(key) {
        Entry::Occupied(mut known) => drop(known.insert(value)),
        Entry::Vacant(place) if room => drop(place.insert(value)),
        Entry::Vacant(_) => {}
    }
}
