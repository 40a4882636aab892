//! The arguments of `flowml run`.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{ArgAction, Args, FromArgMatches};
use flowml_user::capture::attach::Wanted;
use flowml_user::capture::selection::{Selector, pattern};
use flowml_user::engine::{Direction, Hangup, MEMORY, Options};
use flowml_user::process::amounts::{Size, duration, size};
use flowml_user::session::Timeouts;
use glob::Pattern as NamePattern;

use super::configuration::Configuration;
use super::fleet::FleetArguments;
use super::outputs::OutputArguments;
use super::rows::RowArguments;
use super::sandbox::SandboxArguments;
use super::values::{INTERVAL, RUN_TIME, TIMEOUT, address, interface_twice, named};
use super::verbosity::Verbosity;

pub(super) const RUN_ABOUT: &str = "Meter live interfaces: flows, hosts and anomalies as they happen";

pub(super) const RUN_HELP: &str = "\
Counts every packet of the interfaces in the kernel (XDP or tc), drains the flow table at each interval, and learns what is \
normal traffic. Each flow and each host gets an anomaly score and a probability. An anomaly also gets its reason.

Records go to the outputs (-o). Standard error shows a table at each interval (at most one per second), or the terminal \
UI (--tui), and a final summary. No packet is dropped or changed. The command needs root, or CAP_BPF, \
CAP_NET_ADMIN and CAP_PERFMON.";

pub(super) const RUN_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml run                                     meter the interface of the default route
  flowml run -i eth0 -i eth1 --direction both    incoming and outgoing packets
  flowml run -i 'veth*' --exclude veth0          all interfaces that match, now and later
  flowml run -i eth0 --filter 'tcp port 443'     only these packets are in flows, in the language of tcpdump
  flowml run -i eth0 --tui                       terminal UI: sort, filter, open a flow, a host, an incident
  flowml run -i eth0 --duration 1m -o csv=flows.csv
  flowml run -i eth0 --pin /sys/fs/bpf/flowml    count while the agent is stopped, crashed or upgraded
  flowml run -i eth0 -o jsonl=- | jq 'select(.type == \"anomaly\")'

A duration is a whole number and its unit: 10ms, 1s, 2m, 1h, 1d.
",
    exit_codes!()
);

/// The arguments of `flowml run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Read options from FILE (TOML), where every option is a key of the same name; the command line overrides it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The content of the configuration file.
    #[arg(skip)]
    pub(crate) configuration: Option<Configuration>,

    /// Interface to meter: a name, a pattern as in 'veth*', or 'any' for all Ethernet interfaces except loopback; may
    /// be repeated [default: the interface of the default route]. Interfaces that appear later or come back are metered
    /// from then on
    #[arg(short, long = "interface", value_name = "IFACE")]
    pub(crate) interfaces: Vec<Selector>,

    /// Do not meter interfaces that match PATTERN, even if '-i' selects them by a pattern or 'any'; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) exclude: Vec<NamePattern>,

    /// Kernel hook at which packets are counted
    #[arg(long, value_name = "MODE", value_parser = xdp_mode(), default_value = Wanted::Auto.name())]
    pub(crate) xdp_mode: Wanted,

    /// Direction of the packets that are counted
    #[arg(long, value_name = "DIRECTION", value_parser = direction(), default_value = Direction::Ingress.name())]
    pub(crate) direction: Direction,

    /// Interval between two drains of the flow table, and between two reports, 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = |text: &str| duration(text, INTERVAL))]
    pub(crate) interval: Duration,

    /// Entries of the flow table for each CPU, 64 to 16777216. The table is drained before the end of the interval when
    /// 60 % of the entries of a CPU are in use. If flows have fewer than two packets on average (as in a flood), it
    /// is drained when 6 % are in use, 150 ms after the last drain at the earliest. Every new flow gets an entry up to
    /// about 85 % use [default: 131072, halved until the table takes at most 512 MiB and 1/32 of the host's memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=16 << 20))]
    pub(crate) flow_capacity: Option<u32>,

    /// Memory for everything that grows with traffic (partial flows, sessions, rows queued for outputs), 1MiB to
    /// 1024GiB. When little of it is left, flows of one packet are aggregated [default: an eighth of the memory of the
    /// host or of the control group]
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| size(text, MEMORY))]
    pub(crate) memory_max: Option<Size>,

    /// Idle timeout: a flow without a packet for this time has ended, 100ms to 1d
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) idle_timeout: Duration,

    /// Active timeout: a flow that lasts this long is reported, and its next packet starts a new record, 100ms to 1d
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) active_timeout: Duration,

    /// Model file: loaded if it exists, saved every ten minutes and at the end [default: the shipped model, until a
    /// model of this traffic is trained; nothing is saved]
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,

    /// Start without a model: nothing is scored before a warm-up of 30 intervals and 300 rows
    #[arg(long)]
    pub(crate) learn: bool,

    /// The fleet options.
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,

    /// The outputs.
    #[command(flatten)]
    pub(crate) output: OutputArguments,

    /// Serve metrics for Prometheus at http://ADDR/metrics. ADDR is an address with a port, as in 127.0.0.1:9750, or
    /// only a port, which is opened on 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,

    /// Pin programs, maps and counters in DIR, a folder in a BPF file system, as in /sys/fs/bpf/flowml. Packets are counted while
    /// no agent runs, and the next agent with the same DIR continues without loss. 'flowml unpin DIR' removes the pins
    #[arg(long, value_name = "DIR")]
    pub(crate) pin: Option<PathBuf>,

    /// Write the state of the agent to FILE at the end: open sessions, host windows, sequential tests, incidents and
    /// models. The next run with the same FILE and '--pin DIR' continues from it, so a connection that is open during
    /// the restart is one record
    #[arg(long, value_name = "FILE", requires = "pin")]
    pub(crate) state: Option<PathBuf>,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Duration of the run, 10ms to 365d [default: until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, RUN_TIME))]
    pub(crate) duration: Option<Duration>,

    /// The contents of rows.
    #[command(flatten)]
    pub(crate) rows: RowArguments,

    /// Show a terminal UI instead of tables: rates, anomalies and their reasons, flows, hosts, clusters. Keys sort, filter, pause
    /// and open a row ('?' lists them); q ends the run
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) tui: bool,

    /// No tables, only notices and the final summary; -qq: only warnings and errors. Records on standard output imply -q
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) quiet: u8,
}

