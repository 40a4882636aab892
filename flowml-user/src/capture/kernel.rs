//! The flow table in the kernel: loading the programs, flipping the epoch, reading and handing back partitions.

use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd as _;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use aya::{Ebpf, EbpfLoader};
use bytemuck::Zeroable;
use flowml_common::content::{PayloadChunk, PayloadChunks, PayloadLimit};
use flowml_common::counts::{ColdCounters, Counted, FlowEntry};
use flowml_common::handover::{Account, Constants};
use flowml_common::packet::Skipped;
use flowml_common::table::{Bucket, Count, Head, SLOTS, Seed, Shape};
use flowml_common::time::{Boundaries, Stamp};
use rand::RngCore;
use rand::rngs::OsRng;
use sha1::{Digest as _, Sha1};

use super::cpus::Cpus;
use super::handover::{Ledger, Step};
use super::pins::{KEPT, PinError, Pins, namespace};
use super::programs::Programs;
use super::shared::SharedArray;
use super::vectors::flows;
use super::{CaptureError, os_error};
use crate::process::capabilities::{self, CapabilitySet};
use crate::process::memory;

/// The default number of flows for each CPU and epoch.
pub const DEFAULT_CAPACITY: u32 = 131_072;

/// The default capacity is halved on hosts with many CPUs or little memory until the table locks at most this memory, in
/// bytes, and at most [`DEFAULT_SHARE`] of the host's.
const DEFAULT_MEMORY: u64 = 512 << 20;

/// One of this number of parts of the host's memory.
const DEFAULT_SHARE: u64 = 32;

/// The number of epochs.
pub(super) const EPOCHS: u32 = 2;

/// The occupancy of a partition at which the agent drains early. The rest is for flows that arrive until then: packets
/// find room until 85 %. A lower value would make more epochs, in which flows of many packets have more entries.
const HIGH_WATER: f64 = 0.6;

/// The occupancy of a partition at which the agent drains early if the flows have fewer than [`FEW_PACKETS`] packets on
/// average. Such flows have as many entries in shorter epochs, and their processing starts earlier.
const LOW_WATER: f64 = 1.0 / 16.0;

/// See [`LOW_WATER`].
const FEW_PACKETS: u64 = 2;

/// Epochs end with slots of at least this length.
const SHORTEST_EPOCH: Duration = Duration::from_secs(1);

/// The size of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of CPU numbers with partitions: the highest plus one ([`Cpus::numbers`]).
    pub cpus: u32,
    /// The shape of a partition.
    pub shape: Shape,
    /// The limit of kept payload.
    pub payload: Option<PayloadLimit>,
}

impl Size {
    /// The size for a capacity in flows for each CPU (or the default capacity) and for this payload limit.
    #[must_use]
    pub fn new(cpus: u32, capacity: Option<u32>, payload: Option<PayloadLimit>) -> Self {
        let size = |capacity| Self { cpus, shape: Shape::for_capacity(capacity), payload };
        if let Some(capacity) = capacity {
            return size(capacity);
        }
        let share = memory::available().map_or(u64::MAX, |available| available / DEFAULT_SHARE);
        let mut capacity = DEFAULT_CAPACITY;
        while capacity > 1024 && size(capacity).bytes() > DEFAULT_MEMORY.min(share) {
            capacity /= 2;
        }
        size(capacity)
    }

    const fn of(constants: &Constants) -> Self {
        let Constants { cpus, buckets, payload, .. } = *constants;
        Self { cpus, shape: Shape { buckets }, payload: PayloadLimit::new(payload) }
    }

    const fn partitions(self) -> u32 {
        self.cpus * EPOCHS
    }

    /// The kernel memory that the table locks, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        let entry =
            size_of::<(FlowEntry, ColdCounters)>() as u64 + self.chunks_of_entry() as u64 * PayloadChunk::BYTES as u64;
        let partition = size_of::<Head>() as u64
            + self.shape.buckets as u64 * size_of::<Bucket>() as u64
            + self.shape.entries() as u64 * entry;
        self.partitions() as u64 * partition
    }

    const fn chunks_of_entry(self) -> u32 {
        match self.payload {
            Some(limit) => limit.chunks_of_entry(),
            None => 0,
        }
    }
}

