//! Receivers of alarms get all incidents: a webhook, Alertmanager, rsyslog; also after they were away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, Report, binary};
use flowml_tests::certificate::certificate;
use flowml_tests::lab::{Host, Interface, Lab, LinkOptions, require_lab_with, wait_until};
use flowml_tests::peers::require_peers;
use flowml_tests::process::Process;
use flowml_tests::traffic::attack::{Scene, port_scan};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest time for a step on a busy machine. It includes the longest pause between two attempts of an output, 30 s.
const LIMIT: Duration = Duration::from_secs(120);

/// Addresses of the receivers. Each laboratory has its own ports.
const WEBHOOK: &str = "127.0.0.1:8080";
const ALERTMANAGER: &str = "127.0.0.1:9093";
const NOTIFIED: &str = "127.0.0.1:8081";
const SYSLOG: &str = "127.0.0.1:514";

/// An attacker and a victim, on whose host the agent and the receivers run.
struct Site {
    _lab: Lab,
    attacker: Interface,
    victim: Interface,
    folder: TempDir,
}

impl Site {
    /// Makes the laboratory. The test is skipped if one of these programs is missing.
    fn build(programs: &[&str]) -> Result<Option<Self>> {
        let Some(lab) = require_lab_with(programs) else { return Ok(None) };
        let [attacker, victim] = lab.link([&lab.host("attacker")?, &lab.host("victim")?], &LinkOptions::quiet())?;
        Ok(Some(Self { _lab: lab, attacker, victim, folder: tempfile::tempdir()? }))
    }

    fn host(&self) -> &Host {
        &self.victim.host
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts an agent with these outputs.
    fn meter(&self, outputs: &[&str]) -> Result<Agent> {
        let outputs = outputs.iter().flat_map(|output| ["-o", *output]);
        let arguments: Vec<&str> = ["--interval", "100ms", "-qq"].into_iter().chain(outputs).collect();
        Agent::meter(&self.victim, &arguments)
    }

    /// Scans the victim, and waits until the agent has written the incident.
    fn scan(&self, agent: &Agent) -> Result<()> {
        port_scan(Scene { attacker: &self.attacker, victim: &self.victim, seed: 7 }, 1000, 1000)?;
        agent.wait_for(LIMIT, |row| row["type"] == "incident" && row["kind"] == "port_scan").map(drop)
    }
}

/// Waits until the agent has reported this.
fn wait_for_words(agent: &Agent, words: &str) -> Result<()> {
    wait_until(LIMIT, || Ok(agent.stderr().contains(words)))
        .with_context(|| format!("{words:?} in: {}", agent.stderr()))
}

/// Waits until a receiver has all events that the agent has written. Then only those of the end of the run are missing.
fn wait_for_events(agent: &Agent, received: impl Fn() -> Result<usize>) -> Result<()> {
    let written = || Ok::<_, anyhow::Error>(agent.records()?.iter().filter(|row| row["type"] == "incident").count());
    wait_until(LIMIT, || Ok(received()? >= written()?))
        .with_context(|| format!("all events are received; the agent's messages: {}", agent.stderr()))
}

/// A request that a receiver got.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    head: String,
    body: String,
}

impl Request {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

/// An HTTP server that keeps requests. Its threads end with the test process.
#[derive(Clone)]
struct HttpReceiver(Arc<Mutex<Vec<Request>>>);

impl HttpReceiver {
    /// Listens in a host. `answer` gives the status of the answer to the request with this number for its path.
    fn start(host: &Host, address: &str, answer: fn(&str, usize) -> &'static str) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind(address))?.with_context(|| format!("listening at {address}"))?;
        let receiver = Self(Arc::default());
        let of_thread = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that ends in the middle of a request has no request.
                let _ = of_thread.converse(&stream, answer);
            }
        });
        Ok(receiver)
    }

    fn converse(&self, stream: &TcpStream, answer: fn(&str, usize) -> &'static str) -> Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(reader.read_line(&mut head)? > 0, "the end of the connection");
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.context("a length")?];
        reader.read_exact(&mut body)?;
        let path = head.split(' ').nth(1).context("a path")?.to_owned();
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = requests.iter().filter(|request| request.path == path).count();
        let status = answer(&path, number);
        requests.push(Request { path, head, body: String::from_utf8(body)? });
        drop(requests);
        let mut stream = stream;
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        Ok(())
    }

    fn of(&self, path: &str) -> Vec<Request> {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    fn bodies(&self, path: &str) -> Result<Vec<Value>> {
        self.of(path).iter().map(Request::json).collect()
    }
}

