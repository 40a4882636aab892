//! Tests of messages, decoded from their bytes by RFC 7011, and of the cost of an unreachable collector.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use flowml_common::tunnel::TunnelKind;
use proptest::prelude::*;

use super::element::{ELEMENTS, Of};
use super::template::Specifier;
use super::*;
use crate::learning::Reason;
use crate::record::{Clock, FlowRecord, Tunnel};
use crate::session::samples::{Sample, partial_of, tcp};
use crate::session::{EndReason, Ended, Initiator};

/// The fields of a record by their enterprise and number.
type Record = HashMap<(Option<u32>, u16), Vec<u8>>;

/// A collector's state of a transport session.
#[derive(Default)]
struct Reader {
    templates: HashMap<u16, Vec<(Option<u32>, u16, u16)>>,
    /// Number of received sets of templates.
    templates_received: usize,
    sequence: u32,
    records: Vec<Record>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn double_word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Reader {
    /// Decodes a message, and checks that no byte of it is left over.
    fn read(&mut self, message: &[u8]) {
        assert_eq!((word(message, 0), usize::from(word(message, 2))), (10, message.len()));
        assert_eq!(double_word(message, 8), self.sequence, "records that were sent before");
        assert_eq!(double_word(message, 12), 1);
        let mut rest = &message[16..];
        while !rest.is_empty() {
            let (set, length) = (word(rest, 0), usize::from(word(rest, 2)));
            let body = &rest[4..length];
            if set == 2 {
                self.read_templates(body);
            } else {
                self.read_records(set, body);
            }
            rest = &rest[length..];
        }
    }

    fn read_templates(&mut self, mut body: &[u8]) {
        while !body.is_empty() {
            let (id, count) = (word(body, 0), word(body, 2));
            body = &body[4..];
            self.templates_received += 1;
            let mut fields = Vec::new();
            for _ in 0..count {
                let (number, length) = (word(body, 0), word(body, 2));
                let enterprise = (number & 0x8000 != 0).then(|| double_word(body, 4));
                fields.push((enterprise, number & 0x7fff, length));
                body = &body[if enterprise.is_some() { 8 } else { 4 }..];
            }
            let unique: HashSet<_> = fields.iter().map(|(enterprise, number, _)| (enterprise, number)).collect();
            assert_eq!(unique.len(), fields.len(), "template {id} has an element twice");
            let before = self.templates.insert(id, fields);
            assert!(before.is_none_or(|before| before == self.templates[&id]), "template {id} has changed");
        }
    }

    fn read_records(&mut self, set: u16, mut body: &[u8]) {
        let fields = &self.templates[&set];
        while !body.is_empty() {
            let mut record = Record::new();
            for (enterprise, number, length) in fields {
                let length = match length {
                    0xffff => {
                        let length = usize::from(body[0]);
                        body = &body[1..];
                        length
                    }
                    length => usize::from(*length),
                };
                record.insert((*enterprise, *number), body[..length].to_vec());
                body = &body[length..];
            }
            self.records.push(record);
            self.sequence += 1;
        }
    }
}

/// The row of a flow with these packets.
fn row(samples: &[Sample]) -> FlowRow {
    let partial = partial_of(samples);
    let initiator = Initiator::of(&partial.key, &partial.stats);
    let ended = Ended {
        key: partial.key,
        stats: partial.stats,
        initiator,
        reason: EndReason::IdleTimeout,
        continues: false,
        contents: None,
        tunnel: None,
        windows: None,
    };
    FlowRow::new(FlowRecord::new(&ended, Clock::default()), None)
}

fn verdict(reasons: usize) -> Verdict {
    let reason = Reason { column: "source_flows", unit: "flows", value: 998.0, low: 1.0, high: 4.0, share: 0.5 };
    Verdict {
        cluster: 3,
        score: 12.5,
        probability: 3e-7,
        anomaly: reasons > 0,
        class: None,
        withheld: false,
        reasons: vec![reason; reasons],
    }
}

fn number(record: &Record, enterprise: Option<u32>, number: u16) -> u64 {
    record[&(enterprise, number)].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Packets of one flow, of any version, protocol, sizes and times.
fn flow() -> impl Strategy<Value = Vec<Sample>> {
    let packet = (any::<bool>(), 0_u64..10_000_000_000, any::<u8>(), 0_u16..1400);
    (any::<bool>(), 0..4_usize, prop::collection::vec(packet, 1..6)).prop_map(|(ipv6, protocol, packets)| {
        let ends = if ipv6 { ["[fd77::1]:8", "[fd77::2]:0"] } else { ["10.0.0.1:8", "10.0.0.2:0"] };
        let protocol = [6, 17, if ipv6 { 58 } else { 1 }, 47][protocol];
        let sample = |(back, time_ns, flags, payload): (bool, u64, u8, u16)| {
            let [from, to] = if back && protocol != 58 && protocol != 1 { [ends[1], ends[0]] } else { ends };
            Sample { protocol, payload, ..tcp(time_ns, from, to, flags) }
        };
        let mut samples: Vec<Sample> = packets.into_iter().map(sample).collect();
        samples.sort_by_key(|sample| sample.time_ns);
        samples
    })
}

proptest! {
    #[test]
    fn every_record_has_the_length_of_its_template_and_the_values_of_its_flow(
        flows in prop::collection::vec((flow(), prop::option::of(0_usize..12)), 1..40),
    ) {
        let mut reader = Reader::default();
        let mut numbering = message::Numbering::default();
        let mut messages = Message::of_templates(udp::LONGEST, true);
        let mut message = Message::new();
        let mut bytes = Vec::new();
        let flows: Vec<_> = flows.iter().map(|(samples, reasons)| (row(samples), reasons.map(verdict))).collect();
        for (row, verdict) in &flows {
            bytes.clear();
            let template = Template::of(&row.record, verdict.as_ref());
            template.write_record(&row.record, verdict.as_ref(), &mut bytes);
            if !message.has_room(bytes.len(), udp::LONGEST) {
                messages.push(std::mem::replace(&mut message, Message::new()));
            }
            message.push(template, &bytes);
        }
        messages.push(message);
        for mut message in messages {
            let bytes = numbering.complete(&mut message).to_vec();
            prop_assert!(bytes.len() <= udp::LONGEST);
            reader.read(&bytes);
            numbering.sent(&message);
        }
        prop_assert_eq!(reader.records.len(), flows.len());
        for (record, (row, verdict)) in reader.records.iter().zip(&flows) {
            let FlowRecord { src2dst, dst2src, .. } = &row.record;
            prop_assert_eq!(number(record, None, 2), src2dst.packets);
            prop_assert_eq!(number(record, None, 1), src2dst.ip_bytes);
            prop_assert_eq!(number(record, None, 198), src2dst.length_squares);
            prop_assert_eq!(record.contains_key(&(Some(29305), 2)), dst2src.packets > 0);
            if dst2src.packets > 0 {
                prop_assert_eq!(number(record, Some(29305), 2), dst2src.packets);
                prop_assert_eq!(number(record, Some(29305), 352), dst2src.frame_bytes);
                prop_assert_eq!(number(record, Some(32473), 0x4000 | 1), dst2src.payload_bytes);
                prop_assert_eq!(number(record, None, 239), 1);
            }
            let (addresses, length) = if row.record.src_ip().is_ipv4() { ([8, 12], 4) } else { ([27, 28], 16) };
            prop_assert!(addresses.iter().all(|address| record[&(None, *address)].len() == length));
            prop_assert_eq!(record.contains_key(&(Some(32473), 14)), verdict.is_some());
            if let Some(verdict) = verdict {
                prop_assert_eq!(number(record, Some(32473), 14), verdict.score.to_bits());
                let reason = std::str::from_utf8(&record[&(Some(32473), 17)]).expect("UTF-8");
                prop_assert!(crate::learning::one_line(&verdict.reasons).starts_with(reason));
                prop_assert_eq!(reason.is_empty(), verdict.reasons.is_empty());
            }
        }
    }
}

/// A SYN, and the response 250 ms later.
fn exchange() -> FlowRow {
    let (client, server) = ("10.0.0.1:40000", "10.0.0.9:443");
    let answer = Sample { payload: 100, ttl: 61, ..tcp(1_250_000_000, server, client, 0x12) };
    row(&[tcp(1_000_000_000, client, server, 0x02), answer])
}

#[test]
fn values_are_those_of_the_packets() {
    let mut bytes = Vec::new();
    let row = exchange();
    let template = Template::of(&row.record, None);
    template.write_record(&row.record, None, &mut bytes);
    let mut reader = Reader::default();
    let mut numbering = message::Numbering::default();
    for mut message in Message::of_templates(udp::LONGEST, true) {
        reader.read(numbering.complete(&mut message));
    }
    let mut message = Message::new();
    message.push(template, &bytes);
    reader.read(numbering.complete(&mut message));
    numbering.sent(&message);
    let record = &reader.records[0];
    // Element number, value of the initiator's direction, and value of the responder's direction.
    for (element, forward, reverse) in [
        (1, 40, 140),
        (2, 1, 1),
        (6, 0x02, 0x12),
        (25, 40, 140),
        (52, 64, 61),
        (152, 1000, 1250),
        (153, 1000, 1250),
        (198, 1600, 19_600),
        (352, 54, 154),
    ] {
        assert_eq!(
            (number(record, None, element), number(record, Some(29305), element)),
            (forward, reverse),
            "{element}"
        );
    }
    for (element, value) in [(4, 6), (7, 40_000), (11, 443), (8, 0x0a00_0001), (12, 0x0a00_0009), (10, 1), (136, 1)] {
        assert_eq!(number(record, None, element), value, "{element}");
    }
    assert_eq!(number(record, Some(32473), 8), 250_000, "the gap between both directions, µs");
    let flags: Vec<u32> = [0, 1, 0, 0, 1, 0, 0, 0].to_vec();
    assert_eq!(record[&(Some(32473), 0x4000 | 7)], flags.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
    assert_eq!(number(record, Some(32473), 12), 8 | 1024, "of a capture, with a SYN of the initiator");
}

#[test]
fn a_flow_in_a_tunnel_has_the_elements_of_its_tunnel() {
    let ends = ["192.0.2.1:1", "192.0.2.2:2"];
    let around = row(&[tcp(0, ends[0], ends[1], 0)]).record;
    let addresses = [around.source().address, around.destination().address];
    for (kind, id, outer, segment) in [
        (TunnelKind::Vxlan, 42, Some(addresses), 1 << 56 | 42),
        (TunnelKind::Gre, u32::MAX, Some(addresses), 0),
        (TunnelKind::Mpls, 16, None, 0),
    ] {
        let mut row = exchange();
        row.record.tunnel = Some(Box::new(Tunnel { kind: Some(kind), id: Some(id), outer }));
        let record = decoded(&row);
        assert_eq!(number(&record, None, 351), segment);
        assert_eq!(number(&record, Some(32473), 18), (kind as u64) << 56 | u64::from(id));
        let found = [19, 20].map(|element| record.get(&(Some(32473), element)).map(Vec::as_slice));
        let expected: [Option<&[u8]>; 2] = [Some(&[192, 0, 2, 1]), Some(&[192, 0, 2, 2])];
        assert_eq!(found, if outer.is_some() { expected } else { [None; 2] });
        assert!(!record.contains_key(&(None, 58)), "the VLAN id is with the kind");
    }
    let mut row = exchange();
    row.record.tunnel = Some(Box::new(Tunnel { kind: None, id: None, outer: None }));
    assert!(decoded(&row) == decoded(&exchange()), "outside of tunnels");
}

/// The record of a flow, as a collector reads it.
fn decoded(row: &FlowRow) -> Record {
    let (mut reader, numbering, mut bytes) = (Reader::default(), message::Numbering::default(), Vec::new());
    for mut message in Message::of_templates(udp::LONGEST, true) {
        reader.read(numbering.complete(&mut message));
    }
    let template = Template::of(&row.record, None);
    template.write_record(&row.record, None, &mut bytes);
    let mut message = Message::new();
    message.push(template, &bytes);
    reader.read(numbering.complete(&mut message));
    reader.records.remove(0)
}

#[test]
fn element_numbers_are_unique() {
    let all = ELEMENTS.iter().map(|element| element.specifier(false));
    let reverse = ELEMENTS.iter().filter(|element| element.of == Of::EachWay).map(|element| element.specifier(true));
    let all: Vec<Specifier> = all.chain(reverse).collect();
    assert!(all.iter().enumerate().all(|(at, one)| !all[..at].contains(one)));
    // Wireshark does not read records of larger templates by default (`cflow.max_template_fields`).
    assert!(Template::all(true).all(|template| template.fields().count() <= 60));
    let names: HashSet<_> = ELEMENTS.iter().map(|element| element.name).collect();
    assert_eq!(names.len(), ELEMENTS.len());
}

fn collector(transport: Transport, address: SocketAddr) -> Collector {
    Collector { transport, host: address.ip().to_string(), port: address.port() }
}

fn open(transport: Transport, address: SocketAddr, pace: Pace) -> io::Result<Exporter> {
    Exporter::open(&collector(transport, address), false, pace, &Arc::new(crate::export::account::Account::new()))
}

#[test]
fn refused_datagrams_are_counted_and_templates_are_sent_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it has an address");
    drop(socket);
    let mut exporter = open(Transport::Udp, address, Pace::Live).expect("loopback is there");
    for _ in 0..10 {
        (0..5).for_each(|_| exporter.flow(&exchange(), None));
        exporter.flush();
    }
    assert_eq!(exporter.account(), Account { sent: 0, lost: 50 });
    let text = exporter.notices().expect("people should know");
    assert!(text.contains("takes no records") && text.contains(&address.to_string()), "{text}");
    assert_eq!(exporter.notices(), None);

    let socket = UdpSocket::bind(address).expect("nobody took it since");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    std::thread::sleep(Duration::from_millis(1100));
    exporter.flow(&exchange(), None);
    exporter.finish();
    assert_eq!(exporter.account(), Account { sent: 1, lost: 50 });
    assert!(exporter.notices().is_some_and(|text| text.contains("again; 50")));
    let mut reader = Reader::default();
    let mut message = [0; 2000];
    while reader.records.is_empty() {
        let length = socket.recv(&mut message).expect("a message");
        if reader.templates.is_empty() {
            // Sequence numbers also count messages that were refused, as they were sent.
            reader.sequence = double_word(&message, 8);
        }
        reader.read(&message[..length]);
    }
    assert_eq!(reader.templates.len(), Template::all(false).count());
}

/// A collector that starts late, or misses the templates, can read records soon (RFC 7011 §8.4).
#[test]
fn templates_are_repeated_over_udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    let address = socket.local_addr().expect("it has an address");
    let mut exporter = open(Transport::Udp, address, Pace::Offline).expect("loopback is there");
    let (mut reader, mut message) = (Reader::default(), [0; 2000]);
    let all = Template::all(false).count();
    for before in 0..=udp::TEMPLATES_EVERY_MESSAGES {
        exporter.flow(&exchange(), None);
        exporter.flush();
        while reader.records.len() <= before as usize {
            let length = socket.recv(&mut message).expect("a message");
            reader.read(&message[..length]);
        }
        assert_eq!(
            reader.templates_received,
            if before < udp::TEMPLATES_EVERY_MESSAGES { all } else { 2 * all },
            "{before}"
        );
    }
}

/// Reads a connection to its end.
fn read_all(mut stream: std::net::TcpStream) -> Reader {
    let (mut reader, mut bytes) = (Reader::default(), Vec::new());
    stream.read_to_end(&mut bytes).expect("it ends in order");
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (message, behind) = rest.split_at(usize::from(word(rest, 2)));
        reader.read(message);
        rest = behind;
    }
    reader
}

