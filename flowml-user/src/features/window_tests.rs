//! Checks that host windows cover two seconds, count each flow once and stay bounded.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use flowml_common::flow::{ACK, RST, SYN};
use flowml_common::headers::protocol;
use proptest::prelude::*;

use super::distinct::Distinct;
use super::window::{HostWindow, HostWindows, Hosts};
use crate::session::samples::{Sample, counted_of, tcp, udp};
use crate::session::{BeginWindows, Ended, HostCounts, Sessions, Timeouts};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Sessions and host windows, connected as in a run.
struct Run {
    sessions: Sessions,
    windows: HostWindows,
}

impl Run {
    fn new() -> Self {
        Self { sessions: Sessions::new(Timeouts::default()), windows: HostWindows::new(Duration::from_secs(2)) }
    }

    /// One drain, with one partial flow for each list of packets.
    fn drain(&mut self, at_ns: u64, partials: &[&[Sample]]) -> Hosts {
        let partials: Vec<_> = partials.iter().map(|samples| counted_of(samples)).collect();
        let counted = partials.iter().map(|(key, value)| value.counted(key));
        self.sessions.absorb_drain(counted, |partial, standing| self.windows.add(partial, standing));
        let hosts = self.windows.advance(at_ns);
        self.sessions.set_windows(|key, stats, standing| self.windows.around(key, stats, standing));
        hosts
    }
}

fn find(hosts: &Hosts, address: &str) -> HostWindow {
    let address: IpAddr = address.parse().unwrap();
    *hosts.windows.iter().find(|window| window.ip() == address).unwrap()
}

fn syn(ms: u64, source: &str, destination: &str) -> Sample {
    tcp(ms * MS, source, destination, SYN)
}

#[test]
fn a_host_is_seen_in_both_of_its_roles() {
    let mut run = Run::new();
    let (client, server) = ("10.0.0.9:40000", "10.0.0.1:80");
    let reply = |ms: u64, flags, payload| Sample { payload, ..tcp(ms * MS, server, client, flags) };
    let web = [syn(0, client, server), reply(1, SYN | ACK, 0), tcp(2 * MS, client, server, ACK), reply(3, ACK, 1000)];
    let refused = [syn(5, "10.0.0.9:40001", "10.0.0.1:81"), tcp(6 * MS, "10.0.0.1:81", "10.0.0.9:40001", RST | ACK)];
    let ask = [udp(7 * MS, "10.0.0.1:5000", "10.0.0.3:53", 30)];
    let hosts = run.drain(SECOND, &[&web, &refused, &ask]);
    assert_eq!((hosts.windows.len(), hosts.left_out), (3, 0));

    let client = find(&hosts, "10.0.0.9").source;
    assert_eq!((client.flows, client.new_flows, client.unanswered), (2.0, 2, 0.0));
    assert_eq!((client.peers, client.ports), (1.0, 2.0));
    assert_eq!((client.packets_out, client.packets_in), (3, 3));
    assert_eq!((client.bytes_out, client.bytes_in), (120, 1120));
    assert_eq!((client.syn_packets, client.syn_ack_packets, client.rst_packets, client.small_packets), (2, 1, 1, 5));
    assert_eq!((client.peer_entropy, client.port_entropy), (0.0, 1.0));
    assert_eq!(find(&hosts, "10.0.0.9").destination.flows, 0.0);

    let server = find(&hosts, "10.0.0.1");
    assert_eq!((server.destination.flows, server.destination.ports), (2.0, 2.0));
    assert_eq!((server.destination.packets_out, server.destination.bytes_out), (3, 1120));
    assert_eq!((server.source.flows, server.source.unanswered, server.source.bytes_out), (1.0, 1.0, 58));
}

#[test]
fn a_scan_is_visible_after_the_first_drain() {
    let mut run = Run::new();
    let scan: Vec<_> = (1..=300).map(|port| [syn(port, "10.0.0.9:40000", &format!("10.0.0.1:{port}"))]).collect();
    let partials: Vec<&[Sample]> = scan.iter().map(<[Sample; 1]>::as_slice).collect();
    let hosts = run.drain(SECOND, &partials);
    let scanner = find(&hosts, "10.0.0.9").source;
    assert_eq!((scanner.flows, scanner.ports, scanner.peers, scanner.unanswered), (300.0, 300.0, 1.0, 300.0));
    assert!((scanner.port_entropy - 300f64.log2()).abs() < 1e-9);
    assert_eq!(find(&hosts, "10.0.0.1").destination.unanswered_share(), 1.0);
}

