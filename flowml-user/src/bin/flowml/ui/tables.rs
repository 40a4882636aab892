//! Formats the table of an interval and the closing summary as text.

use std::cmp::Reverse;

use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_user::export::{InterfaceReport, LearnerReport, OutputLine, RowCounts, Totals};
use flowml_user::learning::{ClusterSummary, one_line};

use super::activity::{by_ends, top};
use super::text::{
    Style, Subject, TextTable, counted, cut_end, grouped, probability, short, time_of_day, width_of, with_unit, wrap,
};
use super::view::{Anomaly, FlowLine, HostLine, View, by_reason, by_tunnel, cluster};

/// Maximum number of anomalies, flows, hosts and clusters shown.
pub(crate) const SHOWN: usize = 8;

impl View {
    /// The table as lines of at most `width` columns, with the clusters of the models `clusters_of`.
    pub(crate) fn render(&self, clusters_of: &[&str], width: usize, style: Style) -> String {
        let mut lines = vec![self.title(width, style)];
        // At the end of the run flows end, but there was no interval since the last table.
        if !self.report.elapsed.is_zero() {
            lines.extend(self.state(width, style));
        }
        lines.extend(self.anomaly_lines(width, style));
        for learner in self.report.learners.iter().filter(|learner| clusters_of.contains(&learner.of)) {
            lines.extend(cluster_lines(learner, width, style));
        }
        if self.flows.iter().any(FlowLine::has_traffic) {
            lines.extend(self.flow_table().lines(width, style));
            lines.extend(self.host_table().lines(width, style));
        }
        lines.push(String::new());
        lines.join("\n") + "\n"
    }

    fn title(&self, width: usize, style: Style) -> String {
        let time = time_of_day(self.report.end_ms);
        let elapsed = match self.report.elapsed.as_secs_f64() {
            0.0 => "at the end".to_owned(),
            seconds => format!("{seconds:.1} s"),
        };
        let title = cut_end(&format!("── {time} UTC · {elapsed} · {} ", self.interfaces()), width);
        let rule = "─".repeat(width.saturating_sub(width_of(&title)));
        style.heading(&format!("{title}{rule}"))
    }

    /// Rates, number of flows, and fill level of the flow table.
    pub(crate) fn rates(&self) -> String {
        let report = &self.report;
        let rates = [
            format!("{} packets/s", short(self.per_second(report.received.packets))),
            with_unit(8.0 * self.per_second(report.received.bytes), "bit/s"),
            format!("{} open, {} new", counted(report.flows_open, "flow"), grouped(report.flows_new)),
            format!("table {:.0} % full", 100.0 * report.occupancy),
        ];
        rates.join(" · ")
    }

    /// Rates, skipped packets, and the status of the models.
    fn state(&self, width: usize, style: Style) -> Vec<String> {
        let mut lines = wrap(&self.rates(), width, [0, 2]);
        let skipped = &self.report.skipped;
        if let Some(reasons) = by_reason(skipped, |count| count.packets) {
            let full = skipped[Skipped::TableFull as usize].packets > 0;
            let paint = |line: &String| if full { style.alarm(line) } else { line.clone() };
            lines.extend(wrap(&format!("packets skipped: {reasons}"), width, [0, 2]).iter().map(paint));
        }
        if let Some(step) = self.report.level.step() {
            let left_out =
                self.report.shedding.in_words().map_or_else(String::new, |words| format!("; left out: {words}"));
            let line = format!("overload: {}{left_out}", step.means);
            lines.extend(wrap(&line, width, [0, 2]).iter().map(|line| style.alarm(line)));
        }
        for learner in &self.report.learners {
            let LearnerReport { of, status, beside, .. } = learner;
            let beside = beside.map_or_else(String::new, |status| format!("; candidate: {status}"));
            let line = format!("{of}: {status}{beside}");
            lines.extend(wrap(&line, width, [0, 2]).iter().map(|line| style.aside(line)));
        }
        lines
    }

    fn anomaly_lines(&self, width: usize, style: Style) -> Vec<String> {
        let shown = top(self.anomalies.iter().collect(), SHOWN, |anomaly: &&Anomaly| anomaly.rank());
        let mut lines = Vec::new();
        for anomaly in &shown {
            let (subject, p) = (anomaly.subject(), probability(anomaly.probability()));
            lines.extend(wrap(&format!("! {subject}"), width, [0, 4]).iter().map(|line| style.alarm(line)));
            let reasons = one_line(anomaly.reasons());
            let message = anomaly.summary().unwrap_or_else(|| format!("p = {p}: {reasons}"));
            lines.extend(wrap(&message, width, [4, 4]));
        }
        let all = self.anomalies.len();
        if all > shown.len() {
            lines.push(style.alarm(&format!("! and {} more", grouped((all - shown.len()) as u64))));
        }
        lines
    }

