//! Resolves names of hosts when an output is opened.

use std::io;
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use super::super::pace::Pace;

/// If a name fails to resolve after this time, a live run may have started without it: the start waits for an output for
/// one second.
pub(in crate::export) const SLOW: Duration = Duration::from_millis(500);

/// Resolves the names of hosts, so that invalid ones are reported now. Later a name may have other addresses, or none for a
/// time. The libraries that resolve names must be loaded before system calls are filtered. One valid name suffices.
/// Returns the reason if no name can be resolved yet.
pub(in crate::export) fn resolve<'a>(
    places: impl IntoIterator<Item = (&'a str, u16)>,
    pace: Pace,
) -> io::Result<Option<String>> {
    let begun = Instant::now();
    let mut failure = None;
    for place in places {
        match place.to_socket_addrs() {
            Ok(_) => return Ok(None),
            Err(error) => failure = Some(error),
        }
    }
    failure.map(|error| unresolved(error, begun.elapsed(), pace)).transpose()
}

/// The reason why a name was not resolved, if a live run may have started meanwhile. Then deliveries resolve it again.
pub(in crate::export) fn unresolved(error: io::Error, took: Duration, pace: Pace) -> io::Result<String> {
    if pace == Pace::Live && took >= SLOW { Ok(error.to_string()) } else { Err(error) }
}