#[test]
fn login_flows_are_new_flows_to_services_with_a_login() {
    let mut run = Run::new();
    let (client, server) = ("10.0.0.9:40000", "10.0.0.1:22");
    let web = [syn(2, "10.0.0.9:40001", "10.0.0.1:443")];
    let first =
        run.drain(SECOND, &[&[syn(1, client, server)], &web, &[udp(3 * MS, "10.0.0.9:40002", "10.0.0.1:22", 9)]]);
    let logins =
        |hosts: &Hosts| (find(hosts, "10.0.0.9").source.login_flows, find(hosts, "10.0.0.1").destination.login_flows);
    assert_eq!(logins(&first), (1, 1));
    run.drain(2 * SECOND, &[&[tcp(1500 * MS, client, server, ACK)]]);
    // The flow continues. It did not begin in this window.
    assert_eq!(logins(&run.drain(3 * SECOND, &[&[tcp(2500 * MS, client, server, ACK)]])), (0, 0));
}

#[test]
fn link_housekeeping_is_in_no_window() {
    let mut run = Run::new();
    let icmp = |protocol, kind, code| Sample {
        protocol,
        ..udp(MS, &format!("[fe80::1]:{kind}"), &format!("[fe80::2]:{code}"), 24)
    };
    let discovery = [icmp(protocol::ICMPV6, 135, 136)];
    let redirect = [icmp(protocol::ICMPV6, 137, 0)];
    let membership = [icmp(protocol::IGMP, 0, 0)];
    assert_eq!(run.drain(SECOND, &[&discovery, &redirect, &membership]).windows, []);
    let ping = [icmp(protocol::ICMPV6, 128, 129)];
    assert_eq!(run.drain(2 * SECOND, &[&ping]).windows.len(), 2);
}

#[test]
fn a_window_covers_two_seconds_and_counts_a_flow_once() {
    let mut run = Run::new();
    let (client, server) = ("10.0.0.9:40000", "10.0.0.1:80");
    let packet = |ms: u64| [tcp(ms * MS, client, server, ACK)];
    let flows = |hosts: &Hosts| {
        let role = find(hosts, "10.0.0.9").source;
        (role.flows, role.new_flows, role.packets_out)
    };
    // Drains come slightly early and slightly late.
    assert_eq!(flows(&run.drain(1001 * MS, &[&packet(500)])), (1.0, 1, 1));
    assert_eq!(flows(&run.drain(1999 * MS, &[&packet(1500)])), (1.0, 1, 2));
    assert_eq!(flows(&run.drain(3002 * MS, &[&packet(2500)])), (1.0, 0, 2));
    let hosts = run.drain(3998 * MS, &[]);
    assert_eq!(flows(&hosts), (1.0, 0, 1));
    let window = hosts.windows[0];
    assert_eq!((window.start_ns, window.end_ns), (1999 * MS, 3998 * MS));
    assert_eq!(run.drain(5 * SECOND, &[]).windows, []);
}

#[test]
fn an_answer_in_the_next_drain_counts_as_an_answer() {
    let mut run = Run::new();
    let (client, server) = ("10.0.0.9:40000", "10.0.0.1:80");
    let first = run.drain(SECOND, &[&[syn(999, client, server)]]);
    assert_eq!(find(&first, "10.0.0.9").source.unanswered, 1.0);
    let second = run.drain(2 * SECOND, &[&[tcp(1001 * MS, server, client, SYN | ACK)]]);
    assert_eq!(find(&second, "10.0.0.9").source.unanswered, 0.0);
    assert_eq!(find(&second, "10.0.0.9").source.flows, 1.0);
    // The flow stays answered in later windows in which the server sends no packet.
    run.drain(3 * SECOND, &[]);
    let fourth = run.drain(4 * SECOND, &[&[tcp(3500 * MS, client, server, ACK)]]);
    assert_eq!(find(&fourth, "10.0.0.9").source.unanswered, 0.0);
}

