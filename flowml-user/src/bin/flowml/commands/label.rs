//! `flowml label`: reads tables of flows, and writes one table with a label column.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use flowml_user::dataset::clean::{Account, Cleaner, Dropped};
use flowml_user::dataset::join::Labels;
use flowml_user::dataset::keys::{KEY_COLUMNS, Subject, keys};
use flowml_user::dataset::rules::Rules;
use flowml_user::dataset::truth::Truth;
use flowml_user::dataset::{DatasetError, Notice, Shape, TableFormat, TableReader, TableWriter};
use flowml_user::process::plain::print;
use flowml_user::process::private;

use crate::args::Label;
use crate::inputs::check_output;

fn open(arguments: &Label) -> Result<Truth> {
    if let Some(path) = &arguments.rules {
        return Ok(Truth::Rules(Rules::read(path)?));
    }
    let path = arguments.labels.as_deref().context("expected '--rules' or '--labels'")?;
    let tolerance_ms = i64::try_from(arguments.tolerance.as_millis())?;
    Ok(Truth::Flows(Labels::read(TableReader::open(path)?, &arguments.labels_column, tolerance_ms)?))
}

/// Labels the inputs, and prints the counts of rows.
///
/// # Errors
/// If rules or tables cannot be read, or the output cannot be written.
pub(crate) fn run(arguments: &Label) -> Result<()> {
    check_output(&arguments.output, &arguments.inputs)?;
    let truth = open(arguments)?;
    let tables = arguments.inputs.iter().map(|path| TableReader::open(path)).collect::<Result<Vec<_>, _>>()?;
    let shape = Shape::of(&tables)?;
    let schema = labelled(shape.schema(), &tables, &arguments.column)?;
    let format = TableFormat::of(&arguments.output).context("expected a .csv or .parquet file as the output")?;
    let mut writer = TableWriter::open(&arguments.output, format, &schema)?;
    let default = arguments.default.as_deref().unwrap_or(truth.default_label());
    let mut cleaner = arguments.clean.then(Cleaner::default);
    let mut account = Account::default();
    for table in &tables {
        for notice in table.notices() {
            print(&format!("flowml: {}: {notice}", table.path().display()));
            if let Notice::RepeatedHeaders(rows) = notice {
                account.rows += rows;
                *account.dropped.entry(Dropped::RepeatedHeader).or_default() += rows;
            }
        }
    }
    let files: Vec<PathBuf> = tables.iter().map(|table| table.path().to_owned()).collect();
    let batches = files.iter().zip(tables).flat_map(|(file, table)| table.map(move |batch| (file, batch)));
    for (file, batch) in batches {
        let batch = shape.take(&batch?)?;
        let keys = keys(&batch)?;
        account.rows += batch.num_rows() as u64;
        let dropped = match &mut cleaner {
            Some(cleaner) => cleaner.look_at(&batch, &keys, &mut account)?,
            None => vec![None; keys.len()],
        };
        let labels: Vec<&str> = keys
            .iter()
            .map(|key| key.and_then(|key| truth.label(file, &Subject::Flow(key))).unwrap_or(default))
            .collect();
        count(&mut account, &dropped, &labels);
        let kept: BooleanArray = dropped.iter().map(|reason| Some(reason.is_none())).collect();
        let labels: ArrayRef = Arc::new(StringArray::from(labels));
        let columns = batch.columns().iter().cloned().chain([labels]).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        writer.write(&filter_record_batch(&batch, &kept)?)?;
    }
    writer.finish()?;
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(&account)? + "\n";
        private::write(path, text).with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    report(&account);
    Ok(())
}

/// The columns with the label column appended.
fn labelled(schema: &Schema, tables: &[TableReader], column: &str) -> Result<SchemaRef> {
    for (table, name) in tables.iter().take(1).flat_map(|table| KEY_COLUMNS.map(|name| (table, name))) {
        schema.index_of(name).map_err(|_| DatasetError::no_column(table, name))?;
    }
    ensure!(schema.index_of(column).is_err(), "the column '{column}' exists already; name another with '--column'");
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(column, DataType::Utf8, false)));
    Ok(Arc::new(Schema::new(fields)))
}

