//! A flow table that outlives its agents: it counts every packet once, and nothing is left at the end.
//!
//! This holds over stops, crashes and upgrades.

use std::fs;
use std::mem;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Bucket, Count};
use flowml_common::time::Boundaries;
use flowml_tests::agent::{Agent, Report, binary};
use flowml_tests::bpffs::{Bpffs, Folder};
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Host, Interface, IpVersion, LinkOptions, require_lab, wait_until};
use flowml_tests::metered::attach_ingress;
use flowml_tests::objects::Objects;
use flowml_tests::program::{embedded, kernel_table, require_kernel};
use flowml_tests::traffic::peers::{Exchange, TcpClient, TcpService};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate, Sent};
use flowml_user::capture::CaptureError;
use flowml_user::capture::attach::{Mode, TcHook, Wanted, attach_by};
use flowml_user::capture::interface::Interfaces;
use flowml_user::capture::kernel::{Drained, KernelTable};
use flowml_user::capture::pins::Pins;
use flowml_user::capture::shared::SharedArray;
use flowml_user::capture::takeover::keep;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::process::Signal;
use serde_json::Value;

/// Longest time for the agent to start, to end or to report something, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Two hosts and a quiet link between them, and a folder for pins. The folder is dropped first, with everything that is
/// pinned there.
macro_rules! pinned_pair {
    () => {{
        let Some(lab) = require_lab() else { return Ok(()) };
        let ends = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
        let bpffs = Bpffs::mount()?;
        let folder = bpffs.folder();
        ((lab, bpffs), ends, folder)
    }};
}

/// Sends packets of many flows, and waits until the other end has received all of them.
fn send(from: &Interface, to: &Interface, packets: u64) -> Result<Sent> {
    let before = to.counters()?.rx_packets;
    let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, 100, packets), Rate::Full)?;
    wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent.packets)).context("waiting for the frames")?;
    Ok(sent)
}

/// Starts an agent with its table pinned in the folder, and waits until it has the table.
fn start(metered: &[&Interface], folder: &Folder, arguments: &[&str]) -> Result<Agent> {
    let interfaces = metered.iter().flat_map(|interface| ["-i", &interface.name]);
    let all: Vec<&str> = ["run", "-o", "jsonl=-", "--pin", folder.argument()].into_iter().chain(interfaces).collect();
    let agent = Agent::start(&metered[0].host, &[&all, arguments].concat())?;
    wait_until(LIMIT, || Ok(agent.stderr().contains("pinned in"))).with_context(|| agent.stderr())?;
    Ok(agent)
}

fn stop(agent: Agent) -> Result<Report> {
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "{:?}: {}", report.code, report.stderr);
    ensure!(report.summary()?["conserved"] == true, "{}", report.stderr);
    Ok(report)
}

fn run(host: &Host, arguments: &[&str]) -> Result<Output> {
    let program = binary()?;
    let program = program.to_str().context("a path in UTF-8")?;
    host.spawn([&[program], arguments].concat())?.wait(LIMIT)
}

fn assert_refused(host: &Host, arguments: &[&str], words: &[&str]) -> Result<()> {
    let output = run(host, arguments)?;
    let message = String::from_utf8(output.stderr)?;
    // On Linux before 6.12 a warning comes first: Landlock restricts less there.
    let errors = message.lines().filter(|line| !line.contains("Landlock of this kernel")).count();
    assert_eq!((output.status.code(), errors), (Some(1), 1), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message:?}");
    }
    Ok(())
}

/// Removes all pins. Returns the output of `flowml unpin`.
fn unpin(host: &Host, folder: &Folder) -> Result<String> {
    let output = run(host, &["unpin", folder.argument()])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().exists(), "{:?}", folder.names());
    Ok(String::from_utf8(output.stdout)?)
}

fn number(of: &Value, member: &str) -> Result<u64> {
    of[member].as_u64().with_context(|| format!("{member} of {of}"))
}

