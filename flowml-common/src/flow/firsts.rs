//! The first packets of a flow, individually.

/// Number of packets at the start of a flow that are kept individually.
pub const FIRST_PACKETS: usize = 8;

/// The first packets of a flow, of both directions, individually.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstPackets {
    /// Number of packets.
    pub count: u8,
    /// Bit n is set if the upper endpoint sent packet n.
    pub upper: u8,
    /// Bit n is set if packet n had payload.
    pub payload: u8,
    /// Time of each packet since the flow's first packet, in µs. Both times are rounded down to µs before the
    /// subtraction.
    pub offset_us: [u64; FIRST_PACKETS],
    /// IP total length of each packet, in bytes.
    pub length: [u16; FIRST_PACKETS],
}

impl FirstPackets {
    /// Packet `at` as (time in µs, sent by the upper endpoint, length, had payload). Merging sorts by this tuple.
    fn get(&self, at: usize, first_us: u64) -> (u64, bool, u16, bool) {
        let bit = |mask: u8| mask >> at & 1 == 1;
        (first_us + self.offset_us[at], bit(self.upper), self.length[at], bit(self.payload))
    }

    /// The first packets of both, by time, with offsets from the earlier of the two starts.
    ///
    /// Packets within the same microsecond are in the order of [`get`](Self::get), whichever partial flow they are
    /// from.
    pub(super) fn merge(&self, first_us: u64, other: &Self, other_first_us: u64) -> Self {
        let mut all = [(u64::MAX, false, 0, false); 2 * FIRST_PACKETS];
        let (mine, theirs) = (usize::from(self.count), usize::from(other.count));
        for (at, packet) in all.iter_mut().take(mine).enumerate() {
            *packet = self.get(at, first_us);
        }
        for (at, packet) in all.iter_mut().skip(mine).take(theirs).enumerate() {
            *packet = other.get(at, other_first_us);
        }
        all.sort_unstable();
        let mut merged = Self::default();
        for packet in all.iter().take((mine + theirs).min(FIRST_PACKETS)) {
            merged.append(*packet, first_us.min(other_first_us));
        }
        merged
    }

    /// These packets, followed by as many of `next` as there is room for.
    pub(super) fn follow(&self, first_us: u64, next: &Self, next_first_us: u64) -> Self {
        let mut followed = *self;
        for at in 0..usize::from(next.count).min(FIRST_PACKETS - usize::from(self.count)) {
            followed.append(next.get(at, next_first_us), first_us);
        }
        followed
    }

    /// Appends a packet in the form of [`get`](Self::get). There must be fewer than [`FIRST_PACKETS`].
    fn append(&mut self, (time_us, upper, length, payload): (u64, bool, u16, bool), first_us: u64) {
        let at = usize::from(self.count);
        self.offset_us[at] = time_us - first_us;
        self.length[at] = length;
        self.upper |= u8::from(upper) << at;
        self.payload |= u8::from(payload) << at;
        self.count += 1;
    }
}
