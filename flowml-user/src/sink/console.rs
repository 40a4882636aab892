//! The console: tables and the closing summary for people, on standard error.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use std::{env, mem};

use flowml_common::flow::{Address, Endpoint, FlowKey, Part};
use flowml_common::packet::{Sender, Skipped};
use flowml_common::table::Count;

use super::activity::{Activity, FlowActivity, HostActivity};
use super::report::{IntervalReport, LearnerReport, Rows, Totals};
use super::service::{has_ports, service_name};
use super::text::{Style, counted};
use super::view::{AnomalyLine, ClusterLine, FlowLine, HostLine, LearnerLine, OutputLine, SHOWN, SummaryView, View};
use crate::features::{FlowRow, HostWindow};
use crate::incident::{Hosts, Incident, State};
use crate::model::{ClusterSummary, Verdict, one_line};
use crate::process::journal::{self, Priority};
use crate::session::{Standing, opposite};

/// How much people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Errors,
    /// And notices, and the closing summary.
    Summary,
    /// And a table at each interval.
    Tables,
}

/// There is at most one table in this time …
const TABLE_PERIOD: Duration = Duration::from_secs(1);

/// … and one that is due so soon comes now: a drain may be a little early.
const EARLY: Duration = Duration::from_millis(100);

/// After so many tables the clusters are shown again.
const CLUSTERS_EVERY: u64 = 30;

/// Where no terminal tells its width, columns.
const DEFAULT_WIDTH: usize = 120;

/// Narrower than this, tables are not made; the terminal breaks the lines.
const LEAST_WIDTH: usize = 60;

/// The console.
pub struct Console {
    out: Box<dyn Write + Send>,
    verbosity: Verbosity,
    style: Style,
    /// Whether it is read by the journal, which takes a priority in front of each line.
    journal: bool,
    /// The terminal's where there is one, which may change.
    width: Option<usize>,
    period: Period,
    /// The last interval's.
    report: Option<IntervalReport>,
    /// Time since the begin, and when the next table is due.
    elapsed: Duration,
    due: Duration,
    tables: u64,
    /// The shares of the clusters that were last shown, by what they are of.
    shown: HashMap<&'static str, Vec<(u32, f64)>>,
}

/// What came since the last table.
#[derive(Default)]
struct Period {
    elapsed: Duration,
    received: Count,
    skipped: [Count; Skipped::COUNT],
    flows_new: u64,
    occupancy: f64,
    activity: Activity,
    flow_clusters: HashMap<FlowKey, u32>,
    host_clusters: HashMap<Address, u32>,
    anomalies: Anomalies,
}

/// What people are told of in a period. A subject that is anomalous several times within it is one.
#[derive(Default)]
struct Anomalies {
    /// Incidents that have ended in it.
    over: Vec<Incident>,
    /// Flows that belong to no incident.
    flows: HashMap<(FlowKey, bool), Anomaly>,
}

/// The least probable row of a subject.
struct Anomaly {
    probability: f64,
    reason: String,
}

impl Anomalies {
    fn add_flow(&mut self, row: &FlowRow, verdict: &Verdict) {
        add(&mut self.flows, (row.record.key, row.record.initiator == Sender::Lower), verdict);
    }

    /// The incidents first, those that are `open` before those that are over; the least probable first.
    fn lines(&self, open: &[Incident]) -> (Vec<AnomalyLine>, usize) {
        let flows = self.flows.iter().map(|((key, lower), anomaly)| {
            let initiator = if *lower { Sender::Lower } else { Sender::Upper };
            let [source, destination] = ends(key, initiator);
            let subject = format!("flow {source} → {destination} ({})", service_name(key, initiator));
            AnomalyLine { subject, probability: anomaly.probability, reason: anomaly.reason.clone() }
        });
        let mut lines = in_order(open.iter().map(|incident| incident_line(incident, "")));
        lines.extend(in_order(self.over.iter().map(|incident| incident_line(incident, " is over"))));
        lines.extend(in_order(flows));
        let all = lines.len();
        lines.truncate(SHOWN);
        (lines, all)
    }
}

fn incident_line(incident: &Incident, state: &str) -> AnomalyLine {
    let lasts = incident.end_ns.saturating_sub(incident.start_ns) as f64 / 1e9;
    let hosts = match (hosts(&incident.sources), hosts(&incident.targets)) {
        (Some(sources), Some(targets)) => format!("{sources} → {targets}"),
        (Some(sources), None) => format!("by {sources}"),
        (None, Some(targets)) => format!("against {targets}"),
        (None, None) => String::new(),
    };
    AnomalyLine {
        subject: format!("incident {}{state} ({lasts:.0} s): {hosts}", incident.number),
        probability: incident.probability,
        reason: one_line(&incident.reasons),
    }
}

