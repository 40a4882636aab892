//! IPFIX as collectors read it: nfdump, Wireshark, pmacct and libfixbuf get the values of flowml's rows.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, binary};
use flowml_tests::folder::Folder;
use flowml_tests::lab::{Host, IpVersion, Lab, LinkOptions, require_lab_with, wait_until};
use flowml_tests::process::Process;
use flowml_tests::traffic::peers::{Exchange, UdpService, udp_exchange};
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for a collector to start, or to read what it was sent, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Port of the collectors. Each laboratory has its own ports.
const PORT: &str = "4739";

/// A capture with downloads, pings and refused connections, over IPv4 and IPv6 (tests/corpus/README.md).
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ethernet.pcap")
}

/// A laboratory with one host, and a folder. The test is skipped if one of these programs is missing.
fn prepare(name: &str, programs: &[&str]) -> Result<Option<(Lab, Host, Folder)>> {
    let Some(lab) = require_lab_with(programs) else { return Ok(None) };
    let host = lab.host("collector")?;
    Ok(Some((lab, host, Folder::new(name)?)))
}

/// The common form of a flow: addresses, ports (0 for ICMP), and packets and IP bytes of both directions.
type Flow = (String, String, u16, u16, [u64; 4]);

/// flowml's rows of an exported capture.
struct Exported {
    code: Option<i32>,
    stderr: String,
    rows: Vec<Value>,
}

impl Exported {
    /// Reads a capture in a host, and exports its flows to `target`.
    fn read(host: &Host, target: &str, arguments: &[&str]) -> Result<Self> {
        let (program, capture, target) = (binary()?, corpus(), format!("ipfix={target}"));
        let fixed = [program.as_os_str(), "read".as_ref(), capture.as_os_str()];
        let outputs = ["-q", "-o", "jsonl=-", "-o", &target];
        let arguments = outputs.iter().chain(arguments).map(AsRef::as_ref);
        let output = host.run(fixed.into_iter().chain(arguments))?;
        let rows = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(Self {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            rows: rows.map(serde_json::from_slice).collect::<Result<_, _>>().context("rows of JSON")?,
        })
    }

    /// The summary. All records must have been sent.
    fn sent(&self) -> Result<&Value> {
        ensure!((self.code, self.stderr.as_str()) == (Some(0), ""), "{:?}: {}", self.code, self.stderr);
        let summary = self.rows.last().context("a summary")?;
        let collector = &summary["collectors"][0];
        ensure!(
            (&collector["records_sent"], &collector["records_lost"]) == (&summary["flows"], &0.into()),
            "{summary}"
        );
        Ok(summary)
    }

    fn flows(&self) -> impl Iterator<Item = &Value> {
        self.rows.iter().filter(|row| row["type"] == "flow")
    }

    /// The sum of a column over all flows.
    fn sum(&self, column: &str) -> u64 {
        self.flows().filter_map(|flow| flow[column].as_u64()).sum()
    }

    fn sorted(&self) -> Vec<Flow> {
        let flow = |row: &Value| {
            let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
            let port = |column: &str| row[column].as_u64().unwrap_or_default() as u16;
            let counts = ["src2dst_packets", "src2dst_bytes", "dst2src_packets", "dst2src_bytes"];
            let counts = counts.map(|column| row[column].as_u64().unwrap_or_default());
            (text("src_ip"), text("dst_ip"), port("src_port"), port("dst_port"), counts)
        };
        let mut flows: Vec<_> = self.flows().map(flow).collect();
        flows.sort();
        flows
    }
}

/// nfcapd, which writes the collected flows to a folder.
struct Nfcapd {
    process: Process,
    host: Host,
    folder: String,
    /// The /proc file that lists its socket.
    sockets: &'static str,
}

