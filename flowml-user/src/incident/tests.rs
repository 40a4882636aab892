//! Tests that each attack is one incident with its hosts, and that chance opens no incident.
#![expect(clippy::unwrap_used, reason = "tests")]

use rand::{Rng, SeedableRng};
use rand_distr::Exp1;
use rand_xoshiro::Xoshiro256Plus;

use super::event::NAMED;
use super::*;
use crate::features::{HOST_FEATURES, columns};
use crate::learning::Reason;
use crate::sequential::{Evidence, Finding, Kind, Party, samples};
use crate::session::samples::{Sample, udp};

const SECOND: u64 = 1_000_000_000;

fn host(number: u32) -> Address {
    Address::from_v4(0x0a00_0000 | number)
}

/// An anomalous window: its host, the role in which it is anomalous, and its probability.
#[derive(Clone, Copy)]
struct SeenWindow(u32, Role, f64);

/// Incidents and the current time.
struct Run {
    incidents: Incidents,
    now_ns: u64,
    level: f64,
}

impl Default for Run {
    /// A network with so few windows that none of the tests' anomalies is made by chance.
    fn default() -> Self {
        Self { incidents: Incidents::default(), now_ns: 0, level: 1e-4 }
    }
}

impl Run {
    /// One interval of a second with these flows and these anomalous windows.
    fn second(&mut self, links: &[(u32, u32)], unusual: &[SeenWindow]) -> Vec<(State, Incident)> {
        self.now_ns += SECOND;
        links.iter().for_each(|&(from, to)| self.incidents.link([host(from), host(to)]));
        let judged: Vec<_> = unusual.iter().map(|seen| (self.window(seen.0), verdict(*seen))).collect();
        let normal = (self.window(99), None);
        let judged = judged.iter().map(|(window, verdict)| (window, Some(verdict)));
        self.incidents.observe(self.now_ns, self.level, judged.chain([(&normal.0, normal.1)]))
    }

    fn window(&self, number: u32) -> HostWindow {
        HostWindow {
            address: host(number),
            start_ns: self.now_ns.saturating_sub(2 * SECOND),
            end_ns: self.now_ns,
            source: Default::default(),
            destination: Default::default(),
        }
    }
}

fn verdict(SeenWindow(_, role, probability): SeenWindow) -> Verdict {
    let name = match role {
        Source => "source_ports",
        Target => "destination_ports",
    };
    let column = columns(HOST_FEATURES).into_iter().find(|column| column.name == name).unwrap();
    let (column, unit) = (column.name, column.unit);
    let reason = Reason { column, unit, value: 900.0, low: 1.0, high: 2.0, share: 0.9 };
    Verdict { cluster: 0, score: 99.0, probability, anomaly: true, withheld: false, class: None, reasons: vec![reason] }
}

fn named(hosts: &Hosts) -> (Vec<Address>, usize) {
    (hosts.named.clone(), hosts.count)
}

use Role::{Source, Target};

/// A finding of a sequential test at these times, s.
fn finding(kind: Kind, sources: &[u32], targets: &[u32], times: [u64; 2], attempts: u64) -> Finding {
    let party =
        |numbers: &[u32]| Party { named: numbers.iter().map(|number| host(*number)).collect(), count: numbers.len() };
    Finding {
        kind,
        sources: party(sources),
        targets: party(targets),
        evidence: Evidence { protocol: 6, attempts, failures: attempts, ..Evidence::default() },
        start_ns: times[0] * SECOND,
        end_ns: times[1] * SECOND,
        bound: 1e-6,
    }
}