#[test]
fn a_connection_starts_with_templates_and_sequence_number_0() {
    let listener = TcpListener::bind("[::1]:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    for pace in [Pace::Live, Pace::Offline] {
        let mut exporter = open(Transport::Tcp, address, pace).expect("loopback is there");
        (0..1000).for_each(|_| exporter.flow(&exchange(), Some(&verdict(2))));
        let taken = std::thread::spawn({
            let listener = listener.try_clone().expect("a descriptor");
            move || read_all(listener.accept().expect("a connection").0)
        });
        exporter.finish();
        let reader = taken.join().expect("it was read");
        assert_eq!((reader.records.len(), reader.templates.len()), (1000, Template::all(false).count()));
        assert_eq!(exporter.account(), Account { sent: 1000, lost: 0 });
    }
}

#[test]
fn an_unreachable_collector_costs_neither_memory_nor_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    drop(listener);
    let mut exporter = open(Transport::Tcp, address, Pace::Live).expect("loopback is there");
    let row = exchange();
    // More records than the queue holds.
    (0..100_000).for_each(|_| exporter.flow(&row, None));
    exporter.flush();
    let lost = exporter.account().lost;
    assert!((1..100_000).contains(&lost), "{lost}");
    let begun = Instant::now();
    exporter.finish();
    assert_eq!(exporter.account(), Account { sent: 0, lost: 100_000 });
    assert!(begun.elapsed() < Duration::from_secs(9), "nobody waits for whom nothing can be sent to");
    assert!(exporter.notices().is_some_and(|text| text.contains("takes no records: Connection refused")));
}

#[test]
fn queued_records_are_sent_when_the_collector_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    drop(listener);
    let mut exporter = open(Transport::Tcp, address, Pace::Live).expect("loopback is there");
    exporter.flow(&exchange(), None);
    exporter.flush();
    let begun = Instant::now();
    while exporter.notices().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "an attempt was made");
        std::thread::sleep(Duration::from_millis(10));
    }
    let listener = TcpListener::bind(address).expect("nobody took it since");
    let (stream, _) = listener.accept().expect("it tries again");
    exporter.flow(&exchange(), None);
    exporter.finish();
    assert_eq!(exporter.account(), Account { sent: 2, lost: 0 });
    drop(exporter);
    assert_eq!(read_all(stream).records.len(), 2);
}
