//! Host windows: what each address did as initiator and as responder over the last two seconds.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use ahash::RandomState;
use flowml_common::flow::{Address, Direction, FlowKey, IpVersion, Part, RST, SYN, Sender};
use flowml_common::headers::protocol;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::distinct::Distinct;
use super::share;
use super::slow::SlowView;
use crate::session::{BeginWindows, HostCounts, Standing, informed};

/// Addresses kept in a window. In a flood from spoofed sources, those with the most packets are kept.
const MAX_HOSTS: usize = 8192;

/// A window advances by at least its span divided by this number. Drains at shorter intervals share a slice.
pub const SLICES: u64 = 8;

/// TCP ports of services that begin with a login: FTP, SSH, Telnet, mail (POP3, IMAP, submission), databases (SQL Server,
/// Oracle, MySQL, PostgreSQL) and desktops (RDP, VNC), by IANA's registry. LDAP and SMB are not among them: members of a
/// domain use them all the time.
const LOGINS: [u16; 15] = [21, 22, 23, 110, 143, 465, 587, 993, 995, 1433, 1521, 3306, 3389, 5432, 5900];

/// What an address did in one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Flows with packets in the window.
    pub flows: f64,
    /// Flows that began in the window.
    pub new_flows: u64,
    /// New flows to a service that begins with a login.
    pub login_flows: u64,
    /// Flows whose responder has never sent a packet.
    pub unanswered: f64,
    /// Addresses on the other side.
    pub peers: f64,
    /// Ports on the responder's side; the same number of two protocols is two ports.
    pub ports: f64,
    /// Entropy of the flows over the peers, bits.
    pub peer_entropy: f64,
    /// Entropy of the flows over the ports, bits.
    pub port_entropy: f64,
    /// Packets that the address received.
    pub packets_in: u64,
    /// Packets that the address sent.
    pub packets_out: u64,
    /// IP bytes that the address received.
    pub bytes_in: u64,
    /// IP bytes that the address sent.
    pub bytes_out: u64,
    /// TCP packets with SYN and without ACK, in both directions.
    pub syn_packets: u64,
    /// TCP packets with SYN and ACK, in both directions.
    pub syn_ack_packets: u64,
    /// TCP packets with RST, in both directions.
    pub rst_packets: u64,
    /// Packets of fewer than 128 IP bytes, in both directions.
    pub small_packets: u64,
}

impl Role {
    /// Packets in both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets_in + self.packets_out
    }

    /// IP bytes in both directions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// IP bytes that the address sent / all IP bytes.
    #[must_use]
    pub fn bytes_out_share(&self) -> f64 {
        share(self.bytes_out as f64, self.bytes() as f64)
    }

    /// Packets with SYN and without ACK / all packets.
    #[must_use]
    pub fn syn_share(&self) -> f64 {
        self.share_of_packets(self.syn_packets)
    }

    /// Packets with SYN and ACK / all packets.
    #[must_use]
    pub fn syn_ack_share(&self) -> f64 {
        self.share_of_packets(self.syn_ack_packets)
    }

    /// Packets with RST / all packets.
    #[must_use]
    pub fn rst_share(&self) -> f64 {
        self.share_of_packets(self.rst_packets)
    }

    /// Packets of fewer than 128 IP bytes / all packets.
    #[must_use]
    pub fn small_packet_share(&self) -> f64 {
        self.share_of_packets(self.small_packets)
    }

    /// Unanswered flows / all flows.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        share(self.unanswered, self.flows)
    }

    /// The counts from the other side's point of view.
    const fn turned(self) -> Self {
        Self {
            packets_in: self.packets_out,
            packets_out: self.packets_in,
            bytes_in: self.bytes_out,
            bytes_out: self.bytes_in,
            ..self
        }
    }

    /// Whether there was a flow in this role.
    const fn is_active(&self) -> bool {
        self.packets() > 0
    }

    /// What a session keeps of the role. Estimated numbers are truncated to whole ones.
    fn counts(&self) -> HostCounts {
        let of = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        HostCounts {
            flows: self.flows as u32,
            new_flows: of(self.new_flows),
            login_flows: of(self.login_flows),
            unanswered: self.unanswered as u32,
            peers: self.peers as u32,
            ports: self.ports as u32,
            syn_packets: of(self.syn_packets),
            packets: of(self.packets()),
        }
    }

    fn share_of_packets(&self, packets: u64) -> f64 {
        share(packets as f64, self.packets() as f64)
    }
}

