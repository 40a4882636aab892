//! Decodes any bytes as frames with times: a small format in which most bytes have a meaning.

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use flowml_common::content::PayloadLimit;
use flowml_common::cursor::Cursor;
use flowml_common::packet::Segments;
use flowml_common::tunnel::PortList;
use flowml_user::capture::file::link::LinkType;
use flowml_user::session::Timeouts;

/// Bits of [`Step::kind`].
pub(super) mod kind {
    /// The second of the two CPUs meters the frame.
    pub(crate) const OTHER_CPU: u8 = 1;
    /// The epoch ends before the frame.
    pub(crate) const NEW_EPOCH: u8 = 1 << 1;
    /// The frame does not start with an Ethernet header.
    pub(crate) const OTHER_LINK: u8 = 1 << 2;
    /// The kernel has stripped a tag from the frame.
    pub(crate) const STRIPPED_VLAN: u8 = 1 << 3;
    /// The frame is a super-packet.
    pub(crate) const SEGMENTS: u8 = 1 << 4;
    /// The frame was captured only partly.
    pub(crate) const SNAPPED: u8 = 1 << 5;
    /// The time of the frame is before that of the frame before it.
    pub(crate) const BACK: u8 = 1 << 6;
}

/// The header before each frame of an input.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Step {
    /// Bits of [`kind`].
    pub(super) kind: u8,
    /// Time since the frame before, in ns: the lower half times 8 to the power of the upper half. The range is from 1
    /// ns to six days.
    pub(super) gap: u8,
    /// Length of the frame in bytes, little-endian.
    pub(super) length: [u8; 2],
    /// The stripped tag, little-endian. Without a stripped tag, the number of bytes that were not captured.
    pub(super) tag: [u8; 2],
    /// Payload of the segments in bytes, little-endian.
    pub(super) size: [u8; 2],
    /// Number of segments.
    pub(super) count: u8,
    /// Interface. For frames without an Ethernet header, also the link type.
    pub(super) interface: u8,
}

/// The parameters of the meter.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Settings {
    capacity: u8,
    interval: u8,
    timeouts: u8,
}

/// A frame in the view of a hook or a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) time_ns: u64,
    pub(super) other_cpu: bool,
    pub(super) new_epoch: bool,
    pub(super) link: LinkType,
    pub(super) interface: u32,
    pub(super) length: u32,
    pub(super) stripped_vlan: Option<u16>,
    pub(super) segments: Option<Segments>,
    pub(super) bytes: &'a [u8],
}

/// A decoded input.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) capacity: u32,
    pub(super) payload: Option<PayloadLimit>,
    pub(super) tunnels: Option<PortList>,
    pub(super) interval: Duration,
    pub(super) timeouts: Timeouts,
    pub(super) frames: Vec<Arrival<'a>>,
}

const CAPACITIES: [u32; 4] = [1, 16, 64, 512];

/// A bit of the capacity: the table of the offline run looks into tunnels.
pub(super) const INSIDE: u8 = 1 << 4;

/// Payload bytes of each direction that are kept. Two of the low bits of the capacity select one.
const PAYLOADS: [u32; 4] = [0, 40, 256, 1];

/// Intervals. The first is the default, and the last is the longest that the command line accepts.
const INTERVALS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_millis(100), Duration::from_secs(10), Duration::from_secs(3600)];

/// Idle and active timeouts in s.
const TIMEOUTS: [(u64, u64); 4] = [(15, 120), (1, 1), (120, 1800), (86_400, 2)];

/// The link types besides Ethernet.
pub(super) const WITHOUT_ETHERNET: [LinkType; 7] = [
    LinkType::Raw,
    LinkType::Ipv4,
    LinkType::Ipv6,
    LinkType::Null,
    LinkType::Loop,
    LinkType::Cooked,
    LinkType::Cooked2,
];

/// Largest number of frames of one input.
const MOST: usize = 512;

