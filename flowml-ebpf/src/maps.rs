//! The contract with the agent: maps, and constants that the agent sets before it loads the programs.
//!
//! There are two epochs. In each epoch every CPU has a partition of the flow table: partition = 2 × CPU + epoch. XDP
//! and tc run with bottom halves off, so a CPU never interrupts itself in these programs, and no atomics are needed.
//! The agent owns the partitions of the epoch that is not current. It changes [`EPOCH`] and waits, by an update of
//! [`GRACE`], until no program runs that has read the old number. After that no program writes to the old partitions.

use core::arch::asm;
use core::hint::black_box;
use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use flowml_common::content::{PayloadChunk, PayloadLimit};
use flowml_common::counts::{ColdCounters, FlowEntry};
use flowml_common::filter::{Filter, Subject};
use flowml_common::flow::KEY_HALVES;
use flowml_common::handover::Handover;
use flowml_common::packet::{Frame, Packet, Skipped};
use flowml_common::parse::{Levels, Progress, parse_inside, parse_outermost, parse_tunnel};
use flowml_common::table::{Bucket, Count, Head, SLOTS, Seed, Storage};
use flowml_common::time::Boundaries;
use flowml_common::tunnel::{Outer, PortList, TunnelPorts};

use crate::cursor::PacketCursor;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The number of the epoch that the programs write to: 0 or 1. The agent writes it. It is a variable in a map of its
/// own: the programs read it at a fixed address, where a value in any other map needs a lookup.
#[unsafe(link_section = ".data.epoch")]
#[unsafe(no_mangle)]
static mut EPOCH: u32 = 0;

/// A map for the grace period; no program reads it. When the agent puts a map into its slot, the kernel waits for one
/// RCU grace period before the call returns, and therefore for all running programs (`maybe_wait_bpf_programs` in
/// kernel/bpf/syscall.c).
#[btf_map]
pub static GRACE: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

/// One head for each partition. The agent sets the size of this map and of those below.
#[btf_map]
pub static HEADS: Array<Head, 1, MMAPABLE> = Array::new();

/// Frames on CPUs without a partition, by epoch. All these CPUs add to the same counters, so they use atomics.
#[btf_map]
pub static STRAYS: Array<Count, 2, MMAPABLE> = Array::new();

/// The tags: [`BUCKETS`] buckets for each partition.
#[btf_map]
pub static TAGS: Array<Bucket, 1, MMAPABLE> = Array::new();

/// The entries: one for each tag.
#[btf_map]
pub static ENTRIES: Array<FlowEntry, 1, MMAPABLE> = Array::new();

/// The cold counters: one for each entry.
#[btf_map]
pub static COLD: Array<ColdCounters, 1, MMAPABLE> = Array::new();

/// The payload chunks: for each entry and direction as many as [`PAYLOAD`] needs. The map has one chunk if no payload
/// is kept.
#[btf_map]
pub static CHUNKS: Array<PayloadChunk, 1, MMAPABLE> = Array::new();

/// The tunnels: one for each entry if the programs look into tunnels, otherwise the map has one element.
#[btf_map]
pub static OUTERS: Array<Outer, 1, MMAPABLE> = Array::new();

/// The state that one agent leaves to the next. No program reads it.
#[btf_map]
pub static HANDOVER: Array<Handover, 1, MMAPABLE> = Array::new();

/// A frame, a packet and the headers of a quoted packet, each on cache lines of its own.
#[repr(C)]
struct Spilled {
    packet: Packet,
    rest: [u8; 128 - size_of::<Packet>()],
    frame: Frame,
    rest_of_frame: [u8; 64 - size_of::<Frame>()],
    quoted: PayloadChunk,
}

/// The data that each CPU is processing: a frame before the parser, a packet between parser and table.
///
/// The verifier follows the values of registers and stack, so each of the many paths through the parser would be a
/// separate path through the table. It does not follow the contents of maps: after the packet was stored in this map
/// there is only one path.
#[btf_map]
static PACKETS: Array<Spilled, 1> = Array::new();

