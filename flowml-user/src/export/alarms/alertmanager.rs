//! Shows open incidents as alerts of Prometheus's Alertmanager (API v2).

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::remote::{Client, Connections, Failure};
use super::super::target::Url;
use super::attack::Technique;
use super::event::{Event, time};
use super::receive::Receive;
use crate::process::unix_time::now_ms;

/// The path of the alerts.
const PATH: &str = "/api/v2/alerts";

/// Firing alerts are sent again after this time, as Prometheus does.
const REPEAT: Duration = Duration::from_secs(60);

/// Alertmanager resolves an alert that was not sent again for this time: Prometheus's four repetitions.
const LASTS: Duration = Duration::from_secs(4 * 60);

/// The end of an alert is dated back by this time, ms. Alertmanager ignores an end that its own clock has not reached,
/// and keeps the later end that it has. The clock of this host may be ahead of its clock.
const CLOCK_DIFFERENCE: u64 = 10_000;

/// The alerts in an Alertmanager.
pub(super) struct Alertmanager {
    client: Client,
    /// The alerts of the open incidents, by the number of the incident.
    firing: BTreeMap<u64, Alert>,
}

/// An alert. Its labels identify it: an alert with other labels is another one.
#[derive(Clone, Debug, PartialEq)]
struct Alert {
    labels: Value,
    annotations: Value,
    starts_ms: u64,
}

impl Alert {
    fn of(event: &Event<'_>) -> Self {
        let incident = event.incident;
        let [source, target] = event.first().map(Option::unwrap_or_default);
        let technique = incident.kind.technique().unwrap_or_default().to_owned();
        let labels = texts([
            ("alertname", "FlowmlIncident".to_owned()),
            ("kind", incident.kind.name().to_owned()),
            ("severity", event.level().alert.to_owned()),
            ("technique", technique),
            ("source", source),
            ("target", target),
            ("agent", event.sender.agent.clone()),
            ("incident", event.id()),
        ]);
        let annotations = texts([
            ("summary", incident.summary()),
            ("description", event.sentence()),
            ("technique", event.technique().map_or_else(String::new, Technique::url)),
            ("confidence", incident.confidence().to_string()),
            ("sources_count", incident.sources.count.to_string()),
            ("targets_count", incident.targets.count.to_string()),
        ]);
        Self { labels, annotations, starts_ms: event.start_ms() }
    }

    /// The alert with the time of its end. It fires until then.
    fn until(&self, ends_ms: u64) -> Value {
        let Self { labels, annotations, starts_ms } = self;
        // An alert that ends before its start is refused.
        let ends_at = time(ends_ms.max(*starts_ms));
        json!({ "labels": labels, "annotations": annotations, "startsAt": time(*starts_ms), "endsAt": ends_at })
    }
}

/// An object of the texts that are not empty. Alertmanager has no empty labels.
fn texts<const N: usize>(all: [(&str, String); N]) -> Value {
    let there = all.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(there.map(|(name, text)| (name.to_owned(), text.into())).collect())
}

/// The state of an incident's alert after an event, and the alerts to send for it.
fn change(before: Option<&Alert>, event: &Event<'_>, now_ms: u64) -> (Option<Alert>, Vec<Value>) {
    let now = Alert::of(event);
    let ended_ms = now_ms.saturating_sub(CLOCK_DIFFERENCE);
    if event.is_closed() {
        // The labels are those with which it fires.
        let labels = before.map_or_else(|| now.labels.clone(), |alert| alert.labels.clone());
        return (None, vec![Alert { labels, ..now }.until(ended_ms)]);
    }
    let firing = now.until(now_ms + LASTS.as_millis() as u64);
    let replaced = before.filter(|alert| alert.labels != now.labels).map(|alert| alert.until(ended_ms));
    (Some(now), replaced.into_iter().chain([firing]).collect())
}

impl Alertmanager {
    pub(super) fn open(url: &Url) -> io::Result<Self> {
        Ok(Self { client: Client::open(url, PATH, Connections::Separate)?, firing: BTreeMap::new() })
    }
}

