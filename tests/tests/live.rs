//! Real traffic between two hosts, metered by the agent on one of them: its records equal what the endpoints sent.

#[allow(dead_code, clippy::allow_attributes, reason = "the example's own main function is not called")]
#[path = "../../flowml-user/examples/meter.rs"]
mod meter;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::packet::Skipped;
use flowml_tests::agent::{Agent, Report};
use flowml_tests::frames::{Frame, Ipv4, NAMED, NOBODY, Named, Ports, ether_type, protocol};
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Host, Interface, IpVersion, LinkOptions, require_lab, wait_until};
use flowml_tests::traffic::peers::{Exchange, Served, TcpClient, TcpService, UdpService, udp_exchange};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent, on_cpu};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Longest time for a record or a frame on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The modes in which ingress can be metered.
const MODES: [&str; 3] = ["native", "generic", "tc"];

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// Two hosts and a link between them: the client's end, and the server's, which is metered.
macro_rules! pair {
    ($options:expr) => {{
        let Some(lab) = require_lab() else { return Ok(()) };
        let ends = lab.link([&lab.host("client")?, &lab.host("server")?], &$options)?;
        (lab, ends)
    }};
}

fn number(record: &Value, member: &str) -> Result<u64> {
    record[member].as_u64().with_context(|| format!("no whole number {member} in {record}"))
}

/// Checks that a record has the members of `expected` with their values.
fn assert_members(record: &Value, expected: &Value) -> Result<()> {
    for (member, value) in expected.as_object().context("an object of members")? {
        assert_eq!(&record[member], value, "{member} of {record}");
    }
    Ok(())
}

/// Stops the agent, and checks that it counted every packet once.
fn conserved(agent: Agent) -> Result<Report> {
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "exit code {:?}: {}", report.code, report.stderr);
    let summary = report.summary()?;
    assert_eq!(summary["conserved"], true, "{summary}");
    for (total, in_flows, skipped) in [
        ("packets_received", "packets_in_flows", "packets_skipped"),
        ("bytes_received", "bytes_in_flows", "bytes_skipped"),
    ] {
        let reasons = summary[skipped].as_object().context("an object of reasons")?;
        let skipped: u64 = reasons.values().filter_map(Value::as_u64).sum();
        assert_eq!(number(summary, total)?, number(summary, in_flows)? + skipped, "{summary}");
    }
    let in_rows: u64 = report.of_type("flow").filter_map(|flow| flow["bidirectional_packets"].as_u64()).sum();
    assert_eq!(in_rows, number(summary, "packets_in_flows")?, "packets of all flow rows");
    Ok(report)
}

/// The only record that has these members.
fn only<'a>(report: &'a Report, wanted: &Value) -> Result<&'a Value> {
    let wanted = wanted.as_object().context("an object of members")?;
    let found: Vec<_> =
        report.of_type("flow").filter(|flow| wanted.iter().all(|(name, value)| flow[name] == *value)).collect();
    ensure!(
        found.len() == 1,
        "{} flows with {wanted:?} among {:#?}",
        found.len(),
        report.of_type("flow").map(brief).collect::<Vec<_>>()
    );
    Ok(found[0])
}

fn brief(flow: &Value) -> String {
    let columns =
        ["protocol", "src_ip", "src_port", "dst_ip", "dst_port", "src2dst_packets", "dst2src_packets", "end_reason"];
    columns.map(|column| flow[column].to_string()).join(" ")
}

/// The members that identify the two ends of a flow.
fn ends(protocol: u8, client: SocketAddr, server: SocketAddr) -> Value {
    json!({
        "protocol": protocol,
        "src_ip": client.ip().to_string(),
        "src_port": client.port(),
        "dst_ip": server.ip().to_string(),
        "dst_port": server.port(),
        "ip_version": if client.is_ipv4() { 4 } else { 6 },
    })
}

/// The TCP segments that a host has sent.
#[derive(Debug, Clone, Copy)]
struct Segments {
    /// Segments that its network stack counted, retransmissions included. A GSO buffer counts as its segments.
    sent: u64,
    retransmitted: u64,
}

