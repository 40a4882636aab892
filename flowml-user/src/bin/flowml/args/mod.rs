//! The command line: what may be asked of flowml, and the words for what may not.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use flowml_common::content::PayloadLimit;
use flowml_user::capture::attach::Wanted;
use flowml_user::capture::selection::{Selector, pattern};
use flowml_user::dataset::TableFormat;
use flowml_user::engine::{Direction, Hangup, MEMORY, Options};
use flowml_user::export::Target;
use flowml_user::process::amounts::{Size, duration, size};
use flowml_user::process::journal::{Priority, prioritized};
use flowml_user::process::plain;
use flowml_user::record::{Inspector, Pattern};
use flowml_user::session::{InitiatorRule, Timeouts};
use glob::Pattern as NamePattern;

/// For the help of the program and of each command, as `concat!` asks for.
macro_rules! exit_codes {
    () => {
        "Exit codes: 0 success (also after SIGINT or SIGTERM, or when standard output was closed), 1 failure, 2 wrong usage."
    };
}

mod alarms;
mod configuration;
mod doctor;
mod feedback;
mod learning;
mod pages;
mod pin;
mod report;
mod sandbox;
mod verbosity;

pub(crate) use alarms::AlarmArguments;
pub(crate) use configuration::Configuration;
pub(crate) use doctor::Doctor;
pub(crate) use feedback::Feedback;
pub(crate) use learning::{Eval, InputArguments, Model, ModelCommand, Score, Train, Unit};
pub(crate) use pages::Pages;
pub(crate) use pin::Unpin;
pub(crate) use report::Report;
pub(crate) use sandbox::SandboxArguments;
pub(crate) use verbosity::Verbosity;

/// A network flow meter for Linux that learns normal traffic and reports anomalies.
#[derive(Debug, Parser)]
#[command(name = "flowml", version, after_help = exit_codes!(), subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What flowml does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Meter live interfaces.
    #[command(about = RUN_ABOUT, long_about = RUN_HELP, after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Read captures.
    #[command(about = READ_ABOUT, long_about = READ_HELP, after_help = READ_EXAMPLES)]
    Read(Read),
    /// Label flow records by rules or from another table, and clean them
    #[command(long_about = LABEL_HELP, after_help = LABEL_EXAMPLES)]
    Label(Label),
    /// Train a model on captures, live traffic or tables
    #[command(long_about = learning::TRAIN_HELP, after_help = learning::TRAIN_EXAMPLES)]
    Train(Train),
    /// Score the rows of tables, or the flows of captures, with a model of a table
    #[command(long_about = learning::SCORE_HELP, after_help = learning::SCORE_EXAMPLES)]
    Score(Score),
    /// Measure detectors and classifiers on labelled tables and captures
    #[command(long_about = learning::EVAL_HELP, after_help = learning::EVAL_EXAMPLES)]
    Eval(Eval),
    /// Check whether 'flowml run' works on this host, and print the commands that fix problems
    #[command(long_about = doctor::DOCTOR_HELP, after_help = doctor::DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Remove what 'flowml run --pin' keeps in the kernel: programs, links and maps
    #[command(long_about = pin::UNPIN_HELP, after_help = pin::UNPIN_EXAMPLES)]
    Unpin(Unpin),
    /// Write an HTML report of captures or records, with charts
    #[command(long_about = report::REPORT_HELP, after_help = report::REPORT_EXAMPLES)]
    Report(Report),
    /// Label an incident as benign or as an attack in a model of traffic
    #[command(long_about = feedback::FEEDBACK_HELP, after_help = feedback::FEEDBACK_EXAMPLES)]
    Feedback(Feedback),
    /// Show what a model file contains
    #[command(after_help = exit_codes!())]
    Model(Model),
    /// Print the meaning of every column of the records
    #[command(after_help = exit_codes!())]
    Features(Features),
    /// Write the man pages and the shell completions, for packages
    #[command(hide = true)]
    Pages(Pages),
}

const LABEL_HELP: &str = "\
Adds a column of labels to flow records: CSV, JSON lines or Parquet of flowml, or any table with the columns src_ip, \
src_port, dst_ip, dst_port, protocol and bidirectional_first_seen_ms, such as NFStream's. The label is that of the first rule \
that matches, or that of the flow with the same 5-tuple and the same start in another table.

docs/LABELS.md describes the rules.";

const LABEL_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml label flows.csv --rules attacks.toml -o labelled.csv
  flowml label monday tuesday --rules attacks.toml --clean --report report.json -o week.parquet
  flowml label flows.csv --labels truth.csv --labels-column attack -o labelled.csv

",
    exit_codes!()
);

