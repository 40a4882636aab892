//! `flowml doctor`: its findings are true for the interface, and its exit code is that of `flowml run`.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{Agent, PublicBinary, binary};
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Host, Interface, LinkOptions, require_lab};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Longest that a command may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a command as nobody, with the three capabilities or with none.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";
const CAPABLE: &str = "--bounding-set=-all,+bpf,+net_admin,+perfmon --inh-caps=-all,+bpf,+net_admin,+perfmon \
                       --ambient-caps=-all,+bpf,+net_admin,+perfmon";

fn flowml(host: &Host, behind: &str, program: &str, arguments: &[&str]) -> Result<Output> {
    let words = behind.split_whitespace().chain([program]).chain(arguments.iter().copied());
    host.spawn(words)?.wait(LIMIT)
}

/// The findings of doctor about an interface, in JSON. They must agree with its exit code.
fn examine(interface: &Interface) -> Result<Value> {
    let program = binary()?.display().to_string();
    let output = flowml(&interface.host, "", &program, &["doctor", "-i", &interface.name, "-o", "json=-"])?;
    let message: Value = serde_json::from_slice(&output.stdout).context("the findings")?;
    assert_eq!((&message["version"], &message["fit"]), (&json!(2), &json!(output.status.success())), "{message}");
    Ok(message)
}

/// A finding about an interface.
fn finding<'a>(message: &'a Value, interface: &Interface, check: &str) -> Result<&'a Value> {
    let findings = message["findings"].as_array().context("findings")?;
    let found = findings.iter().find(|one| one["subject"] == *interface.name && one["check"] == check);
    found.with_context(|| format!("no finding {check} in {message:#}"))
}

fn expect(message: &Value, interface: &Interface, table: &[(&str, &str, Value)]) -> Result<()> {
    for (check, severity, value) in table {
        let found = finding(message, interface, check)?;
        assert_eq!((&found["severity"], &found["value"]), (&json!(severity), value), "{found}");
        assert_eq!(found["fix"].is_null(), *severity == "ok", "{found}");
    }
    Ok(())
}

/// Runs the command of a finding, which must fix it.
fn fix(message: &Value, interface: &Interface, check: &str) -> Result<()> {
    let command = finding(message, interface, check)?["fix"].as_str().context("a command")?;
    interface.host.run_ok(command.split(' ')).map(|_| ())
}

#[test]
fn findings_are_true_and_their_commands_fix_them() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let options = LinkOptions { queues: 2, ..LinkOptions::quiet() };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &options)?;
    let message = examine(&metered)?;
    let expected = [
        ("driver", "ok", json!("veth")),
        ("link", "ok", json!("up")),
        ("mtu", "ok", json!(1500)),
        ("mode", "ok", json!("native")),
        ("queues", "ok", json!(2)),
        ("xdp", "ok", json!(["native", "frags"])),
        ("xdp-program", "ok", json!(null)),
        ("tcx", "ok", json!([])),
    ];
    expect(&message, &metered, &expected)?;

    metered.host.ip(&["link", "set", &metered.name, "mtu", "9000", "down"])?;
    metered.host.run_ok(["ethtool", "-K", &metered.name, "rxvlan", "on"])?;
    let message = examine(&metered)?;
    expect(&message, &metered, &[("link", "warning", json!("down")), ("mtu", "ok", json!(9000))])?;
    expect(&message, &metered, &[("vlan", "note", json!(true))])?;
    fix(&message, &metered, "link")?;
    fix(&message, &metered, "vlan")?;
    expect(&examine(&metered)?, &metered, &[("link", "ok", json!("up")), ("vlan", "ok", json!(false))])?;

    // With fewer receive queues than its peer has transmit queues, a veth has no native XDP.
    metered.host.run_ok(["ethtool", "-L", &metered.name, "rx", "1"])?;
    let message = examine(&metered)?;
    expect(
        &message,
        &metered,
        &[("xdp", "note", json!([])), ("mode", "ok", json!("tc")), ("queues", "note", json!(1))],
    )?;
    // A smaller MTU would not help.
    expect(&message, &metered, &[("mtu", "ok", json!(9000))])?;
    let agent = Agent::meter(&metered, &["-q"])?;
    assert_eq!(agent.stop(Signal::TERM)?.summary()?["capture_mode"], "tc");
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn other_programs_are_listed() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    for mode in ["native", "generic"] {
        let other = Agent::meter(&metered, &["--xdp-mode", mode])?;
        let program = metered.host.show_link(&metered.name)?["xdp"]["prog"]["id"].clone();
        let stderr = examine(&metered)?;
        expect(&stderr, &metered, &[("xdp-program", "warning", program), ("mode", "ok", json!("tc"))])?;
        let found = finding(&stderr, &metered, "xdp-program")?;
        ensure!(found["message"].as_str().is_some_and(|message| message.contains("flowml_xdp")), "{found}");
        // The interface can be metered beside the other program. The user may detach that program.
        assert_eq!(stderr["fit"], true, "{stderr:#}");
        other.stop(Signal::TERM)?;
    }
    let other = Agent::meter(&metered, &["--xdp-mode", "tc"])?;
    let stderr = examine(&metered)?;
    let found = finding(&stderr, &metered, "tcx")?;
    assert_eq!(found["severity"], "note", "{found}");
    ensure!(found["value"][0].as_str().is_some_and(|name| name.starts_with("flowml_ingress")), "{found}");
    other.stop(Signal::TERM)?;
    expect(&examine(&metered)?, &metered, &[("tcx", "ok", json!([])), ("xdp-program", "ok", json!(null))])
}

