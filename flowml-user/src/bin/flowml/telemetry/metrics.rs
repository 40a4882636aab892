//! Prometheus metrics of a live run: the counts of the summary so far, and the state of the agent.
//!
//! Metrics have no label for flows, hosts or single incidents, as the number of those depends on the traffic.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_user::export::{Began, InterfaceReport, IntervalReport, Observer, OutputLine, Rows, STEPS};
use flowml_user::incident::{Incident, State};
use flowml_user::sequential::Kind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Prefix of every metric name.
const PREFIX: &str = "flowml";

/// Bucket bounds for the duration of drains, s: from a few flows to more than a full table of the default size.
const DRAIN_SECONDS: [f64; 10] = [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0];

/// One label and its value.
type Label = [(&'static str, String); 1];

/// The metrics of a run. They are updated at the end of each interval and are consistent in between.
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    capacity: Gauge,
    metered: Family<[(&'static str, String); 2], Gauge>,
    interfaces: Vec<InterfaceReport>,
    received_packets: Counter,
    received_bytes: Counter,
    skipped_packets: Family<Label, Counter>,
    skipped_bytes: Family<Label, Counter>,
    flows: Counter,
    sessions: Counter,
    host_windows: Counter,
    scored_rows: Counter,
    anomalies: Family<Label, Counter>,
    incidents: Family<[(&'static str, &'static str); 1], Counter>,
    open_sessions: Gauge,
    open_incidents: Gauge,
    table_occupancy: Gauge<f64, AtomicU64>,
    drains: Histogram,
    lateness: Histogram,
    overload_level: Gauge,
    shed: Family<Label, Counter>,
    aggregated_packets: Counter,
    aggregated_bytes: Counter,
    displaced_sessions: Counter,
    output_rows: Family<Label, Counter>,
    output_lost_rows: Family<Label, Counter>,
}

/// Registers metrics under their names, each once.
struct Names(Registry);

impl Names {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// Adds a metric whose name ends in its unit.
    fn add_with_unit<M: Metric + Clone>(&mut self, name: &str, unit: Unit, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl Metrics {
    /// Creates the metrics of a run.
    #[must_use]
    pub(crate) fn new() -> Self {
        let mut names = Names(Registry::with_prefix(PREFIX));
        let packets = || Unit::Other("packets".to_owned());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names.0.register("build", "Version of the agent", build);
        let capacity =
            names.add("table_capacity_flows", "Entries of the kernel's flow table, of all CPUs", Gauge::default());
        let mut metrics = Self {
            capacity,
            metered: names.add(
                "interface_info",
                "Metered interfaces and their modes (native, generic, tc)",
                Family::default(),
            ),
            interfaces: Vec::new(),
            received_packets: names.add_with_unit("received", packets(), "Packets that were seen", Counter::default()),
            received_bytes: names.add_with_unit(
                "received",
                Unit::Bytes,
                "Frame bytes that were seen, without FCS",
                Counter::default(),
            ),
            skipped_packets: names.add_with_unit(
                "skipped",
                packets(),
                "Packets in no flow, by reason; the others are in flows",
                Family::default(),
            ),
            skipped_bytes: names.add_with_unit(
                "skipped",
                Unit::Bytes,
                "Frame bytes in no flow, by reason",
                Family::default(),
            ),
            flows: names.add("flows", "Flow records", Counter::default()),
            sessions: names.add("sessions", "Sessions whose first record was written", Counter::default()),
            host_windows: names.add("host_windows", "Host windows", Counter::default()),
            scored_rows: names.add("scored_rows", "Flow records and host windows that were judged", Counter::default()),
            anomalies: names.add("anomalies", "Flow records and host windows that are anomalies", Family::default()),
            incidents: names.add("incidents", "Incidents that have begun, by kind", Family::default()),
            open_sessions: names.add("open_sessions", "Sessions that are open", Gauge::default()),
            open_incidents: names.add("open_incidents", "Incidents that are open", Gauge::default()),
            table_occupancy: names.add(
                "table_occupancy_ratio",
                "Largest used ratio of the flow table of the fullest CPU in the last interval",
                Gauge::default(),
            ),
            drains: names.add_with_unit(
                "drain_duration",
                Unit::Seconds,
                "Duration of a drain: copying the kernel's flow table and emptying it",
                Histogram::new(DRAIN_SECONDS),
            ),
            lateness: names.add_with_unit(
                "drain_lateness",
                Unit::Seconds,
                "Delay of the drain at the end of an interval",
                Histogram::new(DRAIN_SECONDS),
            ),
            overload_level: names.add(
                "overload_level",
                "How much is left out for overload, 0 for nothing: 1 reasons, 2 scores, 3 records, 4 sessions",
                Gauge::default(),
            ),
            shed: names.add("shed", "What was left out for overload, by step", Family::default()),
            aggregated_packets: names.add_with_unit(
                "aggregated",
                packets(),
                "Packets in aggregate records",
                Counter::default(),
            ),
            aggregated_bytes: names.add_with_unit(
                "aggregated",
                Unit::Bytes,
                "Frame bytes in aggregate records",
                Counter::default(),
            ),
            displaced_sessions: names.add(
                "displaced_sessions",
                "Sessions that ended early because there were too many",
                Counter::default(),
            ),
            output_rows: names.add(
                "output_rows",
                "Rows and records that were sent to an output, including lost ones",
                Family::default(),
            ),
            output_lost_rows: names.add("output_lost_rows", "Rows and records that an output lost", Family::default()),
            registry: Arc::default(),
        };
        // Every series exists from the first scrape on, so that rates start at 0.
        for reason in Skipped::ALL {
            metrics.skipped_packets.get_or_create_owned(&by_reason(reason));
            metrics.skipped_bytes.get_or_create_owned(&by_reason(reason));
        }
        for step in &STEPS {
            metrics.shed.get_or_create_owned(&by_step(step.name));
        }
        for of in ["flow", "host"] {
            metrics.anomalies.get_or_create_owned(&[("of", of.to_owned())]);
        }
        for kind in Kind::all() {
            metrics.incidents.get_or_create_owned(&[("kind", kind.name())]);
        }
        metrics.registry = Arc::new(names.0);
        metrics
    }

    /// The registry to scrape.
    #[must_use]
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Replaces the metered interfaces in the labels.
    fn meter(&mut self, interfaces: &[InterfaceReport]) {
        if self.interfaces == interfaces {
            return;
        }
        let label =
            |it: &InterfaceReport| [("interface", it.name.clone()), ("capture_mode", it.capture_mode.to_owned())];
        for gone in self.interfaces.iter().filter(|known| !interfaces.contains(known)) {
            self.metered.remove(&label(gone));
        }
        for there in interfaces {
            self.metered.get_or_create(&label(there)).set(1);
        }
        self.interfaces = interfaces.to_vec();
    }
}

impl Observer for Metrics {
    fn begin(&mut self, began: &Began) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.capacity.set(i64::from(began.entries) * i64::from(began.cpus));
        self.meter(&began.interfaces);
        Ok(())
    }

    fn incident(&mut self, state: State, incident: &Incident) {
        if state == State::Open {
            self.incidents.get_or_create_owned(&[("kind", incident.kind.name())]).inc();
        }
    }

    /// Adds an interval, the rows so far, and the rows that each output accepted and lost.
    fn interval(&mut self, report: &IntervalReport, rows: &Rows, outputs: &[OutputLine]) {
        self.meter(&report.interfaces);
        self.received_packets.inc_by(report.received.packets);
        self.received_bytes.inc_by(report.received.bytes);
        for (reason, Count { packets, bytes }) in Skipped::ALL.iter().zip(&report.skipped) {
            self.skipped_packets.get_or_create(&by_reason(*reason)).inc_by(*packets);
            self.skipped_bytes.get_or_create(&by_reason(*reason)).inc_by(*bytes);
        }
        let anomalies = |of: &str| self.anomalies.get_or_create_owned(&[("of", of.to_owned())]);
        for (counter, total) in [
            (self.flows.clone(), rows.flows),
            (self.sessions.clone(), rows.sessions),
            (self.host_windows.clone(), rows.hosts),
            (self.scored_rows.clone(), rows.scored),
            (anomalies("flow"), rows.flow_anomalies),
            (anomalies("host"), rows.host_anomalies),
        ] {
            raise(&counter, total);
        }
        self.open_sessions.set(report.flows_open as i64);
        self.open_incidents.set(report.incidents.len() as i64);
        self.table_occupancy.set(report.occupancy);
        report.drains.iter().for_each(|drain| self.drains.observe(drain.as_secs_f64()));
        self.lateness.observe(report.late.as_secs_f64());
        self.overload_level.set(report.level as i64);
        for (step, number) in STEPS.iter().zip(report.shedding.steps) {
            self.shed.get_or_create(&by_step(step.name)).inc_by(number);
        }
        self.aggregated_packets.inc_by(report.shedding.aggregated.packets);
        self.aggregated_bytes.inc_by(report.shedding.aggregated.bytes);
        self.displaced_sessions.inc_by(report.shedding.displaced);
        for OutputLine { destination, rows, rows_lost, .. } in outputs {
            let label = [("output", destination.clone())];
            // Sent rows may later be counted as lost, so the number sent can decrease. The sum cannot.
            raise(&self.output_rows.get_or_create(&label), rows + rows_lost);
            raise(&self.output_lost_rows.get_or_create(&label), *rows_lost);
        }
    }
}

fn by_reason(reason: Skipped) -> Label {
    [("reason", reason.name().to_owned())]
}

fn by_step(name: &str) -> Label {
    [("step", name.to_owned())]
}

/// Raises a counter to a total.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::time::Duration;

    use flowml_user::export::{Level, Shedding};
    use flowml_user::incident::Hosts;
    use flowml_user::record::Clock;
    use flowml_user::sequential::Evidence;

    use super::*;
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
        metrics.interval(&report(), &Rows::default(), &[output("standard output", 1, 0)]);
        metrics
    }

    fn output(destination: &str, rows: u64, rows_lost: u64) -> OutputLine {
        OutputLine { destination: destination.to_owned(), rows, rows_lost, reader_gone: false }
    }

    fn incident(kind: Kind) -> Incident {
        let hosts = || Hosts { named: Vec::new(), count: 0 };
        Incident {
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
            flows_open: 3,
            flows_new: 1,
            occupancy: 0.25,
            drains: vec![Duration::from_millis(2), Duration::from_millis(20)],
            late: Duration::ZERO,
            level: Level::Records,
            shedding: Shedding { steps: [1, 2, 3, 4], aggregated: Count { packets: 5, bytes: 300 }, displaced: 6 },
            learners: Vec::new(),
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
    fn scraped_counters_are_the_sum_of_the_intervals() {
        let mut metrics = metrics();
        let outputs = |taken, lost| [output("udp://10.0.0.1:4739", taken, lost)];
        let rows =
            Rows { flows: 5, sessions: 4, hosts: 7, aggregates: 0, scored: 6, flow_anomalies: 1, host_anomalies: 2 };
        metrics.interval(&report(), &Rows::default(), &outputs(3, 0));
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
}
