//! The rules of `flowml label` for the flows of an attack.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat};

/// The label of normal traffic.
pub const BENIGN: &str = "benign";

/// The flows of an attack during its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    /// All flows between two addresses or networks that have no other traffic at that time.
    Between(String, String),
    /// Flows to a TCP port from all addresses outside a network of known hosts.
    FromAnybodyBut {
        /// A network in CIDR notation.
        known: String,
        victim: IpAddr,
        port: u16,
    },
}

impl Trace {
    pub(super) fn between(one: impl Into<IpAddr>, other: impl Into<IpAddr>) -> Self {
        Self::Between(one.into().to_string(), other.into().to_string())
    }
}

/// A rule for the flows of one label.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) label: &'static str,
    /// Start in ms of Unix time.
    pub(super) from_ms: u64,
    /// End in ms of Unix time, exclusive.
    pub(super) to_ms: u64,
    pub(super) trace: Trace,
}

/// Formats the rules as TOML. Each line of `heading` becomes a comment.
pub(super) fn to_toml(heading: &str, rules: &[Rule]) -> Result<String> {
    let mut text = String::new();
    for line in heading.lines() {
        writeln!(text, "# {line}")?;
    }
    writeln!(text, "default = \"{BENIGN}\"")?;
    for rule in rules {
        match &rule.trace {
            Trace::Between(one, other) => {
                rule.write(
                    &mut text,
                    rule.label,
                    &format!("src_ip = \"{one}\"\ndst_ip = \"{other}\"\ndirection = \"either\""),
                )?;
            }
            Trace::FromAnybodyBut { known, victim, port } => {
                let end = format!("dst_ip = \"{victim}\"\ndst_port = {port}\nprotocol = \"tcp\"");
                rule.write(&mut text, BENIGN, &format!("src_ip = \"{known}\"\n{end}"))?;
                rule.write(&mut text, rule.label, &end)?;
            }
        }
    }
    Ok(text)
}

impl Rule {
    fn write(&self, text: &mut String, label: &str, ends: &str) -> Result<()> {
        let (from, to) = (time(self.from_ms)?, time(self.to_ms)?);
        writeln!(text, "\n[[rule]]\nlabel = \"{label}\"\nfrom = {from}\nto = {to}\n{ends}")?;
        Ok(())
    }
}

/// A time in the form 2026-11-23T09:47:00.250Z.
pub(super) fn time(unix_ms: u64) -> Result<String> {
    let time = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    let time = time.with_context(|| format!("{unix_ms} ms is no time of the calendar"))?;
    Ok(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use flowml_common::headers::protocol;
    use flowml_user::dataset::keys::{End, Key};
    use flowml_user::dataset::rules::Rules;

    use super::*;

    #[test]
    fn rules_label_only_the_flows_of_an_attack_during_its_time() {
        let (from_ms, to_ms) = (1_795_000_000_250, 1_795_000_009_500);
        let victim = "10.77.1.9".parse().expect("an address");
        let scan = Trace::between([10, 77, 1, 20], victim);
        let flood = Trace::FromAnybodyBut { known: "10.77.1.0/24".to_owned(), victim, port: 80 };
        let rules = [("scan", scan), ("flood", flood)].map(|(label, trace)| Rule { label, from_ms, to_ms, trace });
        let file = tempfile::NamedTempFile::new().expect("there is room");
        std::fs::write(file.path(), to_toml("Two attacks.", &rules).expect("they are rules")).expect("there is room");
        let rules = Rules::read(file.path()).expect("they are as `flowml label` reads them");
        assert_eq!(rules.default_label(), Some(BENIGN));
        let label = |source: &str, destination: &str, start_ms: u64| {
            let end = |text: &str| {
                let end: SocketAddr = text.parse().expect("an address with a port");
                End { address: end.ip(), port: end.port() }
            };
            let (source, destination) = (end(source), end(destination));
            let key = Key { source, destination, protocol: protocol::TCP, start_ms: start_ms as i64 };
            rules.label(&key).map(str::to_owned)
        };
        let labelled = |name: &str| Some(name.to_owned());
        assert_eq!(label("10.77.1.20:4", "10.77.1.9:22", from_ms), labelled("scan"));
        assert_eq!(label("10.77.1.9:22", "10.77.1.20:4", to_ms - 1), labelled("scan"));
        assert_eq!(label("10.77.1.20:4", "10.77.1.9:22", from_ms - 1), None);
        assert_eq!(label("10.77.1.20:4", "10.77.1.9:22", to_ms), None);
        assert_eq!(label("10.77.1.21:4", "10.77.1.9:22", from_ms), None);
        assert_eq!(label("203.0.113.5:4", "10.77.1.9:80", from_ms), labelled("flood"));
        assert_eq!(label("10.77.1.3:4", "10.77.1.9:80", from_ms), labelled(BENIGN));
        assert_eq!(label("203.0.113.5:4", "10.77.1.9:443", from_ms), None);
    }
}
