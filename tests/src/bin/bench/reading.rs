//! Measures `flowml read` with all features written to a file, against other programs that make flows of captures.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent;
use flowml_tests::traffic::raw::on_cpus;

use crate::child::{Cost, run};
use crate::effort::Effort;
use crate::mixture;
use crate::ratio::{Ratio, median};

/// Packets of the capture. A second capture has the first quarter of them.
fn packets(effort: Effort) -> u64 {
    effort.pick(3_000_000, 40_000)
}

/// Goals: CPU time against softflowd, and memory for the capture against memory for its first quarter.
const SOFTFLOWD_GOAL: f64 = 1.0;
const NFSTREAM_GOAL: f64 = 0.1;
const MEMORY_GOAL: f64 = 1.1;

/// Goal: time from start to end on two CPUs against that on one.
const TWO_CPUS_GOAL: f64 = 0.65;

/// The costs of the programs, one for each round.
pub(crate) struct Readings {
    packets: u64,
    /// Costs by program, with the packets that it read.
    flowml: Vec<Cost>,
    softflowd: Vec<Cost>,
    quarter_flowml: Vec<Cost>,
    quarter_nfstream: Vec<Cost>,
    two_cpus: Vec<Cost>,
}

/// Runs everything on the CPU of this thread, and `flowml read` also on the `pair` of CPUs.
pub(crate) fn measure(pair: [usize; 2], effort: Effort) -> Result<Readings> {
    let packets = packets(effort);
    let (whole, quarter) = (capture(packets)?, capture(packets / 4)?);
    let (rows, rows_of_two) = (whole.with_extension("csv"), whole.with_extension("two.csv"));
    let mut readings = Readings {
        packets,
        flowml: vec![],
        softflowd: vec![],
        quarter_flowml: vec![],
        quarter_nfstream: vec![],
        two_cpus: vec![],
    };
    for _ in 0..effort.pick(7, 1) {
        readings.flowml.push(flowml(&whole, &rows)?);
        readings.two_cpus.push(on_cpus(&pair, || flowml(&whole, &rows_of_two))??);
        readings.softflowd.push(softflowd(&whole, packets)?);
    }
    verify(&rows, packets)?;
    same(&rows, &rows_of_two)?;
    // NFStream needs as much time for a round as the others together for all rounds.
    for _ in 0..effort.pick(3, 1) {
        readings.quarter_flowml.push(flowml(&quarter, &rows)?);
        readings.quarter_nfstream.push(nfstream(&quarter, packets / 4)?);
    }
    verify(&rows, packets / 4)?;
    fs::remove_file(&rows).with_context(|| format!("cannot remove {}", rows.display()))?;
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

fn flowml(capture: &Path, rows: &Path) -> Result<Cost> {
    let mut command = Command::new(agent::binary()?);
    command.arg("read").arg(capture).args(["--quiet", "-o"]).arg(format!("csv={}", rows.display()));
    Ok(run(&mut command)?.1)
}

/// Checks that both files are equal, and removes the second.
fn same(rows: &Path, others: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    ensure!(read(rows)? == read(others)?, "the rows on two CPUs differ from those on one: {}", others.display());
    fs::remove_file(others).with_context(|| format!("cannot remove {}", others.display()))
}

/// Checks that all packets of the capture are in the rows.
fn verify(rows: &Path, packets: u64) -> Result<()> {
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
fn softflowd(capture: &Path, packets: u64) -> Result<Cost> {
    let collector = UdpSocket::bind("127.0.0.1:0").context("no port for a collector")?;
    let mut command = Command::new("softflowd");
    command.arg("-r").arg(capture).args(["-v", "9", "-d", "-c", "none", "-m", SOFTFLOWD_FLOWS]);
    command.arg("-n").arg(collector.local_addr()?.to_string());
    command.arg("-p").arg(capture.with_extension("pid"));
    let (text, cost) = run(&mut command)?;
    let processed = text.lines().find_map(|line| line.strip_prefix("Packets processed: "));
    let processed = processed.with_context(|| format!("softflowd reports no number of packets: {text}"))?;
    ensure!(processed == packets.to_string(), "softflowd processed {processed} packets, expected {packets}");
    Ok(cost)
}

/// As many flows as the capture has, so that softflowd need not evict any.
const SOFTFLOWD_FLOWS: &str = "1000000";

fn nfstream(capture: &Path, packets: u64) -> Result<Cost> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/nfstream_read.py");
    let python = agent::target().join("peers/bin/python");
    let (text, cost) = run(Command::new(python).arg(script).arg(capture))?;
    let found = text.split_whitespace().last().and_then(|count| count.parse::<u64>().ok());
    let found = found.with_context(|| format!("NFStream reports no number of packets: {text}"))?;
    // NFStream leaves out IPv6 packets that were not captured completely: a tenth of these packets.
    ensure!((packets * 8 / 10..=packets).contains(&found), "NFStream has {found} packets in flows, of {packets}");
    Ok(cost)
}

impl Readings {
    pub(crate) fn ratios(&self) -> [Ratio; 4] {
        let time = |cost: &Cost| cost.cpu_s;
        let (wall, memory) = (|cost: &Cost| cost.wall_s, |cost: &Cost| cost.memory as f64);
        let ratio = |name: &str, goal, ours: &[Cost], theirs: &[Cost], of: fn(&Cost) -> f64| Ratio {
            name: name.to_owned(),
            goal: Some(goal),
            rounds: ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)).collect(),
        };
        [
            ratio("read_time_by_softflowd", SOFTFLOWD_GOAL, &self.flowml, &self.softflowd, time),
            ratio("read_time_by_nfstream", NFSTREAM_GOAL, &self.quarter_flowml, &self.quarter_nfstream, time),
            ratio("read_wall_time_two_cpus_by_one", TWO_CPUS_GOAL, &self.two_cpus, &self.flowml, wall),
            ratio("read_memory_4_times_the_length", MEMORY_GOAL, &self.flowml, &self.quarter_flowml, memory),
        ]
    }

    pub(crate) fn print(&self) {
        let (rounds, rounds_of_quarter) = (self.flowml.len(), self.quarter_flowml.len());
        println!("Computing flows from a capture, medians of {rounds} rounds ({rounds_of_quarter} for the quarter)");
        let (packets, quarter) = (self.packets, self.packets / 4);
        println!("{:<44} {:>10} {:>8} {:>8} {:>14} {:>8}", "", "packets", "wall s", "CPU s", "ns per packet", "MiB");
        let rows = [
            ("flowml read, CSV with all features", packets, &self.flowml),
            ("the same, on two CPUs", packets, &self.two_cpus),
            ("softflowd, NetFlow 9", packets, &self.softflowd),
            ("flowml read, CSV with all features", quarter, &self.quarter_flowml),
            ("NFStream, statistics and SPLT, no output", quarter, &self.quarter_nfstream),
        ];
        for (what, packets, costs) in rows {
            let of = |of: fn(&Cost) -> f64| median(&costs.iter().map(of).collect::<Vec<_>>());
            let (wall_s, cpu_s) = (of(|cost| cost.wall_s), of(|cost| cost.cpu_s));
            let (ns, mib) = (cpu_s * 1e9 / packets as f64, of(|cost| cost.memory as f64 / 1024.0 / 1024.0));
            println!("{what:<44} {packets:>10} {wall_s:>8.3} {cpu_s:>8.3} {ns:>14.0} {mib:>8.1}");
        }
        println!();
    }
}
