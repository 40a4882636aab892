//! The application of a flow, from the first payload bytes of both directions. Ports and addresses are not used.
//!
//! Only the existing bytes are parsed. A field that the limit or the capture has cut off is absent: a name is complete
//! or missing.

mod dns;
mod http;
mod quic;
mod reader;
mod ssh;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt::Write as _;

use flowml_common::headers::protocol;

/// A recognised application protocol.
pub struct Protocol {
    /// The name in records.
    pub name: &'static str,
    /// The transport protocols that are examined, each with its parser.
    over: &'static [Transport],
    /// The description of the server name for the documents. Empty if the application has no server name.
    pub server_name: &'static str,
    /// The description of the detail for the documents.
    pub detail: &'static str,
}

/// A transport protocol and the parser of a message over it. The parser returns `None` for a message of another
/// application.
type Transport = (u8, fn(&[u8]) -> Option<Details>);

/// The fields that the bytes of one direction contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    server_name: Option<String>,
    detail: Option<String>,
}

/// All protocols, in the order in which they are tried.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "TLS",
        over: &[(protocol::TCP, tls::read)],
        server_name: "name in the ClientHello (SNI)",
        detail: "application protocols that the client offers (ALPN)",
    },
    Protocol {
        name: "HTTP",
        over: &[(protocol::TCP, http::read)],
        server_name: "Host, without its port",
        detail: "method",
    },
    Protocol { name: "SSH", over: &[(protocol::TCP, ssh::read)], server_name: "", detail: "software in the banner" },
    Protocol {
        name: "DNS",
        over: &[(protocol::UDP, dns::read), (protocol::TCP, dns::read_stream)],
        server_name: "queried or announced name",
        detail: "its type",
    },
    Protocol {
        name: "QUIC",
        over: &[(protocol::UDP, quic::read)],
        server_name: "",
        detail: "version in the long header",
    },
];

/// The application of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The name of one of [`PROTOCOLS`].
    pub name: &'static str,
    /// The requested server, in lower case.
    pub server_name: Option<String>,
    /// See [`Protocol::detail`].
    pub detail: Option<String>,
}

impl Application {
    /// Recognises the application by the first bytes of initiator and responder. The initiator's bytes are parsed
    /// first. Fields that they do not contain come from the responder's bytes, if these are of the same application.
    #[must_use]
    pub fn of(transport: u8, sent: [&[u8]; 2]) -> Option<Self> {
        let [initiator, responder] = sent.map(|bytes| Self::of_message(transport, bytes));
        match (initiator, responder) {
            (Some(one), Some(other)) if one.name == other.name => Some(Self {
                name: one.name,
                server_name: one.server_name.or(other.server_name),
                detail: one.detail.or(other.detail),
            }),
            (one, other) => one.or(other),
        }
    }

    fn of_message(transport: u8, bytes: &[u8]) -> Option<Self> {
        PROTOCOLS.iter().find_map(|&Protocol { name, over, .. }| {
            let (_, read) = over.iter().find(|(over, _)| *over == transport)?;
            let Details { server_name, detail } = read(bytes)?;
            Some(Self { name, server_name: server_name.map(|name| name.to_ascii_lowercase()), detail })
        })
    }
}

/// The bytes as text that is safe in every output: bytes other than visible ASCII become `\DDD`, as in RFC 1035 §5.1.
/// `None` if there are no bytes.
fn visible(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x21..=0x7e => text.push(char::from(*byte)),
            other => write!(text, "\\{other:03}").expect("a string takes all"),
        }
    }
    (!text.is_empty()).then_some(text)
}
