//! Measures memory: entries of the flow table, open sessions, host windows, and the whole agent without outputs.
//!
//! A child process holds one of them. Its resident memory is compared before and after.

use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use flowml_common::flow::{PartialFlow, Sender};
use flowml_tests::proc_status::field;
use flowml_user::capture::kernel::{DEFAULT_CAPACITY, Size};
use flowml_user::engine::WINDOW;
use flowml_user::features::HostWindows;
use flowml_user::session::{DEFAULT_CAPACITY as MOST_SESSIONS, Sessions, Standing, Timeouts};

use crate::child::run;
use crate::effort::Effort;
use crate::intervals::{Intervals, Kinds};
use crate::path::{Path, Scoring};
use crate::ratio::Ratio;

/// The first argument of the child process.
pub(crate) const OCCUPY: &str = "occupy";

/// Numbers of flows, each with another host. The second one has the goals.
const FLOWS: [u32; 3] = [10_000, 1_000_000, 4_000_000];
const FEWEST_FLOWS: [u32; 2] = [500, 1_000];

/// The largest number of new flows of an interval. The numbers of flows are multiples of it, or smaller.
const AT_ONCE: u32 = 62_500;

/// Goals in bytes: an open session, and a million of them with their host windows.
const SESSION_GOAL: f64 = 512.0;
const MILLION_GOAL: f64 = (1_u64 << 30) as f64;

/// Epochs of the flow table.
const EPOCHS: u64 = 2;

/// What a child process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Open sessions.
    Sessions,
    /// Host windows and the slow view.
    Windows,
    /// Both.
    Both,
    /// The pipeline of `flowml run` without outputs: both, sequential tests, incidents and models.
    Agent,
}

impl Held {
    const ALL: [(&str, Self); 4] =
        [("sessions", Self::Sessions), ("windows", Self::Windows), ("both", Self::Both), ("agent", Self::Agent)];

    const fn means(self) -> &'static str {
        match self {
            Self::Sessions => "open sessions",
            Self::Windows => "windows of hosts, slow view",
            Self::Both => "open sessions, windows, slow view",
            Self::Agent => "flowml run without outputs, open sessions",
        }
    }
}

impl FromStr for Held {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, held)| held);
        found.ok_or_else(|| anyhow!("'{name}' cannot be held: expected sessions, windows, both or agent"))
    }
}

/// A measurement.
struct Occupied {
    held: Held,
    flows: u32,
    /// Open sessions, or hosts in the last window where only windows are held.
    units: u64,
    /// Growth of the resident memory, in bytes.
    resident: u64,
    /// Peak resident memory of the process, in bytes.
    peak: u64,
}

/// All measurements.
pub(crate) struct Memory {
    /// Bytes of an entry of the flow table, in one epoch of one CPU.
    entry: f64,
    occupied: Vec<Occupied>,
}

pub(crate) fn measure(effort: Effort) -> Result<Memory> {
    let size = Size::new(1, Some(DEFAULT_CAPACITY), None, None, None);
    let entry = size.bytes() as f64 / (EPOCHS * u64::from(size.shape.entries())) as f64;
    let mut occupied = Vec::new();
    for (name, held) in Held::ALL {
        for &flows in effort.pick(&FLOWS[..], &FEWEST_FLOWS[..]) {
            occupied.push(ask(name, held, flows)?);
        }
    }
    Ok(Memory { entry, occupied })
}

/// Measures in a child process.
fn ask(name: &str, held: Held, flows: u32) -> Result<Occupied> {
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    let (text, _) = run(command.args([OCCUPY, name]).arg(flows.to_string()))?;
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let Some(&[units, resident, peak]) = numbers.as_deref() else {
        return Err(anyhow!("the child process reports no memory: {text}"));
    };
    let most = if held == Held::Agent { MOST_SESSIONS as u64 } else { u64::MAX };
    let expected = u64::from(flows).min(most);
    ensure!(held == Held::Windows || units == expected, "{units} sessions are open, expected {expected}");
    ensure!(units > 0 && resident > 0, "nothing is held: {text}");
    Ok(Occupied { held, flows, units, resident, peak })
}

/// Holds the state for this number of flows, and prints its size: units, bytes, and bytes at the peak.
pub(crate) fn occupy(name: &str, flows: &str) -> Result<()> {
    let flows: u32 = flows.parse().with_context(|| format!("'{flows}' is no number of flows"))?;
    let (units, resident) = hold(name.parse()?, flows)?;
    println!("{units} {resident} {}", own_memory("VmHWM")?);
    Ok(())
}

/// Idle sessions stay open.
fn timeouts() -> Timeouts {
    Timeouts { idle: Duration::from_secs(3600), active: Duration::from_secs(3600), ..Timeouts::default() }
}

