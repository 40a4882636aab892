//! Loading the programs and their flow table.

use std::ops::{Deref, DerefMut};

use aya::maps::Array;
use aya::{Ebpf, EbpfLoader};
use bytemuck::Zeroable;
use flowml_common::content::PayloadLimit;
use flowml_common::filter::Filter;
use flowml_common::handover::Constants;
use flowml_common::table::{Seed, Shape};
use flowml_common::time::{Boundaries, Stamp};
use flowml_common::tunnel::PortList;
use rand::RngCore;
use rand::rngs::OsRng;

use super::super::cpus::Cpus;
use super::super::error::CaptureError;
use super::super::handover::Ledger;
use super::super::pin_error::PinError;
use super::super::pins::{KEPT, Pins, namespace};
use super::super::programs::Programs;
use super::clock::monotonic_ns;
use super::maps::{epoch_variable, map_array, take_map};
use super::size::{EPOCHS, Size};
use super::table::{FlowTable, GracePeriod};
use crate::process::memory;

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

impl KernelTable {
    /// As [`with_size`](Self::with_size), for the CPUs of this host, `capacity` flows for each, this payload limit
    /// and these tunnels. The programs have this filter.
    ///
    /// # Errors
    /// As [`with_size`](Self::with_size).
    pub fn load(
        object: &[u8],
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        tunnels: Option<PortList>,
        boundaries: Boundaries,
        filter: Option<&Filter>,
    ) -> Result<Self, CaptureError> {
        let size = Size::new(Cpus::possible()?.numbers, capacity, payload, tunnels, memory::available());
        Self::build(object, constants(size, boundaries), None, filter)
    }

    /// As [`load`](Self::load), but with the table that is pinned in the folder, if there is one. The filter may differ from
    /// that of the last agent.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if the pinned table cannot be continued, or has other parameters than requested.
    pub fn open(
        object: &[u8],
        pins: &Pins,
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        tunnels: Option<PortList>,
        boundaries: Boundaries,
        filter: Option<&Filter>,
    ) -> Result<Self, CaptureError> {
        let Some(handover) = pins.table()? else {
            pins.forget_unfinished()?;
            return Self::load(object, capacity, payload, tunnels, boundaries, filter);
        };
        let constants = handover.constants;
        let size = Size::of(&constants);
        let wanted = capacity.map_or(size.shape, Shape::for_capacity);
        let kept = if size.shape != wanted {
            Some(format!("--flow-capacity {}", size.shape.entries()))
        } else if size.payload != payload {
            Some(format!("--payload {}", constants.payload))
        } else if size.tunnels.is_some() != tunnels.is_some() {
            Some(format!("--tunnels {}", if size.tunnels.is_some() { "inner" } else { "outer" }))
        } else if size.tunnels != tunnels {
            Some("different values of --tunnel-port".to_owned())
        } else if constants.boundaries != boundaries {
            Some("a different --idle-timeout or --active-timeout".to_owned())
        } else {
            None
        };
        match kept {
            Some(kept) => Err(PinError::Contradiction { folder: pins.folder().to_owned(), kept }.into()),
            None => Self::build(object, constants, Some(pins), filter),
        }
    }

    /// Loads the maps of `object`, whose entries end at these boundaries. [`Programs::xdp`] and [`Programs::tc`] load
    /// the programs.
    ///
    /// # Errors
    /// If the kernel refuses a map, or `object` is not flowml's kernel object.
    pub fn with_size(object: &[u8], size: Size, boundaries: Boundaries) -> Result<Self, CaptureError> {
        Self::build(object, constants(size, boundaries), None, None)
    }

    /// Loads programs with these constants and this filter, with the pinned maps or with new ones.
    fn build(
        object: &[u8],
        constants: Constants,
        pinned: Option<&Pins>,
        filter: Option<&Filter>,
    ) -> Result<Self, CaptureError> {
        let size = Size::of(&constants);
        let too_large = || CaptureError::TooLarge { capacity: size.shape.entries(), cpus: size.cpus };
        let total = |each: u32| size.partitions().checked_mul(each).ok_or_else(too_large);
        let (buckets, entries) = (total(constants.buckets)?, total(size.shape.entries())?);
        // A map needs at least one element.
        let chunks = entries.checked_mul(size.chunks_of_entry()).ok_or_else(too_large)?.max(1);
        let outers = (entries * size.outers_of_entry()).max(1);
        let epoch = pinned.map_or(Ok(0), Pins::epoch)?;
        let boundaries = constants.boundaries.words();
        let is_filtered = u32::from(filter.is_some());
        let filter = filter.copied().unwrap_or(Filter::zeroed());
        let mut loader = EbpfLoader::new();
        loader
            .override_global("BUCKETS", &constants.buckets, true)
            .override_global("SEED", &constants.seed.0, true)
            .override_global("BOUNDARIES", &boundaries, true)
            .override_global("PAYLOAD", &constants.payload, true)
            .override_global("TUNNEL_PORTS", &constants.ports.0, true)
            .override_global("FILTERED", &is_filtered, true)
            .override_global("FILTER", filter.words(), true)
            // The loader writes this value to the map. Programs may be using a pinned map, so its value must not
            // change.
            .override_global("EPOCH", &epoch, true)
            .map_max_entries("PACKETS", size.cpus)
            .map_max_entries("LEVELS", size.cpus)
            .map_max_entries("SUBJECTS", size.cpus)
            .map_max_entries("HEADS", size.partitions())
            .map_max_entries("TAGS", buckets)
            .map_max_entries("ENTRIES", entries)
            .map_max_entries("COLD", entries)
            .map_max_entries("CHUNKS", chunks)
            .map_max_entries("OUTERS", outers);
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
            outers: map_array(&ebpf, "OUTERS", outers)?,
            ledger,
            grace,
            constants,
            size,
            epoch,
            began: Stamp::of_ns(monotonic_ns()),
            inherited: 0,
        };
        table.inherit(pinned)?;
        let programs = Programs::new(ebpf, size.tunnels.is_some());
        Ok(Self { programs, table })
    }

    /// The object, for its log and for tests that run a program without attaching it.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        self.programs.ebpf()
    }

    /// Pins the maps, so that they outlive this process.
    pub(in crate::capture) fn pin(&self, pins: &Pins) -> Result<(), CaptureError> {
        KEPT.iter().try_for_each(|(map, file)| Ok(pins.pin(file, self.programs.map(map)?)?))
    }
}

/// The constants of a new table.
fn constants(size: Size, boundaries: Boundaries) -> Constants {
    let mut seed = Seed::zeroed();
    OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
    let (cpus, buckets) = (size.cpus, size.shape.buckets);
    let payload = size.payload.map_or(0, PayloadLimit::bytes);
    let (tunnels, ports) = (u32::from(size.tunnels.is_some()), size.tunnels.unwrap_or(PortList::zeroed()));
    Constants { cpus, buckets, payload, tunnels, ports, seed, boundaries }
}
