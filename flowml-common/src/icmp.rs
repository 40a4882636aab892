//! The kinds of ICMP messages: requests, their replies, and errors.

use crate::headers::protocol;

/// The type of the reply to type `kind`, for messages that have replies. A request and its reply are one flow.
///
/// The pairs are those of the Community ID flow hash, version 1.
#[inline(always)]
pub const fn icmp_answer(protocol: u8, kind: u8) -> Option<u8> {
    Some(match (protocol, kind) {
        (protocol::ICMP, 8) => 0,
        (protocol::ICMP, 0) => 8,
        (protocol::ICMP, 9) => 10,
        (protocol::ICMP, 10) => 9,
        (protocol::ICMP, 13) => 14,
        (protocol::ICMP, 14) => 13,
        (protocol::ICMP, 15) => 16,
        (protocol::ICMP, 16) => 15,
        (protocol::ICMP, 17) => 18,
        (protocol::ICMP, 18) => 17,
        (protocol::ICMPV6, 128) => 129,
        (protocol::ICMPV6, 129) => 128,
        (protocol::ICMPV6, 130) => 131,
        (protocol::ICMPV6, 131) => 130,
        (protocol::ICMPV6, 133) => 134,
        (protocol::ICMPV6, 134) => 133,
        (protocol::ICMPV6, 135) => 136,
        (protocol::ICMPV6, 136) => 135,
        (protocol::ICMPV6, 139) => 140,
        (protocol::ICMPV6, 140) => 139,
        (protocol::ICMPV6, 144) => 145,
        (protocol::ICMPV6, 145) => 144,
        _ => return None,
    })
}

/// Whether the message is a request that has a reply.
pub const fn is_icmp_question(protocol: u8, kind: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(kind, 8 | 10 | 13 | 15 | 17),
        protocol::ICMPV6 => matches!(kind, 128 | 130 | 133 | 135 | 139 | 144),
        _ => false,
    }
}

/// Whether the message is an error. It reports to a host what happened to a packet that this host sent, and quotes the
/// packet. For IPv4 these are unreachable, source quench, redirect, time exceeded and parameter problem (RFC 1122
/// §3.2.2). For IPv6 they are the assigned types below 128 (RFC 4443 §2.1).
#[inline(always)]
pub const fn is_icmp_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => matches!(kind, 1..=4),
        _ => false,
    }
}
