//! Inputs that flowml once got wrong, taken from reports of users of flow meters: `flowml read` gives the right rows.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::binary;
use flowml_tests::captures::{Interface, Order, PacketBlock, Pcap, Pcapng, Record};
use flowml_tests::frames::flag::{ACK, FIN, PSH, RST, SYN};
use flowml_tests::frames::{Extension, Frame, Ipv4, Ipv6, Layer, Ports, Tcp, ether_type};
use flowml_tests::lab::or_skip;
use serde_json::Value;

/// Start of a capture in ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// Addresses of client and server.
const ENDS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];

/// An IPv4 header from the client, or from the server.
fn ipv4(from_client: bool) -> Ipv4 {
    let [client, server] = ENDS.map(Into::into);
    let (source, destination) = if from_client { (client, server) } else { (server, client) };
    Ipv4 { source, destination, ..Ipv4::default() }
}

/// A TCP segment between port `client` of the client and port `server` of the server.
fn tcp(from_client: bool, ports: [u16; 2], flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let [client, server] = ports;
    let (source_port, destination_port) = if from_client { (client, server) } else { (server, client) };
    let header = Tcp { source_port, destination_port, flags, sequence, ..Tcp::default() };
    Frame::default().ipv4(&ipv4(from_client)).tcp(&header).payload(payload).finish()
}

/// The flow rows of `flowml read` for a capture file with these bytes. Packet accounting must be consistent.
fn flows_of(name: &str, capture: &[u8], arguments: &[&str]) -> Result<Vec<Value>> {
    rows_of("flow", name, capture, arguments)
}

/// The rows of a type. Packet accounting must be consistent.
fn rows_of(kind: &str, name: &str, capture: &[u8], arguments: &[&str]) -> Result<Vec<Value>> {
    let path = std::env::temp_dir().join(format!("flowml-fault-{name}-{}.pcap", std::process::id()));
    fs::write(&path, capture).with_context(|| format!("writing {}", path.display()))?;
    let mut command = Command::new(binary()?);
    command.args(["read", "-o", "jsonl=-"]).args(arguments).arg(&path).stdin(Stdio::null());
    let output = command.output().context("running flowml read");
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    rows_in(kind, &output?)
}

/// The rows of a type in the output of `flowml read`. Packet accounting must be consistent.
fn rows_in(kind: &str, output: &Output) -> Result<Vec<Value>> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    let rows: Vec<Value> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().context("rows of JSON")?;
    let summary = rows.last().context("there is no row")?;
    ensure!(summary["type"] == "summary" && summary["conserved"] == true, "{summary}");
    Ok(rows.into_iter().filter(|row| row["type"] == kind).collect())
}

/// The flow rows of a capture of these frames, each with its time since the start in ns.
fn flows(name: &str, frames: &[(u64, Vec<u8>)], arguments: &[&str]) -> Result<Vec<Value>> {
    let records: Vec<_> = frames.iter().map(|(ns, bytes)| Record::whole(BEGIN_NS + ns, bytes.clone())).collect();
    flows_of(name, &Pcap::of(1).write(&records), arguments)
}

/// Alternating gaps of 1.5 and 6.5 ms, in whole microseconds.
#[test]
fn the_deviation_of_gaps_agrees_with_their_times() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let frames: Vec<_> =
        [0, 1500, 8000, 9500, 16_000].map(|us| (us * 1000, tcp(true, [40_000, 80], ACK, 1, b""))).into();
    let flows = flows("deviation", &frames, &[])?;
    ensure!(flows.len() == 1, "{flows:?}");
    ensure!(flows[0]["bidirectional_mean_piat_ms"] == 4.0, "{}", flows[0]);
    // √(4 × 2.5² / 3).
    let deviation = flows[0]["bidirectional_stddev_piat_ms"].as_f64().context("a number")?;
    ensure!((deviation - 2.886_751_345_948_129).abs() < 1e-12, "{deviation}");
    ensure!(flows[0]["bidirectional_duration_ms"].as_f64() == Some((16 * MS) as f64 / 1e6), "{}", flows[0]);
    Ok(())
}

/// Bytes of both directions by IP version.
fn ip_bytes(flows: &[Value], version: u64) -> Option<u64> {
    flows.iter().find(|flow| flow["ip_version"] == version)?["bidirectional_bytes"].as_u64()
}

