//! The form of a row in a message.

use super::super::columns::Cell;
use super::super::jsonl;
use super::super::origin::Origin;
use super::super::report::Summary;
use super::super::row::Row;
use super::attributes;
use crate::record::Value;

/// The form of a row in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The object of JSON lines, with the members `agent`, `generation` and `sequence`.
    Json,
    /// A `LogRecord` of OTLP.
    Otlp,
}

impl Encoding {
    /// Appends a row.
    pub(super) fn row<C: Iterator<Item = (&'static str, Cell)>>(
        self,
        bytes: &mut Vec<u8>,
        row: Row<'_, C>,
        origin: &Origin,
        sequence: u64,
    ) {
        match self {
            Self::Json => {
                jsonl::write_row(bytes, row, sender(origin, sequence));
                // The line feed belongs to files.
                bytes.pop();
            }
            Self::Otlp => attributes::write_record(bytes, row, sequence),
        }
    }

    /// Appends the summary.
    pub(super) fn summary(self, bytes: &mut Vec<u8>, summary: &Summary, origin: &Origin, sequence: u64) {
        match self {
            Self::Json => {
                jsonl::write_summary(bytes, summary, Some((origin, sequence)));
                bytes.pop();
            }
            Self::Otlp => {
                let mut text = Vec::new();
                jsonl::write_summary(&mut text, summary, Some((origin, sequence)));
                text.pop();
                attributes::write_summary(bytes, &text, sequence);
            }
        }
    }
}

/// The cells that identify a row among those of all agents.
fn sender(origin: &Origin, sequence: u64) -> [(&'static str, Cell); 3] {
    let Origin { agent, generation } = origin;
    [
        ("agent", Cell::Value(Value::Text(agent.clone()))),
        ("generation", Cell::Value(Value::Number(*generation))),
        ("sequence", Cell::Value(Value::Number(sequence))),
    ]
}
