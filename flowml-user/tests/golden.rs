//! Flows computed by hand, from the bytes of their frames through parser, table, two drains, session, record and features.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use flowml_common::flow::{ACK, FIN, SYN};
use flowml_common::packet::{Frame, Hook};
use flowml_common::table::{Metered, Seed, Shape, meter};
use flowml_user::capture::vectors::VecTable;
use flowml_user::features::{FLOW_FEATURES, FLOW_SEQUENCES, FlowRow, HostWindows, names, row};
use flowml_user::record::{Clock, FLOW_IDENTIFIERS, FlowRecord, Value};
use flowml_user::session::{Sessions, Timeouts};

const PSH: u8 = 8;

/// Time of the first packet, µs of Unix time. It is 0.5 ms after a full ms, so that truncation to ms is visible.
const BEGIN_US: u64 = 1_600_000_000_000_500;

/// A frame and its time, µs since [`BEGIN_US`].
type Timed = (u64, Vec<u8>);

/// An Ethernet header, with an 802.1Q tag if there is an id; the last byte of an address is that of its IP address.
fn ethernet(from: u8, to: u8, vlan: Option<u16>, ether_type: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0x5e, 0, 0, to, 2, 0, 0x5e, 0, 0, from];
    if let Some(id) = vlan {
        bytes.extend([0x81, 0x00]);
        bytes.extend(id.to_be_bytes());
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes
}

/// An IPv4 packet of `length` bytes; what follows `transport` up to there is payload.
fn ipv4(vlan: Option<u16>, ends: [[u8; 4]; 2], ttl: u8, protocol: u8, transport: &[u8], length: u16) -> Vec<u8> {
    let mut bytes = ethernet(ends[0][3], ends[1][3], vlan, 0x0800);
    let headers = bytes.len();
    bytes.extend([0x45, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, 0, ttl, protocol, 0, 0]);
    bytes.extend(ends.concat());
    bytes.extend(transport);
    bytes.resize(headers + usize::from(length), 0);
    bytes
}

/// A TCP segment in an IPv4 packet of `length` bytes, with `options` bytes of options.
fn tcp(ends: [([u8; 4], u16); 2], ttl: u8, flags: u8, window: u16, options: u8, length: u16) -> Vec<u8> {
    let mut transport = ends.map(|(_, port)| port.to_be_bytes()).concat();
    transport.extend([0, 0, 0, 1, 0, 0, 0, 1, (20 + options) / 4 * 16, flags]);
    transport.extend(window.to_be_bytes());
    ipv4(None, ends.map(|(address, _)| address), ttl, 6, &transport, length)
}

/// A UDP datagram in an IPv4 packet of `length` bytes.
fn udp(vlan: Option<u16>, ends: [([u8; 4], u16); 2], length: u16) -> Vec<u8> {
    let mut transport = ends.map(|(_, port)| port.to_be_bytes()).concat();
    transport.extend((length - 20).to_be_bytes());
    ipv4(vlan, ends.map(|(address, _)| address), 64, 17, &transport, length)
}

/// The rows of what is counted in these drains, one a second, by the port of the source.
fn rows(drains: &[Vec<Timed>]) -> HashMap<u16, FlowRow> {
    let mut table = VecTable::new(Shape::for_capacity(64), Seed([7; 12]));
    let mut sessions = Sessions::new(Timeouts::default());
    let mut windows = HostWindows::new(Duration::from_secs(2));
    let mut end_ns = BEGIN_US * 1000;
    for frames in drains {
        for (time_us, bytes) in frames {
            let frame = Frame {
                time_ns: (BEGIN_US + time_us) * 1000,
                length: bytes.len() as u32,
                interface: 1,
                hook: Hook::File,
                stripped_vlan: None,
                segments: None,
            };
            assert_eq!(meter(&mut table, &frame, bytes.as_slice()), Metered::Counted);
        }
        sessions.absorb_drain(table.flows(), |part, standing| windows.add(part, standing));
        table.clear();
        end_ns += 1_000_000_000;
        windows.advance(end_ns);
        sessions.set_windows(|key, stats, standing| windows.around(key, stats, standing));
    }
    let rows = sessions.flush().into_iter().map(|ended| {
        let row = FlowRow::new(FlowRecord::new(&ended, Clock::default()), ended.windows);
        (row.record.src_port(), row)
    });
    rows.collect()
}

