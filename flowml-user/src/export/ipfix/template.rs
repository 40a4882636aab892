//! Templates: the elements of a record, by the kind of its flow.

use flowml_common::flow::IpVersion;

use super::element::{ELEMENTS, ENTERPRISE, Element, Of, REVERSE_ENTERPRISE, Registry, Values};
use crate::learning::Verdict;
use crate::record::FlowRecord;

/// The first template ID (RFC 7011 §3.4.1).
const FIRST_TEMPLATE: u16 = 256;

/// The bit of an element number that marks an enterprise-specific element (RFC 7011 §3.2).
const ENTERPRISE_BIT: u16 = 0x8000;

/// The bit of an own element's number that marks its reverse (RFC 5103 §6.2).
const REVERSE_BIT: u16 = 0x4000;

/// The kind of flow that a template describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    ipv6: bool,
    icmp: bool,
    two_way: bool,
    judged: bool,
    tunnel: Around,
}

/// What is around a flow, in the order of the template IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    /// No tunnel.
    Nothing,
    /// A tunnel that is not over IP.
    Tunnel,
    /// A tunnel over IPv4.
    Ipv4,
    /// A tunnel over IPv6.
    Ipv6,
}

impl Around {
    const ALL: [Self; 4] = [Self::Nothing, Self::Tunnel, Self::Ipv4, Self::Ipv6];

    fn of(record: &FlowRecord) -> Self {
        let tunnel = record.tunnel.as_deref().filter(|tunnel| tunnel.kind.is_some());
        match tunnel.map(|tunnel| tunnel.outer.map(|[source, _]| source.version())) {
            None => Self::Nothing,
            Some(None) => Self::Tunnel,
            Some(Some(IpVersion::V4)) => Self::Ipv4,
            Some(Some(IpVersion::V6)) => Self::Ipv6,
        }
    }
}

impl Template {
    /// All templates of a run, in the order of their IDs. `tunnels` states whether it looks into tunnels.
    pub(super) fn all(tunnels: bool) -> impl Iterator<Item = Self> {
        let around = if tunnels { &Around::ALL[..] } else { &[Around::Nothing] };
        around.iter().flat_map(|&tunnel| {
            (0..1_u16 << 4).map(move |bits| {
                let bit = |at: u16| bits >> at & 1 == 1;
                Self { ipv6: bit(0), icmp: bit(1), two_way: bit(2), judged: bit(3), tunnel }
            })
        })
    }

    /// The template for a flow.
    pub(super) fn of(record: &FlowRecord, verdict: Option<&Verdict>) -> Self {
        Self {
            ipv6: record.key.ip_version() == IpVersion::V6,
            icmp: record.icmp().is_some(),
            two_way: record.dst2src.packets > 0,
            judged: verdict.is_some(),
            tunnel: Around::of(record),
        }
    }

    /// The template ID, which is also the set ID of its data sets.
    pub(super) fn id(self) -> u16 {
        let bits = [self.ipv6, self.icmp, self.two_way, self.judged].into_iter().enumerate();
        FIRST_TEMPLATE + bits.map(|(at, bit)| u16::from(bit) << at).sum::<u16>() + ((self.tunnel as u16) << 4)
    }

    /// A description in words.
    #[cfg(test)]
    pub(super) fn name(self) -> String {
        let version = if self.ipv6 { "IPv6" } else { "IPv4" };
        let protocol = if self.icmp { ", ICMP" } else { "" };
        let ways = if self.two_way { ", biflow" } else { ", uniflow" };
        let judged = if self.judged { ", scored" } else { "" };
        let tunnel = match self.tunnel {
            Around::Nothing => "",
            Around::Tunnel => ", in a tunnel",
            Around::Ipv4 => ", in a tunnel over IPv4",
            Around::Ipv6 => ", in a tunnel over IPv6",
        };
        format!("{version}{protocol}{ways}{judged}{tunnel}")
    }

    /// The fields of the template: each element, and whether it is the reverse element (RFC 5103).
    pub(super) fn fields(self) -> impl Iterator<Item = (&'static Element, bool)> {
        let forward = ELEMENTS.iter().filter(move |element| self.has(element.of)).map(|element| (element, false));
        let reverse = ELEMENTS.iter().filter(move |element| self.two_way && element.of == Of::EachWay);
        forward.chain(reverse.map(|element| (element, true)))
    }

    const fn has(self, of: Of) -> bool {
        match of {
            Of::Every | Of::EachWay => true,
            Of::Ipv4 => !self.ipv6,
            Of::Ipv6 => self.ipv6,
            Of::Ports => !self.icmp,
            Of::Icmpv4 => self.icmp && !self.ipv6,
            Of::Icmpv6 => self.icmp && self.ipv6,
            Of::TwoWay => self.two_way,
            Of::Judged => self.judged,
            Of::Plain => matches!(self.tunnel, Around::Nothing),
            Of::Tunnelled => !matches!(self.tunnel, Around::Nothing),
            Of::OverIpv4 => matches!(self.tunnel, Around::Ipv4),
            Of::OverIpv6 => matches!(self.tunnel, Around::Ipv6),
        }
    }

    /// Appends the template record (RFC 7011 §3.4.1).
    pub(super) fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.id().to_be_bytes());
        bytes.extend((self.fields().count() as u16).to_be_bytes());
        for (element, reverse) in self.fields() {
            let Specifier { number, enterprise } = element.specifier(reverse);
            let bit = if enterprise.is_some() { ENTERPRISE_BIT } else { 0 };
            bytes.extend((bit | number).to_be_bytes());
            bytes.extend(element.value.length().to_be_bytes());
            bytes.extend(enterprise.into_iter().flat_map(u32::to_be_bytes));
        }
    }

    /// Appends the data record of a flow of this kind (RFC 7011 §3.4.3).
    pub(super) fn write_record(self, record: &FlowRecord, verdict: Option<&Verdict>, bytes: &mut Vec<u8>) {
        for (element, reverse) in self.fields() {
            element.value.write(&Values { record, verdict, reverse }, bytes);
        }
    }
}

/// The field specifier of an element in a template (RFC 7011 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Specifier {
    /// The element number without the enterprise bit.
    pub(super) number: u16,
    pub(super) enterprise: Option<u32>,
}

impl Element {
    /// The field specifier of the element, or of its reverse.
    pub(super) const fn specifier(&self, reverse: bool) -> Specifier {
        match (self.registry, reverse) {
            (Registry::Iana, false) => Specifier { number: self.number, enterprise: None },
            (Registry::Iana, true) => Specifier { number: self.number, enterprise: Some(REVERSE_ENTERPRISE) },
            (Registry::Own, false) => Specifier { number: self.number, enterprise: Some(ENTERPRISE) },
            (Registry::Own, true) => Specifier { number: REVERSE_BIT | self.number, enterprise: Some(ENTERPRISE) },
        }
    }
}