/// One or two by name, more by number.
fn hosts(hosts: &Hosts) -> Option<String> {
    let names: Vec<String> = hosts.named.iter().map(|address| address.to_ip().to_string()).collect();
    match hosts.count {
        0 => None,
        1 | 2 => Some(names.join(", ")),
        count => Some(counted(count as u64, "host")),
    }
}

fn add<S: Eq + Hash>(anomalies: &mut HashMap<S, Anomaly>, subject: S, verdict: &Verdict) {
    let known = anomalies.get(&subject);
    let news = known.is_none_or(|known| verdict.probability < known.probability);
    if news {
        let anomaly = Anomaly { probability: verdict.probability, reason: one_line(&verdict.reasons) };
        insert_bounded(anomalies, subject, anomaly);
    }
}

/// Subjects of a kind that are remembered until the next table; the summary counts all rows.
const MOST: usize = 1 << 14;

fn insert_bounded<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() < MOST || map.contains_key(&key) {
        map.insert(key, value);
    }
}

fn in_order(lines: impl Iterator<Item = AnomalyLine>) -> Vec<AnomalyLine> {
    let mut lines: Vec<AnomalyLine> = lines.collect();
    lines.sort_by(|a, b| a.probability.total_cmp(&b.probability).then_with(|| a.subject.cmp(&b.subject)));
    lines
}

/// Initiator and responder, with their ports where there are any.
fn ends(key: &FlowKey, initiator: Sender) -> [String; 2] {
    [initiator, opposite(initiator)].map(|end| {
        let Endpoint { address, port } = key.endpoint(end);
        match address.to_ip() {
            address if !has_ports(key) => address.to_string(),
            address => std::net::SocketAddr::new(address, port).to_string(),
        }
    })
}

impl Console {
    /// The console of this process.
    #[must_use]
    pub fn on_standard_error(verbosity: Verbosity) -> Self {
        let stderr = io::stderr();
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        // no-color.org
        let colours =
            stderr.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb");
        let console = Self::over(Box::new(stderr), verbosity, Style { colours }, None);
        Self { journal: journal::is_journal(), ..console }
    }

    /// A console over any stream.
    pub(super) fn over(out: Box<dyn Write + Send>, verbosity: Verbosity, style: Style, width: Option<usize>) -> Self {
        let (elapsed, due) = (Duration::ZERO, TABLE_PERIOD);
        let (period, shown) = Default::default();
        Self { out, verbosity, style, journal: false, width, period, report: None, elapsed, due, tables: 0, shown }
    }

    /// Adds a part of a flow to the traffic that the next table shows.
    pub(super) fn part(&mut self, part: &Part, standing: Standing) {
        if self.shows_tables() {
            self.period.activity.add(&part.key, &part.stats, standing.initiator);
        }
    }

    pub(super) fn flow(&mut self, row: &FlowRow, verdict: &Verdict, in_incident: bool) {
        if self.shows_tables() {
            insert_bounded(&mut self.period.flow_clusters, row.record.key, verdict.cluster);
            if verdict.anomaly && !in_incident {
                self.period.anomalies.add_flow(row, verdict);
            }
        }
    }

    pub(super) fn host(&mut self, window: &HostWindow, verdict: &Verdict) {
        if self.shows_tables() {
            insert_bounded(&mut self.period.host_clusters, window.address, verdict.cluster);
        }
    }

    /// Takes note of an incident that is over; those that are open come with the interval.
    pub(super) fn incident(&mut self, state: State, incident: &Incident) {
        if self.shows_tables() && state == State::Closed && self.period.anomalies.over.len() < MOST {
            self.period.anomalies.over.push(incident.clone());
        }
    }

    /// Takes note of an interval, and shows a table if the last one was long enough ago.
    pub(super) fn interval(&mut self, report: IntervalReport) {
        if self.shows_tables() {
            self.elapsed += report.elapsed;
            self.period.add(&report);
            self.report = Some(report);
            if self.elapsed + EARLY >= self.due {
                self.due = self.due.max(self.elapsed) + TABLE_PERIOD;
                self.table();
            }
        }
    }

    /// Shows what came since the last table.
    fn table(&mut self) {
        let period = mem::take(&mut self.period);
        if let Some(report) = self.report.take() {
            let view = period.view(&report, self.clusters(&report));
            self.say(Priority::Information, &view.render(self.width(), self.style));
            self.tables += 1;
            self.report = Some(report);
        }
    }

