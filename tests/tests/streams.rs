//! Kafka, NATS and an OpenTelemetry collector get every row, also after they were away, or the gap is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, binary};
use flowml_tests::certificate::certificate;
use flowml_tests::lab::{Host, Interface, Lab, LinkOptions, require_lab_with, wait_until};
use flowml_tests::peers::{Peers, require_peers};
use flowml_tests::process::Process;
use flowml_tests::traffic::attack::{Scene, port_scan};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Longest time for a step on a busy machine. It includes the longest pause between two attempts of an output, 30 s.
const LIMIT: Duration = Duration::from_secs(120);

/// The topic, and the outputs. Each laboratory has its own ports.
const TOPIC: &str = "flowml.rows";
const KAFKA: &str = "kafka=127.0.0.1:9092/flowml.rows";
const NATS: &str = "nats=127.0.0.1:4222/flowml.rows";
const OTLP: &str = "otlp=127.0.0.1:4318";

/// The identifier of the agent.
const AGENT: &str = "probe-1";

/// A capture with downloads, pings and refused connections, over IPv4 and IPv6 (tests/corpus/README.md).
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ethernet.pcap")
}

/// An attacker and a victim, on whose host the agent and the brokers run.
struct Site {
    _lab: Lab,
    attacker: Interface,
    victim: Interface,
    folder: TempDir,
    peers: Peers,
}

impl Site {
    /// Makes the laboratory. The test is skipped if one of these programs is missing.
    fn build(programs: &[&str]) -> Result<Option<Self>> {
        let (Some(lab), Some(peers)) = (require_lab_with(programs), require_peers()) else { return Ok(None) };
        let [attacker, victim] = lab.link([&lab.host("attacker")?, &lab.host("victim")?], &LinkOptions::quiet())?;
        Ok(Some(Self { _lab: lab, attacker, victim, folder: tempfile::tempdir()?, peers }))
    }

    fn host(&self) -> &Host {
        &self.victim.host
    }

    /// Makes a file in the folder of the test.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn certificate(&self, name: &str) -> Result<String> {
        Ok(certificate(self.host(), self.folder.path(), name)?.display().to_string())
    }

    /// The command line of a script of the peers.
    fn script(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let command = self.peers.command_line(name).map(|path| path.display().to_string());
        command.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }

    /// Starts a script of the peers, and waits until it reports this.
    fn start(&self, name: &str, arguments: &[&str], ready: &str) -> Result<Peer> {
        let peer = Peer(self.host().spawn(self.script(name, arguments))?);
        peer.wait_for(ready, 1)?;
        Ok(peer)
    }

    /// Reads the capture with these outputs.
    fn read(&self, environment: &[&str], outputs: &[&str]) -> Result<Output> {
        let (program, capture) = (binary()?.display().to_string(), corpus().display().to_string());
        let fixed =
            [program.as_str(), "read", &capture, "--agent-id", AGENT, "--model", "builtin", "--fleet-statistics", "-q"];
        let outputs = outputs.iter().flat_map(|output| ["-o", *output]);
        self.host().run(["env"].into_iter().chain(environment.iter().copied()).chain(fixed).chain(outputs))
    }

    /// Starts a live run with this output.
    fn meter(&self, output: &str, more: &[&str]) -> Result<Agent> {
        let fixed = ["--interval", "100ms", "-qq", "--agent-id", AGENT, "-o", output];
        Agent::meter(&self.victim, &[&fixed[..], more].concat())
    }

    /// Scans the victim. Its flows and host windows are rows.
    fn scan(&self, ports: u16) -> Result<()> {
        port_scan(Scene { attacker: &self.attacker, victim: &self.victim, seed: 7 }, ports, 1000).map(drop)
    }

    /// Checks rows by the published schema.
    fn assert_valid(&self, rows: &[&Value]) -> Result<()> {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rows.schema.json");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let counts: BTreeMap<String, usize> =
            serde_json::from_str(&self.peers.run("rows_schema.py", &[&schema], &lines)?)?;
        assert_eq!(counts.values().sum::<usize>(), rows.len());
        Ok(())
    }
}