    fn flow_table(&self) -> TextTable {
        let row = |flow: &FlowLine| {
            let total = flow.activity.total();
            let values = vec![
                flow.service(),
                short(total.packets as f64),
                short(total.bytes as f64),
                short(8.0 * self.per_second(total.bytes)),
                cluster(flow.verdict.as_ref()),
            ];
            (Subject::Pair(flow.ends(), flow.sign()), values)
        };
        let header = ["TOP FLOWS", "SERVICE", "PACKETS", "BYTES", "BIT/S", "CLUSTER"];
        let flows = self.flows.iter().filter(|flow| flow.has_traffic()).collect();
        let most = |flow: &&FlowLine| (Reverse(flow.activity.total().bytes), by_ends(&flow.key));
        let rows = top(flows, SHOWN, most).into_iter().map(row).collect();
        TextTable { header: header.map(str::to_owned).into(), rows, fills: false }
    }

    fn host_table(&self) -> TextTable {
        let row = |host: &HostLine| {
            let activity = &host.activity;
            let values = vec![
                short(activity.flows as f64),
                short(activity.packets() as f64),
                short(activity.sent.bytes as f64),
                short(activity.received.bytes as f64),
                short(8.0 * self.per_second(activity.bytes())),
                cluster(host.verdict.as_ref()),
            ];
            (Subject::One(host.address.to_ip().to_string()), values)
        };
        let header = ["TOP HOSTS", "FLOWS", "PACKETS", "SENT", "RECEIVED", "BIT/S", "CLUSTER"];
        let most = |host: &&HostLine| (Reverse(host.activity.bytes()), host.address);
        let hosts = top(self.hosts.iter().collect(), SHOWN, most);
        TextTable { header: header.map(str::to_owned).into(), rows: hosts.into_iter().map(row).collect(), fills: false }
    }
}

/// A heading, and a line for each cluster with as many typical values as fit.
fn cluster_lines(learner: &LearnerReport, width: usize, style: Style) -> Vec<String> {
    let mut lines = vec![style.heading(&format!("CLUSTERS OF {}", learner.of.to_uppercase()))];
    for ClusterSummary { id, share, typical, .. } in learner.clusters.iter().take(SHOWN) {
        let mut line = format!("{id:>3} {:>5.1} %", 100.0 * share);
        for (at, value) in typical.iter().enumerate() {
            let text = format!("{}{value}", if at == 0 { "  " } else { ", " });
            if width_of(&line) + width_of(&text) > width {
                break;
            }
            line.push_str(&text);
        }
        lines.push(line);
    }
    if learner.clusters.len() > SHOWN {
        lines.push(style.aside(&format!("    and {} smaller ones", learner.clusters.len() - SHOWN)));
    }
    lines
}

/// The data of the closing summary.
pub(crate) struct SummaryView<'a> {
    pub(crate) totals: &'a Totals,
    pub(crate) rows: &'a RowCounts,
    /// The outputs with their rows and lost rows.
    pub(crate) outputs: &'a [OutputLine],
}

