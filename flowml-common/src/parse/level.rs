//! The levels of a frame in tunnels: the packet of each IP header, and what comes after it.
//!
//! A frame is parsed in steps: a level (link layer, IP, transport), the header of a tunnel, the next level, … Each step
//! starts at an offset that the step before has stored ([`Progress`]). In the kernel it is stored in a map, whose contents
//! the verifier does not follow. The paths of one step therefore do not multiply those of the next.

use bytemuck::{Pod, Zeroable, must_cast_mut};

use crate::counts::zero;
use crate::cursor::{Cursor, MAX_SKIP};
use crate::flow::Sender;
use crate::headers::{Ethernet, Mac, ethertype, protocol};
use crate::packet::{Frame, Packet, Skipped};
use crate::tunnel::{MAX_DEPTH, Outcome, Outer, TunnelKind, TunnelPorts};

use super::assemble;
use super::encapsulation::{Inside, enter};
use super::ip::{Ahead, follow_authentication, parse_ipv4, parse_ipv6};
use super::link::{Link, LinkHeader, VLAN_ID, take_tags};
use super::transport::parse_transport;

/// The largest offset in a frame at which headers of a tunnel, or headers inside of it, may start.
pub const FARTHEST: u32 = MAX_SKIP as u32;

/// The steps of parsing a frame so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Progress {
    /// The innermost tunnel of the last packet.
    pub(super) outer: Outer,
    /// The number of the tunnel that was entered last.
    pub(super) id: u32,
    /// Where the next step starts, in bytes from the start of the frame.
    pub(super) offset: u32,
    /// UDP destination port of the last packet.
    pub(super) port: u16,
    /// EtherType of the next level; [`ethertype::BRIDGED`] if it starts with an Ethernet header.
    pub(super) ethertype: u16,
    /// VLAN ids and MAC addresses of the innermost Ethernet header.
    pub(super) vlan: u16,
    pub(super) inner_vlan: u16,
    pub(super) macs: [Mac; 2],
    /// Number of tags that the kernel or the NIC has removed before this level.
    pub(super) stripped: u8,
    /// IP protocol of the last level, [`OF_ETHERTYPE`] if its EtherType is not IP, or [`NOTHING`].
    pub(super) protocol: u8,
    /// Not 0 if the last packet is an IP fragment.
    pub(super) fragment: u16,
    /// The kinds of the encapsulations in the frame, the outermost first. 0 after the last.
    pub(super) kinds: [u8; MAX_DEPTH],
    /// What became of each: an [`Outcome`], if the last packet is not inside of it.
    pub(super) outcomes: [u8; MAX_DEPTH],
    /// Number of encapsulations around the last packet, plus one; 0 without a packet.
    found: u8,
    /// The version of the addresses in `around`, 0 without.
    around_version: u8,
    reserved: [u8; 2],
    /// Source and destination around the level that is being parsed, as halves.
    around: [[u64; 2]; 2],
}

/// The protocol of a level whose EtherType decides what comes after it.
const OF_ETHERTYPE: u8 = protocol::RESERVED;

/// The protocol of a level after which there is no tunnel: No Next Header.
const NOTHING: u8 = protocol::NO_NEXT_HEADER;

impl Progress {
    /// The start of a frame: before an Ethernet header, or after a header of another link layer.
    #[inline(always)]
    pub fn begin(&mut self, frame: &Frame, header: Option<&LinkHeader>) {
        zero(must_cast_mut::<Self, [u64; size_of::<Self>() / 8]>(self));
        (self.ethertype, self.protocol) = (ethertype::BRIDGED, NOTHING);
        if let Some(control) = frame.stripped_vlan {
            self.vlan = control & VLAN_ID;
            self.stripped = 1;
        }
        if let Some(header) = header {
            // No other link layer announces Ethernet.
            let ethertype = if header.ethertype == ethertype::BRIDGED { 0 } else { header.ethertype };
            (self.macs, self.ethertype, self.offset) = (header.macs, ethertype, header.length);
        }
    }

    /// The tunnel that the last packet is in.
    #[inline(always)]
    #[must_use]
    pub const fn outer(&self) -> Option<&Outer> {
        if self.found > 1 { Some(&self.outer) } else { None }
    }

    /// The kinds of the encapsulations, and what became of each.
    #[inline(always)]
    pub fn encapsulations(&self) -> [(u8, u8); MAX_DEPTH] {
        let removed = |n: u8| self.found > n + 1;
        let outcome = |n: usize| if removed(n as u8) { Outcome::Removed as u8 } else { self.outcomes[n] };
        [(self.kinds[0], outcome(0)), (self.kinds[1], outcome(1))]
    }
}

/// Memory for parsing one frame, and the frame.
pub trait Levels {
    /// The access to the headers.
    type Cursor: Cursor + Copy;

    /// A cursor at the start of the frame. In the kernel a new one for each step, of which nothing is known.
    fn start(&self) -> Self::Cursor;

    /// The progress. In the kernel nothing is known about it.
    fn progress(&mut self) -> &mut Progress;

    /// The last packet. Only called if there is one.
    fn last(&mut self) -> Option<&mut Packet>;

