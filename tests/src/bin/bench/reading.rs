//! Measures `flowml read` with every kind of output, against other programs that make flows of captures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent;
use flowml_tests::traffic::raw::on_cpus;

use crate::child::Cost;
use crate::effort::Effort;
use crate::mixture;
use crate::ratio::{Ratio, median};
use crate::readers::{self, Task};

/// Packets of the capture. A second capture has the first quarter of them.
fn packets(effort: Effort) -> u64 {
    effort.pick(3_000_000, 40_000)
}

/// The runs of `flowml read` on one CPU, with the goal for CPU time by softflowd's, where there is one.
const TASKS: [(Task, &str, &str, Option<f64>); 5] = [
    (Task::NoOutput, "flowml read, no output", "read_no_output_by_softflowd", Some(0.6)),
    (Task::Csv, "flowml read, CSV with all features", "read_csv_by_softflowd", Some(0.9)),
    (Task::Jsonl, "flowml read, JSON lines with host windows", "read_jsonl_by_softflowd", None),
    (Task::Parquet, "flowml read, Parquet with host windows", "read_parquet_by_softflowd", Some(1.2)),
    (Task::ScoredCsv, "flowml read, CSV with scores", "read_scored_csv_by_softflowd", Some(2.0)),
];

/// Goals: CPU time by NFStream's, time from start to end on two CPUs by that on one, and memory for the capture by memory for
/// its first quarter.
const NFSTREAM_GOAL: f64 = 0.06;
const TWO_CPUS_GOAL: f64 = 0.65;
const MEMORY_GOAL: f64 = 1.1;

/// The costs of the programs, one for each round.
pub(crate) struct Readings {
    packets: u64,
    /// By the order of [`TASKS`].
    flowml: [Vec<Cost>; TASKS.len()],
    two_cpus: Vec<Cost>,
    softflowd: Vec<Cost>,
    nfpcapd: Vec<Cost>,
    argus: Vec<Cost>,
    quarter_flowml: [Vec<Cost>; 2],
    quarter_nfstream: Vec<Cost>,
}

/// Runs everything on the CPU of this thread, and `flowml read` also on the `pair` of CPUs.
pub(crate) fn measure(pair: [usize; 2], effort: Effort) -> Result<Readings> {
    let packets = packets(effort);
    let (whole, quarter) = (capture(packets)?, capture(packets / 4)?);
    let mut readings = Readings::new(packets);
    for _ in 0..effort.pick(7, 1) {
        readings.round(&whole, pair)?;
    }
    same_rows(&whole, pair)?;
    // NFStream needs as much time for a round as the others together for all rounds.
    for _ in 0..effort.pick(3, 1) {
        for (task, costs) in [Task::NoOutput, Task::Csv].into_iter().zip(&mut readings.quarter_flowml) {
            costs.push(readers::flowml(&quarter, packets / 4, task)?);
        }
        readings.quarter_nfstream.push(readers::nfstream(&quarter, packets / 4)?);
    }
    Ok(readings)
}

/// The smaller of the two captures.
pub(crate) fn quarter(effort: Effort) -> Result<PathBuf> {
    capture(packets(effort) / 4)
}

/// The capture with this many packets. Makes it if it does not exist.
fn capture(packets: u64) -> Result<PathBuf> {
    let folder = agent::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("mixture-{packets}.pcap"));
    mixture::make(&path, packets)?;
    Ok(path)
}

/// Checks that the rows on one and on two CPUs are equal.
fn same_rows(capture: &Path, pair: [usize; 2]) -> Result<()> {
    let [one, two] = ["one.csv", "two.csv"].map(|extension| capture.with_extension(extension));
    readers::flowml_into(capture, Task::Csv, &one)?;
    on_cpus(&pair, || readers::flowml_into(capture, Task::Csv, &two))??;
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    ensure!(read(&one)? == read(&two)?, "the rows on two CPUs differ from those on one: {}", two.display());
    readers::remove(&one)?;
    readers::remove(&two)
}

impl Readings {
    fn new(packets: u64) -> Self {
        let none = Vec::new;
        Self {
            packets,
            flowml: TASKS.map(|_| none()),
            two_cpus: none(),
            softflowd: none(),
            nfpcapd: none(),
            argus: none(),
            quarter_flowml: [none(), none()],
            quarter_nfstream: none(),
        }
    }

