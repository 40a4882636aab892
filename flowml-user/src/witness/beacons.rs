//! Beacons: a host that calls another, which nobody else calls, at even intervals.
//!
//! Source: the regularity of inter-arrival times and the popularity of targets as in X. Hu, J. Jang, M. P. Stoecklin et al.,
//! "BAYWATCH: robust beaconing detection to identify infected hosts in large-scale enterprise networks", DSN 2016, as a sequential
//! test.
//! What counts: calls, which are one TCP connection or several with less than half a second between each and the next. The
//! gap between two calls is that between their first connections. Who connects all the time is in one call; who tries again,
//! as its server is down, has no connection. A gap is even if it is within 15 % of the one before, whatever it is. A target
//! that more than one source calls, and a source that calls three targets evenly (a monitor), are not
//! beacons.
//! Parameters: of chance gaps at most one in five is even (of a Poisson process 0.075), of a beacon 0.9. Bound: 10⁻⁶ for each walk
//! that chance made even; ten even gaps in a row are a beacon. Pairs are remembered for an hour, so periods up to that are seen.
//! Each call of a beacon is reported, so that its incident lasts as long as it does.
//! Limits: software that polls its own server by design is as even as malware that does.

use flowml_common::flow::Address;
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempt, Outcome};
use super::news::News;
use super::sequential::{ALPHA, Hypotheses, Stand, Walk};
use super::{Evidence, Finding, Kind, Party};
use crate::features::Generations;

const EVEN: Hypotheses = Hypotheses { ordinary: 0.2, attack: 0.9 };

/// Pairs, targets and sources of a generation, each.
const HOSTS: usize = 1 << 15;

/// Connections with less than so long between one and the next are one call, ns.
const ONE_CALL_NS: u64 = 500_000_000;

/// A source that calls so many targets evenly watches them.
const MONITORED: usize = 3;

/// How long a generation of pairs lasts, ns: the longest period.
const MEMORY_NS: u64 = 3_600_000_000_000;

/// A source that has called a target at least once.
#[derive(Serialize, Deserialize)]
struct Pair {
    walk: Walk,
    is_beacon: bool,
    is_even: bool,
    /// When the last call began.
    call_ns: u64,
    /// When the last connection began.
    last_ns: u64,
    /// Between the last two calls, if there were two.
    gap_ns: Option<u64>,
    /// Since the walk began.
    calls: u64,
    /// How many of them were reported.
    reported: u64,
    first_ns: u64,
}

impl Pair {
    /// One that calls for the first time.
    fn beginning(at_ns: u64) -> Self {
        Self {
            walk: Walk::default(),
            is_beacon: false,
            is_even: false,
            call_ns: at_ns,
            last_ns: at_ns,
            gap_ns: None,
            calls: 1,
            reported: 0,
            first_ns: at_ns,
        }
    }

    /// Takes a connection. Returns the gaps before the last call and before this one, where it is a call and both are known.
    fn connect(&mut self, at_ns: u64) -> Option<[u64; 2]> {
        let silence_ns = at_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(at_ns);
        if silence_ns < ONE_CALL_NS {
            return None;
        }
        let gap_ns = at_ns.saturating_sub(self.call_ns);
        self.call_ns = at_ns;
        self.calls += 1;
        Some([self.gap_ns.replace(gap_ns)?, gap_ns])
    }

    /// The mean gap, ms.
    const fn period_ms(&self) -> u64 {
        (self.call_ns - self.first_ns) / 1_000_000 / if self.calls > 1 { self.calls - 1 } else { 1 }
    }
}

/// Source, target and port.
type Key = (Address, Address, u16);

#[derive(Serialize, Deserialize)]
pub(super) struct Beacons {
    pairs: Generations<Key, Pair>,
    /// Who called a target first; none where others did too.
    callers: Generations<Address, Option<Address>>,
    /// How many targets a source calls evenly.
    even: Generations<Address, usize>,
    news: News<Key>,
}

impl Beacons {
    pub(super) fn new() -> Self {
        Self {
            pairs: Generations::lasting(HOSTS, MEMORY_NS),
            callers: Generations::lasting(HOSTS, MEMORY_NS),
            even: Generations::lasting(HOSTS, MEMORY_NS),
            news: News::default(),
        }
    }

    pub(super) fn observe(&mut self, attempt: &Attempt) {
        let &Attempt { at_ns, source, target, port, protocol, outcome, .. } = attempt;
        if protocol != protocol::TCP || outcome != Outcome::Success {
            return;
        }
        let caller = self.callers.entry(target, at_ns, || Some(source));
        if *caller != Some(source) {
            *caller = None;
            return;
        }
        let key = (source, target, port);
        let pair = self.pairs.entry(key, at_ns, || Pair::beginning(at_ns));
        let Some([before_ns, gap_ns]) = pair.connect(at_ns) else { return };
        let is_even = gap_ns.abs_diff(before_ns) * 100 <= 15 * before_ns;
        let stand = pair.walk.step(EVEN, is_even);
        let was_even = pair.is_even;
        pair.is_even = stand != Stand::Ordinary && (was_even || stand == Stand::Attack || pair.walk.is_half());
        let count = self.even.entry(source, at_ns, || 0);
        match (was_even, pair.is_even) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            _ => {}
        }
        match stand {
            Stand::Attack => pair.is_beacon = true,
            Stand::Undecided => {}
            Stand::Ordinary => *pair = Pair::beginning(at_ns),
        }
        if pair.is_beacon && *count < MONITORED {
            self.news.add(key);
        }
    }

    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let pairs = &mut self.pairs;
        let finding = |(source, target, port): Key| {
            let pair = pairs.get_mut(&(source, target, port)).filter(|pair| pair.is_beacon)?;
            let evidence = Evidence {
                protocol: protocol::TCP,
                port,
                attempts: pair.calls - std::mem::replace(&mut pair.reported, pair.calls),
                period_ms: pair.period_ms(),
                ..Evidence::default()
            };
            let (start_ns, end_ns) = (pair.first_ns, pair.last_ns);
            let [sources, targets] = [source, target].map(Party::of);
            Some(Finding { kind: Kind::Beacon, sources, targets, evidence, start_ns, end_ns, bound: ALPHA })
        };
        self.news.take().filter_map(finding).collect()
    }
}
