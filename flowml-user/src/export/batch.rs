//! Batches: consecutive rows of one kind on their way to the outputs.

use crate::features::{Aggregate, FlowRow, HostWindow};
use crate::incident::{Incident, State};
use crate::learning::{ClusterStatistics, Reason, Verdict};
use crate::record::Clock;

/// Memory of the rows at which a batch is full, bytes.
const FULL_BYTES: usize = 256 << 10;

/// A flow and its verdict.
pub(super) type JudgedFlow = (FlowRow, Option<Verdict>);

/// A host window, the clock of its times, and its verdict.
pub(super) type JudgedHost = (HostWindow, Clock, Option<Verdict>);

/// An event of an incident, and the clock of its times.
pub(super) type IncidentEvent = (State, Incident, Clock);

/// Consecutive rows of one kind. Rows of anomalies are not included: each follows from its flow or host window.
pub(super) enum Batch {
    Flows(Vec<JudgedFlow>),
    Hosts(Vec<JudgedHost>),
    Incidents(Vec<IncidentEvent>),
    Aggregates(Vec<Aggregate>),
    Statistics(Vec<ClusterStatistics>),
}

impl Batch {
    /// An empty batch.
    pub(super) const fn new() -> Self {
        Self::Flows(Vec::new())
    }

    /// A batch that starts with this flow, with room for all flows of a full one.
    pub(super) fn of_flow(first: JudgedFlow) -> Self {
        let mut rows = Vec::with_capacity(FULL_BYTES.div_ceil(size_of::<JudgedFlow>()));
        rows.push(first);
        Self::Flows(rows)
    }

    /// Memory of the rows with their reasons, bytes.
    pub(super) fn bytes(&self) -> usize {
        let reasons = |verdict: &Option<Verdict>| verdict.as_ref().map_or(0, |verdict| verdict.reasons.len());
        let (each, reasons): (usize, usize) = match self {
            Self::Flows(rows) => (size_of_val(rows.as_slice()), rows.iter().map(|(_, verdict)| reasons(verdict)).sum()),
            Self::Hosts(rows) => {
                (size_of_val(rows.as_slice()), rows.iter().map(|(.., verdict)| reasons(verdict)).sum())
            }
            Self::Incidents(rows) => {
                (size_of_val(rows.as_slice()), rows.iter().map(|(_, incident, _)| incident.reasons.len()).sum())
            }
            Self::Aggregates(rows) => (size_of_val(rows.as_slice()), 0),
            Self::Statistics(rows) => (rows.iter().map(|row| size_of_val(row) + row.sums.bytes()).sum(), 0),
        };
        each + reasons * size_of::<Reason>()
    }

    /// Whether the next row must go into a new batch.
    pub(super) fn is_full(&self) -> bool {
        let bytes = match self {
            Self::Flows(rows) => rows.len() * size_of::<JudgedFlow>(),
            Self::Hosts(rows) => rows.len() * size_of::<JudgedHost>(),
            Self::Incidents(rows) => rows.len() * size_of::<IncidentEvent>(),
            Self::Aggregates(rows) => rows.len() * size_of::<Aggregate>(),
            Self::Statistics(_) => self.bytes(),
        };
        bytes >= FULL_BYTES
    }

    pub(super) const fn is_empty(&self) -> bool {
        match self {
            Self::Flows(rows) => rows.is_empty(),
            Self::Hosts(rows) => rows.is_empty(),
            Self::Incidents(rows) => rows.is_empty(),
            Self::Aggregates(rows) => rows.is_empty(),
            Self::Statistics(rows) => rows.is_empty(),
        }
    }

    /// The number of events of incidents.
    pub(super) const fn incidents(&self) -> u64 {
        match self {
            Self::Incidents(rows) => rows.len() as u64,
            Self::Flows(_) | Self::Hosts(_) | Self::Aggregates(_) | Self::Statistics(_) => 0,
        }
    }

    /// Whether its rows are in tables. Statistics are only sent as rows.
    pub(super) const fn is_of_tables(&self) -> bool {
        !matches!(self, Self::Statistics(_))
    }

    /// The number of flow rows, and the number of all rows including those of anomalies.
    pub(super) fn rows(&self) -> (u64, u64) {
        let anomaly = |verdict: &Option<Verdict>| u64::from(anomalous(verdict).is_some());
        match self {
            Self::Flows(rows) => {
                let flows = rows.len() as u64;
                (flows, flows + rows.iter().map(|(_, verdict)| anomaly(verdict)).sum::<u64>())
            }
            Self::Hosts(rows) => {
                (0, rows.len() as u64 + rows.iter().map(|(.., verdict)| anomaly(verdict)).sum::<u64>())
            }
            Self::Incidents(rows) => (0, rows.len() as u64),
            Self::Aggregates(rows) => (0, rows.len() as u64),
            Self::Statistics(rows) => (0, rows.len() as u64),
        }
    }
}

/// The verdict, if it classifies its row as an anomaly.
pub(super) fn anomalous(verdict: &Option<Verdict>) -> Option<&Verdict> {
    verdict.as_ref().filter(|verdict| verdict.anomaly)
}
