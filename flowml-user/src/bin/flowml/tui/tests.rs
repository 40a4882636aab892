//! Tests of the UI without a terminal: drawings for a size, and the effects of keys.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use flowml_user::incident::{Incident, State};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::golden;
use super::Tone;
use super::draw::{draw, room};
use super::panel::Panel;
use super::seen::Message;
use super::state::{Reaction, ScreenState};
use super::theme::Theme;
use crate::ui::text::width_of;
use crate::ui::view::samples::{busy, idle, key, reason, scan, verdict};
use crate::ui::view::{AnomalousFlow, Anomaly, View};

const PLAIN: Theme = Theme { colours: false };

fn terminal(state: &mut ScreenState, (width, height): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory is a terminal");
    let drawn = terminal.draw(|frame| {
        let (page, lines) = room(state, frame.area().as_size(), theme);
        state.fit(page, lines);
        draw(frame, state, theme);
    });
    drawn.expect("memory takes all");
    terminal
}

/// The text of a screen of this size.
fn text(state: &mut ScreenState, size: (u16, u16)) -> String {
    let terminal = terminal(state, size, PLAIN);
    let buffer = terminal.backend().buffer();
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    };
    buffer.content().chunks(size.0.into()).map(line).collect()
}

/// A state after a busy second.
fn state() -> ScreenState {
    let mut state = ScreenState::default();
    state.push(busy());
    for (tone, text) in [
        (Tone::Notice, "hosts: the candidate model was promoted"),
        (Tone::Warning, "eth1 was removed; its packets until then are counted"),
    ] {
        state.message(Message { at_ms: 1_700_000_000_123, tone, text: text.to_owned() });
    }
    state
}

fn press(state: &mut ScreenState, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(state.key(KeyEvent::from(*key)), Reaction::Draw, "{key:?}");
        // As after each key on a real terminal.
        text(state, (80, 24));
    }
}

fn typed(state: &mut ScreenState, text: &str) {
    press(state, &text.chars().map(KeyCode::Char).collect::<Vec<_>>());
}

/// The subjects of a panel's rows, in their order.
fn subjects(state: &ScreenState, panel: Panel) -> Vec<String> {
    let rows = state.rows(panel);
    rows.window(0, usize::MAX).iter().map(|row| row.words()).collect()
}

#[test]
fn screens_match_their_golden_files() {
    for (width, height) in [(80, 24), (120, 40), (60, 20), (40, 10)] {
        golden::assert_is(
            &format!("src/bin/flowml/tui/golden/screen_{width}x{height}.txt"),
            &text(&mut state(), (width, height)),
        );
    }
    golden::assert_is("src/bin/flowml/tui/golden/screen_start.txt", &text(&mut ScreenState::default(), (80, 24)));
}

#[test]
fn details_match_their_golden_files() {
    for (name, keys) in [("incident", "1"), ("flow", "2"), ("host", "3"), ("cluster", "4")] {
        let mut state = state();
        typed(&mut state, keys);
        press(&mut state, &[KeyCode::Down, KeyCode::Up, KeyCode::Enter]);
        golden::assert_is(&format!("src/bin/flowml/tui/golden/screen_{name}.txt"), &text(&mut state, (80, 24)));
    }
    for (name, key) in [("keys", '?'), ("messages", 'm')] {
        let mut state = state();
        typed(&mut state, &key.to_string());
        golden::assert_is(&format!("src/bin/flowml/tui/golden/screen_{name}.txt"), &text(&mut state, (80, 24)));
    }
    let mut state = ScreenState::default();
    state.push(busy());
    typed(&mut state, "m");
    assert!(text(&mut state, (80, 24)).contains("no messages since"));
}

