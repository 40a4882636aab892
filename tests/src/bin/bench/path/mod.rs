//! Measures the flow path: what a new flow costs from the drained table to its scored record and its outputs.
//!
//! The table is filled in userspace, with the entries and the layout of the kernel's. Filling it is not timed. Everything
//! after it is the agent's own pipeline on one CPU. Each round is one interval of capture time. All pipelines of a
//! comparison process the same interval, one after the other.

mod pipeline;
mod stages;

use std::net::UdpSocket;
use std::path::Path as FilePath;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_user::export::Target;
use flowml_user::session::Timeouts;

pub(crate) use self::pipeline::{Path, Scoring};

use crate::effort::Effort;
use crate::intervals::{Intervals, Kinds, PROBES};
use crate::ratio::{Ratio, median};

/// Numbers of hosts. The second is that of all comparisons but the one by hosts.
const HOSTS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const FEWEST_HOSTS: [u32; 2] = [100, 200];

/// Numbers of open incidents. The last two have the goal.
const INCIDENTS: [u32; 4] = [0, 10, 100, 4096];
const FEWEST_INCIDENTS: [u32; 4] = [0, 1, 2, 4];

/// Goals in µs: what the shipped model adds to a flow, and a flow in all.
const MODEL_GOAL_US: f64 = 1.5;
const FLOW_GOAL_US: f64 = 3.0;

/// Goal: the cost with as many incidents as can be open, by that with 100.
const INCIDENTS_GOAL: f64 = 1.05;

/// Formats and their names for `-o`. Streams go to the null device.
const OUTPUTS: [&str; 4] = ["csv", "jsonl", "parquet", "ipfix"];

/// The sizes of a measurement.
#[derive(Clone, Copy)]
struct Counts {
    /// New flows of an interval.
    flows: u32,
    /// Intervals until as many flows end as begin, and until bounded tables are full.
    warm_up: usize,
    rounds: usize,
}

fn counts(effort: Effort) -> Counts {
    effort.pick(Counts { flows: 1 << 16, warm_up: 8, rounds: 11 }, Counts { flows: 1 << 8, warm_up: 4, rounds: 1 })
}

/// Sessions end 2 s after their last packet, so that few intervals suffice until as many flows end as begin.
pub(crate) fn timeouts() -> Timeouts {
    Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() }
}

/// A pipeline of a comparison.
struct Lane {
    path: Path,
    /// Scanners before the first interval, each of which opens an incident.
    scanners: u32,
}

/// The costs of a pipeline.
struct Measured {
    /// CPU time in ns per flow, one for each round.
    ns: Vec<f64>,
    scanners: u32,
    /// Open incidents at the end.
    incidents: u64,
    /// The share of anomalies among the flows.
    anomalies: f64,
}

/// The costs with one number of hosts, by scoring.
struct ByHosts {
    hosts: u32,
    scoring: [Measured; Scoring::ALL.len()],
}

/// All costs of the flow path.
pub(crate) struct Costs {
    counts: Counts,
    usual_hosts: u32,
    stages: stages::Costs,
    by_hosts: Vec<ByHosts>,
    by_incidents: Vec<Measured>,
    /// Without outputs, then with each of [`OUTPUTS`].
    by_output: Vec<Measured>,
}

pub(crate) fn measure(effort: Effort) -> Result<Costs> {
    let hosts = effort.pick(&HOSTS[..], &FEWEST_HOSTS[..]);
    let usual_hosts = hosts[1];
    let by_hosts = hosts.iter().map(|&hosts| by_hosts(effort, hosts)).collect::<Result<_>>()?;
    Ok(Costs {
        counts: counts(effort),
        usual_hosts,
        stages: stages::measure(effort, usual_hosts)?,
        by_hosts,
        by_incidents: by_incidents(effort, usual_hosts)?,
        by_output: by_output(effort, usual_hosts)?,
    })
}

fn by_hosts(effort: Effort, hosts: u32) -> Result<ByHosts> {
    let lanes =
        |intervals: &Intervals| Scoring::ALL.into_iter().map(|scoring| lane(scoring, 0, &[], intervals)).collect();
    let scoring = compare(effort, hosts, lanes)?;
    let scoring = scoring.try_into().ok().context("one measurement for each scoring")?;
    Ok(ByHosts { hosts, scoring })
}

