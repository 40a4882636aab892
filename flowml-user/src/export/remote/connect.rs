//! Connects to a host over TCP.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Connects to the first address of a host that accepts within `limit`.
pub(in crate::export) fn connect(place: (&str, u16), limit: Duration) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::new(ErrorKind::NotFound, "the name resolves to no address"));
    for address in place.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1)));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
