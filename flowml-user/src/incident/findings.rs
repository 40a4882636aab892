//! Makes incidents of the findings of sequential tests, one for each event, and adds anomalous windows to them.

use std::collections::{BTreeMap, BTreeSet};

use flowml_common::flow::Address;

use super::assign::MULTI_SOURCE_MIN;
use super::event::{Incident, NAMED, Role, State};
use super::index::{Index, Members, Number};
use super::open::Open;
use super::unusual::Unusual;
use super::{CLOSE_AFTER_NS, Incidents, Link};
use crate::sequential::{Evidence, Family, Finding, Kind, PERIODS, Party, REPEATS};

/// An event without findings for this time is over, ns: the time for which the tests keep their state.
const PAUSE_NS: u64 = 300_000_000_000;

/// Later activity of the same sources is another event after this time, ns: a pause of a minute, and the time to detect
/// the end.
const NEAR_NS: u64 = 65_000_000_000;

/// Activity of other sources or of another kind belongs to the event if it is within this time, ns: the span of a host
/// window.
const TOGETHER_NS: u64 = 2_000_000_000;

impl Open {
    /// The time without findings after which the event is over, ns. A beacon may miss a call, and a slow scan a probe.
    pub(super) fn quiet_ns(&self) -> u64 {
        match self.incident.kind {
            Kind::Unusual => CLOSE_AFTER_NS,
            _ => PAUSE_NS.max(PERIODS * self.incident.evidence.period_ms * 1_000_000),
        }
    }

    pub(super) const fn has_finding(&self) -> bool {
        !matches!(self.incident.kind, Kind::Unusual)
    }

    /// Whether the finding belongs to this event.
    fn is_event_of(&self, finding: &Finding) -> bool {
        self.has_finding() && (self.goes_on_by(finding) || self.is_effect(finding) || self.is_seen_as(finding))
    }

    /// Whether the finding continues the event: the same sources do the same, or other sources do the same to the same
    /// targets at the same time. Sources of a flood may be spoofed, so a flood is identified by its targets. A tunnel
    /// that a resolver forwards is one event, although its parts are between different hosts. The resolver may forward
    /// several tunnels, so it does not identify an event. A scan of many ports of many hosts is one event.
    fn goes_on_by(&self, finding: &Finding) -> bool {
        let Incident { kind, evidence, .. } = &self.incident;
        let family = finding.kind.family();
        let same_sources = self.has(&finding.sources, Role::Source);
        let same_targets = self.has(&finding.targets, Role::Target);
        let same_origins = match family {
            Family::Own(Kind::Tunnel) => self.has_origin_of(finding),
            _ => same_sources,
        };
        let is_alike = match family {
            Family::Own(Kind::Tunnel) => *kind == finding.kind && evidence.protocol == finding.evidence.protocol,
            Family::Scan => kind.family() == family,
            Family::Flood | Family::Own(_) => *kind == finding.kind,
        };
        let passes_on = family == Family::Own(Kind::Tunnel)
            && (self.has(&finding.sources, Role::Target) || self.has(&finding.targets, Role::Source));
        is_alike
            && (same_sources && same_targets
                || (same_origins || same_targets && family == Family::Flood) && self.is_within(finding, NEAR_NS)
                || (same_targets || passes_on) && self.is_within(finding, TOGETHER_NS))
    }

    /// Whether the finding is another view of the event: any activity between the same hosts at the same time, or a
    /// flood of connections of which the victim completes some.
    fn is_seen_as(&self, finding: &Finding) -> bool {
        let same_sources = self.has(&finding.sources, Role::Source);
        let is_flood = [self.incident.kind, finding.kind].into_iter().all(is_of_connections);
        let is_known = self.counted.contains_key(&finding.kind);
        self.has(&finding.targets, Role::Target)
            && (same_sources && self.is_both(finding) || is_flood)
            && self.is_within(finding, if is_known { NEAR_NS } else { TOGETHER_NS })
    }

    /// Whether the finding begins at most `pause_ns` after the last known activity of the event.
    const fn is_within(&self, finding: &Finding, pause_ns: u64) -> bool {
        finding.start_ns <= self.incident.end_ns.saturating_add(pause_ns)
    }

