//! `cargo xtask bench`: measures flowml against the kernel's hash map, other readers of captures and scikit-learn.
//!
//! The flow table and its drain are compared with the kernel's own per-CPU hash map, `flowml read` with other readers
//! of captures, training with scikit-learn, and whole live runs with a program that does nothing. The flow path and the
//! memory are compared with their goals and with themselves at other sizes.
//!
//! Both sides are measured in one run and alternately, so that other activity of the machine affects both. The result
//! is the median of the ratios of neighbouring rounds. The counts are checked as well as the times.

mod child;
mod cpu_time;
mod drain;
mod effort;
mod fleet;
mod intervals;
mod kernel_map;
mod learning;
mod live;
mod memory;
mod mixture;
mod packet;
mod path;
mod paths;
mod programs;
mod ratio;
mod readers;
mod reading;
mod table;
mod total;
mod watching;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use flowml_tests::traffic::raw::on_cpu;

use crate::effort::Effort;
use crate::packet::Size;
use crate::ratio::{Ratio, median};

/// Numbers of flows for the cost of a packet, and the goals.
const FLOWS: [Size; 5] = [
    Size { flows: 1, table: Some(0.7), program: Some(0.7) },
    Size { flows: 1 << 10, table: None, program: None },
    Size { flows: 1 << 16, table: Some(0.5), program: Some(0.42) },
    Size { flows: 1 << 18, table: None, program: None },
    Size { flows: 1 << 20, table: None, program: Some(0.35) },
];

/// The number of flows to drain, and the goals of the drain and of a new flow.
const DRAINED: (u32, f64, Option<f64>) = (1 << 18, 0.2, Some(0.4));

/// Numbers of flows with the smallest counts.
const FEWEST_FLOWS: [Size; 2] =
    [Size { flows: 1, table: None, program: None }, Size { flows: 1 << 10, table: None, program: None }];
const FEWEST_DRAINED: (u32, f64, Option<f64>) = (1 << 10, 0.0, None);

/// A group of measurements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Table,
    Read,
    Learn,
    Live,
    Path,
    Memory,
    Fleet,
}

impl Part {
    const ALL: [(&str, Self); 7] = [
        ("table", Self::Table),
        ("read", Self::Read),
        ("learn", Self::Learn),
        ("live", Self::Live),
        ("path", Self::Path),
        ("memory", Self::Memory),
        ("fleet", Self::Fleet),
    ];

    fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| name == *known).map(|(_, part)| part)
    }
}

/// The arguments of the program.
struct Arguments {
    /// The file for the ratios.
    json: Option<PathBuf>,
    effort: Effort,
    /// The parts to measure; all if it is empty.
    parts: Vec<Part>,
}