/// The progress of parsing a frame with tunnels, on cache lines of its own.
#[repr(C)]
struct Spread {
    progress: Progress,
    rest: [u8; 128 - size_of::<Progress>()],
}

/// The progress of each CPU. As for the packet, the verifier does not follow it.
#[btf_map]
static LEVELS: Array<Spread, 1> = Array::new();

/// The fields of the packet that each CPU is processing, if there is a filter.
#[btf_map]
static SUBJECTS: Array<Subject, 1> = Array::new();

/// The value of a constant before the agent sets it: a number that no other constant of the program has. The compiler
/// merges read-only data with equal bytes, and a literal that shares its address with one of these would change with
/// it.
const UNSET: u32 = 0x756e_7365;

/// Number of buckets in a partition.
#[unsafe(no_mangle)]
pub static BUCKETS: u32 = UNSET + 1;
/// The secret of the flow hash.
#[unsafe(no_mangle)]
pub static SEED: Seed = Seed([UNSET as u64; KEY_HALVES]);

/// The UDP ports of tunnels ([`PortList`]). Only the programs that look into tunnels read them.
#[unsafe(no_mangle)]
pub static TUNNEL_PORTS: [u32; PortList::LENGTH] =
    [UNSET + 6, UNSET + 7, UNSET + 8, UNSET + 9, UNSET + 10, UNSET + 11, UNSET + 12, UNSET + 13];

/// Number of payload bytes that are kept for each direction. If it is 0, the verifier removes the code that keeps
/// payload.
#[unsafe(no_mangle)]
pub static PAYLOAD: u32 = UNSET + 2;

/// The boundaries at which an entry ends, from the agent's timeouts: the words of [`Boundaries`].
#[unsafe(no_mangle)]
pub static BOUNDARIES: [u64; 3] = [UNSET as u64 + 3, UNSET as u64 + 4, UNSET as u64 + 5];

/// 1 if there is a filter. If it is 0, the verifier removes the code that evaluates it.
#[unsafe(no_mangle)]
pub static FILTERED: u32 = UNSET + 14;

/// The filter.
#[unsafe(no_mangle)]
pub static FILTER: Filter = Filter::unset(UNSET as u64 + 15);

/// A constant as the agent set it. The read is volatile, because the compiler must not assume the initial value.
#[inline(always)]
fn constant<T: Copy>(of: &'static T) -> T {
    // SAFETY: a reference to a static is valid; read-only data never changes after loading.
    unsafe { core::ptr::from_ref(of).read_volatile() }
}

/// The CPU that runs the program. It does not change during the run.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper takes no arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// The number of the epoch. It is read once for each packet.
#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: the variable is aligned and its value is always 0 or 1; any mixture of the bytes of these is 0 or 1 too.
    unsafe { (&raw const EPOCH).read_volatile() }
}

/// Counts a frame on a CPU without a [`Place`], and therefore without a partition.
#[inline(always)]
pub fn count_stray(bytes: u32) {
    let Some(count) = STRAYS.get_ptr_mut(epoch()) else { return };
    // SAFETY: two aligned words of the map, which receive only atomic additions in this epoch.
    unsafe {
        add(&raw mut (*count).packets, 1);
        add(&raw mut (*count).bytes, u64::from(bytes));
    }
}

/// Adds to a number that other CPUs add to as well. In assembly, because `core` has no atomic additions for this
/// target.
///
/// # Safety
/// The number is aligned and may be written.
#[inline(always)]
unsafe fn add(to: *mut u64, value: u64) {
    // SAFETY: guaranteed by the caller.
    unsafe { asm!("lock *(u64 *)({to} + 0) += {value}", to = in(reg) to, value = in(reg) value) };
}

/// Whether there is a filter that does not select the packet. `untagged` is that of its frame
/// ([`untagged_length`](flowml_common::filter::untagged_length)).
#[inline(always)]
pub fn is_filtered_out(cpu: u32, packet: &Packet, untagged: u32) -> bool {
    constant(&FILTERED) != 0 && evaluate(cpu, packet, untagged) == 0
}

