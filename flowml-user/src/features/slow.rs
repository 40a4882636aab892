//! The slow view: what a host did to others over minutes, for activity that is too slow to show in seconds.
//!
//! Counts decay: an event counts one when it happens, and e times less after each time constant (decaying counters: E.
//! Cohen and M. Strauss, "Maintaining time-decaying stream aggregates", PODS 2003; Kitsune's damped statistics: Y.
//! Mirsky et al., NDSS 2018). At a steady rate, the count equals the number of events in one time constant. A counter
//! is two numbers, however much it counts. All counts are of the initiator of a flow, because earlier activity of
//! others against the responder is no evidence about this flow. The maps are bounded, together by about 40 MiB,
//! whatever addresses packets carry.

use std::time::Duration;

use flowml_common::flow::{Address, FlowKey, PartialFlow};
use flowml_common::headers::protocol;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::generations::Generations;
use crate::session::{SlowCounts, Standing};

/// The time constant of peers and ports.
const LONG: Duration = Duration::from_secs(600);

/// The time constants of connections: that of a host window, one minute, and ten minutes.
const CONNECTIONS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(60), LONG];

/// Initiators in a generation.
const SOURCES: usize = 1 << 15;

/// Pairs of hosts in a generation, and services that hosts contact.
const PAIRS: usize = 1 << 16;

/// Two hosts, the initiator first.
type Pair = [Address; 2];

/// A service of one host that another host contacts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Service {
    pair: Pair,
    protocol: u8,
    port: u16,
}

/// Decayed counts with a common time.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counts<const N: usize> {
    #[serde(serialize_with = "as_sequence", deserialize_with = "of_sequence")]
    counts: [f32; N],
    at_ns: u64,
}

/// Serializes an array of any length. serde supports only fixed lengths.
fn as_sequence<S: Serializer, const N: usize>(counts: &[f32; N], to: S) -> Result<S::Ok, S::Error> {
    counts.as_slice().serialize(to)
}

fn of_sequence<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[f32; N], D::Error> {
    let counts = Vec::deserialize(from)?;
    counts
        .try_into()
        .map_err(|counts: Vec<f32>| Error::invalid_length(counts.len(), &"as many counts as time constants"))
}

impl<const N: usize> Counts<N> {
    const fn new(at_ns: u64) -> Self {
        Self { counts: [0.0; N], at_ns }
    }

    /// The counts at `now_ns`; `constants` are their time constants.
    fn at(&self, now_ns: u64, constants: [Duration; N]) -> Self {
        let age_s = now_ns.saturating_sub(self.at_ns) as f32 / 1e9;
        let mut counts = self.counts;
        if age_s > 0.0 {
            let decayed = counts.iter_mut().zip(constants);
            decayed.for_each(|(count, constant)| *count *= (-age_s / constant.as_secs_f32()).exp());
        }
        Self { counts, at_ns: self.at_ns.max(now_ns) }
    }

    /// Adds `events` at `now_ns`.
    fn add(&mut self, events: u8, now_ns: u64, constants: [Duration; N]) {
        *self = self.at(now_ns, constants);
        self.counts.iter_mut().for_each(|count| *count += f32::from(events));
    }
}

/// The contacts between hosts, and of hosts with services.
#[derive(Serialize, Deserialize)]
pub(super) struct SlowView {
    /// Number of peers of each initiator.
    sources: Generations<Address, Counts<1>>,
    /// Number of ports of a responder to which an initiator opened flows.
    pairs: Generations<Pair, Counts<1>>,
    /// Number of TCP connections to a service; 0 for other protocols.
    services: Generations<Service, Counts<3>>,
}

impl Default for SlowView {
    fn default() -> Self {
        let lasting_ns = LONG.as_nanos() as u64;
        Self {
            sources: Generations::lasting(SOURCES, lasting_ns),
            pairs: Generations::lasting(PAIRS, lasting_ns),
            services: Generations::lasting(PAIRS, lasting_ns),
        }
    }
}

impl SlowView {
    /// Counts the flow if this partial flow begins it.
    pub(super) fn add(&mut self, partial: &PartialFlow, standing: Standing) {
        if !standing.new {
            return;
        }
        let at_ns = partial.stats.first_ns();
        let new_port = service(&partial.key, standing).is_some_and(|service| {
            let is_connection = u8::from(service.protocol == protocol::TCP);
            let (is_new, counts) = touch(&mut self.services, service, at_ns);
            counts.add(is_connection, at_ns, CONNECTIONS);
            is_new
        });
        let pair = standing.addresses(&partial.key);
        let (new_peer, ports) = touch(&mut self.pairs, pair, at_ns);
        ports.add(new_port.into(), at_ns, [LONG]);
        let (_, peers) = touch(&mut self.sources, pair[0], at_ns);
        peers.add(new_peer.into(), at_ns, [LONG]);
    }

    /// The activity of the initiator of a flow until `now_ns`.
    pub(super) fn around(&self, key: &FlowKey, standing: Standing, now_ns: u64) -> SlowCounts {
        let pair = standing.addresses(key);
        let one = |counts: Option<&Counts<1>>| counts.map_or(0.0, |counts| counts.at(now_ns, [LONG]).counts[0]);
        let connections = service(key, standing).and_then(|service| self.services.get(&service));
        SlowCounts {
            peers: one(self.sources.get(&pair[0])),
            ports: one(self.pairs.get(&pair)),
            connections: connections.map_or([0.0; 3], |counts| counts.at(now_ns, CONNECTIONS).counts),
        }
    }
}

