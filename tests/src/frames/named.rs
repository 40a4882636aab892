//! The table of named frames: each is one case of the parser.

use super::builder::Frame;
use super::fields::{Extension, Fragment, Ipv4, Ipv6, Layer, Ports, Tcp};
use super::numbers::{ether_type, flag, protocol};
use crate::lab::Mac;
use flowml_common::packet::Skipped;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A frame and the name of the case that it is.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Words joined by underscores, in the order from the outside of the frame to the inside.
    pub name: &'static str,
    /// Builds the frame, always the same.
    pub build: fn() -> Vec<u8>,
    /// The reason for which the parser must skip it, or `None` if it belongs to a flow.
    pub skipped: Option<Skipped>,
}

/// Named frames that the kernel discards before tc sees them: it requires two bytes after the tag that it strips
/// (`skb_vlan_untag`, net/core/skbuff.c).
pub const DISCARDED_BEFORE_TC: [&str; 3] = ["vlan_cut_in_tag", "vlan_cut_before_ip", "qinq_cut_in_second_tag"];

const EIGHT: Extension = Extension::DestinationOptions { units: 0 };
const SEGMENT: &[u8] = b"some bytes of a stream";

fn v4() -> Frame {
    Frame::default().ipv4(&Ipv4::default())
}

fn v6() -> Frame {
    Frame::default().ipv6(&Ipv6::default())
}

fn v4_with(header: &Ipv4) -> Frame {
    Frame::default().ipv4(header)
}

fn v4_part(part: Fragment) -> Frame {
    v4_with(&Ipv4 { fragment: Some(part), identification: 0x7777, ..Ipv4::default() })
}

fn v6_part(part: Fragment) -> Frame {
    v6().extension(Extension::Fragment(part))
}

fn v6_chain(extensions: &[Extension]) -> Frame {
    extensions.iter().fold(v6(), |frame, extension| frame.extension(*extension))
}

fn tcp_with_flags(flags: u8) -> Vec<u8> {
    v4().tcp(&Tcp { flags, ..Tcp::default() }).finish()
}

fn tcp_data() -> Frame {
    v4().tcp(&Tcp { flags: flag::ACK | flag::PSH, ..Tcp::default() }).payload(SEGMENT)
}

fn syn() -> Tcp {
    // MSS 1460, SACK permitted, timestamps, no operation, window scale 7: as Linux sends them.
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7].to_vec();
    Tcp { flags: flag::SYN, acknowledgment: 0, options, ..Tcp::default() }
}

fn udp_query(frame: Frame) -> Frame {
    frame.udp(Ports::default()).payload(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x01\x00\x01")
}

/// From the destination of the other frames to their source.
fn tcp_to_source() -> Vec<u8> {
    let Ipv4 { source, destination, .. } = Ipv4::default();
    v4_with(&Ipv4 { source: destination, destination: source, ..Ipv4::default() }).tcp(&Tcp::default()).finish()
}

/// An ICMPv6 error about a packet, to the packet's sender.
fn udp_error_of_ipv6() -> Vec<u8> {
    let Ipv6 { source, destination, .. } = Ipv6::default();
    let probe = Frame::default().ipv6(&Ipv6 { source: destination, destination: source, ..Ipv6::default() });
    v6().icmpv6(1, 3, [0; 4]).payload(&probe.udp(Ports::default()).finish()[14..]).finish()
}

fn tagged(tags: &[(u16, u16)]) -> Frame {
    tags.iter().fold(Frame::default(), |frame, &(tpid, tci)| frame.tag(tpid, tci))
}

fn arp_request() -> Vec<u8> {
    let request = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0x77, 0, 0, 0, 1, 10, 77, 0, 1, 0, 0, 0, 0, 0, 0, 10, 77, 0, 2];
    Frame::between(Mac([2, 0x77, 0, 0, 0, 1]), Mac([0xff; 6])).ether_type(ether_type::ARP, &request).padded().finish()
}

