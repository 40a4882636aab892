//! Replays captures through the kernel program, beside the table of `flowml read`: both must count the same bytes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Map;
use aya::programs::Xdp;
use bytemuck::{Pod, Zeroable as _, must_cast_mut};
use flowml_common::content::{PayloadChunk, PayloadChunks, PayloadLimit};
use flowml_common::counts::{ColdCounters, Counted, FlowEntry};
use flowml_common::filter::Filter;
use flowml_common::flow::{FlowKey, Sender};
use flowml_common::packet::Skipped;
use flowml_common::table::{Bucket, Head, Metered, Seed, Shape, Storage as _, used};
use flowml_common::time::Boundaries;
use flowml_common::tunnel::{Outer, PortList};
use flowml_user::capture::file::Captured;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::kernel::KernelTable;
use flowml_user::capture::shared::SharedArray;
use flowml_user::capture::vectors::VecTable;
use flowml_user::engine::offline::{CAPACITY, FileTable, table};
use rustix::thread::sched_getcpu;

use crate::agent;
use crate::program::{LONGEST_LINEAR, XDP_PASS, run_with_metadata};
use crate::twins::{same, same_flow};

/// Number of flows after which both tables are emptied. It is small enough that every flow has room, whatever the seeds
/// of the hashes are.
const ENOUGH: u64 = CAPACITY as u64 / 4;

/// Number of bytes before a frame for its properties (`Captured` in flowml-ebpf/src/bin/replay.rs).
const TOLD: usize = 16;

/// Bytes of an Ethernet header. The kernel runs no XDP program on less (`bpf_prog_test_run_xdp`).
const ETHERNET: usize = 14;

/// The longest frame for which the kernel runs the program, in bytes: the linear part and `MAX_SKB_FRAGS` pages.
const LONGEST: usize = LONGEST_LINEAR - TOLD + 17 * 4096;

/// The reason why the kernel cannot process a frame of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreplayable {
    /// The captured bytes do not contain the complete header of the link layer. `flowml read` counts the frame as
    /// truncated.
    CutHeader,
    /// More bytes were captured than a test run accepts.
    TooLong,
    /// The frame is longer than the linear part of a test run, and its headers do not end within that part. The kernel
    /// counts it as `not_linear`.
    NotLinear,
}

impl Unreplayable {
    /// The rule that applies to a frame, if any.
    #[must_use]
    pub fn of(captured: &Captured<'_>) -> Option<Self> {
        let Some(frame) = ethernet(captured) else { return Some(Self::CutHeader) };
        if frame.length() > LONGEST {
            return Some(Self::TooLong);
        }
        let behind = frame.length() - frame.linear();
        if behind == 0 {
            return None;
        }
        let linear = &captured.bytes[..captured.bytes.len() - behind];
        let differs = [None, Some(PortList::default())].into_iter().any(|tunnels| {
            let whole = metered(captured, captured.bytes, tunnels, None);
            whole != metered(captured, linear, tunnels, None) || whole.0 == Metered::Skipped(Skipped::Truncated)
        });
        differs.then_some(Self::NotLinear)
    }
}

/// The result of metering a frame of which these bytes are there, and the key and sender of its flow.
fn metered(
    captured: &Captured<'_>,
    bytes: &[u8],
    tunnels: Option<PortList>,
    filter: Option<&Filter>,
) -> (Metered, Option<(FlowKey, Sender)>) {
    let table = VecTable::new(Shape::for_capacity(1), Seed::zeroed());
    let mut table = table.with_tunnels(tunnels).with_filter(filter.copied());
    let metered = Captured { bytes, ..*captured }.meter(&mut table);
    let flow = table.flows().next().map(|flow| {
        let is_lower = flow.partial_flow().stats.direction(Sender::Lower).packets > 0;
        (*flow.key, if is_lower { Sender::Lower } else { Sender::Upper })
    });
    (metered, flow)
}

/// A frame with an Ethernet header: its own, or an equivalent one for other link types.
struct Ethernet<'a> {
    header: Option<[u8; ETHERNET]>,
    behind: &'a [u8],
    /// The packet's length minus the length of the frame in the capture, in bytes.
    longer: i64,
}

impl Ethernet<'_> {
    fn length(&self) -> usize {
        self.header.map_or(0, |header| header.len()) + self.behind.len()
    }

    fn linear(&self) -> usize {
        self.length().min(LONGEST_LINEAR - TOLD)
    }
}