/// What an address did in the last window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostWindow {
    /// The address.
    pub address: Address,
    /// Start of the window, ns of the capture's clock.
    pub start_ns: u64,
    /// End of the window, ns of the capture's clock.
    pub end_ns: u64,
    /// Activity in flows of which the address is the initiator.
    pub source: Role,
    /// Activity in flows of which the address is the responder.
    pub destination: Role,
}

impl HostWindow {
    /// Packets in either role, in both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.source.packets() + self.destination.packets()
    }
}

/// The windows of all active addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hosts {
    /// One window for each address, sorted by address.
    pub windows: Vec<HostWindow>,
    /// Addresses that were left out because there were too many. One address may be counted more than once.
    pub left_out: u64,
}

/// One role of one address in one time slice.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Tally {
    counts: Role,
    /// Weight: 1 if the responder has answered.
    flows: Distinct,
    /// Weight: partial flows.
    peers: Distinct,
    /// Weight: partial flows.
    ports: Distinct,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Host {
    source: Tally,
    destination: Tally,
}

impl Host {
    const fn packets(&self) -> u64 {
        self.source.counts.packets() + self.destination.counts.packets()
    }

    fn merge(&mut self, other: &Self) {
        self.source.merge(&other.source);
        self.destination.merge(&other.destination);
    }
}

/// What one partial flow adds to the windows of its two addresses.
struct Observation {
    counts: Role,
    flow: u32,
    port: Option<u32>,
    answered: bool,
}

impl Tally {
    fn add(&mut self, seen: &Observation, peer: u32) {
        self.add_counts(&seen.counts);
        self.flows.add(seen.flow, seen.answered.into());
        self.peers.add(peer, 1);
        if let Some(port) = seen.port {
            self.ports.add(port, 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.add_counts(&other.counts);
        self.flows.merge(&other.flows);
        self.peers.merge(&other.peers);
        self.ports.merge(&other.ports);
    }

    fn add_counts(&mut self, other: &Role) {
        let mine = &mut self.counts;
        mine.new_flows += other.new_flows;
        mine.login_flows += other.login_flows;
        mine.packets_in += other.packets_in;
        mine.packets_out += other.packets_out;
        mine.bytes_in += other.bytes_in;
        mine.bytes_out += other.bytes_out;
        mine.syn_packets += other.syn_packets;
        mine.syn_ack_packets += other.syn_ack_packets;
        mine.rst_packets += other.rst_packets;
        mine.small_packets += other.small_packets;
    }

    fn role(&self) -> Role {
        Role {
            flows: self.flows.count(),
            unanswered: self.flows.count_without_weight(),
            peers: self.peers.count(),
            ports: self.ports.count(),
            peer_entropy: self.peers.entropy_bits(),
            port_entropy: self.ports.entropy_bits(),
            ..self.counts
        }
    }
}

/// The partial flows of the drains that ended in one period of time.
#[derive(Serialize, Deserialize)]
struct Slice {
    start_ns: u64,
    end_ns: u64,
    hosts: IndexMap<Address, Host, RandomState>,
    left_out: u64,
}

impl Slice {
    fn new(start_ns: u64) -> Self {
        Self { start_ns, end_ns: start_ns, hosts: IndexMap::default(), left_out: 0 }
    }

    /// Keeps only the [`MAX_HOSTS`] addresses with the most packets.
    fn prune(&mut self) {
        if self.hosts.len() <= MAX_HOSTS {
            return;
        }
        let mut order: Vec<_> = self.hosts.iter().map(|(address, host)| (Reverse(host.packets()), *address)).collect();
        let (_, limit, _) = order.select_nth_unstable(MAX_HOSTS);
        let limit = *limit;
        let before = self.hosts.len();
        self.hosts.retain(|address, host| (Reverse(host.packets()), *address) < limit);
        self.left_out += (before - self.hosts.len()) as u64;
    }
}

/// The windows of all addresses, advanced by each drain. Memory is bounded whatever addresses packets carry.
#[derive(Serialize, Deserialize)]
pub struct HostWindows {
    span_ns: u64,
    seed: u64,
    slices: VecDeque<Slice>,
    /// The slice that is being filled. Its start is set when its window ends.
    current: Option<Slice>,
    /// The windows that ended last, sorted by address.
    latest: Vec<HostWindow>,
    /// Their addresses, which are close together in memory for a search.
    addresses: Vec<Address>,
    slow: SlowView,
    /// When the windows ended last, ns.
    ended_ns: u64,
}

impl HostWindows {
    /// Windows over the last `span`, which is two seconds by default.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            span_ns,
            seed: 0,
            slices: VecDeque::new(),
            current: None,
            latest: Vec::new(),
            addresses: Vec::new(),
            slow: SlowView::default(),
            ended_ns: 0,
        }
    }