/// The rows of incidents, in their order. There is at least one scan, with its start and its end.
fn incidents(report: &Report) -> Result<Vec<&Value>> {
    let rows: Vec<&Value> = report.of_type("incident").collect();
    let is_scan = |state: &str| rows.iter().any(|row| row["kind"] == "port_scan" && row["state"] == state);
    ensure!(is_scan("closed"), "{rows:#?}");
    Ok(rows)
}

/// Checks the counts of each receiver in the summary.
fn assert_counts(report: &Report, expected: &[(&str, u64, u64)]) -> Result<()> {
    let found = &report.summary()?["collectors"];
    let expected: Vec<Value> = expected
        .iter()
        .map(|(name, sent, lost)| json!({"destination": name, "records_sent": sent, "records_lost": lost}))
        .collect();
    ensure!(*found == Value::Array(expected.clone()), "{found:#} instead of {expected:#?}: {}", report.stderr);
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    Ok(())
}

/// A row as the webhook gets it, without the members about the sender.
fn without_sender(mut body: Value) -> Result<Value> {
    let members = body.as_object_mut().context("an object")?;
    let (agent, id) = (members.remove("agent"), members.remove("id"));
    ensure!(agent.is_some_and(|agent| agent.is_string()) && id.is_some_and(|id| id.is_string()));
    Ok(body)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_webhook_gets_every_event_in_every_format() -> Result<()> {
    let (Some(site), Some(peers)) = (Site::build(&[])?, require_peers()) else { return Ok(()) };
    let outputs =
        [("/own", ""), ("/ecs", ",format=ecs"), ("/ocsf", ",format=ocsf"), ("/slack?token=secret", ",format=slack")]
            .map(|(path, format)| format!("webhook=http://me:secret@{WEBHOOK}{path}{format}"));
    let receiver = HttpReceiver::start(site.host(), WEBHOOK, |_, _| "200 OK")?;
    let agent = site.meter(&outputs.each_ref().map(String::as_str))?;
    site.scan(&agent)?;
    let paths = ["/own", "/ecs", "/ocsf", "/slack?token=secret"];
    paths.iter().try_for_each(|path| wait_for_events(&agent, || Ok(receiver.of(path).len())))?;
    let report = agent.stop(Signal::TERM)?;
    let rows = incidents(&report)?;
    let name = format!("webhook http://{WEBHOOK}/…");
    assert_counts(&report, &[(name.as_str(), rows.len() as u64, 0); 4])?;
    ensure!(!report.stderr.contains("secret"), "{}", report.stderr);

    let own = receiver.bodies("/own")?.into_iter().map(without_sender).collect::<Result<Vec<_>>>()?;
    assert_eq!(own.iter().collect::<Vec<_>>(), rows);
    let requests = receiver.of("/own");
    // "me:secret" in Base64.
    ensure!(requests[0].head.to_lowercase().contains("authorization: basic bwu6c2vjcmv0\r\n"), "{}", requests[0].head);
    for (ecs, row) in receiver.bodies("/ecs")?.iter().zip(&rows) {
        assert_eq!((&ecs["message"], &ecs["rule"]["name"]), (&row["summary"], &row["kind"]));
        assert_eq!(ecs["event"]["kind"], "alert");
    }
    for (slack, row) in receiver.bodies("/slack?token=secret")?.iter().zip(&rows) {
        ensure!(text(&slack["text"]).contains(text(&row["summary"])), "{slack} of {row}");
    }
    let findings: String = receiver.of("/ocsf").iter().map(|request| format!("{}\n", request.body)).collect();
    let read = peers.run("ocsf_findings.py", &[], &findings)?;
    let read = read.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    assert_eq!((read.len(), receiver.of("/ecs").len()), (rows.len(), rows.len()));
    for (finding, row) in read.iter().zip(&rows) {
        let activity = match text(&row["state"]) {
            "open" => "Create",
            "named" => "Update",
            _ => "Close",
        };
        assert_eq!(finding["activity"], activity);
        assert_eq!((&finding["kind"], &finding["message"]), (&row["kind"], &row["summary"]));
        ensure!(text(&finding["uid"]).ends_with(&format!("-{}", row["incident"])), "{finding}");
        let sources = text(&row["sources"]).split(' ').filter(|address| !address.is_empty());
        let known = finding["addresses"].as_array().context("addresses")?;
        ensure!(sources.map(Value::from).all(|address| known.contains(&address)), "{finding} of {row}");
    }
    let scan = read.iter().find(|finding| finding["kind"] == "port_scan").context("a scan")?;
    assert_eq!((&scan["techniques"], &scan["severity"]), (&json!(["T1046"]), &json!("High")));
    Ok(())
}

#[test]
fn errors_of_a_webhook_are_tried_again_and_refusals_are_counted() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let receiver = HttpReceiver::start(site.host(), WEBHOOK, |path, number| match (path, number) {
        ("/busy", 0) => "503 Service Unavailable",
        ("/gone", _) => "404 Not Found",
        _ => "204 No Content",
    })?;
    let outputs = ["/busy", "/gone"].map(|path| format!("webhook=http://{WEBHOOK}{path}"));
    let agent = site.meter(&outputs.each_ref().map(String::as_str))?;
    site.scan(&agent)?;
    wait_for_words(&agent, "takes no incidents: it answered 503 Service Unavailable")?;
    wait_for_words(&agent, "has refused an incident: it answered 404 Not Found; refused events are lost and counted")?;
    wait_for_words(&agent, "takes incidents again; 0 events were lost so far")?;
    wait_for_events(&agent, || Ok(receiver.of("/busy").len().saturating_sub(1).min(receiver.of("/gone").len())))?;
    let report = agent.stop(Signal::TERM)?;
    let events = incidents(&report)?.len();
    assert_eq!((receiver.of("/busy").len(), receiver.of("/gone").len()), (events + 1, events));
    let name = format!("webhook http://{WEBHOOK}/…");
    assert_counts(&report, &[(name.as_str(), events as u64, 0), (name.as_str(), 0, events as u64)])?;
    assert_eq!(report.stderr.matches("404").count(), 1, "{}", report.stderr);
    Ok(())
}

