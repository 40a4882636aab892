//! DNS queries (RFC 1035 §4) for servers of other programs.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::peers::udp_socket_to;

/// Longest answer that a query allows, in bytes, by EDNS (RFC 6891).
const LONGEST: u16 = 4096;

/// Length of the longest label of a name in bytes (RFC 1035 §2.3.4).
pub const LONGEST_LABEL: usize = 63;

/// Types of records (RFC 1035 §3.2.2 and RFC 3596).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum QueryType {
    A = 1,
    Ptr = 12,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
}

/// A recursive query for a name of labels separated by dots.
pub fn question(id: u16, name: &str, kind: QueryType) -> Result<Vec<u8>> {
    // Flags: recursion desired. One question, and one additional record for EDNS.
    let mut bytes = [&id.to_be_bytes()[..], &[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|&length| (1..=LONGEST_LABEL as u8).contains(&length));
        bytes.push(length.with_context(|| format!("{name}: expected labels of 1 to {LONGEST_LABEL} bytes"))?);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind as u8, 0, 1]);
    // OPT: the root's name, type 41, the longest answer as its class, no flags and no options.
    bytes.extend([0, 0, 41]);
    bytes.extend(LONGEST.to_be_bytes());
    bytes.extend([0; 6]);
    Ok(bytes)
}

/// Sends a query from a new socket in the namespace of this thread. Returns the length of the answer in bytes, whatever
/// its content.
pub fn ask_from_here(server: SocketAddr, id: u16, name: &str, kind: QueryType) -> Result<usize> {
    let socket = udp_socket_to(server)?;
    socket.send(&question(id, name, kind)?).with_context(|| format!("asking {server} for {name}"))?;
    let mut answer = [0; LONGEST as usize];
    let length = socket.recv(&mut answer).with_context(|| format!("waiting for the answer of {server} to {name}"))?;
    ensure!(length > 2 && answer[..2] == id.to_be_bytes(), "{server} answered another question than {name}");
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_format_of_rfc_1035() {
        let bytes = question(0x1234, "a.example", QueryType::Txt).expect("a good name");
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x07example\x00\x00\x10\x00\x01\
                         \x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(bytes, expected);
        assert!(question(0, "a..example", QueryType::A).is_err());
        assert!(question(0, &"a".repeat(64), QueryType::A).is_err());
    }
}