    /// The clusters, where they are due: when there are any for the first time, when they have changed much, and from
    /// time to time.
    fn clusters(&mut self, report: &IntervalReport) -> Vec<(&'static str, Vec<ClusterLine>)> {
        let due = self.tables.is_multiple_of(CLUSTERS_EVERY);
        let mut lines = Vec::new();
        for LearnerReport { of, clusters, .. } in &report.learners {
            let shown = self.shown.entry(of).or_default();
            if !clusters.is_empty() && (due || differ(shown, clusters)) {
                *shown = clusters.iter().map(|cluster| (cluster.id, cluster.share)).collect();
                lines.push((*of, clusters.iter().map(cluster_line).collect()));
            }
        }
        lines
    }

    /// Tells what is as it should be.
    pub(super) fn notice(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Summary {
            self.say(Priority::Information, &format!("flowml: {text}\n"));
        }
    }

    /// Tells what is not as it should be, whatever the verbosity.
    pub(super) fn warn(&mut self, text: &str) {
        self.say(Priority::Warning, &format!("flowml: {text}\n"));
    }

    /// Shows the rest and the closing summary.
    pub(super) fn finish(&mut self, totals: &Totals, rows: &Rows, outputs: Vec<OutputLine>) {
        if self.period.has_news() {
            self.table();
        }
        if self.verbosity >= Verbosity::Summary {
            let view = SummaryView { totals, rows, outputs };
            self.say(Priority::Information, &view.render(self.width(), self.style));
        }
    }

    fn shows_tables(&self) -> bool {
        self.verbosity >= Verbosity::Tables
    }

    fn width(&self) -> usize {
        let terminal = || terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0));
        self.width.or_else(terminal).unwrap_or(DEFAULT_WIDTH).max(LEAST_WIDTH)
    }

    /// Where people cannot be told, there is nobody to be told that: the records go on.
    fn say(&mut self, priority: Priority, text: &str) {
        let text = if self.journal { &journal::prefixed(priority, text) } else { text };
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Period {
    fn add(&mut self, report: &IntervalReport) {
        self.elapsed += report.elapsed;
        self.received.add(report.received.packets, report.received.bytes);
        for (sum, count) in self.skipped.iter_mut().zip(&report.skipped) {
            sum.add(count.packets, count.bytes);
        }
        self.flows_new += report.flows_new;
        self.occupancy = self.occupancy.max(report.occupancy);
    }

    /// The flows that end with the run may be anomalies though no interval follows them.
    fn has_news(&self) -> bool {
        !self.elapsed.is_zero() || !self.anomalies.over.is_empty() || !self.anomalies.flows.is_empty()
    }

    /// What the table shows; `last` is the report of the period's last interval.
    fn view(&self, last: &IntervalReport, clusters: Vec<(&'static str, Vec<ClusterLine>)>) -> View {
        let flow_line = |(key, flow): (FlowKey, FlowActivity)| FlowLine {
            ends: ends(&key, flow.initiator),
            two_way: flow.is_two_way(),
            service: service_name(&key, flow.initiator),
            total: flow.total(),
            cluster: self.flow_clusters.get(&key).copied(),
        };
        let host_line = |(address, host): (Address, HostActivity)| HostLine {
            address: address.to_ip().to_string(),
            flows: host.flows,
            packets: host.packets(),
            bytes: [host.sent.bytes, host.received.bytes],
            cluster: self.host_clusters.get(&address).copied(),
        };
        let learner_line = |learner: &LearnerReport| {
            let beside = learner.beside.map_or_else(String::new, |status| format!("; beside it another, {status}"));
            LearnerLine { of: learner.of, status: format!("{}{beside}", learner.status) }
        };
        let names: Vec<&str> = last.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        View {
            end_ms: last.end_ms,
            elapsed: self.elapsed,
            interfaces: names.join(", "),
            received: self.received,
            skipped: self.skipped,
            flows_open: last.flows_open,
            flows_new: self.flows_new,
            occupancy: self.occupancy,
            learners: last.learners.iter().map(learner_line).collect(),
            anomalies: self.anomalies.lines(&last.incidents),
            flows: self.activity.top_flows(SHOWN).into_iter().map(flow_line).collect(),
            hosts: self.activity.top_hosts(SHOWN).into_iter().map(host_line).collect(),
            clusters,
        }
    }
}

fn cluster_line(cluster: &ClusterSummary) -> ClusterLine {
    let typical = cluster.typical.iter().map(ToString::to_string).collect();
    ClusterLine { id: cluster.id, share: cluster.share, typical }
}

/// Whether a cluster is new, or has gained or lost a tenth of all rows.
fn differ(shown: &[(u32, f64)], now: &[ClusterSummary]) -> bool {
    const MUCH: f64 = 0.1;
    let share = |id: u32| shown.iter().find(|(shown, _)| *shown == id).map(|(_, share)| *share);
    shown.len() != now.len()
        || now.iter().any(|cluster| share(cluster.id).is_none_or(|share| (share - cluster.share).abs() >= MUCH))
}