impl Segments {
    /// Counters of all connections of the host since it was made (/proc/net/snmp, RFC 4022: OutSegs excludes
    /// retransmissions).
    fn of(host: &Host) -> Result<Self> {
        let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
        let (names, values) = lines.next().zip(lines.next()).context("two lines of Tcp in /proc/net/snmp")?;
        let counts: BTreeMap<_, _> = names.split_whitespace().zip(values.split_whitespace()).collect();
        let count =
            |name: &str| -> Result<u64> { Ok(counts.get(name).with_context(|| format!("no {name}"))?.parse()?) };
        let retransmitted = count("RetransSegs")?;
        Ok(Self { sent: count("OutSegs")? + retransmitted, retransmitted })
    }
}

/// Checks a payload counted on the wire: everything that was sent, plus retransmissions in segments of at most `mss`.
fn assert_payload(counted: u64, sent: u64, again: Segments, mss: u64) {
    let bounds = sent..=sent + again.retransmitted * mss;
    assert!(bounds.contains(&counted), "{counted} bytes of payload, not {bounds:?} ({again:?})");
}

#[test]
fn tcp_records_equal_what_the_endpoints_sent() -> Result<()> {
    for (mode, offloads) in [("native", false), ("generic", false), ("tc", false), ("tc", true)] {
        tcp_records(mode, offloads).with_context(|| format!("--xdp-mode {mode}, offloads: {offloads}"))?;
    }
    Ok(())
}

/// With offloads, buffers of many segments pass the tc hooks. They count as the packets that a wire would carry.
fn tcp_records(mode: &str, offloads: bool) -> Result<()> {
    let (_lab, [here, there]) = pair!(LinkOptions { offloads, ..LinkOptions::default() });
    let agent = Agent::meter(&there, &["--direction", "both", "--xdp-mode", mode, "--interval", "200ms"])?;
    let exchange = Exchange { request: 2_000_000, response: 1_000_001 };
    let mut expected = Vec::new();
    for version in VERSIONS {
        let service = TcpService::start(&there, version, 8080)?;
        let mut connection = TcpClient::connect(&here.host, service.address())?;
        let client = connection.local_address()?;
        connection.exchange(exchange)?;
        drop(connection);
        expected.push(ends(protocol::TCP, client, service.address()));
        agent.wait_for(LIMIT, |record| record["type"] == "flow" && record["src_port"] == client.port())?;
        assert_eq!(service.stop()?, Served { conversations: 1, received: 2_000_000, sent: 1_000_001 });
    }
    let (client, server) = (Segments::of(&here.host)?, Segments::of(&there.host)?);
    let report = conserved(agent)?;
    let mut packets = [0, 0];
    let hooks = if mode == "tc" { "ingress+egress" } else { "xdp+egress" };
    for ends in &expected {
        let flow = only(&report, ends)?;
        assert_members(
            flow,
            &json!({
                "end_reason": "end_of_flow", "continues": false, "initiator_known": 1, "hooks": hooks, "fragments": false,
                "src_mac": here.mac.to_string(), "dst_mac": there.mac.to_string(), "bidirectional_rst_packets": 0,
            }),
        )?;
        // 1500 bytes minus the shortest headers of IPv4 and TCP.
        assert_payload(number(flow, "src2dst_payload_bytes")?, exchange.request.into(), client, 1460);
        assert_payload(number(flow, "dst2src_payload_bytes")?, exchange.response.into(), server, 1460);
        for (count, way) in packets.iter_mut().zip(["src2dst", "dst2src"]) {
            *count += number(flow, &format!("{way}_packets"))?;
            let payload = number(flow, &format!("{way}_payload_bytes"))?;
            assert!(number(flow, &format!("{way}_payload_packets"))? >= payload.div_ceil(1460), "{flow}");
        }
        if client.retransmitted + server.retransmitted == 0 {
            let once = ["src2dst_syn_packets", "dst2src_syn_packets", "src2dst_fin_packets", "dst2src_fin_packets"];
            once.iter().for_each(|member| assert_eq!(flow[member], 1, "{member} of {flow}"));
        }
        // All segments except the client's SYN carry an acknowledgement (RFC 9293 §3.10.7).
        let without_ack = number(flow, "bidirectional_packets")? - number(flow, "bidirectional_ack_packets")?;
        assert_eq!(without_ack, number(flow, "src2dst_syn_packets")?);
    }
    // A segment may be lost before the hook, in a full queue of a veth on a busy machine. It was then sent again.
    for (counted, of) in packets.iter().zip([client, server]) {
        assert!((of.sent - of.retransmitted..=of.sent).contains(counted), "{counted} segments of {of:?}");
    }
    Ok(())
}

