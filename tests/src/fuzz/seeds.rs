//! The seeds: the named frames in many combinations, and a small file of each format.

use bytemuck::Zeroable;

use super::input::{INSIDE, Step, Writer, gap, kind};
use super::{learnt, training};
use crate::captures::{Interface, Order, PacketBlock, Pcap, Pcapng, Record, gzip, zstandard};
use crate::frames::{Frame, Ipv4, NAMED, Ports, TUNNELLED, Tcp, flag};

/// An input for a target.
#[derive(Debug)]
pub struct Seed {
    /// The name of the target.
    pub target: &'static str,
    /// A description of the example.
    pub name: String,
    /// The bytes of the input.
    pub bytes: Vec<u8>,
}

/// All seeds.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let of = |target: &'static str, inputs: Vec<(String, Vec<u8>)>| {
        inputs.into_iter().map(move |(name, bytes)| Seed { target, name, bytes })
    };
    let named = |(name, bytes): (&str, &[u8])| (name.to_owned(), bytes.to_vec());
    let tables = TABLES.iter().map(|(name, text)| named((*name, text.as_bytes()))).collect();
    let rules = RULES.iter().map(|(name, text)| named((*name, text.as_bytes()))).collect();
    let configurations = CONFIGURATIONS.iter().map(|(name, text)| named((*name, text.as_bytes()))).collect();
    let all = of("flows", flows()).chain(of("captures", captures()));
    let all = all.chain(of("tables", tables)).chain(of("rules", rules)).chain(of("configuration", configurations));
    let all = all.chain(of("parser", frames())).chain(of("training", training::seeds()));
    all.chain(of("models", learnt::models())).chain(of("parquet", learnt::tables())).collect()
}

/// The named frames one by one, a connection, and both with two CPUs, epochs, silences and hooks.
fn flows() -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    for named in NAMED {
        let mut input = Writer::new(1, 0, 0);
        input.frame(Step { gap: gap(1_000_000), ..Step::zeroed() }, &(named.build)());
        inputs.push((named.name.to_owned(), input.finish()));
    }
    for tunnelled in TUNNELLED {
        let mut input = Writer::new(1 | INSIDE, 0, 0);
        input.frame(Step { gap: gap(1_000_000), ..Step::zeroed() }, &(tunnelled.build)());
        inputs.push((tunnelled.name.to_owned(), input.finish()));
    }
    let kinds = [0, kind::OTHER_CPU, kind::NEW_EPOCH, kind::OTHER_CPU | kind::NEW_EPOCH, kind::SNAPPED, kind::BACK];
    for (n, gap_ns) in [0, 999, 300_000, 40_000_000, 2_500_000_000, 20_000_000_000].into_iter().enumerate() {
        let mut connection = Writer::new(1, 0, n as u8);
        for (at, frame) in connection_frames().iter().enumerate() {
            let kind = kinds[(at + n) % kinds.len()];
            connection.frame(Step { kind, gap: gap(gap_ns), interface: 1, ..Step::zeroed() }, frame);
        }
        inputs.push((format!("connection_{gap_ns}"), connection.finish()));
    }
    // The same frames twice: without their Ethernet header, and as super-packets from the kernel.
    let mut raw = Writer::new(0, 1, 1);
    let mut super_packets = Writer::new(0, 1, 1);
    for frame in connection_frames() {
        let other_link = Step { kind: kind::OTHER_LINK, gap: gap(1_000_000), ..Step::zeroed() };
        raw.frame(other_link, &frame[14..]);
        let kind = kind::SEGMENTS | kind::STRIPPED_VLAN;
        let tag = 100u16.to_le_bytes();
        super_packets.frame(Step { kind, size: 500u16.to_le_bytes(), tag, ..other_link }, &frame);
    }
    inputs.extend([("raw".to_owned(), raw.finish()), ("super_packets".to_owned(), super_packets.finish())]);
    inputs
}

