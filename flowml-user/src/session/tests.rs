//! Sessions end at the right time and for the right reason, and no packet is lost.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use flowml_common::content::PayloadLimit;
use flowml_common::flow::{ACK, FIN, RST, SYN, Sender};
use flowml_common::headers::protocol;
use flowml_common::packet::{Packet, Skipped};
use flowml_common::table::{Metered, Seed, Shape, record};
use flowml_common::time::Boundaries;
use proptest::prelude::*;

use super::samples::{Sample, counted, counted_of, partial, partial_of, tcp, udp};
use super::timeouts::LINGER_NS;
use super::{EndReason, Ended, Evidence, Initiator, InitiatorRule, Sessions, Standing, Timeouts};
use crate::capture::vectors::VecTable;

const SECOND: u64 = 1_000_000_000;
const CLIENT: &str = "10.0.0.9:40000";
const SERVER: &str = "10.0.0.1:80";

/// A packet from the client. Times are in ms.
fn up(ms: u64, flags: u8) -> Sample {
    tcp(ms * 1_000_000, CLIENT, SERVER, flags)
}

fn down(ms: u64, flags: u8) -> Sample {
    tcp(ms * 1_000_000, SERVER, CLIENT, flags)
}

fn sessions() -> Sessions {
    Sessions::new(Timeouts::default())
}

fn absorb(sessions: &mut Sessions, samples: &[Sample]) {
    let entry = partial_of(samples);
    sessions.absorb(&entry.key, &entry.stats);
}

fn one(ended: Vec<Ended>) -> Ended {
    let [one] = <[_; 1]>::try_from(ended).unwrap();
    one
}

#[test]
fn silence_ends_a_session_after_the_idle_timeout() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(10, SYN | ACK)]);
    absorb(&mut sessions, &[up(900, ACK)]);
    assert_eq!(sessions.expire(15 * SECOND + 899_000_000), []);
    let ended = one(sessions.expire(15 * SECOND + 900_000_000));
    assert_eq!((ended.reason, ended.continues), (EndReason::IdleTimeout, false));
    assert_eq!(ended.stats.packets(), 3);
    assert_eq!(ended.key.endpoint(ended.initiator.sender).port, 40_000);
    assert!(sessions.is_empty());
}

#[test]
fn a_packet_after_the_idle_timeout_starts_another_session_before_the_timer_runs() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN)]);
    let entry = partial_of(&[up(15_000, SYN)]);
    assert!(sessions.absorb(&entry.key, &entry.stats).new);
    assert_eq!(one(sessions.expire(16 * SECOND)).reason, EndReason::IdleTimeout);
    assert_eq!(sessions.len(), 1);
}

#[test]
fn a_record_ends_at_the_active_timeout_and_the_next_keeps_the_initiator() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(1, SYN | ACK), up(2, ACK)]);
    for second in 1..120 {
        absorb(&mut sessions, &[up(1000 * second, ACK)]);
        assert_eq!(sessions.expire(second * SECOND + 1), []);
    }
    // Slots have 2²² µs: the 29th ends at 121.6 s.
    assert_eq!(sessions.expire(121 * SECOND), []);
    let first = one(sessions.expire(122 * SECOND));
    assert_eq!((first.reason, first.continues, first.stats.packets()), (EndReason::ActiveTimeout, false, 122));

    let entry = partial_of(&[down(122_000, ACK)]);
    let standing = sessions.absorb(&entry.key, &entry.stats);
    assert!(!standing.new && standing.answered);
    let second = one(sessions.expire(140 * SECOND));
    assert_eq!((second.reason, second.continues), (EndReason::IdleTimeout, true));
    assert_eq!(second.initiator, Initiator { sender: first.initiator.sender, by: Evidence::Continues });
}

#[test]
fn a_session_that_stays_silent_after_the_active_timeout_gives_no_empty_record() {
    let mut sessions = sessions();
    for second in 0..12 {
        absorb(&mut sessions, &[up(10_000 * second, ACK)]);
        assert_eq!(sessions.expire(10 * second * SECOND + 1), []);
    }
    assert_eq!(one(sessions.expire(122 * SECOND)).reason, EndReason::ActiveTimeout);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions.expire(125 * SECOND), []);
    assert!(sessions.is_empty());
    assert_eq!(sessions.flush(), []);
}