#[test]
fn udp_records_equal_what_the_endpoints_sent() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions::default());
        let agent = Agent::meter(&there, &["--direction", "both", "--xdp-mode", mode])?;
        let exchange = Exchange { request: 100, response: 1200 };
        let mut expected = Vec::new();
        for (version, header) in VERSIONS.into_iter().zip([20, 40]) {
            let service = UdpService::start(&there, version, 53)?;
            let client = udp_exchange(&here.host, service.address(), exchange)?;
            let client = SocketAddr::new(here.address(version), client.port());
            expected.push((ends(protocol::UDP, client, service.address()), header + 8));
            assert_eq!(service.stop()?, Served { conversations: 1, received: 100, sent: 1200 });
        }
        let report = conserved(agent)?;
        for (ends, headers) in expected {
            assert_members(
                only(&report, &ends)?,
                &json!({
                    "src2dst_packets": 1, "src2dst_payload_bytes": 100, "src2dst_bytes": 100 + headers,
                    "dst2src_packets": 1, "dst2src_payload_bytes": 1200, "dst2src_bytes": 1200 + headers,
                    "end_reason": "forced_end", "fragments": false, "vlan_id": 0,
                }),
            )?;
        }
    }
    Ok(())
}

#[test]
fn later_fragments_of_a_datagram_are_a_flow_of_their_own() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions::quiet());
        let agent = Agent::meter(&there, &["--direction", "both", "--xdp-mode", mode])?;
        let service = UdpService::start(&there, IpVersion::V4, 53)?;
        udp_exchange(&here.host, service.address(), Exchange { request: 4000, response: 5000 })?;
        let report = conserved(agent)?;
        // With the UDP header 4008 and 5008 bytes. A fragment carries 1480 (RFC 791 §2.3), so there are 3 and 4
        // fragments.
        let first = json!({"fragments": false, "dst_port": 53});
        assert_members(
            only(&report, &first)?,
            &json!({
                "src2dst_packets": 1, "src2dst_bytes": 1500, "src2dst_payload_bytes": 1472,
                "dst2src_packets": 1, "dst2src_bytes": 1500, "dst2src_payload_bytes": 1472,
            }),
        )?;
        let later = json!({"fragments": true, "src_port": 0, "dst_port": 0, "protocol": protocol::UDP});
        assert_members(
            only(&report, &later)?,
            &json!({
                "src_ip": here.v4.to_string(), "dst_ip": there.v4.to_string(),
                "src2dst_packets": 2, "src2dst_bytes": 4008 - 1480 + 2 * 20, "src2dst_payload_bytes": 4008 - 1480,
                "dst2src_packets": 3, "dst2src_bytes": 5008 - 1480 + 3 * 20, "dst2src_payload_bytes": 5008 - 1480,
            }),
        )?;
        assert_eq!(report.summary()?["packets_received"], 3 + 4);
    }
    Ok(())
}

/// A request and its answer over a new connection. The metered side must recognise their content.
fn web_exchange(
    here: &Interface,
    there: &Interface,
    request: &'static [u8],
    answer: &'static [u8],
) -> Result<SocketAddr> {
    let address = there.socket(IpVersion::V4, 8000);
    let listener = there.host.enter(|| TcpListener::bind(address))??;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.read_exact(&mut vec![0; request.len()])?;
        stream.write_all(answer)?;
        Ok(())
    });
    let mut stream = here.host.enter(|| TcpStream::connect_timeout(&address, LIMIT))??;
    let client = stream.local_addr()?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request)?;
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered)?;
    ensure!(answered == answer, "the answer is {answered:?}");
    server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(client)
}

