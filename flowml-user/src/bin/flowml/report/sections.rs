//! The HTML of a report, section by section.

use std::ops::Range;

use flowml_common::headers::protocol;
use maud::{Markup, html};

use super::clusters::{Clusters, Origin};
use super::findings::Subject;
use super::heaviest::Tally;
use super::judged::Judged;
use super::page::{
    Cloud, Colour, PageColumn, PageTable, Panel, boxes, cloud, confusion, curves, date_and_time, document, figure,
    length_of_time, panels, section, tile, tiles,
};
use super::timeline::LogScaled;
use super::{Contents, Service};
use crate::ui::text::{grouped, probability, short, with_unit};

/// Maximum numbers of rows in the tables.
const HOSTS: usize = 12;
const INCIDENTS: usize = 100;
const FINDINGS: usize = 40;
const LABELS: usize = 60;

/// The complete report.
pub(super) fn page(contents: &Contents, clusters: &Option<Clusters>, inputs: &[String]) -> String {
    let body = html! {
        (numbers(contents))
        (section("Incidents", &incidents(contents)))
        (section("Traffic over time", &traffic(contents)))
        (section("Hosts and services", &heaviest(contents)))
        @if contents.judged_flows + contents.judged_windows > 0 { (section("Anomalies", &findings(contents))) }
        @if let Some(clusters) = clusters { (section("Clusters of flows", &shown_clusters(clusters, contents))) }
        @if let Some(judged) = &contents.judged { (section("Scores and labels", &labels(judged))) }
    };
    document("Traffic report", &inputs.join(", "), &body)
}

/// The name of a protocol, or its number.
fn protocol_name(number: u8) -> String {
    let known = [
        (protocol::TCP, "tcp"),
        (protocol::UDP, "udp"),
        (protocol::SCTP, "sctp"),
        (protocol::ICMP, "icmp"),
        (protocol::ICMPV6, "icmpv6"),
    ];
    known
        .iter()
        .find(|(own, _)| *own == number)
        .map_or_else(|| format!("protocol {number}"), |(_, name)| (*name).to_owned())
}

fn service_name((number, port): Service) -> String {
    if port == 0 { protocol_name(number) } else { format!("{} {port}", protocol_name(number)) }
}

/// A service and its host.
pub(super) fn service_of(host: &str, number: u8, port: u16) -> String {
    format!("{host}, {}", service_name((number, port)))
}

fn count(value: f64) -> String {
    grouped(value.round() as u64)
}

fn whole(value: u64) -> Markup {
    html! { (grouped(value)) }
}

/// The count, marked if it is only a lower bound.
fn at_least((count, more): (usize, bool)) -> String {
    if more { format!("more than {}", grouped(count as u64)) } else { grouped(count as u64) }
}

fn numbers(contents: &Contents) -> Markup {
    let Contents { flows, packets, bytes, span, .. } = contents;
    let of = |judged: u64, all: u64| match judged {
        0 if all == 0 => "there are no rows".to_owned(),
        0 => "no scores: recorded without a model, or no row eligible for training".to_owned(),
        judged if judged == all => format!("of {}", grouped(all)),
        judged => format!("of {} scored rows; {} rows in total", grouped(judged), grouped(all)),
    };
    tiles(&[
        tile("time", &length_of_time(span.1 - span.0), &format!("from {} UTC", date_and_time(span.0))),
        tile("flows", &grouped(*flows), ""),
        tile("packets", &short(packets.round()), &count(*packets)),
        tile("traffic", &with_unit(*bytes, "B"), "IP bytes"),
        tile("hosts", &at_least(contents.hosts.count()), "addresses of flows"),
        tile("incidents", &grouped(contents.incidents.count() as u64), ""),
        tile("anomalous flows", &grouped(contents.anomalous_flows), &of(contents.judged_flows, *flows)),
        tile(
            "anomalous host windows",
            &grouped(contents.anomalous_windows),
            &of(contents.judged_windows, contents.windows),
        ),
    ])
}

/// The time span of all flows, at least one millisecond.
fn time_of(contents: &Contents) -> Range<f64> {
    let steps = contents.time.steps();
    match (steps.first(), steps.last()) {
        (Some(first), Some(last)) => first.0..last.1,
        _ => 0.0..1.0,
    }
}