#[test]
fn findings_make_one_incident_for_each_event() {
    let mut run = Run::default();
    run.incidents.testify(&[finding(Kind::PortScan, &[7], &[1], [0, 1], 100)], SECOND);
    let events = run.second(&[(7, 1)], &[]);
    let [(State::Open, begun)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((begun.number, begun.kind, begun.probability), (1, Kind::PortScan, 1e-6));
    assert_eq!(begun.summary(), "10.0.0.7 scanned 100 TCP ports of 10.0.0.1 in 1.0 s; 100 were closed or silent");
    // One event: the same scanner after a minute, another scanner of the same victim at the same time, and a scan of
    // hosts. Password guesses are another event.
    (0..60).for_each(|_| assert_eq!(run.second(&[], &[]), []));
    let more = [
        finding(Kind::PortScan, &[7], &[1], [60, 61], 100),
        finding(Kind::PortScan, &[8], &[1], [60, 61], 50),
        finding(Kind::HostScan, &[7], &[1, 2, 3], [60, 61], 30),
        finding(Kind::BruteForce, &[9], &[4], [60, 61], 30),
    ];
    run.incidents.testify(&more, 61 * SECOND);
    let events = run.second(&[], &[]);
    let [(State::Open, other)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((other.number, other.kind), (2, Kind::BruteForce));
    let open: Vec<_> = run.incidents.open().collect();
    assert_eq!((open.len(), open[0].kind, open[0].evidence.attempts), (2, Kind::PortScan, 250));
    assert_eq!((open[0].sources.count, open[0].targets.count), (2, 3));
    let suspects = (1..10).filter(|number| run.incidents.is_suspect(host(*number))).collect::<Vec<u32>>();
    assert_eq!(suspects, [1, 2, 3, 4, 7, 8, 9], "they are not eligible for training");
}

/// The number of incidents that two findings make. The second begins `pause` seconds after the end of the first.
fn events(first: (Kind, u32), second: (Kind, u32), pause: u64) -> usize {
    let mut run = Run::default();
    let of = |(kind, source): (Kind, u32), times| finding(kind, &[source], &[1], times, 100);
    run.incidents.testify(&[of(first, [0, 5])], 5 * SECOND);
    run.incidents.testify(&[of(second, [5 + pause, 6 + pause])], (6 + pause) * SECOND);
    run.incidents.open().count()
}

#[test]
fn other_sources_or_kinds_join_an_event_only_at_the_same_time() {
    use Kind::{BruteForce, HostScan, HttpFlood, IcmpFlood, PortScan, SynFlood, Tunnel, UdpFlood};
    for (first, second, pause, expected) in [
        ((PortScan, 7), (PortScan, 8), 1, 1),
        ((PortScan, 7), (PortScan, 8), 4, 2),
        ((PortScan, 7), (HostScan, 7), 60, 1),
        // Sources of a flood may be spoofed.
        ((SynFlood, 7), (SynFlood, 8), 60, 1),
        ((SynFlood, 7), (SynFlood, 8), 70, 2),
        // The victim completes some of the connections.
        ((SynFlood, 7), (HttpFlood, 8), 1, 1),
        ((SynFlood, 7), (HttpFlood, 7), 4, 2),
        // One host attacks another in several ways at once.
        ((IcmpFlood, 7), (UdpFlood, 7), 1, 1),
        ((PortScan, 7), (BruteForce, 7), 1, 1),
        ((IcmpFlood, 7), (UdpFlood, 7), 4, 2),
        ((Tunnel, 7), (Tunnel, 7), 200, 1),
        ((BruteForce, 7), (BruteForce, 8), 4, 2),
    ] {
        assert_eq!(events(first, second, pause), expected, "{first:?}, then {second:?} after {pause} s");
    }
}

/// A resolver (1) forwards the queries of clients to the servers of two tunnels.
#[test]
fn tunnels_of_two_clients_through_one_resolver_are_two_events() {
    let tunnel = |client: u32, server: u32, at: u64| {
        let of = |source, target| finding(Kind::Tunnel, &[source], &[target], [at, at + 5], 100);
        [of(client, 1), of(1, server)]
    };
    let events = |client: u32, server: u32, pause: u64, backwards: bool| {
        let mut run = Run::default();
        run.incidents.testify(&tunnel(7, 20, 0), 5 * SECOND);
        let mut second = tunnel(client, server, 5 + pause);
        if backwards {
            second.reverse();
        }
        run.incidents.testify(&second, (10 + pause) * SECOND);
        run.incidents.open().count()
    };
    for backwards in [false, true] {
        assert_eq!(events(8, 21, 30, backwards), 2);
        assert_eq!(events(7, 20, 200, backwards), 1, "the same tunnel after a pause");
    }
}

#[test]
fn a_finding_names_an_incident_of_windows_and_its_hosts_open_no_other() {
    let mut run = Run::default();
    // The victim answers with RST, and the model takes it for the source.
    let events = run.second(&[(1, 7)], &[SeenWindow(1, Source, 1e-12)]);
    assert!(matches!(events.as_slice(), [(State::Open, it)] if it.kind == Kind::Unusual), "{events:?}");
    run.incidents.testify(&[finding(Kind::PortScan, &[7], &[1], [0, 2], 100)], SECOND);
    let events = run.second(
        &[(1, 7), (30, 7)],
        &[SeenWindow(1, Source, 1e-12), SeenWindow(7, Target, 1e-12), SeenWindow(30, Source, 1e-20)],
    );
    let [(State::Named, named)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((named.number, named.kind), (1, Kind::PortScan));
    assert_eq!((&named.sources.named, &named.targets.named), (&vec![host(7)], &vec![host(1)]));
    let open: Vec<_> = run.incidents.open().collect();
    assert_eq!((open.len(), open[0].windows, open[0].probability), (1, 4, 1e-6));
    assert_eq!(run.incidents.totals(), (1, 0));
}

/// A scanner that tries each port a few times sends as many packets as a flood. One that sends far more than a scan
/// needs is a flood.
#[test]
fn a_scan_with_as_many_packets_as_a_flood_is_one_incident() {
    let scan = |at| finding(Kind::PortScan, &[7], &[1], [at, at + 1], 3000);
    let flood = |at, attempts| finding(Kind::UdpFlood, &[7], &[1], [at, at + 1], attempts);
    for findings in [[scan(0), flood(0, 9000)], [flood(0, 9000), scan(0)]] {
        let mut run = Run::default();
        run.incidents.testify(&findings, SECOND);
        run.second(&[], &[]);
        let kinds =
            |run: &Run| run.incidents.open().map(|open| (open.kind, open.evidence.attempts)).collect::<Vec<_>>();
        assert_eq!(kinds(&run), [(Kind::PortScan, 3000)]);
        run.incidents.testify(&[scan(1), flood(1, 9000)], 2 * SECOND);
        run.second(&[], &[]);
        assert_eq!(kinds(&run), [(Kind::PortScan, 6000)]);
        run.incidents.testify(&[flood(2, 90_000)], 3 * SECOND);
        run.second(&[], &[]);
        assert_eq!(kinds(&run), [(Kind::UdpFlood, 108_000)]);
        // A flood by many other hosts is another incident.
        run.incidents.testify(&[finding(Kind::SynFlood, &[20, 21, 22, 23], &[1], [3, 4], 9000)], 4 * SECOND);
        run.second(&[], &[]);
        assert_eq!(run.incidents.open().count(), 2);
    }
    // A host that only sends to the target of a scan at the same time is no scanner, whichever test reported first.
    let flood = || finding(Kind::UdpFlood, &[20, 7], &[1], [0, 1], 9000);
    for findings in [[scan(0), flood()], [flood(), scan(0)]] {
        let mut run = Run::default();
        run.incidents.testify(&findings, SECOND);
        run.second(&[], &[]);
        let open: Vec<_> = run.incidents.open().collect();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].sources.named.as_slice(), open[0].sources.count), ([host(7)].as_slice(), 1));
        assert!(!run.incidents.is_suspect(host(20)) && run.incidents.is_suspect(host(7)));
    }
    // SYNs of a scan are a flood if they fill a backlog, which is the condition of the flood test.
    let mut run = Run::default();
    run.incidents.testify(&[scan(0), finding(Kind::SynFlood, &[7], &[1], [0, 1], 4000)], SECOND);
    run.second(&[], &[]);
    let kinds: Vec<_> = run.incidents.open().map(|open| (open.kind, open.evidence.attempts)).collect();
    assert_eq!(kinds, [(Kind::SynFlood, 4000)]);
}

