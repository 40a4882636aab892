//! Labels by rules that state who attacked whom and when, as the documentation of many data sets does (CIC-IDS2017).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use flowml_common::headers::protocol;
use ipnet::IpNet;
use serde::Deserialize;
use toml::value::{Datetime, Offset};
use toml::{Spanned, Value};

use super::Position;
use super::keys::{End, HostKey, Key, Subject};
use crate::process::whole;

/// Maximum size of a file of rules, bytes.
const LONGEST: u64 = 16 << 20;

/// An error of reading rules.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file has invalid content.
    #[error("{path}:{line}:{column}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The expected value.
        message: String,
    },
}

/// The rules of a file, in their order.
#[derive(Debug)]
pub struct Rules {
    default: Option<String>,
    rules: Vec<Rule>,
}

/// A label, and the conditions that a flow must meet.
#[derive(Debug)]
struct Rule {
    label: String,
    /// The time of the first packet, Unix time in ms, without the end.
    time: Range<i64>,
    source: Ends,
    destination: Ends,
    protocols: Vec<u8>,
    either_way: bool,
}

/// The conditions on one endpoint; an empty list allows everything.
#[derive(Debug, Default)]
struct Ends {
    networks: Vec<IpNet>,
    ports: Vec<RangeInclusive<u16>>,
}

impl Ends {
    fn allow(&self, end: End) -> bool {
        let network = self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&end.address));
        network && (self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(&end.port)))
    }
}

impl Ends {
    fn name(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl Rule {
    /// Whether the rule matches a host window: the window overlaps the rule's time, and the rule names the host. A rule
    /// without addresses matches all hosts.
    fn holds_for_host(&self, host: &HostKey) -> bool {
        let (from, to) = host.window_ms;
        let ends = [&self.source, &self.destination];
        from < self.time.end
            && to > self.time.start
            && (ends.iter().all(|ends| ends.networks.is_empty()) || ends.iter().any(|ends| ends.name(host.address)))
    }

    fn holds(&self, key: &Key) -> bool {
        let ends = |from, to| self.source.allow(from) && self.destination.allow(to);
        self.time.contains(&key.start_ms)
            && (self.protocols.is_empty() || self.protocols.contains(&key.protocol))
            && (ends(key.source, key.destination) || self.either_way && ends(key.destination, key.source))
    }
}

impl Rules {
    /// Reads the rules of a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has invalid content. The error has the line and the column.
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let text = whole::read_text(path, LONGEST);
        let text = text.map_err(|source| RulesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(at, message)| {
            let Position { line, column } = Position::of(&text, at);
            RulesError::Malformed { path: path.to_owned(), line, column, message }
        })
    }

    /// The label of flows that no rule matches, if the file has one.
    #[must_use]
    pub fn default_label(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The label of the first rule that holds.
    #[must_use]
    pub fn label(&self, key: &Key) -> Option<&str> {
        self.find(&Subject::Flow(*key)).map(|(_, label)| label)
    }

    /// The number of the first rule that matches, from 1, and its label.
    #[must_use]
    pub fn find(&self, subject: &Subject) -> Option<(usize, &str)> {
        let holds = |rule: &Rule| match subject {
            Subject::Flow(key) => rule.holds(key),
            Subject::Host(host) => rule.holds_for_host(host),
        };
        let place = self.rules.iter().position(holds)?;
        Some((place + 1, self.rules[place].label.as_str()))
    }

    /// Parses rules. The error has the position in the text.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let file: FileText = toml::from_str(text)
            .map_err(|error| (error.span().map_or(0, |span| span.start), error.message().replace('\n', "; ")))?;
        let rules = file.rule.into_iter().map(Rule::of).collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Err((0, "expected a [[rule]]".to_owned()));
        }
        Ok(Self { default: file.default, rules })
    }
}

/// The offset of an error in the text, bytes, and what was expected.
type Wrong = (usize, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    default: Option<String>,
    #[serde(default)]
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    label: String,
    from: Option<Spanned<Datetime>>,
    to: Option<Spanned<Datetime>>,
    src_ip: Option<Spanned<Value>>,
    src_port: Option<Spanned<Value>>,
    dst_ip: Option<Spanned<Value>>,
    dst_port: Option<Spanned<Value>>,
    protocol: Option<Spanned<Value>>,
    direction: Option<Spanned<String>>,
}