fn traffic(contents: &Contents) -> Markup {
    let (steps, step_ms) = (contents.time.steps(), contents.time.step_ms());
    let per_second = |of: fn(&LogScaled) -> f64| {
        steps.iter().map(|(from, to, amount)| (*from, *to, of(amount) * 1000.0 / step_ms)).collect::<Vec<_>>()
    };
    let each =
        |of: fn(&LogScaled) -> f64| steps.iter().map(|(from, to, amount)| (*from, *to, of(amount))).collect::<Vec<_>>();
    let mut all = vec![
        Panel::new("packets/s", per_second(|amount| amount.packets), Colour::of(0)),
        Panel::new("bit/s", per_second(|amount| amount.bytes * 8.0), Colour::of(2)),
    ];
    if contents.anomalous_flows > 0 {
        all.push(Panel::new("flow anomalies", each(|amount| amount.flow_anomalies), Colour::Alarm));
    }
    if contents.anomalous_windows > 0 {
        all.push(Panel::new("host anomalies", each(|amount| amount.host_anomalies), Colour::Alarm));
    }
    let bands: Vec<_> =
        contents.incidents.by_time().iter().map(|incident| incident.start_ms..incident.end_ms).collect();
    let chart = panels("Packets and bits per second, and anomalies, over time", time_of(contents), &all, &bands);
    let bands_shown = if bands.is_empty() { "" } else { " Incidents are shaded." };
    let anomalous = if all.len() > 2 {
        " Anomalies are counted in the step in which the flow or the host window ends."
    } else {
        ""
    };
    let caption = format!(
        "Steps of {}, UTC. Rates are computed from flow records: the packets and IP bytes of each are spread evenly from its \
         first packet to its last, so bursts within a flow are not visible.{anomalous}{bands_shown}",
        length_of_time(step_ms)
    );
    figure(&chart, &[], &caption)
}

fn bytes_of<K>(tallies: &[(K, Tally)]) -> Vec<f64> {
    tallies.iter().map(|(_, tally)| tally.bytes).collect()
}

fn heaviest(contents: &Contents) -> Markup {
    let hosts = contents.hosts.most(HOSTS);
    let services = contents.services.most(HOSTS);
    let bytes = |tally: &Tally| html! { (with_unit(tally.bytes, "B")) };
    let host_rows = hosts.iter().map(|(host, tally)| {
        vec![
            html! { (host) },
            bytes(tally),
            html! { (short(tally.packets.round())) },
            whole(tally.opened),
            whole(tally.accepted),
            whole(tally.anomalies),
        ]
    });
    let service_rows = services.iter().map(|(service, tally)| {
        vec![
            html! { (service_name(*service)) },
            bytes(tally),
            html! { (short(tally.packets.round())) },
            whole(tally.accepted),
            whole(tally.anomalies),
        ]
    });
    let numbers = |names: &[&str]| names.iter().map(|name| PageColumn::number(name)).collect::<Vec<_>>();
    let heads = |first: &str, names: &[&str]| std::iter::once(PageColumn::name(first)).chain(numbers(names)).collect();
    let forgot = contents.hosts.count().1 || contents.services.count().1;
    html! {
        div.side {
            (PageTable::new(heads("host", &["traffic", "packets", "initiated", "responded", "anomalies"]), host_rows.collect())
                .with_bars(&bytes_of(&hosts)).markup())
            (PageTable::new(heads("service", &["traffic", "packets", "flows", "anomalies"]), service_rows.collect())
                .with_bars(&bytes_of(&services)).markup())
        }
        p.note {
            "Sorted by IP bytes of their flows. All bytes of a flow count for both of its hosts. Initiated and responded are \
             numbers of flows. A service is the protocol and the port of the responder."
            @if forgot { " There were more than the report keeps: the numbers are lower bounds." }
        }
    }
}