#[test]
fn a_webhook_over_tls_needs_a_trusted_certificate() -> Result<()> {
    let (Some(site), Some(peers)) = (Site::build(&["openssl"])?, require_peers()) else { return Ok(()) };
    let make = |name| Ok::<_, anyhow::Error>(certificate(site.host(), site.folder.path(), name)?.display().to_string());
    let (trusted, other) = (make("trusted.pem")?, make("other.pem")?);
    let [python, script] = peers.command_line("https_receiver.py").map(|path| path.display().to_string());
    let server = site.host().spawn([&python, &script, "8443", &trusted])?;
    let ready = |text: &[u8]| text.starts_with(b"ready").then_some(());
    server.stderr().wait_for(LIMIT, ready).with_context(|| format!("the server: {}", server.stderr().text()))?;
    let start = |authority: &str| -> Result<Agent> {
        let (authority, program) = (format!("SSL_CERT_FILE={authority}"), binary()?.display().to_string());
        let run = ["run", "-i", &site.victim.name, "--interval", "100ms", "-qq", "-o", "jsonl=-", "-o"];
        let output = "webhook=https://me:secret@127.0.0.1:8443/hook";
        let arguments = [&[authority.as_str(), &program][..], &run, &[output]].concat();
        let agent = Agent::start_program(site.host(), "env".into(), &arguments)?;
        agent.wait_attached(&site.victim)?;
        site.scan(&agent)?;
        Ok(agent)
    };
    let agent = start(&other)?;
    wait_for_words(&agent, "takes no incidents: TLS: invalid peer certificate")?;
    let report = agent.stop(Signal::TERM)?;
    let events = incidents(&report)?.len() as u64;
    assert_counts(&report, &[("webhook https://127.0.0.1:8443/…", 0, events)])?;
    ensure!(!report.stderr.contains("secret"), "{}", report.stderr);

    let agent = start(&trusted)?;
    wait_for_events(&agent, || Ok(server.stdout().text().lines().count()))?;
    let report = agent.stop(Signal::TERM)?;
    let rows = incidents(&report)?;
    assert_counts(&report, &[("webhook https://127.0.0.1:8443/…", rows.len() as u64, 0)])?;
    let requests = server.stdout().text();
    let requests = requests.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    assert_eq!(requests.len(), rows.len());
    for (request, row) in requests.iter().zip(rows) {
        assert_eq!((&request["authorization"], &request["path"]), (&"Basic bWU6c2VjcmV0".into(), &"/hook".into()));
        assert_eq!(without_sender(request["body"].clone())?, *row);
    }
    Ok(())
}

