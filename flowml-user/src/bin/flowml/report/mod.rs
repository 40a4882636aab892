//! `flowml report`: writes an HTML report with charts about captures or records.

pub(crate) mod charts;
mod clusters;
mod findings;
mod heaviest;
mod judged;
pub(crate) mod page;
mod rows;
mod sample;
mod sections;
mod timeline;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use flowml_common::headers::protocol;
use flowml_user::capture::file;
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::truth::{BENIGN, LABEL};
use flowml_user::dataset::{DatasetError, RowType, Shape, TableReader};
use flowml_user::engine::learners::{Begin, Learners};
use flowml_user::features::FlowColumns;
use flowml_user::learning::Settings;
use flowml_user::process::plain::print;

use self::clusters::Clusters;
use self::findings::{Findings, Incidents, Subject};
use self::heaviest::Heaviest;
use self::judged::Judged;
use self::rows::{FLOW_COLUMNS, Flow, flows, windows};
use self::sample::Sample;
use self::timeline::{LogScaled, Timeline};
use crate::args::{InputArguments, Report};
use crate::inputs::{Inputs, check_output, of_themselves};
use crate::ui::progress::Step;

/// Maximum number of flows shown as points, and of anomalies in addition.
const POINTS: usize = 3000;
const ANOMALOUS_POINTS: usize = 400;

/// Reads the inputs and writes the report.
///
/// # Errors
/// If the inputs cannot be read or metered, have no flows, or the report cannot be written.
pub(crate) fn run(arguments: &Report) -> Result<()> {
    check_output(&arguments.output, &arguments.inputs)?;
    let step = Step::begin(!arguments.quiet);
    let mut inputs = Inputs::new(InputArguments::default(), arguments.labels.as_deref(), &step)?;
    if let Some(learners) = learners(arguments, &step)? {
        inputs = inputs.judged_by(learners);
    }
    let places = inputs.places(&arguments.inputs)?;
    let tables = inputs.tables(&places, RowType::Flow)?;
    tables.iter().try_for_each(has_flows)?;
    let roles = Roles { label: label_column(arguments, &tables), ignored: Vec::new() };
    tables.iter().try_for_each(|table| roles.check(table, true))?;

    let mut contents = Contents::new(arguments.benign.as_deref().unwrap_or(BENIGN), roles.label.is_some());
    let shape = Shape::of(&tables)?;
    for batch in tables.into_iter().flatten() {
        contents.add_flows(&shape.take(&batch?)?, &roles)?;
        step.show(format!("reading, {} flows", contents.flows));
    }
    ensure!(contents.flows > 0, "the inputs have no flows");
    for batch in inputs.tables(&places, RowType::Host)?.into_iter().flatten() {
        contents.add_windows(&batch?)?;
        step.show(format!("reading, {} host windows", contents.windows));
    }
    for (number, place) in places.iter().enumerate() {
        for batch in inputs.tables(std::slice::from_ref(place), RowType::Incident)?.into_iter().flatten() {
            rows::incidents(&batch?)?.for_each(|incident| contents.incidents.add(number, incident));
        }
    }
    step.show("drawing");
    let names: Vec<String> = arguments.inputs.iter().map(|path| path.display().to_string()).collect();
    let page = sections::page(&contents, &contents.clusters()?, &names);
    page::write(&page, &arguments.output)
        .with_context(|| format!("cannot write the report to {}", arguments.output.display()))?;
    drop(step);
    if !arguments.quiet {
        print(&format!("flowml: wrote the report of {} flows to {}", contents.flows, arguments.output.display()));
    }
    Ok(())
}

/// Checks that a table has the columns of flows.
fn has_flows(table: &TableReader) -> Result<(), DatasetError> {
    match FLOW_COLUMNS.iter().find(|name| table.schema().index_of(name).is_err()) {
        Some(column) => Err(DatasetError::no_column(table, column)),
        None => Ok(()),
    }
}

/// The models that score captures, if there are captures.
fn learners(arguments: &Report, step: &Step) -> Result<Option<Learners>> {
    let captures: Vec<_> = arguments.inputs.iter().filter(|path| file::is_capture(path)).cloned().collect();
    let (settings, level) = (Settings::default(), arguments.alarms.level());
    Ok(match &arguments.model {
        _ if captures.is_empty() => None,
        Some(path) => Some(Learners::begin(Begin::named(path), FlowColumns::Headers, &settings, level)?),
        None => Some(of_themselves(&captures, &settings, level, step)?),
    })
}

/// The label column: the named one, or a column with the default name in all tables.
fn label_column(arguments: &Report, tables: &[TableReader]) -> Option<String> {
    let called_so = || tables.iter().all(|table| table.schema().index_of(LABEL).is_ok());
    arguments.label_column.clone().or_else(|| called_so().then(|| LABEL.to_owned()))
}

/// A service: a protocol with a port, or a protocol without ports.
type Service = (u8, u16);

