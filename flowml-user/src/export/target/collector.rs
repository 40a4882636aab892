//! The address of a collector.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::error::TargetError;
#[cfg(feature = "live")]
use crate::process::sandbox::Reach;

/// The transport of messages to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP, one message per datagram.
    Udp,
    /// TCP, one message after another.
    Tcp,
}

impl Transport {
    /// The prefixes of collectors, the default first.
    const ALL: [(&str, Self); 2] = [("udp://", Self::Udp), ("tcp://", Self::Tcp)];
}

/// A collector of IPFIX messages (RFC 7011).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The transport.
    pub transport: Transport,
    /// Host name or address.
    pub host: String,
    /// Port number.
    pub port: u16,
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix =
            Transport::ALL.iter().find(|(_, transport)| *transport == self.transport).map_or("", |(name, _)| name);
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "{prefix}[{host}]:{port}") } else { write!(f, "{prefix}{host}:{port}") }
    }
}

impl Collector {
    /// Adds what is needed to reach the collector.
    #[cfg(feature = "live")]
    pub(super) fn reach(&self, reach: &mut Reach) {
        if self.transport == Transport::Tcp {
            reach.connect(self.port);
        }
        reach.resolve_name(&self.host);
    }
}

impl FromStr for Collector {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let prefixed = Transport::ALL.iter().find_map(|(name, transport)| Some((*transport, text.strip_prefix(name)?)));
        let (transport, place) = prefixed.unwrap_or((Transport::Udp, text));
        let (host, port) = host_and_port(place).ok_or_else(|| TargetError::Collector(text.to_owned()))?;
        Ok(Self { transport, host, port })
    }
}

/// Parses `HOST:PORT`, an IPv6 address in brackets.
pub(super) fn host_and_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
        None if host.is_empty() || host.contains([':', '/', '[', ']']) => return None,
        None => host.to_owned(),
    };
    Some((host, port))
}
