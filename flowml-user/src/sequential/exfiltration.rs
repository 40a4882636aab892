//! Exfiltration: a host sends far more in a minute than in any minute before.
//!
//! Source: record statistics of a sequence whose tail is no heavier than Zipf's law, as that of transfer sizes (M. E.
//! Crovella, A. Bestavros, "Self-similarity in World Wide Web traffic", IEEE/ACM ToN 5, 1997: tail indices of 1.0 to
//! 1.3).
//!
//! Bound: after `n` minutes with one distribution, the next minute is the largest with the probability 1/(n + 1). With
//! a tail index of 1, it is `r` times as large as the largest before with the probability 1/(r(n + 1)). An alarm
//! requires that this is at most 10⁻⁴: after ten minutes nine hundred times the largest minute, after two hours eighty
//! times.
//!
//! Counted events: a host that was observed for at least ten minutes since its first flow of two packets, and that
//! sends at least ten times what it receives. The largest receiver of the minute is the target. Flows of less than 64
//! KiB in an interval are ignored. A minute counts as at least 1 MiB.
//!
//! Limits: the first backup of a host, and the first large download from a server, are reported, because the host sends
//! far more than it ever sent before.

use flowml_common::flow::{Address, Sender};
use serde::{Deserialize, Serialize};

use super::changed::Changed;
use super::contact::Contact;
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use crate::features::Generations;

/// Hosts in a generation.
const HOSTS: usize = 1 << 15;

/// Partial flows with fewer bytes than this in a direction are ignored.
const LARGE: u64 = 64 << 10;

const MINUTE_NS: u64 = 60_000_000_000;

/// Minutes that a host must have been observed.
const KNOWN: u64 = 10;

/// The smallest size of a minute, bytes.
const LEAST: u64 = 1 << 20;

/// The probability of a false alarm in a minute.
const BOUND: f64 = 1e-4;

/// A host. Most hosts never send or receive a large flow, so their entry is small and stays in the cache.
#[derive(Default, Serialize, Deserialize)]
struct Host {
    born_ns: u64,
    volume: Option<Box<Volume>>,
}

/// The bytes of a host's large flows by minute.
#[derive(Default, Serialize, Deserialize)]
struct Volume {
    minute: u64,
    sent: u64,
    received: u64,
    most: u64,
    /// The receiver of most bytes, by majority vote, and its votes in bytes.
    receiver: Option<Address>,
    votes: u64,
    counted: u64,
    last_ns: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Exfiltration {
    hosts: Generations<Address, Host>,
    changed: Changed<Address>,
}

impl Exfiltration {
    pub(super) fn new() -> Self {
        Self { hosts: Generations::new(HOSTS), changed: Changed::default() }
    }

    pub(super) fn observe(&mut self, contact: &Contact<'_>) {
        let now_ns = contact.last_ns();
        let born = || Host { born_ns: now_ns, ..Host::default() };
        // A spoofed source sends a single first packet. A flood of them must not displace hosts with a history.
        if contact.renews {
            self.hosts.entry(contact.source.address, now_ns, born);
        }
        for sender in [Sender::Lower, Sender::Upper] {
            let bytes = contact.partial.stats.direction(sender).ip_bytes;
            if bytes < LARGE {
                continue;
            }
            let [from, to] = [sender, sender.opposite()].map(|end| contact.partial.key.endpoint(end).address);
            self.hosts.entry(to, now_ns, born).volume(now_ns).received += bytes;
            let host = self.hosts.entry(from, now_ns, born);
            let born_ns = host.born_ns;
            let volume = host.volume(now_ns);
            volume.sent += bytes;
            volume.last_ns = now_ns;
            volume.vote(to, bytes);
            if volume.is_alarm(born_ns) {
                self.changed.add(from);
            }
        }
    }

    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let hosts = &mut self.hosts;
        let finding = |source| {
            let volume = hosts.get_mut(&source)?.volume.as_mut()?;
            let bytes = volume.sent - std::mem::replace(&mut volume.counted, volume.sent);
            Some(Finding {
                kind: Kind::Exfiltration,
                sources: Party::of(source),
                targets: Party::of(volume.receiver?),
                evidence: Evidence { bytes, ..Evidence::default() },
                start_ns: volume.minute * MINUTE_NS,
                end_ns: volume.last_ns,
                bound: BOUND,
            })
        };
        self.changed.take().filter_map(finding).collect()
    }
}

impl Host {
    /// The bytes of the minute of `now_ns`.
    fn volume(&mut self, now_ns: u64) -> &mut Volume {
        self.volume.get_or_insert_default().turn(now_ns)
    }
}

impl Volume {
    /// Starts a new minute if it is time. A minute with an alarm is not added to the history.
    fn turn(&mut self, now_ns: u64) -> &mut Self {
        let minute = now_ns / MINUTE_NS;
        if minute != self.minute {
            if self.counted == 0 {
                self.most = self.most.max(self.sent);
            }
            (self.minute, self.sent, self.received, self.counted) = (minute, 0, 0, 0);
            (self.receiver, self.votes) = (None, 0);
        }
        self
    }

    /// The majority vote of Boyer and Moore.
    fn vote(&mut self, to: Address, bytes: u64) {
        if self.receiver == Some(to) {
            self.votes += bytes;
        } else if self.votes >= bytes {
            self.votes -= bytes;
        } else {
            (self.receiver, self.votes) = (Some(to), bytes - self.votes);
        }
    }

    /// Whether a host that was first seen at `born_ns` sends far more than ever.
    fn is_alarm(&self, born_ns: u64) -> bool {
        let known = (self.minute * MINUTE_NS).saturating_sub(born_ns) / MINUTE_NS;
        let times = 1.0 / (BOUND * (known + 1) as f64);
        known >= KNOWN
            && self.sent as f64 >= times.max(2.0) * self.most.max(LEAST) as f64
            && self.sent >= 10 * self.received
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::sequential::samples::{assert_bounded, simulated};

    /// The bytes that a host sends in a minute have the heaviest tail that is still normal: an index of 1.
    #[test]
    fn false_alarms_for_minutes_of_normal_hosts_stay_within_the_bound() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let (mut alarms, minutes) = (0, 60);
        for _ in 0..simulated() {
            let mut volume = Volume::default();
            for minute in 0..minutes {
                volume.turn(minute * MINUTE_NS).sent = (LEAST as f64 / (1.0 - random.r#gen::<f64>())) as u64;
                if volume.is_alarm(0) {
                    alarms += 1;
                    volume.counted = volume.sent;
                }
            }
        }
        assert_bounded("exfiltration", alarms, BOUND * (simulated() * (minutes - KNOWN)) as f64);
    }
}
