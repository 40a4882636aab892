//! The options of a live run.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use flowml_common::content::PayloadLimit;
use flowml_common::tunnel::PortList;
use glob::Pattern;

use super::alarms::AlarmLevel;
use super::fleet::FleetModel;
use super::learners::{Begin, Builtin, is_file};
use crate::capture::attach::Wanted;
use crate::capture::filter::PacketFilter;
use crate::capture::selection::Selector;
use crate::learning::Settings;
use crate::process::memory;
use crate::session::Timeouts;

/// The direction of the counted packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Incoming packets.
    #[default]
    Ingress,
    /// Incoming and outgoing packets.
    Both,
}

impl Direction {
    /// All directions.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Both];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Both => "both",
        }
    }

    /// A description of the direction.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ingress => "Incoming packets",
            Self::Both => "Incoming and outgoing packets",
        }
    }
}

/// The effect of SIGHUP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hangup {
    /// The model file is read again.
    #[default]
    Reloads,
    /// The run ends, because its terminal was closed.
    Ends,
}

/// The options of a live run. With [`Options::default`] a run meters incoming packets of the interface of the default
/// route until a signal.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interfaces. If there are none, the interface of the default route is metered.
    pub interfaces: Vec<Selector>,
    /// Interfaces that patterns do not select.
    pub exclude: Vec<Pattern>,
    /// The hook at which packets are counted.
    pub xdp_mode: Wanted,
    /// The direction of the counted packets.
    pub direction: Direction,
    /// Time between two drains.
    pub interval: Duration,
    /// Entries of the flow table of each CPU; without it, the default.
    pub flow_capacity: Option<u32>,
    /// Memory of everything that grows with traffic, bytes, within [`MEMORY`]; without it, an eighth of the memory of the
    /// host or of its control group.
    pub memory_max: Option<u64>,
    /// The timeouts of flows.
    pub timeouts: Timeouts,
    /// The payload that is kept of each direction of a flow.
    pub payload: Option<PayloadLimit>,
    /// The ports of tunnels, if flows inside of tunnels are metered.
    pub tunnels: Option<PortList>,
    /// The filter of packets; without it all packets are counted in flows.
    pub filter: Option<PacketFilter>,
    /// The folder of pins.
    pub pin: Option<PathBuf>,
    /// The file of what one run leaves to the next.
    pub state: Option<PathBuf>,
    /// The duration of the run; without it, until a signal.
    pub duration: Option<Duration>,
    /// The effect of SIGHUP.
    pub hangup: Hangup,
    /// The model: a file, or the name of a shipped one.
    pub model: Option<PathBuf>,
    /// Whether the run starts without a model.
    pub learn: bool,
    /// The alarm level. If it is `None`, the level of the model.
    pub alarms: Option<AlarmLevel>,
    /// Seed of the learners.
    pub seed: u64,
    /// Whether statistics of the rows of a model are sent.
    pub statistics: bool,
    /// The model of the fleet, which is tried beside the model in use.
    pub fleet_model: Option<FleetModel>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            exclude: Vec::new(),
            xdp_mode: Wanted::Auto,
            direction: Direction::default(),
            interval: Duration::from_secs(1),
            flow_capacity: None,
            memory_max: None,
            timeouts: Timeouts::default(),
            payload: None,
            tunnels: None,
            filter: None,
            pin: None,
            state: None,
            duration: None,
            hangup: Hangup::default(),
            model: None,
            learn: false,
            alarms: None,
            seed: 0,
            statistics: false,
            fleet_model: None,
        }
    }
}

/// The valid range of [`Options::memory_max`], bytes.
pub const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// The default where the system does not report its memory, bytes.
const DEFAULT_MEMORY: u64 = 256 << 20;

impl Options {
    /// Bytes that flows and rows may take.
    #[must_use]
    pub fn memory_limit(&self) -> usize {
        let share = || memory::available().map_or(DEFAULT_MEMORY, |bytes| bytes / 8);
        let limit = self.memory_max.unwrap_or_else(share).clamp(*MEMORY.start(), *MEMORY.end());
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// The origin of the models: none with `learn`, otherwise the model file if it exists, otherwise the shipped model.
    #[must_use]
    pub fn begin(&self) -> Begin<'_> {
        match &self.model {
            _ if self.learn => Begin::Untrained,
            Some(path) if is_file(path) && path.exists() => Begin::File(path),
            Some(path) => Begin::Builtin(Builtin::named(path).unwrap_or_else(|| self.builtin())),
            None => Begin::Builtin(self.builtin()),
        }
    }

    /// The shipped model for the metered direction.
    const fn builtin(&self) -> Builtin {
        match self.direction {
            Direction::Ingress => Builtin::Ingress,
            Direction::Both => Builtin::Both,
        }
    }

    /// The file to which the model is saved, if any.
    #[must_use]
    pub(crate) fn model_file(&self) -> Option<&Path> {
        self.model.as_deref().filter(|path| is_file(path))
    }

    /// The settings for the models.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings { seed: self.seed, ..Settings::default() }
    }
}

/// The settings that a run reads again at SIGHUP, in addition to its model file.
#[derive(Clone, Debug, Default)]
pub struct Reread {
    /// The alarm level.
    pub alarms: Option<AlarmLevel>,
    /// The model: a file, or the name of a shipped one.
    pub model: Option<PathBuf>,
    /// The model of the fleet.
    pub fleet_model: Option<FleetModel>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Reads the options of a run again.
pub type Rereads = Box<dyn FnMut() -> Result<Reread> + Send>;
