//! Runs every part of the benchmarks once with the smallest counts: it finds all flows and packets. No speed is checked.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent;
use flowml_tests::lab::require_lab;
use flowml_tests::peers::{require_engines, require_peers};

/// Runs a part. The bench itself checks what it found. Its last rows are ratios whose names begin with `prefix`.
fn once(part: &str, prefix: &str) -> Result<()> {
    let object =
        std::env::var_os("FLOWML_OBJECT").unwrap_or_else(|| agent::target().join("kernel/flowml.o").into_os_string());
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--once", part])
        .env("FLOWML_OBJECT", object)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting the bench of {part}"))?;
    let [text, message] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    ensure!(output.status.success(), "{part}: {}\n{text}{message}", output.status);
    let (_, ratios) = text.split_once("ratio (ours / theirs)").with_context(|| format!("no ratios: {text}"))?;
    let rows: Vec<&str> = ratios.lines().skip(1).collect();
    ensure!(!rows.is_empty() && rows.iter().all(|row| row.starts_with(prefix)), "{part}: {text}");
    Ok(())
}

#[test]
fn the_flow_table_and_the_map_of_the_kernel_have_all_flows() -> Result<()> {
    let Some(_lab) = require_lab() else { return Ok(()) };
    once("table", "")
}

#[test]
fn flowml_and_its_peers_read_all_packets() -> Result<()> {
    let (Some(_lab), Some(_peers)) = (require_lab(), require_peers()) else { return Ok(()) };
    once("read", "read_")
}

#[test]
fn both_learners_train_and_all_rows_are_scored() -> Result<()> {
    let (Some(_lab), Some(_peers)) = (require_lab(), require_peers()) else { return Ok(()) };
    once("learn", "")
}

#[test]
fn a_live_run_has_all_packets_in_flows() -> Result<()> {
    let Some(_lab) = require_lab() else { return Ok(()) };
    once("live", "live_")
}

#[test]
fn every_flow_of_the_path_has_a_record_with_every_model_output_and_number_of_incidents() -> Result<()> {
    once("path", "path_")
}

#[test]
fn all_sessions_whose_memory_is_measured_are_open() -> Result<()> {
    once("memory", "memory_")
}

#[test]
fn all_rows_of_a_simulated_fleet_are_in_the_engine() -> Result<()> {
    let (Some(_lab), Some(_engines)) = (require_lab(), require_engines()) else { return Ok(()) };
    once("fleet", "fleet_")
}
