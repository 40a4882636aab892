//! HTTP/1 (RFC 9112): method and Host of a request. Responses and the start of HTTP/2 are recognised.

use super::{Details, visible};

/// The methods of RFC 9110 §9, RFC 5789 and WebDAV (RFC 4918 §9, RFC 3253 §3).
const METHODS: [&[u8]; 18] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
];

/// The first line that an HTTP/2 client sends (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Parses the start of a message.
pub(super) fn read(bytes: &[u8]) -> Option<Details> {
    if bytes.starts_with(b"HTTP/1.") || bytes.starts_with(PREFACE) {
        return Some(Details::default());
    }
    let (line, headers) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (bytes[..end].trim_ascii_end(), Some(&bytes[end + 1..])),
        None => (bytes, None),
    };
    let (method, target) = split_once(line, b' ')?;
    let is_method = METHODS.contains(&method);
    let is_target = match headers {
        Some(_) => target.windows(8).any(|part| part == b" HTTP/1."),
        // RTSP and SIP share some methods. Their request targets start with the name of their scheme.
        None => method == b"CONNECT" || matches!(target.first(), None | Some(b'/' | b'*' | b'h')),
    };
    if !is_method || !is_target {
        return None;
    }
    Some(Details { server_name: headers.and_then(host), detail: visible(method) })
}

fn host(mut headers: &[u8]) -> Option<String> {
    // A line without its end may be incomplete.
    while let Some((line, rest)) = split_once(headers, b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return None;
        }
        if let Some((name, value)) = split_once(line, b':')
            && name.eq_ignore_ascii_case(b"host")
        {
            return visible(without_port(value.trim_ascii()));
        }
        headers = rest;
    }
    None
}

/// The host of `host`, `host:port` or `[address]:port`.
fn without_port(host: &[u8]) -> &[u8] {
    let Some(colon) = host.iter().rposition(|byte| *byte == b':') else { return host };
    let (name, port) = (&host[..colon], &host[colon + 1..]);
    let is_port = port.iter().all(u8::is_ascii_digit) && (!name.contains(&b':') || name.ends_with(b"]"));
    if is_port { name } else { host }
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}
