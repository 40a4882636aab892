//! Normal traffic of hosts: web pages, DNS, terminals, downloads and pings, partly over IPv6.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;

use super::peers::{Exchange, HEADER, TcpClient, TcpService, UdpService, udp_exchange_from_here};
use super::rhythm::Rhythm;
use super::span::Span;
use crate::lab::{Interface, IpVersion};

/// TCP ports that a [`Background`]'s server listens on.
pub const TCP_PORTS: &[u16] = &[SSH, HTTP, HTTPS, DOWNLOADS];

const SSH: u16 = 22;
const DNS: u16 = 53;
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const DOWNLOADS: u16 = 8080;

/// Ratio of conversations that use IPv6.
const IPV6_SHARE: f64 = 0.3;

/// The intensity of the background traffic.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Seed of all random choices. The times of packets also depend on the machine.
    pub seed: u64,
    /// The maximum duration.
    pub duration: Duration,
    /// Rate of actions relative to one person: at 1, a client requests about two pages a second.
    pub pace: f64,
}

impl Default for Habits {
    fn default() -> Self {
        Self { seed: 0, duration: Duration::from_secs(60), pace: 1.0 }
    }
}

/// Counts of what the clients have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// TCP connections, UDP requests and runs of ping that were completed.
    pub conversations: u64,
    /// Payload bytes of TCP and UDP that clients sent.
    pub sent: u64,
    /// Payload bytes of TCP and UDP that clients received.
    pub received: u64,
    /// Conversations that were interrupted.
    pub failures: u64,
}

impl std::ops::AddAssign for Outcomes {
    fn add_assign(&mut self, more: Self) {
        self.conversations += more.conversations;
        self.sent += more.sent;
        self.received += more.received;
        self.failures += more.failures;
    }
}

/// Clients that use a server. Dropping it ends their traffic.
#[derive(Debug)]
pub struct Background {
    span: Span,
    clients: Vec<JoinHandle<Result<Outcomes>>>,
    _services: Services,
}

#[derive(Debug)]
struct Services {
    _tcp: Vec<TcpService>,
    _udp: Vec<UdpService>,
}

impl Services {
    fn start(server: &Interface) -> Result<Self> {
        let versions = [IpVersion::V4, IpVersion::V6];
        let tcp = versions.iter().flat_map(|&version| TCP_PORTS.iter().map(move |&port| (version, port)));
        Ok(Self {
            _tcp: tcp.map(|(version, port)| TcpService::start(server, version, port)).collect::<Result<_>>()?,
            _udp: versions.iter().map(|&version| UdpService::start(server, version, DNS)).collect::<Result<_>>()?,
        })
    }
}

impl Background {
    /// Starts the services on the server, and one thread for each activity of each client.
    pub fn start(clients: &[&Interface], server: &Interface, habits: Habits) -> Result<Self> {
        let services = Services::start(server)?;
        let mut background = Self { span: Span::lasting(habits.duration), clients: Vec::new(), _services: services };
        for (n, &interface) in clients.iter().enumerate() {
            for (m, &activity) in ACTIVITIES.iter().enumerate() {
                let seed = habits.seed ^ ((n as u64) << 32 | (m as u64) << 16);
                let client = Client {
                    interface: interface.clone(),
                    server: server.clone(),
                    rhythm: Rhythm::new(seed, &background.span, habits.pace),
                    outcomes: Outcomes::default(),
                };
                background.clients.push(interface.host.spawn_thread(move || client.live(activity))?);
            }
        }
        Ok(background)
    }

    /// Waits until the duration has passed, and returns the counts.
    pub fn finish(mut self) -> Result<Outcomes> {
        self.join()
    }

    /// Ends the traffic now, and returns the counts.
    pub fn stop(mut self) -> Result<Outcomes> {
        self.span.cut();
        self.join()
    }

    fn join(&mut self) -> Result<Outcomes> {
        let mut outcomes = Outcomes::default();
        for client in self.clients.drain(..) {
            let Ok(done) = client.join() else { bail!("a client of the background panicked") };
            outcomes += done?;
        }
        Ok(outcomes)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.span.cut();
        if let Err(error) = self.join() {
            eprintln!("the background: {error:#}");
        }
    }
}

/// One action of a client. The thread repeats it: it waits, then performs the action once.
type Activity = fn(&mut Client) -> Result<()>;

const ACTIVITIES: &[Activity] =
    &[Client::browse, Client::look_up, Client::use_terminal, Client::download, Client::ping];

