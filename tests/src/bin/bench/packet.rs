//! Measures the cost of a packet: with the flow table, with the kernel's map in its place, and with neither.

use anyhow::Result;
use flowml_user::capture::kernel::KernelTable;

use crate::effort::Effort;
use crate::percpu_hash::{PerCpuHash, Read};
use crate::programs::{self, Order};
use crate::ratio::{Ratio, median};
use crate::table;

/// Packets of a run: a multiple of every number of flows, so that each flow has the same number of packets.
fn packets(effort: Effort) -> u32 {
    effort.pick(1 << 18, 1 << 12)
}

fn rounds(effort: Effort) -> usize {
    effort.pick(31, 1)
}

/// Times in ns per packet, one for each round.
pub(crate) struct Costs {
    flows: u32,
    empty: Vec<f64>,
    parse: Vec<f64>,
    table: Vec<f64>,
    percpu_hash: Vec<f64>,
    ratio: Vec<f64>,
}

/// Measures with this many flows. All of them are in the maps before the first round.
pub(crate) fn measure(object: &[u8], flows: u32, effort: Effort) -> Result<Costs> {
    let (packets, rounds) = (packets(effort), rounds(effort));
    let mut table = table::load(object, flows, &["empty", "parse_only", "table"])?;
    let mut hash = PerCpuHash::load(object, flows, flows as usize + 1)?;
    for (ebpf, name) in [(table.ebpf(), "table"), (&mut hash.ebpf, "percpu_hash")] {
        programs::walk(ebpf, flows, Order::Ascending)?;
        programs::run(ebpf, name, flows)?;
        programs::walk(ebpf, flows, Order::Scattered)?;
        programs::run(ebpf, name, packets)?;
    }
    let mut costs = Costs::new(flows);
    for _ in 0..rounds {
        costs.round(&mut table, &hash, packets)?;
    }
    // Packets of each flow: ascending once, scattered, and in the rounds.
    let packets_each = 1 + (1 + rounds as u64) * u64::from(packets / flows);
    let drained = table.drain()?;
    table::verify(&drained, &table::read(&drained), flows, packets_each)?;
    let counted = drained.head_total().received;
    drained.commit(counted);
    let read = hash.read(Read::Keep, flows as usize + 1)?;
    read.expect("the per-CPU hash map", flows, packets_each, programs::frame().len())?;
    Ok(costs)
}

impl Costs {
    fn new(flows: u32) -> Self {
        let none = Vec::new;
        Self { flows, empty: none(), parse: none(), table: none(), percpu_hash: none(), ratio: none() }
    }

    fn round(&mut self, table: &mut KernelTable, hash: &PerCpuHash, packets: u32) -> Result<()> {
        let ours = &*table.ebpf();
        let empty = programs::run(ours, "empty", packets)?;
        let parse = programs::run(ours, "parse_only", packets)?;
        let table = programs::run(ours, "table", packets)?;
        let parse_again = programs::run(&hash.ebpf, "parse_only", packets)?;
        let percpu_hash = programs::run(&hash.ebpf, "percpu_hash", packets)?;
        self.empty.push(empty);
        self.parse.extend([parse, parse_again]);
        self.table.push(table);
        self.percpu_hash.push(percpu_hash);
        self.ratio.push((table - parse) / (percpu_hash - parse_again));
        Ok(())
    }

    pub(crate) fn ratio(&self, goal: Option<f64>) -> Ratio {
        Ratio { name: format!("flow_table_per_packet_{}_flows", self.flows), goal, rounds: self.ratio.clone() }
    }

    pub(crate) fn print(&self) {
        let [empty, parse, table, hash] =
            [&self.empty, &self.parse, &self.table, &self.percpu_hash].map(|rounds| median(rounds));
        println!(
            "{:>8} {empty:>8.1} {parse:>8.1} {table:>8.1} {hash:>12.1} {:>14.1} {:>18.1}",
            self.flows,
            table - parse,
            hash - parse
        );
    }
}

pub(crate) fn print_heading(effort: Effort) {
    let (packets, rounds) = (packets(effort), rounds(effort));
    println!("Cost of a packet in ns, medians of {rounds} rounds of {packets} packets");
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>12} {:>14} {:>18}",
        "flows", "empty", "parse", "table", "percpu_hash", "table − parse", "percpu_hash − parse"
    );
}

/// Prints the sizes of the programs.
pub(crate) fn print_sizes(object: &[u8]) -> Result<()> {
    let names = ["empty", "parse_only", "table", "percpu_hash"];
    let mut table = table::load(object, 1, &names)?;
    println!("{:<12} {:>14} {:>24} {:>16}", "program", "instructions", "read by the verifier", "machine code");
    for name in names {
        let info = programs::xdp(table.ebpf(), name)?.info()?;
        // A BPF instruction has 8 bytes.
        let instructions = info.size_translated().unwrap_or(0) / 8;
        let verified = info.verified_instruction_count().unwrap_or(0);
        println!("{name:<12} {instructions:>14} {verified:>24} {:>14} B", info.size_jitted());
    }
    println!();
    Ok(())
}
