//! Tests: attacks are found in every view, normal traffic is not reported, false alarms stay within their bounds.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use flowml_common::flow::{ACK, Address, FIN, PSH, RST, SYN};
use flowml_common::headers::protocol;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::attempts::Outcome;
use super::samples::{MS, Run, SECOND, View, assert_bounded, at, connection, poisson, refused, simulated};
use super::walk::{Cusum, Hypotheses, Stand, Walk};
use super::*;
use crate::features::comparisons;
use crate::session::samples::{Sample, counted_of, udp};

const ATTACKER: &str = "10.0.0.7";
const VICTIM: &str = "10.0.0.1";

fn port_scan(flags: u8, open: u64) -> Vec<Vec<Sample>> {
    let one = |n: u64| {
        let (client, server) = (format!("{ATTACKER}:40000"), format!("{VICTIM}:{}", n + 1));
        let probe = at(n, &client, &server, flags);
        if n < open {
            vec![probe, at(n + 1, &server, &client, SYN | ACK), at(n + 2, &client, &server, RST)]
        } else {
            vec![probe, at(n + 1, &server, &client, RST | ACK)]
        }
    };
    (0..500).map(one).collect()
}

#[test]
fn a_port_scan_is_found_in_every_view() {
    for view in [View::Both, View::Into(VICTIM)] {
        for flags in [SYN, FIN, 0, ACK] {
            let mut run = Run::new(view);
            run.second(&port_scan(flags, if flags == SYN { 3 } else { 0 }));
            (0..3).for_each(|_| run.second(&[]));
            assert_eq!(run.kinds(), BTreeSet::from(["port_scan"]), "{view:?}, flags {flags}");
            let evidence = run.found(Kind::PortScan);
            assert!(evidence.attempts >= 497 && evidence.failures >= 497, "{evidence:?}");
            let finding = &run.findings[0];
            let host = |text: &str| finding_host(text);
            assert_eq!((&finding.sources.named, &finding.targets.named), (&vec![host(ATTACKER)], &vec![host(VICTIM)]));
            assert!(finding.end_ns <= SECOND && run.findings.iter().all(|finding| finding.bound <= 1e-6));
        }
    }
}

fn finding_host(text: &str) -> Address {
    counted_of(&[at(0, &format!("{text}:1"), "255.0.0.1:1", SYN)])
        .0
        .endpoint(flowml_common::flow::Sender::Lower)
        .address
}

#[test]
fn many_silent_hosts_are_a_host_scan_and_a_single_one_is_none() {
    let mut run = Run::new(View::Both);
    let flows: Vec<_> = (0..200).map(|n| vec![at(n, "10.0.0.7:40000", &format!("10.1.0.{n}:445"), SYN)]).collect();
    run.second(&flows);
    (0..3).for_each(|_| run.second(&[]));
    assert_eq!(run.kinds(), BTreeSet::from(["host_scan"]));
    let evidence = run.found(Kind::HostScan);
    assert_eq!((evidence.attempts, evidence.failures, evidence.port), (200, 200, 445));
    // A client whose server is down.
    let mut run = Run::new(View::Both);
    for n in 0..200 {
        run.second(&[refused(0, &format!("10.0.0.9:{}", 2000 + n), "10.0.0.1:80")]);
    }
    assert_eq!(run.kinds(), BTreeSet::new());
}

