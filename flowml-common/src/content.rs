//! The first payload bytes of each direction of a flow: the limit, the storage, and merging over partial flows.
//!
//! flowml keeps the payload of the first packet with payload in each direction, up to a limit. It does not reassemble
//! streams. The bytes are in payload chunks ([`PayloadChunk`]) beside the flow table. Their time and count are in
//! [`ColdCounters`](crate::counts::ColdCounters).

use core::fmt;

use bytemuck::{Pod, Zeroable};

use crate::flow::Sender;

/// A payload chunk: 64 bytes, one cache line. Space for payload is allocated in this unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct PayloadChunk([u64; 8]);

impl PayloadChunk {
    /// Size of a chunk, in bytes.
    pub const BYTES: u32 = size_of::<Self>() as u32;
}

/// The number of payload bytes that are kept for each direction: 1 to [`MAX`](Self::MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimit(u32);

impl PayloadLimit {
    /// The largest limit, in bytes. A TLS `ClientHello` is often longer, but most have the server name within these
    /// bytes.
    pub const MAX: u32 = 256;

    /// A limit in bytes. Returns `None` for 0 (nothing is kept) and for more than [`MAX`](Self::MAX).
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes == 0 || bytes > Self::MAX { None } else { Some(Self(bytes)) }
    }

    /// The limit in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Number of chunks for the bytes of one direction.
    #[inline(always)]
    #[must_use]
    pub const fn chunks(self) -> u32 {
        self.0.div_ceil(PayloadChunk::BYTES)
    }

    /// Number of chunks for one entry, both directions.
    #[inline(always)]
    #[must_use]
    pub const fn chunks_of_entry(self) -> u32 {
        2 * self.chunks()
    }

    /// Index of the first chunk for direction `sender` of entry `number`.
    #[inline(always)]
    #[must_use]
    pub const fn first_chunk(self, number: u32, sender: u32) -> u32 {
        (2 * number + sender) * self.chunks()
    }
}

/// All bytes of a frame, whatever memory they are in.
pub trait FrameBytes {
    /// Number of bytes. For a snapped frame these are the captured bytes.
    fn there(&self) -> u32;

    /// Copies `count` bytes (1 to [`PayloadChunk::BYTES`]) at `offset` to the start of `chunk`, and returns whether it
    /// succeeded. The bytes must be within [`there`](Self::there).
    fn copy(&self, offset: u32, count: u32, chunk: &mut PayloadChunk) -> bool;
}

impl FrameBytes for &[u8] {
    fn there(&self) -> u32 {
        self.len() as u32
    }

    fn copy(&self, offset: u32, count: u32, chunk: &mut PayloadChunk) -> bool {
        let (from, count) = (offset as usize, count as usize);
        let place = bytemuck::bytes_of_mut(chunk).get_mut(..count);
        let Some((place, bytes)) = place.zip(self.get(from..from + count)) else { return false };
        place.copy_from_slice(bytes);
        true
    }
}

/// The payload of the first packet with payload in one direction, up to the limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content<'a> {
    /// Time of the packet, in ns.
    pub time_ns: u64,
    /// The bytes. Empty if the capture has none of them.
    pub bytes: &'a [u8],
}

/// Payload is private: only its length and time are shown.
impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ns", self.bytes.len(), self.time_ns)
    }
}

/// The contents of both directions, indexed by [`Sender`]. `None` for a direction without payload.
pub type Contents<'a> = [Option<Content<'a>>; 2];

impl Content<'_> {
    /// The content of a direction that was counted in two partial flows: that of the earlier packet. If both packets
    /// have the same time, the smaller bytes win. The function is commutative and associative.
    #[must_use]
    pub fn merge(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// The payload chunks of a partition's entries.
#[derive(Clone, Copy, Debug)]
pub struct PayloadChunks<'a> {
    limit: PayloadLimit,
    chunks: &'a [PayloadChunk],
}

impl<'a> PayloadChunks<'a> {
    /// `chunks` are the chunks of all entries, in the order of the entries.
    #[must_use]
    pub const fn new(limit: PayloadLimit, chunks: &'a [PayloadChunk]) -> Self {
        Self { limit, chunks }
    }

    /// The chunks of one entry.
    #[must_use]
    pub fn of_entry(&self, number: usize) -> EntryChunks<'a> {
        let count = self.limit.chunks_of_entry() as usize;
        EntryChunks { chunks: self.chunks.get(number * count..(number + 1) * count).unwrap_or_default() }
    }
}

/// The payload chunks of one entry. The first half belongs to the first endpoint.
#[derive(Clone, Copy)]
pub struct EntryChunks<'a> {
    chunks: &'a [PayloadChunk],
}

impl fmt::Debug for EntryChunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chunks", self.chunks.len())
    }
}

impl<'a> EntryChunks<'a> {
    /// The chunks of both endpoints, to be copied.
    #[must_use]
    pub const fn all(self) -> &'a [PayloadChunk] {
        self.chunks
    }

    /// The first `count` bytes of the payload that an endpoint sent.
    pub(crate) fn bytes(self, sender: Sender, count: u16) -> &'a [u8] {
        let (lower, upper) = self.chunks.split_at(self.chunks.len() / 2);
        let bytes: &[u8] = bytemuck::must_cast_slice(if sender == Sender::Lower { lower } else { upper });
        bytes.get(..usize::from(count)).unwrap_or_default()
    }
}
