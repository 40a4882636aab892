//! A fleet: hosts with an agent each, a broker, and an engine that finds what no agent can see alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::Agent;
use crate::lab::{Host, Interface, IpVersion, Lab, LinkOptions, wait_until};
use crate::peers::Peers;
use crate::process::Process;
use crate::traffic::attack::{Scene, beacon, scan_of};
use crate::traffic::background::{Background, Habits};
use crate::traffic::peers::TcpService;

/// Longest time for a step on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// The number of clients of one server.
const CLIENTS: usize = 12;

/// The number of hosts that call the destination of the beacon, and of their calls. An agent needs more calls.
const CALLERS: usize = 5;
const CALLS: u32 = 8;

/// The port of the broker.
const PORT: u16 = 4222;

/// The size of a fleet.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The number of agents.
    pub agents: usize,
    /// The length of a window of the detections, in seconds.
    pub window_s: u64,
    /// Rate of the normal traffic relative to one person.
    pub pace: f64,
    /// Whether messages reach the engine twice and in another order.
    pub disturbed: bool,
}

/// A running fleet. Dropping it removes everything.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    traffic: Vec<Background>,
    loader: Process,
    broker: Option<Process>,
    store: Interface,
    outside: Interface,
    called: Interface,
    plan: Plan,
    folder: TempDir,
    _lab: Lab,
}

/// A host with its agent.
#[derive(Debug)]
struct Member {
    interface: Interface,
    agent: Agent,
}

/// The rows that an agent printed from its start to its end.
#[derive(Debug)]
pub struct Printed {
    /// The identifier of the agent.
    pub agent: String,
    /// The number of rows of each type.
    pub types: BTreeMap<String, u64>,
    /// Flows, and the sums of their packets and bytes.
    pub flows: [u64; 3],
    /// Rows that the output lost, by the summary.
    pub lost: u64,
}

/// The results of a fleet.
#[derive(Debug)]
pub struct Outcome {
    /// What each agent printed that ended normally.
    pub printed: Vec<Printed>,
    /// What the engine has: see `tests/fleet/loader.py`.
    pub report: Value,
}

impl Fleet {
    /// Builds the hosts, and starts broker, engine and agents.
    pub fn start(lab: Lab, engines: &Peers, plan: Plan) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for broker and engine")?;
        let numbered = (1..=plan.agents).map(|number| format!("host{number}"));
        let names: Vec<String> = numbered.chain(["store", "outside", "called"].map(str::to_owned)).collect();
        let hosts = names.iter().map(|name| lab.host(name)).collect::<Result<Vec<Host>>>()?;
        let options = LinkOptions { offloads: false, ..LinkOptions::default() };
        let mut interfaces = lab.segment_of(&hosts.iter().collect::<Vec<_>>(), &options)?;
        let others = interfaces.split_off(plan.agents);
        let [store, outside, called] = others.try_into().ok().context("three hosts without an agent")?;
        let broker = start_broker(&store, &folder)?;
        let loader = start_loader(&store, &folder, engines, plan)?;
        let members = start_agents(interfaces, &store)?;
        let (broker, traffic) = (Some(broker), Vec::new());
        Ok(Self { members, traffic, loader, broker, store, outside, called, plan, folder, _lab: lab })
    }

    /// Starts normal traffic: groups of hosts use one of them as their server.
    pub fn begin_traffic(&mut self, duration: Duration) -> Result<()> {
        for (number, group) in self.members.chunks(CLIENTS + 1).enumerate() {
            let [server, clients @ ..] = group else { continue };
            let habits = Habits { seed: number as u64, duration, pace: self.plan.pace };
            let clients: Vec<_> = clients.iter().map(|member| &member.interface).collect();
            self.traffic.push(Background::start(&clients, &server.interface, habits)?);
        }
        Ok(())
    }

    /// The incidents of the fleet that the engine has reported so far.
    pub fn incidents(&self) -> Result<Vec<Value>> {
        Ok(self.lines()?.into_iter().filter(|line| line["type"] == "fleet_incident").collect())
    }

    /// Waits for the start of a window of the detections.
    pub fn wait_for_window(&self) -> Result<()> {
        let window_ms = u128::from(self.plan.window_s) * 1000;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_millis();
        thread::sleep(Duration::from_millis((window_ms - now_ms % window_ms) as u64));
        Ok(())
    }

    /// A stranger sends one SYN to each host. Returns its address.
    pub fn scan(&self) -> Result<String> {
        for (number, member) in self.members.iter().enumerate() {
            let scene = Scene { attacker: &self.outside, victim: &member.interface, seed: number as u64 };
            scan_of(scene, 445..=445, 100)?;
        }
        Ok(self.outside.v4.to_string())
    }

    /// Some hosts call a destination in one rhythm, a few times each. Returns the destination.
    pub fn beacon(&self) -> Result<String> {
        let service = TcpService::start(&self.called, IpVersion::V4, 443)?;
        let calls = self.members.iter().take(CALLERS).map(|member| {
            let (caller, called) = (member.interface.clone(), self.called.clone());
            thread::spawn(move || {
                beacon(Scene { attacker: &caller, victim: &called, seed: 1 }, CALLS, Duration::from_secs(1))
            })
        });
        for call in calls.collect::<Vec<_>>() {
            let Ok(done) = call.join() else { bail!("a caller panicked") };
            done?;
        }
        service.stop()?;
        Ok(format!("{}:443", self.called.v4))
    }

    /// Stops the broker for some time. Agents and engine continue when it is back.
    pub fn restart_broker(&mut self, away: Duration) -> Result<()> {
        drop(self.broker.take());
        thread::sleep(away);
        self.broker = Some(start_broker(&self.store, &self.folder)?);
        Ok(())
    }

    /// Kills the agent of the last host without any notice, and starts another one there. Returns its identifier.
    pub fn kill_agent(&mut self) -> Result<String> {
        let Member { interface, agent } = self.members.pop().context("a host")?;
        agent.signal(Signal::KILL)?;
        wait_until(LIMIT, || Ok(!agent.is_running()?))?;
        drop(agent);
        let name = interface.host.name().to_owned();
        self.members.extend(start_agents(vec![interface], &self.store)?);
        Ok(name)
    }

    /// Ends traffic and agents, waits until the engine has read everything, and collects the results.
    pub fn finish(self) -> Result<Outcome> {
        for background in self.traffic {
            background.stop()?;
        }
        self.members.iter().try_for_each(|member| member.agent.signal(Signal::TERM))?;
        let printed = self.members.into_iter().map(printed).collect::<Result<_>>()?;
        self.loader.signal(Signal::TERM)?;
        let output = self.loader.wait(LIMIT)?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the loader failed: {messages}");
        let text = String::from_utf8_lossy(&output.stdout);
        let report = text.lines().last().with_context(|| format!("no report; messages: {messages}"))?;
        Ok(Outcome { printed, report: serde_json::from_str(report).context("the report")? })
    }

    fn lines(&self) -> Result<Vec<Value>> {
        ensure!(self.loader.is_running()?, "the loader has ended: {}", self.loader.stderr().text());
        let text = self.loader.stdout().text();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

impl Outcome {
    /// An array of the report.
    pub fn rows(&self, name: &str) -> Result<&Vec<Value>> {
        self.report[name].as_array().with_context(|| format!("{name} in the report of the engine"))
    }

    /// The incidents of the fleet as kind and subject.
    pub fn incidents(&self) -> Result<Vec<(String, String)>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = |incident: &Value| (text(&incident["kind"]), text(&incident["subject"]));
        Ok(self.rows("incidents")?.iter().map(named).collect())
    }
}