impl Nfcapd {
    fn start(host: &Host, folder: &Folder, address: &str) -> Result<Self> {
        let (version, sockets) = if address.contains(':') { ("-6", "udp6") } else { ("-4", "udp") };
        let flows = folder.argument("nfcapd");
        fs::create_dir_all(&flows).with_context(|| format!("making {flows}"))?;
        let process = host.spawn(["nfcapd", version, "-b", address, "-p", PORT, "-w", &flows, "-t", "3600"])?;
        wait_for_words(&process, "Startup")?;
        Ok(Self { process, host: host.clone(), folder: flows, sockets })
    }

    /// The flows that nfdump reads, after everything that arrived was read. No message may be missing.
    fn finish(self) -> Result<Vec<Flow>> {
        let empty = || self.host.enter(|| nothing_waits(self.sockets))?;
        wait_until(LIMIT, empty).context("nfcapd reads what it was sent")?;
        self.process.signal(Signal::TERM)?;
        let output = self.process.wait(LIMIT)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(stderr.contains("Sequence Errors: 0, Bad Packets: 0"), "{stderr}");
        let text = self.host.run_ok(["nfdump", "-R", &self.folder, "-o", "json"])?;
        let rows: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("nfdump printed: {text}"))?;
        let flow = |row: &Value| {
            let address =
                |names: [&str; 2]| names.iter().find_map(|name| row[name].as_str()).unwrap_or_default().to_owned();
            let number = |name: &str| row[name].as_u64().unwrap_or_default();
            let counts = ["in_packets", "in_bytes", "out_packets", "out_bytes"].map(number);
            let ports = ["src_port", "dst_port"].map(|name| number(name) as u16);
            (address(["src4_addr", "src6_addr"]), address(["dst4_addr", "dst6_addr"]), ports[0], ports[1], counts)
        };
        let mut flows: Vec<Flow> = rows.iter().map(flow).collect();
        flows.sort();
        Ok(flows)
    }
}

/// Whether no socket has unread bytes (proc_net_udp(5): `tx_queue:rx_queue`, hexadecimal).
fn nothing_waits(sockets: &str) -> Result<bool> {
    let table = fs::read_to_string(format!("/proc/thread-self/net/{sockets}")).context("the table of sockets")?;
    let mut queues = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4));
    Ok(queues.all(|queues| queues.ends_with(":00000000")))
}

fn wait_for_words(process: &Process, words: &str) -> Result<()> {
    let message = process.stderr().wait_for(LIMIT, |text| String::from_utf8_lossy(text).contains(words).then_some(()));
    message.with_context(|| format!("no {words:?}: {}", process.stderr().text()))
}

/// A capture of the loopback interface by tcpdump.
struct Wire {
    process: Process,
    path: String,
    dissector: String,
}

impl Wire {
    fn tap(host: &Host, folder: &Folder, transport: &str) -> Result<Self> {
        let path = folder.argument("wire.pcap");
        let arguments =
            ["tcpdump", "-i", "lo", "-U", "--immediate-mode", "-Z", "root", "-w", &path, transport, "port", PORT];
        let process = host.spawn(arguments)?;
        wait_for_words(&process, "listening on")?;
        Ok(Self { process, path, dissector: format!("{transport}.port=={PORT},cflow") })
    }

    fn fields(&self, host: &Host, arguments: &[&str]) -> Result<String> {
        host.run_ok([&["tshark", "-n", "-r", &self.path, "-d", &self.dissector, "-T", "fields"], arguments].concat())
    }

    /// Packets, IP bytes and frame bytes of both directions that Wireshark reads. There must be `flows` flows, none of
    /// them malformed.
    fn finish(self, host: &Host, flows: u64) -> Result<[u64; 3]> {
        let sum =
            |text: &str| text.split(['\n', ',', '\t']).filter_map(|number| number.parse::<u64>().ok()).sum::<u64>();
        // tcpdump may be a little late. Each record has one end reason.
        let reasons = || -> Result<u64> {
            let text = self.fields(host, &["-e", "cflow.flow_end_reason"])?;
            Ok(text.split(['\n', ',']).filter(|reason| !reason.is_empty()).count() as u64)
        };
        wait_until(LIMIT, || Ok(reasons()? == flows)).with_context(|| format!("Wireshark reads {flows} records"))?;
        let wrong = self.fields(
            host,
            &["-Y", "_ws.malformed || (cflow && _ws.expert)", "-e", "frame.number", "-e", "_ws.expert.message"],
        )?;
        ensure!(wrong.is_empty(), "Wireshark printed:\n{wrong}");
        let columns = ["cflow.packets", "cflow.octets", "cflow.layer2_octet_delta_count"];
        let mut totals = [0; 3];
        for (total, column) in totals.iter_mut().zip(columns) {
            *total = sum(&self.fields(host, &["-e", column])?);
        }
        self.process.signal(Signal::TERM)?;
        Ok(totals)
    }
}

