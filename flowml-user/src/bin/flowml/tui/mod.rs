//! The terminal UI of `flowml run --tui`.
//!
//! [`state`] holds what is shown and how keys change it, without a terminal. [`draw`] makes text of it for a size. The
//! terminal comes after both.

mod detail;
mod draw;
mod id;
mod keys;
mod kinds;
mod panel;
mod row;
mod seen;
mod state;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;

use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crossterm::event::EventStream;
use flowml_user::process::unix_time::now_ms;
use futures_util::StreamExt;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use crossterm::event::Event;

pub(crate) use self::seen::Tone;

use self::seen::Message;
use self::state::{Reaction, ScreenState};
use self::terminal::{Guard, Surface};
use self::theme::Theme;
use crate::ui::view::View;

/// Maximum number of warnings repeated after the UI has closed. The first ones are kept, as they may be the cause of
/// the others.
const MOST_WARNINGS: usize = 100;

/// The terminal UI on its terminal.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Surface>>>,
    /// Dropped after `terminal`, which shows the cursor again when it is dropped.
    guard: Guard,
    theme: Theme,
    state: ScreenState,
    warnings: Vec<String>,
    /// Number of further warnings.
    more_warnings: u64,
}

impl Screen {
    pub(crate) fn enter(colours: bool) -> io::Result<Self> {
        let guard = Guard::enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(Surface::new())))?;
        let (theme, state) = (Theme { colours }, ScreenState::default());
        let mut screen = Self { terminal, guard, theme, state, warnings: Vec::new(), more_warnings: 0 };
        screen.draw()?;
        Ok(screen)
    }

    /// Whether the UI is still visible. A panic or the loss of the terminal closes it.
    pub(crate) fn is_up(&self) -> bool {
        Guard::is_up()
    }

    /// Shows a new view.
    pub(crate) fn show(&mut self, view: View) {
        self.state.push(view);
        self.draw_if_possible();
    }

    pub(crate) fn message(&mut self, tone: Tone, text: &str) {
        self.state.message(Message { at_ms: now_ms(), tone, text: text.to_owned() });
        match tone {
            Tone::Notice => {}
            Tone::Warning if self.warnings.len() < MOST_WARNINGS => self.warnings.push(text.to_owned()),
            Tone::Warning => self.more_warnings += 1,
        }
        self.draw_if_possible();
    }

    /// Handles a key or a new size. Breaks if the user ends the run.
    pub(crate) fn event(&mut self, event: &Event) -> ControlFlow<()> {
        let reaction = match event {
            Event::Key(key) => self.state.key(*key),
            Event::Resize(..) => Reaction::Draw,
            _ => Reaction::Nothing,
        };
        match reaction {
            Reaction::Nothing => {}
            Reaction::Draw => self.draw_if_possible(),
            Reaction::Quit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Restores the terminal, and returns the warnings that were shown.
    pub(crate) fn leave(self) -> Vec<String> {
        let Self { terminal, guard, mut warnings, more_warnings, .. } = self;
        drop(terminal);
        drop(guard);
        if more_warnings > 0 {
            warnings.push(format!("and {more_warnings} more warnings"));
        }
        warnings
    }

    /// Redraws, and ignores errors: metering continues without the terminal.
    fn draw_if_possible(&mut self) {
        if self.draw().is_err() {
            terminal::leave();
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        if !self.is_up() || terminal::is_behind() {
            return Ok(());
        }
        let (state, theme) = (&mut self.state, self.theme);
        // `draw` adapts to a size that has changed since the last time.
        self.terminal.draw(|frame| {
            let (page, lines) = draw::room(state, frame.area().as_size(), theme);
            state.fit(page, lines);
            draw::draw(frame, state, theme);
        })?;
        Ok(())
    }
}

/// Passes events of the terminal, which are keys and sizes, to its UI, and wakes the run for each. Ends when the
/// returned set is dropped, or when the terminal was closed.
#[must_use]
pub(crate) fn forward(to: Sender<Event>, wakes: Arc<Notify>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut events = EventStream::new();
        while let Some(Ok(event)) = events.next().await {
            // Nobody receives events after the UI was closed.
            if to.send(event).is_err() {
                return;
            }
            wakes.notify_one();
        }
    });
    tasks
}
