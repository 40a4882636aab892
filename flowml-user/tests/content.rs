//! First payloads from the bytes of frames through tables, sessions and records: their flow, and their columns.

use std::collections::HashMap;
use std::time::Duration;

use flowml_common::content::PayloadLimit;
use flowml_common::flow::Sender;
use flowml_common::packet::{Frame, Hook};
use flowml_common::table::{Metered, Seed, Shape, meter};
use flowml_user::capture::file::Captured;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::vectors::VecTable;
use flowml_user::features::{FlowColumns, FlowRow};
use flowml_user::record::{CONTENT_IDENTIFIERS, Clock, FlowRecord, Inspector, Pattern, Value};
use flowml_user::session::{EndReason, Ended, Sessions, Timeouts};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

/// A packet to be, between 10.0.0.1 port 1025 (the lower endpoint) and 10.0.0.2 port 2000.
#[derive(Clone, Debug)]
struct Sent {
    time_ns: u64,
    protocol: u8,
    upwards: bool,
    payload: Vec<u8>,
}

fn tcp(time_ns: u64, upwards: bool, payload: &[u8]) -> Sent {
    Sent { time_ns, protocol: 6, upwards, payload: payload.to_vec() }
}

fn udp(time_ns: u64, upwards: bool, payload: &[u8]) -> Sent {
    Sent { protocol: 17, ..tcp(time_ns, upwards, payload) }
}

impl Sent {
    /// An Ethernet frame, padded to 60 bytes as Ethernet has it.
    fn bytes(&self) -> Vec<u8> {
        let ends = [([10, 0, 0, 1], 1025_u16), ([10, 0, 0, 2], 2000)];
        let [source, destination] = if self.upwards { ends } else { [ends[1], ends[0]] };
        let mut transport = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
        match self.protocol {
            6 => transport.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 9, 0, 0, 0, 0]),
            _ => transport.extend([(8 + self.payload.len() as u16).to_be_bytes(), [0, 0]].concat()),
        }
        transport.extend(&self.payload);
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        bytes.extend((20 + transport.len() as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, self.protocol, 0, 0]);
        bytes.extend([source.0, destination.0].concat());
        bytes.extend(transport);
        if bytes.len() < 60 {
            bytes.resize(60, 0xee);
        }
        bytes
    }
}

fn limit(bytes: u32) -> PayloadLimit {
    PayloadLimit::new(bytes).expect("a limit")
}

fn table(limit: PayloadLimit) -> VecTable {
    VecTable::new(Shape::for_capacity(64), Seed([7; 12])).with_payload(Some(limit))
}

/// Counts packets, of which the first `captured` bytes are there.
fn count(table: &mut VecTable, packet: &Sent, captured: usize) {
    let bytes = packet.bytes();
    let frame = Frame {
        time_ns: packet.time_ns,
        length: bytes.len() as u32,
        interface: 1,
        hook: Hook::File,
        stripped_vlan: None,
        segments: None,
    };
    assert_eq!(meter(table, &frame, &bytes[..captured.min(bytes.len())]), Metered::Counted);
}

/// The ended sessions of these drains of one CPU.
fn ended(limit: PayloadLimit, drains: &[&[Sent]]) -> Vec<Ended> {
    let (mut table, mut sessions) = (table(limit), Sessions::new(Timeouts::default()));
    let mut ended = Vec::new();
    for packets in drains {
        packets.iter().for_each(|packet| count(&mut table, packet, usize::MAX));
        sessions.absorb_drain(table.flows(), |_, _| {});
        table.clear();
        let now_ns = packets.last().map_or(0, |packet| packet.time_ns + 1);
        ended.extend(sessions.expire(now_ns));
    }
    ended.extend(sessions.flush());
    ended
}

fn sent_by(ended: &Ended) -> [Vec<u8>; 2] {
    let contents = ended.contents.as_ref().expect("payload is kept");
    [Sender::Lower, Sender::Upper].map(|sender| contents.sent_by(sender).to_vec())
}

#[test]
fn the_first_packet_with_payload_of_each_direction_is_kept() {
    let packets = [
        tcp(1, true, b""),
        tcp(2, false, b""),
        tcp(3, true, b"hello"),
        tcp(4, true, b"again"),
        tcp(5, false, b"answer"),
        tcp(6, false, b"more"),
    ];
    let one = &ended(limit(256), &[&packets])[0];
    assert_eq!(sent_by(one), [b"hello".to_vec(), b"answer".to_vec()]);
    // Not the padding, and not more than the limit.
    assert_eq!(sent_by(&ended(limit(3), &[&packets])[0]), [b"hel".to_vec(), b"ans".to_vec()]);
    assert_eq!(sent_by(&ended(limit(3), &[&packets[..2]])[0]), [Vec::<u8>::new(), Vec::new()]);
    // Whatever the table and the sessions do with bytes, they do not show them.
    assert!(!format!("{one:?}").contains("hello") && !format!("{one:?}").contains("104"), "{one:?}");
}

