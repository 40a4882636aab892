//! The soak test: an agent under traffic, attacks and faults, with a check of every packet each minute.
//!
//! For minutes or hours the agent meters normal traffic and attacks, while everything that it depends on fails from
//! time to time.
//!
//! A check closes the switch's port to the metered interface, and waits until the agent has processed what came before.
//! It then compares three counts, which must be equal: packets that the interfaces received, by the kernel; packets
//! that the agent received; and packets in the rows of its files, plus skipped packets. Then it opens the port again.

mod chart;
mod growth;
mod limits;
mod measure;
mod receivers;
mod rows;
mod schedule;
mod site;
mod verdict;
mod wire;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::limits::LIMIT;
use self::measure::{Measure, Process, header};
use self::schedule::{Event, Fault, Past, Schedule, Step};
use self::site::Site;
use self::verdict::Verdict;
use crate::lab::{Interface, Lab};
use crate::scenario::unix_ms;
use crate::screen::{Screen, clock, ensure_not_interrupted, is_interrupted, red};
use crate::traffic::attack::{Attack, Scene};
use crate::traffic::background::Habits;

/// Interval at which conditions are checked.
const LOOK: Duration = Duration::from_millis(200);

/// The allowed times between two checks.
const PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_secs(60);

/// Usual duration of a check, in which sessions have to end.
const CHECK: Duration = Duration::from_secs(5);

/// The plan of a soak test.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder for the measurements and the chart. The agent's outputs are there as well; they are removed after they
    /// are read.
    pub folder: PathBuf,
    /// Duration, if checks do not take longer than usual.
    pub length: Duration,
    /// The same seed makes the same schedule.
    pub seed: u64,
}

impl Plan {
    /// The time between two checks: a minute, or a quarter of a short soak test.
    fn period(&self) -> Duration {
        (self.length / 4).clamp(*PERIODS.start(), *PERIODS.end())
    }

    /// The part of a period in which attacks and faults happen.
    fn busy(&self) -> Duration {
        self.period() - CHECK
    }

    /// The number of periods.
    fn periods(&self) -> usize {
        (self.length.as_secs() / self.period().as_secs()).max(1) as usize
    }
}

/// Makes an empty folder, or takes an existing one that is empty or contains an earlier soak test, which is removed.
fn prepare(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let is_ours = folder.join(MEASURES).exists() || folder.join(OUTCOMES).exists();
    let is_empty = fs::read_dir(folder)?.next().is_none();
    ensure!(
        is_empty || is_ours,
        "{} is neither empty nor the folder of a former soak: name another, or remove it",
        folder.display()
    );
    fs::remove_dir_all(folder)?;
    fs::create_dir_all(folder)?;
    Ok(folder.canonicalize()?)
}

const MEASURES: &str = "measures.tsv";
const OUTCOMES: &str = "outcomes.tsv";
const LOG: &str = "agent.log";
const PICTURE: &str = "soak.html";

/// The log of events with their times: a file, and lines on the screen.
struct Log<'a> {
    screen: &'a Screen,
    file: File,
    begun: Instant,
}

impl Log<'_> {
    fn event(&mut self, name: &str, text: &str) -> Result<()> {
        let seconds = self.begun.elapsed().as_secs_f64();
        writeln!(self.file, "{}\t{seconds:.1}\t{name}\t{text}", unix_ms())?;
        self.screen.event(text);
        Ok(())
    }
}

/// A running attack.
type Running = (&'static Attack, JoinHandle<Result<()>>);

/// A running soak test.
struct Soak<'a> {
    site: Site,
    log: Log<'a>,
    begun: Instant,
    running: Vec<Running>,
    measures: Vec<Measure>,
    pasts: Vec<Past>,
    verdict: Verdict,
}