    fn round(&mut self, capture: &Path, pair: [usize; 2]) -> Result<()> {
        let packets = self.packets;
        for ((task, ..), costs) in TASKS.iter().zip(&mut self.flowml) {
            costs.push(readers::flowml(capture, packets, *task)?);
        }
        self.softflowd.push(readers::softflowd(capture, packets)?);
        self.nfpcapd.push(readers::nfpcapd(capture, packets)?);
        self.argus.push(readers::argus(capture, packets)?);
        self.two_cpus.push(on_cpus(&pair, || readers::flowml(capture, packets, Task::Csv))??);
        Ok(())
    }

    /// The costs of `flowml read` for this task.
    fn of(&self, wanted: Task) -> &[Cost] {
        let costs = TASKS.iter().zip(&self.flowml).find(|((task, ..), _)| *task == wanted);
        costs.map_or(&[], |(_, costs)| costs)
    }

    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let time = |cost: &Cost| cost.cpu_s;
        let (wall, memory) = (|cost: &Cost| cost.wall_s, |cost: &Cost| cost.memory as f64);
        let ratio = |name: &str, goal, ours: &[Cost], theirs: &[Cost], of: fn(&Cost) -> f64| Ratio {
            name: name.to_owned(),
            goal,
            rounds: ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)).collect(),
        };
        let by_softflowd = TASKS
            .iter()
            .zip(&self.flowml)
            .map(|((_, _, name, goal), own)| ratio(name, *goal, own, &self.softflowd, time));
        let csv = self.of(Task::Csv);
        let [quarter, quarter_csv] = &self.quarter_flowml;
        let others = [
            ratio("read_no_output_by_nfpcapd", None, self.of(Task::NoOutput), &self.nfpcapd, time),
            ratio("read_csv_by_argus", None, csv, &self.argus, time),
            ratio("read_no_output_by_nfstream", None, quarter, &self.quarter_nfstream, time),
            ratio("read_csv_by_nfstream", Some(NFSTREAM_GOAL), quarter_csv, &self.quarter_nfstream, time),
            ratio("read_wall_time_two_cpus_by_one", Some(TWO_CPUS_GOAL), &self.two_cpus, csv, wall),
            ratio("read_memory_4_times_the_length", Some(MEMORY_GOAL), csv, quarter_csv, memory),
        ];
        by_softflowd.chain(others).collect()
    }

    pub(crate) fn print(&self) {
        let (rounds, rounds_of_quarter) = (self.softflowd.len(), self.quarter_nfstream.len());
        println!("Computing flows from a capture, medians of {rounds} rounds ({rounds_of_quarter} for the quarter)");
        let (packets, quarter) = (self.packets, self.packets / 4);
        println!("{:<46} {:>10} {:>8} {:>8} {:>14} {:>8}", "", "packets", "wall s", "CPU s", "ns per packet", "MiB");
        let tasks = TASKS.iter().zip(&self.flowml).map(|((_, name, ..), costs)| (*name, packets, costs));
        let [quarter_none, quarter_csv] = &self.quarter_flowml;
        let others = [
            ("flowml read, CSV, on two CPUs", packets, &self.two_cpus),
            ("softflowd, NetFlow 9", packets, &self.softflowd),
            ("nfpcapd, files of nfdump", packets, &self.nfpcapd),
            ("argus, file of argus", packets, &self.argus),
            ("flowml read, no output", quarter, quarter_none),
            ("flowml read, CSV with all features", quarter, quarter_csv),
            ("NFStream, statistics and SPLT, no output", quarter, &self.quarter_nfstream),
        ];
        for (what, packets, costs) in tasks.chain(others) {
            let of = |of: fn(&Cost) -> f64| median(&costs.iter().map(of).collect::<Vec<_>>());
            let (wall_s, cpu_s) = (of(|cost| cost.wall_s), of(|cost| cost.cpu_s));
            let (ns, mib) = (cpu_s * 1e9 / packets as f64, of(|cost| cost.memory as f64 / 1024.0 / 1024.0));
            println!("{what:<46} {packets:>10} {wall_s:>8.3} {cpu_s:>8.3} {ns:>14.0} {mib:>8.1}");
        }
        println!();
    }
}
