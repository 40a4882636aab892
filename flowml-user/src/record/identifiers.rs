//! The columns that identify a flow in an output. They are not features.

use flowml_common::flow::FlowKey;
use flowml_common::headers::Mac;
use flowml_common::packet::Hook;

use super::identifiers::ValueType::{Flag, Integer, Text};
use super::{Application, FlowRecord, Tunnel};
use crate::session::EndReason;

/// The value of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// One of a fixed set of names.
    Name(&'static str),
    /// A number.
    Number(u64),
    /// True or false.
    Flag(bool),
    /// The flow has no such value.
    Absent,
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Text.
    Text,
    /// A whole number that is not negative.
    Integer,
    /// A real number.
    Real,
    /// True or false.
    Flag,
    /// Several whole numbers.
    Integers,
    /// Several numbers.
    Reals,
}

impl ValueType {
    /// The name in the documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Flag => "flag",
            Self::Integers => "integers",
            Self::Reals => "reals",
        }
    }
}

/// An identifying column of a table whose rows are of type `T`.
pub struct Identifier<T: 'static> {
    /// The column's name: NFStream's, if NFStream has the same value.
    pub name: &'static str,
    /// The type of the values, where they exist.
    pub kind: ValueType,
    /// The meaning of the value, in one line.
    pub meaning: &'static str,
    /// Whether NFStream has the same value under the same name.
    pub nfstream: bool,
    /// Returns the value of a row.
    pub of: fn(&T) -> Value,
}

const fn own(
    name: &'static str,
    kind: ValueType,
    meaning: &'static str,
    of: fn(&FlowRecord) -> Value,
) -> Identifier<FlowRecord> {
    Identifier { name, kind, meaning, nfstream: false, of }
}

const fn nfstream(
    name: &'static str,
    kind: ValueType,
    meaning: &'static str,
    of: fn(&FlowRecord) -> Value,
) -> Identifier<FlowRecord> {
    Identifier { name, kind, meaning, nfstream: true, of }
}

/// The identifiers of a flow.
#[rustfmt::skip]
pub const FLOW_IDENTIFIERS: &[Identifier<FlowRecord>] = &[
    own("community_id", Text, "Community ID, version 1, seed 0", |flow| Value::Text(flow.community_id())),
    nfstream("src_ip", Text, "Address of the initiator", |flow| Value::Text(flow.src_ip().to_string())),
    nfstream("src_port", Integer, "Port of the initiator", |flow| Value::Number(flow.src_port().into())),
    nfstream("dst_ip", Text, "Address of the responder", |flow| Value::Text(flow.dst_ip().to_string())),
    nfstream("dst_port", Integer, "Port of the responder", |flow| Value::Number(flow.dst_port().into())),
    nfstream("protocol", Integer, "IP protocol number", |flow| Value::Number(flow.protocol().into())),
    nfstream("ip_version", Integer, "4 or 6", |flow| Value::Number(flow.key.ip_version() as u64)),
    nfstream("vlan_id", Integer, "Outer VLAN id, 0 for none", |flow| vlan(&flow.key, 0)),
    own("inner_vlan_id", Integer, "Inner VLAN id, 0 for none", |flow| vlan(&flow.key, 1)),
    nfstream("src_mac", Text, "MAC address of the initiator in the first packet", |flow| mac(flow.macs[0], 6)),
    nfstream("src_oui", Text, "First three bytes of this address, which identify the manufacturer", |flow| mac(flow.macs[0], 3)),
    nfstream("dst_mac", Text, "MAC address of the responder in the first packet", |flow| mac(flow.macs[1], 6)),
    nfstream("dst_oui", Text, "First three bytes of this address, which identify the manufacturer", |flow| mac(flow.macs[1], 3)),
    own("interface", Integer, "Interface index", |flow| Value::Number(flow.key.interface().into())),
    own("icmp_type", Integer, "ICMP type; a flow of requests and replies has the type of the initiator's packet", |flow| icmp(flow.icmp().map(|(kind, _)| kind))),
    own("icmp_code", Integer, "ICMP code", |flow| icmp(flow.icmp().map(|(_, code)| code))),
    own("fragments", Flag, "Whether the packets are IP fragments after the first, which have no ports",
        |flow| Value::Flag(flow.key.later_fragment())),
    own("end_reason", Text, "Why the record ended (IPFIX IE 136)", |flow| Value::Name(flow.end_reason.name())),
    nfstream("expiration_id", Integer, "1 if the record ended by the active timeout, else 0",
        |flow| Value::Number((flow.end_reason == EndReason::ActiveTimeout).into())),
    own("continues", Flag, "Whether this record continues a record that ended by the active timeout",
        |flow| Value::Flag(flow.continues)),
    own("initiator_by", Text, "Evidence that determined the initiator: `syn`, `syn_ack`, `icmp_type`, `icmp_error`, `continues`, `service_port`, `first_packet`",
        |flow| Value::Name(flow.initiator_by.name())),
    own("concurrent", Flag, "Whether several CPUs counted at the same time; then only the mean of the gaps is known",
        |flow| Value::Flag(flow.is_concurrent())),
    own("hooks", Text, "Where the packets were counted", hooks),
];