/// A broker or a collector, which prints what it gets.
struct Peer(Process);

impl Peer {
    /// Waits until it has reported this so many times.
    fn wait_for(&self, words: &str, times: usize) -> Result<()> {
        let reported = || Ok(self.0.stderr().text().matches(words).count() >= times);
        wait_until(LIMIT, reported).with_context(|| format!("{words:?} in: {}", self.0.stderr().text()))
    }

    /// The rows that it has got.
    fn rows(&self) -> Result<Vec<Value>> {
        let text = self.0.stdout().text();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits until it has got a row for which this is true.
    fn wait_for_row(&self, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        wait_until(LIMIT, || Ok(self.rows()?.iter().any(&wanted))).context("such a row")
    }

    /// The rows of the topic, once the summary is among them, with their keys.
    fn kafka_rows(&self) -> Result<Vec<Value>> {
        self.wait_for_row(|message| message["value"]["type"] == "summary")?;
        let messages = self.rows()?;
        let partitions: BTreeSet<_> = messages.iter().map(|message| message["partition"].as_u64()).collect();
        ensure!(partitions.len() == 1, "one agent has one partition: {partitions:?}");
        ensure!(messages.iter().all(|message| message["key"] == AGENT), "the key is the agent");
        Ok(messages.into_iter().map(|mut message| message["value"].take()).collect())
    }
}

/// Starts a broker of Kafka.
fn kafka(site: &Site, arguments: &[&str], ready: &str) -> Result<Peer> {
    site.start("kafka_broker.py", &[&["9092", TOPIC][..], arguments].concat(), ready)
}

/// The rows on standard output, of a run that may have failed.
fn printed(output: &Output) -> Result<Vec<Value>> {
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows by agent, generation and sequence number: each once. They are without these members then.
struct Delivered {
    rows: BTreeMap<u64, Value>,
    doubled: usize,
}

impl Delivered {
    fn of(rows: Vec<Value>) -> Result<Self> {
        let (mut found, mut generations, mut doubled) = (BTreeMap::new(), BTreeSet::new(), 0);
        for mut row in rows {
            let members = row.as_object_mut().context("an object")?;
            let [agent, generation, sequence] = ["agent", "generation", "sequence"].map(|name| members.remove(name));
            ensure!(agent.as_ref().is_some_and(|agent| agent == AGENT), "{agent:?}");
            generations.insert(generation.and_then(|number| number.as_u64()).context("a generation")?);
            let sequence = sequence.and_then(|number| number.as_u64()).context("a sequence number")?;
            if let Some(earlier) = found.insert(sequence, row.clone()) {
                ensure!(earlier == row, "row {sequence} differs: {earlier} {row}");
                doubled += 1;
            }
        }
        ensure!(generations.len() == 1, "a run is one generation: {generations:?}");
        Ok(Self { rows: found, doubled })
    }

    /// The number of rows that are missing before the last one.
    fn missing(&self) -> u64 {
        self.rows.keys().last().map_or(0, |last| last + 1 - self.rows.len() as u64)
    }

    /// Checks that these are all rows of a run.
    fn assert_are(&self, rows: &[Value]) -> Result<()> {
        ensure!(self.missing() == 0, "{} rows are missing", self.missing());
        let found: Vec<&Value> = self.rows.values().collect();
        ensure!(found.len() == rows.len(), "{} rows instead of {}", found.len(), rows.len());
        for (found, row) in found.into_iter().zip(rows) {
            ensure!(found == row, "{found} instead of {row}");
        }
        Ok(())
    }
}

/// Waits until the agent has reported this so many times.
fn wait_for_words(agent: &Agent, words: &str, times: usize) -> Result<()> {
    wait_until(LIMIT, || Ok(agent.stderr().matches(words).count() >= times))
        .with_context(|| format!("{words:?} in: {}", agent.stderr()))
}

/// The counts of the output in the summary: records sent, and lost.
fn counts(summary: &Value) -> Result<(u64, u64)> {
    let collector = &summary["collectors"][0];
    let count = |name: &str| collector[name].as_u64().with_context(|| format!("{name} in {summary}"));
    Ok((count("records_sent")?, count("records_lost")?))
}

/// Checks that reading the capture with this output fails with these words.
fn assert_refused(site: &Site, environment: &[&str], target: &str, words: &str) -> Result<()> {
    let output = site.read(environment, &[target])?;
    let message = messages(&output);
    ensure!(output.status.code() == Some(1) && message.contains(words), "{target}: {:?} {message}", output.status);
    ensure!(!message.contains("secret"), "{message}");
    Ok(())
}

#[test]
fn kafka_gets_every_row_of_a_capture() -> Result<()> {
    let Some(site) = Site::build(&["kcat"])? else { return Ok(()) };
    let broker = kafka(&site, &[], "listening")?;
    let output = site.read(&[], &["jsonl=-", KAFKA])?;
    ensure!((output.status.code(), messages(&output).as_str()) == (Some(0), ""), "{}", messages(&output));
    let rows = printed(&output)?;
    let delivered = broker.kafka_rows()?;
    let all: Vec<&Value> = delivered.iter().collect();
    site.assert_valid(&all)?;
    let (sent, lost) = counts(rows.last().context("a summary")?)?;
    assert_eq!((sent, lost), (rows.len() as u64 - 1, 0), "the summary counts the rows before it");
    // Another reader of the topic.
    let arguments = ["-b", "127.0.0.1:9092", "-t", TOPIC, "-C", "-e", "-q"];
    let read = site.host().run_ok(["kcat"].iter().chain(&arguments))?;
    assert_eq!(read.lines().count(), rows.len());
    let delivered = Delivered::of(delivered)?;
    assert_eq!(delivered.doubled, 0);
    delivered.assert_are(&rows)
}

#[test]
fn kafka_gets_every_row_of_a_live_run_also_after_it_was_away() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let broker = kafka(&site, &["--away"], "away")?;
    let agent = site.meter(KAFKA, &[])?;
    site.scan(200)?;
    wait_for_words(&agent, "kafka 127.0.0.1:9092/flowml.rows takes no rows: error connecting to broker", 1)?;
    broker.0.signal(Signal::USR2)?;
    wait_for_words(&agent, "takes rows again", 1)?;
    // The broker stores rows, and is gone before it answers.
    broker.0.signal(Signal::USR1)?;
    site.scan(200)?;
    broker.wait_for("away", 2)?;
    wait_for_words(&agent, "takes no rows", 2)?;
    site.scan(200)?;
    broker.0.signal(Signal::USR2)?;
    wait_for_words(&agent, "takes rows again", 2)?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    let delivered = Delivered::of(broker.kafka_rows()?)?;
    ensure!(delivered.doubled > 0, "the rows whose answer was lost are sent again");
    assert_eq!(counts(report.summary()?)?.1, 0);
    delivered.assert_are(&report.records)
}

#[test]
#[ignore = "depends on the speed of the broker: it must take all queued rows within the time limit of a run's end"]
fn rows_that_find_no_room_are_counted_and_leave_an_equal_gap() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let broker = kafka(&site, &["--away"], "away")?;
    // The smallest queue of an output. The flows of a scan become rows after a second.
    let agent = site.meter(KAFKA, &["--memory-max", "64MiB", "--idle-timeout", "1s"])?;
    wait_until(LIMIT, || {
        site.scan(2000)?;
        Ok(agent.stderr().contains("takes rows too slowly"))
    })
    .with_context(|| agent.stderr())?;
    site.scan(200)?;
    broker.0.signal(Signal::USR2)?;
    wait_for_words(&agent, "takes rows again", 1)?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    let delivered = Delivered::of(broker.kafka_rows()?)?;
    let (sent, lost) = counts(report.summary()?)?;
    ensure!(lost > 0, "{}", report.stderr);
    // The summary has a number as well, after all rows that it counts.
    assert_eq!((delivered.rows.len() as u64, delivered.missing()), (sent + 1, lost), "{}", report.stderr);
    Ok(())
}

