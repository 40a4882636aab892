//! Questions in the format of the domain name system (RFC 1035 §4), for servers that are not ours.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::peers::udp_socket_to;

/// Longest answer that is asked for, bytes, by EDNS (RFC 6891).
const LONGEST: u16 = 4096;

/// Longest label of a name, and the longest name in text (RFC 1035 §2.3.4), bytes.
pub const LONGEST_LABEL: usize = 63;

/// Types of records, by RFC 1035 §3.2.2 and RFC 3596.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum Kind {
    A = 1,
    Ptr = 12,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
}

/// A question for recursion, by a name of labels between dots.
pub fn question(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>> {
    // Recursion desired; one question, and one additional record, which is EDNS.
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

/// Asks from a new socket of the namespace that this thread is in. Returns the answer's length in bytes, whatever it says.
pub fn ask_from_here(server: SocketAddr, id: u16, name: &str, kind: Kind) -> Result<usize> {
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
    fn a_question_is_what_the_format_says() {
        let bytes = question(0x1234, "a.example", Kind::Txt).expect("a good name");
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x07example\x00\x00\x10\x00\x01\
                         \x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(bytes, expected);
        assert!(question(0, "a..example", Kind::A).is_err());
        assert!(question(0, &"a".repeat(64), Kind::A).is_err());
    }
}
