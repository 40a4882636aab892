//! The styles of the terminal UI.

use ratatui::style::{Color, Modifier, Style};

use super::seen::Tone;

/// The styles, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) colours: bool,
}

impl Theme {
    pub(super) const fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) const fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) const fn aside(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) const fn alarm(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.colours { bold.fg(Color::Red) } else { bold }
    }

    pub(super) const fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Notice => self.aside(),
            Tone::Warning => self.alarm(),
        }
    }
}
