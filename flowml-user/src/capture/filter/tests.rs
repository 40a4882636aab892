//! Tests: which expressions are accepted, which are refused with which message, and that tests decide as the expression.

use flowml_common::filter::{Field, Filter, Subject};
use flowml_common::headers::protocol;
use proptest::prelude::*;

use super::PacketFilter;
use super::check::Check;
use super::compile::compile;
use super::expression::Expression;

fn tests_of(text: &str) -> usize {
    text.parse::<PacketFilter>().unwrap_or_else(|error| panic!("{text}: {error}")).tests()
}

fn refused(text: &str) -> String {
    text.parse::<PacketFilter>().expect_err(text).to_string()
}

/// Expressions that tcpdump accepts, too.
const ACCEPTED: [&str; 66] = [
    "src 10.0.0.1",
    "net 10",
    "net 10.1/16",
    "net 10.0.0.0 mask 255.0.0.0",
    "port 80 or 443",
    "tcp port (80 or 443)",
    "not port 80 and 443",
    "src or dst port 5",
    "src and dst host 1.2.3.4",
    "ip proto 6",
    "ip proto \\tcp",
    "proto 6",
    "ip6 proto 6",
    "proto 6 or 17",
    "len > 100",
    "100 < len",
    "len>=100",
    "len=100",
    "len == 100",
    "len != 100",
    "less 100",
    "greater 0x10",
    "vlan",
    "vlan 5 and tcp",
    "vlan and vlan 7 and icmp6",
    "ether host 00:11:22:33:44:55",
    "ether src 00:11:22:33:44:55",
    "ether multicast",
    "multicast",
    "broadcast",
    "ip multicast",
    "ip6 multicast",
    "ether proto 0x800",
    "ether proto \\ip",
    "ether proto 0x88cc",
    "tcp portrange 1-5",
    "portrange 5",
    "portrange 9-5",
    "net ::1",
    "net fe80::/10",
    "net ::/0",
    "net 0.0.0.0/0",
    "src net 10.1",
    "tcp src port 5",
    "!tcp",
    "tcp && udp || icmp",
    "host 1.2.3.4 and not 1.2.3.5",
    "host 1.2.3.4 or (1.2.3.5)",
    "host not 1.2.3.4",
    "port not 80",
    "not not tcp",
    "ip src 1.2.3.5",
    "sctp dst port 4",
    "icmp6",
    "arp",
    "arp host 1.2.3.4",
    "ip and tcp port 80",
    "igmp or esp or ah or pim or vrrp or carp or igrp or rarp",
    "host ::1/128",
    "ip6 net fe80::/10",
    "src host 1.2.3.4 or dst 1.2.3.5 or 1.2.3.6",
    "udp portrange 5-5",
    "port 80 and not (443 or 444)",
    "(tcp or udp) and port 53",
    "src and dst port 53",
    "host fe80::1 and port 0",
];

#[test]
fn expressions_of_tcpdump_are_accepted() {
    for text in ACCEPTED {
        assert!((1..=Filter::LENGTH).contains(&tests_of(text)), "{text}");
    }
}

#[test]
fn errors_name_what_was_wrong_and_what_was_expected() {
    let cases = [
        ("tcp[13] & 2 != 0", "'tcp[' reads bytes of the packet, which a filter of flowml cannot: expected host, net"),
        ("ip[8] > 5", "'ip[' reads bytes of the packet"),
        ("len & 1 = 1", "'&' is not supported: numbers cannot be computed"),
        (
            "host example.com",
            "expected an address, as in 10.0.0.1 or fe80::1; names are not resolved after 'host', but found 'example.com'",
        ),
        ("port http", "expected a port of 0 to 65535; names are not supported after 'port', but found 'http'"),
        ("port 70000", "expected a port of 0 to 65535"),
        ("10.0.0.1", "expected a keyword before '10.0.0.1', as in 'host 10.0.0.1'"),
        ("tcp and 80", "expected a keyword before '80'"),
        ("(port 80) or 443", "expected a keyword before '443'"),
        ("tcp host 10.0.0.1", "'tcp' cannot be before 'host': expected 'ip', 'ip6' or nothing"),
        ("ip port 80", "'ip' cannot be before 'port': expected 'tcp', 'udp', 'sctp' or nothing"),
        ("udp proto 4", "'udp' cannot be before 'proto'"),
        ("net 10.0.0.1/8", "'10.0.0.1' has bits beyond its prefix of 8 bits"),
        ("net fe80::1/10", "'fe80::1' has bits beyond its prefix of 10 bits"),
        ("net 10.1.0.0 mask 255.0.0.0", "'10.1.0.0' has bits that are not in the mask 255.0.0.0"),
        ("net 10.0.0.0/33", "expected a length of 0 to 32 bits after '/', but found '33'"),
        ("host 10.1", "expected an address"),
        ("ip6 host 1.2.3.4", "'ip6' was given an address of the other version of IP"),
        ("ip proto tcp", "expected a number of 0 to 255, or a name as in \\tcp after 'proto', but found 'tcp'"),
        ("ip proto 300", "expected a number of 0 to 255"),
        ("ether proto 0x8100", "'ether proto 0x8100' is not supported: expected 'vlan'"),
        ("vlan 5000", "'vlan 5000' is not a VLAN id: expected 0 to 4095"),
        ("geneve 5", "'geneve' is not supported: with '--tunnels inner'"),
        ("tunnel gtpu 5", "'tunnel gtpu' has no number in the key of a flow"),
        ("tunnel teredo", "expected one of vxlan, geneve"),
        ("ip broadcast", "'ip broadcast' needs the mask of the network"),
        ("tcp multicast", "'tcp' cannot be before 'multicast'"),
        ("inbound", "'inbound' is not supported: expected '--direction'"),
        ("stp", "'stp' is not supported: only packets of IP are in flows"),
        ("foo", "'foo' is not supported: expected host, net"),
        ("(tcp", "expected ')' after 'tcp', but the expression ends"),
        ("tcp)", "expected 'and', 'or' or the end after 'tcp', but found ')'"),
        ("tcp udp", "expected 'and', 'or' or the end after 'tcp', but found 'udp'"),
        ("tcp or", "expected a primitive, as in 'tcp port 80' after 'or', but the expression ends"),
        ("", "expected a primitive, as in 'tcp port 80' at the start, but the expression ends"),
        ("ether host 1.2.3.4", "expected a MAC address, as in 02:00:00:00:00:01"),
        ("less", "expected a number of bytes after 'less'"),
        ("src proto 6", "'src' and 'dst' cannot be before 'proto'"),
        ("ether", "expected 'host', 'proto', 'multicast' or 'broadcast' after 'ether', but the expression ends"),
        ("tcp and ü", "'ü' is not supported"),
    ];
    for (text, message) in cases {
        let found = refused(text);
        assert!(found.starts_with(message), "{text}: {found}");
    }
    let deep = format!("{}tcp{}", "(".repeat(101), ")".repeat(101));
    assert!(refused(&deep).starts_with("more than 100 parentheses"), "{}", refused(&deep));
}