/// Deviation of a sample by the two-pass formula.
fn stddev(sample: &[f64]) -> f64 {
    let mean = sample.iter().sum::<f64>() / sample.len() as f64;
    let squares: f64 = sample.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (sample.len() - 1) as f64).sqrt()
}

#[track_caller]
fn assert_features(flow: &FlowRow, by_hand: &[(&str, f64)]) {
    let values: HashMap<_, _> = names(FLOW_FEATURES).zip(row(FLOW_FEATURES, flow)).collect();
    for (name, expected) in by_hand {
        let value = values[name];
        assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{name}: {value}, by hand {expected}");
    }
}

#[track_caller]
fn assert_sequences(flow: &FlowRow, by_hand: [[f64; 8]; 3]) {
    for (sequence, expected) in FLOW_SEQUENCES.iter().zip(by_hand) {
        assert_eq!((sequence.of)(flow), expected, "{}", sequence.name);
    }
}

fn identifier(flow: &FlowRow, name: &str) -> Value {
    let column = FLOW_IDENTIFIERS.iter().find(|column| column.name == name).expect(name);
    (column.of)(&flow.record)
}

/// Eleven packets of TLS, the last three in the second drain. Lengths are IP total lengths.
///
/// | µs | from | flags | length |    | µs | from | flags | length |
/// | --: | --- | --- | --: | --- | --: | --- | --- | --: |
/// | 0 | client | SYN | 60 | | 5,300 | server | PSH ACK | 352 |
/// | 1,500 | server | SYN ACK | 60 | | 6,000 | client | ACK | 52 |
/// | 1,600 | client | ACK | 52 | | 1,006,000 | client | FIN ACK | 52 |
/// | 2,000 | client | PSH ACK | 252 | | 1,007,000 | server | FIN ACK | 52 |
/// | 3,250 | server | ACK | 52 | | 1,007,100 | client | ACK | 52 |
/// | 5,250 | server | PSH ACK | 1500 | | | | | |
#[test]
fn a_tls_session_over_two_drains() {
    let (client, server) = (([192, 0, 2, 10], 50_000), ([198, 51, 100, 20], 443));
    let up = |us, flags, options, length| (us, tcp([client, server], 64, flags, 64_240, options, length));
    let down = |us, flags, options, length| (us, tcp([server, client], 55, flags, 65_160, options, length));
    let rows = rows(&[
        vec![
            up(0, SYN, 20, 60),
            down(1_500, SYN | ACK, 20, 60),
            up(1_600, ACK, 12, 52),
            up(2_000, PSH | ACK, 12, 252),
            down(3_250, ACK, 12, 52),
            down(5_250, PSH | ACK, 12, 1500),
            down(5_300, PSH | ACK, 12, 352),
            up(6_000, ACK, 12, 52),
        ],
        vec![up(1_006_000, FIN | ACK, 12, 52), down(1_007_000, FIN | ACK, 12, 52), up(1_007_100, ACK, 12, 52)],
    ]);
    let flow = &rows[&50_000];
    let lengths_up = [60.0, 52.0, 252.0, 52.0, 52.0, 52.0];
    let lengths_down = [60.0, 52.0, 1500.0, 352.0, 52.0];
    let gaps = [1.5, 0.1, 0.4, 1.25, 2.0, 0.05, 0.7, 1000.0, 1.0, 0.1];
    assert_features(
        flow,
        &[
            // 0.5 ms after the full ms, truncated.
            ("bidirectional_first_seen_ms", 1_600_000_000_000.0),
            // 0.5 + 1,007.1 = 1,007.6 ms, cut.
            ("bidirectional_last_seen_ms", 1_600_000_001_007.0),
            // Not 1,007: the difference of the times as they are.
            ("bidirectional_duration_ms", 1_007.1),
            ("src2dst_last_seen_ms", 1_600_000_001_007.0),
            ("src2dst_duration_ms", 1_007.1),
            // 0.5 + 1.5 ms.
            ("dst2src_first_seen_ms", 1_600_000_000_002.0),
            ("dst2src_last_seen_ms", 1_600_000_001_007.0),
            ("dst2src_duration_ms", 1_007.0 - 1.5),
            ("bidirectional_packets", 11.0),
            ("src2dst_packets", 6.0),
            ("dst2src_packets", 5.0),
            ("bidirectional_bytes", 520.0 + 2016.0),
            ("src2dst_bytes", 520.0),
            ("dst2src_bytes", 2016.0),
            ("bidirectional_mean_ps", 2536.0 / 11.0),
            ("bidirectional_stddev_ps", stddev(&[&lengths_up[..], &lengths_down[..]].concat())),
            ("src2dst_min_ps", 52.0),
            ("src2dst_mean_ps", 520.0 / 6.0),
            ("src2dst_stddev_ps", stddev(&lengths_up)),
            ("src2dst_max_ps", 252.0),
            ("dst2src_stddev_ps", stddev(&lengths_down)),
            ("dst2src_max_ps", 1500.0),
            ("bidirectional_min_piat_ms", 0.05),
            ("bidirectional_mean_piat_ms", 1_007.1 / 10.0),
            ("bidirectional_stddev_piat_ms", stddev(&gaps)),
            ("bidirectional_max_piat_ms", 1000.0),
            ("src2dst_min_piat_ms", 0.4),
            ("src2dst_mean_piat_ms", 1_007.1 / 5.0),
            ("src2dst_stddev_piat_ms", stddev(&[1.6, 0.4, 4.0, 1000.0, 1.1])),
            ("src2dst_max_piat_ms", 1000.0),
            ("dst2src_min_piat_ms", 0.05),
            ("dst2src_mean_piat_ms", 1_005.5 / 4.0),
            ("dst2src_stddev_piat_ms", stddev(&[1.75, 2.0, 0.05, 1001.7])),
            ("dst2src_max_piat_ms", 1001.7),
            ("bidirectional_syn_packets", 2.0),
            ("src2dst_syn_packets", 1.0),
            // All but the SYN.
            ("bidirectional_ack_packets", 10.0),
            ("src2dst_psh_packets", 1.0),
            ("dst2src_psh_packets", 2.0),
            ("bidirectional_fin_packets", 2.0),
            ("bidirectional_rst_packets", 0.0),
            // 252 less 20 of IP and 32 of TCP with its options.
            ("src2dst_payload_bytes", 200.0),
            ("dst2src_payload_bytes", 1448.0 + 300.0),
            ("dst2src_payload_packets", 2.0),
            // All but 252, 352 and 1500.
            ("bidirectional_small_packet_share", 8.0 / 11.0),
            ("bidirectional_length_1024_2047_share", 1.0 / 11.0),
            ("src2dst_max_ttl", 64.0),
            ("dst2src_min_ttl", 55.0),
            ("dst2src_first_window", 65_160.0),
            ("service", 6.0 * 65_536.0 + 443.0),
            ("dst_port_class", 1.0),
        ],
    );
    assert_sequences(
        flow,
        [
            [0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0],
            [60.0, 60.0, 52.0, 252.0, 52.0, 1500.0, 352.0, 52.0],
            [0.0, 1.5, 0.1, 0.4, 1.25, 2.0, 0.05, 0.7],
        ],
    );
    assert_eq!(identifier(flow, "src_mac"), Value::Text("02:00:5e:00:00:0a".to_owned()));
    assert_eq!(identifier(flow, "dst_oui"), Value::Text("02:00:5e".to_owned()));
    assert_eq!(identifier(flow, "expiration_id"), Value::Number(0));
}

