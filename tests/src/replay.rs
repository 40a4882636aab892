//! Captures replayed through the kernel program, beside the table of `flowml read`: both must count the same bytes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Map;
use aya::programs::Xdp;
use bytemuck::{Pod, must_cast_mut};
use flowml_common::content::{PayloadLimit, Piece, Pieces};
use flowml_common::counts::{Counted, FlowEntry, FlowRarities};
use flowml_common::packet::{Packet, Sender, Skipped, parse_behind};
use flowml_common::table::{Bucket, Head, Metered, Shape, used};
use flowml_common::time::Boundaries;
use flowml_user::capture::file::Captured;
use flowml_user::capture::file::link::{self, LinkType};
use flowml_user::capture::kernel::KernelTable;
use flowml_user::capture::shared::SharedArray;
use flowml_user::capture::vectors::VecTable;
use flowml_user::pipeline::offline::{CAPACITY, FileTable, table};
use rustix::thread::sched_getcpu;

use crate::agent;
use crate::program::{LONGEST_LINEAR, XDP_PASS, run_with_metadata};
use crate::twins::{same, same_flow};

/// Flows after which both are emptied: so few that there is room for each, whatever the secrets of their hashes are.
const ENOUGH: u64 = CAPACITY as u64 / 4;

/// What the replaying program is told in front of a frame (`Told` in flowml-ebpf/src/bin/replay.rs), bytes.
const TOLD: usize = 16;

/// Bytes of an Ethernet header: the kernel runs no XDP program on less (`bpf_prog_test_run_xdp`).
const ETHERNET: usize = 14;

/// The longest frame that it runs one on: the linear part and `MAX_SKB_FRAGS` pages.
const LONGEST: usize = LONGEST_LINEAR - TOLD + 17 * 4096;

/// Why the kernel cannot be given a frame of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreplayable {
    /// What was captured does not hold the header of the link layer: `flowml read` counts it as truncated.
    CutHeader,
    /// More was captured than a test run takes.
    TooLong,
    /// It is longer than the linear part of a test run and its headers end behind that or nowhere, so the kernel counts it
    /// as `not_linear`.
    NotLinear,
}

impl Unreplayable {
    /// Whether the rule holds for a frame.
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
        let meter = |bytes| link::meter(&mut table(), &Captured { bytes, ..*captured });
        let whole = meter(captured.bytes);
        let linear = meter(&captured.bytes[..captured.bytes.len() - behind]);
        let differs = whole != linear || whole == Metered::Skipped(Skipped::Truncated);
        differs.then_some(Self::NotLinear)
    }
}

/// A frame as Ethernet carries it: the header that is its own or, for other link types, one that says the same.
struct Ethernet<'a> {
    header: Option<[u8; ETHERNET]>,
    behind: &'a [u8],
    /// How much longer it is than the frame in the capture, bytes.
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

/// The table of `flowml read`, emptied when the other one is.
pub struct Reference(VecTable);

impl Reference {
    /// An empty table that keeps so much payload.
    #[must_use]
    pub fn new(payload: Option<PayloadLimit>) -> Self {
        Self(table().with_payload(payload))
    }
}

impl FileTable for Reference {
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered> {
        if self.0.counts().entries >= ENOUGH {
            return Ok(Metered::Skipped(Skipped::TableFull));
        }
        FileTable::meter(&mut self.0, captured)
    }

    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()> {
        FileTable::drain(&mut self.0, absorb)
    }
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Frames that both have metered.
    pub frames: u64,
    /// Those of them that have flows.
    pub counted: u64,
    /// Entries of the flow table, at the end of each epoch.
    pub entries: u64,
    /// Times that both tables were emptied.
    pub drains: u64,
    /// First payload bytes of these entries.
    pub payload_bytes: u64,
}

/// What was counted of a flow.
struct Flow {
    /// That of its entry.
    number: usize,
    entry: FlowEntry,
    rarities: FlowRarities,
    /// Its own.
    pieces: Option<(PayloadLimit, Vec<Piece>)>,
}

