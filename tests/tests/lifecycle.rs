//! The start and end of the agent: no way to end leaves anything behind, and each refusal is one clear line.

use std::fs;
use std::io::Write as _;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use flowml_tests::agent::{Agent, PublicBinary, Report, binary};
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Host, Interface, Lab, LinkOptions, quiet_pair, require_lab, wait_until};
use flowml_tests::objects::Objects;
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use flowml_user::capture::attach::TcHook;
use flowml_user::dataset::TableReader;
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for the agent to end or to report something on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends packets of many flows, and waits until the other end has received all of them.
fn send(from: &Interface, to: &Interface, flows: u32, packets: u64) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, flows, packets), Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// Checks the packet accounting of a run that received exactly `sent`, all of it in flows.
fn assert_accounts_for(report: &Report, sent: Sent) -> Result<()> {
    let summary = report.summary()?;
    let expected =
        [("packets_received", sent.packets), ("packets_in_flows", sent.packets), ("bytes_received", sent.bytes)];
    for (member, count) in expected {
        assert_eq!(summary[member], count, "{member} of {summary}");
    }
    assert_eq!(summary["conserved"], true, "{summary}");
    let in_rows: u64 = report.of_type("flow").filter_map(|flow| flow["bidirectional_packets"].as_u64()).sum();
    assert_eq!(in_rows, sent.packets, "packets of all flow rows");
    Ok(())
}

fn assert_gone(objects: &Objects) -> Result<()> {
    // The kernel frees programs and maps a grace period after the last descriptor is closed.
    let gone = wait_until(LIMIT, || Ok(objects.existing()?.is_empty()));
    gone.with_context(|| format!("left behind of {objects:?}: {:?}", objects.existing()))
}

fn assert_nothing_attached(interface: &Interface) -> Result<()> {
    wait_until(LIMIT, || Ok(Hooks::of(interface)? == Hooks::default()))
        .with_context(|| format!("left attached: {:?}", Hooks::of(interface)))
}

/// Runs the agent to its end.
fn run(host: &Host, arguments: &[&str]) -> Result<Output> {
    let program = binary()?;
    let program = program.to_str().context("a path in UTF-8")?;
    host.spawn([&[program], arguments].concat())?.wait(LIMIT)
}

/// A refusal, which must be one line, with its exit code.
fn refusal(output: &Output) -> Result<(Option<i32>, String)> {
    let message = String::from_utf8(output.stderr.clone())?;
    ensure!(message.lines().count() == 1, "expected one line, not:\n{message}");
    ensure!(output.stdout.is_empty(), "a refusal wrote to standard output: {:?}", output.stdout);
    Ok((output.status.code(), message))
}

fn assert_refused(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let (exit, message) = refusal(output)?;
    assert_eq!(exit, Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
    Ok(())
}

#[test]
fn a_signal_drains_once_and_leaves_nothing() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
        let tables = std::env::temp_dir().join(format!("flowml-signal-{}", std::process::id()));
        let output = format!("parquet={}", tables.display());
        // No interval and no timeout ends during the test: everything that is counted comes from the last drain.
        let lasting = ["--interval", "1h", "--active-timeout", "1d"];
        let agent = Agent::meter(&metered, &[&["--direction", "both", "-o", &output], &lasting[..]].concat())?;
        let objects = Objects::held_by(agent.id())?;
        assert_eq!(objects.existing()?, objects);
        let sent = send(&peer, &metered, 500, 2000)?;
        let report = agent.stop(signal)?;
        assert_eq!((report.code, report.signal), (Some(0), None), "{signal:?}: {}", report.stderr);
        assert_accounts_for(&report, sent)?;
        assert_eq!(report.summary()?["drains"], 1);
        assert_eq!((report.of_type("flow").count(), &report.summary()?["flows"]), (500, &Value::from(500)));
        let mut rows = 0;
        for batch in TableReader::open(&tables)? {
            rows += batch?.num_rows();
        }
        assert_eq!(rows, 500, "rows of the file");
        assert!(tables.join("flows").is_dir(), "a live run has a file for each minute");
        fs::remove_dir_all(tables)?;
        assert_eq!(Hooks::of(&metered)?, Hooks::default());
        assert_gone(&objects)?;
    }
    Ok(())
}

