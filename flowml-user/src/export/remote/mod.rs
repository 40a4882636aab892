//! What all outputs to other hosts share: their failures, connections, TLS, the HTTP client, and names of hosts.

#[cfg(feature = "http")]
mod authorities;
mod connect;
mod failure;
mod http;
mod resolve;
mod tls;
mod wire;

pub(super) use self::connect::connect;
pub(super) use self::failure::{Failure, attempt};
pub(super) use self::http::{Client, Connections};
pub(super) use self::resolve::resolve;
#[cfg(test)]
pub(super) use self::resolve::{SLOW, unresolved};
pub(super) use self::tls::Tls;
pub(super) use self::wire::Wire;
