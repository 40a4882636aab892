//! Checks that the kernel programs agree with the parser and table in userspace, byte for byte.
//!
//! Key, statistics and skip reason must be the same for every frame, unchanged and mutated.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::content::PayloadLimit;
use flowml_common::packet::{Frame as Reported, Hook, Packet, Segments, Skipped};
use flowml_common::parse::parse;
use flowml_common::table::{Metered, SLOTS};
use flowml_tests::frames::{
    DISCARDED_BEFORE_TC, Extension, Frame, Ipv4, Ipv6, NAMED, Named, Ports, Tcp, ether_type, mutate,
};
use flowml_tests::lab::LinkOptions;
use flowml_tests::metered::attach_ingress;
use flowml_tests::program::{Input, LONGEST_LINEAR, PAYLOAD_LIMITS, Program, require_kernel};
use flowml_tests::traffic::raw::{FrameSender, Rate};
use flowml_tests::twins::Twins;
use flowml_user::capture::attach::Mode;
use flowml_user::capture::kernel::monotonic_ns;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Room for the flows of one test.
const CAPACITY: u32 = 1024;

/// Number of mutations for each program.
const MUTATIONS: u64 = 12_000;

/// Frames that no test run accepts, because they have no complete Ethernet header.
const NO_HEADER: [&str; 3] = ["empty", "one_byte", "cut_in_ethernet"];

/// Further frames that a classifier's test run does not accept, because they have no complete IP header. A laboratory's
/// link accepts them.
const NO_IP_HEADER: [&str; 5] = [
    "cut_after_ethernet",
    "ipv4_cut_after_first_byte",
    "ipv4_cut_in_header",
    "ipv6_cut_after_first_byte",
    "ipv6_cut_in_header",
];

/// Number of frames with each outcome; `None` if the program was not run.
type Tally = BTreeMap<Option<&'static str>, u64>;

fn count(tally: &mut Tally, outcome: Option<Metered>) {
    let name = outcome.map(|metered| match metered {
        Metered::Counted => "counted",
        Metered::Skipped(reason) => reason.name(),
    });
    *tally.entry(name).or_default() += 1;
}

/// Fails unless each of these outcomes occurred: agreement means nothing otherwise.
fn ensure_occurred(tally: &Tally, reasons: &[Skipped]) -> Result<()> {
    let names = reasons.iter().map(|reason| reason.name()).chain(["counted"]);
    for name in names {
        ensure!(tally.contains_key(&Some(name)), "no frame was {name}: {tally:?}");
    }
    Ok(())
}

/// Calls `work` with tables that keep no payload, and again with tables that keep some.
fn for_all_payloads(capacity: u32, work: impl Fn(&mut Twins) -> Result<()> + Sync) -> Result<()> {
    for payload in PAYLOAD_LIMITS {
        let kept = Twins::on_cpu(0, capacity, payload, |twins| {
            work(twins)?;
            Ok(twins.kept_bytes())
        });
        let kept = kept.with_context(|| format!("{payload:?}"))?;
        ensure!((kept > 0) == payload.is_some(), "{payload:?}, but {kept} bytes were kept");
    }
    Ok(())
}

/// Bytes that all differ from their neighbours.
fn payload(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

const PARSER_REASONS: [Skipped; 4] = [Skipped::NotIp, Skipped::Truncated, Skipped::Malformed, Skipped::ExtensionChain];

#[test]
fn named_frames_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    for_all_payloads(CAPACITY, |twins| {
        for program in Program::ALL {
            let runner = program.load(twins.kernel())?;
            let mut tally = Tally::new();
            for Named { name, build, skipped } in NAMED {
                let bytes = build();
                let outcome = twins.meter(&runner, &Input::frame(&bytes)).context(*name)?;
                let expected = skipped.map_or(Metered::Counted, Metered::Skipped);
                ensure!(outcome.is_none_or(|metered| metered == expected), "{name}: {outcome:?} is not {expected:?}");
                let too_long = bytes.len() > LONGEST_LINEAR && program != Program::XdpFrags;
                let too_short = NO_HEADER.contains(name) || program.hook() != Hook::Xdp && NO_IP_HEADER.contains(name);
                ensure!(outcome.is_some() || too_long || too_short, "{} was not run on {name}", program.name());
                count(&mut tally, outcome);
                twins.forget()?;
            }
            ensure_occurred(&tally, &PARSER_REASONS)?;
        }
        Ok(())
    })
}

