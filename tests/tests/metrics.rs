//! Metrics as Prometheus scrapes them: the results of its queries equal the summary.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, binary};
use flowml_tests::frames::NAMED;
use flowml_tests::lab::{Host, IpVersion, LinkOptions, require_lab, wait_until};
use flowml_tests::scrape::METRICS;
use flowml_tests::traffic::peers::{Exchange, UdpService, udp_exchange};
use flowml_tests::traffic::raw::{FrameSender, Rate};
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for Prometheus to start and to scrape on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const PROMETHEUS: &str = "127.0.0.1:9090";

/// A folder for Prometheus. It is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("flowml-metrics-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sends an HTTP request. Returns status line and headers, and the body.
fn get(host: &Host, address: &str, request: &str) -> Result<(String, String)> {
    host.enter(|| {
        let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("reading the answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
        Ok((head.to_owned(), body.to_owned()))
    })?
}

/// Prometheus's answer to a query: the value of each series, by its labels without those of the target.
fn query(host: &Host, expression: &str) -> Result<BTreeMap<String, f64>> {
    let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (_, body) = get(host, PROMETHEUS, &format!("GET /api/v1/query?query={escaped}"))?;
    let answer: Value = serde_json::from_str(&body).with_context(|| format!("Prometheus answered: {body}"))?;
    ensure!(answer["status"] == "success", "{expression}: {answer}");
    let mut series = BTreeMap::new();
    for result in answer["data"]["result"].as_array().context("series")? {
        let labels = result["metric"].as_object().context("labels")?.iter();
        let own = labels.filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str()));
        let own = own.filter_map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        let value = result["value"][1].as_str().context("a value")?;
        series.insert(own, value.parse().with_context(|| format!("{value} of {expression}"))?);
    }
    Ok(series)
}

