//! No packet and no byte is lost by the real kernel programs under load.
//!
//! The packets that were sent, by the counts of sender and interface, equal those that the programs received. Each
//! packet is in a flow, or skipped for a reason.
//!
//! `FLOWML_CONSERVATION_RUNS=n` runs each test n times.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::counts::{Counted, FlowValue};
use flowml_common::flow::{FlowKey, FlowStats, Sender};
use flowml_common::packet::{Frame as Reported, Hook, Packet, Skipped};
use flowml_common::parse::parse;
use flowml_common::table::Count;
use flowml_tests::frames::{DISCARDED_BEFORE_TC, Extension, Frame, Ipv4, Ipv6, NAMED, NOBODY, Ports, Tcp};
use flowml_tests::lab::{Interface, Lab, LinkOptions, wait_until};
use flowml_tests::metered::{ARRIVAL_LIMIT, Account, attach_ingress};
use flowml_tests::program::{Program, kernel_table, kernel_table_for, require_kernel};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent, on_cpu};
use flowml_user::capture::attach::{Attachment, Mode};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Packets of each test and CPU. The packets of the volume test come from test runs, the others over a link.
mod volume {
    /// The test with two CPUs at once.
    pub(crate) const TWO_CPUS: u64 = 400_000;
    /// The test with a table of 64 entries.
    pub(crate) const FULL_TABLE: u64 = 300_000;
    /// The test that drains under full load.
    pub(crate) const FULL_LOAD: u64 = 2_000_000;
    /// The test of each mode.
    pub(crate) const MODE: u64 = 100_000;
    /// The test with test runs, without a link.
    pub(crate) const TEST_RUNS: u64 = 7_500_000;

    const LINK: u64 = 2 * (TWO_CPUS + FULL_TABLE + FULL_LOAD + 3 * MODE);
    const _: () = assert!(LINK >= 5_000_000 && LINK + 2 * TEST_RUNS >= 20_000_000);
}

/// Runs a test as often as the environment variable states.
fn repeat(test: impl Fn() -> Result<()>) -> Result<()> {
    let runs = match std::env::var("FLOWML_CONSERVATION_RUNS") {
        Ok(runs) => runs.parse().with_context(|| format!("FLOWML_CONSERVATION_RUNS={runs} is no number"))?,
        Err(_) => 1,
    };
    (1..=runs).try_for_each(|run: u32| test().with_context(|| format!("run {run} of {runs}")))
}

/// A link whose far end is metered. The order of the fields is the order in which they are dropped.
struct Rig {
    account: Account,
    _attachment: Attachment,
    to: Interface,
    sender: FrameSender,
    rx_packets_before: u64,
    _lab: Lab,
}

impl Rig {
    /// Builds the link, or returns `None` if the machine cannot run it.
    fn new(mode: Mode, capacity: Option<u32>) -> Result<Option<Self>> {
        let Some(lab) = require_kernel() else { return Ok(None) };
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        let [from, to] = lab.link([&near, &far], &LinkOptions { mtu: 9000, ..LinkOptions::quiet() })?;
        let sender = FrameSender::open(&from)?;
        let mut account = Account::new(kernel_table(capacity, None)?);
        let attachment = attach_ingress(account.table(), &to, mode)?;
        let rx_packets_before = to.counters()?.rx_packets;
        Ok(Some(Self { account, _attachment: attachment, to, sender, rx_packets_before, _lab: lab }))
    }

