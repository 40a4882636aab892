//! The features of a flow.

use std::ops::Range;

use flowml_common::headers::protocol;

use super::Learn::{self, Category, LogScaled, Never, Ratio, RatioOf};
use super::{Feature, Of, share};
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

type Text = &'static str;

pub(super) const fn count(
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&FlowRow) -> u64,
    meaning: Text,
) -> Feature<FlowRow> {
    Feature { name, unit, meaning, learn, side: None, nfstream: false, of: Of::Count(of) }
}

pub(super) const fn real(
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&FlowRow) -> f64,
    meaning: Text,
) -> Feature<FlowRow> {
    Feature { name, unit, meaning, learn, side: None, nfstream: false, of: Of::Real(of) }
}

const fn nfstream_count(
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&FlowRow) -> u64,
    meaning: Text,
) -> Feature<FlowRow> {
    Feature { nfstream: true, ..count(name, unit, learn, of, meaning) }
}

const fn nfstream_real(
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&FlowRow) -> f64,
    meaning: Text,
) -> Feature<FlowRow> {
    Feature { nfstream: true, ..real(name, unit, learn, of, meaning) }
}

/// The features of a flow, and how each is learnt.
///
/// Distances count a quantity twice if two columns contain it. Therefore directions are learnt and their sums are not,
/// and of the four moments only mean and deviation. A mean is learnt beside its sum, because a cluster is a ball and
/// cannot represent that two log-scaled quantities contradict each other. Inter-arrival times are learnt by direction,
/// because they are known even if each direction is counted on another CPU. Flags are learnt as ratios, because their
/// counts grow with the flow. TTL, window and DSCP are not learnt: they identify operating systems, and in captures
/// made for training they thereby identify the attacker.
#[rustfmt::skip]
pub const FLOW_FEATURES: &[Feature<FlowRow>] = &[
    // NFStream's core and statistical features, by its names and definitions (accounting mode 1).
    nfstream_count("bidirectional_first_seen_ms", "ms", Never, |row| row.record.both.first_ms,
        "Unix time of the first packet"),
    nfstream_count("bidirectional_last_seen_ms", "ms", Never, |row| row.record.both.last_ms,
        "Unix time of the last packet"),
    nfstream_real("bidirectional_duration_ms", "ms", LogScaled, |row| row.record.both.duration_ms(),
        "From the first packet to the last"),
    nfstream_count("bidirectional_packets", "packets", Never, |row| row.record.both.packets,
        "Packets"),
    nfstream_count("bidirectional_bytes", "bytes", Never, |row| row.record.both.ip_bytes,
        "IP bytes"),
    nfstream_count("src2dst_first_seen_ms", "ms", Never, |row| row.record.src2dst.first_ms,
        "Unix time of the first packet of the initiator"),
    nfstream_count("src2dst_last_seen_ms", "ms", Never, |row| row.record.src2dst.last_ms,
        "Unix time of the last packet of the initiator"),
    nfstream_real("src2dst_duration_ms", "ms", Never, |row| row.record.src2dst.duration_ms(),
        "From the first packet of the initiator to the last"),
    nfstream_count("src2dst_packets", "packets", LogScaled, |row| row.record.src2dst.packets,
        "Packets of the initiator"),
    nfstream_count("src2dst_bytes", "bytes", LogScaled, |row| row.record.src2dst.ip_bytes,
        "IP bytes of the initiator"),
    nfstream_count("dst2src_first_seen_ms", "ms", Never, |row| row.record.dst2src.first_ms,
        "Unix time of the first packet of the responder"),
    nfstream_count("dst2src_last_seen_ms", "ms", Never, |row| row.record.dst2src.last_ms,
        "Unix time of the last packet of the responder"),
    nfstream_real("dst2src_duration_ms", "ms", Never, |row| row.record.dst2src.duration_ms(),
        "From the first packet of the responder to the last"),
    nfstream_count("dst2src_packets", "packets", LogScaled, |row| row.record.dst2src.packets,
        "Packets of the responder"),
    nfstream_count("dst2src_bytes", "bytes", LogScaled, |row| row.record.dst2src.ip_bytes,
        "IP bytes of the responder"),
    nfstream_count("bidirectional_min_ps", "bytes", Never, |row| row.record.both.length_min.into(),
        "Smallest IP length"),
    nfstream_real("bidirectional_mean_ps", "bytes", Never, |row| row.record.both.length_mean(),
        "Mean IP length"),
    nfstream_real("bidirectional_stddev_ps", "bytes", Never, |row| row.record.both.length_stddev(),
        "Standard deviation of the IP length"),
    nfstream_count("bidirectional_max_ps", "bytes", Never, |row| row.record.both.length_max.into(),
        "Largest IP length"),
    nfstream_count("src2dst_min_ps", "bytes", Never, |row| row.record.src2dst.length_min.into(),
        "Smallest IP length of the initiator"),
    nfstream_real("src2dst_mean_ps", "bytes", LogScaled, |row| row.record.src2dst.length_mean(),
        "Mean IP length of the initiator"),
    nfstream_real("src2dst_stddev_ps", "bytes", LogScaled, |row| row.record.src2dst.length_stddev(),
        "Standard deviation of the IP length of the initiator"),
    nfstream_count("src2dst_max_ps", "bytes", Never, |row| row.record.src2dst.length_max.into(),
        "Largest IP length of the initiator"),
    nfstream_count("dst2src_min_ps", "bytes", Never, |row| row.record.dst2src.length_min.into(),
        "Smallest IP length of the responder"),
    nfstream_real("dst2src_mean_ps", "bytes", LogScaled, |row| row.record.dst2src.length_mean(),
        "Mean IP length of the responder"),
    nfstream_real("dst2src_stddev_ps", "bytes", LogScaled, |row| row.record.dst2src.length_stddev(),
        "Standard deviation of the IP length of the responder"),
    nfstream_count("dst2src_max_ps", "bytes", Never, |row| row.record.dst2src.length_max.into(),
        "Largest IP length of the responder"),
    nfstream_real("bidirectional_min_piat_ms", "ms", Never, |row| row.record.both.iat_min_ms(),
        "Smallest gap between packets"),
    nfstream_real("bidirectional_mean_piat_ms", "ms", Never, |row| row.record.both.iat_mean_ms(),
        "Mean gap between packets"),
    nfstream_real("bidirectional_stddev_piat_ms", "ms", Never, |row| row.record.both.iat_stddev_ms(),
        "Standard deviation of the gap between packets"),
    nfstream_real("bidirectional_max_piat_ms", "ms", Never, |row| row.record.both.iat_max_ms(),
        "Largest gap between packets"),
    nfstream_real("src2dst_min_piat_ms", "ms", Never, |row| row.record.src2dst.iat_min_ms(),
        "Smallest gap between packets of the initiator"),
    nfstream_real("src2dst_mean_piat_ms", "ms", LogScaled, |row| row.record.src2dst.iat_mean_ms(),
        "Mean gap between packets of the initiator"),
    nfstream_real("src2dst_stddev_piat_ms", "ms", LogScaled, |row| row.record.src2dst.iat_stddev_ms(),
        "Standard deviation of the gap between packets of the initiator"),
    nfstream_real("src2dst_max_piat_ms", "ms", Never, |row| row.record.src2dst.iat_max_ms(),
        "Largest gap between packets of the initiator"),
    nfstream_real("dst2src_min_piat_ms", "ms", Never, |row| row.record.dst2src.iat_min_ms(),
        "Smallest gap between packets of the responder"),
    nfstream_real("dst2src_mean_piat_ms", "ms", LogScaled, |row| row.record.dst2src.iat_mean_ms(),
        "Mean gap between packets of the responder"),
    nfstream_real("dst2src_stddev_piat_ms", "ms", LogScaled, |row| row.record.dst2src.iat_stddev_ms(),
        "Standard deviation of the gap between packets of the responder"),
    nfstream_real("dst2src_max_piat_ms", "ms", Never, |row| row.record.dst2src.iat_max_ms(),
        "Largest gap between packets of the responder"),
    nfstream_count("bidirectional_syn_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Syn),
        "Packets with SYN"),
    nfstream_count("bidirectional_cwr_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Cwr),
        "Packets with CWR"),
    nfstream_count("bidirectional_ece_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Ece),
        "Packets with ECE"),
    nfstream_count("bidirectional_urg_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Urg),
        "Packets with URG"),
    nfstream_count("bidirectional_ack_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Ack),
        "Packets with ACK"),
    nfstream_count("bidirectional_psh_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Psh),
        "Packets with PSH"),
    nfstream_count("bidirectional_rst_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Rst),
        "Packets with RST"),
    nfstream_count("bidirectional_fin_packets", "packets", Never, |row| row.record.both.flagged(TcpFlag::Fin),
        "Packets with FIN"),
    nfstream_count("src2dst_syn_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Syn),
        "Packets of the initiator with SYN"),
    nfstream_count("src2dst_cwr_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Cwr),
        "Packets of the initiator with CWR"),
    nfstream_count("src2dst_ece_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Ece),
        "Packets of the initiator with ECE"),
    nfstream_count("src2dst_urg_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Urg),
        "Packets of the initiator with URG"),
    nfstream_count("src2dst_ack_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Ack),
        "Packets of the initiator with ACK"),
    nfstream_count("src2dst_psh_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Psh),
        "Packets of the initiator with PSH"),
    nfstream_count("src2dst_rst_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Rst),
        "Packets of the initiator with RST"),
    nfstream_count("src2dst_fin_packets", "packets", Never, |row| row.record.src2dst.flagged(TcpFlag::Fin),
        "Packets of the initiator with FIN"),
    nfstream_count("dst2src_syn_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Syn),
        "Packets of the responder with SYN"),
    nfstream_count("dst2src_cwr_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Cwr),
        "Packets of the responder with CWR"),
    nfstream_count("dst2src_ece_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Ece),
        "Packets of the responder with ECE"),
    nfstream_count("dst2src_urg_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Urg),
        "Packets of the responder with URG"),
    nfstream_count("dst2src_ack_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Ack),
        "Packets of the responder with ACK"),
    nfstream_count("dst2src_psh_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Psh),
        "Packets of the responder with PSH"),
    nfstream_count("dst2src_rst_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Rst),
        "Packets of the responder with RST"),
    nfstream_count("dst2src_fin_packets", "packets", Never, |row| row.record.dst2src.flagged(TcpFlag::Fin),
        "Packets of the responder with FIN"),
    // Features that NFStream does not have.
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
];

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