fn incidents(contents: &Contents) -> Markup {
    let all = contents.incidents.by_time();
    if all.is_empty() {
        let why = match contents.judged_windows {
            0 => "The inputs have no judged host windows, so there are no incidents.",
            _ => "No incidents: no host was anomalous for long enough.",
        };
        return html! { p { (why) } };
    }
    let row = |incident: &&super::rows::Incident| {
        vec![
            html! { (date_and_time(incident.start_ms)) br; small { (length_of_time(incident.end_ms - incident.start_ms)) } },
            html! { (incident.kind) },
            html! { span.alarm { (format!("{:.1}", incident.severity)) } },
            html! { (incident.sources) @if incident.sources.is_empty() { "–" } },
            html! { (incident.targets) @if incident.targets.is_empty() { "–" } },
            html! { (count(incident.host_windows)) " / " (count(incident.flows)) },
            html! { (incident.summary) @if !incident.reason.is_empty() { br; small { (incident.reason) } } },
        ]
    };
    // If not all incidents are shown, the most severe ones are.
    let mut severe = all.clone();
    severe.sort_by(|a, b| b.severity.total_cmp(&a.severity));
    severe.truncate(INCIDENTS);
    severe.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
    let heads = vec![
        PageColumn::name("start, UTC"),
        PageColumn::name("kind"),
        PageColumn::number("severity"),
        PageColumn::names("sources"),
        PageColumn::names("targets"),
        PageColumn::number("windows / flows"),
        PageColumn::words("what was found"),
    ];
    let more = contents.incidents.count() - severe.len();
    html! {
        (PageTable::new(heads, severe.iter().map(row).collect()).markup())
        p.note {
            "Severity is −log₁₀ of a probability. For a finding of a sequential test, it is the probability of a false alarm \
             on normal traffic. Otherwise it is the probability that a normal host scores at least as high as the most \
             anomalous window. Windows and flows are numbers of anomalies."
            @if more > 0 { " " (grouped(more as u64)) " less severe incidents are not shown." }
        }
    }
}

fn findings(contents: &Contents) -> Markup {
    let shown = contents.findings.least_probable(FINDINGS);
    if shown.is_empty() {
        return html! { p { "No judged row is an anomaly." } };
    }
    let row = |((subject, host), finding): &((Subject, std::net::IpAddr), super::findings::Finding)| {
        let of = match subject {
            Subject::Host => "host",
            Subject::Flow => "flows of",
        };
        vec![
            html! { (of) " " strong { (host) } @if !finding.to.is_empty() { br; small { "→ " (finding.to) } } },
            whole(finding.count),
            html! { span.alarm { (probability(finding.probability)) } },
            html! { (date_and_time(finding.first_ms)) br; small { (length_of_time(finding.last_ms - finding.first_ms)) } },
            html! { (finding.reason) },
        ]
    };
    let heads = vec![
        PageColumn::name("what"),
        PageColumn::number("anomalies"),
        PageColumn::number("lowest p"),
        PageColumn::name("from, UTC"),
        PageColumn::words("reason of the lowest p"),
    ];
    let (count, forgot) = contents.findings.count();
    html! {
        (PageTable::new(heads, shown.iter().map(row).collect()).markup())
        p.note {
            "Grouped by host, lowest p first. p is the probability that a normal row scores at least as high."
            @if count > shown.len() { " In total, " (at_least((count, forgot))) " groups have anomalies." }
        }
    }
}

