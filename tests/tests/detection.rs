//! Attacks are reported soon, with the right host, as one incident each. Normal traffic is not reported.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use flowml_tests::lab::require_lab;
use flowml_tests::scenario::{Meter, Reported, Town, Window, unix_ms};
use flowml_tests::traffic::attack::{Scene, brute_force, port_scan, scan_of, slow_connections, syn_flood, udp_flood};
use flowml_tests::traffic::background::Habits;

/// The learner warms up for 30 intervals of a second, and a busy machine may be late.
const WARM_UP_LIMIT: Duration = Duration::from_secs(120);

/// A candidate model warms up for 600 drains, and its trial takes 30. With four drains a second this takes less than
/// three minutes instead of ten.
const PROMOTION_INTERVAL: &str = "250ms";
const PROMOTION_LIMIT: Duration = Duration::from_secs(400);

/// Seconds for which normal traffic is scored before the first attack.
const NORMAL: usize = 20;

/// Largest acceptable ratio of anomalies among host windows of normal traffic. The alarm level is 10⁻⁴ for independent
/// windows. A model of half a minute, whose windows overlap and which has seen each kind of download only a few times,
/// cannot reach it.
const FALSE_ALARMS: f64 = 0.02;

/// Largest acceptable number of incidents in half a minute of normal traffic. By chance that many occur in a day, but a
/// model of half a minute is less certain.
const FALSE_INCIDENTS: usize = 1;

/// An attack must be reported within this many intervals. The interval of its first packet is the first.
const INTERVALS: usize = 3;

#[test]
fn attacks_are_reported_within_three_intervals_with_the_right_host_as_one_incident_each() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let town = Town::build(lab)?;
    let _background = town.live(Habits { seed: 1, duration: Duration::from_secs(600), pace: 1.0 })?;
    let meter = Meter::start(&town.server, &["--seed", "1", "--learn"])?;

    wait(&meter, WARM_UP_LIMIT, |seen| seen.scored().next().is_some()).context("waiting for the first score")?;
    let normal_since = unix_ms();
    wait_intervals(&meter, normal_since, NORMAL)?;
    let normal_until = unix_ms();

    let scene = |stranger: usize| Scene { attacker: &town.strangers[stranger], victim: &town.server, seed: 7 };
    let scan = attack(&meter, || port_scan(scene(0), 2000, 1000).map(drop))?;
    // A model of half a minute needs more packets to detect the flood than a model of much traffic.
    let flood = attack(&meter, || syn_flood(scene(1), 80, 15_000, 5000).map(drop))?;
    // Its source is an anomaly while it connects, its target for as long as the connections last.
    let held = attack(&meter, || slow_connections(scene(2), 80, 200, Duration::from_secs(5)))?;
    let (seen, _) = meter.stop()?;

    assert_normal(&seen, normal_until);
    assert_incidents(&seen, normal_until, 3);
    let scanner = town.strangers[0].v4;
    assert_reported(&seen, "the scan", scan, |address| address == scanner, scanner.into())?;
    // The spoofed sources of the flood.
    let spoofed = |address: Ipv4Addr| address.octets()[..2] == [10, 78];
    assert_reported(&seen, "the flood", flood, spoofed, town.server.v4.into())?;
    let holder = town.strangers[2].v4;
    assert_reported(&seen, "the slow connections", held, |address| address == holder, holder.into())?;
    assert_kinds(&seen, &["port_scan", "syn_flood", "slow_connections"]);
    let summary = seen.summary.context("there is no summary")?;
    assert_eq!(summary["conserved"], true, "{summary}");
    Ok(())
}

