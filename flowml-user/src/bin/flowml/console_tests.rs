//! Tests of the console as a run uses it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use flowml_user::export::{OutputLine, Pace, RowCounts, Sinks};
use flowml_user::features::FlowColumns;

use super::{Console, Observer as _, Style};
use crate::args::Verbosity;
use crate::golden;
use crate::sample::{report, run, totals};

/// Memory that a test can read while the console writes to it.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panicked").clone()).expect("it is text")
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn console(verbosity: Verbosity) -> (Console, Memory) {
    let people = Memory::default();
    (Console::over(Box::new(people.clone()), verbosity, Style { colours: false }, Some(100)), people)
}

/// Sinks without outputs, and the text of the console.
fn sinks(verbosity: Verbosity) -> (Sinks, Memory) {
    let (console, people) = console(verbosity);
    let sinks = Sinks::open(&[], FlowColumns::Headers, Pace::Live).expect("there is nothing to open");
    (sinks.observed_by(console), people)
}

#[test]
fn tables_are_shown_once_a_second_and_at_the_end() {
    let (mut sinks, people) = sinks(Verbosity::Tables);
    run(&mut sinks);
    for tick in 1..=200 {
        assert!(sinks.interval(&report(10, 1000 + 10 * tick)).is_continue());
    }
    let shown = people.text();
    assert_eq!(shown.matches(" UTC ").count(), 1 + 2, "{shown}");
    assert!(shown.contains("10.0.0.1:40000 ↔ 10.0.0.9:443"), "{shown}");
    assert!(shown.contains("! incident 1 (3 s): port_scan: 10.0.0.9 → 10.0.0.1"), "{shown}");
    assert!(shown.contains("! flow 10.0.0.2:40000 → 10.0.0.9:443 (https)"), "{shown}");
    assert_eq!(shown.matches("CLUSTERS OF HOSTS").count(), 1, "they have not changed: {shown}");
    assert_eq!(shown.matches("10 packets/s · 8.00 kbit/s").count(), 1, "{shown}");
    assert_eq!(shown.matches("1.00k packets/s · 800 kbit/s").count(), 2, "{shown}");

    sinks.finish(&totals()).expect("memory takes all");
    let rest = people.text().split_off(shown.len());
    assert_eq!(rest.matches(" UTC ").count(), 1, "{rest}");
    golden::assert_is(
        "src/bin/flowml/ui/golden/summary_100.txt",
        rest.split_once("\n\n").expect("the summary is last").1,
    );
}

#[test]
fn the_console_shows_what_its_verbosity_selects() {
    for (verbosity, tables, summaries) in
        [(Verbosity::Errors, 0, 0), (Verbosity::Summary, 0, 1), (Verbosity::Tables, 2, 1)]
    {
        let (mut sinks, people) = sinks(verbosity);
        run(&mut sinks);
        sinks.notice("metering eth0");
        sinks.warn("eth0 was removed");
        sinks.finish(&totals()).expect("memory takes all");
        let shown = people.text();
        assert_eq!(shown.matches(" UTC ").count(), tables, "{shown}");
        assert_eq!(shown.matches("in flows + ").count(), 2 * summaries, "{shown}");
        assert_eq!(shown.matches("flowml: metering eth0\n").count(), summaries, "{shown}");
        assert_eq!(shown.matches("flowml: eth0 was removed\n").count(), 1, "{shown}");
    }
}

#[test]
fn inconsistent_packet_accounting_is_shown_as_such() {
    let (sinks, people) = sinks(Verbosity::Summary);
    let mut totals = totals();
    totals.in_flows.packets -= 1;
    assert!(!totals.is_conserved());
    sinks.finish(&totals).expect("memory takes all");
    assert!(people.text().contains("packets: received 12 ≠ 9 in flows + 2 skipped (2 not_ip)"), "{}", people.text());
}

#[test]
fn the_summary_lists_outputs_with_their_losses() {
    let line = |destination: &str, rows, rows_lost, reader_gone| OutputLine {
        destination: destination.to_owned(),
        rows,
        rows_lost,
        reader_gone,
    };
    let outputs = [line("bad", 0, 10, false), line("good", 1234, 0, false), line("standard output", 0, 0, true)];
    let (mut console, people) = console(Verbosity::Summary);
    console.finish(&totals(), &RowCounts::default(), &outputs);
    let shown = people.text();
    for expected in [
        "bad: 0 rows\n    10 rows lost\n",
        "good: 1,234 rows\n",
        "standard output: 0 rows, until its reader closed it\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}
