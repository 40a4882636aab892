//! Interfaces that appear and are removed while the agent runs: no packet of a metered interface is missed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flowml_tests::agent::{Agent, Report};
use flowml_tests::bpffs::Bpffs;
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Host, Interface, Lab, LinkOptions, require_lab, wait_until};
use flowml_tests::objects::Objects;
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use flowml_user::capture::attach::TcHook;
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for the agent to report something or to end on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts the agent with its records on standard output, and waits until it reports `message`.
fn start(host: &Host, arguments: &[&str], message: &str) -> Result<Agent> {
    let all = [&["run", "-o", "jsonl=-", "--interval", "50ms"], arguments].concat();
    let agent = Agent::start(host, &all)?;
    wait_for_message(&agent, message, 1)?;
    Ok(agent)
}

/// Waits until the agent has reported this that many times.
fn wait_for_message(agent: &Agent, words: &str, times: usize) -> Result<()> {
    wait_until(LIMIT, || {
        ensure!(agent.is_running()?, "it has ended");
        Ok(agent.stderr().matches(words).count() >= times)
    })
    .with_context(|| format!("waiting for {words:?} {times} times in:\n{}", agent.stderr()))
}

/// The agent's message when it starts to meter an interface.
fn come(interface: &Interface) -> Result<String> {
    Ok(format!("{} appeared (index {}): metering it by", interface.name, interface.index()?))
}

/// Sends packets of ten flows, and waits until the other end has received all of them.
fn send(ends: &[Interface; 2]) -> Result<Sent> {
    let [from, to] = ends;
    let before = to.counters()?.rx_packets;
    let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, 10, 100), Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// Checks the packet accounting of a run that received exactly `sent`, in rows of these interfaces.
fn assert_accounts_for(report: &Report, sent: Sent, indexes: &[u32]) -> Result<()> {
    assert_eq!((report.code, report.signal), (Some(0), None), "{}", report.stderr);
    let summary = report.summary()?;
    for (member, count) in [("packets_received", sent.packets), ("packets_in_flows", sent.packets)] {
        assert_eq!(summary[member], count, "{member} of {summary}: {}", report.stderr);
    }
    assert_eq!((&summary["bytes_received"], &summary["conserved"]), (&sent.bytes.into(), &true.into()), "{summary}");
    let mut found: Vec<u64> = report.of_type("flow").filter_map(|flow| flow["interface"].as_u64()).collect();
    found.sort_unstable();
    found.dedup();
    let mut expected: Vec<u64> = indexes.iter().map(|index| u64::from(*index)).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "interfaces of rows");
    Ok(())
}

fn pair(lab: &Lab) -> Result<[Interface; 2]> {
    lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())
}

/// Sets the interface up as it was before, without addresses, and waits for its carrier.
fn set_up(ends: &[Interface; 2]) -> Result<()> {
    ends[1].host.ip(&["link", "set", &ends[1].name, "up"])?;
    for end in ends {
        wait_until(LIMIT, || Ok(end.host.show_link(&end.name)?["operstate"] == "UP"))?;
    }
    Ok(())
}

/// A veth pair whose second end is metered by an agent in both directions.
fn metered_in(lab: &Lab, mode: &str) -> Result<([Interface; 2], Agent)> {
    let ends = pair(lab)?;
    let name = ends[1].name.as_str();
    let arguments = ["-i", name, "--xdp-mode", mode, "--direction", "both"];
    let agent = start(&ends[1].host, &arguments, &format!("metering {name} by"))?;
    agent.wait_attached(&ends[1])?;
    Ok((ends, agent))
}

#[test]
fn an_interface_that_comes_back_is_metered_again() -> Result<()> {
    for mode in ["native", "generic", "tc"] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let (ends, agent) = metered_in(&lab, mode)?;
        let objects = Objects::held_by(agent.id())?;
        let mut indexes = vec![ends[1].index()?];
        let mut sent = send(&ends)?;
        for _ in 0..2 {
            lab.replace(&ends, &LinkOptions::quiet())?;
            wait_for_message(&agent, &come(&ends[1])?, 1)?;
            indexes.push(ends[1].index()?);
            sent += send(&ends)?;
        }
        for (words, times) in
            [("was removed; its packets until then are counted", 2), ("no metered interface is left: waiting for", 2)]
        {
            wait_for_message(&agent, words, times)?;
        }
        assert_eq!(objects.existing()?, Objects::held_by(agent.id())?, "other programs or maps");
        let report = agent.stop(Signal::TERM)?;
        assert_accounts_for(&report, sent, &indexes)?;
        assert_eq!(report.summary()?["capture_mode"], mode);
        assert_eq!(Hooks::of(&ends[1])?, Hooks::default());
    }
    Ok(())
}

