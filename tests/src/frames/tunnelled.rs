//! The table of named frames in tunnels: what is inside of each, or why it is not read.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowml_common::packet::Skipped;
use flowml_common::tunnel::Outcome::{self, Fragment as IsFragment, Malformed, Removed, Truncated, Unknown};
use flowml_common::tunnel::TunnelKind::{self, Geneve, Gre, Gtpu, Ip, Mpls, Pppoe, Vxlan};

use super::builder::Frame;
use super::fields::{Extension, Fragment, Ipv4, Ipv6, Layer, Ports, Tcp};
use super::numbers::{ether_type, protocol};
use crate::lab::Mac;

/// A frame with tunnels and the name of the case that it is.
#[derive(Debug, Clone, Copy)]
pub struct Tunnelled {
    /// Words joined by underscores, in the order from the outside of the frame to the inside.
    pub name: &'static str,
    /// Builds the frame, always the same.
    pub build: fn() -> Vec<u8>,
    /// The reason for which a parser that does not look into tunnels skips it, if any.
    pub skipped: Option<Skipped>,
    /// The encapsulations, the outermost first, and what becomes of each.
    pub encapsulations: &'static [(TunnelKind, Outcome)],
    /// The number of the innermost tunnel that is removed.
    pub id: u32,
}

/// UDP destination port of VXLAN (RFC 7348), of VXLAN in Linux without an option, of Geneve and of GTP-U.
const PORTS: [u16; 4] = [4789, 8472, 6081, 2152];

/// Ethernet in GRE and Geneve.
const BRIDGED: u16 = 0x6558;

const PAYLOAD: &[u8] = b"some bytes of a stream";

fn v4() -> Frame {
    Frame::default().ipv4(&Ipv4::default())
}

fn v6() -> Frame {
    Frame::default().ipv6(&Ipv6::default())
}

/// The frame of a host in a virtual network.
fn guest() -> Frame {
    Frame::between(Mac([2, 0x88, 0, 0, 0, 1]), Mac([2, 0x88, 0, 0, 0, 2]))
}

fn ends_v4() -> Ipv4 {
    Ipv4 { source: Ipv4Addr::new(10, 88, 0, 9), destination: Ipv4Addr::new(10, 88, 0, 2), ttl: 63, ..Ipv4::default() }
}

fn ends_v6() -> Ipv6 {
    let address = |host| Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, host);
    Ipv6 { source: address(1), destination: address(2), ..Ipv6::default() }
}

/// An Ethernet frame with a TCP segment over IPv4.
pub fn guest_tcp() -> Vec<u8> {
    guest().ipv4(&ends_v4()).tcp(&Tcp::default()).payload(PAYLOAD).finish()
}

/// An Ethernet frame with a UDP datagram over IPv6.
fn guest_udp() -> Vec<u8> {
    guest().ipv6(&ends_v6()).udp(Ports::default()).payload(PAYLOAD).finish()
}

/// The IP packet in an Ethernet frame without tags.
fn packet(mut frame: Vec<u8>) -> Vec<u8> {
    frame.drain(..14);
    frame
}

fn behind(header: &[u8], mut inside: Vec<u8>) -> Vec<u8> {
    inside.splice(..0, header.iter().copied());
    inside
}

/// In a UDP datagram to a port of a tunnel.
fn to_port(frame: Frame, port: u16, payload: &[u8]) -> Vec<u8> {
    frame.udp(Ports { source: 50_000, destination: port }).payload(payload).finish()
}

/// A VXLAN header and an Ethernet frame.
pub fn vxlan(vni: u32, inside: Vec<u8>) -> Vec<u8> {
    let [_, high, middle, low] = vni.to_be_bytes();
    behind(&[8, 0, 0, 0, high, middle, low, 0], inside)
}

/// A Geneve header with this number of words of options.
fn geneve(words: u8, ethertype: u16, vni: u32, inside: Vec<u8>) -> Vec<u8> {
    let ([_, vni @ ..], [high, low]) = (vni.to_be_bytes(), ethertype.to_be_bytes());
    let mut header = vec![words, 0, high, low, vni[0], vni[1], vni[2], 0];
    header.resize(8 + 4 * usize::from(words), 0x11);
    behind(&header, inside)
}

