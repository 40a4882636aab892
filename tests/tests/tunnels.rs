//! Flows inside of tunnels: what is read of each kind, by the kernel as in userspace, and on a live interface.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::content::PayloadLimit;
use flowml_common::packet::{Segments, Skipped};
use flowml_common::table::{Head, Metered, Seed, Shape};
use flowml_common::tunnel::{Outcome, Outer, PortList, TunnelKind};
use flowml_tests::agent::Agent;
use flowml_tests::frames::{
    Frame, Ipv4, NAMED, Ports, TUNNELLED, Tcp, Tunnelled, gre, guest_tcp, mutate, protocol, vxlan,
};
use flowml_tests::lab::{Interface, IpVersion, LinkOptions, require_lab};
use flowml_tests::program::{Input, LONGEST_LINEAR, Program, require_kernel};
use flowml_tests::traffic::peers::{Exchange, Served, TcpClient, TcpService, UdpService, udp_exchange};
use flowml_tests::traffic::raw::{FrameSender, Rate};
use flowml_tests::twins::Twins;
use flowml_user::capture::file::Captured;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::vectors::VecTable;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Room for the flows of one test.
const CAPACITY: u32 = 1024;

/// Longest time for a record on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Number of mutations for each program.
const MUTATIONS: u64 = 12_000;

fn table(tunnels: Option<PortList>) -> VecTable {
    VecTable::new(Shape::for_capacity(64), Seed([7; 12])).with_tunnels(tunnels)
}

fn meter(table: &mut VecTable, bytes: &[u8]) -> Metered {
    Captured { time_ns: 1, length: bytes.len() as u32, interface: 1, link: LinkType::Ethernet, bytes }.meter(table)
}

/// Number of packets by kind and outcome, without zeroes.
fn encapsulations(head: &Head) -> Vec<(TunnelKind, Outcome, u64)> {
    let all = TunnelKind::ALL.into_iter().flat_map(|kind| Outcome::ALL.into_iter().map(move |outcome| (kind, outcome)));
    all.map(|(kind, outcome)| (kind, outcome, head.tunnels.of(kind, outcome)))
        .filter(|(.., packets)| *packets > 0)
        .collect()
}

fn expected(of: &Tunnelled) -> Vec<(TunnelKind, Outcome, u64)> {
    let mut sums: Vec<(TunnelKind, Outcome, u64)> = Vec::new();
    for &(kind, outcome) in of.encapsulations {
        match sums.iter_mut().find(|sum| (sum.0, sum.1) == (kind, outcome)) {
            Some(sum) => sum.2 += 1,
            None => sums.push((kind, outcome, 1)),
        }
    }
    sums.sort_unstable_by_key(|(kind, outcome, _)| (*kind, *outcome));
    sums
}

#[test]
fn what_is_inside_of_named_frames_is_found() -> Result<()> {
    for named in TUNNELLED {
        let (bytes, mut inside, mut outside) = ((named.build)(), table(Some(PortList::default())), table(None));
        let metered = meter(&mut inside, &bytes);
        assert_eq!(encapsulations(inside.counts()), expected(named), "{}", named.name);
        let removed = named.encapsulations.iter().rfind(|(_, outcome)| *outcome == Outcome::Removed);
        let skipped = if removed.is_some() { None } else { named.skipped };
        assert_eq!(metered, skipped.map_or(Metered::Counted, Metered::Skipped), "{}", named.name);
        assert_eq!(
            meter(&mut outside, &bytes),
            named.skipped.map_or(Metered::Counted, Metered::Skipped),
            "{}",
            named.name
        );
        assert!(outside.flows().all(|flow| flow.key.tunnel().is_none() && flow.tunnel().is_none()));
        let flow = inside.flows().next();
        assert_eq!(flow.and_then(|flow| flow.key.tunnel()), removed.map(|(kind, _)| *kind), "{}", named.name);
        if let Some(outer) = flow.and_then(|flow| flow.tunnel()) {
            assert_eq!(outer.id(), named.id, "{}", named.name);
            // The frame bytes are those of the complete frame, as in every flow.
            assert_eq!(inside.counts().received, outside.counts().received, "{}", named.name);
        } else {
            // What is not removed is counted as without tunnels, except that authentication headers are passed.
            let [one, other] = [&inside, &outside].map(|table| table.flows().next().map(|flow| *flow.key));
            assert_eq!(one, other, "{}", named.name);
        }
    }
    Ok(())
}

