//! Flow statistics do not depend on which CPUs, hooks and epochs counted the packets.

mod frames;

use std::time::Duration;

use flowml_common::content::Content;
use flowml_common::counts::FlowValue;
use flowml_common::flow::{FlowStats, length_bin};
use flowml_common::headers::protocol;
use flowml_common::packet::{Hook, Packet};
use flowml_common::time::{Boundaries, Stamp, to_micros};
use frames::{HEADERS, Sample, flow};
use proptest::prelude::*;

/// The statistics that one CPU counts for these packets.
fn count<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Option<FlowStats> {
    let mut packets = packets.into_iter().peekable();
    let key = packets.peek()?.key;
    FlowValue::of_all(packets).map(|value| value.counted(&key).partial_flow().stats)
}

/// The statistics of three CPUs, where `cpus` assigns the packets to them.
fn split(packets: &[Packet], cpus: &[u8]) -> [Option<FlowStats>; 3] {
    [0, 1, 2].map(|cpu| {
        let mine = packets.iter().zip(cpus.iter().cycle()).filter(|(_, on)| **on == cpu);
        count(mine.map(|(packet, _)| packet))
    })
}

fn merge(parts: impl IntoIterator<Item = FlowStats>) -> Option<FlowStats> {
    parts.into_iter().reduce(|mut a, b| {
        a.merge(&b);
        a
    })
}

fn content<'a>(parts: &[Option<Content<'a>>]) -> Option<Content<'a>> {
    parts.iter().copied().fold(None, Content::merge)
}

