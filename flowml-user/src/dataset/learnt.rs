//! Reads tables for training: the columns that may be used, and the label of each row.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};

use super::columns::{numbers, texts};
use super::join::label_texts;
use super::keys::{HOST_KEY_COLUMNS, KEY_COLUMNS};
use super::names::column_named;
use super::{DatasetError, Shape, TableReader, zeek};
use crate::features::{CONTENT_FEATURES, FLOW_FEATURES, HOST_FEATURES, Learn};
use crate::learning::batch::Labelled;
use crate::learning::preprocess::{Frame, FrameColumn, Values};

/// From this number of rows on, the first column of a table without a header is recognised as a row number.
const COUNTED_ROWS: usize = 100;

/// The roles of a table's columns.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The column with the labels.
    pub label: Option<String>,
    /// Columns that are not used for training.
    pub ignored: Vec<String>,
}

impl Roles {
    /// Checks that all named columns exist. The label column may be missing unless `needs_label`.
    ///
    /// # Errors
    /// If a column is missing.
    pub fn check(&self, table: &TableReader, needs_label: bool) -> Result<(), DatasetError> {
        let label = self.label.iter().filter(|_| needs_label);
        let missing = label.chain(&self.ignored).find(|name| column_named(table.schema(), name).is_none());
        match missing {
            Some(column) => Err(DatasetError::no_column(table, column)),
            None => Ok(()),
        }
    }

    /// The columns that may be used for training, with their encoding, if it is known. The encoding is known for tables
    /// of flows or of host windows, from flowml's table of features, and for Zeek's connection logs, from a table of
    /// their own. Columns that are not in those tables are identifiers, verdicts or notes, and are not used.
    fn columns(&self, schema: &Schema) -> Vec<(usize, Option<Learn>)> {
        let has = |names: &[&str]| names.iter().all(|name| schema.index_of(name).is_ok());
        let features: Option<Vec<(&str, Learn)>> = if has(&KEY_COLUMNS) {
            Some(FLOW_FEATURES.iter().chain(CONTENT_FEATURES).map(|feature| (feature.name, feature.learn)).collect())
        } else if has(&HOST_KEY_COLUMNS) {
            Some(HOST_FEATURES.iter().map(|feature| (feature.name, feature.learn)).collect())
        } else {
            has(&zeek::CONN_COLUMNS).then(|| zeek::CONN_FEATURES.to_vec())
        };
        let known = |name: &str| {
            let own = features.as_ref()?.iter().find(|(feature, _)| *feature == name);
            Some(own.map_or(Learn::Never, |(_, learn)| *learn))
        };
        let named = self.label.iter().chain(&self.ignored).filter_map(|name| column_named(schema, name));
        let left_out: Vec<usize> = named.collect();
        let fields = schema.fields().iter().enumerate().filter(|(place, _)| !left_out.contains(place));
        // Lists repeat per packet what other columns state for the flow.
        let single = fields.filter(|(_, field)| !matches!(field.data_type(), DataType::List(_)));
        single.map(|(place, field)| (place, known(field.name()))).collect()
    }

    /// The training columns of a batch, without its labels.
    ///
    /// # Errors
    /// If a column has a type that cannot be used.
    pub fn frame(&self, batch: &RecordBatch) -> Result<Frame, DatasetError> {
        let mut gathered = Gathered::new(self, &batch.schema());
        gathered.add(batch)?;
        Ok(gathered.finish(|_, _| false))
    }

    /// The labels of a batch; a missing label is an empty text.
    ///
    /// # Errors
    /// If the column is missing, or its type cannot be used for labels.
    pub fn labels(&self, batch: &RecordBatch) -> Result<Option<Vec<String>>, DatasetError> {
        let Some(column) = self.label.as_deref() else { return Ok(None) };
        Ok(Some(label_texts(batch, column)?.into_iter().map(Option::unwrap_or_default).collect()))
    }

