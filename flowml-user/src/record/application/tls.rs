//! TLS (RFC 8446, and the versions before it): the record, and the names in a `ClientHello`.

use super::reader::Reader;
use super::{Details, visible};

/// The type of a record with handshake messages (RFC 8446 §5.1). All types are 20 (change-cipher-spec) to 24
/// (heartbeat).
const HANDSHAKE: u8 = 22;

/// The longest fragment of a record, in bytes: 2¹⁴, and what encryption may add (RFC 5246 §6.2.3).
const LONGEST_FRAGMENT: u16 = (1 << 14) + 2048;

const CLIENT_HELLO: u8 = 1;

/// Types of extensions (RFC 6066 §3, RFC 7301 §3.1).
const SERVER_NAME: u16 = 0;
const APPLICATION_PROTOCOLS: u16 = 16;

/// The type of a server name that is the name of a host.
const HOST_NAME: u8 = 0;

/// Parses the first record.
pub(super) fn read(bytes: &[u8]) -> Option<Details> {
    let mut record = Reader(bytes);
    let (kind, version, length) = (record.u8()?, record.u16()?, record.u16()?);
    let plausible =
        (20..=24).contains(&kind) && (0x0300..=0x0304).contains(&version) && (1..=LONGEST_FRAGMENT).contains(&length);
    if !plausible {
        return None;
    }
    let mut details = Details::default();
    if kind == HANDSHAKE {
        // If the message is cut off, the fields before the cut are valid.
        let _ = read_client_hello(record.up_to(length.into()), &mut details);
    }
    Some(details)
}

fn read_client_hello(mut message: Reader<'_>, details: &mut Details) -> Option<()> {
    if message.u8()? != CLIENT_HELLO {
        return None;
    }
    let length = message.u24()?;
    let mut hello = message.up_to(length as usize);
    let (_version, _random, _session) = (hello.u16()?, hello.take(32)?, hello.vector8()?);
    let (_cipher_suites, _compression) = (hello.vector16()?, hello.vector8()?);
    let length = hello.u16()?;
    let mut extensions = hello.up_to(length.into());
    loop {
        let (kind, data) = (extensions.u16()?, extensions.vector16()?);
        match kind {
            SERVER_NAME => details.server_name = server_name(data),
            APPLICATION_PROTOCOLS => details.detail = application_protocols(data),
            _ => {}
        }
    }
}

fn server_name(data: &[u8]) -> Option<String> {
    let mut list = Reader(Reader(data).vector16()?);
    loop {
        let (kind, name) = (list.u8()?, list.vector16()?);
        if kind == HOST_NAME {
            return visible(name);
        }
    }
}

fn application_protocols(data: &[u8]) -> Option<String> {
    let mut list = Reader(Reader(data).vector16()?);
    let names: Vec<String> = std::iter::from_fn(|| list.vector8()).filter_map(visible).collect();
    (!names.is_empty()).then(|| names.join(","))
}