/// Starts a server of NATS. It finds the streams of an earlier one in the folder.
fn start_broker(store: &Interface, folder: &TempDir) -> Result<Process> {
    let streams: PathBuf = folder.path().join("streams");
    let (port, streams) = (PORT.to_string(), streams.display().to_string());
    let broker = store.host.spawn(["nats-server", "-p", &port, "-js", "-sd", &streams])?;
    wait_for_words(&broker, "Server is ready")?;
    Ok(broker)
}

fn start_loader(store: &Interface, folder: &TempDir, engines: &Peers, plan: Plan) -> Result<Process> {
    let tables = folder.path().join("tables");
    fs::create_dir(&tables).context("making the folder of the engine")?;
    let script = engines.command_line("loader.py").map(|path| path.display().to_string());
    let options = [
        format!("127.0.0.1:{PORT}"),
        tables.display().to_string(),
        format!("--window={}", plan.window_s),
        "--every=3".to_owned(),
    ];
    let disturbed = plan.disturbed.then(|| "--disturb=1".to_owned());
    let loader = store.host.spawn(script.into_iter().chain(options).chain(disturbed))?;
    wait_for_words(&loader, "ready")?;
    Ok(loader)
}

fn wait_for_words(process: &Process, words: &str) -> Result<()> {
    let found = || {
        ensure!(process.is_running()?, "it has ended");
        Ok(process.stderr().text().contains(words))
    };
    wait_until(LIMIT, found).with_context(|| format!("{words:?} in: {}", process.stderr().text()))
}

/// Starts the agents of these hosts at the same time. Their tables are small, because there are many on one machine.
fn start_agents(interfaces: Vec<Interface>, store: &Interface) -> Result<Vec<Member>> {
    let output = format!("nats={}:{PORT}/flowml.rows", store.v4);
    let member = |interface: Interface| {
        let (name, device) = (interface.host.name(), &interface.name);
        let fixed = ["run", "-i", device, "-qq", "-o", "jsonl=-", "-o", &output, "--agent-id", name];
        let small = ["--idle-timeout", "1s", "--flow-capacity", "4096", "--memory-max", "64MiB"];
        let agent = Agent::start(&interface.host, &[&fixed[..], &small].concat())?;
        Ok(Member { interface, agent })
    };
    let members = interfaces.into_iter().map(member).collect::<Result<Vec<_>>>()?;
    members.iter().try_for_each(|member| member.agent.wait_attached(&member.interface))?;
    Ok(members)
}

/// What an agent printed that got a signal to end.
fn printed(member: Member) -> Result<Printed> {
    let agent = member.interface.host.name().to_owned();
    let report = member.agent.finish(LIMIT)?;
    ensure!(report.code == Some(0), "{agent}: {:?}: {}", report.code, report.stderr);
    let mut types = BTreeMap::new();
    let mut flows = [0; 3];
    for record in &report.records {
        *types.entry(record["type"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        if record["type"] == "flow" {
            let count = |name: &str| record[name].as_u64().with_context(|| format!("{name} in {record}"));
            let more = [1, count("bidirectional_packets")?, count("bidirectional_bytes")?];
            flows.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }
    let collectors = report.summary()?["collectors"].as_array().cloned().unwrap_or_default();
    let lost = collectors.iter().filter_map(|collector| collector["records_lost"].as_u64()).sum();
    Ok(Printed { agent, types, flows, lost })
}
