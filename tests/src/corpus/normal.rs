//! Normal traffic of hosts by real programs: web pages, DNS, terminals, copies, mail, calls, pings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;

use super::files::{ACCOUNT, Files, command_line, in_url};
use super::part::{Equipment, Split};
use super::servers::{NTP, TOWN};
use super::site::Site;
use crate::lab::{Interface, IpVersion, wait_until};
use crate::traffic::dns::{self, QueryType};
use crate::traffic::peers::{Exchange, udp_exchange_from_here};
use crate::traffic::rhythm::Rhythm;
use crate::traffic::span::Span;

/// Longest time for one action.
const LIMIT: Duration = Duration::from_secs(40);

/// The intensity of a part's normal traffic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Rate of actions relative to one person.
    pub(super) pace: f64,
    /// Ratio of conversations that use IPv6.
    pub(super) ipv6: f64,
    /// Smallest length of a page in bytes.
    pub(super) page: u32,
}

/// The habits of each part.
const TRAIN: Habits = Habits { pace: 1.0, ipv6: 0.3, page: 2_000 };
const TEST: Habits = Habits { pace: 1.25, ipv6: 0.4, page: 3_000 };

/// An action that a person repeats.
struct Activity {
    name: &'static str,
    equipment: Equipment,
    /// Whether the server does it as well, with its mirror.
    by_server: bool,
    /// Mean time between the end of an action and the start of the next, in seconds.
    pause: f64,
    act: fn(&mut Person) -> Result<()>,
}

const ACTIVITIES: &[Activity] = &[
    Activity { name: "names", equipment: Equipment::Laboratory, by_server: true, pause: 0.8, act: Person::look_up },
    Activity { name: "ping", equipment: Equipment::Laboratory, by_server: false, pause: 4.0, act: Person::ping },
    Activity { name: "time", equipment: Equipment::Laboratory, by_server: true, pause: 6.0, act: Person::ask_time },
    Activity { name: "call", equipment: Equipment::Laboratory, by_server: false, pause: 15.0, act: Person::call },
    Activity { name: "pages", equipment: Equipment::Corpus, by_server: false, pause: 1.2, act: Person::browse },
    Activity { name: "form", equipment: Equipment::Corpus, by_server: false, pause: 8.0, act: Person::send_form },
    Activity { name: "fetch", equipment: Equipment::Corpus, by_server: true, pause: 6.0, act: Person::fetch },
    Activity { name: "health", equipment: Equipment::Corpus, by_server: false, pause: 10.0, act: Person::ask_health },
    Activity { name: "stream", equipment: Equipment::Corpus, by_server: false, pause: 25.0, act: Person::watch },
    Activity { name: "download", equipment: Equipment::Corpus, by_server: false, pause: 30.0, act: Person::download },
    Activity {
        name: "terminal",
        equipment: Equipment::Corpus,
        by_server: false,
        pause: 8.0,
        act: Person::use_terminal,
    },
    Activity { name: "copy", equipment: Equipment::Corpus, by_server: false, pause: 25.0, act: Person::copy },
    Activity { name: "mail", equipment: Equipment::Corpus, by_server: false, pause: 8.0, act: Person::send_mail },
    Activity { name: "ftp", equipment: Equipment::Corpus, by_server: false, pause: 12.0, act: Person::use_ftp },
];

/// Number of completed and failed actions of one kind.
#[derive(Debug, Clone, Default)]
struct Outcomes {
    done: u64,
    failed: u64,
    /// The first error.
    reason: Option<String>,
}

/// The counts by the names of the activities.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(BTreeMap<&'static str, Outcomes>);

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes = self.0.iter().map(|(name, outcomes)| format!("{} {name}", outcomes.done));
        f.write_str(&outcomes.collect::<Vec<_>>().join(", "))
    }
}

/// The normal activity of all hosts of a site. Dropping it ends it.
pub(super) struct People {
    span: Span,
    threads: Vec<JoinHandle<Result<()>>>,
    tally: Arc<Mutex<Tally>>,
}

