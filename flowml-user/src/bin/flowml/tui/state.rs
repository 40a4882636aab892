//! The state of the UI, and how keys change it. It needs no terminal.

use std::cmp::Ordering;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::id::Id;
use super::keys::{self, Action};
use super::panel::{Panel, find};
use super::row::{Rank, Row};
use super::seen::{History, Message};
use crate::ui::view::View;

/// The sort column of a panel, and whether the order is reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The column; 0 is the subject.
    pub(super) column: usize,
    pub(super) reversed: bool,
}

/// The selected row of a panel.
#[derive(Clone, Debug, Default)]
struct Cursor {
    /// The identity of the row; none for the first row, whichever it is.
    id: Option<Id>,
    /// The position of the row when it was selected. If the row disappears, the row at this position is selected.
    at: usize,
}

/// The view that is open over the panels.
pub(super) enum Open {
    /// The details of a row. They stay in their last state after the row has disappeared.
    Detail(Box<dyn Row + Send>),
    Messages,
    Keys,
}

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Nothing,
    Draw,
    Quit,
}

/// The state of the UI.
pub(super) struct ScreenState {
    latest: History,
    /// The data shown while paused.
    paused: Option<Box<History>>,
    pub(super) focus: Panel,
    cursors: [Cursor; Panel::ALL.len()],
    orders: [Order; Panel::ALL.len()],
    pub(super) filter: String,
    /// Whether the filter is being edited.
    pub(super) typing: bool,
    pub(super) open: Option<Open>,
    /// The first visible line of the open view.
    pub(super) scroll: usize,
    /// Number of rows of the focused panel, or lines of the open view, that fit on the screen.
    page: usize,
}

impl Default for ScreenState {
    fn default() -> Self {
        Self {
            latest: History::default(),
            paused: None,
            focus: Panel::Flows,
            cursors: Default::default(),
            orders: Panel::ALL.map(|panel| Order { column: panel.first_order(), reversed: false }),
            filter: String::new(),
            typing: false,
            open: None,
            scroll: 0,
            page: 1,
        }
    }
}

impl ScreenState {
    /// Adds a new view.
    pub(super) fn push(&mut self, view: View) {
        self.latest.push(view);
        if self.paused.is_none()
            && let Some(Open::Detail(row)) = &mut self.open
            && let Some(now) = find(&self.latest, &row.id())
        {
            *row = now.kept();
        }
    }

    pub(super) fn message(&mut self, message: Message) {
        self.latest.message(message);
    }

    /// The data to show.
    pub(super) fn seen(&self) -> &History {
        self.paused.as_deref().unwrap_or(&self.latest)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(super) const fn order(&self, panel: Panel) -> Order {
        self.orders[panel as usize]
    }

    /// The rows of a panel that match the filter, in their order.
    pub(super) fn rows(&self, panel: Panel) -> VisibleRows<'_> {
        VisibleRows::of(panel.rows(self.seen()), self.order(panel), &self.filter)
    }

    /// The position of the selected row.
    pub(super) fn chosen(&self, panel: Panel, rows: &VisibleRows<'_>) -> usize {
        let Cursor { id, at } = &self.cursors[panel as usize];
        let place = id.as_ref().map_or(0, |id| rows.position(id).unwrap_or(*at));
        place.min(rows.len().saturating_sub(1))
    }

