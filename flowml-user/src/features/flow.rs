//! The features of a flow.

use super::Feature;
use super::Learn::{self, Amount, Never};
use super::window::{HostWindow, HostWindows};
use crate::record::FlowRecord;

/// A flow with the windows of its two hosts.
#[derive(Clone, Debug)]
pub struct FlowRow {
    /// The flow.
    pub record: FlowRecord,
    /// The initiator's window when the flow was last active, if that is known.
    pub src_window: Option<HostWindow>,
    /// The responder's window when the flow was last active, if that is known.
    pub dst_window: Option<HostWindow>,
}

impl FlowRow {
    /// Adds the windows of the time of the flow's last packet.
    #[must_use]
    pub fn new(record: FlowRecord, windows: &HostWindows) -> Self {
        let time_ns = record.both.last_ns;
        let [src_window, dst_window] =
            [record.source(), record.destination()].map(|end| windows.at(end.address, time_ns).copied());
        Self { record, src_window, dst_window }
    }
}

const fn feature(
    name: &'static str,
    unit: &'static str,
    learn: Learn,
    meaning: &'static str,
    of: fn(&FlowRow) -> f64,
) -> Feature<FlowRow> {
    Feature { name, unit, meaning, learn, of }
}

/// The features of a flow.
pub const FLOW_FEATURES: &[Feature<FlowRow>] = &[
    feature("bidirectional_first_seen_ms", "ms", Never, "Unix time of the first packet", |row| {
        row.record.first_ms as f64
    }),
    feature("bidirectional_last_seen_ms", "ms", Never, "Unix time of the last packet", |row| row.record.last_ms as f64),
    feature("bidirectional_duration_ms", "ms", Amount, "From the first packet to the last", |row| {
        row.record.both.duration_ms()
    }),
    feature("bidirectional_packets", "packets", Amount, "Packets", |row| row.record.both.packets as f64),
    feature("bidirectional_bytes", "bytes", Amount, "IP bytes", |row| row.record.both.ip_bytes as f64),
];