/// Answers to a scanner are neither an incident of their own nor an attack by the scanned hosts.
#[test]
fn a_scan_and_its_effects_are_one_incident() {
    let mut run = Run::default();
    let answers = finding(Kind::Reflection, &[1, 2, 3], &[7], [0, 9], 500);
    run.incidents.testify(&[finding(Kind::HostScan, &[7], &[1, 2, 3, 4], [0, 1], 100), answers], SECOND);
    run.second(&[], &[]);
    let open: Vec<_> = run.incidents.open().collect();
    assert_eq!((open.len(), open[0].kind, &open[0].sources.named), (1, Kind::HostScan, &vec![host(7)]));
    assert_eq!((open[0].evidence.attempts, open[0].end_ns), (100, 9 * SECOND));
}

/// Sequential tests on traffic, and the incidents of their findings.
struct Live {
    run: samples::Run,
    incidents: Incidents,
    events: Vec<(State, Kind, u64)>,
}

impl Live {
    fn new() -> Self {
        Self { run: samples::Run::new(samples::View::Both), incidents: Incidents::default(), events: Vec::new() }
    }

    fn second(&mut self, flows: &[Vec<Sample>]) {
        self.run.second(flows);
        let findings = std::mem::take(&mut self.run.findings);
        self.incidents.testify(&findings, self.run.now_ns);
        let events = self.incidents.observe(self.run.now_ns, 1e-4, std::iter::empty());
        self.events
            .extend(events.into_iter().map(|(state, incident)| (state, incident.kind, incident.evidence.attempts)));
    }

