//! More flows than the agent can process: the counts that stay exact, what is served meanwhile, and the recovery.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, Report};
use flowml_tests::frames::{Frame, Ipv4, NOBODY, Tcp, flag};
use flowml_tests::lab::{Interface, quiet_pair, wait_until};
use flowml_tests::proc_status::field;
use flowml_tests::scrape::{METRICS, Scrape};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use rustix::process::{Signal, setpriority_process};
use serde::Deserialize;
use serde_json::Value;

/// Longest time for a step on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Sends one packet for each of this many flows, and waits until the other end has received all of them.
fn flood(from: &Interface, to: &Interface, flows: u32, rate: Rate) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let spray = FlowSpray::unanswered(to, flows, u64::from(flows));
    let sent = FrameSender::open(from)?.spray(&spray, rate)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// Checks that every packet is in the packet accounting, and that each packet in a flow is in exactly one row.
fn assert_accounts_for(report: &Report, sent: Sent) -> Result<()> {
    let summary = report.summary()?;
    assert_eq!(summary["conserved"], true, "{summary}");
    assert_eq!(summary["packets_received"], sent.packets, "{summary}");
    let full = summary["packets_skipped"]["table_full"].as_u64().context("a count")?;
    let in_flows = summary["packets_in_flows"].as_u64().context("a count")?;
    assert_eq!(in_flows + full, sent.packets, "{summary}");
    Ok(())
}

/// With little memory for waiting entries, the table is drained more slowly than it fills. The rest is counted and
/// reported once, and the run ends in order.
#[test]
fn packets_without_room_are_counted_and_the_run_continues() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let small = ["--memory-max", "1MiB", "--flow-capacity", "1024", "--interval", "100ms", "--metrics", METRICS];
    let agent = Agent::meter(&to, &small)?;
    let sent = flood(&from, &to, 40_000, Rate::Full)?;
    // Metrics are served while the backlog is processed.
    assert!(Scrape::of(&to.host)?.value("flowml_received_packets_total")? <= sent.packets as f64);
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_accounts_for(&report, sent)?;
    let held = report.stderr.matches("flows arrive faster than they are processed").count();
    let logged = report.stderr.matches("flow table").count();
    assert!(held + logged < 50, "few lines for {} packets: {}", sent.packets, report.stderr);
    Ok(())
}

/// With little memory a flood causes an overload at once. What is left out is counted and reported, each packet is in
/// one row, and the overload ends after the flood.
#[test]
fn overload_is_counted_and_ends_after_the_flood() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let small = ["--memory-max", "1MiB", "--flow-capacity", "1024", "--interval", "100ms", "--metrics", METRICS];
    let agent = Agent::meter(&to, &small)?;
    let level = || -> Result<f64> { Scrape::of(&to.host)?.value("flowml_overload_level") };
    let (begun, mut sent) = (Instant::now(), Sent::default());
    while level()? < 3.0 {
        ensure!(begun.elapsed() < LIMIT, "no overload by {} packets", sent.packets);
        sent += flood(&from, &to, 20_000, Rate::Full)?;
    }
    // A level takes ten seconds to fall, and the waiting entries must be processed first.
    wait_until(LIMIT, || Ok(level()? == 0.0)).context("waiting for the end of the overload")?;
    let after = flood(&from, &to, 10, Rate::Full)?;
    sent += after;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_accounts_for(&report, sent)?;
    let summary = report.summary()?;
    let sum = |kind, name: &str| report.of_type(kind).filter_map(|row| row[name].as_u64()).sum::<u64>();
    let [flows, aggregated] = ["flow", "aggregate"].map(|kind| sum(kind, "bidirectional_packets"));
    assert_eq!(flows + aggregated, summary["packets_in_flows"].as_u64().context("a count")?, "{summary}");
    assert!(aggregated > 0 && summary["packets_aggregated"] == aggregated, "{aggregated}: {summary}");
    assert_eq!(summary["shed"]["records"], sum("aggregate", "flows"), "{summary}");
    let last = report.of_type("flow").filter(|row| row["end_reason"] == "forced_end").count() as u64;
    assert!(last >= after.packets, "packets after the overload should have records of their own: {last}");
    for (text, times) in [("overload (", 1..=4), ("less overload: ", 0..=12), ("overload is over", 1..=1)] {
        let found = report.stderr.matches(text).count();
        assert!(times.contains(&found), "{found} times {text:?}: {}", report.stderr);
    }
    assert!(report.stderr.matches("flow table").count() < 12, "{}", report.stderr);
    Ok(())
}

