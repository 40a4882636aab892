//! Primitives: a keyword, or keywords and a value.

use flowml_common::filter::Field;
use flowml_common::tunnel::TunnelKind;

use super::check::{Check, Version};
use super::error::FilterError;
use super::expression::Expression;
use super::reader::Reader;
use super::token::{Relation, Token};
use super::value::{PROTOCOLS, Protocol, Qualifiers, Side, What, is_value, number, values};

/// A primitive that was read.
pub(super) struct Primitive {
    pub(super) expression: Expression,
    /// The keywords that a following value without keywords has.
    pub(super) last: Option<Qualifiers>,
    /// Number of tags of the packets to which the following primitives apply.
    pub(super) tags: u8,
    /// Whether it selects by tunnel.
    pub(super) needs_tunnels: bool,
}

/// The keywords that flowml supports, for messages.
const SUPPORTED: &str = "host, net, port, portrange, proto, src, dst, ip, ip6, tcp, udp, sctp, icmp, icmp6, ether, vlan, tunnel, less, \
     greater or len";

/// Keywords of pcap-filter(7) that flowml does not support, with the reason.
const UNSUPPORTED: [(&[&str], &str); 6] = [
    (
        &["mpls", "pppoes", "pppoed", "geneve", "vxlan"],
        "with '--tunnels inner' the expression applies to the packet inside; expected 'tunnel KIND' or 'tunnel KIND NUMBER'",
    ),
    (&["gateway"], "names are not resolved; expected 'ether host' and 'not host'"),
    (&["protochain"], "expected 'proto', which applies to the protocol behind all extension headers"),
    (&["inbound", "outbound"], "expected '--direction' for the packets that are counted"),
    (
        &[
            "ifname",
            "on",
            "rnr",
            "rulenum",
            "reason",
            "rset",
            "ruleset",
            "srnr",
            "subrulenum",
            "action",
            "wlan",
            "fddi",
            "tr",
        ],
        "it needs a link layer that flowml does not read",
    ),
    (
        &[
            "atalk", "aarp", "decnet", "iso", "stp", "ipx", "netbeui", "lat", "moprc", "mopdl", "llc", "esis", "isis",
            "clnp",
        ],
        "only packets of IP are in flows",
    ),
];

/// Reads a primitive that applies to packets with this number of tags.
pub(super) fn primitive(reader: &mut Reader<'_>, tags: u8) -> Result<Primitive, FilterError> {
    let alone = |expression| Primitive { expression, last: None, tags, needs_tunnels: false };
    if let [Token::Word(word), Token::Bracket, ..] = reader.rest() {
        return Err(FilterError(format!(
            "'{word}[' reads bytes of the packet, which a filter of flowml cannot: expected {SUPPORTED}"
        )));
    }
    let Some(Token::Word(word)) = reader.peek() else {
        return Err(reader.expected("a primitive, as in 'tcp port 80'"));
    };
    match word {
        "vlan" => {
            reader.skip();
            return vlan(reader, tags);
        }
        "tunnel" => {
            reader.skip();
            return Ok(Primitive { needs_tunnels: true, ..alone(tunnel(reader)?) });
        }
        "less" | "greater" => {
            reader.skip();
            let relation = if word == "less" { Relation::LessOrEqual } else { Relation::GreaterOrEqual };
            return Ok(alone(length(relation, bytes(reader)?)));
        }
        "len" => {
            reader.skip();
            let relation = relation(reader)?;
            return Ok(alone(length(relation, bytes(reader)?)));
        }
        "broadcast" | "multicast" => {
            reader.skip();
            return Ok(alone(to_many(word)));
        }
        word if is_value(word) => {
            if let Some(bytes) = number(word)
                && let [_, Token::Relation(..), ..] = reader.rest()
            {
                reader.skip();
                let relation = relation(reader)?.reversed();
                reader.take_word(|word| word == "len").ok_or_else(|| reader.expected("'len'"))?;
                return Ok(alone(length(relation, bytes)));
            }
            return Err(FilterError(format!(
                "expected a keyword before '{word}', as in 'host {word}' or 'port {word}'"
            )));
        }
        _ => {}
    }
    qualified(reader, tags)
}