fn sum(of: &Value) -> u64 {
    of.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

/// The packets that all agents processed until the end of this run. The packet accounting of the run itself must be
/// consistent.
fn taken(summary: &Value) -> Result<Sent> {
    let mut taken = Sent::default();
    for account in [summary, &summary["earlier"]] {
        for of in ["packets", "bytes"] {
            let received = number(account, &format!("{of}_received"))?;
            let accounted = number(account, &format!("{of}_in_flows"))? + sum(&account[format!("{of}_skipped")]);
            ensure!(received == accounted, "{of} received {received}, accounted for {accounted}: {summary}");
            match of {
                "packets" => taken.packets += received,
                _ => taken.bytes += received,
            }
        }
    }
    Ok(taken)
}

/// The modes and the direction that can be pinned. Before Linux 6.6, tc programs have no links.
fn modes_and_direction() -> (&'static [&'static str], &'static str) {
    match TcHook::of_kernel() {
        TcHook::Tcx => (&["native", "generic", "tc"], "both"),
        TcHook::Clsact => (&["native", "generic"], "ingress"),
    }
}

#[test]
fn a_stop_and_a_start_lose_nothing() -> Result<()> {
    let (modes, direction) = modes_and_direction();
    for &mode in modes {
        let (_guards, [peer, metered], folder) = pinned_pair!();
        let arguments = ["--direction", direction, "--xdp-mode", mode];
        let first = start(&[&metered], &folder, &arguments)?;
        let hooks = Hooks::of(&metered)?;
        assert!(hooks.sees_ingress() && hooks.tc_egress == (direction == "both"), "{hooks:?}");
        let mut sent = send(&peer, &metered, 1000)?;
        let report = stop(first)?;
        assert!(number(report.summary()?, "hosts")? > 0, "an epoch of the run makes host windows");
        assert_eq!((number(report.summary()?, "packets_received")?, taken(report.summary()?)?), (1000, sent));
        let last = report.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("stay attached") && last.contains("flowml unpin"), "{last}");
        assert_eq!(Hooks::of(&metered)?, hooks);

        sent += send(&peer, &metered, 500)?;
        // Without an option for the mode, the agent uses the pinned one.
        let second = start(&[&metered], &folder, &["--direction", direction])?;
        assert!(second.stderr().contains("1,000 packets"), "{}", second.stderr());
        sent += send(&peer, &metered, 200)?;
        let report = stop(second)?;
        let summary = report.summary()?;
        assert_eq!((number(summary, "packets_received")?, taken(summary)?), (700, sent), "{summary}");
        assert_eq!((&summary["capture_mode"], number(&summary["earlier"], "packets_unreported")?), (&mode.into(), 0));
        let in_rows: u64 = report.of_type("flow").filter_map(|flow| flow["bidirectional_packets"].as_u64()).sum();
        assert_eq!(in_rows, 700);

        // Packets that were counted while no agent ran are in records, but in no host window.
        sent += send(&peer, &metered, 300)?;
        let report = stop(start(&[&metered], &folder, &["--direction", direction])?)?;
        let summary = report.summary()?;
        assert_eq!((number(summary, "packets_received")?, taken(summary)?), (300, sent), "{summary}");
        assert_eq!((number(summary, "flows")?, number(summary, "hosts")?), (100, 0), "{summary}");
        unpin(&metered.host, &folder)?;
        assert_eq!(Hooks::of(&metered)?, Hooks::default());
    }
    Ok(())
}