impl Receive for Alertmanager {
    fn deliver(&mut self, event: &Event<'_>, limit: Duration) -> Result<(), Failure> {
        let number = event.incident.number;
        let (after, alerts) = change(self.firing.get(&number), event, now_ms());
        let outcome = self.client.post(&Value::Array(alerts).to_string(), limit);
        if !matches!(outcome, Err(Failure::Later(_))) {
            match after {
                Some(alert) if outcome.is_ok() => drop(self.firing.insert(number, alert)),
                _ => drop(self.firing.remove(&number)),
            }
        }
        outcome
    }

    fn repeats_every(&self) -> Option<Duration> {
        Some(REPEAT)
    }

    fn repeat(&mut self, limit: Duration) -> Result<bool, Failure> {
        if self.firing.is_empty() {
            return Ok(false);
        }
        let ends_ms = now_ms() + LASTS.as_millis() as u64;
        let alerts: Vec<Value> = self.firing.values().map(|alert| alert.until(ends_ms)).collect();
        self.client.post(&Value::Array(alerts).to_string(), limit).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use flowml_common::flow::Address;

    use super::super::super::golden;
    use super::super::super::origin::Origin;
    use super::super::super::sample::{clock, incident};
    use super::*;
    use crate::incident::{Incident, State};
    use crate::sequential::Kind;

    /// Unix time, ms.
    const NOW: u64 = 1_700_000_065_000;

    fn after(before: Option<&Alert>, state: State, incident: &Incident) -> (Option<Alert>, Vec<Value>) {
        let sender = Origin::named("router1");
        change(before, &Event { state, incident, clock: clock(), sender: &sender }, NOW)
    }

    #[test]
    fn an_alert_is_as_committed() {
        let (_, alerts) = after(None, State::Open, &incident());
        golden::assert_is("src/export/alarms/golden/alert.json", &format!("{:#}\n", Value::Array(alerts)));
    }

    #[test]
    fn the_labels_of_the_end_are_those_of_the_start() {
        let mut incident = incident();
        let (alert, opened) = after(None, State::Open, &incident);
        assert_eq!((opened.len(), opened[0]["endsAt"].as_str()), (1, Some("2023-11-14T22:18:25.000Z")));
        // More hosts are found while it lasts, and a smaller probability.
        incident.sources.named.insert(0, Address::from_v4(7));
        incident.sources.count = 2;
        incident.probability = 1e-12;
        let (after, closed) = after(alert.as_ref(), State::Closed, &incident);
        assert_eq!((after, &closed[0]["labels"]), (None, &opened[0]["labels"]));
        assert_eq!((closed.len(), closed[0]["endsAt"].as_str()), (1, Some("2023-11-14T22:14:15.000Z")));
    }

    #[test]
    fn a_new_kind_is_a_new_alert_and_ends_the_old_one() {
        let unusual = Incident { kind: Kind::Unusual, ..incident() };
        let (alert, opened) = after(None, State::Open, &unusual);
        assert_eq!(opened[0]["labels"].get("technique"), None, "Alertmanager has no empty labels");
        let (named, alerts) = after(alert.as_ref(), State::Named, &incident());
        assert_eq!((alerts.len(), &alerts[0]["labels"]), (2, &opened[0]["labels"]));
        assert_eq!(alerts[0]["endsAt"], time(NOW - CLOCK_DIFFERENCE));
        assert_eq!(
            (&alerts[1]["labels"]["kind"], &alerts[1]["labels"]["technique"]),
            (&"port_scan".into(), &"T1046".into())
        );
        // The same event again, as after an answer that was lost, changes nothing.
        let (same, again) = after(named.as_ref(), State::Named, &incident());
        assert_eq!((same == named, again), (true, alerts[1..].to_vec()));
    }

    #[test]
    fn an_incident_from_an_earlier_run_is_closed_by_its_own_labels() {
        let (none, alerts) = after(None, State::Closed, &incident());
        assert_eq!((none, alerts.len(), &alerts[0]["labels"]["source"]), (None, 1, &"10.0.0.9".into()));
    }
}
