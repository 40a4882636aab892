//! Sequential tests of traffic: what they find holds on any network, as they need no training and have a bound on false alarms.
//!
//! Each test is a file, whose first lines say where it is from, its parameters and its bound. They see each part of a flow as it
//! stands in its session ([`Witnesses::observe`]), and say at the end of an interval what they found ([`Witnesses::interval`]).

mod amplifiers;
mod attempts;
mod beacons;
mod contact;
mod exfiltration;
mod floods;
mod gauge;
mod kind;
mod logins;
mod news;
#[cfg(test)]
pub(crate) mod samples;
mod scans;
mod sequential;
mod slow;
#[cfg(test)]
mod tests;
mod tunnels;
mod visibility;

use flowml_common::flow::{Address, Part};

pub use kind::{Evidence, Family, Kind, Story};
pub use scans::REPEATS;

use crate::session::{Ended, Standing};
use amplifiers::Amplifiers;
use attempts::{Attempt, Attempts};
use beacons::Beacons;
use contact::Contact;
use exfiltration::Exfiltration;
use floods::Floods;
use logins::Logins;
use scans::Scans;
use serde::{Deserialize, Serialize};
use slow::Slow;
use tunnels::Tunnels;
use visibility::Visibility;

/// Hosts of a party that are named.
const NAMED: usize = 8;

/// Hosts on one side of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The first of them.
    pub named: Vec<Address>,
    /// About how many there are.
    pub count: usize,
}

impl Party {
    fn of(address: Address) -> Self {
        Self { named: vec![address], count: 1 }
    }

    /// Names one more while there is room.
    fn name(&mut self, address: Address) {
        if self.named.len() < NAMED && !self.named.contains(&address) {
            self.named.push(address);
            self.count = self.named.len();
        }
    }
}

/// What a test found in an interval. An event that lasts has one in each.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Who did it.
    pub sources: Party,
    /// To whom.
    pub targets: Party,
    /// What was counted since the test said so last.
    pub evidence: Evidence,
    /// When the event began, ns of the capture's clock.
    pub start_ns: u64,
    /// When the last of it was seen.
    pub end_ns: u64,
    /// The chance that the test says so of ordinary traffic.
    pub bound: f64,
}

/// All tests.
#[derive(Serialize, Deserialize)]
pub struct Witnesses {
    visibility: Visibility,
    attempts: Attempts,
    scans: Scans,
    floods: Floods,
    amplifiers: Amplifiers,
    logins: Logins,
    slow: Slow,
    beacons: Beacons,
    exfiltration: Exfiltration,
    tunnels: Tunnels,
    /// When the last interval ended, ns of the capture's clock.
    since_ns: Option<u64>,
    /// When the run began.
    began_ns: Option<u64>,
    seed: u64,
}

impl Witnesses {
    /// Tests that have seen nothing. They sample large sets of addresses by `seed`: a secret where nobody should know which.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            visibility: Visibility::default(),
            attempts: Attempts::default(),
            scans: Scans::new(),
            floods: Floods::new(seed),
            amplifiers: Amplifiers::new(),
            logins: Logins::new(),
            slow: Slow::default(),
            beacons: Beacons::new(),
            exfiltration: Exfiltration::new(),
            tunnels: Tunnels::new(),
            since_ns: None,
            began_ns: None,
            seed,
        }
    }

    /// Takes a part of a flow, as it stands in its session.
    pub fn observe(&mut self, part: &Part, standing: Standing) {
        let contact = Contact::new(part, standing);
        self.since_ns.get_or_insert(contact.first_ns());
        self.began_ns.get_or_insert(contact.first_ns());
        self.visibility.observe(&contact);
        let visible = self.visibility.of(&contact);
        if let Some(attempt) = self.attempts.observe(&contact, visible) {
            self.attempt(&attempt);
        }
        self.floods.observe(&contact, visible);
        self.amplifiers.observe(&contact);
        self.slow.observe(&contact);
        self.exfiltration.observe(&contact);
        self.tunnels.observe(&contact, visible);
    }

    /// Takes note that packets were counted which no test has seen: what is missing since then says nothing.
    pub fn look_away(&mut self) {
        self.attempts.look_away();
    }

    /// Takes sessions that have ended.
    pub fn ended(&mut self, ended: &[Ended]) {
        self.logins.observe(ended);
    }

    /// Ends an interval at `now_ns`: what was found in it.
    pub fn interval(&mut self, now_ns: u64) -> Vec<Finding> {
        self.conclude(now_ns, false)
    }

    /// Ends the run at `now_ns`: nothing is waited for any more.
    pub fn finish(&mut self, now_ns: u64) -> Vec<Finding> {
        self.conclude(now_ns, true)
    }

    fn conclude(&mut self, now_ns: u64, is_end: bool) -> Vec<Finding> {
        for attempt in self.attempts.expire(now_ns, is_end) {
            self.attempt(&attempt);
        }
        let since_ns = self.since_ns.replace(now_ns).unwrap_or(now_ns);
        // What is counted of an interval that ends early, and of the end of a run, came in no less time than this.
        let least = if is_end { 1.0 } else { 0.25 };
        let seconds = (now_ns.saturating_sub(since_ns) as f64 / 1e9).max(least);
        self.visibility.age();
        let mut findings = self.scans.findings();
        findings.extend(self.floods.interval(self.began_ns.unwrap_or(now_ns), now_ns, seconds));
        findings.extend(self.amplifiers.findings());
        findings.extend(self.logins.findings());
        findings.extend(self.slow.findings(now_ns));
        findings.extend(self.beacons.findings());
        findings.extend(self.exfiltration.findings());
        let floods = &mut self.floods;
        findings.extend(self.tunnels.findings(seconds, |target| floods.is_icmp_flood(target)));
        findings
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.scans.observe(attempt);
        let is_scan = self.scans.is_scan(attempt);
        self.floods.attempt(attempt, is_scan);
        if !is_scan {
            self.beacons.observe(attempt);
        }
    }

    /// Forgets everything, as at the start of a run.
    pub fn forget(&mut self) {
        *self = Self::new(self.seed);
    }
}
