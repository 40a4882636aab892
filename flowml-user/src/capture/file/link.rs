//! Link types: how the frames of a capture start, and metering them.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use flowml_common::cursor::Cursor;
use flowml_common::headers::{Be16, Be32, ethertype};
use flowml_common::parse::LinkHeader;

/// The number of a link type in a capture file (draft-ietf-opsawg-pcaplinktype).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u16);

/// Names of unsupported link types, for messages. The numbers are those of the registry.
const OTHERS: [(u16, &str); 34] = [
    (3, "AX25"),
    (6, "IEEE802_5"),
    (7, "ARCNET_BSD"),
    (8, "SLIP"),
    (9, "PPP"),
    (10, "FDDI"),
    (50, "PPP_HDLC"),
    (51, "PPP_ETHER"),
    (100, "ATM_RFC1483"),
    (104, "C_HDLC"),
    (105, "IEEE802_11"),
    (106, "ATM_CLIP"),
    (107, "FRELAY"),
    (117, "PFLOG"),
    (119, "IEEE802_11_PRISM"),
    (122, "IP_OVER_FC"),
    (123, "SUNATM"),
    (127, "IEEE802_11_RADIOTAP"),
    (129, "ARCNET_LINUX"),
    (163, "IEEE802_11_AVS"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (192, "PPI"),
    (195, "IEEE802_15_4_WITHFCS"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (220, "USB_LINUX_MMAPPED"),
    (226, "IPNET"),
    (227, "CAN_SOCKETCAN"),
    (230, "IEEE802_15_4_NOFCS"),
    (239, "NFLOG"),
    (249, "USBPCAP"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (258, "PKTAP"),
];

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OTHERS.iter().find(|(number, _)| *number == self.0) {
            Some((number, name)) => write!(f, "{name} ({number})"),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The supported link types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet.
    Ethernet,
    /// An IPv4 or IPv6 packet, depending on its version field.
    Raw,
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
    /// BSD loopback: the address family in the byte order of the capturing host.
    Null,
    /// OpenBSD loopback: the address family in network byte order.
    Loop,
    /// Linux cooked capture, version 1.
    Cooked,
    /// Linux cooked capture, version 2.
    Cooked2,
}

/// Linux cooked header, version 1, 16 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
struct CookedHeader {
    packet_type: Be16,
    hardware: Be16,
    address_length: Be16,
    address: [u8; 8],
    protocol: Be16,
}

/// Linux cooked header, version 2, 20 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
struct Cooked2Header {
    protocol: Be16,
    reserved: Be16,
    interface: Be32,
    hardware: Be16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

/// `AF_INET` is 2 everywhere. `AF_INET6` is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
const FAMILIES: [(u32, u16); 5] =
    [(2, ethertype::IPV4), (10, ethertype::IPV6), (24, ethertype::IPV6), (28, ethertype::IPV6), (30, ethertype::IPV6)];

/// The EtherType of frames that have no supported one: they are counted as [`Skipped::NotIp`](flowml_common::packet::Skipped::NotIp).
const NO_ETHERTYPE: u16 = 0;

const NO_MACS: [[u8; 6]; 2] = [[0; 6]; 2];

impl LinkType {
    /// The link type with this number, if it is supported. 12 and 14 are raw IP too, as BSDs use their own numbers.
    #[must_use]
    pub const fn of(number: Number) -> Option<Self> {
        Some(match number.0 {
            0 => Self::Null,
            1 => Self::Ethernet,
            12 | 14 | 101 => Self::Raw,
            108 => Self::Loop,
            113 => Self::Cooked,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// The link header of a frame and the bytes after it. `None` if the frame is too short, and for Ethernet, whose
    /// header the parser reads.
    #[must_use]
    pub fn header(self, mut bytes: &[u8]) -> Option<(LinkHeader, &[u8])> {
        let whole = bytes.len();
        let (macs, ethertype) = match self {
            Self::Ethernet => return None,
            Self::Ipv4 => (NO_MACS, ethertype::IPV4),
            Self::Ipv6 => (NO_MACS, ethertype::IPV6),
            Self::Raw => (NO_MACS, of_version(*bytes.first()?)),
            Self::Null => (NO_MACS, of_family(host_order(bytes.take::<Be32>()?.get()))),
            Self::Loop => (NO_MACS, of_family(bytes.take::<Be32>()?.get())),
            Self::Cooked => {
                let CookedHeader { address_length, address, protocol, .. } = bytes.take()?;
                (macs(address_length.get(), address), protocol.get())
            }
            Self::Cooked2 => {
                let Cooked2Header { address_length, address, protocol, .. } = bytes.take()?;
                (macs(address_length.into(), address), protocol.get())
            }
        };
        Some((LinkHeader { macs, ethertype, length: (whole - bytes.len()) as u32 }, bytes))
    }

    /// The interface that the link header names.
    pub(super) fn interface(self, mut bytes: &[u8]) -> Option<u32> {
        if self != Self::Cooked2 {
            return None;
        }
        bytes.take::<Cooked2Header>().map(|header| header.interface.get())
    }
}

const fn of_version(first: u8) -> u16 {
    match first >> 4 {
        4 => ethertype::IPV4,
        6 => ethertype::IPV6,
        _ => NO_ETHERTYPE,
    }
}

/// Converts an address family of either byte order: families are small numbers.
const fn host_order(family: u32) -> u32 {
    if family > 0xffff { family.swap_bytes() } else { family }
}

fn of_family(family: u32) -> u16 {
    FAMILIES.iter().find(|(number, _)| *number == family).map_or(NO_ETHERTYPE, |(_, ethertype)| *ethertype)
}

/// The sender's address, if it has the length of a MAC address. The receiver's address is not in the header.
fn macs(length: u16, address: [u8; 8]) -> [[u8; 6]; 2] {
    let mut macs = NO_MACS;
    if usize::from(length) == macs[0].len() {
        macs[0].copy_from_slice(&address[..6]);
    }
    macs
}

// The lengths of the registry.
const _: () = assert!(size_of::<CookedHeader>() == 16 && size_of::<Cooked2Header>() == 20);

#[cfg(test)]
mod tests {
    use super::super::Captured;
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn cooked(address_length: u8) -> [u8; 16] {
        let mut header = [0, 4, 0, 1, 0, address_length, 2, 0, 0, 0, 0, 9, 0, 0, 0x86, 0xdd];
        header[13] = 7;
        header
    }

    fn cooked2(interface: u8) -> [u8; 20] {
        [0x81, 0, 0, 0, 0, 0, 0, interface, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0]
    }

    #[test]
    fn a_link_header_gives_the_ethertype_and_its_own_length() {
        let from_mac = [MAC, [0; 6]];
        let cases: [(LinkType, &[u8], Option<LinkHeader>); 16] = [
            (LinkType::Raw, &[0x45, 0], header(NO_MACS, 0x0800, 0)),
            (LinkType::Raw, &[0x60, 0], header(NO_MACS, 0x86dd, 0)),
            (LinkType::Raw, &[0x10, 0], header(NO_MACS, 0, 0)),
            (LinkType::Raw, &[], None),
            (LinkType::Ipv4, &[], header(NO_MACS, 0x0800, 0)),
            (LinkType::Ipv6, &[0x45], header(NO_MACS, 0x86dd, 0)),
            (LinkType::Null, &[2, 0, 0, 0], header(NO_MACS, 0x0800, 4)),
            (LinkType::Null, &[0, 0, 0, 30, 0x60], header(NO_MACS, 0x86dd, 4)),
            (LinkType::Null, &[7, 0, 0, 0], header(NO_MACS, 0, 4)),
            (LinkType::Loop, &[0, 0, 0, 24], header(NO_MACS, 0x86dd, 4)),
            (LinkType::Loop, &[2, 0, 0, 0], header(NO_MACS, 0, 4)),
            (LinkType::Loop, &[0, 0, 0], None),
            (LinkType::Cooked, &cooked(6), header(from_mac, 0x86dd, 16)),
            (LinkType::Cooked, &cooked(8), header(NO_MACS, 0x86dd, 16)),
            (LinkType::Cooked2, &cooked2(3), header(from_mac, 0x8100, 20)),
            (LinkType::Cooked2, &cooked2(3)[..19], None),
        ];
        for (link, bytes, expected) in cases {
            let read = link.header(bytes);
            assert_eq!(read.map(|(header, _)| header), expected, "{link:?} {bytes:x?}");
            if let Some((header, rest)) = read {
                assert_eq!(rest, &bytes[header.length as usize..], "{link:?} {bytes:x?}");
            }
        }
    }

    const fn header(macs: [[u8; 6]; 2], ethertype: u16, length: u32) -> Option<LinkHeader> {
        Some(LinkHeader { macs, ethertype, length })
    }

    #[test]
    fn the_interface_of_the_link_header_is_used() {
        let header = cooked2(3);
        let captured = |link, bytes| Captured { time_ns: 0, length: 20, interface: 1, link, bytes };
        assert_eq!(captured(LinkType::Cooked2, &header[..]).frame().interface, 3);
        assert_eq!(captured(LinkType::Cooked2, &header[..19]).frame().interface, 1);
        assert_eq!(captured(LinkType::Cooked, &header[..]).frame().interface, 1);
    }

    #[test]
    fn known_link_types_are_shown_by_name() {
        assert_eq!(Number(127).to_string(), "IEEE802_11_RADIOTAP (127)");
        assert_eq!(Number(999).to_string(), "999");
        assert!(OTHERS.iter().all(|(number, _)| LinkType::of(Number(*number)).is_none()));
    }
}