#[test]
fn payload_identifies_the_application_and_is_not_written() -> Result<()> {
    const REQUEST: &[u8] = b"GET /cart HTTP/1.1\r\nHost: Shop.Example:8000\r\nCookie: biscuit\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\0\xff\0\xff";
    for (mode, offloads) in [("native", false), ("generic", false), ("tc", true)] {
        let (_lab, [here, there]) = pair!(LinkOptions { offloads, ..LinkOptions::default() });
        let options = ["--direction", "both", "--xdp-mode", mode, "--payload", "40"];
        let patterns = ["--match", "cart=/cart", "--match", "biscuit=biscuit", "--match", "ok=(?i)ok"];
        let agent = Agent::meter(&there, &[&options[..], &patterns].concat())?;
        let client = web_exchange(&here, &there, REQUEST, ANSWER)?;
        let report = conserved(agent)?;
        let flow = only(&report, &ends(protocol::TCP, client, there.socket(IpVersion::V4, 8000)))?;
        assert_members(
            flow,
            &json!({
                // The Host name is cut off after 40 bytes, and so is the cookie. The answer's header has 38 bytes.
                "application_name": "HTTP", "requested_server_name": null, "application_detail": "GET",
                "src2dst_first_payload_bytes": 40, "dst2src_first_payload_bytes": 40,
                "src2dst_first_payload_printable_share": 1, "dst2src_first_payload_printable_share": 0.95,
                "match_cart": 1, "match_biscuit": 0, "match_ok": 1,
            }),
        )?;
        ensure!(!report.records.iter().any(|row| row.to_string().contains("Content-Length")), "payload is in {flow}");
        ensure!(!report.stderr.contains("/cart"), "{}", report.stderr);
    }
    Ok(())
}

#[test]
fn a_ping_and_its_answers_are_one_flow() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions::default());
        let agent = Agent::meter(&there, &["--direction", "both", "--xdp-mode", mode])?;
        let mut expected = Vec::new();
        for (version, of, kind, header) in
            [(IpVersion::V4, protocol::ICMP, 8, 20), (IpVersion::V6, protocol::ICMPV6, 128, 40)]
        {
            let address = there.address(version).to_string();
            here.host.run_ok(["ping", "-n", "-c5", "-i0.01", "-s56", "-W10", &address])?;
            let bytes = 5 * (header + 8 + 56);
            expected.push(json!({
                "protocol": of, "src_ip": here.address(version).to_string(), "dst_ip": address,
                "icmp_type": kind, "icmp_code": 0,
                "src2dst_packets": 5, "dst2src_packets": 5, "src2dst_bytes": bytes, "dst2src_bytes": bytes,
            }));
        }
        let report = conserved(agent)?;
        for flow in expected {
            only(&report, &flow).with_context(|| format!("--xdp-mode {mode}"))?;
        }
    }
    Ok(())
}

/// A packet that leaves by the loopback interface also arrives there. It is one packet, and counted once.
#[test]
fn loopback_counts_each_packet_once() -> Result<()> {
    for mode in ["generic", "tc"] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let host = lab.host("alone")?;
        let agent =
            Agent::start(&host, &["run", "-i", "lo", "-o", "jsonl=-", "--direction", "both", "--xdp-mode", mode])?;
        let metering = "only ingress is counted";
        wait_until(LIMIT, || Ok(agent.stderr().contains(metering))).with_context(|| agent.stderr())?;
        host.run_ok(["ping", "-n", "-c5", "-i0.01", "-s56", "-W10", "127.0.0.1"])?;
        let report = conserved(agent)?;
        only(&report, &json!({"protocol": 1, "src2dst_packets": 5, "dst2src_packets": 5}))
            .with_context(|| format!("--xdp-mode {mode}"))?;
    }
    Ok(())
}

/// Sends frames to which no host answers, each once, and waits until the other end has received all of them.
fn send(from: &Interface, to: &Interface, frames: &[Vec<u8>]) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let sent = on_cpu(0, || FrameSender::open(from)?.send(frames, 1, Rate::Full))??;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

