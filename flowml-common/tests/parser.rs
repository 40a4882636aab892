//! The parser accepts any bytes: it never panics, and its result does not depend on bytes that it did not receive.

mod frames;

use bytemuck::Zeroable;
use flowml_common::headers::protocol;
use flowml_common::packet::{Frame, Hook, Packet, Segments, Skipped};
use flowml_common::parse::{Levels, Progress, parse, parse_levels};
use flowml_common::tunnel::{Outcome, PortList};
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

/// The memory for the levels of one frame.
struct Memory<'a> {
    bytes: &'a [u8],
    progress: Progress,
    packet: Option<Packet>,
}

impl<'a> Levels for Memory<'a> {
    type Cursor = &'a [u8];

    fn start(&self) -> &'a [u8] {
        self.bytes
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn last(&mut self) -> Option<&mut Packet> {
        self.packet.as_mut()
    }

    fn keep(&mut self, packet: Packet) {
        self.packet = Some(packet);
    }
}

/// The packet of the innermost level that can be read, or the reason for skipping, and the progress.
fn inside(frame: &Frame, bytes: &[u8]) -> (Result<Packet, Skipped>, Progress) {
    let mut memory = Memory { bytes, progress: Progress::zeroed(), packet: None };
    memory.progress.begin(frame, None);
    let result = parse_levels(frame, &PortList::default(), &mut memory);
    (result.map(|()| memory.packet.expect("a packet was kept")), memory.progress)
}

/// IPv4 or IPv6 to the end of the frame, and the header of a tunnel.
fn tunnel() -> impl Strategy<Value = Vec<u8>> {
    let ip = |protocol: u8| {
        let v4 = [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0][..], &[10, 0, 0, 2, 10, 0, 0, 1]].concat();
        let v6 = [&[0x60, 0, 0, 0, 0, 0, protocol, 64][..], &[0xfd; 32]].concat();
        prop_oneof![Just([&[8, 0][..], &v4].concat()), Just([&[0x86, 0xdd][..], &v6].concat())]
    };
    let to = |port: u16| Just([&[0xc3, 0x50][..], &port.to_be_bytes(), &[0; 4]].concat());
    let udp = |port, header: Vec<u8>| {
        (ip(17), to(port), Just(header), prop::option::of((0..16_usize, any::<u8>()))).prop_map(
            |(ip, udp, mut header, changed)| {
                if let Some((at, byte)) = changed
                    && let Some(place) = header.get_mut(at)
                {
                    *place = byte;
                }
                [ip, udp, header].concat()
            },
        )
    };
    let gre = (ip(47), any::<u8>(), prop::sample::select(vec![0x0800_u16, 0x86dd, 0x6558, 0x8847]));
    let gre =
        gre.prop_map(|(ip, flags, ethertype)| [ip, vec![flags & 0xf0, 0], ethertype.to_be_bytes().into()].concat());
    prop_oneof![
        udp(4789, vec![8, 0, 0, 0, 0, 0, 5, 0]),
        udp(6081, vec![1, 0, 0x65, 0x58, 0, 0, 5, 0, 0, 0, 0, 0]),
        udp(2152, vec![0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0]),
        gre,
        ip(4),
        ip(41),
        ip(51),
        Just(vec![0x88, 0x47, 0, 1, 1, 64]),
        Just(vec![0x88, 0x64, 0x11, 0, 0, 7, 0, 60, 0, 0x21]),
    ]
}

/// Frames with up to three tunnels around arbitrary bytes.
fn tunnels() -> impl Strategy<Value = Vec<u8>> {
    let around = prop::collection::vec((tunnel(), any::<bool>()), 0..4);
    (prop::collection::vec(any::<u8>(), 12), around, bytes()).prop_map(|(macs, around, inside)| {
        let mut frame = macs.clone();
        for (header, bridged) in around {
            frame.extend(header);
            if bridged {
                frame.extend(&macs);
            }
        }
        frame.extend(&inside[12..]);
        frame
    })
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
    fn any_bytes_in_tunnels_are_a_packet_or_skipped(mut frame in frame(), bytes in tunnels(), honest: bool) {
        if honest {
            frame.length = bytes.len() as u32;
        }
        let (found, progress) = inside(&frame, &bytes);
        let outer = parse(&frame, bytes.as_slice());
        // What a parser without tunnels counts is counted. Only IPv4 with an authentication header may end within it.
        prop_assert!(found.is_ok() || outer.is_err() || bytes.windows(2).any(|pair| pair.contains(&51)));
        if let Ok(packet) = found {
            prop_assert!(packet.count >= 1);
            prop_assert!(packet.payload_bytes < packet.ip_bytes);
            prop_assert!(packet.payload_offset >= 20);
            prop_assert_eq!(packet.key.tunnel().is_some(), progress.outer().is_some());
            if frame.segments.is_none() {
                prop_assert!(packet.ip_bytes <= frame.length);
                prop_assert_eq!(packet.frame_bytes, frame.wire_length());
            }
            let removed = progress.encapsulations().iter().any(|(kind, outcome)| {
                *kind != 0 && *outcome == Outcome::Removed as u8
            });
            prop_assert_eq!(removed, packet.key.tunnel().is_some());
        }
    }

    /// Bytes that were not captured can only lead to an outer flow, or to a truncated frame.
    #[test]
    fn a_snapped_frame_in_tunnels_gives_an_outer_packet_or_the_same(
        mut frame in frame(),
        bytes in tunnels(),
        cut: prop::sample::Index,
    ) {
        frame.length = bytes.len() as u32;
        let (whole, _) = inside(&frame, &bytes);
        let (part, progress) = inside(&frame, &bytes[..cut.index(bytes.len())]);
        let is_truncated = part == Err(Skipped::Truncated)
            || progress.encapsulations().iter().any(|(_, outcome)| *outcome == Outcome::Truncated as u8);
        prop_assert!(part == whole || is_truncated, "{part:?}, but of all bytes {whole:?}");
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
