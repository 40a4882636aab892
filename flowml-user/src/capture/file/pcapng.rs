//! pcapng (draft-ietf-opsawg-pcapng): sections of blocks, several interfaces, each with a link type and a unit of time.

use std::collections::BTreeMap;

use pcap_parser::{Block, InterfaceDescriptionBlock, OptionCode, PcapNGOption, pcapng};

use super::captured::{Captured, LATEST_NS, LONGEST, wire_length};
use super::link::{LinkType, Number};
use super::problem::{Fault, Problem, whole};
use super::window::Window;

/// The first bytes of a section, equal in both byte orders: the type of its header block, 0x0a0d0d0a.
pub(super) const MARK: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Length of the fields that start each block, in bytes: type and length. In a section header the byte-order magic
/// follows.
const BLOCK_HEADER: usize = 8;
const SECTION_START: usize = 12;

/// The byte-order magic 0x1a2b3c4d as a big-endian host writes it.
const BIG_ENDIAN: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const LITTLE_ENDIAN: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];

/// Length of a block without a body, in bytes: its type and twice its length.
const SHORTEST_BLOCK: u32 = 12;

/// The block types that flowml reads.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The largest number of interfaces in a section, which bounds the memory. Obsolete packet blocks have 16-bit interface
/// numbers, and dumpcap writes as many interfaces as the host has.
const MOST_INTERFACES: usize = 1 << 16;

/// Number of bytes before the packet in the body of an obsolete packet block.
const OBSOLETE_FIELDS: usize = 20;

/// The properties of an interface from its description block.
struct Interface {
    link: Result<LinkType, Number>,
    /// In bytes; 0 means no limit.
    snap_length: u32,
    clock: Clock,
}

/// The unit of an interface's times, and their offset.
#[derive(Clone, Copy)]
struct Clock {
    resolution: u8,
    /// Number of seconds to add.
    offset_s: i64,
}

impl Clock {
    const DEFAULT: Self = Self { resolution: 6, offset_s: 0 };

    /// Unix time in ns, clamped to the range from 0 (1970) to [`LATEST_NS`].
    fn unix_ns(self, units: u64) -> u64 {
        const SECOND_NS: u128 = 1_000_000_000;
        let exponent = u32::from(self.resolution & 0x7f);
        // `None` if the units are so small that 2⁶⁴ of them are less than 1 ns.
        let per_second = match self.resolution & 0x80 {
            0 => 10u128.checked_pow(exponent),
            _ => 1u128.checked_shl(exponent),
        };
        let ns = per_second.map_or(0, |per_second| {
            let (seconds, rest) = (u128::from(units) / per_second, u128::from(units) % per_second);
            // No overflow: `rest` has at most 64 bits.
            seconds * SECOND_NS + rest * SECOND_NS / per_second
        });
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let shifted = ns.saturating_add(i128::from(self.offset_s) * SECOND_NS as i128);
        shifted.clamp(0, i128::from(LATEST_NS)) as u64
    }
}

/// The fields of a packet block, whatever its type is.
struct Packet<'a> {
    interface: u32,
    /// Time in units of the interface. Simple packet blocks have none.
    units: Option<u64>,
    length: u32,
    bytes: &'a [u8],
}

/// The state of reading a pcapng file.
pub(super) struct Pcapng {
    big_endian: bool,
    /// The interfaces of the current section.
    interfaces: Vec<Interface>,
    /// Time of the last packet, in ns. A packet without a time gets it.
    time_ns: u64,
    /// Number of packets with an unsupported link type.
    left_out: BTreeMap<Number, u64>,
}

impl Pcapng {
    pub(super) fn begin(window: &mut Window) -> Result<Self, Fault> {
        let start = whole(window, SECTION_START, "the section")?;
        let big_endian = byte_order(start).ok_or(Fault::Other(Problem::NotACapture))?;
        Ok(Self { big_endian, interfaces: Vec::new(), time_ns: 0, left_out: BTreeMap::new() })
    }

