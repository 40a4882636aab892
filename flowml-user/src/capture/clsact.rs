//! clsact, the queueing discipline of classic tc filters: added if it is missing, and removed again.

use std::io;

use aya::programs::tc::{TcError, qdisc_add_clsact};
use rtnetlink::sys::{Socket, SocketAddr};

use super::interface::Interface;

/// NETLINK_ROUTE of include/uapi/linux/netlink.h.
const PROTOCOL: isize = 0;

// include/uapi/linux/netlink.h and include/uapi/linux/rtnetlink.h
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;

/// Length of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;

/// The parent of clsact itself: TC_H_CLSACT of include/uapi/linux/pkt_sched.h.
const ROOT: u32 = 0xffff_fff1;

/// The parents of its filters: TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of clsact.
const SIDES: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// A clsact that this process added. Dropping it removes it, unless other programs have filters on it by then.
#[derive(Debug)]
pub(super) struct Clsact {
    index: u32,
}

impl Clsact {
    /// Adds a clsact to the interface. `None` if it already has one, which belongs to another program.
    pub(super) fn add(interface: &Interface) -> Result<Option<Self>, TcError> {
        match qdisc_add_clsact(&interface.name) {
            Ok(()) => Ok(Some(Self { index: interface.index })),
            Err(TcError::AlreadyAttached) => Ok(None),
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove_where_unused(&self) -> io::Result<()> {
        let mut socket = Socket::new(PROTOCOL)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        for side in SIDES {
            if ask(&socket, &self.message(RTM_GETTFILTER, NLM_F_DUMP, side))? {
                return Ok(());
            }
        }
        ask(&socket, &self.message(RTM_DELQDISC, NLM_F_ACK, ROOT)).map(drop)
    }

    /// A message about the object at `parent`: `struct nlmsghdr` and `struct tcmsg`.
    fn message(&self, kind: u16, flags: u16, parent: u32) -> Vec<u8> {
        let (family, handle, info) = (0_u32, 0_u32, 0_u32);
        let body = [family, self.index, handle, parent, info].map(u32::to_ne_bytes).concat();
        let length = (HEADER + body.len()) as u32;
        let (sequence, port) = (1_u32, 0_u32);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend([kind, flags | NLM_F_REQUEST].map(u16::to_ne_bytes).concat());
        message.extend([sequence, port].map(u32::to_ne_bytes).concat());
        message.extend(body);
        message
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        // If the interface was removed, its clsact was too. An empty clsact does no harm.
        let _ = self.remove_where_unused();
    }
}

/// Sends a request and reads the complete reply. Returns whether the reply contained a filter.
fn ask(socket: &Socket, question: &[u8]) -> io::Result<bool> {
    socket.send(question, 0)?;
    let mut found = false;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        if rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(message) = first(rest) {
            match u16::from_ne_bytes([message[4], message[5]]) {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return error(message).map(|()| found),
                kind => found |= kind == RTM_NEWTFILTER,
            }
            rest = rest.get(message.len().next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The first of the remaining messages, with its header.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    bytes.get(..length as usize).filter(|message| message.len() >= HEADER)
}

/// The error of a `struct nlmsgerr`. 0 is an acknowledgement.
fn error(message: &[u8]) -> io::Result<()> {
    let number = message.get(HEADER..HEADER + 4).and_then(|number| Some(i32::from_ne_bytes(number.try_into().ok()?)));
    match number {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
