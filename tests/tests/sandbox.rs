//! The sandbox of a live run: it refuses what it should in every thread, and metering continues in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, binary};
use flowml_tests::lab::{Interface, LinkOptions, or_skip, require_lab, wait_until};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use flowml_user::process::sandbox::{has_filters, lacks, landlock_version};
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for a step on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Several times the idle timeout of these runs.
const PAUSE: Duration = Duration::from_millis(500);

/// The program that makes the attempts.
const CONFINED: &str = env!("CARGO_BIN_EXE_confined");

/// Fails unless this kernel supports everything that the sandbox uses.
fn has_sandbox() -> Result<()> {
    let landlock = landlock_version().context("no Landlock in this kernel")?;
    ensure!(lacks(landlock).is_none() && has_filters(), "Landlock of version {landlock}: expected 6, and seccomp");
    Ok(())
}

/// Two hosts and a quiet link between them: the peer's end, and the metered end.
macro_rules! quiet_pair {
    () => {{
        let Some(lab) = require_lab() else { return Ok(()) };
        let Some(()) = or_skip(has_sandbox()) else { return Ok(()) };
        let ends = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
        (lab, ends)
    }};
}

fn send(from: &Interface, to: &Interface) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, 50, 200), Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// The state of each thread by its name: `NoNewPrivs` (1 in the sandbox) and `Seccomp` (2: a filter is active).
fn threads(process: u32) -> Result<BTreeMap<String, (String, String)>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // The thread may have ended since the listing.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let member = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            value.map(str::to_owned).with_context(|| format!("no {name}"))
        };
        threads.insert(member("Name")?, (member("NoNewPrivs")?, member("Seccomp")?));
    }
    Ok(threads)
}

