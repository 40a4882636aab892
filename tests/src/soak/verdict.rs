//! The failures of a soak test, and the losses that are allowed: only those that a fault is meant to cause.

use anyhow::{Context, Result};
use serde_json::Value;

use super::growth::Course;
use super::measure::{COLUMNS, Measure};
use super::schedule::{Fault, Past};
use super::site::{OUTPUTS, Remains};
use crate::agent::Report;
use crate::hooks::Hooks;

/// Outputs that may lose rows in the period of a fault and in the next, because the agent retries them after a while.
const MAY_LOSE: [(&str, Fault); 2] = [("csv", Fault::DiskFull), ("ipfix", Fault::CollectorAway)];

/// Attacks that may fill the flow table in their period.
const FILLING: [&str; 4] = ["syn_flood", "udp_flood", "port_scan", "sweep"];

/// The failures so far.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    failures: Vec<String>,
    reported: usize,
}

impl Verdict {
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The failures since the last call.
    pub(super) fn new_failures(&mut self) -> &[String] {
        let reported = std::mem::replace(&mut self.reported, self.failures.len());
        &self.failures[reported..]
    }

    fn ensure(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(text());
        }
    }

    /// Checks a period by its measurements and those of the period before.
    pub(super) fn of_period(&mut self, now: &Measure, before: Option<&Measure>, past: &Past, earlier: Option<&Past>) {
        let at = format!("{:.0} s:", now.since_begin.as_secs_f64());
        self.ensure(now.received == now.on_the_wire, || {
            format!("{at} {} packets were on the wire, and {} received", now.on_the_wire, now.received)
        });
        self.ensure(now.in_rows == now.in_flows(), || {
            format!("{at} {} packets are in flows, and {} in rows", now.in_flows(), now.in_rows)
        });
        let fault = |fault: Fault| [Some(past), earlier].into_iter().flatten().any(|past| past.faults.contains(&fault));
        for (n, (name, _)) in OUTPUTS.iter().enumerate() {
            let lost = now.outputs[n].lost - before.map_or(0.0, |before| before.outputs[n].lost);
            let allowed = MAY_LOSE.iter().any(|(output, of)| output == name && fault(*of));
            self.ensure(lost == 0.0 || allowed, || format!("{at} {name} lost {lost} rows"));
        }
        let full = now.table_full - before.map_or(0, |before| before.table_full);
        let is_filled =
            past.faults.contains(&Fault::TableFilled) || past.attacks.iter().any(|name| FILLING.contains(name));
        self.ensure(full == 0 || is_filled, || format!("{at} {full} packets of normal traffic found the table full"));
    }

    /// Checks the end of the agent. `wire` is the number of packets that it must have seen.
    pub(super) fn of_end(&mut self, report: &Report, mut remains: Remains, wire: u64) -> Result<()> {
        let (in_rows, in_tables) = (remains.rows.packets()?, remains.tables.packets()?);
        let summary: Value = serde_json::from_str(remains.rows.last()).context("the last row")?;
        let count = |value: &Value| value.as_u64().with_context(|| format!("a count in {summary}"));
        self.ensure(summary["conserved"] == true, || format!("the conservation check failed: {summary}"));
        let received = count(&summary["packets_received"])?;
        self.ensure(received == wire, || format!("{wire} packets were on the wire, and {received} received"));
        let in_flows = count(&summary["packets_in_flows"])?;
        for (name, packets) in [("jsonl", in_rows), ("fifo", remains.fifo), ("parquet", in_tables)] {
            self.ensure(packets == in_flows, || {
                format!("{in_flows} packets are in flows, and {packets} in rows of {name}")
            });
        }
        let losses = summary["losses"].as_array().context("losses")?;
        // The exit code is 1 only if the summary lists losses.
        let code = i32::from(!losses.is_empty());
        self.ensure(report.code == Some(code), || format!("the exit code is {:?} instead of {code}", report.code));
        for interface in [&remains.town.server, remains.second.metered()] {
            let hooks = Hooks::of(interface)?;
            self.ensure(hooks == Hooks::default(), || format!("left behind at {}: {hooks:?}", interface.name));
        }
        Ok(())
    }

    /// Checks the values that may grow with time.
    pub(super) fn of_growth(&mut self, measures: &[Measure]) {
        self.failures.extend(course(measures, "memory_mib").memory());
        for name in ["descriptors", "threads"] {
            self.failures.extend(course(measures, name).count(name));
        }
    }
}

fn course(measures: &[Measure], name: &str) -> Course {
    let column = COLUMNS.iter().find(|column| column.name == name);
    Course::new(
        measures.iter().filter_map(|measure| Some((measure.since_begin.as_secs_f64(), (column?.value)(measure)))),
    )
}

/// The table of values that is printed at the end.
pub(super) fn table(measures: &[Measure]) -> Vec<String> {
    let head = format!("{:<18}{:>14}{:>15}{:>15}", "AFTER THE WARM-UP", "FIRST HALF", "SECOND HALF", "SLOPE PER HOUR");
    let rows = COLUMNS.iter().filter(|column| column.drawn.is_some()).map(|column| {
        let course = course(measures, column.name);
        let [first, second] = course.medians();
        format!("{:<18}{first:>14.2}{second:>15.2}{:>15.2}", column.name, course.slope_per_hour())
    });
    let outputs = OUTPUTS.iter().enumerate().filter_map(|(n, (name, _))| {
        let taken = measures.last()?.outputs[n];
        Some(format!("{name:<18}{:>14} rows {:>14} lost", taken.rows, taken.lost))
    });
    std::iter::once(head).chain(rows).chain(outputs).collect()
}