#[test]
fn normal_hosts_are_no_attackers() {
    for view in [View::Both, View::Into("10.0.0.9"), View::Into("10.0.0.1")] {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut run = Run::new(view);
        for second in 0..60 {
            let mut flows = Vec::new();
            for n in 0..10u64 {
                let port = 1024 + (second * 10 + n) as u16;
                // A browser, a server with many clients, peers of which half no longer answer, a resolver, and health
                // checks.
                flows.push(connection(n * 50, &format!("10.0.0.9:{port}"), &format!("93.1.{second}.{n}:443")));
                flows.push(connection(n * 50, &format!("93.2.{second}.{n}:{port}"), "10.0.0.1:443"));
                let peer = format!("93.3.{second}.{n}:{}", random.gen_range(1024..u16::MAX));
                let peers = if random.gen_bool(0.5) { connection } else { refused };
                flows.push(peers(n * 50, &format!("10.0.0.9:{}", 20_000 + port), &peer));
                let (client, server) = (format!("10.0.0.9:{}", 40_000 + port), format!("93.4.{second}.{n}:53"));
                flows.push(vec![udp(n * 50 * MS, &client, &server, 40), udp((n * 50 + 9) * MS, &server, &client, 200)]);
            }
            run.second(&flows);
        }
        assert_eq!(run.kinds(), BTreeSet::new(), "{view:?}");
    }
}

#[test]
fn a_syn_flood_has_one_victim_and_many_sources() {
    for view in [View::Both, View::Into(VICTIM)] {
        let mut run = Run::new(view);
        for second in 0..4u64 {
            let one = |n: u64| {
                vec![at(n / 2, &format!("172.{}.{}.{}:999", 16 + second, n / 250, n % 250), "10.0.0.1:80", SYN)]
            };
            run.second(&(0..1500).map(one).collect::<Vec<_>>());
        }
        assert_eq!(run.kinds(), BTreeSet::from(["syn_flood"]), "{view:?}");
        let finding = run.findings.last().unwrap();
        assert_eq!((&finding.targets.named, finding.evidence.port), (&vec![finding_host(VICTIM)], 80));
        assert!(finding.sources.count > 2000, "{}", finding.sources.count);
    }
}

/// The victim accepts each connection. The flood must not look like normal connections to it.
#[test]
fn a_flood_of_accepted_syns_is_no_flood_of_connections() {
    let mut run = Run::new(View::Both);
    for second in 0..4u64 {
        let one = |n: u64| {
            let client = format!("172.{}.{}.{}:999", 16 + second, n / 250, n % 250);
            vec![at(n / 2, &client, "10.0.0.1:443", SYN), at(n / 2 + 1, "10.0.0.1:443", &client, SYN | ACK)]
        };
        run.second(&(0..1500).map(one).collect::<Vec<_>>());
    }
    (0..2).for_each(|_| run.second(&[]));
    assert_eq!(run.kinds(), BTreeSet::from(["syn_flood"]));
}

/// The sender of nearly all packets of a flood is its source, whichever other hosts send too.
#[test]
fn bystanders_of_a_flood_are_not_its_sources() {
    let ping =
        |ms: u64, from: &str| Sample { protocol: protocol::ICMP, payload: 56, ..udp(ms * MS, from, "10.0.0.1:0", 0) };
    let mut run = Run::new(View::Both);
    for _ in 0..4 {
        let flood = (0..1500).map(|n| ping(n * 999 / 1500, "10.0.0.7:8")).collect();
        let others = (0..3).map(|n| vec![ping(n, &format!("10.0.0.{}:8", 20 + n))]);
        run.second(&others.chain([flood]).collect::<Vec<_>>());
    }
    let finding = run.findings.last().unwrap();
    assert_eq!(
        (finding.kind, &finding.sources.named, finding.sources.count),
        (Kind::IcmpFlood, &vec![finding_host("10.0.0.7")], 1)
    );
}

