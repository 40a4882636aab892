//! The data that the UI shows: the last view, and what is kept of earlier ones.

use std::collections::{HashMap, VecDeque};

use flowml_common::packet::Skipped;
use flowml_common::table::{Count, add_counts};
use flowml_user::export::LearnerReport;
use flowml_user::incident::State;
use flowml_user::learning::{ClusterSummary, Status};

use super::id::Id;
use crate::ui::view::{Anomaly, View};

/// Maximum number of anomalies: the open incidents, and the latest other ones.
const MOST_ANOMALIES: usize = 1000;

/// Maximum number of messages.
const MOST_MESSAGES: usize = 200;

/// An anomaly and its start, Unix time in ms.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) anomaly: Anomaly,
    pub(super) began_ms: u64,
}

impl Noted {
    /// The identity of its row.
    pub(super) const fn key(&self) -> Id {
        match &self.anomaly {
            Anomaly::Incident(_, incident) => Id::Incident(incident.number),
            Anomaly::Flow(flow) => Id::AnomalousFlow(flow.key),
        }
    }
}

/// A cluster and its model.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) of: &'static str,
    pub(super) status: Status,
    pub(super) cluster: ClusterSummary,
}

impl Learnt {
    /// The typical values of the cluster, the most characteristic first.
    pub(super) fn typical(&self) -> Vec<String> {
        self.cluster.typical.iter().map(ToString::to_string).collect()
    }
}

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Notice,
    Warning,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) at_ms: u64,
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// All data to show.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) view: Option<View>,
    /// The clusters of all models.
    pub(super) learnt: Vec<Learnt>,
    anomalies: HashMap<Id, Noted>,
    /// Oldest first.
    pub(super) messages: VecDeque<Message>,
    /// Packets since the UI started.
    pub(super) received: Count,
    pub(super) skipped: [Count; Skipped::COUNT],
}

impl History {
    pub(super) fn push(&mut self, view: View) {
        let report = &view.report;
        self.received.add(report.received.packets, report.received.bytes);
        add_counts(&mut self.skipped, &report.skipped);
        self.learnt = report.learners.iter().flat_map(clusters).collect();
        for anomaly in &view.anomalies {
            let began_ms = match anomaly {
                Anomaly::Incident(_, incident) => report.clock.unix_ms(incident.start_ns),
                Anomaly::Flow(_) => report.end_ms,
            };
            let noted = Noted { anomaly: anomaly.clone(), began_ms };
            self.anomalies.insert(noted.key(), noted);
        }
        self.forget();
        self.view = Some(view);
    }

    /// Removes the oldest anomalies that are not open, if there are too many.
    fn forget(&mut self) {
        let surplus = self.anomalies.len().saturating_sub(MOST_ANOMALIES);
        if surplus > 0 {
            let is_open = |noted: &Noted| matches!(noted.anomaly, Anomaly::Incident(State::Open, _));
            let mut others: Vec<_> = self.anomalies.iter().filter(|(_, noted)| !is_open(noted)).collect();
            others.sort_unstable_by_key(|(_, noted)| noted.began_ms);
            let oldest: Vec<Id> = others.into_iter().take(surplus).map(|(id, _)| id.clone()).collect();
            for id in oldest {
                self.anomalies.remove(&id);
            }
        }
    }

    pub(super) fn message(&mut self, message: Message) {
        if self.messages.len() == MOST_MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    pub(super) fn anomalies(&self) -> impl Iterator<Item = &Noted> {
        self.anomalies.values()
    }

    /// A cluster of the `of` model.
    pub(super) fn cluster(&self, of: &str, id: u32) -> Option<&Learnt> {
        self.learnt.iter().find(|learnt| learnt.of == of && learnt.cluster.id == id)
    }

    /// The length of the last view, s.
    pub(super) fn seconds(&self) -> f64 {
        self.view.as_ref().map_or(0.0, |view| view.report.elapsed.as_secs_f64())
    }
}

fn clusters(learner: &LearnerReport) -> impl Iterator<Item = Learnt> {
    let LearnerReport { of, status, clusters, .. } = learner;
    clusters.iter().map(|cluster| Learnt { of, status: *status, cluster: cluster.clone() })
}