fn count(account: &mut Account, dropped: &[Option<Dropped>], labels: &[&str]) {
    for (reason, label) in dropped.iter().zip(labels) {
        match reason {
            Some(reason) => *account.dropped.entry(*reason).or_default() += 1,
            None => {
                account.written += 1;
                *account.labels.entry((*label).to_owned()).or_default() += 1;
            }
        }
    }
}

fn report(account: &Account) {
    print(&format!("flowml: {} rows read, {} written", account.rows, account.written));
    for (label, rows) in &account.labels {
        print(&format!("  {rows} are {label}"));
    }
    for (reason, rows) in &account.dropped {
        let why = match reason {
            Dropped::RepeatedHeader => "repeat the header",
            Dropped::Incomplete => "lack addresses, ports or times",
            Dropped::NonFinite => "contain an infinity or NaN",
            Dropped::Duplicate => "repeat another row",
        };
        print(&format!("  {rows} left out: they {why}"));
    }
    for (column, rows) in &account.non_finite_columns {
        print(&format!("    {column}: in {rows} rows"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    const HEADER: &str = "src_ip,src_port,dst_ip,dst_port,protocol,bidirectional_first_seen_ms,rate,splt_ps\n";

    /// A folder for a test, and the arguments that label `flows` in it.
    fn begin(name: &str, flows: &str) -> (PathBuf, Label) {
        let folder = std::env::temp_dir().join(format!("flowml-label-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("there is room");
        let input = folder.join("flows.csv");
        fs::write(&input, format!("{HEADER}{flows}")).expect("there is room");
        let rules = folder.join("rules.toml");
        let text = "[[rule]]\nlabel = \"scan\"\nsrc_ip = \"10.0.0.9\"\nfrom = 1970-01-01T00:00:01Z\n";
        fs::write(&rules, text).expect("there is room");
        let arguments = Label {
            sandbox: crate::args::SandboxArguments::default(),
            inputs: vec![input],
            rules: Some(rules),
            labels: None,
            labels_column: "label".to_owned(),
            tolerance: Duration::from_secs(1),
            default: None,
            column: "label".to_owned(),
            clean: false,
            report: None,
            output: folder.join("out.csv"),
        };
        (folder, arguments)
    }

    const FLOWS: &str = "\
10.0.0.9,1,10.0.0.1,80,6,1000,1.5,\"[40,-1]\"
10.0.0.9,2,10.0.0.1,80,6,999,2.5,\"[40,-1]\"
10.0.0.1,80,10.0.0.9,3,6,1000,,\"[40,52]\"
";

    #[test]
    fn rows_pass_through_and_get_the_label_of_the_rules() {
        let (folder, arguments) = begin("rules", FLOWS);
        run(&arguments).expect("all of it is good");
        let out = fs::read_to_string(&arguments.output).expect("it was written");
        let labels = ["scan", "benign", "benign"];
        let expected: String = FLOWS.lines().zip(labels).map(|(line, label)| format!("{line},{label}\n")).collect();
        assert_eq!(out, format!("{},label\n{expected}", HEADER.trim_end()));

        // Converted to Parquet and back, the table is the same.
        let parquet = Label { output: folder.join("out.parquet"), ..arguments.clone() };
        run(&parquet).expect("all of it is good");
        let again = Label {
            inputs: vec![parquet.output],
            column: "again".to_owned(),
            default: Some("none".to_owned()),
            output: folder.join("again.csv"),
            ..arguments.clone()
        };
        run(&again).expect("all of it is good");
        let labels = ["scan,scan", "benign,none", "benign,none"];
        let expected: String = FLOWS.lines().zip(labels).map(|(line, label)| format!("{line},{label}\n")).collect();
        let out = fs::read_to_string(&again.output).expect("it was written");
        assert_eq!(out, format!("{},label,again\n{expected}", HEADER.trim_end()));
        fs::remove_dir_all(folder).expect("the folder is ours");
    }

    #[test]
    fn labels_come_from_the_flow_with_the_nearest_start_in_another_table() {
        let (folder, mut arguments) = begin("join", FLOWS);
        let truth = folder.join("truth.csv");
        // The second flow is recorded in the other direction, and the third began too early.
        let flows = "\
10.0.0.9,1,10.0.0.1,80,6,1900,,,late
10.0.0.9,1,10.0.0.1,80,6,600,,,near
10.0.0.1,80,10.0.0.9,2,6,1999,,,other side
10.0.0.9,3,10.0.0.1,80,6,4000,,,too far
";
        fs::write(&truth, format!("{},attack\n{flows}", HEADER.trim_end())).expect("there is room");
        (arguments.rules, arguments.labels) = (None, Some(truth));
        arguments.labels_column = "attack".to_owned();
        run(&arguments).expect("all of it is good");
        let out = fs::read_to_string(&arguments.output).expect("it was written");
        let labels: Vec<_> = out.lines().skip(1).filter_map(|line| line.rsplit(',').next()).collect();
        assert_eq!(labels, ["near", "other side", "benign"]);
        fs::remove_dir_all(folder).expect("the folder is ours");
    }

    #[test]
    fn rows_left_out_are_counted() {
        let flows = "\
10.0.0.9,1,10.0.0.1,80,6,1000,1.5,[40]
10.0.0.9,1,10.0.0.1,80,6,1000,1.5,[40]
10.0.0.9,1,10.0.0.1,80,6,1000,1.5,[41]
10.0.0.9,2,10.0.0.1,80,6,1000,Infinity,[40]
10.0.0.9,3,10.0.0.1,80,6,1000,NaN,[40]
10.0.0.9,4,,80,6,1000,1.5,[40]
10.0.0.9,5,10.0.0.1,80,6,1000,,[40]
";
        let (folder, mut arguments) = begin("clean", flows);
        arguments.clean = true;
        arguments.report = Some(folder.join("report.json"));
        run(&arguments).expect("all of it is good");
        let out = fs::read_to_string(&arguments.output).expect("it was written");
        // A missing value is not a fault, as many features are not defined for every flow.
        assert_eq!(out.lines().count(), 1 + 3, "{out}");
        let report = fs::read_to_string(folder.join("report.json")).expect("it was written");
        let report: serde_json::Value = serde_json::from_str(&report).expect("it is JSON");
        let expected = serde_json::json!({
            "rows": 7,
            "written": 3,
            "labels": {"scan": 3},
            "dropped": {"duplicate": 1, "incomplete": 1, "non_finite": 2},
            "non_finite_columns": {"rate": 2},
        });
        assert_eq!(report, expected);
        // Without cleaning every row is kept, also rows with NaN.
        arguments.clean = false;
        run(&arguments).expect("all of it is good");
        let out = fs::read_to_string(&arguments.output).expect("it was written");
        assert_eq!(out.lines().count(), 1 + 7);
        assert!(out.contains(",inf,") && out.contains(",NaN,"), "{out}");
        fs::remove_dir_all(folder).expect("the folder is ours");
    }

    #[test]
    fn tables_with_the_same_columns_become_one() {
        let (folder, mut arguments) = begin("several", FLOWS);
        let other = folder.join("other.csv");
        fs::write(&other, format!("{HEADER}10.0.0.9,9,10.0.0.1,80,6,2000,7,\n")).expect("there is room");
        arguments.inputs.push(other.clone());
        run(&arguments).expect("all of it is good");
        let out = fs::read_to_string(&arguments.output).expect("it was written");
        assert!(out.ends_with("10.0.0.9,9,10.0.0.1,80,6,2000,7,,scan\n"), "{out}");

        fs::write(&other, format!("x,{HEADER}")).expect("there is room");
        let message = run(&arguments).expect_err("there is a column more").to_string();
        assert!(message.contains("other.csv") && message.contains("9 columns, not 8"), "{message}");
        fs::write(&other, "src_ip,label\n").expect("there is room");
        arguments.inputs = vec![other];
        let message = run(&arguments).expect_err("columns are missing").to_string();
        assert!(message.contains("expected a column 'src_port'"), "{message}");
        arguments.output.clone_from(&arguments.inputs[0]);
        fs::write(&arguments.output, HEADER).expect("there is room");
        let message = run(&arguments).expect_err("it would be overwritten").to_string();
        assert!(message.contains("expected another path"), "{message}");
        fs::remove_dir_all(folder).expect("the folder is ours");
    }
}
