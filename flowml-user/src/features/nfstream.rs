//! The intended differences between flowml's flows and NFStream's: the rules of the comparison.

/// One rule by which flowml and NFStream give different results for the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The rule's name, under which the comparison counts it.
    pub name: &'static str,
    /// The columns or flows that it affects.
    pub of: &'static str,
    /// The behaviour of NFStream.
    pub nfstream: &'static str,
    /// The behaviour of flowml, and its reason.
    pub flowml: &'static str,
}

/// All rules, for NFStream 6.6 with `accounting_mode=1`, `statistical_analysis=True`, `n_dissections=0`.
#[rustfmt::skip]
pub const DIFFERENCES: &[Difference] = &[
    Difference { name: "whole_ms", of: "`…_duration_ms`, `…_piat_ms`",
        nfstream: "truncates every time to whole ms before subtraction",
        flowml: "subtracts times in ns for durations and in whole µs for gaps: durations, smallest, mean and largest gaps differ by less than 1 ms, \
            deviations of n gaps by at most √(n / (n − 1)) ms" },
    Difference { name: "initiator", of: "`src_…`, `dst_…`, `src2dst_…`, `dst2src_…`, `splt_direction`",
        nfstream: "the source is the sender of the record's first packet",
        flowml: "the source is the initiator by the strongest evidence (`initiator_by`). A record that continues another one has \
            the same source. `--profile nfstream` uses NFStream's rule" },
    Difference { name: "icmp", of: "flows of ICMP and ICMPv6",
        nfstream: "has one flow for all ICMP between two addresses",
        flowml: "has one for each type (requests with their replies) and code, as Community ID does" },
    Difference { name: "ports", of: "flows of SCTP",
        nfstream: "reads the ports of TCP and UDP only, so all SCTP between two addresses is one flow",
        flowml: "reads the ports of SCTP as well" },
    Difference { name: "fragments", of: "IP fragments after the first",
        nfstream: "ignores them",
        flowml: "counts them in separate flows, marked `fragments`: no packet is lost" },
    Difference { name: "tunnel", of: "IPv4 and IPv6 in IPv4 or IPv6",
        nfstream: "reports the inner flow, also with `decode_tunnels=False`",
        flowml: "reports the outer flow, unless `--tunnels inner` is given" },
    Difference { name: "layers", of: "MPLS, PPPoE, a third VLAN tag, LLC with SNAP, PPP, Wi-Fi",
        nfstream: "decodes them",
        flowml: "counts such frames as skipped (`not_ip`), and does not read captures of such links" },
    Difference { name: "link", of: "`src_mac`, `src_oui` of Linux cooked captures",
        nfstream: "reports 00:00:00:00:00:00",
        flowml: "reports the address of the frame" },
    Difference { name: "short", of: "packets whose transport header is truncated, or whose lengths contradict each other",
        nfstream: "counts some with ports that it did not read, and ignores others",
        flowml: "counts them as skipped (`truncated`, `malformed`)" },
    Difference { name: "snapped", of: "captures whose packets are cut, or longer than the file's snap length",
        nfstream: "ignores truncated IPv6 packets, as libpcap gives them: cut to the file's snap length, and to 65,535 bytes",
        flowml: "reads the captured headers and counts the original length" },
    Difference { name: "order", of: "packets whose time is before that of an earlier packet of the capture",
        nfstream: "moves their time up to the latest time of any flow",
        flowml: "moves it up to the latest time of its interface only; if time goes back by more than the idle timeout, all flows end and time restarts" },
    Difference { name: "fraction", of: "captures whose fractions of a second are a second or more",
        nfstream: "limits them to a second",
        flowml: "adds the complete fraction to the second" },
    Difference { name: "epoch", of: "records that end by the active timeout",
        nfstream: "ends them at the first packet after it",
        flowml: "ends them at the start of the first time slot after it; with `--profile nfstream` a slot is at most 1/1,024 of the timeout" },
    Difference { name: "vlan", of: "frames with two VLAN tags",
        nfstream: "distinguishes flows by one of the two ids",
        flowml: "distinguishes them by both (`vlan_id`, `inner_vlan_id`)" },
    Difference { name: "interface", of: "captures of several interfaces (pcapng)",
        nfstream: "has one flow for the packets of all interfaces",
        flowml: "has one for each: a packet that crosses two interfaces is two observations, never twice in one flow" },
    Difference { name: "numbers", of: "`id`, `tunnel_id`",
        nfstream: "numbers the flows of a run, and names kinds of tunnels",
        flowml: "has no `id`: `community_id` identifies a flow in every run. Its `tunnel_id` is the number of a tunnel, with `--tunnels inner`" },
];
