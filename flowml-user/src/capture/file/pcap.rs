//! pcap (draft-ietf-opsawg-pcap) and its variants: one link type, times in µs or ns, the byte order of the writing host.

use super::captured::{Captured, LATEST_NS, LONGEST, wire_length};
use super::link::{LinkType, Number};
use super::problem::{Fault, Problem, whole};
use super::window::Window;

/// Length of the header that all variants have, in bytes: magic number, versions, time zone, accuracy, snap length,
/// link type.
const HEADER: usize = 24;

/// Offsets of the fields that all packet headers have, in bytes: seconds, fraction, captured length, original length.
const FIELDS: [usize; 4] = [0, 4, 8, 12];

/// Bits of the link type field: whether the length of the FCS is given, and that length in units of 16 bits.
const FCS_GIVEN: u32 = 1 << 26;
const FCS_UNITS: u32 = 28;

/// The properties of a file that follow from its magic number, in either byte order.
struct Variant {
    magic: u32,
    /// Unit of the fraction of a second, in ns.
    unit: u64,
    /// Length of the file header, in bytes.
    header: usize,
    /// Length of a packet header, in bytes.
    record: usize,
}

const MICROSECOND: u64 = 1000;

/// The supported variants, with the values of Wireshark's `wiretap/libpcap.h`.
const VARIANTS: [Variant; 5] = [
    Variant { magic: 0xa1b2_c3d4, unit: MICROSECOND, header: HEADER, record: 16 },
    Variant { magic: 0xa1b2_3c4d, unit: 1, header: HEADER, record: 16 },
    // Kuznetsov's modified pcap: interface, protocol and packet type follow the four fields.
    Variant { magic: 0xa1b2_cd34, unit: MICROSECOND, header: HEADER, record: 24 },
    // Ixia's lcap, captured in hardware and in software: the total length of the packets follows the header.
    Variant { magic: 0x1c00_01ac, unit: MICROSECOND, header: HEADER + 4, record: 16 },
    Variant { magic: 0x1c00_01ab, unit: MICROSECOND, header: HEADER + 4, record: 16 },
];

/// Variants that libpcap names and flowml does not read: their packet headers have other layouts.
const UNREADABLE: [(u32, &str); 3] =
    [(0xa1b2_34cd, "Mesquita's"), (0xa12b_3c4d, "Navtel's"), (0xa1b2_c3cb, "a filter program's")];

/// The order of the two lengths of a packet. Before version 2.3 the original length came first (libpcap, `sf-pcap.c`).
#[derive(Clone, Copy)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    /// Version 2.3: both orders exist.
    LesserIsCaptured,
}

impl Lengths {
    const fn of(version: (u16, u16)) -> Self {
        match version {
            // DG/UX wrote version 543.
            (2, 0..=2) | (543, _) => Self::OriginalFirst,
            (2, 3) => Self::LesserIsCaptured,
            _ => Self::CapturedFirst,
        }
    }

    /// Returns the captured and the original length.
    fn order(self, first: u32, second: u32) -> (u32, u32) {
        match self {
            Self::OriginalFirst => (second, first),
            Self::LesserIsCaptured if first > second => (second, first),
            Self::CapturedFirst | Self::LesserIsCaptured => (first, second),
        }
    }
}

/// The properties of a file that its header states.
pub(super) struct Pcap {
    order: ByteOrder,
    record: usize,
    unit: u64,
    lengths: Lengths,
    link: LinkType,
    /// Length of the frame check sequence at the end of each frame, in bytes.
    fcs: u32,
}

#[derive(Clone, Copy)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let field = bytes[at..].first_chunk().copied().unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(field),
            Self::Big => u32::from_be_bytes(field),
        }
    }

    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let field = bytes[at..].first_chunk().copied().unwrap_or_default();
        match self {
            Self::Little => u16::from_le_bytes(field),
            Self::Big => u16::from_be_bytes(field),
        }
    }
}

/// The byte order in which the first bytes are the magic number of an entry of `known`, and that entry.
fn magic<T>(bytes: &[u8], known: &'static [T], number: impl Fn(&T) -> u32) -> Option<(ByteOrder, &'static T)> {
    let magic = *bytes.first_chunk()?;
    let orders = [(ByteOrder::Little, u32::from_le_bytes(magic)), (ByteOrder::Big, u32::from_be_bytes(magic))];
    orders.into_iter().find_map(|(order, read)| Some((order, known.iter().find(|known| number(known) == read)?)))
}

impl Pcap {
    pub(super) fn begin(window: &mut Window) -> Result<Self, Fault> {
        let offset = window.offset();
        let start = window.peek(HEADER).map_err(|error| Fault::Read { offset, error })?;
        let Some((order, variant)) = magic(start, &VARIANTS, |variant| variant.magic) else {
            let unreadable = magic(start, &UNREADABLE, |(magic, _)| *magic);
            let problem = unreadable.map(|(_, (_, whose))| Problem::Variant { whose });
            return Err(Fault::Other(problem.unwrap_or(Problem::NotACapture)));
        };
        let header = whole(window, variant.header, "its header")?;
        let version = (order.u16(header, 4), order.u16(header, 6));
        let network = order.u32(header, 20);
        window.take(variant.header);
        let (link, unit) = match of_aix(variant, version, network) {
            Some(link) => (link, 1),
            None => (Number(network as u16), variant.unit),
        };
        Ok(Self {
            order,
            record: variant.record,
            unit,
            lengths: Lengths::of(version),
            link: LinkType::of(link).ok_or(Fault::Other(Problem::LinkType { link, packets: None }))?,
            fcs: if network & FCS_GIVEN == 0 { 0 } else { 2 * (network >> FCS_UNITS) },
        })
    }

