//! `cargo xtask bench`: measures flowml against the kernel's hash map, other readers of captures and scikit-learn.
//!
//! The flow table and its drain are compared with the kernel's own per-CPU hash map, `flowml read` with other readers
//! of captures, training with scikit-learn, and whole live runs with a program that does nothing.
//!
//! Both sides are measured in one run and alternately, so that other activity of the machine affects both. The result
//! is the median of the ratios of neighbouring rounds. The counts are checked as well as the times.

mod child;
mod cpu_time;
mod drain;
mod learning;
mod live;
mod mixture;
mod packet;
mod percpu_hash;
mod programs;
mod ratio;
mod reading;
mod table;
mod total;
mod watching;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use flowml_tests::traffic::raw::on_cpu;

use crate::ratio::Ratio;

/// Numbers of flows for the cost of a packet, each a power of two, and the goals (BENCHMARKS.md).
const FLOWS: [(u32, Option<f64>); 4] = [(1, Some(0.7)), (1 << 10, None), (1 << 16, Some(0.5)), (1 << 18, None)];

/// The number of flows to drain, and the goal.
const DRAINED: (u32, f64) = (1 << 18, 0.2);

/// A group of measurements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Table,
    Read,
    Learn,
    Live,
}

impl Part {
    const ALL: [(&str, Self); 4] =
        [("table", Self::Table), ("read", Self::Read), ("learn", Self::Learn), ("live", Self::Live)];
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (json, names) = match &arguments[..] {
        [flag, path, names @ ..] if flag == "--json" => (Some(PathBuf::from(path)), names),
        names => (None, names),
    };
    let part = |name: &OsString| Part::ALL.into_iter().find(|(known, _)| name == known).map(|(_, part)| part);
    let Some(parts) = names.iter().map(part).collect::<Option<Vec<_>>>() else {
        eprintln!("usage: bench [--json PATH] [table] [read] [learn] [live]");
        return ExitCode::from(2);
    };
    match run(json.as_deref(), &parts) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures these parts, or all if none is named. Returns whether all goals are met.
fn run(json: Option<&Path>, parts: &[Part]) -> Result<bool> {
    let cpus = aya::util::online_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    // The last CPU, because most interrupts go to the first one.
    let cpu = *cpus.last().context("no CPU is online")?;
    println!("{}", machine(cpus.len())?);
    // The second CPU of the measurements that use two CPUs.
    let other = cpus.iter().rev().nth(1).copied().unwrap_or(cpu);
    println!("Programs and readers run on CPU {cpu} alone unless stated otherwise; otherwise also on CPU {other}.\n");
    let ratios = on_cpu(cpu as usize, || {
        let mut ratios = Vec::new();
        for (_, part) in Part::ALL.iter().filter(|(_, part)| parts.is_empty() || parts.contains(part)) {
            ratios.extend(match part {
                Part::Table => measure_table()?,
                Part::Read => measure_reading([cpu, other].map(|cpu| cpu as usize))?,
                Part::Learn => measure_learning()?,
                Part::Live => measure_live([cpu, other].map(|cpu| cpu as usize))?,
            });
        }
        anyhow::Ok(ratios)
    })??;
    ratio::print(&ratios);
    if let Some(path) = json {
        fs::write(path, ratio::json(&ratios)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ratios.iter().all(Ratio::is_met))
}

fn measure_table() -> Result<Vec<Ratio>> {
    let object = object()?;
    let mut ratios = Vec::new();
    packet::print_sizes(&object)?;
    packet::print_heading();
    for (flows, goal) in FLOWS {
        let costs = packet::measure(&object, flows)?;
        costs.print();
        ratios.push(costs.ratio(goal));
    }
    let (flows, goal) = DRAINED;
    let drains = drain::measure(&object, flows)?;
    drains.print();
    ratios.extend(drains.ratios(goal));
    Ok(ratios)
}

fn measure_reading(pair: [usize; 2]) -> Result<Vec<Ratio>> {
    let readings = reading::measure(pair)?;
    readings.print();
    Ok(readings.ratios().into())
}

fn measure_learning() -> Result<Vec<Ratio>> {
    let costs = learning::measure(&reading::quarter()?)?;
    costs.print();
    Ok(costs.ratios().into())
}

fn measure_live(pair: [usize; 2]) -> Result<Vec<Ratio>> {
    let runs = live::measure(&object()?, pair)?;
    live::Runs::print_heading();
    runs.iter().for_each(live::Runs::print);
    println!();
    Ok(runs.iter().flat_map(live::Runs::ratios).collect())
}

/// The benchmarks' object, which is beside the agent's.
fn object() -> Result<Vec<u8>> {
    let Some(agent) = std::env::var_os("FLOWML_OBJECT") else {
        bail!("FLOWML_OBJECT is not set: run this as `cargo xtask bench`");
    };
    let path = Path::new(&agent).with_file_name("bench.o");
    fs::read(&path).with_context(|| format!("cannot read {}: `cargo xtask bench` builds it", path.display()))
}

/// A description of the machine, so that figures can be compared.
fn machine(cpus: usize) -> Result<String> {
    let information = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("CPU of unknown model", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's version")?;
    Ok(format!("{cpus} × {model}, Linux {}", kernel.trim_end()))
}
