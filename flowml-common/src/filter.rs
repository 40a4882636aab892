//! Filters: which packets are counted in flows. A filter is a list of tests with jumps, and the same code evaluates it in
//! the kernel and in userspace.
//!
//! The agent compiles an expression to such a list. A test compares a field of the parsed packet, not bytes of the frame,
//! so a list is short and its jumps only go forward.

use core::hint::black_box;

use bytemuck::{Pod, Zeroable, must_cast_slice};

use crate::flow::{Endpoint, IpVersion};
use crate::headers::{Ethernet, Mac, Vlan};
use crate::packet::{Frame, Packet};

/// A field of a packet that a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// Source address: its upper and its lower half. IPv4 addresses are mapped to IPv6 addresses.
    Source = 0,
    /// Destination address.
    Destination = 1,
    /// Source port; meaningful only with [`Kind::PORTS`].
    SourcePort = 2,
    /// Destination port.
    DestinationPort = 3,
    /// Length of the frame on the wire without FCS, in bytes.
    Length = 4,
    /// The bits of [`Kind`] in the lower half, the number of the tunnel in the upper half.
    Kind = 5,
    /// Source MAC address, as a number.
    SourceMac = 6,
    /// Destination MAC address.
    DestinationMac = 7,
}

/// Number of fields of a packet.
const FIELDS: usize = 8;

/// The bits of [`Field::Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind;

impl Kind {
    /// IP protocol.
    pub const PROTOCOL: u64 = 0xff;
    /// Set for IPv6.
    pub const IPV6: u64 = 1 << 8;
    /// Set if the packet has ports: TCP, UDP or SCTP, and not a later fragment.
    pub const PORTS: u64 = 1 << 9;
    /// Number of VLAN tags.
    pub const TAGS: u64 = 0xf << Self::TAGS_AT;
    /// Position of the number of tags.
    pub const TAGS_AT: u32 = 12;
    /// Positions of the VLAN ids, 12 bits each.
    pub const VLANS_AT: [u32; 2] = [16, 32];
    /// Kind of the tunnel, 0 outside of tunnels.
    pub const TUNNEL: u64 = 0xf << Self::TUNNEL_AT;
    /// Position of the kind of the tunnel.
    pub const TUNNEL_AT: u32 = 48;
}

/// A test of a field: the masked upper half is equal to a value, and the masked lower half is in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Test {
    /// The bits of the upper half that are compared.
    pub high_mask: u64,
    /// Their value.
    pub high: u64,
    /// The bits of the lower half that are compared.
    pub low_mask: u64,
    /// The smallest value of these.
    pub low: u64,
    /// The largest value minus the smallest.
    pub span: u64,
    /// The [`Field`].
    pub field: u8,
    /// The test that follows if this one succeeds, or a result.
    pub yes: u8,
    /// The test that follows if it fails, or a result.
    pub no: u8,
    /// Zeroes.
    pub reserved: [u8; 5],
}

/// A compiled filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Filter([Test; TESTS]);

/// See [`Filter::LENGTH`].
const TESTS: usize = 128;

impl Filter {
    /// The largest number of tests.
    pub const LENGTH: usize = TESTS;

    /// The jump that selects the packet.
    pub const SELECT: u8 = 0xff;

    /// The jump that does not select the packet.
    pub const REJECT: u8 = 0xfe;

    /// A filter of these tests, of which the first is evaluated first. `None` if there are none or too many, or if a jump
    /// goes backward or beyond the last test.
    #[must_use]
    pub fn new(tests: &[Test]) -> Option<Self> {
        let is_valid = |n: usize, jump: u8| {
            jump == Self::SELECT || jump == Self::REJECT || (usize::from(jump) > n && usize::from(jump) < tests.len())
        };
        let valid = |(n, test): (usize, &Test)| {
            is_valid(n, test.yes) && is_valid(n, test.no) && usize::from(test.field) < FIELDS
        };
        let mut filter = Self::zeroed();
        filter.0.get_mut(..tests.len())?.copy_from_slice(tests);
        (!tests.is_empty() && tests.iter().enumerate().all(valid)).then_some(filter)
    }

    /// A list that is replaced before it is used, with a word that occurs nowhere else.
    #[must_use]
    pub const fn unset(word: u64) -> Self {
        let test =
            Test { high_mask: word, high: 0, low_mask: 0, low: 0, span: 0, field: 0, yes: 0, no: 0, reserved: [0; 5] };
        Self([test; TESTS])
    }

