//! The hosts of the soak test: a town and a second link, the agent on both with every kind of output, and the faults.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::limits::{END_LIMIT, LIMIT};
use super::receivers::{Collector, Reader, SmallDisk};
use super::rows::{RowFiles, Tables};
use super::schedule::Fault;
use super::wire::SecondLink;
use crate::agent::{Agent, Report, binary};
use crate::frames::{Frame, Ipv4, Ports};
use crate::lab::{Interface, Lab, wait_until};
use crate::scenario::Town;
use crate::scrape::{METRICS, Scrape};
use crate::traffic::raw::{FlowSpray, FrameSender, Rate};

const COLLECTOR: &str = "127.0.0.1:4739";

/// Mounts the small disk only for the agent, and executes the agent.
const WITH_DISK: &str = r#"mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@""#;

/// Flow capacity of each CPU. Normal traffic uses little of it, a flood all of it.
const CAPACITY: &str = "4096";

/// More new flows at once than the table has room for.
const BURST: u32 = 40_000;

/// The outputs, each with the end of its name in the agent's metrics.
pub(super) const OUTPUTS: [(&str, &str); 5] =
    [("jsonl", "/rows.jsonl"), ("fifo", "/fifo"), ("parquet", "/tables"), ("csv", "/flows.csv"), ("ipfix", COLLECTOR)];

/// The town, the agent, and the receivers of its outputs.
pub(super) struct Site {
    pub(super) town: Town,
    pub(super) second: SecondLink,
    pub(super) agent: Agent,
    pub(super) reader: Reader,
    pub(super) collector: Collector,
    pub(super) rows: RowFiles,
    pub(super) tables: Tables,
    disk: SmallDisk,
    is_full: bool,
    configuration: PathBuf,
    reloads: u32,
    /// Packets that the server's interface had received before the agent was started. None arrived during its start.
    before: u64,
}

impl Site {
    /// Builds everything in an empty folder. The server's port is closed, so nothing is metered yet.
    pub(super) fn build(lab: Lab, folder: &Path) -> Result<Self> {
        let town = Town::build(lab)?;
        let second = SecondLink::new(town.lab(), "neighbour", &town.server)?;
        town.server.set_port_open(false)?;
        let before = town.server.counters()?.rx_packets;
        let [rows, tables, disk] = ["rows", "tables", "disk"].map(|name| folder.join(name));
        for made in [&rows, &tables, &disk] {
            fs::create_dir(made).with_context(|| format!("making {}", made.display()))?;
        }
        let reader = Reader::start(&folder.join("fifo"))?;
        let collector = Collector::start(&town.server.host, COLLECTOR)?;
        let configuration = folder.join("flowml.toml");
        fs::write(&configuration, configured(0))?;
        let agent = start(&[&town.server, second.metered()], folder)?;
        let site = Self {
            rows: RowFiles::new(&rows),
            tables: Tables::new(&tables),
            disk: SmallDisk::of(agent.id(), &disk),
            is_full: false,
            reloads: 0,
            configuration,
            before,
            town,
            second,
            agent,
            reader,
            collector,
        };
        for interface in [&site.town.server, site.second.metered()] {
            site.agent.wait_attached(interface)?;
        }
        wait_until(LIMIT, || Ok(site.scrape().is_ok())).context("waiting for the first metrics")?;
        let now = site.town.server.counters()?.rx_packets;
        ensure!(now == before, "{} packets came through a closed port", now - before);
        Ok(site)
    }

    /// The current metrics.
    pub(super) fn scrape(&self) -> Result<Scrape> {
        Scrape::of(&self.town.server.host)
    }

    /// Packets that the agent must have seen, by the kernel's counters of the interfaces that it is attached to.
    pub(super) fn on_the_wire(&self) -> Result<u64> {
        Ok(self.town.server.counters()?.rx_packets - self.before + self.second.packets())
    }

    /// Keeps room on the small disk, unless the fault of a full disk is active.
    pub(super) fn tidy(&self) -> Result<()> {
        if self.is_full { Ok(()) } else { self.disk.tidy() }
    }

