//! Reads CSV with any of several delimiters, in two passes: the first finds column types, the second reads values.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use ::csv::{Position, Reader, ReaderBuilder, StringRecord, Trim};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::batch::{Batches, batches, fill};
use super::encoding::Decoded;
use super::limits::{LONGEST_ROW, check_columns};
use super::{DatasetError, Encoding, HeaderRow, Notice, Reading};
use crate::export::cells::{Cell, OutputColumn, field, flow_columns, plain_field, unmarked};
use crate::features::{FlowColumns, RowColumns};
use crate::record::{Value, ValueType};

/// Possible delimiters. Of equally good ones the first is used.
pub(super) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Number of bytes examined to find the delimiter.
const SAMPLE: u64 = 1 << 16;

/// The decimal separator of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Decimal {
    #[default]
    Point,
    /// A comma, if columns are not separated by commas or such fields are quoted.
    Comma,
}

/// The format of a file.
#[derive(Clone, Copy)]
struct Form {
    encoding: Encoding,
    delimiter: u8,
    /// Whether the first line is a directive for Excel that states the delimiter: `sep=;`.
    has_directive: bool,
    header: HeaderRow,
}

/// The possible types of a column, given its fields so far.
#[derive(Clone, Copy)]
struct PossibleTypes {
    any: bool,
    integer: bool,
    real: bool,
    /// Whether all fields are numbers with decimal commas.
    comma: bool,
    /// Whether the commas are decimal commas: a comma was found that does not separate groups of three digits, or the
    /// delimiter is another character.
    decimal: bool,
    flag: bool,
}

impl PossibleTypes {
    fn nothing(delimiter: u8) -> Self {
        Self { any: false, integer: true, real: true, comma: true, decimal: delimiter != b',', flag: true }
    }

    fn look_at(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.any = true;
        // Integers are also reals.
        self.integer = self.integer && integer(text).is_some();
        self.real = self.integer || self.real && real(text).is_some();
        self.comma = self.comma && decimal_comma(text).is_some();
        self.decimal = self.decimal || !may_be_grouped(text);
        self.flag = self.flag && flag(text).is_some();
    }

    /// The type of the column, given the type of flowml's own column with this name.
    fn kind(self, known: Option<ValueType>) -> (ValueType, Decimal) {
        let found = match self {
            Self { any: false, .. } => return (known.unwrap_or(ValueType::Text), Decimal::Point),
            Self { flag: true, .. } => ValueType::Flag,
            Self { integer: true, .. } => ValueType::Integer,
            Self { real: true, .. } => ValueType::Real,
            Self { comma: true, decimal: true, .. } => return (ValueType::Real, Decimal::Comma),
            _ => ValueType::Text,
        };
        let kind = match (known, found) {
            // All values of a real column may happen to be integers.
            (Some(ValueType::Real), ValueType::Integer) => ValueType::Real,
            (Some(list @ (ValueType::Integers | ValueType::Reals)), ValueType::Text) => list,
            _ => found,
        };
        (kind, Decimal::Point)
    }
}

/// A non-negative integer.
fn integer(text: &str) -> Option<u64> {
    text.parse::<i64>().ok().filter(|_| is_log_scaled(text)).and_then(|number| u64::try_from(number).ok())
}

/// A number, including `Infinity` and `NaN`.
fn real(text: &str) -> Option<f64> {
    text.parse().ok().filter(|_| is_log_scaled(text))
}

/// Whether a text that can be parsed as a number means one: `007` and `+1` are names.
fn is_log_scaled(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    !matches!(digits, [b'+', ..] | [b'0', b'0'..=b'9', ..])
}

/// A number with a decimal comma. Its whole part may have groups of three digits.
fn decimal_comma(text: &str) -> Option<f64> {
    let (whole, fraction) = match text.split_once(',') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut groups = whole.split(['.', ' ', '\'', '\u{a0}', '\u{202f}']);
    let mut number = groups.next().unwrap_or_default().to_owned();
    let may_be_grouped = matches!(number.trim_start_matches('-').len(), 1..=3);
    for group in groups {
        if !may_be_grouped || group.len() != 3 || !group.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        number.push_str(group);
    }
    if let Some(fraction) = fraction {
        number.push('.');
        number.push_str(fraction);
    }
    real(&number)
}

