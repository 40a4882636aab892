//! The flow table in vectors: for capture files, and for tests of the kernel's table.

use bytemuck::Zeroable;
use flowml_common::content::{PayloadChunk, PayloadChunks, PayloadLimit};
use flowml_common::counts::{ColdCounters, Counted, FlowEntry};
use flowml_common::filter::Filter;
use flowml_common::flow::FlowKey;
use flowml_common::table::{Bucket, Head, Seed, Shape, Storage, entry_of, used};
use flowml_common::time::Boundaries;
use flowml_common::tunnel::{Outer, PortList};

/// One partition of the flow table in memory of this process.
pub struct VecTable {
    seed: Seed,
    boundaries: Boundaries,
    head: Head,
    buckets: Vec<Bucket>,
    /// An entry is in use if it has a tag. The system provides the memory of an entry when it is first used, so a large
    /// capacity costs little before there are flows.
    entries: Vec<FlowEntry>,
    cold: Vec<ColdCounters>,
    payload: Option<PayloadLimit>,
    chunks: Vec<PayloadChunk>,
    scratch: PayloadChunk,
    tunnels: Option<PortList>,
    outers: Vec<Outer>,
    filter: Option<Box<Filter>>,
}

impl VecTable {
    /// An empty table with the default timeouts. It keeps no payload.
    #[must_use]
    pub fn new(shape: Shape, seed: Seed) -> Self {
        let buckets = vec![Bucket::zeroed(); shape.buckets as usize];
        let entries = shape.entries() as usize;
        Self {
            seed,
            boundaries: Boundaries::default(),
            head: Head::zeroed(),
            buckets,
            entries: bytemuck::zeroed_vec(entries),
            cold: bytemuck::zeroed_vec(entries),
            payload: None,
            chunks: Vec::new(),
            scratch: PayloadChunk::zeroed(),
            tunnels: None,
            outers: Vec::new(),
            filter: None,
        }
    }

    /// The same table, keeping this number of payload bytes in each direction.
    #[must_use]
    pub fn with_payload(mut self, payload: Option<PayloadLimit>) -> Self {
        let chunks = payload.map_or(0, |limit| self.entries.len() * limit.chunks_of_entry() as usize);
        (self.payload, self.chunks) = (payload, bytemuck::zeroed_vec(chunks));
        self
    }

    /// The same table, looking into the tunnels of these ports and into those without ports.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: Option<PortList>) -> Self {
        let outers = tunnels.map_or(0, |_| self.entries.len());
        (self.tunnels, self.outers) = (tunnels, bytemuck::zeroed_vec(outers));
        self
    }

    /// The same table, with this filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<Filter>) -> Self {
        self.filter = filter.map(Box::new);
        self
    }

    /// The same table, with these boundaries of entries.
    #[must_use]
    pub const fn with_boundaries(mut self, boundaries: Boundaries) -> Self {
        self.boundaries = boundaries;
        self
    }

    /// The counts since the last [`clear`](Self::clear), without the flows.
    #[must_use]
    pub const fn counts(&self) -> &Head {
        &self.head
    }

    /// The number of the entry that the flow has, or would get.
    #[must_use]
    pub fn number(&mut self, key: &FlowKey) -> Option<usize> {
        entry_of(self, key)
    }

    /// The contents of entry `number`, in use or not.
    #[must_use]
    pub fn at(&self, number: usize) -> Counted<'_> {
        counted(&self.entries, &self.cold, self.kept(), self.outers(), number)
    }

    fn kept(&self) -> Option<PayloadChunks<'_>> {
        self.payload.map(|limit| PayloadChunks::new(limit, &self.chunks))
    }

    fn outers(&self) -> Option<&[Outer]> {
        self.tunnels.map(|_| self.outers.as_slice())
    }

    /// The flows since the last [`clear`](Self::clear).
    pub fn flows(&self) -> impl Iterator<Item = Counted<'_>> {
        flows(&self.buckets, &self.entries, &self.cold, self.kept(), self.outers())
    }

    /// Removes all flows and resets the counts.
    pub fn clear(&mut self) {
        self.buckets.fill(Bucket::zeroed());
        self.head = Head::zeroed();
    }
}

/// The flows of a partition.
pub(super) fn flows<'a>(
    buckets: &'a [Bucket],
    entries: &'a [FlowEntry],
    cold: &'a [ColdCounters],
    chunks: Option<PayloadChunks<'a>>,
    outers: Option<&'a [Outer]>,
) -> impl Iterator<Item = Counted<'a>> {
    used(buckets).map(move |number| counted(entries, cold, chunks, outers, number))
}

fn counted<'a>(
    entries: &'a [FlowEntry],
    cold: &'a [ColdCounters],
    chunks: Option<PayloadChunks<'a>>,
    outers: Option<&'a [Outer]>,
    number: usize,
) -> Counted<'a> {
    let FlowEntry { key, counts } = &entries[number];
    let (chunks, outer) = (chunks.map(|chunks| chunks.of_entry(number)), outers.map(|outers| &outers[number]));
    Counted { key, counts, cold: &cold[number], chunks, outer }
}

impl Storage for VecTable {
    type Located = usize;

    fn buckets(&self) -> u32 {
        self.buckets.len() as u32
    }

    fn secret(&self, n: usize) -> u64 {
        self.seed.0[n]
    }

    fn boundaries(&self) -> Boundaries {
        self.boundaries
    }

    fn head(&mut self) -> &mut Head {
        &mut self.head
    }

    fn bucket(&mut self, n: u32) -> Option<&mut Bucket> {
        self.buckets.get_mut(n as usize)
    }

    fn locate(&mut self, n: u32) -> Option<usize> {
        let at = n as usize;
        (at < self.entries.len()).then_some(at)
    }

    fn entry(&mut self, at: usize) -> &mut FlowEntry {
        &mut self.entries[at]
    }

    fn cold(&mut self, n: u32) -> Option<&mut ColdCounters> {
        self.cold.get_mut(n as usize)
    }

    fn payload_limit(&self) -> Option<PayloadLimit> {
        self.payload
    }

    fn scratch(&mut self) -> Option<&mut PayloadChunk> {
        Some(&mut self.scratch)
    }

    fn chunk(&mut self, n: u32) -> Option<&mut PayloadChunk> {
        self.chunks.get_mut(n as usize)
    }

    fn outer(&mut self, n: u32) -> Option<&mut Outer> {
        self.outers.get_mut(n as usize)
    }

    fn tunnels(&self) -> Option<PortList> {
        self.tunnels
    }

    fn filter(&self) -> Option<&Filter> {
        self.filter.as_deref()
    }
}
