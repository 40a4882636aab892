//! The features of a flow.

use std::ops::Range;

use flowml_common::headers::protocol;

use super::Learn::{Category, LogScaled, Never, Ratio, RatioOf, WithinGroup};
use super::{Feature, count, real, share};
use crate::record::{FlowRecord, TcpFlag};
use crate::session::{BeginWindows, HostCounts, SlowCounts};

/// A flow with the windows of its two hosts.
#[derive(Clone, Debug)]
pub struct FlowRow {
    /// The flow.
    pub record: FlowRecord,
    /// The activity of its hosts when the record began; `None` if unknown.
    pub windows: Option<BeginWindows>,
}

impl FlowRow {
    /// Joins a record with what its hosts did when it began ([`Ended::windows`](crate::session::Ended::windows)).
    #[must_use]
    pub const fn new(record: FlowRecord, windows: Option<BeginWindows>) -> Self {
        Self { record, windows }
    }
}

/// Makes the table of a flow's features.
///
/// A row of a group is a quantity that NFStream has three times: for both directions together, for that of the
/// initiator and for that of the responder. It contains the end of the name, the unit, the encoding for both directions
/// and for one, the value, and the meaning before and after the words that name the sender. The order is NFStream's:
/// group by group, and within a group direction by direction.
macro_rules! flow_features {
    ($(group [$(
        $name:literal, $unit:literal, $both:expr, $one:expr,
            $type:ident |$traffic:ident| $value:expr, $before:literal $after:literal;
    )*])* others [$($other:expr,)*]) => { &[
        $(
            $(flow_features!(both "bidirectional_" "":
                $name, $unit, $both, $type |$traffic| $value, $before $after),)*
            $(flow_features!(src2dst "src2dst_" " of the initiator":
                $name, $unit, $one, $type |$traffic| $value, $before $after),)*
            $(flow_features!(dst2src "dst2src_" " of the responder":
                $name, $unit, $one, $type |$traffic| $value, $before $after),)*
        )*
        $($other,)*
    ] };
    ($direction:ident $prefix:literal $sender:literal:
        $name:literal, $unit:literal, $learn:expr,
        $type:ident |$traffic:ident| $value:expr, $before:literal $after:literal) => {
        Feature {
            nfstream: true,
            ..$type(
                concat!($prefix, $name),
                $unit,
                $learn,
                |row| { let $traffic = &row.record.$direction; $value },
                concat!($before, $sender, $after),
            )
        }
    };
}

