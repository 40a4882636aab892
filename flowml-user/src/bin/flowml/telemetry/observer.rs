//! Counting a run in its metrics: intervals, incidents and rows.

use std::collections::BTreeMap;
use std::error::Error;

use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_common::tunnel::{Outcome, TunnelKind};
use flowml_user::export::{Began, IntervalReport, Observer, OutputLine, RowCounts, STEPS};
use flowml_user::incident::{Incident, State};
use prometheus_client::metrics::counter::Counter;

use super::metrics::{Metrics, by_reason, by_step, by_tunnel};

impl Observer for Metrics {
    fn begin(&mut self, began: &Began) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.capacity.set(i64::from(began.entries) * i64::from(began.cpus));
        self.meter(&began.interfaces);
        Ok(())
    }

    fn incident(&mut self, state: State, incident: &Incident) {
        match state {
            State::Open => {
                self.incidents.get_or_create_owned(&[("kind", incident.kind.name())]).inc();
                self.open_incidents.inc();
            }
            State::Closed => {
                self.open_incidents.dec();
            }
            State::Named => {}
        }
    }

    /// Adds an interval, the rows so far, and the rows that each output accepted and lost.
    fn interval(&mut self, report: &IntervalReport, rows: &RowCounts, outputs: &[OutputLine]) {
        self.meter(&report.interfaces);
        self.received_packets.inc_by(report.received.packets);
        self.received_bytes.inc_by(report.received.bytes);
        for (reason, Count { packets, bytes }) in Skipped::ALL.iter().zip(&report.skipped) {
            self.skipped_packets.get_or_create(&by_reason(*reason)).inc_by(*packets);
            self.skipped_bytes.get_or_create(&by_reason(*reason)).inc_by(*bytes);
        }
        for kind in TunnelKind::ALL {
            for outcome in Outcome::ALL {
                let packets = report.tunnels.of(kind, outcome);
                if packets > 0 {
                    self.tunnel_packets.get_or_create(&by_tunnel(kind, outcome)).inc_by(packets);
                }
            }
        }
        let anomalies = |of: &str| self.anomalies.get_or_create_owned(&[("of", of.to_owned())]);
        for (counter, total) in [
            (self.flows.clone(), rows.flows),
            (self.sessions.clone(), rows.sessions),
            (self.host_windows.clone(), rows.hosts),
            (self.scored_rows.clone(), rows.scored),
            (anomalies("flow"), rows.flow_anomalies),
            (anomalies("host"), rows.host_anomalies),
        ] {
            raise(&counter, total);
        }
        self.open_sessions.set(report.flows_open as i64);
        self.open_incidents.set(report.incidents.len() as i64);
        self.table_occupancy.set(report.occupancy);
        report.drains.iter().for_each(|drain| self.drains.observe(drain.as_secs_f64()));
        self.lateness.observe(report.late.as_secs_f64());
        self.overload_level.set(report.level as i64);
        for (step, number) in STEPS.iter().zip(report.shedding.steps) {
            self.shed.get_or_create(&by_step(step.name)).inc_by(number);
        }
        self.aggregated_packets.inc_by(report.shedding.aggregated.packets);
        self.aggregated_bytes.inc_by(report.shedding.aggregated.bytes);
        self.displaced_sessions.inc_by(report.shedding.displaced);
        for learner in &report.learners {
            if let Some((model, state)) = learner.fleet {
                let label = [("learner", learner.of.to_owned())];
                self.fleet_model_number.get_or_create(&label).set(model.number as i64);
                self.fleet_model_state.get_or_create(&label).set(state.number());
            }
        }
        for (destination, (rows, rows_lost)) in by_destination(outputs) {
            let label = [("output", destination.to_owned())];
            // Sent rows may later be counted as lost, so the number sent can decrease. The sum cannot.
            raise(&self.output_rows.get_or_create(&label), rows + rows_lost);
            raise(&self.output_lost_rows.get_or_create(&label), rows_lost);
        }
    }
}

/// The accepted and the lost rows of each destination. Webhooks of one server share their name, because paths may be secret.
fn by_destination(outputs: &[OutputLine]) -> BTreeMap<&str, (u64, u64)> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for OutputLine { destination, rows, rows_lost, .. } in outputs {
        let sum = sums.entry(destination).or_default();
        *sum = (sum.0 + rows, sum.1 + rows_lost);
    }
    sums
}

/// Raises a counter to a total.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
