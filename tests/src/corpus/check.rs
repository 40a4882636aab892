//! Counts the flows and packets of a capture by label, with flowml itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::agent;

/// Flows of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Labelled {
    /// The number of flows.
    pub flows: u64,
    /// The number of their packets.
    pub packets: u64,
}

/// Runs `flowml read` and `flowml label` with a capture and rules. Returns the counts by label. Writes its tables to
/// `folder`.
pub fn labelled(capture: &Path, rules: &Path, folder: &Path) -> Result<BTreeMap<String, Labelled>> {
    let (flows, labels) = (folder.join("flows.csv"), folder.join("labelled.csv"));
    let mut sink = OsStr::new("csv=").to_owned();
    sink.push(&flows);
    flowml(&[OsStr::new("read"), capture.as_os_str(), OsStr::new("-o"), &sink])?;
    let rules = [OsStr::new("--rules"), rules.as_os_str()];
    flowml(&[&[OsStr::new("label"), flows.as_os_str()], &rules[..], &[OsStr::new("-o"), labels.as_os_str()]].concat())?;
    count(&labels).with_context(|| format!("the labelled flows of {}", capture.display()))
}

fn count(table: &Path) -> Result<BTreeMap<String, Labelled>> {
    let mut table = csv::Reader::from_path(table)?;
    let header = table.headers()?.clone();
    let column =
        |name: &str| header.iter().position(|column| column == name).with_context(|| format!("no column {name}"));
    let (label, packets) = (column("label")?, column("bidirectional_packets")?);
    let mut counts = BTreeMap::<String, Labelled>::new();
    for row in table.records() {
        let row = row?;
        let count = counts.entry(row[label].to_owned()).or_default();
        count.flows += 1;
        count.packets += row[packets].parse::<u64>().with_context(|| format!("packets: {}", &row[packets]))?;
    }
    Ok(counts)
}

fn flowml(arguments: &[&OsStr]) -> Result<()> {
    let mut command = Command::new(agent::binary()?);
    let output = command.args(arguments).output().with_context(|| format!("running {command:?}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {}", output.status, message.trim());
    Ok(())
}
