//! The rows of a batch, one after the other, for outputs that write rows of every kind.

use super::batch::{Batch, anomalous};
use super::columns::{
    Cell, aggregate_cells, flow_anomaly_cells, flow_cells, host_anomaly_cells, host_cells, incident_cells,
    statistics_cells,
};
use crate::incident::{Incident, State};
use crate::learning::Reason;
use crate::record::Clock;

/// A row on its way to an output.
pub(super) struct Row<'a, C> {
    /// The kind of the row: `type` in JSON.
    pub(super) kind: &'static str,
    /// The values by the names of their columns.
    pub(super) cells: C,
    /// The reasons of an anomaly or of an incident.
    pub(super) reasons: Option<&'a [Reason]>,
}

/// Takes rows of every kind.
pub(super) trait TakeRow {
    fn take_row<C: Iterator<Item = (&'static str, Cell)>>(&mut self, row: Row<'_, C>);
}

/// Gives each row to `taker`. An anomaly follows its flow or host window.
pub(super) fn each_row(batch: &Batch, taker: &mut impl TakeRow) {
    match batch {
        Batch::Flows(rows) => rows.iter().for_each(|(flow, verdict)| {
            taker.take_row(Row { kind: "flow", cells: flow_cells(flow, verdict.as_ref()), reasons: None });
            if let Some(verdict) = anomalous(verdict) {
                let cells = flow_anomaly_cells(flow, verdict);
                taker.take_row(Row { kind: "anomaly", cells, reasons: Some(&verdict.reasons) });
            }
        }),
        Batch::Hosts(rows) => rows.iter().for_each(|(window, clock, verdict)| {
            taker.take_row(Row { kind: "host", cells: host_cells(window, *clock, verdict.as_ref()), reasons: None });
            if let Some(verdict) = anomalous(verdict) {
                let cells = host_anomaly_cells(window, *clock, verdict);
                taker.take_row(Row { kind: "anomaly", cells, reasons: Some(&verdict.reasons) });
            }
        }),
        Batch::Incidents(rows) => rows.iter().for_each(|(state, incident, clock)| {
            taker.take_row(Row::of_incident(*state, incident, *clock));
        }),
        Batch::Aggregates(rows) => rows.iter().for_each(|aggregate| {
            taker.take_row(Row { kind: "aggregate", cells: aggregate_cells(aggregate), reasons: None });
        }),
        Batch::Statistics(rows) => rows.iter().for_each(|statistics| {
            taker.take_row(Row { kind: "statistics", cells: statistics_cells(statistics), reasons: None });
        }),
    }
}

impl<'a> Row<'a, ()> {
    /// The row of an event of an incident.
    pub(super) fn of_incident(
        state: State,
        incident: &'a Incident,
        clock: Clock,
    ) -> Row<'a, impl Iterator<Item = (&'static str, Cell)>> {
        Row { kind: "incident", cells: incident_cells(state, incident, clock), reasons: Some(&incident.reasons) }
    }
}
