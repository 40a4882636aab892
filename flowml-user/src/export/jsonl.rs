//! Writes JSON lines: one object per row, with its kind in `type`.

use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, OVERFLOW_PROTOCOLS};
use flowml_common::tunnel::{Outcome, TunnelCounts, TunnelKind};
use serde::{Serialize, Serializer};

use super::columns::{Cell, reason_cells};
use super::origin::Origin;
use super::output::Output;
use super::report::{CollectorReport, OutputLoss, Summary};
use super::row::{Row, TakeRow};
use super::shedding::STEPS;
use crate::incident::{Incident, State};
use crate::record::{Clock, Value};
use crate::session::Left;

/// Writes the rows to an output of JSON lines.
impl TakeRow for Output {
    fn take_row<C: Iterator<Item = (&'static str, Cell)>>(&mut self, row: Row<'_, C>) {
        self.row(|line| write_row(line, row, []));
    }
}

/// Appends an event of an incident, with the cells of who sends it before those of the incident.
pub(super) fn write_incident<const N: usize>(
    line: &mut Vec<u8>,
    state: State,
    incident: &Incident,
    clock: Clock,
    sender: [(&'static str, Cell); N],
) {
    write_row(line, Row::of_incident(state, incident, clock), sender);
}

/// Appends one object, member by member, with the cells of who sends it before those of the row. Building a tree of values
/// first would cost more than the row itself.
pub(super) fn write_row<const N: usize, C: Iterator<Item = (&'static str, Cell)>>(
    line: &mut Vec<u8>,
    Row { kind, cells, reasons }: Row<'_, C>,
    sender: [(&'static str, Cell); N],
) {
    let kind = std::iter::once(("type", Cell::Value(Value::Name(kind))));
    write_members(line, kind.chain(sender).chain(cells));
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
    #[serde(flatten)]
    sender: Option<SenderRow<'a>>,
    packets_received: u64,
    packets_in_flows: u64,
    packets_skipped: Named<'a, u64>,
    bytes_received: u64,
    bytes_in_flows: u64,
    bytes_skipped: Named<'a, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnels: Option<Named<'a, Named<'a, u64>>>,
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
    statistics: u64,
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

/// Who sends the summary, and its number among the rows.
#[derive(Serialize)]
struct SenderRow<'a> {
    agent: &'a str,
    generation: u64,
    sequence: u64,
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

/// The encapsulations of packets, by kind and outcome. Kinds without packets are left out.
fn by_tunnel(tunnels: &TunnelCounts) -> Named<'static, Named<'static, u64>> {
    let outcomes =
        |kind| Outcome::ALL.iter().map(move |outcome| (outcome.name(), tunnels.of(kind, *outcome))).collect::<Vec<_>>();
    let kinds = TunnelKind::ALL.iter().map(|kind| (kind.name(), outcomes(*kind)));
    let with_packets = kinds.filter(|(_, outcomes)| outcomes.iter().any(|(_, packets)| *packets > 0));
    Named(with_packets.map(|(name, outcomes)| (name, Named(outcomes))).collect())
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

/// Appends the summary, with who sends it and its sequence number if it goes to another host.
pub(super) fn write_summary(line: &mut Vec<u8>, summary: &Summary, sender: Option<(&Origin, u64)>) {
    let Summary { totals, rows, collectors, losses } = summary;
    let overflow = OVERFLOW_PROTOCOLS.iter().zip(&totals.overflow);
    let row = SummaryRow {
        sender: sender.map(|(Origin { agent, generation }, sequence)| SenderRow {
            agent,
            generation: *generation,
            sequence,
        }),
        packets_received: totals.received.packets,
        packets_in_flows: totals.in_flows.packets,
        packets_skipped: by_reason(&totals.skipped, |count| count.packets),
        bytes_received: totals.received.bytes,
        bytes_in_flows: totals.in_flows.bytes,
        bytes_skipped: by_reason(&totals.skipped, |count| count.bytes),
        tunnels: totals.tunnels.as_ref().map(by_tunnel),
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
        statistics: rows.statistics,
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