#[test]
fn unanswered_datagrams_and_unrequested_answers_are_floods() {
    // Each connection is from another client.
    let both = |run: &mut Run, n: u64| run.second(&[connection(0, &format!("10.0.0.{}:999", 9 + n), "10.0.0.1:80")]);
    let mut run = Run::new(View::Both);
    (0..12).for_each(|n| both(&mut run, n));
    for second in 0..3u64 {
        let one =
            |n: u64| vec![udp(n * MS / 3, &format!("10.0.0.7:{}", 1024 + 3000 * second + n), "10.0.0.1:9000", 512)];
        run.second(&(0..2000).map(one).collect::<Vec<_>>());
    }
    assert_eq!(run.kinds(), BTreeSet::from(["udp_flood"]));
    let mut run = Run::new(View::Both);
    both(&mut run, 0);
    for second in 0..4u64 {
        let port = |n: u64| 1024 + 300 * second + n;
        let one = |n: u64| vec![udp(n * MS, &format!("93.1.1.{}:53", n % 200), &format!("10.0.0.1:{}", port(n)), 1200)];
        run.second(&(0..300).map(one).collect::<Vec<_>>());
    }
    assert_eq!(run.kinds(), BTreeSet::from(["reflection"]));
    assert_eq!(run.findings.last().unwrap().targets.named, [finding_host(VICTIM)]);
}

/// The times in seconds at which a sender with back-off retransmits a segment, until it gives up after three minutes.
fn retransmissions() -> Vec<u64> {
    let next = |(at, wait): &(u64, u64)| Some((at + wait, (2 * wait).min(60)));
    std::iter::successors(Some((0, 1)), next).map(|(at, _)| at).take_while(|at| *at <= 180).collect()
}

#[test]
fn a_server_that_repeats_its_answer_forever_is_an_amplifier_and_one_with_back_off_is_none() {
    let (victim, server) = ("10.0.0.1:4000", "93.1.1.1:21");
    let answers =
        |times: &[u64]| -> Vec<Sample> { times.iter().map(|ms| at(*ms, server, victim, SYN | ACK)).collect() };
    for view in [View::Both, View::Into("10.0.0.1")] {
        let mut run = Run::new(view);
        (0..60).for_each(|_| run.second(&[answers(&[100])]));
        assert_eq!(run.kinds(), BTreeSet::from(["reflection"]), "{view:?}");
        assert_eq!((run.found(Kind::Reflection).packets, run.found(Kind::Reflection).port), (60, 21));
        let finding = &run.findings[0];
        assert_eq!(
            (&finding.sources.named, &finding.targets.named),
            (&vec![finding_host("93.1.1.1")], &vec![finding_host("10.0.0.1")])
        );
        // Both sides retransmit: the server answers the client's SYNs, which are not visible, and repeats its answers.
        let mut run = Run::new(View::Into("10.0.0.1"));
        let times = retransmissions();
        for second in 0..200 {
            let tries = times.iter().filter(|at| **at == second).count() as u64;
            let segments = if tries > 0 { vec![answers(&[100, 200])] } else { Vec::new() };
            run.second(&segments);
        }
        assert_eq!(run.kinds(), BTreeSet::new());
        // A connection in which the initiator's acknowledgement was lost for some time.
        let mut run = Run::new(view);
        run.second(&[answers(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])]);
        run.second(&[vec![Sample { payload: 100, ..at(0, server, victim, ACK | PSH) }]]);
        (0..10).for_each(|_| run.second(&[answers(&[100])]));
        assert_eq!(run.kinds(), BTreeSet::new(), "{view:?}");
    }
    // A client whose SYN is visible is no victim of reflection.
    let mut run = Run::new(View::Both);
    (0..60).for_each(|_| run.second(&[vec![at(99, victim, server, SYN), at(100, server, victim, SYN | ACK)]]));
    assert_eq!(run.kinds(), BTreeSet::new());
}

#[test]
fn pings_are_a_flood_a_tunnel_or_no_attack() {
    let ping =
        |ms: u64, payload| Sample { protocol: protocol::ICMP, payload, ..udp(ms * MS, "10.0.0.7:8", "10.0.0.1:0", 0) };
    for (a_second, payload, kind) in
        [(1500, 56, Some("icmp_flood")), (30, 1200, Some("tunnel")), (1, 1400, None), (50, 48, None)]
    {
        let mut run = Run::new(View::Both);
        for _ in 0..5 {
            run.second(&[(0..a_second).map(|n| ping(n * 999 / a_second, payload)).collect()]);
        }
        assert_eq!(run.kinds(), kind.into_iter().collect(), "{a_second} of {payload}");
    }
}

