//! Replaces the addresses in rows and events by pseudonyms, before they are given to outputs.

use std::collections::HashMap;
use std::net::IpAddr;

use ahash::RandomState;
use flowml_common::flow::Address;

use crate::features::{Aggregate, FlowRow, HostWindow};
use crate::incident::Incident;
use crate::process::crypto_pan::CryptoPan;

/// The largest number of pseudonyms in memory: about 3 MiB. Then all are computed again.
const MOST_KNOWN: usize = 1 << 16;

/// Replaces addresses by pseudonyms.
pub(super) struct Pseudonyms {
    function: CryptoPan,
    /// The pseudonyms that were computed, as computing one takes longer than finding it.
    known: HashMap<Address, Address, RandomState>,
}

impl Pseudonyms {
    pub(super) fn new(function: CryptoPan) -> Self {
        Self { function, known: HashMap::default() }
    }

    fn of(&mut self, address: Address) -> Address {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        *self.known.entry(address).or_insert_with(|| match self.function.pseudonym(address.to_ip()) {
            IpAddr::V4(pseudonym) => Address::from_v4(pseudonym.to_bits()),
            IpAddr::V6(pseudonym) => {
                let bits = pseudonym.to_bits();
                Address::from_v6((bits >> 64) as u64, bits as u64)
            }
        })
    }

    /// Replaces the addresses of a flow.
    pub(super) fn flow(&mut self, row: FlowRow) -> FlowRow {
        FlowRow { record: row.record.with_pseudonyms(|address| self.of(address)), ..row }
    }

    /// Replaces the address of a host window.
    pub(super) fn host(&mut self, window: HostWindow) -> HostWindow {
        HostWindow { address: self.of(window.address), ..window }
    }

    /// Replaces the address of an aggregate record.
    pub(super) fn aggregate(&mut self, mut aggregate: Aggregate) -> Aggregate {
        aggregate.target = aggregate.target.map(|address| self.of(address));
        aggregate
    }

    /// Replaces the addresses of an incident.
    pub(super) fn incident(&mut self, mut incident: Incident) -> Incident {
        for hosts in [&mut incident.sources, &mut incident.targets] {
            hosts.named.iter_mut().for_each(|address| *address = self.of(*address));
        }
        incident
    }
}