/// A GRE header with these flags. Each of checksum, key and sequence number has four bytes.
pub fn gre(flags: u16, ethertype: u16, key: u32, inside: Vec<u8>) -> Vec<u8> {
    let mut header = [flags.to_be_bytes(), ethertype.to_be_bytes()].concat();
    for (flag, field) in [(0x8000, 0xaaaa_0000), (0x2000, key), (0x1000, 7)] {
        if flags & flag != 0 {
            header.extend(u32::to_be_bytes(field));
        }
    }
    behind(&header, inside)
}

/// A header of GTP-U with these flags and bytes after the TEID.
fn gtpu(flags: u8, message: u8, teid: u32, more: &[u8], inside: Vec<u8>) -> Vec<u8> {
    let length = (more.len() + inside.len()) as u16;
    let header = [&[0x30 | flags, message][..], &length.to_be_bytes(), &teid.to_be_bytes(), more].concat();
    behind(&header, inside)
}

/// A label stack, the last label at its bottom.
fn mpls(labels: &[u32], inside: Vec<u8>) -> Vec<u8> {
    let bottom = labels.len() - 1;
    let entry = |(n, label): (usize, &u32)| (label << 12 | u32::from(n == bottom) << 8 | 64).to_be_bytes();
    behind(&labels.iter().enumerate().flat_map(entry).collect::<Vec<_>>(), inside)
}

fn pppoe(session: u16, protocol: u16, inside: Vec<u8>) -> Vec<u8> {
    let length = (2 + inside.len()) as u16;
    let fields = [0x1100, session, length, protocol];
    behind(&fields.map(u16::to_be_bytes).concat(), inside)
}

fn over_mpls(labels: &[u32], inside: Vec<u8>) -> Vec<u8> {
    Frame::default().ether_type(ether_type::MPLS, &mpls(labels, inside)).finish()
}

fn over_pppoe(protocol: u16, inside: Vec<u8>) -> Vec<u8> {
    Frame::default().ether_type(0x8864, &pppoe(0x1234, protocol, inside)).finish()
}

fn over_gre(flags: u16, ethertype: u16, inside: Vec<u8>) -> Vec<u8> {
    v4().protocol(protocol::GRE, &gre(flags, ethertype, 0x8000_0007, inside)).finish()
}

fn fragment(part: Fragment) -> Frame {
    Frame::default().ipv4(&Ipv4 { fragment: Some(part), identification: 0x7777, ..Ipv4::default() })
}

fn cut(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - from_end);
    bytes
}

/// Writes the table. Each line has a name, what becomes of the encapsulations, the number of the innermost one that is
/// removed, an expression, and the reason for skipping if there is one.
macro_rules! tunnelled {
    ($($name:ident [$($kind:ident $outcome:ident),*] $id:literal $(($skipped:ident))?: $frame:expr,)*) => {
        /// Every named frame in a tunnel.
        pub const TUNNELLED: &[Tunnelled] = &[$(Tunnelled {
            name: stringify!($name),
            build: || $frame,
            skipped: skipped!($($skipped)?),
            encapsulations: &[$(($kind, $outcome)),*],
            id: $id,
        },)*];
    };
}

macro_rules! skipped {
    () => {
        None
    };
    ($reason:ident) => {
        Some(Skipped::$reason)
    };
}