/// Whether the commas of a number, if any, may separate groups of three digits (`12,345`).
fn may_be_grouped(text: &str) -> bool {
    let Some((whole, groups)) = text.split_once(',') else { return true };
    let whole = whole.trim_start_matches('-');
    whole != "0" && matches!(whole.len(), 1..=3) && groups.split(',').all(|group| group.len() == 3)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn cell(text: &str, kind: ValueType, decimal: Decimal) -> Cell {
    if text.is_empty() {
        return Cell::ABSENT;
    }
    let cell = match kind {
        ValueType::Text => Some(Cell::Value(Value::Text(unmarked(text).to_owned()))),
        ValueType::Integer => integer(text).map(|number| Cell::Value(Value::Number(number))),
        ValueType::Real if decimal == Decimal::Comma => decimal_comma(text).map(Cell::Real),
        ValueType::Real => real(text).map(Cell::Real),
        ValueType::Flag => flag(text).map(|flag| Cell::Value(Value::Flag(flag))),
        ValueType::Integers | ValueType::Reals => serde_json::from_str(text).ok().map(Cell::List),
    };
    cell.unwrap_or(Cell::ABSENT)
}

impl Form {
    /// Detects the format of a file. Unless the encoding is given, also returns the offset of the first byte that is
    /// not UTF-8.
    fn of(path: &Path, reading: Reading) -> io::Result<(Self, Option<u64>)> {
        let (encoding, not_utf8) = match reading.encoding {
            Some(encoding) => (encoding, None),
            None => Encoding::of(path)?,
        };
        let mut sample = Vec::new();
        Decoded::open(path, encoding)?.take(SAMPLE).read_to_end(&mut sample)?;
        let first = sample.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let directive = match first {
            [b's', b'e', b'p', b'=', delimiter] if DELIMITERS.contains(delimiter) => Some(*delimiter),
            _ => None,
        };
        let delimiter = directive.unwrap_or_else(|| delimiter_of(&sample));
        Ok((Self { encoding, delimiter, has_directive: directive.is_some(), header: reading.header }, not_utf8))
    }

    /// Opens the file after its header. Columns without a header are named by their numbers, from 1.
    fn open(&self, path: &Path) -> Result<(Records, Vec<String>), DatasetError> {
        let failed = |source| DatasetError::Read { path: path.to_owned(), source };
        let mut text = BufReader::new(Decoded::open(path, self.encoding).map_err(failed)?);
        if self.has_directive {
            text.skip_until(b'\n').map_err(failed)?;
        }
        let has_header = self.header == HeaderRow::Present;
        let mut builder = ReaderBuilder::new();
        let builder = builder.has_headers(has_header).delimiter(self.delimiter).trim(Trim::All);
        let mut reader = builder.from_reader(Bounded { source: text, left: LONGEST_ROW });
        let header = reader.headers().map_err(|error| self.malformed(path, &error, None))?;
        let names: Vec<String> = header.iter().map(ToOwned::to_owned).collect();
        if names.iter().all(String::is_empty) {
            let message = "expected CSV with a header, JSON lines, Parquet or a Zeek log".to_owned();
            return Err(DatasetError::Malformed { path: path.to_owned(), message });
        }
        check_columns(path, names.len())?;
        // If all names could be values, a row may equal the header by chance.
        let is_recognised = has_header && names.iter().all(|name| !is_value(name));
        let header = is_recognised.then(|| names.clone());
        let names = if has_header {
            names.iter().map(|name| unmarked(name).to_owned()).collect()
        } else {
            (1..=names.len()).map(|number| number.to_string()).collect()
        };
        Ok((Records { reader, header, repeated: 0 }, names))
    }

    /// The error of the row at this position.
    fn malformed(&self, path: &Path, error: &::csv::Error, at: Option<&Position>) -> DatasetError {
        let message = match error.kind() {
            ::csv::ErrorKind::UnequalLengths { .. } => {
                format!("{error}, with the delimiter {:?}", char::from(self.delimiter))
            }
            ::csv::ErrorKind::Io(error) => format!("line {}: {error}", at.map_or(1, Position::line)),
            _ => error.to_string(),
        };
        DatasetError::Malformed { path: path.to_owned(), message }
    }
}

/// The delimiter of a file, from its first bytes. It must divide all rows into the same number of fields, at least two.
/// The delimiter with the most fields is used.
fn delimiter_of(sample: &[u8]) -> u8 {
    // The last line may be cut off.
    let is_cut = sample.len() as u64 >= SAMPLE;
    let fields = |delimiter: u8| {
        let mut builder = ReaderBuilder::new();
        let mut reader = builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(sample);
        let mut counts: Vec<usize> = reader.byte_records().map_while(Result::ok).map(|record| record.len()).collect();
        if is_cut && counts.len() > 1 {
            counts.pop();
        }
        let first = *counts.first()?;
        (first > 1 && counts.iter().all(|count| *count == first)).then_some(first)
    };
    let found = DELIMITERS.into_iter().filter_map(|delimiter| Some((fields(delimiter)?, delimiter)));
    found.reduce(|best, next| if next.0 > best.0 { next } else { best }).map_or(b',', |(_, delimiter)| delimiter)
}

/// Whether the name of a column could also be a value of a column that is not text.
fn is_value(name: &str) -> bool {
    real(name).is_some() || decimal_comma(name).is_some() || flag(name).is_some() || name.starts_with('[')
}

/// Limits the bytes read for a row. The limit is reset for each row.
struct Bounded<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let message = format!("a row of more than the maximum of {LONGEST_ROW} bytes; is a closing quote missing?");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        let room = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        let read = self.source.read(&mut into[..room])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// The rows of a file without repeated headers.
struct Records {
    reader: Reader<Bounded<BufReader<Decoded>>>,
    /// None if repeated headers cannot be recognised.
    header: Option<Vec<String>>,
    repeated: u64,
}

impl Records {
    /// Reads the next row; false at the end.
    fn next(&mut self, record: &mut StringRecord) -> Result<bool, ::csv::Error> {
        loop {
            self.reader.get_mut().left = LONGEST_ROW;
            if !self.reader.read_record(record)? {
                return Ok(false);
            }
            if !self.is_header(record) {
                return Ok(true);
            }
            self.repeated += 1;
        }
    }

    fn is_header(&self, record: &StringRecord) -> bool {
        // Joined files may have a byte order mark before the header. NaN and infinity match an empty name, as they are
        // written as empty fields.
        let is_none = |text: &str| real(text).is_some_and(|number| !number.is_finite());
        let is = |name: &String, text: &str| {
            let text = text.trim_start_matches('\u{feff}').trim();
            name == text || name.is_empty() && is_none(text)
        };
        self.header.as_ref().is_some_and(|header| header.iter().zip(record).all(|(name, text)| is(name, text)))
    }
}

/// Reads a table, and returns notices about the file.
pub(super) fn read(path: &Path, reading: Reading) -> Result<(SchemaRef, Batches, Vec<Notice>), DatasetError> {
    let form = Form::of(path, reading);
    let (form, not_utf8) = form.map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let (mut records, names) = form.open(path)?;
    let mut seen = vec![PossibleTypes::nothing(form.delimiter); names.len()];
    let mut record = StringRecord::new();
    while records.next(&mut record).map_err(|error| form.malformed(path, &error, record.position()))? {
        seen.iter_mut().zip(&record).for_each(|(seen, text)| seen.look_at(text));
    }
    let known: Vec<OutputColumn> =
        flow_columns(RowColumns { flows: FlowColumns::Content(&[]), tunnels: true }).collect();
    let columns = names.iter().zip(seen).map(|(name, seen)| {
        let known = known.iter().find(|column| column.name == name);
        let (kind, decimal) = seen.kind(known.map(|column| column.kind));
        let field = match known {
            Some(column) => field(&OutputColumn { kind, ..*column }),
            None => plain_field(name, kind),
        };
        (field, (kind, decimal))
    });
    let (fields, kinds): (Vec<_>, Vec<_>) = columns.unzip();
    let schema = Arc::new(Schema::new(fields));
    let decimal_comma = kinds.iter().any(|(_, decimal)| *decimal == Decimal::Comma);
    let notices = [
        not_utf8.map(|at| Notice::Encoding { taken_for: form.encoding, at }),
        (form.delimiter != b',' || decimal_comma)
            .then(|| Notice::Delimiter { delimiter: form.delimiter.into(), decimal_comma }),
        (records.repeated > 0).then_some(Notice::RepeatedHeaders(records.repeated)),
    ];
    let (records, _) = form.open(path)?;
    let mut rows = CsvRows { form, records, kinds, schema: Arc::clone(&schema), path: path.to_owned() };
    Ok((schema, batches(move || rows.batch()), notices.into_iter().flatten().collect()))
}

/// The second pass over a file.
struct CsvRows {
    form: Form,
    records: Records,
    kinds: Vec<(ValueType, Decimal)>,
    schema: SchemaRef,
    path: std::path::PathBuf,
}

impl CsvRows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        let Self { form, records, kinds, schema, path } = self;
        let mut record = StringRecord::new();
        fill(schema, kinds.iter().map(|(kind, _)| *kind), |builders| {
            let more = records.next(&mut record);
            if !more.map_err(|error| form.malformed(path, &error, record.position()))? {
                return Ok(None);
            }
            for ((builder, (kind, decimal)), text) in builders.iter_mut().zip(&*kinds).zip(&record) {
                builder.append(cell(text, *kind, *decimal));
            }
            Ok(Some(record.as_slice().len()))
        })
    }
}