/// The identifiers of the tunnel, in a run that looks into tunnels.
#[rustfmt::skip]
pub const TUNNEL_IDENTIFIERS: &[Identifier<FlowRecord>] = &[
    own("tunnel", Text, "Kind of the innermost tunnel: `vxlan`, `geneve`, `gre`, `ipip`, `gtpu`, `mpls`, `pppoe`; missing outside of tunnels",
        |flow| tunnel(flow).and_then(|tunnel| tunnel.kind).map_or(Value::Absent, |kind| Value::Name(kind.name()))),
    own("tunnel_id", Integer, "Number of this tunnel in the first packet: VNI, GRE key (0 for none), TEID, bottom label of MPLS, PPPoE session",
        |flow| tunnel(flow).and_then(|tunnel| tunnel.id).map_or(Value::Absent, |id| Value::Number(id.into()))),
    own("outer_src_ip", Text, "Innermost IP address around the flow in its first packet, on the side of the initiator; missing without an IP header around it",
        |flow| outer(flow, 0)),
    own("outer_dst_ip", Text, "Innermost IP address around the flow in its first packet, on the side of the responder; missing without an IP header around it",
        |flow| outer(flow, 1)),
];

/// The identifiers from the first payload bytes, if these are kept.
#[rustfmt::skip]
pub const CONTENT_IDENTIFIERS: &[Identifier<FlowRecord>] = &[
    own("application_name", Text, "Application, recognised from the first payload bytes; missing if unknown",
        |flow| application(flow).map_or(Value::Absent, |application| Value::Name(application.name))),
    own("requested_server_name", Text, "Server name in the application's data, in lower case; missing if truncated",
        |flow| text(application(flow).and_then(|application| application.server_name.clone()))),
    own("application_detail", Text, "Further detail from the application's data: see the table of applications",
        |flow| text(application(flow).and_then(|application| application.detail.clone()))),
];

fn application(flow: &FlowRecord) -> Option<&Application> {
    flow.content.as_ref()?.application.as_ref()
}

fn tunnel(flow: &FlowRecord) -> Option<&Tunnel> {
    flow.tunnel.as_deref()
}

fn outer(flow: &FlowRecord, end: usize) -> Value {
    text(tunnel(flow).and_then(|tunnel| tunnel.outer).map(|ends| ends[end].to_ip().to_string()))
}

fn text(text: Option<String>) -> Value {
    text.map_or(Value::Absent, Value::Text)
}

fn vlan(key: &FlowKey, tag: usize) -> Value {
    Value::Number(key.vlans()[tag].into())
}

/// The first `bytes` bytes of an address.
fn mac(mac: Mac, bytes: usize) -> Value {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(3 * bytes);
    for (at, byte) in mac.iter().take(bytes).enumerate() {
        if at > 0 {
            text.push(':');
        }
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
    }
    Value::Text(text)
}

fn icmp(number: Option<u8>) -> Value {
    number.map_or(Value::Absent, |number| Value::Number(number.into()))
}

fn hooks(flow: &FlowRecord) -> Value {
    let all = [(Hook::Xdp, "xdp"), (Hook::Ingress, "ingress"), (Hook::Egress, "egress"), (Hook::File, "file")];
    let mut names = all.iter().filter(|(hook, _)| flow.is_counted_by(*hook)).map(|(_, name)| *name);
    match (names.next(), names.next()) {
        (Some(name), None) => Value::Name(name),
        (first, second) => Value::Text(first.into_iter().chain(second).chain(names).collect::<Vec<_>>().join("+")),
    }
}
