//! Which flows and host windows may teach a model what is ordinary.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use flowml_common::flow::Address;

use crate::features::HostWindow;
use crate::incident::Incidents;
use crate::model::Teaching;
use crate::session::Ended;
use crate::witness::Finding;

/// Flows of one initiator that may teach in one interval: who makes many is not to say alone what is ordinary.
const PER_SOURCE: u32 = 64;

/// Of each row of a batch, whether it may teach, and the host that is responsible for it.
#[derive(Default)]
pub(super) struct Vouched {
    pub(super) teaching: Vec<Teaching>,
    pub(super) hosts: Vec<Address>,
}

/// None that are of an incident's hosts, or of those that a test speaks against.
pub(super) fn of_hosts(incidents: &Incidents, findings: &[Finding], windows: &[HostWindow]) -> Vouched {
    let parties = findings.iter().flat_map(|finding| [&finding.sources, &finding.targets]);
    let accused: HashSet<Address, RandomState> = parties.flat_map(|party| party.named.iter().copied()).collect();
    let one = |window: &HostWindow| match accused.contains(&window.address) {
        true => Teaching::Suspect,
        false => by_trust(incidents, &[window.address]),
    };
    let hosts = windows.iter().map(|window| window.address).collect();
    Vouched { teaching: windows.iter().map(one).collect(), hosts }
}

/// None that are of an incident's hosts, and not too many of one initiator.
pub(super) fn of_flows(incidents: &Incidents, ended: &[Ended]) -> Vouched {
    let mut by_source: HashMap<Address, u32, RandomState> = HashMap::default();
    let one = |ended: &Ended| {
        let ends =
            [ended.initiator.sender, ended.initiator.sender.opposite()].map(|end| ended.key.endpoint(end).address);
        let flows = by_source.entry(ends[0]).or_default();
        *flows += 1;
        (if *flows > PER_SOURCE { Teaching::Surplus } else { by_trust(incidents, &ends) }, ends[0])
    };
    let (teaching, hosts) = ended.iter().map(one).unzip();
    Vouched { teaching, hosts }
}

fn by_trust(incidents: &Incidents, addresses: &[Address]) -> Teaching {
    let is_suspect = addresses.iter().any(|address| incidents.is_suspect(*address));
    if is_suspect { Teaching::Suspect } else { Teaching::Welcome }
}
