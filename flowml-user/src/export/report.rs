//! The reports of an interval and of the whole run that the sinks receive besides records.

use std::time::Duration;

use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, OVERFLOW_PROTOCOLS};
use flowml_common::tunnel::TunnelCounts;
use serde::Serialize;

use super::shedding::{Level, Shedding};
use crate::incident::Incident;
use crate::learning::{ClusterSummary, FleetState, ModelIdentity, Status};
use crate::record::Clock;
use crate::session::Left;

/// A metered interface, or a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// The name.
    pub name: String,
    /// The attach mode: `native`, `generic`, `tc`, or `file` for a capture.
    pub capture_mode: &'static str,
}

impl InterfaceReport {
    /// All interfaces in words.
    #[must_use]
    pub fn list(all: &[Self]) -> String {
        let each: Vec<String> = all.iter().map(|it| format!("{} ({})", it.name, it.capture_mode)).collect();
        if each.is_empty() { "no interface".to_owned() } else { each.join(", ") }
    }
}

/// The state of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerReport {
    /// The kind of its rows: `flows` or `hosts`.
    pub of: &'static str,
    /// The status of the learner.
    pub status: Status,
    /// The status of its candidate model, if there is one.
    pub beside: Option<Status>,
    /// The newest model of the fleet that was offered, and what became of it.
    pub fleet: Option<(ModelIdentity, FleetState)>,
    /// The clusters of the learner, largest first.
    pub clusters: Vec<ClusterSummary>,
}

/// The period from one drain to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalReport {
    /// Unix time of the drain, ms.
    pub end_ms: u64,
    /// The clock of the incidents' times.
    pub clock: Clock,
    /// Time since the previous drain.
    pub elapsed: Duration,
    /// The metered interfaces.
    pub interfaces: Vec<InterfaceReport>,
    /// Packets and bytes received.
    pub received: Count,
    /// Packets and bytes skipped, by reason.
    pub skipped: [Count; Skipped::COUNT],
    /// Encapsulations of the packets, if tunnels are looked into.
    pub tunnels: TunnelCounts,
    /// Number of open sessions.
    pub flows_open: u64,
    /// Number of new sessions.
    pub flows_new: u64,
    /// The fill level of the fullest CPU's flow table before the drain, 0–1.
    pub occupancy: f64,
    /// The duration of each drain, if it is measured.
    pub drains: Vec<Duration>,
    /// The lateness of the last drain.
    pub late: Duration,
    /// The level of overload at the end.
    pub level: Level,
    /// Counts of what was left out.
    pub shedding: Shedding,
    /// The models; empty without scoring.
    pub learners: Vec<LearnerReport>,
    /// The open incidents, oldest first.
    pub incidents: Vec<Incident>,
}

impl IntervalReport {
    /// The merged report of both intervals.
    #[must_use]
    pub fn followed_by(self, later: Self) -> Self {
        let add = |mut one: Count, other: Count| {
            one.add(other.packets, other.bytes);
            one
        };
        let mut skipped = self.skipped;
        skipped.iter_mut().zip(later.skipped).for_each(|(sum, count)| *sum = add(*sum, count));
        let (mut shedding, mut tunnels) = (self.shedding, self.tunnels);
        shedding.add(&later.shedding);
        tunnels.merge(&later.tunnels);
        Self {
            elapsed: self.elapsed + later.elapsed,
            received: add(self.received, later.received),
            skipped,
            tunnels,
            flows_new: self.flows_new + later.flows_new,
            occupancy: self.occupancy.max(later.occupancy),
            drains: [self.drains, later.drains].concat(),
            late: self.late.max(later.late),
            shedding,
            ..later
        }
    }