    /// Sends a spray from each CPU at once, and drains meanwhile.
    fn spray(&mut self, sprays: &[FlowSpray; 2], pause: Duration, mut each: impl FnMut(Counted<'_>)) -> Result<Sent> {
        let sender = &self.sender;
        let send = || on_both_cpus(|cpu| sender.spray(&sprays[cpu], Rate::Full));
        let [a, b] = self.account.drain_during(pause, send, &mut each)?;
        let sent = [a, b].into_iter().sum();
        self.settle(sent, each)?;
        Ok(sent)
    }

    /// Waits for everything that was sent, and compares it with the interface's counters. Only packets are compared:
    /// with XDP on a veth, the interface counts frames from sockets without their Ethernet header.
    fn settle(&mut self, sent: Sent, each: impl FnMut(Counted<'_>)) -> Result<()> {
        self.account.settle(sent, each)?;
        let counted = self.to.counters()?.rx_packets - self.rx_packets_before;
        ensure!(counted == sent.packets, "the interface counted {counted} packets of {}", sent.packets);
        Ok(())
    }
}

/// Calls `work` on CPU 0 and CPU 1 at the same time.
fn on_both_cpus<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<[T; 2]> {
    std::thread::scope(|scope| {
        let work = &work;
        let other = scope.spawn(move || on_cpu(1, || work(1)));
        let first = on_cpu(0, || work(0));
        let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok([first??, other??])
    })
}

/// A spray of UDP (CPU 0) and one of TCP (CPU 1), without common flows.
fn sprays(to: &Interface, flows: u32, packets: u64) -> [FlowSpray; 2] {
    let udp = FlowSpray::unanswered(to, flows, packets);
    let ip = Ipv4 { destination: to.v4, ..Ipv4::default() };
    let tcp = Frame::between(to.mac, NOBODY).ipv4(&ip).tcp(&Tcp::default()).payload(&[0x55; 100]).finish();
    [udp.clone(), FlowSpray { template: tcp, step: 0x9e37_79b1, ..udp }]
}

/// Packets of each flow, over all epochs and CPUs.
#[derive(Default)]
struct Flows(HashMap<FlowKey, u64>);

impl Flows {
    fn add(&mut self, flow: Counted<'_>) {
        *self.0.entry(*flow.key).or_default() += flow.counts.packets();
    }

    /// Fails unless each flow of two sprays has the same number of packets.
    fn ensure_even(&self, flows: u32, packets: u64) -> Result<()> {
        ensure!(self.0.len() as u64 == 2 * u64::from(flows), "{} flows instead of twice {flows}", self.0.len());
        let share = packets / u64::from(flows);
        let uneven = self.0.iter().find(|&(_, &packets)| packets != share);
        ensure!(uneven.is_none(), "{uneven:?}, but each flow should have {share} packets");
        Ok(())
    }
}

#[test]
fn two_cpus_at_once_lose_nothing() -> Result<()> {
    const FLOWS: u32 = 10_000;
    repeat(|| {
        let Some(mut rig) = Rig::new(Mode::Native, None)? else { return Ok(()) };
        let mut flows = Flows::default();
        let sprays = sprays(&rig.to, FLOWS, volume::TWO_CPUS);
        rig.spray(&sprays, Duration::from_millis(500), |entry| flows.add(entry))?;
        flows.ensure_even(FLOWS, volume::TWO_CPUS)
    })
}

/// The same flow on both CPUs at the same time: no packet is lost, and no gap between the CPUs is counted.
#[test]
fn a_flow_on_two_cpus_at_once_is_complete() -> Result<()> {
    const PACKETS: u64 = 50_000;
    repeat(|| {
        let Some(mut rig) = Rig::new(Mode::Native, None)? else { return Ok(()) };
        let frames = [1u8, 3, 7].map(|n| {
            let tcp = Tcp { flags: n, ..Tcp::default() };
            Frame::default().ipv4(&Ipv4::default()).tcp(&tcp).payload(&vec![n; usize::from(n) * 100]).finish()
        });
        let sender = &rig.sender;
        let sent = on_both_cpus(|_| sender.send(&frames, PACKETS, Rate::Full))?.into_iter().sum();
        let mut parts = Vec::new();
        rig.settle(sent, |flow| parts.push(flow.partial_flow().stats))?;
        let (first, others) = parts.split_first().context("no flow")?;
        ensure!(!others.is_empty(), "both CPUs should have counted");
        let mut whole = *first;
        others.iter().for_each(|part| whole.merge(part));
        let [lower, upper] = &whole.directions;
        // 40 bytes of headers, and payloads of 100, 300 and 700 bytes with flags 1, 3 and 7.
        let each = 2 * PACKETS;
        let squares: u64 = [140u64, 340, 740].iter().map(|length| length * length).sum();
        ensure!(upper.packets == 0 && whole.packets() == 3 * each && whole.packets() == sent.packets);
        ensure!((lower.ip_bytes, lower.length_squares) == (each * 1220, each * squares), "{lower:?}");
        ensure!(lower.flags.map(u64::from) == [3 * each, 2 * each, each, 0, 0, 0, 0, 0], "{:?}", lower.flags);
        ensure!((lower.length_min, lower.length_max) == (140, 740), "{lower:?}");
        ensure!(whole.iat_samples() == whole.packets() - parts.len() as u64, "{} samples", whole.iat_samples());
        Ok(())
    })
}

#[test]
fn a_table_of_64_entries_accounts_for_100_000_flows() -> Result<()> {
    const FLOWS: u32 = 100_000;
    repeat(|| {
        let Some(mut rig) = Rig::new(Mode::Native, Some(64))? else { return Ok(()) };
        let mut in_flows = [Count::default(); 2];
        let sprays = sprays(&rig.to, FLOWS, volume::FULL_TABLE);
        let sent = rig.spray(&sprays, Duration::from_millis(20), |entry| {
            let is_tcp = entry.key.protocol() == 6;
            in_flows[usize::from(is_tcp)].add(entry.counts.packets(), entry.counts.frame_bytes());
        })?;
        let [tcp, udp, others @ ..] = rig.account.total().overflow;
        ensure!(others == [Count::default(); 4], "neither TCP nor UDP: {others:?}");
        for (spray, (overflow, in_flows)) in sprays.iter().zip([(udp, in_flows[0]), (tcp, in_flows[1])]) {
            let packets = overflow.packets + in_flows.packets;
            ensure!(packets == spray.packets, "{overflow:?} and {in_flows:?} of {} packets", spray.packets);
            let bytes = overflow.bytes + in_flows.bytes;
            ensure!(bytes == spray.packets * spray.template.len() as u64, "{overflow:?} and {in_flows:?}");
            ensure!(in_flows.packets > 0 && overflow.packets > in_flows.packets, "the table was hardly full");
        }
        let full = rig.account.skipped(Skipped::TableFull);
        ensure!(rig.account.in_flows().packets + full.packets == sent.packets, "{full:?} of {sent:?}");
        Ok(())
    })
}

#[test]
fn draining_every_10_ms_under_full_load_loses_nothing() -> Result<()> {
    const FLOWS: u32 = 5_000;
    repeat(|| {
        let Some(mut rig) = Rig::new(Mode::Native, None)? else { return Ok(()) };
        let mut flows = Flows::default();
        let sprays = sprays(&rig.to, FLOWS, volume::FULL_LOAD);
        rig.spray(&sprays, Duration::from_millis(10), |entry| flows.add(entry))?;
        flows.ensure_even(FLOWS, volume::FULL_LOAD)?;
        ensure!(rig.account.drains() >= 5, "{} drains", rig.account.drains());
        Ok(())
    })
}

#[test]
fn every_mode_loses_nothing() -> Result<()> {
    const FLOWS: u32 = 1_000;
    repeat(|| {
        for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
            let Some(mut rig) = Rig::new(mode, None)? else { return Ok(()) };
            let mut flows = Flows::default();
            let sprays = sprays(&rig.to, FLOWS, volume::MODE);
            rig.spray(&sprays, Duration::from_millis(50), |entry| flows.add(entry)).context(mode.name())?;
            flows.ensure_even(FLOWS, volume::MODE).context(mode.name())?;
        }
        Ok(())
    })
}

/// Test runs as fast as possible on both CPUs, drained without a pause.
#[test]
fn test_runs_at_full_speed_lose_nothing() -> Result<()> {
    /// Runs in one system call.
    const BATCH: u32 = 25_000;
    repeat(|| {
        let Some(_lab) = require_kernel() else { return Ok(()) };
        let mut account = Account::new(kernel_table(None, None)?);
        let runners = [Program::XdpFrags.load(account.table())?, Program::Ingress.load(account.table())?];
        // Each CPU has its own flows, and one flow is on both.
        let frames: Vec<_> = (0..4u16)
            .map(|port| Frame::default().ipv4(&Ipv4::default()).udp(Ports { source: port, destination: 53 }).finish())
            .collect();
        let of_cpu = [&frames[..3], &frames[1..]];
        let run = || {
            on_both_cpus(|cpu| {
                let mut sent = Sent::default();
                for frame in of_cpu[cpu].iter().cycle() {
                    runners[cpu].repeat(frame, BATCH)?;
                    sent += Sent { packets: u64::from(BATCH), bytes: u64::from(BATCH) * frame.len() as u64 };
                    if sent.packets >= volume::TEST_RUNS {
                        break;
                    }
                }
                Ok(sent)
            })
        };
        let mut flows = Flows::default();
        let sent = account.drain_during(Duration::ZERO, run, |entry| flows.add(entry))?.into_iter().sum();
        account.settle(sent, |entry| flows.add(entry))?;
        let mut packets: Vec<_> = flows.0.into_values().collect();
        packets.sort_unstable();
        let share = volume::TEST_RUNS / 3;
        ensure!(packets == [share, share, 2 * share, 2 * share], "{packets:?} by flow");
        Ok(())
    })
}

/// Each frame has the skip reason of the table of named frames. It is counted under that reason as often as it was
/// sent, with all its bytes: in tc, this includes the tag that the kernel has stripped.
#[test]
fn skipped_packets_are_counted_by_their_reason() -> Result<()> {
    repeat(|| {
        for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
            let Some(mut rig) = Rig::new(mode, None)? else { return Ok(()) };
            check_reasons(&mut rig, mode).context(mode.name())?;
        }
        Ok(())
    })
}

