//! The labelled corpus: ordinary traffic and attacks of the laboratory as captures, with the rules that label their flows.
//!
//! It has two parts, to learn from and to be tested by, which differ in hosts, times, seeds, rates and the options of the
//! tools. Each is a folder with `ordinary.pcap`, `ordinary-ingress.pcap` (what comes in alone), `attacks.pcap` (ordinary traffic goes on meanwhile) and `attacks.toml`,
//! captured at the site's server.

mod attacks;
mod capture;
mod check;
mod files;
mod ordinary;
mod rules;
mod servers;
mod site;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use self::attacks::{ATTACKS, Attack};
pub use self::check::{Labelled, labelled};
pub use self::rules::BENIGN;
pub use self::watch::Report;

use self::attacks::Scene;
use self::capture::{Capture, View};
use self::files::Files;
use self::ordinary::{Habits, People};
use self::rules::Rule;
use self::servers::Servers;
use self::site::{Census, Site};
use self::watch::Watch;
use crate::lab::{Interface, Lab};
use crate::scenario::{Town, unix_ms};
use crate::traffic::background;

/// Between attacks, and before the first and after the last of them: a window of two seconds and a drain are over then.
const PAUSE: Duration = Duration::from_secs(4);

/// Longer than captures take to begin and end.
const LIMIT: Duration = Duration::from_secs(60);

/// What an attack leaves behind belongs to it: answers to its last packets, and connections that it left open.
const TAIL: Duration = Duration::from_secs(1);

/// What something needs: the tools of every test, or also those that `cargo xtask corpus` alone brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Equipment {
    /// Those of every test.
    Laboratory,
    /// Those of the corpus.
    Corpus,
}

/// A part of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To learn from.
    Train,
    /// To be tested by.
    Test,
}

/// In what the ordinary traffic of the parts differs, beside their seeds.
#[derive(Clone, Copy)]
struct Shape {
    census: Census,
    habits: Habits,
}

const TRAIN: Shape =
    Shape { census: Census { clients: 6, responders: 3 }, habits: Habits { pace: 1.0, ipv6: 0.3, page: 2_000 } };

const TEST: Shape =
    Shape { census: Census { clients: 5, responders: 2 }, habits: Habits { pace: 1.25, ipv6: 0.4, page: 3_000 } };

impl Part {
    /// Both parts, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// The name of its folder.
    pub const fn name(self) -> &'static str {
        self.choose("train", "test")
    }

    const fn choose<T: Copy>(self, train: T, test: T) -> T {
        match self {
            Self::Train => train,
            Self::Test => test,
        }
    }

    fn shape(self) -> Shape {
        self.choose(TRAIN, TEST)
    }
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the parts' folders go.
    pub folder: PathBuf,
    /// How long ordinary traffic is captured alone, in each part; longer, if by then not everything has been done once.
    pub ordinary: Duration,
    /// For whatever is random; when packets go out remains up to the machine.
    pub seed: u64,
    /// Only what can be made with this.
    pub equipment: Equipment,
    /// Only these classes of attacks, where there are any.
    pub classes: Vec<String>,
    /// Whether agents meter the server and a client meanwhile.
    pub live: bool,
}

impl Plan {
    fn attacks(&self) -> Result<Vec<&'static Attack>> {
        let known = |class: &String| ATTACKS.iter().any(|attack| attack.class == class);
        if let Some(class) = self.classes.iter().find(|class| !known(class)) {
            let classes = ATTACKS.iter().map(|attack| attack.class).collect::<Vec<_>>();
            bail!("there is no class {class}; expected one of {}", classes.join(", "));
        }
        let wanted = |attack: &&Attack| {
            let named = self.classes.is_empty() || self.classes.iter().any(|class| attack.class == class);
            named && attack.equipment <= self.equipment
        };
        Ok(ATTACKS.iter().filter(wanted).collect())
    }
}

/// An attack that has been captured.
#[derive(Debug, Clone)]
pub struct Past {
    /// In which part.
    pub part: Part,
    /// What it was.
    pub attack: &'static Attack,
    /// Unix time, ms.
    pub began_ms: u64,
    /// How long it took.
    pub lasted: Duration,
    /// What the capture and the rules show of it.
    pub seen: Labelled,
    /// What agents at the server reported while it lasted.
    pub reports: Vec<Report>,
}

/// What was made.
#[derive(Debug, Default)]
pub struct Made {
    /// The attacks, in their order.
    pub attacks: Vec<Past>,
    /// What agents reported of ordinary traffic alone: nothing of that happened.
    pub false_reports: Vec<Report>,
}

impl Past {
    /// When it began, in UTC.
    pub fn began(&self) -> Result<String> {
        rules::time(self.began_ms)
    }
}

/// Makes both parts, and checks that every attack is in its capture and under its label.
pub fn make(lab: &Lab, plan: &Plan) -> Result<Made> {
    plan.attacks()?;
    let mut made = Made::default();
    for part in Part::ALL {
        let of_part = make_part(lab, part, plan).with_context(|| format!("the part {}", part.name()))?;
        made.attacks.extend(of_part.attacks);
        made.false_reports.extend(of_part.false_reports);
    }
    Ok(made)
}