    pub(super) fn next<'a>(&self, window: &'a mut Window) -> Result<Option<Captured<'a>>, Fault> {
        let offset = window.offset();
        if window.peek(1).map_err(|error| Fault::Read { offset, error })?.is_empty() {
            return Ok(None);
        }
        let header = whole(window, self.record, "the packet")?;
        let [seconds, fraction, first, second] = FIELDS.map(|at| self.order.u32(header, at));
        let (captured, original) = self.lengths.order(first, second);
        if captured > LONGEST {
            let what = format!("a packet of {captured} bytes; expected at most {LONGEST}");
            return Err(Fault::Corrupt { what, offset });
        }
        let length = self.record + captured as usize;
        whole(window, length, "the packet")?;
        // The product fits: neither factor has more than 32 bits.
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit;
        Ok(Some(Captured {
            time_ns: time_ns.min(LATEST_NS),
            length: wire_length(original, captured, self.fcs),
            interface: 1,
            link: self.link,
            bytes: &window.take(length)[self.record..],
        }))
    }
}

/// The link type of a file that AIX wrote. Such a file has version 2.2, an interface type (RFC 1573) as its link type,
/// and times in ns.
fn of_aix(variant: &Variant, version: (u16, u16), network: u32) -> Option<Number> {
    let is_standard = variant.magic == VARIANTS[0].magic && version == (2, 2);
    let number = match network {
        6 => 1,
        9 => 6,
        15 => 10,
        24 => 0,
        _ => return None,
    };
    is_standard.then_some(Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one packet of 14 bytes on the wire, of which 10 were captured. Its time is 1 s and 5 units.
    fn file(magic: u32, version: [u16; 2], network: u32, big: bool) -> Vec<u8> {
        let variant = VARIANTS.iter().find(|variant| variant.magic == magic).expect("a variant");
        let u16 = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let u32 = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut bytes =
            [&u32(magic)[..], &u16(version[0]), &u16(version[1]), &[0; 8], &u32(65535), &u32(network)].concat();
        bytes.resize(variant.header, 0xee);
        let lengths = if version < [2, 3] { [14, 10] } else { [10, 14] };
        let begin = bytes.len();
        bytes.extend([1, 5, lengths[0], lengths[1]].map(u32).concat());
        bytes.resize(begin + variant.record, 0xee);
        bytes.extend(0..10);
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Option<(u64, u32, Vec<u8>)>, Fault> {
        let mut window = Window::new(Box::new(std::io::Cursor::new(bytes)));
        let pcap = Pcap::begin(&mut window)?;
        let packet = pcap.next(&mut window)?.map(|packet| (packet.time_ns, packet.length, packet.bytes.to_vec()));
        assert!(matches!(pcap.next(&mut window), Ok(None)), "one packet");
        Ok(packet)
    }

    #[test]
    fn every_variant_is_read_in_both_byte_orders() {
        for variant in &VARIANTS {
            for big in [false, true] {
                let packet = read(file(variant.magic, [2, 4], 1, big)).ok().flatten();
                let expected = (1_000_000_000 + 5 * variant.unit, 14, (0..10).collect());
                assert_eq!(packet, Some(expected), "{:#x}, big-endian: {big}", variant.magic);
            }
        }
    }

    #[test]
    fn old_versions_have_the_original_length_first() {
        for version in [[2, 0], [2, 2], [2, 3], [2, 4]] {
            let packet = read(file(0xa1b2_c3d4, version, 1, true)).ok().flatten();
            assert_eq!(packet.map(|(_, length, bytes)| (length, bytes.len())), Some((14, 10)), "{version:?}");
        }
        assert_eq!(Lengths::of((543, 0)).order(14, 10), (10, 14));
        assert_eq!(Lengths::of((2, 3)).order(14, 10), (10, 14));
        assert_eq!(Lengths::of((2, 4)).order(14, 10), (14, 10), "in version 2.4 the captured length comes first");
    }

    #[test]
    fn aix_files_have_other_link_types_and_units() {
        let time =
            |version, network| read(file(0xa1b2_c3d4, version, network, true)).ok().flatten().map(|packet| packet.0);
        assert_eq!(time([2, 2], 6), Some(1_000_000_005), "Ethernet");
        assert_eq!(time([2, 2], 24), Some(1_000_000_005), "loopback");
        assert_eq!(time([2, 2], 1), Some(1_000_005_000), "not AIX");
        assert_eq!(time([2, 4], 6), None, "token ring");
    }

    #[test]
    fn unsupported_variants_are_refused_by_name() {
        for (magic, whose) in UNREADABLE {
            for bytes in [magic.to_le_bytes(), magic.to_be_bytes()] {
                let refused = read([&bytes[..], &[0; 60]].concat());
                assert!(matches!(refused, Err(Fault::Other(Problem::Variant { whose: named })) if named == whose));
            }
        }
        let refused = read(vec![0xa1, 0xb2, 0xc3, 0xd5, 0, 0, 0, 0]);
        assert!(matches!(refused, Err(Fault::Other(Problem::NotACapture))));
        let refused = read(file(0x1c00_01ac, [2, 4], 1, false)[..26].to_vec());
        assert!(matches!(refused, Err(Fault::CutOff { what: "its header", offset: 0 })));
    }
}
