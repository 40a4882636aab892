//! Parses the argument of `-o`: the kind of an output and its destination.

mod collector;
mod error;
mod file;
mod peer;
mod receiver;
mod url;

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::collector::{Collector, Transport};
pub use self::error::TargetError;
pub use self::file::FileTarget;
#[cfg(feature = "kafka")]
pub(super) use self::peer::text as place_text;
pub use self::peer::{Mechanism, Peer, PeerOptions, RowPeer};
pub use self::receiver::{Format, Receiver, SyslogServer};
pub use self::url::{InvalidUrl, Url};

use self::file::{file_target, path_and_options};
#[cfg(feature = "live")]
use crate::process::sandbox::Reach;

/// The destination of a stream of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, given as `-`.
    StandardOutput,
    /// A file, which is created or truncated.
    File(FileTarget),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::File(target) => target.path.display().fmt(f),
        }
    }
}

/// The argument `KIND=PLACE` of an `-o` option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One JSON object per line: rows of every kind, and the summary at the end.
    Jsonl(Destination),
    /// Comma-separated flow rows under a header.
    Csv(Destination),
    /// A folder of Parquet tables: flows, hosts, anomalies, incidents and aggregates.
    Parquet(FileTarget),
    /// Flow records for an IPFIX collector.
    Ipfix(Collector),
    /// Events of incidents for a receiver of alarms.
    Alarms(Receiver),
    /// Rows of every kind for a broker or collector that acknowledges them.
    Rows(RowPeer),
}

/// The rows that an output takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Rows of every kind.
    All,
    /// Rows of every kind except statistics.
    Tables,
    Flows,
    Incidents,
}

/// A kind of output and its name in `-o`.
struct OutputKind {
    name: &'static str,
    /// The form of the text after `=`.
    place: &'static str,
    read: fn(&str) -> Result<Target, TargetError>,
}

/// Stands in messages for a text that may be a secret.
const HIDDEN: &str = "…";

const KINDS: [OutputKind; 10] = [
    OutputKind { name: "jsonl", place: "PATH", read: |path| stream("jsonl", path).map(Target::Jsonl) },
    OutputKind { name: "csv", place: "PATH", read: |path| stream("csv", path).map(Target::Csv) },
    OutputKind { name: "parquet", place: "DIR", read: folder },
    OutputKind { name: "ipfix", place: "HOST:PORT", read: ipfix },
    OutputKind { name: "webhook", place: "URL", read: |text| receiver::webhook(text).map(Target::Alarms) },
    OutputKind { name: "alertmanager", place: "URL", read: |text| receiver::alertmanager(text).map(Target::Alarms) },
    OutputKind { name: "syslog", place: "SERVER", read: |text| receiver::syslog(text).map(Target::Alarms) },
    OutputKind { name: "kafka", place: "BROKER[,BROKER]/TOPIC", read: |text| peer::kafka(text).map(Target::Rows) },
    OutputKind { name: "nats", place: "HOST:PORT/SUBJECT", read: |text| peer::nats(text).map(Target::Rows) },
    OutputKind { name: "otlp", place: "HOST:PORT", read: |text| peer::otlp(text).map(Target::Rows) },
];

fn stream(kind: &'static str, text: &str) -> Result<Destination, TargetError> {
    match path_and_options(text) {
        ("", _) => Err(TargetError::Path(kind)),
        ("-", None) => Ok(Destination::StandardOutput),
        ("-", Some(_)) => Err(TargetError::NoFile("standard output")),
        (path, options) => Ok(Destination::File(file_target(path, options)?)),
    }
}

fn folder(text: &str) -> Result<Target, TargetError> {
    match path_and_options(text) {
        ("" | "-", _) => Err(TargetError::Folder),
        (path, options) => Ok(Target::Parquet(file_target(path, options)?)),
    }
}

fn ipfix(text: &str) -> Result<Target, TargetError> {
    match path_and_options(text) {
        (place, None) => place.parse().map(Target::Ipfix),
        (_, Some(_)) => Err(TargetError::NoFile("a collector")),
    }
}