#[test]
fn every_size_can_be_drawn() {
    for open in [None, Some(KeyCode::Enter), Some(KeyCode::Char('?')), Some(KeyCode::Char('/'))] {
        let mut state = state();
        open.into_iter().for_each(|key| press(&mut state, &[key, KeyCode::Char('x')][..1]));
        for width in (1..140).step_by(7) {
            for height in (1..50).step_by(3) {
                let text = text(&mut state, (width, height));
                let lines: Vec<&str> = text.lines().collect();
                assert_eq!(lines.len(), usize::from(height));
                if width >= 40 && height >= 10 {
                    assert!(!lines[usize::from(height) - 1].is_empty(), "no keys on {width}x{height}");
                    assert!(lines.iter().all(|line| width_of(line) <= width.into()));
                } else if width >= 40 {
                    assert!(text.contains("too small"), "{width}x{height}: {text}");
                }
            }
        }
    }
}

#[test]
fn colours_are_used_only_if_enabled() {
    for colours in [false, true] {
        let terminal = terminal(&mut state(), (80, 24), Theme { colours });
        let coloured = terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(coloured, colours);
    }
}

#[test]
fn rows_sort_by_any_column_in_both_directions() {
    let mut state = state();
    let first = |state: &ScreenState| subjects(state, Panel::Flows)[0].clone();
    assert!(first(&state).contains("https"), "by bytes");
    // Bits per second comes first, then cluster, probability and subject.
    press(&mut state, &[KeyCode::Char('s')]);
    assert!(first(&state).contains("ssh"), "the lowest cluster: {}", first(&state));
    press(&mut state, &[KeyCode::Char('r')]);
    assert!(first(&state).contains("https"), "those without a verdict: {}", first(&state));
    let columns = Panel::Flows.columns().len();
    for _ in 0..columns {
        press(&mut state, &[KeyCode::Char('s')]);
    }
    assert!(first(&state).contains("ssh"), "after all columns it is the same: {}", first(&state));
    assert!(text(&mut state, (80, 24)).contains("CLUSTER▾"));
    press(&mut state, &[KeyCode::Char('s')]);
    assert!(text(&mut state, (80, 24)).contains("P▾"), "a column that is sorted by is shown");
}

#[test]
fn a_filter_finds_words_in_all_panels() {
    let mut state = state();
    typed(&mut state, "/10.9.0.2");
    assert!(text(&mut state, (80, 24)).contains("/10.9.0.2▏"));
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(subjects(&state, Panel::Hosts), ["10.9.0.2"]);
    assert_eq!(subjects(&state, Panel::Flows), [""; 0]);
    assert_eq!(subjects(&state, Panel::Anomalies).len(), 2);
    let shown = text(&mut state, (80, 24));
    assert!(shown.contains("2 FLOWS 0 of 4") && shown.contains("no row matches the filter"), "{shown}");

    press(&mut state, &[KeyCode::Esc]);
    typed(&mut state, "/10.0.0.1 SSH");
    assert_eq!(subjects(&state, Panel::Flows).len(), 1, "{:?}", subjects(&state, Panel::Flows));
    press(&mut state, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(subjects(&state, Panel::Flows).len(), 3);
    // Letters are commands again.
    typed(&mut state, "p");
    assert!(state.is_paused());
}

#[test]
fn keys_are_text_while_a_filter_is_edited() {
    let mut state = state();
    typed(&mut state, "/q");
    assert_eq!(state.filter, "q");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.key(interrupt), Reaction::Quit);
}

#[test]
fn escape_goes_one_step_back() {
    let mut state = state();
    typed(&mut state, "/10.0");
    press(&mut state, &[KeyCode::Enter, KeyCode::Enter]);
    assert!(state.open.is_some());
    press(&mut state, &[KeyCode::Esc]);
    assert!(state.open.is_none() && !state.filter.is_empty());
    press(&mut state, &[KeyCode::Esc]);
    assert!(state.filter.is_empty());
    assert_eq!(state.key(KeyEvent::from(KeyCode::Esc)), Reaction::Quit);
    assert_eq!(state.key(KeyEvent::from(KeyCode::Char('q'))), Reaction::Quit);
}

