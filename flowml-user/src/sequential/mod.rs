//! Sequential tests of traffic: they apply to any network without training and have a bound on false alarms.
//!
//! Each test is a file, whose first lines state its source, its parameters and its bound. The tests receive each
//! partial flow with its standing in the session ([`SequentialTests::observe`]), and return their findings at the end of an
//! interval ([`SequentialTests::interval`]).
//!
//! ```
//! use flowml_user::sequential::{Kind, SequentialTests};
//!
//! let mut tests = SequentialTests::new(1);
//! assert_eq!(tests.interval(1_000_000_000).len(), 0);
//! assert!(Kind::all().all(|kind| !kind.name().is_empty()));
//! ```

mod amplifiers;
mod attempts;
mod beacons;
mod changed;
mod contact;
mod exfiltration;
mod finding;
mod floods;
mod gauge;
mod kind;
mod logins;
#[cfg(test)]
pub(crate) mod samples;
mod scans;
mod slow;
#[cfg(test)]
mod tests;
mod tunnels;
mod visibility;
mod walk;
mod watched;

use flowml_common::flow::PartialFlow;

pub use finding::{Finding, Party};
pub use kind::{Evidence, Family, Kind, Story};
pub use scans::PERIODS;
pub(crate) use scans::REPEATS;

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

/// The shortest interval in which the flood tests measure a rate, s.
const RATE_S: f64 = 0.25;

/// The shortest interval of the tests that count intervals, s: one second, from which the intervals of a run vary.
const STEP_S: f64 = 0.9;

/// The shortest duration that is assumed for the last interval of a run, s.
const LAST_S: f64 = 1.0;

/// The start of the current interval of some tests, ns of the capture's clock.
#[derive(Default, Serialize, Deserialize)]
struct Since(Option<u64>);

impl Since {
    /// Starts the first interval, at the first packet.
    fn begin(&mut self, at_ns: u64) {
        self.0.get_or_insert(at_ns);
    }

    /// The duration of the interval that ends at `now_ns`, s. `None` if it is shorter than `shortest` and continues.
    fn end(&mut self, now_ns: u64, shortest: f64, is_last: bool) -> Option<f64> {
        let seconds = now_ns.saturating_sub(*self.0.get_or_insert(now_ns)) as f64 / 1e9;
        if seconds < shortest && !is_last {
            return None;
        }
        self.0 = Some(now_ns);
        Some(if is_last { seconds.max(LAST_S) } else { seconds })
    }
}

/// All tests.
#[derive(Serialize, Deserialize)]
pub struct SequentialTests {
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
    /// The interval of the tests of rates.
    rates: Since,
    /// The interval of the tests that count intervals.
    steps: Since,
    /// Start of the run, ns of the capture's clock.
    began_ns: Option<u64>,
    seed: u64,
}

impl SequentialTests {
    /// Tests without any state. They sample large sets of addresses with `seed`, which must be secret if nobody may
    /// know the sample.
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
            rates: Since::default(),
            steps: Since::default(),
            began_ns: None,
            seed,
        }
    }

    /// Adds a partial flow with its standing in its session.
    pub fn observe(&mut self, partial: &PartialFlow, standing: Standing) {
        let contact = Contact::new(partial, standing);
        self.rates.begin(contact.first_ns());
        self.steps.begin(contact.first_ns());
        self.began_ns.get_or_insert(contact.first_ns());
        let visible = self.visibility.observe(&contact);
        if let Some(attempt) = self.attempts.observe(&contact, visible) {
            self.attempt(&attempt);
        }
        self.floods.observe(&contact, visible);
        self.amplifiers.observe(&contact);
        self.slow.observe(&contact);
        self.exfiltration.observe(&contact);
        self.tunnels.observe(&contact, visible);
    }

    /// Records that packets were counted which no test received. Missing answers are no evidence for attempts until
    /// then.
    pub(crate) fn look_away(&mut self) {
        self.attempts.look_away();
    }

    /// Adds sessions that have ended.
    pub fn ended(&mut self, ended: &[Ended]) {
        self.logins.observe(ended);
    }

    /// Returns the findings by `now_ns`. It may be called at any time: tests of rates, and tests that count intervals,
    /// wait until their own interval is long enough.
    pub fn interval(&mut self, now_ns: u64) -> Vec<Finding> {
        self.conclude(now_ns, false)
    }

    /// Ends the run at `now_ns` and returns the findings of the last interval, without waiting for further answers.
    pub fn finish(&mut self, now_ns: u64) -> Vec<Finding> {
        self.conclude(now_ns, true)
    }

    fn conclude(&mut self, now_ns: u64, is_end: bool) -> Vec<Finding> {
        for attempt in self.attempts.expire(now_ns, is_end) {
            self.attempt(&attempt);
        }
        let mut findings = self.scans.findings();
        if let Some(seconds) = self.rates.end(now_ns, RATE_S, is_end) {
            findings.extend(self.floods.interval(self.began_ns.unwrap_or(now_ns), now_ns, seconds));
        }
        if let Some(seconds) = self.steps.end(now_ns, STEP_S, is_end) {
            findings.extend(self.step(now_ns, seconds));
        }
        findings
    }

    /// Ends an interval of the tests that count intervals.
    fn step(&mut self, now_ns: u64, seconds: f64) -> Vec<Finding> {
        self.visibility.age();
        let mut findings = self.amplifiers.findings();
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

    /// Drops all state, as at the start of a run.
    pub fn forget(&mut self) {
        *self = Self::new(self.seed);
    }
}
