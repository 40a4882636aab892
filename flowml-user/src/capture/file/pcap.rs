//! pcap (draft-ietf-opsawg-pcap): one link type, times in µs or ns, the byte order of the machine that wrote it.

use pcap_parser::nom::IResult;
use pcap_parser::{LegacyPcapBlock, PcapError, PcapHeader, pcap};

use super::link::{LinkType, Number};
use super::window::Window;
use super::{Captured, Fault, LATEST_NS, LONGEST, Problem, whole, wire_length};

/// The header of the file, bytes.
const HEADER: usize = 24;

/// The header of a packet, bytes, and where in it the captured length stands.
const RECORD: usize = 16;
const CAPTURED_LENGTH: usize = 8;

/// Kuznetsov's modified format has eight bytes more in it.
const MODIFIED_RECORD: usize = 24;

/// Bits of the link type's field: whether the length of the FCS is given, and that length in units of 16 bits.
const FCS_GIVEN: u32 = 1 << 26;
const FCS_UNITS: u32 = 28;

type Parse = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

/// What the header of the file says.
pub(super) struct Pcap {
    big_endian: bool,
    record: usize,
    parse: Parse,
    /// ns.
    unit: u64,
    link: LinkType,
    /// Of the frame check sequence that is part of each frame, bytes.
    fcs: u32,
}

impl Pcap {
    pub(super) fn begin(window: &mut Window) -> Result<Self, Fault> {
        let offset = window.offset();
        let header = window.peek(HEADER).map_err(|error| Fault::Read { offset, error })?;
        let header = match pcap::parse_pcap_header(header) {
            Ok((_, header)) => header,
            Err(error) if error.is_incomplete() && is_magic(header) => {
                return Err(Fault::CutOff { what: "its header", offset });
            }
            Err(_) => return Err(Fault::Other(Problem::NotACapture)),
        };
        window.take(HEADER);
        Self::of(&header)
    }

    fn of(header: &PcapHeader) -> Result<Self, Fault> {
        let network = header.network.0 as u32;
        let number = Number(network as u16);
        let link = LinkType::of(number);
        let link = link.ok_or(Fault::Other(Problem::LinkType { link: number, packets: None }))?;
        let (big_endian, modified) = (header.is_bigendian(), header.is_modified_format());
        let (record, parse): (_, Parse) = match (modified, big_endian) {
            (true, _) => (MODIFIED_RECORD, pcap::parse_pcap_frame_modified),
            (false, true) => (RECORD, pcap::parse_pcap_frame_be),
            (false, false) => (RECORD, pcap::parse_pcap_frame),
        };
        Ok(Self {
            big_endian,
            record,
            parse,
            unit: if header.is_nanosecond_precision() { 1 } else { 1000 },
            link,
            fcs: if network & FCS_GIVEN == 0 { 0 } else { 2 * (network >> FCS_UNITS) },
        })
    }

    pub(super) fn next<'a>(&self, window: &'a mut Window) -> Result<Option<Captured<'a>>, Fault> {
        let offset = window.offset();
        if window.peek(1).map_err(|error| Fault::Read { offset, error })?.is_empty() {
            return Ok(None);
        }
        let captured = self.captured_length(whole(window, self.record, "the packet")?);
        if captured > LONGEST {
            let what = format!("a packet of {captured} bytes; expected at most {LONGEST}");
            return Err(Fault::Corrupt { what, offset });
        }
        let length = self.record + captured as usize;
        whole(window, length, "the packet")?;
        match (self.parse)(window.take(length)) {
            Ok((_, packet)) => Ok(Some(self.captured(&packet))),
            Err(_) => Err(Fault::Corrupt { what: "no packet; expected one".to_owned(), offset }),
        }
    }

    fn captured_length(&self, record: &[u8]) -> u32 {
        let field = record[CAPTURED_LENGTH..].first_chunk().copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }

    fn captured<'a>(&self, packet: &LegacyPcapBlock<'a>) -> Captured<'a> {
        // Neither factor is larger than 32 bits.
        let time_ns = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec) * self.unit;
        Captured {
            time_ns: time_ns.min(LATEST_NS),
            length: wire_length(packet.origlen, packet.caplen, self.fcs),
            interface: 1,
            link: self.link,
            bytes: packet.data,
        }
    }
}

/// Whether these are the first bytes of a pcap, as far as there are any.
fn is_magic(bytes: &[u8]) -> bool {
    const MAGICS: [u32; 5] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34, 0xd4c3_b2a1, 0x4d3c_b2a1];
    bytes.first_chunk().is_some_and(|magic| MAGICS.contains(&u32::from_le_bytes(*magic)))
}
