//! The transport layer: ports, and the fields of TCP that flows count.

use crate::cursor::Cursor;
use crate::headers::{Icmp, Sctp, Tcp, Udp, protocol};
use crate::icmp::icmp_answer;
use crate::packet::Skipped;

use super::ip::Network;

/// The transport layer. All fields are zero for a protocol without ports.
#[derive(Default)]
pub(super) struct Transport {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) header_length: u32,
    pub(super) tcp_flags: u8,
    pub(super) window: u16,
    pub(super) sequence: u32,
}

#[inline(always)]
pub(super) fn parse_transport<C: Cursor>(network: &Network, cursor: &mut C) -> Result<Transport, Skipped> {
    if network.later_fragment {
        return Ok(Transport::default());
    }
    let transport = match network.protocol {
        protocol::TCP => parse_tcp(cursor)?,
        protocol::UDP => {
            let udp: Udp = cursor.take().ok_or(Skipped::Truncated)?;
            ports(udp.source.get(), udp.destination.get(), Udp::LENGTH)
        }
        protocol::SCTP => {
            let sctp: Sctp = cursor.take().ok_or(Skipped::Truncated)?;
            ports(sctp.source.get(), sctp.destination.get(), Sctp::LENGTH)
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let icmp: Icmp = cursor.take().ok_or(Skipped::Truncated)?;
            let answer = icmp_answer(network.protocol, icmp.kind).unwrap_or(icmp.code);
            ports(u16::from(icmp.kind), u16::from(answer), Icmp::LENGTH)
        }
        _ => Transport::default(),
    };
    if network.header_length + transport.header_length > network.ip_length {
        return Err(Skipped::Malformed);
    }
    Ok(transport)
}

#[inline(always)]
fn ports(source: u16, destination: u16, header_length: u16) -> Transport {
    Transport { source, destination, header_length: u32::from(header_length), tcp_flags: 0, window: 0, sequence: 0 }
}

#[inline(always)]
fn parse_tcp<C: Cursor>(cursor: &mut C) -> Result<Transport, Skipped> {
    let tcp: Tcp = cursor.take().ok_or(Skipped::Truncated)?;
    let header_length = tcp.header_length();
    if header_length < Tcp::LENGTH {
        return Err(Skipped::Malformed);
    }
    Ok(Transport {
        tcp_flags: tcp.flags,
        window: tcp.window(),
        sequence: tcp.sequence(),
        ..ports(tcp.source.get(), tcp.destination.get(), header_length)
    })
}
