//! Meters frames through parser, table, sessions, windows and records: no packet is lost, whichever CPU counts it.

use std::collections::BTreeMap;

use flowml_common::counts::FlowValue;
use flowml_common::flow::{FlowKey, FlowStats};
use flowml_common::packet::{Frame, Hook, Packet, Skipped};
use flowml_common::parse::{parse, parse_behind};
use flowml_common::table::{Count, Head, Metered, Seed, Shape, record, skip};
use flowml_user::capture::file::Captured;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::vectors::VecTable;
use flowml_user::engine::WINDOW;
use flowml_user::engine::epochs::{Epochs, Passed};
use flowml_user::features::{CONTENT_FEATURES, FLOW_FEATURES, Feature, FlowRow, HOST_FEATURES, HostWindows, SLICES};
use flowml_user::record::{Clock, FlowRecord, Inspector};
use flowml_user::session::{Ended, Sessions};

use super::input::{Arrival, Input};
use super::offline::{Run, inspector};

/// The seed of the tables: odd random numbers. It is fixed, because an input must give the same result each time.
pub(super) const SEED: Seed = Seed([
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
    0x5899_65cc_7537_4cc3,
    0x1d8e_4e27_c47d_124f,
    0xeb44_acca_b455_d165,
    0x2545_f491_4f6c_dd1d,
    0xda94_2042_e4dd_58b5,
]);

/// Within this time in ns, sums of squares of µs fit in 64 bits.
const SHORT_NS: u64 = u32::MAX as u64 * 1000;

pub(super) fn run(bytes: &[u8]) {
    let input = Input::of(bytes);
    let mut meter = Meter::new(&input);
    input.frames.iter().for_each(|seen| meter.see(seen));
    meter.finish().values().for_each(|packets| check_parts(packets));
    let frames = input.frames.iter().map(Arrival::captured);
    let table = VecTable::new(Shape::for_capacity(input.capacity), SEED);
    let table = table.with_boundaries(input.timeouts.boundaries()).with_payload(input.payload);
    let table = table.with_tunnels(input.tunnels);
    let mut run = Run::begin(table, input.timeouts, input.interval);
    frames.for_each(|captured| run.count(&captured));
    run.finish();
}

impl<'a> Arrival<'a> {
    /// The frame as in a capture, without the fields that only hooks have.
    fn captured(&self) -> Captured<'a> {
        let Self { time_ns, length, interface, link, bytes, .. } = *self;
        Captured { time_ns, length, interface, link, bytes }
    }

    fn frame(&self) -> Frame {
        let Self { time_ns, length, interface, stripped_vlan, segments, .. } = *self;
        Frame { time_ns, length, interface, hook: Hook::Xdp, stripped_vlan, segments }
    }

    fn parse(&self) -> Result<Packet, Skipped> {
        let frame = self.frame();
        if self.link == LinkType::Ethernet {
            return parse(&frame, self.bytes);
        }
        let (header, behind) = self.link.header(self.bytes).ok_or(Skipped::Truncated)?;
        parse_behind(&frame, &header, behind)
    }
}

/// The counts of one CPU in an epoch, computed without the table.
#[derive(Default)]
struct Truth {
    received: Count,
    skipped: [Count; Skipped::COUNT],
    flows: BTreeMap<FlowKey, FlowValue>,
}

/// One CPU's table.
struct Partition {
    table: VecTable,
    truth: Truth,
}

impl Partition {
    fn meter(&mut self, seen: &Arrival<'_>, parsed: Result<Packet, Skipped>) -> Metered {
        let truth = &mut self.truth;
        let packet = match parsed {
            Ok(packet) => packet,
            Err(reason) => {
                let length = seen.frame().wire_length();
                skip(&mut self.table, length, reason);
                truth.received.add(1, length.into());
                truth.skipped[reason as usize].add(1, length.into());
                return Metered::Skipped(reason);
            }
        };
        let (packets, bytes) = (packet.count.into(), packet.frame_bytes.into());
        truth.received.add(packets, bytes);
        let metered = record(&mut self.table, &packet, &seen.bytes);
        match metered {
            Metered::Counted => {
                let flow = truth.flows.entry(packet.key);
                flow.and_modify(|value| value.add(&packet)).or_insert_with(|| FlowValue::of(&packet));
            }
            Metered::Skipped(reason) => {
                assert_eq!(reason, Skipped::TableFull, "a packet that was parsed");
                truth.skipped[reason as usize].add(packets, bytes);
            }
        }
        metered
    }

