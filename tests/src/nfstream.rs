//! Compares NFStream's flows with flowml's: joined by 5-tuple, VLAN and start, in every shared column.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use flowml_common::icmp::icmp_answer;
use flowml_user::export::flow_columns;
use flowml_user::features::DIFFERENCES;
use flowml_user::features::FlowColumns;
use serde_json::{Map, Value};

/// A flow as a map of its columns.
pub type Flow = Map<String, Value>;

/// NFStream's flows of a capture.
#[derive(Debug)]
pub struct Capture {
    /// The path of the capture.
    pub path: String,
    /// Whether packet times never decrease.
    pub ordered: bool,
    /// The flows.
    pub flows: Vec<Flow>,
}

/// Parses the output of the script `nfstream_flows.py`.
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

/// Parses flowml's flows from JSON lines.
pub fn flows(text: &str) -> Result<Vec<Flow>> {
    let rows = text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    let flow = |row: &Result<Flow>| row.as_ref().map_or(true, |row| row.get("type") == Some(&"flow".into()));
    rows.filter(flow).collect()
}

/// The tolerance for numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The capture's times are whole ms, so NFStream truncates nothing.
    WholeMs,
    /// The rule `whole_ms` applies.
    Finer,
}

/// The result of comparing NFStream's flows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The number of flows that NFStream reports.
    pub flows: u64,
    /// The number of flows with a key that only NFStream reports.
    pub unjoined: u64,
    /// The number of flows that are not compared, for each rule of [`DIFFERENCES`].
    pub by_rule: BTreeMap<&'static str, u64>,
    /// The number of flows whose shared columns were all compared.
    pub compared: u64,
    /// The number of compared flows whose initiator and responder are swapped, by the rule `initiator`.
    pub turned: u64,
    /// The flows in which a column differs, with the difference.
    pub differing: Vec<String>,
}

impl Outcome {
    /// Agreement among the compared flows, from 0 to 1.
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

/// A column as a number, or NaN if it has none.
fn number(flow: &Flow, column: &str) -> f64 {
    flow.get(column).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn whole(flow: &Flow, column: &str) -> u64 {
    flow.get(column).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Both ends in a fixed order, protocol and VLAN: the same for both directions.
type Pair = ([(String, u64); 2], u64, u64);

fn pair(flow: &Flow) -> Pair {
    let end = |address, port| (text(flow, address).to_owned(), whole(flow, port));
    let mut ends = [end("src_ip", "src_port"), end("dst_ip", "dst_port")];
    ends.sort();
    (ends, whole(flow, "protocol"), whole(flow, "vlan_id"))
}

/// Protocols whose flows the two programs distinguish by different fields.
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

/// Whether these are ICMP flows of different types, or of requests in both directions. NFStream makes one flow of them.
fn has_several_kinds(flows: &[&Flow]) -> bool {
    // A request and its reply belong to one flow, whichever of them comes first.
    let question = |flow: &Flow| {
        let (kind, code) = (whole(flow, "icmp_type") as u8, whole(flow, "icmp_code"));
        match icmp_answer(whole(flow, "protocol") as u8, kind) {
            Some(other) if other < kind => (other, code, text(flow, "dst_ip").to_owned()),
            _ => (kind, code, text(flow, "src_ip").to_owned()),
        }
    };
    flows.windows(2).any(|pair| question(pair[0]) != question(pair[1]))
}

/// Whether several interfaces observed these flows. NFStream does not distinguish interfaces.
fn has_several_interfaces(flows: &[&Flow]) -> bool {
    flows.windows(2).any(|pair| pair[0]["interface"] != pair[1]["interface"])
}

/// Whether the active timeout ended this record or the one before.
fn is_active(ours: &Flow, theirs: &Flow) -> bool {
    ours["continues"] == true || whole(ours, "expiration_id") == 1 || whole(theirs, "expiration_id") == 1
}

/// flowml's name of a column of NFStream if flowml's initiator is NFStream's destination.
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
            // The rule `link` applies.
            (Value::String(_), Value::String(zero)) if zero.starts_with("00:00:00") => true,
            (our, their) => our == their,
        };
        (!same).then(|| format!("{name} is {our}, of NFStream {their}"))
    })
}

fn is_near(our: f64, their: f64, tolerance: f64) -> bool {
    (our - their).abs() <= tolerance.max(1e-9 * their.abs())
}

/// The difference that is allowed in a column because NFStream truncates times to whole ms.
fn cut_to_ms(theirs: &Flow, column: &str) -> f64 {
    let direction = column.split_once('_').map_or("", |(direction, _)| direction);
    let gaps = number(theirs, &format!("{direction}_packets")) - 1.0;
    match column {
        _ if column.ends_with("_stddev_piat_ms") && gaps > 1.0 => (gaps / (gaps - 1.0)).sqrt(),
        _ if column.ends_with("piat_ms") || column.ends_with("duration_ms") => 1.0,
        _ => 1e-6,
    }
}
