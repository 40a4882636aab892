//! The arguments of `flowml features`.

use clap::{Args, ValueEnum};

/// The arguments of `flowml features`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Features {
    /// Format of the list
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// The format of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// A human-readable table
    #[default]
    Text,
    /// JSON lines, one object for each column
    Json,
    /// JSON Schema of the rows that are sent to Kafka and NATS
    Schema,
    /// Statements that make ClickHouse's tables of these rows
    Clickhouse,
}
