//! Writes Parquet: one table each for flows, hosts, anomalies, incidents and aggregates.
//!
//! A Parquet file can only be read after its footer was written. So each file is written under a temporary name
//! (`….part`). When the run ends, it replaces a file of an earlier run, so a file with the final name is always
//! complete. With rotation each table is a folder of files, which other programs read as one data set. It contains only
//! files of rows, and incomplete ones have hidden names.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::account::Account;
use super::batch::{Batch, anomalous};
use super::columns::{
    Cell, OutputColumn, aggregate_cells, aggregate_columns, anomaly_columns, flow_anomaly_cells, flow_cells,
    flow_columns, host_anomaly_cells, host_cells, host_columns, incident_cells, incident_columns,
};
use super::part::{PartFile, remove_left};
use super::rotation::Rotation;
use super::target::FileTarget;
use crate::features::{FlowRow, HostWindow, RowColumns};
use crate::incident::{Incident, State};
use crate::learning::Verdict;
use crate::record::{Clock, Value, ValueType};

/// The extension of the tables' files.
const EXTENSION: &str = "parquet";

/// Number of rows passed to the encoder at once.
const BATCH: usize = 1024;

/// Maximum number of rows in a row group, the unit that readers skip and process in parallel.
const GROUP_ROWS: usize = 1 << 16;

/// A row group ends before its encoded pages exceed this memory, bytes.
const GROUP_BYTES: usize = 16 << 20;

/// The tables of one run.
pub(super) struct Tables {
    flows: TableFile,
    hosts: TableFile,
    anomalies: TableFile,
    incidents: TableFile,
    aggregates: TableFile,
    columns: RowColumns,
    /// Time at which the files were started.
    begun: SystemTime,
}

impl Tables {
    /// Creates the folder if it does not exist, and opens the files in it.
    pub(super) fn open(
        folder: &FileTarget,
        rotation: Rotation,
        columns: RowColumns,
        account: &Arc<Account>,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder.path)?;
        let begun = SystemTime::now();
        let place = &Place { folder, rotates: rotation.rotates(), begun, account };
        Ok(Self {
            flows: TableFile::open(place, "flows", flow_columns(columns))?,
            hosts: TableFile::open(place, "hosts", host_columns())?,
            anomalies: TableFile::open(place, "anomalies", anomaly_columns(columns))?,
            incidents: TableFile::open(place, "incidents", incident_columns())?,
            aggregates: TableFile::open(place, "aggregates", aggregate_columns())?,
            columns,
            begun,
        })
    }

    /// Time at which the files were started.
    pub(super) const fn begun(&self) -> SystemTime {
        self.begun
    }

    /// Size of the largest file including its encoded rows, bytes.
    pub(super) fn bytes(&self) -> u64 {
        let tables = [&self.flows, &self.hosts, &self.anomalies, &self.incidents, &self.aggregates];
        tables.into_iter().map(TableFile::bytes).max().unwrap_or_default()
    }

    /// Starts new files at `now`, after the previous ones have ended. A file is created with its first row.
    pub(super) fn begin(&mut self, now: SystemTime) {
        self.begun = now;
    }

    /// Adds rows, and the rows of their anomalies.
    pub(super) fn take(&mut self, batch: &Batch) -> io::Result<()> {
        match batch {
            Batch::Flows(rows) => rows.iter().try_for_each(|(row, verdict)| {
                self.flow(row, verdict.as_ref())?;
                anomalous(verdict).map_or(Ok(()), |verdict| self.flow_anomaly(row, verdict))
            }),
            Batch::Hosts(rows) => rows.iter().try_for_each(|(window, clock, verdict)| {
                self.host(window, *clock, verdict.as_ref())?;
                anomalous(verdict).map_or(Ok(()), |verdict| self.host_anomaly(window, *clock, verdict))
            }),
            Batch::Incidents(rows) => {
                rows.iter().try_for_each(|(state, incident, clock)| self.incident(*state, incident, *clock))
            }
            Batch::Aggregates(rows) => rows.iter().try_for_each(|aggregate| {
                self.aggregates.append(self.begun, aggregate_cells(aggregate).map(|(_, cell)| cell))
            }),
            Batch::Statistics(_) => Ok(()),
        }
    }

    /// Adds a flow.
    fn flow(&mut self, row: &FlowRow, verdict: Option<&Verdict>) -> io::Result<()> {
        self.flows.append(self.begun, flow_cells(row, verdict).map(|(_, cell)| cell))
    }

    /// Adds a host window.
    fn host(&mut self, window: &HostWindow, clock: Clock, verdict: Option<&Verdict>) -> io::Result<()> {
        self.hosts.append(self.begun, host_cells(window, clock, verdict).map(|(_, cell)| cell))
    }

    /// Adds the anomaly of a flow.
    fn flow_anomaly(&mut self, row: &FlowRow, verdict: &Verdict) -> io::Result<()> {
        self.anomaly(flow_anomaly_cells(row, verdict).collect())
    }

    /// Adds the anomaly of a host window.
    fn host_anomaly(&mut self, window: &HostWindow, clock: Clock, verdict: &Verdict) -> io::Result<()> {
        self.anomaly(host_anomaly_cells(window, clock, verdict).collect())
    }

    /// Adds an event of an incident.
    fn incident(&mut self, state: State, incident: &Incident, clock: Clock) -> io::Result<()> {
        self.incidents.append(self.begun, incident_cells(state, incident, clock).map(|(_, cell)| cell))
    }

    /// Adds an anomaly. Its table has the columns of flows and of hosts; those of the other kind are null.
    fn anomaly(&mut self, mut cells: HashMap<&'static str, Cell>) -> io::Result<()> {
        let cells = anomaly_columns(self.columns).map(|column| cells.remove(column.name).unwrap_or(Cell::ABSENT));
        self.anomalies.append(self.begun, cells)
    }

    /// Completes all files. They can be read after that.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.all().into_iter().try_for_each(TableFile::finish)
    }

    /// Removes the incomplete files.
    pub(super) fn discard(&mut self) {
        self.all().into_iter().for_each(TableFile::discard);
    }

    fn all(&mut self) -> [&mut TableFile; 5] {
        [&mut self.flows, &mut self.hosts, &mut self.anomalies, &mut self.incidents, &mut self.aggregates]
    }
}

