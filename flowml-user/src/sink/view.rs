//! What a table at an interval and the closing summary look like: text of plain data.

use std::time::Duration;

use flowml_common::packet::Skipped;
use flowml_common::table::Count;

use super::report::{Rows, Totals};
use super::text::{
    Style, Subject, Table, counted, cut_end, grouped, probability, short, time_of_day, width_of, with_unit, wrap,
};

/// Anomalies, flows, hosts and clusters that are shown.
pub(super) const SHOWN: usize = 8;

/// A row of the flow table.
#[derive(Clone, Debug)]
pub(super) struct FlowLine {
    /// Initiator and responder.
    pub(super) ends: [String; 2],
    /// Whether both have sent something.
    pub(super) two_way: bool,
    pub(super) service: String,
    pub(super) total: Count,
    pub(super) cluster: Option<u32>,
}

/// A row of the host table.
#[derive(Clone, Debug)]
pub(super) struct HostLine {
    pub(super) address: String,
    pub(super) flows: u64,
    pub(super) packets: u64,
    /// Bytes sent and received.
    pub(super) bytes: [u64; 2],
    pub(super) cluster: Option<u32>,
}

/// An anomaly.
#[derive(Clone, Debug)]
pub(super) struct AnomalyLine {
    /// `incident 1 (4 s): 10.0.0.1 → 10.0.0.2`, `flow 10.0.0.1:5 → 10.0.0.2:80 (http)`.
    pub(super) subject: String,
    pub(super) probability: f64,
    pub(super) reason: String,
}

/// A cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterLine {
    pub(super) id: u32,
    /// Part of recent rows, 0–1.
    pub(super) share: f64,
    /// What is typical of it, the most telling first.
    pub(super) typical: Vec<String>,
}

/// The state of a learner.
#[derive(Clone, Debug)]
pub(super) struct LearnerLine {
    /// `flows` or `hosts`.
    pub(super) of: &'static str,
    pub(super) status: String,
}

/// All that one table shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Unix time of the end, ms.
    pub(super) end_ms: u64,
    pub(super) elapsed: Duration,
    /// Where packets are counted.
    pub(super) interfaces: String,
    pub(super) received: Count,
    pub(super) skipped: [Count; Skipped::COUNT],
    pub(super) flows_open: u64,
    pub(super) flows_new: u64,
    /// The fullest CPU's part of the flow table in use, 0–1.
    pub(super) occupancy: f64,
    pub(super) learners: Vec<LearnerLine>,
    /// The incidents first, and how many there are in all.
    pub(super) anomalies: (Vec<AnomalyLine>, usize),
    pub(super) flows: Vec<FlowLine>,
    pub(super) hosts: Vec<HostLine>,
    /// Shown from time to time.
    pub(super) clusters: Vec<(&'static str, Vec<ClusterLine>)>,
}

impl View {
    /// The text, of lines at most `width` wide.
    pub(super) fn render(&self, width: usize, style: Style) -> String {
        let mut lines = vec![self.title(width, style)];
        // With the end of the run flows end, but nothing has happened since the last interval.
        if !self.elapsed.is_zero() {
            lines.extend(self.state(width, style));
        }
        lines.extend(self.anomaly_lines(width, style));
        for (of, clusters) in &self.clusters {
            lines.extend(cluster_lines(of, clusters, width, style));
        }
        if !self.flows.is_empty() {
            lines.extend(self.flow_table().lines(width, style));
            lines.extend(self.host_table().lines(width, style));
        }
        lines.push(String::new());
        lines.join("\n") + "\n"
    }

    fn title(&self, width: usize, style: Style) -> String {
        let time = time_of_day(self.end_ms);
        let elapsed = match self.elapsed.as_secs_f64() {
            0.0 => "at the end".to_owned(),
            seconds => format!("{seconds:.1} s"),
        };
        let title = cut_end(&format!("── {time} UTC · {elapsed} · {} ", self.interfaces), width);
        let rule = "─".repeat(width.saturating_sub(width_of(&title)));
        style.heading(&format!("{title}{rule}"))
    }

