//! The flow table loses nothing: every packet is in one flow or in one counter, whatever the table's size.

use std::collections::{BTreeMap, HashMap};

use flowml_common::counts::FlowValue;
use flowml_common::flow::FlowKey;
use flowml_common::packet::{Frame, Hook, Skipped, parse};
use flowml_common::table::{Count, Head, Metered, OVERFLOW_PROTOCOLS, SLOTS, Seed, Shape, Storage, meter};
use flowml_user::capture::vectors::VecTable;
use proptest::prelude::*;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// A UDP datagram with `payload` bytes, or what is left of it.
fn frame_bytes(source: u32, destination: u32, ports: [u16; 2], payload: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    bytes.extend((28 + payload).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(ports[0].to_be_bytes());
    bytes.extend(ports[1].to_be_bytes());
    bytes.extend([0; 4]);
    bytes.resize(bytes.len() + usize::from(payload), 0);
    bytes
}

fn frame(time_ns: u64, bytes: &[u8]) -> Frame {
    Frame { time_ns, length: bytes.len() as u32, interface: 1, hook: Hook::File, stripped_vlan: None, segments: None }
}

fn total(head: &Head) -> Count {
    let mut sum = Count::default();
    head.skipped.iter().for_each(|count| sum.add(count.packets, count.bytes));
    sum
}

/// What the table should say, counted without it.
#[derive(Default)]
struct Truth {
    received: Count,
    skipped: [Count; Skipped::COUNT],
    flows: HashMap<FlowKey, FlowValue>,
}

impl Truth {
    fn add(&mut self, frame: &Frame, bytes: &[u8], metered: Metered) {
        let length = u64::from(frame.length);
        self.received.add(1, length);
        match metered {
            Metered::Counted => {
                let packet = parse(frame, bytes).expect("what was counted can be parsed");
                let flow = self.flows.entry(packet.key);
                flow.and_modify(|value| value.add(&packet)).or_insert_with(|| FlowValue::of(&packet));
            }
            Metered::Skipped(reason) => self.skipped[reason as usize].add(1, length),
        }
    }

    fn check(&self, table: &VecTable) {
        let (head, flows) = (table.counts(), table.flows().collect::<Vec<_>>());
        assert_eq!((head.received, head.skipped), (self.received, self.skipped));
        let (packets, bytes) = flows.iter().fold((0, 0), |(packets, bytes), flow| {
            (packets + flow.counts.packets(), bytes + flow.counts.frame_bytes())
        });
        let skipped = total(head);
        assert_eq!(Count { packets: packets + skipped.packets, bytes: bytes + skipped.bytes }, head.received);
        assert_eq!(head.entries as usize, flows.len());
        let found: HashMap<_, _> = flows.iter().map(|flow| (*flow.key, flow.part().stats)).collect();
        assert_eq!(found.len(), flows.len(), "a flow has one entry");
        assert_eq!(found, self.flows.iter().map(|(key, value)| (*key, value.counted(key).part().stats)).collect());
        let overflow: u64 = head.overflow.iter().map(|count| count.packets).sum();
        assert_eq!(overflow, head.skipped[Skipped::TableFull as usize].packets);
    }
}

#[derive(Clone, Debug)]
struct Step {
    flow: u32,
    reverse: bool,
    payload: u16,
    damage: Option<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
}

fn step(flows: u32) -> impl Strategy<Value = Step> {
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    (0..flows, any::<bool>(), 0..500u16, damage, cut).prop_map(|(flow, reverse, payload, damage, cut)| Step {
        flow,
        reverse,
        payload,
        damage,
        cut,
    })
}

fn bytes_of(step: &Step) -> Vec<u8> {
    let (a, b) = ((0x0a00_0000 + step.flow / 7, 1000 + step.flow as u16 % 7), (0x0a01_0000, 53));
    let (source, destination) = if step.reverse { (b, a) } else { (a, b) };
    let mut bytes = frame_bytes(source.0, destination.0, [source.1, destination.1], step.payload);
    if let Some((at, value)) = &step.damage {
        let at = at.index(42);
        bytes[at] = *value;
    }
    if let Some(cut) = &step.cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

/// Random seeds, and small ones: the upper halves of their hashes are small too, and most flows share a few tags.
fn seed() -> impl Strategy<Value = [u64; 12]> {
    prop_oneof![any::<[u64; 12]>(), prop::array::uniform12(0..1u64 << 12)]
}

proptest! {
    #[test]
    fn received_is_what_is_in_flows_and_what_was_skipped(
        seed in seed(),
        capacity in 1..80u32,
        epochs in prop::collection::vec(prop::collection::vec(step(120), 0..300), 1..4),
    ) {
        let mut table = VecTable::new(Shape::for_capacity(capacity), Seed(seed));
        for steps in &epochs {
            let mut truth = Truth::default();
            for (time_ns, step) in (1..).zip(steps) {
                let bytes = bytes_of(step);
                let frame = frame(time_ns * 1_000_000, &bytes);
                let metered = meter(&mut table, &frame, bytes.as_slice());
                truth.add(&frame, &bytes, metered);
            }
            prop_assert!(table.flows().count() <= Shape::for_capacity(capacity).entries() as usize);
            truth.check(&table);
            table.clear();
        }
        prop_assert_eq!((table.counts().received, table.flows().count()), (Count::default(), 0));
    }

    #[test]
    fn a_flow_that_has_an_entry_keeps_it(seed in seed(), capacity in 1..200u32, flows in 1..400u32) {
        // Every flow twice: what the first pass counted the second finds again, what found no room finds none again.
        let mut table = VecTable::new(Shape::for_capacity(capacity), Seed(seed));
        let mut pass = || -> Vec<Metered> {
            (0..flows).map(|flow| {
                let bytes = frame_bytes(flow, 0x0a00_0001, [9, 53], 0);
                meter(&mut table, &frame(1, &bytes), bytes.as_slice())
            }).collect()
        };
        let first = pass();
        prop_assert_eq!(pass(), first);
        prop_assert!(table.flows().all(|flow| flow.counts.packets() == 2));
    }
}

/// A seed as random as the agent's: the hash multiplies by it.
fn secret(number: u64) -> Seed {
    let mut random = Xoshiro256Plus::seed_from_u64(number);
    Seed(std::array::from_fn(|_| random.next_u64()))
}

#[test]
fn a_table_takes_every_flow_until_it_is_nearly_full_whatever_their_keys_are() {
    let capacity = 4096;
    type Keys = fn(u32) -> (u32, u32, [u16; 2]);
    let patterns: [(&str, Keys); 4] = [
        ("a port scan", |n| (0x0a00_0001, 0x0a00_0002, [40_000, n as u16])),
        ("a host scan", |n| (0x0a00_0001, 0x0b00_0000 + n, [40_000, 80])),
        ("spoofed sources, far apart", |n| (n.wrapping_mul(0x0001_0000) | n >> 16, 0x0a00_0002, [1024, 80])),
        ("both ports in step", |n| (0x0a00_0001, 0x0a00_0002, [n as u16, n as u16])),
    ];
    for (name, keys) in patterns {
        for seed in 1..6u64 {
            let mut table = VecTable::new(Shape::for_capacity(capacity), secret(seed));
            for n in 1..=4 * capacity / 5 {
                let (source, destination, ports) = keys(n);
                let bytes = frame_bytes(source, destination, ports, 0);
                meter(&mut table, &frame(1, &bytes), bytes.as_slice());
            }
            // Up to there hardly a flow finds both of its buckets full, if the hash is as good as chance.
            let (flows, early) = (4 * capacity / 5, table.counts().skipped[Skipped::TableFull as usize].packets);
            assert!(
                early * 1000 <= flows.into(),
                "{name}, seed {seed}: {early} of {flows} flows for {capacity} entries"
            );
        }
    }
}

#[test]
fn buckets_fill_evenly() {
    let capacity = 65_536;
    let mut table = VecTable::new(Shape::for_capacity(capacity), secret(1));
    for n in 0..capacity / 2 {
        let bytes = frame_bytes(0x0b00_0000 + n, 0x0a00_0002, [1024, 80], 0);
        meter(&mut table, &frame(1, &bytes), bytes.as_slice());
    }
    let mut fills: BTreeMap<usize, u32> = BTreeMap::new();
    for n in 0..table.buckets() {
        let bucket = table.bucket(n).expect("a bucket of the shape");
        *fills.entry(bucket.used() as usize).or_default() += 1;
    }
    // Eight on average. By chance (Poisson's law) 9.96 % have four or fewer, and 18.4 % eleven or more.
    let share = |range| {
        f64::from(fills.range::<usize, std::ops::RangeInclusive<_>>(range).map(|(_, count)| *count).sum::<u32>())
    };
    let [few, many] = [0..=4, 11..=16].map(|range| share(range) / f64::from(table.buckets()));
    assert!(few < 0.12 && many < 0.2, "{few} {many} {fills:?}");
}

#[test]
fn overflow_is_counted_by_protocol() {
    let mut table = VecTable::new(Shape::for_capacity(1), secret(7));
    let flows = SLOTS as u16 + 9;
    for port in 1..=flows {
        let bytes = frame_bytes(1, 2, [port, 53], 100);
        meter(&mut table, &frame(1, &bytes), bytes.as_slice());
    }
    let udp = OVERFLOW_PROTOCOLS.iter().position(|name| *name == "udp").expect("UDP has a counter");
    assert_eq!(table.counts().overflow[udp], Count { packets: 9, bytes: 9 * 142 });
}
