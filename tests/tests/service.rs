//! The agent as the systemd unit runs it: without root, with capabilities that it drops, and with notifications.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, PublicBinary, Report, binary};
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Interface, LinkOptions, require_lab, wait_until};
use flowml_tests::objects::Objects;
use flowml_tests::scrape::{METRICS, Scrape};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use tempfile::TempDir;

/// Longest time for the agent to start, to report something or to end, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The user nobody, on every Linux (user_namespaces(7), overflowuid).
const NOBODY: u32 = 65534;

/// The environment that the unit gives the agent: a user, capabilities, a folder, and a socket for notifications.
struct Unit {
    folder: TempDir,
    manager: UnixDatagram,
    program: PublicBinary,
}

impl Unit {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let unit =
            Self { manager: UnixDatagram::bind(folder.path().join("notify"))?, program: PublicBinary::new()?, folder };
        unit.manager.set_read_timeout(Some(LIMIT))?;
        fs::set_permissions(unit.folder.path().join("notify"), fs::Permissions::from_mode(0o777))?;
        fs::create_dir(unit.state())?;
        fs::set_permissions(unit.state(), fs::Permissions::from_mode(0o700))?;
        chown(unit.state(), Some(NOBODY), Some(NOBODY))?;
        Ok(unit)
    }

    /// The folder where the agent may write.
    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn model(&self) -> String {
        self.state().join("model.json").display().to_string()
    }

    /// Starts the agent by a command line prefix, and waits until it notifies that it is ready.
    fn start(&self, metered: &Interface, behind: &[String], arguments: &[&str]) -> Result<Agent> {
        let notify = format!("NOTIFY_SOCKET={}", self.folder.path().join("notify").display());
        let program = self.program.program().display().to_string();
        let behind: Vec<&str> = behind.iter().map(String::as_str).collect();
        let run = [&*program, "run", "-i", &metered.name, "-o", "jsonl=-"];
        let command = [&[&*notify, "WATCHDOG_USEC=200000"], &behind[..], &run[..], arguments].concat();
        let agent = Agent::start_program(&metered.host, "env".into(), &command)?;
        let ready = self.hear("READY=1").with_context(|| agent.stderr())?;
        assert!(ready.contains(&format!("STATUS=metering {}", metered.name)), "{ready}");
        assert!(Hooks::of(metered)?.sees_ingress(), "it notified that it was ready before it had attached");
        Ok(agent)
    }

    /// The next message that contains this line.
    fn hear(&self, line: &str) -> Result<String> {
        let mut buffer = [0; 1024];
        loop {
            let length = self.manager.recv(&mut buffer).with_context(|| format!("waiting for {line}"))?;
            let message = String::from_utf8(buffer[..length].to_vec())?;
            if message.lines().any(|heard| heard == line) {
                return Ok(message);
            }
        }
    }
}

/// The values of a setting in the packaged unit.
fn setting(name: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/flowml.service");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = value.with_context(|| format!("the unit has no {name}"))?;
    Ok(value.split_whitespace().map(str::to_owned).collect())
}

/// The capabilities of the unit in the form of setpriv.
fn of_the_unit() -> Result<String> {
    let [ambient, bounding] = [setting("AmbientCapabilities")?, setting("CapabilityBoundingSet")?];
    assert_eq!(ambient, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
    assert_eq!(ambient, bounding);
    let names = ambient.iter().map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()));
    Ok(names.collect::<Vec<_>>().join(","))
}

/// The command line prefix that runs a command as nobody with these capabilities.
fn as_nobody(capabilities: &str) -> Vec<String> {
    let sets = ["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all,{capabilities}"));
    let user = ["reuid", "regid"].map(|id| format!("--{id}={NOBODY}"));
    let rest = ["--clear-groups", "--no-new-privs"].map(str::to_owned);
    ["setpriv".to_owned()].into_iter().chain(user).chain(rest).chain(sets).collect()
}

/// The nice value of each thread of a process, by the name of the thread (proc_pid_stat(5)).
fn nice_values(process: u32) -> Result<BTreeMap<String, i32>> {
    let values = fs::read_dir(format!("/proc/{process}/task"))?.map(|thread| {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let (name, fields) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).context("a name")?;
        // The fields after the name begin with the third.
        let nice = fields.split_whitespace().nth(19 - 3).context("a nice value")?;
        Ok((name.to_owned(), nice.parse()?))
    });
    values.collect()
}

/// The capabilities that any thread of the process has or could regain.
fn capabilities(process: u32) -> Result<CapabilitySet> {
    let mut all = CapabilitySet::empty();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let value = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            let bits = u64::from_str_radix(value.with_context(|| format!("no {set}"))?, 16)?;
            all |= CapabilitySet::from_bits_retain(bits);
        }
        threads += 1;
    }
    ensure!(threads > 0, "process {process} has no threads");
    Ok(all)
}

fn send(from: &Interface, to: &Interface) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, 50, 1000), Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

fn assert_counted(report: &Report, sent: Sent) -> Result<()> {
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let summary = report.summary()?;
    assert_eq!(
        (&summary["packets_in_flows"], &summary["conserved"]),
        (&sent.packets.into(), &true.into()),
        "{summary}"
    );
    assert!(report.of_type("flow").count() >= 50);
    Ok(())
}

