//! The information elements of a flow record: the one table behind templates, records and docs/IPFIX.md.

use flowml_common::flow::Address;
use flowml_common::headers::Mac;
use flowml_common::tunnel::TunnelKind;

use crate::learning::{Verdict, one_line};
use crate::record::{FlowRecord, Traffic};

/// The enterprise number of the elements that IANA does not define. flowml has no number of its own and uses the one
/// for documentation (RFC 5612). A collector that receives other elements with this number must distinguish them by
/// their exporter.
pub(super) const ENTERPRISE: u32 = 32473;

/// The enterprise number of the reverse of IANA's elements (RFC 5103 §6.1).
pub(super) const REVERSE_ENTERPRISE: u32 = 29305;

/// The input of a record's values, in one direction.
pub(super) struct Values<'a> {
    pub(super) record: &'a FlowRecord,
    pub(super) verdict: Option<&'a Verdict>,
    /// Whether this is the reverse direction, from the responder.
    pub(super) reverse: bool,
}

impl Values<'_> {
    fn way(&self) -> &Traffic {
        if self.reverse { &self.record.dst2src } else { &self.record.src2dst }
    }

    /// The source of times. A partial flow without packets from the initiator has the times of both directions.
    fn times(&self) -> &Traffic {
        if self.way().packets > 0 { self.way() } else { &self.record.both }
    }
}