#[test]
fn tags_are_read_and_their_bytes_counted() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions::quiet());
        let agent = Agent::meter(&there, &["--xdp-mode", mode])?;
        let frame = |tags: &[(u16, u16)]| {
            let frame = tags.iter().fold(Frame::between(here.mac, NOBODY), |frame, &(tpid, tci)| frame.tag(tpid, tci));
            frame.ipv4(&Ipv4::default()).udp(Ports::default()).payload(&[0x55; 100]).finish()
        };
        let frames = [
            frame(&[]),
            // Priority 5 and drop eligible, which are not part of the VLAN id.
            frame(&[(ether_type::VLAN, 5 << 13 | 1 << 12 | 100)]),
            frame(&[(ether_type::SERVICE_VLAN, 10), (ether_type::VLAN, 20)]),
            frame(&[(ether_type::VLAN, 30), (ether_type::VLAN, 40)]),
        ];
        let sent = send(&here, &there, &frames)?;
        let report = conserved(agent)?;
        for (outer, inner) in [(0, 0), (100, 0), (10, 20), (30, 40)] {
            only(
                &report,
                &json!({
                    "vlan_id": outer, "inner_vlan_id": inner, "src_port": 40000, "dst_port": 53,
                    "src2dst_packets": 1, "src2dst_bytes": 128, "src2dst_payload_bytes": 100,
                }),
            )?;
        }
        assert_members(
            report.summary()?,
            &json!({
                "packets_received": sent.packets, "packets_in_flows": 4, "bytes_received": sent.bytes, "flows": 4,
            }),
        )
        .with_context(|| format!("--xdp-mode {mode}"))?;
    }
    Ok(())
}

#[test]
fn jumbo_frames_are_counted_in_full() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions { mtu: 9000, ..LinkOptions::quiet() });
        let agent = Agent::meter(&there, &["--xdp-mode", mode])?;
        let jumbo = Frame::between(here.mac, NOBODY).ipv4(&Ipv4::default()).udp(Ports::default());
        let jumbo = jumbo.payload(&[0x55; 9000 - 28]).finish();
        let sent = send(&here, &there, &vec![jumbo; 100])?;
        let report = conserved(agent)?;
        let ends = json!({"src_port": 40000, "dst_port": 53});
        assert_members(
            only(&report, &ends)?,
            &json!({
                "src2dst_packets": 100, "src2dst_bytes": 900_000, "src2dst_payload_bytes": 100 * (9000 - 28),
                "bidirectional_min_ps": 9000, "bidirectional_max_ps": 9000,
            }),
        )?;
        assert_eq!(sent, Sent { packets: 100, bytes: 100 * 9014 });
        assert_members(
            report.summary()?,
            &json!({
                "packets_received": sent.packets, "bytes_received": sent.bytes, "capture_mode": mode,
            }),
        )?;
    }
    Ok(())
}

/// The values on which all modes must agree: the packet accounting, and these columns of the flows.
fn view(report: &Report) -> Result<(Value, BTreeSet<String>)> {
    let summary = report.summary()?;
    let account = [
        "packets_received",
        "bytes_received",
        "packets_in_flows",
        "bytes_in_flows",
        "packets_skipped",
        "bytes_skipped",
    ];
    let account = account.iter().map(|member| ((*member).to_owned(), summary[member].clone())).collect();
    let left_out = ["interface", "hooks", "type"];
    let timeless = |name: &str| {
        let by_time = ["_ms", "_per_second"];
        let of_hosts = ["window_", "src_10m_", "pair_"];
        !left_out.contains(&name)
            && !by_time.iter().any(|end| name.ends_with(end))
            && !of_hosts.iter().any(|part| name.contains(part))
    };
    let verdict = ["cluster", "score", "probability", "anomaly", "reason"];
    let flows = report.of_type("flow").filter_map(Value::as_object).map(|flow| {
        let columns = flow.iter().filter(|(name, _)| timeless(name) && !verdict.contains(&name.as_str()));
        columns.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    });
    Ok((Value::Object(account), flows.collect()))
}

