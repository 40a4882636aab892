//! Filters: the same packets as tcpdump selects, the same in the kernel as in userspace, and every packet counted.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flowml_common::content::PayloadLimit;
use flowml_common::filter::{ETHERNET, Filter, Subject, untagged_length};
use flowml_common::flow::FlowKey;
use flowml_common::packet::{Packet, Skipped};
use flowml_common::parse::{parse, parse_behind};
use flowml_common::table::{Count, Head, Metered, Seed, Shape};
use flowml_common::tunnel::PortList;
use flowml_tests::agent::{Agent, binary, ensure_refused};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::expressions::{Expressions, Values};
use flowml_tests::folder::Folder;
use flowml_tests::frames::{DISCARDED_BEFORE_TC, NAMED, TUNNELLED};
use flowml_tests::lab::{or_skip, quiet_pair};
use flowml_tests::program::{Input, Program, require_kernel};
use flowml_tests::traffic::raw::{FrameSender, Rate};
use flowml_tests::twins::Twins;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::file::{CaptureFile, Captured};
use flowml_user::capture::filter::PacketFilter;
use flowml_user::capture::vectors::VecTable;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::process::Signal;
use serde_json::Value;

/// Number of random expressions that are compared with tcpdump.
const EXPRESSIONS: usize = 200;

/// Number of frames of each capture that are compared.
const OF_EACH: usize = 24;

/// Time of the first frame in ns. Each has a time of its own, by which it is found again.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// A frame that libpcap reads in another way, by a rule of docs/FILTERS.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// libpcap reads the protocol of IPv6 before extension headers, and no ports after them.
    ExtensionHeader,
    /// libpcap does not know the EtherTypes 0x9200 and 0x9300 of VLAN tags.
    OtherTag,
    /// The bytes where another tag would end look like an EtherType. After `vlan`, libpcap reads them as one also in packets
    /// without that tag.
    LikeTagged,
}

impl Rule {
    fn of(captured: &Captured<'_>, packet: &Packet) -> Option<Self> {
        let link = (packet.payload_offset + packet.first_payload_bytes - packet.ip_length) as usize;
        let next_header = captured.bytes.get(link + 6).copied();
        let is_v6 = packet.key.endpoint(packet.sender).address.to_ip().is_ipv6();
        if is_v6 && matches!(next_header, Some(0 | 43 | 44 | 51 | 60)) {
            return Some(Self::ExtensionHeader);
        }
        let tags = captured.bytes.get(12..link)?.chunks_exact(4);
        let is_other = |tag: &[u8]| matches!(tag, [0x92 | 0x93, 0, ..]);
        if captured.link != LinkType::Ethernet {
            return None;
        }
        if tags.into_iter().any(is_other) {
            return Some(Self::OtherTag);
        }
        let behind = captured.bytes.get(link..).unwrap_or_default();
        let is_type =
            |word: &[u8]| matches!(word[2..], [0x08, 0] | [0x86, 0xdd] | [0x81, 0] | [0x88, 0xa8] | [0x91, 0]);
        behind.chunks_exact(4).take(8).any(is_type).then_some(Self::LikeTagged)
    }
}

/// The packet of a frame, and the value that states how many tags it has.
fn packet_of(captured: &Captured<'_>) -> Option<(Packet, u32)> {
    let frame = captured.frame();
    if captured.link == LinkType::Ethernet {
        return Some((parse(&frame, captured.bytes).ok()?, untagged_length(&frame, ETHERNET)));
    }
    let (header, behind) = captured.link.header(captured.bytes)?;
    Some((parse_behind(&frame, &header, behind).ok()?, untagged_length(&frame, header.length)))
}

/// The number of a link type in a file.
const fn number(link: LinkType) -> u32 {
    match link {
        LinkType::Null => 0,
        LinkType::Ethernet => 1,
        LinkType::Raw => 101,
        LinkType::Loop => 108,
        LinkType::Cooked => 113,
        LinkType::Ipv4 => 228,
        LinkType::Ipv6 => 229,
        LinkType::Cooked2 => 276,
    }
}

/// The frames of a link type.
struct Frames {
    link: LinkType,
    records: Vec<Record>,
    values: Values,
}

/// The frames that are compared, and the frames that are left out by a rule.
#[derive(Default)]
struct Material {
    frames: Vec<Frames>,
    left_out: BTreeMap<Rule, usize>,
}