/// If only incoming packets are visible, the answers to a host's large pings show the tunnel.
#[test]
fn pings_are_a_tunnel_if_only_their_answers_are_visible() {
    let answer =
        |ms: u64| Sample { protocol: protocol::ICMP, payload: 900, ..udp(ms * MS, "10.0.0.1:0", "10.0.0.7:0", 0) };
    let mut run = Run::new(View::Into("10.0.0.7"));
    for _ in 0..5 {
        run.second(&[(0..30).map(|n| answer(n * 33)).collect()]);
    }
    assert_eq!(run.kinds(), BTreeSet::from(["tunnel"]));
    let finding = &run.findings[0];
    assert_eq!(
        (&finding.sources.named, &finding.targets.named),
        (&vec![finding_host("10.0.0.7")], &vec![finding_host("10.0.0.1")])
    );
}

/// A connection in which the server greets and the client sends a few messages.
fn login(ms: u64, client: &str, server: &str, sent: u16) -> Vec<Sample> {
    let said = |ms, from: &str, to: &str, payload| Sample { payload, ..at(ms, from, to, ACK | PSH) };
    vec![
        at(ms, client, server, SYN),
        at(ms, server, client, SYN | ACK),
        at(ms, client, server, ACK),
        said(ms + 1, server, client, 22),
        said(ms + 2, client, server, 21),
        said(ms + 3, client, server, sent),
        said(ms + 4, server, client, 900),
        at(ms + 5, client, server, ACK | FIN),
        at(ms + 6, server, client, ACK | FIN),
    ]
}

#[test]
fn similar_connections_to_a_login_are_guesses_and_others_are_not() {
    type Talk = fn(u64, &str, u64) -> Vec<Sample>;
    let guess: Talk = |ms, client, n| login(ms, client, "10.0.0.1:902", 600 + (n % 7) as u16);
    let mail: Talk = |ms, client, n| login(ms, client, "10.0.0.1:902", 300 + (n * 7919 % 3000) as u16);
    let web: Talk = |ms, client, _| connection(ms, client, "10.0.0.1:8080");
    let ftp: Talk = |ms, client, _| login(ms, client, "10.0.0.1:21", 60);
    let both = View::Both;
    let cases = [(guess, both, true), (ftp, View::Into(VICTIM), true), (mail, both, false), (web, both, false)];
    for (talk, view, is_attack) in cases {
        let mut run = Run::new(view);
        for second in 0..40u64 {
            let client = |n: u64| format!("10.0.0.7:{}", 2000 + second * 2 + n);
            run.second(
                &(0..2)
                    .map(|n| talk(n * 400 + second * second * 37 % 400, &client(n), 2 * second + n))
                    .collect::<Vec<_>>(),
            );
        }
        (0..20).for_each(|_| run.second(&[]));
        assert_eq!(run.kinds(), is_attack.then_some("brute_force").into_iter().collect(), "{view:?}");
    }
}

#[test]
fn connections_that_send_slowly_are_an_attack_and_idle_ones_are_not() {
    for (drips, view) in [(true, View::Both), (true, View::Into(VICTIM)), (false, View::Both)] {
        let mut run = Run::new(view);
        let ends = |n: u64| (format!("10.0.0.7:{}", 2000 + n), "10.0.0.1:80");
        let begin = |n: u64| {
            let (client, server) = ends(n);
            let begun = Sample { payload: 200, ..at(4, &client, server, ACK | PSH) };
            vec![at(1, &client, server, SYN), at(2, server, &client, SYN | ACK), at(3, &client, server, ACK), begun]
        };
        run.second(&(0..100).map(begin).collect::<Vec<_>>());
        for _ in 0..6 {
            let drip = |n| vec![Sample { payload: 12, ..at(1, &ends(n).0, ends(n).1, ACK | PSH) }];
            run.second(&if drips { (0..100).map(drip).collect::<Vec<_>>() } else { Vec::new() });
        }
        assert_eq!(run.kinds(), drips.then_some("slow_connections").into_iter().collect(), "{view:?}");
        assert_eq!(run.found(Kind::SlowConnections).attempts, if drips { 100 } else { 0 });
    }
}

