//! The programs that make flows of a capture, each run once with a check of the packets that it found.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent;

use crate::child::{Cost, run};

/// As many flows as the capture has, so that softflowd need not evict any.
const SOFTFLOWD_FLOWS: &str = "1000000";

/// What `flowml read` does with the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Sequential tests and the summary only.
    NoOutput,
    Csv,
    /// With the rows of host windows.
    Jsonl,
    Parquet,
    /// CSV, with flows and host windows scored by the shipped model.
    ScoredCsv,
}

impl Task {
    /// The name of the output file. It is the kind of the output in `-o`, too.
    const fn kind(self) -> Option<&'static str> {
        match self {
            Self::NoOutput => None,
            Self::Csv | Self::ScoredCsv => Some("csv"),
            Self::Jsonl => Some("jsonl"),
            Self::Parquet => Some("parquet"),
        }
    }

    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::ScoredCsv => &["--model", "builtin"],
            Self::NoOutput | Self::Csv | Self::Jsonl | Self::Parquet => &[],
        }
    }
}

/// Runs `flowml read`, which fails unless every packet is in a flow or skipped with a reason. CSV rows are checked as well.
pub(crate) fn flowml(capture: &Path, packets: u64, task: Task) -> Result<Cost> {
    let rows = capture.with_extension("rows");
    let cost = flowml_into(capture, task, &rows)?;
    if task.kind() == Some("csv") {
        verify(&rows, packets)?;
    }
    remove(&rows)?;
    Ok(cost)
}

/// Runs `flowml read` with this output, which stays.
pub(crate) fn flowml_into(capture: &Path, task: Task, rows: &Path) -> Result<Cost> {
    let mut command = Command::new(agent::binary()?);
    command.arg("read").arg(capture).arg("--quiet").args(task.options());
    if let Some(kind) = task.kind() {
        command.arg("-o").arg(format!("{kind}={}", rows.display()));
    }
    Ok(run(&mut command)?.1)
}

/// Removes a file or folder, if there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

/// Checks that all packets of the capture are in the rows.
pub(crate) fn verify(rows: &Path, packets: u64) -> Result<()> {
    let text = fs::read_to_string(rows).with_context(|| format!("cannot read {}", rows.display()))?;
    let mut lines = text.lines();
    let header = lines.next().context("the rows have no header")?;
    let column = header.split(',').position(|name| name == "bidirectional_packets").context("no such column")?;
    // No text column stands before this column, so no comma is quoted before it.
    let counts = lines.map(|line| line.split(',').nth(column).and_then(|count| count.parse::<u64>().ok()));
    let found = counts.sum::<Option<u64>>().context("a row without a number of packets")?;
    ensure!(found == packets, "flowml has {found} packets in flows, expected {packets}");
    Ok(())
}

/// Sends NetFlow 9 to a port of this host on which no program listens.
pub(crate) fn softflowd(capture: &Path, packets: u64) -> Result<Cost> {
    let collector = UdpSocket::bind("127.0.0.1:0").context("no port for a collector")?;
    let mut command = Command::new("softflowd");
    command.arg("-r").arg(capture).args(["-v", "9", "-d", "-c", "none", "-m", SOFTFLOWD_FLOWS]);
    command.arg("-n").arg(collector.local_addr()?.to_string());
    command.arg("-p").arg(capture.with_extension("pid"));
    let (text, cost) = run(&mut command)?;
    let processed = text.lines().find_map(|line| line.strip_prefix("Packets processed: "));
    all_packets("softflowd", processed, packets, &text)?;
    Ok(cost)
}

/// Writes nfdump's files.
pub(crate) fn nfpcapd(capture: &Path, packets: u64) -> Result<Cost> {
    let files = capture.with_extension("nfpcapd");
    remove(&files)?;
    fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
    let (text, cost) = run(Command::new("nfpcapd").arg("-r").arg(capture).arg("-w").arg(&files))?;
    let found = text.split_once("Processed: ").and_then(|(_, rest)| rest.split(',').next());
    all_packets("nfpcapd", found, packets, &text)?;
    remove(&files)?;
    Ok(cost)
}

/// Writes a file of argus. racount sums up its packets.
pub(crate) fn argus(capture: &Path, packets: u64) -> Result<Cost> {
    let file = capture.with_extension("argus");
    // argus appends to an existing file.
    remove(&file)?;
    let (_, cost) = run(Command::new("argus").args(["-X", "-r"]).arg(capture).arg("-w").arg(&file))?;
    let (text, _) = run(Command::new("racount").arg("-r").arg(&file))?;
    let sum = text.lines().find_map(|line| line.trim_start().strip_prefix("sum"));
    // Columns after `sum`: records, packets.
    let found = sum.and_then(|columns| columns.split_whitespace().nth(1));
    all_packets("argus", found, packets, &text)?;
    remove(&file)?;
    Ok(cost)
}

fn all_packets(name: &str, found: Option<&str>, packets: u64, text: &str) -> Result<()> {
    let found = found.with_context(|| format!("{name} reports no number of packets: {text}"))?;
    ensure!(found == packets.to_string(), "{name} has {found} packets, expected {packets}");
    Ok(())
}

/// Computes flows and counts them.
pub(crate) fn nfstream(capture: &Path, packets: u64) -> Result<Cost> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/nfstream_read.py");
    let python = agent::target().join("peers/bin/python");
    let (text, cost) = run(Command::new(python).arg(script).arg(capture))?;
    let found = text.split_whitespace().last().and_then(|count| count.parse::<u64>().ok());
    let found = found.with_context(|| format!("NFStream reports no number of packets: {text}"))?;
    // NFStream leaves out IPv6 packets that were not captured completely: a tenth of these packets.
    ensure!((packets * 8 / 10..=packets).contains(&found), "NFStream has {found} packets in flows, of {packets}");
    Ok(cost)
}