/// The function for a value and its encoding, by its abstract data type (RFC 7011 §6.1). The type determines the
/// length.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Boolean(fn(&Values<'_>) -> bool),
    Unsigned8(fn(&Values<'_>) -> u8),
    Unsigned16(fn(&Values<'_>) -> u16),
    Unsigned32(fn(&Values<'_>) -> u32),
    Unsigned64(fn(&Values<'_>) -> u64),
    /// An unsigned64 in two bytes (reduced-size encoding, RFC 7011 §6.2).
    Unsigned64In16(fn(&Values<'_>) -> u16),
    /// An unsigned16 in one byte (reduced-size encoding).
    Unsigned16In8(fn(&Values<'_>) -> u8),
    /// A packet count for each TCP flag, four bytes each, in the order of the flag bits.
    Flags(fn(&Values<'_>) -> [u32; 8]),
    Float64(fn(&Values<'_>) -> f64),
    /// Unix time, ms.
    Milliseconds(fn(&Values<'_>) -> u64),
    Mac(fn(&Values<'_>) -> Mac),
    Ipv4(fn(&Values<'_>) -> Address),
    Ipv6(fn(&Values<'_>) -> Address),
    /// A string of variable length, cut to [`LONGEST_STRING`] bytes.
    String(fn(&Values<'_>) -> String),
}

/// The length in a template of an element of variable length (RFC 7011 §7).
pub(super) const VARIABLE: u16 = u16::MAX;

/// The maximum length of a string whose length is encoded in one byte (RFC 7011 §7).
pub(super) const LONGEST_STRING: usize = 254;

impl Value {
    /// The length in bytes, as templates state it.
    pub(super) const fn length(self) -> u16 {
        match self {
            Self::Boolean(_) | Self::Unsigned8(_) | Self::Unsigned16In8(_) => 1,
            Self::Unsigned16(_) | Self::Unsigned64In16(_) => 2,
            Self::Unsigned32(_) | Self::Ipv4(_) => 4,
            Self::Mac(_) => 6,
            Self::Unsigned64(_) | Self::Float64(_) | Self::Milliseconds(_) => 8,
            Self::Ipv6(_) => 16,
            Self::Flags(_) => 32,
            Self::String(_) => VARIABLE,
        }
    }

    /// The name of the type in IANA's registry, with the length if it is not the type's own.
    #[cfg(test)]
    pub(super) const fn type_name(self) -> &'static str {
        match self {
            Self::Boolean(_) => "boolean",
            Self::Unsigned8(_) => "unsigned8",
            Self::Unsigned16(_) => "unsigned16",
            Self::Unsigned32(_) => "unsigned32",
            Self::Unsigned64(_) => "unsigned64",
            Self::Unsigned64In16(_) => "unsigned64 in 2 bytes",
            Self::Unsigned16In8(_) => "unsigned16 in 1 byte",
            Self::Flags(_) => "octetArray of 32 bytes",
            Self::Float64(_) => "float64",
            Self::Milliseconds(_) => "dateTimeMilliseconds",
            Self::Mac(_) => "macAddress",
            Self::Ipv4(_) => "ipv4Address",
            Self::Ipv6(_) => "ipv6Address",
            Self::String(_) => "string, of variable length",
        }
    }

    /// Appends the encoded value.
    pub(super) fn write(self, seen: &Values<'_>, bytes: &mut Vec<u8>) {
        match self {
            // True is 1 and false is 2 (RFC 7011 §6.1.5).
            Self::Boolean(of) => bytes.push(if of(seen) { 1 } else { 2 }),
            Self::Unsigned8(of) | Self::Unsigned16In8(of) => bytes.push(of(seen)),
            Self::Unsigned16(of) | Self::Unsigned64In16(of) => bytes.extend(of(seen).to_be_bytes()),
            Self::Unsigned32(of) => bytes.extend(of(seen).to_be_bytes()),
            Self::Unsigned64(of) | Self::Milliseconds(of) => bytes.extend(of(seen).to_be_bytes()),
            Self::Float64(of) => bytes.extend(of(seen).to_be_bytes()),
            Self::Flags(of) => bytes.extend(of(seen).iter().flat_map(|number| number.to_be_bytes())),
            Self::Mac(of) => bytes.extend(of(seen)),
            // IPv4 is in the last four bytes of a mapped address (RFC 4291 §2.5.5.2).
            Self::Ipv4(of) => bytes.extend_from_slice(&of(seen).octets()[12..]),
            Self::Ipv6(of) => bytes.extend(of(seen).octets()),
            Self::String(of) => {
                let text = of(seen);
                let end =
                    (0..=text.len().min(LONGEST_STRING)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                bytes.push(end as u8);
                bytes.extend_from_slice(&text.as_bytes()[..end]);
            }
        }
    }
}

/// The registry of an element's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    /// IANA's registry of IPFIX information elements.
    Iana,
    /// flowml's own elements, under [`ENTERPRISE`].
    Own,
}

/// The flows that have an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Every flow.
    Every,
    /// Flows over IPv4.
    Ipv4,
    /// Flows over IPv6.
    Ipv6,
    /// Flows of protocols other than ICMP.
    Ports,
    /// ICMP over IPv4.
    Icmpv4,
    /// ICMPv6 over IPv6.
    Icmpv6,
    /// The initiator's direction of every flow, and the responder's direction of biflows as a reverse element.
    EachWay,
    /// Biflows.
    TwoWay,
    /// Flows that a model has scored.
    Judged,
    /// Flows outside of tunnels.
    Plain,
    /// Flows in tunnels.
    Tunnelled,
    /// Flows in tunnels over IPv4.
    OverIpv4,
    /// Flows in tunnels over IPv6.
    OverIpv6,
}

/// A row of the table.
pub(super) struct Element {
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for docs/IPFIX.md"))]
    pub(super) name: &'static str,
    pub(super) registry: Registry,
    pub(super) number: u16,
    pub(super) of: Of,
    pub(super) value: Value,
    /// The meaning, if the name does not state it, and the unit.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for docs/IPFIX.md"))]
    pub(super) meaning: &'static str,
}

const fn iana(name: &'static str, number: u16, of: Of, value: Value, meaning: &'static str) -> Element {
    Element { name, registry: Registry::Iana, number, of, value, meaning }
}

const fn own(name: &'static str, number: u16, of: Of, value: Value, meaning: &'static str) -> Element {
    Element { name, registry: Registry::Own, number, of, value, meaning }
}

use Of::{EachWay, Every, Icmpv4, Icmpv6, Ipv4, Ipv6, Judged, OverIpv4, OverIpv6, Plain, Ports, Tunnelled, TwoWay};
use Value::{
    Boolean, Float64, Milliseconds, Unsigned8, Unsigned16, Unsigned16In8, Unsigned32, Unsigned64, Unsigned64In16,
};

/// All elements, in the order of a record's values. Element numbers never change; new elements get the next number.
///
/// Derived values (means and deviations of lengths) are left out. Small values share an element, because Wireshark
/// reads only templates of at most 60 fields by default.
#[rustfmt::skip]
pub(super) const ELEMENTS: &[Element] = &[
    iana("sourceIPv4Address", 8, Ipv4, Value::Ipv4(|seen| seen.record.source().address), "initiator"),
    iana("destinationIPv4Address", 12, Ipv4, Value::Ipv4(|seen| seen.record.destination().address), "responder"),
    iana("sourceIPv6Address", 27, Ipv6, Value::Ipv6(|seen| seen.record.source().address), "initiator"),
    iana("destinationIPv6Address", 28, Ipv6, Value::Ipv6(|seen| seen.record.destination().address), "responder"),
    iana("protocolIdentifier", 4, Every, Unsigned8(|seen| seen.record.protocol()), ""),
    iana("sourceTransportPort", 7, Ports, Unsigned16(|seen| seen.record.src_port()), "0 for protocols without ports, and for fragments after the first"),
    iana("destinationTransportPort", 11, Ports, Unsigned16(|seen| seen.record.dst_port()), "0 for protocols without ports, and for fragments after the first"),
    iana("icmpTypeCodeIPv4", 32, Icmpv4, Unsigned16(icmp_type_code), "type × 256 + code; a flow of requests and replies has those of the initiator"),
    iana("icmpTypeCodeIPv6", 139, Icmpv6, Unsigned16(icmp_type_code), "type × 256 + code; a flow of requests and replies has those of the initiator"),
    iana("vlanId", 58, Plain, Unsigned16(|seen| seen.record.key.vlans()[0]), "outer VLAN id, 0 for none"),
    iana("dot1qCustomerVlanId", 245, Plain, Unsigned16(|seen| seen.record.key.vlans()[1]), "inner VLAN id, 0 for none"),
    iana("sourceMacAddress", 56, Plain, Value::Mac(|seen| seen.record.macs[0]), "address of the initiator in the first packet"),
    iana("destinationMacAddress", 80, Plain, Value::Mac(|seen| seen.record.macs[1]), "address of the responder in the first packet"),
    iana("ingressInterface", 10, Every, Unsigned32(|seen| seen.record.key.interface()), "index of the interface at which the flow was metered, for both directions"),
    iana("flowEndReason", 136, Every, Unsigned8(|seen| seen.record.end_reason as u8), "1 idle timeout, 2 active timeout, 3 end of flow, 4 the agent stopped, 5 too many sessions at once"),
    iana("biflowDirection", 239, TwoWay, Unsigned8(|_| BIFLOW_DIRECTION_INITIATOR), "always 1: the source is the initiator"),

    iana("packetDeltaCount", 2, EachWay, Unsigned64(|seen| seen.way().packets), ""),
    iana("octetDeltaCount", 1, EachWay, Unsigned64(|seen| seen.way().ip_bytes), "IP headers and payload"),
    iana("layer2OctetDeltaCount", 352, EachWay, Unsigned64(|seen| seen.way().frame_bytes), "frames without FCS, as in the packet accounting of the summary"),
    iana("flowStartMilliseconds", 152, EachWay, Milliseconds(|seen| seen.times().first_ms), "first packet of the direction; if it has none, of both directions"),
    iana("flowEndMilliseconds", 153, EachWay, Milliseconds(|seen| seen.times().last_ms), "last packet of the direction; if it has none, of both directions"),
    iana("octetDeltaSumOfSquares", 198, EachWay, Unsigned64(|seen| seen.way().length_squares), "sum of the squares of IP lengths"),
    iana("minimumIpTotalLength", 25, EachWay, Unsigned64In16(|seen| seen.way().length_min), "0 if there are no packets"),
    iana("maximumIpTotalLength", 26, EachWay, Unsigned64In16(|seen| seen.way().length_max), "65,535 also for jumbograms"),
    iana("minimumTTL", 52, EachWay, Unsigned8(|seen| seen.way().ttl_min), "smallest TTL or hop limit"),
    iana("maximumTTL", 53, EachWay, Unsigned8(|seen| seen.way().ttl_max), "largest TTL or hop limit"),
    iana("ipDiffServCodePoint", 195, EachWay, Unsigned8(|seen| seen.record.dscps[usize::from(seen.reverse)]), "DSCP of the first packet"),
    iana("tcpControlBits", 6, EachWay, Unsigned16In8(tcp_control_bits), "all flags that were seen"),

    own("payloadOctetDeltaCount", 1, EachWay, Unsigned64(|seen| seen.way().payload_bytes), "bytes of payload"),
    own("payloadPacketDeltaCount", 2, EachWay, Unsigned64(|seen| seen.way().payload_packets), "packets with payload"),
    own("interArrivalMinimum", 3, EachWay, Unsigned32(|seen| gap_us(seen.way().iat_min_ms())), "smallest gap between packets of the direction, µs; 0 where CPUs counted at the same time"),
    own("interArrivalMaximum", 4, EachWay, Unsigned32(|seen| gap_us(seen.way().iat_max_ms())), "largest gap, µs; 2³² − 1 beyond 71 minutes, 0 where CPUs counted at the same time"),
    own("interArrivalMean", 5, EachWay, Float64(|seen| seen.way().iat_mean_ms()), "mean gap, ms"),
    own("interArrivalDeviation", 6, EachWay, Float64(|seen| seen.way().iat_stddev_ms()), "its sample standard deviation, ms; NaN where CPUs counted at the same time"),
    own("tcpFlagDeltaCounts", 7, EachWay, Value::Flags(flag_counts), "packets with FIN, SYN, RST, PSH, ACK, URG, ECE and CWR: 4 bytes each, 2³² − 1 also for larger counts"),

    own("bidirectionalInterArrivalMinimum", 8, TwoWay, Unsigned32(|seen| gap_us(seen.record.both.iat_min_ms())), "smallest gap between packets of either direction, µs; 0 where CPUs counted at the same time"),
    own("bidirectionalInterArrivalMaximum", 9, TwoWay, Unsigned32(|seen| gap_us(seen.record.both.iat_max_ms())), "largest gap, µs; 2³² − 1 beyond 71 minutes, 0 where CPUs counted at the same time"),
    own("bidirectionalInterArrivalMean", 10, TwoWay, Float64(|seen| seen.record.both.iat_mean_ms()), "mean gap, ms"),
    own("bidirectionalInterArrivalDeviation", 11, TwoWay, Float64(|seen| seen.record.both.iat_stddev_ms()), "its sample standard deviation, ms; NaN where CPUs counted at the same time"),

    own("flowProperties", 12, Every, Unsigned16(properties), "bits: 1 counted by XDP, 2 by tc ingress, 4 by tc egress, 8 from a capture; 256 fragments after the first, without ports; 512 continues a record that ended by the active timeout; 1024 the initiator sent a SYN (otherwise weaker evidence determined the initiator); 2048 CPUs counted at the same time, so that only the mean of the gaps is known"),

    own("cluster", 13, Judged, Unsigned32(|seen| judged(seen, 0, |verdict| verdict.cluster)), "number of the cluster with the lowest score for this flow"),
    own("anomalyScore", 14, Judged, Float64(|seen| judged(seen, f64::NAN, |verdict| verdict.score)), "distance from that cluster: ½(d/σ)² − ln π"),
    own("anomalyProbability", 15, Judged, Float64(|seen| judged(seen, f64::NAN, |verdict| verdict.probability)), "probability that a normal flow scores at least as high"),
    own("anomaly", 16, Judged, Boolean(|seen| judged(seen, false, |verdict| verdict.anomaly)), "whether the probability is below `--alpha`, and anomalies are not withheld"),
    own("anomalyReason", 17, Judged, Value::String(|seen| judged(seen, String::new(), |verdict| one_line(&verdict.reasons))), "for an anomaly, the features that contributed most, in UTF-8, at most 254 bytes; else empty"),

    iana("layer2SegmentId", 351, Tunnelled, Unsigned64(segment), "2⁵⁶ + VNI for VXLAN; 0 for other tunnels"),
    own("tunnel", 18, Tunnelled, Unsigned64(tunnel), "kind × 2⁵⁶ + VLAN id × 2³² + number of the tunnel; the kinds are 1 VXLAN, 2 Geneve, 3 GRE, 4 IP in IP, 5 GTP-U, 6 MPLS, 7 PPPoE"),
    own("outerSourceIPv4Address", 19, OverIpv4, Value::Ipv4(|seen| outer(seen, 0)), "address around the flow on the side of the initiator"),
    own("outerDestinationIPv4Address", 20, OverIpv4, Value::Ipv4(|seen| outer(seen, 1)), "address around the flow on the side of the responder"),
    own("outerSourceIPv6Address", 21, OverIpv6, Value::Ipv6(|seen| outer(seen, 0)), "address around the flow on the side of the initiator"),
    own("outerDestinationIPv6Address", 22, OverIpv6, Value::Ipv6(|seen| outer(seen, 1)), "address around the flow on the side of the responder"),
];

/// biflowDirection: the source is the initiator (RFC 5103 §6.3).
const BIFLOW_DIRECTION_INITIATOR: u8 = 1;

fn icmp_type_code(seen: &Values<'_>) -> u16 {
    seen.record.icmp().map_or(0, |(kind, code)| u16::from_be_bytes([kind, code]))
}

/// The flags that were seen, in the bit order of the header (RFC 9293 §3.1, RFC 7125).
fn tcp_control_bits(seen: &Values<'_>) -> u8 {
    let flags = seen.way().flags.iter().enumerate();
    flags.fold(0, |bits, (bit, packets)| bits | u8::from(*packets > 0) << bit)
}

/// A gap in µs, 0 if it is not known.
fn gap_us(gap_ms: f64) -> u32 {
    (gap_ms * 1e3).round() as u32
}

fn flag_counts(seen: &Values<'_>) -> [u32; 8] {
    seen.way().flags.map(|packets| u32::try_from(packets).unwrap_or(u32::MAX))
}

fn properties(seen: &Values<'_>) -> u16 {
    let FlowRecord { key, continues, syn_seen, hooks, .. } = seen.record;
    let bits = [key.later_fragment(), *continues, *syn_seen, seen.record.is_concurrent()].into_iter().enumerate();
    bits.fold(u16::from(*hooks), |all, (at, bit)| all | u16::from(bit) << (8 + at))
}

/// Kind and number of the tunnel; zeroes outside of tunnels.
fn kind_and_id(seen: &Values<'_>) -> (u64, u64) {
    let tunnel = seen.record.tunnel.as_deref();
    let kind = tunnel.and_then(|tunnel| tunnel.kind).map_or(0, |kind| kind as u64);
    (kind, tunnel.and_then(|tunnel| tunnel.id).unwrap_or(0).into())
}

fn tunnel(seen: &Values<'_>) -> u64 {
    let (kind, id) = kind_and_id(seen);
    kind << 56 | u64::from(seen.record.key.vlans()[0]) << 32 | id
}

/// The type of the encapsulation in the highest byte (IANA "IPFIX Layer 2 Segment ID Encapsulation Types": 1 is VXLAN),
/// then the number.
fn segment(seen: &Values<'_>) -> u64 {
    let (kind, id) = kind_and_id(seen);
    if kind == TunnelKind::Vxlan as u64 { 1 << 56 | id } else { 0 }
}

/// An outer address. Flows without them use templates without these elements.
fn outer(seen: &Values<'_>, end: usize) -> Address {
    let ends = seen.record.tunnel.as_deref().and_then(|tunnel| tunnel.outer);
    ends.map_or(Address::from_v4(0), |ends| ends[end])
}

/// A value of the verdict. Flows without a verdict use templates without these elements.
fn judged<T>(seen: &Values<'_>, nothing: T, of: impl FnOnce(&Verdict) -> T) -> T {
    seen.verdict.map_or(nothing, of)
}