/// A question of 70 bytes and its answer of 118 after 12.345 ms, in VLAN 100: frame bytes and tags do not show.
#[test]
fn a_question_and_its_answer_in_a_vlan() {
    let (client, server) = (([10, 0, 0, 5], 40_000), ([10, 0, 0, 53], 53));
    let rows =
        rows(&[vec![(0, udp(Some(100), [client, server], 70)), (12_345, udp(Some(100), [server, client], 118))]]);
    let flow = &rows[&40_000];
    assert_features(
        flow,
        &[
            ("bidirectional_duration_ms", 12.345),
            ("bidirectional_bytes", 188.0),
            ("bidirectional_mean_ps", 94.0),
            // Two values, 24 from the mean each: √(2 · 24² / 1).
            ("bidirectional_stddev_ps", 24.0 * 2.0_f64.sqrt()),
            ("bidirectional_min_piat_ms", 12.345),
            ("bidirectional_mean_piat_ms", 12.345),
            // One gap has no deviation, and neither direction has a gap.
            ("bidirectional_stddev_piat_ms", 0.0),
            ("src2dst_mean_piat_ms", 0.0),
            ("src2dst_duration_ms", 0.0),
            ("src2dst_stddev_ps", 0.0),
            ("dst2src_min_ps", 118.0),
            ("bidirectional_packets_per_second", 2.0 / 0.012_345),
            ("src2dst_payload_bytes", 42.0),
            ("bidirectional_syn_packets", 0.0),
            ("initiator_known", 0.0),
        ],
    );
    let none = -1.0;
    assert_sequences(
        flow,
        [
            [0.0, 1.0, none, none, none, none, none, none],
            [70.0, 118.0, none, none, none, none, none, none],
            [0.0, 12.345, none, none, none, none, none, none],
        ],
    );
    assert_eq!(identifier(flow, "vlan_id"), Value::Number(100));
}