#[test]
fn networks_with_equal_addresses_are_different_flows() {
    let mut table = table(Some(PortList::default()));
    let between = |vni, reversed: bool| {
        let [here, there] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 200)];
        let (source, destination) = if reversed { (there, here) } else { (here, there) };
        let frame = Frame::default().ipv4(&Ipv4 { source, destination, ..Ipv4::default() });
        frame.udp(Ports { source: 50_000, destination: 4789 }).payload(&vxlan(vni, guest_tcp())).finish()
    };
    for (vni, reversed) in [(1, false), (2, false), (1, false), (1, true)] {
        assert_eq!(meter(&mut table, &between(vni, reversed)), Metered::Counted);
    }
    let mut packets: Vec<_> = table.flows().map(|flow| (flow.key.tunnel_id(), flow.counts.packets())).collect();
    packets.sort_unstable();
    assert_eq!(packets, [(Some(1), 3), (Some(2), 1)]);
    assert!(table.flows().all(|flow| flow.key.tunnel() == Some(TunnelKind::Vxlan)));
    // The outer addresses are those of the first packet, on the sides of the flow's endpoints. 10.88.0.9 sends.
    let outer = table.flows().find(|flow| flow.counts.packets() == 3).and_then(|flow| flow.tunnel()?.addresses());
    let [lower, upper] = outer.expect("outer addresses").map(|address| address.to_ip().to_string());
    assert_eq!([lower.as_str(), upper.as_str()], ["192.0.2.200", "192.0.2.1"]);
}

#[test]
fn both_directions_are_one_flow_where_numbers_of_tunnels_differ() {
    for (header, kind) in [(vec![0x30, 255, 0, 0, 0, 0, 0], TunnelKind::Gtpu), (vec![0x88, 0x47], TunnelKind::Mpls)] {
        let mut table = table(Some(PortList::default()));
        for (number, reversed) in [(1_u8, false), (2, true)] {
            let ends =
                Ipv4 { source: Ipv4Addr::new(10, 1, 0, 1), destination: Ipv4Addr::new(10, 1, 0, 2), ..Ipv4::default() };
            let (ip, ports) = if reversed {
                let ip = Ipv4 { source: ends.destination, destination: ends.source, ..ends };
                (ip, Ports { source: 53, destination: 40_000 })
            } else {
                (ends, Ports { source: 40_000, destination: 53 })
            };
            let inside = Frame::default().ipv4(&ip).udp(ports).finish().split_off(14);
            let bytes = if kind == TunnelKind::Gtpu {
                let payload = [&header[..], &[number], &inside].concat();
                Frame::default()
                    .ipv4(&Ipv4::default())
                    .udp(Ports { source: 2152, destination: 2152 })
                    .payload(&payload)
                    .finish()
            } else {
                Frame::default().ether_type(0x8847, &[&[0, 0, number << 4 | 1, 64], &inside[..]].concat()).finish()
            };
            assert_eq!(meter(&mut table, &bytes), Metered::Counted);
        }
        let flows: Vec<_> = table.flows().map(|flow| (flow.key.tunnel(), flow.counts.packets())).collect();
        assert_eq!(flows, [(Some(kind), 2)]);
        assert!(table.flows().all(|flow| flow.key.tunnel_id().is_none()));
        assert_eq!(table.flows().next().and_then(|flow| flow.tunnel()).map(Outer::id), Some(1));
    }
}

/// Calls `work` with tables that look into tunnels, without and with payload.
fn inside(work: impl Fn(&mut Twins) -> Result<()> + Sync) -> Result<()> {
    for payload in [None, PayloadLimit::new(100)] {
        Twins::inside_on_cpu(0, CAPACITY, payload, Some(PortList::default()), |twins| work(twins))
            .with_context(|| format!("{payload:?}"))?;
    }
    Ok(())
}

