//! Compares flows inside of tunnels with tshark: each packet that tshark finds inside of a tunnel is in the flow of that packet.
//!
//! tshark dissects each frame to its innermost layers. The layers down to the second encapsulation give the expected
//! addresses, ports, tunnel and length of each packet, and with them the packets and bytes of each conversation. A
//! [`Rule`] describes an intended difference.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flowml_common::counts::Counted;
use flowml_common::flow::Sender;
use flowml_common::headers::protocol;
use flowml_common::packet::Skipped;
use flowml_common::table::{Metered, Seed, Shape};
use flowml_common::tunnel::{Outcome, PortList, TunnelKind};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::folder::Folder;
use flowml_tests::frames::TUNNELLED;
use flowml_tests::lab::require_lab_with;
use flowml_user::capture::file::{CaptureFile, Captured};
use flowml_user::capture::vectors::VecTable;

/// The intended differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// All fragments of an outer packet are in the outer flow. tshark dissects what the first one contains.
    Fragment,
    /// The packet inside ends after the bytes of the frame, by its own length. tshark dissects what is there.
    Truncated,
    /// A header inside contradicts itself. tshark shows it as far as it can.
    Malformed,
    /// tshark reads what flowml does not (docs/TUNNELS.md): GRE of PPTP and WCCP, VXLAN without the flag of a VNI, more
    /// labels or extension headers.
    NotRead,
    /// tshark also knows tunnels by their source port, by a heuristic or by an earlier packet of a control protocol.
    OtherPort,
    /// A frame that is in no flow: tshark dissects it nevertheless.
    Skipped,
    /// tshark shows the tunnel or what is inside as bytes.
    NotDissected,
    /// tshark shows another field than the packet has: the numbers of its fields and layers do not match.
    Unclear,
}

/// The fields of tshark that are read, in the order of [`Fields`].
const FIELDS: [&str; 26] = [
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.len",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "ipv6.fraghdr.more",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "vxlan.vni",
    "geneve.vni",
    "gre.key",
    "gtp.teid",
    "mpls.label",
    "pppoe.session_id",
    "mpls.bottom",
    "gre.flags.key",
    "ipv6.fraghdr.offset",
    "frame.len",
];

/// The fields of a frame: for each name all values, in the order of the layers.
struct Fields<'a>(Vec<Vec<&'a str>>);

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Self {
        let split = |text: &'a str| text.split(',').filter(|value| !value.is_empty()).collect();
        Self(line.split('\t').map(split).collect())
    }

    fn all(&self, name: &str) -> &[&'a str] {
        let at = FIELDS.iter().position(|field| *field == name);
        at.and_then(|at| self.0.get(at)).map_or(&[], Vec::as_slice)
    }

    /// Value `n` as a number, decimal or hexadecimal.
    fn number(&self, name: &str, n: usize) -> Option<u64> {
        let text = self.all(name).get(n)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => match *text {
                "True" => Some(1),
                "False" => Some(0),
                text => text.parse().ok(),
            },
        }
    }
}

/// A packet at a level of a frame.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    addresses: [IpAddr; 2],
    /// Zeroes without ports, and for ICMP.
    ports: [u16; 2],
    ip_length: u64,
    tunnel: Option<(TunnelKind, u64)>,
}

/// What tshark shows of a frame.
#[derive(Debug, Default)]
struct Shown {
    /// Each level, and the number of encapsulations around it.
    levels: Vec<(Level, usize)>,
    /// Whether each level is a fragment.
    fragments: Vec<bool>,
    /// The UDP destination port of each level.
    udp_ports: Vec<Option<u16>>,
    /// Number of encapsulations, also of those with nothing inside.
    encapsulations: usize,
    is_unclear: bool,
}

