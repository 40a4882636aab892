//! `cargo xtask bench`: the flow table and its drain against the kernel's own per-CPU hash map.
//!
//! Everything is measured in one run and alternately, so that what else the machine does meets both sides; what counts
//! is the median of the ratios of neighbours. What was counted is checked as well as how long it took.

mod drain;
mod packet;
mod percpu_hash;
mod programs;
mod ratio;
mod table;
mod total;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use flowml_tests::traffic::raw::on_cpu;

use crate::ratio::Ratio;

/// Numbers of flows for the cost of a packet, each a power of two, and the goals of the design (DESIGN.md, "Measured").
const FLOWS: [(u32, Option<f64>); 4] = [(1, Some(0.7)), (1 << 10, None), (1 << 16, Some(0.5)), (1 << 18, None)];

/// Flows to be emptied, and the goal.
const DRAINED: (u32, f64) = (1 << 18, 0.2);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let json = match &arguments[..] {
        [] => None,
        [flag, path] if flag == "--json" => Some(PathBuf::from(path)),
        _ => {
            eprintln!("usage: bench [--json PATH]");
            return ExitCode::from(2);
        }
    };
    match run(json.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything; whether all goals are met.
fn run(json: Option<&Path>) -> Result<bool> {
    let object = object()?;
    let cpus = aya::util::online_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    // Not the first one, where most interrupts go.
    let cpu = *cpus.last().context("no CPU is online")?;
    println!("{}", machine(cpus.len())?);
    println!("Programs and readers run on CPU {cpu} alone.\n");
    let ratios = on_cpu(cpu as usize, || measure(&object))??;
    ratio::print(&ratios);
    if let Some(path) = json {
        fs::write(path, ratio::json(&ratios)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ratios.iter().all(Ratio::is_met))
}

fn measure(object: &[u8]) -> Result<Vec<Ratio>> {
    let mut ratios = Vec::new();
    packet::print_sizes(object)?;
    packet::print_heading();
    for (flows, goal) in FLOWS {
        let costs = packet::measure(object, flows)?;
        costs.print();
        ratios.push(costs.ratio(goal));
    }
    let (flows, goal) = DRAINED;
    let drains = drain::measure(object, flows)?;
    drains.print();
    ratios.extend(drains.ratios(goal));
    Ok(ratios)
}

/// The object of the benchmarks lies beside the agent's.
fn object() -> Result<Vec<u8>> {
    let Some(agent) = std::env::var_os("FLOWML_OBJECT") else {
        bail!("FLOWML_OBJECT is not set: run this as `cargo xtask bench`");
    };
    let path = Path::new(&agent).with_file_name("bench.o");
    fs::read(&path).with_context(|| format!("cannot read {}: `cargo xtask bench` builds it", path.display()))
}

/// The machine, for whoever compares figures.
fn machine(cpus: usize) -> Result<String> {
    let information = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("CPU of unknown model", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's version")?;
    Ok(format!("{cpus} × {model}, Linux {}", kernel.trim_end()))
}