/// The arguments of `flowml label`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("truth").required(true))]
pub(crate) struct Label {
    /// Tables of flows: CSV, JSON lines, Parquet, or a folder that '-o parquet=DIR' wrote
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// File of rules that assign the labels (TOML)
    #[arg(long, value_name = "FILE", group = "truth")]
    pub(crate) rules: Option<PathBuf>,

    /// Table of flows with labels
    #[arg(long, value_name = "TABLE", group = "truth")]
    pub(crate) labels: Option<PathBuf>,

    /// Column of the labels in the table of '--labels'
    #[arg(long, value_name = "NAME", default_value = "label", requires = "labels")]
    pub(crate) labels_column: String,

    /// Maximum difference between the starts of one flow in the two tables, 0ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "labels",
          value_parser = |text: &str| duration(text, TOLERANCE))]
    pub(crate) tolerance: Duration,

    /// Label of flows without a match [default: the default of the rules, else benign]
    #[arg(long, value_name = "LABEL")]
    pub(crate) default: Option<String>,

    /// Name of the new column
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub(crate) column: String,

    /// Leave out incomplete rows, rows with invalid numbers (such as NaN), and duplicates; print how many
    #[arg(long)]
    pub(crate) clean: bool,

    /// Write the counts of rows to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Whether the command is confined.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// File to write the table to: a .csv or .parquet file, or '-' for CSV on standard output
    #[arg(short, long, value_name = "FILE", value_parser = table)]
    pub(crate) output: PathBuf,
}

/// The arguments of `flowml features`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Features {
    /// Format of the list
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// For whom a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// A table to read
    #[default]
    Text,
    /// JSON lines for programs
    Json,
}

const RUN_ABOUT: &str = "Meter live interfaces: flows, hosts and anomalies as they happen";

const RUN_HELP: &str = "\
Counts every packet of the interfaces in the kernel (XDP or tc), drains the flow table at each interval, and learns the \
normal traffic. Each flow and each host gets an anomaly score, a probability and the reason for it.

Records go to the outputs (-o). Standard error gets a table at each interval (at most one a second), or the terminal UI \
(--tui), and a final summary. Packets are never dropped or changed. Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.";

const RUN_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml run                                     meter the interface of the default route
  flowml run -i eth0 -i eth1 --direction both    incoming and outgoing packets
  flowml run -i 'veth*' --exclude veth0          all that match, now and when they appear
  flowml run -i eth0 --tui                       terminal UI: sort, filter, open a flow, a host, an incident
  flowml run -i eth0 --duration 1m -o csv=flows.csv
  flowml run -i eth0 --pin /sys/fs/bpf/flowml    continue to count during stop, crash and upgrade
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

    /// The content of that file.
    #[arg(skip)]
    pub(crate) configuration: Option<Configuration>,

    /// Interface to meter, may be repeated: a name, a pattern as in 'veth*', or 'any' for all Ethernet interfaces except loopback
    /// [default: the interface of the default route]. Interfaces that appear later or come back are metered from then on
    #[arg(short, long = "interface", value_name = "IFACE")]
    pub(crate) interfaces: Vec<Selector>,

    /// Leave out interfaces that match PATTERN from those that patterns and 'any' select; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) exclude: Vec<NamePattern>,

    /// Hook in the kernel where packets are counted
    #[arg(long, value_name = "MODE", value_parser = xdp_mode(), default_value = Wanted::Auto.name())]
    pub(crate) xdp_mode: Wanted,

    /// Direction of the packets that are counted
    #[arg(long, value_name = "DIRECTION", value_parser = direction(), default_value = Direction::Ingress.name())]
    pub(crate) direction: Direction,

    /// Time between two drains of the flow table, each of which is reported, 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = |text: &str| duration(text, INTERVAL))]
    pub(crate) interval: Duration,

    /// Entries of the flow table on each CPU, 64 to 16777216. The table is drained early when 60 % of them are in use (6 %
    /// if flows have fewer than two packets on average), and accepts every new flow until about 85 % are [default:
    /// 131072, halved until the table takes at most 512 MiB and 1/32 of the host's memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=16 << 20))]
    pub(crate) flow_capacity: Option<u32>,

    /// Memory for everything that grows with traffic (partial flows, sessions, rows queued for outputs), 1MiB to 1024GiB. When
    /// it runs short, flows of one packet are aggregated [default: an eighth of the memory of the host or of its control group]
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| size(text, MEMORY))]
    pub(crate) memory_max: Option<Size>,

    /// Idle timeout: a flow without a packet for this time has ended, 100ms to 1d
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) idle_timeout: Duration,

    /// Active timeout: a flow that lasts this long is reported, and its next packet starts a new record, 100ms to 1d
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) active_timeout: Duration,

    /// Model file: loaded if it exists, saved every ten minutes and at the end [default: the shipped model, until one of this
    /// traffic is trained; nothing is saved]
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,

    /// Start without a model: nothing is scored before a warm-up of 30 s
    #[arg(long)]
    pub(crate) learn: bool,

    /// Write records, may be repeated: jsonl=PATH, csv=PATH, parquet=DIR or ipfix=HOST:PORT (ipfix=tcp://HOST:PORT by TCP);
    /// PATH '-' is standard output. After PATH or DIR, ',rotate=1h' or ',rotate=100MB' starts a new file after that time or size
    /// (a live run starts a new Parquet file every minute), and ',mode=0640' also permits the group to read the files
    #[arg(short, long = "output", value_name = "SINK")]
    pub(crate) outputs: Vec<Target>,

    /// Serve metrics for Prometheus at http://ADDR/metrics; ADDR is an address and a port, as in 127.0.0.1:9750, or a port of
    /// 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,

    /// Pin programs, maps and counters in DIR, a folder in a BPF file system, as in /sys/fs/bpf/flowml. Packets are counted while
    /// no agent runs, and the next agent with the same DIR continues without loss. 'flowml unpin DIR' removes the pins
    #[arg(long, value_name = "DIR")]
    pub(crate) pin: Option<PathBuf>,

    /// Write open sessions, host windows, tests, incidents and learners to FILE at the end. The next start with the same FILE and
    /// '--pin DIR' continues them: a connection that lasts longer than the restart is one record
    #[arg(long, value_name = "FILE", requires = "pin")]
    pub(crate) state: Option<PathBuf>,

    /// Whether the command is confined.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Duration of the run, 10ms to 365d [default: until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, RUN_TIME))]
    pub(crate) duration: Option<Duration>,

    /// How rare an anomaly is.
    #[command(flatten)]
    pub(crate) alarms: AlarmArguments,

    /// Seed of the learners: the same seed and records give the same clusters [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,

    /// What is kept of payload.
    #[command(flatten)]
    pub(crate) content: ContentArguments,

    /// Show a terminal UI instead of tables: rates, anomalies and their reasons, flows, hosts, clusters. Keys sort, filter, pause
    /// and open a row ('?' lists them); q ends the run
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) tui: bool,

    /// No tables, only notices and the final summary; -qq: only warnings and errors. Records on standard output imply -q
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) quiet: u8,
}