fn ethernet<'a>(captured: &Captured<'a>) -> Option<Ethernet<'a>> {
    if captured.link == LinkType::Ethernet {
        let whole = captured.bytes.len() >= ETHERNET;
        return whole.then_some(Ethernet { header: None, behind: captured.bytes, longer: 0 });
    }
    let (link, behind) = captured.link.header(captured.bytes)?;
    let mut header = [0; ETHERNET];
    let [source, destination] = link.macs;
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&link.ethertype.to_be_bytes());
    Some(Ethernet { header: Some(header), behind, longer: ETHERNET as i64 - i64::from(link.length) })
}

/// The table of `flowml read`. It is emptied when the other table is.
pub struct Reference(VecTable);

impl Reference {
    /// An empty table that keeps this much payload, looks into the tunnels of these ports, and has this filter.
    #[must_use]
    pub fn new(payload: Option<PayloadLimit>, tunnels: Option<PortList>, filter: Option<&Filter>) -> Self {
        Self(table().with_payload(payload).with_tunnels(tunnels).with_filter(filter.copied()))
    }
}

impl FileTable for Reference {
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered> {
        if self.0.counts().entries >= ENOUGH {
            return Ok(Metered::Skipped(Skipped::TableFull));
        }
        FileTable::meter(&mut self.0, captured)
    }

    fn kept_payload(&self) -> Option<PayloadLimit> {
        self.0.kept_payload()
    }

    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()> {
        FileTable::drain(&mut self.0, absorb)
    }
}

/// Counts of what was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Frames that both have metered.
    pub frames: u64,
    /// Those frames that belong to a flow.
    pub counted: u64,
    /// Entries of the flow table, summed over the ends of all epochs.
    pub entries: u64,
    /// Number of times that both tables were emptied.
    pub drains: u64,
    /// First payload bytes of these entries.
    pub payload_bytes: u64,
}

/// The counts of a flow.
struct Flow {
    /// The number of its entry.
    number: usize,
    entry: FlowEntry,
    cold: ColdCounters,
    /// The payload chunks of its entry.
    chunks: Option<(PayloadLimit, Vec<PayloadChunk>)>,
    outer: Option<Outer>,
}

impl Flow {
    fn counted(&self) -> Counted<'_> {
        let chunks = self.chunks.as_ref().map(|(limit, chunks)| PayloadChunks::new(*limit, chunks).of_entry(0));
        Counted {
            key: &self.entry.key,
            counts: &self.entry.counts,
            cold: &self.cold,
            chunks,
            outer: self.outer.as_ref(),
        }
    }

    /// The frame bytes of a direction: the first word of its cache line. An entry has four cache lines (`FlowEntry`,
    /// flowml-common/src/counts.rs).
    fn frame_bytes(&mut self, sender: Sender) -> &mut u64 {
        let lines: &mut [[u64; 8]; 4] = must_cast_mut(&mut self.entry);
        &mut lines[2 + sender as usize][0]
    }
}

/// The partition of the kernel's table that one CPU fills. The agent changes the epoch before it empties a partition,
/// which waits 10 ms for running programs. Here no program runs after the system call has returned, so the epoch does
/// not change.
struct Partition {
    number: usize,
    shape: Shape,
    heads: SharedArray<Head>,
    buckets: SharedArray<Bucket>,
    entries: SharedArray<FlowEntry>,
    cold: SharedArray<ColdCounters>,
    payload: Option<(PayloadLimit, SharedArray<PayloadChunk>)>,
    outers: Option<SharedArray<Outer>>,
}

impl Partition {
    fn of(kernel: &mut KernelTable, cpu: usize) -> Result<Self> {
        let (shape, partitions) = (kernel.size().shape, 2 * kernel.size().cpus);
        Ok(Self {
            // flowml-ebpf/src/maps.rs. The epoch is always 0.
            number: 2 * cpu,
            shape,
            heads: mapped(kernel, "HEADS", partitions)?,
            buckets: mapped(kernel, "TAGS", partitions * shape.buckets)?,
            entries: mapped(kernel, "ENTRIES", partitions * shape.entries())?,
            cold: mapped(kernel, "COLD", partitions * shape.entries())?,
            payload: match kernel.size().payload {
                Some(limit) => {
                    let chunks = partitions * shape.entries() * limit.chunks_of_entry();
                    Some((limit, mapped(kernel, "CHUNKS", chunks)?))
                }
                None => None,
            },
            outers: match kernel.size().tunnels {
                Some(_) => Some(mapped(kernel, "OUTERS", partitions * shape.entries())?),
                None => None,
            },
        })
    }