/// A CPU whose number is beyond those of the table counts its packets as skipped.
#[test]
fn frames_on_a_cpu_without_a_partition_are_counted() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let frame = Frame::default().ipv4(&Ipv4::default()).udp(Ports::default()).payload(&[0; 100]).finish();
    let bytes = frame.len() as u64;
    // Only CPU 0 has a partition.
    let mut account = Account::new(kernel_table_for(1, 64)?);
    for program in Program::ALL {
        let runner = program.load(account.table())?;
        for epoch in 0..3 {
            let before = account.skipped(Skipped::NoPartition);
            let in_flows = account.in_flows();
            on_both_cpus(|cpu| runner.repeat(&frame, 1000 + cpu as u32))?;
            let received = account.drain(|_| {})?;
            ensure!(received == 2001, "{} in epoch {epoch}: received {received}", program.name());
            let [mut skipped, mut flows] = [before, in_flows];
            skipped.add(1001, 1001 * bytes);
            flows.add(1000, 1000 * bytes);
            ensure!(
                (account.skipped(Skipped::NoPartition), account.in_flows()) == (skipped, flows),
                "{}",
                program.name()
            );
        }
    }
    Ok(())
}

fn check_reasons(rig: &mut Rig, mode: Mode) -> Result<()> {
    /// Number of times that each CPU sends all frames.
    const TIMES: u64 = 10;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    let (mut frames, mut expected, mut in_flows) = (Vec::new(), [Count::default(); Skipped::COUNT], Count::default());
    for (bytes, skipped) in frames_and_reasons(mode) {
        let times = random.gen_range(1..=40);
        let count = skipped.map_or(&mut in_flows, |reason| &mut expected[reason as usize]);
        count.add(2 * TIMES * times, 2 * TIMES * times * bytes.len() as u64);
        frames.extend((0..times).map(|_| bytes.clone()));
    }
    frames.shuffle(&mut random);
    let sender = &rig.sender;
    let send = || on_both_cpus(|_| sender.send(&frames, TIMES, Rate::Full));
    let sent = rig.account.drain_during(Duration::from_millis(5), send, |_| {})?.into_iter().sum();
    rig.settle(sent, |_| {})?;
    for reason in Skipped::ALL {
        let (found, expected) = (rig.account.skipped(reason), expected[reason as usize]);
        ensure!(found == expected, "{}: {found:?} instead of {expected:?}", reason.name());
        // The table has no filter.
        let of_table = [Skipped::TableFull, Skipped::NoPartition, Skipped::Filtered].contains(&reason);
        ensure!(found.packets > 0 || of_table, "no frame was {}", reason.name());
    }
    ensure!(rig.account.in_flows() == in_flows, "in flows: {:?} instead of {in_flows:?}", rig.account.in_flows());
    Ok(())
}

