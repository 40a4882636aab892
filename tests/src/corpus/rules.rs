//! The rules of `flowml label` that tell which flows an attack made.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat};

/// The label of ordinary traffic.
pub const BENIGN: &str = "benign";

/// How an attack's flows are recognised within its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    /// Everything between two addresses or networks that have nothing else to do with each other then.
    Between(String, String),
    /// What anybody opens to a TCP port, except for a network of known hosts.
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

/// Flows that have a label.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) label: &'static str,
    /// Unix time, ms.
    pub(super) from_ms: u64,
    /// Unix time, ms, not included.
    pub(super) to_ms: u64,
    pub(super) trace: Trace,
}

/// The rules as TOML. `heading` becomes a comment, a line for each of its own.
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

/// As in 2026-11-23T09:47:00.250Z.
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
    fn rules_label_the_flows_of_an_attack_in_its_time_and_no_others() {
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
