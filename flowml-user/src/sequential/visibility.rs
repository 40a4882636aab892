//! Decides where both directions of flows are seen, so that a missing answer is evidence.

use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::contact::{Contact, established};

/// The largest number of interfaces that are distinguished.
const INTERFACES: usize = 1024;

/// An interface whose recent flows weigh less than this is dropped when there is no room for others.
const NEGLIGIBLE: f64 = 0.01;

/// The flows of an interface, by the directions that were seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Observed {
    /// Flows with packets of both ends.
    both: f64,
    /// TCP connections that the initiator treats as established, without a packet of the responder, although there must
    /// have been one.
    one: f64,
}

/// For each interface, how many flows were seen in one and in both directions.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Visibility {
    /// Sorted by interface.
    interfaces: Vec<(u32, Observed)>,
}

impl Visibility {
    /// Adds a partial flow. Returns whether an answer to it would be seen. Without evidence it returns false.
    pub(super) fn observe(&mut self, contact: &Contact<'_>) -> bool {
        let both = contact.answered && contact.sent.packets > 0 && contact.received.packets > 0;
        let one = contact.protocol == protocol::TCP && !contact.answered && established(contact.sent);
        let interface = contact.partial.key.interface();
        let place = match self.interfaces.binary_search_by_key(&interface, |(known, _)| *known) {
            Ok(place) => place,
            Err(place) if (both || one) && self.interfaces.len() < INTERFACES => {
                self.interfaces.insert(place, (interface, Observed::default()));
                place
            }
            Err(_) => return false,
        };
        let (_, seen) = &mut self.interfaces[place];
        if both {
            seen.both += 1.0;
        } else if one {
            seen.one += 1.0;
        }
        seen.both > seen.one
    }

    /// Reduces the weight of older flows, by half in about 70 intervals.
    pub(super) fn age(&mut self) {
        for (_, seen) in &mut self.interfaces {
            (seen.both, seen.one) = (seen.both * 0.99, seen.one * 0.99);
        }
        if self.interfaces.len() >= INTERFACES {
            // Interfaces that were removed long ago make room for new ones.
            self.interfaces.retain(|(_, seen)| seen.both + seen.one >= NEGLIGIBLE);
        }
    }
}