impl People {
    pub(super) fn start(site: &Site, files: &Arc<Files>, part: Split, seed: u64, equipment: Equipment) -> Result<Self> {
        let tally = Tally(activities(equipment).map(|activity| (activity.name, Outcomes::default())).collect());
        let mut people = Self { span: Span::endless(), threads: Vec::new(), tally: Arc::new(Mutex::new(tally)) };
        let clients = site.clients.iter().map(|client| (client, &site.server));
        let habits = part.choose(TRAIN, TEST);
        for (n, (at, to)) in clients.chain([(&site.server, &site.mirror)]).enumerate() {
            let is_server = at.v4 == site.server.v4;
            for (m, activity) in activities(equipment).enumerate().filter(|(_, act)| act.by_server || !is_server) {
                let rhythm = Rhythm::new(seed ^ (n as u64) << 32 ^ (m as u64) << 16, &people.span, habits.pace);
                let (at, to, files) = (at.clone(), to.clone(), Arc::clone(files));
                let person = Person { at: at.clone(), to, files, rhythm, habits, tally: Arc::clone(&people.tally) };
                people.threads.push(at.host.spawn_thread(move || person.live(activity))?);
            }
        }
        Ok(people)
    }

    /// Waits until every activity has been done at least once. Fails if one failed.
    pub(super) fn wait_for_all(&self) -> Result<Tally> {
        let tally = || self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_until(LIMIT, || {
            let tally = tally();
            for (name, Outcomes { done, failed, reason }) in &tally.0 {
                let reason = reason.as_deref().unwrap_or_default();
                ensure!(*failed == 0, "{name}: {failed} of {} failed: {reason}", done + failed);
            }
            Ok(tally.0.values().all(|outcomes| outcomes.done > 0))
        })
        .with_context(|| format!("normal traffic alone; done so far: {}", tally()))?;
        Ok(tally())
    }

    fn end(&mut self) -> Result<()> {
        self.span.cut();
        for thread in self.threads.drain(..) {
            let Ok(ended) = thread.join() else { bail!("a client of the normal traffic panicked") };
            ended?;
        }
        Ok(())
    }
}

impl Drop for People {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("normal traffic: {error:#}");
        }
    }
}

fn activities(equipment: Equipment) -> impl Iterator<Item = &'static Activity> {
    ACTIVITIES.iter().filter(move |activity| activity.equipment <= equipment)
}

/// One host with one activity.
struct Person {
    at: Interface,
    to: Interface,
    files: Arc<Files>,
    rhythm: Rhythm,
    habits: Habits,
    tally: Arc<Mutex<Tally>>,
}

impl Person {
    fn live(mut self, activity: &'static Activity) {
        // The hosts do not start all at once, but soon enough that a short run contains every activity.
        self.rhythm.pause(activity.pause.min(0.5));
        while !self.rhythm.span.is_over() {
            let outcome = (activity.act)(&mut self);
            // An action that the end of the span interrupts has neither succeeded nor failed.
            if !self.rhythm.span.is_over() {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                let outcomes = tally.0.entry(activity.name).or_default();
                match outcome {
                    Ok(()) => outcomes.done += 1,
                    Err(error) => {
                        outcomes.failed += 1;
                        outcomes.reason.get_or_insert_with(|| format!("{error:#}"));
                    }
                }
            }
            self.rhythm.pause(activity.pause);
        }
    }

    /// A DNS query of a random type, mostly for a name that exists.
    fn look_up(&mut self) -> Result<()> {
        let host = self.rhythm.random.gen_range(0..2000);
        let (name, kind) = match self.rhythm.random.gen_range(0..100) {
            0..50 => (format!("h{host}.www.{TOWN}"), QueryType::A),
            50..75 => (format!("h{host}.www.{TOWN}"), QueryType::Aaaa),
            75..85 => (format!("mistyped{host}.{TOWN}"), QueryType::A),
            85..90 => (TOWN.to_owned(), QueryType::Mx),
            90..95 => (TOWN.to_owned(), QueryType::Txt),
            _ => (format!("{}.2.0.192.in-addr.arpa", host % 256), QueryType::Ptr),
        };
        self.ask(&name, kind)
    }