/// One client with one activity.
struct Client {
    interface: Interface,
    server: Interface,
    rhythm: Rhythm,
    outcomes: Outcomes,
}

impl Client {
    fn live(mut self, activity: Activity) -> Outcomes {
        while !self.rhythm.span.is_over() {
            match activity(&mut self) {
                Ok(()) => {}
                // An interrupted conversation is expected, especially under attack. It is not restarted at once.
                Err(_) => {
                    self.outcomes.failures += 1;
                    self.rhythm.span.sleep(Duration::from_millis(200));
                }
            }
        }
        self.outcomes
    }

    /// A page: a query for its server's name, then a few requests over one connection.
    fn browse(&mut self) -> Result<()> {
        if !self.rhythm.pause(0.5) {
            return Ok(());
        }
        self.ask_name()?;
        let port = if self.rhythm.random.gen_bool(0.7) { HTTPS } else { HTTP };
        let mut connection = self.connect(port)?;
        for _ in 0..self.rhythm.random.gen_range(1..=6) {
            let exchange = Exchange {
                request: self.rhythm.random.gen_range(300..1500),
                response: self.rhythm.pareto(2_000, 300_000),
            };
            self.exchange(&mut connection, exchange)?;
            if !self.rhythm.pause(0.03) {
                break;
            }
        }
        self.outcomes.conversations += 1;
        Ok(())
    }

    /// A DNS query that no connection follows.
    fn look_up(&mut self) -> Result<()> {
        if self.rhythm.pause(0.7) { self.ask_name() } else { Ok(()) }
    }

    /// Keystrokes and their echoes, sometimes a screenful.
    fn use_terminal(&mut self) -> Result<()> {
        if !self.rhythm.pause(1.0) {
            return Ok(());
        }
        let mut connection = self.connect(SSH)?;
        self.exchange(&mut connection, Exchange { request: 1500, response: 1600 })?;
        for _ in 0..self.rhythm.random.gen_range(20..80) {
            let response = if self.rhythm.random.gen_bool(0.1) { self.rhythm.pareto(400, 8_000) } else { 36 };
            self.exchange(&mut connection, Exchange { request: 36, response })?;
            if !self.rhythm.pause(0.15) {
                break;
            }
        }
        self.outcomes.conversations += 1;
        Ok(())
    }

    /// Some megabytes, in chunks of 64 KiB with pauses: about 2 MB a second at pace 1.
    fn download(&mut self) -> Result<()> {
        if !self.rhythm.pause(5.0) {
            return Ok(());
        }
        let mut connection = self.connect(DOWNLOADS)?;
        for _ in 0..self.rhythm.random.gen_range(8..64) {
            self.exchange(&mut connection, Exchange { request: 200, response: 64 << 10 })?;
            if !self.rhythm.pause(0.03) {
                break;
            }
        }
        self.outcomes.conversations += 1;
        Ok(())
    }

    fn ping(&mut self) -> Result<()> {
        if !self.rhythm.pause(2.0) {
            return Ok(());
        }
        let (version, count) = (self.rhythm.version(IPV6_SHARE), self.rhythm.random.gen_range(1..=4).to_string());
        let address = self.server.address(version).to_string();
        self.interface.host.run_ok(["ping", "-n", "-q", "-W", "1", "-i", "0.2", "-c", &count, &address])?;
        self.outcomes.conversations += 1;
        Ok(())
    }

    fn ask_name(&mut self) -> Result<()> {
        let exchange =
            Exchange { request: self.rhythm.random.gen_range(28..70), response: self.rhythm.random.gen_range(60..500) };
        udp_exchange_from_here(self.server_socket(DNS), exchange)?;
        self.outcomes.conversations += 1;
        self.count(exchange);
        Ok(())
    }

    fn connect(&mut self, port: u16) -> Result<TcpClient> {
        let to = self.server_socket(port);
        TcpClient::connect_from_here(to).with_context(|| format!("{} to {to}", self.interface.host.name()))
    }

    fn exchange(&mut self, connection: &mut TcpClient, exchange: Exchange) -> Result<()> {
        debug_assert!(exchange.request >= HEADER, "every activity asks for more than a header");
        connection.exchange(exchange)?;
        self.count(exchange);
        Ok(())
    }

    fn count(&mut self, exchange: Exchange) {
        self.outcomes.sent += u64::from(exchange.request);
        self.outcomes.received += u64::from(exchange.response);
    }

    fn server_socket(&mut self, port: u16) -> SocketAddr {
        let version = self.rhythm.version(IPV6_SHARE);
        self.server.socket(version, port)
    }
}
