//! Sends events to a syslog server: over a socket of this host, UDP or TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use super::super::remote::{Failure, connect};
use super::super::target::{Format, SyslogServer};
use super::event::Event;
use super::receive::Receive;
use super::syslog_message::{local_message, message};

/// The time after which a datagram counts as accepted, unless the server's host has reported by ICMP that nobody listens.
/// UDP has no acknowledgement.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);

/// At the end of the run the time for one datagram is this part of the time that is left, so that several hundred
/// waiting events are sent in the last second.
const LAST_PART: u32 = 64;

/// A syslog server.
pub(super) struct Syslog {
    server: SyslogServer,
    format: Format,
    /// The connection over TCP.
    stream: Option<TcpStream>,
}

impl Syslog {
    pub(super) fn new(server: &SyslogServer, format: Format) -> Self {
        Self { server: server.clone(), format, stream: None }
    }

    fn send(&mut self, message: &str, limit: Duration) -> io::Result<()> {
        match &self.server {
            SyslogServer::Unix(path) => send_local(path, message, limit),
            SyslogServer::Udp(host, port) => send_datagram(&(host.as_str(), *port), message, limit),
            SyslogServer::Tcp(host, port) => {
                let known = self.stream.take().filter(|stream| still_open(stream).is_ok());
                let mut stream = match known {
                    Some(stream) => stream,
                    None => connect((host.as_str(), *port), limit)?,
                };
                stream.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
                // The length comes first (RFC 6587 §3.4.1).
                stream.write_all(format!("{} {message}", message.len()).as_bytes())?;
                self.stream = Some(stream);
                Ok(())
            }
        }
    }
}

impl Receive for Syslog {
    fn deliver(&mut self, event: &Event<'_>, limit: Duration) -> Result<(), Failure> {
        let message = match &self.server {
            SyslogServer::Unix(_) => local_message(self.format, event),
            SyslogServer::Udp(..) | SyslogServer::Tcp(..) => message(self.format, event),
        };
        self.send(&message, limit).map_err(|error| failure(&error))
    }
}

/// A message that is too long for the socket never arrives. All other errors may pass.
fn failure(error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) {
        return Failure::Refused("the message is too long for its socket".to_owned());
    }
    Failure::Later(error.to_string())
}

/// Sends to a socket that the server has made. It may make a new one at each start.
fn send_local(path: &Path, message: &str, limit: Duration) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
    socket.send(message.as_bytes()).map(drop)
}

fn send_datagram(place: &(&str, u16), message: &str, limit: Duration) -> io::Result<()> {
    let mut outcome = Err(io::Error::new(ErrorKind::NotFound, "the name resolves to no address"));
    for address in place.to_socket_addrs()? {
        outcome = send_to(address, message, limit);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn send_to(address: SocketAddr, message: &str, limit: Duration) -> io::Result<()> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.send(message.as_bytes())?;
    sleep(REFUSED_WITHIN.min(limit / LAST_PART));
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Fails if the server has closed the connection. Without this check the next message would be written without an error,
/// and lost. A server sends nothing, so other data is ignored.
fn still_open(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_not_tried_again() {
        let too_long = io::Error::from_raw_os_error(Errno::MSGSIZE.raw_os_error());
        assert!(matches!(failure(&too_long), Failure::Refused(_)));
        assert!(matches!(failure(&ErrorKind::ConnectionRefused.into()), Failure::Later(_)));
    }
}