/// A receiver that accepts connections and never answers delays neither the run nor its end.
#[test]
fn a_receiver_that_does_not_answer_loses_its_incidents() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let silent = site.host().enter(|| TcpListener::bind(WEBHOOK))??;
    let agent = site.meter(&[&format!("webhook=http://{WEBHOOK}"), &format!("alertmanager=http://{WEBHOOK}")])?;
    site.scan(&agent)?;
    let begun = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    eprintln!("the end took {:?}", begun.elapsed());
    let events = incidents(&report)?.len() as u64;
    let names = ["webhook", "alertmanager"].map(|kind| format!("{kind} http://{WEBHOOK}"));
    assert_counts(&report, &[(names[0].as_str(), 0, events), (names[1].as_str(), 0, events)])?;
    drop(silent);
    Ok(())
}

/// rsyslog, which writes each message to a file as fields that are separated by `|`.
struct Rsyslog {
    _process: Process,
    messages: String,
}

impl Rsyslog {
    fn start(site: &Site, socket: &str) -> Result<Self> {
        let (configuration, messages) = (site.path("rsyslog.conf"), site.path("messages"));
        let fields = ["inputname", "pri", "hostname", "app-name", "msgid", "structured-data", "msg"];
        let fields = fields.map(|name| format!("%{name}%")).join("|");
        let text = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\nmodule(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
             template(name=\"fields\" type=\"string\" string=\"{fields}\\n\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{messages}\" template=\"fields\") }}\n\
             input(type=\"imuxsock\" Socket=\"{socket}\" ruleset=\"all\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"514\" ruleset=\"all\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"514\" ruleset=\"all\")\n"
        );
        fs::write(&configuration, text)?;
        let pid = site.path("rsyslog.pid");
        Ok(Self { _process: site.host().spawn(["rsyslogd", "-n", "-f", &configuration, "-i", &pid])?, messages })
    }

    /// The messages by the name of their input.
    fn messages(&self) -> Result<BTreeMap<String, Vec<Vec<String>>>> {
        let mut inputs: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for line in fs::read_to_string(&self.messages).unwrap_or_default().lines() {
            let mut fields = line.splitn(7, '|').map(str::to_owned);
            let input = fields.next().context("an input")?;
            inputs.entry(input).or_default().push(fields.collect());
        }
        Ok(inputs)
    }
}

/// Checks what rsyslog has read: the sentence over UDP, ECS over TCP, flowml's own JSON over the socket of the host.
fn assert_logged(messages: &BTreeMap<String, Vec<Vec<String>>>, rows: &[&Value]) -> Result<()> {
    assert_eq!(messages.keys().collect::<Vec<_>>(), ["imtcp", "imudp", "imuxsock"]);
    for (input, messages) in messages {
        assert_eq!(messages.len(), rows.len(), "{input}: {messages:#?}");
        for (fields, row) in messages.iter().zip(rows) {
            let [priority, host, name, kind, data, message] = &fields[..] else { anyhow::bail!("{fields:?}") };
            ensure!(!host.is_empty() && name == "flowml", "{fields:?}");
            // The facility of daemons, with the severity of a probability of 10⁻⁶ or less.
            ensure!(row["kind"] != "port_scan" || priority == "26", "{fields:?}");
            if input == "imuxsock" {
                assert_eq!(without_sender(serde_json::from_str(message)?)?, **row);
                continue;
            }
            let has_data = data.starts_with("[flowml@32473 id=\"") && data.contains(&format!("kind={}", row["kind"]));
            ensure!(kind == "incident" && has_data, "{fields:?}");
            let summary = text(&row["summary"]);
            match input.as_str() {
                "imudp" => ensure!(message.contains(summary), "{message} of {row}"),
                _ => assert_eq!(serde_json::from_str::<Value>(message)?["message"], summary),
            }
        }
    }
    Ok(())
}

/// Starts an Alertmanager that notifies a receiver of the test.
fn alertmanager(site: &Site) -> Result<Process> {
    let (configuration, data) = (site.path("alertmanager.yml"), site.path("alertmanager"));
    let text = format!(
        "route: {{ receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h }}\n\
         receivers: [{{ name: test, webhook_configs: [{{ url: 'http://{NOTIFIED}/notified', send_resolved: true }}] }}]\n"
    );
    fs::write(&configuration, text)?;
    let arguments = [
        "prometheus-alertmanager".to_owned(),
        format!("--config.file={configuration}"),
        format!("--storage.path={data}"),
        format!("--web.listen-address={ALERTMANAGER}"),
        "--cluster.listen-address=".to_owned(),
    ];
    site.host().spawn(arguments)
}

/// The alerts of Alertmanager's notifications with this status, by the label `incident`.
fn notified(receiver: &HttpReceiver, status: &str) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut alerts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for notification in receiver.bodies("/notified")? {
        for alert in notification["alerts"].as_array().context("alerts")? {
            if alert["status"] == status {
                alerts.entry(text(&alert["labels"]["incident"]).to_owned()).or_default().push(alert.clone());
            }
        }
    }
    Ok(alerts)
}

