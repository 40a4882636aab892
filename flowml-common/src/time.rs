//! Packet times whose differences are whole microseconds, and the times at which entries of the flow table end.

use core::time::Duration;

use bytemuck::{Pod, Zeroable};

/// The time of a packet: its whole microseconds in the upper 54 bits, and the remaining nanoseconds in the lowest ten
/// bits. Stamps compare as their times do.
///
/// An inter-arrival time is the difference of the whole microseconds of two packets. Therefore the inter-arrival times
/// of a flow add up to the difference of its last and first time, whichever CPUs counted the packets. A 64-bit division
/// is the slowest instruction of a kernel program. With stamps a packet needs one division, and an inter-arrival time
/// needs a shift and a subtraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Stamp(u64);

/// Number of bits in a [`Stamp`] for the nanoseconds within the microsecond.
const NS_BITS: u32 = 10;

/// The largest number of microseconds in a [`Stamp`].
const MICROS_MAX: u64 = u64::MAX >> NS_BITS;

impl Stamp {
    /// The latest time. In a capture it is in the year 2540, and later times are stored as this one.
    pub const MAX: Self = Self(MICROS_MAX << NS_BITS);

    /// From a time in ns.
    #[inline(always)]
    #[must_use]
    pub const fn of_ns(ns: u64) -> Self {
        if ns >> 56 != 0 && ns / 1000 > MICROS_MAX {
            return Self::MAX;
        }
        // A microsecond takes 1,024 units instead of 1,000 ns.
        Self(ns + to_micros(ns) * ((1 << NS_BITS) - 1000))
    }

    /// The time in ns.
    #[inline(always)]
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.micros() * 1000 + (self.0 & ((1 << NS_BITS) - 1))
    }

    /// The whole microseconds of the time.
    #[inline(always)]
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0 >> NS_BITS
    }

    /// The later of two times.
    #[inline(always)]
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.0 > other.0 { self } else { other }
    }

    /// The inter-arrival time since `before`, in whole microseconds. `before` must not be later, and the two times must
    /// be less than 2³² µs apart, as those of one epoch are.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn gap_us(self, before: Self) -> u32 {
        self.micros().wrapping_sub(before.micros()) as u32
    }
}

/// Whole microseconds in `ns`, computed with multiplications only. `ns` must be below 2⁵⁶: 833 days for a clock that
/// starts at boot.
///
/// ns / 1000 = (ns / 8) / 125. With ns / 8 = h·2³² + l this is h·34,359,738 + (h·46 + l) / 125, because 2³² =
/// 34,359,738·125 + 46. The last dividend is below 2³² + 46·2²¹, where multiplying by ⌈2³⁷/125⌉ is exact.
#[inline(always)]
#[must_use]
pub const fn to_micros(ns: u64) -> u64 {
    if ns >> 56 != 0 {
        return ns / 1000;
    }
    let (high, low) = (ns >> 35, ns >> 3 & 0xffff_ffff);
    high * 34_359_738 + (((high * 46 + low) * 1_099_511_628) >> 37)
}

/// The times at which an entry of the flow table ends: at a gap that may end a session, and at the end of each *slot*.
/// A session that reaches the active timeout ends at the end of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Boundaries {
    /// The shortest gap that ends an entry, in the unit of a [`Stamp`].
    gap: u64,
    /// Length of a slot in the same unit, a power of two: two times are in one slot if they differ only in lower bits.
    slot: u64,
    /// The smaller of the two.
    least: u64,
}

impl Boundaries {
    /// Boundaries at gaps of at least `gap`, and between slots. The length of a slot is the largest power of two of
    /// microseconds that is not longer than `slot`. Both must be at least 1 µs.
    #[must_use]
    pub const fn new(gap: Duration, slot: Duration) -> Self {
        const fn micros(of: Duration) -> u64 {
            let micros = of.as_micros();
            if micros == 0 {
                1
            } else if micros > MICROS_MAX as u128 {
                MICROS_MAX
            } else {
                micros as u64
            }
        }
        let (gap, slot) = (micros(gap) << NS_BITS, 1 << (micros(slot).ilog2() + NS_BITS));
        Self { gap, slot, least: if gap < slot { gap } else { slot } }
    }

    /// The boundaries from the three numbers of [`Self::words`]. The agent passes these numbers to the kernel program.
    #[must_use]
    pub const fn of_words([gap, slot, least]: [u64; 3]) -> Self {
        Self { gap, slot, least }
    }

    /// The numbers `[gap, slot, least]`, in the unit of a [`Stamp`].
    #[must_use]
    pub const fn words(self) -> [u64; 3] {
        [self.gap, self.slot, self.least]
    }

    /// Whether there is a boundary after `before` and not after `now`. `now` must not be earlier than `before`.
    #[inline(always)]
    #[must_use]
    pub const fn separate(self, before: Stamp, now: Stamp) -> bool {
        // The exclusive or is never smaller than the difference. For most packets one comparison shows that there is no
        // boundary.
        let changed = now.0 ^ before.0;
        changed >= self.least && (changed >= self.slot || now.0.wrapping_sub(before.0) >= self.gap)
    }

    /// Whether two times are in one slot.
    #[inline(always)]
    #[must_use]
    pub const fn in_one_slot(self, one: Stamp, other: Stamp) -> bool {
        one.0 ^ other.0 < self.slot
    }

    /// Length of a slot.
    #[must_use]
    pub const fn slot(self) -> Duration {
        Duration::from_micros(self.slot >> NS_BITS)
    }

    /// Start of the first slot that starts at `ns` or later, in ns.
    #[must_use]
    pub const fn slot_from(self, ns: u64) -> u64 {
        let slot_ns = (self.slot >> NS_BITS).saturating_mul(1000);
        ns.div_ceil(slot_ns).saturating_mul(slot_ns)
    }
}

impl Default for Boundaries {
    /// The boundaries of the default timeouts.
    fn default() -> Self {
        Self::new(Duration::from_secs(2), Duration::from_millis(7500))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_boundary_is_a_long_gap_or_the_end_of_a_slot(
            gap in 1..1u64 << 40,
            slot in 1..1u64 << 40,
            before in 0..1u64 << 55,
            // Inter-arrival times of all magnitudes: short ones are as frequent as long ones.
            later in (0..1u64 << 42, 0..42u32).prop_map(|(ns, shift)| ns >> shift),
        ) {
            let boundaries = Boundaries::new(Duration::from_nanos(gap), Duration::from_nanos(slot));
            let (one, other) = (Stamp::of_ns(before), Stamp::of_ns(before + later));
            let micros = (slot / 1000).max(1);
            let slot = 1 << micros.ilog2();
            // The whole microseconds and the nanoseconds within the microsecond, in separate bits, as in a stamp.
            let units = |stamp: Stamp| (stamp.micros() << NS_BITS) + stamp.ns() % 1000;
            let gap = (gap / 1000).max(1) << NS_BITS;
            let expected = units(other) - units(one) >= gap || one.micros() / slot != other.micros() / slot;
            prop_assert_eq!(boundaries.separate(one, other), expected);
        }
    }
}
