//! Scores host windows and flows, and makes their rows.

use std::collections::HashMap;

use flowml_common::flow::Sender;
use flowml_common::table::Count;

use super::{Learners, Pipeline, eligibility};
use crate::export::Level;
use crate::features::{FlowRow, Hosts};
use crate::learning::{FeedbackClass, Verdict};
use crate::record::{Clock, FlowRecord, Inspector};
use crate::sequential::Finding;
use crate::session::Ended;

impl Pipeline {
    pub(super) fn judge_hosts(&mut self, hosts: &Hosts, findings: &[Finding], at_ns: u64, clock: Clock) {
        self.totals.hosts_left_out += hosts.left_out;
        let scored = self.sinks.closing().scores(hosts.windows.len());
        let verdicts = self.learners.as_mut().filter(|_| scored).map(|learners| {
            let vouched = eligibility::of_hosts(&self.incidents, findings, &hosts.windows);
            let rows = self.rows_of_hosts.of(hosts.windows.iter());
            learners.hosts.observe(rows, &vouched.eligibility, &vouched.hosts)
        });
        let judged: Vec<_> = hosts.windows.iter().zip(or_none(verdicts)).collect();
        for (window, verdict) in &judged {
            if verdict.as_ref().is_some_and(|verdict| verdict.class == Some(FeedbackClass::Benign)) {
                self.incidents.excuse(window.address, at_ns);
            }
        }
        self.incidents.testify(findings, at_ns);
        let level = self.learners.as_ref().map_or(0.0, Learners::incident_level);
        let judged_windows = judged.iter().map(|(window, verdict)| (*window, verdict.as_ref()));
        let events = self.incidents.observe(at_ns, level, judged_windows);
        for (window, verdict) in judged {
            self.sinks.host(*window, clock, verdict);
        }
        self.sinks.incidents(events, clock);
    }

    /// Makes records of flows with their verdicts.
    pub(super) fn judge_flows(&mut self, ended: &[Ended], clock: Clock) {
        let (inspector, shifts) = (self.inspector.as_ref(), &self.shifts);
        // A row is several times larger than the counts of a flow. So it is not stored, and outputs compute it again.
        let verdicts = self.learners.as_mut().map(|learners| {
            let rows = ended.iter().map(|ended| row(inspector, self.tunnels, shifts, ended, clock));
            let rows = self.rows_of_flows.of(rows);
            let vouched = eligibility::of_flows(&self.incidents, ended);
            learners.flows.observe(rows, &vouched.eligibility, &vouched.hosts)
        });
        for (ended, verdict) in ended.iter().zip(or_none(verdicts)) {
            self.record(ended, verdict, clock);
        }
    }

    /// Makes the record of a flow.
    pub(super) fn record(&mut self, ended: &Ended, verdict: Option<Verdict>, clock: Clock) {
        let anomaly = verdict.as_ref().is_some_and(|verdict| verdict.anomaly);
        let ends = [Sender::Lower, Sender::Upper].map(|end| ended.key.endpoint(end).address);
        let in_incident = anomaly && self.incidents.flow(ends);
        if anomaly && self.shed.leaves_out(Level::Reasons) {
            self.shed.count(Level::Reasons, 1);
        }
        let Count { packets, bytes } = ended.counted();
        self.recorded.add(packets, bytes);
        let (inspector, tunnels, shifts) = (self.inspector.as_ref(), self.tunnels, &self.shifts);
        self.sinks.flow(ended.into(), verdict, in_incident, || row(inspector, tunnels, shifts, ended, clock));
    }
}

/// The row of a flow, by the clock of its interface.
fn row(
    inspector: Option<&Inspector>,
    tunnels: bool,
    shifts: &HashMap<u32, i64>,
    ended: &Ended,
    clock: Clock,
) -> FlowRow {
    let content = inspector.map(|inspector| inspector.inspect(ended));
    let clock = shifts.get(&ended.key.interface()).map_or(clock, |shift_ns| clock.without(*shift_ns));
    let record = FlowRecord::new(ended, clock).with_content(content);
    FlowRow::new(if tunnels { record.with_tunnel(ended) } else { record }, ended.windows)
}

/// The verdict of each row; none without a model.
fn or_none(verdicts: Option<Vec<Option<Verdict>>>) -> impl Iterator<Item = Option<Verdict>> {
    verdicts.unwrap_or_default().into_iter().chain(std::iter::repeat(None))
}