impl SummaryView<'_> {
    /// The summary as lines of at most `width` columns.
    pub(crate) fn render(&self, width: usize, style: Style) -> String {
        let (totals, rows) = (self.totals, self.rows);
        let title = format!(
            "flowml: {} in {:.1} s on {}",
            counted(totals.drains, "drain"),
            totals.duration.as_secs_f64(),
            InterfaceReport::list(&totals.interfaces)
        );
        let mut lines: Vec<String> = wrap(&title, width, [0, 2]).iter().map(|line| style.heading(line)).collect();
        for (unit, of) in [("packets", (|count| count.packets) as fn(&Count) -> u64), ("bytes", |count| count.bytes)] {
            let law = self.conservation(unit, of);
            let paint = |line: &String| if totals.is_conserved() { line.clone() } else { style.alarm(line) };
            lines.extend(wrap(&law, width, [2, 4]).iter().map(paint));
        }
        if let Some(words) = totals.tunnels.as_ref().and_then(by_tunnel) {
            lines.extend(wrap(&format!("tunnels: {words}"), width, [2, 4]));
        }
        if let Some(earlier) = &totals.earlier {
            lines.extend(wrap(&before(earlier), width, [2, 4]));
        }
        for (words, of) in [("continued", totals.taken_over), ("left to the next run", totals.left_open)] {
            if of.sessions > 0 {
                let [sessions, packets] = [counted(of.sessions, "open session"), counted(of.counted.packets, "packet")];
                lines.extend(wrap(&format!("{words}: {sessions} with {packets}"), width, [2, 4]));
            }
        }
        let records = format!(
            "records: {} of {}, {}, {}",
            counted(rows.flows, "flow"),
            counted(rows.sessions, "session"),
            counted(rows.hosts, "host window"),
            judged(rows, totals.incidents),
        );
        lines.extend(wrap(&records, width, [2, 4]));
        if let Some(words) = totals.shedding.in_words() {
            let packets = grouped(totals.shedding.aggregated.packets);
            let aggregates = counted(rows.aggregates, "aggregate record");
            let line = format!("left out for overload: {words}; {aggregates} with {packets} packets");
            lines.extend(wrap(&line, width, [2, 4]).iter().map(|line| style.alarm(line)));
        }
        for output in self.outputs {
            lines.extend(output_lines(output, width, style));
        }
        lines.join("\n") + "\n"
    }

    /// `packets: received 12 = 10 in flows + 2 skipped (2 not_ip)`.
    fn conservation(&self, unit: &str, of: fn(&Count) -> u64) -> String {
        let totals = self.totals;
        let sign = if totals.is_conserved() { "=" } else { "≠" };
        let reasons = by_reason(&totals.skipped, of).map_or_else(String::new, |reasons| format!(" ({reasons})"));
        let [received, in_flows, skipped] =
            [totals.received, totals.in_flows, totals.skipped_in_all()].map(|count| grouped(of(&count)));
        format!("{unit}: received {received} {sign} {in_flows} in flows + {skipped} skipped{reasons}")
    }
}

/// `before this run: 1,200 packets, at most 20 of them in no record`.
fn before(Account { received, unreported, .. }: &Account) -> String {
    let packets = counted(received.packets, "packet");
    match unreported.packets {
        0 => format!("before this run: {packets}"),
        lost => {
            format!("before this run: {packets}, at most {} of them in no record", grouped(lost))
        }
    }
}

/// The rows of an output, and those that it lost.
fn output_lines(output: &OutputLine, width: usize, style: Style) -> Vec<String> {
    let OutputLine { destination, rows, rows_lost, reader_gone } = output;
    let until = if *reader_gone { ", until its reader closed it" } else { "" };
    let mut lines = wrap(&format!("{destination}: {}{until}", counted(*rows, "row")), width, [2, 4]);
    if *rows_lost > 0 && !reader_gone {
        let lost = format!("{} lost", counted(*rows_lost, "row"));
        lines.extend(wrap(&lost, width, [4, 4]).iter().map(|line| style.alarm(line)));
    }
    lines
}

/// `2 anomalies (1 of flows, 1 of hosts), 1 incident`. Without any verdict the number of anomalies would mean nothing,
/// and is left out.
fn judged(rows: &RowCounts, incidents: u64) -> String {
    let anomalies = match rows.anomalies() {
        _ if rows.scored == 0 => return "none of them scored".to_owned(),
        1 => "1 anomaly".to_owned(),
        number => format!("{} anomalies", grouped(number)),
    };
    let [flows, hosts] = [rows.flow_anomalies, rows.host_anomalies].map(grouped);
    format!("{anomalies} ({flows} of flows, {hosts} of hosts), {}", counted(incidents, "incident"))
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{busy, idle};
    use super::*;
    use crate::golden;

    fn render(view: &View, width: usize, colours: bool) -> String {
        view.render(&["hosts"], width, Style { colours })
    }

    #[test]
    fn tables_match_their_golden_files() {
        for width in [80, 120] {
            golden::assert_is(&format!("src/bin/flowml/ui/golden/busy_{width}.txt"), &render(&busy(), width, false));
            golden::assert_is(&format!("src/bin/flowml/ui/golden/idle_{width}.txt"), &render(&idle(), width, false));
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 60..160 {
            let text = render(&busy(), width, false);
            for line in text.lines() {
                assert!(width_of(line) <= width, "{} columns of {width}: {line}", width_of(line));
            }
        }
    }

    #[test]
    fn colours_change_nothing_else() {
        let coloured = render(&busy(), 80, true);
        let mut plain = String::new();
        for (at, chunk) in coloured.split('\x1b').enumerate() {
            plain.push_str(if at == 0 { chunk } else { chunk.split_once('m').expect("a sequence ends in m").1 });
        }
        assert!(coloured.len() > plain.len());
        assert_eq!(plain, render(&busy(), 80, false));
    }
}