/// What is kept of payload, and what is looked for in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ContentArguments {
    /// Read the first N bytes of payload of each direction, 0 to 256, for the columns of application, server name, entropy and
    /// matches; the bytes themselves are never written [default: 0, payload is not read]
    #[arg(long = "payload", value_name = "N", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(PayloadLimit::MAX)))]
    payload: u32,

    /// Add a column match_NAME, which is 1 if REGEX matches the payload bytes of either direction; may be repeated
    #[arg(long = "match", value_name = "NAME=REGEX", requires = "payload")]
    pub(crate) matches: Vec<Pattern>,
}

impl ContentArguments {
    /// How much payload is kept.
    #[must_use]
    pub(crate) const fn limit(&self) -> Option<PayloadLimit> {
        PayloadLimit::new(self.payload)
    }

    /// What payload is searched for, if it is read.
    ///
    /// # Errors
    /// If the patterns are too large together.
    pub(crate) fn inspector(&self) -> anyhow::Result<Option<Inspector>> {
        let wanted = self.limit().is_some();
        let inspector = wanted.then(|| Inspector::new(&self.matches)).transpose();
        inspector.context("the patterns of '--match' are too large together")
    }

    fn contradiction(&self) -> Option<String> {
        let mut seen = HashSet::new();
        if self.limit().is_none() && !self.matches.is_empty() {
            return Some(
                "'--match' searches payload, and '--payload 0' reads none: expected '--payload' of 1 to 256".to_owned(),
            );
        }
        if self.matches.len() > Inspector::MAX_PATTERNS {
            return Some(format!("'--match' was given more often than {} times", Inspector::MAX_PATTERNS));
        }
        let twice = self.matches.iter().find(|pattern| !seen.insert(pattern.name()))?;
        Some(format!(
            "the name '{}' was given to two patterns ('--match'): expected a different name for each",
            twice.name()
        ))
    }
}

const READ_ABOUT: &str = "Read captures: the same records as of a live run, at the times of the packets";

const READ_HELP: &str = "\
Reads captures with the parser and the flow table of the kernel programs, so that the records are those of a live run. \
Formats are pcap and pcapng, plain or compressed with gzip or zstd. Link types are Ethernet, raw IP, Linux cooked and BSD \
loopback. No privileges are needed.

