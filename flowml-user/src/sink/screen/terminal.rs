//! The terminal while a screen is on it, and as it was before.

use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use super::super::outward::Outward;

/// Whether a screen is on the terminal, of which a process has one. A panic leaves the screen whatever thread it is in:
/// what is told of it must be seen.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Drawings that wait for the terminal may take so many bytes before one is left out.
const FRAMES: usize = 64 << 10;

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
        execute!(Outward::standard_error(), EnterAlternateScreen, Hide)?;
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

/// Whether the terminal has not taken yet what was drawn before.
pub(super) fn is_behind() -> bool {
    Outward::standard_error().waiting() > FRAMES
}

/// Where the terminal has gone there is nothing to give back.
pub(super) fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(Outward::standard_error(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Standard error, as long as the screen is there: what is drawn later would be in the way.
pub(super) struct Surface(Outward);

impl Surface {
    pub(super) fn new() -> Self {
        Self(Outward::standard_error())
    }
}

impl Write for Surface {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Guard::is_up() { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    /// What was drawn is on its way: nobody waits for a terminal.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
