//! Writes JSON lines: one object per row, with its kind in `type`.

use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, OVERFLOW_PROTOCOLS};
use serde::{Serialize, Serializer};

use super::batch::{Batch, anomalous};
use super::columns::{
    Cell, aggregate_cells, flow_anomaly_cells, flow_cells, host_anomaly_cells, host_cells, incident_cells, reason_cells,
};
use super::report::{CollectorReport, OutputLoss, Summary};
use super::shedding::STEPS;
use crate::features::{FlowRow, HostWindow};
use crate::incident::{Incident, State};
use crate::learning::{Reason, Verdict};
use crate::record::{Clock, Value};
use crate::session::Left;

/// Calls `row` for each row with a function that writes it. An anomaly follows its flow or host window.
pub(super) fn write(batch: &Batch, mut row: impl FnMut(&dyn Fn(&mut Vec<u8>))) {
    match batch {
        Batch::Flows(rows) => rows.iter().for_each(|(flow, verdict)| {
            row(&|line| write_flow(line, flow, verdict.as_ref()));
            if let Some(verdict) = anomalous(verdict) {
                row(&|line| write_flow_anomaly(line, flow, verdict));
            }
        }),
        Batch::Hosts(rows) => rows.iter().for_each(|(window, clock, verdict)| {
            row(&|line| write_host(line, window, *clock, verdict.as_ref()));
            if let Some(verdict) = anomalous(verdict) {
                row(&|line| write_host_anomaly(line, window, *clock, verdict));
            }
        }),
        Batch::Incidents(rows) => rows.iter().for_each(|(state, incident, clock)| {
            row(&|line| write_incident(line, *state, incident, *clock, []));
        }),
        Batch::Aggregates(rows) => rows.iter().for_each(|aggregate| {
            row(&|line| write_row(line, "aggregate", aggregate_cells(aggregate), None));
        }),
    }
}

/// Appends a flow.
fn write_flow(line: &mut Vec<u8>, row: &FlowRow, verdict: Option<&Verdict>) {
    write_row(line, "flow", flow_cells(row, verdict), None);
}

/// Appends a host window.
fn write_host(line: &mut Vec<u8>, window: &HostWindow, clock: Clock, verdict: Option<&Verdict>) {
    write_row(line, "host", host_cells(window, clock, verdict), None);
}

/// Appends the anomaly of a flow.
fn write_flow_anomaly(line: &mut Vec<u8>, row: &FlowRow, verdict: &Verdict) {
    write_row(line, "anomaly", flow_anomaly_cells(row, verdict), Some(&verdict.reasons));
}

/// Appends the anomaly of a host window.
fn write_host_anomaly(line: &mut Vec<u8>, window: &HostWindow, clock: Clock, verdict: &Verdict) {
    write_row(line, "anomaly", host_anomaly_cells(window, clock, verdict), Some(&verdict.reasons));
}