    /// Adapts to a screen that fits `page` rows or lines; the open view has `lines` lines.
    pub(super) fn fit(&mut self, page: usize, lines: usize) {
        self.page = page.max(1);
        self.scroll = self.scroll.min(lines.saturating_sub(page));
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Reaction {
        if key.kind == KeyEventKind::Release {
            return Reaction::Nothing;
        }
        if self.typing && !keys::is_interrupt(key) {
            return self.type_key(key);
        }
        match keys::action(key) {
            Some(Action::Quit) => Reaction::Quit,
            Some(Action::Back) => self.back(),
            Some(action) => {
                self.act(action);
                Reaction::Draw
            }
            None => Reaction::Nothing,
        }
    }

    fn type_key(&mut self, key: KeyEvent) -> Reaction {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
                self.filter.extend(c.to_lowercase());
            }
            _ => return Reaction::Nothing,
        }
        Reaction::Draw
    }

    fn back(&mut self) -> Reaction {
        if self.open.take().is_none() {
            if self.filter.is_empty() {
                return Reaction::Quit;
            }
            self.filter.clear();
        }
        Reaction::Draw
    }

    fn act(&mut self, action: Action) {
        match action {
            // `key` has handled these.
            Action::Quit | Action::Back => {}
            Action::NextPanel => self.turn(1),
            Action::PreviousPanel => self.turn(Panel::ALL.len() - 1),
            Action::Focus(panel) => self.look_at(panel),
            Action::Up => self.go(|at, _| at.saturating_sub(1)),
            Action::Down => self.go(|at, _| at.saturating_add(1)),
            Action::PageUp => self.go(usize::saturating_sub),
            Action::PageDown => self.go(usize::saturating_add),
            Action::First => {
                self.scroll = 0;
                self.cursors[self.focus as usize] = Cursor::default();
            }
            Action::Last => self.go(|_, _| usize::MAX),
            Action::Open => self.open_row(),
            Action::Sort => {
                let order = &mut self.orders[self.focus as usize];
                *order = Order { column: (order.column + 1) % self.focus.columns().len(), reversed: false };
            }
            Action::Reverse => {
                let order = &mut self.orders[self.focus as usize];
                order.reversed = !order.reversed;
            }
            Action::Filter => {
                self.open = None;
                self.typing = true;
            }
            Action::Pause => {
                self.paused = if self.paused.is_none() { Some(Box::new(self.latest.clone())) } else { None };
            }
            Action::Messages => self.show(Open::Messages),
            Action::Keys => self.show(Open::Keys),
        }
    }

    fn turn(&mut self, by: usize) {
        self.look_at(Panel::ALL[(self.focus as usize + by) % Panel::ALL.len()]);
    }

    fn look_at(&mut self, panel: Panel) {
        self.open = None;
        self.focus = panel;
    }

    fn show(&mut self, open: Open) {
        self.open = Some(open);
        self.scroll = 0;
    }

    /// Scrolls the open view, or else moves the selection. `to` maps a position and the length of a page to the new
    /// position.
    fn go(&mut self, to: impl Fn(usize, usize) -> usize) {
        if self.open.is_some() {
            // `fit` limits it to the last line.
            self.scroll = to(self.scroll, self.page);
            return;
        }
        let rows = self.rows(self.focus);
        let at = to(self.chosen(self.focus, &rows), self.page).min(rows.len().saturating_sub(1));
        let id = rows.window(at, 1).first().map(|row| row.id());
        self.cursors[self.focus as usize] = Cursor { id, at };
    }

    fn open_row(&mut self) {
        let rows = self.rows(self.focus);
        let row = rows.window(self.chosen(self.focus, &rows), 1).first().map(|row| row.kept());
        if let Some(row) = row
            && self.open.is_none()
        {
            self.show(Open::Detail(row));
        }
    }
}

/// The rows that match the filter.
pub(super) struct VisibleRows<'a> {
    rows: Vec<(Rank, Id, &'a dyn Row)>,
    /// Number of all rows, with those that do not match.
    pub(super) all: usize,
    reversed: bool,
}

impl<'a> VisibleRows<'a> {
    fn of(rows: Vec<&'a dyn Row>, order: Order, filter: &str) -> Self {
        let all = rows.len();
        let wanted: Vec<&str> = filter.split_whitespace().collect();
        let is_wanted = |row: &&dyn Row| {
            wanted.is_empty() || {
                let words = row.words();
                wanted.iter().all(|wanted| words.contains(wanted))
            }
        };
        let ranked = rows.into_iter().filter(is_wanted).map(|row| (row.rank(order.column), row.id(), row));
        Self { rows: ranked.collect(), all, reversed: order.reversed }
    }

    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    fn compare(&self, one: &(Rank, Id, &dyn Row), other: &(Rank, Id, &dyn Row)) -> Ordering {
        let order = one.0.cmp(&other.0);
        let order = if self.reversed { order.reverse() } else { order };
        order.then_with(|| one.1.cmp(&other.1))
    }

    /// The number of rows before the one with this identity.
    fn position(&self, id: &Id) -> Option<usize> {
        let row = self.rows.iter().find(|(_, own, _)| own == id)?;
        Some(self.rows.iter().filter(|other| self.compare(other, row).is_lt()).count())
    }

    /// The `count` rows from position `from` on. Only these are sorted, as there may be many more.
    pub(super) fn window(&self, from: usize, count: usize) -> Vec<&'a dyn Row> {
        let until = from.saturating_add(count);
        let mut rows: Vec<&(Rank, Id, &dyn Row)> = self.rows.iter().collect();
        if until < rows.len() {
            rows.select_nth_unstable_by(until, |one, other| self.compare(one, other));
            rows.truncate(until);
        }
        rows.sort_unstable_by(|one, other| self.compare(one, other));
        rows.into_iter().skip(from).map(|(_, _, row)| *row).collect()
    }
}