fn by_incidents(effort: Effort, hosts: u32) -> Result<Vec<Measured>> {
    let scanners = effort.pick(INCIDENTS, FEWEST_INCIDENTS);
    compare(effort, hosts, |intervals| {
        scanners.into_iter().map(|scanners| lane(Scoring::Shipped, scanners, &[], intervals)).collect()
    })
}

fn by_output(effort: Effort, hosts: u32) -> Result<Vec<Measured>> {
    let folder = folder()?;
    let collector = UdpSocket::bind("127.0.0.1:0").context("no port for a collector")?;
    let place = |format: &str| {
        anyhow::Ok(match format {
            "parquet" => folder.path().display().to_string(),
            // Nobody reads the socket, so the system drops the messages.
            "ipfix" => collector.local_addr()?.to_string(),
            _ => "/dev/null".to_owned(),
        })
    };
    let target = |format: &&str| Ok(format!("{format}={}", place(format)?).parse::<Target>()?);
    let targets = OUTPUTS.iter().map(target).collect::<Result<Vec<_>>>()?;
    compare(effort, hosts, |intervals| {
        let outputs = std::iter::once(&[][..]).chain(targets.chunks(1));
        outputs.map(|outputs| lane(Scoring::Shipped, 0, outputs, intervals)).collect()
    })
}

/// A folder in memory, if the system has a place for it: the disk is not measured.
pub(crate) fn folder() -> Result<tempfile::TempDir> {
    let memory = FilePath::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.context("making a folder")
}

fn lane(scoring: Scoring, scanners: u32, outputs: &[Target], intervals: &Intervals) -> Result<Lane> {
    Ok(Lane { path: Path::new(scoring, timeouts(), outputs, intervals.begin_ns())?, scanners })
}

/// Lets pipelines process the same intervals, each of which is a round.
fn compare(effort: Effort, hosts: u32, lanes: impl FnOnce(&Intervals) -> Result<Vec<Lane>>) -> Result<Vec<Measured>> {
    let Counts { flows, warm_up, rounds } = counts(effort);
    let most = flows.max(INCIDENTS.into_iter().max().unwrap_or_default() * PROBES);
    let mut intervals = Intervals::new(hosts, flows, Kinds::Short, effort.pick(most, flows));
    let mut lanes = lanes(&intervals)?;
    for lane in &mut lanes {
        intervals.scans(lane.scanners)?;
        lane.path.take(&intervals);
    }
    let mut ns: Vec<Vec<f64>> = lanes.iter().map(|_| Vec::new()).collect();
    for round in 0..warm_up + rounds {
        intervals.advance()?;
        // Another one is first in each round, because it finds less of the table in the processor's cache.
        for number in 0..lanes.len() {
            let number = (number + round) % lanes.len();
            let took = lanes[number].path.take(&intervals);
            if round >= warm_up {
                ns[number].push(took.as_secs_f64() * 1e9 / f64::from(flows));
            }
        }
    }
    let expected = |scanners| u64::from(flows) * (warm_up + rounds) as u64 + u64::from(scanners * PROBES);
    let finish = |(Lane { path, scanners }, ns)| {
        let incidents = path.incidents();
        ensure!(incidents >= scanners.into(), "{incidents} incidents are open, expected those of {scanners} scanners");
        let ended = path.finish()?;
        let expected = expected(scanners);
        ensure!(ended.flows == expected, "there are {} records, expected {expected}", ended.flows);
        Ok(Measured { ns, scanners, incidents, anomalies: ended.anomalies as f64 / ended.flows as f64 })
    };
    lanes.into_iter().zip(ns).map(finish).collect()
}

/// A ratio of two costs, round by round.
fn ratio(name: String, goal: Option<f64>, ours: &Measured, theirs: &Measured) -> Ratio {
    Ratio { name, goal, rounds: ours.ns.iter().zip(&theirs.ns).map(|(ours, theirs)| ours / theirs).collect() }
}

