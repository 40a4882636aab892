//! Writes capture files for tests from the descriptions of the formats, without the library that reads them.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A packet for a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Unix time in ns.
    pub time_ns: u64,
    /// The captured bytes.
    pub bytes: Vec<u8>,
    /// Length on the wire in bytes.
    pub original: u32,
}

impl Record {
    /// A packet whose bytes were all captured.
    #[must_use]
    pub fn whole(time_ns: u64, bytes: Vec<u8>) -> Self {
        Self { time_ns, original: bytes.len() as u32, bytes }
    }

    /// The same packet, captured only up to `snap` bytes.
    #[must_use]
    pub fn snapped(mut self, snap: usize) -> Self {
        self.bytes.truncate(snap);
        self
    }
}

/// Byte order of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the meanings")]
pub enum Order {
    Little,
    Big,
}

/// A buffer to which numbers are appended in a byte order.
struct Bytes {
    order: Order,
    bytes: Vec<u8>,
}

impl Bytes {
    fn new(order: Order) -> Self {
        Self { order, bytes: Vec::new() }
    }

    fn u16(&mut self, number: u16) -> &mut Self {
        self.put(&number.to_le_bytes())
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.put(&number.to_le_bytes())
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.put(&number.to_le_bytes())
    }

    /// Appends a number, given in little-endian order.
    fn put(&mut self, little: &[u8]) -> &mut Self {
        match self.order {
            Order::Little => self.bytes.extend(little),
            Order::Big => self.bytes.extend(little.iter().rev()),
        }
        self
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    /// Appends zeros up to a multiple of four bytes.
    fn pad(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// A variant of pcap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pcap {
    /// Byte order of the file's numbers.
    pub order: Order,
    /// Whether the times are in ns instead of µs.
    pub nanoseconds: bool,
    /// Whether the file has the longer records of Kuznetsov's modified format, whose times are in µs.
    pub modified: bool,
    /// The link type, with the bits above it that state the length of the FCS.
    pub link: u32,
}

impl Pcap {
    /// The most common variant: little-endian, µs.
    #[must_use]
    pub const fn of(link: u32) -> Self {
        Self { order: Order::Little, nanoseconds: false, modified: false, link }
    }

    /// Writes a complete file.
    #[must_use]
    pub fn write(&self, records: &[Record]) -> Vec<u8> {
        let mut file = self.header();
        records.iter().for_each(|record| self.append(&mut file, record));
        file
    }

    /// The file header.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let magic = match (self.nanoseconds, self.modified) {
            (true, _) => 0xa1b2_3c4d,
            (false, true) => 0xa1b2_cd34,
            (false, false) => 0xa1b2_c3d4,
        };
        let mut file = Bytes::new(self.order);
        file.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(0x0004_0000).u32(self.link);
        file.bytes
    }

    /// Appends a packet to a file, or to a part of a file.
    pub fn append(&self, file: &mut Vec<u8>, record: &Record) {
        let mut bytes = Bytes { order: self.order, bytes: std::mem::take(file) };
        let unit = if self.nanoseconds { 1 } else { 1000 };
        let (seconds, rest) = (record.time_ns / 1_000_000_000, record.time_ns % 1_000_000_000);
        bytes.u32(seconds as u32).u32((rest / unit) as u32).u32(record.bytes.len() as u32).u32(record.original);
        if self.modified {
            // Interface, protocol, packet type, padding.
            bytes.u32(1).u16(0x0800).u16(0);
        }
        bytes.raw(&record.bytes);
        *file = bytes.bytes;
    }
}

/// An interface of a pcapng file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The link type.
    pub link: u16,
    /// `if_tsresol`: 10⁻ⁿ s, or 2⁻ⁿ s if the highest bit is set; without it times are in µs.
    pub resolution: Option<u8>,
    /// `if_tsoffset` in seconds.
    pub offset_s: Option<i64>,
}

impl Interface {
    /// An interface whose times are in µs.
    #[must_use]
    pub const fn of(link: u16) -> Self {
        Self { link, resolution: None, offset_s: None }
    }

    fn units(&self, time_ns: u64) -> u64 {
        let time_ns = i128::from(time_ns) - i128::from(self.offset_s.unwrap_or(0)) * 1_000_000_000;
        let per_second = match self.resolution.unwrap_or(6) {
            power_of_two if power_of_two & 0x80 != 0 => 1i128 << (power_of_two & 0x7f),
            power_of_ten => 10i128.pow(power_of_ten.into()),
        };
        (time_ns * per_second / 1_000_000_000) as u64
    }
}