/// The model that ships with flowml detects attacks from the first second on.
#[test]
fn attacks_are_reported_without_any_training() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let town = Town::build(lab)?;
    let _background = town.live(Habits { seed: 2, duration: Duration::from_secs(600), pace: 1.0 })?;
    let meter = Meter::start(&town.server, &["--seed", "1"])?;
    wait(&meter, WARM_UP_LIMIT, |seen| seen.scored().next().is_some()).context("waiting for the first score")?;
    let first = unix_ms();
    wait_intervals(&meter, first, 3)?;
    let normal_until = unix_ms();

    let scene = |stranger: usize| Scene { attacker: &town.strangers[stranger], victim: &town.server, seed: 7 };
    let scan = attack(&meter, || port_scan(scene(0), 2000, 1000).map(drop))?;
    let flood = attack(&meter, || syn_flood(scene(1), 80, 6000, 2000).map(drop))?;
    let datagrams = attack(&meter, || udp_flood(scene(2), 512, 15_000, 5000).map(drop))?;
    attack(&meter, || brute_force(scene(3), 150, 30))?;
    let (seen, _) = meter.stop()?;

    let unscored = seen.windows.iter().filter(|window| window.probability.is_none()).count();
    assert_eq!(unscored, 0, "windows without a score, although the shipped model needs no warm-up");
    let incidents: Vec<_> = seen.incidents_within(0..=normal_until).collect();
    assert!(incidents.len() <= FALSE_INCIDENTS, "{incidents:#?}");
    assert_incidents(&seen, normal_until, 4);
    let stranger = |number: usize| town.strangers[number].v4;
    let spoofed = |address: Ipv4Addr| address.octets()[..2] == [10, 78];
    assert_reported(&seen, "the scan", scan, |address| address == stranger(0), stranger(0).into())?;
    assert_reported(&seen, "the flood", flood, spoofed, town.server.v4.into())?;
    assert_reported(&seen, "the flood of datagrams", datagrams, |address| address == stranger(2), stranger(2).into())?;
    // The server's answers are not metered: a connection ends with its idle timeout, and the model's result for it is
    // withheld.
    let guessed = stranger(3);
    let reported: Vec<_> = seen.incidents.iter().filter(|incident| incident.names(guessed.into())).collect();
    assert!(matches!(reported[..], [incident] if incident.kind == "brute_force"), "{reported:#?}");
    assert_kinds(&seen, &["port_scan", "syn_flood", "udp_flood", "brute_force"]);
    Ok(())
}

/// An attack that starts before the meter lasts until the candidate model of the town's own traffic is promoted. It is
/// one incident from the start, by a sequential test that needs no model. Its host does not train the candidate, so
/// that it is an anomaly for the candidate.
#[test]
fn an_attack_from_before_the_start_is_detected_before_and_after_the_promotion() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let town = Town::build(lab)?;
    let _background = town.live(Habits { seed: 3, duration: Duration::from_secs(600), pace: 1.0 })?;
    let scanner = town.strangers[0].clone();
    let victim = town.server.clone();
    // Ten minutes, cut short when the test ends. Each port is tried once.
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let scan = scanner.host.spawn_thread({
        let scanner = scanner.clone();
        move || {
            let scene = Scene { attacker: &scanner, victim: &victim, seed: 7 };
            (0..600)
                .take_while(|_| !stop.load(Ordering::Relaxed))
                .try_for_each(|second| scan_of(scene, 100 * second + 1..=100 * second + 100, 100).map(drop))
        }
    })?;
    let meter = Meter::start(&town.server, &["--seed", "1", "--interval", PROMOTION_INTERVAL])?;
    let outcome = wait(&meter, PROMOTION_LIMIT, |_| {
        meter.stderr().contains("hosts: the candidate model of this host's traffic is promoted")
    })
    .and_then(|()| {
        let promoted = unix_ms();
        wait_intervals(&meter, promoted, 10).map(|()| promoted)
    });
    stopped.store(true, Ordering::Relaxed);
    scan.join().map_err(|_| anyhow!("the scan panicked"))???;
    let promoted = outcome.with_context(|| format!("its messages:\n{}", meter.stderr()))?;
    let (seen, message) = meter.stop()?;

    let is_attack = |window: &&Window| window.address == IpAddr::V4(scanner.v4) && window.end_ms > promoted;
    let windows: Vec<_> = seen.windows.iter().filter(is_attack).collect();
    let found = windows.iter().filter(|window| window.anomaly).count();
    eprintln!("a scan from before the start: {found} of {} windows are anomalies of what took over", windows.len());
    assert!(found * 10 >= windows.len() * 9 && windows.len() >= 8, "{found} of {}:\n{message}", windows.len());
    let reported: Vec<_> = seen.incidents.iter().filter(|incident| incident.names(scanner.v4.into())).collect();
    assert!(matches!(reported[..], [incident] if incident.kind == "port_scan"), "{reported:#?}");
    Ok(())
}