/// Reads the keywords of a protocol, a side and a type, and the value after them.
fn qualified(reader: &mut Reader<'_>, tags: u8) -> Result<Primitive, FilterError> {
    let known = |word: &str| PROTOCOLS.into_iter().find(|(name, _)| *name == word);
    let protocol = reader.take_word(|word| known(word).is_some()).and_then(known);
    let side = side(reader);
    let what = reader.take_word(|word| what_of(word).is_some()).and_then(what_of);
    let done = |expression, last| Ok(Primitive { expression, last, tags, needs_tunnels: false });
    match (protocol, side, what) {
        (Some((name, protocol)), None, None) => {
            if let Some(word) = reader.take_word(|word| matches!(word, "broadcast" | "multicast")) {
                return done(to_many_of((name, protocol), word, tags)?, None);
            }
            done(abbreviated(protocol, tags, reader)?, None)
        }
        (None, None, None) => Err(unknown(reader)),
        (protocol, side, what) => {
            let of =
                Qualifiers { protocol, side: side.unwrap_or(Side::Either), what: what.unwrap_or(What::Host), tags };
            if what == Some(What::Protocol) && side.is_some() {
                return Err(FilterError("'src' and 'dst' cannot be before 'proto'".to_owned()));
            }
            done(values(reader, of)?, Some(of))
        }
    }
}

fn what_of(word: &str) -> Option<What> {
    Some(match word {
        "host" => What::Host,
        "net" => What::Net,
        "port" => What::Port,
        "portrange" => What::PortRange,
        "proto" => What::Protocol,
        _ => return None,
    })
}

/// The error for a word that begins no primitive.
fn unknown(reader: &Reader<'_>) -> FilterError {
    let Some(Token::Word(word)) = reader.peek() else { return reader.expected("a keyword") };
    match UNSUPPORTED.iter().find(|(words, _)| words.contains(&word)) {
        Some((_, reason)) => FilterError(format!("'{word}' is not supported: {reason}")),
        None => FilterError(format!("'{word}' is not supported: expected {SUPPORTED}")),
    }
}

/// Reads `src`, `dst`, or both with a connection.
fn side(reader: &mut Reader<'_>) -> Option<Side> {
    let is_side = |word: &str| matches!(word, "src" | "dst");
    let first = reader.take_word(is_side)?;
    let of = |word| if word == "src" { Side::Source } else { Side::Destination };
    let is_and = match reader.rest() {
        [Token::And(_), Token::Word(second @ ("src" | "dst")), ..] if *second != first => true,
        [Token::Or(_), Token::Word(second @ ("src" | "dst")), ..] if *second != first => false,
        _ => return Some(of(first)),
    };
    reader.skip();
    reader.skip();
    Some(if is_and { Side::Both } else { Side::Either })
}

/// A protocol without a value.
fn abbreviated(protocol: Protocol, tags: u8, reader: &Reader<'_>) -> Result<Expression, FilterError> {
    match protocol {
        Protocol::Ethernet => Err(reader.expected("'host', 'proto', 'multicast' or 'broadcast'")),
        Protocol::Arp => Ok(Expression::Constant(false)),
        Protocol::Ip(version) => Ok(Check::packet(Some(version), tags).into()),
        Protocol::Over(number, version) => Ok(Check::protocol(version, tags, number).into()),
    }
}

/// The bit of a MAC address that several hosts receive.
const GROUP: u64 = 1 << 40;

const ALL_HOSTS: u64 = 0xffff_ffff_ffff;

fn to_many(word: &str) -> Expression {
    let mask = if word == "multicast" { GROUP } else { ALL_HOSTS };
    Check::mac(Field::DestinationMac, mask, mask).into()
}

