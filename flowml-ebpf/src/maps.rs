//! The contract with the agent: maps, and constants that the agent sets before it loads the programs.
//!
//! There are two epochs, and in each a partition of the flow table per CPU: partition = epoch × [`CPUS`] + CPU. XDP and
//! tc run with bottom halves off, so a CPU never interrupts itself in here and no atomics are needed. The agent owns
//! the partitions of the other epoch alone: it replaces the map in [`EPOCH`], the kernel waits for running programs
//! before that call returns (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), and then nobody writes there.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use flowml_common::flow::FlowEntry;
use flowml_common::table::{Bucket, Head, Seed, Shape, Storage};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Slot 0 holds an array whose only value is the number of the epoch that the programs write to: 0 or 1.
#[btf_map]
pub static EPOCH: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

/// A head per partition. The agent sets the size of this map and the two below.
#[btf_map]
pub static HEADS: Array<Head, 1, MMAPABLE> = Array::new();

/// [`BUCKETS`] buckets per partition.
#[btf_map]
pub static BUCKET_INDEX: Array<Bucket, 1, MMAPABLE> = Array::new();

/// [`CAPACITY`] entries per partition.
#[btf_map]
pub static ENTRIES: Array<FlowEntry, 1, MMAPABLE> = Array::new();

/// Possible CPUs.
#[unsafe(no_mangle)]
pub static CPUS: u32 = 0;
/// Entries per partition.
#[unsafe(no_mangle)]
pub static CAPACITY: u32 = 0;
/// Buckets per partition.
#[unsafe(no_mangle)]
pub static BUCKETS: u32 = 0;
/// The secret of the flow hash.
#[unsafe(no_mangle)]
pub static SEED: Seed = Seed([0; 6]);

/// A constant as the agent set it: the compiler must not believe the initial value.
#[inline(always)]
fn constant<T: Copy>(of: &'static T) -> T {
    // SAFETY: a reference to a static is valid; read-only data never changes after loading.
    unsafe { core::ptr::from_ref(of).read_volatile() }
}

/// The partition that this CPU writes to in the current epoch.
pub struct Partition {
    number: u32,
    head: &'static mut Head,
    shape: Shape,
}

impl Partition {
    /// Reads the epoch, once per packet. `None` only where the agent did not set the maps up.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        let epoch = *EPOCH.get_value(0, &0)?;
        // SAFETY: the helper takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let number = epoch * constant(&CPUS) + cpu;
        // SAFETY: this CPU alone writes to this partition, and not before this reference is gone (module comment).
        let head = unsafe { HEADS.get_ptr_mut(number)?.as_mut()? };
        Some(Self { number, head, shape: Shape { entries: constant(&CAPACITY), buckets: constant(&BUCKETS) } })
    }
}

impl Storage for Partition {
    #[inline(always)]
    fn shape(&self) -> Shape {
        self.shape
    }

    #[inline(always)]
    fn seed(&self) -> Seed {
        constant(&SEED)
    }

    #[inline(always)]
    fn head(&mut self) -> &mut Head {
        self.head
    }

    #[inline(always)]
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket> {
        // SAFETY: as for the head; `&mut self` keeps a second reference from being made.
        unsafe { BUCKET_INDEX.get_ptr_mut(self.number * self.shape.buckets + n)?.as_mut() }
    }

    #[inline(always)]
    fn entry(&mut self, n: u32) -> Option<&mut FlowEntry> {
        // SAFETY: as above.
        unsafe { ENTRIES.get_ptr_mut(self.number * self.shape.entries + n)?.as_mut() }
    }
}
