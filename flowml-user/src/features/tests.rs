//! Checks every feature of a flow against values computed by hand, and the rules of both tables.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::ops::RangeInclusive;

use flowml_common::flow::{ACK, FIN, SYN};

use super::window::{HostWindow, Role};
use super::{
    CONTENT_FEATURES, Column, FLOW_FEATURES, FlowColumns, FlowRow, HOST_FEATURES, Learn, LearnerRows, columns, names,
    row,
};
use crate::record::{Clock, FlowRecord};
use crate::session::samples::{Sample, ended, partial_of, tcp};
use crate::session::{BeginWindows, EndReason, Ended, HostCounts, Initiator, SlowCounts};

const PSH: u8 = 8;

/// The permitted units. Sinks and charts depend on them.
const UNITS: &[&str] = &[
    "packets",
    "bytes",
    "ms",
    "packets/s",
    "bytes/s",
    "share",
    "ratio",
    "bits",
    "flows",
    "addresses",
    "ports",
    "hops",
    "code",
    "class",
    "flag",
];

fn counts(flows: u32) -> HostCounts {
    HostCounts { flows, new_flows: 3, login_flows: 2, unanswered: 2, peers: 5, ports: 6, syn_packets: 4, packets: 40 }
}

/// Seven packets, lengths being IP total lengths:
///
/// | time, ms | from | length | flags |
/// | --: | --- | --: | --- |
/// | 0 | client | 40 | SYN |
/// | 1 | server | 40 | SYN ACK |
/// | 2 | client | 40 | ACK |
/// | 4 | client | 140 | PSH ACK |
/// | 10 | server | 1040 | ACK |
/// | 11.5 | server | 540 | PSH ACK |
/// | 20 | client | 40 | FIN ACK |
fn golden() -> FlowRow {
    let up = |us: u64, flags, payload| Sample {
        payload,
        ttl: 64,
        window: 64_240,
        ..tcp(us * 1000, "192.0.2.9:40000", "192.0.2.1:8080", flags)
    };
    let down = |us: u64, flags, payload| Sample {
        payload,
        ttl: 57,
        window: 65_160,
        ..tcp(us * 1000, "192.0.2.1:8080", "192.0.2.9:40000", flags)
    };
    let entry = partial_of(&[
        up(0, SYN, 0),
        down(1000, SYN | ACK, 0),
        up(2000, ACK, 0),
        up(4000, PSH | ACK, 100),
        down(10_000, ACK, 1000),
        down(11_500, PSH | ACK, 500),
        up(20_000, FIN | ACK, 0),
    ]);
    let ended = Ended {
        key: entry.key,
        stats: entry.stats,
        contents: None,
        tunnel: None,
        windows: None,
        initiator: Initiator::of(&entry.key, &entry.stats),
        reason: EndReason::IdleTimeout,
        continues: false,
    };
    FlowRow {
        record: FlowRecord::new(&ended, Clock::new(0, 1_700_000_000_000_000_000)),
        windows: Some(BeginWindows {
            source: counts(8),
            destination: counts(4),
            slow: SlowCounts { peers: 7.5, ports: 1.25, connections: [2.5, 4.5, 8.5] },
        }),
    }
}

