//! The arguments of `flowml read`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use flowml_user::process::amounts::duration;
use flowml_user::session::{InitiatorRule, Timeouts};

use super::fleet::FleetArguments;
use super::outputs::OutputArguments;
use super::rows::RowArguments;
use super::sandbox::SandboxArguments;
use super::values::{INTERVAL, TIMEOUT};
use super::verbosity::Verbosity;

pub(super) const READ_ABOUT: &str = "Read captures: the same records as of a live run, at the times of the packets";

pub(super) const READ_HELP: &str = "\
Reads captures with the same parser and flow table as the kernel programs, so the records are the same as those of a live \
run. Formats are pcap and pcapng, plain or compressed with gzip or zstd. Link types are Ethernet, raw IP, Linux cooked and BSD \
loopback. No privileges are needed.

Rows are scored only with '--model' or '--learn'. '--model FILE' uses a trained model. '--learn' reads the captures twice: \
first to train a model on them, then to score all rows. Without both, the columns from 'cluster' to 'reason' are empty, and \
reading is much faster.

Several files are one capture: flows continue from one file to the next. The files are sorted by the times of their first \
packets, interface by interface. Standard input, pipes and files without packets keep their position in the command line. A \
truncated or damaged file is read up to the damage. The other files are read completely, and the exit code is 1.";

pub(super) const READ_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml read capture.pcap -o csv=flows.csv
  flowml read day.pcap.gz night.pcapng.zst -o jsonl=flows.jsonl
  tcpdump -i eth0 -w - | flowml read - -o jsonl=-
  flowml read capture.pcap --profile nfstream -o csv=-    with the timeouts of NFStream
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

    /// Interval between two drains of the flow table, in packet time (the times in the capture), 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = |text: &str| duration(text, INTERVAL))]
    pub(crate) interval: Duration,

    /// Rules for the end of a flow
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t)]
    pub(crate) profile: Profile,

    /// Idle timeout: a flow without a packet for this time has ended, 100ms to 1d [default: the profile's]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) idle_timeout: Option<Duration>,

    /// Active timeout: a flow that lasts this long is reported, and its next packet starts a new record, 100ms to 1d [default: the profile's]
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text, TIMEOUT))]
    pub(crate) active_timeout: Option<Duration>,

    /// Score with the model in FILE if it exists, continue to train it, and save it at the end. 'builtin' and
    /// 'builtin-ingress' are the shipped models, for both directions and for incoming traffic; they are not saved
    /// [default: rows are not scored]
    #[arg(long, value_name = "FILE", group = "judgement")]
    pub(crate) model: Option<PathBuf>,

    /// Train a model on all captures first, then score all of their rows; nothing is saved. A pipe cannot be read twice: the
    /// model is trained while rows are scored, as in a live run
    #[arg(long, group = "judgement")]
    pub(crate) learn: bool,

    /// The fleet options.
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,

    /// The outputs.
    #[command(flatten)]
    pub(crate) output: OutputArguments,

    /// The contents of rows.
    #[command(flatten)]
    pub(crate) rows: RowArguments,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors: no progress, no final summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The rules for the end of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As in `flowml run`: idle timeout 15 s, active timeout 120 s, or FIN or RST
    #[default]
    Flowml,
    /// As in NFStream: idle timeout 120 s, active timeout 1800 s; the source of a record is the sender of its first packet
    Nfstream,
}

impl Read {
    /// The rules for the end of a flow and for its initiator: those of the profile, unless the user sets a timeout.
    #[must_use]
    pub(crate) fn timeouts(&self) -> Timeouts {
        let profile = match self.profile {
            Profile::Flowml => Timeouts::default(),
            Profile::Nfstream => Timeouts {
                idle: Duration::from_secs(120),
                active: Duration::from_secs(1800),
                end_by_flags: false,
                // NFStream checks the active timeout at each packet.
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

    /// The human-readable messages.
    #[must_use]
    pub(crate) const fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Errors } else { Verbosity::Summary }
    }

    /// Whether the progress is shown.
    #[must_use]
    pub(crate) const fn shows_progress(&self) -> bool {
        !self.quiet
    }

    pub(super) fn contradiction(&self) -> Option<String> {
        let standard_input = self.files.iter().filter(|path| path.as_os_str() == "-").count();
        let twice = (standard_input > 1).then(|| "standard input was given twice: expected '-' once".to_owned());
        let unjudged = (self.rows.alarms.level().is_some() && self.model.is_none() && !self.learn).then(|| {
            "'--alpha' and '--false-alarms' need scored rows: expected '--model FILE' or '--learn' as well".to_owned()
        });
        let needs_model = self.fleet.fleet_statistics || self.fleet.model().is_some();
        let without_model = (needs_model && self.model.is_none()).then(|| {
            "'--fleet-statistics' and '--fleet-model' need a model in use: expected '--model FILE' as well".to_owned()
        });
        let other = || self.output.contradiction().or_else(|| self.rows.contradiction());
        twice.or(unjudged).or(without_model).or_else(other)
    }
}
