//! Switches the terminal to the UI, and restores it.

use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use crate::ui::outward::Outward;

/// Whether the UI is on the terminal of this process. A panic on any thread closes the UI first, so that the message of
/// the panic is visible.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Maximum size of queued output, bytes. While more is queued, drawings are skipped.
const FRAMES: usize = 64 << 10;

static HOOK: Once = Once::new();

/// The UI on the terminal of standard error. Dropping it restores the terminal.
pub(super) struct Guard(());

impl Guard {
    /// Switches to raw mode and to the alternate screen.
    pub(super) fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                leave();
                previous(panic);
            }));
        });
        enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        let guard = Self(());
        execute!(Outward::standard_error(), EnterAlternateScreen, Hide)?;
        Ok(guard)
    }

    /// Whether the UI is still on the terminal.
    pub(super) fn is_up() -> bool {
        ENTERED.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether the terminal has not accepted the previous drawings yet.
pub(super) fn is_behind() -> bool {
    Outward::standard_error().waiting() > FRAMES
}

/// Restores the terminal. Errors are ignored, because a closed terminal need not be restored.
pub(super) fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(Outward::standard_error(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Standard error while the UI is on it. Later drawings are discarded, as they would disturb other output.
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

    /// Does not wait for the terminal.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