/// Whether an alert of a scan fires.
fn scan_fires(receiver: &HttpReceiver) -> Result<bool> {
    Ok(notified(receiver, "firing")?.values().flatten().any(|alert| alert["labels"]["kind"] == "port_scan"))
}

/// Checks that the scan was an alert that fired, and that every resolved alert has the labels with which it fired.
/// Alertmanager notifies nobody of the end of an incident that opens and ends together.
fn assert_alerted(receiver: &HttpReceiver, rows: &[&Value]) -> Result<()> {
    let closed: Vec<&Value> =
        rows.iter().copied().filter(|row| row["state"] == "closed" && row["kind"] == "port_scan").collect();
    let is_resolved = |row: &&Value| -> Result<bool> {
        let resolved = notified(receiver, "resolved")?;
        let of_incident = resolved.iter().filter(|(id, _)| id.ends_with(&format!("-{}", row["incident"])));
        Ok(of_incident.flat_map(|(_, alerts)| alerts).any(|alert| alert["labels"]["kind"] == row["kind"]))
    };
    let all = || closed.iter().try_fold(true, |all, row| Ok(all && is_resolved(row)?));
    wait_until(LIMIT, all).with_context(|| format!("alerts are resolved: {:#?}", notified(receiver, "resolved")))?;
    let (firing, resolved) = (notified(receiver, "firing")?, notified(receiver, "resolved")?);
    for (id, alerts) in &resolved {
        let labels = |alert: &&Value| alert["labels"].clone();
        let known: Vec<Value> = firing.get(id).into_iter().flatten().map(|alert| alert["labels"].clone()).collect();
        ensure!(
            alerts.iter().map(|alert| labels(&alert)).all(|labels| known.contains(&labels)),
            "{alerts:#?} {known:#?}"
        );
    }
    let scan = firing.values().flatten().find(|alert| alert["labels"]["kind"] == "port_scan").context("a scan")?;
    assert_eq!((&scan["labels"]["severity"], &scan["labels"]["technique"]), (&"critical".into(), &"T1046".into()));
    ensure!(text(&scan["annotations"]["summary"]).contains("scanned"), "{scan}");
    Ok(())
}

/// Starts all receivers only when an incident has waited for them for this time. All of them get all events.
fn receivers_are_away(time: Duration) -> Result<()> {
    let Some(site) = Site::build(&["rsyslogd", "prometheus-alertmanager"])? else { return Ok(()) };
    let socket = site.path("log");
    let outputs = [
        format!("webhook=http://{WEBHOOK}/hook"),
        format!("alertmanager=http://{ALERTMANAGER}"),
        format!("syslog=unix:{socket},format=json"),
        format!("syslog=udp:{SYSLOG}"),
        format!("syslog=tcp:{SYSLOG},format=ecs"),
    ];
    let names = [
        format!("webhook http://{WEBHOOK}/…"),
        format!("alertmanager http://{ALERTMANAGER}"),
        format!("syslog unix:{socket}"),
        format!("syslog udp:{SYSLOG}"),
        format!("syslog tcp:{SYSLOG}"),
    ];
    let agent = site.meter(&outputs.each_ref().map(String::as_str))?;
    site.scan(&agent)?;
    for name in &names {
        let why = if name.contains("unix") { "No such file or directory" } else { "Connection refused" };
        wait_for_words(&agent, &format!("{name} takes no incidents: {why}"))?;
    }
    thread::sleep(time);
    let webhook = HttpReceiver::start(site.host(), WEBHOOK, |_, _| "200 OK")?;
    let notifications = HttpReceiver::start(site.host(), NOTIFIED, |_, _| "200 OK")?;
    let (alerts, rsyslog) = (alertmanager(&site)?, Rsyslog::start(&site, &socket)?);
    for name in &names {
        wait_for_words(&agent, &format!("{name} takes incidents again; 0 events were lost so far"))
            .with_context(|| format!("Alertmanager's messages: {}", alerts.stderr().text()))?;
    }
    wait_until(LIMIT, || scan_fires(&notifications)).context("Alertmanager notifies")?;
    wait_for_events(&agent, || Ok(webhook.of("/hook").len()))?;
    wait_for_events(&agent, || {
        let messages = rsyslog.messages()?;
        Ok(if messages.len() == 3 { messages.values().map(Vec::len).min().unwrap_or(0) } else { 0 })
    })?;
    let report = agent.stop(Signal::TERM)?;
    let rows = incidents(&report)?;
    let counts: Vec<(&str, u64, u64)> = names.iter().map(|name| (name.as_str(), rows.len() as u64, 0)).collect();
    assert_counts(&report, &counts)?;
    let own = webhook.bodies("/hook")?.into_iter().map(without_sender).collect::<Result<Vec<_>>>()?;
    assert_eq!(own.iter().collect::<Vec<_>>(), rows);
    assert_alerted(&notifications, &rows)?;
    let all_there = || {
        let messages = rsyslog.messages()?;
        Ok(messages.len() == 3 && messages.values().all(|messages| messages.len() >= rows.len()))
    };
    wait_until(LIMIT, all_there).with_context(|| format!("rsyslog writes them: {:#?}", rsyslog.messages()))?;
    assert_logged(&rsyslog.messages()?, &rows)
}

