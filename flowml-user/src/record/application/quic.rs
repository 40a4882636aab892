//! QUIC (RFC 8999 §5.1): the version in a long header. Nothing is decrypted.

use super::reader::Reader;
use super::{Details, visible};

/// The bit of a long header, and the bit that versions 1 and 2 set (RFC 9000 §17.2).
const LONG_HEADER: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;

/// The longest connection id of versions 1 and 2 and of the drafts, in bytes.
const LONGEST_ID: u8 = 20;

/// Parses the start of a packet with a long header.
pub(super) fn read(bytes: &[u8]) -> Option<Details> {
    let mut packet = Reader(bytes);
    let (first, version) = (packet.u8()?, packet.u32()?);
    let name = version_name(version)?;
    // A server that does not support the version answers with version 0. The other bits are then arbitrary (RFC 9000
    // §17.2.1).
    let is_long = first & LONG_HEADER != 0 && (version == 0 || first & FIXED_BIT != 0);
    let destination_length = packet.u8()?;
    if !is_long || destination_length > LONGEST_ID {
        return None;
    }
    Some(Details { server_name: None, detail: Some(name) })
}

/// The versions of the registry (QUIC Versions), and the earlier ones of Google.
fn version_name(version: u32) -> Option<String> {
    match (version, version.to_be_bytes()) {
        (0, _) => Some("negotiation".to_owned()),
        (1, _) => Some("1".to_owned()),
        // RFC 9369 §3.1.
        (0x6b33_43cf, _) => Some("2".to_owned()),
        (_, [0xff, 0, 0, draft]) => Some(format!("draft-{draft:02}")),
        (_, name @ [b'Q' | b'T', b'0', b'0'..=b'9', b'0'..=b'9']) => visible(&name),
        // Meta's mvfst.
        (_, [0xfa, 0xce, 0xb0, 0..=0x0f]) => Some(format!("{version:08x}")),
        // A version that makes a server answer with its supported versions (RFC 9000 §15).
        (_, bytes) if bytes.iter().all(|byte| byte & 0x0f == 0x0a) => Some("reserved".to_owned()),
        _ => None,
    }
}