/// Checks that nfdump and Wireshark agree with the rows.
fn assert_agreed(rows: &Exported, nfdump: &[Flow], wireshark: [u64; 3]) -> Result<()> {
    let summary = rows.sent()?;
    ensure!(rows.flows().count() > 10 && rows.sum("dst2src_packets") > 0, "the capture has too little: {summary}");
    assert_eq!(nfdump, rows.sorted());
    let total = |at: usize| nfdump.iter().map(|(.., counts)| counts[at] + counts[at + 2]).sum::<u64>();
    assert_eq!([total(0), total(1)], [rows.sum("bidirectional_packets"), rows.sum("bidirectional_bytes")]);
    let account = [&summary["packets_in_flows"], &rows.sum("bidirectional_bytes").into(), &summary["bytes_in_flows"]]
        .map(|number| number.as_u64().unwrap_or_default());
    assert_eq!(wireshark, account, "packets, IP bytes and frame bytes");
    Ok(())
}

#[test]
fn nfdump_and_wireshark_agree_with_our_rows_over_udp() -> Result<()> {
    for (address, target) in [("127.0.0.1", format!("127.0.0.1:{PORT}")), ("::1", format!("udp://[::1]:{PORT}"))] {
        let Some((_lab, host, folder)) = prepare("udp", &["nfcapd", "nfdump", "tcpdump", "tshark"])? else {
            return Ok(());
        };
        let (collector, wire) = (Nfcapd::start(&host, &folder, address)?, Wire::tap(&host, &folder, "udp")?);
        let rows = Exported::read(&host, &target, &[])?;
        let wireshark = wire.finish(&host, rows.flows().count() as u64)?;
        assert_agreed(&rows, &collector.finish()?, wireshark).with_context(|| target)?;
    }
    Ok(())
}

/// Accepts one connection, and reads it to its end.
fn receive(host: &Host) -> Result<std::thread::JoinHandle<Result<Vec<u8>>>> {
    let listener = host.enter(|| TcpListener::bind(format!("127.0.0.1:{PORT}")))??;
    Ok(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().context("a connection")?.0.read_to_end(&mut bytes).context("the connection's end")?;
        Ok(bytes)
    }))
}

/// Sends each message of a stream as a datagram.
fn relay(host: &Host, mut stream: &[u8]) -> Result<()> {
    let socket = host.enter(|| UdpSocket::bind("127.0.0.1:0"))??;
    while !stream.is_empty() {
        // The length follows the version (RFC 7011 §3.1).
        let length = u16::from_be_bytes([stream[2], stream[3]]);
        let (message, rest) = stream.split_at_checked(length.into()).context("a whole message")?;
        socket.send_to(message, format!("127.0.0.1:{PORT}")).context("sending a message on")?;
        stream = rest;
    }
    Ok(())
}

