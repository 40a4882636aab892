//! Scores host windows and flows, and makes their rows.

use flowml_common::flow::Sender;
use flowml_common::table::Count;

use super::{Learners, Pipeline, eligibility};
use crate::export::Level;
use crate::features::{FlowRow, HOST_FEATURES, Hosts, matrix};
use crate::learning::{FeedbackClass, Verdict};
use crate::record::{Clock, FlowRecord};
use crate::sequential::Finding;
use crate::session::Ended;

impl Pipeline {
    pub(super) fn judge_hosts(&mut self, hosts: &Hosts, findings: &[Finding], at_ns: u64, clock: Clock) {
        self.totals.hosts_left_out += hosts.left_out;
        let scored = self.sinks.closing().scores(hosts.windows.len());
        let verdicts = self.learners.as_mut().filter(|_| scored).map(|learners| {
            let vouched = eligibility::of_hosts(&self.incidents, findings, &hosts.windows);
            let rows = matrix(HOST_FEATURES, hosts.windows.iter());
            learners.hosts.observe(rows.view(), &vouched.eligibility, &vouched.hosts)
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
        // A row is several times larger than the counts of a flow, so it is computed twice instead of stored.
        let rows = self.learners.is_some().then(|| {
            let rows = ended.iter().map(|ended| self.row(ended, clock));
            (matrix(&self.features, rows), eligibility::of_flows(&self.incidents, ended))
        });
        let verdicts = self.learners.as_mut().zip(rows).map(|(learners, (rows, vouched))| {
            learners.flows.observe(rows.view(), &vouched.eligibility, &vouched.hosts)
        });
        for (ended, verdict) in ended.iter().zip(or_none(verdicts)) {
            self.record(ended, verdict, clock);
        }
    }

    pub(super) fn row(&self, ended: &Ended, clock: Clock) -> FlowRow {
        let content = self.inspector.as_ref().map(|inspector| inspector.inspect(ended));
        let clock = self.shifts.get(&ended.key.interface()).map_or(clock, |shift_ns| clock.without(*shift_ns));
        FlowRow::new(FlowRecord::new(ended, clock).with_content(content), ended.windows)
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
        let row = self.row(ended, clock);
        self.sinks.flow(row, verdict, in_incident);
    }
}

/// The verdict of each row; none without a model.
fn or_none(verdicts: Option<Vec<Option<Verdict>>>) -> impl Iterator<Item = Option<Verdict>> {
    verdicts.unwrap_or_default().into_iter().chain(std::iter::repeat(None))
}