/// Evaluates the filter. A function of its own, so that programs without a filter only skip a call. Its result is a number,
/// as the verifier requires: 1 if the packet is selected.
#[inline(never)]
fn evaluate(cpu: u32, packet: &Packet, untagged: u32) -> u32 {
    let Some(place) = SUBJECTS.get_ptr_mut(cpu) else { return black_box(1) };
    // SAFETY: only this CPU uses the element, for one packet at a time (module comment). The verifier does not follow its
    // contents, so paths join.
    let Some(subject) = (unsafe { place.as_mut() }) else { return black_box(1) };
    subject.set(packet, untagged);
    // The compiler must not assume the initial value of the filter.
    black_box(u32::from(black_box(&FILTER).selects(black_box(subject))))
}

/// The partition that a CPU writes to in the current epoch.
pub struct Partition {
    number: u32,
    head: &'static mut Head,
}

impl Partition {
    /// Reads the epoch, once for each packet, and returns the partition of `cpu`. `None` only if the CPU has no
    /// [`Place`] either.
    #[inline(always)]
    pub fn current(cpu: u32) -> Option<Self> {
        let number = 2 * cpu + epoch();
        // SAFETY: only this CPU writes to this partition, and not before this reference is dropped (module comment).
        let head = unsafe { HEADS.get_ptr_mut(number)?.as_mut()? };
        Some(Self { number, head })
    }

    #[inline(always)]
    fn first_bucket(&self) -> u32 {
        self.number * self.buckets()
    }
}

/// The memory in which a CPU stores what it is processing.
#[derive(Clone, Copy)]
pub struct Place(*mut Spilled);

impl Place {
    /// The place of a CPU. `None` if its number is beyond the CPUs for which the agent made the maps.
    #[inline(always)]
    pub fn of(cpu: u32) -> Option<Self> {
        PACKETS.get_ptr_mut(cpu).map(Self)
    }

    /// Stores the packet in the map, so that the verifier does not follow how it was made.
    #[inline(always)]
    pub fn spill(self, packet: &Packet) -> Option<&'static Packet> {
        // SAFETY: only this CPU uses the place, for one packet at a time (module comment).
        unsafe { forget(&raw mut (*self.0).packet, *packet) }
    }

    /// Stores the frame in the map, so that the verifier does not follow whether it has a tag or segments. Each would
    /// double the verifier's work.
    #[inline(always)]
    pub fn spill_frame(self, frame: &Frame) -> Option<&'static Frame> {
        // SAFETY: as for the packet.
        unsafe { forget(&raw mut (*self.0).frame, *frame) }
    }
}

/// The levels of the frame that a CPU is parsing. `F` returns a cursor at the start of the frame.
pub struct Steps<F> {
    place: Place,
    progress: NonNull<Progress>,
    start: F,
}

impl<F: Fn() -> PacketCursor> Steps<F> {
    /// The memory of a CPU with a [`Place`].
    #[inline(always)]
    pub fn of(cpu: u32, place: Place, start: F) -> Option<Self> {
        // SAFETY: the element begins with the progress.
        let progress = unsafe { NonNull::new(&raw mut (*LEVELS.get_ptr_mut(cpu)?).progress)? };
        Some(Self { place, progress, start })
    }

    /// The packet that was stored last.
    #[inline(always)]
    pub fn packet(&self) -> Option<&'static Packet> {
        // SAFETY: as for `Place::spill`, which has written it.
        unsafe { black_box(&raw const (*self.place.0).packet).as_ref() }
    }
}

impl<F: Fn() -> PacketCursor> Levels for Steps<F> {
    type Cursor = PacketCursor;

    #[inline(always)]
    fn start(&self) -> PacketCursor {
        (self.start)()
    }

    #[inline(always)]
    fn progress(&mut self) -> &mut Progress {
        // SAFETY: only this CPU uses the element, for one packet at a time (module comment), and `&mut self` is exclusive.
        unsafe { black_box(self.progress).as_mut() }
    }

