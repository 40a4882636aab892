//! The authorities that this host trusts, and the configuration of TLS with them.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

/// The certificates of the authorities that this host trusts.
pub(super) fn certificates() -> io::Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let message =
            format!("this host has no certificates of authorities (package ca-certificates, or SSL_CERT_FILE){why}");
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(found.certs)
}

/// The implementation of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