#[test]
fn fin_from_both_sides_ends_a_session_and_late_packets_belong_to_it() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(1, SYN | ACK), up(2, FIN | ACK), down(3, FIN | ACK)]);
    assert_eq!(sessions.expire(2 * SECOND), [], "the last acknowledgement is still on its way");
    absorb(&mut sessions, &[up(1500, ACK)]);
    assert_eq!(sessions.expire(3 * SECOND), []);
    let ended = one(sessions.expire(3 * SECOND + 500_000_000));
    assert_eq!((ended.reason, ended.stats.packets()), (EndReason::EndOfFlow, 5));
}

#[test]
fn fin_from_one_side_does_not_end_a_session() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(1, SYN | ACK), up(2, FIN | ACK), down(3, ACK)]);
    assert_eq!(sessions.expire(10 * SECOND), []);
    assert_eq!(one(sessions.expire(16 * SECOND)).reason, EndReason::IdleTimeout);
}

/// The initiator of a session of these packets, as an endpoint, and the evidence for it.
fn initiator_of(samples: &[Sample]) -> (String, Evidence) {
    let (mut sessions, entry) = (sessions(), partial_of(samples));
    let standing = sessions.absorb(&entry.key, &entry.stats);
    let Ended { initiator, key, .. } = one(sessions.flush());
    assert_eq!(standing.initiator, initiator.sender, "a record and the host windows agree");
    let end = key.endpoint(initiator.sender);
    (format!("{}:{}", end.address.to_ip(), end.port), initiator.by)
}

#[test]
fn the_strongest_evidence_determines_the_initiator() {
    const HIGH: [&str; 2] = ["10.0.0.9:40000", "10.0.0.1:50000"];
    let high = |from: usize, flags| tcp(0, HIGH[from], HIGH[1 - from], flags);
    let cases: [(&[Sample], &str, Evidence); 17] = [
        (&[up(0, SYN), down(1, SYN | ACK)], CLIENT, Evidence::Syn),
        (&[down(0, SYN)], SERVER, Evidence::Syn),
        (&[down(0, SYN | ACK)], CLIENT, Evidence::SynAck),
        (&[down(0, ACK), down(1, SYN | ACK)], CLIENT, Evidence::SynAck),
        (&[high(1, SYN | ACK)], HIGH[0], Evidence::SynAck),
        // A simultaneous open.
        (&[high(1, SYN), high(0, SYN)], HIGH[1], Evidence::FirstPacket),
        (&[down(0, ACK), up(1, ACK)], CLIENT, Evidence::ServicePort),
        (&[down(0, RST)], CLIENT, Evidence::ServicePort),
        (&[up(0, ACK)], CLIENT, Evidence::ServicePort),
        (&[high(1, ACK), high(0, ACK)], HIGH[1], Evidence::FirstPacket),
        // A null scan of high ports.
        (&[high(0, 0), high(1, RST | ACK)], HIGH[0], Evidence::FirstPacket),
        (&[udp(0, "10.0.0.1:53", "10.0.0.9:1024", 10)], "10.0.0.9:1024", Evidence::ServicePort),
        (&[udp(0, "10.0.0.1:123", "10.0.0.9:40000", 10)], "10.0.0.9:40000", Evidence::ServicePort),
        (&[udp(0, "10.0.0.1:123", "10.0.0.9:123", 10)], "10.0.0.1:123", Evidence::FirstPacket),
        (&[udp(0, "10.0.0.1:67", "10.0.0.9:68", 10)], "10.0.0.9:68", Evidence::ServicePort),
        // A multicast or broadcast address is never the initiator.
        (&[udp(0, "10.0.0.1:67", "255.255.255.255:68", 10)], "10.0.0.1:67", Evidence::FirstPacket),
        (&[udp(0, "10.0.0.1:5060", "224.0.0.9:40000", 10)], "10.0.0.1:5060", Evidence::FirstPacket),
    ];
    for (samples, initiator, by) in cases {
        assert_eq!(initiator_of(samples), (initiator.to_owned(), by), "{samples:?}");
    }
}

