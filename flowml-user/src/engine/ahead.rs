//! Holds frames back until it is known whether their interface's clock is ahead or time has passed.

use std::collections::BTreeMap;

use crate::capture::file::Captured;
use crate::capture::file::link::LinkType;

/// Maximum memory of held frames, bytes. It is exceeded only if a single interface is seen, and then no alignment is
/// needed.
const MOST: usize = 16 << 20;

/// Approximate memory of a frame besides its bytes, bytes.
const OVERHEAD: usize = 64;

/// A copy of a frame. The reader overwrites the original with later bytes of the file.
struct Held {
    time_ns: u64,
    length: u32,
    interface: u32,
    link: LinkType,
    bytes: Box<[u8]>,
}

/// The held frames, in their order in the file.
#[derive(Default)]
pub(super) struct Ahead {
    frames: Vec<Held>,
    bytes: usize,
}

impl Ahead {
    pub(super) const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes > MOST
    }

    pub(super) fn push(&mut self, captured: &Captured<'_>) {
        let Captured { time_ns, length, interface, link, bytes } = *captured;
        self.bytes += bytes.len() + OVERHEAD;
        self.frames.push(Held { time_ns, length, interface, link, bytes: bytes.into() });
    }

    /// The first and last time of each interface.
    pub(super) fn spans(&self) -> BTreeMap<u32, [u64; 2]> {
        let mut spans = BTreeMap::new();
        for frame in &self.frames {
            spans.entry(frame.interface).or_insert([frame.time_ns; 2])[1] = frame.time_ns;
        }
        spans
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = Captured<'_>> {
        self.frames.iter().map(|frame| {
            let Held { time_ns, length, interface, link, ref bytes } = *frame;
            Captured { time_ns, length, interface, link, bytes }
        })
    }
}
