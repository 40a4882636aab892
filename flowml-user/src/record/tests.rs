//! Records are oriented from the initiator, and their identifiers are those of other tools.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};

use flowml_common::flow::{ACK, SYN, Sender};
use flowml_common::headers::protocol;
use flowml_common::packet::Hook;

use proptest::prelude::*;

use super::{Clock, FLOW_IDENTIFIERS, FirstPacket, FlowRecord, TcpFlag, Value};
use crate::session::samples::{Sample, ended, partial_of, tcp};
use crate::session::{Sessions, Timeouts};

fn record(samples: &[Sample]) -> FlowRecord {
    let ended = ended(samples);
    FlowRecord::new(&ended, Clock::default())
}

/// For ICMP, type and code take the place of the ports.
fn packet(number: u8, source: (&str, u16), destination: (&str, u16)) -> Sample {
    let end = |(address, port): (&str, u16)| SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let any = tcp(1, "10.0.0.1:1", "10.0.0.2:2", 0);
    Sample { protocol: number, source: end(source), destination: end(destination), ..any }
}

#[test]
fn community_ids_are_those_of_the_specification() {
    // From the specification's baseline for seed 0.
    let (router, host) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
    let far = "3ffe:507:0:1:200:86ff:fe05:80da";
    let (six, mail) = ("2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a");
    let icmpv6 = protocol::ICMPV6;
    #[rustfmt::skip]
    let cases = [
        (protocol::TCP, ("128.232.110.120", 34855), ("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (protocol::TCP, ("66.35.250.204", 80), ("128.232.110.120", 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (protocol::TCP, (six, 63943), (mail, 25), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
        (protocol::TCP, (mail, 25), (six, 63943), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
        (protocol::UDP, ("192.168.1.52", 54585), ("8.8.8.8", 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (protocol::UDP, ("8.8.8.8", 53), ("192.168.1.52", 54585), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (protocol::SCTP, ("192.168.170.8", 7), ("192.168.170.56", 7), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
        (protocol::SCTP, ("192.168.170.56", 7), ("192.168.170.8", 7), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
        (protocol::ICMP, ("192.168.0.89", 8), ("192.168.0.1", 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (protocol::ICMP, ("192.168.0.1", 0), ("192.168.0.89", 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (protocol::ICMP, ("10.0.0.1", 11), ("10.0.0.2", 0), "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
        (icmpv6, (router, 135), (host, 0), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
        (icmpv6, (host, 136), (router, 0), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
        (icmpv6, (host, 135), (router, 0), "1:zavyT/cezQr1fmImYCwYnMXbgck="),
        (icmpv6, (router, 133), ("ff02::2", 0), "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
        (icmpv6, (host, 134), ("ff02::1", 0), "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
        (icmpv6, (far, 128), ("3ffe:501:0:1001::2", 0), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
        (icmpv6, ("3ffe:501:1800:2345::2", 3), (far, 0), "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
        (icmpv6, ("3ffe:501:410:0:2c0:dfff:fe47:33e", 1), (far, 4), "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
        (46, ("10.1.12.1", 0), ("10.1.12.2", 0), "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        (46, ("10.1.12.2", 0), ("10.1.12.1", 0), "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
    ];
    for (number, source, destination, expected) in cases {
        let record = record(&[packet(number, source, destination)]);
        assert_eq!(record.community_id(), expected, "protocol {number}, {source:?} to {destination:?}");
    }
}

#[test]
fn a_record_is_oriented_from_the_sender_of_the_syn() {
    let (client, server) = ("10.0.0.9:40000", "10.0.0.1:80");
    let up = |time_ns, flags, window| Sample { window, ttl: 63, ..tcp(time_ns, client, server, flags) };
    let down = |time_ns, flags| Sample { window: 500, payload: 100, ..tcp(time_ns, server, client, flags) };
    // The server's packet was counted first, as can happen with two hooks.
    let record = record(&[down(1000, SYN | ACK), up(2000, SYN, 300), up(3000, ACK, 400)]);
    assert_eq!((record.src_ip().to_string(), record.src_port()), ("10.0.0.9".to_owned(), 40_000));
    assert_eq!((record.dst_ip().to_string(), record.dst_port()), ("10.0.0.1".to_owned(), 80));
    assert_eq!(record.initiator, Sender::Upper);
    assert_eq!((record.src2dst.packets, record.dst2src.packets, record.both.packets), (2, 1, 3));
    assert_eq!((record.src2dst.flagged(TcpFlag::Syn), record.both.flagged(TcpFlag::Syn)), (1, 2));
    assert_eq!(record.windows, [300, 500]);
    assert_eq!((record.src2dst.ttl_max, record.dst2src.ttl_max), (63, 64));
    assert!(record.syn_seen && !record.is_concurrent());
    let first = |offset_us, length, from_initiator, payload| FirstPacket { offset_us, length, from_initiator, payload };
    let expected = [first(0, 140, false, true), first(1, 40, true, false), first(2, 40, true, false)];
    assert_eq!(record.first_packets(), expected);
}

#[test]
fn icmp_types_have_their_own_fields() {
    let echo = record(&[packet(protocol::ICMP, ("192.168.0.89", 8), ("192.168.0.1", 0))]);
    assert_eq!((echo.src_port(), echo.dst_port(), echo.icmp()), (0, 0, Some((8, 0))));
    let unreachable = record(&[packet(protocol::ICMPV6, ("fe80::1", 1), ("fe80::2", 4))]);
    assert_eq!(unreachable.icmp(), Some((1, 4)));
    let tcp = record(&[packet(protocol::TCP, ("10.0.0.1", 8), ("10.0.0.2", 0))]);
    assert_eq!(tcp.icmp(), None);
}

#[test]
fn times_of_a_record_are_unix_time() {
    let clock = Clock::new(5_000_000_000, 1_700_000_005_000_000_000);
    assert_eq!(clock.unix_ms(6_001_999_999), 1_700_000_006_001);
    let earlier = Clock::new(5_000_000_000, 1_000_000_000);
    assert_eq!(earlier.unix_ns(5_500_000_000), 1_500_000_000);
}

#[test]
fn identifiers_have_unique_names_and_name_both_endpoints() {
    let sample = Sample { hook: Hook::Xdp, ..packet(protocol::UDP, ("10.0.0.7", 5353), ("10.0.0.8", 53)) };
    let record = record(&[sample]);
    let value = |name: &str| {
        let found: Vec<_> = FLOW_IDENTIFIERS.iter().filter(|identifier| identifier.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        (found[0].of)(&record)
    };
    assert_eq!(value("src_ip"), Value::Text("10.0.0.7".to_owned()));
    assert_eq!(value("dst_port"), Value::Number(53));
    assert_eq!(value("src_mac"), Value::Text("02:00:00:00:00:01".to_owned()));
    assert_eq!(value("icmp_type"), Value::Absent);
    assert_eq!(value("end_reason"), Value::Name("idle_timeout"));
    assert_eq!(value("hooks"), Value::Name("xdp"));
}

/// Minimum, mean, sample standard deviation and maximum, from exact sums. The spread Σ (n·x − Σx)² is n² (n − 1) times
/// the sample variance.
fn exact(values: &[u64]) -> (f64, f64, f64, f64) {
    let (n, sum) = (values.len() as u128, values.iter().map(|value| u128::from(*value)).sum::<u128>());
    let spread: u128 = values.iter().map(|value| (n * u128::from(*value)).abs_diff(sum).pow(2)).sum();
    let variance = if n < 2 { 0.0 } else { spread as f64 / (n * n * (n - 1)) as f64 };
    let mean = if n == 0 { 0.0 } else { sum as f64 / n as f64 };
    let least = values.iter().min().copied().unwrap_or_default();
    (least as f64, mean, variance.sqrt(), values.iter().max().copied().unwrap_or_default() as f64)
}

fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected.abs() * 1e-9 + 1e-12
}

proptest! {
    /// Inter-arrival times and lengths of both directions and of each, for packets in any order of time and any
    /// division into partial flows.
    #[test]
    fn moments_are_those_of_exact_arithmetic(
        packets in prop::collection::vec(
            (prop_oneof![4 => 0..5000u64, 4 => 0..20_000_000u64, 1 => 0..9_000_000_000_000u64], 0..4_000_000u64, any::<bool>(), 0..1400u16),
            1..40,
        ),
        begin_ns in 0..2_000_000_000_000_000_000u64,
        cuts in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (client, server) = ("10.0.0.1:40000", "10.0.0.2:80");
        // Some packets are late.
        let mut time_ns = begin_ns + 4_000_000;
        let samples: Vec<_> = packets.iter().map(|&(gap_ns, late_ns, down, payload)| {
            time_ns += gap_ns;
            let (source, destination) = if down { (server, client) } else { (client, server) };
            Sample { payload, ..tcp(time_ns - late_ns * u64::from(late_ns % 4 == 0), source, destination, ACK) }
        }).collect();
        // A late packet counts at the latest time before it.
        let times: Vec<_> = samples.iter().scan(0, |latest, sample| {
            *latest = sample.time_ns.max(*latest);
            Some(*latest)
        }).collect();
        // As one partial flow, and as several if no packet is late.
        let forever = std::time::Duration::from_secs(1_000_000_000);
        let mut sessions = Sessions::new(Timeouts { idle: forever, active: forever, ..Timeouts::default() });
        let in_order: Vec<_> = samples.iter().zip(&times).map(|(sample, time_ns)| Sample { time_ns: *time_ns, ..*sample }).collect();
        let short = times.last().unwrap() - times[0] < u64::from(u32::MAX) * 1000;
        if short && !cuts[0] {
            let entry = partial_of(&samples);
            sessions.absorb(&entry.key, &entry.stats);
        } else {
            let mut begin = 0;
            for end in 1..=in_order.len() {
                if end == in_order.len() || cuts[end] || times[end] - times[begin] >= u64::from(u32::MAX) * 1000 {
                    let entry = partial_of(&in_order[begin..end]);
                    sessions.absorb(&entry.key, &entry.stats);
                    begin = end;
                }
            }
        }
        let ended = sessions.flush();
        prop_assert_eq!(ended.len(), 1);
        let record = FlowRecord::new(&ended[0], Clock::default());
        let initiator = record.src_port();
        let of = |source: Option<bool>| -> Vec<Sample> {
            let mine = |sample: &&Sample| source.is_none_or(|source| (sample.source.port() == initiator) == source);
            in_order.iter().filter(mine).copied().collect()
        };
        for (traffic, samples) in [(record.both, of(None)), (record.src2dst, of(Some(true))), (record.dst2src, of(Some(false)))] {
            let gaps: Vec<_> = samples.windows(2).map(|pair| pair[1].time_ns / 1000 - pair[0].time_ns / 1000).collect();
            let (least, mean, deviation, most) = exact(&gaps);
            let found = [traffic.iat_min_ms(), traffic.iat_mean_ms(), traffic.iat_stddev_ms(), traffic.iat_max_ms()];
            for (found, expected) in found.into_iter().zip([least, mean, deviation, most]) {
                prop_assert!(is_close(found * 1e3, expected), "{:?} of gaps {:?}", found, gaps);
            }
            prop_assert_eq!(traffic.iat_squares, gaps.iter().map(|gap| u128::from(*gap).pow(2)).sum::<u128>());
            let lengths: Vec<_> = samples.iter().map(|sample| 40 + u64::from(sample.payload)).collect();
            let (least, mean, deviation, most) = exact(&lengths);
            let found = [traffic.length_min.into(), traffic.length_mean(), traffic.length_stddev(), traffic.length_max.into()];
            for (found, expected) in found.into_iter().zip([least, mean, deviation, most]) {
                prop_assert!(is_close(found, expected), "{:?} of lengths {:?}", found, lengths);
            }
        }
        let offsets = times.iter().map(|time_ns| time_ns / 1000 - times[0] / 1000).take(8);
        prop_assert!(record.first_packets().iter().map(|packet| packet.offset_us).eq(offsets));
    }
}