#[test]
fn the_exit_code_is_that_of_a_run() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (peer, host) = (lab.host("peer")?, lab.host("metered")?);
    let [from, metered] = lab.link([&peer, &host], &LinkOptions::quiet())?;
    let copy = PublicBinary::new()?;
    let program = copy.program().display().to_string();
    let capable = format!("{NOBODY} {CAPABLE}");
    let half = capable.replace(",+bpf", "");
    let compare = |behind: &str, arguments: &[&str], code: i32| -> Result<String> {
        let message = flowml(&host, behind, &program, &[&["doctor"], arguments].concat())?;
        let run = [&["run", "-qq", "--duration", "10ms"], arguments].concat();
        let ran = flowml(&host, behind, &program, &run)?;
        let text = format!("{}{}", String::from_utf8_lossy(&message.stdout), String::from_utf8_lossy(&message.stderr));
        let words = String::from_utf8_lossy(&ran.stderr);
        assert_eq!((message.status.code(), ran.status.code()), (Some(code), Some(code)), "{behind}: {text}{words}");
        Ok(text)
    };
    let name = &metered.name;
    compare("", &["-i", name], 0)?;
    compare(&capable, &["-i", name], 0)?;
    for behind in [NOBODY, &half] {
        let text = compare(behind, &["-i", name], 1)?;
        ensure!(text.contains("PROBLEM  capabilities") && text.contains("CAP_BPF"), "{text}");
    }
    ensure!(compare("", &["-i", "nowhere7"], 1)?.contains("nowhere7"));
    ensure!(compare("", &[], 1)?.contains("no default route"));
    host.ip(&["route", "add", "default", "via", &from.v4.to_string()])?;
    ensure!(compare("", &[], 0)?.contains(name));
    compare("", &["-i", name, "-i", name], 2)?;
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn lines_are_at_most_as_wide_as_a_terminal() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let file = tempfile::NamedTempFile::new()?;
    let output = format!("json={}", file.path().display());
    let program = binary()?.display().to_string();
    let output = flowml(&metered.host, "", &program, &["doctor", "-i", &metered.name, "-o", &output])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("this host\n  ok       kernel"), "{text}");
    ensure!(text.contains(&format!("\n{}\n  ok       link", metered.name)), "{text}");
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    ensure!(longest <= 80, "a line of {longest} characters in\n{text}");
    let written: Value = serde_json::from_slice(&std::fs::read(file.path())?)?;
    for finding in written["findings"].as_array().context("findings")? {
        let check = finding["check"].as_str().context("a name")?;
        ensure!(text.contains(&format!(" {check} ")), "{check} is missing in\n{text}");
    }
    Ok(())
}