/// A TCP connection from its first packet to its last, after a UDP query.
fn connection_frames() -> Vec<Vec<u8>> {
    let (client, server) = (Ipv4::default(), Ipv4::default());
    let server = Ipv4 { source: client.destination, destination: client.source, ..server };
    let tcp = |from_client: bool, flags: u8, payload: usize| {
        let ports = if from_client { (40_000, 443) } else { (443, 40_000) };
        let header = Tcp { source_port: ports.0, destination_port: ports.1, flags, ..Tcp::default() };
        let ip = if from_client { &client } else { &server };
        Frame::default().ipv4(ip).tcp(&header).payload(&vec![b'x'; payload]).finish()
    };
    vec![
        Frame::default().ipv4(&client).udp(Ports::default()).payload(b"?").finish(),
        tcp(true, flag::SYN, 0),
        tcp(false, flag::SYN | flag::ACK, 0),
        tcp(true, flag::ACK, 0),
        tcp(true, flag::ACK | flag::PSH, 90),
        tcp(false, flag::ACK, 600),
        tcp(false, flag::ACK | flag::PSH, 600),
        tcp(true, flag::ACK | flag::FIN, 0),
        tcp(false, flag::ACK | flag::FIN, 0),
        tcp(true, flag::ACK, 0),
        tcp(true, flag::SYN, 0),
        tcp(false, flag::RST | flag::ACK, 0),
    ]
}

/// The named frames, unchanged and as super-packets that were captured partly.
fn frames() -> Vec<(String, Vec<u8>)> {
    let named = NAMED.iter().map(|named| (named.name, named.build));
    let tunnelled = TUNNELLED.iter().map(|tunnelled| (tunnelled.name, tunnelled.build));
    let built = named.chain(tunnelled).map(|(name, build)| (name, build()));
    let kinds = |(name, bytes): (&str, Vec<u8>)| {
        [0, 0b1_0111].map(|known| (format!("{name}_{known}"), [&[known], bytes.as_slice()].concat()))
    };
    built.flat_map(kinds).collect()
}

/// A connection in every variant of both formats, compressed and uncompressed.
fn captures() -> Vec<(String, Vec<u8>)> {
    let begin_ns = 1_700_000_000_000_000_000;
    let records: Vec<_> = (0u64..)
        .zip(connection_frames())
        .map(|(at, bytes)| Record::whole(begin_ns + at * 300_001_000, bytes).snapped(if at == 4 { 60 } else { 2000 }))
        .collect();
    let raw: Vec<_> = records.iter().map(|record| Record::whole(record.time_ns, record.bytes[14..].to_vec())).collect();
    let little = Pcap::of(1);
    let plain = little.write(&records);
    let pcapng = |order| {
        let interfaces = [Interface::of(1), Interface { link: 101, resolution: Some(9), offset_s: Some(-3600) }];
        let mut file = Pcapng::new(order, &interfaces);
        for (record, raw) in records.iter().zip(&raw).take(4) {
            file.packet(PacketBlock::Enhanced, 0, &interfaces[0], record).stranger();
            file.packet(PacketBlock::Obsolete, 1, &interfaces[1], raw);
            file.packet(PacketBlock::Simple, 0, &interfaces[0], record);
        }
        file.section(order, &[Interface { link: 113, resolution: Some(0x8a), offset_s: None }, Interface::of(147)]);
        file.packet(PacketBlock::Enhanced, 1, &Interface::of(147), &records[0]);
        file.finish()
    };
    let compressed = "memory does not fail";
    let of = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    let mut inputs = vec![
        of("pcap_big_endian_ns", Pcap { order: Order::Big, nanoseconds: true, ..little }.write(&records)),
        of("pcap_modified", Pcap { modified: true, ..little }.write(&records)),
        of("pcap_modified_big_endian", Pcap { order: Order::Big, modified: true, ..little }.write(&records)),
        of("pcap_fcs", Pcap { link: 1 | 1 << 26 | 2 << 28, ..little }.write(&records)),
        of("pcapng_little_endian", pcapng(Order::Little)),
        of("pcapng_big_endian", pcapng(Order::Big)),
        of("gzip", gzip(&[&plain[..500], &plain[500..]]).expect(compressed)),
        of("zstd", zstandard(&[&plain[..500], &plain[500..]]).expect(compressed)),
        of("cut_off", plain[..plain.len() - 7].to_vec()),
        of("pcap", plain),
    ];
    for link in [0, 12, 101, 108, 113, 127, 228, 229, 276] {
        inputs.push(of(&format!("pcap_link_{link}"), Pcap::of(link).write(&raw)));
    }
    inputs
}