/// Kills agents at random moments, some before they have the table, while packets arrive all the time.
fn killed(times: u32) -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    stop(start(&[&metered], &folder, &[])?)?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(times));
    let before = metered.counters()?.rx_packets;
    let enough = AtomicBool::new(false);
    let mut ready = 0;
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<Sent> {
            let sender = FrameSender::open(&peer)?;
            let mut sent = Sent::default();
            while !enough.load(Ordering::Relaxed) {
                sent += sender.spray(&FlowSpray::unanswered(&metered, 500, 2000), Rate::PerSecond(20_000))?;
            }
            Ok(sent)
        });
        let mut kill = || -> Result<()> {
            // With the short interval a drain is in progress most of the time, with the long one rarely.
            let interval = if random.r#gen() { "10ms" } else { "1s" };
            let command = ["run", "-q", "-i", &metered.name, "--interval", interval, "--pin", folder.argument()];
            let agent = Agent::start(&metered.host, &command)?;
            // One agent in four is killed during its start.
            if random.gen_ratio(3, 4) {
                wait_until(LIMIT, || Ok(agent.stderr().contains("pinned in"))).with_context(|| agent.stderr())?;
                ready += 1;
            }
            thread::sleep(Duration::from_micros(random.gen_range(0..200_000)));
            agent.signal(Signal::KILL)?;
            agent.finish(LIMIT)?;
            Ok(())
        };
        let done = (0..times).try_for_each(|round| kill().with_context(|| format!("round {round} of {times}")));
        enough.store(true, Ordering::Relaxed);
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        done.map(|()| sent)
    })?;
    wait_until(LIMIT, || Ok(metered.counters()?.rx_packets - before == sent.packets))
        .context("waiting for the frames")?;
    let report = stop(start(&[&metered], &folder, &[])?)?;
    let summary = report.summary()?;
    assert_eq!(taken(summary)?, sent, "{summary}");
    let unreported = number(&summary["earlier"], "packets_unreported")?;
    assert!(ready > 0 && unreported > 0 && unreported <= sent.packets, "{summary}");
    // Killed agents processed all packets except those that the last one reports.
    assert_eq!(unreported, sent.packets - number(summary, "packets_received")?);
    let message = unpin(&metered.host, &folder)?;
    assert!(message.contains("never read: 0 packets"), "{message}");
    Ok(())
}

#[test]
fn agents_killed_at_any_moment_count_every_packet_once() -> Result<()> {
    killed(20)
}

#[test]
#[ignore = "it takes minutes, of a machine that does nothing else: cargo xtask test --long"]
fn agents_killed_two_hundred_times_count_every_packet_once() -> Result<()> {
    killed(200)
}

#[test]
fn unpin_leaves_nothing_and_reports_unread_packets() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let (_, direction) = modes_and_direction();
    let agent = start(&[&metered], &folder, &["--direction", direction])?;
    let objects = Objects::held_by(agent.id())?;
    assert_refused(
        &metered.host,
        &["unpin", folder.argument()],
        &["another flowml uses", folder.argument(), "stop it"],
    )?;
    let command = ["run", "-i", &metered.name, "--pin", folder.argument()];
    assert_refused(&metered.host, &command, &["another flowml uses", folder.argument()])?;
    send(&peer, &metered, 300)?;
    stop(agent)?;
    send(&peer, &metered, 123)?;
    let message = unpin(&metered.host, &folder)?;
    let removed = if direction == "both" { "removed 2 links and " } else { "removed 1 link and " };
    for words in [removed, "agents drained 300 packets; ", "never read: 123 packets"] {
        assert!(message.contains(words), "no {words:?} in {message}");
    }
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    let gone = wait_until(LIMIT, || Ok(objects.existing()?.is_empty()));
    gone.with_context(|| format!("left behind: {:?}", objects.existing()))?;

    // `unpin` again, and in a folder that never had pins.
    assert_refused(&metered.host, &["unpin", folder.argument()], &["cannot use the folder", folder.argument()])?;
    fs::create_dir(folder.path())?;
    assert_refused(&metered.host, &["unpin", folder.argument()], &["contains no pins", folder.argument()])?;
    let elsewhere = tempfile::tempdir()?;
    let elsewhere = elsewhere.path().to_str().context("a path in UTF-8")?;
    for command in [&["unpin", elsewhere][..], &["run", "-i", &metered.name, "--pin", elsewhere]] {
        assert_refused(&metered.host, command, &["not in a BPF file system", "mount -t bpf", elsewhere])?;
    }
    Ok(())
}

