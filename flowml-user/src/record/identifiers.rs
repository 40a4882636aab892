//! What names a flow in an output: columns that are not features.

use flowml_common::flow::FlowKey;
use flowml_common::headers::Mac;
use flowml_common::packet::Hook;

use super::FlowRecord;

/// The value of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A name out of a few.
    Name(&'static str),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// The flow has no such thing.
    Absent,
}

/// One identifying column of the table over units of type `T`.
pub struct Identifier<T: 'static> {
    /// The column's name; NFStream's where it has the same thing.
    pub name: &'static str,
    /// What the value says, in one line.
    pub meaning: &'static str,
    /// The value.
    pub of: fn(&T) -> Value,
}

const fn identifier(name: &'static str, meaning: &'static str, of: fn(&FlowRecord) -> Value) -> Identifier<FlowRecord> {
    Identifier { name, meaning, of }
}

/// The identifiers of a flow.
pub const FLOW_IDENTIFIERS: &[Identifier<FlowRecord>] = &[
    identifier("community_id", "Community ID, version 1, seed 0", |flow| Value::Text(flow.community_id())),
    identifier("src_ip", "Address of the initiator", |flow| Value::Text(flow.src_ip().to_string())),
    identifier("src_port", "Port of the initiator", |flow| Value::Number(flow.src_port().into())),
    identifier("dst_ip", "Address of the responder", |flow| Value::Text(flow.dst_ip().to_string())),
    identifier("dst_port", "Port of the responder", |flow| Value::Number(flow.dst_port().into())),
    identifier("protocol", "IP protocol number", |flow| Value::Number(flow.protocol().into())),
    identifier("ip_version", "4 or 6", |flow| Value::Number(if flow.src_ip().is_ipv4() { 4 } else { 6 })),
    identifier("vlan_id", "Outer VLAN id, 0 for none", |flow| vlan(&flow.key, 0)),
    identifier("inner_vlan_id", "Inner VLAN id, 0 for none", |flow| vlan(&flow.key, 1)),
    identifier("src_mac", "MAC address of the initiator in the first packet", |flow| mac(flow.macs[0])),
    identifier("dst_mac", "MAC address of the responder in the first packet", |flow| mac(flow.macs[1])),
    identifier("interface", "Interface index", |flow| Value::Number(flow.key.interface().into())),
    identifier("icmp_type", "ICMP type of the initiator's messages", |flow| icmp(flow.icmp().map(|(kind, _)| kind))),
    identifier("icmp_code", "ICMP code of the initiator's messages", |flow| icmp(flow.icmp().map(|(_, code)| code))),
    identifier("fragments", "Whether these are fragments after the first, without ports", |flow| {
        Value::Flag(flow.key.later_fragment())
    }),
    identifier("end_reason", "Why the record ended (IPFIX IE 136)", |flow| Value::Name(flow.end_reason.name())),
    identifier("continues", "Whether it continues a record that ended by the active timeout", |flow| {
        Value::Flag(flow.continues)
    }),
    identifier(
        "concurrent",
        "Whether CPUs counted at the same time, so that inter-arrival times are per CPU",
        |flow| Value::Flag(flow.is_concurrent()),
    ),
    identifier("hooks", "Where the packets were counted", |flow| Value::Text(hooks(flow))),
];

fn vlan(key: &FlowKey, tag: usize) -> Value {
    Value::Number(key.vlans()[tag].into())
}

fn mac(mac: Mac) -> Value {
    let [a, b, c, d, e, f] = mac;
    Value::Text(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
}

fn icmp(number: Option<u8>) -> Value {
    number.map_or(Value::Absent, |number| Value::Number(number.into()))
}

fn hooks(flow: &FlowRecord) -> String {
    let all = [(Hook::Xdp, "xdp"), (Hook::Ingress, "ingress"), (Hook::Egress, "egress"), (Hook::File, "file")];
    let names: Vec<_> = all.iter().filter(|(hook, _)| flow.is_counted_by(*hook)).map(|(_, name)| *name).collect();
    names.join("+")
}
