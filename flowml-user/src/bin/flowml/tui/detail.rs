//! Everything known about one row, as labelled facts.

use std::cmp::Reverse;

use flowml_common::flow::{Address, Sender};
use flowml_common::table::Count;
use flowml_user::incident::{Hosts, Incident, State};
use flowml_user::learning::{Reason, Verdict};

use super::seen::{History, Learnt, Noted};
use crate::ui::activity::top;
use crate::ui::text::{counted, grouped, probability, time_of_day, with_unit};
use crate::ui::view::{Anomaly, FlowLine, HostLine};

/// Maximum number of flows listed for a host.
const FLOWS_LISTED: usize = 5;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// The label; empty if the fact continues the previous one.
    pub(super) label: &'static str,
    pub(super) text: String,
}

fn fact(label: &'static str, text: impl Into<String>) -> Fact {
    Fact { label, text: text.into() }
}

/// Several facts under one label.
fn facts(label: &'static str, texts: impl IntoIterator<Item = String>) -> impl Iterator<Item = Fact> {
    texts.into_iter().enumerate().map(move |(at, text)| fact(if at == 0 { label } else { "" }, text))
}

pub(super) fn of_flow(flow: &FlowLine, seen: &History) -> Vec<Fact> {
    let [source, destination] = flow.ends();
    let FlowLine { key, activity, verdict } = flow;
    let sent = |end: Sender| amount(activity.sent[end as usize]);
    let mut detail = vec![
        fact("flow", format!("{source} {} {destination} ({})", flow.sign(), flow.service())),
        fact("sent", format!("{}, {}", sent(activity.initiator), rate(activity.total().bytes, seen.seconds()))),
        fact("received", sent(activity.initiator.opposite())),
    ];
    match key.vlans() {
        [0, _] => {}
        [outer, 0] => detail.push(fact("vlan", outer.to_string())),
        [outer, inner] => detail.push(fact("vlan", format!("{outer}, and {inner} within it"))),
    }
    if let Some(kind) = key.tunnel() {
        let id = key.tunnel_id().map_or_else(String::new, |id| format!(" {id}"));
        detail.push(fact("tunnel", format!("{}{id}", kind.name())));
    }
    match verdict {
        Some(verdict) => detail.extend(of_verdict(verdict, FLOWS, seen)),
        None => detail.push(fact("verdict", "none before the flow ends or reaches the active timeout")),
    }
    let ends = [activity.initiator, activity.initiator.opposite()].map(|end| key.endpoint(end).address);
    let host = |address: &Address| {
        let verdict = host_verdict(*address, seen).map_or_else(|| "not judged".to_owned(), in_short);
        format!("{}: {verdict}", address.to_ip())
    };
    detail.extend(facts("hosts", ends.iter().map(host)));
    detail.extend(facts("incidents", incidents_of(&ends, seen)));
    detail
}

pub(super) fn of_host(host: &HostLine, seen: &History) -> Vec<Fact> {
    let HostLine { address, activity, verdict } = host;
    let mut detail = vec![
        fact("host", address.to_ip().to_string()),
        fact("sent", amount(activity.sent)),
        fact("received", amount(activity.received)),
        fact("total", format!("{}, {}", counted(activity.flows, "flow"), rate(activity.bytes(), seen.seconds()))),
    ];
    match verdict {
        Some(verdict) => detail.extend(of_verdict(verdict, HOSTS, seen)),
        None => detail.push(fact("verdict", "none while the learner warms up")),
    }
    detail.extend(facts("incidents", incidents_of(&[*address], seen)));
    let flows = seen.view.iter().flat_map(|view| &view.flows);
    let own = |flow: &&FlowLine| {
        flow.has_traffic()
            && [Sender::Lower, Sender::Upper].iter().any(|end| flow.key.endpoint(*end).address == *address)
    };
    let most = |flow: &&FlowLine| (Reverse(flow.activity.total().bytes), flow.key);
    let flow = |flow: &FlowLine| {
        let [source, destination] = flow.ends();
        let total = amount(flow.activity.total());
        format!("{source} {} {destination} ({}): {total}", flow.sign(), flow.service())
    };
    detail.extend(facts("top flows", top(flows.filter(own).collect(), FLOWS_LISTED, most).into_iter().map(flow)));
    detail
}

pub(super) fn of_anomaly(noted: &Noted, seen: &History) -> Vec<Fact> {
    match &noted.anomaly {
        Anomaly::Incident(stage, incident) => of_incident(*stage, incident, noted.began_ms),
        Anomaly::Flow(flow) => {
            let mut detail = vec![
                fact("anomaly", noted.anomaly.subject()),
                fact("reported", format!("{} UTC, at the end of the flow", time_of_day(noted.began_ms))),
            ];
            detail.extend(of_verdict(&flow.verdict, FLOWS, seen));
            detail
        }
    }
}