#[test]
fn a_late_first_payload_is_kept_behind_many_packets_without() {
    let mut packets: Vec<_> = (1..20).map(|n| tcp(n, n % 2 == 0, b"")).collect();
    packets.push(tcp(30, true, b"late"));
    assert_eq!(sent_by(&ended(limit(9), &[&packets])[0]), [b"late".to_vec(), Vec::new()]);
    // And in a drain of its own, where earlier drains had none.
    let (before, after) = packets.split_at(19);
    assert_eq!(sent_by(&ended(limit(9), &[before, after])[0]), [b"late".to_vec(), Vec::new()]);
}

#[test]
fn a_snapped_packet_gives_the_bytes_that_are_there() {
    let long: Vec<u8> = (0..200).collect();
    for (captured, kept) in [(54, 0), (55, 1), (118, 64), (119, 65), (254, 100), (9999, 100)] {
        let mut table = table(limit(100));
        count(&mut table, &tcp(1, true, &long), captured);
        // The next packet is not the first, however much of it is there.
        count(&mut table, &tcp(2, true, b"no"), usize::MAX);
        let flow = table.flows().next().expect("a flow");
        let [content, none] = flow.contents().expect("payload is kept");
        assert_eq!(content.expect("a packet with payload").bytes, &long[..kept]);
        assert_eq!(none, None);
    }
}

#[test]
fn payload_is_found_behind_every_link_layer() {
    let bytes = udp(1, true, b"payload").bytes();
    let behind = &bytes[14..14 + 28 + 7];
    let cooked2 = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0];
    let headers: [(LinkType, &[u8]); 4] = [
        (LinkType::Ethernet, &bytes[..14]),
        (LinkType::Raw, &[]),
        (LinkType::Null, &[2, 0, 0, 0]),
        (LinkType::Cooked2, &cooked2),
    ];
    for (link, header) in headers {
        let frame = [header, behind].concat();
        let captured = Captured { time_ns: 1, length: frame.len() as u32, interface: 1, link, bytes: &frame };
        let mut table = table(limit(9));
        assert_eq!(captured.meter(&mut table), Metered::Counted);
        let flow = table.flows().next().expect("a flow");
        let [content, _] = flow.contents().expect("payload is kept");
        assert_eq!(content.expect("a packet with payload").bytes, b"payload", "{link:?}");
    }
}

#[test]
fn records_of_a_session_have_the_same_content_and_another_session_has_its_own() {
    let talk = |second: u64, payload: &[u8]| [tcp(second * SECOND, true, payload)];
    let mut drains = vec![talk(0, b"first")];
    // The active timeout ends the record where the first slot of time begins after it.
    drains.extend((1..=140).step_by(10).map(|second| talk(second, b"later")));
    drains.push(talk(300, b"other"));
    let drains: Vec<&[Sent]> = drains.iter().map(<[Sent; 1]>::as_slice).collect();
    let ended = ended(limit(100), &drains);
    let records: Vec<_> = ended.iter().map(|one| (one.reason, one.continues, sent_by(one)[0].clone())).collect();
    let expected = [
        (EndReason::ActiveTimeout, false, b"first".to_vec()),
        (EndReason::IdleTimeout, true, b"first".to_vec()),
        (EndReason::ForcedEnd, false, b"other".to_vec()),
    ];
    assert_eq!(records, expected);
}

/// Packets of one flow in the order of time, each with its CPU and whether a drain follows it.
fn steps() -> impl Strategy<Value = Vec<(Sent, usize, bool)>> {
    let payload = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(any::<u8>(), 1..150)];
    let step = (1..SECOND, any::<bool>(), payload, 0..3usize, prop::bool::weighted(0.2));
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut time_ns = 0;
        let sent = |(pause_ns, upwards, payload, cpu, drain)| {
            time_ns += pause_ns;
            (Sent { time_ns, protocol: 6, upwards, payload }, cpu, drain)
        };
        steps.into_iter().map(sent).collect()
    })
}

