//! The demo: normal traffic and five attacks in a laboratory, and the agent's reports.

use std::net::IpAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flowml_tests::lab::{Interface, Lab};
use flowml_tests::scenario::{Incident, Meter, Reported, Town, unix_ms};
use flowml_tests::screen::{Screen, bold, clock, ensure_not_interrupted, is_interrupted, red, watch_signals, words};
use flowml_tests::traffic::attack::{ATTACKS, Attack, Scene};
use flowml_tests::traffic::background::Habits;

/// The learner's warm-up, in intervals of a second.
const WARM_UP: usize = 30;

/// Longest time for the warm-up on a busy machine.
const WARM_UP_LIMIT: Duration = Duration::from_secs(120);

/// Seconds of normal traffic that are scored before the first attack.
const NORMAL: usize = 5;

/// Pause after each attack. Its last window of two seconds is over then, so the next attack is not confused with it.
const PAUSE: Duration = Duration::from_secs(4);

/// The attacks, in the order in which they run.
const ACTS: [Act; 5] = [
    Act { attack: "port_scan", by: By::Stranger, names: &[Side::Attacker] },
    // The sources are spoofed, so an incident can only name the victim.
    Act { attack: "syn_flood", by: By::Stranger, names: &[Side::Victim] },
    Act { attack: "udp_flood", by: By::Stranger, names: &[Side::Attacker, Side::Victim] },
    Act { attack: "exfiltration", by: By::Client, names: &[Side::Attacker] },
    Act { attack: "slow_connections", by: By::Stranger, names: &[Side::Attacker] },
];

/// One attack of the demo.
struct Act {
    /// The name of the attack in [`ATTACKS`].
    attack: &'static str,
    by: By,
    /// The hosts that an incident must name to count as detection.
    names: &'static [Side],
}

/// The attacking host.
#[derive(Clone, Copy)]
enum By {
    /// A host without any traffic before.
    Stranger,
    /// A host that continues its normal traffic.
    Client,
}

/// A role in an attack.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Attacker,
    Victim,
}

impl Side {
    const fn title(self) -> &'static str {
        match self {
            Self::Attacker => "the attacker",
            Self::Victim => "the victim",
        }
    }
}

/// A finished attack.
struct Past {
    attack: &'static Attack,
    /// Time since the start of the demo.
    at: Duration,
    /// Start in ms of Unix time.
    began_ms: u64,
    /// Latest time of an incident that counts as detection, in ms of Unix time.
    until_ms: u64,
    /// The hosts of which an incident must name one.
    suspects: Vec<(IpAddr, Side)>,
}

impl Past {
    fn incident<'a>(&self, seen: &'a Reported) -> Option<&'a Incident> {
        seen.incidents_within(self.began_ms..=self.until_ms).find(|incident| self.named(incident).is_some())
    }

    /// The host among the suspects that an incident names.
    fn named(&self, incident: &Incident) -> Option<&(IpAddr, Side)> {
        self.suspects.iter().find(|(host, _)| incident.names(*host))
    }

    /// The smallest probability of its hosts' windows, for an attack that was missed.
    fn nearest(&self, seen: &Reported) -> String {
        let windows = seen.scored().filter(|window| {
            (self.began_ms..=self.until_ms).contains(&window.end_ms)
                && self.suspects.iter().any(|(host, _)| *host == window.address)
        });
        let least = windows.filter_map(|window| window.probability).min_by(f64::total_cmp);
        least.map_or_else(|| "no scored window".to_owned(), |least| format!("least p = {least:.1e}"))
    }

    fn after(&self, incident: &Incident) -> String {
        format!("{:.1} s", incident.reported_ms.saturating_sub(self.began_ms) as f64 / 1000.0)
    }

    fn whom(&self, incident: &Incident) -> String {
        self.named(incident).map_or_else(String::new, |(host, part)| format!("{host}, {}", part.title()))
    }
}