impl Rule {
    fn of(text: RuleText) -> Result<Self, Wrong> {
        let time = text.from.as_ref().map_or(Ok(i64::MIN), unix_ms)?..text.to.as_ref().map_or(Ok(i64::MAX), unix_ms)?;
        if let Some(to) = text.to.as_ref().filter(|_| time.is_empty()) {
            return Err((to.span().start, "expected a time after 'from'".to_owned()));
        }
        let ends = |ip, port| Ok(Ends { networks: each(ip, network)?, ports: each(port, ports)? });
        Ok(Self {
            label: text.label,
            time,
            source: ends(text.src_ip, text.src_port)?,
            destination: ends(text.dst_ip, text.dst_port)?,
            protocols: each(text.protocol, protocol_number)?,
            either_way: match &text.direction {
                None => false,
                Some(direction) => match direction.get_ref().as_str() {
                    "forward" => false,
                    "either" => true,
                    _ => {
                        let expected = "expected \"forward\" (src is the initiator) or \"either\"";
                        return Err((direction.span().start, expected.to_owned()));
                    }
                },
            },
        })
    }
}

/// Parses one value or a list of values with `read`.
fn each<T>(value: Option<Spanned<Value>>, read: impl Fn(&Value) -> Result<T, &'static str>) -> Result<Vec<T>, Wrong> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let at = value.span().start;
    let read = |value: &Value| read(value).map_err(|expected| (at, format!("expected {expected}, found {value}")));
    match value.get_ref() {
        Value::Array(values) if values.is_empty() => Err((at, "expected a value in the list".to_owned())),
        Value::Array(values) => values.iter().map(read).collect(),
        one => Ok(vec![read(one)?]),
    }
}

fn network(value: &Value) -> Result<IpNet, &'static str> {
    let text = value.as_str().unwrap_or_default();
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or("an address or a network, as in \"10.0.0.1\" or \"10.0.0.0/8\"")
}

fn ports(value: &Value) -> Result<RangeInclusive<u16>, &'static str> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-')?;
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?).filter(|range| !range.is_empty())
    };
    match value {
        Value::Integer(port) => u16::try_from(*port).ok().map(|port| port..=port),
        Value::String(text) => range(text),
        _ => None,
    }
    .ok_or("a port or a range, as in 80 or \"8000-8080\"")
}

fn protocol_number(value: &Value) -> Result<u8, &'static str> {
    let names = BTreeMap::from([
        ("tcp", protocol::TCP),
        ("udp", protocol::UDP),
        ("icmp", protocol::ICMP),
        ("icmpv6", protocol::ICMPV6),
        ("sctp", protocol::SCTP),
    ]);
    match value {
        Value::Integer(number) => u8::try_from(*number).ok(),
        Value::String(name) => names.get(name.to_ascii_lowercase().as_str()).copied(),
        _ => None,
    }
    .ok_or("\"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"sctp\" or a number up to 255")
}

/// A Unix time in ms. A time must have a UTC offset to be unambiguous.
fn unix_ms(time: &Spanned<Datetime>) -> Result<i64, Wrong> {
    let Datetime { date: Some(date), time: Some(clock), offset: Some(offset) } = time.get_ref() else {
        let expected = "expected a date, a time and an offset, as in 2017-07-05T09:47:00-03:00";
        return Err((time.span().start, expected.to_owned()));
    };
    let offset_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(*minutes),
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let minutes = (days * 24 + i64::from(clock.hour)) * 60 + i64::from(clock.minute) - offset_minutes;
    let ms = i64::from(clock.second.unwrap_or(0)) * 1000 + i64::from(clock.nanosecond.unwrap_or(0)) / 1_000_000;
    Ok(minutes * 60_000 + ms)
}