/// Captures of a host that leaves segmentation to its NIC, of BIG TCP and of generic XDP: the packet extends to the end
/// of its frame, however much of it was captured.
#[test]
fn an_ip_length_of_zero_extends_to_the_end_of_the_frame() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let large = [0x55; 100_000];
    let v4 = Frame::default().ipv4(&Ipv4::default()).tcp(&Tcp::default());
    let v6 = Frame::default().ipv6(&Ipv6::default()).tcp(&Tcp::default());
    let router_alert = Frame::default().ipv6(&Ipv6::default()).extension(Extension::HopByHop { units: 0 });
    let zero = [0, 0];
    let frames = [
        v4.clone().payload(&large[..4000]).poke(Layer::Ip, 2, &zero).finish(),
        v4.payload(&large).poke(Layer::Ip, 2, &zero).finish(),
        v6.clone().payload(&large[..4000]).poke(Layer::Ip, 4, &zero).finish(),
        v6.payload(&large).poke(Layer::Ip, 4, &zero).finish(),
        router_alert.tcp(&Tcp::default()).payload(&large[..4000]).poke(Layer::Ip, 4, &zero).finish(),
    ];
    for snap in [usize::MAX, 96] {
        let records: Vec<_> = frames.iter().map(|bytes| Record::whole(BEGIN_NS, bytes.clone()).snapped(snap)).collect();
        let flows = flows_of("ip-length-0", &Pcap::of(1).write(&records), &[])?;
        ensure!(flows.len() == 2, "{flows:?}");
        ensure!(ip_bytes(&flows, 4) == Some(2 * 40 + 104_000), "{flows:?}");
        ensure!(ip_bytes(&flows, 6) == Some(3 * 60 + 8 + 108_000), "{flows:?}");
    }
    Ok(())
}

/// After No Next Header there is only padding, so a payload length of 0 is correct.
#[test]
fn an_ipv6_packet_may_consist_of_its_header() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let frame = Frame::default().ipv6(&Ipv6::default()).protocol(59, &[]).padded().finish();
    let flows = flows("no-next-header", &[(0, frame)], &[])?;
    ensure!(flows.len() == 1 && ip_bytes(&flows, 6) == Some(40), "{flows:?}");
    Ok(())
}

#[test]
fn ipv6_between_ipv4_mapped_addresses_is_not_ipv4() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let v4 = Ipv4::default();
    let mapped =
        Ipv6 { source: v4.source.to_ipv6_mapped(), destination: v4.destination.to_ipv6_mapped(), ..Ipv6::default() };
    let frames = [
        (0, Frame::default().ipv4(&v4).udp(Ports::default()).finish()),
        (MS, Frame::default().ipv6(&mapped).udp(Ports::default()).finish()),
    ];
    let flows = flows("mapped", &frames, &[])?;
    ensure!(flows.len() == 2, "{flows:?}");
    for (version, address) in [(4, "10.77.0.1"), (6, "::ffff:10.77.0.1")] {
        let flow = flows.iter().find(|flow| flow["ip_version"] == version).context("a flow of each version")?;
        ensure!(flow["src_ip"] == address && flow["bidirectional_packets"] == 1, "{flow}");
    }
    ensure!(flows[0]["community_id"] != flows[1]["community_id"], "{flows:?}");
    Ok(())
}

/// VLAN tags of switches from before IEEE 802.1ad, outer and inner, on Ethernet and after a cooked header.
#[test]
fn older_vlan_tags_are_read() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for outer in ether_type::OLDER_SERVICE_VLANS {
        let tagged = Frame::default().tag(outer, 100).tag(ether_type::VLAN, 200);
        let frame = tagged.ipv4(&Ipv4::default()).udp(Ports::default()).finish();
        // Version 1: outgoing, Ethernet, an address of 6 bytes, then the EtherType.
        let cooked = [&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &frame[12..]].concat();
        for (link, bytes) in [(1, frame), (113, cooked)] {
            let flows = flows_of("older-tag", &Pcap::of(link).write(&[Record::whole(BEGIN_NS, bytes)]), &[])?;
            ensure!(flows.len() == 1, "{outer:#x}: {flows:?}");
            ensure!(flows[0]["vlan_id"] == 100 && flows[0]["inner_vlan_id"] == 200, "{}", flows[0]);
        }
    }
    Ok(())
}

const SECOND: u64 = 1000 * MS;

/// Checks the responder, its port and the evidence for the initiator in every flow row.
fn opened(flows: &[Value], count: usize, destination: (&str, u64), by: &str) -> Result<()> {
    ensure!(flows.len() == count, "{} flows, not {count}: {flows:?}", flows.len());
    for flow in flows {
        ensure!(flow["dst_ip"] == destination.0 && flow["dst_port"] == destination.1, "{flow}");
        ensure!(flow["initiator_by"] == by, "{flow}");
    }
    Ok(())
}

/// Incoming packets at a client: only the answers of a server, or a connection from before the capture.
#[test]
fn the_client_is_the_initiator_whichever_packets_were_captured() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let down = |client, flags| tcp(false, [client, 8080], flags, 1, b"");
    // Many connections, each of which is answered.
    let frames: Vec<_> = (0..400u16)
        .flat_map(|n| {
            let ns = u64::from(n) * 50 * MS;
            [(ns, down(20_000 + n, SYN | ACK)), (ns + MS, down(20_000 + n, ACK))]
        })
        .collect();
    let answers = flows("answers", &frames, &[])?;
    opened(&answers, 400, ("10.0.0.2", 8080), "syn_ack")?;
    ensure!(answers.iter().all(|flow| flow["src2dst_packets"] == 0 && flow["dst2src_packets"] == 2), "{}", answers[0]);
    // A server that answers all of them is neither a scanner nor a target.
    let records: Vec<_> = frames.iter().map(|(ns, bytes)| Record::whole(BEGIN_NS + ns, bytes.clone())).collect();
    let capture = Pcap::of(1).write(&records);
    let incidents = rows_of("incident", "answers-judged", &capture, &["--model", "builtin"])?;
    ensure!(incidents.is_empty(), "{incidents:?}");
    let before = [(0, down(40_000, ACK)), (MS, tcp(true, [40_000, 8080], ACK, 1, b""))];
    opened(&flows("before", &before, &[])?, 1, ("10.0.0.2", 8080), "service_port")?;
    // The profile nfstream uses NFStream's rule.
    opened(&flows("nfstream", &before, &["--profile", "nfstream"])?, 1, ("10.0.0.1", 40_000), "first_packet")
}