/// Filters of tc are an exception before Linux 6.6: they are removed with their queueing discipline.
#[test]
fn a_killed_agent_leaves_nothing() -> Result<()> {
    let has_links = TcHook::of_kernel() == TcHook::Tcx;
    for mode in ["native", "generic", "tc"] {
        let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
        let direction = if has_links || mode == "tc" { "both" } else { "ingress" };
        let agent = Agent::meter(&metered, &["--direction", direction, "--xdp-mode", mode])?;
        let objects = Objects::held_by(agent.id())?;
        send(&peer, &metered, 100, 1000)?;
        agent.signal(Signal::KILL)?;
        let report = agent.finish(LIMIT)?;
        assert_eq!((report.code, report.signal), (None, Some(Signal::KILL.as_raw())));
        if mode == "tc" && !has_links {
            assert_eq!(Hooks::of(&metered)?, Hooks { xdp: false, tc_ingress: true, tc_egress: true });
            metered.host.run_ok(["tc", "qdisc", "del", "dev", &metered.name, "clsact"])?;
        }
        assert_nothing_attached(&metered)?;
        assert_gone(&objects)?;
    }
    Ok(())
}

#[test]
fn the_run_continues_when_interfaces_are_removed_and_waits_without_any() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (peer, metered) = (lab.host("peer")?, lab.host("metered")?);
    let [from_first, first] = lab.link([&peer, &metered], &LinkOptions::quiet())?;
    let [from_second, second] = lab.link([&peer, &metered], &LinkOptions::quiet())?;
    let arguments = ["run", "-i", &first.name, "-i", &second.name, "-o", "jsonl=-", "--interval", "50ms"];
    let agent = Agent::start(&metered, &arguments)?;
    agent.wait_attached(&first)?;
    agent.wait_attached(&second)?;
    let mut sent = send(&from_first, &first, 10, 100)?;

    metered.ip(&["link", "delete", &first.name])?;
    let message = |name: &str| agent.stderr().contains(&format!("{name} was removed"));
    wait_until(LIMIT, || Ok(message(&first.name))).with_context(|| agent.stderr())?;
    assert!(!message(&second.name));
    sent += send(&from_second, &second, 10, 100)?;

    metered.ip(&["link", "delete", &second.name])?;
    let waits = format!("no metered interface is left: waiting for {}, {}", first.name, second.name);
    wait_until(LIMIT, || Ok(agent.stderr().contains(&waits))).with_context(|| agent.stderr())?;
    let report = agent.stop(Signal::TERM)?;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert!(report.stderr.contains(&format!("{} was removed", second.name)), "{}", report.stderr);
    assert_accounts_for(&report, sent)
}

#[test]
fn an_interface_that_is_down_is_metered_when_it_comes_up() -> Result<()> {
    let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
    metered.host.ip(&["link", "set", &metered.name, "down"])?;
    let agent = Agent::meter(&metered, &[])?;
    wait_until(LIMIT, || Ok(agent.stderr().contains(&format!("{} is down", metered.name))))
        .with_context(|| agent.stderr())?;
    metered.host.ip(&["link", "set", &metered.name, "up"])?;
    for end in [&peer, &metered] {
        wait_until(LIMIT, || Ok(end.host.show_link(&end.name)?["operstate"] == "UP"))?;
    }
    let sent = send(&peer, &metered, 10, 100)?;
    let report = agent.stop(Signal::TERM)?;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert_accounts_for(&report, sent)
}