/// Waits until running programs have ended.
struct GracePeriod {
    slot: ArrayOfMaps<MapData, Array<MapData, u32>>,
    map: Array<MapData, u32>,
}

impl GracePeriod {
    /// Waits for one RCU grace period, in which every running program ends. The kernel waits before the update of any
    /// map of maps returns (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c).
    fn wait(&mut self) -> Result<(), CaptureError> {
        Ok(self.slot.set(0, &self.map, 0)?)
    }
}

/// The programs and the flow table that they count in. They can be separated, so that one thread attaches and another
/// drains.
pub struct KernelTable {
    /// The programs to attach.
    pub programs: Programs,
    /// The flow table.
    pub table: FlowTable,
}

impl Deref for KernelTable {
    type Target = FlowTable;

    fn deref(&self) -> &FlowTable {
        &self.table
    }
}

impl DerefMut for KernelTable {
    fn deref_mut(&mut self) -> &mut FlowTable {
        &mut self.table
    }
}

/// The flow table in the kernel, for the thread that drains it.
pub struct FlowTable {
    /// The programs' variable `EPOCH`.
    epoch_variable: Array<MapData, u32>,
    ledger: Ledger,
    grace: GracePeriod,
    heads: SharedArray<Head>,
    strays: SharedArray<Count>,
    buckets: SharedArray<Bucket>,
    entries: SharedArray<FlowEntry>,
    cold: SharedArray<ColdCounters>,
    chunks: SharedArray<PayloadChunk>,
    constants: Constants,
    size: Size,
    /// The epoch that the programs write to.
    epoch: u32,
    /// Time of its start.
    began: Stamp,
    /// Number of epochs to drain that started before this agent did.
    inherited: u32,
}

impl KernelTable {
    /// As [`with_size`](Self::with_size), for the CPUs of this host, `capacity` flows for each, and this payload limit.
    ///
    /// # Errors
    /// As [`with_size`](Self::with_size).
    pub fn load(
        object: &[u8],
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        boundaries: Boundaries,
    ) -> Result<Self, CaptureError> {
        Self::with_size(object, Size::new(Cpus::possible()?.numbers, capacity, payload), boundaries)
    }

    /// As [`load`](Self::load), but with the table that is pinned in the folder, if there is one.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if the pinned table cannot be continued, or has other parameters than requested.
    pub fn open(
        object: &[u8],
        pins: &Pins,
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        boundaries: Boundaries,
    ) -> Result<Self, CaptureError> {
        let Some(handover) = pins.table()? else {
            pins.forget_unfinished()?;
            return Self::load(object, capacity, payload, boundaries);
        };
        let constants = handover.constants;
        let size = Size::of(&constants);
        let wanted = capacity.map_or(size.shape, Shape::for_capacity);
        let kept = if size.shape != wanted {
            Some(format!("--flow-capacity {}", size.shape.entries()))
        } else if size.payload != payload {
            Some(format!("--payload {}", constants.payload))
        } else if constants.boundaries != boundaries {
            Some("a different --idle-timeout or --active-timeout".to_owned())
        } else {
            None
        };
        match kept {
            Some(kept) => Err(PinError::Contradiction { folder: pins.folder().to_owned(), kept }.into()),
            None => Self::build(object, constants, Some(pins)),
        }
    }

    /// Loads the maps of `object`, whose entries end at these boundaries. [`Programs::xdp`] and [`Programs::tc`] load
    /// the programs.
    ///
    /// # Errors
    /// If the kernel refuses a map, or `object` is not flowml's kernel object.
    pub fn with_size(object: &[u8], size: Size, boundaries: Boundaries) -> Result<Self, CaptureError> {
        let mut seed = Seed::zeroed();
        OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
        let (cpus, buckets) = (size.cpus, size.shape.buckets);
        let payload = size.payload.map_or(0, PayloadLimit::bytes);
        Self::build(object, Constants { cpus, buckets, payload, reserved: 0, seed, boundaries }, None)
    }