fn shown_clusters(clusters: &Clusters, contents: &Contents) -> Markup {
    let all: usize = clusters.groups.iter().map(|group| group.points.len()).sum();
    let share = |points: usize| match 100.0 * points as f64 / all.max(1) as f64 {
        little if little < 0.05 => "under 0.1 %".to_owned(),
        part => format!("{part:.1} %"),
    };
    let clouds =
        clusters.groups.iter().map(|group| Cloud { colour: group.colour, points: group.points.clone(), ringed: false });
    let anomalous = (!clusters.anomalous.is_empty()).then(|| Cloud {
        colour: Colour::Alarm,
        points: clusters.anomalous.clone(),
        ringed: true,
    });
    let clouds: Vec<Cloud> = clouds.chain(anomalous).collect();
    let legend =
        clusters.groups.iter().map(|group| (group.colour, format!("{}, {}", group.name, share(group.points.len()))));
    let ringed = (!clusters.anomalous.is_empty()).then(|| (Colour::Alarm, "anomalies (rings)".to_owned()));
    let legend: Vec<_> = legend.chain(ringed).collect();
    let axes = [0, 1].map(|axis| {
        format!("principal component {}, {:.0} % of the variance", axis + 1, 100.0 * clusters.explained[axis])
    });
    let chart = cloud("Flows in two dimensions, coloured by cluster", [&axes[0], &axes[1]], &clouds);
    let origin = match clusters.origin {
        Origin::RowCounts => {
            "The clusters are those of the rows. If a candidate model was promoted in between, the same number means \
             different clusters before and after."
        }
        Origin::Sample => "The rows have no clusters: these are clusters of k-means over the flows that are shown.",
    };
    let of = match (all as u64, contents.sample.seen()) {
        (shown, all) if shown == all => "All flows".to_owned(),
        (shown, all) => format!("{} of {} flows, chosen at random,", grouped(shown), grouped(all)),
    };
    let rings = match (clusters.anomalous.len() as u64, contents.anomalous.seen()) {
        (0, _) => String::new(),
        (shown, all) if shown == all => " Rings show all anomalies.".to_owned(),
        (shown, all) => format!(" Rings show {} of {} anomalies.", grouped(shown), grouped(all)),
    };
    let caption = format!(
        "{of} by their first two principal components. Log-scaled features enter as log1p, and all features are scaled to \
         unit variance.{rings} {origin}"
    );
    html! {
        (figure(&chart, &legend, &caption))
        @if !clusters.features.is_empty() {
            h3 { "Features that distinguish the clusters" }
            p.note {
                "The features with the largest ratio of variance between clusters. Boxes are quartiles with the median, lines \
                 reach from 5 % to 95 %. Log-scaled features have a logarithmic axis."
            }
            div.side {
                @for feature in &clusters.features { (figure(&boxes(feature), &[], "")) }
            }
        }
    }
}

fn labels(judged: &Judged) -> Markup {
    let by_rows = judged.by_rows();
    let row = |own: &&super::judged::OfLabel| {
        let is_attack = own.label != judged.benign();
        let auroc =
            judged.ranking(Some(&own.label)).filter(|_| is_attack).map(|ranking| format!("{:.4}", ranking.auroc()));
        let part = own.anomalies as f64 / own.judged.max(1) as f64;
        vec![
            html! { (own.label) @if own.label.is_empty() { "(none)" } },
            whole(own.rows),
            whole(own.anomalies),
            html! { @if own.judged > 0 { (format!("{:.2} %", 100.0 * part)) } },
            html! { (auroc.unwrap_or_default()) },
        ]
    };
    let heads = ["rows", "anomalies", "share", "AUROC"].map(PageColumn::number);
    let heads = std::iter::once(PageColumn::name("label")).chain(heads).collect();
    let more = by_rows.len().saturating_sub(LABELS);
    let (ranked, scores) = judged.ranked();
    html! {
        @if let Some(ranking) = judged.ranking(None) {
            @let (roc, precision) = (ranking.roc(), ranking.precision_recall());
            @let roc_caption = format!("ROC curve of the rows' scores: AUROC {:.4}. The straight line is a random classifier.", ranking.auroc());
            @let precision_caption = format!("Precision and recall: average precision {:.4}.", ranking.average_precision());
            div.side {
                (figure(&curves("ROC curve", ["false-positive rate", "true-positive rate"], &[(Colour::of(0), &roc)], true),
                    &[], &roc_caption))
                (figure(&curves("Precision-recall curve", ["recall", "precision"], &[(Colour::of(0), &precision)], false),
                    &[], &precision_caption))
            }
            @if ranked < scores {
                p.note { "Computed from " (grouped(ranked)) " of " (grouped(scores)) " scores, chosen at random." }
            }
        } @else {
            p { "There are no curves: they need scored rows with the label '" (judged.benign()) "' and with other labels." }
        }
        div.side {
            (confusion(&format!("Rows by label and anomaly; rows with the label '{}' are normal", judged.benign()), &judged.confusion()))
            (PageTable::new(heads, by_rows.iter().take(LABELS).map(row).collect()).captioned("By label").markup())
        }
        @if more > 0 { p.note { "and " (more) " more labels" } }
    }
}