#[test]
fn patterns_match_new_interfaces_except_the_excluded_ones() -> Result<()> {
    for selector in ["eth*", "any"] {
        let Some(lab) = require_lab() else { return Ok(()) };
        let (peer, metered) = (lab.host("peer")?, lab.host("metered")?);
        let waits = format!("no interface exists yet: waiting for {selector}");
        let agent = start(&metered, &["-i", selector, "--exclude", "eth1"], &waits)?;
        let links = [0; 3].map(|_| lab.link([&peer, &metered], &LinkOptions::quiet()));
        let [first, excluded, last] = links.map(|link| link.context("a link"));
        let (first, excluded, last) = (first?, excluded?, last?);
        let mut sent = Sent::default();
        for ends in [&first, &last] {
            wait_for_message(&agent, &come(&ends[1])?, 1)?;
            sent += send(ends)?;
        }
        send(&excluded)?;
        assert_eq!((excluded[1].name.as_str(), Hooks::of(&excluded[1])?), ("eth1", Hooks::default()));
        let report = agent.stop(Signal::TERM)?;
        assert_accounts_for(&report, sent, &[first[1].index()?, last[1].index()?])?;
        let names = |member: &Value| member["name"].as_str().map(str::to_owned);
        let named: Vec<_> =
            report.summary()?["interfaces"].as_array().into_iter().flatten().filter_map(names).collect();
        assert_eq!(named, ["eth0", "eth2"]);
    }
    Ok(())
}

#[test]
fn a_renamed_or_moved_interface_is_no_longer_metered() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let ends = pair(&lab)?;
    let (host, elsewhere) = (&ends[1].host, lab.host("elsewhere")?);
    let name = ends[1].name.as_str();
    let agent = start(host, &["-i", name], &format!("metering {name} by"))?;
    agent.wait_attached(&ends[1])?;
    let mut sent = send(&ends)?;

    host.ip(&["link", "set", name, "down"])?;
    host.ip(&["link", "set", name, "name", "away0"])?;
    wait_for_message(&agent, &format!("{name} was renamed to away0, which is not selected"), 1)?;
    assert!(host.show_link("away0")?["xdp"].is_null(), "it is still metered");
    host.ip(&["link", "set", "away0", "name", name])?;
    wait_for_message(&agent, &come(&ends[1])?, 1)?;
    set_up(&ends)?;
    sent += send(&ends)?;

    host.ip(&["link", "set", name, "netns", elsewhere.namespace()])?;
    wait_for_message(&agent, &format!("{name} was removed"), 1)?;
    assert!(elsewhere.show_link(name)?["xdp"].is_null(), "it is still metered");
    elsewhere.ip(&["link", "set", name, "netns", host.namespace()])?;
    // The interface may have the index that it had before.
    let index = ends[1].index()?;
    wait_until(LIMIT, || Ok(agent.stderr().matches(&format!("{name} appeared")).count() == 2))
        .with_context(|| agent.stderr())?;
    set_up(&ends)?;
    sent += send(&ends)?;
    let report = agent.stop(Signal::TERM)?;
    let rows: Vec<u64> = report.of_type("flow").filter_map(|flow| flow["interface"].as_u64()).collect();
    assert!(rows.contains(&u64::from(index)));
    assert_eq!(report.summary()?["packets_received"], sent.packets, "{}", report.stderr);
    Ok(())
}

