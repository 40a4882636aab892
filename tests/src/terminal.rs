//! A terminal with a shell in a host, by tmux: sends keys, and reads the screen.

use std::ffi::OsStr;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Host, wait_until};

/// The prompt of the shell.
const PROMPT: &str = "ready$ ";

/// Longest time for the shell to start on a busy machine.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// A terminal. It ends, with the shell and its programs, when it is dropped or when its host is removed.
#[derive(Debug)]
pub struct Terminal {
    host: Host,
    /// The name of the tmux server, which has only this terminal.
    server: String,
}

impl Terminal {
    /// Opens a terminal with this number of columns and lines.
    pub fn open(host: &Host, columns: u16, lines: u16) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = format!("flowml-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let terminal = Self { host: host.clone(), server };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let prompt = format!("PS1={PROMPT}");
        let shell = ["env", "-u", "NO_COLOR", "ENV=", &prompt, "sh"];
        terminal.tmux(&[&["new-session", "-d", "-x", &columns, "-y", &lines][..], &shell].concat())?;
        terminal.wait_for("a prompt", BEGIN_LIMIT, |screen| screen.ends_with(PROMPT.trim_end()))?;
        Ok(terminal)
    }

    /// Presses keys by tmux's names: `Enter`, `Escape`, `Tab`, `C-c`, `a`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Types a text without interpretation.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Clears the screen and gives the shell a command.
    pub fn command(&self, command: &str) -> Result<()> {
        self.type_text(&format!("clear; {command}"))?;
        self.press(&["Enter"])
    }

    /// Gives the shell a command, and returns the screen after its end.
    pub fn run(&self, command: &str, limit: Duration) -> Result<String> {
        self.command(&format!("{command}; echo over: $?"))?;
        self.wait_over(limit)
    }

    /// Waits for the end of a command line that prints `over: ` last, as [`Self::run`] does.
    pub fn wait_over(&self, limit: Duration) -> Result<String> {
        let is_over =
            |screen: &str| screen.ends_with(PROMPT.trim_end()) && screen.lines().any(|line| line.starts_with("over: "));
        self.wait_for("the end of the command", limit, is_over)
    }

    /// The lines of the screen, without trailing spaces.
    pub fn screen(&self) -> Result<String> {
        let output = self.tmux(&["capture-pane", "-p"])?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// The lines of the screen with colour sequences.
    pub fn coloured_screen(&self) -> Result<String> {
        let output = self.tmux(&["capture-pane", "-p", "-e"])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until the screen satisfies `wanted`, and returns it.
    pub fn wait_for(&self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut screen = String::new();
        let found = wait_until(limit, || {
            screen = self.screen()?;
            Ok(wanted(&screen))
        });
        found.with_context(|| format!("waiting for {what}; the screen is:\n{screen}"))?;
        Ok(screen)
    }

    /// Resizes the terminal.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]).map(drop)
    }

    /// Whether the alternate screen is active, and whether the cursor is visible.
    pub fn modes(&self) -> Result<(bool, bool)> {
        let output = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (alternate, cursor) = text.split_once(' ').with_context(|| format!("tmux printed {text}"))?;
        Ok((alternate == "1", cursor == "1"))
    }

    fn tmux<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        let own = ["tmux", "-u", "-f", "/dev/null", "-L", &self.server].map(OsStr::new);
        let output = self.host.run(own.into_iter().chain(arguments.iter().map(AsRef::as_ref)))?;
        ensure!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.tmux(&["kill-server"]) {
            eprintln!("the terminal {} could not be closed: {error:#}", self.server);
        }
    }
}