#[test]
fn mutated_frames_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let frames: Vec<_> = NAMED.iter().map(|named| (named.build)()).collect();
    for payload in [None, PayloadLimit::new(100)] {
        Twins::on_cpu(0, CAPACITY, payload, |twins| mutated_agree(twins, &frames))?;
    }
    Ok(())
}

fn mutated_agree(twins: &mut Twins, frames: &[Vec<u8>]) -> Result<()> {
    for (number, program) in (0..).zip(Program::ALL) {
        let runner = program.load(twins.kernel())?;
        let mut tally = Tally::new();
        for seed in number * MUTATIONS..(number + 1) * MUTATIONS {
            let bytes = mutate(&frames[seed as usize % frames.len()], seed);
            let outcome = twins.meter(&runner, &Input::frame(&bytes));
            count(&mut tally, outcome.with_context(|| format!("mutation {seed}"))?);
            twins.forget()?;
        }
        ensure_occurred(&tally, &PARSER_REASONS)?;
        let run = MUTATIONS - tally.get(&None).copied().unwrap_or(0);
        ensure!(run >= 10_000, "{} was run on {run} mutations only: {tally:?}", program.name());
    }
    Ok(())
}

/// The position of the payload is checked on its own, since both sides could agree on a wrong one. It is known for
/// frames that end with it.
#[test]
fn payload_is_found_at_its_position() -> Result<()> {
    let payload = payload(100);
    let (v4, v6) = (Frame::default().ipv4(&Ipv4::default()), Frame::default().ipv6(&Ipv6::default()));
    let tagged = Frame::default().tag(ether_type::SERVICE_VLAN, 10).tag(ether_type::VLAN, 20).ipv6(&Ipv6::default());
    let long = Extension::DestinationOptions { units: 3 };
    let frames = [
        v4.clone().udp(Ports::default()),
        v4.clone().tcp(&Tcp::default()),
        v4.sctp(Ports::default()),
        v6.extension(long).udp(Ports::default()),
        tagged.clone().tcp(&Tcp::default()),
        tagged.extension(long).extension(long).tcp(&Tcp::default()),
    ];
    for frame in frames {
        let bytes = frame.payload(&payload).finish();
        let seen = Reported {
            time_ns: 0,
            length: bytes.len() as u32,
            interface: 1,
            hook: Hook::File,
            stripped_vlan: None,
            segments: None,
        };
        let packet = parse(&seen, &bytes[..]).map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
        let found = &bytes[packet.payload_offset as usize..][..packet.first_payload_bytes as usize];
        ensure!(found == payload, "{} bytes behind {} of headers", found.len(), packet.payload_offset);
    }
    Ok(())
}

/// Frames in several buffers: XDP reads only the linear part, wherever it ends.
#[test]
fn frames_in_several_buffers_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let small = NAMED.iter().map(|named| (named.build)()).filter(|bytes| (15..200).contains(&bytes.len()));
    let cuts_of_small = small.flat_map(|bytes| (14..bytes.len()).map(move |linear| (bytes.clone(), linear)));
    let cuts_of_large =
        large_frames().into_iter().flat_map(|bytes| [60, 500, 4000].map(|linear| (bytes.clone(), linear)));
    let cuts: Vec<_> = cuts_of_small.chain(cuts_of_large).collect();
    for_all_payloads(CAPACITY, |twins| {
        let runner = Program::XdpFrags.load(twins.kernel())?;
        let mut tally = Tally::new();
        for (bytes, linear) in &cuts {
            let linear = *linear;
            let input = Input { linear: Some(linear.min(bytes.len())), ..Input::frame(bytes) };
            count(&mut tally, twins.meter(&runner, &input)?);
            twins.forget()?;
        }
        // Bytes missing at the end of a linear part may be in another buffer, so none of these frames is truncated.
        ensure_occurred(&tally, &[Skipped::NotIp, Skipped::Malformed, Skipped::ExtensionChain, Skipped::NotLinear])?;
        ensure!(!tally.contains_key(&None), "not every frame was tried: {tally:?}");
        Ok(())
    })
}