fn assert_nothing_left(metered: &Interface, objects: &Objects) -> Result<()> {
    wait_until(LIMIT, || Ok(Hooks::of(metered)? == Hooks::default())).context("a program is left attached")?;
    wait_until(LIMIT, || Ok(objects.existing()?.is_empty())).context("a program or map is left")
}

/// Waits until the threads have their priorities: the drain comes first, then the first thread, then all others. The
/// unit permits the priority of the drain.
fn wait_until_drain_comes_first(process: u32) -> Result<()> {
    let is_so = || {
        let mut all = nice_values(process)?;
        let [drain, first, flows] = ["drain", "flowml", "flows"].map(|name| all.remove(name));
        let (Some(drain), Some(first), Some(flows)) = (drain, first, flows) else { return Ok(false) };
        Ok([drain, first] == [flows - 10, flows - 5] && all.values().all(|nice| *nice >= flows))
    };
    wait_until(LIMIT, is_so).with_context(|| format!("{:?}", nice_values(process)))?;
    assert_eq!(setting("LimitNICE")?, ["-10"]);
    Ok(())
}

#[test]
fn as_the_unit_it_meters_without_root_and_drops_its_capabilities() -> Result<()> {
    for mode in ["native", "generic", "tc"] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let [peer, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
        let unit = Unit::new()?;
        let model = unit.model();
        // The collector is not reachable, so that a thread tries to reach it during the check.
        let arguments = ["-q", "--xdp-mode", mode, "--direction", "both", "--model", &model, "--interval", "100ms"];
        let arguments = [&arguments[..], &["-o", "ipfix=tcp://127.0.0.1:1"]].concat();
        for begun_before in [false, true] {
            let agent = unit.start(&metered, &as_nobody(&of_the_unit()?), &arguments)?;
            let objects = Objects::held_by(agent.id())?;
            wait_until(LIMIT, || Ok(capabilities(agent.id())?.is_empty()))
                .with_context(|| format!("{mode}: it keeps {:?}", capabilities(agent.id())))?;
            let mut sent = send(&peer, &metered)?;
            unit.hear("WATCHDOG=1").with_context(|| agent.stderr())?;

            // Attaching again needs no capability.
            lab.replace(&[peer.clone(), metered.clone()], &LinkOptions::quiet())?;
            let come = format!("{} appeared (index {}): metering it by", metered.name, metered.index()?);
            wait_until(LIMIT, || Ok(agent.stderr().contains(&come))).with_context(|| agent.stderr())?;
            sent += send(&peer, &metered)?;

            agent.signal(Signal::HUP)?;
            unit.hear("READY=1").with_context(|| agent.stderr())?;
            let message =
                if begun_before { "rows are scored with the model in" } else { "the current model stays in use" };
            wait_until(LIMIT, || Ok(agent.stderr().contains(message))).with_context(|| agent.stderr())?;

            let report = agent.stop(Signal::TERM)?;
            unit.hear("STOPPING=1").with_context(|| report.stderr.clone())?;
            // The records for the collector are lost. That is reported, and the run succeeds.
            assert_counted(&report, sent)?;
            assert_nothing_left(&metered, &objects)?;
            assert!(fs::metadata(&model).is_ok(), "no model was saved");
        }
    }
    Ok(())
}

#[test]
fn root_keeps_only_the_capabilities_that_files_need() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [peer, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let unit = Unit::new()?;
    let agent = unit.start(&metered, &[], &["-q", "--model", &unit.model()])?;
    assert_eq!(capabilities(agent.id())?, CapabilitySet::DAC_OVERRIDE);
    wait_until_drain_comes_first(agent.id())?;
    let objects = Objects::held_by(agent.id())?;
    let sent = send(&peer, &metered)?;
    assert_counted(&agent.stop(Signal::TERM)?, sent)?;
    assert_nothing_left(&metered, &objects)?;
    // The folder belongs to another user.
    assert!(fs::metadata(unit.model()).is_ok(), "no model was saved");
    Ok(())
}

#[test]
fn each_of_the_three_capabilities_is_needed() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let unit = Unit::new()?;
    unit.manager.set_read_timeout(Some(Duration::from_secs(5)))?;
    let all = of_the_unit()?;
    for missing in all.split(',') {
        let left: Vec<&str> = all.split(',').filter(|name| *name != missing).collect();
        let refused = unit.start(&metered, &as_nobody(&left.join(",")), &["--duration", "10ms"]);
        let message = format!("{:#}", refused.err().with_context(|| format!("it runs without {missing}"))?);
        assert!(message.contains("CAP_"), "{missing}: {message}");
    }
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

/// A model that ships with flowml.
const SHIPPED: &str = include_str!("../../flowml-user/models/ingress.json");

