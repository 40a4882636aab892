//! Traffic for the tests of sequential tests: a run with sessions and tests, and the number of simulated hosts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use flowml_common::flow::{ACK, FIN, PSH, RST, SYN};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::session::samples::{Sample, counted_of, tcp};
use crate::session::{Sessions, Timeouts};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// The visible packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Both,
    /// Only packets sent to this host.
    Into(&'static str),
}

/// Sessions and tests, connected as in a run.
pub(crate) struct Run {
    sessions: Sessions,
    tests: SequentialTests,
    view: View,
    pub(crate) now_ns: u64,
    pub(crate) findings: Vec<Finding>,
}

impl Run {
    pub(crate) fn new(view: View) -> Self {
        let sessions = Sessions::new(Timeouts::default());
        Self { sessions, tests: SequentialTests::new(0), view, now_ns: 0, findings: Vec::new() }
    }

    /// An interval of a second with these flows. Packet times are in ms from its start.
    pub(crate) fn second(&mut self, flows: &[Vec<Sample>]) {
        self.interval(1000, flows);
    }

    /// The same with an interval of so many ms.
    pub(crate) fn interval(&mut self, ms: u64, flows: &[Vec<Sample>]) {
        let seen = |sample: &&Sample| match self.view {
            View::Both => true,
            View::Into(host) => sample.destination.ip().to_string() == host,
        };
        let shifted = |sample: &Sample| Sample { time_ns: self.now_ns + sample.time_ns, ..*sample };
        let flows = flows.iter().map(|flow| flow.iter().filter(seen).map(shifted).collect::<Vec<_>>());
        let partials: Vec<_> = flows.filter(|flow| !flow.is_empty()).map(|flow| counted_of(&flow)).collect();
        let tests = &mut self.tests;
        self.sessions.absorb_drain(partials.iter().map(|(key, value)| value.counted(key)), |partial, standing| {
            tests.observe(partial, standing);
        });
        self.now_ns += ms * MS;
        tests.ended(&self.sessions.expire(self.now_ns));
        self.findings.extend(tests.interval(self.now_ns));
    }

    /// The kinds of the findings.
    pub(crate) fn kinds(&self) -> BTreeSet<&'static str> {
        self.findings.iter().map(|finding| finding.kind.name()).collect()
    }

    pub(crate) fn found(&self, kind: Kind) -> Evidence {
        let mut evidence = Evidence::default();
        self.findings.iter().filter(|finding| finding.kind == kind).for_each(|finding| evidence.add(&finding.evidence));
        evidence
    }
}

pub(crate) fn at(ms: u64, from: &str, to: &str, flags: u8) -> Sample {
    tcp(ms * MS, from, to, flags)
}

/// A connection with a request and an answer.
pub(crate) fn connection(ms: u64, client: &str, server: &str) -> Vec<Sample> {
    vec![
        at(ms, client, server, SYN),
        at(ms + 1, server, client, SYN | ACK),
        at(ms + 2, client, server, ACK),
        Sample { payload: 300, ..at(ms + 3, client, server, ACK | PSH) },
        Sample { payload: 1000, ..at(ms + 4, server, client, ACK | PSH) },
        at(ms + 5, client, server, ACK | FIN),
        at(ms + 6, server, client, ACK | FIN),
    ]
}

pub(crate) fn refused(ms: u64, client: &str, server: &str) -> Vec<Sample> {
    vec![at(ms, client, server, SYN), at(ms + 1, server, client, RST | ACK)]
}

/// The number of normal hosts that are simulated. A million takes minutes.
pub(crate) fn simulated() -> u64 {
    std::env::var("FLOWML_SIMULATED_HOSTS").map_or(20_000, |text| text.parse().unwrap())
}

/// Asserts that the number of false alarms is one that chance reaches with a probability of at least 10⁻⁴, if its mean
/// is at most `mean`.
pub(crate) fn assert_bounded(name: &str, alarms: u64, mean: f64) {
    let most = mean + 4.0 * mean.sqrt() + 4.0;
    eprintln!("{name}: {alarms} false alarms, where at most {mean:.3} are expected");
    assert!((alarms as f64) <= most, "{name}: {alarms} false alarms of at most {most}");
}

/// A Poisson-distributed number by Knuth's method, for small means.
pub(crate) fn poisson(random: &mut Xoshiro256PlusPlus, mean: f64) -> u64 {
    let (limit, mut product, mut count) = ((-mean).exp(), random.r#gen::<f64>(), 0);
    while product > limit {
        product *= random.r#gen::<f64>();
        count += 1;
    }
    count
}
