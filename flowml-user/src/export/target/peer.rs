//! The peers that take rows of every kind and acknowledge them: Kafka, NATS JetStream, OpenTelemetry (OTLP).

use std::fmt;
use std::path::PathBuf;

use super::collector::host_and_port;
use super::error::TargetError;
use super::file::path_and_options;
use super::url::Url;
#[cfg(feature = "live")]
use crate::process::sandbox::Reach;

/// A peer that takes rows, with the options of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPeer {
    /// The peer.
    pub peer: Peer,
    /// How to connect to it.
    pub options: PeerOptions,
}

/// The address of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Brokers of one Kafka cluster, of which one suffices, and the topic.
    Kafka(Vec<(String, u16)>, String),
    /// A server of NATS with JetStream, and the subject.
    Nats((String, u16), String),
    /// A collector of OpenTelemetry logs (OTLP over HTTP).
    Otlp(Url),
}

/// The options of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerOptions {
    /// Whether the connection is encrypted. The URL of an OTLP collector states it.
    pub tls: bool,
    /// The mechanism of SASL.
    pub sasl: Option<Mechanism>,
    /// A file with the credentials.
    pub credentials: Option<PathBuf>,
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password is sent (RFC 4616).
    Plain,
    /// A proof of the password is sent (RFC 5802), with SHA-256.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Mechanism {
    const ALL: [(&str, Self); 3] =
        [("plain", Self::Plain), ("scram-sha-256", Self::ScramSha256), ("scram-sha-512", Self::ScramSha512)];
}

/// An option of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PeerOption {
    Tls,
    Sasl,
    Credentials,
}

impl PeerOption {
    const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Sasl => "sasl",
            Self::Credentials => "credentials",
        }
    }
}

/// A kind of peer in `-o`, for errors.
struct Kind {
    name: &'static str,
    expected: &'static str,
    options: &'static [PeerOption],
}

const KAFKA: Kind = Kind {
    name: "kafka",
    expected: "BROKER[,BROKER]/TOPIC, each BROKER a HOST:PORT with an IPv6 address in brackets and TOPIC of letters, digits, \
               '.', '_' and '-', as in kafka=kafka1:9092,kafka2:9092/flowml",
    options: &[PeerOption::Tls, PeerOption::Sasl, PeerOption::Credentials],
};

const NATS: Kind = Kind {
    name: "nats",
    expected: "HOST:PORT/SUBJECT, an IPv6 address in brackets and SUBJECT of words without spaces, '*' and '>' that are \
               separated by dots, as in nats=nats1:4222/flowml.rows",
    options: &[PeerOption::Tls, PeerOption::Credentials],
};

const OTLP: Kind = Kind {
    name: "otlp",
    expected: "HOST:PORT, http://HOST[:PORT][/PATH] or https://…, an IPv6 address in brackets, without a query, as in \
               otlp=collector:4318; /v1/logs is added",
    options: &[PeerOption::Credentials],
};

impl Kind {
    /// The error about an address. An address of OTLP may contain secrets, so it is not repeated.
    fn wrong(&self, place: &str) -> TargetError {
        let shown = if self.name == "otlp" { super::HIDDEN } else { place };
        TargetError::Peer { kind: self.name, place: shown.to_owned(), expected: self.expected }
    }

    /// Splits off the options.
    fn split<'a>(&self, text: &'a str) -> Result<(&'a str, PeerOptions), TargetError> {
        let (place, options) = path_and_options(text);
        let mut read = PeerOptions::default();
        let mut given = Vec::new();
        for option in options.into_iter().flat_map(|options| options.split(',')) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let found = self.options.iter().copied().find(|option| option.name() == name);
            let option = found.ok_or_else(|| self.unknown(name))?;
            if given.contains(&option) {
                return Err(TargetError::Twice(option.name()));
            }
            given.push(option);
            set(&mut read, option, value)?;
        }
        match (&read.sasl, &read.credentials) {
            (Some(_), None) => Err(TargetError::Needs { given: "sasl", missing: "credentials=FILE" }),
            (None, Some(_)) if self.options.contains(&PeerOption::Sasl) => {
                Err(TargetError::Needs { given: "credentials", missing: "sasl=MECHANISM" })
            }
            _ => Ok((place, read)),
        }
    }

    fn unknown(&self, option: &str) -> TargetError {
        let valid = self.options.iter().map(|option| option.name()).collect::<Vec<_>>().join(", ");
        TargetError::PeerOption { kind: self.name, option: option.to_owned(), valid }
    }
}