/// Days from 1 January 1970 to a day of the Gregorian calendar. Years are counted from March, so that a leap day is the
/// last day of its year. The number of days before a month is then (153·m + 2) / 5.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        default = "normal"

        [[rule]]
        label = "web attack"
        from = 2017-07-06T09:20:00-03:00
        to = 2017-07-06T10:00:00-03:00
        src_ip = "172.16.0.1"
        dst_ip = ["192.168.10.50", "192.168.20.0/24"]
        dst_port = [80, "8000-8080"]
        protocol = "tcp"

        [[rule]]
        label = "infiltration"
        src_ip = "10.0.0.0/8"
        direction = "either"
    "#;

    fn key(source: &str, destination: &str, number: u8, start_ms: i64) -> Key {
        let end = |text: &str| {
            let end: std::net::SocketAddr = text.parse().expect("an address with a port");
            End { address: end.ip(), port: end.port() }
        };
        Key { source: end(source), destination: end(destination), protocol: number, start_ms }
    }

    #[test]
    fn the_first_rule_that_holds_gives_the_label() {
        let rules = Rules::parse(RULES).expect("they are good");
        assert_eq!(rules.default_label(), Some("normal"));
        // 12:20:00 UTC, by `date --date 2017-07-06T09:20:00-03:00 +%s`.
        let from = 1_499_343_600_000;
        let web = |source: &str, destination: &str, number, start_ms| {
            rules.label(&key(source, destination, number, start_ms)).map(str::to_owned)
        };
        let yes = Some("web attack".to_owned());
        assert_eq!(web("172.16.0.1:1", "192.168.10.50:80", 6, from), yes);
        assert_eq!(web("172.16.0.1:1", "192.168.20.7:8080", 6, from + 2_399_999), yes);
        assert_eq!(web("172.16.0.1:1", "192.168.10.50:80", 6, from - 1), None);
        assert_eq!(web("172.16.0.1:1", "192.168.10.50:80", 6, from + 2_400_000), None);
        assert_eq!(web("172.16.0.1:1", "192.168.10.50:80", 17, from), None);
        assert_eq!(web("172.16.0.1:1", "192.168.10.51:80", 6, from), None);
        assert_eq!(web("172.16.0.1:1", "192.168.10.50:81", 6, from), None);
        assert_eq!(web("192.168.10.50:80", "172.16.0.1:1", 6, from), None);
        let either = Some("infiltration".to_owned());
        assert_eq!(web("10.9.9.9:1", "1.1.1.1:1", 1, 0), either);
        assert_eq!(web("1.1.1.1:1", "10.9.9.9:1", 1, 0), either);
        assert_eq!(web("1.1.1.1:1", "[2001:db8::1]:1", 1, 0), None);
    }

    #[test]
    fn days_are_counted_by_the_gregorian_calendar() {
        let days =
            [(1970, 1, 1, 0), (1969, 12, 31, -1), (2000, 2, 29, 11_016), (2000, 3, 1, 11_017), (2026, 11, 23, 20_780)];
        for (year, month, day, expected) in days {
            assert_eq!(days_since_1970(year, month, day), expected, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn errors_have_their_position() {
        let folder = std::env::temp_dir().join(format!("flowml-rules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is room");
        let path = folder.join("rules.toml");
        let cases = [
            ("[[rule]]\nlabel = \"a\"\nsrc_ip = \"10.0.0\"\n", "3:10: expected an address or a network"),
            ("[[rule]]\nlabel = \"a\"\ndst_port = [80, \"90-80\"]\n", "3:12: expected a port or a range"),
            ("[[rule]]\nlabel = \"a\"\nprotocol = \"tpc\"\n", "3:12: expected \"tcp\""),
            ("[[rule]]\nlabel = \"a\"\nfrom = 2017-07-06T09:20:00\n", "3:8: expected a date, a time and an offset"),
            (
                "[[rule]]\nlabel = \"a\"\nfrom = 2017-07-06T09:20:00Z\nto = 2017-07-06T09:00:00Z\n",
                "4:6: expected a time after 'from'",
            ),
            ("[[rule]]\nlabel = \"a\"\ndirection = \"back\"\n", "3:13: expected \"forward\""),
            ("[[rule]]\nlabel = \"a\"\nsrc = \"10.0.0.1\"\n", "3:1: unknown field `src`"),
            ("[[rule]]\nsrc_ip = \"10.0.0.1\"\n", "missing field `label`"),
            ("[[rule]\n", "1:8: "),
            ("default = \"a\"\n", "1:1: expected a [[rule]]"),
        ];
        for (text, expected) in cases {
            std::fs::write(&path, text).expect("there is room");
            let message = Rules::read(&path).expect_err(text).to_string();
            assert!(message.starts_with(&format!("{}:", path.display())), "{message}");
            assert!(message.contains(expected) && !message.contains('\n'), "{message}: no {expected}");
        }
        std::fs::remove_dir_all(folder).expect("the folder is ours");
    }
}
