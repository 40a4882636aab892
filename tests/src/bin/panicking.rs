//! Panics while the terminal UI is active, for the test that a panic restores the terminal.
//!
//! The modules of the agent have tests of their own, which run with the agent. So a build for tests is empty.

#[cfg(not(test))]
#[path = "../../../flowml-user/src/bin/flowml/args/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only the verbosity is used")]
mod args;
#[cfg(not(test))]
#[path = "../../../flowml-user/src/bin/flowml/console.rs"]
mod console;
#[cfg(not(test))]
#[path = "../../../flowml-user/src/bin/flowml/tui/mod.rs"]
#[expect(dead_code, reason = "nobody presses a key")]
mod tui;
#[cfg(not(test))]
#[path = "../../../flowml-user/src/bin/flowml/ui/mod.rs"]
#[expect(dead_code, reason = "there is no progress")]
mod ui;

#[cfg(not(test))]
fn main() -> anyhow::Result<()> {
    use std::io::{self, IsTerminal};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;

    use anyhow::{Context, ensure};
    use flowml_user::export::{Began, Pace, Sinks};
    use flowml_user::features::FlowColumns;

    use self::args::Verbosity;
    use self::console::Console;

    ensure!(io::stderr().is_terminal(), "a terminal");
    let (_keys, events) = channel();
    let console = Console::on_standard_error(Verbosity::Tables).with_screen(events);
    let mut sinks = Sinks::open(&[], FlowColumns::Headers, Pace::Live)?.observed_by(console);
    sinks.begin(&Began { interfaces: Vec::new(), entries: 0, cpus: 0 }).map_err(anyhow::Error::from_boxed)?;
    let modes = Command::new("stty").arg("-a").stdin(Stdio::inherit()).output().context("asking stty")?;
    let is_raw = String::from_utf8_lossy(&modes.stdout).contains("-icanon");
    panic!("this is the panic of a test; the screen was up: {is_raw}");
}
