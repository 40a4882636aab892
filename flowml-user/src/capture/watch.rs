//! Changes of interfaces, as the kernel reports them (rtnetlink(7), group RTNLGRP_LINK).

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket, TokioSocket, protocols::NETLINK_ROUTE};

use super::error::CaptureError;

/// A change of an interface, with its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The interface appeared, or one of its properties changed.
    There(u32),
    /// The interface was removed.
    Gone(u32),
    /// The kernel had no room for all changes, and some were lost.
    Unknown,
}

/// A subscription to changes, from the time at which it is opened.
pub struct Watch(TokioSocket);

impl Watch {
    /// Subscribes, in the network namespace of this thread.
    ///
    /// # Errors
    /// If netlink is not available.
    pub fn open() -> Result<Self, CaptureError> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind_auto()?;
            socket.socket_mut().add_membership(MulticastGroup::Link as u32)?;
            Ok(Self(socket))
        };
        open().map_err(CaptureError::Socket)
    }

    /// Waits for the next changes and returns them in their order. Cancelling the wait loses no change.
    ///
    /// # Errors
    /// If reading from the kernel fails.
    pub async fn next(&mut self) -> Result<Vec<Change>, CaptureError> {
        match poll_fn(|context| self.0.poll_recv_from_full(context)).await {
            Ok((bytes, from)) if from.port_number() == 0 => Ok(changes(&bytes)),
            // A message from another process: only the kernel's messages count.
            Ok(_) => Ok(Vec::new()),
            Err(error) if is_overrun(&error) => self.forget().map_err(CaptureError::Socket),
            Err(error) => Err(CaptureError::Socket(error)),
        }
    }

    /// Reads the remaining changes after a loss. Until they are read the kernel does not report further losses
    /// (`netlink_overrun`, net/netlink/af_netlink.c).
    fn forget(&self) -> io::Result<Vec<Change>> {
        loop {
            match self.0.socket_ref().recv_from_full() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(vec![Change::Unknown]),
                Err(error) if !is_overrun(&error) => return Err(error),
                _ => {}
            }
        }
    }
}

/// Whether changes were lost.
fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

fn changes(bytes: &[u8]) -> Vec<Change> {
    let mut rest = bytes;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
            changes.push(Change::Unknown);
            break;
        };
        changes.extend(change(&message));
        let length = length(&message.header);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    changes
}

fn length(header: &NetlinkHeader) -> usize {
    // At least the length of a header, so that the loop ends.
    (header.length as usize).max(16)
}

fn change(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    // When an interface leaves a bridge, a message of the bridge's family reports that its port was removed.
    let of_interface = |link: &LinkMessage| link.header.interface_family == AddressFamily::Unspec;
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if of_interface(link) => {
            Some(Change::There(link.header.index))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) if of_interface(link) => {
            Some(Change::Gone(link.header.index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(payload: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn link(index: u32, family: AddressFamily) -> LinkMessage {
        let mut link = LinkMessage::default();
        (link.header.index, link.header.interface_family) = (index, family);
        link
    }

    #[test]
    fn changes_of_interfaces_are_distinguished_from_those_of_bridges() {
        let messages = [
            bytes(RouteNetlinkMessage::NewLink(link(7, AddressFamily::Unspec))),
            bytes(RouteNetlinkMessage::DelLink(link(7, AddressFamily::Bridge))),
            bytes(RouteNetlinkMessage::DelLink(link(8, AddressFamily::Unspec))),
        ];
        assert_eq!(changes(&messages.concat()), [Change::There(7), Change::Gone(8)]);
        assert_eq!(changes(&messages[0][..20]), [Change::Unknown], "cut off");
    }
}
