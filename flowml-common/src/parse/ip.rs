//! The IP layer: the headers of IPv4 and IPv6, and the extension headers.

use crate::cursor::Cursor;
use crate::flow::Address;
use crate::headers::{Extension, Fragment, Ipv4, Ipv6, protocol};
use crate::packet::{Frame, Skipped};

use super::link::Link;

/// Number of IPv6 extension headers that are followed before the packet is skipped. More than six occur only in
/// attacks.
pub const MAX_EXTENSIONS: u32 = 8;

/// The IP layer, of either version.
pub(super) struct Network {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: u8,
    pub(super) later_fragment: bool,
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    /// IP total length, in bytes.
    pub(super) ip_length: u32,
    /// Length of the IP header with options or extension headers, in bytes.
    pub(super) header_length: u32,
}

/// The value of a length field that leaves the length open.
const TO_THE_END: u32 = 0;

/// The IP length from the header, or to the end of the frame if the header has [`TO_THE_END`].
///
/// A buffer that the sender or the NIC will segment has no length in its header. The stack writes 0 if the field is too
/// small (BIG TCP, RFC 2675), and drivers do so before segmentation offload. For a super-packet the field is not used.
#[inline(always)]
fn ip_length(frame: &Frame, link: &Link, stated: u32) -> Result<u32, Skipped> {
    let present = frame.length.checked_sub(link.length).ok_or(Skipped::Truncated)?;
    if stated == TO_THE_END || frame.segments.is_some() {
        return Ok(present);
    }
    if stated > present { Err(Skipped::Truncated) } else { Ok(stated) }
}

#[inline(always)]
pub(super) fn parse_ipv4<C: Cursor>(frame: &Frame, link: &Link, cursor: &mut C) -> Result<Network, Skipped> {
    let ip: Ipv4 = cursor.take().ok_or(Skipped::Truncated)?;
    let header_length = ip.header_length();
    if ip.version() != 4 || header_length < Ipv4::LENGTH {
        return Err(Skipped::Malformed);
    }
    if header_length > Ipv4::LENGTH {
        cursor.skip(header_length - Ipv4::LENGTH).ok_or(Skipped::Truncated)?;
    }
    let ip_length = ip_length(frame, link, u32::from(ip.total_length()))?;
    if ip_length < u32::from(header_length) {
        return Err(Skipped::Malformed);
    }
    Ok(Network {
        source: Address::from_v4(ip.source.get()),
        destination: Address::from_v4(ip.destination.get()),
        protocol: ip.protocol,
        later_fragment: ip.fragment_offset() != 0,
        ttl: ip.ttl,
        dscp: ip.dscp(),
        ip_length,
        header_length: u32::from(header_length),
    })
}

#[inline(always)]
pub(super) fn parse_ipv6<C: Cursor>(frame: &Frame, link: &Link, cursor: &mut C) -> Result<Network, Skipped> {
    let ip: Ipv6 = cursor.take().ok_or(Skipped::Truncated)?;
    if ip.version() != 6 {
        return Err(Skipped::Malformed);
    }
    // RFC 2675 §3: a jumbogram has 0 here and its length in a hop-by-hop option. The length of the frame gives it too.
    // After No Next Header there is nothing (RFC 8200 §4.7), so 0 is the length, and the rest of the frame is padding.
    let stated = match (ip.payload_length(), ip.next_header) {
        (0, next) if next != protocol::NO_NEXT_HEADER => TO_THE_END,
        (length, _) => u32::from(Ipv6::LENGTH) + u32::from(length),
    };
    let ip_length = ip_length(frame, link, stated)?;
    let mut network = Network {
        source: Address::from_v6(ip.source[0].get(), ip.source[1].get()),
        destination: Address::from_v6(ip.destination[0].get(), ip.destination[1].get()),
        protocol: ip.next_header,
        later_fragment: false,
        ttl: ip.hop_limit,
        dscp: ip.dscp(),
        ip_length,
        header_length: u32::from(Ipv6::LENGTH),
    };
    follow_extensions(&mut network, cursor)?;
    if network.header_length > ip_length {
        return Err(Skipped::Malformed);
    }
    Ok(network)
}

