//! Tests of the applications: messages built by hand from their RFCs, complete and cut at every byte, and arbitrary
//! bytes.
#![expect(clippy::unwrap_used, reason = "tests")]

use flowml_common::headers::protocol::{ICMP, TCP, UDP};
use proptest::prelude::*;

use super::{Application, PROTOCOLS};

fn vector8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(data)].concat()
}

/// A record (RFC 8446 §5.1) that contains a `ClientHello` (§4.1.2) with these extensions.
fn client_hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let hello = [
        &[0x03, 0x03][..],
        &[0x5a; 32],
        &vector8(&[7; 32]),
        &vector16(&[0x13, 0x01, 0x13, 0x02]),
        &vector8(&[0]),
        &vector16(&extensions.concat()),
    ]
    .concat();
    let length = (hello.len() as u32).to_be_bytes();
    let message = [&[1], &length[1..], &hello].concat();
    [&[22, 0x03, 0x01][..], &vector16(&message)].concat()
}

/// A list with one name of type 0 (RFC 6066 §3).
fn server_name(name: &str) -> Vec<u8> {
    extension(0, &vector16(&[&[0], &vector16(name.as_bytes())[..]].concat()))
}

/// A list of protocol names (RFC 7301 §3.1).
fn alpn(names: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| vector8(name.as_bytes())).collect();
    extension(16, &vector16(&list))
}

/// A reserved extension (RFC 8701).
fn grease() -> Vec<u8> {
    extension(0x1a1a, &[0])
}

/// A header and a question (RFC 1035 §4.1).
fn dns(flags: u16, name: &[&str], kind: u16, class: u16) -> Vec<u8> {
    let mut bytes = vec![0xbe, 0xef];
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    name.iter().for_each(|label| bytes.extend(vector8(label.as_bytes())));
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    bytes
}

/// A long header with connection ids of 8 and 0 bytes (RFC 9000 §17.2).
fn quic(first: u8, version: u32) -> Vec<u8> {
    [&[first][..], &version.to_be_bytes(), &vector8(&[3; 8]), &[0, 0, 0x44, 0x9e]].concat()
}

#[track_caller]
fn check(transport: u8, bytes: &[u8], expected: Option<(&str, &str, &str)>) {
    let found = Application::of(transport, [bytes, &[]]);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let found = found.map(|found| (found.name, text(&found.server_name), text(&found.detail)));
    let expected = expected.map(|(name, server, detail)| (name, server.to_owned(), detail.to_owned()));
    assert_eq!(found, expected, "{}", bytes.escape_ascii());
}

#[test]
fn a_client_hello_gives_the_server_and_the_application_protocols() {
    let hello = client_hello(&[grease(), server_name("Www.Example.org"), alpn(&["h2", "http/1.1"])]);
    // The record's header, the message's, version and random, session, suites, compression: the extensions start at 5 +
    // 4 + 34 + 33 + 6 + 2 + 2.
    assert_eq!(&hello[86..91], [0x1a, 0x1a, 0, 1, 0]);
    check(TCP, &hello, Some(("TLS", "www.example.org", "h2,http/1.1")));
    check(TCP, &client_hello(&[alpn(&["h2"]), server_name("a.example")]), Some(("TLS", "a.example", "h2")));
    check(TCP, &client_hello(&[]), Some(("TLS", "", "")));
    // Characters that are not valid in a name are escaped.
    check(TCP, &client_hello(&[server_name("a\nb,\"")]), Some(("TLS", "a\\010b,\"", "")));
    check(UDP, &hello, None);
}

#[test]
fn a_truncated_client_hello_gives_its_complete_names() {
    let hello = client_hello(&[grease(), server_name("www.example.org"), alpn(&["h2"])]);
    let name = hello.windows(15).position(|part| part == b"www.example.org").unwrap();
    for cut in 0..=hello.len() {
        let expected = match cut {
            0..5 => None,
            _ if cut < name + 15 => Some(("TLS", "", "")),
            _ if cut < hello.len() => Some(("TLS", "www.example.org", "")),
            _ => Some(("TLS", "www.example.org", "h2")),
        };
        check(TCP, &hello[..cut], expected);
    }
}

#[test]
fn other_records_of_tls_are_recognised() {
    // A ServerHello, application data of 1,400 bytes and an alert, each incomplete.
    check(TCP, &[22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3], Some(("TLS", "", "")));
    check(TCP, &[23, 3, 3, 5, 120, 0x81], Some(("TLS", "", "")));
    check(TCP, &[21, 3, 1, 0, 2, 2, 40], Some(("TLS", "", "")));
    // An unknown type, an unknown version, no bytes, too many bytes.
    for bytes in [[25, 3, 3, 0, 9], [22, 2, 3, 0, 9], [22, 3, 5, 0, 9], [22, 3, 3, 0, 0], [22, 3, 3, 0x48, 1]] {
        check(TCP, &bytes, None);
    }
}