/// The named frames, and one whose headers are longer than a page.
fn frames_and_reasons(mode: Mode) -> impl Iterator<Item = (Vec<u8>, Option<Skipped>)> {
    let long = Extension::DestinationOptions { units: u8::MAX };
    let beyond_a_page = Frame::default().ipv6(&Ipv6::default()).extension(long).extension(long).udp(Ports::default());
    let named = NAMED.iter().filter(move |named| mode != Mode::Tc || !DISCARDED_BEFORE_TC.contains(&named.name));
    let named = named.map(|named| ((named.build)(), named.skipped));
    // A frame without a complete Ethernet header cannot be sent.
    let named = named.filter(|(bytes, _)| bytes.len() >= 14);
    named.chain([(beyond_a_page.finish(), Some(Skipped::NotLinear))])
}

/// Frames that one CPU sends at once.
type Shot = (usize, Vec<(Sender, Vec<u8>)>);

/// Frames that are sent before the next drain. There are at most two packets in each direction, so their times are the
/// first and the last time of that direction, and known to the nanosecond.
fn shots(epoch: usize, random: &mut impl Rng) -> Vec<Shot> {
    let mut frame = |sender| (sender, segment(sender, random));
    match epoch % 10 {
        // Both CPUs in one epoch.
        9 => vec![(0, vec![frame(Sender::Lower)]), (1, vec![frame(Sender::Upper)])],
        8 => vec![(1, vec![frame(Sender::Upper), frame(Sender::Upper)])],
        few @ 0..4 => vec![(epoch / 10 % 2, (0..=few / 2).map(|_| frame(Sender::Lower)).collect())],
        _ => {
            let senders = [Sender::Lower, Sender::Upper, Sender::Upper, Sender::Lower];
            vec![(epoch / 10 % 2, senders.map(frame).to_vec())]
        }
    }
}

