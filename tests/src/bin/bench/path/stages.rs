//! The stages of the flow path one by one, each by the library's own functions.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::flow::PartialFlow;
use flowml_user::engine::WINDOW;
use flowml_user::engine::learners::Learners;
use flowml_user::features::{FLOW_FEATURES, FlowRow, HOST_FEATURES, HostWindow, HostWindows, LearnerRows};
use flowml_user::incident::Incidents;
use flowml_user::learning::Eligibility;
use flowml_user::record::{Clock, FlowRecord};
use flowml_user::sequential::SequentialTests;
use flowml_user::session::{Ended, Sessions, Standing};

use super::pipeline::Scoring;
use super::{counts, timeouts};
use crate::cpu_time::cpu_time;
use crate::effort::Effort;
use crate::intervals::{Intervals, Kinds};

/// The names of the stages, in their order on the path.
const NAMES: [&str; 9] = [
    "entry: from shared memory to a partial flow",
    "session: joined, ended, entry included",
    "host windows",
    "columns of a flow from host windows and slow view",
    "sequential tests",
    "host windows: features, score",
    "flow: record, features",
    "flow: score by the shipped model",
    "incidents: links of flows, events",
];

/// The number of the stage that is within the next one.
const WITHIN_NEXT: usize = 0;

/// Costs in ns per flow, by stage, one for each round.
pub(crate) struct Costs([Vec<f64>; NAMES.len()]);

/// The state of all stages.
struct Stages {
    /// Processes the same flows as `sessions`, and is timed without anything else.
    timed: Sessions,
    sessions: Sessions,
    windows: HostWindows,
    tests: SequentialTests,
    learners: Learners,
    rows: (LearnerRows<FlowRow>, LearnerRows<HostWindow>),
    incidents: Incidents,
}

pub(crate) fn measure(effort: Effort, hosts: u32) -> Result<Costs> {
    let counts = counts(effort);
    let mut intervals = Intervals::new(hosts, counts.flows, Kinds::Short, counts.flows);
    let mut stages = Stages {
        timed: Sessions::new(timeouts()),
        sessions: Sessions::new(timeouts()),
        windows: HostWindows::new(WINDOW),
        tests: SequentialTests::new(0),
        learners: Scoring::Shipped.learners()?.context("the shipped model")?,
        rows: (LearnerRows::new(FLOW_FEATURES.iter().copied()), LearnerRows::new(HOST_FEATURES.iter().copied())),
        incidents: Incidents::default(),
    };
    let mut costs = Costs(Default::default());
    for number in 0..counts.warm_up + counts.rounds {
        intervals.advance()?;
        let (times, ended) = stages.take(&intervals);
        if number >= counts.warm_up {
            ensure!(ended == counts.flows as usize, "{ended} flows have ended, expected {}", counts.flows);
            let ns = times.map(|time| time.as_secs_f64() * 1e9 / f64::from(counts.flows));
            costs.0.iter_mut().zip(ns).for_each(|(rounds, ns)| rounds.push(ns));
        }
    }
    Ok(costs)
}

impl Stages {
    /// Processes an interval. Returns the CPU time of each stage, and the number of flows that have ended.
    fn take(&mut self, intervals: &Intervals) -> ([Duration; NAMES.len()], usize) {
        let (table, end_ns) = (intervals.table(), intervals.end_ns());
        let (entry, ()) = time(|| {
            table.flows().for_each(|flow| {
                black_box(flow.partial_flow());
            });
        });
        let (joining, ()) = time(|| {
            self.timed.absorb_drain(table.flows(), |partial, _| {
                black_box(partial);
            });
        });
        let mut partials: Vec<(PartialFlow, Standing)> = Vec::new();
        self.sessions.absorb_drain(table.flows(), |partial, standing| partials.push((*partial, standing)));
        let (host_windows, hosts) = time(|| {
            partials.iter().for_each(|(partial, standing)| self.windows.add(partial, *standing));
            self.windows.advance(end_ns)
        });
        let (views, ()) =
            time(|| self.sessions.set_windows(|key, stats, standing| self.windows.around(key, stats, standing)));
        let ended = self.sessions.expire(end_ns);
        self.timed.set_windows(|key, stats, standing| self.windows.around(key, stats, standing));
        let (ending, _) = time(|| self.timed.expire(end_ns));
        let (tests, _) = time(|| {
            partials.iter().for_each(|(partial, standing)| self.tests.observe(partial, *standing));
            self.tests.ended(&ended);
            self.tests.interval(end_ns)
        });
        let (host_scores, verdicts) = time(|| {
            let rows = self.rows.1.of(hosts.windows.iter());
            let addresses: Vec<_> = hosts.windows.iter().map(|window| window.address).collect();
            self.learners.hosts.observe(rows, &vec![Eligibility::Welcome; rows.nrows()], &addresses)
        });
        let (features, rows) = time(|| self.rows.0.of(ended.iter().map(record)));
        let addresses: Vec<_> = ended.iter().map(|ended| ended.key.endpoint(ended.initiator.sender).address).collect();
        let eligibility = vec![Eligibility::Welcome; ended.len()];
        let (score, _) = time(|| self.learners.flows.observe(rows, &eligibility, &addresses));
        let (incidents, _) = time(|| {
            for (partial, standing) in &partials {
                let ends = [standing.initiator, standing.initiator.opposite()];
                self.incidents.link(ends.map(|end| partial.key.endpoint(end).address));
            }
            let judged = hosts.windows.iter().zip(verdicts.iter().map(Option::as_ref));
            self.incidents.observe(end_ns, 1e-6, judged)
        });
        ([entry, joining + ending, host_windows, views, tests, host_scores, features, score, incidents], ended.len())
    }
}

fn record(ended: &Ended) -> FlowRow {
    FlowRow::new(FlowRecord::new(ended, Clock::default()), ended.windows)
}

/// The CPU time of `work`, and its result.
fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = cpu_time();
    let result = work();
    (cpu_time() - begun, result)
}

impl Costs {
    /// The name of each stage and its costs in ns per flow.
    pub(crate) fn by_stage(&self) -> impl Iterator<Item = (&'static str, &[f64])> {
        NAMES.into_iter().zip(self.0.iter().map(Vec::as_slice))
    }

    /// The sum of all stages, one for each round.
    pub(crate) fn sums(&self) -> Vec<f64> {
        let rounds = self.0[0].len();
        let of_round = |round| (0..NAMES.len()).filter(|n| *n != WITHIN_NEXT).map(|n| self.0[n][round]).sum();
        (0..rounds).map(of_round).collect()
    }
}