#[test]
fn kafka_is_reached_by_tls_and_sasl_and_wrong_settings_are_named() -> Result<()> {
    let Some(site) = Site::build(&["openssl"])? else { return Ok(()) };
    assert_refused(&site, &[], KAFKA, "error connecting to broker \"127.0.0.1:9092\"")?;
    let (trusted, other) = (site.certificate("trusted.pem")?, site.certificate("other.pem")?);
    let (trusts, mistrusts) = (format!("SSL_CERT_FILE={trusted}"), format!("SSL_CERT_FILE={other}"));
    let right = site.file("right", "me:top:secret\n")?;
    let wrong = site.file("wrong", "me:secret\n")?;
    let incomplete = site.file("incomplete", "secret\n")?;
    for (option, mechanism) in
        [("plain", "PLAIN"), ("scram-sha-256", "SCRAM-SHA-256"), ("scram-sha-512", "SCRAM-SHA-512")]
    {
        let arguments = ["--tls", &trusted, "--sasl", mechanism, "me", "top:secret"];
        let broker = kafka(&site, &arguments, "listening")?;
        let target = |credentials: &str| format!("{KAFKA},tls=on,sasl={option},credentials={credentials}");
        let output = site.read(&[&trusts], &["jsonl=-", &target(&right)])?;
        ensure!(output.status.code() == Some(0), "{option}: {}", messages(&output));
        Delivered::of(broker.kafka_rows()?)?.assert_are(&printed(&output)?)?;
        broker.wait_for("logged in", 1)?;
        assert_refused(&site, &[&trusts], &target(&wrong), "Sasl")?;
        assert_refused(&site, &[&mistrusts], &target(&right), "invalid peer certificate")?;
        assert_refused(&site, &[&trusts], &target(&incomplete), "expected USER:PASSWORD")?;
        assert_refused(&site, &[&trusts], &target("/nowhere"), "the credentials /nowhere: No such file")?;
    }
    Ok(())
}