/// Time of the first frame in ns. It is a day, so that frames may come before it.
const BEGIN_NS: u64 = 86_400_000_000_000;

/// Times do not go beyond the year 2262, as in a capture.
const LATEST_NS: u64 = i64::MAX as u64;

impl<'a> Input<'a> {
    /// Decodes any bytes.
    pub(super) fn of(mut bytes: &'a [u8]) -> Self {
        let settings: Settings = bytes.take().unwrap_or(Settings::zeroed());
        let (idle_s, active_s) = TIMEOUTS[usize::from(settings.timeouts & 3)];
        let timeouts = Timeouts {
            idle: Duration::from_secs(idle_s),
            active: Duration::from_secs(active_s),
            end_by_flags: settings.timeouts & 4 == 0,
            ..Timeouts::default()
        };
        let mut frames = Vec::new();
        let mut time_ns = BEGIN_NS;
        while frames.len() < MOST
            && let Some(step) = bytes.take::<Step>()
        {
            let gap_ns = u64::from(step.gap & 0xf) << (3 * (step.gap >> 4));
            time_ns = match step.kind & kind::BACK {
                0 => time_ns.saturating_add(gap_ns).min(LATEST_NS),
                _ => time_ns.saturating_sub(gap_ns),
            };
            let (frame, rest) = bytes.split_at(bytes.len().min(u16::from_le_bytes(step.length).into()));
            bytes = rest;
            frames.push(step.seen(time_ns, frame));
        }
        Self {
            capacity: CAPACITIES[usize::from(settings.capacity & 3)],
            payload: PayloadLimit::new(PAYLOADS[usize::from(settings.capacity >> 2 & 3)]),
            tunnels: (settings.capacity & INSIDE != 0).then(PortList::default),
            interval: INTERVALS[usize::from(settings.interval & 3)],
            timeouts,
            frames,
        }
    }
}

impl Step {
    fn seen<'a>(&self, time_ns: u64, bytes: &'a [u8]) -> Arrival<'a> {
        let is = |bit: u8| self.kind & bit != 0;
        let tag = u16::from_le_bytes(self.tag);
        let link = if is(kind::OTHER_LINK) {
            WITHOUT_ETHERNET[usize::from(self.interface >> 4) % WITHOUT_ETHERNET.len()]
        } else {
            LinkType::Ethernet
        };
        let stripped_vlan = is(kind::STRIPPED_VLAN).then_some(tag);
        let more = if is(kind::SNAPPED) { tag.into() } else { 0 };
        let segments = Segments { count: self.count.into(), size: u16::from_le_bytes(self.size).into() };
        Arrival {
            time_ns,
            other_cpu: is(kind::OTHER_CPU),
            new_epoch: is(kind::NEW_EPOCH),
            link,
            interface: u32::from(self.interface & 0xf),
            length: bytes.len() as u32 + more,
            stripped_vlan,
            segments: is(kind::SEGMENTS).then_some(segments),
            bytes,
        }
    }
}

/// Encodes an input, for the seeds.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Starts an input with these settings, as indices of the tables above.
    pub(super) fn new(capacity: u8, interval: u8, timeouts: u8) -> Self {
        Self(bytemuck::bytes_of(&Settings { capacity, interval, timeouts }).to_vec())
    }

    /// Adds a frame. Its length is that of the bytes.
    pub(super) fn frame(&mut self, step: Step, bytes: &[u8]) -> &mut Self {
        let length = (bytes.len() as u16).to_le_bytes();
        self.0.extend(bytemuck::bytes_of(&Step { length, ..step }));
        self.0.extend(&bytes[..usize::from(u16::from_le_bytes(length))]);
        self
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// The gap byte whose value is closest to this many ns.
pub(super) fn gap(ns: u64) -> u8 {
    let mut power = 0;
    while power < 15 && ns >> (3 * power) > 15 {
        power += 1;
    }
    (power << 4) as u8 | (ns >> (3 * power)) as u8
}