/// The smallest window of Linux is smaller than a segment. Data sent to it is read a few bytes at a time.
#[test]
fn clients_with_a_small_window_read_slowly() {
    for (window, kind) in [(1152, Some("slow_connections")), (29_200, None)] {
        for view in [View::Both, View::Into(VICTIM)] {
            let mut run = Run::new(view);
            let ends = |n: u64| (format!("10.0.0.7:{}", 2000 + n), "10.0.0.1:80");
            let from =
                |ms, client: &str, flags, payload| Sample { window, payload, ..at(ms, client, "10.0.0.1:80", flags) };
            let begin = |n: u64| {
                let (client, server) = ends(n);
                let answer = Sample { payload: 576, ..at(4, server, &client, ACK) };
                vec![
                    from(1, &client, SYN, 0),
                    at(2, server, &client, SYN | ACK),
                    from(2, &client, ACK, 0),
                    from(3, &client, ACK | PSH, 500),
                    answer,
                ]
            };
            run.second(&(0..100).map(begin).collect::<Vec<_>>());
            for _ in 0..6 {
                let read = |n: u64| {
                    let (client, server) = ends(n);
                    vec![from(1, &client, ACK, 0), Sample { payload: 576, ..at(2, server, &client, ACK) }]
                };
                run.second(&(0..100).map(read).collect::<Vec<_>>());
            }
            assert_eq!(run.kinds(), kind.into_iter().collect(), "{view:?}, a window of {window}");
        }
    }
}

/// Small requests from a pool of clients, each answered. Where the server is not visible, the clients' acknowledgements
/// are.
#[test]
fn pools_whose_requests_are_answered_are_not_slow() {
    for view in [View::Both, View::Into(VICTIM)] {
        for is_new in [true, false] {
            let mut run = Run::new(view);
            let ends = |n: u64| (format!("10.0.0.7:{}", 2000 + n), "10.0.0.1:6379");
            let begin = |n: u64| {
                let (client, server) = ends(n);
                vec![at(1, &client, server, SYN), at(2, server, &client, SYN | ACK), at(3, &client, server, ACK)]
            };
            if is_new {
                run.second(&(0..100).map(begin).collect::<Vec<_>>());
            }
            for second in 0..20 {
                let talk = |n: u64| {
                    let (client, server) = ends(n);
                    let said = |ms, from: &str, to: &str, payload| Sample { payload, ..at(ms, from, to, ACK | PSH) };
                    vec![
                        said(n, &client, server, 30),
                        said(n + 10, server, &client, 40),
                        at(n + 50, &client, server, ACK),
                    ]
                };
                run.second(&if second % 3 == 0 { (0..100).map(talk).collect::<Vec<_>>() } else { Vec::new() });
            }
            assert_eq!(run.kinds(), BTreeSet::new(), "{view:?}");
        }
    }
}

