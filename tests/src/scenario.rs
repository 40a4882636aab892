//! A metered town: clients that use a server, strangers that attack it, and what the agent reports of them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::agent;
use crate::hooks::Hooks;
use crate::lab::{Host, Interface, Lab, LinkOptions, wait_until};
use crate::process::Process;
use crate::traffic::background::{Background, Habits};

/// Longest time for the agent to load and attach its programs on a busy machine.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);

/// Longest time for the agent to write the records of a flood after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(60);

const CLIENTS: usize = 5;

const STRANGERS: usize = 5;

/// Hosts on one segment: a server, its clients, and strangers, which send nothing until they attack.
#[derive(Debug)]
pub struct Town {
    /// The host with the services. It is metered.
    pub server: Interface,
    /// The clients of the server.
    pub clients: Vec<Interface>,
    /// Attackers. Each attack has a new one, so that an incident has one cause.
    pub strangers: Vec<Interface>,
    lab: Lab,
}

impl Town {
    /// Builds the hosts without any traffic. Their links carry frames as on a wire, not the large buffers of a local
    /// stack.
    pub fn build(lab: Lab) -> Result<Self> {
        let numbered = |kind: &str, count: usize| (1..=count).map(|n| format!("{kind}{n}")).collect::<Vec<_>>();
        let names = [vec!["server".to_owned()], numbered("client", CLIENTS), numbered("stranger", STRANGERS)].concat();
        let hosts = names.iter().map(|name| lab.host(name)).collect::<Result<Vec<Host>>>()?;
        let hosts: [&Host; 1 + CLIENTS + STRANGERS] = std::array::from_fn(|n| &hosts[n]);
        let [server, others @ ..] = lab.segment(hosts, &LinkOptions { offloads: false, ..LinkOptions::default() })?;
        let (clients, strangers) = others.split_at(CLIENTS);
        Ok(Self { server, clients: clients.to_vec(), strangers: strangers.to_vec(), lab })
    }

    /// The laboratory that contains the town.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Starts normal traffic between the clients and the server.
    pub fn live(&self, habits: Habits) -> Result<Background> {
        Background::start(&self.clients.iter().collect::<Vec<_>>(), &self.server, habits)
    }
}

/// The agent on the town's server. Its records are processed as they arrive. Dropping it ends the process.
///
/// Flow rows are skipped: after a flood there are tens of thousands, too many to keep.
#[derive(Debug)]
pub struct Meter {
    process: Process,
    seen: Arc<Mutex<Reported>>,
    reader: JoinHandle<Result<()>>,
}

impl Meter {
    /// Starts `flowml run` on an interface with further arguments, and waits until it meters.
    pub fn start(interface: &Interface, arguments: &[&str]) -> Result<Self> {
        let program = agent::binary()?.into_os_string();
        let run = ["run", "-i", &interface.name, "-o", "jsonl=-"];
        let run = run.iter().chain(arguments).map(Into::into);
        let (process, stdout) = Process::start_piped(interface.host.command([program].into_iter().chain(run)))?;
        let stdout = stdout.context("the agent has no standard output")?;
        let seen = Arc::new(Mutex::new(Reported::default()));
        let sink = Arc::clone(&seen);
        let meter = Self { process, seen, reader: thread::spawn(move || read(stdout, &sink)) };
        let attached = || {
            ensure!(meter.process.is_running()?, "it has ended");
            Ok(Hooks::of(interface)?.sees_ingress())
        };
        wait_until(ATTACH_LIMIT, attached)
            .with_context(|| format!("waiting until the agent is attached; its messages:\n{}", meter.stderr()))?;
        Ok(meter)
    }

    /// The agent's reports so far.
    pub fn seen(&self) -> MutexGuard<'_, Reported> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text on standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr().text()
    }

    /// Fails unless it is still running. The error contains what it wrote to standard error.
    pub fn ensure_running(&self) -> Result<()> {
        ensure!(self.process.is_running()?, "the agent has ended; its messages:\n{}", self.stderr());
        Ok(())
    }

    /// Stops the agent, which must succeed. Returns everything that it reported, and its standard error.
    pub fn stop(self) -> Result<(Reported, String)> {
        self.process.signal(Signal::TERM)?;
        let output = self.process.wait(STOP_LIMIT)?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "the agent failed ({}); its messages:\n{message}", output.status);
        let Ok(read) = self.reader.join() else { bail!("reading the agent's records panicked") };
        read?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((std::mem::take(&mut *seen), message))
    }
}

/// The agent's reports, without flow rows.
#[derive(Debug, Default)]
pub struct Reported {
    /// The host rows, in the order of their arrival.
    pub windows: Vec<Window>,
    /// The incidents, in the order of their start.
    pub incidents: Vec<Incident>,
    /// The number of flows that are anomalies.
    pub flow_alarms: u64,
    /// The last record.
    pub summary: Option<Value>,
}