#[test]
fn a_topic_that_does_not_exist_is_named() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let _broker = kafka(&site, &[], "listening")?;
    let why = "there is no topic 'missing', and the broker does not create it";
    assert_refused(&site, &[], "kafka=127.0.0.1:9092/missing", why)
}

/// Starts a server of NATS with JetStream, which keeps its streams in the folder of the test.
fn nats(site: &Site, arguments: &[&str]) -> Result<Peer> {
    let store = site.folder.path().join("jetstream").display().to_string();
    let fixed = ["nats-server", "-a", "127.0.0.1", "-p", "4222", "-js", "-sd", store.as_str()];
    let server = Peer(site.host().spawn([&fixed[..], arguments].concat())?);
    server.wait_for("Server is ready", 1)?;
    Ok(server)
}

/// What the script prints about the stream.
fn nats_stream(site: &Site, arguments: &[&str]) -> Result<String> {
    site.host().run_ok(site.script("nats_rows.py", &[&["4222"][..], arguments].concat()))
}

/// The rows in the stream.
fn nats_rows(site: &Site) -> Result<Vec<Value>> {
    let text = nats_stream(site, &["read", "ROWS"])?;
    let messages = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    for message in &messages {
        let row = &message["value"];
        let id = format!("{AGENT}-{}-{}", row["generation"], row["sequence"]);
        ensure!(message["id"] == id, "{} instead of {id}", message["id"]);
    }
    Ok(messages.into_iter().map(|mut message| message["value"].take()).collect())
}