#[test]
fn prometheus_agrees_with_the_summary() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let server = lab.host("server")?;
    let [here, there] = lab.link([&lab.host("client")?, &server], &LinkOptions::quiet())?;
    let folder = Folder::new()?;
    let configuration = folder.0.join("prometheus.yml");
    let scrape = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: flowml\n    \
         static_configs: [{{ targets: ['{METRICS}'] }}]\n"
    );
    fs::write(&configuration, scrape)?;

    let agent = Agent::meter(
        &there,
        &["--interval", "100ms", "--idle-timeout", "300ms", "--metrics", METRICS, "-o", "ipfix=127.0.0.1:4739"],
    )?;
    let service = UdpService::start(&there, IpVersion::V4, 53)?;
    for _ in 0..3 {
        let client = udp_exchange(&here.host, service.address(), Exchange { request: 100, response: 200 })?;
        agent.wait_for(LIMIT, |row| row["type"] == "flow" && row["src_port"] == client.port())?;
    }
    // Frames of all kinds, some of which belong to no flow.
    let frames: Vec<Vec<u8>> =
        NAMED.iter().map(|named| (named.build)()).filter(|frame| (14..1500).contains(&frame.len())).collect();
    let sent = FrameSender::open(&here)?.send(&frames, 3, Rate::Full)?;
    let all = || -> Result<bool> { Ok(query_text(&server, "flowml_received_packets_total")? >= sent.packets + 3) };
    wait_until(LIMIT, all).context("the agent counts what was sent")?;
    // No more packets arrive, so all sessions end.
    wait_until(LIMIT, || Ok(query_text(&server, "flowml_open_sessions")? == 0)).context("all sessions end")?;

    let data = folder.0.join("data");
    let arguments = [
        format!("--config.file={}", configuration.display()),
        format!("--storage.tsdb.path={}", data.display()),
        format!("--web.listen-address={PROMETHEUS}"),
    ];
    let prometheus = server.spawn(["prometheus"].into_iter().chain(arguments.iter().map(String::as_str)))?;
    // Until Prometheus is ready it refuses requests, or answers without series.
    let scraped = || query(&server, "flowml_build_info").is_ok_and(|series| series.len() == 1);
    wait_until(LIMIT, || Ok(scraped()))
        .with_context(|| format!("Prometheus scrapes; its messages:\n{}", prometheus.stderr().text()))?;
    let asked = [
        "flowml_received_packets_total",
        "flowml_received_bytes_total",
        "flowml_skipped_packets_total",
        "flowml_skipped_bytes_total",
        "flowml_flows_total",
        "flowml_sessions_total",
        "flowml_host_windows_total",
        "flowml_anomalies_total",
        "flowml_incidents_total",
        "flowml_interface_info",
        "flowml_output_rows_total - flowml_output_lost_rows_total",
        "flowml_output_lost_rows_total",
        "flowml_drain_duration_seconds_count",
        "flowml_drain_duration_seconds_sum",
        "flowml_received_packets_total - on() sum(flowml_skipped_packets_total)",
        "up",
    ];
    let found: BTreeMap<&str, BTreeMap<String, f64>> =
        asked.iter().map(|expression| Ok((*expression, query(&server, expression)?))).collect::<Result<_>>()?;

    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{}", report.stderr);
    let summary = report.summary()?;
    let only = |expression: &str| found[expression].values().copied().sum::<f64>();
    for (expression, member) in [
        ("flowml_received_packets_total", "packets_received"),
        ("flowml_received_bytes_total", "bytes_received"),
        ("flowml_flows_total", "flows"),
        ("flowml_sessions_total", "sessions"),
        ("flowml_host_windows_total", "hosts"),
        ("flowml_anomalies_total", "anomalies"),
        ("flowml_incidents_total", "incidents"),
        ("flowml_received_packets_total - on() sum(flowml_skipped_packets_total)", "packets_in_flows"),
    ] {
        assert_eq!(Some(only(expression)), summary[member].as_f64(), "{expression}: {summary}");
    }
    for (expression, member) in
        [("flowml_skipped_packets_total", "packets_skipped"), ("flowml_skipped_bytes_total", "bytes_skipped")]
    {
        let reasons = summary[member].as_object().context("by reason")?;
        assert_eq!(found[expression].len(), reasons.len());
        for (reason, count) in reasons {
            assert_eq!(Some(found[expression][reason]), count.as_f64(), "{expression} {reason}: {summary}");
        }
    }
    ensure!(only("flowml_skipped_packets_total") > 0.0, "nothing was skipped: {summary}");
    // No collector listens at that address, and the rows go to standard output.
    let lost = &found["flowml_output_lost_rows_total"];
    assert_eq!(Some(lost["udp://127.0.0.1:4739"]), summary["flows"].as_f64(), "{summary}");
    assert_eq!(lost["standard output"], 0.0);
    // All rows except the summary, and except incidents that the end of the run has closed.
    let rows = found["flowml_output_rows_total - flowml_output_lost_rows_total"]["standard output"];
    let incidents = report.of_type("incident").count();
    let all = report.records.len() - 1;
    ensure!((all - incidents..=all).contains(&(rows as usize)), "{rows} of {all} rows, {incidents} of incidents");
    assert_eq!(
        found["flowml_interface_info"],
        BTreeMap::from([(format!("{} eth0", summary["capture_mode"].as_str().unwrap_or_default()), 1.0)])
    );
    // The agent continues to drain.
    let drains = only("flowml_drain_duration_seconds_count");
    ensure!(drains > 10.0 && Some(drains) <= summary["drains"].as_f64(), "{drains} drains: {summary}");
    ensure!(only("flowml_drain_duration_seconds_sum") > 0.0 && only("up") == 1.0, "{found:?}");
    Ok(())
}

/// The value of a metric without labels, requested from the agent itself.
fn query_text(host: &Host, name: &str) -> Result<u64> {
    let (head, body) = get(host, METRICS, "GET /metrics")?;
    ensure!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in {body}"))
}

#[test]
fn an_address_in_use_ends_the_run_and_other_paths_are_answered() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [_, there] = lab.link([&lab.host("client")?, &lab.host("server")?], &LinkOptions::quiet())?;
    let agent = Agent::meter(&there, &["--metrics", METRICS])?;
    for (request, status) in [
        ("GET /metrics", "200"),
        ("HEAD /metrics", "200"),
        ("POST /metrics", "405"),
        ("GET /", "404"),
        ("GET /metrics/", "404"),
    ] {
        let (head, body) = get(&there.host, METRICS, request)?;
        ensure!(head.split(' ').nth(1) == Some(status), "{request}: {head}");
        ensure!(body.ends_with("# EOF\n") == (request == "GET /metrics"), "{request}: {body}");
    }
    let program = binary()?;
    let arguments = ["run", "-i", &there.name, "--metrics", METRICS].map(std::ffi::OsStr::new);
    let second = there.host.run([program.as_os_str()].into_iter().chain(arguments))?;
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(second.status.code() == Some(1), "{message}");
    ensure!(
        message == format!("flowml: cannot serve metrics at {METRICS}: Address already in use (os error 98)\n"),
        "{message}"
    );
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{}", report.stderr);
    Ok(())
}