    /// Loads programs with these constants, with the pinned maps or with new ones.
    fn build(object: &[u8], constants: Constants, pinned: Option<&Pins>) -> Result<Self, CaptureError> {
        let size = Size::of(&constants);
        let too_large = || CaptureError::TooLarge { capacity: size.shape.entries(), cpus: size.cpus };
        let total = |each: u32| size.partitions().checked_mul(each).ok_or_else(too_large);
        let (buckets, entries) = (total(constants.buckets)?, total(size.shape.entries())?);
        // A map needs at least one element.
        let chunks = entries.checked_mul(size.chunks_of_entry()).ok_or_else(too_large)?.max(1);
        let epoch = pinned.map_or(Ok(0), Pins::epoch)?;
        let boundaries = constants.boundaries.words();
        let mut loader = EbpfLoader::new();
        loader
            .override_global("BUCKETS", &constants.buckets, true)
            .override_global("SEED", &constants.seed.0, true)
            .override_global("BOUNDARIES", &boundaries, true)
            .override_global("PAYLOAD", &constants.payload, true)
            // The loader writes this value to the map. Programs may be using a pinned map, so its value must not
            // change.
            .override_global("EPOCH", &epoch, true)
            .map_max_entries("PACKETS", size.cpus)
            .map_max_entries("HEADS", size.partitions())
            .map_max_entries("TAGS", buckets)
            .map_max_entries("ENTRIES", entries)
            .map_max_entries("COLD", entries)
            .map_max_entries("CHUNKS", chunks);
        for (map, file) in pinned.iter().flat_map(|pins| KEPT.map(|(map, file)| (map, pins.path(file)))) {
            loader.map_pin_path(map, file);
        }
        let mut ebpf = loader.load(object).map_err(|error| CaptureError::load(&error, size))?;
        let handover = map_array(&ebpf, "HANDOVER", 1)?;
        let ledger = match pinned {
            None => Ledger::begin(handover, constants, namespace()?),
            Some(_) => Ledger::go_on(handover),
        };
        let grace = GracePeriod { slot: take_map(&mut ebpf, "GRACE")?.try_into()?, map: Array::create(1, 0)? };
        let mut table = FlowTable {
            epoch_variable: epoch_variable(&ebpf)?,
            heads: map_array(&ebpf, "HEADS", size.partitions())?,
            strays: map_array(&ebpf, "STRAYS", EPOCHS)?,
            buckets: map_array(&ebpf, "TAGS", buckets)?,
            entries: map_array(&ebpf, "ENTRIES", entries)?,
            cold: map_array(&ebpf, "COLD", entries)?,
            chunks: map_array(&ebpf, "CHUNKS", chunks)?,
            ledger,
            grace,
            constants,
            size,
            epoch,
            began: Stamp::of_ns(monotonic_ns()),
            inherited: 0,
        };
        table.inherit(pinned)?;
        Ok(Self { programs: Programs::new(ebpf), table })
    }

    /// The object, for its log and for tests that run a program without attaching it.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        self.programs.ebpf()
    }

    /// Pins the maps, so that they outlive this process.
    pub(super) fn pin(&self, pins: &Pins) -> Result<(), CaptureError> {
        KEPT.iter().try_for_each(|(map, file)| Ok(pins.pin(file, self.programs.map(map)?)?))
    }
}