/// The aggregated content of the rows.
struct Contents {
    flows: u64,
    packets: f64,
    bytes: f64,
    /// Time of the first and of the last packet, Unix time in ms.
    span: (f64, f64),
    judged_flows: u64,
    anomalous_flows: u64,
    windows: u64,
    judged_windows: u64,
    anomalous_windows: u64,
    time: Timeline,
    hosts: Heaviest<IpAddr>,
    services: Heaviest<Service>,
    findings: Findings,
    incidents: Incidents,
    /// Present if rows have labels.
    judged: Option<Judged>,
    sample: Sample,
    anomalous: Sample,
}

impl Contents {
    fn new(benign: &str, labelled: bool) -> Self {
        Self {
            flows: 0,
            packets: 0.0,
            bytes: 0.0,
            span: (f64::INFINITY, f64::NEG_INFINITY),
            judged_flows: 0,
            anomalous_flows: 0,
            windows: 0,
            judged_windows: 0,
            anomalous_windows: 0,
            time: Timeline::default(),
            hosts: Heaviest::default(),
            services: Heaviest::default(),
            findings: Findings::default(),
            incidents: Incidents::default(),
            judged: labelled.then(|| Judged::new(benign)),
            sample: Sample::new(POINTS),
            anomalous: Sample::new(ANOMALOUS_POINTS),
        }
    }

    /// Adds the flows of a batch.
    fn add_flows(&mut self, batch: &RecordBatch, roles: &Roles) -> Result<()> {
        let mut anomalous = Vec::new();
        for (row, flow) in (0..).zip(flows(batch)?) {
            self.add_flow(&flow);
            anomalous.extend(flow.verdict.is_some_and(|verdict| verdict.anomaly).then_some(row));
        }
        if let (Some(judged), Some(labels)) = (&mut self.judged, roles.labels(batch)?) {
            for (label, flow) in labels.iter().zip(flows(batch)?) {
                judged.add(label, flow.verdict.map(|verdict| (verdict.score, verdict.anomaly)))?;
            }
        }
        self.sample.add(batch, 0..batch.num_rows() as u32)?;
        self.anomalous.add(batch, anomalous.into_iter())
    }

    fn add_flow(&mut self, flow: &Flow<'_>) {
        let anomaly = flow.verdict.filter(|verdict| verdict.anomaly);
        let anomalous = u64::from(anomaly.is_some());
        self.flows += 1;
        self.packets += flow.packets;
        self.bytes += flow.bytes;
        self.span = (self.span.0.min(flow.first_ms), self.span.1.max(flow.last_ms));
        self.judged_flows += u64::from(flow.verdict.is_some());
        self.anomalous_flows += anomalous;
        let amount = LogScaled { packets: flow.packets, bytes: flow.bytes, ..LogScaled::default() };
        self.time.add(flow.first_ms, flow.last_ms, &amount);
        let ends: [Option<IpAddr>; 2] = [flow.source, flow.destination].map(|text| text.parse().ok());
        for (at, end) in ends.iter().enumerate() {
            let Some(end) = end else { continue };
            let tally = self.hosts.tally(*end);
            tally.opened += u64::from(at == 0);
            tally.accepted += u64::from(at == 1);
            tally.packets += flow.packets;
            tally.bytes += flow.bytes;
            tally.anomalies += anomalous;
        }
        let has_ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&flow.protocol);
        let service = self.services.tally((flow.protocol, if has_ports { flow.port } else { 0 }));
        service.accepted += 1;
        service.packets += flow.packets;
        service.bytes += flow.bytes;
        service.anomalies += anomalous;
        if let Some(verdict) = &anomaly {
            // A verdict applies to the complete flow, and is counted at its end.
            self.time.add(flow.last_ms, flow.last_ms, &LogScaled { flow_anomalies: 1.0, ..LogScaled::default() });
            if let Some(source) = ends[0] {
                let to = || sections::service_of(flow.destination, flow.protocol, flow.port);
                self.findings.add((Subject::Flow, source), (flow.first_ms, flow.last_ms), verdict, to);
            }
        }
    }

    /// Adds the host windows of a batch.
    fn add_windows(&mut self, batch: &RecordBatch) -> Result<()> {
        for window in windows(batch)? {
            self.windows += 1;
            self.judged_windows += u64::from(window.verdict.is_some());
            let Some(verdict) = window.verdict.filter(|verdict| verdict.anomaly) else { continue };
            self.anomalous_windows += 1;
            self.time.add(window.end_ms, window.end_ms, &LogScaled { host_anomalies: 1.0, ..LogScaled::default() });
            if let Some(address) = window.address {
                let time = (window.start_ms, window.end_ms);
                self.findings.add((Subject::Host, address), time, &verdict, String::new);
            }
        }
        Ok(())
    }

    /// The clusters of the sample.
    fn clusters(&self) -> Result<Option<Clusters>> {
        let Some(sample) = self.sample.batch()? else { return Ok(None) };
        Clusters::of(&sample, self.anomalous.batch()?.as_ref())
    }
}
