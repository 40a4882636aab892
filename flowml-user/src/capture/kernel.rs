//! The flow table in the kernel: loading the programs, flipping the epoch, reading and handing back a partition.

use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use bytemuck::Zeroable;
use flowml_common::content::{PayloadLimit, Piece, Pieces};
use flowml_common::counts::{Counted, FlowEntry, FlowRarities};
use flowml_common::packet::Skipped;
use flowml_common::table::{Bucket, Count, Head, SLOTS, Seed, Shape};
use flowml_common::time::{Boundaries, Stamp};
use rand::RngCore;
use rand::rngs::OsRng;

use super::cpus::Cpus;
use super::shared::SharedArray;
use super::vectors::flows;
use super::{CaptureError, os_error};
use crate::process::capabilities::{self, CapabilitySet};

/// Flows per CPU and epoch where nothing else is asked for.
pub const DEFAULT_CAPACITY: u32 = 32_768;

/// The default capacity is halved on hosts of many CPUs until the table locks no more than this, bytes.
const DEFAULT_MEMORY: u64 = 512 << 20;

/// Both epochs.
const EPOCHS: u32 = 2;

/// How full a partition may become before the agent drains early: the other half is for what arrives meanwhile.
const HIGH_WATER: f64 = 0.5;

/// Epochs end with slots that are not shorter.
const SHORTEST_EPOCH: Duration = Duration::from_secs(1);

/// How large the flow table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Numbers of CPUs, each with its own partitions: one more than the highest ([`Cpus::numbers`]).
    pub cpus: u32,
    /// The shape of a partition.
    pub shape: Shape,
    /// How much payload is kept.
    pub payload: Option<PayloadLimit>,
}

impl Size {
    /// The size for a capacity in flows per CPU, or for the default one, and for so much payload.
    #[must_use]
    pub fn new(cpus: u32, capacity: Option<u32>, payload: Option<PayloadLimit>) -> Self {
        let size = |capacity| Self { cpus, shape: Shape::for_capacity(capacity), payload };
        if let Some(capacity) = capacity {
            return size(capacity);
        }
        let mut capacity = DEFAULT_CAPACITY;
        while capacity > 1024 && size(capacity).bytes() > DEFAULT_MEMORY {
            capacity /= 2;
        }
        size(capacity)
    }

    const fn partitions(self) -> u32 {
        self.cpus * EPOCHS
    }

    /// The kernel memory that the table locks, bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        let entry = size_of::<(FlowEntry, FlowRarities)>() as u64 + self.pieces_of_entry() as u64 * Piece::BYTES as u64;
        let partition = size_of::<Head>() as u64
            + self.shape.buckets as u64 * size_of::<Bucket>() as u64
            + self.shape.entries() as u64 * entry;
        self.partitions() as u64 * partition
    }

    const fn pieces_of_entry(self) -> u32 {
        match self.payload {
            Some(limit) => limit.pieces_of_entry(),
            None => 0,
        }
    }
}

/// Waits for programs that are running.
struct GracePeriod {
    slot: ArrayOfMaps<MapData, Array<MapData, u32>>,
    map: Array<MapData, u32>,
}

impl GracePeriod {
    /// Waits for one RCU grace period, in which every program that was running comes to its end: the kernel does so
    /// before an update of a map-in-map returns (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c), of whichever.
    fn wait(&mut self) -> Result<(), CaptureError> {
        Ok(self.slot.set(0, &self.map, 0)?)
    }
}

/// The loaded programs and their flow table.
pub struct KernelTable {
    ebpf: Ebpf,
    /// The programs' variable.
    epoch_number: Array<MapData, u32>,
    grace: GracePeriod,
    heads: SharedArray<Head>,
    strays: SharedArray<Count>,
    buckets: SharedArray<Bucket>,
    entries: SharedArray<FlowEntry>,
    rarities: SharedArray<FlowRarities>,
    pieces: SharedArray<Piece>,
    size: Size,
    seed: Seed,
    boundaries: Boundaries,
    /// The epoch that the programs write to.
    epoch: u32,
    /// When it began.
    began: Stamp,
}

impl KernelTable {
    /// As [`with_size`](Self::with_size), for the CPUs of this host, `capacity` flows of each, and so much payload of a
    /// flow.
    ///
    /// # Errors
    /// As there.
    pub fn load(
        object: &[u8],
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        boundaries: Boundaries,
    ) -> Result<Self, CaptureError> {
        Self::with_size(object, Size::new(Cpus::possible()?.numbers, capacity, payload), boundaries)
    }