    /// All incidents of the run in their final state.
    fn finish(mut self) -> Vec<Incident> {
        let begun = self.events.iter().filter(|(state, ..)| *state == State::Open).count();
        let closed = self.events.iter().any(|(state, ..)| *state == State::Closed);
        let over = self.incidents.finish();
        assert!(!closed && begun == over.len(), "an incident ended or was reported twice: {:?}", self.events);
        over.into_iter().map(|(_, incident)| incident).collect()
    }
}

#[test]
fn a_beacon_is_one_incident_for_as_long_as_it_lasts() {
    for period in [10, 60, 300, 900] {
        let mut live = Live::new();
        for second in 0..period * 25 {
            let call = || samples::connection(second % 5 * 100, &format!("10.0.0.1:{}", 2000 + second), "93.1.1.1:443");
            live.second(&if second % period == 0 { vec![call()] } else { Vec::new() });
        }
        let [beacon] = &live.finish()[..] else { panic!("period {period}") };
        assert_eq!((beacon.kind, beacon.evidence.attempts), (Kind::Beacon, 25), "period {period}");
        assert!(beacon.evidence.period_ms.abs_diff(period * 1000) < 100, "{beacon:?}");
    }
}

/// Ports of one host, and hosts with one port, as slow as nmap's slowest timing (300 s) and slower.
#[test]
fn a_slow_scan_is_one_incident_for_as_long_as_it_lasts() {
    for (period, of_hosts) in [(60, false), (300, false), (900, false), (900, true)] {
        let mut live = Live::new();
        for second in 0..period * 40 {
            let n = second / period;
            let target = if of_hosts { format!("10.0.1.{n}:445") } else { format!("10.0.0.1:{}", 1 + n) };
            let probe = || samples::refused(0, &format!("10.0.0.7:{}", 2000 + n), &target);
            live.second(&if second % period == 0 { vec![probe()] } else { Vec::new() });
        }
        let [scan] = &live.finish()[..] else { panic!("period {period}") };
        let kind = if of_hosts { Kind::HostScan } else { Kind::PortScan };
        assert_eq!((scan.kind, scan.evidence.attempts), (kind, 40), "period {period}");
        assert_eq!(scan.evidence.period_ms, if period > 100 { period * 1000 } else { 0 });
    }
}