/// Sets an option to the value of this text.
fn set(options: &mut PeerOptions, option: PeerOption, value: &str) -> Result<(), TargetError> {
    let wrong = |expected: &str| TargetError::Value {
        name: option.name(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    };
    match option {
        PeerOption::Tls => match value {
            "on" => options.tls = true,
            "off" => options.tls = false,
            _ => return Err(wrong("on or off")),
        },
        PeerOption::Sasl => {
            let found = Mechanism::ALL.iter().find(|(name, _)| *name == value).map(|(_, mechanism)| *mechanism);
            options.sasl = Some(found.ok_or_else(|| wrong("one of plain, scram-sha-256, scram-sha-512"))?);
        }
        PeerOption::Credentials if value.is_empty() => return Err(wrong("the path of a file")),
        PeerOption::Credentials => options.credentials = Some(value.into()),
    }
    Ok(())
}

/// Parses the text after `kafka=`.
pub(super) fn kafka(text: &str) -> Result<RowPeer, TargetError> {
    let (place, options) = KAFKA.split(text)?;
    let wrong = || KAFKA.wrong(place);
    let (brokers, topic) = place.split_once('/').ok_or_else(wrong)?;
    let brokers = brokers.split(',').map(host_and_port).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    // The names that Kafka accepts.
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_topic = (1..=249).contains(&topic.len()) && topic.bytes().all(is_valid) && !matches!(topic, "." | "..");
    if !is_topic {
        return Err(wrong());
    }
    Ok(RowPeer { peer: Peer::Kafka(brokers, topic.to_owned()), options })
}

/// Parses the text after `nats=`.
pub(super) fn nats(text: &str) -> Result<RowPeer, TargetError> {
    let (place, options) = NATS.split(text)?;
    let wrong = || NATS.wrong(place);
    let (server, subject) = place.split_once('/').ok_or_else(wrong)?;
    let server = host_and_port(server).filter(|(host, _)| !host.contains(',')).ok_or_else(wrong)?;
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte));
    if subject.len() > 255 || !subject.split('.').all(is_word) {
        return Err(wrong());
    }
    Ok(RowPeer { peer: Peer::Nats(server, subject.to_owned()), options })
}

/// Parses the text after `otlp=`.
pub(super) fn otlp(text: &str) -> Result<RowPeer, TargetError> {
    let (place, options) = OTLP.split(text)?;
    let has_scheme = place.contains("://");
    let url = if has_scheme { place.to_owned() } else { format!("http://{place}") };
    // Without a scheme the port is not optional, as it is for other peers.
    let is_complete = has_scheme || host_and_port(place).is_some();
    let url = url.parse().ok().filter(|url: &Url| is_complete && !url.has_query());
    url.map(|url| RowPeer { peer: Peer::Otlp(url), options }).ok_or_else(|| OTLP.wrong(place))
}

impl RowPeer {
    /// The hosts and ports, to resolve and to connect to.
    pub(in crate::export) fn places(&self) -> impl Iterator<Item = (&str, u16)> {
        let places: Vec<(&str, u16)> = match &self.peer {
            Peer::Kafka(brokers, _) => brokers.iter().map(|(host, port)| (host.as_str(), *port)).collect(),
            Peer::Nats((host, port), _) => vec![(host, *port)],
            Peer::Otlp(url) => vec![url.place()],
        };
        places.into_iter()
    }

    /// Whether the connection is encrypted.
    pub(in crate::export) fn is_secure(&self) -> bool {
        match &self.peer {
            Peer::Otlp(url) => url.is_secure(),
            Peer::Kafka(..) | Peer::Nats(..) => self.options.tls,
        }
    }

    /// Adds what is needed to reach the peer.
    #[cfg(feature = "live")]
    pub(super) fn reach(&self, reach: &mut Reach) {
        if self.is_secure() {
            reach.trust();
        }
        if let Some(credentials) = &self.options.credentials {
            reach.read(credentials);
        }
        for (host, port) in self.places() {
            reach.connect(port);
            reach.resolve_name(host);
        }
        if matches!(self.peer, Peer::Kafka(..)) {
            // Brokers name each other, and these names are not known yet.
            reach.resolve();
        }
    }
}

