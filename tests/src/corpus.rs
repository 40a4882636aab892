//! The labelled corpus: captures of normal traffic and attacks in the laboratory, with rules for their labels.
//!
//! It has a training part and a test part. They differ in hosts, times, seeds, rates and the options of the tools. Each
//! is a folder with the captures `normal.pcap`, `normal-ingress.pcap` (only incoming packets) and `attacks.pcap`
//! (normal traffic continues during the attacks), and the rules `attacks.toml`. All captures are taken at the site's
//! server.

mod attacks;
mod capture;
mod check;
mod files;
mod normal;
mod part;
mod plan;
mod rules;
mod servers;
mod site;
mod watch;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use self::attacks::{ATTACKS, Attack};
pub use self::check::{Labelled, labelled};
pub use self::part::{Equipment, Split};
pub use self::plan::Plan;
pub use self::rules::BENIGN;
pub use self::watch::Report;

use self::attacks::Scene;
use self::capture::{Capture, View};
use self::files::Files;
use self::normal::People;
use self::rules::Rule;
use self::servers::Servers;
use self::site::Site;
use self::watch::Watch;
use crate::lab::{Interface, Lab};
use crate::scenario::{Incident, Town, unix_ms};
use crate::traffic::background::{self, Background};

/// Pause between attacks, before the first and after the last. A window of two seconds and a drain end within it.
const PAUSE: Duration = Duration::from_secs(4);

/// Longest time for the captures to start or to end.
const LIMIT: Duration = Duration::from_secs(60);

/// Time after an attack that still belongs to it: answers to its last packets, and connections that it left open.
const TAIL: Duration = Duration::from_secs(1);

/// An attack that has been captured.
#[derive(Debug, Clone)]
pub struct Past {
    /// The part of the corpus.
    pub part: Split,
    /// The attack.
    pub attack: &'static Attack,
    /// The attacker, which takes part in no other attack.
    pub attacker: IpAddr,
    /// Start in ms of Unix time.
    pub began_ms: u64,
    /// Its duration.
    pub lasted: Duration,
    /// Its flows and packets in the capture, by the rules.
    pub seen: Labelled,
    /// The reports of the agents at the server.
    pub reports: Vec<Report>,
}

/// The result of making the corpus.
#[derive(Debug, Default)]
pub struct Made {
    /// The attacks, in the order of their start.
    pub attacks: Vec<Past>,
    /// The agents' reports during normal traffic alone. All of them are false alarms.
    pub false_reports: Vec<Report>,
}

impl Past {
    /// Its start in UTC.
    pub fn began(&self) -> Result<String> {
        rules::time(self.began_ms)
    }
}

/// Makes both parts, and checks that every attack is in its capture and under its label.
pub fn make(lab: &Lab, plan: &Plan) -> Result<Made> {
    plan.attacks()?;
    let mut made = Made::default();
    for part in Split::ALL {
        let of_part = make_part(lab, part, plan).with_context(|| format!("the part {}", part.name()))?;
        made.attacks.extend(of_part.attacks);
        made.false_reports.extend(of_part.false_reports);
    }
    Ok(made)
}

/// A site with its servers and the normal activity of its hosts. Fields are dropped in their order.
struct Inhabited {
    people: People,
    _servers: Servers,
    files: Arc<Files>,
    site: Site,
}

impl Inhabited {
    /// Builds a site and waits until its traffic is normal: all activities start at once, which is not. Also returns
    /// the source of further random choices.
    fn build(lab: &Lab, part: Split, plan: &Plan) -> Result<(Self, Xoshiro256PlusPlus)> {
        // An odd number with many bits, so that the random sequences of consecutive seeds do not overlap.
        let seed = plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.choose(0, 1 << 63);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let site = Site::build(lab, part)?;
        let [far, sink, ..] = site.strangers.as_slice() else { bail!("a site with too few strangers") };
        let files = Arc::new(Files::make(&mut random, plan.equipment)?);
        let servers = Servers::start(&site, [far, sink], &files, plan.equipment)?;
        let people = People::start(&site, &files, part, seed, plan.equipment)?;
        thread::sleep(PAUSE);
        Ok((Self { people, _servers: servers, files, site }, random))
    }
}

