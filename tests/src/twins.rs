//! Compares the flow table in the kernel with the one in userspace vectors: the same frames must give the same bytes.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::Array;
use bytemuck::{Pod, Zeroable, bytes_of};
use flowml_common::content::{PayloadChunk, PayloadChunks, PayloadLimit};
use flowml_common::counts::{ColdCounters, Counted, FlowEntry};
use flowml_common::filter::{ETHERNET, Filter, untagged_length};
use flowml_common::packet::{Frame, Hook, Skipped};
use flowml_common::parse::parse;
use flowml_common::table::{Bucket, Count, Head, Metered, Shape, Storage as _, meter_levels, record_selected, skip};
use flowml_common::tunnel::{Outer, PortList};
use flowml_user::capture::kernel::{KernelTable, Size, monotonic_ns};
use flowml_user::capture::vectors::VecTable;
use rustix::thread::sched_getcpu;

use crate::lab::wait_until;
use crate::program::{Input, LOOPBACK, Runner, kernel_table_filtered};
use crate::traffic::raw::on_cpu;

/// Both tables. A time of the kernel is accepted if it lies between two readings of the clock before and after. The
/// userspace parser and table use the kernel's times, so that everything else can be compared byte for byte.
pub struct Twins {
    kernel: KernelTable,
    vectors: VecTable,
    /// Is used to find out whether a frame will be counted in a flow.
    trial: VecTable,
    cpu: u32,
    epoch: u32,
    kept_bytes: u64,
}

impl Twins {
    /// Calls `work` on one CPU with empty tables of `capacity` flows that keep this much payload.
    pub fn on_cpu<T: Send>(
        cpu: u32,
        capacity: u32,
        payload: Option<PayloadLimit>,
        work: impl FnOnce(&mut Self) -> Result<T> + Send,
    ) -> Result<T> {
        Self::inside_on_cpu(cpu, capacity, payload, None, work)
    }

    /// The same with tables that look into tunnels, if there are ports of these.
    pub fn inside_on_cpu<T: Send>(
        cpu: u32,
        capacity: u32,
        payload: Option<PayloadLimit>,
        tunnels: Option<PortList>,
        work: impl FnOnce(&mut Self) -> Result<T> + Send,
    ) -> Result<T> {
        Self::filtered_on_cpu(cpu, capacity, (payload, tunnels, None), work)
    }

    /// The same with tables that have a filter, if there is one.
    pub fn filtered_on_cpu<T: Send>(
        cpu: u32,
        capacity: u32,
        (payload, tunnels, filter): (Option<PayloadLimit>, Option<PortList>, Option<&Filter>),
        work: impl FnOnce(&mut Self) -> Result<T> + Send,
    ) -> Result<T> {
        on_cpu(cpu as usize, || {
            let kernel = kernel_table_filtered(Some(capacity), payload, tunnels, filter)?;
            let table = |capacity| {
                let table = VecTable::new(Shape::for_capacity(capacity), kernel.seed());
                table.with_tunnels(tunnels).with_filter(filter.copied())
            };
            let (vectors, trial) = (table(capacity).with_payload(payload), table(16));
            work(&mut Self { kernel, vectors, trial, cpu, epoch: 0, kept_bytes: 0 })
        })?
    }

    /// The counts of the table in userspace.
    pub const fn counts(&self) -> &Head {
        self.vectors.counts()
    }

