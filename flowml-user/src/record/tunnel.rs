//! The tunnel of a flow, oriented as its record.

use flowml_common::flow::{Address, FlowKey, Sender};
use flowml_common::tunnel::{Outer, TunnelKind};

/// The tunnel that a flow is in, in a run that looks into tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The kind; `None` for a flow outside of tunnels.
    pub kind: Option<TunnelKind>,
    /// The number in the first packet; `None` if the kind has none.
    pub id: Option<u32>,
    /// The addresses around the flow in its first packet, on the sides of the initiator and of the responder. `None` if
    /// there is no IP header around it.
    pub outer: Option<[Address; 2]>,
}

impl Tunnel {
    pub(super) fn of(key: &FlowKey, outer: Option<&Outer>, initiator: Sender) -> Self {
        let (kind, ends) = (key.tunnel(), [initiator, initiator.opposite()]);
        let addresses = outer.and_then(Outer::addresses);
        Self {
            kind,
            id: kind.filter(|kind| kind.has_id()).and_then(|_| outer.map(Outer::id)),
            outer: addresses.map(|addresses| ends.map(|end| addresses[end as usize])),
        }
    }
}