    /// Stores a packet in place of the last one.
    fn keep(&mut self, packet: Packet);

    /// Calls [`parse_outermost`]. In the kernel this and the next two are functions of their own. The levels of a frame together
    /// need more stack than there is. The verifier forgets the registers of a function that has returned, and with them
    /// the path that led to the result.
    #[inline(always)]
    fn outermost(&mut self, frame: &Frame) -> Result<(), Skipped>
    where
        Self: Sized,
    {
        parse_outermost(frame, self)
    }

    /// Calls [`parse_tunnel`].
    #[inline(always)]
    fn tunnel<P: TunnelPorts>(&mut self, ports: &P, n: usize) -> bool
    where
        Self: Sized,
    {
        parse_tunnel(self, ports, n)
    }

    /// Calls [`parse_inside`].
    #[inline(always)]
    fn inside(&mut self, frame: &Frame, n: usize) -> bool
    where
        Self: Sized,
    {
        parse_inside(frame, self, n)
    }
}

/// Parses a frame and the tunnels in it. The packet that is kept last is that of the innermost level that can be read.
/// `levels` has the [beginning](Progress::begin) of the frame.
///
/// # Errors
/// The reason why the frame belongs to no flow. No packet was kept then.
#[inline(always)]
pub fn parse_levels<P: TunnelPorts, L: Levels>(frame: &Frame, ports: &P, levels: &mut L) -> Result<(), Skipped> {
    levels.outermost(frame)?;
    // Written out, so that the verifier sees constant numbers.
    if levels.tunnel(ports, 0) && levels.inside(frame, 0) && levels.tunnel(ports, 1) {
        levels.inside(frame, 1);
    }
    if levels.progress().found == 0 { Err(Skipped::NotIp) } else { Ok(()) }
}

/// Parses the outermost level.
///
/// # Errors
/// The reason why the frame belongs to no flow, unless it may contain a tunnel.
#[inline(always)]
pub fn parse_outermost<L: Levels>(frame: &Frame, levels: &mut L) -> Result<(), Skipped> {
    match parse_level(frame, levels, false) {
        Ok(packet) => {
            levels.progress().found = 1;
            levels.keep(packet);
        }
        Err(reason) if levels.progress().protocol == NOTHING => return Err(reason),
        Err(_) => {}
    }
    Ok(())
}

/// Reads the header of encapsulation `n`, after the last level. Returns whether there is a next level.
#[inline(always)]
pub fn parse_tunnel<P: TunnelPorts, L: Levels>(levels: &mut L, ports: &P, n: usize) -> bool {
    let cursor = levels.start();
    let progress = levels.progress();
    let kind = match (progress.protocol, progress.ethertype) {
        (protocol::UDP, _) => ports.kind_of(progress.port),
        (protocol::GRE, _) => TunnelKind::Gre as u8,
        (protocol::IPV4 | protocol::IPV6, _) => TunnelKind::Ip as u8,
        (OF_ETHERTYPE, ethertype::MPLS | ethertype::MPLS_UPSTREAM) => TunnelKind::Mpls as u8,
        (OF_ETHERTYPE, ethertype::PPPOE_SESSION) => TunnelKind::Pppoe as u8,
        _ => 0,
    };
    if kind == 0 {
        return false;
    }
    progress.kinds[n & 1] = kind;
    if progress.fragment != 0 {
        progress.outcomes[n & 1] = Outcome::Fragment as u8;
        return false;
    }
    let inside = at(&cursor, progress.offset).map_err(|_| Outcome::Truncated);
    match inside.and_then(|cursor| enter(kind, progress.protocol, cursor)) {
        Ok(Inside { ethertype, length, id }) => {
            progress.ethertype = ethertype;
            progress.offset = cursor.forget(progress.offset + length);
            progress.id = id;
            progress.protocol = NOTHING;
            true
        }
        Err(left) => {
            progress.outcomes[n & 1] = left as u8;
            false
        }
    }
}

/// Parses the level inside of encapsulation `n`. Returns whether there may be a tunnel after it.
#[inline(always)]
pub fn parse_inside<L: Levels>(frame: &Frame, levels: &mut L, n: usize) -> bool {
    look_around(levels);
    match parse_level(frame, levels, true) {
        Ok(packet) => {
            levels.progress().found = n as u8 + 2;
            levels.keep(packet);
        }
        Err(reason) => levels.progress().outcomes[n & 1] = outcome_of(reason) as u8,
    }
    // All paths through the level join before its packet is completed.
    if levels.progress().found == n as u8 + 2 {
        put_in_tunnel(levels, n);
    }
    levels.progress().protocol != NOTHING
}

/// A cursor at an offset in the frame.
#[inline(always)]
fn at<C: Cursor + Copy>(cursor: &C, offset: u32) -> Result<C, Skipped> {
    let mut moved = *cursor;
    if offset > FARTHEST {
        return Err(Skipped::Truncated);
    }
    moved.skip(offset as u16).ok_or(Skipped::Truncated)?;
    Ok(moved)
}