#[test]
fn receivers_that_were_away_get_all_incidents() -> Result<()> {
    receivers_are_away(Duration::ZERO)
}

#[test]
#[ignore = "it takes minutes: cargo xtask test --long"]
fn receivers_that_were_away_for_a_minute_get_all_incidents() -> Result<()> {
    receivers_are_away(Duration::from_secs(60))
}

/// The end of the alert of the scan, as Alertmanager has it.
fn alert_ends_at(site: &Site) -> Result<String> {
    let answer = site.host().enter(|| -> Result<String> {
        let mut stream = TcpStream::connect(ALERTMANAGER)?;
        write!(stream, "GET /api/v2/alerts HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    let alerts: Vec<Value> = serde_json::from_str(body).with_context(|| answer.clone())?;
    let scan = alerts.iter().find(|alert| alert["labels"]["kind"] == "port_scan");
    Ok(scan.map(|alert| text(&alert["endsAt"]).to_owned()).unwrap_or_default())
}

#[test]
#[ignore = "it takes minutes: cargo xtask test --long"]
fn an_alert_is_repeated_while_its_incident_is_open() -> Result<()> {
    let Some(site) = Site::build(&["prometheus-alertmanager"])? else { return Ok(()) };
    let _process = alertmanager(&site)?;
    wait_until(LIMIT, || Ok(alert_ends_at(&site).is_ok())).context("Alertmanager answers")?;
    let agent = site.meter(&[&format!("alertmanager=http://{ALERTMANAGER}")])?;
    site.scan(&agent)?;
    wait_until(LIMIT, || Ok(!alert_ends_at(&site)?.is_empty())).context("the alert fires")?;
    let first = alert_ends_at(&site)?;
    // The next repetition is at most a minute away.
    wait_until(LIMIT, || Ok(alert_ends_at(&site)? > first)).context("the alert is repeated")?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{}", report.stderr);
    wait_until(LIMIT, || Ok(alert_ends_at(&site)?.is_empty())).context("the alert is resolved")
}

/// The end of a run within two seconds, on a machine that does nothing else.
#[test]
#[ignore = "it needs a machine that does nothing else: cargo xtask test --long"]
fn receivers_that_do_not_answer_or_listen_do_not_delay_the_end() -> Result<()> {
    let Some(site) = Site::build(&[])? else { return Ok(()) };
    let _silent = site.host().enter(|| TcpListener::bind(WEBHOOK))??;
    let outputs = [
        format!("webhook=http://{WEBHOOK}"),
        format!("alertmanager=http://{ALERTMANAGER}"),
        format!("syslog=tcp:{SYSLOG}"),
        "syslog=unix:/nowhere".to_owned(),
    ];
    let agent = site.meter(&outputs.each_ref().map(String::as_str))?;
    site.scan(&agent)?;
    let begun = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    let end_took = begun.elapsed();
    ensure!(report.code == Some(0), "{}", report.stderr);
    eprintln!("the end took {end_took:?}");
    assert!(end_took < Duration::from_secs(2), "{end_took:?}: {}", report.stderr);
    Ok(())
}
