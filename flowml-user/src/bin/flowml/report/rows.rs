//! Rows of flows, host windows and incidents: the columns of a batch that a report reads.

use std::net::IpAddr;

use arrow_array::RecordBatch;
use flowml_user::dataset::DatasetError;
use flowml_user::dataset::columns::{numbers_of, texts_of};

/// The verdict of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict<'a> {
    pub(super) score: f64,
    pub(super) probability: f64,
    pub(super) anomaly: bool,
    pub(super) reason: &'a str,
}

/// A column that may be missing; then it has no values.
fn optional_numbers(batch: &RecordBatch, name: &str) -> Vec<f64> {
    numbers_of(batch, name).unwrap_or_else(|_| vec![f64::NAN; batch.num_rows()])
}

fn optional_texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    texts_of(batch, name).unwrap_or_else(|_| vec![None; batch.num_rows()])
}

/// The columns of the verdict.
struct Verdicts<'a> {
    score: Vec<f64>,
    probability: Vec<f64>,
    anomaly: Vec<f64>,
    reason: Vec<Option<&'a str>>,
}

impl<'a> Verdicts<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let numbers = |name| optional_numbers(batch, name);
        Self {
            score: numbers("score"),
            probability: numbers("probability"),
            anomaly: numbers("anomaly"),
            reason: optional_texts(batch, "reason"),
        }
    }

    fn get(&self, row: usize) -> Option<Verdict<'a>> {
        let score = self.score[row];
        (!score.is_nan()).then(|| Verdict {
            score,
            probability: self.probability[row],
            anomaly: self.anomaly[row] == 1.0,
            reason: self.reason[row].unwrap_or_default(),
        })
    }
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow<'a> {
    pub(super) source: &'a str,
    pub(super) destination: &'a str,
    pub(super) port: u16,
    pub(super) protocol: u8,
    pub(super) first_ms: f64,
    pub(super) last_ms: f64,
    pub(super) packets: f64,
    pub(super) bytes: f64,
    pub(super) verdict: Option<Verdict<'a>>,
}

/// The columns that flows must have.
pub(super) const FLOW_COLUMNS: [&str; 8] = [
    "src_ip",
    "dst_ip",
    "dst_port",
    "protocol",
    "bidirectional_first_seen_ms",
    "bidirectional_last_seen_ms",
    "bidirectional_packets",
    "bidirectional_bytes",
];

/// The flows of a batch, in the order of its rows.
pub(super) fn flows(batch: &RecordBatch) -> Result<impl Iterator<Item = Flow<'_>>, DatasetError> {
    let texts = |name| texts_of(batch, name);
    let numbers = |name| numbers_of(batch, name);
    let [source, destination, port, protocol, first, last, packets, bytes] = FLOW_COLUMNS;
    let (source, destination) = (texts(source)?, texts(destination)?);
    let (port, protocol) = (numbers(port)?, numbers(protocol)?);
    let (first, last) = (numbers(first)?, numbers(last)?);
    let (packets, bytes) = (numbers(packets)?, numbers(bytes)?);
    let verdicts = Verdicts::of(batch);
    Ok((0..batch.num_rows()).map(move |row| Flow {
        source: source[row].unwrap_or_default(),
        destination: destination[row].unwrap_or_default(),
        port: port[row] as u16,
        protocol: protocol[row] as u8,
        first_ms: first[row],
        last_ms: last[row],
        packets: packets[row].max(0.0),
        bytes: bytes[row].max(0.0),
        verdict: verdicts.get(row),
    }))
}

/// A host window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) start_ms: f64,
    pub(super) end_ms: f64,
    pub(super) verdict: Option<Verdict<'a>>,
}

/// The host windows of a batch.
pub(super) fn windows(batch: &RecordBatch) -> Result<impl Iterator<Item = Window<'_>>, DatasetError> {
    let address = texts_of(batch, "address")?;
    let (start, end) = (numbers_of(batch, "window_start_ms")?, numbers_of(batch, "window_end_ms")?);
    let verdicts = Verdicts::of(batch);
    Ok((0..batch.num_rows()).map(move |row| Window {
        address: address[row].and_then(|text| text.parse().ok()),
        start_ms: start[row],
        end_ms: end[row],
        verdict: verdicts.get(row),
    }))
}

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incident {
    pub(super) number: u64,
    pub(super) kind: String,
    pub(super) summary: String,
    pub(super) start_ms: f64,
    pub(super) end_ms: f64,
    pub(super) sources: String,
    pub(super) targets: String,
    pub(super) host_windows: f64,
    pub(super) flows: f64,
    pub(super) probability: f64,
    pub(super) severity: f64,
    pub(super) reason: String,
}

/// The incidents of a batch, one for each row; an incident has several rows.
pub(super) fn incidents(batch: &RecordBatch) -> Result<impl Iterator<Item = Incident>, DatasetError> {
    let numbers = |name| numbers_of(batch, name);
    let (number, start, end) = (numbers("incident")?, numbers("start_ms")?, numbers("end_ms")?);
    let (windows, flows) = (numbers("host_windows")?, numbers("flows")?);
    let (probability, severity) = (numbers("probability")?, numbers("severity")?);
    let side = |names: &'static str, counts: &'static str| {
        let (names, counts) = (optional_texts(batch, names), optional_numbers(batch, counts));
        move |row: usize| {
            let named = names[row].unwrap_or_default();
            let more = counts[row] - named.split_whitespace().count() as f64;
            if more > 0.0 { format!("{named} and {more} more") } else { named.to_owned() }
        }
    };
    let (sources, targets) = (side("sources", "sources_count"), side("targets", "targets_count"));
    let [reason, kind, summary] = ["reason", "kind", "summary"].map(|name| optional_texts(batch, name));
    Ok((0..batch.num_rows()).map(move |row| Incident {
        number: number[row] as u64,
        kind: kind[row].unwrap_or("unusual").to_owned(),
        summary: summary[row].unwrap_or_default().to_owned(),
        start_ms: start[row],
        end_ms: end[row],
        sources: sources(row),
        targets: targets(row),
        host_windows: windows[row],
        flows: flows[row],
        probability: probability[row],
        severity: severity[row],
        reason: reason[row].unwrap_or_default().to_owned(),
    }))
}