/// Runs a soak test to its end, or until SIGINT or SIGTERM. Returns the failures, one line each.
pub fn run(lab: Lab, plan: &Plan, screen: &Screen) -> Result<Vec<String>> {
    let folder = prepare(&plan.folder)?;
    // This file comes first: it marks the folder as that of a soak test.
    let mut file = File::create(folder.join(OUTCOMES))?;
    writeln!(file, "unix_ms\tseconds\tname\twhat")?;
    let site = Site::build(lab, &folder)?;
    let mut schedule = Schedule::new(plan.seed, plan.busy(), site.town.strangers.len());
    let periods: Vec<_> = (0..plan.periods()).map(|_| schedule.period()).collect();
    announce(screen, plan, &periods);
    let begun = Instant::now();
    let log = Log { screen, file, begun };
    let mut soak = Soak {
        site,
        log,
        begun,
        running: Vec::new(),
        measures: Vec::new(),
        pasts: Vec::new(),
        verdict: Verdict::default(),
    };
    let habits = Habits { seed: plan.seed, duration: plan.length + LIMIT * 10, pace: 1.0 };
    let background = soak.site.town.live(habits)?;
    let mut table = File::create(folder.join(MEASURES))?;
    writeln!(table, "{}", header())?;
    for steps in &periods {
        match soak.period(steps, plan) {
            // The measurements so far are still drawn.
            Err(_) if is_interrupted() => break,
            done => done?,
        }
        if let Some(measure) = soak.measures.last() {
            writeln!(table, "{}", measure.line())?;
        }
    }
    soak.site.town.server.set_port_open(false)?;
    let outcomes = background.stop()?;
    screen.line(&format!("normal traffic: {} connections, {} aborted", outcomes.conversations, outcomes.failures));
    soak.finish(&folder)
}

/// Prints the schedule.
fn announce(screen: &Screen, plan: &Plan, periods: &[Vec<Step>]) {
    let (length, period) = (clock(plan.length), plan.period());
    screen.line(&format!("a soak of {length}, a check every {} s, seed {}; the plan:", period.as_secs(), plan.seed));
    for (n, steps) in periods.iter().enumerate() {
        for step in steps {
            let at = period * n as u32 + step.at;
            screen.line(&format!("  {:>6}  {:<18} {}", clock(at), step.event.name(), step.event));
        }
    }
    screen.line("");
}