#[test]
fn an_http_request_gives_method_and_host() {
    let request = "GET /a?b=c HTTP/1.1\r\nUser-Agent: x\r\nhOST:  Www.Example.org:8080 \r\n\r\nHost: other\r\n";
    check(TCP, request.as_bytes(), Some(("HTTP", "www.example.org", "GET")));
    check(TCP, b"POST / HTTP/1.0\n\nHost: body\n", Some(("HTTP", "", "POST")));
    check(
        TCP,
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n",
        Some(("HTTP", "[2001:db8::1]", "CONNECT")),
    );
    check(TCP, b"OPTIONS * HTTP/1.1\r\nHost: 2001:db8::1\r\n", Some(("HTTP", "2001:db8::1", "OPTIONS")));
    check(TCP, b"HTTP/1.1 200 OK\r\nHost: no\r\n", Some(("HTTP", "", "")));
    check(TCP, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(("HTTP", "", "")));
    for other in
        ["OPTIONS sip:a@b SIP/2.0\r\n", "OPTIONS rtsp://a RTSP/1.0\r\n", "OPTIONS rtsp:/", "get / HTTP/1.1\r\n", "GET"]
    {
        check(TCP, other.as_bytes(), None);
    }
    check(UDP, request.as_bytes(), None);
}

#[test]
fn a_truncated_request_gives_its_complete_fields() {
    let request = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n";
    for cut in 0..=request.len() {
        let expected = match cut {
            0..4 => None,
            _ if cut < request.len() => Some(("HTTP", "", "GET")),
            _ => Some(("HTTP", "example.org", "GET")),
        };
        check(TCP, &request[..cut], expected);
    }
}

#[test]
fn an_ssh_banner_gives_the_software() {
    check(TCP, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", Some(("SSH", "", "OpenSSH_9.2p1")));
    check(TCP, b"SSH-2.0-dropbear_2022.83\r\n\0\0\x01", Some(("SSH", "", "dropbear_2022.83")));
    check(TCP, b"SSH-1.99-x\n", Some(("SSH", "", "x")));
    check(TCP, b"SSH-2.0-Open", Some(("SSH", "", "")));
    check(TCP, b"SSH-3.0-x\r\n", None);
    check(TCP, b"SSH-2.", None);
}

#[test]
fn a_dns_question_gives_name_and_type() {
    let question = dns(0x0100, &["wWw", "example", "org"], 28, 1);
    assert_eq!(question.len(), 12 + 4 + 8 + 4 + 1 + 4);
    check(UDP, &question, Some(("DNS", "www.example.org", "AAAA")));
    check(UDP, &dns(0x8180, &["example"], 65, 1), Some(("DNS", "example", "HTTPS")));
    check(UDP, &dns(0x0000, &[], 2, 1), Some(("DNS", ".", "NS")));
    // Multicast DNS, with the bit that requests a unicast response.
    check(UDP, &dns(0, &["_ipp", "_tcp", "local"], 12, 0x8001), Some(("DNS", "_ipp._tcp.local", "PTR")));
    check(UDP, &dns(0x0100, &["a.b", "c\\d\u{e9}"], 65_399, 1), Some(("DNS", "a\\.b.c\\\\d\\195\\169", "TYPE65399")));
    // Several questions, and an announcement without a question.
    let mut several = dns(0, &["one", "local"], 255, 1);
    several[5] = 2;
    check(UDP, &several, Some(("DNS", "one.local", "ANY")));
    let mut announced = dns(0x8400, &["linux", "local"], 1, 0x8001);
    (announced[5], announced[7]) = (0, 1);
    check(UDP, &announced, Some(("DNS", "linux.local", "A")));
    let stream = vector16(&question);
    check(TCP, &stream, Some(("DNS", "www.example.org", "AAAA")));
    check(TCP, &stream[..20], Some(("DNS", "", "")));
    check(TCP, &question, None);
}

#[test]
fn a_truncated_question_gives_its_complete_fields() {
    let question = dns(0x0100, &["www", "example", "org"], 1, 1);
    for cut in 0..=question.len() {
        let expected = match cut {
            0..12 => None,
            // The name is not complete up to its root.
            _ if cut < question.len() - 4 => Some(("DNS", "", "")),
            _ if cut < question.len() => Some(("DNS", "www.example.org", "")),
            _ => Some(("DNS", "www.example.org", "A")),
        };
        check(UDP, &question[..cut], expected);
    }
}

#[test]
fn messages_that_only_resemble_dns_are_not_recognised() {
    let good = dns(0x0100, &["www", "example"], 1, 1);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // Invalid messages: no question, too many, a reserved bit, an unknown operation, an error code in a query, a
    // pointer, an unknown class, an unknown type.
    for (at, byte) in
        [(5, 0), (5, 65), (3, 0x40), (2, 0x78), (3, 3), (12, 0xc0), (good.len() - 1, 9), (good.len() - 3, 0)]
    {
        check(UDP, &changed(at, byte), None);
    }
    let long = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(62)];
    let names: Vec<&str> = long.iter().map(String::as_str).collect();
    check(UDP, &dns(0, &names, 1, 1), None);
    // NetBIOS: a query for WORKGROUP (RFC 1001 §14.1).
    check(UDP, &dns(0x0110, &["FHEPFCELEHFCEPFFFACACACACACACABO"], 32, 1), None);
}