/// At the end more flows are open than can be written in time. Flows without a row are counted, and no packet is
/// missing in the packet accounting.
#[test]
fn the_end_of_a_run_accounts_for_a_flood_of_open_flows() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
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
    // Each flow has one packet: it is written, in an aggregate row, or lost. Other rows may be lost too.
    let written = text.matches("\"type\":\"flow\"").count() as u64;
    let losses = summary["losses"].as_array().context("losses")?;
    let lost: u64 = losses.iter().map(|loss| count(&loss["rows_lost"])).sum::<Result<_>>()?;
    let aggregated = count(&summary["packets_aggregated"])?;
    assert_eq!(count(&summary["flows"])? + aggregated, in_flows, "{summary}");
    assert!(written > 0 && written + aggregated + lost >= in_flows, "{written} of {in_flows} flows: {summary}");
    ensure!(report.code == Some(i32::from(lost > 0)), "{:?}: {}", report.code, report.stderr);
    Ok(())
}

/// The effects of a flood of a minute on an agent.
#[derive(Debug)]
struct Flooded {
    sent: Sent,
    /// Drains at the end of intervals, and those that were more than 50 ms late.
    drains: [f64; 2],
    slowest_scrape: Duration,
    /// Time from the start of the flood until an incident was open.
    incident_after: Option<Duration>,
    /// Packets that found the table full.
    table_full: f64,
    /// Peak memory of the agent in MiB.
    memory_mib: u64,
    end_took: Duration,
    code: Option<i32>,
    stderr: String,
    rows: FloodRows,
}

/// What is checked in the rows of a flood. There are millions of rows, so they are not kept.
#[derive(Debug, Default)]
struct FloodRows {
    /// Packets in flows and aggregates.
    packets: u64,
    /// Incidents that were opened.
    incidents: u64,
    /// The packets of each flow to SSH.
    dialogues: Vec<u64>,
    summary: Value,
}

/// The fields of a row that are checked.
#[derive(Deserialize)]
struct FloodRow<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    state: Option<&'a str>,
    dst_port: Option<u16>,
    bidirectional_packets: Option<u64>,
}

impl FloodRows {
    fn of(path: &Path) -> Result<Self> {
        let mut rows = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            rows.add(&line?)?;
        }
        Ok(rows)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let row: FloodRow<'_> = serde_json::from_str(line)?;
        let packets = || row.bidirectional_packets.with_context(|| format!("packets in {line}"));
        match row.kind {
            "flow" | "aggregate" => self.packets += packets()?,
            "incident" => self.incidents += u64::from(row.state == Some("open")),
            "summary" => self.summary = serde_json::from_str(line)?,
            _ => {}
        }
        if row.kind == "flow" && row.dst_port == Some(22) {
            self.dialogues.push(packets()?);
        }
        Ok(())
    }
}

/// Memory in MiB for what grows with traffic in these floods.
const MEMORY_MIB: u64 = 2048;

/// Memory of an agent in MiB besides `--memory-max`: the mapped flow table, models, code, and what the allocator keeps.
const BESIDES_MIB: u64 = 560;

/// The nice value of the thread that scrapes the metrics (setpriority(2) applies to one thread).
const SCRAPER_NICE: i32 = -20;

/// Packets of a connection that continues during the flood.
const CONNECTION_PACKETS: u64 = 290;

/// Sends new flows from spoofed addresses for a minute, with a connection to SSH meanwhile.
fn flood_for_a_minute(rate: u32) -> Result<Option<Flooded>> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.jsonl");
    let (output, memory) = (format!("jsonl={}", path.display()), format!("{MEMORY_MIB}MiB"));
    let arguments = ["run", "-i", &to.name, "-q", "--metrics", METRICS, "--memory-max", &memory, "-o", &output];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    let before = to.counters()?.rx_packets;
    let packets = 60 * u64::from(rate);
    // An odd number with many bits: consecutive flows have distant addresses.
    let header = Ipv4 { destination: to.v4, ..Ipv4::default() };
    let syn = Tcp { destination_port: 80, flags: flag::SYN, ..Tcp::default() };
    let template = Frame::between(to.mac, NOBODY).ipv4(&header).tcp(&syn).padded().finish();
    let spray = FlowSpray { template, step: 0x9e37_79b9, ..FlowSpray::unanswered(&to, packets as u32, packets) };
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    let (sent, watched) = thread::scope(|scope| -> Result<_> {
        let watch = scope.spawn(|| -> Result<(Duration, Option<Duration>)> {
            // A real scraper is on another host. This one must not wait for a CPU because of the sender.
            setpriority_process(None, SCRAPER_NICE)?;
            let (mut slowest, mut incident_after) = (Duration::ZERO, None);
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let text = Scrape::of(&to.host)?;
                slowest = slowest.max(asked.elapsed());
                if incident_after.is_none() && text.value("flowml_open_incidents")? > 0.0 {
                    incident_after = Some(begun.elapsed());
                }
                thread::sleep(Duration::from_millis(100));
            }
            Ok((slowest, incident_after))
        });
        let connection = scope.spawn(|| talk(&from, &to));
        let sent = FrameSender::open(&from)?.spray(&spray, Rate::PerSecond(rate))?;
        let packets = connection.join().expect("no panic")?;
        over.store(true, Ordering::Relaxed);
        Ok((Sent { packets: sent.packets + packets, bytes: sent.bytes }, watch.join().expect("no panic")?))
    })?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    let last = Scrape::of(&to.host)?;
    let drains = last.value("flowml_drain_lateness_seconds_count")?;
    let on_time = last.value("flowml_drain_lateness_seconds_bucket{le=\"0.05\"}")?;
    let table_full = last.value("flowml_skipped_packets_total{reason=\"table_full\"}")?;
    let memory_mib = field(agent.id(), "VmHWM")? / 1024;
    let end = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    let end_took = end.elapsed();
    let flooded = Flooded {
        sent,
        drains: [drains, drains - on_time],
        slowest_scrape: watched.0,
        incident_after: watched.1,
        table_full,
        memory_mib,
        end_took,
        code: report.code,
        stderr: report.stderr,
        rows: FloodRows::of(&path)?,
    };
    eprintln!("{}", flooded.in_words());
    Ok(Some(flooded))
}

