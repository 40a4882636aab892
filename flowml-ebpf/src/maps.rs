//! The contract with the agent: maps, and constants that the agent sets before it loads the programs.
//!
//! There are two epochs, and in each a partition of the flow table per CPU: partition = 2 × CPU + epoch. XDP and tc run
//! with bottom halves off, so a CPU never interrupts itself in here and no atomics are needed. The agent owns the
//! partitions of the other epoch alone: it changes [`EPOCH`], waits by way of [`GRACE`] until no program runs that read
//! the old number, and then nobody writes there.

use core::arch::asm;
use core::hint::black_box;
use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use flowml_common::content::{PayloadLimit, Piece};
use flowml_common::counts::{FlowEntry, FlowRarities};
use flowml_common::flow::KEY_HALVES;
use flowml_common::handover::Handover;
use flowml_common::packet::{Frame, Packet};
use flowml_common::table::{Bucket, Count, Head, SLOTS, Seed, Storage};
use flowml_common::time::Boundaries;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The number of the epoch that the programs write to: 0 or 1. A variable in a map of its own, which the agent writes
/// to: the programs read it at a known address, where a value in any other map has to be looked up.
#[unsafe(link_section = ".data.epoch")]
#[unsafe(no_mangle)]
static mut EPOCH: u32 = 0;

/// No program reads it. When the agent puts a map into its slot, the kernel waits for one RCU grace period, and so for
/// all running programs, before that call returns (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
#[btf_map]
pub static GRACE: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

/// A head per partition. The agent sets the size of this map and those below.
#[btf_map]
pub static HEADS: Array<Head, 1, MMAPABLE> = Array::new();

/// Frames that came to CPUs without a partition, by epoch: all such CPUs add to the same counters, so with atomics.
#[btf_map]
pub static STRAYS: Array<Count, 2, MMAPABLE> = Array::new();

/// [`BUCKETS`] buckets per partition.
#[btf_map]
pub static TAGS: Array<Bucket, 1, MMAPABLE> = Array::new();

/// As many entries as there are tags.
#[btf_map]
pub static ENTRIES: Array<FlowEntry, 1, MMAPABLE> = Array::new();

/// What few packets add to, entry by entry.
#[btf_map]
pub static RARITIES: Array<FlowRarities, 1, MMAPABLE> = Array::new();

/// The first payload bytes of each direction, entry by entry, each with as many pieces as [`PAYLOAD`] takes; one in all
/// where no payload is kept.
#[btf_map]
pub static PIECES: Array<Piece, 1, MMAPABLE> = Array::new();

/// No program reads it: how far the agents have come, for the next one.
#[btf_map]
pub static HANDOVER: Array<Handover, 1, MMAPABLE> = Array::new();

/// A packet, a frame and what is read of a packet that is quoted, on cache lines of their own.
#[repr(C)]
struct Parked {
    packet: Packet,
    rest: [u8; 128 - size_of::<Packet>()],
    frame: Frame,
    rest_of_frame: [u8; 64 - size_of::<Frame>()],
    quoted: Piece,
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

/// Buckets per partition.
#[unsafe(no_mangle)]
pub static BUCKETS: u32 = UNSET + 1;
/// The secret of the flow hash.
#[unsafe(no_mangle)]
pub static SEED: Seed = Seed([UNSET as u64; KEY_HALVES]);

/// Payload bytes that are kept of each direction; the verifier leaves out what is there for more than 0.
#[unsafe(no_mangle)]
pub static PAYLOAD: u32 = UNSET + 2;

/// Where an entry has to end, by the timeouts of the agent: the words of [`Boundaries`].
#[unsafe(no_mangle)]
pub static BOUNDARIES: [u64; 3] = [UNSET as u64 + 3, UNSET as u64 + 4, UNSET as u64 + 5];

/// A constant as the agent set it: the compiler must not believe the initial value.
#[inline(always)]
fn constant<T: Copy>(of: &'static T) -> T {
    // SAFETY: a reference to a static is valid; read-only data never changes after loading.
    unsafe { core::ptr::from_ref(of).read_volatile() }
}

/// The CPU that the program runs on to its end.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_smp_processor_id() }
}

/// The number of the epoch, to be read once per packet.
#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: an aligned variable whose value is never but 0 or 1, of which any mixture of bytes is one too.
    unsafe { (&raw const EPOCH).read_volatile() }
}

/// Counts a frame that came to a CPU without a place, and so without a partition.
#[inline(always)]
pub fn count_stray(bytes: u32) {
    let Some(count) = STRAYS.get_ptr_mut(epoch()) else { return };
    // SAFETY: two aligned words of the map, to which only atomic additions are made in this epoch.
    unsafe {
        add(&raw mut (*count).packets, 1);
        add(&raw mut (*count).bytes, u64::from(bytes));
    }
}

