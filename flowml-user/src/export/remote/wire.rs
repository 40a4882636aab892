//! A connection over TCP, encrypted or not, with a time limit for each exchange.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connect::connect;
use super::tls::Tls;

/// A connection.
pub(in crate::export) struct Wire {
    stream: TcpStream,
    #[cfg(feature = "http")]
    tls: Option<Box<rustls::ClientConnection>>,
}

impl Wire {
    /// Connects to a host.
    pub(in crate::export) fn open(place: (&str, u16), deadline: Instant) -> io::Result<Self> {
        let stream = connect(place, left(deadline))?;
        // Requests are written at once, and the answer to each is awaited.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            #[cfg(feature = "http")]
            tls: None,
        })
    }

    /// Sets the time limit of what follows.
    pub(in crate::export) fn set_deadline(&self, deadline: Instant) -> io::Result<()> {
        let left = Some(left(deadline));
        self.stream.set_read_timeout(left)?;
        self.stream.set_write_timeout(left)
    }

    /// Encrypts what follows.
    #[cfg(feature = "http")]
    pub(in crate::export) fn encrypt(&mut self, tls: &Tls, host: &str) -> io::Result<()> {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection = rustls::ClientConnection::new(tls.config(), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(connection));
        Ok(())
    }

    /// There is no TLS.
    #[cfg(not(feature = "http"))]
    pub(in crate::export) fn encrypt(&mut self, tls: &Tls, _host: &str) -> io::Result<()> {
        match tls.0 {}
    }
}

/// The time that is left. The system has no limit of zero.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "http")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).read(bytes);
        }
        self.stream.read(bytes)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "http")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).write(bytes);
        }
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "http")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut self.stream).flush();
        }
        self.stream.flush()
    }
}