/// Runs an attack, and waits until its windows are over. Returns its start in ms of Unix time.
fn attack(meter: &Meter, launch: impl FnOnce() -> Result<()>) -> Result<u64> {
    let began = unix_ms();
    launch()?;
    wait_intervals(meter, unix_ms(), INTERVALS + 1)?;
    Ok(began)
}

/// Waits for the ends of this many intervals after `since`.
fn wait_intervals(meter: &Meter, since: u64, intervals: usize) -> Result<()> {
    let limit = Duration::from_secs(30 + 5 * intervals as u64);
    wait(meter, limit, |seen| seen.interval_ends(since).len() >= intervals)
        .with_context(|| format!("waiting for {intervals} intervals"))
}

fn wait(meter: &Meter, limit: Duration, mut done: impl FnMut(&Reported) -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done(&meter.seen()) {
        meter.ensure_running()?;
        ensure!(Instant::now() < deadline, "it did not happen within {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Checks that sequential tests have found these kinds and no others.
fn assert_kinds(seen: &Reported, expected: &[&str]) {
    let found: Vec<&str> = seen.incidents.iter().map(|incident| incident.kind.as_str()).collect();
    let named: BTreeSet<&str> = found.iter().copied().filter(|kind| *kind != "unusual").collect();
    assert_eq!(named, expected.iter().copied().collect(), "{found:?}");
}

/// Checks that few windows of normal traffic are anomalies.
fn assert_normal(seen: &Reported, until: u64) {
    let scored: Vec<_> = seen.scored().filter(|window| window.end_ms < until).collect();
    let false_alarms: Vec<_> = scored.iter().filter(|window| window.anomaly).collect();
    let incidents: Vec<_> = seen.incidents_within(0..=until).collect();
    eprintln!(
        "normal traffic: {} host windows scored, {} anomalies, {} incidents",
        scored.len(),
        false_alarms.len(),
        incidents.len()
    );
    assert!(incidents.len() <= FALSE_INCIDENTS, "{incidents:#?}");
    // Server and clients, each in at least one IP version.
    assert!(scored.len() >= 6 * NORMAL, "only {} host windows were scored", scored.len());
    let share = false_alarms.len() as f64 / scored.len() as f64;
    assert!(share <= FALSE_ALARMS, "{share} of {} host windows were false alarms: {false_alarms:#?}", scored.len());
}

/// Checks that there are as many incidents as attacks after `since`: none is reported twice, also not by what it leaves
/// behind.
fn assert_incidents(seen: &Reported, since: u64, attacks: usize) {
    let incidents: Vec<_> = seen.incidents_within(since + 1..=u64::MAX).collect();
    assert_eq!(incidents.len(), attacks, "{incidents:#?}");
}

/// Checks that the attack that started at `began` is reported as one incident of `host`, within [`INTERVALS`] of the
/// first window with a packet of its `sources`. The time until that packet is sent depends on the machine and not on
/// the agent.
fn assert_reported(
    seen: &Reported,
    name: &str,
    began: u64,
    sources: impl Fn(Ipv4Addr) -> bool,
    host: IpAddr,
) -> Result<()> {
    let from_source = |address| matches!(address, IpAddr::V4(address) if sources(address));
    let onset = seen.windows.iter().find(|window| window.end_ms >= began && from_source(window.address));
    let onset = onset.with_context(|| format!("no window of a host shows {name}"))?.end_ms;
    let ends = seen.interval_ends(onset);
    let last = *ends.iter().nth(INTERVALS - 1).with_context(|| format!("the run ended during {name}"))?;
    let scores = || {
        let windows = seen.windows.iter().filter(|window| window.address == host && window.end_ms + 3000 >= onset);
        windows.take(12).collect::<Vec<_>>()
    };
    let mut reported = seen.incidents_within(onset..=last).filter(|incident| incident.names(host));
    let incident = reported.next().with_context(|| format!("{name} was not reported as {host}: {:#?}", scores()))?;
    assert_eq!(reported.next(), None, "{name} is one incident");
    let after = incident.reported_ms.saturating_sub(began);
    eprintln!("{name}: after {after} ms {host}, p = {:.1e}: {}", incident.probability, incident.reason);
    Ok(())
}