    /// The unsupported link types, with their numbers of packets.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (Number, u64)> + '_ {
        self.left_out.iter().map(|(link, packets)| (*link, *packets))
    }

    /// Number of interfaces in the current section so far.
    pub(super) const fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    pub(super) fn next<'a>(&mut self, window: &'a mut Window) -> Result<Option<Captured<'a>>, Fault> {
        loop {
            let offset = window.offset();
            let corrupt = |what: String| Fault::Corrupt { what, offset };
            let Some(length) = self.block_length(window)? else { return Ok(None) };
            let block = whole(window, length, "the block")?;
            match self.interface_of(block).map_err(corrupt)? {
                None => self.learn(block).map_err(corrupt)?,
                Some(Interface { link: Err(number), .. }) => {
                    let number = *number;
                    *self.left_out.entry(number).or_default() += 1;
                }
                Some(Interface { link: Ok(link), .. }) => {
                    let link = *link;
                    return self.captured(window.take(length), link).map(Some).map_err(corrupt);
                }
            }
            window.take(length);
        }
    }

    /// Length of the next block, which is then complete in the window, in bytes. `None` at the end of the file.
    fn block_length(&mut self, window: &mut Window) -> Result<Option<usize>, Fault> {
        let offset = window.offset();
        if window.peek(1).map_err(|error| Fault::Read { offset, error })?.is_empty() {
            return Ok(None);
        }
        if whole(window, BLOCK_HEADER, "the block")?.starts_with(&MARK) {
            let order = byte_order(whole(window, SECTION_START, "the section")?);
            let what = "a section without byte order; expected 0x1a2b3c4d".to_owned();
            self.big_endian = order.ok_or(Fault::Corrupt { what, offset })?;
        }
        let length = self.number(whole(window, BLOCK_HEADER, "the block")?, 4);
        if !(SHORTEST_BLOCK..=LONGEST).contains(&length) {
            let what = format!("a block of {length} bytes; expected {SHORTEST_BLOCK} to {LONGEST}");
            return Err(Fault::Corrupt { what, offset });
        }
        let length = length as usize;
        let behind = self.number(whole(window, length, "the block")?, length - 4);
        if behind as usize != length {
            let what =
                format!("a block of {length} bytes whose second length is {behind}; expected the same length twice");
            return Err(Fault::Corrupt { what, offset });
        }
        Ok(Some(length))
    }

    /// The interface of a packet block. `None` for all other blocks.
    fn interface_of(&self, block: &[u8]) -> Result<Option<&Interface>, String> {
        let number = match self.number(block, 0) {
            SIMPLE_PACKET => 0,
            ENHANCED_PACKET if block.len() >= BLOCK_HEADER + 4 => self.number(block, BLOCK_HEADER),
            OBSOLETE_PACKET if block.len() >= BLOCK_HEADER + 4 => self.half_number(block, BLOCK_HEADER).into(),
            _ => return Ok(None),
        };
        let known = self.interfaces.len();
        let interface = self.interfaces.get(number as usize);
        interface.map(Some).ok_or_else(|| format!("a packet of interface {number}; expected one of {known}"))
    }

    /// Updates the state from a block that is not a packet, if the block is relevant.
    fn learn(&mut self, block: &[u8]) -> Result<(), String> {
        match self.number(block, 0) {
            SECTION => self.interfaces.clear(),
            INTERFACE if self.interfaces.len() == MOST_INTERFACES => {
                return Err(format!("more than {MOST_INTERFACES} interfaces in a section"));
            }
            INTERFACE => match self.parse(block) {
                Some(Block::InterfaceDescription(description)) => {
                    self.interfaces.push(Interface::of(&description, self.big_endian));
                }
                _ => return Err("an interface that contradicts itself".to_owned()),
            },
            _ => {}
        }
        Ok(())
    }

    fn captured<'a>(&mut self, block: &'a [u8], link: LinkType) -> Result<Captured<'a>, String> {
        let contradiction = || "a packet that contradicts itself".to_owned();
        let packet = self.packet(block).ok_or_else(contradiction)?;
        let interface = self.interfaces.get(packet.interface as usize).ok_or_else(contradiction)?;
        if let Some(units) = packet.units {
            self.time_ns = interface.clock.unix_ns(units);
        }
        Ok(Captured {
            time_ns: self.time_ns,
            length: wire_length(packet.length, packet.bytes.len() as u32, 0),
            interface: packet.interface + 1,
            link,
            bytes: packet.bytes,
        })
    }

    fn packet<'a>(&self, block: &'a [u8]) -> Option<Packet<'a>> {
        match self.parse(block)? {
            Block::EnhancedPacket(packet) => Some(Packet {
                interface: packet.if_id,
                units: Some(units(packet.ts_high, packet.ts_low)),
                length: packet.origlen,
                bytes: packet.data.get(..packet.caplen as usize)?,
            }),
            Block::SimplePacket(packet) => {
                let limit = match self.interfaces.first()?.snap_length {
                    0 => packet.origlen,
                    limit => limit.min(packet.origlen),
                };
                let captured = packet.data.len().min(limit as usize);
                Some(Packet { interface: 0, units: None, length: packet.origlen, bytes: &packet.data[..captured] })
            }
            Block::Unknown(block) if block.data.len() >= OBSOLETE_FIELDS => {
                let (fields, behind) = block.data.split_at(OBSOLETE_FIELDS);
                Some(Packet {
                    interface: self.half_number(fields, 0).into(),
                    units: Some(units(self.number(fields, 4), self.number(fields, 8))),
                    length: self.number(fields, 16),
                    bytes: behind.get(..self.number(fields, 12) as usize)?,
                })
            }
            _ => None,
        }
    }

    /// Parses a complete block with the library.
    fn parse<'a>(&self, block: &'a [u8]) -> Option<Block<'a>> {
        let parse = if self.big_endian { pcapng::parse_block_be } else { pcapng::parse_block_le };
        parse(block).ok().map(|(_, block)| block)
    }

    fn number(&self, bytes: &[u8], at: usize) -> u32 {
        let field = bytes[at..].first_chunk().copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }

    fn half_number(&self, bytes: &[u8], at: usize) -> u16 {
        let field = bytes[at..].first_chunk().copied().unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) }
    }
}

