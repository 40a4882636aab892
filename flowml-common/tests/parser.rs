//! The parser accepts any bytes: it never panics, and its result does not depend on bytes that it did not receive.

mod frames;

use flowml_common::headers::protocol;
use flowml_common::packet::{Frame, Hook, Segments, Skipped};
use flowml_common::parse::parse;
use frames::Sample;
use proptest::prelude::*;

fn frame() -> impl Strategy<Value = Frame> {
    // Some that fit the payload, and arbitrary ones.
    let segments = prop_oneof![(0..8u32, 0..80u32), (any::<u32>(), any::<u32>()), (0..8u32, any::<u32>())];
    let segments = prop::option::of(segments.prop_map(|(count, size)| Segments { count, size }));
    (any::<u64>(), prop_oneof![0..2000u32, any::<u32>()], any::<u32>(), prop::option::of(any::<u16>()), segments)
        .prop_map(|(time_ns, length, interface, stripped_vlan, segments)| Frame {
            time_ns,
            length,
            interface,
            hook: Hook::Xdp,
            stripped_vlan,
            segments,
        })
}

/// Bytes that take the parser into its branches: EtherTypes, versions and next headers that it handles, then arbitrary
/// bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![
        Just(vec![8, 0]),
        Just(vec![0x86, 0xdd]),
        Just(vec![0x81, 0, 0, 1, 8, 0]),
        Just(vec![0x88, 0xa8, 0, 2, 0x81, 0, 0, 3, 0x86, 0xdd]),
        prop::collection::vec(any::<u8>(), 2),
    ];
    let next = prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 51, 58, 60, 132]);
    let version = prop_oneof![3 => Just(0x45u8), 3 => Just(0x60), 1 => Just(0x4f), 1 => any::<u8>()];
    let tail = prop::collection::vec(prop_oneof![any::<u8>(), next.clone()], 0..200);
    (prop::collection::vec(any::<u8>(), 12), ethertype, version, next.clone(), next, tail).prop_map(
        |(macs, ethertype, version, v4_protocol, v6_next, mut tail)| {
            for (at, byte) in [(5, v6_next), (8, v4_protocol)] {
                if let Some(place) = tail.get_mut(at) {
                    *place = byte;
                }
            }
            [macs, ethertype, vec![version], tail].concat()
        },
    )
}

proptest! {
    // Miri runs them a thousand times slower.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 5000 }))]

    #[test]
    fn any_bytes_are_a_packet_or_skipped(mut frame in frame(), bytes in bytes(), honest: bool) {
        if honest {
            frame.length = bytes.len() as u32;
        }
        if let Ok(packet) = parse(&frame, bytes.as_slice()) {
            prop_assert!(packet.count >= 1);
            prop_assert!(packet.payload_bytes < packet.ip_bytes);
            // All packets except the last have the same length, and the lengths add up.
            let further = u64::from(packet.count - 1) * u64::from(packet.ip_length);
            prop_assert_eq!(further + u64::from(packet.last_ip_length), u64::from(packet.ip_bytes));
            prop_assert!(packet.key.endpoint(packet.sender).address.octets().len() == 16);
            if frame.segments.is_none() {
                prop_assert_eq!(packet.count, 1);
                prop_assert_eq!(packet.ip_bytes, packet.ip_length);
                prop_assert!(packet.ip_bytes <= frame.length);
            }
        }
    }

    #[test]
    fn a_snapped_frame_gives_the_same_packet_or_is_truncated(
        mut frame in frame(),
        bytes in bytes(),
        honest: bool,
        cut: prop::sample::Index,
    ) {
        if honest {
            frame.length = bytes.len() as u32;
        }
        let whole = parse(&frame, bytes.as_slice());
        let part = parse(&frame, &bytes[..cut.index(bytes.len())]);
        prop_assert!(part == whole || part == Err(Skipped::Truncated), "{part:?}, but of all bytes {whole:?}");
    }

    #[test]
    fn both_directions_are_one_flow(port: u16, payload in 0..1400u16, udp: bool) {
        let protocol = if udp { protocol::UDP } else { protocol::TCP };
        let sample = |from_upper| Sample {
            time_ns: 0, protocol, from_upper, port, flags: 0, window: 0, ttl: 1, service: 0, payload,
            hook: Hook::Xdp, mac: 0,
        };
        let (up, down) = (sample(false).packet(), sample(true).packet());
        prop_assert_eq!(up.key, down.key);
        prop_assert_ne!(up.sender, down.sender);
        prop_assert_eq!(up.payload_bytes, u32::from(payload));
        prop_assert_eq!(up.first_payload_bytes, u32::from(payload));
        prop_assert_eq!(up.payload_offset + u32::from(payload), sample(false).frame().length);
    }
}
