//! Inputs that flowml once got wrong, after reports of users of flow meters: the rows of `flowml read` are the right ones.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::binary;
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::frames::{Frame, Ipv4, Tcp};
use flowml_tests::lab::or_skip;
use serde_json::Value;

/// When a capture begins, ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// Client and server.
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

/// The flow rows of `flowml read` over a capture file with these bytes. The account must close.
fn flows_of(name: &str, capture: &[u8], arguments: &[&str]) -> Result<Vec<Value>> {
    let path = std::env::temp_dir().join(format!("flowml-fault-{name}-{}.pcap", std::process::id()));
    fs::write(&path, capture).with_context(|| format!("writing {}", path.display()))?;
    let mut command = Command::new(binary()?);
    command.args(["read", "-o", "jsonl=-"]).args(arguments).arg(&path).stdin(Stdio::null());
    let output = command.output().context("running flowml read");
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let output = output?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    let rows: Vec<Value> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().context("rows of JSON")?;
    let summary = rows.last().context("there is no row")?;
    ensure!(summary["type"] == "summary" && summary["conserved"] == true, "{summary}");
    Ok(rows.into_iter().filter(|row| row["type"] == "flow").collect())
}

/// The flow rows of a capture of these frames, each with its time since the begin, ns.
fn flows(name: &str, frames: &[(u64, Vec<u8>)], arguments: &[&str]) -> Result<Vec<Value>> {
    let records: Vec<_> = frames.iter().map(|(ns, bytes)| Record::whole(BEGIN_NS + ns, bytes.clone())).collect();
    flows_of(name, &Pcap::of(1).write(&records), arguments)
}

/// Needs no privileges, but the agent.
fn has_agent() -> bool {
    or_skip(binary()).is_some()
}

/// Gaps of 1.5 and 6.5 ms by turns, in whole microseconds.
#[test]
fn the_deviation_of_gaps_is_that_of_their_times() -> Result<()> {
    if !has_agent() {
        return Ok(());
    }
    let frames: Vec<_> = [0, 1500, 8000, 9500, 16_000]
        .map(|us| (us * 1000, tcp(true, [40_000, 80], flowml_tests::frames::flag::ACK, 1, b"")))
        .into();
    let flows = flows("deviation", &frames, &[])?;
    ensure!(flows.len() == 1, "{flows:?}");
    ensure!(flows[0]["bidirectional_mean_piat_ms"] == 4.0, "{}", flows[0]);
    // √(4 × 2.5² / 3).
    let deviation = flows[0]["bidirectional_stddev_piat_ms"].as_f64().context("a number")?;
    ensure!((deviation - 2.886_751_345_948_129).abs() < 1e-12, "{deviation}");
    ensure!(flows[0]["bidirectional_duration_ms"].as_f64() == Some((16 * MS) as f64 / 1e6), "{}", flows[0]);
    Ok(())
}
