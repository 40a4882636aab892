//! `flowml feedback`: adds an operator's feedback label of an incident to the model.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flowml_user::dataset::columns::{numbers_of, texts_of};
use flowml_user::dataset::{DatasetError, RowType, TableReader};
use flowml_user::engine::learners::HOSTS;
use flowml_user::features::{HOST_FEATURES, columns, names};
use flowml_user::learning::{FeedbackClass, FeedbackLabel, TrafficModel};
use flowml_user::process::plain::print;

use crate::args::Feedback;

/// The data of an incident in the records.
struct Recorded {
    /// Start of its first window and end of its last, Unix time in whole ms.
    span_ms: [f64; 2],
    hosts: HashSet<String>,
}

/// Adds a feedback label for the windows of the incident to the model.
///
/// # Errors
/// If records or model cannot be read or written, or there is no such incident.
pub(crate) fn run(arguments: &Feedback) -> Result<()> {
    let Feedback { records, incident, model, .. } = arguments;
    let recorded = find(records, *incident)?;
    let rows = windows(records, &recorded)?;
    ensure!(
        !rows.is_empty(),
        "{}: incident {incident} has no anomalous host windows in these records",
        records.display()
    );
    let (count, note) = (rows.len(), format!("incident {incident} of {}", records.display()));
    let label = FeedbackLabel::new(note, arguments.class(), &rows);
    TrafficModel::read(model)?.label(HOSTS, &columns(HOST_FEATURES), label)?;
    let now = match arguments.class() {
        FeedbackClass::Benign => "benign",
        FeedbackClass::Attack => "attacks",
    };
    print(&format!(
        "flowml: incident {incident}: windows like its {count} host windows are {now} in {}",
        model.display()
    ));
    Ok(())
}

fn table(records: &Path, of: RowType) -> Result<TableReader> {
    let table = TableReader::open_type(records, of)?;
    table.with_context(|| format!("{}: expected JSON lines, or the folder of '-o parquet=DIR'", records.display()))
}

/// The last recorded state of the incident.
fn find(records: &Path, number: u64) -> Result<Recorded> {
    let (mut found, mut last) = (None, 0);
    for batch in table(records, RowType::Incident)? {
        let batch = batch?;
        let [numbers, starts, ends] = ["incident", "start_ms", "end_ms"].map(|name| numbers_of(&batch, name));
        let (numbers, starts, ends) = (numbers?, starts?, ends?);
        let (sources, targets) = (texts_of(&batch, "sources")?, texts_of(&batch, "targets")?);
        for row in 0..batch.num_rows() {
            last = last.max(numbers[row] as u64);
            if numbers[row] as u64 == number {
                let hosts = [sources[row], targets[row]].into_iter().flatten().flat_map(str::split_whitespace);
                found = Some(Recorded { span_ms: [starts[row], ends[row]], hosts: hosts.map(str::to_owned).collect() });
            }
        }
    }
    found.with_context(|| format!("{} has no incident {number}: expected 1 to {last}", records.display()))
}

/// The features of the anomalous windows of the incident's hosts, in the order of the records.
fn windows(records: &Path, recorded: &Recorded) -> Result<Vec<Vec<f64>>> {
    let mut rows = Vec::new();
    for batch in table(records, RowType::Host)? {
        let batch = batch?;
        let [starts, ends, anomalies] =
            ["window_start_ms", "window_end_ms", "anomaly"].map(|name| numbers_of(&batch, name));
        let (starts, ends, anomalies) = (starts?, ends?, anomalies?);
        let addresses = texts_of(&batch, "address")?;
        let features = names(HOST_FEATURES).map(|name| numbers_of(&batch, name));
        let features = features.collect::<Result<Vec<_>, DatasetError>>()?;
        let belongs = |row: &usize| {
            let within = starts[*row] >= recorded.span_ms[0] && ends[*row] < recorded.span_ms[1] + 1.0;
            within && anomalies[*row] == 1.0 && addresses[*row].is_some_and(|address| recorded.hosts.contains(address))
        };
        let chosen = (0..batch.num_rows()).filter(belongs);
        rows.extend(chosen.map(|row| features.iter().map(|column| column[row]).collect::<Vec<f64>>()));
    }
    Ok(rows)
}