#[test]
fn a_repeated_scan_is_another_incident_and_a_retry_of_a_closed_port_is_none() {
    let mut live = Live::new();
    let refused = |port: u64| samples::refused(port, "10.0.0.7:2000", &format!("10.0.0.1:{}", 1 + port));
    for second in 0..2000 {
        let scan = || (0..200).map(refused).collect();
        let retry = |n| vec![samples::refused(0, &format!("10.0.0.8:{}", 2000 + n), "10.0.0.1:80")];
        live.second(&match second {
            0 | 1500 => scan(),
            second if second % 350 == 1 => retry(second),
            _ => Vec::new(),
        });
    }
    let opened: Vec<_> =
        live.events.iter().filter(|(state, ..)| *state == State::Open).map(|(_, kind, _)| *kind).collect();
    assert_eq!(opened, [Kind::PortScan; 2], "{:?}", live.events);
}

/// Scans by UDP and TCP: faster than a flood, with pauses of a minute, and by several scanners at once.
#[test]
fn scanners_of_one_victim_are_one_incident() {
    let probe = |n: u64, source: u64, port: u64, is_udp: bool| {
        let (client, server) = (format!("10.0.0.{source}:40000"), format!("10.0.0.1:{}", 1 + port));
        match is_udp {
            true => vec![udp(n * samples::MS / 4, &client, &server, 8)],
            false => samples::refused(n / 4, &client, &server),
        }
    };
    for (is_udp, sources, pause) in
        [(true, 1, 0), (false, 1, 0), (true, 1, 60), (false, 1, 60), (false, 5, 0), (true, 5, 0)]
    {
        let mut live = Live::new();
        // Lets the agent observe both directions of the victim and a baseline of its traffic.
        for second in 0..15 {
            live.second(&[samples::connection(0, &format!("10.0.0.{}:999", 100 + second), "10.0.0.1:80")]);
        }
        for second in 0..4 {
            live.second(&(0..3000).map(|n| probe(n, 7 + n % sources, 3000 * second + n, is_udp)).collect::<Vec<_>>());
            (0..pause).for_each(|_| live.second(&[]));
        }
        (0..5).for_each(|_| live.second(&[]));
        let over = live.finish();
        let [scan] = &over[..] else { panic!("{is_udp} {sources} {pause}: {over:#?}") };
        let hosts = (scan.sources.count, scan.targets.named.clone());
        assert_eq!((scan.kind, hosts), (Kind::PortScan, (sources as usize, vec![host(1)])), "{is_udp} {pause}");
        assert!(scan.evidence.attempts >= 11_900, "{}", scan.evidence.attempts);
    }
}