impl FlowTable {
    /// Continues from the step at which an earlier agent ended.
    fn inherit(&mut self, pinned: Option<&Pins>) -> Result<(), CaptureError> {
        let Some(pins) = pinned else { return Ok(()) };
        self.inherited = match self.ledger.step(self.epoch) {
            Some(Step::Counting) => 1,
            Some(Step::Ended) => 2,
            Some(Step::Committed) => {
                self.clear(self.epoch ^ 1);
                1
            }
            None => {
                let (folder, what) = (pins.folder().to_owned(), "the epoch matches no drain".to_owned());
                return Err(PinError::Damaged { folder, what }.into());
            }
        };
        Ok(())
    }

    /// The secret of the hash, for a table in vectors in which each flow has the same entry.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.constants.seed
    }

    /// The counts that earlier agents took from the table.
    #[must_use]
    pub const fn earlier(&self) -> &Account {
        self.ledger.earlier()
    }

    /// An identity of this table. It follows from the table's secret and does not reveal it.
    #[must_use]
    pub fn identity(&self) -> [u8; 20] {
        Sha1::digest(bytemuck::bytes_of(&self.constants)).into()
    }

    /// Number of drains by all agents.
    #[must_use]
    pub fn drains(&self) -> u64 {
        self.ledger.drains()
    }

    /// Records for the next agent which part of the counts so far may be in no record.
    pub fn set_unreported(&mut self, unreported: Count) {
        self.ledger.set_unreported(unreported);
    }

    /// Records for the next agent that everything that this agent took was written.
    pub fn set_reported(&mut self) {
        self.ledger.set_reported();
    }

    /// The size of the table.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The capabilities that draining needs, found by trying it without any. None from Linux 5.19 on, where a
    /// descriptor of the map is enough. Before that CAP_BPF, if `kernel.unprivileged_bpf_disabled` is set.
    ///
    /// # Errors
    /// If the kernel refuses the update for another reason, or refuses to suspend capabilities.
    pub fn needs(&mut self) -> Result<CapabilitySet, CaptureError> {
        let refused = |error: &CaptureError| os_error(error) == Some(libc::EPERM);
        match capabilities::without(|| self.grace.wait()).map_err(CaptureError::Capabilities)? {
            Ok(()) => Ok(CapabilitySet::empty()),
            Err(error) if refused(&error) => Ok(CapabilitySet::BPF),
            Err(error) => Err(error),
        }
    }

    /// Occupancy of the fullest partition in the current epoch, 0 to 1. It is read from shared memory, without a system
    /// call.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        self.largest(offset_of!(Head, entries)) as f64 / f64::from(self.size.shape.entries())
    }

    /// The largest of the numbers at `offset` in the heads of the current epoch.
    fn largest(&self, offset: usize) -> u64 {
        self.partitions(self.epoch).map(|partition| self.heads.load_u64(partition, offset)).max().unwrap_or(0)
    }

    /// The partitions of an epoch, in the order of CPUs.
    fn partitions(&self, epoch: u32) -> impl Iterator<Item = usize> + use<> {
        (0..self.size.cpus).map(move |cpu| (EPOCHS * cpu + epoch) as usize)
    }

    /// Whether the table should be drained before the interval ends. The reasons: it has counts from before this agent,
    /// a partition is so full that waiting would risk overflow or delay a flood of short flows, a bucket had no room for another entry of a flow, or a
    /// slot has ended, after which each flow takes another entry.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.inherited > 0
            || self.is_filling()
            || self.largest(offset_of!(Head, boundaries_lost)) > 0
            || self.slot_ended()
    }

    fn is_filling(&self) -> bool {
        self.partitions(self.epoch).any(|partition| {
            let load = |offset| self.heads.load_u64(partition, offset);
            let packets = load(offset_of!(Head, received) + offset_of!(Count, packets));
            is_filling(load(offset_of!(Head, entries)), packets, self.size.shape)
        })
    }

    /// Whether a slot has ended. Short slots do not cause a drain, because a drain waits some milliseconds for the
    /// programs.
    fn slot_ended(&self) -> bool {
        let boundaries = self.constants.boundaries;
        boundaries.slot() >= SHORTEST_EPOCH && !boundaries.in_one_slot(self.began, Stamp::of_ns(monotonic_ns()))
    }

    /// Ends the current epoch, and returns its counts. The programs continue in the other epoch. If an epoch has ended
    /// without a commit, its counts are returned.
    ///
    /// # Errors
    /// If the kernel refuses. Nothing is lost then.
    pub fn drain(&mut self) -> Result<Drained<'_>, CaptureError> {
        if self.ledger.step(self.epoch) == Some(Step::Counting) {
            let next = self.epoch ^ 1;
            // A program that reads the new number also sees the partitions of that epoch cleared.
            fence(Ordering::Release);
            self.set_epoch(next)?;
            self.epoch = next;
            self.began = Stamp::of_ns(monotonic_ns());
        }
        // After this no program writes to the old epoch.
        self.grace.wait()?;
        let inherited = self.inherited > 0;
        Ok(Drained { time_ns: monotonic_ns(), inherited, epoch: self.epoch ^ 1, table: self })
    }

    /// Sets the programs' variable.
    fn set_epoch(&mut self, epoch: u32) -> Result<(), CaptureError> {
        Ok(self.epoch_variable.set(0, epoch, 0)?)
    }

    fn head(&self, partition: usize) -> &Head {
        // SAFETY: called for partitions of an epoch that is over, so no program writes there.
        unsafe { &self.heads.slice(partition, 1)[0] }
    }

    /// Clears the partitions of an epoch that is over and committed. The programs use them again after the next flip.
    fn clear(&mut self, epoch: u32) {
        let buckets = self.size.shape.buckets as usize;
        for partition in self.partitions(epoch) {
            // Entries are initialized when they are taken, so only tags and counters have to be cleared.
            let used = self.head(partition).entries > 0;
            // SAFETY: the epoch is over, so no program reads or writes there, and `&mut self` is exclusive.
            unsafe {
                if used {
                    self.buckets.fill_zero(partition * buckets, buckets);
                    // The head shows whether there are tags to clear, also to the next agent if this one is killed. So
                    // it is cleared last.
                    fence(Ordering::SeqCst);
                }
                self.heads.fill_zero(partition, 1);
            }
        }
        // SAFETY: as above.
        unsafe { self.strays.fill_zero(epoch as usize, 1) };
        self.ledger.set_cleared();
    }
}