/// The position in the values of each layer's fields.
#[derive(Default)]
struct Positions(BTreeMap<&'static str, usize>);

impl Positions {
    fn next(&mut self, of: &'static str) -> usize {
        let position = self.0.entry(of).or_default();
        *position += 1;
        *position - 1
    }
}

/// Layers between an encapsulation and what is inside.
const BETWEEN: [&str; 17] = [
    "eth",
    "ethertype",
    "vlan",
    "ieee8021ad",
    "ppp",
    "pwethheuristic",
    "pwethcw",
    "pwethnocw",
    "pweth",
    "pw",
    "ah",
    "sll",
    "raw",
    "null",
    "ipv6.hopopts",
    "ipv6.dstopts",
    "ipv6.routing",
];

impl Shown {
    fn of(fields: &Fields<'_>) -> Self {
        let (mut shown, mut at) = (Self::default(), Positions::default());
        let mut last = None;
        let protocols = fields.all("frame.protocols").first().copied().unwrap_or_default();
        let mut before = "";
        for layer in protocols.split(':') {
            match layer {
                "ip" | "ipv6" => {
                    if last.is_none() && !shown.levels.is_empty() {
                        last = Some((TunnelKind::Ip, 0));
                        shown.encapsulations += 1;
                    }
                    if !shown.enter(fields, &mut at, layer == "ip", last.take()) {
                        shown.is_unclear = true;
                        break;
                    }
                }
                "tcp" | "udp" | "sctp" if last.is_none() => shown.transport(fields, &mut at, layer),
                "vxlan" | "geneve" | "gre" | "gtp" | "pppoes" => {
                    let (kind, field) = match layer {
                        "vxlan" => (TunnelKind::Vxlan, "vxlan.vni"),
                        "geneve" => (TunnelKind::Geneve, "geneve.vni"),
                        "gre" => (TunnelKind::Gre, "gre.key"),
                        "gtp" => (TunnelKind::Gtpu, "gtp.teid"),
                        _ => (TunnelKind::Pppoe, "pppoe.session_id"),
                    };
                    let n = at.next(field);
                    last = Some((kind, fields.number(field, n).unwrap_or(0)));
                    shown.encapsulations += 1;
                }
                "mpls" if before != "mpls" => {
                    let bottoms = fields.all("mpls.bottom");
                    let bottom = bottoms.iter().position(|bottom| ["1", "True"].contains(bottom)).unwrap_or(0);
                    last = Some((TunnelKind::Mpls, fields.number("mpls.label", bottom).unwrap_or(0)));
                    shown.encapsulations += 1;
                }
                "mpls" => {}
                layer if BETWEEN.contains(&layer) || layer.starts_with("ipv6.") => {}
                _ => break,
            }
            before = layer;
        }
        shown
    }

    /// Adds an IP header. Returns whether all of its fields are there.
    fn enter(&mut self, fields: &Fields<'_>, at: &mut Positions, v4: bool, tunnel: Option<(TunnelKind, u64)>) -> bool {
        let n = at.next(if v4 { "ip" } else { "ipv6" });
        let names = if v4 { ["ip.src", "ip.dst"] } else { ["ipv6.src", "ipv6.dst"] };
        let [Some(source), Some(destination)] = names.map(|name| fields.all(name).get(n)?.parse().ok()) else {
            return false;
        };
        let length =
            if v4 { fields.number("ip.len", n) } else { fields.number("ipv6.plen", n).map(|length| length + 40) };
        let level = Level { addresses: [source, destination], ports: [0; 2], ip_length: length.unwrap_or(0), tunnel };
        self.levels.push((level, self.encapsulations));
        let is_fragment = if v4 {
            fields.number("ip.flags.mf", n) == Some(1)
                || fields.number("ip.frag_offset", n).is_some_and(|offset| offset > 0)
        } else {
            !fields.all("ipv6.fraghdr.offset").is_empty()
        };
        self.fragments.push(is_fragment);
        self.udp_ports.push(None);
        true
    }

    fn transport(&mut self, fields: &Fields<'_>, at: &mut Positions, layer: &str) {
        let (of, names) = match layer {
            "tcp" => ("tcp", ["tcp.srcport", "tcp.dstport"]),
            "udp" => ("udp", ["udp.srcport", "udp.dstport"]),
            _ => ("sctp", ["sctp.srcport", "sctp.dstport"]),
        };
        let n = at.next(of);
        if let Some((level, _)) = self.levels.last_mut() {
            level.ports = names.map(|name| fields.number(name, n).unwrap_or(0) as u16);
            if layer == "udp" {
                self.udp_ports.pop();
                self.udp_ports.push(Some(level.ports[1]));
            }
        }
    }

    /// The index of the innermost level with at most two encapsulations around it.
    fn innermost(&self) -> Option<usize> {
        self.levels.iter().rposition(|(_, around)| *around <= 2)
    }
}

/// The only packet in a table, by flowml.
fn level_of(flow: &Counted<'_>) -> Level {
    let stats = flow.partial_flow().stats;
    let sender = if stats.direction(Sender::Lower).packets > 0 { Sender::Lower } else { Sender::Upper };
    let ends = [sender, sender.opposite()].map(|end| flow.key.endpoint(end));
    let has_ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&flow.key.protocol());
    Level {
        addresses: ends.map(|end| end.address.to_ip()),
        ports: ends.map(|end| if has_ports { end.port } else { 0 }),
        ip_length: stats.direction(sender).ip_bytes,
        tunnel: flow.key.tunnel().map(|kind| (kind, flow.tunnel().map_or(0, |outer| outer.id().into()))),
    }
}

