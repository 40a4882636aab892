//! The terminal UI of `flowml run --tui` in a real terminal: keys, screens, and the restored terminal at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::binary;
use flowml_tests::lab::{Interface, Lab, LinkOptions, require_lab};
use flowml_tests::scenario::Town;
use flowml_tests::terminal::Terminal;
use flowml_tests::traffic::attack::{Scene, port_scan};
use flowml_tests::traffic::background::Habits;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest time for the screen to show something on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A few intervals.
const AWHILE: Duration = Duration::from_millis(2500);

/// A folder for the output of commands.
struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir().context("making a folder")?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The settings of the shell's terminal.
    fn modes(&self, terminal: &Terminal, name: &str) -> Result<String> {
        terminal.run(&format!("stty -a >{}", self.path(name).display()), LIMIT)?;
        fs::read_to_string(self.path(name)).context("reading the output of stty")
    }
}

/// A terminal whose settings must be the same at the end.
struct Kept {
    terminal: Terminal,
    folder: Folder,
    before: String,
}

impl Kept {
    fn new(terminal: Terminal) -> Result<Self> {
        let folder = Folder::new()?;
        let before = folder.modes(&terminal, "before")?;
        ensure!(before.contains(" icanon") && before.contains(" echo "), "{before}");
        Ok(Self { terminal, folder, before })
    }

    /// Checks that the terminal has its earlier settings, and that the main screen is shown.
    fn assert_as_before(&self) -> Result<()> {
        assert_eq!(self.terminal.modes()?, (false, true), "alternate screen, cursor");
        assert_eq!(self.folder.modes(&self.terminal, "after")?, self.before);
        Ok(())
    }
}

fn agent() -> Result<String> {
    Ok(binary()?.canonicalize()?.display().to_string())
}

/// The lines of the panel with this heading, which is the first line.
fn panel<'a>(screen: &'a str, heading: &str) -> Vec<&'a str> {
    let is_heading = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.len() == 1 && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut lines = screen.lines().skip_while(|line| !(is_heading(line) && line.contains(heading)));
    let first = lines.next();
    first.into_iter().chain(lines.take_while(|line| !is_heading(line) && !line.is_empty())).collect()
}