/// The outcome of each attempt of a process: whether it is needed, its name, and its error number.
fn attempts(switch: &str) -> Result<Vec<(bool, String, i32)>> {
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let [inside, outside] = &folders;
    fs::write(outside.path().join("secret"), "secret")?;
    let output = Command::new(CONFINED).arg(switch).args([inside.path(), outside.path()]).output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    let attempt = |line: &str| {
        let [kind, name, error] = *line.split('\t').collect::<Vec<_>>() else { return None };
        Some((kind == "needed", name.to_owned(), error.parse().ok()?))
    };
    lines.lines().map(|line| attempt(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn forbidden_calls_fail_and_needed_calls_succeed() -> Result<()> {
    // Root has the permission for all attempts.
    let Some(_lab) = require_lab() else { return Ok(()) };
    let Some(()) = or_skip(has_sandbox()) else { return Ok(()) };
    let refused = |error: i32| [libc::EPERM, libc::EACCES].contains(&error);
    let (on, off) = (attempts("on")?, attempts("off")?);
    assert!(on.len() == off.len() && on.len() > 30, "{} and {}", on.len(), off.len());
    for (needed, name, error) in on {
        assert_eq!(refused(error), !needed, "{name}: {}", std::io::Error::from_raw_os_error(error));
    }
    for (_, name, error) in off {
        assert!(!refused(error), "{name}, without a sandbox: {}", std::io::Error::from_raw_os_error(error));
    }
    Ok(())
}

#[test]
fn every_thread_of_a_run_is_confined_unless_the_sandbox_is_off() -> Result<()> {
    for (switch, expected) in [("on", ("1", "2")), ("off", ("0", "0"))] {
        let (_lab, [peer, metered]) = quiet_pair!();
        let folder = tempfile::tempdir()?;
        let csv = format!("csv={}", folder.path().join("flows.csv").display());
        // The collector is not reachable, so that a thread tries to reach it during the check.
        let arguments = [
            "--sandbox",
            switch,
            "--metrics",
            "127.0.0.1:0",
            "-o",
            &csv,
            "-o",
            "ipfix=tcp://127.0.0.1:1",
            "-o",
            "syslog=tcp:127.0.0.1:1",
        ];
        let agent = Agent::meter(&metered, &arguments)?;
        let expected = (expected.0.to_owned(), expected.1.to_owned());
        let all = ["flowml", "console", "output", "ipfix", "alarms", "drain", "flows"];
        let as_expected = || {
            let threads = threads(agent.id())?;
            Ok(all.iter().all(|name| threads.contains_key(*name)) && threads.values().all(|found| *found == expected))
        };
        wait_until(LIMIT, as_expected).with_context(|| format!("{switch}: {:?}", threads(agent.id())))?;
        let sent = send(&peer, &metered)?;
        let report = agent.stop(Signal::TERM)?;
        ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
        let summary = report.summary()?;
        assert_eq!((&summary["packets_in_flows"], &summary["conserved"]), (&sent.packets.into(), &true.into()));
    }
    Ok(())
}

/// The complete files in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "csv")).collect())
}

/// During the run, the folder of an output is replaced by a link to another folder, so that the next file would be made
/// there.
#[test]
fn an_output_stays_in_its_folder_and_continues_when_the_folder_is_back() -> Result<()> {
    for switch in ["on", "off"] {
        let (_lab, [peer, metered]) = quiet_pair!();
        let folder = tempfile::tempdir()?;
        let [place, aside, elsewhere] = ["place", "aside", "elsewhere"].map(|name| folder.path().join(name));
        fs::create_dir(&place)?;
        fs::create_dir(&elsewhere)?;
        let csv = format!("csv={}", place.join("flows.csv,rotate=1s").display());
        let timers = ["--interval", "100ms", "--idle-timeout", "100ms"];
        let arguments = ["run", "-i", &metered.name, "-q", "--sandbox", switch, "-o", &csv];
        let agent = Agent::start(&metered.host, &[&arguments[..], &timers].concat())?;
        agent.wait_attached(&metered)?;
        send(&peer, &metered)?;
        wait_until(LIMIT, || Ok(!files(&place)?.is_empty())).with_context(|| agent.stderr())?;

        fs::rename(&place, &aside)?;
        symlink(&elsewhere, &place)?;
        let message = |words: &str| agent.stderr().contains(words);
        let reported = || Ok(if switch == "on" { message("cannot write to") } else { !files(&elsewhere)?.is_empty() });
        wait_until(LIMIT, || {
            send(&peer, &metered)?;
            // The flows end before the next packets arrive.
            thread::sleep(PAUSE);
            reported()
        })
        .with_context(|| agent.stderr())?;
        if switch == "on" {
            // The output is tried again after one second and after three.
            for _ in 0..8 {
                send(&peer, &metered)?;
                thread::sleep(PAUSE);
                assert_eq!(fs::read_dir(&elsewhere)?.count(), 0, "{}", agent.stderr());
            }
            fs::remove_file(&place)?;
            fs::rename(&aside, &place)?;
            let before = files(&place)?.len();
            wait_until(LIMIT, || {
                send(&peer, &metered)?;
                thread::sleep(PAUSE);
                Ok(message("is written again") && files(&place)?.len() > before)
            })
            .with_context(|| agent.stderr())?;
        }
        let report = agent.stop(Signal::TERM)?;
        ensure!(report.stderr.contains(" packets:"), "no summary: {}", report.stderr);
    }
    Ok(())
}

/// On a kernel without Landlock, the agent reports that once and continues, and doctor reports it beforehand.
#[test]
fn without_landlock_the_agent_still_meters() -> Result<()> {
    let (_lab, [peer, metered]) = quiet_pair!();
    let program = binary()?.display().to_string();
    let run = ["older", &program, "run", "-i", &metered.name, "-o", "jsonl=-", "-qq"];
    let agent = Agent::start_program(&metered.host, CONFINED.into(), &run)?;
    agent.wait_attached(&metered)?;
    let sent = send(&peer, &metered)?;
    let filtered = || Ok(threads(agent.id())?.values().all(|(_, seccomp)| seccomp == "2"));
    wait_until(LIMIT, filtered).with_context(|| agent.stderr())?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    assert_eq!(report.summary()?["packets_in_flows"], sent.packets);
    let lines: Vec<&str> = report.stderr.lines().filter(|line| line.contains("Landlock")).collect();
    ensure!(matches!(*lines, [line] if line.contains("files are not confined")), "{}", report.stderr);

    let doctor = [CONFINED, "older", &program, "doctor", "-i", &metered.name, "-o", "json=-"];
    let message: Value = serde_json::from_slice(&metered.host.run(doctor)?.stdout)?;
    let findings = message["findings"].as_array().context("findings")?;
    let found = findings.iter().find(|finding| finding["check"] == "landlock").context("landlock")?;
    assert_eq!((&found["severity"], &found["value"]), (&"warning".into(), &Value::Null), "{found}");
    assert_eq!(message["fit"], true);
    Ok(())
}