/// Computed by hand; standard deviations by the two-pass formula. NFStream 6.6 (accounting mode 1, statistical
/// analysis) gives the same values where it has the feature, except that it truncates every time to whole ms.
const GOLDEN: &[(&str, f64)] = &[
    ("bidirectional_first_seen_ms", 1_700_000_000_000.0),
    ("bidirectional_last_seen_ms", 1_700_000_000_020.0),
    ("bidirectional_duration_ms", 20.0),
    ("bidirectional_packets", 7.0),
    ("bidirectional_bytes", 1880.0),
    ("src2dst_first_seen_ms", 1_700_000_000_000.0),
    ("src2dst_last_seen_ms", 1_700_000_000_020.0),
    ("src2dst_duration_ms", 20.0),
    ("src2dst_packets", 4.0),
    ("src2dst_bytes", 260.0),
    ("dst2src_first_seen_ms", 1_700_000_000_001.0),
    ("dst2src_last_seen_ms", 1_700_000_000_011.0),
    ("dst2src_duration_ms", 10.5),
    ("dst2src_packets", 3.0),
    ("dst2src_bytes", 1620.0),
    ("bidirectional_min_ps", 40.0),
    ("bidirectional_mean_ps", 268.571_428_571_428_6),
    ("bidirectional_stddev_ps", 386.0668582611295),
    ("bidirectional_max_ps", 1040.0),
    ("src2dst_min_ps", 40.0),
    ("src2dst_mean_ps", 65.0),
    ("src2dst_stddev_ps", 50.0),
    ("src2dst_max_ps", 140.0),
    ("dst2src_min_ps", 40.0),
    ("dst2src_mean_ps", 540.0),
    ("dst2src_stddev_ps", 500.0),
    ("dst2src_max_ps", 1040.0),
    ("bidirectional_min_piat_ms", 1.0),
    ("bidirectional_mean_piat_ms", 3.333_333_333_333_333_5),
    ("bidirectional_stddev_piat_ms", 3.157002798013753),
    ("bidirectional_max_piat_ms", 8.5),
    ("src2dst_min_piat_ms", 2.0),
    ("src2dst_mean_piat_ms", 6.666_666_666_666_667),
    ("src2dst_stddev_piat_ms", 8.082_903_768_654_76),
    ("src2dst_max_piat_ms", 16.0),
    ("dst2src_min_piat_ms", 1.5),
    ("dst2src_mean_piat_ms", 5.25),
    ("dst2src_stddev_piat_ms", 5.303_300_858_899_107),
    ("dst2src_max_piat_ms", 9.0),
    ("bidirectional_syn_packets", 2.0),
    ("bidirectional_cwr_packets", 0.0),
    ("bidirectional_ece_packets", 0.0),
    ("bidirectional_urg_packets", 0.0),
    ("bidirectional_ack_packets", 6.0),
    ("bidirectional_psh_packets", 2.0),
    ("bidirectional_rst_packets", 0.0),
    ("bidirectional_fin_packets", 1.0),
    ("src2dst_syn_packets", 1.0),
    ("src2dst_cwr_packets", 0.0),
    ("src2dst_ece_packets", 0.0),
    ("src2dst_urg_packets", 0.0),
    ("src2dst_ack_packets", 3.0),
    ("src2dst_psh_packets", 1.0),
    ("src2dst_rst_packets", 0.0),
    ("src2dst_fin_packets", 1.0),
    ("dst2src_syn_packets", 1.0),
    ("dst2src_cwr_packets", 0.0),
    ("dst2src_ece_packets", 0.0),
    ("dst2src_urg_packets", 0.0),
    ("dst2src_ack_packets", 3.0),
    ("dst2src_psh_packets", 1.0),
    ("dst2src_rst_packets", 0.0),
    ("dst2src_fin_packets", 0.0),
    ("bidirectional_syn_share", 2.0 / 7.0),
    ("bidirectional_rst_share", 0.0),
    ("bidirectional_fin_share", 1.0 / 7.0),
    ("bidirectional_psh_share", 2.0 / 7.0),
    ("src2dst_payload_bytes", 100.0),
    ("src2dst_payload_packets", 1.0),
    ("src2dst_payload_share", 100.0 / 260.0),
    ("src2dst_min_ttl", 64.0),
    ("src2dst_max_ttl", 64.0),
    ("src2dst_first_window", 64_240.0),
    ("src2dst_first_dscp", 0.0),
    ("dst2src_payload_bytes", 1500.0),
    ("dst2src_payload_packets", 2.0),
    ("dst2src_payload_share", 1500.0 / 1620.0),
    ("dst2src_min_ttl", 57.0),
    ("dst2src_max_ttl", 57.0),
    ("dst2src_first_window", 65_160.0),
    ("dst2src_first_dscp", 0.0),
    ("src2dst_bytes_share", 260.0 / 1880.0),
    ("down_up_ratio", 1620.0 / 260.0),
    ("bidirectional_packets_per_second", 350.0),
    ("bidirectional_bytes_per_second", 94_000.0),
    ("bidirectional_small_packet_share", 4.0 / 7.0),
    ("bidirectional_length_0_63_share", 4.0 / 7.0),
    ("bidirectional_length_64_127_share", 0.0),
    ("bidirectional_length_128_255_share", 1.0 / 7.0),
    ("bidirectional_length_256_511_share", 0.0),
    ("bidirectional_length_512_1023_share", 1.0 / 7.0),
    ("bidirectional_length_1024_2047_share", 1.0 / 7.0),
    ("bidirectional_length_2048_4095_share", 0.0),
    ("bidirectional_length_4096_up_share", 0.0),
    ("initiator_known", 1.0),
    ("protocol_class", 1.0),
    // 65,536 × 6 + 8,080.
    ("service", 401_296.0),
    ("dst_port_class", 2.0),
    ("src_window_flows", 8.0),
    ("src_window_new_flows", 3.0),
    ("src_window_login_flows", 2.0),
    ("src_window_peers", 5.0),
    ("src_window_ports", 6.0),
    ("src_window_unanswered_share", 0.25),
    ("src_window_syn_share", 0.1),
    ("dst_window_flows", 4.0),
    ("dst_window_new_flows", 3.0),
    ("dst_window_login_flows", 2.0),
    ("dst_window_peers", 5.0),
    ("dst_window_ports", 6.0),
    ("dst_window_unanswered_share", 0.5),
    ("dst_window_syn_share", 0.1),
    ("src_10m_peers", 7.5),
    ("pair_10m_ports", 1.25),
    ("pair_2s_connections", 2.5),
    ("pair_1m_connections", 4.5),
    ("pair_10m_connections", 8.5),
];

