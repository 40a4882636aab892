//! A run of a few flows and hosts, for tests of outputs and of the console.

use std::time::Duration;

use flowml_common::counts::FlowValue;
use flowml_common::flow::{Address, PartialFlow};
use flowml_common::packet::{Frame, Hook, Packet, Skipped};
use flowml_common::parse::parse;
use flowml_common::table::Count;
use flowml_common::tunnel::TunnelCounts;
use flowml_user::export::{
    InterfaceReport, IntervalReport, LearnerReport, Level, RecordedFlow, Shedding, Sinks, Totals,
};
use flowml_user::features::{FlowRow, HostWindow, HostWindows};
use flowml_user::incident::{Hosts, Incident, State};
use flowml_user::learning::{ClusterSummary, Reason, Status, TypicalValue, Verdict};
use flowml_user::record::{Clock, FlowRecord};
use flowml_user::sequential::{Evidence, Kind};
use flowml_user::session::{Sessions, Timeouts};

/// An Ethernet frame with a TCP segment over IPv4 (RFC 9293 §3.1, RFC 791 §3.1). `from` and `to` are the last bytes of
/// the addresses.
pub(crate) fn segment(from: u8, to: u8, ports: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
    let ip_length = (40 + payload) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x08, 0x00];
    frame.extend([0x45, 0, ip_length.to_be_bytes()[0], ip_length.to_be_bytes()[1], 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend([10, 0, 0, from, 10, 0, 0, to]);
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(frame.len() + payload, 0);
    frame
}

pub(crate) fn packet(bytes: &[u8], time_ns: u64) -> Packet {
    let length = bytes.len() as u32;
    let frame = Frame { time_ns, length, interface: 1, hook: Hook::File, stripped_vlan: None, segments: None };
    parse(&frame, bytes).expect("the frame is sound")
}

/// The partial flow of these packets; all belong to one flow.
pub(crate) fn partial(packets: &[Packet]) -> PartialFlow {
    FlowValue::of_all(packets).expect("a packet").counted(&packets[0].key).partial_flow()
}

/// A request from `from` to the web server `to`, and its response 250 ms later.
pub(crate) fn exchange(from: u8, to: u8) -> PartialFlow {
    partial(&[
        packet(&segment(from, to, [40_000, 443], 0x02, 0), 1_000_000_000),
        packet(&segment(to, from, [443, 40_000], 0x12, 100), 1_250_000_000),
    ])
}

/// Runs partial flows through the modules to the left of the sinks.
pub(crate) struct Upstream {
    sessions: Sessions,
    windows: HostWindows,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        let sessions = Sessions::new(Timeouts::default());
        Self { sessions, windows: HostWindows::new(Duration::from_secs(2)) }
    }

    pub(crate) fn absorb(&mut self, partial: &PartialFlow, sinks: &mut Sinks) {
        let standing = self.sessions.absorb(&partial.key, &partial.stats);
        self.windows.add(partial, standing);
        sinks.partial_flow(partial, standing);
    }

    pub(crate) fn windows(&mut self) -> Vec<HostWindow> {
        let windows = self.windows.advance(2_000_000_000).windows;
        self.sessions.set_windows(|key, stats, standing| self.windows.around(key, stats, standing));
        windows
    }

    pub(crate) fn flows(&mut self) -> Vec<FlowRow> {
        let ended = self.sessions.flush();
        ended.iter().map(|ended| FlowRow::new(FlowRecord::new(ended, clock()), ended.windows)).collect()
    }
}

/// A capture clock that started at Unix time 1,700,000,000 s.
pub(crate) fn clock() -> Clock {
    Clock::new(0, 1_700_000_000_000_000_000)
}

pub(crate) fn verdict(anomaly: bool) -> Verdict {
    let reason = |column, value, share| Reason { column, unit: "flows", value, low: 1.0, high: 4.0, share };
    let reasons = vec![reason("source_flows", 998.0, 0.75), reason("source_rst_share", f64::NAN, 0.25)];
    Verdict {
        cluster: 3,
        score: 12.5,
        probability: if anomaly { 3e-7 } else { 0.5 },
        anomaly,
        class: None,
        withheld: false,
        reasons: if anomaly { reasons } else { Vec::new() },
    }
}

