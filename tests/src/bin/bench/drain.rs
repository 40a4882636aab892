//! Measures the drain of the table, by shared memory and the end of an epoch, against the kernel's batch calls.

use std::time::{Duration, Instant};

use anyhow::Result;
use flowml_user::capture::kernel::KernelTable;

use crate::effort::Effort;
use crate::percpu_hash::{PerCpuHash, Read};
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
}

/// Measures the time to drain this many flows of one CPU.
pub(crate) fn measure(object: &[u8], flows: u32, effort: Effort) -> Result<Drains> {
    let mut table = table::load(object, flows, &["table"])?;
    let mut hash = PerCpuHash::load(object, flows, BATCHES[BATCHES.len() - 1])?;
    programs::walk(table.ebpf(), flows, Order::Scattered)?;
    programs::walk(&mut hash.ebpf, flows, Order::Scattered)?;
    let batch = best_batch(&mut hash, flows, effort.pick(3, 1))?;
    let mut drains = Drains { flows, batch, table: Vec::new(), flip: Vec::new(), percpu_hash: Vec::new() };
    for _ in 0..effort.pick(15, 1) {
        programs::run(table.ebpf(), "table", flows)?;
        let (flip, all) = drain_table(&mut table, flows)?;
        drains.flip.push(flip.as_secs_f64());
        drains.table.push(all.as_secs_f64());
        programs::run(&hash.ebpf, "percpu_hash", flows)?;
        drains.percpu_hash.push(drain_hash(&mut hash, flows, batch)?.as_secs_f64());
    }
    Ok(drains)
}

/// The batch size with the smallest median over this number of trials.
fn best_batch(hash: &mut PerCpuHash, flows: u32, rounds: usize) -> Result<usize> {
    let mut trials = Vec::new();
    for batch in BATCHES {
        let mut seconds = Vec::new();
        for _ in 0..rounds {
            programs::run(&hash.ebpf, "percpu_hash", flows)?;
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

fn drain_hash(hash: &mut PerCpuHash, flows: u32, batch: usize) -> Result<Duration> {
    let begun = Instant::now();
    let total = hash.read(Read::Delete, batch)?;
    let all = begun.elapsed();
    total.expect("the per-CPU hash map", flows, 1, programs::frame().len())?;
    Ok(all)
}

impl Drains {
    /// The ratios with the end of the epoch, which has the goal, and without it.
    pub(crate) fn ratios(&self, goal: f64) -> [Ratio; 2] {
        let ratio = |name: &str, goal, ours: &dyn Fn(usize) -> f64| Ratio {
            name: format!("{name}_{}_flows", self.flows),
            goal,
            rounds: self.percpu_hash.iter().enumerate().map(|(n, theirs)| ours(n) / theirs).collect(),
        };
        [
            ratio("drain", Some(goal), &|n| self.table[n]),
            ratio("drain_without_flip", None, &|n| self.table[n] - self.flip[n]),
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
    }
}