    /// Returns the counts, and empties the partition.
    fn drain(&mut self) -> Result<(Head, Vec<Flow>)> {
        let [buckets, entries] = [self.shape.buckets, self.shape.entries()].map(|number| number as usize);
        // SAFETY: a test run is over when its system call returns, and only this thread makes test runs. Nothing else
        // reads or writes the maps.
        unsafe {
            let heads = self.heads.slice(0, self.heads.len());
            let elsewhere = heads.iter().enumerate().find(|(n, head)| *n != self.number && head.received.packets > 0);
            ensure!(elsewhere.is_none(), "packets in partition {:?}", elsewhere.map(|(n, _)| n));
            let head = heads[self.number];
            let (all, cold) =
                (self.entries.slice(self.number * entries, entries), self.cold.slice(self.number * entries, entries));
            let tags = self.buckets.slice(self.number * buckets, buckets);
            let chunks = |n| {
                let (limit, chunks) = self.payload.as_ref()?;
                let each = limit.chunks_of_entry() as usize;
                Some((*limit, chunks.slice((self.number * entries + n) * each, each).to_vec()))
            };
            let outer = |n| self.outers.as_ref().map(|outers| outers.slice(self.number * entries + n, 1)[0]);
            let flow = |n| Flow { number: n, entry: all[n], cold: cold[n], chunks: chunks(n), outer: outer(n) };
            let flows = used(tags).map(flow).collect();
            self.heads.fill_zero(self.number, 1);
            self.buckets.fill_zero(self.number * buckets, buckets);
            Ok((head, flows))
        }
    }
}

fn mapped<T: Pod>(kernel: &mut KernelTable, name: &str, len: u32) -> Result<SharedArray<T>> {
    let Some(Map::Array(map)) = kernel.ebpf().map(name) else { bail!("the object has no array {name}") };
    SharedArray::map(map.fd(), len as usize).with_context(|| format!("mapping {name} into memory"))
}

/// The kernel's table beside the reference. What it drains comes from the kernel's table.
pub struct Replay {
    /// Keeps the maps alive.
    _kernel: KernelTable,
    partition: Partition,
    program: OwnedFd,
    reference: Reference,
    cpu: usize,
    input: Vec<u8>,
    corrections: Corrections,
    /// Counts of what was compared so far.
    pub compared: Compared,
}

/// Frame bytes that the kernel counted in excess, because its frames have an Ethernet header and those of the capture
/// have another header.
#[derive(Default)]
struct Corrections {
    /// Frame bytes in excess, by number of the entry and by sender.
    entries: HashMap<(usize, usize), i64>,
    skipped: [i64; Skipped::COUNT],
}