/// The kinds of blocks that contain a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketBlock {
    /// Enhanced packet block, with comments and flags after the packet.
    Enhanced,
    /// The packet block that the enhanced one has replaced.
    Obsolete,
    /// Simple packet block, without interface and time: it belongs to interface 0 and gets the time of the packet
    /// before it.
    Simple,
}

/// A pcapng file that is being written.
pub struct Pcapng {
    file: Bytes,
}

impl Pcapng {
    /// Starts a file whose first section has these interfaces.
    #[must_use]
    pub fn new(order: Order, interfaces: &[Interface]) -> Self {
        let mut pcapng = Self { file: Bytes::new(order) };
        pcapng.section(order, interfaces);
        pcapng
    }

    /// Starts another section.
    pub fn section(&mut self, order: Order, interfaces: &[Interface]) -> &mut Self {
        self.file.order = order;
        let mut body = Bytes::new(order);
        body.u32(0x1a2b_3c4d).u16(1).u16(0).i64(-1);
        option(&mut body, 4, b"flowml's tests");
        self.block(0x0a0d_0d0a, &mut body);
        for interface in interfaces {
            let mut body = Bytes::new(order);
            body.u16(interface.link).u16(0).u32(0);
            option(&mut body, 2, b"eth7");
            if let Some(resolution) = interface.resolution {
                option(&mut body, 9, &[resolution]);
            }
            if let Some(offset_s) = interface.offset_s {
                body.u16(14).u16(8).i64(offset_s);
            }
            body.u16(0).u16(0);
            self.block(1, &mut body);
        }
        self
    }

    /// Adds a packet of interface `number`. `interface` must be the description of that interface.
    pub fn packet(&mut self, kind: PacketBlock, number: u16, interface: &Interface, record: &Record) -> &mut Self {
        let units = interface.units(record.time_ns);
        let (high, low) = ((units >> 32) as u32, units as u32);
        let captured = record.bytes.len() as u32;
        let mut body = Bytes::new(self.file.order);
        let kind = match kind {
            PacketBlock::Enhanced => {
                body.u32(number.into()).u32(high).u32(low).u32(captured).u32(record.original);
                body.raw(&record.bytes).pad();
                option(&mut body, 1, b"a comment");
                body.u16(0).u16(0);
                6
            }
            PacketBlock::Obsolete => {
                body.u16(number).u16(0xffff).u32(high).u32(low).u32(captured).u32(record.original);
                body.raw(&record.bytes).pad();
                2
            }
            PacketBlock::Simple => {
                body.u32(record.original).raw(&record.bytes).pad();
                3
            }
        };
        self.block(kind, &mut body)
    }

    /// Adds a block of a type that a reader of packets has to skip.
    pub fn stranger(&mut self) -> &mut Self {
        let mut body = Bytes::new(self.file.order);
        body.raw(b"nothing that anybody knows").pad();
        self.block(0x0bad_cafe, &mut body)
    }

    fn block(&mut self, kind: u32, body: &mut Bytes) -> &mut Self {
        body.pad();
        let length = body.bytes.len() as u32 + 12;
        self.file.u32(kind).u32(length).raw(&body.bytes).u32(length);
        self
    }

    /// The bytes of the file.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        self.file.bytes.clone()
    }
}

fn option(body: &mut Bytes, code: u16, value: &[u8]) {
    body.u16(code).u16(value.len() as u16).raw(value).pad();
}

/// Compresses with gzip, one member for each chunk.
///
/// # Errors
/// Only if the encoder fails, which does not happen in memory.
pub fn gzip(chunks: &[&[u8]]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for chunk in chunks {
        let mut encoder = GzEncoder::new(&mut file, Compression::default());
        encoder.write_all(chunk)?;
        encoder.finish()?;
    }
    Ok(file)
}

/// Compresses with zstd, one frame for each chunk.
///
/// # Errors
/// Only if the encoder fails, which does not happen in memory.
pub fn zstandard(chunks: &[&[u8]]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for chunk in chunks {
        file.extend(zstd::encode_all(*chunk, 3)?);
    }
    Ok(file)
}
