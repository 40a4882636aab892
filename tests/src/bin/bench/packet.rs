//! Measures the cost of a packet: with the flow table, with the kernel's maps in its place, and with neither.

use anyhow::Result;
use flowml_user::capture::kernel::KernelTable;

use crate::effort::Effort;
use crate::kernel_map::{KernelMap, Kind, Read};
use crate::programs::{self, Order};
use crate::ratio::{Ratio, median};
use crate::table;

/// A number of flows, a power of two, and the goals (BENCHMARKS.md).
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) flows: u32,
    /// The cost of the flow table by that of the kernel's per-CPU hash map, without the parser.
    pub(crate) table: Option<f64>,
    /// The cost of the complete program by that of the program with the map, both without that of an empty program.
    pub(crate) program: Option<f64>,
}

/// Packets of a run: at least the packets of a short run, and a multiple of the flows, so that each has the same number.
fn packets(flows: u32, effort: Effort) -> u32 {
    effort.pick(1 << 18, 1 << 12).max(flows)
}

fn rounds(effort: Effort) -> usize {
    effort.pick(31, 1)
}

/// Times in ns per packet, one for each round.
pub(crate) struct Costs {
    size: Size,
    empty: Vec<f64>,
    parse: Vec<f64>,
    table: Vec<f64>,
    percpu_hash: Vec<f64>,
    lru_hash: Vec<f64>,
    /// Without the parser; the complete programs; and the same by the LRU map.
    ratios: [Vec<f64>; 3],
}

/// Measures with this many flows. All of them are in the maps before the first round.
pub(crate) fn measure(object: &[u8], size: Size, effort: Effort) -> Result<Costs> {
    let flows = size.flows;
    let (packets, rounds) = (packets(flows, effort), rounds(effort));
    let mut table = table::load(object, flows, &["empty", "parse_only", "table"])?;
    let maps = [Kind::PerCpuHash, Kind::LruHash];
    let [percpu, lru] = maps.map(|kind| KernelMap::load(object, kind, flows, flows as usize + 1));
    let (mut percpu, mut lru) = (percpu?, lru?);
    for (ebpf, name) in [(table.ebpf(), "table"), (&mut percpu.ebpf, "percpu_hash"), (&mut lru.ebpf, "lru_hash")] {
        programs::walk(ebpf, flows, Order::Ascending)?;
        programs::run(ebpf, name, flows)?;
        programs::walk(ebpf, flows, Order::Scattered)?;
        programs::run(ebpf, name, packets)?;
    }
    let mut costs = Costs::new(size);
    for _ in 0..rounds {
        costs.round(&mut table, [&percpu, &lru], packets)?;
    }
    // Packets of each flow: ascending once, scattered, and in the rounds.
    let packets_each = 1 + (1 + rounds as u64) * u64::from(packets / flows);
    let drained = table.drain()?;
    table::verify(&drained, &table::read(&drained), flows, packets_each)?;
    let counted = drained.head_total().received;
    drained.commit(counted);
    for (map, whose) in [(&mut percpu, "the per-CPU hash map"), (&mut lru, "the LRU hash map")] {
        let read = map.read(Read::Keep, flows as usize + 1)?;
        read.expect(whose, flows, packets_each, programs::frame().len())?;
    }
    Ok(costs)
}

impl Costs {
    fn new(size: Size) -> Self {
        let none = Vec::new;
        Self {
            size,
            empty: none(),
            parse: none(),
            table: none(),
            percpu_hash: none(),
            lru_hash: none(),
            ratios: [none(), none(), none()],
        }
    }

    fn round(&mut self, table: &mut KernelTable, [percpu, lru]: [&KernelMap; 2], packets: u32) -> Result<()> {
        let ours = &*table.ebpf();
        let empty = programs::run(ours, "empty", packets)?;
        let parse = programs::run(ours, "parse_only", packets)?;
        let table = programs::run(ours, "table", packets)?;
        let parse_again = programs::run(&percpu.ebpf, "parse_only", packets)?;
        let (percpu_hash, lru_hash) = (percpu.count(packets)?, lru.count(packets)?);
        self.empty.push(empty);
        self.parse.extend([parse, parse_again]);
        self.table.push(table);
        self.percpu_hash.push(percpu_hash);
        self.lru_hash.push(lru_hash);
        let [by_table, by_program, by_lru] = &mut self.ratios;
        by_table.push((table - parse) / (percpu_hash - parse_again));
        by_program.push((table - empty) / (percpu_hash - empty));
        by_lru.push((table - empty) / (lru_hash - empty));
        Ok(())
    }

    pub(crate) fn ratios(&self) -> [Ratio; 3] {
        let [by_table, by_program, by_lru] = &self.ratios;
        let Size { flows, table, program } = self.size;
        let ratio = |name: &str, goal, rounds: &[f64]| Ratio {
            name: format!("{name}_{flows}_flows"),
            goal,
            rounds: rounds.to_vec(),
        };
        [
            ratio("flow_table_per_packet", table, by_table),
            ratio("program_per_packet", program, by_program),
            ratio("program_by_lru_hash", None, by_lru),
        ]
    }

    pub(crate) fn print(&self) {
        let [empty, parse, table, percpu, lru] =
            [&self.empty, &self.parse, &self.table, &self.percpu_hash, &self.lru_hash].map(|rounds| median(rounds));
        println!(
            "{:>8} {empty:>8.1} {parse:>8.1} {table:>8.1} {percpu:>12.1} {lru:>9.1} {:>14.1} {:>18.1}",
            self.size.flows,
            table - parse,
            percpu - parse
        );
    }
}

pub(crate) fn print_heading(effort: Effort) {
    let (rounds, packets) = (rounds(effort), packets(1, effort));
    println!("Cost of a packet in ns, medians of {rounds} rounds of {packets} packets, or of a packet of each flow");
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>12} {:>9} {:>14} {:>18}",
        "flows", "empty", "parse", "table", "percpu_hash", "lru_hash", "table − parse", "percpu_hash − parse"
    );
}

/// Prints the sizes of the programs.
pub(crate) fn print_sizes(object: &[u8]) -> Result<()> {
    let names = ["empty", "parse_only", "table", "percpu_hash", "lru_hash"];
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