proptest! {
    /// However the packets of a flow are shared out among CPUs and drains, the earliest with payload is kept.
    #[test]
    fn content_does_not_depend_on_who_counted(steps in steps(), bytes in 1..=PayloadLimit::MAX) {
        let mut tables = [0; 3].map(|_| table(limit(bytes)));
        let mut sessions = Sessions::new(Timeouts { active: Duration::from_secs(1000), ..Timeouts::default() });
        let mut drain = |tables: &mut [VecTable; 3]| {
            sessions.absorb_drain(tables.iter().flat_map(VecTable::flows), |_, _| {});
            tables.iter_mut().for_each(VecTable::clear);
        };
        for (packet, cpu, drained) in &steps {
            count(&mut tables[*cpu], packet, usize::MAX);
            if *drained {
                drain(&mut tables);
            }
        }
        drain(&mut tables);
        let ended = sessions.flush();
        prop_assert_eq!(ended.len(), 1);
        let expected = [true, false].map(|upwards| {
            let mut sent = steps.iter().map(|(packet, _, _)| packet);
            let first = sent.find(|packet| packet.upwards == upwards && !packet.payload.is_empty());
            first.map_or(Vec::new(), |packet| packet.payload[..packet.payload.len().min(bytes as usize)].to_vec())
        });
        prop_assert_eq!(sent_by(&ended[0]), expected);
    }
}

fn inspector(patterns: &[&str]) -> Inspector {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().expect("a pattern")).collect();
    Inspector::new(&patterns).expect("small patterns")
}

/// The columns of the content of a flow, as text.
fn texts(inspector: &Inspector, ended: &Ended) -> HashMap<&'static str, String> {
    let record = FlowRecord::new(ended, Clock::default()).with_content(Some(inspector.inspect(ended)));
    let row = FlowRow::new(record, None);
    let names = CONTENT_IDENTIFIERS.iter().map(|column| {
        let text = match (column.of)(&row.record) {
            Value::Text(text) => text,
            Value::Name(name) => name.to_owned(),
            _ => String::new(),
        };
        (column.name, text)
    });
    let features = FlowColumns::of(Some(inspector)).content_features();
    names.chain(features.map(|feature| (feature.name, feature.value(&row).to_string()))).collect()
}

#[test]
fn the_columns_of_a_flow_are_those_computed_by_hand() {
    let inspector = inspector(&["get=^GET ", "teapot=(?i)TEA.?pot", "nul=(?-u)\\x00\\xff"]);
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let packets = [tcp(1, true, request), tcp(2, false, &[0, 0xff, b'a', b'a'])];
    let texts = texts(&inspector, &ended(limit(256), &[&packets])[0]);
    let expected = [
        ("application_name", "HTTP"),
        ("requested_server_name", "example.org"),
        ("application_detail", "GET"),
        ("src2dst_first_payload_bytes", "37"),
        ("src2dst_first_payload_printable_share", "1"),
        ("dst2src_first_payload_bytes", "4"),
        // A half, a quarter and a quarter: ½ · 1 + 2 · ¼ · 2 bits.
        ("dst2src_first_payload_entropy", "1.5"),
        ("dst2src_first_payload_printable_share", "0.5"),
        ("match_get", "1"),
        ("match_teapot", "0"),
        ("match_nul", "1"),
    ];
    for (name, text) in expected {
        assert_eq!(texts[name], text, "{name}");
    }
    assert_eq!(texts.len(), 3 + 6 + 3);
}

#[test]
fn entropy_goes_from_nothing_to_eight_bits() {
    let all: Vec<u8> = (0..=255).collect();
    for (bytes, bits) in [(&b"x"[..], 0.0), (b"xxxxxxxx", 0.0), (b"xy", 1.0), (b"wxyz", 2.0), (&all, 8.0)] {
        let texts = texts(&inspector(&[]), &ended(limit(256), &[&[udp(1, true, bytes)]])[0]);
        assert_eq!(texts["src2dst_first_payload_entropy"], bits.to_string(), "{bytes:?}");
        // A side without payload has no columns.
        assert_eq!(texts["dst2src_first_payload_entropy"], "NaN");
        assert_eq!(texts["dst2src_first_payload_printable_share"], "NaN");
        assert_eq!(texts["dst2src_first_payload_bytes"], "0");
    }
}

#[test]
fn an_invalid_pattern_is_refused() {
    let refusal = |text: &str| text.parse::<Pattern>().map(|_| ()).expect_err(text).to_string();
    for (text, expected) in [
        ("abc", "expected NAME=REGEX"),
        ("=x", "'' is not a valid name"),
        ("Name=x", "'Name' is not a valid name: expected 1 to 32 of a-z, 0-9 and _"),
        ("a=(", "'(' is not a valid regular expression: unclosed group"),
        ("a=x{1000}{1000}", "'x{1000}{1000}' is not a valid regular expression: "),
    ] {
        let message = refusal(text);
        assert!(message.starts_with(expected) && !message.contains('\n'), "{message}");
    }
    assert!(refusal(&format!("{}=x", "n".repeat(33))).contains("is not a valid name"));
}
