//! What the sinks are told besides records: what happened in an interval, and in the whole run.

use std::time::Duration;

use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, OVERFLOW_PROTOCOLS};
use serde::Serialize;

use super::shedding::{Level, Shedding};
use crate::incident::Incident;
use crate::model::{ClusterSummary, Status};
use crate::record::Clock;
use crate::session::Left;

/// An interface that is metered, or a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// How its packets come in: `native`, `generic`, `tc`, or `file`.
    pub xdp_mode: &'static str,
}

impl InterfaceReport {
    /// All of them, for people.
    #[must_use]
    pub fn list(all: &[Self]) -> String {
        let each: Vec<String> = all.iter().map(|it| format!("{} ({})", it.name, it.xdp_mode)).collect();
        if each.is_empty() { "no interface".to_owned() } else { each.join(", ") }
    }
}

/// How a learner stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerReport {
    /// What it learns from: `flows` or `hosts`.
    pub of: &'static str,
    /// How far it is.
    pub status: Status,
    /// How far the one beside it is, which is to take over, if there is one.
    pub beside: Option<Status>,
    /// Its clusters, the largest first.
    pub clusters: Vec<ClusterSummary>,
}

/// What happened from one drain to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalReport {
    /// Unix time of the drain, ms.
    pub end_ms: u64,
    /// For the times of its incidents.
    pub clock: Clock,
    /// Time since the drain before.
    pub elapsed: Duration,
    /// What is metered.
    pub interfaces: Vec<InterfaceReport>,
    /// All that was received.
    pub received: Count,
    /// What is in no flow, by reason.
    pub skipped: [Count; Skipped::COUNT],
    /// Sessions that are open now.
    pub flows_open: u64,
    /// Sessions that were opened.
    pub flows_new: u64,
    /// The fullest CPU's part of its flow table in use before the drain, 0–1.
    pub occupancy: f64,
    /// How long each drain took, where that is measured.
    pub drains: Vec<Duration>,
    /// By how much the drain at its end was late.
    pub late: Duration,
    /// How much is left out for overload at its end.
    pub level: Level,
    /// What was left out.
    pub shedding: Shedding,
    /// The learners; none where nothing is scored.
    pub learners: Vec<LearnerReport>,
    /// The incidents that are open, the oldest first.
    pub incidents: Vec<Incident>,
}

impl IntervalReport {
    /// Both intervals as one.
    #[must_use]
    pub(super) fn followed_by(self, later: Self) -> Self {
        let add = |mut one: Count, other: Count| {
            one.add(other.packets, other.bytes);
            one
        };
        let mut skipped = self.skipped;
        skipped.iter_mut().zip(later.skipped).for_each(|(sum, count)| *sum = add(*sum, count));
        let mut shedding = self.shedding;
        shedding.add(&later.shedding);
        Self {
            elapsed: self.elapsed + later.elapsed,
            received: add(self.received, later.received),
            skipped,
            flows_new: self.flows_new + later.flows_new,
            occupancy: self.occupancy.max(later.occupancy),
            drains: [self.drains, later.drains].concat(),
            late: self.late.max(later.late),
            shedding,
            ..later
        }
    }

    /// How it stands right after the interval, when nothing more has come. Its incidents are over if the run is.
    #[must_use]
    pub(super) fn afterwards(&self) -> Self {
        Self {
            elapsed: Duration::ZERO,
            received: Count::default(),
            skipped: Default::default(),
            flows_new: 0,
            occupancy: 0.0,
            drains: Vec::new(),
            late: Duration::ZERO,
            shedding: Shedding::default(),
            incidents: Vec::new(),
            ..self.clone()
        }
    }
}

/// What happened from the first packet to the last drain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// What was metered.
    pub interfaces: Vec<InterfaceReport>,
    /// How long.
    pub duration: Duration,
    /// All that was received.
    pub received: Count,
    /// What is in flows.
    pub in_flows: Count,
    /// What is in no flow, by reason.
    pub skipped: [Count; Skipped::COUNT],
    /// Of what found the table full, how much was of which protocol.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
    /// Packets at which a session might have ended, but which stayed with those before for want of room in the flow table.
    pub boundaries_lost: u64,
    /// How often the kernel's table was emptied.
    pub drains: u64,
    /// Host windows that were given up because there were too many at once.
    pub hosts_left_out: u64,
    /// Incidents that have begun.
    pub incidents: u64,
    /// Anomalous host windows that are in no incident because too many were open.
    pub incidents_left_out: u64,
    /// What was left out for overload.
    pub shedding: Shedding,
    /// Where the table outlives agents, what those before this one took from it.
    pub earlier: Option<Account>,
    /// What an earlier run had left open, and this one went on with.
    pub taken_over: Left,
    /// What this one has left open for the next.
    pub left_open: Left,
    /// Of what is in flows, what is in no record that was made, lost or left out: nothing, or the agent is wrong.
    pub unaccounted: Count,
}

impl Totals {
    /// All that was skipped.
    #[must_use]
    pub fn skipped_in_all(&self) -> Count {
        self.skipped.iter().fold(Count::default(), |mut sum, count| {
            sum.add(count.packets, count.bytes);
            sum
        })
    }

    /// Whether the conservation law holds: received = in flows + skipped, and what is in flows is in records.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let mut accounted = self.skipped_in_all();
        accounted.add(self.in_flows.packets, self.in_flows.bytes);
        accounted == self.received && self.unaccounted == Count::default()
    }

    /// The mode of all interfaces, `mixed` where they differ.
    #[must_use]
    pub fn xdp_mode(&self) -> &'static str {
        let mut modes = self.interfaces.iter().map(|interface| interface.xdp_mode);
        let first = modes.next().unwrap_or("none");
        if modes.all(|mode| mode == first) { first } else { "mixed" }
    }
}

/// What became of the records for a collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CollectorReport {
    /// Which one.
    pub(super) destination: String,
    /// Records that were sent.
    #[serde(rename = "records_sent")]
    pub(super) sent: u64,
    /// Records that were not, or that it is known to have refused.
    #[serde(rename = "records_lost")]
    pub(super) lost: u64,
}

/// What an output that is no collector did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OutputLoss {
    /// Which one.
    pub(super) destination: String,
    /// Rows that are not there.
    pub(super) rows_lost: u64,
}

/// What the last row of a run says.
pub(super) struct Summary {
    pub(super) totals: Totals,
    pub(super) rows: Rows,
    pub(super) collectors: Vec<CollectorReport>,
    /// Of the outputs that lost rows before the summary.
    pub(super) losses: Vec<OutputLoss>,
}

/// Rows that were handed to the sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) flows: u64,
    /// Flow rows that continue none before: the sessions.
    pub(super) sessions: u64,
    pub(super) hosts: u64,
    pub(super) aggregates: u64,
    /// Rows of both that have a verdict.
    pub(super) scored: u64,
    pub(super) flow_anomalies: u64,
    pub(super) host_anomalies: u64,
}

impl Rows {
    pub(super) fn anomalies(&self) -> u64 {
        self.flow_anomalies + self.host_anomalies
    }
}