#[test]
fn the_initiator_of_icmp_is_the_sender_of_the_request() {
    let icmp = |number, source: &str, destination: &str| Sample { protocol: number, ..tcp(0, source, destination, 0) };
    let (v4, v6) = (protocol::ICMP, protocol::ICMPV6);
    let cases: [(&[Sample], &str, Evidence); 8] = [
        (&[icmp(v4, "10.0.0.1:8", "10.0.0.2:0")], "10.0.0.1:8", Evidence::IcmpType),
        (&[icmp(v4, "10.0.0.2:0", "10.0.0.1:0")], "10.0.0.1:8", Evidence::IcmpType),
        (&[icmp(v4, "10.0.0.2:14", "10.0.0.1:0")], "10.0.0.1:13", Evidence::IcmpType),
        (&[icmp(v4, "10.0.0.2:18", "10.0.0.1:0")], "10.0.0.1:17", Evidence::IcmpType),
        (&[icmp(v6, "[fd00::2]:129", "[fd00::1]:0")], "fd00::1:128", Evidence::IcmpType),
        (&[icmp(v6, "[fd00::2]:136", "[fd00::1]:0")], "fd00::1:135", Evidence::IcmpType),
        // An advertisement without a solicitation.
        (&[icmp(v6, "[fd00::2]:134", "[ff02::1]:0")], "fd00::2:134", Evidence::FirstPacket),
        // An error without its quote. The informed host sent the packet that caused it. Its endpoint in the key has the
        // code.
        (&[icmp(v4, "10.0.0.2:3", "10.0.0.1:1")], "10.0.0.1:1", Evidence::IcmpError),
    ];
    for (samples, initiator, by) in cases {
        assert_eq!(initiator_of(samples), (initiator.to_owned(), by), "{samples:?}");
    }
}

/// The initiator of the flow that an error quotes, from the session that a partial flow of this packet starts.
fn quoted(sessions: &mut Sessions, (packet, bytes): &(Packet, Vec<u8>)) -> (Standing, String) {
    let mut table = VecTable::new(Shape::for_capacity(32), Seed([1; 12]));
    assert_eq!(record(&mut table, packet, &bytes.as_slice()), Metered::Counted);
    let mut standing = None;
    sessions.absorb_drain(table.flows(), |partial, found| standing = Some((partial.key, found)));
    let (key, standing) = standing.unwrap();
    (standing, key.endpoint(standing.initiator).address.to_ip().to_string())
}

/// Errors about the packets of either endpoint of an open session, sent by the other endpoint and by a router.
#[test]
fn an_icmp_error_has_the_initiator_of_the_open_session_that_it_quotes() {
    let v4 = (["10.0.0.9:40000", "10.0.0.1:9000"], ["10.0.0.9:50000", "10.0.0.2:443"], "10.0.0.254:3", "10.0.0.9:4");
    let v6 =
        (["[fd00::9]:40000", "[fd00::1]:9000"], ["[fd00::9]:50000", "[fd00::2]:443"], "[fd00::fe]:2", "[fd00::9]:0");
    for (protocol, (high, other, router, code)) in [(protocol::ICMP, v4), (protocol::ICMPV6, v6)] {
        let (kind, code) = (router.rsplit(':').next().unwrap(), code.rsplit(':').next().unwrap());
        let host = |end: &str| end.rsplit_once(':').unwrap().0.to_owned();
        // This session has the same host and the ports of the first. It must not be confused with the first.
        let same_ports = format!("{}:9000", host(other[1]));
        for initiator_end in [0, 1] {
            let mut sessions = sessions();
            absorb(&mut sessions, &[tcp(0, high[initiator_end], high[1 - initiator_end], SYN)]);
            let others = [&*same_ports, high[0]];
            absorb(&mut sessions, &[tcp(0, others[initiator_end], others[1 - initiator_end], SYN)]);
            for informed in [0, 1] {
                let about = tcp(0, high[informed], high[1 - informed], ACK);
                for (sender, is_end) in [(host(high[1 - informed]), true), (host(router), false)] {
                    let [from, to] = [format!("{sender}:{kind}"), format!("{}:{code}", host(high[informed]))];
                    let error = Sample { protocol, ..tcp(1_000_000, &from, &to, 0) };
                    let (standing, initiator) = quoted(&mut sessions, &error.quoting(&about));
                    let expected = if initiator_end == informed { host(high[informed]) } else { sender };
                    assert_eq!(
                        initiator,
                        expected.trim_matches(['[', ']']),
                        "from {from} to {to}, initiator {initiator_end}"
                    );
                    assert_eq!(standing.about_sender, is_end, "from {from} to {to}");
                }
            }
        }
    }
}

#[test]
fn stronger_evidence_wins_while_the_record_is_open() {
    let mut sessions = sessions();
    let (ack, syn_ack) = (
        partial_of(&[tcp(0, "10.0.0.1:50000", CLIENT, ACK)]),
        partial_of(&[tcp(1, "10.0.0.1:50000", CLIENT, SYN | ACK)]),
    );
    let first = sessions.absorb(&ack.key, &ack.stats).initiator;
    let second = sessions.absorb(&syn_ack.key, &syn_ack.stats).initiator;
    assert_eq!(second, first.opposite(), "host windows use the evidence of their time");
    assert_eq!(one(sessions.flush()).initiator, Initiator { sender: second, by: Evidence::SynAck });
}