/// The server reports a timeout and closes, and the client continues to send.
#[test]
fn clients_that_continue_after_the_server_closed_are_slow() {
    for (goes_on, kinds) in [(true, BTreeSet::from(["slow_connections"])), (false, BTreeSet::new())] {
        let mut run = Run::new(View::Both);
        let ends = |n: u64| (format!("10.0.0.7:{}", 2000 + n), "10.0.0.1:80");
        let said = |from: &str, to: &str, payload, flags| Sample { payload, ..at(1, from, to, ACK | flags) };
        let drip = |n: u64| vec![said(&ends(n).0, ends(n).1, 11, PSH)];
        run.second(&(0..50).map(drip).collect::<Vec<_>>());
        (0..5).for_each(|_| run.second(&[]));
        let gives_up = |n: u64| {
            let (client, server) = ends(n);
            vec![said(server, &client, 1300, PSH), said(server, &client, 0, FIN), said(&client, server, 0, 0)]
        };
        run.second(&(0..50).map(gives_up).collect::<Vec<_>>());
        (0..5).for_each(|_| run.second(&[]));
        let goes = |n: u64| vec![said(&ends(n).0, ends(n).1, 11, PSH), said(ends(n).1, &ends(n).0, 0, RST)];
        let leaves = |n: u64| vec![said(&ends(n).0, ends(n).1, 0, FIN)];
        run.second(&(0..50).map(|n| if goes_on { goes(n) } else { leaves(n) }).collect::<Vec<_>>());
        assert_eq!(run.kinds(), kinds);
    }
}

#[test]
fn evenly_spaced_connections_are_a_beacon_and_those_of_a_monitor_are_not() {
    for (targets, kind) in [(1u64, Some("beacon")), (5, None)] {
        let mut run = Run::new(View::Both);
        for second in 0..60 {
            let call = |n| connection(n * 10, &format!("10.0.0.1:{}", 2000 + second), &format!("93.1.1.{n}:443"));
            run.second(&if second % 3 == 0 { (0..targets).map(call).collect::<Vec<_>>() } else { Vec::new() });
        }
        assert_eq!(run.kinds(), kind.into_iter().collect());
        assert_eq!(run.found(Kind::Beacon).period_ms, if kind.is_some() { 3000 } else { 0 });
    }
}

#[test]
fn queries_of_long_names_are_a_tunnel() {
    for (length, kind) in [(200, Some("tunnel")), (40, None)] {
        let mut run = Run::new(View::Both);
        for second in 0..20 {
            let (client, server) = (format!("10.0.0.7:{}", 2000 + second), "10.0.0.1:53");
            run.second(&[vec![udp(MS, &client, server, length), udp(9 * MS, server, &client, 100)]]);
        }
        assert_eq!(run.kinds(), kind.into_iter().collect());
    }
}

/// A tunnel uses one socket as long as it lasts. A normal client uses a new socket for each query, or queries shorter
/// names.
#[test]
fn a_socket_that_keeps_querying_long_names_is_a_tunnel() {
    for (ports, length, answers, kind) in
        [(1, 64, 1, Some("tunnel")), (60, 64, 1, None), (1, 45, 1, None), (20, 64, 1, None), (1, 64, 0, None)]
    {
        let mut run = Run::new(View::Both);
        for second in 0..60u64 {
            let (client, server) = (format!("10.0.0.7:{}", 2000 + second * ports / 60), "10.0.0.1:53");
            let mut questions = vec![udp(MS, &client, server, length)];
            questions.extend((0..answers).map(|_| udp(9 * MS, server, &client, 100)));
            run.second(&[questions, connection(0, "10.0.0.8:999", &format!("10.0.1.{second}:80"))]);
        }
        assert_eq!(run.kinds(), kind.into_iter().collect(), "{ports} ports, {length} bytes, {answers}");
    }
}

/// A flood is found, and the queries of twelve seconds are too few for a tunnel, however often findings are collected.
#[test]
fn findings_do_not_depend_on_the_length_of_the_interval() {
    for ms in [10, 100, 250, 300, 1000] {
        let mut run = Run::new(View::Both);
        for n in 0..8000 / ms {
            let syn = |at_ms| vec![at(at_ms, &format!("10.1.{}.{}:1000", n % 250, at_ms % 250), "10.0.0.1:80", SYN)];
            run.interval(ms, &(0..ms).map(syn).collect::<Vec<_>>());
        }
        assert_eq!(run.kinds(), BTreeSet::from(["syn_flood"]), "{ms} ms");

        let mut run = Run::new(View::Both);
        for n in 0..12_000 / ms {
            let query = |at_ms: u64| {
                let (client, server) = ("10.0.0.7:2000", "10.0.0.1:53");
                vec![udp(at_ms * MS, client, server, 64), udp((at_ms + 1) * MS, server, client, 100)]
            };
            let queries = (0..ms).filter(|at_ms| (n * ms + at_ms) % 125 == 0).map(query);
            run.interval(ms, &queries.collect::<Vec<_>>());
        }
        assert_eq!(run.kinds(), BTreeSet::new(), "{ms} ms");
    }
}