    /// Sets the secret with which large sets are sampled, so that nobody can choose addresses that the sample misses.
    /// Without it, the same capture gives the same windows.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Drops everything that was added, as at a new start of time.
    pub fn forget(&mut self) {
        (self.current, self.slices) = (None, VecDeque::new());
        (self.latest, self.addresses) = (Vec::new(), Vec::new());
        (self.slow, self.ended_ns) = (SlowView::default(), 0);
    }

    /// Counts a partial flow according to its place in its session. Housekeeping of a link is not counted, because it
    /// is no activity of a host.
    pub fn add(&mut self, part: &Part, standing: Standing) {
        if is_housekeeping(&part.key) {
            return;
        }
        if let Some(informed) = informed(&part.key, &part.stats) {
            self.add_error(part, standing, informed);
            return;
        }
        self.slow.add(part, standing);
        let [source, destination] = standing.addresses(&part.key);
        let seen = observe(part, standing, self.seed);
        let [source_hash, destination_hash] = [source, destination].map(|address| hash_address(address, self.seed));
        let first_ns = part.stats.first_ns();
        let slice = self.current.get_or_insert_with(|| Slice::new(first_ns));
        slice.hosts.entry(source).or_default().source.add(&seen, destination_hash);
        slice.hosts.entry(destination).or_default().destination.add(&seen.turned(), source_hash);
        if slice.hosts.len() >= 2 * MAX_HOSTS {
            slice.prune();
        }
    }

    /// Counts a single-packet flow under overload, and returns whether its initiator has a window. At the limit of 8192
    /// addresses, a new initiator gets no window: hosts with one packet would be left out first in any case.
    pub fn add_slight(&mut self, part: &Part, standing: Standing) -> bool {
        let [source, destination] = standing.addresses(&part.key);
        let is_left_out = |slice: &Slice| slice.hosts.len() >= MAX_HOSTS && !slice.hosts.contains_key(&source);
        let is_of_flow = informed(&part.key, &part.stats).is_none() && !is_housekeeping(&part.key);
        match &mut self.current {
            Some(slice) if is_of_flow && is_left_out(slice) => {
                slice.left_out += 1;
                let seen = observe(part, standing, self.seed).turned();
                let host = slice.hosts.entry(destination).or_default();
                host.destination.add(&seen, hash_address(source, self.seed));
                false
            }
            _ => {
                self.add(part, standing);
                true
            }
        }
    }

    /// Counts the packets of ICMP errors in the roles of the flow that they quote, because they are no flow to a peer.
    /// The sender has no role in that flow unless it is the flow's other end.
    fn add_error(&mut self, part: &Part, standing: Standing, informed: Sender) {
        let seen = observe(part, Standing { new: false, ..standing }, self.seed);
        let first_ns = part.stats.first_ns();
        let slice = self.current.get_or_insert_with(|| Slice::new(first_ns));
        for end in [informed, informed.opposite()] {
            if end != informed && !standing.about_sender {
                continue;
            }
            let host = slice.hosts.entry(part.key.endpoint(end).address).or_default();
            if end == standing.initiator {
                host.source.add_counts(&seen.counts);
            } else {
                host.destination.add_counts(&seen.counts.turned());
            }
        }
        if slice.hosts.len() >= 2 * MAX_HOSTS {
            slice.prune();
        }
    }

