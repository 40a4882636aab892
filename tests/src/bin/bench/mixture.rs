//! Generates a capture for `flowml read` and its peers: normal traffic of many kinds, the same on every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::frames::{Frame, Ipv4, Ipv6, Ports, Tcp, flag};
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal, WeightedIndex};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Bytes of each packet that are kept: all headers, as captures for metering keep them.
const SNAP: usize = 128;

/// The kinds of conversations: percentage, packets (median), spread of their number (σ of its logarithm), payload of
/// most packets of client and server in bytes, and mean time between packets in ms.
#[rustfmt::skip]
const KINDS: [TalkKind; 7] = [
    TalkKind { protocol: Protocol::Udp(53), share: 35, packets: 2.0, spread: 0.0, payload: [40, 120], gap_ms: 15.0 },
    TalkKind { protocol: Protocol::Tcp(443), share: 33, packets: 18.0, spread: 0.8, payload: [0, 1448], gap_ms: 40.0 },
    TalkKind { protocol: Protocol::Tcp(80), share: 10, packets: 2.0, spread: 0.0, payload: [0, 0], gap_ms: 1.0 },
    TalkKind { protocol: Protocol::Udp(443), share: 9, packets: 50.0, spread: 1.0, payload: [60, 1200], gap_ms: 20.0 },
    TalkKind { protocol: Protocol::Tcp(22), share: 5, packets: 80.0, spread: 0.8, payload: [48, 64], gap_ms: 120.0 },
    TalkKind { protocol: Protocol::Icmp, share: 5, packets: 10.0, spread: 0.3, payload: [56, 56], gap_ms: 500.0 },
    TalkKind { protocol: Protocol::Tcp(445), share: 3, packets: 250.0, spread: 1.0, payload: [1448, 0], gap_ms: 4.0 },
];

/// Conversations that start in a second.
const PER_SECOND: f64 = 160.0;

/// One conversation of this number is over IPv6.
const IPV6: u32 = 5;

const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

#[derive(Clone, Copy)]
enum Protocol {
    /// TCP to this port of the server.
    Tcp(u16),
    Udp(u16),
    Icmp,
}

struct TalkKind {
    protocol: Protocol,
    share: u32,
    packets: f64,
    spread: f64,
    payload: [usize; 2],
    gap_ms: f64,
}

/// An open conversation.
struct Talk {
    kind: &'static TalkKind,
    ipv6: bool,
    client: u16,
    server: u16,
    port: u16,
    sent: u32,
    packets: u32,
}

impl Talk {
    fn open(kind: &'static TalkKind, random: &mut impl Rng) -> Result<Self> {
        let packets = LogNormal::new(kind.packets.ln(), kind.spread)?.sample(random);
        Ok(Self {
            kind,
            ipv6: random.gen_ratio(1, IPV6),
            client: random.gen_range(1..4000),
            server: random.gen_range(1..400),
            port: random.gen_range(32_768..61_000),
            sent: 0,
            packets: (packets as u32).clamp(2, 20_000),
        })
    }

    /// The next packet. Client and server alternate at first, then two packets of the server follow one of the client.
    fn next(&mut self) -> Vec<u8> {
        let at = self.sent;
        self.sent += 1;
        let from_client = if at < 4 { at.is_multiple_of(2) } else { at.is_multiple_of(3) };
        let payload = if at < 2 && matches!(self.kind.protocol, Protocol::Tcp(_)) {
            0
        } else {
            self.kind.payload[usize::from(!from_client)]
        };
        let frame = self.ip(from_client);
        let ends = |port: u16| if from_client { [self.port, port] } else { [port, self.port] };
        let frame = match self.kind.protocol {
            Protocol::Udp(port) => {
                let [source, destination] = ends(port);
                frame.udp(Ports { source, destination })
            }
            Protocol::Tcp(port) => {
                let [source_port, destination_port] = ends(port);
                frame.tcp(&Tcp { source_port, destination_port, flags: self.flags(at, from_client), ..Tcp::default() })
            }
            Protocol::Icmp => {
                let [high, low] = self.port.to_be_bytes();
                match (self.ipv6, from_client) {
                    (false, true) => frame.icmp(8, 0, [high, low, 0, at as u8]),
                    (false, false) => frame.icmp(0, 0, [high, low, 0, at as u8]),
                    (true, true) => frame.icmpv6(128, 0, [high, low, 0, at as u8]),
                    (true, false) => frame.icmpv6(129, 0, [high, low, 0, at as u8]),
                }
            }
        };
        frame.payload(&[b'x'; 1448][..payload]).finish()
    }