#[test]
fn a_session_keeps_the_initiator_of_the_one_that_it_continues() {
    let high = "10.0.0.1:50000";
    let mut sessions = sessions();
    absorb(&mut sessions, &[tcp(0, CLIENT, high, SYN), tcp(1, high, CLIENT, SYN | ACK)]);
    let first = one(sessions.expire(60 * SECOND));
    // Keep-alive packets of the responder.
    for minute in 2..4 {
        absorb(&mut sessions, &[tcp(minute * 60 * SECOND, high, CLIENT, ACK)]);
        let next = one(sessions.expire(minute * 60 * SECOND + 30 * SECOND));
        assert_eq!(next.initiator, Initiator { sender: first.initiator.sender, by: Evidence::Continues });
        assert!(!next.continues, "only after the active timeout");
    }
    // The responder opens a connection of its own on the same ports. Its later packets belong to that connection.
    absorb(&mut sessions, &[tcp(300 * SECOND, high, CLIENT, SYN)]);
    let other = one(sessions.expire(330 * SECOND));
    assert_eq!(other.initiator, Initiator { sender: first.initiator.sender.opposite(), by: Evidence::Syn });
    absorb(&mut sessions, &[tcp(360 * SECOND, CLIENT, high, ACK)]);
    assert_eq!(one(sessions.flush()).initiator, Initiator { by: Evidence::Continues, ..other.initiator });
}

#[test]
fn a_late_segment_of_a_connection_that_tcp_ended_keeps_its_initiator() {
    let high = "10.0.0.1:50000";
    let ends: [&[Sample]; 3] = [
        &[tcp(2, CLIENT, high, FIN | ACK), tcp(3, high, CLIENT, FIN | ACK)],
        &[tcp(2, CLIENT, high, RST)],
        &[tcp(2, high, CLIENT, RST | ACK)],
    ];
    for end in ends {
        let mut sessions = sessions();
        let open = [tcp(0, CLIENT, high, SYN), tcp(1, high, CLIENT, SYN | ACK)];
        absorb(&mut sessions, &[&open[..], end].concat());
        let first = one(sessions.expire(60 * SECOND));
        assert_eq!(first.reason, EndReason::EndOfFlow);
        for (minute, flags) in [(1, FIN | ACK), (2, RST), (3, ACK)] {
            absorb(&mut sessions, &[tcp(minute * 60 * SECOND, high, CLIENT, flags)]);
            let late = one(sessions.expire((minute + 1) * 60 * SECOND));
            assert_eq!(late.initiator, Initiator { by: Evidence::Continues, ..first.initiator });
        }
        absorb(&mut sessions, &[tcp(300 * SECOND, high, CLIENT, SYN)]);
        let other = Initiator { sender: first.initiator.sender.opposite(), by: Evidence::Syn };
        assert_eq!(one(sessions.flush()).initiator, other);
    }
}

#[test]
fn connections_that_tcp_ended_do_not_displace_remembered_silent_ones() {
    let high = "10.0.0.1:50000";
    let mut sessions = sessions();
    absorb(&mut sessions, &[tcp(0, CLIENT, high, SYN)]);
    let silent = one(sessions.expire(60 * SECOND));
    let time_ns = 60 * SECOND;
    for n in 0..200_000u32 {
        let client = format!("10.{}.{}.{}:40000", 1 + (n >> 16), n >> 8 & 255, n & 255);
        absorb(&mut sessions, &[tcp(time_ns, &client, high, SYN), tcp(time_ns, high, &client, RST | ACK)]);
    }
    assert_eq!(sessions.expire(70 * SECOND).len(), 200_000);
    absorb(&mut sessions, &[tcp(70 * SECOND, high, CLIENT, ACK)]);
    assert_eq!(one(sessions.flush()).initiator, Initiator { by: Evidence::Continues, ..silent.initiator });
}

#[test]
fn by_nfstreams_rule_the_first_packet_determines_the_initiator() {
    let mut sessions = Sessions::new(Timeouts { initiator: InitiatorRule::FirstPacket, ..Timeouts::default() });
    absorb(&mut sessions, &[down(0, SYN | ACK), up(1, ACK)]);
    let Ended { initiator, key, .. } = one(sessions.flush());
    assert_eq!((key.endpoint(initiator.sender).port, initiator.by), (80, Evidence::FirstPacket));
}

