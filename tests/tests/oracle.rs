//! Compares flowml's parser with etherparse: if etherparse accepts a frame, flowml's parser gives the same result.
//!
//! A [`Rule`] describes an intended difference, and the result that is expected of flowml.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use etherparse::{
    IpNumber, Ipv4Slice, Ipv6ExtensionSlice, Ipv6Slice, LinkExtSlice, NetSlice, SlicedPacket, TcpSlice, UdpSlice,
};
use flowml_common::flow::Sender;
use flowml_common::icmp::icmp_answer;
use flowml_common::packet::{Frame, Hook, Packet, Skipped};
use flowml_common::parse::{MAX_EXTENSIONS, parse};
use flowml_tests::frames::{NAMED, ether_type, mutate, protocol};
use flowml_user::capture::file::CaptureFile;
use flowml_user::capture::file::link::LinkType;

/// Number of mutations of each named frame.
const MUTATIONS: u64 = 1000;

/// The intended differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// etherparse follows 0x9100 but neither 0x9200 nor 0x9300. flowml follows all three, so etherparse gets 0x9100 in
    /// their place.
    OlderTag,
    /// etherparse reads three tags or MACsec headers, flowml two tags. Such a frame is not IP for flowml.
    MoreThanTwoTags,
    /// If the payload length of IPv6 is 0, the payload extends to the end of the frame for etherparse. It does for
    /// flowml too, except after No Next Header, where there is padding.
    NoNextHeader,
    /// etherparse follows any number of extension headers, flowml [`MAX_EXTENSIONS`].
    ExtensionChain,
    /// etherparse looks for headers after the fragment header of a later fragment. There is only payload.
    LaterFragment,
    /// etherparse does not read the transport header of the first fragment. flowml counts it in the flow of its ports.
    /// Here etherparse reads that header separately.
    FirstFragment,
    /// etherparse reads headers after an authentication header of IPv4. flowml does so only in IPv6.
    Ipv4Authentication,
    /// UDP's payload ends at UDP's length for etherparse. For flowml it ends at IP's length, as in all protocols.
    UdpLength,
    /// etherparse does not read SCTP. Here the ports are the first bytes of the SCTP header.
    Sctp,
    /// The ICMP header has 8 bytes for etherparse and 4 for flowml: type, code and checksum, which all messages have.
    IcmpHeader,
}

const RULES: [Rule; 10] = [
    Rule::OlderTag,
    Rule::MoreThanTwoTags,
    Rule::NoNextHeader,
    Rule::ExtensionChain,
    Rule::LaterFragment,
    Rule::FirstFragment,
    Rule::Ipv4Authentication,
    Rule::UdpLength,
    Rule::Sctp,
    Rule::IcmpHeader,
];

/// The result of parsing a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    macs: [[u8; 6]; 2],
    vlans: [u16; 2],
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    protocol: u8,
    later_fragment: bool,
    ttl: u8,
    dscp: u8,
    ip_bytes: u32,
    payload_bytes: u32,
    tcp_flags: u8,
    window: u16,
}

impl Expected {
    fn by_us(packet: &Packet) -> Self {
        let ends = match packet.sender {
            Sender::Lower => [Sender::Lower, Sender::Upper],
            Sender::Upper => [Sender::Upper, Sender::Lower],
        };
        let ends = ends.map(|sender| packet.key.endpoint(sender));
        Self {
            macs: packet.macs,
            vlans: packet.key.vlans(),
            addresses: ends.map(|end| end.address.to_ip()),
            ports: ends.map(|end| end.port),
            protocol: packet.key.protocol(),
            later_fragment: packet.key.later_fragment(),
            ttl: packet.ttl,
            dscp: packet.dscp,
            ip_bytes: packet.ip_bytes,
            payload_bytes: packet.payload_bytes,
            tcp_flags: packet.tcp_flags,
            window: packet.window,
        }
    }
}

/// etherparse's result in flowml's terms.
struct Oracle<'a> {
    rules: &'a mut BTreeMap<Rule, u64>,
}

/// The IP layer by etherparse.
struct Network<'a> {
    protocol: IpNumber,
    payload: &'a [u8],
    /// Whether etherparse left the transport header unread.
    first_fragment: bool,
}

