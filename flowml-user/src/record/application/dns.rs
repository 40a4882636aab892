//! DNS (RFC 1035 §4), with that also multicast DNS (RFC 6762) and LLMNR (RFC 4795): the first question, or of what is
//! announced without one the first answer.

use super::reader::Reader;
use super::{Said, visible};

/// The longest name on the wire (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 255;

/// The longest label; larger numbers are pointers, which the first name of a message cannot be.
const LONGEST_LABEL: u8 = 63;

/// A message with more questions, or a query with more of anything, is not taken for one.
const MOST_RECORDS: u16 = 64;

/// The shortest message with a question: header, root, type and class.
const SHORTEST: u16 = 12 + 1 + 4;

/// Types by the registry's names, those that are seen most; others are `TYPE…` (RFC 3597 §5).
const TYPES: [(u16, &str); 24] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (25, "KEY"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

/// Reads a message over TCP: its length stands before it (RFC 1035 §4.2.2).
pub(super) fn read_stream(bytes: &[u8]) -> Option<Said> {
    let mut stream = Reader(bytes);
    let length = stream.u16()?;
    let message = stream.up_to(length.into());
    if length < SHORTEST { None } else { read(message.0) }
}

/// Reads a message.
pub(super) fn read(bytes: &[u8]) -> Option<Said> {
    let mut message = Reader(bytes);
    let (_id, flags) = (message.u16()?, message.u16()?);
    let [questions, answers, authorities, additional] =
        [message.u16()?, message.u16()?, message.u16()?, message.u16()?];
    let (is_query, operation, reserved, code) = (flags >> 15 == 0, flags >> 11 & 15, flags >> 6 & 1, flags & 15);
    // Query, status, notify, update. The counts tell DNS from bytes of other kinds: a query carries little. Multicast DNS
    // asks several questions at once, and announces without having been asked.
    let is_told = if is_query { questions > 0 } else { questions > 0 || answers > 0 };
    let plausible = matches!(operation, 0 | 2 | 4 | 5)
        && reserved == 0
        && is_told
        && questions <= MOST_RECORDS
        && (!is_query || code == 0 && answers <= MOST_RECORDS && authorities <= MOST_RECORDS)
        && additional <= MOST_RECORDS;
    if !plausible {
        return None;
    }
    match read_name(&mut message)? {
        Name::Cut => Some(Said::default()),
        Name::Whole(name) => read_type(message, name),
    }
}

/// Type and class, which a question (RFC 1035 §4.1.2) and a record (§4.1.3) have behind their names.
fn read_type(mut message: Reader<'_>, name: String) -> Option<Said> {
    let Some((kind, class)) = message.u16().zip(message.u16()) else {
        return Some(Said { server_name: Some(name), detail: None });
    };
    // Multicast DNS has flags in the upper bit (RFC 6762 §5.4, §10.2).
    let is_class = matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255);
    if kind == 0 || !is_class || is_netbios(kind, &name) {
        return None;
    }
    let named = TYPES.iter().find(|(number, _)| *number == kind);
    let detail = named.map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned());
    Some(Said { server_name: Some(name), detail: Some(detail) })
}

/// NetBIOS' name service has the format of DNS: a name is a label of 32 letters A to P (RFC 1001 §14.1), the types are
/// NB and NBSTAT.
fn is_netbios(kind: u16, name: &str) -> bool {
    let label = name.split('.').next().unwrap_or_default();
    matches!(kind, 32 | 33) && label.len() == 32 && label.bytes().all(|byte| matches!(byte, b'A'..=b'P'))
}

enum Name {
    Whole(String),
    /// The bytes end before it does.
    Cut,
}

/// The labels of a name up to the root, or `None` where they are none.
fn read_name(message: &mut Reader<'_>) -> Option<Name> {
    let before = message.0.len();
    let mut name = String::new();
    loop {
        let Some(length) = message.u8() else { return Some(Name::Cut) };
        if length == 0 {
            return Some(Name::Whole(if name.is_empty() { ".".to_owned() } else { name }));
        }
        if length > LONGEST_LABEL || before - message.0.len() + usize::from(length) >= LONGEST_NAME {
            return None;
        }
        let Some(label) = message.take(length.into()) else { return Some(Name::Cut) };
        if !name.is_empty() {
            name.push('.');
        }
        // A dot within a label is not the one between two.
        name += &visible(label)?.replace('.', "\\.");
    }
}
