//! Which key does what.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::Panel;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The end of the run.
    Quit,
    /// One step out: of what is open, of the filter, of the run.
    Back,
    NextPanel,
    PreviousPanel,
    Focus(Panel),
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// All of the row that is chosen.
    Open,
    /// The next column to sort by.
    Sort,
    Reverse,
    Filter,
    Pause,
    Messages,
    Keys,
}

/// Keys that do the same.
pub(super) struct Binding {
    keys: &'static [KeyCode],
    action: Action,
    /// The keys, for people.
    pub(super) shown: &'static str,
    /// In the last line of the screen, where there is room for it there.
    pub(super) brief: Option<&'static str>,
    pub(super) meaning: &'static str,
}

const fn binding(
    keys: &'static [KeyCode],
    action: Action,
    shown: &'static str,
    brief: Option<&'static str>,
    meaning: &'static str,
) -> Binding {
    Binding { keys, action, shown, brief, meaning }
}

/// All keys, those that matter most first.
pub(super) const BINDINGS: &[Binding] = &[
    binding(
        &[KeyCode::Char('q')],
        Action::Quit,
        "q, Ctrl-C",
        Some("q quit"),
        "end the run: everything is drained and written, and the summary is told",
    ),
    binding(&[KeyCode::Char('?')], Action::Keys, "?", Some("? keys"), "these keys"),
    binding(&[KeyCode::Tab, KeyCode::Right], Action::NextPanel, "Tab, →", Some("Tab panel"), "the next panel"),
    binding(&[KeyCode::BackTab, KeyCode::Left], Action::PreviousPanel, "Shift-Tab, ←", None, "the panel before"),
    binding(
        &[KeyCode::Char('1')],
        Action::Focus(Panel::Anomalies),
        "1",
        None,
        "incidents, and flows that are anomalies",
    ),
    binding(&[KeyCode::Char('2')], Action::Focus(Panel::Flows), "2", None, "flows"),
    binding(&[KeyCode::Char('3')], Action::Focus(Panel::Hosts), "3", None, "hosts"),
    binding(&[KeyCode::Char('4')], Action::Focus(Panel::Clusters), "4", None, "clusters"),
    binding(&[KeyCode::Down, KeyCode::Char('j')], Action::Down, "↓, j", Some("↑↓ row"), "the next row"),
    binding(&[KeyCode::Up, KeyCode::Char('k')], Action::Up, "↑, k", None, "the row before"),
    binding(&[KeyCode::PageDown], Action::PageDown, "PgDn", None, "a page on"),
    binding(&[KeyCode::PageUp], Action::PageUp, "PgUp", None, "a page back"),
    binding(&[KeyCode::Home, KeyCode::Char('g')], Action::First, "Home, g", None, "the first row, whichever it is"),
    binding(&[KeyCode::End, KeyCode::Char('G')], Action::Last, "End, G", None, "the last row"),
    binding(&[KeyCode::Enter], Action::Open, "Enter", Some("Enter detail"), "all that is known of the row"),
    binding(&[KeyCode::Char('s')], Action::Sort, "s", Some("s sort"), "sort by the next column (▾)"),
    binding(&[KeyCode::Char('r')], Action::Reverse, "r", None, "sort the other way round (▴)"),
    binding(
        &[KeyCode::Char('/')],
        Action::Filter,
        "/",
        Some("/ filter"),
        "rows that have all of these words: addresses, ports, services, columns",
    ),
    binding(
        &[KeyCode::Char('p'), KeyCode::Char(' ')],
        Action::Pause,
        "p, Space",
        Some("p pause"),
        "keep what is shown, while metering goes on",
    ),
    binding(&[KeyCode::Char('m')], Action::Messages, "m", None, "what was told so far"),
    binding(&[KeyCode::Esc], Action::Back, "Esc", None, "close this, drop the filter, end the run"),
];

/// What the key does; while a filter is typed most keys are text.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if is_interrupt(key) {
        return Some(Action::Quit);
    }
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// In raw mode the terminal makes no signal of it.
pub(super) fn is_interrupt(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_does_two_things() {
        let mut seen = HashSet::new();
        for binding in BINDINGS {
            for key in binding.keys {
                assert!(seen.insert(*key), "{key:?} is bound twice");
                assert_eq!(action(KeyEvent::from(*key)), Some(binding.action));
            }
        }
    }

    #[test]
    fn control_makes_another_key() {
        let with = |c, modifiers| action(KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(with('c', KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(with('p', KeyModifiers::CONTROL), None);
        assert_eq!(with('q', KeyModifiers::ALT), None);
        assert_eq!(with('G', KeyModifiers::SHIFT), Some(Action::Last));
    }
}