    fn has(&self, party: &Party, role: Role) -> bool {
        party.named.iter().any(|address| self.hosts.contains(&(*address, role)))
    }

    /// Whether a source of the finding is a source of the event, and not also a target, as a resolver that forwards is.
    fn has_origin_of(&self, finding: &Finding) -> bool {
        let is = |address: &Address, role| self.hosts.contains(&(*address, role));
        finding.sources.named.iter().any(|address| is(address, Role::Source) && !is(address, Role::Target))
    }

    /// Whether the activity of the finding's sources can be one event with the incident, given that they share sources.
    /// A flood at the same time as a scan is the same event if most of its sources are scanners. If the flood was found
    /// first, not all scanners may be known yet. Then it is enough that the flood has so few sources that all are
    /// named.
    fn is_both(&self, finding: &Finding) -> bool {
        let sources = self.incident.sources.count;
        match (self.incident.kind.family(), finding.kind.family()) {
            (Family::Scan, Family::Flood) => {
                let is_scanner = |address: &&Address| self.hosts.contains(&(**address, Role::Source));
                let common = finding.sources.named.iter().filter(is_scanner).count();
                2 * common >= finding.sources.named.len() && finding.sources.count <= 2 * sources
            }
            (Family::Flood, Family::Scan) => sources <= NAMED,
            _ => sources.max(finding.sources.count) <= NAMED,
        }
    }

    /// Whether the finding is an effect of a scan: traffic from the targets of this scan to its sources.
    fn is_effect(&self, finding: &Finding) -> bool {
        self.incident.kind.family() == Family::Scan
            && finding.kind.family() == Family::Flood
            && self.is_within(finding, NEAR_NS)
            && self.has(&finding.sources, Role::Target)
            && finding.targets.named.iter().all(|address| self.hosts.contains(&(*address, Role::Source)))
    }

    /// Adds a finding to the event.
    fn testify(&mut self, finding: &Finding, index: &mut Index) {
        if self.is_effect(finding) {
            // Hosts that answer have done nothing on their own.
            self.incident.end_ns = self.incident.end_ns.max(finding.end_ns);
            return;
        }
        let Finding { kind, sources, targets, evidence, start_ns, end_ns, bound } = finding;
        if self.has_finding() {
            self.incident.start_ns = self.incident.start_ns.min(*start_ns);
            self.incident.end_ns = self.incident.end_ns.max(*end_ns);
        } else {
            self.incident.probability = *bound;
            (self.incident.start_ns, self.incident.end_ns) = (*start_ns, *end_ns);
            // An anomalous host is not necessarily the cause.
            (self.incident.sources, self.incident.targets) = Default::default();
            index.leave(&self.hosts, self.number, self.reported);
            self.hosts.clear();
        }
        let before = self.incident.kind.family();
        self.counted.entry(*kind).or_default().add(evidence);
        if let Some((kind, evidence)) = most_of(&self.counted) {
            (self.incident.kind, self.incident.evidence) = (kind, evidence);
        }
        let is_scan = self.incident.kind.family() == Family::Scan;
        if is_scan && before == Family::Flood {
            self.keep_scanners(sources, index);
        }
        // In a scan that is also a flood, other senders to the target are no scanners.
        let sources = (!is_scan || kind.family() == Family::Scan).then_some((sources, Role::Source));
        for (party, role) in sources.into_iter().chain([(targets, Role::Target)]) {
            party.named.iter().for_each(|address| self.name(index, *address, role));
            let hosts = self.incident.hosts_mut(role);
            hosts.count = hosts.count.max(party.count);
        }
    }