    /// The words of the list.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        must_cast_slice(&self.0)
    }

    /// Whether the packet of these values is selected.
    #[inline(always)]
    #[must_use]
    pub fn selects(&self, subject: &Subject) -> bool {
        let mut at = 0;
        for _ in 0..Self::LENGTH {
            // The verifier needs the bound, which the compiler can prove and would remove.
            let test = &self.0[usize::from(black_box(at)) & (TESTS - 1)];
            let [high, low] = subject.0[usize::from(test.field) & (FIELDS - 1)];
            let is_beyond = (low & test.low_mask).wrapping_sub(test.low) > test.span;
            let differs = ((high & test.high_mask) ^ test.high) | u64::from(is_beyond);
            at = if differs == 0 { test.yes } else { test.no };
            if usize::from(at) >= TESTS {
                break;
            }
        }
        at == Self::SELECT
    }
}

/// The values of the fields of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Subject([[u64; 2]; FIELDS]);

impl Subject {
    /// The values of a packet. `untagged` is that of its frame ([`untagged_length`]).
    #[must_use]
    pub fn of(packet: &Packet, untagged: u32) -> Self {
        let mut subject = Self::zeroed();
        subject.set(packet, untagged);
        subject
    }

    /// Sets all values to those of a packet. `untagged` is that of its frame ([`untagged_length`]).
    #[inline(always)]
    pub fn set(&mut self, packet: &Packet, untagged: u32) {
        let key = &packet.key;
        let [source, destination] = [key.endpoint(packet.sender), key.endpoint(packet.sender.opposite())];
        self.set_end(source, Field::Source, Field::SourcePort);
        self.set_end(destination, Field::Destination, Field::DestinationPort);
        self.put(Field::Length, [0, u64::from(length(packet))]);
        let tunnel = key.tunnel().map_or(0, |kind| kind as u64);
        let vlans = key.vlans();
        let tags = if tunnel == 0 { tags(packet, untagged) } else { u64::from(vlans[0] != 0) };
        let kind = u64::from(key.protocol())
            | if matches!(key.ip_version(), IpVersion::V6) { Kind::IPV6 } else { 0 }
            | if key.has_ports() { Kind::PORTS } else { 0 }
            | tags << Kind::TAGS_AT
            | u64::from(vlans[0]) << Kind::VLANS_AT[0]
            | u64::from(vlans[1]) << Kind::VLANS_AT[1]
            | tunnel << Kind::TUNNEL_AT;
        self.put(Field::Kind, [u64::from(key.tunnel_id().unwrap_or(0)), kind]);
        self.put(Field::SourceMac, [0, number(packet.macs[0])]);
        self.put(Field::DestinationMac, [0, number(packet.macs[1])]);
    }

    #[inline(always)]
    fn set_end(&mut self, end: Endpoint, address: Field, port: Field) {
        self.put(address, end.address.halves());
        self.put(port, [0, u64::from(end.port)]);
    }

    #[inline(always)]
    const fn put(&mut self, field: Field, value: [u64; 2]) {
        self.0[field as usize] = value;
    }
}

/// The length of the link-layer header of a frame without VLAN tags, minus that of the tag that the kernel or the NIC has
/// removed. `header` is the length of the header without tags, in bytes. It wraps for headers that are shorter than a tag, and
/// [`Subject::set`] subtracts it again.
#[inline(always)]
#[must_use]
pub const fn untagged_length(frame: &Frame, header: u32) -> u32 {
    header.wrapping_sub(frame.stripped_length())
}

/// The length of an Ethernet header without tags, in bytes.
pub const ETHERNET: u32 = size_of::<Ethernet>() as u32;

/// The number of tags, from the length of the link layer: a removed tag makes `untagged` shorter.
#[inline(always)]
const fn tags(packet: &Packet, untagged: u32) -> u64 {
    let link = packet.payload_offset.wrapping_add(packet.first_payload_bytes).wrapping_sub(packet.ip_length);
    let tags = link.wrapping_sub(untagged) / size_of::<Vlan>() as u32;
    (tags & 0xf) as u64
}

/// The length of the frame, or of the first packet of a buffer with several.
#[inline(always)]
const fn length(packet: &Packet) -> u32 {
    if packet.count == 1 { packet.frame_bytes } else { packet.payload_offset + packet.first_payload_bytes }
}

#[inline(always)]
const fn number(mac: Mac) -> u64 {
    u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])
}

// A word of the list is written at once, and the kernel finds a field with a shift.
const _: () = assert!(size_of::<Test>() == 48 && size_of::<Subject>() == 128 && TESTS.is_power_of_two());
