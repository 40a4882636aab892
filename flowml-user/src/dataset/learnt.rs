//! Tables as they are learnt from: the columns that may say something, and the label of each row.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};

use super::columns::{numbers, texts};
use super::join::label_texts;
use super::keys::{HOST_KEY_COLUMNS, KEY_COLUMNS};
use super::{DatasetError, Shape, TableReader, zeek};
use crate::features::{CONTENT_FEATURES, FLOW_FEATURES, HOST_FEATURES, Learn};
use crate::model::frame::{Frame, FrameColumn, Values};
use crate::model::trained::Labelled;

/// Rows from which a column of a table without a header is found to count them.
const COUNTED_ROWS: usize = 100;

/// Which columns of a table are what.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The column of the labels.
    pub label: Option<String>,
    /// Columns that are not learnt.
    pub ignored: Vec<String>,
}

impl Roles {
    /// Whether all columns that they name are there; labels may be missing where they are not needed.
    ///
    /// # Errors
    /// If one is not.
    pub fn check(&self, table: &TableReader, needs_label: bool) -> Result<(), DatasetError> {
        let label = self.label.iter().filter(|_| needs_label);
        let missing = label.chain(&self.ignored).find(|name| table.schema().index_of(name).is_err());
        match missing {
            Some(column) => Err(DatasetError::no_column(table, column)),
            None => Ok(()),
        }
    }

    /// What may be learnt of the columns of a table, and how where that is known. Of a table with the identifiers of
    /// flows or of host windows, flowml's table of features says it, and of Zeek's connection logs a table of their own: what
    /// is not in there is an identifier, a verdict, or somebody's note.
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
        let named = |name: &String| self.label.as_ref() != Some(name) && !self.ignored.contains(name);
        let fields = schema.fields().iter().enumerate();
        // A list says of its packets what other columns say of the flow.
        let single = fields.filter(|(_, field)| named(field.name()) && !matches!(field.data_type(), DataType::List(_)));
        single.map(|(place, field)| (place, known(field.name()))).collect()
    }

    /// What is learnt from a batch, without its labels.
    ///
    /// # Errors
    /// If a column's type has no use here.
    pub fn frame(&self, batch: &RecordBatch) -> Result<Frame, DatasetError> {
        let mut gathered = Gathered::new(self, &batch.schema());
        gathered.add(batch)?;
        Ok(gathered.finish(&[]))
    }

    /// The labels of a batch, the empty text where there is none.
    ///
    /// # Errors
    /// If the column is not there, or of a type that labels cannot be of.
    pub fn labels(&self, batch: &RecordBatch) -> Result<Option<Vec<String>>, DatasetError> {
        let Some(column) = self.label.as_deref() else { return Ok(None) };
        Ok(Some(label_texts(batch, column)?.into_iter().map(Option::unwrap_or_default).collect()))
    }

    /// Reads tables of one shape into memory, telling how many rows there are by now.
    ///
    /// # Errors
    /// If they cannot be read, differ in their columns, or have not the columns that are named.
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
        let counters = counters(shape.schema(), &gathered, &inputs);
        Ok(Labelled { frame: gathered.finish(&counters), labels, inputs })
    }
}

/// Whether a column of this name and place has none: pandas calls a column without a name so when it reads it, and its
/// index so when it writes Parquet. In a table without a header, the first.
fn is_unnamed(name: &str, place: usize, has_header: bool) -> bool {
    let number = name.strip_prefix("Unnamed: ").or_else(|| name.strip_prefix("__index_level_")?.strip_suffix("__"));
    let is_number = |text: &str| text.starts_with(|digit: char| digit.is_ascii_digit());
    if has_header { name.is_empty() || number.is_some_and(is_number) } else { place == 0 }
}

/// The places of columns that have no name and only count the rows, as the index of a data frame does, whatever its order
/// became: learnt, they would say where in its file a row was.
fn counters(schema: &Schema, gathered: &Gathered, inputs: &[u32]) -> Vec<usize> {
    let has_header =
        !schema.fields().iter().zip(1..).all(|(field, number): (_, usize)| *field.name() == number.to_string());
    let counts = |(place, column): &&(usize, FrameColumn)| match &column.values {
        Values::Numbers(numbers) if is_unnamed(&column.name, *place, has_header) => {
            (has_header || numbers.len() >= COUNTED_ROWS) && count_rows(numbers, inputs, has_header)
        }
        _ => false,
    };
    gathered.columns.iter().filter(counts).map(|(place, _)| *place).collect()
}