/// The counts of one epoch, until they are [committed](Self::commit). Without a commit the next drain returns them
/// again.
#[must_use]
pub struct Drained<'a> {
    /// Time of the epoch's end, in ns of CLOCK_MONOTONIC, the clock of the packets' times.
    pub time_ns: u64,
    /// Whether the epoch started before this agent did.
    pub inherited: bool,
    table: &'a mut FlowTable,
    epoch: u32,
}

impl<'a> Drained<'a> {
    fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        self.table.partitions(self.epoch)
    }

    /// The packets on CPUs without a partition.
    fn stray(&self) -> Count {
        // SAFETY: the epoch is over (`drain`), so no program writes there.
        unsafe { self.table.strays.slice(self.epoch as usize, 1)[0] }
    }

    /// The counters of all CPUs together.
    #[must_use]
    pub fn head_total(&self) -> Head {
        let mut total = Head::zeroed();
        for partition in self.partitions() {
            total.merge(self.table.head(partition));
        }
        let Count { packets, bytes } = self.stray();
        total.received.add(packets, bytes);
        total.skipped[Skipped::NoPartition as usize].add(packets, bytes);
        total
    }

    /// The flows, in the order of CPUs. A flow that was on two CPUs is returned twice.
    pub fn flows(&self) -> impl Iterator<Item = Counted<'_>> {
        let table = &*self.table;
        let buckets = table.size.shape.buckets as usize;
        let entries = buckets * SLOTS;
        self.partitions().filter(|partition| table.head(*partition).entries > 0).flat_map(move |partition| {
            // SAFETY: as in `stray`.
            unsafe {
                let chunks = table.size.payload.map(|limit| {
                    let each = entries * limit.chunks_of_entry() as usize;
                    PayloadChunks::new(limit, table.chunks.slice(partition * each, each))
                });
                flows(
                    table.buckets.slice(partition * buckets, buckets),
                    table.entries.slice(partition * entries, entries),
                    table.cold.slice(partition * entries, entries),
                    chunks,
                )
            }
        })
    }

    /// Adds the epoch to the account, with `in_flows` in its flows. From here on the caller has all of its counts, and
    /// no later agent gets them. No part of them may have been passed on before.
    pub fn commit(self, in_flows: Count) -> Committed<'a> {
        let head = self.head_total();
        let Self { table, epoch, .. } = self;
        table.ledger.commit(&head, in_flows);
        table.inherited = table.inherited.saturating_sub(1);
        Committed { table, epoch }
    }
}