impl Soak<'_> {
    /// Runs one period of the schedule, and the check at its end.
    fn period(&mut self, steps: &[Step], plan: &Plan) -> Result<()> {
        self.site.town.server.set_port_open(true)?;
        let (from, mut past) = (Instant::now(), Past::default());
        self.site.second.send()?;
        let mut steps = steps.iter().peekable();
        let mut begun = Vec::new();
        while from.elapsed() < plan.busy() || steps.peek().is_some() {
            while let Some(step) = steps.next_if(|step| step.at <= from.elapsed()) {
                self.step(step, &mut past, &mut begun, plan.seed)?;
            }
            self.site.tidy()?;
            self.watch(plan)?;
        }
        self.join_attacks(plan)?;
        let measure = self.check(plan)?;
        self.verdict.of_period(&measure, self.measures.last(), &past, self.pasts.last());
        self.report(&measure)?;
        self.measures.push(measure);
        self.pasts.push(past);
        Ok(())
    }

    fn step(&mut self, step: &Step, past: &mut Past, begun: &mut Vec<(Fault, u64)>, seed: u64) -> Result<()> {
        self.log.event(step.event.name(), &step.event.to_string())?;
        match step.event {
            Event::Attack(attack, stranger) => {
                past.attacks.push(attack.name);
                let stranger = self.site.town.strangers[stranger].clone();
                self.running.push((attack, launch(attack, stranger, self.site.town.server.clone(), seed)));
            }
            Event::Begin(fault) => {
                past.faults.push(fault);
                begun.push((fault, unix_ms()));
                self.site.begin(fault)?;
                past.spans.push((unix_ms(), unix_ms()));
            }
            Event::End(fault) => {
                self.site.end(fault)?;
                let of = begun.iter().find(|(other, _)| *other == fault);
                past.spans.extend(of.map(|(_, from)| (*from, unix_ms())));
            }
        }
        Ok(())
    }

    /// Waits a moment. Fails if the agent has ended or the user stops the test.
    fn watch(&self, plan: &Plan) -> Result<()> {
        ensure_not_interrupted()?;
        let messages = || self.site.agent.stderr();
        ensure!(self.site.agent.is_running()?, "the agent has ended; its messages:\n{}", messages());
        let (now, attacks) =
            (clock(self.begun.elapsed()), self.running.iter().filter(|(_, thread)| !thread.is_finished()));
        self.log.screen.progress(&format!(
            "{now} of {}, {} checks, {} attacks go on, {} failures",
            clock(plan.length),
            self.measures.len(),
            attacks.count(),
            self.verdict.failures().len()
        ));
        thread::sleep(LOOK);
        Ok(())
    }

    /// Waits for the attacks. A fault may interrupt an attack, as it interrupts normal traffic: that is logged and is
    /// no failure.
    fn join_attacks(&mut self, plan: &Plan) -> Result<()> {
        while self.running.iter().any(|(_, thread)| !thread.is_finished()) {
            self.site.tidy()?;
            self.watch(plan)?;
        }
        for (attack, thread) in self.running.drain(..) {
            let Ok(outcome) = thread.join() else { bail!("the attack {} panicked", attack.name) };
            if let Err(error) = outcome {
                self.log.event(attack.name, &format!("broken off: {error:#}"))?;
            }
        }
        Ok(())
    }

    /// Lets no packet in until all packets that came are accounted for, and measures.
    fn check(&mut self, plan: &Plan) -> Result<Measure> {
        self.site.town.server.set_port_open(false)?;
        let closed = Instant::now();
        let mut process: Option<Process> = None;
        loop {
            self.site.tidy()?;
            self.watch(plan)?;
            let scrape = self.site.scrape()?;
            let on_the_wire = self.site.on_the_wire()?;
            let mut measure = Measure::read(&scrape, self.measures.last())?;
            let now = Process::of(self.site.agent.id())?;
            // Threads and descriptors that exist only for a moment do not count, so the smaller of two readings is
            // used.
            let least = |of: fn(&Process) -> u64| process.as_ref().map_or(of(&now), |before| of(before).min(of(&now)));
            let (threads, descriptors) = (least(|of| of.threads), least(|of| of.descriptors));
            process = Some(Process { threads, descriptors, ..now });
            let mut accounted = on_the_wire == measure.received && scrape.count("flowml_open_sessions")? == 0;
            if accounted || closed.elapsed() >= LIMIT {
                measure.in_rows = self.site.rows.packets()?;
                accounted &= measure.in_rows == measure.in_flows();
            }
            if accounted || closed.elapsed() >= LIMIT {
                self.site.tables.packets()?;
                let process = process.unwrap_or_default();
                let (unix_ms, since_begin, cpu) = (unix_ms(), self.begun.elapsed(), self.site.agent.cpu_time()?);
                let (settled_after, messages) = (closed.elapsed(), self.site.collector.messages());
                return Ok(Measure {
                    unix_ms,
                    since_begin,
                    settled_after,
                    process,
                    cpu,
                    on_the_wire,
                    messages,
                    ..measure
                });
            }
        }
    }

    fn report(&mut self, measure: &Measure) -> Result<()> {
        let mut line = format!(
            "check {}: {} packets on the wire and received, {} in rows, {} skipped ({} table full); {:.0} MiB, {} \
             descriptors, {} threads",
            self.measures.len() + 1,
            measure.received,
            measure.in_rows,
            measure.skipped,
            measure.table_full,
            measure.process.memory_kib as f64 / 1024.0,
            measure.process.descriptors,
            measure.process.threads,
        );
        for failure in self.verdict.new_failures() {
            write!(line, "; {}", red(failure))?;
        }
        self.log.event("check", &line)
    }

    /// Ends the agent, and draws the chart.
    fn finish(mut self, folder: &Path) -> Result<Vec<String>> {
        let wire = self.site.on_the_wire()?;
        self.log.screen.progress("the agent drains once more and ends");
        let (report, remains) = self.site.stop()?;
        fs::write(folder.join(LOG), &report.stderr)?;
        self.verdict.of_end(&report, remains, wire)?;
        self.verdict.of_growth(&self.measures);
        chart::write(&folder.join(PICTURE), &self.measures, &self.pasts)?;
        for name in ["rows", "tables", "disk"] {
            fs::remove_dir_all(folder.join(name))?;
        }
        fs::remove_file(folder.join("fifo"))?;
        let screen = self.log.screen;
        verdict::table(&self.measures).iter().for_each(|line| screen.line(line));
        screen.line(&format!("measurements, activities, the messages of the agent and a chart: {}", folder.display()));
        Ok(self.verdict.failures().to_vec())
    }
}

/// Runs an attack on a thread of its own, because it continues while faults start and end.
fn launch(attack: &'static Attack, attacker: Interface, victim: Interface, seed: u64) -> JoinHandle<Result<()>> {
    thread::spawn(move || (attack.launch)(Scene { attacker: &attacker, victim: &victim, seed }))
}