#[test]
fn seventy_interfaces_are_metered_at_once() -> Result<()> {
    const ALL: usize = 70;
    let Some(lab) = require_lab() else { return Ok(()) };
    let (peer, metered) = (lab.host("peer")?, lab.host("metered")?);
    let link = || lab.link([&peer, &metered], &LinkOptions { queues: 1, ..LinkOptions::quiet() });
    let mut links = (0..ALL / 2).map(|_| link()).collect::<Result<Vec<_>>>()?;
    let agent = start(&metered, &["-i", "eth*", "--direction", "both"], "metering eth0 by")?;
    wait_for_message(&agent, "metering eth", ALL / 2)?;
    links.extend((ALL / 2..ALL).map(|_| link()).collect::<Result<Vec<_>>>()?);
    wait_for_message(&agent, "appeared (index", ALL - ALL / 2)?;
    let sent: Sent = links.iter().map(send).collect::<Result<Vec<_>>>()?.into_iter().sum();
    let indexes = links.iter().map(|[_, end]| end.index()).collect::<Result<Vec<_>>>()?;
    assert_accounts_for(&agent.stop(Signal::TERM)?, sent, &indexes)?;
    for [_, end] in links.iter().step_by(23) {
        assert_eq!(Hooks::of(end)?, Hooks::default());
    }
    Ok(())
}

/// The number of open descriptors of a process, except files in /proc. The agent opens a folder and files there each
/// second, to look whether its links are attached.
fn descriptors(process: u32) -> Result<usize> {
    let mut number = 0;
    for descriptor in fs::read_dir(format!("/proc/{process}/fd"))? {
        // The descriptor may have been closed since the listing.
        let target = fs::read_link(descriptor?.path());
        number += usize::from(target.is_ok_and(|target| !target.starts_with("/proc")));
    }
    Ok(number)
}

#[test]
fn two_hundred_changes_leave_nothing_open_and_lose_no_packet_of_other_interfaces() -> Result<()> {
    change(100)
}

#[test]
#[ignore = "it takes a minute: cargo xtask test --long"]
fn a_thousand_changes_leave_nothing_open_and_lose_no_packet_of_other_interfaces() -> Result<()> {
    change(500)
}

/// Adds and removes an interface this many times, twice, as fast as possible.
fn change(times: u32) -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let ends = pair(&lab)?;
    let (host, name) = (&ends[1].host, ends[1].name.as_str());
    let agent = start(host, &["-i", name, "-i", "churn*", "--direction", "both"], &format!("metering {name} by"))?;
    agent.wait_attached(&ends[1])?;
    let mut script = String::new();
    for n in 0..times {
        writeln!(script, "link add churn{n} type veth peer name other{n}\nlink delete churn{n}")?;
    }
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), script)?;
    let file = file.path().to_str().context("a path in UTF-8")?;
    let mut sent = Sent::default();
    let mut open = Vec::new();
    for round in 0..3 {
        // The first round runs before all changes.
        if round > 0 {
            let changing = host.spawn(["ip", "-batch", file])?;
            sent += send(&ends)?;
            let changed = changing.wait(LIMIT)?;
            ensure!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
        }
        // The kernel reports changes in order. When this interface has appeared and is removed, so are all others.
        let last = format!("churnlast{round}");
        host.ip(&["link", "add", &last, "type", "veth", "peer", "name", "otherlast"])?;
        wait_for_message(&agent, &format!("{last} appeared"), 1)?;
        host.ip(&["link", "delete", &last])?;
        wait_for_message(&agent, &format!("{last} was removed"), 1)?;
        sent += send(&ends)?;
        open.push(descriptors(agent.id())?);
    }
    assert!(open.iter().all(|count| *count == open[0]), "descriptors: {open:?}");
    let report = agent.stop(Signal::TERM)?;
    assert_accounts_for(&report, sent, &[ends[1].index()?])
}

/// While the agent is stopped the kernel's queue overflows, and the changes of the metered interface are lost.
#[test]
fn lost_changes_are_recovered() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let ends = pair(&lab)?;
    let (host, name) = (&ends[1].host, ends[1].name.as_str());
    let agent = start(host, &["-i", name, "-i", "new*"], &format!("metering {name} by"))?;
    let mut sent = send(&ends)?;
    agent.signal(Signal::STOP)?;
    let script = "link add lost type veth peer name other\nlink delete lost\n".repeat(300);
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), script)?;
    host.run_ok(["ip", "-batch", file.path().to_str().context("a path in UTF-8")?])?;
    host.ip(&["link", "add", "new0", "type", "veth", "peer", "name", "other"])?;
    lab.replace(&ends, &LinkOptions::quiet())?;
    agent.signal(Signal::CONT)?;
    for words in [&*come(&ends[1])?, &format!("{name} was removed"), "new0 appeared"] {
        wait_for_message(&agent, words, 1)?;
    }
    sent += send(&ends)?;
    host.ip(&["link", "delete", "new0"])?;
    wait_for_message(&agent, "new0 was removed", 1)?;
    let report = agent.stop(Signal::TERM)?;
    assert_eq!(report.summary()?["packets_received"], sent.packets, "{}", report.stderr);
    Ok(())
}