#[test]
fn the_sender_of_answers_without_requests_is_the_responder() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for port in [53, 123] {
        let ports = Ports { source: port, destination: 40_000 };
        let answer = Frame::default().ipv4(&ipv4(false)).udp(ports).payload(&[0; 48]).finish();
        opened(&flows("answer", &[(0, answer)], &[])?, 1, ("10.0.0.2", port.into()), "service_port")?;
    }
    let reply = Frame::default().ipv4(&ipv4(false)).icmp(0, 0, [0, 1, 0, 1]).finish();
    let request = Frame::default().ipv4(&ipv4(true)).icmp(8, 0, [0, 1, 0, 1]).finish();
    opened(&flows("echo", &[(0, reply), (MS, request)], &[])?, 1, ("10.0.0.2", 0), "icmp_type")
}

/// Packets of either side at intervals above the idle timeout. Neither port belongs to a service.
#[test]
fn an_idle_connection_keeps_its_initiator() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let segment = |up, flags| tcp(up, [40_000, 50_000], flags, 1, b"");
    let mut frames = vec![(0, segment(true, SYN)), (MS, segment(false, SYN | ACK))];
    frames.extend((1..5).map(|n| (n * 60 * SECOND, segment(n % 2 == 0, ACK))));
    let flows = flows("keepalive", &frames, &[])?;
    opened(&flows[..1], 1, ("10.0.0.2", 50_000), "syn")?;
    opened(&flows[1..], 4, ("10.0.0.2", 50_000), "continues")
}

/// A server sends FIN again, long after both sides have closed. Neither port belongs to a service.
#[test]
fn a_late_segment_of_a_closed_connection_keeps_its_initiator() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let segment = |up, flags| tcp(up, [40_000, 50_000], flags, 1, b"");
    let closed = [(true, SYN), (false, SYN | ACK), (true, FIN | ACK), (false, FIN | ACK)];
    let mut frames: Vec<_> = (0..).zip(closed).map(|(n, (up, flags))| (n * 100 * MS, segment(up, flags))).collect();
    frames.extend([(5 * SECOND, segment(false, FIN | ACK)), (5100 * MS, segment(false, RST | ACK))]);
    let flows = flows("late-segment", &frames, &[])?;
    opened(&flows[..1], 1, ("10.0.0.2", 50_000), "syn")?;
    opened(&flows[1..], 1, ("10.0.0.2", 50_000), "continues")
}

/// A router reports to a server that its packet is too long for the path to the client. The client has initiated the
/// connection.
#[test]
fn an_error_of_a_router_has_the_initiator_of_the_open_session_that_it_quotes() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let segment = |up, flags, payload: &[u8]| tcp(up, [40_000, 9000], flags, 1, payload);
    let data = segment(false, PSH | ACK, &[0; 1000]);
    let router = Ipv4 { source: [10, 0, 0, 254].into(), destination: [10, 0, 0, 2].into(), ..Ipv4::default() };
    let error = Frame::default().ipv4(&router).icmp(3, 4, [0; 4]).payload(&data[14..42]).finish();
    let (syn, syn_ack) = (segment(true, SYN, b""), segment(false, SYN | ACK, b""));
    let frames = [syn, syn_ack, segment(true, ACK, b""), data, error, segment(true, ACK, b"")];
    let records: Vec<_> = (0..).zip(frames).map(|(n, bytes)| Record::whole(BEGIN_NS + n * 10 * MS, bytes)).collect();
    let capture = Pcap::of(1).write(&records);
    let flows = flows_of("router-error", &capture, &[])?;
    let error = flows.iter().find(|flow| flow["protocol"] == 1).context("a record of the error")?;
    ensure!(error["src_ip"] == "10.0.0.254" && error["initiator_by"] == "icmp_error", "{error}");
    for host in rows_of("host", "router-error", &capture, &["--learn"])? {
        ensure!(host["address"] != "10.0.0.254", "{host}");
        let (opened, was_opened_to) = (host["source_packets_in"].as_f64(), host["destination_packets_in"].as_f64());
        let expected = if host["address"] == "10.0.0.1" { (Some(2.0), Some(0.0)) } else { (Some(0.0), Some(4.0)) };
        ensure!((opened, was_opened_to) == expected, "{host}");
    }
    Ok(())
}

