//! A partial flow as the sequential tests use it: its initiator, and what each side sent.

use flowml_common::flow::{ACK, Address, Direction, Endpoint, PartialFlow, RST, SYN};
use flowml_common::headers::protocol;

use crate::session::Standing;

/// The port of DNS.
pub(super) const DNS: u16 = 53;

/// A partial flow from its initiator's point of view.
#[derive(Clone, Copy)]
pub(super) struct Contact<'a> {
    pub(super) partial: &'a PartialFlow,
    pub(super) source: Endpoint,
    pub(super) target: Endpoint,
    pub(super) protocol: u8,
    /// Whether the session begins with this partial flow.
    pub(super) new: bool,
    /// Whether the use of the hosts is to be noted.
    pub(super) renews: bool,
    /// Whether the responder has ever sent a packet.
    pub(super) answered: bool,
    /// Whether the initiator sent a SYN without ACK in this partial flow.
    pub(super) opened: bool,
    /// The packets of the initiator in this partial flow.
    pub(super) sent: &'a Direction,
    /// The packets of the responder in this partial flow.
    pub(super) received: &'a Direction,
}

impl<'a> Contact<'a> {
    pub(super) fn new(partial: &'a PartialFlow, standing: Standing) -> Self {
        // An end that sends SYN with ACK is the responder.
        let stats = &partial.stats;
        let answers = |end| flagged(stats.direction(end), SYN) > 0 && stats.syn_senders >> end as u8 & 1 == 0;
        let initiator = if answers(standing.initiator) { standing.initiator.opposite() } else { standing.initiator };
        let responder = initiator.opposite();
        let answered = stats.direction(responder).packets > 0 || standing.answered;
        Self {
            partial,
            source: partial.key.endpoint(initiator),
            target: partial.key.endpoint(responder),
            protocol: partial.key.protocol(),
            new: standing.new,
            renews: standing.renews,
            answered,
            opened: partial.stats.syn_senders >> initiator as u8 & 1 == 1,
            sent: partial.stats.direction(initiator),
            received: partial.stats.direction(responder),
        }
    }

    pub(super) const fn first_ns(&self) -> u64 {
        self.partial.stats.first_ns()
    }

    pub(super) const fn last_ns(&self) -> u64 {
        self.partial.stats.last_ns
    }

    /// Whether the partial flow contains echo requests (ping).
    pub(super) const fn is_echo(&self) -> bool {
        match self.protocol {
            protocol::ICMP => self.source.port == 8,
            protocol::ICMPV6 => self.source.port == 128,
            _ => false,
        }
    }

    /// Whether the packets are fragments after the first, which have no ports.
    pub(super) const fn is_fragment(&self) -> bool {
        self.partial.key.later_fragment()
    }
}

/// Number of packets with this flag.
pub(super) const fn flagged(direction: &Direction, flag: u8) -> u64 {
    direction.flags[flag.trailing_zeros() as usize]
}

/// Whether the initiator sends packets of an established connection: more ACKs than SYNs and RSTs.
pub(super) const fn established(sent: &Direction) -> bool {
    flagged(sent, ACK) > flagged(sent, RST) + flagged(sent, SYN)
}

/// Whether either side continues after a SYN with ACK. Then there was a SYN, visible or not.
pub(super) fn goes_on(Contact { sent, received, .. }: &Contact<'_>) -> bool {
    let by_responder = flagged(received, ACK) > flagged(received, SYN) + flagged(received, RST);
    by_responder || received.payload_bytes > 0 || established(sent)
}

/// Whether the address is unicast.
pub(super) fn is_unicast(address: Address) -> bool {
    match address.to_ip() {
        std::net::IpAddr::V4(address) => {
            !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
        }
        std::net::IpAddr::V6(address) => !address.is_multicast() && !address.is_unspecified(),
    }
}

/// The network over which an attack on a site may be spread: /24 for IPv4, /64 for IPv6. These are the longest prefix
/// that is commonly routed, and the size of one link.
pub(super) fn prefix(address: Address) -> Address {
    match address.to_ip() {
        std::net::IpAddr::V4(address) => Address::from_v4(address.to_bits() & !0xff),
        std::net::IpAddr::V6(address) => Address::from_v6((address.to_bits() >> 64) as u64, 0),
    }
}
