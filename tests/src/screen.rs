//! What programs of the laboratory show while they run: lines that stay, one that changes, and how they are stopped.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Columns of the output.
const WIDTH: usize = 80;

/// Set by SIGINT and SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// SIGINT and SIGTERM are taken note of from now on, and what was made can be undone in order. They are handled and not
/// blocked, for a blocked signal stays so in the processes that the program starts, and the agent would not hear it.
pub fn watch_signals() -> Result<()> {
    extern "C" fn interrupt(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which may be done in a signal handler.
        let before = unsafe { libc::signal(signal, handler) };
        ensure!(before != libc::SIG_ERR, "signal {signal} cannot be handled: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// Whether such a signal has come.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once such a signal has come.
pub fn ensure_not_interrupted() -> Result<()> {
    ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// Standard output: lines that stay, and on a terminal one that changes.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    begun: Instant,
}

impl Screen {
    /// A screen whose clock begins now.
    #[expect(clippy::new_without_default, reason = "what begins now has no default")]
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), begun: Instant::now() }
    }

    /// The time since the begin.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A line that the next replaces. Only for a terminal.
    pub fn progress(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[K{}  {text}", clock(self.elapsed()));
            let _ = std::io::stdout().flush();
        }
    }

    /// Takes such a line away.
    pub fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }

    /// A line with the time.
    pub fn event(&self, text: &str) {
        self.line(&format!("{}  {text}", clock(self.elapsed())));
    }

    /// A line.
    pub fn line(&self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Text in lines of 80 columns at most, indented.
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

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// A name without underscores.
pub fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Text that stands out.
pub fn bold(text: &str) -> String {
    styled("1", text)
}

/// Text that warns.
pub fn red(text: &str) -> String {
    styled("31", text)
}

/// Only on a terminal, and not where `NO_COLOR` is set (no-color.org).
fn styled(style: &str, text: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\x1b[{style}m{text}\x1b[0m") }
}
