//! Prometheus metrics of a live run: the counts of the summary so far, and the state of the agent.
//!
//! Metrics have no label for flows, hosts or single incidents, as the number of those depends on the traffic.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use flowml_common::packet::Skipped;
use flowml_common::tunnel::{Outcome, TunnelKind};
use flowml_user::export::{InterfaceReport, STEPS};
use flowml_user::sequential::Kind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Prefix of every metric name.
pub(super) const PREFIX: &str = "flowml";

/// Bucket bounds for the duration of drains, s: from a few flows to more than a full table of the default size.
const DRAIN_SECONDS: [f64; 10] = [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0];

/// One label and its value.
pub(super) type Label = [(&'static str, String); 1];

/// The labels of a tunnel: its kind and outcome.
pub(super) type TunnelLabels = [(&'static str, &'static str); 2];

/// The metrics of a run. They are updated at the end of each interval and are consistent in between.
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    pub(super) capacity: Gauge,
    metered: Family<[(&'static str, String); 2], Gauge>,
    interfaces: Vec<InterfaceReport>,
    pub(super) received_packets: Counter,
    pub(super) received_bytes: Counter,
    pub(super) skipped_packets: Family<Label, Counter>,
    pub(super) skipped_bytes: Family<Label, Counter>,
    pub(super) tunnel_packets: Family<TunnelLabels, Counter>,
    pub(super) flows: Counter,
    pub(super) sessions: Counter,
    pub(super) host_windows: Counter,
    pub(super) scored_rows: Counter,
    pub(super) anomalies: Family<Label, Counter>,
    pub(super) incidents: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) open_sessions: Gauge,
    pub(super) open_incidents: Gauge,
    pub(super) table_occupancy: Gauge<f64, AtomicU64>,
    pub(super) drains: Histogram,
    pub(super) lateness: Histogram,
    pub(super) overload_level: Gauge,
    pub(super) shed: Family<Label, Counter>,
    pub(super) aggregated_packets: Counter,
    pub(super) aggregated_bytes: Counter,
    pub(super) displaced_sessions: Counter,
    pub(super) fleet_model_number: Family<Label, Gauge>,
    pub(super) fleet_model_state: Family<Label, Gauge>,
    pub(super) output_rows: Family<Label, Counter>,
    pub(super) output_lost_rows: Family<Label, Counter>,
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
            received_packets: names.add_with_unit("received", packets(), "Received packets", Counter::default()),
            received_bytes: names.add_with_unit(
                "received",
                Unit::Bytes,
                "Received frame bytes, without FCS",
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
            tunnel_packets: names.add_with_unit(
                "tunnel",
                packets(),
                "Encapsulations of packets with --tunnels inner, by kind and outcome: removed, or the reason why not",
                Family::default(),
            ),
            flows: names.add("flows", "Flow records", Counter::default()),
            sessions: names.add("sessions", "Sessions whose first record was written", Counter::default()),
            host_windows: names.add("host_windows", "Host windows", Counter::default()),
            scored_rows: names.add("scored_rows", "Flow records and host windows that were scored", Counter::default()),
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
            fleet_model_number: names.add(
                "fleet_model_number",
                "Number of the newest model of the fleet that was offered; 0 if it was not made by a merge, or is not readable",
                Family::default(),
            ),
            fleet_model_state: names.add(
                "fleet_model_state",
                "What became of this model: 0 none was offered, 1 on trial, 2 in use, 3 refused, 4 replaced by another model",
                Family::default(),
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
        for learner in ["flows", "hosts"] {
            metrics.fleet_model_number.get_or_create_owned(&[("learner", learner.to_owned())]);
            metrics.fleet_model_state.get_or_create_owned(&[("learner", learner.to_owned())]);
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
    pub(super) fn meter(&mut self, interfaces: &[InterfaceReport]) {
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

pub(super) fn by_reason(reason: Skipped) -> Label {
    [("reason", reason.name().to_owned())]
}

pub(super) fn by_tunnel(kind: TunnelKind, outcome: Outcome) -> TunnelLabels {
    [("kind", kind.name()), ("outcome", outcome.name())]
}

pub(super) fn by_step(name: &str) -> Label {
    [("step", name.to_owned())]
}
