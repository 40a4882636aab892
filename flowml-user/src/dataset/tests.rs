//! Tests that tables of all formats and writers are read correctly.

use std::fs;
use std::path::PathBuf;

use arrow_schema::DataType;

use super::columns::{numbers_of, texts_of};
use super::{DatasetError, Notice, TableFormat, TableReader, TableWriter};
use crate::export::cells::flow_columns;
use crate::features::FlowColumns;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flowml-dataset-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("there is room");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("there is room");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder is ours");
    }
}

#[test]
fn a_csv_column_has_the_type_of_all_its_fields() {
    let folder = Folder::new("types");
    let text = "\u{feff}whole, real ,below,flag,text,007,empty,cluster,score\n\
                1,1,-1,true,1,007,,,1\n\
                2,Infinity,2,false,a,008,,,2\n\
                ,,,,,009,,,\n";
    let table = TableReader::open(&folder.file("a.csv", text)).expect("it is a table");
    let types: Vec<_> =
        table.schema().fields().iter().map(|field| (field.name().as_str(), field.data_type().clone())).collect();
    let (text, whole, real) = (DataType::Utf8, DataType::Int64, DataType::Float64);
    let expected = [
        ("whole", whole.clone()),
        ("real", real.clone()),
        ("below", real.clone()),
        ("flag", DataType::Boolean),
        ("text", text.clone()),
        ("007", text.clone()),
        ("empty", text),
        // Columns with flowml's names keep flowml's types.
        ("cluster", whole),
        ("score", real),
    ];
    assert_eq!(types, expected);
    let batches: Vec<_> = table.collect::<Result<_, _>>().expect("it is complete");
    assert_eq!(batches.len(), 1);
    let numbers = numbers_of(&batches[0], "real").expect("it has numbers");
    assert!(numbers[0] == 1.0 && numbers[1].is_infinite() && numbers[2].is_nan());
    assert_eq!(texts_of(&batches[0], "text").expect("it has text"), [Some("1"), Some("a"), None]);
    let error = numbers_of(&batches[0], "text").expect_err("it has text").to_string();
    assert_eq!(error, "column 'text': found Utf8, expected numbers");
}

#[test]
fn the_flows_of_json_lines_have_the_columns_of_flowml() {
    let folder = Folder::new("jsonl");
    let text = "{\"type\":\"host\",\"address\":\"10.0.0.1\"}\n\
                {\"type\":\"flow\",\"src_ip\":\"10.0.0.1\",\"src_port\":5,\"splt_ps\":[40,-1]}\n\
                {\"type\":\"summary\"}\n";
    let table = TableReader::open(&folder.file("a.jsonl", text)).expect("it is a table");
    assert!(
        table
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .eq(flow_columns(FlowColumns::Headers).map(|column| column.name))
    );
    let batches: Vec<_> = table.collect::<Result<_, _>>().expect("it is complete");
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(numbers_of(&batches[0], "src_port").expect("it has numbers"), [5.0]);

    let text = "{\"type\":\"flow\",\"src_port\":5,\"application_name\":\"TLS\",\"requested_server_name\":null,\
                \"application_detail\":null,\"match_b\":1,\"match_a\":0}\n";
    let table = TableReader::open(&folder.file("content.jsonl", text)).expect("it is a table");
    let batches: Vec<_> = table.collect::<Result<_, _>>().expect("it is complete");
    assert_eq!(texts_of(&batches[0], "application_name").expect("it has text"), [Some("TLS")]);
    assert_eq!(numbers_of(&batches[0], "match_b").expect("it has numbers"), [1.0]);

    let path = folder.file("b.jsonl", "{\"type\":\"flow\",\"src_port\":\"five\"}\n");
    let error = TableReader::open(&path).expect("it begins well").next().expect("a row").expect_err("a wrong type");
    assert!(error.to_string().contains("line 1: 'src_port' is \"five\"; expected integer"), "{error}");
}

#[test]
fn csv_with_a_brace_is_not_read_as_json_lines() {
    let folder = Folder::new("brace");
    let names = |name: &str, text: &str| -> Vec<String> {
        let table = TableReader::open(&folder.file(name, text)).expect("it is a table");
        table.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names("a.csv", "{id},bytes\n7,60\n"), ["{id}", "bytes"]);
    // `{}` begins like a row of JSON, but the rest of the line is not JSON.
    assert_eq!(names("b.csv", "{},bytes\n7,60\n"), ["{}", "bytes"]);
    assert_eq!(names("c", "{\n7\n"), ["{"]);
    for text in ["{}\n", "{\"type\":\"summary\"}\n", "{\"type\":\"flow\"}"] {
        assert!(names("rows", text).iter().any(|name| name == "src_ip"), "{text}");
    }
    // A damaged file named as JSON lines is reported from its first line on.
    let torn = folder.file("torn.jsonl", "{\"type\":\"fl");
    let error = TableReader::open(&torn).expect("it begins well").next().expect("a row").expect_err("half a row");
    assert!(error.to_string().contains("torn.jsonl: line 1: "), "{error}");
}

