//! Flow records: identifiers and statistics of an ended flow, oriented from its initiator.
//!
//! The record of the only flow of a capture:
//!
//! ```
//! use bytemuck::Zeroable;
//! use flowml_common::table::{Seed, Shape};
//! use flowml_user::capture::file::{CaptureFile, link};
//! use flowml_user::capture::vectors::VecTable;
//! use flowml_user::record::{Clock, FlowRecord};
//! use flowml_user::session::{Sessions, Timeouts};
//!
//! // A pcap file with one UDP datagram from 10.0.0.1 to port 53 of 10.0.0.2.
//! let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
//! pcap.extend([0, 0, 0, 100, 0, 0, 0, 0, 42, 0, 0, 0, 42, 0, 0, 0]);
//! pcap.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
//! pcap.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
//! pcap.extend([4, 0, 0, 53, 0, 8, 0, 0]);
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("one.pcap");
//! std::fs::write(&path, pcap)?;
//!
//! let mut table = VecTable::new(Shape::for_capacity(1024), Seed::zeroed());
//! let mut file = CaptureFile::open(&path)?;
//! while let Some(frame) = file.next_frame()? {
//!     link::meter(&mut table, &frame);
//! }
//! let mut sessions = Sessions::new(Timeouts::default());
//! sessions.absorb_drain(table.flows(), |_, _| {});
//! let ended = sessions.flush();
//! let record = FlowRecord::new(&ended[0], Clock::default());
//! assert_eq!((record.src_ip().to_string(), record.both.packets), ("10.0.0.1".to_owned(), 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod application;
mod community;
mod content;
mod identifiers;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use flowml_common::flow::{Direction, Endpoint, FIRST_PACKETS, FlowKey, FlowStats, LENGTH_BINS, NO_SAMPLE, Sender};
use flowml_common::headers::Mac;
use flowml_common::packet::Hook;
use flowml_common::time::to_micros;
use serde::{Deserialize, Serialize};

use crate::session::{EndReason, Ended, Evidence};

pub use application::{Application, PROTOCOLS, Protocol};
pub use content::{Content, FirstPayload, Inspector, MATCH_PREFIX, Pattern, PatternError};
pub use identifiers::{CONTENT_IDENTIFIERS, FLOW_IDENTIFIERS, Identifier, Kind, Value};

/// The conversion from the clock of a capture to Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    offset_ns: i64,
}

impl Clock {
    /// A clock that showed `capture_ns` at Unix time `unix_ns`. The default is for capture files, which have Unix time.
    #[must_use]
    pub const fn new(capture_ns: u64, unix_ns: u64) -> Self {
        Self { offset_ns: unix_ns.wrapping_sub(capture_ns) as i64 }
    }

    /// The clock of an interface whose times were shifted by `shift_ns`.
    #[must_use]
    pub const fn without(self, shift_ns: i64) -> Self {
        Self { offset_ns: self.offset_ns.saturating_sub(shift_ns) }
    }

    /// Unix time of a time of the capture, in ns.
    #[must_use]
    pub const fn unix_ns(self, capture_ns: u64) -> u64 {
        capture_ns.saturating_add_signed(self.offset_ns)
    }

    /// Unix time of a time of the capture, in whole ms.
    #[must_use]
    pub const fn unix_ms(self, capture_ns: u64) -> u64 {
        self.unix_ns(capture_ns) / 1_000_000
    }
}

/// A TCP flag, numbered by its bit (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the RFC's names")]
pub enum TcpFlag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
    Urg,
    Ece,
    Cwr,
}

/// Statistics of one direction, or of both together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Number of packets.
    pub packets: u64,
    /// Frame bytes, without FCS.
    pub frame_bytes: u64,
    /// IP bytes (total length).
    pub ip_bytes: u64,
    /// Payload bytes.
    pub payload_bytes: u64,
    /// Number of packets with payload.
    pub payload_packets: u64,
    /// Time of the first packet, in ns of the capture's clock; 0 without packets.
    pub first_ns: u64,
    /// Time of the last packet, in ns of the capture's clock; 0 without packets.
    pub last_ns: u64,
    /// Unix time of the first packet, in whole ms; 0 without packets.
    pub first_ms: u64,
    /// Unix time of the last packet, in whole ms; 0 without packets.
    pub last_ms: u64,
    /// Smallest IP total length, in bytes; 0 without packets.
    pub length_min: u16,
    /// Largest IP total length, in bytes.
    pub length_max: u16,
    /// Σ (IP total length)², in bytes².
    pub length_squares: u64,
    /// Smallest inter-arrival time, in µs; 0 without a sample.
    pub iat_min_us: u64,
    /// Largest inter-arrival time, in µs; 0 without a sample.
    pub iat_max_us: u64,
    /// Σ (inter-arrival time)², in µs².
    pub iat_squares: u128,
    /// Number of runs of packets. The inter-arrival times between runs are unknown.
    pub parts: u32,
    /// Number of packets by [`TcpFlag`].
    pub flags: [u64; 8],
    /// Smallest TTL, in hops; 0 without packets.
    pub ttl_min: u8,
    /// Largest TTL, in hops.
    pub ttl_max: u8,
}

