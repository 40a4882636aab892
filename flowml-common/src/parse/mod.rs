//! The parser: it makes a [`Packet`] of a frame, for the flow table, or returns the reason why the frame is [`Skipped`].

mod encapsulation;
mod ip;
mod level;
mod link;
mod transport;

use crate::cursor::Cursor;
use crate::flow::{Endpoint, FlowKey};
use crate::headers::{Ethernet, ethertype};
use crate::packet::{Frame, Packet, Segments, Skipped};
use crate::time::Stamp;

pub use self::ip::MAX_EXTENSIONS;
pub use self::level::{FARTHEST, Levels, Progress, parse_inside, parse_levels, parse_outermost, parse_tunnel};
pub use self::link::LinkHeader;

use self::ip::{Network, parse_ipv4, parse_ipv6};
use self::link::{Link, parse_tags};
use self::transport::{Transport, parse_transport};

/// Parses a frame that starts with an Ethernet header.
///
/// # Errors
/// The reason why the frame belongs to no flow.
#[inline(always)]
pub fn parse<C: Cursor>(frame: &Frame, mut cursor: C) -> Result<Packet, Skipped> {
    let ethernet: Ethernet = cursor.take().ok_or(Skipped::Truncated)?;
    let header = LinkHeader {
        macs: [ethernet.source, ethernet.destination],
        ethertype: ethernet.ethertype.get(),
        length: size_of::<Ethernet>() as u32,
    };
    parse_behind(frame, &header, cursor)
}

/// Parses the part of a frame after its link-layer header: VLAN tags, IP, transport.
///
/// # Errors
/// The reason why the frame belongs to no flow.
#[inline(always)]
pub fn parse_behind<C: Cursor>(frame: &Frame, header: &LinkHeader, mut cursor: C) -> Result<Packet, Skipped> {
    let link = parse_tags(frame, header, &mut cursor)?;
    let mut network = match link.ethertype {
        ethertype::IPV4 => parse_ipv4(frame, &link, &mut cursor)?,
        ethertype::IPV6 => parse_ipv6(frame, &link, &mut cursor)?,
        _ => return Err(Skipped::NotIp),
    };
    network.header_length = cursor.forget(network.header_length);
    let transport = parse_transport(&network, &mut cursor)?;
    assemble(frame, &link, &network, &transport)
}

#[inline(always)]
fn assemble(frame: &Frame, link: &Link, network: &Network, transport: &Transport) -> Result<Packet, Skipped> {
    let source = Endpoint { address: network.source, port: transport.source };
    let destination = Endpoint { address: network.destination, port: transport.destination };
    let (key, sender) = FlowKey::between(
        [source, destination],
        network.protocol,
        network.later_fragment,
        [link.vlan, link.inner_vlan],
        frame.interface,
    );
    let headers = network.header_length + transport.header_length;
    let payload = network.ip_length - headers;
    let stripped = frame.stripped_length();
    let (count, size) = segment(frame, payload);
    let further = count - 1;
    Ok(Packet {
        key,
        sender,
        hook: frame.hook,
        time: Stamp::of_ns(frame.time_ns),
        count,
        frame_bytes: frame.length + stripped + further * (link.length + stripped + headers),
        ip_bytes: network.ip_length + further * headers,
        payload_bytes: payload,
        ip_length: headers + size,
        last_ip_length: headers + (payload - further * size),
        payload_offset: link.length + headers,
        first_payload_bytes: size,
        tcp_flags: transport.tcp_flags,
        window: transport.window,
        sequence: transport.sequence,
        ttl: network.ttl,
        dscp: network.dscp,
        macs: link.macs,
    })
}

/// The number of packets of a buffer on the wire, and the payload of each except the last, in bytes.
#[inline(always)]
fn segment(frame: &Frame, payload: u32) -> (u32, u32) {
    let Some(Segments { count, size }) = frame.segments else { return (1, payload) };
    let count = if count == 0 { payload.div_ceil(size.max(1)) } else { count };
    // A buffer of 64 KiB (512 KiB with BIG TCP) is never divided into more than `GSO_MAX_SEGS` segments, and all except
    // the last are full.
    let is_cut = count > 1 && count <= GSO_MAX_SEGS && u64::from(count - 1) * u64::from(size) <= u64::from(payload);
    if is_cut { (count, size) } else { (1, payload) }
}

/// The kernel's limit of segments for one buffer (`include/linux/netdevice.h`).
const GSO_MAX_SEGS: u32 = 65_535;