Rows are scored only on request: '--model FILE' uses a trained model, '--learn' trains on the captures themselves. With \
'--learn' the captures are read twice: first to train, then to score all rows. Otherwise the columns of the verdict are empty, \
and reading is much faster.

Several files are one capture: flows continue from one file to the next. The files are read in the order of the times of \
their first packets, compared interface by interface; standard input, pipes and files without packets keep their place. A \
truncated or damaged file is read up to the damage, the other files are read completely, and the exit code is 1.";

const READ_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml read capture.pcap -o csv=flows.csv
  flowml read day.pcap.gz night.pcapng.zst -o jsonl=flows.jsonl
  tcpdump -i eth0 -w - | flowml read - -o jsonl=-
  flowml read capture.pcap --profile nfstream -o csv=-    flows end as in NFStream
  flowml read capture.pcap --model office.json -o jsonl=-    scored with the model of 'flowml run'

A duration is a whole number and its unit: 10ms, 1s, 2m, 1h, 1d.
",
    exit_codes!()
);

/// The arguments of `flowml read`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Read {
    /// Captures, '-' is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Time between two drains of the flow table, by the times of the packets, 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = |text: &str| duration(text, INTERVAL))]
    pub(crate) interval: Duration,

    /// Rules by which flows end
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t)]
    pub(crate) profile: Profile,

    /// Idle timeout: a flow without a packet for this time has ended, 100ms to 1d [default: the profile's]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) idle_timeout: Option<Duration>,

    /// Active timeout: a flow that lasts this long is reported, and its next packet starts a new record, 100ms to 1d [default: the profile's]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) active_timeout: Option<Duration>,

    /// Score with the model in FILE if it exists, continue to train it, and save it at the end. 'builtin' and 'builtin-ingress'
    /// are the shipped models, for both directions and for incoming traffic; they are not saved [default: rows have no verdict]
    #[arg(long, value_name = "FILE", group = "judgement")]
    pub(crate) model: Option<PathBuf>,

    /// Train a model on all captures first, then score all of their rows; nothing is saved. A pipe cannot be read twice: the
    /// model is trained while rows are scored, as in a live run
    #[arg(long, group = "judgement")]
    pub(crate) learn: bool,

    /// Write records, may be repeated: jsonl=PATH, csv=PATH, parquet=DIR or ipfix=HOST:PORT (ipfix=tcp://HOST:PORT by TCP);
    /// PATH '-' is standard output. After PATH or DIR, ',rotate=1h' or ',rotate=100MB' starts a new file after that time or size
    /// (a live run starts a new Parquet file every minute), and ',mode=0640' also permits the group to read the files
    #[arg(short, long = "output", value_name = "SINK")]
    pub(crate) outputs: Vec<Target>,

    /// How rare an anomaly is.
    #[command(flatten)]
    pub(crate) alarms: AlarmArguments,

    /// Seed of all random choices: the same seed and captures give the same rows [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,

    /// What is kept of payload.
    #[command(flatten)]
    pub(crate) content: ContentArguments,

    /// Whether the command is confined.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors: no progress, no final summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How flows end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As in `flowml run`: idle timeout 15 s, active timeout 120 s, or FIN or RST
    #[default]
    Flowml,
    /// As in NFStream: idle timeout 120 s, active timeout 1800 s; the source of a record is the sender of its first packet
    Nfstream,
}

impl Read {
    /// When flows end and who their initiator is: by the profile, except for what the user sets.
    #[must_use]
    pub(crate) fn timeouts(&self) -> Timeouts {
        let profile = match self.profile {
            Profile::Flowml => Timeouts::default(),
            Profile::Nfstream => Timeouts {
                idle: Duration::from_secs(120),
                active: Duration::from_secs(1800),
                end_by_flags: false,
                // NFStream looks at the active timeout with each packet.
                active_slots: 1024,
                initiator: InitiatorRule::FirstPacket,
            },
        };
        Timeouts {
            idle: self.idle_timeout.unwrap_or(profile.idle),
            active: self.active_timeout.unwrap_or(profile.active),
            ..profile
        }
    }

    /// The messages for people.
    #[must_use]
    pub(crate) const fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Errors } else { Verbosity::Summary }
    }

    /// Whether the progress is shown.
    #[must_use]
    pub(crate) const fn shows_progress(&self) -> bool {
        !self.quiet
    }

    fn contradiction(&self) -> Option<String> {
        let standard_input = self.files.iter().filter(|path| path.as_os_str() == "-").count();
        let twice = (standard_input > 1).then(|| "standard input was given twice: expected '-' once".to_owned());
        let unjudged = (self.alarms.level().is_some() && self.model.is_none() && !self.learn).then(|| {
            "'--alpha' and '--false-alarms' need scored rows: expected '--model FILE' or '--learn' as well".to_owned()
        });
        let other = || same_destination(&self.outputs).or_else(|| self.content.contradiction());
        twice.or(unjudged).or_else(other)
    }
}

