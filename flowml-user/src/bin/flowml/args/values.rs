//! Parsers of values that several commands take, and the bounds of these values.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use flowml_user::dataset::TableFormat;

pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(DAY);
pub(super) const TOLERANCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
pub(super) const RUN_TIME: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(365 * DAY);

/// Seconds.
pub(super) const DAY: u64 = 86_400;

/// Parses the name of a value in a table.
pub(super) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [T],
    name: fn(T) -> &'static str,
    meaning: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names: Vec<_> = table.iter().map(|value| PossibleValue::new(name(*value)).help(meaning(*value))).collect();
    PossibleValuesParser::new(names).map(move |chosen| {
        *table.iter().find(|value| name(**value) == chosen).expect("the parser lets these names pass alone")
    })
}

pub(super) fn interface_twice(interfaces: &[impl ToString]) -> Option<String> {
    let mut seen = HashSet::new();
    let twice = interfaces.iter().map(ToString::to_string).find(|name| !seen.insert(name.clone()))?;
    Some(format!("interface '{twice}' was given twice with '--interface': expected each name once"))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let of_loopback = || text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().or_else(|_| of_loopback()).map_err(|_| {
        "expected an IP address and a port, as in 127.0.0.1:9750 or [::1]:9750, or a port of 127.0.0.1, as in 9750"
            .to_owned()
    })
}

pub(super) fn table(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let known = TableFormat::of(&path).is_some();
    if known { Ok(path) } else { Err("expected a .csv or .parquet file, or '-'".to_owned()) }
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value < 1.0);
    value.ok_or_else(|| "expected a number between 0 and 1, as in 0.0001".to_owned())
}

pub(super) fn json_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("json=").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(|| "expected json=PATH".to_owned())
}