    /// The only flow in the table in userspace, if there is one.
    pub fn flow(&self) -> Option<Counted<'_>> {
        self.vectors.flows().next()
    }

    /// The table in the kernel.
    pub const fn kernel(&mut self) -> &mut KernelTable {
        &mut self.kernel
    }

    /// The number of payload bytes that were compared.
    pub const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Runs a program on a frame, and compares the results. Returns `None` if the kernel refuses the test run.
    ///
    /// # Errors
    /// If there is a difference. The error contains what is needed to understand it.
    pub fn meter(&mut self, runner: &Runner, input: &Input<'_>) -> Result<Option<Metered>> {
        ensure!(sched_getcpu() == self.cpu as usize, "expected to run on CPU {} alone", self.cpu);
        let before_ns = monotonic_ns();
        if !runner.run(input)? {
            return Ok(None);
        }
        let program = runner.program();
        let frame = Frame {
            time_ns: 0,
            length: input.bytes.len() as u32,
            interface: LOOPBACK,
            hook: program.hook(),
            stripped_vlan: None,
            // The kernel recognises a super-packet by the size of its segments.
            segments: input.segments.filter(|segments| segments.size != 0),
        };
        let linear = match program.hook() {
            Hook::Xdp => &input.bytes[..input.linear()],
            _ => input.bytes,
        };
        let metered = self.compare(frame, input.bytes, linear.len(), before_ns..=monotonic_ns());
        metered.map(Some).with_context(|| format!("{}, linear {}, {:02x?}", program.name(), linear.len(), input.bytes))
    }

    /// Meters a frame in userspace that the kernel has metered within `times_ns`, and compares the results. Headers can
    /// be read in the first `linear` bytes.
    ///
    /// # Errors
    /// If there is a difference.
    pub fn compare(
        &mut self,
        frame: Frame,
        bytes: &[u8],
        linear: usize,
        times_ns: RangeInclusive<u64>,
    ) -> Result<Metered> {
        let headers = &bytes[..linear];
        let head: Head = self.value("HEADS", self.partition())?;
        self.trial.clear();
        let is_in_flow = meter_as_a_hook(&mut self.trial, &frame, headers, headers) == Metered::Counted;
        let full = |head: &Head| head.skipped[Skipped::TableFull as usize].packets;
        // The entry in which it was counted, which may not be the flow's previous entry.
        let is_counted = is_in_flow && full(&head) == full(self.vectors.counts());
        let number = if is_counted { head.last_entry() } else { None };
        let entry: Option<FlowEntry> = number.map(|number| self.of_entry("ENTRIES", number)).transpose()?;
        let time_ns = entry.map_or(0, |entry| entry.counts.last().ns());
        ensure!(entry.is_none() || times_ns.contains(&time_ns), "the packet's time is {time_ns}, not in {times_ns:?}");
        let metered = meter_as_a_hook(&mut self.vectors, &Frame { time_ns, ..frame }, bytes, headers);
        same("head", &head, self.vectors.counts())?;
        if metered == Metered::Counted {
            let (entry, number) = entry.zip(number).context("the kernel has no such flow")?;
            let cold: ColdCounters = self.of_entry("COLD", number)?;
            let chunks = self.chunks_of(number)?;
            let outer: Option<Outer> =
                self.kernel.size().tunnels.map(|_| self.of_entry("OUTERS", number)).transpose()?;
            let kernel = Counted {
                key: &entry.key,
                counts: &entry.counts,
                cold: &cold,
                chunks: self.kernel.size().payload.map(|limit| PayloadChunks::new(limit, &chunks).of_entry(0)),
                outer: outer.as_ref(),
            };
            same_flow(&kernel, &self.vectors.at(number))?;
            let kept = kernel.contents().into_iter().flatten().flatten();
            self.kept_bytes += kept.map(|content| content.bytes.len() as u64).sum::<u64>();
        }
        Ok(metered)
    }

    /// Waits until the kernel has metered one packet more than the userspace table.
    ///
    /// # Errors
    /// If the kernel has not metered the packet within `limit`.
    pub fn wait_for_packet(&mut self, limit: Duration) -> Result<()> {
        let awaited = self.vectors.counts().received.packets + 1;
        wait_until(limit, || Ok(self.value::<Head>("HEADS", self.partition())?.received.packets >= awaited))
    }

    /// Ends the epoch, and compares everything that it counted. Returns the number of flows.
    ///
    /// # Errors
    /// If there is a difference.
    pub fn drain(&mut self) -> Result<usize> {
        self.epoch ^= 1;
        let drained = self.kernel.drain()?;
        let mut total = Head::zeroed();
        total.merge(self.vectors.counts());
        same("drained head", &drained.head_total(), &total)?;
        let (mut flows, mut in_flows) = (0, Count::default());
        for (theirs, ours) in drained.flows().zip(self.vectors.flows()) {
            same_flow(&theirs, &ours).context("drained")?;
            in_flows.add(theirs.counts.packets(), theirs.counts.frame_bytes());
            flows += 1;
        }
        let numbers = [drained.flows().count(), self.vectors.flows().count()];
        ensure!(numbers == [flows; 2], "{numbers:?} flows, expected {flows}");
        drained.commit(in_flows);
        self.vectors.clear();
        Ok(flows)
    }

    /// Empties both tables at once, without the grace period of [`drain`](Self::drain): a test run is over when its
    /// system call returns.
    ///
    /// # Errors
    /// If the kernel refuses to write to a map.
    pub fn forget(&mut self) -> Result<()> {
        self.vectors.clear();
        let (partition, buckets) = (self.partition(), self.kernel.size().shape.buckets);
        self.set("HEADS", partition..partition + 1, Head::zeroed())?;
        self.set("TAGS", partition * buckets..(partition + 1) * buckets, Bucket::zeroed())
    }

    fn partition(&self) -> u32 {
        2 * self.cpu + self.epoch
    }

    /// The value of a map for an entry of the epoch.
    fn of_entry<T: Pod>(&mut self, map: &str, number: usize) -> Result<T> {
        let first = self.partition() * self.kernel.size().shape.entries();
        self.value(map, first + number as u32)
    }

    /// The kernel's payload chunks of an entry of the epoch.
    fn chunks_of(&mut self, number: usize) -> Result<Vec<PayloadChunk>> {
        let Size { shape, payload, .. } = self.kernel.size();
        let Some(limit) = payload else { return Ok(Vec::new()) };
        let first = limit.first_chunk(self.partition() * shape.entries() + number as u32, 0);
        (first..first + limit.chunks_of_entry()).map(|n| self.value("CHUNKS", n)).collect()
    }

    fn value<T: Pod>(&mut self, map: &str, at: u32) -> Result<T> {
        let map = self.kernel.ebpf().map(map).with_context(|| format!("the kernel object has no map {map}"))?;
        let Value(value) = Array::<_, Value<T>>::try_from(map)?.get(&at, 0)?;
        Ok(value)
    }

    fn set<T: Pod>(&mut self, map: &str, range: std::ops::Range<u32>, value: T) -> Result<()> {
        let map = self.kernel.ebpf().map_mut(map).with_context(|| format!("the kernel object has no map {map}"))?;
        let mut array = Array::<_, Value<T>>::try_from(map)?;
        for at in range {
            array.set(at, Value(value), 0)?;
        }
        Ok(())
    }
}

