//! Posts to HTTP servers, and decides from the answer whether a request is tried again.

#[cfg(feature = "http")]
use std::error::Error;
use std::io;
use std::time::Duration;

#[cfg(feature = "http")]
use base64::Engine as _;
#[cfg(feature = "http")]
use base64::engine::general_purpose::STANDARD;

use super::super::target::Url;
#[cfg(feature = "http")]
use super::authorities;
use super::failure::Failure;

/// Whether requests share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::export) enum Connections {
    /// Each request has a connection of its own: requests are rare.
    Separate,
    /// A request uses the connection of the last one, if it is still open.
    Kept,
}

/// A client for one server.
#[cfg(feature = "http")]
pub(in crate::export) struct Client {
    agent: ureq::Agent,
    url: String,
    /// The headers of every request.
    headers: Vec<(String, String)>,
}

#[cfg(feature = "http")]
impl Client {
    /// Reads the certificates of trusted authorities for `https`. `suffix` follows the path of the URL.
    pub(in crate::export) fn open(url: &Url, suffix: &str, connections: Connections) -> io::Result<Self> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(usize::from(connections == Connections::Kept))
            .user_agent(concat!("flowml/", env!("CARGO_PKG_VERSION")));
        if url.is_secure() {
            config = config.tls_config(trust()?);
        }
        let authorization = url.user().map(|user| format!("Basic {}", STANDARD.encode(user)));
        let headers = authorization.map(|value| ("Authorization".to_owned(), value)).into_iter().collect();
        Ok(Self { agent: config.build().new_agent(), url: url.request(suffix), headers })
    }

    /// Adds a header to every request.
    #[must_use]
    pub(in crate::export) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Posts a body of JSON.
    pub(in crate::export) fn post(&self, body: &str, limit: Duration) -> Result<(), Failure> {
        self.send("application/json", body.as_bytes(), limit).map(drop)
    }

    /// Posts a body of this type. Returns the body of the answer.
    pub(in crate::export) fn exchange(&self, kind: &str, body: &[u8], limit: Duration) -> Result<Vec<u8>, Failure> {
        let mut response = self.send(kind, body, limit)?;
        // The request was accepted, so an answer that cannot be read is an empty one.
        Ok(response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec().unwrap_or_default())
    }

    fn send(&self, kind: &str, body: &[u8], limit: Duration) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let mut request = self.agent.post(&self.url).config().timeout_global(Some(limit)).build();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = request.header("Content-Type", kind).send(body);
        let response = sent.map_err(|error| Failure::Later(reason(&error)))?;
        answered(response.status().as_u16(), response.status().canonical_reason())?;
        Ok(response)
    }
}

/// The longest body of an answer that is read, bytes.
#[cfg(feature = "http")]
const LONGEST_ANSWER: u64 = 64 << 10;

/// The authorities that this host trusts, for the client.
#[cfg(feature = "http")]
fn trust() -> io::Result<ureq::tls::TlsConfig> {
    let certificates = authorities::certificates()?;
    let roots: Vec<_> =
        certificates.iter().map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned()).collect();
    let config = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::from(roots));
    Ok(config.unversioned_rustls_crypto_provider(authorities::provider()).build())
}

/// The reason of an error, without the URL.
#[cfg(feature = "http")]
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>) => {
            format!("TLS: {error}")
        }
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Tls(error) => format!("TLS: {error}"),
        ureq::Error::Protocol(_) => "its answer is not HTTP".to_owned(),
        ureq::Error::HostNotFound => "its name resolves to no address".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "its URL is not valid".to_owned(),
        error => error.to_string(),
    }
}

/// A build without the feature `http` has no client.
#[cfg(not(feature = "http"))]
pub(in crate::export) struct Client(std::convert::Infallible);

#[cfg(not(feature = "http"))]
impl Client {
    /// There is no client.
    pub(in crate::export) fn open(_url: &Url, _suffix: &str, _connections: Connections) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no HTTP client (feature http)"))
    }

    /// There is no client.
    pub(in crate::export) fn with_header(self, _name: &str, _value: &str) -> Self {
        match self.0 {}
    }

    /// There is no client.
    pub(in crate::export) fn post(&self, _body: &str, _limit: Duration) -> Result<(), Failure> {
        match self.0 {}
    }

    /// There is no client.
    pub(in crate::export) fn exchange(&self, _kind: &str, _body: &[u8], _limit: Duration) -> Result<Vec<u8>, Failure> {
        match self.0 {}
    }
}

/// Whether an answer means success, a later attempt or a refusal (RFC 9110 §15). A server that is overloaded or has an error
/// may accept the request later.
#[cfg(any(feature = "http", test))]
fn answered(status: u16, reason: Option<&str>) -> Result<(), Failure> {
    let answer = || format!("it answered {status} {}", reason.unwrap_or_default()).trim_end().to_owned();
    match status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Failure::Later(answer())),
        300..=399 => Err(Failure::Refused(format!("{}, and redirections are not followed", answer()))),
        _ => Err(Failure::Refused(answer())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_server_are_tried_again_and_refusals_are_not() {
        let words = |status| match answered(status, Some("Reason")) {
            Ok(()) => "delivered".to_owned(),
            Err(Failure::Later(why)) => format!("later: {why}"),
            Err(Failure::Refused(why)) => format!("refused: {why}"),
        };
        assert_eq!([200, 202, 204].map(words), ["delivered"; 3]);
        for status in [408, 425, 429, 500, 503, 599] {
            assert_eq!(words(status), format!("later: it answered {status} Reason"));
        }
        for status in [400, 401, 404, 410, 422] {
            assert_eq!(words(status), format!("refused: it answered {status} Reason"));
        }
        assert_eq!(words(302), "refused: it answered 302 Reason, and redirections are not followed");
        assert_eq!(answered(418, None), Err(Failure::Refused("it answered 418".to_owned())));
    }
}
