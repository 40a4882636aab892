//! Requests by generic netlink (include/uapi/linux/genetlink.h): families by name, commands with attributes, one reply.

use std::io::{self, ErrorKind};

use rtnetlink::sys::{Socket, SocketAddr};

/// NETLINK_GENERIC of include/uapi/linux/netlink.h.
const PROTOCOL: isize = 16;

/// Length of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// Length of `struct nlmsghdr` and `struct genlmsghdr`, in bytes.
const HEADERS: usize = HEADER + 4;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

/// The family that describes the others: GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID and
/// CTRL_ATTR_FAMILY_NAME.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// The flag of attributes that contain attributes (NLA_F_NESTED).
const NESTED: u16 = 1 << 15;

/// A socket for requests.
pub(super) struct Generic {
    socket: Socket,
    sequence: u32,
}

/// A family of commands, by the kernel's number for it.
#[derive(Clone, Copy)]
pub(super) struct Family(u16);

impl Generic {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(PROTOCOL)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The family with this name. The error is `NotFound` if this kernel has none.
    pub(super) fn family(&mut self, name: &str) -> io::Result<Family> {
        let name = attribute(FAMILY_NAME, &[name.as_bytes(), b"\0"].concat());
        let answer = self.ask(Family(CONTROL), GET_FAMILY, &name)?;
        let id = find(&answer, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)));
        id.map(Family).ok_or_else(|| malformed("a family without an id"))
    }

    /// Sends a command and returns the attributes of the reply.
    pub(super) fn ask(&mut self, Family(family): Family, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        let length = u32::try_from(HEADERS + attributes.len()).map_err(|_| malformed("a question of 4 GiB"))?;
        let mut message = Vec::with_capacity(HEADERS + attributes.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&family.to_ne_bytes());
        message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        // The kernel fills in the port of the sender. The version of the family is 1.
        message.extend_from_slice(&[0, 0, 0, 0, command, 1, 0, 0]);
        message.extend_from_slice(attributes);
        self.socket.send(&message, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        parse(&answer)
    }
}

/// The attributes of a message, or its error.
fn parse(message: &[u8]) -> io::Result<Vec<u8>> {
    let word = |at: usize| message.get(at..at + 4).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    let kind = message.get(4..6).and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    let length = word(0).and_then(|length| usize::try_from(length).ok());
    match (kind, length) {
        (Some(NLMSG_ERROR), _) => {
            Err(word(HEADER)
                .map_or_else(|| malformed("an error without a number"), |n| io::Error::from_raw_os_error(-n)))
        }
        (Some(_), Some(length)) => {
            let attributes = message.get(HEADERS..length);
            attributes.map(<[u8]>::to_vec).ok_or_else(|| malformed("a message that is cut off"))
        }
        _ => Err(malformed("a message without a header")),
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the kernel answers with {what}"))
}

/// An attribute (`struct nlattr`), padded to four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("a question's attributes are short");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that contains attributes.
pub(super) fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

/// Types and values of the attributes. A malformed attribute ends the list.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [length, kind] =
            [0, 2].map(|at| rest.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]])));
        let length = usize::from(length?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind? & !NESTED, value))
    })
}

/// The value of the first attribute of this type.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_found_by_name() {
        let mut generic = Generic::open().expect("generic netlink");
        assert_eq!(generic.family("nlctrl").expect("every kernel has it").0, CONTROL);
        let none = generic.family("no-such-family").err().expect("there is none");
        assert_eq!(none.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes = [attribute(1, b"abc"), nested(2, &attribute(7, &5_u32.to_ne_bytes())), attribute(3, b"")].concat();
        let kinds: Vec<u16> = attributes(&bytes).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 2, 3]);
        assert_eq!(find(&bytes, 2).and_then(|inner| find(inner, 7)), Some(&5_u32.to_ne_bytes()[..]));
        assert_eq!(find(&bytes, 4), None);
    }

    #[test]
    fn a_truncated_message_is_an_error() {
        for message in [&b""[..], &[0; 6], &[24, 0, 0, 0, 20, 0, 0, 0], &[20, 0, 0, 0, 2, 0]] {
            assert!(parse(message).is_err(), "{message:?}");
        }
    }
}