/// Does with slices what the hooks do (`frame::meter` in flowml-ebpf): reads headers in the linear part, and payload
/// anywhere.
fn meter_as_a_hook(table: &mut VecTable, frame: &Frame, bytes: &[u8], headers: &[u8]) -> Metered {
    let is_linear = headers.len() as u32 >= frame.length;
    let truncated = if is_linear { Skipped::Truncated } else { Skipped::NotLinear };
    if let Some(ports) = table.tunnels() {
        return meter_levels(table, frame, None, headers, &bytes, &ports, truncated);
    }
    let reason = match parse(frame, headers) {
        Ok(packet) => return record_selected(table, &packet, &bytes, None, untagged_length(frame, ETHERNET)),
        Err(Skipped::Truncated) => truncated,
        Err(reason) => reason,
    };
    skip(table, frame.wire_length(), reason);
    Metered::Skipped(reason)
}

/// A value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value<T>(T);

// SAFETY: any bytes are a valid `T`.
unsafe impl<T: Pod> aya::Pod for Value<T> {}

/// Compares the counts of a flow in both tables.
///
/// # Errors
/// If there is a difference. The error lists the fields that differ.
pub(crate) fn same_flow(kernel: &Counted<'_>, vectors: &Counted<'_>) -> Result<()> {
    same("key", kernel.key, vectors.key)?;
    same("counts", kernel.counts, vectors.counts)?;
    same("cold", kernel.cold, vectors.cold)?;
    let [theirs, ours] = [kernel, vectors].map(Counted::contents);
    ensure!(theirs == ours, "first payloads, in the kernel and in vectors: {theirs:?}, {ours:?}");
    let [theirs, ours] = [kernel, vectors].map(Counted::tunnel);
    ensure!(theirs == ours, "tunnels, in the kernel and in vectors: {theirs:?}, {ours:?}");
    Ok(())
}

/// Compares byte for byte.
///
/// # Errors
/// If there is a difference. The error lists the fields that differ.
pub(crate) fn same<T: Pod + Debug>(what: &str, kernel: &T, vectors: &T) -> Result<()> {
    ensure!(
        bytes_of(kernel) == bytes_of(vectors),
        "{what}, in the kernel and in vectors: {}",
        differences(kernel, vectors)
    );
    Ok(())
}

/// The lines that differ, each after the line before it: mostly a field after the name of its struct.
fn differences(left: &impl Debug, right: &impl Debug) -> String {
    let (left, right) = (format!("{left:#?}"), format!("{right:#?}"));
    let mut text = String::new();
    let mut before = "";
    for (number, (left, right)) in left.lines().zip(right.lines()).enumerate() {
        if left != right {
            text += &format!("\nline {number}: {before} {} | {}", left.trim(), right.trim());
        }
        before = left.trim();
    }
    text
}