#[test]
fn programs_agree_on_named_frames_and_on_each_cut_of_them() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let named = NAMED.iter().map(|named| (named.name, (named.build)()));
    let named: Vec<_> = named.chain(TUNNELLED.iter().map(|named| (named.name, (named.build)()))).collect();
    inside(|twins| {
        for program in Program::ALL {
            let runner = program.load(twins.kernel())?;
            let mut run = 0_u64;
            for (name, bytes) in &named {
                run += u64::from(twins.meter(&runner, &Input::frame(bytes)).context(*name)?.is_some());
                twins.forget()?;
            }
            for tunnelled in TUNNELLED {
                let bytes = (tunnelled.build)();
                for length in 14..bytes.len().min(LONGEST_LINEAR) {
                    let metered = twins.meter(&runner, &Input::frame(&bytes[..length]));
                    run += u64::from(metered.with_context(|| format!("{} cut to {length}", tunnelled.name))?.is_some());
                    twins.forget()?;
                }
            }
            ensure!(run > 5000, "{} was run on {run} frames only", program.name());
        }
        Ok(())
    })
}

#[test]
fn programs_agree_on_mutated_frames() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let frames: Vec<_> = TUNNELLED.iter().map(|named| (named.build)()).collect();
    inside(|twins| {
        for (number, program) in (0..).zip(Program::ALL) {
            let runner = program.load(twins.kernel())?;
            for seed in number * MUTATIONS..(number + 1) * MUTATIONS {
                let bytes = mutate(&frames[seed as usize % frames.len()], seed);
                twins.meter(&runner, &Input::frame(&bytes)).with_context(|| format!("mutation {seed}"))?;
                // Flows of several packets, with the tunnel of the first.
                if seed % 16 == 0 {
                    twins.forget()?;
                }
            }
            twins.forget()?;
        }
        Ok(())
    })
}

#[test]
fn programs_agree_on_frames_in_several_buffers() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    inside(|twins| {
        let runner = Program::XdpFrags.load(twins.kernel())?;
        for tunnelled in TUNNELLED {
            let bytes = (tunnelled.build)();
            for linear in 14..bytes.len() {
                let input = Input { linear: Some(linear), ..Input::frame(&bytes) };
                twins.meter(&runner, &input).with_context(|| format!("{}, linear {linear}", tunnelled.name))?;
                twins.forget()?;
            }
        }
        Ok(())
    })
}

/// A buffer that is divided inside of its tunnel: each packet on the wire has the outer headers.
#[test]
fn programs_agree_on_super_packets() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let inner = Frame::default().ipv4(&Ipv4::default()).tcp(&Tcp::default()).payload(&[0x55; 3000]).finish();
    let long = Frame::default().ipv4(&Ipv4::default());
    let long = long.udp(Ports { source: 50_000, destination: 4789 }).payload(&vxlan(5, inner)).finish();
    inside(|twins| {
        for program in [Program::Ingress, Program::Egress] {
            let runner = program.load(twins.kernel())?;
            let frames = TUNNELLED.iter().map(|named| (named.build)()).chain([long.clone()]);
            for bytes in frames.filter(|bytes| bytes.len() > 60) {
                for (count, size) in [(0, 1), (0, 1000), (2, 10), (3, 1000), (7, 536), (1000, 1000), (65_535, 65_535)] {
                    let input = Input { segments: Some(Segments { count, size }), ..Input::frame(&bytes) };
                    twins.meter(&runner, &input).with_context(|| format!("{count} segments of {size} bytes"))?;
                }
                twins.forget()?;
            }
            let input = Input { segments: Some(Segments { count: 3, size: 1000 }), ..Input::frame(&long) };
            twins.meter(&runner, &input)?;
            let flow = twins.flow().context("no flow")?;
            let headers = 14 + 20 + 8 + 8 + 14 + 20 + 20;
            ensure!(flow.key.tunnel() == Some(TunnelKind::Vxlan) && flow.counts.packets() == 3, "{flow:?}");
            ensure!(flow.counts.frame_bytes() == 3 * headers + 3000, "{flow:?}");
            ensure!(twins.counts().tunnels.of(TunnelKind::Vxlan, Outcome::Removed) == 3, "{:?}", twins.counts());
            twins.forget()?;
        }
        Ok(())
    })
}

