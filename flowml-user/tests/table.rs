//! The flow table loses nothing: every packet is in one flow or in one counter, whatever the table's size.

use std::collections::{BTreeMap, HashMap};

use flowml_common::flow::{FlowKey, FlowStats};
use flowml_common::packet::{Frame, Hook, Skipped, parse};
use flowml_common::table::{Count, Head, Metered, OVERFLOW_PROTOCOLS, Seed, Shape, Storage, meter};
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
    flows: HashMap<FlowKey, FlowStats>,
}

impl Truth {
    fn add(&mut self, frame: &Frame, bytes: &[u8], metered: Metered) {
        let length = u64::from(frame.length);
        self.received.add(1, length);
        match metered {
            Metered::Counted => {
                let packet = parse(frame, bytes).expect("what was counted can be parsed");
                let flow = self.flows.entry(packet.key);
                flow.and_modify(|stats| stats.add(&packet)).or_insert_with(|| FlowStats::of(&packet));
            }
            Metered::Skipped(reason) => self.skipped[reason as usize].add(1, length),
        }
    }

    fn check(&self, head: &Head, entries: &[flowml_common::flow::FlowEntry]) {
        assert_eq!((head.received, head.skipped), (self.received, self.skipped));
        let (packets, bytes) = entries.iter().fold((0, 0), |(packets, bytes), entry| {
            (packets + entry.stats.packets(), bytes + entry.stats.frame_bytes())
        });
        let skipped = total(head);
        assert_eq!(Count { packets: packets + skipped.packets, bytes: bytes + skipped.bytes }, head.received);
        assert_eq!(head.entries as usize, entries.len());
        let found: HashMap<_, _> = entries.iter().map(|entry| (entry.key, entry.stats)).collect();
        assert_eq!(found.len(), entries.len(), "a flow has one entry");
        assert_eq!(found, self.flows);
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

proptest! {
    #[test]
    fn received_is_what_is_in_flows_and_what_was_skipped(
        seed: [u64; 12],
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
            let (head, entries) = table.drain();
            prop_assert!(entries.len() <= capacity as usize);
            truth.check(&head, &entries);
        }
        let (head, entries) = table.drain();
        prop_assert_eq!((head.received, entries.len()), (Count::default(), 0));
    }

    #[test]
    fn a_flow_that_has_an_entry_keeps_it(seed: [u64; 12], capacity in 1..200u32, flows in 1..400u32) {
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
        prop_assert!(table.entries().iter().all(|entry| entry.stats.packets() == 2));
    }
}

/// A seed as random as the agent's: the hash multiplies by it.
fn secret(number: u64) -> Seed {
    let mut random = Xoshiro256Plus::seed_from_u64(number);
    Seed(std::array::from_fn(|_| random.next_u64()))
}

#[test]
fn a_table_takes_about_as_many_flows_as_it_has_entries_whatever_their_keys_are() {
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
            for n in 1..=capacity {
                let (source, destination, ports) = keys(n);
                let bytes = frame_bytes(source, destination, ports, 0);
                meter(&mut table, &frame(1, &bytes), bytes.as_slice());
            }
            // The index has two slots for an entry; a flow is turned away early where both of its buckets are full.
            let early = capacity - table.entries().len() as u32;
            assert!(early * 100 < capacity, "{name}, seed {seed}: {early} of {capacity} flows were turned away");
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
        *fills.entry(bucket.0.iter().filter(|slot| **slot != 0).count()).or_default() += 1;
    }
    // On average 2 of 8 slots: e⁻² of the buckets are empty, and 1.7 % hold six or more, if the hash is as good as chance.
    let share = |bucket: u32| f64::from(bucket) / f64::from(table.buckets());
    let empty = share(fills.get(&0).copied().unwrap_or(0));
    let full = share(fills.range(6..).map(|(_, count)| *count).sum());
    assert!((empty - 0.135).abs() < 0.02 && (full - 0.017).abs() < 0.01, "{fills:?}");
}

#[test]
fn overflow_is_counted_by_protocol() {
    let mut table = VecTable::new(Shape::for_capacity(1), Seed([7; 12]));
    for port in 1..=10 {
        let bytes = frame_bytes(1, 2, [port, 53], 100);
        meter(&mut table, &frame(1, &bytes), bytes.as_slice());
    }
    let udp = OVERFLOW_PROTOCOLS.iter().position(|name| *name == "udp").expect("UDP has a counter");
    assert_eq!(table.counts().overflow[udp], Count { packets: 9, bytes: 9 * 142 });
}