#[test]
fn an_invalid_table_is_reported_with_the_position_of_the_error() {
    let folder = Folder::new("wrong");
    let cases = [
        ("ragged.csv", "a,b\n1,2\n1\n", "line: 3"),
        ("empty.csv", "", "expected CSV with a header, JSON lines, Parquet or a Zeek log"),
        ("torn.parquet", "PAR1 and no end", "torn.parquet: "),
    ];
    for (name, text, expected) in cases {
        let error = TableReader::open(&folder.file(name, text)).err().expect(name);
        assert!(matches!(error, DatasetError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(matches!(TableReader::open(&folder.0.join("none.csv")), Err(DatasetError::Read { .. })));
}

#[test]
fn a_long_table_is_read_in_batches() {
    let folder = Folder::new("long");
    let rows: String = (0..20_000).map(|row| format!("{row}\n")).collect();
    let table = TableReader::open(&folder.file("a.csv", &format!("n\n{rows}"))).expect("it is a table");
    let batches: Vec<_> = table.collect::<Result<_, _>>().expect("it is complete");
    assert!(batches.len() > 1);
    let numbers = batches.iter().flat_map(|batch| numbers_of(batch, "n").expect("it has numbers"));
    assert!(numbers.eq((0..20_000).map(f64::from)));
}

#[test]
fn delimiters_and_decimal_commas_are_detected_and_quoted_text_is_one_field() {
    let folder = Folder::new("delimiters");
    let table = "a;b;c;d\n1,5;1.234,5;\"x;y\";7\n-2,25;999;z, w;8\n0;1\u{202f}000,25;;9\n";
    let cases = [
        ("semicolon", table.to_owned(), Some(';')),
        ("tab", table.replace("x;y", "x y").replace(';', "\t"), Some('\t')),
        ("bar", table.replace("x;y", "x y").replace(';', "|"), Some('|')),
        ("directive", format!("sep=;\r\n{table}"), Some(';')),
        ("comma", "a,b,c,d\n1.5,1234.5,\"x;y;z;w;v\",7\n-2.25,999,z,8\n0,1000.25,,9\n".to_owned(), None),
    ];
    for (name, text, expected) in cases {
        let table = TableReader::open(&folder.file(name, &text)).expect(name);
        let delimiter = table.notices().iter().find_map(|notice| match notice {
            Notice::Delimiter { delimiter, decimal_comma: true } => Some(*delimiter),
            _ => None,
        });
        assert_eq!(delimiter, expected, "{name}");
        let batch = table.map(|batch| batch.expect(name)).next().expect(name);
        assert_eq!(numbers_of(&batch, "a").expect(name), [1.5, -2.25, 0.0], "{name}");
        assert_eq!(numbers_of(&batch, "b").expect(name), [1234.5, 999.0, 1000.25], "{name}");
        assert_eq!(numbers_of(&batch, "d").expect(name), [7.0, 8.0, 9.0], "{name}");
        assert_eq!(texts_of(&batch, "c").expect(name)[2], None, "{name}");
    }
    // In a comma-separated file such numbers are quoted.
    let text = "a,b,c\n\"1,5\",\"1,234\",\"1,234\"\n7,\"0,5\",999\n,\"-2,25\",\"12,345,678\"\n";
    let table = TableReader::open(&folder.file("quoted", text)).expect("a table");
    assert_eq!(table.notices(), [Notice::Delimiter { delimiter: ',', decimal_comma: true }]);
    let batch = table.map(|batch| batch.expect("complete")).next().expect("rows");
    assert_eq!(numbers_of(&batch, "a").expect("numbers")[..2], [1.5, 7.0]);
    assert_eq!(numbers_of(&batch, "b").expect("numbers"), [1.234, 0.5, -2.25]);
    // Groups of three digits: these are not decimal commas.
    assert_eq!(texts_of(&batch, "c").expect("texts"), [Some("1,234"), Some("999"), Some("12,345,678")]);
    let table = TableReader::open(&folder.file("mixed", "a,b\n\"1,5\",\"10,5\"\nx,1.5\n")).expect("a table");
    assert!(table.notices().is_empty(), "not all values are such numbers");
    // Similar texts are not numbers: groups have three digits, and names may begin with zeros.
    let table = TableReader::open(&folder.file("text", "a;b;c\n1.23,5;007,5;1,2,3\n")).expect("a table");
    assert!(table.schema().fields().iter().all(|field| *field.data_type() == DataType::Utf8));
}

#[test]
fn a_repeated_header_is_not_a_row() {
    let folder = Folder::new("repeated");
    let text = "\u{feff}x, y\n1,a\nx,y\n2,b\n \u{feff}x , y \n3,y\n";
    let table = TableReader::open(&folder.file("a.csv", text)).expect("a table");
    assert_eq!(table.notices(), [Notice::RepeatedHeaders(2)]);
    let batch = table.map(|batch| batch.expect("complete")).next().expect("rows");
    assert_eq!(numbers_of(&batch, "x").expect("numbers"), [1.0, 2.0, 3.0]);
    // A header of numbers is not recognised as one.
    let table = TableReader::open(&folder.file("b.csv", "1,2\n1,2\n")).expect("a table");
    assert_eq!(table.map(|batch| batch.expect("complete").num_rows()).sum::<usize>(), 1);
}

#[test]
fn a_quoted_name_keeps_its_delimiter() {
    let folder = Folder::new("names");
    let table = TableReader::open(&folder.file("a.csv", "\"a;b;c\",\"d\te\"\n1,x;y;z\n")).expect("a table");
    let schema = table.schema().clone();
    let written = folder.0.join("b.csv");
    let mut writer = TableWriter::open(&written, TableFormat::Csv, &schema).expect("there is room");
    table.for_each(|batch| writer.write(&batch.expect("complete")).expect("there is room"));
    writer.finish().expect("there is room");
    assert_eq!(*TableReader::open(&written).expect("a table").schema(), schema);
}
