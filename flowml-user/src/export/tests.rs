//! Tests of the sinks as the pipeline uses them: files, console, and full disks.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_schema::DataType;
use flowml_common::content::PayloadLimit;
use flowml_common::packet::{Frame, Hook, Skipped};
use flowml_common::table::{Metered, Seed, Shape, meter};
use serde_json::Value;

use super::account::Account;
use super::origin::Origin;
use super::outlet::Outlet;
use super::output::Output;
use super::sample::{Upstream, add_flow, clock, exchange, report, run, segment, totals, verdict};
use super::*;
use crate::capture::vectors::VecTable;
use crate::features::{FlowColumns, FlowRow};
use crate::learning::statistics::ClusterSums;
use crate::learning::{ClusterStatistics, ModelHash, ModelIdentity};
use crate::record::{FlowRecord, Inspector, ValueType};
use crate::session::{Sessions, Timeouts};

/// Memory that a test can read while a sink writes to it; it can also fail like a full disk.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    fails: Option<ErrorKind>,
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().expect("no test panicked").clone()).expect("rows are text")
    }

    fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    fn json_lines(&self) -> u64 {
        self.bytes.lock().expect("no test panicked").iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn output(&self, destination: Destination) -> Output {
        Output::over(destination, Box::new(self.clone()), Arc::new(Account::new()))
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.fails {
            return Err(kind.into());
        }
        self.bytes.lock().expect("no test panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Open streams, and the format of each.
type Streams = Vec<(fn(Destination) -> Target, Output)>;

/// The warnings of a run, and its outputs at the end.
#[derive(Clone, Default)]
struct Recorded {
    warnings: Arc<Mutex<Vec<String>>>,
    outputs: Arc<Mutex<Vec<OutputLine>>>,
}

impl Recorded {
    fn warnings(&self) -> String {
        self.warnings.lock().expect("no test panicked").join("\n")
    }

    /// The destinations with their rows and their lost rows.
    fn outputs(&self) -> Vec<(String, u64, u64)> {
        let outputs = self.outputs.lock().expect("no test panicked");
        outputs.iter().map(|line| (line.destination.clone(), line.rows, line.rows_lost)).collect()
    }
}

impl Observer for Recorded {
    fn warn(&mut self, text: &str) {
        self.warnings.lock().expect("no test panicked").push(text.to_owned());
    }

    fn finish(&mut self, _totals: &Totals, _rows: &RowCounts, outputs: &[OutputLine]) {
        *self.outputs.lock().expect("no test panicked") = outputs.to_vec();
    }
}

/// Sinks over memory, and what users see.
fn sinks(outputs: Streams) -> (Sinks, Recorded) {
    let recorded = Recorded::default();
    let outlets = outputs.into_iter().map(|(target, output)| Outlet::over(target, output)).collect();
    (Sinks::over(outlets, Pace::Live).observed_by(recorded.clone()), recorded)
}

fn file(name: &str) -> Destination {
    Destination::File(name.into())
}

/// Waits for another thread.
fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the thread does it");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn of_type<'a>(rows: &'a [Value], kind: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["type"] == kind).collect()
}

#[test]
fn column_names_are_unique_and_need_no_quotes() {
    for columns in
        [flow_columns(FlowColumns::Headers).collect::<Vec<_>>(), host_columns().collect(), incident_columns().collect()]
    {
        let mut names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        for name in &names {
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
            assert!(!["type", "subject", "reasons"].contains(name), "{name} is a member of its own");
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn an_incident_has_a_row_when_it_opens_and_when_it_closes() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&Totals { incidents: 1, ..totals() }).expect("memory takes all");
    let rows = memory.json();
    let incidents = of_type(&rows, "incident");
    assert_eq!(incidents.iter().map(|row| &row["state"]).collect::<Vec<_>>(), ["open", "closed"]);
    let row = incidents[0];
    assert_eq!((&row["incident"], &row["host_windows"], &row["flows"]), (&1.into(), &4.into(), &1.into()));
    assert_eq!((&row["sources"], &row["targets"]), (&"10.0.0.9".into(), &"10.0.0.1".into()));
    assert_eq!((row["severity"].as_f64(), row["start_ms"].as_u64()), (Some(9.0), Some(1_700_000_000_500)));
    assert_eq!(row["reasons"].as_array().map(Vec::len), Some(verdict(true).reasons.len()));
    assert_eq!(of_type(&rows, "summary")[0]["incidents"], 1);
}

#[test]
fn a_json_flow_has_every_column_under_its_name() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");
    let text = memory.text();
    let line = text.lines().find(|line| line.contains(r#""type":"flow""#)).expect("there are flows");
    let mut rest = line.strip_prefix(r#"{"type":"flow""#).expect("the type stands first");
    for column in flow_columns(FlowColumns::Headers) {
        let at = rest.find(&format!(",\"{}\":", column.name)).expect(column.name);
        rest = &rest[at + 1..];
    }

    let rows = memory.json();
    let flows = of_type(&rows, "flow");
    assert_eq!(flows.len(), 2);
    let flow = flows[0];
    assert_eq!((&flow["src_ip"], &flow["src_port"]), (&"10.0.0.1".into(), &40_000.into()));
    assert_eq!((&flow["dst_ip"], &flow["dst_port"]), (&"10.0.0.9".into(), &443.into()));
    assert_eq!(flow["bidirectional_packets"], 2);
    assert_eq!(flow["bidirectional_first_seen_ms"], 1_700_000_001_000_u64);
    assert_eq!(flow["end_reason"], "forced_end");
    for column in ["cluster", "score", "probability", "anomaly", "reason"] {
        assert_eq!(flow[column], Value::Null, "{column}: no learner was asked");
    }
    assert_eq!((&flows[1]["cluster"], &flows[1]["anomaly"]), (&3.into(), &true.into()));
    assert_eq!(flows[1]["reason"], crate::learning::one_line(&verdict(true).reasons));
}

#[test]
fn values_have_the_type_of_their_column() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");
    let is = |kind: ValueType, value: &Value| match kind {
        ValueType::Text => value.is_string(),
        ValueType::Integer => value.is_u64(),
        ValueType::Real => value.is_number(),
        ValueType::Flag => value.is_boolean(),
        ValueType::Integers => value.as_array().is_some_and(|list| list.iter().all(Value::is_i64)),
        ValueType::Reals => value.as_array().is_some_and(|list| list.iter().all(Value::is_number)),
    };
    let rows = memory.json();
    for (table, columns) in [
        ("flow", flow_columns(FlowColumns::Headers).collect::<Vec<_>>()),
        ("host", host_columns().collect()),
        ("incident", incident_columns().collect()),
        ("aggregate", aggregate_columns().collect()),
    ] {
        for row in of_type(&rows, table) {
            for OutputColumn { name, kind, .. } in &columns {
                let value = &row[name];
                assert!(value.is_null() || is(*kind, value), "{name}: {value} is not {}", kind.name());
            }
        }
    }
}

#[test]
fn a_json_host_has_every_column_and_its_window() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");
    let rows = memory.json();
    let hosts = of_type(&rows, "host");
    assert_eq!(hosts.len(), 3);
    for host in hosts {
        let members = host.as_object().expect("a row is an object");
        assert_eq!(members.len(), 1 + host_columns().count());
        for column in host_columns() {
            assert!(members.contains_key(column.name), "{}", column.name);
        }
        assert_eq!(host["window_end_ms"], 1_700_000_002_000_u64);
    }
}

#[test]
fn an_anomaly_follows_its_row_and_states_who_when_and_why() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");
    let rows = memory.json();
    let kinds: Vec<&str> = rows.iter().filter_map(|row| row["type"].as_str()).collect();
    assert_eq!(
        kinds,
        ["host", "host", "host", "anomaly", "incident", "flow", "flow", "anomaly", "incident", "summary"]
    );

    let [host, flow] = of_type(&rows, "anomaly")[..] else { panic!("a host and a flow are anomalies") };
    assert_eq!((&host["subject"], &host["address"]), (&"host".into(), &"10.0.0.9".into()));
    assert_eq!(host["window_end_ms"], 1_700_000_002_000_u64);
    assert_eq!((&flow["subject"], &flow["src_ip"]), (&"flow".into(), &"10.0.0.2".into()));
    assert_eq!((&flow["dst_ip"], &flow["dst_port"], &flow["protocol"]), (&"10.0.0.9".into(), &443.into(), &6.into()));
    assert_eq!(flow["bidirectional_last_seen_ms"], 1_700_000_001_250_u64);
    for row in [host, flow] {
        assert_eq!((&row["score"], &row["probability"], &row["cluster"]), (&12.5.into(), &3e-7.into(), &3.into()));
        let reason = &row["reasons"][0];
        assert_eq!((&reason["feature"], &reason["value"]), (&"source_flows".into(), &998.into()));
        assert_eq!((&reason["typical"], &reason["share"]), (&serde_json::json!([1, 4]), &0.75.into()));
        assert_eq!(row["reasons"][1]["value"], Value::Null, "NaN is no JSON number");
    }
}

#[test]
fn the_summary_is_last_and_counts_the_rows_before_it() {
    let memory = Memory::default();
    let (mut sinks, _) = sinks(vec![(Target::Jsonl, memory.output(file("x")))]);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");
    let rows = memory.json();
    let summary = rows.last().expect("there are rows");
    assert_eq!(summary["type"], "summary");
    for (member, kind) in [("flows", "flow"), ("hosts", "host"), ("anomalies", "anomaly")] {
        assert_eq!(summary[member], of_type(&rows, kind).len(), "{member}");
    }
    assert_eq!((&summary["sessions"], &summary["drains"]), (&2.into(), &3.into()));
    let with_verdict = rows.iter().filter(|row| row["type"] != "anomaly" && row["score"].is_number()).count();
    assert_eq!(summary["scored"], with_verdict);
    assert!(with_verdict > 0);
    for unit in ["packets", "bytes"] {
        let number = |value: &Value| value.as_u64().expect("a count");
        let skipped = summary[format!("{unit}_skipped")].as_object().expect("by reason");
        assert_eq!(skipped.keys().len(), Skipped::COUNT);
        let accounted = number(&summary[format!("{unit}_in_flows")]) + skipped.values().map(number).sum::<u64>();
        assert_eq!(number(&summary[format!("{unit}_received")]), accounted);
    }
    assert_eq!((&summary["capture_mode"], &summary["conserved"]), (&"native".into(), &true.into()));
    assert_eq!(summary["interfaces"], serde_json::json!([{"name": "eth0", "capture_mode": "native"}]));
    assert_eq!(summary["duration_s"], 2.5);
}

#[test]
fn csv_has_the_same_flows_under_the_same_names() {
    let (json, table) = (Memory::default(), Memory::default());
    let mut output = table.output(file("x.csv"));
    output.header(|line| csv::write_header(line, FlowColumns::Headers.into())).expect("memory takes all");
    let outputs: Streams = vec![(Target::Jsonl, json.output(file("x"))), (Target::Csv, output)];
    let (mut sinks, _) = sinks(outputs);
    run(&mut sinks);
    sinks.finish(&totals()).expect("memory takes all");

    let text = table.text();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("there is a header").clone();
    assert!(header.iter().eq(flow_columns(FlowColumns::Headers).map(|column| column.name)));
    let rows = json.json();
    let records: Vec<_> = reader.records().map(|record| record.expect("every row is as long")).collect();
    assert_eq!(records.len(), 2);
    for (record, row) in records.iter().zip(of_type(&rows, "flow")) {
        for (name, field) in header.iter().zip(record) {
            let expected = match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(field, expected, "{name}");
        }
    }
}

/// Writes rows with content in all formats. Each must have the columns of the run and the same values.
#[test]
fn rows_with_content_have_its_columns_in_every_format() {
    let folder = std::env::temp_dir().join(format!("flowml-content-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    let patterns = ["get=^GET", "never=$.^"].map(|text| text.parse().expect("a pattern"));
    let inspector = Inspector::new(&patterns).expect("small patterns");
    let columns = FlowColumns::of(Some(&inspector));
    let path = |name: &str| folder.join(name).display().to_string();
    let targets = [
        format!("jsonl={}", path("x")),
        format!("csv={}", path("y")),
        format!("parquet={},rotate=never", folder.display()),
    ];
    let targets = targets.map(|text| text.parse().expect("a target"));
    let mut sinks = Sinks::open(&targets, columns, Pace::Live).expect("the folder is ours");

    let ports = [40_000, 80];
    let mut bytes = segment(1, 9, ports, 0x18, 0);
    let request = b"GET / HTTP/1.1\r\nHost: secret.example\r\nCookie: biscuit\r\n\r\n";
    bytes[16..18].copy_from_slice(&(40 + request.len() as u16).to_be_bytes());
    bytes.extend(request);
    let limit = PayloadLimit::new(200);
    let mut table = VecTable::new(Shape::for_capacity(16), Seed([1; 12])).with_payload(limit);
    let length = bytes.len() as u32;
    let frame = Frame { time_ns: 5, length, interface: 1, hook: Hook::File, stripped_vlan: None, segments: None };
    assert_eq!(meter(&mut table, &frame, bytes.as_slice()), Metered::Counted);
    let mut sessions = Sessions::new(Timeouts::default());
    sessions.absorb_drain(table.flows(), |_, _| {});
    let ended = sessions.flush();
    let record = FlowRecord::new(&ended[0], clock()).with_content(Some(inspector.inspect(&ended[0])));
    add_flow(&mut sinks, FlowRow::new(record, None), Some(verdict(true)));
    sinks.finish(&totals()).expect("there is room");

    let read = |name: &str| std::fs::read_to_string(path(name)).expect("the file is there");
    let json: Vec<Value> = read("x").lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let flow = &json[0];
    assert_eq!(flow["requested_server_name"], "secret.example");
    assert_eq!((&flow["match_get"], &flow["match_never"]), (&1.into(), &0.into()));
    assert_eq!(flow["src2dst_first_payload_bytes"], request.len());
    assert_eq!((&flow["dst2src_first_payload_entropy"], &flow["reason"].is_string()), (&Value::Null, &true));
    let names: Vec<&str> = flow_columns(columns).map(|column| column.name).collect();
    let keys: Vec<&str> = flow.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 1 + names.len());
    assert!(names.iter().all(|name| keys.contains(name)));

    let table = read("y");
    let mut table = ::csv::Reader::from_reader(table.as_bytes());
    assert!(table.headers().expect("there is a header").iter().eq(names.iter().copied()));
    let record = table.records().next().expect("a row").expect("as long as its header");
    let parquet = parquet_rows(&folder.join("flows.parquet"));
    for (name, field) in names.iter().zip(&record) {
        let expected = match &flow[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!((field, parquet[0][*name].as_str()), (expected.as_str(), expected.as_str()), "{name}");
    }
    for name in ["x", "y"] {
        assert!(!read(name).contains("biscuit"), "what was sent is not written");
    }
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

/// The rows of a Parquet file as text by column: lists and numbers as in JSON, null as an empty text.
fn parquet_rows(path: &Path) -> Vec<HashMap<String, String>> {
    let file = std::fs::File::open(path).expect("the file has its place");
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet").build().expect("it is complete");
    let text = |array: &dyn Array, at: usize| match array.data_type() {
        _ if array.is_null(at) => String::new(),
        DataType::Utf8 => array.as_string::<i32>().value(at).to_owned(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float64 => json_number(array.as_primitive::<Float64Type>().value(at)),
        DataType::Boolean => array.as_boolean().value(at).to_string(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(at);
            let number = |at| match list.data_type() {
                DataType::Int64 => list.as_primitive::<Int64Type>().value(at).to_string(),
                _ => json_number(list.as_primitive::<Float64Type>().value(at)),
            };
            format!("[{}]", (0..list.len()).map(number).collect::<Vec<_>>().join(","))
        }
        other => panic!("no column is {other}"),
    };
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.expect("it is complete");
        for at in 0..batch.num_rows() {
            let fields = batch.schema();
            let names = fields.fields().iter().map(|field| field.name().clone());
            rows.push(names.zip(batch.columns().iter().map(|array| text(array, at))).collect());
        }
    }
    rows
}

fn json_number(number: f64) -> String {
    let mut text = Vec::new();
    columns::Cell::Real(number).write_json(&mut text);
    String::from_utf8(text).expect("a number is text")
}

/// Sinks that write a folder of tables, and JSON lines to memory.
fn with_tables(folder: &Path) -> (Sinks, Memory) {
    let json = Memory::default();
    let (mut sinks, _) = sinks(Vec::new());
    let target = Target::Parquet(folder.to_owned().into());
    // With this pace rows wait for the files, however many arrive at once.
    sinks.outlets.push(Outlet::over_at(Target::Jsonl, json.output(file("x")), Pace::Offline));
    let outlet = Outlet::open(&target, FlowColumns::Headers, Pace::Offline, &Origin::named("a"));
    sinks.outlets.push(outlet.expect("the folder is ours"));
    (sinks, json)
}

#[test]
fn parquet_has_the_same_rows_under_the_same_names() {
    let folder = std::env::temp_dir().join(format!("flowml-parquet-{}", std::process::id()));
    let (mut sinks, json) = with_tables(&folder);
    run(&mut sinks);
    assert!(sinks.interval(&report(1000, 2000)).is_continue());
    assert!(!folder.join("flows.parquet").exists(), "a file has its name when it is complete");
    sinks.finish(&totals()).expect("there is room");

    let rows = json.json();
    for (name, kind) in [("flows", "flow"), ("hosts", "host"), ("anomalies", "anomaly")] {
        let table = parquet_rows(&folder.join(format!("{name}.parquet")));
        let expected = of_type(&rows, kind);
        assert_eq!(table.len(), expected.len(), "{name}");
        assert!(!table.is_empty(), "{name}");
        for (row, expected) in table.iter().zip(expected) {
            for (column, text) in row {
                let expected = match expected.get(column) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                assert_eq!(*text, expected, "{name}: {column}");
            }
            let members = expected.as_object().expect("a row is an object").keys();
            let left_out = members.filter(|member| !["type", "reasons"].contains(&member.as_str()));
            assert!(left_out.into_iter().all(|member| row.contains_key(member)), "{name}");
        }
    }
    let left: Vec<_> = folder.read_dir().expect("the folder is ours").collect();
    assert_eq!(left.len(), 5, "nothing but the tables is left: {left:?}");
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

/// Each file ends when it has one byte.
#[test]
fn rotated_tables_have_all_rows() {
    let folder = tempfile::tempdir().expect("there is room");
    let (mut sinks, json) = with_tables(&folder.path().join("one"));
    let tables = folder.path().join("others");
    let target = FileTarget { rotation: Some(Rotation::Bytes(1)), ..tables.clone().into() };
    let outlet = Outlet::open(&Target::Parquet(target), FlowColumns::Headers, Pace::Offline, &Origin::named("a"));
    sinks.outlets.push(outlet.expect("the folder is ours"));
    run(&mut sinks);
    run(&mut sinks);
    sinks.finish(&totals()).expect("there is room");
    let expected = json.json();
    for (name, kind) in [("flows", "flow"), ("hosts", "host"), ("anomalies", "anomaly"), ("incidents", "incident")] {
        let files = tables.join(name).read_dir().expect("it has a folder").map(|file| file.expect("a name").path());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert!(files.len() > 1 && files.iter().all(|path| path.extension().is_some_and(|name| name == "parquet")));
        let rows: Vec<_> = files.iter().map(|path| parquet_rows(path)).collect();
        assert!(rows.iter().filter(|rows| rows.is_empty()).count() <= 1, "the first alone may have none");
        assert_eq!(rows.concat().len(), of_type(&expected, kind).len(), "{name}");
    }
}

#[test]
fn the_parquet_schema_states_unit_and_meaning() {
    let folder = std::env::temp_dir().join(format!("flowml-schema-{}", std::process::id()));
    let (sinks, _) = with_tables(&folder);
    sinks.finish(&totals()).expect("there is room");
    for (name, columns) in [
        ("flows", flow_columns(FlowColumns::Headers).collect::<Vec<_>>()),
        ("hosts", host_columns().collect()),
        ("incidents", incident_columns().collect()),
        ("aggregates", aggregate_columns().collect()),
        ("anomalies", anomaly_columns(FlowColumns::Headers).collect()),
    ] {
        let file = std::fs::File::open(folder.join(format!("{name}.parquet"))).expect("also without rows");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
        let fields = reader.schema().fields();
        assert_eq!(fields.len(), columns.len());
        for (field, column) in fields.iter().zip(columns) {
            assert_eq!(field.name(), column.name);
            let metadata = |key: &str| field.metadata().get(key).map_or("", String::as_str);
            assert_eq!((metadata("unit"), metadata("meaning")), (column.unit, column.meaning), "{}", column.name);
        }
    }
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

#[test]
fn many_parquet_rows_form_several_row_groups_without_loss() {
    let folder = std::env::temp_dir().join(format!("flowml-groups-{}", std::process::id()));
    let (mut sinks, _) = with_tables(&folder);
    let mut upstream = Upstream::new();
    upstream.absorb(&exchange(1, 9), &mut sinks);
    let mut flows = upstream.flows();
    let flow = flows.pop().expect("there is one");
    let rows = (1 << 16) + 5;
    for _ in 0..rows {
        add_flow(&mut sinks, flow.clone(), None);
    }
    sinks.finish(&totals()).expect("there is room");
    let file = std::fs::File::open(folder.join("flows.parquet")).expect("the file has its place");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    assert!(reader.metadata().num_row_groups() > 1);
    assert_eq!(reader.metadata().file_metadata().num_rows(), rows);
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

#[test]
fn tables_that_cannot_be_written_lose_all_their_rows() {
    let folder = std::env::temp_dir().join(format!("flowml-full-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    // A folder cannot be created below a file.
    let path = folder.join("file");
    std::fs::write(&path, "").expect("there is room");
    let target = Target::Parquet(path.join("tables").into());
    assert!(Outlet::open(&target, FlowColumns::Headers, Pace::Live, &Origin::named("a")).is_err());
    // A table does not replace a folder either.
    let (mut sinks, _) = with_tables(&folder);
    std::fs::create_dir_all(folder.join("flows.parquet")).expect("there is room");
    run(&mut sinks);
    let error = sinks.finish(&totals()).expect_err("the flows have no place");
    assert_eq!(error.to_string(), format!("9 rows are missing from {}", folder.display()));
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

#[test]
fn a_failed_output_is_reported_once_and_stops_nothing() {
    let (good, bad) = (Memory::default(), Memory { fails: Some(ErrorKind::StorageFull), ..Memory::default() });
    let outputs: Streams = vec![(Target::Jsonl, bad.output(file("bad"))), (Target::Jsonl, good.output(file("good")))];
    let (mut sinks, people) = sinks(outputs);
    run(&mut sinks);
    assert!(sinks.interval(&report(1000, 2000)).is_continue());
    let error = sinks.finish(&totals()).expect_err("rows are lost");
    assert_eq!(error.to_string(), "10 rows are missing from bad");
    assert_eq!(good.json().len(), 10);
    let shown = people.warnings();
    assert_eq!(shown.matches("cannot write to bad: ").count(), 1, "{shown}");
    assert_eq!(people.outputs(), [("bad".to_owned(), 0, 10), ("good".to_owned(), 10, 0)]);
}

#[test]
fn the_run_succeeds_when_standard_output_is_closed() {
    let (gone, good) = (Memory { fails: Some(ErrorKind::BrokenPipe), ..Memory::default() }, Memory::default());
    let outputs: Streams =
        vec![(Target::Jsonl, gone.output(Destination::StandardOutput)), (Target::Jsonl, good.output(file("good")))];
    let (mut sinks, people) = sinks(outputs);
    let mut upstream = Upstream::new();
    upstream.absorb(&exchange(1, 2), &mut sinks);
    for flow in upstream.flows() {
        add_flow(&mut sinks, flow, None);
    }
    // The output notices this on its own thread.
    until(|| sinks.interval(&report(1000, 1000)).is_break());
    sinks.finish(&totals()).expect("nobody misses the rows");
    assert_eq!(good.json().len(), 2);
    let gone = people.outputs.lock().expect("no test panicked")[0].clone();
    assert_eq!((gone.destination.as_str(), gone.rows, gone.reader_gone), ("standard output", 0, true));
    assert_eq!(people.warnings(), "");
}

#[test]
fn an_unwritable_path_is_reported_at_the_start() {
    let open = |text: &str| {
        let target = text.parse().expect("the grammar is right");
        Sinks::open(&[target], FlowColumns::Headers, Pace::Live)
    };
    // The header is written immediately, so a full disk is noticed.
    for text in ["jsonl=/nonexistent/flows.jsonl", "csv=/", "csv=/dev/full"] {
        let error = open(text).err().expect(text);
        let path = text.split_once('=').expect("the grammar is right").1;
        assert_eq!(error.to_string(), format!("cannot write records to {path}"));
        assert!(error.source().is_some_and(<dyn Error>::is::<io::Error>));
    }
    let error = open("jsonl=/dev/full").expect("it opens").finish(&totals()).expect_err("nothing fits");
    assert_eq!(error.to_string(), "1 rows are missing from /dev/full");
}

#[test]
fn a_file_holds_all_rows_at_each_interval() {
    let folder = std::env::temp_dir().join(format!("flowml-sink-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    let path = folder.join("flows.jsonl");
    let target = Target::Jsonl(Destination::File(path.clone().into()));
    let mut sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Live).expect("the folder is ours");
    run(&mut sinks);
    assert!(sinks.interval(&report(1000, 2000)).is_continue());
    let lines = || std::fs::read_to_string(&path).expect("the file is there").lines().count();
    until(|| lines() == 9);
    sinks.finish(&totals()).expect("there is room");
    assert_eq!(lines(), 10);
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

/// A destination that accepts nothing until it is released.
#[derive(Clone, Default)]
struct Stalled {
    taken: Memory,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Stalled {
    fn release(&self) {
        *self.gate.0.lock().expect("no test panicked") = true;
        self.gate.1.notify_all();
    }

    fn output(&self, name: &str) -> Output {
        Output::over(file(name), Box::new(self.clone()), Arc::new(Account::new()))
    }
}

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let closed = self.gate.0.lock().expect("no test panicked");
        drop(self.gate.1.wait_while(closed, |open| !*open).expect("no test panicked"));
        self.taken.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A flow, to be given many times.
fn some_flow(sinks: &mut Sinks) -> FlowRow {
    let mut upstream = Upstream::new();
    upstream.absorb(&exchange(1, 9), sinks);
    upstream.flows().pop().expect("there is one")
}

#[test]
fn a_blocked_output_delays_nothing_and_its_losses_are_counted() {
    let (stalled, good) = (Stalled::default(), Memory::default());
    let outputs: Streams = vec![(Target::Jsonl, stalled.output("stalled")), (Target::Jsonl, good.output(file("good")))];
    let (mut sinks, people) = sinks(outputs);
    let flow = some_flow(&mut sinks);
    let mut given = 0;
    // More than the queue holds; the other output gets time to write it.
    while sinks.outlets[0].rows().1 == 0 {
        for _ in 0..1000 {
            add_flow(&mut sinks, flow.clone(), None);
            given += 1;
        }
        assert!(sinks.interval(&report(1000, 1000)).is_continue());
        until(|| good.json_lines() == given);
    }
    let (_, lost) = sinks.outlets[0].rows();
    assert!(lost > 0);
    assert!(sinks.interval(&report(1000, 2000)).is_continue());
    let error = sinks.finish(&totals()).expect_err("rows are lost");
    assert_eq!(error.to_string(), format!("{} rows are missing from stalled", given + 1));
    let shown = people.warnings();
    assert_eq!(shown.matches("stalled takes rows too slowly").count(), 1, "{shown}");
    assert_eq!(shown.matches("stalled does not take its last rows").count(), 1, "{shown}");
    assert_eq!(people.outputs()[1], ("good".to_owned(), given + 1, 0));
    let summary = good.json().pop().expect("the summary");
    let losses = serde_json::json!([{"destination": "stalled", "rows_lost": given}]);
    assert_eq!((&summary["flows"], &summary["losses"]), (&given.into(), &losses));
    stalled.release();
}

#[test]
fn an_output_that_recovers_gets_all_queued_rows() {
    let stalled = Stalled::default();
    let (mut sinks, people) = sinks(vec![(Target::Jsonl, stalled.output("slow"))]);
    let flow = some_flow(&mut sinks);
    let mut given = 0;
    while sinks.outlets[0].rows().1 == 0 {
        add_flow(&mut sinks, flow.clone(), None);
        given += 1;
    }
    let (_, lost) = sinks.outlets[0].rows();
    stalled.release();
    until(|| {
        assert!(sinks.interval(&report(10, 2000)).is_continue());
        people.warnings().contains("slow takes rows again")
    });
    add_flow(&mut sinks, flow, None);
    let error = sinks.finish(&totals()).expect_err("rows are lost");
    assert_eq!(error.to_string(), format!("{lost} rows are missing from slow"));
    let rows = stalled.taken.json();
    assert_eq!(of_type(&rows, "flow").len() as u64, given + 1 - lost);
    assert_eq!(rows.last().expect("the summary")["losses"][0]["rows_lost"], lost);
}

#[test]
fn when_reading_a_file_rows_wait_for_the_output() {
    let stalled = Stalled::default();
    let account = Arc::new(Account::new());
    let output = Output::over(file("slow"), Box::new(stalled.clone()), account);
    let (mut sinks, _) = sinks(Vec::new());
    sinks.pace = Pace::Offline;
    sinks.outlets.push(Outlet::over_at(Target::Jsonl, output, Pace::Offline));
    let flow = some_flow(&mut sinks);
    let rows = 2 * outlet::ROOM_OF_TESTS / size_of::<batch::JudgedFlow>();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stalled.release();
    });
    (0..rows).for_each(|_| add_flow(&mut sinks, flow.clone(), None));
    sinks.finish(&totals()).expect("nothing is lost");
}

#[test]
fn a_fifo_without_a_reader_delays_neither_start_nor_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
    for format in ["jsonl", "csv"] {
        let target = format!("{format}={}", path.display()).parse().expect("a target");
        let mut sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Live).expect("it may open later");
        run(&mut sinks);
        assert!(sinks.interval(&report(1000, 2000)).is_continue());
        let error = sinks.finish(&totals()).expect_err("nobody read");
        assert!(error.to_string().contains("rows are missing from"), "{error}");
    }
}

#[test]
fn statistics_have_every_column_in_json_and_are_in_no_table() {
    let folder = std::env::temp_dir().join(format!("flowml-statistics-{}", std::process::id()));
    let (mut sinks, json) = with_tables(&folder);
    let sums =
        ClusterSums { rows: 2, distance: 0.5, sums: vec![0.1, -3.0], squares: vec![1e-9, 4.5], scores: vec![2, 0, 1] };
    let model = ModelIdentity { hash: ModelHash::of(b"a model"), number: 3 };
    let row = ClusterStatistics { model, learner: "flows", start_ms: 60_000, end_ms: 120_000, cluster: 7, sums };
    sinks.statistics(vec![row.clone(), row]);
    sinks.finish(&totals()).expect("there is room");
    let rows = json.json();
    let found = of_type(&rows, "statistics");
    let expected = serde_json::json!({
        "type": "statistics", "model": model.hash.to_string(), "model_number": 3, "learner": "flows", "cluster": 7,
        "start_ms": 60_000, "end_ms": 120_000, "rows": 2, "distance": 0.5, "sums": [0.1, -3], "squares": [1e-9, 4.5],
        "scores": [2, 0, 1],
    });
    assert_eq!(found, [&expected, &expected]);
    assert!(statistics_columns().all(|column| found[0].get(column.name).is_some()));
    assert_eq!(rows.last().expect("a summary")["statistics"], 2);
    assert_eq!(folder.read_dir().expect("it has a folder").count(), 5);
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}