/// Parses the name of a mode.
fn xdp_mode() -> impl TypedValueParser<Value = Wanted> {
    named(&Wanted::ALL, Wanted::name, Wanted::meaning)
}

/// Parses the name of a direction.
fn direction() -> impl TypedValueParser<Value = Direction> {
    named(&Direction::ALL, Direction::name, Direction::meaning)
}

impl Run {
    /// The name of the command.
    pub(super) const NAME: &'static str = "run";
    /// The name of the field of `Run` with the configuration file.
    pub(super) const CONFIG: &'static str = "config";

    /// A run over these interfaces with the default arguments otherwise. It writes no records.
    #[must_use]
    pub(crate) fn until(interfaces: Vec<Selector>, duration: Option<Duration>, quiet: u8) -> Self {
        let nothing = Self::augment_args(clap::Command::new("run").no_binary_name(true));
        let matches = nothing.try_get_matches_from(std::iter::empty::<OsString>());
        let run = matches.and_then(|matches| Self::from_arg_matches(&matches));
        Self { interfaces, duration, quiet, ..run.expect("every argument has a default") }
    }

    /// The options of the run.
    #[must_use]
    pub(crate) fn options(&self) -> Options {
        Options {
            interfaces: self.interfaces.clone(),
            exclude: self.exclude.clone(),
            xdp_mode: self.xdp_mode,
            direction: self.direction,
            interval: self.interval,
            flow_capacity: self.flow_capacity,
            memory_max: self.memory_max.map(|Size(bytes)| bytes),
            timeouts: Timeouts { idle: self.idle_timeout, active: self.active_timeout, ..Timeouts::default() },
            payload: self.rows.content.limit(),
            tunnels: self.rows.tunnels.ports(),
            filter: self.rows.filter.packets.clone(),
            pin: self.pin.clone(),
            state: self.state.clone(),
            duration: self.duration,
            hangup: if self.tui { Hangup::Ends } else { Hangup::Reloads },
            model: self.model.clone(),
            learn: self.learn,
            alarms: self.rows.alarms.level(),
            seed: self.rows.seed,
            statistics: self.fleet.fleet_statistics,
            fleet_model: self.fleet.model(),
        }
    }

    /// The verbosity of standard error: tables by default, notices and the summary with `-q` or if records go to standard
    /// output, and only errors and warnings with `-qq`.
    #[must_use]
    pub(crate) fn verbosity(&self) -> Verbosity {
        let records_on_stdout = self.output.use_standard_output();
        match self.quiet {
            0 if !records_on_stdout => Verbosity::Tables,
            0 | 1 => Verbosity::Summary,
            _ => Verbosity::Errors,
        }
    }

    /// Checks that clap cannot make: arguments that are valid one by one and contradict each other.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.tui && self.output.use_standard_output() {
            let message =
                "'--tui' cannot be used with records on standard output ('--output'): expected a file or a collector";
            return Some(message.to_owned());
        }
        if !self.exclude.is_empty() && self.interfaces.iter().all(|selector| matches!(selector, Selector::Name(_))) {
            let message = "'--exclude' needs interfaces to choose from: expected a pattern or 'any' with '--interface'";
            return Some(message.to_owned());
        }
        if self.learn && self.fleet.fleet_statistics {
            let message =
                "'--fleet-statistics' cannot be used with '--learn': expected a model, whose statistics they are";
            return Some(message.to_owned());
        }
        let twice = interface_twice(&self.interfaces);
        twice.or_else(|| self.output.contradiction()).or_else(|| self.rows.contradiction())
    }

    /// Checks that the terminal UI has a terminal.
    pub(super) fn unfit(&self) -> Option<String> {
        let streams = [("output", io::stdout().is_terminal()), ("error", io::stderr().is_terminal())];
        let none = streams.iter().find(|(_, is_terminal)| self.tui && !is_terminal);
        none.map(|(name, _)| format!("'--tui' needs a terminal, and standard {name} is not one"))
    }
}