impl Target {
    /// Whether both have the same destination. A file can be written in two ways.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.path(), other.path()) {
            (Some(one), Some(two)) => resolved(one) == resolved(two),
            (None, None) => match (self, other) {
                (Self::Ipfix(one), Self::Ipfix(two)) => one == two,
                (Self::Alarms(one), Self::Alarms(two)) => one == two,
                (Self::Rows(one), Self::Rows(two)) => one.peer == two.peer,
                _ => self.is_standard_output() && other.is_standard_output(),
            },
            _ => false,
        }
    }

    /// Whether the rows go to standard output.
    #[must_use]
    pub const fn is_standard_output(&self) -> bool {
        matches!(self, Self::Jsonl(Destination::StandardOutput) | Self::Csv(Destination::StandardOutput))
    }

    /// Whether it is a receiver of alarms, which takes only events of incidents.
    #[must_use]
    pub const fn takes_only_incidents(&self) -> bool {
        matches!(self.taken(), Taken::Incidents)
    }

    /// The rows that are written.
    pub(super) const fn taken(&self) -> Taken {
        match self {
            Self::Jsonl(_) | Self::Rows(_) => Taken::All,
            Self::Parquet(_) => Taken::Tables,
            Self::Csv(_) | Self::Ipfix(_) => Taken::Flows,
            Self::Alarms(_) => Taken::Incidents,
        }
    }

    /// Whether the rows go to another host or program, which may be away. A loss is then no error of a live run.
    pub(super) const fn is_remote(&self) -> bool {
        matches!(self, Self::Ipfix(_) | Self::Alarms(_) | Self::Rows(_))
    }

    /// The argument of `-o` without what may be a secret, for messages about it.
    #[must_use]
    pub fn masked(text: &str) -> String {
        match text.split_once('=') {
            Some((kind @ ("webhook" | "alertmanager" | "otlp"), _)) => format!("{kind}={HIDDEN}"),
            // A URL may follow a mistyped kind, or none.
            _ if text.contains("://") && !text.starts_with("ipfix=") => HIDDEN.to_owned(),
            _ => text.to_owned(),
        }
    }

    /// Whether the last row is the summary.
    pub(super) const fn has_summary(&self) -> bool {
        matches!(self, Self::Jsonl(_) | Self::Rows(_))
    }

    /// Whether the destination is a FIFO, which can be opened only when it has a reader.
    pub(super) fn is_fifo(&self) -> bool {
        let opened = match self {
            Self::Jsonl(Destination::File(target)) | Self::Csv(Destination::File(target)) if !target.rotates() => {
                target
            }
            _ => return false,
        };
        opened.path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
    }

    /// Adds what the output needs to reach, at the start and at retries.
    #[cfg(feature = "live")]
    pub fn reach(&self, reach: &mut Reach) {
        match self {
            Self::Jsonl(Destination::File(target)) | Self::Csv(Destination::File(target)) if target.rotates() => {
                reach.write(&target.path);
            }
            Self::Jsonl(Destination::File(target)) | Self::Csv(Destination::File(target)) => {
                reach.write_through(&target.path);
            }
            Self::Parquet(target) => reach.write_in(&target.path),
            Self::Ipfix(collector) => collector.reach(reach),
            Self::Alarms(receiver) => receiver.reach(reach),
            Self::Rows(peer) => peer.reach(reach),
            Self::Jsonl(Destination::StandardOutput) | Self::Csv(Destination::StandardOutput) => {}
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Jsonl(Destination::File(target)) | Self::Csv(Destination::File(target)) | Self::Parquet(target) => {
                Some(&target.path)
            }
            Self::Jsonl(Destination::StandardOutput) | Self::Csv(Destination::StandardOutput) => None,
            Self::Ipfix(_) | Self::Alarms(_) | Self::Rows(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jsonl(destination) | Self::Csv(destination) => destination.fmt(f),
            Self::Parquet(target) => target.path.display().fmt(f),
            Self::Ipfix(collector) => collector.fmt(f),
            Self::Alarms(receiver) => receiver.fmt(f),
            Self::Rows(peer) => peer.fmt(f),
        }
    }
}

