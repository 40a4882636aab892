//! Aggregate records: single-packet flows to one target, counted together when there is no time for a record of each.

use std::cmp::Reverse;
use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::{Address, FlowKey, FlowStats, Sender};
use flowml_common::table::Count;

use super::Learn::Never;
use super::{Distinct, Feature, count, hash_address, real};
use crate::record::{Clock, Identifier, Value, ValueType};

/// Targets that have a record of their own in one interval. Flows to other targets share one record for each protocol.
const MOST_TARGETS: usize = 1024;

/// The common properties of the flows of an aggregate record: target address and IP protocol. `None` is all targets
/// beyond [`MOST_TARGETS`].
type Common = (Option<Address>, u8);

/// Single-packet flows to one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The responder's address; `None` in the record that is shared by all targets without a record of their own.
    pub target: Option<Address>,
    /// The IP protocol.
    pub protocol: u8,
    /// The responder's port, if all flows have the same.
    pub port: Option<u16>,
    /// Number of flows.
    pub flows: u64,
    /// Packets and frame bytes.
    pub count: Count,
    /// IP bytes.
    pub ip_bytes: u64,
    /// Number of different initiator addresses; an estimate above 512.
    pub sources: f64,
    /// Unix time of the first packet, whole ms.
    pub first_ms: u64,
    /// Unix time of the last packet, whole ms.
    pub last_ms: u64,
}

/// An aggregate record that is still being counted.
struct Tally {
    port: Option<u16>,
    flows: u64,
    count: Count,
    ip_bytes: u64,
    sources: Distinct,
    first_ns: u64,
    last_ns: u64,
}

/// The aggregate records of an interval.
#[derive(Default)]
pub struct Aggregates {
    tallies: HashMap<Common, Tally, RandomState>,
    seed: u64,
}

impl Aggregates {
    /// Starts empty. Initiators are sampled with `seed`, as in host windows.
    #[must_use]
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self { tallies: HashMap::default(), seed }
    }

    /// Adds a flow that gets no record of its own.
    pub fn add(&mut self, key: &FlowKey, stats: &FlowStats, initiator: Sender) {
        let [source, target] = [initiator, initiator.opposite()].map(|end| key.endpoint(end));
        let own = (Some(target.address), key.protocol());
        let has_room = self.tallies.len() < MOST_TARGETS || self.tallies.contains_key(&own);
        let common = if has_room { own } else { (None, own.1) };
        let port = key.has_ports().then_some(target.port);
        let (first_ns, last_ns) = (stats.first_ns(), stats.last_ns);
        let tally = self.tallies.entry(common).or_insert_with(|| Tally {
            port,
            flows: 0,
            count: Count::default(),
            ip_bytes: 0,
            sources: Distinct::default(),
            first_ns,
            last_ns,
        });
        tally.port = tally.port.filter(|common| Some(*common) == port);
        tally.flows += 1;
        tally.count.add(stats.packets(), stats.frame_bytes());
        tally.ip_bytes += stats.directions.iter().map(|direction| direction.ip_bytes).sum::<u64>();
        tally.sources.add(hash_address(source.address, self.seed), 1);
        (tally.first_ns, tally.last_ns) = (tally.first_ns.min(first_ns), tally.last_ns.max(last_ns));
    }

    /// Removes and returns all records, largest number of flows first. `clock` converts their times to Unix time.
    #[must_use]
    pub fn take(&mut self, clock: Clock) -> Vec<Aggregate> {
        let record = |((target, protocol), tally): (Common, Tally)| {
            let Tally { port, flows, count, ip_bytes, mut sources, first_ns, last_ns } = tally;
            let (sources, [first_ms, last_ms]) = (sources.count(), [first_ns, last_ns].map(|ns| clock.unix_ms(ns)));
            Aggregate { target, protocol, port, flows, count, ip_bytes, sources, first_ms, last_ms }
        };
        let mut records: Vec<Aggregate> = std::mem::take(&mut self.tallies).into_iter().map(record).collect();
        records.sort_by_key(|record| (Reverse(record.flows), record.target, record.protocol));
        records
    }
}

type Text = &'static str;

const fn named(name: Text, kind: ValueType, meaning: Text, of: fn(&Aggregate) -> Value) -> Identifier<Aggregate> {
    Identifier { name, kind, meaning, nfstream: false, of }
}

fn or_absent(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Absent)
}

