//! Values: addresses, prefixes, ports and protocols, with the keywords that state what is compared with them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use flowml_common::filter::Field;
use flowml_common::headers::{ethertype, protocol};

use super::check::{Check, Prefix, Version};
use super::error::FilterError;
use super::expression::Expression;
use super::reader::Reader;
use super::token::Token;

/// A protocol that a keyword names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Ethernet,
    Ip(Version),
    /// Packets that are in no flow.
    Arp,
    /// A protocol over IP: its number, and the version of IP if there is only one.
    Over(u8, Option<Version>),
}

/// Keywords of protocols.
pub(super) const PROTOCOLS: [(&str, Protocol); 17] = [
    ("ether", Protocol::Ethernet),
    ("ip", Protocol::Ip(Version::V4)),
    ("ip6", Protocol::Ip(Version::V6)),
    ("arp", Protocol::Arp),
    ("rarp", Protocol::Arp),
    ("tcp", Protocol::Over(protocol::TCP, None)),
    ("udp", Protocol::Over(protocol::UDP, None)),
    ("sctp", Protocol::Over(protocol::SCTP, None)),
    ("icmp", Protocol::Over(protocol::ICMP, Some(Version::V4))),
    ("icmp6", Protocol::Over(protocol::ICMPV6, Some(Version::V6))),
    ("igmp", Protocol::Over(protocol::IGMP, Some(Version::V4))),
    ("igrp", Protocol::Over(9, Some(Version::V4))),
    ("esp", Protocol::Over(50, None)),
    ("ah", Protocol::Over(protocol::AUTHENTICATION, None)),
    ("pim", Protocol::Over(103, None)),
    ("vrrp", Protocol::Over(112, Some(Version::V4))),
    ("carp", Protocol::Over(112, Some(Version::V4))),
];

/// The side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
    Either,
    Both,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

/// The keywords before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Qualifiers {
    /// The protocol, with its keyword.
    pub(super) protocol: Option<(&'static str, Protocol)>,
    pub(super) side: Side,
    pub(super) what: What,
    /// Number of tags of the packets that are meant.
    pub(super) tags: u8,
}

/// Whether a word is a value and not a keyword.
pub(super) fn is_value(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit() || first == '\\') || word.contains(':')
}

/// Parses a number of pcap-filter(7): decimal, or hexadecimal with `0x`.
pub(super) fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Reads a value, a negated value, or several values in parentheses.
pub(super) fn values(reader: &mut Reader<'_>, of: Qualifiers) -> Result<Expression, FilterError> {
    match reader.peek() {
        Some(Token::Not(_)) => {
            reader.skip();
            reader.enter()?;
            let inner = values(reader, of)?;
            reader.leave();
            Ok(inner.negated())
        }
        Some(Token::Open) => {
            reader.skip();
            reader.enter()?;
            let mut left = values(reader, of)?;
            while let Some(is_and) = reader.take_connection() {
                let right = values(reader, of)?;
                left = if is_and { left.and(right) } else { left.or(right) };
            }
            reader.close()?;
            reader.leave();
            Ok(left)
        }
        _ => value(reader, &of),
    }
}

fn value(reader: &mut Reader<'_>, of: &Qualifiers) -> Result<Expression, FilterError> {
    match (of.what, of.protocol) {
        (What::Host, Some((_, Protocol::Ethernet))) => {
            let address = taken(reader, "a MAC address, as in 02:00:00:00:00:01", mac)?;
            Ok(sides(of, Field::SourceMac, Field::DestinationMac, |field| Check::mac(field, u64::MAX, address)))
        }
        (What::Host | What::Net, _) => addresses(reader, of),
        (What::Port, _) => {
            let port = taken(reader, "a port of 0 to 65535; names are not supported", port)?;
            ports(of, &(port..=port))
        }
        (What::PortRange, _) => {
            let range = taken(reader, "a range of ports, as in 1-1023; names are not supported", port_range)?;
            ports(of, &range)
        }
        (What::Protocol, _) => protocols(reader, of),
    }
}