#[test]
fn a_table_that_does_not_match_the_options_is_left_unchanged() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    stop(start(&[&metered], &folder, &["--flow-capacity", "1024", "--xdp-mode", "native"])?)?;
    let sent = send(&peer, &metered, 50)?;
    let command = ["run", "-i", &metered.name, "--pin", folder.argument()];
    let others: [(&[&str], &str); 5] = [
        (&["--flow-capacity", "2048"], "--flow-capacity 1024"),
        (&["--payload", "9"], "--payload 0"),
        (&["--idle-timeout", "1s"], "--idle-timeout"),
        (&["--active-timeout", "1s"], "--active-timeout"),
        (&["--xdp-mode", "generic", "-qq"], "--xdp-mode native"),
    ];
    for (asked, kept) in others {
        let command = [&command[..], asked, &["-qq"]].concat();
        assert_refused(&metered.host, &command, &[folder.argument(), kept, "flowml unpin"])?;
    }
    // A table that looks to this agent like that of another version.
    let handover = MapData::from_pin(folder.path().join("handover"))?;
    let mut start_words: SharedArray<[u64; 2]> = SharedArray::map(handover.fd(), 1)?;
    let layout = start_words.load_u64(0, 8);
    start_words.store_u64(0, 8, 99);
    let words = ["layout 99", &format!("layout {layout}"), "flowml unpin"];
    assert_refused(&metered.host, &[&command[..], &["-qq"]].concat(), &words)?;
    start_words.store_u64(0, 8, layout);
    // In another namespace the indices of interfaces have other meanings.
    let elsewhere = ["run", "-qq", "-i", &peer.name, "--pin", folder.argument()];
    assert_refused(&peer.host, &elsewhere, &["another network namespace", "flowml unpin"])?;

    let report = stop(start(&[&metered], &folder, &[])?)?;
    assert_eq!(taken(report.summary()?)?, sent, "nothing was touched");
    start_words.store_u64(0, 8, 99);
    drop((start_words, handover));
    let message = unpin(&metered.host, &folder)?;
    assert!(message.contains("of another version"), "{message}");
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

#[test]
fn interfaces_come_and_go_while_no_agent_runs() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (peer, metered) = (lab.host("peer")?, lab.host("metered")?);
    let mut links = Vec::new();
    for _ in 0..3 {
        links.push(lab.link([&peer, &metered], &LinkOptions::quiet())?);
    }
    let bpffs = Bpffs::mount()?;
    let folder = bpffs.folder();
    let [[from_a, a], [from_b, b], [from_c, c]] = links.try_into().ok().context("three links")?;
    stop(start(&[&a, &b], &folder, &[])?)?;
    let mut sent = send(&from_a, &a, 10)?;
    sent += send(&from_b, &b, 20)?;
    // One interface is removed, one is no longer requested, one is new.
    metered.ip(&["link", "delete", &a.name])?;
    let agent = start(&[&c], &folder, &[])?;
    wait_until(LIMIT, || Ok(Hooks::of(&b)? == Hooks::default()))?;
    let index = c.index()?;
    let of_links = |name: &String| name.starts_with("link_");
    let names: Vec<String> = folder.names().into_iter().filter(of_links).collect();
    assert_eq!(names, [format!("link_native_{index}")]);
    sent += send(&from_c, &c, 30)?;
    let report = stop(agent)?;
    assert_eq!(taken(report.summary()?)?, sent);
    // An interface that is removed while the agent runs takes its pin along.
    let agent = start(&[&b, &c], &folder, &[])?;
    metered.ip(&["link", "delete", &c.name])?;
    wait_until(LIMIT, || Ok(agent.stderr().contains("was removed"))).with_context(|| agent.stderr())?;
    let left = format!("link_native_{index}");
    wait_until(LIMIT, || Ok(!folder.names().contains(&left))).with_context(|| format!("{:?}", folder.names()))?;
    sent += send(&from_b, &b, 40)?;
    assert_eq!(taken(stop(agent)?.summary()?)?, sent);
    Ok(())
}

/// The step of a drain after which the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    BeforeTheCommit,
    BeforeTheClearing,
    WithinTheClearing,
    Afterwards,
}

fn in_flows(drained: &Drained<'_>) -> Count {
    let mut sum = Count::default();
    drained.flows().for_each(|flow| sum.add(flow.counts.packets(), flow.counts.frame_bytes()));
    sum
}

