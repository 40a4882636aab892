//! The kernel's maps that the flow table is compared with. They are read in batches, by calls of bpf(2) that aya does not have.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::Map;
use bytemuck::Zeroable;
use flowml_common::counts::FlowValue;
use flowml_common::flow::FlowKey;

use crate::programs;
use crate::total::Total;

/// A map of the kernel for flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `BPF_MAP_TYPE_PERCPU_HASH`: each CPU has a value of its own. It is preallocated for exactly these flows.
    PerCpuHash,
    /// `BPF_MAP_TYPE_LRU_HASH`: all CPUs share a value. It has twice the room, so that it evicts no flow.
    LruHash,
}

impl Kind {
    /// The name of the program that counts in the map.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::PerCpuHash => "percpu_hash",
            Self::LruHash => "lru_hash",
        }
    }

    const fn map(self) -> &'static str {
        match self {
            Self::PerCpuHash => "PERCPU_HASH",
            Self::LruHash => "LRU_HASH",
        }
    }

    /// The size of the map. The kernel keeps free entries of an LRU map in groups for each CPU.
    const fn entries(self, flows: u32) -> u32 {
        match self {
            Self::PerCpuHash => flows,
            Self::LruHash => 2 * flows + 1024,
        }
    }
}

/// The programs with a map of the kernel.
pub(crate) struct KernelMap {
    pub(crate) ebpf: Ebpf,
    kind: Kind,
    /// Number of values of a key.
    copies: usize,
    keys: Vec<FlowKey>,
    /// The values of each key.
    values: Vec<FlowValue>,
}

/// Whether flows stay in the map after they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Keep,
    Delete,
}

// include/uapi/linux/bpf.h: `enum bpf_cmd`.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// The part of `union bpf_attr` that the batch calls use.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: RawFd,
    element_flags: u64,
    flags: u64,
}

impl KernelMap {
    /// Loads the object with a map for this number of flows, and buffers for the largest batch.
    pub(crate) fn load(object: &[u8], kind: Kind, flows: u32, batch: usize) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
        let mut ebpf = programs::without_table(object, u32::try_from(cpus)?, &[(kind.map(), kind.entries(flows))])?;
        for name in ["empty", "parse_only", kind.program()] {
            programs::load(&mut ebpf, name)?;
        }
        let copies = if kind == Kind::PerCpuHash { cpus } else { 1 };
        let (keys, values) = (vec![FlowKey::zeroed(); batch], vec![FlowValue::zeroed(); batch * copies]);
        Ok(Self { ebpf, kind, copies, keys, values })
    }

    /// Counts this many packets in the map. Returns the cost of each in ns.
    pub(crate) fn count(&self, packets: u32) -> Result<f64> {
        programs::run(&self.ebpf, self.kind.program(), packets)
    }

    /// Reads all flows, `batch` at a time.
    pub(crate) fn read(&mut self, read: Read, batch: usize) -> Result<Total> {
        ensure!(batch <= self.keys.len(), "batches of {batch}, expected at most {}", self.keys.len());
        let map = self.ebpf.map(self.kind.map()).with_context(|| format!("the object has no {}", self.kind.map()))?;
        let (Map::PerCpuHashMap(data) | Map::LruHashMap(data)) = map else {
            bail!("{} is no hash map", self.kind.map());
        };
        let map = data.fd().as_fd().as_raw_fd();
        let mut total = Total::default();
        let mut position = None;
        loop {
            let (count, next) = read_batch(map, read, position, &mut self.keys[..batch], &mut self.values)?;
            for (key, values) in self.keys[..count].iter().zip(self.values.chunks_exact(self.copies)) {
                for flow in values.iter().map(|value| value.counted(key)).filter(|flow| flow.counts.packets() > 0) {
                    total.add(flow);
                }
            }
            if next.is_none() {
                return Ok(total);
            }
            position = next;
        }
    }
}

/// Reads one batch. Returns the number of its flows, and the position of the next batch unless this is the last.
fn read_batch(
    map: RawFd,
    read: Read,
    position: Option<u32>,
    keys: &mut [FlowKey],
    values: &mut [FlowValue],
) -> Result<(usize, Option<u32>)> {
    let command = match read {
        Read::Keep => BPF_MAP_LOOKUP_BATCH,
        Read::Delete => BPF_MAP_LOOKUP_AND_DELETE_BATCH,
    };
    let mut next = 0u32;
    let mut batch = Batch {
        in_batch: position.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len())?,
        map,
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys, all values of each key, and a position.
    // `KernelMap::load` made room for them. Both sizes are multiples of 8, to which the kernel rounds up values.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut batch, size_of::<Batch>()) };
    let count = batch.count as usize;
    if answer == 0 {
        return Ok((count, Some(next)));
    }
    let error = io::Error::last_os_error();
    // ENOENT: the last bucket has been read.
    if error.raw_os_error() == Some(libc::ENOENT) { Ok((count, None)) } else { Err(error).context("reading a batch") }
}