#[test]
fn an_expression_that_needs_too_many_tests_is_refused() {
    let hosts = |count: u32| {
        let hosts: Vec<String> = (0..count).map(|n| format!("host 10.0.{}.{}", n / 256, n % 256)).collect();
        hosts.join(" or ")
    };
    assert_eq!(tests_of(&hosts(42)), 126);
    assert_eq!(refused(&hosts(43)), "the expression needs 129 tests, and a filter has at most 128");
    assert!(refused(&hosts(300)).starts_with("the expression needs 900 tests"));
}

#[test]
fn a_test_is_not_made_twice_and_what_is_constant_needs_none() {
    assert_eq!((tests_of("tcp"), tests_of("tcp or tcp"), tests_of("tcp and not tcp")), (1, 1, 1));
    assert_eq!((tests_of("arp"), tests_of("arp or tcp"), tests_of("not arp and udp")), (1, 1, 1));
    assert_eq!((tests_of("vlan"), tests_of("vlan 5 or 6 or 7"), tests_of("vlan 5 or vlan 6")), (1, 4, 4));
    assert_eq!((tests_of("port 53"), tests_of("tcp port 80 or 443")), (3, 6));
}

/// What a check decides, without the code of the kernel.
fn holds(check: &Check, subject: &[[u64; 2]; 8]) -> bool {
    let [high, low] = subject[check.field as usize];
    let masked = low & check.low_mask;
    high & check.high_mask == check.high && masked >= check.low && masked - check.low <= check.span
}

fn decides(expression: &Expression, subject: &[[u64; 2]; 8]) -> bool {
    match expression {
        Expression::Constant(result) => *result,
        Expression::Check(check) => holds(check, subject),
        Expression::And(one, other) => decides(one, subject) && decides(other, subject),
        Expression::Or(one, other) => decides(one, subject) || decides(other, subject),
        Expression::Not(inner) => !decides(inner, subject),
    }
}

fn check() -> impl Strategy<Value = Check> {
    let fields = [Field::Source, Field::Destination, Field::SourcePort, Field::Kind];
    (prop::sample::select(fields.to_vec()), 0..4_u64, 0..4_u64, 0..4_u64).prop_map(|(field, mask, low, span)| Check {
        field,
        high_mask: mask,
        high: mask & low,
        low_mask: 3,
        low,
        span,
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Expression::Constant),
        8 => check().prop_map(Expression::Check),
    ];
    leaf.prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| one.and(other)),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| one.or(other)),
            inner.prop_map(Expression::negated),
        ]
    })
}

proptest! {
    #[test]
    fn tests_decide_as_their_expression(expression in expression(), subjects in prop::collection::vec(any::<[[u64; 2]; 8]>(), 8)) {
        let tests = compile(&expression);
        let filter = Filter::new(&tests).expect("jumps go forward");
        for subject in subjects {
            // Small numbers, so that both results occur.
            let values = subject.map(|halves| halves.map(|half| half & 3));
            let packet: Subject = bytemuck::cast(values);
            prop_assert_eq!(filter.selects(&packet), decides(&expression, &values));
        }
    }
}

#[test]
fn a_filter_with_invalid_jumps_is_refused() {
    let tests = compile(&Expression::from(Check::protocol(None, 0, protocol::TCP)));
    assert!(Filter::new(&tests).is_some());
    let changed = |change: fn(&mut flowml_common::filter::Test)| {
        let mut tests = tests.clone();
        change(&mut tests[0]);
        Filter::new(&tests)
    };
    assert_eq!(changed(|test| test.yes = 0), None);
    assert_eq!(changed(|test| test.no = 1), None);
    assert_eq!(changed(|test| test.field = 8), None);
    assert_eq!(Filter::new(&[]), None);
}