    #[inline(always)]
    fn last(&mut self) -> Option<&mut Packet> {
        // SAFETY: as for `Place::spill`, which has written the packet; `&mut self` is exclusive.
        unsafe { black_box(&raw mut (*self.place.0).packet).as_mut() }
    }

    #[inline(always)]
    fn keep(&mut self, packet: Packet) {
        let _ = self.place.spill(&packet);
    }

    #[inline(never)]
    fn outermost(&mut self, frame: &Frame) -> Result<(), Skipped> {
        parse_outermost(frame, self)
    }

    #[inline(never)]
    fn tunnel<P: TunnelPorts>(&mut self, ports: &P, n: usize) -> bool {
        parse_tunnel(self, ports, n)
    }

    #[inline(never)]
    fn inside(&mut self, frame: &Frame, n: usize) -> bool {
        parse_inside(frame, self, n)
    }
}

/// The ports of tunnels as the agent set them.
pub struct Ports;

impl TunnelPorts for Ports {
    #[inline(always)]
    fn port(&self, n: usize) -> u32 {
        constant(&TUNNEL_PORTS[n])
    }
}

/// Writes a value and returns a reference to it. The compiler must not keep the written value in registers.
///
/// # Safety
/// `place` must be writable, and nothing else may write there while the reference is in use.
#[inline(always)]
unsafe fn forget<T>(place: *mut T, value: T) -> Option<&'static T> {
    // SAFETY: guaranteed by the caller.
    unsafe {
        place.write(value);
        black_box(place).as_ref()
    }
}

/// An entry in its map: the result of one lookup.
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
        // The read is word by word, because a single read of the struct copies it to the stack.
        Boundaries::of_words([constant(&BOUNDARIES[0]), constant(&BOUNDARIES[1]), constant(&BOUNDARIES[2])])
    }

    #[inline(always)]
    fn head(&mut self) -> &mut Head {
        self.head
    }

    #[inline(always)]
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket> {
        // SAFETY: as for the head; `&mut self` prevents a second reference.
        unsafe { TAGS.get_ptr_mut(self.first_bucket() + n)?.as_mut() }
    }

    #[inline(always)]
    fn locate(&mut self, n: u32) -> Option<Located> {
        NonNull::new(ENTRIES.get_ptr_mut(self.first_bucket() * SLOTS as u32 + n)?).map(Located)
    }

    #[inline(always)]
    fn cold(&mut self, n: u32) -> Option<&mut ColdCounters> {
        // SAFETY: as for a bucket.
        unsafe { COLD.get_ptr_mut(self.first_bucket() * SLOTS as u32 + n)?.as_mut() }
    }

    #[inline(always)]
    fn payload_limit(&self) -> Option<PayloadLimit> {
        PayloadLimit::new(constant(&PAYLOAD))
    }

    #[inline(always)]
    fn scratch(&mut self) -> Option<&mut PayloadChunk> {
        // A CPU has two partitions (`current`). The place is not on the stack, where the verifier requires aligned
        // accesses.
        let place = PACKETS.get_ptr_mut(self.number / 2)?;
        // SAFETY: as for the packet, which is a different field.
        unsafe { (&raw mut (*place).quoted).as_mut() }
    }

    #[inline(always)]
    fn chunk(&mut self, n: u32) -> Option<&mut PayloadChunk> {
        let first = PayloadLimit::new(constant(&PAYLOAD))?.first_chunk(self.first_bucket() * SLOTS as u32, 0);
        // SAFETY: as for a bucket.
        unsafe { CHUNKS.get_ptr_mut(first + n)?.as_mut() }
    }

    #[inline(always)]
    fn outer(&mut self, n: u32) -> Option<&mut Outer> {
        // SAFETY: as for a bucket.
        unsafe { OUTERS.get_ptr_mut(self.first_bucket() * SLOTS as u32 + n)?.as_mut() }
    }

    #[inline(always)]
    fn entry(&mut self, mut at: Located) -> &mut FlowEntry {
        // SAFETY: as for a bucket; `locate` found it in the map, which does not move its values.
        unsafe { at.0.as_mut() }
    }
}
