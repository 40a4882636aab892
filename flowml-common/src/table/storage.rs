//! The memory of a partition.

use crate::content::{PayloadChunk, PayloadLimit};
use crate::counts::{ColdCounters, FlowEntry};
use crate::filter::Filter;
use crate::time::Boundaries;
use crate::tunnel::{Outer, PortList};

use super::bucket::Bucket;
use super::head::Head;

/// The memory of a partition. An accessor returns `None` only if a number is out of range. This does not happen, but
/// the kernel's verifier requires the branch.
pub trait Storage {
    /// The location of an entry: the result of one lookup.
    type Located: Copy;
    /// Number of buckets.
    fn buckets(&self) -> u32;
    /// Word `n` of the secret of the hash. One at a time, because kernel programs have few registers.
    fn secret(&self, n: usize) -> u64;
    /// The boundaries at which an entry ends.
    fn boundaries(&self) -> Boundaries;
    /// The counters.
    fn head(&mut self) -> &mut Head;
    /// Bucket `n`.
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket>;
    /// The location of entry `n` (see [`entry_number`](super::entry_number)).
    fn locate(&mut self, n: u32) -> Option<Self::Located>;
    /// The entry at a location.
    fn entry(&mut self, at: Self::Located) -> &mut FlowEntry;
    /// The cold counters of entry `n`.
    fn cold(&mut self, n: u32) -> Option<&mut ColdCounters>;
    /// The limit of kept payload; `None` if none is kept.
    fn payload_limit(&self) -> Option<PayloadLimit>;
    /// Memory for use while a packet is processed. Its contents are arbitrary.
    fn scratch(&mut self) -> Option<&mut PayloadChunk>;
    /// Payload chunk `n` (see [`PayloadLimit::first_chunk`]).
    fn chunk(&mut self, n: u32) -> Option<&mut PayloadChunk>;
    /// The tunnel of entry `n`, if tunnels are looked into.
    fn outer(&mut self, n: u32) -> Option<&mut Outer>;
    /// The ports of the tunnels that are looked into; `None` if the outer flow is the flow.
    fn tunnels(&self) -> Option<PortList> {
        None
    }
    /// The filter of packets; `None` if all packets are counted in flows. Kernel programs evaluate theirs before the table.
    fn filter(&self) -> Option<&Filter> {
        None
    }
}