#[test]
fn a_pause_keeps_the_shown_data() {
    let mut state = state();
    typed(&mut state, "p");
    let paused = text(&mut state, (80, 24));
    assert!(paused.contains("PAUSED"));
    state.push(idle());
    assert_eq!(text(&mut state, (80, 24)), paused);
    typed(&mut state, "p");
    let after = text(&mut state, (80, 24));
    assert!(after.contains("0 packets/s") && !after.contains("PAUSED"), "{after}");
    // The total includes the packets of both views.
    assert!(after.contains("of 1,234,567 packets"), "{after}");
}

#[test]
fn the_selection_follows_its_row() {
    let mut state = state();
    let chosen = |state: &mut ScreenState| {
        let text = text(state, (80, 24));
        let line = text.lines().find(|line| line.starts_with('›'));
        // The column widths depend on which column has the mark.
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    press(&mut state, &[KeyCode::Down]);
    let line = chosen(&mut state).expect("a row is chosen");
    assert!(line.contains("10.0.0.2"), "{line}");
    press(&mut state, &[KeyCode::Char('s'), KeyCode::Char('r')]);
    assert_eq!(chosen(&mut state).expect("a row is chosen"), line);
    // The next view does not contain the row, so the row at its position is selected.
    state.push(View { flows: busy().flows.into_iter().take(1).collect(), ..busy() });
    assert!(chosen(&mut state).expect("a row is chosen").contains("2001:"));
    state.push(busy());
    assert_eq!(chosen(&mut state).expect("a row is chosen"), line);
    press(&mut state, &[KeyCode::End, KeyCode::Down, KeyCode::PageDown, KeyCode::PageUp, KeyCode::Home]);
    assert!(chosen(&mut state).is_some());
}

#[test]
fn details_stay_when_their_row_disappears() {
    let mut state = state();
    typed(&mut state, "3");
    press(&mut state, &[KeyCode::Enter]);
    let before = text(&mut state, (80, 24));
    assert!(before.contains("\nhost  "), "{before}");
    state.push(idle());
    let after = text(&mut state, (80, 24));
    assert!(after.contains("no longer listed") && after.contains("\nhost  "), "{after}");
    assert!(after.contains("79,000,980 B"), "{after}");
    press(&mut state, &[KeyCode::Tab]);
    assert!(state.open.is_none());
}

#[test]
fn a_long_view_scrolls_to_its_end_and_back() {
    let mut state = state();
    typed(&mut state, "?");
    text(&mut state, (60, 12));
    for _ in 0..100 {
        state.key(KeyEvent::from(KeyCode::PageDown));
        text(&mut state, (60, 12));
    }
    let end = text(&mut state, (60, 12));
    assert!(end.contains("Esc"), "{end}");
    state.key(KeyEvent::from(KeyCode::Up));
    assert_ne!(text(&mut state, (60, 12)), end);
    press(&mut state, &[KeyCode::Home]);
    assert!(text(&mut state, (60, 12)).contains("Ctrl-C"));
}

#[test]
fn anomalies_are_kept_up_to_a_limit() {
    let mut state = ScreenState::default();
    let open = Incident { number: 1, ..scan() };
    state.push(View { anomalies: vec![Anomaly::Incident(State::Open, open.clone())], ..busy() });
    state.push(View { anomalies: Vec::new(), ..idle() });
    assert_eq!(subjects(&state, Panel::Anomalies).len(), 1);
    let anomaly = |port: u16| {
        let (key, initiator) = key([("10.0.0.1", port), ("10.0.0.2", 80)], 6);
        let verdict = verdict(1, 1e-5, vec![reason("src2dst_bytes", 9.0, [1.0, 2.0], 1.0)]);
        Anomaly::Flow(AnomalousFlow { key, initiator, verdict })
    };
    state.push(View { anomalies: (1..=3000).map(anomaly).collect(), ..busy() });
    let listed = subjects(&state, Panel::Anomalies);
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().any(|subject| subject.starts_with("incident 1 (4 s)")), "open incidents are kept");
    // An incident that has ended is listed once, as ended.
    state.push(View { anomalies: vec![Anomaly::Incident(State::Closed, open)], ..idle() });
    let incidents = subjects(&state, Panel::Anomalies).into_iter().filter(|subject| subject.starts_with("incident"));
    assert_eq!(incidents.count(), 1);
}