tunnelled! {
    vxlan_ipv4_tcp [Vxlan Removed] 0xabcdef: to_port(v4(), PORTS[0], &vxlan(0xab_cdef, guest_tcp())),
    vxlan_ipv6_udp [Vxlan Removed] 5: to_port(v4(), PORTS[0], &vxlan(5, guest_udp())),
    vxlan_other_network [Vxlan Removed] 6: to_port(v4(), PORTS[0], &vxlan(6, guest_tcp())),
    vxlan_network_zero [Vxlan Removed] 0: to_port(v4(), PORTS[0], &vxlan(0, guest_tcp())),
    vxlan_of_linux [Vxlan Removed] 5: to_port(v4(), PORTS[1], &vxlan(5, guest_tcp())),
    vxlan_over_ipv6 [Vxlan Removed] 5: to_port(v6(), PORTS[0], &vxlan(5, guest_tcp())),
    vlan_vxlan_vlan [Vxlan Removed] 5: to_port(
        Frame::default().tag(ether_type::VLAN, 7).ipv4(&Ipv4::default()),
        PORTS[0],
        &vxlan(5, guest().tag(ether_type::VLAN, 30).ipv4(&ends_v4()).tcp(&Tcp::default()).finish()),
    ),
    vxlan_two_tags [Vxlan Removed] 5: to_port(
        v4(),
        PORTS[0],
        &vxlan(
            5,
            guest().tag(ether_type::SERVICE_VLAN, 40).tag(ether_type::VLAN, 30).ipv4(&ends_v4()).icmp(8, 0, [0; 4]).finish(),
        ),
    ),
    vxlan_icmp_quote [Vxlan Removed] 5: to_port(
        v4(),
        PORTS[0],
        &vxlan(
            5,
            guest()
                .ipv4(&Ipv4 { source: ends_v4().destination, destination: ends_v4().source, ..Ipv4::default() })
                .icmp(3, 3, [0; 4])
                .payload(&guest_tcp()[14..])
                .finish(),
        ),
    ),
    vxlan_inner_fragment [Vxlan Removed] 5: to_port(
        v4(),
        PORTS[0],
        &vxlan(
            5,
            guest().ipv4(&Ipv4 { fragment: Some(Fragment::LAST), ..ends_v4() }).protocol(protocol::UDP, &[0x55; 80]).finish(),
        ),
    ),
    vxlan_arp [Vxlan Unknown] 0: to_port(v4(), PORTS[0], &vxlan(5, guest().ether_type(ether_type::ARP, &[0; 28]).finish())),
    vxlan_without_network [Vxlan Unknown] 0: to_port(v4(), PORTS[0], &behind(&[0; 8], guest_tcp())),
    vxlan_empty [Vxlan Truncated] 0: to_port(v4(), PORTS[0], &[]),
    vxlan_cut_in_header [Vxlan Truncated] 0: to_port(v4(), PORTS[0], &[8, 0, 0, 0, 0, 0]),
    vxlan_cut_in_inner_ethernet [Vxlan Truncated] 0: to_port(v4(), PORTS[0], &vxlan(5, guest_tcp()[..13].to_vec())),
    vxlan_cut_in_inner_ip [Vxlan Truncated] 0: to_port(v4(), PORTS[0], &vxlan(5, guest_tcp()[..33].to_vec())),
    vxlan_inner_length_beyond_frame [Vxlan Truncated] 0: to_port(v4(), PORTS[0], &vxlan(5, cut(guest_tcp(), 3))),
    vxlan_inner_malformed [Vxlan Malformed] 0: to_port(
        v4(),
        PORTS[0],
        &vxlan(5, guest().ipv4(&ends_v4()).tcp(&Tcp::default()).poke(Layer::Ip, 0, &[0x44]).finish()),
    ),
    vxlan_first_fragment [Vxlan IsFragment] 0: to_port(fragment(Fragment::FIRST), PORTS[0], &vxlan(5, guest_tcp())),
    vxlan_later_fragment [] 0: fragment(Fragment::LAST).protocol(protocol::UDP, &vxlan(5, guest_tcp())).finish(),
    vxlan_from_its_port [] 0: v4()
        .udp(Ports { source: PORTS[0], destination: 50_001 })
        .payload(&vxlan(5, guest_tcp()))
        .finish(),
    geneve_ethernet [Geneve Removed] 0x777777: to_port(v4(), PORTS[2], &geneve(0, BRIDGED, 0x77_7777, guest_tcp())),
    geneve_options [Geneve Removed] 5: to_port(v4(), PORTS[2], &geneve(3, BRIDGED, 5, guest_udp())),
    geneve_longest_options [Geneve Removed] 5: to_port(v4(), PORTS[2], &geneve(63, BRIDGED, 5, guest_tcp())),
    geneve_ipv4 [Geneve Removed] 5: to_port(v6(), PORTS[2], &geneve(1, ether_type::IPV4, 5, packet(guest_tcp()))),
    geneve_ipv6 [Geneve Removed] 5: to_port(v4(), PORTS[2], &geneve(0, ether_type::IPV6, 5, packet(guest_udp()))),
    geneve_version_1 [Geneve Unknown] 0: to_port(v4(), PORTS[2], &geneve(0x40, BRIDGED, 5, vec![0; 400])),
    geneve_unknown_protocol [Geneve Unknown] 0: to_port(v4(), PORTS[2], &geneve(0, ether_type::ARP, 5, vec![0; 28])),
    geneve_options_beyond_frame [Geneve Truncated] 0: to_port(v4(), PORTS[2], &cut(geneve(9, BRIDGED, 5, Vec::new()), 5)),
    gre_ipv4 [Gre Removed] 0: over_gre(0, ether_type::IPV4, packet(guest_tcp())),
    gre_ipv6 [Gre Removed] 0: over_gre(0, ether_type::IPV6, packet(guest_udp())),
    gre_key [Gre Removed] 0x80000007: over_gre(0x2000, ether_type::IPV4, packet(guest_tcp())),
    gre_checksum [Gre Removed] 0: over_gre(0x8000, ether_type::IPV4, packet(guest_tcp())),
    gre_sequence [Gre Removed] 0: over_gre(0x1000, ether_type::IPV6, packet(guest_udp())),
    gre_checksum_key_sequence [Gre Removed] 0x80000007: over_gre(0xb000, ether_type::IPV4, packet(guest_tcp())),
    gre_key_sequence [Gre Removed] 0x80000007: over_gre(0x3000, ether_type::IPV6, packet(guest_udp())),
    gre_ethernet [Gre Removed] 0: over_gre(0, BRIDGED, guest_tcp()),
    nvgre [Gre Removed] 0x80000007: over_gre(0x2000, BRIDGED, guest_tcp()),
    gre_over_ipv6 [Gre Removed] 0: v6().protocol(protocol::GRE, &gre(0, ether_type::IPV4, 0, packet(guest_tcp()))).finish(),
    gre_mpls [Gre Removed, Mpls Removed] 17: over_gre(0, ether_type::MPLS, mpls(&[16, 17], packet(guest_tcp()))),
    gre_mpls_of_nothing [Gre Unknown, Mpls Truncated] 0: over_gre(0, ether_type::MPLS, mpls(&[16, 17], Vec::new())),
    gre_pptp [Gre Unknown] 0: over_gre(0x3001, 0x880b, packet(guest_tcp())),
    gre_routing [Gre Unknown] 0: over_gre(0x4000, ether_type::IPV4, packet(guest_tcp())),
    gre_keepalive [Gre Unknown] 0: over_gre(0, 0, Vec::new()),
    gre_cut_in_key [Gre Truncated] 0: v4()
        .protocol(protocol::GRE, &cut(gre(0x2000, ether_type::IPV4, 7, Vec::new()), 1))
        .finish(),
    gre_first_fragment [Gre IsFragment] 0: fragment(Fragment::FIRST)
        .protocol(protocol::GRE, &gre(0, ether_type::IPV4, 0, packet(guest_tcp())))
        .finish(),
    gre_later_fragment [Gre IsFragment] 0: fragment(Fragment::MIDDLE).protocol(protocol::GRE, &[0x55; 64]).finish(),
    gre_atomic_fragment [Gre Removed] 0: v6()
        .extension(Extension::Fragment(Fragment::ATOMIC))
        .protocol(protocol::GRE, &gre(0, ether_type::IPV4, 0, packet(guest_tcp())))
        .finish(),
    gre_first_fragment_of_ipv6 [Gre IsFragment] 0: v6()
        .extension(Extension::Fragment(Fragment::FIRST))
        .protocol(protocol::GRE, &gre(0, ether_type::IPV4, 0, packet(guest_tcp())))
        .finish(),
    ipv4_in_ipv4 [Ip Removed] 0: v4().protocol(protocol::IPV4, &packet(guest_tcp())).finish(),
    ipv6_in_ipv4 [Ip Removed] 0: v4().protocol(protocol::IPV6, &packet(guest_udp())).finish(),
    ipv4_in_ipv6 [Ip Removed] 0: v6().protocol(protocol::IPV4, &packet(guest_tcp())).finish(),
    ipv6_in_ipv6 [Ip Removed] 0: v6()
        .extension(Extension::DestinationOptions { units: 0 })
        .protocol(protocol::IPV6, &packet(guest_udp()))
        .finish(),
    ipv6_as_ipv4_in_ipv4 [Ip Malformed] 0: v4().protocol(protocol::IPV4, &packet(guest_udp())).finish(),
    ipv4_in_ipv4_empty [Ip Truncated] 0: v4().protocol(protocol::IPV4, &[]).finish(),
    qinq_ipv4_in_ipv4 [Ip Removed] 0: Frame::default()
        .tag(ether_type::SERVICE_VLAN, 10)
        .tag(ether_type::VLAN, 20)
        .ipv4(&Ipv4::default())
        .protocol(protocol::IPV4, &packet(guest_tcp()))
        .finish(),
    authentication_ipv4_in_ipv4 [Ip Removed] 0: v4()
        .extension(Extension::Authentication { icv_words: 3 })
        .protocol(protocol::IPV4, &packet(guest_tcp()))
        .finish(),
    authentication_vxlan [Vxlan Removed] 5: to_port(
        v4().extension(Extension::Authentication { icv_words: 3 }),
        PORTS[0],
        &vxlan(5, guest_tcp()),
    ),
    gtpu_ipv4 [Gtpu Removed] 0xfeed0001: to_port(v4(), PORTS[3], &gtpu(0, 255, 0xfeed_0001, &[], packet(guest_tcp()))),
    gtpu_ipv6 [Gtpu Removed] 1: to_port(v4(), PORTS[3], &gtpu(0, 255, 1, &[], packet(guest_udp()))),
    gtpu_sequence [Gtpu Removed] 1: to_port(v4(), PORTS[3], &gtpu(2, 255, 1, &[0, 9, 0, 0], packet(guest_tcp()))),
    gtpu_session_container [Gtpu Removed] 1: to_port(
        v4(),
        PORTS[3],
        &gtpu(4, 255, 1, &[0, 0, 0, 0x85, 1, 0x10, 1, 0], packet(guest_tcp())),
    ),
    gtpu_three_extensions [Gtpu Removed] 1: to_port(
        v4(),
        PORTS[3],
        &gtpu(6, 255, 1, &[0, 9, 0, 0x85, 2, 0, 0, 0, 0, 0, 0, 0xc0, 1, 0, 0, 0x40, 1, 0, 0, 0], packet(guest_tcp())),
    ),
    gtpu_extension_of_nothing [Gtpu Malformed] 0: to_port(v4(), PORTS[3], &gtpu(4, 255, 1, &[0, 0, 0, 0x85, 0, 0, 0, 0], packet(guest_tcp()))),
    gtpu_extension_beyond_frame [Gtpu Truncated] 0: to_port(v4(), PORTS[3], &gtpu(4, 255, 1, &[0, 0, 0, 0x85, 200], Vec::new())),
    gtpu_five_extensions [Gtpu Unknown] 0: to_port(
        v4(),
        PORTS[3],
        &gtpu(4, 255, 1, &[&[0, 0, 0, 0x85][..], &[1, 0, 0, 0x85].repeat(4), &[1, 0, 0, 0]].concat(), packet(guest_tcp())),
    ),
    gtpu_echo [Gtpu Unknown] 0: to_port(v4(), PORTS[3], &gtpu(2, 1, 0, &[0, 1, 0, 0], Vec::new())),
    gtpu_version_2 [Gtpu Unknown] 0: to_port(v4(), PORTS[3], &gtpu(0x40, 255, 1, &[], packet(guest_tcp()))),
    gtpu_ethernet [Gtpu Unknown] 0: to_port(v4(), PORTS[3], &gtpu(0, 255, 1, &[], guest_tcp())),
    mpls_ipv4 [Mpls Removed] 1000 (NotIp): over_mpls(&[1000], packet(guest_tcp())),
    mpls_three_labels [Mpls Removed] 0xfffff (NotIp): over_mpls(&[16, 17, 0xf_ffff], packet(guest_udp())),
    mpls_pseudowire_with_control_word [Mpls Removed] 18 (NotIp): over_mpls(&[16, 18], behind(&[0; 4], guest_tcp())),
    mpls_pseudowire_without_control_word [Mpls Removed] 18 (NotIp): over_mpls(&[18], guest_tcp()),
    mpls_ambiguous_pseudowire [Mpls Unknown] 0 (NotIp): over_mpls(
        &[18],
        behind(&[0, 0, 0, 1, 0, 0, 2, 0x88, 0, 0, 0, 1, 8, 0, 0x45, 0, 8, 0], packet(guest_tcp())),
    ),
    mpls_associated_channel [Mpls Unknown] 0 (NotIp): over_mpls(&[18], behind(&[0x10, 0, 0, 0x21], guest_tcp())),
    mpls_seven_labels [Mpls Unknown] 0 (NotIp): over_mpls(&[16; 7], packet(guest_tcp())),
    mpls_cut_in_stack [Mpls Truncated] 0 (NotIp): Frame::default().ether_type(ether_type::MPLS, &[0, 1, 0, 64, 0, 1]).finish(),
    mpls_vxlan [Mpls Removed, Vxlan Removed] 5 (NotIp): over_mpls(&[16], packet(to_port(v4(), PORTS[0], &vxlan(5, guest_tcp())))),
    mpls_vxlan_arp [Mpls Removed, Vxlan Unknown] 16 (NotIp): over_mpls(
        &[16],
        packet(to_port(v4(), PORTS[0], &vxlan(5, guest().ether_type(ether_type::ARP, &[0; 28]).finish()))),
    ),
    pppoe_ipv4 [Pppoe Removed] 0x1234 (NotIp): over_pppoe(0x0021, packet(guest_tcp())),
    pppoe_ipv6 [Pppoe Removed] 0x1234 (NotIp): over_pppoe(0x0057, packet(guest_udp())),
    pppoe_link_control [Pppoe Unknown] 0 (NotIp): over_pppoe(0xc021, vec![9, 1, 0, 8, 1, 2, 3, 4]),
    vlan_pppoe_ipv4 [Pppoe Removed] 0x1234 (NotIp): Frame::default()
        .tag(ether_type::VLAN, 7)
        .ether_type(0x8864, &pppoe(0x1234, 0x0021, packet(guest_tcp())))
        .finish(),
    pppoe_ipv4_in_ipv4 [Pppoe Removed, Ip Removed] 0 (NotIp): over_pppoe(
        0x0021,
        packet(v4().protocol(protocol::IPV4, &packet(guest_tcp())).finish()),
    ),
    vxlan_mpls [Vxlan Removed, Mpls Removed] 20: to_port(v4(), PORTS[0], &vxlan(5, over_mpls(&[20], packet(guest_tcp())))),
    gre_vxlan [Gre Removed, Vxlan Removed] 9: over_gre(
        0,
        ether_type::IPV6,
        packet(to_port(v6(), PORTS[0], &vxlan(9, guest_tcp()))),
    ),
    vxlan_vxlan [Vxlan Removed, Vxlan Removed] 8: to_port(
        v4(),
        PORTS[0],
        &vxlan(7, to_port(guest().ipv4(&ends_v4()), PORTS[0], &vxlan(8, guest_udp()))),
    ),
    three_ipv4_in_ipv4 [Ip Removed, Ip Removed] 0: v4()
        .protocol(
            protocol::IPV4,
            &packet(v4().protocol(protocol::IPV4, &packet(v4().protocol(protocol::IPV4, &packet(guest_tcp())).finish())).finish()),
        )
        .finish(),
}