/// Records, packets and IP bytes of both directions that libfixbuf reads in a stream, which is a file of RFC 5655.
fn libfixbuf(host: &Host, path: &str) -> Result<[u64; 3]> {
    let text = host.run_ok(["ipfixDump", "-i", path, "-d"])?;
    let values = |element: &str| {
        let values = text.lines().filter_map(|line| line.rsplit_once(" : "));
        let values = values.filter(|(name, _)| name.trim_end().ends_with(element));
        values.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let sum = |element: &str| {
        values(&format!(")reverse{element}")).iter().chain(&values(&format!(" reverse{element}"))).sum::<u64>()
    };
    let forward = |element: &str| values(&format!(" {element}"));
    Ok([
        forward("flowEndReason").len() as u64,
        forward("packetDeltaCount").iter().sum::<u64>() + sum("PacketDeltaCount"),
        forward("octetDeltaCount").iter().sum::<u64>() + sum("OctetDeltaCount"),
    ])
}

/// Neither nfcapd nor nfacctd listens on TCP in Debian 12. The test sends the received messages to nfcapd one by one.
#[test]
fn nfdump_wireshark_and_libfixbuf_agree_with_our_rows_over_tcp() -> Result<()> {
    let programs = ["nfcapd", "nfdump", "tcpdump", "tshark", "ipfixDump"];
    let Some((_lab, host, folder)) = prepare("tcp", &programs)? else { return Ok(()) };
    let (collector, wire) = (Nfcapd::start(&host, &folder, "127.0.0.1")?, Wire::tap(&host, &folder, "tcp")?);
    let received = receive(&host)?;
    let rows = Exported::read(&host, &format!("tcp://127.0.0.1:{PORT}"), &["--learn"])?;
    let stream = received.join().ok().context("the listener")??;
    relay(&host, &stream)?;
    let path = folder.argument("stream.ipfix");
    fs::write(&path, &stream).with_context(|| format!("writing {path}"))?;
    let flows = rows.flows().count() as u64;
    let totals = [flows, rows.sum("bidirectional_packets"), rows.sum("bidirectional_bytes")];
    assert_eq!(libfixbuf(&host, &path)?, totals);
    let wireshark = wire.finish(&host, flows)?;
    assert_agreed(&rows, &collector.finish()?, wireshark)
}

/// pmacct does not read RFC 5103's elements, so it sees only the initiators' directions.
#[test]
fn pmacct_agrees_with_our_rows() -> Result<()> {
    let Some((_lab, host, folder)) = prepare("pmacct", &["nfacctd"])? else { return Ok(()) };
    let (primitives, configuration, output) =
        (folder.argument("primitives"), folder.argument("configuration"), folder.argument("flows"));
    // Payload bytes, and the field that distinguishes fragments from the packets that they are parts of.
    let own = "name=payload field_type=32473:1 len=8 semantics=u_int\n\
               name=properties field_type=32473:12 len=2 semantics=u_int\n";
    fs::write(&primitives, own)?;
    let keys = "src_host,dst_host,src_port,dst_port,proto,tcpflags,timestamp_start,timestamp_end,payload,properties";
    let text = format!(
        "daemonize: false\nnfacctd_ip: 127.0.0.1\nnfacctd_port: {PORT}\nnfacctd_time_new: true\n\
         aggregate_primitives: {primitives}\nplugins: print[x]\naggregate[x]: {keys}\nprint_output[x]: json\n\
         print_output_file[x]: {output}\nprint_output_file_append[x]: true\nprint_refresh_time[x]: 1\n"
    );
    fs::write(&configuration, text)?;
    let collector = host.spawn(["nfacctd", "-f", &configuration])?;
    // pmacct has two processes. Messages that arrive before the writing process is ready are lost.
    wait_for_words(&collector, "waiting for")?;
    wait_for_words(&collector, "setting object handlers")?;
    let rows = Exported::read(&host, &format!("127.0.0.1:{PORT}"), &[])?;
    rows.sent()?;
    let found = || -> Result<Vec<Value>> {
        let text = fs::read_to_string(&output).unwrap_or_default();
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>().unwrap_or_default())
    };
    wait_until(LIMIT, || Ok(found()?.len() == rows.flows().count()))
        .with_context(|| format!("nfacctd writes each flow; its messages:\n{}", collector.stderr().text()))?;
    let found = found()?;
    let number = |row: &Value, name: &str| {
        let value = &row[name];
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).with_context(|| format!("{name} in {row}"))
    };
    let sum = |name: &str| found.iter().map(|row| number(row, name)).sum::<Result<u64>>();
    assert_eq!(sum("packets")?, rows.sum("src2dst_packets"));
    assert_eq!(sum("bytes")?, rows.sum("src2dst_bytes"));
    assert_eq!(sum("payload")?, rows.sum("src2dst_payload_bytes"));
    let syns = found.iter().map(|row| number(row, "tcp_flags")).collect::<Result<Vec<_>>>()?;
    let with_syn = rows.flows().filter(|flow| flow["src2dst_syn_packets"].as_u64() > Some(0)).count();
    assert_eq!(syns.iter().filter(|flags| **flags & 2 != 0).count(), with_syn);
    Ok(())
}