    /// Moves all windows forward over `silence_ns`, a period without packets. All windows must be empty. The period is
    /// a whole number of slices, so that later slices begin where they would have begun.
    pub fn pass(&mut self, silence_ns: u64) {
        for slice in self.slices.iter_mut().chain(&mut self.current) {
            debug_assert!(slice.hosts.is_empty(), "a silence begins when the windows are empty");
            slice.start_ns += silence_ns;
            slice.end_ns += silence_ns;
        }
    }

    /// Ends the window at `at_ns`, the time of a drain, after all partial flows of the drain were added.
    pub fn advance(&mut self, at_ns: u64) -> Hosts {
        let mut current = self.current.take().unwrap_or_else(|| Slice::new(at_ns));
        // The start of the first slice is unknown. It is assumed to be no shorter than the slices that are joined.
        let first_ns = current.start_ns.min(at_ns.saturating_sub(self.span_ns / SLICES));
        current.start_ns = self.slices.back().map_or(first_ns, |slice| slice.end_ns);
        current.end_ns = at_ns;
        self.ended_ns = at_ns;
        current.prune();
        self.slices.push_back(current);
        // The middle of a slice decides, so that a slightly late or early drain does not change the number of slices.
        let begin_ns = at_ns.saturating_sub(self.span_ns);
        while self.slices.len() > 1
            && self.slices.front().is_some_and(|slice| slice.start_ns.midpoint(slice.end_ns) < begin_ns)
        {
            self.slices.pop_front();
        }
        let mut hosts = self.collect();
        if self.slices.back().is_some_and(|slice| slice.end_ns - slice.start_ns < self.span_ns / SLICES) {
            self.current = self.slices.pop_back();
        }
        self.latest.clone_from(&hosts.windows);
        self.addresses.clear();
        self.addresses.extend(self.latest.iter().map(|window| window.address));
        hosts.windows.retain(HostWindow::is_of_a_host);
        hosts
    }

    /// What both hosts of a flow did in the windows that ended last, given the part of the flow that was counted in
    /// them.
    ///
    /// A host without a window was left out because there were too many. It is then among those with the fewest
    /// packets, so its activity is taken to be this flow only.
    #[must_use]
    pub fn around(&self, part: &Part, standing: Standing) -> BeginWindows {
        let [source, destination] = standing.addresses(&part.key);
        // An ICMP error opens no flow of its own.
        let new = standing.new && informed(&part.key, &part.stats).is_none();
        let seen = || observe(part, Standing { new, ..standing }, self.seed);
        let source_role = self.latest(source).map(|host| host.source).filter(Role::is_active);
        let destination_role = self.latest(destination).map(|host| host.destination).filter(Role::is_active);
        BeginWindows {
            source: source_role.unwrap_or_else(|| seen().alone()).counts(),
            destination: destination_role.unwrap_or_else(|| seen().turned().alone()).counts(),
            slow: self.slow.around(&part.key, standing, self.ended_ns),
        }
    }

    fn latest(&self, address: Address) -> Option<&HostWindow> {
        self.addresses.binary_search(&address).ok().and_then(|at| self.latest.get(at))
    }

    /// Joins the slices, address by address.
    fn collect(&self) -> Hosts {
        let (Some(first), Some(last)) = (self.slices.front(), self.slices.back()) else { return Hosts::default() };
        let mut found: Vec<_> = self.slices.iter().flat_map(|slice| &slice.hosts).collect();
        found.sort_by_key(|(address, _)| **address);
        let mut windows = Vec::new();
        for same in found.chunk_by(|a, b| a.0 == b.0) {
            let &[(address, host), ref others @ ..] = same else { continue };
            let window = |host: &Host| HostWindow {
                address: *address,
                start_ns: first.start_ns,
                end_ns: last.end_ns,
                source: host.source.role(),
                destination: host.destination.role(),
            };
            windows.push(if others.is_empty() {
                window(host)
            } else {
                let mut joined = host.clone();
                others.iter().for_each(|(_, other)| joined.merge(other));
                window(&joined)
            });
        }
        let left_out =
            self.slices.iter().map(|slice| slice.left_out).sum::<u64>() + keep_heaviest(&mut windows, MAX_HOSTS);
        Hosts { windows, left_out }
    }
}