/// Sends one side of a connection to SSH for nearly a minute, five packets a second, without answers.
fn talk(from: &Interface, to: &Interface) -> Result<u64> {
    let sender = FrameSender::open(from)?;
    let header = Ipv4 { destination: to.v4, source: from.v4, ..Ipv4::default() };
    let ports = |flags| Tcp { source_port: 50_022, destination_port: 22, flags, ..Tcp::default() };
    let frame = |flags| Frame::between(to.mac, NOBODY).ipv4(&header).tcp(&ports(flags)).padded().finish();
    for n in 0..CONNECTION_PACKETS {
        sender.send(&[frame(if n == 0 { flag::SYN } else { flag::ACK | flag::PSH })], 1, Rate::Full)?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(CONNECTION_PACKETS)
}

impl Flooded {
    fn in_words(&self) -> String {
        let Self { sent, drains: [drains, late], slowest_scrape, incident_after, table_full, memory_mib, .. } = self;
        format!(
            "{} packets: {drains} drains, {late} of them more than 50 ms late; the slowest scrape took {slowest_scrape:?}; an \
             incident after {incident_after:?}; {table_full} packets found the table full; {memory_mib} MiB at most; the end \
             took {:?}\n{}\n{}",
            sent.packets, self.end_took, self.rows.summary, self.stderr,
        )
    }

    /// Checks what holds at any rate.
    fn assert_is_in_order(&self) -> Result<()> {
        ensure!(self.code == Some(0), "{:?}: {}", self.code, self.stderr);
        let FloodRows { packets, incidents, summary, .. } = &self.rows;
        assert_eq!((&summary["conserved"], &summary["packets_received"]), (&true.into(), &self.sent.packets.into()));
        assert_eq!(&summary["packets_in_flows"], packets, "each packet is in one row");
        assert_eq!(*incidents, 1, "one flood is one incident");
        assert!(self.slowest_scrape < Duration::from_millis(100), "{:?}", self.slowest_scrape);
        assert!(self.memory_mib < MEMORY_MIB + BESIDES_MIB, "{} MiB", self.memory_mib);
        assert!(self.end_took < Duration::from_secs(2), "{:?}", self.end_took);
        Ok(())
    }

    /// Checks that drains and the incident were on time, and that the connection is one complete record.
    fn assert_is_on_time(&self) {
        let after = self.incident_after;
        assert!(after.is_some_and(|after| after < Duration::from_secs(2)), "{after:?}");
        assert_eq!(self.rows.dialogues, [CONNECTION_PACKETS]);
        let [drains, late] = self.drains;
        assert!(late <= 0.01 * drains.max(100.0), "{late} of {drains} drains were late");
    }
}

/// New flows for a minute at a rate that the default capacity can take. The test depends on timing, so it is one of the
/// long tests.
#[test]
#[ignore = "it takes minutes, of a machine that does nothing else: cargo xtask test --long"]
fn a_flood_of_a_minute_is_metered_on_time() -> Result<()> {
    let Some(flooded) = flood_for_a_minute(160_000)? else { return Ok(()) };
    assert_eq!(flooded.table_full, 0.0);
    flooded.assert_is_on_time();
    flooded.assert_is_in_order()
}

/// The same at three times the rate, which is more than one thread can process.
#[test]
#[ignore = "it takes minutes, of a machine that does nothing else: cargo xtask test --long"]
fn a_flood_beyond_all_capacities_is_accounted_for() -> Result<()> {
    let Some(flooded) = flood_for_a_minute(480_000)? else { return Ok(()) };
    flooded.assert_is_on_time();
    flooded.assert_is_in_order()
}