/// Small tables, with the unusual forms of other tools.
const TABLES: [(&str, &str); 8] = [
    (
        "csv",
        "src_ip,src_port,dst_ip,dst_port,protocol,bidirectional_first_seen_ms,bidirectional_duration_ms,splt_ps,label\n\
         10.0.0.1,40000,10.0.0.2,80,6,1499343600000,1.5,\"[60,1500,-1]\",web attack\n\
         10.0.0.1,40000,10.0.0.2,80,6,1499343600000,NaN,,\"a, \"\"b\"\"\"\n\
         2001:db8::1,0,2001:db8::2,0,58,1499343600001,0,[],\n",
    ),
    (
        "csv_foreign",
        "\u{feff} Flow Duration , Flow Bytes/s,Label\n3,Infinity,BENIGN\n-4,1e300,\"Web\nAttack\"\n+1,007,x\n",
    ),
    (
        "csv_huge",
        "x,y,label\n1e308,1,a\n-1e308,2,b\n1e153,3,a\n-1e153,4,b\n3e38,5,a\n-3e38,6,b\n1e-308,7,a\n0,8,b\n5,9,a\n\
         6,1,b\n7,2,a\n8,3,b\n9,4,a\n1,5,b\n",
    ),
    ("csv_semicolon", "sep=;\na;b;c\n1,5;1.234,5;x\n-2,5;2;\"y;z\"\na;b;c\n3;4;w\n"),
    ("csv_index", ",x,y\n0,1,a\n1,5,b\n2,9,a\n3,7,b\n4,2,a\n5,3,b\n6,1,a\n7,4,b\n8,9,a\n9,8,b\n10,3,a\n"),
    ("csv_flags", "a,b\ntrue,1\nFalse,-2\n,18446744073709551615\n"),
    (
        "jsonl",
        "{\"type\":\"flow\",\"src_ip\":\"10.0.0.1\",\"src_port\":1,\"dst_ip\":\"10.0.0.2\",\"dst_port\":2,\
         \"protocol\":17,\"bidirectional_first_seen_ms\":5,\"bidirectional_mean_ps\":40.5,\"splt_ps\":[1,2]}\n\
         {\"type\":\"summary\",\"flows\":1}\n",
    ),
    ("jsonl_wrong", "{\"type\":\"flow\",\"src_port\":\"x\"}\n{\"type\":\n"),
];

/// Valid and invalid configurations.
const CONFIGURATIONS: [(&str, &str); 6] = [
    (
        "many_keys",
        "interface = [\"eth0\", \"veth*\"]\nexclude = [\"veth1\"]\ninterval = \"1s\"\nflow-capacity = 65536\n\
         idle-timeout = \"15s\"\nactive-timeout = \"120s\"\noutput = [\"jsonl=/tmp/a.jsonl,rotate=1h\"]\n\
         metrics = \"127.0.0.1:9750\"\nalpha = 1e-4\nquiet = 1\nsandbox = \"off\"\nmemory-max = \"1GiB\"\n",
    ),
    ("content", "payload = 256\nmatch = [\"sql=(?i)union +select\", \"deep=(a{1000}){1000}\"]\n"),
    ("huge", "flow-capacity = 99999999999999999999999\ninterval = \"1e308s\"\nseed = -1\n"),
    ("unknown", "flow-capacit = 1\n"),
    ("table", "[run]\nlearn = true\n"),
    ("learn", "learn = true\nalpha = nan\npayload = 0x10\nseed = 0b11\n"),
];

/// Valid and invalid rules.
const RULES: [(&str, &str); 4] = [
    (
        "all_keys",
        "default = \"normal\"\n[[rule]]\nlabel = \"web attack\"\nfrom = 2017-07-06T09:20:00-03:00\n\
         to = 2017-07-06T10:00:00.5Z\nsrc_ip = \"172.16.0.1\"\ndst_ip = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
         dst_port = [80, \"8000-8080\"]\nprotocol = [\"tcp\", 17]\ndirection = \"either\"\n",
    ),
    ("no_offset", "[[rule]]\nlabel = \"a\"\nfrom = 2017-07-06T09:20:00\n"),
    ("wrong_address", "[[rule]]\nlabel = \"\u{e4}\"\nsrc_ip = \"10.0.0\"\n"),
    ("no_rule", "default = \"a\"\n"),
];