/// The features of a flow, and how each is learnt.
///
/// Distances count a quantity twice if two columns contain it. Therefore directions are learnt and their sums are not,
/// and of the four moments only mean and deviation. The number of packets is an exception, because it is compared with
/// the flows of the same service: hundreds of packets are normal for a download, and unusual for a DNS query. A mean is learnt beside its sum, because a cluster is a ball and
/// cannot represent that two log-scaled quantities contradict each other. Inter-arrival times are learnt by direction,
/// because they are known even if each direction is counted on another CPU. Flags are learnt as ratios, because their
/// counts grow with the flow. TTL, window and DSCP are not learnt: they identify operating systems, and in captures
/// made for training they thereby identify the attacker.
#[rustfmt::skip]
pub const FLOW_FEATURES: &[Feature<FlowRow>] = flow_features! {
    // NFStream's core and statistical features, by its names and definitions (accounting mode 1).
    group [
        "first_seen_ms", "ms", Never, Never, count |of| of.first_ms, "Unix time of the first packet" "";
        "last_seen_ms", "ms", Never, Never, count |of| of.last_ms, "Unix time of the last packet" "";
        "duration_ms", "ms", LogScaled, Never, real |of| of.duration_ms(), "From the first packet" " to the last";
        "packets", "packets", WithinGroup("service"), LogScaled, count |of| of.packets, "Packets" "";
        "bytes", "bytes", Never, LogScaled, count |of| of.ip_bytes, "IP bytes" "";
    ]
    group [
        "min_ps", "bytes", Never, Never, count |of| of.length_min.into(), "Smallest IP length" "";
        "mean_ps", "bytes", Never, LogScaled, real |of| of.length_mean(), "Mean IP length" "";
        "stddev_ps", "bytes", Never, LogScaled, real |of| of.length_stddev(), "Standard deviation of the IP length" "";
        "max_ps", "bytes", Never, Never, count |of| of.length_max.into(), "Largest IP length" "";
    ]
    group [
        "min_piat_ms", "ms", Never, Never, real |of| of.iat_min_ms(), "Smallest gap between packets" "";
        "mean_piat_ms", "ms", Never, LogScaled, real |of| of.iat_mean_ms(), "Mean gap between packets" "";
        "stddev_piat_ms", "ms", Never, LogScaled, real |of| of.iat_stddev_ms(),
            "Standard deviation of the gap between packets" "";
        "max_piat_ms", "ms", Never, Never, real |of| of.iat_max_ms(), "Largest gap between packets" "";
    ]
    group [
        "syn_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Syn), "Packets" " with SYN";
        "cwr_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Cwr), "Packets" " with CWR";
        "ece_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Ece), "Packets" " with ECE";
        "urg_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Urg), "Packets" " with URG";
        "ack_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Ack), "Packets" " with ACK";
        "psh_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Psh), "Packets" " with PSH";
        "rst_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Rst), "Packets" " with RST";
        "fin_packets", "packets", Never, Never, count |of| of.flagged(TcpFlag::Fin), "Packets" " with FIN";
    ]
    // Features that NFStream does not have.
    others [
        real("bidirectional_syn_share", "share", Ratio, |row| row.record.both.flag_share(TcpFlag::Syn),
            "Share of packets with SYN"),
        real("bidirectional_rst_share", "share", Ratio, |row| row.record.both.flag_share(TcpFlag::Rst),
            "Share of packets with RST"),
        real("bidirectional_fin_share", "share", Ratio, |row| row.record.both.flag_share(TcpFlag::Fin),
            "Share of packets with FIN"),
        real("bidirectional_psh_share", "share", Ratio, |row| row.record.both.flag_share(TcpFlag::Psh),
            "Share of packets with PSH"),
        count("src2dst_payload_bytes", "bytes", Never, |row| row.record.src2dst.payload_bytes,
            "Payload bytes of the initiator"),
        count("src2dst_payload_packets", "packets", Never, |row| row.record.src2dst.payload_packets,
            "Packets of the initiator with payload"),
        real("src2dst_payload_share", "share", Never, |row| row.record.src2dst.payload_share(),
            "Share of payload in the IP bytes of the initiator"),
        count("src2dst_min_ttl", "hops", Never, |row| row.record.src2dst.ttl_min.into(),
            "Smallest TTL or hop limit of the initiator"),
        count("src2dst_max_ttl", "hops", Never, |row| row.record.src2dst.ttl_max.into(),
            "Largest TTL or hop limit of the initiator"),
        count("src2dst_first_window", "bytes", Never, |row| row.record.windows[0].into(),
            "TCP window in the first packet of the initiator, not scaled"),
        count("src2dst_first_dscp", "code", Never, |row| row.record.dscps[0].into(),
            "DSCP in the first packet of the initiator"),
        count("dst2src_payload_bytes", "bytes", Never, |row| row.record.dst2src.payload_bytes,
            "Payload bytes of the responder"),
        count("dst2src_payload_packets", "packets", Never, |row| row.record.dst2src.payload_packets,
            "Packets of the responder with payload"),
        real("dst2src_payload_share", "share", Never, |row| row.record.dst2src.payload_share(),
            "Share of payload in the IP bytes of the responder"),
        count("dst2src_min_ttl", "hops", Never, |row| row.record.dst2src.ttl_min.into(),
            "Smallest TTL or hop limit of the responder"),
        count("dst2src_max_ttl", "hops", Never, |row| row.record.dst2src.ttl_max.into(),
            "Largest TTL or hop limit of the responder"),
        count("dst2src_first_window", "bytes", Never, |row| row.record.windows[1].into(),
            "TCP window in the first packet of the responder, not scaled"),
        count("dst2src_first_dscp", "code", Never, |row| row.record.dscps[1].into(),
            "DSCP in the first packet of the responder"),
        real("src2dst_bytes_share", "share", Ratio, bytes_share,
            "Share of the initiator in all IP bytes"),
        real("down_up_ratio", "ratio", Never, |row| ratio(row.record.dst2src.ip_bytes, row.record.src2dst.ip_bytes),
            "IP bytes of the responder divided by those of the initiator"),
        real("bidirectional_packets_per_second", "packets/s", Never, |row| per_second(row.record.both.packets, row),
            "Packets divided by duration"),
        real("bidirectional_bytes_per_second", "bytes/s", Never, |row| per_second(row.record.both.ip_bytes, row),
            "IP bytes divided by duration"),
        real("bidirectional_small_packet_share", "share", Ratio, |row| lengths_share(row, 0..2),
            "Share of packets below 128 bytes"),
        real("bidirectional_length_0_63_share", "share", Never, |row| lengths_share(row, 0..1),
            "Share of packets below 64 bytes"),
        real("bidirectional_length_64_127_share", "share", Never, |row| lengths_share(row, 1..2),
            "Share of packets of 64 to 127 bytes"),
        real("bidirectional_length_128_255_share", "share", Never, |row| lengths_share(row, 2..3),
            "Share of packets of 128 to 255 bytes"),
        real("bidirectional_length_256_511_share", "share", Never, |row| lengths_share(row, 3..4),
            "Share of packets of 256 to 511 bytes"),
        real("bidirectional_length_512_1023_share", "share", Never, |row| lengths_share(row, 4..5),
            "Share of packets of 512 to 1,023 bytes"),
        real("bidirectional_length_1024_2047_share", "share", Never, |row| lengths_share(row, 5..6),
            "Share of packets of 1,024 to 2,047 bytes"),
        real("bidirectional_length_2048_4095_share", "share", Never, |row| lengths_share(row, 6..7),
            "Share of packets of 2,048 to 4,095 bytes"),
        real("bidirectional_length_4096_up_share", "share", Never, |row| lengths_share(row, 7..8),
            "Share of packets of 4,096 bytes or more"),
        count("initiator_known", "flag", Never, |row| row.record.syn_seen.into(),
            "1 if the initiator sent a SYN, 0 if other evidence determined it (`initiator_by`)"),
        count("protocol_class", "class", Category, |row| protocol_class(row.record.protocol()),
            "0 other, 1 TCP, 2 UDP, 3 ICMP, 4 ICMPv6, 5 SCTP"),
        real("service", "code", Never, service,
            "Service of the responder: 65,536 × IP protocol + port; undefined for dynamic ports (RFC 6335)"),
        count("dst_port_class", "class", Category, port_class,
            "Port of the responder: 0 none, 1 system, 2 user, 3 dynamic (RFC 6335)"),
        // Activity of the two hosts, in the host windows that ended with the interval in which the record began.
        real("src_window_flows", "flows", Never, |row| source(row, |host| host.flows.into()),
            "Flows that the initiator had open in its window"),
        real("src_window_new_flows", "flows", LogScaled, |row| source(row, |host| host.new_flows.into()),
            "Flows that the initiator opened in its window"),
        real("src_window_login_flows", "flows", LogScaled, |row| source(row, |host| host.login_flows.into()),
            "Flows that the initiator opened in its window to services that begin with a login"),
        real("src_window_peers", "addresses", LogScaled, |row| source(row, |host| host.peers.into()),
            "Addresses that the initiator had flows to in its window"),
        real("src_window_ports", "ports", LogScaled, |row| source(row, |host| host.ports.into()),
            "Ports that the initiator had flows to in its window"),
        real("src_window_unanswered_share", "share", RatioOf("src_window_flows"), |row| source(row, HostCounts::unanswered_share),
            "Share of the initiator's flows in its window that were not answered"),
        real("src_window_syn_share", "share", Never, |row| source(row, HostCounts::syn_share),
            "Share of SYN packets in the initiator's flows in its window"),
        real("dst_window_flows", "flows", Never, |row| destination(row, |host| host.flows.into()),
            "Flows open to the responder in its window"),
        real("dst_window_new_flows", "flows", LogScaled, |row| destination(row, |host| host.new_flows.into()),
            "Flows opened to the responder in its window"),
        real("dst_window_login_flows", "flows", LogScaled, |row| destination(row, |host| host.login_flows.into()),
            "Flows opened to the responder in its window to services that begin with a login"),
        real("dst_window_peers", "addresses", LogScaled, |row| destination(row, |host| host.peers.into()),
            "Addresses that had flows to the responder in its window"),
        real("dst_window_ports", "ports", LogScaled, |row| destination(row, |host| host.ports.into()),
            "Ports of the responder that had flows in its window"),
        real("dst_window_unanswered_share", "share", RatioOf("dst_window_flows"), |row| destination(row, HostCounts::unanswered_share),
            "Share of the flows to the responder in its window that it did not answer"),
        real("dst_window_syn_share", "share", RatioOf("dst_window_flows"), |row| destination(row, HostCounts::syn_share),
            "Share of SYN packets in the responder's flows in its window"),
        // Activity of the initiator over minutes, up to the end of that interval.
        real("src_10m_peers", "addresses", LogScaled, |row| slow(row, |slow| slow.peers),
            "Addresses that the initiator opened flows to, over ten minutes"),
        real("pair_10m_ports", "ports", LogScaled, |row| slow(row, |slow| slow.ports),
            "Ports of the responder that the initiator opened flows to, over ten minutes"),
        real("pair_2s_connections", "flows", LogScaled, |row| slow(row, |slow| slow.connections[0]),
            "TCP connections that the initiator opened to this port of the responder, over two seconds"),
        real("pair_1m_connections", "flows", LogScaled, |row| slow(row, |slow| slow.connections[1]),
            "TCP connections that the initiator opened to this port of the responder, over a minute"),
        real("pair_10m_connections", "flows", LogScaled, |row| slow(row, |slow| slow.connections[2]),
            "TCP connections that the initiator opened to this port of the responder, over ten minutes"),
    ]
};