/// By the names of the table of modes.
fn xdp_mode() -> impl TypedValueParser<Value = Wanted> {
    named(&Wanted::ALL, Wanted::name, Wanted::meaning)
}

/// By the names of the table of directions.
fn direction() -> impl TypedValueParser<Value = Direction> {
    named(&Direction::ALL, Direction::name, Direction::meaning)
}

/// One of the values of a table, by its name.
fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [T],
    name: fn(T) -> &'static str,
    meaning: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names: Vec<_> = table.iter().map(|value| PossibleValue::new(name(*value)).help(meaning(*value))).collect();
    PossibleValuesParser::new(names).map(move |chosen| {
        *table.iter().find(|value| name(**value) == chosen).expect("the parser lets these names pass alone")
    })
}

impl Run {
    /// The name of the command.
    const NAME: &'static str = "run";
    /// The name of the field of its file.
    const CONFIG: &'static str = "config";

    /// A run over these interfaces that is otherwise as where nothing is said, and writes no records.
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
            payload: self.content.limit(),
            pin: self.pin.clone(),
            state: self.state.clone(),
            duration: self.duration,
            hangup: if self.tui { Hangup::Ends } else { Hangup::Reloads },
            model: self.model.clone(),
            learn: self.learn,
            alarms: self.alarms.level(),
            seed: self.seed,
        }
    }

    /// The messages for people: tables, unless `-q` is given or records go to standard output.
    #[must_use]
    pub(crate) fn verbosity(&self) -> Verbosity {
        let records_on_stdout = self.outputs.iter().any(Target::is_standard_output);
        match self.quiet {
            0 if !records_on_stdout => Verbosity::Tables,
            0 | 1 => Verbosity::Summary,
            _ => Verbosity::Errors,
        }
    }

    /// What clap cannot see: arguments that are good one by one and contradict each other.
    fn contradiction(&self) -> Option<String> {
        if self.tui && self.outputs.iter().any(Target::is_standard_output) {
            let message =
                "'--tui' cannot be used with records on standard output ('--output'): expected a file or a collector";
            return Some(message.to_owned());
        }
        if !self.exclude.is_empty() && self.interfaces.iter().all(|selector| matches!(selector, Selector::Name(_))) {
            let message = "'--exclude' needs interfaces to choose from: expected a pattern or 'any' with '--interface'";
            return Some(message.to_owned());
        }
        let twice = interface_twice(&self.interfaces);
        twice.or_else(|| same_destination(&self.outputs)).or_else(|| self.content.contradiction())
    }

    /// What is wrong with where it runs.
    fn unfit(&self) -> Option<String> {
        let streams = [("output", io::stdout().is_terminal()), ("error", io::stderr().is_terminal())];
        let none = streams.iter().find(|(_, is_terminal)| self.tui && !is_terminal);
        none.map(|(name, _)| format!("'--tui' needs a terminal, and standard {name} is not one"))
    }
}

fn interface_twice(interfaces: &[impl ToString]) -> Option<String> {
    let mut seen = HashSet::new();
    let twice = interfaces.iter().map(ToString::to_string).find(|name| !seen.insert(name.clone()))?;
    Some(format!("interface '{twice}' was given twice with '--interface': expected each name once"))
}

fn same_destination(targets: &[Target]) -> Option<String> {
    let mut outputs = targets.iter().enumerate();
    outputs
        .find(|(at, one)| targets[..*at].iter().any(|earlier| earlier.is_same(one)))
        .map(|(_, twice)| format!("{twice} was given to two outputs ('--output'): expected a different one for each"))
}

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(DAY);
const TOLERANCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const RUN_TIME: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(365 * DAY);

/// Seconds.
const DAY: u64 = 86_400;

fn address(text: &str) -> Result<SocketAddr, String> {
    let of_loopback = || text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().or_else(|_| of_loopback()).map_err(|_| {
        "expected an IP address and a port, as in 127.0.0.1:9750 or [::1]:9750, or a port of 127.0.0.1, as in 9750"
            .to_owned()
    })
}

fn table(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let known = TableFormat::of(&path).is_some();
    if known { Ok(path) } else { Err("expected a .csv or .parquet file, or '-'".to_owned()) }
}

fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value < 1.0);
    value.ok_or_else(|| "expected a number between 0 and 1, as in 0.0001".to_owned())
}

