//! Sums up flows as a reader does, in the same way for both sides.

use std::hint::black_box;

use anyhow::{Result, ensure};
use bytemuck::must_cast_ref;
use flowml_common::counts::{ColdCounters, Counted, FlowCounts};
use flowml_common::flow::FlowKey;

/// The sum of all flows. Every word of key and statistics is read for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Smallest and largest number of packets of a flow.
    pub(crate) per_flow: Option<(u64, u64)>,
    words: u64,
}

impl Total {
    pub(crate) fn add(&mut self, flow: Counted<'_>) {
        let packets = flow.counts.packets();
        self.flows += 1;
        self.packets += packets;
        self.bytes += flow.counts.frame_bytes();
        let (least, most) = self.per_flow.unwrap_or((packets, packets));
        self.per_flow = Some((least.min(packets), most.max(packets)));
        let key: &[u64; size_of::<FlowKey>() / 8] = must_cast_ref(flow.key);
        let counts: &[u64; size_of::<FlowCounts>() / 8] = must_cast_ref(flow.counts);
        let cold: &[u64; size_of::<ColdCounters>() / 8] = must_cast_ref(flow.cold);
        let words = key.iter().chain(counts).chain(cold);
        self.words = words.fold(self.words, |sum, word| sum.wrapping_add(*word));
    }

    /// The same sum for the flows after the entries of each flow are joined: their number, and their range of packets.
    pub(crate) const fn joined(self, flows: u64, per_flow: Option<(u64, u64)>) -> Self {
        Self { flows, per_flow, ..self }
    }

    /// Fails unless there are this many flows of this many packets each, in frames of this length.
    pub(crate) fn expect(&self, whose: &str, flows: u32, packets_each: u64, frame: usize) -> Result<()> {
        let packets = u64::from(flows) * packets_each;
        let expected = Self {
            flows: flows.into(),
            packets,
            bytes: packets * frame as u64,
            per_flow: Some((packets_each, packets_each)),
            words: self.words,
        };
        ensure!(*self == expected, "{whose} has {self:?}, expected {expected:?}");
        // The sum exists only for its reads. The compiler must not remove it.
        black_box(self.words);
        Ok(())
    }
}
