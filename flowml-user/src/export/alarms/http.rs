//! Posts JSON to HTTP servers, and decides from the answer whether a request is tried again.

#[cfg(feature = "http")]
use std::error::Error;
use std::io;
#[cfg(feature = "http")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "http")]
use base64::Engine as _;
#[cfg(feature = "http")]
use base64::engine::general_purpose::STANDARD;

use super::super::target::Url;
use super::receive::Failure;

/// A client for one server. Each request has a connection of its own, because incidents are rare.
#[cfg(feature = "http")]
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

#[cfg(feature = "http")]
impl Client {
    /// Reads the certificates of trusted authorities for `https`. `suffix` follows the path of the URL.
    pub(super) fn open(url: &Url, suffix: &str) -> io::Result<Self> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .user_agent(concat!("flowml/", env!("CARGO_PKG_VERSION")));
        if url.is_secure() {
            config = config.tls_config(trust()?);
        }
        let authorization = url.user().map(|user| format!("Basic {}", STANDARD.encode(user)));
        Ok(Self { agent: config.build().new_agent(), url: url.request(suffix), authorization })
    }

    /// Posts a body.
    pub(super) fn post(&self, body: &str, limit: Duration) -> Result<(), Failure> {
        let mut request = self.agent.post(&self.url).config().timeout_global(Some(limit)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        match request.header("Content-Type", "application/json").send(body) {
            Ok(response) => answered(response.status().as_u16(), response.status().canonical_reason()),
            Err(error) => Err(Failure::Later(reason(&error))),
        }
    }
}

/// The authorities that this host trusts.
#[cfg(feature = "http")]
fn trust() -> io::Result<ureq::tls::TlsConfig> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let message =
            format!("this host has no certificates of authorities (package ca-certificates, or SSL_CERT_FILE){why}");
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let roots: Vec<_> =
        found.certs.iter().map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned()).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::from(roots));
    Ok(config.unversioned_rustls_crypto_provider(provider).build())
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
pub(super) struct Client(std::convert::Infallible);

#[cfg(not(feature = "http"))]
impl Client {
    /// There is no client.
    pub(super) fn open(_url: &Url, _suffix: &str) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no HTTP client (feature http)"))
    }

    /// There is no client.
    pub(super) fn post(&self, _body: &str, _limit: Duration) -> Result<(), Failure> {
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