impl Material {
    fn add(&mut self, captured: &Captured<'_>) {
        let packet = packet_of(captured);
        if let Some(rule) = packet.and_then(|(packet, _)| Rule::of(captured, &packet)) {
            *self.left_out.entry(rule).or_default() += 1;
            return;
        }
        let at = self.frames.iter().position(|frames| frames.link == captured.link).unwrap_or_else(|| {
            self.frames.push(Frames { link: captured.link, records: Vec::new(), values: Values::default() });
            self.frames.len() - 1
        });
        let Frames { records, values, .. } = &mut self.frames[at];
        if let Some((packet, _)) = packet {
            values.add(&packet);
        }
        // The check sequence at the end of some captures is not counted in the length.
        let bytes = captured.bytes[..captured.bytes.len().min(captured.length as usize)].to_vec();
        let time_ns = BEGIN_NS + records.len() as u64 * 1000;
        records.push(Record { time_ns, bytes, original: captured.length });
    }
}

/// The named frames, and the first frames of the captures beside the checkout, if there are any.
fn material() -> Result<Material> {
    let mut material = Material::default();
    let named = NAMED.iter().map(|named| named.build).chain(TUNNELLED.iter().map(|named| named.build));
    for bytes in named.map(|build| build()) {
        let length = bytes.len() as u32;
        material.add(&Captured { time_ns: 0, length, interface: 1, link: LinkType::Ethernet, bytes: &bytes });
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let mut paths = Vec::new();
    for folder in ["captures", "faults"].map(|name| shared.join(name)) {
        if folder.is_dir() {
            files_below(&folder, &mut paths)?;
        } else {
            writeln!(std::io::stderr(), "filters: there are no captures at {}", folder.display())?;
        }
    }
    paths.sort();
    for path in paths {
        let Ok(mut file) = CaptureFile::open(&path) else { continue };
        for _ in 0..OF_EACH {
            // Damaged captures are read up to the damage.
            let Ok(Some(captured)) = file.next_frame() else { break };
            if captured.bytes.len() <= 0xffff {
                material.add(&captured);
            }
        }
    }
    Ok(material)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { files_below(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// The result of tcpdump for an expression.
enum Dumped {
    /// A capture of the selected frames.
    Capture(Vec<u8>),
    /// The expression does not apply to this link type.
    NotOfLink,
}

/// Messages of libpcap for expressions that do not apply to a link type.
const NOT_OF_LINK: [&str; 3] = ["no VLAN support", "supported only on", "not a broadcast link"];

fn tcpdump(capture: &Path, expression: &str) -> Result<Dumped> {
    let mut command = Command::new("tcpdump");
    command.args(["-r", "-", "-w", "-", expression]).stdin(File::open(capture)?).stderr(Stdio::piped());
    let output = command.output().context("running tcpdump")?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok(Dumped::Capture(output.stdout));
    }
    // libpcap does not compile what no packet can match.
    if stderr.contains("expression rejects all packets") {
        return Ok(Dumped::Capture(Pcap::of(1).header()));
    }
    ensure!(NOT_OF_LINK.iter().any(|message| stderr.contains(message)), "tcpdump refuses {expression}: {stderr}");
    Ok(Dumped::NotOfLink)
}

/// A table in which almost every flow has room.
fn table(filter: Option<&Filter>) -> VecTable {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let seed = Seed(std::array::from_fn(|_| random.r#gen()));
    VecTable::new(Shape::for_capacity(1 << 17), seed).with_filter(filter.copied())
}

fn meter(table: &mut VecTable, link: LinkType, record: &Record) -> Metered {
    let Record { time_ns, bytes, original } = record;
    Captured { time_ns: *time_ns, length: *original, interface: 1, link, bytes }.meter(table)
}

/// Packets and frame bytes of each flow.
fn flows(table: &VecTable) -> HashMap<FlowKey, (u64, u64)> {
    let mut flows = HashMap::new();
    for flow in table.flows() {
        let (packets, bytes) = flows.entry(*flow.key).or_default();
        *packets += flow.counts.packets();
        *bytes += flow.counts.frame_bytes();
    }
    flows
}

/// Checks that received = in flows + skipped, and returns the number of packets in flows.
fn in_flows(table: &VecTable) -> Result<u64> {
    let Head { received, skipped, .. } = table.counts();
    let mut sum = Count::default();
    skipped.iter().for_each(|count| sum.add(count.packets, count.bytes));
    let mut of_flows = Count::default();
    flows(table).values().for_each(|(packets, bytes)| of_flows.add(*packets, *bytes));
    sum.add(of_flows.packets, of_flows.bytes);
    ensure!(sum == *received, "{sum:?} are not {received:?}");
    Ok(of_flows.packets)
}

/// Packets without room: a flow of several captures, with one connection after the other, needs more entries than there are
/// in its buckets.
fn without_room(table: &VecTable) -> u64 {
    table.counts().skipped[Skipped::TableFull as usize].packets
}

fn filtered(table: &VecTable) -> u64 {
    table.counts().skipped[Skipped::Filtered as usize].packets
}

#[test]
fn flows_are_those_of_the_packets_that_tcpdump_selects() -> Result<()> {
    let version =
        Command::new("tcpdump").arg("--version").output().context("tcpdump is missing: run `cargo xtask setup`");
    if or_skip(version).is_none() {
        return Ok(());
    }
    let (folder, Material { frames, left_out }) = (Folder::new("filters")?, material()?);
    let (mut compared, mut partial, mut not_of_link, mut packets) = (0, 0, 0, 0);
    for (n, Frames { link, records, values }) in frames.into_iter().enumerate() {
        let capture = PathBuf::from(folder.write("frames.pcap", &Pcap::of(number(link)).write(&records))?);
        let mut everything = table(None);
        records.iter().for_each(|record| _ = meter(&mut everything, link, record));
        let all = in_flows(&everything)? + without_room(&everything);
        let mut expressions = Expressions::new(Xoshiro256PlusPlus::seed_from_u64(n as u64), values);
        // Most frames are Ethernet.
        for _ in 0..if link == LinkType::Ethernet { EXPRESSIONS } else { EXPRESSIONS / 10 } {
            let expression = expressions.any();
            let filter: PacketFilter = expression.parse().with_context(|| expression.clone())?;
            let Dumped::Capture(dumped) = tcpdump(&capture, &expression)? else {
                not_of_link += 1;
                continue;
            };
            let selected =
                compare((link, &records, all), &filter, dumped).with_context(|| format!("{link:?}, {expression}"))?;
            compared += 1;
            partial += u32::from(selected > 0 && selected < all);
            packets += records.len();
        }
    }
    writeln!(
        std::io::stderr(),
        "filters: {compared} expressions over {packets} frames select the packets of tcpdump; {partial} select some and not \
         all; {not_of_link} do not apply to the link type; left out by rule: {left_out:?}"
    )?;
    ensure!(compared >= EXPRESSIONS as u32 && partial > compared / 3, "{compared} compared, {partial} of them partial");
    Ok(())
}

/// Compares the flows with a filter with those of the frames that tcpdump selects. `all` is the number of packets in flows
/// without a filter. Returns the number with it.
fn compare((link, records, all): (LinkType, &[Record], u64), filter: &PacketFilter, dumped: Vec<u8>) -> Result<u64> {
    let mut chosen = vec![false; records.len()];
    let mut file = CaptureFile::over(Cursor::new(dumped), "tcpdump".to_owned())?;
    while let Some(captured) = file.next_frame()? {
        chosen[((captured.time_ns - BEGIN_NS) / 1000) as usize] = true;
    }
    let (mut ours, mut theirs) = (table(Some(filter.filter())), table(None));
    for (record, is_chosen) in records.iter().zip(&chosen) {
        let metered = meter(&mut ours, link, record);
        let of_chosen = is_chosen.then(|| meter(&mut theirs, link, record));
        let is_in_flow = of_chosen == Some(Metered::Counted);
        // A frame that is in no flow is counted by its reason, whether tcpdump selects it or not.
        let differs = match metered {
            Metered::Counted => !is_in_flow,
            Metered::Skipped(Skipped::Filtered) => *is_chosen,
            Metered::Skipped(reason) => of_chosen.is_some_and(|other| other != Metered::Skipped(reason)),
        };
        if differs {
            let Record { bytes, original, .. } = record;
            bail!("{metered:?}, and tcpdump selects it: {is_chosen}; {original} bytes on the wire, {bytes:02x?}");
        }
    }
    let (ours_in_flows, theirs_in_flows) = (in_flows(&ours)?, in_flows(&theirs)?);
    ensure!(flows(&ours) == flows(&theirs) && ours_in_flows == theirs_in_flows, "the flows differ");
    let found = filtered(&ours) + ours_in_flows + without_room(&ours);
    ensure!(found == all, "{} filtered, {ours_in_flows} of {all} in flows", filtered(&ours));
    Ok(ours_in_flows)
}

#[test]
fn kernel_programs_select_the_same_packets() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let frames: Vec<Vec<u8>> =
        NAMED.iter().map(|named| (named.build)()).chain(TUNNELLED.iter().map(|named| (named.build)())).collect();
    let mut values = Values::default();
    for bytes in &frames {
        let captured =
            Captured { time_ns: 0, length: bytes.len() as u32, interface: 1, link: LinkType::Ethernet, bytes };
        if let Some((packet, _)) = packet_of(&captured) {
            values.add(&packet);
        }
    }
    let mut expressions = Expressions::new(Xoshiro256PlusPlus::seed_from_u64(5), values);
    let random = (0..20).map(|_| (expressions.any(), None)).collect::<Vec<_>>();
    let inside = ["tunnel", "tunnel vxlan 42 and tcp", "not tunnel and udp", "tunnel gre or tunnel geneve", "udp"];
    let inside = inside.map(|expression| (expression.to_owned(), Some(PortList::default())));
    let (mut selected, mut rejected) = (0, 0);
    for (expression, tunnels) in random.into_iter().chain(inside) {
        let filter: PacketFilter = expression.parse()?;
        let options = (PayloadLimit::new(20), tunnels, Some(filter.filter()));
        Twins::filtered_on_cpu(0, 1024, options, |twins| {
            for program in Program::ALL {
                let runner = program.load(twins.kernel())?;
                for bytes in &frames {
                    match twins.meter(&runner, &Input::frame(bytes))? {
                        Some(Metered::Counted) => selected += 1,
                        Some(Metered::Skipped(Skipped::Filtered)) => rejected += 1,
                        _ => {}
                    }
                }
                twins.forget()?;
            }
            Ok(())
        })
        .with_context(|| expression.clone())?;
    }
    ensure!(selected > 1000 && rejected > 1000, "{selected} packets selected, {rejected} rejected");
    Ok(())
}

/// A super-packet has the length of its first packet, and a tag that the kernel has removed counts as a tag.
#[test]
fn removed_tags_and_super_packets_have_the_fields_of_packets_on_the_wire() -> Result<()> {
    use flowml_common::packet::{Frame, Hook, Segments};
    let bytes = flowml_tests::frames::guest_tcp();
    let frame = |stripped_vlan, segments| Frame {
        time_ns: 0,
        length: bytes.len() as u32,
        interface: 1,
        hook: Hook::Ingress,
        stripped_vlan,
        segments,
    };
    let selects = |expression: &str, frame: Frame| -> Result<bool> {
        let filter: PacketFilter = expression.parse()?;
        let packet = parse(&frame, &bytes[..]).map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
        Ok(filter.filter().selects(&Subject::of(&packet, untagged_length(&frame, ETHERNET))))
    };
    ensure!(selects("tcp and not vlan", frame(None, None))?);
    ensure!(selects("vlan 7 and tcp", frame(Some(0x2007), None))?);
    ensure!(!selects("tcp", frame(Some(0x2007), None))?);
    ensure!(selects("vlan 0 and tcp", frame(Some(0), None))?, "a tag with id 0 is a tag");
    let payload = parse(&frame(None, None), &bytes[..]).map_or(0, |packet| packet.payload_bytes);
    ensure!(payload >= 2, "{payload} bytes");
    let halves = Segments { count: 2, size: payload.div_ceil(2) };
    let length = bytes.len() as u32 - payload / 2;
    ensure!(selects(&format!("len = {length}"), frame(None, Some(halves)))?);
    Ok(())
}

/// Reads a capture with these arguments. Returns the flows as packets by key, and the summary.
fn read(arguments: &[&str]) -> Result<(Vec<String>, Value)> {
    let output = Command::new(binary()?).args(["read", "-o", "jsonl=-", "-q"]).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = output.stdout.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    let rows = rows.map(serde_json::from_slice).collect::<Result<Vec<Value>, _>>()?;
    let columns = [
        "src_ip",
        "dst_ip",
        "src_port",
        "dst_port",
        "protocol",
        "vlan_id",
        "src2dst_packets",
        "dst2src_packets",
        "src2dst_bytes",
        "dst2src_bytes",
        "start_us",
        "end_us",
    ];
    let key = |row: &Value| columns.map(|name| row[name].to_string()).join(" ");
    let mut flows: Vec<String> = rows.iter().filter(|row| row["type"] == "flow").map(key).collect();
    flows.sort();
    let summary = rows.last().filter(|row| row["type"] == "summary").context("no summary")?;
    Ok((flows, summary.clone()))
}

#[test]
fn flowml_read_gives_the_flows_of_a_capture_that_tcpdump_has_filtered() -> Result<()> {
    let folder = Folder::new("filtered")?;
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ethernet.pcap");
    let path = capture.display().to_string();
    let (all, summary) = read(&[&path])?;
    for expression in ["tcp", "udp port 53 or icmp", "not tcp and not ip6", "ip6 and len > 100", "vlan"] {
        let Dumped::Capture(bytes) = tcpdump(&capture, expression)? else { bail!("tcpdump refuses {expression}") };
        let (theirs, _) = read(&[&folder.write("selected.pcap", &bytes)?])?;
        let (ours, filtered) = read(&[&path, "--filter", expression])?;
        ensure!(ours == theirs, "{expression}: {ours:#?} are not {theirs:#?}");
        ensure!(filtered["conserved"] == true && filtered["packets_received"] == summary["packets_received"]);
        let number = |of: &Value| of.as_u64().context("a number");
        let left_out = number(&filtered["packets_skipped"]["filtered"])?;
        let in_flows = number(&filtered["packets_in_flows"])?;
        ensure!(left_out + in_flows == number(&summary["packets_in_flows"])?, "{filtered}");
        ensure!(left_out > 0 && ours.len() < all.len(), "{expression}: {left_out} filtered");
    }
    Ok(())
}

#[test]
fn an_invalid_filter_is_refused_with_its_reason() -> Result<()> {
    let folder = Folder::new("refused")?;
    let line = |filter: &str| format!("run --filter {filter}");
    ensure_refused(&folder.path("."), &line("tcp[13]"), 2, "'tcp[' reads bytes of the packet")?;
    ensure_refused(&folder.path("."), &line("tunnel"), 2, "expected '--tunnels inner' as well")
}

#[test]
fn a_live_run_counts_what_is_filtered() -> Result<()> {
    for mode in ["native", "generic", "tc"] {
        let Some((_lab, [here, there])) = quiet_pair()? else { return Ok(()) };
        let expression = "udp or (tcp and ip6) or vlan 10";
        let filter: PacketFilter = expression.parse()?;
        let agent = Agent::meter(&there, &["--filter", expression, "--xdp-mode", mode])?;
        let sent: Vec<Vec<u8>> = NAMED
            .iter()
            .filter(|named| !DISCARDED_BEFORE_TC.contains(&named.name))
            .map(|named| (named.build)())
            .filter(|bytes| (14..1500).contains(&bytes.len()))
            .collect();
        let mut expected = table(Some(filter.filter()));
        for bytes in &sent {
            meter(&mut expected, LinkType::Ethernet, &Record::whole(BEGIN_NS, bytes.clone()));
        }
        FrameSender::open(&here)?.send(&sent, 3, Rate::Full)?;
        let sent = 3 * expected.counts().received.packets;
        let packets = |summary: &Value, name: &str| summary[name].as_u64().context("a number");
        // The frames are in the network device before the agent is stopped.
        flowml_tests::lab::wait_until(Duration::from_secs(10), || Ok(there.counters()?.rx_packets >= sent))?;
        let report = agent.stop(Signal::TERM)?;
        ensure!(report.code == Some(0), "exit code {:?}: {}", report.code, report.stderr);
        let summary = report.summary()?;
        ensure!(summary["conserved"] == true && packets(summary, "packets_received")? == sent, "{mode}: {summary}");
        ensure!(packets(summary, "packets_in_flows")? == 3 * in_flows(&expected)?, "{mode}: {summary}");
        ensure!(packets(&summary["packets_skipped"], "filtered")? == 3 * filtered(&expected), "{mode}: {summary}");
        ensure!(report.stderr.contains(" filtered"), "{}", report.stderr);
    }
    Ok(())
}