#[test]
fn all_modes_count_the_same() -> Result<()> {
    // Frames that a packet socket sends and that the kernel does not discard before tc (`skb_vlan_untag`): at least as
    // long as their header, not ending in a tag or directly after it, and not above the MTU.
    let sendable = |frame: &Vec<u8>| match frame.get(12..14) {
        Some([0x81, 0] | [0x88, 0xa8]) => (20..=1514).contains(&frame.len()),
        _ => (15..=1514).contains(&frame.len()),
    };
    let named: Vec<(&Named, Vec<u8>)> =
        NAMED.iter().map(|named| (named, (named.build)())).filter(|(_, frame)| sendable(frame)).collect();
    let frames: Vec<_> = named.iter().map(|(_, frame)| frame.clone()).collect();
    let skipped = |reason: Skipped| named.iter().filter(|(named, _)| named.skipped == Some(reason)).count();
    let mut views = Vec::new();
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions::quiet());
        let agent = Agent::meter(&there, &["--xdp-mode", mode])?;
        let sent = send(&here, &there, &frames)?;
        let report = conserved(agent)?;
        let summary = report.summary()?;
        let expected = json!({"capture_mode": mode, "packets_received": sent.packets, "bytes_received": sent.bytes});
        assert_members(summary, &expected)?;
        let by_reason = Skipped::ALL.map(|reason| (reason.name().to_owned(), Value::from(skipped(reason))));
        assert_eq!(summary["packets_skipped"], Value::Object(by_reason.into_iter().collect()), "{mode}");
        views.push((mode, view(&report)?));
    }
    let (_, (account, flows)) = &views[0];
    for (mode, (its_account, its_flows)) in &views[1..] {
        assert_eq!(its_account, account, "{mode}");
        let different: Vec<_> = its_flows.symmetric_difference(flows).collect();
        assert!(different.is_empty(), "native and {mode} disagree: {different:#?}");
    }
    Ok(())
}

#[test]
fn packet_accounting_equals_the_interface_counters() -> Result<()> {
    for mode in MODES {
        let (_lab, [here, there]) = pair!(LinkOptions { offloads: false, ..LinkOptions::quiet() });
        let before = there.counters()?;
        let agent = Agent::meter(&there, &["--direction", "both", "--xdp-mode", mode])?;
        let service = TcpService::start(&there, IpVersion::V4, 80)?;
        TcpClient::connect(&here.host, service.address())?.exchange(Exchange { request: 50_000, response: 70_000 })?;
        here.host.run_ok(["ping", "-n", "-c3", "-i0.01", "-W10", &there.v4.to_string()])?;
        // An acknowledgement or a FIN may still be on its way.
        let mut last = there.counters()?;
        wait_until(LIMIT, || {
            thread::sleep(Duration::from_millis(300));
            let now = there.counters()?;
            Ok(std::mem::replace(&mut last, now) == now)
        })?;
        let report = conserved(agent)?;
        let counted = there.counters()? - before;
        assert_eq!(
            report.summary()?["packets_received"],
            counted.rx_packets + counted.tx_packets,
            "{mode}: {counted:?}"
        );
        assert_eq!(report.summary()?["packets_in_flows"], counted.rx_packets + counted.tx_packets, "{mode}");
        let ping = only(&report, &json!({"protocol": protocol::ICMP}))?;
        assert_members(ping, &json!({"src2dst_packets": 3, "dst2src_packets": 3}))?;
    }
    Ok(())
}

/// The library's example, which has an observer of its own.
#[test]
fn an_observer_of_the_library_sees_every_packet() -> Result<()> {
    let (_lab, [from, to]) = pair!(LinkOptions::quiet());
    let (name, stop) = (to.name.clone(), Arc::new(Notify::new()));
    let stopped = Arc::clone(&stop);
    let metering = to.host.spawn_thread(move || -> Result<_> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(meter::packets(&name, 10 * LIMIT, &stopped))
    })?;
    wait_until(LIMIT, || Ok(Hooks::of(&to)?.sees_ingress())).context("waiting for the example")?;
    let before = to.counters()?.rx_packets;
    let spray = FlowSpray::unanswered(&to, 10, 1000);
    let sent = FrameSender::open(&from)?.spray(&spray, Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    stop.notify_one();
    let packets = metering.join().expect("no panic")??;
    assert_eq!(packets, BTreeMap::from([(protocol::UDP, sent.packets)]));
    Ok(())
}
