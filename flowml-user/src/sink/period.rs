//! What came since people were last shown something, collected for the view of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use flowml_common::flow::{Address, FlowKey, Part};
use flowml_common::packet::Sender;
use flowml_common::table::Count;

use super::activity::{Activity, FlowActivity};
use super::report::IntervalReport;
use super::view::{Anomaly, FlowLine, HostLine, OddFlow, OutputLine, View};
use crate::features::{FlowRow, HostWindow};
use crate::incident::{Incident, State};
use crate::model::Verdict;
use crate::session::Standing;

/// Subjects of a kind that are remembered until the next view; the summary counts all rows.
const MOST: usize = 1 << 14;

/// What came since the last view. A subject that is anomalous several times within it is one.
#[derive(Default)]
pub(super) struct Period {
    /// Of all intervals that have ended in it, together.
    report: Option<IntervalReport>,
    activity: Activity,
    flows: HashMap<FlowKey, (Sender, Verdict)>,
    hosts: HashMap<Address, Verdict>,
    /// Incidents that have ended in it.
    over: Vec<Incident>,
    /// Flows that are anomalies and belong to no incident, by who opened them.
    odd_flows: HashMap<(FlowKey, bool), OddFlow>,
}

impl Period {
    pub(super) fn part(&mut self, part: &Part, standing: Standing) {
        self.activity.add(&part.key, &part.stats, standing.initiator);
    }

    pub(super) fn flow(&mut self, row: &FlowRow, verdict: &Verdict, in_incident: bool) {
        let (key, initiator) = (row.record.key, row.record.initiator);
        insert_bounded(&mut self.flows, key, (initiator, verdict.clone()));
        if verdict.anomaly && !in_incident {
            self.odd_flow(OddFlow { key, initiator, verdict: verdict.clone() });
        }
    }

    fn odd_flow(&mut self, flow: OddFlow) {
        let subject = (flow.key, flow.initiator == Sender::Lower);
        let known = self.odd_flows.get(&subject);
        if known.is_none_or(|known| flow.verdict.probability < known.verdict.probability) {
            insert_bounded(&mut self.odd_flows, subject, flow);
        }
    }

    pub(super) fn host(&mut self, window: &HostWindow, verdict: &Verdict) {
        insert_bounded(&mut self.hosts, window.address, verdict.clone());
    }

    /// Takes note of an incident that is over; those that are open come with the interval.
    pub(super) fn incident(&mut self, state: State, incident: &Incident) {
        if state == State::Closed && self.over.len() < MOST {
            self.over.push(incident.clone());
        }
    }

    pub(super) fn interval(&mut self, report: IntervalReport) {
        self.report = Some(match self.report.take() {
            Some(earlier) => earlier.followed_by(report),
            None => report,
        });
    }

    /// Whether there is something to show: the flows that end with the run may be anomalies though no interval follows
    /// them.
    pub(super) fn has_news(&self) -> bool {
        self.report.is_some() || !self.over.is_empty() || !self.odd_flows.is_empty()
    }

    /// What came; where no interval has ended, it stands as in `last`.
    pub(super) fn view(self, last: Option<&IntervalReport>, outputs: Vec<OutputLine>) -> Option<View> {
        let Self { report, activity, mut flows, hosts, over, odd_flows } = self;
        let report = report.or_else(|| last.map(IntervalReport::afterwards))?;
        let open = report.incidents.iter().map(|incident| Anomaly::Incident(State::Open, incident.clone()));
        let over = over.into_iter().map(|incident| Anomaly::Incident(State::Closed, incident));
        let anomalies = open.chain(over).chain(odd_flows.into_values().map(Anomaly::Flow)).collect();
        let mut lines: Vec<FlowLine> = Vec::with_capacity(activity.flows().len() + flows.len());
        for (&key, &activity) in activity.flows() {
            lines.push(FlowLine { key, activity, verdict: flows.remove(&key).map(|(_, verdict)| verdict) });
        }
        // Those that were judged without a packet in this time: most end by a timeout.
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