fn make_part(lab: &Lab, part: Part, plan: &Plan) -> Result<Made> {
    let folder = plan.folder.join(part.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // An odd number with many bits: seeds that follow each other have no part in common.
    let seed = plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.choose(0, 1 << 63);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let site = Site::build(lab, part)?;
    let [far, sink, attackers @ ..] = site.strangers.as_slice() else { bail!("a site with too few strangers") };
    let files = Arc::new(Files::make(&mut random, plan.equipment)?);
    let _servers = Servers::start(&site, [far, sink], &files, plan.equipment)?;
    let people = People::start(&site, &files, part, seed, plan.equipment)?;

    // Everybody begins at once, which is no ordinary moment.
    thread::sleep(PAUSE);
    eprintln!("{}: ordinary traffic for {} s", part.name(), plan.ordinary.as_secs());
    let watch = Watch::of_site(&site, plan)?;
    let captures = capture_views(&site.server, &folder, "ordinary")?;
    thread::sleep(plan.ordinary);
    let done = people.wait_for_all()?;
    captures.into_iter().try_for_each(Capture::stop)?;
    let false_reports = watch.stop()?;
    eprintln!("{}: {done}", part.name());

    let watch = Watch::of_server(&site, plan)?;

    let capture = Capture::start(&site.server, View::Both, &folder.join("attacks.pcap"))?;
    let mut attacks = plan.attacks()?;
    attacks.shuffle(&mut random);
    let mut scene = Scene { part, site: &site, files: &files, attacker: far, far, sink, random };
    let (mut pasts, mut rules) = (Vec::new(), Vec::new());
    for (attack, attacker) in attacks.into_iter().zip(attackers.iter().cycle()) {
        thread::sleep(PAUSE);
        eprintln!("{}: {} ({})", part.name(), attack.class, attack.tool);
        scene.attacker = attacker;
        let (from_ms, begun) = (unix_ms(), Instant::now());
        let traces = attack.launch(&mut scene)?;
        let (lasted, to_ms) = (begun.elapsed(), unix_ms() + TAIL.as_millis() as u64);
        rules.extend(traces.into_iter().map(|trace| Rule { label: attack.class, from_ms, to_ms, trace }));
        let (seen, reports) = (Labelled::default(), Vec::new());
        pasts.push(Past { part, attack, began_ms: from_ms, lasted, seen, reports });
    }
    thread::sleep(PAUSE);
    capture.stop()?;
    attribute(watch.stop()?, &mut pasts);
    let heading = format!("Attacks of the part {} of the corpus with seed {}.", part.name(), plan.seed);
    fs::write(folder.join("attacks.toml"), rules::to_toml(&heading, &rules)?).context("writing the rules")?;
    drop(people);
    check(&folder, &mut pasts)?;
    Ok(Made { attacks: pasts, false_reports })
}

/// Gives each report to the latest attack that had begun by then.
fn attribute(reports: Vec<Report>, pasts: &mut [Past]) {
    for report in reports {
        let has_begun = |past: &&mut Past| past.began_ms <= report.incident.told_ms;
        if let Some(past) = pasts.iter_mut().rev().find(has_begun) {
            past.reports.push(report);
        }
    }
}

/// Captures the ordinary traffic of the town as well, in which the tests of the agent are set: what ships with flowml is
/// to know both.
pub fn make_town(lab: Lab, plan: &Plan) -> Result<Vec<Report>> {
    let folder = plan.folder.join(Part::Train.name());
    let town = Town::build(lab)?;
    let duration = plan.ordinary + LIMIT;
    let background = town.live(background::Habits { seed: plan.seed, duration, pace: 1.0 })?;
    eprintln!("the town: ordinary traffic for {} s", plan.ordinary.as_secs());
    let client = town.clients.first().map(|client| ("client", client));
    let places = [("server", &town.server)].into_iter().chain(client);
    let watch = Watch::start(places.filter(|_| plan.live))?;
    let captures = capture_views(&town.server, &folder, "town")?;
    thread::sleep(plan.ordinary);
    captures.into_iter().try_for_each(Capture::stop)?;
    drop(background);
    watch.stop()
}

/// Begins a capture of each view.
fn capture_views(at: &Interface, folder: &Path, name: &str) -> Result<Vec<Capture>> {
    View::ALL.map(|(view, end)| Capture::start(at, view, &folder.join(format!("{name}{end}")))).into_iter().collect()
}

/// Every attack has its packets under its label, and ordinary traffic alone has no other label.
fn check(folder: &Path, pasts: &mut [Past]) -> Result<()> {
    let tables = tempfile::tempdir().context("making a folder for tables")?;
    let rules = folder.join("attacks.toml");
    let counts = |capture: &str| labelled(&folder.join(capture), &rules, tables.path());
    let ordinary = counts("ordinary.pcap")?;
    ensure!(
        ordinary.keys().eq([BENIGN]) && ordinary[BENIGN].packets > 0,
        "ordinary traffic alone: expected flows labelled {BENIGN} and no other, found {ordinary:?}"
    );
    let attacks = counts("attacks.pcap")?;
    ensure!(attacks.contains_key(BENIGN), "during the attacks there was no ordinary traffic");
    for past in pasts {
        let Attack { class, least, .. } = past.attack;
        past.seen = attacks.get(*class).copied().unwrap_or_default();
        ensure!(past.seen.packets >= *least, "{class}: expected {least} packets or more, found {}", past.seen.packets);
    }
    Ok(())
}