#[test]
fn fast_drains_advance_the_window_like_slow_drains() {
    let (mut fast, mut slow) = (Run::new(), Run::new());
    for step in 0..400 {
        let source = format!("10.0.0.9:{}", 1000 + step);
        let partial = [udp((10 * step + 5) * MS, &source, "10.0.0.1:53", 20)];
        let hosts = fast.drain(10 * (step + 1) * MS, &[&partial]);
        if (step + 1) % 100 == 0 {
            let partials: Vec<_> = (step - 99..=step)
                .map(|step| [udp((10 * step + 5) * MS, &format!("10.0.0.9:{}", 1000 + step), "10.0.0.1:53", 20)])
                .collect();
            let partials: Vec<&[Sample]> = partials.iter().map(<[Sample; 1]>::as_slice).collect();
            let expected = slow.drain(10 * (step + 1) * MS, &partials);
            let (fast, slow) = (find(&hosts, "10.0.0.9").source, find(&expected, "10.0.0.9").source);
            // A slice is an eighth of the window, or 25 of these drains.
            assert!(fast.flows.max(slow.flows) - fast.flows.min(slow.flows) <= 26.0, "{fast:?} {slow:?}");
        }
    }
}

#[test]
fn a_record_has_the_windows_of_the_drain_in_which_it_began() {
    let mut run = Run::new();
    let flow = |ms: u64| udp(ms * MS, "10.0.0.9:1000", "10.0.0.1:53", 20);
    let others = [udp(300 * MS, "10.0.0.9:1001", "10.0.0.2:53", 20), udp(400 * MS, "10.0.0.8:7", "10.0.0.1:53", 20)];
    let [other, asker] = &others;
    run.drain(SECOND, &[&[flow(900)], &[*other], &[*asker]]);
    // Later packets and later windows change nothing.
    let scan: Vec<_> = (0..50).map(|port| [syn(1500, "10.0.0.9:5", &format!("10.0.0.1:{port}"))]).collect();
    let scan = scan.iter().map(<[Sample; 1]>::as_slice);
    run.drain(2 * SECOND, &scan.chain([[flow(1600)].as_slice()]).collect::<Vec<_>>());
    // The record ends at the first time slot that begins after the active timeout.
    for second in 3..=134 {
        run.drain(second * SECOND, &[&[flow(second * 1000 - 500)]]);
    }
    let ended = run.sessions.expire(135 * SECOND);
    let of_flow = |ended: &[Ended]| {
        let port = |ended: &Ended| ended.key.endpoint(ended.initiator.sender).port;
        ended.iter().find(|ended| port(ended) == 1000).and_then(|ended| ended.windows).unwrap()
    };
    let BeginWindows { source, destination, .. } = of_flow(&ended);
    assert_eq!((source.flows, source.new_flows, source.peers, source.ports, source.packets), (2, 2, 2, 1, 2));
    assert_eq!((destination.flows, destination.new_flows, destination.peers), (2, 2, 2));
    // The record that continues it has the windows of its own start.
    run.drain(136 * SECOND, &[&[flow(135_500)]]);
    let BeginWindows { source, destination, .. } = of_flow(&run.sessions.flush());
    assert_eq!((source.flows, source.new_flows, destination.flows, destination.new_flows), (1, 0, 1, 0));
}

/// A flow whose host has no window still has all features.
#[test]
fn flows_of_a_flood_have_windows_even_if_their_source_was_left_out() {
    let mut run = Run::new();
    let sources = 40_000u32;
    let address = |n: u32| format!("{}:1024", Ipv4Addr::from(0x0b00_0000 + n));
    let partials: Vec<_> = (0..sources).map(|n| [syn(u64::from(n) / 100, &address(n), "10.0.0.1:80")]).collect();
    let hosts = run.drain(SECOND, &partials.iter().map(<[Sample; 1]>::as_slice).collect::<Vec<_>>());
    assert!(hosts.left_out > 0);
    let ended = run.sessions.flush();
    assert_eq!(ended.len(), sources as usize);
    let alone = HostCounts {
        flows: 1,
        new_flows: 1,
        login_flows: 0,
        unanswered: 1,
        peers: 1,
        ports: 1,
        syn_packets: 1,
        packets: 1,
    };
    for ended in ended {
        let BeginWindows { source, destination, .. } = ended.windows.unwrap();
        assert_eq!(source, alone);
        assert_eq!(destination.new_flows, sources);
    }
}

#[test]
fn a_flow_that_ends_within_a_drain_has_windows() {
    let mut run = Run::new();
    let client = "10.0.0.9:40000";
    let reset = |ms: u64| tcp(ms * MS, "10.0.0.1:80", client, RST | ACK);
    // The same ports again: the SYN ends the first session.
    run.drain(SECOND, &[&[syn(0, client, "10.0.0.1:80"), reset(1)], &[syn(500, client, "10.0.0.1:80")]]);
    let ended = run.sessions.flush();
    let counts: Vec<_> = ended.iter().map(|ended| ended.windows.unwrap().source.new_flows).collect();
    assert_eq!(counts, [2, 2]);
}