#[test]
fn a_reset_ends_a_session() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(1, RST | ACK)]);
    assert_eq!(one(sessions.expire(3 * SECOND)).reason, EndReason::EndOfFlow);
}

#[test]
fn flags_end_no_session_if_only_timeouts_count() {
    let mut sessions = Sessions::new(Timeouts { end_by_flags: false, ..Timeouts::default() });
    absorb(&mut sessions, &[up(0, SYN), down(1, RST | ACK)]);
    assert_eq!(sessions.expire(10 * SECOND), []);
    assert_eq!(one(sessions.expire(16 * SECOND)).reason, EndReason::IdleTimeout);
}

#[test]
fn a_syn_after_the_end_opens_a_session_on_the_same_ports() {
    let mut sessions = sessions();
    absorb(&mut sessions, &[up(0, SYN), down(1, RST | ACK)]);
    let entry = partial_of(&[up(500, SYN), down(501, RST | ACK)]);
    assert!(sessions.absorb(&entry.key, &entry.stats).new);
    let ended = sessions.expire(10 * SECOND);
    assert_eq!(ended.iter().map(|ended| ended.stats.packets()).collect::<Vec<_>>(), [2, 2]);
    assert!(ended.iter().all(|ended| ended.reason == EndReason::EndOfFlow));
}

#[test]
fn a_flush_returns_all_sessions() {
    let mut sessions = sessions();
    for port in 1..=100 {
        absorb(&mut sessions, &[udp(port, "10.0.0.1:53", &format!("10.0.0.2:{port}"), 10)]);
    }
    let ended = sessions.flush();
    assert_eq!(ended.len(), 100);
    assert!(ended.iter().all(|ended| ended.reason == EndReason::ForcedEnd));
    assert!(sessions.is_empty());
}

#[test]
fn above_the_capacity_the_sessions_closest_to_their_end_are_ended() {
    let mut sessions = sessions().with_capacity(10);
    for port in 1..=25 {
        absorb(&mut sessions, &[udp(port * SECOND / 2, "10.0.0.1:53", &format!("10.0.0.2:{port}"), 10)]);
        assert!(sessions.len() <= 10);
    }
    let ended = sessions.expire(12 * SECOND);
    let ports: Vec<_> = ended.iter().map(|ended| ended.key.endpoint(Sender::Upper).port).collect();
    assert_eq!(ports, (1..=15).collect::<Vec<_>>());
    assert!(ended.iter().all(|ended| ended.reason == EndReason::LackOfResources));
}

#[test]
fn a_flow_that_moves_between_cpus_gives_what_one_cpu_would_have_counted() {
    let whole = [up(0, SYN), down(3, SYN | ACK), up(5, ACK), up(400, ACK), down(777, ACK), up(900, ACK)];
    // Two partitions in one drain. The partial flow of the second CPU is the earlier one.
    let partials = [&whole[3..], &whole[..3]].map(counted_of);
    let mut sessions = sessions();
    let mut order = Vec::new();
    sessions.absorb_drain(partials.iter().map(|(key, value)| value.counted(key)), |partial, standing| {
        order.push((partial.stats.first_ns(), standing.new, standing.answered));
    });
    assert_eq!(order, [(0, true, true), (400_000_000, false, true)]);
    assert_eq!(one(sessions.flush()).stats, partial_of(&whole).stats);
}

/// A generated packet: its time after the previous packet, flow, direction, CPU and flags.
#[derive(Clone, Debug)]
struct Step {
    pause_ms: u64,
    flow: u16,
    down: bool,
    cpu: usize,
    flags: u8,
    payload: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = prop_oneof![8 => 0..50u64, 2 => 50..3000u64, 1 => 10_000..30_000u64];
    let flags = prop_oneof![8 => Just(ACK), 1 => Just(SYN), 1 => Just(SYN | ACK), 2 => Just(FIN | ACK), 1 => Just(RST)];
    (pause_ms, 0..4u16, any::<bool>(), 0..2usize, flags, 0..1000u16)
        .prop_map(|(pause_ms, flow, down, cpu, flags, payload)| Step { pause_ms, flow, down, cpu, flags, payload })
}