pub(crate) fn report(elapsed_ms: u64, end_ms: u64) -> IntervalReport {
    let typical = TypicalValue { column: "source_flows", unit: "flows", low: 1.0, value: 3.0, high: 4.0 };
    let cluster = |id, share| ClusterSummary { id, share, size: 100.0 * share, typical: vec![typical] };
    IntervalReport {
        end_ms: 1_700_000_000_000 + end_ms,
        clock: clock(),
        elapsed: Duration::from_millis(elapsed_ms),
        interfaces: interfaces(),
        received: Count { packets: 10, bytes: 1000 },
        skipped: [Count::default(); Skipped::COUNT],
        tunnels: TunnelCounts::default(),
        flows_open: 2,
        flows_new: 1,
        occupancy: 0.25,
        drains: vec![Duration::from_millis(3)],
        late: Duration::ZERO,
        level: Level::None,
        shedding: Shedding::default(),
        learners: vec![
            LearnerReport {
                of: "flows",
                status: Status::WarmingUp { rows: 1, rows_needed: 300, batches: 1, batches_needed: 30 },
                beside: None,
                fleet: None,
                clusters: Vec::new(),
            },
            LearnerReport {
                of: "hosts",
                status: Status::Ready { clusters: 2, calibration_scores: 300 },
                beside: Some(Status::WarmingUp { rows: 400, rows_needed: 300, batches: 12, batches_needed: 30 }),
                fleet: None,
                clusters: vec![cluster(1, 0.9), cluster(0, 0.1)],
            },
        ],
        incidents: vec![incident()],
    }
}

/// An attack of one host on another, as an incident.
pub(crate) fn incident() -> Incident {
    let hosts = |address: [u8; 4]| Hosts { named: vec![Address::from_v4(u32::from_be_bytes(address))], count: 1 };
    Incident {
        series_ms: 1_699_999_990_000,
        number: 1,
        kind: Kind::PortScan,
        evidence: Evidence { protocol: 6, attempts: 946, failures: 944, ..Default::default() },
        start_ns: 500_000_000,
        end_ns: 3_500_000_000,
        sources: hosts([10, 0, 0, 9]),
        targets: hosts([10, 0, 0, 1]),
        windows: 4,
        flows: 1,
        probability: 1e-9,
        reasons: verdict(true).reasons,
    }
}

pub(crate) fn interfaces() -> Vec<InterfaceReport> {
    vec![InterfaceReport { name: "eth0".to_owned(), capture_mode: "native" }]
}

pub(crate) fn totals() -> Totals {
    let mut skipped = [Count::default(); Skipped::COUNT];
    skipped[Skipped::NotIp as usize] = Count { packets: 2, bytes: 120 };
    Totals {
        interfaces: interfaces(),
        duration: Duration::from_millis(2500),
        received: Count { packets: 12, bytes: 1120 },
        in_flows: Count { packets: 10, bytes: 1000 },
        skipped,
        drains: 3,
        ..Totals::default()
    }
}

/// Adds a flow that is in no incident.
pub(crate) fn add_flow(sinks: &mut Sinks, row: FlowRow, verdict: Option<Verdict>) {
    let flow = RecordedFlow::from(&row.record);
    sinks.flow(flow, verdict, false, || row);
}

/// A run of two flows between three hosts. The second flow and one host are anomalies.
pub(crate) fn run(sinks: &mut Sinks) {
    let mut upstream = Upstream::new();
    for partial in [exchange(1, 9), exchange(2, 9)] {
        upstream.absorb(&partial, sinks);
    }
    for window in upstream.windows() {
        let anomalous = window.ip().to_string() == "10.0.0.9";
        sinks.host(window, clock(), Some(verdict(anomalous)));
    }
    sinks.incidents([(State::Open, incident())], clock());
    assert!(sinks.interval(&report(1000, 1000)).is_continue());
    let mut flows = upstream.flows();
    flows.sort_by_key(|flow| flow.record.src_ip());
    add_flow(sinks, flows[0].clone(), None);
    add_flow(sinks, flows[1].clone(), Some(verdict(true)));
    sinks.incidents([(State::Closed, incident())], clock());
}