    /// Reads tables of one shape into memory, and calls `rows_read` with the number of rows so far.
    ///
    /// # Errors
    /// If the tables cannot be read, differ in their columns, or lack a named column.
    pub fn read(&self, tables: Vec<TableReader>, mut rows_read: impl FnMut(usize)) -> Result<Labelled, DatasetError> {
        let shape = Shape::of(&tables)?;
        tables.iter().try_for_each(|table| self.check(table, true))?;
        let mut gathered = Gathered::new(self, shape.schema());
        let mut labels: Option<Vec<Arc<str>>> = self.label.as_ref().map(|_| Vec::new());
        let (mut interned, mut inputs) = (HashSet::new(), Vec::new());
        let numbered = (0..).zip(tables).flat_map(|(number, table)| table.map(move |batch| (number, batch)));
        for (number, batch) in numbered {
            let batch = shape.take(&batch?)?;
            gathered.add(&batch)?;
            inputs.resize(gathered.rows, number);
            if let (Some(labels), Some(texts)) = (&mut labels, self.labels(&batch)?) {
                labels.extend(texts.iter().map(|text| shared(text, &mut interned)));
            }
            rows_read(gathered.rows);
        }
        let has_header = !shape
            .schema()
            .fields()
            .iter()
            .zip(1..)
            .all(|(field, number): (_, usize)| *field.name() == number.to_string());
        let is_index = |place: usize, column: &FrameColumn| is_index(column, place, has_header, &inputs);
        let frame = gathered.finish(is_index);
        Ok(Labelled { frame, labels, inputs })
    }
}

/// The names of unnamed columns with the index of a data frame, and of columns that number the rows. They are not used
/// for training, as they would reveal the position of a row in its file.
#[must_use]
pub fn indexes(table: &Labelled) -> Vec<&str> {
    let columns = table.frame.columns();
    let has_header = !columns.iter().all(|column| column.name.parse::<usize>().is_ok());
    let found = columns.iter().enumerate().filter(|(place, column)| {
        column.learn == Some(Learn::Never) && is_index(column, *place, has_header, &table.inputs)
    });
    found.map(|(_, column)| column.name.as_str()).collect()
}

/// Whether an unnamed column holds the index of a data frame: non-negative integers, in any order. Without a header all
/// columns are unnamed; then only the first column can be one, and it must number the rows.
fn is_index(column: &FrameColumn, place: usize, has_header: bool, inputs: &[u32]) -> bool {
    let Values::Numbers(numbers) = &column.values else { return false };
    if has_header { is_unnamed(&column.name) && are_whole(numbers) } else { place == 0 && count_rows(numbers, inputs) }
}