/// The packets of the steps with their CPUs, in the order of time.
fn packets(steps: &[Step]) -> Vec<(usize, Packet)> {
    let mut time_ns = 7;
    let packet = |step: &Step| {
        time_ns += step.pause_ms * 1_000_000 + 1234;
        let client = format!("10.0.0.9:{}", 1000 + step.flow);
        let (source, destination) = if step.down { (SERVER, client.as_str()) } else { (client.as_str(), SERVER) };
        let sample = Sample { payload: step.payload, ..tcp(time_ns, source, destination, step.flags) };
        (step.cpu, sample.packet())
    };
    steps.iter().map(packet).collect()
}

/// Meters packets as the kernel does: one drain in each interval, one partial flow for each flow and CPU.
fn run(sessions: &mut Sessions, packets: &[(usize, Packet)], interval_ns: u64) -> Vec<Ended> {
    let mut ended = Vec::new();
    for epoch in packets.chunk_by(|a, b| a.1.time.ns() / interval_ns == b.1.time.ns() / interval_ns) {
        let mut partials: BTreeMap<(usize, u16), Vec<Packet>> = BTreeMap::new();
        for (cpu, packet) in epoch {
            let port = packet.key.endpoint(Sender::Upper).port;
            partials.entry((*cpu, port)).or_default().push(*packet);
        }
        let partials: Vec<_> = partials.values().map(|packets| counted(packets)).collect();
        sessions.absorb_drain(partials.iter().map(|(key, value)| value.counted(key)), |_, _| ());
        ended.extend(sessions.expire((epoch[0].1.time.ns() / interval_ns + 1) * interval_ns));
    }
    ended.extend(sessions.flush());
    ended
}

/// Number of packets and frame bytes by the client's port.
fn sums<'a>(counted: impl IntoIterator<Item = (u16, u64, u64)> + 'a) -> HashMap<u16, (u64, u64)> {
    let mut sums = HashMap::new();
    for (port, packets, bytes) in counted {
        let sum: &mut (u64, u64) = sums.entry(port).or_default();
        *sum = (sum.0 + packets, sum.1 + bytes);
    }
    sums
}

proptest! {
    #[test]
    fn every_packet_is_in_exactly_one_record(
        steps in prop::collection::vec(step(), 1..200),
        interval_ms in 10..2000u64,
        active_s in 5..120u64,
        capacity in 1..6usize,
        end_by_flags: bool,
    ) {
        let packets = packets(&steps);
        let timeouts = Timeouts { active: Duration::from_secs(active_s), end_by_flags, ..Timeouts::default() };
        let mut sessions = Sessions::new(timeouts).with_capacity(capacity);
        let ended = run(&mut sessions, &packets, interval_ms * 1_000_000);
        let port = |ended: &Ended| ended.key.endpoint(Sender::Upper).port;
        prop_assert_eq!(
            sums(ended.iter().map(|ended| (port(ended), ended.stats.packets(), ended.stats.frame_bytes()))),
            sums(packets.iter().map(|(_, packet)| {
                (packet.key.endpoint(Sender::Upper).port, 1, u64::from(packet.frame_bytes))
            }))
        );
        prop_assert!(ended.iter().all(|ended| ended.stats.packets() > 0));
        prop_assert!(sessions.is_empty());
    }

    #[test]
    fn the_records_of_one_cpu_do_not_depend_on_when_it_is_drained(
        steps in prop::collection::vec(step(), 1..100),
        interval_ms in 10..1000u64,
    ) {
        // No gap reaches these timeouts, and there is one CPU. Each flow is one record, equal to counting all packets
        // at once.
        let packets: Vec<_> = packets(&steps).into_iter().map(|(_, packet)| (0, packet)).collect();
        let forever = Duration::from_secs(1_000_000);
        let timeouts = Timeouts { idle: forever, active: forever, end_by_flags: false, ..Timeouts::default() };
        let mut ended = run(&mut Sessions::new(timeouts), &packets, interval_ms * 1_000_000);
        ended.sort_by_key(|ended| ended.key.endpoint(Sender::Upper).port);

        let mut flows: BTreeMap<u16, Vec<Packet>> = BTreeMap::new();
        for (_, packet) in &packets {
            flows.entry(packet.key.endpoint(Sender::Upper).port).or_default().push(*packet);
        }
        let whole: Vec<_> = flows.values().map(|packets| partial(packets).stats).collect();
        prop_assert_eq!(ended.iter().map(|ended| ended.stats).collect::<Vec<_>>(), whole);
    }
}

#[test]
fn the_default_boundaries_are_those_of_the_default_timeouts() {
    assert_eq!(Timeouts::default().boundaries(), Boundaries::default());
}

