//! The terminal while a screen is on it, and as it was before.

use std::io::{self, Stderr, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// Whether a screen is on the terminal, of which a process has one. A panic leaves the screen whatever thread it is in:
/// what is told of it must be seen.
static ENTERED: AtomicBool = AtomicBool::new(false);

static HOOK: Once = Once::new();

/// A screen on the terminal of standard error. Dropping it leaves the terminal as it was.
pub(super) struct Guard(());

impl Guard {
    /// Takes the terminal: keys come one by one, and what was on it comes back later.
    pub(super) fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let told = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                leave();
                told(panic);
            }));
        });
        enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        let guard = Self(());
        execute!(io::stderr(), EnterAlternateScreen, Hide)?;
        Ok(guard)
    }

    /// Whether the screen is still there.
    pub(super) fn is_up() -> bool {
        ENTERED.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

/// Where the terminal has gone there is nothing to give back.
pub(super) fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Standard error, as long as the screen is there: what is drawn later would be in the way.
pub(super) struct Surface(Stderr);

impl Surface {
    pub(super) fn new() -> Self {
        Self(io::stderr())
    }
}

impl Write for Surface {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Guard::is_up() { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
