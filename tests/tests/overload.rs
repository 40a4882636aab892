//! More flows than the agent can process: what remains exact, what is served meanwhile, and that it is over by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, Report};
use flowml_tests::lab::{Host, Interface, LinkOptions, require_lab, wait_until};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use rustix::process::Signal;
use serde_json::Value;

/// Longest that something may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Where the agent serves metrics, in a namespace of its own.
const METRICS: &str = "127.0.0.1:9750";

/// Two hosts and a quiet link between them: the peer's end, and the end that is metered.
macro_rules! quiet_pair {
    () => {{
        let Some(lab) = require_lab() else { return Ok(()) };
        let ends = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
        (lab, ends)
    }};
}

/// One packet each of so many flows, all of which the other end has received.
fn flood(from: &Interface, to: &Interface, flows: u32, rate: Rate) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let spray = FlowSpray::unanswered(to, flows, u64::from(flows));
    let sent = FrameSender::open(from)?.spray(&spray, rate)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// The metrics as they are served now.
fn metrics(host: &Host) -> Result<String> {
    host.enter(|| {
        let mut stream = TcpStream::connect(METRICS)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(answer)
    })?
}

/// The value of a metric.
fn value(metrics: &str, name: &str) -> Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("a metric {name}"))?;
    Ok(line.trim().parse()?)
}

/// Every packet is in the account, and each that is in flows is in exactly one row.
fn assert_accounts_for(report: &Report, sent: Sent) -> Result<()> {
    let summary = report.summary()?;
    assert_eq!(summary["conserved"], true, "{summary}");
    assert_eq!(summary["packets_received"], sent.packets, "{summary}");
    let full = summary["packets_skipped"]["table_full"].as_u64().context("a count")?;
    let in_flows = summary["packets_in_flows"].as_u64().context("a count")?;
    assert_eq!(in_flows + full, sent.packets, "{summary}");
    Ok(())
}

/// With little memory for what waits, the table is emptied more slowly than it fills: the rest is counted, reported once, and
/// the run ends in order.
#[test]
fn what_has_no_room_is_counted_and_the_run_goes_on() -> Result<()> {
    let (_lab, [from, to]) = quiet_pair!();
    let small = ["--memory-max", "1MiB", "--flow-capacity", "1024", "--interval", "100ms", "--metrics", METRICS];
    let agent = Agent::meter(&to, &small)?;
    let sent = flood(&from, &to, 40_000, Rate::Full)?;
    // Served while the backlog is processed.
    assert!(value(&metrics(&to.host)?, "flowml_received_packets_total")? <= sent.packets as f64);
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_accounts_for(&report, sent)?;
    let held = report.stderr.matches("flows come faster than they are processed").count();
    let logged = report.stderr.matches("flow table").count();
    assert!(held + logged < 50, "few lines for {} packets: {}", sent.packets, report.stderr);
    Ok(())
}

/// More flows are open at the end than can be written in the time of an end: whatever gets no row is counted, and no packet is
/// missing in the account.
#[test]
fn the_end_of_a_run_accounts_for_a_flood_of_open_flows() -> Result<()> {
    let (_lab, [from, to]) = quiet_pair!();
    let folder = tempfile::tempdir()?;
    let rows = folder.path().join("rows.jsonl");
    let output = format!("jsonl={}", rows.display());
    let arguments = ["run", "-i", &to.name, "-q", "-o", &output];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    let sent = flood(&from, &to, 600_000, Rate::PerSecond(100_000))?;
    let begun = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    eprintln!("the end took {:?}", begun.elapsed());
    let text = std::fs::read_to_string(&rows)?;
    let summary: Value = serde_json::from_str(text.lines().last().context("a summary")?)?;
    assert_eq!((&summary["type"], &summary["conserved"]), (&"summary".into(), &true.into()), "{summary}");
    let count = |value: &Value| value.as_u64().with_context(|| format!("a count in {summary}"));
    let (full, in_flows) = (count(&summary["packets_skipped"]["table_full"])?, count(&summary["packets_in_flows"])?);
    assert_eq!((count(&summary["packets_received"])?, in_flows + full), (sent.packets, sent.packets), "{summary}");
    // A packet each: a flow is written or lost. Other rows may be lost too.
    let written = text.matches("\"type\":\"flow\"").count() as u64;
    let losses = summary["losses"].as_array().context("losses")?;
    let lost: u64 = losses.iter().map(|loss| count(&loss["rows_lost"])).sum::<Result<_>>()?;
    assert_eq!(count(&summary["flows"])?, in_flows, "{summary}");
    assert!(written > 0 && written + lost >= in_flows, "{written} of {in_flows} flows: {summary}");
    ensure!(report.code == Some(i32::from(lost > 0)), "{:?}: {}", report.code, report.stderr);
    Ok(())
}

/// New flows for a minute at a rate that the default capacity takes: drains are on time, metrics are served and memory is
/// bounded all the while. Timing decides here, so it is one of the long tests.
#[test]
#[ignore = "it takes minutes, of a machine that does nothing else: cargo xtask test --long"]
fn a_flood_of_a_minute_is_metered_on_time() -> Result<()> {
    let (_lab, [from, to]) = quiet_pair!();
    let arguments = ["run", "-i", &to.name, "-q", "--metrics", METRICS];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    let over = AtomicBool::new(false);
    let (sent, slowest) = thread::scope(|scope| -> Result<(Sent, Duration)> {
        let scrapes = scope.spawn(|| -> Result<Duration> {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                metrics(&to.host)?;
                slowest = slowest.max(begun.elapsed());
                thread::sleep(Duration::from_millis(200));
            }
            Ok(slowest)
        });
        let sent = flood(&from, &to, 60 * 160_000, Rate::PerSecond(160_000));
        over.store(true, Ordering::Relaxed);
        Ok((sent?, scrapes.join().expect("no panic")?))
    })?;
    let last = metrics(&to.host)?;
    let drains = value(&last, "flowml_drain_lateness_seconds_count ")?;
    let late = drains - value(&last, "flowml_drain_lateness_seconds_bucket{le=\"0.1\"} ")?;
    let full = value(&last, "flowml_skipped_packets_total{reason=\"table_full\"} ")?;
    let begun = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    eprintln!(
        "{} packets: {drains} drains, {late} of them more than 0.1 s late; the slowest scrape took {slowest:?}; {full} found \
         the table full; the end took {:?}",
        sent.packets,
        begun.elapsed()
    );
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert!(late <= 0.01 * drains.max(100.0), "{late} of {drains} drains were late");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    Ok(())
}