#[test]
fn a_scan_is_one_incident_from_start_to_end() {
    let mut run = Run::default();
    let scan = [SeenWindow(7, Source, 1e-10), SeenWindow(1, Target, 1e-10)];
    let events = run.second(&[(7, 1)], &scan);
    let [(State::Open, begun)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (begun.number, named(&begun.sources), named(&begun.targets)),
        (1, (vec![host(7)], 1), (vec![host(1)], 1))
    );
    assert_eq!(run.second(&[(7, 1)], &scan), []);
    assert!(run.incidents.flow([host(7), host(1)]));
    assert!(!run.incidents.flow([host(50), host(51)]));
    // The last anomalous window of the target is later than that of the source.
    assert_eq!(run.second(&[], &scan[1..]), []);
    for _ in 0..9 {
        assert_eq!(run.second(&[], &[]), []);
    }
    let events = run.second(&[], &[]);
    let [(State::Closed, over)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((over.number, over.windows, over.flows, over.end_ns), (1, 5, 1, 3 * SECOND));
    assert_eq!(over.probability, 1e-10);
    assert!((over.severity() - 10.0).abs() < 1e-9);
    assert_eq!(run.incidents.totals(), (1, 0));
}

#[test]
fn a_flood_from_spoofed_sources_is_one_incident_of_its_target() {
    let mut run = Run::default();
    let mut reported = Vec::new();
    for second in 0..3 {
        let sources = 1000 + second * 1000..1000 + second * 1000 + 500;
        let links: Vec<_> = sources.clone().map(|source| (source, 1)).collect();
        let unusual = sources.map(|source| SeenWindow(source, Source, 1e-5)).chain([SeenWindow(1, Target, 1e-7)]);
        reported.extend(run.second(&links, &unusual.collect::<Vec<_>>()));
    }
    // The windows of the sources extend into the next interval, in which the sources send nothing.
    let unusual: Vec<_> = (3000..3500).map(|source| SeenWindow(source, Source, 1e-5)).collect();
    reported.extend(run.second(&[], &unusual));
    let [(State::Open, incident)] = reported.as_slice() else { panic!("{}", reported.len()) };
    assert_eq!(named(&incident.targets), (vec![host(1)], 1));
    let open: Vec<_> = run.incidents.open().collect();
    assert_eq!((open.len(), open[0].sources.count, open[0].sources.named.len()), (1, 1500, NAMED));
}

/// Connections are opened at once and held open. Meanwhile only the target is an anomaly.
#[test]
fn a_target_that_stays_busy_with_an_earlier_source_is_in_the_same_incident() {
    let mut run = Run::default();
    let held = [(7, 1); 20];
    assert_eq!(run.second(&held, &[SeenWindow(7, Source, 1e-10), SeenWindow(1, Target, 1e-10)]).len(), 1);
    let of_others = [(50, 1), (51, 1), (52, 1)];
    for _ in 0..20 {
        assert_eq!(run.second(&[&held[..], &of_others].concat(), &[SeenWindow(1, Target, 1e-7)]), []);
    }
    assert_eq!(run.incidents.open().map(|incident| incident.number).collect::<Vec<_>>(), [1]);
    // Where other hosts have most of the flows, a source with few flows is not the cause of the target's anomaly.
    for _ in 0..TRAILING_NS / SECOND {
        run.second(&of_others, &[]);
    }
    let others: Vec<_> = (50..90).map(|host| (host, 1)).collect();
    let events = run.second(&[&[(7, 1)], &others[..]].concat(), &[SeenWindow(1, Target, 1e-10)]);
    assert!(matches!(events.as_slice(), [(State::Open, second)] if second.number == 2), "{events:?}");
}

#[test]
fn a_run_that_continues_incidents_continues_their_numbering() {
    let attack = |from, to| [SeenWindow(from, Source, 1e-10), SeenWindow(to, Target, 1e-10)];
    let mut run = Run { incidents: Incidents::starting_now(), ..Run::default() };
    let events = run.second(&[(7, 1)], &attack(7, 1));
    let [(State::Open, first)] = events.as_slice() else { panic!("{events:?}") };
    assert!(first.series_ms > 0);
    let state = rmp_serde::to_vec(&run.incidents).unwrap();
    let mut run = Run { incidents: rmp_serde::from_slice(&state).unwrap(), ..run };
    run.incidents.hand_over();
    let events = run.second(&[(8, 2)], &attack(8, 2));
    let [(State::Open, second)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((second.series_ms, second.number), (first.series_ms, 2));
    let events = run.incidents.finish();
    let closed: Vec<_> = events.iter().map(|(_, incident)| (incident.series_ms, incident.number)).collect();
    assert_eq!(closed, [(first.series_ms, 1), (first.series_ms, 2)]);
}

#[test]
fn two_attacks_on_one_host_are_two_incidents() {
    let mut run = Run::default();
    run.second(&[(7, 1)], &[SeenWindow(7, Source, 1e-10), SeenWindow(1, Target, 1e-10)]);
    let events = run.second(&[(8, 1)], &[SeenWindow(8, Source, 1e-10), SeenWindow(1, Target, 1e-10)]);
    let [(State::Open, second)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((second.number, named(&second.sources)), (2, (vec![host(8)], 1)));
    // An attack without a visible source is another incident, after the attacks with a source have ended.
    for _ in 0..3 {
        run.second(&[], &[]);
    }
    let events = run.second(&[], &[SeenWindow(1, Target, 1e-10)]);
    assert!(matches!(events.as_slice(), [(State::Open, third)] if third.sources.count == 0), "{events:?}");
}

#[test]
fn windows_that_chance_explains_are_no_incident_and_more_are() {
    let mut run = Run::default();
    assert_eq!(run.second(&[], &[SeenWindow(5, Source, 5e-5)]), []);
    assert_eq!(run.incidents.open().count(), 0);
    for _ in 0..11 {
        assert_eq!(run.second(&[], &[]), []);
    }
    // Too long after the first.
    assert_eq!(run.second(&[], &[SeenWindow(5, Source, 5e-5)]), []);
    // The same event, because the windows overlap.
    assert_eq!(run.second(&[], &[SeenWindow(5, Source, 5e-5)]), []);
    assert_eq!(run.second(&[], &[SeenWindow(5, Source, 5e-5)]).len(), 1);
    // Rarer windows open an incident with fewer of them.
    assert_eq!(run.second(&[], &[SeenWindow(6, Source, 1e-6)]), []);
    assert_eq!(run.second(&[], &[SeenWindow(6, Source, 1e-6)]).len(), 1);
    // With more windows, the incident level is lower. Many windows of one host are no stronger evidence than one.
    let mut run = Run { level: 1e-8, ..Run::default() };
    for _ in 0..60 {
        assert_eq!(run.second(&[], &[SeenWindow(7, Source, 1e-6)]), []);
    }
    assert_eq!(run.second(&[], &[SeenWindow(7, Source, 1e-9)]).len(), 1);
}

/// Correct probabilities of windows, which depend on each other as much as is possible: all windows of an event are
/// equally rare, and it lasts for seconds to minutes. One false incident a day is accepted, whatever the number of hosts.
#[test]
fn chance_makes_at_most_one_incident_a_day() {
    const DAYS: u64 = 50;
    const DAY: u64 = 86_400;
    let mut random = Xoshiro256Plus::seed_from_u64(1);
    for (hosts, lasting) in [(10, 3), (10, 60), (100, 3), (100, 60)] {
        let mut run = Run { level: 1.0 / (DAY * u64::from(hosts)) as f64, ..Run::default() };
        let (alpha, mut anomalies) = (1e-4, 0);
        let events_per_second = f64::from(hosts) / f64::from(lasting) * alpha;
        while run.now_ns < DAYS * DAY * SECOND {
            // e to an exponential variable is uniform.
            let uniform = (-random.sample::<f64, _>(Exp1)).exp();
            let window = SeenWindow(1 + anomalies % hosts, Source, alpha * uniform);
            for _ in 0..lasting {
                run.second(&[], &[window]);
                anomalies += 1;
            }
            let pause = random.sample::<f64, _>(Exp1) / events_per_second - f64::from(lasting);
            run.now_ns += pause.max(0.0) as u64 * SECOND;
        }
        let (incidents, _) = run.incidents.totals();
        assert!(incidents <= DAYS && u64::from(anomalies) > 50 * DAYS, "{hosts} {lasting}: {incidents} of {anomalies}");
        assert!(incidents > 0 || lasting > 3, "rare windows are incidents");
    }
}

#[test]
fn open_incidents_end_with_the_run_and_excess_ones_are_counted() {
    let mut run = Run::default();
    let unusual: Vec<_> = (0..MAX_OPEN as u32 + 10).map(|number| SeenWindow(number, Source, 1e-10)).collect();
    assert_eq!(run.second(&[], &unusual).len(), MAX_OPEN);
    assert_eq!(run.incidents.totals(), (MAX_OPEN as u64, 10));
    let over = run.incidents.finish();
    assert!(over.len() == MAX_OPEN && over.iter().all(|(state, _)| *state == State::Closed));
    assert_eq!(run.incidents.finish(), []);
}

#[test]
fn hosts_are_suspect_from_the_start_of_an_incident_until_its_flows_are_over() {
    let mut run = Run::default();
    let suspects = |run: &Run| (1..=3).filter(|number| run.incidents.is_suspect(host(*number))).collect::<Vec<u32>>();
    // An event that chance may have made has no suspects.
    run.second(&[(2, 1)], &[SeenWindow(2, Source, 1e-6)]);
    assert!(suspects(&run).is_empty());
    run.second(&[(2, 1)], &[SeenWindow(2, Source, 1e-6), SeenWindow(1, Target, 1e-6)]);
    assert_eq!(suspects(&run), [1, 2]);
    let quiet = (CLOSE_AFTER_NS + SUSPECT_NS) / SECOND;
    (1..quiet).for_each(|_| drop(run.second(&[], &[])));
    assert_eq!(suspects(&run), [1, 2]);
    run.second(&[], &[]);
    assert!(suspects(&run).is_empty());
}

#[test]
fn the_first_sources_of_a_flood_belong_to_its_target() {
    let mut run = Run::default();
    let mut slight = run.window(5);
    slight.source.flows = 1.0;
    let (target, unusual) =
        (run.window(1), [verdict(SeenWindow(5, Source, 1e-12)), verdict(SeenWindow(1, Target, 1e-12))]);
    run.incidents.link([host(5), host(1)]);
    let events = run.incidents.observe(SECOND, 1e-4, [&slight, &target].into_iter().zip(unusual.iter().map(Some)));
    let [(State::Open, incident)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((named(&incident.sources), named(&incident.targets)), ((vec![host(5)], 1), (vec![host(1)], 1)));
    // The flood that follows is the same incident.
    run.now_ns = SECOND;
    let links: Vec<_> = (10..30).map(|source| (source, 1)).collect();
    let unusual: Vec<_> =
        (10..30).map(|source| SeenWindow(source, Source, 1e-12)).chain([SeenWindow(1, Target, 1e-12)]).collect();
    assert_eq!(run.second(&links, &unusual), []);
    assert_eq!(run.incidents.open().map(|incident| incident.sources.count).collect::<Vec<_>>(), [21]);
}

#[test]
fn sources_with_two_targets_open_no_incidents_of_their_own() {
    let mut run = Run::default();
    let links: Vec<_> = (10..30).flat_map(|source| [(source, 1), (source, 2)]).collect();
    let targets = [SeenWindow(1, Target, 1e-12), SeenWindow(2, Target, 1e-12)];
    let unusual: Vec<_> = (10..30).map(|source| SeenWindow(source, Source, 1e-12)).chain(targets).collect();
    let events = run.second(&links, &unusual);
    assert_eq!(events.iter().map(|(_, incident)| incident.targets.named[0]).collect::<Vec<_>>(), [host(2), host(1)]);
}

/// A query of a row needs the same number of look-ups however many incidents are open. Its result equals that of
/// searching all of them.
#[test]
fn queries_of_a_row_do_not_depend_on_the_number_of_open_incidents() {
    let looks = |open: u32| {
        let mut run = Run::default();
        let unusual: Vec<_> = (0..open).map(|number| SeenWindow(1000 + number, Source, 1e-10)).collect();
        let links: Vec<_> = (0..open).map(|number| (1000 + number, 1_000_000 + number)).collect();
        assert_eq!(run.second(&links, &unusual).len(), open as usize);
        let before = run.incidents.index.looks.get();
        for number in [1000, 1000 + open - 1, 7] {
            assert_eq!(run.incidents.is_suspect(host(number)), number != 7);
            assert_eq!(run.incidents.flow([host(number), host(8)]), number != 7);
        }
        let oldest = run.incidents.flow([host(1000 + open - 1), host(1000)]);
        assert!(oldest && run.incidents.open().next().is_some_and(|incident| incident.flows == 2 || open == 1));
        run.incidents.index.looks.get() - before
    };
    assert_eq!(looks(10), looks(MAX_OPEN as u32));
}

/// The index contains the hosts of incidents that are open or ended recently, and no others.
#[test]
fn hosts_that_are_no_longer_suspect_use_no_memory() {
    let mut run = Run::default();
    run.second(&[(7, 1)], &[SeenWindow(7, Source, 1e-10), SeenWindow(1, Target, 1e-10)]);
    // This event never becomes an incident.
    run.second(&[], &[SeenWindow(9, Source, 1e-5)]);
    assert_eq!(run.incidents.index.len(), 3);
    (0..=CLOSE_AFTER_NS / SECOND).for_each(|_| drop(run.second(&[], &[])));
    assert_eq!(run.incidents.index.len(), 2);
    (0..=SUSPECT_NS / SECOND).for_each(|_| drop(run.second(&[], &[])));
    assert_eq!(run.incidents.index.len(), 0);
}