#[test]
fn an_existing_xdp_program_is_named_and_left_alone() -> Result<()> {
    for mode in ["native", "generic"] {
        let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
        let first = Agent::meter(&metered, &["--xdp-mode", mode])?;
        let program = metered.host.show_link(&metered.name)?["xdp"].clone();
        let named = ["flowml_xdp", &format!("id {}", program["prog"]["id"]), &metered.name, "--xdp-mode tc"];
        for wanted in ["native", "generic"] {
            let output = run(&metered.host, &["run", "-qq", "-i", &metered.name, "--xdp-mode", wanted])?;
            assert_eq!(output.status.code(), Some(1));
            let message = String::from_utf8(output.stderr)?;
            let last = message.lines().last().unwrap_or_default();
            assert!(named.iter().all(|word| last.contains(word)), "{wanted} beside {mode}: {message}");
        }

        for wanted in ["auto", "tc"] {
            let arguments = ["run", "-i", &metered.name, "-o", "jsonl=-", "--xdp-mode", wanted];
            let second = Agent::start(&metered.host, &arguments)?;
            wait_until(LIMIT, || Ok(Hooks::of(&metered)?.tc_ingress)).with_context(|| second.stderr())?;
            let sent = send(&peer, &metered, 10, 100)?;
            let report = second.stop(Signal::TERM)?;
            assert_eq!(report.code, Some(0), "{}", report.stderr);
            let summary = report.summary()?;
            assert_eq!((&summary["capture_mode"], &summary["conserved"]), (&"tc".into(), &true.into()));
            assert_eq!(summary["packets_received"], sent.packets);
            // With generic XDP that copies a packet (`skb_pp_cow_data`), Linux 6.18 loses the length of its Ethernet
            // header (`mac_len`). tc programs then see packets that start with IP: `not_ip`.
            if mode == "native" {
                assert_accounts_for(&report, sent)?;
            }
            let tells_why = named.iter().all(|word| report.stderr.contains(word));
            assert_eq!(tells_why, wanted == "auto", "{}", report.stderr);
        }
        assert_eq!(metered.host.show_link(&metered.name)?["xdp"], program, "the existing program was replaced");
        first.stop(Signal::TERM)?;
        assert_nothing_attached(&metered)?;
    }
    Ok(())
}