/// Whether numbers only count the rows: whole ones, and in each input all different; or in each input the same step from one
/// to the next but where the count begins again, as in tables that were joined. In the strict sense, which is taken where
/// no header says that the column has no name, one step in each input.
fn count_rows(numbers: &[f64], inputs: &[u32], may_be_shuffled: bool) -> bool {
    let (mut first, mut counted) = (0, false);
    for rows in inputs.chunk_by(|a, b| a == b) {
        let own = &numbers[first..first + rows.len()];
        first += rows.len();
        if own.iter().any(|number| number.fract() != 0.0) {
            return false;
        }
        counted |= own.len() > 1;
        let step = own.get(1).map_or(1.0, |second| second - own[0]);
        let goes_on = |pair: &[f64]| pair[1] - pair[0] == step;
        let begins_again = |pair: &[f64]| pair[1] == own[0];
        let in_steps = step != 0.0 && own.windows(2).all(|pair| goes_on(pair) || may_be_shuffled && begins_again(pair));
        let different = || own.iter().map(|number| number.to_bits()).collect::<HashSet<u64>>().len() == own.len();
        let counts = in_steps || may_be_shuffled && different();
        if !counts {
            return false;
        }
    }
    counted
}

/// The names of the columns of a table that were found to count its rows, and are not learnt therefore.
#[must_use]
pub fn counting(table: &Labelled) -> Vec<&str> {
    let columns = table.frame.columns().iter().enumerate();
    let has_header = !table.frame.columns().iter().all(|column| column.name.parse::<usize>().is_ok());
    let unnamed = |(place, column): &(usize, &FrameColumn)| {
        column.learn == Some(Learn::Never) && is_unnamed(&column.name, *place, has_header)
    };
    columns.filter(unnamed).map(|(_, column)| column.name.as_str()).collect()
}

/// The text, once in memory.
fn shared(text: &str, interned: &mut HashSet<Arc<str>>) -> Arc<str> {
    if let Some(own) = interned.get(text) {
        return Arc::clone(own);
    }
    let own: Arc<str> = Arc::from(text);
    interned.insert(Arc::clone(&own));
    own
}

/// Columns that are gathered from batches.
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
                        expected: "text, numbers or flags to learn from; name it with '--ignore' to go without",
                    });
                }
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// The table, of which the columns at these places are not learnt.
    fn finish(self, never: &[usize]) -> Frame {
        let columns = self.columns.into_iter().map(|(place, column)| match never.contains(&place) {
            true => FrameColumn { learn: Some(Learn::Never), ..column },
            false => column,
        });
        Frame::new(self.rows, columns.collect())
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn an_unnamed_column_that_counts_the_rows_is_not_learnt() {
        let counts_rows = |name: &str, numbers: &[&str]| {
            let rows: String = numbers.iter().enumerate().map(|(row, n)| format!("{n},{}\n", row * row)).collect();
            let table = read("count", &format!("{name},x\n{rows}"), HeaderRow::Present, &Roles::default());
            let table = table.expect("a table");
            assert_eq!(table.frame.column("x").map(|column| column.learn), Some(None));
            counting(&table).len() == 1
        };
        for name in ["", "Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", "\"\""] {
            assert!(counts_rows(name, &["0", "1", "2", "3"]), "{name}");
        }
        let counts = [
            // Any begin and step, descending, as reals, in another order, a sample, tables that were joined.
            ["17", "18", "19", "20", "21", "22"],
            ["0", "10", "20", "30", "40", "50"],
            ["5", "4", "3", "2", "1", "0"],
            ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"],
            ["3", "0", "5", "1", "4", "2"],
            ["812", "7", "93", "400", "11", "5012"],
            ["0", "1", "2", "0", "1", "2"],
        ];
        for numbers in counts {
            assert!(counts_rows("", &numbers), "{numbers:?}");
            assert!(!counts_rows("bytes", &numbers), "{numbers:?}");
        }
        let measures =
            [["0", "0", "1", "0", "1", "1"], ["1.5", "2.5", "3.5", "4.5", "5.5", "6.5"], ["1", "2", "", "4", "5", "6"]];
        for numbers in measures {
            assert!(!counts_rows("", &numbers), "{numbers:?}");
        }
    }

    #[test]
    fn the_first_column_without_a_header_is_not_learnt_where_it_counts_many_rows() {
        let of = |rows: usize, step: usize| {
            let text: String = (0..rows).map(|row| format!("{},{}\n", row * step % 101, row % 7)).collect();
            let table = read("bare-count", &text, HeaderRow::Absent, &Roles::default()).expect("a table");
            counting(&table).len()
        };
        assert_eq!([of(100, 1), of(99, 1), of(100, 7)], [1, 0, 0]);
    }

    #[test]
    fn of_flows_only_what_is_a_feature_is_learnt() {
        let keys = KEY_COLUMNS.join(",");
        let text = format!("{keys},bidirectional_duration_ms,note,splt_ps\n10.0.0.1,1,10.0.0.2,80,6,1,3,x,[1]\n");
        let table = read("flows", &text, HeaderRow::Present, &Roles::default()).expect("a table");
        let learnt = |name: &str| table.frame.column(name).map(|column| column.learn);
        assert_eq!(learnt("bidirectional_duration_ms"), Some(Some(Learn::Amount)));
        for name in ["src_ip", "src_port", "bidirectional_first_seen_ms", "note"] {
            assert_eq!(learnt(name), Some(Some(Learn::Never)), "{name}");
        }
        assert_eq!(learnt("splt_ps"), None);
        assert_eq!(table.labels, None);
    }
}
