//! SSH (RFC 4253 §4.2): the identification string.

use super::{Details, visible};

/// Parses `SSH-protoversion-softwareversion SP comments CR LF`.
pub(super) fn read(bytes: &[u8]) -> Option<Details> {
    let software =
        [&b"SSH-2.0-"[..], b"SSH-1.99-", b"SSH-1.5-"].into_iter().find_map(|begin| bytes.strip_prefix(begin))?;
    let end = software.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    Some(Details { server_name: None, detail: end.and_then(|end| visible(&software[..end])) })
}
