//! The first payload bytes of each direction of a flow: how many are kept, where they lie, and whose they are when
//! parts are joined.
//!
//! Kept is the payload of the first packet with payload that a direction has, up to a limit, not reassembled. The bytes
//! lie in [`Piece`]s beside the flow table, their time and number in [`FlowRarities`](crate::counts::FlowRarities).

use core::fmt;

use bytemuck::{Pod, Zeroable};

use crate::packet::Sender;

/// The unit in which room for payload is set aside: a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Piece([u64; 8]);

impl Piece {
    /// Bytes of a piece.
    pub const BYTES: u32 = size_of::<Self>() as u32;
}

/// How many payload bytes of each direction are kept: 1 to [`MAX`](Self::MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimit(u32);

impl PayloadLimit {
    /// The most. A TLS `ClientHello` of today is longer, but most put the server's name before this.
    pub const MAX: u32 = 256;

    /// A limit in bytes; `None` of 0, for which nothing is kept, and of more than [`MAX`](Self::MAX).
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

    /// Pieces that the bytes of one direction take.
    #[inline(always)]
    #[must_use]
    pub const fn pieces(self) -> u32 {
        self.0.div_ceil(Piece::BYTES)
    }

    /// Pieces that an entry takes.
    #[inline(always)]
    #[must_use]
    pub const fn pieces_of_entry(self) -> u32 {
        2 * self.pieces()
    }

    /// The first piece of a direction of entry `number`.
    #[inline(always)]
    #[must_use]
    pub const fn first_piece(self, number: u32, sender: u32) -> u32 {
        (2 * number + sender) * self.pieces()
    }
}

/// All bytes of a frame, wherever they lie.
pub trait FrameBytes {
    /// How many there are: of a snapped frame, those that were captured.
    fn there(&self) -> u32;

    /// Copies `count` bytes (1 to [`Piece::BYTES`]) from `offset` on to the begin of `piece`; says whether it did. They
    /// are within [`there`](Self::there).
    fn copy(&self, offset: u32, count: u32, piece: &mut Piece) -> bool;
}

impl FrameBytes for &[u8] {
    fn there(&self) -> u32 {
        self.len() as u32
    }

    fn copy(&self, offset: u32, count: u32, piece: &mut Piece) -> bool {
        let (from, count) = (offset as usize, count as usize);
        let place = bytemuck::bytes_of_mut(piece).get_mut(..count);
        let Some((place, bytes)) = place.zip(self.get(from..from + count)) else { return false };
        place.copy_from_slice(bytes);
        true
    }
}

/// The payload of a direction's first packet with payload, up to the limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content<'a> {
    /// When the packet came, ns.
    pub time_ns: u64,
    /// The bytes; none where the capture has none of them.
    pub bytes: &'a [u8],
}

/// Payload is nobody's business: its length is told.
impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ns", self.bytes.len(), self.time_ns)
    }
}

/// The contents of both directions, indexed by [`Sender`]; `None` of a direction without payload.
pub type Contents<'a> = [Option<Content<'a>>; 2];

impl Content<'_> {
    /// The content of a direction that was counted in two parts: that of the earlier packet. Commutative and associative;
    /// of packets at the same time, that with the lesser bytes.
    #[must_use]
    pub fn merge(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// The pieces of a partition's entries.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    limit: PayloadLimit,
    pieces: &'a [Piece],
}

impl<'a> Pieces<'a> {
    /// The pieces of all entries, in their order.
    #[must_use]
    pub const fn new(limit: PayloadLimit, pieces: &'a [Piece]) -> Self {
        Self { limit, pieces }
    }

    /// The pieces of one entry.
    #[must_use]
    pub fn of_entry(&self, number: usize) -> EntryPieces<'a> {
        let count = self.limit.pieces_of_entry() as usize;
        EntryPieces { pieces: self.pieces.get(number * count..(number + 1) * count).unwrap_or_default() }
    }
}

/// The pieces of one entry: half of them are the first endpoint's.
#[derive(Clone, Copy)]
pub struct EntryPieces<'a> {
    pieces: &'a [Piece],
}

impl fmt::Debug for EntryPieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pieces", self.pieces.len())
    }
}

impl<'a> EntryPieces<'a> {
    /// The pieces of both endpoints, to be copied.
    #[must_use]
    pub const fn all(self) -> &'a [Piece] {
        self.pieces
    }

    /// The first `count` bytes of what an endpoint sent.
    pub(crate) fn bytes(self, sender: Sender, count: u16) -> &'a [u8] {
        let (lower, upper) = self.pieces.split_at(self.pieces.len() / 2);
        let bytes: &[u8] = bytemuck::must_cast_slice(if sender == Sender::Lower { lower } else { upper });
        bytes.get(..usize::from(count)).unwrap_or_default()
    }
}