impl Arguments {
    /// Reads the arguments of a process, the program's name first.
    ///
    /// # Errors
    /// clap's error for what is wrong, or its way of saying that help or the version was asked for.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let wrong = |message| Self::command().error(ErrorKind::ValueValidation, message);
        let (configuration, arguments) = Configuration::of(arguments.into_iter().collect()).map_err(wrong)?;
        let mut read = Self::try_parse_from(arguments)?;
        if let Command::Run(run) = &mut read.command {
            run.configuration = configuration;
        }
        let contradiction = match &read.command {
            Command::Run(run) => run.contradiction(),
            Command::Read(read) => read.contradiction(),
            Command::Eval(eval) => eval.contradiction(),
            Command::Doctor(doctor) => interface_twice(&doctor.interfaces),
            Command::Features(_)
            | Command::Label(_)
            | Command::Train(_)
            | Command::Score(_)
            | Command::Report(_)
            | Command::Unpin(_)
            | Command::Feedback(_)
            | Command::Model(_)
            | Command::Pages(_) => None,
        };
        match contradiction {
            Some(message) => Err(Self::command().error(ErrorKind::ArgumentConflict, message)),
            None => Ok(read),
        }
    }

    /// What this process was asked to run, with the file of its configuration as it is now.
    ///
    /// # Errors
    /// What is wrong with that file, in one line.
    pub(crate) fn of_this_run() -> Result<Run, String> {
        match Self::read(std::env::args_os()) {
            Ok(Self { command: Command::Run(run) }) => Ok(run),
            Ok(_) => Err("the arguments of this process are not those of 'flowml run'".to_owned()),
            Err(error) => Err(without_usage(&error)),
        }
    }

    /// The arguments of this process. Ends it where they are wrong (exit code 2, one line on standard error) and where
    /// they ask for help or the version.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        let read = Self::read(std::env::args_os()).and_then(|read| match &read.command {
            Command::Run(run) => match run.unfit() {
                Some(message) => Err(Self::command().error(ErrorKind::Io, message)),
                None => Ok(read),
            },
            _ => Ok(read),
        });
        read.unwrap_or_else(|error| {
            if is_question(&error) {
                error.exit();
            }
            eprintln!("{}", prioritized(Priority::Error, &plain::line(&one_line(&error))));
            std::process::exit(error.exit_code());
        })
    }
}

/// Whether the error is a text that was asked for, to be shown as it is.
fn is_question(error: &clap::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        || kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// clap's error in one line that begins as all of flowml's do.
fn one_line(error: &clap::Error) -> String {
    format!("flowml: {} (see 'flowml help')", without_usage(error))
}

/// clap's error without its usage paragraphs, in one line.
fn without_usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let message =
        message.filter(|words| !words.is_empty() && !words.starts_with("Usage:") && !words.starts_with("For more"));
    let message = message.collect::<Vec<_>>().join("; ");
    message.strip_prefix("error: ").unwrap_or(&message).to_owned()
}

#[cfg(test)]
mod tests {
    use flowml_user::capture::attach::Mode;
    use flowml_user::engine::AlarmLevel;

    use super::*;

