//! The measurements of each check, as a table of columns for the file, the chart and the verdict.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::site::OUTPUTS;
use crate::proc_status::field;
use crate::scrape::{Histogram, Scrape};

/// A drain that is later than this, in s, is counted as late.
const LATE_S: f64 = 0.05;

/// The state of a process in `/proc`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    pub(super) memory_kib: u64,
    pub(super) peak_kib: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
}

impl Process {
    /// Reads the current state (proc_pid_status(5), proc_pid_fd(5)).
    pub(super) fn of(id: u32) -> Result<Self> {
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).context("listing the agent's descriptors")?.count();
        Ok(Self {
            memory_kib: field(id, "VmRSS")?,
            peak_kib: field(id, "VmHWM")?,
            threads: field(id, "Threads")?,
            descriptors: descriptors as u64,
        })
    }
}

/// The rows of an output so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Taken {
    /// All rows, including the lost ones.
    pub(super) rows: f64,
    pub(super) lost: f64,
}

/// The measurements of a check. Counts are since the start unless stated otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Measure {
    /// Unix time in ms.
    pub(super) unix_ms: u64,
    pub(super) since_begin: Duration,
    /// Time from closing the port until all packets were accounted for.
    pub(super) settled_after: Duration,
    pub(super) process: Process,
    pub(super) cpu: Duration,
    /// Packets counted by the kernel, and those received by the agent.
    pub(super) on_the_wire: u64,
    pub(super) received: u64,
    pub(super) skipped: u64,
    pub(super) in_rows: u64,
    pub(super) table_full: u64,
    pub(super) incidents: f64,
    pub(super) shed: f64,
    pub(super) outputs: [Taken; OUTPUTS.len()],
    pub(super) messages: u64,
    /// The drains in the period that this check ends.
    pub(super) drains: Histogram,
    pub(super) lateness: Histogram,
    /// Since the start.
    pub(super) all: [Histogram; 2],
}

impl Measure {
    /// Reads the values that come from the metrics.
    pub(super) fn read(scrape: &Scrape, before: Option<&Self>) -> Result<Self> {
        let all =
            [scrape.histogram("flowml_drain_duration_seconds")?, scrape.histogram("flowml_drain_lateness_seconds")?];
        let earlier = before.map(|before| before.all.clone()).unwrap_or_default();
        Ok(Self {
            received: scrape.count("flowml_received_packets_total")?,
            skipped: scrape.sum("flowml_skipped_packets_total") as u64,
            table_full: scrape.count("flowml_skipped_packets_total{reason=\"table_full\"}")?,
            incidents: scrape.sum("flowml_incidents_total"),
            shed: scrape.sum("flowml_shed_total"),
            outputs: OUTPUTS.map(|(_, end)| Taken {
                rows: of_output(scrape, "flowml_output_rows_total", end),
                lost: of_output(scrape, "flowml_output_lost_rows_total", end),
            }),
            drains: all[0].since(&earlier[0]),
            lateness: all[1].since(&earlier[1]),
            all,
            ..Self::default()
        })
    }

    /// Packets in flows, which must be in rows.
    pub(super) const fn in_flows(&self) -> u64 {
        self.received - self.skipped
    }

    /// A line of the file.
    pub(super) fn line(&self) -> String {
        let own = COLUMNS.iter().map(|column| number((column.value)(self)));
        let outputs = self.outputs.iter().flat_map(|taken| [number(taken.rows), number(taken.lost)]);
        own.chain(outputs).collect::<Vec<_>>().join("\t")
    }
}

/// The first line of the file.
pub(super) fn header() -> String {
    let own = COLUMNS.iter().map(|column| column.name.to_owned());
    let outputs = OUTPUTS.iter().flat_map(|(name, _)| [format!("{name}_rows"), format!("{name}_lost")]);
    own.chain(outputs).collect::<Vec<_>>().join("\t")
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.4}") }
}

/// The value of the output whose name has this end, or 0 for an output without any rows yet.
fn of_output(scrape: &Scrape, name: &str, end: &str) -> f64 {
    let end = format!("{end}\"");
    scrape.series(name).find(|(labels, _)| labels.ends_with(&end)).map_or(0.0, |(_, value)| value)
}

/// A column of the file.
pub(super) struct MeasureColumn {
    pub(super) name: &'static str,
    /// The name in the chart, if the measure is drawn.
    pub(super) drawn: Option<&'static str>,
    pub(super) value: fn(&Measure) -> f64,
}

const fn column(name: &'static str, value: fn(&Measure) -> f64) -> MeasureColumn {
    MeasureColumn { name, drawn: None, value }
}

const fn drawn(name: &'static str, drawn: &'static str, value: fn(&Measure) -> f64) -> MeasureColumn {
    MeasureColumn { name, drawn: Some(drawn), value }
}

const MIB: f64 = 1024.0;

/// All measurements except those of outputs.
pub(super) const COLUMNS: &[MeasureColumn] = &[
    column("unix_ms", |of| of.unix_ms as f64),
    column("seconds", |of| of.since_begin.as_secs_f64()),
    drawn("memory_mib", "memory, MiB", |of| of.process.memory_kib as f64 / MIB),
    column("peak_memory_mib", |of| of.process.peak_kib as f64 / MIB),
    drawn("descriptors", "descriptors", |of| of.process.descriptors as f64),
    drawn("threads", "threads", |of| of.process.threads as f64),
    column("cpu_s", |of| of.cpu.as_secs_f64()),
    column("drains", |of| of.drains.count),
    drawn("mean_drain_ms", "drain, ms", |of| of.drains.mean() * 1000.0),
    column("longest_drain_at_most_s", |of| of.drains.at_most()),
    drawn("mean_lateness_ms", "lateness, ms", |of| of.lateness.mean() * 1000.0),
    column("longest_lateness_at_most_s", |of| of.lateness.at_most()),
    drawn("late_drains", "late drains", |of| of.lateness.beyond(LATE_S)),
    column("on_the_wire", |of| of.on_the_wire as f64),
    column("received", |of| of.received as f64),
    column("skipped", |of| of.skipped as f64),
    column("table_full", |of| of.table_full as f64),
    column("in_rows", |of| of.in_rows as f64),
    column("incidents", |of| of.incidents),
    column("shed", |of| of.shed),
    column("ipfix_messages", |of| of.messages as f64),
    column("settled_after_s", |of| of.settled_after.as_secs_f64()),
];