#[test]
fn every_flow_feature_has_the_value_computed_by_hand() {
    let golden = golden();
    let values = row(FLOW_FEATURES, &golden);
    assert_eq!(names(FLOW_FEATURES).collect::<Vec<_>>(), GOLDEN.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for ((name, expected), value) in GOLDEN.iter().zip(values) {
        assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{name}: {value}, by hand {expected}");
    }
}

#[test]
fn every_host_feature_belongs_to_the_role_in_its_name() {
    let role = |base: u64| Role {
        flows: 10.0,
        new_flows: base + 1,
        login_flows: base + 5,
        unanswered: 4.0,
        peers: base as f64 + 2.0,
        ports: base as f64 + 3.0,
        peer_entropy: base as f64 + 0.25,
        port_entropy: base as f64 + 0.75,
        packets_in: base,
        packets_out: 3 * base,
        bytes_in: base * 100,
        bytes_out: base * 300,
        syn_packets: base / 2,
        syn_ack_packets: base / 4,
        rst_packets: base / 10,
        small_packets: base * 2,
    };
    let address = golden().record.source().address;
    let host = HostWindow { address, start_ns: 0, end_ns: 1, source: role(20), destination: role(40) };
    let expected = |name: &str, base: f64| match name {
        "flows" => 10.0,
        "new_flows" => base + 1.0,
        "login_flows" => base + 5.0,
        "peers" => base + 2.0,
        "ports" => base + 3.0,
        "packets_out" => 3.0 * base,
        "packets_in" => base,
        "bytes_out" => 300.0 * base,
        "bytes_in" => 100.0 * base,
        "bytes_out_share" => 0.75,
        "syn_share" => 0.125,
        "syn_ack_share" => 0.0625,
        "rst_share" => 0.025,
        "unanswered_share" => 0.4,
        "small_packet_share" => 0.5,
        "peer_entropy" => base + 0.25,
        "port_entropy" => base + 0.75,
        other => panic!("no value by hand for {other}"),
    };
    for (name, value) in names(HOST_FEATURES).zip(row(HOST_FEATURES, &host)) {
        let by_hand = match (name.strip_prefix("source_"), name.strip_prefix("destination_")) {
            (Some(name), _) => expected(name, 20.0),
            (_, Some(name)) => expected(name, 40.0),
            _ => panic!("{name} names no role"),
        };
        assert!((value - by_hand).abs() < 1e-12, "{name}: {value}, by hand {by_hand}");
    }
}

#[test]
fn a_single_packet_flow_has_no_deviation_and_no_rate() {
    let ended = ended(&[tcp(5, "192.0.2.9:40000", "192.0.2.1:22", SYN)]);
    let record = FlowRecord::new(&ended, Clock::default());
    let flow = FlowRow { record, windows: None };
    let value = |name: &str| FLOW_FEATURES.iter().find(|feature| feature.name == name).unwrap().value(&flow);
    for name in ["src2dst_stddev_ps", "src2dst_stddev_piat_ms", "src2dst_mean_piat_ms", "src2dst_min_piat_ms"] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    for name in ["dst2src_min_ps", "dst2src_mean_ps", "dst2src_first_seen_ms", "dst2src_min_ttl"] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    for name in ["bidirectional_packets_per_second", "src_window_peers"] {
        assert!(value(name).is_nan(), "{name}");
    }
    // Every learnt feature of the flow itself is finite.
    let of_the_hosts = |name: &str| ["_window_", "_10m_", "pair_"].iter().any(|part| name.contains(part));
    for feature in FLOW_FEATURES.iter().filter(|feature| feature.learn != Learn::Never) {
        assert!(feature.value(&flow).is_finite() || of_the_hosts(feature.name), "{}", feature.name);
    }
}

/// Limits the number of learnt columns: distances over too many columns have no meaning.
fn check(columns: &[Column], learnt: RangeInclusive<usize>) {
    let mut seen = HashSet::new();
    for column in columns {
        assert!(seen.insert(column.name), "{} occurs twice", column.name);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(column.name.chars().all(plain), "{}: expected a-z, 0-9 and _", column.name);
        assert!(UNITS.contains(&column.unit), "{}: unit {}", column.name, column.unit);
        assert_eq!(column.learn == Learn::Category, column.unit == "class", "{}", column.name);
        assert!(column.learn != Learn::Ratio || ["share", "bits", "flag"].contains(&column.unit), "{}", column.name);
        assert!(!column.meaning.is_empty() && !column.meaning.ends_with('.'), "{}", column.name);
    }
    let found = columns.iter().filter(|column| column.learn != Learn::Never).count();
    assert!(learnt.contains(&found), "{found} columns are learnt, expected {learnt:?}");
}

#[test]
fn names_are_unique_and_units_known() {
    check(&columns(FLOW_FEATURES), 15..=40);
    check(&columns(HOST_FEATURES), 15..=32);
    // Content adds four learnt columns, and each pattern adds one.
    let content = FlowColumns::Content(&["match_a", "match_b"]);
    check(&columns(&content.features().collect::<Vec<_>>()), 15..=46);
}

#[test]
fn features_that_leak_labels_are_never_learnt() {
    let leaks = ["ttl", "dscp", "first_window", "seen_ms", "payload_bytes"];
    for column in
        columns(FLOW_FEATURES).iter().chain(&columns(CONTENT_FEATURES)).filter(|column| column.learn != Learn::Never)
    {
        assert!(!leaks.iter().any(|leak| column.name.contains(leak)), "{}", column.name);
    }
}

#[test]
fn a_learner_gets_the_columns_that_it_reads() {
    let other = FlowRow { windows: None, ..golden() };
    let mut rows = LearnerRows::new(FLOW_FEATURES.iter().copied());
    // More rows, fewer in the same memory, none, and fewer in memory of their own.
    for count in [3, 2, 0, 5000, 1] {
        let units: Vec<_> = (0..count).map(|n| if n % 2 == count % 2 { golden() } else { other.clone() }).collect();
        let found = rows.of(units.iter());
        assert_eq!(found.dim(), (count, FLOW_FEATURES.len()));
        for (found, unit) in found.outer_iter().zip(&units) {
            for ((found, value), feature) in found.iter().zip(row(FLOW_FEATURES, unit)).zip(FLOW_FEATURES) {
                let is_read = feature.learn != Learn::Never
                    || ["src_window_flows", "dst_window_flows", "service"].contains(&feature.name);
                let expected = if is_read { value } else { 0.0 };
                assert!(found.total_cmp(&expected).is_eq(), "{}: {found}, expected {expected}", feature.name);
            }
        }
    }
}