/// Stops the agent, and checks that it counted every packet once.
fn conserved(agent: Agent) -> Result<(Vec<Value>, Value)> {
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "exit code {:?}: {}", report.code, report.stderr);
    let summary = report.summary()?.clone();
    ensure!(summary["conserved"] == true, "{summary}");
    Ok((report.of_type("flow").cloned().collect(), summary))
}

/// The only flow with these members, and a check that it has those of `expected`.
fn only(flows: &[Value], wanted: &Value, expected: &Value) -> Result<Value> {
    let has = |flow: &&Value, members: &Value| {
        members.as_object().is_some_and(|members| members.iter().all(|(name, value)| flow[name] == *value))
    };
    let found: Vec<_> = flows.iter().filter(|flow| has(flow, wanted)).collect();
    let [flow] = found[..] else { anyhow::bail!("{} flows with {wanted} among {flows:#?}", found.len()) };
    ensure!(has(&flow, expected), "{flow} is not {expected}");
    Ok(flow.clone())
}

/// Adds a VXLAN device on one end of a link, with this address.
fn add_vxlan(from: &Interface, to: &Interface, address: Ipv4Addr) -> Result<Interface> {
    let [local, remote] = [from.v4, to.v4].map(|address| address.to_string());
    let arguments = [
        &["link", "add", "inside", "type", "vxlan", "id", "42", "dstport", "4789", "local", &local][..],
        &["remote", &remote, "dev", &from.name],
    ];
    from.host.ip(&arguments.concat())?;
    from.host.ip(&["address", "add", &format!("{address}/24"), "dev", "inside"])?;
    from.host.ip(&["link", "set", "inside", "up"])?;
    let mut inside = from.clone();
    (inside.v4, inside.name) = (address, "inside".to_owned());
    Ok(inside)
}

#[test]
fn rows_of_a_live_vxlan_equal_what_was_sent() -> Result<()> {
    for (mode, offloads) in [("native", false), ("generic", false), ("tc", false), ("tc", true)] {
        live_vxlan(mode, offloads).with_context(|| format!("--xdp-mode {mode}, offloads: {offloads}"))?;
    }
    Ok(())
}

fn live_vxlan(mode: &str, offloads: bool) -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let options = LinkOptions { offloads, ..LinkOptions::default() };
    let [here, there] = lab.link([&lab.host("client")?, &lab.host("server")?], &options)?;
    let agent = Agent::meter(&there, &["--tunnels", "inner", "--direction", "both", "--xdp-mode", mode])?;
    let inner_here = add_vxlan(&here, &there, Ipv4Addr::new(10, 99, 0, 1))?;
    let inner_there = add_vxlan(&there, &here, Ipv4Addr::new(10, 99, 0, 2))?;
    let tcp = TcpService::start(&inner_there, IpVersion::V4, 8080)?;
    let mut connection = TcpClient::connect(&inner_here.host, tcp.address())?;
    connection.exchange(Exchange { request: 300_000, response: 200_001 })?;
    let client = connection.local_address()?;
    drop(connection);
    let udp = UdpService::start(&inner_there, IpVersion::V4, 53)?;
    udp_exchange(&inner_here.host, udp.address(), Exchange { request: 100, response: 1200 })?;
    ensure!(tcp.stop()? == Served { conversations: 1, received: 300_000, sent: 200_001 });
    ensure!(udp.stop()? == Served { conversations: 1, received: 100, sent: 1200 });
    let (flows, summary) = conserved(agent)?;
    let around = json!({
        "tunnel": "vxlan", "tunnel_id": 42, "outer_src_ip": here.v4.to_string(), "outer_dst_ip": there.v4.to_string(),
        "vlan_id": 0,
    });
    let inside = json!({"src_ip": "10.99.0.1", "dst_ip": "10.99.0.2", "protocol": protocol::TCP});
    let flow = only(&flows, &inside, &around)?;
    ensure!(flow["src_port"] == client.port() && flow["dst_port"] == 8080, "{flow}");
    for (way, sent) in [("src2dst", 300_000), ("dst2src", 200_001)] {
        let number = |name: &str| flow[format!("{way}_{name}")].as_u64().with_context(|| format!("no {name}: {flow}"));
        // Segments that were lost are sent again, in segments of at most the MSS.
        let payload = number("payload_bytes")?;
        ensure!((sent..sent + 20_000).contains(&payload), "{payload} bytes of payload {way}: {flow}");
        // 1450 bytes of MTU, without IPv4 and TCP headers.
        ensure!(number("payload_packets")? >= sent.div_ceil(1410), "{flow}");
    }
    let inside = json!({"src_ip": "10.99.0.1", "dst_ip": "10.99.0.2", "protocol": protocol::UDP});
    let counts = json!({
        "dst_port": 53, "src2dst_packets": 1, "src2dst_payload_bytes": 100, "src2dst_bytes": 128,
        "dst2src_packets": 1, "dst2src_payload_bytes": 1200, "dst2src_bytes": 1228,
    });
    only(&flows, &inside, &counts)?;
    only(&flows, &inside, &around)?;
    ensure!(summary["tunnels"]["vxlan"]["removed"].as_u64().is_some_and(|packets| packets > 300), "{summary}");
    Ok(())
}

