//! The statistics of an open record in little memory.
//!
//! Most sessions have few packets, and an agent keeps up to millions of them. So counters are kept in narrow fields
//! while their values fit. This also loads fewer cache lines for each partial flow.

use flowml_common::flow::{Direction, FIRST_PACKETS, FirstPackets, FlowStats, LENGTH_BINS, NO_SAMPLE, Opening, SYN};
use flowml_common::headers::Mac;
use serde::{Deserialize, Serialize};

use super::connection::bit;
use super::initiator::Signs;

/// The statistics of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "FlowStats", into = "FlowStats")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all records are narrow, and a box would be one more access to memory"
)]
pub(super) enum Statistics {
    /// All values fit into narrow fields.
    Narrow(Narrow),
    /// The values of a long flow. It stays wide until the record ends.
    Wide(Box<FlowStats>),
}

/// A value in a type of fewer bits than `W`.
trait Fit<W>: Sized {
    /// The value in this type. `None` if it does not fit.
    fn fit(wide: &W) -> Option<Self>;
    /// The value in its own type.
    fn widen(&self) -> W;
}

/// Integers in other integers.
macro_rules! fit {
    ($($wide:ty => $($narrow:ty)*;)*) => { $($(
        impl Fit<$wide> for $narrow {
            #[inline(always)]
            fn fit(wide: &$wide) -> Option<Self> {
                Self::try_from(*wide).ok()
            }
            #[inline(always)]
            fn widen(&self) -> $wide {
                <$wide>::from(*self)
            }
        }
    )*)* };
}

fit! {
    u8 => u8;
    u16 => u16;
    u32 => u16;
    u64 => u8 u16 u32 u64;
    u128 => u64;
}

impl<W, N: Fit<W>, const LENGTH: usize> Fit<[W; LENGTH]> for [N; LENGTH] {
    #[inline(always)]
    fn fit(wide: &[W; LENGTH]) -> Option<Self> {
        let fitted = wide.each_ref().map(N::fit);
        if fitted.iter().all(Option::is_some) { Some(fitted.map(|value| value.expect("all are some"))) } else { None }
    }
    #[inline(always)]
    fn widen(&self) -> [W; LENGTH] {
        self.each_ref().map(N::widen)
    }
}

impl Fit<Option<Opening>> for Option<Opening> {
    fn fit(wide: &Self) -> Option<Self> {
        Some(*wide)
    }
    fn widen(&self) -> Self {
        *self
    }
}

/// A smallest inter-arrival time in µs, or [`NO_SAMPLE`], which is the largest value in both types.
#[derive(Clone, Copy, Debug)]
struct Gap(u32);

impl Fit<u64> for Gap {
    #[inline(always)]
    fn fit(wide: &u64) -> Option<Self> {
        match *wide {
            NO_SAMPLE => Some(Self(u32::MAX)),
            gap => u32::try_from(gap).ok().filter(|gap| *gap < u32::MAX).map(Self),
        }
    }
    #[inline(always)]
    fn widen(&self) -> u64 {
        if self.0 == u32::MAX { NO_SAMPLE } else { u64::from(self.0) }
    }
}

/// Structs with the fields of others in narrow types.
macro_rules! narrow {
    ($($(#[$doc:meta])* $name:ident of $wide:ident { $($field:ident: $type:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $($field: $type,)*
        }

        impl Fit<$wide> for $name {
            #[inline(always)]
            fn fit(wide: &$wide) -> Option<Self> {
                Some(Self { $($field: Fit::fit(&wide.$field)?,)* })
            }
            #[inline(always)]
            fn widen(&self) -> $wide {
                $wide { $($field: self.$field.widen(),)* }
            }
        }
    )* };
}

narrow! {
    /// The first packets of a flow within 71 minutes.
    NarrowFirsts of FirstPackets {
        count: u8,
        upper: u8,
        payload: u8,
        offset_us: [u32; FIRST_PACKETS],
        length: [u16; FIRST_PACKETS],
    }
    /// A direction with up to 255 packets of each TCP flag, and 65,535 in all.
    NarrowDirection of Direction {
        first_ns: u64,
        last_ns: u64,
        packets: u16,
        frame_bytes: u32,
        ip_bytes: u32,
        payload_bytes: u32,
        length_squares: u64,
        iat_squares: u64,
        flags: [u8; 8],
        payload_packets: u16,
        parts: u16,
        iat_min_us: Gap,
        iat_max_us: u32,
        opening: Option<Opening>,
        length_min: u16,
        length_max: u16,
        window: u16,
        dscp: u8,
        ttl_min: u8,
        ttl_max: u8,
    }
    /// A flow with up to 255 packets of each length bin.
    Narrow of FlowStats {
        last_ns: u64,
        iat_squares: u64,
        lengths: [u8; LENGTH_BINS],
        iat_min_us: Gap,
        iat_max_us: u32,
        parts: u16,
        macs: [Mac; 2],
        first_sender: u8,
        syn_senders: u8,
        hooks: u8,
        firsts: NarrowFirsts,
        directions: [NarrowDirection; 2],
    }
}

impl From<FlowStats> for Statistics {
    fn from(stats: FlowStats) -> Self {
        Self::of(&stats)
    }
}

impl From<Statistics> for FlowStats {
    fn from(statistics: Statistics) -> Self {
        statistics.stats()
    }
}

impl Statistics {
    pub(super) fn of(stats: &FlowStats) -> Self {
        Narrow::fit(stats).map_or_else(|| Self::Wide(Box::new(*stats)), Self::Narrow)
    }