/// Writes the table. Each line has a name, the reason for skipping if there is one, and an expression.
macro_rules! named {
    ($($name:ident $(($skipped:ident))?: $frame:expr,)*) => {
        /// Every named frame.
        pub const NAMED: &[Named] = &[
            $(Named { name: stringify!($name), build: || $frame, skipped: skipped!($($skipped)?) },)*
        ];
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

named! {
    // Valid packets.
    ipv4_tcp_data: tcp_data().finish(),
    ipv4_tcp_bare_ack: tcp_with_flags(flag::ACK),
    ipv4_tcp_syn_with_options: v4().tcp(&syn()).finish(),
    ipv4_tcp_syn_ack: tcp_with_flags(flag::SYN | flag::ACK),
    ipv4_tcp_fin: tcp_with_flags(flag::FIN | flag::ACK),
    ipv4_tcp_rst: tcp_with_flags(flag::RST),
    ipv4_tcp_ece_cwr: tcp_with_flags(flag::ACK | flag::ECE | flag::CWR),
    ipv4_tcp_urg: tcp_with_flags(flag::ACK | flag::URG),
    ipv4_tcp_xmas: tcp_with_flags(flag::FIN | flag::PSH | flag::URG),
    ipv4_tcp_no_flags: tcp_with_flags(0),
    ipv4_tcp_all_flags: tcp_with_flags(0xff),
    ipv4_tcp_longest_options: v4().tcp(&Tcp { options: vec![1; 40], ..Tcp::default() }).payload(SEGMENT).finish(),
    ipv4_tcp_reversed: v4_with(&Ipv4 {
        source: Ipv4::default().destination,
        destination: Ipv4::default().source,
        ..Ipv4::default()
    })
    .tcp(&Tcp { source_port: 443, destination_port: 40000, ..Tcp::default() })
    .payload(SEGMENT)
    .finish(),
    ipv4_tcp_same_endpoint: v4_with(&Ipv4 { destination: Ipv4::default().source, ..Ipv4::default() })
        .tcp(&Tcp { destination_port: 40000, ..Tcp::default() })
        .finish(),
    ipv4_tcp_port_zero: v4().tcp(&Tcp { source_port: 0, destination_port: 0, ..Tcp::default() }).finish(),
    ipv4_tcp_full_frame: v4().tcp(&Tcp::default()).payload(&[0x55; 1460]).finish(),
    ipv4_udp: udp_query(v4()).finish(),
    ipv4_udp_empty: v4().udp(Ports::default()).finish(),
    ipv4_udp_jumbo_frame: v4().udp(Ports::default()).payload(&[0x55; 8972]).finish(),
    ipv4_sctp: v4().sctp(Ports { source: 5000, destination: 36412 }).payload(&[1, 0, 0, 4]).finish(),
    ipv4_icmp_echo_request: v4().icmp(8, 0, [0x12, 0x34, 0, 1]).payload(&[0x61; 56]).finish(),
    ipv4_icmp_echo_reply: v4().icmp(0, 0, [0x12, 0x34, 0, 1]).payload(&[0x61; 56]).finish(),
    ipv4_icmp_port_unreachable: v4().icmp(3, 3, [0; 4]).payload(&udp_query(v4()).finish()[14..42]).finish(),
    ipv4_icmp_quote_of_tcp: v4().icmp(11, 0, [0; 4]).payload(&v4().tcp(&syn()).finish()[14..]).finish(),
    ipv4_icmp_quote_of_a_flow_back: v4().icmp(3, 1, [0; 4]).payload(&tcp_to_source()[14..]).finish(),
    ipv4_icmp_quote_with_options: v4()
        .icmp(12, 0, [20, 0, 0, 0])
        .payload(&v4_with(&Ipv4 { options: vec![1; 12], ..Ipv4::default() }).udp(Ports::default()).finish()[14..])
        .finish(),
    ipv4_icmp_quote_of_icmp: v4().icmp(5, 1, [10, 77, 0, 3]).payload(&v4().icmp(8, 0, [0; 4]).finish()[14..]).finish(),
    ipv4_icmp_quote_of_fragment: v4()
        .icmp(11, 1, [0; 4])
        .payload(&v4_part(Fragment::LAST).protocol(protocol::UDP, &[0x55; 8]).finish()[14..])
        .finish(),
    ipv4_icmp_quote_cut: v4().icmp(3, 0, [0; 4]).payload(&tcp_data().finish()[14..37]).finish(),
    ipv4_icmp_quote_that_lies: v4().icmp(3, 2, [0; 4]).payload(&[0x4f; 28]).finish(),
    ipv4_icmp_without_quote: v4().icmp(3, 4, [0; 4]).finish(),
    ipv4_igmp_report: v4_with(&Ipv4 { ttl: 1, options: vec![148, 4, 0, 0], ..Ipv4::default() })
        .protocol(protocol::IGMP, &[0x22, 0, 0, 0, 0, 0, 0, 0])
        .finish(),
    ipv4_gre: v4().protocol(protocol::GRE, &[&[0, 0, 8, 0][..], &udp_query(v4()).finish()[14..]].concat()).finish(),
    ipv4_esp: v4().protocol(protocol::ESP, &[0x5a; 48]).finish(),
    ipv4_ah_tcp: v4().extension(Extension::Authentication { icv_words: 3 }).tcp(&Tcp::default()).finish(),
    ipv4_ospf: v4().protocol(protocol::OSPF, &[2, 1, 0, 44]).finish(),
    ipv4_in_ipv4: v4().ipv4(&Ipv4 { source: Ipv4Addr::new(10, 78, 0, 1), ..Ipv4::default() }).tcp(&Tcp::default()).finish(),
    ipv6_in_ipv4: udp_query(v4().ipv6(&Ipv6::default())).finish(),
    ipv4_unknown_protocol: v4().protocol(protocol::EXPERIMENT, SEGMENT).finish(),
    ipv4_empty: v4().protocol(protocol::EXPERIMENT, &[]).finish(),
    ipv4_dscp_ef: v4_with(&Ipv4 { traffic_class: 46 << 2, ..Ipv4::default() }).udp(Ports::default()).finish(),
    ipv4_ttl_zero: v4_with(&Ipv4 { ttl: 0, ..Ipv4::default() }).udp(Ports::default()).finish(),
    ipv4_multicast: Frame::between(Mac([2, 0x77, 0, 0, 0, 1]), Mac([1, 0, 0x5e, 0, 0, 0xfb]))
        .ipv4(&Ipv4 { destination: Ipv4Addr::new(224, 0, 0, 251), ..Ipv4::default() })
        .udp(Ports { source: 5353, destination: 5353 })
        .finish(),
    ipv4_broadcast: Frame::between(Mac([2, 0x77, 0, 0, 0, 1]), Mac([0xff; 6]))
        .ipv4(&Ipv4 { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() })
        .udp(Ports { source: 68, destination: 67 })
        .finish(),
    ipv4_shortest_frame: v4().tcp(&Tcp::default()).padded().finish(),
    ipv4_udp_empty_shortest_frame: v4().udp(Ports::default()).padded().finish(),

    // IPv4 options and fragments.
    ipv4_router_alert: v4_with(&Ipv4 { options: vec![148, 4, 0, 0], ..Ipv4::default() }).udp(Ports::default()).finish(),
    ipv4_longest_options: udp_query(v4_with(&Ipv4 { options: vec![1; 40], ..Ipv4::default() })).finish(),
    ipv4_dont_fragment: udp_query(v4()).poke(Layer::Ip, 6, &[0x40, 0]).finish(),
    ipv4_reserved_flag: udp_query(v4()).poke(Layer::Ip, 6, &[0x80, 0]).finish(),
    ipv4_first_fragment: v4_part(Fragment::FIRST).udp(Ports::default()).payload(&[0x55; 1472]).finish(),
    ipv4_middle_fragment: v4_part(Fragment::MIDDLE).protocol(protocol::UDP, &[0x55; 1480]).finish(),
    ipv4_last_fragment: v4_part(Fragment::LAST).protocol(protocol::UDP, &[0x55; 100]).finish(),
    ipv4_last_fragment_short: v4_part(Fragment::LAST).protocol(protocol::TCP, &[0x55; 3]).padded().finish(),
    ipv4_first_fragment_cut_header (Truncated): v4_part(Fragment::FIRST).protocol(protocol::TCP, &[0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1]).finish(),
    ipv4_fragment_of_icmp: v4_part(Fragment::LAST).protocol(protocol::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]).finish(),

    // VLAN tags.
    vlan_ipv4_tcp: tagged(&[(ether_type::VLAN, 100)]).ipv4(&Ipv4::default()).tcp(&Tcp::default()).finish(),
    vlan_ipv6_udp: udp_query(tagged(&[(ether_type::VLAN, 4094)]).ipv6(&Ipv6::default())).finish(),
    vlan_priority_bits: udp_query(tagged(&[(ether_type::VLAN, 0xf000 | 100)]).ipv4(&Ipv4::default())).finish(),
    vlan_priority_tag: udp_query(tagged(&[(ether_type::VLAN, 0xa000)]).ipv4(&Ipv4::default())).finish(),
    vlan_shortest_frame: tagged(&[(ether_type::VLAN, 5)]).ipv4(&Ipv4::default()).udp(Ports::default()).padded().finish(),
    service_vlan_ipv4: udp_query(tagged(&[(ether_type::SERVICE_VLAN, 7)]).ipv4(&Ipv4::default())).finish(),
    qinq_8100_8100: udp_query(tagged(&[(ether_type::VLAN, 10), (ether_type::VLAN, 20)]).ipv4(&Ipv4::default())).finish(),
    qinq_88a8_8100: udp_query(tagged(&[(ether_type::SERVICE_VLAN, 10), (ether_type::VLAN, 20)]).ipv4(&Ipv4::default())).finish(),
    qinq_ipv6_tcp: tagged(&[(ether_type::SERVICE_VLAN, 10), (ether_type::VLAN, 20)]).ipv6(&Ipv6::default()).tcp(&syn()).finish(),
    qinq_9100_8100: udp_query(tagged(&[(0x9100, 10), (ether_type::VLAN, 20)]).ipv4(&Ipv4::default())).finish(),
    qinq_9200_8100: udp_query(tagged(&[(0x9200, 10), (ether_type::VLAN, 20)]).ipv6(&Ipv6::default())).finish(),
    qinq_9300_9100: udp_query(tagged(&[(0x9300, 10), (0x9100, 20)]).ipv4(&Ipv4::default())).finish(),
    vlan_9200_tcp: tagged(&[(0x9200, 10)]).ipv4(&Ipv4::default()).tcp(&syn()).finish(),
    ether_type_below_9100 (NotIp): udp_query(tagged(&[(0x9000, 10), (ether_type::VLAN, 20)]).ipv4(&Ipv4::default())).finish(),
    ether_type_above_9300 (NotIp): udp_query(tagged(&[(0x9400, 10), (ether_type::VLAN, 20)]).ipv4(&Ipv4::default())).finish(),
    three_tags (NotIp): udp_query(
        tagged(&[(ether_type::SERVICE_VLAN, 1), (ether_type::VLAN, 2), (ether_type::VLAN, 3)]).ipv4(&Ipv4::default()),
    )
    .finish(),
    vlan_arp (NotIp): tagged(&[(ether_type::VLAN, 5)]).ether_type(ether_type::ARP, &[0; 28]).padded().finish(),
    vlan_cut_in_tag (Truncated): tagged(&[(ether_type::VLAN, 100)]).cut(Layer::Tag, 3).finish(),
    vlan_cut_before_ip (Truncated): tagged(&[(ether_type::VLAN, 100)]).ipv4(&Ipv4::default()).cut(Layer::Ip, 0).finish(),
    qinq_cut_in_second_tag (Truncated): tagged(&[(ether_type::SERVICE_VLAN, 10), (ether_type::VLAN, 20)]).cut(Layer::Tag, 1).finish(),

    // Not IP.
    arp (NotIp): arp_request(),
    lldp (NotIp): Frame::between(Mac([2, 0x77, 0, 0, 0, 1]), Mac([1, 0x80, 0xc2, 0, 0, 0x0e]))
        .ether_type(ether_type::LLDP, &[2, 7, 4, 2, 0x77, 0, 0, 0, 1, 4, 2, 7, 0x61, 6, 2, 0, 120, 0, 0])
        .padded()
        .finish(),
    eapol (NotIp): Frame::default().ether_type(ether_type::EAPOL, &[2, 1, 0, 0]).padded().finish(),
    mpls (NotIp): Frame::default().ether_type(ether_type::MPLS, &[&[0, 1, 1, 64][..], &udp_query(v4()).finish()[14..]].concat()).finish(),
    local_experiment (NotIp): Frame::default().ether_type(ether_type::LOCAL_EXPERIMENT, SEGMENT).padded().finish(),
    // An ethertype field up to 1500 is a length (IEEE 802.3 §3.2.6). This one belongs to a spanning tree message.
    llc_spanning_tree (NotIp): Frame::default().ether_type(38, &[0x42, 0x42, 3, 0, 0, 0]).padded().finish(),
    llc_longest (NotIp): Frame::default().ether_type(1500, &[0xaa; 1500]).finish(),

    // IPv4 headers with wrong fields.
    ipv4_ihl_0 (Malformed): v4().udp(Ports::default()).poke(Layer::Ip, 0, &[0x40]).finish(),
    ipv4_ihl_4 (Malformed): v4().udp(Ports::default()).poke(Layer::Ip, 0, &[0x44]).finish(),
    ipv4_ihl_beyond_frame (Truncated): v4().udp(Ports::default()).poke(Layer::Ip, 0, &[0x4f]).finish(),
    ipv4_ihl_beyond_total_length (Malformed): udp_query(v4()).payload(&[0; 40]).poke(Layer::Ip, 0, &[0x4f]).poke(Layer::Ip, 2, &[0, 40]).finish(),
    // A buffer that will be segmented: the packet extends to the end of the frame.
    ipv4_total_length_zero: udp_query(v4()).poke(Layer::Ip, 2, &[0, 0]).finish(),
    ipv4_total_length_zero_of_8_kib: v4().tcp(&Tcp::default()).payload(&[0x55; 8192]).poke(Layer::Ip, 2, &[0, 0]).finish(),
    ipv4_total_length_zero_shortest_frame: v4().tcp(&Tcp::default()).padded().poke(Layer::Ip, 2, &[0, 0]).finish(),
    ipv4_total_length_zero_fragment: v4_part(Fragment::LAST).protocol(protocol::UDP, &[0x55; 100]).poke(Layer::Ip, 2, &[0, 0]).finish(),
    ipv4_total_length_zero_cut (Truncated): v4().tcp(&Tcp::default()).poke(Layer::Ip, 2, &[0, 0]).cut(Layer::Transport, 12).finish(),
    ipv4_total_length_zero_ihl_beyond_frame (Truncated): v4().udp(Ports::default()).poke(Layer::Ip, 0, &[0x4f]).poke(Layer::Ip, 2, &[0, 0]).finish(),
    ipv4_total_length_below_header (Malformed): udp_query(v4()).poke(Layer::Ip, 2, &[0, 19]).finish(),
    ipv4_total_length_header_only (Malformed): udp_query(v4()).poke(Layer::Ip, 2, &[0, 20]).finish(),
    ipv4_total_length_beyond_frame (Truncated): udp_query(v4()).poke(Layer::Ip, 2, &[0x05, 0xdc]).finish(),
    ipv4_total_length_largest (Truncated): udp_query(v4()).poke(Layer::Ip, 2, &[0xff, 0xff]).finish(),
    ipv4_total_length_cuts_transport (Malformed): tcp_data().poke(Layer::Ip, 2, &[0, 30]).finish(),
    ipv4_version_6 (Malformed): udp_query(v4()).poke(Layer::Ip, 0, &[0x65]).finish(),
    ipv4_version_0 (Malformed): udp_query(v4()).poke(Layer::Ip, 0, &[0x05]).finish(),
    ipv4_bad_checksum: udp_query(v4()).poke(Layer::Ip, 10, &[0xde, 0xad]).finish(),

    // Transport headers with wrong fields.
    tcp_data_offset_0 (Malformed): tcp_data().poke(Layer::Transport, 12, &[0]).finish(),
    tcp_data_offset_4 (Malformed): tcp_data().poke(Layer::Transport, 12, &[0x40]).finish(),
    tcp_data_offset_beyond_packet (Malformed): v4().tcp(&Tcp::default()).poke(Layer::Transport, 12, &[0xf0]).finish(),
    tcp_data_offset_in_padding (Malformed): v4().tcp(&Tcp::default()).padded().poke(Layer::Transport, 12, &[0x60]).finish(),
    tcp_reserved_bits: tcp_data().poke(Layer::Transport, 12, &[0x5f]).finish(),
    tcp_bad_checksum: tcp_data().poke(Layer::Transport, 16, &[0xde, 0xad]).finish(),
    udp_length_zero: udp_query(v4()).poke(Layer::Transport, 4, &[0, 0]).finish(),
    udp_length_below_header: udp_query(v4()).poke(Layer::Transport, 4, &[0, 7]).finish(),
    udp_length_short: udp_query(v4()).poke(Layer::Transport, 4, &[0, 10]).finish(),
    udp_length_beyond_packet: udp_query(v4()).poke(Layer::Transport, 4, &[0xff, 0xff]).finish(),

    // Cut at each layer.
    empty (Truncated): Vec::new(),
    one_byte (Truncated): vec![2],
    cut_in_ethernet (Truncated): tcp_data().cut(Layer::Ethernet, 13).finish(),
    cut_after_ethernet (Truncated): tcp_data().cut(Layer::Ip, 0).finish(),
    ipv4_cut_after_first_byte (Truncated): tcp_data().cut(Layer::Ip, 1).finish(),
    ipv4_cut_in_header (Truncated): tcp_data().cut(Layer::Ip, 19).finish(),
    ipv4_cut_in_options (Truncated): v4_with(&Ipv4 { options: vec![1; 12], ..Ipv4::default() }).udp(Ports::default()).cut(Layer::Ip, 27).finish(),
    ipv4_cut_before_transport (Truncated): tcp_data().cut(Layer::Transport, 0).finish(),
    tcp_cut_in_ports (Truncated): tcp_data().cut(Layer::Transport, 3).finish(),
    tcp_cut_after_ports (Truncated): tcp_data().cut(Layer::Transport, 4).finish(),
    tcp_cut_in_header (Truncated): tcp_data().cut(Layer::Transport, 19).finish(),
    tcp_cut_in_options (Truncated): v4().tcp(&syn()).cut(Layer::Transport, 30).finish(),
    tcp_cut_in_payload (Truncated): tcp_data().cut(Layer::Payload, 5).finish(),
    udp_cut_in_header (Truncated): udp_query(v4()).cut(Layer::Transport, 7).finish(),
    sctp_cut_in_header (Truncated): v4().sctp(Ports::default()).cut(Layer::Transport, 11).finish(),
    icmp_cut_after_type (Truncated): v4().icmp(8, 0, [0; 4]).cut(Layer::Transport, 1).finish(),
    icmp_cut_in_header (Truncated): v4().icmp(8, 0, [0; 4]).cut(Layer::Transport, 7).finish(),
    ipv6_cut_after_first_byte (Truncated): udp_query(v6()).cut(Layer::Ip, 1).finish(),
    ipv6_cut_in_header (Truncated): udp_query(v6()).cut(Layer::Ip, 39).finish(),
    ipv6_cut_before_transport (Truncated): udp_query(v6()).cut(Layer::Transport, 0).finish(),
    ipv6_cut_in_extension (Truncated): v6_chain(&[EIGHT]).udp(Ports::default()).cut(Layer::Extension, 7).finish(),
    ipv6_cut_after_next_header (Truncated): v6_chain(&[EIGHT]).udp(Ports::default()).cut(Layer::Extension, 1).finish(),
    icmpv6_cut_in_header (Truncated): v6().icmpv6(128, 0, [0; 4]).cut(Layer::Transport, 3).finish(),

    // IPv6.
    ipv6_tcp_data: v6().tcp(&Tcp { flags: flag::ACK | flag::PSH, ..Tcp::default() }).payload(SEGMENT).finish(),
    ipv6_tcp_syn_with_options: v6().tcp(&syn()).finish(),
    ipv6_udp: udp_query(v6()).finish(),
    ipv6_udp_empty: v6().udp(Ports::default()).finish(),
    ipv6_sctp: v6().sctp(Ports { source: 5000, destination: 36412 }).payload(&[1, 0, 0, 4]).finish(),
    ipv6_icmpv6_echo_request: v6().icmpv6(128, 0, [0x12, 0x34, 0, 1]).payload(&[0x61; 56]).finish(),
    ipv6_icmpv6_echo_reply: v6().icmpv6(129, 0, [0x12, 0x34, 0, 1]).payload(&[0x61; 56]).finish(),
    ipv6_icmpv6_quote_of_tcp: v6().icmpv6(1, 4, [0; 4]).payload(&v6().tcp(&syn()).finish()[14..]).finish(),
    ipv6_icmpv6_quote_of_udp: udp_error_of_ipv6(),
    ipv6_icmpv6_quote_with_extension: v6()
        .icmpv6(3, 0, [0; 4])
        .payload(&v6_chain(&[EIGHT]).udp(Ports::default()).finish()[14..])
        .finish(),
    ipv6_neighbour_solicitation: Frame::default()
        .ipv6(&Ipv6 {
            destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2),
            hop_limit: 255,
            ..Ipv6::default()
        })
        .icmpv6(135, 0, [0; 4])
        .payload(&[&Ipv6::default().destination.octets()[..], &[1, 1, 2, 0x77, 0, 0, 0, 1]].concat())
        .finish(),
    ipv6_neighbour_advertisement: v6()
        .icmpv6(136, 0, [0x60, 0, 0, 0])
        .payload(&[&Ipv6::default().source.octets()[..], &[2, 1, 2, 0x77, 0, 0, 0, 2]].concat())
        .finish(),
    ipv6_multicast_report: v6_chain(&[Extension::HopByHop { units: 0 }]).icmpv6(143, 0, [0; 4]).finish(),
    ipv6_class_and_label: udp_query(
        Frame::default().ipv6(&Ipv6 { traffic_class: 0xb8, flow_label: 0xabcde, ..Ipv6::default() }),
    )
    .finish(),
    ipv6_hop_limit_zero: udp_query(Frame::default().ipv6(&Ipv6 { hop_limit: 0, ..Ipv6::default() })).finish(),
    ipv6_v4_mapped_addresses: udp_query(Frame::default().ipv6(&Ipv6 {
        source: Ipv4::default().source.to_ipv6_mapped(),
        destination: Ipv4::default().destination.to_ipv6_mapped(),
        ..Ipv6::default()
    }))
    .finish(),
    ipv6_hop_by_hop: udp_query(v6_chain(&[Extension::HopByHop { units: 0 }])).finish(),
    ipv6_routing: udp_query(v6_chain(&[Extension::Routing { units: 2 }])).finish(),
    ipv6_destination_options: udp_query(v6_chain(&[Extension::DestinationOptions { units: 3 }])).finish(),
    ipv6_long_extension: udp_query(v6_chain(&[Extension::DestinationOptions { units: 31 }])).finish(),
    ipv6_authentication: udp_query(v6_chain(&[Extension::Authentication { icv_words: 3 }])).finish(),
    ipv6_authentication_in_chain: v6_chain(&[
        Extension::HopByHop { units: 1 },
        Extension::Authentication { icv_words: 5 },
        EIGHT,
    ])
    .tcp(&syn())
    .finish(),
    ipv6_chain_of_4: udp_query(v6_chain(&[
        Extension::HopByHop { units: 0 },
        EIGHT,
        Extension::Routing { units: 1 },
        Extension::Authentication { icv_words: 3 },
    ]))
    .finish(),
    ipv6_chain_of_6: udp_query(v6_chain(&[
        Extension::HopByHop { units: 0 },
        EIGHT,
        Extension::Routing { units: 1 },
        Extension::Fragment(Fragment::ATOMIC),
        Extension::Authentication { icv_words: 3 },
        Extension::DestinationOptions { units: 1 },
    ]))
    .finish(),
    ipv6_chain_of_10 (ExtensionChain): udp_query(v6_chain(&[EIGHT; 10])).finish(),
    ipv6_hop_by_hop_not_first: udp_query(v6_chain(&[EIGHT, Extension::HopByHop { units: 0 }])).finish(),
    ipv6_extension_beyond_packet (Truncated): udp_query(v6_chain(&[EIGHT])).poke(Layer::Extension, 1, &[0xff]).finish(),
    ipv6_authentication_length_zero: udp_query(v6_chain(&[Extension::Authentication { icv_words: 3 }]))
        .poke(Layer::Extension, 1, &[0])
        .finish(),
    ipv6_mobility: v6().protocol(protocol::MOBILITY, &[protocol::NO_NEXT_HEADER, 0, 0, 0, 0, 0, 0, 0]).finish(),
    ipv6_host_identity: v6().protocol(protocol::HIP, &[protocol::NO_NEXT_HEADER, 4, 1, 0x21]).finish(),
    ipv6_shim6: v6().protocol(protocol::SHIM6, &[protocol::NO_NEXT_HEADER, 0, 0, 0, 0, 0, 0, 0]).finish(),
    ipv6_first_fragment: v6_part(Fragment::FIRST).udp(Ports::default()).payload(&[0x55; 1440]).finish(),
    ipv6_middle_fragment: v6_part(Fragment::MIDDLE).protocol(protocol::UDP, &[0x55; 1448]).finish(),
    ipv6_last_fragment: v6_part(Fragment::LAST).protocol(protocol::UDP, &[0x55; 100]).finish(),
    // The next header field of a later fragment names the first header of the fragmentable part. That header is in
    // another fragment.
    ipv6_last_fragment_of_options: v6_part(Fragment::LAST).protocol(protocol::DESTINATION_OPTIONS, &[0x55; 24]).finish(),
    ipv6_atomic_fragment: udp_query(v6_part(Fragment::ATOMIC)).finish(),
    ipv6_no_next_header: v6().protocol(protocol::NO_NEXT_HEADER, &[]).padded().finish(),
    ipv6_no_next_header_with_data: v6_chain(&[EIGHT]).protocol(protocol::NO_NEXT_HEADER, SEGMENT).finish(),
    ipv6_esp: v6().protocol(protocol::ESP, &[0x5a; 48]).finish(),
    ipv6_gre: v6().protocol(protocol::GRE, &[&[0, 0, 8, 0][..], &udp_query(v4()).finish()[14..]].concat()).finish(),
    ipv6_ospf: v6().protocol(protocol::OSPF, &[3, 1, 0, 36]).finish(),
    ipv4_in_ipv6: udp_query(v6().ipv4(&Ipv4::default())).finish(),
    ipv6_unknown_protocol: v6().protocol(protocol::EXPERIMENT, SEGMENT).finish(),
    ipv6_icmp_of_ipv4: v6().protocol(protocol::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]).finish(),
    ipv4_icmpv6_of_ipv6: v4().protocol(protocol::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]).finish(),
    // Hop-by-hop option 0xc2 contains the real length, above 65,535 (RFC 2675).
    ipv6_jumbogram: v6()
        .extension(Extension::HopByHop { units: 0 })
        .tcp(&Tcp::default())
        .payload(SEGMENT)
        .poke(Layer::Ip, 4, &[0, 0])
        .poke(Layer::Extension, 2, &[0xc2, 4, 0, 1, 0, 0])
        .finish(),
    // The packet extends to the end of the frame, as in IPv4. After No Next Header there is no payload.
    ipv6_payload_length_zero: udp_query(v6()).poke(Layer::Ip, 4, &[0, 0]).finish(),
    ipv6_payload_length_zero_of_8_kib: v6().tcp(&Tcp::default()).payload(&[0x55; 8192]).poke(Layer::Ip, 4, &[0, 0]).finish(),
    ipv6_payload_length_zero_fragment: v6_part(Fragment::LAST).protocol(protocol::UDP, &[0x55; 100]).poke(Layer::Ip, 4, &[0, 0]).finish(),
    ipv6_payload_length_zero_router_alert: v6_chain(&[Extension::HopByHop { units: 0 }])
        .udp(Ports::default())
        .poke(Layer::Ip, 4, &[0, 0])
        .poke(Layer::Extension, 2, &[5, 2, 0, 0, 1, 0])
        .finish(),
    ipv6_payload_length_zero_cut (Truncated): v6().tcp(&Tcp::default()).poke(Layer::Ip, 4, &[0, 0]).cut(Layer::Transport, 12).finish(),
    ipv6_payload_length_short: udp_query(v6()).poke(Layer::Ip, 4, &[0, 10]).finish(),
    ipv6_payload_length_beyond_frame (Truncated): udp_query(v6()).poke(Layer::Ip, 4, &[0x05, 0xdc]).finish(),
    ipv6_payload_length_cuts_transport (Malformed): v6().tcp(&syn()).poke(Layer::Ip, 4, &[0, 12]).finish(),
    ipv6_payload_length_cuts_extension (Malformed): udp_query(v6_chain(&[Extension::DestinationOptions { units: 3 }]))
        .poke(Layer::Ip, 4, &[0, 16])
        .finish(),
    ipv6_version_4 (Malformed): udp_query(v6()).poke(Layer::Ip, 0, &[0x40]).finish(),
    ipv6_trailing_bytes: v6().udp(Ports::default()).payload(&[0; 30]).poke(Layer::Ip, 4, &[0, 8]).poke(Layer::Transport, 4, &[0, 8]).finish(),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::SHORTEST;
    use etherparse::{LaxSlicedPacket, SlicedPacket, TransportSlice};
    use flowml_common::packet::Hook;
    use flowml_common::parse::parse;
    use std::collections::HashSet;

    fn frame(name: &str) -> Vec<u8> {
        let named = NAMED.iter().find(|named| named.name == name);
        (named.unwrap_or_else(|| panic!("there is no frame {name}")).build)()
    }

    #[test]
    fn names_and_frames_are_unique() {
        let (mut names, mut frames) = (HashSet::new(), HashSet::new());
        for Named { name, build, .. } in NAMED {
            assert!(names.insert(name), "two frames are named {name}");
            assert!(frames.insert(build()), "{name} is the same as an earlier frame");
        }
    }

    #[test]
    fn the_parser_skips_exactly_the_frames_of_the_table() {
        for Named { name, build, skipped } in NAMED {
            let bytes = build();
            let frame = flowml_common::packet::Frame {
                time_ns: 0,
                length: bytes.len() as u32,
                interface: 1,
                hook: Hook::Xdp,
                stripped_vlan: None,
                segments: None,
            };
            assert_eq!(parse(&frame, &bytes[..]).err(), *skipped, "{name}");
        }
    }

    /// Another parser must read every frame whose name names no error without an error, checksums included.
    #[test]
    fn frames_without_errors_are_valid() {
        let mut transports = 0;
        for Named { name, build, .. } in NAMED {
            let bytes = build();
            let Ok(packet) = SlicedPacket::from_ethernet(&bytes) else { continue };
            let is_lie = ["bad_checksum", "length", "dont_fragment", "reserved", "fragment", "data_offset", "trailing"];
            if is_lie.iter().any(|lie| name.contains(lie)) {
                continue;
            }
            let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { continue };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "{name}");
            match &packet.transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    let right = tcp.calc_checksum_ipv4(header.source, header.destination).expect("a short segment");
                    assert_eq!(tcp.checksum(), right, "{name}");
                }
                Some(TransportSlice::Udp(udp)) => {
                    let right = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).expect("a short datagram");
                    assert_eq!(udp.checksum(), right, "{name}");
                }
                Some(TransportSlice::Icmpv4(icmp)) => {
                    let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
                    assert_eq!(icmp.header().checksum, right, "{name}");
                }
                _ => continue,
            }
            transports += 1;
        }
        assert!(transports >= 20, "only {transports} frames had a checksum to compare");
    }

    #[test]
    fn ipv6_checksums_are_valid() {
        for name in ["ipv6_tcp_data", "ipv6_chain_of_6", "ipv6_authentication_in_chain", "ipv6_neighbour_solicitation"]
        {
            let bytes = frame(name);
            let packet = SlicedPacket::from_ethernet(&bytes).expect(name);
            let Some(etherparse::NetSlice::Ipv6(ip)) = &packet.net else { panic!("{name} is not IPv6") };
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let (found, right) = match packet.transport.expect(name) {
                TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv6(source, destination).expect(name)),
                TransportSlice::Udp(udp) => {
                    let header = ip.header().to_header();
                    (udp.checksum(), udp.to_header().calc_checksum_ipv6(&header, udp.payload()).expect(name))
                }
                TransportSlice::Icmpv6(icmp) => {
                    let right = icmp.header().icmp_type.calc_checksum(source, destination, icmp.payload());
                    (icmp.header().checksum, right.expect(name))
                }
                other => panic!("{name} carries {other:?}"),
            };
            assert_eq!(found, right, "{name}");
        }
    }

    #[test]
    fn length_fields_match_the_frames() {
        assert_eq!(frame("ipv4_shortest_frame").len(), SHORTEST);
        assert_eq!(frame("ipv4_tcp_full_frame").len(), 14 + 1500);
        assert_eq!(frame("ipv4_udp_jumbo_frame").len(), 14 + 9000);
        let cut = frame("ipv4_cut_in_header");
        assert_eq!(cut.len(), 14 + 19);
        assert_eq!(LaxSlicedPacket::from_ethernet(&cut).expect("an Ethernet header").net, None);
    }

    #[test]
    fn sctp_checksum_is_that_of_rfc_3720() {
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(super::super::checksum::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn errors_are_at_the_requested_positions() {
        assert_eq!(frame("ipv4_ihl_4")[14], 0x44);
        assert_eq!(frame("tcp_data_offset_4")[14 + 20 + 12], 0x40);
        assert_eq!(frame("vlan_ipv4_tcp")[12..18], [0x81, 0, 0, 100, 8, 0]);
        assert_eq!(frame("qinq_88a8_8100")[12..22], [0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 8, 0]);
    }
}
