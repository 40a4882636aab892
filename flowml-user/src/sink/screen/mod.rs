//! The screen of `flowml run --tui`: what the tables show, to look around in by keys.
//!
//! What is looked at and what keys do to it is plain data ([`state`]), what it looks like is text for a size ([`draw`]); the
//! terminal comes after both.

mod detail;
mod draw;
mod keys;
mod rows;
mod seen;
mod state;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use crossterm::event::EventStream;
use futures_util::StreamExt;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

pub use crossterm::event::Event;

use self::draw::Theme;
use self::seen::Message;
use self::state::{Reaction, State};
use self::terminal::{Guard, Surface};
use super::view::View;

/// Whether all is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Notice,
    Warning,
}

/// Warnings that are told again when the screen has gone: the first, which may be why the others came.
const MOST_WARNINGS: usize = 100;

/// A screen on the terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Surface>>>,
    /// Behind the terminal, which shows the cursor again when it is dropped.
    guard: Guard,
    theme: Theme,
    state: State,
    warnings: Vec<String>,
    /// Those beyond the first.
    more_warnings: u64,
}

impl Screen {
    pub(super) fn enter(colours: bool) -> io::Result<Self> {
        let guard = Guard::enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(Surface::new())))?;
        let (theme, state) = (Theme { colours }, State::default());
        let mut screen = Self { terminal, guard, theme, state, warnings: Vec::new(), more_warnings: 0 };
        screen.draw()?;
        Ok(screen)
    }

    /// Whether it can still be seen: a panic ends it, and so does a terminal that goes.
    pub(super) fn is_up(&self) -> bool {
        Guard::is_up()
    }

    /// Shows what came.
    pub(super) fn show(&mut self, view: View) {
        self.state.push(view);
        self.draw_if_possible();
    }

    pub(super) fn message(&mut self, tone: Tone, text: &str) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.state.message(Message { at_ms, tone, text: text.to_owned() });
        match tone {
            Tone::Notice => {}
            Tone::Warning if self.warnings.len() < MOST_WARNINGS => self.warnings.push(text.to_owned()),
            Tone::Warning => self.more_warnings += 1,
        }
        self.draw_if_possible();
    }

    /// Breaks where people ask for the end of the run.
    pub(super) fn event(&mut self, event: &Event) -> ControlFlow<()> {
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

    /// Leaves the terminal as it was, and gives the warnings that were told on the screen.
    pub(super) fn leave(self) -> Vec<String> {
        let Self { terminal, guard, mut warnings, more_warnings, .. } = self;
        drop(terminal);
        drop(guard);
        if more_warnings > 0 {
            warnings.push(format!("and {more_warnings} more warnings"));
        }
        warnings
    }

    /// Where the terminal has gone there is nobody to be shown anything: metering goes on.
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
        // Where the size has changed since the last time, `draw` adapts to it.
        self.terminal.draw(|frame| {
            let (page, lines) = draw::room(state, frame.area().as_size(), theme);
            state.fit(page, lines);
            draw::draw(frame, state, theme);
        })?;
        Ok(())
    }
}

/// Keys and sizes, as they come from the terminal.
pub struct Events {
    stream: Option<EventStream>,
}

impl Events {
    /// Those of the terminal, if there is a screen on it.
    #[must_use]
    pub fn of_screen(is_shown: bool) -> Self {
        Self { stream: is_shown.then(EventStream::new) }
    }

    /// The next one; none comes any more from a terminal that has gone.
    pub async fn next(&mut self) -> Event {
        loop {
            match &mut self.stream {
                None => std::future::pending::<()>().await,
                Some(stream) => match stream.next().await {
                    Some(Ok(event)) => return event,
                    Some(Err(_)) | None => self.stream = None,
                },
            }
        }
    }
}