    /// Rates, what was skipped, and how far the learners are.
    fn state(&self, width: usize, style: Style) -> Vec<String> {
        let rates = [
            format!("{} packets/s", short(self.per_second(self.received.packets))),
            with_unit(8.0 * self.per_second(self.received.bytes), "bit/s"),
            format!("{} open, {} new", counted(self.flows_open, "flow"), grouped(self.flows_new)),
            format!("table {:.0} % full", 100.0 * self.occupancy),
        ];
        let mut lines = wrap(&rates.join(" · "), width, [0, 2]);
        if let Some(reasons) = by_reason(&self.skipped, |count| count.packets) {
            let full = self.skipped[Skipped::TableFull as usize].packets > 0;
            let paint = |line: &String| if full { style.alarm(line) } else { line.clone() };
            lines.extend(wrap(&format!("packets skipped: {reasons}"), width, [0, 2]).iter().map(paint));
        }
        for LearnerLine { of, status } in &self.learners {
            lines.extend(wrap(&format!("{of}: {status}"), width, [0, 2]).iter().map(|line| style.aside(line)));
        }
        lines
    }

    fn anomaly_lines(&self, width: usize, style: Style) -> Vec<String> {
        let (shown, all) = &self.anomalies;
        let mut lines = Vec::new();
        for AnomalyLine { subject, probability: p, reason } in shown {
            lines.extend(wrap(&format!("! {subject}"), width, [0, 4]).iter().map(|line| style.alarm(line)));
            lines.extend(wrap(&format!("p = {}: {reason}", probability(*p)), width, [4, 4]));
        }
        if *all > shown.len() {
            lines.push(style.alarm(&format!("! and {} more", grouped((all - shown.len()) as u64))));
        }
        lines
    }

    fn flow_table(&self) -> Table {
        let row = |flow: &FlowLine| {
            let sign = if flow.two_way { "↔" } else { "→" };
            let values = vec![
                flow.service.clone(),
                short(flow.total.packets as f64),
                short(flow.total.bytes as f64),
                short(8.0 * self.per_second(flow.total.bytes)),
                cluster(flow.cluster),
            ];
            (Subject::Pair(flow.ends.clone(), sign), values)
        };
        Table {
            header: vec!["TOP FLOWS", "SERVICE", "PACKETS", "BYTES", "BIT/S", "CLUSTER"],
            rows: self.flows.iter().map(row).collect(),
        }
    }

    fn host_table(&self) -> Table {
        let row = |host: &HostLine| {
            let [sent, received] = host.bytes;
            let values = vec![
                short(host.flows as f64),
                short(host.packets as f64),
                short(sent as f64),
                short(received as f64),
                short(8.0 * self.per_second(sent + received)),
                cluster(host.cluster),
            ];
            (Subject::One(host.address.clone()), values)
        };
        Table {
            header: vec!["TOP HOSTS", "FLOWS", "PACKETS", "SENT", "RECEIVED", "BIT/S", "CLUSTER"],
            rows: self.hosts.iter().map(row).collect(),
        }
    }

    fn per_second(&self, amount: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
    }
}

/// The cluster's number, or a dash while there is none.
fn cluster(id: Option<u32>) -> String {
    id.map_or_else(|| "–".to_owned(), |id| id.to_string())
}

/// A heading, then a line for each cluster, with as much of what is typical as the line holds.
fn cluster_lines(of: &str, clusters: &[ClusterLine], width: usize, style: Style) -> Vec<String> {
    let mut lines = vec![style.heading(&format!("CLUSTERS OF {}", of.to_uppercase()))];
    for ClusterLine { id, share, typical } in clusters.iter().take(SHOWN) {
        let mut line = format!("{id:>3} {:>5.1} %", 100.0 * share);
        for (at, text) in typical.iter().enumerate() {
            let text = format!("{}{text}", if at == 0 { "  " } else { ", " });
            if width_of(&line) + width_of(&text) > width {
                break;
            }
            line.push_str(&text);
        }
        lines.push(line);
    }
    if clusters.len() > SHOWN {
        lines.push(style.aside(&format!("    and {} smaller ones", clusters.len() - SHOWN)));
    }
    lines
}

