//! Measures new flows, and the drain of the table by shared memory and the end of an epoch, against the kernel's hash map and
//! its batch calls.

use std::time::{Duration, Instant};

use anyhow::Result;
use flowml_user::capture::kernel::KernelTable;

use crate::effort::Effort;
use crate::kernel_map::{KernelMap, Kind, Read};
use crate::programs::{self, Order};
use crate::ratio::{Ratio, median};
use crate::table;

/// Numbers of flows that the kernel returns in one call. flowml is compared with the best of them.
const BATCHES: [usize; 4] = [1 << 10, 1 << 12, 1 << 14, 1 << 16];

/// Times in s, one for each round.
pub(crate) struct Drains {
    flows: u32,
    batch: usize,
    /// flowml's time for the whole drain, and for the end of the epoch (a grace period of RCU) alone.
    table: Vec<f64>,
    flip: Vec<f64>,
    percpu_hash: Vec<f64>,
    new_flows: NewFlows,
}

/// The costs of the first packet of a flow, in ns, one for each round.
#[derive(Default)]
struct NewFlows {
    empty: Vec<f64>,
    table: Vec<f64>,
    percpu_hash: Vec<f64>,
}

/// Measures the time to drain this many flows of one CPU.
pub(crate) fn measure(object: &[u8], flows: u32, effort: Effort) -> Result<Drains> {
    let mut table = table::load(object, flows, &["empty", "table"])?;
    let mut hash = KernelMap::load(object, Kind::PerCpuHash, flows, BATCHES[BATCHES.len() - 1])?;
    programs::walk(table.ebpf(), flows, Order::Scattered)?;
    programs::walk(&mut hash.ebpf, flows, Order::Scattered)?;
    let batch = best_batch(&mut hash, flows, effort.pick(3, 1))?;
    let new_flows = NewFlows::default();
    let mut drains = Drains { flows, batch, table: vec![], flip: vec![], percpu_hash: vec![], new_flows };
    for _ in 0..effort.pick(15, 1) {
        // Every packet is the first one of its flow: both were emptied.
        drains.new_flows.empty.push(programs::run(table.ebpf(), "empty", flows)?);
        drains.new_flows.table.push(programs::run(table.ebpf(), "table", flows)?);
        let (flip, all) = drain_table(&mut table, flows)?;
        drains.flip.push(flip.as_secs_f64());
        drains.table.push(all.as_secs_f64());
        drains.new_flows.percpu_hash.push(hash.count(flows)?);
        drains.percpu_hash.push(drain_hash(&mut hash, flows, batch)?.as_secs_f64());
    }
    Ok(drains)
}

/// The batch size with the smallest median over this number of trials.
fn best_batch(hash: &mut KernelMap, flows: u32, rounds: usize) -> Result<usize> {
    let mut trials = Vec::new();
    for batch in BATCHES {
        let mut seconds = Vec::new();
        for _ in 0..rounds {
            hash.count(flows)?;
            seconds.push(drain_hash(hash, flows, batch)?.as_secs_f64());
        }
        trials.push((median(&seconds), batch));
    }
    trials.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(trials[0].1)
}

/// The time for the end of the epoch, and the time for the end of the epoch, reading and clearing together.
fn drain_table(table: &mut KernelTable, flows: u32) -> Result<(Duration, Duration)> {
    let begun = Instant::now();
    let drained = table.drain()?;
    let flip = begun.elapsed();
    let total = table::read(&drained);
    let counted = drained.head_total().received;
    let read = begun.elapsed();
    // Not timed: the agent checks only the heads.
    table::verify(&drained, &total, flows, 1)?;
    let verified = begun.elapsed();
    drained.commit(counted);
    Ok((flip, begun.elapsed() - (verified - read)))
}

fn drain_hash(hash: &mut KernelMap, flows: u32, batch: usize) -> Result<Duration> {
    let begun = Instant::now();
    let total = hash.read(Read::Delete, batch)?;
    let all = begun.elapsed();
    total.expect("the per-CPU hash map", flows, 1, programs::frame().len())?;
    Ok(all)
}

impl Drains {
    /// The ratios of the drain with the end of the epoch, which has the goal, and without it; and that of a new flow.
    pub(crate) fn ratios(&self, goal: f64, new_flow_goal: Option<f64>) -> [Ratio; 3] {
        let ratio = |name: &str, goal, ours: &dyn Fn(usize) -> f64| Ratio {
            name: format!("{name}_{}_flows", self.flows),
            goal,
            rounds: self.percpu_hash.iter().enumerate().map(|(n, theirs)| ours(n) / theirs).collect(),
        };
        [
            ratio("drain", Some(goal), &|n| self.table[n]),
            ratio("drain_without_flip", None, &|n| self.table[n] - self.flip[n]),
            self.new_flows.ratio(self.flows, new_flow_goal),
        ]
    }

    pub(crate) fn print(&self) {
        println!("\nEmptying {} flows, medians of {} rounds", self.flows, self.table.len());
        println!("{:<52} {:>10} {:>12}", "", "ms", "ns per flow");
        let rows = [
            ("flow table: end the epoch, read, clear".to_owned(), &self.table),
            ("  of which the end of the epoch".to_owned(), &self.flip),
            (format!("LOOKUP_AND_DELETE_BATCH, {} flows a call", self.batch), &self.percpu_hash),
        ];
        for (what, seconds) in rows {
            let seconds = median(seconds);
            println!("{what:<52} {:>10.2} {:>12.1}", seconds * 1e3, seconds * 1e9 / f64::from(self.flows));
        }
        println!();
        self.new_flows.print();
    }
}

impl NewFlows {
    /// The complete program by that with the kernel's map, both without the cost of an empty program.
    fn ratio(&self, flows: u32, goal: Option<f64>) -> Ratio {
        let costs = self.empty.iter().zip(&self.table).zip(&self.percpu_hash);
        let rounds = costs.map(|((empty, table), hash)| (table - empty) / (hash - empty)).collect();
        Ratio { name: format!("new_flow_{flows}_flows"), goal, rounds }
    }

    fn print(&self) {
        let [empty, table, hash] = [&self.empty, &self.table, &self.percpu_hash].map(|rounds| median(rounds));
        println!("The first packet of a flow, ns: empty {empty:.1}, table {table:.1}, percpu_hash {hash:.1}\n");
    }
}