#[test]
fn a_long_header_of_quic_gives_the_version() {
    let cases = [
        (0xc3, 1, "1"),
        (0xd3, 0x6b33_43cf, "2"),
        (0xc0, 0xff00_001d, "draft-29"),
        (0xc0, 0x5130_3530, "Q050"),
        (0xc0, 0xface_b002, "faceb002"),
        (0xc0, 0x1a2a_3a4a, "reserved"),
        (0x80, 0, "negotiation"),
    ];
    for (first, version, expected) in cases {
        check(UDP, &quic(first, version), Some(("QUIC", "", expected)));
    }
    // A short header, one without the fixed bit, an unknown version, a connection id that is too long.
    check(UDP, &quic(0x43, 1), None);
    check(UDP, &quic(0x83, 1), None);
    check(UDP, &quic(0xc3, 0x1234_5678), None);
    check(UDP, &[0xc3, 0, 0, 0, 1, 21], None);
    check(UDP, &quic(0xc3, 1)[..5], None);
    check(TCP, &quic(0xc3, 1), None);
}

#[test]
fn the_responders_bytes_are_used_if_the_initiators_give_no_names() {
    let banner = &b"SSH-2.0-server\r\n"[..];
    let detail = |sent| Application::of(TCP, sent).and_then(|application| application.detail);
    assert_eq!(detail([&[], banner]).as_deref(), Some("server"));
    assert_eq!(detail([b"SSH-2.0-client\r\n", banner]).as_deref(), Some("client"));
    assert_eq!(detail([b"SSH-2.0-cut", banner]).as_deref(), Some("server"));
    let request = &b"GET / HTTP/1.1\r\nHost: example.org\r\n"[..];
    // If a capture starts with a response, the server is taken for the initiator.
    let turned = Application::of(TCP, [b"HTTP/1.1 200 OK\r\n", request]).unwrap();
    assert_eq!((turned.server_name.as_deref(), turned.detail.as_deref()), (Some("example.org"), Some("GET")));
    assert_eq!(Application::of(TCP, [request, banner]).map(|application| application.name), Some("HTTP"));
    assert_eq!(Application::of(ICMP, [banner, banner]), None);
    assert_eq!(Application::of(TCP, [&[], &[]]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Random bytes, and the messages above with some bytes changed.
    #[test]
    fn any_bytes_are_accepted(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        which in 0..6usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match which {
            0 => noise,
            1 => client_hello(&[server_name("www.example.org"), grease(), alpn(&["h2", "http/1.1"])]),
            2 => b"GET / HTTP/1.1\r\nHost: example.org:80\r\nAccept: */*\r\n\r\n".to_vec(),
            3 => dns(0x0100, &["www", "example", "org"], 1, 1),
            4 => vector16(&dns(0x8180, &["www", "example", "org"], 16, 1)),
            _ => quic(0xc3, 1),
        };
        for (at, byte) in changes {
            let places = bytes.len().max(1);
            bytes.get_mut(at.index(places)).into_iter().for_each(|place| *place = byte);
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        for transport in [TCP, UDP, ICMP] {
            if let Some(found) = Application::of(transport, [&bytes, &[]]) {
                prop_assert!(PROTOCOLS.iter().any(|known| known.name == found.name));
                // The length is bounded by the bytes (at most four characters for each), and the text is safe in every
                // output.
                for text in found.server_name.iter().chain(&found.detail) {
                    prop_assert!(!text.is_empty() && text.len() <= 4 * bytes.len().max(3));
                    prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
                }
            }
        }
    }
}
