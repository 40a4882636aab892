//! Runs the measured programs (flowml-ebpf/src/bin/bench.rs) by BPF_PROG_TEST_RUN.

use anyhow::{Context, Result, ensure};
use aya::maps::Array;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use flowml_tests::frames::{Frame, Ipv4, Tcp};
use rustix::time::{ClockId, clock_gettime};

/// `XDP_PASS` (include/uapi/linux/bpf.h): the return value of a program without an error.
const XDP_PASS: u32 = 2;

/// The order of flows, each of which occurs once in `flows` packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One flow after the other.
    Ascending,
    /// Effectively random: the steps of the linear congruential generator of Numerical Recipes (2nd ed., §7.1), which
    /// has the full period for any power of two. Entries are in memory in the order in which their flows came first.
    /// Packets must come in another order: otherwise the processor would prefetch entries, which real traffic does not
    /// allow.
    Scattered,
}

impl Order {
    const fn step(self) -> [u32; 2] {
        match self {
            Self::Ascending => [1, 1],
            Self::Scattered => [1_664_525, 1_013_904_223],
        }
    }
}

/// The frame whose flow the programs change: a TCP segment with payload from the lower endpoint.
pub(crate) fn frame() -> Vec<u8> {
    Frame::default().ipv4(&Ipv4::default()).tcp(&Tcp::default()).payload(&[0; 10]).finish()
}

/// Loads a program by its name.
pub(crate) fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    let xdp: &mut Xdp = program.try_into()?;
    xdp.load().with_context(|| format!("loading {name}"))
}

pub(crate) fn xdp<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    let program = ebpf.program(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// Sets the flows of the following packets, starting with flow 0.
pub(crate) fn walk(ebpf: &mut Ebpf, flows: u32, order: Order) -> Result<()> {
    ensure!(flows.is_power_of_two(), "{flows} flows, expected a power of two");
    let [multiplier, increment] = order.step();
    let map = ebpf.map_mut("WALK").context("the object has no map WALK")?;
    let mut map: Array<_, [u32; 4]> = map.try_into()?;
    // Fields of `Walk` in the object: at, multiplier, increment, mask.
    map.set(0, [0, multiplier, increment, flows - 1], 0)?;
    Ok(())
}

/// Meters this many packets with a program. Returns the cost of each in ns of this thread's CPU time.
///
/// The kernel reports whole nanoseconds, which is too coarse for a difference of two. The start of a test run takes
/// some microseconds, the same for all programs.
pub(crate) fn run(ebpf: &Ebpf, name: &str, packets: u32) -> Result<f64> {
    run_with(ebpf, name, &frame(), packets)
}

/// Meters this frame this many times. Returns the cost of each in ns of this thread's CPU time.
pub(crate) fn run_with(ebpf: &Ebpf, name: &str, frame: &[u8], packets: u32) -> Result<f64> {
    let xdp = xdp(ebpf, name)?;
    let begun = cpu_time_ns();
    let result = xdp.test_run(TestRunOptions { data_in: Some(frame), repeat: packets, ..Default::default() })?;
    let spent = cpu_time_ns() - begun;
    ensure!(result.return_value == XDP_PASS, "{name} answered {}, expected XDP_PASS", result.return_value);
    Ok(spent as f64 / f64::from(packets))
}

fn cpu_time_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Loads the object with the programs that need no flow table. The kernel's maps get these sizes.
pub(crate) fn without_table(object: &[u8], cpus: u32, maps: &[(&'static str, u32)]) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("PACKETS", cpus);
    maps.iter().for_each(|&(map, entries)| {
        loader.map_max_entries(map, entries);
    });
    loader.load(object).context("loading the object of the benchmarks")
}