impl Flow {
    fn counted(&self) -> Counted<'_> {
        let pieces = self.pieces.as_ref().map(|(limit, pieces)| Pieces::new(*limit, pieces).of_entry(0));
        Counted { key: &self.entry.key, counts: &self.entry.counts, rarities: &self.rarities, pieces }
    }

    /// The frame bytes of a direction: the first word of its cache line, of which an entry has four (`FlowEntry`,
    /// flowml-common/src/counts.rs).
    fn frame_bytes(&mut self, sender: Sender) -> &mut u64 {
        let lines: &mut [[u64; 8]; 4] = must_cast_mut(&mut self.entry);
        &mut lines[2 + sender as usize][0]
    }
}

/// The partition of the kernel's table that a CPU fills, without the change of the epoch by which the agent empties it:
/// that waits for programs that run, 10 ms each time, and here none does when the system call has returned.
struct Partition {
    number: usize,
    shape: Shape,
    heads: SharedArray<Head>,
    buckets: SharedArray<Bucket>,
    entries: SharedArray<FlowEntry>,
    rarities: SharedArray<FlowRarities>,
    payload: Option<(PayloadLimit, SharedArray<Piece>)>,
}

impl Partition {
    fn of(kernel: &mut KernelTable, cpu: usize) -> Result<Self> {
        let (shape, partitions) = (kernel.size().shape, 2 * kernel.size().cpus);
        Ok(Self {
            // flowml-ebpf/src/maps.rs; nobody changes the epoch, which is 0.
            number: 2 * cpu,
            shape,
            heads: mapped(kernel, "HEADS", partitions)?,
            buckets: mapped(kernel, "TAGS", partitions * shape.buckets)?,
            entries: mapped(kernel, "ENTRIES", partitions * shape.entries())?,
            rarities: mapped(kernel, "RARITIES", partitions * shape.entries())?,
            payload: match kernel.size().payload {
                Some(limit) => {
                    let pieces = partitions * shape.entries() * limit.pieces_of_entry();
                    Some((limit, mapped(kernel, "PIECES", pieces)?))
                }
                None => None,
            },
        })
    }