impl fmt::Display for RowPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Peer::Kafka(brokers, topic) => {
                let brokers: Vec<String> = brokers.iter().map(text).collect();
                write!(f, "kafka {}/{topic}", brokers.join(","))
            }
            Peer::Nats(server, subject) => write!(f, "nats {}/{subject}", text(server)),
            Peer::Otlp(url) => write!(f, "otlp {url}"),
        }
    }
}

/// A place as `HOST:PORT`, an IPv6 address in brackets.
pub(in crate::export) fn text((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;

    fn read(text: &str) -> RowPeer {
        match text.parse() {
            Ok(Target::Rows(peer)) => peer,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_peer_has_an_address_and_options() {
        let kafka = read("kafka=a:9092,[2001:DB8::1]:9093/rows.v1_x-y,tls=on,sasl=scram-sha-512,credentials=/etc/x=y");
        let brokers = vec![("a".to_owned(), 9092), ("2001:db8::1".to_owned(), 9093)];
        assert_eq!(kafka.peer, Peer::Kafka(brokers, "rows.v1_x-y".to_owned()));
        let credentials = Some("/etc/x=y".into());
        assert_eq!(kafka.options, PeerOptions { tls: true, sasl: Some(Mechanism::ScramSha512), credentials });
        assert_eq!(kafka.to_string(), "kafka a:9092,[2001:db8::1]:9093/rows.v1_x-y");
        let nats = read("nats=a:4222/flowml.rows,credentials=file");
        assert_eq!(nats.peer, Peer::Nats(("a".to_owned(), 4222), "flowml.rows".to_owned()));
        assert_eq!((nats.to_string(), nats.is_secure()), ("nats a:4222/flowml.rows".to_owned(), false));
        for (text, request, shown) in [
            ("otlp=a:4318", "http://a:4318/v1/logs", "otlp http://a:4318"),
            ("otlp=https://me:secret@a/b/", "https://a/b/v1/logs", "otlp https://a/…"),
            ("otlp=[::1]:4318,credentials=file", "http://[::1]:4318/v1/logs", "otlp http://[::1]:4318"),
        ] {
            let peer = read(text);
            let Peer::Otlp(url) = &peer.peer else { panic!("{peer:?}") };
            assert_eq!((url.request("/v1/logs"), peer.to_string()), (request.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn an_invalid_address_is_refused_with_what_was_expected() {
        for text in
            ["", "a", "a:9092", "a:9092/", "/x", "a/x", "a:9092,/x", "a:0/x", "a:9092/x y", "a:9092/..", "a:9092/x/y"]
        {
            assert_eq!(format!("kafka={text}").parse::<Target>(), Err(KAFKA.wrong(text)), "{text}");
        }
        for text in ["", "a:4222", "a:4222/", "a:4222/x..y", "a:4222/x.*", "a:4222/x.>", "a:4222/x y", "a,b:1/x"] {
            assert_eq!(format!("nats={text}").parse::<Target>(), Err(NATS.wrong(text)), "{text}");
        }
        for text in ["", "a", "a:4318/x", "http://", "ftp://a", "http://a?token=secret", "https://a/#secret"] {
            let error = format!("otlp={text}").parse::<Target>().expect_err(text);
            assert_eq!(error, OTLP.wrong(text));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_invalid_option_is_refused_with_what_was_expected() {
        let cases = [
            ("kafka=a:1/x,tls=yes", "invalid value 'yes' for 'tls'; expected on or off"),
            ("kafka=a:1/x,tls=on,tls=on", "output option 'tls' was given twice"),
            (
                "kafka=a:1/x,sasl=gssapi,credentials=f",
                "invalid value 'gssapi' for 'sasl'; expected one of plain, scram-sha-256, scram-sha-512",
            ),
            ("kafka=a:1/x,sasl=plain", "output option 'sasl' needs credentials=FILE as well"),
            ("kafka=a:1/x,credentials=f", "output option 'credentials' needs sasl=MECHANISM as well"),
            ("kafka=a:1/x,mode=0600", "unknown option 'mode' of kafka; expected tls, sasl, credentials"),
            ("nats=a:1/x,sasl=plain", "unknown option 'sasl' of nats; expected tls, credentials"),
            ("nats=a:1/x,credentials=", "invalid value '' for 'credentials'; expected the path of a file"),
            ("otlp=a:1,tls=on", "unknown option 'tls' of otlp; expected credentials"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Target>().map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
    }
}
