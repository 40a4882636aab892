//! Reads the kernel's per-CPU hash map in batches, by the calls of bpf(2) that aya does not have.

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

/// The programs with a `BPF_MAP_TYPE_PERCPU_HASH` that is preallocated for this many flows.
pub(crate) struct PerCpuHash {
    pub(crate) ebpf: Ebpf,
    cpus: usize,
    keys: Vec<FlowKey>,
    /// For each key, one value for each possible CPU.
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

impl PerCpuHash {
    /// Loads the object with a map of this size, and buffers for the largest batch.
    pub(crate) fn load(object: &[u8], flows: u32, batch: usize) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
        let mut ebpf = programs::without_table(object, u32::try_from(cpus)?, flows)?;
        for name in ["parse_only", "percpu_hash"] {
            programs::load(&mut ebpf, name)?;
        }
        Ok(Self { ebpf, cpus, keys: vec![FlowKey::zeroed(); batch], values: vec![FlowValue::zeroed(); batch * cpus] })
    }

    /// Reads all flows, `batch` at a time.
    pub(crate) fn read(&mut self, read: Read, batch: usize) -> Result<Total> {
        ensure!(batch <= self.keys.len(), "batches of {batch}, expected at most {}", self.keys.len());
        let Some(Map::PerCpuHashMap(map)) = self.ebpf.map("PERCPU_HASH") else {
            bail!("the object has no per-CPU hash map PERCPU_HASH");
        };
        let map = map.fd().as_fd().as_raw_fd();
        let mut total = Total::default();
        let mut position = None;
        loop {
            let (count, next) = read_batch(map, read, position, &mut self.keys[..batch], &mut self.values)?;
            for (key, values) in self.keys[..count].iter().zip(self.values.chunks_exact(self.cpus)) {
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
    // SAFETY: the kernel writes at most `count` keys, for each key a value for each possible CPU, and a position.
    // `PerCpuHash::load` made room for them. Both sizes are multiples of 8, to which the kernel rounds up values.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut batch, size_of::<Batch>()) };
    let count = batch.count as usize;
    if answer == 0 {
        return Ok((count, Some(next)));
    }
    let error = io::Error::last_os_error();
    // ENOENT: the last bucket has been read.
    if error.raw_os_error() == Some(libc::ENOENT) { Ok((count, None)) } else { Err(error).context("reading a batch") }
}