impl Traffic {
    fn of(direction: &Direction, clock: Clock) -> Self {
        let any = direction.packets > 0;
        Self {
            packets: direction.packets,
            frame_bytes: direction.frame_bytes,
            ip_bytes: direction.ip_bytes,
            payload_bytes: direction.payload_bytes,
            payload_packets: direction.payload_packets,
            first_ns: direction.first_ns,
            last_ns: direction.last_ns,
            first_ms: if any { clock.unix_ms(direction.first_ns) } else { 0 },
            last_ms: if any { clock.unix_ms(direction.last_ns) } else { 0 },
            length_min: if any { direction.length_min } else { 0 },
            length_max: direction.length_max,
            length_squares: direction.length_squares,
            iat_min_us: sampled(direction.iat_min_us),
            iat_max_us: direction.iat_max_us,
            iat_squares: direction.iat_squares,
            parts: direction.parts,
            flags: direction.flags,
            ttl_min: if any { direction.ttl_min } else { 0 },
            ttl_max: direction.ttl_max,
        }
    }

    fn of_both(stats: &FlowStats, clock: Clock) -> Self {
        let [a, b] = &stats.directions;
        Self {
            packets: stats.packets(),
            frame_bytes: stats.frame_bytes(),
            ip_bytes: a.ip_bytes + b.ip_bytes,
            payload_bytes: a.payload_bytes + b.payload_bytes,
            payload_packets: a.payload_packets + b.payload_packets,
            first_ns: stats.first_ns(),
            last_ns: stats.last_ns,
            first_ms: clock.unix_ms(stats.first_ns()),
            last_ms: clock.unix_ms(stats.last_ns),
            // A direction without packets has the largest number as its minimum.
            length_min: a.length_min.min(b.length_min),
            length_max: a.length_max.max(b.length_max),
            length_squares: a.length_squares.saturating_add(b.length_squares),
            iat_min_us: sampled(stats.iat_min_us),
            iat_max_us: stats.iat_max_us,
            iat_squares: stats.iat_squares,
            parts: stats.parts,
            flags: std::array::from_fn(|n| a.flags[n] + b.flags[n]),
            ttl_min: a.ttl_min.min(b.ttl_min),
            ttl_max: a.ttl_max.max(b.ttl_max),
        }
    }

    /// Number of packets with a flag.
    #[must_use]
    pub const fn flagged(&self, flag: TcpFlag) -> u64 {
        self.flags[flag as usize]
    }

    /// Ratio of packets with a flag to all packets; 0 without packets.
    #[must_use]
    pub fn flag_share(&self, flag: TcpFlag) -> f64 {
        if self.packets == 0 { 0.0 } else { self.flagged(flag) as f64 / self.packets as f64 }
    }

    /// Ratio of payload to IP bytes; 0 without packets.
    #[must_use]
    pub fn payload_share(&self) -> f64 {
        if self.ip_bytes == 0 { 0.0 } else { self.payload_bytes as f64 / self.ip_bytes as f64 }
    }

    /// Time from the first packet to the last, in ms.
    #[must_use]
    pub fn duration_ms(&self) -> f64 {
        (self.last_ns - self.first_ns) as f64 / 1e6
    }

    /// Mean IP total length, in bytes; 0 without packets.
    #[must_use]
    pub fn length_mean(&self) -> f64 {
        if self.packets == 0 { 0.0 } else { self.ip_bytes as f64 / self.packets as f64 }
    }

    /// Sample standard deviation of the IP total length, in bytes; 0 below two packets.
    #[must_use]
    pub fn length_stddev(&self) -> f64 {
        sample_stddev(self.packets, self.ip_bytes, self.length_squares.into())
    }