    /// Starts a fault.
    pub(super) fn begin(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::ReaderStalls => self.reader.stall(true),
            Fault::CollectorAway => self.collector.set_away(true),
            Fault::DiskFull => {
                self.is_full = true;
                self.disk.fill()?;
            }
            Fault::InterfaceDown => self.town.server.set_up(false)?,
            Fault::MtuChanged => self.town.server.set_mtu(1400)?,
            Fault::InterfaceReplaced => self.second.replace(self.town.lab())?,
            Fault::Reload => {
                self.reloads += 1;
                fs::write(&self.configuration, configured(self.reloads))?;
                self.agent.signal(Signal::HUP)?;
            }
            Fault::TableFilled => burst(&self.town.strangers[0], &self.town.server)?,
        }
        Ok(())
    }

    /// Ends a fault.
    pub(super) fn end(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::ReaderStalls => self.reader.stall(false),
            Fault::CollectorAway => self.collector.set_away(false),
            Fault::DiskFull => {
                self.disk.free()?;
                self.is_full = false;
            }
            Fault::InterfaceDown => self.town.server.set_up(true)?,
            Fault::MtuChanged => self.town.server.set_mtu(1500)?,
            Fault::InterfaceReplaced | Fault::Reload | Fault::TableFilled => {}
        }
        Ok(())
    }

    /// Ends the agent, with the server's port closed. Returns its report, and the packets that the FIFO's reader
    /// counted.
    pub(super) fn stop(self) -> Result<(Report, Remains)> {
        self.agent.signal(Signal::TERM)?;
        let report = self.agent.finish(END_LIMIT)?;
        let fifo = self.reader.finish()?;
        let (town, second) = (self.town, self.second);
        Ok((report, Remains { fifo, rows: self.rows, tables: self.tables, town, second }))
    }
}

/// The objects that remain after the end of the agent.
pub(super) struct Remains {
    pub(super) fifo: u64,
    pub(super) rows: RowFiles,
    pub(super) tables: Tables,
    pub(super) town: Town,
    pub(super) second: SecondLink,
}

/// Starts the agent on these interfaces of one host.
fn start(interfaces: &[&Interface; 2], folder: &Path) -> Result<Agent> {
    let program = binary()?.canonicalize()?;
    let at = |name: &str| folder.join(name).display().to_string();
    let outputs = [
        format!("jsonl={},rotate=10s", at("rows/rows.jsonl")),
        format!("jsonl={}", at("fifo")),
        format!("parquet={},rotate=10s", at("tables")),
        format!("csv={},rotate=2s", at("disk/flows.csv")),
        format!("ipfix={COLLECTOR}"),
    ];
    let (program, disk, configuration) = (program.display().to_string(), at("disk"), at("flowml.toml"));
    let mut arguments = vec!["-c", WITH_DISK, "sh", SmallDisk::SIZE, &disk, &program, "run", "-q"];
    arguments.extend(["--config", &configuration, "--metrics", METRICS]);
    // The idle timeout is short, so that each check finds no open session.
    arguments.extend(["--flow-capacity", CAPACITY, "--idle-timeout", "3s", "--memory-max", "1GiB"]);
    arguments.extend(interfaces.iter().flat_map(|interface| ["-i", &interface.name]));
    arguments.extend(outputs.iter().flat_map(|output| ["-o", output]));
    Agent::start_program(&interfaces[0].host, "sh".into(), &arguments)
}

/// The configuration after this many changes.
fn configured(reloads: u32) -> String {
    format!("alpha = {}\n", if reloads.is_multiple_of(2) { "0.0001" } else { "0.00001" })
}

/// New flows from spoofed addresses, as fast as they can be sent.
fn burst(from: &Interface, to: &Interface) -> Result<()> {
    let header = Ipv4 { destination: to.v4, ..Ipv4::default() };
    let ports = Ports { source: 0, destination: 9 };
    let template = Frame::between(from.mac, to.mac).ipv4(&header).udp(ports).payload(&[0; 18]).finish();
    let spray = FlowSpray { template, step: 0x9e37_79b1, ..FlowSpray::unanswered(to, BURST, u64::from(BURST)) };
    FrameSender::open(from)?.spray(&spray, Rate::Full).map(drop)
}
