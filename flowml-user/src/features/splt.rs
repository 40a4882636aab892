//! SPLT, the sequence of packet lengths and times: the first packets of a flow one by one, as in NFStream.

use flowml_common::flow::FIRST_PACKETS;

use super::FlowRow;
use crate::record::{FirstPacket, ValueType};

/// A column whose value is a list, with one number for each of the first packets.
pub struct Sequence<T: 'static> {
    /// The column's name, as in NFStream.
    pub name: &'static str,
    /// The type of its values.
    pub kind: ValueType,
    /// The unit of the numbers; empty for none.
    pub unit: &'static str,
    /// The meaning of the list, in one line.
    pub meaning: &'static str,
    /// The numbers.
    pub of: fn(&T) -> [f64; FIRST_PACKETS],
}

/// The value for a missing packet, as in NFStream.
const NO_PACKET: f64 = -1.0;

/// The sequences of a flow. They are never learnt, because they are not columns of a matrix.
#[rustfmt::skip]
pub const FLOW_SEQUENCES: &[Sequence<FlowRow>] = &[
    Sequence { name: "splt_direction", kind: ValueType::Integers, unit: "",
        meaning: "Who sent each of the first packets: 0 the initiator, 1 the responder, -1 no packet",
        of: |row| each(row, |_, packet| f64::from(u8::from(!packet.from_initiator))) },
    Sequence { name: "splt_ps", kind: ValueType::Integers, unit: "bytes",
        meaning: "IP length of each of the first packets, -1 no packet",
        of: |row| each(row, |_, packet| packet.length.into()) },
    Sequence { name: "splt_piat_ms", kind: ValueType::Reals, unit: "ms",
        meaning: "Gap before each of the first packets, 0 for the first, -1 no packet",
        of: |row| each(row, |before, packet| packet.offset_us.saturating_sub(before.offset_us) as f64 / 1e3) },
];

/// The numbers of a list, computed from each packet and its predecessor. The first packet is its own predecessor.
fn each(row: &FlowRow, of: fn(FirstPacket, FirstPacket) -> f64) -> [f64; FIRST_PACKETS] {
    let packets = row.record.first_packets();
    std::array::from_fn(|at| packets.get(at).map_or(NO_PACKET, |packet| of(packets[at.saturating_sub(1)], *packet)))
}