    /// Sum of the inter-arrival times, in µs. Each is a difference of whole µs, so they add up to the time from the
    /// first packet to the last.
    const fn iat_sum_us(&self) -> u64 {
        to_micros(self.last_ns) - to_micros(self.first_ns)
    }

    /// Whether every inter-arrival time was known when it was counted. If CPUs counted at the same time, those between
    /// their packets were not.
    const fn knows_gaps(&self) -> bool {
        self.parts <= 1
    }

    /// Mean inter-arrival time, in ms; 0 below two packets. It depends only on the first and the last time, so it is
    /// exact whichever CPUs counted.
    #[must_use]
    pub fn iat_mean_ms(&self) -> f64 {
        if self.packets < 2 { 0.0 } else { self.iat_sum_us() as f64 / (self.packets - 1) as f64 / 1e3 }
    }

    /// Smallest inter-arrival time, in ms; 0 below two packets, NaN if CPUs counted at the same time.
    #[must_use]
    pub fn iat_min_ms(&self) -> f64 {
        if self.knows_gaps() { self.iat_min_us as f64 / 1e3 } else { f64::NAN }
    }

    /// Largest inter-arrival time, in ms; 0 below two packets, NaN if CPUs counted at the same time.
    #[must_use]
    pub fn iat_max_ms(&self) -> f64 {
        if self.knows_gaps() { self.iat_max_us as f64 / 1e3 } else { f64::NAN }
    }

    /// Sample standard deviation of the inter-arrival time, in ms; 0 below two samples, NaN if CPUs counted at the same
    /// time.
    #[must_use]
    pub fn iat_stddev_ms(&self) -> f64 {
        if !self.knows_gaps() {
            return f64::NAN;
        }
        sample_stddev(self.packets.saturating_sub(1), self.iat_sum_us(), self.iat_squares) / 1e3
    }
}

/// A minimum, or 0 without a sample.
const fn sampled(minimum_us: u64) -> u64 {
    if minimum_us == NO_SAMPLE { 0 } else { minimum_us }
}

/// √((n·Σx² − (Σx)²) / (n·(n − 1))). In whole numbers up to the division, because the difference of two large sums is
/// small.
///
/// Σx² of lengths saturates and may then be too small. The result is never below 0.
fn sample_stddev(samples: u64, sum: u64, squares: u128) -> f64 {
    if samples < 2 {
        return 0.0;
    }
    let (n, sum) = (u128::from(samples), u128::from(sum));
    let spread = n.saturating_mul(squares).saturating_sub(sum.saturating_mul(sum));
    (spread as f64 / (n * (n - 1)) as f64).sqrt()
}

/// One of the first packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// Time since the flow's first packet, in µs.
    pub offset_us: u64,
    /// IP total length, in bytes.
    pub length: u16,
    /// Whether the initiator sent it.
    pub from_initiator: bool,
    /// Whether it had payload.
    pub payload: bool,
}

/// A flow record: identifiers and statistics. The source is the initiator.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRecord {
    /// The key, with the smaller endpoint first.
    pub key: FlowKey,
    /// The endpoint of the key that is the initiator.
    pub initiator: Sender,
    /// The evidence for the initiator.
    pub initiator_by: Evidence,
    /// Sender of the first packet.
    first_sender: Sender,
    /// Why the record ended.
    pub end_reason: EndReason,
    /// Whether an earlier record of the same session ended by the active timeout.
    pub continues: bool,
    /// Statistics of both directions.
    pub both: Traffic,
    /// Statistics from the initiator to the responder.
    pub src2dst: Traffic,
    /// Statistics from the responder to the initiator.
    pub dst2src: Traffic,
    /// Number of packets by IP total length: below 64, below 128, …, below 4,096, and the rest.
    pub lengths: [u64; LENGTH_BINS],
    /// MAC addresses of initiator and responder in the first packet.
    pub macs: [Mac; 2],
    /// TCP window in the first packet of the initiator and of the responder, without scaling.
    pub windows: [u16; 2],
    /// DSCP of the first packet of the initiator and of the responder.
    pub dscps: [u8; 2],
    /// Whether the initiator sent a SYN without ACK.
    pub syn_seen: bool,
    /// The hooks that counted packets, as bits of [`Hook`].
    pub hooks: u8,
    /// The columns derived from the first payload bytes, if these are kept.
    pub content: Option<Box<Content>>,
    firsts: [FirstPacket; FIRST_PACKETS],
    first_count: u8,
}