    /// The state right after the interval, without new traffic. It has no open incidents.
    #[must_use]
    pub fn afterwards(&self) -> Self {
        Self {
            elapsed: Duration::ZERO,
            received: Count::default(),
            skipped: Default::default(),
            tunnels: TunnelCounts::default(),
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

/// The totals of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// The interfaces that were metered.
    pub interfaces: Vec<InterfaceReport>,
    /// The duration of the run.
    pub duration: Duration,
    /// Packets and bytes received.
    pub received: Count,
    /// Packets and bytes in flows.
    pub in_flows: Count,
    /// Packets and bytes skipped, by reason.
    pub skipped: [Count; Skipped::COUNT],
    /// Encapsulations of the packets; `None` if tunnels are not looked into.
    pub tunnels: Option<TunnelCounts>,
    /// Packets and bytes that found the table full, by protocol.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
    /// Packets at which a session might have ended, but which were added to the earlier ones because the flow table had
    /// no room.
    pub boundaries_lost: u64,
    /// Number of drains.
    pub drains: u64,
    /// Host windows that were dropped because there were too many at once.
    pub hosts_left_out: u64,
    /// Number of incidents that were opened.
    pub incidents: u64,
    /// Anomalous host windows in no incident, because too many incidents were open.
    pub incidents_left_out: u64,
    /// Counts of what was left out under overload.
    pub shedding: Shedding,
    /// The packet accounting of earlier agents of a pinned table.
    pub earlier: Option<Account>,
    /// Sessions that an earlier run left open, and this one continued.
    pub taken_over: Left,
    /// Sessions that this run left open for the next.
    pub left_open: Left,
    /// Packets and bytes in flows that no record has, and that were not counted as lost or left out. Other than zero
    /// means an error in the agent.
    pub unaccounted: Count,
}

impl Totals {
    /// All skipped packets and bytes.
    #[must_use]
    pub fn skipped_in_all(&self) -> Count {
        self.skipped.iter().fold(Count::default(), |mut sum, count| {
            sum.add(count.packets, count.bytes);
            sum
        })
    }

    /// Whether packet accounting is consistent: received = in flows + skipped, and everything in flows is in records.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let mut accounted = self.skipped_in_all();
        accounted.add(self.in_flows.packets, self.in_flows.bytes);
        accounted == self.received && self.unaccounted == Count::default()
    }

    /// The attach mode of all interfaces, `mixed` if they differ.
    #[must_use]
    pub fn capture_mode(&self) -> &'static str {
        let mut modes = self.interfaces.iter().map(|interface| interface.capture_mode);
        let first = modes.next().unwrap_or("none");
        if modes.all(|mode| mode == first) { first } else { "mixed" }
    }
}

/// The counts of a collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CollectorReport {
    /// The collector.
    pub(super) destination: String,
    /// Records sent.
    #[serde(rename = "records_sent")]
    pub(super) sent: u64,
    /// Records not sent, or known to be refused.
    #[serde(rename = "records_lost")]
    pub(super) lost: u64,
}

/// The lost rows of an output that is not a collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OutputLoss {
    /// The output.
    pub(super) destination: String,
    /// Number of lost rows.
    pub(super) rows_lost: u64,
}

/// The content of the summary.
pub(super) struct Summary {
    pub(super) totals: Totals,
    pub(super) rows: RowCounts,
    pub(super) collectors: Vec<CollectorReport>,
    /// The outputs that lost rows before the summary.
    pub(super) losses: Vec<OutputLoss>,
}

/// The start of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Began {
    /// The metered interfaces.
    pub interfaces: Vec<InterfaceReport>,
    /// Entries of the flow table of each CPU.
    pub entries: u32,
    /// Number of CPUs.
    pub cpus: u32,
}

/// The rows of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    /// The output.
    pub destination: String,
    /// Rows that it accepted.
    pub rows: u64,
    /// Rows that it lost.
    pub rows_lost: u64,
    /// Standard output was closed by its reader; the rows that were not written do not count as lost.
    pub reader_gone: bool,
}

/// Counts of rows passed to the sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Flow rows.
    pub flows: u64,
    /// Flow rows that do not continue an earlier record: the sessions.
    pub sessions: u64,
    /// Host rows.
    pub hosts: u64,
    /// Aggregate records.
    pub aggregates: u64,
    /// Statistics of clusters.
    pub statistics: u64,
    /// Flow and host rows with a verdict.
    pub scored: u64,
    /// Flow rows that are anomalies.
    pub flow_anomalies: u64,
    /// Host rows that are anomalies.
    pub host_anomalies: u64,
}

impl RowCounts {
    /// Rows that are anomalies.
    #[must_use]
    pub const fn anomalies(&self) -> u64 {
        self.flow_anomalies + self.host_anomalies
    }
}