impl Arguments {
    /// `None` if they are wrong.
    fn read(arguments: &[OsString]) -> Option<Self> {
        let mut read = Self { json: None, effort: Effort::Full, parts: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.to_str() {
                Some("--json") => read.json = Some(rest.next()?.into()),
                Some("--once") => read.effort = Effort::Once,
                _ => read.parts.push(Part::named(argument)?),
            }
        }
        Some(read)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [first, held, flows] = &arguments[..]
        && first == memory::OCCUPY
    {
        return code(memory::occupy(&held.to_string_lossy(), &flows.to_string_lossy()).map(|()| true));
    }
    let Some(arguments) = Arguments::read(&arguments) else {
        eprintln!("usage: bench [--json PATH] [--once] [table] [read] [learn] [live] [path] [memory] [fleet]");
        return ExitCode::from(2);
    };
    code(run(&arguments))
}

/// The exit code for whether all goals are met. Prints an error.
fn code(met: Result<bool>) -> ExitCode {
    match met {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures these parts, or all if none is named. Returns whether all goals are met.
fn run(arguments: &Arguments) -> Result<bool> {
    let Arguments { json, effort, parts } = arguments;
    let effort = *effort;
    let cpus = aya::util::online_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    // The last CPU, because most interrupts go to the first one.
    let cpu = *cpus.last().context("no CPU is online")?;
    println!("{}", machine(cpus.len())?);
    // The second CPU of the measurements that use two CPUs.
    let other = cpus.iter().rev().nth(1).copied().unwrap_or(cpu);
    println!("Programs and readers run on CPU {cpu} alone unless stated otherwise; otherwise also on CPU {other}.\n");
    let pair = [cpu, other].map(|cpu| cpu as usize);
    let mut ratios = on_cpu(cpu as usize, || {
        let mut ratios = Vec::new();
        for (_, part) in Part::ALL.iter().filter(|(_, part)| parts.is_empty() || parts.contains(part)) {
            ratios.extend(match part {
                Part::Table => measure_table(effort)?,
                Part::Read => measure_reading(pair, effort)?,
                Part::Learn => measure_learning(effort)?,
                Part::Live => measure_live(pair, effort)?,
                Part::Path => measure_path(effort)?,
                Part::Memory => measure_memory(effort)?,
                Part::Fleet => measure_fleet(effort)?,
            });
        }
        anyhow::Ok(ratios)
    })??;
    if effort == Effort::Once {
        check(&mut ratios)?;
    }
    ratio::print(&ratios);
    if let Some(path) = json {
        fs::write(path, ratio::json(&ratios)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ratios.iter().all(Ratio::is_met))
}

/// Checks that everything was measured. One round of the smallest counts has no goals.
fn check(ratios: &mut [Ratio]) -> Result<()> {
    for ratio in ratios {
        let median = median(&ratio.rounds);
        ensure!(median.is_finite(), "{} is {median}, expected a number", ratio.name);
        ratio.goal = None;
    }
    Ok(())
}

fn measure_table(effort: Effort) -> Result<Vec<Ratio>> {
    let object = object()?;
    let mut ratios = Vec::new();
    packet::print_sizes(&object)?;
    packet::print_heading(effort);
    for &size in effort.pick(&FLOWS[..], &FEWEST_FLOWS[..]) {
        let costs = packet::measure(&object, size, effort)?;
        costs.print();
        ratios.extend(costs.ratios());
    }
    let (flows, goal, new_flow_goal) = effort.pick(DRAINED, FEWEST_DRAINED);
    let drains = drain::measure(&object, flows, effort)?;
    drains.print();
    ratios.extend(drains.ratios(goal, new_flow_goal));
    let paths = paths::measure(&object, effort)?;
    paths.print();
    ratios.extend(paths.ratios());
    Ok(ratios)
}

fn measure_reading(pair: [usize; 2], effort: Effort) -> Result<Vec<Ratio>> {
    let readings = reading::measure(pair, effort)?;
    readings.print();
    Ok(readings.ratios())
}

fn measure_learning(effort: Effort) -> Result<Vec<Ratio>> {
    let costs = learning::measure(&reading::quarter(effort)?, effort)?;
    costs.print();
    Ok(costs.ratios().into())
}

fn measure_live(pair: [usize; 2], effort: Effort) -> Result<Vec<Ratio>> {
    let runs = live::measure(&object()?, pair, effort)?;
    live::Runs::print_heading(effort);
    runs.iter().for_each(live::Runs::print);
    println!();
    Ok(runs.iter().flat_map(live::Runs::ratios).collect())
}

fn measure_path(effort: Effort) -> Result<Vec<Ratio>> {
    let costs = path::measure(effort)?;
    costs.print();
    Ok(costs.ratios())
}

fn measure_memory(effort: Effort) -> Result<Vec<Ratio>> {
    let memory = memory::measure(effort)?;
    memory.print();
    Ok(memory.ratios())
}

fn measure_fleet(effort: Effort) -> Result<Vec<Ratio>> {
    let costs = fleet::measure(effort)?;
    costs.print();
    Ok(costs.ratios())
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
