//! The keys of the terminal UI and their actions.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::panel::Panel;

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// End the run.
    Quit,
    /// One step back: close the open view, clear the filter, or end the run.
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
    /// Open the details of the selected row.
    Open,
    /// Sort by the next column.
    Sort,
    Reverse,
    Filter,
    Pause,
    Messages,
    Keys,
}

/// Keys with the same action.
pub(super) struct Binding {
    keys: &'static [KeyCode],
    action: Action,
    /// The names of the keys, as shown.
    pub(super) shown: &'static str,
    /// The text in the last line of the screen, if the key is shown there.
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

/// All keys, the most important first.
pub(super) const BINDINGS: &[Binding] = &[
    binding(
        &[KeyCode::Char('q')],
        Action::Quit,
        "q, Ctrl-C",
        Some("q quit"),
        "end the run: drain and write everything, then print the summary",
    ),
    binding(&[KeyCode::Char('?')], Action::Keys, "?", Some("? keys"), "these keys"),
    binding(&[KeyCode::Tab, KeyCode::Right], Action::NextPanel, "Tab, →", Some("Tab panel"), "the next panel"),
    binding(&[KeyCode::BackTab, KeyCode::Left], Action::PreviousPanel, "Shift-Tab, ←", None, "the previous panel"),
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
    binding(&[KeyCode::Up, KeyCode::Char('k')], Action::Up, "↑, k", None, "the previous row"),
    binding(&[KeyCode::PageDown], Action::PageDown, "PgDn", None, "the next page"),
    binding(&[KeyCode::PageUp], Action::PageUp, "PgUp", None, "the previous page"),
    binding(&[KeyCode::Home, KeyCode::Char('g')], Action::First, "Home, g", None, "always the first row"),
    binding(&[KeyCode::End, KeyCode::Char('G')], Action::Last, "End, G", None, "the last row"),
    binding(&[KeyCode::Enter], Action::Open, "Enter", Some("Enter detail"), "details of the row"),
    binding(&[KeyCode::Char('s')], Action::Sort, "s", Some("s sort"), "sort by the next column (▾)"),
    binding(&[KeyCode::Char('r')], Action::Reverse, "r", None, "reverse the sort order (▴)"),
    binding(
        &[KeyCode::Char('/')],
        Action::Filter,
        "/",
        Some("/ filter"),
        "show rows that contain all these words: addresses, ports, services, columns",
    ),
    binding(
        &[KeyCode::Char('p'), KeyCode::Char(' ')],
        Action::Pause,
        "p, Space",
        Some("p pause"),
        "freeze the display; metering continues",
    ),
    binding(&[KeyCode::Char('m')], Action::Messages, "m", None, "messages so far"),
    binding(&[KeyCode::Esc], Action::Back, "Esc", None, "close this, else clear the filter, else end the run"),
];

/// The action of a key. While a filter is edited, most keys are text instead.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if is_interrupt(key) {
        return Some(Action::Quit);
    }
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// Whether the key is Ctrl-C, which makes no signal in raw mode.
pub(super) fn is_interrupt(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_has_two_actions() {
        let mut seen = HashSet::new();
        for binding in BINDINGS {
            for key in binding.keys {
                assert!(seen.insert(*key), "{key:?} is bound twice");
                assert_eq!(action(KeyEvent::from(*key)), Some(binding.action));
            }
        }
    }

    #[test]
    fn control_is_part_of_the_key() {
        let with = |c, modifiers| action(KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(with('c', KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(with('p', KeyModifiers::CONTROL), None);
        assert_eq!(with('q', KeyModifiers::ALT), None);
        assert_eq!(with('G', KeyModifiers::SHIFT), Some(Action::Last));
    }
}