impl FlowRecord {
    /// The record of an ended session, or of the part of a session up to an active timeout.
    #[must_use]
    pub fn new(ended: &Ended, clock: Clock) -> Self {
        let (stats, initiator) = (&ended.stats, ended.initiator.sender);
        let ends = [initiator, initiator.opposite()];
        let [source, destination] = ends.map(|end| stats.direction(end));
        Self {
            key: ended.key,
            initiator,
            initiator_by: ended.initiator.by,
            first_sender: if stats.first_sender == Sender::Lower as u8 { Sender::Lower } else { Sender::Upper },
            end_reason: ended.reason,
            continues: ended.continues,
            both: Traffic::of_both(stats, clock),
            src2dst: Traffic::of(source, clock),
            dst2src: Traffic::of(destination, clock),
            lengths: stats.lengths,
            macs: ends.map(|end| stats.macs[end as usize]),
            windows: [source.window, destination.window],
            dscps: [source.dscp, destination.dscp],
            syn_seen: stats.syn_senders >> initiator as u8 & 1 == 1,
            hooks: stats.hooks,
            content: None,
            firsts: std::array::from_fn(|n| FirstPacket {
                offset_us: stats.firsts.offset_us[n],
                length: stats.firsts.length[n],
                from_initiator: stats.firsts.upper >> n & 1 == initiator as u8,
                payload: stats.firsts.payload >> n & 1 == 1,
            }),
            first_count: stats.firsts.count,
        }
    }

    /// The same record, with the columns derived from the first payload bytes.
    #[must_use]
    pub fn with_content(mut self, content: Option<Content>) -> Self {
        self.content = content.map(Box::new);
        self
    }

    /// The initiator's endpoint.
    #[must_use]
    pub const fn source(&self) -> Endpoint {
        self.key.endpoint(self.initiator)
    }

    /// The responder's endpoint.
    #[must_use]
    pub const fn destination(&self) -> Endpoint {
        self.key.endpoint(self.initiator.opposite())
    }

    /// The initiator's address.
    #[must_use]
    pub fn src_ip(&self) -> IpAddr {
        self.source().address.to_ip()
    }

    /// The responder's address.
    #[must_use]
    pub fn dst_ip(&self) -> IpAddr {
        self.destination().address.to_ip()
    }

    /// The initiator's port; 0 for protocols without ports.
    #[must_use]
    pub const fn src_port(&self) -> u16 {
        if self.key.is_icmp() { 0 } else { self.source().port }
    }

    /// The responder's port; 0 for protocols without ports.
    #[must_use]
    pub const fn dst_port(&self) -> u16 {
        if self.key.is_icmp() { 0 } else { self.destination().port }
    }

    /// The IP protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.key.protocol()
    }

    /// Type and code of the ICMP messages. For requests and replies, those of the initiator, whose code is 0.
    #[must_use]
    pub const fn icmp(&self) -> Option<(u8, u8)> {
        if !self.key.is_icmp() || self.key.later_fragment() {
            return None;
        }
        let [kind, code] = self.icmp_ends();
        let code = if self.key.is_icmp_exchange() { 0 } else { self.key.endpoint(code).port as u8 };
        Some((self.key.endpoint(kind).port as u8, code))
    }

    /// The endpoints of the key that contain type and code. For messages without replies the type is that of the
    /// sender, which need not be the initiator.
    const fn icmp_ends(&self) -> [Sender; 2] {
        let kind = if self.key.is_icmp_exchange() { self.initiator } else { self.first_sender };
        [kind, kind.opposite()]
    }

    /// Whether several CPUs counted at the same time. Of the inter-arrival times only the mean is known then.
    #[must_use]
    pub const fn is_concurrent(&self) -> bool {
        self.both.parts > 1
    }

    /// The first packets, in the order of their times.
    #[must_use]
    pub fn first_packets(&self) -> &[FirstPacket] {
        &self.firsts[..usize::from(self.first_count).min(FIRST_PACKETS)]
    }

    /// Whether `hook` counted some of the packets.
    #[must_use]
    pub const fn is_counted_by(&self, hook: Hook) -> bool {
        self.hooks & hook as u8 != 0
    }

    /// Community ID, version 1, seed 0: the identifier of the flow in Zeek, Suricata and other tools.
    #[must_use]
    pub fn community_id(&self) -> String {
        community::id(&self.key, self.first_sender, 0)
    }
}