/// A resolver sends thousands of queries, and reuses port numbers.
#[test]
fn a_busy_resolver_is_no_tunnel() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(8);
    let mut run = Run::new(View::Both);
    for _ in 0..60 {
        let question = |n: u64| {
            let client = format!("10.0.0.7:{}", random.gen_range(2000..4000));
            let length = if random.gen_bool(0.3) { 70 } else { 40 };
            vec![udp(n * 2 * MS, &client, "10.0.0.1:53", length), udp((n * 2 + 1) * MS, "10.0.0.1:53", &client, 200)]
        };
        let questions: Vec<_> = (0..200).map(question).collect();
        run.second(&questions);
    }
    assert_eq!(run.kinds(), BTreeSet::new());
}

#[test]
fn an_upload_far_above_all_earlier_ones_is_exfiltration() {
    let mut run = Run::new(View::Both);
    let upload = |packets: u64| {
        let one = |n: u64| Sample { payload: 60_000, ..at(n * 900 / packets, "10.0.0.7:2000", "93.1.1.1:443", ACK) };
        vec![(0..packets).map(one).collect::<Vec<_>>()]
    };
    for second in 0..15 * 60 {
        run.second(&if second % 10 == 0 { upload(2) } else { Vec::new() });
    }
    assert_eq!(run.kinds(), BTreeSet::new());
    (0..20).for_each(|_| run.second(&upload(1600)));
    assert_eq!(run.kinds(), BTreeSet::from(["exfiltration"]));
}

#[test]
fn random_walks_of_normal_hosts_stay_within_the_bound() {
    let hypotheses = Hypotheses { normal: 0.5, attack: 0.9 };
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut alarms, mut walks) = (0, 0u64);
    for _ in 0..simulated() {
        let mut walk = Walk::default();
        for _ in 0..200 {
            match walk.step(hypotheses, random.gen_bool(0.5)) {
                Stand::Undecided => {}
                Stand::Normal => walks += 1,
                Stand::Attack => {
                    alarms += 1;
                    break;
                }
            }
        }
    }
    assert_bounded("walks", alarms, 1e-6 * (walks + simulated()) as f64);
}

#[test]
fn false_scans_of_normal_hosts_stay_within_the_bound() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    let mut scans = Scans::new();
    let (mut alarms, mut now_ns) = (0, 0);
    for host in 0..simulated() {
        // One port of many hosts, of which half answer: the worst case that is still normal.
        for n in 0..40u32 {
            now_ns += MS;
            scans.observe(&Attempt {
                at_ns: now_ns,
                source: Address::from_v4(0x0b00_0000 + host as u32),
                target: Address::from_v4(n),
                source_port: 1,
                port: 443,
                protocol: protocol::TCP,
                outcome: if random.gen_bool(0.5) { Outcome::Failure } else { Outcome::Success },
                visible: true,
                is_stray: false,
                has_ack: false,
                packets: 1,
                bytes: 40,
            });
        }
        alarms += scans.findings().len() as u64;
    }
    // Each contact may begin a random walk.
    assert_bounded("scans", alarms, 1e-6 * (simulated() * 40) as f64);
}

#[test]
fn constant_rates_are_no_floods() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let (mut alarms, seconds) = (0, 50);
    for _ in 0..simulated() {
        let mut cusum = Cusum::default();
        // Trains of 16 packets, at 500 packets per second.
        let is_flood = (0..seconds).any(|_| cusum.step(16.0 * poisson(&mut random, 500.0 / 16.0) as f64, 1.0, 500.0));
        alarms += u64::from(is_flood);
    }
    assert_bounded("floods", alarms, 1e-6 * (simulated() * seconds) as f64);
}