/// Clears half of the tags of an epoch, as an agent does that is killed meanwhile.
fn clear_half(table: &KernelTable, folder: &Folder, epoch: u32) -> Result<()> {
    let (cpus, buckets) = (table.size().cpus, table.size().shape.buckets as usize);
    let map = MapData::from_pin(folder.path().join("tags"))?;
    let mut tags: SharedArray<Bucket> = SharedArray::map(map.fd(), 2 * cpus as usize * buckets)?;
    for cpu in 0..cpus {
        let first = (2 * cpu + epoch) as usize * buckets;
        // SAFETY: the epoch is over, and no thread drains.
        unsafe { tags.fill_zero(first, buckets / 2) };
    }
    Ok(())
}

/// The pinned table, as the next agent opens it.
fn reopen(host: &Host, folder: &Folder) -> Result<(KernelTable, Pins)> {
    host.enter(|| {
        let pins = Pins::open(folder.path())?;
        let table = KernelTable::open(embedded()?, &pins, None, None, None, Boundaries::default(), None)?;
        Ok((table, pins))
    })?
}

#[test]
fn the_next_agent_continues_after_any_step_of_a_drain() -> Result<()> {
    if require_kernel().is_none() {
        return Ok(());
    }
    for ends in [Ends::BeforeTheCommit, Ends::BeforeTheClearing, Ends::WithinTheClearing, Ends::Afterwards] {
        for times in 1..4 {
            let (_guards, [peer, metered], folder) = pinned_pair!();
            let mut table = metered.host.enter(|| kernel_table(None, None))??;
            let mut attached = [attach_ingress(&mut table, &metered, Mode::Native)?];
            let mut pins = keep(Pins::open(folder.path())?, &table, &mut attached)?;
            let mut sent = Sent::default();
            // One to three drains, so that each epoch and each copy of the packet accounting is the last one once.
            for drain in 0..times {
                sent += send(&peer, &metered, 1000)?;
                let drained = table.drain()?;
                let in_flows = in_flows(&drained);
                match ends {
                    Ends::BeforeTheCommit => {}
                    Ends::BeforeTheClearing => mem::forget(drained.commit(in_flows)),
                    Ends::WithinTheClearing => {
                        mem::forget(drained.commit(in_flows));
                        clear_half(&table, &folder, drain & 1)?;
                    }
                    Ends::Afterwards => drop(drained.commit(in_flows)),
                }
                drop((table, pins));
                sent += send(&peer, &metered, 100)?;
                (table, pins) = reopen(&metered.host, &folder)?;
            }
            // The epoch that has ended, and the current one.
            for _ in 0..2 {
                let drained = table.drain()?;
                let in_flows = in_flows(&drained);
                drained.commit(in_flows);
            }
            drop((table, pins));
            (table, pins) = reopen(&metered.host, &folder)?;
            let Account { received, in_flows, skipped, .. } = *table.earlier();
            let expected = Count { packets: sent.packets, bytes: sent.bytes };
            assert_eq!((received, in_flows), (expected, expected), "{ends:?}, {times} times");
            assert_eq!(skipped, [Count::default(); Skipped::COUNT]);
            let removed = pins.remove()?;
            assert_eq!((removed.links, removed.unread), (1, Some(Count::default())));
        }
    }
    Ok(())
}

/// Before Linux 6.6, tc programs are filters without a link.
#[test]
fn programs_without_a_link_are_refused_and_nothing_is_pinned() -> Result<()> {
    if require_kernel().is_none() {
        return Ok(());
    }
    let (_guards, [_, metered], folder) = pinned_pair!();
    let mut table = kernel_table(Some(64), None)?;
    let refused = metered.host.enter(|| -> Result<CaptureError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let found = runtime.block_on(async { Interfaces::read().await?.named(&metered.name) })?;
        let attached = attach_by(&mut table.programs, found, Wanted::Only(Mode::Tc), false, TcHook::Clsact)?;
        let kept = keep(Pins::open(folder.path())?, &table, &mut [attached]);
        kept.err().context("a filter was pinned")
    })??;
    assert!(refused.to_string().contains("no bpf_link before Linux 6.6"), "{refused}");
    assert!(!folder.path().exists() && Hooks::of(&metered)? == Hooks::default(), "{:?}", folder.names());
    Ok(())
}

