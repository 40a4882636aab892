//! Deterministic mutations of frames: the ones that a fuzzer would try first.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::numbers::{ether_type, protocol};

/// Length in bytes of the part that contains the headers. Most mutations are in it, because a parser reads little
/// beyond.
const HEADERS: usize = 96;

/// Byte values at which parsers branch: header lengths, versions, protocol numbers, limits.
const INTERESTING_BYTES: &[u8] = &[
    0,
    1,
    4,
    5,
    7,
    8,
    0x0f,
    0x40,
    0x44,
    0x45,
    0x46,
    0x4f,
    0x50,
    0x60,
    0x7f,
    0x80,
    0xf0,
    0xff,
    protocol::TCP,
    protocol::UDP,
    protocol::ROUTING,
    protocol::FRAGMENT,
    protocol::ESP,
    protocol::AH,
    protocol::ICMPV6,
    protocol::NO_NEXT_HEADER,
    protocol::DESTINATION_OPTIONS,
    protocol::SCTP,
];

/// Values of two bytes at which parsers branch: ethertypes, and lengths near their limits.
const INTERESTING_PAIRS: &[u16] = &[
    ether_type::IPV4,
    ether_type::IPV6,
    ether_type::VLAN,
    ether_type::SERVICE_VLAN,
    ether_type::ARP,
    0,
    8,
    19,
    20,
    21,
    40,
    41,
    0x05dc,
    0x0600,
    0x1fff,
    0x2000,
    0xfff8,
    0xffff,
];

/// A mutation of `frame`. The same seed gives the same mutation on every machine.
pub fn mutate(frame: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut mutated = frame.to_vec();
    for _ in 0..random.gen_range(1..=4) {
        mutate_once(&mut mutated, &mut random);
    }
    mutated
}

fn mutate_once(frame: &mut Vec<u8>, random: &mut impl Rng) {
    match random.gen_range(0..16) {
        0..4 => change_byte(frame, random, |byte, random| byte ^ 1 << random.gen_range(0..8)),
        4..8 => change_byte(frame, random, |_, random| *INTERESTING_BYTES.choose(random).unwrap_or(&0)),
        8..10 => change_byte(frame, random, |_, random| random.r#gen()),
        10..12 => change_pair(frame, random),
        12..14 => frame.truncate(random.gen_range(0..=frame.len())),
        14 => extend(frame, random),
        _ => insert_tag(frame, random),
    }
}

fn change_byte<R: Rng>(frame: &mut [u8], random: &mut R, change: impl Fn(u8, &mut R) -> u8) {
    if let Some(position) = position(frame.len(), random) {
        frame[position] = change(frame[position], random);
    }
}

fn change_pair(frame: &mut [u8], random: &mut impl Rng) {
    if let Some(position) = position(frame.len().saturating_sub(1), random) {
        let pair = INTERESTING_PAIRS.choose(random).unwrap_or(&0).to_be_bytes();
        frame[position..position + 2].copy_from_slice(&pair);
    }
}

fn extend(frame: &mut Vec<u8>, random: &mut impl Rng) {
    let more = random.gen_range(1..=64);
    frame.extend((0..more).map(|_| random.r#gen::<u8>()));
}

fn insert_tag(frame: &mut Vec<u8>, random: &mut impl Rng) {
    if frame.len() >= 14 {
        let [old, older, oldest] = ether_type::OLDER_SERVICE_VLANS;
        let tpids = [ether_type::VLAN, ether_type::SERVICE_VLAN, old, older, oldest];
        let tpid = tpids[random.gen_range(0..tpids.len())];
        let tag = u32::from(tpid) << 16 | u32::from(random.r#gen::<u16>());
        frame.splice(12..12, tag.to_be_bytes());
    }
}

/// A position in the frame after the Ethernet addresses. Seven of eight positions are in the headers.
fn position(length: usize, random: &mut impl Rng) -> Option<usize> {
    let headers = 12..length.min(HEADERS);
    if !headers.is_empty() && random.gen_ratio(7, 8) {
        Some(random.gen_range(headers))
    } else if length > 0 {
        Some(random.gen_range(0..length))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::NAMED;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_gives_the_same_mutation_and_another_seed_another() {
        let frame: Vec<u8> = (0..100).collect();
        assert_eq!(mutate(&frame, 5), mutate(&frame, 5));
        let different: HashSet<_> = (0..1000).map(|seed| mutate(&frame, seed)).collect();
        assert!(different.len() > 900, "only {} different mutations of 1000", different.len());
    }

    #[test]
    fn frames_of_any_length_can_be_mutated() {
        let frames: Vec<_> = NAMED.iter().map(|named| (named.build)()).collect();
        let lengths = (0..10_000).map(|seed| mutate(&frames[seed as usize % frames.len()], seed).len());
        let (shortest, longest) = lengths.fold((usize::MAX, 0), |(low, high), n| (low.min(n), high.max(n)));
        assert_eq!(shortest, 0);
        assert!(longest > 1514);
    }
}