/// Packets and IP bytes of each conversation, by its two ends in order.
type Conversations = BTreeMap<([(IpAddr, u16); 2], Option<(TunnelKind, u64)>), (u64, u64)>;

fn add(conversations: &mut Conversations, level: &Level) {
    let mut ends = [(level.addresses[0], level.ports[0]), (level.addresses[1], level.ports[1])];
    ends.sort_unstable();
    // Numbers that are not in the key.
    let tunnel = level.tunnel.map(|(kind, id)| (kind, if kind.has_id_in_key() { id } else { 0 }));
    let sum = conversations.entry((ends, tunnel)).or_default();
    *sum = (sum.0 + 1, sum.1 + level.ip_length);
}

/// Adds the flows of a table, and empties it.
fn drain(table: &mut VecTable, conversations: &mut Conversations) {
    for flow in table.flows() {
        let stats = flow.partial_flow().stats;
        let ends = [Sender::Lower, Sender::Upper].map(|end| flow.key.endpoint(end));
        let has_ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&flow.key.protocol());
        let mut ends = ends.map(|end| (end.address.to_ip(), if has_ports { end.port } else { 0 }));
        ends.sort_unstable();
        let id = |kind: TunnelKind| flow.tunnel().filter(|_| kind.has_id_in_key()).map_or(0, |outer| outer.id().into());
        let tunnel = flow.key.tunnel().map(|kind| (kind, id(kind)));
        let sum = conversations.entry((ends, tunnel)).or_default();
        let bytes = [Sender::Lower, Sender::Upper].map(|end| stats.direction(end).ip_bytes).iter().sum::<u64>();
        *sum = (sum.0 + stats.packets(), sum.1 + bytes);
    }
    table.clear();
}

/// Numbers of what was compared.
#[derive(Debug, Default)]
struct Tally {
    files: u64,
    frames: u64,
    /// Packets inside of a tunnel by both.
    inside: BTreeMap<TunnelKind, u64>,
    conversations: u64,
    rules: BTreeMap<Rule, u64>,
    /// Files of which tshark and flowml do not read the same frames.
    unread: u64,
}