fn to_many_of((name, protocol): (&str, Protocol), word: &str, tags: u8) -> Result<Expression, FilterError> {
    let behind = |version, check| Ok(Expression::from(Check::packet(Some(version), tags)).and(check));
    match (protocol, word) {
        (Protocol::Ethernet, _) => Ok(to_many(word)),
        (Protocol::Ip(Version::V4), "multicast") => behind(Version::V4, Check::first_octet_of_v4(224)),
        (Protocol::Ip(Version::V6), "multicast") => behind(Version::V6, Check::first_octet_of_v6(0xff)),
        (Protocol::Ip(Version::V4), _) => Err(FilterError(
            "'ip broadcast' needs the mask of the network: expected 'dst host' with the address, or 'broadcast'"
                .to_owned(),
        )),
        _ => Err(FilterError(format!("'{name}' cannot be before '{word}': expected 'ip', 'ip6', 'ether' or nothing"))),
    }
}

fn vlan(reader: &mut Reader<'_>, tags: u8) -> Result<Primitive, FilterError> {
    let tagged = Expression::from(Check::has_tag(tags));
    let expression = match reader.take_word(|word| number(word).is_some()) {
        Some(word) => {
            let mut ids = vlan_id(word, tags)?;
            // libpcap has no list of ids: a second `vlan` is about the next tag.
            while let [Token::Or(_), Token::Word(word), rest @ ..] = reader.rest()
                && number(word).is_some()
                && !matches!(rest, [Token::Relation(..), ..])
            {
                ids = ids.or(vlan_id(word, tags)?);
                reader.skip();
                reader.skip();
            }
            tagged.and(ids)
        }
        None => tagged,
    };
    // Packets in flows have at most two tags.
    let expression = if tags < 2 { expression } else { Expression::Constant(false) };
    Ok(Primitive { expression, last: None, tags: tags.saturating_add(1).min(14), needs_tunnels: false })
}

/// The tag after the first `tags` ones has this VLAN id.
fn vlan_id(word: &str, tags: u8) -> Result<Expression, FilterError> {
    let id = number(word).and_then(|id| u16::try_from(id).ok()).filter(|id| *id < 4096);
    let id = id.ok_or_else(|| FilterError(format!("'vlan {word}' is not a VLAN id: expected 0 to 4095")))?;
    Ok(Check::vlan(tags, id).map_or(Expression::Constant(false), Expression::from))
}

fn tunnel(reader: &mut Reader<'_>) -> Result<Expression, FilterError> {
    let named = |word: &str| TunnelKind::ALL.iter().copied().find(|kind| kind.name() == word);
    let Some(kind) = reader.take_word(|word| named(word).is_some()).and_then(named) else {
        return match reader.peek() {
            Some(Token::Word(_)) => {
                let names: Vec<&str> = TunnelKind::ALL.iter().map(|kind| kind.name()).collect();
                Err(reader.expected(&format!("one of {}, or nothing", names.join(", "))))
            }
            _ => Ok(Check::in_tunnel().into()),
        };
    };
    let id = reader.take_word(|word| number(word).is_some()).and_then(number);
    if id.is_some() && !kind.has_id_in_key() {
        return Err(FilterError(format!(
            "'tunnel {}' has no number in the key of a flow: expected the kind alone",
            kind.name()
        )));
    }
    Ok(Check::tunnel(kind as u8, id).into())
}

fn relation(reader: &mut Reader<'_>) -> Result<Relation, FilterError> {
    let Some(Token::Relation(relation, _)) = reader.peek() else {
        return Err(reader.expected("one of <, <=, >, >=, = and !="));
    };
    reader.skip();
    Ok(relation)
}

fn bytes(reader: &mut Reader<'_>) -> Result<u32, FilterError> {
    let word = reader.take_word(|word| number(word).is_some());
    word.and_then(number).ok_or_else(|| reader.expected("a number of bytes"))
}

/// The length of the frame has a relation to a number.
fn length(relation: Relation, bytes: u32) -> Expression {
    let most = u64::from(u32::MAX);
    let bytes = u64::from(bytes);
    let within = |range| Expression::from(Check::range(Field::Length, &range));
    match relation {
        Relation::Equal => within(bytes..=bytes),
        Relation::Different => within(bytes..=bytes).negated(),
        Relation::LessOrEqual => within(0..=bytes),
        Relation::Greater => within(0..=bytes).negated(),
        Relation::GreaterOrEqual => within(bytes..=most),
        Relation::Less => within(bytes..=most).negated(),
    }
}
