//! A connection that the test for slow connections watches, and its stages.

use flowml_common::flow::{Address, FIN, RST, SYN};
use serde::{Deserialize, Serialize};

use super::contact::{Contact, flagged};

/// The smallest age of a connection that counts, ns.
const OLD_NS: u64 = 3_000_000_000;

/// A connection without a packet for this time is dropped, ns.
const GONE_NS: u64 = 120_000_000_000;

/// The time for which a connection counts after the server ended it, ns.
const GIVEN_UP_NS: u64 = 60_000_000_000;

/// The most that a client sends at a time after its start, bytes of payload in a partial flow.
pub(super) const DRIP: u64 = 64;

/// The most that a client sends at the start, bytes of payload.
pub(super) const BEGIN: u64 = 1024;

/// A TCP connection that may be slow.
#[derive(Serialize, Deserialize)]
pub(super) struct Watched {
    source: Address,
    target: Address,
    port: u16,
    first_ns: u64,
    last_ns: u64,
    /// Number of partial flows in which the client continued with a few bytes.
    drips: u32,
    /// Segments of the client without payload, except those of the handshake.
    acknowledgements: u64,
    is_server_seen: bool,
    /// Whether its SYN was seen.
    is_whole: bool,
    is_narrow: bool,
    /// Whether an incident counts the connection.
    pub(super) is_counted: bool,
    stage: Stage,
}

/// The stage of a watched connection.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The server waits for the rest of the request.
    Open,
    /// The server has ended the connection, perhaps with a short message.
    Ended,
    /// The client continued after the server had ended the connection.
    GivenUp,
}

/// The next step for a watched connection after a partial flow.
pub(super) enum Next {
    Watch,
    Forget,
}

impl Watched {
    pub(super) fn new(contact: &Contact<'_>, is_narrow: bool) -> Self {
        let Contact { sent, .. } = contact;
        Self {
            source: contact.source.address,
            target: contact.target.address,
            port: contact.target.port,
            first_ns: contact.first_ns(),
            last_ns: contact.last_ns(),
            // The first data seen of an older connection are not its start.
            drips: u32::from(!contact.opened && sent.payload_bytes > 0),
            acknowledgements: acknowledgements(contact).saturating_sub(u64::from(contact.opened)),
            is_server_seen: contact.answered,
            is_whole: contact.opened,
            is_narrow,
            is_counted: false,
            stage: Stage::Open,
        }
    }

    /// The client, the server and the port of the service.
    pub(super) const fn key(&self) -> (Address, Address, u16) {
        (self.source, self.target, self.port)
    }

    /// The times of the first and the last packet, ns.
    pub(super) const fn times_ns(&self) -> [u64; 2] {
        [self.first_ns, self.last_ns]
    }

    pub(super) fn go_on(&mut self, contact: &Contact<'_>) -> Next {
        let Contact { sent, received, .. } = contact;
        let ends = |direction| flagged(direction, FIN) + flagged(direction, RST) > 0;
        let most = if self.drips == 0 { BEGIN } else { DRIP };
        let is_served = !self.is_narrow && received.payload_bytes > 0 && !ends(received);
        if self.stage == Stage::GivenUp {
            return Next::Watch;
        }
        // A client that closes the connection, sends much or gets an answer is no attacker.
        let leaves = ends(sent) && !(self.stage == Stage::Ended || ends(received));
        if leaves || is_served || sent.payload_bytes > most {
            return Next::Forget;
        }
        // A keep-alive probe of an old connection has at most one byte.
        let least = if self.is_whole { 0 } else { sent.payload_packets };
        let is_drip = sent.payload_bytes > least;
        self.drips += u32::from(is_drip);
        self.acknowledgements += acknowledgements(contact);
        self.is_server_seen |= contact.answered;
        self.last_ns = contact.last_ns();
        self.stage = match self.stage {
            Stage::Ended if is_drip => Stage::GivenUp,
            Stage::Ended if ends(sent) => return Next::Forget,
            Stage::Open if ends(received) && self.drips > 0 => Stage::Ended,
            _ if ends(received) => return Next::Forget,
            stage => stage,
        };
        Next::Watch
    }

    /// Whether the connection counts at `now_ns`.
    pub(super) fn is_slow(&self, now_ns: u64) -> bool {
        let is_answered = !self.is_server_seen && 2 * self.acknowledgements > u64::from(self.drips);
        let is_old = now_ns.saturating_sub(self.first_ns) >= OLD_NS;
        is_old && self.stage != Stage::Ended && (self.is_narrow || self.drips >= 2 && !is_answered)
    }

    pub(super) fn is_gone(&self, now_ns: u64) -> bool {
        let patience_ns = if self.stage == Stage::Open { GONE_NS } else { GIVEN_UP_NS };
        self.last_ns.saturating_add(patience_ns) <= now_ns
    }
}

/// Segments of the client without payload, except its SYN.
fn acknowledgements(Contact { sent, .. }: &Contact<'_>) -> u64 {
    sent.packets.saturating_sub(sent.payload_packets + flagged(sent, SYN))
}
