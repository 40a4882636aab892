//! The inputs of training and evaluation, and the roles of their columns.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::truth;
use flowml_user::dataset::{Encoding, HeaderRow, Reading, RowType};

/// The subject of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// A flow, with the activity of its two hosts when it began
    #[default]
    Flows,
    /// A host window: the activity of a host in two seconds
    Hosts,
}

impl Unit {
    /// The name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Hosts => "hosts",
        }
    }

    /// The type of the rows in flowml's tables.
    #[must_use]
    pub(crate) const fn row_type(self) -> RowType {
        match self {
            Self::Flows => RowType::Flow,
            Self::Hosts => RowType::Host,
        }
    }
}

/// The options for reading inputs as tables.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct InputArguments {
    /// The first row of CSV files is not a header; columns are named 1, 2, …
    #[arg(long)]
    pub(crate) no_header: bool,

    /// Encoding of CSV files: utf-8, utf-16le, utf-16be, windows-1252 or latin1 [default: UTF-16 if the file starts as
    /// UTF-16, else UTF-8 if it is valid, else windows-1252]
    #[arg(long, value_name = "ENCODING", value_parser = encoding)]
    pub(crate) encoding: Option<Encoding>,

    /// Kind of rows to read from captures and from folders of '-o parquet=DIR' [default: flows]
    #[arg(long, value_name = "UNIT", value_enum)]
    pub(crate) unit: Option<Unit>,
}

impl InputArguments {
    /// The options for reading CSV files.
    #[must_use]
    pub(crate) const fn reading(&self) -> Reading {
        let header = if self.no_header { HeaderRow::Absent } else { HeaderRow::Present };
        Reading { header, encoding: self.encoding }
    }
}

/// The options for inputs, and the roles of their columns.
#[derive(Args, Clone, Debug, Default)]
#[command(group = clap::ArgGroup::new("labelled"))]
pub(crate) struct TableArguments {
    /// The options for reading inputs as tables.
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Column with the labels
    #[arg(long, value_name = "NAME", group = "labelled")]
    pub(crate) label_column: Option<String>,

    /// File of labels: rules of 'flowml label' (.toml), a table of flows with the column 'label', or a CSV list of inputs
    /// with the columns 'file' and 'label'. Unlabelled rows are benign
    #[arg(long, value_name = "FILE", group = "labelled")]
    pub(crate) labels: Option<PathBuf>,

    /// Columns that the model does not use
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
}

impl TableArguments {
    /// The roles of columns: label, ignored.
    #[must_use]
    pub(crate) fn roles(&self) -> Roles {
        let added = self.labels.as_ref().map(|_| truth::LABEL.to_owned());
        Roles { label: self.label_column.clone().or(added), ignored: self.ignore.clone() }
    }
}

/// Parses the name of an encoding.
fn encoding(text: &str) -> Result<Encoding, String> {
    Encoding::named(text).ok_or_else(|| format!("expected {}", Encoding::ALL.map(Encoding::name).join(", ")))
}