/// A busy client of one server has no pauses between its connections, so its regular intervals are not a beacon.
#[test]
fn continuous_connections_are_no_beacon() {
    let mut beacons = Beacons::new();
    let [source, target] = [0x0b00_0001, 0x1b00_0001].map(Address::from_v4);
    for n in 0..1000 {
        let attempt = Attempt {
            at_ns: SECOND + n * SECOND / 20,
            source,
            target,
            source_port: 1,
            port: 8080,
            protocol: protocol::TCP,
            outcome: Outcome::Success,
            visible: true,
            is_stray: false,
            has_ack: false,
            packets: 1,
            bytes: 40,
        };
        beacons.observe(&attempt);
    }
    assert!(beacons.findings().is_empty());
}

#[test]
fn random_intervals_are_rarely_a_beacon() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
    let mut beacons = Beacons::new();
    let (mut alarms, calls) = (0, 30);
    for host in 0..simulated() {
        let [source, target] = [0x0b00_0000, 0x1b00_0000].map(|net| Address::from_v4(net + host as u32));
        let mut at_ns = SECOND;
        for _ in 0..calls {
            at_ns += (-(1.0 - random.r#gen::<f64>()).ln() * 60e9) as u64;
            let outcome = Outcome::Success;
            let (port, protocol, visible, is_stray) = (443, protocol::TCP, true, false);
            let attempt = Attempt {
                at_ns,
                source,
                target,
                source_port: 1,
                port,
                protocol,
                outcome,
                visible,
                is_stray,
                has_ack: false,
                packets: 1,
                bytes: 40,
            };
            beacons.observe(&attempt);
        }
        alarms += beacons.findings().len() as u64;
    }
    assert_bounded("beacons", alarms, 1e-6 * (simulated() * calls) as f64);
}

#[test]
fn a_mean_of_eight_slow_connections_rarely_gives_thirty_two() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
    let alarms = (0..simulated()).filter(|_| poisson(&mut random, 8.0) >= 32).count() as u64;
    assert_bounded("slow connections", alarms, 1e-9 * simulated() as f64);
}

/// All tests need as many comparisons of keys for the same flows, however many hosts they know.
#[test]
fn the_work_of_a_flow_does_not_depend_on_the_number_of_hosts() {
    let flows = |numbers: std::ops::Range<u32>| -> Vec<Vec<Sample>> {
        let flow = |number: u32| {
            let [_, high, middle, low] = number.to_be_bytes();
            let (client, server) =
                (format!("10.{high}.{middle}.{low}"), format!("10.200.{}.{}:", low % 4, middle % 50));
            let ends = |port: u16| (format!("{client}:40000"), format!("{server}{port}"));
            match number % 4 {
                0 => connection(1, &ends(22).0, &ends(22).1),
                1 => refused(1, &ends(80).0, &ends(80).1),
                2 => vec![udp(MS, &ends(53).0, &ends(53).1, 40)],
                _ => vec![udp(MS, &ends(53).0, &ends(53).1, 40), udp(2 * MS, &ends(53).1, &ends(53).0, 90)],
            }
        };
        numbers.map(flow).collect()
    };
    let comparisons = |hosts: u32| {
        let mut run = Run::new(View::Both);
        run.second(&flows(0..hosts));
        // The outcomes of these flows are known after some seconds.
        (0..3).for_each(|_| run.second(&[]));
        comparisons();
        // Hosts that are known, and new ones.
        run.second(&flows(0..200));
        run.second(&flows(hosts..hosts + 200));
        comparisons()
    };
    let [few, many] = [1_000, 100_000].map(comparisons);
    assert!(few > 400 && many < 2 * few, "{few} with a thousand hosts, {many} with a hundred thousand");
}
