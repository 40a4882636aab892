//! Tests of the metrics: their values, their names, and the documents that list them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_user::export::{
    Began, InterfaceReport, IntervalReport, LearnerReport, Level, Observer, OutputLine, RowCounts, Shedding,
};
use flowml_user::incident::{Hosts, Incident, State};
use flowml_user::learning::{FleetState, ModelHash, ModelIdentity, Status};
use flowml_user::record::Clock;
use flowml_user::sequential::{Evidence, Kind};

use super::metrics::{Metrics, PREFIX};
use crate::golden;

fn metrics() -> Metrics {
    let mut metrics = Metrics::new();
    let began = Began { interfaces: vec![interface("eth0")], entries: 1000, cpus: 4 };
    metrics.begin(&began).expect("it counts");
    metrics
}

fn interface(name: &str) -> InterfaceReport {
    InterfaceReport { name: name.to_owned(), capture_mode: "native" }
}

/// Metrics after an interval, when all labels exist.
fn used() -> Metrics {
    let mut metrics = metrics();
    metrics.interval(&report(), &RowCounts::default(), &[output("standard output", 1, 0)]);
    metrics
}

fn output(destination: &str, rows: u64, rows_lost: u64) -> OutputLine {
    OutputLine { destination: destination.to_owned(), rows, rows_lost, reader_gone: false }
}

fn incident(kind: Kind) -> Incident {
    let hosts = || Hosts { named: Vec::new(), count: 0 };
    Incident {
        series_ms: 0,
        number: 1,
        kind,
        evidence: Evidence::default(),
        start_ns: 0,
        end_ns: 1,
        sources: hosts(),
        targets: hosts(),
        windows: 1,
        flows: 0,
        probability: 0.0,
        reasons: Vec::new(),
    }
}

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).expect("memory takes every byte");
    text
}

fn report() -> IntervalReport {
    let mut skipped = [Count::default(); Skipped::COUNT];
    skipped[Skipped::NotIp as usize] = Count { packets: 2, bytes: 120 };
    IntervalReport {
        end_ms: 0,
        clock: Clock::default(),
        elapsed: Duration::from_secs(1),
        interfaces: vec![interface("eth0")],
        received: Count { packets: 10, bytes: 1000 },
        skipped,
        tunnels: bytemuck::cast([[1_u64; 8]; 8]),
        flows_open: 3,
        flows_new: 1,
        occupancy: 0.25,
        drains: vec![Duration::from_millis(2), Duration::from_millis(20)],
        late: Duration::ZERO,
        level: Level::Records,
        shedding: Shedding { steps: [1, 2, 3, 4], aggregated: Count { packets: 5, bytes: 300 }, displaced: 6 },
        learners: vec![LearnerReport {
            of: "flows",
            status: Status::Ready { clusters: 1, calibration_scores: 300 },
            beside: None,
            fleet: Some((ModelIdentity { hash: ModelHash::of(b""), number: 7 }, FleetState::Refused)),
            clusters: Vec::new(),
        }],
        incidents: Vec::new(),
    }
}

#[test]
fn interfaces_have_labels_while_they_are_metered() {
    let mut metrics = metrics();
    metrics.meter(&[interface("eth0"), interface("eth1")]);
    metrics.meter(&[interface("eth1")]);
    let text = text(&metrics);
    assert!(!text.contains("interface=\"eth0\"") && text.contains("interface=\"eth1\""), "{text}");
}

#[test]
fn an_incident_is_open_as_soon_as_it_is_reported() {
    let mut metrics = metrics();
    let open = |metrics: &Metrics| text(metrics).contains("flowml_open_incidents 1");
    metrics.incident(State::Open, &incident(Kind::Unusual));
    assert!(open(&metrics));
    metrics.incident(State::Named, &incident(Kind::PortScan));
    assert!(open(&metrics));
    metrics.incident(State::Closed, &incident(Kind::PortScan));
    assert!(!open(&metrics));
}