proptest! {
    // Miri runs them a thousand times slower.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 1000 }))]

    #[test]
    fn merge_is_commutative_and_associative(
        packets in flow(3..60),
        cpus in prop::collection::vec(0..3u8, 60),
    ) {
        let parts: Vec<_> = split(&packets, &cpus).into_iter().flatten().collect();
        let forward = merge(parts.iter().copied());
        prop_assert_eq!(merge(parts.iter().rev().copied()), forward);
        let Some((first, others)) = parts.split_first() else { return Ok(()) };
        let right = merge(others.iter().copied());
        prop_assert_eq!(merge([Some(*first), right].into_iter().flatten()), forward);
    }

    #[test]
    fn merged_content_is_the_earliest_in_any_order_of_merging(
        parts in prop::collection::vec(prop::option::of((0..4u64, prop::collection::vec(0..3u8, 0..3))), 1..6),
        cut: prop::sample::Index,
    ) {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| part.as_ref().map(|(time_ns, bytes)| Content { time_ns: *time_ns, bytes }))
            .collect();
        let forward = content(&parts);
        prop_assert_eq!(forward.map(|content| content.time_ns), parts.iter().flatten().map(|part| part.time_ns).min());
        let backward: Vec<_> = parts.iter().rev().copied().collect();
        prop_assert!(content(&backward) == forward);
        let (left, right) = parts.split_at(cut.index(parts.len()));
        prop_assert!(Content::merge(content(left), content(right)) == forward);
        prop_assert!(parts.contains(&forward));
    }

    #[test]
    fn merging_loses_no_packet(packets in flow(1..60), cpus in prop::collection::vec(0..3u8, 60)) {
        let parts: Vec<_> = split(&packets, &cpus).into_iter().flatten().collect();
        let whole = count(&packets).unwrap_or_else(|| unreachable!("there is a packet"));
        let merged = merge(parts.iter().copied()).unwrap_or_else(|| unreachable!("there is a part"));
        prop_assert_eq!(merged.packets(), whole.packets());
        prop_assert_eq!(merged.frame_bytes(), whole.frame_bytes());
        prop_assert_eq!(merged.lengths, whole.lengths);
        prop_assert_eq!((merged.first_ns(), merged.last_ns), (whole.first_ns(), whole.last_ns));
        prop_assert_eq!((merged.syn_senders, merged.hooks), (whole.syn_senders, whole.hooks));
        prop_assert_eq!(merged.parts as usize, parts.len());
        prop_assert_eq!(merged.iat_samples(), whole.packets() - parts.len() as u64);
        for (a, b) in merged.directions.iter().zip(&whole.directions) {
            prop_assert_eq!((a.packets, a.ip_bytes, a.payload_bytes), (b.packets, b.ip_bytes, b.payload_bytes));
            prop_assert_eq!((a.payload_packets, a.length_squares), (b.payload_packets, b.length_squares));
            prop_assert_eq!((a.length_min, a.length_max, a.flags), (b.length_min, b.length_max, b.flags));
            prop_assert_eq!((a.first_ns, a.last_ns, a.ttl_min, a.ttl_max), (b.first_ns, b.last_ns, b.ttl_min, b.ttl_max));
        }
        // The times and the number of the first packets are those of the whole flow, whichever CPUs counted them.
        prop_assert_eq!((merged.firsts.count, merged.firsts.offset_us), (whole.firsts.count, whole.firsts.offset_us));
    }

    #[test]
    fn consecutive_partial_flows_give_what_one_cpu_would_have_counted(
        packets in flow(1..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(packets.len())).collect();
        cuts.extend([0, packets.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).filter_map(|ends| count(&packets[ends[0]..ends[1]]));
        let followed = parts.reduce(|mut a, b| {
            a.follow(&b);
            a
        });
        prop_assert_eq!(followed, count(&packets));
    }

    #[test]
    fn a_super_packet_counts_as_its_segments(
        before in flow(0..3),
        gap_ns in 0..1_000_000u64,
        payload in 2..60_000u16,
        size in 500..9000u16,
        flags: u8,
        from_upper: bool,
    ) {
        // A SYN with FIN opens no connection, and only the last of its segments would have FIN.
        let flags = if flags & 0b11 == 0b11 { flags & !0b01 } else { flags };
        // A payload shorter than one segment is one packet.
        let time_ns = before.last().map_or(0, |packet| packet.time.ns()) + gap_ns;
        let buffer = Sample {
            time_ns, protocol: protocol::TCP, from_upper, port: 5000, flags, window: 9, ttl: 3, service: 0, payload,
            hook: Hook::Egress, mac: 1,
        };
        let chunks = payload.div_ceil(size);
        let segments: Vec<_> = (0..chunks).map(|n| {
            // Segmentation keeps CWR only on the first packet, and FIN and PSH only on the last.
            let first = if n == 0 { 0 } else { 0b1000_0000 };
            let last = if n == chunks - 1 { 0 } else { 0b0000_1001 };
            let payload = size.min(payload - n * size);
            Sample { payload, flags: flags & !first & !last, ..buffer }.packet()
        }).collect();
        prop_assert_eq!(
            count(before.iter().chain([&buffer.super_packet(size.into())])),
            count(before.iter().chain(&segments))
        );
        let frame_bytes: u32 = segments.iter().map(|segment| segment.frame_bytes).sum();
        prop_assert_eq!(frame_bytes, u32::from(payload) + u32::from(chunks) * HEADERS);
    }

    #[test]
    fn microseconds_are_exact(ns in prop_oneof![any::<u64>(), 0..1u64 << 33, 0..1u64 << 57], thousand in 0..1u64 << 53) {
        prop_assert_eq!(to_micros(ns), ns / 1000);
        // Around whole microseconds a product that is too small or too large gives a wrong result.
        for ns in [(thousand * 1000).saturating_sub(1), thousand * 1000, thousand * 1000 + 1] {
            prop_assert_eq!(to_micros(ns), ns / 1000);
        }
    }

    #[test]
    fn a_stamp_keeps_the_time_and_the_order(one_ns in 0..1u64 << 63, other_ns in 0..1u64 << 63, near_ns in 0..3000u64) {
        for other_ns in [other_ns, one_ns + near_ns] {
            let [one, other] = [one_ns, other_ns].map(Stamp::of_ns);
            prop_assert_eq!([one.ns(), one.micros()], [one_ns, one_ns / 1000]);
            prop_assert_eq!(one.cmp(&other), one_ns.cmp(&other_ns));
        }
    }

    #[test]
    fn boundaries_are_at_long_gaps_and_at_the_starts_of_slots(
        before_ns in 0..1u64 << 62,
        wait_ns in prop_oneof![0..3_000_000u64, 0..1u64 << 33],
        gap_us in 1..4_000_000u64,
        slot_us in 1..4_000_000u64,
    ) {
        let boundaries = Boundaries::new(Duration::from_micros(gap_us), Duration::from_micros(slot_us));
        let slot_ns = boundaries.slot().as_nanos() as u64;
        prop_assert!(slot_ns <= slot_us * 1000 && slot_us * 1000 < 2 * slot_ns);
        for wait_ns in [wait_ns, gap_us * 1000 - 1, gap_us * 1000] {
            let now_ns = before_ns + wait_ns;
            let parts = wait_ns >= gap_us * 1000 || now_ns / slot_ns != before_ns / slot_ns;
            prop_assert_eq!(boundaries.separate(Stamp::of_ns(before_ns), Stamp::of_ns(now_ns)), parts);
        }
        let from_ns = boundaries.slot_from(before_ns);
        prop_assert!(from_ns.is_multiple_of(slot_ns) && from_ns >= before_ns && from_ns - before_ns < slot_ns);
    }

    #[test]
    fn a_length_belongs_to_the_bin_of_its_power_of_two(length in 0..100_000u32) {
        let bits = 32 - length.leading_zeros();
        prop_assert_eq!(length_bin(length), (bits.clamp(6, 13) - 6) as usize);
    }
}

/// A packet of a capture has at most 16 MiB. The squared lengths of 65,536 such packets add up to 2⁶⁴ bytes².
#[test]
fn sums_of_squared_lengths_saturate() {
    let sample = Sample {
        time_ns: 1,
        protocol: protocol::UDP,
        from_upper: false,
        port: 5000,
        flags: 0,
        window: 0,
        ttl: 64,
        service: 0,
        payload: 0,
        hook: Hook::File,
        mac: 1,
    };
    let packet = sample.packet();
    let jumbogram = Packet { last_ip_length: 1 << 24, ip_length: 1 << 24, ip_bytes: 1 << 24, ..packet };
    let squares = |packets: usize| {
        let stats = count(std::iter::repeat_n(&jumbogram, packets)).expect("there are packets");
        (stats, stats.direction(jumbogram.sender).length_squares)
    };
    let (most, exact) = squares(65_535);
    assert_eq!(exact, 65_535 << 48);
    assert_eq!(squares(65_536).1, u64::MAX);
    assert_eq!(squares(65_537).1, u64::MAX);
    let mut joined = most;
    joined.merge(&most);
    assert_eq!(joined.direction(jumbogram.sender).length_squares, u64::MAX);
}
