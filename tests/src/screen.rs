//! Terminal output of the laboratory's programs: lines that stay, one progress line, and the handling of signals.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Width of the output in columns.
const WIDTH: usize = 80;

/// Set by SIGINT and SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Handles SIGINT and SIGTERM from now on, so that the program can clean up. The signals are not blocked: child
/// processes would inherit the blocked signals, and the agent would not receive them.
pub fn watch_signals() -> Result<()> {
    extern "C" fn interrupt(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        let before = unsafe { libc::signal(signal, handler) };
        ensure!(before != libc::SIG_ERR, "signal {signal} cannot be handled: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// Whether SIGINT or SIGTERM was received.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails after SIGINT or SIGTERM.
pub fn ensure_not_interrupted() -> Result<()> {
    ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// Standard output: lines that stay, and on a terminal one progress line.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    begun: Instant,
}

impl Screen {
    /// A screen whose clock starts now.
    #[expect(clippy::new_without_default, reason = "a default must not depend on the clock")]
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), begun: Instant::now() }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Shows a line that the next one replaces. Only on a terminal.
    pub fn progress(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[K{}  {text}", clock(self.elapsed()));
            let _ = std::io::stdout().flush();
        }
    }

    /// Removes the progress line.
    pub fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }

    /// Prints a line with the time.
    pub fn event(&self, text: &str) {
        self.line(&format!("{}  {text}", clock(self.elapsed())));
    }

    /// Prints a line.
    pub fn line(&self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Prints text in lines of at most 80 columns, indented.
    pub fn text(&self, indent: usize, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&format!("{:indent$}{line}", ""));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&format!("{:indent$}{line}", ""));
    }
}

/// A duration in minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// A name with spaces instead of underscores.
pub fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Text in bold.
pub fn bold(text: &str) -> String {
    styled("1", text)
}

/// Text in red.
pub fn red(text: &str) -> String {
    styled("31", text)
}

/// Only on a terminal, and only if `NO_COLOR` is not set (no-color.org).
fn styled(style: &str, text: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\x1b[{style}m{text}\x1b[0m") }
}