    /// Loads the maps of `object`, whose entries end at these boundaries; programs are loaded by [`xdp`](Self::xdp) and
    /// [`tc`](Self::tc).
    ///
    /// # Errors
    /// Where the kernel refuses a map or this is no object of flowml's.
    pub fn with_size(object: &[u8], size: Size, boundaries: Boundaries) -> Result<Self, CaptureError> {
        let Size { shape: Shape { buckets }, payload, .. } = size;
        let too_large = || CaptureError::TooLarge { capacity: size.shape.entries(), cpus: size.cpus };
        let total = |each: u32| size.partitions().checked_mul(each).ok_or_else(too_large);
        let entries = total(size.shape.entries())?;
        // A map has at least one element.
        let pieces = entries.checked_mul(size.pieces_of_entry()).ok_or_else(too_large)?.max(1);
        let mut seed = Seed::zeroed();
        OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
        let mut ebpf = EbpfLoader::new()
            .override_global("BUCKETS", &buckets, true)
            .override_global("SEED", &seed.0, true)
            .override_global("BOUNDARIES", &boundaries.words(), true)
            .override_global("PAYLOAD", &payload.map_or(0, PayloadLimit::bytes), true)
            .map_max_entries("PACKETS", size.cpus)
            .map_max_entries("HEADS", size.partitions())
            .map_max_entries("TAGS", total(buckets)?)
            .map_max_entries("ENTRIES", entries)
            .map_max_entries("RARITIES", entries)
            .map_max_entries("PIECES", pieces)
            .load(object)
            .map_err(|error| CaptureError::load(&error, size))?;
        let heads = map_array(&ebpf, "HEADS", size.partitions())?;
        let strays = map_array(&ebpf, "STRAYS", EPOCHS)?;
        let buckets = map_array(&ebpf, "TAGS", total(buckets)?)?;
        let rarities = map_array(&ebpf, "RARITIES", entries)?;
        let entries = map_array(&ebpf, "ENTRIES", entries)?;
        let pieces = map_array(&ebpf, "PIECES", pieces)?;
        let epoch_number = take_map(&mut ebpf, ".data.epoch")?.try_into()?;
        let grace = GracePeriod { slot: take_map(&mut ebpf, "GRACE")?.try_into()?, map: Array::create(1, 0)? };
        Ok(Self {
            ebpf,
            epoch_number,
            grace,
            heads,
            strays,
            buckets,
            entries,
            rarities,
            pieces,
            size,
            seed,
            boundaries,
            epoch: 0,
            began: Stamp::of_ns(monotonic_ns()),
        })
    }

    /// The secret of the hash, for a table in vectors in which each flow has the same entry.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// How large the table is.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The capabilities that draining needs, which it is asked by doing it without any: none from Linux 5.19 on, where a
    /// descriptor of a map is enough; before that CAP_BPF where `kernel.unprivileged_bpf_disabled` is set.
    ///
    /// # Errors
    /// Where the kernel refuses the update for another reason, or to set capabilities aside.
    pub fn needs(&mut self) -> Result<CapabilitySet, CaptureError> {
        let refused = |error: &CaptureError| os_error(error) == Some(libc::EPERM);
        match capabilities::without(|| self.grace.wait()).map_err(CaptureError::Capabilities)? {
            Ok(()) => Ok(CapabilitySet::empty()),
            Err(error) if refused(&error) => Ok(CapabilitySet::BPF),
            Err(error) => Err(error),
        }
    }

    /// The object, for its log and for tests that run a program without attaching it.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The XDP program, loaded: the one for frames in several buffers where the kernel has those (Linux 5.18).
    ///
    /// # Errors
    /// What the verifier says of the plain program.
    pub fn xdp(&mut self) -> Result<&mut Xdp, CaptureError> {
        let name = if self.takes_frags() {
            "flowml_xdp_frags"
        } else {
            self.load_xdp("flowml_xdp")?;
            "flowml_xdp"
        };
        program(&mut self.ebpf, name)
    }

    /// Whether the kernel takes an XDP program for frames in several buffers (Linux 5.18).
    pub fn takes_frags(&mut self) -> bool {
        self.load_xdp("flowml_xdp_frags").is_ok()
    }

    fn load_xdp(&mut self, name: &'static str) -> Result<(), CaptureError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, name)?;
        loaded(xdp.load()).map_err(|error| CaptureError::program(&error))
    }

    /// A tc program, loaded.
    ///
    /// # Errors
    /// What the verifier says.
    pub fn tc(&mut self, name: &'static str) -> Result<&mut SchedClassifier, CaptureError> {
        let tc: &mut SchedClassifier = program(&mut self.ebpf, name)?;
        loaded(tc.load()).map_err(|error| CaptureError::program(&error))?;
        Ok(tc)
    }