#[test]
fn nats_gets_every_row_of_a_capture_once_and_wrong_settings_are_named() -> Result<()> {
    let Some(site) = Site::build(&["nats-server", "openssl"])? else { return Ok(()) };
    assert_refused(&site, &[], NATS, "Connection refused")?;
    let server = nats(&site, &[])?;
    assert_refused(&site, &[], "nats=127.0.0.1:4222/other", "no stream of JetStream stores the subject")?;
    nats_stream(&site, &["make", "ROWS", TOPIC])?;
    let output = site.read(&[], &["jsonl=-", NATS])?;
    ensure!((output.status.code(), messages(&output).as_str()) == (Some(0), ""), "{}", messages(&output));
    let rows = nats_rows(&site)?;
    let all: Vec<&Value> = rows.iter().collect();
    site.assert_valid(&all)?;
    let delivered = Delivered::of(rows)?;
    assert_eq!(delivered.doubled, 0);
    delivered.assert_are(&printed(&output)?)?;
    drop(server);

    let (trusted, other) = (site.certificate("trusted.pem")?, site.certificate("other.pem")?);
    let (trusts, mistrusts) = (format!("SSL_CERT_FILE={trusted}"), format!("SSL_CERT_FILE={other}"));
    let tls = ["--tls", "--tlscert", &trusted, "--tlskey", &trusted, "--user", "me", "--pass", "top:secret"];
    let _server = nats(&site, &tls)?;
    let (right, wrong) = (site.file("right", "me:top:secret")?, site.file("wrong", "me:secret")?);
    let target = |credentials: &str| format!("{NATS},tls=on,credentials={credentials}");
    assert_refused(&site, &[], &format!("{NATS},credentials={right}"), "the server requires TLS: add tls=on")?;
    assert_refused(&site, &[&mistrusts], &target(&right), "TLS: invalid peer certificate")?;
    assert_refused(&site, &[&trusts], &target(&wrong), "the server reports 'Authorization Violation'")?;
    let output = site.read(&[&trusts], &["jsonl=-", &target(&right)])?;
    ensure!(output.status.code() == Some(0), "{}", messages(&output));
    Ok(())
}

#[test]
fn nats_gets_every_row_of_a_live_run_also_after_it_was_away() -> Result<()> {
    let Some(site) = Site::build(&["nats-server"])? else { return Ok(()) };
    let server = nats(&site, &[])?;
    nats_stream(&site, &["make", "ROWS", TOPIC])?;
    drop(server);
    let agent = site.meter(NATS, &[])?;
    site.scan(200)?;
    wait_for_words(&agent, "nats 127.0.0.1:4222/flowml.rows takes no rows: Connection refused", 1)?;
    let server = nats(&site, &[])?;
    wait_for_words(&agent, "takes rows again", 1)?;
    drop(server);
    site.scan(200)?;
    wait_for_words(&agent, "takes no rows", 2)?;
    let _server = nats(&site, &[])?;
    wait_for_words(&agent, "takes rows again", 2)?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_eq!(counts(report.summary()?)?.1, 0);
    Delivered::of(nats_rows(&site)?)?.assert_are(&report.records)
}

/// A log record as the row of which it was made: the members that have names of flowml.
fn row_of_record(record: &Value) -> Result<Value> {
    if let Some(body) = record["body"].as_str() {
        return Ok(serde_json::from_str(body)?);
    }
    let event = record["event"].as_str().and_then(|event| event.strip_prefix("flowml.")).context("an event")?;
    let mut row = serde_json::Map::from_iter([("type".to_owned(), event.into())]);
    let names = [
        ("source.address", "src_ip"),
        ("source.port", "src_port"),
        ("destination.address", "dst_ip"),
        ("destination.port", "dst_port"),
        ("network.protocol.name", "application_name"),
    ];
    for (name, value) in record["attributes"].as_object().context("attributes")? {
        let own = names.iter().find(|(convention, _)| convention == name).map(|(_, own)| *own);
        if let Some(own) = own.or_else(|| name.strip_prefix("flowml.")) {
            row.insert(own.to_owned(), value.clone());
        }
    }
    row.insert("agent".to_owned(), record["resource"]["service.instance.id"].clone());
    row.insert("generation".to_owned(), record["resource"]["flowml.generation"].clone());
    Ok(row.into())
}