impl Oracle<'_> {
    fn by(&mut self, rule: Rule) {
        *self.rules.entry(rule).or_default() += 1;
    }

    /// The expected result for a frame that etherparse accepts.
    fn of(&mut self, packet: &SlicedPacket<'_>) -> Result<Expected, Skipped> {
        let Some(etherparse::LinkSlice::Ethernet2(ethernet)) = &packet.link else {
            unreachable!("the frame was read as Ethernet's")
        };
        let vlans = self.vlans(packet)?;
        let macs = [ethernet.source(), ethernet.destination()];
        match &packet.net {
            None | Some(NetSlice::Arp(_)) => Err(Skipped::NotIp),
            Some(NetSlice::Ipv4(ip)) => self.ipv4(macs, vlans, ip),
            Some(NetSlice::Ipv6(ip)) => self.ipv6(macs, vlans, ip),
        }
    }

    fn vlans(&mut self, packet: &SlicedPacket<'_>) -> Result<[u16; 2], Skipped> {
        let mut vlans = Vec::new();
        for extension in &packet.link_exts {
            if vlans.len() == 2 || !matches!(extension, LinkExtSlice::Vlan(_)) {
                self.by(Rule::MoreThanTwoTags);
                return Err(Skipped::NotIp);
            }
            if let LinkExtSlice::Vlan(tag) = extension {
                vlans.push(tag.vlan_identifier().value());
            }
        }
        vlans.resize(2, 0);
        Ok([vlans[0], vlans[1]])
    }

    fn ipv4(&mut self, macs: [[u8; 6]; 2], vlans: [u16; 2], ip: &Ipv4Slice<'_>) -> Result<Expected, Skipped> {
        let header = ip.header();
        let expected_ = Expected {
            macs,
            vlans,
            addresses: [header.source_addr(), header.destination_addr()].map(IpAddr::V4),
            ports: [0; 2],
            protocol: header.protocol().0,
            later_fragment: header.fragments_offset().value() != 0,
            ttl: header.ttl(),
            dscp: header.dcp().value(),
            ip_bytes: header.total_len().into(),
            payload_bytes: u32::from(header.total_len()) - header.slice().len() as u32,
            tcp_flags: 0,
            window: 0,
        };
        if ip.extensions().auth.is_some() {
            self.by(Rule::Ipv4Authentication);
            return Ok(expected_);
        }
        let first_fragment = header.is_fragmenting_payload() && !expected_.later_fragment;
        let payload = ip.payload().payload;
        self.transport(expected_, &Network { protocol: header.protocol(), payload, first_fragment })
    }

    fn ipv6(&mut self, macs: [[u8; 6]; 2], vlans: [u16; 2], ip: &Ipv6Slice<'_>) -> Result<Expected, Skipped> {
        let header = ip.header();
        let payload = ip.payload().payload;
        let mut expected_ = Expected {
            macs,
            vlans,
            addresses: [header.source_addr(), header.destination_addr()].map(IpAddr::V6),
            ports: [0; 2],
            protocol: ip.payload().ip_number.0,
            later_fragment: false,
            ttl: header.hop_limit(),
            dscp: header.dscp().value(),
            ip_bytes: (40 + ip.extensions().slice().len() + payload.len()) as u32,
            payload_bytes: payload.len() as u32,
            tcp_flags: 0,
            window: 0,
        };
        let mut behind = (ip.extensions().slice().len() + payload.len()) as u32;
        for (number, extension) in (0..).zip(ip.extensions().clone()) {
            if number == MAX_EXTENSIONS {
                self.by(Rule::ExtensionChain);
                return Err(Skipped::ExtensionChain);
            }
            let (length, fragment) = match extension {
                Ipv6ExtensionSlice::HopByHop(header)
                | Ipv6ExtensionSlice::Routing(header)
                | Ipv6ExtensionSlice::DestinationOptions(header) => (header.slice().len(), None),
                Ipv6ExtensionSlice::Authentication(header) => (header.slice().len(), None),
                Ipv6ExtensionSlice::Fragment(header) => (header.slice().len(), Some(header)),
            };
            behind -= length as u32;
            if let Some(fragment) = fragment
                && fragment.fragment_offset().value() != 0
            {
                self.by(Rule::LaterFragment);
                expected_.later_fragment = true;
                (expected_.protocol, expected_.payload_bytes) = (fragment.next_header().0, behind);
                break;
            }
        }
        if header.payload_length() == 0 && header.next_header().0 == protocol::NO_NEXT_HEADER {
            self.by(Rule::NoNextHeader);
            return Ok(Expected { ip_bytes: 40, payload_bytes: 0, ..expected_ });
        }
        let first_fragment = ip.payload().fragmented && !expected_.later_fragment;
        self.transport(expected_, &Network { protocol: ip.payload().ip_number, payload, first_fragment })
    }

    /// Adds the fields of the transport header. etherparse has checked that it is there, except in the cases of the
    /// rules.
    fn transport(&mut self, expected_: Expected, network: &Network<'_>) -> Result<Expected, Skipped> {
        if expected_.later_fragment {
            return Ok(expected_);
        }
        if network.first_fragment {
            self.by(Rule::FirstFragment);
        }
        let payload = network.payload;
        let behind = |header: usize| expected_.payload_bytes - header as u32;
        let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        match network.protocol.0 {
            protocol::TCP => {
                // In an unfragmented packet the header is valid.
                let tcp = TcpSlice::from_slice(payload).map_err(|error| match error {
                    etherparse::err::tcp::HeaderSliceError::Content(_) => Skipped::Malformed,
                    etherparse::err::tcp::HeaderSliceError::Len(_) if payload.len() < 20 => Skipped::Truncated,
                    etherparse::err::tcp::HeaderSliceError::Len(_) => Skipped::Malformed,
                })?;
                let flags = [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()];
                Ok(Expected {
                    ports: [tcp.source_port(), tcp.destination_port()],
                    payload_bytes: behind(tcp.header_slice().len()),
                    tcp_flags: flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)),
                    window: tcp.window_size(),
                    ..expected_
                })
            }
            protocol::UDP => {
                let udp = UdpSlice::from_slice_lax(payload).map_err(|_| Skipped::Truncated)?;
                if udp.payload().len() as u32 != behind(8) {
                    self.by(Rule::UdpLength);
                }
                Ok(Expected {
                    ports: [udp.source_port(), udp.destination_port()],
                    payload_bytes: behind(8),
                    ..expected_
                })
            }
            protocol::ICMP | protocol::ICMPV6 => {
                self.by(Rule::IcmpHeader);
                let [kind, code, _, _, ..] = *payload else { return Err(Skipped::Truncated) };
                let answer = icmp_answer(expected_.protocol, kind).unwrap_or(code);
                Ok(Expected { ports: [kind.into(), answer.into()], payload_bytes: behind(4), ..expected_ })
            }
            protocol::SCTP => {
                self.by(Rule::Sctp);
                if payload.len() < 12 {
                    return Err(Skipped::Truncated);
                }
                Ok(Expected { ports: [number(0), number(2)], payload_bytes: behind(12), ..expected_ })
            }
            _ => Ok(expected_),
        }
    }
}

