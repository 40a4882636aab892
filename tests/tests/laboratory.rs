//! Tests of the laboratory: its parts work, its counts are exact, and it leaves nothing behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::frames::{Frame, Ipv4, NAMED, NOBODY, Named, Ports, flag};
use flowml_tests::lab::{Counters, IpVersion, Lab, LinkOptions, quiet_pair, require_lab, wait_until};
use flowml_tests::traffic::attack::{self, ATTACKS, Attack, Scene};
use flowml_tests::traffic::background::{Background, Habits, TCP_PORTS};
use flowml_tests::traffic::peers::{Exchange, Served, TcpClient, TcpService, UdpService, udp_exchange};
use flowml_tests::traffic::raw::{FlowSpray, FrameReceiver, FrameSender, Rate, Sent, on_cpu};

/// A process id that no process has: it is above the largest that Linux assigns (2^22, `PID_MAX_LIMIT`).
const NO_PROCESS: u32 = 5_000_000;

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn namespaces_are_gone_after_drop() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (a, b, c) = (lab.host("a")?, lab.host("b")?, lab.host("c")?);
    lab.segment([&a, &b, &c], &LinkOptions::default())?;
    let names = lab.namespace_names();
    assert_eq!(names.len(), 4, "three hosts and a switch");
    assert!(names.iter().all(|name| exists(name)));
    drop(lab);
    assert!(!names.iter().any(|name| exists(name)), "one of {names:?} is left");
    Ok(())
}

#[test]
fn namespaces_and_processes_are_gone_after_a_panic() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let host = lab.host("a")?;
    let namespace = host.namespace().to_owned();
    let sleeper = host.spawn(["sleep", "1000"])?;
    let pid = sleeper.id();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _kept = (lab, sleeper);
        host.enter(|| panic!("as intended"))
    }));
    assert!(outcome.is_err(), "a panic inside a host must be seen outside");
    assert!(!exists(&namespace), "{namespace} is left");
    assert!(!Path::new("/proc").join(pid.to_string()).exists(), "process {pid} is left");
    Ok(())
}

#[test]
fn namespaces_of_a_killed_run_are_removed() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let stale = format!("flowml-{NO_PROCESS}-0-stale");
    ensure!(Command::new("ip").args(["netns", "add", &stale]).status()?.success(), "could not make {stale}");
    let mut left = Command::new("ip").args(["netns", "exec", &stale, "sleep", "1000"]).spawn()?;
    let namespace_of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
    let (own, pid) = (namespace_of("self")?, left.id().to_string());
    wait_until(Duration::from_secs(10), || Ok(namespace_of(&pid)? != own))?;
    let alive = lab.host("alive")?;
    drop(Lab::new()?);
    assert!(!exists(&stale), "{stale} is left");
    assert!(!left.wait()?.success(), "the process in {stale} was to be killed");
    assert!(exists(alive.namespace()), "a laboratory in use must not be touched");
    Ok(())
}

/// Runs this test as another process, which is killed and cannot clean up.
#[test]
fn a_killed_run_leaves_nothing() -> Result<()> {
    const DIES: &str = "FLOWML_LABORATORY_DIES";
    let Some(lab) = require_lab() else { return Ok(()) };
    if std::env::var_os(DIES).is_some() {
        let host = lab.host("a")?;
        let _process = host.spawn(["sleep", "1000"])?;
        println!("namespace={}.", host.namespace());
        std::process::abort();
    }
    let mut itself = Command::new(std::env::current_exe()?);
    itself.args(["--exact", "a_killed_run_leaves_nothing", "--nocapture"]).env(DIES, "1");
    let died = itself.output()?;
    assert!(!died.status.success());
    let message = String::from_utf8(died.stdout)?;
    let namespace = message.split_once("namespace=").and_then(|(_, rest)| rest.split_once('.'));
    let (namespace, _) = namespace.with_context(|| format!("no namespace was made: {message}"))?;
    wait_until(Duration::from_secs(20), || Ok(!exists(namespace))).with_context(|| format!("{namespace} is left"))
}