/// Keeps only the `limit` windows with the most packets, and returns the number of those removed.
fn keep_heaviest(windows: &mut Vec<HostWindow>, limit: usize) -> u64 {
    let excess = windows.len().saturating_sub(limit);
    if excess > 0 {
        windows.select_nth_unstable_by_key(limit, |window| (Reverse(window.packets()), window.address));
        windows.truncate(limit);
        windows.sort_by_key(|window| window.address);
    }
    excess as u64
}

impl Observation {
    /// The same observation from the responder's point of view.
    const fn turned(self) -> Self {
        Self { counts: self.counts.turned(), ..self }
    }

    /// The role of a host with this flow only: one flow with one peer.
    fn alone(&self) -> Role {
        Role {
            flows: 1.0,
            unanswered: f64::from(u8::from(!self.answered)),
            peers: 1.0,
            ports: f64::from(u8::from(self.port.is_some())),
            ..self.counts
        }
    }
}

/// What a partial flow adds to the window of its initiator.
fn observe(part: &Part, standing: Standing, seed: u64) -> Observation {
    let (key, stats) = (&part.key, &part.stats);
    let responder = standing.initiator.opposite();
    let (sent, received) = (stats.direction(standing.initiator), stats.direction(responder));
    let port = key.endpoint(responder).port;
    let login = standing.new && key.protocol() == protocol::TCP && LOGINS.contains(&port);
    let mut counts = Role {
        new_flows: standing.new.into(),
        login_flows: login.into(),
        packets_in: received.packets,
        packets_out: sent.packets,
        bytes_in: received.ip_bytes,
        bytes_out: sent.ip_bytes,
        rst_packets: flagged(sent, RST) + flagged(received, RST),
        small_packets: stats.lengths[0] + stats.lengths[1],
        ..Role::default()
    };
    for sender in [Sender::Lower, Sender::Upper] {
        let syns = flagged(stats.direction(sender), SYN);
        // An end that sends SYN with ACK sends none without ACK, except in a simultaneous open.
        if stats.syn_senders >> sender as u8 & 1 == 1 {
            counts.syn_packets += syns;
        } else {
            counts.syn_ack_packets += syns;
        }
    }
    let port = key.has_ports().then(|| hash([u64::from(key.protocol()), port.into()], seed));
    Observation { counts, flow: hash(bytemuck::cast::<_, [u64; 6]>(*key), seed), port, answered: standing.answered }
}

fn flagged(direction: &Direction, flag: u8) -> u64 {
    direction.flags[flag.trailing_zeros() as usize]
}

/// Whether packets only maintain a link: neighbour discovery (RFC 4861), which is for IPv6 what ARP is for IPv4, and
/// group membership (IGMP; MLD, RFC 3810). The network stack sends them at times of its own, and a single one would
/// make a window.
const fn is_housekeeping(key: &FlowKey) -> bool {
    match key.protocol() {
        protocol::IGMP => true,
        protocol::ICMPV6 if !key.later_fragment() => {
            is_of_link(key.endpoint(Sender::Lower).port) || is_of_link(key.endpoint(Sender::Upper).port)
        }
        _ => false,
    }
}

/// Whether an ICMPv6 type maintains a link. Each end of a request and its reply has its own type as port; of other
/// messages only the sender has a type.
const fn is_of_link(kind: u16) -> bool {
    matches!(kind, 130..=137 | 143)
}

/// Well-mixed bits of an address.
pub(crate) fn hash_address(address: Address, seed: u64) -> u32 {
    // An IPv4 address and the IPv6 address that it is mapped to are two hosts.
    let seed = seed.wrapping_add((address.version() == IpVersion::V6).into());
    hash(bytemuck::cast::<_, [u64; 2]>(address.octets()), seed)
}

/// 32 well-mixed bits of `words` (the finalizer of SplitMix64: Steele et al., OOPSLA 2014).
fn hash<const N: usize>(words: [u64; N], seed: u64) -> u32 {
    let mixed = words.into_iter().fold(seed, |sum, word| {
        let mut bits = (sum ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    });
    mixed as u32
}