#[test]
fn a_reload_applies_what_can_change_and_names_what_cannot() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [peer, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let unit = Unit::new()?;
    let path = unit.folder.path().join("flowml.toml");
    let named = path.display().to_string();
    let model = unit.model();
    let first = unit.state().join("first.json").display().to_string();
    fs::write(&path, format!("alpha = 0.001\nquiet = 1\nmodel = '{first}'\n"))?;
    let agent = unit.start(&metered, &as_nobody(&of_the_unit()?), &["--config", &named])?;
    let reload = |text: &str, expected: &[&str]| {
        fs::write(&path, text)?;
        agent.signal(Signal::HUP)?;
        unit.hear("READY=1").with_context(|| agent.stderr())?;

        wait_until(LIMIT, || Ok(expected.iter().all(|words| agent.stderr().contains(words))))
            .with_context(|| format!("{expected:?} expected of {}", agent.stderr()))
    };
    let missing = format!("{model} does not exist yet: the current model stays in use");
    let waiting = format!("{named}: changes of interval take effect at the next start");
    reload(&format!("alpha = 0.01\nmodel = '{model}'\nquiet = 1\ninterval = '2s'\n"), &[&waiting, &missing])?;
    let elsewhere = unit.folder.path().join("elsewhere.json").display().to_string();
    let beyond = format!("{elsewhere}: the sandbox of this run does not include its folder");
    reload(&format!("alpha = 0.01\nmodel = '{elsewhere}'\n"), &[&beyond])?;
    reload(
        "alpha = 2\n",
        &[&format!("{named}:1:9: invalid value '2' for '--alpha <P>'"), "the current model stays in use"],
    )?;
    let broken = SHIPPED.replacen("\"next\":0", "\"next\":4096", 1);
    anyhow::ensure!(broken != SHIPPED, "the shipped model has another form");
    fs::write(&model, broken)?;
    let refused = [model.as_str(), "calibration: 'next' has the value 4096", "the current model stays in use"];
    reload(&format!("alpha = 0.01\nmodel = '{model}'\nquiet = 1\n"), &refused)?;
    let sent = send(&peer, &metered)?;
    assert_counted(&agent.stop(Signal::TERM)?, sent)?;
    assert!(fs::metadata(&model).is_ok(), "no model was saved where the configuration names one now");
    Ok(())
}

#[test]
fn a_model_of_the_fleet_is_refused_with_another_hash_and_tried_after_a_reload_with_its_own() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let host = lab.host("metered")?;
    let [peer, metered] = lab.link([&lab.host("peer")?, &host], &LinkOptions::quiet())?;
    let unit = Unit::new()?;
    let [path, fleet] = ["flowml.toml", "fleet.json"].map(|name| unit.folder.path().join(name).display().to_string());
    fs::write(&fleet, SHIPPED)?;
    let configure = |hash: &str| {
        let keys = format!("fleet-model = '{fleet}'\nfleet-model-hash = '{hash}'\n");
        fs::write(&path, format!("{keys}quiet = 1\ninterval = '100ms'\nmetrics = '{METRICS}'\n"))
    };
    // Before the first drain there are no metrics.
    let is_in = |state: f64| {
        let of = |metrics: &Scrape, learner: &str| {
            metrics.value(&format!("flowml_fleet_model_state{{learner=\"{learner}\"}}")).is_ok_and(|own| own == state)
        };
        Scrape::of(&host).is_ok_and(|metrics| of(&metrics, "flows") && of(&metrics, "hosts"))
    };
    let wrong = "0".repeat(64);
    configure(&wrong)?;
    let agent = unit.start(&metered, &as_nobody(&of_the_unit()?), &["--config", &path])?;
    let begin = format!("the model of the fleet is refused: model file {fleet} has the SHA-256 hash ");
    wait_until(LIMIT, || Ok(agent.stderr().contains(&begin) && is_in(3.0))).with_context(|| agent.stderr())?;
    let printed = agent.stderr();
    let hash = printed.split_once(&begin).and_then(|(_, rest)| rest.split_once("; expected "));
    let (hash, rest) = hash.with_context(|| printed.clone())?;
    assert!(rest.starts_with(&format!("{wrong}; the current model stays in use")), "{printed}");
    configure(hash)?;
    agent.signal(Signal::HUP)?;
    let tried = format!("model number 0 ({}…) of the fleet is tried beside the current model", &hash[..12]);
    wait_until(LIMIT, || Ok(agent.stderr().contains(&tried) && is_in(1.0))).with_context(|| agent.stderr())?;
    let sent = send(&peer, &metered)?;
    assert_counted(&agent.stop(Signal::TERM)?, sent)
}

#[test]
fn lines_for_the_journal_have_a_priority() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let host = lab.host("metered")?;
    let program = binary()?.display().to_string();
    // JOURNAL_STREAM identifies the pipe of standard error, so the agent takes the pipe for the journal's socket.
    let script = r#"exec env JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)" "$@""#;
    let output = host.run(["sh", "-c", script, "sh", &program, "run", "-i", "nowhere7"])?;
    assert!(output.stderr.starts_with(b"<3>flowml: no interface"), "{}", String::from_utf8_lossy(&output.stderr));
    let output = host.run(["env", "JOURNAL_STREAM=1:1", &program, "run", "-i", "nowhere7"])?;
    assert!(output.stderr.starts_with(b"flowml: "), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