#[test]
fn scraped_counters_are_the_sum_of_the_intervals() {
    let mut metrics = metrics();
    let outputs = |taken, lost| [output("udp://10.0.0.1:4739", taken, lost)];
    let rows = RowCounts {
        flows: 5,
        sessions: 4,
        hosts: 7,
        scored: 6,
        flow_anomalies: 1,
        host_anomalies: 2,
        ..RowCounts::default()
    };
    metrics.interval(&report(), &RowCounts::default(), &outputs(3, 0));
    for state in [State::Open, State::Closed] {
        metrics.incident(state, &incident(Kind::PortScan));
    }
    metrics.interval(&report(), &rows, &outputs(1, 4));
    let text = text(&metrics);
    for line in [
        "flowml_received_packets_total 20",
        "flowml_received_bytes_total 2000",
        "flowml_skipped_packets_total{reason=\"not_ip\"} 4",
        "flowml_skipped_bytes_total{reason=\"table_full\"} 0",
        "flowml_flows_total 5",
        "flowml_sessions_total 4",
        "flowml_anomalies_total{of=\"host\"} 2",
        "flowml_incidents_total{kind=\"port_scan\"} 1",
        "flowml_open_sessions 3",
        "flowml_table_capacity_flows 4000",
        "flowml_table_occupancy_ratio 0.25",
        "flowml_overload_level 3",
        "flowml_shed_total{step=\"records\"} 6",
        "flowml_aggregated_packets_total 10",
        "flowml_aggregated_bytes_total 600",
        "flowml_displaced_sessions_total 12",
        "flowml_fleet_model_number{learner=\"flows\"} 7",
        "flowml_fleet_model_state{learner=\"flows\"} 3",
        "flowml_fleet_model_state{learner=\"hosts\"} 0",
        "flowml_drain_duration_seconds_count 4",
        "flowml_drain_duration_seconds_bucket{le=\"0.003\"} 2",
        "flowml_output_rows_total{output=\"udp://10.0.0.1:4739\"} 5",
        "flowml_output_lost_rows_total{output=\"udp://10.0.0.1:4739\"} 4",
        "flowml_interface_info{interface=\"eth0\",capture_mode=\"native\"} 1",
        concat!("flowml_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

/// Name, type and help text of each metric family.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(1);
        let (kind, name, rest) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let family: &mut (String, String) = match kind {
            Some("HELP" | "TYPE") => families.entry(name.to_owned()).or_default(),
            _ => continue,
        };
        *(if kind == Some("HELP") { &mut family.1 } else { &mut family.0 }) = rest.trim_end_matches('.').to_owned();
    }
    families
}

/// The names of its series in Prometheus.
fn series(name: &str, kind: &str) -> Vec<String> {
    let ends: &[&str] = match kind {
        "counter" => &["_total"],
        "histogram" => &["_count", "_sum", "_bucket"],
        "info" => &["_info"],
        _ => &[""],
    };
    ends.iter().map(|end| format!("{name}{end}")).collect()
}

#[test]
fn the_document_lists_every_metric_and_each_has_help_and_type() {
    let mut table = "| metric | type | meaning |\n| --- | --- | --- |\n".to_owned();
    for (name, (kind, help)) in families(&text(&used())) {
        assert!(!kind.is_empty() && !help.is_empty(), "{name}");
        let names: Vec<_> = series(&name, &kind).iter().map(|name| format!("`{name}`")).collect();
        table += &format!("| {} | {kind} | {help} |\n", names.join(", "));
    }
    let document = golden::replaced(&golden::read("../docs/OPERATIONS.md"), "metrics", &table);
    golden::assert_is("../docs/OPERATIONS.md", &document);
}

#[test]
fn the_dashboard_queries_only_existing_metrics() {
    let there: HashSet<String> =
        families(&text(&used())).iter().flat_map(|(name, (kind, _))| series(name, kind)).collect();
    let dashboard: serde_json::Value = serde_json::from_str(&golden::read("../docs/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut asked = HashSet::new();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let query = target["expr"].as_str().expect("a query");
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words.filter(|word| word.starts_with(PREFIX)).collect();
        assert!(!names.is_empty(), "{query} asks for none of ours");
        asked.extend(names.into_iter().map(str::to_owned));
    }
    let unknown: Vec<_> = asked.difference(&there).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}");
    assert!(asked.len() > 10, "{asked:?}");
}
