//! A copy of the counters and flows of one epoch. When the copy is complete, the flow table can be used again.

use bytemuck::Zeroable;
use flowml_common::content::{PayloadChunk, PayloadChunks, PayloadLimit};
use flowml_common::counts::{ColdCounters, Counted, FlowEntry};
use flowml_common::table::{Count, Head};
use flowml_common::tunnel::Outer;

/// The counters and flows of an epoch in separate memory, which can be reused.
pub struct Copied {
    /// Time of the epoch's end, in ns of the clock of the packets' times.
    pub time_ns: u64,
    /// The counters of all CPUs together.
    pub head: Head,
    /// Occupancy of the fullest partition, 0 to 1.
    pub occupancy: f64,
    /// Whether the epoch started before this agent did.
    pub inherited: bool,
    /// Number of drains by all agents, including this one.
    pub drains: u64,
    entries: Vec<FlowEntry>,
    cold: Vec<ColdCounters>,
    payload: Option<PayloadLimit>,
    chunks: Vec<PayloadChunk>,
    /// The tunnels of the flows. Empty if tunnels are not looked into.
    outers: Vec<Outer>,
    /// Packets and bytes in flows.
    pub in_flows: Count,
}

impl Copied {
    /// An empty copy, for a table that keeps this amount of payload.
    #[must_use]
    pub fn new(payload: Option<PayloadLimit>) -> Self {
        Self {
            time_ns: 0,
            head: Head::zeroed(),
            occupancy: 0.0,
            inherited: false,
            drains: 0,
            entries: Vec::new(),
            cold: Vec::new(),
            payload,
            chunks: Vec::new(),
            outers: Vec::new(),
            in_flows: Count::default(),
        }
    }

    /// Replaces the flows by a copy of `flows`.
    pub fn fill<'a>(&mut self, flows: impl Iterator<Item = Counted<'a>>) {
        self.entries.clear();
        self.cold.clear();
        self.chunks.clear();
        self.outers.clear();
        self.in_flows = Count::default();
        for Counted { key, counts, cold, chunks, outer } in flows {
            self.in_flows.add(counts.packets(), counts.frame_bytes());
            self.entries.push(FlowEntry { key: *key, counts: *counts });
            self.cold.push(*cold);
            if let Some(chunks) = chunks {
                self.chunks.extend_from_slice(chunks.all());
            }
            self.outers.extend(outer);
        }
    }

    /// The flows, in the order in which they were copied.
    pub fn flows(&self) -> impl Iterator<Item = Counted<'_>> {
        let chunks = self.payload.map(|limit| PayloadChunks::new(limit, &self.chunks));
        let both = self.entries.iter().zip(&self.cold).enumerate();
        both.map(move |(number, (FlowEntry { key, counts }, cold))| Counted {
            key,
            counts,
            cold,
            chunks: chunks.map(|chunks| chunks.of_entry(number)),
            outer: self.outers.get(number),
        })
    }

    /// Size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(self.entries.as_slice())
            + size_of_val(self.cold.as_slice())
            + size_of_val(self.chunks.as_slice())
            + size_of_val(self.outers.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use flowml_common::packet::{Frame, Hook};
    use flowml_common::table::{Metered, Seed, Shape, meter};

    use super::*;
    use crate::capture::vectors::VecTable;

    /// A UDP datagram (RFC 768 over RFC 791) from this port, with a payload of one byte.
    fn datagram(port: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, port, 0, 53, 0, 9, 0, 0, port]);
        frame
    }

    #[test]
    fn a_copy_contains_the_flows_of_its_table_and_no_earlier_ones() {
        for payload in [None, PayloadLimit::new(100)] {
            let mut copied = Copied::new(payload);
            for ports in [1..200_u8, 3..7] {
                let seed = Seed(std::array::from_fn(|at| 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(at as u64 + 1)));
                let mut table = VecTable::new(Shape::for_capacity(1024), seed).with_payload(payload);
                for port in ports {
                    let bytes = datagram(port);
                    let length = bytes.len() as u32;
                    let frame = Frame {
                        time_ns: 5,
                        length,
                        interface: 1,
                        hook: Hook::File,
                        stripped_vlan: None,
                        segments: None,
                    };
                    assert_eq!(meter(&mut table, &frame, bytes.as_slice()), Metered::Counted);
                }
                copied.fill(table.flows());
                let shown = |flow: Counted<'_>| {
                    let part = flow.partial_flow();
                    (part.key, part.stats, flow.chunks.map(|chunks| chunks.all().to_vec()))
                };
                assert!(copied.flows().map(shown).eq(table.flows().map(shown)));
            }
        }
    }
}