#[test]
fn incomplete_pins_of_a_killed_agent_are_not_used() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    stop(start(&[&metered], &folder, &[])?)?;
    fs::remove_file(folder.path().join("handover"))?;
    let sent = send(&peer, &metered, 10)?;
    let agent = start(&[&metered], &folder, &[])?;
    assert_eq!(folder.names().len(), 10, "{:?}", folder.names());
    let report = stop(agent)?;
    assert_eq!(taken(report.summary()?)?, Sent::default(), "the new table did not count {sent:?}");
    // Pins of other programs are left alone.
    fs::create_dir(folder.path().join("theirs"))?;
    let command = ["run", "-qq", "-i", &metered.name, "--pin", folder.argument()];
    assert_refused(&metered.host, &command, &["theirs", "for flowml only"])
}

/// A finding of `flowml doctor --pin`, and the exit code.
fn examined(interface: &Interface, folder: &str, check: &str) -> Result<(Option<i32>, Value)> {
    let output = run(&interface.host, &["doctor", "-i", &interface.name, "--pin", folder, "-o", "json=-"])?;
    let examination: Value = serde_json::from_slice(&output.stdout)?;
    let findings = examination["findings"].as_array().context("findings")?;
    let finding = findings.iter().find(|finding| finding["check"] == check).context("no such finding")?;
    Ok((output.status.code(), finding.clone()))
}

#[test]
fn doctor_reports_the_state_of_the_folder_and_changes_nothing() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let elsewhere = tempfile::tempdir()?;
    let (code, finding) = examined(&metered, elsewhere.path().to_str().context("UTF-8")?, "pin")?;
    assert_eq!((code, &finding["severity"]), (Some(1), &"problem".into()), "{finding}");
    let (code, finding) = examined(&metered, folder.argument(), "pin")?;
    assert_eq!((code, &finding["severity"], &finding["value"]), (Some(0), &"ok".into(), &false.into()), "{finding}");
    assert!(!folder.path().exists());

    let agent = start(&[&metered], &folder, &["--xdp-mode", "generic"])?;
    let (code, finding) = examined(&metered, folder.argument(), "pin")?;
    assert_eq!(code, Some(1), "{finding}");
    assert!(finding["message"].as_str().is_some_and(|message| message.contains("another flowml uses")), "{finding}");
    let sent = send(&peer, &metered, 10)?;
    stop(agent)?;
    for (check, value) in [("pin", Value::from(true)), ("mode", "generic".into())] {
        let (code, finding) = examined(&metered, folder.argument(), check)?;
        assert_eq!((code, &finding["severity"], &finding["value"]), (Some(0), &"ok".into(), &value), "{finding}");
    }
    assert_eq!(taken(stop(start(&[&metered], &folder, &[])?)?.summary()?)?, sent);
    Ok(())
}

/// The port of the connection that outlives restarts.
const LASTING_PORT: u16 = 8080;

/// The exchange of the connection in each run, and between runs.
const EXCHANGE: Exchange = Exchange { request: 1000, response: 3000 };

/// Starts an agent with a state file. It meters both directions if that can be pinned.
fn start_with(metered: &Interface, folder: &Folder, state: &Path) -> Result<Agent> {
    let state = state.to_str().context("a path in UTF-8")?;
    start(&[metered], folder, &["--direction", modes_and_direction().1, "--state", state])
}

fn is_lasting(record: &Value) -> bool {
    record["type"] == "flow" && record["dst_port"] == LASTING_PORT
}

/// A connection that an agent has seen and left open.
macro_rules! left_open {
    ($peer:expr, $metered:expr, $folder:expr, $state:expr) => {{
        let server = TcpService::start(&$metered, IpVersion::V4, LASTING_PORT)?;
        let agent = start_with(&$metered, &$folder, $state)?;
        let mut client = TcpClient::connect(&$peer.host, server.address())?;
        client.exchange(EXCHANGE)?;
        let report = stop(agent)?;
        assert!(!report.records.iter().any(is_lasting), "the connection goes on: {:?}", report.records);
        assert_eq!(number(&report.summary()?["left_open"], "sessions")?, 1, "{}", report.summary()?);
        (server, client, report)
    }};
}