/// `12 not_ip, 1 truncated`, or nothing where nothing was skipped.
fn by_reason(skipped: &[Count; Skipped::COUNT], of: impl Fn(&Count) -> u64) -> Option<String> {
    let told: Vec<String> = Skipped::ALL
        .iter()
        .zip(skipped)
        .filter(|(_, count)| of(count) > 0)
        .map(|(reason, count)| format!("{} {}", grouped(of(count)), reason.name()))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What the closing summary tells.
pub(super) struct SummaryView<'a> {
    pub(super) totals: &'a Totals,
    pub(super) rows: &'a Rows,
    /// Where rows went, how many, and how many were lost.
    pub(super) outputs: Vec<OutputLine>,
}

/// What became of the rows of an output.
#[derive(Clone, Debug)]
pub(super) struct OutputLine {
    pub(super) destination: String,
    pub(super) rows: u64,
    pub(super) rows_lost: u64,
    /// Then nobody misses the rows that were not written.
    pub(super) reader_gone: bool,
}

impl SummaryView<'_> {
    /// The text, of lines at most `width` wide.
    pub(super) fn render(&self, width: usize, style: Style) -> String {
        let (totals, rows) = (self.totals, self.rows);
        let interfaces: Vec<String> =
            totals.interfaces.iter().map(|interface| format!("{} ({})", interface.name, interface.xdp_mode)).collect();
        let title = format!(
            "flowml: {} in {:.1} s on {}",
            counted(totals.drains, "drain"),
            totals.duration.as_secs_f64(),
            interfaces.join(", ")
        );
        let mut lines: Vec<String> = wrap(&title, width, [0, 2]).iter().map(|line| style.heading(line)).collect();
        for (unit, of) in [("packets", (|count| count.packets) as fn(&Count) -> u64), ("bytes", |count| count.bytes)] {
            let law = self.conservation(unit, of);
            let paint = |line: &String| if totals.is_conserved() { line.clone() } else { style.alarm(line) };
            lines.extend(wrap(&law, width, [2, 4]).iter().map(paint));
        }
        let records = format!(
            "records: {} of {}, {}, {}",
            counted(rows.flows, "flow"),
            counted(rows.sessions, "session"),
            counted(rows.hosts, "host window"),
            judged(rows, totals.incidents),
        );
        lines.extend(wrap(&records, width, [2, 4]));
        for output in &self.outputs {
            lines.extend(output.lines(width, style));
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

impl OutputLine {
    fn lines(&self, width: usize, style: Style) -> Vec<String> {
        let until = if self.reader_gone { ", until its reader went" } else { "" };
        let mut lines = wrap(&format!("{}: {}{until}", self.destination, counted(self.rows, "row")), width, [2, 4]);
        if self.rows_lost > 0 && !self.reader_gone {
            let lost = format!("{} lost", counted(self.rows_lost, "row"));
            lines.extend(wrap(&lost, width, [4, 4]).iter().map(|line| style.alarm(line)));
        }
        lines
    }
}

/// `2 anomalies (1 of flows, 1 of hosts), 1 incident`; where no row has a verdict, that no anomaly was found would say nothing.
fn judged(rows: &Rows, incidents: u64) -> String {
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
    use super::*;
    use crate::sink::golden;

    fn flow(ends: [&str; 2], two_way: bool, service: &str, packets: u64, bytes: u64, cluster: Option<u32>) -> FlowLine {
        let total = Count { packets, bytes };
        FlowLine { ends: ends.map(str::to_owned), two_way, service: service.to_owned(), total, cluster }
    }

    fn cluster_of(id: u32, share: f64, typical: &[&str]) -> ClusterLine {
        ClusterLine { id, share, typical: typical.iter().map(|text| (*text).to_owned()).collect() }
    }

    fn busy() -> View {
        let mut skipped = [Count::default(); Skipped::COUNT];
        skipped[Skipped::NotIp as usize] = Count { packets: 12, bytes: 720 };
        skipped[Skipped::TableFull as usize] = Count { packets: 1_204_117, bytes: 90_000_000 };
        let anomaly = |subject: &str, probability, reason: &str| AnomalyLine {
            subject: subject.to_owned(),
            probability,
            reason: reason.to_owned(),
        };
        let host = |address: &str, flows, packets, bytes, cluster| HostLine {
            address: address.to_owned(),
            flows,
            packets,
            bytes,
            cluster,
        };
        View {
            end_ms: 1_700_000_000_123,
            elapsed: Duration::from_millis(1001),
            interfaces: "eth0, eth1".to_owned(),
            received: Count { packets: 1_234_567, bytes: 98_765_432 },
            skipped,
            flows_open: 12_345,
            flows_new: 1_987,
            occupancy: 0.374,
            learners: vec![
                LearnerLine { of: "flows", status: "ready: 12 clusters, calibrated on 4096 scores".to_owned() },
                LearnerLine { of: "hosts", status: "warming up: 12 of 30 intervals".to_owned() },
            ],
            anomalies: (
                vec![
                    anomaly(
                        "host 10.9.0.2",
                        3.1e-7,
                        "source ports 998 (typical 1–4), source unanswered share 0.98 (typical 0–0.1), \
                         source syn share 0.99 (typical 0.02–0.2), source peers 1 (typical 2–5)",
                    ),
                    anomaly(
                        "flow 2001:db8:1234:5678:9abc:def0:1234:5678.51234 → 2001:db8::1.443 tcp",
                        0.0099,
                        "src2dst bytes 1.2G (typical 340–12k)",
                    ),
                ],
                5,
            ),
            flows: vec![
                flow(["192.168.100.200:51234", "10.0.0.1:443"], true, "https", 81_234, 80_000_000, Some(3)),
                flow(
                    ["[2001:db8:1234:5678:9abc:def0:1234:5678]:51234", "[2001:db8::1]:53"],
                    false,
                    "dns",
                    2,
                    160,
                    None,
                ),
                flow(["10.0.0.1", "10.0.0.2"], true, "icmp", 20, 1960, Some(11)),
            ],
            hosts: vec![
                host("10.0.0.1", 12, 81_254, [1_000_000, 79_001_960], Some(0)),
                host("2001:db8:1234:5678:9abc:def0:1234:5678", 1, 2, [160, 0], None),
            ],
            clusters: vec![(
                "hosts",
                vec![
                    cluster_of(
                        3,
                        0.4137,
                        &["source flows 3 (1–4)", "source peers 2", "source bytes out 1.2k (900–4k)"],
                    ),
                    cluster_of(0, 0.052, &["destination flows 120 (80–200)"]),
                ],
            )],
        }
    }

    fn idle() -> View {
        View {
            received: Count::default(),
            skipped: Default::default(),
            flows_open: 1,
            flows_new: 0,
            occupancy: 0.0,
            anomalies: (Vec::new(), 0),
            flows: Vec::new(),
            hosts: Vec::new(),
            clusters: Vec::new(),
            interfaces: "eth0".to_owned(),
            ..busy()
        }
    }

    #[test]
    fn tables_look_as_agreed() {
        for width in [80, 120] {
            let plain = Style { colours: false };
            golden::assert_is(&format!("src/sink/golden/busy_{width}.txt"), &busy().render(width, plain));
            golden::assert_is(&format!("src/sink/golden/idle_{width}.txt"), &idle().render(width, plain));
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 60..160 {
            let text = busy().render(width, Style { colours: false });
            for line in text.lines() {
                assert!(width_of(line) <= width, "{} columns of {width}: {line}", width_of(line));
            }
        }
    }

    #[test]
    fn colours_change_nothing_else() {
        let coloured = busy().render(80, Style { colours: true });
        let mut plain = String::new();
        for (at, piece) in coloured.split('\x1b').enumerate() {
            plain.push_str(if at == 0 { piece } else { piece.split_once('m').expect("a sequence ends in m").1 });
        }
        assert!(coloured.len() > plain.len());
        assert_eq!(plain, busy().render(80, Style { colours: false }));
    }
}
