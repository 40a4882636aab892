//! Draws the terminal UI as lines of text for a width and a height.

use flowml_common::packet::Skipped;
use flowml_user::export::{InterfaceReport, LearnerReport};
use flowml_user::learning::Status;
use ratatui::Frame;
use ratatui::layout::Size;
use ratatui::style::Style;
use ratatui::text::{Line, Text};

use super::detail::Fact;
use super::keys::BINDINGS;
use super::panel::{Panel, find};
use super::seen::{History, Message};
use super::state::{Open, ScreenState};
use super::theme::Theme;
use crate::ui::text::{self, TextTable, counted, cut_end, grouped, time_of_day, width_of, wrap};
use crate::ui::view::{View, by_reason};

/// The smallest usable size.
const LEAST: Size = Size { width: 40, height: 10 };

/// The share of the panels' lines, in percent, for each panel without focus, and the smallest number of lines. It does
/// not depend on the contents, so that panels keep their places.
const ASIDE_SHARE: usize = 20;
const ASIDE_LEAST: usize = 2;

/// From this height on a line of losses is shown; from the next one on also a line for each model.
const TALL: u16 = 14;
const TALLER: u16 = 20;

/// Width of the labels of facts, characters.
const LABEL_WIDTH: usize = 12;

/// Draws the complete UI.
pub(super) fn draw(frame: &mut Frame<'_>, state: &ScreenState, theme: Theme) {
    let Size { width, height } = frame.area().as_size();
    let drawing = Drawing { state, theme, width: width.into(), height };
    frame.render_widget(Text::from(drawing.lines()), frame.area());
}

/// The number of rows of the focused panel, or lines of the open view, that fit on a screen of this size, and the
/// number of lines of the open view.
pub(super) fn room(state: &ScreenState, size: Size, theme: Theme) -> (usize, usize) {
    let drawing = Drawing { state, theme, width: size.width.into(), height: size.height };
    match drawing.open_lines() {
        Some(lines) => (drawing.body_height(), lines.len()),
        None => {
            let heights = drawing.heights();
            let height = heights.iter().find(|(panel, _)| *panel == state.focus).map_or(1, |(_, height)| *height);
            (height.saturating_sub(1) / state.focus.row_height(), 0)
        }
    }
}

struct Drawing<'a> {
    state: &'a ScreenState,
    theme: Theme,
    width: usize,
    height: u16,
}