fn main() -> ExitCode {
    let shown = watch_signals().and_then(|()| show());
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if is_interrupted() => {
            eprintln!("\nstopped; the namespaces, the traffic and the agent were removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<()> {
    let screen = Screen::new();
    let town = Town::build(Lab::new()?)?;
    screen.line(&bold("flowml: a demonstration in network namespaces"));
    screen.text(0, &format!(
        "{} clients use a server, partly over IPv6: pages, names, terminals, downloads, pings. The agent meters the \
         server's interface and has no model yet: it trains for {WARM_UP} s. Then {} attacks follow. The agent gets no \
         notice of them.",
        town.clients.len(),
        ACTS.len()
    ));
    let _background = town.live(Habits { seed: 1, duration: Duration::from_secs(600), pace: 1.0 })?;
    let meter = Meter::start(&town.server, &["--seed", "1", "--learn"])?;
    screen.line("");
    let begun = meter.stderr();
    for line in begun.lines() {
        screen.text(0, line);
    }
    screen.line("");

    warm_up(&screen, &meter)?;
    let normal_until = normal(&screen, &meter)?;
    let mut pasts = Vec::new();
    for (n, act) in ACTS.iter().enumerate() {
        pasts.push(perform(&screen, &meter, &town, n, act)?);
    }
    screen.progress("the agent drains once more and ends");
    let (seen, message) = meter.stop()?;
    screen.clear();
    table(&screen, &seen, &pasts);
    beside(&screen, &seen, &pasts, normal_until);
    close(&screen, &seen, message.strip_prefix(&begun).unwrap_or(&message))
}

fn warm_up(screen: &Screen, meter: &Meter) -> Result<()> {
    wait(meter, WARM_UP_LIMIT, |seen| {
        let past = seen.interval_ends(0).len().min(WARM_UP);
        screen.progress(&format!("normal traffic: {past} of {WARM_UP} s"));
        seen.scored().next().is_some()
    })
    .context("waiting until the agent has a model")?;
    let seen = meter.seen();
    let learnt = seen.windows.iter().filter(|window| window.probability.is_none()).count();
    screen.event(&format!("trained on {learnt} host windows of normal traffic"));
    Ok(())
}

/// Scores normal traffic for a while. Returns its end in ms of Unix time.
fn normal(screen: &Screen, meter: &Meter) -> Result<u64> {
    let since = unix_ms();
    wait(meter, WARM_UP_LIMIT, |seen| {
        let past = seen.interval_ends(since).len();
        screen.progress(&format!("normal traffic, now scored: {past} of {NORMAL} s"));
        past >= NORMAL
    })?;
    Ok(unix_ms())
}

/// Runs an attack, and shows incidents as they are reported.
fn perform(screen: &Screen, meter: &Meter, town: &Town, n: usize, act: &Act) -> Result<Past> {
    let attack = ATTACKS.iter().find(|attack| attack.name == act.attack);
    let attack = attack.with_context(|| format!("there is no attack {}", act.attack))?;
    let from = match act.by {
        By::Stranger => &town.strangers,
        By::Client => &town.clients,
    };
    let attacker = from.get(n).with_context(|| format!("the town has too few hosts for attack {n}"))?;
    let victim = &town.server;
    let host = |part: &Side| match part {
        Side::Attacker => (attacker.v4.into(), Side::Attacker),
        Side::Victim => (victim.v4.into(), Side::Victim),
    };
    screen.event(&bold(&format!("{}: {}", words(attack.name), attack.what)));
    screen.text(6, &format!("{} {} → {} server", attacker.host.name(), attacker.v4, victim.v4));
    let mut past = Past {
        attack,
        at: screen.elapsed(),
        began_ms: unix_ms(),
        until_ms: u64::MAX,
        suspects: act.names.iter().map(host).collect(),
    };
    let mut shown = None;
    let mut show = |seen: &Reported| {
        // The kind of an incident can change while it is open.
        if let Some(incident) = past.incident(seen).filter(|incident| shown.as_ref() != Some(&incident.kind)) {
            shown = Some(incident.kind.clone());
            screen.event(&red(&format!("! incident: {}, which names {}", words(&incident.kind), past.whom(incident))));
            screen.text(8, &incident.summary);
        }
    };
    let launched = launch(attack, attacker.clone(), victim.clone());
    wait(meter, Duration::from_secs(60), |seen| {
        show(seen);
        launched.is_finished()
    })?;
    let Ok(outcome) = launched.join() else { bail!("the attack {} panicked", attack.name) };
    outcome.with_context(|| format!("the attack {}", attack.name))?;
    let calm = Instant::now() + PAUSE;
    wait(meter, 2 * PAUSE, |seen| {
        show(seen);
        Instant::now() >= calm
    })?;
    past.until_ms = unix_ms();
    Ok(past)
}

/// Runs an attack on a thread of its own, so that the demo can be stopped meanwhile.
fn launch(attack: &'static Attack, attacker: Interface, victim: Interface) -> thread::JoinHandle<Result<()>> {
    thread::spawn(move || (attack.launch)(Scene { attacker: &attacker, victim: &victim, seed: 7 }))
}

fn table(screen: &Screen, seen: &Reported, pasts: &[Past]) {
    screen.line("");
    screen.line(&bold(&format!("{:<18}{:>6}  {:>11}  {}", "ATTACK", "BEGAN", "FOUND AFTER", "AS")));
    for past in pasts {
        let row = |after: &str, host: &str| {
            format!("{:<18}{:>6}  {after:>11}  {host}", words(past.attack.name), clock(past.at))
        };
        match past.incident(seen) {
            Some(incident) => {
                screen.line(&row(&past.after(incident), &words(&incident.kind)));
                screen.text(4, &incident.summary);
            }
            None => screen.line(&red(&row("not found", &past.nearest(seen)))),
        }
    }
    let found = pasts.iter().filter(|past| past.incident(seen).is_some()).count();
    screen.line(&bold(&format!("{found} of {} attacks found", pasts.len())));
}

/// Shows all other reports: incidents without an attack, and further incidents of the attacks.
fn beside(screen: &Screen, seen: &Reported, pasts: &[Past], normal_until: u64) {
    let scored = seen.scored().filter(|window| window.end_ms <= normal_until).count();
    let wrong = seen.incidents_within(0..=normal_until).count();
    let found = pasts.iter().filter(|past| past.incident(seen).is_some()).count();
    let others = seen.incidents.len() - wrong - found;
    screen.line("");
    screen.text(
        0,
        &format!(
            "Before the attacks, {scored} host windows of normal traffic were scored, and {wrong} incidents were reported. \
             After that, {others} incidents were reported besides those above. {} flows were anomalies.",
            seen.flow_alarms
        ),
    );
}

/// Shows the agent's messages at the end of the run, with its summary.
fn close(screen: &Screen, seen: &Reported, message: &str) -> Result<()> {
    screen.line("");
    for line in message.lines() {
        screen.text(line.len() - line.trim_start().len(), line.trim_start());
    }
    let summary = seen.summary.as_ref().context("the agent wrote no summary")?;
    ensure!(summary["conserved"] == true, "the agent's conservation check failed: {summary}");
    Ok(())
}

/// Checks the reports a few times a second until `done` returns true.
fn wait(meter: &Meter, limit: Duration, mut done: impl FnMut(&Reported) -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done(&meter.seen()) {
        ensure_not_interrupted()?;
        meter.ensure_running()?;
        ensure!(Instant::now() < deadline, "it did not happen within {limit:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
