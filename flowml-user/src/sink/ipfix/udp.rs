//! Messages over UDP: one a datagram, the templates again from time to time (RFC 7011 §8.4, §10.3).

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::super::Pace;
use super::super::target::Collector;
use super::Account;
use super::message::{Message, Numbering};

/// The longest message: with its headers of IPv6 and UDP a packet of 1,280 bytes, which every path of IPv6 carries
/// (RFC 8200 §5) and, but for links that nobody builds any more, every path of IPv4 (RFC 7011 §10.3.3).
pub(super) const LONGEST: usize = 1280 - 40 - 8;

/// Templates are sent again after this time or so many messages, so that a collector that began later, or missed them,
/// soon can read records (RFC 7011 §8.4; RFC 6728 has 10 minutes as the default).
const TEMPLATES_EVERY: Duration = Duration::from_secs(60);
pub(super) const TEMPLATES_EVERY_MESSAGES: u32 = 1000;

/// A collector that is back is given the templates not later than this, but not with each of its refusals.
const TEMPLATES_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A socket that is connected to the collector.
pub(super) struct Udp {
    socket: UdpSocket,
    numbering: Numbering,
    account: Account,
    /// Records of the last message: lost, should a refusal follow it.
    last: u64,
    templates_due: Instant,
    messages: u32,
    /// What went wrong since that was last asked.
    trouble: Option<io::Error>,
}

impl Udp {
    /// Looks the collector up.
    pub(super) fn open(collector: &Collector, pace: Pace) -> io::Result<Self> {
        let addresses = (collector.host.as_str(), collector.port).to_socket_addrs()?;
        let mut outcome = Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
        for address in addresses {
            outcome = connect(address);
            if outcome.is_ok() {
                break;
            }
        }
        let socket = outcome?;
        // Where packets come all the time nothing waits for an interface that is busy.
        socket.set_nonblocking(pace == Pace::Live)?;
        let (numbering, account) = Default::default();
        Ok(Self { socket, numbering, account, last: 0, templates_due: Instant::now(), messages: 0, trouble: None })
    }

    /// Sends a message, and before it the templates where they are due.
    pub(super) fn send(&mut self, message: Message) {
        if self.messages >= TEMPLATES_EVERY_MESSAGES || self.templates_due <= Instant::now() {
            (self.messages, self.templates_due) = (0, Instant::now() + TEMPLATES_EVERY);
            for templates in Message::of_templates(LONGEST) {
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
            // That was of the message before; telling it, the system has not sent this one.
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

    /// Looks whether the last message was refused: the system learns that from the collector's host (ICMP), after it
    /// was sent.
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