#[test]
fn spoofed_sources_are_bounded_and_their_victim_has_a_window() {
    let mut run = Run::new();
    let sources = 60_000u32;
    let mut partials: Vec<_> = (0..sources)
        .map(|n| [syn(u64::from(n) / 100, &format!("{}:1024", Ipv4Addr::from(0x0b00_0000 + n)), "10.0.0.1:80")])
        .collect();
    // A normal client during the flood.
    partials.push([syn(300, "10.0.0.9:40000", "10.0.0.1:80")]);
    let partials: Vec<&[Sample]> = partials.iter().map(<[Sample; 1]>::as_slice).collect();
    let hosts = run.drain(SECOND, &partials);
    assert!(hosts.windows.len() <= 8192);
    assert_eq!(hosts.left_out as usize + hosts.windows.len(), sources as usize + 2);
    let victim = find(&hosts, "10.0.0.1").destination;
    assert_eq!(victim.new_flows, u64::from(sources) + 1);
    let near = |estimate: f64| (estimate / f64::from(sources) - 1.0).abs() < 0.25;
    assert!(near(victim.peers) && near(victim.flows) && near(victim.unanswered), "{victim:?}");
    assert_eq!(victim.ports, 1.0);
    assert!((victim.peer_entropy - f64::from(sources).log2()).abs() < 0.5, "{victim:?}");
}

#[test]
fn the_same_capture_gives_the_same_windows() {
    let hosts = || {
        let mut run = Run::new();
        let partials: Vec<_> = (0..20_000u32)
            .map(|n| [syn(u64::from(n) / 50, &format!("{}:1024", Ipv4Addr::from(0x0b00_0000 + n)), "10.0.0.1:80")])
            .collect();
        let partials: Vec<&[Sample]> = partials.iter().map(<[Sample; 1]>::as_slice).collect();
        run.drain(SECOND, &partials)
    };
    assert_eq!(hosts(), hosts());
}

proptest! {
    #[test]
    fn a_small_set_is_exact_however_it_is_merged(
        left in prop::collection::vec((0..200u32, 1..5u32), 0..300),
        right in prop::collection::vec((100..400u32, 1..5u32), 0..300),
    ) {
        let mut counts = std::collections::BTreeMap::<u32, u32>::new();
        let (mut a, mut b, mut whole) = (Distinct::default(), Distinct::default(), Distinct::default());
        for (partial, set) in [(&left, &mut a), (&right, &mut b)] {
            for &(hash, weight) in partial {
                *counts.entry(hash).or_default() += weight;
                set.add(hash, weight);
                whole.add(hash, weight);
            }
        }
        a.merge(&b);
        let total: f64 = counts.values().map(|weight| f64::from(*weight)).sum();
        let entropy: f64 = counts.values().map(|weight| f64::from(*weight) / total).map(|share| -share * share.log2()).sum();
        for mut set in [a, whole] {
            prop_assert_eq!(set.count(), counts.len() as f64);
            prop_assert!((set.entropy_bits() - entropy).abs() < 1e-9);
        }
    }

    #[test]
    fn a_set_is_the_same_however_often_it_is_read(
        added in prop::collection::vec((any::<u32>().prop_map(|bits| (bits % 3000).wrapping_mul(0x9e37_79b1)), 0..3u32), 0..6000),
        every in 1..100usize,
    ) {
        let (mut often, mut once) = (Distinct::default(), Distinct::default());
        for (number, (hash, weight)) in added.into_iter().enumerate() {
            often.add(hash, weight);
            once.add(hash, weight);
            if number % every == 0 {
                often.count();
            }
        }
        for of in [Distinct::count, Distinct::count_without_weight, Distinct::entropy_bits] {
            prop_assert_eq!(of(&mut often), of(&mut once));
        }
    }

    #[test]
    fn a_large_set_is_estimated_and_bounded(seed: u64, size in 2000..20_000u32) {
        // Hashes like random ones: consecutive multiples of an odd number, from any start.
        let hash = |n: u32| (seed.wrapping_add(u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        let (mut a, mut b) = (Distinct::default(), Distinct::default());
        for n in 0..size {
            if n % 3 > 0 { a.add(hash(n), 1) }
            if n % 3 < 2 { b.add(hash(n), 1) }
        }
        a.merge(&b);
        let error = a.count() / f64::from(size) - 1.0;
        prop_assert!(error.abs() < 0.3, "{size} things, error {error}");
    }
}