/// A row without the members that have no attribute: values that are not defined, and empty lists of reasons.
fn defined(row: &Value) -> Value {
    let members = row.as_object().into_iter().flatten();
    let is_defined = |name: &str, value: &Value| {
        !(value.is_null() || name == "reasons" && value.as_array().is_some_and(Vec::is_empty))
    };
    members.filter(|(name, value)| is_defined(name, value)).map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// A number as JSON has it after every decoder: a whole number is an integer.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(real) if real.fract() == 0.0 && real.abs() < 9e15 => (real as i64).into(),
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        _ => value.clone(),
    }
}

/// The rows of which the collector has got the records.
fn otlp_rows(receiver: &Peer) -> Result<Vec<Value>> {
    receiver.wait_for_row(|record| record["event"] == "flowml.summary")?;
    let records = receiver.rows()?;
    for record in &records {
        let head = [&record["path"], &record["scope"], &record["resource"]["service.name"]];
        ensure!(head == ["/v1/logs", "flowml", "flowml"], "{record}");
        let is_summary = record["event"] == "flowml.summary";
        ensure!(is_summary || record["time"].as_u64().is_some_and(|time| time > 0), "{record}");
    }
    records.iter().map(row_of_record).map(|row| row.map(|row| defined(&row))).collect()
}

#[test]
fn an_otlp_collector_gets_every_row_of_a_capture_and_refusals_are_counted() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    assert_refused(&site, &[], OTLP, "Connection refused")?;
    let receiver = site.start("otlp_receiver.py", &["4318"], "ready")?;
    let key = site.file("key", "api-key: secret\n")?;
    let output = site.read(&[], &["jsonl=-", &format!("{OTLP},credentials={key}")])?;
    ensure!((output.status.code(), messages(&output).as_str()) == (Some(0), ""), "{}", messages(&output));
    let rows: Vec<Value> = printed(&output)?.iter().map(defined).collect();
    let delivered = Delivered::of(otlp_rows(&receiver)?)?;
    assert_eq!(delivered.doubled, 0);
    delivered.assert_are(&rows)?;
    let records = receiver.rows()?;
    ensure!(records.iter().all(|record| record["key"] == "secret"));
    let flow = records.iter().find(|record| record["event"] == "flowml.flow").context("a flow")?;
    ensure!(["tcp", "udp", "icmp", "ipv6-icmp"].iter().any(|name| flow["attributes"]["network.transport"] == *name));
    drop(receiver);

    let receiver = site.start("otlp_receiver.py", &["4318", "3"], "ready")?;
    let output = site.read(&[], &["jsonl=-", OTLP])?;
    let refused = "has refused 3 rows: the test refuses them; refused rows are lost and counted";
    ensure!(output.status.code() == Some(1) && messages(&output).contains(refused), "{}", messages(&output));
    let rows = printed(&output)?;
    let (sent, lost) = counts(rows.last().context("a summary")?)?;
    assert_eq!((sent, lost), (rows.len() as u64 - 4, 3));
    assert_eq!(Delivered::of(otlp_rows(&receiver)?)?.missing(), 3);
    Ok(())
}

#[test]
fn an_otlp_collector_gets_every_row_of_a_live_run_also_after_it_was_away() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let agent = site.meter(OTLP, &[])?;
    site.scan(200)?;
    wait_for_words(&agent, "otlp http://127.0.0.1:4318 takes no rows: Connection refused", 1)?;
    let receiver = site.start("otlp_receiver.py", &["4318"], "ready")?;
    wait_for_words(&agent, "takes rows again", 1)?;
    site.scan(200)?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_eq!(counts(report.summary()?)?.1, 0);
    let rows: Vec<Value> = report.records.iter().map(defined).collect();
    Delivered::of(otlp_rows(&receiver)?)?.assert_are(&rows)
}