/// Adds to a number that other CPUs add to as well. The standard library has no atomic additions for this target.
///
/// # Safety
/// The number is aligned and may be written.
#[inline(always)]
unsafe fn add(to: *mut u64, value: u64) {
    // SAFETY: the caller's word.
    unsafe { asm!("lock *(u64 *)({to} + 0) += {value}", to = in(reg) to, value = in(reg) value) };
}

/// The partition that a CPU writes to in the current epoch.
pub struct Partition {
    number: u32,
    head: &'static mut Head,
}

impl Partition {
    /// Reads the epoch, once per packet, for the CPU that the program runs on. `None` only where that has no [`Place`]
    /// either.
    #[inline(always)]
    pub fn current(cpu: u32) -> Option<Self> {
        let number = 2 * cpu + epoch();
        // SAFETY: this CPU alone writes to this partition, and not before this reference is gone (module comment).
        let head = unsafe { HEADS.get_ptr_mut(number)?.as_mut()? };
        Some(Self { number, head })
    }

    #[inline(always)]
    fn first_bucket(&self) -> u32 {
        self.number * self.buckets()
    }
}

/// Where a CPU parks what it is at work on.
#[derive(Clone, Copy)]
pub struct Place(*mut Parked);

impl Place {
    /// That of a CPU; `None` where its number is beyond those that the agent made the maps for.
    #[inline(always)]
    pub fn of(cpu: u32) -> Option<Self> {
        PACKETS.get_ptr_mut(cpu).map(Self)
    }

    /// Puts the packet where the verifier forgets how it came about.
    #[inline(always)]
    pub fn park(self, packet: &Packet) -> Option<&'static Packet> {
        // SAFETY: the place is this CPU's alone, which is at work on one packet at a time (module comment).
        unsafe { forget(&raw mut (*self.0).packet, *packet) }
    }

    /// Puts the frame where the verifier forgets whether it has a tag or segments: each would double its work.
    #[inline(always)]
    pub fn park_frame(self, frame: &Frame) -> Option<&'static Frame> {
        // SAFETY: as for the packet.
        unsafe { forget(&raw mut (*self.0).frame, *frame) }
    }
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

/// An entry in its map: a number that was looked up once.
#[derive(Clone, Copy)]
pub struct Located(NonNull<FlowEntry>);

impl Storage for Partition {
    type Located = Located;

    #[inline(always)]
    fn buckets(&self) -> u32 {
        constant(&BUCKETS)
    }

    #[inline(always)]
    fn secret(&self, n: usize) -> u64 {
        constant(&SEED.0[n])
    }

    #[inline(always)]
    fn boundaries(&self) -> Boundaries {
        // Word by word: a struct that is read as a whole goes by way of the stack.
        Boundaries::of_words([constant(&BOUNDARIES[0]), constant(&BOUNDARIES[1]), constant(&BOUNDARIES[2])])
    }

    #[inline(always)]
    fn head(&mut self) -> &mut Head {
        self.head
    }

    #[inline(always)]
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket> {
        // SAFETY: as for the head; `&mut self` keeps a second reference from being made.
        unsafe { TAGS.get_ptr_mut(self.first_bucket() + n)?.as_mut() }
    }

    #[inline(always)]
    fn locate(&mut self, n: u32) -> Option<Located> {
        NonNull::new(ENTRIES.get_ptr_mut(self.first_bucket() * SLOTS as u32 + n)?).map(Located)
    }

    #[inline(always)]
    fn rarities(&mut self, n: u32) -> Option<&mut FlowRarities> {
        // SAFETY: as for a bucket.
        unsafe { RARITIES.get_ptr_mut(self.first_bucket() * SLOTS as u32 + n)?.as_mut() }
    }

    #[inline(always)]
    fn payload_limit(&self) -> Option<PayloadLimit> {
        PayloadLimit::new(constant(&PAYLOAD))
    }

    #[inline(always)]
    fn scratch(&mut self) -> Option<&mut Piece> {
        // Two partitions a CPU (`current`). Not on the stack, where the verifier wants every access aligned.
        let place = PACKETS.get_ptr_mut(self.number / 2)?;
        // SAFETY: as for the packet, which is another field.
        unsafe { (&raw mut (*place).quoted).as_mut() }
    }

    #[inline(always)]
    fn piece(&mut self, n: u32) -> Option<&mut Piece> {
        let first = PayloadLimit::new(constant(&PAYLOAD))?.first_piece(self.first_bucket() * SLOTS as u32, 0);
        // SAFETY: as for a bucket.
        unsafe { PIECES.get_ptr_mut(first + n)?.as_mut() }
    }

    #[inline(always)]
    fn entry(&mut self, mut at: Located) -> &mut FlowEntry {
        // SAFETY: as for a bucket; it was found in the map (`locate`), which keeps its values where they are.
        unsafe { at.0.as_mut() }
    }
}