/// Whether `sample` starts another session after the samples `before`. Each sample is absorbed on its own.
fn begins_another(before: &[Sample], sample: Sample) -> bool {
    let mut sessions = sessions();
    before.iter().for_each(|sample| absorb(&mut sessions, &[*sample]));
    let entry = partial_of(&[sample]);
    sessions.absorb(&entry.key, &entry.stats).new
}

fn numbered(sample: Sample, sequence: u32) -> Sample {
    Sample { sequence, ..sample }
}

#[test]
fn a_syn_starts_another_session_after_an_end_or_with_another_number() {
    let opened = [numbered(up(0, SYN), 7), numbered(down(1, SYN | ACK), 9), up(2, ACK)];
    let reset = [&opened[..], &[down(3, RST)]].concat();
    let finished = [&opened[..], &[up(3, FIN | ACK), down(4, FIN | ACK)]].concat();
    let cases: [(&str, &[Sample], Sample, bool); 12] = [
        ("sent again", &opened, numbered(up(500, SYN), 7), false),
        ("another number", &opened, numbered(up(500, SYN), 8), true),
        ("the number of the other side", &opened, numbered(down(500, SYN), 9), false),
        ("after a reset, the same number", &reset, numbered(up(500, SYN), 7), true),
        ("after FIN from both sides", &finished, numbered(up(500, SYN), 8), true),
        ("data after the end", &finished, up(500, ACK), false),
        ("an answer sent again after the end", &reset, numbered(down(500, SYN | ACK), 9), false),
        ("another answer to a SYN that was seen", &opened, numbered(down(500, SYN | ACK), 10), false),
        ("one side: sent again", &opened[1..2], numbered(down(500, SYN | ACK), 9), false),
        ("one side: another number", &opened[1..2], numbered(down(500, SYN | ACK), 10), true),
        ("one side: the first answer after an end", &[down(3, RST)], numbered(down(500, SYN | ACK), 9), true),
        ("SYN with FIN opens nothing", &reset, numbered(up(500, SYN | FIN), 8), false),
    ];
    for (name, before, sample, expected) in cases {
        assert_eq!(begins_another(before, sample), expected, "{name}");
    }
}

#[test]
fn a_gap_beyond_both_timeouts_ends_the_record_and_the_session() {
    let mut sessions = sessions();
    for second in 0..11 {
        absorb(&mut sessions, &[up(10_000 * second, ACK)]);
    }
    let entry = partial_of(&[up(500_000, ACK)]);
    assert!(sessions.absorb(&entry.key, &entry.stats).new);
    // 100 s after the first packet the session has ended, and the active timeout has not been reached.
    assert_eq!(one(sessions.expire(501 * SECOND)).reason, EndReason::IdleTimeout);
}

/// The time between a packet and the previous one.
#[derive(Clone, Copy, Debug)]
enum Pause {
    Ns(u64),
    /// Close to a timeout: index of the timeout, and its time + n − 2 ns.
    Around(usize, u64),
    /// Close to the start of a slot: number of slots, and its time + n − 2 ns.
    Slot(u64, u64),
}

/// A generated packet on one of a few flows.
#[derive(Clone, Copy, Debug)]
struct Event {
    pause: Pause,
    flow: usize,
    down: bool,
    flags: u8,
    sequence: u32,
    payload: u16,
}

fn event() -> impl Strategy<Value = Event> {
    let pause = prop_oneof![
        2 => Just(Pause::Ns(0)),
        4 => (0..3000u64).prop_map(Pause::Ns),
        6 => (0..50_000_000u64).prop_map(Pause::Ns),
        3 => (0..3_000_000_000u64).prop_map(Pause::Ns),
        4 => (0..3usize, 0..5u64).prop_map(|(which, ns)| Pause::Around(which, ns)),
        3 => (1..4u64, 0..5u64).prop_map(|(slots, ns)| Pause::Slot(slots, ns)),
    ];
    let flags = prop_oneof![
        8 => Just(ACK),
        5 => Just(SYN),
        3 => Just(SYN | ACK),
        3 => Just(FIN | ACK),
        2 => Just(RST),
        1 => Just(RST | ACK),
        1 => Just(SYN | RST),
        1 => Just(SYN | FIN),
        1 => any::<u8>(),
    ];
    // Two flows of TCP, one of UDP.
    (pause, 0..3usize, any::<bool>(), flags, 1..3u32, 0..20u16)
        .prop_map(|(pause, flow, down, flags, sequence, payload)| Event { pause, flow, down, flags, sequence, payload })
}