#[test]
fn without_offloads_each_buffer_is_one_frame() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (client, server) = (lab.host("client")?, lab.host("server")?);
    let [_, there] = lab.link([&client, &server], &LinkOptions { offloads: false, ..LinkOptions::default() })?;
    let service = TcpService::start(&there, IpVersion::V4, 8080)?;
    TcpClient::connect(&client, service.address())?.exchange(Exchange { request: 1_000_000, response: 0 })?;
    let counted = there.counters()?;
    // 1500 bytes less the headers of IPv4 and TCP.
    assert!(counted.rx_packets >= 1_000_000 / 1460, "{counted:?}");
    Ok(())
}

#[test]
fn a_process_that_takes_too_long_is_ended() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let process = lab.host("a")?.spawn(["sleep", "1000"])?;
    let pid = process.id();
    let error = process.wait(Duration::from_millis(50)).expect_err("sleep cannot have ended");
    assert!(error.to_string().contains("still ran"), "{error}");
    assert!(!Path::new("/proc").join(pid.to_string()).exists(), "process {pid} is left");
    Ok(())
}

#[test]
fn tcp_exchanges_transfer_the_requested_bytes() -> Result<()> {
    for options in [LinkOptions::default(), LinkOptions { offloads: false, mtu: 9000, ..LinkOptions::default() }] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let (client, server) = (lab.host("client")?, lab.host("server")?);
        let [_, there] = lab.link([&client, &server], &options)?;
        for version in [IpVersion::V4, IpVersion::V6] {
            let service = TcpService::start(&there, version, 8080)?;
            let mut connection = TcpClient::connect(&client, service.address())?;
            for exchange in [Exchange { request: 8, response: 0 }, Exchange { request: 3_000_000, response: 2_000_001 }]
            {
                connection.exchange(exchange).with_context(|| format!("{version:?}, {options:?}, {exchange:?}"))?;
            }
            drop(connection);
            let served = service.stop()?;
            assert_eq!(
                served,
                Served { conversations: 1, received: 3_000_008, sent: 2_000_001 },
                "{version:?}, {options:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn udp_requests_get_answers_of_the_requested_length() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (client, server) = (lab.host("client")?, lab.host("server")?);
    let [_, there] = lab.link([&client, &server], &LinkOptions::default())?;
    for version in [IpVersion::V4, IpVersion::V6] {
        let service = UdpService::start(&there, version, 53)?;
        for exchange in [Exchange { request: 8, response: 0 }, Exchange { request: 40, response: 1200 }] {
            udp_exchange(&client, service.address(), exchange)?;
        }
        assert_eq!(service.stop()?, Served { conversations: 2, received: 48, sent: 1200 });
    }
    Ok(())
}

#[test]
fn a_service_stops_while_a_client_sends_nothing() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (client, server) = (lab.host("client")?, lab.host("server")?);
    let [_, there] = lab.link([&client, &server], &LinkOptions::default())?;
    let service = TcpService::start(&there, IpVersion::V4, 80)?;
    let _idle = TcpClient::connect(&client, service.address())?;
    assert_eq!(service.stop()?.received, 0);
    Ok(())
}

#[test]
fn every_member_of_a_segment_reaches_the_others() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (a, b, c) = (lab.host("a")?, lab.host("b")?, lab.host("c")?);
    let [_, to_b, to_c] = lab.segment([&a, &b, &c], &LinkOptions::default())?;
    for (from, to) in [(&a, &to_b), (&a, &to_c), (&b, &to_c)] {
        from.run_ok(["ping", "-c1", "-W2", &to.v4.to_string()])?;
        from.run_ok(["ping", "-6", "-c1", "-W2", &to.v6.to_string()])?;
    }
    Ok(())
}