/// A scan of closed UDP ports, and of ports behind a router that rejects: the errors are no flows to the scanner.
#[test]
fn an_icmp_error_is_counted_with_the_flow_that_it_quotes() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let router = Ipv4 { source: [10, 0, 0, 254].into(), ..ipv4(false) };
    let mut records = Vec::new();
    for (n, port) in (0..100).zip(30_000..) {
        let probe = Frame::default().ipv4(&ipv4(true)).udp(Ports { source: 50_000, destination: port }).finish();
        let error = |ip: &Ipv4, code| Frame::default().ipv4(ip).icmp(3, code, [0; 4]).payload(&probe[14..]).finish();
        let errors = [error(&ipv4(false), 3), error(&router, 13)];
        for (at, bytes) in [probe.clone()].into_iter().chain(errors).enumerate() {
            records.push(Record::whole(BEGIN_NS + n * 10 * MS + at as u64 * MS, bytes));
        }
    }
    let capture = Pcap::of(1).write(&records);
    let flows = flows_of("icmp-error", &capture, &[])?;
    let errors: Vec<_> = flows.iter().filter(|flow| flow["protocol"] == 1).collect();
    ensure!(flows.len() == 102 && errors.len() == 2, "{flows:?}");
    for (flow, code) in errors.iter().zip([3, 13]) {
        ensure!(flow["src_ip"] == "10.0.0.1" && flow["initiator_by"] == "icmp_error", "{flow}");
        ensure!(flow["icmp_type"] == 3 && flow["icmp_code"] == code, "{flow}");
        ensure!(flow["src2dst_packets"] == 0 && flow["dst2src_packets"] == 100, "{flow}");
    }
    let hosts = rows_of("host", "icmp-error", &capture, &["--learn"])?;
    ensure!(!hosts.is_empty(), "there are no host windows");
    for host in &hosts {
        ensure!(host["address"] != "10.0.0.254", "a router is no part of what it reports: {host}");
        let (flows, peers) = (host["source_flows"].as_f64(), host["source_peers"].as_f64());
        let expected = if host["address"] == "10.0.0.1" { Some(1.0) } else { Some(0.0) };
        ensure!(peers == expected && (flows > Some(0.0)) == (expected == Some(1.0)), "{host}");
    }
    Ok(())
}

/// A UDP datagram from the client.
fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let [source, destination] = ports;
    Frame::default().ipv4(&ipv4(true)).udp(Ports { source, destination }).payload(payload).finish()
}

/// Gaps of 1.5 and 6.5 ms plus or minus some ns: sums of their squares keep what is below a µs.
#[test]
fn the_deviation_of_gaps_in_nanoseconds_agrees_with_whole_microseconds() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let times = [0, 1_500_999, 8_001_998, 9_502_997, 16_003_996];
    let frames: Vec<_> = times.map(|ns| (ns, tcp(true, [40_000, 80], ACK, 1, b""))).into();
    let records: Vec<_> = frames.iter().map(|(ns, bytes)| Record::whole(BEGIN_NS + ns, bytes.clone())).collect();
    let capture = Pcap { nanoseconds: true, ..Pcap::of(1) }.write(&records);
    let flows = flows_of("nanoseconds", &capture, &[])?;
    ensure!(flows.len() == 1, "{flows:?}");
    // The gaps are 1500, 6501, 1501 and 6501 µs.
    let gaps = [1.5, 6.501, 1.501, 6.501];
    let mean = gaps.iter().sum::<f64>() / 4.0;
    let deviation = (gaps.iter().map(|gap: &f64| (gap - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    for (column, expected) in [
        ("bidirectional_mean_piat_ms", mean),
        ("bidirectional_stddev_piat_ms", deviation),
        ("bidirectional_min_piat_ms", 1.5),
        ("bidirectional_max_piat_ms", 6.501),
    ] {
        let found = flows[0][column].as_f64().context("a number")?;
        ensure!((found - expected).abs() < 1e-9, "{column}: {found} instead of {expected}");
    }
    Ok(())
}

/// A connection of nine packets, handshake and FIN included, from `begin` on.
fn connection(begin: u64) -> Vec<(u64, Vec<u8>)> {
    let ports = [40_000, 80];
    let packets: [(bool, u8, u32, &[u8]); 9] = [
        (true, SYN, 1, b""),
        (false, SYN | ACK, 1, b""),
        (true, ACK, 2, b""),
        (true, PSH | ACK, 2, b"GET / HTTP/1.1"),
        (false, PSH | ACK, 2, b"HTTP/1.1 200 OK"),
        (true, ACK, 16, b""),
        (true, FIN | ACK, 16, b""),
        (false, FIN | ACK, 17, b""),
        (true, ACK, 17, b""),
    ];
    let frame = |(n, (from_client, flags, sequence, payload)): (u64, (bool, u8, u32, &[u8]))| {
        (begin + n * MS, tcp(from_client, ports, flags, sequence, payload))
    };
    (0..).zip(packets).map(frame).collect()
}

/// The packets of each flow, which must be the same at any interval.
fn packets(flows: &[Value]) -> Vec<u64> {
    let mut packets: Vec<_> = flows.iter().filter_map(|flow| flow["bidirectional_packets"].as_u64()).collect();
    packets.sort_unstable();
    packets
}

const INTERVALS: [&str; 4] = ["10ms", "500ms", "1s", "10s"];

#[test]
fn two_connections_on_the_same_ports_are_two_records_at_any_interval() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for apart_ms in [300, 3000] {
        let frames = [connection(0), connection(apart_ms * MS)].concat();
        for interval in INTERVALS {
            let flows = flows("reuse", &frames, &["--interval", interval])?;
            ensure!(packets(&flows) == [9, 9], "{apart_ms} ms apart, every {interval}: {flows:?}");
        }
    }
    Ok(())
}

#[test]
fn each_refused_attempt_on_the_same_ports_is_a_record_at_any_interval_and_phase() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for phase_ms in [200, 700] {
        let mut frames = vec![(0, udp([1, 2], b"z"))];
        for attempt in 0..3 {
            let begin = (phase_ms + attempt * 500) * MS;
            frames.push((begin + MS, tcp(true, [50_000, 81], SYN, 1, b"")));
            frames.push((begin + 2 * MS, tcp(false, [50_000, 81], RST | ACK, 0, b"")));
        }
        for interval in INTERVALS {
            let flows = flows("retry", &frames, &["--interval", interval])?;
            ensure!(packets(&flows) == [1, 2, 2, 2], "{phase_ms} ms, every {interval}: {flows:?}");
        }
    }
    Ok(())
}