/// The location of tables, and the start of their first files.
struct Place<'a> {
    folder: &'a FileTarget,
    rotates: bool,
    begun: SystemTime,
    account: &'a Arc<Account>,
}

/// The table of one kind of row.
struct TableFile {
    name: &'static str,
    /// The path of its file; with rotation, the base of the names of its files.
    target: FileTarget,
    rotates: bool,
    account: Arc<Account>,
    schema: SchemaRef,
    columns: Vec<Builder>,
    /// Number of rows in the builders.
    waiting: usize,
    /// The file that is being written.
    file: Option<(PartFile, ArrowWriter<Watched>)>,
}

/// A file with the counts that show a blocked write.
struct Watched {
    file: File,
    account: Arc<Account>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.account.wait_in(|| self.file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TableFile {
    fn open(place: &Place<'_>, name: &'static str, columns: impl Iterator<Item = OutputColumn>) -> io::Result<Self> {
        let columns: Vec<OutputColumn> = columns.collect();
        let &Place { folder, rotates, begun, account } = place;
        let mut path = folder.path.clone();
        if rotates {
            path.push(name);
            fs::create_dir_all(&path)?;
            remove_left(&path, EXTENSION)?;
        }
        path.push(format!("{name}.{EXTENSION}"));
        let mut table = Self {
            name,
            target: FileTarget { path, ..folder.clone() },
            rotates,
            account: Arc::clone(account),
            schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
            columns: columns.iter().map(|column| Builder::of(column.kind)).collect(),
            waiting: 0,
            file: None,
        };
        // A data set without any file could not be read.
        table.begin(begun)?;
        Ok(table)
    }

    fn begin(&mut self, begun: SystemTime) -> io::Result<()> {
        let FileTarget { path, mode, .. } = &self.target;
        let open =
            || if self.rotates { PartFile::of_time(path, begun, *mode) } else { PartFile::of_run(path.clone(), *mode) };
        let (part, file) = self.account.wait_in(open)?;
        let file = Watched { file, account: Arc::clone(&self.account) };
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(parquet_properties(self.name)));
        self.file = Some((part, writer.map_err(of_parquet)?));
        Ok(())
    }

    /// Adds a row. If it is the first row of a file, the file's start is `begun`.
    fn append(&mut self, begun: SystemTime, cells: impl Iterator<Item = Cell>) -> io::Result<()> {
        if self.file.is_none() {
            self.begin(begun)?;
        }
        let mut cells = cells;
        for column in &mut self.columns {
            // NaN becomes null.
            let cell = cells.next().filter(|cell| !cell.is_absent());
            column.append(cell.unwrap_or(Cell::ABSENT));
        }
        self.waiting += 1;
        if self.waiting >= BATCH { self.encode() } else { Ok(()) }
    }

    /// Passes the rows in the builders to the encoder, and writes the row group once it is large.
    fn encode(&mut self) -> io::Result<()> {
        let Some((_, writer)) = &mut self.file else { return Ok(()) };
        let arrays = self.columns.iter_mut().map(Builder::finish).collect();
        self.waiting = 0;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        writer.write(&batch).map_err(of_parquet)?;
        if writer.in_progress_size() > GROUP_BYTES {
            writer.flush().map_err(of_parquet)?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, writer)| (writer.bytes_written() + writer.in_progress_size()) as u64)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.waiting > 0 {
            self.encode()?;
        }
        let Some((part, writer)) = self.file.take() else { return Ok(()) };
        let finished = writer.close().map_err(of_parquet).and_then(|_| self.account.wait_in(|| part.finish()));
        finished.inspect_err(|_| part.discard())
    }

