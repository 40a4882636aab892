//! The contribution of one partial flow to the windows of its two addresses.

use flowml_common::flow::{Address, Direction, FlowKey, FlowStats, IpVersion, RST, SYN, Sender};
use flowml_common::headers::protocol;

use super::role::Role;
use crate::session::Standing;

/// TCP ports of services that begin with a login: FTP, SSH, Telnet, mail (POP3, IMAP, submission), databases (SQL Server,
/// Oracle, MySQL, PostgreSQL) and desktops (RDP, VNC), by IANA's registry. LDAP and SMB are not among them: members of a
/// domain use them all the time.
const LOGINS: [u16; 15] = [21, 22, 23, 110, 143, 465, 587, 993, 995, 1433, 1521, 3306, 3389, 5432, 5900];

/// The contribution of one partial flow to the windows of its two addresses.
pub(super) struct Observation {
    pub(super) counts: Role,
    pub(super) flow: u32,
    pub(super) port: Option<u32>,
    pub(super) answered: bool,
}

impl Observation {
    /// The same observation from the responder's point of view.
    pub(super) const fn turned(self) -> Self {
        Self { counts: self.counts.turned(), ..self }
    }

    /// The role of a host with this flow only: one flow with one peer.
    pub(super) fn alone(&self) -> Role {
        Role {
            flows: 1.0,
            unanswered: f64::from(u8::from(!self.answered)),
            peers: 1.0,
            ports: f64::from(u8::from(self.port.is_some())),
            ..self.counts
        }
    }
}

/// The contribution of a partial flow to the window of its initiator.
pub(super) fn observe(key: &FlowKey, stats: &FlowStats, standing: Standing, seed: u64) -> Observation {
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
pub(super) const fn is_housekeeping(key: &FlowKey) -> bool {
    match key.protocol() {
        protocol::IGMP => true,
        protocol::ICMPV6 if !key.later_fragment() => {
            is_of_link(key.endpoint(Sender::Lower).port) || is_of_link(key.endpoint(Sender::Upper).port)
        }
        _ => false,
    }
}

/// Whether an ICMPv6 type maintains a link. Each end of a request and its reply has its own type as port; for other
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