#[test]
fn an_idle_timeout_shorter_than_the_interval_is_kept() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let frames: Vec<_> = (0..5).map(|n| (n * 3000 * MS, udp([5000, 53], &[b'x'; 20]))).collect();
    for interval in INTERVALS {
        let flows = flows("idle", &frames, &["--idle-timeout", "1s", "--interval", interval])?;
        ensure!(packets(&flows) == [1; 5], "every {interval}: {flows:?}");
        ensure!(flows[..4].iter().all(|flow| flow["end_reason"] == "idle_timeout"), "every {interval}: {flows:?}");
    }
    Ok(())
}

/// A folder of inputs, and the runs of `flowml` on them.
struct Inputs(tempfile::TempDir);

impl Inputs {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.0.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

/// Runs `flowml` with these arguments on a table. Returns whether it succeeded, its standard output and its standard
/// error.
fn flowml(path: &Path, arguments: &[&str]) -> Result<(bool, String, String)> {
    let (command, rest) = arguments.split_first().context("a command")?;
    let output = Command::new(binary()?).arg(command).arg(path).args(rest).stdin(Stdio::null()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("text");
    Ok((output.status.success(), text(output.stdout)?, text(output.stderr)?))
}

/// The figures of a decision tree in a cross-validation over a table, and standard error.
fn tree(path: &Path, label: &str) -> Result<(Value, String)> {
    let arguments = ["eval", "--label-column", label, "--classifier", "decision-tree", "-o", "json=-"];
    let (succeeded, figures, message) = flowml(path, &arguments)?;
    ensure!(succeeded, "{message}");
    let figures: Value = serde_json::from_str(&figures).context("figures in JSON")?;
    Ok((figures["classifiers"][0].clone(), message))
}

/// Rows of a table: a number that separates attacks, one that does not, and whether the row is an attack. Every tenth
/// row is.
fn measured() -> Vec<(f64, f64, bool)> {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    (0..600)
        .map(|row| (if row % 10 == 0 { 5000.0 } else { 500.0 } + 50.0 * random(), random(), row % 10 == 0))
        .collect()
}

/// The input with this name among those that users reported, if it is on this machine.
fn reported(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/faults")).join(name);
    if !path.is_file() {
        eprintln!("{} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn published_data_sets_are_read_as_they_are() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let inputs = Inputs::new()?;
    let label = |attack: bool| if attack { "Web Attack – XSS" } else { "BENIGN" };
    let header = " Bytes, Ratio, Label\n";
    let row = |(bytes, share, attack): &(f64, f64, bool)| format!("{bytes:.3},{share:.3},{}\n", label(*attack));
    let rows: Vec<String> = measured().iter().map(row).collect();
    let plain = header.to_owned() + &rows.concat();
    let windows_1252: Vec<u8> = plain.chars().map(|c| if c == '–' { 0x96 } else { c as u8 }).collect();
    let utf_16: Vec<u8> =
        "\u{feff}".chars().chain(plain.replace(',', "\t").chars()).flat_map(|c| (c as u16).to_le_bytes()).collect();
    let repeated = [header, &rows[..200].concat(), "Bytes,Ratio,Label\n", &rows[200..].concat(), header].concat();
    let excel = plain.replace(',', ";").replace('.', ",");
    let cases: [(&str, &[u8], &[&str]); 5] = [
        ("plain.csv", plain.as_bytes(), &[]),
        ("windows-1252.csv", &windows_1252, &["is not UTF-8", "windows-1252"]),
        ("utf-16.txt", &utf_16, &["delimiter '\\t'"]),
        ("repeated.csv", repeated.as_bytes(), &["2 rows repeat the header"]),
        ("excel.csv", excel.as_bytes(), &["delimiter ';', and numbers with decimal commas"]),
    ];
    for (name, bytes, notices) in cases {
        let (figures, message) = tree(&inputs.file(name, bytes)?, "Label")?;
        ensure!(figures["rows"] == 600 && figures["accuracy"] == 1.0, "{name}: {figures}");
        let classes: Vec<_> = figures["classes"].as_object().context("classes")?.keys().collect();
        ensure!(classes == ["BENIGN", "Web Attack – XSS"], "{name}: {classes:?}");
        ensure!(notices.iter().all(|notice| message.contains(notice)), "{name}: {notices:?} expected of {message}");
        ensure!(message.contains(&format!("{name}: ")) != notices.is_empty(), "{name}: {message}");
    }
    let shared = [
        ("cic2017_cp1252.csv", "Label", 2),
        ("cic2018_repeated_header.csv", "Label", 2),
        ("excel_semicolon.csv", "label", 2),
        ("pandas_index.csv", "label", 2),
    ];
    for (name, label, classes) in shared {
        let Some(path) = reported(name) else { continue };
        let (figures, message) = tree(&path, label)?;
        ensure!(figures["rows"] == 600, "{name}: {figures}");
        ensure!(figures["classes"].as_object().is_some_and(|own| own.len() == classes), "{name}: {figures}");
        ensure!(message.contains("flowml: "), "{name}: no notice in {message}");
    }
    Ok(())
}

#[test]
fn the_index_of_a_data_frame_is_not_trained_on() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let inputs = Inputs::new()?;
    // Sorted by label, so that the row number predicts the label, and no other column does.
    let rows: String = measured()
        .iter()
        .enumerate()
        .map(|(row, (_, share, _))| format!("{row},{share:.3},{}\n", if row < 300 { "a" } else { "b" }))
        .collect();
    for name in ["", "Unnamed: 0"] {
        let (figures, message) =
            tree(&inputs.file("index.csv", format!("{name},share,label\n{rows}").as_bytes())?, "label")?;
        let accuracy = figures["accuracy"].as_f64().context("a number")?;
        ensure!(accuracy < 0.7, "'{name}': {accuracy}");
        ensure!(message.contains(&format!("column '{name}' is not used: it has no name")), "'{name}': {message}");
        // With repeated rows, as samples and oversampled minorities have them.
        let twice: String = rows.lines().chain(rows.lines().step_by(3)).map(|line| format!("{line}\n")).collect();
        let path = inputs.file("twice.csv", format!("{name},share,label\n{twice}").as_bytes())?;
        let accuracy = tree(&path, "label")?.0["accuracy"].as_f64().context("a number")?;
        ensure!(accuracy < 0.8, "'{name}', drawn twice: {accuracy}");
    }
    let (figures, _) = tree(&inputs.file("named.csv", format!("time,share,label\n{rows}").as_bytes())?, "label")?;
    ensure!(figures["accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.99), "{figures}");
    if let Some(path) = reported("pandas_index_sorted.csv") {
        let accuracy = tree(&path, "label")?.0["accuracy"].as_f64().context("a number")?;
        ensure!((accuracy - 0.59).abs() <= 0.03, "{accuracy}");
    }
    Ok(())
}

#[test]
fn an_unknown_label_or_column_is_an_error_that_lists_the_existing_ones() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let inputs = Inputs::new()?;
    let path = inputs.file("a.csv", format!("x,Label\n{}", "1,BENIGN\n2,scan\n".repeat(20)).as_bytes())?;
    let model = inputs.0.path().join("m.json").display().to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["train", "--model", &model, "--label-column", "label"], "expected a column 'label', found 'Label', 'x'"),
        (&["train", "--model", &model, "--ignore", "y"], "expected a column 'y', found 'x', 'Label'"),
        (
            &["train", "--model", &model, "--label-column", "Label", "--benign", "benign"],
            "the labels are 'BENIGN', 'scan'",
        ),
        (&["eval", "--label-column", "Label", "--benign", "benign"], "the labels are 'BENIGN', 'scan'"),
    ];
    for (arguments, expected) in cases {
        let (succeeded, _, message) = flowml(&path, arguments)?;
        ensure!(!succeeded && message.contains(expected), "{arguments:?}: {message}");
    }
    Ok(())
}

/// A connection from port `client` to port 80. Its nine packets come every 100 ms from `begin` on, in ns.
fn paced_connection(client: u16, begin: u64) -> Vec<(u64, Vec<u8>)> {
    let packet = |from_client, flags, payload: &[u8]| tcp(from_client, [client, 80], flags, 1, payload);
    let packets = [
        packet(true, SYN, b""),
        packet(false, SYN | ACK, b""),
        packet(true, ACK, b""),
        packet(true, PSH | ACK, b"question"),
        packet(false, PSH | ACK, b"answer"),
        packet(true, ACK, b""),
        packet(true, FIN | ACK, b""),
        packet(false, FIN | ACK, b""),
        packet(true, ACK, b""),
    ];
    (0..).map(|n| begin + n * 100 * MS).zip(packets).collect()
}

/// Writes a pcapng of packets with the number of their interface, the time of their arrival and the time of their
/// clock. Both times are in ns since the start.
fn of_interfaces(packets: &mut [(u16, u64, u64, Vec<u8>)]) -> Vec<u8> {
    packets.sort_by_key(|(_, arrival, ..)| *arrival);
    let interface = Interface::of(1);
    let mut file = Pcapng::new(Order::Little, &[interface; 3]);
    for (number, _, time, bytes) in packets {
        let record = Record::whole(BEGIN_NS + *time, bytes.clone());
        file.packet(PacketBlock::Enhanced, *number, &interface, &record);
    }
    file.finish()
}

/// Runs `flowml read` on standard input. Returns the flows and standard error.
fn read_input(bytes: &[u8]) -> Result<(Vec<Value>, String)> {
    let mut command = Command::new(binary()?);
    command.args(["read", "-o", "jsonl=-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("running flowml read")?;
    let (mut input, bytes) = (child.stdin.take().context("standard input")?, bytes.to_vec());
    let writer = thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output()?;
    writer.join().ok().context("the writer")??;
    Ok((rows_in("flow", &output)?, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Two or three interfaces with a connection each. Their clocks differ by a minute in either direction, or by an hour.
#[test]
fn interfaces_may_have_different_clocks() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    const HOUR: i64 = 3600 * SECOND as i64;
    const MINUTE: i64 = 60 * SECOND as i64;
    for skews in
        [&[0, -MINUTE][..], &[0, MINUTE], &[0, -MINUTE, MINUTE], &[0, HOUR, -20 * SECOND as i64], &[0, 0, HOUR]]
    {
        let mut packets = Vec::new();
        for (number, skew) in (0u16..).zip(skews) {
            let begin = 7200 * SECOND + u64::from(number) * 30 * MS;
            let connection = paced_connection(40_000 + number, begin).into_iter();
            packets.extend(connection.map(|(at, bytes)| (number, at, at.saturating_add_signed(*skew), bytes)));
        }
        let (flows, message) = read_input(&of_interfaces(&mut packets))?;
        ensure!(
            flows.len() == skews.len(),
            "{} flows instead of {}, with interfaces whose clocks differ by {skews:?} ns",
            flows.len(),
            skews.len()
        );
        for (number, skew) in (0u16..).zip(skews) {
            let port = 40_000 + number;
            let flow = flows.iter().find(|flow| flow["src_port"] == port).context("a flow of each")?;
            ensure!(flow["bidirectional_packets"] == 9 && flow["bidirectional_duration_ms"] == 800.0, "{flow}");
            let begin = (BEGIN_NS + 7200 * SECOND + u64::from(number) * 30 * MS).saturating_add_signed(*skew);
            ensure!(flow["bidirectional_first_seen_ms"] == begin / MS, "{flow}");
            let expected = format!("the times of interface {} are about", number + 1);
            ensure!(message.contains(&expected) == (*skew != 0), "clocks of {skews:?}: {message}");
        }
    }
    Ok(())
}

/// An interface whose first packet comes after a long silence uses the clock of the others.
#[test]
fn an_interface_may_be_silent_for_a_long_time() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let mut packets: Vec<_> = paced_connection(40_000, 0).into_iter().map(|(at, bytes)| (0, at, at, bytes)).collect();
    for (number, port, begin) in [(1, 40_001, 600), (0, 40_002, 601), (2, 40_003, 1200), (2, 40_004, 1300)] {
        let connection = paced_connection(port, begin * SECOND).into_iter();
        packets.extend(connection.map(|(at, bytes)| (number, at, at, bytes)));
    }
    let (flows, message) = read_input(&of_interfaces(&mut packets))?;
    ensure!(flows.len() == 5 && flows.iter().all(|flow| flow["bidirectional_packets"] == 9), "{flows:?}");
    ensure!(!message.contains("clock") && !message.contains("the times of"), "{message}");
    Ok(())
}

/// Two interfaces whose clocks differ by a minute, in three files. The second and the third file start with the clock
/// that is behind.
#[test]
fn rotated_files_with_several_clocks_are_one_capture() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let mut packets = Vec::new();
    for (number, skew) in [(0, 100), (1, 40)] {
        let connection = paced_connection(40_000 + number, 0).into_iter();
        packets.extend(connection.map(|(at, bytes)| (number, at + u64::from(1 - number), at + skew * SECOND, bytes)));
    }
    packets.sort_by_key(|(_, arrival, ..)| *arrival);
    let folder = std::env::temp_dir().join(format!("flowml-rotated-clocks-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for (n, part) in packets.chunks_mut(6).enumerate() {
        let path = folder.join(format!("{n}.pcapng"));
        ensure!(part[0].0 == 1, "each file begins with the clock that is behind");
        fs::write(&path, of_interfaces(part))?;
        files.push(path);
    }
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut command = Command::new(binary()?);
        command.args(["read", "-o", "jsonl=-"]).args(order.map(|n| &files[n])).stdin(Stdio::null());
        let flows = rows_in("flow", &command.output()?)?;
        let whole = flows.iter().all(|flow| flow["bidirectional_packets"] == 9);
        ensure!(flows.len() == 2 && whole, "{order:?}: {flows:?}");
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A late packet counts at the latest time before it. A clock that is set back ends open flows.
#[test]
fn times_that_go_back_by_more_than_a_second_are_reported_once() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let ack = |at: u64| (at, tcp(true, [40_000, 80], ACK, 1, b""));
    let capture = |times: &[u64]| {
        let records = times.iter().map(|at| Record::whole(BEGIN_NS + 100 * SECOND + at * SECOND, ack(0).1));
        Pcap::of(1).write(&records.collect::<Vec<_>>())
    };
    let (flows, message) = read_input(&capture(&[20, 24, 18, 22, 26]))?;
    ensure!(flows.len() == 1 && flows[0]["bidirectional_duration_ms"] == 6000.0, "{flows:?}");
    ensure!(message.matches("2 packets came more than a second late, by 6.0 s at most").count() == 1, "{message}");
    let (flows, message) = read_input(&capture(&[20, 21, 0, 1]))?;
    ensure!(flows.len() == 2 && flows.iter().all(|flow| flow["bidirectional_duration_ms"] == 1000.0), "{flows:?}");
    ensure!(
        message.matches("time goes back 1 time by more than the idle timeout, by 21.0 s").count() == 1,
        "{message}"
    );
    Ok(())
}

/// The files that `tcpdump -C` writes of one flow, in the order of a shell pattern and in others.
#[test]
fn rotated_files_are_one_capture_in_any_order() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = std::env::temp_dir().join(format!("flowml-rotated-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let name = |n: usize| folder.join(if n == 0 { "rot.pcap".to_owned() } else { format!("rot.pcap{n}") });
    let ack = |n: u64| tcp(true, [40_000, 80], ACK, n as u32, b"");
    for n in 0..12 {
        let records = (0..20).map(|i| Record::whole(BEGIN_NS + (n * 10 * 1000 + i * 500) * MS, ack(n)));
        fs::write(name(n as usize), Pcap::of(1).write(&records.collect::<Vec<_>>()))?;
    }
    let nothing = folder.join("nothing.pcap");
    fs::write(&nothing, Pcap::of(1).header())?;
    for order in [vec![0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9], (0..12).rev().collect()] {
        let mut command = Command::new(binary()?);
        command.args(["read", "-o", "jsonl=-", "--active-timeout", "1h"]).args(order.iter().map(|n| name(*n)));
        let output = command.arg(&nothing).stdin(Stdio::null()).output()?;
        let flows = rows_in("flow", &output)?;
        ensure!(flows.len() == 1 && flows[0]["bidirectional_packets"] == 240, "{order:?}: {flows:?}");
    }
    // A file that cannot be read is reported under its name. The others are still one capture.
    let missing = folder.join("missing.pcap");
    let mut command = Command::new(binary()?);
    command.args(["read", "-o", "jsonl=-"]).args([name(1), missing, name(0)]).stdin(Stdio::null());
    let output = command.output()?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && message.contains("missing.pcap: cannot open it"), "{message}");
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(rows.contains("\"bidirectional_packets\":40"), "{rows}");
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Timers run while nothing is written to a pipe, and packets after that are not late.
#[test]
fn flows_end_while_a_pipe_is_silent() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let ack = |port: u16| tcp(true, [port, 80], ACK, 1, b"");
    let record = |seconds: u64, port| Record::whole(BEGIN_NS + seconds * SECOND, ack(port));
    let mut command = Command::new(binary()?);
    command.args(["read", "-o", "jsonl=-", "--idle-timeout", "1s", "--interval", "100ms", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut input, output) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
    let (rows, read) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let row: Value = serde_json::from_str(&line).unwrap_or_default();
            if rows.send(row).is_err() {
                break;
            }
        }
    });
    let wait_for = |port: u16| loop {
        let row = read.recv_timeout(Duration::from_secs(120)).context("no record while the pipe is silent")?;
        if row["type"] == "flow" && row["src_port"] == port {
            return Ok::<_, anyhow::Error>(row);
        }
    };
    input.write_all(&Pcap::of(1).write(&[record(0, 1001), record(0, 1002)]))?;
    input.flush()?;
    for port in [1001, 1002] {
        let row = wait_for(port)?;
        ensure!(row["bidirectional_packets"] == 1, "{row}");
    }
    // Captured before the silence, but written after it: the packet is late, and no clock was set.
    let mut late = Vec::new();
    Pcap::of(1).append(&mut late, &record(0, 1003));
    input.write_all(&late)?;
    wait_for(1003)?;
    drop(input);
    let ended = child.wait_with_output()?;
    ensure!(reader.join().is_ok());
    let summary = read.try_iter().find(|row| row["type"] == "summary").context("a summary")?;
    ensure!(summary["conserved"] == true && summary["packets_received"] == 3, "{summary}");
    let message = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success() && !message.contains("goes back"), "{message}");
    Ok(())
}