/// Takes a word that `parse` accepts.
fn taken<T>(reader: &mut Reader<'_>, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, FilterError> {
    let parsed = match reader.peek() {
        Some(Token::Word(word)) => parse(word),
        _ => None,
    };
    let parsed = parsed.ok_or_else(|| reader.expected(what))?;
    reader.skip();
    Ok(parsed)
}

/// A check of both sides, or of one of them.
fn sides(of: &Qualifiers, source: Field, destination: Field, check: impl Fn(Field) -> Check) -> Expression {
    let [source, destination] = [source, destination].map(|field| Expression::from(check(field)));
    match of.side {
        Side::Source => source,
        Side::Destination => destination,
        Side::Either => source.or(destination),
        Side::Both => source.and(destination),
    }
}

fn modifier(name: &str, what: &str, expected: &str) -> FilterError {
    FilterError(format!("'{name}' cannot be before '{what}': expected {expected}"))
}

fn addresses(reader: &mut Reader<'_>, of: &Qualifiers) -> Result<Expression, FilterError> {
    let is_net = of.what == What::Net;
    let what = if is_net { "net" } else { "host" };
    let wanted = match of.protocol {
        None | Some((_, Protocol::Arp)) => None,
        Some((_, Protocol::Ip(version))) => Some(version),
        Some((name, _)) => return Err(modifier(name, what, "'ip', 'ip6' or nothing")),
    };
    let prefix = prefix(reader, is_net)?;
    if wanted.is_some_and(|version| version != prefix.version) {
        let (name, _) = of.protocol.unwrap_or(("ip", Protocol::Arp));
        return Err(FilterError(format!("'{name}' was given an address of the other version of IP")));
    }
    if let Some((_, Protocol::Arp)) = of.protocol {
        return Ok(Expression::Constant(false));
    }
    let compared = sides(of, Field::Source, Field::Destination, |field| Check::address(field, &prefix));
    Ok(Expression::from(Check::packet(Some(prefix.version), of.tags)).and(compared))
}

const ADDRESS: &str = "an address, as in 10.0.0.1 or fe80::1; names are not resolved";
const PREFIX: &str = "an address, or a network as in 10.0.0.0/8, 10.0 or fe80::/10";

fn prefix(reader: &mut Reader<'_>, is_net: bool) -> Result<Prefix, FilterError> {
    let expected = if is_net { PREFIX } else { ADDRESS };
    let Some(Token::Word(word)) = reader.peek() else { return Err(reader.expected(expected)) };
    if let Ok(address) = word.parse::<Ipv6Addr>() {
        reader.skip();
        let length = length(reader, 128)?.unwrap_or(128);
        return Prefix::of_v6(address, length).ok_or_else(|| beyond(word, length));
    }
    let (address, given) =
        dotted(word).filter(|(_, bits)| is_net || *bits == 32).ok_or_else(|| reader.expected(expected))?;
    reader.skip();
    let mask = if is_net && reader.take_word(|word| word == "mask").is_some() {
        let mask = taken(reader, "a mask, as in 255.255.0.0", |word| word.parse::<Ipv4Addr>().ok())?;
        return Prefix::of_v4(address, mask.to_bits())
            .ok_or_else(|| FilterError(format!("'{word}' has bits that are not in the mask {mask}")));
    } else {
        length(reader, 32)?.unwrap_or(given)
    };
    let bits = u32::MAX.checked_shl(32 - mask).unwrap_or(0);
    Prefix::of_v4(address, bits).ok_or_else(|| beyond(word, mask))
}

fn beyond(word: &str, length: u32) -> FilterError {
    FilterError(format!("'{word}' has bits beyond its prefix of {length} bits"))
}

/// Takes the length of a prefix, if there is one.
fn length(reader: &mut Reader<'_>, most: u32) -> Result<Option<u32>, FilterError> {
    if !reader.take(Token::Slash) {
        return Ok(None);
    }
    let what = format!("a length of 0 to {most} bits");
    taken(reader, &what, |word| word.parse().ok().filter(|length| *length <= most)).map(Some)
}