#[test]
fn without_permission_there_is_one_clear_line() -> Result<()> {
    let Some((_lab, [_, metered])) = quiet_pair()? else { return Ok(()) };
    let copy = PublicBinary::new()?;
    let program = copy.program();
    let program = program.to_str().context("a path in UTF-8")?;
    // 65534 is nobody, on every Linux (user_namespaces(7), overflowuid).
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for mode in ["auto", "native", "tc"] {
        let command = [&nobody[..], &[program, "run", "-i", &metered.name, "--xdp-mode", mode]].concat();
        let output = metered.host.spawn(command)?.wait(LIMIT)?;
        assert_refused(&output, 1, &["permission", "root", "CAP_BPF", "CAP_NET_ADMIN"])?;
    }
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

/// The kernel's settings are replaced in a mount namespace of the agent.
#[test]
fn a_kernel_whose_programs_preempt_each_other_is_refused() -> Result<()> {
    const MAKE_UP: &str = r#"
        mount -t tmpfs none /sys/kernel && echo 1 > /sys/kernel/realtime || exit 99
        if test -e /proc/config.gz; then mount --bind "$1" /proc/config.gz || exit 99
        else mount -t tmpfs none /boot && gunzip -c "$1" > "/boot/config-$(uname -r)" || exit 99
        fi
        shift; exec "$@""#;
    let Some((_lab, [_, metered])) = quiet_pair()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.gz");
    let mut file = GzEncoder::new(fs::File::create(&config)?, Compression::fast());
    file.write_all(b"CONFIG_PREEMPT_RT=y\n# CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is not set\n")?;
    file.finish()?;
    let (program, config) = (binary()?, config.to_string_lossy().into_owned());
    let program = program.to_str().context("a path in UTF-8")?;
    let inside = |arguments: &[&str]| {
        let made_up = ["unshare", "--mount", "sh", "-c", MAKE_UP, "sh", &config, program];
        metered.host.spawn([&made_up, arguments].concat())?.wait(LIMIT)
    };
    let output = inside(&["run", "-i", &metered.name])?;
    assert_refused(&output, 1, &["PREEMPT_RT without PREEMPT_RT_NEEDS_BH_LOCK"])?;
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    // doctor reports the same.
    let output = inside(&["doctor", "-i", &metered.name, "-o", "json=-"])?;
    assert_eq!(output.status.code(), Some(1));
    let examination: Value = serde_json::from_slice(&output.stdout)?;
    let findings = examination["findings"].as_array().context("findings")?;
    let preemption = findings.iter().find(|finding| finding["check"] == "preemption").context("preemption")?;
    assert_eq!((&preemption["severity"], &preemption["value"]), (&"problem".into(), &true.into()), "{preemption}");
    Ok(())
}

#[test]
fn an_unknown_interface_is_refused_with_a_list_of_existing_ones() -> Result<()> {
    let Some((_lab, [_, metered])) = quiet_pair()? else { return Ok(()) };
    let output = run(&metered.host, &["run", "-i", &metered.name, "-i", "nowhere7"])?;
    assert_refused(&output, 1, &["\"nowhere7\"", "lo", &metered.name])?;
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn without_an_interface_the_default_route_decides() -> Result<()> {
    let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
    let output = run(&metered.host, &["run"])?;
    assert_refused(&output, 1, &["no default route", "-i", &metered.name])?;

    metered.host.ip(&["route", "add", "default", "via", &peer.v4.to_string()])?;
    let agent = Agent::start(&metered.host, &["run", "-o", "jsonl=-"])?;
    agent.wait_attached(&metered)?;
    let sent = send(&peer, &metered, 10, 100)?;
    let report = agent.stop(Signal::INT)?;
    assert_eq!(report.summary()?["interfaces"][0]["name"], *metered.name);
    assert_accounts_for(&report, sent)
}

#[test]
fn wrong_usage_is_reported_in_one_line_and_nothing_starts() -> Result<()> {
    let Some((_lab, [_, metered])) = quiet_pair()? else { return Ok(()) };
    let table: [(&[&str], &[&str]); 10] = [
        (&["-o", "xml=-"], &["--output", "'xml=-'", "jsonl=PATH"]),
        (&["-o", "jsonl=x", "-o", "csv=./x"], &["--output", "./x", "a different one"]),
        (&["--interval", "5ms"], &["--interval", "'5ms'", "10ms to 1h"]),
        (&["--duration", "soon"], &["--duration", "'soon'", "a whole number and its unit"]),
        (&["--alpha", "0"], &["--alpha", "'0'", "between 0 and 1"]),
        (&["--flow-capacity", "1"], &["--flow-capacity", "1", "64..=16777216"]),
        (&["--xdp-mode", "offload"], &["--xdp-mode", "'offload'", "native"]),
        (&["-i", "sixteen-letters-"], &["--interface", "1 to 15 bytes"]),
        (&["-i", "lo", "-i", "lo"], &["--interface", "'lo'", "each name once"]),
        (&["--no-such-flag"], &["'--no-such-flag'"]),
    ];
    for (arguments, words) in table {
        let output = run(&metered.host, &[&["run", "-i", &metered.name], arguments].concat())?;
        assert_refused(&output, 2, words).with_context(|| format!("{arguments:?}"))?;
    }
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn an_output_that_cannot_be_opened_ends_the_run_before_attaching() -> Result<()> {
    let Some((_lab, [_, metered])) = quiet_pair()? else { return Ok(()) };
    for kind in ["jsonl", "csv"] {
        let path = "/nonexistent-directory/flows";
        let output = run(&metered.host, &["run", "-i", &metered.name, "-o", &format!("{kind}={path}")])?;
        assert_refused(&output, 1, &[path])?;
    }
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn the_run_ends_in_order_when_standard_output_is_closed() -> Result<()> {
    let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
    let program = binary()?;
    let script = r#"{ "$@"; echo "exit code $?" >&2; } | head -n 1"#;
    let arguments = ["sh", "-c", script, "sh", program.to_str().context("a path in UTF-8")?, "run"];
    let options = ["-i", &metered.name, "-o", "jsonl=-", "--interval", "50ms", "--idle-timeout", "100ms"];
    let pipeline = metered.host.spawn([&arguments[..], &options].concat())?;
    wait_until(LIMIT, || Ok(Hooks::of(&metered)?.sees_ingress())).with_context(|| pipeline.stderr().text())?;
    // The agent writes records at each interval until a write fails.
    wait_until(LIMIT, || {
        FrameSender::open(&peer)?.spray(&FlowSpray::unanswered(&metered, 10, 10), Rate::Full)?;
        Ok(!pipeline.is_running()?)
    })?;
    let output = pipeline.wait(LIMIT)?;
    let message = String::from_utf8(output.stderr)?;
    assert!(message.ends_with("exit code 0\n"), "{message}");
    let record: Value = serde_json::from_slice(&output.stdout)?;
    assert!(record["type"].is_string(), "{record}");
    assert_nothing_attached(&metered)
}

#[test]
fn a_run_ends_after_its_duration() -> Result<()> {
    let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
    let agent = Agent::meter(&metered, &["--duration", "2s"])?;
    let sender = FrameSender::open(&peer)?;
    sender.spray(&FlowSpray::unanswered(&metered, 10, 100), Rate::Full)?;
    let report = agent.finish(LIMIT)?;
    assert_eq!((report.code, report.signal), (Some(0), None), "{}", report.stderr);
    let summary = report.summary()?;
    assert_eq!(summary["conserved"], true, "{summary}");
    let lasted = summary["duration_s"].as_f64().context("duration_s")?;
    assert!(lasted >= 2.0, "{lasted} s");
    assert_nothing_attached(&metered)
}

#[test]
fn several_interfaces_are_counted_separately() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (peer, metered) = (lab.host("peer")?, lab.host("metered")?);
    let pairs = two_links(&lab, &peer, &metered)?;
    let [(_, first), (_, second)] = &pairs;
    let agent = Agent::start(
        &metered,
        &["run", "-i", &first.name, "-i", &second.name, "-o", "jsonl=-", "--interval", "100ms"],
    )?;
    pairs.iter().try_for_each(|(_, interface)| agent.wait_attached(interface))?;
    let mut total = Sent::default();
    let mut expected = Vec::new();
    for ((from, to), packets) in pairs.iter().zip([1000, 3000]) {
        let sent = send(from, to, 100, packets)?;
        expected.push((to.index()?, 100, sent.packets));
        total += sent;
    }
    let report = agent.stop(Signal::TERM)?;
    assert_accounts_for(&report, total)?;
    for (index, flows, packets) in expected {
        let of_interface = || report.of_type("flow").filter(|flow| flow["interface"] == index);
        let counted: u64 = of_interface().filter_map(|flow| flow["bidirectional_packets"].as_u64()).sum();
        assert_eq!((of_interface().count(), counted), (flows, packets), "interface {index}");
    }
    let names: Vec<_> = report.summary()?["interfaces"].as_array().context("interfaces")?.iter().collect();
    assert_eq!([&names[0]["name"], &names[1]["name"]], [&*first.name, &*second.name]);
    Ok(())
}

fn two_links(lab: &Lab, peer: &Host, metered: &Host) -> Result<[(Interface, Interface); 2]> {
    let link = || lab.link([peer, metered], &LinkOptions::quiet()).map(|[from, to]| (from, to));
    Ok([link()?, link()?])
}

#[test]
fn the_shortest_interval_loses_nothing_under_traffic() -> Result<()> {
    let Some((_lab, [peer, metered])) = quiet_pair()? else { return Ok(()) };
    let agent = Agent::meter(&metered, &["--interval", "10ms"])?;
    let spray = FlowSpray::unanswered(&metered, 200, 20_000);
    let sent = FrameSender::open(&peer)?.spray(&spray, Rate::PerSecond(20_000))?;
    wait_until(LIMIT, || Ok(metered.counters()?.rx_packets == sent.packets))?;
    let report = agent.stop(Signal::TERM)?;
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert_accounts_for(&report, sent)?;
    let drains = report.summary()?["drains"].as_u64().context("drains")?;
    assert!(drains > 2, "{drains} drains in a second");
    Ok(())
}
