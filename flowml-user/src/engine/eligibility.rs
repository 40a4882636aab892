//! Decides which flows and host windows are eligible for training.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use flowml_common::flow::Address;

use crate::features::HostWindow;
use crate::incident::Incidents;
use crate::learning::Eligibility;
use crate::sequential::Finding;
use crate::session::Ended;

/// Maximum number of flows of one initiator in an interval that are eligible. A single busy initiator must not
/// determine what is normal.
const PER_SOURCE: u32 = 64;

/// For each row of a batch whether it is eligible for training, and the responsible host.
#[derive(Default)]
pub(super) struct Vouched {
    pub(super) eligibility: Vec<Eligibility>,
    pub(super) hosts: Vec<Address>,
}

/// Host windows are eligible unless the host belongs to an incident or to a finding of a sequential test.
pub(super) fn of_hosts(incidents: &Incidents, findings: &[Finding], windows: &[HostWindow]) -> Vouched {
    let parties = findings.iter().flat_map(|finding| [&finding.sources, &finding.targets]);
    let suspects: HashSet<Address, RandomState> = parties.flat_map(|party| party.named.iter().copied()).collect();
    let one = |window: &HostWindow| match suspects.contains(&window.address) {
        true => Eligibility::Suspect,
        false => by_trust(incidents, &[window.address]),
    };
    let hosts = windows.iter().map(|window| window.address).collect();
    Vouched { eligibility: windows.iter().map(one).collect(), hosts }
}

/// Flows are eligible unless a host belongs to an incident, up to a limit per initiator.
pub(super) fn of_flows(incidents: &Incidents, ended: &[Ended]) -> Vouched {
    let mut by_source: HashMap<Address, u32, RandomState> = HashMap::default();
    let one = |ended: &Ended| {
        let ends =
            [ended.initiator.sender, ended.initiator.sender.opposite()].map(|end| ended.key.endpoint(end).address);
        let flows = by_source.entry(ends[0]).or_default();
        *flows += 1;
        (if *flows > PER_SOURCE { Eligibility::Surplus } else { by_trust(incidents, &ends) }, ends[0])
    };
    let (eligibility, hosts) = ended.iter().map(one).unzip();
    Vouched { eligibility, hosts }
}

fn by_trust(incidents: &Incidents, addresses: &[Address]) -> Eligibility {
    let is_suspect = addresses.iter().any(|address| incidents.is_suspect(*address));
    if is_suspect { Eligibility::Suspect } else { Eligibility::Welcome }
}