/// An IPv4 address of one to four numbers, and the number of bits that are given.
fn dotted(word: &str) -> Option<(u32, u32)> {
    let parts =
        word.split('.').map(|part| part.parse::<u8>().ok().filter(|_| part.starts_with(|c: char| c.is_ascii_digit())));
    let parts = parts.collect::<Option<Vec<u8>>>()?;
    let mut octets = [0; 4];
    octets.get_mut(..parts.len())?.copy_from_slice(&parts);
    Some((u32::from_be_bytes(octets), 8 * parts.len() as u32))
}

fn port(word: &str) -> Option<u64> {
    number(word).and_then(|port| u16::try_from(port).ok()).map(u64::from)
}

/// A range of ports, in either order, or a single port.
fn port_range(word: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (port(first)?, port(last)?);
    Some(first.min(last)..=first.max(last))
}

fn ports(of: &Qualifiers, range: &RangeInclusive<u64>) -> Result<Expression, FilterError> {
    let protocol = match of.protocol {
        None => None,
        Some((_, Protocol::Over(number @ (protocol::TCP | protocol::UDP | protocol::SCTP), _))) => Some(number),
        Some((name, _)) => return Err(modifier(name, "port", "'tcp', 'udp', 'sctp' or nothing")),
    };
    let compared = sides(of, Field::SourcePort, Field::DestinationPort, |field| Check::range(field, range));
    Ok(Expression::from(Check::ports(of.tags, protocol)).and(compared))
}

fn protocols(reader: &mut Reader<'_>, of: &Qualifiers) -> Result<Expression, FilterError> {
    match of.protocol {
        Some((_, Protocol::Ethernet)) => ethertypes(reader, of.tags),
        None | Some((_, Protocol::Ip(_))) => {
            let version = match of.protocol {
                Some((_, Protocol::Ip(version))) => Some(version),
                _ => None,
            };
            let named = |name: &str| match PROTOCOLS.iter().find(|(known, _)| *known == name)?.1 {
                Protocol::Over(number, _) => Some(number),
                _ => None,
            };
            let of_ip = |word: &str| match word.strip_prefix('\\') {
                Some(name) => named(name),
                None => number(word).and_then(|number| u8::try_from(number).ok()),
            };
            let protocol = taken(reader, "a number of 0 to 255, or a name as in \\tcp", of_ip)?;
            Ok(Check::protocol(version, of.tags, protocol).into())
        }
        Some((name, _)) => Err(modifier(name, "proto", "'ip', 'ip6', 'ether' or nothing")),
    }
}

fn ethertypes(reader: &mut Reader<'_>, tags: u8) -> Result<Expression, FilterError> {
    let of_ethernet = |word: &str| match word.strip_prefix('\\') {
        Some("ip") => Some(ethertype::IPV4),
        Some("ip6") => Some(ethertype::IPV6),
        Some("arp") => Some(0x0806),
        Some("rarp") => Some(0x8035),
        Some(_) => None,
        None => number(word).and_then(|number| u16::try_from(number).ok()),
    };
    match taken(reader, "a number of 0 to 65535, or a name as in \\ip", of_ethernet)? {
        ethertype::IPV4 => Ok(Check::packet(Some(Version::V4), tags).into()),
        ethertype::IPV6 => Ok(Check::packet(Some(Version::V6), tags).into()),
        tag @ (ethertype::VLAN
        | ethertype::QINQ
        | ethertype::QINQ_9100
        | ethertype::QINQ_9200
        | ethertype::QINQ_9300) => Err(FilterError(format!(
            "'ether proto {tag:#06x}' is not supported: expected 'vlan' for packets with a tag"
        ))),
        // Other packets are in no flow.
        _ => Ok(Expression::Constant(false)),
    }
}

/// A MAC address as a number.
fn mac(word: &str) -> Option<u64> {
    let octets = word.split([':', '-', '.']).map(|octet| u8::from_str_radix(octet, 16).ok());
    let octets = octets.collect::<Option<Vec<u8>>>().filter(|octets| octets.len() == 6)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}