    fn discard(&mut self) {
        self.waiting = 0;
        if let Some((part, _)) = self.file.take() {
            part.discard();
        }
    }
}

/// The writer properties of a table.
pub(crate) fn parquet_properties(table: &str) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_created_by(concat!("flowml ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new("flowml.table".to_owned(), table.to_owned())]))
        .build()
}

/// The I/O error inside the library's error.
fn of_parquet(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

/// The field of a column with only a name and a type.
pub(crate) fn plain_field(name: &str, kind: ValueType) -> Field {
    let item = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
    let of = match kind {
        ValueType::Text => DataType::Utf8,
        ValueType::Integer => DataType::Int64,
        ValueType::Real => DataType::Float64,
        ValueType::Flag => DataType::Boolean,
        ValueType::Integers => item(DataType::Int64),
        ValueType::Reals => item(DataType::Float64),
    };
    Field::new(name, of, true)
}

/// A column's field, with unit and meaning as metadata. Parquet is the only file format with a place for them.
pub(crate) fn field(column: &OutputColumn) -> Field {
    let texts = [("unit", column.unit), ("meaning", column.meaning)].into_iter().filter(|(_, text)| !text.is_empty());
    let metadata: HashMap<_, _> = texts.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    plain_field(column.name, column.kind).with_metadata(metadata)
}

/// Builds the values of a column for the next batch.
pub(crate) enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Real(Float64Builder),
    Flag(BooleanBuilder),
    Integers(ListBuilder<Int64Builder>),
    Reals(ListBuilder<Float64Builder>),
}

impl Builder {
    /// An empty builder.
    pub(crate) fn of(kind: ValueType) -> Self {
        match kind {
            ValueType::Text => Self::Text(StringBuilder::new()),
            ValueType::Integer => Self::Integer(Int64Builder::new()),
            ValueType::Real => Self::Real(Float64Builder::new()),
            ValueType::Flag => Self::Flag(BooleanBuilder::new()),
            ValueType::Integers => Self::Integers(ListBuilder::new(Int64Builder::new())),
            ValueType::Reals => Self::Reals(ListBuilder::new(Float64Builder::new())),
        }
    }

    /// Adds a value. Missing values and values of another type become null.
    pub(crate) fn append(&mut self, cell: Cell) {
        match (self, cell) {
            (Self::Text(column), Cell::Value(Value::Text(text))) => column.append_value(text),
            (Self::Text(column), Cell::Value(Value::Name(name))) => column.append_value(name),
            (Self::Text(column), cell) => column.append_option(unexpected::<String>(&cell)),
            (Self::Integer(column), Cell::Value(Value::Number(number))) => {
                column.append_option(i64::try_from(number).ok());
            }
            (Self::Integer(column), cell) => column.append_option(unexpected(&cell)),
            (Self::Real(column), Cell::Real(number)) => column.append_value(number),
            (Self::Real(column), cell) => column.append_option(unexpected(&cell)),
            (Self::Flag(column), Cell::Value(Value::Flag(flag))) => column.append_value(flag),
            (Self::Flag(column), cell) => column.append_option(unexpected(&cell)),
            (Self::Integers(column), Cell::List(numbers)) => {
                column.append_value(numbers.into_iter().map(|number| Some(number as i64)));
            }
            (Self::Integers(column), _) => column.append_null(),
            (Self::Reals(column), Cell::List(numbers)) => column.append_value(numbers.into_iter().map(Some)),
            (Self::Reals(column), _) => column.append_null(),
        }
    }

    /// The values; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Integer(column) => Arc::new(column.finish()),
            Self::Real(column) => Arc::new(column.finish()),
            Self::Flag(column) => Arc::new(column.finish()),
            Self::Integers(column) => Arc::new(column.finish()),
            Self::Reals(column) => Arc::new(column.finish()),
        }
    }
}

/// Returns null for missing values. The tests make sure that no other value arrives here.
fn unexpected<T>(cell: &Cell) -> Option<T> {
    debug_assert!(cell.is_absent(), "{cell:?} is not of its column's type");
    None
}