// include/uapi/linux/bpf.h: `enum bpf_cmd`.
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

fn bpf(command: libc::c_long, argument: u32) -> io::Result<libc::c_long> {
    // Longer than any version of `union bpf_attr`. The attributes of both commands start with the id or descriptor.
    let mut attributes = [0_u32; 40];
    attributes[0] = argument;
    // SAFETY: the kernel reads no more than the size given.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), 160_usize) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// Detaches the program of the process's link whose description contains `link`, as `bpftool link detach` does.
fn detach(process: u32, link: &str) -> Result<()> {
    for file in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let Ok(shown) = fs::read_to_string(file?.path()) else { continue };
        let Some(id) = shown.lines().find_map(|line| line.strip_prefix("link_id:\t")) else { continue };
        if !shown.contains(link) {
            continue;
        }
        let link = bpf(BPF_LINK_GET_FD_BY_ID, id.parse()?).context("opening a link")?;
        let result = bpf(BPF_LINK_DETACH, u32::try_from(link)?);
        // SAFETY: the descriptor was opened above and has no other owner.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(i32::try_from(link)?) });
        return result.map(drop).context("detaching a link");
    }
    bail!("process {process} holds no link with {link:?}")
}

/// Before Linux 6.6, tc programs have no links, and the kernel does not report that one was detached.
#[test]
fn a_program_that_was_detached_is_attached_again() -> Result<()> {
    let has_links = TcHook::of_kernel() == TcHook::Tcx;
    for mode in ["native", "generic", "tc"].into_iter().filter(|mode| has_links || *mode != "tc") {
        let Some(lab) = require_lab() else { return Ok(()) };
        let (ends, agent) = metered_in(&lab, mode)?;
        let name = ends[1].name.as_str();
        let mut sent = send(&ends)?;
        let open = descriptors(agent.id())?;
        let ingress = if mode == "tc" { "(ingress)" } else { "link_type:\txdp" };
        let links = if has_links { &[ingress, "(egress)"][..] } else { &[ingress] };
        for (times, link) in (1..).zip(links) {
            detach(agent.id(), link)?;
            wait_for_message(&agent, &format!("another program detached flowml from {name}: metering it by"), times)?;
            agent.wait_attached(&ends[1])?;
            sent += send(&ends)?;
        }
        assert_eq!(descriptors(agent.id())?, open);
        assert_accounts_for(&agent.stop(Signal::TERM)?, sent, &[ends[1].index()?])?;
    }
    Ok(())
}

#[test]
fn interfaces_that_appear_later_are_pinned_too() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let ends = pair(&lab)?;
    let bpffs = Bpffs::mount()?;
    let folder = bpffs.folder();
    let (host, name) = (&ends[1].host, ends[1].name.as_str());
    let arguments = ["-i", name, "--pin", folder.argument()];
    let agent = start(host, &arguments, "pinned in")?;
    let mut sent = send(&ends)?;
    let pinned = folder.names().len();
    lab.replace(&ends, &LinkOptions::quiet())?;
    wait_for_message(&agent, &come(&ends[1])?, 1)?;
    sent += send(&ends)?;
    assert_eq!(folder.names().len(), pinned, "{:?}", folder.names());
    agent.signal(Signal::KILL)?;
    agent.finish(LIMIT)?;
    // Sent while no agent runs.
    sent += send(&ends)?;
    let report = start(host, &arguments, "pinned in")?.stop(Signal::TERM)?;
    let summary = report.summary()?;
    let taken = |of: &Value| of["packets_received"].as_u64().context("packets");
    assert_eq!(taken(summary)? + taken(&summary["earlier"])?, sent.packets, "{summary}");
    Ok(())
}