const fn outcome_of(reason: Skipped) -> Outcome {
    match reason {
        Skipped::NotIp => Outcome::Unknown,
        Skipped::Truncated => Outcome::Truncated,
        _ => Outcome::Malformed,
    }
}

/// Stores the addresses of the last packet, if there is one: they are around the next level.
#[inline(always)]
fn look_around<L: Levels>(levels: &mut L) {
    if levels.progress().found > 0
        && let Some(packet) = levels.last()
    {
        let (key, sender) = (packet.key, packet.sender);
        let [source, destination] = [key.endpoint(sender), key.endpoint(sender.opposite())].map(|end| end.address);
        let progress = levels.progress();
        progress.around = [source.halves(), destination.halves()];
        progress.around_version = source.version() as u8;
    }
}

/// Adds the tunnel to the packet inside of encapsulation `n`.
#[inline(always)]
fn put_in_tunnel<L: Levels>(levels: &mut L, n: usize) {
    let progress = levels.progress();
    let (kind, id) = (progress.kinds[n & 1], progress.id);
    let (around, version) = (progress.around, progress.around_version);
    let Some(packet) = levels.last() else { return };
    packet.key = packet.key.in_tunnel(kind, if has_id_in_key(kind) { id } else { 0 });
    let is_lower = matches!(packet.sender, Sender::Lower);
    levels.progress().outer.set(is_lower, around, version, id);
}

/// Whether tunnels of the kind with this number have their number in the key.
#[inline(always)]
const fn has_id_in_key(kind: u8) -> bool {
    match TunnelKind::of(kind) {
        Some(kind) => kind.has_id_in_key(),
        None => false,
    }
}

/// Parses the next level.
#[inline(always)]
fn parse_level<L: Levels>(frame: &Frame, levels: &mut L, is_inside: bool) -> Result<Packet, Skipped> {
    read_link(levels)?;
    // All paths through the link layer join before the IP header is read: it is at an offset of which the verifier knows nothing.
    let cursor = at(&levels.start(), levels.progress().offset)?;
    parse_packet(frame, levels.progress(), cursor, is_inside)
}

/// Reads the link layer of a level. A level that does not start with an Ethernet header is in the last one.
#[inline(always)]
fn read_link<L: Levels>(levels: &mut L) -> Result<(), Skipped> {
    let start = levels.start();
    let progress = levels.progress();
    let mut cursor = at(&start, progress.offset)?;
    let Progress { macs, vlan, ethertype, offset: length, stripped, .. } = *progress;
    let mut link = Link { macs, vlan, inner_vlan: 0, ethertype, length };
    // The tags of a level are its own.
    progress.stripped = 0;
    if ethertype == ethertype::BRIDGED {
        let ethernet: Ethernet = cursor.take().ok_or(Skipped::Truncated)?;
        link.macs = [ethernet.source, ethernet.destination];
        link.ethertype = ethernet.ethertype.get();
        link.length += size_of::<Ethernet>() as u32;
        if stripped == 0 {
            link.vlan = 0;
        }
    }
    take_tags(&mut cursor, &mut link, stripped)?;
    let Link { macs, vlan, inner_vlan, ethertype, length } = link;
    (progress.macs, progress.vlan, progress.inner_vlan) = (macs, vlan, inner_vlan);
    (progress.ethertype, progress.offset) = (ethertype, cursor.forget(length));
    Ok(())
}

/// Parses the packet of a level whose link layer has been read.
#[inline(always)]
fn parse_packet<C: Cursor + Copy>(
    frame: &Frame,
    progress: &mut Progress,
    mut cursor: C,
    is_inside: bool,
) -> Result<Packet, Skipped> {
    let Progress { macs, vlan, inner_vlan, ethertype, offset: length, .. } = *progress;
    let link = Link { macs, vlan, inner_vlan, ethertype, length };
    let ahead = match ethertype {
        ethertype::IPV4 => Ahead::of_ipv4(cursor)?,
        ethertype::IPV6 => Ahead::of_ipv6(cursor)?,
        _ => {
            progress.fragment = 0;
            progress.protocol = OF_ETHERTYPE;
            return Err(Skipped::NotIp);
        }
    };
    progress.fragment = ahead.fragment;
    // A buffer that will be divided inside of its tunnel is one packet there. If it is not, each of its segments has a
    // tunnel and a packet of its own, and only the first could be read.
    if is_inside && frame.segments.is_some() && !ahead.fills(frame, &link) {
        return Err(Skipped::Malformed);
    }
    let mut network = if link.ethertype == ethertype::IPV4 {
        let mut network = parse_ipv4(frame, &link, &mut cursor)?;
        follow_authentication(&mut network, &mut cursor)?;
        network
    } else {
        parse_ipv6(frame, &link, &mut cursor)?
    };
    network.header_length = cursor.forget(network.header_length);
    let transport = parse_transport(&network, &mut cursor)?;
    progress.offset = link.length + network.header_length + transport.header_length;
    progress.port = transport.destination;
    progress.protocol = network.protocol;
    progress.fragment |= u16::from(network.later_fragment);
    assemble(frame, &link, &network, &transport)
}