    /// What was counted, and none of it is there any more.
    fn drain(&mut self) -> Result<(Head, Vec<Flow>)> {
        let [buckets, entries] = [self.shape.buckets, self.shape.entries()].map(|number| number as usize);
        // SAFETY: test runs are over when their system call returns, and only this thread makes them: nobody else reads
        // or writes the maps.
        unsafe {
            let heads = self.heads.slice(0, self.heads.len());
            let elsewhere = heads.iter().enumerate().find(|(n, head)| *n != self.number && head.received.packets > 0);
            ensure!(elsewhere.is_none(), "packets in partition {:?}", elsewhere.map(|(n, _)| n));
            let head = heads[self.number];
            let (all, rarities) = (
                self.entries.slice(self.number * entries, entries),
                self.rarities.slice(self.number * entries, entries),
            );
            let tags = self.buckets.slice(self.number * buckets, buckets);
            let pieces = |n| {
                let (limit, pieces) = self.payload.as_ref()?;
                let each = limit.pieces_of_entry() as usize;
                Some((*limit, pieces.slice((self.number * entries + n) * each, each).to_vec()))
            };
            let flows = used(tags)
                .map(|n| Flow { number: n, entry: all[n], rarities: rarities[n], pieces: pieces(n) })
                .collect();
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

/// The kernel's table beside the reference. What is drained of it is the kernel's.
pub struct Replay {
    /// Keeps the maps.
    _kernel: KernelTable,
    partition: Partition,
    program: OwnedFd,
    reference: Reference,
    cpu: usize,
    input: Vec<u8>,
    corrections: Corrections,
    /// What was compared so far.
    pub compared: Compared,
}

/// Frame bytes by which the kernel's counts are more, because its frames have a header of Ethernet and the capture's
/// have another one.
#[derive(Default)]
struct Corrections {
    /// By the number of the entry and the sender.
    entries: HashMap<(usize, usize), i64>,
    skipped: [i64; Skipped::COUNT],
}

impl Replay {
    /// Loads the replaying program, which keeps so much payload. What it counts on this CPU is compared, so the thread must stay here.
    ///
    /// # Errors
    /// Where the object is missing, or the kernel refuses it.
    pub fn load(payload: Option<PayloadLimit>) -> Result<Self> {
        let object = object()?;
        let bytes = fs::read(&object).with_context(|| format!("{}: run `cargo xtask build`", object.display()))?;
        let mut kernel = KernelTable::load(&bytes, Some(CAPACITY), payload, Boundaries::default())?;
        let program = kernel.ebpf().program_mut("replay").context("the object has no program replay")?;
        let program: &mut Xdp = program.try_into()?;
        program.load().context("loading the replaying program")?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let cpu = sched_getcpu();
        Ok(Self {
            partition: Partition::of(&mut kernel, cpu)?,
            // Of the same shape and with the same secret, so that each flow has the same entry.
            reference: Reference(VecTable::new(kernel.size().shape, kernel.seed()).with_payload(payload)),
            _kernel: kernel,
            program,
            cpu,
            input: Vec::new(),
            corrections: Corrections::default(),
            compared: Compared::default(),
        })
    }

    /// How much payload is kept.
    pub const fn payload(&self) -> Option<PayloadLimit> {
        match &self.partition.payload {
            Some((limit, _)) => Some(*limit),
            None => None,
        }
    }

    fn run(&mut self, captured: &Captured<'_>) -> Result<()> {
        let frame = ethernet(captured).context("a frame that cannot be replayed")?;
        let told = captured.frame();
        let length = u32::try_from(i64::from(told.length) + frame.longer)?;
        self.input.clear();
        self.input.extend(told.time_ns.to_ne_bytes());
        self.input.extend(length.to_ne_bytes());
        self.input.extend(told.interface.to_ne_bytes());
        self.input.extend(frame.header.iter().flatten());
        self.input.extend(frame.behind);
        match run_with_metadata(&self.program, &self.input, TOLD) {
            Ok(XDP_PASS) => {}
            Ok(verdict) => bail!("the program answered {verdict} instead of {XDP_PASS}"),
            Err(error) => return Err(error).with_context(|| format!("replaying {} bytes", frame.length())),
        }
        if frame.longer != 0 {
            let entry = self.reference.0.counts().last_entry();
            self.corrections.add(captured, entry, frame.longer);
        }
        Ok(())
    }
}

impl Corrections {
    /// `entry` is the one in which the last packet was counted that has one.
    fn add(&mut self, captured: &Captured<'_>, entry: Option<usize>, longer: i64) {
        let parsed = captured.link.header(captured.bytes).ok_or(Skipped::Truncated);
        match parsed.and_then(|(header, behind)| parse_behind(&captured.frame(), &header, behind)) {
            Ok(Packet { sender, .. }) => {
                if let Some(entry) = entry {
                    *self.entries.entry((entry, sender as usize)).or_default() += longer;
                }
            }
            Err(reason) => self.skipped[reason as usize] += longer,
        }
    }

    /// Takes what is more out of the counts.
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

/// Compares all that both have counted in an epoch.
fn same_epoch(kernel: (&Head, &[Counted<'_>]), reference: (&Head, &[Counted<'_>])) -> Result<()> {
    same("the counts of an epoch", kernel.0, reference.0)?;
    let numbers = [kernel.1.len(), reference.1.len()];
    ensure!(numbers[0] == numbers[1], "{} flows instead of {}", numbers[0], numbers[1]);
    for (theirs, ours) in kernel.1.iter().zip(reference.1) {
        same_flow(theirs, ours)?;
    }
    Ok(())
}

/// Beside the agent's object: `$FLOWML_OBJECT`, else what `cargo xtask build` leaves.
fn object() -> Result<PathBuf> {
    let agents = std::env::var_os("FLOWML_OBJECT").map_or_else(agent::default_object, PathBuf::from);
    let object = agents.with_file_name("replay.o");
    if object.is_file() {
        return Ok(object);
    }
    let missing = io::Error::from(io::ErrorKind::NotFound);
    Err(missing).with_context(|| format!("{}: run `cargo xtask build`", object.display()))
}