#[test]
fn records_for_an_unreachable_collector_are_counted_as_lost() -> Result<()> {
    let Some((_lab, host, _folder)) = prepare("away", &[])? else { return Ok(()) };
    for transport in ["udp", "tcp"] {
        let target = format!("{transport}://127.0.0.1:{PORT}");
        let rows = Exported::read(&host, &target, &[])?;
        let summary = rows.rows.last().context("a summary")?;
        let collector = serde_json::json!([{
            "destination": target, "records_sent": 0, "records_lost": summary["flows"],
        }]);
        ensure!(summary["collectors"] == collector, "{summary}");
        ensure!(
            rows.code == Some(1) && rows.stderr.contains("takes no records: Connection refused"),
            "{}",
            rows.stderr
        );
        let lost = format!("{} rows are missing from {target}", summary["flows"]);
        ensure!(rows.stderr.contains(&lost), "{}", rows.stderr);
    }
    Ok(())
}

/// A live run, over UDP to nfcapd and over TCP to a collector that starts late.
#[test]
fn a_live_run_exports_all_flows_and_waits_for_a_collector() -> Result<()> {
    let Some((lab, server, folder)) = prepare("live", &["nfcapd", "nfdump", "ipfixDump"])? else { return Ok(()) };
    let [here, there] = lab.link([&lab.host("client")?, &server], &LinkOptions::quiet())?;
    let nfcapd = Nfcapd::start(&server, &folder, "127.0.0.1")?;
    let outputs = [format!("ipfix=127.0.0.1:{PORT}"), format!("ipfix=tcp://127.0.0.1:{PORT}")];
    let arguments =
        ["--direction", "both", "--interval", "100ms", "--idle-timeout", "300ms", "-o", &outputs[0], "-o", &outputs[1]];
    let agent = Agent::meter(&there, &arguments)?;
    let service = UdpService::start(&there, IpVersion::V4, 53)?;
    let talk = || -> Result<()> {
        let client = udp_exchange(&here.host, service.address(), Exchange { request: 100, response: 1200 })?;
        agent.wait_for(LIMIT, |row| row["type"] == "flow" && row["src_port"] == client.port())?;
        Ok(())
    };
    talk()?;
    wait_until(LIMIT, || Ok(agent.stderr().contains("takes no records: Connection refused")))?;
    let received = receive(&server)?;
    wait_until(LIMIT, || Ok(agent.stderr().contains("takes records again; 0 records were lost so far")))?;
    talk()?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{}", report.stderr);
    let summary = report.summary()?;
    for collector in summary["collectors"].as_array().context("collectors")? {
        ensure!(collector["records_sent"] == summary["flows"] && collector["records_lost"] == 0, "{summary}");
    }
    let rows = Exported { code: report.code, stderr: String::new(), rows: report.records.clone() };
    ensure!(rows.flows().count() == 2, "{summary}");
    assert_eq!(nfcapd.finish()?, rows.sorted());
    let path = folder.argument("stream.ipfix");
    fs::write(&path, received.join().ok().context("the listener")??)?;
    let totals = [2, rows.sum("bidirectional_packets"), rows.sum("bidirectional_bytes")];
    assert_eq!(libfixbuf(&server, &path)?, totals);
    Ok(())
}
