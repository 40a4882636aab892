//! Amplifiers: servers that repeat SYN with ACK far more often than TCP does, to a host that never answers.
//!
//! Source: M. Kührer, T. Hupperich, C. Rossow, T. Holz, "Hell of a Handshake: Abusing TCP for Reflective Amplification
//! DDoS Attacks", USENIX WOOT 2014. The rate of such an attack depends on its amplifiers, so the test for floods may
//! not find it.
//!
//! Counted events: segments with SYN and ACK of a connection whose SYN was not seen and that neither side continues.
//!
//! Parameters and bound: a responder with back-off (RFC 6298: 1, 2, 4, … s, at most a minute) sends nine of them within
//! three minutes. After that time it may give up (RFC 9293, section 3.8.3). The initiator may send its SYN nine times
//! too, and the responder answers each SYN. So hosts that follow these standards never send 20 in one handshake.
//!
//! Limit: a client that retries forever from the same port, behind a filter that drops the answers, is reported too if
//! its SYNs are not seen.

use flowml_common::flow::{Address, FlowKey, SYN};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::changed::Changed;
use super::contact::{Contact, flagged, goes_on};
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use super::walk::ALPHA;
use crate::features::Generations;

/// Handshakes in a generation.
const HANDSHAKES: usize = 1 << 16;

/// This many segments with SYN and ACK in one handshake are no retransmissions.
const MANY: u64 = 20;

/// A handshake whose SYN was not seen.
#[derive(Serialize, Deserialize)]
struct Handshake {
    victim: Address,
    server: Address,
    port: u16,
    first_ns: u64,
    last_ns: u64,
    segments: u64,
    bytes: u64,
    /// The segments and bytes that were already reported.
    reported: [u64; 2],
}

/// The handshakes that neither side continues.
#[derive(Serialize, Deserialize)]
pub(super) struct Amplifiers {
    handshakes: Generations<FlowKey, Handshake>,
    changed: Changed<FlowKey>,
}

impl Amplifiers {
    pub(super) fn new() -> Self {
        Self { handshakes: Generations::new(HANDSHAKES), changed: Changed::default() }
    }

    pub(super) fn observe(&mut self, contact: &Contact<'_>) {
        if contact.protocol != protocol::TCP || !contact.new && self.handshakes.is_empty() {
            return;
        }
        let key = contact.partial.key;
        let repeats = flagged(contact.received, SYN);
        if contact.opened || goes_on(contact) {
            if !self.handshakes.is_empty() {
                self.handshakes.remove(&key);
            }
            return;
        }
        // A handshake whose SYN was seen has no entry.
        if repeats == 0 || !contact.new && self.handshakes.get(&key).is_none() {
            return;
        }
        let handshake = self.handshakes.entry(key, contact.first_ns(), || Handshake {
            victim: contact.source.address,
            server: contact.target.address,
            port: contact.target.port,
            first_ns: contact.first_ns(),
            last_ns: contact.last_ns(),
            segments: 0,
            bytes: 0,
            reported: [0; 2],
        });
        handshake.segments += repeats;
        handshake.bytes += contact.received.ip_bytes;
        handshake.last_ns = contact.last_ns();
        if handshake.segments >= MANY {
            self.changed.add(key);
        }
    }

    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let handshakes = &mut self.handshakes;
        let finding = |key: FlowKey| {
            let handshake = handshakes.get_mut(&key)?;
            let totals = [handshake.segments, handshake.bytes];
            let [packets, bytes] = [0, 1].map(|n| totals[n] - handshake.reported[n]);
            handshake.reported = totals;
            let &mut Handshake { victim, server, port, first_ns, last_ns, .. } = handshake;
            Some(Finding {
                kind: Kind::Reflection,
                sources: Party::of(server),
                targets: Party::of(victim),
                evidence: Evidence { protocol: protocol::TCP, port, packets, bytes, ..Evidence::default() },
                start_ns: first_ns,
                end_ns: last_ns,
                bound: ALPHA,
            })
        };
        self.changed.take().filter_map(finding).collect()
    }
}
