//! Beacons: a host calls another host at regular intervals, and no other host calls that one.
//!
//! Source: the regularity of inter-arrival times and the popularity of targets as in X. Hu, J. Jang, M. P. Stoecklin et
//! al., "BAYWATCH: robust beaconing detection to identify infected hosts in large-scale enterprise networks", DSN 2016,
//! as a sequential test.
//!
//! Counted events: calls. A call is one TCP connection, or several with less than half a second between each and the
//! next. The gap between two calls is the time between their first connections. Continuous connections are therefore
//! one call, and retries to a server that is down are no connections. A gap is *even* if it is within 15 % of the
//! previous gap. A target with more than one caller is not the target of a beacon. A source that calls three targets at
//! regular intervals is a monitor and not a beacon.
//!
//! Parameters: by chance at most one gap in five is even (0.075 in a Poisson process). Of the gaps of a beacon 0.9 are
//! even. Pairs are remembered for an hour, so that is the longest period. Each call of a beacon is reported, so that
//! its incident lasts as long as the beacon.
//!
//! Bound: 10⁻⁶ for each walk over random gaps. Ten even gaps in a row are a beacon.
//!
//! Limits: benign software that polls a server of its own at regular intervals is reported too, because its calls are
//! like those of a beacon.

use flowml_common::flow::Address;
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempt, Outcome};
use super::changed::Changed;
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use super::walk::{ALPHA, Hypotheses, Stand, Walk};
use crate::features::Generations;

const EVEN: Hypotheses = Hypotheses { normal: 0.2, attack: 0.9 };

/// Pairs, targets and sources in a generation, each.
const HOSTS: usize = 1 << 15;

/// Connections with less than this between one and the next are one call, ns.
const ONE_CALL_NS: u64 = 500_000_000;

/// A source that calls at least this many targets at regular intervals is a monitor.
const MONITORED: usize = 3;

/// The lifetime of a generation of pairs, ns, which is also the longest period.
const MEMORY_NS: u64 = 3_600_000_000_000;

/// A source that has called a target at least once.
#[derive(Serialize, Deserialize)]
struct Pair {
    walk: Walk,
    is_beacon: bool,
    is_even: bool,
    /// Start of the last call.
    call_ns: u64,
    /// Start of the last connection.
    last_ns: u64,
    /// The gap between the last two calls, if there were two.
    gap_ns: Option<u64>,
    /// Number of calls since the walk began.
    calls: u64,
    /// Number of them that were reported.
    reported: u64,
    first_ns: u64,
}

impl Pair {
    /// A pair with its first call.
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

    /// Adds a connection. If it begins a call, returns the previous gap and the gap before this call, if both are
    /// known.
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
    /// The first caller of a target; `None` if there were others.
    callers: Generations<Address, Option<Address>>,
    /// Number of targets that a source calls at regular intervals.
    even: Generations<Address, usize>,
    changed: Changed<Key>,
}

impl Beacons {
    pub(super) fn new() -> Self {
        Self {
            pairs: Generations::lasting(HOSTS, MEMORY_NS),
            callers: Generations::lasting(HOSTS, MEMORY_NS),
            even: Generations::lasting(HOSTS, MEMORY_NS),
            changed: Changed::default(),
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
        pair.is_even = stand != Stand::Normal && (was_even || stand == Stand::Attack || pair.walk.is_half());
        let count = self.even.entry(source, at_ns, || 0);
        match (was_even, pair.is_even) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            _ => {}
        }
        match stand {
            Stand::Attack => pair.is_beacon = true,
            Stand::Undecided => {}
            Stand::Normal => *pair = Pair::beginning(at_ns),
        }
        if pair.is_beacon && *count < MONITORED {
            self.changed.add(key);
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
        self.changed.take().filter_map(finding).collect()
    }
}