    fn read(arguments: &str) -> Result<Run, String> {
        let words = std::iter::once("flowml").chain(arguments.split_whitespace()).map(OsString::from);
        match Arguments::read(words) {
            Ok(Arguments { command: Command::Run(run) }) => Ok(run),
            Ok(other) => panic!("expected a run: {other:?}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 2, "{error}");
                Err(one_line(&error))
            }
        }
    }

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let run = read("run").expect("no argument is required");
        assert!(run.interfaces.is_empty() && run.outputs.is_empty());
        assert_eq!((run.xdp_mode, run.direction), (Wanted::Auto, Direction::Ingress));
        assert_eq!(run.interval, Duration::from_secs(1));
        assert_eq!(run.idle_timeout, Duration::from_secs(15));
        assert_eq!(run.active_timeout, Duration::from_secs(120));
        assert_eq!((run.duration, run.model.clone()), (None, None));
        assert_eq!(run.verbosity(), Verbosity::Tables);
        assert_eq!(run.content.limit(), None);
        assert!(run.sandbox.is_on());
    }

    #[test]
    fn every_flag_is_read() {
        let line = "run -i eth0 -i veth* -i any --exclude veth1* --exclude br0 --xdp-mode tc --direction both --interval 10ms --flow-capacity 64 \
                    --idle-timeout 2m --active-timeout 1h --model m.json -o jsonl=- -o csv=f.csv --duration 1d \
                    --metrics [::1]:9750 --sandbox off --memory-max 64MB --alpha 1e-3 --seed 7 --payload 256 --match sql=(?i)union --match x=^x";
        let run = read(line).expect("all of it is good");
        assert_eq!(run.interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(), ["eth0", "veth*", "any"]);
        assert!(matches!(&run.interfaces[..], [Selector::Name(_), Selector::Pattern(_), Selector::Any]));
        assert_eq!(run.exclude.iter().map(NamePattern::as_str).collect::<Vec<_>>(), ["veth1*", "br0"]);
        assert_eq!(
            (run.xdp_mode, run.direction, run.flow_capacity),
            (Wanted::Only(Mode::Tc), Direction::Both, Some(64))
        );
        assert_eq!(run.interval, Duration::from_millis(10));
        assert_eq!((run.idle_timeout, run.active_timeout), (Duration::from_secs(120), Duration::from_secs(3600)));
        assert_eq!(run.model, Some("m.json".into()));
        assert_eq!((run.outputs.len(), run.options().memory_limit()), (2, 64_000_000));
        assert_eq!((run.metrics, run.sandbox.is_on()), ("[::1]:9750".parse().ok(), false));
        assert_eq!((run.duration, run.seed), (Some(Duration::from_secs(DAY)), 7));
        assert_eq!(run.alarms.level(), Some(AlarmLevel::Probability(1e-3)));
        assert_eq!(run.content.limit(), PayloadLimit::new(256));
        assert_eq!(run.content.matches.iter().map(Pattern::name).collect::<Vec<_>>(), ["sql", "x"]);
    }

    #[test]
    fn metrics_are_off_or_on_loopback_unless_an_address_is_named() {
        let address = |line: &str| read(line).expect(line).metrics.map(|address| address.to_string());
        let cases = [
            ("run", None),
            ("run --metrics 9750", Some("127.0.0.1:9750")),
            ("run --metrics 0.0.0.0:1", Some("0.0.0.0:1")),
        ];
        for (line, expected) in cases {
            assert_eq!(address(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn lists_are_for_people_unless_asked_for_otherwise() {
        let read = |line: &str| Arguments::read(line.split(' ').map(OsString::from)).map(|arguments| arguments.command);
        for (line, expected) in
            [("flowml features", ListFormat::Text), ("flowml features --format json", ListFormat::Json)]
        {
            let command = read(line).expect(line);
            assert!(matches!(command, Command::Features(Features { format }) if format == expected), "{line}");
        }
    }

    fn read_files(arguments: &str) -> Result<Read, String> {
        let words = std::iter::once("flowml").chain(arguments.split_whitespace()).map(OsString::from);
        match Arguments::read(words) {
            Ok(Arguments { command: Command::Read(read) }) => Ok(read),
            Ok(other) => panic!("expected a reading: {other:?}"),
            Err(error) => Err(one_line(&error)),
        }
    }

    #[test]
    fn files_are_read_by_the_same_rules_unless_a_profile_or_a_flag_says_otherwise() {
        let seconds = |seconds| Duration::from_secs(seconds);
        let cases = [
            ("read a.pcap", (15, 120, true)),
            ("read - b --profile flowml --idle-timeout 1m", (60, 120, true)),
            ("read a --profile nfstream", (120, 1800, false)),
            ("read a --profile nfstream --active-timeout 1h", (120, 3600, false)),
        ];
        for (line, (idle, active, end_by_flags)) in cases {
            // What belongs to a profile goes together.
            let initiator = if end_by_flags { InitiatorRule::Evidence } else { InitiatorRule::FirstPacket };
            let active_slots = if end_by_flags { 16 } else { 1024 };
            let expected =
                Timeouts { idle: seconds(idle), active: seconds(active), end_by_flags, active_slots, initiator };
            assert_eq!(read_files(line).map(|read| read.timeouts()), Ok(expected), "{line}");
        }
        let read = read_files("read a.pcap -q -o csv=-").expect("all of it is good");
        assert_eq!((read.verbosity(), read.shows_progress(), read.interval), (Verbosity::Errors, false, seconds(1)));
        for (line, expected) in [
            ("read", "<FILE>..."),
            ("read - a -", "standard input was given twice"),
            ("read a -o jsonl=- -o csv=-", "standard output was given to two outputs"),
            ("read a --profile cisco", "nfstream"),
            ("read a --learn --model m.json", "cannot be used with"),
            ("read a --alpha 0.01", "--learn"),
            ("read a --false-alarms 1/day", "--learn"),
        ] {
            let message = read_files(line).expect_err(line);
            assert!(message.contains(expected) && !message.contains('\n'), "{line}: {message}");
        }
    }

    #[test]
    fn people_are_told_less_where_it_would_disturb() {
        let cases = [
            ("run -o jsonl=f", Verbosity::Tables),
            ("run --tui", Verbosity::Tables),
            ("run -o jsonl=-", Verbosity::Summary),
            ("run -q", Verbosity::Summary),
            ("run -qq", Verbosity::Errors),
            ("run -q -q -o csv=-", Verbosity::Errors),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line).map(|run| run.verbosity()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line_with_flag_value_and_expectation() {
        let cases: [(&str, &[&str]); 35] = [
            ("run --interval 5ms", &["--interval", "'5ms'", "10ms to 1h"]),
            ("run --interval 2h", &["--interval", "'2h'", "10ms to 1h"]),
            ("run --interval 1", &["--interval", "'1'", "its unit (ms, s, m, h, d)"]),
            ("run --interval s", &["--interval", "'s'", "a whole number"]),
            ("run --interval 99999999999999999999s", &["--interval", "10ms to 1h"]),
            ("run --duration 18446744073709551615d", &["--duration", "10ms to 365d"]),
            ("run --idle-timeout 1ms", &["--idle-timeout", "100ms to 1d"]),
            ("run --flow-capacity 63", &["--flow-capacity", "63", "64..=16777216"]),
            ("run --flow-capacity x", &["--flow-capacity", "'x'"]),
            ("run --memory-max 100", &["--memory-max", "'100'", "its unit (KB, MB, GB, KiB, MiB, GiB)"]),
            ("run --memory-max 1KB", &["--memory-max", "'1KB'", "1MiB to 1024GiB"]),
            ("run --alpha 0", &["--alpha", "'0'", "between 0 and 1"]),
            ("run --alpha NaN", &["--alpha", "'NaN'", "between 0 and 1"]),
            ("run --false-alarms 1/year", &["--false-alarms", "'1/year'", "as in 1/day"]),
            ("run --alpha 0.1 --false-alarms 1/day", &["--alpha", "--false-alarms", "cannot be used with"]),
            ("run -i eth[0", &["--interface", "'eth[0'", "invalid range pattern", "'veth*'"]),
            ("run -i eth0 --exclude veth*", &["--exclude", "'any'"]),
            ("run -i a/b", &["--interface", "'a/b'", "1 to 15 bytes"]),
            ("run -i sixteen-letters-", &["--interface", "1 to 15 bytes"]),
            ("run -i lo -i lo", &["--interface", "'lo'", "each name once"]),
            ("run -o xml=a", &["--output", "'xml=a'", "jsonl=PATH, csv=PATH, parquet=DIR or ipfix=HOST:PORT"]),
            ("run --metrics 97500", &["--metrics", "'97500'", "an IP address and a port, as in 127.0.0.1:9750"]),
            ("run -o ipfix=collector", &["--output", "'collector'", "HOST:PORT", "tcp://HOST:PORT"]),
            ("run -o jsonl=- -o csv=-", &["standard output", "--output", "a different one"]),
            ("run -o jsonl=x -o csv=./x", &["./x", "--output", "a different one"]),
            ("run --tui -q", &["--tui", "--quiet"]),
            ("run --tui -o csv=x -o jsonl=-", &["--tui", "standard output", "a file or a collector"]),
            ("run --payload 257", &["--payload", "257", "0..=256"]),
            ("run --payload x", &["--payload", "'x'"]),
            ("run --match a=b", &["--payload <N>", "not provided"]),
            ("run --payload 0 --match a=b", &["--match", "--payload 0", "1 to 256"]),
            ("run --payload 9 --match a=(", &["--match", "'a=('", "not a valid regular expression: unclosed group"]),
            ("run --payload 9 --match A=b", &["--match", "'A' is not a valid name", "a-z, 0-9 and _"]),
            ("run --payload 9 --match a=b --match a=c", &["--match", "'a'", "two patterns"]),
            ("run --xdp-mode hardware", &["--xdp-mode", "'hardware'", "native", "generic", "tc", "auto"]),
        ];
        for (line, parts) in cases {
            let message = read(line).expect_err(line);
            assert!(message.starts_with("flowml: ") && !message.contains('\n'), "{message}");
            for part in parts {
                assert!(message.contains(part), "{line}: no {part:?} in {message:?}");
            }
        }
    }

    #[test]
    fn a_slip_is_told_what_was_meant() {
        let message = read("run --intervall 1s").expect_err("there is no such flag");
        assert!(message.contains("'--intervall'") && message.contains("'--interval'"), "{message}");
        assert!(read("ruin").is_err_and(|message| message.contains("'ruin'") && message.contains("'run'")));
        assert!(read("run eth0").is_err_and(|message| message.contains("'eth0'")));
    }
}