    /// Checks the table against the counts that were computed without it, and its packet accounting.
    fn check(&self) {
        let Self { table, truth } = self;
        let head: &Head = table.counts();
        assert_eq!((head.received, head.skipped), (truth.received, truth.skipped));
        let mut parts: Vec<_> =
            table.flows().map(|flow| (*flow.key, flow.first_ns(), flow.birth(), flow.partial_flow().stats)).collect();
        assert_eq!(parts.len(), head.entries as usize);
        parts.sort_by_key(|(key, first_ns, birth, _)| (*key, *first_ns, *birth));
        let found: BTreeMap<_, _> = parts
            .chunk_by(|(key, ..), (next, ..)| key == next)
            .filter_map(|parts| Some((parts[0].0, joined(parts.iter().map(|part| part.3), FlowStats::follow)?)))
            .collect();
        let mut sum = Count::default();
        found.values().for_each(|stats| sum.add(stats.packets(), stats.frame_bytes()));
        head.skipped.iter().for_each(|count| sum.add(count.packets, count.bytes));
        assert_eq!(sum, head.received, "received = in flows + skipped");
        let overflow = head.overflow.iter().fold(Count::default(), |mut sum, count| {
            sum.add(count.packets, count.bytes);
            sum
        });
        assert_eq!(overflow, head.skipped[Skipped::TableFull as usize]);
        let truth = truth.flows.iter().map(|(key, value)| (*key, value.counted(key).partial_flow().stats));
        assert!(
            found.iter().map(|(key, stats)| (*key, *stats)).eq(truth),
            "the entries of a flow are what was counted of it"
        );
    }
}

/// A packet in a flow, with the epoch and CPU that counted it.
struct Placed {
    packet: Packet,
    epoch: u32,
    other_cpu: bool,
}

type Counted = BTreeMap<FlowKey, Vec<Placed>>;

/// Two CPUs with their tables, and the stages that process the drains.
struct Meter {
    epochs: Epochs,
    /// Steps of time so far. On average a frame may cause at most `most` steps.
    passed: u64,
    frames: u64,
    most: u64,
    epoch: u32,
    cpus: [Partition; 2],
    sessions: Sessions,
    windows: HostWindows,
    inspector: Inspector,
    counted: Counted,
    /// The sums of the records by flow.
    recorded: BTreeMap<FlowKey, Kept>,
}

impl Meter {
    fn new(input: &Input<'_>) -> Self {
        let shape = Shape::for_capacity(input.capacity);
        let boundaries = input.timeouts.boundaries();
        let table = || VecTable::new(shape, SEED).with_boundaries(boundaries).with_payload(input.payload);
        let partition = || Partition { table: table(), truth: Truth::default() };
        let intervals = |time: std::time::Duration| time.as_nanos().div_ceil(input.interval.as_nanos()) as u64;
        Self {
            epochs: Epochs::new(input.interval, input.timeouts.idle),
            passed: 0,
            frames: 0,
            // Before and after a silence, and when a timer is due, intervals pass one by one, up to a slice of the
            // window. A frame makes at most one partial flow, with at most these timers: one for each timeout, one for
            // the end by flags, and one for a record of an open session.
            most: 2 * intervals(2 * WINDOW) + 6 + 4 * (intervals(WINDOW / SLICES as u32) + 1),
            epoch: 0,
            cpus: [partition(), partition()],
            sessions: Sessions::new(input.timeouts),
            windows: HostWindows::new(WINDOW),
            inspector: inspector(),
            counted: Counted::new(),
            recorded: BTreeMap::new(),
        }
    }

    fn see(&mut self, seen: &Arrival<'_>) {
        self.frames += 1;
        while let Some(passed) = self.epochs.before(seen.time_ns, || self.sessions.next_due_ns()) {
            self.passed += 1;
            assert!(self.passed <= self.most * self.frames, "{} steps for {} frames", self.passed, self.frames);
            self.pass(passed);
        }
        if seen.new_epoch {
            self.drain();
        }
        let parsed = seen.parse();
        let partition = &mut self.cpus[usize::from(seen.other_cpu)];
        if partition.meter(seen, parsed) == Metered::Counted
            && let Ok(packet) = parsed
        {
            let placed = Placed { packet, epoch: self.epoch, other_cpu: seen.other_cpu };
            self.counted.entry(packet.key).or_default().push(placed);
        }
    }

    fn pass(&mut self, passed: Passed) {
        self.drain();
        match passed {
            Passed::Begin(_) => {
                let ended = self.sessions.flush();
                self.record(&ended);
                self.windows.forget();
            }
            Passed::End(at_ns) => self.end_interval(at_ns),
            Passed::Silence { silence_ns, .. } => self.windows.pass(silence_ns),
        }
    }

    fn drain(&mut self) {
        self.epoch += 1;
        self.cpus.iter().for_each(Partition::check);
        let (sessions, windows) = (&mut self.sessions, &mut self.windows);
        let flows = self.cpus.iter().flat_map(|cpu| cpu.table.flows());
        sessions.absorb_drain(flows, |part, standing| windows.add(part, standing));
        for cpu in &mut self.cpus {
            cpu.table.clear();
            cpu.truth = Truth::default();
        }
    }

    fn end_interval(&mut self, at_ns: u64) {
        let hosts = self.windows.advance(at_ns);
        hosts.windows.iter().for_each(|window| check_features(HOST_FEATURES, window));
        self.sessions.set_windows(|key, stats, standing| self.windows.around(key, stats, standing));
        let ended = self.sessions.expire(at_ns);
        self.record(&ended);
    }

