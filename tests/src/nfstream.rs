//! Flows of NFStream against ours: joined by 5-tuple, VLAN and start, every shared column compared.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use flowml_common::packet::icmp_answer;
use flowml_user::features::DIFFERENCES;
use flowml_user::features::FlowColumns;
use flowml_user::sink::flow_columns;
use serde_json::{Map, Value};

/// A flow as its columns.
pub type Flow = Map<String, Value>;

/// What NFStream says of a capture.
#[derive(Debug)]
pub struct Capture {
    /// The file.
    pub path: String,
    /// Whether no packet's time is before that of an earlier one.
    pub ordered: bool,
    /// The flows.
    pub flows: Vec<Flow>,
}

/// Reads what the script `nfstream_flows.py` writes.
pub fn captures(text: &str) -> Result<Vec<Capture>> {
    let mut captures: Vec<Capture> = Vec::new();
    for line in text.lines() {
        let Value::Object(object) = serde_json::from_str(line).with_context(|| line.to_owned())? else {
            bail!("expected an object: {line}");
        };
        match (object.get("capture"), captures.last_mut()) {
            (Some(path), _) => captures.push(Capture {
                path: path.as_str().context("a capture has a path")?.to_owned(),
                ordered: object.get("ordered") == Some(&Value::Bool(true)),
                flows: Vec::new(),
            }),
            (None, Some(capture)) => capture.flows.push(object),
            (None, None) => bail!("a flow before its capture: {line}"),
        }
    }
    Ok(captures)
}

/// Reads our flows out of JSON lines.
pub fn flows(text: &str) -> Result<Vec<Flow>> {
    let rows = text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    let flow = |row: &Result<Flow>| row.as_ref().map_or(true, |row| row.get("type") == Some(&"flow".into()));
    rows.filter(flow).collect()
}

/// How exactly numbers must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The capture's times are whole ms: NFStream cuts nothing off.
    WholeMs,
    /// By the rule `whole_ms`.
    Finer,
}

/// What became of NFStream's flows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All that NFStream reports.
    pub flows: u64,
    /// Those that only NFStream reports, by this key.
    pub unjoined: u64,
    /// Those that are not compared, by the rule of [`DIFFERENCES`].
    pub by_rule: BTreeMap<&'static str, u64>,
    /// Those of which every shared column was compared.
    pub compared: u64,
    /// Those among them that were told the other way round, by the rule `initiator`.
    pub turned: u64,
    /// Those of which a column differs, and how.
    pub differing: Vec<String>,
}

impl Outcome {
    /// Agreement among the flows that were compared, 0 to 1.
    pub fn agreement(&self) -> f64 {
        1.0 - self.differing.len() as f64 / self.compared.max(1) as f64
    }

    fn leave_to(&mut self, rule: &'static str) {
        assert!(DIFFERENCES.iter().any(|difference| difference.name == rule), "{rule} is not in the document");
        *self.by_rule.entry(rule).or_default() += 1;
    }
}

fn text<'a>(flow: &'a Flow, column: &str) -> &'a str {
    flow.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// NaN where there is none.
