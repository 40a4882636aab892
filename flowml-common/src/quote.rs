//! The packet that an ICMP error quotes: parsing it, and the fields that are kept.
//!
//! An ICMP error quotes the packet that caused it: its IP header and at least 8 bytes more (RFC 792, RFC 1812
//! §4.3.2.3), or as much as there is room for (RFC 4443 §2.4). The receiver of the error (the informed host) sent that
//! packet.

use bytemuck::{Pod, Zeroable, must_cast_ref};

use crate::content::{FrameBytes, PayloadChunk};
use crate::cursor::Cursor;
use crate::flow::{Address, Endpoint, FlowKey, IpVersion, Sender};
use crate::headers::{Be16, Icmp, Ipv4, Ipv6, Tcp, protocol};
use crate::icmp::icmp_answer;
use crate::packet::Packet;

/// The kept fields of the packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the informed host. For ICMP it is the message type, as in a flow key.
    pub source: u16,
    /// The destination of the quoted packet: the sender of the error, or a host behind it. For ICMP the port is the
    /// type of the reply, or the code, as in a flow key.
    pub destination: Endpoint,
    /// The TCP flags, if the quote is long enough to contain them.
    pub tcp_flags: Option<u8>,
}

impl Quote {
    /// The key of the quoted flow, and the endpoint that is the informed host.
    #[must_use]
    pub const fn flow(&self, error: &FlowKey, informed: Sender) -> (FlowKey, Sender) {
        let source = Endpoint { port: self.source, ..error.endpoint(informed) };
        let (key, informed) =
            FlowKey::between([source, self.destination], self.protocol, false, error.vlans(), error.interface());
        (key.beside(error), informed)
    }

    /// Whether the quoted packet was sent to the host at this end of the flow of errors.
    #[must_use]
    pub fn is_to(&self, error: &FlowKey, end: Sender) -> bool {
        self.destination.address == error.endpoint(end).address
    }
}

/// A quote as an entry stores it. All fields are zero if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct KeptQuote {
    /// Destination address of the quoted packet: the upper and the lower half.
    address: [u64; 2],
    source: u16,
    destination: u16,
    protocol: u8,
    tcp_flags: u8,
    known: u8,
    reserved: u8,
}

/// Bits that state which fields of a quote are valid.
const THERE: u8 = 1;
const V6: u8 = 2;
const TCP_FLAGS: u8 = 4;

impl KeptQuote {
    /// Whether there is a quote.
    #[inline(always)]
    pub(crate) const fn is_there(&self) -> bool {
        self.known != 0
    }

    /// The quote, if there is one.
    pub(crate) fn get(&self) -> Option<Quote> {
        let [high, low] = self.address;
        let address = if self.known & V6 != 0 { Address::from_v6(high, low) } else { Address::from_v4(low as u32) };
        self.is_there().then_some(Quote {
            protocol: self.protocol,
            source: self.source,
            destination: Endpoint { address, port: self.destination },
            tcp_flags: (self.known & TCP_FLAGS != 0).then_some(self.tcp_flags),
        })
    }

    /// Parses the quote of an ICMP error. It does not follow IPv6 extension headers. Returns `None` for a later
    /// fragment of IPv4, and if the quote ends before the ports of its protocol. The headers are copied to `chunk` one
    /// after the other.
    #[inline(always)]
    pub(crate) fn read<B: FrameBytes>(packet: &Packet, bytes: &B, chunk: &mut PayloadChunk) -> Option<Self> {
        // The header of an ICMP error is four bytes longer than `Icmp`: unused, a pointer or an MTU.
        let start = packet.payload_offset + u32::from(ERROR_HEADER - Icmp::LENGTH);
        let (protocol, length, destination, known) = match packet.key.ip_version() {
            IpVersion::V4 => {
                let ip: Ipv4 = read(bytes, start, chunk)?;
                if ip.version() != 4 || ip.header_length() < Ipv4::LENGTH || ip.fragment_offset() != 0 {
                    return None;
                }
                (ip.protocol, ip.header_length(), Address::from_v4(ip.destination.get()), THERE)
            }
            IpVersion::V6 => {
                let ip: Ipv6 = read(bytes, start, chunk)?;
                if ip.version() != 6 {
                    return None;
                }
                let [high, low] = ip.destination;
                (ip.next_header, Ipv6::LENGTH, Address::from_v6(high.get(), low.get()), THERE | V6)
            }
        };
        let mut quote = Self { address: destination.halves(), protocol, known, ..Self::zeroed() };
        quote.read_transport(bytes, start + u32::from(length), chunk)?;
        Some(quote)
    }

    #[inline(always)]
    fn read_transport<B: FrameBytes>(&mut self, bytes: &B, at: u32, chunk: &mut PayloadChunk) -> Option<()> {
        match self.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                let ports: [Be16; 2] = read(bytes, at, chunk)?;
                [self.source, self.destination] = [ports[0].get(), ports[1].get()];
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let icmp: Icmp = read(bytes, at, chunk)?;
                self.source = u16::from(icmp.kind);
                self.destination = u16::from(icmp_answer(self.protocol, icmp.kind).unwrap_or(icmp.code));
            }
            _ => {}
        }
        if self.protocol == protocol::TCP
            && let Some(flags) = read::<[u8; 1], _>(bytes, at + Tcp::FLAGS_OFFSET, chunk)
        {
            self.tcp_flags = flags[0];
            self.known |= TCP_FLAGS;
        }
        Some(())
    }
}

/// Number of bytes before the quote in an ICMP error.
const ERROR_HEADER: u16 = 8;

/// Reads a `T` from the bytes of a frame.
#[inline(always)]
fn read<T: Pod, B: FrameBytes>(bytes: &B, at: u32, chunk: &mut PayloadChunk) -> Option<T> {
    let length = size_of::<T>() as u32;
    if at + length > bytes.there() || !bytes.copy(at, length, chunk) {
        return None;
    }
    let copied: &[u8; PayloadChunk::BYTES as usize] = must_cast_ref(chunk);
    copied.as_slice().take()
}