#[test]
fn keys_reach_every_view_and_quit() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let town = Town::build(lab)?;
    let _background = town.live(Habits { seed: 3, duration: Duration::from_secs(600), pace: 1.0 })?;
    let kept = Kept::new(Terminal::open(&town.server.host, 80, 24)?)?;
    let Kept { terminal, .. } = &kept;
    terminal.command(&format!(
        "{} run -i {} --tui --direction both --seed 1; echo over: $?",
        agent()?,
        town.server.name
    ))?;

    // The server is the busiest host, and one of its clients has a flow with it.
    let server = town.server.v4.to_string();
    let shows_all = |screen: &str| {
        panel(screen, "HOSTS").get(1).is_some_and(|line| line.contains(&server))
            && panel(screen, "FLOWS").len() > 3
            && screen.contains("packets/s")
            && panel(screen, "CLUSTERS").get(1).is_some_and(|line| line.contains('%'))
    };
    let screen = terminal.wait_for("flows, hosts and clusters", LIMIT, shows_all)?;
    ensure!(screen.contains("BIT/S▾") && screen.contains("skipped of ") && screen.contains("q quit"), "{screen}");
    assert_eq!(terminal.modes()?, (true, false));

    terminal.press(&["3", "s"])?;
    terminal.wait_for("another order", LIMIT, |screen| panel(screen, "HOSTS")[0].contains("CLUSTER▾"))?;
    terminal.press(&["r"])?;
    terminal.wait_for("its reverse", LIMIT, |screen| panel(screen, "HOSTS")[0].contains("CLUSTER▴"))?;

    // The filter applies to all panels.
    let client = town.clients[0].v4.to_string();
    terminal.press(&["2", "/"])?;
    terminal.type_text(&format!("{client}:"))?;
    terminal.press(&["Enter"])?;
    let is_filtered = |screen: &str| {
        let flows = panel(screen, "FLOWS");
        flows[0].contains(" of ")
            && flows.len() > 1
            && flows[1..].iter().all(|line| line.contains(&client))
            && panel(screen, "HOSTS")[1].contains("no row matches")
    };
    terminal.wait_for("the flows of one client", LIMIT, is_filtered)?;

    terminal.press(&["p"])?;
    let paused = terminal.wait_for("a pause", LIMIT, |screen| screen.contains("PAUSED"))?;
    thread::sleep(AWHILE);
    assert_eq!(terminal.screen()?, paused, "nothing changes while it is paused");
    terminal.press(&["Enter"])?;
    let detail = terminal.wait_for("the detail of a flow", LIMIT, |screen| screen.contains("\nflow  "))?;
    for label in ["sent ", "received ", "verdict ", "hosts ", &client, &server] {
        ensure!(detail.contains(label), "no {label} in\n{detail}");
    }
    terminal.press(&["p", "Escape"])?;
    terminal.wait_for("the panels", LIMIT, |screen| panel(screen, "FLOWS").len() > 1 && !screen.contains("PAUSED"))?;
    terminal.press(&["Escape"])?;
    terminal.wait_for("all flows", LIMIT, |screen| !panel(screen, "FLOWS")[0].contains(" of "))?;

    for (columns, lines) in [(60, 20), (120, 40), (30, 5), (80, 24)] {
        terminal.resize(columns, lines)?;
        let is_whole = |screen: &str| {
            let all: Vec<&str> = screen.lines().collect();
            let fits = all.len() <= lines.into() && all.iter().all(|line| line.chars().count() <= columns.into());
            // The last line lists the keys.
            let whole =
                all.len() == usize::from(lines) && screen.contains("HOSTS") && all[all.len() - 1].contains("q quit");
            fits && if columns < 40 { screen.contains("too small") } else { whole }
        };
        terminal.wait_for(&format!("a screen of {columns}x{lines}"), LIMIT, is_whole)?;
    }

    let scanner = &town.strangers[0];
    port_scan(Scene { attacker: scanner, victim: &town.server, seed: 7 }, 2000, 1000)?;
    let scanner = scanner.v4.to_string();
    let is_told = |screen: &str| {
        let anomalies = panel(screen, "ANOMALIES");
        anomalies
            .windows(2)
            .any(|lines| lines[0].contains("incident") && lines[0].contains(&scanner) && lines[1].contains("scanned"))
    };
    terminal.press(&["1"])?;
    let screen = terminal.wait_for("the scan", LIMIT, is_told)?;
    eprintln!("{screen}");
    // Other hosts may be unusual by now.
    terminal.press(&["/"])?;
    terminal.type_text(&scanner)?;
    terminal.press(&["Enter", "Enter"])?;
    let detail = terminal.wait_for("the detail of the scan", LIMIT, |screen| screen.contains("\nincident  "))?;
    eprintln!("{detail}");
    let words = detail.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in
        [format!("sources 1 host: {scanner}"), server, "kind port_scan (ATT&CK T1046)".to_owned(), "UTC, ".to_owned()]
    {
        ensure!(words.contains(&part), "no {part} in\n{detail}");
    }

    terminal.press(&["q"])?;
    let end = terminal.wait_over(LIMIT)?;
    ensure!(end.contains("packets: received ") && end.contains("\nover: 0"), "{end}");
    // Messages from before the terminal UI are on the restored terminal.
    ensure!(end.contains(&format!("flowml: metering {} by", town.server.name)), "{end}");
    kept.assert_as_before()
}

/// A terminal on a host that only has a link, and the other end of that link.
fn quiet_host(lab: &Lab) -> Result<(Kept, Interface)> {
    let host = lab.host("quiet")?;
    let [_, other] = lab.link([&host, &lab.host("other")?], &LinkOptions::quiet())?;
    Ok((Kept::new(Terminal::open(&host, 80, 24)?)?, other))
}

