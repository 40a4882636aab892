//! The console on standard error: tables or the terminal UI, messages, and the closing summary.

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use std::{env, mem};

use flowml_common::flow::PartialFlow;
use flowml_user::export::{
    Began, IntervalReport, LearnerReport, Observer, OutputLine, RecordedFlow, RowCounts, Totals,
};
use flowml_user::features::HostWindow;
use flowml_user::incident::{Incident, State};
use flowml_user::learning::{ClusterSummary, Verdict};
use flowml_user::process::journal::{self, Priority};
use flowml_user::process::plain;
use flowml_user::session::Standing;

use crate::args::Verbosity;
use crate::tui::{Event, Screen, Tone};
use crate::ui::outward::Outward;
use crate::ui::period::Period;
use crate::ui::tables::SummaryView;
use crate::ui::text::Style;

/// Minimum time between two tables, or two updates of the UI.
const TABLE_PERIOD: Duration = Duration::from_secs(1);

/// A table that is due within this time is shown now, as a drain may be slightly early.
const EARLY: Duration = Duration::from_millis(100);

/// The clusters are shown again after this number of tables.
const CLUSTERS_EVERY: u64 = 30;

/// The width if it is not known, columns.
const DEFAULT_WIDTH: usize = 120;

/// The minimum width of tables, columns. A narrower terminal wraps the lines.
const LEAST_WIDTH: usize = 60;

/// The console.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    verbosity: Verbosity,
    style: Style,
    /// Whether the journal reads it, which expects a priority before each line.
    journal: bool,
    /// A fixed width, columns; `None` for the current width of the terminal.
    width: Option<usize>,
    period: Period,
    /// The report of the last interval shown.
    report: Option<IntervalReport>,
    /// Time since the start, and the time at which the next table is due.
    elapsed: Duration,
    due: Duration,
    tables: u64,
    /// The cluster shares that were last shown, by model.
    shown: HashMap<&'static str, Vec<(u32, f64)>>,
    /// The events of the terminal, if the run has a terminal UI.
    events: Option<Receiver<Event>>,
    /// The terminal UI, which replaces tables and messages while it is open.
    screen: Option<Screen>,
}

/// The terminal cannot show the UI.
#[derive(Debug, thiserror::Error)]
#[error("cannot show the terminal UI on this terminal")]
pub(crate) struct ScreenError(#[source] io::Error);

impl Console {
    /// The console of this process.
    #[must_use]
    pub(crate) fn on_standard_error(verbosity: Verbosity) -> Self {
        let stderr = io::stderr();
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        // no-color.org
        let colours =
            stderr.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb");
        let mut console = Self::over(Box::new(Outward::standard_error()), verbosity, Style { colours }, None);
        console.journal = journal::is_journal();
        console
    }

    /// A console over any stream.
    pub(crate) fn over(out: Box<dyn Write + Send>, verbosity: Verbosity, style: Style, width: Option<usize>) -> Self {
        let (elapsed, due) = (Duration::ZERO, TABLE_PERIOD);
        let (period, shown) = Default::default();
        let journal = false;
        Self {
            out,
            verbosity,
            style,
            journal,
            width,
            period,
            report: None,
            elapsed,
            due,
            tables: 0,
            shown,
            events: None,
            screen: None,
        }
    }

    /// Shows the terminal UI during the run, and passes these events of its terminal to it.
    #[must_use]
    pub(crate) fn with_screen(mut self, events: Receiver<Event>) -> Self {
        self.events = Some(events);
        self
    }

    /// Closes the terminal UI if it is open. Its warnings are repeated, and no tables are shown after it.
    fn leave_screen(&mut self) {
        let Some(screen) = self.screen.take() else { return };
        self.verbosity = self.verbosity.min(Verbosity::Summary);
        for text in screen.leave() {
            self.print_line(Tone::Warning, &text);
        }
    }

    /// Shows the period since the last table.
    fn show(&mut self, outputs: Vec<OutputLine>) {
        let Some(view) = mem::take(&mut self.period).view(self.report.as_ref(), outputs) else { return };
        self.report = Some(view.report.clone());
        match &mut self.screen {
            Some(screen) => screen.show(view),
            None => {
                let clusters = self.clusters_due(&view.report);
                self.write_text(Priority::Information, &view.render(&clusters, self.width(), self.style));
                self.tables += 1;
            }
        }
    }

    /// The models whose clusters are due: when they have some for the first time, when they have changed much, and
    /// periodically.
    fn clusters_due(&mut self, report: &IntervalReport) -> Vec<&'static str> {
        let due = self.tables.is_multiple_of(CLUSTERS_EVERY);
        let mut learners = Vec::new();
        for LearnerReport { of, clusters, .. } in &report.learners {
            let shown = self.shown.entry(of).or_default();
            if !clusters.is_empty() && (due || differ(shown, clusters)) {
                *shown = clusters.iter().map(|cluster| (cluster.id, cluster.share)).collect();
                learners.push(*of);
            }
        }
        learners
    }

    fn print(&mut self, tone: Tone, text: &str) {
        match &mut self.screen {
            Some(screen) if screen.is_up() => screen.message(tone, text),
            _ => self.print_line(tone, text),
        }
    }

    fn shows_tables(&self) -> bool {
        self.verbosity >= Verbosity::Tables
    }

    fn width(&self) -> usize {
        let terminal = || terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0));
        self.width.or_else(terminal).unwrap_or(DEFAULT_WIDTH).max(LEAST_WIDTH)
    }

    fn print_line(&mut self, tone: Tone, text: &str) {
        let priority = match tone {
            Tone::Notice => Priority::Information,
            Tone::Warning => Priority::Warning,
        };
        self.write_text(priority, &format!("flowml: {}\n", plain::line(text)));
    }

    /// Errors are ignored: a closed console must not stop the records.
    fn write_text(&mut self, priority: Priority, text: &str) {
        let text = plain::lines(text);
        let text = if self.journal { &journal::prefixed(priority, &text) } else { &*text };
        let _ = self.out.write_all(text.as_bytes());
    }
}

