//! Servers and clients over TCP and UDP that exchange known numbers of bytes.
//!
//! A request starts with its own length and the requested length of the answer, four bytes each, and is padded with
//! zeros. The answer is all zeros. So the payload of each direction is exactly that of an [`Exchange`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::span::Span;
use crate::lab::{Host, Interface, IpVersion};

/// Length of a request's header in bytes, and so the shortest request.
pub const HEADER: u32 = 8;

/// Longest request or answer in bytes.
const LONGEST: u32 = 256 << 20;

/// Time for which a server waits for data before it checks whether it was stopped.
const TICK: Duration = Duration::from_millis(50);

/// Time for which a client waits for a connection, for room to send, and for data.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes written or read at a time.
const PIECE: usize = 64 * 1024;

static ZEROS: [u8; PIECE] = [0; PIECE];

/// A request and its answer, as lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Payload from client to server, at least [`HEADER`].
    pub request: u32,
    /// Payload from server to client.
    pub response: u32,
}

impl Exchange {
    /// The first `length` bytes of the request, at least its header.
    pub(crate) fn opening(self, length: usize) -> Result<Vec<u8>> {
        self.checked()?;
        let mut bytes = vec![0; length];
        bytes[..4].copy_from_slice(&self.request.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.response.to_be_bytes());
        Ok(bytes)
    }

    fn from_header(header: [u8; HEADER as usize]) -> Result<Self> {
        let [a, b, c, d, e, f, g, h] = header;
        Self { request: u32::from_be_bytes([a, b, c, d]), response: u32::from_be_bytes([e, f, g, h]) }.checked()
    }

    fn checked(self) -> Result<Self> {
        let bounded = (HEADER..=LONGEST).contains(&self.request) && self.response <= LONGEST;
        ensure!(bounded, "{self:?} is out of bounds");
        Ok(self)
    }
}

/// Counts of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// TCP connections accepted, or UDP requests answered.
    pub conversations: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Payload bytes sent.
    pub sent: u64,
}

