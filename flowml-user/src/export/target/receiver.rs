//! The receivers of incidents: a webhook, Alertmanager, syslog.

use std::fmt;
use std::path::PathBuf;

use super::collector::host_and_port;
use super::error::TargetError;
use super::file::path_and_options;
use super::url::Url;
#[cfg(feature = "live")]
use crate::process::sandbox::Reach;

/// A receiver of the events of incidents. It gets nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// An HTTP server that gets a request for each event.
    Webhook(Url, Format),
    /// Prometheus's Alertmanager.
    Alertmanager(Url),
    /// A syslog server.
    Syslog(SyslogServer, Format),
}

/// The form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The summary of the incident, one sentence.
    Text,
    /// flowml's own JSON.
    Json,
    /// Elastic Common Schema.
    Ecs,
    /// A Detection Finding of the Open Cybersecurity Schema Framework.
    Ocsf,
    /// An object with a text, as Slack and similar receivers expect it.
    Slack,
}

impl Format {
    /// The formats of a webhook and of syslog by their names, the default first.
    const WEBHOOK: &[(&str, Self)] =
        &[("json", Self::Json), ("ecs", Self::Ecs), ("ocsf", Self::Ocsf), ("slack", Self::Slack)];
    const SYSLOG: &[(&str, Self)] =
        &[("text", Self::Text), ("json", Self::Json), ("ecs", Self::Ecs), ("ocsf", Self::Ocsf)];
}

/// The address of a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// A datagram socket in the file system.
    Unix(PathBuf),
    /// UDP (RFC 5426).
    Udp(String, u16),
    /// TCP, each message after its length (RFC 6587 §3.4.1).
    Tcp(String, u16),
}

/// Parses the text after `webhook=`.
pub(super) fn webhook(text: &str) -> Result<Receiver, TargetError> {
    let (place, format) = with_format(text, Format::WEBHOOK)?;
    Ok(Receiver::Webhook(place.parse().map_err(|_| TargetError::Url("webhook"))?, format))
}

/// Parses the text after `alertmanager=`.
pub(super) fn alertmanager(text: &str) -> Result<Receiver, TargetError> {
    if let (_, Some(_)) = path_and_options(text) {
        return Err(TargetError::NoFile("Alertmanager"));
    }
    let url = text.parse().ok().filter(|url: &Url| !url.has_query());
    url.map(Receiver::Alertmanager).ok_or(TargetError::Url("alertmanager"))
}

/// Parses the text after `syslog=`.
pub(super) fn syslog(text: &str) -> Result<Receiver, TargetError> {
    let (place, format) = with_format(text, Format::SYSLOG)?;
    let error = || TargetError::Syslog(place.to_owned());
    let server = match place.split_once(':').ok_or_else(error)? {
        ("unix", path) if path.starts_with('/') => SyslogServer::Unix(path.into()),
        ("udp", place) => host_and_port(place).map(|(host, port)| SyslogServer::Udp(host, port)).ok_or_else(error)?,
        ("tcp", place) => host_and_port(place).map(|(host, port)| SyslogServer::Tcp(host, port)).ok_or_else(error)?,
        _ => return Err(error()),
    };
    Ok(Receiver::Syslog(server, format))
}

/// Splits off the option `format`, which has one of these values.
fn with_format<'a>(text: &'a str, known: &[(&str, Format)]) -> Result<(&'a str, Format), TargetError> {
    let (place, Some(options)) = path_and_options(text) else { return Ok((text, known[0].1)) };
    let values = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let mut format = None;
    for option in options.split(',') {
        let value = option.strip_prefix("format=").ok_or_else(|| TargetError::ReceiverOption(name_of(option)))?;
        let found = known.iter().find(|(name, _)| *name == value);
        let (_, found) = found.ok_or_else(|| TargetError::Value {
            name: "format",
            value: value.to_owned(),
            expected: format!("one of {values}"),
        })?;
        if format.replace(*found).is_some() {
            return Err(TargetError::Twice("format"));
        }
    }
    Ok((place, format.unwrap_or(known[0].1)))
}

/// The name of an option. Its value may be a secret.
fn name_of(option: &str) -> String {
    option.split('=').next().unwrap_or_default().to_owned()
}

impl Receiver {
    /// The host and the port, to resolve and to connect to. A socket of this host has none.
    pub(in crate::export) fn place(&self) -> Option<(&str, u16)> {
        match self {
            Self::Webhook(url, _) | Self::Alertmanager(url) => Some(url.place()),
            Self::Syslog(SyslogServer::Udp(host, port) | SyslogServer::Tcp(host, port), _) => Some((host, *port)),
            Self::Syslog(SyslogServer::Unix(_), _) => None,
        }
    }

    /// Adds what is needed to reach the receiver.
    #[cfg(feature = "live")]
    pub(super) fn reach(&self, reach: &mut Reach) {
        // Landlock does not restrict sockets that have paths.
        let Some((host, port)) = self.place() else { return };
        match self {
            Self::Webhook(url, _) | Self::Alertmanager(url) if url.is_secure() => reach.trust(),
            _ => {}
        }
        // It does not restrict datagrams either.
        if !matches!(self, Self::Syslog(SyslogServer::Udp(..), _)) {
            reach.connect(port);
        }
        reach.resolve_name(host);
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(url, _) => write!(f, "webhook {url}"),
            Self::Alertmanager(url) => write!(f, "alertmanager {url}"),
            Self::Syslog(server, _) => write!(f, "syslog {server}"),
        }
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Udp(host, port) => ("udp", host, port),
            Self::Tcp(host, port) => ("tcp", host, port),
        };
        if host.contains(':') {
            write!(f, "{transport}:[{host}]:{port}")
        } else {
            write!(f, "{transport}:{host}:{port}")
        }
    }
}