impl Tally {
    /// Compares a frame. Returns what is expected of it in the conversations.
    fn compare(&mut self, captured: &Captured<'_>, line: &str) -> Result<Option<Level>> {
        let mut table = VecTable::new(Shape::for_capacity(1), Seed([7; 12])).with_tunnels(Some(PortList::default()));
        let metered = captured.meter(&mut table);
        let found = table.flows().next().map(|flow| level_of(&flow));
        let shown = Shown::of(&Fields::of(line));
        self.frames += 1;
        let expected = shown.innermost().map(|n| shown.levels[n].0.clone());
        let outcome = |wanted| TunnelKind::ALL.iter().any(|kind| table.counts().tunnels.of(*kind, wanted) > 0);
        if matches_level(found.as_ref(), expected.as_ref()) {
            if let Some((kind, _)) = found.as_ref().and_then(|level| level.tunnel) {
                *self.inside.entry(kind).or_default() += 1;
            }
            return Ok(found);
        }
        // The level that flowml found, in tshark's levels.
        let at = found
            .as_ref()
            .and_then(|found| shown.levels.iter().position(|(level, _)| matches_level(Some(found), Some(level))));
        let rule = match (metered, at) {
            (Metered::Skipped(_), _) => Some(Rule::Skipped),
            (_, Some(at)) if shown.fragments[at] => Some(Rule::Fragment),
            _ if outcome(Outcome::Fragment) => Some(Rule::Fragment),
            _ if shown.is_unclear => Some(Rule::Unclear),
            (_, Some(_)) if outcome(Outcome::Truncated) => Some(Rule::Truncated),
            (_, Some(_)) if outcome(Outcome::Malformed) => Some(Rule::Malformed),
            (_, Some(_)) if outcome(Outcome::Unknown) => Some(Rule::NotRead),
            (_, Some(at)) if shown.udp_ports[at].is_some_and(|port| !is_listed(port)) => Some(Rule::OtherPort),
            _ if found.as_ref().is_some_and(|level| level.tunnel.is_some()) && is_prefix(&shown) => {
                Some(Rule::NotDissected)
            }
            _ => None,
        };
        let rule = rule.with_context(|| format!("expected {expected:?}, found {found:?} ({metered:?}) of {line}"))?;
        *self.rules.entry(rule).or_default() += 1;
        Ok(found)
    }

    /// Compares a file, frame by frame and by the conversations of all of its frames.
    fn file(&mut self, path: &Path) -> Result<()> {
        let lines = tshark(path)?;
        let mut file = CaptureFile::open(path)?;
        let mut table =
            VecTable::new(Shape::for_capacity(1 << 16), Seed([7; 12])).with_tunnels(Some(PortList::default()));
        let (mut expected, mut found, mut n) = (Conversations::new(), Conversations::new(), 0);
        while let Ok(Some(captured)) = file.next_frame() {
            let Some(line) = lines.get(n) else { break };
            let frame_length = Fields::of(line).number("frame.len", 0);
            if frame_length.is_some_and(|length| length < u64::from(captured.length)) {
                self.unread += 1;
                return Ok(());
            }
            if let Some(level) = self.compare(&captured, line).with_context(|| format!("frame {}", n + 1))? {
                add(&mut expected, &level);
            }
            if captured.meter(&mut table) == Metered::Skipped(Skipped::TableFull) {
                drain(&mut table, &mut found);
                captured.meter(&mut table);
            }
            n += 1;
        }
        drain(&mut table, &mut found);
        ensure!(found == expected, "conversations by flowml and by tshark:\n{found:#?}\n{expected:#?}");
        self.files += 1;
        self.conversations += found.keys().filter(|(_, tunnel)| tunnel.is_some()).count() as u64;
        Ok(())
    }

    /// The test harness captures `eprintln!`, and what was compared must be seen.
    fn print(&self, name: &str) -> Result<()> {
        let Self { files, frames, inside, conversations, rules, unread } = self;
        writeln!(
            std::io::stderr(),
            "decapsulation, {name}: {frames} frames of {files} files, {conversations} conversations inside of tunnels are \
             the same; packets by innermost tunnel: {inside:?}; by rule: {rules:?}; {unread} files are read differently"
        )?;
        Ok(())
    }
}

/// Whether both are the same packet. A length of 0 is that of a buffer that was to be segmented.
fn matches_level(found: Option<&Level>, expected: Option<&Level>) -> bool {
    match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => {
            let is_open = [0, 40].contains(&expected.ip_length);
            found
                == &Level { ip_length: if is_open { found.ip_length } else { expected.ip_length }, ..expected.clone() }
        }
        _ => false,
    }
}