#[test]
fn every_end_restores_the_terminal() -> Result<()> {
    /// The ways to end a run.
    enum End {
        Keys(&'static [&'static str]),
        Signal(Signal),
        Time,
    }
    let Some(lab) = require_lab() else { return Ok(()) };
    let (kept, _) = quiet_host(&lab)?;
    let Kept { terminal, folder, .. } = &kept;
    let file = folder.path("id");
    for end in [
        End::Keys(&["Escape"]),
        End::Keys(&["C-c"]),
        End::Keys(&["/", "x", "C-c"]),
        End::Signal(Signal::INT),
        End::Signal(Signal::TERM),
        End::Signal(Signal::HUP),
        End::Time,
    ] {
        let time = if matches!(end, End::Time) { "--duration 3s" } else { "" };
        let run = format!("exec {} run -i eth0 --tui {time}", agent()?);
        terminal.command(&format!("sh -c 'echo $$ >{}; {run}'; echo over: $?", file.display()))?;
        let shown = |screen: &str| screen.contains("skipped of ") && screen.contains("none in the last interval");
        terminal.wait_for("the screen", LIMIT, shown)?;
        match end {
            End::Keys(keys) => terminal.press(keys)?,
            End::Signal(signal) => kill_process(id(&file)?, signal).context("sending a signal")?,
            End::Time => {}
        }
        let screen = terminal.wait_over(LIMIT)?;
        ensure!(screen.contains("packets: received ") && screen.ends_with("over: 0\nready$"), "{screen}");
        kept.assert_as_before()?;
    }
    Ok(())
}

fn id(file: &Path) -> Result<Pid> {
    let text = fs::read_to_string(file)?;
    Pid::from_raw(text.trim().parse()?).context("a process id")
}

#[test]
fn errors_are_printed_on_the_restored_terminal() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (kept, other) = quiet_host(&lab)?;
    let Kept { terminal, .. } = &kept;
    let agent = agent()?;
    for (command, message) in [
        ("run -i nowhere --tui", "over: 1"),
        ("run -i eth0 --tui >/dev/null", "standard output is not one"),
        ("run -i eth0 --tui 2>&1 | cat", "standard output is not one"),
        ("run -i eth0 --tui -q", "cannot be used with"),
        ("run -i eth0 --tui -o jsonl=-", "records on standard output"),
    ] {
        let screen = terminal.run(&format!("{agent} {command}"), LIMIT)?;
        ensure!(screen.contains(message) && screen.starts_with("flowml: "), "{command}:\n{screen}");
        kept.assert_as_before()?;
    }
    let screen = terminal.run(&format!("{agent} run -i eth0 --tui 2>/dev/null"), LIMIT)?;
    ensure!(screen.contains("over: 2"), "{screen}");
    kept.assert_as_before()?;

    // An error during the run is shown in the terminal UI, in colour unless `NO_COLOR` is set, and printed at the end.
    for (environment, is_coloured) in [("", true), ("NO_COLOR=1 ", false)] {
        terminal.command(&format!("{environment}{agent} run -i eth0 --tui -o jsonl=/dev/full; echo over: $?"))?;
        terminal.wait_for("the screen", LIMIT, |screen| screen.contains("none in the last interval"))?;
        // Makes traffic, so that there is a row.
        other.host.run_ok(["ping", "-n", "-c2", "-i0.1", "-W10", "10.77.1.1"])?;
        terminal.wait_for("the warning", LIMIT, |screen| screen.contains("cannot write to /dev/full"))?;
        let screen = terminal.coloured_screen()?;
        // ITU-T T.416 §13.1.8: the second colour of the palette, which is red.
        assert_eq!(screen.contains("\u{1b}[38;5;1m"), is_coloured, "{screen}");
        terminal.press(&["q"])?;
        let screen = terminal.wait_over(LIMIT)?;
        ensure!(screen.contains("flowml: cannot write to /dev/full: ") && screen.contains("over: 1"), "{screen}");
        kept.assert_as_before()?;
    }
    Ok(())
}

/// Panics while a terminal UI is active.
const PANICKING: &str = env!("CARGO_BIN_EXE_panicking");

const WORDS: &str = "this is the panic of a test";

#[test]
fn a_panic_restores_the_terminal() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let (kept, _) = quiet_host(&lab)?;
    // Without a backtrace, which would push the message off the screen.
    let command = format!("RUST_BACKTRACE=0 {PANICKING}");
    let screen = kept.terminal.run(&command, LIMIT)?;
    ensure!(screen.contains(WORDS) && screen.contains("over: 101"), "{screen}");
    // The terminal UI was active before the panic.
    ensure!(screen.contains("the screen was up: true"), "{screen}");
    kept.assert_as_before()
}
