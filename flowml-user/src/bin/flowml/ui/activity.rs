//! Traffic per flow and host since the last table, to list those with the most bytes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use flowml_common::flow::{Address, FlowKey, FlowStats, Sender};
use flowml_common::table::Count;

/// The traffic of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowActivity {
    /// The initiator, as far as is known.
    pub(crate) initiator: Sender,
    /// Packets and bytes that each endpoint sent, in the order of the key.
    pub(crate) sent: [Count; 2],
}

impl FlowActivity {
    /// The traffic of both directions.
    pub(crate) fn total(&self) -> Count {
        let [mut total, other] = self.sent;
        total.add(other.packets, other.bytes);
        total
    }

    /// Whether both endpoints sent something.
    pub(crate) fn is_two_way(&self) -> bool {
        self.sent.iter().all(|sent| sent.packets > 0)
    }
}

/// The traffic of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostActivity {
    /// Number of flows that involve the host.
    pub(crate) flows: u64,
    /// Traffic from the host.
    pub(crate) sent: Count,
    /// Traffic to the host.
    pub(crate) received: Count,
}

impl HostActivity {
    /// Bytes of both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent.bytes + self.received.bytes
    }

    /// Packets of both directions.
    pub(crate) fn packets(&self) -> u64 {
        self.sent.packets + self.received.packets
    }
}

/// Maximum number of flows, and of hosts. Under a flood from spoofed addresses the half with the most bytes is kept.
const MOST: usize = 1 << 16;

/// The traffic since the last table, by flow and by host.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    flows: HashMap<FlowKey, FlowActivity>,
    hosts: HashMap<Address, HostActivity>,
}

impl Activity {
    /// Adds a partial flow.
    pub(crate) fn add(&mut self, key: &FlowKey, stats: &FlowStats, initiator: Sender) {
        let sent = stats.directions.map(|direction| Count { packets: direction.packets, bytes: direction.frame_bytes });
        let known = self.flows.contains_key(key);
        make_room(&mut self.flows, |flow| flow.total().bytes);
        let flow = self.flows.entry(*key).or_insert(FlowActivity { initiator, sent: [Count::default(); 2] });
        flow.initiator = initiator;
        for (sum, sent) in flow.sent.iter_mut().zip(sent) {
            sum.add(sent.packets, sent.bytes);
        }
        for (end, other) in [(Sender::Lower, Sender::Upper), (Sender::Upper, Sender::Lower)] {
            make_room(&mut self.hosts, HostActivity::bytes);
            let host = self.hosts.entry(key.endpoint(end).address).or_default();
            let [sent, received] = [sent[end as usize], sent[other as usize]];
            host.flows += u64::from(!known);
            host.sent.add(sent.packets, sent.bytes);
            host.received.add(received.packets, received.bytes);
        }
    }

    pub(crate) const fn flows(&self) -> &HashMap<FlowKey, FlowActivity> {
        &self.flows
    }

    pub(crate) const fn hosts(&self) -> &HashMap<Address, HostActivity> {
        &self.hosts
    }
}

/// When the map is full, keeps the half with the most bytes.
fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>, bytes: impl Fn(&V) -> u64) {
    if map.len() >= MOST {
        let mut items: Vec<(K, V)> = map.drain().collect();
        items.select_nth_unstable_by_key(MOST / 2, |(_, value)| Reverse(bytes(value)));
        map.extend(items.into_iter().take(MOST / 2));
    }
}

/// The endpoints of a key: an order for flows of equal size.
pub(crate) fn by_ends(key: &FlowKey) -> impl Ord + use<> {
    let seen = (key.vlans(), key.interface(), key.tunnel(), key.tunnel_id());
    ([key.endpoint(Sender::Lower), key.endpoint(Sender::Upper)], key.protocol(), seen)
}

/// The `at_most` items of the lowest rank, in the order of their ranks.
pub(crate) fn top<T, R: Ord>(mut items: Vec<T>, at_most: usize, rank: impl Fn(&T) -> R) -> Vec<T> {
    if items.len() > at_most {
        items.select_nth_unstable_by_key(at_most, &rank);
        items.truncate(at_most);
    }
    items.sort_by_key(rank);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_items_are_in_order_whatever_the_input() {
        for at_most in 0..12 {
            let items: Vec<u32> = (0..10).map(|n| n * 7 % 10).collect();
            let expected: Vec<u32> = (0..10).take(at_most).collect();
            assert_eq!(top(items, at_most, |n| *n), expected);
        }
    }

    #[test]
    fn a_full_map_keeps_its_largest_entries() {
        let mut map: HashMap<usize, u64> = HashMap::new();
        for n in 0..3 * MOST {
            make_room(&mut map, |bytes| *bytes);
            // Every thousandth entry is large.
            map.insert(n, if n % 1000 == 0 { 1000 + n as u64 } else { 1 });
            assert!(map.len() <= MOST);
        }
        assert!((0..3 * MOST).step_by(1000).all(|n| map.contains_key(&n)));
    }
}
