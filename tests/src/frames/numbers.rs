//! Numbers of the registries, and addresses.

use crate::lab::Mac;

/// Ethertypes and tag protocol identifiers (IEEE 802 numbers).
pub mod ether_type {
    #![expect(missing_docs, reason = "the names are those of the registry")]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const MPLS: u16 = 0x8847;
    pub const EAPOL: u16 = 0x888e;
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Outer VLAN tags of switches from before IEEE 802.1ad. They were never registered.
    pub const OLDER_SERVICE_VLANS: [u16; 3] = [0x9100, 0x9200, 0x9300];
    pub const LLDP: u16 = 0x88cc;
    pub const LOCAL_EXPERIMENT: u16 = 0x88b5;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    #![expect(missing_docs, reason = "the names are those of the registry")]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const OSPF: u8 = 89;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
    pub const EXPERIMENT: u8 = 253;
}

/// TCP flags, as bits of byte 13 of the header (RFC 9293 §3.1).
pub mod flag {
    #![expect(missing_docs, reason = "the names are those of the RFC")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Length of the shortest Ethernet frame without its check sequence, in bytes (IEEE 802.3 §4.2.3.3).
pub const SHORTEST: usize = 60;

/// A locally administered unicast address that no interface of a laboratory has. A host discards a frame to it right
/// after the program on its interface has seen it.
pub const NOBODY: Mac = Mac([2, 0xff, 0xff, 0xff, 0xff, 0xff]);