/// Frames of 2,000 to 9,000 bytes, and some whose headers alone are longer than a page.
fn large_frames() -> Vec<Vec<u8>> {
    let (v4, v6) = (Frame::default().ipv4(&Ipv4::default()), Frame::default().ipv6(&Ipv6::default()));
    let long = Extension::DestinationOptions { units: u8::MAX };
    let mut frames = Vec::new();
    for length in (1986..=8986).step_by(250) {
        let payload = payload(length);
        frames.push(v4.clone().udp(Ports::default()).payload(&payload).finish());
        frames.push(v6.clone().tcp(&Tcp::default()).payload(&payload).finish());
        let tagged = Frame::default().tag(ether_type::SERVICE_VLAN, 10).tag(ether_type::VLAN, 20);
        frames.push(tagged.ipv6(&Ipv6::default()).extension(long).sctp(Ports::default()).payload(&payload).finish());
    }
    for extensions in 2..=8 {
        let chain = (0..extensions).fold(v6.clone(), |frame, _| frame.extension(long));
        frames.push(chain.udp(Ports::default()).finish());
    }
    frames
}

/// Flows in both directions: each packet is compared as it arrives, times included, and the epoch is compared when it
/// is drained.
#[test]
fn sequences_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let frames: Vec<_> = NAMED.iter().map(|named| (named.build)()).collect();
    for_all_payloads(CAPACITY, |twins| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        for program in Program::ALL {
            let runner = program.load(twins.kernel())?;
            for _ in 0..4 {
                for _ in 0..500 {
                    let bytes = match random.gen_range(0..4) {
                        0 => mutate(frames.choose(&mut random).context("no frame")?, random.r#gen()),
                        _ => packet_of_a_conversation(&mut random),
                    };
                    twins.meter(&runner, &Input::frame(&bytes))?;
                }
                let flows = twins.drain()?;
                ensure!((20..400).contains(&flows), "{flows} flows of 500 packets make no sequences");
            }
        }
        Ok(())
    })
}

/// A packet of one of a few flows, in either direction. It differs from the others in everything that is counted.
fn packet_of_a_conversation(random: &mut impl Rng) -> Vec<u8> {
    let (client, server, upwards) = (random.gen_range(1..=2), random.gen_range(3..=4), random.r#gen::<bool>());
    let (from, to) = if upwards { (client, server) } else { (server, client) };
    let (source, destination) = if upwards { (40_000, 443) } else { (443, 40_000) };
    let (traffic_class, ttl) = (random.r#gen(), random.r#gen());
    let frame = if random.r#gen() {
        let (source, destination) = ([10, 77, 0, from].into(), [10, 77, 0, to].into());
        Frame::default().ipv4(&Ipv4 { source, destination, traffic_class, ttl, ..Ipv4::default() })
    } else {
        let address = |host| [0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)].into();
        let (source, destination) = (address(from), address(to));
        Frame::default().ipv6(&Ipv6 { source, destination, traffic_class, hop_limit: ttl, ..Ipv6::default() })
    };
    let frame = match random.gen_range(0..4) {
        0 => frame.udp(Ports { source, destination }),
        1 => frame.icmp(if upwards { 8 } else { 0 }, 0, [0; 4]),
        _ => frame.tcp(&Tcp {
            source_port: source,
            destination_port: destination,
            flags: random.r#gen(),
            window: random.r#gen(),
            ..Tcp::default()
        }),
    };
    let length = *[0, 0, 1, 30, 200, 700, 1400, 3000].choose(random).unwrap_or(&0);
    frame.payload(&payload(length)).finish()
}

/// Buffers that represent several packets on the wire.
#[test]
fn super_packets_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    for_all_payloads(CAPACITY, |twins| {
        for program in [Program::Ingress, Program::Egress] {
            let runner = program.load(twins.kernel())?;
            let mut tally = Tally::new();
            for bytes in super_packets() {
                for count in [0, 1, 2, 3, 17, 45, 1000, 65_535] {
                    for size in [0, 1, 536, 1000, 1448, 1460, 8948, 65_535] {
                        let input = Input { segments: Some(Segments { count, size }), ..Input::frame(&bytes) };
                        let outcome = twins.meter(&runner, &input);
                        self::count(&mut tally, outcome.with_context(|| format!("{count} segments of {size} bytes"))?);
                    }
                }
                twins.drain()?;
            }
            ensure_occurred(&tally, &[Skipped::NotIp, Skipped::Malformed])?;
            ensure!(!tally.contains_key(&None), "not every buffer was tried: {tally:?}");
        }
        Ok(())
    })
}

