//! The contract with the agent: maps, and constants that the agent sets before it loads the programs.
//!
//! There are two epochs, and in each a partition of the flow table per CPU: partition = epoch × [`CPUS`] + CPU. XDP and
//! tc run with bottom halves off, so a CPU never interrupts itself in here and no atomics are needed. The agent owns
//! the partitions of the other epoch alone: it replaces the map in [`EPOCH`], the kernel waits for running programs
//! before that call returns (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), and then nobody writes there.

use core::hint::black_box;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use flowml_common::flow::FlowEntry;
use flowml_common::packet::{Frame, Packet};
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

/// A packet and a frame, on cache lines of their own.
#[repr(C)]
struct Parked {
    packet: Packet,
    rest: [u8; 128 - size_of::<Packet>()],
    frame: Frame,
    rest_of_frame: [u8; 64 - size_of::<Frame>()],
}

/// What each CPU is at work on: a frame before the parser, a packet between parser and table.
///
/// The verifier follows the values of registers and stack, so each of the many ways through the parser would be
/// another way through the table. It knows nothing of what a map holds: behind this all ways are one.
#[btf_map]
static PACKETS: Array<Parked, 1> = Array::new();

/// What a constant is before the agent sets it: a number that no other constant of the program has. The compiler merges
/// read-only data of equal bytes, and a literal that shares its place with one of these would change with it.
const UNSET: u32 = 0x756e_7365;

/// Possible CPUs.
#[unsafe(no_mangle)]
pub static CPUS: u32 = UNSET;
/// Entries per partition.
#[unsafe(no_mangle)]
pub static CAPACITY: u32 = UNSET + 1;
/// Buckets per partition.
#[unsafe(no_mangle)]
pub static BUCKETS: u32 = UNSET + 2;
/// The secret of the flow hash.
#[unsafe(no_mangle)]
pub static SEED: Seed = Seed([UNSET as u64; 6]);

/// A constant as the agent set it: the compiler must not believe the initial value.
#[inline(always)]
fn constant<T: Copy>(of: &'static T) -> T {
    // SAFETY: a reference to a static is valid; read-only data never changes after loading.
    unsafe { core::ptr::from_ref(of).read_volatile() }
}

/// The partition that this CPU writes to in the current epoch.
pub struct Partition {
    cpu: u32,
    number: u32,
    head: &'static mut Head,
    shape: Shape,
}

impl Partition {
    /// Reads the epoch, once per packet. `None` only where the agent did not set the maps up.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        let slot = black_box(0);
        let epoch = *EPOCH.get_value(0, &slot)?;
        // SAFETY: the helper takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let number = epoch * constant(&CPUS) + cpu;
        // SAFETY: this CPU alone writes to this partition, and not before this reference is gone (module comment).
        let head = unsafe { HEADS.get_ptr_mut(number)?.as_mut()? };
        Some(Self { cpu, number, head, shape: Shape { entries: constant(&CAPACITY), buckets: constant(&BUCKETS) } })
    }
}

/// Puts the packet where the verifier forgets how it came about.
#[inline(always)]
pub fn park(partition: &Partition, packet: &Packet) -> Option<&'static Packet> {
    let place = PACKETS.get_ptr_mut(partition.cpu)?;
    // SAFETY: the place is this CPU's alone, which is at work on one packet at a time (module comment).
    unsafe { forget(&raw mut (*place).packet, *packet) }
}

/// Puts the frame where the verifier forgets whether it has a tag or segments: each would double its work.
#[inline(always)]
pub fn park_frame(partition: &Partition, frame: &Frame) -> Option<&'static Frame> {
    let place = PACKETS.get_ptr_mut(partition.cpu)?;
    // SAFETY: as for the packet.
    unsafe { forget(&raw mut (*place).frame, *frame) }
}

/// Writes a value and answers a reference to it. The compiler must not carry over in registers what it wrote.
///
/// # Safety
/// `place` may be written, and nobody else writes there while the reference is in use.
#[inline(always)]
unsafe fn forget<T>(place: *mut T, value: T) -> Option<&'static T> {
    // SAFETY: the caller's word.
    unsafe {
        place.write(value);
        black_box(place).as_ref()
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