    /// How full the fullest partition of the current epoch is, 0 to 1: a look at shared memory, no system call.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        self.largest(offset_of!(Head, entries)) as f64 / f64::from(self.size.shape.entries())
    }

    /// The largest of the numbers that the heads of the current epoch have at `offset`.
    fn largest(&self, offset: usize) -> u64 {
        self.partitions(self.epoch).map(|partition| self.heads.load_u64(partition, offset)).max().unwrap_or(0)
    }

    /// The partitions of an epoch, CPU by CPU.
    fn partitions(&self, epoch: u32) -> impl Iterator<Item = usize> + use<> {
        (0..self.size.cpus).map(move |cpu| (EPOCHS * cpu + epoch) as usize)
    }

    /// Whether the table is to be emptied before the interval ends: a partition is so full that waiting would risk
    /// overflow, a bucket had no room for another entry of a flow, or a slot has ended, after which each flow takes another.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.occupancy() >= HIGH_WATER || self.largest(offset_of!(Head, boundaries_lost)) > 0 || self.slot_ended()
    }

    /// Short slots are left to the programs: emptying the table waits for them some milliseconds.
    fn slot_ended(&self) -> bool {
        let boundaries = self.boundaries;
        boundaries.slot() >= SHORTEST_EPOCH && !boundaries.in_one_slot(self.began, Stamp::of_ns(monotonic_ns()))
    }

    /// Ends the current epoch: the programs go on in the other one, and what this one counted is the answer's.
    ///
    /// # Errors
    /// Where the kernel refuses to change the epoch; nothing is lost then, and the epoch goes on.
    pub fn drain(&mut self) -> Result<Drained<'_>, CaptureError> {
        let next = self.epoch ^ 1;
        // Whoever reads the new number also sees its partitions cleared.
        fence(Ordering::Release);
        self.epoch_number.set(0, next, 0)?;
        // From then on no program writes to the old epoch.
        self.grace.wait()?;
        let epoch = self.epoch;
        self.epoch = next;
        let time_ns = monotonic_ns();
        self.began = Stamp::of_ns(time_ns);
        Ok(Drained { time_ns, table: self, epoch })
    }
}

/// What one epoch counted. Dropping it clears the partitions and so hands them back for the epoch after the next flip.
pub struct Drained<'a> {
    /// When the epoch ended, ns of CLOCK_MONOTONIC, the clock of the packets' times.
    pub time_ns: u64,
    table: &'a mut KernelTable,
    epoch: u32,
}

impl Drained<'_> {
    fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        self.table.partitions(self.epoch)
    }

    fn head(&self, partition: usize) -> &Head {
        // SAFETY: the epoch is over (`drain`), so no program writes there.
        unsafe { &self.table.heads.slice(partition, 1)[0] }
    }

    /// What came to CPUs that have no partition.
    fn stray(&self) -> Count {
        // SAFETY: as in `head`.
        unsafe { self.table.strays.slice(self.epoch as usize, 1)[0] }
    }

    /// The counts of all CPUs.
    #[must_use]
    pub fn head_total(&self) -> Head {
        let mut total = Head::zeroed();
        for partition in self.partitions() {
            total.merge(self.head(partition));
        }
        let Count { packets, bytes } = self.stray();
        total.received.add(packets, bytes);
        total.skipped[Skipped::NoPartition as usize].add(packets, bytes);
        total
    }

    /// The flows, CPU by CPU. A flow that was on two CPUs is there twice.
    pub fn flows(&self) -> impl Iterator<Item = Counted<'_>> {
        let table = &*self.table;
        let buckets = table.size.shape.buckets as usize;
        let entries = buckets * SLOTS;
        self.partitions().filter(|partition| self.head(*partition).entries > 0).flat_map(move |partition| {
            // SAFETY: as in `head`.
            unsafe {
                let pieces = table.size.payload.map(|limit| {
                    let each = entries * limit.pieces_of_entry() as usize;
                    Pieces::new(limit, table.pieces.slice(partition * each, each))
                });
                flows(
                    table.buckets.slice(partition * buckets, buckets),
                    table.entries.slice(partition * entries, entries),
                    table.rarities.slice(partition * entries, entries),
                    pieces,
                )
            }
        })
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        let buckets = self.table.size.shape.buckets as usize;
        for partition in self.partitions() {
            // Entries are written anew when they are taken, so only the tags and the counts have to go.
            let used = self.head(partition).entries > 0;
            // SAFETY: the epoch is over, so no program reads or writes there, and `&mut KernelTable` is ours.
            unsafe {
                if used {
                    self.table.buckets.fill_zero(partition * buckets, buckets);
                }
                self.table.heads.fill_zero(partition, 1);
            }
        }
        // SAFETY: as above.
        unsafe { self.table.strays.fill_zero(self.epoch as usize, 1) };
    }
}

/// Now, on the clock of the packets' times (CLOCK_MONOTONIC), ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Now, ns since 1970 (CLOCK_REALTIME).
#[must_use]
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or(CaptureError::NotOurObject { missing: name })
}

/// The object keeps the map: its descriptor is written into the programs when they are loaded.
fn map_array<T: bytemuck::Pod>(ebpf: &Ebpf, name: &'static str, len: u32) -> Result<SharedArray<T>, CaptureError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(CaptureError::NotOurObject { missing: name });
    };
    SharedArray::map(data.fd(), len as usize).map_err(|error| CaptureError::Map { name, error })
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, CaptureError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    let program = ebpf.program_mut(name).ok_or(CaptureError::NotOurObject { missing: name })?;
    program.try_into().map_err(|_| CaptureError::NotOurObject { missing: name })
}

/// A program is attached to several interfaces but loaded once.
fn loaded(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}