impl<'a> Drawing<'a> {
    fn seen(&self) -> &'a History {
        self.state.seen()
    }

    fn lines(&self) -> Vec<Line<'static>> {
        if self.width < LEAST.width.into() || self.height < LEAST.height {
            return self.too_small();
        }
        let mut lines = self.head();
        let body = self.body_height();
        let mut middle = self
            .open_lines()
            .map_or_else(|| self.panels(), |lines| lines.into_iter().skip(self.state.scroll).take(body).collect());
        middle.resize(body, Line::default());
        lines.extend(middle);
        lines.push(self.last_message());
        lines.push(self.foot());
        lines
    }

    fn too_small(&self) -> Vec<Line<'static>> {
        let Size { width, height } = LEAST;
        let text = format!("too small: {}x{}, expected {width}x{height} or more; q quits", self.width, self.height);
        wrap(&text, self.width, [0, 0]).into_iter().map(Line::from).collect()
    }

    fn line(&self, text: &str, style: Style) -> Line<'static> {
        Line::styled(cut_end(text, self.width), style)
    }

    /// The lines at the top that are always shown.
    fn head(&self) -> Vec<Line<'static>> {
        let rates = self.seen().view.as_ref().map(View::rates);
        let rates = rates.unwrap_or_else(|| "nothing to show before the first interval ends".to_owned());
        let mut lines = vec![self.title(), self.line(&rates, Style::new())];
        if self.height >= TALL {
            lines.push(self.losses());
        }
        if self.height >= TALLER {
            let learners = self.seen().view.iter().flat_map(|view| &view.report.learners);
            lines.extend(learners.map(|learner| self.line(&standing(learner), self.theme.aside())));
        }
        lines
    }

    fn title(&self) -> Line<'static> {
        let mut parts = vec!["flowml".to_owned()];
        if self.state.is_paused() {
            parts.push("PAUSED".to_owned());
        }
        if let Some(view) = &self.seen().view {
            parts.push(format!("{} UTC", time_of_day(view.report.end_ms)));
            parts.push(InterfaceReport::list(&view.report.interfaces));
        }
        self.line(&parts.join(" · "), self.theme.heading())
    }

    /// Packets skipped since the UI started, and lost rows of outputs.
    fn losses(&self) -> Line<'static> {
        let History { view, received, skipped, .. } = self.seen();
        let of = format!("of {}", counted(received.packets, "packet"));
        let mut losses = match by_reason(skipped, |count| count.packets) {
            Some(reasons) => format!("skipped {of}: {reasons}"),
            None => format!("skipped {of}: none"),
        };
        let outputs = view.iter().flat_map(|view| &view.outputs);
        for output in outputs.filter(|output| output.rows_lost > 0 && !output.reader_gone) {
            losses.push_str(&format!(" · {} of {} lost", counted(output.rows_lost, "row"), output.destination));
        }
        let is_bad = skipped[Skipped::TableFull as usize].packets > 0 || losses.contains(" lost");
        self.line(&losses, if is_bad { self.theme.alarm() } else { self.theme.aside() })
    }

    /// Number of lines between the head and the last two lines (message and keys).
    fn body_height(&self) -> usize {
        usize::from(self.height).saturating_sub(self.head().len() + 2)
    }

    /// The number of lines of each visible panel.
    fn heights(&self) -> Vec<(Panel, usize)> {
        let body = self.body_height();
        let aside = body * ASIDE_SHARE / 100;
        if aside < ASIDE_LEAST {
            return vec![(self.state.focus, body)];
        }
        let focus = body - aside * (Panel::ALL.len() - 1);
        Panel::ALL.map(|panel| (panel, if panel == self.state.focus { focus } else { aside })).into()
    }

    fn panels(&self) -> Vec<Line<'static>> {
        self.heights().into_iter().flat_map(|(panel, height)| self.panel(panel, height)).collect()
    }

    fn panel(&self, panel: Panel, height: usize) -> Vec<Line<'static>> {
        /// Width of the mark of the selected row.
        const MARK_WIDTH: usize = 2;
        let (rows, focused) = (self.state.rows(panel), panel == self.state.focus);
        // The second line of the last row may be cut off.
        let shown = height.saturating_sub(1).div_ceil(panel.row_height());
        let chosen = self.state.chosen(panel, &rows);
        let whole = (height.saturating_sub(1) / panel.row_height()).max(1);
        let first = if focused { (chosen + 1).saturating_sub(whole) } else { 0 };
        let window = rows.window(first, shown);
        let count = match rows.len() {
            len if len == rows.all => grouped(len as u64),
            len => format!("{} of {}", grouped(len as u64), grouped(rows.all as u64)),
        };
        let title = format!("{} {} {count}", panel as usize + 1, panel.title());
        let columns = self.columns(panel);
        let cells = window.iter().map(|row| (row.subject(), row.cells(&columns, self.seen().seconds())));
        let table = TextTable { header: self.header(panel, &columns, &title), rows: cells.collect(), fills: true };
        let mut text = table.lines(self.width - MARK_WIDTH, text::Style { colours: false }).into_iter();
        let head = format!("{:MARK_WIDTH$}{}", "", text.next().unwrap_or_default());
        let style = if focused { self.theme.chosen() } else { self.theme.heading() };
        let mut lines = vec![self.line(&format!("{head:<width$}", width = self.width), style)];
        for ((at, row), line) in window.iter().enumerate().zip(text) {
            let is_chosen = focused && first + at == chosen;
            let mark = if is_chosen { "›" } else { " " };
            let style = match row.is_alarming() {
                _ if is_chosen => self.theme.heading(),
                true => self.theme.alarm(),
                false => Style::new(),
            };
            lines.push(self.line(&format!("{mark} {line}"), style));
            lines.extend(row.second_line().map(|text| self.line(&format!("    {text}"), Style::new())));
        }
        if rows.len() == 0 {
            let why = if rows.all > 0 { "no row matches the filter" } else { panel.nothing() };
            lines.push(self.line(&format!("{:MARK_WIDTH$}{why}", ""), self.theme.aside()));
        }
        lines.resize(height, Line::default());
        lines
    }

    /// The columns that fit, and always the column by which the panel is sorted.
    fn columns(&self, panel: Panel) -> Vec<usize> {
        let sorted = self.state.order(panel).column;
        let columns = panel.columns();
        let has_room = |at: &usize| *at == sorted || columns[*at].from_width <= self.width;
        (1..columns.len()).filter(has_room).collect()
    }

    fn header(&self, panel: Panel, shown: &[usize], title: &str) -> Vec<String> {
        let (order, columns) = (self.state.order(panel), panel.columns());
        let mark = if order.reversed { "▴" } else { "▾" };
        let marked = |column: usize, name: &str| {
            if column == order.column { format!("{name}{mark}") } else { name.to_owned() }
        };
        let values = shown.iter().map(|column| marked(*column, columns[*column].name));
        std::iter::once(marked(0, title)).chain(values).collect()
    }

    /// All lines of the open view.
    fn open_lines(&self) -> Option<Vec<Line<'static>>> {
        let open = self.state.open.as_ref()?;
        Some(match open {
            Open::Detail(kept) => {
                let now = find(self.seen(), &kept.id());
                let facts = now.map_or_else(|| kept.facts(self.seen()), |row| row.facts(self.seen()));
                let gone = now.is_none().then(|| Line::styled("no longer listed; last values:", self.theme.aside()));
                gone.into_iter().chain(facts.iter().flat_map(|fact| self.fact(fact))).collect()
            }
            Open::Messages if self.seen().messages.is_empty() => {
                vec![Line::styled("no messages since the terminal UI started", self.theme.aside())]
            }
            Open::Messages => self.seen().messages.iter().rev().flat_map(|message| self.message(message)).collect(),
            Open::Keys => {
                let key = |label, meaning: &str| self.labelled(label, meaning);
                BINDINGS.iter().flat_map(|binding| key(binding.shown, binding.meaning)).collect()
            }
        })
    }

    fn fact(&self, fact: &Fact) -> Vec<Line<'static>> {
        self.labelled(fact.label, &fact.text)
    }

    fn labelled(&self, label: &str, text: &str) -> Vec<Line<'static>> {
        let lines = wrap(text, self.width.saturating_sub(LABEL_WIDTH + 1), [0, 0]);
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        labels
            .zip(lines)
            .map(|(label, text)| self.line(&format!("{label:<LABEL_WIDTH$} {text}"), Style::new()))
            .collect()
    }

    fn message(&self, message: &Message) -> Vec<Line<'static>> {
        let text = format!("{} {}", time_of_day(message.at_ms), message.text);
        let style = self.theme.tone(message.tone);
        wrap(&text, self.width, [0, 9]).iter().map(|line| self.line(line, style)).collect()
    }

    fn last_message(&self) -> Line<'static> {
        let Some(message) = self.seen().messages.back() else { return Line::default() };
        let text = format!("{} {}", time_of_day(message.at_ms), message.text);
        let text = match width_of(&text) > self.width {
            true => format!("{} (m: all)", cut_end(&text, self.width.saturating_sub(9))),
            false => text,
        };
        self.line(&text, self.theme.tone(message.tone))
    }

    /// The filter while it is edited, otherwise the keys that fit.
    fn foot(&self) -> Line<'static> {
        let ScreenState { filter, typing, .. } = self.state;
        if *typing {
            return self.line(&format!("/{filter}▏ Enter: apply, Esc: clear"), self.theme.heading());
        }
        let filtered = (!filter.is_empty()).then(|| format!("/{filter} (Esc clears it)"));
        let closes = self.state.open.is_some().then(|| "Esc close".to_owned());
        let keys = BINDINGS.iter().filter_map(|binding| binding.brief).map(str::to_owned);
        let mut line = String::new();
        for text in filtered.into_iter().chain(closes).chain(keys) {
            let gap = if line.is_empty() { "" } else { "  " };
            if width_of(&line) + width_of(gap) + width_of(&text) <= self.width {
                line.push_str(gap);
                line.push_str(&text);
            }
        }
        self.line(&line, self.theme.aside())
    }
}

/// The state of a model, in one line.
fn standing(learner: &LearnerReport) -> String {
    let brief = |status: &Status| match status {
        Status::Ready { clusters, .. } => format!("{clusters} clusters"),
        warming_up @ Status::WarmingUp { .. } => warming_up.to_string(),
    };
    let beside = learner.beside.map_or_else(String::new, |status| format!("; candidate: {}", brief(&status)));
    format!("{}: {}{beside}", learner.of, brief(&learner.status))
}