#[test]
fn a_quiet_link_has_no_other_packets() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let [here, there] = lab.link([&a, &b], &LinkOptions::quiet())?;
    // Longer than the kernel's delays of multicast reports and solicitations (RFC 4861 §10: 1 s).
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(there.counters()?, Default::default());
    assert_eq!(here.counters()?, Default::default());
    a.run_ok(["ping", "-c3", "-i0.01", "-W2", &there.v4.to_string()])?;
    let counted = there.counters()?;
    assert_eq!((counted.rx_packets, counted.tx_packets), (3, 3), "three questions, three answers, no ARP");
    Ok(())
}

#[test]
fn an_interface_counts_exactly_what_was_sent() -> Result<()> {
    let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
    let frames: Vec<_> = [0, 1, 18, 500, 1472]
        .map(|length| {
            Frame::between(here.mac, NOBODY)
                .ipv4(&Ipv4::default())
                .udp(Ports::default())
                .payload(&vec![7; length])
                .finish()
        })
        .into();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let sent = FrameSender::open(&here)?.send(&frames, 20_000, Rate::Full)?;
    assert_eq!(sent, Sent { packets: 100_000, bytes: 20_000 * bytes as u64 });
    let expected = Counters { rx_packets: sent.packets, rx_bytes: sent.bytes, ..Counters::default() };
    assert_eq!(there.counters()?, expected);
    Ok(())
}

#[test]
fn two_cpus_at_once_lose_nothing() -> Result<()> {
    let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
    let spray = |cpu: usize| {
        let spray = FlowSpray { first: (cpu as u32) << 20, ..FlowSpray::unanswered(&there, 10_000, 200_000) };
        on_cpu(cpu, || FrameSender::open(&here)?.spray(&spray, Rate::Full))?
    };
    let cpus = std::thread::available_parallelism()?.get().min(2);
    let sent: Vec<Result<Sent>> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..cpus).map(|cpu| scope.spawn(move || spray(cpu))).collect();
        senders.into_iter().map(|sender| sender.join().expect("a sender does not panic")).collect()
    });
    let sent: Sent = sent.into_iter().collect::<Result<Vec<_>>>()?.into_iter().sum();
    let counted = there.counters()?;
    assert_eq!(sent.packets, 200_000 * cpus as u64);
    assert_eq!((counted.rx_packets, counted.rx_bytes, counted.tx_packets), (sent.packets, sent.bytes, 0));
    Ok(())
}

#[test]
fn a_rate_is_kept() -> Result<()> {
    let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
    let start = std::time::Instant::now();
    FrameSender::open(&here)?.spray(&FlowSpray::unanswered(&there, 10, 1000), Rate::PerSecond(2000))?;
    // The last batch, of two frames, is due one batch before the end.
    assert!(start.elapsed() >= Duration::from_millis(499), "1000 frames took {:?}", start.elapsed());
    assert_eq!(there.counters()?.rx_packets, 1000);
    Ok(())
}

#[test]
fn sprayed_packets_have_the_expected_flows() -> Result<()> {
    let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
    let receiver = FrameReceiver::open(&there)?;
    let spray = FlowSpray { first: 0x1_fffe, ..FlowSpray::unanswered(&there, 3, 6) };
    FrameSender::open(&here)?.spray(&spray, Rate::Full)?;
    for n in 0..6 {
        let frame = receiver.receive(Duration::from_secs(5))?.context("a frame is missing")?;
        let (address, port) = spray.source(n);
        assert_eq!(frame[26..30], address.octets());
        assert_eq!(frame[34..36], port.to_be_bytes());
    }
    Ok(())
}

#[test]
fn frames_arrive_with_their_tags_and_as_they_were_sent() -> Result<()> {
    let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
    let (sender, receiver) = (FrameSender::open(&here)?, FrameReceiver::open(&there)?);
    // A packet socket rejects frames that are shorter than a header, or longer than the MTU with room for one tag. The
    // kernel discards a frame that ends in its tag or two bytes after it (`skb_vlan_untag`), before sockets see it.
    let sendable = |frame: &Vec<u8>| match frame.get(12..14) {
        Some([0x81, 0] | [0x88, 0xa8]) => (20..=1514).contains(&frame.len()),
        _ => (15..=1514).contains(&frame.len()),
    };
    let mut tagged = 0;
    for Named { name, build, .. } in NAMED {
        let Some(frame) = Some(build()).filter(sendable) else { continue };
        sender.send(std::slice::from_ref(&frame), 1, Rate::Full).with_context(|| format!("sending {name}"))?;
        let arrived = receiver.receive(Duration::from_secs(5))?.with_context(|| format!("{name} is missing"))?;
        assert_eq!(arrived, frame, "{name}");
        tagged += usize::from(name.starts_with("vlan") || name.starts_with("qinq"));
    }
    assert!(tagged >= 10, "only {tagged} frames had tags");
    assert_eq!(receiver.receive(Duration::from_millis(50))?, None, "a frame that the test has not sent");
    Ok(())
}

