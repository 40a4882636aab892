//! Reads Zeek's tab-separated logs, and defines the features of a connection log (`conn.log`).
//!
//! The format is that of Zeek's ASCII writer (`src/logging/writers/ascii`). Lines that begin with `#` describe the log
//! (`#separator`, `#unset_field`, `#empty_field`, `#fields`, `#types`). Every other line is a row. Ambiguous bytes are
//! escaped as `\xNN`, and nothing is quoted.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::DatasetError;
use super::batch::{Batches, batches, fill};
use super::limits::check_columns;
use super::lines::Lines;
use crate::export::cells::{Builder, Cell, plain_field};
use crate::features::Learn;
use crate::record::{Value, ValueType};

/// The first bytes of every such log.
pub(super) const MAGIC: &[u8] = b"#separator ";

/// The columns by which a connection log is recognised.
pub(super) const CONN_COLUMNS: [&str; 6] = ["ts", "uid", "id.orig_h", "id.resp_h", "proto", "conn_state"];

/// The features of a connection log, and their preprocessing. The other columns are identifiers, times, the position of
/// the sensor (`local_orig`), labels, or repeat these (`history`).
pub(super) const CONN_FEATURES: &[(&str, Learn)] = &[
    ("proto", Learn::Category),
    ("service", Learn::Category),
    ("conn_state", Learn::Category),
    ("duration", Learn::LogScaled),
    ("orig_bytes", Learn::LogScaled),
    ("resp_bytes", Learn::LogScaled),
    ("missed_bytes", Learn::LogScaled),
    ("orig_pkts", Learn::LogScaled),
    ("orig_ip_bytes", Learn::LogScaled),
    ("resp_pkts", Learn::LogScaled),
    ("resp_ip_bytes", Learn::LogScaled),
];

/// Reads a log.
pub(super) fn read(path: &Path) -> Result<(SchemaRef, Batches), DatasetError> {
    let mut lines = Lines::open(path)?;
    let mut header = Header::default();
    let first = loop {
        let Some(line) = text(&mut lines)? else { break None };
        match line.strip_prefix('#') {
            Some(directive) => header.set(directive).map_err(|message| lines.malformed(&message))?,
            None => break Some(line),
        }
    };
    let kinds = header.kinds().map_err(|message| lines.malformed(&message))?;
    check_columns(path, kinds.len())?;
    let fields = header.fields.iter().zip(&kinds).map(|(name, kind)| plain_field(name, *kind));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut rows = ZeekRows { lines, header, kinds, next: first, schema: Arc::clone(&schema) };
    Ok((schema, batches(move || rows.batch())))
}

/// The content of the lines that begin with `#`.
#[derive(Default)]
struct Header {
    separator: String,
    unset: String,
    empty: String,
    fields: Vec<String>,
    types: Vec<String>,
}

impl Header {
    /// Processes a line without its `#`. Directives that do not matter here are ignored (`#path`, `#open`, `#close`).
    fn set(&mut self, directive: &str) -> Result<(), String> {
        if let Some(separator) = directive.strip_prefix("separator ") {
            self.separator = unescaped(separator);
            return if self.separator.is_empty() { Err("expected a separator".to_owned()) } else { Ok(()) };
        }
        let mut words = directive.split(self.separator.as_str());
        let name = words.next().unwrap_or_default();
        let mut all = || words.by_ref().map(ToOwned::to_owned).collect::<Vec<String>>();
        match name {
            "unset_field" => self.unset = all().concat(),
            "empty_field" => self.empty = all().concat(),
            "fields" => set_once(&mut self.fields, all(), "#fields")?,
            "types" => set_once(&mut self.types, all(), "#types")?,
            _ => {}
        }
        Ok(())
    }

    /// The type of each column.
    fn kinds(&self) -> Result<Vec<ValueType>, String> {
        let (fields, types) = (self.fields.len(), self.types.len());
        if fields == 0 || fields != types {
            return Err(format!("expected #fields and as many #types; found {fields} and {types}"));
        }
        Ok(self.types.iter().map(|name| kind(name)).collect())
    }

    /// The value of a field; None if it does not have the type.
    fn cell(&self, text: &str, kind: ValueType) -> Option<Cell> {
        if text == self.unset {
            return Some(Cell::ABSENT);
        }
        match kind {
            ValueType::Integer => text.parse().ok().map(|number| Cell::Value(Value::Number(number))),
            ValueType::Real => text.parse().ok().map(Cell::Real),
            ValueType::Flag => {
                ["F", "T"].iter().position(|own| *own == text).map(|at| Cell::Value(Value::Flag(at == 1)))
            }
            _ if text == self.empty => Some(Cell::Value(Value::Text(String::new()))),
            _ => Some(Cell::Value(Value::Text(unescaped(text)))),
        }
    }
}

/// Sets the value of a directive. Joined logs repeat it, and must have the same value.
fn set_once(own: &mut Vec<String>, new: Vec<String>, directive: &str) -> Result<(), String> {
    if !own.is_empty() && *own != new {
        return Err(format!("{directive} differs from the previous one: expected logs with the same columns"));
    }
    *own = new;
    Ok(())
}

/// The type for a Zeek type; sets and vectors are texts.
fn kind(of: &str) -> ValueType {
    match of {
        "count" | "port" => ValueType::Integer,
        "int" | "double" | "interval" | "time" => ValueType::Real,
        "bool" => ValueType::Flag,
        _ => ValueType::Text,
    }
}

