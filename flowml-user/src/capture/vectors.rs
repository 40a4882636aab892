//! The flow table in vectors: for capture files, and as the kernel's table on trial.

use bytemuck::Zeroable;
use flowml_common::flow::FlowEntry;
use flowml_common::table::{Bucket, Head, Seed, Shape, Storage};

/// One partition of the flow table in memory of its own.
pub struct VecTable {
    shape: Shape,
    seed: Seed,
    head: Head,
    buckets: Vec<Bucket>,
    /// Grows with use: a large capacity costs nothing until flows come.
    entries: Vec<FlowEntry>,
}

impl VecTable {
    /// An empty table.
    #[must_use]
    pub fn new(shape: Shape, seed: Seed) -> Self {
        let buckets = vec![Bucket::zeroed(); shape.buckets as usize];
        Self { shape, seed, head: Head::zeroed(), buckets, entries: Vec::new() }
    }

    /// What has been counted since the last [`drain`](Self::drain), but for the flows.
    #[must_use]
    pub const fn counts(&self) -> &Head {
        &self.head
    }

    /// The flows since the last [`drain`](Self::drain).
    #[must_use]
    pub fn entries(&self) -> &[FlowEntry] {
        &self.entries
    }

    /// Empties the table: what it counted, and its flows.
    pub fn drain(&mut self) -> (Head, Vec<FlowEntry>) {
        self.buckets.fill(Bucket::zeroed());
        let entries = std::mem::take(&mut self.entries);
        (std::mem::replace(&mut self.head, Head::zeroed()), entries)
    }
}

impl Storage for VecTable {
    type Located = usize;

    fn capacity(&self) -> u32 {
        self.shape.entries
    }

    fn buckets(&self) -> u32 {
        self.shape.buckets
    }

    fn secret(&self, n: usize) -> u64 {
        self.seed.0[n]
    }

    fn head(&mut self) -> &mut Head {
        &mut self.head
    }

    fn bucket(&mut self, n: u32) -> Option<&mut Bucket> {
        self.buckets.get_mut(n as usize)
    }

    fn first_entry(&self) -> u32 {
        0
    }

    fn locate(&mut self, n: u32) -> Option<usize> {
        let at = n as usize;
        if at == self.entries.len() && n < self.shape.entries {
            self.entries.push(FlowEntry::zeroed());
        }
        (at < self.entries.len()).then_some(at)
    }

    fn entry(&mut self, at: usize) -> &mut FlowEntry {
        &mut self.entries[at]
    }
}
