//! Times whose differences are whole microseconds, and the boundaries in time that no entry of the flow table goes over.

use core::time::Duration;

use bytemuck::{Pod, Zeroable};

/// The time of a packet: its whole microseconds, and in the lowest ten bits the nanoseconds behind them. It has the order
/// of the times.
///
/// The gap between two packets is the difference of their whole microseconds, so the gaps of a flow add up to the
/// difference of its last and its first time, whoever counted them. A 64-bit division is the slowest instruction that a
/// kernel program has: a time is divided once for each packet, and a gap is a shift and a subtraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Stamp(u64);

/// Bits of a [`Stamp`] for the nanoseconds behind the microsecond.
const NS_BITS: u32 = 10;

/// The largest number of microseconds in a [`Stamp`].
const MICROS_MAX: u64 = u64::MAX >> NS_BITS;

impl Stamp {
    /// The latest time, in the year 2540 of a capture: later ones count as this one.
    pub const MAX: Self = Self(MICROS_MAX << NS_BITS);

    /// From ns.
    #[inline(always)]
    #[must_use]
    pub const fn of_ns(ns: u64) -> Self {
        if ns >> 56 != 0 && ns / 1000 > MICROS_MAX {
            return Self::MAX;
        }
        // Instead of 1,000 ns a microsecond takes 1,024.
        Self(ns + to_micros(ns) * ((1 << NS_BITS) - 1000))
    }

    /// In ns.
    #[inline(always)]
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.micros() * 1000 + (self.0 & ((1 << NS_BITS) - 1))
    }

    /// The whole microseconds.
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

    /// The gap from `before`, which is not later, in whole microseconds; for times of one epoch, less than 2³² µs apart.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn gap_us(self, before: Self) -> u32 {
        self.micros().wrapping_sub(before.micros()) as u32
    }
}

/// Whole microseconds in `ns`, below 2⁵⁶ (833 days of a clock that begins with the system) by multiplications alone.
///
/// ns / 1000 = (ns / 8) / 125, and with ns / 8 = h·2³² + l that is h·34,359,738 + (h·46 + l) / 125, as
/// 2³² = 34,359,738·125 + 46. The last dividend is below 2³² + 46·2²¹, where multiplying by ⌈2³⁷/125⌉ is exact.
#[inline(always)]
#[must_use]
pub const fn to_micros(ns: u64) -> u64 {
    if ns >> 56 != 0 {
        return ns / 1000;
    }
    let (high, low) = (ns >> 35, ns >> 3 & 0xffff_ffff);
    high * 34_359_738 + (((high * 46 + low) * 1_099_511_628) >> 37)
}

/// Where in time an entry of the flow table ends: at a gap that may end a session, and at the end of each *slot*, of
/// which a record ends at one by the active timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Boundaries {
    /// In the unit of a [`Stamp`].
    gap: u64,
    /// A power of two, likewise: two times are in one slot where they differ in lower bits alone.
    slot: u64,
    /// The smaller of both.
    least: u64,
}

impl Boundaries {
    /// Boundaries at gaps of `gap` and more, and between slots of the largest power of two of microseconds that is in
    /// `slot`. Both are at least a microsecond.
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

    /// Those with these bytes, which the agent replaces.
    #[must_use]
    pub const fn of_words([gap, slot, least]: [u64; 3]) -> Self {
        Self { gap, slot, least }
    }

    /// As words.
    #[must_use]
    pub const fn words(self) -> [u64; 3] {
        [self.gap, self.slot, self.least]
    }

    /// Whether there is a boundary behind `before` and not behind `now`, which is not earlier.
    #[inline(always)]
    #[must_use]
    pub const fn part(self, before: Stamp, now: Stamp) -> bool {
        // No difference is larger than the exclusive or: one comparison says of most packets that there is none.
        let changed = now.0 ^ before.0;
        changed >= self.least && (changed >= self.slot || now.0.wrapping_sub(before.0) >= self.gap)
    }

    /// Whether two times are in one slot.
    #[inline(always)]
    #[must_use]
    pub const fn in_one_slot(self, one: Stamp, other: Stamp) -> bool {
        one.0 ^ other.0 < self.slot
    }

    /// How long a slot is.
    #[must_use]
    pub const fn slot(self) -> Duration {
        Duration::from_micros(self.slot >> NS_BITS)
    }

    /// When the first slot begins that begins at `ns` or later, ns.
    #[must_use]
    pub const fn slot_from(self, ns: u64) -> u64 {
        let slot_ns = (self.slot >> NS_BITS).saturating_mul(1000);
        ns.div_ceil(slot_ns).saturating_mul(slot_ns)
    }
}

impl Default for Boundaries {
    /// Those of the default timeouts.
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
            // Of all sizes: as often short as long.
            later in (0..1u64 << 42, 0..42u32).prop_map(|(ns, shift)| ns >> shift),
        ) {
            let boundaries = Boundaries::new(Duration::from_nanos(gap), Duration::from_nanos(slot));
            let (one, other) = (Stamp::of_ns(before), Stamp::of_ns(before + later));
            let micros = (slot / 1000).max(1);
            let slot = 1 << micros.ilog2();
            // Whole microseconds on their own, and nanoseconds on theirs, as a stamp has them.
            let units = |stamp: Stamp| (stamp.micros() << NS_BITS) + stamp.ns() % 1000;
            let gap = (gap / 1000).max(1) << NS_BITS;
            let expected = units(other) - units(one) >= gap || one.micros() / slot != other.micros() / slot;
            prop_assert_eq!(boundaries.part(one, other), expected);
        }
    }
}