    fn record(&mut self, ended: &[Ended]) {
        for ended in ended {
            let stats = &ended.stats;
            assert!(stats.packets() > 0, "a record without a packet");
            assert_eq!(stats.iat_samples(), stats.packets() - u64::from(stats.parts), "samples = packets − parts");
            let kept = Kept::of(stats);
            self.recorded.entry(ended.key).and_modify(|sum| sum.add(&kept)).or_insert(kept);
            let content = self.inspector.inspect(ended);
            let record = FlowRecord::new(ended, Clock::default()).with_content(Some(content));
            let row = FlowRow::new(record, ended.windows);
            check_features(FLOW_FEATURES, &row);
            check_features(CONTENT_FEATURES, &row);
            assert!(row.record.community_id().starts_with("1:"));
        }
    }

    /// Checks that every counted packet is in the records.
    fn finish(mut self) -> Counted {
        self.drain();
        if let Some(latest_ns) = self.epochs.latest_ns() {
            self.end_interval(latest_ns);
        }
        let ended = self.sessions.flush();
        self.record(&ended);
        assert!(self.sessions.is_empty());
        let counted = self.counted.iter().map(|(key, packets)| {
            let whole = count(packets).expect("a flow has a packet");
            (*key, Kept::of(&whole))
        });
        assert!(counted.eq(self.recorded), "records hold what was counted");
        self.counted
    }
}

/// A feature is finite and not negative, or NaN where it is not defined.
fn check_features<T>(table: &[Feature<T>], unit: &T) {
    for feature in table {
        let value = feature.value(unit);
        assert!(value.is_nan() || value >= 0.0 && value.is_finite(), "{} is {value}", feature.name);
        assert!(feature.unit != "share" || value.is_nan() || value <= 1.0, "{} is {value}", feature.name);
    }
}

/// The statistics of a flow that are sums, whichever CPUs counted which packets: by direction, packets, frame bytes, IP
/// bytes, payload bytes, packets with payload, and squares of lengths; packets by flag; packets by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    directions: [[u64; 6]; 2],
    flags: [[u64; 8]; 2],
    lengths: [u64; 8],
}

impl Kept {
    fn of(stats: &FlowStats) -> Self {
        Self {
            directions: stats.directions.each_ref().map(|direction| {
                [
                    direction.packets,
                    direction.frame_bytes,
                    direction.ip_bytes,
                    direction.payload_bytes,
                    direction.payload_packets,
                    direction.length_squares,
                ]
            }),
            flags: stats.directions.each_ref().map(|direction| direction.flags),
            lengths: stats.lengths,
        }
    }

    fn add(&mut self, other: &Self) {
        let mine = self.directions.as_flattened_mut().iter_mut();
        let mine = mine.chain(self.flags.as_flattened_mut()).chain(&mut self.lengths);
        let theirs = other.directions.as_flattened().iter().chain(other.flags.as_flattened()).chain(&other.lengths);
        mine.zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// The statistics that one CPU counts in one epoch.
fn count<'a>(packets: impl IntoIterator<Item = &'a Placed>) -> Option<FlowStats> {
    let mut packets = packets.into_iter().map(|placed| &placed.packet).peekable();
    let key = packets.peek()?.key;
    FlowValue::of_all(packets).map(|value| value.counted(&key).partial_flow().stats)
}

fn joined(parts: impl IntoIterator<Item = FlowStats>, join: fn(&mut FlowStats, &FlowStats)) -> Option<FlowStats> {
    parts.into_iter().reduce(|mut sum, part| {
        join(&mut sum, &part);
        sum
    })
}

/// Checks that the partial flows of a flow together equal what one CPU would have counted of all its packets.
fn check_parts(packets: &[Placed]) {
    let Some(whole) = count(packets) else { return };
    let mut by_cpu: BTreeMap<_, Vec<&Placed>> = BTreeMap::new();
    for placed in packets {
        by_cpu.entry((placed.epoch, placed.other_cpu)).or_default().push(placed);
    }
    let parts: Vec<_> = by_cpu.into_values().filter_map(count).collect();
    let merged = joined(parts.iter().copied(), FlowStats::merge);
    assert_eq!(joined(parts.iter().rev().copied(), FlowStats::merge), merged, "the order of parts does not matter");
    if let Some((first, others)) = parts.split_first() {
        let others = joined(others.iter().copied(), FlowStats::merge);
        assert_eq!(
            joined([Some(*first), others].into_iter().flatten(), FlowStats::merge),
            merged,
            "nor which is first"
        );
    }
    assert_eq!(merged.as_ref().map(Kept::of), Some(Kept::of(&whole)), "merging loses nothing");
    let in_order = packets.is_sorted_by_key(|placed| placed.packet.time);
    if in_order && whole.last_ns - whole.first_ns() < SHORT_NS {
        let epochs = packets.chunk_by(|a, b| a.epoch == b.epoch).filter_map(count);
        assert_eq!(joined(epochs, FlowStats::follow), Some(whole), "parts that follow each other are the whole");
    }
}