fn units(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Whether a section is big-endian. `None` if it has neither byte order.
fn byte_order(start: &[u8]) -> Option<bool> {
    match *start.get(BLOCK_HEADER..)?.first_chunk()? {
        BIG_ENDIAN => Some(true),
        LITTLE_ENDIAN => Some(false),
        _ => None,
    }
}

impl Interface {
    fn of(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let number = Number(description.linktype.0 as u16);
        let option = |code: OptionCode| description.options.iter().find(|option| option.code == code);
        let resolution = option(OptionCode::IfTsresol).and_then(|option| option.value.first().copied());
        let offset_s = option(OptionCode::IfTsoffset).and_then(|option| offset(option, big_endian));
        let clock = Clock {
            resolution: resolution.unwrap_or(Clock::DEFAULT.resolution),
            offset_s: offset_s.unwrap_or(Clock::DEFAULT.offset_s),
        };
        Self { link: LinkType::of(number).ok_or(number), snap_length: description.snaplen, clock }
    }
}

/// The offset option in the section's byte order. The library reads it as little-endian in every section.
fn offset(option: &PcapNGOption<'_>, big_endian: bool) -> Option<i64> {
    let field = option.value.first_chunk().copied()?;
    Some(if big_endian { i64::from_be_bytes(field) } else { i64::from_le_bytes(field) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + SHORTEST_BLOCK).to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    }

    #[test]
    fn the_number_of_interfaces_is_bounded_in_a_section_but_not_in_a_file() {
        let section = block(SECTION, &[&LITTLE_ENDIAN[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
        let interface = block(INTERFACE, &[1, 0, 0, 0, 0, 0, 0, 0]);
        let full = [section, interface.repeat(MOST_INTERFACES)].concat();
        let read = |bytes: Vec<u8>| {
            let mut window = Window::new(Box::new(std::io::Cursor::new(bytes)));
            Pcapng::begin(&mut window)?.next(&mut window).map(|frame| frame.is_some())
        };
        assert!(matches!(read(full.repeat(2)), Ok(false)), "two sections that are full");
        let Err(Fault::Corrupt { what, offset }) = read([full.clone(), interface].concat()) else {
            panic!("a section has one interface too many");
        };
        assert_eq!(offset, full.len() as u64);
        assert!(what.contains("more than 65536 interfaces"), "{what}");
    }

    #[test]
    fn times_use_the_unit_and_the_offset_of_their_interface() {
        let clock = |resolution, offset_s| Clock { resolution, offset_s };
        let cases = [
            (Clock::DEFAULT, 1_500_000_000_123_456, 1_500_000_000_123_456_000),
            (clock(9, 0), 1_500_000_000_123_456_789, 1_500_000_000_123_456_789),
            (clock(0, 0), 1_500_000_000, 1_500_000_000_000_000_000),
            (clock(3, -3600), 3_600_500, 500_000_000),
            (clock(3, -3601), 3_600_500, 0),
            (clock(6, i64::MAX), 0, LATEST_NS),
            (clock(0, 0), u64::MAX, LATEST_NS),
            // Units of 2⁻²⁰ s, and units far below 1 ns.
            (clock(0x80 | 20, 1), 3 << 19, 2_500_000_000),
            (clock(12, 0), 1_999, 1),
            (clock(19, 0), u64::MAX, 1_844_674_407),
            (clock(0x80 | 64, 0), u64::MAX, 999_999_999),
            (clock(0x7f, 0), u64::MAX, 0),
            (clock(0xff, 0), u64::MAX, 0),
        ];
        for (clock, units, ns) in cases {
            assert_eq!(clock.unix_ns(units), ns, "10^-n or 2^-n, n = {:#x}, {} s", clock.resolution, clock.offset_s);
        }
    }
}