    /// Removes hosts that only sent to the target of a flood that turned out to be a scan. Hosts that are also targets
    /// stay.
    fn keep_scanners(&mut self, scanners: &Party, index: &mut Index) {
        let is_other = |(address, role): &&(Address, Role)| {
            *role == Role::Source
                && !scanners.named.contains(address)
                && !self.hosts.contains(&(*address, Role::Target))
        };
        let others: Members = self.hosts.iter().filter(is_other).copied().collect();
        index.leave(&others, self.number, self.reported);
        self.hosts.retain(|host| !others.contains(host));
        let sources = &mut self.incident.sources;
        sources.named.retain(|address| self.hosts.contains(&(*address, Role::Source)));
        sources.count = self.hosts.iter().filter(|(_, role)| *role == Role::Source).count();
    }
}

/// The kind of an event with the most evidence, among those that were found. Kinds that other events resemble count
/// only if there is no other kind. A scan is a flood if it has more packets than a scanner needs, or if its SYNs per
/// second fill the victim's backlog, which the flood test requires of a scan.
fn most_of(counted: &BTreeMap<Kind, Evidence>) -> Option<(Kind, Evidence)> {
    let most = |of: &dyn Fn(Kind) -> bool| {
        let kinds = counted.iter().filter(|(kind, _)| of(**kind)).map(|(kind, evidence)| (*kind, *evidence));
        kinds.max_by_key(|(_, evidence)| weight(evidence))
    };
    let of = |family| most(&|kind: Kind| kind.family() == family);
    match (of(Family::Scan), of(Family::Flood)) {
        (Some(scan), Some(flood)) => {
            let is_flood = flood.0 == Kind::SynFlood || weight(&flood.1) > REPEATS * weight(&scan.1);
            Some(if is_flood { flood } else { scan })
        }
        (scan, flood) => scan.or(flood).or_else(|| most(&|kind| !is_down_weighted(kind))).or_else(|| most(&|_| true)),
    }
}

/// Whether other events between the same hosts resemble this kind: password guesses may have even intervals, and a
/// flood sends many bytes.
const fn is_down_weighted(kind: Kind) -> bool {
    matches!(kind, Kind::Beacon | Kind::Exfiltration)
}

/// Whether an incident of this kind is a flood of connections.
const fn is_of_connections(kind: Kind) -> bool {
    matches!(kind, Kind::SynFlood | Kind::HttpFlood)
}

/// The amount of evidence: attempts or packets.
fn weight(evidence: &Evidence) -> u64 {
    evidence.attempts.max(evidence.packets)
}

impl Incidents {
    /// Records an operator's feedback at `now_ns` that the activity of a host is no attack.
    pub(crate) fn excuse(&mut self, address: Address, now_ns: u64) {
        self.excused.insert(address, now_ns);
    }

    /// Adds the findings of an interval that ends at `now_ns`. The next [`observe`](Self::observe) reports them.
    pub(crate) fn testify(&mut self, findings: &[Finding], now_ns: u64) {
        self.excused.retain(|_, at_ns| at_ns.saturating_add(NEAR_NS) > now_ns);
        for finding in findings {
            if !self.is_excused(finding) {
                self.add_finding(finding);
            }
        }
    }

    /// Whether an operator's feedback states that the activity is no attack: for all named sources, or for all named
    /// targets if there are many sources.
    fn is_excused(&self, finding: &Finding) -> bool {
        let party = if finding.sources.count > MULTI_SOURCE_MIN { &finding.targets } else { &finding.sources };
        party.named.iter().all(|address| self.excused.contains_key(address))
    }

    fn add_finding(&mut self, finding: &Finding) {
        let named = finding.sources.named.iter().chain(&finding.targets.named);
        let near: BTreeSet<Number> = named.flat_map(|address| self.index.all(*address)).collect();
        let is_event = |number: &&Number| self.open.get(number).is_some_and(|open| open.is_event_of(finding));
        // The event with the same sources is preferred, then the latest.
        let rank = |number: &&Number| {
            self.open.get(number).map(|open| (open.has(&finding.sources, Role::Source), open.incident.end_ns))
        };
        let known = near.iter().filter(is_event).max_by_key(rank).copied();
        if let Some(open) = known.and_then(|number| self.open.get_mut(&number)) {
            let before = open.incident.kind;
            open.testify(finding, &mut self.index);
            if open.incident.kind != before {
                self.events.push((State::Named, open.number));
            }
            return;
        }
        // Anomalous windows of the same hosts.
        let is_suspicion = |open: &&Open| !open.has_finding();
        let suspicions: Vec<(Number, bool)> = near
            .iter()
            .filter_map(|number| self.open.get(number).filter(is_suspicion).map(|open| (*number, open.reported)))
            .collect();
        let first =
            suspicions.iter().find(|(_, reported)| *reported).or_else(|| suspicions.first()).map(|(number, _)| *number);
        let Some(number) = first.or_else(|| self.begin_event(finding)) else {
            self.left_out += 1;
            return;
        };
        self.accuse(number, finding);
        // Suspicions that were not reported are part of this incident.
        for (other, _) in suspicions.into_iter().filter(|(other, reported)| !reported && *other != number) {
            self.take_out(other);
        }
    }