/// The columns for the common properties of the flows, with the names of flow records.
#[rustfmt::skip]
pub const AGGREGATE_IDENTIFIERS: &[Identifier<Aggregate>] = &[
    named("dst_ip", ValueType::Text, "Address of the responder; missing if the interval had too many responders",
        |of| or_absent(of.target.map(|target| Value::Text(target.to_ip().to_string())))),
    named("ip_version", ValueType::Integer, "4 or 6",
        |of| or_absent(of.target.map(|target| Value::Number(target.version() as u64)))),
    named("dst_port", ValueType::Integer, "Port of the responder, if all flows have the same one",
        |of| or_absent(of.port.map(|port| Value::Number(port.into())))),
    named("protocol", ValueType::Integer, "IP protocol",
        |of| Value::Number(of.protocol.into())),
];

/// The columns for counts over the flows. Sums have the names of flow records.
#[rustfmt::skip]
pub const AGGREGATE_FEATURES: &[Feature<Aggregate>] = &[
    count("bidirectional_first_seen_ms", "ms", Never, |of| of.first_ms, "Unix time of the first packet"),
    count("bidirectional_last_seen_ms", "ms", Never, |of| of.last_ms, "Unix time of the last packet"),
    count("flows", "flows", Never, |of| of.flows, "Flows of one packet"),
    count("bidirectional_packets", "packets", Never, |of| of.count.packets, "Packets"),
    count("bidirectional_bytes", "bytes", Never, |of| of.ip_bytes, "IP bytes"),
    count("frame_bytes", "bytes", Never, |of| of.count.bytes, "Frame bytes without FCS, as in the packet accounting of the summary"),
    real("sources", "addresses", Never, |of| of.sources, "Number of initiator addresses, estimated to about 5 %"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::samples::{partial_of, udp};

    /// Adds a datagram from one of many hosts to a host and port.
    fn add(aggregates: &mut Aggregates, (source, target, port, payload): (u16, u16, u8, u16)) -> Count {
        let [a, b] = source.to_be_bytes();
        let [c, d] = target.to_be_bytes();
        let sample = udp(5_000_000, &format!("10.1.{a}.{b}:40000"), &format!("10.2.{c}.{d}:{port}"), payload);
        let partial = partial_of(&[sample]);
        let initiator = if partial.key.endpoint(Sender::Lower).port == 40_000 { Sender::Lower } else { Sender::Upper };
        aggregates.add(&partial.key, &partial.stats, initiator);
        Count { packets: partial.stats.packets(), bytes: partial.stats.frame_bytes() }
    }

    #[test]
    fn flows_to_one_target_are_one_record_with_their_common_values() {
        let mut aggregates = Aggregates::default();
        for source in 0..300 {
            add(&mut aggregates, (source, 1, 53, 10));
        }
        add(&mut aggregates, (7, 2, 53, 0));
        add(&mut aggregates, (7, 2, 54, 0));
        let [many, few] = &aggregates.take(Clock::default())[..] else { panic!("two targets") };
        assert_eq!((many.flows, many.port, many.protocol, many.sources), (300, Some(53), 17, 300.0));
        assert_eq!(many.target.map(|target| target.to_ip().to_string()), Some("10.2.0.1".to_owned()));
        assert_eq!((many.count.packets, many.ip_bytes, many.count.bytes), (300, 300 * 38, 300 * 52));
        assert_eq!((few.flows, few.port, few.sources), (2, None, 1.0));
        assert_eq!((few.first_ms, few.last_ms), (5, 5));
        assert_eq!(aggregates.take(Clock::default()), []);
    }

    #[test]
    fn targets_beyond_the_limit_share_a_record_without_address() {
        let mut aggregates = Aggregates::default();
        let targets = MOST_TARGETS as u16 + 10;
        for target in (0..targets).chain([0, targets - 1]) {
            add(&mut aggregates, (1, target, 53, 0));
        }
        let records = aggregates.take(Clock::default());
        assert_eq!(records.len(), MOST_TARGETS + 1);
        let of = |flows| records.iter().filter(|record| record.flows == flows).collect::<Vec<_>>();
        assert_eq!(of(11).iter().map(|record| record.target).collect::<Vec<_>>(), [None]);
        assert_eq!(of(2).len(), 1, "a target that has a record keeps it");
    }

    proptest! {
        #[test]
        fn every_flow_packet_and_byte_is_in_one_record(
            flows in prop::collection::vec((0..2000_u16, 0..1500_u16, 1..4_u8, 0..1000_u16), 0..3000),
        ) {
            let mut aggregates = Aggregates::default();
            let mut added = Count::default();
            for flow in &flows {
                let Count { packets, bytes } = add(&mut aggregates, *flow);
                added.add(packets, bytes);
            }
            let records = aggregates.take(Clock::default());
            prop_assert!(records.len() <= MOST_TARGETS + 1);
            prop_assert_eq!(records.iter().map(|record| record.flows).sum::<u64>(), flows.len() as u64);
            let mut sum = Count::default();
            records.iter().for_each(|record| sum.add(record.count.packets, record.count.bytes));
            prop_assert_eq!(sum, added);
        }
    }
}
