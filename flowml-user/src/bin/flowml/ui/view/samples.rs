//! Sample views for the tests of tables and UI.

use std::time::Duration;

use flowml_common::flow::{Address, Endpoint, FlowKey, IpVersion, Sender};
use flowml_common::headers::protocol;
use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_common::tunnel::TunnelCounts;
use flowml_user::export::{InterfaceReport, LearnerReport, Level, Shedding};
use flowml_user::learning::{ClusterSummary, Status, TypicalValue};
use flowml_user::record::Clock;
use flowml_user::sequential::{Evidence, Kind};

use super::*;

/// An address from its text form.
pub(crate) fn address(text: &str) -> Address {
    match text.parse().expect("an address") {
        std::net::IpAddr::V4(address) => Address::from_v4(address.into()),
        std::net::IpAddr::V6(address) => {
            let bits = u128::from(address);
            Address::from_v6((bits >> 64) as u64, bits as u64)
        }
    }
}

/// The key of a flow, and which endpoint of the key is the first of `ends`.
pub(crate) fn key(ends: [(&str, u16); 2], protocol: u8) -> (FlowKey, Sender) {
    let [one, other] = ends.map(|(text, port)| Endpoint { address: address(text), port });
    let (initiator, [lower, upper]) =
        if one <= other { (Sender::Lower, [one, other]) } else { (Sender::Upper, [other, one]) };
    let halves = |address: Address| {
        let octets = u128::from_be_bytes(address.octets());
        [(octets >> 64) as u64, octets as u64]
    };
    // The word layout of `FlowKey`.
    let words = [
        halves(lower.address),
        halves(upper.address),
        [
            u64::from(lower.port) | u64::from(upper.port) << 16 | 2 << 32,
            u64::from(protocol) << 32 | u64::from(lower.address.version() == IpVersion::V6) << 41,
        ],
    ];
    (bytemuck::cast(words), initiator)
}

pub(crate) fn verdict(cluster: u32, probability: f64, reasons: Vec<Reason>) -> Verdict {
    Verdict { cluster, score: 12.5, probability, anomaly: !reasons.is_empty(), withheld: false, class: None, reasons }
}

pub(crate) const fn reason(column: &'static str, value: f64, typical: [f64; 2], share: f64) -> Reason {
    let [low, high] = typical;
    Reason { column, unit: "", value, low, high, share }
}

fn flow(
    ends: [(&str, u16); 2],
    protocol: u8,
    packets: [u64; 2],
    bytes: [u64; 2],
    verdict: Option<Verdict>,
) -> FlowLine {
    let (key, initiator) = key(ends, protocol);
    let [one, other] = [0, 1].map(|end| Count { packets: packets[end], bytes: bytes[end] });
    let sent = if initiator == Sender::Lower { [one, other] } else { [other, one] };
    FlowLine { key, activity: FlowActivity { initiator, sent }, verdict }
}

fn host(text: &str, flows: u64, packets: [u64; 2], bytes: [u64; 2], verdict: Option<Verdict>) -> HostLine {
    let [sent, received] = [0, 1].map(|way| Count { packets: packets[way], bytes: bytes[way] });
    HostLine { address: address(text), activity: HostActivity { flows, sent, received }, verdict }
}

/// A scan of one host by another.
pub(crate) fn scan() -> Incident {
    let hosts = |text| Hosts { named: vec![address(text)], count: 1 };
    Incident {
        series_ms: 0,
        number: 3,
        kind: Kind::Unusual,
        evidence: Evidence::default(),
        start_ns: 1_000_000_000,
        end_ns: 5_000_000_000,
        sources: hosts("10.9.0.2"),
        targets: hosts("10.0.0.1"),
        windows: 8,
        flows: 997,
        probability: 3.1e-7,
        reasons: vec![
            reason("source_ports", 998.0, [1.0, 4.0], 0.5),
            reason("source_unanswered_share", 0.98, [0.0, 0.1], 0.25),
            reason("source_syn_share", 0.99, [0.02, 0.2], 0.15),
            reason("source_peers", 1.0, [2.0, 5.0], 0.1),
        ],
    }
}

