//! Collects incidents, and the least probable anomalies by host, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ahash::RandomState;

use super::rows::{Incident, Verdict};

/// Number of hosts, and of incidents, that are kept when there are twice as many.
const KEPT: usize = 4096;

/// The kind of row of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Host,
    Flow,
}

/// The anomalies of one host: of its windows, or of the flows that it initiated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) count: u64,
    pub(super) first_ms: f64,
    pub(super) last_ms: f64,
    /// The probability of the least probable anomaly.
    pub(super) probability: f64,
    pub(super) reason: String,
    /// The responder of that anomaly, if it is a flow.
    pub(super) to: String,
}

/// Anomalies by host.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    by_host: HashMap<(Subject, IpAddr), Finding, RandomState>,
    forgot: bool,
}

impl Findings {
    /// Adds an anomaly of a host with its start and end, Unix time in ms.
    pub(super) fn add(
        &mut self,
        subject: (Subject, IpAddr),
        (from_ms, to_ms): (f64, f64),
        verdict: &Verdict<'_>,
        to: impl FnOnce() -> String,
    ) {
        let probability = if verdict.probability.is_nan() { 1.0 } else { verdict.probability };
        if let Some(own) = self.by_host.get_mut(&subject) {
            own.count += 1;
            own.first_ms = own.first_ms.min(from_ms);
            own.last_ms = own.last_ms.max(to_ms);
            if probability < own.probability {
                (own.probability, own.reason, own.to) = (probability, verdict.reason.to_owned(), to());
            }
            return;
        }
        if self.by_host.len() >= 2 * KEPT {
            self.forgot = true;
            self.by_host = self.least_probable(KEPT).into_iter().collect();
        }
        let (reason, to) = (verdict.reason.to_owned(), to());
        let own = Finding { count: 1, first_ms: from_ms, last_ms: to_ms, probability, reason, to };
        self.by_host.insert(subject, own);
    }

    /// The hosts with the least probable anomalies; with equal probabilities, the host with more anomalies first.
    pub(super) fn least_probable(&self, count: usize) -> Vec<((Subject, IpAddr), Finding)> {
        let mut all: Vec<_> = self.by_host.iter().map(|(subject, own)| (*subject, own.clone())).collect();
        let order = |(_, own): &(_, Finding)| (own.probability, own.count);
        all.sort_by(|a, b| {
            let ((p, n), (q, m)) = (order(a), order(b));
            p.total_cmp(&q).then(m.cmp(&n)).then(a.0.cmp(&b.0))
        });
        all.truncate(count);
        all
    }

    /// The number of hosts kept, and whether others were dropped.
    pub(super) fn count(&self) -> (usize, bool) {
        (self.by_host.len(), self.forgot)
    }
}

/// Incidents in their last reported state.
#[derive(Clone, Debug, Default)]
pub(super) struct Incidents {
    /// The latest state of each incident, by input and by number within the input.
    latest: BTreeMap<(usize, u64), Incident>,
    /// Number of incidents that were dropped for more severe ones.
    left_out: usize,
}

impl Incidents {
    /// Adds or updates an incident of an input.
    pub(super) fn add(&mut self, input: usize, incident: Incident) {
        self.latest.insert((input, incident.number), incident);
        if self.latest.len() >= 2 * KEPT {
            let mut by_severity: Vec<(f64, (usize, u64))> =
                self.latest.iter().map(|(key, incident)| (incident.severity, *key)).collect();
            by_severity.sort_by(|a, b| b.0.total_cmp(&a.0));
            by_severity[KEPT..].iter().for_each(|(_, key)| drop(self.latest.remove(key)));
            self.left_out += by_severity.len() - KEPT;
        }
    }

    /// All kept incidents, by start.
    pub(super) fn by_time(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.latest.values().collect();
        all.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
        all
    }

    /// The number of incidents, including dropped ones.
    pub(super) fn count(&self) -> usize {
        self.latest.len() + self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(probability: f64) -> Verdict<'static> {
        Verdict { score: 1.0, probability, anomaly: true, reason: "anomalous" }
    }

    #[test]
    fn the_anomalies_of_a_host_are_one_finding() {
        let mut findings = Findings::default();
        let host = (Subject::Flow, IpAddr::from([10, 0, 0, 1]));
        for (at, probability, to) in [(5.0, 1e-5, "a"), (3.0, 1e-9, "b"), (9.0, f64::NAN, "c")] {
            findings.add(host, (at, at + 1.0), &verdict(probability), || to.to_owned());
        }
        findings.add((Subject::Host, host.1), (0.0, 1.0), &verdict(1e-6), String::new);
        let least = findings.least_probable(5);
        let expected = Finding {
            count: 3,
            first_ms: 3.0,
            last_ms: 10.0,
            probability: 1e-9,
            reason: "anomalous".to_owned(),
            to: "b".to_owned(),
        };
        assert_eq!(least[0], (host, expected));
        assert_eq!((least.len(), findings.count()), (2, (2, false)));
    }

    #[test]
    fn of_many_hosts_the_least_probable_are_kept() {
        let mut findings = Findings::default();
        for number in 0..30_000_u32 {
            let host = IpAddr::from(number.to_be_bytes());
            let probability = if number % 10_000 == 7 { 1e-12 } else { 1e-4 };
            findings.add((Subject::Host, host), (0.0, 1.0), &verdict(probability), String::new);
        }
        let least: Vec<IpAddr> = findings.least_probable(3).into_iter().map(|((_, host), _)| host).collect();
        assert_eq!(least, [7_u32, 10_007, 20_007].map(|number| IpAddr::from(number.to_be_bytes())));
        assert!(findings.count().0 <= 2 * KEPT && findings.count().1);
    }

    #[test]
    fn incidents_have_their_last_state_and_the_most_severe_are_kept() {
        let incident = |number: u64, severity: f64, end_ms: f64| Incident {
            number,
            kind: String::new(),
            summary: String::new(),
            start_ms: -(number as f64),
            end_ms,
            sources: String::new(),
            targets: String::new(),
            host_windows: 1.0,
            flows: 0.0,
            probability: 0.0,
            severity,
            reason: String::new(),
        };
        let mut incidents = Incidents::default();
        incidents.add(0, incident(1, 5.0, 10.0));
        incidents.add(0, incident(1, 6.0, 20.0));
        incidents.add(1, incident(1, 6.0, 30.0));
        incidents.add(0, incident(2, 7.0, 40.0));
        let ends: Vec<f64> = incidents.by_time().iter().map(|incident| incident.end_ms).collect();
        assert_eq!(ends, [40.0, 20.0, 30.0]);
        (3..20_000).for_each(|number| incidents.add(0, incident(number, number as f64, 0.0)));
        assert_eq!(incidents.count(), 20_000);
        assert!(incidents.by_time().len() < 2 * KEPT && incidents.by_time()[0].severity == 19_999.0);
    }
}