/// Timeouts longer and shorter than intervals, and than each other.
fn timeouts() -> impl Strategy<Value = Timeouts> {
    let times = prop_oneof![
        3 => Just((15_000, 120_000)),
        2 => Just((1000, 2000)),
        1 => Just((100, 100)),
        1 => Just((5000, 1000)),
        1 => Just((300, 20_000)),
    ];
    (times, prop::bool::weighted(0.8)).prop_map(|((idle, active), end_by_flags)| Timeouts {
        idle: Duration::from_millis(idle),
        active: Duration::from_millis(active),
        end_by_flags,
        ..Timeouts::default()
    })
}

/// The packets of the events in one view: both directions, or one of them.
fn seen(events: &[Event], timeouts: &Timeouts, view: usize) -> Vec<Packet> {
    let slot_ns = timeouts.boundaries().slot().as_nanos() as u64;
    let ends_ns = [timeouts.idle.as_nanos() as u64, LINGER_NS, timeouts.active.as_nanos() as u64];
    let mut time_ns = 1_700_000_000_000_000_000;
    let mut packets = Vec::new();
    for event in events {
        time_ns = match event.pause {
            Pause::Ns(ns) => time_ns + ns,
            Pause::Around(which, ns) => time_ns + ends_ns[which] + ns - 2,
            Pause::Slot(slots, ns) => time_ns.max((time_ns / slot_ns + slots) * slot_ns + ns - 2),
        };
        if view == 1 && event.down || view == 2 && !event.down {
            continue;
        }
        let (client, server) = (format!("10.0.0.9:{}", 1000 + event.flow), SERVER);
        let (source, destination) = if event.down { (server, &*client) } else { (&*client, server) };
        let sample = match event.flow {
            2 => udp(time_ns, source, destination, event.payload),
            _ => Sample {
                sequence: event.sequence,
                payload: event.payload,
                ..tcp(time_ns, source, destination, event.flags)
            },
        };
        packets.push(sample.packet());
    }
    packets
}

/// Meters the packets as `flowml read` does, and drains the table at each interval. Without an interval, before each
/// packet.
fn metered(packets: &[Packet], timeouts: Timeouts, interval: Option<(u64, u64)>) -> Vec<Ended> {
    let (mut sessions, mut ended) = (Sessions::new(timeouts), Vec::new());
    let mut table = VecTable::new(Shape::for_capacity(32), Seed([0x9e37_79b9_7f4a_7c15; 12]))
        .with_boundaries(timeouts.boundaries())
        .with_payload(PayloadLimit::new(4));
    let drain = |table: &mut VecTable, sessions: &mut Sessions| {
        sessions.absorb_drain(table.flows(), |_, _| ());
        table.clear();
    };
    let mut number = 0;
    for packet in packets {
        if let Some((interval_ns, phase_ns)) = interval {
            let next = (packet.time.ns() + phase_ns) / interval_ns;
            if next != number {
                drain(&mut table, &mut sessions);
                ended.extend(sessions.expire(next * interval_ns - phase_ns));
                number = next;
            }
        } else {
            drain(&mut table, &mut sessions);
        }
        let bytes = [7; 200].as_slice();
        if record(&mut table, packet, &bytes) == Metered::Skipped(Skipped::TableFull) {
            drain(&mut table, &mut sessions);
            assert_eq!(record(&mut table, packet, &bytes), Metered::Counted, "in an empty table");
        }
    }
    drain(&mut table, &mut sessions);
    if let Some(packet) = packets.last() {
        ended.extend(sessions.expire(packet.time.ns()));
    }
    ended.extend(sessions.flush());
    ended.sort_by_key(|ended| ended.key);
    ended
}

proptest! {
    /// More cases: `PROPTEST_CASES=10000 cargo test -p flowml-user --lib session`.
    #[test]
    fn records_do_not_depend_on_when_the_table_is_drained(
        events in prop::collection::vec(event(), 1..60),
        timeouts in timeouts(),
        view in 0..3usize,
        phase: u64,
    ) {
        let packets = seen(&events, &timeouts, view);
        let expected = metered(&packets, timeouts, None);
        for interval_ns in [SECOND / 100, SECOND, 10 * SECOND, 1000 * SECOND] {
            let found = metered(&packets, timeouts, Some((interval_ns, phase % interval_ns)));
            prop_assert_eq!(&found, &expected, "with an interval of {} ns", interval_ns);
        }
    }
}