impl Replay {
    /// Loads the replaying program, which keeps this much payload, looks into the tunnels of these ports and has this filter.
    /// The counts of the current CPU are compared, so the thread must stay on it.
    ///
    /// # Errors
    /// If the object is missing, or the kernel refuses it.
    pub fn load(payload: Option<PayloadLimit>, tunnels: Option<PortList>, filter: Option<&Filter>) -> Result<Self> {
        let object = object()?;
        let bytes = fs::read(&object).with_context(|| format!("{}: run `cargo xtask build`", object.display()))?;
        let mut kernel = KernelTable::load(&bytes, Some(CAPACITY), payload, tunnels, Boundaries::default(), filter)?;
        let name = if tunnels.is_some() { "replay_inner" } else { "replay" };
        let program = kernel.ebpf().program_mut(name).with_context(|| format!("the object has no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().context("loading the replaying program")?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let cpu = sched_getcpu();
        Ok(Self {
            partition: Partition::of(&mut kernel, cpu)?,
            // The same shape and seed, so that each flow has the same entry in both tables.
            reference: Reference(
                VecTable::new(kernel.size().shape, kernel.seed())
                    .with_payload(payload)
                    .with_tunnels(tunnels)
                    .with_filter(filter.copied()),
            ),
            _kernel: kernel,
            program,
            cpu,
            input: Vec::new(),
            corrections: Corrections::default(),
            compared: Compared::default(),
        })
    }

    /// The amount of payload that is kept.
    pub const fn payload(&self) -> Option<PayloadLimit> {
        match &self.partition.payload {
            Some((limit, _)) => Some(*limit),
            None => None,
        }
    }

    /// The filter.
    pub fn filter(&self) -> Option<&Filter> {
        self.reference.0.filter()
    }

    /// The ports of the tunnels that are looked into.
    pub fn tunnels(&self) -> Option<PortList> {
        self.reference.0.tunnels()
    }

    fn run(&mut self, captured: &Captured<'_>) -> Result<()> {
        let frame = ethernet(captured).context("a frame that cannot be replayed")?;
        let fields = captured.frame();
        let length = u32::try_from(i64::from(fields.length) + frame.longer)?;
        self.input.clear();
        self.input.extend(fields.time_ns.to_ne_bytes());
        self.input.extend(length.to_ne_bytes());
        self.input.extend(fields.interface.to_ne_bytes());
        self.input.extend(frame.header.iter().flatten());
        self.input.extend(frame.behind);
        match run_with_metadata(&self.program, &self.input, TOLD) {
            Ok(XDP_PASS) => {}
            Ok(verdict) => bail!("the program answered {verdict} instead of {XDP_PASS}"),
            Err(error) => return Err(error).with_context(|| format!("replaying {} bytes", frame.length())),
        }
        if frame.longer != 0 {
            let entry = self.reference.0.counts().last_entry();
            self.corrections.add(captured, &self.reference.0, entry, frame.longer);
        }
        Ok(())
    }
}

impl Corrections {
    /// Records the excess of a frame. `entry` is the entry in which the last packet that has one was counted.
    fn add(&mut self, captured: &Captured<'_>, reference: &VecTable, entry: Option<usize>, longer: i64) {
        match metered(captured, captured.bytes, reference.tunnels(), reference.filter()) {
            (Metered::Skipped(reason), _) => self.skipped[reason as usize] += longer,
            (Metered::Counted, flow) => {
                if let Some((entry, (_, sender))) = entry.zip(flow) {
                    *self.entries.entry((entry, sender as usize)).or_default() += longer;
                }
            }
        }
    }

    /// Subtracts the excess from the counts.
    fn apply(&mut self, head: &mut Head, drained: &mut [Flow]) {
        let entries = std::mem::take(&mut self.entries);
        let skipped = std::mem::take(&mut self.skipped);
        for flow in drained {
            for sender in [Sender::Lower, Sender::Upper] {
                let more = entries.get(&(flow.number, sender as usize)).copied().unwrap_or_default();
                let bytes = flow.frame_bytes(sender);
                *bytes = bytes.wrapping_add_signed(-more);
            }
        }
        for (count, more) in head.skipped.iter_mut().zip(skipped) {
            count.bytes = count.bytes.wrapping_add_signed(-more);
        }
        let more = entries.values().chain(&skipped).sum::<i64>();
        head.received.bytes = head.received.bytes.wrapping_add_signed(-more);
    }
}

impl FileTable for &mut Replay {
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered> {
        ensure!(sched_getcpu() == self.cpu, "expected to run on CPU {} alone", self.cpu);
        let metered = self.reference.meter(captured)?;
        if metered != Metered::Skipped(Skipped::TableFull) {
            self.run(captured)?;
            self.compared.frames += 1;
            self.compared.counted += u64::from(metered == Metered::Counted);
        }
        Ok(metered)
    }

    fn kept_payload(&self) -> Option<PayloadLimit> {
        self.reference.kept_payload()
    }

    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()> {
        let Replay { partition, reference, corrections, compared, .. } = &mut **self;
        let (mut head, mut flows) = partition.drain()?;
        corrections.apply(&mut head, &mut flows);
        let counted: Vec<_> = flows.iter().map(Flow::counted).collect();
        let mut compare = Ok(());
        reference
            .drain(|expected_head, expected| compare = same_epoch((&head, &counted), (expected_head, expected)))?;
        compare?;
        compared.entries += flows.len() as u64;
        compared.drains += 1;
        let kept = counted.iter().filter_map(Counted::contents).flatten().flatten();
        compared.payload_bytes += kept.map(|content| content.bytes.len() as u64).sum::<u64>();
        absorb(&head, &counted);
        Ok(())
    }
}

/// Compares everything that both have counted in an epoch.
fn same_epoch(kernel: (&Head, &[Counted<'_>]), reference: (&Head, &[Counted<'_>])) -> Result<()> {
    same("the counts of an epoch", kernel.0, reference.0)?;
    let numbers = [kernel.1.len(), reference.1.len()];
    ensure!(numbers[0] == numbers[1], "{} flows instead of {}", numbers[0], numbers[1]);
    for (theirs, ours) in kernel.1.iter().zip(reference.1) {
        same_flow(theirs, ours)?;
    }
    Ok(())
}

/// The path of the replaying object, beside the agent's: `$FLOWML_OBJECT`, otherwise the one that `cargo xtask build`
/// made.
fn object() -> Result<PathBuf> {
    let agents = std::env::var_os("FLOWML_OBJECT").map_or_else(agent::default_object, PathBuf::from);
    let object = agents.with_file_name("replay.o");
    if object.is_file() {
        return Ok(object);
    }
    let missing = io::Error::from(io::ErrorKind::NotFound);
    Err(missing).with_context(|| format!("{}: run `cargo xtask build`", object.display()))
}