#[test]
fn a_connection_that_lives_over_restarts_is_one_record() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let files = tempfile::tempdir()?;
    let state = files.path().join("state");
    let (server, mut client, _) = left_open!(peer, metered, folder, &state);
    for _ in 0..2 {
        // One exchange without an agent, and one with an agent.
        client.exchange(EXCHANGE)?;
        let agent = start_with(&metered, &folder, &state)?;
        assert!(agent.stderr().contains("1 open session with "), "{}", agent.stderr());
        client.exchange(EXCHANGE)?;
        let report = stop(agent)?;
        assert!(!report.records.iter().any(is_lasting), "{:?}", report.records);
        assert_eq!(number(&report.summary()?["earlier"], "packets_unreported")?, 0, "what goes on is not lost");
    }
    let last = start_with(&metered, &folder, &state)?;
    client.exchange(EXCHANGE)?;
    drop(client);
    let flow = last.wait_for(LIMIT, is_lasting).with_context(|| last.stderr())?;
    let report = stop(last)?;
    assert_eq!(report.records.iter().filter(|record| is_lasting(record)).count(), 1);
    let message = server.stop()?;
    let payload =
        ["src2dst_payload_bytes", "dst2src_payload_bytes"].map(|name| number(&flow, name).unwrap_or_default());
    assert_eq!([message.received, message.sent], [6 * u64::from(EXCHANGE.request), 6 * u64::from(EXCHANGE.response)]);
    // With one direction the answers and the FIN of the server are not seen.
    let (sees_answers, end_reason) = match modes_and_direction().1 {
        "both" => (1, "end_of_flow"),
        _ => (0, "idle_timeout"),
    };
    assert_eq!(payload, [message.received, sees_answers * message.sent], "{flow}");
    // No packets but those of this connection are in flows.
    let summary = report.summary()?;
    let in_flows = number(summary, "packets_in_flows")? + number(&summary["earlier"], "packets_in_flows")?;
    assert_eq!(number(&flow, "bidirectional_packets")?, in_flows, "{summary}");
    assert_eq!((&flow["continues"], &flow["end_reason"]), (&false.into(), &end_reason.into()));
    assert_eq!(number(&flow, "bidirectional_syn_packets")?, 1 + sees_answers, "its begin is in it: {flow}");
    assert!(summary["left_open"].is_null(), "{summary}");
    Ok(())
}

#[test]
fn an_open_session_is_reported_once_and_lost_packets_are_counted() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let files = tempfile::tempdir()?;
    let state = files.path().join("state");
    let (_server, client, report) = left_open!(peer, metered, folder, &state);
    let left = number(&report.summary()?["left_open"], "packets")?;
    let before = fs::read(&state)?;
    // The second agent takes the session over, and is killed after it has drained the table. The file no longer
    // contains the session.
    let second = start_with(&metered, &folder, &state)?;
    assert!(second.stderr().contains("1 open session with "), "{}", second.stderr());
    wait_until(LIMIT, || Ok(fs::read(&state).is_ok_and(|now| now != before))).with_context(|| second.stderr())?;
    second.signal(Signal::KILL)?;
    let killed = second.finish(LIMIT)?;
    assert!(!killed.records.iter().any(is_lasting), "{:?}", killed.records);
    // The earlier content of the file is not continued either, because the table was drained since.
    fs::write(&state, &before)?;
    let third = start_with(&metered, &folder, &state)?;
    let words = "another run has drained the flow table since";
    assert!(third.stderr().contains(words), "{}", third.stderr());
    drop(client);
    let report = stop(third)?;
    let summary = report.summary()?;
    let lost = number(&summary["earlier"], "packets_unreported")?;
    let in_rows: u64 = report.of_type("flow").filter_map(|flow| flow["bidirectional_packets"].as_u64()).sum();
    let kept = summary["left_open"]["packets"].as_u64().unwrap_or_default();
    assert!(lost >= left, "{lost} of at least {left}: {summary}");
    assert_eq!(in_rows + kept, number(summary, "packets_in_flows")?, "{summary}");
    Ok(())
}