fn is_listed(port: u16) -> bool {
    PortList::default().ports().any(|(_, listed)| listed == port)
}

/// Whether tshark stops before the innermost packet: fewer levels than encapsulations allow.
fn is_prefix(shown: &Shown) -> bool {
    shown.levels.last().is_none_or(|(_, around)| *around < 2)
}

/// A line for each frame of a file.
fn tshark(path: &Path) -> Result<Vec<String>> {
    let preferences = ["ip.defragment:FALSE", "ipv6.defragment:FALSE"];
    let preferences = preferences.iter().flat_map(|preference| ["-o", preference]);
    let fields = FIELDS.iter().flat_map(|field| ["-e", field]);
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(path)
        .args(preferences)
        .args(["-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"])
        .args(fields)
        .output()
        .context("running tshark")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Whether a frame may be in a tunnel: by the protocols and ports of its outermost headers.
fn may_have_tunnel(captured: &Captured<'_>) -> bool {
    let mut table = VecTable::new(Shape::for_capacity(1), Seed([7; 12]));
    if captured.meter(&mut table) != Metered::Counted {
        let ethertypes: [[u8; 2]; 3] = [[0x88, 0x47], [0x88, 0x48], [0x88, 0x64]];
        return captured
            .bytes
            .get(12..24)
            .is_some_and(|bytes| bytes.chunks(2).any(|pair| ethertypes.iter().any(|ethertype| pair == ethertype)));
    }
    table.flows().any(|flow| {
        let ports = [Sender::Lower, Sender::Upper].map(|end| flow.key.endpoint(end).port);
        let is_udp = flow.key.protocol() == protocol::UDP;
        let others = [protocol::IPV4, protocol::IPV6, protocol::GRE, protocol::AUTHENTICATION];
        others.contains(&flow.key.protocol()) || is_udp && ports.iter().any(|port| is_listed(*port))
    })
}

/// All captures below a folder with a frame that may be in a tunnel.
fn with_tunnels(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            with_tunnels(&path, found)?;
        } else if let Ok(mut file) = CaptureFile::open(&path) {
            while let Ok(Some(captured)) = file.next_frame() {
                if may_have_tunnel(&captured) {
                    found.push(path);
                    break;
                }
            }
        }
    }
    found.sort();
    Ok(())
}

#[test]
fn tshark_finds_the_same_packets_in_named_frames() -> Result<()> {
    let Some(_lab) = require_lab_with(&["tshark"]) else { return Ok(()) };
    let (folder, mut tally) = (Folder::new("decapsulation")?, Tally::default());
    let records: Vec<_> =
        (0..).zip(TUNNELLED).map(|(n, named)| Record::whole(n * 1_000_000, (named.build)())).collect();
    let path = folder.write("tunnelled.pcap", &Pcap::of(1).write(&records))?;
    tally.file(path.as_ref())?;
    tally.print("named frames")?;
    ensure!(tally.inside.len() == TunnelKind::ALL.len(), "{tally:?}");
    ensure!(tally.inside.values().sum::<u64>() > 40, "{tally:?}");
    Ok(())
}

/// Captures of other projects, if they are beside the checkout.
#[test]
fn tshark_finds_the_same_packets_in_captures() -> Result<()> {
    let Some(_lab) = require_lab_with(&["tshark"]) else { return Ok(()) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if !folder.is_dir() {
        writeln!(std::io::stderr(), "decapsulation, captures of other projects: none at {}", folder.display())?;
        return Ok(());
    }
    let (mut paths, mut tally) = (Vec::new(), Tally::default());
    with_tunnels(&folder, &mut paths)?;
    let mut failures = Vec::new();
    for path in &paths {
        if let Err(error) = tally.file(path) {
            failures.push(format!("{}: {error:#}", path.display()));
        }
    }
    tally.print("captures of other projects")?;
    ensure!(failures.is_empty(), "{} files differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