/// The path with the links of its folder resolved. The file itself need not exist.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// All valid arguments of `-o`: `jsonl=PATH, csv=PATH, … or syslog=SERVER`.
#[must_use]
pub(super) fn grammar() -> String {
    let all = KINDS.map(|OutputKind { name, place, .. }| format!("{name}={place}"));
    let [first @ .., last] = &all;
    format!("{} or {last}", first.join(", "))
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (kind, place) = text.split_once('=').ok_or_else(|| TargetError::Grammar { expected: grammar() })?;
        let found = KINDS.iter().find(|known| known.name == kind);
        let unknown = || {
            // A URL without a kind may have a `=` in its query.
            let kind = if kind.contains('/') { HIDDEN } else { kind };
            TargetError::OutputKind { kind: kind.to_owned(), expected: grammar() }
        };
        (found.ok_or_else(unknown)?.read)(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Destination {
        Destination::File(path.into())
    }

    fn private(path: &str, mode: &str) -> FileTarget {
        FileTarget { mode: Some(mode.parse().expect("a mode")), ..path.into() }
    }

    fn rotated(target: FileTarget, rotation: &str) -> FileTarget {
        FileTarget { rotation: Some(rotation.parse().expect("a rotation")), ..target }
    }

    fn collector(transport: Transport, host: &str, port: u16) -> Target {
        Target::Ipfix(Collector { transport, host: host.to_owned(), port })
    }

    #[test]
    fn a_target_is_a_kind_and_a_place() {
        let cases = [
            ("jsonl=-", Target::Jsonl(Destination::StandardOutput)),
            ("csv=flows.csv", Target::Csv(file("flows.csv"))),
            ("csv=a=b", Target::Csv(file("a=b"))),
            ("csv=a,b,C=d,", Target::Csv(file("a,b,C=d,"))),
            ("csv=a,b,mode=0640", Target::Csv(Destination::File(private("a,b", "0640")))),
            ("parquet=flows,mode=600", Target::Parquet(private("flows", "0600"))),
            ("jsonl=a,rotate=100MB", Target::Jsonl(Destination::File(rotated("a".into(), "100MB")))),
            ("parquet=a,mode=600,rotate=1h", Target::Parquet(rotated(private("a", "0600"), "1h"))),
            ("parquet=flows", Target::Parquet("flows".into())),
            ("jsonl=./-", Target::Jsonl(file("./-"))),
            ("ipfix=10.0.0.1:4739", collector(Transport::Udp, "10.0.0.1", 4739)),
            ("ipfix=udp://collector.example:2055", collector(Transport::Udp, "collector.example", 2055)),
            ("ipfix=tcp://[2001:DB8::1]:4739", collector(Transport::Tcp, "2001:db8::1", 4739)),
        ];
        for (text, target) in cases {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        let url = |text: &str| text.parse::<Url>().expect(text);
        let tcp = SyslogServer::Tcp("2001:db8::1".to_owned(), 514);
        let receivers = [
            ("webhook=http://a/b", Receiver::Webhook(url("http://a/b"), Format::Json), "webhook http://a/…"),
            (
                "webhook=http://a/b,format=slack",
                Receiver::Webhook(url("http://a/b"), Format::Slack),
                "webhook http://a/…",
            ),
            (
                "webhook=http://a/b?c,D=e",
                Receiver::Webhook(url("http://a/b?c,D=e"), Format::Json),
                "webhook http://a/…",
            ),
            ("alertmanager=http://a:9093", Receiver::Alertmanager(url("http://a:9093/")), "alertmanager http://a:9093"),
            ("syslog=tcp:[2001:DB8::1]:514", Receiver::Syslog(tcp, Format::Text), "syslog tcp:[2001:db8::1]:514"),
            (
                "syslog=udp:log.example:514,format=ocsf",
                Receiver::Syslog(SyslogServer::Udp("log.example".to_owned(), 514), Format::Ocsf),
                "syslog udp:log.example:514",
            ),
            (
                "syslog=unix:/dev/log,format=ecs",
                Receiver::Syslog(SyslogServer::Unix("/dev/log".into()), Format::Ecs),
                "syslog unix:/dev/log",
            ),
        ];
        for (text, receiver, shown) in receivers {
            assert_eq!(receiver.to_string(), shown);
            assert_eq!(text.parse(), Ok(Target::Alarms(receiver)), "{text}");
        }
        for text in ["udp://10.0.0.1:4739", "tcp://[2001:db8::1]:1", "tcp://localhost:65535"] {
            let read: Collector = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn an_invalid_target_is_refused_with_what_was_expected() {
        let cases = [
            (
                "flows.csv",
                "expected jsonl=PATH, csv=PATH, parquet=DIR, ipfix=HOST:PORT, webhook=URL, alertmanager=URL, \
                 syslog=SERVER, kafka=BROKER[,BROKER]/TOPIC, nats=HOST:PORT/SUBJECT or otlp=HOST:PORT, as in \
                 jsonl=flows.jsonl; PATH '-' is standard output",
            ),
            (
                "xml=a",
                "unknown output kind 'xml'; expected jsonl=PATH, csv=PATH, parquet=DIR, ipfix=HOST:PORT, webhook=URL, \
                 alertmanager=URL, syslog=SERVER, kafka=BROKER[,BROKER]/TOPIC, nats=HOST:PORT/SUBJECT or otlp=HOST:PORT",
            ),
            (
                "webhook=hooks.example/secret",
                "invalid URL after 'webhook=' (not shown, because it may contain secrets); expected http://HOST[:PORT][/PATH] \
                 or https://…, with special characters percent-encoded and without a fragment, for Alertmanager also without a \
                 query",
            ),
            (
                "webhook=http://a/b,format=xml",
                "invalid value 'xml' for 'format'; expected one of json, ecs, ocsf, slack",
            ),
            (
                "webhook=http://a/b,token=secret",
                "unknown option 'token' of a receiver; only format=NAME may follow its address, as in \
                 syslog=unix:/dev/log,format=ecs",
            ),
            ("syslog=udp:a:1,format=ecs,format=ecs", "output option 'format' was given twice"),
            (
                "syslog=udp:a:1,format=slack",
                "invalid value 'slack' for 'format'; expected one of text, json, ecs, ocsf",
            ),
            ("alertmanager=http://a:9093,format=ecs", "Alertmanager takes no options: options apply to files only"),
            ("parquet=-", "expected a folder after 'parquet=', as in parquet=flows: this output writes several files"),
            ("csv=", "expected a path after 'csv=', or '-' for standard output"),
            (
                "csv=a,mod=0600",
                "unknown output option 'mod'; after a path, rotate=1h,mode=0640 may follow, as in csv=flows.csv,rotate=1h,mode=0640",
            ),
            (
                "csv=a,mode=rw",
                "invalid value 'rw' for 'mode'; expected octal permissions that let the owner read and write, as \
                 in mode=0640",
            ),
            (
                "csv=a,rotate=daily",
                "invalid value 'daily' for 'rotate'; expected a time (1s to 365d) or a size (1MiB to 1024GiB) with its unit, as \
                 in rotate=1h and rotate=100MB, or rotate=never",
            ),
            ("csv=a,mode=0600,mode=0600", "output option 'mode' was given twice"),
            ("jsonl=-,mode=0600", "standard output takes no options: options apply to files only"),
            ("ipfix=a:1,mode=0600", "a collector takes no options: options apply to files only"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Target>().map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
        for place in
            ["", "host", "host:", ":4739", "host:0", "host:65536", "2001:db8::1:4739", "[host]:1", "sctp://a:1"]
        {
            let wrong = TargetError::Collector(place.to_owned());
            assert_eq!(format!("ipfix={place}").parse::<Target>(), Err(wrong), "{place}");
        }
    }

    #[test]
    fn messages_contain_no_url() {
        assert_eq!(Target::masked("webhook=https://me:secret@a"), "webhook=…");
        assert_eq!(Target::masked("csv=a"), "csv=a");
        assert_eq!(Target::masked("ipfix=udp://a"), "ipfix=udp://a");
        for text in ["https://a/secret", "Webhook=https://me:secret@a", "https://a/?token=secret"] {
            assert_eq!(Target::masked(text), "…");
            let error = text.parse::<Target>().expect_err("it is no output");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for place in ["", "dev/log", "unix:dev/log", "udp:a", "tcp:a:0", "udp://a:1", "tls:a:1"] {
            let wrong = TargetError::Syslog(place.to_owned());
            assert_eq!(format!("syslog={place}").parse::<Target>(), Err(wrong), "{place}");
        }
    }

    #[test]
    fn two_spellings_of_a_path_are_the_same_target() {
        let folder = std::env::temp_dir();
        let spelt = |name: &str| Target::Csv(Destination::File(folder.join(name).into()));
        assert!(spelt("x.csv").is_same(&spelt("./x.csv")));
        assert!(Target::Csv(file("x.csv")).is_same(&Target::Jsonl(file("./x.csv"))));
        assert!(Target::Csv(file("x")).is_same(&Target::Parquet("x".into())));
        assert!(!spelt("x.csv").is_same(&spelt("y.csv")));
        let standard_output = Target::Csv(Destination::StandardOutput);
        assert!(standard_output.is_same(&Target::Jsonl(Destination::StandardOutput)));
        assert!(!Target::Csv(file("-")).is_same(&standard_output));
        let udp = collector(Transport::Udp, "a", 1);
        assert!(
            udp.is_same(&udp) && !udp.is_same(&collector(Transport::Tcp, "a", 1)) && !udp.is_same(&standard_output)
        );
    }
}