    /// Turns a new incident, or one of anomalous windows, into the incident of a finding.
    fn accuse(&mut self, number: Number, finding: &Finding) {
        let Some(open) = self.open.get_mut(&number) else { return };
        open.testify(finding, &mut self.index);
        let state = if open.reported { State::Named } else { State::Open };
        if !open.reported {
            self.reported += 1;
            open.reported = true;
            (open.incident.series_ms, open.incident.number) = (self.series_ms, self.reported);
            self.index.report(&open.hosts);
        }
        self.events.push((state, number));
    }

    /// The incidents that sequential tests have opened or named since the last call, in their current state.
    /// [`observe`](Self::observe) returns the remaining ones.
    pub(crate) fn take_events(&mut self) -> Vec<(State, Incident)> {
        let events = std::mem::take(&mut self.events);
        let incident = |(state, number)| {
            let open = self.open.get(&number).filter(|open| open.reported)?;
            Some((state, open.incident.clone()))
        };
        events.into_iter().filter_map(incident).collect()
    }

    fn begin_event(&mut self, finding: &Finding) -> Option<Number> {
        let (party, role) = if finding.sources.named.len() == 1 {
            (&finding.sources, Role::Source)
        } else {
            (&finding.targets, Role::Target)
        };
        let key = (*party.named.first()?, role);
        self.open_one(Incident::unusual(finding.start_ns, finding.end_ns), key)
    }

    /// Assigns anomalous windows to the event of their host, or of a host with which theirs has flows while the event
    /// lasts. Returns the other windows.
    pub(super) fn join_findings<'a>(
        &mut self,
        mut unusual: BTreeMap<Address, Unusual<'a>>,
    ) -> BTreeMap<Address, Unusual<'a>> {
        let mut joined: BTreeMap<Address, Number> = BTreeMap::new();
        for Link { initiator, responder, .. } in self.past.iter().flat_map(|(_, links)| links) {
            for (one, other) in [(initiator, responder), (responder, initiator)] {
                if let Some(unusual) = unusual.get(one)
                    && !joined.contains_key(one)
                    && let Some(number) = self.event_of(*other)
                    && self.open.get(&number).is_some_and(|open| unusual.window.start_ns <= open.incident.end_ns)
                {
                    joined.insert(*one, number);
                }
            }
        }
        joined.extend(unusual.keys().filter_map(|address| Some((*address, self.event_of(*address)?))));
        for (address, number) in joined {
            if let Some(unusual) = unusual.remove(&address)
                && let Some(open) = self.open.get_mut(&number)
            {
                open.take(unusual.verdict);
            }
        }
        unusual
    }

    /// The oldest event of a sequential test that has this host.
    fn event_of(&self, host: Address) -> Option<Number> {
        self.index.all(host).find(|number| self.open.get(number).is_some_and(Open::has_finding))
    }
}

impl Incident {
    /// An incident without any evidence yet.
    pub(super) fn unusual(start_ns: u64, end_ns: u64) -> Self {
        Self {
            series_ms: 0,
            number: 0,
            kind: Kind::Unusual,
            evidence: Evidence::default(),
            start_ns,
            end_ns,
            sources: Default::default(),
            targets: Default::default(),
            windows: 0,
            flows: 0,
            probability: f64::INFINITY,
            reasons: Vec::new(),
        }
    }
}
