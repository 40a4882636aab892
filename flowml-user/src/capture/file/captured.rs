//! A frame of a capture, and how it is metered.

use flowml_common::filter::untagged_length;
use flowml_common::packet::{Frame, Hook, Skipped};
use flowml_common::parse::parse_behind;
use flowml_common::table::{self, Metered, Storage};
use flowml_common::tunnel::PortList;

use super::link::LinkType;

/// The longest packet or block that is read, in bytes. BIG TCP's buffers have 512 KiB, and a larger length than this
/// limit is damage. The limit bounds the memory.
pub const LONGEST: u32 = 16 << 20;

/// A frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Time of the frame, in ns of Unix time.
    pub time_ns: u64,
    /// Length on the wire without FCS, in bytes. The captured bytes may be fewer.
    pub length: u32,
    /// Number of the interface in the file, from 1. pcap has one interface.
    pub interface: u32,
    /// Link type of the frame.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

impl Captured<'_> {
    /// The properties of the frame for the parser.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            time_ns: self.time_ns,
            length: self.length,
            interface: self.link.interface(self.bytes).unwrap_or(self.interface),
            hook: Hook::File,
            stripped_vlan: None,
            segments: None,
        }
    }

    /// Meters a frame of a capture, whatever its link type is, with the parser and the table of the kernel.
    ///
    /// Frame bytes are those of the complete captured frame, including the header of its link type.
    #[inline]
    pub fn meter<S: Storage>(&self, storage: &mut S) -> Metered {
        let frame = self.frame();
        if let Some(ports) = storage.tunnels() {
            return self.meter_levels(storage, &frame, &ports);
        }
        if self.link == LinkType::Ethernet {
            return table::meter(storage, &frame, self.bytes);
        }
        let header = self.link.header(self.bytes).ok_or(Skipped::Truncated);
        let parsed = header.and_then(|(header, behind)| Ok((parse_behind(&frame, &header, behind)?, header.length)));
        match parsed {
            Ok((packet, length)) => {
                table::record_selected(storage, &packet, &self.bytes, None, untagged_length(&frame, length))
            }
            Err(reason) => {
                table::skip(storage, frame.wire_length(), reason);
                Metered::Skipped(reason)
            }
        }
    }

    /// As [`meter`](Self::meter), and looks into tunnels.
    fn meter_levels<S: Storage>(&self, storage: &mut S, frame: &Frame, ports: &PortList) -> Metered {
        let header = match self.link {
            LinkType::Ethernet => None,
            link => match link.header(self.bytes) {
                Some((header, _)) => Some(header),
                None => {
                    table::skip(storage, frame.wire_length(), Skipped::Truncated);
                    return Metered::Skipped(Skipped::Truncated);
                }
            },
        };
        table::meter_levels(storage, frame, header.as_ref(), self.bytes, &self.bytes, ports, Skipped::Truncated)
    }
}

/// The latest valid time, in ns: in the year 2262. It leaves room for additions.
pub(super) const LATEST_NS: u64 = i64::MAX as u64;

/// The length that is counted, in bytes: the original one, unless it is impossible.
pub(super) fn wire_length(original: u32, captured: u32, fcs: u32) -> u32 {
    let whole = if original > LONGEST { captured } else { original.max(captured) };
    whole.saturating_sub(fcs)
}