/// Whether the name is one that pandas gives to unnamed columns: to its index when it writes CSV or Parquet, to any
/// column when it reads CSV. A suffix after the number distinguishes equal names.
fn is_unnamed(name: &str) -> bool {
    let number = name.strip_prefix("Unnamed: ").or_else(|| name.strip_prefix("__index_level_")?.strip_suffix("__"));
    name.trim().is_empty() || number.is_some_and(|text| text.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// Whether all numbers except NaN are non-negative integers, and there is at least one.
fn are_whole(numbers: &[f64]) -> bool {
    let mut defined = numbers.iter().filter(|number| !number.is_nan()).peekable();
    defined.peek().is_some() && defined.all(|number| *number >= 0.0 && number.fract() == 0.0)
}

/// Whether the numbers only count the rows: integers with a constant step in each input, over many rows.
fn count_rows(numbers: &[f64], inputs: &[u32]) -> bool {
    let mut first = 0;
    let counts = |own: &[f64]| {
        let step = own.get(1).map_or(1.0, |second| second - own[0]);
        let in_steps = step != 0.0 && own.windows(2).all(|pair| pair[1] - pair[0] == step);
        in_steps && own.iter().all(|number| number.fract() == 0.0)
    };
    numbers.len() >= COUNTED_ROWS
        && inputs.chunk_by(|a, b| a == b).all(|rows| {
            let own = &numbers[first..first + rows.len()];
            first += rows.len();
            counts(own)
        })
}

/// A shared copy of the text.
fn shared(text: &str, interned: &mut HashSet<Arc<str>>) -> Arc<str> {
    if let Some(own) = interned.get(text) {
        return Arc::clone(own);
    }
    let own: Arc<str> = Arc::from(text);
    interned.insert(Arc::clone(&own));
    own
}

/// Columns collected from batches.
struct Gathered {
    rows: usize,
    columns: Vec<(usize, FrameColumn)>,
    interned: HashSet<Arc<str>>,
}

impl Gathered {
    fn new(roles: &Roles, schema: &Schema) -> Self {
        let column = |(place, learn): (usize, Option<Learn>)| {
            let field = schema.field(place);
            let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            let values = if is_text { Values::Texts(Vec::new()) } else { Values::Numbers(Vec::new()) };
            (place, FrameColumn { name: field.name().clone(), learn, values })
        };
        Self { rows: 0, columns: roles.columns(schema).into_iter().map(column).collect(), interned: HashSet::new() }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), DatasetError> {
        for (place, column) in &mut self.columns {
            let array = batch.column(*place).as_ref();
            match (&mut column.values, texts(array), numbers(array)) {
                (Values::Texts(all), Some(own), _) => {
                    all.extend(own.into_iter().map(|text| text.map(|text| shared(text, &mut self.interned))));
                }
                (Values::Numbers(all), _, Some(own)) => all.extend(own),
                _ => {
                    return Err(DatasetError::Type {
                        column: column.name.clone(),
                        found: array.data_type().to_string(),
                        expected: "text, numbers or flags; exclude the column with '--ignore'",
                    });
                }
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// The frame. `never` decides by position which columns are not used for training.
    fn finish(self, never: impl Fn(usize, &FrameColumn) -> bool) -> Frame {
        let columns = self.columns.into_iter().map(|(place, column)| match never(place, &column) {
            true => FrameColumn { learn: Some(Learn::Never), ..column },
            false => column,
        });
        Frame::new(self.rows, columns.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::HeaderRow;

    fn read(name: &str, text: &str, header: HeaderRow, roles: &Roles) -> Result<Labelled, DatasetError> {
        let path = std::env::temp_dir().join(format!("flowml-learnt-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, text).expect("there is room");
        let labelled = TableReader::open_with(&path, header).and_then(|table| roles.read(vec![table], |_| ()));
        std::fs::remove_file(path).expect("the file is ours");
        labelled
    }

    #[test]
    fn columns_of_a_table_without_a_header_have_numbers() {
        let roles = Roles { label: Some("3".to_owned()), ignored: vec!["4".to_owned()] };
        let table = read("bare", "1,tcp,normal,9\n2,udp,neptune,8\n", HeaderRow::Absent, &roles).expect("a table");
        let names: Vec<_> = table.frame.columns().iter().map(|column| (column.name.as_str(), column.learn)).collect();
        assert_eq!((names, table.frame.rows()), (vec![("1", None), ("2", None)], 2));
        assert_eq!(table.labels.expect("there is a column"), ["normal".into(), "neptune".into()]);
        let error = read("bare", "1,tcp\n", HeaderRow::Absent, &roles).expect_err("columns are missing");
        assert!(error.to_string().contains("expected a column '3'"), "{error}");
    }

    /// Whether a column with this name and these numbers, beside another column, is recognised as an index.
    fn is_index_of(file: &str, name: &str, numbers: &[&str]) -> bool {
        let rows: String = numbers.iter().enumerate().map(|(row, n)| format!("{n},{}\n", row * row)).collect();
        let table = read(file, &format!("{name},x\n{rows}"), HeaderRow::Present, &Roles::default());
        let table = table.expect("a table");
        assert_eq!(table.frame.column("x").map(|column| column.learn), Some(None));
        indexes(&table).len() == 1
    }

    #[test]
    fn unnamed_integers_are_the_index_of_a_data_frame() {
        for name in ["", " ", "\"\"", "Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0_x", "Unnamed: 1", "__index_level_0__"] {
            assert!(is_index_of("index", name, &["0", "1", "2", "3"]), "{name}");
        }
        let indexes = [
            // Any start and step, descending, as reals, shuffled, sampled, joined, with a duplicate, with a missing
            // value.
            ["17", "18", "19", "20", "21", "22"],
            ["0", "10", "20", "30", "40", "50"],
            ["5", "4", "3", "2", "1", "0"],
            ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"],
            ["3", "0", "5", "1", "4", "2"],
            ["812", "7", "93", "400", "11", "5012"],
            ["0", "3", "4", "1", "2", "4"],
            ["0", "1", "2", "2", "4", "5"],
            ["0", "1", "", "3", "4", "5"],
            ["7", "7", "7", "2", "2", "9"],
        ];
        for numbers in indexes {
            assert!(is_index_of("index", "", &numbers), "{numbers:?}");
            assert!(!is_index_of("index", "bytes", &numbers), "{numbers:?}");
        }
        for numbers in [["1.5", "2.5", "3.5"], ["0", "-1", "2"], ["0", "1", "Infinity"], ["a", "1", "2"], ["", "", ""]]
        {
            assert!(!is_index_of("index", "", &numbers), "{numbers:?}");
        }
    }

    proptest! {
        /// An index is recognised whatever was done to its rows: drawn with replacement, in any order, from any frames.
        #[test]
        fn an_index_is_recognised_from_any_of_its_rows(rows in prop::collection::vec(0..100_000u32, 1..50)) {
            let texts: Vec<String> = rows.iter().map(u32::to_string).collect();
            prop_assert!(is_index_of("rows", "Unnamed: 0", &texts.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn columns_can_be_named_without_the_space_around_their_names() {
        let roles = Roles { label: Some(" Label".to_owned()), ignored: vec![" id ".to_owned()] };
        let table = read("spaces", "id, a, Label\n1,2,x\n3,4,y\n", HeaderRow::Present, &roles).expect("a table");
        assert_eq!(table.frame.columns().iter().map(|column| &*column.name).collect::<Vec<_>>(), ["a"]);
        assert_eq!(table.labels.expect("there is a column"), ["x".into(), "y".into()]);
    }

    #[test]
    fn a_first_column_without_header_that_numbers_the_rows_is_not_used() {
        let of = |rows: usize, step: usize| {
            let text: String = (0..rows).map(|row| format!("{},{}\n", row * step % 101, row % 7)).collect();
            let table = read("bare-count", &text, HeaderRow::Absent, &Roles::default()).expect("a table");
            indexes(&table).len()
        };
        assert_eq!([of(100, 1), of(99, 1), of(100, 7)], [1, 0, 0]);
    }

    #[test]
    fn only_features_of_flows_are_used_for_training() {
        let keys = KEY_COLUMNS.join(",");
        let text = format!("{keys},bidirectional_duration_ms,note,splt_ps\n10.0.0.1,1,10.0.0.2,80,6,1,3,x,[1]\n");
        let table = read("flows", &text, HeaderRow::Present, &Roles::default()).expect("a table");
        let learnt = |name: &str| table.frame.column(name).map(|column| column.learn);
        assert_eq!(learnt("bidirectional_duration_ms"), Some(Some(Learn::LogScaled)));
        for name in ["src_ip", "src_port", "bidirectional_first_seen_ms", "note"] {
            assert_eq!(learnt(name), Some(Some(Learn::Never)), "{name}");
        }
        assert_eq!(learnt("splt_ps"), None);
        assert_eq!(table.labels, None);
    }
}
