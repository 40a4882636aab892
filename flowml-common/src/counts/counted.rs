//! Reads the counters of a flow: the partial flow, its payload and its quote.

use crate::content::{Content, Contents, EntryChunks};
use crate::flow::{ACK, Direction, FirstPackets, FlowKey, FlowStats, NO_SAMPLE, Opening, PSH, PartialFlow, Sender};
use crate::quote::Quote;
use crate::tunnel::Outer;

use super::cold::{BY_SYN, BY_SYN_ACK, ColdCounters, RARE_FLAGS};
use super::hot::{FlowCounts, NO_GAP};

/// References to all counters of a flow, in place.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The key of the flow.
    pub key: &'a FlowKey,
    /// The counters that every packet changes.
    pub counts: &'a FlowCounts,
    /// The cold counters.
    pub cold: &'a ColdCounters,
    /// The chunks of the first payload bytes, if payload is kept.
    pub chunks: Option<EntryChunks<'a>>,
    /// The tunnel of the first packet, if tunnels are looked into. It is only valid if the key has a tunnel.
    pub outer: Option<&'a Outer>,
}

impl<'a> Counted<'a> {
    /// The first payload bytes of each direction, if they are kept.
    #[must_use]
    pub fn contents(&self) -> Option<Contents<'a>> {
        let chunks = self.chunks?;
        Some([Sender::Lower, Sender::Upper].map(|sender| {
            let at = sender as usize;
            let bytes = chunks.bytes(sender, self.cold.payload_kept[at]);
            let content = Content { time_ns: self.cold.payload[at].ns(), bytes };
            (self.counts.sums[at].payload_packets > 0).then_some(content)
        }))
    }

    /// The tunnel of the first packet, if it is in one.
    #[must_use]
    pub fn tunnel(&self) -> Option<&'a Outer> {
        self.outer.filter(|_| self.key.tunnel().is_some())
    }

    /// The packet that the first ICMP error of the flow quotes.
    #[must_use]
    pub fn quote(&self) -> Option<Quote> {
        self.cold.quote.get()
    }

    /// Time of the first packet in either direction, in ns.
    #[must_use]
    pub fn first_ns(&self) -> u64 {
        let ([lower, upper], [lower_sums, upper_sums]) = (&self.cold.directions, &self.counts.sums);
        if upper_sums.packets == 0 || (lower_sums.packets > 0 && lower.first <= upper.first) {
            lower.first.ns()
        } else {
            upper.first.ns()
        }
    }

    /// The order of the partial flows of a flow in one partition that have equal start times.
    #[must_use]
    pub const fn birth(&self) -> u32 {
        self.cold.birth
    }

    /// The partial flow, which can be merged with others.
    #[must_use]
    pub fn partial_flow(&self) -> PartialFlow {
        let (counts, cold) = (self.counts, self.cold);
        let stats = FlowStats {
            last_ns: counts.last().ns(),
            iat_squares: counts.iat_squares.into(),
            lengths: counts.lengths.map(u64::from),
            iat_min_us: sampled(counts.iat_min_us),
            iat_max_us: counts.iat_max_us.into(),
            parts: 1,
            macs: cold.macs,
            first_sender: counts.first_sender,
            syn_senders: counts.syn_senders,
            hooks: counts.hooks,
            directions: [0, 1].map(|sender| self.direction(sender)),
            firsts: FirstPackets {
                count: counts.firsts,
                upper: cold.firsts_upper,
                payload: cold.firsts_payload,
                offset_us: cold.firsts_offset_us.map(u64::from),
                length: cold.firsts_length,
            },
        };
        PartialFlow { key: *self.key, stats }
    }

    fn direction(&self, sender: usize) -> Direction {
        let counts = self.counts;
        let (sums, range, rare) = (&counts.sums[sender], &counts.ranges[sender], &self.cold.directions[sender]);
        let mut flags = [0; 8];
        for (count, bit) in rare.flags.into_iter().zip(RARE_FLAGS) {
            flags[usize::from(bit)] = count.into();
        }
        flags[PSH.trailing_zeros() as usize] = sums.pushes.into();
        flags[ACK.trailing_zeros() as usize] = sums.acknowledgements.into();
        Direction {
            first_ns: rare.first.ns(),
            last_ns: counts.last[sender].ns(),
            packets: sums.packets.into(),
            frame_bytes: sums.frame_bytes,
            ip_bytes: sums.ip_bytes,
            payload_bytes: sums.payload_bytes,
            length_squares: sums.length_squares,
            iat_squares: sums.iat_squares.into(),
            flags,
            payload_packets: sums.payload_packets.into(),
            parts: u32::from(sums.packets > 0),
            iat_min_us: sampled(sums.iat_min_us),
            iat_max_us: sums.iat_max_us.into(),
            length_min: range.length_min,
            length_max: range.length_max,
            window: rare.window,
            opening: match rare.opening {
                BY_SYN => Some(Opening::Syn(rare.initial_sequence)),
                BY_SYN_ACK => Some(Opening::SynAck(rare.initial_sequence)),
                _ => None,
            },
            dscp: rare.dscp,
            ttl_min: range.ttl_min,
            ttl_max: range.ttl_max,
        }
    }
}

/// The smallest inter-arrival time as [`PartialFlow`]s store it.
fn sampled(gap_us: u32) -> u64 {
    if gap_us == NO_GAP { NO_SAMPLE } else { gap_us.into() }
}
