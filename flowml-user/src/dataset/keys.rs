//! The subject of each row of a batch: a flow with its start, or a host with its window.

use std::net::IpAddr;

use arrow_array::RecordBatch;

use super::DatasetError;
use super::columns::{numbers_of, texts_of};

/// The columns that identify the flow of a row.
pub const KEY_COLUMNS: [&str; 6] =
    ["src_ip", "src_port", "dst_ip", "dst_port", "protocol", "bidirectional_first_seen_ms"];

/// One endpoint of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A flow and its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The initiator.
    pub source: End,
    /// The responder.
    pub destination: End,
    /// IP protocol number.
    pub protocol: u8,
    /// Unix time of the first packet, ms.
    pub start_ms: i64,
}

/// A host and its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// The address of the host.
    pub address: IpAddr,
    /// Start and end of the window, Unix time in ms.
    pub window_ms: (i64, i64),
}

/// The columns that identify the host window of a row.
pub(crate) const HOST_KEY_COLUMNS: [&str; 3] = ["address", "window_start_ms", "window_end_ms"];

/// The subject of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A flow.
    Flow(Key),
    /// A host window.
    Host(HostKey),
}

/// The subjects of the rows; None if a column has no valid value.
///
/// # Errors
/// If the columns are neither those of flows nor those of host windows.
pub fn subjects(batch: &RecordBatch) -> Result<Vec<Option<Subject>>, DatasetError> {
    if HOST_KEY_COLUMNS.iter().any(|name| batch.column_by_name(name).is_none()) {
        return Ok(keys(batch)?.into_iter().map(|key| key.map(Subject::Flow)).collect());
    }
    let [address, from, to] = HOST_KEY_COLUMNS;
    let (address, from, to) = (texts_of(batch, address)?, numbers_of(batch, from)?, numbers_of(batch, to)?);
    let host = |row: usize| {
        let time = |number: f64| whole(number.floor(), LATEST_MS).map(|ms| ms as i64);
        let window_ms = (time(from[row])?, time(to[row])?);
        Some(Subject::Host(HostKey { address: address[row]?.parse().ok()?, window_ms }))
    };
    Ok((0..batch.num_rows()).map(host).collect())
}

/// Times after this are invalid, ms.
const LATEST_MS: f64 = 1e15;

/// The keys of all rows; None if a column has no valid value.
///
/// # Errors
/// If a column is missing, or has another type.
pub fn keys(batch: &RecordBatch) -> Result<Vec<Option<Key>>, DatasetError> {
    let [src_ip, src_port, dst_ip, dst_port, protocol, start] = KEY_COLUMNS;
    let (src_ip, dst_ip) = (texts_of(batch, src_ip)?, texts_of(batch, dst_ip)?);
    let (src_port, dst_port) = (numbers_of(batch, src_port)?, numbers_of(batch, dst_port)?);
    let (protocol, start) = (numbers_of(batch, protocol)?, numbers_of(batch, start)?);
    let key = |row: usize| {
        let end = |address: Option<&str>, port: f64| {
            Some(End { address: address?.parse().ok()?, port: whole(port, u16::MAX.into())? as u16 })
        };
        Some(Key {
            source: end(src_ip[row], src_port[row])?,
            destination: end(dst_ip[row], dst_port[row])?,
            protocol: whole(protocol[row], u8::MAX.into())? as u8,
            start_ms: whole(start[row].floor(), LATEST_MS)? as i64,
        })
    };
    Ok((0..batch.num_rows()).map(key).collect())
}

/// The number, if it is an integer from 0 to `most`.
fn whole(number: f64, most: f64) -> Option<f64> {
    (number.fract() == 0.0 && (0.0..=most).contains(&number)).then_some(number)
}