/// Over IPv6 the length is the 40 bytes of the header and the payload length field behind it.
#[test]
fn a_single_packet_over_ipv6() {
    let mut bytes = ethernet(1, 2, None, 0x86dd);
    bytes.extend([0x60, 0, 0, 0, 0, 28, 17, 63]);
    bytes.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    bytes.extend("2001:db8::2".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    bytes.extend([0x9c, 0x41, 0x01, 0xbb, 0, 28, 0, 0]);
    bytes.resize(bytes.len() + 20, 0);
    let rows = rows(&[vec![(0, bytes)]]);
    let flow = &rows[&40_001];
    assert_features(
        flow,
        &[
            ("bidirectional_bytes", 68.0),
            ("src2dst_max_ps", 68.0),
            ("bidirectional_stddev_ps", 0.0),
            ("bidirectional_duration_ms", 0.0),
            ("dst2src_packets", 0.0),
            ("dst2src_first_seen_ms", 0.0),
            ("dst2src_mean_ps", 0.0),
            ("src2dst_payload_bytes", 20.0),
            ("src2dst_min_ttl", 63.0),
        ],
    );
    assert_eq!(identifier(flow, "ip_version"), Value::Number(6));
}

/// Packets at 10, 30, 20 and 40 ms: the step back is a gap of 0, and the next gap is counted from 30 ms.
#[test]
fn a_clock_that_goes_back() {
    let ends = [(Ipv4Addr::new(10, 0, 0, 1).octets(), 1025), ([10, 0, 0, 2], 2000)];
    let rows = rows(&[[10_000, 30_000, 20_000, 40_000].map(|us| (us, udp(None, ends, 100))).to_vec()]);
    assert_features(
        &rows[&1025],
        &[
            ("bidirectional_packets", 4.0),
            ("bidirectional_duration_ms", 30.0),
            ("bidirectional_min_piat_ms", 0.0),
            ("bidirectional_max_piat_ms", 20.0),
            ("bidirectional_mean_piat_ms", 10.0),
            ("bidirectional_stddev_piat_ms", stddev(&[20.0, 0.0, 10.0])),
            ("src2dst_stddev_piat_ms", 10.0),
        ],
    );
}