/// Frames of GRE, because not every kernel has a device for it.
#[test]
fn rows_of_live_gre_equal_what_was_sent() -> Result<()> {
    for mode in ["native", "generic", "tc"] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let [here, there] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
        let times = ["--interval", "100ms", "--idle-timeout", "500ms"];
        let agent = Agent::meter(&there, &[&["--tunnels", "inner", "--xdp-mode", mode][..], &times].concat())?;
        let frame = |key, inside: Vec<u8>| {
            let ends = Ipv4 { source: here.v4, destination: there.v4, ..Ipv4::default() };
            Frame::between(here.mac, there.mac)
                .ipv4(&ends)
                .protocol(protocol::GRE, &gre(0x2000, 0x0800, key, inside))
                .finish()
        };
        let tcp = guest_tcp().split_off(14);
        let frames: Vec<Vec<u8>> = [7, 7, 7, 8].into_iter().map(|key| frame(key, tcp.clone())).collect();
        let lengths = [3 * frames[0].len(), frames[3].len()];
        FrameSender::open(&here)?.send(&frames, 1, Rate::Full)?;
        agent.wait_for(LIMIT, |record| record["type"] == "flow" && record["tunnel_id"] == 8)?;
        let (flows, summary) = conserved(agent)?;
        for ((key, packets), bytes) in [(7, 3), (8, 1)].into_iter().zip(lengths) {
            let wanted = json!({"tunnel": "gre", "tunnel_id": key});
            let counts = json!({
                "src_ip": "10.88.0.9", "dst_ip": "10.88.0.2", "src2dst_packets": packets, "dst2src_packets": 0,
                "src2dst_bytes": packets as usize * tcp.len(), "outer_src_ip": here.v4.to_string(),
                "outer_dst_ip": there.v4.to_string(),
            });
            let flow = only(&flows, &wanted, &counts)?;
            ensure!(bytes > packets as usize * tcp.len(), "{flow}");
        }
        ensure!(summary["packets_received"] == 4 && summary["tunnels"]["gre"]["removed"] == 4, "{summary}");
        ensure!(summary["bytes_in_flows"] == lengths.iter().sum::<usize>(), "{summary}");
    }
    Ok(())
}

/// What is skipped without looking into tunnels is skipped with it, unless it is inside of a tunnel.
#[test]
fn frames_without_tunnels_have_the_same_flows() {
    let mut compared = 0;
    for named in NAMED {
        let (bytes, mut inside, mut outside) = ((named.build)(), table(Some(PortList::default())), table(None));
        let [one, other] = [meter(&mut inside, &bytes), meter(&mut outside, &bytes)];
        let has_tunnel = !inside.counts().tunnels.is_empty() || named.name.starts_with("ipv4_ah");
        if !has_tunnel {
            assert_eq!(one, other, "{}", named.name);
            assert_eq!(one, named.skipped.map_or(Metered::Counted, Metered::Skipped), "{}", named.name);
            let [one, other] =
                [&inside, &outside].map(|table| table.flows().next().map(|flow| (*flow.key, *flow.counts)));
            assert_eq!(one, other, "{}", named.name);
            compared += 1;
        }
    }
    assert!(compared > 150, "{compared}");
    assert_eq!(Skipped::COUNT, 8, "a new reason needs a case here");
}