/// The number of compared frames, and the rules that applied.
#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    packets: u64,
    skipped: u64,
    rules: BTreeMap<Rule, u64>,
}

impl Tally {
    /// The frame with 0x9100 in place of the other two older tags, in the first two tags, which flowml reads.
    fn with_one_older_tag(&mut self, bytes: &[u8]) -> Vec<u8> {
        let [first, others @ ..] = ether_type::OLDER_SERVICE_VLANS;
        let mut shown = bytes.to_vec();
        for at in [12, 16] {
            let Some(place) = shown.get_mut(at..at + 2) else { break };
            let tag = u16::from_be_bytes([place[0], place[1]]);
            if others.contains(&tag) {
                place.copy_from_slice(&first.to_be_bytes());
                *self.rules.entry(Rule::OlderTag).or_default() += 1;
            } else if ![ether_type::VLAN, ether_type::SERVICE_VLAN, first].contains(&tag) {
                break;
            }
        }
        shown
    }

    fn compare(&mut self, bytes: &[u8], what: &dyn std::fmt::Display) {
        let shown = self.with_one_older_tag(bytes);
        let Ok(theirs) = SlicedPacket::from_ethernet(&shown) else { return };
        let length = bytes.len() as u32;
        let frame = Frame { time_ns: 0, length, interface: 1, hook: Hook::File, stripped_vlan: None, segments: None };
        let ours = parse(&frame, bytes);
        let expected = Oracle { rules: &mut self.rules }.of(&theirs);
        let agree = match (&expected, &ours) {
            (Ok(expected), Ok(packet)) => *expected == Expected::by_us(packet),
            // An incomplete header. For flowml it ends beyond the frame, or beyond the packet in the frame.
            (Err(Skipped::Truncated), Err(Skipped::Malformed)) => true,
            (Err(expected), Err(skipped)) => expected == skipped,
            _ => false,
        };
        assert!(agree, "{what}: expected {expected:?}, found {:?}\n{bytes:02x?}", ours.as_ref().map(Expected::by_us));
        self.frames += 1;
        *(if ours.is_ok() { &mut self.packets } else { &mut self.skipped }) += 1;
    }

    /// The test harness captures `eprintln!`, and the number of compared frames must be seen.
    fn print(&self, name: &str) -> Result<()> {
        let Self { frames, packets, skipped, rules } = self;
        writeln!(
            std::io::stderr(),
            "oracle, {name}: of {frames} frames both parsers give the same result ({packets} in flows, {skipped} skipped); by \
             rule: {rules:?}"
        )?;
        Ok(())
    }
}

#[test]
fn etherparse_agrees_on_named_frames_and_their_mutations() -> Result<()> {
    let mut tally = Tally::default();
    for named in NAMED {
        let frame = (named.build)();
        tally.compare(&frame, &named.name);
        for seed in 0..MUTATIONS {
            tally.compare(&mutate(&frame, seed), &format_args!("{}, mutation {seed}", named.name));
        }
    }
    tally.print("named frames and mutations")?;
    assert!(tally.packets > 1000 && tally.skipped > 100, "{tally:?}");
    for rule in RULES {
        assert!(tally.rules.contains_key(&rule), "no frame is a case of {rule:?}");
    }
    Ok(())
}

/// Compares on every Ethernet frame that was captured completely.
#[test]
fn etherparse_agrees_on_captured_frames() -> Result<()> {
    let mut tally = Tally::default();
    for name in ["ethernet.pcap", "ethernet_ns.pcap.gz"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut file = CaptureFile::open(&path)?;
        let mut number = 0;
        while let Some(captured) = file.next_frame()? {
            number += 1;
            if captured.link == LinkType::Ethernet && captured.bytes.len() == captured.length as usize {
                tally.compare(captured.bytes, &format_args!("{name}, frame {number}"));
            }
        }
    }
    tally.print("captured frames")?;
    assert!(tally.packets > 250, "{tally:?}");
    Ok(())
}