    fn ask(&mut self, name: &str, kind: QueryType) -> Result<()> {
        let to = SocketAddr::new(self.address(), 53);
        dns::ask_from_here(to, self.rhythm.random.r#gen(), name, kind).map(drop)
    }

    fn ping(&mut self) -> Result<()> {
        let (count, size) = (self.rhythm.random.gen_range(1..=5), self.rhythm.random.gen_range(16..200));
        let to = self.address();
        self.run(&format!("ping -n -q -W 2 -i 0.3 -c {count} -s {size} {to}"))
    }

    fn ask_time(&mut self) -> Result<()> {
        let to = SocketAddr::new(self.address(), NTP);
        udp_exchange_from_here(to, Exchange { request: 48, response: 48 }).map(drop)
    }

    /// Voice in both directions: 160 bytes of sound after a header of 12, every 20 ms (RFC 3551 §4.5.14).
    fn call(&mut self) -> Result<()> {
        const FRAME: [u8; 172] = [0x80; 172];
        let version = self.version();
        let any = |interface: &Interface| interface.socket(version, 0);
        let here = UdpSocket::bind(any(&self.at)).context("binding one end of a call")?;
        let there =
            self.to.host.enter(|| UdpSocket::bind(any(&self.to)))?.context("binding the other end of a call")?;
        here.connect(there.local_addr()?)?;
        there.connect(here.local_addr()?)?;
        let frames = self.rhythm.random.gen_range(50..600);
        for end in [&here, &there] {
            end.set_nonblocking(true)?;
        }
        let mut heard = [0; FRAME.len()];
        for _ in 0..frames {
            for end in [&here, &there] {
                end.send(&FRAME).context("speaking")?;
                // Lost packets are not sent again.
                while end.recv(&mut heard).is_ok() {}
            }
            if !self.rhythm.span.sleep(Duration::from_millis(20)) {
                break;
            }
        }
        Ok(())
    }

    /// A page: a query for its server's name, then its objects, over one connection or over one each.
    fn browse(&mut self) -> Result<()> {
        self.ask(&format!("www.{TOWN}"), QueryType::A)?;
        let (scheme, address) = (self.scheme(), in_url(self.address()));
        let count = self.rhythm.random.gen_range(1..=8);
        let manner = match self.rhythm.random.gen_range(0..10) {
            0..2 => "-H Connection:close".to_owned(),
            // A person who follows links from page to page.
            2..4 => format!("--rate {}/s", self.rhythm.random.gen_range(1..4)),
            _ => String::new(),
        };
        let urls: Vec<String> = (0..count)
            .map(|_| {
                let length = self.rhythm.pareto(self.habits.page, 400_000);
                format!("{scheme}://{address}/{}", self.files.object(length))
            })
            .collect();
        self.curl(&manner, &urls)
    }

    fn send_form(&mut self) -> Result<()> {
        let length = self.rhythm.pareto(200, 60_000);
        let form = self.files.name(&format!("www/{}", self.files.object(length)));
        let url = self.url("form");
        self.curl(&format!("--data-binary @{form}"), &[url])
    }

    fn fetch(&mut self) -> Result<()> {
        let length = self.rhythm.pareto(20_000, 400_000);
        let url = self.url(&self.files.object(length));
        self.curl("", &[url])
    }

    /// The periodic request of a monitor.
    fn ask_health(&mut self) -> Result<()> {
        let url = format!("http://{}/health", self.to.v4);
        self.curl("", &[url])
    }

    /// A video stream: a constant rate for a while, over TCP.
    fn watch(&mut self) -> Result<()> {
        let rate = self.rhythm.random.gen_range(60..250);
        let length = rate * 1000 * self.rhythm.random.gen_range(4..12);
        let url = self.url("long");
        self.curl(&format!("--limit-rate {rate}k --range 0-{length}"), &[url])
    }

    /// A download at the rate of a line of some megabits a second.
    fn download(&mut self) -> Result<()> {
        let (rate, length) = (self.rhythm.random.gen_range(1..4), self.rhythm.pareto(500_000, 6_000_000));
        let url = self.url("long");
        self.curl(&format!("--limit-rate {rate}m --range 0-{length}"), &[url])
    }

    /// Keystrokes and their echoes, sometimes a screenful.
    fn use_terminal(&mut self) -> Result<()> {
        let mut keys = "sleep 0.5; ".to_owned();
        for _ in 0..self.rhythm.random.gen_range(2..6) {
            for key in command_line(&mut self.rhythm.random).chars() {
                keys += &format!("printf '%s' '{key}'; sleep 0.{:02}; ", self.rhythm.random.gen_range(4..25));
            }
            keys += &format!(
                "echo; sleep {}.{}; ",
                self.rhythm.random.gen_range(0..2),
                self.rhythm.random.gen_range(2..10)
            );
        }
        let to = self.address();
        let options = self.files.ssh_options();
        self.run_words(&["sh", "-c", &format!("({keys} echo exit) | ssh -tt {options} {ACCOUNT}@{to}")])
    }

    /// A copy of a file over SSH, in either direction.
    fn copy(&mut self) -> Result<()> {
        let (to, options) = (self.address(), self.files.ssh_options());
        let kilobytes = self.rhythm.pareto(100, 3000);
        let script = if self.rhythm.random.gen_bool(0.5) {
            format!("head -c {kilobytes}000 /dev/zero | ssh {options} {ACCOUNT}@{to} 'cat > /dev/null'")
        } else {
            format!("ssh {options} {ACCOUNT}@{to} 'head -c {kilobytes}000 /dev/zero' > /dev/null")
        };
        self.run_words(&["sh", "-c", &script])
    }

    /// A mail with an attachment.
    fn send_mail(&mut self) -> Result<()> {
        let length = self.rhythm.pareto(1_000, 300_000);
        let file = self.files.name(&format!("www/{}", self.files.object(length)));
        let envelope = format!("--mail-from a@{TOWN} --mail-rcpt b@{TOWN} -F report=@{file};encoder=base64");
        self.curl(&envelope, &[format!("smtp://{}/client.{TOWN}", self.to.v4)])
    }

    fn use_ftp(&mut self) -> Result<()> {
        let length = self.rhythm.pareto(10_000, 400_000);
        let (manner, path) = match self.rhythm.random.gen_range(0..3) {
            0 => (String::new(), String::new()),
            1 => (String::new(), "report".to_owned()),
            _ => {
                let file = self.files.name(&format!("www/{}", self.files.object(length)));
                (format!("--upload-file {file}"), format!("from-{}", self.at.v4))
            }
        };
        let password = &self.files.password;
        self.curl(&format!("--user {ACCOUNT}:{password} {manner}"), &[format!("ftp://{}/{path}", self.to.v4)])
    }

    /// The address of the other host, in a random IP version.
    fn address(&mut self) -> IpAddr {
        let version = self.version();
        self.to.address(version)
    }

    fn version(&mut self) -> IpVersion {
        self.rhythm.version(self.habits.ipv6)
    }

    fn scheme(&mut self) -> &'static str {
        if self.rhythm.random.gen_bool(0.7) { "https" } else { "http" }
    }

    fn url(&mut self, path: &str) -> String {
        let (scheme, address) = (self.scheme(), in_url(self.address()));
        format!("{scheme}://{address}/{path}")
    }

    /// Runs curl with options that contain no spaces. What it fetches is discarded.
    fn curl(&self, options: &str, urls: &[String]) -> Result<()> {
        let urls: String = urls.iter().map(|url| format!(" -o /dev/null {url}")).collect();
        self.run(&format!("curl -q --silent --show-error --fail --insecure --globoff --max-time 30 {options}{urls}"))
    }

    fn run(&self, words: &str) -> Result<()> {
        self.run_words(&words.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())
    }

    /// Runs a program until it ends or the span ends.
    fn run_words(&self, words: &[&str]) -> Result<()> {
        let process = self.at.host.spawn(words)?;
        let deadline = Instant::now() + LIMIT;
        while process.is_running()? {
            ensure!(Instant::now() < deadline, "{} still ran after {LIMIT:?}", words.join(" "));
            if !self.rhythm.span.sleep(Duration::from_millis(20)) {
                return Ok(());
            }
        }
        let output = process.wait(LIMIT)?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed ({}): {}", words.join(" "), output.status, message.trim());
        Ok(())
    }
}