/// A TCP segment of the same connection. It differs from the others in everything that is counted.
fn segment(sender: Sender, random: &mut impl Rng) -> Vec<u8> {
    let (ends, ports) = (Ipv4::default(), Tcp::default());
    let (source, destination, source_port, destination_port) = match sender {
        Sender::Lower => (ends.source, ends.destination, ports.source_port, ports.destination_port),
        Sender::Upper => (ends.destination, ends.source, ports.destination_port, ports.source_port),
    };
    let ip = Ipv4 { source, destination, traffic_class: random.r#gen(), ttl: random.r#gen(), ..ends };
    let tcp = Tcp { source_port, destination_port, flags: random.r#gen(), window: random.r#gen(), ..ports };
    Frame::default().ipv4(&ip).tcp(&tcp).payload(&vec![0x55; random.gen_range(0..1400)]).finish()
}

/// The times of the packets that `sender` sent in these partial flows, which are in order.
fn times(parts: &[FlowStats], sender: Sender) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    for direction in parts.iter().map(|part| part.direction(sender)) {
        match direction.packets {
            0 => {}
            1 => times.push(direction.first_ns),
            2 => times.extend([direction.first_ns, direction.last_ns]),
            more => anyhow::bail!("{more} packets, where two were sent"),
        }
    }
    Ok(times)
}

/// A flow over many epochs that moves between CPUs has the statistics that one table would have counted.
#[test]
fn a_flow_over_epochs_and_cpus_has_the_moments_of_all_its_packets() -> Result<()> {
    const EPOCHS: usize = 150;
    repeat(|| {
        let Some(mut rig) = Rig::new(Mode::Native, None)? else { return Ok(()) };
        let interface = rig.to.index()?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
        let (mut sent, mut all_parts, mut all, mut epochs_on_two) = (Sent::default(), Vec::new(), Vec::new(), 0);
        for epoch in 0..EPOCHS {
            let shots = shots(epoch, &mut random);
            for (cpu, frames) in &shots {
                let frames: Vec<_> = frames.iter().map(|(_, bytes)| bytes.clone()).collect();
                sent += on_cpu(*cpu, || rig.sender.send(&frames, 1, Rate::Full))??;
            }
            let mut parts = Vec::new();
            wait_until(ARRIVAL_LIMIT, || {
                let before = parts.len();
                rig.account.drain(|flow| parts.push(flow.partial_flow().stats))?;
                epochs_on_two += u32::from(parts.len() == before + 2);
                Ok(rig.account.total().received.packets >= sent.packets)
            })?;
            parts.sort_by_key(FlowStats::first_ns);
            let mut packets = Vec::new();
            for sender in [Sender::Lower, Sender::Upper] {
                let frames = shots.iter().flat_map(|(_, frames)| frames).filter(|(from, _)| *from == sender);
                let times = times(&parts, sender)?;
                ensure!(times.len() == frames.clone().count(), "{} times, epoch {epoch}", times.len());
                packets.extend(times.into_iter().zip(frames.map(|(_, bytes)| bytes.clone())));
            }
            packets.sort_by_key(|&(time_ns, _)| time_ns);
            all.extend(packets);
            all_parts.extend(parts);
        }
        rig.settle(sent, |_| {})?;
        ensure!(epochs_on_two > 0, "the flow was never on two CPUs in one epoch");
        let joined = joined(&all_parts)?;
        let packets =
            all.iter().map(|(time_ns, bytes)| packet(*time_ns, bytes, interface)).collect::<Result<Vec<_>>>()?;
        let whole = counted(&packets)?;
        ensure!(joined == whole, "{joined:#?}\nof the whole sequence:\n{whole:#?}");
        check_moments(&joined, &all)
    })
}

fn joined(parts: &[FlowStats]) -> Result<FlowStats> {
    let (first, others) = parts.split_first().context("no part")?;
    let mut joined = *first;
    others.iter().for_each(|part| joined.follow(part));
    Ok(joined)
}

fn counted(packets: &[Packet]) -> Result<FlowStats> {
    let key = packets.first().context("no packet")?.key;
    let value = FlowValue::of_all(packets).context("no packet")?;
    Ok(value.counted(&key).partial_flow().stats)
}

fn packet(time_ns: u64, bytes: &[u8], interface: u32) -> Result<Packet> {
    let length = bytes.len() as u32;
    let seen = Reported { time_ns, length, interface, hook: Hook::Xdp, stripped_vlan: None, segments: None };
    parse(&seen, bytes).map_err(|reason| anyhow::anyhow!("skipped as {}", reason.name()))
}

/// Computes the moments again from the bytes of the frames, at the positions of IPv4 and TCP headers without options,
/// and from times.
fn check_moments(stats: &FlowStats, frames: &[(u64, Vec<u8>)]) -> Result<()> {
    for sender in [Sender::Lower, Sender::Upper] {
        let own_port = Tcp::default().source_port.to_be_bytes();
        let frames = frames.iter().filter(|(_, bytes)| (bytes[34..36] == own_port) == (sender == Sender::Lower));
        let lengths = frames.clone().map(|(_, bytes)| u64::from(u16::from_be_bytes([bytes[16], bytes[17]])));
        let flags: Vec<u8> = frames.clone().map(|(_, bytes)| bytes[47]).collect();
        let times: Vec<u64> = frames.map(|&(time_ns, _)| time_ns).collect();
        let gaps = gaps_us(&times);
        let found = stats.direction(sender);
        ensure!(found.packets == times.len() as u64 && found.iat_samples() == gaps.len() as u64, "{found:?}");
        ensure!(found.ip_bytes == lengths.clone().sum::<u64>(), "{found:?}");
        ensure!(found.length_squares == lengths.clone().map(|length| length * length).sum::<u64>(), "{found:?}");
        ensure!(lengths.clone().min() == Some(u64::from(found.length_min)), "{found:?}");
        ensure!(lengths.max() == Some(u64::from(found.length_max)), "{found:?}");
        for (bit, &count) in found.flags.iter().enumerate() {
            ensure!(
                count as usize == flags.iter().filter(|&flags| flags >> bit & 1 == 1).count(),
                "flag {bit}: {found:?}"
            );
        }
        let iat = (found.iat_squares, Some(found.iat_min_us), Some(found.iat_max_us));
        ensure!(iat == moments(&gaps), "{iat:?} of {gaps:?}");
    }
    let times: Vec<u64> = frames.iter().map(|&(time_ns, _)| time_ns).collect();
    let gaps = gaps_us(&times);
    let iat = (stats.iat_squares, Some(stats.iat_min_us), Some(stats.iat_max_us));
    ensure!(iat == moments(&gaps) && stats.iat_samples() == gaps.len() as u64, "{iat:?} of {gaps:?}");
    Ok(())
}

fn gaps_us(times_ns: &[u64]) -> Vec<u64> {
    times_ns.windows(2).map(|pair| pair[1] / 1000 - pair[0] / 1000).collect()
}

/// Sum of squares, minimum, maximum.
fn moments(gaps: &[u64]) -> (u128, Option<u64>, Option<u64>) {
    (gaps.iter().map(|gap| u128::from(*gap).pow(2)).sum(), gaps.iter().min().copied(), gaps.iter().max().copied())
}