/// Appends an event of an incident, with the cells of who sends it before those of the incident.
pub(super) fn write_incident<const N: usize>(
    line: &mut Vec<u8>,
    state: State,
    incident: &Incident,
    clock: Clock,
    sender: [(&'static str, Cell); N],
) {
    let cells = sender.into_iter().chain(incident_cells(state, incident, clock));
    write_row(line, "incident", cells, Some(&incident.reasons));
}

/// Appends one object, member by member. Building a tree of values first would cost more than the row itself.
fn write_row(
    line: &mut Vec<u8>,
    kind: &'static str,
    cells: impl Iterator<Item = (&'static str, Cell)>,
    reasons: Option<&[Reason]>,
) {
    let kind = std::iter::once(("type", Cell::Value(Value::Name(kind))));
    write_members(line, kind.chain(cells));
    if let Some(reasons) = reasons {
        line.extend_from_slice(b",\"reasons\":");
        let mut separator = b'[';
        for reason in reasons {
            line.push(separator);
            write_members(line, reason_cells(reason));
            line.push(b'}');
            separator = b',';
        }
        line.extend_from_slice(if reasons.is_empty() { b"[]" } else { b"]" });
    }
    line.extend_from_slice(b"}\n");
}

/// Opens an object with these members. The names are those of columns, which need no escaping.
fn write_members(line: &mut Vec<u8>, members: impl Iterator<Item = (&'static str, Cell)>) {
    let mut separator = b'{';
    members.for_each(|(name, cell)| {
        line.extend_from_slice(&[separator, b'"']);
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":");
        cell.write_json(line);
        separator = b',';
    });
}

/// The summary, the last row of a run.
#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct SummaryRow<'a> {
    packets_received: u64,
    packets_in_flows: u64,
    packets_skipped: Named<'a, u64>,
    bytes_received: u64,
    bytes_in_flows: u64,
    bytes_skipped: Named<'a, u64>,
    conserved: bool,
    overflow: Named<'a, CountRow>,
    boundaries_lost: u64,
    flows: u64,
    sessions: u64,
    hosts: u64,
    hosts_left_out: u64,
    scored: u64,
    anomalies: u64,
    flow_anomalies: u64,
    host_anomalies: u64,
    incidents: u64,
    incidents_left_out: u64,
    packets_aggregated: u64,
    bytes_aggregated: u64,
    aggregates: u64,
    shed: Named<'a, u64>,
    sessions_displaced: u64,
    drains: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier: Option<EarlierRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_over: Option<LeftRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_open: Option<LeftRow>,
    collectors: &'a [CollectorReport],
    losses: &'a [OutputLoss],
    interfaces: Vec<InterfaceRow<'a>>,
    capture_mode: &'a str,
    duration_s: f64,
}

/// The packet accounting of earlier agents of a pinned table.
#[derive(Serialize)]
struct EarlierRow<'a> {
    packets_received: u64,
    packets_in_flows: u64,
    packets_skipped: Named<'a, u64>,
    packets_unreported: u64,
    bytes_received: u64,
    bytes_in_flows: u64,
    bytes_skipped: Named<'a, u64>,
    bytes_unreported: u64,
}

/// Sessions that one run leaves to the next, and the packets in them that have no record.
#[derive(Serialize)]
struct LeftRow {
    sessions: u64,
    packets: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct CountRow {
    packets: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct InterfaceRow<'a> {
    name: &'a str,
    capture_mode: &'a str,
}

/// An object whose members have values of one kind.
struct Named<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn by_reason(skipped: &[Count], of: fn(&Count) -> u64) -> Named<'static, u64> {
    Named(Skipped::ALL.iter().zip(skipped).map(|(reason, count)| (reason.name(), of(count))).collect())
}

fn earlier(account: &Account) -> EarlierRow<'static> {
    let Account { received, in_flows, skipped, unreported, .. } = account;
    EarlierRow {
        packets_received: received.packets,
        packets_in_flows: in_flows.packets,
        packets_skipped: by_reason(skipped, |count| count.packets),
        packets_unreported: unreported.packets,
        bytes_received: received.bytes,
        bytes_in_flows: in_flows.bytes,
        bytes_skipped: by_reason(skipped, |count| count.bytes),
        bytes_unreported: unreported.bytes,
    }
}

fn left(left: &Left) -> Option<LeftRow> {
    let &Left { sessions, counted: Count { packets, bytes } } = left;
    (sessions > 0).then_some(LeftRow { sessions, packets, bytes })
}

/// Appends the summary.
pub(super) fn write_summary(line: &mut Vec<u8>, summary: &Summary) {
    let Summary { totals, rows, collectors, losses } = summary;
    let overflow = OVERFLOW_PROTOCOLS.iter().zip(&totals.overflow);
    let row = SummaryRow {
        packets_received: totals.received.packets,
        packets_in_flows: totals.in_flows.packets,
        packets_skipped: by_reason(&totals.skipped, |count| count.packets),
        bytes_received: totals.received.bytes,
        bytes_in_flows: totals.in_flows.bytes,
        bytes_skipped: by_reason(&totals.skipped, |count| count.bytes),
        conserved: totals.is_conserved(),
        overflow: Named(
            overflow.map(|(name, count)| (*name, CountRow { packets: count.packets, bytes: count.bytes })).collect(),
        ),
        boundaries_lost: totals.boundaries_lost,
        flows: rows.flows,
        sessions: rows.sessions,
        hosts: rows.hosts,
        hosts_left_out: totals.hosts_left_out,
        scored: rows.scored,
        anomalies: rows.anomalies(),
        flow_anomalies: rows.flow_anomalies,
        host_anomalies: rows.host_anomalies,
        incidents: totals.incidents,
        incidents_left_out: totals.incidents_left_out,
        packets_aggregated: totals.shedding.aggregated.packets,
        bytes_aggregated: totals.shedding.aggregated.bytes,
        aggregates: rows.aggregates,
        shed: Named(STEPS.iter().map(|step| step.name).zip(totals.shedding.steps).collect()),
        sessions_displaced: totals.shedding.displaced,
        drains: totals.drains,
        earlier: totals.earlier.as_ref().map(earlier),
        taken_over: left(&totals.taken_over),
        left_open: left(&totals.left_open),
        collectors,
        losses,
        interfaces: totals
            .interfaces
            .iter()
            .map(|interface| InterfaceRow { name: &interface.name, capture_mode: interface.capture_mode })
            .collect(),
        capture_mode: totals.capture_mode(),
        duration_s: totals.duration.as_secs_f64(),
    };
    serde_json::to_writer(&mut *line, &row).expect("memory takes every byte, and every key is text");
    line.push(b'\n');
}
