//! Sends messages over UDP, one per datagram, and repeats the templates (RFC 7011 §8.4, §10.3).

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::super::pace::Pace;
use super::super::target::Collector;
use super::account::Account;
use super::message::{Message, Numbering};

/// Maximum length of a message, bytes. With IPv6 and UDP headers it is a packet of 1,280 bytes. Every IPv6 path carries
/// that (RFC 8200 §5), and every IPv4 path except over obsolete links (RFC 7011 §10.3.3).
pub(super) const LONGEST: usize = 1280 - 40 - 8;

/// Templates are repeated after this time or number of messages. So a collector that started later, or missed them, can
/// read records soon (RFC 7011 §8.4; the default of RFC 6728 is 10 minutes).
const TEMPLATES_EVERY: Duration = Duration::from_secs(60);
pub(super) const TEMPLATES_EVERY_MESSAGES: u32 = 1000;

/// After a refusal the templates are repeated at most once in this time, so that a restarted collector has them soon.
const TEMPLATES_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A socket that is connected to the collector.
pub(super) struct Udp {
    socket: UdpSocket,
    /// Whether the run looks into tunnels.
    tunnels: bool,
    numbering: Numbering,
    account: Account,
    /// Records of the last message. They are lost if a refusal follows.
    last: u64,
    templates_due: Instant,
    messages: u32,
    /// The last error since this was last checked.
    trouble: Option<io::Error>,
}

impl Udp {
    /// Resolves the collector's name.
    pub(super) fn open(collector: &Collector, tunnels: bool, pace: Pace) -> io::Result<Self> {
        let addresses = (collector.host.as_str(), collector.port).to_socket_addrs()?;
        let mut outcome = Err(io::Error::new(ErrorKind::NotFound, "the name resolves to no address"));
        for address in addresses {
            outcome = connect(address);
            if outcome.is_ok() {
                break;
            }
        }
        let socket = outcome?;
        // In a live run nothing waits for a busy interface.
        socket.set_nonblocking(pace == Pace::Live)?;
        let (numbering, account) = Default::default();
        let templates_due = Instant::now();
        Ok(Self { socket, tunnels, numbering, account, last: 0, templates_due, messages: 0, trouble: None })
    }

    /// Sends a message, after the templates if they are due.
    pub(super) fn send(&mut self, message: Message) {
        if self.messages >= TEMPLATES_EVERY_MESSAGES || self.templates_due <= Instant::now() {
            (self.messages, self.templates_due) = (0, Instant::now() + TEMPLATES_EVERY);
            for templates in Message::of_templates(LONGEST, self.tunnels) {
                self.send_one(templates);
            }
        }
        self.messages += 1;
        self.send_one(message);
    }

    fn send_one(&mut self, mut message: Message) {
        self.settle();
        let datagram = self.numbering.complete(&mut message);
        let mut outcome = self.socket.send(datagram);
        if matches!(&outcome, Err(error) if error.kind() == ErrorKind::ConnectionRefused) {
            // The error was about the previous message; the system reported it and did not send this one.
            outcome = self.socket.send(datagram);
            self.refused(ErrorKind::ConnectionRefused.into());
        }
        match outcome {
            Ok(_) => {
                self.numbering.sent(&message);
                self.account.sent += message.records();
                self.last = message.records();
            }
            Err(error) => {
                self.account.lost += message.records();
                self.trouble = Some(error);
            }
        }
    }

    /// Checks whether the last message was refused. The collector's host reports that by ICMP after the message was
    /// sent.
    pub(super) fn settle(&mut self) {
        if let Ok(Some(error)) = self.socket.take_error() {
            self.refused(error);
        }
    }

    fn refused(&mut self, error: io::Error) {
        let lost = std::mem::take(&mut self.last);
        self.account.sent -= lost;
        self.account.lost += lost;
        self.templates_due = self.templates_due.min(Instant::now() + TEMPLATES_AFTER_REFUSAL);
        self.trouble = Some(error);
    }

    pub(super) const fn account(&self) -> Account {
        self.account
    }

    pub(super) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take().map(|error| error.to_string())
    }
}

fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}
