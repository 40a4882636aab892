//! The console on standard error: tables or the terminal UI, messages, and the closing summary.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;
use std::{env, mem};

use flowml_common::flow::Part;

use super::outward::Outward;
use super::period::Period;
use super::report::{IntervalReport, LearnerReport, Rows, Totals};
use super::screen::{Event, Screen, Tone};
use super::tables::SummaryView;
use super::text::Style;
use super::view::OutputLine;
use crate::features::{FlowRow, HostWindow};
use crate::incident::{Incident, State};
use crate::model::{ClusterSummary, Verdict};
use crate::process::journal::{self, Priority};
use crate::process::plain;
use crate::session::Standing;

/// The verbosity of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Errors,
    /// Also notices and the closing summary.
    Summary,
    /// Also a table at each interval, or the terminal UI.
    Tables,
}

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
pub struct Console {
    out: Box<dyn Write + Send>,
    verbosity: Verbosity,
    style: Style,
    /// Whether the journal reads it, which expects a priority before each line.
    journal: bool,
    /// A fixed width, columns. Without it the current width of the terminal is used.
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
    /// The terminal UI, which replaces tables and messages while it is open.
    screen: Option<Screen>,
}

impl Console {
    /// The console of this process.
    #[must_use]
    pub fn on_standard_error(verbosity: Verbosity) -> Self {
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
    pub(super) fn over(out: Box<dyn Write + Send>, verbosity: Verbosity, style: Style, width: Option<usize>) -> Self {
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
            screen: None,
        }
    }

    /// Opens the terminal UI, which replaces tables and messages.
    pub(super) fn enter_screen(&mut self) -> io::Result<()> {
        self.screen = Some(Screen::enter(self.style.colours)?);
        Ok(())
    }

    /// Closes the terminal UI if it is open. Its warnings are repeated, and no tables are shown after it.
    pub(super) fn leave_screen(&mut self) {
        let Some(screen) = self.screen.take() else { return };
        self.verbosity = self.verbosity.min(Verbosity::Summary);
        for text in screen.leave() {
            self.say_line(Tone::Warning, &text);
        }
    }

    /// Handles an event of the UI's terminal. Breaks if the user ends the run.
    pub(super) fn event(&mut self, event: &Event) -> ControlFlow<()> {
        self.screen.as_mut().map_or(ControlFlow::Continue(()), |screen| screen.event(event))
    }

    /// Adds a partial flow to the traffic that is shown next.
    pub(super) fn part(&mut self, part: &Part, standing: Standing) {
        if self.shows_tables() {
            self.period.part(part, standing);
        }
    }

    pub(super) fn flow(&mut self, row: &FlowRow, verdict: &Verdict, in_incident: bool) {
        if self.shows_tables() {
            self.period.flow(row, verdict, in_incident);
        }
    }

    pub(super) fn host(&mut self, window: &HostWindow, verdict: &Verdict) {
        if self.shows_tables() {
            self.period.host(window, verdict);
        }
    }

    pub(super) fn incident(&mut self, state: State, incident: &Incident) {
        if self.shows_tables() {
            self.period.incident(state, incident);
        }
    }

    /// Adds an interval, and shows a table if one is due.
    pub(super) fn interval(&mut self, report: IntervalReport, outputs: impl Iterator<Item = OutputLine>) {
        if self.shows_tables() {
            self.elapsed += report.elapsed;
            self.period.interval(report);
            if self.elapsed + EARLY >= self.due {
                self.due = self.due.max(self.elapsed) + TABLE_PERIOD;
                self.show(outputs.collect());
            }
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
                self.say(Priority::Information, &view.render(&clusters, self.width(), self.style));
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

    /// Shows a notice.
    pub(super) fn notice(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Summary {
            self.tell(Tone::Notice, text);
        }
    }

    /// Shows a warning, at every verbosity.
    pub(super) fn warn(&mut self, text: &str) {
        self.tell(Tone::Warning, text);
    }

    fn tell(&mut self, tone: Tone, text: &str) {
        match &mut self.screen {
            Some(screen) if screen.is_up() => screen.message(tone, text),
            _ => self.say_line(tone, text),
        }
    }

    /// Shows the last table and the closing summary.
    pub(super) fn finish(&mut self, totals: &Totals, rows: &Rows, outputs: Vec<OutputLine>) {
        self.leave_screen();
        if self.shows_tables() && self.period.has_news() {
            self.show(outputs.clone());
        }
        if self.verbosity >= Verbosity::Summary {
            let view = SummaryView { totals, rows, outputs };
            self.say(Priority::Information, &view.render(self.width(), self.style));
        }
    }

    fn shows_tables(&self) -> bool {
        self.verbosity >= Verbosity::Tables
    }

    fn width(&self) -> usize {
        let terminal = || terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0));
        self.width.or_else(terminal).unwrap_or(DEFAULT_WIDTH).max(LEAST_WIDTH)
    }

    fn say_line(&mut self, tone: Tone, text: &str) {
        let priority = match tone {
            Tone::Notice => Priority::Information,
            Tone::Warning => Priority::Warning,
        };
        self.say(priority, &format!("flowml: {}\n", plain::line(text)));
    }

    /// Errors are ignored: a closed console must not stop the records.
    fn say(&mut self, priority: Priority, text: &str) {
        let text = plain::lines(text);
        let text = if self.journal { &journal::prefixed(priority, &text) } else { &*text };
        let _ = self.out.write_all(text.as_bytes());
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
