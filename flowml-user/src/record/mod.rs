//! Flow records: identifiers and statistics of an ended flow, oriented from its initiator.
//!
//! The record of the only flow of a capture:
//!
//! ```
//! use bytemuck::Zeroable;
//! use flowml_common::table::{Seed, Shape};
//! use flowml_user::capture::file::CaptureFile;
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
//!     frame.meter(&mut table);
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
mod traffic;
mod tunnel;

use std::net::IpAddr;

use flowml_common::flow::{Address, Endpoint, FIRST_PACKETS, FlowKey, LENGTH_BINS, Sender};
use flowml_common::headers::Mac;
use flowml_common::packet::Hook;
use serde::{Deserialize, Serialize};

use crate::session::{EndReason, Ended, Evidence};

pub use application::{Application, PROTOCOLS, Protocol};
pub(crate) use content::MATCH_PREFIX;
pub use content::{Content, FirstPayload, Inspector, Pattern, PatternError};
pub use identifiers::{CONTENT_IDENTIFIERS, FLOW_IDENTIFIERS, Identifier, TUNNEL_IDENTIFIERS, Value, ValueType};
pub use traffic::{TcpFlag, Traffic};
pub use tunnel::Tunnel;

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
    pub(crate) const fn unix_ns(self, capture_ns: u64) -> u64 {
        capture_ns.saturating_add_signed(self.offset_ns)
    }

    /// Unix time of a time of the capture, in whole ms.
    #[must_use]
    pub const fn unix_ms(self, capture_ns: u64) -> u64 {
        self.unix_ns(capture_ns) / 1_000_000
    }
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
    /// Whether the packet had payload.
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
    /// The reason for the end of the record.
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
    /// The tunnel, in a run that looks into tunnels.
    pub tunnel: Option<Box<Tunnel>>,
    firsts: [FirstPacket; FIRST_PACKETS],
    first_count: u8,
    /// What is shown instead of the addresses of initiator and responder.
    pseudonyms: Option<[Address; 2]>,
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
            tunnel: None,
            firsts: std::array::from_fn(|n| FirstPacket {
                offset_us: stats.firsts.offset_us[n],
                length: stats.firsts.length[n],
                from_initiator: stats.firsts.upper >> n & 1 == initiator as u8,
                payload: stats.firsts.payload >> n & 1 == 1,
            }),
            first_count: stats.firsts.count,
            pseudonyms: None,
        }
    }

    /// The same record, with the columns derived from the first payload bytes.
    #[must_use]
    pub fn with_content(mut self, content: Option<Content>) -> Self {
        self.content = content.map(Box::new);
        self
    }

    /// The same record with the pseudonyms of its addresses and without MAC addresses. The key keeps the addresses.
    #[must_use]
    pub fn with_pseudonyms(mut self, mut of: impl FnMut(Address) -> Address) -> Self {
        self.pseudonyms = Some([self.source(), self.destination()].map(|end| of(end.address)));
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.outer = tunnel.outer.map(|ends| ends.map(&mut of));
        }
        self.macs = Default::default();
        self
    }

    /// The same record, with the columns of its tunnel. `ended` is that of the record.
    #[must_use]
    pub fn with_tunnel(mut self, ended: &Ended) -> Self {
        self.tunnel = Some(Box::new(Tunnel::of(&self.key, ended.tunnel.as_deref(), self.initiator)));
        self
    }

    /// The initiator's endpoint.
    #[must_use]
    pub const fn source(&self) -> Endpoint {
        let end = self.key.endpoint(self.initiator);
        match self.pseudonyms {
            Some([address, _]) => Endpoint { address, ..end },
            None => end,
        }
    }

    /// The responder's endpoint.
    #[must_use]
    pub const fn destination(&self) -> Endpoint {
        let end = self.key.endpoint(self.initiator.opposite());
        match self.pseudonyms {
            Some([_, address]) => Endpoint { address, ..end },
            None => end,
        }
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
        let ends = [self.source(), self.destination()];
        let first = if self.first_sender == self.initiator { ends } else { [ends[1], ends[0]] };
        community::id(&self.key, first, 0)
    }
}