/// Decodes `\xNN` in a text. Bytes that are not UTF-8 become the replacement character.
fn unescaped(text: &str) -> String {
    if !text.contains("\\x") {
        return text.to_owned();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let escaped = match rest {
            [b'\\', b'x', high, low, ..] => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[4..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text of the next line. Bytes that are not UTF-8 become the replacement character.
fn text(lines: &mut Lines) -> Result<Option<String>, DatasetError> {
    let line = lines.next()?.map(|line| String::from_utf8_lossy(line).trim_end_matches('\r').to_owned());
    Ok(line)
}

struct ZeekRows {
    lines: Lines,
    header: Header,
    kinds: Vec<ValueType>,
    /// A line that was read but not returned yet.
    next: Option<String>,
    schema: SchemaRef,
}

impl ZeekRows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        let (schema, kinds) = (Arc::clone(&self.schema), self.kinds.clone());
        fill(&schema, kinds.into_iter(), |builders| {
            let Some(line) = self.line()? else { return Ok(None) };
            self.append(&line, builders).map_err(|message| self.lines.malformed(&message))?;
            Ok(Some(line.len()))
        })
    }

    /// The next line that is a row.
    fn line(&mut self) -> Result<Option<String>, DatasetError> {
        loop {
            let line = match self.next.take() {
                Some(line) => Some(line),
                None => text(&mut self.lines)?,
            };
            match line {
                Some(line) if line.is_empty() => {}
                Some(line) => match line.strip_prefix('#') {
                    Some(directive) => self.header.set(directive).map_err(|message| self.lines.malformed(&message))?,
                    None => return Ok(Some(line)),
                },
                None => return Ok(None),
            }
        }
    }

    fn append(&self, line: &str, builders: &mut [Builder]) -> Result<(), String> {
        let texts: Vec<&str> = line.split(self.header.separator.as_str()).collect();
        if texts.len() != builders.len() {
            return Err(format!("expected {} fields, found {}", builders.len(), texts.len()));
        }
        for (n, text) in texts.into_iter().enumerate() {
            let (name, of) = (&self.header.fields[n], &self.header.types[n]);
            let cell = self.header.cell(text, self.kinds[n]);
            builders[n].append(cell.ok_or_else(|| format!("'{name}' is '{text}'; expected a {of}"))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Float64Type;

    use super::super::TableReader;
    use super::*;

    const HEADER: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
        #fields\tts\tuid\tid.orig_h\tid.resp_h\tid.resp_p\tproto\tduration\tlocal_orig\tconn_state\n\
        #types\ttime\tstring\taddr\taddr\tport\tenum\tinterval\tbool\tstring\n";

    fn read(text: &str) -> Result<Vec<RecordBatch>, DatasetError> {
        let path = std::env::temp_dir().join(format!("flowml-zeek-{:p}-{}.log", text.as_ptr(), std::process::id()));
        std::fs::write(&path, text).expect("there is room");
        let table = TableReader::open(&path).and_then(Iterator::collect);
        std::fs::remove_file(path).expect("the file is ours");
        table
    }

    #[test]
    fn a_log_has_the_types_that_it_states() {
        let rows = "1.5\tC1\t10.0.0.1\t10.0.0.2\t80\ttcp\t-\tT\tS0\n#close\t2022\n2\tC\\x092\t::1\t::2\t53\tudp\t0.25\tF\t(empty)\n";
        let batches = read(&format!("{HEADER}{rows}")).expect("a log");
        let batch = &batches[0];
        assert_eq!((batches.len(), batch.num_rows()), (1, 2));
        let numbers = |name: &str| batch.column_by_name(name).expect("a column").as_primitive::<Float64Type>().clone();
        assert_eq!(numbers("ts").values(), &[1.5, 2.0]);
        let duration = numbers("duration");
        assert!(arrow_array::Array::is_null(&duration, 0) && (duration.value(1) - 0.25).abs() < 1e-12);
        let texts = |name: &str| batch.column_by_name(name).expect("a column").as_string::<i32>().clone();
        assert_eq!(texts("uid").value(1), "C\t2");
        assert_eq!(texts("conn_state").value(1), "");
        let flags = batch.column_by_name("local_orig").expect("a column").as_boolean();
        assert_eq!((flags.value(0), flags.value(1)), (true, false));
    }

    #[test]
    fn joined_logs_are_one_table() {
        let row = "1\tC1\t10.0.0.1\t10.0.0.2\t80\ttcp\t1\tT\tSF\n";
        let batches = read(&format!("{HEADER}{row}{HEADER}{row}")).expect("logs");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    }

    #[test]
    fn errors_have_their_line() {
        let row = "1\tC1\t10.0.0.1\t10.0.0.2\t80\ttcp\t1\tT\tSF\n";
        let cases = [
            (HEADER.replace("#types", "#kinds"), "expected #fields and as many #types; found 9 and 0"),
            (format!("{HEADER}1\tC1\n"), "line 8: expected 9 fields, found 2"),
            (format!("{HEADER}{}", row.replace("80", "http")), "line 8: 'id.resp_p' is 'http'; expected a port"),
            (format!("{HEADER}{row}#fields\tts\n"), "line 9: #fields differs"),
        ];
        for (text, expected) in cases {
            let error = read(&text).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
