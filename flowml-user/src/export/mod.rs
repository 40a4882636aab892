//! Writes records to files, standard output, collectors and brokers, sends incidents to receivers of alarms, and shows
//! the run on standard error.
//!
//! [`Sinks`] receives every record with its verdict, derives the anomalies, and counts rows: the last row of a JSON
//! file has the number of rows before it.
//!
//! ```
//! use flowml_user::export::{Pace, Sinks, Target, Totals};
//! use flowml_user::features::FlowColumns;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flows.jsonl");
//! let target: Target = format!("jsonl={}", path.display()).parse()?;
//! let sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Offline)?;
//! sinks.finish(&Totals::default())?;
//! assert!(std::fs::read_to_string(path)?.starts_with(r#"{"type":"summary","packets_received":0,"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
mod alarms;
mod backoff;
mod batch;
pub mod catalogue;
mod clickhouse;
mod closing;
mod columns;
mod csv;
#[cfg(test)]
mod document;
mod ending;
mod files;
#[cfg(test)]
pub(crate) mod golden;
mod ipfix;
mod jsonl;
mod notify;
mod observer;
mod origin;
mod outlet;
mod output;
mod pace;
mod parquet;
mod part;
mod pseudonyms;
mod recorded;
mod remote;
mod report;
mod rotation;
mod row;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod shedding;
mod sinks;
mod streams;
mod target;
#[cfg(test)]
mod tests;
mod writer;

pub use self::account::Account;
pub use self::clickhouse::write_clickhouse;
#[cfg(feature = "live")]
pub(crate) use self::closing::Closing;
pub use self::columns::{
    OutputColumn, aggregate_columns, anomaly_columns, content_columns, flow_columns, host_columns, incident_columns,
    statistics_columns, tunnel_columns,
};
pub use self::observer::Observer;
pub use self::origin::{AgentId, InvalidAgentId, Origin};
pub use self::pace::Pace;
pub use self::recorded::RecordedFlow;
pub use self::report::{Began, InterfaceReport, IntervalReport, LearnerReport, OutputLine, RowCounts, Totals};
pub use self::rotation::Rotation;
pub use self::schema::write_schema;
pub use self::shedding::{Level, STEPS, Shedding, Step};
pub use self::sinks::{SinkError, Sinks};
pub use self::target::{
    Collector, Destination, FileTarget, Format, InvalidUrl, Mechanism, Peer, PeerOptions, Receiver, RowPeer,
    SyslogServer, Target, TargetError, Transport, Url,
};

/// Cells of rows and how they are written, for modules that read tables again.
pub(crate) mod cells {
    pub(crate) use super::columns::{Cell, OutputColumn, flow_columns};
    pub(crate) use super::csv::{marked, unmarked, write_cell, write_fields, write_text};
    pub(crate) use super::parquet::{Builder, field, parquet_properties, plain_field};
}