fn number(flow: &Flow, column: &str) -> f64 {
    flow.get(column).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn whole(flow: &Flow, column: &str) -> u64 {
    flow.get(column).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Both ends in one order, protocol and VLAN: who talked to whom, whoever began.
type Pair = ([(String, u64); 2], u64, u64);

fn pair(flow: &Flow) -> Pair {
    let end = |address, port| (text(flow, address).to_owned(), whole(flow, port));
    let mut ends = [end("src_ip", "src_port"), end("dst_ip", "dst_port")];
    ends.sort();
    (ends, whole(flow, "protocol"), whole(flow, "vlan_id"))
}

/// Protocols of which the two tell flows apart by different things.
const ICMP: [u64; 2] = [1, 58];
const SCTP: u64 = 132;

/// Compares the flows of one capture.
pub fn compare(capture: &Capture, ours: &[Flow], times: Times, outcome: &mut Outcome) {
    let whole_flows = ours.iter().filter(|flow| flow["fragments"] == false);
    let mut by_pair: HashMap<Pair, Vec<&Flow>> = HashMap::new();
    whole_flows.for_each(|flow| by_pair.entry(pair(flow)).or_default().push(flow));
    for theirs in &capture.flows {
        outcome.flows += 1;
        let protocol = whole(theirs, "protocol");
        if !capture.ordered {
            outcome.leave_to("order");
            continue;
        }
        if protocol == SCTP {
            outcome.leave_to("ports");
            continue;
        }
        let pair = pair(theirs);
        let of_pair = by_pair.get(&pair).map(Vec::as_slice).unwrap_or_default();
        const START: &str = "bidirectional_first_seen_ms";
        let joined: Vec<_> = of_pair.iter().filter(|flow| whole(flow, START) == whole(theirs, START)).collect();
        match joined[..] {
            _ if ICMP.contains(&protocol) && has_several_kinds(of_pair) => outcome.leave_to("icmp"),
            _ if has_several_interfaces(of_pair) => outcome.leave_to("interface"),
            [] => outcome.unjoined += 1,
            [ours, ..] if is_active(ours, theirs) => outcome.leave_to("epoch"),
            [ours, ..] => {
                outcome.compared += 1;
                if let Some(difference) = difference(ours, theirs, times, outcome) {
                    outcome.differing.push(format!("{}: {pair:?}: {difference}", capture.path));
                }
            }
        }
    }
}

/// Whether these are ICMP of different questions, or of the same asked from both sides: one flow for NFStream.
fn has_several_kinds(flows: &[&Flow]) -> bool {
    // A question and its answer are of one flow, whichever of the two is heard first.
    let question = |flow: &Flow| {
        let (kind, code) = (whole(flow, "icmp_type") as u8, whole(flow, "icmp_code"));
        match icmp_answer(whole(flow, "protocol") as u8, kind) {
            Some(other) if other < kind => (other, code, text(flow, "dst_ip").to_owned()),
            _ => (kind, code, text(flow, "src_ip").to_owned()),
        }
    };
    flows.windows(2).any(|pair| question(pair[0]) != question(pair[1]))
}

/// Whether these are observations of several interfaces, which NFStream does not tell apart.
fn has_several_interfaces(flows: &[&Flow]) -> bool {
    flows.windows(2).any(|pair| pair[0]["interface"] != pair[1]["interface"])
}

/// Whether the active timeout ended the record or the one before.
fn is_active(ours: &Flow, theirs: &Flow) -> bool {
    ours["continues"] == true || whole(ours, "expiration_id") == 1 || whole(theirs, "expiration_id") == 1
}

/// Our name of NFStream's column, where our initiator is its destination.
fn turned(column: &str) -> String {
    for (from, to) in [("src2dst_", "dst2src_"), ("dst2src_", "src2dst_"), ("src_", "dst_"), ("dst_", "src_")] {
        if let Some(rest) = column.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    column.to_owned()
}

/// The first column that differs.
fn difference(ours: &Flow, theirs: &Flow, times: Times, outcome: &mut Outcome) -> Option<String> {
    let is_turned =
        (text(ours, "src_ip"), whole(ours, "src_port")) != (text(theirs, "src_ip"), whole(theirs, "src_port"));
    outcome.turned += u64::from(is_turned);
    flow_columns(FlowColumns::Headers).filter(|column| column.nfstream).find_map(|column| {
        let name = column.name;
        let ours_name = if is_turned { turned(name) } else { name.to_owned() };
        let (our, their) = (&ours[&ours_name], theirs.get(name).unwrap_or(&Value::Null));
        let tolerance = match times {
            Times::WholeMs => 1e-6,
            Times::Finer => cut_to_ms(theirs, name),
        };
        let same = match (our, their) {
            (Value::Array(our), Value::Array(their)) => {
                our.len() == their.len()
                    && our.iter().zip(their).all(|(our, their)| {
                        let our = our.as_f64().unwrap_or(f64::NAN);
                        let turned = if is_turned && name == "splt_direction" && our >= 0.0 { 1.0 - our } else { our };
                        is_near(turned, their.as_f64().unwrap_or(f64::NAN), tolerance)
                    })
            }
            (Value::Number(_), Value::Number(_)) => is_near(number(ours, &ours_name), number(theirs, name), tolerance),
            // By the rule `link`.
            (Value::String(_), Value::String(zero)) if zero.starts_with("00:00:00") => true,
            (our, their) => our == their,
        };
        (!same).then(|| format!("{name} is {our}, of NFStream {their}"))
    })
}

fn is_near(our: f64, their: f64, tolerance: f64) -> bool {
    (our - their).abs() <= tolerance.max(1e-9 * their.abs())
}

/// By how much a column may differ because NFStream cuts times to whole ms.
fn cut_to_ms(theirs: &Flow, column: &str) -> f64 {
    let direction = column.split_once('_').map_or("", |(direction, _)| direction);
    let gaps = number(theirs, &format!("{direction}_packets")) - 1.0;
    match column {
        _ if column.ends_with("_stddev_piat_ms") && gaps > 1.0 => (gaps / (gaps - 1.0)).sqrt(),
        _ if column.ends_with("piat_ms") || column.ends_with("duration_ms") => 1.0,
        _ => 1e-6,
    }
}
