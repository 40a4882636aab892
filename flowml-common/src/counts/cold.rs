//! The counters that few packets of a flow change: its first packets, and those that open and end a connection.

use core::hint::black_box;

use bytemuck::{Pod, Zeroable, must_cast_mut};

use crate::flow::{ACK, FIN, FIRST_PACKETS, RST, SYN, Sender, saturate_u16};
use crate::headers::Mac;
use crate::packet::Packet;
use crate::quote::KeptQuote;
use crate::time::Stamp;

use super::hot::{Rare, zero};

/// Flags that only one packet of a super-packet has: FIN, PSH and CWR. Segmentation offload clears them on the others.
const ONCE_PER_BUFFER: u8 = 0b1000_1001;

/// The bits of the TCP flags that few packets have: all except PSH and ACK, which [`FlowCounts`](super::FlowCounts) counts.
pub(super) const RARE_FLAGS: [u8; 6] = [0, 1, 2, 5, 6, 7];

/// Cold counters of one direction: those that few packets change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Cold {
    pub(super) first: Stamp,
    /// Number of packets by TCP flag, in the order of [`RARE_FLAGS`].
    pub(super) flags: [u32; RARE_FLAGS.len()],
    pub(super) window: u16,
    pub(super) dscp: u8,
    /// The packet from which the initial sequence number was read: [`BY_SYN`], [`BY_SYN_ACK`], or 0 if there was none.
    pub(super) opening: u8,
    pub(super) initial_sequence: u32,
}

/// The kinds of packets that open a TCP connection. If a direction has sent both, the sequence number of the SYN is
/// used.
pub(super) const BY_SYN: u8 = 2;

pub(super) const BY_SYN_ACK: u8 = 1;

/// The opening of a connection by the flags of a packet. A SYN with FIN or RST opens no connection.
#[inline(always)]
const fn opening(packet: &Packet) -> u8 {
    match packet.tcp_flags & (SYN | ACK | FIN | RST) {
        SYN => BY_SYN,
        SYN_ACK => BY_SYN_ACK,
        _ => 0,
    }
}

const SYN_ACK: u8 = SYN | ACK;

/// Cold counters of a flow: for its first packets, and for those that open and end a connection. They are stored
/// separately from the entries. Otherwise two fifths of the bytes of an entry would be counters that most packets never
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ColdCounters {
    pub(super) directions: [Cold; 2],
    pub(super) macs: [Mac; 2],
    pub(super) firsts_upper: u8,
    pub(super) firsts_payload: u8,
    pub(super) reserved: u16,
    pub(super) firsts_offset_us: [u32; FIRST_PACKETS],
    pub(super) firsts_length: [u16; FIRST_PACKETS],
    /// Indexed by sender, as everything here: the time of the packet whose payload is kept, and the number of kept
    /// bytes.
    pub(super) payload: [Stamp; 2],
    /// The packet that the first ICMP error of the flow quotes.
    pub(super) quote: KeptQuote,
    pub(super) payload_kept: [u16; 2],
    /// The number of entries that the partition had before this one. It gives the order of the entries of one flow.
    pub(super) birth: u32,
}

impl ColdCounters {
    /// Initializes the cold counters of a flow without packets, in place. `birth` is the number of entries that the
    /// partition had before this one.
    #[inline(always)]
    pub(crate) fn open(&mut self, packet: &Packet, birth: u64) {
        zero(must_cast_mut::<Self, [u64; size_of::<Self>() / 8]>(self));
        let [source, destination] = packet.macs;
        self.macs = match packet.sender {
            Sender::Lower => [source, destination],
            Sender::Upper => [destination, source],
        };
        self.birth = birth as u32;
    }

    /// Whether a packet with SYN belongs to the entry of these counters. The entry has `sent` packets in the packet's
    /// direction and `answered` packets in the other. Every packet that may open a connection starts an entry of its
    /// own, with two exceptions: a SYN,ACK that answers a SYN of this entry, and a retransmission of the packet that
    /// started this entry.
    #[inline(always)]
    pub(crate) fn go_on_with(&self, (sent, answered): (u32, u32), packet: &Packet) -> bool {
        let opening = opening(packet);
        let sender = black_box(packet.sender as usize) & 1;
        let (own, other) = (&self.directions[sender], &self.directions[sender ^ 1]);
        if opening == 0 || opening == BY_SYN_ACK && other.opening == BY_SYN {
            return true;
        }
        // One comparison for four conditions: the direction was opened in the same way, with the same number, it has
        // sent nothing else, and the other direction has sent nothing. A packet with SYN that opens no connection has
        // FIN or RST.
        let [fins, syns, resets] = [own.flags[0], own.flags[1], own.flags[2]];
        let others = sent ^ syns | fins | resets | answered;
        u32::from(own.opening ^ opening) | own.initial_sequence ^ packet.sequence | others == 0
    }

    /// Counts a packet in the cold counters.
    #[inline(always)]
    pub(crate) fn count(&mut self, rare: Rare, packet: &Packet) {
        let direction = &mut self.directions[black_box(packet.sender as usize) & 1];
        if rare.first {
            direction.first = rare.now;
            direction.window = packet.window;
            direction.dscp = packet.dscp;
        }
        let opening = opening(packet);
        if opening > direction.opening {
            direction.opening = opening;
            direction.initial_sequence = packet.sequence;
        }
        // Without a branch for each flag: the verifier would follow both ways of each.
        for (counter, bit) in direction.flags.iter_mut().zip(RARE_FLAGS) {
            let times = if ONCE_PER_BUFFER >> bit & 1 == 1 { 1 } else { packet.count };
            *counter += u32::from(packet.tcp_flags >> bit & 1) * times;
        }
        if usize::from(rare.kept) < FIRST_PACKETS {
            self.keep(rare, packet);
        }
    }

    /// Stores that `kept` bytes of the packet's payload are kept, and the time.
    #[inline(always)]
    pub(crate) fn note_payload(&mut self, packet: &Packet, now: Stamp, kept: u32) {
        let sender = black_box(packet.sender as usize) & 1;
        self.payload[sender] = now;
        self.payload_kept[sender] = kept as u16;
    }

    /// Whether a quoted packet is kept.
    #[inline(always)]
    pub(crate) const fn has_quote(&self) -> bool {
        self.quote.is_there()
    }

    /// Keeps the packet that an ICMP error quotes.
    #[inline(always)]
    pub(crate) const fn keep_quote(&mut self, quote: KeptQuote) {
        self.quote = quote;
    }

    /// Adds `packet` to the kept first packets.
    #[inline(always)]
    fn keep(&mut self, rare: Rare, packet: &Packet) {
        let sender = black_box(packet.sender as usize) & 1;
        let [own, other] = [sender, sender ^ 1].map(|sender| self.directions[sender].first);
        let first = if rare.answered && other < own { other } else { own };
        let offset_us = rare.now.gap_us(first);
        for nth in 0..FIRST_PACKETS as u32 {
            // Without `black_box` the verifier would treat each iteration as a different state, by the known range of
            // the number.
            let at = black_box(usize::from(rare.kept)) + nth as usize;
            if at >= FIRST_PACKETS || nth >= packet.count {
                break;
            }
            let length = if nth + 1 == packet.count { packet.last_ip_length } else { packet.ip_length };
            self.firsts_offset_us[at] = offset_us;
            self.firsts_length[at] = saturate_u16(length);
            self.firsts_upper |= (packet.sender as u8) << at;
            self.firsts_payload |= u8::from(packet.payload_bytes > 0) << at;
        }
    }
}