/// An epoch that is in the account. Dropping the value clears its partitions.
pub struct Committed<'a> {
    table: &'a mut FlowTable,
    epoch: u32,
}

impl Drop for Committed<'_> {
    fn drop(&mut self) {
        self.table.clear(self.epoch);
    }
}

/// Whether a partition with this number of entries and packets should be drained.
fn is_filling(entries: u64, packets: u64, shape: Shape) -> bool {
    let occupancy = entries as f64 / f64::from(shape.entries());
    occupancy >= HIGH_WATER || occupancy >= LOW_WATER && packets < FEW_PACKETS * entries
}

/// The current time of the clock of the packets' times (CLOCK_MONOTONIC), in ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The current time since 1970 (CLOCK_REALTIME), in ns.
#[must_use]
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid memory; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or(CaptureError::NotOurObject { missing: name })
}

/// Another descriptor of the map that contains the variable.
fn epoch_variable(ebpf: &Ebpf) -> Result<Array<MapData, u32>, CaptureError> {
    const VARIABLE: &str = ".data.epoch";
    let Some(Map::Array(data)) = ebpf.map(VARIABLE) else {
        return Err(CaptureError::NotOurObject { missing: VARIABLE });
    };
    let another = data.fd().as_fd().try_clone_to_owned();
    let another = another.map_err(|error| CaptureError::Map { name: VARIABLE, error })?;
    Ok(Map::from_map_data(MapData::from_fd(another)?)?.try_into()?)
}

/// Maps an array into memory. The object keeps the map, whose descriptor is written into the programs when they are
/// loaded.
fn map_array<T: bytemuck::Pod>(ebpf: &Ebpf, name: &'static str, len: u32) -> Result<SharedArray<T>, CaptureError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(CaptureError::NotOurObject { missing: name });
    };
    SharedArray::map(data.fd(), len as usize).map_err(|error| CaptureError::Map { name, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flows_are_drained_earlier_than_busy_ones() {
        let shape = Shape::for_capacity(131_072);
        for (entries, packets, expected) in [
            (0, 0, false),
            (8_000, 8_000, false),
            (9_000, 9_000, true),
            (9_000, 17_999, true),
            (9_000, 18_000, false),
            // A flow per entry, at the full speed of an interface: the interval ends first.
            (65_536, 1_000_000, false),
            (80_000, 1_000_000, true),
        ] {
            assert_eq!(is_filling(entries, packets, shape), expected, "{entries} entries, {packets} packets");
        }
    }

    #[test]
    fn the_default_table_takes_a_limited_share_of_memory() {
        for cpus in [1, 2, 16, 256] {
            let size = Size::new(cpus, None, None);
            assert!(size.bytes() <= DEFAULT_MEMORY || size.shape.entries() == 1024, "{cpus}: {size:?}");
            let available = memory::available().expect("the tests run on Linux");
            assert!(size.bytes() <= available / DEFAULT_SHARE || size.shape.entries() == 1024, "{cpus}: {size:?}");
        }
        assert_eq!(Size::new(2, Some(4096), None).shape.entries(), 4096, "as requested, whatever the memory");
    }
}
