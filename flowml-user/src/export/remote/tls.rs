//! TLS with the authorities that this host trusts.

use std::io;
#[cfg(feature = "http")]
use std::sync::Arc;

#[cfg(feature = "http")]
use super::authorities;

/// The configuration of TLS.
#[cfg(feature = "http")]
#[derive(Clone)]
pub(in crate::export) struct Tls(Arc<rustls::ClientConfig>);

#[cfg(feature = "http")]
impl Tls {
    /// Reads the certificates of the authorities that this host trusts.
    pub(in crate::export) fn open() -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        // As for HTTP, certificates that are not valid are left out.
        roots.add_parsable_certificates(authorities::certificates()?);
        let config = rustls::ClientConfig::builder_with_provider(authorities::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The configuration for a client.
    pub(in crate::export) fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.0)
    }
}

/// A build without the feature `http` has no TLS.
#[cfg(not(feature = "http"))]
#[derive(Clone)]
pub(in crate::export) struct Tls(pub(super) std::convert::Infallible);

#[cfg(not(feature = "http"))]
impl Tls {
    /// There is no TLS.
    pub(in crate::export) fn open() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no TLS (feature http)"))
    }
}