/// A host row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The host.
    pub address: IpAddr,
    /// End of the window in ms of Unix time.
    pub end_ms: u64,
    /// The probability that a normal window is as unusual; `None` while the agent warms up.
    pub probability: Option<f64>,
    /// Whether the window is an anomaly.
    pub anomaly: bool,
}

/// An incident as it was reported at its start, with the kind of its last report.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The number of the incident in the run.
    pub number: u64,
    /// The kind of the incident.
    pub kind: String,
    /// End of the interval after which it was reported, in ms of Unix time.
    pub reported_ms: u64,
    /// The first source hosts.
    pub sources: Vec<IpAddr>,
    /// The first target hosts.
    pub targets: Vec<IpAddr>,
    /// The probability that a normal window is as unusual.
    pub probability: f64,
    /// The features that caused it.
    pub reason: String,
    /// The summary in one sentence.
    pub summary: String,
}

impl Incident {
    /// Whether a host is among its sources or targets.
    pub fn names(&self, host: IpAddr) -> bool {
        self.sources.contains(&host) || self.targets.contains(&host)
    }
}

impl Reported {
    /// The ends of intervals since `since_ms` in order. Both are in ms of Unix time.
    pub fn interval_ends(&self, since_ms: u64) -> BTreeSet<u64> {
        self.windows.iter().map(|window| window.end_ms).filter(|&end| end >= since_ms).collect()
    }

    /// The host rows that have a score.
    pub fn scored(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(|window| window.probability.is_some())
    }

    /// The incidents that were reported within `times`, in ms of Unix time.
    pub fn incidents_within(&self, times: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |incident| times.contains(&incident.reported_ms))
    }

    fn take(&mut self, line: &[u8]) -> Result<()> {
        // Each record starts with its type, so flows can be skipped without parsing.
        if line.starts_with(br#"{"type":"flow","#) {
            return Ok(());
        }
        let row: Value = serde_json::from_slice(line)
            .with_context(|| format!("not a JSON record: {}", String::from_utf8_lossy(line)))?;
        match (row["type"].as_str(), row["subject"].as_str()) {
            (Some("host"), _) => self.windows.push(Window {
                address: address(&row)?,
                end_ms: end_ms(&row)?,
                probability: row["probability"].as_f64(),
                anomaly: row["anomaly"] == true,
            }),
            (Some("incident"), _) if row["state"] == "open" => self.incidents.push(Incident {
                number: row["incident"].as_u64().with_context(|| format!("no number in {row}"))?,
                kind: row["kind"].as_str().with_context(|| format!("no kind in {row}"))?.to_owned(),
                // An event may have ended before the interval after which it is reported. The host windows of that
                // interval come first.
                reported_ms: {
                    let end_ms = row["end_ms"].as_u64().with_context(|| format!("no end in {row}"))?;
                    self.windows.last().map_or(end_ms, |window| window.end_ms.max(end_ms))
                },
                sources: addresses(&row["sources"])?,
                targets: addresses(&row["targets"])?,
                probability: row["probability"].as_f64().with_context(|| format!("no probability in {row}"))?,
                reason: row["reason"].as_str().unwrap_or_default().to_owned(),
                summary: row["summary"].as_str().with_context(|| format!("no sentence in {row}"))?.to_owned(),
            }),
            (Some("incident"), _) if row["state"] == "named" => {
                for incident in self.incidents.iter_mut().filter(|incident| row["incident"] == incident.number) {
                    incident.kind = row["kind"].as_str().unwrap_or_default().to_owned();
                    incident.summary = row["summary"].as_str().unwrap_or_default().to_owned();
                }
            }
            // The end of an incident is not needed. An anomaly of a host is already stated by the row of its window.
            (Some("incident"), _) | (Some("anomaly"), Some("host")) => {}
            (Some("anomaly"), Some("flow")) => self.flow_alarms += 1,
            (Some("summary"), _) => self.summary = Some(row),
            _ => bail!("a record of no known type: {row}"),
        }
        Ok(())
    }
}

fn addresses(names: &Value) -> Result<Vec<IpAddr>> {
    let names = names.as_str().unwrap_or_default().split_whitespace();
    names.map(|name| name.parse().with_context(|| format!("{name} is no address"))).collect()
}

fn address(row: &Value) -> Result<IpAddr> {
    let text = row["address"].as_str().with_context(|| format!("no address in {row}"))?;
    text.parse().with_context(|| format!("{text} is no address"))
}

fn end_ms(row: &Value) -> Result<u64> {
    // Times may have a fraction.
    let end = row["window_end_ms"].as_f64().with_context(|| format!("no end in {row}"))?;
    Ok(end as u64)
}

fn read(stdout: impl Read, seen: &Mutex<Reported>) -> Result<()> {
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading the agent's records")?;
        seen.lock().unwrap_or_else(PoisonError::into_inner).take(&line)?;
    }
    Ok(())
}

/// The current Unix time in ms.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
