//! What identifies the record of a flow, without its statistics.

use flowml_common::flow::{FlowKey, Sender};

use crate::record::FlowRecord;
use crate::session::Ended;

/// The flow of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedFlow {
    /// The key, with the smaller endpoint first.
    pub key: FlowKey,
    /// The endpoint of the key that is the initiator.
    pub initiator: Sender,
    /// Whether an earlier record of the same session ended by the active timeout.
    pub continues: bool,
}

impl From<&Ended> for RecordedFlow {
    fn from(ended: &Ended) -> Self {
        Self { key: ended.key, initiator: ended.initiator.sender, continues: ended.continues }
    }
}

impl From<&FlowRecord> for RecordedFlow {
    fn from(record: &FlowRecord) -> Self {
        Self { key: record.key, initiator: record.initiator, continues: record.continues }
    }
}