/// The background's clients, its server and an attacker on one segment.
macro_rules! town {
    () => {{
        let Some(lab) = require_lab() else { return Ok(()) };
        let hosts = [&lab.host("server")?, &lab.host("alice")?, &lab.host("bob")?, &lab.host("mallory")?];
        let interfaces = lab.segment(hosts, &LinkOptions::default())?;
        (lab, interfaces)
    }};
}

#[test]
fn normal_traffic_has_no_failures() -> Result<()> {
    let (_lab, [server, alice, bob, _]) = town!();
    let habits = Habits { seed: 1, duration: Duration::from_secs(4), pace: 5.0 };
    let outcomes = Background::start(&[&alice, &bob], &server, habits)?.finish()?;
    assert_eq!(outcomes.failures, 0, "{outcomes:?}");
    assert!(outcomes.conversations > 5, "{outcomes:?}");
    let counted = server.counters()?;
    assert!(counted.rx_bytes > outcomes.sent && counted.tx_bytes > outcomes.received, "{outcomes:?}, {counted:?}");
    Ok(())
}

#[test]
fn every_attack_completes_and_reaches_the_victim() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let server = lab.host("server")?;
    // Each attack has its own link, so that all can run at once and be counted separately.
    let launched = |attack: &Attack| -> Result<u64> {
        let [attacker, victim] = lab.link([&lab.host(attack.name)?, &server], &LinkOptions::default())?;
        let _services = Background::start(&[], &victim, Habits::default())?;
        let before = attacker.counters()?.tx_packets;
        (attack.launch)(Scene { attacker: &attacker, victim: &victim, seed: 7 })?;
        let sent = attacker.counters()?.tx_packets;
        wait_until(Duration::from_secs(5), || Ok(victim.counters()?.rx_packets >= sent))?;
        Ok(sent - before)
    };
    std::thread::scope(|scope| {
        let attacks: Vec<_> = ATTACKS.iter().map(|attack| (attack.name, scope.spawn(|| launched(attack)))).collect();
        for (name, attack) in attacks {
            let sent = attack.join().expect("an attack does not panic").context(name)?;
            assert!(sent >= 300, "{name} sent {sent} packets");
        }
        Ok(())
    })
}

#[test]
fn a_scan_finds_the_open_ports() -> Result<()> {
    let (_lab, [server, _, _, mallory]) = town!();
    let _services = Background::start(&[], &server, Habits::default())?;
    let answers = FrameReceiver::open(&mallory)?;
    let sent = attack::port_scan(Scene { attacker: &mallory, victim: &server, seed: 7 }, 500, 5000)?;
    assert_eq!(sent.packets, 500);
    let (mut open, mut closed) = (Vec::new(), 0);
    while let Some(frame) = answers.receive(Duration::from_secs(1))? {
        // IPv4 without options, TCP.
        if frame[12..15] == [8, 0, 0x45] && frame[23] == 6 {
            match frame[47] & (flag::SYN | flag::RST) {
                flag::SYN => open.push(u16::from_be_bytes([frame[34], frame[35]])),
                _ => closed += 1,
            }
        }
    }
    open.sort_unstable();
    open.dedup();
    assert_eq!(open, TCP_PORTS.iter().copied().filter(|&port| port <= 500).collect::<Vec<_>>());
    assert_eq!(closed, 500 - open.len());
    Ok(())
}
