//! DNS (RFC 1035 §4), multicast DNS (RFC 6762) and LLMNR (RFC 4795): the first question of a message.
//!
//! For an announcement without a question it is the first answer.

use super::reader::Reader;
use super::{Details, visible};

/// The longest name on the wire, in bytes (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 255;

/// The longest label, in bytes. Larger numbers are pointers, which the first name of a message cannot contain.
const LONGEST_LABEL: u8 = 63;

/// The largest number of questions in a DNS message, and of records in a query. Bytes with more are not DNS.
const MOST_RECORDS: u16 = 64;

/// Length of the shortest message with a question, in bytes: header, root, type and class.
const SHORTEST: u16 = 12 + 1 + 4;

/// The most frequent types, by the names of the registry. Others are shown as `TYPE…` (RFC 3597 §5).
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

/// Parses a message over TCP. Its length precedes it (RFC 1035 §4.2.2).
pub(super) fn read_stream(bytes: &[u8]) -> Option<Details> {
    let mut stream = Reader(bytes);
    let length = stream.u16()?;
    let message = stream.up_to(length.into());
    if length < SHORTEST { None } else { read(message.0) }
}

/// Parses a message.
pub(super) fn read(bytes: &[u8]) -> Option<Details> {
    let mut message = Reader(bytes);
    let (_id, flags) = (message.u16()?, message.u16()?);
    let [questions, answers, authorities, additional] =
        [message.u16()?, message.u16()?, message.u16()?, message.u16()?];
    let (is_query, operation, reserved, code) = (flags >> 15 == 0, flags >> 11 & 15, flags >> 6 & 1, flags & 15);
    // The opcodes are query, status, notify and update. The counts distinguish DNS from other bytes: a query contains
    // few records. Multicast DNS asks several questions at once, and announces without a question.
    let has_content = if is_query { questions > 0 } else { questions > 0 || answers > 0 };
    let plausible = matches!(operation, 0 | 2 | 4 | 5)
        && reserved == 0
        && has_content
        && questions <= MOST_RECORDS
        && (!is_query || code == 0 && answers <= MOST_RECORDS && authorities <= MOST_RECORDS)
        && additional <= MOST_RECORDS;
    if !plausible {
        return None;
    }
    match read_name(&mut message)? {
        Name::Cut => Some(Details::default()),
        Name::Whole(name) => read_type(message, name),
    }
}

/// Parses type and class, which follow the name in a question (RFC 1035 §4.1.2) and in a record (§4.1.3).
fn read_type(mut message: Reader<'_>, name: String) -> Option<Details> {
    let Some((kind, class)) = message.u16().zip(message.u16()) else {
        return Some(Details { server_name: Some(name), detail: None });
    };
    // In multicast DNS the upper bit is a flag (RFC 6762 §5.4, §10.2).
    let is_class = matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255);
    if kind == 0 || !is_class || is_netbios(kind, &name) {
        return None;
    }
    let named = TYPES.iter().find(|(number, _)| *number == kind);
    let detail = named.map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned());
    Some(Details { server_name: Some(name), detail: Some(detail) })
}

/// Whether this is a message of NetBIOS's name service, which has the format of DNS: a name is a label of 32 letters A
/// to P (RFC 1001 §14.1), the types are NB and NBSTAT.
fn is_netbios(kind: u16, name: &str) -> bool {
    let label = name.split('.').next().unwrap_or_default();
    matches!(kind, 32 | 33) && label.len() == 32 && label.bytes().all(|byte| matches!(byte, b'A'..=b'P'))
}

enum Name {
    Whole(String),
    /// The bytes end within the name.
    Cut,
}

/// The labels of a name up to the root. `None` if they are invalid.
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
        // A dot within a label is escaped, because it does not separate labels.
        name += &visible(label)?.replace('.', "\\.");
    }
}