/// Returns the number of units, and the growth of the resident memory in bytes.
fn hold(held: Held, flows: u32) -> Result<(u64, u64)> {
    let each = flows.min(AT_ONCE);
    ensure!(each > 0 && flows.is_multiple_of(each), "{flows} flows, expected a multiple of {AT_ONCE}, or fewer");
    let mut intervals = Intervals::new(flows, each, Kinds::Datagrams, each);
    // This touches the memory of the table, and the code that is measured.
    intervals.advance()?;
    let mut state = Holder::new(held, flows, &intervals)?;
    let before = own_memory("VmRSS")?;
    let mut units = state.take(&intervals);
    for _ in 1..flows / each {
        intervals.advance()?;
        units = state.take(&intervals);
    }
    Ok((units, own_memory("VmRSS")?.saturating_sub(before)))
}

/// What is held.
enum Holder {
    Sessions(Sessions),
    Windows(Box<HostWindows>),
    Both(Sessions, Box<HostWindows>),
    Agent(Box<Path>),
}

impl Holder {
    fn new(held: Held, flows: u32, intervals: &Intervals) -> Result<Self> {
        let sessions = || Sessions::new(timeouts()).with_capacity(flows as usize);
        let windows = || Box::new(HostWindows::new(WINDOW));
        Ok(match held {
            Held::Sessions => Self::Sessions(sessions()),
            Held::Windows => Self::Windows(windows()),
            Held::Both => Self::Both(sessions(), windows()),
            Held::Agent => Self::Agent(Box::new(Path::new(Scoring::Candidate, timeouts(), &[], intervals.begin_ns())?)),
        })
    }

    /// Processes an interval. Returns the number of units that are held then.
    fn take(&mut self, intervals: &Intervals) -> u64 {
        let (table, end_ns) = (intervals.table(), intervals.end_ns());
        match self {
            Self::Sessions(sessions) => {
                let none = HostWindows::new(WINDOW);
                sessions.absorb_drain(table.flows(), |_, _| {});
                sessions.set_windows(|key, stats, standing| none.around(key, stats, standing));
                sessions.len() as u64
            }
            Self::Windows(windows) => {
                table
                    .flows()
                    .map(|flow| flow.partial_flow())
                    .for_each(|partial| windows.add(&partial, standing(&partial)));
                windows.advance(end_ns).windows.len() as u64
            }
            Self::Both(sessions, windows) => {
                sessions.absorb_drain(table.flows(), |partial, standing| windows.add(partial, standing));
                windows.advance(end_ns);
                sessions.set_windows(|key, stats, standing| windows.around(key, stats, standing));
                sessions.len() as u64
            }
            Self::Agent(path) => {
                path.take(intervals);
                path.open_sessions()
            }
        }
    }
}

/// The standing of a new flow whose server has answered. Its client has the higher port.
fn standing(partial: &PartialFlow) -> Standing {
    let [lower, upper] = [Sender::Lower, Sender::Upper].map(|end| partial.key.endpoint(end).port);
    let initiator = if lower > upper { Sender::Lower } else { Sender::Upper };
    Standing { new: true, initiator, answered: true, about_sender: false, renews: true }
}

/// Memory of this process in bytes: `VmRSS` now, `VmHWM` at its peak.
fn own_memory(name: &str) -> Result<u64> {
    Ok(field(std::process::id(), name)? * 1024)
}

impl Memory {
    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let ratio = |name: String, goal, value| Ratio { name, goal: Some(goal), rounds: vec![value] };
        let of = |held| self.occupied.iter().filter(move |occupied| occupied.held == held).nth(1);
        let session = of(Held::Sessions).map(|occupied| {
            let bytes = occupied.resident as f64 / occupied.units as f64;
            ratio("memory_open_session_by_512_bytes".to_owned(), 1.0, bytes / SESSION_GOAL)
        });
        let million = of(Held::Both).map(|occupied| {
            let name = format!("memory_{}_sessions_and_windows_by_1_gib", occupied.units);
            ratio(name, 1.0, occupied.resident as f64 / MILLION_GOAL)
        });
        session.into_iter().chain(million).collect()
    }

    pub(crate) fn print(&self) {
        println!("Memory: an entry of the flow table has {:.1} B in each epoch of each CPU", self.entry);
        println!("Resident memory that grows with flows, each of another host");
        println!("{:<42} {:>9} {:>9} {:>9} {:>9} {:>10}", "", "flows", "units", "MiB", "peak MiB", "B per unit");
        for Occupied { held, flows, units, resident, peak } in &self.occupied {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let each = *resident as f64 / *units as f64;
            println!(
                "{:<42} {flows:>9} {units:>9} {:>9.1} {:>9.1} {each:>10.0}",
                held.means(),
                mib(*resident),
                mib(*peak)
            );
        }
        println!();
    }
}
