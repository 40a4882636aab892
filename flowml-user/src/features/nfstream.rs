//! The intended differences between flowml's flows and NFStream's: the rules of the comparison.

/// One rule by which flowml and NFStream give different results for the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The rule's name, under which the comparison counts it.
    pub name: &'static str,
    /// The columns or flows that it affects.
    pub of: &'static str,
    /// What NFStream does.
    pub nfstream: &'static str,
    /// What flowml does, and why.
    pub flowml: &'static str,
}

/// All rules, for NFStream 6.6 with `accounting_mode=1`, `statistical_analysis=True`, `n_dissections=0`.
#[rustfmt::skip]
pub const DIFFERENCES: &[Difference] = &[
    Difference { name: "whole_ms", of: "`…_duration_ms`, `…_piat_ms`",
        nfstream: "cuts every time to whole ms before it subtracts",
        flowml: "subtracts ns for durations, and whole µs for gaps: durations, smallest, mean and largest gaps differ by less than 1 ms, \
            deviations of n gaps by at most √(n / (n − 1)) ms" },
    Difference { name: "initiator", of: "`src_…`, `dst_…`, `src2dst_…`, `dst2src_…`, `splt_direction`",
        nfstream: "calls who sent the record's first packet the source",
        flowml: "says by the strongest evidence who opened the flow (`initiator_by`, see above), and a record that continues \
            another keeps its source: the same flow is never reported with its ends exchanged. With `--profile nfstream` NFStream's \
            rule holds" },
    Difference { name: "icmp", of: "flows of ICMP and ICMPv6",
        nfstream: "has one flow for all ICMP between two addresses",
        flowml: "has one for each type (questions with their answers) and code, as Community ID does" },
    Difference { name: "ports", of: "flows of SCTP",
        nfstream: "knows the ports of TCP and UDP alone, so all SCTP between two addresses is one flow",
        flowml: "reads the ports of SCTP as well" },
    Difference { name: "fragments", of: "IP fragments after the first",
        nfstream: "ignores them",
        flowml: "counts them in flows of their own, marked `fragments`: no packet is lost" },
    Difference { name: "tunnel", of: "IPv4 and IPv6 in IPv4 or IPv6",
        nfstream: "reports the inner flow, also with `decode_tunnels=False`",
        flowml: "reports the outer flow: tunnels are not looked into" },
    Difference { name: "layers", of: "MPLS, PPPoE, a third VLAN tag, LLC with SNAP, PPP, Wi-Fi",
        nfstream: "looks behind them",
        flowml: "counts such frames as skipped (`not_ip`), and does not read captures of such links" },
    Difference { name: "link", of: "`src_mac`, `src_oui` of Linux cooked captures",
        nfstream: "says 00:00:00:00:00:00",
        flowml: "says the address that is in the frame" },
    Difference { name: "short", of: "packets whose transport header is not whole, or whose lengths contradict each other",
        nfstream: "takes some with ports that it did not read, and ignores others",
        flowml: "counts them as skipped (`truncated`, `malformed`)" },
    Difference { name: "snapped", of: "captures with fewer bytes a packet than there were, or than the file's snap length allows",
        nfstream: "ignores IPv6 packets that are not whole, as libpcap gives them: cut to the file's snap length, and to 65,535 bytes",
        flowml: "reads what is there of their headers and counts their whole length" },
    Difference { name: "order", of: "packets whose time is before that of an earlier packet of the capture",
        nfstream: "moves their time up to the latest that it has seen in any flow",
        flowml: "moves it up to the latest of its interface alone; where time goes back by more than the idle timeout, all flows end and time begins again" },
    Difference { name: "fraction", of: "captures whose fractions of a second are a second or more",
        nfstream: "takes no more than a second of them",
        flowml: "adds them to the second as they are" },
    Difference { name: "epoch", of: "records that end by the active timeout",
        nfstream: "ends them at the first packet behind it",
        flowml: "ends them where the first slot of time begins behind it; with `--profile nfstream` a slot is at most a 1,024th of the timeout" },
    Difference { name: "vlan", of: "frames with two VLAN tags",
        nfstream: "tells flows apart by one of the two ids",
        flowml: "tells them apart by both (`vlan_id`, `inner_vlan_id`)" },
    Difference { name: "interface", of: "captures of several interfaces (pcapng)",
        nfstream: "has one flow for the packets of all interfaces",
        flowml: "has one for each: a packet that crosses two interfaces is two observations, never twice in one flow" },
    Difference { name: "numbers", of: "`id`, `tunnel_id`",
        nfstream: "numbers the flows of a run, and names kinds of tunnels",
        flowml: "has neither: `community_id` names a flow in every run, and tunnels are not looked into" },
];
