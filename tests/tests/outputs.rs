//! Outputs that stall or fail while the agent meters: what they affect, and what they do not.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, binary};
use flowml_tests::lab::{Interface, quiet_pair, wait_until};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use flowml_user::dataset::{RowType, TableReader};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Longest time for a step on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends packets, each of its own flow, and waits until the other end has received all of them.
fn send(from: &Interface, to: &Interface, packets: u32) -> Result<Sent> {
    send_flows(from, to, packets, u64::from(packets))
}

/// The same with this many flows.
fn send_flows(from: &Interface, to: &Interface, flows: u32, packets: u64) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let spray = FlowSpray::unanswered(to, flows, packets);
    let sent = FrameSender::open(from)?.spray(&spray, Rate::PerSecond(20_000))?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

fn fifo(path: &Path) -> Result<&Path> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    Ok(path)
}

fn json_rows(path: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn count(rows: &[Value], kind: &str) -> u64 {
    rows.iter().filter(|row| row["type"] == kind).count() as u64
}

/// The outputs of a test, some of which stall.
struct Outputs {
    folder: TempDir,
}

impl Outputs {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn argument(&self, format: &str, name: &str) -> String {
        format!("{format}={}", self.path(name).display())
    }
}

/// The traffic of a test.
#[derive(Clone, Copy)]
struct Load {
    flows: u32,
    packets: u64,
    /// Longer than the time between two packets of a flow.
    idle_timeout: &'static str,
}

/// A second of packets, each of its own flow.
const SECOND: Load = Load { flows: 20_000, packets: 20_000, idle_timeout: "1s" };

/// Half a minute. The rows take more memory than the queues and sockets.
const HALF_MINUTE: Load = Load { flows: 60_000, packets: 600_000, idle_timeout: "6s" };

/// Runs the agent with one working output and several stalled ones. Metering and the working output continue, and the
/// end does not wait. Returns how long the end took.
fn with_stalled([from, to]: &[Interface; 2], outputs: &Outputs, stalled: &[String], load: Load) -> Result<Duration> {
    let whole = outputs.path("whole.jsonl");
    // The capacity is the default of a large host. With half of it and an unfavourable hash seed, consecutive ports can fill
    // the buckets of a flow. The test would mistake its skipped packets for packets lost by a stalled output.
    let run = ["run", "-i", &to.name, "--idle-timeout", load.idle_timeout, "--flow-capacity", "131072"];
    let mut arguments: Vec<String> = run.map(str::to_owned).into();
    for output in [outputs.argument("jsonl", "whole.jsonl")].iter().chain(stalled) {
        arguments.extend(["-o".to_owned(), output.clone()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(to)?;
    let sent = send_flows(from, to, load.flows, load.packets)?;
    // The flows end by their idle timeout. The working output has them while the others are stalled.
    let flows = load.flows as usize;
    let all_there = || Ok(whole.exists() && fs::read_to_string(&whole)?.matches("\"type\":\"flow\"").count() == flows);
    wait_until(LIMIT, all_there).with_context(|| format!("the messages of the agent:\n{}", agent.stderr()))?;
    let begun = Instant::now();
    let report = agent.stop(Signal::TERM)?;
    let end_took = begun.elapsed();
    let (collectors, files): (Vec<_>, Vec<_>) = stalled.iter().partition(|output| output.starts_with("ipfix="));
    // Collectors may lose records in a successful run, files and pipes may not.
    let code = i32::from(!files.is_empty());
    ensure!(report.code == Some(code), "rows are lost: {:?}\n{}", report.code, report.stderr);
    let rows = json_rows(&whole)?;
    let summary = rows.last().context("rows")?;
    assert_eq!(summary["type"], "summary", "after {end_took:?}: {}", report.stderr);
    assert_eq!(summary["conserved"], true, "{summary}");
    assert_eq!(summary["packets_skipped"]["table_full"], 0, "{summary}");
    assert_eq!(
        (&summary["packets_received"], &summary["packets_in_flows"]),
        (&sent.packets.into(), &sent.packets.into())
    );
    let of = |name: &str| summary[name].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!((of("losses").len(), of("collectors").len()), (files.len(), collectors.len()), "{summary}");
    for loss in of("losses") {
        assert!(loss["rows_lost"].as_u64() > Some(0), "{summary}");
        let line = format!("{}: 0 rows", loss["destination"].as_str().context("a text")?);
        assert!(report.stderr.contains(&line), "{line} in {}", report.stderr);
    }
    for collector in of("collectors") {
        let [sent, lost] = ["records_sent", "records_lost"].map(|name| collector[name].as_u64());
        assert_eq!(sent.zip(lost).map(|(sent, lost)| sent + lost), Some(load.flows.into()), "{summary}");
        assert!(lost > Some(0), "{summary}");
    }
    Ok(end_took)
}

#[test]
fn a_stalled_output_delays_nothing_else() -> Result<()> {
    let Some((_lab, ends)) = quiet_pair()? else { return Ok(()) };
    for format in ["jsonl", "csv"] {
        let outputs = Outputs::new()?;
        fifo(&outputs.path("fifo"))?;
        with_stalled(&ends, &outputs, &[outputs.argument(format, "fifo")], SECOND)
            .with_context(|| format!("a FIFO without a reader as {format}"))?;
    }
    let outputs = Outputs::new()?;
    let arguments = [("jsonl", "one"), ("csv", "two"), ("jsonl", "three")].map(|(format, name)| {
        fifo(&outputs.path(name))?;
        Ok(outputs.argument(format, name))
    });
    let arguments = arguments.into_iter().collect::<Result<Vec<_>>>()?;
    with_stalled(&ends, &outputs, &arguments, SECOND).context("several at once")?;
    Ok(())
}

/// FIFOs without a reader and a collector that reads nothing, one after the other and all at once, for half a minute.
#[test]
#[ignore = "it takes minutes, of a machine that does nothing else: cargo xtask test --long"]
fn an_output_that_stalls_for_half_a_minute_delays_nothing_else() -> Result<()> {
    let Some((_lab, ends)) = quiet_pair()? else { return Ok(()) };
    let collector = ends[1].host.enter(|| TcpListener::bind("127.0.0.1:0"))??;
    let collector = format!("ipfix=tcp://{}", collector.local_addr()?);
    for chosen in [&["jsonl"][..], &["csv"], &["ipfix"], &["jsonl", "csv", "ipfix"]] {
        let outputs = Outputs::new()?;
        let arguments = chosen.iter().map(|format| match *format {
            "ipfix" => Ok(collector.clone()),
            format => fifo(&outputs.path(format)).map(|_| outputs.argument(format, format)),
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let end_took = with_stalled(&ends, &outputs, &arguments, HALF_MINUTE).with_context(|| format!("{chosen:?}"))?;
        eprintln!("{chosen:?}: the end took {end_took:?}");
        assert!(end_took < Duration::from_secs(2), "{chosen:?}: {end_took:?}");
    }
    Ok(())
}

/// A reader that opens the FIFO late gets all rows from the first on.
#[test]
fn a_fifo_is_opened_when_its_reader_opens_it() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let outputs = Outputs::new()?;
    let path = outputs.path("fifo");
    fifo(&path)?;
    let output = outputs.argument("jsonl", "fifo");
    let arguments = ["run", "-i", &to.name, "--idle-timeout", "1s", "-qq", "-o", &output];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    send(&from, &to, 1000)?;
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || -> Result<String> {
        let mut text = String::new();
        let mut fifo = fs::File::open(path)?;
        opened.send(())?;
        fifo.read_to_string(&mut text)?;
        Ok(text)
    });
    is_open.recv_timeout(LIMIT).context("the agent has opened the FIFO, too")?;
    let report = agent.stop(Signal::INT)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    let text = reader.join().expect("no panic")?;
    let rows: Vec<Value> = text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    assert_eq!(count(&rows, "flow"), 1000);
    assert_eq!(rows.last().context("rows")?["type"], "summary");
    Ok(())
}

/// Outputs and standard error are pipes that no process reads. Every way to end the run works nevertheless.
#[test]
fn a_run_ends_although_no_process_reads_its_output() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let outputs = Outputs::new()?;
    fifo(&outputs.path("fifo"))?;
    let program = binary()?;
    let program = program.to_str().context("a path in UTF-8")?;
    for signal in [Some(Signal::TERM), Some(Signal::INT), None] {
        let output = if signal.is_some() { "jsonl=-".to_owned() } else { outputs.argument("jsonl", "fifo") };
        let mut command = vec![program, "run", "-i", &to.name, "-o", &output];
        command.extend(if signal.is_none() { &["--duration", "1s"][..] } else { &[] });
        let mut child = to.host.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(signal) = signal {
            let hooks = || Ok(flowml_tests::hooks::Hooks::of(&to)?.sees_ingress());
            wait_until(LIMIT, hooks).context("waiting until it is attached")?;
            // More than fits in the pipe.
            send(&from, &to, 5000)?;
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)?;
        }
        let ended = wait_until(LIMIT, || Ok(child.try_wait()?.is_some()));
        if ended.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        ended.with_context(|| format!("waiting for the end by {signal:?}"))?;
        assert_eq!(status.code(), Some(1), "rows are lost, by {signal:?}");
    }
    Ok(())
}

/// The number of rows of one type in a folder of tables.
fn table_rows(folder: &Path, of: RowType) -> Result<u64> {
    Ok(TableReader::open_folder(folder, of)?
        .try_fold(0, |rows, batch| batch.map(|batch| rows + batch.num_rows() as u64))?)
}

/// The number of incomplete files in a folder.
fn parts(folder: &Path) -> Result<usize> {
    let names = folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(names.iter().filter(|path| path.extension() == Some(OsStr::new("part"))).count())
}

/// A killed agent loses only the rows of files that it has not completed.
#[test]
fn a_killed_agent_leaves_complete_files() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let outputs = Outputs::new()?;
    let tables = outputs.path("tables");
    let output = outputs.argument("parquet", "tables,rotate=1s");
    let arguments = ["run", "-i", &to.name, "-qq", "--interval", "100ms", "--idle-timeout", "100ms", "-o", &output];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    send(&from, &to, 2000)?;
    // The files are read while the agent writes others.
    let all_there = || Ok(table_rows(&tables, RowType::Flow).is_ok_and(|rows| rows == 2000));
    wait_until(LIMIT, all_there).with_context(|| format!("the messages of the agent:\n{}", agent.stderr()))?;
    send(&from, &to, 500)?;
    agent.signal(Signal::KILL)?;
    let report = agent.finish(LIMIT)?;
    assert_eq!((report.code, report.signal), (None, Some(Signal::KILL.as_raw())));
    let left = table_rows(&tables, RowType::Flow)?;
    assert!((2000..=2500).contains(&left), "{left}");
    for of in RowType::ALL {
        table_rows(&tables, of).with_context(|| format!("rows of {of:?}"))?;
    }

    // The next run continues the table.
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    send(&from, &to, 100)?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_eq!((table_rows(&tables, RowType::Flow)?, parts(&tables.join("flows"))?), (left + 100, 0));
    Ok(())
}

/// Rows of CSV and JSON lines continue in the next file. A file is complete when it has its final name.
#[test]
fn streams_continue_in_the_next_file() -> Result<()> {
    let Some((_lab, [from, to])) = quiet_pair()? else { return Ok(()) };
    let outputs = Outputs::new()?;
    let arguments = [outputs.argument("csv", "flows.csv,rotate=1s"), outputs.argument("jsonl", "rows.jsonl,rotate=1s")];
    let [csv, jsonl] = &arguments;
    let arguments =
        ["run", "-i", &to.name, "-qq", "--interval", "100ms", "--idle-timeout", "100ms", "-o", csv, "-o", jsonl];
    let agent = Agent::start(&to.host, &arguments)?;
    agent.wait_attached(&to)?;
    let whole = |extension: &str| -> Result<Vec<PathBuf>> {
        let paths = outputs.folder.path().read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let mut paths: Vec<_> =
            paths.into_iter().filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
        paths.sort();
        Ok(paths)
    };
    for files in 1..=2 {
        send(&from, &to, 1000)?;
        let there = || Ok(whole("csv")?.len() >= files && whole("jsonl")?.len() >= files);
        wait_until(LIMIT, there).with_context(|| format!("the messages of the agent:\n{}", agent.stderr()))?;
    }
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert!(whole("part")?.is_empty());
    let mut rows = 0;
    let mut headers = Vec::new();
    for path in whole("csv")? {
        let text = fs::read_to_string(&path)?;
        headers.push(text.lines().next().context("a header")?.to_owned());
        rows += text.lines().count() - 1;
    }
    headers.dedup();
    assert_eq!((rows, headers.len()), (2000, 1));
    let rows: Vec<Value> = whole("jsonl")?.iter().map(|path| json_rows(path)).collect::<Result<Vec<_>>>()?.concat();
    assert_eq!((count(&rows, "flow"), count(&rows, "summary")), (2000, 1));
    assert_eq!(rows.last().context("rows")?["type"], "summary");
    Ok(())
}