/// The counts of `key`, and whether it was not seen within the long time constant.
fn touch<K: Copy + Eq + std::hash::Hash, const N: usize>(
    map: &mut Generations<K, Counts<N>>,
    key: K,
    at_ns: u64,
) -> (bool, &mut Counts<N>) {
    let mut is_new = false;
    let counts = map.entry(key, at_ns, || {
        is_new = true;
        Counts::new(at_ns)
    });
    is_new |= at_ns.saturating_sub(counts.at_ns) > LONG.as_nanos() as u64;
    (is_new, counts)
}

/// The service of a flow; `None` if the packets have no ports.
fn service(key: &FlowKey, standing: Standing) -> Option<Service> {
    let port = key.endpoint(standing.initiator.opposite()).port;
    key.has_ports().then(|| Service { pair: standing.addresses(key), protocol: key.protocol(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::comparisons;
    use crate::session::samples::{partial_of, tcp};
    use flowml_common::flow::{SYN, Sender};

    const SECOND: u64 = 1_000_000_000;

    /// A TCP connection of 10.0.0.1 from this port, with its standing.
    fn connection(at_ns: u64, port: u16, to: &str) -> (PartialFlow, Standing) {
        let partial = partial_of(&[tcp(at_ns, &format!("10.0.0.1:{port}"), to, SYN)]);
        let initiator = match partial.key.endpoint(Sender::Lower).port == port {
            true => Sender::Lower,
            false => Sender::Upper,
        };
        (partial, Standing { new: true, initiator, answered: false, about_sender: false, renews: true })
    }

    fn after(connections: impl Iterator<Item = (PartialFlow, Standing)>, now_ns: u64) -> SlowCounts {
        let mut view = SlowView::default();
        let mut last = None;
        for (partial, standing) in connections {
            view.add(&partial, standing);
            last = Some((partial, standing));
        }
        let (partial, standing) = last.expect("there are connections");
        view.around(&partial.key, standing, now_ns)
    }

    #[test]
    fn one_port_per_second_counts_about_sixty_after_a_minute_and_at_most_the_time_constant() {
        let scan = |seconds: u64| {
            let of = move |n| connection(n * SECOND, 40_000, &format!("10.0.0.2:{}", 1 + n));
            after((0..seconds).map(of), seconds * SECOND)
        };
        let minute = scan(60);
        assert!((minute.ports - 57.0).abs() < 1.0, "{minute:?}");
        assert!((minute.peers - 0.9).abs() < 0.1, "{minute:?}");
        let hours = scan(7200);
        assert!((hours.ports - 600.0).abs() < 2.0, "{hours:?}");
    }

    #[test]
    fn one_host_per_second_counts_about_sixty_peers_after_a_minute() {
        let sweep = |n| connection(n * SECOND, 40_000, &format!("10.0.1.{n}:22"));
        let minute = after((0..60).map(sweep), 60 * SECOND);
        assert!((minute.peers - 57.0).abs() < 1.0 && minute.ports <= 1.0, "{minute:?}");
    }

    #[test]
    fn connections_to_one_service_are_counted_by_pair_and_decay() {
        let guess = |n: u64| connection(n * SECOND / 10, 40_000 + n as u16, "10.0.0.2:902");
        let now = after((0..100).map(guess), 10 * SECOND);
        let [seconds, minute, minutes] = now.connections;
        assert!((seconds - 20.0).abs() < 1.0 && (minute - 92.0).abs() < 1.0 && (minutes - 99.0).abs() < 1.0, "{now:?}");
        assert!(now.ports <= 1.0, "one port: {now:?}");
        let later = after((0..100).map(guess), 70 * SECOND).connections;
        assert!(later[0] < 1e-9 && (later[1] - minute / 1f32.exp()).abs() < 1.0, "{later:?}");
    }

    #[test]
    fn peers_seen_within_the_time_constant_are_not_counted_again() {
        let often = |n: u64| connection(n * 60 * SECOND, 40_000, "10.0.0.2:443");
        assert!(after((0..100).map(often), 6000 * SECOND).peers < 0.01);
        let rarely = |n: u64| connection(n * 700 * SECOND, 40_000, "10.0.0.2:443");
        assert!(after((0..10).map(rarely), 6300 * SECOND).peers > 1.0);
    }

    #[test]
    fn the_work_of_a_flow_does_not_depend_on_the_number_of_hosts() {
        let flow = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            connection(u64::from(number) * 1000, 40_000, &format!("11.{a}.{b}.{c}:80"))
        };
        let work = |hosts: u32| {
            let mut view = SlowView::default();
            (0..hosts).map(flow).for_each(|(partial, standing)| view.add(&partial, standing));
            comparisons();
            for (partial, standing) in (hosts - 100..hosts + 100).map(flow) {
                view.add(&partial, standing);
                view.around(&partial.key, standing, partial.stats.first_ns());
            }
            comparisons()
        };
        let [few, many] = [1_000, 100_000].map(work);
        assert!(few > 400 && many < 2 * few, "{few} with a thousand hosts, {many} with a hundred thousand");
    }

    #[test]
    fn memory_is_bounded_for_any_traffic() {
        let mut view = SlowView::default();
        for n in 0..3 * PAIRS as u32 {
            let [_, a, b, c] = n.to_be_bytes();
            let (partial, standing) = connection(u64::from(n) * 1000, 40_000, &format!("11.{a}.{b}.{c}:80"));
            view.add(&partial, standing);
        }
        assert!(view.sources.len() <= 2 * SOURCES && view.services.len() <= 2 * PAIRS && view.pairs.len() <= 2 * PAIRS);
    }
}
