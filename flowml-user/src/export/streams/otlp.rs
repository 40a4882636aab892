//! Sends rows as log records to a collector of OpenTelemetry: OTLP 1.x over HTTP with Protocol Buffers.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::origin::Origin;
use super::super::remote::{Client, Connections, Failure};
use super::super::target::Url;
use super::attributes::{SCHEMA, number_attribute, text_attribute};
use super::credentials::Credentials;
use super::deliver::{Deliver, Refused};
use super::protobuf::{Field, content, fields, message};
use super::rows::Rows;

/// The path of logs (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/logs";

/// A collector of OpenTelemetry.
pub(super) struct Otlp {
    client: Client,
    /// The encoded `Resource`: the agent.
    resource: Vec<u8>,
    /// The encoded `InstrumentationScope`.
    scope: Vec<u8>,
}

impl Otlp {
    /// Credentials are a header, `NAME: VALUE`.
    pub(super) fn open(url: &Url, credentials: Option<Credentials>, origin: &Origin) -> io::Result<Self> {
        let mut client = Client::open(url, PATH, Connections::Kept)?.with_header("Content-Encoding", "gzip");
        if let Some(credentials) = credentials {
            let header = credentials.pair().map(|(name, value)| (name.trim(), value.trim()));
            let (name, value) = header.filter(|(name, value)| is_header(name, value)).ok_or_else(|| {
                io::Error::new(ErrorKind::InvalidData, "the credentials: expected a header, NAME: VALUE")
            })?;
            client = client.with_header(name, value);
        }
        let version = env!("CARGO_PKG_VERSION");
        let mut resource = Vec::new();
        text_attribute(&mut resource, 1, "service.name", "flowml");
        text_attribute(&mut resource, 1, "service.version", version);
        text_attribute(&mut resource, 1, "service.instance.id", &origin.agent);
        number_attribute(&mut resource, 1, "flowml.generation", origin.generation);
        let mut scope = Vec::new();
        content(&mut scope, 1, b"flowml");
        content(&mut scope, 2, version.as_bytes());
        Ok(Self { client, resource, scope })
    }

    /// An `ExportLogsServiceRequest` with these `log_records`.
    fn request(&self, records: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(records.len() + 1024);
        message(&mut bytes, 1, |bytes| {
            content(bytes, 1, &self.resource);
            message(bytes, 2, |bytes| {
                content(bytes, 1, &self.scope);
                bytes.extend_from_slice(records);
                content(bytes, 3, SCHEMA.as_bytes());
            });
            content(bytes, 3, SCHEMA.as_bytes());
        });
        bytes
    }

    fn send(&self, records: &[u8], limit: Duration) -> Result<Refused, Failure> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = packed.write_all(&self.request(records)).and_then(|()| packed.finish());
        let body = packed.map_err(|error| Failure::Later(error.to_string()))?;
        self.client.exchange("application/x-protobuf", &body, limit).map(|answer| refusal(&answer))
    }
}

impl Deliver for Otlp {
    fn connect(&mut self, limit: Duration) -> Result<(), Failure> {
        self.send(&[], limit).map(drop)
    }

    fn deliver(&mut self, rows: &Rows, limit: Duration) -> Result<Refused, Failure> {
        let refused = self.send(rows.joined(), limit)?;
        Ok(Refused { rows: refused.rows.min(rows.len()), ..refused })
    }
}

/// Whether this is a header of HTTP (RFC 9110 §5).
fn is_header(name: &str, value: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !name.is_empty() && name.bytes().all(is_name) && !value.is_empty() && value.bytes().all(is_value)
}

/// The refused records in an `ExportLogsServiceResponse`.
fn refusal(answer: &[u8]) -> Refused {
    let mut refused = Refused::none();
    let partial = fields(answer).find_map(|field| match field {
        (1, Field::Content(partial)) => Some(partial),
        _ => None,
    });
    for field in fields(partial.unwrap_or_default()) {
        match field {
            (1, Field::Integer(rows)) => refused.rows = rows,
            (2, Field::Content(why)) => refused.why = String::from_utf8_lossy(why).into_owned(),
            _ => {}
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::integer;
    use super::*;

    #[test]
    fn an_answer_states_how_many_records_are_refused() {
        assert_eq!(refusal(b""), Refused::none());
        let mut answer = Vec::new();
        message(&mut answer, 1, |bytes| {
            integer(bytes, 1, 3);
            content(bytes, 2, b"too old");
        });
        assert_eq!(refusal(&answer), Refused { rows: 3, why: "too old".to_owned() });
        assert_eq!(refusal(b"not protobuf at all").rows, 0);
    }

    #[test]
    fn credentials_are_a_header() {
        assert!(is_header("api-key", "a b:c"));
        for (name, value) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "b\u{7f}"), ("ä", "b")] {
            assert!(!is_header(name, value), "{name}: {value}");
        }
    }
}