/// Skips an authentication header of IPv4. `protocol` becomes that of the payload.
#[inline(always)]
pub(super) fn follow_authentication<C: Cursor>(network: &mut Network, cursor: &mut C) -> Result<(), Skipped> {
    if network.protocol == protocol::AUTHENTICATION && !network.later_fragment {
        let extension: Extension = cursor.take().ok_or(Skipped::Truncated)?;
        let length = extension.authentication_length();
        cursor.skip(length - size_of::<Extension>() as u16).ok_or(Skipped::Truncated)?;
        network.protocol = extension.next_header;
        network.header_length = cursor.forget(network.header_length + u32::from(length));
    }
    Ok(())
}

/// What only tunnels need of an IP header. It is read ahead, because a larger [`Network`] would make other programs for
/// frames outside of tunnels.
pub(super) struct Ahead {
    /// Not 0 in a fragment, the first or a later one. 0 if a fragment header of IPv6 is after other extension headers. The
    /// packet inside of its first fragment is truncated.
    pub(super) fragment: u16,
    stated: u32,
}

impl Ahead {
    #[inline(always)]
    pub(super) fn of_ipv4<C: Cursor>(mut cursor: C) -> Result<Self, Skipped> {
        let ip: Ipv4 = cursor.take().ok_or(Skipped::Truncated)?;
        Ok(Self { fragment: ip.fragment_bits(), stated: u32::from(ip.total_length()) })
    }

    #[inline(always)]
    pub(super) fn of_ipv6<C: Cursor>(mut cursor: C) -> Result<Self, Skipped> {
        let ip: Ipv6 = cursor.take().ok_or(Skipped::Truncated)?;
        let stated = match ip.payload_length() {
            0 => TO_THE_END,
            length => u32::from(Ipv6::LENGTH) + u32::from(length),
        };
        let fragment = if ip.next_header == protocol::FRAGMENT { cursor.take::<Fragment>() } else { None };
        Ok(Self { fragment: fragment.map_or(0, |fragment| fragment.fragment_bits()), stated })
    }

    /// Whether the length in the header is that of the rest of the frame, or open.
    #[inline(always)]
    pub(super) const fn fills(&self, frame: &Frame, link: &Link) -> bool {
        self.stated == TO_THE_END || link.length + self.stated == frame.length
    }
}

/// Skips the extension headers (RFC 8200 §4). `protocol` becomes that of the payload.
#[inline(always)]
fn follow_extensions<C: Cursor>(network: &mut Network, cursor: &mut C) -> Result<(), Skipped> {
    for _ in 0..MAX_EXTENSIONS {
        let length = match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let extension: Extension = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = extension.next_header;
                extension.options_length()
            }
            protocol::AUTHENTICATION => {
                let extension: Extension = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = extension.next_header;
                extension.authentication_length()
            }
            protocol::FRAGMENT => {
                let fragment: Fragment = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = fragment.next_header;
                network.header_length = cursor.forget(network.header_length + u32::from(Fragment::LENGTH));
                if fragment.offset() != 0 {
                    // The following bytes are payload of the complete packet, not headers.
                    network.later_fragment = true;
                    return Ok(());
                }
                continue;
            }
            _ => return Ok(()),
        };
        // All three have at least 8 bytes, and 2 of them have been read.
        cursor.skip(length - size_of::<Extension>() as u16).ok_or(Skipped::Truncated)?;
        network.header_length = cursor.forget(network.header_length + u32::from(length));
    }
    match network.protocol {
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::DESTINATION
        | protocol::AUTHENTICATION
        | protocol::FRAGMENT => Err(Skipped::ExtensionChain),
        _ => Ok(()),
    }
}
