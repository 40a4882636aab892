//! The outputs of records.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, Command, Error};
use flowml_user::export::{AgentId, Origin, Pace, Sinks, Target};
use flowml_user::features::RowColumns;
use flowml_user::process::crypto_pan::CryptoPan;
use flowml_user::process::sandbox::Reach;
use flowml_user::process::whole;

/// The outputs of records.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArguments {
    /// Write records, may be repeated: jsonl=PATH, csv=PATH, parquet=DIR or ipfix=HOST:PORT (ipfix=tcp://HOST:PORT by TCP);
    /// PATH '-' is standard output. After PATH or DIR, ',rotate=1h' or ',rotate=100MB' starts a new file after that time or size
    /// (without it, a live run starts a new Parquet file every minute). ',mode=0640' also permits the group to read the files.
    /// Send incidents, and nothing else: webhook=URL[,format=json|ecs|ocsf|slack], alertmanager=URL, or
    /// syslog=SERVER[,format=text|json|ecs|ocsf], where SERVER is unix:PATH, udp:HOST:PORT or tcp:HOST:PORT. Send all rows with
    /// acknowledgement: kafka=BROKER,…/TOPIC, nats=HOST:PORT/SUBJECT (JetStream), or otlp=HOST:PORT or a URL
    /// (OpenTelemetry logs over HTTP); ',tls=on', ',sasl=plain|scram-sha-256|scram-sha-512' and ',credentials=FILE' may
    /// follow
    #[arg(short = 'o', long = "output", value_name = "SINK", value_parser = TargetParser)]
    pub(crate) targets: Vec<Target>,

    /// Identifier of this agent in rows and events that are sent to other hosts: letters, digits, '-', '_', '.', ':'
    /// [default: the name of the host]
    #[arg(long, value_name = "ID")]
    pub(crate) agent_id: Option<AgentId>,

    /// Replace addresses in all outputs by pseudonyms that keep common prefixes (Crypto-PAn). KEYFILE has a key of 64
    /// hexadecimal digits ('openssl rand -hex 32'). MAC addresses are left out. Tables and the terminal UI show the
    /// addresses
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) anonymize: Option<PathBuf>,
}

/// The longest file of a key, bytes.
const LONGEST_KEY: u64 = 1024;

/// Parses an output. An error does not repeat a URL, which may contain secrets.
#[derive(Clone)]
struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = Target;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Target, Error> {
        let parse = |text: &str| text.parse::<Target>();
        TypedValueParser::parse_ref(&parse, command, argument, value).map_err(|mut error| {
            let masked = Target::masked(&value.to_string_lossy());
            error.insert(ContextKind::InvalidValue, ContextValue::String(masked));
            error
        })
    }
}

impl OutputArguments {
    /// Whether an output takes only incidents.
    #[must_use]
    pub(crate) fn has_receivers(&self) -> bool {
        self.targets.iter().any(Target::takes_only_incidents)
    }

    /// Opens the outputs for flows with these columns.
    ///
    /// # Errors
    /// If the key of pseudonyms cannot be read, or an output cannot be opened.
    pub(crate) fn open(&self, columns: RowColumns, pace: Pace) -> Result<Sinks> {
        let function = self.anonymize.as_deref().map(key).transpose()?;
        let sinks = Sinks::open_as(&Origin::starting(self.agent_id.as_ref()), &self.targets, columns, pace)?;
        Ok(match function {
            Some(function) => sinks.anonymized_by(function),
            None => sinks,
        })
    }

    /// Adds the files and ports that the outputs need.
    pub(crate) fn reach(&self, reach: &mut Reach) {
        self.targets.iter().for_each(|output| output.reach(reach));
        self.anonymize.iter().for_each(|path| reach.read(path));
    }

    /// Whether an output is standard output.
    #[must_use]
    pub(super) fn use_standard_output(&self) -> bool {
        self.targets.iter().any(Target::is_standard_output)
    }

    /// An output that was given twice.
    pub(super) fn contradiction(&self) -> Option<String> {
        let targets = &self.targets;
        let mut outputs = targets.iter().enumerate();
        outputs.find(|(at, one)| targets[..*at].iter().any(|earlier| earlier.is_same(one))).map(|(_, twice)| {
            format!("{twice} was given to two outputs ('--output'): expected a different one for each")
        })
    }
}

/// Reads the key of pseudonyms.
fn key(path: &Path) -> Result<CryptoPan> {
    let text = whole::read_text(path, LONGEST_KEY);
    let key = text.map_err(anyhow::Error::from).and_then(|text| text.parse().map_err(anyhow::Error::from));
    key.with_context(|| format!("cannot read the key {}", path.display()))
}