fn learners() -> Vec<LearnerReport> {
    let typical = |column, low, value, high| TypicalValue { column, unit: "", low, value, high };
    let clusters = vec![
        ClusterSummary {
            id: 3,
            share: 0.4137,
            size: 512.4,
            typical: vec![
                typical("source_flows", 1.0, 3.0, 4.0),
                typical("source_peers", 2.0, 2.0, 2.0),
                typical("source_bytes_out", 900.0, 1200.0, 4000.0),
            ],
        },
        ClusterSummary {
            id: 0,
            share: 0.052,
            size: 64.0,
            typical: vec![typical("destination_flows", 80.0, 120.0, 200.0)],
        },
    ];
    let ready = Status::Ready { clusters: 2, calibration_scores: 4096 };
    let warming_up = Status::WarmingUp { rows: 400, rows_needed: 300, batches: 12, batches_needed: 30 };
    vec![
        LearnerReport { of: "flows", status: warming_up, beside: None, fleet: None, clusters: Vec::new() },
        LearnerReport { of: "hosts", status: ready, beside: Some(warming_up), fleet: None, clusters },
    ]
}

/// A busy second.
pub(crate) fn busy() -> View {
    let mut skipped = [Count::default(); Skipped::COUNT];
    skipped[Skipped::NotIp as usize] = Count { packets: 12, bytes: 720 };
    skipped[Skipped::TableFull as usize] = Count { packets: 1_204_117, bytes: 90_000_000 };
    let end_ns = 6_000_000_000;
    let clock = Clock::new(end_ns, 1_700_000_000_123_000_000);
    let long = "2001:db8:1234:5678:9abc:def0:1234:5678";
    let (anomalous, initiator) = key([(long, 51234), ("2001:db8::1", 443)], protocol::TCP);
    let many = verdict(0, 0.0099, vec![reason("src2dst_bytes", 1.2e9, [340.0, 12_000.0], 0.9)]);
    let interface = |name: &str, capture_mode| InterfaceReport { name: name.to_owned(), capture_mode };
    View {
        report: IntervalReport {
            end_ms: clock.unix_ms(end_ns),
            clock,
            elapsed: Duration::from_millis(1001),
            interfaces: vec![interface("eth0", "native"), interface("eth1", "tc")],
            received: Count { packets: 1_234_567, bytes: 98_765_432 },
            skipped,
            tunnels: TunnelCounts::default(),
            flows_open: 12_345,
            flows_new: 1_987,
            occupancy: 0.374,
            drains: Vec::new(),
            late: Duration::ZERO,
            level: Level::None,
            shedding: Shedding::default(),
            learners: learners(),
            incidents: Vec::new(),
        },
        anomalies: vec![
            Anomaly::Flow(AnomalousFlow { key: anomalous, initiator, verdict: many }),
            Anomaly::Incident(State::Open, scan()),
            Anomaly::Incident(State::Closed, Incident { number: 2, start_ns: 0, end_ns: 500_000_000, ..scan() }),
        ],
        flows: vec![
            flow([(long, 51234), ("2001:db8::1", 53)], protocol::UDP, [2, 0], [160, 0], None),
            flow(
                [("192.168.100.200", 51234), ("10.0.0.1", 443)],
                protocol::TCP,
                [40_000, 41_234],
                [1_000_000, 79_000_000],
                None,
            ),
            flow(
                [("10.0.0.1", 0), ("10.0.0.2", 0)],
                protocol::ICMP,
                [10, 10],
                [980, 980],
                Some(verdict(11, 0.42, Vec::new())),
            ),
            // The verdict of a record that ended without a packet in this period.
            flow(
                [("10.0.0.7", 40_000), ("10.0.0.1", 22)],
                protocol::TCP,
                [0, 0],
                [0, 0],
                Some(verdict(3, 0.5, Vec::new())),
            ),
        ],
        hosts: vec![
            host(long, 1, [2, 0], [160, 0], None),
            host("10.0.0.1", 12, [41_244, 40_010], [79_000_980, 1_000_980], Some(verdict(0, 0.31, Vec::new()))),
            host("10.9.0.2", 998, [998, 2], [59_880, 120], Some(verdict(3, 3.1e-7, scan().reasons))),
        ],
        outputs: vec![OutputLine {
            destination: "flows.csv".to_owned(),
            rows: 12_000,
            rows_lost: 0,
            reader_gone: false,
        }],
    }
}

/// A second without traffic.
pub(crate) fn idle() -> View {
    let busy = busy();
    let report = IntervalReport {
        interfaces: busy.report.interfaces[..1].to_vec(),
        received: Count::default(),
        skipped: Default::default(),
        tunnels: TunnelCounts::default(),
        flows_open: 1,
        flows_new: 0,
        occupancy: 0.0,
        ..busy.report
    };
    View { report, anomalies: Vec::new(), flows: Vec::new(), hosts: Vec::new(), outputs: Vec::new() }
}