fn bytes_share(row: &FlowRow) -> f64 {
    share(row.record.src2dst.ip_bytes as f64, row.record.both.ip_bytes as f64)
}

/// `part / whole`, or NaN if `whole` is 0.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { f64::NAN }
}

/// Events per second, or NaN for a flow without duration.
fn per_second(amount: u64, row: &FlowRow) -> f64 {
    let seconds = row.record.both.duration_ms() / 1e3;
    if seconds > 0.0 { amount as f64 / seconds } else { f64::NAN }
}

fn lengths_share(row: &FlowRow, bins: Range<usize>) -> f64 {
    let packets: u64 = row.record.lengths[bins].iter().sum();
    share(packets as f64, row.record.both.packets as f64)
}

const fn protocol_class(number: u8) -> u64 {
    match number {
        protocol::TCP => 1,
        protocol::UDP => 2,
        protocol::ICMP => 3,
        protocol::ICMPV6 => 4,
        protocol::SCTP => 5,
        _ => 0,
    }
}

fn service(row: &FlowRow) -> f64 {
    match row.record.dst_port() {
        49152.. => f64::NAN,
        port => f64::from(row.record.protocol()) * 65536.0 + f64::from(port),
    }
}

const fn port_class(row: &FlowRow) -> u64 {
    match row.record.dst_port() {
        0 => 0,
        1..=1023 => 1,
        1024..=49151 => 2,
        49152.. => 3,
    }
}

fn slow(row: &FlowRow, of: fn(&SlowCounts) -> f32) -> f64 {
    row.windows.map_or(f64::NAN, |windows| of(&windows.slow).into())
}

fn source(row: &FlowRow, of: fn(&HostCounts) -> f64) -> f64 {
    row.windows.map_or(f64::NAN, |windows| of(&windows.source))
}

fn destination(row: &FlowRow, of: fn(&HostCounts) -> f64) -> f64 {
    row.windows.map_or(f64::NAN, |windows| of(&windows.destination))
}