    /// All statistics.
    pub(super) fn stats(&self) -> FlowStats {
        match self {
            Self::Narrow(narrow) => narrow.widen(),
            Self::Wide(stats) => **stats,
        }
    }

    /// Adds a partial flow that was counted later.
    pub(super) fn follow(&mut self, partial: &FlowStats) {
        match self {
            Self::Narrow(narrow) => {
                let mut stats = narrow.widen();
                stats.follow(partial);
                *self = Self::of(&stats);
            }
            Self::Wide(stats) => stats.follow(partial),
        }
    }

    /// Time of the first packet, in ns.
    pub(super) fn first_ns(&self) -> u64 {
        match self {
            Self::Narrow(Narrow { directions: [lower, upper], .. }) => {
                if upper.packets == 0 || (lower.packets > 0 && lower.first_ns <= upper.first_ns) {
                    lower.first_ns
                } else {
                    upper.first_ns
                }
            }
            Self::Wide(stats) => stats.first_ns(),
        }
    }

    /// Number of packets.
    pub(super) fn packets(&self) -> u64 {
        match self {
            Self::Narrow(narrow) => narrow.directions.iter().map(|direction| u64::from(direction.packets)).sum(),
            Self::Wide(stats) => stats.packets(),
        }
    }

    /// Frame bytes, without FCS.
    pub(super) fn frame_bytes(&self) -> u64 {
        match self {
            Self::Narrow(narrow) => narrow.directions.iter().map(|direction| u64::from(direction.frame_bytes)).sum(),
            Self::Wide(stats) => stats.frame_bytes(),
        }
    }

    /// What the packets show about the initiator.
    pub(super) fn signs(&self) -> Signs {
        match self {
            Self::Narrow(narrow) => {
                let syns = narrow.directions.each_ref().map(|direction| direction.flags[bit(SYN)] > 0);
                Signs::new(narrow.first_sender, narrow.syn_senders, syns)
            }
            Self::Wide(stats) => Signs::of(stats),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::samples::{partial_of, tcp};

    /// A statement for each number of a partial flow: it is as it is, or the largest that fits, or one more.
    fn extreme(stats: &mut FlowStats, picks: &[u8]) {
        let mut picks = picks.iter().cycle();
        let mut set = |value: &mut u64, largest: u64| match picks.next() {
            Some(1) => *value = largest,
            Some(2) => *value = largest + 1,
            _ => {}
        };
        set(&mut stats.iat_max_us, u64::from(u32::MAX));
        set(&mut stats.iat_min_us, u64::from(u32::MAX) - 1);
        stats.lengths.iter_mut().for_each(|value| set(value, u64::from(u8::MAX)));
        stats.firsts.offset_us.iter_mut().for_each(|value| set(value, u64::from(u32::MAX)));
        for direction in &mut stats.directions {
            for value in [&mut direction.frame_bytes, &mut direction.ip_bytes, &mut direction.payload_bytes] {
                set(value, u64::from(u32::MAX));
            }
            for value in [&mut direction.packets, &mut direction.payload_packets] {
                set(value, u64::from(u16::MAX));
            }
            direction.flags.iter_mut().for_each(|value| set(value, u64::from(u8::MAX)));
            set(&mut direction.iat_min_us, u64::from(u32::MAX) - 1);
            set(&mut direction.iat_max_us, u64::from(u32::MAX));
        }
    }

    fn exchange() -> FlowStats {
        let (client, server) = ("10.0.0.1:40000", "10.0.0.2:80");
        partial_of(&[tcp(5, client, server, SYN), tcp(2_000, server, client, SYN)]).stats
    }

    fn assert_same(stats: &FlowStats) {
        let statistics = Statistics::of(stats);
        assert_eq!(statistics.stats(), *stats);
        assert_eq!(statistics.first_ns(), stats.first_ns());
        assert_eq!(statistics.packets(), stats.packets());
        assert_eq!(statistics.frame_bytes(), stats.frame_bytes());
        assert_eq!(statistics.signs(), Signs::of(stats));
    }

    proptest! {
        #[test]
        fn no_value_is_changed(picks in prop::collection::vec(0..3_u8, 1..70), one_way: bool) {
            let mut stats = exchange();
            if one_way {
                stats.directions[1].packets = 0;
            }
            extreme(&mut stats, &picks);
            assert_same(&stats);
        }
    }

    #[test]
    fn a_flow_is_narrow_until_a_value_does_not_fit() {
        let mut stats = exchange();
        let is_narrow = |stats: &FlowStats| matches!(Statistics::of(stats), Statistics::Narrow(_));
        extreme(&mut stats, &[1]);
        assert!(is_narrow(&stats));
        extreme(&mut stats, &[2, 1, 1, 1, 1]);
        assert!(!is_narrow(&stats));
        assert_same(&stats);
        let mut statistics = Statistics::of(&exchange());
        let mut expected = exchange();
        for _ in 0..200 {
            statistics.follow(&exchange());
            expected.follow(&exchange());
            assert_eq!(statistics.stats(), expected);
        }
        assert!(matches!(statistics, Statistics::Wide(_)));
    }

    #[test]
    fn most_of_the_memory_of_long_flows_is_saved() {
        assert!(size_of::<Statistics>() <= 288, "{}", size_of::<Statistics>());
        assert!(2 * size_of::<Statistics>() <= size_of::<FlowStats>(), "{}", size_of::<FlowStats>());
    }
}