fn of_incident(stage: State, incident: &Incident, began_ms: u64) -> Vec<Fact> {
    let seconds = incident.end_ns.saturating_sub(incident.start_ns) as f64 / 1e9;
    let lasts = match stage {
        State::Open | State::Named => format!("open for {seconds:.0} s"),
        State::Closed => format!("closed after {seconds:.0} s"),
    };
    let rows = format!("{} and {}", counted(incident.windows, "host window"), counted(incident.flows, "flow"));
    let mut detail = vec![
        fact("incident", incident.number.to_string()),
        fact("kind", of_kind(incident)),
        fact("summary", incident.summary()),
        fact("began", format!("{} UTC, {lasts}", time_of_day(began_ms))),
        fact("sources", hosts(&incident.sources)),
        fact("targets", hosts(&incident.targets)),
        fact("anomalies", rows),
        fact("p", format!("{} (severity {:.0})", probability(incident.probability), incident.severity())),
    ];
    detail.extend(facts("because", incident.reasons.iter().map(because)));
    detail
}

/// `port_scan (ATT&CK T1046), confidence 0.999999`.
fn of_kind(incident: &Incident) -> String {
    let technique = incident.kind.technique().map_or_else(String::new, |technique| format!(" (ATT&CK {technique})"));
    format!("{}{technique}, confidence {:.6}", incident.kind.name(), incident.confidence())
}

pub(super) fn of_cluster(learnt: &Learnt) -> Vec<Fact> {
    let Learnt { of, status, cluster } = learnt;
    let mut detail = vec![
        fact("cluster", format!("{} of {of}", cluster.id)),
        fact("share", format!("{:.1} % of recent rows (weight {:.0} rows)", 100.0 * cluster.share, cluster.size)),
    ];
    detail.extend(facts("typical", learnt.typical()));
    detail.push(fact("learner", format!("of {of}, {status}")));
    detail
}

/// The names of the models.
const FLOWS: &str = "flows";
const HOSTS: &str = "hosts";

/// The verdict of the `of` model, with its reasons and the typical values of the cluster.
fn of_verdict(verdict: &Verdict, of: &str, seen: &History) -> Vec<Fact> {
    let mut detail = vec![fact("verdict", format!("{}, score {:.1}", in_short(verdict), verdict.score))];
    detail.extend(facts("because", verdict.reasons.iter().map(because)));
    if let Some(learnt) = seen.cluster(of, verdict.cluster) {
        let share = format!("of cluster {}, {:.1} % of {of}:", verdict.cluster, 100.0 * learnt.cluster.share);
        detail.extend(facts("typical", std::iter::once(share).chain(learnt.typical())));
    }
    detail
}

/// `an anomaly, p = 3.1e-7, cluster 2`.
fn in_short(verdict: &Verdict) -> String {
    let kind = if verdict.anomaly { "an anomaly" } else { "normal" };
    format!("{kind}, p = {}, cluster {}", probability(verdict.probability), verdict.cluster)
}

/// A reason with its share of the distance.
fn because(reason: &Reason) -> String {
    format!("{reason}: {:.0} % of the distance", 100.0 * reason.share)
}

fn host_verdict(address: Address, seen: &History) -> Option<&Verdict> {
    let mut hosts = seen.view.iter().flat_map(|view| &view.hosts);
    hosts.find(|host| host.address == address)?.verdict.as_ref()
}

/// The incidents that name one of these hosts.
fn incidents_of(hosts: &[Address], seen: &History) -> Vec<String> {
    let named = |incident: &Incident| {
        let names = incident.sources.named.iter().chain(&incident.targets.named);
        names.into_iter().any(|name| hosts.contains(name))
    };
    let mut found: Vec<(u64, String)> = seen
        .anomalies()
        .filter_map(|noted| match &noted.anomaly {
            Anomaly::Incident(_, incident) if named(incident) => Some((incident.number, noted.anomaly.subject())),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, subject)| subject).collect()
}

/// `2,000 hosts: 10.0.0.1 10.0.0.2 …`.
fn hosts(hosts: &Hosts) -> String {
    let more = if hosts.count > hosts.named.len() { " …" } else { "" };
    match hosts.count {
        0 => "none with anomalies".to_owned(),
        count => format!("{}: {}{more}", counted(count as u64, "host"), names(&[hosts])),
    }
}

/// The addresses of the named hosts.
pub(super) fn names(hosts: &[&Hosts]) -> String {
    let named = hosts.iter().flat_map(|hosts| &hosts.named);
    named.map(|address| address.to_ip().to_string()).collect::<Vec<_>>().join(" ")
}

fn amount(count: Count) -> String {
    format!("{}, {}", counted(count.packets, "packet"), bytes(count.bytes))
}

fn bytes(bytes: u64) -> String {
    format!("{} B", grouped(bytes))
}

fn rate(bytes: u64, seconds: f64) -> String {
    with_unit(if seconds > 0.0 { 8.0 * bytes as f64 / seconds } else { 0.0 }, "bit/s")
}