impl Observer for Console {
    /// Opens the terminal UI if there is one. Earlier errors are shown without it.
    fn begin(&mut self, _began: &Began) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.events.is_some() {
            self.screen = Some(Screen::enter(self.style.colours).map_err(ScreenError)?);
        }
        Ok(())
    }

    fn partial_flow(&mut self, partial: &PartialFlow, standing: Standing) {
        if self.shows_tables() {
            self.period.partial_flow(partial, standing);
        }
    }

    fn flow(&mut self, flow: RecordedFlow, verdict: &Verdict, in_incident: bool) {
        if self.shows_tables() {
            self.period.flow(flow, verdict, in_incident);
        }
    }

    fn host(&mut self, window: &HostWindow, verdict: &Verdict) {
        if self.shows_tables() {
            self.period.host(window, verdict);
        }
    }

    fn incident(&mut self, state: State, incident: &Incident) {
        if self.shows_tables() {
            self.period.incident(state, incident);
        }
    }

    /// Shows a table if one is due.
    fn interval(&mut self, report: &IntervalReport, _rows: &RowCounts, outputs: &[OutputLine]) {
        if self.shows_tables() {
            self.elapsed += report.elapsed;
            self.period.interval(report.clone());
            if self.elapsed + EARLY >= self.due {
                self.due = self.due.max(self.elapsed) + TABLE_PERIOD;
                self.show(outputs.to_vec());
            }
        }
    }

    /// Shows a notice, unless only errors are shown.
    fn notice(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Summary {
            self.print(Tone::Notice, text);
        }
    }

    /// Shows a warning, at every verbosity.
    fn warn(&mut self, text: &str) {
        self.print(Tone::Warning, text);
    }

    /// Handles the new events of the terminal.
    fn wake(&mut self) -> ControlFlow<()> {
        let (Some(events), Some(screen)) = (&self.events, &mut self.screen) else { return ControlFlow::Continue(()) };
        events.try_iter().try_for_each(|event| screen.event(&event))
    }

    fn ending(&mut self) {
        self.leave_screen();
    }

    /// Shows the last table and the closing summary.
    fn finish(&mut self, totals: &Totals, rows: &RowCounts, outputs: &[OutputLine]) {
        self.leave_screen();
        if self.shows_tables() && self.period.has_events() {
            self.show(outputs.to_vec());
        }
        if self.verbosity >= Verbosity::Summary {
            let view = SummaryView { totals, rows, outputs };
            self.write_text(Priority::Information, &view.render(self.width(), self.style));
        }
    }
}

impl Drop for Console {
    /// A failed run also shows its warnings.
    fn drop(&mut self) {
        self.leave_screen();
        let _ = self.out.flush();
    }
}

/// Whether a cluster is new, or has gained or lost a tenth of all rows.
fn differ(shown: &[(u32, f64)], now: &[ClusterSummary]) -> bool {
    const MUCH: f64 = 0.1;
    let share = |id: u32| shown.iter().find(|(shown, _)| *shown == id).map(|(_, share)| *share);
    shown.len() != now.len()
        || now.iter().any(|cluster| share(cluster.id).is_none_or(|share| (share - cluster.share).abs() >= MUCH))
}