impl Costs {
    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let [none, shipped, candidate] = &self.usual().scoring;
        let micros = |ns: f64| ns / 1e3;
        let added = shipped.ns.iter().zip(&none.ns).map(|(with, without)| micros(with - without)).collect();
        let mut ratios = vec![
            Ratio { name: "path_shipped_model_by_1_us".to_owned(), goal: Some(MODEL_GOAL_US), rounds: added },
            Ratio {
                name: "path_scored_flow_by_1_us".to_owned(),
                goal: Some(FLOW_GOAL_US),
                rounds: shipped.ns.iter().copied().map(micros).collect(),
            },
            ratio("path_scored_by_not_scored".to_owned(), None, shipped, none),
            ratio("path_candidate_by_shipped_model".to_owned(), None, candidate, shipped),
        ];
        ratios.extend(self.incident_ratio());
        ratios.extend(self.host_ratios());
        ratios
    }

    /// The costs with the number of hosts that the other comparisons have.
    fn usual(&self) -> &ByHosts {
        let of_usual = self.by_hosts.iter().find(|by_hosts| by_hosts.hosts == self.usual_hosts);
        of_usual.unwrap_or(&self.by_hosts[0])
    }

    fn incident_ratio(&self) -> Option<Ratio> {
        let [.., few, most] = &self.by_incidents[..] else { return None };
        let name = format!("path_{}_incidents_by_{}", most.scanners, few.scanners);
        Some(ratio(name, Some(INCIDENTS_GOAL), most, few))
    }

    /// How the cost of a scored flow grows with the number of hosts. The numbers were measured one after the other, so the
    /// medians are compared.
    fn host_ratios(&self) -> impl Iterator<Item = Ratio> {
        let shipped = |by_hosts: &ByHosts| median(&by_hosts.scoring[1].ns);
        let fewest = &self.by_hosts[0];
        self.by_hosts[1..].iter().map(move |more| Ratio {
            name: format!("path_{}_hosts_by_{}", more.hosts, fewest.hosts),
            goal: None,
            rounds: vec![shipped(more) / shipped(fewest)],
        })
    }

    pub(crate) fn print(&self) {
        let Counts { flows, rounds, .. } = self.counts;
        println!("The flow path, CPU ns per new flow, medians of {rounds} rounds of {flows} flows");
        println!("Stages one by one, {} hosts", self.usual_hosts);
        for (name, ns) in self.stages.by_stage() {
            println!("{name:<60} {:>7.0}", median(ns));
        }
        println!("{:<60} {:>7.0}\n", "sum", median(&self.stages.sums()));
        self.print_by_hosts();
        println!("\nBy open incidents, {} hosts, shipped model", self.usual_hosts);
        println!("{:>9} {:>14}", "incidents", "ns per flow");
        for measured in &self.by_incidents {
            println!("{:>9} {:>14.0}", measured.incidents, median(&measured.ns));
        }
        println!("\nBy output, {} hosts, shipped model", self.usual_hosts);
        println!("{:<9} {:>14} {:>14}", "output", "ns per flow", "added");
        let without = median(&self.by_output[0].ns);
        for (name, measured) in std::iter::once("none").chain(OUTPUTS).zip(&self.by_output) {
            let ns = median(&measured.ns);
            println!("{name:<9} {ns:>14.0} {:>14.0}", ns - without);
        }
        println!();
    }

    fn print_by_hosts(&self) {
        println!("The whole path without outputs, by hosts and model");
        println!(
            "{:>9} {:>14} {:>14} {:>14} {:>11} {:>11}",
            "hosts", "none", "shipped", "and candidate", "anomalies", "incidents"
        );
        for ByHosts { hosts, scoring } in &self.by_hosts {
            let [none, shipped, candidate] = [0, 1, 2].map(|n| median(&scoring[n].ns));
            let Measured { anomalies, incidents, .. } = &scoring[1];
            println!(
                "{hosts:>9} {none:>14.0} {shipped:>14.0} {candidate:>14.0} {:>10.2}% {incidents:>11}",
                100.0 * anomalies
            );
        }
    }
}