    fn ip(&self, from_client: bool) -> Frame {
        // The network of each end, and the host in it.
        let (client, server) = ((1, self.client), (2, self.server));
        let [source, destination] = if from_client { [client, server] } else { [server, client] };
        if self.ipv6 {
            let address = |(net, host)| Ipv6Addr::new(0xfd77, net, 0, 0, 0, 0, 0, host);
            let [source, destination] = [source, destination].map(address);
            Frame::default().ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
        } else {
            let address = |(net, host): (u16, u16)| Ipv4Addr::new(10, net as u8, (host >> 8) as u8, host as u8);
            let [source, destination] = [source, destination].map(address);
            Frame::default().ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
        }
    }

    /// The flags of a packet: the handshake, then data, and at the end FIN from both sides. A connection of two packets
    /// is a refused one.
    fn flags(&self, at: u32, from_client: bool) -> u8 {
        let left = self.packets - at;
        match (at, left) {
            (0, _) => flag::SYN,
            (1, _) if self.packets == 2 => flag::RST | flag::ACK,
            (1, _) => flag::SYN | flag::ACK,
            (_, 1..=3) => flag::FIN | flag::ACK,
            _ if from_client => flag::ACK | flag::PSH,
            _ => flag::ACK,
        }
    }
}

/// Makes a capture of this many packets, unless it exists. Returns the number of conversations in it.
pub(crate) fn make(path: &Path, packets: u64) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let half = path.with_extension("part");
    let file = File::create(&half).with_context(|| format!("cannot write {}", half.display()))?;
    write(BufWriter::new(file), packets).with_context(|| format!("cannot write {}", half.display()))?;
    fs::rename(&half, path).with_context(|| format!("cannot write {}", path.display()))
}

fn write(mut out: impl Write, packets: u64) -> Result<()> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let kinds = WeightedIndex::new(KINDS.iter().map(|kind| kind.share))?;
    let until_next = Exp::new(PER_SECOND)?;
    let pcap = Pcap::of(1);
    out.write_all(&pcap.header())?;
    let mut talks: Vec<Talk> = Vec::new();
    // The time of the next packet of each conversation. After the last one, the next conversation starts.
    let mut due = BinaryHeap::from([Reverse((BEGIN_NS, 0))]);
    let mut bytes = Vec::new();
    let mut written = 0;
    while written < packets
        && let Some(Reverse((time_ns, number))) = due.pop()
    {
        if number == talks.len() {
            talks.push(Talk::open(&KINDS[kinds.sample(&mut random)], &mut random)?);
            let gap_ns = (until_next.sample(&mut random) * 1e9) as u64;
            due.push(Reverse((time_ns + gap_ns, number + 1)));
        }
        let talk = &mut talks[number];
        let frame = talk.next();
        if talk.sent < talk.packets {
            let gap_ns = Exp::new(1.0 / talk.kind.gap_ms)?.sample(&mut random) * 1e6;
            due.push(Reverse((time_ns + gap_ns as u64, number)));
        }
        bytes.clear();
        pcap.append(&mut bytes, &Record::whole(time_ns, frame).snapped(SNAP));
        out.write_all(&bytes)?;
        written += 1;
    }
    Ok(out.flush()?)
}