#[derive(Debug, Default)]
struct Tally {
    conversations: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Tally {
    fn served(&self) -> Served {
        Served {
            conversations: self.conversations.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

/// The common part of TCP and UDP services: an address, a thread, and the counts.
#[derive(Debug)]
struct Service {
    address: SocketAddr,
    span: Span,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Service {
    fn start(
        address: SocketAddr,
        serve: impl FnOnce(&Span, &Arc<Tally>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (span, tally) = (Span::endless(), Arc::<Tally>::default());
        let (its_span, its_tally) = (span.clone(), Arc::clone(&tally));
        let thread = thread::Builder::new().name(format!("service {address}"));
        let thread = thread.spawn(move || serve(&its_span, &its_tally)).context("starting a service's thread")?;
        Ok(Self { address, span, tally, thread: Some(thread) })
    }

    fn stop(&mut self) -> Result<Served> {
        self.span.cut();
        if let Some(thread) = self.thread.take() {
            let Ok(result) = thread.join() else { bail!("the service at {} panicked", self.address) };
            result.with_context(|| format!("the service at {}", self.address))?;
        }
        Ok(self.tally.served())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// A TCP server. Dropping it closes its connections.
#[derive(Debug)]
pub struct TcpService(Service);

impl TcpService {
    /// Listens on a port of this interface.
    pub fn start(interface: &Interface, version: IpVersion, port: u16) -> Result<Self> {
        let address = interface.socket(version, port);
        let listener = interface.host.enter(|| TcpListener::bind(address))?;
        let listener = listener.with_context(|| format!("listening on {address}"))?;
        listener.set_nonblocking(true)?;
        Service::start(address, move |span, tally| accept(&listener, span, tally)).map(Self)
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The counts so far.
    pub fn served(&self) -> Served {
        self.0.tally.served()
    }

    /// Ends the server, and returns its counts.
    pub fn stop(mut self) -> Result<Served> {
        self.0.stop()
    }
}

/// Serves each connection on a thread of its own. A broken connection is not an error of the server.
fn accept(listener: &TcpListener, span: &Span, tally: &Arc<Tally>) -> Result<()> {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !span.is_over() {
        match listener.accept() {
            Ok((stream, _)) => {
                let (span, tally) = (span.clone(), Arc::clone(tally));
                tally.conversations.fetch_add(1, Ordering::Relaxed);
                connections.push(thread::spawn(move || drop(serve(&stream, &span, &tally))));
                connections.retain(|connection| !connection.is_finished());
            }
            // A short sleep instead of poll(2): connections are accepted within a few milliseconds.
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(span.sleep(Duration::from_millis(2))),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            Err(error) => return Err(error).context("accepting a connection"),
        }
    }
    connections.into_iter().try_for_each(JoinHandle::join).ok().context("serving a connection panicked")
}

/// Answers requests until the client closes its side or the span ends.
fn serve(mut stream: &TcpStream, span: &Span, tally: &Tally) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut header = [0; HEADER as usize];
    let mut chunk = vec![0; PIECE];
    while receive(stream, &mut header, span, tally)? {
        let exchange = Exchange::from_header(header)?;
        let mut left = (exchange.request - HEADER) as usize;
        while left > 0 {
            let length = left.min(PIECE);
            ensure!(receive(stream, &mut chunk[..length], span, tally)?, "the request broke off");
            left -= length;
        }
        for length in chunks(exchange.response as usize) {
            stream.write_all(&ZEROS[..length])?;
            tally.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Fills the buffer. Returns false if the other side closed before the first byte, or if the span has ended.
fn receive(mut stream: &TcpStream, buffer: &mut [u8], span: &Span, tally: &Tally) -> Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => bail!("the connection was closed within a request"),
            Ok(n) => {
                filled += n;
                tally.received.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(error) if is_timeout(&error) && span.is_over() => return Ok(false),
            Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The lengths of the chunks in which `length` bytes are sent.
fn chunks(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(PIECE).map(move |start| PIECE.min(length - start))
}

/// A TCP connection to a [`TcpService`].
#[derive(Debug)]
pub struct TcpClient(TcpStream);

impl TcpClient {
    /// Connects from a host.
    pub fn connect(host: &Host, to: SocketAddr) -> Result<Self> {
        host.enter(|| Self::connect_from_here(to))?
    }

    /// Connects from the namespace of this thread.
    pub fn connect_from_here(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// The client's own address and port.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.0.local_addr().context("asking for a connection's address")
    }

    /// Sends a request, and waits for the complete answer.
    pub fn exchange(&mut self, exchange: Exchange) -> Result<()> {
        let request = exchange.request as usize;
        let first = request.min(PIECE);
        self.0.write_all(&exchange.opening(first)?).context("sending a request")?;
        self.go_on(request - first)?;
        self.finish(exchange)
    }

    /// Sends a request in chunks of `chunk` bytes, one every `pause`, and waits for the complete answer.
    pub fn exchange_slowly(&mut self, exchange: Exchange, chunk: usize, pause: Duration) -> Result<()> {
        self.begin(exchange)?;
        let mut left = (exchange.request - HEADER) as usize;
        while left > 0 {
            let length = chunk.clamp(1, PIECE).min(left);
            self.0.write_all(&ZEROS[..length]).context("sending a request")?;
            left -= length;
            thread::sleep(pause);
        }
        self.finish(exchange)
    }

    /// Sends only the start of a request.
    pub fn begin(&mut self, exchange: Exchange) -> Result<()> {
        self.0.write_all(&exchange.opening(HEADER as usize)?).context("sending the header of a request")
    }

    /// Sends `length` more bytes of a started request.
    pub fn go_on(&mut self, length: usize) -> Result<()> {
        chunks(length).try_for_each(|length| self.0.write_all(&ZEROS[..length])).context("sending a part of a request")
    }

    fn finish(&mut self, exchange: Exchange) -> Result<()> {
        let response = u64::from(exchange.response);
        let got = io::copy(&mut (&self.0).take(response), &mut io::sink()).context("reading an answer")?;
        ensure!(got == response, "the answer ended after {got} of {response} bytes");
        Ok(())
    }
}

/// A UDP server.
#[derive(Debug)]
pub struct UdpService(Service);

impl UdpService {
    /// Answers on a port of this interface.
    pub fn start(interface: &Interface, version: IpVersion, port: u16) -> Result<Self> {
        let address = interface.socket(version, port);
        let socket = interface.host.enter(|| UdpSocket::bind(address))?;
        let socket = socket.with_context(|| format!("binding UDP to {address}"))?;
        socket.set_read_timeout(Some(TICK))?;
        Service::start(address, move |span, tally| answer(&socket, span, tally)).map(Self)
    }

    /// The address at which it answers.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Ends the server, and returns its counts.
    pub fn stop(mut self) -> Result<Served> {
        self.0.stop()
    }
}

/// Answers requests. Receives and ignores everything else, such as a flood.
fn answer(socket: &UdpSocket, span: &Span, tally: &Tally) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    while !span.is_over() {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => continue,
            // An ICMP error: a client has closed its socket.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error).context("receiving a datagram"),
        };
        tally.received.fetch_add(length as u64, Ordering::Relaxed);
        let header = buffer[..length].first_chunk().copied();
        let Some(Ok(exchange)) = header.map(Exchange::from_header) else { continue };
        let response = exchange.response as usize;
        if exchange.request as usize == length && response < PIECE {
            // Sending fails if the client has closed its socket or is not reachable. It gets no answer then.
            if socket.send_to(&ZEROS[..response], from).is_ok() {
                tally.conversations.fetch_add(1, Ordering::Relaxed);
                tally.sent.fetch_add(response as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Sends one request from a new UDP socket of a host, and waits for the answer. Returns the client's address.
pub fn udp_exchange(host: &Host, to: SocketAddr, exchange: Exchange) -> Result<SocketAddr> {
    host.enter(|| udp_exchange_from_here(to, exchange))?
}

/// As [`udp_exchange`], from the namespace of this thread.
pub fn udp_exchange_from_here(to: SocketAddr, exchange: Exchange) -> Result<SocketAddr> {
    let socket = udp_socket_to(to)?;
    let request = exchange.opening(exchange.request as usize)?;
    socket.send(&request).with_context(|| format!("asking {to}"))?;
    let got = socket.recv(&mut vec![0; PIECE]).with_context(|| format!("waiting for the answer of {to}"))?;
    ensure!(got == exchange.response as usize, "{to} answered with {got} instead of {} bytes", exchange.response);
    socket.local_addr().context("asking for a socket's address")
}

/// A new UDP socket in the namespace of this thread, connected to one address.
pub(crate) fn udp_socket_to(to: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).context("binding a UDP socket")?;
    socket.connect(to).with_context(|| format!("connecting UDP to {to}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}