#[test]
fn an_unusable_state_file_is_reported_and_nothing_else_is_lost() -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let files = tempfile::tempdir()?;
    let state = files.path().join("state");
    let (_server, mut client, report) = left_open!(peer, metered, folder, &state);
    let left = number(&report.summary()?["left_open"], "packets")?;
    let whole = fs::read(&state)?;
    let damaged = whole[..whole.len() - 3].to_vec();
    let later = [b"flowml state 99", &whole[b"flowml state 1".len()..]].concat();
    for (bytes, words) in
        [(damaged, "it is damaged"), (later, "it has layout 99"), (b"PAR1".to_vec(), "the file is not changed")]
    {
        fs::write(&state, &bytes)?;
        client.exchange(EXCHANGE)?;
        let agent = start_with(&metered, &folder, &state)?;
        assert!(agent.stderr().contains(words), "no {words:?} in {}", agent.stderr());
        let report = stop(agent)?;
        let summary = report.summary()?;
        assert!(number(&summary["earlier"], "packets_unreported")? >= left, "{summary}");
        assert_eq!(summary["left_open"].is_null(), bytes == b"PAR1", "{summary}");
    }
    assert_eq!(fs::read(&state)?, b"PAR1", "it is somebody else's");
    // A run with `--state` needs a pinned table.
    let command = ["run", "-i", &metered.name, "--state", "state"];
    let output = run(&metered.host, &command)?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--pin"), "{output:?}");
    Ok(())
}

/// Leaves this many open sessions of one packet each to a second run, and checks that each packet is in the state file,
/// in a row, or counted as lost.
fn leave_many(flows: u32) -> Result<()> {
    let (_guards, [peer, metered], folder) = pinned_pair!();
    let files = tempfile::tempdir()?;
    let state = files.path().join("state");
    let named = state.to_str().context("a path in UTF-8")?;
    let arguments = ["-q", "--idle-timeout", "1h", "--active-timeout", "2h", "--memory-max", "4GiB", "--state", named];
    let first = start(&[&metered], &folder, &arguments)?;
    let before = metered.counters()?.rx_packets;
    let spray = FlowSpray::unanswered(&metered, flows, u64::from(flows));
    let sent = FrameSender::open(&peer)?.spray(&spray, Rate::PerSecond(50_000))?;
    wait_until(LIMIT, || Ok(metered.counters()?.rx_packets - before == sent.packets)).context("the frames")?;
    let begun = Instant::now();
    let report = first.stop(Signal::TERM)?;
    let took = begun.elapsed();
    let summary = report.summary()?;
    // The number that can be written in time depends on the machine.
    let left = summary["left_open"]["packets"].as_u64().unwrap_or(0);
    eprintln!("the end took {took:?}: {left} packets in {} bytes", fs::metadata(&state)?.len());
    assert_eq!((&summary["conserved"], number(summary, "packets_in_flows")?), (&true.into(), sent.packets));
    // A row of these has one packet. Lost rows count as rows.
    let rows = number(summary, "flows")? + number(summary, "packets_aggregated")?;
    assert_eq!(left + rows, sent.packets, "{summary}");
    let lost: u64 =
        summary["losses"].as_array().into_iter().flatten().map(|loss| number(loss, "rows_lost")).sum::<Result<_>>()?;
    assert_eq!(report.code, Some(i32::from(lost > 0)), "{}", report.stderr);
    let names: Vec<_> = fs::read_dir(files.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(names, ["state"], "no part of a file is left");
    let second = start(&[&metered], &folder, &arguments)?;
    let report = second.stop(Signal::TERM)?;
    let next = report.summary()?;
    assert_eq!((&next["conserved"], &next["taken_over"]), (&true.into(), &summary["left_open"]), "{next}");
    Ok(())
}

#[test]
fn of_more_open_sessions_than_can_be_saved_each_is_in_the_file_in_a_row_or_counted() -> Result<()> {
    leave_many(150_000)
}

#[test]
#[ignore = "it takes a minute and 3 GiB of memory: cargo xtask test --long"]
fn a_million_open_sessions_are_in_the_file_in_a_row_or_counted() -> Result<()> {
    leave_many(1_000_000)
}