/// Runs the agents during normal traffic of both sites and of the town, all at once, each place in a laboratory of its
/// own. Nothing is captured. All reports are false alarms.
pub fn watch_normal(plan: &Plan) -> Result<Vec<(&'static str, Vec<Report>)>> {
    thread::scope(|scope| {
        let sites = Split::ALL.map(|part| (part.name(), scope.spawn(move || watch_site(part, plan))));
        let town = ("town", scope.spawn(|| watch_town(plan)));
        let ended = sites.into_iter().chain([town]).map(|(place, watching)| match watching.join() {
            Ok(reports) => Ok((place, reports.with_context(|| format!("the place {place}"))?)),
            Err(_) => bail!("the thread of the place {place} panicked"),
        });
        // All threads end before the first error is returned.
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn watch_site(part: Split, plan: &Plan) -> Result<Vec<Report>> {
    let lab = Lab::new()?;
    let (place, _) = Inhabited::build(&lab, part, plan)?;
    let watch = Watch::of_site(&place.site, plan)?;
    thread::sleep(plan.normal);
    let done = place.people.wait_for_all()?;
    let reports = watch.stop()?;
    eprintln!("{}: {done}", part.name());
    Ok(reports)
}

fn watch_town(plan: &Plan) -> Result<Vec<Report>> {
    let town = Town::build(Lab::new()?)?;
    let background = inhabit(&town, plan)?;
    let watch = Watch::of_town(&town, plan)?;
    thread::sleep(plan.normal);
    drop(background);
    watch.stop()
}

/// Starts the normal traffic of the town, which lasts longer than what the plan requires.
fn inhabit(town: &Town, plan: &Plan) -> Result<Background> {
    town.live(background::Habits { seed: plan.seed, duration: plan.normal + LIMIT, pace: 1.0 })
}

fn make_part(lab: &Lab, part: Split, plan: &Plan) -> Result<Made> {
    let folder = plan.folder.join(part.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (Inhabited { site, files, _servers, people }, mut random) = Inhabited::build(lab, part, plan)?;
    let [far, sink, attackers @ ..] = site.strangers.as_slice() else { bail!("a site with too few strangers") };
    eprintln!("{}: normal traffic for {} s", part.name(), plan.normal.as_secs());
    let watch = Watch::of_site(&site, plan)?;
    let captures = capture_views(&site.server, &folder, "normal")?;
    thread::sleep(plan.normal);
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
        let attacker = attacker.v4.into();
        pasts.push(Past { part, attack, attacker, began_ms: from_ms, lasted, seen, reports });
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

/// Assigns each report to the attack of its hosts, or to the latest one that had started by then if no attacker is among
/// its hosts. A report may come after the next attack has started: if only one direction of a connection is seen, its end
/// is known only after a timeout.
fn attribute(reports: Vec<Report>, pasts: &mut [Past]) {
    for report in reports {
        let Incident { sources, targets, reported_ms, .. } = &report.incident;
        let has_begun = |past: &Past| past.began_ms <= *reported_ms;
        let has_attacker = |past: &Past| sources.iter().chain(targets).any(|host| *host == past.attacker);
        let of_attacker = pasts.iter().rposition(|past| has_begun(past) && has_attacker(past));
        if let Some(number) = of_attacker.or_else(|| pasts.iter().rposition(has_begun)) {
            pasts[number].reports.push(report);
        }
    }
}

/// Also captures the normal traffic of the town, which the agent's tests use. The shipped models are trained on both.
pub fn make_town(lab: Lab, plan: &Plan) -> Result<Vec<Report>> {
    let folder = plan.folder.join(Split::Train.name());
    let town = Town::build(lab)?;
    let background = inhabit(&town, plan)?;
    eprintln!("the town: normal traffic for {} s", plan.normal.as_secs());
    let watch = Watch::of_town(&town, plan)?;
    let captures = capture_views(&town.server, &folder, "town")?;
    thread::sleep(plan.normal);
    captures.into_iter().try_for_each(Capture::stop)?;
    drop(background);
    watch.stop()
}

/// Starts a capture of each view.
fn capture_views(at: &Interface, folder: &Path, name: &str) -> Result<Vec<Capture>> {
    View::ALL.map(|(view, end)| Capture::start(at, view, &folder.join(format!("{name}{end}")))).into_iter().collect()
}

/// Checks that every attack has packets under its label, and that normal traffic alone has no other label than benign.
fn check(folder: &Path, pasts: &mut [Past]) -> Result<()> {
    let tables = tempfile::tempdir().context("making a folder for tables")?;
    let rules = folder.join("attacks.toml");
    let counts = |capture: &str| labelled(&folder.join(capture), &rules, tables.path());
    let normal = counts("normal.pcap")?;
    ensure!(
        normal.keys().eq([BENIGN]) && normal[BENIGN].packets > 0,
        "normal traffic alone: expected flows labelled {BENIGN} and no other, found {normal:?}"
    );
    let attacks = counts("attacks.pcap")?;
    ensure!(attacks.contains_key(BENIGN), "during the attacks there was no normal traffic");
    for past in pasts {
        let Attack { class, least, .. } = past.attack;
        past.seen = attacks.get(*class).copied().unwrap_or_default();
        ensure!(past.seen.packets >= *least, "{class}: expected {least} packets or more, found {}", past.seen.packets);
    }
    Ok(())
}