fn super_packets() -> Vec<Vec<u8>> {
    let (v4, v6) = (Frame::default().ipv4(&Ipv4::default()), Frame::default().ipv6(&Ipv6::default()));
    let mut frames: Vec<_> =
        NAMED.iter().filter(|named| ["arp", "ipv4_ihl_4"].contains(&named.name)).map(|named| (named.build)()).collect();
    for length in [0, 1, 1447, 1448, 1449, 2896, 3500] {
        let payload = payload(length);
        frames.push(v4.clone().tcp(&Tcp { flags: 0xff, ..Tcp::default() }).payload(&payload).finish());
        frames.push(v6.clone().udp(Ports::default()).payload(&payload).finish());
        frames.push(
            Frame::default()
                .tag(ether_type::VLAN, 5)
                .ipv4(&Ipv4::default())
                .udp(Ports::default())
                .payload(&payload)
                .finish(),
        );
    }
    frames
}

/// Packets of flows without room: both sides count the same packets as overflow, for the same protocol.
#[test]
fn a_full_table_agrees() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    // There is one bucket, so the hash does not decide which flow gets room.
    const FULL: u32 = SLOTS as u32;
    for_all_payloads(FULL, |twins| {
        for program in Program::ALL {
            let runner = program.load(twins.kernel())?;
            let mut tally = Tally::new();
            for Named { name, build, .. } in NAMED {
                count(&mut tally, twins.meter(&runner, &Input::frame(&build())).context(*name)?);
            }
            ensure_occurred(&tally, &[Skipped::TableFull])?;
            ensure!(twins.drain()? == FULL as usize, "the table was not full");
        }
        Ok(())
    })
}

/// On a link, tc sees frames without their outer tag, and of any length.
#[test]
fn frames_of_a_link_agree_with_their_tag_stripped() -> Result<()> {
    let Some(lab) = require_kernel() else { return Ok(()) };
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let [from, to] = lab.link([&near, &far], &LinkOptions { mtu: 9000, ..LinkOptions::quiet() })?;
    let interface = to.index()?;
    let sender = FrameSender::open(&from)?;
    let mut stripped = 0;
    Twins::on_cpu(0, CAPACITY, PayloadLimit::new(PayloadLimit::MAX), |twins| {
        let _attachment = attach_ingress(twins.kernel(), &to, Mode::Tc)?;
        for Named { name, build, .. } in NAMED {
            if NO_HEADER.contains(name) || DISCARDED_BEFORE_TC.contains(name) {
                continue;
            }
            let bytes = build();
            let begun_ns = monotonic_ns();
            sender.send(std::slice::from_ref(&bytes), 1, Rate::Full).context(*name)?;
            twins.wait_for_packet(Duration::from_secs(10)).with_context(|| format!("{name} did not arrive"))?;
            let (rest, tag) = strip(&bytes);
            stripped += u32::from(tag.is_some());
            let seen = Reported {
                time_ns: 0,
                length: rest.len() as u32,
                interface,
                hook: Hook::Ingress,
                stripped_vlan: tag,
                segments: None,
            };
            twins.compare(seen, &rest, rest.len(), begun_ns..=monotonic_ns()).context(*name)?;
            let whole = Reported { length: bytes.len() as u32, stripped_vlan: None, ..seen };
            let with_tag = parse(&whole, &bytes[..]).map(|packet| Packet {
                payload_offset: packet.payload_offset - (bytes.len() - rest.len()) as u32,
                ..packet
            });
            ensure!(parse(&seen, &rest[..]) == with_tag, "{name} is another packet without its tag");
        }
        twins.drain()
    })?;
    ensure!(stripped >= 10, "{stripped} frames had a tag that the kernel strips");
    Ok(())
}

/// Does the same to a frame as the kernel before tc ingress: it moves the outer tag out of the frame.
fn strip(bytes: &[u8]) -> (Vec<u8>, Option<u16>) {
    match bytes.get(12..16) {
        Some(&[0x81, 0, high, low] | &[0x88, 0xa8, high, low]) => {
            ([&bytes[..12], &bytes[16..]].concat(), Some(u16::from_be_bytes([high, low])))
        }
        _ => (bytes.to_vec(), None),
    }
}
