//! Measures what a fleet costs: an agent's CPU time for a row, the bytes of a row, and the rows that a loader stores.
//!
//! Simulated agents process the traffic of the flow path, with and without an output to NATS JetStream on loopback. Both
//! process the same intervals alternately. The difference of the CPU times, divided by the rows, is the cost of a row:
//! of the thread of the flows, which gives rows to the output, and of all threads, which also encode and send them. The
//! broker is a process of its own. The loader then stores all rows in ClickHouse's engine.

use std::net::TcpListener;
use std::path::Path as FilePath;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::lab::wait_until;
use flowml_tests::peers::Peers;
use flowml_tests::process::Process;
use flowml_user::export::Target;
use rustix::process::Signal;
use serde_json::Value;

use crate::cpu_time::thread_cpu_time;
use crate::effort::Effort;
use crate::intervals::{Intervals, Kinds};
use crate::path::{Path, Scoring, folder, timeouts};
use crate::ratio::{Ratio, median};

/// Goal: CPU time of an agent for encoding a row and giving it to the output, µs.
const GOAL_US: f64 = 1.0;

/// Longest time for a step of broker or loader.
const LIMIT: Duration = Duration::from_secs(600);

/// The sizes of a measurement.
#[derive(Clone, Copy)]
struct Counts {
    agents: usize,
    hosts: u32,
    /// New flows of an interval.
    flows: u32,
    intervals: usize,
}

/// The costs of a fleet.
pub(crate) struct Costs {
    counts: Counts,
    /// CPU time for a row in µs, one for each agent: of the thread of the flows, and of all threads.
    given: Vec<f64>,
    delivered: Vec<f64>,
    rows: u64,
    bytes_of_row: f64,
    stored_per_second: f64,
}

pub(crate) fn measure(effort: Effort) -> Result<Costs> {
    let counts = effort.pick(
        Counts { agents: 5, hosts: 1_000, flows: 1 << 12, intervals: 8 },
        Counts { agents: 2, hosts: 100, flows: 1 << 8, intervals: 4 },
    );
    let (engines, folder) = (Peers::engines()?, folder()?);
    let port = TcpListener::bind("127.0.0.1:0").context("no port for the broker")?.local_addr()?.port();
    let _broker = broker(port, folder.path())?;
    // The first start makes the streams.
    load(&engines, port, folder.path())?;
    let target: Target = format!("nats=127.0.0.1:{port}/flowml.rows").parse()?;
    let mut costs = Costs {
        counts,
        given: Vec::new(),
        delivered: Vec::new(),
        rows: 0,
        bytes_of_row: f64::NAN,
        stored_per_second: f64::NAN,
    };
    for _ in 0..counts.agents {
        costs.add_agent(&target)?;
    }
    let report = load(&engines, port, folder.path())?;
    let number = |name: &str| report[name].as_f64().with_context(|| format!("{name} in the report of the loader"));
    costs.rows = number("stored")? as u64;
    costs.bytes_of_row = number("bytes")? / number("stored")?;
    costs.stored_per_second = number("rows_per_second")?;
    costs.check(&report)?;
    Ok(costs)
}

impl Costs {
    /// Lets an agent process all intervals with the output, and another one without it.
    fn add_agent(&mut self, target: &Target) -> Result<()> {
        let Counts { hosts, flows, intervals: rounds, .. } = self.counts;
        let mut intervals = Intervals::new(hosts, flows, Kinds::Short, flows);
        let begin_ns = intervals.begin_ns();
        let outputs = [&[][..], std::slice::from_ref(target)];
        let mut paths = outputs.map(|outputs| Path::new(Scoring::Shipped, timeouts(), outputs, begin_ns));
        let mut times = [[Duration::ZERO; 2]; 2];
        for round in 0..rounds {
            intervals.advance()?;
            for number in [round % 2, 1 - round % 2] {
                let Ok(path) = &mut paths[number] else { continue };
                let begun = thread_cpu_time();
                let all = path.take(&intervals);
                times[number][0] += thread_cpu_time() - begun;
                times[number][1] += all;
            }
        }
        let [without, with] = paths;
        without?.finish()?;
        let rows = with?.finish()?.rows as f64;
        let micros = |of: usize| (times[1][of].as_secs_f64() - times[0][of].as_secs_f64()) * 1e6 / rows;
        self.given.push(micros(0));
        self.delivered.push(micros(1));
        Ok(())
    }

    /// Every agent's rows are in the engine, without a gap.
    fn check(&self, report: &Value) -> Result<()> {
        let deliveries = report["deliveries"].as_array().context("deliveries in the report of the loader")?;
        ensure!(deliveries.len() == self.counts.agents, "{} agents in the engine", deliveries.len());
        let complete = |delivery: &Value| delivery["missing"] == 0 && delivery["has_ended"] == 1;
        ensure!(deliveries.iter().all(complete), "rows are missing: {deliveries:?}");
        Ok(())
    }

    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let ratio =
            |name: &str, rounds: &[f64]| Ratio { name: name.to_owned(), goal: Some(GOAL_US), rounds: rounds.to_vec() };
        vec![ratio("fleet_given_row_by_1_us", &self.given), ratio("fleet_delivered_row_by_1_us", &self.delivered)]
    }

    pub(crate) fn print(&self) {
        let Counts { agents, flows, intervals, .. } = self.counts;
        println!("A fleet of {agents} agents, {intervals} intervals of {flows} new flows each");
        println!("{:<60} {:>9}", "rows (messages)", self.rows);
        println!("{:<60} {:>9.0}", "bytes of a row, not compressed", self.bytes_of_row);
        println!("{:<60} {:>9.2}", "CPU µs for a row: the thread of the flows", median(&self.given));
        println!("{:<60} {:>9.2}", "CPU µs for a row: all threads", median(&self.delivered));
        println!("{:<60} {:>9.0}\n", "rows per second that one loader stores", self.stored_per_second);
    }
}

fn broker(port: u16, folder: &FilePath) -> Result<Process> {
    let mut broker = Command::new("nats-server");
    broker.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.join("streams"));
    let broker = Process::start(broker)?;
    wait_for(&broker, "Server is ready")?;
    Ok(broker)
}

/// Starts the loader, and lets it end when it has read everything. Returns its report.
fn load(engines: &Peers, port: u16, folder: &FilePath) -> Result<Value> {
    let [python, script] = engines.command_line("loader.py");
    let mut loader = Command::new(python);
    loader.arg(script).arg(format!("127.0.0.1:{port}")).arg(folder.join("tables")).arg("--every=3600");
    let loader = Process::start(loader)?;
    wait_for(&loader, "ready")?;
    loader.signal(Signal::TERM)?;
    let output = loader.wait(LIMIT)?;
    ensure!(output.status.success(), "the loader failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().context("no report of the loader")?).context("the report of the loader")
}

fn wait_for(process: &Process, words: &str) -> Result<()> {
    let found = || {
        ensure!(process.is_running()?, "it has ended");
        Ok(process.stderr().text().contains(words))
    };
    wait_until(LIMIT, found).with_context(|| format!("{words:?} in: {}", process.stderr().text()))
}
